//! Owns what happened when in a run, for the page of timings: a row for this machine and one for each host, of bars
//! that follow one another. Knows nothing of how it looks.

use std::collections::HashMap;
use std::time::Duration;

use crate::event::Event;
use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Wait;
use crate::report::format;
use crate::report::run::Run;
use crate::report::text;
use crate::report::words;

/// A wait that is shorter tells nothing.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// A run as it is shown.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// `deploy`, `rollback`, …
    pub(super) verb: String,
    pub(super) app: String,
    /// When it began.
    pub(super) began: Option<jiff::Zoned>,
    /// What all reporters know of it: failures, the summary, how long it took.
    pub(super) run: Run,
    /// What was done on this machine.
    pub(super) local: Row,
    /// In the order in which they were named.
    pub(super) hosts: Vec<Row>,
    /// When the user asked to stop.
    pub(super) stopped: Option<Duration>,
    places: HashMap<String, usize>,
}

/// What happened at one place.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) bars: Vec<Bar>,
    /// The user's hooks, beside the bars.
    pub(super) hooks: Vec<Bar>,
    /// When it failed, and how.
    pub(super) failures: Vec<(Duration, String)>,
    pub(super) traffic: Option<Traffic>,
    /// Whether it was switched already.
    switched: bool,
    /// What it goes back to after its hooks.
    after_hooks: Option<What>,
}

/// What the connection to a host has cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    pub(super) round_trips: u32,
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// Something that took a while.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) what: What,
    /// What it was in particular: a command, or what was packed.
    pub(super) detail: String,
    pub(super) from: Duration,
    /// None while it goes on.
    pub(super) to: Option<Duration>,
    pub(super) failed: bool,
    /// Bytes of the release that were sent.
    pub(super) sent: Option<u64>,
}

/// What took a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A command on this machine.
    Command,
    /// The release is packed.
    Packing,
    /// A host in a phase.
    Phase(Phase),
    /// A host that only runs hooks.
    Hooks,
    /// One of the user's hooks.
    Hook,
    /// A host that waits.
    Wait(Why),
}

/// What a host waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// What its event says.
    Said(Wait),
    /// The other hosts.
    Hosts,
    /// The batch that it belongs to.
    Batch,
    /// The end of the pause after the first hosts, of which it is one.
    Pause,
}

impl Bar {
    fn new(what: What, detail: String, from: Duration) -> Self {
        Self { what, detail, from, to: None, failed: false, sent: None }
    }

    pub(super) fn took(&self) -> Duration {
        self.to.unwrap_or(self.from).saturating_sub(self.from)
    }
}

impl Row {
    fn open(&mut self) -> Option<&mut Bar> {
        self.bars.last_mut().filter(|bar| bar.to.is_none())
    }

    /// Ends what goes on.
    fn end(&mut self, now: Duration) {
        let Some(bar) = self.open() else { return };
        bar.to = Some(now);
        if matches!(bar.what, What::Wait(_)) && bar.took() < SHORTEST_WAIT {
            self.bars.pop();
        }
    }

    fn turn_to(&mut self, what: What, now: Duration) {
        if self.open().is_none_or(|bar| bar.what != what) {
            self.begin(what, String::new(), now);
        }
    }

    fn begin(&mut self, what: What, detail: String, now: Duration) {
        self.end(now);
        self.bars.push(Bar::new(what, detail, now));
    }

    fn waits(&mut self) -> bool {
        self.open().is_some_and(|bar| matches!(bar.what, What::Wait(_)))
    }

    /// Ends what goes on as that which failed; a host does not fail at waiting.
    fn fail(&mut self, now: Duration) {
        if let Some(bar) = self.open() {
            bar.failed = !matches!(bar.what, What::Wait(_));
        }
        self.end(now);
    }

    fn enter(&mut self, phase: Phase, now: Duration) {
        self.end_hook(now, phase == Phase::Failed);
        match phase {
            Phase::Failed => self.fail(now),
            Phase::Done | Phase::Reverted | Phase::LeftOut => self.end(now),
            Phase::Waiting => self.turn_to(What::Wait(Why::Hosts), now),
            Phase::Switching => {
                self.switched = true;
                self.turn_to(What::Phase(phase), now);
            }
            Phase::Connecting
            | Phase::Checking
            | Phase::Locking
            | Phase::Uploading
            | Phase::Preparing
            | Phase::Verifying
            | Phase::Finishing
            | Phase::Reverting => self.turn_to(What::Phase(phase), now),
        }
    }

    fn begin_hook(&mut self, what: String, now: Duration) {
        let waits = self.waits();
        if waits || self.open().is_none() {
            self.after_hooks = self.open().map(|bar| bar.what);
            self.begin(What::Hooks, String::new(), now);
        }
        self.hooks.push(Bar::new(What::Hook, what, now));
    }

    fn end_hook(&mut self, now: Duration, failed: bool) {
        let Some(hook) = self.hooks.last_mut().filter(|hook| hook.to.is_none()) else { return };
        hook.to = Some(now);
        hook.failed = failed;
        if self.open().is_some_and(|bar| bar.what == What::Hooks) {
            if let Some(bar) = self.open() {
                bar.failed = failed;
            }
            self.end(now);
            if let Some(what) = self.after_hooks.take().filter(|_| !failed) {
                self.turn_to(what, now);
            }
        }
    }

