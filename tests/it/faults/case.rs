//! Owns one case of the matrix: what is under way, where and how it is hit, and what has to hold then,
//! whatever was hit.

use std::fmt;

use rustix::process::Signal;

use super::hosts::HOSTS;
use super::site::CALM;
use super::site::LEASE;
use super::site::Site;
use super::site::Standing;
use crate::support::running::Ended;
use crate::support::running::Running;

/// What is under way when the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Story {
    /// A deploy.
    Deploy,
    /// Going back to the release before.
    Rollback,
    /// A deploy to one host without hooks, which is told everything ahead.
    Alone,
    /// Putting back what was switched, because the host in the middle has failed after its switch.
    Revert,
    /// The next deploy settling what an attempt left whose client and guardians all died after the switch.
    Recovery,
}

/// How a host, or the way to it, or the client, fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    ClientKilled,
    GuardianKilled,
    ConnectionCut,
    ConnectionHangs,
    DiskFull,
    CommandFails,
}

/// A fault at a place of a story on a host.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) story: Story,
    pub(super) place: String,
    pub(super) fault: Fault,
    pub(super) host: usize,
}

impl Fault {
    pub(super) const ALL: [Self; 6] = [
        Self::ClientKilled,
        Self::GuardianKilled,
        Self::ConnectionCut,
        Self::ConnectionHangs,
        Self::DiskFull,
        Self::CommandFails,
    ];
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?} on host {} at `{}`", self.story, self.fault, self.host, self.place)
    }
}

impl Story {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Rollback => &["--rollback"],
            Self::Deploy | Self::Alone | Self::Revert | Self::Recovery => &[],
        }
    }

    /// Whether a place belongs to it, of those that it comes by.
    fn includes(self, place: &str) -> bool {
        match self {
            Self::Deploy | Self::Alone | Self::Rollback => true,
            Self::Revert => place.starts_with("revert: "),
            Self::Recovery => place.starts_with("recover: ") || place.starts_with("undo: "),
        }
    }

    /// How many hosts take part.
    fn hosts(self) -> usize {
        if self == Self::Alone { 1 } else { HOSTS }
    }

    /// Brings the hosts to where it starts, and writes the configuration with which it is told.
    fn opens(self, site: &Site, silence: bool) {
        site.forget();
        let lease = if silence { LEASE } else { CALM };
        let configure = |hook: &str| site.configure(lease, hook, "");
        match self {
            Self::Deploy => configure(""),
            Self::Alone => site.configure_alone(lease),
            // One after the other, and the first one proven again after a pause.
            Self::Rollback => site.configure(lease, "", "rollout = { first = 1, batch = 1, pause = \"1s\" }"),
            Self::Revert => configure(&site.fails_in_the_middle()),
            Self::Recovery => {
                site.configure(CALM, &site.waits_everywhere(), "");
                let mut client = site.start(&[]);
                client.until("every host to be switched", || site.waits_at_the_gate());
                // The client must not see a guardian die: it would have another one take over.
                client.signal(Signal::STOP);
                (1..=HOSTS).for_each(|n| site.kill_guardian(n, ""));
                client.kill();
                site.forget();
                site.opens_the_gate();
                configure("");
            }
        }
    }

    /// The places that this story comes by on the first and on the last host, in order.
    pub(super) fn places(self, site: &Site) -> Vec<(usize, Vec<String>)> {
        self.opens(site, false);
        site.record();
        let ended = site.start(self.arguments()).wait();
        let expected = if self == Self::Revert { 5 } else { 0 };
        assert_eq!(ended.code, Some(expected), "{self:?} with nothing in its way\n{ended}");
        let on = |n| (n, site.recorded(n).into_iter().filter(|place| self.includes(place)).collect());
        let mut places = vec![on(1)];
        places.extend((self.hosts() > 1).then(|| on(HOSTS)));
        site.forget();
        site.deploys();
        places
    }
}

impl Case {
    /// Whether the fault means something there.
    pub(super) fn is_possible(&self) -> bool {
        // Saying goodbye runs nothing that could fail: the lock is a file that is removed. An undoing as a
        // whole is no command either; each of its parts has a place of its own.
        let whole = ["guardian: leave", "recover: work_recover", "undo: undo", "undo: work_revert"];
        !(self.fault == Fault::CommandFails && whole.contains(&self.place.as_str()))
    }

