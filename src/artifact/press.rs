//! Owns how one chunk is compressed, in the formats that hosts can read: zstd, gzip where they know nothing better, and
//! as it is. Chunks put one after the other are one stream of the format.
//!
//! In gzip, a chunk ends on a byte boundary (a sync flush); in zstd it is a frame. One that samples say is dense
//! already (archives, images, ciphertext) is stored as it is, which costs hardly more than copying it.

use std::io;
use std::io::Read;
use std::io::Write as _;

use flate2::Compress;
use flate2::Compression;
use flate2::Crc;
use flate2::FlushCompress;
use serde::Deserialize;
use serde::Serialize;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::buffer::Buffer;
use super::compress::Block;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Not at all.
    Plain,
    /// What every host can read.
    Gzip,
    /// Smaller than gzip in a fraction of the time; a host needs the program `zstd`.
    Zstd,
}

/// How much work a chunk is worth. gzip knows one kind only, so that the same chunk always becomes the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Somebody waits for every chunk.
    Least,
    /// Nothing is known of who takes it.
    Usual,
    /// The chunks are taken more slowly than they are made.
    More,
    /// It is little, and is sent to many or over a slow link.
    Most,
}

/// What chunks are deflated with. Another one makes other bytes of the same chunk.
const LEVEL: u32 = 6;
/// Deflate, no flags, no time, no extra flags, unknown system: the same bytes everywhere.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block, which ends the stream of chunks.
const END: [u8; 2] = [3, 0];

/// A frame of nothing.
const EMPTY: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0];

/// How much of a chunk is tried, in so many places.
const SAMPLE: usize = 2048;
const SAMPLES: usize = 16;
/// How much a stored block holds at most, in gzip and in zstd.
const STORED: usize = 65535;
const RAW: usize = 128 * 1024;
/// What precedes such a frame, and each of its blocks.
const RAW_HEAD: usize = 9;
const BLOCK_HEAD: usize = 3;

impl Codec {
    /// As hosts are told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What precedes the chunks.
    pub(super) fn header(self) -> &'static [u8] {
        match self {
            Self::Gzip => &HEADER,
            Self::Plain | Self::Zstd => &[],
        }
    }

    /// What follows the chunks, of so many bytes with that checksum.
    pub(super) fn end(self, crc: u32, bytes: u64) -> Vec<u8> {
        match self {
            Self::Plain => Vec::new(),
            // The format has the size modulo 2^32.
            Self::Gzip => [&END[..], &crc.to_le_bytes(), &(bytes as u32).to_le_bytes()].concat(),
            // Something has to be there.
            Self::Zstd if bytes == 0 => EMPTY.to_vec(),
            Self::Zstd => Vec::new(),
        }
    }

    /// Reads what was compressed.
    pub(super) fn reader<'a>(self, from: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(from),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(from)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(from)?),
        })
    }
}

impl Effort {
    pub(super) fn level(self) -> i32 {
        match self {
            Self::Least => 1,
            Self::Usual => 3,
            Self::More => 6,
            Self::Most => 15,
        }
    }
}

/// What compresses chunks, on one thread.
pub(super) enum Press {
    Plain,
    Gzip(Compress),
    /// Made when it is needed first.
    Zstd(Option<Compressor<'static>>),
}

impl Press {
    pub(super) fn new(codec: Codec) -> Self {
        match codec {
            Codec::Plain => Self::Plain,
            Codec::Gzip => Self::Gzip(Compress::new(Compression::new(LEVEL), false)),
            Codec::Zstd => Self::Zstd(None),
        }
    }

