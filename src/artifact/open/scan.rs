//! Owns reading a tarball once, from its first byte to its last: decompressed into a spool, and
//! its entries listed and hashed. Limits what it may unpack to.

use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use super::OpenError;
use super::headers::Extensions;
use super::headers::Kind;
use crate::artifact::cache::Cache;
use crate::artifact::digests::Digests;
use crate::artifact::digests::Hashed;
use crate::artifact::git::Facts;
use crate::artifact::press::Codec;
use crate::artifact::progress::Progress;
use crate::artifact::save::read_comment;
use crate::event::Events;
use flate2::read::MultiGzDecoder;

/// What a tarball may unpack to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) entries: usize,
    pub(super) bytes: u64,
    /// Up to so many bytes the ratio is not looked at.
    pub(super) small: u64,
    /// No program or text compresses so well, only zeros.
    pub(super) ratio: u64,
}

const LIMITS: Limits = Limits { entries: 2_000_000, bytes: 64 << 30, small: 1 << 30, ratio: 250 };
/// What tar implementations fill up their last record with, at most.
const MAX_FILL: u64 = 1024 * 1024;
/// The beginnings of what is often mistaken for a gzipped tar.
const OTHERS: [(&[u8], &str); 3] =
    [(b"\xfd7zXZ\0", "compressed by xz"), (b"BZh", "compressed by bzip2"), (b"PK\x03\x04", "a zip file")];

/// The beginning of a zstd frame.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// What is behind an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Directory,
    File { executable: bool, size: u64, hashed: Hashed, offset: u64 },
    Symlink { target: Vec<u8> },
    Refused(String),
}

/// What was read.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The entries with their paths as written, in their order.
    pub(super) found: Vec<(Vec<u8>, Content)>,
    /// Size of the tar as it is.
    pub(super) bytes: u64,
    /// What the comment says.
    pub(super) facts: Facts,
}

/// Reads the file. The tar is written to `spool`.
pub(super) fn scan(file: &Path, spool: &File, cache: &Cache, events: &Events) -> Result<Scanned, OpenError> {
    scan_within(LIMITS, file, spool, cache, events)
}

pub(super) fn scan_within(
    limits: Limits,
    file: &Path,
    spool: &File,
    cache: &Cache,
    events: &Events,
) -> Result<Scanned, OpenError> {
    let unreadable = |source| OpenError::Read { file: file.to_owned(), source };
    let metadata = std::fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "it is a directory" } else { "it is no regular file" };
        return Err(unreadable(io::Error::other(what)));
    }
    let mut opened = File::open(file).map_err(unreadable)?;
    let mut start = [0; 512];
    let count = read_start(&mut opened, &mut start).map_err(unreadable)?;
    let form = form(start.get(..count).unwrap_or_default())
        .map_err(|what| OpenError::Damaged { file: file.to_owned(), what })?;
    let opened = start.get(..count).unwrap_or_default().chain(opened);

    let tee = Tee {
        from: Packed::new(opened, form).map_err(unreadable)?,
        spool,
        bytes: 0,
        limit: limits.bytes.min(limits.small.max(metadata.len().saturating_mul(limits.ratio))),
        trouble: None,
    };
    let mut archive = tar::Archive::new(tee);
    let progress = Progress::new(events);
    let found = entries(&mut archive, limits.entries, &progress);
    let mut tee = archive.into_inner();
    let found = found.and_then(|(found, end)| tee.finish(end).map(|()| found));
    let facts = tee.from.comment().map(read_comment);
    match (tee.trouble, found) {
        (Some(Trouble::Spool(error)), _) => Err(cache.cannot("write to", error).into()),
        (Some(Trouble::Limit), _) => {
            let what = format!(
                "it unpacks to more than {} MiB from {} KiB",
                tee.limit >> 20,
                metadata.len().div_ceil(1024)
            );
            Err(OpenError::TooLarge { file: file.to_owned(), what })
        }
        (None, Err(Bad::TooMany)) => {
            let what = format!("it has more than {} entries", limits.entries);
            Err(OpenError::TooLarge { file: file.to_owned(), what })
        }
        (None, Err(Bad::Tar(what))) => Err(OpenError::Damaged { file: file.to_owned(), what }),
        (None, Ok(found)) => Ok(Scanned { found, bytes: tee.bytes, facts: facts.unwrap_or_default() }),
    }
}

fn read_start(from: &mut File, start: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some(rest) = start.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match from.read(rest)? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

fn form(start: &[u8]) -> Result<Codec, String> {
    if start.starts_with(b"\x1f\x8b") {
        return Ok(Codec::Gzip);
    }
    if start.starts_with(ZSTD) {
        return Ok(Codec::Zstd);
    }
    // GNU's and POSIX's.
    if start.get(257..262) == Some(b"ustar") {
        return Ok(Codec::Plain);
    }
    let other = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, what)| *what);
    let what = if start.is_empty() { "empty" } else { other.unwrap_or("no tar") };
    Err(format!("it is {what}; a .tar.gz, .tar.zst or .tar is needed"))
}

