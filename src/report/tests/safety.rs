//! What must hold whatever hosts write and wherever output goes.

use std::io;
use std::io::Write;
use std::time::Duration;

use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Proof;
use crate::event::Wait;
use crate::report::format;
use crate::report::live;
use crate::report::live::Size;
use crate::report::paint::Paint;
use crate::report::plain::Plain;
use crate::report::run::Run;

use super::runs::interrupted;
use super::runs::uploading;
use super::script::Script;

/// One event of each kind, with `text` wherever text of hosts, commands or configuration goes.
pub(super) fn one_of_each(text: &str) -> Script {
    let t = || text.to_owned();
    let host = || Some(text.to_owned());
    let took = Duration::from_millis(5);
    let kinds = [
        EventKind::RunStarted { verb: t(), app: t(), environment: t(), hosts: vec![t()] },
        EventKind::LocalCommandStarted { command: t() },
        EventKind::LocalCommandOutput { line: t() },
        EventKind::LocalCommandFinished { command: t(), duration: took },
        EventKind::LocalCommandStarted { command: t() },
        EventKind::LocalCommandOutput { line: t() },
        EventKind::PackProgressed { files: 1, bytes: 2 },
        EventKind::ArtifactPacked { digest: t(), files: 1, bytes: 2, compressed: Some(1), reused: true },
        EventKind::ArtifactStored { compressed: 1 },
        EventKind::HostConnected { host: t() },
        EventKind::PhaseEntered { host: t(), phase: Phase::Uploading },
        EventKind::UploadPlanned {
            host: t(),
            files: 1,
            all_files: 2,
            bytes: 1,
            is_exact: true,
            all_bytes: Some(2),
            resumed: false,
        },
        EventKind::UploadProgressed { host: t(), sent: 1, total: 1 },
        EventKind::PhaseEntered { host: t(), phase: Phase::Preparing },
        EventKind::HookStarted { host: t(), point: t(), command: t() },
        EventKind::HookOutput { host: t(), line: t() },
        EventKind::Warned { host: host(), text: t() },
        EventKind::HookFinished { host: t(), point: t(), command: t(), duration: took },
        EventKind::BatchStarted { number: 1, of: 2, hosts: vec![t()] },
        EventKind::Paused { hosts: vec![t()], duration: took },
        EventKind::Switched { host: t(), release: t() },
        EventKind::Verified { host: t(), release: t(), proof: Proof::Proven, detail: t() },
        EventKind::Noted { host: None, text: t() },
        EventKind::Warned { host: None, text: t() },
        EventKind::Failed { host: host(), error: t(), hint: host(), output: host() },
        EventKind::Failed { host: None, error: t(), hint: host(), output: None },
        EventKind::HostWaiting { host: t(), wait: Wait::Turn },
        EventKind::HostTraffic { host: t(), round_trips: 4, sent: 1, received: 2 },
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
    insta::assert_snapshot!(one_of_each("TEXT").log(), @r#"
    [    0.000] TEXT of TEXT on TEXT: TEXT
    [    0.100] local | $ TEXT
    [    0.200] local |   TEXT
    [    0.300] local | TEXT: done in 5 ms
    [    0.400] local | $ TEXT
    [    0.500] local |   TEXT
    [    0.600] local | packing: 1 file, 2 B
    [    0.700] local | unchanged since it was last packed: 1 file, 2 B (1 B compressed), TEXT
    [    0.800] local | compressed to 1 B
    [    0.900] TEXT | connected
    [    1.100] TEXT | uploading 1 B of 2 B (1 of 2 files changed)
    [    1.200] TEXT | sent 1 of 1 bytes
    [    1.300] TEXT | preparing
    [    1.400] TEXT | TEXT: TEXT
    [    1.500] TEXT |   TEXT
    [    1.600] TEXT | warning: TEXT
    [    1.700] TEXT | TEXT: TEXT: done in 5 ms
    [    1.800] batch 1 of 2: TEXT
    [    1.900] pause of 0 s: TEXT has to stay well
    [    2.000] TEXT | current is now TEXT
    [    2.100] TEXT | proven to run TEXT: TEXT
    [    2.200] note: TEXT
    [    2.300] warning: TEXT
    [    2.400] TEXT | failed: TEXT
    [    2.500] failed: TEXT
    [    2.600] TEXT | waiting for its turn to be put back
    [    2.700] TEXT | 4 round trips after the login, 1 B sent, 2 B received
    [    2.800] stopping: putting hosts back; press Ctrl-C again to leave it to the hosts
    [   14.200]
    [   14.200] error: TEXT
    [   14.200]   hint: TEXT
    [   14.200]
    [   14.200] error: TEXT
    [   14.200]   hint: TEXT
    [   14.200]
    [   14.200] deployed TEXT (14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)
    [   14.200]
    [   14.200]   host  state   live release
    [   14.200]   TEXT  failed  TEXT
    [   14.200]
    [   14.200] full log: this file
    [   14.200] exit code 6: failed, and some host could not be put back: a person must act
    "#);
}

#[test]
fn no_live_line_is_wider_than_the_terminal() {
    let hosts = ["日本語のサーバー.example.com", "web1.internal.eu-central-1.example.com", "10.0.0.1", "::1"];
    let script = uploading(&hosts).hook(9_300, hosts[3], &["a line"]);
    let mut run = Run::default();
    for event in &script.events {
        run.apply(event);
        for columns in 20..140 {
            for rows in [1, 5, 24] {
                let size = Size { columns, rows };
                let lines = live::lines(&run, event.elapsed, size, Paint { color: false });
                for line in &lines {
                    assert!(format::width(line) < columns, "{columns}: {line:?}");
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

    deploy of 20261122174124 to prod was interrupted, and every host was put back (14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  put back   20261121090000
      web2.example.com  unchanged  20261121090000

    next: run the same command again when you are ready
    full log: /logs/run.log
    exit code 130: interrupted; every host runs what it ran before
    ");
}
