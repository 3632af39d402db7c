//! Owns making the artifact of a manifest: the tar is compressed into the cache while others go on with it, chunk by
//! chunk; those that an artifact made earlier has too are copied. Contents are compared with the manifest each time
//! they are read. Where they come from is the caller's.

#[cfg(test)]
mod tests;

use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::cache::CacheError;
use super::cache::Stored;
use super::chunks;
use super::chunks::Chunk;
use super::chunks::Pieces;
use super::compress;
use super::compress::Block;
use super::compress::CompressError;
use super::compress::Written;
use super::contents::Contents;
use super::density;
use super::hashes;
use super::index;
use super::index::Earlier;
use super::index::Known;
use super::press::Codec;
use super::press::Press;
use super::storing::Storing;
use super::storing::Teller;
use super::tarball;
use crate::release::Digest;
use crate::release::Manifest;

/// Why the artifact was not made.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The cache could not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file, relative to the source.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file was not the same when it was read a second time.
    #[error("{path} changed while it was being read; is a build or a watcher still running?")]
    Changed {
        /// The file, relative to the source.
        path: String,
    },
    /// The user asked to stop.
    #[error("packing was interrupted")]
    Canceled,
    /// What hosts without zstd get could not be made.
    #[error("cannot compress for a host that has no zstd: {0}")]
    Gzip(io::Error),
    /// The system has no thread to spare.
    #[error("cannot start compressing: {0}")]
    Thread(io::Error),
    /// A thread ended without a word.
    #[error("packing stopped unexpectedly; this is a bug in rdeploy, please report it")]
    Ended,
}

/// A tar of this size is compressed before anybody goes on: it takes less than it would save.
const AT_ONCE: u64 = 1024 * 1024;

/// What an artifact is made of.
#[derive(Clone, Debug)]
pub(super) struct Making {
    pub(super) cache: Cache,
    pub(super) manifest: Arc<Manifest>,
    pub(super) contents: Arc<Contents>,
    pub(super) pieces: Pieces,
    /// Where it is written what an earlier run knew of the files, if that was believed: it goes, should one of them not
    /// be what it was.
    pub(super) believed: Option<PathBuf>,
    pub(super) cancel: CancellationToken,
}

impl Making {
    /// Begins to make the artifact of this name in the cache.
    pub(super) fn begin(self, digest: Digest) -> Result<Stored, StoreError> {
        let cache = &self.cache;
        let tar_bytes = tarball::size(&self.manifest);
        let temporary = cache.temporary()?;
        let file = temporary.as_file().try_clone().map_err(|error| cache.cannot("write to", error))?;
        let (teller, storing) = Storing::begun(file);
        let codec = density::codec(&self.manifest, &self.contents, tar_bytes);
        let path = cache.artifact(&digest, codec);
        if tar_bytes <= AT_ONCE {
            self.finish((digest, codec), temporary, &teller)?;
            teller.ended(Ok(()));
        } else {
            let name = "compress".to_owned();
            let work = move || {
                let end = self.finish((digest, codec), temporary, &teller);
                teller.ended(end);
            };
            thread::Builder::new().name(name).spawn(work).map_err(StoreError::Thread)?;
        }
        Ok(Stored { digest, path, tar_bytes, codec, storing })
    }

    /// Compresses the tar, and puts the artifact in its place.
    fn finish(
        &self,
        (digest, codec): (Digest, Codec),
        mut temporary: NamedTempFile,
        teller: &Teller,
    ) -> Result<(), StoreError> {
        let Self { cache, manifest, contents, pieces, believed, cancel } = self;
        let tar = Tar { manifest, pieces, contents, earlier: &cache.earlier(codec), cancel };
        let (written, chunks) =
            tar.compress(codec, temporary.as_file_mut(), teller).map_err(|error| match error {
                CompressError::Producer(error) => {
                    if let (StoreError::Changed { .. }, Some(believed)) = (&error, believed) {
                        hashes::distrust(believed);
                    }
                    error
                }
                CompressError::Output(error) => cache.cannot("write", error).into(),
            })?;
        teller.completed(written.compressed_bytes);
        Ok(cache.insert(temporary, (digest, codec), &written, manifest, &chunks)?)
    }
}

/// A tar that is known but not compressed yet.
struct Tar<'a> {
    manifest: &'a Manifest,
    pieces: &'a Pieces,
    contents: &'a Contents,
    earlier: &'a Earlier,
    cancel: &'a CancellationToken,
}

impl Tar<'_> {
    fn compress(
        &self,
        codec: Codec,
        out: impl Write + Send,
        teller: &Teller,
    ) -> Result<(Written, Vec<Known>), CompressError<StoreError>> {
        let (mut known, mut packed) = (Vec::new(), 0);
        let written = compress::run(
            codec,
            out,
            |block: &Block<Known>, written| {
                known.push(block.label);
                packed += block.bytes;
                teller.grew(written, packed);
            },
            |queue| {
                for chunk in chunks::chunks(self.manifest) {
                    if !queue.push(move |press| self.block(&chunk, press, teller)) {
                        break;
                    }
                }
            },
        )?;
        Ok((written, known))
    }

    /// Takes a chunk as it was compressed earlier, or compresses it.
    fn block(&self, chunk: &Chunk, press: &mut Press, teller: &Teller) -> Result<Block<Known>, StoreError> {
        if self.cancel.is_cancelled() {
            return Err(StoreError::Canceled);
        }
        let name = chunk.name(self.manifest, self.pieces);
        if let Some(block) = self.earlier.get(&name, chunk.bytes) {
            return Ok(block);
        }
        let content = chunk.read(self.manifest, self.pieces, self.contents)?;
        let Block { compressed, crc, bytes, label: () } = press
            .block(content, teller.effort(), ())
            .map_err(|source| StoreError::Read { path: "the tar".to_owned(), source })?;
        let sum = index::sum_of(&compressed);
        let label = Known { name, bytes, compressed: compressed.len() as u64, sum };
        Ok(Block { compressed, crc, bytes, label })
    }
}
