//! Owns the making of a connection: its stages in their order, and the limit on their time. Knows
//! neither how keys are chosen nor how a host is recognised.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use russh::Preferred;
use russh::cipher;
use russh::client;
use russh::keys::Algorithm;
use russh::mac;

use super::Ask;
use super::ConnectError;
use super::Connection;
use super::Settings;
use super::Stage;
use super::Surroundings;
use super::Target;
use super::asking::Asking;
use super::asking::Stopwatch;
use super::connection::Fate;
use super::host_key::Client;
use super::host_key::Failure;
use super::host_key::Recognition;
use super::known_hosts;
use super::login;
use super::tcp;
use super::traffic::Meter;

/// How often a connection is tried that ended while a person was asked.
const ATTEMPTS: u32 = 4;

/// How often a connection is tried that the host closed at once, as sshd does to some of those who come
/// when many log in (`MaxStartups`).
const TURNED_AWAY: u32 = 6;

/// About how long before the second of these tries; each further pause is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// Connects to a host and logs in, with `HOME` and `SSH_AUTH_SOCK` of this process.
pub async fn connect(
    target: &Target,
    settings: &Settings,
    ask: &Arc<dyn Ask>,
) -> Result<Connection, ConnectError> {
    connect_in(target, settings, ask, &Surroundings::from_env()).await
}

/// Connects to a host and logs in.
pub async fn connect_in(
    target: &Target,
    settings: &Settings,
    ask: &Arc<dyn Ask>,
    surroundings: &Surroundings,
) -> Result<Connection, ConnectError> {
    let (mut attempts, started) = (0, Instant::now());
    loop {
        let watch = Arc::new(Stopwatch::start());
        let asking = Asking::new(Arc::clone(ask), Arc::clone(&watch));
        attempts += 1;
        // What this takes is given back at its end: whoever waits for hundreds of hosts keeps the rest for long.
        match Box::pin(attempt(target, settings, surroundings, &asking, &watch)).await {
            // A host waits two minutes for a login. Who looks a fingerprint up takes longer, and has
            // answered by now: answers are kept, so each further attempt asks something else.
            Err(ConnectError::Closed { .. }) if asking.asked() && attempts < ATTEMPTS => {}
            Err(ConnectError::Closed { stage: Stage::KeyExchange, .. })
                if !asking.asked()
                    && attempts < TURNED_AWAY
                    && started.elapsed() + pause(attempts) < settings.connect_timeout =>
            {
                // Not all of those who were turned away together come again together.
                let spread = getrandom::u32().unwrap_or_default() % 100;
                tokio::time::sleep(pause(attempts) * (50 + spread) / 100).await;
            }
            result => return result,
        }
    }
}

/// About how long to wait after that many attempts.
fn pause(attempts: u32) -> Duration {
    PAUSE * 2_u32.saturating_pow(attempts.saturating_sub(1))
}

async fn attempt(
    target: &Target,
    settings: &Settings,
    surroundings: &Surroundings,
    asking: &Asking,
    watch: &Stopwatch,
) -> Result<Connection, ConnectError> {
    let stage = Mutex::new(Stage::Resolve);
    let enter = |next| *stage.lock().unwrap_or_else(PoisonError::into_inner) = next;
    let stages = pin!(async {
        let addresses = tcp::resolve(target).await?;
        enter(Stage::Tcp);
        let meter = Meter::default();
        let stream = tcp::open(target, &addresses, settings.connect_timeout, &meter).await?;
        enter(Stage::KeyExchange);
        let recognition = recognition(target, settings, surroundings)?;
        let config = Arc::new(config(&recognition.algorithms()));
        let fate = Fate::new(target.name.clone());
        let (target_, asking_) = (target.clone(), asking.clone());
        // The library keeps several copies of what it is handed.
        let client =
            Box::new(Client { target: target_, recognition, asking: asking_, fate: Arc::clone(&fate) });
        let connected = client::connect_stream(config, stream, client).await;
        let mut handle = connected.map_err(|failure| explain(target, failure))?;
        enter(Stage::Login);
        login::login(&mut handle, target, settings, surroundings, asking, &fate).await?;
        Ok(Connection::new(handle, fate, meter))
    });
    watch.limit(settings.connect_timeout, stages).await.unwrap_or_else(|| {
        let stage = *stage.lock().unwrap_or_else(PoisonError::into_inner);
        let (host, limit) = (target.name.clone(), settings.connect_timeout);
        Err(ConnectError::Timeout { host, stage, limit })
    })
}

fn recognition(
    target: &Target,
    settings: &Settings,
    surroundings: &Surroundings,
) -> Result<Recognition, ConnectError> {
    let (paths, learns) = known_hosts_files(settings, surroundings);
    let unread = |(file, source)| ConnectError::KnownHosts { host: target.name.clone(), file, source };
    let files = known_hosts::open(&paths).map_err(unread)?;
    Recognition::of(target, files, learns).map_err(unread)
}

