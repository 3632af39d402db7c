//! Owns deploys without a configuration file: `rdeploy to user@host:/path`. The same rules as for a file,
//! by the same functions; only the places are arguments.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use super::diagnostic::Defect;
use super::health::Health;
use super::host;
use super::names;
use super::paths;
use super::probe;
use super::raw;
use super::raw::Kind;
use super::supervisor;
use super::types::Environment;
use super::types::Hooks;
use super::types::Host;
use super::types::Hosts;
use super::types::Pm2;
use super::types::Rollout;
use super::types::SshSettings;
use super::types::Supervisor;
use super::validate;

/// The name of the environment that a one-off deploy makes up.
const NAME: &str = "to";

/// What the command line says of a one-off deploy.
#[derive(Clone, Debug, Default)]
pub struct OneOff {
    /// The project's directory; its name is the app's, unless `app` is given.
    pub directory: PathBuf,
    /// `[user@]host[:port]:/path`, all with the same path.
    pub targets: Vec<String>,
    /// The application's name.
    pub app: Option<String>,
    /// `pm2` or `none`.
    pub supervisor: Option<String>,
    /// PM2's ecosystem file; implies `pm2`.
    pub ecosystem: Option<String>,
    /// `http://…`, `tcp:host:port` or `command:…`.
    pub health: Option<String>,
    /// Build commands.
    pub build: Vec<String>,
    /// Globs of files packed even though git ignores them.
    pub include: Vec<String>,
    /// Globs of files never packed.
    pub exclude: Vec<String>,
    /// Directories of `shared/` linked into each release.
    pub linked_dirs: Vec<String>,
    /// Files of `shared/` linked into each release.
    pub linked_files: Vec<String>,
}

/// Everything that is wrong with a one-off deploy's arguments. Displayed, it is the whole report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOffError {
    defects: Vec<Defect>,
}

impl OneOffError {
    /// How many problems there are.
    pub fn len(&self) -> usize {
        self.defects.len()
    }

    /// Whether there is none; never so in an error.
    pub fn is_empty(&self) -> bool {
        self.defects.is_empty()
    }

    /// Returns the text for people: every problem with a way out.
    pub fn render(&self, color: bool) -> String {
        let each: Vec<String> = self.defects.iter().map(|defect| defect.render(None, color)).collect();
        each.join("\n\n")
    }
}

impl fmt::Display for OneOffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for OneOffError {}

/// Collects defects, each with the argument it is about in front.
#[derive(Debug, Default)]
struct Problems(Vec<Defect>);

impl Problems {
    fn add(&mut self, argument: &str, defect: Defect) {
        self.0.push(Defect { message: format!("{argument}: {}", defect.message), ..defect });
    }

    fn judged<T>(&mut self, argument: &str, judgement: Result<T, Defect>) -> Option<T> {
        judgement.map_err(|defect| self.add(argument, defect)).ok()
    }

    fn each(
        &mut self,
        argument: &str,
        texts: &[String],
        check: impl Fn(&str) -> Result<String, Defect>,
    ) -> Vec<String> {
        texts.iter().filter_map(|text| self.judged(argument, check(text))).collect()
    }
}

