//! Pieces of work whose instructions tests/bench/run counts.
//!
//!     bench-instructions pack|diff|config PROJECT CACHE
//!
//! PROJECT is a directory with a `deploy.toml`; CACHE is made anew.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::hint::black_box;
use std::path::Path;

use rdeploy::artifact::Cache;
use rdeploy::artifact::PackRequest;
use rdeploy::artifact::pack;
use rdeploy::config;
use rdeploy::event::Events;
use rdeploy::release::Digest;
use rdeploy::release::Entry;
use rdeploy::release::EntryKind;
use rdeploy::release::Manifest;
use rdeploy::release::patch;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, project, cache] = arguments.as_slice() else {
        panic!("usage: bench-instructions pack|diff|config PROJECT CACHE")
    };
    let (project, cache) = (Path::new(project), Path::new(cache));
    match work.as_str() {
        "pack" => packs(project, cache),
        "diff" => differs(),
        "config" => loads(project),
        _ => panic!("no work is called {work}"),
    }
}

/// Packs the project into an empty cache.
fn packs(project: &Path, cache: &Path) {
    let _ = fs::remove_dir_all(cache);
    let cache = Cache::at(cache);
    let loaded = load(project);
    let build = &loaded.environments.values().next().unwrap().build;
    let request =
        PackRequest { root: project, build, linked: Vec::new(), cache: &cache, cancel: Default::default() };
    let artifact = pack(&request, &Events::ignored()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    black_box(runtime.block_on(artifact.storing.finished()).unwrap());
}

/// Reads the text forms of two manifests of 10,000 files, of which one of a hundred differs, and makes one's change.
fn differs() {
    let (old, new) = (manifest(0).to_bytes(), manifest(1).to_bytes());
    black_box(Manifest::from_bytes(&old).unwrap());
    black_box(Manifest::from_bytes(&new).unwrap());
    black_box(patch(&old, &new));
}

fn manifest(version: u8) -> Manifest {
    let entry = |number: u32| {
        let mut digest = [7; 32];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        digest[31] = if number.is_multiple_of(100) { version } else { 0 };
        Entry {
            path: format!("src/{:02}/module-{number:05}.js", number / 200).into_bytes(),
            kind: EntryKind::File { executable: false, size: u64::from(number), digest: Digest(digest) },
        }
    };
    let directories = (0..50)
        .map(|number| Entry { path: format!("src/{number:02}").into_bytes(), kind: EntryKind::Directory });
    let root = Entry { path: b"src".to_vec(), kind: EntryKind::Directory };
    let mut entries: Vec<Entry> =
        std::iter::once(root).chain(directories).chain((0..10_000).map(entry)).collect();
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Manifest { entries }
}

/// Loads the project's configuration a hundred times.
fn loads(project: &Path) {
    for _ in 0..100 {
        black_box(load(project));
    }
}

fn load(project: &Path) -> config::Project {
    config::load(None, project).unwrap_or_else(|error| panic!("{}", error.render(false)))
}
