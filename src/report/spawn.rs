//! Owns the threads that reporters run on, and the end of reporting.

use std::io;
use std::io::Write;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use indicatif::ProgressDrawTarget;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::event::Event;
use crate::event::EventKind;

use super::live::Size;
use super::log;
use super::log::Log;
use super::options::Mode;
use super::options::Options;
use super::paint::Paint;
use super::plain::Plain;
use super::progress::Progress;
use super::screen::Screen;
use super::timings::Timings;

/// How often live lines are drawn.
const TICK: Duration = Duration::from_millis(100);

/// Reporting under way. Dropping it does not end it: it ends with `finish`, or with the last `Events`.
#[derive(Debug)]
#[must_use = "a run that does not wait for `finish` may lose its last words"]
pub struct ReporterHandle {
    screen: Screen,
    finish: oneshot::Sender<()>,
    done: oneshot::Receiver<()>,
}

impl ReporterHandle {
    /// The terminal, for questions to the user.
    pub fn screen(&self) -> Screen {
        self.screen.clone()
    }

    /// Waits until every event stated so far has been reported, and ends reporting. What is stated
    /// afterwards is lost; a forgotten `Events` does not hold this up.
    pub async fn finish(self) {
        // Both fail only when the reporter has already ended.
        let _ = self.finish.send(());
        let _ = self.done.await;
    }
}

