//! Owns the key files of embedded hosts: ed25519, without a passphrase, readable by their owner only.

use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use russh::keys::Algorithm;
use russh::keys::HashAlg;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub(super) russh::keys::PublicKey);

impl PublicKey {
    /// Its SHA256 fingerprint.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Its line for a file of authorized keys, without a newline.
    pub fn line(&self) -> io::Result<String> {
        self.0.to_openssh().map_err(io::Error::other)
    }
}

/// A key pair.
#[derive(Clone, Debug)]
pub struct KeyPair(pub(super) Arc<PrivateKey>);

impl KeyPair {
    /// Makes a new one.
    pub fn generate() -> io::Result<Self> {
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519);
        Ok(Self(Arc::new(key.map_err(io::Error::other)?)))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().clone())
    }

    /// Writes it to a new file with mode 0600, in OpenSSH's format.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let text = self.0.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    }

    /// Reads it from a file.
    pub fn load(path: &Path) -> io::Result<Self> {
        let key = russh::keys::load_secret_key(path, None);
        Ok(Self(Arc::new(key.map_err(|error| match error {
            russh::keys::Error::IO(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })?)))
    }

    /// Reads it from a file, which is made at the first call. Two processes that call this at the same
    /// time get the same key: a complete file is linked into place, and the first link wins.
    pub fn load_or_generate(path: &Path) -> io::Result<Self> {
        match Self::load(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let directory = path.parent().unwrap_or(Path::new("."));
        let scratch = tempfile::Builder::new().prefix(".key").tempdir_in(directory)?;
        let made = scratch.path().join("key");
        Self::generate()?.store(&made)?;
        match std::fs::hard_link(&made, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Self::load(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_stored_key_comes_back_and_is_readable_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = KeyPair::load_or_generate(&path).unwrap();
        assert_eq!(KeyPair::load_or_generate(&path).unwrap().public(), made.public());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        KeyPair::generate().unwrap().store(&path).unwrap();
        let error = KeyPair::generate().unwrap().store(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_damaged_key_file_is_an_error_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(KeyPair::load_or_generate(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "nonsense");
    }
}
