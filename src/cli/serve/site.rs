//! Owns which file a request means, and that it is never one outside the served directory.
//! Knows files, not HTTP.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use data_encoding::HEXLOWER;
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::Digest;
use sha2::Sha256;

/// Files up to this size are told apart by what is in them.
const HASHED: u64 = 8 << 20;

/// How many tags are remembered.
const REMEMBERED: usize = 10_000;

/// A directory that is served.
#[derive(Debug)]
pub(super) struct Site {
    root: PathBuf,
    tags: Mutex<HashMap<PathBuf, (Stamp, String)>>,
}

/// What a request's path means.
#[derive(Debug)]
pub(super) enum Found {
    /// A file, opened.
    File(Served),
    /// A directory, asked for without the slash at its end: its path with it.
    Directory(String),
    /// Nothing that is served.
    Nothing,
}

/// A file to send.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) file: File,
    pub(super) size: u64,
    /// Names the content: two files with the same tag are the same.
    pub(super) tag: String,
    /// Seconds since 1970 at which it came to be what it is.
    pub(super) modified: i64,
    /// The end of its name after the last dot, in lower case.
    pub(super) extension: String,
}

/// What changes when a file is replaced or written to.
type Stamp = (u64, u64, i64, i64);

impl Site {
    /// Resolves `dir`, once: when it is a link that is moved later, this site stays what it was.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let root = dir.canonicalize()?;
        // Fails for what is no directory, and for one that may not be read.
        drop(root.read_dir()?);
        Ok(Self { root, tags: Mutex::default() })
    }

    /// Returns what `path`, as it stands in a request, means. Blocks on the file system.
    pub(super) fn find(&self, path: &str) -> io::Result<Found> {
        let Some(names) = names(path) else { return Ok(Found::Nothing) };
        let wanted: PathBuf = names.iter().map(|name| OsStr::from_bytes(name)).collect();
        let Some((real, file, metadata)) = self.open_inside(&self.root.join(wanted))? else {
            return Ok(Found::Nothing);
        };
        match (metadata.is_dir(), path.ends_with('/')) {
            (true, false) => Ok(Found::Directory(directory_path(&names))),
            (true, true) => match self.open_inside(&real.join("index.html"))? {
                Some((real, file, metadata)) if metadata.is_file() => self.served(&real, file, &metadata),
                _ => Ok(Found::Nothing),
            },
            (false, false) if metadata.is_file() => self.served(&real, file, &metadata),
            (false, _) => Ok(Found::Nothing),
        }
    }

    /// Opens what `path` leads to through all links, if that lies inside the site.
    fn open_inside(&self, path: &Path) -> io::Result<Option<(PathBuf, File, Metadata)>> {
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) => return absent(error),
        };
        if !real.starts_with(&self.root) {
            return Ok(None);
        }
        // A pipe would block, and a link put in its place since would lead elsewhere.
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits();
        let flags = i32::try_from(flags).map_err(io::Error::other)?;
        match OpenOptions::new().read(true).custom_flags(flags).open(&real) {
            Ok(file) => {
                let metadata = file.metadata()?;
                Ok(Some((real, file, metadata)))
            }
            Err(error) => absent(error),
        }
    }

    fn served(&self, real: &Path, mut file: File, metadata: &Metadata) -> io::Result<Found> {
        let tag = self.tag(real, &mut file, metadata)?;
        let extension = real.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        Ok(Found::File(Served {
            file,
            size: metadata.len(),
            tag,
            // The later of the two: releases may give all files one and the same time of modification,
            // and a client that only asks by time would go on showing the release before.
            modified: metadata.mtime().max(metadata.ctime()),
            extension: extension.unwrap_or_default(),
        }))
    }

    /// Names the content. By digest, because size and time say nothing about it (see above), and so
    /// that what a deploy left alone need not be sent again; huge files by when they were unpacked.
    fn tag(&self, real: &Path, file: &mut File, metadata: &Metadata) -> io::Result<String> {
        let stamp = (metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec());
        if metadata.len() > HASHED {
            let (inode, size, seconds, nanoseconds) = stamp;
            return Ok(format!("\"{inode:x}-{size:x}-{seconds:x}-{nanoseconds:x}\""));
        }
        let remembered = || self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tag)) = remembered().get(real).filter(|(known, _)| *known == stamp) {
            return Ok(tag.clone());
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hash.update(buffer.get(..n).unwrap_or_default()),
            }
        }
        file.rewind()?;
        let digest = HEXLOWER.encode(&hash.finalize());
        let tag = format!("\"{}\"", digest.get(..32).unwrap_or_default());
        let mut tags = remembered();
        if tags.len() >= REMEMBERED {
            tags.clear();
        }
        tags.insert(real.to_owned(), (stamp, tag.clone()));
        Ok(tag)
    }
}

