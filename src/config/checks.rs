//! Owns what a health check comes to: which keys go together, and whether its times do. Everything wrong
//! goes to the sink.

use std::time::Duration;

use super::diagnostic::Defect;
use super::diagnostic::Sink;
use super::diagnostic::Span;
use super::health;
use super::health::Health;
use super::health::HttpProbe;
use super::health::Probe;
use super::health::Statuses;
use super::raw;
use super::raw::Ask;
use super::raw::Check;
use super::reader::key;
use super::reader::value;
use super::units;

/// Makes the checks of a merged environment.
pub(super) fn checks(raw: Option<raw::Health>, sink: &mut Sink<'_>) -> Vec<Health> {
    match raw {
        None => Vec::new(),
        Some(raw::Health::One(one)) => check(*one, sink).into_iter().collect(),
        Some(raw::Health::Several(several)) => {
            several.into_iter().filter_map(|one| check(one, sink)).collect()
        }
    }
}

fn check(raw: Check, sink: &mut Sink<'_>) -> Option<Health> {
    let asked = asks_one_thing(&raw, sink);
    if let Some((kind, at)) = &asked {
        goes_with(&raw, *kind, at, sink);
    }
    let timeout = value(raw.timeout.clone()).unwrap_or(health::TIMEOUT);
    let interval = value(raw.interval.clone()).unwrap_or(health::INTERVAL.min(timeout));
    let successes = value(raw.successes.clone()).unwrap_or(1);
    times(&raw, (timeout, interval, successes), sink);
    let delay = value(raw.delay.clone()).unwrap_or_default();
    let (kind, _) = asked?;
    Some(Health { probe: probe(raw, kind)?, timeout, interval, successes, delay })
}

/// Refuses a check that asks nothing, or several things. Returns what it asks, and where that stands.
fn asks_one_thing(raw: &Check, sink: &mut Sink<'_>) -> Option<(Ask, Span)> {
    let mut given: Vec<(Ask, Span)> =
        [(Ask::Http, key(&raw.http)), (Ask::Tcp, key(&raw.tcp)), (Ask::Command, key(&raw.command))]
            .into_iter()
            .filter_map(|(kind, key)| Some((kind, key?)))
            .collect();
    given.sort_by_key(|(_, key)| key.start);
    match given.as_slice() {
        [] => match key(&raw.socket) {
            Some(key) => Some((Ask::Socket, key)),
            None => {
                let help = match raw.instead_of_several {
                    true => {
                        "the top level has several checks, and one table replaces them all: write the whole check, or all of them as `[[health]]`"
                    }
                    false => {
                        "add `http = \"http://127.0.0.1:3000/healthz\"`, `tcp = \"3000\"` or `command = \"…\"`"
                    }
                };
                sink.report_absence(&raw.span, Defect::new("the health check has nothing to ask", help));
                None
            }
        },
        [(kind, first), others @ ..] => {
            for (_, other) in others {
                let message = "a health check asks one thing: `http`, `tcp` or `command`";
                let defect =
                    Defect::new(message, "keep one of them; several checks are written as `[[health]]`");
                sink.report_with(other, defect, first, "already asked here");
            }
            others.is_empty().then(|| (*kind, first.clone()))
        }
    }
}

/// Refuses keys that mean nothing for what is asked.
fn goes_with(raw: &Check, kind: Ask, asked: &Span, sink: &mut Sink<'_>) {
    let for_http = [
        ("status", key(&raw.status)),
        ("body", key(&raw.body)),
        ("headers", key(&raw.headers)),
        ("host", key(&raw.host)),
    ];
    if kind != Ask::Http {
        for (name, key) in for_http.into_iter().filter_map(|(name, key)| Some((name, key?))) {
            let message = format!("`{name}` is for a check that asks with `http`");
            let defect = Defect::new(message, "remove it, or ask with `http`");
            sink.report_with(&key, defect, asked, "something else is asked here");
        }
    }
    if let (Ask::Tcp | Ask::Command, Some(key)) = (kind, key(&raw.socket)) {
        let defect = Defect::new(
            "`socket` stands alone, or with `http`",
            "remove it, or ask in a check of its own whether it accepts a connection",
        );
        sink.report_with(&key, defect, asked, "something else is asked here");
    }
}

/// Refuses times that cannot be kept.
fn times(raw: &Check, (timeout, interval, successes): (Duration, Duration, u32), sink: &mut Sink<'_>) {
    let (i, t) = (units::show(interval), units::show(timeout));
    if let (true, Some(given)) = (interval > timeout, &raw.interval) {
        let defect = Defect::new(
            format!("`interval` ({i}) is longer than `timeout` ({t})"),
            "shorten the interval, or give the app more time",
        );
        sink.report(&given.span, defect);
    } else if let Some(given) = &raw.successes {
        // A host counts whole seconds, one at the least.
        let apart = Duration::from_secs(interval.as_secs() + u64::from(interval.subsec_nanos() > 0));
        let least = apart * successes.saturating_sub(1);
        if least > timeout {
            let least = units::show(least);
            let message =
                format!("{successes} good answers in a row take {least}, longer than `timeout` ({t})");
            let help = "ask for fewer, shorten the interval, or give the app more time";
            sink.report(&given.span, Defect::new(message, help));
        }
    }
}

fn probe(raw: Check, kind: Ask) -> Option<Probe> {
    match kind {
        Ask::Tcp => value(raw.tcp),
        Ask::Command => value(raw.command),
        Ask::Socket => value(raw.socket).map(Probe::Socket),
        Ask::Http => {
            let body = value(raw.body);
            // Nobody means a redirect by a text in its answer.
            let usual = if body.is_some() { Statuses::SUCCESS } else { Statuses::SUCCESS_OR_REDIRECTION };
            Some(Probe::Http(HttpProbe {
                url: value(raw.http)?,
                host: value(raw.host),
                socket: value(raw.socket),
                status: value(raw.status).unwrap_or_else(|| vec![usual]),
                body,
                headers: value(raw.headers).unwrap_or_default().into_values().collect(),
            }))
        }
    }
}
