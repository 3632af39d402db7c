//! Owns a fleet to which anything may happen, and beside it a small model of what has to stand there
//! afterwards, whatever did: one release live on all hosts, each release in its state, the lock free.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use rustix::process::Pid;
use rustix::process::Signal;

use crate::support::full;
use crate::support::listed::Listed;
use crate::support::project::Project;
use crate::support::project::Tree;
use crate::support::project::eventually;
use crate::support::project::names_in;
use crate::support::project::write_program;
use crate::support::running::Running;

const HOSTS: u8 = 3;

/// A point at which a run can be stopped: its hook waits, or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    AfterUnpack,
    BeforeSwitch,
    AfterSwitch,
    /// After the commit, also that of a rollback.
    After,
}

impl Point {
    fn name(self) -> &'static str {
        match self {
            Self::AfterUnpack => "after_unpack",
            Self::BeforeSwitch => "before_switch",
            Self::AfterSwitch => "after_switch",
            Self::After => "after",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Deploy,
    Rollback,
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Client,
    /// The guardian of that host.
    Guardian(u8),
    Both(u8),
}

/// What may happen to a run.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Well,
    /// The hook of that host fails.
    Fails(Point, u8),
    Killed(Point, Victim),
}

fn point() -> impl Strategy<Value = Point> {
    prop::sample::select(vec![Point::AfterUnpack, Point::BeforeSwitch, Point::AfterSwitch, Point::After])
}

fn victim() -> impl Strategy<Value = Victim> {
    prop_oneof![
        Just(Victim::Client),
        (1..=HOSTS).prop_map(Victim::Guardian),
        (1..=HOSTS).prop_map(Victim::Both),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        2 => Just(Fate::Well),
        1 => (point(), 1..=HOSTS).prop_map(|(point, host)| Fate::Fails(point, host)),
        3 => (point(), victim()).prop_map(|(point, victim)| Fate::Killed(point, victim)),
    ]
}

fn verb() -> impl Strategy<Value = Verb> {
    prop_oneof![2 => Just(Verb::Deploy), 1 => Just(Verb::Rollback)]
}

/// What has to stand on every host.
#[derive(Clone, Debug, Default)]
struct Model {
    live: Option<String>,
    releases: BTreeMap<String, Release>,
}

#[derive(Clone, Debug)]
struct Release {
    state: &'static str,
    previous: Option<String>,
}

impl Model {
    fn is_good(&self, id: &str) -> bool {
        self.releases.get(id).is_some_and(|release| release.state == "good")
    }

    /// What a rollback goes to.
    fn before(&self) -> Option<String> {
        let live = self.live.as_ref()?;
        let mut at = self.releases[live].previous.clone();
        while let Some(id) = at.filter(|id| self.releases.contains_key(id)) {
            if self.is_good(&id) {
                return Some(id);
            }
            at = self.releases[&id].previous.clone();
        }
        self.releases.keys().rfind(|id| *id < live && self.is_good(id)).cloned()
    }

    fn deployed(&mut self, id: String) {
        self.releases.insert(id.clone(), Release { state: "good", previous: self.live.replace(id) });
    }

    /// One failed release stays, for whoever looks into it.
    fn failed(&mut self, id: String) {
        self.releases.retain(|_, release| release.state != "failed");
        self.releases.insert(id, Release { state: "failed", previous: None });
    }

    fn went_back(&mut self, target: String) {
        let left = self.live.replace(target.clone()).unwrap();
        if target < left {
            self.releases.get_mut(&left).unwrap().state = "bad";
        }
    }

    /// Releases and states as they have to be, without those older than every good one, which a clean-up
    /// removes, and a guardian that ends a dead client's run leaves.
    fn states(&self, all: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
        let oldest = self.releases.keys().find(|id| self.is_good(id));
        all.filter(|(id, _)| oldest.is_none_or(|oldest| id >= oldest)).collect()
    }

