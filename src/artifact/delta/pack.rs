//! Owns cutting some files out of an artifact into a tar of their own, which lies in a file without a name beside the
//! artifact.

use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::super::gzip;
use super::super::gzip::GzipError;
use super::super::tarball;
use crate::release::EntryKind;
use crate::release::Manifest;

/// How much of it is read at a time.
const CHUNK: u64 = 256 * 1024;

/// A gzipped tar on the disk here.
#[derive(Debug)]
pub struct Pack {
    file: Arc<File>,
    bytes: u64,
}

impl Pack {
    pub(super) fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        Ok(Self { file: Arc::new(File::open(path)?), bytes })
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the bytes from `offset` on, as many as travel at a time; none at the end.
    pub async fn chunk(&self, offset: u64) -> io::Result<Bytes> {
        let size = CHUNK.min(self.bytes.saturating_sub(offset));
        if size == 0 {
            return Ok(Bytes::new());
        }
        let file = Arc::clone(&self.file);
        super::blocking(move || {
            let mut chunk = vec![0; usize::try_from(size).map_err(io::Error::other)?];
            file.read_exact_at(&mut chunk, offset)?;
            Ok(chunk.into())
        })
        .await
    }
}

/// Cuts the files at these places, which are in order, out of the artifact at `path`, and with `links` all its links.
pub(super) fn cut(path: &Path, manifest: &Manifest, wanted: &[u32], links: bool) -> io::Result<Pack> {
    let dir = path.parent().ok_or_else(|| io::Error::other("the artifact is in no directory"))?;
    let mut out = tempfile::tempfile_in(dir)?;
    let source = flate2::bufread::GzDecoder::new(BufReader::with_capacity(64 * 1024, File::open(path)?));
    let written = gzip::compress(&mut out, |chunks| {
        select(source, manifest, wanted, links, chunks)?;
        chunks.write_all(&tarball::END)
    });
    match written {
        Ok(written) => Ok(Pack { file: Arc::new(out), bytes: written.compressed_bytes }),
        Err(GzipError::Output(error) | GzipError::Producer(error)) => Err(error),
    }
}

fn select(
    mut source: impl Read,
    manifest: &Manifest,
    wanted: &[u32],
    links: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let is_link = |kind: &EntryKind| links && matches!(kind, EntryKind::Symlink { .. });
    let last_link = manifest.entries.iter().rposition(|entry| is_link(&entry.kind));
    let last = wanted.last().map(|place| *place as usize).max(last_link);
    let mut wanted = wanted.iter().copied().peekable();
    let mut head = Vec::new();
    // What follows the last one need not be read.
    for (place, entry) in (0..).zip(&manifest.entries).take(last.map_or(0, |last| last + 1)) {
        let expected = tarball::header(entry);
        head.resize(expected.len(), 0);
        source.read_exact(&mut head)?;
        if head != expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the artifact in the cache is damaged"));
        }
        let is_wanted = wanted.next_if_eq(&place).is_some() || is_link(&entry.kind);
        let content = tarball::padded(entry);
        let copied = if is_wanted {
            out.write_all(&head)?;
            io::copy(&mut source.by_ref().take(content), out)?
        } else {
            io::copy(&mut source.by_ref().take(content), &mut io::sink())?
        };
        if copied != content {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
