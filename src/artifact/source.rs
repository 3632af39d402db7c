//! Owns reading the files to pack: opening them without following links or blocking, noticing that
//! they change meanwhile, and hashing all of them with every core.

use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

use rustix::fs::OFlags;
use tokio_util::sync::CancellationToken;

use super::digests::Digests;
use super::digests::Hashed;
use super::progress::Progress;

/// More threads than this only wait for the disk.
const MAX_THREADS: usize = 16;

/// What of a file's metadata tells that it was changed. Times are seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) mtime: (i64, i64),
    /// Nobody can set it; it changes with what is no content, too (a mode, another name for the same file).
    pub(super) ctime: (i64, i64),
    pub(super) size: u64,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.len(),
        }
    }

    /// Whether it is another file now, or was written to.
    fn was_written(self, now: Self) -> bool {
        Self { ctime: now.ctime, ..self } != now
    }
}

/// Why a file was not hashed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    #[error("it changed while it was being read; is a build or a watcher still running?")]
    Changed,
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("interrupted")]
    Canceled,
}

/// Opens a file, not what a link put in its place points at, and never waits for a writer.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Returns how many threads to work with.
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

/// Hashes all files, each compared with the stamp it had when it was found. The results come in the
/// order of the files.
pub(super) fn hash_all(
    files: &[(PathBuf, Stamp)],
    progress: &Progress<'_>,
    cancel: &CancellationToken,
) -> Vec<Result<Hashed, HashError>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; 128 * 1024];
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((path, stamp)) = files.get(index) else { return done };
            done.push((index, hash(path, *stamp, &mut buffer, progress, cancel)));
            progress.file_done();
        }
    };
    let mut results: Vec<(usize, Result<Hashed, HashError>)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads().min(files.len())).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for other in others {
            match other.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn hash(
    path: &Path,
    stamp: Stamp,
    buffer: &mut [u8],
    progress: &Progress<'_>,
    cancel: &CancellationToken,
) -> Result<Hashed, HashError> {
    let mut file = open(path)?;
    if stamp.was_written(Stamp::of(&file.metadata()?)) {
        return Err(HashError::Changed);
    }
    let mut digests = Digests::of(stamp.size);
    let mut total = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(HashError::Canceled);
        }
        let count = match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        digests.update(buffer.get(..count).unwrap_or_default());
        total += count as u64;
        progress.bytes_done(count as u64);
    }
    if total != stamp.size || stamp.was_written(Stamp::of(&file.metadata()?)) {
        return Err(HashError::Changed);
    }
    Ok(digests.finish())
}
