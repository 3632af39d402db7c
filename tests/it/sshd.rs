//! The client against a real sshd.

use std::path::Path;
use std::process::Command as Process;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdeploy::shell::Command;
use rdeploy::ssh::ChannelError;
use rdeploy::ssh::ConnectError;

use crate::ssh_behaviour;
use crate::ssh_behaviour::connect;
use crate::ssh_behaviour::try_connect;
use crate::support::askers::Person;
use crate::support::find_program;
use crate::support::skip;
use crate::support::sshd::Sshd;
use crate::support::sshd::keygen;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_sshd_gets_the_same_behaviour() {
    let Some(sshd) = Sshd::start("a_real_sshd_gets_the_same_behaviour") else { return };
    ssh_behaviour::behaves(&sshd.place()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_turned_away_because_many_log_in_comes_again() {
    let test = "who_is_turned_away_because_many_log_in_comes_again";
    let Some(sshd) = Sshd::start_with(test, "MaxStartups 3") else { return };
    let place = sshd.place();
    let logins = (0..12).map(|_| {
        let place = place.clone();
        tokio::spawn(async move { try_connect(&place, &Person::nobody()).await.map(drop) })
    });
    for login in logins.collect::<Vec<_>>() {
        login.await.unwrap().unwrap();
    }
    let log = std::fs::read_to_string(sshd.path("log")).unwrap();
    assert!(log.contains("past MaxStartups"), "nobody was turned away:\n{log}");
}

#[tokio::test]
async fn a_killed_session_is_told_apart_from_an_end() {
    let Some(sshd) = Sshd::start("a_killed_session_is_told_apart_from_an_end") else { return };
    let connection = connect(&sshd.place()).await;
    let output = connection.run(&Command::sh("kill -9 $PPID; cat", []), Bytes::new()).await.unwrap();
    assert!(output.exit.lost(), "{output:?}");
    let error = connection.exec(&Command::new("true")).await.unwrap_err();
    assert!(matches!(error, ChannelError::Lost { .. }), "{error:?}");
}

#[tokio::test]
async fn an_upload_that_waits_hears_of_the_end_of_the_connection() {
    let Some(sshd) = Sshd::start("an_upload_that_waits_hears_of_the_end_of_the_connection") else { return };
    let connection = connect(&sshd.place()).await;
    let flag = sshd.path("flag");
    let script = r#"while [ -d "${1%/*}" ] && [ ! -e "$1" ]; do sleep 0.02; done; wc -c"#;
    let deaf = Command::sh(script, [flag.display().to_string()]);
    let mut deaf = connection.exec(&deaf).await.unwrap();
    let upload = async {
        loop {
            if let Err(error) = deaf.stdin.write(Bytes::from(vec![0; 1 << 20])).await {
                break error;
            }
        }
    };
    let mut upload = Box::pin(upload);
    // Full: nothing that was sent is taken off any more.
    let full = tokio::time::timeout(Duration::from_millis(500), &mut upload).await;
    assert!(full.is_err(), "{full:?}");
    let killed = connection.run(&Command::sh("kill -9 $PPID", []), Bytes::new()).await.unwrap();
    assert!(killed.exit.lost());
    let error = tokio::time::timeout(Duration::from_secs(20), upload).await.unwrap();
    assert!(matches!(error, ChannelError::Lost { .. }), "{error:?}");
    // The command ends with its directory.
}

#[tokio::test]
async fn a_person_may_take_longer_than_the_host_and_the_limit_allow() {
    let test = "a_person_may_take_longer_than_the_host_and_the_limit_allow";
    let Some(sshd) = Sshd::start_with(test, "LoginGraceTime 3") else { return };
    let key = sshd.path("encrypted");
    keygen(&["-t", "ed25519", "-N", "correct horse", "-f"], &key);
    sshd.authorize(&sshd.path("encrypted.pub"));
    std::fs::remove_file(sshd.path("known_hosts")).unwrap();
    let mut place = sshd.place();
    place.settings.identity = vec![key];
    place.settings.connect_timeout = Duration::from_secs(4);
    let person = Person {
        accepts: Some(true),
        passphrases: vec!["correct horse".to_owned()].into(),
        thinks: Duration::from_secs(5),
        ..Person::default()
    };
    let person = Arc::new(person);
    // The host gives up during each question; the answers are kept, and the next attempt gets further.
    try_connect(&place, &person).await.unwrap();
    assert_eq!(person.questions().len(), 2, "{:?}", person.questions());
}

#[tokio::test]
async fn a_key_that_is_not_authorized_is_refused() {
    let Some(sshd) = Sshd::start("a_key_that_is_not_authorized_is_refused") else { return };
    let mut place = sshd.place();
    keygen(&["-t", "ed25519", "-N", "", "-f"], &sshd.path("other"));
    place.settings.identity = vec![sshd.path("other")];
    let error = try_connect(&place, &Person::nobody()).await.unwrap_err();
    assert!(matches!(error, ConnectError::LoginRefused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_host_that_cuts_off_early_is_reported_with_the_keys_it_saw() {
    let test = "a_host_that_cuts_off_early_is_reported_with_the_keys_it_saw";
    let Some(sshd) = Sshd::start_with(test, "MaxAuthTries 2") else { return };
    let mut place = sshd.place();
    place.settings.identity.clear();
    for n in 0..4 {
        let path = sshd.path(&format!("other{n}"));
        keygen(&["-t", "ed25519", "-N", "", "-f"], &path);
        place.settings.identity.push(path);
    }
    let error = try_connect(&place, &Person::nobody()).await.unwrap_err();
    let ConnectError::LoginRefused { offered, .. } = &error else { panic!("{error:?}") };
    assert!((1..=2).contains(&offered.len()), "{offered:?}");
}

#[tokio::test]
async fn rsa_and_ecdsa_keys_log_in() {
    let Some(sshd) = Sshd::start("rsa_and_ecdsa_keys_log_in") else { return };
    for (kind, bits) in [("rsa", "2048"), ("ecdsa", "384")] {
        let key = sshd.path(kind);
        keygen(&["-t", kind, "-b", bits, "-N", "", "-f"], &key);
        sshd.authorize(&sshd.path(&format!("{kind}.pub")));
        let mut place = sshd.place();
        place.settings.identity = vec![key];
        connect(&place).await;
    }
}

#[tokio::test]
async fn an_old_rsa_key_file_logs_in() {
    let Some(sshd) = Sshd::start("an_old_rsa_key_file_logs_in") else { return };
    let key = sshd.path("rsa");
    keygen(&["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"], &key);
    sshd.authorize(&sshd.path("rsa.pub"));
    let mut place = sshd.place();
    place.settings.identity = vec![key];
    connect(&place).await;
}

#[tokio::test]
async fn a_certificate_beside_the_key_logs_in() {
    let test = "a_certificate_beside_the_key_logs_in";
    let ca = tempfile::tempdir().unwrap();
    if find_program("ssh-keygen").is_none() {
        return skip(test, "ssh-keygen not found");
    }
    keygen(&["-t", "ed25519", "-N", "", "-f"], &ca.path().join("ca"));
    let trusted = format!("TrustedUserCAKeys {}", ca.path().join("ca.pub").display());
    let Some(sshd) = Sshd::start_with(test, &trusted) else { return };
    let user = crate::support::user();
    for kind in ["ed25519", "rsa"] {
        let key = sshd.path(kind);
        keygen(&["-t", kind, "-N", "", "-f"], &key);
        let authority = ca.path().join("ca").display().to_string();
        keygen(&["-s", &authority, "-I", "test", "-n", &user], &sshd.path(&format!("{kind}.pub")));
        let mut place = sshd.place();
        place.settings.identity = vec![key];
        connect(&place).await;
    }
}

#[tokio::test]
async fn an_encrypted_key_is_asked_for_once_for_all_hosts() {
    let test = "an_encrypted_key_is_asked_for_once_for_all_hosts";
    let Some(sshd) = Sshd::start(test) else { return };
    let key = sshd.path("encrypted");
    keygen(&["-t", "ed25519", "-N", "correct horse", "-f"], &key);
    sshd.authorize(&sshd.path("encrypted.pub"));
    let mut place = sshd.place();
    place.settings.identity = vec![key.clone()];

    let error = try_connect(&place, &Person::nobody()).await.unwrap_err();
    assert!(error.to_string().contains("is encrypted and nobody can be asked"), "{error}");
    assert_eq!(error.hint(), format!("add the key to an agent: `ssh-add {}`", key.display()));

    let person = Person::who_types(&["wrong", "correct horse"]);
    let connecting: Vec<_> = (0..4)
        .map(|_| {
            let (place, person) = (place.clone(), Arc::clone(&person));
            tokio::spawn(async move { try_connect(&place, &person).await.map(|_| ()) })
        })
        .collect();
    for connected in connecting {
        connected.await.unwrap().unwrap();
    }
    assert_eq!(person.questions().len(), 2, "{:?}", person.questions());
}

#[tokio::test]
async fn nobody_is_asked_for_a_key_that_the_host_does_not_take() {
    let test = "nobody_is_asked_for_a_key_that_the_host_does_not_take";
    let Some(sshd) = Sshd::start(test) else { return };
    let key = sshd.path("encrypted");
    keygen(&["-t", "ed25519", "-N", "correct horse", "-f"], &key);
    let mut place = sshd.place();
    place.settings.identity.insert(0, key);
    let person = Person::who_types(&["correct horse"]);
    try_connect(&place, &person).await.unwrap();
    assert_eq!(person.questions(), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_logs_in_and_is_asked_only_for_configured_keys() {
    let test = "an_agent_logs_in_and_is_asked_only_for_configured_keys";
    let Some(sshd) = Sshd::start(test) else { return };
    let socket = sshd.path("agent");
    let Some(agent) = Agent::start(test, &socket) else { return };
    for n in 0..8 {
        keygen(&["-t", "ed25519", "-N", "", "-f"], &sshd.path(&format!("other{n}")));
        agent.add(&sshd.path(&format!("other{n}")));
    }
    keygen(&["-t", "rsa", "-b", "2048", "-N", "", "-f"], &sshd.path("mine"));
    sshd.authorize(&sshd.path("mine.pub"));
    agent.add(&sshd.path("mine"));
    // From here on only the agent has the secret half.
    std::fs::remove_file(sshd.path("mine")).unwrap();

    let mut place = sshd.place();
    place.settings.agent = true;
    place.settings.identity.clear();
    place.surroundings.agent_socket = Some(socket.clone());
    let error = try_connect(&place, &Person::nobody()).await.unwrap_err();
    let ConnectError::LoginRefused { offered, limited, .. } = &error else { panic!("{error:?}") };
    assert_eq!((offered.len(), *limited), (6, true), "{error}");
    assert!(error.to_string().contains("agent key"), "{error}");

    place.settings.identity = vec![sshd.path("mine")];
    connect(&place).await;

    place.settings.agent = false;
    let error = try_connect(&place, &Person::nobody()).await.unwrap_err();
    assert!(matches!(error, ConnectError::LoginRefused { .. }), "{error:?}");
}

#[tokio::test]
async fn an_agent_that_is_gone_does_not_stand_in_the_way() {
    let test = "an_agent_that_is_gone_does_not_stand_in_the_way";
    let Some(sshd) = Sshd::start(test) else { return };
    let mut place = sshd.place();
    place.settings.agent = true;
    place.surroundings.agent_socket = Some(sshd.path("nothing-here"));
    connect(&place).await;
    place.settings.identity = vec![sshd.path("missing")];
    let text = try_connect(&place, &Person::nobody()).await.unwrap_err().to_string();
    assert!(text.contains("nothing-here did not answer"), "{text}");
}

#[tokio::test]
async fn a_host_known_by_another_type_of_key_is_not_taken_for_a_new_one() {
    let test = "a_host_known_by_another_type_of_key_is_not_taken_for_a_new_one";
    let Some(sshd) = Sshd::start(test) else { return };
    keygen(&["-t", "rsa", "-b", "2048", "-N", "", "-f"], &sshd.path("old_host_key"));
    let old = std::fs::read_to_string(sshd.path("old_host_key.pub")).unwrap();
    std::fs::write(sshd.path("known_hosts"), format!("[127.0.0.1]:{} {old}", sshd.port)).unwrap();
    let person = Person::who_says(true);
    let error = try_connect(&sshd.place(), &person).await.unwrap_err();
    let ConnectError::HostKeyUnknown { key, .. } = &error else { panic!("{error:?}") };
    assert_eq!(key.other_types.len(), 1);
    assert!(error.to_string().contains("other types are known"), "{error}");
    assert_eq!(person.questions(), Vec::<String>::new());
}

#[tokio::test]
async fn a_host_with_two_keys_is_asked_for_the_one_that_is_known() {
    let test = "a_host_with_two_keys_is_asked_for_the_one_that_is_known";
    let second = tempfile::tempdir().unwrap();
    if find_program("ssh-keygen").is_none() {
        return skip(test, "ssh-keygen not found");
    }
    keygen(&["-t", "rsa", "-b", "2048", "-N", "", "-f"], &second.path().join("rsa"));
    let also = format!("HostKey {}", second.path().join("rsa").display());
    let Some(sshd) = Sshd::start_with(test, &also) else { return };
    let rsa = std::fs::read_to_string(second.path().join("rsa.pub")).unwrap();
    std::fs::write(sshd.path("known_hosts"), format!("[127.0.0.1]:{} {rsa}", sshd.port)).unwrap();
    connect(&sshd.place()).await;
    // As ssh-keygen writes them when names are to be kept secret.
    keygen(&["-H", "-f"], &sshd.path("known_hosts"));
    let hashed = std::fs::read_to_string(sshd.path("known_hosts")).unwrap();
    assert!(hashed.starts_with("|1|"), "{hashed}");
    connect(&sshd.place()).await;
}

/// A private ssh-agent, ended when dropped.
struct Agent {
    child: std::process::Child,
    socket: std::path::PathBuf,
}

impl Agent {
    fn start(test: &str, socket: &Path) -> Option<Self> {
        let (Some(program), Some(_)) = (find_program("ssh-agent"), find_program("ssh-add")) else {
            skip(test, "ssh-agent not found");
            return None;
        };
        // In the foreground, so that it is our child and ends with us.
        let mut command = Process::new(program);
        command.arg("-D").arg("-a").arg(socket).stdout(Stdio::null());
        let agent = Self { child: command.spawn().unwrap(), socket: socket.to_owned() };
        let started = std::time::Instant::now();
        while !socket.exists() {
            assert!(started.elapsed().as_secs() < 20, "ssh-agent did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(agent)
    }

    fn add(&self, key: &Path) {
        let output = Process::new("ssh-add").arg(key).env("SSH_AUTH_SOCK", &self.socket).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
