//! Owns what turns large files of a release that is there into those of this artifact: for each a zstd frame with the
//! old content as its dictionary (what `zstd --patch-from` makes and reads). The old content comes from the cache here.
//!
//! Both contents of one file at a time are in memory, which is why there is a limit.

use std::io;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use zstd::zstd_safe::CParameter;

use super::super::buffer::Buffer;
use super::super::cache::Cache;
use super::super::contents::Contents;
use super::super::digests::Proof;
use super::super::press::Codec;
use super::super::tarball;
use super::pack;
use super::pack::Wanted;
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
    let entry =
        |place: &u32| Some((*place, manifest.entries.get(*place as usize).filter(|entry| is_large(entry))?));
    let large: Vec<(u32, &Entry)> = files.iter().filter_map(entry).collect();
    // Hardly a deploy has any, and reading the old manifest takes a while.
    let old = if large.is_empty() { None } else { cache.manifest(&base) };
    let old = old.and_then(|text| Manifest::from_bytes(&text).ok()).map(Arc::new);
    let Some(old) = old else { return edits };
    let mut tar = Vec::new();
    for (place, entry) in large {
        let before =
            (0..).zip(&old.entries).find(|(_, before)| before.path == entry.path && is_large(before));
        let made = before.and_then(|before| edit(cache, base, (&old, before), source, entry).ok().flatten());
        if let Some(edit) = made {
            // The first line is the header.
            let name = (place + 2).to_string().into_bytes();
            tarball::plain(&mut tar, &name, entry, &edit);
            edits.files.push(place);
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
    (manifest, (place, before)): (&Arc<Manifest>, (u32, &Entry)),
    source: &Contents,
    entry: &Entry,
) -> io::Result<Option<Vec<u8>>> {
    let (EntryKind::File { digest, size, .. }, EntryKind::File { digest: old_digest, size: old_size, .. }) =
        (&entry.kind, &before.kind)
    else {
        return Ok(None);
    };
    let old = content(cache, base, manifest, place, *old_size)?;
    if Digest::of(&old) != *old_digest {
        return Ok(None);
    }
    let mut new = Buffer::with_room(usize::try_from(*size).map_err(io::Error::other)?)?;
    source.append(entry, 0, (*size, Proof::Whole(*digest)), &mut new).map_err(io::Error::other)?;
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

/// The content of a file of an artifact in the cache.
fn content(
    cache: &Cache,
    artifact: Digest,
    manifest: &Arc<Manifest>,
    place: u32,
    size: u64,
) -> io::Result<Vec<u8>> {
    let tar = cache.tar(&artifact)?;
    let wanted =
        Wanted { manifest: Arc::clone(manifest), files: vec![place], links: false, codec: Codec::Zstd };
    let mut entry = Vec::new();
    pack::select(tar, &wanted, &mut entry)?;
    let head = manifest.entries.get(place as usize).map(tarball::header).unwrap_or_default();
    entry.drain(..head.len());
    entry.truncate(usize::try_from(size).map_err(io::Error::other)?);
    Ok(entry)
}
