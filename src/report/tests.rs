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
        self.events.push(Event { elapsed: Duration::from_millis(now), kind });
        // What happens on several hosts is written one host after the other.
        self.events.sort_by_key(|event| event.elapsed);
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
        let terminal = Terminal::new(columns, rows);
        let mut progress = terminal.progress(0);
        for event in &self.events {
            progress.on(event);
            progress.draw(event.elapsed);
        }
        terminal.screen()
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
        let parser = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 1_000);
        Self { parser: Arc::new(Mutex::new(parser)), size: (columns, rows) }
    }

    /// Returns a reporter on this terminal.
    fn progress(&self, verbose: u8) -> Progress<Self> {
        let target = ProgressDrawTarget::term_like(Box::new(self.clone()));
        let size = Size { columns: self.size.0.into(), rows: self.size.1.into() };
        let (size, log) = (Box::new(move || size), PathBuf::from("/logs/run.log"));
        Progress::new(target, self.clone(), size, Paint { color: true }, verbose, log)
    }

    fn feed(&self, bytes: &str) -> io::Result<()> {
        // A terminal's driver turns each line feed into a carriage return and a line feed.
        self.parser.lock().unwrap().process(bytes.replace('\n', "\r\n").as_bytes());
        Ok(())
    }

    fn screen(&self) -> String {
        // Rows as they are seen, also where a long line was wrapped.
        let parser = self.parser.lock().unwrap();
        let rows: Vec<_> =
            parser.screen().rows(0, self.size.0).map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned()
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
    insta::assert_snapshot!(success().plain(0), @r"
    deploy of shop on prod: web1.example.com, db.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    db.example.com   | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    db.example.com   | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    db.example.com   | preparing
    db.example.com   | before_switch: npm run migrate
    db.example.com   | before_switch: npm run migrate: done in 1.2 s
    web1.example.com | switching
    db.example.com   | switching
    web1.example.com | current is now 20261122174124
    db.example.com   | current is now 20261122174124
    web1.example.com | verifying
    db.example.com   | verifying
    web1.example.com | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    db.example.com   | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    web1.example.com | done
    db.example.com   | done
    deployed 20261122174124 to prod on 2 hosts in 14.2 s (build 8.1 s, upload 2.0 s, switch 3.1 s)
    ");
}

#[test]
fn a_plain_run_told_in_full() {
    insta::assert_snapshot!(success().plain(1), @r"
    deploy of shop on prod: web1.example.com, db.example.com
    web1.example.com | connecting
    db.example.com   | connecting
    local            | $ npm run build
    web1.example.com | connected
    web1.example.com | checking
    db.example.com   | connected
    db.example.com   | checking
    local            |   > shop@1.0.0 build
    local            |   bundled 214 modules
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    db.example.com   | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    db.example.com   | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    db.example.com   | preparing
    web1.example.com | waiting for the other hosts
    db.example.com   | waiting for the other hosts
    db.example.com   | before_switch: npm run migrate
    db.example.com   |   > migrate
    db.example.com   |   applied 2 migrations
    db.example.com   | before_switch: npm run migrate: done in 1.2 s
    web1.example.com | switching
    db.example.com   | switching
    web1.example.com | current is now 20261122174124
    db.example.com   | current is now 20261122174124
    web1.example.com | verifying
    db.example.com   | verifying
    web1.example.com | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    db.example.com   | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    web1.example.com | done
    db.example.com   | done
    deployed 20261122174124 to prod on 2 hosts in 14.2 s (build 8.1 s, upload 2.0 s, switch 3.1 s)
    ");
}

#[test]
fn a_plain_run_whose_hook_fails() {
    insta::assert_snapshot!(failed_hook().plain(0), @r#"
    deploy of shop on prod: web1.example.com, db.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    db.example.com   | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    db.example.com   | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    db.example.com   | preparing
    db.example.com   | before_switch: npm run migrate
    db.example.com   | failed: hook before_switch `npm run migrate` exited with 1
    --- standard error ---

    error: db.example.com: hook before_switch `npm run migrate` exited with 1
      it wrote:
      | > migrate
      | ::error::injected
      | # #[add-mask]x
      | relation "x"    missing

    deploy of 20261122174124 to prod failed before any host was switched (after 14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  unchanged  20261121090000
      db.example.com    put back   20261121090000

    next: find the cause above or in the log, correct it and deploy again; the app is up as before
    full log: /logs/run.log
    exit code 5: failed; every host runs what it ran before
    "#);
}

#[test]
fn a_plain_run_that_is_put_back() {
    insta::assert_snapshot!(reverted().plain(0), @r"
    deploy of shop on prod: web1.example.com, web2.example.com, db.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    web2.example.com | uploading 4.1 MB
    db.example.com   | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    web2.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web2.example.com | preparing
    db.example.com   | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    db.example.com   | preparing
    web1.example.com | switching
    web2.example.com | switching
    web1.example.com | current is now 20261122174124
    web2.example.com | current is now 20261122174124
    web1.example.com | verifying
    web2.example.com | verifying
    web2.example.com | failed: http://127.0.0.1:3000/healthz did not answer within 30 s: connection refused
    web1.example.com | putting back
    web2.example.com | putting back
    web1.example.com | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    web1.example.com | put back: runs what it ran before
    web2.example.com | put back: runs what it ran before
    --- standard error ---

    error: web2.example.com: http://127.0.0.1:3000/healthz did not answer within 30 s: connection refused
      it wrote:
      | Error: Cannot find module './config'
      |     at Module._load
      hint: the last lines of the app's own log are above; `pm2 logs shop` on the host has more

    deploy of 20261122174124 to prod failed, and every host was put back (after 14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  put back   20261121090000
      web2.example.com  put back   20261121090000
      db.example.com    unchanged  20261121090000

    full log: /logs/run.log
    exit code 5: failed; every host runs what it ran before
    ");
}

#[test]
fn a_plain_run_that_could_not_be_put_back() {
    insta::assert_snapshot!(revert_failed().plain(0), @r"
    deploy of shop on prod: web1.example.com, web2.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    web2.example.com | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    web2.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web2.example.com | preparing
    web1.example.com | switching
    web2.example.com | switching
    web1.example.com | current is now 20261122174124
    web2.example.com | current is now 20261122174124
    web1.example.com | verifying
    web2.example.com | verifying
    web2.example.com | failed: pm2 exited with 1 when it restarted `shop`
    web2.example.com | failed: could not be put back: pm2 exited with 1 when it restarted `shop` from 20261121090000
    web1.example.com | putting back
    web2.example.com | putting back
    web1.example.com | put back: runs what it ran before
    --- standard error ---

    error: web2.example.com: pm2 exited with 1 when it restarted `shop`
      it wrote:
      | [PM2][ERROR] Process 0 not found

    error: web2.example.com: could not be put back: pm2 exited with 1 when it restarted `shop` from 20261121090000
      hint: `current` is back on 20261121090000; start the app there: `pm2 start ecosystem.config.js`

    deploy of 20261122174124 to prod failed, and web2.example.com could not be put back (after 14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state     live release
      web1.example.com  put back  20261121090000
      web2.example.com  failed    not known

    full log: /logs/run.log
    exit code 6: failed, and some host could not be put back: a person must act
    ");
}

#[test]
fn a_plain_run_that_is_interrupted() {
    insta::assert_snapshot!(interrupted().plain(0), @r"
    deploy of shop on prod: web1.example.com, web2.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    web2.example.com | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    web2.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web2.example.com | preparing
    web1.example.com | switching
    web1.example.com | current is now 20261122174124
    web1.example.com | verifying
    stopping: putting hosts back; press Ctrl-C again to leave it to the hosts
    web1.example.com | putting back
    web1.example.com | put back: runs what it ran before
    --- standard error ---

    deploy of 20261122174124 to prod was interrupted, and every host was put back (after 14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  put back   20261121090000
      web2.example.com  unchanged  20261121090000

    next: run the same command again when you are ready
    full log: /logs/run.log
    exit code 130: interrupted; every host runs what it ran before
    ");
}

#[test]
fn a_plain_run_with_warnings() {
    insta::assert_snapshot!(warned().plain(0), @r"
    deploy of shop on prod: web1.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    web1.example.com | switching
    web1.example.com | current is now 20261122174124
    web1.example.com | verifying
    web1.example.com | looks healthy on 20261122174124, but where its processes run from could not be read: they belong to another user
    web1.example.com | after_deploy: curl -f https://hooks.example.com
    web1.example.com |   curl: (22) 404
    web1.example.com | warning: hook after_deploy exited with 22; the deploy stands
    warning: the clock of web1.example.com is 40 s behind
    web1.example.com | note: removed 1 old release
    web1.example.com | done
    deployed 20261122174124 to prod on 1 host in 14.2 s (build 8.1 s, upload 2.0 s, switch 3.1 s)
    2 warnings, see above
    ");
}

/// A run up to the middle of its uploads.
fn uploading(hosts: &[&str]) -> Script {
    let mut script = Script::begun(hosts).built().packed();
    for (n, host) in hosts.iter().enumerate() {
        script = match n % 4 {
            0 => script.uploading(host, 8_300, &[0, 1_000_000, 2_200_000]),
            1 => script.uploading(host, 8_300, &[0, 300_000, 600_000]),
            2 => script.prepared(host),
            _ => script,
        };
    }
    script.events.retain(|event| event.elapsed <= Duration::from_millis(9_300));
    script
}

#[test]
fn a_terminal_while_the_build_runs() {
    insta::assert_snapshot!(Script::begun(&[WEB1, DB]).screen(80, 24), @r"
    deploy of shop on prod: web1.example.com, db.example.com
    ⠋ npm run build  3 s  bundled 214 modules
    ⠋ web1.example.com  checking  3 s
    ⠋ db.example.com    checking  3 s
    ");
}

#[test]
fn a_terminal_while_files_are_packed() {
    insta::assert_snapshot!(Script::begun(&[WEB1, DB]).built().screen(80, 24), @r"
    deploy of shop on prod: web1.example.com, db.example.com
    ✓ npm run build: done in 8.1 s
    ⠹ packing 600 files, 5.0 MB
    ⠹ web1.example.com  checking  7 s
    ⠹ db.example.com    checking  7 s
    ");
}

#[test]
fn a_terminal_while_the_artifact_travels() {
    insta::assert_snapshot!(uploading(&[WEB1, WEB2, DB]).screen(80, 24), @r"
    deploy of shop on prod: web1.example.com, web2.example.com, db.example.com
    ✓ npm run build: done in 8.1 s
    ✓ packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    ⠸ web1.example.com  uploading  ━━━━━━━━╌╌╌╌╌╌╌╌  53%  2.2 of 4.1 MB    2.2 MB/s
    ⠸ web2.example.com  uploading  ━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌  14%  0.6 of 4.1 MB  600.0 kB/s
    ⠸ db.example.com    uploading  ━━━━━━━━╌╌╌╌╌╌╌╌  53%  2.2 of 4.1 MB    2.2 MB/s
      upload:  5.0 of 12.3 MB  5.0 MB/s  1 s left
    ");
}

#[test]
fn a_narrow_terminal_while_the_artifact_travels() {
    insta::assert_snapshot!(uploading(&[WEB1, WEB2, DB]).screen(40, 24), @r"
    deploy of shop on prod: web1.example.com
    , web2.example.com, db.example.com
    ✓ npm run build: done in 8.1 s
    ✓ packed 1,204 files, 12.3 MB (4.1 MB co
    mpressed), a1b2c3d4e5f6
    ⠸ web1  uploading  ━━━━━━━━╌╌╌╌╌╌╌  53%
    ⠸ web2  uploading  ━━╌╌╌╌╌╌╌╌╌╌╌╌╌  14%
    ⠸ db    uploading  ━━━━━━━━╌╌╌╌╌╌╌  53%
      upload:  5.0 of 12.3 MB  5.0 MB/s
    ");
}

#[test]
fn a_terminal_while_a_hook_runs() {
    let script = Script::begun(&[WEB1, DB]).built().packed().prepared(WEB1).prepared(DB);
    let script = script.hook(11_100, DB, &["> migrate"]).said(EventKind::Interrupted);
    insta::assert_snapshot!(script.screen(80, 24), @r"
    deploy of shop on prod: web1.example.com, db.example.com
    ✓ npm run build: done in 8.1 s
    ✓ packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    ! stopping: putting hosts back; press Ctrl-C again to leave it to the hosts
    ✓ web1.example.com  waiting  for the other hosts
    ⠹ db.example.com    hook     before_switch: npm run migrate  0 s
    ");
}

#[test]
fn a_low_terminal_counts_the_hosts_it_has_no_room_for() {
    let hosts: Vec<_> = (1..=30).map(|n| format!("web{n}.example.com")).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    insta::assert_snapshot!(uploading(&hosts).screen(80, 12), @r"
    ✓ npm run build: done in 8.1 s
    ✓ packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    ⠸ web1.example.com   uploading  ━━━━━━━━╌╌╌╌╌╌╌  53%  2.2 of 4.1 MB    2.2 MB/s
    ⠸ web2.example.com   uploading  ━━╌╌╌╌╌╌╌╌╌╌╌╌╌  14%  0.6 of 4.1 MB  600.0 kB/s
    ⠸ web3.example.com   uploading  ━━━━━━━━╌╌╌╌╌╌╌  53%  2.2 of 4.1 MB    2.2 MB/s
    ⠸ web4.example.com   checking   9 s
    ⠸ web5.example.com   uploading  ━━━━━━━━╌╌╌╌╌╌╌  53%  2.2 of 4.1 MB    2.2 MB/s
    ⠸ web6.example.com   uploading  ━━╌╌╌╌╌╌╌╌╌╌╌╌╌  14%  0.6 of 4.1 MB  600.0 kB/s
    ⠸ web7.example.com   uploading  ━━━━━━━━╌╌╌╌╌╌╌  53%  2.2 of 4.1 MB    2.2 MB/s
    ⠸ web8.example.com   checking   9 s
      and 22 more: 17 uploading, 5 checking
      upload: 37.8 of 94.3 MB  37.8 MB/s  1 s left
    ");
}

#[test]
fn a_terminal_after_a_run_that_went_well() {
    insta::assert_snapshot!(success().screen(80, 24), @r"
    deploy of shop on prod: web1.example.com, db.example.com
    ✓ npm run build: done in 8.1 s
    ✓ packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    ✓ db.example.com  before_switch: npm run migrate: done in 1.2 s
    ✓ web1.example.com  runs 20261122174124
    ✓ db.example.com  runs 20261122174124
    deployed 20261122174124 to prod on 2 hosts in 14.2 s
      (build 8.1 s, upload 2.0 s, switch 3.1 s)
    ");
}

#[test]
fn a_terminal_after_a_failed_hook() {
    insta::assert_snapshot!(failed_hook().screen(80, 40), @r#"
    deploy of shop on prod: web1.example.com, db.example.com
    ✓ npm run build: done in 8.1 s
    ✓ packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    ✗ db.example.com  failed: hook before_switch `npm run migrate` exited with 1

    error: db.example.com: hook before_switch `npm run migrate` exited with 1
      it wrote:
      | > migrate
      | ::error::injected
      | # #[add-mask]x
      | relation "x"    missing

    deploy of 20261122174124 to prod failed before any host was switched
      (after 14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  unchanged  20261121090000
      db.example.com    put back   20261121090000

    next: find the cause above or in the log, correct it and deploy again; the app i
    s up as before
    full log: /logs/run.log
    exit code 5: failed; every host runs what it ran before
    "#);
}

#[test]
fn a_terminal_after_warnings() {
    insta::assert_snapshot!(warned().screen(80, 24), @r"
    deploy of shop on prod: web1.example.com
    ✓ npm run build: done in 8.1 s
    ✓ packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    ✓ web1.example.com  looks healthy on 20261122174124, but where its processes run
     from could not be read: they belong to another user
      web1.example.com | curl: (22) 404
    ! web1.example.com  warning: hook after_deploy exited with 22; the deploy stands
    ! warning: the clock of web1.example.com is 40 s behind
      web1.example.com  note: removed 1 old release
    ✓ web1.example.com  runs 20261122174124
    deployed 20261122174124 to prod on 1 host in 14.2 s
      (build 8.1 s, upload 2.0 s, switch 3.1 s)
    2 warnings, see above
    ");
}

#[test]
fn a_terminal_after_a_run_that_was_interrupted() {
    insta::assert_snapshot!(interrupted().screen(80, 30), @r"
    deploy of shop on prod: web1.example.com, web2.example.com
    ✓ npm run build: done in 8.1 s
    ✓ packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    ! stopping: putting hosts back; press Ctrl-C again to leave it to the hosts
    ! web1.example.com  put back: runs what it ran before

    deploy of 20261122174124 to prod was interrupted, and every host was put back
      (after 14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  put back   20261121090000
      web2.example.com  unchanged  20261121090000

    next: run the same command again when you are ready
    full log: /logs/run.log
    exit code 130: interrupted; every host runs what it ran before
    ");
}

#[test]
fn a_log_has_everything_with_its_time() {
    insta::assert_snapshot!(failed_hook().log(), @r#"
    [    0.000] deploy of shop on prod: web1.example.com, db.example.com
    [    0.010] web1.example.com | connecting
    [    0.010] db.example.com | connecting
    [    0.020] local | $ npm run build
    [    0.300] web1.example.com | connected
    [    0.300] web1.example.com | checking
    [    0.300] db.example.com | connected
    [    0.300] db.example.com | checking
    [    4.000] local |   > shop@1.0.0 build
    [    4.000] local |   bundled 214 modules
    [    8.120] local | npm run build: done in 8.1 s
    [    8.200] local | packing: 600 files, 5.0 MB
    [    8.300] local | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    [    8.300] web1.example.com | sent 0 of 4100000 bytes
    [    8.300] db.example.com | sent 0 of 4100000 bytes
    [    9.300] web1.example.com | sent 2200000 of 4100000 bytes
    [    9.300] db.example.com | sent 2200000 of 4100000 bytes
    [   10.300] web1.example.com | sent 4100000 of 4100000 bytes
    [   10.300] web1.example.com | preparing
    [   10.300] db.example.com | sent 4100000 of 4100000 bytes
    [   10.300] db.example.com | preparing
    [   11.000] web1.example.com | waiting for the other hosts
    [   11.000] db.example.com | waiting for the other hosts
    [   11.100] db.example.com | before_switch: npm run migrate
    [   11.200] db.example.com |   > migrate
    [   11.200] db.example.com |   ::error::injected
    [   11.200] db.example.com |   # #[add-mask]x
    [   11.200] db.example.com |   relation "x"    missing
    [   13.000] db.example.com | failed: hook before_switch `npm run migrate` exited with 1
    [   14.100] db.example.com | failed
    [   14.200]
    [   14.200] error: db.example.com: hook before_switch `npm run migrate` exited with 1
    [   14.200]   it wrote:
    [   14.200]   | > migrate
    [   14.200]   | ::error::injected
    [   14.200]   | # #[add-mask]x
    [   14.200]   | relation "x"    missing
    [   14.200]
    [   14.200] deploy of 20261122174124 to prod failed before any host was switched (after 14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)
    [   14.200]
    [   14.200]   host              state      live release
    [   14.200]   web1.example.com  unchanged  20261121090000
    [   14.200]   db.example.com    put back   20261121090000
    [   14.200]
    [   14.200] next: find the cause above or in the log, correct it and deploy again; the app is up as before
    [   14.200] full log: this file
    [   14.200] exit code 5: failed; every host runs what it ran before
    "#);
}

/// One event of each kind, with `text` wherever text of hosts, commands or configuration goes.
fn one_of_each(text: &str) -> Script {
    let t = || text.to_owned();
    let host = || Some(text.to_owned());
    let took = Duration::from_millis(5);
    let kinds = [
        EventKind::RunStarted { verb: t(), app: t(), environment: t(), hosts: vec![t()] },
        EventKind::LocalCommandStarted { command: t() },
        EventKind::LocalCommandOutput { line: t(), stream: Stream::Stderr },
        EventKind::LocalCommandFinished { command: t(), duration: took },
        EventKind::LocalCommandStarted { command: t() },
        EventKind::LocalCommandOutput { line: t(), stream: Stream::Stdout },
        EventKind::PackProgressed { files: 1, bytes: 2 },
        EventKind::ArtifactPacked { digest: t(), files: 1, bytes: 2, compressed: 1, reused: true },
        EventKind::HostConnected { host: t() },
        EventKind::PhaseEntered { host: t(), phase: Phase::Uploading },
        EventKind::UploadProgressed { host: t(), sent: 1, total: 1 },
        EventKind::PhaseEntered { host: t(), phase: Phase::Preparing },
        EventKind::HookStarted { host: t(), point: t(), command: t() },
        EventKind::HookOutput { host: t(), line: t() },
        EventKind::Warned { host: host(), text: t() },
        EventKind::HookFinished { host: t(), point: t(), command: t(), duration: took },
        EventKind::Switched { host: t(), release: t() },
        EventKind::Verified { host: t(), release: t(), proof: Proof::Proven, detail: t() },
        EventKind::Noted { host: None, text: t() },
        EventKind::Warned { host: None, text: t() },
        EventKind::Failed { host: host(), error: t(), hint: host(), output: host() },
        EventKind::Failed { host: None, error: t(), hint: host(), output: None },
        EventKind::Interrupted,
    ];
    let mut script = Script::new();
    for (n, kind) in kinds.into_iter().enumerate() {
        script.at(100 * n as u64, kind);
    }
    script.finished(&format!("deployed {text}"), 6, &[(text, Phase::Failed, Some(text))])
}

#[test]
fn nothing_a_host_writes_steers_the_terminal_or_the_ci_system() {
    let text = "x\x1b]0;title\x07\x1b[2J\r\u{9b}1A\u{202e}y\n::error::injected\n  ::set-env name=PATH::/evil\n\
                ##[add-mask]z ##vso[task.setvariable]\x00\x08";
    let script = one_of_each(text);
    for output in [script.plain(0), script.plain(1), script.log()] {
        for line in output.lines() {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(!line.trim_start().starts_with("::"), "{line:?}");
            assert!(!line.contains("##[") && !line.contains("##vso["), "{line:?}");
        }
    }
    assert!(script.plain(1).contains("1Ay … |   ::error::injected\n"), "{}", script.plain(1));
}

#[test]
fn every_kind_of_event_is_in_the_log() {
    insta::assert_snapshot!(one_of_each("TEXT").log(), @r"
    [    0.000] TEXT of TEXT on TEXT: TEXT
    [    0.100] local | $ TEXT
    [    0.200] local |   TEXT
    [    0.300] local | TEXT: done in 5 ms
    [    0.400] local | $ TEXT
    [    0.500] local |   TEXT
    [    0.600] local | packing: 1 file, 2 B
    [    0.700] local | unchanged since it was last packed: 1 file, 2 B (1 B compressed), TEXT
    [    0.800] TEXT | connected
    [    1.000] TEXT | sent 1 of 1 bytes
    [    1.100] TEXT | preparing
    [    1.200] TEXT | TEXT: TEXT
    [    1.300] TEXT |   TEXT
    [    1.400] TEXT | warning: TEXT
    [    1.500] TEXT | TEXT: TEXT: done in 5 ms
    [    1.600] TEXT | current is now TEXT
    [    1.700] TEXT | proven to run TEXT: TEXT
    [    1.800] note: TEXT
    [    1.900] warning: TEXT
    [    2.000] TEXT | failed: TEXT
    [    2.100] failed: TEXT
    [    2.200] stopping: putting hosts back; press Ctrl-C again to leave it to the hosts
    [   14.200]
    [   14.200] error: TEXT: TEXT
    [   14.200]   it wrote:
    [   14.200]   | TEXT
    [   14.200]   hint: TEXT
    [   14.200]
    [   14.200] error: TEXT
    [   14.200]   it wrote:
    [   14.200]   | TEXT
    [   14.200]   hint: TEXT
    [   14.200]
    [   14.200] deployed TEXT (after 14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)
    [   14.200]
    [   14.200]   host  state   live release
    [   14.200]   TEXT  failed  TEXT
    [   14.200]
    [   14.200] full log: this file
    [   14.200] exit code 6: failed, and some host could not be put back: a person must act
    ");
}

#[test]
fn no_live_line_is_wider_than_the_terminal() {
    let hosts = ["日本語のサーバー.example.com", "web1.internal.eu-central-1.example.com", "10.0.0.1", "::1"];
    let script = uploading(&hosts).hook(9_300, hosts[3], &["a line"]);
    let mut run = super::run::Run::default();
    for event in &script.events {
        run.apply(event);
        for columns in 20..140 {
            for rows in [1, 5, 24] {
                let size = Size { columns, rows };
                let lines = super::live::lines(&run, event.elapsed, size, Paint { color: false });
                for line in &lines {
                    assert!(super::format::width(line) < columns, "{columns}: {line:?}");
                }
                assert!(lines.len() < rows.max(5), "{rows} rows: {lines:?}");
            }
        }
    }
}

/// A writer that was closed at its other end.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_standard_output_is_told_once_and_the_block_of_a_failure_still_arrives() {
    let mut err = Vec::new();
    let mut plain = Plain::new(Closed, &mut err, Paint { color: false }, 0, "/logs/run.log".into());
    for event in &interrupted().events {
        plain.on(event);
    }
    insta::assert_snapshot!(String::from_utf8(err).unwrap(), @r"
    warning: standard output cannot be written any more (broken pipe); the run goes on, its log is /logs/run.log

    deploy of 20261122174124 to prod was interrupted, and every host was put back (after 14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  put back   20261121090000
      web2.example.com  unchanged  20261121090000

    next: run the same command again when you are ready
    full log: /logs/run.log
    exit code 130: interrupted; every host runs what it ran before
    ");
}

#[test]
fn a_failure_before_the_run_has_a_summary_is_told_too() {
    let script = Script::new().failed(None, "the lock file cannot be read", None, None);
    insta::assert_snapshot!(script.plain(0), @r"
    failed: the lock file cannot be read
    --- standard error ---

    error: the lock file cannot be read

    full log: /logs/run.log
    ");
}

#[test]
fn hosts_that_fail_in_the_same_way_are_named_together() {
    let mut script = Script::begun(&[WEB1, WEB2, DB]);
    for host in [WEB1, WEB2] {
        script = script.failed(Some(host), "the login was refused", Some("try `ssh web1.example.com`"), None);
    }
    let script = script.failed(Some(DB), "no route to host", None, None);
    let unreached = [WEB1, WEB2, DB].map(|host| (host, Phase::Connecting, None));
    let script = script.finished("deploy to prod failed before anything was changed", 3, &unreached);
    let output = script.plain(0);
    let block = output.split("--- standard error ---").last().unwrap();
    insta::assert_snapshot!(block, @r"
    error: web1.example.com, web2.example.com: the login was refused
      hint: try `ssh web1.example.com`

    error: db.example.com: no route to host

    deploy to prod failed before anything was changed (after 14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state                   live release
      web1.example.com  not reached, unchanged  not known
      web2.example.com  not reached, unchanged  not known
      db.example.com    not reached, unchanged  not known

    full log: /logs/run.log
    exit code 3: preflight, connection or login failed; no host was changed
    ");
}
