//! Owns making an artifact from a project: choose, hash, and only if the cache does not have it, pack. It is an
//! artifact as soon as its manifest is known; that it gets into the cache is waited for by whoever needs it there.

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
use super::digests::Hashed;
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
    let mut hashes = Hashes::load(cache, &chosen.source);
    let listed = list(&chosen, &mut hashes, events, cancel)?;
    let believes = listed.believed.is_some();
    let (manifest, stored, reused) = match store(request, &contents, listed) {
        // What an earlier run knew may be what is wrong, so nothing of it is believed any more.
        Err(StoreError::Changed { .. }) if believes => {
            hashes.forget();
            store(request, &contents, list(&chosen, &mut hashes, events, cancel)?)?
        }
        made => made?,
    };
    Ok(stored.into_artifact(manifest, Some(contents), reused))
}

/// Finds the artifact of a manifest, or begins to make it; returns whether it was there.
fn store(
    request: &PackRequest<'_>,
    contents: &Arc<Contents>,
    Listed { manifest, pieces, believed }: Listed,
) -> Result<(Arc<Manifest>, Stored, bool), StoreError> {
    let digest = manifest.digest();
    if let Some(stored) = request.cache.find(&digest) {
        return Ok((manifest, stored, true));
    }
    let making = Making {
        cache: request.cache.clone(),
        manifest: Arc::clone(&manifest),
        contents: Arc::clone(contents),
        pieces,
        believed,
        cancel: request.cancel.clone(),
    };
    Ok((manifest, making.begin(digest)?, false))
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

/// What was chosen, and what is known of its contents.
struct Listed {
    manifest: Arc<Manifest>,
    pieces: Pieces,
    /// Where an earlier run wrote what was believed of it, if anything was.
    believed: Option<PathBuf>,
}

/// Makes the manifest of what was chosen; what no earlier run knows is hashed.
fn list(
    chosen: &Chosen,
    hashes: &mut Hashes,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Listed, ChooseError> {
    let files: Vec<(&[u8], Stamp)> = chosen
        .entries
        .iter()
        .filter_map(|(path, found)| match found {
            Found::File { stamp, .. } => Some((path.as_slice(), *stamp)),
            Found::Directory | Found::Symlink { .. } => None,
        })
        .collect();
    let mut known = hashes.find(&files);
    let believed = known.iter().any(Option::is_some).then(|| hashes.file().to_owned());
    let unknown: Vec<_> = files.iter().zip(&mut known).filter(|(_, known)| known.is_none()).collect();
    let paths: Vec<_> =
        unknown.iter().map(|((path, stamp), _)| (full_path(&chosen.source, path), *stamp)).collect();
    let mut problems = Problems::default();
    let began = SystemTime::now();
    let hashed = source::hash_all(&paths, &Progress::new(events), cancel);
    for (((path, _), known), result) in unknown.into_iter().zip(hashed) {
        match result {
            Ok(hashed) => *known = Some(hashed),
            Err(HashError::Canceled) => return Err(ChooseError::Canceled),
            Err(error) => problems.push(path, error.to_string()),
        }
    }
    let refused = |problems| ChooseError::Refused { source_dir: chosen.source.clone(), problems };
    problems.into_result().map_err(refused)?;
    let hashed: Vec<Hashed> = known.into_iter().flatten().collect();
    hashes.keep(&files, &hashed, began);
    let (manifest, pieces) = manifest(chosen, hashed);
    Ok(Listed { manifest: Arc::new(manifest), pieces, believed })
}

fn manifest(chosen: &Chosen, hashed: Vec<Hashed>) -> (Manifest, Pieces) {
    let (mut hashed, mut pieces) = (hashed.into_iter(), Pieces::new());
    let entries = chosen.entries.iter().enumerate().filter_map(|(place, (path, found))| {
        let kind = match found {
            Found::Directory => EntryKind::Directory,
            Found::Symlink { target } => EntryKind::Symlink { target: target.clone() },
            Found::File { executable, stamp } => {
                let of = hashed.next()?;
                if !of.pieces.is_empty() {
                    pieces.insert(place, of.pieces);
                }
                EntryKind::File { executable: *executable, size: stamp.size, digest: of.digest }
            }
        };
        Some(Entry { path: path.clone(), kind })
    });
    let manifest = Manifest { entries: entries.collect() };
    (manifest, pieces)
}

/// Where a file of the source is.
pub(super) fn full_path(source: &Path, path: &[u8]) -> PathBuf {
    source.join(OsStr::from_bytes(path))
}
