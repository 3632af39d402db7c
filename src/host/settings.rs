//! Owns what the client gives a guardian: the variables, the recipe and the hooks, as one small program
//! that travels on standard input, since part of it is secret.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::gzip;
use crate::config;
use crate::release::ReleaseId;
use crate::shell;
use crate::supervisor;
use crate::supervisor::RecipeFile;

/// Longer settings are gzipped: a window full of bytes more is a round trip more, and a process less is a millisecond.
const PLAIN_AT_MOST: usize = 6 << 10;

/// A hook that hangs must not keep a host locked for as long as it may take in a deploy.
const UNDRAIN_AT_MOST: Duration = Duration::from_secs(120);

/// What an attempt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Makes a new release live.
    Deploy,
    /// Makes an earlier release live again.
    Rollback,
    /// Brings a host that was left behind level with the others.
    Resume,
    /// Ends the live release's app.
    Stop,
    /// Freezes the environment.
    Lock,
    /// Settles what holds the lock, and lifts a freeze.
    Unlock,
    /// Settles what dead attempts left.
    Recover,
    /// Only looks.
    Releases,
    /// Restarts the live release's app.
    Restart,
    /// Starts it where it does not run.
    Start,
    /// Makes the host ready for a first deploy.
    Setup,
}

impl Verb {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Recover => "recover",
            Self::Releases => "releases",
            Self::Restart => "restart",
            Self::Start => "start",
            Self::Setup => "setup",
        }
    }
}

/// A user's hook as a host gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookScript {
    /// Its number on this host; hooks are addressed by it.
    pub number: usize,
    /// The point it belongs to: `before_switch`.
    pub point: &'static str,
    /// The hook.
    pub hook: config::Hook,
}

/// Everything one host's guardian needs to know.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// The environment, with `deploy_to` as it is on this host. Hosts share it: it names all of them.
    pub environment: Arc<config::Environment>,
    /// The name shown for the host, also given to hooks.
    pub host: String,
    /// Its roles; none means all.
    pub roles: Option<Vec<String>>,
    /// Its place among the hosts, from 0.
    pub ordinal: usize,
    /// What is done.
    pub verb: Verb,
    /// Names this attempt; unguessable.
    pub token: String,
    /// Who acts: `user@machine`.
    pub owner: String,
    /// From where: the machine's name or CI system.
    pub from: String,
    /// The CI job's address, or empty.
    pub ci_url: String,
    /// Extra variables for the app and hooks on this host (an embedded host's `PORT`).
    pub host_vars: BTreeMap<String, String>,
    /// The hooks of this host.
    pub hooks: Vec<HookScript>,
}

/// What is being made live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The release.
    pub release: String,
    /// What `current` points at now, as the link's text; empty when there is none.
    pub previous: String,
    /// The artifact's digest.
    pub digest: String,
    /// Its git commit, or empty.
    pub commit: String,
    /// Its git branch, or empty.
    pub branch: String,
    /// The hosts that do not take part because they cannot be reached.
    pub absent: Vec<String>,
}

impl Attempt {
    /// An attempt at making `release` live on a host whose `current` holds `previous`.
    pub fn new(release: ReleaseId, previous: Option<&str>) -> Self {
        Self {
            release: release.to_string(),
            previous: previous.unwrap_or_default().to_owned(),
            ..Self::default()
        }
    }

    /// The shell assignments, on one line.
    pub(super) fn line(&self) -> String {
        assignments([
            ("RELEASE_ID", self.release.as_str()),
            ("PREVIOUS", &self.previous),
            ("DIGEST", &self.digest),
            ("COMMIT", &self.commit),
            ("BRANCH", &self.branch),
            ("ABSENT", &words(&self.absent)),
        ])
        .replace('\n', " ")
    }
}

/// Names that stand in one line to a guardian, which takes no longer ones than 3500 characters. Of more hosts
/// than that, the others are not remembered by name.
pub(super) fn words(names: &[String]) -> String {
    let mut length = 0;
    let fits = |name: &&String| {
        length += name.len() + 1;
        length <= 2000
    };
    names.iter().take_while(fits).map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn assignments<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    pairs.into_iter().map(|(name, value)| format!("{name}={}\n", shell::quote(value))).collect()
}

fn exports<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    pairs.into_iter().map(|(name, value)| format!("export {name}={}\n", shell::quote(value))).collect()
}

impl SessionSettings {
    /// The directory of this attempt on the host.
    pub(super) fn run(&self) -> String {
        format!("{}/.rdeploy/run/{}", self.root(), self.token)
    }

    /// `deploy_to`, without a slash at its end.
    pub(super) fn root(&self) -> &str {
        self.environment.deploy_to.trim_end_matches('/')
    }

    /// How long the switch, the restart and the proof may take together.
    pub(super) fn activate_limit(&self) -> Duration {
        // They are asked one after the other, and one may take all its time for an answer.
        let health: Duration = self.environment.health.iter().map(config::Health::patience).sum();
        Duration::from_secs(180) + self.environment.settle + health * 2
    }

    /// How long the hooks may take that take a host back into service which was put back, where nobody
    /// waits for them but the next deploy.
    pub(super) fn undrain_limit(&self) -> Duration {
        let own = |script: &&HookScript| script.point == "after_switch" && !script.hook.once;
        let limit: Duration = self.hooks.iter().filter(own).map(|script| script.hook.timeout).sum();
        limit.min(UNDRAIN_AT_MOST)
    }

