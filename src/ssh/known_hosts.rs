//! Owns files of known host keys: what they say about a host, and adding a line. Pure but for
//! [`open`], [`look_up`] and [`append`]; asks nobody and decides nothing about connecting.
//!
//! The library's own check is not used: it ignores revocations, wildcards and negation, takes the
//! second key of a type for a changed one, and gives up at a line it cannot read.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use russh::keys::Algorithm;
use russh::keys::HashAlg;
use russh::keys::PublicKey;
use russh::keys::ssh_key::known_hosts::Entry;
use russh::keys::ssh_key::known_hosts::HostPatterns;
use russh::keys::ssh_key::known_hosts::Marker;
use sha1::Sha1;

use super::KnownKey;

/// A file of known hosts, opened.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) text: Box<dyn BufRead>,
}

/// Opens the files that exist. One that exists but cannot be read is an error: it may hold the line
/// that revokes a key.
pub(super) fn open(paths: &[PathBuf]) -> Result<Vec<File>, (PathBuf, io::Error)> {
    let mut files = Vec::new();
    for path in paths {
        match std::fs::File::open(path) {
            Ok(file) => files.push(File { path: path.clone(), text: Box::new(BufReader::new(file)) }),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err((path.clone(), error)),
        }
    }
    Ok(files)
}

/// What the files say about a host.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    keys: Vec<Line>,
    revoked: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    key: PublicKey,
    file: PathBuf,
    line: usize,
}

/// What the files say about a key that a host presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is one of the host's.
    Known,
    /// It must not be trusted.
    Revoked(KnownKey),
    /// The host has other keys of this type.
    Changed(Vec<KnownKey>),
    /// The host has keys, of other types only; none when nothing is known of it.
    Unknown(Vec<KnownKey>),
}

/// Collects what the files say about each of these hosts and ports. Line by line: hundreds of hosts look, into files
/// that name hundreds.
pub(super) fn look_up<const N: usize>(
    files: Vec<File>,
    hosts: [(&str, u16); N],
) -> Result<[Known; N], (PathBuf, io::Error)> {
    let names = hosts.map(|(host, port)| name(host, port));
    let mut known = [(); N].map(|()| Known::default());
    for File { path, mut text } in files {
        let (mut bytes, mut n) = (Vec::new(), 0);
        loop {
            bytes.clear();
            match text.read_until(b'\n', &mut bytes) {
                Ok(0) => break,
                Ok(_) => n += 1,
                Err(error) => return Err((path, error)),
            }
            let line = String::from_utf8_lossy(&bytes);
            for (name, known) in names.iter().zip(&mut known) {
                known.take(&line, name, &path, n);
            }
        }
    }
    // They are kept for as long as the connection.
    known.iter_mut().for_each(|known| known.keys.shrink_to_fit());
    Ok(known)
}

impl Known {
    /// Notes what a line says about the host of that name.
    fn take(&mut self, text: &str, name: &str, file: &Path, n: usize) {
        // Few lines are about it, and to read the key of one takes longest.
        if !patterns(text).is_some_and(|patterns| matches(&patterns, name)) {
            return;
        }
        // A line that cannot be read says nothing, and must not hide the others.
        let Some(entry) = parse(text) else { return };
        let line = Line { key: entry.public_key().clone(), file: file.to_owned(), line: n };
        match entry.marker() {
            None => self.keys.push(line),
            Some(Marker::Revoked) => self.revoked.push(line),
            // Vouches for certificates, and these are not asked for.
            Some(Marker::CertAuthority) => {}
        }
    }

    /// Judges the key that the host presents.
    pub(super) fn judge(&self, presented: &PublicKey) -> Verdict {
        // Comparing whole keys would compare their comments too.
        let same = |line: &&Line| line.key.key_data() == presented.key_data();
        if let Some(line) = self.revoked.iter().find(same) {
            return Verdict::Revoked(line.shown());
        }
        if self.keys.iter().any(|line| same(&line)) {
            return Verdict::Known;
        }
        let of_type = |line: &&Line| line.key.algorithm() == presented.algorithm();
        let changed: Vec<_> = self.keys.iter().filter(of_type).map(Line::shown).collect();
        match changed.is_empty() {
            true => Verdict::Unknown(self.keys.iter().map(Line::shown).collect()),
            false => Verdict::Changed(changed),
        }
    }

    /// The types of the host's keys, to ask it for those first.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for line in &self.keys {
            if !algorithms.contains(&line.key.algorithm()) {
                algorithms.push(line.key.algorithm());
            }
        }
        algorithms
    }
}

impl Line {
    fn shown(&self) -> KnownKey {
        KnownKey {
            algorithm: self.key.algorithm().as_str().to_owned(),
            fingerprint: self.key.fingerprint(HashAlg::Sha256).to_string(),
            file: self.file.clone(),
            line: self.line,
        }
    }
}

/// The name under which a host is kept.
fn name(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    match port {
        22 => host,
        port => format!("[{host}]:{port}"),
    }
}

/// The first words of a line, in any spacing: a marker, if there is one, the names, the key's type and the key. None of
/// a comment.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split_ascii_whitespace();
    let is_comment = words.clone().next().is_some_and(|word| word.starts_with('#'));
    words.take(if is_comment { 0 } else { 3 + usize::from(is_marked(line)) })
}

fn is_marked(line: &str) -> bool {
    line.trim_ascii_start().starts_with('@')
}

/// Reads of which hosts a line is.
fn patterns(line: &str) -> Option<HostPatterns> {
    words(line).nth(usize::from(is_marked(line)))?.parse().ok()
}

/// Reads a line. None for comments and for what cannot be read.
fn parse(line: &str) -> Option<Entry> {
    words(line).collect::<Vec<_>>().join(" ").parse().ok()
}

fn matches(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::Patterns(patterns) => matches_list(patterns, name),
        HostPatterns::HashedName { salt, hash } => hashed(salt, name) == Some(*hash),
    }
}

/// A negated pattern that matches excludes the host, wherever it stands in the list.
fn matches_list(patterns: &[String], name: &str) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(negated) if glob(&negated.to_lowercase(), name) => return false,
            Some(_) => {}
            None => found |= glob(&pattern.to_lowercase(), name),
        }
    }
    found
}

/// Whether a name matches a pattern of `*` and `?`. Linear in memory, and no worse than the product
/// of both lengths in time.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while let Some(byte) = name.get(n) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(own) if *own == b'?' || own == byte => {
                p += 1;
                n += 1;
            }
            _ => {
                // Let the last star swallow one byte more.
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

fn hashed(salt: &[u8], name: &str) -> Option<[u8; 20]> {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.finalize().into_bytes().into())
}

/// The line that makes a key known.
pub(crate) fn line(host: &str, port: u16, key: &PublicKey) -> Option<String> {
    let key = PublicKey::new(key.key_data().clone(), "").to_openssh().ok()?;
    Some(format!("{} {}\n", name(host, port), key.trim_end()))
}

/// Adds a key to a file, which is made if need be. One write, so that two processes do not mix.
pub(super) fn append(path: &Path, host: &str, port: u16, key: &PublicKey) -> io::Result<()> {
    let line = line(host, port, key).ok_or_else(|| io::Error::other("the key cannot be written"))?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut file = std::fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let newline = if ends_with_newline(&mut file)? { "" } else { "\n" };
    file.write_all(format!("{newline}{line}").as_bytes())
}

fn ends_with_newline(file: &mut std::fs::File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
