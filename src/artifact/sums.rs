//! Owns naming an artifact before there is one: the tar is made only to be hashed, while every file's content is
//! compared with the manifest.

use std::io;
use std::io::Write;
use std::mem;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;

use sha2::Digest as _;
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use super::chunks::Pieces;
use super::contents::BUFFER;
use super::contents::Contents;
use super::contents::Trouble;
use super::digests::Digests;
use super::problem::shown;
use super::progress::Progress;
use super::store::StoreError;
use super::tarball;
use crate::release::Digest;
use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

/// How much of the tar is handed over at a time, and how many such parts wait.
const PART: usize = 256 * 1024;
const WAITING: usize = 4;

/// What is known of a tar that was not compressed yet.
#[derive(Debug)]
pub(super) struct Sums {
    /// sha256 of the tar.
    pub(super) digest: Digest,
    /// Its size.
    pub(super) bytes: u64,
    /// The digests of what large files are cut into.
    pub(super) pieces: Pieces,
}

/// Reads all contents, and hashes the tar that they make. The pieces of what was hashed a moment ago are known already.
pub(super) fn sum(
    manifest: &Manifest,
    contents: &Contents,
    mut pieces: Pieces,
    progress: &Progress<'_>,
    cancel: &CancellationToken,
) -> Result<Sums, StoreError> {
    thread::scope(|scope| {
        let (parts, waiting) = mpsc::sync_channel(WAITING);
        let hasher = scope.spawn(move || hash(&waiting));
        let mut out = Parts { part: Vec::with_capacity(PART), parts };
        let mut buffer = vec![0; BUFFER];
        let written = tarball::write(manifest, &mut out, |place, entry, out| {
            let known = pieces.contains_key(&place);
            let digests = content(entry, known, contents, &mut buffer, progress, cancel, out)?;
            if !digests.is_empty() {
                pieces.insert(place, digests);
            }
            progress.file_done();
            Ok(())
        });
        let written = written.and_then(|()| out.send().map_err(Trouble::Output));
        drop(out);
        let (digest, bytes) = match hasher.join() {
            Ok(hashed) => hashed,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match written {
            Ok(()) => Ok(Sums { digest, bytes, pieces }),
            Err(Trouble::Because(error)) => Err(error),
            Err(Trouble::Output(source)) => Err(StoreError::Read { path: "the tar".to_owned(), source }),
        }
    })
}

/// Writes a file's content; returns the digests of its pieces, where those are not known and it has more than one.
/// Where they are, the file had its digest a moment ago, and whoever compresses it compares it once more.
fn content(
    entry: &Entry,
    known: bool,
    contents: &Contents,
    buffer: &mut [u8],
    progress: &Progress<'_>,
    cancel: &CancellationToken,
    out: &mut Parts,
) -> Result<Vec<blake3::Hash>, Trouble> {
    let EntryKind::File { size, digest, .. } = entry.kind else { return Ok(Vec::new()) };
    let mut digests = (!known).then(|| Digests::of(size));
    contents.copy(entry, (size, None), buffer, cancel, |bytes| {
        out.write_all(bytes)?;
        progress.bytes_done(bytes.len() as u64);
        if let Some(digests) = &mut digests {
            digests.update(bytes);
        }
        Ok(())
    })?;
    match digests.map(Digests::finish) {
        Some(hashed) if hashed.digest != digest => {
            Err(Trouble::Because(StoreError::Changed { path: shown(&entry.path) }))
        }
        hashed => Ok(hashed.map(|hashed| hashed.pieces).unwrap_or_default()),
    }
}

/// Hands the tar over to the thread that hashes it.
struct Parts {
    part: Vec<u8>,
    parts: SyncSender<Vec<u8>>,
}

impl Parts {
    fn send(&mut self) -> io::Result<()> {
        let part = mem::replace(&mut self.part, Vec::with_capacity(PART));
        self.parts.send(part).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() + bytes.len() > PART {
            self.send()?;
        }
        self.part.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hash(parts: &Receiver<Vec<u8>>) -> (Digest, u64) {
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    for part in parts {
        hasher.update(&part);
        bytes += part.len() as u64;
    }
    (Digest(hasher.finalize().into()), bytes)
}
