//! Owns the bytes of the tar: given a manifest and the contents of its files there is exactly one tar. What a cache
//! keeps of it is taken for what is written here, so [`FORMAT`] rises with every change, and a test pins one tar.

use tar::EntryType;
use tar::Header;

use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

/// The version of what this file writes.
pub(super) const FORMAT: u32 = 1;

const BLOCK: u64 = 512;
/// The header has room for 100 bytes; the last is left for a NUL, which old readers want.
const MAX_PLAIN: usize = 99;
/// As GNU tar calls its entries that hold a long name.
const LONG_NAME: &[u8] = b"././@LongLink";

/// Size of the tar of a manifest in bytes.
pub(super) fn size(manifest: &Manifest) -> u64 {
    let entries = manifest.entries.iter().map(|entry| header_size(entry) + padded(entry));
    entries.sum::<u64>() + END.len() as u64
}

/// What follows the last entry.
pub(super) const END: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];

/// How many bytes follow the header of an entry.
pub(super) fn padded(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File { size, .. } => size.next_multiple_of(BLOCK),
        EntryKind::Directory | EntryKind::Symlink { .. } => 0,
    }
}

/// What follows a content of this size.
pub(super) fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    let missing = size.next_multiple_of(BLOCK) - size;
    ZEROS.get(..missing as usize).unwrap_or_default()
}

/// Size of what precedes the content of an entry.
fn header_size(entry: &Entry) -> u64 {
    let target = match &entry.kind {
        EntryKind::Symlink { target } => target.len(),
        EntryKind::Directory | EntryKind::File { .. } => 0,
    };
    let slash = usize::from(entry.kind == EntryKind::Directory);
    let long = [target, entry.path.len() + slash].into_iter().filter(|length| *length > MAX_PLAIN);
    BLOCK + long.map(|length| BLOCK + (length as u64 + 1).next_multiple_of(BLOCK)).sum::<u64>()
}

/// Returns everything that precedes the content of an entry. Long names use GNU's `L` and `K` entries: GNU tar, BusyBox
/// tar and bsdtar read those, while BusyBox skips over PAX headers and would cut the names.
pub(super) fn header(entry: &Entry) -> Vec<u8> {
    let (kind, size, target) = match &entry.kind {
        EntryKind::Directory => (EntryType::Directory, 0, &[][..]),
        EntryKind::File { size, .. } => (EntryType::Regular, *size, &[][..]),
        EntryKind::Symlink { target } => (EntryType::Symlink, 0, target.as_slice()),
    };
    let mut path = entry.path.clone();
    if kind == EntryType::Directory {
        path.push(b'/');
    }
    let mut out = Vec::with_capacity(BLOCK as usize);
    if target.len() > MAX_PLAIN {
        long_name(&mut out, EntryType::GNULongLink, target);
    }
    if path.len() > MAX_PLAIN {
        long_name(&mut out, EntryType::GNULongName, &path);
    }
    let mut header = plain_header(kind, size, entry.kind.mode(), entry.kind.mtime());
    let old = header.as_old_mut();
    fill(&mut old.name, &path);
    fill(&mut old.linkname, target);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out
}

/// Writes a file of another content under a short name, with the mode and the time of an entry.
pub(super) fn plain(out: &mut Vec<u8>, name: &[u8], like: &Entry, content: &[u8]) {
    let size = content.len() as u64;
    let mut header = plain_header(EntryType::Regular, size, like.kind.mode(), like.kind.mtime());
    fill(&mut header.as_old_mut().name, name);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(padding(size));
}

fn plain_header(kind: EntryType, size: u64, mode: u32, mtime: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn long_name(out: &mut Vec<u8>, kind: EntryType, text: &[u8]) {
    let size = text.len() as u64 + 1;
    let mut header = plain_header(kind, size, 0o644, 0);
    fill(&mut header.as_old_mut().name, LONG_NAME);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(text);
    out.push(0);
    out.extend_from_slice(padding(size));
}

/// Copies as much of a text as a field holds; a long one was written in full before.
fn fill(field: &mut [u8], text: &[u8]) {
    let count = text.len().min(MAX_PLAIN);
    for (to, from) in field.iter_mut().zip(text.iter().take(count)) {
        *to = *from;
    }
}
