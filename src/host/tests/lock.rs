//! One owner at a time, whoever races, and one heir for a dead one.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Barrier;

use super::rig::names;
use super::*;
use crate::host::protocol::Say;

/// Starts that many guardians and has them ask for the lock at the same moment. Returns those who got
/// it; the others were told who did.
fn race<'a>(rig: &'a Rig, name: &str, runners: usize) -> Vec<Guardian<'a>> {
    let start = Barrier::new(runners);
    let runners = std::thread::scope(|scope| {
        let run = |n| {
            let start = &start;
            scope.spawn(move || {
                let mut guardian = Guardian::start(rig, rig.settings(&format!("{name}{n}")));
                guardian.ask("hb").ok();
                start.wait();
                let answer = guardian.ask("lock");
                match answer.code {
                    Some(0) => Some(guardian),
                    _ => {
                        let says = answer.failed(2);
                        assert!(matches!(&says[..], [Say::Held(owner)] if owner.starts_with("ann@desk from desk")), "{says:?}");
                        guardian.bye();
                        None
                    }
                }
            })
        };
        let running: Vec<_> = (0..runners).map(run).collect();
        running.into_iter().map(|runner| runner.join().unwrap()).collect::<Vec<_>>()
    });
    runners.into_iter().flatten().collect()
}

#[test]
fn of_twenty_who_race_for_the_lock_one_gets_it() {
    each_shell(|rig| {
        let winners = race(rig, "r", 20);
        assert_eq!(winners.len(), 1);
        assert_eq!(names(&rig.private("run")), [winners[0].settings.token.clone()]);
        winners.into_iter().for_each(Guardian::bye);
        rig.assert_tidy();
    });
}

#[test]
fn of_twenty_who_race_to_succeed_a_dead_owner_one_does() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut dead = Guardian::locked(rig, rig.settings("dead"));
        dead.switch(R2, &Parcel::of("two"));
        dead.kill();
        let winners = race(rig, "r", 20);
        assert_eq!(winners.len(), 1);
        assert_eq!(rig.live().as_deref(), Some(R1));
        winners.into_iter().for_each(Guardian::bye);
        assert_eq!(rig.outcomes().len(), 2);
        rig.assert_tidy();
    });
}

#[test]
fn an_heir_who_died_in_the_act_is_succeeded_too() {
    each_shell(|rig| {
        // Two who died between the claim and taking over, the second while succeeding the first.
        for token in ["dead", "heir", "heirs-heir"] {
            let mut guardian = Guardian::locked(rig, rig.settings(token));
            guardian.kill();
            let held = fs::read(rig.private("lock")).unwrap();
            fs::write(rig.state(token), held).unwrap();
            fs::remove_file(rig.private("lock")).unwrap();
        }
        fs::copy(rig.state("dead"), rig.private("lock")).unwrap();
        fs::copy(rig.state("heir"), rig.private("lock.after.dead")).unwrap();
        fs::copy(rig.state("heirs-heir"), rig.private("lock.after.heir")).unwrap();
        // Somebody who came too late and then died.
        fs::copy(rig.state("dead"), rig.private("lock.after.long-gone")).unwrap();
        let winners = race(rig, "r", 6);
        assert_eq!(winners.len(), 1);
        winners.into_iter().for_each(Guardian::bye);
        rig.assert_tidy();
    });
}

#[test]
fn a_held_lock_is_refused_with_its_owner_and_can_be_asked_for_again() {
    each_shell(|rig| {
        let mut settings = rig.settings("t1");
        settings.ci_url = "https://ci.example.com/job?id=7&x=".into();
        // Forged lines, and more of them than anybody wants to read.
        settings.owner = format!("eve\npid=1\nstart=0 {}", "x".repeat(5000));
        let owner = Guardian::locked(rig, settings);
        let mut second = Guardian::start(rig, rig.settings("t2"));
        let says = second.ask("lock").failed(2);
        let [Say::Held(text)] = &says[..] else { panic!("{says:?}") };
        assert!(text.starts_with("eve pid=1 start=0 xxx") && text.len() == 3000, "{text}");
        owner.bye();
        second.ask("lock").ok();
        let lock = fs::read_to_string(rig.private("lock")).unwrap();
        assert!(lock.contains("\nwhat=deploy prod\n"), "{lock}");
        let mut third = Guardian::start(rig, rig.settings("t3"));
        let says = third.ask("lock").failed(2);
        let told = matches!(&says[..], [Say::Held(text)] if text.ends_with(", doing deploy prod"));
        assert!(told, "{says:?}");
        third.bye();
        second.bye();
        rig.assert_tidy();
    });
}

/// Asks the questions and for the lock in one breath. Returns whether it was taken, and what was said.
fn checked_and_locked(guardian: &mut Guardian) -> (bool, Vec<Say>) {
    let says = guardian.ask("preflight lock").ok();
    let locked = says.contains(&Say::Fact("locked".into(), String::new()));
    // Whether under the lock or not, it is told how the host stands, and once.
    let facts =
        |name: &str| says.iter().filter(|say| matches!(say, Say::Fact(fact, _) if fact == name)).count();
    assert_eq!((facts("clock"), facts("last")), (1, 1), "{says:?}");
    (locked, says)
}

