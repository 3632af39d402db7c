//! Owns an upload by the client's own rules to a host in miniature: a real artifact, and a wire that counts, and that
//! can be cut.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::parcel::Item;
use super::*;
use crate::artifact;
use crate::artifact::Artifact;
use crate::artifact::Cache;
use crate::config;
use crate::event::Events;
use crate::host::HostError;
use crate::host::Progress;
use crate::host::agent;
use crate::host::protocol::Facts;
use crate::host::settings::Attempt;
use crate::host::upload;
use crate::host::upload::Part;
use crate::host::upload::Received;
use crate::host::upload::Wire;
use crate::release::Digest;
use crate::release::Entry;
use crate::release::EntryKind;
use crate::release::Manifest;

pub(super) type Tree = BTreeMap<Vec<u8>, Item>;

/// A client's machine: a project and a cache.
pub(super) struct Client(tempfile::TempDir);

impl Client {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    /// As on another machine.
    pub(super) fn forgets(&self) {
        let _ = fs::remove_dir_all(self.cache());
    }

    /// Packs a tree; directories may be missing in it.
    pub(super) fn pack(&self, tree: &Tree) -> Artifact {
        let root = self.0.path().join("project");
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).unwrap();
        for (path, item) in tree {
            let at = root.join(OsStr::from_bytes(path));
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            match item {
                Item::Dir => fs::create_dir_all(at).unwrap(),
                Item::Link(target) => symlink(OsStr::from_bytes(target), at).unwrap(),
                Item::File(content) | Item::Program(content) => {
                    fs::write(&at, content).unwrap();
                    let mode = if matches!(item, Item::Program(_)) { 0o755 } else { 0o644 };
                    fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
                }
            }
        }
        let request = artifact::PackRequest {
            root: &root,
            build: &config::Build { source: ".".into(), ..config::Build::default() },
            linked: Vec::new(),
            cache: &Cache::at(self.cache()),
            cancel: tokio_util::sync::CancellationToken::new(),
        };
        let artifact = artifact::pack(&request, &Events::ignored()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(artifact.storing.finished()).unwrap();
        artifact
    }
}

/// The way to a host.
pub(super) struct Counting<'a> {
    rig: &'a Rig,
    run: String,
    /// After so many bytes it is cut.
    cut: Option<u64>,
    sent: AtomicU64,
    rounds: AtomicUsize,
}

impl Wire for Counting<'_> {
    async fn receive(
        &self,
        args: &[String],
        parts: &[Part],
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Received, HostError> {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let line = agent::beside(&self.run, "receive", &args).to_string();
        let mut command = self.rig.command(&line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut sent = 0;
        let mut is_cut = false;
        for part in parts {
            let mut offset = 0;
            loop {
                let chunk = part.chunk(offset).await.unwrap();
                let before = self.sent.load(Ordering::Relaxed);
                let room = self.cut.map_or(u64::MAX, |cut| cut - before).min(chunk.len() as u64);
                is_cut |= room < chunk.len() as u64;
                // What refuses its input is judged by its exit code.
                let _ = stdin.write_all(&chunk[..room as usize]);
                self.sent.fetch_add(room, Ordering::Relaxed);
                offset += chunk.len() as u64;
                sent += room;
                if chunk.is_empty() || is_cut {
                    break;
                }
                progress(sent);
            }
        }
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let code = output.status.code().map(|code| code.try_into().unwrap());
        match upload::answer(code, &text) {
            Some(received) if !is_cut => Ok(received),
            _ => {
                let output = text + &String::from_utf8_lossy(&output.stderr);
                let reason = output.lines().next().unwrap_or_default().to_owned();
                Err(HostError::Refused { reason, output })
            }
        }
    }
}

/// What an upload came to.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) result: Result<(), HostError>,
    pub(super) bytes: u64,
    pub(super) rounds: usize,
    /// What was planned last: files, bytes, whether it was resumed.
    pub(super) plan: Option<(usize, u64, bool)>,
}

/// Begins an attempt, and uploads the artifact by what the host says of itself.
pub(super) fn upload<'a>(
    rig: &'a Rig,
    token: &str,
    release: &str,
    artifact: &Artifact,
    cut: Option<u64>,
) -> (Guardian<'a>, Sent) {
    let mut guardian = Guardian::start(rig, rig.settings(token));
    let mut facts = Facts::default();
    guardian.ask("lock").ok().into_iter().for_each(|say| facts.take(say));
    if rig.has_zstd() {
        facts.values.insert("zstd".into(), "yes".into());
    }
    let attempt = Attempt {
        digest: artifact.digest.to_string(),
        ..Attempt::new(release.parse().unwrap(), facts.current.as_deref())
    };
    guardian.begin(&attempt);
    let wire = Counting {
        rig,
        run: guardian.settings.run(),
        cut,
        sent: AtomicU64::new(0),
        rounds: AtomicUsize::new(0),
    };
    let plan = Mutex::new(None);
    let progress = |progress| {
        if let Progress::Planned { files, bytes, resumed, .. } = progress {
            *plan.lock().unwrap() = Some((files, bytes, resumed));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let result = runtime.block_on(upload::upload(&wire, artifact, &facts, &progress));
    let (bytes, rounds) = (wire.sent.into_inner(), wire.rounds.into_inner());
    (guardian, Sent { result, bytes, rounds, plan: plan.into_inner().unwrap() })
}

/// A whole deploy; what is live then is the artifact, to the byte.
pub(super) fn deploy(rig: &Rig, token: &str, release: &str, artifact: &Artifact) -> Sent {
    let (mut guardian, sent) = upload(rig, token, release, artifact, None);
    assert!(sent.result.is_ok(), "{:?}", sent.result);
    for action in ["prepare", "ready", "activate", "commit", "finish"] {
        guardian.act(action);
    }
    guardian.bye();
    assert_eq!(rig.live().as_deref(), Some(release));
    is_unpacked(&rig.root().join("current").canonicalize().unwrap(), &artifact.manifest);
    sent
}

/// Whether a directory is what a full unpacking makes of an artifact with that manifest.
pub(super) fn is_unpacked(dir: &Path, manifest: &Manifest) {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(at) = waiting.pop() {
        for file in fs::read_dir(&at).unwrap().flatten() {
            let path = file.path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let kind = if meta.is_symlink() {
                EntryKind::Symlink { target: fs::read_link(&path).unwrap().into_os_string().into_vec() }
            } else if meta.is_dir() {
                waiting.push(path.clone());
                EntryKind::Directory
            } else {
                assert!(meta.is_file() && meta.nlink() == 1, "{} is no file of its own", path.display());
                let digest = Digest::of(fs::read(&path).unwrap());
                EntryKind::File { executable: meta.mode() & 0o100 != 0, size: meta.len(), digest }
            };
            if !meta.is_symlink() {
                assert_eq!(meta.mode() & 0o7777, kind.mode(), "{}", path.display());
            }
            if meta.is_file() {
                assert_eq!(meta.mtime(), kind.mtime().cast_signed(), "{}", path.display());
            }
            let path = path.strip_prefix(dir).unwrap().as_os_str().as_bytes().to_vec();
            found.push(Entry { path, kind });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(found, manifest.entries);
}
