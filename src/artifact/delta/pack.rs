//! Owns making a tar of some files of an artifact, out of its source or out of itself. It lies in a file without a name
//! beside the artifact.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::super::compress;
use super::super::compress::CompressError;
use super::super::contents::BUFFER;
use super::super::contents::Contents;
use super::super::contents::Trouble;
use super::super::press::Codec;
use super::super::press::Effort;
use super::super::store::StoreError;
use super::super::storing::Storing;
use super::super::tarball;
use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

/// How much of it is read at a time.
const CHUNK: u64 = 128 * 1024;

/// A tar on the disk here, compressed or not.
#[derive(Debug)]
pub struct Pack {
    file: Arc<File>,
    codec: Codec,
    size: Size,
    /// What is all of a small one: read once for all hosts, which ask for it at about the same time.
    first: OnceCell<Bytes>,
}

#[derive(Debug)]
enum Size {
    Known(u64),
    /// It is being written, of a tar of this size.
    Growing(Storing, u64),
}

impl Pack {
    pub(super) fn open(path: &Path, codec: Codec, bytes: u64) -> io::Result<Self> {
        Ok(Self::of(File::open(path)?, codec, bytes))
    }

    pub(super) fn growing(file: &Arc<File>, codec: Codec, storing: &Storing, tar_bytes: u64) -> Self {
        let size = Size::Growing(storing.clone(), tar_bytes);
        Self { file: Arc::clone(file), codec, size, first: OnceCell::new() }
    }

    fn of(file: File, codec: Codec, bytes: u64) -> Self {
        Self { file: Arc::new(file), codec, size: Size::Known(bytes), first: OnceCell::new() }
    }

    /// How it is compressed.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Its size, if that is known already.
    pub fn bytes(&self) -> Option<u64> {
        match &self.size {
            Size::Known(bytes) => Some(*bytes),
            Size::Growing(storing, _) => storing.bytes(),
        }
    }

    /// What its size will be about, by what is there of it.
    pub fn estimate(&self) -> u64 {
        match &self.size {
            Size::Known(bytes) => *bytes,
            Size::Growing(storing, tar_bytes) => storing.estimate(*tar_bytes),
        }
    }

    /// Returns the bytes from `offset` on, as many as travel at a time, when they are there; none at the end.
    pub async fn chunk(&self, offset: u64) -> io::Result<Bytes> {
        let there = match &self.size {
            Size::Known(bytes) => *bytes,
            Size::Growing(storing, _) => storing.beyond(offset).await.map_err(io::Error::other)?,
        };
        let size = CHUNK.min(there.saturating_sub(offset));
        if size == 0 {
            return Ok(Bytes::new());
        }
        match self.size {
            Size::Known(_) if offset == 0 => self.first.get_or_try_init(|| self.read(0, size)).await.cloned(),
            _ => self.read(offset, size).await,
        }
    }

    async fn read(&self, offset: u64, size: u64) -> io::Result<Bytes> {
        let file = Arc::clone(&self.file);
        super::blocking(move || {
            let size = usize::try_from(size).map_err(io::Error::other)?;
            let mut chunk = vec![0; size];
            file.read_exact_at(&mut chunk, offset)?;
            Ok(Bytes::from(chunk))
        })
        .await
    }
}

/// What a pack is to hold: files, by their places in order, and with `links` all links.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) manifest: Arc<Manifest>,
    pub(super) files: Vec<u32>,
    pub(super) links: bool,
    pub(super) codec: Codec,
}

/// A pack up to this size is worth all work.
const SMALL: u64 = 512 * 1024;

impl Wanted {
    /// How it is compressed.
    fn how(&self) -> (Codec, Effort) {
        let bytes: u64 =
            self.entries().filter(|(_, is_wanted)| *is_wanted).map(|(entry, _)| tarball::padded(entry)).sum();
        (self.codec, if bytes <= SMALL { Effort::Most } else { Effort::Usual })
    }

    /// All entries up to the last one that is wanted, and whether each is.
    fn entries(&self) -> impl Iterator<Item = (&Entry, bool)> {
        let is_link = |entry: &Entry| self.links && matches!(entry.kind, EntryKind::Symlink { .. });
        let last_link = self.manifest.entries.iter().rposition(is_link);
        let last = self.files.last().map(|place| *place as usize).max(last_link);
        let mut files = self.files.iter().copied().peekable();
        let entries = (0..).zip(&self.manifest.entries).take(last.map_or(0, |last| last + 1));
        entries.map(move |(place, entry)| (entry, files.next_if_eq(&place).is_some() || is_link(entry)))
    }
}

/// Makes it of the files of the artifact's source. That one of them is no longer what was packed is a result of its
/// own.
pub(super) fn collect(
    source: &Contents,
    dir: &Path,
    wanted: &Wanted,
) -> io::Result<Result<Pack, StoreError>> {
    let mut out = tempfile::tempfile_in(dir)?;
    let (mut buffer, never) = (vec![0; BUFFER], CancellationToken::new());
    let written = compress::compress(
        wanted.how(),
        &mut out,
        |_, _| {},
        |chunks| {
            for (entry, _) in wanted.entries().filter(|(_, is_wanted)| *is_wanted) {
                chunks.write_all(&tarball::header(entry))?;
                if let EntryKind::File { size, digest, .. } = entry.kind {
                    source
                        .copy(entry, (size, digest), &mut buffer, &never, |bytes| chunks.write_all(bytes))?;
                    chunks.write_all(tarball::padding(size))?;
                }
            }
            Ok(chunks.write_all(&tarball::END)?)
        },
    );
    match written {
        Ok(written) => Ok(Ok(Pack::of(out, wanted.codec, written.compressed_bytes))),
        Err(CompressError::Producer(Trouble::Because(error))) => Ok(Err(error)),
        Err(CompressError::Producer(Trouble::Output(error)) | CompressError::Output(error)) => Err(error),
    }
}

/// Cuts it out of the artifact at `path`, stored as that.
pub(super) fn cut(path: &Path, stored: Codec, wanted: &Wanted) -> io::Result<Pack> {
    let dir = path.parent().ok_or_else(|| io::Error::other("the artifact is in no directory"))?;
    let mut out = tempfile::tempfile_in(dir)?;
    let artifact = stored.reader(File::open(path)?)?;
    let written = compress::compress(
        wanted.how(),
        &mut out,
        |_, _| {},
        |chunks| {
            select(artifact, wanted, chunks)?;
            chunks.write_all(&tarball::END)
        },
    );
    match written {
        Ok(written) => Ok(Pack::of(out, wanted.codec, written.compressed_bytes)),
        Err(CompressError::Output(error) | CompressError::Producer(error)) => Err(error),
    }
}

/// Copies what is wanted of an artifact's tar.
pub(super) fn select(mut artifact: impl Read, wanted: &Wanted, out: &mut impl Write) -> io::Result<()> {
    let mut head = Vec::new();
    // What follows the last one need not be read.
    for (entry, is_wanted) in wanted.entries() {
        let expected = tarball::header(entry);
        head.resize(expected.len(), 0);
        artifact.read_exact(&mut head)?;
        if head != expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the artifact in the cache is damaged"));
        }
        let content = tarball::padded(entry);
        let copied = if is_wanted {
            out.write_all(&head)?;
            io::copy(&mut artifact.by_ref().take(content), out)?
        } else {
            io::copy(&mut artifact.by_ref().take(content), &mut io::sink())?
        };
        if copied != content {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
