//! Owns a user's project in a directory of its own: its files, rdeploy run in it as a user runs it, and
//! what stands on its hosts. Nothing of the user who runs the tests gets in; nothing stays behind: when
//! a project is dropped, its embedded environments are stopped, and a process that is left is a failure.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use rdeploy::embedded::Sandbox;
use rdeploy::embedded::free_port;
use tempfile::TempDir;

use super::running::Ended;
use super::running::Running;
use super::shown::Names;

/// The program under test.
pub(crate) const RDEPLOY: &str = env!("CARGO_BIN_EXE_rdeploy");

/// Nothing that is waited for takes this long, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where the app lives on every host of these tests.
pub(crate) const DEPLOY_TO: &str = "/srv/shop";

/// A project and everything around it.
pub(crate) struct Project {
    root: PathBuf,
    names: Rc<RefCell<Names>>,
    /// Directories before PATH, for programs that tests put in the way.
    tools: PathBuf,
    _directory: TempDir,
}

/// `deploy_to` on one host.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// The directory.
    pub(crate) root: PathBuf,
    /// The port of its app, where it has one.
    pub(crate) port: Option<u16>,
}

impl Project {
    /// A project without a file.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("rdeploy-test-").tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for name in ["home", "tmp", "tools", "shop"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let names = Rc::new(RefCell::new(Names::new(&root)));
        Self { tools: root.join("tools"), root, names, _directory: directory }
    }

    /// A project with `deploy.toml` and one file to deploy.
    pub(crate) fn with(config: &str) -> Self {
        let project = Self::new();
        project.configure(config);
        project.write("public/index.html", "version 1\n");
        project
    }

    /// A project whose app is a web server, kept up by commands, on that many embedded hosts.
    pub(crate) fn served(hosts: u8) -> Self {
        let project = Self::with(&served(&format!("[env.dev]\nembedded = {hosts}\n")));
        for n in 1..=hosts {
            project.host(n);
        }
        project
    }

    /// A project of files without an app, on that many embedded hosts; `more` goes into `deploy.toml`,
    /// before the environment.
    pub(crate) fn files(hosts: u8, more: &str) -> Self {
        Self::with(&files(hosts, more))
    }

    /// Writes `deploy.toml`.
    pub(crate) fn configure(&self, config: &str) {
        self.write("deploy.toml", config);
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Makes the app's page say which version it is.
    pub(crate) fn version(&self, n: u32) {
        self.write("public/index.html", format!("version {n}\n"));
    }

    /// A file of the project.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join("shop").join(name)
    }

    /// A place outside the project, which is removed with it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The names that output is shown with.
    pub(crate) fn names(&self) -> Rc<RefCell<Names>> {
        Rc::clone(&self.names)
    }

    /// Puts a program before all others on the PATH of rdeploy and of its embedded hosts.
    pub(crate) fn tool(&self, name: &str, script: &str) {
        write_program(&self.tools.join(name), script);
    }

    /// Starts writing a command line of rdeploy, in the project's directory.
    pub(crate) fn rdeploy(&self, args: &[&str]) -> Invocation {
        let mut command = Command::new(RDEPLOY);
        command.args(args).current_dir(self.root.join("shop")).env_clear();
        for (name, value) in self.environment() {
            command.env(name, value);
        }
        Invocation { command, names: self.names() }
    }

    /// The whole environment in which it runs.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut path = self.tools.clone().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        vec![
            ("PATH", path),
            ("HOME", self.root.join("home").into()),
            ("TMPDIR", self.root.join("tmp").into()),
            ("RDEPLOY_STATE_DIR", self.root.join("state").into()),
            ("RDEPLOY_CACHE_DIR", self.root.join("cache").into()),
            ("USER", "ada".into()),
            ("LOGNAME", "ada".into()),
        ]
    }

    /// Deploys to `dev`, which has to succeed; returns the release.
    pub(crate) fn deploys(&self) -> String {
        self.rdeploy(&["dev"]).run().ends_with(0);
        self.host(1).live().unwrap()
    }

    /// `deploy_to` on an embedded host, whose app gets a port that no other test's app has.
    pub(crate) fn host(&self, n: u8) -> Tree {
        let sandbox = Sandbox::in_state_dir(&self.root.join("state"), &self.root.join("shop")).unwrap();
        let host = sandbox.host(n).unwrap();
        if !host.root().join("port").exists() {
            fs::write(host.root().join("port"), own_port().to_string()).unwrap();
        }
        let port = host.port().unwrap();
        self.names.borrow_mut().app(n, port);
        Tree { root: host.deploy_to(DEPLOY_TO).into(), port: Some(port) }
    }

    /// The log of the last run.
    pub(crate) fn log(&self) -> String {
        let logs = fs::read_dir(self.root.join("state/logs")).unwrap();
        let newest = logs.map(|entry| entry.unwrap().path()).max_by_key(|path| {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            (modified, path.clone())
        });
        fs::read_to_string(newest.unwrap()).unwrap()
    }

    /// What runs of this project.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        processes_of(&self.root)
    }

    /// Waits until nothing of the project runs any more; returns what does not end.
    pub(crate) fn leftovers(&self) -> Vec<(i32, String)> {
        // A shell's `sleep 1` outlives the shell by as much.
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > until {
                return left;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the apps of the embedded environments that `deploy.toml` names.
    fn stop_environments(&self) {
        let config = fs::read_to_string(self.file("deploy.toml")).unwrap_or_default();
        if !self.root.join("state/dev").exists() || !config.contains("embedded =") {
            return;
        }
        let names = config.lines().filter_map(|line| line.strip_prefix("[env.")?.strip_suffix(']'));
        for name in names {
            let _ = self.rdeploy(&[name, "stop"]).run();
        }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.stop_environments();
        let left = self.leftovers();
        for (pid, _) in &left {
            if let Some(pid) = rustix::process::Pid::from_raw(*pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        assert!(left.is_empty() || std::thread::panicking(), "these were left running: {left:#?}");
    }
}

/// A command line of rdeploy.
pub(crate) struct Invocation {
    command: Command,
    names: Rc<RefCell<Names>>,
}

impl Invocation {
    /// Adds a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in another directory.
    pub(crate) fn within(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Ended {
        self.start().wait()
    }

    /// Starts it.
    pub(crate) fn start(self) -> Running {
        Running::start(self.command, self.names)
    }
}

impl Tree {
    /// The id of the live release.
    pub(crate) fn live(&self) -> Option<String> {
        let link = fs::read_link(self.root.join("current")).ok()?;
        assert_eq!(link.parent(), Some(self.root.join("releases").as_path()), "where `current` leads");
        Some(link.file_name().unwrap().to_str().unwrap().to_owned())
    }

    /// The state the host has recorded for a release.
    pub(crate) fn state(&self, release: &str) -> String {
        let path = self.root.join(".rdeploy/releases").join(release).join("state");
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// The ids of the releases.
    pub(crate) fn releases(&self) -> Vec<String> {
        names_in(&self.root.join("releases"))
    }

    /// A file of the live release, or another below `deploy_to`.
    pub(crate) fn read(&self, path: &str) -> String {
        let path = self.root.join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// What the app answers.
    pub(crate) fn answer(&self) -> String {
        get(self.port.unwrap())
    }

    /// Whether somebody holds the lock.
    pub(crate) fn is_locked(&self) -> bool {
        self.root.join(".rdeploy/lock").exists()
    }

    /// Proves that no attempt has left anything: no lock, no attempt's directory, no link; and of an upload at most
    /// what the next attempt takes over.
    pub(crate) fn is_clean(&self) {
        let root = self.root.display();
        assert!(!self.is_locked(), "{root}: the lock is still there");
        // The lock is freed first; what was behind it goes right after.
        let runs = self.root.join(".rdeploy/run");
        let until = Instant::now() + Duration::from_secs(20);
        while !names_in(&runs).is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = names_in(&runs);
        assert!(left.is_empty(), "{root}: left of attempts: {left:?}");
        let incoming = self.root.join(".rdeploy/incoming");
        let digests = names_in(&incoming);
        assert!(digests.len() <= 1, "{root}: left of several uploads: {digests:?}");
        for digest in digests {
            let left = names_in(&incoming.join(digest));
            let is_kept = left.len() == 2 && left.iter().any(|name| name == "manifest");
            assert!(is_kept, "{root}: left of an upload: {left:?}");
        }
        let known = ["current", "releases", "shared", "revisions.log", ".rdeploy"];
        let left: Vec<String> =
            names_in(&self.root).into_iter().filter(|name| !known.contains(&name.as_str())).collect();
        assert!(left.is_empty(), "{root}: left in deploy_to: {left:?}");
        let failed: Vec<String> = names_in(&self.root.join(".rdeploy/releases"))
            .into_iter()
            .filter(|id| matches!(self.state(id).as_str(), "failed" | "preparing"))
            .collect();
        assert!(failed.len() <= 1, "{root}: more than one failed release is kept: {failed:?}");
    }
}

/// `deploy.toml` of an app that is a web server kept up by commands; `environments` end it.
///
/// A process that has ended but was not waited for has no `exe` any more; `kill -0` would still find it.
pub(crate) fn served(environments: &str) -> String {
    format!(
        r#"app         = "shop"
deploy_to   = "{DEPLOY_TO}"
linked_dirs = ["run"]

[supervisor]
kind   = "command"
settle = "0s"
start  = '''nohup {RDEPLOY} serve public --port "$PORT" >run/log 2>&1 & echo $! >run/pid'''
stop   = '''pid=$(cat run/pid); kill "$pid"; while [ -e "/proc/$pid/exe" ]; do sleep 0.05; done'''
status = '''pid=$(cat run/pid) && [ -e "/proc/$pid/exe" ] && echo "$pid"'''

[health]
http     = "http://127.0.0.1:$PORT/"
timeout  = "20s"
interval = "100ms"

{environments}"#
    )
}

/// `deploy.toml` of files without an app, on that many embedded hosts.
pub(crate) fn files(hosts: u8, more: &str) -> String {
    format!("app = \"shop\"\ndeploy_to = \"{DEPLOY_TO}\"\n{more}\n[env.dev]\nembedded = {hosts}\n")
}

/// Writes a program for `sh`.
pub(crate) fn write_program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Where a program is that a tool of the same name stands before.
pub(crate) fn real_program(name: &str) -> PathBuf {
    super::find_program(name).unwrap_or_else(|| panic!("there is no {name}"))
}

/// What runs of a directory: it is where it works, what it runs, or in what it was told.
pub(crate) fn processes_of(dir: &Path) -> Vec<(i32, String)> {
    let dir = dir.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let link = |name: &str| {
            fs::read_link(entry.path().join(name)).map(|path| path.to_string_lossy().into_owned())
        };
        let text = |name: &str| {
            fs::read(entry.path().join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let cmdline = text("cmdline").unwrap_or_default();
        let signs = [link("cwd"), link("exe"), text("environ"), Ok(cmdline.clone())];
        if signs.iter().flatten().any(|sign| sign.contains(dir)) {
            found.push((pid, cmdline.replace('\0', " ").trim().to_owned()));
        }
    }
    found
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn own_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    let port = free_port(&given).unwrap();
    given.insert(port);
    port
}

/// Asks for `/` on a port of loopback; the status and the body, in a line.
pub(crate) fn get(port: u16) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim()).unwrap_or_default();
        Ok(format!("{status} {body}"))
    };
    ask().unwrap_or_else(|error| format!("nothing ({:?})", error.kind()))
}

/// The names in a directory, sorted; none when it is not there.
pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
