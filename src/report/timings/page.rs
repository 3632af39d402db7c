//! Owns the page's HTML: one file, no script, nothing loaded from anywhere. Every text is escaped here, whoever wrote
//! it; that it has no control characters is seen to where the events are taken in.

use std::fmt::Write as _;
use std::time::Duration;

use super::axis;
use super::model::Bar;
use super::model::Row;
use super::model::Timeline;
use super::steps;
use super::words;
use crate::report::closing;
use crate::report::format;
use crate::report::run::Failure;
use crate::report::text;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// The most lines of a failing command that are shown; the log has all.
const SHOWN_LINES: usize = 200;

/// So many letters of a name have room beside its bars.
const NAME: usize = 24;

/// Writes the page.
pub(super) fn page(timeline: &Timeline) -> String {
    let scale = Scale(timeline.run.elapsed);
    let summary = timeline.run.summary.as_ref();
    let headline = summary.map_or_else(
        || format!("{} of {}", timeline.verb, timeline.app),
        |summary| text::joined(&summary.headline).trim_end_matches('.').to_owned(),
    );
    let code = summary.map(|summary| summary.exit_code);
    let tone = match code {
        Some(0) => "good",
        Some(7 | 130) => "late",
        _ => "bad",
    };
    let verdict = code.map_or_else(
        || "the run did not come to its end".to_owned(),
        |code| format!("exit code {code}: {}", closing::meaning(code)),
    );
    let ticks = axis::ticks(scale.0);
    let names: Vec<String> = timeline.hosts.iter().map(|row| row.name.clone()).collect();
    let named = timeline.hosts.iter().zip(format::labels(&names, NAME));
    let local = Some(&timeline.local).filter(|row| !row.bars.is_empty());
    let local = local.map(|row| row_html(row, row.title(), timeline, scale)).unwrap_or_default();
    let rows: String = named.map(|(row, name)| row_html(row, &name, timeline, scale)).collect();
    fill(&[
        ("generator", concat!("rdeploy ", env!("CARGO_PKG_VERSION"))),
        ("title", &escaped(&format!("{headline} · {}", timeline.app))),
        ("style", STYLE),
        ("tone", tone),
        ("verdict", &escaped(&verdict)),
        ("headline", &escaped(&headline)),
        ("facts", &facts(timeline)),
        ("failures", &timeline.run.failures.iter().map(failure).collect::<String>()),
        ("legend", &legend(timeline)),
        ("grid", &grid(&ticks, timeline.stopped, scale)),
        ("axis", &ticks.iter().map(|(at, name)| tick(*at, name, scale)).collect::<String>()),
        ("rows", &(local + &rows)),
        ("steps", &steps::table(timeline)),
        ("hosts", &hosts(timeline)),
        ("bars", &timeline.rows().map(numbers).collect::<String>()),
    ])
}

/// Fills the template. What is filled in is not looked at again.
fn fill(values: &[(&str, &str)]) -> String {
    let mut parts = TEMPLATE.split("{{");
    let mut page = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        debug_assert!(value.is_some(), "the template asks for {name}");
        page.push_str(value.map_or("", |(_, value)| value));
        page.push_str(rest);
    }
    page
}

/// Makes text stand for itself, between tags and in quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// From times to places.
#[derive(Clone, Copy)]
struct Scale(Duration);

impl Scale {
    fn percent(self, at: Duration) -> f64 {
        let whole = self.0.as_secs_f64().max(0.001);
        (at.as_secs_f64() / whole * 100.0).clamp(0.0, 100.0)
    }
}

impl Timeline {
    /// The rows that are shown: this machine's, where something was done here, and every host's.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        let local = Some(&self.local).filter(|row| !row.bars.is_empty());
        local.into_iter().chain(&self.hosts)
    }
}

impl Row {
    fn title(&self) -> &str {
        if self.name.is_empty() { "this machine" } else { &self.name }
    }

    /// Its bars and its hooks.
    pub(super) fn all_bars(&self) -> impl Iterator<Item = &Bar> {
        self.bars.iter().chain(&self.hooks)
    }
}

fn facts(timeline: &Timeline) -> String {
    let mut facts = vec![("app", timeline.app.clone())];
    if !timeline.run.environment.is_empty() {
        facts.push(("environment", timeline.run.environment.clone()));
    }
    facts.push(("command", timeline.verb.clone()));
    if let Some(began) = &timeline.began {
        facts.push(("began", began.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()));
    }
    facts.push(("took", format::span(timeline.run.elapsed)));
    facts.push(("hosts", format::number(timeline.hosts.len())));
    let steps = timeline.run.summary.iter().flat_map(|summary| &summary.timings);
    facts.extend(steps.clone().map(|(name, took)| (name.as_str(), format::span(*took))));
    if timeline.run.warnings > 0 {
        facts.push(("warnings", format!("{} (in the log)", format::number(timeline.run.warnings))));
    }
    let fact = |(name, value): (&str, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(&text::one_line(name)), escaped(&value))
    };
    facts.into_iter().map(fact).collect()
}

fn failure(failure: &Failure) -> String {
    let place = match failure.hosts.as_slice() {
        [] => String::new(),
        hosts => format!("{}: ", hosts.join(", ")),
    };
    let mut html = format!(
        "<section class=\"failure\"><p><strong class=\"bad\">{}</strong>{}</p>\n",
        escaped(&place),
        escaped(&failure.error)
    );
    if !failure.output.is_empty() {
        let hidden = failure.output.len().saturating_sub(SHOWN_LINES);
        let more =
            if hidden > 0 { format!("({hidden} earlier lines are in the log)\n") } else { String::new() };
        let lines: Vec<&str> = failure.output.iter().skip(hidden).map(String::as_str).collect();
        let _ = writeln!(html, "<pre tabindex=\"0\">{more}{}</pre>", escaped(&lines.join("\n")));
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(html, "<p>hint: {}</p>", escaped(hint));
    }
    html + "</section>\n"
}

