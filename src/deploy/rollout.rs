//! Owns how the switch moves through the fleet: which hosts go together, in which order, after which there
//! is a pause, and how many healthy hosts are put back at a time. Pure.

use std::time::Duration;

use crate::config;
use crate::config::Batch;

/// The hosts of a fleet in the order in which they are switched. Hosts are named by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The hosts that go together, in order.
    pub(super) batches: Vec<Vec<usize>>,
    /// How many batches of first hosts there are. A pause follows the last of them.
    pub(super) firsts: usize,
    /// How long the first hosts have to stay well before the others follow.
    pub(super) pause: Duration,
    /// How many healthy hosts may be out of service at a time.
    pub(super) width: usize,
}

impl Rollout {
    /// Returns what `asked` comes to with these hosts, the whole fleet in its order.
    pub fn of(asked: &config::Rollout, hosts: &[&config::Host]) -> Self {
        let all = hosts.len();
        let width = match asked.batch {
            Batch::All => all,
            Batch::Hosts(count) => usize::try_from(count).unwrap_or(all),
            Batch::Percent(percent) => (all * usize::from(percent)).div_ceil(100),
        };
        let width = width.clamp(1, all.max(1));
        // A host without roles has all of them, and one with none of those named goes last.
        let turn = |host: &config::Host| {
            let has = |role: &String| host.has_any_role(std::slice::from_ref(role));
            asked.order.iter().position(has).unwrap_or(asked.order.len())
        };
        let mut places: Vec<(usize, usize)> =
            hosts.iter().enumerate().map(|(place, host)| (turn(host), place)).collect();
        places.sort_by_key(|(turn, _)| *turn);
        let (first, others) = places.split_at(asked.first.min(all));
        let mut batches = in_turn(first, first.len());
        let firsts = batches.len();
        batches.extend(in_turn(others, width));
        Self { batches, firsts, pause: asked.pause, width }
    }

    /// Returns how it moves through these of its hosts only, named by their places, rising; each gets the
    /// place that it has among them.
    pub(super) fn among(&self, places: &[usize]) -> Self {
        let batch = |batch: &Vec<usize>| -> Vec<usize> {
            batch.iter().filter_map(|place| places.iter().position(|own| own == place)).collect()
        };
        let batches: Vec<Vec<usize>> = self.batches.iter().map(batch).collect();
        let firsts = batches.iter().take(self.firsts).filter(|batch| !batch.is_empty()).count();
        let batches = batches.into_iter().filter(|batch| !batch.is_empty()).collect();
        Self { batches, firsts, ..*self }
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

    fn of(asked: &config::Rollout, hosts: &[config::Host]) -> Rollout {
        Rollout::of(asked, &hosts.iter().collect::<Vec<_>>())
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
    fn some_hosts_of_a_fleet_go_in_the_same_order() {
        let all = of(&rollout(1, Batch::Hosts(2), &[]), &vec![host(None); 6]);
        assert_eq!(all.batches, [vec![0], vec![1, 2], vec![3, 4], vec![5]]);
        let some = all.among(&[0, 2, 5]);
        assert_eq!((some.batches.as_slice(), some.firsts), (&[vec![0], vec![1], vec![2]][..], 1));
        assert!(some.pauses_after(0));
        let without_first = all.among(&[1, 2, 3]);
        assert_eq!((without_first.batches.len(), without_first.firsts), (2, 0));
        assert!(all.among(&[]).batches.is_empty());
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
