//! Owns the files of a recipe: everything that is needed to run a release again without asking
//! anybody, in forms that a shell and node can read. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::config::CommandSupervisor;
use crate::config::Environment;
use crate::config::Header;
use crate::config::Health;
use crate::config::HttpProbe;
use crate::config::Instances;
use crate::config::Pm2;
use crate::config::Pm2App;
use crate::config::Probe;
use crate::config::Scope;
use crate::config::Service;
use crate::config::Statuses;
use crate::config::Supervisor;
use crate::shell;

/// The version of the recipe's form. It rises when a guardian of an older version could misread it.
const VERSION: &str = "1";

/// The node programs that judge PM2's list. They are part of the recipe, so that a later guardian needs
/// nothing else; `.cjs`, because a package.json above them may say that `.js` is something else.
const PM2_PROGRAMS: &[(&str, &str)] = &[
    ("pm2.cjs", include_str!("pm2.cjs")),
    ("pm2-list.cjs", include_str!("pm2-list.cjs")),
    ("pm2-canary.cjs", include_str!("pm2-canary.cjs")),
    ("pm2-look.cjs", include_str!("pm2-look.cjs")),
    ("pm2-roll.cjs", include_str!("pm2-roll.cjs")),
    ("pm2-logs.cjs", include_str!("pm2-logs.cjs")),
    ("pm2-rpc.cjs", include_str!("pm2-rpc.cjs")),
    ("pm2-compile.cjs", include_str!("pm2-compile.cjs")),
];

/// One file of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeFile {
    /// Its name inside the recipe's directory.
    pub name: String,
    /// What is in it.
    pub contents: Vec<u8>,
    /// Whether it holds values that must not be shown (every file of a recipe is stored 0600).
    pub secret: bool,
}

/// Returns the recipe of an environment for one host. `host_vars` belong to that host alone and win
/// over the environment's own variables.
pub fn recipe_files(env: &Environment, host_vars: &BTreeMap<String, String>) -> Vec<RecipeFile> {
    let mut files = Files::default();
    files.line("version", VERSION);
    files.line("app", &env.app);
    files.line("environment", &env.name);
    // Where nothing runs, nothing can prove itself by staying up.
    let settle = if env.supervisor == Supervisor::None { Duration::ZERO } else { env.settle };
    files.line("settle", &seconds(settle).to_string());
    files.lines("path", &env.path);

    let mut vars = env.vars.clone();
    vars.extend(host_vars.iter().map(|(name, value)| (name.clone(), value.clone())));
    vars.retain(|name, _| is_variable_name(name));
    files.lines("env-names", vars.keys());
    files.add("env.sh", exports(&vars), true);

    match &env.supervisor {
        Supervisor::None => files.line("kind", "none"),
        Supervisor::Command(command) => {
            files.line("kind", "command");
            files.commands(command);
        }
        Supervisor::Systemd(systemd) => {
            files.line("kind", "systemd");
            files.lines("systemd-units", &systemd.units);
            files.line(
                "systemd-scope",
                match systemd.scope {
                    Scope::User => "user",
                    Scope::System => "system",
                },
            );
            files.add("systemd-env", environment_file(&vars), true);
            if let Some(service) = &systemd.service {
                files.add("systemd-unit", unit(env, service, systemd.scope), false);
            }
        }
        Supervisor::Supervisord(supervisord) => {
            files.line("kind", "supervisord");
            files.lines("supervisord-programs", &supervisord.programs);
            if let Some(config) = &supervisord.config {
                files.line("supervisord-config", config);
            }
            if let (Some(exec), [name]) = (&supervisord.exec, &supervisord.programs[..]) {
                files.add("supervisord-program", program(env, name, exec), false);
            }
        }
        Supervisor::Pm2(pm2) => {
            files.line("kind", "pm2");
            match pm2 {
                Pm2::Ecosystem(path) => files.line("pm2-ecosystem", path),
                Pm2::Apps(apps) => files.add("pm2-apps.json", apps_json(apps, host_vars), true),
            }
            for (name, program) in PM2_PROGRAMS {
                files.add(name, (*program).to_owned(), false);
            }
        }
    }
    for (n, health) in env.health.iter().enumerate() {
        files.health(n + 1, health);
    }
    files.0
}