/// Starts reporting `events`, to the terminal or the standard streams, and to the log.
pub fn spawn(options: Options, events: mpsc::UnboundedReceiver<Event>) -> ReporterHandle {
    let paint = Paint { color: options.color };
    let (verbose, log) = (options.verbose, options.log.clone());
    let err: Writer = Box::new(io::stderr());
    let out: Writer = if options.result_on_stdout { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
    match options.mode {
        Mode::Plain => {
            let plain = Plain::new(out, err, paint, verbose, log);
            start(&options, events, Screen::idle(), Shown::Plain(plain))
        }
        Mode::Progress => {
            let size = terminal_size(options.width);
            let progress = Progress::new(ProgressDrawTarget::stderr(), err, size, paint, verbose, log);
            start(&options, events, progress.screen(), Shown::Progress(progress))
        }
    }
}

fn terminal_size(width: Option<u16>) -> Box<dyn Fn() -> Size + Send> {
    Box::new(move || {
        let asked = rustix::termios::tcgetwinsize(io::stderr()).ok();
        let columns = width.or(asked.map(|size| size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80);
        let rows = asked.map(|size| size.ws_row).filter(|rows| *rows > 0).unwrap_or(24);
        Size { columns: usize::from(columns), rows: usize::from(rows) }
    })
}

type Writer = Box<dyn Write + Send>;

/// What shows the run to the user.
enum Shown {
    Progress(Progress<Writer>),
    Plain(Plain<Writer, Writer>),
}

/// Starts two threads: one writes the log and the page of timings and hands each event on, so that a log that cannot be
/// written is told like any other warning; the other shows the run.
fn start(
    options: &Options,
    events: mpsc::UnboundedReceiver<Event>,
    screen: Screen,
    shown: Shown,
) -> ReporterHandle {
    let (finish, finishing) = oneshot::channel();
    let (ended, done) = oneshot::channel();
    let (hand_on, handed_on) = mpsc::unbounded_channel();
    let path = options.log.clone();
    let mut timings = options.timings.clone().map(Timings::new);
    let logging = thread::Builder::new().name("log".to_owned()).spawn(move || {
        let warn = |elapsed, error: io::Error| {
            let text = format!("the log {} cannot be written ({error}); the run goes on", path.display());
            let _ = hand_on.send(Event { elapsed, kind: EventKind::Warned { host: None, text } });
        };
        let file = log::open(&path).map_err(|error| warn(Duration::ZERO, error)).ok();
        let mut log = Log::new(file);
        let mut last = Duration::ZERO;
        drive(events, Some(finishing), |step| {
            if let Step::Event(event) = step {
                last = event.elapsed;
                if let Some(timings) = &mut timings {
                    timings.on(&event);
                }
                if let Err(error) = log.on(&event) {
                    warn(event.elapsed, error);
                }
                // The other side is gone only when its thread died; the log goes on alone.
                let _ = hand_on.send(event);
            }
        });
        let Some(timings) = timings else { return };
        let page = timings.path().to_owned();
        if let Err(error) = timings.write() {
            let text = format!("the timings {} cannot be written ({error})", page.display());
            let _ = hand_on.send(Event { elapsed: last, kind: EventKind::Warned { host: None, text } });
        }
    });
    let turns = screen.clone();
    let showing = thread::Builder::new().name("report".to_owned()).spawn(move || {
        show(shown, &turns, handed_on);
        let _ = ended.send(());
    });
    // Without a thread there is no report, but there is still a run.
    for thread in [logging, showing] {
        if let Err(error) = thread {
            tracing::warn!(%error, "a reporter could not be started");
        }
    }
    ReporterHandle { screen, finish, done }
}

fn show(mut shown: Shown, screen: &Screen, events: mpsc::UnboundedReceiver<Event>) {
    // When the run began, by this thread's clock: events carry only the time since then.
    let mut began: Option<Instant> = None;
    drive(events, None, |step| match (&mut shown, step) {
        (Shown::Plain(plain), Step::Event(event)) => {
            let _turn = screen.turn();
            plain.on(&event);
        }
        (Shown::Plain(_), Step::Tick) => {}
        (Shown::Progress(progress), Step::Event(event)) => {
            began = began.or_else(|| Instant::now().checked_sub(event.elapsed));
            progress.on(&event);
        }
        (Shown::Progress(progress), Step::Tick) => {
            progress.draw(began.map(|began| began.elapsed()).unwrap_or_default());
        }
    });
    match &mut shown {
        Shown::Plain(plain) => plain.close(),
        Shown::Progress(progress) => progress.close(),
    }
}

/// What a reporter is asked to do.
enum Step {
    Event(Event),
    Tick,
}

/// Hands each event to `on`, and a tick now and then, until the events end or `finish` says that no
/// more are wanted than have been stated.
fn drive(
    mut events: mpsc::UnboundedReceiver<Event>,
    mut finish: Option<oneshot::Receiver<()>>,
    mut on: impl FnMut(Step),
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::warn!(%error, "a reporter could not be started");
            return;
        }
    };
    runtime.block_on(async {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let finishing = async {
                match &mut finish {
                    Some(finish) => finish.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => on(Step::Event(event)),
                    None => break,
                },
                asked = finishing => {
                    finish = None;
                    // A handle that was dropped asks for nothing.
                    if asked.is_ok() {
                        events.close();
                    }
                }
                _ = ticks.tick() => on(Step::Tick),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::Mutex;

    use crate::event::Events;

    use super::*;

    /// A writer whose bytes can be read afterwards.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Starts plain reporting to a writer, with its log at `log`.
    fn started(log: &Path, out: Writer) -> (Events, ReporterHandle) {
        let (events, receiver) = Events::channel();
        let log = log.to_owned();
        let options = Options {
            mode: Mode::Plain,
            color: false,
            verbose: 0,
            result_on_stdout: false,
            width: None,
            log: log.clone(),
            timings: None,
        };
        let plain = Plain::new(out, Box::new(io::sink()) as Writer, Paint { color: false }, 0, log);
        (events, start(&options, receiver, Screen::idle(), Shown::Plain(plain)))
    }

    fn note(n: usize) -> EventKind {
        EventKind::Noted { host: None, text: format!("number {n}") }
    }

    #[tokio::test]
    async fn finishing_waits_for_every_event_and_not_for_a_forgotten_sender() {
        let directory = tempfile::tempdir().unwrap();
        let (log, out) = (directory.path().join("run.log"), Shared::default());
        let (events, reporter) = started(&log, Box::new(out.clone()));
        let forgotten = events.clone();
        for n in 0..1_000 {
            events.emit(note(n));
        }
        reporter.finish().await;
        forgotten.emit(note(1_000));
        let expected: String = (0..1_000).map(|n| format!("note: number {n}\n")).collect();
        assert_eq!(out.text(), expected);
        assert_eq!(std::fs::read_to_string(log).unwrap().lines().count(), 1_000);
    }

    #[tokio::test]
    async fn a_dropped_handle_does_not_end_reporting() {
        let directory = tempfile::tempdir().unwrap();
        let out = Shared::default();
        let (events, reporter) = started(&directory.path().join("run.log"), Box::new(out.clone()));
        let ReporterHandle { screen: _, finish, done } = reporter;
        drop(finish);
        events.emit(note(1));
        drop(events);
        done.await.unwrap();
        assert_eq!(out.text(), "note: number 1\n");
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_opened_is_one_warning() {
        let directory = tempfile::tempdir().unwrap();
        let (log, out) = (directory.path().join("missing/run.log"), Shared::default());
        let (events, reporter) = started(&log, Box::new(out.clone()));
        events.emit(note(1));
        events.emit(note(2));
        reporter.finish().await;
        let text = out.text();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("warning: the log "), "{text}");
        assert!(lines[0].ends_with("(No such file or directory (os error 2)); the run goes on"), "{text}");
        assert_eq!(lines[1..], ["note: number 1", "note: number 2"]);
    }

    #[tokio::test]
    async fn a_disk_that_is_full_is_one_warning() {
        let out = Shared::default();
        let (events, reporter) = started(Path::new("/dev/full"), Box::new(out.clone()));
        events.emit(note(1));
        events.emit(note(2));
        reporter.finish().await;
        insta::assert_snapshot!(out.text(), @r"
        warning: the log /dev/full cannot be written (No space left on device (os error 28)); the run goes on
        note: number 1
        note: number 2
        ");
    }

    /// A writer that blocks until it is let go, like a terminal after Ctrl-S.
    struct Held(std::sync::mpsc::Receiver<()>);

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error means that the test let go of it for good.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_terminal_that_is_held_up_does_not_hold_up_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("run.log");
        let (let_go, held) = std::sync::mpsc::channel();
        let (events, reporter) = started(&log, Box::new(Held(held)));
        for n in 0..10 {
            events.emit(note(n));
        }
        let written = || std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 10);
        tokio::time::timeout(Duration::from_secs(20), async {
            while !written() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        drop(let_go);
        reporter.finish().await;
    }

    #[tokio::test]
    async fn nothing_is_reported_while_a_question_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let out = Shared::default();
        let (events, reporter) = started(&directory.path().join("run.log"), Box::new(out.clone()));
        let shown = reporter.screen().suspend(|| {
            events.emit(note(1));
            out.text()
        });
        assert_eq!(shown, "");
        reporter.finish().await;
        assert_eq!(out.text(), "note: number 1\n");
    }
}
