//! Owns what of an artifact has to travel to a host that has something of it already: how the manifest differs
//! from one that is there, which files that leaves, and the tars of just those. Everything is made once for all
//! hosts that need the same bytes, and no tar is held in memory.
//!
//! Files are named by their places in the manifest.

mod edits;
mod pack;
#[cfg(test)]
mod tests;
mod transcode;

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use tokio::sync::OnceCell;

pub use self::edits::Edits;
pub use self::pack::Pack;

use self::pack::Wanted;
use super::Artifact;
use super::cache::Cache;
use super::compress;
use super::compress::CompressError;
use super::contents::Contents;
use super::press::Codec;
use super::press::Effort;
use super::store::StoreError;
use crate::release;
use crate::release::Digest;
use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

/// More files than so many are not copied on a host from one path to another: each takes a program's start there,
/// unless it can go with its neighbours. `take` of `host/sh/take.sh` counts in the same way.
const MOVES: usize = 200;

/// A change of a manifest of up to so many bytes travels as it stands: to unzip it costs a host a process.
const PLAIN_AT_MOST: usize = 2 * 1024;

/// What makes a manifest of another one, as it travels.
#[derive(Clone, Debug)]
pub enum Patch {
    /// As it stands.
    Plain(Bytes),
    /// Gzipped.
    Gzipped(Bytes),
}

/// What an artifact is to a host that has another release.
#[derive(Debug)]
pub struct Difference {
    /// What makes the manifest of that release's.
    pub patch: Patch,
    /// The files that are not there.
    pub missing: Vec<u32>,
    /// Their sizes' sum.
    pub bytes: u64,
}

type Cell<T> = Arc<OnceCell<T>>;
/// What was made, or is being made, by what it is made for.
type Cells<K, T> = Mutex<HashMap<K, Cell<T>>>;

/// What was made of one artifact so far. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Deltas(Arc<Made>);

#[derive(Debug, Default)]
struct Made {
    listed: OnceCell<Bytes>,
    differences: Cells<Digest, Option<Arc<Difference>>>,
    packs: Cells<(Vec<u32>, bool, Codec), Arc<Pack>>,
    edits: Cells<Digest, Arc<Edits>>,
    /// The artifact as those get it that cannot read what is in the cache.
    gzipped: OnceCell<Arc<Pack>>,
    /// Compressing takes every core, and memory for each: one at a time.
    one: tokio::sync::Mutex<()>,
    /// Where the artifact's files can be read, too.
    source: Option<Arc<Contents>>,
}

impl Deltas {
    /// Nothing yet, of an artifact whose files can be read there, too.
    pub(super) fn of(source: Option<Arc<Contents>>) -> Self {
        Self(Arc::new(Made { source, ..Made::default() }))
    }
}

