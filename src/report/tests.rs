//! Whole outputs of scripted runs, plain and on a terminal.

use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::ProgressDrawTarget;
use indicatif::TermLike;

use crate::event::Event;
use crate::event::EventKind;
use crate::event::HostSummary;
use crate::event::Phase;
use crate::event::Proof;
use crate::event::Stream;
use crate::event::Summary;

use super::live::Size;
use super::log::Log;
use super::paint::Paint;
use super::plain::Plain;
use super::progress::Progress;

const OLD: &str = "20261121090000";
const NEW: &str = "20261122174124";
const WEB1: &str = "web1.example.com";
const WEB2: &str = "web2.example.com";
const DB: &str = "db.example.com";

/// A run that is written down: each event with its time in milliseconds.
struct Script {
    now: u64,
    events: Vec<Event>,
}

impl Script {
    fn new() -> Self {
        Self { now: 0, events: Vec::new() }
    }

    /// The events before anything is uploaded.
    fn begun(hosts: &[&str]) -> Self {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut script = Self::new();
        script.at(
            0,
            EventKind::RunStarted {
                verb: "deploy".into(),
                app: "shop".into(),
                environment: "prod".into(),
                hosts: hosts.clone(),
            },
        );
        for host in &hosts {
            script.phase(10, host, Phase::Connecting);
        }
        script.at(20, EventKind::LocalCommandStarted { command: "npm run build".into() });
        for host in &hosts {
            script.at(300, EventKind::HostConnected { host: host.clone() });
            script.phase(300, host, Phase::Checking);
        }
        for line in ["> shop@1.0.0 build", "\x1b[32mbundled\x1b[0m 214 modules"] {
            script.at(4_000, EventKind::LocalCommandOutput { line: line.into(), stream: Stream::Stdout });
        }
        script
    }

    fn built(mut self) -> Self {
        let duration = Duration::from_millis(8_100);
        self.at(8_120, EventKind::LocalCommandFinished { command: "npm run build".into(), duration });
        self.at(8_200, EventKind::PackProgressed { files: 600, bytes: 5_000_000 });
        self
    }

    fn packed(mut self) -> Self {
        self.at(
            8_300,
            EventKind::ArtifactPacked {
                digest: "a1b2c3d4e5f6a7b8".repeat(4),
                files: 1_204,
                bytes: 12_300_000,
                compressed: 4_100_000,
                reused: false,
            },
        );
        self
    }

    fn uploading(mut self, host: &str, from: u64, sent: &[u64]) -> Self {
        self.phase(from, host, Phase::Uploading);
        for (n, sent) in sent.iter().enumerate() {
            let host = host.to_owned();
            let at = from + 500 * n as u64;
            self.at(at, EventKind::UploadProgressed { host, sent: *sent, total: 4_100_000 });
        }
        self
    }

    fn uploaded(self, host: &str) -> Self {
        self.uploading(host, 8_300, &[0, 1_000_000, 2_200_000, 3_000_000, 4_100_000])
    }

    fn prepared(self, host: &str) -> Self {
        let mut script = self.uploaded(host);
        script.phase(10_300, host, Phase::Preparing);
        script.phase(11_000, host, Phase::Waiting);
        script
    }

    fn hook(mut self, from: u64, host: &str, output: &[&str]) -> Self {
        let (point, command) = ("before_switch".to_owned(), "npm run migrate".to_owned());
        self.at(from, EventKind::HookStarted { host: host.into(), point, command });
        for line in output {
            self.at(from + 100, EventKind::HookOutput { host: host.into(), line: (*line).into() });
        }
        self
    }

    fn hook_done(mut self, at: u64, host: &str) -> Self {
        let (point, command) = ("before_switch".to_owned(), "npm run migrate".to_owned());
        let duration = Duration::from_millis(1_200);
        self.at(at, EventKind::HookFinished { host: host.into(), point, command, duration });
        self
    }

    fn switched(mut self, host: &str) -> Self {
        self.phase(12_500, host, Phase::Switching);
        self.at(12_700, EventKind::Switched { host: host.into(), release: NEW.into() });
        self.phase(12_800, host, Phase::Verifying);
        self
    }

    fn proven(mut self, host: &str) -> Self {
        let (release, proof) = (NEW.to_owned(), Proof::Proven);
        let detail = "4 processes run from it, http://127.0.0.1:3000/healthz answered 200".to_owned();
        self.at(13_900, EventKind::Verified { host: host.into(), release, proof, detail });
        self
    }

    fn ended(mut self, host: &str, phase: Phase) -> Self {
        self.phase(14_100, host, phase);
        self
    }

    fn failed(mut self, host: Option<&str>, error: &str, hint: Option<&str>, output: Option<&str>) -> Self {
        self.at(
            13_000,
            EventKind::Failed {
                host: host.map(str::to_owned),
                error: error.into(),
                hint: hint.map(str::to_owned),
                output: output.map(str::to_owned),
            },
        );
        self
    }

    fn said(mut self, kind: EventKind) -> Self {
        self.at(self.now, kind);
        self
    }

