//! Owns plain lines: what is read in CI logs, pipes and files. No control codes unless colours were
//! forced. Every line about a host begins with the host's name, so that no line of a remote program
//! starts a line here. The run goes to standard output, the block of a failure to standard error.

use std::collections::HashSet;
use std::io;
use std::io::Write;
use std::path::PathBuf;

use crate::event::Event;
use crate::event::EventKind;

use super::closing;
use super::closing::Closing;
use super::format;
use super::paint::Paint;
use super::run::Run;
use super::text;
use super::words;
use super::words::Level;
use super::words::Place;
use super::words::Said;
use super::words::Tone;

/// No name takes more columns than this.
const WIDEST_NAME: usize = 40;

/// A reporter of plain lines.
pub(crate) struct Plain<O, E> {
    out: Sink<O>,
    err: E,
    paint: Paint,
    verbose: u8,
    log: PathBuf,
    run: Run,
    names: usize,
    uploads: HashSet<String>,
    closed: bool,
}

/// A writer that may fail: it is left alone from then on.
struct Sink<W> {
    writer: W,
    failed: bool,
}

impl<O: Write, E: Write> Plain<O, E> {
    /// Returns a reporter that writes the run to `out` and the block of a failure to `err`.
    pub(crate) fn new(out: O, err: E, paint: Paint, verbose: u8, log: PathBuf) -> Self {
        let out = Sink { writer: out, failed: false };
        let names = format::width(LOCAL);
        Self {
            out,
            err,
            paint,
            verbose,
            log,
            run: Run::default(),
            names,
            uploads: HashSet::new(),
            closed: false,
        }
    }

    /// Reports one event.
    pub(crate) fn on(&mut self, event: &Event) {
        let mut lines = self.output_of_failed_hook(&event.kind);
        self.run.apply(event);
        if matches!(event.kind, EventKind::RunStarted { .. }) {
            let widest = self.run.names().iter().map(|name| format::width(name)).max();
            self.names = self.names.max(widest.unwrap_or(0).min(WIDEST_NAME));
        }
        if let EventKind::UploadPlanned { host, .. } = &event.kind {
            // Where more is missing than was foreseen there is another one.
            let host = text::one_line(host);
            self.uploads.retain(|told| *told != format!("start {host}") && *told != format!("end {host}"));
        }
        lines.extend(self.upload(event));
        let said = match &event.kind {
            // Its own lines say it.
            EventKind::UploadPlanned { .. } => None,
            kind => words::say(kind).filter(|said| said.level.is_told(self.verbose)),
        };
        if let Some(said) = said {
            lines.extend(self.lines(&said));
        }
        self.write(&lines);
        if matches!(event.kind, EventKind::RunFinished { .. }) {
            self.close();
        }
    }

    /// Says the last words, once.
    pub(crate) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        match closing::closing(&self.run, &self.log, self.paint, usize::MAX) {
            None => {}
            Some(Closing::Good(lines)) => self.write(&lines),
            Some(Closing::Bad(lines)) => {
                // Whatever was written to the other stream is flushed already: the order holds when
                // both are the same file.
                let _ = self.err.write_all(block(&lines).as_bytes()).and_then(|()| self.err.flush());
            }
        }
    }

    /// A hook whose failure only warns: what it wrote comes before the warning.
    fn output_of_failed_hook(&mut self, kind: &EventKind) -> Vec<String> {
        let EventKind::Warned { host: Some(host), text: _ } = kind else { return Vec::new() };
        let lines = self.run.take_output(Some(host));
        if self.verbose > 0 || lines.is_empty() {
            return Vec::new();
        }
        let place = Place::Host(text::one_line(host));
        self.lines(&Said { place, tone: Tone::Output, level: Level::Always, lines })
    }

    /// Two lines for each upload, its start and its end; one where it ends as it starts.
    fn upload(&mut self, event: &Event) -> Vec<String> {
        let EventKind::UploadProgressed { host, sent: _, total: _ } = &event.kind else { return Vec::new() };
        let host = text::one_line(host);
        let Some(upload) = self.run.find(&host).and_then(|host| host.upload.as_ref()) else {
            return Vec::new();
        };
        let starts = self.uploads.insert(format!("start {host}"));
        let ends = upload.is_complete() && self.uploads.insert(format!("end {host}"));
        let total = format::bytes(upload.total);
        let (plan, is_empty) = upload.plan.clone().unwrap_or_else(|| (total.clone(), upload.total == 0));
        let told = match (starts, ends) {
            (true, true) if is_empty => "nothing to upload: every file is there already".to_owned(),
            (true, true) if upload.is_estimate => format!("uploaded {total}"),
            (true, true) => format!("uploaded {plan}"),
            (true, false) => format!("uploading {plan}"),
            (false, true) => {
                let took = event.elapsed.saturating_sub(upload.started);
                let rate = format::rate(upload.total, took).map(|rate| format!(" ({rate})"));
                format!("uploaded {total} in {}{}", format::span(took), rate.unwrap_or_default())
            }
            (false, false) => return Vec::new(),
        };
        self.lines(&Said {
            place: Place::Host(host),
            tone: Tone::Step,
            level: Level::Always,
            lines: vec![told],
        })
    }

    fn lines(&self, said: &Said) -> Vec<String> {
        let prefix = match &said.place {
            Place::Run => None,
            Place::Local => Some(LOCAL.to_owned()),
            Place::Host(name) => Some(format::cut_middle(name, WIDEST_NAME)),
        };
        let prefix = prefix.map(|name| format!("{} | ", format::pad(&name, self.names))).unwrap_or_default();
        said.lines
            .iter()
            .map(|line| {
                let line = match said.tone {
                    Tone::Title | Tone::Step => line.clone(),
                    Tone::Good => self.paint.good(line),
                    Tone::Warning => self.paint.warning(line),
                    Tone::Bad => self.paint.bad(line),
                    Tone::Output => format!("  {line}"),
                };
                format!("{prefix}{line}").trim_end().to_owned()
            })
            .collect()
    }

    fn write(&mut self, lines: &[String]) {
        if lines.is_empty() || self.out.failed {
            return;
        }
        if let Err(error) = self.out.write(lines) {
            self.out.failed = true;
            let told = format!(
                "warning: standard output cannot be written any more ({error}); the run goes on, its log is {}\n",
                self.log.display()
            );
            let _ = self.err.write_all(told.as_bytes()).and_then(|()| self.err.flush());
        }
    }
}

/// The name that stands where a host's name would.
const LOCAL: &str = "local";

impl<W: Write> Sink<W> {
    fn write(&mut self, lines: &[String]) -> io::Result<()> {
        self.writer.write_all(block(lines).as_bytes())?;
        self.writer.flush()
    }
}

fn block(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
