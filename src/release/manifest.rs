//! Owns the list of what a release consists of, and its text form, which a host's `sed` and
//! `sha256sum -c` can read.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::Digest as _;
use sha2::Sha256;

/// A sha256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEXLOWER.encode_mut_str(&self.0, &mut [0; 64]))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = InvalidManifest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidManifest(format!("`{text}` is not a sha256 digest"));
        if text.len() != 64 {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).map_err(|_| invalid())?;
        Ok(Self(bytes))
    }
}

/// What one path of a release is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory (mode 0755).
    Directory,
    /// A regular file: 0755 when executable, else 0644.
    File {
        /// Whether the owner may execute it.
        executable: bool,
        /// Its size in bytes.
        size: u64,
        /// The sha256 of its content.
        digest: Digest,
    },
    /// A symbolic link and the text it holds.
    Symlink {
        /// The link's target as written.
        target: Vec<u8>,
    },
}

/// The oldest modification time in an artifact: 2001-01-01 00:00:00 UTC.
const MTIME_BASE: u64 = 978_307_200;
/// File times spread over the years 2001 to 2019, so that they are always in the past.
const MTIME_SPAN: u64 = 599_529_600;

impl EntryKind {
    /// The modification time it has in every artifact, in seconds since 1970.
    ///
    /// A file's comes from its digest: unchanged content keeps its time from release to release, and
    /// changed content gets another one, so that web servers and caches that compare times are right
    /// in both cases. Everything else has one fixed time.
    pub fn mtime(&self) -> u64 {
        match self {
            Self::Directory | Self::Symlink { .. } => MTIME_BASE,
            Self::File { digest: Digest(bytes), .. } => {
                let number = bytes.iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte));
                MTIME_BASE + number % MTIME_SPAN
            }
        }
    }

    /// The permissions it has in every artifact and on every host; a link has none of its own.
    pub fn mode(&self) -> u32 {
        match self {
            Self::File { executable: false, .. } => 0o644,
            Self::Symlink { .. } => 0o777,
            Self::Directory | Self::File { executable: true, .. } => 0o755,
        }
    }
}

/// One path of a release, relative, `/`-separated, without `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path's bytes; no control character and no backslash (GNU and BusyBox `sha256sum` write
    /// those differently).
    pub path: Vec<u8>,
    /// What is there.
    pub kind: EntryKind,
}

/// Everything a release consists of, sorted by path bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The entries, sorted by path.
    pub entries: Vec<Entry>,
}

/// The text is not a manifest of a version this build knows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("bad manifest: {0}")]
pub struct InvalidManifest(pub String);

/// The first line of a manifest's text form. The version rises when the meaning changes.
const HEADER: &[u8] = b"rdeploy-manifest 1";

