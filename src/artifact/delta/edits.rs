//! Owns what turns large files of a release that is there into those of this artifact: for each a zstd frame with the old
//! content as its dictionary (what `zstd --patch-from` makes and reads). The old content comes from the cache here.
//!
//! Both contents of one file at a time are in memory, which is why there is a limit.

use std::io;
use std::io::Read;
use std::io::Write;

use bytes::Bytes;
use sha2::Digest as _;
use sha2::Sha256;
use zstd::zstd_safe::CParameter;

use super::super::cache::Cache;
use super::super::contents::Contents;
use super::super::press::Codec;
use super::super::tarball;
use crate::release::Digest;
use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

/// Smaller files are sent, larger ones would take too much memory, here and on the host.
const SIZES: std::ops::RangeInclusive<u64> = 1024 * 1024..=256 * 1024 * 1024;
/// What is made must be this many times smaller than the file.
const WORTH: u64 = 4;
/// As the program `zstd` takes for patches without being told.
const LEVEL: i32 = 3;

/// What large files of a release become by.
#[derive(Debug, Default)]
pub struct Edits {
    /// A tar of them, each named by its file's line in the manifest; empty if there are none.
    pub tar: Bytes,
    /// The files, by their places in the manifest.
    pub files: Vec<u32>,
}

/// Makes what is worth it, of those files. What cannot be had is left out: everything can be sent instead.
pub(super) fn make(
    cache: Option<&Cache>,
    base: Digest,
    manifest: &Manifest,
    source: Option<&Contents>,
    files: &[u32],
) -> Edits {
    let mut edits = Edits::default();
    let Some((cache, source)) = cache.zip(source) else { return edits };
    let old = cache.manifest(&base).and_then(|text| Manifest::from_bytes(&text).ok());
    let Some(old) = old else { return edits };
    let mut tar = Vec::new();
    for place in files {
        let made = manifest.entries.get(*place as usize).and_then(|entry| {
            let before = old.entries.iter().find(|before| before.path == entry.path)?;
            is_large(before).then_some(())?;
            is_large(entry).then_some(())?;
            edit(cache, base, (&old, before), source, entry).ok().flatten().map(|edit| (entry, edit))
        });
        if let Some((entry, edit)) = made {
            // The first line is the header.
            let name = (place + 2).to_string().into_bytes();
            tarball::plain(&mut tar, &name, entry, &edit);
            edits.files.push(*place);
        }
    }
    if !edits.files.is_empty() {
        tar.extend_from_slice(&tarball::END);
        edits.tar = tar.into();
    }
    edits
}

fn is_large(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File { size, .. } if SIZES.contains(&size))
}

fn edit(
    cache: &Cache,
    base: Digest,
    (manifest, before): (&Manifest, &Entry),
    source: &Contents,
    entry: &Entry,
) -> io::Result<Option<Vec<u8>>> {
    let (EntryKind::File { digest, size, .. }, EntryKind::File { digest: old_digest, .. }) =
        (&entry.kind, &before.kind)
    else {
        return Ok(None);
    };
    let old = content(cache, base, manifest, before)?;
    if Digest(Sha256::digest(&old).into()) != *old_digest {
        return Ok(None);
    }
    let mut new = Vec::new();
    source.append(entry, 0, (*size, *digest), &mut new).map_err(io::Error::other)?;
    let mut out = Vec::new();
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(&mut out, LEVEL, &old)?;
    let reach = old.len().max(new.len()) as u64;
    encoder.set_parameter(CParameter::WindowLog(reach.ilog2() + 1))?;
    encoder.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
    encoder.set_pledged_src_size(Some(*size))?;
    encoder.write_all(&new)?;
    encoder.finish()?;
    Ok((out.len() as u64 <= size / WORTH).then_some(out))
}

/// The content of a file of an artifact in the cache, whatever it is.
fn content(cache: &Cache, artifact: Digest, manifest: &Manifest, wanted: &Entry) -> io::Result<Vec<u8>> {
    let mut tar = Codec::Zstd.reader(std::fs::File::open(cache.artifact(&artifact))?)?;
    for entry in &manifest.entries {
        let head = tarball::header(entry).len() as u64;
        let padded = tarball::padded(entry);
        if entry.path != wanted.path {
            io::copy(&mut tar.by_ref().take(head + padded), &mut io::sink())?;
            continue;
        }
        io::copy(&mut tar.by_ref().take(head), &mut io::sink())?;
        let mut content = Vec::new();
        if let EntryKind::File { size, .. } = entry.kind {
            tar.take(size).read_to_end(&mut content)?;
        }
        return Ok(content);
    }
    Ok(Vec::new())
}
