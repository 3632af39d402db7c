//! Owns a host in miniature: a directory with a shell, its tools and a deploy tree in it. Everything that
//! is started in it has the directory in its PATH; that is how what is left running is found, and ended.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use crate::config;
use crate::config::Supervisor;
use crate::host::agent;
use crate::host::settings::SessionSettings;
use crate::host::settings::Verb;
use crate::testing;
use crate::testing::Shell;
use crate::testing::which;

/// How long anything may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a scenario under each of the running test's shells, side by side.
pub(super) fn each_shell(scenario: impl Fn(&Rig) + Sync) {
    std::thread::scope(|scope| {
        for shell in testing::shells() {
            let scenario = &scenario;
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            let run = move || scenario(&Rig::new(shell));
            std::thread::Builder::new().name(format!("{name} ({shell:?})")).spawn_scoped(scope, run).unwrap();
        }
    });
}

/// Waits until something is so.
pub(super) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    // Looking may mean to look at every process; what takes long is looked at less often.
    let mut pause = Duration::from_millis(2);
    while !so() {
        assert!(started.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

pub(super) struct Rig {
    dir: TempDir,
    shell: Shell,
    path: String,
    umask: AtomicU32,
}

impl Rig {
    pub(super) fn new(shell: Shell) -> Self {
        let dir = tempfile::Builder::new().prefix("rdeploy-guardian-").tempdir().unwrap();
        let bin = dir.path().join("bin");
        for sub in ["bin", "tmp", "srv", "state"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let program = which(shell.program()).unwrap();
        if shell == Shell::BusyBox {
            let list = Command::new(&program).arg("--list").output().unwrap().stdout;
            for applet in String::from_utf8(list).unwrap().lines() {
                symlink(&program, bin.join(applet)).unwrap();
            }
        } else {
            symlink(&program, bin.join("sh")).unwrap();
        }
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        Self { dir, shell, path, umask: AtomicU32::new(0o022) }
    }

    /// Whether uploads here are read by zstd: not under BusyBox, so that both ways are gone.
    pub(super) fn has_zstd(&self) -> bool {
        self.shell != Shell::BusyBox && testing::has("zstd")
    }

    /// What a login starts with from now on.
    pub(super) fn set_umask(&self, umask: u32) {
        self.umask.store(umask, Ordering::Relaxed);
    }

    /// A place outside the deploy tree, for what hooks and apps leave.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.dir.path().join("state").join(name)
    }

    /// What stands in a file of `state`, line by line.
    pub(super) fn state_lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.state(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Makes a FIFO among `state`: whoever opens it waits for the other side.
    pub(super) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.state(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// Writes a program into `state`.
    pub(super) fn program(&self, name: &str, text: &str) {
        fs::write(self.state(name), text).unwrap();
        fs::set_permissions(self.state(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The line that starts a guardian here.
    pub(super) fn boot(&self) -> String {
        agent::boot(&self.root().to_string_lossy(), None).to_string()
    }

    /// `deploy_to`.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("srv/shop")
    }

    pub(super) fn private(&self, path: &str) -> PathBuf {
        self.root().join(".rdeploy").join(path)
    }

    /// The directory of temporary files.
    pub(super) fn tmp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    /// What `current` holds.
    pub(super) fn current(&self) -> Option<String> {
        let link = fs::read_link(self.root().join("current")).ok()?;
        Some(link.to_str().unwrap().to_owned())
    }

    /// The id of the live release.
    pub(super) fn live(&self) -> Option<String> {
        Some(self.current()?.rsplit('/').next().unwrap().to_owned())
    }

    /// A release's state as recorded.
    pub(super) fn release_state(&self, id: &str) -> Option<String> {
        let text = fs::read_to_string(self.private("releases").join(id).join("state")).ok()?;
        Some(text.trim().to_owned())
    }

    /// The lines of the history, as JSON.
    pub(super) fn history(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.private("history.ndjson")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The outcomes and reasons of all attempts.
    pub(super) fn outcomes(&self) -> Vec<String> {
        let word = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().to_owned();
        self.history()
            .iter()
            .map(|line| format!("{}: {}", word(line, "outcome"), word(line, "reason")))
            .collect()
    }

    pub(super) fn releases(&self) -> Vec<String> {
        names(&self.root().join("releases"))
    }

    /// Settings for a site without processes.
    pub(super) fn settings(&self, token: &str) -> SessionSettings {
        let file = self.dir.path().join("deploy.toml");
        let root = self.root();
        // Each thread its own: settings are also made by twenty at once.
        let file = file.with_extension(format!("{token}.toml"));
        let text = format!(
            "app = 'shop'\ndeploy_to = '{}'\n[supervisor]\nkind = 'none'\n[env.prod]\nhosts = ['h']\n",
            root.display()
        );
        fs::write(&file, text).unwrap();
        let project = config::load(Some(&file), self.dir.path()).unwrap();
        let mut environment = project.environment("prod").unwrap().clone();
        environment.settle = Duration::ZERO;
        environment.lease = Duration::from_secs(300);
        SessionSettings {
            environment: environment.into(),
            host: "h".to_owned(),
            roles: None,
            ordinal: 0,
            verb: Verb::Deploy,
            token: token.to_owned(),
            owner: "ann@desk".to_owned(),
            from: "desk".to_owned(),
            ci_url: String::new(),
            host_vars: [].into(),
            hooks: Vec::new(),
        }
    }

    /// Settings for an app of commands that keep a log of what they did in `state/app.log`, and the app's
    /// process in `state/app.pid`.
    pub(super) fn command_settings(&self, token: &str) -> SessionSettings {
        let (log, pid) = (self.state("app.log"), self.state("app.pid"));
        let (log, pid) = (log.display(), pid.display());
        let mut settings = self.settings(token);
        Arc::make_mut(&mut settings.environment).supervisor = Supervisor::Command(
            config::CommandSupervisor {
                start: format!(
                    "echo \"start $(basename \"$(pwd -P)\")\" >>{log}; nohup sleep 1000 >/dev/null 2>&1 & echo $! >{pid}"
                ),
                restart: None,
                stop: Some(format!(
                    "echo \"stop in $(basename \"$(pwd -P)\")\" >>{log}; p=$(cat {pid}) && kill $p && while kill -0 $p 2>/dev/null; do sleep 0.05; done"
                )),
                status: Some(format!("p=$(cat {pid}) && kill -0 $p && echo $p")),
                logs: vec![],
            },
        );
        settings
    }

    /// A command whose programs are those of this host.
    pub(super) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(format!("umask {:03o}; {line}", self.umask.load(Ordering::Relaxed)))
            .current_dir(self.dir.path())
            .env("PATH", &self.path)
            .env("TMPDIR", self.tmp())
            .env("HOME", self.dir.path().join("state"))
            .env_remove("LC_ALL")
            .env_remove("ENV")
            .stdin(Stdio::null());
        command
    }

    /// What runs of this host: pid and command line. Programs that have ended but were not waited for have
    /// no environment any more.
    pub(super) fn processes(&self) -> Vec<(i32, String)> {
        let mark = self.dir.path().join("bin").to_str().unwrap().to_owned().into_bytes();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            if memchr::memmem::find(&environ, &mark).is_some() {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
        found
    }

    /// Removes what the upload of an attempt left that never became a release; says whether there was any.
    pub(super) fn drops_upload(&self) -> bool {
        let incoming = self.private("incoming");
        let digests = names(&incoming);
        assert!(digests.len() <= 1, "of one upload at most something is kept: {digests:?}");
        for digest in &digests {
            let left = names(&incoming.join(digest));
            assert!(left.len() == 2 && left.contains(&"manifest".to_owned()), "{left:?}");
            fs::remove_dir_all(incoming.join(digest)).unwrap();
        }
        !digests.is_empty()
    }

    /// What everybody expects after the end of an attempt: no lock, no directory, no process, no secret.
    pub(super) fn assert_tidy(&self) {
        until(&format!("everything to be gone: {:?}", self.processes()), || self.processes().is_empty());
        assert_eq!(names(&self.private("run")), [""; 0]);
        assert_eq!(names(&self.tmp()), [""; 0]);
        let expected =
            ["absent", "app", "history.ndjson", "incoming", "last", "manifests", "releases", "run"];
        let found = names(&self.private(""));
        let is_expected = |name: &str| expected.contains(&name) || name.starts_with("agent.");
        assert!(found.iter().all(|name| is_expected(name)), "{found:?}");
        assert_eq!(names(&self.private("incoming")), [""; 0]);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for _ in 0..20 {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for (pid, _) in left {
                let _ = rustix::process::kill_process(
                    rustix::process::Pid::from_raw(pid).unwrap(),
                    rustix::process::Signal::KILL,
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The names in a directory, sorted; none for no directory.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
