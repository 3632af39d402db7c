//! Owns what the transaction states about its hosts: phases, hooks, what hosts say, failures and their
//! hints. Decides nothing.

use std::time::Instant;

use super::Member;
use super::transaction::Transaction;
use crate::event::EventKind;
use crate::event::Events;
use crate::event::Phase;
use crate::event::Wait;
use crate::host::HookScript;
use crate::host::Host;
use crate::host::HostError;
use crate::host::Say;
use crate::host::Traffic;

/// States what the connections to these hosts have cost, where they have one: at the end of a run, also of one that
/// ends before there is a transaction.
pub fn tell_traffic<'a, H: Host + 'a>(hosts: impl IntoIterator<Item = &'a H>, events: &Events) {
    for host in hosts {
        let Some(Traffic { round_trips, sent, received }) = host.traffic() else { continue };
        let host = host.name().to_owned();
        events.emit(EventKind::HostTraffic { host, round_trips, sent, received });
    }
}

impl<H: Host> Transaction<'_, H> {
    /// Runs the hooks of a point on one host, in order.
    pub(super) async fn hooks(&self, member: &Member<H>, point: &str) -> Result<(), HostError> {
        for script in member.hooks.iter().filter(|script| script.point == point) {
            self.hook(member, script).await?;
        }
        Ok(())
    }

    pub(super) async fn hook(&self, member: &Member<H>, script: &HookScript) -> Result<(), HostError> {
        let host = member.host.name().to_owned();
        let command = script.hook.run.clone();
        let point = script.point.to_owned();
        let started = Instant::now();
        self.events.emit(EventKind::HookStarted {
            host: host.clone(),
            point: point.clone(),
            command: command.clone(),
        });
        let line = |line: &str| {
            self.events.emit(EventKind::HookOutput { host: host.clone(), line: line.to_owned() });
        };
        member.host.hook(script, &line).await?;
        let duration = started.elapsed();
        self.events.emit(EventKind::HookFinished { host, point, command, duration });
        Ok(())
    }

    pub(super) fn heard(&self, host: &H, say: Say) {
        let host_name = || host.name().to_owned();
        match say {
            Say::Switched(release) => {
                self.events.emit(EventKind::Switched { host: host_name(), release });
            }
            Say::Phase(phase) if phase == "verifying" => self.enter(host, Phase::Verifying),
            Say::Note(text) => self.events.emit(EventKind::Noted { host: Some(host_name()), text }),
            Say::Warning(text) => self.events.emit(EventKind::Warned { host: Some(host_name()), text }),
            Say::RevertedLink(release) if !release.is_empty() => {
                self.events.emit(EventKind::Switched { host: host_name(), release });
            }
            _ => {}
        }
    }

    pub(super) fn warn(&self, host: &H, result: Result<(), HostError>) {
        if let Err(error) = result {
            let text = match error.output() {
                Some(output) if *output != error.to_string() => format!("{error}\n{output}"),
                _ => error.to_string(),
            };
            self.events.emit(EventKind::Warned { host: Some(host.name().to_owned()), text });
        }
    }

    pub(super) fn host_failed(&self, place: usize, error: &HostError) {
        let hint = match error {
            HostError::Command { .. } => {
                "run the command by hand in the release on that host to look into it"
            }
            HostError::Refused { .. } => "mend the cause named above and deploy again",
            HostError::Lost { .. } | HostError::Silent { .. } => "look at the host and at the network to it",
            HostError::GuardianDied { .. } => {
                "look at the host: what ends processes there (memory, a person)?"
            }
            HostError::Channel { .. } => "look at the host's sshd and its log",
            HostError::AlreadyCommitted => "deploy again, so that every host runs the same release",
        };
        let output = error.output().map(str::to_owned).filter(|output| *output != error.to_string());
        self.failed(place, error.to_string(), Some(hint.to_owned()), output);
    }

    pub(super) fn failed(&self, place: usize, error: String, hint: Option<String>, output: Option<String>) {
        self.events.emit(EventKind::Failed { host: self.name(place), error, hint, output });
        self.entered(place, Phase::Failed);
    }

    pub(super) fn name(&self, place: usize) -> Option<String> {
        self.fleet.members.get(place).map(|member| member.host.name().to_owned())
    }

    pub(super) fn enter(&self, host: &H, phase: Phase) {
        self.events.emit(EventKind::PhaseEntered { host: host.name().to_owned(), phase });
    }

    pub(super) fn waits(&self, host: &H, wait: Wait) {
        self.events.emit(EventKind::HostWaiting { host: host.name().to_owned(), wait });
    }

    pub(super) fn entered(&self, place: usize, phase: Phase) {
        if let Some(member) = self.fleet.members.get(place) {
            self.enter(&member.host, phase);
        }
    }
}
