//! Owns key files: reading them, decrypting them when a host wants them, signing with them. Knows
//! not in which order keys are offered.
//!
//! A decrypted key is kept for the rest of the process, so that a passphrase is asked for once
//! whatever the number of hosts; passphrases themselves are kept no longer than their use.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;

use russh::Signer;
use russh::keys::Certificate;
use russh::keys::HashAlg;
use russh::keys::PrivateKey;
use russh::keys::PublicKey;
use russh::keys::agent::AgentIdentity;
use russh::keys::signature;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use zeroize::Zeroizing;

use super::UnusableKey;
use super::asking::Asking;

/// How often a wrong passphrase may be given.
const PASSPHRASES: usize = 3;

/// Keys that were decrypted, and those that could not be; nobody is asked twice for either.
static UNLOCKED: LazyLock<Mutex<HashMap<PathBuf, Unlocked>>> = LazyLock::new(Mutex::default);

#[derive(Clone)]
enum Unlocked {
    Key(Arc<PrivateKey>),
    Failed(UnusableKey),
}

/// A key file.
pub(super) struct Identity {
    pub(super) path: PathBuf,
    /// The public half, where it can be known without a passphrase.
    pub(super) public: Option<PublicKey>,
    /// The certificate that lies beside the key.
    pub(super) certificate: Option<Certificate>,
    secret: Secret,
}

enum Secret {
    Plain(Arc<PrivateKey>),
    Locked(Zeroizing<String>),
    /// Only the public half is here; the secret one may be in an agent.
    Elsewhere,
}

impl Identity {
    /// Reads a key file. Nothing when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, UnusableKey> {
        let unusable = |reason: String| Err(unusable(path, reason, false));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The secret half may be in an agent only.
                let public = public_beside(path);
                return Ok(public.map(|key| Self::new(path, Some(key), Secret::Elsewhere)));
            }
            Err(error) => return unusable(format!("cannot be read: {error}")),
        };
        if let Ok(public) = PublicKey::from_openssh(&text) {
            return Ok(Some(Self::new(path, Some(public), Secret::Elsewhere)));
        }
        if let Some(mode) = too_open(path) {
            return unusable(format!("can be read by others (mode {mode:04o}, `chmod 600` corrects it)"));
        }
        match russh::keys::decode_secret_key(&text, None) {
            Ok(key) => Ok(Some(Self::new(path, Some(key.public_key().clone()), Secret::Plain(key.into())))),
            Err(russh::keys::Error::KeyIsEncrypted) => {
                // OpenSSH's own format keeps the public half readable.
                let own = PrivateKey::from_openssh(text.as_bytes()).ok().map(|key| key.public_key().clone());
                Ok(Some(Self::new(path, own.or_else(|| public_beside(path)), Secret::Locked(text))))
            }
            Err(error) => {
                unusable(format!("is not a key that can be used: {}", error.to_string().to_lowercase()))
            }
        }
    }

    fn new(path: &Path, public: Option<PublicKey>, secret: Secret) -> Self {
        let certificate = russh::keys::load_openssh_certificate(beside(path, "-cert.pub"))
            .ok()
            .filter(|own| public.as_ref().is_none_or(|public| public.key_data() == own.public_key()));
        Self { path: path.to_owned(), public, certificate, secret }
    }

    /// Whether the secret half is here, if perhaps locked.
    pub(super) fn has_secret(&self) -> bool {
        !matches!(self.secret, Secret::Elsewhere)
    }

    /// The secret half; asks for the passphrase if need be.
    pub(super) async fn unlock(&self, asking: &Asking) -> Result<Arc<PrivateKey>, UnusableKey> {
        let text = match &self.secret {
            Secret::Plain(key) => return Ok(Arc::clone(key)),
            Secret::Locked(text) => text,
            Secret::Elsewhere => return Err(unusable(&self.path, "is not here".into(), false)),
        };
        if let Some(unlocked) = remembered(&self.path) {
            return unlocked;
        }
        let turn = asking.turn().await;
        // Another host's login may have asked meanwhile.
        if let Some(unlocked) = remembered(&self.path) {
            return unlocked;
        }
        for _ in 0..PASSPHRASES {
            let (path, text) = (self.path.clone(), text.clone());
            let answer = turn.put(move |ask| {
                let passphrase = ask.passphrase(&path)?;
                // Made slow on purpose by whoever encrypted the key: not for the event loop.
                Some(russh::keys::decode_secret_key(&text, Some(&passphrase)).ok())
            });
            match answer.await {
                None => {
                    let reason = "is encrypted and nobody can be asked; add it to an agent";
                    return Err(unusable(&self.path, reason.into(), true));
                }
                Some(Some(key)) => {
                    let key = Arc::new(key);
                    remember(&self.path, Unlocked::Key(Arc::clone(&key)));
                    return Ok(key);
                }
                Some(None) => {}
            }
        }
        let failed = unusable(&self.path, "is encrypted with another passphrase".into(), true);
        remember(&self.path, Unlocked::Failed(failed.clone()));
        Err(failed)
    }
}

/// Forgets the keys that were decrypted; their memory is overwritten.
pub fn forget_unlocked_keys() {
    UNLOCKED.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

fn remember(path: &Path, unlocked: Unlocked) {
    UNLOCKED.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), unlocked);
}

fn remembered(path: &Path) -> Option<Result<Arc<PrivateKey>, UnusableKey>> {
    match UNLOCKED.lock().unwrap_or_else(PoisonError::into_inner).get(path)? {
        Unlocked::Key(key) => Some(Ok(Arc::clone(key))),
        Unlocked::Failed(unusable) => Some(Err(unusable.clone())),
    }
}

fn unusable(path: &Path, reason: String, encrypted: bool) -> UnusableKey {
    UnusableKey { origin: path.display().to_string(), reason, encrypted }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn public_beside(path: &Path) -> Option<PublicKey> {
    PublicKey::from_openssh(&std::fs::read_to_string(beside(path, ".pub")).ok()?).ok()
}

/// The mode of a key file of ours that others can read; OpenSSH does not use such a key either.
fn too_open(path: &Path) -> Option<u32> {
    let metadata = std::fs::metadata(path).ok()?;
    let mode = metadata.mode() & 0o7777;
    (metadata.uid() == rustix::process::getuid().as_raw() && mode & 0o077 != 0).then_some(mode)
}

/// Signs with a key file, which is unlocked only when a host has said that it takes the key.
pub(super) struct FileSigner<'a> {
    pub(super) identity: &'a Identity,
    pub(super) asking: &'a Asking,
}

/// Why there is no signature.
#[derive(Debug)]
pub(super) enum SignError {
    /// The connection is gone.
    Gone,
    /// The key cannot be used.
    Unusable(UnusableKey),
}

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> Self {
        Self::Gone
    }
}

impl Signer for FileSigner<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut message: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let key = self.identity.unlock(self.asking).await.map_err(SignError::Unusable)?;
        let failed = |reason: String| {
            SignError::Unusable(unusable(&self.identity.path, format!("cannot sign: {reason}"), false))
        };
        let signature = sign(&key, hash, &message).map_err(|error| failed(error.to_string()))?;
        // The answer is the message with the signature behind it, as a string of the protocol.
        signature.encode_prefixed(&mut message).map_err(|error| failed(error.to_string()))?;
        Ok(message)
    }
}

fn sign(key: &PrivateKey, hash: Option<HashAlg>, message: &[u8]) -> Result<Signature, signature::Error> {
    match key.key_data() {
        KeypairData::Rsa(pair) => signature::Signer::try_sign(&(pair, hash), message),
        other => signature::Signer::try_sign(other, message),
    }
}
