//! Owns the keys of `[supervisor]` and `[[supervisor.apps]]`.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::unknown;
use super::unknown::Level;
use super::variable_value;
use crate::config::diagnostic::Defect;
use crate::config::diagnostic::Sink;
use crate::config::diagnostic::Span;
use crate::config::names;
use crate::config::paths;
use crate::config::reader::At;
use crate::config::reader::Field;
use crate::config::reader::Item;
use crate::config::reader::value;
use crate::config::suggest;
use crate::config::types::Instances;
use crate::config::types::Pm2App;
use crate::config::types::Scope;

const SETTLE: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(600));

/// What keeps the app up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Kind {
    None,
    Command,
    Pm2,
    Systemd,
    Supervisord,
}

/// `[supervisor]`.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct Supervisor {
    pub(in crate::config) kind: Field<Kind>,
    pub(in crate::config) settle: Field<Duration>,
    pub(in crate::config) ecosystem: Field<String>,
    pub(in crate::config) apps: Field<Vec<Pm2App>>,
    pub(in crate::config) start: Field<String>,
    pub(in crate::config) restart: Field<String>,
    pub(in crate::config) stop: Field<String>,
    pub(in crate::config) status: Field<String>,
    pub(in crate::config) logs: Field<Vec<At<String>>>,
    pub(in crate::config) units: Field<Vec<At<String>>>,
    pub(in crate::config) scope: Field<Scope>,
    pub(in crate::config) exec: Field<String>,
    pub(in crate::config) notifies: Field<bool>,
    pub(in crate::config) programs: Field<Vec<At<String>>>,
    pub(in crate::config) config: Field<String>,
}

