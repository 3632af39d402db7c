//! Owns a project, three hosts that it is deployed to, and the faults that can be made to strike there.
//! What the hosts serve is a word in a file: what `start` found live, gone after `stop`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;

use super::hosts;
use super::hosts::HOSTS;
use super::hosts::Hosts;
use super::hosts::Shell;
use crate::support::project::DEPLOY_TO;
use crate::support::project::PATIENCE;
use crate::support::project::Project;
use crate::support::project::Tree;
use crate::support::project::eventually;
use crate::support::project::names_in;
use crate::support::project::processes_of;
use crate::support::running::Running;

/// How long a switched host waits for a client that says nothing, where one is going to say nothing.
pub(super) const LEASE: Duration = Duration::from_secs(2);

/// A lease that no busy machine outlasts, where nobody falls silent.
pub(super) const CALM: Duration = Duration::from_secs(60);

/// Three hosts with the same project on them.
pub(super) struct Site {
    // In this order: hosts end before the directory they are in is looked at for processes.
    hosts: Hosts,
    disks: Vec<Disk>,
    dir: PathBuf,
    project: Project,
}

/// A small file system that is a host's `deploy_to`.
struct Disk(PathBuf);

/// What one host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// What `current` leads to.
    pub(super) live: Option<String>,
    /// What was started, and not stopped since.
    pub(super) serves: Option<String>,
}

impl Site {
    /// Hosts that run a first release and have a second one live.
    pub(super) fn new(shell: Shell) -> Self {
        let project = Project::new();
        let dir = project.beside("hosts");
        fs::create_dir(&dir).unwrap();
        let mut disks = Vec::new();
        for n in 1..=HOSTS {
            disks.extend(Disk::mount(&hosts::tree(&dir, n)));
        }
        let hosts = Hosts::start(&dir, shell);
        project.write("public/index.html", "a page\n");
        let site = Self { hosts, disks, dir, project };
        site.deploys();
        site.deploys();
        site
    }

    /// Lets the agents of all hosts lack a function.
    pub(super) fn cuts_out(&self, function: &str) {
        hosts::cut_out(&self.dir, Some(function));
    }

    /// Whether the hosts have disks that can be filled.
    pub(super) fn has_disks(&self) -> bool {
        self.disks.len() == HOSTS
    }

    /// Writes `deploy.toml`: with a short lease where somebody is going to be silent, with more hooks, and
    /// with more keys of the environment.
    pub(super) fn configure(&self, lease: Duration, after_switch: &str, more: &str) {
        let hooks = format!(
            r#"[hooks]
after_unpack  = [{{ run = 'echo x >"$HOME/unpacked"', undo = 'rm -f "$HOME/unpacked"' }}]
after_deploy  = ['rm -f "$HOME/unpacked"']
before_switch = [{{ run = 'echo x >"$HOME/drained"', undo = 'rm -f "$HOME/drained"', on = ["deploy", "rollback"] }}]
after_switch  = [{{ run = 'rm -f "$HOME/drained"', on = ["deploy", "rollback"] }}{after_switch}]
"#
        );
        self.write(lease, &hooks, &format!("{}{more}", self.hosts.config(false)));
    }

    /// The same for the first host alone, without hooks: it is told everything ahead.
    pub(super) fn configure_alone(&self, lease: Duration) {
        self.write(lease, "", &self.hosts.config(true));
    }

    fn write(&self, lease: Duration, hooks: &str, hosts: &str) {
        let lease = lease.as_secs();
        self.project.configure(&format!(
            r#"app           = "shop"
deploy_to     = "{DEPLOY_TO}"
keep_releases = 2
lease         = "{lease}s"

[supervisor]
kind   = "command"
settle = "0s"
start  = 'basename "$(pwd -P)" >"$HOME/serves"'
stop   = 'rm "$HOME/serves"'
status = '[ -s "$HOME/serves" ]'

{hooks}
{hosts}
"#
        ));
    }

    /// Starts a deploy, or going back.
    pub(super) fn start(&self, arguments: &[&str]) -> Running {
        self.project.rdeploy(&[&["prod"], arguments].concat()).start()
    }

    /// Deploys with nothing in the way; everything has to be as after any deploy. Returns what it said.
    pub(super) fn deploys(&self) -> String {
        self.configure(CALM, "", "");
        let ended = self.start(&[]).wait();
        let said = format!("{ended}");
        assert_eq!(ended.code, Some(0), "a deploy after it\n{said}");
        let now = self.standing();
        assert!(now[0].live.is_some() && now.iter().all(|host| *host == now[0]), "{now:?}\n{said}");
        assert_eq!(now[0].live, now[0].serves, "{said}");
        (1..=HOSTS).for_each(|n| self.is_clean_on(n));
        self.settles();
        said
    }