    fn close(&mut self, now: Duration) {
        self.end_hook(now, false);
        self.end(now);
    }
}

impl Timeline {
    /// Whether a run has begun.
    pub(super) fn has_begun(&self) -> bool {
        !self.verb.is_empty()
    }

    /// Ends what nothing was heard of any more.
    pub(super) fn close(&mut self) {
        let now = self.run.elapsed;
        self.local.close(now);
        self.hosts.iter_mut().for_each(|row| row.close(now));
    }

    /// Takes an event in.
    pub(super) fn apply(&mut self, event: &Event) {
        self.run.apply(event);
        let now = event.elapsed;
        match &event.kind {
            EventKind::RunStarted { verb, app, environment: _, hosts } => {
                (self.verb, self.app) = (text::one_line(verb), text::one_line(app));
                self.began = jiff::Zoned::now().checked_sub(now).ok();
                for host in hosts {
                    self.host(host);
                }
            }
            EventKind::LocalCommandStarted { command } => {
                self.local.begin(What::Command, words::command(command), now);
            }
            EventKind::LocalCommandFinished { command: _, duration: _ } => self.local.end(now),
            EventKind::PackProgressed { files: _, bytes: _ } => self.packing(now),
            EventKind::ArtifactPacked { digest: _, files, bytes, compressed: _, reused } => {
                self.packing(now);
                if let Some(bar) = self.local.open() {
                    let unchanged = if *reused { ", unchanged since it was last packed" } else { "" };
                    let files = format::count(*files, "file");
                    bar.detail = format!("{files}, {}{unchanged}", format::bytes(*bytes));
                }
                self.local.end(now);
            }
            EventKind::PhaseEntered { host, phase } => self.host(host).enter(*phase, now),
            EventKind::HostWaiting { host, wait } => {
                let row = self.host(host);
                row.end_hook(now, false);
                row.turn_to(What::Wait(Why::Said(*wait)), now);
            }
            EventKind::UploadProgressed { host, sent, total: _ } => {
                let bars = self.host(host).bars.iter_mut().rev();
                let mut uploads = bars.filter(|bar| bar.what == What::Phase(Phase::Uploading));
                if let Some(bar) = uploads.next() {
                    bar.sent = Some(*sent);
                }
            }
            EventKind::HookStarted { host, point, command } => {
                self.host(host).begin_hook(words::hook(point, command), now);
            }
            EventKind::HookFinished { host, .. } => self.host(host).end_hook(now, false),
            EventKind::BatchStarted { number: _, of: _, hosts } => {
                self.wait_anew(hosts, now, |is_named, switched| match (switched, is_named) {
                    (true, _) => Some(Why::Hosts),
                    (false, false) => Some(Why::Batch),
                    // It begins right now.
                    (false, true) => None,
                });
            }
            EventKind::Paused { hosts, duration: _ } => {
                self.wait_anew(hosts, now, |is_named, _| {
                    Some(if is_named { Why::Pause } else { Why::Batch })
                });
            }
            EventKind::Warned { host: Some(host), text: _ } => self.host(host).end_hook(now, true),
            EventKind::Failed { host, error, hint: _, output: _ } => match host {
                Some(host) => self.host(host).failures.push((now, text::joined(error))),
                None => {
                    self.local.fail(now);
                    self.local.failures.push((now, text::joined(error)));
                }
            },
            EventKind::HostTraffic { host, round_trips, sent, received } => {
                let (round_trips, sent, received) = (*round_trips, *sent, *received);
                self.host(host).traffic = Some(Traffic { round_trips, sent, received });
            }
            EventKind::Interrupted => self.stopped = self.stopped.or(Some(now)),
            EventKind::RunFinished { summary: _ } => self.close(),
            EventKind::LocalCommandOutput { .. }
            | EventKind::HostConnected { .. }
            | EventKind::UploadPlanned { .. }
            | EventKind::HookOutput { .. }
            | EventKind::Switched { .. }
            | EventKind::Verified { .. }
            | EventKind::Noted { .. }
            | EventKind::Warned { .. }
            | EventKind::ArtifactStored { .. } => {}
        }
    }

    /// Packing began where the last command ended, or the run did.
    fn packing(&mut self, now: Duration) {
        if self.local.open().is_none() {
            let from = self.local.bars.last().and_then(|bar| bar.to).unwrap_or_default();
            self.local.begin(What::Packing, String::new(), from.min(now));
        }
    }

    /// Gives those that wait another reason, by whether they are named and whether they are switched already.
    fn wait_anew(&mut self, named: &[String], now: Duration, why: impl Fn(bool, bool) -> Option<Why>) {
        let named: Vec<String> = named.iter().map(|name| text::one_line(name)).collect();
        for row in self.hosts.iter_mut().filter(|row| row.bars.last().is_some_and(|bar| bar.to.is_none())) {
            if let Some(why) = why(named.contains(&row.name), row.switched).filter(|_| row.waits()) {
                row.turn_to(What::Wait(why), now);
            }
        }
    }

    fn host(&mut self, name: &str) -> &mut Row {
        let name = text::one_line(name);
        let next = self.hosts.len();
        let place = *self.places.entry(name.clone()).or_insert(next);
        if place == next {
            self.hosts.push(Row { name, ..Row::default() });
        }
        &mut self.hosts[place]
    }
}
