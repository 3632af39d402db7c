//! Owns what only the merged whole of an environment shows: what is missing, what excludes each other,
//! what collides. Makes the validated types. Everything wrong goes to the sink; what is returned then is
//! a stand-in that the caller throws away.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::checks;
use super::diagnostic::Defect;
use super::diagnostic::Diagnostic;
use super::diagnostic::Sink;
use super::diagnostic::Span;
use super::names;
use super::raw;
use super::raw::Kind;
use super::reader::At;
use super::reader::Field;
use super::reader::value;
use super::rollout;
use super::suggest;
use super::supervisor;
use super::types::Build;
use super::types::Environment;
use super::types::Hook;
use super::types::Hooks;
use super::types::Hosts;
use super::types::Project;
use super::types::SshSettings;

/// What is meant where nothing is written. The reference in docs/configuration.md repeats these.
pub(super) const KEEP_RELEASES: usize = 5;
pub(super) const SETTLE: Duration = Duration::from_secs(5);
pub(super) const LEASE: Duration = Duration::from_secs(30);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the project of a file; none without an app.
pub(super) fn project(raw: raw::File, file: PathBuf, root: &Path, sink: &mut Sink<'_>) -> Option<Project> {
    if raw.app.is_none() {
        let defect =
            Defect::new("`app` is missing", "add `app = \"shop\"` at the top: the application's name");
        sink.report_absence(&sink.top(), defect);
    }
    if !raw.any_environment {
        let help = "add `[env.stage]` and below it `hosts = [\"deploy@stage.example.com\"]`";
        sink.report_absence(&sink.top(), Defect::new("there is no environment to deploy to", help));
    }
    let roles = Roles::of(&raw.environments);
    if let Some(rollout) = raw.top.rollout.as_ref().and_then(|given| given.value.as_ref()) {
        let hosts = raw.environments.iter().filter_map(|e| e.hosts.as_ref()?.value.as_ref()).flatten();
        let hosts: Vec<_> = hosts.map(|at| at.value.clone()).collect();
        rollout::check_top(rollout, &hosts, sink);
    }
    let app = value(raw.app).unwrap_or_default();
    let mut environments = BTreeMap::new();
    for mut environment in raw.environments {
        let own_rollout = environment.layer.rollout.as_ref().and_then(|given| given.value.clone());
        let layer = std::mem::take(&mut environment.layer).over(&raw.top);
        roles.check(&layer.hooks, sink);
        let hosts = hosts(&environment, sink);
        if let Some(own) = own_rollout {
            rollout::check(&own, &environment.name, &hosts, sink);
        }
        let unreachable = max_unreachable(&environment, &hosts, sink);
        let place = format!("`[env.{}]`", environment.name);
        let merged =
            merged(&environment.name, &app, &raw.build, hosts, layer, (&environment.span, &place), sink);
        let merged = Environment { max_unreachable: unreachable, ..merged };
        environments.insert(environment.name, merged);
    }
    (!app.is_empty()).then(|| Project { file, root: root.to_owned(), app, environments })
}

/// The diagnostic for a project that was not made although nothing was found wrong: a bug, told as one
/// rather than hidden.
pub(super) fn nothing_came_of_it() -> Vec<Diagnostic> {
    let defect =
        Defect::new("nothing could be made of this file", "this is a bug in rdeploy; please report it");
    vec![Diagnostic { span: 0..0, defect, context: None, absence: true }]
}

fn merged(
    name: &str,
    app: &str,
    build: &Build,
    hosts: Hosts,
    layer: raw::Layer,
    (span, place): (&Span, &str),
    sink: &mut Sink<'_>,
) -> Environment {
    if layer.deploy_to.is_none() {
        let message = format!("`deploy_to` is missing: neither {place} nor the top level says where to");
        let help = format!("add `deploy_to = \"/srv/{}\"`", if app.is_empty() { "shop" } else { app });
        sink.report_absence(span, Defect::new(message, help));
    }
    linked(&layer, sink);
    let kind = layer.supervisor.kind.as_ref().and_then(|given| given.value);
    if kind == Some(Kind::Pm2) {
        for (name, given) in &layer.vars {
            if let Err(defect) = names::not_a_pm2_field(name) {
                sink.report(&given.key, defect);
            }
        }
    }
    let plain = |field: Field<Vec<At<String>>>| -> Vec<String> {
        value(field).unwrap_or_default().into_iter().map(|at| at.value).collect()
    };
    let settle = value(layer.supervisor.settle.clone()).unwrap_or(SETTLE);
    let keep = value(layer.keep_releases).and_then(|n| usize::try_from(n).ok());
    Environment {
        name: name.to_owned(),
        app: app.to_owned(),
        deploy_to: value(layer.deploy_to).unwrap_or_default(),
        keep_releases: keep.unwrap_or(KEEP_RELEASES),
        linked_dirs: plain(layer.linked_dirs),
        linked_files: plain(layer.linked_files),
        build: build.clone(),
        supervisor: supervisor::supervisor(layer.supervisor, sink),
        settle,
        health: checks::checks(layer.health, sink),
        hooks: hooks(layer.hooks),
        hosts,
        max_unreachable: 0,
        vars: layer.vars.into_iter().filter_map(|(name, given)| Some((name, given.value?))).collect(),
        path: plain(layer.path),
        ssh: ssh(layer.ssh),
        lease: value(layer.lease).unwrap_or(LEASE),
        rollout: rollout::rollout(value(layer.rollout).unwrap_or_default()),
    }
}