    /// A hook that fails on the host in the middle, when all others have run theirs.
    pub(super) fn fails_in_the_middle(&self) -> String {
        let dir = self.dir.display();
        format!(
            r#", {{ run = "echo x >{dir}/gate-$RDEPLOY_ROLES", roles = ["h1", "h3"] }}, {{ run = "until [ -e {dir}/gate-h1 ] && [ -e {dir}/gate-h3 ]; do sleep 0.02; done; exit 1", roles = ["h2"] }}"#
        )
    }

    /// A hook that does not end before the gate is opened.
    pub(super) fn waits_everywhere(&self) -> String {
        let dir = self.dir.display();
        format!(
            r#", {{ run = "[ -e {dir}/gate-open ] || {{ echo x >{dir}/gate-$RDEPLOY_ROLES; sleep 600; }}" }}"#
        )
    }

    /// From now on that hook does nothing.
    pub(super) fn opens_the_gate(&self) {
        fs::write(self.dir.join("gate-open"), "").unwrap();
    }

    /// Whether that hook runs on every host.
    pub(super) fn waits_at_the_gate(&self) -> bool {
        (1..=HOSTS).all(|n| self.gate(n).exists())
    }

    fn gate(&self, n: usize) -> PathBuf {
        self.dir.join(format!("gate-h{n}"))
    }

    fn tree(&self, n: usize) -> Tree {
        Tree { root: hosts::tree(&self.dir, n), port: None }
    }

    fn home(&self, n: usize) -> PathBuf {
        self.dir.join(format!("host{n}/home"))
    }

    /// What each host has.
    pub(super) fn standing(&self) -> Vec<Standing> {
        let of = |n| Standing {
            live: self.tree(n).live(),
            serves: fs::read_to_string(self.home(n).join("serves")).ok().map(|text| text.trim().to_owned()),
        };
        (1..=HOSTS).map(of).collect()
    }

    /// Whether host `n` is out of service: a hook ran that was neither followed by the one that ends it, nor
    /// undone.
    pub(super) fn is_drained(&self, n: usize) -> bool {
        self.home(n).join("drained").exists()
    }

    /// Whether a hook of an attempt ran on host `n` that was not undone, and whose release was not committed.
    pub(super) fn is_unpacked(&self, n: usize) -> bool {
        self.home(n).join("unpacked").exists()
    }

    // --- faults ------------------------------------------------------------------------------------

    fn fault(&self, n: usize, name: &str) -> PathBuf {
        hosts::faults(&self.dir, n).join(name)
    }

    /// From now on every host notes the places that it comes by.
    pub(super) fn record(&self) {
        (1..=HOSTS).for_each(|n| fs::write(self.fault(n, "record"), "").unwrap());
    }

    /// The places that host `n` came by since, each once, in order.
    pub(super) fn recorded(&self, n: usize) -> Vec<String> {
        let mut places: Vec<String> = Vec::new();
        for place in fs::read_to_string(self.fault(n, "record")).unwrap().lines() {
            if !places.iter().any(|known| known == place) {
                places.push(place.to_owned());
            }
        }
        places
    }

    /// Host `n` will wait at that place, once.
    pub(super) fn arm(&self, n: usize, place: &str) {
        fs::write(self.fault(n, "armed"), format!("{place}\n")).unwrap();
    }

    /// Whether host `n` waits there, or has waited.
    pub(super) fn fired(&self, n: usize) -> bool {
        self.fault(n, "fired/pid").exists()
    }

    /// Lets host `n` go on.
    pub(super) fn go_on(&self, n: usize) {
        fs::write(self.fault(n, "go"), "").unwrap();
    }

    /// Lets host `n` go on, and what it was about to do fail.
    pub(super) fn fail(&self, n: usize) {
        fs::write(self.fault(n, "fails"), "").unwrap();
        self.go_on(n);
    }

    /// Ends whatever guards host `n`. Its own shell waits where its place says so; else the lock names it.
    pub(super) fn kill_guardian(&self, n: usize, place: &str) {
        let pid = if place.starts_with("guardian: ") {
            eventually("the guardian's number", || !self.waiting(n).is_empty());
            self.waiting(n).parse().unwrap()
        } else {
            self.guardian(n).unwrap()
        };
        let _ = rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        eventually("the guardian's death", || !runs(pid));
    }

    fn waiting(&self, n: usize) -> String {
        fs::read_to_string(self.fault(n, "fired/pid")).unwrap_or_default().trim().to_owned()
    }

