//! Owns what earlier runs know of a source's files: the digest of each, and of its pieces, believed for as long as the
//! file cannot have been written to since. One file a source in the cache's directory, replaced by a rename; what is
//! damaged, another source's or of before the last start of this machine counts as not there.
//!
//! Whoever writes to a file changes its ctime, which nobody can set back. But clocks tick: a file that is written to
//! right after it was hashed may keep its times. So a digest is kept only of files that were left alone for a while
//! before the hashing began, and only on file systems whose times this machine's kernel makes itself. After a power cut
//! a file may have what was written last without its time, hence the last start.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::fs::FileTimes;
use std::io;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use sha2::Digest as _;
use sha2::Sha256;

use super::cache::Cache;
use super::digests;
use super::digests::Hashed;
use super::pack::full_path;
use super::source::Stamp;
use crate::release::Digest;

/// Hashed before all else; another format has another name.
const FORMAT: &[u8] = b"rdeploy hashes 2\0";
/// What its files are called after the digest of the source's path.
const EXTENSION: &str = "hashes";
/// How long a file was left alone before it is hashed for later runs. Times of files are up to a second late where they
/// have no fractions; and who maps a file into memory leaves a time only once in the half minute after which Linux
/// writes such pages to the disk.
const SETTLED: Duration = Duration::from_secs(40);
/// So many sources are remembered, in so many bytes together: those that were used last.
const MAX_SOURCES: usize = 20;
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// ext2 to ext4, XFS, Btrfs, tmpfs, overlayfs, F2FS, ZFS, bcachefs. Not those that another machine writes to (NFS, SMB,
/// 9P, FUSE), and not FAT, where a ctime can be set.
const FILE_SYSTEMS: [u32; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];

/// The digests known of one source.
#[derive(Debug)]
pub(super) struct Hashes {
    cache: Cache,
    source: PathBuf,
    file: PathBuf,
    /// What a sum begins with; none where nothing can be remembered.
    seed: Option<Sha256>,
    /// What the file has, or nothing.
    records: Vec<u8>,
}

impl Hashes {
    /// Reads what is known of a source, whose path is canonical.
    pub(super) fn load(cache: &Cache, source: &Path) -> Self {
        let name = Digest::of(source.as_os_str().as_bytes());
        let file = cache.dir().join(format!("{name}.{EXTENSION}"));
        let seed = last_start().map(|start| {
            Sha256::new().chain_update(FORMAT).chain_update(start).chain_update(source.as_os_str().as_bytes())
        });
        let records = seed.as_ref().and_then(|seed| read(&file, seed)).unwrap_or_default();
        Self { cache: cache.clone(), source: source.to_owned(), file, seed, records }
    }

    /// Where it is written what is known.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the digests of the files that are as they were when they were hashed. The files come in the order of
    /// their paths.
    pub(super) fn find(&self, files: &[(&[u8], Stamp)]) -> Vec<Option<Hashed>> {
        let mut rest = self.records.as_slice();
        let mut records = std::iter::from_fn(|| Record::read(&mut rest)).peekable();
        let digest = |(path, stamp): &(&[u8], Stamp)| {
            while records.next_if(|record| record.path < *path).is_some() {}
            let record = records.next_if(|record| record.path == *path)?;
            (record.stamp == *stamp).then_some(record.hashed)
        };
        files.iter().map(digest).collect()
    }

    /// Remembers the digests of these files, and nothing else, where that is safe. `began` is a time before any of them
    /// was read.
    pub(super) fn keep(&mut self, files: &[(&[u8], Stamp)], hashed: &[Hashed], began: SystemTime) {
        let Some(seed) = &self.seed else { return };
        let Some(before) = settled_before(began) else { return };
        let mut devices = HashMap::new();
        let mut records = Vec::with_capacity(self.records.len());
        for ((path, stamp), hashed) in files.iter().zip(hashed) {
            let keeps_times = || keeps_times(&full_path(&self.source, path));
            if is_settled(stamp, before) && *devices.entry(stamp.device).or_insert_with(keeps_times) {
                Record::write(path, stamp, hashed, &mut records);
            }
        }
        if records == self.records {
            // The time of the file is the time of the last use.
            let used = FileTimes::new().set_modified(SystemTime::now());
            let _ = File::open(&self.file).and_then(|file| file.set_times(used));
        } else if records.len() as u64 <= MAX_BYTES {
            let sum: [u8; 32] = seed.clone().chain_update(&records).finalize().into();
            // Without it the next run hashes more, and that is all.
            let _ = self.write(&sum, &records);
            self.records = records;
        }
    }

