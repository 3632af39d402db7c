//! Owns how the switch moves through the fleet: which hosts go together, in which order, after which there
//! is a pause, and how many healthy hosts are put back at a time. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config;
use crate::config::Batch;

/// What was asked for, and what is to be known of the hosts for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    asked: config::Rollout,
    /// The place of each host, by its name, among the roles of `order`.
    turns: BTreeMap<String, usize>,
}

impl Rollout {
    /// Returns what `asked` means for these hosts, each with its name. Not all of them need to take part.
    pub fn of<'a>(
        asked: &config::Rollout,
        hosts: impl IntoIterator<Item = (&'a str, &'a config::Host)>,
    ) -> Self {
        // A host without roles has all of them, and one with none of those named goes last.
        let turn = |host: &config::Host| {
            let has = |role: &String| host.has_any_role(std::slice::from_ref(role));
            asked.order.iter().position(has).unwrap_or(asked.order.len())
        };
        let turns = hosts.into_iter().map(|(name, host)| (name.to_owned(), turn(host))).collect();
        Self { asked: asked.clone(), turns }
    }

    /// Returns the hosts that go together, in order, for what is done to them without a transaction. Hosts
    /// are named by their place in `fleet`.
    pub fn batches<'a>(&self, fleet: impl IntoIterator<Item = &'a str>) -> Vec<Vec<usize>> {
        self.course(fleet).batches
    }

    /// Returns the way through the hosts that take part, by their names in the order of the fleet.
    pub(super) fn course<'a>(&self, fleet: impl IntoIterator<Item = &'a str>) -> Course {
        let turn = |name: &str| self.turns.get(name).copied().unwrap_or(self.asked.order.len());
        Course::of(&self.asked, &fleet.into_iter().map(turn).collect::<Vec<_>>())
    }
}

/// The hosts of a fleet in the order in which they are switched. Hosts are named by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Course {
    /// The hosts that go together, in order.
    pub(super) batches: Vec<Vec<usize>>,
    /// How many batches of first hosts there are. A pause follows the last of them.
    pub(super) firsts: usize,
    /// How long the first hosts have to stay well before the others follow.
    pub(super) pause: Duration,
    /// How many healthy hosts may be out of service at a time.
    pub(super) width: usize,
}

impl Course {
    fn of(asked: &config::Rollout, turns: &[usize]) -> Self {
        let all = turns.len();
        let width = match asked.batch {
            Batch::All => all,
            Batch::Hosts(count) => usize::try_from(count).unwrap_or(all),
            Batch::Percent(percent) => (all * usize::from(percent)).div_ceil(100),
        };
        let width = width.clamp(1, all.max(1));
        let mut places: Vec<(usize, usize)> =
            turns.iter().enumerate().map(|(place, turn)| (*turn, place)).collect();
        places.sort_by_key(|(turn, _)| *turn);
        let (first, others) = places.split_at(asked.first.min(all));
        let mut batches = in_turn(first, first.len());
        let firsts = batches.len();
        batches.extend(in_turn(others, width));
        Self { batches, firsts, pause: asked.pause, width }
    }

    /// Whether there is a pause after that batch: after the first hosts, where others follow.
    pub(super) fn pauses_after(&self, batch: usize) -> bool {
        batch + 1 == self.firsts && self.firsts < self.batches.len() && !self.pause.is_zero()
    }
}

