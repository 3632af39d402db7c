//! Owns the list of an artifact's chunks, which lies beside it in the cache, and taking chunks from artifacts made
//! earlier. Nothing there is believed: a list has its own checksum and a chunk has one in the list, and what does not
//! agree counts as not there.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::Digest as _;
use sha2::Sha256;

use super::gzip;
use super::gzip::Block;
use crate::release::Digest;

/// What is known of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Names its bytes.
    pub(super) name: Digest,
    /// How many they are.
    pub(super) bytes: u64,
    /// Their checksum.
    pub(super) crc: u32,
    /// How many it has compressed.
    pub(super) compressed: u64,
    /// sha256 of those.
    pub(super) sum: Digest,
}

/// The first line; another one, where chunks are named or compressed in another way.
fn header() -> String {
    format!("rdeploy-chunks 1 {}\n", gzip::LEVEL)
}

/// Returns the text form: a line for each chunk, and one for all of them.
pub(super) fn to_text(chunks: &[Known]) -> String {
    let mut text = header();
    for Known { name, bytes, crc, compressed, sum } in chunks {
        let _ = writeln!(text, "{name} {bytes} {crc} {compressed} {sum}");
    }
    let sum = Digest(Sha256::digest(&text).into());
    text + &format!("{sum}\n")
}

/// Reads the text form; nothing, if it is damaged or of another version.
pub(super) fn from_text(text: &str) -> Option<Vec<Known>> {
    let (chunks, sum) = text.split_at_checked(text.len().checked_sub(65)?)?;
    if Digest(Sha256::digest(chunks).into()) != sum.strip_suffix('\n')?.parse().ok()? {
        return None;
    }
    let line = |line: &str| {
        let mut words = line.split(' ');
        Some(Known {
            name: words.next()?.parse().ok()?,
            bytes: words.next()?.parse().ok()?,
            crc: words.next()?.parse().ok()?,
            compressed: words.next()?.parse().ok()?,
            sum: words.next()?.parse().ok()?,
        })
    };
    chunks.strip_prefix(&header())?.lines().map(line).collect()
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
        let mut offset = gzip::HEADER.len() as u64;
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
        // Deflate does not make more of it than this.
        let most = bytes + bytes / 100 + 1024;
        let size = Some(known.compressed).filter(|size| *size <= most)?;
        let mut compressed = vec![0; usize::try_from(size).ok()?];
        file.read_exact_at(&mut compressed, *offset).ok()?;
        (Digest(Sha256::digest(&compressed).into()) == known.sum).then_some(())?;
        Some(Block { compressed, crc: known.crc, bytes, label: *known })
    }
}
