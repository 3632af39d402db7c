//! Apps under real PM2, each test with a daemon of its own: `runs`, `fails` and `changes`.

/// Makes tests of one function, each with its values.
macro_rules! cases {
    ($test:ident: $($case:ident($($value:expr),*);)*) => {
        mod $test {
            use super::*;

            $(
                #[test]
                fn $case() {
                    super::$test($($value),*);
                }
            )*
        }
    };
}

/// Makes a test for every major version of PM2, each under another shell.
macro_rules! under_each_pm2 {
    ($test:ident) => {
        cases!($test:
            pm2_7(7, Shell::Dash);
            pm2_6(6, Shell::Bash);
            pm2_5(5, Shell::BusyBox);
        );
    };
}

/// The same, once for a cluster of two and once for a fork.
macro_rules! in_both_modes_under_each_pm2 {
    ($test:ident) => {
        cases!($test:
            pm2_7_cluster(7, Shell::Dash, CLUSTER);
            pm2_7_fork(7, Shell::Dash, FORK);
            pm2_6_cluster(6, Shell::Bash, CLUSTER);
            pm2_6_fork(6, Shell::Bash, FORK);
            pm2_5_cluster(5, Shell::BusyBox, CLUSTER);
            pm2_5_fork(5, Shell::BusyBox, FORK);
        );
    };
}

mod changes;
mod fails;
mod roll;
mod runs;
mod traps;

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
use super::has;
use super::own_port;
use super::skip;
use crate::config::Environment;
use crate::config::Header;
use crate::config::Health;
use crate::config::HttpProbe;
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
        Self::in_directory(super::PREFIX, major, shell)
    }

    /// The same, below a directory whose name begins so.
    fn in_directory(prefix: &str, major: u32, shell: Shell) -> Option<Self> {
        let Some(dir) = std::env::var_os("RDEPLOY_TEST_PM2") else {
            skip("RDEPLOY_TEST_PM2 names no directory with PM2 (tests/support/install-pm2 makes one)");
            return None;
        };
        let bin = PathBuf::from(dir).join(major.to_string()).join("node_modules/.bin");
        if !bin.join("pm2").exists() {
            skip(&format!("PM2 {major} is not in RDEPLOY_TEST_PM2"));
            return None;
        }
        if !has(shell.program()) {
            return None;
        }
        let mut host = Host::in_directory(prefix, shell);
        let path = format!("{}:{}", bin.display(), host.env["PATH"]);
        host.env.insert("PATH".to_owned(), path);
        host.env.insert("PM2_HOME".to_owned(), host.dir.path().join("pm2").display().to_string());
        Some(Self { host, port: own_port() })
    }

    /// PM2 as a user would call it, from a directory of the user's.
    fn pm2_in(&self, dir: &str, args: &[&str]) -> std::process::Output {
        self.command_in(dir, args).output().unwrap()
    }

    fn command_in(&self, dir: &str, args: &[&str]) -> Command {
        let path = &self.host.env["PATH"];
        let program =
            std::env::split_paths(path).map(|dir| dir.join("pm2")).find(|file| file.exists()).unwrap();
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(&self.host.env)
            .env("PM2_DISCRETE_MODE", "true")
            .current_dir(self.host.dir.path().join(dir))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
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
        let probe = Probe::Http(HttpProbe::at(format!("http://127.0.0.1:{}/", self.port)));
        env.health = vec![Health { timeout: Duration::from_secs(15), ..Health::of(probe) }];
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
        // One that PM2 starts again and again may be gone by now.
        of_app.filter_map(|proc| fs::read_link(format!("/proc/{}/cwd", proc["pid"])).ok()).collect()
    }
}

const CLUSTER: &str = "[{ name: 'web', script: 'server.js', exec_mode: 'cluster', instances: 2 }]";
const FORK: &str = "[{ name: 'web', script: 'server.js' }]";
