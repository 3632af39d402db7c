//! Owns compression: a stream of bytes becomes one gzip member, compressed with every core, hashed on
//! the way, and never held whole in memory. Knows nothing of tar.
//!
//! The stream is cut into chunks that are deflated on their own and end on a byte boundary (a sync
//! flush), so that they can simply be put one after the other. That costs about a percent in size and
//! makes the output the same whatever the number of threads. A chunk that samples say is dense already (archives,
//! images, ciphertext) is stored as it is, which costs hardly more than copying it.

use std::io;
use std::io::Write;
use std::mem;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;

use flate2::Compress;
use flate2::Compression;
use flate2::Crc;
use flate2::FlushCompress;
use sha2::Digest as _;
use sha2::Sha256;

use super::source::threads;
use crate::release::Digest;

const CHUNK: usize = 1024 * 1024;
const LEVEL: u32 = 6;
/// Deflate, no flags, no time, no extra flags, unknown system: the same bytes everywhere.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block, which ends the stream of chunks.
const END: [u8; 2] = [3, 0];

/// How much of a chunk is tried, in so many places.
const SAMPLE: usize = 4096;
const SAMPLES: usize = 4;
/// How much a stored block holds at most.
const STORED: usize = 65535;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// sha256 of the stream before compression.
    pub(super) digest: Digest,
    /// Its size.
    pub(super) bytes: u64,
    /// sha256 of the compressed stream.
    pub(super) compressed_digest: Digest,
    /// Its size.
    pub(super) compressed_bytes: u64,
}

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum GzipError<E> {
    /// The output could not be written.
    Output(io::Error),
    /// The producer gave up.
    Producer(E),
}

struct Job {
    chunk: Vec<u8>,
    done: SyncSender<io::Result<Block>>,
}

struct Block {
    chunk: Vec<u8>,
    compressed: Vec<u8>,
    crc: Crc,
}

/// Runs `produce`, and writes what it writes, compressed, to `out`.
pub(super) fn compress<W: Write + Send, E>(
    out: W,
    produce: impl FnOnce(&mut Chunks) -> Result<(), E>,
) -> Result<Written, GzipError<E>> {
    let workers = threads();
    // The bounds are what limits memory: at most that many chunks wait or are being worked on.
    let (jobs, job_queue) = mpsc::sync_channel::<Job>(workers);
    let (order, ordered) = mpsc::sync_channel(workers + 1);
    let job_queue = Mutex::new(job_queue);
    thread::scope(|scope| {
        // The workers own the queue's end together; when the writer fails they go on until it is empty.
        for _ in 0..workers {
            scope.spawn(|| work(&job_queue));
        }
        let writer = scope.spawn(move || write_in_order(out, &ordered));
        let mut chunks = Chunks { chunk: Vec::with_capacity(CHUNK), jobs, order };
        let produced = produce(&mut chunks);
        let flushed = if produced.is_ok() { chunks.send() } else { Ok(()) };
        drop(chunks);
        let written = match writer.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // When the writer fails the producer fails too, but only the writer knows why.
        let written = written.map_err(GzipError::Output)?;
        produced.map_err(GzipError::Producer)?;
        flushed.map_err(GzipError::Output)?;
        Ok(written)
    })
}

/// Where the producer writes to.
pub(super) struct Chunks {
    chunk: Vec<u8>,
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<io::Result<Block>>>,
}

impl Chunks {
    fn send(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let (done, result) = mpsc::sync_channel(1);
        let chunk = mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.order.send(result).map_err(|_| gone())?;
        self.jobs.send(Job { chunk, done }).map_err(|_| gone())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK {
            self.send()?;
        }
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let mut deflate = Compress::new(Compression::new(LEVEL), false);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { chunk, done }) = job else { return };
        let mut crc = Crc::new();
        crc.update(&chunk);
        let block = match is_dense(&mut deflate, &chunk) {
            Ok(true) => Ok(stored(&chunk)),
            Ok(false) => deflate_chunk(&mut deflate, &chunk),
            Err(error) => Err(error),
        };
        let block = block.map(|compressed| Block { chunk, compressed, crc });
        // A writer that failed is gone; there is nobody to tell.
        let _ = done.send(block);
    }
}

/// Whether samples of a chunk become hardly smaller.
fn is_dense(deflate: &mut Compress, chunk: &[u8]) -> io::Result<bool> {
    if chunk.len() < 2 * SAMPLE * SAMPLES {
        return Ok(false);
    }
    let mut size = 0;
    for sample in chunk.chunks(chunk.len() / SAMPLES).take(SAMPLES) {
        size += deflate_chunk(deflate, sample.get(..SAMPLE).unwrap_or(sample))?.len();
    }
    Ok(size > SAMPLE * SAMPLES / 100 * 98)
}

