use super::*;

fn known(line: usize) -> KnownKey {
    KnownKey {
        algorithm: "ssh-ed25519".into(),
        fingerprint: "SHA256:known".into(),
        file: "/home/me/.ssh/known_hosts".into(),
        line,
    }
}

fn shown(error: ConnectError) -> String {
    format!("{error}\n{}", error.hint())
}

#[test]
fn a_changed_key_says_what_is_known_where_and_what_to_compare() {
    insta::assert_snapshot!(shown(ConnectError::HostKeyChanged {
        host: "web1".into(),
        algorithm: "ssh-ed25519".into(),
        fingerprint: "SHA256:new".into(),
        known: vec![known(3), known(7)],
    }), @r"
    the ssh-ed25519 key of web1 has changed to SHA256:new; known: ssh-ed25519 SHA256:known (/home/me/.ssh/known_hosts:3), ssh-ed25519 SHA256:known (/home/me/.ssh/known_hosts:7)
    either the host was reinstalled or somebody is in between: compare the new fingerprint with the host's own; only if they agree, remove /home/me/.ssh/known_hosts:3 and /home/me/.ssh/known_hosts:7 and connect again
    ");
}

#[test]
fn an_unknown_key_says_how_it_becomes_known() {
    let key = UnknownKey {
        algorithm: "ssh-rsa".into(),
        fingerprint: "SHA256:new".into(),
        other_types: vec![known(3)],
        file: "/home/me/.ssh/known_hosts".into(),
        command: "ssh -p 2222 deploy@web1.example.com".into(),
        declined: false,
    };
    insta::assert_snapshot!(
        shown(ConnectError::HostKeyUnknown { host: "web1".into(), key: Box::new(key) }),
        @r"
        the ssh-rsa key of web1 is not known: SHA256:new (keys of other types are known for it: ssh-ed25519 SHA256:known (/home/me/.ssh/known_hosts:3))
        connect once with `ssh -p 2222 deploy@web1.example.com`, compare the fingerprint and accept the key, or add the key to /home/me/.ssh/known_hosts
        "
    );
}

#[test]
fn a_refused_login_names_every_key_and_the_next_step() {
    let refused = |offered: Vec<OfferedKey>, unusable: Vec<UnusableKey>| {
        shown(ConnectError::LoginRefused {
            host: "web1".into(),
            user: "deploy".into(),
            offered,
            unusable,
            limited: false,
            partial: false,
        })
    };
    let offered =
        OfferedKey { origin: "agent key me@laptop".into(), fingerprint: "ssh-ed25519 SHA256:a".into() };
    let unusable = UnusableKey {
        origin: "/home/me/.ssh/id_rsa".into(),
        reason: "is encrypted and nobody can be asked; add it to an agent".into(),
        encrypted: true,
    };
    insta::assert_snapshot!(refused(vec![offered.clone()], vec![]), @r"
    deploy@web1 refused the login; offered: agent key me@laptop (ssh-ed25519 SHA256:a)
    add one of these keys to ~/.ssh/authorized_keys of deploy on web1, or name the right one in `ssh.identity`
    ");
    insta::assert_snapshot!(refused(vec![offered], vec![unusable]), @r"
    deploy@web1 refused the login; offered: agent key me@laptop (ssh-ed25519 SHA256:a); not offered: /home/me/.ssh/id_rsa is encrypted and nobody can be asked; add it to an agent
    add the key to an agent: `ssh-add /home/me/.ssh/id_rsa`
    ");
    insta::assert_snapshot!(refused(vec![], vec![]), @r"
    deploy@web1 refused the login: there was no key to offer
    make a key with `ssh-keygen`, or name one in `ssh.identity`
    ");
}

#[test]
fn a_refused_port_and_a_silent_machine_get_different_advice() {
    let tcp = |kind: io::ErrorKind| {
        let (host, tried) = ("web1".into(), "192.0.2.1:22".into());
        shown(ConnectError::Tcp { host, tried, source: kind.into() })
    };
    insta::assert_snapshot!(tcp(io::ErrorKind::ConnectionRefused), @r"
    cannot connect to web1 (tried 192.0.2.1:22)
    the machine answers, but nothing listens there: check the port, and that sshd runs
    ");
    insta::assert_snapshot!(tcp(io::ErrorKind::HostUnreachable), @r"
    cannot connect to web1 (tried 192.0.2.1:22)
    check that the machine is up, the network path and the firewall
    ");
    let limit = Duration::from_millis(2500);
    let timeout = ConnectError::Timeout { host: "web1".into(), stage: Stage::Login, limit };
    insta::assert_snapshot!(shown(timeout), @r"
    web1 did not answer within 2.5 s while logging in
    something accepts connections there but is slow: check the machine's load, whether its sshd waits for DNS, and that the port is that of an SSH server; `ssh.connect_timeout` sets the limit
    ");
}

#[test]
fn only_a_host_of_which_nothing_was_heard_is_unreachable() {
    let host = || "web1".to_owned();
    let io = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let limit = Duration::from_secs(10);
    for error in [
        ConnectError::Resolve { host: host(), source: io() },
        ConnectError::Tcp { host: host(), tried: "192.0.2.1:22".into(), source: io() },
        ConnectError::Timeout { host: host(), stage: Stage::Tcp, limit },
        ConnectError::Closed { host: host(), stage: Stage::KeyExchange, source: io().into() },
    ] {
        assert!(error.is_unreachable(), "{error}");
    }
    let (user, offered, unusable) = ("deploy".to_owned(), Vec::new(), Vec::new());
    for error in [
        ConnectError::KeyExchange { host: host(), source: io().into() },
        ConnectError::HostKeyRevoked { host: host(), key: known(3) },
        ConnectError::KnownHosts { host: host(), file: "known_hosts".into(), source: io() },
        ConnectError::LoginRefused { host: host(), user, offered, unusable, limited: false, partial: false },
        ConnectError::HostKeyChanged {
            host: host(),
            algorithm: "ssh-ed25519".into(),
            fingerprint: "SHA256:new".into(),
            known: vec![known(3)],
        },
    ] {
        assert!(!error.is_unreachable(), "{error}");
    }
}
