//! Owns what the tests of this folder share: a project in a temporary directory, and looking at an
//! unpacked tree without the code under test.

use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use tokio_util::sync::CancellationToken;

use super::Artifact;
use super::Cache;
use super::PackError;
use super::PackRequest;
use super::StoreFailure;
use super::pack::full_path;
use super::tarball;
use crate::config::Build;
use crate::event::Event;
use crate::event::EventKind;
use crate::event::Events;
use crate::release::EntryKind;
use crate::release::Manifest;
use crate::testing::noise;

/// Bytes that compress a little.
pub(super) fn dull(seed: u64, size: usize) -> Vec<u8> {
    noise(seed, size).into_iter().map(|byte| byte & 0x7f).collect()
}

/// A project and a cache of its own.
pub(super) struct Project {
    dir: tempfile::TempDir,
    pub(super) build: Build,
    pub(super) linked: Vec<String>,
}

impl Project {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("app")).unwrap();
        Self { dir, build: Build { source: ".".into(), ..Build::default() }, linked: Vec::new() }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// A path beside the project.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a file and the directories above it.
    pub(super) fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(super) fn executable(&self, path: &str, content: &str) -> &Self {
        self.file(path, content).mode(path, 0o755)
    }

    pub(super) fn mode(&self, path: &str, mode: u32) -> &Self {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub(super) fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    pub(super) fn directory(&self, path: &str) -> &Self {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    pub(super) fn cache(&self) -> Cache {
        Cache::at(self.beside("cache"))
    }

    pub(super) fn pack(&self) -> Result<Artifact, PackError> {
        self.pack_into(&self.cache(), &Events::ignored())
    }

    pub(super) fn pack_into(&self, cache: &Cache, events: &Events) -> Result<Artifact, PackError> {
        let cancel = CancellationToken::new();
        let (root, linked) = (self.root(), self.linked.clone());
        let request = PackRequest { root: &root, build: &self.build, linked, cache, cancel };
        super::pack(&request, events).inspect(|artifact| drop(stored(artifact)))
    }

    /// Packs, and returns the paths in the artifact.
    pub(super) fn packed(&self) -> Vec<String> {
        paths(&self.pack().unwrap())
    }
}

/// Waits until an artifact is in the cache, or will not be; also where a test waits for other things.
pub(super) fn stored(artifact: &Artifact) -> Result<u64, StoreFailure> {
    let wait = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(artifact.storing.finished())
    };
    std::thread::scope(|scope| scope.spawn(wait).join().unwrap())
}

/// The tar of an artifact that is in the cache.
pub(super) fn tar_of(artifact: &Artifact) -> Vec<u8> {
    let mut tar = Vec::new();
    artifact.codec.reader(fs::File::open(&artifact.path).unwrap()).unwrap().read_to_end(&mut tar).unwrap();
    tar
}

/// The tar of a manifest, of files below `root`.
pub(super) fn tar_from(manifest: &Manifest, root: &Path) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in &manifest.entries {
        tar.extend(tarball::header(entry));
        if let EntryKind::File { size, .. } = entry.kind {
            tar.extend(fs::read(full_path(root, &entry.path)).unwrap());
            tar.extend(tarball::padding(size));
        }
    }
    tar.extend(tarball::END);
    tar
}

/// The paths of an artifact; directories end with a slash.
pub(super) fn paths(artifact: &Artifact) -> Vec<String> {
    let path = |entry: &crate::release::Entry| {
        let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
        String::from_utf8_lossy(&entry.path).into_owned() + slash
    };
    artifact.manifest.entries.iter().map(path).collect()
}

/// Runs something that states events, and returns the result and all of them.
pub(super) fn with_events<T>(run: impl FnOnce(&Events) -> T) -> (T, Vec<EventKind>) {
    let (events, mut receiver) = Events::channel();
    let result = run(&events);
    drop(events);
    let mut stated = Vec::new();
    while let Ok(Event { kind, .. }) = receiver.try_recv() {
        stated.push(kind);
    }
    (result, stated)
}

/// The texts of all notes.
pub(super) fn notes(stated: &[EventKind]) -> Vec<String> {
    let note = |kind: &EventKind| match kind {
        EventKind::Noted { text, .. } => Some(text.clone()),
        _ => None,
    };
    stated.iter().filter_map(note).collect()
}

/// One line for each path below `dir`, as the file system has it: what, mode, time, size, content.
pub(super) fn listing(dir: &Path) -> Vec<String> {
    fn walk(top: &Path, dir: &Path, lines: &mut Vec<(Vec<u8>, String)>) {
        for child in fs::read_dir(dir).unwrap() {
            let child = child.unwrap();
            let (path, metadata) = (child.path(), child.metadata().unwrap());
            let name = path.strip_prefix(top).unwrap();
            let shown = name.to_string_lossy();
            let mode = metadata.permissions().mode() & 0o7777;
            let line = if metadata.is_dir() {
                walk(top, &path, lines);
                format!("d {mode:o} {shown}")
            } else if metadata.is_symlink() {
                format!("l {shown} -> {}", fs::read_link(&path).unwrap().to_string_lossy())
            } else {
                let sum = Command::new("sha256sum").stdin(fs::File::open(&path).unwrap()).output().unwrap();
                let sum = String::from_utf8(sum.stdout).unwrap();
                let mtime = std::os::unix::fs::MetadataExt::mtime(&metadata);
                format!("f {mode:o} {mtime} {} {} {shown}", metadata.len(), sum.split(' ').next().unwrap())
            };
            lines.push((name.as_os_str().as_bytes().to_vec(), line));
        }
    }
    let mut lines = Vec::new();
    walk(dir, dir, &mut lines);
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The same lines made from a manifest.
pub(super) fn expected_listing(artifact: &Artifact) -> Vec<String> {
    let line = |entry: &crate::release::Entry| {
        let (shown, mode) = (String::from_utf8_lossy(&entry.path), entry.kind.mode());
        match &entry.kind {
            EntryKind::Directory => format!("d {mode:o} {shown}"),
            EntryKind::Symlink { target } => format!("l {shown} -> {}", String::from_utf8_lossy(target)),
            EntryKind::File { size, digest, .. } => {
                format!("f {mode:o} {} {size} {digest} {shown}", entry.kind.mtime())
            }
        }
    };
    artifact.manifest.entries.iter().map(line).collect()
}

/// How many files of artifacts a cache has.
pub(super) fn artifact_files(cache: &Cache) -> usize {
    let files = fs::read_dir(cache.dir()).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_none_or(|extension| extension != "hashes")).count()
}

/// Whether a program is installed; names the test's loss if not.
#[expect(clippy::print_stderr, reason = "a skipped check is named")]
pub(super) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}
