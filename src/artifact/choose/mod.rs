//! Owns which files of a project become the release: the walk over the source, its rules, and every
//! reason to refuse what it finds. Reads names and metadata, never contents (ignore files excepted).

mod glob;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::rules::Rules;
use self::rules::Scope;
use self::rules::Verdict;
use super::links;
use super::links::Landing;
use super::links::Node;
use super::problem::Problems;
use super::problem::check_path;
use super::problem::check_target;
use super::source::Stamp;
use crate::config::Build;

/// A glob of `deploy.toml` that cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`build.{key}`: bad glob `{glob}`: {why}")]
pub struct BadGlob {
    /// `include` or `exclude`.
    pub key: &'static str,
    /// The glob as written.
    pub glob: String,
    /// What is wrong with it.
    pub why: String,
}

/// Why no files could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// The source is missing or no directory.
    #[error("cannot read the directory to pack, {}: {source}; `build.source` names it", path.display())]
    Source {
        /// The source.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A glob cannot be used.
    #[error(transparent)]
    Glob(#[from] BadGlob),
    /// Globs of `build.include` brought nothing back.
    #[error("`build.include`: nothing in {} matches {}; did the build run, and is the path right?",
        source_dir.display(), quoted(globs))]
    NothingMatched {
        /// The globs.
        globs: Vec<String>,
        /// The directory they were looked for in.
        source_dir: PathBuf,
    },
    /// No file was chosen.
    #[error("nothing to pack: the rules leave no file of {}", path.display())]
    Empty {
        /// The source.
        path: PathBuf,
    },
    /// The tree has what cannot be packed.
    #[error("{} cannot be packed:\n{problems}", source_dir.display())]
    Refused {
        /// The source.
        source_dir: PathBuf,
        /// What is wrong.
        problems: Problems,
    },
    /// The user asked to stop.
    #[error("packing was interrupted")]
    Canceled,
}

fn quoted(globs: &[String]) -> String {
    globs.iter().map(|glob| format!("`{glob}`")).collect::<Vec<_>>().join(", ")
}

/// What was found at a chosen path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Directory,
    File { executable: bool, stamp: Stamp },
    Symlink { target: Vec<u8> },
}

/// The chosen tree.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The source, canonical.
    pub(super) source: PathBuf,
    /// What is packed, by path; every parent directory is an entry.
    pub(super) entries: BTreeMap<Vec<u8>, Found>,
    /// Linked paths that were left out.
    pub(super) linked: Vec<Vec<u8>>,
    /// Links to something that is not packed.
    pub(super) dangling: Vec<Vec<u8>>,
}

/// Where to choose from.
pub(super) struct Request<'a> {
    pub(super) root: &'a Path,
    pub(super) build: &'a Build,
    pub(super) linked: &'a [String],
    /// rdeploy's own directory, which may lie inside of the source.
    pub(super) cache: &'a Path,
    pub(super) cancel: &'a CancellationToken,
}

