//! Owns where the tar is cut into chunks that are compressed on their own. What is decided here follows from the
//! manifest alone, and a change of one file moves no cut that is not near it: so the other chunks are the same as those
//! of the artifact before, and need not be compressed again.
//!
//! A chunk ends with the end of a file, where that file's path and size say so; after `PIECE` bytes of a file's
//! content; and before it would get larger than `MAX`.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Write as _;

use sha2::Digest as _;
use sha2::Sha256;

use super::buffer::Buffer;
use super::contents::Contents;
use super::digests::Proof;
use super::press;
use super::store::StoreError;
use super::tarball;
use crate::release::Digest;
use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

/// No chunk but the last is smaller.
const MIN: u64 = 512 * 1024;
/// Beyond `MIN`, a chunk ends somewhere in so many bytes, or twice as many.
const MEAN: u64 = 1536 * 1024;
/// No chunk is larger, but for the end of the tar.
const MAX: u64 = 3 * 1024 * 1024;
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
    Chunks { manifest, place: 0, offset: 0, is_over: false }
}

/// The chunks of a tar, in order.
pub(super) struct Chunks<'a> {
    manifest: &'a Manifest,
    place: usize,
    /// How much of the content of the file at `place` was cut already.
    offset: u64,
    is_over: bool,
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.is_over {
            return None;
        }
        let mut chunk = Chunk::default();
        while let Some(entry) = self.manifest.entries.get(self.place) {
            let size = size(entry);
            let head = if self.offset == 0 { tarball::header(entry) } else { Vec::new() };
            let bytes = (size - self.offset).min(PIECE);
            let is_last = self.offset + bytes == size;
            let padding = if is_last { tarball::padding(size).len() as u64 } else { 0 };
            let whole = head.len() as u64 + bytes + padding;
            if chunk.bytes > 0 && chunk.bytes + whole > MAX {
                return Some(chunk);
            }
            chunk.spans.push(Span { place: self.place, head, offset: self.offset, bytes, is_last });
            chunk.bytes += whole;
            if !is_last {
                self.offset += bytes;
                return Some(chunk);
            }
            (self.place, self.offset) = (self.place + 1, 0);
            if chunk.bytes >= MIN && ends_with(entry) {
                return Some(chunk);
            }
        }
        self.is_over = true;
        chunk.is_end = true;
        chunk.bytes += tarball::END.len() as u64;
        Some(chunk)
    }
}

/// Whether a chunk ends with this file, if it is large enough: the likelier, the larger the file is, so that chunks are
/// as large whatever the files are. A change of content hardly ever changes it.
fn ends_with(entry: &Entry) -> bool {
    let weight = 1_u64 << (tarball::padded(entry) + 512).ilog2();
    let hash = Sha256::digest(&entry.path).iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte));
    hash % MEAN < weight
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