    /// Whether hosts may differ afterwards: some have committed when another one is hit.
    fn is_in_the_window(&self) -> bool {
        self.place.starts_with("commit: ")
    }

    /// Tells the story and judges its end; afterwards the site is as good as new. Panics otherwise.
    pub(super) fn run(&self, site: &Site) {
        let before = site.standing();
        self.story.opens(site, self.fault == Fault::ConnectionHangs);
        site.arm(self.host, &self.place);
        let mut client = site.start(self.story.arguments());
        client.until("the fault's moment", || site.fired(self.host));
        let ended = self.strike(site, client);
        site.settles();
        site.heal();
        let differ = self.judge(site, &before, &ended);
        site.sweep();
        let said = site.deploys();
        assert!(
            !differ || said.contains("hosts run different releases"),
            "the next deploy does not see that hosts differ\n{said}\nbefore it\n{ended}"
        );
        if differ {
            // Each host would still go back to what it ran then, and a rollback asks which.
            site.deploys();
        }
        site.forget();
    }

    fn strike(&self, site: &Site, mut client: Running) -> Ended {
        match self.fault {
            Fault::ClientKilled => client.signal(Signal::KILL),
            Fault::GuardianKilled => site.kill_guardian(self.host, &self.place),
            Fault::ConnectionCut => site.cut(self.host),
            Fault::ConnectionHangs => site.hang(self.host),
            Fault::DiskFull => site.fill(self.host),
            Fault::CommandFails => site.fail(self.host),
        }
        site.go_on(self.host);
        client.wait()
    }

    /// What holds at every end. Returns whether the hosts differ, which only the window may leave.
    fn judge(&self, site: &Site, before: &[Standing], ended: &Ended) -> bool {
        let hosts = self.story.hosts();
        let now = &site.standing()[..hosts];
        let orphaned: Vec<usize> = (1..=hosts).filter(|n| site.is_orphaned(*n)).collect();
        let context = || format!("before {before:?}\nnow {now:?}\norphaned {orphaned:?}\n{ended}");
        let recovers = self.story == Story::Recovery;
        let undoes = matches!(self.story, Story::Revert | Story::Recovery);
        let unheard =
            matches!(self.fault, Fault::GuardianKilled | Fault::ConnectionCut | Fault::ConnectionHangs);
        assert!(
            orphaned.is_empty() || recovers || self.fault == Fault::GuardianKilled,
            "a lock is left\n{}",
            context()
        );
        let settled: Vec<&Standing> =
            (1..=hosts).filter(|n| !orphaned.contains(n)).map(|n| &now[n - 1]).collect();
        let old = before[0].clone();
        match ended.code {
            None => assert_eq!(self.fault, Fault::ClientKilled, "{}", context()),
            Some(0) => {
                assert!(
                    now.iter().all(|host| host.live != old.live),
                    "it said that it is done\n{}",
                    context()
                );
            }
            Some(3 | 5) => assert!(
                settled.iter().all(|host| **host == old) && (recovers || settled.len() == hosts),
                "it said that every host runs what it ran\n{}",
                context()
            ),
            Some(6) => {
                assert!(self.fault == Fault::CommandFails && undoes, "{}", context());
                return false;
            }
            Some(8) => assert!(unheard || self.is_in_the_window(), "{}", context()),
            _ => panic!("no end that a run may have\n{}", context()),
        }
        let differ = settled.iter().any(|host| host.live != settled[0].live);
        assert!(!differ || self.is_in_the_window(), "hosts differ\n{}", context());
        for host in &settled {
            assert!(
                host.live.is_some() && host.live == host.serves,
                "what is live is not what is served\n{}",
                context()
            );
        }
        for n in (1..=hosts).filter(|n| !orphaned.contains(n)) {
            site.is_clean_on(n);
            if self.fault != Fault::GuardianKilled && !recovers {
                site.is_swept_on(n);
            }
            // A hook that was ended half-way is not undone.
            let half = self.place.starts_with("hook: ") || recovers;
            assert!(half || !site.is_drained(n), "host {n} is out of service\n{}", context());
            let stays = now[n - 1] == old && site.is_unpacked(n);
            assert!(half || !stays, "host {n}'s hook was not undone\n{}", context());
        }
        differ
    }
}
