//! Owns what is known about a run so far, gathered from its events: the reporters' common memory.
//! Knows no output.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::time::Duration;

use crate::event::Event;
use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Summary;

use super::text;
use super::words;

/// How many lines of a running command are kept for the case that it fails; the log has all.
const KEPT_LINES: usize = 5_000;

/// How far back the rate of an upload looks, so that a stalled one shows.
const RATE_WINDOW: Duration = Duration::from_secs(4);

/// How often an upload's progress is remembered for that.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// What is known about a run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) environment: String,
    pub(crate) elapsed: Duration,
    hosts: HashMap<String, Host>,
    order: Vec<String>,
    pub(crate) local: Option<Running>,
    pub(crate) packing: Option<Packing>,
    /// When the pause after the first hosts ends.
    pub(crate) pause_until: Option<Duration>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) warnings: usize,
    pub(crate) summary: Option<Summary>,
}

/// What is known about a host.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) phase: Option<Phase>,
    pub(crate) entered: Duration,
    pub(crate) upload: Option<Upload>,
    pub(crate) hook: Option<Running>,
    pub(crate) verified: Option<String>,
}

/// A command that runs, here or on a host.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) what: String,
    pub(crate) started: Duration,
    output: VecDeque<String>,
    dropped: usize,
}

/// Packing under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packing {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// An upload to one host.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) sent: u64,
    pub(crate) total: u64,
    pub(crate) started: Duration,
    /// What it is, in words, and whether no file is part of it.
    pub(crate) plan: Option<(String, bool)>,
    /// Whether the plan's size is an estimate, and everything travels.
    pub(crate) is_estimate: bool,
    samples: VecDeque<(Duration, u64)>,
}

/// Something that failed, on the hosts where it failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) hosts: Vec<String>,
    pub(crate) error: String,
    pub(crate) hint: Option<String>,
    pub(crate) output: Vec<String>,
}

impl Running {
    fn new(what: String, started: Duration) -> Self {
        Self { what, started, output: VecDeque::new(), dropped: 0 }
    }

    fn wrote(&mut self, line: &str) {
        for line in text::lines(line) {
            if self.output.len() >= KEPT_LINES {
                self.output.pop_front();
                self.dropped += 1;
            }
            self.output.push_back(line);
        }
    }

    /// The last line it wrote that says something.
    pub(crate) fn last_line(&self) -> Option<&str> {
        self.output.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty())
    }

    fn take_output(&mut self) -> Vec<String> {
        let dropped = std::mem::take(&mut self.dropped);
        let missing = (dropped > 0).then(|| format!("({dropped} earlier lines are in the log)"));
        missing.into_iter().chain(self.output.drain(..)).collect()
    }
}

impl Upload {
    fn new(now: Duration) -> Self {
        Self { sent: 0, total: 0, started: now, plan: None, is_estimate: false, samples: VecDeque::new() }
    }

    fn progressed(&mut self, now: Duration, sent: u64, total: u64) {
        (self.sent, self.total) = (sent, total);
        if self.samples.back().is_none_or(|(at, _)| *at + SAMPLE_INTERVAL <= now) {
            self.samples.push_back((now, sent));
        }
        // One sample older than the window stays, so that there is always a span to divide by.
        while self.samples.get(1).is_some_and(|(at, _)| *at + RATE_WINDOW < now) {
            self.samples.pop_front();
        }
    }

    /// Whether everything was accepted by the connection.
    pub(crate) fn is_complete(&self) -> bool {
        self.sent >= self.total
    }

    /// Bytes a second over the last few seconds.
    pub(crate) fn rate(&self, now: Duration) -> Option<u64> {
        let (since, before) = self.samples.front()?;
        let millis = u64::try_from(now.checked_sub(*since)?.as_millis()).ok().filter(|ms| *ms >= 200)?;
        Some(self.sent.saturating_sub(*before).saturating_mul(1_000) / millis)
    }
}

impl Host {
    /// The hook that runs on it now.
    pub(crate) fn running_hook(&self) -> Option<&Running> {
        self.hook.as_ref().filter(|hook| hook.started >= self.entered && !hook.what.is_empty())
    }

    /// Whether nothing more is expected to happen on it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Some(Phase::Done | Phase::Reverted | Phase::Failed | Phase::LeftOut))
    }
}