    /// Returns what a guardian reads first: how many bytes follow, and whether they are gzipped, as a line; then the
    /// bytes, a program that makes `settings`, `linked_dirs`, `linked_files`, `recipe/` and `hooks/` (`sh/meta.sh`). A
    /// text costs a host fewer processes than an archive.
    ///
    /// # Errors
    ///
    /// None that is known: no configuration has text that a shell cannot hold.
    pub(super) fn parcel(&self) -> io::Result<Vec<u8>> {
        let program = self.program()?.into_bytes();
        let is_long = program.len() > PLAIN_AT_MOST;
        let body = if is_long { gzip::gzipped(&program)? } else { program };
        let form = if is_long { "gzip" } else { "plain" };
        Ok([format!("{} {form}\n", body.len()).as_bytes(), &body].concat())
    }

    /// The part of the program that makes what is no secret and that the checks need.
    ///
    /// # Errors
    ///
    /// As with [`SessionSettings::parcel`].
    pub(super) fn early(&self) -> io::Result<String> {
        let mut files = self.known();
        let is_needed = |name: &str| matches!(name, "recipe/version" | "recipe/kind");
        files.extend(self.recipe()?.into_iter().filter(|(name, _)| is_needed(name)));
        Ok(lay(&files))
    }

    fn known(&self) -> Vec<(String, String)> {
        vec![
            ("settings".to_owned(), self.variables()),
            ("linked_dirs".to_owned(), lines(&self.environment.linked_dirs)),
            ("linked_files".to_owned(), lines(&self.environment.linked_files)),
        ]
    }

    fn recipe(&self) -> io::Result<Vec<(String, String)>> {
        let files = supervisor::recipe_files(&self.environment, &self.host_vars).into_iter();
        files
            .map(|RecipeFile { name, contents, .. }| {
                Ok((format!("recipe/{name}"), String::from_utf8(contents).map_err(io::Error::other)?))
            })
            .collect()
    }

    fn program(&self) -> io::Result<String> {
        let mut files = self.known();
        files.extend(self.recipe()?);
        files.push(("hooks/env.sh".to_owned(), self.hook_variables()));
        let mut dirs = vec!["recipe".to_owned(), "hooks".to_owned()];
        for HookScript { number, point, hook } in &self.hooks {
            let mut add =
                |name: &str, contents: String| files.push((format!("hooks/{number}/{name}"), contents));
            // What runs once for the fleet is no host's own: it neither drains one nor ends that.
            add("point", if hook.once { format!("{point} once\n") } else { format!("{point}\n") });
            add("run", format!("{}\n", hook.run));
            add("dir", hook.dir.clone().unwrap_or_default());
            if let Some(undo) = &hook.undo {
                add("undo", format!("{undo}\n"));
            }
            dirs.push(format!("hooks/{number}"));
        }
        if files.iter().any(|(_, contents)| contents.contains('\0')) {
            return Err(io::Error::other("a setting holds a NUL, which no shell can read"));
        }
        Ok(format!("meta_dirs {} &&\n{}", dirs.join(" "), lay(&files)))
    }

    fn variables(&self) -> String {
        let lease = self.environment.lease.as_secs().max(1).to_string();
        let limit = self.activate_limit().as_secs().to_string();
        // A second more, so that it is never none.
        let undrain = (self.undrain_limit().as_secs() + 1).to_string();
        let ordinal = self.ordinal.to_string();
        assignments([
            ("ROOT", self.root()),
            ("APP", &self.environment.app),
            ("ENV", &self.environment.name),
            ("HOST", &self.host),
            ("TOKEN", &self.token),
            ("OWNER", &self.owner),
            ("FROM", &self.from),
            ("CI_URL", &self.ci_url),
            ("VERB", self.verb.name()),
            ("LEASE", &lease),
            ("ORDINAL", &ordinal),
            ("ACTIVATE_LIMIT", &limit),
            ("UNDRAIN_LIMIT", &undrain),
        ])
    }

    fn hook_variables(&self) -> String {
        let roles = self.roles.as_ref().map_or_else(|| "*".to_owned(), |roles| roles.join(","));
        let vars = self.environment.vars.iter().chain(&self.host_vars);
        let own = [
            ("RDEPLOY_ENV", self.environment.name.as_str()),
            ("RDEPLOY_HOST", &self.host),
            ("RDEPLOY_ROLES", &roles),
        ];
        let mut text = exports(vars.map(|(name, value)| (name.as_str(), value.as_str())).chain(own));
        if !self.environment.path.is_empty() {
            let path = shell::quote(&self.environment.path.join(":"));
            text.push_str(&format!("export PATH={path}:\"$PATH\"\n"));
        }
        text
    }
}

/// The program that makes these files.
fn lay(files: &[(String, String)]) -> String {
    let lines: Vec<String> = files
        .iter()
        .map(|(name, contents)| format!("meta_file {} {}", shell::quote(name), shell::quote(contents)))
        .collect();
    lines.join(" &&\n") + "\n# end\n"
}

fn lines(items: &[String]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}