/// Returns hosts in batches of at most `width`; hosts with different turns never go together.
fn in_turn(hosts: &[(usize, usize)], width: usize) -> Vec<Vec<usize>> {
    let same_turn = hosts.chunk_by(|(a, _), (b, _)| a == b);
    let batches = same_turn.flat_map(|hosts| hosts.chunks(width.max(1)));
    batches.map(|hosts| hosts.iter().map(|(_, place)| *place).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(first: usize, batch: Batch, order: &[&str]) -> config::Rollout {
        let order = order.iter().map(|role| (*role).to_owned()).collect();
        config::Rollout { first, batch, pause: Duration::from_secs(1), order }
    }

    fn host(roles: Option<&[&str]>) -> config::Host {
        let roles = roles.map(|roles| roles.iter().map(|role| (*role).to_owned()).collect());
        config::Host { user: None, address: "h".to_owned(), port: 22, roles }
    }

    fn of(asked: &config::Rollout, hosts: &[config::Host]) -> Course {
        let names: Vec<String> = (0..hosts.len()).map(|n| format!("host{n}")).collect();
        let names = || names.iter().map(String::as_str);
        Rollout::of(asked, names().zip(hosts)).course(names())
    }

    fn sizes(asked: &config::Rollout, count: usize) -> Vec<usize> {
        of(asked, &vec![host(None); count]).batches.iter().map(Vec::len).collect()
    }

    #[test]
    fn the_default_is_all_at_once() {
        let all = of(&config::Rollout::default(), &vec![host(None); 5]);
        assert_eq!((all.batches.as_slice(), all.width), (&[vec![0, 1, 2, 3, 4]][..], 5));
        assert!(!all.pauses_after(0));
    }

    #[test]
    fn hosts_that_do_not_take_part_leave_no_gap() {
        let hosts = [host(Some(&["web"])), host(Some(&["db"])), host(Some(&["web"])), host(Some(&["db"]))];
        let rollout = Rollout::of(
            &rollout(0, Batch::Percent(50), &["db"]),
            ["a", "b", "c", "d"].into_iter().zip(&hosts),
        );
        assert_eq!(rollout.course(["a", "b", "c", "d"]).batches, [vec![1, 3], vec![0, 2]]);
        assert_eq!(rollout.course(["a", "d"]).batches, [vec![1], vec![0]]);
        assert_eq!(rollout.course(["a", "c"]).batches, [vec![0], vec![1]], "half of those that take part");
    }

    #[test]
    fn a_percentage_is_of_the_whole_fleet_rounded_up_and_at_least_one() {
        for (percent, count, width) in [
            (25, 10, 3),
            (25, 4, 1),
            (25, 5, 2),
            (1, 10, 1),
            (1, 100, 1),
            (1, 101, 2),
            (33, 3, 1),
            (34, 3, 2),
            (50, 3, 2),
            (50, 1, 1),
            (99, 100, 99),
            (99, 10, 10),
            (100, 7, 7),
        ] {
            let asked = rollout(0, Batch::Percent(percent), &[]);
            assert_eq!(of(&asked, &vec![host(None); count]).width, width, "{percent}% of {count}");
        }
        // Of the whole fleet, not of those that are left after the first ones.
        assert_eq!(sizes(&rollout(2, Batch::Percent(25), &[]), 10), [2, 3, 3, 2]);
    }

    #[test]
    fn the_first_hosts_go_on_their_own_and_the_others_in_batches() {
        assert_eq!(sizes(&rollout(0, Batch::Hosts(2), &[]), 5), [2, 2, 1]);
        assert_eq!(sizes(&rollout(1, Batch::All, &[]), 5), [1, 4]);
        assert_eq!(sizes(&rollout(3, Batch::Hosts(1), &[]), 5), [3, 1, 1]);
        assert_eq!(sizes(&rollout(9, Batch::Hosts(9), &[]), 5), [5]);
        assert_eq!(sizes(&rollout(1, Batch::Hosts(9), &[]), 0), [0; 0]);
    }

    #[test]
    fn the_pause_follows_the_last_of_the_first_hosts_where_others_follow() {
        let pauses = |asked: &config::Rollout, hosts: &[config::Host]| -> Vec<usize> {
            let rollout = of(asked, hosts);
            (0..rollout.batches.len()).filter(|batch| rollout.pauses_after(*batch)).collect()
        };
        let three = vec![host(None); 3];
        assert_eq!(pauses(&rollout(1, Batch::Hosts(1), &[]), &three), [0]);
        assert_eq!(pauses(&rollout(3, Batch::Hosts(1), &[]), &three), [0; 0]);
        assert_eq!(pauses(&rollout(0, Batch::Hosts(1), &[]), &three), [0; 0]);
        let mixed = [host(Some(&["web"])), host(Some(&["db"])), host(Some(&["web"]))];
        assert_eq!(pauses(&rollout(2, Batch::All, &["db"]), &mixed), [1], "two batches of first hosts");
    }

    #[test]
    fn roles_go_in_their_order_and_never_together() {
        let hosts = [
            host(Some(&["web"])),
            host(Some(&["cron"])),
            host(Some(&["web", "db"])),
            host(None),
            host(Some(&["web"])),
        ];
        let batches = |asked: &config::Rollout| of(asked, &hosts).batches;
        assert_eq!(batches(&rollout(0, Batch::All, &["db", "web"])), [vec![2, 3], vec![0, 4], vec![1]]);
        assert_eq!(batches(&rollout(0, Batch::All, &["web"])), [vec![0, 2, 3, 4], vec![1]]);
        assert_eq!(
            batches(&rollout(3, Batch::Hosts(1), &["db", "web"])),
            [vec![2, 3], vec![0], vec![4], vec![1]]
        );
    }
}
