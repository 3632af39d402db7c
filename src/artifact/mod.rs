//! Owns the release tarball: local commands, choosing files, the deterministic tar, its digest, the cache.
//! Knows no host and no terminal.

mod buffer;
mod cache;
mod choose;
mod chunks;
mod compress;
mod contents;
mod delta;
mod density;
mod digests;
mod git;
mod hashes;
mod index;
mod links;
pub mod local;
mod open;
mod pack;
mod press;
mod problem;
mod progress;
mod save;
mod source;
mod store;
mod storing;
mod tarball;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

pub use self::cache::Cache;
pub use self::cache::CacheError;
pub use self::choose::BadGlob;
pub use self::choose::ChooseError;
pub use self::delta::Deltas;
pub use self::delta::Difference;
pub use self::delta::Edits;
pub use self::delta::Pack;
pub use self::delta::Patch;
pub use self::open::OpenError;
pub use self::open::open;
pub use self::pack::PackError;
pub use self::pack::PackRequest;
pub use self::pack::pack;
pub use self::press::Codec;
pub use self::problem::Problem;
pub use self::problem::Problems;
pub use self::save::SaveError;
pub use self::save::save;
pub use self::store::StoreError;
pub use self::storing::StoreFailure;
pub use self::storing::Storing;

use crate::event::EventKind;
use crate::event::Events;
use crate::release::Digest;
use crate::release::Manifest;

/// A packed release. It may still be on its way into the cache.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// sha256 of the manifest: its name.
    pub digest: Digest,
    /// Where the tar is, once it is stored.
    pub path: PathBuf,
    /// What is in it.
    pub manifest: Arc<Manifest>,
    /// Size of the uncompressed tar in bytes.
    pub tar_bytes: u64,
    /// What the tar is stored as.
    pub codec: Codec,
    /// How far that is on its way there.
    pub storing: Storing,
    /// Git commit of the source tree, with `-dirty` when it differs; none outside git.
    pub commit: Option<String>,
    /// Git branch; none outside git or when detached.
    pub branch: Option<String>,
    /// Whether the cache already had it.
    pub reused: bool,
    /// What was made of it for hosts that lack only a part.
    pub deltas: Deltas,
}

impl Artifact {
    /// Size of the compressed tar in bytes; nothing, while it is being compressed.
    pub fn compressed_bytes(&self) -> Option<u64> {
        self.storing.bytes()
    }
}

/// States that there is an artifact now.
fn announce(artifact: &Artifact, events: &Events) {
    events.emit(EventKind::ArtifactPacked {
        digest: artifact.digest.to_string(),
        files: artifact.manifest.files(),
        bytes: artifact.manifest.bytes(),
        compressed: artifact.compressed_bytes(),
        reused: artifact.reused,
    });
}