/// Makes an environment named `to` of the arguments.
pub fn one_off(arguments: OneOff) -> Result<Environment, OneOffError> {
    let mut problems = Problems::default();
    let app = app(&arguments, &mut problems);
    let (hosts, deploy_to) = targets(&arguments.targets, &mut problems);
    let supervisor = supervisor(&arguments, &mut problems);
    let health = arguments
        .health
        .as_deref()
        .and_then(|text| Some(Health::of(problems.judged("--health", probe::any(text))?)));
    let mut build = raw::default_build();
    build.run = problems.each("--build", &arguments.build, names::command);
    build.include = problems.each("--include", &arguments.include, paths::glob);
    build.exclude = problems.each("--exclude", &arguments.exclude, paths::glob);
    let linked_dirs = problems.each("--linked-dir", &arguments.linked_dirs, paths::linked);
    let linked_files = problems.each("--linked-file", &arguments.linked_files, paths::linked);
    collisions(&linked_dirs, &linked_files, &mut problems);
    if !problems.0.is_empty() {
        return Err(OneOffError { defects: problems.0 });
    }
    Ok(Environment {
        name: NAME.to_owned(),
        app,
        deploy_to,
        keep_releases: validate::KEEP_RELEASES,
        linked_dirs,
        linked_files,
        build,
        supervisor,
        settle: validate::SETTLE,
        health: health.into_iter().collect(),
        hooks: Hooks::default(),
        hosts: Hosts::Listed(hosts),
        max_unreachable: 0,
        vars: std::collections::BTreeMap::new(),
        path: Vec::new(),
        ssh: SshSettings {
            identity: Vec::new(),
            known_hosts: Vec::new(),
            connect_timeout: validate::CONNECT_TIMEOUT,
        },
        lease: validate::LEASE,
        rollout: Rollout::default(),
    })
}

fn app(arguments: &OneOff, problems: &mut Problems) -> String {
    let name = match &arguments.app {
        Some(name) => problems.judged("--app", names::app(name)),
        None => {
            let directory = arguments.directory.file_name().and_then(|name| name.to_str());
            let name = directory.and_then(names::sanitized_app);
            if name.is_none() {
                let message = "the directory's name does not do as the app's name";
                problems.0.push(Defect::new(message, "give one: `--app shop`"));
            }
            name
        }
    };
    name.unwrap_or_default()
}

/// Reads the targets: the hosts, each once, and the one path on all of them.
fn targets(texts: &[String], problems: &mut Problems) -> (Vec<Host>, String) {
    if texts.is_empty() {
        let message = "there is no target to deploy to";
        problems.0.push(Defect::new(message, "name one: `rdeploy to deploy@host.example.com:/srv/shop`"));
    }
    let mut hosts: Vec<Host> = Vec::new();
    let mut seen: BTreeSet<(String, u16)> = BTreeSet::new();
    let mut path: Option<(String, &str)> = None;
    for text in texts {
        let shown = names::excerpt(text);
        let Some((at, to)) = split(text) else {
            let message = format!("`{shown}` does not say where on the host");
            let host = text.trim_end_matches(':');
            let host = if host::host(host).is_ok() { host } else { "deploy@host.example.com" };
            problems.0.push(Defect::new(message, format!("add an absolute path: `{host}:/srv/shop`")));
            continue;
        };
        if let Some(host) = problems.judged(&format!("`{shown}`"), host::host(at)) {
            if seen.insert((host.address.to_lowercase(), host.port)) {
                hosts.push(host);
            } else {
                let message = format!("the host `{}` is named twice", host.name());
                problems.0.push(Defect::new(message, "name each host once"));
            }
        }
        let Some(to) = problems.judged(&format!("`{shown}`"), paths::deploy_to(to)) else { continue };
        match &path {
            Some((first, _)) if *first == to => {}
            Some((first, by)) => {
                let message = format!("`{shown}` names another path than `{}`", names::excerpt(by));
                problems.0.push(Defect::new(message, format!("deploy to `{first}` on every host")));
            }
            None => path = Some((to, text)),
        }
    }
    (hosts, path.map(|(path, _)| path).unwrap_or_default())
}

/// Splits `host:/path` where the path begins; brackets keep the colons of an IPv6 address together.
fn split(text: &str) -> Option<(&str, &str)> {
    if text.contains("://") {
        return None;
    }
    let at = text.find(":/").or_else(|| text.find(":~"))?;
    let (host, path) = text.split_at_checked(at)?;
    Some((host, path.strip_prefix(':')?))
}

