//! Owns which keys there are and of what type: reads the tree into optional fields that remember their
//! places. A value that is bad by itself is reported here; what only the merged whole shows is not.

mod apps;
mod health;
mod hooks;
mod rollout;
mod unknown;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;
use toml::de::DeValue;

use super::diagnostic::Defect;
use super::diagnostic::Sink;
use super::diagnostic::Span;
use super::host;
use super::names;
use super::paths;
use super::paths::Places;
use super::reader::At;
use super::reader::Field;
use super::reader::Given;
use super::reader::Item;
use super::reader::Table;
use super::reader::value;
use super::types;

pub(super) use apps::Kind;
pub(super) use apps::Supervisor;
pub(super) use apps::kind;
pub(super) use health::Ask;
pub(super) use health::Check;
pub(super) use health::Health;
pub(super) use hooks::Hooks;
pub(super) use rollout::Rollout;
use unknown::Level;

const LEASE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3_600));
const CONNECT_TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// A whole file as it was written.
#[derive(Debug)]
pub(super) struct File {
    pub(super) app: Field<String>,
    pub(super) build: types::Build,
    pub(super) top: Layer,
    pub(super) environments: Vec<Environment>,
    /// Whether `[env.…]` was written at all, good or bad.
    pub(super) any_environment: bool,
}

/// What the top level and every environment may say.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) deploy_to: Field<String>,
    pub(super) keep_releases: Field<u32>,
    pub(super) linked_dirs: Field<Vec<At<String>>>,
    pub(super) linked_files: Field<Vec<At<String>>>,
    pub(super) supervisor: Supervisor,
    pub(super) health: Option<Health>,
    pub(super) hooks: Hooks,
    pub(super) ssh: Ssh,
    pub(super) path: Field<Vec<At<String>>>,
    pub(super) lease: Field<Duration>,
    pub(super) rollout: Field<Rollout>,
    pub(super) vars: BTreeMap<String, Given<String>>,
}

/// `[ssh]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Ssh {
    pub(super) identity: Field<Vec<At<PathBuf>>>,
    pub(super) known_hosts: Field<Vec<At<PathBuf>>>,
    pub(super) connect_timeout: Field<Duration>,
}

/// `[env.NAME]`.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) name: String,
    /// Where the header stands.
    pub(super) span: Span,
    pub(super) hosts: Field<Vec<At<types::Host>>>,
    pub(super) embedded: Field<u8>,
    pub(super) max_unreachable: Field<u32>,
    pub(super) layer: Layer,
}

/// Reads a whole file.
pub(super) fn file(tree: &DeTable<'_>, places: &Places, sink: &mut Sink<'_>) -> File {
    let mut table = Table::top(tree, sink.top());
    let app = table.read(sink, "app", |item, sink| item.text(sink, names::app));
    let top = layer(&mut table, places, sink);
    let build = value(table.read(sink, "build", build)).unwrap_or_else(default_build);
    let mut any_environment = false;
    let read = |item: &Item<'_>, sink: &mut Sink<'_>| {
        let entries: Vec<Item<'_>> = item.table(sink, "`[env]`")?.entries().collect();
        any_environment = !entries.is_empty();
        Some(entries.into_iter().filter_map(|item| environment(&item, places, sink)).collect())
    };
    let environments = value(table.read(sink, "env", read)).unwrap_or_default();
    table.finish(sink, |item, known| unknown::explain(Level::Top, item, known));
    File { app, build, top, environments, any_environment }
}

fn environment(item: &Item<'_>, places: &Places, sink: &mut Sink<'_>) -> Option<Environment> {
    let name = names::environment(&item.name).map_err(|defect| sink.report(&item.key, defect));
    let full_name = format!("env.{}", names::excerpt(&item.name));
    let item = Item { name: full_name.clone(), ..item.clone() };
    let mut table = item.table(sink, &format!("`[{full_name}]`"))?;
    let hosts = table.read(sink, "hosts", hosts);
    let embedded = table.read(sink, "embedded", |item, sink| {
        let count = item.whole(sink, &(1..=9))?;
        u8::try_from(count).ok()
    });
    let max_unreachable = table.read(sink, "max_unreachable", |item, sink| item.whole(sink, &(0..=9_999)));
    let layer = layer(&mut table, places, sink);
    let span = table.span.clone();
    table.finish(sink, |item, known| unknown::explain(Level::Environment, item, known));
    Some(Environment { name: name.ok()?, span, hosts, embedded, max_unreachable, layer })
}

fn layer(table: &mut Table<'_>, places: &Places, sink: &mut Sink<'_>) -> Layer {
    let linked = |item: &Item<'_>, sink: &mut Sink<'_>| item.texts(sink, paths::linked);
    Layer {
        deploy_to: table.read(sink, "deploy_to", |item, sink| item.text(sink, paths::deploy_to)),
        keep_releases: table.read(sink, "keep_releases", |item, sink| item.whole(sink, &(1..=9_999))),
        linked_dirs: table.read(sink, "linked_dirs", linked),
        linked_files: table.read(sink, "linked_files", linked),
        supervisor: value(table.read(sink, "supervisor", apps::supervisor)).unwrap_or_default(),
        health: value(table.read(sink, "health", health::health)),
        hooks: value(table.read(sink, "hooks", hooks::hooks)).unwrap_or_default(),
        ssh: value(table.read(sink, "ssh", |item, sink| ssh(item, places, sink))).unwrap_or_default(),
        path: table.read(sink, "path", |item, sink| item.text_or_texts(sink, paths::searched)),
        lease: table.read(sink, "lease", |item, sink| item.duration(sink, &(LEASE.0..=LEASE.1))),
        rollout: table.read(sink, "rollout", rollout::rollout),
        vars: value(table.read(sink, "vars", vars)).unwrap_or_default(),
    }
}

