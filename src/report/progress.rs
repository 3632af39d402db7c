//! Owns the terminal: what is finished stays above, what is under way moves below it. Everything goes to
//! standard error. `live` says what moves; this file says what stays, and when it is drawn.

use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

use crate::event::Event;
use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Proof;

use super::closing;
use super::closing::Closing;
use super::format;
use super::live;
use super::live::Size;
use super::paint::Paint;
use super::run::Run;
use super::screen::Screen;
use super::text;
use super::words;
use super::words::Level;
use super::words::Place;
use super::words::Said;
use super::words::Tone;

/// A reporter with live progress.
pub(crate) struct Progress<W> {
    bar: ProgressBar,
    screen: Screen,
    above: W,
    size: Box<dyn Fn() -> Size + Send>,
    paint: Paint,
    verbose: u8,
    log: PathBuf,
    run: Run,
    failed: bool,
    closed: bool,
}

impl<W: Write> Progress<W> {
    /// Returns a reporter that draws its live lines on `target` and writes what stays to `above`: the
    /// same terminal, whose size is asked before each drawing.
    pub(crate) fn new(
        target: ProgressDrawTarget,
        above: W,
        size: Box<dyn Fn() -> Size + Send>,
        paint: Paint,
        verbose: u8,
        log: PathBuf,
    ) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        // One bar of many lines: `live` lays them out, indicatif draws them.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        let screen = Screen::with_live(bar.clone());
        let run = Run::default();
        Self { bar, screen, above, size, paint, verbose, log, run, failed: false, closed: false }
    }

    /// The terminal, to share with questions to the user.
    pub(crate) fn screen(&self) -> Screen {
        self.screen.clone()
    }

    /// Reports one event.
    pub(crate) fn on(&mut self, event: &Event) {
        let mut lines = self.output_of_failed_hook(&event.kind);
        self.run.apply(event);
        if let Some(said) = self.kept(&event.kind) {
            lines.extend(self.lines(&said));
        }
        if !lines.is_empty() {
            self.draw(event.elapsed);
            self.write(&lines);
        }
        if matches!(event.kind, EventKind::RunFinished { .. }) {
            self.close();
        }
    }

    /// Draws the live lines as they are at `now`.
    pub(crate) fn draw(&mut self, now: Duration) {
        if self.closed {
            return;
        }
        let _turn = self.screen.turn();
        let lines = live::lines(&self.run, now, (self.size)(), self.paint);
        self.bar.set_message(lines.join("\n"));
    }

    /// Takes the live lines away and says the last words, once.
    pub(crate) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.bar.finish_and_clear();
        match closing::closing(&self.run, &self.log, self.paint, (self.size)().columns) {
            None => {}
            Some(Closing::Good(lines) | Closing::Bad(lines)) => self.write(&lines),
        }
    }

    /// What stays on the terminal about an event.
    fn kept(&self, kind: &EventKind) -> Option<Said> {
        let stays = match kind {
            EventKind::RunStarted { .. }
            | EventKind::LocalCommandFinished { .. }
            | EventKind::ArtifactPacked { .. }
            | EventKind::ArtifactStored { .. }
            | EventKind::HookFinished { .. }
            | EventKind::BatchStarted { .. }
            | EventKind::Paused { .. }
            | EventKind::Noted { .. }
            | EventKind::Warned { .. }
            | EventKind::Failed { .. }
            | EventKind::Interrupted => true,
            EventKind::LocalCommandOutput { .. } | EventKind::HookOutput { .. } => self.verbose > 0,
            EventKind::Verified { proof, .. } => *proof == Proof::Unprovable || self.verbose > 0,
            EventKind::PhaseEntered { host, phase } => return self.ended(host, *phase),
            // These move in the live lines.
            EventKind::LocalCommandStarted { .. }
            | EventKind::PackProgressed { .. }
            | EventKind::HostConnected { .. }
            | EventKind::UploadProgressed { .. }
            | EventKind::HostWaiting { .. }
            | EventKind::HookStarted { .. } => false,
            EventKind::Switched { .. } | EventKind::UploadPlanned { .. } | EventKind::HostTraffic { .. } => {
                self.verbose > 0
            }
            // The last words follow when the live lines are gone.
            EventKind::RunFinished { .. } => false,
        };
        words::say(kind).filter(|_| stays)
    }

    /// What stays about a host that has come to its end.
    fn ended(&self, host: &str, phase: Phase) -> Option<Said> {
        let host = text::one_line(host);
        let (tone, line) = match phase {
            Phase::Done => {
                let verified = self.run.find(&host).and_then(|host| host.verified.as_deref());
                let line = verified.map_or("done".to_owned(), |release| format!("runs {release}"));
                (Tone::Good, line)
            }
            Phase::Reverted => (Tone::Warning, words::phase_words(phase).to_owned()),
            // The failure has an event of its own, with its text.
            Phase::Failed | Phase::LeftOut => return None,
            Phase::Connecting
            | Phase::Checking
            | Phase::Locking
            | Phase::Uploading
            | Phase::Preparing
            | Phase::Waiting
            | Phase::Switching
            | Phase::Verifying
            | Phase::Finishing
            | Phase::Reverting => return None,
        };
        Some(Said { place: Place::Host(host), tone, level: Level::Always, lines: vec![line] })
    }

    /// A hook whose failure only warns: what it wrote comes before the warning.
    fn output_of_failed_hook(&mut self, kind: &EventKind) -> Vec<String> {
        let EventKind::Warned { host: Some(host), text: _ } = kind else { return Vec::new() };
        let lines = self.run.take_output(Some(host));
        if self.verbose > 0 {
            return Vec::new();
        }
        let place = Place::Host(text::one_line(host));
        self.lines(&Said { place, tone: Tone::Output, level: Level::Always, lines })
    }

    fn lines(&self, said: &Said) -> Vec<String> {
        let paint = self.paint;
        let mark = match said.tone {
            Tone::Title | Tone::Step | Tone::Output => " ".to_owned(),
            Tone::Good => paint.good("✓"),
            Tone::Warning => paint.warning("!"),
            Tone::Bad => paint.bad("✗"),
        };
        let columns = (self.size)().columns;
        // What went well is worth a line, not two; what did not is told whole.
        let fit = |line: &String| match (said.tone, &said.place) {
            (Tone::Good | Tone::Step, Place::Host(name)) => {
                format::cut(line, columns.saturating_sub(5 + format::width(name)))
            }
            (Tone::Good | Tone::Step, Place::Local) => format::cut(line, columns.saturating_sub(3)),
            _ => line.clone(),
        };
        let lines = said.lines.iter().map(fit);
        let line = |line: String| match (&said.place, said.tone) {
            (_, Tone::Title) => paint.bold(&line),
            (Place::Run, _) => format!("{mark} {line}"),
            (Place::Local, Tone::Output) => format!("{mark} {}", paint.dim(&format!("| {line}"))),
            (Place::Local, _) => format!("{mark} {line}"),
            (Place::Host(name), Tone::Output) => {
                format!("{mark} {}", paint.dim(&format!("{name} | {line}")))
            }
            (Place::Host(name), _) => format!("{mark} {}  {line}", paint.bold(name)),
        };
        lines.map(line).collect()
    }

    /// Writes lines above the live ones.
    fn write(&mut self, lines: &[String]) {
        if self.failed {
            return;
        }
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let above = &mut self.above;
        let written = |above: &mut W| -> io::Result<()> {
            above.write_all(text.as_bytes())?;
            above.flush()
        };
        let result = self.screen.suspend(|| written(above));
        if let Err(error) = result {
            self.failed = true;
            tracing::warn!(%error, "the terminal cannot be written any more; the run goes on");
        }
    }
}
