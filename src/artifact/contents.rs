//! Owns where the contents of an artifact's files are read from, and that what is read is what the manifest says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use sha2::Digest as _;
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use super::buffer::Buffer;
use super::digests::Proof;
use super::pack::full_path;
use super::problem::shown;
use super::source;
use super::store::StoreError;
use crate::release::Digest;
use crate::release::Entry;
use crate::release::EntryKind;

/// How much is read at a time.
pub(super) const BUFFER: usize = 128 * 1024;

/// Where contents come from.
#[derive(Debug)]
pub(super) enum Contents {
    /// The files below a directory.
    Tree(PathBuf),
    /// A file with all of them in it: the offset and size of each, by path.
    Spool {
        /// The file.
        file: File,
        /// What lies where.
        places: BTreeMap<Vec<u8>, (u64, u64)>,
    },
}

/// The content of one file, from some offset on.
pub(super) struct Content<'a> {
    file: Handle<'a>,
    offset: u64,
    /// Where it ends, if not at the end of the file that it is read from.
    end: Option<u64>,
}

enum Handle<'a> {
    Own(File),
    Shared(&'a File),
}

impl Contents {
    /// Opens the content of a file; reading begins at `offset`.
    pub(super) fn open(&self, entry: &Entry, offset: u64) -> io::Result<Content<'_>> {
        Ok(match self {
            Self::Tree(top) => {
                let file = source::open(&full_path(top, &entry.path))?;
                Content { file: Handle::Own(file), offset, end: None }
            }
            Self::Spool { file, places } => {
                let (start, size) = places.get(&entry.path).copied().unwrap_or_default();
                let end = Some(start + size);
                Content { file: Handle::Shared(file), offset: (start + offset).min(start + size), end }
            }
        })
    }

    /// Copies a whole file, if it has that size and digest still.
    pub(super) fn copy(
        &self,
        entry: &Entry,
        (size, digest): (u64, Digest),
        buffer: &mut [u8],
        cancel: &CancellationToken,
        mut out: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Trouble> {
        let read = |source| Trouble::Because(StoreError::Read { path: shown(&entry.path), source });
        let changed = || Trouble::Because(StoreError::Changed { path: shown(&entry.path) });
        let mut content = self.open(entry, 0).map_err(read)?;
        let mut hasher = Sha256::new();
        let mut left = size;
        loop {
            if cancel.is_cancelled() {
                return Err(Trouble::Because(StoreError::Canceled));
            }
            let count = match content.read(buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read(error)),
            };
            left = left.checked_sub(count as u64).ok_or_else(changed)?;
            let bytes = buffer.get(..count).unwrap_or_default();
            hasher.update(bytes);
            out(bytes)?;
        }
        if left != 0 || Digest(hasher.finalize().into()) != digest {
            return Err(changed());
        }
        Ok(())
    }

    /// Appends `size` bytes of a file from `offset` on, if they are what they were still.
    pub(super) fn append(
        &self,
        entry: &Entry,
        offset: u64,
        (size, proof): (u64, Proof),
        out: &mut Buffer,
    ) -> Result<(), StoreError> {
        let read = |source| StoreError::Read { path: shown(&entry.path), source };
        let changed = || StoreError::Changed { path: shown(&entry.path) };
        let start = out.len();
        if size > 0 {
            let content = self.open(entry, offset).map_err(read)?;
            if content.has_grown(entry).map_err(read)? {
                return Err(changed());
            }
            out.read_from(content, usize::try_from(size).unwrap_or(usize::MAX)).map_err(read)?;
        }
        let bytes = out.get(start..).unwrap_or_default();
        if bytes.len() as u64 != size || !proof.holds_for(bytes) {
            return Err(changed());
        }
        Ok(())
    }
}

impl Content<'_> {
    /// Whether there is more than there was, which nobody sees who reads what was there.
    fn has_grown(&self, entry: &Entry) -> io::Result<bool> {
        match (&self.file, &entry.kind) {
            (Handle::Own(file), EntryKind::File { size, .. }) => Ok(file.metadata()?.len() > *size),
            _ => Ok(false),
        }
    }
}

/// Why a file was not copied.
pub(super) enum Trouble {
    /// Nobody takes it; whoever should knows why.
    Output(io::Error),
    Because(StoreError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left =
            self.end.map_or(usize::MAX, |end| usize::try_from(end - self.offset).unwrap_or(usize::MAX));
        let wanted = left.min(buffer.len());
        let file = match &self.file {
            Handle::Own(file) => file,
            Handle::Shared(file) => file,
        };
        let count = file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
