//! Owns the file that the page goes to: whether it can be written, told before a run, and writing it whole or not
//! at all. What was there is replaced, as `rdeploy build -o` does.

use std::fs;
use std::fs::Permissions;
use std::io;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Access;
use tempfile::NamedTempFile;

/// A file that can be written, as far as can be known beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimingsFile {
    /// Where it is, behind links.
    target: PathBuf,
}

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TimingsFileError {
    /// There is something else than a file.
    #[error("cannot write the timings to {}: it is {what}; name a file", to.display())]
    NotAFile {
        /// The file asked for.
        to: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It could not be written.
    #[error("cannot write the timings to {}: {source}", to.display())]
    Write {
        /// The file asked for.
        to: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl TimingsFile {
    /// Finds out whether a file can be written there, and changes nothing.
    pub fn check(to: &Path) -> Result<Self, TimingsFileError> {
        let failed = |source| TimingsFileError::Write { to: to.to_owned(), source };
        let here = std::path::absolute(to).map_err(failed)?;
        // A link is written through, as every other program does.
        let target = match fs::canonicalize(&here) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => here,
            Err(error) => return Err(failed(error)),
        };
        match fs::metadata(&target) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(metadata) => {
                let what = if metadata.is_dir() { "a directory" } else { "no regular file" };
                return Err(TimingsFileError::NotAFile { to: to.to_owned(), what });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        if target.file_name().is_none() || target.as_os_str().as_bytes().ends_with(b"/") {
            return Err(TimingsFileError::NotAFile { to: to.to_owned(), what: "a directory" });
        }
        let file = Self { target };
        // This says what is wrong without naming a temporary file.
        let needed = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::access(file.directory(), needed).map_err(|error| failed(error.into()))?;
        // What can be made there now can be made there at the end of the run, too.
        file.temporary().and_then(NamedTempFile::close).map_err(failed)?;
        Ok(file)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.target
    }

    /// Writes it: all of it, or nothing.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut temporary = self.temporary()?;
        temporary.write_all(bytes)?;
        temporary.persist(&self.target).map_err(|error| error.error)?;
        Ok(())
    }

    fn directory(&self) -> &Path {
        self.target.parent().unwrap_or(Path::new("/"))
    }

    fn temporary(&self) -> io::Result<NamedTempFile> {
        // The user's umask decides who may read it, as for any file they make.
        let mut builder = tempfile::Builder::new();
        builder.prefix(".rdeploy-").permissions(Permissions::from_mode(0o666)).tempfile_in(self.directory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn checking_leaves_nothing_behind_and_writing_replaces_what_a_link_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.html");
        let file = TimingsFile::check(&path).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
        fs::write(dir.path().join("there"), "old").unwrap();
        std::os::unix::fs::symlink("there", &path).unwrap();
        assert_ne!(TimingsFile::check(&path).unwrap(), file);
        TimingsFile::check(&path).unwrap().write(b"new").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("there")).unwrap(), "new");
        assert!(path.is_symlink());
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[test]
    fn what_is_no_file_or_has_no_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = |path: &Path| TimingsFile::check(path).unwrap_err().to_string();
        assert!(error(dir.path()).ends_with("it is a directory; name a file"));
        assert!(error(&dir.path().join("new/")).ends_with("it is a directory; name a file"));
        assert!(error(Path::new("/dev/null")).ends_with("it is no regular file; name a file"));
        let missing = dir.path().join("missing/run.html");
        assert!(
            error(&missing).contains("missing/run.html: No such file or directory"),
            "{}",
            error(&missing)
        );
    }
}
