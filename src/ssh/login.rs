//! Owns the login: which keys are offered to a host, in which order, and how many. Knows not how a
//! key file is read. No passwords: what deploys without anybody watching logs in with keys.

use std::path::PathBuf;

use russh::AgentAuthError;
use russh::MethodSet;
use russh::client::AuthResult;
use russh::client::Handle;
use russh::keys::Algorithm;
use russh::keys::HashAlg;
use russh::keys::PublicKey;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use tokio::net::UnixStream;

use super::ConnectError;
use super::OfferedKey;
use super::Settings;
use super::Stage;
use super::Surroundings;
use super::Target;
use super::UnusableKey;
use super::asking::Asking;
use super::connection::Fate;
use super::host_key::Client;
use super::identity::FileSigner;
use super::identity::Identity;
use super::identity::SignError;

/// sshd cuts off after six refused keys (`MaxAuthTries`), and may then ignore us for a while.
const OFFERS: usize = 6;

/// The key files that are tried when none is configured.
const DEFAULTS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

type Agent = AgentClient<UnixStream>;

/// A key that may be offered.
enum Candidate<'a> {
    /// Held by the agent.
    Agent(Box<AgentIdentity>),
    /// In a file.
    File(&'a Identity),
    /// In a file, with the certificate that lies beside it.
    Certified(&'a Identity),
}

/// What a host said to a key.
enum Answer {
    Accepted,
    Refused { remaining: MethodSet, partial: bool },
}

/// Logs in.
pub(super) async fn login(
    handle: &mut Handle<Box<Client>>,
    target: &Target,
    settings: &Settings,
    surroundings: &Surroundings,
    asking: &Asking,
    fate: &Fate,
) -> Result<(), ConnectError> {
    let mut unusable = Vec::new();
    let identities = identities(settings, surroundings, &mut unusable);
    let (mut agent, held) = match agent(settings, surroundings, &mut unusable).await {
        Some((agent, held)) => (Some(agent), held),
        None => (None, Vec::new()),
    };
    let only = (!settings.identity.is_empty()).then_some(identities.as_slice());
    let candidates = order(held, &identities, only);
    let mut login = Login { handle, target, asking, rsa: None, offered: Vec::new(), unusable, closed: false };
    let mut limited = false;
    let mut partial = false;
    for candidate in &candidates {
        if login.offered.len() == OFFERS {
            limited = true;
            break;
        }
        match login.offer(candidate, agent.as_mut()).await {
            Some(Answer::Accepted) => return Ok(()),
            Some(Answer::Refused { remaining, partial: more }) => {
                partial |= more;
                if remaining.is_empty() || more {
                    break;
                }
            }
            None => {}
        }
        if login.closed {
            break;
        }
    }
    login.refused(fate, limited, partial)
}

struct Login<'a> {
    handle: &'a mut Handle<Box<Client>>,
    target: &'a Target,
    asking: &'a Asking,
    /// The hash for RSA signatures, once the host was asked; none when it knows only SHA-1.
    rsa: Option<Option<HashAlg>>,
    offered: Vec<OfferedKey>,
    unusable: Vec<UnusableKey>,
    closed: bool,
}

impl Login<'_> {
    /// Offers a key. Nothing when it could not be offered.
    async fn offer(&mut self, candidate: &Candidate<'_>, agent: Option<&mut Agent>) -> Option<Answer> {
        let public = self.public(candidate).await?;
        let hash = self.hash(candidate, &public).await?;
        let user = self.target.user.clone();
        self.offered.push(OfferedKey { origin: candidate.origin(), fingerprint: fingerprint(&public) });
        let (handle, asking) = (&mut *self.handle, self.asking);
        let result = match candidate {
            Candidate::File(identity) => {
                let mut signer = FileSigner { identity, asking };
                handle.authenticate_publickey_with(user, public, hash, &mut signer).await
            }
            Candidate::Certified(identity) => {
                let mut signer = FileSigner { identity, asking };
                let certificate = identity.certificate.clone()?;
                handle.authenticate_certificate_with(user, certificate, hash, &mut signer).await
            }
            Candidate::Agent(identity) => {
                let result = match &**identity {
                    AgentIdentity::PublicKey { .. } => {
                        handle.authenticate_publickey_with(user, public, hash, agent?).await
                    }
                    AgentIdentity::Certificate { certificate, .. } => {
                        let certificate = certificate.clone();
                        handle.authenticate_certificate_with(user, certificate, hash, agent?).await
                    }
                };
                result.map_err(|error| agent_error(candidate, error))
            }
        };
        match result {
            Ok(AuthResult::Success) => Some(Answer::Accepted),
            Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                Some(Answer::Refused { remaining: remaining_methods, partial: partial_success })
            }
            Err(SignError::Gone) => {
                self.closed = true;
                None
            }
            Err(SignError::Unusable(key)) => {
                self.offered.pop();
                self.unusable.push(key);
                None
            }
        }
    }

    /// The public half, for which an old file format may need the passphrase.
    async fn public(&mut self, candidate: &Candidate<'_>) -> Option<PublicKey> {
        let identity = match candidate {
            Candidate::Agent(identity) => return Some(identity.public_key().into_owned()),
            Candidate::File(identity) | Candidate::Certified(identity) => identity,
        };
        if let Some(public) = &identity.public {
            return Some(public.clone());
        }
        match identity.unlock(self.asking).await {
            Ok(key) => Some(key.public_key().clone()),
            Err(key) => {
                self.unusable.push(key);
                None
            }
        }
    }

    /// The hash to sign with, which only RSA keys need. Nothing when the host would want SHA-1.
    async fn hash(&mut self, candidate: &Candidate<'_>, public: &PublicKey) -> Option<Option<HashAlg>> {
        if !matches!(public.algorithm(), Algorithm::Rsa { .. }) {
            return Some(None);
        }
        if self.rsa.is_none() {
            self.rsa = Some(match self.handle.best_supported_rsa_hash().await {
                Ok(Some(known)) => known,
                // A host that does not say: all that are still maintained know this one.
                Ok(None) => Some(HashAlg::Sha512),
                Err(_) => {
                    self.closed = true;
                    return None;
                }
            });
        }
        let hash = self.rsa.flatten();
        if hash.is_none() {
            let reason = "is not used, because the host would take only SHA-1 signatures of it".to_owned();
            self.unusable.push(UnusableKey { origin: candidate.origin(), reason, encrypted: false });
        }
        hash.map(Some)
    }

    fn refused(self, fate: &Fate, limited: bool, partial: bool) -> Result<(), ConnectError> {
        let (host, user) = (self.target.name.clone(), self.target.user.clone());
        let gone = self.closed || self.handle.is_closed();
        // Not a word about the keys, or a person took longer to answer than the host waits.
        if gone && (self.offered.is_empty() || self.asking.asked()) {
            let source = fate.lost().into();
            return Err(ConnectError::Closed { host, stage: Stage::Login, source });
        }
        let Self { offered, unusable, .. } = self;
        Err(ConnectError::LoginRefused { host, user, offered, unusable, limited: limited || gone, partial })
    }
}