fn hosts(environment: &raw::Environment, sink: &mut Sink<'_>) -> Hosts {
    match (&environment.hosts, &environment.embedded) {
        (Some(hosts), Some(embedded)) => {
            let message = format!("`[env.{}]` has both `hosts` and `embedded`", environment.name);
            let defect = Defect::new(message, "keep `hosts` for real hosts, or `embedded` for a rehearsal");
            sink.report_with(&embedded.key, defect, &hosts.key, "the other one");
        }
        (None, None) => {
            let message = format!("`[env.{}]` has no `hosts`", environment.name);
            let help =
                "add `hosts = [\"deploy@host.example.com\"]`, or `embedded = 2` to rehearse without a server";
            sink.report_absence(&environment.span, Defect::new(message, help));
        }
        _ => {}
    }
    match environment.embedded.as_ref().and_then(|given| given.value) {
        Some(count) => Hosts::Embedded(count),
        None => {
            let hosts = value(environment.hosts.clone()).unwrap_or_default();
            Hosts::Listed(hosts.into_iter().map(|at| at.value).collect())
        }
    }
}

/// How many hosts may be left out; somebody has to be left to deploy to.
fn max_unreachable(environment: &raw::Environment, hosts: &Hosts, sink: &mut Sink<'_>) -> usize {
    let Some(given) = &environment.max_unreachable else { return 0 };
    let Some(allowed) = given.value.and_then(|n| usize::try_from(n).ok()) else { return 0 };
    let count = match hosts {
        Hosts::Embedded(count) => usize::from(*count),
        Hosts::Listed(hosts) => hosts.len(),
    };
    // Without hosts, that is what is wrong.
    if count > 0 && allowed >= count {
        let name = &environment.name;
        let plural = if count == 1 { "host" } else { "hosts" };
        let message = format!("`max_unreachable` is {allowed}, but `[env.{name}]` has only {count} {plural}");
        let help = match count {
            1 => "leave it out: a run needs a host".to_owned(),
            _ => format!("write {} at most: a run needs a host", count - 1),
        };
        sink.report(&given.span, Defect::new(message, help));
    }
    allowed
}

/// Refuses links that would collide: twice the same, or one inside another.
fn linked(layer: &raw::Layer, sink: &mut Sink<'_>) {
    let mut all: BTreeMap<&str, &Span> = BTreeMap::new();
    let lists = [&layer.linked_dirs, &layer.linked_files];
    let entries = || lists.into_iter().flatten().filter_map(|given| given.value.as_ref()).flatten();
    for At { span, value } in entries() {
        match all.get(value.as_str()) {
            Some(first) => {
                let defect = Defect::new(format!("`{value}` is linked twice"), "remove one of them");
                sink.report_with(span, defect, first, "first here");
            }
            None => {
                all.insert(value, span);
            }
        }
    }
    for At { span, value } in entries() {
        let mut above = value.as_str();
        while let Some((parent, _)) = above.rsplit_once('/') {
            if let Some(outer) = all.get(parent) {
                let message = format!("`{value}` lies inside `{parent}`, which is itself linked");
                let defect =
                    Defect::new(message, format!("remove one of them; `{parent}` already covers both"));
                sink.report_with(span, defect, outer, "linked here");
            }
            above = parent;
        }
    }
}

fn hooks(mut raw: raw::Hooks) -> Hooks {
    let mut take = |point: &str| -> Vec<Hook> {
        value(raw.remove(point)).unwrap_or_default().into_iter().map(|hook| hook.hook).collect()
    };
    Hooks {
        before_build: take("before_build"),
        after_build: take("after_build"),
        after_unpack: take("after_unpack"),
        before_switch: take("before_switch"),
        after_switch: take("after_switch"),
        after_deploy: take("after_deploy"),
        on_failure: take("on_failure"),
        after_rollback: take("after_rollback"),
    }
}

fn ssh(raw: raw::Ssh) -> SshSettings {
    let plain = |field: Field<Vec<At<PathBuf>>>| -> Vec<PathBuf> {
        value(field).unwrap_or_default().into_iter().map(|at| at.value).collect()
    };
    SshSettings {
        identity: plain(raw.identity),
        known_hosts: plain(raw.known_hosts),
        connect_timeout: value(raw.connect_timeout).unwrap_or(CONNECT_TIMEOUT),
    }
}

/// The roles that hosts name anywhere in the file.
struct Roles {
    named: BTreeSet<String>,
    /// Whether every listed host names its roles; one that does not has all.
    all_hosts_name_theirs: bool,
}

impl Roles {
    fn of(environments: &[raw::Environment]) -> Self {
        let hosts = || environments.iter().filter_map(|e| e.hosts.as_ref()?.value.as_ref()).flatten();
        let named = hosts().filter_map(|at| at.value.roles.clone()).flatten().collect();
        Self { named, all_hosts_name_theirs: hosts().all(|at| at.value.roles.is_some()) }
    }

    /// Refuses a role that no host has: a migration for `dbb` would silently never run. Looks at the whole
    /// file, because an environment may well do without a role that hooks of the top level name.
    fn check(&self, hooks: &raw::Hooks, sink: &mut Sink<'_>) {
        if self.named.is_empty() || !self.all_hosts_name_theirs {
            return;
        }
        let lists = hooks.values().filter_map(|given| given.value.as_ref());
        for At { span, value } in lists.flatten().flat_map(|hook| &hook.roles) {
            if !self.named.contains(value) {
                let message = format!("no host has the role `{value}`: the hook would never run");
                let named: Vec<&str> = self.named.iter().map(String::as_str).collect();
                sink.report(span, Defect::new(message, suggest::instead(value, &named)));
            }
        }
    }
}
