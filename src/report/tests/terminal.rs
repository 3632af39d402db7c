//! A terminal in memory that obeys what a real one obeys, and what stands on it.

use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use indicatif::ProgressDrawTarget;
use indicatif::TermLike;

use crate::event::EventKind;
use crate::report::live::Size;
use crate::report::paint::Paint;
use crate::report::progress::Progress;

use super::runs::failed_hook;
use super::runs::interrupted;
use super::runs::pausing;
use super::runs::success;
use super::runs::uploading;
use super::runs::warned;
use super::script::DB;
use super::script::Script;
use super::script::WEB1;
use super::script::WEB2;

/// A terminal that obeys the codes a real one obeys.
#[derive(Clone)]
pub(super) struct Terminal {
    parser: Arc<Mutex<vt100::Parser>>,
    size: (u16, u16),
}

impl Terminal {
    pub(super) fn new(columns: u16, rows: u16) -> Self {
        let parser = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 1_000);
        Self { parser: Arc::new(Mutex::new(parser)), size: (columns, rows) }
    }

    /// Returns a reporter on this terminal.
    pub(super) fn progress(&self, verbose: u8) -> Progress<Self> {
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

    pub(super) fn screen(&self) -> String {
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
fn a_terminal_during_a_pause_counts_down() {
    let script = pausing().said(EventKind::HookOutput { host: WEB1.into(), line: "later".into() });
    insta::assert_snapshot!(script.screen(80, 24), @r#"
    deploy of shop on prod: web1.example.com, web2.example.com, db.example.com
    ✓ npm run build: done in 8.1 s
    ✓ packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
      batch 1 of 2: web1.example.com
      pause of 1 min 0 s: web1.example.com has to stay well
    ⠋ pause: 1 min 0 s left
    ✓ web1.example.com  waiting  for the other hosts
    ✓ web2.example.com  waiting  for the other hosts
    ✓ db.example.com    waiting  for the other hosts
    "#);
    let hosts = vec![WEB2.to_owned(), DB.to_owned()];
    let next = pausing().said(EventKind::BatchStarted { number: 2, of: 2, hosts }).screen(80, 24);
    assert!(
        next.contains("batch 2 of 2: web2.example.com, db.example.com") && !next.contains("left"),
        "{next}"
    );
}

#[test]
fn a_narrow_terminal_while_the_artifact_travels() {
    insta::assert_snapshot!(uploading(&[WEB1, WEB2, DB]).screen(40, 24), @r"
    deploy of shop on prod: web1.example.com
    , web2.example.com, db.example.com
    ✓ npm run build: done in 8.1 s
    ✓ packed 1,204 files, 12.3 MB (4.1 MB …
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
      (14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

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
    ✓ web1.example.com  looks healthy on 20261122174124, but where its processes r…
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
      (14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  put back   20261121090000
      web2.example.com  unchanged  20261121090000

    next: run the same command again when you are ready
    full log: /logs/run.log
    exit code 130: interrupted; every host runs what it ran before
    ");
}
