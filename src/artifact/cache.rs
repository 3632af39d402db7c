//! Owns the user's cache of artifacts: `DIGEST.tar.zst` (or `DIGEST.tar`, of what does not compress), `DIGEST.chunks`,
//! `DIGEST.manifest` and `DIGEST.json` each.
//!
//! Several rdeploys may use it at once without a lock: files come into place by a rename, the `.json`
//! last, and what is missing or does not have the digest written there counts as not cached. So
//! nothing here needs to be durable, and a damaged artifact is never deployed.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::FileTimes;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use etcetera::BaseStrategy;
use serde::Deserialize;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::Artifact;
use super::compress::Written;
use super::contents::Contents;
use super::delta::Deltas;
use super::index;
use super::index::Earlier;
use super::index::Known;
use super::press::Codec;
use super::storing::Storing;
use super::tarball;
use crate::release::Digest;
use crate::release::Manifest;

/// Where the cache is, instead of the user's cache directory.
const OVERRIDE: &str = "RDEPLOY_CACHE_DIR";
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
const MAX_ARTIFACTS: usize = 20;
/// Chunks are taken from so many artifacts: those that were used last.
const EARLIER: usize = 4;
/// The files of an artifact. The `.json` comes last and goes first: without it the rest counts as not there.
const EXTENSIONS: [&str; 5] = ["json", "manifest", "chunks", "tar.zst", "tar"];
/// The beginning of the names of files being written.
const TEMPORARY: &str = ".tmp-";
/// Nobody writes to a temporary file, or leaves an artifact without its `.json`, for so long.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// There is no home directory to put it in.
    #[error("no directory for the artifact cache: {reason}; set {OVERRIDE}")]
    NoDirectory {
        /// Why not.
        reason: String,
    },
    /// A file operation failed.
    #[error("cannot {action} the artifact cache {}: {source}{}", dir.display(), hint(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The cache's directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("; free some space, or set {OVERRIDE} to a directory on another disk")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("; set {OVERRIDE} to a directory of your own")
        }
        _ => String::new(),
    }
}

/// The user's cache of artifacts. Nothing is created before the first artifact.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    max_bytes: u64,
    max_artifacts: usize,
}

/// An artifact in the cache, without what only its maker knows.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) digest: Digest,
    pub(super) path: PathBuf,
    pub(super) tar_bytes: u64,
    pub(super) codec: Codec,
    pub(super) storing: Storing,
}

/// The content of a `.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    /// The version of what was written: another one makes another tar of the same manifest.
    format: u32,
    tar_bytes: u64,
    codec: Codec,
    compressed_bytes: u64,
    /// sha256 of the list of its chunks, which has theirs.
    chunks_sha256: String,
}

impl Cache {
    /// Returns the cache of this user: `$RDEPLOY_CACHE_DIR`, or `rdeploy/artifacts` in the user's
    /// cache directory.
    pub fn default_for_user() -> Result<Self, CacheError> {
        if let Some(dir) = std::env::var_os(OVERRIDE).filter(|dir| !dir.is_empty()) {
            let dir = std::path::absolute(dir);
            return dir.map(Self::at).map_err(|error| CacheError::NoDirectory { reason: error.to_string() });
        }
        let base = etcetera::choose_base_strategy();
        let base = base.map_err(|error| CacheError::NoDirectory { reason: error.to_string() })?;
        Ok(Self::at(base.cache_dir().join("rdeploy").join("artifacts")))
    }