/// Splits an error into "there is nothing" and "the machine is in trouble".
fn absent<T>(error: io::Error) -> io::Result<Option<T>> {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::PermissionDenied
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput => Ok(None),
        // Links in a circle, and what opening a socket gives.
        _ if [Errno::LOOP, Errno::NXIO].map(|e| Some(e.raw_os_error())).contains(&error.raw_os_error()) => {
            Ok(None)
        }
        _ => Err(error),
    }
}

/// Returns the names a request's path consists of, decoded; nothing when one of them is not served.
fn names(path: &str) -> Option<Vec<Vec<u8>>> {
    let names = path.strip_prefix('/')?.split('/').filter(|name| !name.is_empty());
    let names: Vec<_> = names.map(decoded).collect::<Option<_>>()?;
    let served = |(depth, name): (usize, &Vec<u8>)| {
        // A leading dot is both the way out of a directory and the mark of what is nobody's business.
        let open = !name.starts_with(b".") || (depth == 0 && name == b".well-known");
        open && !name.is_empty() && !name.iter().any(|byte| *byte == b'/' || byte.is_ascii_control())
    };
    names.iter().enumerate().all(served).then_some(names)
}

/// Decodes `%41`; nothing when it is no such thing.
fn decoded(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

/// Writes the path of a directory from its names. Not from what was asked for: `//evil.example` would
/// send the client to another host.
fn directory_path(names: &[Vec<u8>]) -> String {
    let mut path = String::from("/");
    for name in names {
        for byte in name {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
                path.push(char::from(*byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_and_none_leads_out() {
        let read = |path| names(path).map(|names| names.join(&b"|"[..]));
        for (path, expected) in [
            ("/", ""),
            ("/a/b.html", "a|b.html"),
            ("//a///b/", "a|b"),
            ("/a%20b/%C3%A9", "a b|é"),
            ("/.well-known/acme", ".well-known|acme"),
            ("/a..b/c.", "a..b|c."),
            ("/%2541", "%41"),
        ] {
            assert_eq!(read(path).as_deref(), Some(expected.as_bytes()), "{path}");
        }
        for path in [
            "",
            "a",
            "*",
            "/..",
            "/../etc/passwd",
            "/a/../../b",
            "/%2e%2e/x",
            "/%2E./x",
            "/a/.%2e",
            "/.",
            "/.env",
            "/%2eenv",
            "/a/.git/config",
            "/a/.well-known/x",
            "/a%2fb",
            "/a%2F..%2Fb",
            "/%00",
            "/a%00.html",
            "/%0a",
            "/%",
            "/%2",
            "/%zz",
            "/%+1",
            "/..%c0%af",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
    }

    #[test]
    fn a_directorys_path_never_names_another_host() {
        let path = |path| directory_path(&names(path).unwrap());
        assert_eq!(path("//evil.example/x"), "/evil.example/x/");
        assert_eq!(path("/a%20b/%0d".trim_end_matches("%0d")), "/a%20b/");
        assert_eq!(path("/\\evil"), "/%5Cevil/");
        assert_eq!(path("/"), "/");
    }
}
