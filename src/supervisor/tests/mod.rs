//! Owns a host in miniature for the tests of this folder: a tree with releases, recipes written as a
//! deploy writes them, and the functions run for real under each shell.

mod ask;
mod checks;
mod command;
mod path;
mod pm2;
mod pm2_compile;
mod probe;
mod scripts;
mod supervisord;
mod systemd;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use super::functions;
use super::recipe_files;
use crate::config;
use crate::config::Environment;
use crate::config::Supervisor;
use crate::testing::Shell;
use crate::testing::has;
use crate::testing::shells;
use crate::testing::skip;
use crate::testing::which;

/// How the directories of these tests are called.
const PREFIX: &str = "rdeploy-supervisor-";

/// A port for an app, that no other test gets.
pub(super) fn own_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    let port = crate::embedded::free_port(&given).unwrap();
    given.insert(port);
    port
}

/// An environment with nothing in it but a supervisor; processes settle in a second.
pub(super) fn environment(supervisor: Supervisor) -> Environment {
    Environment {
        name: "prod".to_owned(),
        app: "shop".to_owned(),
        deploy_to: "/srv/shop".to_owned(),
        keep_releases: 5,
        linked_dirs: vec![],
        linked_files: vec![],
        build: config::Build::default(),
        supervisor,
        settle: Duration::from_secs(1),
        health: vec![],
        hooks: config::Hooks::default(),
        max_unreachable: 0,
        hosts: config::Hosts::Embedded(1),
        vars: BTreeMap::new(),
        path: vec![],
        ssh: config::SshSettings {
            identity: vec![],
            known_hosts: vec![],
            connect_timeout: Duration::from_secs(10),
        },
        lease: Duration::from_secs(30),
        rollout: config::Rollout::default(),
    }
}

/// What a call of a function came to.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) ok: bool,
    /// What it printed, without what it said.
    pub(super) output: String,
    /// What it said, `KEY TEXT` each.
    pub(super) said: Vec<String>,
}

impl Answer {
    pub(super) fn assert_ok(self) -> Self {
        assert!(self.ok, "{self:#?}");
        self
    }

    /// The first line of a failure: the sentence that a user reads.
    pub(super) fn failure(&self) -> &str {
        assert!(!self.ok, "{self:#?}");
        self.output.lines().next().unwrap_or_default()
    }

    pub(super) fn says(&self, text: &str) -> bool {
        self.said.iter().any(|line| line.contains(text))
    }
}

/// A deploy tree, a home directory, and a shell to run the functions with.
pub(super) struct Host {
    pub(super) dir: TempDir,
    pub(super) shell: Shell,
    /// PATH of the functions, and other variables they start with.
    pub(super) env: BTreeMap<String, String>,
}

impl Host {
    pub(super) fn new(shell: Shell) -> Self {
        Self::in_directory(PREFIX, shell)
    }

    /// The same, in a directory whose name begins so.
    pub(super) fn in_directory(prefix: &str, shell: Shell) -> Self {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
        for sub in ["home", "app/releases", "before", "work", "agent", "bin"] {
            fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        fs::write(dir.path().join("agent/agent.sh"), functions()).unwrap();
        let mut path = std::env::var("PATH").unwrap();
        if shell == Shell::BusyBox {
            let bin = dir.path().join("busybox");
            fs::create_dir(&bin).unwrap();
            let list = Command::new("busybox").arg("--list").output().unwrap().stdout;
            for applet in String::from_utf8(list).unwrap().lines() {
                let _ = symlink(which("busybox").unwrap(), bin.join(applet));
            }
            path = format!("{}:{path}", bin.display());
        }
        let home = dir.path().join("home").display().to_string();
        let env = [("PATH", path), ("HOME", home), ("LC_ALL", "C".to_owned())];
        Self { shell, env: env.map(|(name, value)| (name.to_owned(), value)).into(), dir }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    pub(super) fn release(&self, id: &str) -> PathBuf {
        self.root().join("releases").join(id)
    }

    pub(super) fn recipe(&self, id: &str) -> PathBuf {
        self.dir.path().join("recipes").join(id)
    }

    /// Writes a file below the temporary directory.
    pub(super) fn write(&self, path: impl AsRef<Path>, contents: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    pub(super) fn write_program(&self, path: impl AsRef<Path>, contents: &str) {
        self.write(path.as_ref(), contents);
        fs::set_permissions(self.dir.path().join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Unpacks a release and writes its recipe.
    pub(super) fn prepare(&self, id: &str, files: &[(&str, &str)], env: &Environment) {
        fs::create_dir_all(self.release(id)).unwrap();
        for (name, contents) in files {
            self.write(self.release(id).join(name), contents);
        }
        self.write_recipe(id, env);
    }

    pub(super) fn write_recipe(&self, id: &str, env: &Environment) {
        let recipe = self.recipe(id);
        fs::create_dir_all(&recipe).unwrap();
        for file in recipe_files(env, &BTreeMap::new()) {
            let path = recipe.join(file.name);
            fs::write(&path, file.contents).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// Points `current` at a release.
    pub(super) fn switch(&self, id: &str) {
        let current = self.root().join("current");
        let _ = fs::remove_file(&current);
        symlink(self.release(id), current).unwrap();
    }

    /// Calls a function (with its arguments) for a release.
    pub(super) fn call(&self, id: &str, function: &str) -> Answer {
        self.call_with(id, function, &[])
    }

    pub(super) fn call_with(&self, id: &str, function: &str, vars: &[(&str, &str)]) -> Answer {
        let dir = self.dir.path();
        let script = format!(
            "set -u; umask 077\nsay() {{ printf 'say %s %s\\n' \"$1\" \"$2\"; }}\n. {}/agent/agent.sh\napp_env\n{function}\n",
            dir.display()
        );
        let log = dir.join(format!("log-{id}"));
        let file = fs::File::create(&log).unwrap();
        let mut command = Command::new(which("setsid").unwrap());
        command.arg(which(self.shell.program()).unwrap());
        if self.shell == Shell::BusyBox {
            command.arg("ash");
        }
        let status = command
            .arg("-c")
            .arg(script)
            .env_clear()
            .envs(&self.env)
            .env("ROOT", self.root())
            .env("RELEASE_ID", id)
            .env("RELEASE", self.release(id))
            .env("RECIPE", self.recipe(id))
            .env("BEFORE", dir.join("before"))
            .env("WORK", dir.join("work"))
            .envs(vars.iter().copied())
            .current_dir(self.root())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .status()
            .unwrap();
        let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
        let (said, output): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("say "));
        Answer {
            ok: status.success(),
            output: output.join("\n"),
            said: said.iter().map(|line| line.trim_start_matches("say ").to_owned()).collect(),
        }
    }
}
