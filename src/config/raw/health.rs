//! Owns the keys of `[health]` and `[[health]]`.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeValue;

use super::unknown;
use super::unknown::Level;
use crate::config::diagnostic::Sink;
use crate::config::diagnostic::Span;
use crate::config::health::Header;
use crate::config::health::Probe;
use crate::config::health::Statuses;
use crate::config::paths;
use crate::config::probe;
use crate::config::reader::Field;
use crate::config::reader::Given;
use crate::config::reader::Item;

const TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3_600));
const INTERVAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(600));
const DELAY: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(600));

/// More would be a monitoring system.
const CHECKS: usize = 20;

/// The health checks of a layer.
#[derive(Clone, Debug)]
pub(in crate::config) enum Health {
    /// `[health]`.
    One(Box<Check>),
    /// `[[health]]`, or an array; empty means none.
    Several(Vec<Check>),
}

/// What a check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Ask {
    Http,
    Tcp,
    Command,
    Socket,
}

/// The keys of one health check.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct Check {
    /// Where the table stands.
    pub(in crate::config) span: Span,
    /// Whether the top level has several, which a table in an environment cannot be merged with.
    pub(in crate::config) instead_of_several: bool,
    pub(in crate::config) http: Field<String>,
    pub(in crate::config) tcp: Field<Probe>,
    pub(in crate::config) command: Field<Probe>,
    pub(in crate::config) socket: Field<String>,
    pub(in crate::config) host: Field<String>,
    pub(in crate::config) status: Field<Vec<Statuses>>,
    pub(in crate::config) body: Field<String>,
    /// By their names in small letters.
    pub(in crate::config) headers: Field<BTreeMap<String, Header>>,
    pub(in crate::config) timeout: Field<Duration>,
    pub(in crate::config) interval: Field<Duration>,
    pub(in crate::config) successes: Field<u32>,
    pub(in crate::config) delay: Field<Duration>,
}

impl Check {
    /// What it asks, by the first of the keys that say so.
    pub(in crate::config) fn kind(&self) -> Option<Ask> {
        let kinds = [
            (self.http.is_some(), Ask::Http),
            (self.tcp.is_some(), Ask::Tcp),
            (self.command.is_some(), Ask::Command),
            (self.socket.is_some(), Ask::Socket),
        ];
        kinds.into_iter().find_map(|(given, kind)| given.then_some(kind))
    }
}

pub(super) fn health(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Health> {
    match item.value.get_ref() {
        DeValue::Table(_) => Some(Health::One(Box::new(check(item, "`[health]`", sink)?))),
        DeValue::Array(array) if array.len() > CHECKS => {
            sink.report(&item.span(), probe::too_many(array.len(), CHECKS));
            None
        }
        DeValue::Array(_) => {
            let items = item.items(sink, "an array of tables")?;
            let checks = items.iter().filter_map(|item| check(item, "`[[health]]`", sink));
            Some(Health::Several(checks.collect()))
        }
        _ => item.wrong_type(sink, "a table"),
    }
}

fn check(item: &Item<'_>, place: &str, sink: &mut Sink<'_>) -> Option<Check> {
    let mut table = item.table(sink, place)?;
    let (timeout, interval) = (TIMEOUT.0..=TIMEOUT.1, INTERVAL.0..=INTERVAL.1);
    let delay = DELAY.0..=DELAY.1;
    let check = Check {
        span: table.span.clone(),
        instead_of_several: false,
        http: table.read(sink, "http", |item, sink| item.text(sink, probe::http)),
        tcp: table.read(sink, "tcp", tcp),
        command: table.read(sink, "command", |item, sink| item.text(sink, probe::command)),
        socket: table.read(sink, "socket", |item, sink| item.text(sink, paths::socket)),
        host: table.read(sink, "host", |item, sink| item.text(sink, probe::host)),
        status: table.read(sink, "status", status),
        body: table.read(sink, "body", |item, sink| item.text(sink, probe::body)),
        headers: table.read(sink, "headers", headers),
        timeout: table.read(sink, "timeout", |item, sink| item.duration(sink, &timeout)),
        interval: table.read(sink, "interval", |item, sink| item.duration(sink, &interval)),
        successes: table.read(sink, "successes", |item, sink| item.whole(sink, &(1..=100))),
        delay: table.read(sink, "delay", |item, sink| item.duration(sink, &delay)),
    };
    table.finish(sink, |item, known| unknown::explain(Level::Inner, item, known));
    Some(check)
}

/// Reads a TCP check; a bare port may also be a number.
fn tcp(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Probe> {
    match item.value.get_ref() {
        DeValue::Integer(_) => {
            let port = item.whole(sink, &(1..=65_535))?;
            Some(Probe::Tcp { host: "127.0.0.1".to_owned(), port: u16::try_from(port).ok()? })
        }
        _ => item.text(sink, probe::tcp),
    }
}

/// Reads a status, a range of them, or an array of both.
fn status(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Vec<Statuses>> {
    match item.value.get_ref() {
        DeValue::Array(array) if array.is_empty() => {
            sink.report(&item.span(), probe::no_status());
            None
        }
        DeValue::Array(_) => {
            let items = item.items(sink, "an array of statuses")?;
            let read: Vec<_> = items.iter().map(|item| statuses(item, sink)).collect();
            read.into_iter().collect()
        }
        _ => statuses(item, sink).map(|range| vec![range]),
    }
}

fn statuses(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Statuses> {
    match item.value.get_ref() {
        DeValue::Integer(_) => {
            let status = u16::try_from(item.whole(sink, &(100..=599))?).ok()?;
            Some(Statuses { from: status, to: status })
        }
        DeValue::String(_) => item.text(sink, probe::statuses),
        _ => item.wrong_type(sink, "a status or a range of them"),
    }
}

fn headers(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<BTreeMap<String, Header>> {
    let mut headers: BTreeMap<String, Given<Header>> = BTreeMap::new();
    for item in item.table(sink, "`headers`")?.entries() {
        let name = probe::header_name(&item.name).map_err(|defect| sink.report(&item.key, defect));
        let value = item.text(sink, probe::header_value);
        let (Ok(name), Some(value)) = (name, value) else { continue };
        let small = name.to_ascii_lowercase();
        match headers.get(&small) {
            Some(first) => sink.report_with(&item.key, probe::twice(&name), &first.key, "the other one"),
            None => {
                let header =
                    Given { key: item.key.clone(), span: item.span(), value: Some(Header { name, value }) };
                headers.insert(small, header);
            }
        }
    }
    Some(headers.into_iter().filter_map(|(name, given)| Some((name, given.value?))).collect())
}