/// The colours that the page has.
fn legend(timeline: &Timeline) -> String {
    let has =
        |class: &str| timeline.rows().any(|row| row.all_bars().any(|bar| words::class(bar.what) == class));
    let item = |(class, name): &(&str, &str)| format!("<li><i class=\"{class}\"></i>{name}</li>\n");
    words::LEGEND.iter().filter(|(class, _)| has(class)).map(item).collect()
}

fn grid(ticks: &[(Duration, String)], stopped: Option<Duration>, scale: Scale) -> String {
    let line = |class: &str, at: Duration| format!("<i{class} style=\"left:{:.4}%\"></i>", scale.percent(at));
    let lines = ticks.iter().map(|(at, _)| line("", *at));
    lines.chain(stopped.map(|at| line(" class=\"stop\"", at))).collect()
}

fn tick(at: Duration, name: &str, scale: Scale) -> String {
    let left = scale.percent(at);
    let class = if left > 96.0 { "tick last" } else { "tick" };
    format!("<span class=\"{class}\" style=\"left:{left:.4}%\">{}</span>", escaped(name))
}

fn row_html(row: &Row, name: &str, timeline: &Timeline, scale: Scale) -> String {
    let hooked = if row.hooks.is_empty() { "" } else { " hooked" };
    let title = escaped(row.title());
    let mut html = format!("<section class=\"row{hooked}\" aria-label=\"{title}\"><div class=\"who\">");
    let _ = write!(html, "<b title=\"{title}\">{}</b>", escaped(name));
    let end = timeline.run.summary.iter().flat_map(|summary| &summary.hosts);
    if let Some(end) = end.into_iter().find(|end| text::one_line(&end.host) == row.name) {
        let class = words::tone(end.phase);
        let _ = write!(html, "<span class=\"end {class}\">{}</span>", escaped(closing::end_words(end.phase)));
    }
    if let Some(traffic) = row.traffic {
        let trips = format::count(usize::try_from(traffic.round_trips).unwrap_or(usize::MAX), "round trip");
        let _ = write!(html, "<small>{trips} · {} sent</small>", format::bytes(traffic.sent));
    }
    html.push_str("</div><div class=\"track\">");
    for bar in row.all_bars() {
        html.push_str(&bar_html(bar, row, scale));
    }
    for (at, error) in &row.failures {
        let label = escaped(&format!("{}: failed after {}: {error}", row.title(), format::span(*at)));
        let left = scale.percent(*at);
        let _ = write!(
            html,
            "<span class=\"mark\" role=\"img\" tabindex=\"0\" aria-label=\"{label}\" style=\"left:{left:.4}%\"></span>"
        );
    }
    html + "</div></section>\n"
}

fn bar_html(bar: &Bar, row: &Row, scale: Scale) -> String {
    let (class, failed) = (words::class(bar.what), if bar.failed { " failed" } else { "" });
    let left = scale.percent(bar.from);
    let width = scale.percent(bar.to.unwrap_or(bar.from)) - left;
    let mut label = format!("{}: {}", row.title(), words::long(bar));
    let _ = write!(
        label,
        "\n{}, from {} to {}",
        format::span(bar.took()),
        format::span(bar.from),
        format::span(bar.to.unwrap_or(bar.from))
    );
    if let Some(sent) = bar.sent {
        let _ = write!(label, "\n{} of the release sent", format::bytes(sent));
    }
    if bar.failed {
        label.push_str("\nfailed");
    }
    format!(
        "<span class=\"bar {class}{failed}\" role=\"img\" tabindex=\"0\" aria-label=\"{}\" style=\"left:{left:.4}%;width:{width:.4}%\"><span><b>{}</b></span></span>",
        escaped(&label),
        escaped(&words::short(bar))
    )
}

fn hosts(timeline: &Timeline) -> String {
    let mut html = String::new();
    for row in &timeline.hosts {
        let ends = timeline.run.summary.iter().flat_map(|summary| &summary.hosts);
        let end = ends.into_iter().find(|end| text::one_line(&end.host) == row.name);
        let (class, ended) =
            end.map_or(("", "not known"), |end| (words::tone(end.phase), closing::end_words(end.phase)));
        let live = end.and_then(|end| end.live.as_deref()).map_or("not known".to_owned(), text::one_line);
        let traffic = row.traffic.map_or_else(
            || ["–"; 3].map(str::to_owned),
            |traffic| {
                [
                    traffic.round_trips.to_string(),
                    format::bytes(traffic.sent),
                    format::bytes(traffic.received),
                ]
            },
        );
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td class=\"{class}\">{ended}</td><td>{}</td>",
            escaped(&row.name),
            escaped(&live)
        );
        for cell in traffic {
            let _ = write!(html, "<td class=\"n\">{cell}</td>");
        }
        html.push_str("</tr>\n");
    }
    html
}

/// A row's bars, in the order in which they began.
fn numbers(row: &Row) -> String {
    let mut bars: Vec<&Bar> = row.all_bars().collect();
    bars.sort_by_key(|bar| bar.from);
    let mut html = "<tbody>\n".to_owned();
    for bar in bars {
        let to = bar.to.unwrap_or(bar.from);
        let failed = if bar.failed { " <b class=\"bad\">failed</b>" } else { "" };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td><i class=\"key {}\"></i>{}{failed}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escaped(row.title()),
            words::class(bar.what),
            escaped(&words::long(bar)),
            format::span(bar.from),
            format::span(to),
            format::span(bar.took()),
        );
    }
    html + "</tbody>\n"
}
