//! Owns what is known of an artifact on its way into the cache, while others go on with it: how far it is, the file
//! that grows, and how it ended. Waiting is for a change, never for time.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::press::Effort;
use super::store::StoreError;

/// Why an artifact did not get into the cache. Clones are the same.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreFailure(Arc<StoreError>);

impl StoreFailure {
    /// Whether the user asked for the end.
    pub fn is_canceled(&self) -> bool {
        matches!(*self.0, StoreError::Canceled)
    }
}

/// How far an artifact is on its way into the cache. Clones are the same.
#[derive(Clone, Debug)]
pub struct Storing {
    state: watch::Receiver<State>,
    /// What is written to, while it is; under whatever name.
    file: Option<Arc<File>>,
    /// The end of what was asked for, once something was.
    asked: Arc<AtomicU64>,
}

/// So much may be written and not be asked for yet, before it is worth more work.
const AHEAD: u64 = 4 * 1024 * 1024;

#[derive(Clone, Debug, Default)]
struct State {
    /// So much of the file is there.
    written: u64,
    /// It holds so much of the tar.
    packed: u64,
    /// Whether that is all, which need not have its place in the cache yet.
    is_complete: bool,
    end: Option<Result<(), StoreFailure>>,
}

impl Storing {
    /// An artifact that is there, of this size.
    pub fn done(bytes: u64) -> Self {
        let state = State { written: bytes, packed: 0, is_complete: true, end: Some(Ok(())) };
        Self { state: watch::channel(state).1, file: None, asked: Arc::default() }
    }

    /// An artifact that is about to be written to this file.
    pub(super) fn begun(file: File) -> (Teller, Self) {
        let (sender, state) = watch::channel(State::default());
        let asked = Arc::<AtomicU64>::default();
        let teller = Teller { state: sender, asked: Arc::clone(&asked) };
        (teller, Self { state, file: Some(Arc::new(file)), asked })
    }

    /// Its size, when all of it is compressed.
    pub fn bytes(&self) -> Option<u64> {
        let state = self.state.borrow();
        state.is_complete.then_some(state.written)
    }

    /// What its size will be about, if its tar is so large.
    pub(super) fn estimate(&self, tar_bytes: u64) -> u64 {
        let State { written, packed, is_complete, .. } = *self.state.borrow();
        match (is_complete, packed) {
            (true, _) => written,
            // As text and what does not compress may be mixed.
            (_, 0) => tar_bytes / 2,
            (_, packed) => {
                let whole = u128::from(written) * u128::from(tar_bytes) / u128::from(packed);
                u64::try_from(whole).unwrap_or(u64::MAX).max(written)
            }
        }
    }

    /// Waits until it is in the cache; returns its size.
    pub async fn finished(&self) -> Result<u64, StoreFailure> {
        let state = self.until(|state| state.end.is_some()).await?;
        state.end.unwrap_or(Ok(())).map(|()| state.written)
    }

    /// Waits until there is more of it than `offset`, or all; returns how much is there.
    pub(super) async fn beyond(&self, offset: u64) -> Result<u64, StoreFailure> {
        self.asked.fetch_max(offset + 1, Ordering::Relaxed);
        let wanted = |state: &State| state.is_complete || state.end.is_some() || state.written > offset;
        let state = self.until(wanted).await?;
        match state.end {
            // What is complete serves, though the cache did not take it.
            Some(Err(failure)) if !state.is_complete => Err(failure),
            _ => Ok(state.written),
        }
    }

    async fn until(&self, wanted: impl Fn(&State) -> bool) -> Result<State, StoreFailure> {
        let mut state = self.state.clone();
        let reached = state.wait_for(|state| wanted(state)).await.map(|state| state.clone());
        reached.map_err(|_| StoreFailure(Arc::new(StoreError::Ended)))
    }

    /// What is written to, if it was begun here.
    pub(super) fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref()
    }
}

/// Where it is told how far an artifact is.
#[derive(Debug)]
pub(super) struct Teller {
    state: watch::Sender<State>,
    asked: Arc<AtomicU64>,
}

impl Teller {
    /// So much of the file is there, with so much of the tar in it.
    pub(super) fn grew(&self, written: u64, packed: u64) {
        self.state.send_modify(|state| (state.written, state.packed) = (written, packed));
    }

    /// How much work the next chunk is worth: compressing is never to be what others wait for, and where they are slow,
    /// a smaller file is sooner there.
    pub(super) fn effort(&self) -> Effort {
        let asked = self.asked.load(Ordering::Relaxed);
        let written = self.state.borrow().written;
        match written.saturating_sub(asked) {
            0 if asked > 0 => Effort::Least,
            ahead if ahead > AHEAD => Effort::More,
            _ => Effort::Usual,
        }
    }

    /// All of it is there, and is so large.
    pub(super) fn completed(&self, written: u64) {
        self.state.send_modify(|state| (state.written, state.is_complete) = (written, true));
    }

    /// It is in the cache, or never will be.
    pub(super) fn ended(self, end: Result<(), StoreError>) {
        let end = end.map_err(|error| StoreFailure(Arc::new(error)));
        self.state.send_modify(|state| state.end = Some(end));
    }
}