#[derive(Default)]
struct Files(Vec<RecipeFile>);

impl Files {
    fn add(&mut self, name: &str, contents: String, secret: bool) {
        self.0.push(RecipeFile { name: name.to_owned(), contents: contents.into_bytes(), secret });
    }

    fn line(&mut self, name: &str, text: &str) {
        self.add(name, format!("{text}\n"), false);
    }

    fn lines<T: AsRef<str>>(&mut self, name: &str, lines: impl IntoIterator<Item = T>) {
        let text = lines.into_iter().fold(String::new(), |text, line| text + line.as_ref() + "\n");
        self.add(name, text, false);
    }

    fn commands(&mut self, commands: &CommandSupervisor) {
        let CommandSupervisor { start, restart, stop, status, logs } = commands;
        self.line("start", start);
        for (name, text) in [("restart", restart), ("stop", stop), ("status", status)] {
            if let Some(text) = text {
                self.line(name, text);
            }
        }
        if !logs.is_empty() {
            self.lines("command-logs", logs);
        }
    }

    /// The first check has the names that an only one has, the others their number behind it. What is as it
    /// is when nothing is written is not there: so an older guardian reads what it knows.
    fn health(&mut self, n: usize, health: &Health) {
        let Health { probe, timeout, interval, successes, delay } = health;
        let end = if n == 1 { String::new() } else { format!(".{n}") };
        let mut lines = match probe {
            Probe::Http(probe) => self.page(&end, probe),
            Probe::Tcp { host, port } => {
                vec!["kind=tcp".to_owned(), format!("host={host}"), format!("port={port}")]
            }
            Probe::Socket(path) => vec!["kind=socket".to_owned(), format!("socket={path}")],
            Probe::Command(command) => {
                self.line(&format!("health-command{end}"), command);
                vec!["kind=command".to_owned()]
            }
        };
        lines.push(format!("timeout={}", seconds(*timeout)));
        lines.push(format!("interval={}", seconds(*interval).max(1)));
        if *successes > 1 {
            lines.push(format!("successes={successes}"));
        }
        if !delay.is_zero() {
            lines.push(format!("delay={}", seconds(*delay)));
        }
        self.lines(&format!("health{end}"), lines);
    }

    fn page(&mut self, end: &str, probe: &HttpProbe) -> Vec<String> {
        let HttpProbe { url, host, socket, status, body, headers } = probe;
        let mut lines = vec!["kind=http".to_owned(), format!("url={url}")];
        lines.extend(host.iter().map(|host| format!("name={host}")));
        lines.extend(socket.iter().map(|path| format!("socket={path}")));
        if *status != [Statuses::SUCCESS_OR_REDIRECTION] {
            let ranges: Vec<String> = status.iter().map(Statuses::to_string).collect();
            lines.push(format!("status={}", ranges.join(" ")));
        }
        if let Some(body) = body {
            self.line(&format!("health-body{end}"), body);
        }
        let named = host.iter().map(|host| format!("header = Host: {host}\n"));
        let others = headers.iter().map(|Header { name, value }| format!("header = {name}: {value}\n"));
        let headers: String = named.chain(others).collect();
        if !headers.is_empty() {
            self.add(&format!("health-headers{end}"), headers, true);
        }
        lines
    }
}

/// Whole seconds, rounded up: a shell counts no fractions, and waiting longer is the safe side.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Whether a shell can export it. The configuration has refused other names; one that came through
/// would make a shell stop reading `env.sh` and lose the rest.
fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn exports(vars: &BTreeMap<String, String>) -> String {
    vars.iter().map(|(name, value)| format!("export {name}={}\n", shell::quote(value))).collect()
}

/// The variables as systemd reads them from an `EnvironmentFile=`: in double quotes, where it takes a
/// backslash before these characters away (systemd.exec(5)).
fn environment_file(vars: &BTreeMap<String, String>) -> String {
    let quoted = |value: &str| -> String {
        let mut text = String::new();
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                text.push('\\');
            }
            text.push(c);
        }
        text
    };
    vars.iter().map(|(name, value)| format!("{name}=\"{}\"\n", quoted(value))).collect()
}