    fn finished(mut self, headline: &str, exit_code: u8, hosts: &[(&str, Phase, Option<&str>)]) -> Self {
        let host = |(host, phase, live): &(&str, Phase, Option<&str>)| HostSummary {
            host: (*host).into(),
            phase: *phase,
            live: live.map(str::to_owned),
        };
        let timings = [("build", 8_100), ("upload", 2_000), ("switch", 3_100)];
        let summary = Summary {
            headline: headline.into(),
            exit_code,
            hosts: hosts.iter().map(host).collect(),
            timings: timings.map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms))).into(),
        };
        self.at(14_200, EventKind::RunFinished { summary });
        self
    }

    fn phase(&mut self, at: u64, host: &str, phase: Phase) {
        self.at(at, EventKind::PhaseEntered { host: host.into(), phase });
    }

    fn at(&mut self, now: u64, kind: EventKind) {
        self.now = self.now.max(now);
        self.events.push(Event { elapsed: Duration::from_millis(self.now), kind });
    }

    /// Returns everything plain output consists of: standard output, then standard error.
    fn plain(&self, verbose: u8) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let paint = Paint { color: false };
        let mut plain = Plain::new(&mut out, &mut err, paint, verbose, "/logs/run.log".into());
        for event in &self.events {
            plain.on(event);
        }
        plain.close();
        let [out, err] = [out, err].map(|bytes| String::from_utf8(bytes).unwrap());
        if err.is_empty() { out } else { format!("{out}--- standard error ---\n{err}") }
    }

    /// Returns what a terminal of that size shows after the last event.
    fn screen(&self, columns: u16, rows: u16) -> String {
        self.terminal(columns, rows, 0).screen()
    }

    fn terminal(&self, columns: u16, rows: u16, verbose: u8) -> Terminal {
        let terminal = Terminal::new(columns, rows);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let size = Size { columns: columns.into(), rows: rows.into() };
        let log = PathBuf::from("/logs/run.log");
        let paint = Paint { color: true };
        let size = Box::new(move || size);
        let mut progress = Progress::new(target, terminal.clone(), size, paint, verbose, log);
        for event in &self.events {
            progress.on(event);
            progress.draw(event.elapsed);
        }
        // As in a real run, the last drawing stands until the next one.
        std::mem::forget(progress);
        terminal
    }

    fn log(&self) -> String {
        let mut bytes = Vec::new();
        let mut log = Log::new(Some(&mut bytes));
        for event in &self.events {
            log.on(event).unwrap();
        }
        String::from_utf8(bytes).unwrap()
    }
}

/// A terminal that obeys the codes a real one obeys.
#[derive(Clone)]
struct Terminal {
    parser: Arc<Mutex<vt100::Parser>>,
    size: (u16, u16),
}

impl Terminal {
    fn new(columns: u16, rows: u16) -> Self {
        let parser = vt100::Parser::new(rows, columns, 1_000);
        Self { parser: Arc::new(Mutex::new(parser)), size: (columns, rows) }
    }

    fn feed(&self, bytes: &str) -> io::Result<()> {
        // A terminal's driver turns each line feed into a carriage return and a line feed.
        self.parser.lock().unwrap().process(bytes.replace('\n', "\r\n").as_bytes());
        Ok(())
    }

