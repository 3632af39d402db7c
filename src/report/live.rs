//! Owns the live part of a terminal: which lines stand there at a moment, as text. Pure, so that every
//! width can be tested; knows no terminal.

use std::time::Duration;

use crate::event::Phase;

use super::format;
use super::paint::Paint;
use super::run::Host;
use super::run::Run;
use super::run::Running;
use super::run::Upload;

/// The widest name of a host; narrow terminals give it a third.
const WIDEST_NAME: usize = 30;

/// The widest bar, and the narrowest worth drawing.
const BAR: std::ops::RangeInclusive<usize> = 8..=28;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// A terminal's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// Returns the lines that stand on the terminal at `now`; none is wider than the terminal, and together
/// they leave room for a line of history.
pub(crate) fn lines(run: &Run, now: Duration, size: Size, paint: Paint) -> Vec<String> {
    // The last column stays free: terminals differ in when they wrap.
    let view = View { now, columns: size.columns.saturating_sub(1).max(10), paint };
    let mut lines = Vec::new();
    if let Some(local) = &run.local {
        lines.push(view.running(local));
    }
    if let Some(packing) = run.packing {
        let files = format::count(usize::try_from(packing.files).unwrap_or(usize::MAX), "file");
        let words = format!("packing {files}, {}", format::bytes(packing.bytes));
        lines.push(view.row(&[(words.as_str(), Paint::plain)]));
    }
    if let Some(until) = run.pause_until {
        let left = until.saturating_sub(now);
        let words = format!("pause: {} left", seconds(left.as_secs()));
        lines.push(view.row(&[(words.as_str(), Paint::plain)]));
    }
    let total = view.total(run);
    let room = size.rows.saturating_sub(lines.len() + usize::from(total.is_some()) + 2).max(1);
    lines.extend(view.hosts(run, room));
    lines.extend(total);
    lines
}

struct View {
    now: Duration,
    columns: usize,
    paint: Paint,
}

type Tint = fn(Paint, &str) -> String;

impl View {
    fn spinner(&self) -> String {
        let frame = usize::try_from(self.now.as_millis() / 100).unwrap_or(0) % SPINNER.len();
        self.paint.active(SPINNER.get(frame).copied().unwrap_or_default())
    }

    /// A spinner and pieces of text, cut where the terminal ends.
    fn row(&self, pieces: &[(&str, Tint)]) -> String {
        self.marked(&self.spinner(), pieces)
    }

    fn marked(&self, mark: &str, pieces: &[(&str, Tint)]) -> String {
        let mut line = format!("{mark} ");
        let mut left = self.columns.saturating_sub(2);
        for (text, tint) in pieces {
            let text = format::cut(text, left);
            left -= format::width(&text);
            line.push_str(&tint(self.paint, &text));
        }
        line
    }

    /// A command on this machine, how long it has run, and what it wrote last.
    fn running(&self, local: &Running) -> String {
        let took = format::running(self.now.saturating_sub(local.started));
        let last = local.last_line().map(|line| format!("  {line}")).unwrap_or_default();
        // A long command leaves room for the sign of life behind it.
        let command = format::cut(&local.what, (self.columns / 2).max(self.columns.saturating_sub(30)));
        self.row(&[
            (command.as_str(), Paint::bold),
            (format!("  {took}").as_str(), Paint::dim),
            (last.as_str(), Paint::dim),
        ])
    }

    fn hosts(&self, run: &Run, room: usize) -> Vec<String> {
        let widest = WIDEST_NAME.min(self.columns / 3).max(6);
        let labels = format::labels(run.names(), widest);
        let active = || run.hosts().zip(&labels).filter(|(host, _)| host.phase.is_some() && !host.is_over());
        let name = active().map(|(_, label)| format::width(label)).max().unwrap_or(0);
        let phase = active().map(|(host, _)| format::width(phase_word(host))).max().unwrap_or(0);
        let count = active().count();
        if count <= room {
            return active().map(|(host, label)| self.host(host, label, name, phase)).collect();
        }
        // Those that only wait say the least, so they make room first.
        let mut shown: Vec<_> = active().collect();
        shown.sort_by_key(|(host, _)| host.phase == Some(Phase::Waiting));
        let (shown, hidden) = shown.split_at(room.saturating_sub(1).min(shown.len()));
        let mut lines: Vec<_> =
            shown.iter().map(|(host, label)| self.host(host, label, name, phase)).collect();
        let mut groups: Vec<(&str, usize)> = Vec::new();
        for (host, _) in hidden {
            let word = phase_word(host);
            match groups.iter_mut().find(|(known, _)| *known == word) {
                Some((_, n)) => *n += 1,
                None => groups.push((word, 1)),
            }
        }
        let groups: Vec<_> = groups.iter().map(|(word, n)| format!("{n} {word}")).collect();
        let more = format!("and {} more: {}", hidden.len(), groups.join(", "));
        lines.push(self.marked(" ", &[(more.as_str(), Paint::dim)]));
        lines
    }