    /// Returns a cache in a directory, with the usual bounds.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_bytes: MAX_BYTES, max_artifacts: MAX_ARTIFACTS }
    }

    /// Sets how much it keeps.
    #[must_use]
    pub fn bounded(self, max_bytes: u64, max_artifacts: usize) -> Self {
        Self { max_bytes, max_artifacts, ..self }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the artifact of a release made earlier, if it is still here and undamaged.
    pub fn get(&self, digest: &Digest) -> Option<Artifact> {
        let manifest = Manifest::from_bytes(&self.manifest(digest)?).ok()?;
        Some(self.find(digest)?.into_artifact(manifest.into(), None, true))
    }

    /// Returns the text of a release's manifest, if it is still here and undamaged, whatever became of its content.
    pub(super) fn manifest(&self, digest: &Digest) -> Option<Vec<u8>> {
        let text = fs::read(self.file(digest, "manifest")).ok()?;
        (Digest::of(&text) == *digest).then_some(text)
    }

    /// Returns the artifact of the manifest with this digest, if it is here and undamaged.
    pub(super) fn find(&self, digest: &Digest) -> Option<Stored> {
        let meta = self.meta(digest).filter(|meta| meta.format == tarball::FORMAT)?;
        self.verified(digest, &meta)
    }

    /// Makes the directory; only the user may look into it.
    pub(super) fn prepare(&self) -> Result<(), CacheError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|error| self.cannot("create", error))?;
        let mode = fs::metadata(&self.dir).map_err(|error| self.cannot("read", error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(&self.dir, private).map_err(|error| self.cannot("make private", error))?;
        }
        Ok(())
    }

    /// Makes a file that becomes an artifact.
    pub(super) fn temporary(&self) -> Result<NamedTempFile, CacheError> {
        self.prepare()?;
        let made = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.dir);
        made.map_err(|error| self.cannot("write to", error))
    }

    /// Makes a file without a name, which the system removes.
    pub(super) fn scratch(&self) -> Result<File, CacheError> {
        self.prepare()?;
        tempfile::tempfile_in(&self.dir).map_err(|error| self.cannot("write to", error))
    }

    /// Opens the tar of an artifact, if it is here, to be read.
    pub(super) fn tar(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
        let codec = self.meta(digest).ok_or(io::ErrorKind::NotFound)?.codec;
        codec.reader(File::open(self.artifact(digest, codec))?)
    }

    /// The chunks of what was used last and is compressed in the same way.
    pub(super) fn earlier(&self, codec: Codec) -> Earlier {
        let mut used = self.used();
        used.sort_by_key(|(used, _)| Reverse(*used));
        let mut earlier = Earlier::default();
        for (_, digest) in used.iter().take(EARLIER) {
            if self.meta(digest).is_some_and(|meta| meta.codec == codec) {
                earlier.add(&self.artifact(digest, codec), &self.file(digest, "chunks"));
            }
        }
        earlier
    }

    /// Puts an artifact in its place, and makes room for it.
    pub(super) fn insert(
        &self,
        temporary: NamedTempFile,
        (digest, codec): (Digest, Codec),
        written: &Written,
        manifest: &Manifest,
        chunks: &[Known],
    ) -> Result<(), CacheError> {
        let listed = index::to_text(chunks);
        let meta = Meta {
            format: tarball::FORMAT,
            tar_bytes: written.bytes,
            codec,
            compressed_bytes: written.compressed_bytes,
            chunks_sha256: index::name(&listed).to_string(),
        };
        let json = serde_json::to_vec(&meta).map_err(|error| self.cannot("write to", error.into()))?;
        temporary
            .persist(self.artifact(&digest, codec))
            .map_err(|error| self.cannot("write to", error.error))?;
        self.write(&digest, "chunks", listed.as_bytes())?;
        self.write(&digest, "manifest", &manifest.to_bytes())?;
        self.write(&digest, "json", &json)?;
        self.prune(&digest);
        Ok(())
    }

    pub(super) fn cannot(&self, action: &'static str, source: io::Error) -> CacheError {
        CacheError::Io { action, dir: self.dir.clone(), source }
    }

    /// Where an artifact is.
    pub(super) fn artifact(&self, digest: &Digest, codec: Codec) -> PathBuf {
        self.file(digest, if codec == Codec::Plain { "tar" } else { "tar.zst" })
    }

    fn file(&self, digest: &Digest, extension: &str) -> PathBuf {
        self.dir.join(format!("{digest}.{extension}"))
    }

    fn write(&self, digest: &Digest, extension: &str, content: &[u8]) -> Result<(), CacheError> {
        let mut temporary = self.temporary()?;
        temporary.write_all(content).map_err(|error| self.cannot("write to", error))?;
        let persisted = temporary.persist(self.file(digest, extension));
        persisted.map(drop).map_err(|error| self.cannot("write to", error.error))
    }

    fn meta(&self, digest: &Digest) -> Option<Meta> {
        serde_json::from_slice(&fs::read(self.file(digest, "json")).ok()?).ok()
    }

    fn digests(&self) -> Vec<Digest> {
        let Ok(files) = fs::read_dir(&self.dir) else { return Vec::new() };
        let digest = |file: fs::DirEntry| file.file_name().to_str()?.strip_suffix(".json")?.parse().ok();
        files.flatten().filter_map(digest).collect()
    }

    /// Every artifact, and when it was used last.
    fn used(&self) -> Vec<(SystemTime, Digest)> {
        let used = |digest: &Digest| fs::metadata(self.file(digest, "json")).ok()?.modified().ok();
        self.digests().into_iter().filter_map(|digest| Some((used(&digest)?, digest))).collect()
    }

    /// Reads the artifact once, so that a damaged one is made again instead of being sent.
    fn verified(&self, digest: &Digest, meta: &Meta) -> Option<Stored> {
        let path = self.artifact(digest, meta.codec);
        let listed = fs::read_to_string(self.file(digest, "chunks")).ok()?;
        let is_listed = index::name(&listed).to_string() == meta.chunks_sha256;
        if !is_listed || !index::agrees(&path, &listed, meta.compressed_bytes) {
            return None;
        }
        // The time of the `.json` is the time of the last use.
        let used = FileTimes::new().set_modified(SystemTime::now());
        let _ = File::open(self.file(digest, "json")).and_then(|json| json.set_times(used));
        let Meta { tar_bytes, codec, compressed_bytes, .. } = *meta;
        Some(Stored { digest: *digest, path, tar_bytes, codec, storing: Storing::done(compressed_bytes) })
    }

    /// Removes what was not used for longest until the bounds hold, and what others left half done.
    /// A failure is no failure of the deploy: the next one tries again.
    fn prune(&self, newest: &Digest) {
        let size = |digest: &Digest| {
            let size = |extension| Some(fs::metadata(self.file(digest, extension)).ok()?.len());
            EXTENSIONS.into_iter().filter_map(size).sum()
        };
        let mut kept: Vec<(SystemTime, Digest, u64)> =
            self.used().into_iter().map(|(used, digest)| (used, digest, size(&digest))).collect();
        kept.sort_by_key(|(used, digest, _)| (digest == newest, *used));
        let mut bytes: u64 = kept.iter().map(|(_, _, size)| size).sum();
        let mut count = kept.len();
        for (_, digest, size) in &kept {
            if (bytes <= self.max_bytes && count <= self.max_artifacts) || digest == newest {
                break;
            }
            for extension in EXTENSIONS {
                let _ = fs::remove_file(self.file(digest, extension));
            }
            bytes -= size;
            count -= 1;
        }
        self.remove_abandoned();
    }

    fn remove_abandoned(&self) {
        let Ok(files) = fs::read_dir(&self.dir) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            let half_done = name
                .split_once('.')
                .filter(|(_, extension)| EXTENSIONS.contains(extension))
                .and_then(|(digest, _)| digest.parse().ok())
                .is_some_and(|digest| !self.file(&digest, "json").exists());
            let old = file.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|modified| {
                SystemTime::now().duration_since(modified).is_ok_and(|age| age > ABANDONED)
            });
            if old && (half_done || name.starts_with(TEMPORARY)) {
                let _ = fs::remove_file(file.path());
            }
        }
    }
}

impl Stored {
    /// Completes it to an artifact that knows no commit. `source` is where its files can be read, too.
    pub(super) fn into_artifact(
        self,
        manifest: Arc<Manifest>,
        source: Option<Arc<Contents>>,
        reused: bool,
    ) -> Artifact {
        let Self { digest, path, tar_bytes, codec, storing } = self;
        Artifact {
            digest,
            path,
            manifest,
            tar_bytes,
            codec,
            storing,
            commit: None,
            branch: None,
            reused,
            deltas: Deltas::of(source),
        }
    }
}
