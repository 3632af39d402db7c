//! Owns compression: a stream of bytes becomes a compressed one, made with several cores, and never held whole in
//! memory. How one chunk is compressed is in `press.rs`. Knows nothing of tar.
//!
//! The stream is cut into chunks that are compressed on their own, and simply put one after the other. That costs
//! some percent in size, makes the output the same whatever the number of threads, and lets a chunk that was
//! compressed before be taken as it is.

use std::io;
use std::io::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;

use super::buffer::Buffer;
use super::press;
use super::press::Codec;
use super::press::Effort;
use super::press::Press;
use super::source::threads;

/// How a stream that nobody else cuts is cut.
const CHUNK: usize = 1024 * 1024;
/// The same after `SOON`, where the format makes use of that.
const LARGE: usize = 4 * 1024 * 1024;
/// After so much of a stream chunks are larger: who waits has something by then.
pub(super) const SOON: u64 = 8 * 1024 * 1024;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Size of the stream before compression.
    pub(super) bytes: u64,
    /// Size of the compressed stream.
    pub(super) compressed_bytes: u64,
}

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum CompressError<E> {
    /// The output could not be written.
    Output(io::Error),
    /// A chunk could not be made, or the producer gave up.
    Producer(E),
}

/// A chunk, compressed.
#[derive(Debug)]
pub(super) struct Block<L> {
    pub(super) compressed: Buffer,
    /// The checksum of the chunk as it was, where the format wants one.
    pub(super) crc: u32,
    /// Its size.
    pub(super) bytes: u64,
    /// What its maker knows of it.
    pub(super) label: L,
}

/// What makes a block, on any thread.
type Work<'a, L, E> = Box<dyn FnOnce(&mut Press) -> Result<Block<L>, E> + Send + 'a>;
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
    pub(super) fn push(&mut self, work: impl FnOnce(&mut Press) -> Result<Block<L>, E> + Send + 'a) -> bool {
        let (done, result) = mpsc::sync_channel(1);
        self.order.send(result).is_ok() && self.jobs.send(Job { work: Box::new(work), done }).is_ok()
    }
}

