//! Owns which paths of the source are packed. In order, the first rule that speaks decides:
//! what is never packed, `build.exclude`, linked paths, `.deployignore`, `build.include`, `.gitignore`.
//! Reads ignore files; does not walk.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::Gitignore;
use ignore::gitignore::GitignoreBuilder;

use super::BadGlob;
use super::glob::Include;
use crate::config::Build;

/// Version control's own files.
const VERSION_CONTROL: [&[u8]; 3] = [b".git", b".hg", b".svn"];
/// The ignore files, strongest first.
const DEPLOYIGNORE: &str = ".deployignore";
const GITIGNORE: &str = ".gitignore";

/// What is done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Packed; a directory is walked.
    Take,
    /// Not packed itself, but something inside may be brought back.
    LookInside,
    /// Not packed.
    Leave,
    /// Not packed, because it lies in `shared` on the hosts.
    Linked,
}

/// The rules that hold for the whole source.
#[derive(Debug)]
pub(super) struct Rules {
    source: PathBuf,
    /// Paths from the top that are no part of any release.
    own: Vec<PathBuf>,
    exclude: Gitignore,
    pub(super) include: Vec<Include>,
    linked: BTreeSet<Vec<u8>>,
}

/// The ignore files of one directory and those above it.
#[derive(Debug)]
pub(super) struct Scope {
    above: Option<Arc<Scope>>,
    deploy: Gitignore,
    git: Gitignore,
    /// Whether git ignores this directory: then everything in it is ignored, whatever is written there.
    ignored: bool,
}

impl Rules {
    /// Reads the globs. `own` are absolute paths never packed: the configuration file and the cache.
    pub(super) fn new(
        source: &Path,
        build: &Build,
        linked: BTreeSet<Vec<u8>>,
        own: &[PathBuf],
    ) -> Result<Self, BadGlob> {
        let mut include = Vec::new();
        for text in &build.include {
            let glob = Include::new(text);
            include.push(glob.map_err(|why| BadGlob { key: "include", glob: text.clone(), why })?);
        }
        let own = own.iter().filter_map(|path| path.strip_prefix(source).ok());
        let own = own.filter(|path| !path.as_os_str().is_empty()).map(Path::to_path_buf).collect();
        Ok(Self {
            source: source.to_owned(),
            own,
            exclude: excludes(source, &build.exclude)?,
            include,
            linked,
        })
    }

    /// Judges one path. `path` is relative to the source, `scope` that of the directory it lies in.
    pub(super) fn judge(&self, path: &Path, is_dir: bool, scope: &Scope) -> Verdict {
        let name = path.file_name().unwrap_or_default().as_bytes();
        if VERSION_CONTROL.contains(&name)
            || (!is_dir && name == DEPLOYIGNORE.as_bytes())
            || self.own.iter().any(|own| own == path)
        {
            return Verdict::Leave;
        }
        let full = self.source.join(path);
        if self.exclude.matched(&full, is_dir).is_ignore() {
            return Verdict::Leave;
        }
        let verdict = self.judge_by_ignore_files(path, &full, is_dir, scope);
        match verdict {
            Verdict::Take if self.linked.contains(path.as_os_str().as_bytes()) => Verdict::Linked,
            _ => verdict,
        }
    }

    fn judge_by_ignore_files(&self, path: &Path, full: &Path, is_dir: bool, scope: &Scope) -> Verdict {
        match scope.speaks(full, is_dir, |scope| &scope.deploy) {
            Some(true) => return Verdict::Leave,
            Some(false) => return Verdict::Take,
            None => {}
        }
        if self.include.iter().any(|glob| glob.matches(path)) {
            return Verdict::Take;
        }
        let ignored = scope.ignored || scope.speaks(full, is_dir, |scope| &scope.git) == Some(true);
        match (ignored, is_dir) {
            (false, _) => Verdict::Take,
            (true, true) if self.include.iter().any(|glob| glob.reaches_into(path)) => Verdict::LookInside,
            (true, _) => Verdict::Leave,
        }
    }
}

impl Scope {
    /// Reads the ignore files of a directory. The errors name the file and the line.
    pub(super) fn enter(
        directory: &Path,
        above: Option<Arc<Self>>,
        ignored: bool,
    ) -> (Self, Vec<(&'static str, String)>) {
        let mut problems = Vec::new();
        let mut read = |name: &'static str| {
            let file = directory.join(name);
            if !file.is_file() {
                return Gitignore::empty();
            }
            let mut builder = GitignoreBuilder::new(directory);
            let partial = builder.add(&file);
            let built = builder.build();
            // Going on without a rule could pack what the user meant to keep back.
            for error in partial.into_iter().chain(built.as_ref().err().cloned()) {
                problems.push((name, reason(&error)));
            }
            built.unwrap_or_else(|_| Gitignore::empty())
        };
        let (deploy, git) = (read(DEPLOYIGNORE), read(GITIGNORE));
        (Self { above, deploy, git, ignored }, problems)
    }

    /// Whether the nearest file that speaks of the path ignores it.
    fn speaks(&self, full: &Path, is_dir: bool, which: impl Fn(&Self) -> &Gitignore) -> Option<bool> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            match which(here).matched(full, is_dir) {
                Match::None => scope = here.above.as_deref(),
                Match::Ignore(_) => return Some(true),
                Match::Whitelist(_) => return Some(false),
            }
        }
        None
    }
}

/// Reads `build.exclude`: patterns as in a `.gitignore` at the top of the source, without `!`.
fn excludes(source: &Path, patterns: &[String]) -> Result<Gitignore, BadGlob> {
    let mut builder = GitignoreBuilder::new(source);
    // An unclosed `[` is a slip, not a name.
    builder.allow_unclosed_class(false);
    for pattern in patterns {
        let bad = |why: String| BadGlob { key: "exclude", glob: pattern.clone(), why };
        let text = pattern.strip_prefix("./").unwrap_or(pattern);
        if text.trim().is_empty() || text.chars().all(|c| c == '/') {
            return Err(bad("it names nothing".to_owned()));
        }
        if text.starts_with('!') {
            return Err(bad("it cannot bring files back; use `include` for that".to_owned()));
        }
        if text.split('/').any(|part| part == "..") {
            return Err(bad("it leads outside of the source".to_owned()));
        }
        let text = if text.starts_with('#') { format!("\\{text}") } else { text.to_owned() };
        builder.add_line(None, &text).map_err(|error| bad(reason(&error)))?;
        // `test/**` means the directory too; otherwise it would be packed empty.
        if let Some(directory) = text.strip_suffix("/**").filter(|rest| !rest.is_empty()) {
            let line = format!("/{}/", directory.trim_start_matches('/'));
            builder.add_line(None, &line).map_err(|error| bad(reason(&error)))?;
        }
    }
    let built = builder.build();
    built.map_err(|error| BadGlob { key: "exclude", glob: patterns.join("`, `"), why: reason(&error) })
}

/// Returns an ignore error without the path of its file, which the caller names.
fn reason(error: &ignore::Error) -> String {
    match error {
        ignore::Error::Partial(errors) => errors.iter().map(reason).collect::<Vec<_>>().join("; "),
        ignore::Error::WithPath { err, .. } => reason(err),
        ignore::Error::WithLineNumber { line, err } => format!("line {line}: {}", reason(err)),
        ignore::Error::Glob { glob: Some(glob), err } => format!("bad glob `{glob}`: {err}"),
        ignore::Error::Glob { glob: None, err } => err.clone(),
        other => other.to_string(),
    }
}