impl Run {
    /// Takes an event in.
    pub(crate) fn apply(&mut self, event: &Event) {
        let now = event.elapsed;
        self.elapsed = self.elapsed.max(now);
        match &event.kind {
            EventKind::RunStarted { verb: _, app: _, environment, hosts } => {
                self.environment = text::one_line(environment);
                for host in hosts {
                    self.host(host);
                }
            }
            EventKind::LocalCommandStarted { command } => {
                self.local = Some(Running::new(text::one_line(command), now));
            }
            EventKind::LocalCommandOutput { line } => {
                if let Some(local) = &mut self.local {
                    local.wrote(line);
                }
            }
            EventKind::LocalCommandFinished { command: _, duration: _ } => self.local = None,
            EventKind::PackProgressed { files, bytes } => {
                self.packing = Some(Packing { files: *files, bytes: *bytes });
            }
            EventKind::ArtifactPacked { .. } | EventKind::ArtifactStored { .. } => self.packing = None,
            EventKind::HostConnected { host } => {
                self.host(host);
            }
            EventKind::PhaseEntered { host, phase } => {
                let host = self.host(host);
                host.phase = Some(*phase);
                host.entered = now;
                // The text of a failure may follow its phase, and wants what the hook wrote.
                if !matches!(phase, Phase::Reverting | Phase::Reverted | Phase::Failed) {
                    host.hook = None;
                }
            }
            EventKind::UploadPlanned { host, files, all_files, bytes, is_exact, all_bytes, resumed } => {
                let upload = self.host(host).upload.get_or_insert_with(|| Upload::new(now));
                upload.total = *bytes;
                let plan = words::upload(*files, *all_files, (*bytes, *is_exact), *all_bytes, *resumed);
                upload.plan = Some((plan, *files == 0));
                upload.is_estimate = !is_exact;
            }
            EventKind::UploadProgressed { host, sent, total } => {
                let upload = self.host(host).upload.get_or_insert_with(|| Upload::new(now));
                upload.progressed(now, *sent, *total);
            }
            EventKind::HookStarted { host, point, command } => {
                self.host(host).hook = Some(Running::new(words::hook(point, command), now));
            }
            EventKind::HookOutput { host, line } => {
                // A command of the user's that is no hook (the supervisor's, the probe) also writes.
                let hook = self.host(host).hook.get_or_insert_with(|| Running::new(String::new(), now));
                hook.wrote(line);
            }
            EventKind::HookFinished { host, .. } => self.host(host).hook = None,
            EventKind::BatchStarted { number: _, of: _, hosts: _ } => self.pause_until = None,
            EventKind::Paused { hosts: _, duration } => self.pause_until = Some(now + *duration),
            EventKind::Switched { host: _, release: _ } => {}
            EventKind::Verified { host, release, proof: _, detail: _ } => {
                self.host(host).verified = Some(text::one_line(release));
            }
            EventKind::Noted { host: _, text: _ } => {}
            EventKind::Warned { host: _, text: _ } => self.warnings += 1,
            EventKind::Failed { host, error, hint, output } => {
                self.pause_until = None;
                let mut output: Vec<String> = match output {
                    Some(output) => text::lines(output).collect(),
                    None => self.take_output(host.as_deref()),
                };
                let error = text::joined(error);
                // A command's first line is often the reason itself, which need not be read twice.
                if output.first().is_some_and(|first| first.trim() == error) {
                    output.remove(0);
                }
                self.failed(host.as_deref(), error, hint.as_deref().map(text::joined), output);
            }
            EventKind::HostWaiting { host: _, wait: _ } => {}
            EventKind::HostTraffic { host: _, round_trips: _, sent: _, received: _ } => {}
            EventKind::Interrupted => self.pause_until = None,
            EventKind::RunFinished { summary } => self.summary = Some(summary.clone()),
        }
    }

    /// Takes what the command running on a host (or here) wrote so far.
    pub(crate) fn take_output(&mut self, host: Option<&str>) -> Vec<String> {
        let running = match host {
            Some(host) => self.host(host).hook.as_mut(),
            None => self.local.as_mut(),
        };
        running.map(Running::take_output).unwrap_or_default()
    }

    fn failed(&mut self, host: Option<&str>, error: String, hint: Option<String>, output: Vec<String>) {
        let host = host.map(text::one_line);
        let same = |f: &&mut Failure| {
            host.is_some()
                && !f.hosts.is_empty()
                && (&f.error, &f.hint, &f.output) == (&error, &hint, &output)
        };
        match self.failures.iter_mut().find(same) {
            Some(same) => same.hosts.extend(host),
            None => self.failures.push(Failure { hosts: host.into_iter().collect(), error, hint, output }),
        }
    }

    fn host(&mut self, name: &str) -> &mut Host {
        let name = text::one_line(name);
        self.hosts.entry(name).or_insert_with_key(|name| {
            self.order.push(name.clone());
            Host::default()
        })
    }

    /// The hosts, in the order in which they were named.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.order.iter().filter_map(|name| self.hosts.get(name))
    }

    /// A host, by its name.
    pub(crate) fn find(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// The hosts' names, in the order in which they were named.
    pub(crate) fn names(&self) -> &[String] {
        &self.order
    }
}
