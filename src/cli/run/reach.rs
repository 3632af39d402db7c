//! Owns which hosts a run does without because they cannot be reached: decided once, before anything
//! changes, and said. A host that answers and is not who it should be, lets nobody in or fails a check is
//! never done without.

use super::Run;
use super::checks::Checked;
use crate::cli::launch::Source;
use crate::cli::place::Place;
use crate::config;
use crate::deploy;
use crate::event::EventKind;
use crate::event::HostSummary;
use crate::event::Phase;

impl Run<'_> {
    /// How many hosts may be left out. A resumption does what it can, because it goes to what is live
    /// already: hosts that it does not reach are no worse off.
    fn allowed(&self) -> usize {
        match self.launch.source {
            Source::Resume(_) => self.places.all.len().saturating_sub(1),
            Source::Build | Source::Artifact(_) | Source::Rollback(_) => {
                self.launch.environment.max_unreachable
            }
        }
    }

    /// Whether what was found keeps the run from starting: anything but a few hosts that cannot be reached.
    pub(super) fn is_stopped_by(&self, checked: &[Checked]) -> bool {
        let failed = || checked.iter().filter_map(|checked| checked.as_ref().err());
        failed().count() > self.allowed() || failed().any(|unfit| !unfit.unreachable)
    }

    /// Says which hosts the run goes on without.
    pub(super) fn leave_out(&self, checked: &[Checked]) {
        for (place, checked) in self.places.all.iter().zip(checked) {
            let Err(unfit) = checked else { continue };
            let host = place.target.name.clone();
            let text = format!("it cannot be reached and is left out: {}", unfit.error);
            self.events.emit(EventKind::Warned { host: Some(host.clone()), text });
            self.events.emit(EventKind::PhaseEntered { host, phase: Phase::LeftOut });
        }
    }

    /// Says that so many hosts that cannot be reached are more than the user's policy allows, where they are.
    pub(super) fn judge_policy(&self, unreachable: usize) {
        let allowed = self.launch.environment.max_unreachable;
        if allowed == 0 || unreachable <= self.allowed() {
            return;
        }
        let error = format!("{unreachable} hosts cannot be reached, and max_unreachable allows {allowed}");
        self.events.emit(EventKind::Failed { host: None, error, hint: None, output: None });
    }

    /// Says which hooks that run once have no host left to run on. Returns whether there is none.
    pub(super) fn all_have_a_home(&self, places: &[usize]) -> bool {
        let hooks = &self.launch.environment.hooks;
        let all: Vec<&config::Host> = self.places.all.iter().map(|place| &place.host).collect();
        let homeless = deploy::hooks::homeless(hooks, &all, &self.hosts(places), self.verb());
        for script in &homeless {
            let roles = script.hook.roles.join(", ");
            let error = format!(
                "the {} hook `{}` runs once, on a host for {roles}, and none of those can be reached",
                script.point, script.hook.run
            );
            let hint = "bring one of them up and run the same command again; nothing was changed";
            let hint = Some(hint.to_owned());
            self.events.emit(EventKind::Failed { host: None, error, hint, output: None });
        }
        homeless.is_empty()
    }

    /// The hosts at these places.
    pub(super) fn hosts(&self, places: &[usize]) -> Vec<&config::Host> {
        places.iter().filter_map(|place| self.places.all.get(*place)).map(|place| &place.host).collect()
    }

    /// The names of the hosts that are not at these places.
    pub(super) fn left_out(&self, places: &[usize]) -> Vec<String> {
        let all = self.places.all.iter().enumerate();
        all.filter(|(n, _)| !places.contains(n)).map(|(_, place)| place.target.name.clone()).collect()
    }

    /// Puts the hosts that were left out back among those at `places`, for the summary.
    pub(super) fn with_left_out(&self, places: &[usize], reached: Vec<HostSummary>) -> Vec<HostSummary> {
        let mut reached = reached.into_iter();
        let all = self.places.all.iter().enumerate();
        let host = |(n, place): (usize, &Place)| {
            let left_out =
                || HostSummary { host: place.target.name.clone(), phase: Phase::LeftOut, live: None };
            let own = if places.contains(&n) { reached.next() } else { None };
            own.unwrap_or_else(left_out)
        };
        all.map(host).collect()
    }
}