    /// Proves that a host stands so.
    fn is_on(&self, tree: &Tree) {
        assert_eq!(tree.live(), self.live, "what is live in {}", tree.root.display());
        let expected = self.releases.iter().map(|(id, release)| (id.clone(), release.state.to_owned()));
        let found = tree.releases().into_iter().map(|id| (id.clone(), tree.state(&id)));
        assert_eq!(self.states(found), self.states(expected), "releases in {}", tree.root.display());
        tree.is_clean();
    }
}

struct World {
    project: Project,
    listed: Listed,
    /// Where hooks find out what to do, and say that they are there.
    signs: PathBuf,
    model: Model,
    /// The host on which the next run has something to settle: its guardian is dead, and nobody took over.
    open: Option<u8>,
    runs: u32,
}

/// What a hook does: it fails, or says that it is there and waits to be let go. It fails when
/// every host is there, so that each has got as far; it waits once a run: what follows a switch follows its
/// undoing, too, perhaps during the next run, whose signs are none of its business.
const HOOK: &str = "[ \"$1\" != after_switch ] || [ \"$(readlink ../../current)\" = \"$(pwd)\" ] || exit 0\n\
    cd \"${0%/*}\" || exit\n\
    set -- \"$1\" \"fail-$1-\"*\n\
    [ ! -e \"$2\" ] || echo here >\"at-$RDEPLOY_HOST\"\n\
    if [ -e \"fail-$1-$RDEPLOY_HOST\" ]; then\n\
    until set -- at-* && [ $# -ge @HOSTS ]; do sleep 0.1; done\n\
    exit 7\n\
    fi\n\
    read -r run 2>/dev/null <\"stop-$1\" || exit 0\n\
    [ ! -e \"at-$RDEPLOY_HOST\" ] || exit 0\n\
    echo here >\"at-$RDEPLOY_HOST\"\n\
    until [ -e \"go-$run\" ]; do sleep 0.1; done";

impl World {
    fn new() -> Self {
        let project = Project::new();
        let listed = Listed::start(&project, HOSTS);
        let signs = project.beside("signs");
        fs::create_dir(&signs).unwrap();
        write_program(&signs.join("hook"), &HOOK.replace("@HOSTS", &HOSTS.to_string()));
        let hook = |point: Point, on: &str| {
            format!("[{{ run = \"{}/hook {}\"{on} }}]", signs.display(), point.name())
        };
        let both = ", on = [\"deploy\", \"rollback\"]";
        project.configure(&listed.files(&format!(
            "keep_releases = 50\n[hooks]\nafter_unpack = {}\nbefore_switch = {}\n\
             after_switch = {}\nafter_deploy = {after}\nafter_rollback = {after}\n",
            hook(Point::AfterUnpack, ""),
            hook(Point::BeforeSwitch, both),
            hook(Point::AfterSwitch, both),
            after = hook(Point::After, ""),
        )));
        Self { project, listed, signs, model: Model::default(), open: None, runs: 0 }
    }

