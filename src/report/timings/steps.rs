//! Owns the table of steps: how long each took on how many hosts, and where it took longest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::model::Row;
use super::model::Timeline;
use super::model::What;
use super::page::escaped;
use super::words;
use crate::report::format;

/// Writes the rows of the table, in the order in which the steps first began.
pub(super) fn table(timeline: &Timeline) -> String {
    let mut steps: BTreeMap<What, Step> = BTreeMap::new();
    for row in &timeline.hosts {
        for (what, (took, began)) in totals(row) {
            let step = steps.entry(what).or_insert_with(|| Step { began, took: Vec::new() });
            step.began = step.began.min(began);
            step.took.push((took, &row.name));
        }
    }
    let mut steps: Vec<(What, Step)> = steps.into_iter().collect();
    steps.sort_by_key(|(_, step)| step.began);
    let mut html = String::new();
    for bar in &timeline.local.bars {
        line(
            &mut html,
            words::class(bar.what),
            &words::long(bar),
            "–",
            bar.took(),
            bar.took(),
            "this machine",
        );
    }
    for (what, mut step) in steps {
        step.took.sort();
        let middle = step.took.get((step.took.len() - 1) / 2);
        let (Some((median, _)), Some((longest, host))) = (middle, step.took.last()) else { continue };
        let hosts = format::number(step.took.len());
        line(&mut html, words::class(what), words::step(what), &hosts, *median, *longest, host);
    }
    html
}

/// What a step took.
struct Step<'a> {
    /// When it first began on any host.
    began: Duration,
    /// How long, on which host.
    took: Vec<(Duration, &'a str)>,
}

/// How long each step took on one host in all, and when it first began.
fn totals(row: &Row) -> BTreeMap<What, (Duration, Duration)> {
    let mut totals = BTreeMap::new();
    // What hooks take is part of what the host does meanwhile.
    for bar in &row.bars {
        let (took, _) = totals.entry(bar.what).or_insert((Duration::ZERO, bar.from));
        *took += bar.took();
    }
    totals
}

fn line(
    html: &mut String,
    class: &str,
    step: &str,
    hosts: &str,
    median: Duration,
    longest: Duration,
    place: &str,
) {
    let _ = writeln!(
        html,
        "<tr><td><i class=\"key {class}\"></i>{}</td><td class=\"n\">{hosts}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
        escaped(step),
        format::span(median),
        format::span(longest),
        escaped(place),
    );
}