fn supervisor(arguments: &OneOff, problems: &mut Problems) -> Supervisor {
    let ecosystem = arguments.ecosystem.as_deref();
    let file = ecosystem.and_then(|text| problems.judged("--ecosystem", paths::ecosystem(text)));
    let kind = match (&arguments.supervisor, ecosystem) {
        (Some(text), _) => problems.judged("--supervisor", raw::kind(text)),
        (None, Some(_)) => Some(Kind::Pm2),
        (None, None) => None,
    };
    match kind {
        Some(Kind::Pm2) => {
            Supervisor::Pm2(Pm2::Ecosystem(file.unwrap_or_else(|| supervisor::ECOSYSTEM.to_owned())))
        }
        Some(kind @ (Kind::Command | Kind::Systemd | Kind::Supervisord)) => {
            let (kind, what) = match kind {
                Kind::Systemd => ("systemd", "units"),
                Kind::Supervisord => ("supervisord", "programs"),
                _ => ("command", "commands"),
            };
            let message = format!("--supervisor: `{kind}` needs {what}, which only a deploy.toml can say");
            let help = "write a deploy.toml (see deploy.toml.example), or use `pm2` or `none`";
            problems.0.push(Defect::new(message, help));
            Supervisor::None
        }
        Some(Kind::None) if ecosystem.is_some() => {
            let message = "--ecosystem: the supervisor `none` runs no ecosystem file";
            problems.0.push(Defect::new(message, "leave one of the two out"));
            Supervisor::None
        }
        _ => Supervisor::None,
    }
}