/// What `[build]` means when it is not written.
pub(super) fn default_build() -> types::Build {
    types::Build { source: PathBuf::from("."), ..types::Build::default() }
}

fn build(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<types::Build> {
    let mut table = item.table(sink, "`[build]`")?;
    let plain = |field: Field<Vec<At<String>>>| {
        value(field).unwrap_or_default().into_iter().map(|at| at.value).collect::<Vec<String>>()
    };
    let build = types::Build {
        run: plain(table.read(sink, "run", |item, sink| item.text_or_texts(sink, names::command))),
        source: value(table.read(sink, "source", |item, sink| {
            item.text(sink, |text| paths::within(text, "the source directory")).map(PathBuf::from)
        }))
        .unwrap_or_else(|| default_build().source),
        include: plain(table.read(sink, "include", |item, sink| item.texts(sink, paths::glob))),
        exclude: plain(table.read(sink, "exclude", |item, sink| item.texts(sink, paths::glob))),
    };
    table.finish(sink, |item, known| unknown::explain(Level::Inner, item, known));
    Some(build)
}

fn ssh(item: &Item<'_>, places: &Places, sink: &mut Sink<'_>) -> Option<Ssh> {
    let mut table = item.table(sink, "`[ssh]`")?;
    let files =
        |item: &Item<'_>, sink: &mut Sink<'_>| item.text_or_texts(sink, |text| places.local_file(text));
    let timeout = CONNECT_TIMEOUT.0..=CONNECT_TIMEOUT.1;
    let ssh = Ssh {
        identity: table.read(sink, "identity", files),
        known_hosts: table.read(sink, "known_hosts", files),
        connect_timeout: table.read(sink, "connect_timeout", |item, sink| item.duration(sink, &timeout)),
    };
    table.finish(sink, |item, known| unknown::explain(Level::Inner, item, known));
    Some(ssh)
}

/// Reads a table of variables; numbers and truth values become text.
fn vars(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<BTreeMap<String, Given<String>>> {
    let table = item.table(sink, "`vars`")?;
    let mut vars = BTreeMap::new();
    for item in table.entries() {
        let name = names::variable(&item.name).map_err(|defect| sink.report(&item.key, defect));
        let text = variable_value(&item, sink);
        if let Ok(name) = name {
            vars.insert(name, Given { key: item.key.clone(), span: item.span(), value: text });
        }
    }
    Some(vars)
}

fn variable_value(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<String> {
    match item.value.get_ref() {
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Some(number.to_string()),
            Err(_) => item.wrong_type(sink, "a string"),
        },
        _ => item.text(sink, names::variable_value),
    }
}

fn hosts(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Vec<At<types::Host>>> {
    let items = item.items(sink, "an array of hosts")?;
    if items.is_empty() {
        let defect = Defect::new("`hosts` is empty", "write `hosts = [\"deploy@web1.example.com\"]`");
        sink.report(&item.span(), defect);
        return None;
    }
    let mut seen: HashMap<(String, u16), Span> = HashMap::new();
    let mut hosts = Vec::with_capacity(items.len());
    for item in items {
        let Some(host) = host(&item, sink) else { continue };
        let span = item.span();
        match seen.get(&(host.address.to_lowercase(), host.port)) {
            Some(first) => {
                let message = format!("the host `{}` is listed twice", host.name());
                let defect = Defect::new(message, "remove one of them");
                sink.report_with(&span, defect, first, "first listed here");
            }
            None => {
                seen.insert((host.address.to_lowercase(), host.port), span.clone());
            }
        }
        hosts.push(At { span, value: host });
    }
    Some(hosts)
}

fn host(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<types::Host> {
    match item.value.get_ref() {
        DeValue::String(_) => item.text(sink, host::host),
        DeValue::Table(_) => {
            let mut table = item.table(sink, "a host")?;
            let address = table.read(sink, "address", |item, sink| item.text(sink, host::host));
            let roles = table.read(sink, "roles", roles);
            if address.is_none() {
                let help = "write `{ address = \"deploy@web1.example.com\", roles = [\"web\"] }`";
                sink.report_absence(&table.span, Defect::new("the host has no `address`", help));
            }
            table.finish(sink, |item, known| unknown::explain(Level::Host, item, known));
            let roles: Option<BTreeSet<String>> =
                value(roles).map(|roles| roles.into_iter().map(|at| at.value).collect());
            Some(types::Host { roles, ..value(address)? })
        }
        _ => item.wrong_type(sink, "a string or a table"),
    }
}

/// Reads a list of roles. An empty one could be meant as "none" or as "all", so it is refused.
fn roles(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Vec<At<String>>> {
    let roles = item.texts(sink, names::role)?;
    if item.value.get_ref().as_array().is_some_and(|array| array.is_empty()) {
        sink.report(&item.span(), Defect::new("`roles` is empty", "leave `roles` out to mean all of them"));
        return None;
    }
    Some(roles)
}