impl Candidate<'_> {
    fn origin(&self) -> String {
        match self {
            Self::Agent(identity) => format!("agent key {}", super::host_key::printable(identity.comment())),
            Self::File(identity) => identity.path.display().to_string(),
            Self::Certified(identity) => format!("{}-cert.pub", identity.path.display()),
        }
    }
}

fn fingerprint(public: &PublicKey) -> String {
    format!("{} {}", public.algorithm().as_str(), public.fingerprint(HashAlg::Sha256))
}

fn agent_error(candidate: &Candidate<'_>, error: AgentAuthError) -> SignError {
    match error {
        AgentAuthError::Send(_) => SignError::Gone,
        AgentAuthError::Key(error) => SignError::Unusable(UnusableKey {
            origin: candidate.origin(),
            reason: format!("was not signed with: {}", error.to_string().to_lowercase()),
            encrypted: false,
        }),
    }
}

/// Reads the configured key files, or the usual ones.
fn identities(
    settings: &Settings,
    surroundings: &Surroundings,
    unusable: &mut Vec<UnusableKey>,
) -> Vec<Identity> {
    let configured = !settings.identity.is_empty();
    let paths: Vec<PathBuf> = match (&surroundings.home, configured) {
        (_, true) => settings.identity.iter().map(|path| surroundings.expand(path)).collect(),
        (Some(home), false) => DEFAULTS.iter().map(|name| home.join(".ssh").join(name)).collect(),
        (None, false) => Vec::new(),
    };
    let mut identities = Vec::new();
    for path in paths {
        match Identity::read(&path) {
            Ok(Some(identity)) => identities.push(identity),
            Ok(None) if configured => unusable.push(UnusableKey {
                origin: path.display().to_string(),
                reason: "does not exist".into(),
                encrypted: false,
            }),
            Ok(None) => {}
            Err(key) => unusable.push(key),
        }
    }
    identities
}

/// Asks the agent what it holds. An agent that cannot be reached is no reason to give up.
async fn agent(
    settings: &Settings,
    surroundings: &Surroundings,
    unusable: &mut Vec<UnusableKey>,
) -> Option<(Agent, Vec<AgentIdentity>)> {
    let socket = surroundings.agent_socket.as_ref().filter(|_| settings.agent)?;
    let asked = async {
        let mut agent = AgentClient::connect_uds(socket).await?;
        let held = agent.request_identities().await?;
        Ok::<_, russh::keys::Error>((agent, held))
    };
    match asked.await {
        Ok(answer) => Some(answer),
        Err(error) => {
            unusable.push(UnusableKey {
                origin: format!("agent at {}", socket.display()),
                reason: format!("did not answer: {}", error.to_string().to_lowercase()),
                encrypted: false,
            });
            None
        }
    }
}

/// The order in which keys are offered: the agent's first, as they need nobody; of those only the
/// configured ones, where any are configured. A file whose key the agent holds is not offered again.
fn order<'a>(
    held: Vec<AgentIdentity>,
    identities: &'a [Identity],
    only: Option<&[Identity]>,
) -> Vec<Candidate<'a>> {
    let same = |identity: &Identity, held: &AgentIdentity| {
        identity.public.as_ref().is_some_and(|own| own.key_data() == held.public_key().key_data())
    };
    let held: Vec<_> = held
        .into_iter()
        .filter(|held| only.is_none_or(|only| only.iter().any(|identity| same(identity, held))))
        .collect();
    let mut files = Vec::new();
    for identity in identities.iter().filter(|identity| identity.has_secret()) {
        let is_held = |certified: bool| {
            held.iter().any(|held| {
                same(identity, held) && matches!(held, AgentIdentity::Certificate { .. }) == certified
            })
        };
        if identity.certificate.is_some() && !is_held(true) {
            files.push(Candidate::Certified(identity));
        }
        if !is_held(false) {
            files.push(Candidate::File(identity));
        }
    }
    held.into_iter().map(|held| Candidate::Agent(Box::new(held))).chain(files).collect()
}
