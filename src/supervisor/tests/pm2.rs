//! Apps under real PM2, each test with a daemon of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::Answer;
use super::Host;
use super::Shell;
use super::environment;
use super::free_port;
use super::shells;
use super::skip;
use crate::config::Environment;
use crate::config::Health;
use crate::config::Pm2;
use crate::config::Probe;
use crate::config::Supervisor;

const SERVER: &str = r#"
const fs = require('fs');
const release = fs.readFileSync(__dirname + '/VERSION', 'utf8').trim();
const server = require('http').createServer((request, response) => {
    const name = request.url.slice(1);
    response.end(name ? String(process.env[name]) : release);
});
server.listen(process.env.PORT, '127.0.0.1');
console.log('listening as ' + release);
"#;

/// A host with a PM2 of its own.
struct Pm2Host {
    host: Host,
    port: u16,
}

impl Drop for Pm2Host {
    fn drop(&mut self) {
        let _ = self.pm2(&["kill"]);
    }
}

impl Pm2Host {
    /// None when that PM2 or that shell is not on this machine.
    fn new(major: u32, shell: Shell) -> Option<Self> {
        let Some(dir) = std::env::var_os("RDEPLOY_TEST_PM2") else {
            skip("RDEPLOY_TEST_PM2 names no directory with PM2 (tests/support/install-pm2 makes one)");
            return None;
        };
        let bin = PathBuf::from(dir).join(major.to_string()).join("node_modules/.bin");
        if !bin.join("pm2").exists() {
            skip(&format!("PM2 {major} is not in RDEPLOY_TEST_PM2"));
            return None;
        }
        if !shells().contains(&shell) {
            return None;
        }
        let mut host = Host::new(shell);
        let path = format!("{}:{}", bin.display(), host.env["PATH"]);
        host.env.insert("PATH".to_owned(), path);
        host.env.insert("PM2_HOME".to_owned(), host.dir.path().join("pm2").display().to_string());
        Some(Self { host, port: free_port() })
    }

    /// PM2 as a user would call it, from a directory of the user's.
    fn pm2_in(&self, dir: &str, args: &[&str]) -> std::process::Output {
        let path = &self.host.env["PATH"];
        let program =
            std::env::split_paths(path).map(|dir| dir.join("pm2")).find(|file| file.exists()).unwrap();
        Command::new(program)
            .args(args)
            .env_clear()
            .envs(&self.host.env)
            .env("PM2_DISCRETE_MODE", "true")
            .current_dir(self.host.dir.path().join(dir))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn pm2(&self, args: &[&str]) -> std::process::Output {
        self.pm2_in(".", args)
    }

    fn list(&self) -> Vec<Value> {
        serde_json::from_slice(&self.pm2(&["jlist", "-s"]).stdout).unwrap()
    }

    /// The names and modes of what PM2 runs, sorted.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.list().iter().map(|proc| proc["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    fn daemon_pid(&self) -> String {
        fs::read_to_string(self.host.dir.path().join("pm2/pm2.pid")).unwrap().trim().to_owned()
    }

