//! Owns the last words of a run: one line when all went well, else a block that a tired person can act
//! on: what failed and where, what the command wrote, what every host runs now, what to do next.
//! Knows no stream and no terminal.

use std::path::Path;
use std::time::Duration;

use crate::event::HostSummary;
use crate::event::Phase;
use crate::event::Summary;

use super::format;
use super::paint::Paint;
use super::run::Failure;
use super::run::Run;
use super::text;

/// The end of a run: a good one is a result, a bad one an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The hosts run what was asked.
    Good(Vec<String>),
    /// Anything else.
    Bad(Vec<String>),
}

/// Returns the last words, for lines of `columns`; nothing when nothing is known to have ended or failed.
pub(crate) fn closing(run: &Run, log: &Path, paint: Paint, columns: usize) -> Option<Closing> {
    match &run.summary {
        Some(summary) if summary.exit_code == 0 => Some(Closing::Good(good(run, summary, paint, columns))),
        Some(summary) => Some(Closing::Bad(bad(run, summary, log, paint, columns))),
        None if run.failures.is_empty() => None,
        None => {
            let mut block = failures(&run.failures, paint);
            block.push(String::new());
            block.push(log_line(log));
            Some(Closing::Bad(block))
        }
    }
}

fn good(run: &Run, summary: &Summary, paint: Paint, columns: usize) -> Vec<String> {
    let headline = headline(summary);
    let hosts = match summary.hosts.len() {
        0 => String::new(),
        n => format!(" on {}", format::count(n, "host")),
    };
    let took = format!("{hosts} in {}", format::span(run.elapsed));
    let steps = match timings(summary) {
        steps if steps.is_empty() => String::new(),
        steps => format!("({steps})"),
    };
    let mut lines = spread(&headline, &took, &steps, columns, |headline| paint.good(headline));
    if run.warnings > 0 {
        let warnings = format!("{}, see above", format::count(run.warnings, "warning"));
        lines.push(paint.warning(&warnings));
    }
    lines
}

fn bad(run: &Run, summary: &Summary, log: &Path, paint: Paint, columns: usize) -> Vec<String> {
    let mut block = failures(&run.failures, paint);
    block.push(String::new());
    let steps = match timings(summary) {
        steps if steps.is_empty() => format!("({})", format::span(run.elapsed)),
        steps => format!("({}: {steps})", format::span(run.elapsed)),
    };
    block.extend(spread(&headline(summary), "", &steps, columns, |headline| paint.bad(headline)));
    if !summary.hosts.is_empty() {
        block.push(String::new());
        block.extend(table(&summary.hosts, paint));
    }
    block.push(String::new());
    if run.failures.iter().all(|failure| failure.hint.is_none()) {
        block.push(format!("next: {}", next_step(summary.exit_code, &run.environment)));
    }
    block.push(log_line(log));
    block.push(format!("exit code {}: {}", summary.exit_code, meaning(summary.exit_code)));
    block
}

/// Writes the headline and its times on one line, or the times below it when there is no room.
fn spread(
    headline: &str,
    took: &str,
    steps: &str,
    columns: usize,
    tint: impl Fn(&str) -> String,
) -> Vec<String> {
    let first = format!("{}{took}", tint(headline));
    let width = format::width(headline) + format::width(took) + 1 + format::width(steps);
    match steps {
        "" => vec![first],
        steps if width <= columns => vec![format!("{first} {steps}")],
        steps => vec![first, format!("  {steps}")],
    }
}

fn headline(summary: &Summary) -> String {
    text::joined(&summary.headline).trim_end_matches('.').to_owned()
}

fn timings(summary: &Summary) -> String {
    let step =
        |(name, took): &(String, Duration)| format!("{} {}", text::one_line(name), format::span(*took));
    summary.timings.iter().map(step).collect::<Vec<_>>().join(", ")
}

fn log_line(log: &Path) -> String {
    format!("full log: {}", text::joined(&log.to_string_lossy()))
}