#[test]
fn the_lock_is_taken_along_with_the_checks_where_nothing_speaks_against_it() {
    each_shell(|rig| {
        // Something would have to be made for it.
        let mut first = Guardian::start(rig, rig.settings("t1"));
        assert!(!checked_and_locked(&mut first).0);
        assert!(!rig.root().exists());
        first.ask("lock").ok();
        first.deploy(R1, &Parcel::of("one"));

        let mut owner = Guardian::start(rig, rig.settings("t2"));
        let (locked, says) = checked_and_locked(&mut owner);
        assert!(locked && says.contains(&Say::Fact("current".into(), rig.current().unwrap())), "{says:?}");
        // It is asked for again by whoever did not get it.
        let mut other = Guardian::start(rig, rig.settings("t3"));
        let (locked, says) = checked_and_locked(&mut other);
        assert!(!locked && says.iter().any(|say| matches!(say, Say::Held(_))), "{says:?}");
        let says = other.ask("lock").failed(2);
        assert!(
            matches!(&says[..], [Say::Held(owner)] if owner.starts_with("ann@desk from desk")),
            "{says:?}"
        );
        // What has nothing to do leaves as if it had never been there.
        let before = rig.history();
        owner.bye();
        assert_eq!(rig.history(), before);
        other.ask("lock").ok();
        other.deploy(R2, &Parcel::of("two"));
        rig.assert_tidy();
    });
}

#[test]
fn the_lock_is_not_taken_along_with_the_checks_where_somebody_has_to_decide_something() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut settings = rig.settings("t2");
        Arc::make_mut(&mut settings.environment).linked_files = vec![".env".into()];
        let mut guardian = Guardian::start(rig, settings);
        let (locked, says) = checked_and_locked(&mut guardian);
        assert!(!locked && says.iter().any(|say| matches!(say, Say::Problem(_))), "{says:?}");
        // What was found is looked at anew each time.
        fs::create_dir_all(rig.root().join("shared")).unwrap();
        fs::write(rig.root().join("shared/.env"), "").unwrap();
        assert!(checked_and_locked(&mut guardian).0);
        guardian.bye();

        // Whoever has the lock would settle what a dead attempt left.
        let mut dead = Guardian::locked(rig, rig.settings("dead"));
        dead.switch(R2, &Parcel::of("two"));
        dead.kill();
        let mut guardian = Guardian::start(rig, rig.settings("t4"));
        assert!(!checked_and_locked(&mut guardian).0);
        assert_eq!(rig.live().as_deref(), Some(R2));
        guardian.ask("lock").ok();
        assert_eq!(rig.live().as_deref(), Some(R1));
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn a_client_that_goes_away_after_the_checks_leaves_no_lock() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::start(rig, rig.settings("t2"));
        assert!(checked_and_locked(&mut guardian).0);
        guardian.hang_up();
        rig.assert_tidy();
    });
}

/// A shell's `printf` fails then, where the signal is ignored or has not ended it before; what follows must not take
/// that for the lock's failure.
#[test]
fn a_client_that_goes_away_during_the_checks_leaves_no_lock() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut command = rig.command(&format!("trap '' PIPE; {}", rig.boot()));
        let mut guardian =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let mut asks = guardian.stdin.take().unwrap();
        asks.write_all(&rig.settings("t2").parcel().unwrap()).unwrap();
        let mut hears = BufReader::new(guardian.stdout.take().unwrap());
        hears.read_line(&mut String::new()).unwrap();
        drop(hears);
        asks.write_all(b"1 preflight lock\n").unwrap();
        drop(asks);
        assert!(guardian.wait().unwrap().success());
        rig.assert_tidy();
    });
}

#[test]
fn a_lock_from_before_a_reboot_is_a_dead_ones_even_if_its_pid_lives() {
    each_shell(|rig| {
        let owner = Guardian::locked(rig, rig.settings("t1"));
        let lock = fs::read_to_string(rig.private("lock")).unwrap();
        let boot = lock.lines().find(|line| line.starts_with("boot=")).unwrap();
        fs::write(rig.private("lock"), lock.replace(boot, "boot=another")).unwrap();
        Guardian::locked(rig, rig.settings("t2")).bye();
        drop(owner);
    });
}

#[test]
fn a_tree_of_another_project_is_refused() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).bye();
        let mut settings = rig.settings("t2");
        Arc::make_mut(&mut settings.environment).name = "stage".into();
        let mut guardian = Guardian::start(rig, settings);
        let says = guardian.ask("preflight").ok();
        assert!(format!("{says:?}").contains("belongs to app and environment `shop prod`"), "{says:?}");
        let says = guardian.ask("lock").failed(1);
        assert!(format!("{says:?}").contains("belongs to `shop prod`"), "{says:?}");
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn what_attempts_long_dead_have_left_is_removed() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).bye();
        let old = rig.private("run/no-owner");
        fs::create_dir(&old).unwrap();
        let touched = rig.command(&format!("touch -d '2020-01-01 00:00:00' {}", old.display())).status();
        assert!(touched.unwrap().success());
        // One that has just begun may be somebody who is about to ask for the lock.
        fs::create_dir(rig.private("run/new")).unwrap();
        Guardian::locked(rig, rig.settings("t2")).bye();
        assert_eq!(names(&rig.private("run")), ["new"]);
    });
}

#[test]
fn a_name_forges_no_line_of_a_lock_or_a_record() {
    each_shell(|rig| {
        let mut settings = rig.settings("t1");
        settings.owner = "eve\npid=1\u{1b}[2J\u{7f}\"\\".into();
        let guardian = Guardian::locked(rig, settings);
        let name = "eve pid=1 [2J \"\\";
        let lock = fs::read_to_string(rig.private("lock")).unwrap();
        assert_eq!(lock.lines().filter(|line| line.starts_with("pid=")).count(), 1, "{lock}");
        assert!(lock.lines().any(|line| line == format!("who={name}")), "{lock}");
        guardian.deploy(R1, &Parcel::of("one"));
        assert_eq!(rig.history()[0]["actor"], name);
        let revisions = fs::read_to_string(rig.root().join("revisions.log")).unwrap();
        assert!(revisions.ends_with(&format!(" by {name}\n")), "{revisions:?}");
    });
}
