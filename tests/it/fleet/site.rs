//! Owns one application's place on a fleet: a login user of its own on every host (and with it a PM2
//! daemon of its own), a `deploy_to`, a port, and the project on this machine that is deployed there.
//! A test sees nothing of another test's site, and everything that runs for its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::app::App;
use super::run::Run;
use super::run::Running;
use super::settings::Settings;
use super::workers::Keeper;
use crate::support;
use crate::support::fleet;
use crate::support::fleet::Answer;
use crate::support::fleet::Fleet;
use crate::support::fleet::Host;

/// Long enough for anything on a busy machine of two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An application's place on a fleet.
pub(crate) struct Site {
    fleet: Reach,
    folder: tempfile::TempDir,
    /// Its login user on the hosts.
    pub(crate) user: String,
    /// Its directory on the hosts.
    pub(crate) deploy_to: String,
    /// The port its app listens on.
    pub(crate) port: u16,
    /// How many workers the app has.
    pub(crate) instances: usize,
    /// What keeps the app up on the hosts.
    pub(crate) keeper: Keeper,
    /// Whether its workers are asked for over plain ssh, as anybody would.
    pub(crate) over_ssh: bool,
    /// How many hosts of the fleet it is on.
    width: usize,
    /// What somebody else has put into `deploy_to`.
    pub(crate) theirs: &'static [&'static str],
    supervisor: Mutex<String>,
}

enum Reach {
    Shared(&'static Fleet),
    Own(Box<Fleet>),
}

impl Site {
    /// A place on the three shared hosts; none (and a note) where hosts cannot be booted.
    pub(crate) fn on_three_hosts(test: &str) -> Option<Self> {
        Self::open(test, || Reach::Shared(fleet::shared()), 3)
    }

    /// The same on two of them, for a test that has to see no more.
    pub(crate) fn on_two_hosts(test: &str) -> Option<Self> {
        Self::open(test, || Reach::Shared(fleet::shared()), 2)
    }

    /// A place on hosts of its own, for a test that disturbs a whole host.
    pub(crate) fn on_own_hosts(test: &str, hosts: usize) -> Option<Self> {
        Self::open(test, || Reach::Own(Box::new(Fleet::boot(hosts))), hosts)
    }

    fn open(test: &str, reach: impl FnOnce() -> Reach, width: usize) -> Option<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        if let Some(why) = fleet::unavailable() {
            support::skip(test, &why);
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let user = format!("deploy{number}");
        let deploy_to = format!("/srv/site{number}");
        let folder = tempfile::Builder::new().prefix("rdeploy-site-").tempdir().unwrap();
        let site = Self {
            fleet: reach(),
            folder,
            user,
            deploy_to,
            port: 4000 + number,
            instances: 2,
            keeper: Keeper::Pm2,
            over_ssh: false,
            width,
            theirs: &[],
            supervisor: Mutex::new("kind = \"pm2\"\necosystem = \"ecosystem.config.js\"".into()),
        };
        for name in ["home", "project"] {
            fs::create_dir(site.folder.path().join(name)).unwrap();
        }
        let (key, known_hosts) = site.fleet().credentials();
        site.write_private("key", &key);
        site.write_private("known_hosts", &known_hosts);
        let Self { user, deploy_to, .. } = &site;
        site.on_every_host(|host| {
            host.root(&format!(
                "useradd -m -s /bin/bash -u {id} {user}\n\
                 cp /etc/ssh/authorized_keys/deploy /etc/ssh/authorized_keys/{user}\n\
                 loginctl enable-linger {user}\n\
                 install -d -o {user} -g {user} {deploy_to}\n",
                id = 6100 + number,
            ));
        });
        site.configure(|_| {});
        Some(site)
    }

    /// The hosts it is on.
    pub(crate) fn fleet(&self) -> &Fleet {
        match &self.fleet {
            Reach::Shared(fleet) => fleet,
            Reach::Own(fleet) => fleet,
        }
    }