    /// Compresses a chunk, whatever was compressed before.
    pub(super) fn block<L>(&mut self, chunk: Buffer, effort: Effort, label: L) -> io::Result<Block<L>> {
        let bytes = chunk.len() as u64;
        let (compressed, crc) = match self {
            Self::Plain => (chunk, 0),
            Self::Gzip(deflate) => {
                let dense = is_dense(&chunk, |sample| Ok(self::deflate(deflate, sample)?.len()))?;
                let mut crc = Crc::new();
                crc.update(&chunk);
                (if dense { stored(&chunk)? } else { self::deflate(deflate, &chunk)? }, crc.sum())
            }
            Self::Zstd(press) => {
                let press = match press {
                    Some(press) => press,
                    None => press.insert(Compressor::new(effort.level())?),
                };
                press.set_compression_level(Effort::Least.level())?;
                if is_dense(&chunk, |sample| Ok(press.compress(sample)?.len()))? {
                    (raw(chunk)?, 0)
                } else {
                    press.set_compression_level(effort.level())?;
                    (squeezed(press, &chunk)?, 0)
                }
            }
        };
        Ok(Block { compressed, crc, bytes, label })
    }
}

/// Whether samples of a chunk become hardly smaller; told the size that each becomes.
fn is_dense(chunk: &[u8], mut compressed: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
    if chunk.len() < 2 * SAMPLE * SAMPLES {
        return Ok(false);
    }
    let mut size = 0;
    for sample in chunk.chunks(chunk.len() / SAMPLES).take(SAMPLES) {
        size += compressed(sample.get(..SAMPLE).unwrap_or(sample))?;
    }
    Ok(size > SAMPLE * SAMPLES / 100 * 98)
}

/// How much room a chunk may need in any format.
pub(super) fn room(bytes: usize) -> usize {
    bytes + bytes / 100 + 1024
}

/// In a chunk larger than this, what is repeated is looked for in all of it: in trees, it is often far away (the same
/// dependency in two places). What compresses at these levels looks no further by itself.
const NEAR: usize = 2 * 1024 * 1024;
/// So far, as a power of two: 8 MiB, which every reader of the format is asked to manage (RFC 8878, 3.1.1.1.2).
const WINDOW: u32 = 23;

fn squeezed(press: &mut Compressor<'_>, chunk: &[u8]) -> io::Result<Buffer> {
    let is_far = chunk.len() > NEAR;
    press.set_parameter(CParameter::EnableLongDistanceMatching(is_far))?;
    press.set_parameter(CParameter::WindowLog(if is_far { WINDOW } else { 0 }))?;
    let mut out = Buffer::with_room(room(chunk.len()))?;
    let size = press.compress_to_buffer(chunk, out.spare())?;
    out.filled(size);
    Ok(out)
}

fn deflate(deflate: &mut Compress, chunk: &[u8]) -> io::Result<Buffer> {
    deflate.reset();
    // Enough for what cannot be compressed, so that one call does.
    let mut out = Buffer::with_room(room(chunk.len()))?;
    loop {
        let (read, written) = (deflate.total_in(), deflate.total_out());
        let rest = usize::try_from(read).ok().and_then(|read| chunk.get(read..)).unwrap_or_default();
        deflate.compress(rest, out.spare(), FlushCompress::Sync).map_err(io::Error::other)?;
        out.filled(usize::try_from(deflate.total_out() - written).map_err(io::Error::other)?);
        if deflate.total_in() == chunk.len() as u64 && !out.spare().is_empty() {
            return Ok(out);
        }
        out.reserve(chunk.len() / 8 + 1024)?;
    }
}

/// A chunk as a zstd frame of blocks that are not compressed (RFC 8878, 3.1.1). In its own memory: several of these are
/// made at a time, and each may have six megabytes.
fn raw(mut chunk: Buffer) -> io::Result<Buffer> {
    let size = chunk.len();
    let blocks = size.div_ceil(RAW);
    let heads = RAW_HEAD + blocks * BLOCK_HEAD;
    chunk.reserve(heads)?;
    chunk.filled(heads);
    // From the last on, so that each moves to where none is left.
    for block in (0..blocks).rev() {
        let from = block * RAW;
        let end = size.min(from + RAW);
        let to = from + RAW_HEAD + (block + 1) * BLOCK_HEAD;
        chunk.copy_within(from..end, to);
        let head = ((end - from) as u32) << 3 | u32::from(block + 1 == blocks);
        write_at(&mut chunk, to - BLOCK_HEAD, &head.to_le_bytes()[..BLOCK_HEAD]);
    }
    write_at(&mut chunk, 0, &EMPTY[..4]);
    // In one segment, whose size is told in four bytes. No chunk is longer than those can say.
    write_at(&mut chunk, 4, &[0xa0]);
    write_at(&mut chunk, 5, &(size as u32).to_le_bytes());
    Ok(chunk)
}

fn write_at(bytes: &mut [u8], at: usize, what: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(what) {
        *byte = *new;
    }
}

/// A chunk in blocks that are not compressed.
fn stored(chunk: &[u8]) -> io::Result<Buffer> {
    let mut out = Buffer::with_room(chunk.len() + chunk.len().div_ceil(STORED) * 5)?;
    for part in chunk.chunks(STORED) {
        // Not longer than its field has room for.
        let size = part.len() as u16;
        out.write_all(&[0])?;
        out.write_all(&size.to_le_bytes())?;
        out.write_all(&(!size).to_le_bytes())?;
        out.write_all(part)?;
    }
    Ok(out)
}