/// The unit that `setup` writes. Who runs it, where that has to be said, is known on the host.
fn unit(env: &Environment, service: &Service, scope: Scope) -> String {
    let root = env.deploy_to.trim_end_matches('/').replace('%', "%%");
    let mut exec = String::new();
    for c in service.exec.chars() {
        match c {
            '"' | '\\' => exec.extend(['\\', c]),
            // systemd's own.
            '$' | '%' => exec.extend([c, c]),
            _ => exec.push(c),
        }
    }
    let kind = if service.notifies { "notify" } else { "exec" };
    let (own, target) = match scope {
        Scope::User => ("", "default.target"),
        Scope::System => ("User=@USER@\nPrivateTmp=yes\nProtectSystem=full\n", "multi-user.target"),
    };
    let (name, app) = (&env.name, &env.app);
    format!(
        "# Written by rdeploy from deploy.toml. `rdeploy {name} setup` writes it again; without this line it does not.\n\
         [Unit]\nDescription={app} ({name})\nStartLimitIntervalSec=60\nStartLimitBurst=10\n\n\
         [Service]\nType={kind}\n{own}WorkingDirectory={root}/current\nEnvironmentFile=-{root}/.rdeploy/env\n\
         ExecStart=/bin/sh -c \"exec {exec}\"\nRestart=on-failure\nRestartSec=1\nKillMode=mixed\n\
         TimeoutStopSec=30\nNoNewPrivileges=yes\n\n[Install]\nWantedBy={target}\n"
    )
}

/// The program that `setup` writes. Who runs it is known on the host.
fn program(env: &Environment, name: &str, exec: &str) -> String {
    let root = env.deploy_to.trim_end_matches('/');
    let command = format!(". {}; exec {exec}", shell::quote(&format!("{root}/.rdeploy/env.sh")));
    // supervisord takes what follows a space and one of these for a comment, also inside quotes.
    let mut quoted = String::new();
    let mut last = ' ';
    for c in command.chars() {
        match c {
            '\'' => quoted.push_str(r"'\''"),
            ';' | '#' if last.is_whitespace() => quoted.extend(['\'', '\'', c]),
            // supervisord's own.
            '%' => quoted.push_str("%%"),
            _ => quoted.push(c),
        }
        last = c;
    }
    let (environment, root) = (&env.name, root.replace('%', "%%"));
    format!(
        "# Written by rdeploy from deploy.toml. `rdeploy {environment} setup` writes it again; without this line it does not.\n\
         [program:{name}]\ndirectory={root}/current\ncommand=/bin/sh -c '{quoted}'\nuser=@USER@\n\
         autostart=true\nautorestart=true\nstartsecs=1\nstopasgroup=true\nkillasgroup=true\n"
    )
}

/// The apps of `deploy.toml` as PM2 writes them. A host's own variables win here already, because the
/// compiler on the host lets an app's variables win over the environment's.
fn apps_json(apps: &[Pm2App], host_vars: &BTreeMap<String, String>) -> String {
    let apps: Vec<Value> = apps.iter().map(|app| Value::Object(app_json(app, host_vars))).collect();
    format!("{:#}\n", json!({ "apps": apps }))
}

fn app_json(app: &Pm2App, host_vars: &BTreeMap<String, String>) -> Map<String, Value> {
    let Pm2App { name, script, cwd, args, instances, cluster, env } = app;
    let instances = match instances {
        None => json!(1),
        Some(Instances::Max) => json!("max"),
        Some(Instances::Count(count)) => json!(count),
    };
    let env: Map<String, Value> =
        env.iter().map(|(key, value)| (key.clone(), json!(host_vars.get(key).unwrap_or(value)))).collect();
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(name));
    object.insert("script".to_owned(), json!(script));
    if let Some(cwd) = cwd {
        object.insert("cwd".to_owned(), json!(cwd));
    }
    if !args.is_empty() {
        object.insert("args".to_owned(), json!(args));
    }
    object.insert("instances".to_owned(), instances);
    object.insert("exec_mode".to_owned(), json!(if *cluster { "cluster" } else { "fork" }));
    object.insert("env".to_owned(), Value::Object(env));
    object
}