    fn host(&self, host: &Host, label: &str, name: usize, phase: usize) -> String {
        let label = format!("{}  ", format::pad(label, name));
        let word = format::pad(phase_word(host), phase);
        let left = self.columns.saturating_sub(2 + format::width(&label) + phase + 2);
        let (detail, tint) = self.detail(host, left);
        let detail = format!("  {detail}");
        let mark = match host.phase {
            Some(Phase::Waiting) if host.running_hook().is_none() => self.paint.good("✓"),
            _ => self.spinner(),
        };
        let word_tint: Tint = match host.phase {
            Some(Phase::Reverting) => Paint::warning,
            _ => Paint::active,
        };
        let row = self.marked(
            &mark,
            &[(label.as_str(), Paint::plain), (word.as_str(), word_tint), (detail.as_str(), tint)],
        );
        row.trim_end().to_owned()
    }

    fn detail(&self, host: &Host, room: usize) -> (String, Tint) {
        if let Some(hook) = host.running_hook() {
            let took = format!("  {}", format::running(self.now.saturating_sub(hook.started)));
            let what = format::cut(&hook.what, room.saturating_sub(took.len()));
            return (format!("{what}{took}"), Paint::dim);
        }
        match (&host.upload, host.phase) {
            (Some(upload), Some(Phase::Uploading)) if upload.total > 0 => {
                (self.bar(upload, room), Paint::plain)
            }
            (_, Some(Phase::Waiting)) => ("for the other hosts".to_owned(), Paint::dim),
            _ => match self.now.saturating_sub(host.entered) {
                took if took < Duration::from_secs(2) => (String::new(), Paint::dim),
                took => (format::running(took), Paint::dim),
            },
        }
    }

    /// A bar with as many of share, sizes, rate and time left as there is room for.
    fn bar(&self, upload: &Upload, room: usize) -> String {
        let (sent, total) = (u128::from(upload.sent.min(upload.total)), u128::from(upload.total.max(1)));
        let rate = upload.rate(self.now).filter(|_| !upload.is_complete());
        let left = rate.and_then(|rate| upload.total.saturating_sub(upload.sent).checked_div(rate));
        let speed = rate.map(|rate| format!("{}/s", format::bytes(rate))).unwrap_or_default();
        let facts = [
            (format!(" {:>3}%", sent * 100 / total), *BAR.start()),
            (format!("  {}", format::bytes_of(upload.sent.min(upload.total), upload.total)), *BAR.start()),
            // Padded, so that the bars of all hosts are equally long.
            (format!("  {speed:>10}"), *BAR.start()),
            // The time left is told for all hosts together; here only where there is much room.
            (left.map(|left| format!("  {} left", seconds(left))).unwrap_or_default(), *BAR.end()),
        ];
        let mut tail = String::new();
        for (fact, bar) in facts {
            if format::width(&tail) + format::width(&fact) + bar > room {
                break;
            }
            tail.push_str(&fact);
        }
        if tail.is_empty() {
            return format!("{}%", sent * 100 / total);
        }
        let bar = (room - format::width(&tail)).min(*BAR.end());
        let filled = usize::try_from(sent * bar as u128 / total).unwrap_or(bar);
        format!("{}{}{tail}", "━".repeat(filled), "╌".repeat(bar - filled))
    }

    /// All uploads together, when there are several.
    fn total(&self, run: &Run) -> Option<String> {
        let uploads: Vec<&Upload> = run.hosts().filter_map(|host| host.upload.as_ref()).collect();
        let moving = uploads.iter().filter(|upload| !upload.is_complete()).count();
        if uploads.len() < 2 || moving == 0 {
            return None;
        }
        let sent = uploads.iter().map(|upload| upload.sent.min(upload.total)).sum();
        let total = uploads.iter().map(|upload| upload.total).sum();
        let rate: u64 = uploads
            .iter()
            .filter(|upload| !upload.is_complete())
            .filter_map(|upload| upload.rate(self.now))
            .sum();
        let mut line = format!("upload: {}", format::bytes_of(sent, total));
        let speed = (rate > 0).then(|| format!("  {}/s", format::bytes(rate)));
        let left = total.saturating_sub(sent).checked_div(rate).map(|s| format!("  {} left", seconds(s)));
        for fact in speed.into_iter().chain(left) {
            if format::width(&line) + format::width(&fact) + 2 > self.columns {
                break;
            }
            line.push_str(&fact);
        }
        Some(self.marked(" ", &[(line.as_str(), Paint::dim)]))
    }
}

/// A time left: never nothing while something is left.
fn seconds(left: u64) -> String {
    format::running(Duration::from_secs(left.max(1)))
}

/// What a host does, in a word or two.
fn phase_word(host: &Host) -> &'static str {
    match host.phase {
        _ if host.running_hook().is_some() => "hook",
        None => "",
        Some(Phase::Connecting) => "connecting",
        Some(Phase::Checking) => "checking",
        Some(Phase::Locking) => "locking",
        Some(Phase::Uploading) => "uploading",
        Some(Phase::Preparing) => "preparing",
        Some(Phase::Waiting) => "waiting",
        Some(Phase::Switching) => "switching",
        Some(Phase::Verifying) => "verifying",
        Some(Phase::Finishing) => "finishing",
        Some(Phase::Reverting) => "putting back",
        Some(Phase::Done) => "done",
        Some(Phase::Reverted) => "put back",
        Some(Phase::Failed) => "failed",
        Some(Phase::LeftOut) => "left out",
    }
}
