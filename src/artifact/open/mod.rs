//! Owns `--artifact FILE`: a tarball that somebody made becomes an artifact like one made here. Nothing
//! of its form is trusted: its entries are read, judged by the rules for a packed tree, and packed
//! again, so that hosts only ever see tars this program wrote. The tar of an artifact that rdeploy
//! saved comes out byte for byte the same, hence with the same digest.

mod headers;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::scan::Content;
use self::scan::Scanned;
use super::Artifact;
use super::cache::Cache;
use super::cache::CacheError;
use super::chunks::Pieces;
use super::contents::Contents;
use super::links;
use super::links::Node;
use super::problem::Problems;
use super::problem::check_path;
use super::problem::check_target;
use super::problem::shown;
use super::store::Making;
use super::store::StoreError;
use super::tarball;
use crate::event::EventKind;
use crate::event::Events;
use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

/// Why a file is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error("cannot read the artifact {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no tar, or damaged.
    #[error("{} is not a usable artifact: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It unpacks to more than is sane.
    #[error("{} is refused: {what}", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Which limit it passes.
        what: String,
    },
    /// It has entries that may not be unpacked on a host.
    #[error("{} is refused:\n{problems}", file.display())]
    Refused {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problems: Problems,
    },
    /// It could not be packed again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cache could not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Reads a tarball and returns it as an artifact, which may still be on its way into the cache; `cancel` ends that.
/// Blocks; call it where blocking is allowed.
pub fn open(
    file: &Path,
    cache: &Cache,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Artifact, OpenError> {
    let spool = cache.scratch()?;
    let Scanned { found, bytes, facts } = scan::scan(file, &spool, cache, events)?;
    let (manifest, places, pieces) =
        judge(found).map_err(|problems| OpenError::Refused { file: file.to_owned(), problems })?;
    if manifest.files() == 0 && !manifest.entries.iter().any(is_link) {
        return Err(OpenError::Damaged { file: file.to_owned(), what: "there is no file in it".to_owned() });
    }
    let (digest, manifest) = (manifest.digest(), Arc::new(manifest));
    let is_own = is_own(&manifest, &spool, bytes).map_err(|source| cache.cannot("read", source))?;
    let (stored, reused) = match cache.find(&digest) {
        Some(stored) => (stored, true),
        None => {
            let contents = Arc::new(Contents::Spool { file: spool, places });
            let (cache, manifest, cancel) = (cache.clone(), Arc::clone(&manifest), cancel.clone());
            let making = Making { cache, manifest, contents, pieces, believed: None, cancel };
            (making.begin(digest)?, false)
        }
    };
    if !is_own {
        let text = format!("{} was packed again in rdeploy's own form", file.display());
        events.emit(EventKind::Noted { host: None, text });
    }
    if manifest.entries.iter().any(|entry| entry.path.split(|b| *b == b'/').any(|name| name == b".git")) {
        let text = format!("{} contains a .git directory, which will be on the hosts", file.display());
        events.emit(EventKind::Warned { host: None, text });
    }
    let mut artifact = stored.into_artifact(manifest, None, reused);
    (artifact.commit, artifact.branch) = (facts.commit, facts.branch);
    super::announce(&artifact, events);
    Ok(artifact)
}

fn is_link(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Symlink { .. })
}

/// Where the content of a file lies in the spool: offset and size.
type Places = BTreeMap<Vec<u8>, (u64, u64)>;

/// Whether a tar of this size is, byte for byte, what this program makes of the manifest; the contents are.
fn is_own(manifest: &Manifest, spool: &File, bytes: u64) -> io::Result<bool> {
    if bytes != tarball::size(manifest) {
        return Ok(false);
    }
    let mut found = Vec::new();
    let mut is_there = |expected: &[u8], at: u64| {
        found.resize(expected.len(), 0);
        spool.read_exact_at(&mut found, at).map(|()| found == expected)
    };
    let mut at = 0;
    for entry in &manifest.entries {
        let header = tarball::header(entry);
        let size = match entry.kind {
            EntryKind::File { size, .. } => size,
            EntryKind::Directory | EntryKind::Symlink { .. } => 0,
        };
        let content = at + header.len() as u64;
        if !is_there(&header, at)? || !is_there(tarball::padding(size), content + size)? {
            return Ok(false);
        }
        at = content + tarball::padded(entry);
    }
    is_there(&tarball::END, at)
}

