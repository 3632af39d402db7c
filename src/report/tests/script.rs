//! A run that is written down, and what each reporter makes of it.

use std::time::Duration;

use crate::event::Event;
use crate::event::EventKind;
use crate::event::HostSummary;
use crate::event::Phase;
use crate::event::Proof;
use crate::event::Summary;
use crate::report::log::Log;
use crate::report::paint::Paint;
use crate::report::plain::Plain;

use super::terminal::Terminal;

pub(super) const OLD: &str = "20261121090000";
pub(super) const NEW: &str = "20261122174124";
pub(super) const WEB1: &str = "web1.example.com";
pub(super) const WEB2: &str = "web2.example.com";
pub(super) const DB: &str = "db.example.com";

/// A run that is written down: each event with its time in milliseconds.
pub(super) struct Script {
    now: u64,
    pub(super) events: Vec<Event>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self { now: 0, events: Vec::new() }
    }

    /// The events before anything is uploaded.
    pub(super) fn begun(hosts: &[&str]) -> Self {
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
            script.at(4_000, EventKind::LocalCommandOutput { line: line.into() });
        }
        script
    }

    pub(super) fn built(mut self) -> Self {
        let duration = Duration::from_millis(8_100);
        self.at(8_120, EventKind::LocalCommandFinished { command: "npm run build".into(), duration });
        self.at(8_200, EventKind::PackProgressed { files: 600, bytes: 5_000_000 });
        self
    }

    pub(super) fn packed(mut self) -> Self {
        self.at(
            8_300,
            EventKind::ArtifactPacked {
                digest: "a1b2c3d4e5f6a7b8".repeat(4),
                files: 1_204,
                bytes: 12_300_000,
                compressed: Some(4_100_000),
                reused: false,
            },
        );
        self
    }

    pub(super) fn uploading(mut self, host: &str, from: u64, sent: &[u64]) -> Self {
        self.phase(from, host, Phase::Uploading);
        for (n, sent) in sent.iter().enumerate() {
            let host = host.to_owned();
            let at = from + 500 * n as u64;
            self.at(at, EventKind::UploadProgressed { host, sent: *sent, total: 4_100_000 });
        }
        self
    }

    pub(super) fn uploaded(self, host: &str) -> Self {
        self.uploading(host, 8_300, &[0, 1_000_000, 2_200_000, 3_000_000, 4_100_000])
    }

    pub(super) fn prepared(self, host: &str) -> Self {
        let mut script = self.uploaded(host);
        script.phase(10_300, host, Phase::Preparing);
        script.phase(11_000, host, Phase::Waiting);
        script
    }

    pub(super) fn hook(mut self, from: u64, host: &str, output: &[&str]) -> Self {
        let (point, command) = ("before_switch".to_owned(), "npm run migrate".to_owned());
        self.at(from, EventKind::HookStarted { host: host.into(), point, command });
        for line in output {
            self.at(from + 100, EventKind::HookOutput { host: host.into(), line: (*line).into() });
        }
        self
    }

    pub(super) fn hook_done(mut self, at: u64, host: &str) -> Self {
        let (point, command) = ("before_switch".to_owned(), "npm run migrate".to_owned());
        let duration = Duration::from_millis(1_200);
        self.at(at, EventKind::HookFinished { host: host.into(), point, command, duration });
        self
    }

    pub(super) fn switched(mut self, host: &str) -> Self {
        self.phase(12_500, host, Phase::Switching);
        self.at(12_700, EventKind::Switched { host: host.into(), release: NEW.into() });
        self.phase(12_800, host, Phase::Verifying);
        self
    }

    pub(super) fn proven(mut self, host: &str) -> Self {
        let (release, proof) = (NEW.to_owned(), Proof::Proven);
        let detail = "4 processes run from it, http://127.0.0.1:3000/healthz answered 200".to_owned();
        self.at(13_900, EventKind::Verified { host: host.into(), release, proof, detail });
        self
    }

    pub(super) fn ended(mut self, host: &str, phase: Phase) -> Self {
        self.phase(14_100, host, phase);
        self
    }

    pub(super) fn failed(
        mut self,
        host: Option<&str>,
        error: &str,
        hint: Option<&str>,
        output: Option<&str>,
    ) -> Self {
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

    pub(super) fn said(mut self, kind: EventKind) -> Self {
        self.at(self.now, kind);
        self
    }

    pub(super) fn finished(
        mut self,
        headline: &str,
        exit_code: u8,
        hosts: &[(&str, Phase, Option<&str>)],
    ) -> Self {
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

    pub(super) fn phase(&mut self, at: u64, host: &str, phase: Phase) {
        self.at(at, EventKind::PhaseEntered { host: host.into(), phase });
    }

    pub(super) fn at(&mut self, now: u64, kind: EventKind) {
        self.now = self.now.max(now);
        self.events.push(Event { elapsed: Duration::from_millis(now), kind });
        // What happens on several hosts is written one host after the other.
        self.events.sort_by_key(|event| event.elapsed);
    }

    /// Returns everything plain output consists of: standard output, then standard error.
    pub(super) fn plain(&self, verbose: u8) -> String {
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
    pub(super) fn screen(&self, columns: u16, rows: u16) -> String {
        let terminal = Terminal::new(columns, rows);
        let mut progress = terminal.progress(0);
        for event in &self.events {
            progress.on(event);
            progress.draw(event.elapsed);
        }
        terminal.screen()
    }

    pub(super) fn log(&self) -> String {
        let mut bytes = Vec::new();
        let mut log = Log::new(Some(&mut bytes));
        for event in &self.events {
            log.on(event).unwrap();
        }
        String::from_utf8(bytes).unwrap()
    }
}
