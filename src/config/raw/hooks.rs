//! Owns the keys of `[hooks]`: the points there are, and what a hook at each of them may say.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeValue;

use super::roles;
use super::unknown;
use super::unknown::Level;
use crate::config::diagnostic::Defect;
use crate::config::diagnostic::Sink;
use crate::config::names;
use crate::config::paths;
use crate::config::reader::At;
use crate::config::reader::Given;
use crate::config::reader::Item;
use crate::config::reader::value;
use crate::config::suggest;
use crate::config::types;

const TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// Where a hook runs, and so what it may say.
#[derive(Clone, Copy, Debug)]
struct Point {
    name: &'static str,
    /// On this machine: there are no hosts to choose from and nothing to undo.
    local: bool,
    /// Before the commit: can be undone with the transaction.
    undo: bool,
    /// Runs in deploys and rollbacks unless it says otherwise.
    on: (bool, bool),
    /// Whether it may say otherwise.
    choice: bool,
}

const fn point(name: &'static str, undo: bool) -> Point {
    Point { name, local: false, undo, on: (true, false), choice: true }
}

const POINTS: [Point; 8] = [
    Point { local: true, choice: false, ..point("before_build", false) },
    Point { local: true, choice: false, ..point("after_build", false) },
    point("after_unpack", true),
    point("before_switch", true),
    point("after_switch", true),
    point("after_deploy", false),
    Point { on: (true, true), ..point("on_failure", false) },
    Point { on: (false, true), choice: false, ..point("after_rollback", false) },
];

/// A hook, and where its roles stand.
#[derive(Clone, Debug)]
pub(in crate::config) struct Hook {
    pub(in crate::config) hook: types::Hook,
    pub(in crate::config) roles: Vec<At<String>>,
}

/// `[hooks]`: the lists by the name of their point.
pub(in crate::config) type Hooks = BTreeMap<&'static str, Given<Vec<Hook>>>;

pub(super) fn hooks(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Hooks> {
    let mut table = item.table(sink, "`[hooks]`")?;
    let mut hooks = Hooks::new();
    for point in &POINTS {
        let read = |item: &Item<'_>, sink: &mut Sink<'_>| {
            let items = item.items(sink, "an array of commands")?;
            Some(items.iter().filter_map(|item| hook(point, item, sink)).collect())
        };
        if let Some(list) = table.read(sink, point.name, read) {
            hooks.insert(point.name, list);
        }
    }
    table.finish(sink, |item, known| unknown::explain(Level::Inner, item, known));
    Some(hooks)
}

fn hook(point: &Point, item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Hook> {
    let (on_deploy, on_rollback) = point.on;
    let plain = |run| types::Hook {
        run,
        roles: Vec::new(),
        once: false,
        dir: None,
        timeout: DEFAULT_TIMEOUT,
        on_deploy,
        on_rollback,
        undo: None,
    };
    if let DeValue::String(_) = item.value.get_ref() {
        let hook = item.text(sink, names::command).map(plain)?;
        return Some(Hook { hook, roles: Vec::new() });
    }
    if !matches!(item.value.get_ref(), DeValue::Table(_)) {
        return item.wrong_type(sink, "a string or a table");
    }
    let mut table = item.table(sink, &format!("a hook of `{}`", point.name))?;
    let timeout = TIMEOUT.0..=TIMEOUT.1;
    let run = table.read(sink, "run", |item, sink| item.text(sink, names::command));
    let roles = table.read(sink, "roles", roles);
    let once = table.read(sink, "once", Item::flag);
    let dir = table
        .read(sink, "dir", |item, sink| item.text(sink, |text| paths::within(text, "the hook's directory")));
    let timeout = table.read(sink, "timeout", |item, sink| item.duration(sink, &timeout));
    let on = table.read(sink, "on", on);
    let undo = table.read(sink, "undo", |item, sink| item.text(sink, names::command));
    if run.is_none() {
        let help = "write `{ run = \"npm ci\" }`";
        sink.report_absence(&table.span, Defect::new("the hook has no `run`", help));
    }
    let local = "runs on this machine, before there are any hosts";
    let fixed = if point.local { local } else { "runs only after a rollback" };
    for (key, given, allowed, why) in [
        ("roles", roles.as_ref().map(|g| &g.key), !point.local, local),
        ("once", once.as_ref().map(|g| &g.key), !point.local, local),
        ("on", on.as_ref().map(|g| &g.key), point.choice, fixed),
        ("undo", undo.as_ref().map(|g| &g.key), point.undo, "cannot be undone"),
    ] {
        if let (Some(span), false) = (given, allowed) {
            let message = format!("`{key}` has no meaning here: `{}` {why}", point.name);
            let help = match key {
                "undo" if point.local => format!("remove `{key}`; it is for hooks on hosts"),
                "undo" => "remove it; `undo` is for after_unpack, before_switch and after_switch".to_owned(),
                _ => format!("remove `{key}`"),
            };
            sink.report(span, Defect::new(message, help));
        }
    }
    table.finish(sink, |item, known| unknown::explain(Level::Hook, item, known));
    let roles = value(roles).unwrap_or_default();
    let (on_deploy, on_rollback) = value(on).unwrap_or(point.on);
    let hook = types::Hook {
        roles: roles.iter().map(|at| at.value.clone()).collect(),
        once: value(once).unwrap_or_default(),
        dir: value(dir).filter(|dir| dir != "."),
        timeout: value(timeout).unwrap_or(DEFAULT_TIMEOUT),
        on_deploy,
        on_rollback,
        undo: value(undo),
        ..plain(value(run)?)
    };
    Some(Hook { hook, roles })
}

/// Reads `on`: whether in deploys, whether in rollbacks.
fn on(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<(bool, bool)> {
    let verbs = item.text_or_texts(sink, |text| match text {
        "deploy" => Ok((true, false)),
        "rollback" => Ok((false, true)),
        _ => {
            let message = format!("`{}` is nothing a hook can run on", names::excerpt(text));
            Err(Defect::new(message, suggest::instead(text, &["deploy", "rollback"])))
        }
    })?;
    if item.value.get_ref().as_array().is_some_and(|array| array.is_empty()) {
        let defect = Defect::new("`on` is empty: the hook would never run", "write `on = [\"deploy\"]`");
        sink.report(&item.span(), defect);
        return None;
    }
    let either = |a: (bool, bool), b: &At<(bool, bool)>| (a.0 || b.value.0, a.1 || b.value.1);
    Some(verbs.iter().fold((false, false), either))
}