/// Judges what was found, and makes the manifest of it.
fn judge(found: Vec<(Vec<u8>, Content)>) -> Result<(Manifest, Places, Pieces), Problems> {
    let mut problems = Problems::default();
    let mut tree: BTreeMap<Vec<u8>, EntryKind> = BTreeMap::new();
    let (mut places, mut pieces) = (Places::new(), BTreeMap::new());
    for (written, content) in found {
        let Some(path) = normal(&written) else { continue };
        if let Err(what) = check_path(path) {
            problems.push(&written, what);
            continue;
        }
        let kind = match content {
            Content::Refused(what) => {
                problems.push(path, what);
                continue;
            }
            Content::Directory => EntryKind::Directory,
            Content::Symlink { target } => EntryKind::Symlink { target },
            Content::File { executable, size, hashed, offset } => {
                places.insert(path.to_vec(), (offset, size));
                if !hashed.pieces.is_empty() {
                    pieces.insert(path.to_vec(), hashed.pieces);
                }
                EntryKind::File { executable, size, digest: hashed.digest }
            }
        };
        match tree.get(path) {
            Some(EntryKind::Directory) if kind == EntryKind::Directory => {}
            Some(_) => problems.push(path, "it is in the tarball more than once"),
            None => drop(tree.insert(path.to_vec(), kind)),
        }
    }
    add_parents(&mut tree, &mut problems);
    for (path, kind) in &tree {
        let EntryKind::Symlink { target } = kind else { continue };
        let judged = check_target(target).and_then(|()| {
            links::follow(path, target, &BTreeSet::new(), |path| match tree.get(path)? {
                EntryKind::Symlink { target } => Some(Node::Symlink(target)),
                EntryKind::Directory | EntryKind::File { .. } => Some(Node::Other),
            })
        });
        if let Err(what) = judged {
            problems.push(path, what);
        }
    }
    problems.into_result()?;
    let pieces = (0..).zip(tree.keys()).filter_map(|(place, path)| Some((place, pieces.remove(path)?)));
    let pieces = pieces.collect();
    let entries = tree.into_iter().map(|(path, kind)| Entry { path, kind });
    Ok((Manifest { entries: entries.collect() }, places, pieces))
}

/// Returns the path of an entry as `tar czf x.tgz .` writes it without what makes it different from
/// one of ours; none for the top itself. Whatever else is unusual stays, and is refused.
fn normal(written: &[u8]) -> Option<&[u8]> {
    let mut path = written;
    while let Some(rest) = path.strip_prefix(b"./") {
        path = rest;
    }
    let path = path.strip_suffix(b"/").unwrap_or(path);
    // The top is `./` or `.`; an entry without any name is not the top.
    if path == b"." || (path.is_empty() && written.starts_with(b".")) { None } else { Some(path) }
}

/// Adds directories that the tarball only implies, and refuses entries below something else.
fn add_parents(tree: &mut BTreeMap<Vec<u8>, EntryKind>, problems: &mut Problems) {
    let mut missing = BTreeSet::new();
    for path in tree.keys() {
        for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            let parent = path.get(..at).unwrap_or_default();
            match tree.get(parent) {
                Some(EntryKind::Directory) => {}
                Some(EntryKind::Symlink { .. }) => {
                    problems.push(path, format!("it lies below the link `{}`", shown(parent)));
                }
                Some(EntryKind::File { .. }) => {
                    problems.push(path, format!("it lies below the file `{}`", shown(parent)));
                }
                None => drop(missing.insert(parent.to_vec())),
            }
        }
    }
    tree.extend(missing.into_iter().map(|path| (path, EntryKind::Directory)));
}