    /// Forgets everything: something of it was wrong.
    pub(super) fn forget(&mut self) {
        self.records.clear();
        distrust(&self.file);
    }

    fn write(&self, sum: &[u8], records: &[u8]) -> io::Result<()> {
        let mut temporary = self.cache.temporary().map_err(io::Error::other)?;
        temporary.write_all(sum)?;
        temporary.write_all(records)?;
        temporary.persist(&self.file)?;
        self.prune()
    }

    /// Removes what was not used for longest until the bounds hold.
    fn prune(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(self.cache.dir())?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) && path != self.file {
                let metadata = entry.metadata()?;
                kept.push((metadata.modified()?, metadata.len(), path));
            }
        }
        kept.sort_by_key(|(used, _, _)| Reverse(*used));
        let mut bytes = fs::metadata(&self.file)?.len();
        for (place, (_, size, path)) in kept.into_iter().enumerate() {
            bytes += size;
            if place + 1 >= MAX_SOURCES || bytes > MAX_BYTES {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Removes what is written in that file: something of it was wrong.
pub(super) fn distrust(file: &Path) {
    let _ = fs::remove_file(file);
}

/// What names the last start of this machine.
fn last_start() -> Option<Vec<u8>> {
    fs::read("/proc/sys/kernel/random/boot_id").ok()
}

/// Whether the times of files there are this machine's own.
fn keeps_times(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| FILE_SYSTEMS.contains(&(found.f_type as u32)))
}

/// A file with older times was left alone for long enough before the hashing began.
fn settled_before(began: SystemTime) -> Option<(i64, i64)> {
    let before = began.checked_sub(SETTLED)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((i64::try_from(before.as_secs()).ok()?, before.subsec_nanos().into()))
}

/// Whoever writes to such a file from then on leaves another ctime.
fn is_settled(stamp: &Stamp, before: (i64, i64)) -> bool {
    stamp.ctime.max(stamp.mtime) < before
}

fn read(file: &Path, seed: &Sha256) -> Option<Vec<u8>> {
    let bytes = (fs::metadata(file).ok()?.len() <= MAX_BYTES + 32).then(|| fs::read(file).ok())??;
    let (sum, records) = bytes.split_first_chunk::<32>()?;
    let expected: [u8; 32] = seed.clone().chain_update(records).finalize().into();
    (*sum == expected).then(|| records.to_vec())
}

/// What is kept of a file.
struct Record<'a> {
    path: &'a [u8],
    stamp: Stamp,
    hashed: Hashed,
}

impl<'a> Record<'a> {
    fn write(path: &[u8], stamp: &Stamp, hashed: &Hashed, out: &mut Vec<u8>) {
        let Ok(length) = u16::try_from(path.len()) else { return };
        let Stamp { device, inode, mtime, ctime, size } = *stamp;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(path);
        for number in [device, inode, size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [mtime.0, mtime.1, ctime.0, ctime.1] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&hashed.digest.0);
        // As many as the size says.
        hashed.pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
    }

    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let length = u16::from_le_bytes(take(bytes)?);
        let (path, rest) = bytes.split_at_checked(length.into())?;
        *bytes = rest;
        let [device, inode, size] = [take(bytes)?, take(bytes)?, take(bytes)?].map(u64::from_le_bytes);
        let times = [take(bytes)?, take(bytes)?, take(bytes)?, take(bytes)?].map(i64::from_le_bytes);
        let [mtime, mtime_nsec, ctime, ctime_nsec] = times;
        let stamp = Stamp { device, inode, mtime: (mtime, mtime_nsec), ctime: (ctime, ctime_nsec), size };
        let digest = Digest(take(bytes)?);
        let pieces = (0..digests::pieces(size)).map(|_| Some(blake3::Hash::from_bytes(take(bytes)?)));
        Some(Self { path, stamp, hashed: Hashed { digest, pieces: pieces.collect::<Option<_>>()? } })
    }
}

fn take<const COUNT: usize>(bytes: &mut &[u8]) -> Option<[u8; COUNT]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}
