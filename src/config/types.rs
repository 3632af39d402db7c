//! Owns the validated form of a configuration: what the rest of the crate works with. A value of these
//! types was judged before it was made; how it was written in the file is not known here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::health::Health;
use super::names;
use super::suggest;

/// A project: where its `deploy.toml` is, and its environments, each already merged with the top level.
#[derive(Clone, Debug)]
pub struct Project {
    /// The configuration file.
    pub file: PathBuf,
    /// The directory it lies in; build commands run here.
    pub root: PathBuf,
    /// The application's name.
    pub app: String,
    /// The environments by name.
    pub environments: BTreeMap<String, Environment>,
}

impl Project {
    /// Returns the environment of that name.
    pub fn environment(&self, name: &str) -> Result<&Environment, UnknownEnvironment> {
        self.environments.get(name).ok_or_else(|| {
            let known = || self.environments.keys().map(String::as_str);
            UnknownEnvironment {
                name: names::excerpt(&name.escape_debug().to_string()),
                similar: suggest::closest(name, known()).map(str::to_owned),
                known: known().map(str::to_owned).collect(),
            }
        })
    }
}

/// The project has no environment of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no environment `{name}`: {}", self.hint())]
pub struct UnknownEnvironment {
    /// The name that was asked for.
    pub name: String,
    /// The one that was probably meant.
    pub similar: Option<String>,
    /// Those that there are.
    pub known: Vec<String>,
}

impl UnknownEnvironment {
    /// Returns what to write instead.
    pub fn hint(&self) -> String {
        let known = self.known.join(", ");
        match &self.similar {
            Some(similar) => format!("did you mean `{similar}`? (deploy.toml has {known})"),
            None => format!("deploy.toml has {known}"),
        }
    }
}

/// Everything needed to deploy to one environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its name, as in `rdeploy NAME`.
    pub name: String,
    /// The application's name.
    pub app: String,
    /// The application's directory on the hosts: absolute, normalised, never `/`.
    pub deploy_to: String,
    /// How many good releases stay on a host.
    pub keep_releases: usize,
    /// Directories of `shared/` linked into each release.
    pub linked_dirs: Vec<String>,
    /// Files of `shared/` linked into each release.
    pub linked_files: Vec<String>,
    /// How the artifact is made.
    pub build: Build,
    /// What keeps the app up.
    pub supervisor: Supervisor,
    /// How long processes must stay up before they count as proven.
    pub settle: Duration,
    /// The checks that decide between keeping and putting back; all of them have to pass.
    pub health: Vec<Health>,
    /// The user's commands at named points.
    pub hooks: Hooks,
    /// Where it goes.
    pub hosts: Hosts,
    /// How many hosts may be left out of a run because they cannot be reached.
    pub max_unreachable: usize,
    /// Variables for hooks and the app (not for the build).
    pub vars: BTreeMap<String, String>,
    /// Directories put before PATH on hosts.
    pub path: Vec<String>,
    /// How connections are made.
    pub ssh: SshSettings,
    /// How long a switched host waits for a silent client before it puts itself back.
    pub lease: Duration,
    /// How the switch moves through the hosts.
    pub rollout: Rollout,
}

/// The hosts of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Real ones.
    Listed(Vec<Host>),
    /// That many SSH hosts inside rdeploy itself.
    Embedded(u8),
}

/// A machine reached over SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The login name; none means the local user's.
    pub user: Option<String>,
    /// DNS name or IP address, without brackets.
    pub address: String,
    /// The TCP port.
    pub port: u16,
    /// What it is for; none means every role.
    pub roles: Option<BTreeSet<String>>,
}

impl Host {
    /// Whether a hook for `roles` runs here; an empty list means every host.
    pub fn has_any_role(&self, roles: &[String]) -> bool {
        match &self.roles {
            _ if roles.is_empty() => true,
            None => true,
            Some(own) => roles.iter().any(|role| own.contains(role)),
        }
    }

    /// The name shown for it: the address, with the port unless it is 22.
    pub fn name(&self) -> String {
        match (self.port, self.address.contains(':')) {
            (22, _) => self.address.clone(),
            (port, false) => format!("{}:{port}", self.address),
            (port, true) => format!("[{}]:{port}", self.address),
        }
    }
}

/// How the artifact is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// Commands run on this machine, in order, in the project's root, by `sh -c`.
    pub run: Vec<String>,
    /// The directory that is packed, relative to the project's root.
    pub source: PathBuf,
    /// Globs of files packed even though git ignores them.
    pub include: Vec<String>,
    /// Globs of files never packed.
    pub exclude: Vec<String>,
}

/// What keeps the app up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// Nothing runs (static sites, CGI).
    None,
    /// The user's own commands.
    Command(CommandSupervisor),
    /// PM2.
    Pm2(Pm2),
    /// systemd.
    Systemd(Systemd),
    /// supervisord.
    Supervisord(Supervisord),
}

