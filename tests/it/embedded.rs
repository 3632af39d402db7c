//! The client against the host inside the binary: no program needed but a shell.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use rdeploy::embedded::EmbeddedHost;
use rdeploy::embedded::KeyPair;
use rdeploy::embedded::Sandbox;
use rdeploy::shell::Command;
use rdeploy::ssh::ChannelError;
use rdeploy::ssh::Chunk;
use rdeploy::ssh::ConnectError;
use rdeploy::ssh::Exit;
use rdeploy::ssh::Stage;
use tempfile::TempDir;

use crate::ssh_behaviour;
use crate::ssh_behaviour::connect;
use crate::ssh_behaviour::try_connect;
use crate::support::Place;
use crate::support::askers::Person;

struct Host {
    dir: TempDir,
    host: EmbeddedHost,
}

impl Host {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::in_dir(dir.path()).unwrap();
        let options = sandbox.host(1).unwrap().options(&sandbox.login_key().unwrap()).unwrap();
        let host = EmbeddedHost::start(options).await.unwrap();
        std::fs::write(sandbox.known_hosts_file(), host.host_key_line()).unwrap();
        Self { dir, host }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn place(&self) -> Place {
        Place::new(self.host.address().port(), &self.path("login_key"), &self.path("known_hosts"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_host_behaves_like_a_host() {
    let host = Host::start().await;
    ssh_behaviour::behaves(&host.place()).await;
    host.host.stop().await;
}

#[tokio::test]
async fn commands_get_the_hosts_own_home_and_nothing_of_ours() {
    let host = Host::start().await;
    let connection = connect(&host.place()).await;
    let output = connection.run(&Command::sh("env; pwd", []), Bytes::new()).await.unwrap();
    let text = String::from_utf8(output.stdout.to_vec()).unwrap();
    let home = host.path("host1/home").canonicalize().unwrap().display().to_string();
    for line in [format!("HOME={home}"), format!("PM2_HOME={home}/.pm2"), home, "SHELL=/bin/sh".into()] {
        assert!(text.lines().any(|own| own == line), "{line} is not in:\n{text}");
    }
    assert!(text.contains("PORT="), "{text}");
    assert!(!text.contains("CARGO"), "{text}");
}

#[tokio::test]
async fn another_key_is_refused_and_named() {
    let host = Host::start().await;
    let mut place = host.place();
    let other = host.path("other_key");
    let key = KeyPair::generate().unwrap();
    key.store(&other).unwrap();
    place.settings.identity = vec![other.clone()];
    let error = try_connect(&place, &Person::nobody()).await.unwrap_err();
    assert!(matches!(error, ConnectError::LoginRefused { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("the-host"), "{text}");
    assert!(text.contains(&other.display().to_string()), "{text}");
    assert!(text.contains(&key.public().fingerprint()), "{text}");
    assert!(error.hint().contains("authorized_keys"), "{}", error.hint());
}

#[tokio::test]
async fn a_key_that_is_missing_or_open_to_others_is_named_and_not_offered() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::start().await;
    let mut place = host.place();
    let open = host.path("open_key");
    std::fs::copy(host.path("login_key"), &open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    place.settings.identity = vec![open, host.path("missing")];
    let text = try_connect(&place, &Person::nobody()).await.unwrap_err().to_string();
    assert!(text.contains("open_key can be read by others (mode 0644"), "{text}");
    assert!(text.contains("missing does not exist"), "{text}");
}

#[tokio::test]
async fn after_six_keys_no_more_are_offered() {
    let host = Host::start().await;
    let mut place = host.place();
    place.settings.identity.clear();
    for n in 0..7 {
        let path = host.path(&format!("key{n}"));
        KeyPair::generate().unwrap().store(&path).unwrap();
        place.settings.identity.push(path);
    }
    place.settings.identity.push(host.path("login_key"));
    let error = try_connect(&place, &Person::nobody()).await.unwrap_err();
    let ConnectError::LoginRefused { offered, limited, .. } = &error else { panic!("{error:?}") };
    assert_eq!((offered.len(), *limited), (6, true));
    assert!(error.to_string().contains("cut off after six"), "{error}");
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_when_nobody_can_be_asked() {
    let host = Host::start().await;
    let place = host.place();
    std::fs::remove_file(host.path("known_hosts")).unwrap();
    let error = try_connect(&place, &Person::nobody()).await.unwrap_err();
    assert!(matches!(error, ConnectError::HostKeyUnknown { .. }), "{error:?}");
    assert!(error.to_string().contains("SHA256:"), "{error}");
    let advice = format!("ssh -p {} ", place.target.port);
    assert!(error.hint().contains(&advice), "{}", error.hint());
    assert!(error.hint().contains("known_hosts"), "{}", error.hint());
    assert!(!host.path("known_hosts").exists());
}

#[tokio::test]
async fn an_accepted_host_key_is_remembered() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::start().await;
    let mut place = host.place();
    let file = host.path("new/dir/known_hosts");
    place.settings.known_hosts = vec![file.clone()];
    let person = Person::who_says(true);
    try_connect(&place, &person).await.unwrap();
    try_connect(&place, &person).await.unwrap();
    assert_eq!(person.questions().len(), 1);
    assert!(person.questions().concat().starts_with("the-host ssh-ed25519 SHA256:"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), host.host.host_key_line());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(host.path("new/dir")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_declined_host_key_is_not_remembered() {
    let host = Host::start().await;
    let place = host.place();
    std::fs::remove_file(host.path("known_hosts")).unwrap();
    let error = try_connect(&place, &Person::who_says(false)).await.unwrap_err();
    assert!(matches!(error, ConnectError::HostKeyUnknown { .. }), "{error:?}");
    assert!(!host.path("known_hosts").exists());
}

#[tokio::test]
async fn a_changed_host_key_is_always_refused() {
    let host = Host::start().await;
    let place = host.place();
    let known = KeyPair::generate().unwrap().public();
    let line = format!("# one\n[127.0.0.1]:{} {}\n", place.target.port, known.line().unwrap());
    std::fs::write(host.path("known_hosts"), &line).unwrap();
    let person = Person::who_says(true);
    let error = try_connect(&place, &person).await.unwrap_err();
    assert!(matches!(error, ConnectError::HostKeyChanged { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&known.fingerprint()), "{text}");
    assert!(text.contains("known_hosts:2"), "{text}");
    assert_eq!(text.matches("SHA256:").count(), 2, "{text}");
    assert_eq!(person.questions(), Vec::<String>::new());
    assert_eq!(std::fs::read_to_string(host.path("known_hosts")).unwrap(), line);
}

#[tokio::test]
async fn a_revoked_host_key_is_refused_although_it_is_known() {
    let host = Host::start().await;
    let known = host.host.host_key_line();
    let key = known.split_once(' ').unwrap().1;
    std::fs::write(host.path("known_hosts"), format!("{known}@revoked * {key}")).unwrap();
    let error = try_connect(&host.place(), &Person::who_says(true)).await.unwrap_err();
    assert!(matches!(error, ConnectError::HostKeyRevoked { .. }), "{error:?}");
    assert!(error.to_string().contains("known_hosts:2"), "{error}");
}

#[tokio::test]
async fn a_lost_connection_is_told_apart_from_an_end() {
    let host = Host::start().await;
    let connection = connect(&host.place()).await;
    let marker = host.path("input-ended");
    // The host's own end of the command: it hears that its input ended, and goes on.
    let script = r#"echo ready; cat >/dev/null; echo x >"$1""#;
    let command = Command::sh(script, [marker.display().to_string()]);
    let mut exec = connection.exec(&command).await.unwrap();
    assert_eq!(exec.output.next().await, Some(Chunk::Stdout(Bytes::from_static(b"ready\n"))));
    host.host.cut_connections();
    assert_eq!(exec.output.next().await, Some(Chunk::Ended(Exit::default())));
    assert_eq!(exec.output.next().await, None);
    let error = exec.stdin.write(Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, ChannelError::Lost { .. }), "{error:?}");
    let error = connection.exec(&Command::new("true")).await.unwrap_err();
    assert!(matches!(error, ChannelError::Lost { .. }), "{error:?}");
    assert!(connection.is_closed());
    until(|| marker.exists()).await;
    // Others can connect as before.
    assert!(!connect(&host.place()).await.is_closed());
}

#[tokio::test]
async fn a_stopped_host_ends_and_its_commands_go_on() {
    let host = Host::start().await;
    let connection = connect(&host.place()).await;
    let marker = host.path("went-on");
    let script = r#"echo ready; cat >/dev/null; sleep 0.1; echo x >"$1""#;
    let command = Command::sh(script, [marker.display().to_string()]);
    let mut exec = connection.exec(&command).await.unwrap();
    assert_eq!(exec.output.next().await, Some(Chunk::Stdout(Bytes::from_static(b"ready\n"))));
    let (place, dir) = (host.place(), host.dir);
    host.host.stop().await;
    until(|| marker.exists()).await;
    let error = try_connect(&place, &Person::nobody()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tcp { .. }), "{error:?}");
    assert!(error.hint().contains("nothing listens"), "{}", error.hint());
    drop(dir);
}

#[tokio::test]
async fn a_background_process_that_keeps_the_output_does_not_hold_the_channel() {
    let host = Host::start().await;
    let connection = connect(&host.place()).await;
    let started = Instant::now();
    let output = connection.run(&Command::sh("sleep 600 & echo $!", []), Bytes::new()).await.unwrap();
    let pid = String::from_utf8(output.stdout.to_vec()).unwrap();
    let kill = Command::new("kill").arg(pid.trim());
    let killed = connection.run(&kill, Bytes::new()).await.unwrap();
    assert_eq!((output.exit.code, killed.exit.code), (Some(0), Some(0)));
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn whatever_answers_without_being_a_host_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let place = |listener: &TcpListener| {
        let port = listener.local_addr().unwrap().port();
        let mut place = Place::new(port, &dir.path().join("key"), &dir.path().join("known_hosts"));
        place.settings.connect_timeout = Duration::from_millis(500);
        place
    };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = try_connect(&place(&silent), &Person::nobody()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { stage: Stage::KeyExchange, .. }), "{error:?}");

    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = place(&closing);
    // Again and again: who is turned away tries again.
    std::thread::spawn(move || closing.incoming().for_each(drop));
    let error = try_connect(&there, &Person::nobody()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Closed { stage: Stage::KeyExchange, .. }), "{error:?}");

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = place(&other);
    let answering = std::thread::spawn(move || {
        let (mut socket, _) = other.accept().unwrap();
        socket.write_all(b"SSH-2.0-but then\r\nnothing that makes sense").unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let error = try_connect(&there, &Person::nobody()).await.unwrap_err();
    assert!(matches!(error, ConnectError::KeyExchange { .. }), "{error:?}");
    answering.join().unwrap();

    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = place(&gone);
    drop(gone);
    let error = try_connect(&there, &Person::nobody()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tcp { .. }), "{error:?}");

    let mut there = there;
    there.target.address = "no-such-host.invalid".into();
    there.settings.connect_timeout = Duration::from_secs(20);
    let error = try_connect(&there, &Person::nobody()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error:?}");
}

#[tokio::test]
async fn whoever_connects_to_many_hosts_is_asked_about_one_at_a_time() {
    let hosts = [Host::start().await, Host::start().await, Host::start().await];
    let person = Person::who_says(true);
    let known_hosts = hosts[0].path("shared_known_hosts");
    let connecting: Vec<_> = hosts
        .iter()
        .map(|host| {
            let (mut place, person) = (host.place(), Arc::clone(&person));
            place.settings.known_hosts = vec![known_hosts.clone()];
            tokio::spawn(async move { try_connect(&place, &person).await.map(|_| ()) })
        })
        .collect();
    for connected in connecting {
        connected.await.unwrap().unwrap();
    }
    assert_eq!(person.questions().len(), 3);
    let mut lines: Vec<_> = hosts.iter().map(|host| host.host.host_key_line()).collect();
    let text = std::fs::read_to_string(&known_hosts).unwrap();
    let mut learned: Vec<_> = text.lines().map(|line| format!("{line}\n")).collect();
    lines.sort();
    learned.sort();
    assert_eq!(learned, lines);
}

/// Waits for something that another process does.
async fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(30), "it did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