impl Manifest {
    /// The sha256 of the text form. It names the release: as each file has its digest there, no other files have it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_bytes())
    }

    /// Returns the text form: a header line, then one line an entry:
    /// `d PATH`, `f SHA256 SIZE PATH`, `x SHA256 SIZE PATH` (executable) or `l PATH<TAB>TARGET`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * 110 + HEADER.len() + 1);
        out.extend_from_slice(HEADER);
        out.push(b'\n');
        for Entry { path, kind } in &self.entries {
            match kind {
                EntryKind::Directory => out.extend_from_slice(b"d "),
                EntryKind::File { executable, size, digest } => {
                    let letter = if *executable { 'x' } else { 'f' };
                    out.extend_from_slice(format!("{letter} {digest} {size} ").as_bytes());
                }
                EntryKind::Symlink { .. } => out.extend_from_slice(b"l "),
            }
            out.extend_from_slice(path);
            if let EntryKind::Symlink { target } = kind {
                out.push(b'\t');
                out.extend_from_slice(target);
            }
            out.push(b'\n');
        }
        out
    }

    /// Reads the text form back.
    pub fn from_bytes(text: &[u8]) -> Result<Self, InvalidManifest> {
        let bad = |n: usize, what: &str| InvalidManifest(format!("line {}: {what}", n + 1));
        let body = text
            .strip_prefix(HEADER)
            .and_then(|rest| rest.strip_prefix(b"\n"))
            .ok_or_else(|| bad(0, "not a manifest of version 1"))?;
        let Some(body) = body.strip_suffix(b"\n") else {
            return if body.is_empty() { Ok(Self::default()) } else { Err(bad(1, "cut off")) };
        };
        let mut entries = Vec::new();
        for (n, line) in body.split(|b| *b == b'\n').enumerate() {
            let n = n + 1;
            let (letter, rest) = match line {
                [letter, b' ', rest @ ..] => (*letter, rest),
                _ => return Err(bad(n, "no entry")),
            };
            let entry = match letter {
                b'd' => Entry { path: rest.to_vec(), kind: EntryKind::Directory },
                b'f' | b'x' => {
                    let mut parts = rest.splitn(3, |b| *b == b' ');
                    let mut text = || parts.next().and_then(|p| std::str::from_utf8(p).ok());
                    let digest = text().ok_or_else(|| bad(n, "no digest"))?.parse()?;
                    let size = text().and_then(|t| t.parse().ok()).ok_or_else(|| bad(n, "no size"))?;
                    let path = parts.next().ok_or_else(|| bad(n, "no path"))?.to_vec();
                    Entry { path, kind: EntryKind::File { executable: letter == b'x', size, digest } }
                }
                b'l' => {
                    let tab = rest.iter().position(|b| *b == b'\t');
                    let (path, target) =
                        tab.and_then(|at| rest.split_at_checked(at)).ok_or_else(|| bad(n, "no target"))?;
                    let target = target.get(1..).unwrap_or_default().to_vec();
                    Entry { path: path.to_vec(), kind: EntryKind::Symlink { target } }
                }
                _ => return Err(bad(n, "unknown kind")),
            };
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// The number of regular files.
    pub fn files(&self) -> usize {
        self.entries.iter().filter(|e| matches!(e.kind, EntryKind::File { .. })).count()
    }

    /// The sum of the sizes of all files, in bytes.
    pub fn bytes(&self) -> u64 {
        let size = |e: &Entry| match e.kind {
            EntryKind::File { size, .. } => size,
            _ => 0,
        };
        self.entries.iter().map(size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &[u8], kind: EntryKind) -> Entry {
        Entry { path: path.to_vec(), kind }
    }

    #[test]
    fn the_text_form_reads_back_to_the_same_manifest() {
        let digest = Digest([0xab; 32]);
        let manifest = Manifest {
            entries: vec![
                entry(b"- a 'b'", EntryKind::File { executable: false, size: 0, digest }),
                entry(b"bin", EntryKind::Directory),
                entry(b"bin/\xff run", EntryKind::File { executable: true, size: 12, digest }),
                entry(b"link", EntryKind::Symlink { target: b"bin/\xff run".to_vec() }),
            ],
        };
        assert_eq!(Manifest::from_bytes(&manifest.to_bytes()).unwrap(), manifest);
        assert_eq!(Manifest::from_bytes(&Manifest::default().to_bytes()).unwrap(), Manifest::default());
        assert_eq!((manifest.files(), manifest.bytes()), (2, 12));
    }

    #[test]
    fn a_time_depends_on_content_alone_and_is_in_the_past() {
        let file = |first: u8, executable| {
            let mut digest = [0; 32];
            digest[0] = first;
            EntryKind::File { executable, size: 1, digest: Digest(digest) }.mtime()
        };
        assert_eq!(file(7, true), file(7, false));
        assert_ne!(file(7, true), file(8, true));
        let year = |seconds: u64| {
            jiff::Timestamp::from_second(seconds.cast_signed()).unwrap().strftime("%Y").to_string()
        };
        for first in 0..=255 {
            assert!(("2001".."2020").contains(&year(file(first, false)).as_str()));
        }
        assert_eq!(year(MTIME_BASE + MTIME_SPAN - 1), "2019");
        assert_eq!(EntryKind::Directory.mtime(), MTIME_BASE);
    }

    #[test]
    fn a_manifest_that_was_cut_or_is_of_another_version_is_refused() {
        for bad in
            [&b""[..], b"rdeploy-manifest 2\n", b"rdeploy-manifest 1\nd x", b"rdeploy-manifest 1\nf zz 1 a\n"]
        {
            assert!(Manifest::from_bytes(bad).is_err(), "{bad:?}");
        }
    }
}
