//! Owns the artifact as a file of the user's: `rdeploy build -o FILE`. The commit and the branch travel
//! in the comment of the gzip header, which is not part of what the digest is made of.

use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use super::Artifact;
use super::compress;
use super::compress::CompressError;
use super::git::Facts;
use super::press::Codec;
use super::press::Effort;
use super::press::HEADER;

/// The flag of a gzip header that a comment follows, and where it is.
const FLAGS: usize = 3;
const HAS_COMMENT: u8 = 0x10;
const SIGNATURE: &str = "rdeploy";

/// Why the file was not written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// There is something else than a file.
    #[error("cannot write the artifact to {}: it is {what}; name a file", to.display())]
    NotAFile {
        /// The file asked for.
        to: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It could not be written.
    #[error("cannot write the artifact to {}: {source}", to.display())]
    Write {
        /// The file asked for.
        to: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The artifact could not be read.
    #[error("cannot read the artifact {}: {source}", path.display())]
    Read {
        /// The artifact's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Copies an artifact to a file, which appears complete or not at all. Blocks.
pub fn save(artifact: &Artifact, to: &Path) -> Result<(), SaveError> {
    let failed = |source| SaveError::Write { to: to.to_owned(), source };
    // A link is written through, as every other program does.
    let target = match fs::canonicalize(to) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => to.to_owned(),
        Err(error) => return Err(failed(error)),
    };
    match fs::metadata(&target) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(metadata) => {
            let what = if metadata.is_dir() { "a directory" } else { "no regular file" };
            return Err(SaveError::NotAFile { to: to.to_owned(), what });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let directory = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The user's umask decides who may read it, as for any file they make.
    let mut builder = tempfile::Builder::new();
    builder.prefix(".rdeploy-").permissions(Permissions::from_mode(0o666));
    let mut temporary = builder.tempfile_in(directory).map_err(failed)?;

    let unreadable = |source| SaveError::Read { path: artifact.path.clone(), source };
    let from = File::open(&artifact.path).map_err(unreadable)?;
    let mut from = artifact.codec.reader(from).map_err(unreadable)?;
    let out = Commented { out: temporary.as_file_mut(), comment: comment(artifact) };
    let how = (Codec::Gzip, Effort::Usual);
    let written = compress::compress(how, out, |_, _| {}, |chunks| copy(&mut from, chunks));
    written.map_err(|error| match error {
        CompressError::Output(error) => failed(error),
        CompressError::Producer(error) => unreadable(error),
    })?;
    temporary.persist(&target).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Copies everything. What `to` does not take, it knows itself.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Puts a comment behind the header, which is written first and in one piece.
struct Commented<'a> {
    out: &'a mut File,
    comment: Vec<u8>,
}

impl Write for Commented<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let comment = std::mem::take(&mut self.comment);
        if comment.is_empty() || bytes != HEADER {
            return self.out.write(bytes);
        }
        let mut header = HEADER;
        if let Some(flags) = header.get_mut(FLAGS) {
            *flags |= HAS_COMMENT;
        }
        self.out.write_all(&header)?;
        self.out.write_all(&comment)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns the comment with its NUL, or nothing when there is nothing to say.
fn comment(artifact: &Artifact) -> Vec<u8> {
    let Some(commit) = &artifact.commit else { return Vec::new() };
    let mut comment = format!("{SIGNATURE} commit={commit}");
    if let Some(branch) = artifact.branch.as_ref().filter(|branch| is_plain(branch)) {
        comment.push_str(" branch=");
        comment.push_str(branch);
    }
    comment.push('\0');
    comment.into_bytes()
}

/// Reads the comment back. Anybody can write one, so that nothing but plain words is believed.
pub(super) fn read_comment(comment: &[u8]) -> Facts {
    let Ok(text) = std::str::from_utf8(comment) else { return Facts::default() };
    let mut words = text.split(' ');
    if words.next() != Some(SIGNATURE) {
        return Facts::default();
    }
    let mut facts = Facts::default();
    for word in words {
        match word.split_once('=') {
            Some(("commit", commit)) if is_commit(commit) => facts.commit = Some(commit.to_owned()),
            Some(("branch", branch)) if is_plain(branch) => facts.branch = Some(branch.to_owned()),
            _ => {}
        }
    }
    facts
}

fn is_commit(text: &str) -> bool {
    let hex = text.strip_suffix("-dirty").unwrap_or(text);
    [40, 64].contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_plain(branch: &str) -> bool {
    (1..=255).contains(&branch.len()) && !branch.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_that_is_not_ours_says_nothing() {
        let commit = "1".repeat(40);
        let ours = read_comment(format!("rdeploy commit={commit}-dirty branch=feature/x").as_bytes());
        assert_eq!(ours.commit, Some(format!("{commit}-dirty")));
        assert_eq!(ours.branch.as_deref(), Some("feature/x"));
        for other in [
            &b"made by hand"[..],
            b"",
            b"rdeploy",
            b"rdeploy commit=123",
            b"rdeploy commit=\x1b[2J branch=\x1b[2J",
            b"other commit=1111111111111111111111111111111111111111",
            b"rdeploy \xff",
        ] {
            assert_eq!(read_comment(other), Facts::default(), "{other:?}");
        }
    }
}