    /// The lock of host `n`. It may be freed at any moment.
    fn lock(&self, n: usize) -> Option<String> {
        fs::read_to_string(self.tree(n).root.join(".rdeploy/lock")).ok()
    }

    /// The process that the lock of host `n` names.
    fn guardian(&self, n: usize) -> Option<i32> {
        owner(&self.lock(n)?)
    }

    /// Whether host `n` has a lock whose owner lives.
    pub(super) fn is_guarded(&self, n: usize) -> bool {
        self.guardian(n).is_some_and(runs)
    }

    /// Whether host `n` has the lock of an owner that is dead, so that nobody will free it.
    pub(super) fn is_orphaned(&self, n: usize) -> bool {
        let lock = self.lock(n);
        lock.as_deref().and_then(owner).is_some_and(|pid| !runs(pid)) && self.lock(n) == lock
    }

    /// Resets the connection of host `n`.
    pub(super) fn cut(&self, n: usize) {
        self.hosts.wire(n).cut();
    }

    /// Takes the cable of host `n` out until it has given its client up, then resets the connection.
    pub(super) fn hang(&self, n: usize) {
        self.hosts.wire(n).hang();
        self.go_on(n);
        let began = Instant::now();
        eventually("a host to give its silent client up", || {
            began.elapsed() > LEASE + Duration::from_secs(1) && !self.is_guarded(n)
        });
        self.cut(n);
    }

    /// Leaves not a byte on the disk of host `n`.
    pub(super) fn fill(&self, n: usize) {
        let mut file = fs::File::create(self.tree(n).root.join("shared/beans")).unwrap();
        for size in [65536, 4096, 512, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }

    /// Takes every fault back.
    pub(super) fn heal(&self) {
        for n in 1..=HOSTS {
            self.go_on(n);
            self.hosts.wire(n).cut();
            let _ = fs::remove_file(self.tree(n).root.join("shared/beans"));
        }
    }

    /// Forgets what struck.
    pub(super) fn forget(&self) {
        for n in 1..=HOSTS {
            for name in names_in(&self.fault(n, "")) {
                let path = self.fault(n, &name);
                let _ = fs::remove_file(&path);
                let _ = fs::remove_dir_all(&path);
            }
            let _ = fs::remove_file(self.gate(n));
            let _ = fs::remove_file(self.home(n).join("drained"));
            let _ = fs::remove_file(self.home(n).join("unpacked"));
        }
        let _ = fs::remove_file(self.dir.join("gate-open"));
    }

    // --- what is left ------------------------------------------------------------------------------

    /// Waits until every guardian has ended, also one that had no lock yet, and nothing of an attempt runs any more.
    /// Where a guardian died and nobody has taken over yet, what it had started may run until somebody does.
    pub(super) fn settles(&self) {
        let mut left = Vec::new();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            // In this order: an owner that dies in between is then looked at again.
            let guarded = (1..=HOSTS).any(|n| self.is_guarded(n));
            left = (1..=HOSTS).filter(|n| !self.is_orphaned(*n)).flat_map(|n| self.running(n)).collect();
            if left.is_empty() && !guarded {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("these are left running: {left:#?}");
    }

    /// What runs on host `n`.
    fn running(&self, n: usize) -> Vec<(i32, String)> {
        // With a slash at its end, so that host 1 is not host 10.
        processes_of(&self.dir.join(format!("host{n}/")))
    }

    /// Nothing of an attempt lies on host `n`: no lock, no directory, no upload, no link, no half release.
    pub(super) fn is_clean_on(&self, n: usize) {
        let tree = self.tree(n);
        tree.is_clean();
        for release in names_in(&tree.root.join(".rdeploy/releases")) {
            assert_ne!(tree.state(&release), "preparing", "host {n} has a release that nobody prepares");
        }
    }

    /// No settings, which hold secrets, lie in the temporary directory of host `n`.
    pub(super) fn is_swept_on(&self, n: usize) {
        let left = names_in(&self.dir.join(format!("host{n}/tmp")));
        assert!(left.is_empty(), "left in host {n}'s temporary directory: {left:?}");
    }

    /// Removes what killed guardians could not: their settings, in a temporary directory.
    pub(super) fn sweep(&self) {
        for n in 1..=HOSTS {
            let tmp = self.dir.join(format!("host{n}/tmp"));
            names_in(&tmp).iter().for_each(|name| drop(fs::remove_dir_all(tmp.join(name))));
        }
    }
}

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "rdeploy-test"]).arg(at).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The process that a lock names.
fn owner(lock: &str) -> Option<i32> {
    lock.lines().find_map(|line| line.strip_prefix("pid="))?.parse().ok()
}

/// Whether a process runs; one that has ended but was not waited for does not.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