    /// Asks the app which release it is, or, with a name, for one of its variables.
    fn ask(&self, name: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET /{name} HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.split("\r\n\r\n").nth(1)?.to_owned())
    }

    /// An environment whose ecosystem file is in the release, probed over HTTP.
    fn environment(&self) -> Environment {
        let mut env = environment(Supervisor::Pm2(Pm2::Ecosystem("ecosystem.config.js".to_owned())));
        env.vars.insert("PORT".to_owned(), self.port.to_string());
        env.health = Some(Health {
            probe: Probe::Http(format!("http://127.0.0.1:{}/", self.port)),
            timeout: Duration::from_secs(15),
            interval: Duration::from_secs(1),
        });
        env
    }

    /// Unpacks a release of the server with an ecosystem file that exports `apps`.
    fn unpack(&self, id: &str, apps: &str, env: &Environment) {
        let ecosystem = format!("module.exports = {{ apps: {apps} }};\n");
        let files = [("server.js", SERVER), ("VERSION", id), ("ecosystem.config.js", ecosystem.as_str())];
        self.host.prepare(id, &files, env);
    }

    fn call(&self, id: &str, function: &str) -> Answer {
        self.host.call(id, function)
    }

    /// Compile, record, switch, start, verify: a deploy up to its commit.
    fn deploy(&self, id: &str, leaving: Option<&str>) -> Answer {
        let recipe = leaving.map(|id| self.host.recipe(id).display().to_string()).unwrap_or_default();
        let vars = [("LEAVING", recipe.as_str())];
        self.host.call_with(id, "app_compile && app_record", &vars).assert_ok();
        self.host.switch(id);
        self.host.call_with(id, "app_start", &vars).assert_ok();
        self.host.call_with(id, "app_verify", &vars)
    }

    /// What a revert from a release to another calls.
    fn revert(&self, from: &str, to: &str) -> Answer {
        let recipe = self.host.recipe(from).display().to_string();
        self.host.switch(to);
        let vars = [("LEAVING", recipe.as_str()), ("REVERT", "1")];
        self.host.call_with(to, "app_start", &vars).assert_ok();
        self.host.call_with(to, "app_verify", &vars)
    }

    /// The directories of an app's processes, which tell whose code runs.
    fn places(&self, name: &str) -> Vec<PathBuf> {
        let list = self.list();
        let of_app = list.iter().filter(|proc| proc["name"] == name);
        of_app.map(|proc| fs::read_link(format!("/proc/{}/cwd", proc["pid"])).unwrap()).collect()
    }
}

const CLUSTER: &str = "[{ name: 'web', script: 'server.js', exec_mode: 'cluster', instances: 2 }]";
const FORK: &str = "[{ name: 'web', script: 'server.js' }]";

/// Every major version, each under another shell.
const ALL: [(u32, Shell); 3] = [(7, Shell::Dash), (6, Shell::Bash), (5, Shell::BusyBox)];

#[test]
fn a_cluster_and_a_fork_are_started_replaced_put_back_and_removed() {
    for (major, shell) in ALL {
        for (apps, count) in [(CLUSTER, 2), (FORK, 1)] {
            let Some(host) = Pm2Host::new(major, shell) else { continue };
            let env = host.environment();
            let what = format!("PM2 {major} {shell:?} {count}");
            host.unpack("1", apps, &env);
            let answer = host.deploy("1", None).assert_ok();
            assert!(answer.says(&format!("proof proven {count} process")), "{what} {answer:?}");
            assert_eq!(host.ask("").as_deref(), Some("1"), "{what}");
            host.call("1", "app_commit").assert_ok();

            host.unpack("2", apps, &env);
            assert!(host.deploy("2", Some("1")).assert_ok().says("proof proven"), "{what}");
            assert_eq!(host.ask("").as_deref(), Some("2"), "{what}");
            assert_eq!(host.places("web"), vec![host.host.release("2").canonicalize().unwrap(); count]);

            assert!(host.revert("2", "1").assert_ok().says("proof proven"), "{what}");
            assert_eq!(host.ask("").as_deref(), Some("1"), "{what}");

            assert_eq!(host.call("1", "app_pids").assert_ok().output.lines().count(), count);
            assert!(host.call("1", "app_logs 5").assert_ok().output.contains("listening as 1"));
            host.call("1", "app_stop").assert_ok();
            host.call("1", "app_stop").assert_ok();
            assert_eq!(host.list().len(), 0, "{what}");
        }
    }
}

#[test]
fn an_app_that_was_registered_by_hand_from_inside_a_release_is_moved_to_the_new_code() {
    for (major, shell) in ALL {
        for apps in [CLUSTER, FORK] {
            let Some(mut host) = Pm2Host::new(major, shell) else { continue };
            let port = host.port.to_string();
            host.host.env.insert("PORT".to_owned(), port);
            let env = host.environment();
            host.unpack("1", apps, &env);
            host.host.switch("1");
            assert!(host.pm2_in("app/current", &["start", "ecosystem.config.js"]).status.success());
            host.unpack("2", apps, &env);
            let answer = host.deploy("2", None).assert_ok();
            assert!(answer.says("proof proven"), "{answer:?}");
            assert_eq!(host.ask("").as_deref(), Some("2"), "PM2 {major}");
            // From now on it follows the link.
            let current = host.host.root().join("current").display().to_string();
            assert!(host.list().iter().all(|proc| proc["pm2_env"]["pm_cwd"] == current.as_str()));
        }
    }
}