fn failures(failures: &[Failure], paint: Paint) -> Vec<String> {
    let mut block = Vec::new();
    for failure in failures {
        block.push(String::new());
        let place = match failure.hosts.as_slice() {
            [] => String::new(),
            [host] if failure.error.contains(host.as_str()) => String::new(),
            hosts => format!("{}: ", hosts.join(", ")),
        };
        block.push(format!("{} {place}{}", paint.bad("error:"), failure.error));
        if !failure.output.is_empty() {
            block.push("  it wrote:".to_owned());
            // The bar keeps a line that looks like a command of a CI system from being one.
            block.extend(failure.output.iter().map(|line| format!("  | {line}").trim_end().to_owned()));
        }
        if let Some(hint) = &failure.hint {
            block.push(format!("  {} {hint}", paint.bold("hint:")));
        }
    }
    block
}

/// What every host runs now, as a table.
fn table(hosts: &[HostSummary], paint: Paint) -> Vec<String> {
    let title = ["host", "state", "live release"].map(str::to_owned);
    let row = |host: &HostSummary| {
        let live = host.live.as_deref().map_or("not known".to_owned(), text::one_line);
        [text::one_line(&host.host), end_words(host.phase).to_owned(), live]
    };
    let rows: Vec<[String; 3]> = hosts.iter().map(row).collect();
    let widest = |column: fn(&[String; 3]) -> &String| {
        std::iter::once(&title).chain(&rows).map(|row| format::width(column(row))).max().unwrap_or(0)
    };
    let (first, second) = (widest(|row| &row[0]), widest(|row| &row[1]));
    let line = |[host, state, live]: &[String; 3]| {
        format!("  {}  {}  {live}", format::pad(host, first), format::pad(state, second))
    };
    let head = paint.dim(&line(&title));
    std::iter::once(head).chain(rows.iter().map(line)).collect()
}

/// How a host ended, by the phase in which it was left.
pub(crate) fn end_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Connecting => "not reached, unchanged",
        Phase::Checking | Phase::Locking | Phase::Uploading | Phase::Preparing | Phase::Waiting => {
            "unchanged"
        }
        Phase::Switching => "left while switching",
        Phase::Verifying => "left while verifying",
        Phase::Finishing => "left while finishing",
        Phase::Reverting => "not confirmed",
        Phase::Done => "done",
        Phase::Reverted => "put back",
        Phase::Failed => "failed",
        Phase::LeftOut => "left out",
    }
}

/// Returns what an exit code says about the hosts.
pub fn meaning(exit_code: u8) -> &'static str {
    match exit_code {
        0 => "done; every host runs what was asked",
        1 => "unexpected: this is a bug in rdeploy",
        2 => "the command line, the configuration or the local build is wrong; no host was touched",
        3 => "preflight, connection or login failed; no host was changed",
        4 => "locked by somebody else; no host was changed",
        5 => "failed; every host runs what it ran before",
        6 => "failed, and some host could not be put back: a person must act",
        7 => "done on fewer hosts than asked, as the configuration allows",
        8 => "not confirmed on some host: it puts itself back, or the next command says how it stands",
        130 => "interrupted; every host runs what it ran before",
        _ => "unexpected: this is a bug in rdeploy",
    }
}

/// What to do next when no failure has a hint of its own.
fn next_step(exit_code: u8, environment: &str) -> String {
    let step = match exit_code {
        0 => "nothing",
        2 => "correct what is named above and run the same command again",
        3 => "correct what is named above and run the same command again; nothing needs cleaning up",
        4 => "wait until the other run has ended, then run the same command again",
        5 => "find the cause above or in the log, correct it and deploy again; the app is up as before",
        6 => "look at each host marked failed now: it may serve the wrong release, or nothing",
        7 => {
            return format!(
                "when the hosts that were left out can be reached again: `rdeploy {environment} resume`"
            );
        }
        8 => "run the same command again: it reads each host's journal and says what stands there",
        130 => "run the same command again when you are ready",
        _ => "please report it, with the log",
    };
    step.to_owned()
}