    /// Those of them that it is on.
    pub(crate) fn hosts(&self) -> &[Host] {
        &self.fleet().hosts()[..self.width]
    }

    /// Host `number`, from 1.
    pub(crate) fn host(&self, number: usize) -> &Host {
        self.fleet().host(number)
    }

    /// Does the same on every host, at the same time; answers in the hosts' order.
    pub(crate) fn on_every_host<T: Send>(&self, act: impl Fn(&Host) -> T + Sync) -> Vec<T> {
        let act = &act;
        std::thread::scope(|scope| {
            let threads: Vec<_> = self.hosts().iter().map(|host| scope.spawn(move || act(host))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// The project's directory on this machine.
    pub(crate) fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// Makes the project that app.
    pub(crate) fn write_app(&self, app: &App) {
        app.write(&self.project());
    }

    /// Writes a file only this user may read, beside the project.
    pub(crate) fn write_private(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Writes `deploy.toml`: PM2 by the ecosystem file, a probe, all hosts; changed by `change`.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings {
            top: String::new(),
            build: String::new(),
            supervisor: format!("{}\nsettle = \"1s\"", self.supervisor.lock().unwrap()),
            health: format!("http = \"http://127.0.0.1:{}/\"\ntimeout = \"20s\"", self.port),
            hooks: String::new(),
            env: String::new(),
            hosts: self.hosts().iter().map(|host| self.login(&host.address)).collect(),
            identity: self.folder.path().join("key"),
            known_hosts: self.folder.path().join("known_hosts"),
            connect_timeout: "5s",
        };
        change(&mut settings);
        let file = self.project().join("deploy.toml");
        fs::write(&file, settings.toml(&self.deploy_to, self.port)).unwrap();
        // A mistake here would look like what the test is about (exit code 2), or not at all.
        rdeploy::config::load(Some(&file), &self.project()).unwrap_or_else(|error| panic!("{error}"));
    }

    /// What `[ssh]` says: how one gets in.
    pub(crate) fn ssh(&self) -> String {
        let file = |name| self.folder.path().join(name);
        format!("identity = [{:?}]\nknown_hosts = [{:?}]", file("key"), file("known_hosts"))
    }

    /// From now on `[supervisor]` is that.
    pub(crate) fn supervised_by(&self, text: &str) {
        text.clone_into(&mut self.supervisor.lock().unwrap());
        self.configure(|_| {});
    }

    /// How this site's user logs in to an address.
    pub(crate) fn login(&self, address: &str) -> String {
        format!("{}@{address}", self.user)
    }

    /// Starts `rdeploy prod ARGS…` in the project, on the fleet's network.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut command = self.fleet().program(env!("CARGO_BIN_EXE_rdeploy"));
        command
            .arg("prod")
            .args(args)
            .current_dir(self.project())
            .env_clear()
            .env("HOME", self.folder.path().join("home"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("USER", "ada")
            .env("LOGNAME", "ada");
        // Where the programs lie with which a project is built: below the home of whoever runs the tests.
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        for (name, directory) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
            command.env(name, std::env::var_os(name).unwrap_or_else(|| home.join(directory).into()));
        }
        Running::start(command)
    }

    /// Deploys and waits for the end.
    pub(crate) fn deploy(&self) -> Run {
        self.start(&[]).wait()
    }

    /// Deploys that version and proves that it is what runs; returns the release.
    pub(crate) fn runs(&self, version: &str) -> String {
        self.write_app(&App::version(version));
        self.deploy().ends_with(0);
        self.serves(version)
    }

    /// Rolls back to the release before, and waits for the end.
    pub(crate) fn roll_back(&self) -> Run {
        self.start(&["--rollback"]).wait()
    }

    /// Proves that every host runs `version`: its answer names it and the release `current` points at,
    /// and every worker's working directory is that release. Returns the release's id, the same on all.
    pub(crate) fn serves(&self, version: &str) -> String {
        let releases = self.on_every_host(|host| self.host_serves(host, version));
        assert!(releases.iter().all(|id| *id == releases[0]), "hosts differ: {releases:?}");
        releases[0].clone()
    }

    fn host_serves(&self, host: &Host, version: &str) -> String {
        let number = host.number;
        let current = self.current(host).unwrap_or_else(|| panic!("host {number} has no `current`"));
        // Two questions a worker, so that with two workers both are heard.
        for _ in 0..4 {
            let answer = self.ask(host).unwrap_or_else(|| panic!("host {number}: nothing answers"));
            assert_eq!(answer.status, 200, "host {number}: {}", answer.body);
            let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(said["version"], *version, "host {number}: {said}");
            assert_eq!(said["release"], *current, "host {number}: {said}");
        }
        let workers = self.workers(host);
        assert_eq!(workers.len(), self.instances, "host {number}: what is kept up: {workers:?}");
        for (pid, cwd) in workers {
            assert_eq!(cwd, current, "host {number}: where worker {pid} runs");
        }
        Path::new(&current).file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// What `current` points at on a host; none when it is not there or no link.
    pub(crate) fn current(&self, host: &Host) -> Option<String> {
        let link = fs::read_link(host.disk(&format!("{}/current", self.deploy_to))).ok()?;
        Some(link.to_str().unwrap().to_owned())
    }

    /// Asks the app on a host.
    pub(crate) fn ask(&self, host: &Host) -> Option<Answer> {
        host.http(self.port, "/")
    }

    /// Whether the app on every host answers with that version.
    pub(crate) fn all_answer(&self, version: &str) -> bool {
        let expected = format!("\"version\":\"{version}\"");
        self.on_every_host(|host| self.ask(host).is_some_and(|answer| answer.body.contains(&expected)))
            .iter()
            .all(|answers| *answers)
    }

    /// Whether every worker on every host runs where `current` leads.
    fn all_have_arrived(&self) -> bool {
        let arrived = |host: &Host| {
            let current = self.current(host);
            let workers = self.workers(host);
            workers.len() >= self.instances && workers.into_values().all(|cwd| Some(cwd) == current)
        };
        self.on_every_host(arrived).into_iter().all(|arrived| arrived)
    }

    /// This user's processes on a host that neither systemd nor PM2 nor the app accounts for: what a
    /// deploy left. Each is a line of pid and command.
    pub(crate) fn strangers(&self, host: &Host) -> Vec<String> {
        let list = format!(
            "find /proc -maxdepth 1 -name '[0-9]*' -user {} 2>/dev/null | while read -r p; do\n\
             cmd=$(cat $p/cmdline 2>/dev/null | tr '\\0' ' '); [ -z \"$cmd\" ] || echo \"${{p#/proc/}} $cmd\"\n\
             done",
            self.user
        );
        // sshd notices a cut cable only after minutes; that is not the deploy's doing.
        let expected = [
            "systemd --user",
            "(sd-pam)",
            "PM2 v",
            "server.js",
            "server.py",
            "release/shop",
            "/usr/bin/supervisord",
            "dbus-daemon",
            "sshd: ",
        ];
        host.root(&list)
            .lines()
            .filter(|line| !expected.iter().any(|known| line.contains(known)))
            .map(str::to_owned)
            .collect()
    }

    /// Proves that nothing of an attempt is left on any host: no lock, no process, no temporary link.
    pub(crate) fn is_clean(&self) {
        self.on_every_host(|host| {
            let number = host.number;
            let root = host.disk(&self.deploy_to);
            assert!(!root.join(".rdeploy/lock").exists(), "host {number}: the lock is still there");
            fleet::eventually(PATIENCE, &format!("nothing to be left running on host {number}"), || {
                self.strangers(host).is_empty()
            });
            let known = ["current", "releases", "shared", "revisions.log", ".rdeploy"];
            let is_known = |name: &str| known.contains(&name) || self.theirs.contains(&name);
            let left: Vec<String> = names(&root).into_iter().filter(|name| !is_known(name)).collect();
            assert!(left.is_empty(), "host {number}: left in deploy_to: {left:?}");
            let links = links_below(&root.join(".rdeploy"));
            assert!(links.is_empty(), "host {number}: temporary links: {links:?}");
        });
    }

    /// Proves that everything is as it was before a failed attempt: the same release serves, nothing
    /// is left, and of failed releases at most one is kept to look at.
    pub(crate) fn still_runs(&self, version: &str, release: &str) {
        assert_eq!(self.serves(version), release);
        self.is_clean();
        for host in self.hosts() {
            let newer: Vec<String> =
                self.releases(host).into_iter().filter(|id| id.as_str() > release).collect();
            assert!(newer.len() <= 1, "host {}: failed releases are kept: {newer:?}", host.number);
        }
    }

    /// The ids under `releases/` on a host.
    pub(crate) fn releases(&self, host: &Host) -> Vec<String> {
        names(&host.disk(&format!("{}/releases", self.deploy_to)))
    }

    /// Waits until every host has switched away from `old`.
    pub(crate) fn await_switch_from(&self, old: &str) {
        let old = format!("{}/releases/{old}", self.deploy_to);
        fleet::eventually(PATIENCE, "every host to be switched", || {
            self.hosts().iter().all(|host| self.current(host).is_some_and(|now| now != old))
        });
    }

    /// Waits until a file is there in this user's home on every host (a hook's way to speak).
    pub(crate) fn await_file_everywhere(&self, name: &str) {
        let path = format!("/home/{}/{name}", self.user);
        fleet::eventually(PATIENCE, &format!("the file {name} on every host"), || {
            self.hosts().iter().all(|host| host.disk(&path).exists())
        });
    }

    /// Gives this user the rights on the first host that rdeploy asked for.
    pub(crate) fn grants(&self, line: &str) {
        self.host(1).root(&format!(
            "cat >/etc/sudoers.d/shop <<'END'\n{line}\nEND\nchmod 440 /etc/sudoers.d/shop; visudo -cq"
        ));
    }

    /// Mounts a disk of `size` (as tmpfs takes it) at `deploy_to` of a host.
    pub(crate) fn small_disk(&self, host: &Host, size: &str) {
        let Self { user, deploy_to, .. } = self;
        host.root(&format!(
            "mount -t tmpfs -o size={size},mode=755,uid=$(id -u {user}),gid=$(id -g {user}) tmpfs {deploy_to}"
        ));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let Reach::Shared(_) = &self.fleet else { return };
        let Self { user, deploy_to, .. } = &*self;
        for host in self.hosts() {
            let script = format!(
                "id=$(id -u {user}) || exit 0\nloginctl disable-linger {user}\n\
                 systemctl kill --signal=KILL user-$id.slice\nsystemctl stop user-$id.slice user@$id\n\
                 umount {deploy_to}; rm -rf {deploy_to} /etc/ssh/authorized_keys/{user}\nuserdel -rf {user}"
            );
            let _ = host.ssh_with_input("root", "sh -s", &script);
        }
    }
}

/// Waits until the app on every host answers with that version, and every worker has come to the release: one that
/// was forked a moment ago, when another already answers, is where PM2's daemon is (`/` after a boot).
pub(crate) fn wait_until_all_answer(site: &Site, version: &str) {
    fleet::eventually(PATIENCE, &format!("every host to answer with {version}"), || site.all_answer(version));
    fleet::eventually(PATIENCE, "every worker to run where `current` leads", || site.all_have_arrived());
}

/// The symbolic links below a directory, but for an upload that was cut off, which may have some.
fn links_below(dir: &Path) -> Vec<PathBuf> {
    let mut links = Vec::new();
    for name in names(dir).iter().filter(|name| *name != "incoming") {
        let path = dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => links.push(path),
            Ok(meta) if meta.is_dir() => links.extend(links_below(&path)),
            _ => {}
        }
    }
    links
}

fn names(dir: &Path) -> Vec<String> {
    let entries: Vec<_> = fs::read_dir(dir).map(|entries| entries.flatten().collect()).unwrap_or_default();
    let mut names: Vec<String> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