    /// One run, what becomes of it, and the proof that the hosts stand as the model says.
    fn goes(&mut self, verb: Verb, fate: Fate) {
        // A rollback needs hosts that agree on what was before; a deploy settles what is open.
        let verb = if self.open.is_some() { Verb::Deploy } else { verb };
        let target = self.model.before();
        let nowhere = verb == Verb::Rollback && target.is_none();
        let fate = match fate {
            _ if nowhere => Fate::Well,
            // Nothing is unpacked.
            Fate::Fails(Point::AfterUnpack, _) | Fate::Killed(Point::AfterUnpack, _)
                if verb == Verb::Rollback =>
            {
                Fate::Well
            }
            fate => fate,
        };
        let mut running = self.start(verb, fate);
        let client_lives = match fate {
            Fate::Killed(point, victim) => {
                running.until("every host to be at its hook", || self.at_hook() == usize::from(HOSTS));
                self.kills(point, victim, &mut running)
            }
            Fate::Well | Fate::Fails(..) => true,
        };
        let committed =
            matches!(fate, Fate::Well | Fate::Fails(Point::After, _) | Fate::Killed(Point::After, _));
        if client_lives {
            running.wait().ends_with(if nowhere {
                3
            } else if committed {
                0
            } else {
                5
            });
        }
        let newest = self.listed.tree(1).releases().pop();
        match (verb, committed) {
            _ if nowhere => {}
            (Verb::Deploy, true) => self.model.deployed(newest.unwrap()),
            (Verb::Deploy, false) => self.model.failed(newest.unwrap()),
            (Verb::Rollback, true) => self.model.went_back(target.unwrap()),
            (Verb::Rollback, false) => {}
        }
        self.open = match fate {
            // After the commit nothing has to be put back, so nobody takes over.
            Fate::Killed(_, Victim::Both(host)) | Fate::Killed(Point::After, Victim::Guardian(host)) => {
                Some(host)
            }
            _ => None,
        };
        for host in (1..=HOSTS).filter(|host| Some(*host) != self.open) {
            let tree = self.listed.tree(host.into());
            eventually("the lock to be free", || !tree.is_locked());
            self.model.is_on(&tree);
        }
    }

    fn start(&mut self, verb: Verb, fate: Fate) -> Running {
        self.runs += 1;
        self.project.version(self.runs);
        let past = |name: &String| ["fail-", "stop-", "at-"].iter().any(|sign| name.starts_with(sign));
        for sign in names_in(&self.signs).into_iter().filter(past) {
            fs::remove_file(self.signs.join(sign)).unwrap();
        }
        let sign = |name: String| fs::write(self.signs.join(name), format!("{}\n", self.runs)).unwrap();
        match fate {
            Fate::Fails(point, host) => {
                sign(format!("fail-{}-{}", point.name(), self.listed.name(host.into())));
            }
            Fate::Killed(point, _) => sign(format!("stop-{}", point.name())),
            Fate::Well => {}
        }
        let args: &[&str] = match verb {
            Verb::Deploy => &["prod"],
            Verb::Rollback => &["prod", "--rollback"],
        };
        self.project.rdeploy(args).start()
    }

    fn at_hook(&self) -> usize {
        names_in(&self.signs).iter().filter(|name| name.starts_with("at-")).count()
    }

    /// Kills; says whether the client lives. What is committed lets its hooks end; before, they have to be
    /// ended.
    fn kills(&self, point: Point, victim: Victim, running: &mut Running) -> bool {
        if let Victim::Guardian(host) | Victim::Both(host) = victim {
            let lock = self.listed.tree(host.into()).read(".rdeploy/lock");
            let pid = lock.lines().find_map(|line| line.strip_prefix("pid=")).unwrap().parse().unwrap();
            rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        }
        let client_lives = matches!(victim, Victim::Guardian(_));
        if !client_lives {
            running.signal(Signal::KILL);
        }
        if point == Point::After {
            fs::write(self.signs.join(format!("go-{}", self.runs)), "").unwrap();
        }
        client_lives
    }
}

#[test]
fn a_guardian_that_dies_during_a_hook_is_noticed_at_once() {
    let mut world = World::new();
    world.goes(Verb::Deploy, Fate::Well);
    for point in [Point::AfterUnpack, Point::AfterSwitch] {
        // Its hook would wait for ten minutes.
        world.goes(Verb::Deploy, Fate::Killed(point, Victim::Guardian(2)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(full::times(2, 40)).unwrap(),
        max_shrink_iters: 8,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_to_runs_the_hosts_stand_as_the_model_says(
        runs in prop::collection::vec((verb(), fate()), 3..9),
    ) {
        let mut world = World::new();
        for (verb, fate) in runs {
            world.goes(verb, fate);
        }
        world.goes(Verb::Deploy, Fate::Well);
    }
}
