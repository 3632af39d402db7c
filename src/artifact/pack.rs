//! Owns making an artifact from a project: choose, hash, and only if the cache does not have it, pack. It is an artifact
//! as soon as its digest is known; that it gets into the cache is waited for by whoever needs it there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use super::Artifact;
use super::cache::Cache;
use super::cache::CacheError;
use super::cache::Stored;
use super::choose;
use super::choose::ChooseError;
use super::choose::Chosen;
use super::choose::Found;
use super::chunks::Pieces;
use super::contents::Contents;
use super::git;
use super::hashes::Hashes;
use super::problem::Problems;
use super::problem::shown;
use super::progress::Progress;
use super::source;
use super::source::HashError;
use super::source::Stamp;
use super::store::Making;
use super::store::StoreError;
use crate::config::Build;
use crate::event::EventKind;
use crate::event::Events;
use crate::release::Digest;
use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

/// That many links are named in one note; the rest is counted.
const NAMED: usize = 5;

/// What to pack.
#[derive(Clone, Debug)]
pub struct PackRequest<'a> {
    /// The project's root.
    pub root: &'a Path,
    /// What of it, and which files.
    pub build: &'a Build,
    /// The linked directories and files, which lie in `shared` on the hosts and are left out.
    pub linked: Vec<String>,
    /// Where the artifact is put.
    pub cache: &'a Cache,
    /// Ends the work early.
    pub cancel: CancellationToken,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// No files could be chosen.
    #[error(transparent)]
    Choose(#[from] ChooseError),
    /// It could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cache could not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl PackError {
    /// Whether the user asked for the end.
    pub fn is_canceled(&self) -> bool {
        matches!(self, Self::Choose(ChooseError::Canceled) | Self::Store(StoreError::Canceled))
    }
}

/// Packs a project; the compressing may go on when it returns. Blocks; call it where blocking is allowed.
pub fn pack(request: &PackRequest<'_>, events: &Events) -> Result<Artifact, PackError> {
    thread::scope(|scope| {
        // git looks at the same tree meanwhile; a failure does not wait for it.
        let enough = request.cancel.child_token();
        let facts = scope.spawn({
            let enough = enough.clone();
            move || git::facts(request.root, &enough)
        });
        let mut artifact = make(request, events).inspect_err(|_| enough.cancel())?;
        let facts = facts.join().unwrap_or_default();
        (artifact.commit, artifact.branch) = (facts.commit, facts.branch);
        super::announce(&artifact, events);
        Ok(artifact)
    })
}

fn make(request: &PackRequest<'_>, events: &Events) -> Result<Artifact, PackError> {
    let PackRequest { root, build, linked, cache, cancel } = request;
    // Before the walk, which leaves the cache out and must see where it is.
    cache.prepare()?;
    let chosen = choose::choose(&choose::Request { root, build, linked, cache: cache.dir(), cancel })?;
    note(&chosen, events);
    let contents = Arc::new(Contents::Tree(chosen.source.clone()));
    let store = |(manifest, pieces)| store(request, manifest, &contents, pieces, events);
    let mut hashes = Hashes::load(cache, &chosen.source);
    let (hashed, guessed) = hash(&chosen, &mut hashes, events, cancel)?;
    let (manifest, stored, reused) = match store(hashed) {
        // What an earlier run knew may be what is wrong, so nothing of it is believed any more.
        Err(StoreError::Changed { .. }) if guessed => {
            hashes.forget();
            store(hash(&chosen, &mut hashes, events, cancel)?.0)?
        }
        made => made?,
    };
    Ok(stored.into_artifact(manifest, Some(contents), reused))
}

/// Finds the artifact of a manifest, or begins to make it; returns whether it was there.
fn store(
    request: &PackRequest<'_>,
    manifest: Manifest,
    contents: &Arc<Contents>,
    pieces: Pieces,
    events: &Events,
) -> Result<(Arc<Manifest>, Stored, bool), StoreError> {
    let manifest = Arc::new(manifest);
    if let Some(stored) = request.cache.find(&manifest) {
        return Ok((manifest, stored, true));
    }
    let making = Making {
        cache: request.cache.clone(),
        manifest: Arc::clone(&manifest),
        contents: Arc::clone(contents),
        pieces,
        cancel: request.cancel.clone(),
    };
    Ok((manifest, making.begin(&Progress::new(events))?, false))
}

fn note(chosen: &Chosen, events: &Events) {
    for path in &chosen.linked {
        let text = format!("{} is left out: on hosts it is linked from `shared`", shown(path));
        events.emit(EventKind::Noted { host: None, text });
    }
    if !chosen.dangling.is_empty() {
        let names: Vec<String> = chosen.dangling.iter().take(NAMED).map(|path| shown(path)).collect();
        let more = match chosen.dangling.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let text = format!("links to something that is not packed: {}{more}", names.join(", "));
        events.emit(EventKind::Noted { host: None, text });
    }
}

/// Makes the manifest of what was chosen, with the pieces of what was hashed for it; returns whether an earlier run
/// hashed some of it.
fn hash(
    chosen: &Chosen,
    hashes: &mut Hashes,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<((Manifest, Pieces), bool), ChooseError> {
    let (places, files): (Vec<usize>, Vec<(&[u8], Stamp)>) = (0..)
        .zip(&chosen.entries)
        .filter_map(|(place, (path, found))| match found {
            Found::File { stamp, .. } => Some((place, (path.as_slice(), *stamp))),
            Found::Directory | Found::Symlink { .. } => None,
        })
        .unzip();
    let mut digests = hashes.find(&files);
    let guessed = digests.iter().any(Option::is_some);
    let unknown = files.iter().zip(&mut digests).zip(places).filter(|((_, digest), _)| digest.is_none());
    let (paths, unknown): (Vec<_>, Vec<_>) = unknown
        .map(|(((path, stamp), digest), place)| {
            ((full_path(&chosen.source, path), *stamp), (path, digest, place))
        })
        .unzip();
    let (mut problems, mut pieces) = (Problems::default(), Pieces::new());
    let progress = Progress::new(events);
    let began = SystemTime::now();
    let hashed = source::hash_all(&paths, &progress, cancel);
    for ((path, digest, place), result) in unknown.into_iter().zip(hashed) {
        match result {
            Ok(hashed) => {
                *digest = Some(hashed.digest);
                pieces.insert(place, hashed.pieces);
            }
            Err(HashError::Canceled) => return Err(ChooseError::Canceled),
            Err(error) => problems.push(path, error.to_string()),
        }
    }
    let refused = |problems| ChooseError::Refused { source_dir: chosen.source.clone(), problems };
    problems.into_result().map_err(refused)?;
    let digests: Vec<Digest> = digests.into_iter().flatten().collect();
    hashes.keep(&files, &digests, began);
    Ok(((manifest(chosen, digests), pieces), guessed))
}

fn manifest(chosen: &Chosen, digests: Vec<Digest>) -> Manifest {
    let mut digests = digests.into_iter();
    let entries = chosen.entries.iter().filter_map(|(path, found)| {
        let kind = match found {
            Found::Directory => EntryKind::Directory,
            Found::Symlink { target } => EntryKind::Symlink { target: target.clone() },
            Found::File { executable, stamp } => {
                EntryKind::File { executable: *executable, size: stamp.size, digest: digests.next()? }
            }
        };
        Some(Entry { path: path.clone(), kind })
    });
    Manifest { entries: entries.collect() }
}

/// Where a file of the source is.
pub(super) fn full_path(source: &Path, path: &[u8]) -> PathBuf {
    source.join(OsStr::from_bytes(path))
}
