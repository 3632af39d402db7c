//! Cutting the power at random moments of deploys, one after the other on one host: each deploy begins on
//! what the cut of the one before has left.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;
use std::time::Instant;

use super::disk;
use super::host::FileSystem;
use super::host::Host;
use super::room;
use crate::support::fleet::note;
use crate::support::full;
use crate::support::project::Tree;
use crate::support::project::eventually;
use crate::support::project::names_in;
use crate::support::running::Running;

/// How many files a release has beside its page.
const FILES: usize = 150;

/// What is waited for before the power is cut; then comes a short time that nobody can foretell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Locked,
    Uploading,
    Unpacked,
    Ready,
    Switched,
    Started,
    Committed,
    Finished,
}

const MOMENTS: [Moment; 8] = [
    Moment::Locked,
    Moment::Uploading,
    Moment::Unpacked,
    Moment::Ready,
    Moment::Switched,
    Moment::Started,
    Moment::Committed,
    Moment::Finished,
];

/// How a host's tree stood before a deploy.
struct Before {
    live: Option<String>,
    releases: usize,
    lines: usize,
    uploads: Vec<String>,
}

impl Before {
    fn of(tree: &Tree) -> Self {
        Self {
            live: tree.live(),
            releases: tree.releases().len(),
            lines: history(tree),
            uploads: uploads(tree),
        }
    }
}

impl Moment {
    fn is_there(self, tree: &Tree, before: &Before) -> bool {
        match self {
            Self::Locked => tree.is_locked(),
            Self::Uploading => uploads(tree) != before.uploads,
            Self::Unpacked => tree.releases().len() > before.releases,
            Self::Ready => journaled(tree, "prepared"),
            Self::Switched => tree.live() != before.live,
            Self::Started => journaled(tree, "starting"),
            Self::Committed => journaled(tree, "committed"),
            Self::Finished => history(tree) > before.lines,
        }
    }
}

/// Whether an attempt has noted that step.
fn journaled(tree: &Tree, step: &str) -> bool {
    let runs = tree.root.join(".rdeploy/run");
    names_in(&runs).iter().any(|run| {
        let journal = fs::read_to_string(runs.join(run).join("journal")).unwrap_or_default();
        journal.lines().any(|line| line.trim_end() == step)
    })
}

/// What arrives, or was left when it was cut off.
fn uploads(tree: &Tree) -> Vec<String> {
    let incoming = tree.root.join(".rdeploy/incoming");
    names_in(&incoming).iter().flat_map(|digest| names_in(&incoming.join(digest))).collect()
}

fn history(tree: &Tree) -> usize {
    fs::read_to_string(tree.root.join(".rdeploy/history.ndjson")).unwrap_or_default().lines().count()
}

/// Waits for a moment of a run, or for its end, and then for up to `most` more.
fn wait_for(moment: Moment, host: &Host, before: &Before, running: &mut Running, most: Duration) {
    eventually(&format!("{moment:?}"), || moment.is_there(&host.tree, before) || running.has_ended());
    let most = usize::try_from(most.as_micros()).unwrap();
    std::thread::sleep(Duration::from_micros(full::below(most + 1) as u64));
}

/// The page and the rest of version `n`: a third of its files are new with it, the others stay as they are
/// and may be taken from the release before.
fn write_version(host: &Host, n: u32) {
    host.project.version(n);
    for file in (0..FILES).filter(|file| n == 1 || file % 3 == n as usize % 3) {
        let mut state = u64::from(n) << 32 | file as u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()[7]
        })
        .take(16 << 10)
        .collect();
        host.project.write(&format!("public/{}/{file}", file % 10), bytes);
    }
}

/// What is known of the host in the course of its life.
#[derive(Default)]
struct Life {
    /// The versions of the releases that were seen live.
    versions: BTreeMap<String, u32>,
    /// What was committed last: nothing but the release of a later attempt may take its place.
    committed: Option<String>,
    found: BTreeMap<&'static str, usize>,
}

impl Life {
    /// Judges what the disk holds after a cut during the deploy of version `n`.
    fn judge(&mut self, host: &Host, n: u32, before: &Before) -> Result<(), String> {
        let tree = &host.tree;
        // What can be gone back to has to be whole, too.
        if let Some(committed) = &self.committed {
            self.version(tree, committed)?;
        }
        let live = tree.live();
        let old = live == before.live || live == self.committed;
        match &live {
            None if self.committed.is_some() => return Err("`current` is gone".into()),
            None => {}
            Some(id) => {
                let version = self.version(tree, id)?;
                let expected = self.versions.get(id).copied().unwrap_or(n);
                if version != expected {
                    return Err(format!("release {id} is version {version}, not {expected}"));
                }
                if !old && expected != n {
                    return Err(format!("`current` leads to {id}, which is neither old nor new"));
                }
                self.versions.insert(id.clone(), version);
            }
        }
        *self.found.entry(if old { "old" } else { "new" }).or_default() += 1;
        let runs = tree.root.join(".rdeploy/run");
        let open = names_in(&runs).iter().any(|run| runs.join(run).join("attempt").exists());
        if !open || journaled(tree, "committed") {
            self.committed = live;
        }
        Ok(())
    }

