//! Owns the decision whether the host that answers is the one that is meant, and is where the SSH
//! library reports what happens to a connection. Knows not how connections are made.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use russh::client;
use russh::client::DisconnectReason;
use russh::keys::HashAlg;
use russh::keys::PublicKey;
use russh::keys::PublicKeyOrCertificate;

use super::ConnectError;
use super::KnownKey;
use super::Target;
use super::UnknownKey;
use super::asking::Asking;
use super::connection::Fate;
use super::error::ssh_command;
use super::known_hosts;
use super::known_hosts::File;
use super::known_hosts::Known;
use super::known_hosts::Verdict;

/// What is called back while a connection lives.
pub(super) struct Client {
    pub(super) target: Target,
    pub(super) recognition: Recognition,
    pub(super) asking: Asking,
    pub(super) fate: Arc<Fate>,
}

/// What is known of a host.
#[derive(Clone, Debug)]
pub(super) struct Recognition {
    known: Known,
    /// What is known under the bare name, where the port is not 22: OpenSSH accepts such a key too.
    bare: Known,
    /// The file that learns new keys.
    learns: Option<PathBuf>,
    /// The file named in advice.
    advised: PathBuf,
}

impl Recognition {
    /// Looks a target up in the files, of which the first that is the user's own learns new keys.
    pub(super) fn of(
        target: &Target,
        files: Vec<File>,
        learns: Option<PathBuf>,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let host = target.address.as_str();
        let (known, bare) = match target.port {
            22 => {
                let [known] = known_hosts::look_up(files, [(host, 22)])?;
                (known, Known::default())
            }
            port => known_hosts::look_up(files, [(host, port), (host, 22)])?.into(),
        };
        let advised = learns.clone().unwrap_or_else(|| PathBuf::from("/etc/ssh/ssh_known_hosts"));
        Ok(Self { known, bare, learns, advised })
    }

    /// The types of keys that are known, to be asked for first.
    pub(super) fn algorithms(&self) -> Vec<russh::keys::Algorithm> {
        self.known.algorithms()
    }

    fn judge(&self, key: &PublicKey) -> Verdict {
        match (self.known.judge(key), self.bare.judge(key)) {
            (Verdict::Revoked(mark), _) | (_, Verdict::Revoked(mark)) => Verdict::Revoked(mark),
            (Verdict::Unknown(_), Verdict::Known) => Verdict::Known,
            (verdict, _) => verdict,
        }
    }
}

/// Why the SSH library was told to stop, or stopped by itself.
#[derive(Debug)]
pub(super) enum Failure {
    /// We said no. Wherever the library may fail it has the room for this.
    Refused(Box<ConnectError>),
    /// It said no.
    Library(russh::Error),
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Self {
        Self::Library(error)
    }
}

impl Client {
    async fn recognise(&self, key: &PublicKey) -> Result<(), ConnectError> {
        match self.recognition.judge(key) {
            Verdict::Known => Ok(()),
            Verdict::Revoked(key) => Err(ConnectError::HostKeyRevoked { host: self.host(), key }),
            Verdict::Changed(known) => Err(ConnectError::HostKeyChanged {
                host: self.host(),
                algorithm: key.algorithm().as_str().to_owned(),
                fingerprint: fingerprint(key),
                known,
            }),
            // Whoever could answer with a key of a new type might be somebody else; a person who is
            // asked about "a new host" would not see that.
            Verdict::Unknown(other_types) if !other_types.is_empty() => {
                Err(self.unknown(key, other_types, false))
            }
            Verdict::Unknown(_) => self.ask(key).await,
        }
    }

    async fn ask(&self, key: &PublicKey) -> Result<(), ConnectError> {
        let (host, algorithm) = (self.host(), key.algorithm().as_str().to_owned());
        let shown = fingerprint(key);
        let turn = self.asking.turn().await;
        match turn.put(move |ask| ask.accept_host_key(&host, &algorithm, &shown)).await {
            Some(true) => {
                self.learn(key);
                Ok(())
            }
            Some(false) => Err(self.unknown(key, Vec::new(), true)),
            None => Err(self.unknown(key, Vec::new(), false)),
        }
    }

    /// Remembers an accepted key. The person has decided about this connection; that the decision
    /// cannot be kept is worth a warning and no more.
    fn learn(&self, key: &PublicKey) {
        let Some(file) = &self.recognition.learns else { return };
        if let Err(error) = known_hosts::append(file, &self.target.address, self.target.port, key) {
            tracing::warn!(file = %file.display(), %error, "cannot remember the host key");
        }
    }

    fn unknown(&self, key: &PublicKey, other_types: Vec<KnownKey>, declined: bool) -> ConnectError {
        let key = UnknownKey {
            algorithm: key.algorithm().as_str().to_owned(),
            fingerprint: fingerprint(key),
            other_types,
            file: self.recognition.advised.clone(),
            command: ssh_command(&self.target),
            declined,
        };
        ConnectError::HostKeyUnknown { host: self.host(), key: Box::new(key) }
    }

    fn host(&self) -> String {
        self.target.name.clone()
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl client::Handler for Box<Client> {
    type Error = Failure;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, Failure> {
        // Host certificates are not asked for; a host that sends one anyway is judged by its key.
        let recognised = Box::pin(self.recognise(&presented.public_key())).await;
        recognised.map(|()| true).map_err(|error| Failure::Refused(Box::new(error)))
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        names: &russh::Names,
        _: &mut client::Session,
    ) -> Result<(), Failure> {
        // Without strict key exchange this cipher lets somebody in between drop messages (Terrapin,
        // CVE-2023-48795).
        if names.cipher == russh::cipher::CHACHA20_POLY1305 && !names.strict_kex() {
            return Err(Failure::Refused(Box::new(ConnectError::KeyExchange {
                host: self.host(),
                source: "the host offers no safe cipher: its sshd predates strict key exchange".into(),
            })));
        }
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failure>) -> Result<(), Failure> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.fate.end(match info.message.is_empty() {
                    true => "the host ended it".to_owned(),
                    false => format!("the host ended it ({})", printable(&info.message)),
                });
                Ok(())
            }
            DisconnectReason::Error(failure) => {
                if let Failure::Library(error) = &failure {
                    self.fate.end(error.to_string().to_lowercase());
                }
                Err(failure)
            }
        }
    }
}

/// What a host says, without anything that could steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio";

    fn judge(text: &str, port: u16) -> Verdict {
        let target = Target { name: "web".into(), user: "me".into(), address: "web".into(), port };
        let text = Box::new(io::Cursor::new(text.to_owned()));
        let file = File { path: "known_hosts".into(), text };
        Recognition::of(&target, vec![file], None).unwrap().judge(&PublicKey::from_openssh(KEY).unwrap())
    }

    #[test]
    fn a_key_known_for_the_bare_name_is_known_on_every_port_as_in_openssh() {
        assert_eq!(judge(&format!("web {KEY}"), 2222), Verdict::Known);
        assert_eq!(judge(&format!("[web]:2222 {KEY}"), 22), Verdict::Unknown(Vec::new()));
        assert!(matches!(judge(&format!("@revoked web {KEY}\n[web]:2222 {KEY}"), 2222), Verdict::Revoked(_)));
    }

    #[test]
    fn what_a_host_says_cannot_steer_a_terminal() {
        assert_eq!(printable("too \u{1b}[31mmany\r\n"), "too [31mmany");
        assert_eq!(printable(&"x".repeat(5_000)).len(), 200);
    }
}
