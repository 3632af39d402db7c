//! Owns the digests of a content that is read once: of the whole, which hosts compute again, and of the pieces that a
//! large one is cut into, which stay here and are blake3: that takes a fraction of the time.

use sha2::Digest as _;
use sha2::Sha256;

use super::chunks::PIECE;
use crate::release::Digest;

/// What is known of a file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hashed {
    /// Of the whole.
    pub(super) digest: Digest,
    /// Of its pieces; none of what is in one piece.
    pub(super) pieces: Vec<blake3::Hash>,
}

/// How many pieces a content of this size has digests of.
pub(super) fn pieces(size: u64) -> u64 {
    if size > PIECE { size.div_ceil(PIECE) } else { 0 }
}

/// What proves a part of a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof {
    /// It is the whole file.
    Whole(Digest),
    /// It is a piece of one.
    Piece(blake3::Hash),
}

impl Proof {
    pub(super) fn holds_for(self, bytes: &[u8]) -> bool {
        match self {
            Self::Whole(digest) => Digest::of(bytes) == digest,
            Self::Piece(hash) => blake3::hash(bytes) == hash,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        match self {
            Self::Whole(Digest(digest)) => digest,
            Self::Piece(hash) => hash.as_bytes(),
        }
    }
}

/// Hashes a content as it is read.
pub(super) struct Digests {
    whole: Sha256,
    pieces: Option<PieceDigests>,
}

#[derive(Default)]
struct PieceDigests {
    done: Vec<blake3::Hash>,
    piece: blake3::Hasher,
    /// How much of the piece was read.
    bytes: u64,
}

impl Digests {
    /// For a content of this size.
    pub(super) fn of(size: u64) -> Self {
        Self { whole: Sha256::new(), pieces: (pieces(size) > 0).then(PieceDigests::default) }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.whole.update(bytes);
        if let Some(pieces) = &mut self.pieces {
            pieces.update(bytes);
        }
    }

    pub(super) fn finish(self) -> Hashed {
        let pieces = self.pieces.map(PieceDigests::finish).unwrap_or_default();
        Hashed { digest: Digest(self.whole.finalize().into()), pieces }
    }
}

impl PieceDigests {
    fn update(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            let room = usize::try_from(PIECE - self.bytes).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.piece.update(now);
            self.bytes += now.len() as u64;
            if self.bytes == PIECE {
                self.end_piece();
            }
            rest = later;
        }
    }

    fn end_piece(&mut self) {
        self.done.push(self.piece.finalize());
        self.piece.reset();
        self.bytes = 0;
    }

    fn finish(mut self) -> Vec<blake3::Hash> {
        if self.bytes > 0 {
            self.end_piece();
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_hashed_whole_and_by_pieces_however_it_is_read() {
        let piece = usize::try_from(PIECE).unwrap();
        for size in [0, 1, piece, piece + 1, 2 * piece, 2 * piece + 77] {
            let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let pieces =
                if size > piece { content.chunks(piece).map(blake3::hash).collect() } else { Vec::new() };
            let expected = Hashed { digest: Digest::of(&content), pieces };
            for step in [4096, 100_003, 2 * piece + 1] {
                let mut digests = Digests::of(size as u64);
                content.chunks(step).for_each(|part| digests.update(part));
                assert_eq!(digests.finish(), expected, "{size} bytes in steps of {step}");
            }
        }
    }
}