pub(super) fn supervisor(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Supervisor> {
    let mut table = item.table(sink, "`[supervisor]`")?;
    let command = |item: &Item<'_>, sink: &mut Sink<'_>| item.text(sink, names::command);
    let settle = SETTLE.0..=SETTLE.1;
    let supervisor = Supervisor {
        kind: table.read(sink, "kind", |item, sink| item.text(sink, kind)),
        settle: table.read(sink, "settle", |item, sink| item.duration(sink, &settle)),
        ecosystem: table.read(sink, "ecosystem", |item, sink| item.text(sink, paths::ecosystem)),
        apps: table.read(sink, "apps", apps),
        start: table.read(sink, "start", command),
        restart: table.read(sink, "restart", command),
        stop: table.read(sink, "stop", command),
        status: table.read(sink, "status", command),
        logs: table.read(sink, "logs", |item, sink| item.text_or_texts(sink, paths::log)),
        units: table.read(sink, "units", |item, sink| item.text_or_texts(sink, names::unit)),
        scope: table.read(sink, "scope", |item, sink| item.text(sink, scope)),
        exec: table.read(sink, "exec", command),
        notifies: table.read(sink, "notify", Item::flag),
        programs: table.read(sink, "programs", |item, sink| item.text_or_texts(sink, names::program)),
        config: table.read(sink, "config", |item, sink| item.text(sink, paths::on_host)),
    };
    table.finish(sink, |item, known| unknown::explain(Level::Inner, item, known));
    Some(supervisor)
}

/// Reads the kind of supervisor.
pub(in crate::config) fn kind(text: &str) -> Result<Kind, Defect> {
    const KINDS: &[&str] = &["pm2", "systemd", "supervisord", "command", "none"];
    match text {
        "pm2" => Ok(Kind::Pm2),
        "command" => Ok(Kind::Command),
        "none" => Ok(Kind::None),
        "systemd" => Ok(Kind::Systemd),
        "supervisord" => Ok(Kind::Supervisord),
        _ => {
            let message = format!("`{}` is not a kind of supervisor", names::excerpt(text));
            Err(Defect::new(message, suggest::instead(text, KINDS)))
        }
    }
}

fn scope(text: &str) -> Result<Scope, Defect> {
    match text {
        "user" => Ok(Scope::User),
        "system" => Ok(Scope::System),
        _ => {
            let message = format!("`{}` is neither \"user\" nor \"system\"", names::excerpt(text));
            Err(Defect::new(message, suggest::instead(text, &["user", "system"])))
        }
    }
}

fn apps(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Vec<Pm2App>> {
    let items = item.items(sink, "an array of tables")?;
    if items.is_empty() {
        let help = "write an app as `[[supervisor.apps]]` with `name` and `script`";
        sink.report(&item.span(), Defect::new("`apps` is empty", help));
        return None;
    }
    let mut seen: HashMap<String, Span> = HashMap::new();
    let mut apps = Vec::with_capacity(items.len());
    for item in items {
        let Some((name, app)) = app(&item, sink) else { continue };
        match seen.get(&app.name) {
            Some(first) => {
                let message = format!("two PM2 apps are named `{}`", app.name);
                let defect = Defect::new(message, "give each app its own name");
                sink.report_with(&name, defect, first, "first named here");
            }
            None => {
                seen.insert(app.name.clone(), name);
            }
        }
        apps.push(app);
    }
    Some(apps)
}

/// Reads one app; returns with it where its name stands.
fn app(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<(Span, Pm2App)> {
    let mut table = item.table(sink, "`[[supervisor.apps]]`")?;
    let name = table.read(sink, "name", |item, sink| item.text(sink, names::pm2_app));
    let script =
        table.read(sink, "script", |item, sink| item.text(sink, |text| paths::relative(text, "the script")));
    let cwd = table
        .read(sink, "cwd", |item, sink| item.text(sink, |text| paths::within(text, "the working directory")));
    let args = table.read(sink, "args", args);
    let instances = table.read(sink, "instances", instances);
    let cluster = table.read(sink, "exec_mode", |item, sink| item.text(sink, exec_mode));
    let env = table.read(sink, "env", env);
    for (key, field, example) in [("name", name.is_some(), "web"), ("script", script.is_some(), "server.js")]
    {
        if !field {
            let defect =
                Defect::new(format!("the app has no `{key}`"), format!("add `{key} = \"{example}\"`"));
            sink.report_absence(&table.span, defect);
        }
    }
    table.finish(sink, |item, known| unknown::explain(Level::App, item, known));
    let span = name.as_ref().map(|given| given.span.clone())?;
    let (name, script) = (value(name)?, value(script)?);
    let instances = value(instances);
    // As PM2 itself decides: who asks for a number of processes of a node script means a cluster.
    let node = Path::new(&script).extension().is_some_and(|e| e == "js" || e == "cjs" || e == "mjs");
    let cluster = value(cluster).unwrap_or(instances.is_some() && node);
    let cwd = value(cwd).filter(|cwd| cwd != ".");
    let args = value(args).unwrap_or_default();
    let env = value(env).unwrap_or_default();
    Some((span, Pm2App { name, script, cwd, args, instances, cluster, env }))
}

fn args(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Vec<String>> {
    match item.value.get_ref() {
        DeValue::String(_) => {
            let text = item.text(sink, names::argument)?;
            Some(text.split_whitespace().map(str::to_owned).collect())
        }
        DeValue::Array(_) => {
            let args: Vec<At<String>> = item.texts(sink, names::argument)?;
            Some(args.into_iter().map(|at| at.value).collect())
        }
        _ => item.wrong_type(sink, "a string or an array of strings"),
    }
}

fn instances(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Instances> {
    match item.value.get_ref() {
        DeValue::String(text) if text == "max" => Some(Instances::Max),
        DeValue::String(text) => {
            let help = match text.parse::<u16>() {
                Ok(count) => format!("write `instances = {count}`"),
                Err(_) => "write a number, or \"max\" for one per core".to_owned(),
            };
            let message = format!("`{}` is not a number of instances", names::excerpt(text));
            sink.report(&item.span(), Defect::new(message, help));
            None
        }
        DeValue::Integer(number) if matches!(number.as_str(), "0" | "-1") => {
            let message = "`instances` must be from 1 to 1024; what PM2 means by 0 and -1 is not supported";
            sink.report(&item.span(), Defect::new(message, "write `instances = \"max\"` for one per core"));
            None
        }
        DeValue::Integer(_) => {
            let count = item.whole(sink, &(1..=1_024))?;
            u16::try_from(count).ok().map(Instances::Count)
        }
        _ => item.wrong_type(sink, "a number or \"max\""),
    }
}

fn exec_mode(text: &str) -> Result<bool, Defect> {
    match text {
        "fork" => Ok(false),
        "cluster" => Ok(true),
        _ => {
            let message = format!("`{}` is not a mode of PM2", names::excerpt(text));
            Err(Defect::new(message, suggest::instead(text, &["fork", "cluster"])))
        }
    }
}

fn env(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<BTreeMap<String, String>> {
    let mut env = BTreeMap::new();
    for item in item.table(sink, "`env`")?.entries() {
        let name = names::variable(&item.name)
            .and_then(|name| names::not_a_pm2_field(&name).map(|()| name))
            .map_err(|defect| sink.report(&item.key, defect));
        if let (Ok(name), Some(text)) = (name, variable_value(&item, sink)) {
            env.insert(name, text);
        }
    }
    Some(env)
}
