//! Owns compression: a stream of bytes becomes one gzip member, compressed with every core, hashed on
//! the way, and never held whole in memory. Knows nothing of tar.
//!
//! The stream is cut into chunks that are deflated on their own and end on a byte boundary (a sync
//! flush), so that they can simply be put one after the other. That costs about a percent in size, makes the
//! output the same whatever the number of threads, and lets a chunk that was compressed before be taken as it is.
//! A chunk that samples say is dense already (archives, images, ciphertext) is stored as it is, which costs hardly
//! more than copying it.

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

/// How a stream that nobody else cuts is cut.
const CHUNK: usize = 1024 * 1024;
/// What chunks are deflated with. Another one makes other bytes of the same chunk.
pub(super) const LEVEL: u32 = 6;
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
    /// Size of the stream before compression.
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
    /// A chunk could not be made, or the producer gave up.
    Producer(E),
}

/// A chunk, compressed.
#[derive(Debug)]
pub(super) struct Block<L> {
    pub(super) compressed: Vec<u8>,
    /// Of the chunk as it was.
    pub(super) crc: u32,
    /// Its size.
    pub(super) bytes: u64,
    /// What its maker knows of it.
    pub(super) label: L,
}

/// What makes a block, on any thread.
type Work<'a, L, E> = Box<dyn FnOnce(&mut Deflate) -> Result<Block<L>, E> + Send + 'a>;
type Made<L, E> = Receiver<Result<Block<L>, E>>;

struct Job<'a, L, E> {
    work: Work<'a, L, E>,
    done: SyncSender<Result<Block<L>, E>>,
}

/// Where the makers of blocks are handed over, in the order of the stream.
pub(super) struct Queue<'a, L, E> {
    jobs: SyncSender<Job<'a, L, E>>,
    order: SyncSender<Made<L, E>>,
}

impl<'a, L, E> Queue<'a, L, E> {
    /// Waits until there is room. Returns whether it is still wanted; if not, the writer knows why.
    pub(super) fn push(
        &mut self,
        work: impl FnOnce(&mut Deflate) -> Result<Block<L>, E> + Send + 'a,
    ) -> bool {
        let (done, result) = mpsc::sync_channel(1);
        self.order.send(result).is_ok() && self.jobs.send(Job { work: Box::new(work), done }).is_ok()
    }
}

/// Makes blocks on every core, and writes them to `out` in the order in which `produce` handed them over, with what
/// makes them one gzip member. `wrote` is told each block and how much was written with it.
pub(super) fn run<'a, W: Write + Send, L: Send + 'a, E: Send + 'a>(
    out: W,
    wrote: impl FnMut(&Block<L>, u64) + Send,
    produce: impl FnOnce(&mut Queue<'a, L, E>),
) -> Result<Written, GzipError<E>> {
    let workers = threads();
    // The bounds are what limits memory: at most that many chunks wait or are being worked on.
    let (jobs, job_queue) = mpsc::sync_channel::<Job<'a, L, E>>(workers);
    let (order, ordered) = mpsc::sync_channel(workers + 1);
    let job_queue = Mutex::new(job_queue);
    thread::scope(|scope| {
        // The workers own the queue's end together; when the writer fails they go on until it is empty.
        for _ in 0..workers {
            scope.spawn(|| work(&job_queue));
        }
        let writer = scope.spawn(move || write_in_order(out, &ordered, wrote));
        let mut queue = Queue { jobs, order };
        produce(&mut queue);
        drop(queue);
        match writer.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs `produce`, and writes what it writes, compressed, to `out`.
pub(super) fn compress<W: Write + Send, E>(
    out: W,
    produce: impl FnOnce(&mut Chunks<'_, '_>) -> Result<(), E>,
) -> Result<Written, GzipError<E>> {
    let mut produced = Ok(());
    let written = run(
        out,
        |_, _| {},
        |queue| {
            let mut chunks = Chunks { chunk: Vec::with_capacity(CHUNK), queue };
            produced = produce(&mut chunks);
            chunks.send();
        },
    );
    // When the writer fails the producer fails too, but only the writer knows why.
    match written {
        Ok(written) => produced.map(|()| written).map_err(GzipError::Producer),
        Err(GzipError::Output(error) | GzipError::Producer(error)) => Err(GzipError::Output(error)),
    }
}

/// Where the producer of a stream writes to.
pub(super) struct Chunks<'q, 'a> {
    chunk: Vec<u8>,
    queue: &'q mut Queue<'a, (), io::Error>,
}

impl Chunks<'_, '_> {
    fn send(&mut self) -> bool {
        if self.chunk.is_empty() {
            return true;
        }
        let chunk = mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.queue.push(move |deflate| deflate.block(&chunk, ()))
    }
}

impl Write for Chunks<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK && !self.send() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work<L, E>(queue: &Mutex<Receiver<Job<'_, L, E>>>) {
    let mut deflate = Deflate(Compress::new(Compression::new(LEVEL), false));
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { work, done }) = job else { return };
        // A writer that failed is gone; there is nobody to tell.
        let _ = done.send(work(&mut deflate));
    }
}

/// What compresses chunks.
pub(super) struct Deflate(Compress);

impl Deflate {
    /// Compresses a chunk. The same one becomes the same bytes, whatever was compressed before.
    pub(super) fn block<L>(&mut self, chunk: &[u8], label: L) -> io::Result<Block<L>> {
        let compressed = if self.is_dense(chunk)? { stored(chunk) } else { self.deflate(chunk)? };
        let mut crc = Crc::new();
        crc.update(chunk);
        Ok(Block { compressed, crc: crc.sum(), bytes: chunk.len() as u64, label })
    }

    /// Whether samples of a chunk become hardly smaller.
    fn is_dense(&mut self, chunk: &[u8]) -> io::Result<bool> {
        if chunk.len() < 2 * SAMPLE * SAMPLES {
            return Ok(false);
        }
        let mut size = 0;
        for sample in chunk.chunks(chunk.len() / SAMPLES).take(SAMPLES) {
            size += self.deflate(sample.get(..SAMPLE).unwrap_or(sample))?.len();
        }
        Ok(size > SAMPLE * SAMPLES / 100 * 98)
    }

    fn deflate(&mut self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        let Self(deflate) = self;
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

fn write_in_order<W: Write, L, E>(
    out: W,
    blocks: &Receiver<Made<L, E>>,
    mut wrote: impl FnMut(&Block<L>, u64),
) -> Result<Written, GzipError<E>> {
    let output = GzipError::Output;
    let mut out = Tee { out, hasher: Sha256::new(), bytes: 0 };
    let (mut crc, mut bytes) = (crc32fast::Hasher::new(), 0);
    out.write_all(&HEADER).map_err(output)?;
    for block in blocks {
        let gone = |_| GzipError::Output(io::Error::other("a compressing thread ended early"));
        let block = block.recv().map_err(gone)?.map_err(GzipError::Producer)?;
        out.write_all(&block.compressed).map_err(output)?;
        crc.combine(&crc32fast::Hasher::new_with_initial_len(block.crc, block.bytes));
        bytes += block.bytes;
        wrote(&block, out.bytes);
    }
    out.write_all(&END).map_err(output)?;
    out.write_all(&crc.finalize().to_le_bytes()).map_err(output)?;
    // The format has the size modulo 2^32.
    out.write_all(&(bytes as u32).to_le_bytes()).map_err(output)?;
    out.out.flush().map_err(output)?;
    let compressed_digest = Digest(out.hasher.finalize().into());
    Ok(Written { bytes, compressed_digest, compressed_bytes: out.bytes })
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