/// The files of known hosts, and the one among them that learns.
fn known_hosts_files(settings: &Settings, surroundings: &Surroundings) -> (Vec<PathBuf>, Option<PathBuf>) {
    if !settings.known_hosts.is_empty() {
        let files: Vec<_> = settings.known_hosts.iter().map(|path| surroundings.expand(path)).collect();
        let learns = files.first().cloned();
        return (files, learns);
    }
    let mut files = Vec::new();
    if let Some(home) = &surroundings.home {
        files.extend(["known_hosts", "known_hosts2"].map(|name| home.join(".ssh").join(name)));
    }
    let learns = files.first().cloned();
    files.push(PathBuf::from("/etc/ssh/ssh_known_hosts"));
    (files, learns)
}

/// What went wrong before the login.
fn explain(target: &Target, failure: Failure) -> ConnectError {
    let host = target.name.clone();
    match failure {
        Failure::Refused(error) => *error,
        Failure::Library(error @ (russh::Error::IO(_) | russh::Error::HUP | russh::Error::Disconnect)) => {
            ConnectError::Closed { host, stage: Stage::KeyExchange, source: error.into() }
        }
        Failure::Library(error) => ConnectError::KeyExchange { host, source: error.into() },
    }
}

/// The library's settings for a connection.
fn config(known: &[Algorithm]) -> client::Config {
    client::Config {
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        // While a write to the socket blocks, only this one is looked at.
        inactivity_timeout: Some(Duration::from_secs(90)),
        preferred: Preferred {
            cipher: ciphers(fast_aes()).into(),
            mac: vec![mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512].into(),
            key: host_key_algorithms(known).into(),
            compression: vec![russh::compression::NONE].into(),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

fn ciphers(fast_aes: bool) -> Vec<cipher::Name> {
    let aes = [cipher::AES_128_GCM, cipher::AES_256_GCM];
    let chacha = [cipher::CHACHA20_POLY1305];
    let last = [cipher::AES_256_CTR, cipher::AES_192_CTR, cipher::AES_128_CTR];
    match fast_aes {
        true => [&aes[..], &chacha, &last].concat(),
        false => [&chacha[..], &aes, &last].concat(),
    }
}

/// Whether this machine computes AES in hardware.
fn fast_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Types of host keys, those first that are known for the host: a host that has both a known key and
/// one of a type liked better would otherwise look like a stranger. RSA with SHA-1 is not among them.
fn host_key_algorithms(known: &[Algorithm]) -> Vec<Algorithm> {
    let all = Preferred::DEFAULT.key.iter().filter(|a| !matches!(a, Algorithm::Rsa { hash: None }));
    let is_known = |algorithm: &Algorithm| {
        known.iter().any(|known| match (known, algorithm) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            (known, algorithm) => known == algorithm,
        })
    };
    let (mut first, rest): (Vec<_>, Vec<_>) = all.cloned().partition(is_known);
    first.extend(rest);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_types_are_asked_for_first_and_sha1_never() {
        let names = |known: &[Algorithm]| {
            host_key_algorithms(known).iter().map(Algorithm::to_string).collect::<Vec<_>>().join(" ")
        };
        insta::assert_snapshot!(names(&[]), @"ssh-ed25519 ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521 rsa-sha2-512 rsa-sha2-256");
        insta::assert_snapshot!(names(&[Algorithm::Rsa { hash: None }]), @"rsa-sha2-512 rsa-sha2-256 ssh-ed25519 ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521");
    }

    #[test]
    fn no_cipher_is_offered_that_is_weak_on_its_own() {
        for fast in [true, false] {
            for cipher in ciphers(fast) {
                assert!(!cipher.as_ref().contains("cbc"), "{cipher:?}");
            }
        }
        assert_eq!(ciphers(true).first(), Some(&cipher::AES_128_GCM));
        assert_eq!(ciphers(false).first(), Some(&cipher::CHACHA20_POLY1305));
    }

    #[test]
    fn who_has_a_connection_no_longer_holds_what_making_it_took() {
        let target =
            Target { name: "web1".into(), user: "ann".into(), address: "192.0.2.1".into(), port: 22 };
        let settings = Settings {
            identity: Vec::new(),
            known_hosts: Vec::new(),
            connect_timeout: Duration::from_secs(1),
            agent: false,
        };
        let ask: Arc<dyn Ask> = Arc::new(crate::ssh::AskNobody);
        let size = size_of_val(&connect(&target, &settings, &ask));
        assert!(size < 1024, "{size} bytes");
    }

    #[test]
    fn only_the_users_own_file_learns_keys() {
        let settings = |known_hosts: &[&str]| Settings {
            identity: Vec::new(),
            known_hosts: known_hosts.iter().map(PathBuf::from).collect(),
            connect_timeout: Duration::from_secs(1),
            agent: false,
        };
        let home = Surroundings { home: Some("/home/me".into()), agent_socket: None };
        let (files, learns) = known_hosts_files(&settings(&[]), &home);
        assert_eq!(files.len(), 3);
        assert_eq!(learns, Some("/home/me/.ssh/known_hosts".into()));
        let (_, learns) = known_hosts_files(&settings(&[]), &Surroundings::default());
        assert_eq!(learns, None);
        let (files, learns) = known_hosts_files(&settings(&["~/a", "/b"]), &home);
        assert_eq!(files, [PathBuf::from("/home/me/a"), PathBuf::from("/b")]);
        assert_eq!(learns, Some("/home/me/a".into()));
    }
}