fn cell<K: std::hash::Hash + Eq, T>(cells: &Cells<K, T>, key: K) -> Cell<T> {
    Arc::clone(cells.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
}

impl Artifact {
    /// The manifest as it travels whole: gzipped.
    pub async fn listed(&self) -> io::Result<Bytes> {
        let manifest = Arc::clone(&self.manifest);
        let make = blocking(move || gzipped(&manifest.to_bytes()));
        self.deltas.0.listed.get_or_try_init(|| make).await.cloned()
    }

    /// Begins to make that, which every host is told of, so that none waits for it.
    pub fn list_ahead(&self) {
        let artifact = self.clone();
        // Who needs it asks again, and hears of a failure.
        tokio::spawn(async move { artifact.listed().await });
    }

    /// Compares it with the release of another artifact; nothing, if that artifact's manifest is not in the cache
    /// here any more.
    pub async fn difference(&self, base: Digest) -> io::Result<Option<Arc<Difference>>> {
        let (manifest, cache) = (Arc::clone(&self.manifest), self.path.parent().map(Cache::at));
        let make = blocking(move || {
            let base = cache.and_then(|cache| cache.manifest(&base));
            base.map(|base| compare(&base, &manifest).map(Arc::new)).transpose()
        });
        cell(&self.deltas.0.differences, base).get_or_try_init(|| make).await.cloned()
    }

    /// Returns a tar of these files, and of all links where those are wanted, too: of the source, if they are there as
    /// they were packed, else of the artifact.
    pub async fn pack(&self, files: &[u32], links: bool, codec: Codec) -> io::Result<Arc<Pack>> {
        let made = &self.deltas.0;
        let wanted = Wanted { manifest: Arc::clone(&self.manifest), files: files.to_vec(), links, codec };
        let make = async {
            let _one = made.one.lock().await;
            let changed = match &made.source {
                None => None,
                Some(source) => match self.collect(source, wanted.clone()).await? {
                    Ok(pack) => return Ok(pack),
                    Err(changed) => Some(changed),
                },
            };
            let cut = match self.storing.finished().await {
                Ok(_) => {
                    let (path, stored) = (self.path.clone(), self.codec);
                    blocking(move || pack::cut(&path, stored, &wanted).map(Arc::new)).await
                }
                Err(failure) => Err(io::Error::other(failure)),
            };
            // The source is the first cause.
            cut.map_err(|error| changed.map_or(error, io::Error::other))
        };
        cell(&made.packs, (files.to_vec(), links, codec)).get_or_try_init(|| make).await.cloned()
    }

    async fn collect(
        &self,
        source: &Arc<Contents>,
        wanted: Wanted,
    ) -> io::Result<Result<Arc<Pack>, StoreError>> {
        let (source, dir) = (Arc::clone(source), self.path.parent().map(Path::to_owned));
        blocking(move || {
            let dir = dir.ok_or_else(|| io::Error::other("the artifact is in no directory"))?;
            Ok(pack::collect(&source, &dir, &wanted)?.map(Arc::new))
        })
        .await
    }

    /// Returns the whole of it, in the best form for a host that can read `codec`; where it is being compressed still,
    /// what there is of it can be had already.
    pub async fn whole(&self, codec: Codec) -> io::Result<Arc<Pack>> {
        match (self.codec, codec) {
            (Codec::Zstd, Codec::Gzip) => {
                let dir = self.path.parent();
                let make = async { transcode::begin(self.stored().await?, dir, self.tar_bytes) };
                self.deltas.0.gzipped.get_or_try_init(|| make).await.cloned()
            }
            // Every host can read what is not compressed.
            _ => self.stored().await,
        }
    }

    /// Returns what large files of another artifact's release become those of this one by: of these files, those for
    /// which that is much less than sending them. Nothing, of what is not in the cache here.
    pub async fn edits(&self, base: Digest, files: &[u32]) -> io::Result<Arc<Edits>> {
        let made = &self.deltas.0;
        let cache = self.path.parent().map(Cache::at);
        let (manifest, source, files) = (Arc::clone(&self.manifest), made.source.clone(), files.to_vec());
        let make = async {
            let _one = made.one.lock().await;
            blocking(move || {
                Ok(Arc::new(edits::make(cache.as_ref(), base, &manifest, source.as_deref(), &files)))
            })
            .await
        };
        cell(&made.edits, base).get_or_try_init(|| make).await.cloned()
    }

    async fn stored(&self) -> io::Result<Arc<Pack>> {
        if let Some(file) = self.storing.file() {
            return Ok(Arc::new(Pack::growing(file, self.codec, &self.storing, self.tar_bytes)));
        }
        let bytes = self.storing.finished().await.map_err(io::Error::other)?;
        let (path, codec) = (self.path.clone(), self.codec);
        blocking(move || Pack::open(&path, codec, bytes).map(Arc::new)).await
    }

    /// Whether sending these files alone is hardly less than sending everything.
    pub fn is_most(&self, files: &[u32]) -> bool {
        let size = |place: &u32| match self.manifest.entries.get(*place as usize).map(|entry| &entry.kind) {
            Some(EntryKind::File { size, .. }) => *size,
            _ => 0,
        };
        let bytes: u64 = files.iter().map(size).sum();
        files.len() == self.manifest.files() || bytes > self.manifest.bytes() / 10 * 9
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

fn gzipped(text: &[u8]) -> io::Result<Bytes> {
    let mut out = Vec::new();
    let how = (Codec::Gzip, Effort::Usual);
    match compress::compress(how, &mut out, |_, _| {}, |chunks| io::Write::write_all(chunks, text)) {
        Ok(_) => Ok(out.into()),
        Err(CompressError::Output(error) | CompressError::Producer(error)) => Err(error),
    }
}

fn compare(base: &[u8], new: &Manifest) -> io::Result<Difference> {
    let patch = release::patch(base, &new.to_bytes());
    let patch = if patch.len() <= PLAIN_AT_MOST {
        Patch::Plain(patch.into())
    } else {
        Patch::Gzipped(gzipped(&patch)?)
    };
    let base = Manifest::from_bytes(base).map_err(io::Error::other)?;
    let missing = missing(&base, new);
    let size = |place: &u32| file(new.entries.get(*place as usize)?).map(|(_, size)| size);
    let bytes = missing.iter().filter_map(size).sum();
    Ok(Difference { patch, missing, bytes })
}

fn file(entry: &Entry) -> Option<(Digest, u64)> {
    match entry.kind {
        EntryKind::File { digest, size, .. } => Some((digest, size)),
        EntryKind::Directory | EntryKind::Symlink { .. } => None,
    }
}

/// What a host that has `base` will not find there.
fn missing(base: &Manifest, new: &Manifest) -> Vec<u32> {
    let mut at: HashMap<&[u8], Digest> = HashMap::new();
    let mut from: HashMap<Digest, &[u8]> = HashMap::new();
    for entry in &base.entries {
        if let Some((digest, _)) = file(entry) {
            at.insert(&entry.path, digest);
            from.entry(digest).or_insert(&entry.path);
        }
    }
    let mut groups: HashSet<(&[u8], &[u8])> = HashSet::new();
    let mut missing = Vec::new();
    for (place, entry) in (0..).zip(&new.entries) {
        let Some((digest, _)) = file(entry) else { continue };
        if at.get(entry.path.as_slice()) == Some(&digest) {
            continue;
        }
        let group = from.get(&digest).map(|source| {
            let ((into, name), (out_of, old_name)) = (split(&entry.path), split(source));
            if name == old_name { (into, out_of) } else { (entry.path.as_slice(), &b"\t"[..]) }
        });
        match group {
            Some(group) if groups.contains(&group) => {}
            Some(group) if groups.len() < MOVES => drop(groups.insert(group)),
            _ => missing.push(place),
        }
    }
    missing
}

/// A path's directory and its name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}