    fn screen(&self) -> String {
        let contents = self.parser.lock().unwrap().screen().contents();
        contents.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "terminal {:?}", self.size)
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.feed(std::str::from_utf8(bytes).unwrap())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.size.0
    }

    fn height(&self) -> u16 {
        self.size.1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.feed(&format!("\x1b[{n}A")) }
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.feed(&format!("\x1b[{n}B")) }
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.feed(&format!("\x1b[{n}C")) }
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.feed(&format!("\x1b[{n}D")) }
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.feed(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.feed(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.feed("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn success() -> Script {
    Script::begun(&[WEB1, DB])
        .built()
        .packed()
        .prepared(WEB1)
        .prepared(DB)
        .hook(11_100, DB, &["> migrate", "applied 2 migrations"])
        .hook_done(12_300, DB)
        .switched(WEB1)
        .switched(DB)
        .proven(WEB1)
        .proven(DB)
        .ended(WEB1, Phase::Done)
        .ended(DB, Phase::Done)
        .finished(
            "deployed 20261122174124 to prod",
            0,
            &[(WEB1, Phase::Done, Some(NEW)), (DB, Phase::Done, Some(NEW))],
        )
}

fn failed_hook() -> Script {
    Script::begun(&[WEB1, DB])
        .built()
        .packed()
        .prepared(WEB1)
        .prepared(DB)
        .hook(
            11_100,
            DB,
            &["> migrate", "::error::injected", "##[add-mask]x", "relation \"x\"\tmissing\x1b[2J"],
        )
        .failed(Some(DB), "hook before_switch `npm run migrate` exited with 1", None, None)
        .ended(DB, Phase::Failed)
        .finished(
            "deploy of 20261122174124 to prod failed before any host was switched",
            5,
            &[(WEB1, Phase::Waiting, Some(OLD)), (DB, Phase::Reverted, Some(OLD))],
        )
}

fn reverted() -> Script {
    let mut script = Script::begun(&[WEB1, WEB2, DB])
        .built()
        .packed()
        .prepared(WEB1)
        .prepared(WEB2)
        .prepared(DB)
        .switched(WEB1)
        .switched(WEB2)
        .proven(WEB1)
        .failed(
            Some(WEB2),
            "http://127.0.0.1:3000/healthz did not answer within 30 s: connection refused",
            Some("the last lines of the app's own log are above; `pm2 logs shop` on the host has more"),
            Some("Error: Cannot find module './config'\n    at Module._load\n"),
        );
    for host in [WEB1, WEB2] {
        script.phase(13_100, host, Phase::Reverting);
    }
    script.ended(WEB1, Phase::Reverted).ended(WEB2, Phase::Reverted).finished(
        "deploy of 20261122174124 to prod failed, and every host was put back",
        5,
        &[
            (WEB1, Phase::Reverted, Some(OLD)),
            (WEB2, Phase::Reverted, Some(OLD)),
            (DB, Phase::Waiting, Some(OLD)),
        ],
    )
}

fn revert_failed() -> Script {
    let mut script = Script::begun(&[WEB1, WEB2]).built().packed().prepared(WEB1).prepared(WEB2);
    script = script.switched(WEB1).switched(WEB2).failed(
        Some(WEB2),
        "pm2 exited with 1 when it restarted `shop`",
        None,
        Some("[PM2][ERROR] Process 0 not found"),
    );
    script.phase(13_100, WEB1, Phase::Reverting);
    script.phase(13_100, WEB2, Phase::Reverting);
    script
        .failed(
            Some(WEB2),
            "could not be put back: pm2 exited with 1 when it restarted `shop` from 20261121090000",
            Some("`current` is back on 20261121090000; start the app there: `pm2 start ecosystem.config.js`"),
            None,
        )
        .ended(WEB1, Phase::Reverted)
        .ended(WEB2, Phase::Failed)
        .finished(
            "deploy of 20261122174124 to prod failed, and web2.example.com could not be put back",
            6,
            &[(WEB1, Phase::Reverted, Some(OLD)), (WEB2, Phase::Failed, None)],
        )
}

fn interrupted() -> Script {
    let mut script = Script::begun(&[WEB1, WEB2]).built().packed().prepared(WEB1).prepared(WEB2);
    script = script.switched(WEB1);
    script.at(13_000, EventKind::Interrupted);
    script.phase(13_010, WEB1, Phase::Reverting);
    script.ended(WEB1, Phase::Reverted).finished(
        "deploy of 20261122174124 to prod was interrupted, and every host was put back",
        130,
        &[(WEB1, Phase::Reverted, Some(OLD)), (WEB2, Phase::Waiting, Some(OLD))],
    )
}

fn warned() -> Script {
    let mut script = Script::begun(&[WEB1]).built().packed().prepared(WEB1).switched(WEB1);
    script.at(
        13_500,
        EventKind::Verified {
            host: WEB1.into(),
            release: NEW.into(),
            proof: Proof::Unprovable,
            detail: "they belong to another user".into(),
        },
    );
    let (point, command) = ("after_deploy".to_owned(), "curl -f https://hooks.example.com".to_owned());
    let host = WEB1.to_owned();
    script
        .said(EventKind::HookStarted { host: host.clone(), point, command })
        .said(EventKind::HookOutput { host: host.clone(), line: "curl: (22) 404".into() })
        .said(EventKind::Warned {
            host: Some(host.clone()),
            text: "hook after_deploy exited with 22; the deploy stands".into(),
        })
        .said(EventKind::Warned { host: None, text: "the clock of web1.example.com is 40 s behind".into() })
        .said(EventKind::Noted { host: Some(host), text: "removed 1 old release".into() })
        .ended(WEB1, Phase::Done)
        .finished("deployed 20261122174124 to prod", 0, &[(WEB1, Phase::Done, Some(NEW))])
}

#[test]
fn a_plain_run_that_goes_well() {
    insta::assert_snapshot!(success().plain(0), @"");
}

#[test]
fn a_plain_run_told_in_full() {
    insta::assert_snapshot!(success().plain(1), @"");
}

#[test]
fn a_plain_run_whose_hook_fails() {
    insta::assert_snapshot!(failed_hook().plain(0), @"");
}

#[test]
fn a_plain_run_that_is_put_back() {
    insta::assert_snapshot!(reverted().plain(0), @"");
}

#[test]
fn a_plain_run_that_could_not_be_put_back() {
    insta::assert_snapshot!(revert_failed().plain(0), @"");
}

#[test]
fn a_plain_run_that_is_interrupted() {
    insta::assert_snapshot!(interrupted().plain(0), @"");
}

#[test]
fn a_plain_run_with_warnings() {
    insta::assert_snapshot!(warned().plain(0), @"");
}
