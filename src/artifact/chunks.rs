//! Owns where the tar is cut into chunks that are compressed on their own. What is decided here follows from the
//! manifest alone, and a change of one file moves no cut that is not near it: so the other chunks are the same as those
//! of the artifact before, and need not be compressed again.
//!
//! A chunk ends with a file, of those within its bounds the one that their paths and sizes say; and after `PIECE` bytes
//! of a file's content.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Write as _;
use std::ops::RangeInclusive;

use sha2::Digest as _;
use sha2::Sha256;

use super::buffer::Buffer;
use super::compress::SOON;
use super::contents::Contents;
use super::digests::Proof;
use super::press;
use super::store::StoreError;
use super::tarball;
use crate::release::Digest;
use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

/// How large a chunk may be, but for the last.
type Sizes = RangeInclusive<u64>;

/// Up to `SOON`: who waits has something soon, and a small tar is work for every core.
const EARLY: Sizes = 512 * 1024..=3 * 1024 * 1024;
/// Afterwards: the larger a chunk is, the more of it repeats what precedes it there.
const LATE: Sizes = 2 * 1024 * 1024..=6 * 1024 * 1024;
/// Files are cut at multiples of this.
pub(super) const PIECE: u64 = 1024 * 1024;

/// The digests of the pieces of files, by their places in the manifest; of one that is in one piece, none.
pub(super) type Pieces = HashMap<usize, Vec<blake3::Hash>>;

/// A part of the tar.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    spans: Vec<Span>,
    is_end: bool,
    /// Its size.
    pub(super) bytes: u64,
}

/// A part of a chunk: what precedes a file's content, if it begins here, and some of the content.
#[derive(Debug)]
struct Span {
    place: usize,
    head: Vec<u8>,
    offset: u64,
    bytes: u64,
    /// Whether the content ends here, and is padded.
    is_last: bool,
}

/// Returns the chunks of the tar of a manifest.
pub(super) fn chunks(manifest: &Manifest) -> Chunks<'_> {
    Chunks { manifest, place: 0, offset: 0, before: 0, is_over: false }
}

/// The chunks of a tar, in order.
pub(super) struct Chunks<'a> {
    manifest: &'a Manifest,
    place: usize,
    /// How much of the content of the file at `place` was cut already.
    offset: u64,
    /// How much of the tar the chunks so far hold.
    before: u64,
    is_over: bool,
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.is_over {
            return None;
        }
        let chunk = self.cut(if self.before < SOON { &EARLY } else { &LATE });
        self.before += chunk.bytes;
        Some(chunk)
    }
}

impl Chunks<'_> {
    fn cut(&mut self, sizes: &Sizes) -> Chunk {
        let mut chunk = Chunk::default();
        let mut best: Option<End> = None;
        while let Some(entry) = self.manifest.entries.get(self.place) {
            let size = size(entry);
            let head = if self.offset == 0 { tarball::header(entry) } else { Vec::new() };
            let bytes = (size - self.offset).min(PIECE);
            let is_last = self.offset + bytes == size;
            let padding = if is_last { tarball::padding(size).len() as u64 } else { 0 };
            let whole = head.len() as u64 + bytes + padding;
            if chunk.bytes > 0 && chunk.bytes + whole > *sizes.end() {
                if let Some(end) = best {
                    chunk.spans.truncate(end.spans);
                    chunk.bytes = end.bytes;
                    (self.place, self.offset) = (end.place, 0);
                }
                return chunk;
            }
            chunk.spans.push(Span { place: self.place, head, offset: self.offset, bytes, is_last });
            chunk.bytes += whole;
            if !is_last {
                self.offset += bytes;
                return chunk;
            }
            (self.place, self.offset) = (self.place + 1, 0);
            if sizes.contains(&chunk.bytes) {
                let end = End {
                    score: score(entry),
                    spans: chunk.spans.len(),
                    bytes: chunk.bytes,
                    place: self.place,
                };
                if best.as_ref().is_none_or(|best| end.score < best.score) {
                    best = Some(end);
                }
            }
        }
        self.is_over = true;
        chunk.is_end = true;
        chunk.bytes += tarball::END.len() as u64;
        chunk
    }
}

/// Where a chunk may end.
struct End {
    score: u64,
    spans: usize,
    bytes: u64,
    /// Where the next one begins.
    place: usize,
}

/// A chunk ends with the file of the lowest score. Two that begin at different places are likely to find the same one,
/// so after a cut that moved the next ones are as they were. The larger a file, the lower its score, so that any byte
/// is as likely to be the end whatever the files are; a change of content hardly ever changes it.
fn score(entry: &Entry) -> u64 {
    let hash = Sha256::digest(&entry.path).iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte));
    hash / (tarball::padded(entry) + 512)
}

fn size(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File { size, .. } => size,
        EntryKind::Directory | EntryKind::Symlink { .. } => 0,
    }
}

impl Chunk {
    /// Names its bytes: two chunks have the same name only if they have the same bytes.
    pub(super) fn name(&self, manifest: &Manifest, pieces: &Pieces) -> Digest {
        let mut hasher = Sha256::new();
        for span in &self.spans {
            hasher.update((span.head.len() as u64).to_le_bytes());
            hasher.update(&span.head);
            hasher.update(span.bytes.to_le_bytes());
            hasher.update([u8::from(span.is_last)]);
            if let Some(proof) = span.proof(manifest, pieces) {
                hasher.update(proof.as_bytes());
            }
        }
        hasher.update([u8::from(self.is_end)]);
        Digest(hasher.finalize().into())
    }

    /// Reads its bytes.
    pub(super) fn read(
        &self,
        manifest: &Manifest,
        pieces: &Pieces,
        contents: &Contents,
    ) -> Result<Buffer, StoreError> {
        let memory = |source| StoreError::Read { path: "the tar".to_owned(), source };
        let room = press::room(usize::try_from(self.bytes).unwrap_or_default());
        let mut out = Buffer::with_room(room).map_err(memory)?;
        for span in &self.spans {
            out.write_all(&span.head).map_err(memory)?;
            let entry = manifest.entries.get(span.place);
            if let Some((entry, proof)) = entry.zip(span.proof(manifest, pieces)) {
                contents.append(entry, span.offset, (span.bytes, proof), &mut out)?;
            }
            if span.is_last {
                out.write_all(tarball::padding(span.bytes)).map_err(memory)?;
            }
        }
        if self.is_end {
            out.write_all(&tarball::END).map_err(memory)?;
        }
        Ok(out)
    }
}

impl Span {
    /// What proves its content; nothing of what has none.
    fn proof(&self, manifest: &Manifest, pieces: &Pieces) -> Option<Proof> {
        match manifest.entries.get(self.place)?.kind {
            EntryKind::File { size, digest, .. } if size <= PIECE => Some(Proof::Whole(digest)),
            EntryKind::File { .. } => {
                let piece = usize::try_from(self.offset / PIECE).ok();
                let hash = piece.and_then(|piece| pieces.get(&self.place)?.get(piece));
                // What nobody summed is like nothing.
                Some(Proof::Piece(hash.copied().unwrap_or(blake3::Hash::from_bytes([0; 32]))))
            }
            EntryKind::Directory | EntryKind::Symlink { .. } => None,
        }
    }
}