#[test]
fn what_was_registered_by_hand_is_restored_after_a_failed_first_deploy() {
    for (major, shell) in ALL {
        let Some(mut host) = Pm2Host::new(major, shell) else { continue };
        let port = host.port.to_string();
        host.host.env.insert("PORT".to_owned(), port);
        host.host.env.insert("BY_HAND".to_owned(), "yes".to_owned());
        let env = host.environment();
        host.unpack("1", CLUSTER, &env);
        host.host.switch("1");
        assert!(host.pm2_in("app/current", &["start", "ecosystem.config.js"]).status.success());
        host.host.env.remove("BY_HAND");

        let apps = "[{ name: 'web', script: 'broken.js', instances: 2, exec_mode: 'cluster', env: { NEW: '1' } }, \
                    { name: 'extra', script: 'server.js', env: { PORT: 0 } }]";
        let mut env = env;
        env.vars.remove("PORT");
        host.unpack("2", apps, &env);
        host.host.write(host.host.release("2").join("broken.js"), "throw new Error('no good');\n");
        // Before anything was recorded there is nothing to put back.
        host.call("2", "app_restore").assert_ok();
        assert_eq!(host.names(), ["web", "web"]);
        let answer = host.deploy("2", None);
        assert!(!answer.ok, "{answer:?}");
        host.host.switch("1");
        host.call("2", "app_restore").assert_ok();
        assert_eq!(host.names(), ["web", "web"], "PM2 {major}");
        let back = || host.ask("").as_deref() == Some("1");
        assert!((0..50).any(|_| back() || {
            std::thread::sleep(Duration::from_millis(100));
            false
        }));
        assert_eq!(host.ask("BY_HAND").as_deref(), Some("yes"));
        assert_eq!(host.ask("NEW").as_deref(), Some("undefined"));
        // Once more: what stands is left alone.
        let pids = || host.list().iter().map(|proc| proc["pid"].clone()).collect::<Vec<_>>();
        let before = pids();
        host.call("2", "app_restore").assert_ok();
        assert_eq!(pids(), before);
    }
}

#[test]
fn a_release_that_throws_at_its_start_fails_with_what_it_wrote() {
    for (major, shell) in ALL {
        for apps in [CLUSTER, FORK] {
            let Some(host) = Pm2Host::new(major, shell) else { continue };
            let env = host.environment();
            host.unpack("1", apps, &env);
            host.deploy("1", None).assert_ok();
            host.unpack("2", apps, &env);
            host.host.write(host.host.release("2").join("server.js"), "throw new Error('no such table');\n");
            host.call("2", "app_compile && app_record").assert_ok();
            host.host.switch("2");
            let answer = host.call("2", "app_start && app_verify");
            assert!(answer.failure().contains("web (id"), "{answer:?}");
            assert!(answer.output.contains("no such table"), "PM2 {major} {answer:?}");
            assert!(!answer.output.contains("listening as 1"), "only what was written since: {answer:?}");
            assert!(host.revert("2", "1").assert_ok().says("proof proven"));
            assert_eq!(host.ask("").as_deref(), Some("1"));
        }
    }
}

#[test]
fn a_cluster_goes_on_serving_the_old_code_when_the_new_code_throws() {
    for (major, shell) in [(6, Shell::Dash)] {
        let Some(host) = Pm2Host::new(major, shell) else { continue };
        let env = host.environment();
        host.unpack("1", CLUSTER, &env);
        host.deploy("1", None).assert_ok();
        host.unpack("2", CLUSTER, &env);
        host.host.write(host.host.release("2").join("server.js"), "throw new Error('no such table');\n");
        host.call("2", "app_compile && app_record").assert_ok();
        host.host.switch("2");
        let answer = host.call("2", "app_start");
        assert!(answer.failure().contains("still run the old"), "PM2 {major} {answer:?}");
        assert!(answer.output.contains("no such table"), "PM2 {major} {answer:?}");
        assert_eq!(host.ask("").as_deref(), Some("1"));
        assert!(host.revert("2", "1").assert_ok().says("proof proven 2 processes"));
        assert_eq!(host.ask("").as_deref(), Some("1"));
    }
}