enum Bad {
    Tar(String),
    TooMany,
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        let mut what = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(deeper) = cause {
            what = format!("{what}: {deeper}");
            cause = deeper.source();
        }
        Self::Tar(what)
    }
}

/// Lists the entries, and where the last one ends.
type Listed = (Vec<(Vec<u8>, Content)>, u64);

fn entries<R: Read>(
    archive: &mut tar::Archive<R>,
    max_entries: usize,
    progress: &Progress<'_>,
) -> Result<Listed, Bad> {
    let mut found = Vec::new();
    let mut extensions = Extensions::default();
    let mut end = 0;
    let mut buffer = vec![0; 128 * 1024];
    // Raw, because the library would hold extensions of any size in memory.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        if found.len() >= max_entries {
            return Err(Bad::TooMany);
        }
        let header = entry.header().clone();
        let (size, offset) = (header.entry_size()?, entry.raw_file_position());
        let after = size.checked_next_multiple_of(512).and_then(|size| offset.checked_add(size));
        end = after.ok_or_else(|| Bad::Tar("an entry has an impossible size".to_owned()))?;
        let understood = extensions.understand(&header, size, &mut entry).map_err(Bad::Tar)?;
        let content = match understood.kind {
            Kind::Extension => continue,
            Kind::Directory => Content::Directory,
            Kind::Symlink { target } => Content::Symlink { target },
            Kind::Refused(what) => Content::Refused(what),
            Kind::File { executable } => {
                let hashed = hash(&mut entry, size, &mut buffer, progress)?;
                progress.file_done();
                Content::File { executable, size, hashed, offset }
            }
        };
        found.push((understood.path, content));
    }
    if extensions.pending() {
        return Err(Bad::Tar("it ends after a header extension".to_owned()));
    }
    Ok((found, end))
}

fn hash(
    content: &mut impl Read,
    size: u64,
    buffer: &mut [u8],
    progress: &Progress<'_>,
) -> Result<Hashed, Bad> {
    let mut digests = Digests::of(size);
    let mut left = size;
    loop {
        let count = match content.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        digests.update(buffer.get(..count).unwrap_or_default());
        left -= count as u64;
        progress.bytes_done(count as u64);
    }
    if left != 0 {
        return Err(Bad::Tar("it ends in the middle of a file".to_owned()));
    }
    Ok(digests.finish())
}

/// What a tarball is compressed by.
enum Packed<R: Read> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<R>>),
}

impl<R: Read> Packed<R> {
    fn new(from: R, form: Codec) -> io::Result<Self> {
        Ok(match form {
            Codec::Plain => Self::Plain(from),
            Codec::Gzip => {
                Self::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(128 * 1024, from))))
            }
            Codec::Zstd => Self::Zstd(zstd::stream::read::Decoder::new(from)?),
        })
    }

    fn comment(&self) -> Option<&[u8]> {
        match self {
            Self::Gzip(from) => from.header()?.comment(),
            Self::Plain(_) | Self::Zstd(_) => None,
        }
    }
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(from) => from.read(buffer),
            Self::Plain(from) => from.read(buffer),
            Self::Zstd(from) => from.read(buffer),
        }
    }
}

/// Decompresses, and keeps everything that passes.
struct Tee<'a, R: Read> {
    from: Packed<R>,
    spool: &'a File,
    bytes: u64,
    limit: u64,
    trouble: Option<Trouble>,
}

enum Trouble {
    Spool(io::Error),
    Limit,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        self.bytes += count as u64;
        if self.bytes > self.limit {
            self.trouble = Some(Trouble::Limit);
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let mut spool = self.spool;
        if let Err(error) = spool.write_all(bytes) {
            self.trouble = Some(Trouble::Spool(error));
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(count)
    }
}

impl<R: Read> Tee<'_, R> {
    /// Reads what follows the entries: at least one block of zeros that marks the end, and nothing but
    /// zeros. Without the mark the tar may have been cut between two entries.
    fn finish(&mut self, end_of_entries: u64) -> Result<(), Bad> {
        if self.bytes < end_of_entries.saturating_add(512) {
            return Err(Bad::Tar("it was cut off: the mark of its end is missing".to_owned()));
        }
        let mut buffer = [0; 8 * 1024];
        let mut fill = 0;
        loop {
            let count = self.read(&mut buffer)?;
            fill += count as u64;
            if count == 0 {
                return Ok(());
            }
            if fill > MAX_FILL || buffer.iter().take(count).any(|byte| *byte != 0) {
                return Err(Bad::Tar("there is more after the end of the tar".to_owned()));
            }
        }
    }
}
