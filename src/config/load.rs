//! Owns finding and reading `deploy.toml`, and the error for everything that can go wrong until it is a
//! [`Project`]. The only file of this folder that touches the file system.

use std::fmt;
use std::fs;
use std::io;
use std::io::Read as _;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use super::diagnostic::Defect;
use super::diagnostic::Report;
use super::diagnostic::Sink;
use super::paths::Places;
use super::raw;
use super::syntax;
use super::types::Project;
use super::validate;

/// The name of the configuration file.
pub const FILE_NAME: &str = "deploy.toml";

/// No configuration is larger; what is, is another file.
const LARGEST: u64 = 512 * 1024;

/// There is no usable configuration. Displayed, it is the whole report, ready to be printed as it is.
#[derive(Debug)]
pub enum ConfigError {
    /// There is none here nor in any directory above.
    NotFound,
    /// The file that was asked for does not exist.
    Missing {
        /// The file, as shown.
        file: String,
    },
    /// It cannot be read.
    Unreadable {
        /// The file, as shown.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// It is a directory, a device or the like.
    NotAFile {
        /// The file, as shown.
        file: String,
    },
    /// It is too large to be a configuration.
    TooLarge {
        /// The file, as shown.
        file: String,
    },
    /// It is not text.
    NotUtf8 {
        /// The file, as shown.
        file: String,
        /// The line with the first byte that is not UTF-8.
        line: usize,
    },
    /// Found above the working directory, in a directory everybody may write to, and somebody else's: its
    /// build commands would run with the user's rights.
    Foreign {
        /// The file, as shown.
        file: String,
    },
    /// It was read, and something in it is wrong.
    Invalid(Report),
}

impl ConfigError {
    /// Returns the text for people: every problem with its file, line, caret and a way out.
    pub fn render(&self, color: bool) -> String {
        const ONE_OFF: &str = "or use `rdeploy to user@host:/path`";
        let advice = format!("write a deploy.toml (see deploy.toml.example) {ONE_OFF}");
        let (file, message, help) = match self {
            Self::Invalid(report) => return report.render(color),
            Self::NotFound => {
                let message = format!("there is no {FILE_NAME} in this directory, nor in any above it");
                (None, message, advice)
            }
            Self::Missing { file } => (Some(file), "the file does not exist".to_owned(), advice),
            Self::Unreadable { file, source } => {
                (Some(file), format!("cannot be read: {source}"), "make it readable for this user".to_owned())
            }
            Self::NotAFile { file } => {
                (Some(file), "this is not a regular file".to_owned(), format!("name the {FILE_NAME} itself"))
            }
            Self::TooLarge { file } => {
                let message = format!("the file is larger than {} KiB", LARGEST / 1024);
                (Some(file), message, format!("name a {FILE_NAME}; this looks like something else"))
            }
            Self::NotUtf8 { file, line } => {
                let message = format!("line {line} is not UTF-8 text");
                (Some(file), message, "save the file as UTF-8".to_owned())
            }
            Self::Foreign { file } => {
                let message =
                    "the file belongs to another user, in a directory everybody may write to".to_owned();
                (
                    Some(file),
                    message,
                    "if you trust it, go to its directory or name the file itself".to_owned(),
                )
            }
        };
        Defect::new(message, help).render(file.map(String::as_str), color)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Reads the project's configuration: `file` if given (relative to `cwd`), else the first `deploy.toml`
/// from `cwd` upwards.
pub fn load(file: Option<&Path>, cwd: &Path) -> Result<Project, ConfigError> {
    let path = match file {
        Some(file) => tidy(cwd.join(file)),
        None => find(cwd)?,
    };
    let shown = shown(&path, file, cwd);
    let source = read(&path, &shown)?;
    let root = path.parent().unwrap_or(cwd).to_owned();
    let places = Places { root, home: etcetera::home_dir().ok() };
    parse(&source, &shown, path, &places).map_err(ConfigError::Invalid)
}

/// Judges a configuration's text; `shown` is what its file is called in messages.
pub(super) fn parse(source: &str, shown: &str, file: PathBuf, places: &Places) -> Result<Project, Report> {
    let parsed = syntax::parse(source);
    let mut sink = Sink::new(source);
    let raw = raw::file(parsed.tree.get_ref(), places, &mut sink);
    let project = validate::project(raw, file, &places.root, &mut sink);
    let mut diagnostics = parsed.with(source, sink.finish());
    match project {
        Some(project) if diagnostics.is_empty() => Ok(project),
        _ => {
            if diagnostics.is_empty() {
                diagnostics = validate::nothing_came_of_it();
            }
            Err(Report::new(shown, source, diagnostics))
        }
    }
}

fn find(cwd: &Path) -> Result<PathBuf, ConfigError> {
    for directory in cwd.ancestors() {
        let path = directory.join(FILE_NAME);
        match fs::metadata(&path) {
            Ok(_) if directory != cwd && planted(directory, &path) => {
                return Err(ConfigError::Foreign { file: shown(&path, None, cwd) });
            }
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ConfigError::Unreadable { file: shown(&path, None, cwd), source });
            }
        }
    }
    Err(ConfigError::NotFound)
}

/// Whether a file above the working directory may have been put there by anybody, as in `/tmp`.
#[cfg(unix)]
fn planted(directory: &Path, file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let me = rustix::process::geteuid().as_raw();
    match (fs::metadata(directory), fs::symlink_metadata(file)) {
        (Ok(directory), Ok(file)) => may_be_planted(directory.mode(), file.uid(), me),
        _ => false,
    }
}

#[cfg(not(unix))]
fn planted(_directory: &Path, _file: &Path) -> bool {
    false
}

/// Whether a file of `owner` in a directory of that mode is one that `me` did not put there, nor root.
#[cfg(unix)]
fn may_be_planted(directory_mode: u32, owner: u32, me: u32) -> bool {
    directory_mode & 0o002 != 0 && owner != me && owner != 0
}

fn read(path: &Path, shown: &str) -> Result<String, ConfigError> {
    let file = || shown.to_owned();
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::Missing { file: file() },
        _ => ConfigError::Unreadable { file: file(), source },
    };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(ConfigError::NotAFile { file: file() });
    }
    let mut bytes = Vec::new();
    let open = fs::File::open(path).map_err(unreadable)?;
    open.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > LARGEST) {
        return Err(ConfigError::TooLarge { file: file() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        ConfigError::NotUtf8 { file: file(), line: 1 + good.filter(|b| **b == b'\n').count() }
    })
}