/// Chooses the files of a release.
pub(super) fn choose(request: &Request<'_>) -> Result<Chosen, ChooseError> {
    let written = request.root.join(&request.build.source);
    let bad_source = |source| ChooseError::Source { path: written.clone(), source };
    let source = fs::canonicalize(&written).map_err(bad_source)?;
    if !fs::metadata(&source).map_err(bad_source)?.is_dir() {
        return Err(bad_source(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    let linked: BTreeSet<Vec<u8>> = request.linked.iter().map(|path| plain(path)).collect();
    let own = [request.root.join("deploy.toml"), request.cache.to_owned()];
    let own: Vec<PathBuf> = own.iter().filter_map(|path| canonical_parent(path)).collect();
    let rules = Rules::new(&source, request.build, linked.clone(), &own)?;

    let mut walk = Walk {
        rules: &rules,
        source: &source,
        entries: BTreeMap::new(),
        linked: Vec::new(),
        brought_back: vec![false; rules.include.len()],
        problems: Problems::default(),
    };
    walk.run(request.cancel)?;
    walk.add_parents();
    let dangling = walk.judge_links(&linked);
    let Walk { entries, linked, brought_back, problems, .. } = walk;
    let refused = |problems| ChooseError::Refused { source_dir: source.clone(), problems };
    problems.into_result().map_err(refused)?;

    let unmatched = rules.include.iter().zip(&brought_back).filter(|(_, hit)| !**hit);
    let globs: Vec<String> = unmatched.map(|(glob, _)| glob.text.clone()).collect();
    if !globs.is_empty() {
        return Err(ChooseError::NothingMatched { globs, source_dir: source });
    }
    if entries.values().all(|found| *found == Found::Directory) {
        return Err(ChooseError::Empty { path: source });
    }
    Ok(Chosen { source, entries, linked, dangling })
}

/// Returns a configured path in the form of an entry's.
fn plain(path: &str) -> Vec<u8> {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/").into_bytes()
}

/// Resolves where a path lies, but not the path itself, which may be a link or missing.
fn canonical_parent(path: &Path) -> Option<PathBuf> {
    let parent = fs::canonicalize(path.parent()?).ok()?;
    Some(parent.join(path.file_name()?))
}

struct Walk<'a> {
    rules: &'a Rules,
    source: &'a Path,
    entries: BTreeMap<Vec<u8>, Found>,
    linked: Vec<Vec<u8>>,
    brought_back: Vec<bool>,
    problems: Problems,
}

impl Walk<'_> {
    fn run(&mut self, cancel: &CancellationToken) -> Result<(), ChooseError> {
        // A list instead of recursion: trees can be deeper than the stack.
        let mut ahead: Vec<(PathBuf, Option<Arc<Scope>>, bool)> = vec![(PathBuf::new(), None, false)];
        while let Some((directory, above, ignored)) = ahead.pop() {
            if cancel.is_cancelled() {
                return Err(ChooseError::Canceled);
            }
            let full = self.source.join(&directory);
            let (scope, bad_lines) = Scope::enter(&full, above, ignored);
            for (name, what) in bad_lines {
                self.problems.push(directory.join(name).as_os_str().as_bytes(), what);
            }
            let scope = Arc::new(scope);
            let children = match fs::read_dir(&full) {
                Ok(children) => children,
                Err(error) => {
                    self.cannot_read(&directory, &error);
                    continue;
                }
            };
            for child in children {
                let child =
                    child.and_then(|child| Ok((directory.join(child.file_name()), child.metadata()?)));
                match child {
                    Ok((path, metadata)) => {
                        let is_dir = metadata.is_dir();
                        let verdict = self.rules.judge(&path, is_dir, &scope);
                        let look_inside = match verdict {
                            Verdict::Take => self.take(&path, &metadata) && is_dir,
                            Verdict::LookInside => true,
                            Verdict::Linked => {
                                self.linked.push(path.as_os_str().as_bytes().to_vec());
                                false
                            }
                            Verdict::Leave => false,
                        };
                        if look_inside {
                            let ignored = verdict == Verdict::LookInside;
                            ahead.push((path, Some(Arc::clone(&scope)), ignored));
                        }
                    }
                    // It was there a moment ago: something still writes to the tree.
                    Err(error) => self.cannot_read(&directory, &error),
                }
            }
        }
        self.linked.sort();
        Ok(())
    }

    fn cannot_read(&mut self, path: &Path, error: &io::Error) {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        self.problems.push(path.as_os_str().as_bytes(), format!("cannot be read: {error}"));
    }

    /// Adds a path, or says why not. Returns whether what is inside is worth a look: the paths below
    /// a bad one would only repeat the same problem.
    fn take(&mut self, path: &Path, metadata: &Metadata) -> bool {
        let bytes = path.as_os_str().as_bytes();
        if let Err(what) = check_path(bytes) {
            self.problems.push(bytes, what);
            return false;
        }
        let kind = metadata.file_type();
        let found = if kind.is_dir() {
            Found::Directory
        } else if kind.is_file() {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            Found::File { executable, stamp: Stamp::of(metadata) }
        } else if kind.is_symlink() {
            match fs::read_link(self.source.join(path)) {
                Ok(target) => Found::Symlink { target: target.into_os_string().into_vec() },
                Err(error) => {
                    self.cannot_read(path, &error);
                    return false;
                }
            }
        } else {
            let what = match () {
                () if kind.is_fifo() => "a named pipe",
                () if kind.is_socket() => "a socket",
                () => "a device",
            };
            self.problems.push(bytes, format!("{what} cannot be packed; exclude or remove it"));
            return false;
        };
        if found != Found::Directory {
            for (glob, hit) in self.rules.include.iter().zip(&mut self.brought_back) {
                *hit = *hit || glob.matches(path);
            }
        }
        self.entries.insert(bytes.to_vec(), found);
        true
    }

    /// Files brought back from an ignored directory need that directory.
    fn add_parents(&mut self) {
        let mut missing = BTreeSet::new();
        for path in self.entries.keys() {
            let mut path = path.as_slice();
            while let Some(at) = path.iter().rposition(|b| *b == b'/') {
                path = path.get(..at).unwrap_or_default();
                if self.entries.contains_key(path) || !missing.insert(path.to_vec()) {
                    break;
                }
            }
        }
        self.entries.extend(missing.into_iter().map(|path| (path, Found::Directory)));
    }

    /// Judges every link, and returns those that lead to nothing packed.
    fn judge_links(&mut self, linked: &BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut dangling = Vec::new();
        for (path, found) in &self.entries {
            let Found::Symlink { target } = found else { continue };
            let landing = check_target(target).and_then(|()| {
                links::follow(path, target, linked, |path| match self.entries.get(path)? {
                    Found::Symlink { target } => Some(Node::Symlink(target)),
                    Found::Directory | Found::File { .. } => Some(Node::Other),
                })
            });
            match landing {
                Ok(Landing::Present) => {}
                Ok(Landing::Dangling) => dangling.push(path.clone()),
                Err(what) => self.problems.push(path, what),
            }
        }
        dangling
    }
}
