//! Owns the list of an artifact's chunks, which lies beside it in the cache, and taking chunks from artifacts made
//! earlier. Nothing there is believed: a list has its own checksum and a chunk has one in the list, and what does not
//! agree counts as not there.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::buffer::Buffer;
use super::compress::Block;
use super::press;
use crate::release::Digest;

/// What is known of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Names its bytes.
    pub(super) name: Digest,
    /// How many they are.
    pub(super) bytes: u64,
    /// How many it has compressed.
    pub(super) compressed: u64,
    /// CRC-32 of those. That they are no other bytes by chance is all that it has to tell: what is unpacked of them is
    /// compared with the manifest.
    pub(super) sum: u32,
}

/// The first line; another one, where chunks are named or compressed in another way.
const HEADER: &str = "rdeploy-chunks 3\n";

/// Returns the text form: a line for each chunk, and one for all of them.
pub(super) fn to_text(chunks: &[Known]) -> String {
    let mut text = HEADER.to_owned();
    for Known { name, bytes, compressed, sum } in chunks {
        let _ = writeln!(text, "{name} {bytes} {compressed} {sum:08x}");
    }
    let sum = name(&text);
    text + &format!("{sum}\n")
}

/// Reads the text form; nothing, if it is damaged or of another version.
pub(super) fn from_text(text: &str) -> Option<Vec<Known>> {
    let (chunks, sum) = text.split_at_checked(text.len().checked_sub(65)?)?;
    if name(chunks) != sum.strip_suffix('\n')?.parse().ok()? {
        return None;
    }
    let line = |line: &str| {
        let mut words = line.split(' ');
        Some(Known {
            name: words.next()?.parse().ok()?,
            bytes: words.next()?.parse().ok()?,
            compressed: words.next()?.parse().ok()?,
            sum: u32::from_str_radix(words.next()?, 16).ok()?,
        })
    };
    chunks.strip_prefix(HEADER)?.lines().map(line).collect()
}

/// Names a list.
pub(super) fn name(text: &str) -> Digest {
    Digest::of(text)
}

/// The checksum of a compressed chunk.
pub(super) fn sum_of(compressed: &[u8]) -> u32 {
    crc32fast::hash(compressed)
}

/// Whether an artifact consists of just the chunks of a list, and has that size.
pub(super) fn agrees(artifact: &Path, list: &str, bytes: u64) -> bool {
    let Some((known, file)) = from_text(list).zip(File::open(artifact).ok()) else { return false };
    let (mut offset, mut buffer) = (0_u64, Vec::new());
    for chunk in known {
        // What is damaged names any size.
        let Some(end) = offset.checked_add(chunk.compressed).filter(|end| *end <= bytes) else {
            return false;
        };
        buffer.resize(usize::try_from(chunk.compressed).unwrap_or_default(), 0);
        if file.read_exact_at(&mut buffer, offset).is_err() || sum_of(&buffer) != chunk.sum {
            return false;
        }
        offset = end;
    }
    offset == bytes && file.metadata().is_ok_and(|metadata| metadata.len() == bytes)
}

/// The chunks of some artifacts made earlier.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    artifacts: Vec<File>,
    chunks: HashMap<Digest, Place>,
}

#[derive(Debug)]
struct Place {
    artifact: usize,
    offset: u64,
    known: Known,
}

impl Earlier {
    /// Adds the chunks of an artifact, if it and its list are there.
    pub(super) fn add(&mut self, artifact: &Path, list: &Path) -> Option<()> {
        let known = from_text(&fs::read_to_string(list).ok()?)?;
        let file = File::open(artifact).ok()?;
        let mut offset = 0_u64;
        for known in known {
            let place = Place { artifact: self.artifacts.len(), offset, known };
            offset = offset.checked_add(known.compressed)?;
            self.chunks.entry(known.name).or_insert(place);
        }
        self.artifacts.push(file);
        Some(())
    }

    /// Returns a chunk as it was compressed then, if it still is what it was.
    pub(super) fn get(&self, name: &Digest, bytes: u64) -> Option<Block<Known>> {
        let Place { artifact, offset, known } = self.chunks.get(name).filter(|at| at.known.bytes == bytes)?;
        let file = self.artifacts.get(*artifact)?;
        // No format makes more of it than this.
        let most = press::room(usize::try_from(bytes).ok()?);
        let size = usize::try_from(known.compressed).ok().filter(|size| *size <= most)?;
        let mut compressed = Buffer::with_room(size).ok()?;
        file.read_exact_at(compressed.spare().get_mut(..size)?, *offset).ok()?;
        compressed.filled(size);
        (sum_of(&compressed) == known.sum).then_some(())?;
        Some(Block { compressed, crc: 0, bytes, label: *known })
    }
}
