//! Owns the question whether a release on a disk is whole: every file, link and directory of its manifest
//! is there and holds what it held when it was packed.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rdeploy::release::Digest;
use rdeploy::release::EntryKind;
use rdeploy::release::Manifest;
use sha2::Sha256;

use crate::support::project::Tree;

/// Returns what is wrong with a release, if anything. `files` is how many it has.
pub(super) fn damage(tree: &Tree, release: &str, files: usize) -> Result<(), String> {
    let manifest = tree.root.join(".rdeploy/manifests").join(release);
    let text = fs::read(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let manifest = Manifest::from_bytes(&text).map_err(|error| format!("{}: {error}", manifest.display()))?;
    if manifest.files() != files {
        return Err(format!("the manifest of {release} lists {} files, not {files}", manifest.files()));
    }
    let root = tree.root.join("releases").join(release);
    let wrong: Vec<String> = manifest
        .entries
        .iter()
        .filter_map(|entry| {
            let path = root.join(Path::new(std::ffi::OsStr::from_bytes(&entry.path)));
            let why = differs(&path, &entry.kind)?;
            Some(format!("{}: {why}", path.display()))
        })
        .collect();
    match wrong.first() {
        None => Ok(()),
        Some(first) => {
            Err(format!("{} of {} entries are damaged: {first}", wrong.len(), manifest.entries.len()))
        }
    }
}

/// Why a path is not what the manifest says; none when it is.
fn differs(path: &Path, kind: &EntryKind) -> Option<String> {
    match kind {
        EntryKind::Directory => (!path.is_dir()).then(|| "no directory".into()),
        EntryKind::Symlink { target } => match fs::read_link(path) {
            Ok(link) if link.as_os_str().as_bytes() == target.as_slice() => None,
            Ok(link) => Some(format!("leads to {}", link.display())),
            Err(error) => Some(error.to_string()),
        },
        EntryKind::File { size, digest, .. } => match fs::read(path) {
            Ok(bytes) if bytes.len() as u64 != *size => Some(format!("{} bytes of {size}", bytes.len())),
            Ok(bytes) => {
                let found = Digest(<Sha256 as sha2::Digest>::digest(&bytes).into());
                (found != *digest).then(|| "another digest".into())
            }
            Err(error) => Some(error.to_string()),
        },
    }
}
