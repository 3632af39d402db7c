//! Owns what is uploaded in the tests: a small tree as a tar and as a manifest, which may be made to
//! disagree.

use std::ffi::OsStr;
use std::io::Read as _;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::release::Digest;
use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

/// One path of a tree.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Dir,
    File(Vec<u8>),
    Program(Vec<u8>),
    Link(Vec<u8>),
}

impl Item {
    pub(super) fn file(text: &str) -> Self {
        Self::File(text.as_bytes().to_vec())
    }
}

/// Both halves; the manifest is gzipped.
pub(super) struct Parcel {
    pub(super) digest: String,
    pub(super) content: Vec<u8>,
    /// What the content is compressed by.
    pub(super) codec: &'static str,
    pub(super) manifest: Vec<u8>,
}

impl Parcel {
    /// A small site whose version can be told.
    pub(super) fn of(version: &str) -> Self {
        Self::new(&site(version))
    }

    pub(super) fn new(items: &[(&[u8], Item)]) -> Self {
        Self::torn(items, items)
    }

    /// The manifest of one tree with the content of another.
    pub(super) fn torn(listed: &[(&[u8], Item)], packed: &[(&[u8], Item)]) -> Self {
        let tar = pack(packed);
        let listed = list(listed);
        let digest = listed.digest().to_string();
        Self { digest, content: gzip(&tar), codec: "gzip", manifest: gzip(&listed.to_bytes()) }
    }

    /// The same, sent as it is.
    pub(super) fn plain(self) -> Self {
        let mut content = Vec::new();
        GzDecoder::new(self.content.as_slice()).read_to_end(&mut content).unwrap();
        Self { content, codec: "plain", ..self }
    }

    /// The same with the first bytes of its content alone.
    pub(super) fn cut(&self, keep: usize) -> Self {
        let content = self.content[..keep].to_vec();
        Self { content, manifest: self.manifest.clone(), digest: self.digest.clone(), codec: self.codec }
    }

    /// What `receive` is told of it, when everything is sent.
    pub(super) fn args(&self) -> [String; 4] {
        ["all", self.codec, &self.manifest.len().to_string(), "0"].map(str::to_owned)
    }
}

pub(super) fn site(version: &str) -> Vec<(&'static [u8], Item)> {
    vec![
        (b"bin", Item::Dir),
        (b"bin/run", Item::Program(b"#!/bin/sh\n".to_vec())),
        (b"latest", Item::Link(b"pages/index.html".to_vec())),
        (b"pages", Item::Dir),
        (b"pages/index.html", Item::file(version)),
    ]
}

fn pack(items: &[(&[u8], Item)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, item) in items {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        let path = OsStr::from_bytes(path);
        match item {
            Item::Dir => {
                header.set_mode(0o755);
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, path, &[][..]).unwrap();
            }
            Item::File(content) | Item::Program(content) => {
                if matches!(item, Item::Program(_)) {
                    header.set_mode(0o755);
                }
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, path, &content[..]).unwrap();
            }
            Item::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, OsStr::from_bytes(target)).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

fn list(items: &[(&[u8], Item)]) -> Manifest {
    let file = |content: &[u8], executable| EntryKind::File {
        executable,
        size: content.len() as u64,
        digest: Digest::of(content),
    };
    let kind = |item: &Item| match item {
        Item::Dir => EntryKind::Directory,
        Item::File(content) => file(content, false),
        Item::Program(content) => file(content, true),
        Item::Link(target) => EntryKind::Symlink { target: target.clone() },
    };
    let mut entries: Vec<_> =
        items.iter().map(|(path, item)| Entry { path: path.to_vec(), kind: kind(item) }).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Manifest { entries }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