impl Supervisor {
    /// Its name in `deploy.toml`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Command(_) => "command",
            Self::Pm2(_) => "pm2",
            Self::Systemd(_) => "systemd",
            Self::Supervisord(_) => "supervisord",
        }
    }
}

/// Units of systemd that are on the hosts already and lead through `current`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Systemd {
    /// Their names, with `.service`; restarted in this order.
    pub units: Vec<String>,
    /// Whose units they are.
    pub scope: Scope,
    /// What `setup` writes as the only unit, where it writes one.
    pub service: Option<Service>,
}

/// A unit of systemd that rdeploy writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The command that is the app, run by `sh` in `current`.
    pub exec: String,
    /// Whether the app tells systemd when it is ready.
    pub notifies: bool,
}

/// Whose units of systemd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The login user's own.
    #[default]
    User,
    /// The host's, restarted with root's rights.
    System,
}

/// Programs of supervisord, which lead through `current`. They are on the hosts already, or rdeploy writes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervisord {
    /// Their names as supervisorctl takes them: `name`, `group:name` or `group:*`; restarted in this order.
    pub programs: Vec<String>,
    /// The file for `supervisorctl -c`; none means the one that is found on the host.
    pub config: Option<String>,
    /// The command that is the app, run by `sh` in `current`, of a program that rdeploy writes.
    pub exec: Option<String>,
}

/// The user's own commands, run by `sh -c` in `current`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSupervisor {
    /// Starts the app when it is not running.
    pub start: String,
    /// Makes the new release live; `stop` then `start` when absent.
    pub restart: Option<String>,
    /// Ends the app.
    pub stop: Option<String>,
    /// Exits 0 while the app is up.
    pub status: Option<String>,
    /// Where the app writes: absolute paths, or paths in the live release.
    pub logs: Vec<String>,
}

/// PM2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pm2 {
    /// The user's ecosystem file, relative to the release.
    Ecosystem(String),
    /// Apps written in `deploy.toml`.
    Apps(Vec<Pm2App>),
}

/// One app under PM2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pm2App {
    /// Its name in PM2.
    pub name: String,
    /// The script, relative to `cwd`.
    pub script: String,
    /// Working directory relative to the release; the release itself when absent.
    pub cwd: Option<String>,
    /// The script's arguments.
    pub args: Vec<String>,
    /// How many; none means one.
    pub instances: Option<Instances>,
    /// Cluster instead of fork.
    pub cluster: bool,
    /// Variables of this app.
    pub env: BTreeMap<String, String>,
}

/// How many processes PM2 keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// One a core.
    Max,
    /// That many.
    Count(u16),
}

/// The user's commands at named points, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Local, before the build.
    pub before_build: Vec<Hook>,
    /// Local, after the build.
    pub after_build: Vec<Hook>,
    /// On hosts, in the unpacked release, before any host is switched.
    pub after_unpack: Vec<Hook>,
    /// On hosts, before the switch; those marked `once` run before any host is switched.
    pub before_switch: Vec<Hook>,
    /// On hosts, after the app was proven there.
    pub after_switch: Vec<Hook>,
    /// On hosts, after everything is committed; a failure is a warning.
    pub after_deploy: Vec<Hook>,
    /// On hosts, after a failed deploy was put back; a failure is a warning.
    pub on_failure: Vec<Hook>,
    /// On hosts, after a rollback is committed; a failure is a warning.
    pub after_rollback: Vec<Hook>,
}

/// One command of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The command, run by `sh -c`.
    pub run: String,
    /// Only on hosts with one of these roles; empty means all.
    pub roles: Vec<String>,
    /// Only on the first matching host.
    pub once: bool,
    /// Working directory relative to the release (or the project, for local hooks).
    pub dir: Option<String>,
    /// Killed after this long.
    pub timeout: Duration,
    /// Runs in deploys.
    pub on_deploy: bool,
    /// Runs in rollbacks.
    pub on_rollback: bool,
    /// Undoes it when the transaction is reverted after it completed.
    pub undo: Option<String>,
}

/// How the switch moves through the hosts. The default is all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// How many hosts go first, on their own; 0 means none.
    pub first: usize,
    /// How many of the others go at a time.
    pub batch: Batch,
    /// How long the first ones have to stay well before the others follow.
    pub pause: Duration,
    /// The roles in whose order hosts go.
    pub order: Vec<String>,
}

/// How many hosts are switched at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Batch {
    /// All of them.
    #[default]
    All,
    /// That many.
    Hosts(u32),
    /// That part of the hosts that take part, rounded up: 1 to 100.
    Percent(u8),
}

/// How connections are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSettings {
    /// Key files to log in with; when given, only these.
    pub identity: Vec<PathBuf>,
    /// Files of known host keys instead of `~/.ssh/known_hosts`.
    pub known_hosts: Vec<PathBuf>,
    /// Limit for TCP connect, key exchange and login together.
    pub connect_timeout: Duration,
}