/// Makes blocks on several cores, and writes them to `out` in the order in which `produce` handed them over, with what
/// makes them one stream of that format. `wrote` is told each block and how much was written with it.
pub(super) fn run<'a, W: Write + Send, L: Send + 'a, E: Send + 'a>(
    codec: Codec,
    out: W,
    wrote: impl FnMut(&Block<L>, u64) + Send,
    produce: impl FnOnce(&mut Queue<'a, L, E>),
) -> Result<Written, CompressError<E>> {
    // Each holds some megabytes, and these are faster together than any disk or link.
    let workers = threads().min(if codec == Codec::Gzip { 8 } else { 4 });
    // The bounds are what limits memory: at most that many chunks wait or are being worked on.
    let (jobs, job_queue) = mpsc::sync_channel::<Job<'a, L, E>>(1);
    // The writer waits for one, and another waits for room here.
    let (order, ordered) = mpsc::sync_channel(workers - 1);
    let job_queue = Mutex::new(job_queue);
    thread::scope(|scope| {
        // The workers own the queue's end together; when the writer fails they go on until it is empty.
        for _ in 0..workers {
            scope.spawn(|| work(codec, &job_queue));
        }
        let writer = scope.spawn(move || write_in_order(codec, out, &ordered, wrote));
        let mut queue = Queue { jobs, order };
        produce(&mut queue);
        drop(queue);
        match writer.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs `produce`, and writes what it writes, compressed, to `out`. `wrote` is told how much was written, and of how
/// much.
pub(super) fn compress<W: Write + Send, E>(
    (codec, effort): (Codec, Effort),
    out: W,
    mut wrote: impl FnMut(u64, u64) + Send,
    produce: impl FnOnce(&mut Chunks<'_, '_>) -> Result<(), E>,
) -> Result<Written, CompressError<E>> {
    let (mut produced, mut taken) = (Ok(()), 0);
    let written = run(
        codec,
        out,
        |block, written| {
            taken += block.bytes;
            wrote(written, taken);
        },
        |queue| {
            let mut chunks = Chunks { chunk: None, sent: 0, how: (codec, effort), queue };
            produced = produce(&mut chunks);
            chunks.send();
        },
    );
    // When the writer fails the producer fails too, but only the writer knows why.
    match written {
        Ok(written) => produced.map(|()| written).map_err(CompressError::Producer),
        Err(CompressError::Output(error) | CompressError::Producer(error)) => {
            Err(CompressError::Output(error))
        }
    }
}

/// Where the producer of a stream writes to.
pub(super) struct Chunks<'q, 'a> {
    chunk: Option<Buffer>,
    /// How much the chunks before hold.
    sent: u64,
    how: (Codec, Effort),
    queue: &'q mut Queue<'a, (), io::Error>,
}

impl Chunks<'_, '_> {
    fn send(&mut self) -> bool {
        let Some(chunk) = self.chunk.take() else { return true };
        let (_, effort) = self.how;
        self.sent += chunk.len() as u64;
        self.queue.push(move |press| press.block(chunk, effort, ()))
    }

    /// How large the chunk gets that is being filled.
    fn size(&self) -> usize {
        if self.how.0 == Codec::Zstd && self.sent >= SOON { LARGE } else { CHUNK }
    }
}

impl Write for Chunks<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.as_ref().is_some_and(|chunk| chunk.len() == self.size()) && !self.send() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let size = self.size();
        let chunk = match &mut self.chunk {
            Some(chunk) => chunk,
            None => self.chunk.insert(Buffer::with_room(press::room(size))?),
        };
        let count = bytes.len().min(size - chunk.len());
        chunk.write(bytes.get(..count).unwrap_or_default())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work<L, E>(codec: Codec, queue: &Mutex<Receiver<Job<'_, L, E>>>) {
    let mut press = Press::new(codec);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { work, done }) = job else { return };
        // A writer that failed is gone; there is nobody to tell.
        let _ = done.send(work(&mut press));
    }
}

fn write_in_order<W: Write, L, E>(
    codec: Codec,
    out: W,
    blocks: &Receiver<Made<L, E>>,
    mut wrote: impl FnMut(&Block<L>, u64),
) -> Result<Written, CompressError<E>> {
    let output = CompressError::Output;
    let mut out = Counted { out, bytes: 0 };
    let (mut crc, mut bytes) = (crc32fast::Hasher::new(), 0);
    out.write_all(codec.header()).map_err(output)?;
    for block in blocks {
        let gone = |_| CompressError::Output(io::Error::other("a compressing thread ended early"));
        let block = block.recv().map_err(gone)?.map_err(CompressError::Producer)?;
        out.write_all(&block.compressed).map_err(output)?;
        crc.combine(&crc32fast::Hasher::new_with_initial_len(block.crc, block.bytes));
        bytes += block.bytes;
        wrote(&block, out.bytes);
    }
    out.write_all(&codec.end(crc.finalize(), bytes)).map_err(output)?;
    out.out.flush().map_err(output)?;
    Ok(Written { bytes, compressed_bytes: out.bytes })
}

struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Counted<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::artifact::testing::dull;
    use crate::testing::noise;

    const GZIP: (Codec, Effort) = (Codec::Gzip, Effort::Usual);
    const ZSTD: (Codec, Effort) = (Codec::Zstd, Effort::More);

    #[test]
    fn what_is_compressed_in_parallel_is_one_stream_that_reads_back() {
        let efforts = [Effort::Least, Effort::Usual, Effort::More, Effort::Most];
        let zstd = efforts.map(|effort| (Codec::Zstd, effort));
        for (how, size) in [GZIP]
            .into_iter()
            .chain(zstd)
            .flat_map(|how| [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 17 * CHUNK + 17].map(|size| (how, size)))
        {
            let data = dull(1, size);
            let mut out = Vec::new();
            let mut told = (0, 0);
            let written = compress(
                how,
                &mut out,
                |written, taken| told = (written, taken),
                |chunks| data.chunks(700).try_for_each(|part| chunks.write_all(part)),
            )
            .unwrap();
            let mut back = Vec::new();
            how.0.reader(&out[..]).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == data, "{how:?} {size}");
            assert_eq!(told.1, size as u64);
            assert!(told.0 <= out.len() as u64);
            if how == GZIP {
                let mut rest = out.as_slice();
                flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut Vec::new()).unwrap();
                assert!(rest.is_empty(), "{size}: a second member");
            }
            assert_eq!((written.bytes, written.compressed_bytes), (size as u64, out.len() as u64));
        }
    }

    #[test]
    fn what_is_dense_already_is_stored_as_it_is_between_chunks_that_are_not() {
        let dense = noise(7, 2 * CHUNK + 99_999);
        let data = [dull(1, CHUNK), dense.clone(), dull(1, CHUNK / 2)].concat();
        for how in [GZIP, ZSTD] {
            let mut out = Vec::new();
            compress(how, &mut out, |_, _| {}, |chunks| chunks.write_all(&data)).unwrap();
            let mut back = Vec::new();
            how.0.reader(out.as_slice()).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == data, "{how:?}");
            let inside = |part: &[u8]| out.windows(part.len()).any(|window| window == part);
            assert!(inside(&dense[CHUNK / 2..CHUNK / 2 + 1000]), "{how:?}");
            assert!(!inside(&data[..CHUNK / 2]), "{how:?}");
            assert!(out.len() < data.len(), "{how:?}");
        }
    }

    #[test]
    fn what_repeats_far_away_in_a_large_chunk_takes_next_to_nothing() {
        let once = dull(1, 3 * CHUNK);
        for effort in [Effort::Least, Effort::Usual, Effort::More] {
            let pressed = |data: &[u8]| {
                let mut chunk = Buffer::with_room(data.len()).unwrap();
                chunk.write_all(data).unwrap();
                Press::new(Codec::Zstd).block(chunk, effort, ()).unwrap().compressed
            };
            let twice = [&once[..], &once[..]].concat();
            let compressed = pressed(&twice);
            assert!(compressed.len() < pressed(&once).len() + 4096, "{effort:?}: {}", compressed.len());
            let mut back = Vec::new();
            Codec::Zstd.reader(&compressed[..]).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == twice, "{effort:?}");
        }
    }

    #[test]
    fn what_repeats_far_away_late_in_a_long_stream_takes_next_to_nothing_either() {
        let (before, part) = (dull(1, SOON as usize), dull(2, LARGE / 2));
        let size = |parts: &[&[u8]]| {
            let mut out = Vec::new();
            compress(ZSTD, &mut out, |_, _| {}, |chunks| chunks.write_all(&parts.concat())).unwrap();
            out.len()
        };
        assert!(size(&[&before, &part, &part]) < size(&[&before, &part]) + 4096);
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
        let chunk = dull(1, CHUNK);
        let result = compress(
            GZIP,
            Full(CHUNK),
            |_, _| {},
            |chunks| {
                loop {
                    chunks.write_all(&chunk)?;
                }
                #[expect(unreachable_code, reason = "gives the closure its type")]
                Ok::<(), io::Error>(())
            },
        );
        match result {
            Err(CompressError::Output(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_producer_that_gives_up_is_told_apart() {
        let result = compress(GZIP, io::sink(), |_, _| {}, |_| Err("gave up"));
        assert!(matches!(result, Err(CompressError::Producer("gave up"))));
    }
}