fn collisions(dirs: &[String], files: &[String], problems: &mut Problems) {
    let mut all: BTreeSet<&str> = BTreeSet::new();
    for path in dirs.iter().chain(files) {
        if !all.insert(path) {
            problems.0.push(Defect::new(format!("`{path}` is linked twice"), "name it once"));
        }
    }
    for path in &all {
        if let Some(outer) = Path::new(path).ancestors().skip(1).find_map(|p| all.get(p.to_str()?)) {
            let message = format!("`{path}` lies inside `{outer}`, which is itself linked");
            problems.0.push(Defect::new(message, format!("leave one out; `{outer}` already covers both")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::health::Probe;

    fn targets(targets: &[&str]) -> OneOff {
        OneOff {
            directory: "/home/me/My Shop".into(),
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            ..OneOff::default()
        }
    }

    #[test]
    fn a_target_alone_is_enough() {
        let environment = one_off(targets(&["deploy@web1:2222:/srv/app/", "[::1]:/srv/app"])).unwrap();
        assert_eq!(environment.name, "to");
        assert_eq!(environment.app, "My-Shop");
        assert_eq!(environment.deploy_to, "/srv/app");
        assert_eq!(environment.supervisor, Supervisor::None);
        assert_eq!(environment.build.source, Path::new("."));
        let Hosts::Listed(hosts) = environment.hosts else { panic!("no hosts") };
        let names: Vec<String> = hosts.iter().map(Host::name).collect();
        assert_eq!(names, ["web1:2222", "::1"]);
    }

    #[test]
    fn what_a_file_could_say_can_be_said_in_arguments() {
        let environment = one_off(OneOff {
            app: Some("shop".to_owned()),
            ecosystem: Some("pm2.json".to_owned()),
            health: Some("tcp:3000".to_owned()),
            build: vec!["make".to_owned()],
            include: vec!["dist/**".to_owned()],
            linked_dirs: vec!["log/".to_owned()],
            linked_files: vec![".env".to_owned()],
            ..targets(&["web1:/srv/app"])
        })
        .unwrap();
        assert_eq!(environment.app, "shop");
        assert_eq!(environment.supervisor, Supervisor::Pm2(Pm2::Ecosystem("pm2.json".to_owned())));
        let probe = environment.health.into_iter().next().map(|health| health.probe);
        assert_eq!(probe, Some(Probe::Tcp { host: "127.0.0.1".to_owned(), port: 3000 }));
        assert_eq!(
            (environment.linked_dirs, environment.linked_files),
            (vec!["log".into()], vec![".env".into()])
        );
    }

    #[test]
    fn every_wrong_argument_is_reported_at_once() {
        let error = one_off(OneOff {
            directory: "/".into(),
            targets: [
                "web1:/srv/app",
                "web2",
                "-x:/srv/app",
                "web3:/srv/b",
                "WEB1:/srv/app",
                "web4:~/app",
                "ssh://w/x",
            ]
            .map(str::to_owned)
            .to_vec(),
            app: None,
            supervisor: Some("command".to_owned()),
            ecosystem: Some("server.js".to_owned()),
            health: Some("https://x/".to_owned()),
            build: vec![" ".to_owned()],
            include: vec!["/dist".to_owned()],
            exclude: vec!["{".to_owned()],
            linked_dirs: vec!["log".to_owned(), "../x".to_owned()],
            linked_files: vec!["log/a".to_owned(), "log".to_owned()],
        })
        .unwrap_err();
        assert_eq!(error.len(), 16);
        insta::assert_snapshot!(error, @r#"
        error: the directory's name does not do as the app's name
        help: give one: `--app shop`

        error: `web2` does not say where on the host
        help: add an absolute path: `web2:/srv/shop`

        error: `-x:/srv/app`: `-x` is not a host name: it begins with `-`
        help: write a name like "web1.example.com"

        error: `web3:/srv/b` names another path than `web1:/srv/app`
        help: deploy to `/srv/app` on every host

        error: the host `WEB1` is named twice
        help: name each host once

        error: `web4:~/app`: `~/app` is not absolute: `~` is not expanded on hosts
        help: write the whole path, "/home/deploy/shop" for example

        error: `ssh://w/x` does not say where on the host
        help: add an absolute path: `deploy@host.example.com:/srv/shop`

        error: --ecosystem: PM2 does not take `server.js` for an ecosystem file but for an app
        help: rename it to "server.config.js" (or .config.cjs, .json, .yml)

        error: --supervisor: `command` needs commands, which only a deploy.toml can say
        help: write a deploy.toml (see deploy.toml.example), or use `pm2` or `none`

        error: --health: `https` cannot be asked: the check runs on the host itself, where the app speaks http
        help: write "http://127.0.0.1:3000/healthz", with the app's own port, or use `command = "curl …"`

        error: --build: the command is empty
        help: write the command, or remove it from the list

        error: --include: `/dist` is absolute; patterns are relative to `source`
        help: write "dist"

        error: --exclude: `{` is not a pattern: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
        help: patterns look like "dist/**", "*.map", "{a,b}/*", "[0-9].txt"

        error: --linked-dir: `../x` contains `..`; a linked path must not lead outside
        help: write "x" if that is meant

        error: `log` is linked twice
        help: name it once

        error: `log/a` lies inside `log`, which is itself linked
        help: leave one out; `log` already covers both
        "#);
    }

    #[test]
    fn a_supervisor_that_an_argument_cannot_describe_is_refused() {
        let with = |supervisor: &str, ecosystem: Option<&str>| {
            one_off(OneOff {
                supervisor: Some(supervisor.to_owned()),
                ecosystem: ecosystem.map(str::to_owned),
                ..targets(&["web1:/srv/app"])
            })
        };
        assert!(with("pm2", None).is_ok());
        assert!(with("none", None).is_ok());
        assert!(with("none", Some("pm2.json")).is_err());
        for (kind, needs) in [("systemd", "units"), ("supervisord", "programs"), ("command", "commands")] {
            assert!(with(kind, None).unwrap_err().to_string().contains(&format!("needs {needs}")));
        }
        assert!(with("pm", None).unwrap_err().to_string().contains("did you mean `pm2`?"));
    }

    #[test]
    fn without_targets_an_example_is_shown() {
        let report = one_off(targets(&[])).unwrap_err().to_string();
        assert!(report.contains("rdeploy to deploy@host.example.com:/srv/shop"), "{report}");
    }
}
