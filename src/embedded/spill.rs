//! Owns bytes that wait for a slow reader: a little in memory, the rest in a file without a name.
//!
//! The SSH library opens a channel's window again as soon as bytes arrive, not when they are used, and
//! whoever does not take them at once stops the whole connection, in both directions. So they are
//! always taken, and memory is bounded by writing what is too much for it to disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;
use tokio::sync::Notify;

/// What is kept in memory.
const MEMORY: usize = 1 << 20;

/// How much is read back at a time.
const CHUNK: usize = 64 << 10;

/// A queue of bytes, without a limit.
#[derive(Clone)]
pub(super) struct Spill {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    directory: PathBuf,
}

/// What is in memory is older than what is in the file.
#[derive(Default)]
struct State {
    memory: VecDeque<Bytes>,
    held: usize,
    file: Option<File>,
    written: u64,
    read: u64,
    ended: bool,
    abandoned: bool,
}

impl Spill {
    /// Makes an empty queue that may write into `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { shared: Arc::new(Shared { state: Mutex::default(), changed: Notify::new(), directory }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds bytes. Writes to the file go to the page cache; they are short enough for the event loop.
    pub(super) fn push(&self, bytes: Bytes) -> io::Result<()> {
        let mut state = self.state();
        if state.abandoned {
            return Ok(());
        }
        if state.read == state.written && state.held + bytes.len() <= MEMORY {
            state.held += bytes.len();
            state.memory.push_back(bytes);
        } else {
            let at = state.written;
            if state.file.is_none() {
                state.file = Some(tempfile::tempfile_in(&self.shared.directory)?);
            }
            if let Some(file) = &state.file {
                file.write_all_at(&bytes, at)?;
            }
            state.written += bytes.len() as u64;
        }
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Says that nothing more comes.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.shared.changed.notify_one();
    }

    /// Says that nothing more is wanted, nor what still waits.
    pub(super) fn abandon(&self) {
        *self.state() = State { ended: true, abandoned: true, ..State::default() };
        self.shared.changed.notify_one();
    }

    /// Takes the oldest bytes; waits for them. Nothing when there will be none. For one reader.
    pub(super) async fn pop(&self) -> io::Result<Option<Bytes>> {
        loop {
            // A permit is kept when nobody waits: what happens in between is not missed.
            let changed = self.shared.changed.notified();
            match self.state().next()? {
                Next::Bytes(bytes) => return Ok(Some(bytes)),
                Next::End => return Ok(None),
                Next::Wait => {}
            }
            changed.await;
        }
    }
}

enum Next {
    Bytes(Bytes),
    End,
    Wait,
}

impl State {
    fn next(&mut self) -> io::Result<Next> {
        if let Some(bytes) = self.memory.pop_front() {
            self.held -= bytes.len();
            return Ok(Next::Bytes(bytes));
        }
        if self.read < self.written {
            return self.read_back().map(Next::Bytes);
        }
        Ok(if self.ended { Next::End } else { Next::Wait })
    }

    fn read_back(&mut self) -> io::Result<Bytes> {
        let size = usize::try_from(self.written - self.read).unwrap_or(CHUNK).min(CHUNK);
        let mut bytes = vec![0; size];
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        file.read_exact_at(&mut bytes, self.read)?;
        self.read += size as u64;
        if self.read == self.written {
            // Gives the disk back, and starts over.
            file.set_len(0)?;
            (self.read, self.written) = (0, 0);
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(n: usize) -> u8 {
        u8::try_from(n % 251).unwrap()
    }

    #[tokio::test]
    async fn bytes_come_out_as_they_went_in_through_memory_and_file_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let spill = Spill::new(dir.path());
        let mut next = 0;
        let mut seen = 0;
        // Each round overflows into the file; every other one is read back only in part.
        for round in 0..6 {
            for _ in 0..40 {
                let chunk: Vec<u8> = (next..next + 50_000).map(byte).collect();
                next += chunk.len();
                spill.push(chunk.into()).unwrap();
            }
            assert!(spill.state().held <= MEMORY);
            let until = if round % 2 == 0 { next - 700_000 } else { next };
            while seen < until {
                for own in spill.pop().await.unwrap().unwrap() {
                    assert_eq!(own, byte(seen));
                    seen += 1;
                }
            }
        }
        spill.end();
        while let Some(bytes) = spill.pop().await.unwrap() {
            for own in bytes {
                assert_eq!(own, byte(seen));
                seen += 1;
            }
        }
        assert_eq!(seen, next);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_reader_that_waits_hears_of_bytes_and_of_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let spill = Spill::new(dir.path());
        let reader = tokio::spawn({
            let spill = spill.clone();
            async move { (spill.pop().await.unwrap(), spill.pop().await.unwrap()) }
        });
        tokio::task::yield_now().await;
        spill.push(Bytes::from_static(b"x")).unwrap();
        tokio::task::yield_now().await;
        spill.end();
        assert_eq!(reader.await.unwrap(), (Some(Bytes::from_static(b"x")), None));
    }

    #[tokio::test]
    async fn what_is_abandoned_is_dropped_and_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        let spill = Spill::new(dir.path());
        spill.push(Bytes::from_static(b"x")).unwrap();
        spill.abandon();
        spill.push(Bytes::from_static(b"y")).unwrap();
        assert_eq!(spill.pop().await.unwrap(), None);
    }
}