#[test]
fn a_release_that_dies_while_it_settles_fails() {
    let Some(host) = Pm2Host::new(7, Shell::Dash) else { return };
    let mut env = host.environment();
    env.health = None;
    env.settle = Duration::from_secs(6);
    host.unpack("1", FORK, &env);
    host.host.write(host.host.release("1").join("server.js"), "setTimeout(() => process.exit(7), 2500);\n");
    let answer = host.deploy("1", None);
    assert!(answer.failure().contains("restarted by PM2"), "{answer:?}");
}

#[test]
fn an_app_that_was_restarted_since_it_was_proven_is_not_well_any_more() {
    let Some(host) = Pm2Host::new(7, Shell::BusyBox) else { return };
    host.unpack("1", FORK, &host.environment());
    host.deploy("1", None).assert_ok();
    for _ in 0..2 {
        assert!(host.call("1", "app_recheck").assert_ok().says("proof proven 1 process"));
    }
    assert!(host.pm2(&["restart", "all"]).status.success());
    let answer = host.call("1", "app_recheck");
    assert!(answer.failure().contains("restarted by PM2 1 times"), "{answer:?}");
}

#[test]
fn a_release_that_never_listens_fails_its_health_check() {
    let Some(host) = Pm2Host::new(7, Shell::Bash) else { return };
    let mut env = host.environment();
    if let Some(health) = &mut env.health {
        health.timeout = Duration::from_secs(3);
    }
    host.unpack("1", FORK, &env);
    host.host.write(
        host.host.release("1").join("server.js"),
        "console.log('idle'); setInterval(() => {}, 1000);\n",
    );
    let answer = host.deploy("1", None);
    assert!(answer.failure().contains("the health check did not pass within 3 s"), "{answer:?}");
    assert!(answer.output.contains("idle"), "{answer:?}");
}

#[test]
fn variables_come_from_the_file_then_its_environment_then_deploy_toml() {
    for (major, shell) in [(6, Shell::BusyBox)] {
        let Some(host) = Pm2Host::new(major, shell) else { continue };
        let mut env = host.environment();
        env.vars.insert("C".to_owned(), "deploy.toml's".to_owned());
        env.vars.insert("TRICKY".to_owned(), "it's \"$HOME\"\nand more".to_owned());
        let apps = "[{ name: 'web', script: 'server.js', env: { A: 'base', B: 'base', C: 'base', PORT: 1 }, \
                    env_production: { B: 'production', C: 'production' }, env_other: { B: 'other' } }]";
        host.unpack("1", apps, &env);
        let compiled = host.call("1", "app_compile").assert_ok();
        assert!(compiled.says("env_production"), "{compiled:?}");
        host.deploy("1", None).assert_ok();
        let values = ["A", "B", "C", "TRICKY", "SSH_CLIENT"].map(|name| host.ask(name).unwrap());
        assert_eq!(values, ["base", "production", "deploy.toml's", "it's \"$HOME\"\nand more", "undefined"]);
        assert_eq!(host.ask("PATH"), host.host.env.get("PATH").cloned());
    }
}

#[test]
fn a_variable_that_left_the_configuration_leaves_the_app() {
    for (major, shell) in [(7, Shell::Bash)] {
        let Some(host) = Pm2Host::new(major, shell) else { continue };
        let mut env = host.environment();
        env.vars.insert("OLD_KEY".to_owned(), "secret".to_owned());
        host.unpack("1", CLUSTER, &env);
        host.deploy("1", None).assert_ok();
        assert_eq!(host.ask("OLD_KEY").as_deref(), Some("secret"));
        env.vars.remove("OLD_KEY");
        host.unpack("2", CLUSTER, &env);
        let answer = host.deploy("2", Some("1")).assert_ok();
        assert!(answer.says("proof proven"));
        assert_eq!(host.ask("OLD_KEY").as_deref(), Some("undefined"), "PM2 {major}");
    }
}