/// Resolves the directory of a path that goes up: text alone cannot, where links are involved.
fn tidy(path: PathBuf) -> PathBuf {
    if !path.components().any(|c| c == Component::ParentDir) {
        return path.components().collect();
    }
    match (path.parent().and_then(|parent| fs::canonicalize(parent).ok()), path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path,
    }
}

/// The name of a file for people: as it was given, else relative to the working directory.
fn shown(path: &Path, given: Option<&Path>, cwd: &Path) -> String {
    if let Ok(inside) = path.strip_prefix(cwd) {
        return inside.display().to_string();
    }
    if let Some(given) = given {
        return given.display().to_string();
    }
    let above = path.parent().and_then(|directory| cwd.strip_prefix(directory).ok());
    match (above, path.file_name()) {
        (Some(below), Some(name)) => {
            let up: PathBuf = below.components().map(|_| Component::ParentDir).collect();
            up.join(name).display().to_string()
        }
        _ => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "app = \"shop\"\ndeploy_to = \"/srv/shop\"\nenv.stage.hosts = [\"a\"]\n";

    #[test]
    fn the_file_is_found_from_the_working_directory_upwards() {
        let home = tempfile::tempdir().unwrap();
        let below = home.path().join("src/deep");
        fs::create_dir_all(&below).unwrap();
        fs::write(home.path().join(FILE_NAME), MINIMAL).unwrap();
        let project = load(None, &below).unwrap();
        assert_eq!(project.root, home.path());
        assert_eq!(project.file, home.path().join(FILE_NAME));
        fs::write(home.path().join("src").join(FILE_NAME), "app = 1").unwrap();
        let report = load(None, &below).unwrap_err().to_string();
        assert!(report.contains("--> ../deploy.toml:1:7"), "{report}");
    }

    #[test]
    fn a_file_that_is_named_is_taken_wherever_it_is() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).map(|path| (path, home)).unwrap();
        let (home, _guard) = home;
        fs::create_dir_all(home.join("a/b")).unwrap();
        fs::write(home.join("a/other.toml"), MINIMAL).unwrap();
        for (file, cwd) in [("a/other.toml", home.clone()), ("../other.toml", home.join("a/b"))] {
            let project = load(Some(Path::new(file)), &cwd).unwrap();
            assert_eq!(project.root, home.join("a"), "{file}");
        }
        let absolute = home.join("a/other.toml");
        assert_eq!(load(Some(&absolute), Path::new("/")).unwrap().file, absolute);
    }

    #[test]
    fn what_cannot_be_read_is_explained() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("dir")).unwrap();
        fs::write(home.path().join("latin1.toml"), b"app = \"x\"\n# caf\xe9\n").unwrap();
        fs::write(home.path().join("large.toml"), vec![b'#'; 600 * 1024]).unwrap();
        let report = |file: &str| load(Some(Path::new(file)), home.path()).unwrap_err().to_string();
        insta::assert_snapshot!(report("none.toml"), @r#"
        error: the file does not exist
        --> none.toml
        help: write a deploy.toml (see deploy.toml.example) or use `rdeploy to user@host:/path`
        "#);
        insta::assert_snapshot!(report("dir"), @r#"
        error: this is not a regular file
        --> dir
        help: name the deploy.toml itself
        "#);
        insta::assert_snapshot!(report("latin1.toml"), @r#"
        error: line 2 is not UTF-8 text
        --> latin1.toml
        help: save the file as UTF-8
        "#);
        insta::assert_snapshot!(report("large.toml"), @r#"
        error: the file is larger than 512 KiB
        --> large.toml
        help: name a deploy.toml; this looks like something else
        "#);
        let through_a_file = report("latin1.toml/deploy.toml");
        assert!(through_a_file.contains("cannot be read: Not a directory"), "{through_a_file}");
    }

    #[test]
    fn without_any_file_both_ways_on_are_shown() {
        // No directory is above the root, and nobody keeps a project there.
        let report = load(None, Path::new("/")).unwrap_err().to_string();
        insta::assert_snapshot!(report, @r#"
        error: there is no deploy.toml in this directory, nor in any above it
        help: write a deploy.toml (see deploy.toml.example) or use `rdeploy to user@host:/path`
        "#);
    }

    #[test]
    fn only_a_strangers_file_in_everybodys_directory_counts_as_planted() {
        assert!(may_be_planted(0o1777, 1001, 1000));
        assert!(!may_be_planted(0o1777, 1000, 1000));
        assert!(!may_be_planted(0o1777, 0, 1000));
        assert!(!may_be_planted(0o755, 1001, 1000));
        // Root in a container, on files of a mounted project.
        assert!(!may_be_planted(0o755, 1000, 0));
    }
}