/// A chunk in blocks that are not compressed.
fn stored(chunk: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunk.len() + chunk.len().div_ceil(STORED) * 5);
    for part in chunk.chunks(STORED) {
        // Not longer than its field has room for.
        let size = part.len() as u16;
        out.push(0);
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&(!size).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

fn deflate_chunk(deflate: &mut Compress, chunk: &[u8]) -> io::Result<Vec<u8>> {
    deflate.reset();
    // Enough for what cannot be compressed, so that one call does.
    let mut out = Vec::with_capacity(chunk.len() + chunk.len() / 100 + 1024);
    loop {
        let consumed = usize::try_from(deflate.total_in()).map_err(io::Error::other)?;
        let rest = chunk.get(consumed..).unwrap_or_default();
        deflate.compress_vec(rest, &mut out, FlushCompress::Sync).map_err(io::Error::other)?;
        if deflate.total_in() == chunk.len() as u64 && out.len() < out.capacity() {
            return Ok(out);
        }
        out.reserve(CHUNK / 8);
    }
}

fn write_in_order<W: Write>(
    out: W,
    blocks: &Receiver<Receiver<io::Result<Block>>>,
) -> Result<Written, io::Error> {
    let mut out = Tee { out, hasher: Sha256::new(), bytes: 0 };
    let (mut hasher, mut crc, mut bytes) = (Sha256::new(), Crc::new(), 0);
    out.write_all(&HEADER)?;
    for block in blocks {
        let block = block.recv().map_err(|_| io::Error::other("a compressing thread ended early"))??;
        out.write_all(&block.compressed)?;
        hasher.update(&block.chunk);
        crc.combine(&block.crc);
        bytes += block.chunk.len() as u64;
    }
    out.write_all(&END)?;
    out.write_all(&crc.sum().to_le_bytes())?;
    // The format has the size modulo 2^32.
    out.write_all(&(bytes as u32).to_le_bytes())?;
    out.out.flush()?;
    Ok(Written {
        digest: Digest(hasher.finalize().into()),
        bytes,
        compressed_digest: Digest(out.hasher.finalize().into()),
        compressed_bytes: out.bytes,
    })
}

struct Tee<W> {
    out: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> Tee<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Bytes that neither compress to nothing nor not at all.
    fn sample(size: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x3f
        };
        (0..size).map(|_| next()).collect()
    }

    #[test]
    fn what_is_compressed_in_parallel_is_one_member_that_reads_back() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 17] {
            let data = sample(size);
            let mut out = Vec::new();
            let written =
                compress(&mut out, |chunks| data.chunks(700).try_for_each(|part| chunks.write_all(part)))
                    .unwrap();
            let mut rest = out.as_slice();
            let mut back = Vec::new();
            flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut back).unwrap();
            assert!(back == data, "{size}");
            assert!(rest.is_empty(), "{size}: a second member");
            assert_eq!(written.digest.0, <[u8; 32]>::from(Sha256::digest(&data)));
            assert_eq!(written.compressed_digest.0, <[u8; 32]>::from(Sha256::digest(&out)));
            assert_eq!((written.bytes, written.compressed_bytes), (size as u64, out.len() as u64));
        }
    }

    #[test]
    fn what_is_dense_already_is_stored_as_it_is_between_chunks_that_are_not() {
        let mut state = 7_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let dense: Vec<u8> = (0..2 * CHUNK + 99_999).map(|_| noise()).collect();
        let data = [sample(CHUNK), dense.clone(), sample(CHUNK / 2)].concat();
        let mut out = Vec::new();
        compress(&mut out, |chunks| chunks.write_all(&data)).unwrap();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(out.as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == data);
        let inside = |part: &[u8]| out.windows(part.len()).any(|window| window == part);
        assert!(inside(&dense[CHUNK / 2..CHUNK / 2 + 1000]));
        assert!(!inside(&data[..1000]));
        assert!(out.len() < data.len());
    }

    #[test]
    fn a_full_disk_is_told_as_it_is_and_ends_the_producer() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let chunk = sample(CHUNK);
        let result = compress(Full(CHUNK), |chunks| {
            loop {
                chunks.write_all(&chunk)?;
            }
            #[expect(unreachable_code, reason = "gives the closure its type")]
            Ok::<(), io::Error>(())
        });
        match result {
            Err(GzipError::Output(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_producer_that_gives_up_is_told_apart() {
        let result = compress(io::sink(), |_| Err("gave up"));
        assert!(matches!(result, Err(GzipError::Producer("gave up"))));
    }
}