#[test]
fn a_change_of_mode_or_number_reaches_pm2() {
    for (major, shell) in [(7, Shell::BusyBox)] {
        let Some(host) = Pm2Host::new(major, shell) else { continue };
        let env = host.environment();
        let cluster = |n: u32| CLUSTER.replace('2', &n.to_string());
        let steps =
            [(FORK.to_owned(), 1), (cluster(3), 3), (cluster(1), 1), (cluster(2), 2), (FORK.to_owned(), 1)];
        let mut last = None;
        for (n, (apps, count)) in steps.iter().enumerate() {
            let id = (n + 1).to_string();
            host.unpack(&id, apps, &env);
            let answer = host.deploy(&id, last.as_deref());
            assert!(answer.ok, "PM2 {major} step {n}: {answer:?}");
            assert_eq!(host.list().len(), *count, "PM2 {major} step {n}");
            assert_eq!(host.ask(""), Some(id.clone()));
            last = Some(id);
        }
    }
}

#[test]
fn an_app_that_left_the_file_goes_at_commit_and_comes_back_in_a_revert() {
    let Some(host) = Pm2Host::new(7, Shell::Dash) else { return };
    let env = host.environment();
    let both = "[{ name: 'web', script: 'server.js' }, { name: 'idle', script: 'idle.js' }]";
    host.unpack("1", both, &env);
    host.host.write(host.host.release("1").join("idle.js"), "setInterval(() => {}, 1000);\n");
    host.deploy("1", None).assert_ok();
    host.unpack("2", FORK, &env);
    host.deploy("2", Some("1")).assert_ok();
    assert_eq!(host.names(), ["idle", "web"]);
    let recipe = host.host.recipe("1").display().to_string();
    host.host.call_with("2", "app_commit", &[("LEAVING", &recipe)]).assert_ok();
    assert_eq!(host.names(), ["web"]);
    let dump = host.host.dir.path().join("pm2/dump.pm2");
    assert!(!fs::read_to_string(&dump).unwrap().contains("idle.js"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&dump).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // A rollback goes the other way.
    assert!(host.revert("2", "1").assert_ok().says("proof proven 2 processes"));
    assert_eq!(host.names(), ["idle", "web"]);
}

#[test]
fn a_renamed_app_takes_the_old_ones_port_and_a_revert_gives_it_back() {
    let Some(host) = Pm2Host::new(7, Shell::Dash) else { return };
    let env = host.environment();
    host.unpack("1", FORK, &env);
    host.deploy("1", None).assert_ok();
    host.unpack("2", &FORK.replace("web", "site"), &env);
    host.deploy("2", Some("1")).assert_ok();
    assert_eq!((host.names(), host.ask("").as_deref()), (vec!["site".to_owned()], Some("2")));
    host.revert("2", "1").assert_ok();
    assert_eq!((host.names(), host.ask("").as_deref()), (vec!["web".to_owned()], Some("1")));
}

#[test]
fn an_app_of_that_name_from_elsewhere_is_refused_and_left_alone() {
    for (major, shell) in [(5, Shell::Bash)] {
        let Some(host) = Pm2Host::new(major, shell) else { continue };
        host.host.write("elsewhere/other.js", "setInterval(() => {}, 1000);\n");
        assert!(host.pm2_in("elsewhere", &["start", "other.js", "--name", "web"]).status.success());
        let env = host.environment();
        host.unpack("1", FORK, &env);
        let answer = host.call("1", "app_compile");
        assert!(answer.failure().contains("already runs an app named web from"), "{answer:?}");
        let app = crate::config::Pm2App {
            name: "web".to_owned(),
            script: "server.js".to_owned(),
            cwd: None,
            args: vec![],
            instances: None,
            cluster: false,
            env: BTreeMap::new(),
        };
        let mut env = environment(Supervisor::Pm2(Pm2::Apps(vec![app])));
        env.health = None;
        host.host.write_recipe("2", &env);
        let checked = host.call("2", "app_check").assert_ok();
        assert!(checked.says("problem PM2 already runs an app named web from"), "{checked:?}");
        assert!(checked.says(&format!("fact pm2 {major}.")), "{checked:?}");
        // Neither does anything that removes apps touch it.
        host.host.write(host.host.recipe("1").join("pm2-names"), "web\n");
        host.call("1", "app_stop").assert_ok();
        assert_eq!(host.names(), ["web"]);
    }
}

#[test]
fn a_look_at_a_host_without_a_daemon_starts_none() {
    for (major, shell) in ALL {
        let Some(host) = Pm2Host::new(major, shell) else { continue };
        host.unpack("1", FORK, &host.environment());
        host.call("1", "app_check && app_compile && app_record && app_pids && app_logs 3 && app_stop")
            .assert_ok();
        assert!(!host.host.dir.path().join("pm2/pm2.pid").exists());
    }
}

#[test]
fn the_daemon_inherits_no_secret_no_release_and_no_descriptor() {
    for (major, shell) in [(7, Shell::Dash)] {
        let Some(mut host) = Pm2Host::new(major, shell) else { continue };
        host.host.env.insert("SSH_CLIENT".to_owned(), "10.0.0.1 4 22".to_owned());
        let mut env = host.environment();
        env.vars.insert("API_KEY".to_owned(), "s3cret".to_owned());
        host.unpack("1", FORK, &env);
        host.deploy("1", None).assert_ok();
        let proc = PathBuf::from("/proc").join(host.daemon_pid());
        let environ = String::from_utf8_lossy(&fs::read(proc.join("environ")).unwrap()).replace('\0', "\n");
        for word in ["API_KEY", "s3cret", "SSH_CLIENT", "RECIPE=", "RELEASE="] {
            assert!(!environ.contains(word), "PM2 {major}: {environ}");
        }
        assert_eq!(fs::read_link(proc.join("cwd")).unwrap(), host.host.root().canonicalize().unwrap());
        let log = host.host.dir.path().join("log-1");
        let open =
            fs::read_dir(proc.join("fd")).unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        assert!(open.into_iter().all(|file| file != log && !file.ends_with("rdeploy.lock")));
        assert_eq!(host.ask("API_KEY").as_deref(), Some("s3cret"));
    }
}

#[test]
fn first_calls_at_the_same_time_start_one_daemon_and_lose_no_app() {
    for flock in [true, false] {
        let Some(mut host) = Pm2Host::new(7, Shell::Dash) else { return };
        if !flock {
            // A PATH on which everything is found but flock.
            let bin = host.host.dir.path().join("bin");
            for dir in std::env::split_paths(&host.host.env["PATH"]) {
                for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                    if entry.file_name() != "flock" {
                        let _ = std::os::unix::fs::symlink(entry.path(), bin.join(entry.file_name()));
                    }
                }
            }
            host.host.env.insert("PATH".to_owned(), bin.display().to_string());
        }
        let env = host.environment();
        let apps =
            |name: &str| FORK.replace("web", name).replace("'server.js'", "'server.js', env: { PORT: 0 }");
        let mut env_without_port = env;
        env_without_port.vars.clear();
        env_without_port.health = None;
        for (id, name) in [("1", "one"), ("2", "two"), ("3", "three")] {
            host.unpack(id, &apps(name), &env_without_port);
            host.call(id, "app_compile").assert_ok();
        }
        host.host.switch("1");
        // In life each has a tree of its own; here all three run from release 1.
        std::thread::scope(|scope| {
            for id in ["1", "2", "3"] {
                let work = host.host.dir.path().join("work").join(id).display().to_string();
                let host = &host.host;
                scope.spawn(move || {
                    host.call_with(id, "mkdir \"$WORK\" && app_start", &[("WORK", &work)]).assert_ok();
                });
            }
        });
        assert_eq!(host.names(), ["one", "three", "two"], "flock {flock}");
    }
}