    /// The version that a release is, which has to be whole.
    fn version(&self, tree: &Tree, release: &str) -> Result<u32, String> {
        disk::damage(tree, release, FILES + 1)?;
        let page = tree.read(&format!("releases/{release}/public/index.html"));
        page.trim().trim_start_matches("version ").parse().map_err(|_| format!("what is {page:?}?"))
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |what| self.found.get(what).copied().unwrap_or_default();
        write!(f, "{} times the old release, {} times the new one", count("old"), count("new"))
    }
}

/// Cuts the power again and again; a third of the time just after the switch.
fn the_power_goes_off_again_and_again(file_system: FileSystem) {
    let cuts = full::times(3, 60);
    let mut host = Host::new(file_system);
    let mut life = Life::default();
    let mut n = 1;
    write_version(&host, n);
    host.project.rdeploy(&["dev"]).run().ends_with(0);
    life.committed = host.tree.live();
    life.versions.extend(host.tree.live().map(|id| (id, n)));
    for cut in 0..cuts {
        let fresh = cut % 10 == 2;
        if fresh {
            host.replace_disk();
            life.committed = None;
            // Within the same second, the new disk's releases can have the names of the old one's.
            life.versions.clear();
        }
        n += 1;
        write_version(&host, n);
        let (moment, most) = if cut % 3 == 0 {
            (Moment::Switched, Duration::from_millis(3))
        } else {
            (MOMENTS[full::below(MOMENTS.len())], Duration::from_millis(80))
        };
        let before = Before::of(&host.tree);
        let mut running = host.project.rdeploy(&["dev"]).start();
        wait_for(moment, &host, &before, &mut running, most);
        let insisted = full::below(2) == 0;
        if insisted {
            host.neighbour_insists();
        }
        // Late enough, it is just any moment after a deploy.
        let ended = running.has_ended();
        host.cut_power();
        if ended {
            running.wait().ends_with(0);
        } else {
            drop(running);
        }
        let context = format!("cut {cut}, {moment:?}, fresh: {fresh}, neighbour: {insisted}");
        life.judge(&host, n, &before).unwrap_or_else(|damage| panic!("{context}: {damage}"));
    }
    // However it was left, the next deploy settles it.
    n += 1;
    write_version(&host, n);
    host.project.rdeploy(&["dev"]).run().ends_with(0);
    assert_eq!(host.tree.read("current/public/index.html"), format!("version {n}\n"));
    assert!(!host.tree.is_locked());
    note(&format!("{cuts} power cuts on {file_system:?}, a third of them just after the switch: {life}"));
}

#[test]
fn a_power_cut_leaves_the_old_release_or_the_new_one_whole_on_ext4() {
    room::alone("power::cuts::a_power_cut_leaves_the_old_release_or_the_new_one_whole_on_ext4", || {
        the_power_goes_off_again_and_again(FileSystem::Ext4);
    });
}

#[test]
fn a_power_cut_leaves_the_old_release_or_the_new_one_whole_on_xfs() {
    room::alone("power::cuts::a_power_cut_leaves_the_old_release_or_the_new_one_whole_on_xfs", || {
        the_power_goes_off_again_and_again(FileSystem::Xfs);
    });
}

/// The same with a host whose `sync` does nothing, which has to be seen.
fn without_the_sync_it_is_damaged(file_system: FileSystem) {
    let mut host = Host::new(file_system);
    write_version(&host, 1);
    host.project.tool("sync", "exit 0");
    host.configure("");
    let began = Instant::now();
    let mut intact = 0;
    let mut n = 1;
    // Somebody else on this machine may sync everything, now and then or all the time for a while.
    while intact < 5 || began.elapsed() < Duration::from_secs(60) {
        host.project.rdeploy(&["dev"]).run().ends_with(0);
        let old = host.tree.live();
        // What a file system clones from the release before is on the disk by that.
        n += 1;
        write_version(&host, n);
        let mut running = host.project.rdeploy(&["dev"]).start();
        running.until("the host to be switched", || host.tree.live() != old);
        // The switch is on the disk with what the file system notes, and the release behind it is not.
        host.neighbour_insists();
        host.cut_power();
        drop(running);
        let live = host.tree.live();
        assert_ne!(live, old, "the neighbour insisted after the switch");
        match live.map(|id| disk::damage(&host.tree, &id, FILES + 1)) {
            Some(Err(damage)) => return note(&format!("without the sync, on {file_system:?}: {damage}")),
            _ => intact += 1,
        }
        host.replace_disk();
    }
    panic!("{intact} power cuts without the sync damaged nothing: the test cannot see that it is missing");
}

#[test]
fn without_the_sync_a_power_cut_damages_the_release_on_ext4() {
    room::alone("power::cuts::without_the_sync_a_power_cut_damages_the_release_on_ext4", || {
        without_the_sync_it_is_damaged(FileSystem::Ext4);
    });
}

#[test]
fn without_the_sync_a_power_cut_damages_the_release_on_xfs() {
    room::alone("power::cuts::without_the_sync_a_power_cut_damages_the_release_on_xfs", || {
        without_the_sync_it_is_damaged(FileSystem::Xfs);
    });
}
