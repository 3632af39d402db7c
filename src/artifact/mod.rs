//! Owns the release tarball: local commands, choosing files, the deterministic tar, its digest, the cache.
//! Knows no host and no terminal.

use std::path::PathBuf;

use crate::release::Digest;
use crate::release::Manifest;

/// A packed release.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// sha256 of the uncompressed tar: its name.
    pub digest: Digest,
    /// The gzipped tar.
    pub path: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
    /// Size of the uncompressed tar in bytes.
    pub tar_bytes: u64,
    /// Size of the gzipped tar in bytes.
    pub compressed_bytes: u64,
    /// Git commit of the source tree, with `-dirty` when it differs; none outside git.
    pub commit: Option<String>,
    /// Git branch; none outside git or when detached.
    pub branch: Option<String>,
    /// Whether the cache already had it.
    pub reused: bool,
}
