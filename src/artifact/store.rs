//! Owns making the artifact of a manifest: the tar is written while the contents are read and hashed
//! once more, compressed into the cache, and named by its digest. Where contents come from is the
//! caller's.

use std::io;
use std::io::Read;
use std::io::Write;

use sha2::Digest as _;
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::cache::CacheError;
use super::cache::Stored;
use super::gzip;
use super::gzip::GzipError;
use super::problem::shown;
use super::progress::Progress;
use super::tarball;
use crate::release::Digest;
use crate::release::Entry;
use crate::release::EntryKind;
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
}

enum Stop {
    /// The compressor is gone; it knows why.
    Output,
    Because(StoreError),
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Output
    }
}

/// Makes the artifact in the cache. `open` opens the content of a file.
pub(super) fn store<R: Read>(
    cache: &Cache,
    manifest: &Manifest,
    mut open: impl FnMut(&Entry) -> io::Result<R>,
    progress: &Progress<'_>,
    cancel: &CancellationToken,
) -> Result<Stored, StoreError> {
    let mut temporary = cache.temporary()?;
    let mut buffer = vec![0; 128 * 1024];
    let result = gzip::compress(temporary.as_file_mut(), |out| {
        tarball::write(manifest, out, |entry, out| {
            let EntryKind::File { size, digest, .. } = entry.kind else { return Ok(()) };
            let read = |source| StoreError::Read { path: shown(&entry.path), source };
            let content = open(entry).map_err(|error| Stop::Because(read(error)))?;
            copy(content, size, digest, out, &mut buffer, progress, cancel).map_err(
                |trouble| match trouble {
                    Trouble::Output => Stop::Output,
                    Trouble::Read(error) => Stop::Because(read(error)),
                    Trouble::Changed => Stop::Because(StoreError::Changed { path: shown(&entry.path) }),
                    Trouble::Canceled => Stop::Because(StoreError::Canceled),
                },
            )?;
            progress.file_done();
            Ok(())
        })
    });
    let written = result.map_err(|error| match error {
        GzipError::Producer(Stop::Because(error)) => error,
        GzipError::Producer(Stop::Output) => {
            cache.cannot("write", io::Error::from(io::ErrorKind::BrokenPipe)).into()
        }
        GzipError::Output(error) => cache.cannot("write", error).into(),
    })?;
    Ok(cache.insert(temporary, &written, manifest)?)
}

enum Trouble {
    Output,
    Read(io::Error),
    Changed,
    Canceled,
}

/// Copies exactly `size` bytes that have the digest, and nothing else.
fn copy(
    mut content: impl Read,
    size: u64,
    digest: Digest,
    out: &mut impl Write,
    buffer: &mut [u8],
    progress: &Progress<'_>,
    cancel: &CancellationToken,
) -> Result<(), Trouble> {
    let mut hasher = Sha256::new();
    let mut left = size;
    loop {
        if cancel.is_cancelled() {
            return Err(Trouble::Canceled);
        }
        let count = match content.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Trouble::Read(error)),
        };
        left = left.checked_sub(count as u64).ok_or(Trouble::Changed)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        hasher.update(bytes);
        out.write_all(bytes).map_err(|_| Trouble::Output)?;
        progress.bytes_done(count as u64);
    }
    if left != 0 || Digest(hasher.finalize().into()) != digest {
        return Err(Trouble::Changed);
    }
    Ok(())
}
