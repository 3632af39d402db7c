//! What people do about a lock without a deploy: looking at it, ordering its owner to give way, freezing.

use std::fs;
use std::os::unix::fs::chown;
use std::sync::Arc;
use std::time::Duration;

use super::revert::app_runs_from;
use super::rig::names;
use super::*;
use crate::host::protocol::Facts;
use crate::host::protocol::Owner;
use crate::host::protocol::Say;
use crate::host::protocol::Undone;
use crate::host::settings::SessionSettings;
use crate::host::settings::Verb;
use crate::testing::skip;

/// A user that is not us.
const NOBODY: u32 = 65534;

fn facts(says: Vec<Say>) -> Facts {
    let mut facts = Facts::default();
    says.into_iter().for_each(|say| facts.take(say));
    facts
}

fn with_verb(rig: &Rig, token: &str, verb: Verb) -> SessionSettings {
    SessionSettings { verb, ..rig.settings(token) }
}

/// What somebody sees who only looks.
fn look(rig: &Rig) -> Facts {
    let mut looker = Guardian::start(rig, with_verb(rig, "looker", Verb::Unlock));
    let found = facts(looker.ask("look").ok());
    looker.bye();
    found
}

fn freeze(rig: &Rig, message: &str) {
    let mut guardian = Guardian::locked(rig, with_verb(rig, "freezer", Verb::Lock));
    guardian.ask(&format!("freeze {message}")).ok();
    guardian.bye();
}

fn is_root() -> bool {
    let root = rustix::process::getuid().is_root();
    if !root {
        skip("only root can give a file to another user");
    }
    root
}

#[test]
fn a_look_tells_whose_the_lock_is_and_changes_nothing() {
    each_shell(|rig| {
        assert_eq!(look(rig).owner(), Some(Owner::Free));
        assert!(!rig.root().exists(), "nothing is made by looking");
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.switch(R2, &Parcel::of("two"));
        let found = look(rig);
        let Some(Owner::Alive { attempt, text }) = found.owner() else { panic!("{found:?}") };
        assert_eq!(attempt, "t2");
        assert!(text.starts_with("ann@desk from desk since 2"), "{text}");
        assert!(text.ends_with(", doing deploy prod"), "{text}");
        assert_eq!((found.number("left"), found.live()), (Some(0), R2.parse().ok()));
        let release = found.releases.iter().find(|release| release.id.to_string() == R1).unwrap();
        assert_eq!((release.commit.as_deref(), release.actor.as_deref()), (Some("c0ffee"), Some("ann@desk")));
        assert!(release.made.as_deref().unwrap().ends_with('Z'), "{release:?}");

        guardian.kill();
        let found = look(rig);
        assert!(
            matches!(found.owner(), Some(Owner::Dead { text }) if text.starts_with("ann@desk")),
            "{found:?}"
        );
        assert_eq!((found.number("left"), rig.live().as_deref()), (Some(1), Some(R2)));
        // A lock that names nobody is nobody's to remove.
        fs::remove_file(rig.private("lock")).unwrap();
        fs::write(rig.private("lock"), "").unwrap();
        assert_eq!(look(rig).owner(), Some(Owner::Unreadable));
        fs::remove_file(rig.private("lock")).unwrap();
        assert_eq!(look(rig).number("left"), Some(1));

        let mut other = with_verb(rig, "looker", Verb::Unlock);
        Arc::make_mut(&mut other.environment).name = "stage".into();
        let mut looker = Guardian::start(rig, other);
        let problems = facts(looker.ask("look").ok()).problems;
        assert!(problems[0].contains("belongs to app and environment `shop prod`"), "{problems:?}");
        looker.bye();
    });
}

#[test]
fn a_dead_owner_is_succeeded_and_what_it_left_is_named() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        for (token, release, commit) in [("t2", R2, false), ("t3", R3, true)] {
            let mut dead = Guardian::locked(rig, rig.settings(token));
            dead.switch(release, &Parcel::of(token));
            if commit {
                dead.act("commit");
            }
            dead.kill();
            let mut heir = Guardian::start(rig, with_verb(rig, "heir", Verb::Recover));
            let found = facts(heir.ask("lock").ok());
            let [settled] = &found.settled[..] else { panic!("{found:?}") };
            assert_eq!((settled.attempt.as_str(), &settled.what), (token, &format!("deploy {release}")));
            let (undone, live) = if commit { (Undone::Committed, R3) } else { (Undone::Reverted, R1) };
            assert_eq!((&settled.undone, found.live()), (&undone, live.parse().ok()));
            // Of a host with a history it is known for which release the attempt was.
            assert_eq!(found.last.unwrap().release, release);
            heir.bye();
            rig.assert_tidy();
        }
    });
}

#[test]
fn an_ordered_guardian_puts_the_host_back_and_leaves_whatever_its_client_does() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut settings = rig.command_settings("t2");
        Arc::make_mut(&mut settings.environment).settle = Duration::from_secs(600);
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R2, &Parcel::of("two"));
        let activate = guardian.send("activate");
        until("the new app to run", || rig.state_lines("app.log").last() == Some(&format!("start {R2}")));

        let mut settings = with_verb(rig, "boss", Verb::Unlock);
        settings.owner = "bob@phone".into();
        let mut boss = Guardian::start(rig, settings);
        boss.ask("order t1").failed(1);
        boss.ask("order t2").ok();
        // The client is told what becomes of what it asked for, and by whom.
        let says = guardian.answer(activate).failed(96);
        let told = "bob@phone ordered the host to be put back (rdeploy prod unlock --force)";
        assert!(says.contains(&Say::Warning(told.to_owned())), "{says:?}");
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!((rig.live().as_deref(), app_runs_from(rig).as_str()), (Some(R1), R1));
        assert_eq!(rig.outcomes()[1..], ["reverted: bob@phone ordered it"]);
        assert_eq!(facts(boss.ask("look").ok()).owner(), Some(Owner::Free));
        boss.ask("order t2").failed(1);
        boss.bye();
    });
}

#[test]
fn an_ordered_guardian_that_puts_the_host_back_already_lets_its_client_know_how_that_ends() {
    each_shell(|rig| {
        let mut settings = rig.command_settings("t1");
        if let crate::config::Supervisor::Command(command) =
            &mut Arc::make_mut(&mut settings.environment).supervisor
        {
            // Some ticks long, once the test says so.
            let slow = format!("if [ -e {0} ]; then sleep 3; fi", rig.state("slow").display());
            command.start = format!("{slow}; {}", command.start);
        }
        Guardian::locked(rig, settings).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, rig.command_settings("t2"));
        guardian.switch(R2, &Parcel::of("two"));
        fs::write(rig.state("slow"), "").unwrap();
        let revert = guardian.send("revert");
        let mut boss = Guardian::start(rig, with_verb(rig, "boss", Verb::Unlock));
        boss.ask("order t2").ok();
        guardian.answer(revert).ok();
        // Only then does it leave, whatever its client does.
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!((rig.live().as_deref(), app_runs_from(rig).as_str()), (Some(R1), R1));
        assert_eq!(facts(boss.ask("look").ok()).owner(), Some(Owner::Free));
        boss.bye();
    });
}

#[test]
fn an_ordered_guardian_finishes_what_is_committed() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.switch(R1, &Parcel::of("one"));
        guardian.act("commit");
        let mut boss = Guardian::start(rig, with_verb(rig, "boss", Verb::Unlock));
        boss.ask("order t1").ok();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!(rig.live().as_deref(), Some(R1));
        assert_eq!(rig.outcomes(), ["done: "]);
        boss.bye();
        rig.assert_tidy();
    });
}

#[test]
fn what_another_user_made_is_neither_taken_nor_run() {
    if !is_root() {
        return;
    }
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut dead = Guardian::locked(rig, rig.settings("dead"));
        dead.switch(R2, &Parcel::of("two"));
        dead.kill();
        for file in [rig.private("lock"), rig.private("run/dead")] {
            chown(file, Some(NOBODY), None).unwrap();
        }
        let found = look(rig);
        let Some(Owner::Foreign { text }) = found.owner() else { panic!("{found:?}") };
        assert!(text.starts_with("the user nobody of the host (ann@desk from desk"), "{text}");
        for verb in [Verb::Deploy, Verb::Recover, Verb::Unlock] {
            let mut guardian = Guardian::start(rig, with_verb(rig, "t3", verb));
            let says = guardian.ask("lock").failed(2);
            assert_eq!(says, [Say::Held(text.clone())]);
            guardian.ask("order dead").failed(1);
            guardian.bye();
        }
        assert_eq!(rig.live().as_deref(), Some(R2), "nothing was undone");
        // Without the lock, too, what a stranger left there is not run as us.
        fs::remove_file(rig.private("lock")).unwrap();
        assert_eq!(look(rig).number("left"), Some(0));
        Guardian::locked(rig, rig.settings("t4")).bye();
        assert_eq!(names(&rig.private("run")), ["dead"]);
        assert_eq!(rig.live().as_deref(), Some(R2));
    });
}

#[test]
fn a_freeze_is_respected_until_it_is_lifted() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let message = "fair 2026: $HOME `id` 'quoted' \"twice\" *";
        freeze(rig, message);
        let found = look(rig);
        let text = found.values.get("freeze").unwrap();
        assert!(text.starts_with(&format!("{message} (ann@desk from desk since 2")), "{text}");
        assert_eq!(found.owner(), Some(Owner::Free));
        for verb in [Verb::Deploy, Verb::Rollback, Verb::Lock] {
            let mut guardian = Guardian::start(rig, with_verb(rig, "t2", verb));
            assert_eq!(guardian.ask("lock").failed(2), [Say::Frozen(text.clone())]);
            guardian.bye();
        }
        for verb in [Verb::Recover, Verb::Stop] {
            Guardian::locked(rig, with_verb(rig, "t3", verb)).bye();
        }
        let mut guardian = Guardian::locked(rig, with_verb(rig, "t4", Verb::Unlock));
        let found = facts(guardian.ask("thaw").ok());
        assert_eq!(found.values.get("lifted"), Some(text));
        assert_eq!(facts(guardian.ask("thaw").ok()).values.get("lifted"), None);
        guardian.bye();
        assert_eq!(rig.outcomes()[1..], [format!("frozen: {message}"), format!("thawed: {text}")]);
        rig.assert_tidy();
        Guardian::locked(rig, rig.settings("t5")).deploy(R2, &Parcel::of("two"));
    });
}

#[test]
fn a_freeze_whose_client_is_gone_or_goes_back_is_none() {
    each_shell(|rig| {
        for revert in [true, false] {
            let mut guardian = Guardian::locked(rig, with_verb(rig, "t1", Verb::Lock));
            guardian.ask("freeze later").ok();
            assert!(rig.private("freeze").exists());
            if revert {
                guardian.ask("revert").ok();
                guardian.bye();
            } else {
                guardian.hang_up();
                assert!(guardian.child.wait().unwrap().success());
            }
            rig.assert_tidy();
        }
    });
}

#[test]
fn a_freeze_waits_its_turn_and_leaves_what_died_as_it_is() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let owner = Guardian::locked(rig, rig.settings("t2"));
        let mut guardian = Guardian::start(rig, with_verb(rig, "t3", Verb::Lock));
        let says = guardian.ask("lock").failed(2);
        assert!(matches!(&says[..], [Say::Held(_)]), "{says:?}");
        guardian.ask("freeze now").ok();
        assert!(!rig.private("freeze").exists(), "without the lock nobody freezes anything");
        owner.bye();
        guardian.bye();
        freeze(rig, "stop");
        // A dead owner from before: while it is frozen no deploy undoes anything; `recover` does.
        fs::rename(rig.private("freeze"), rig.state("freeze")).unwrap();
        let mut dead = Guardian::locked(rig, rig.settings("dead"));
        dead.switch(R2, &Parcel::of("two"));
        dead.kill();
        fs::rename(rig.state("freeze"), rig.private("freeze")).unwrap();
        let mut deploy = Guardian::start(rig, rig.settings("t4"));
        deploy.ask("lock").failed(2);
        deploy.bye();
        assert_eq!(rig.live().as_deref(), Some(R2));
        Guardian::locked(rig, with_verb(rig, "t5", Verb::Recover)).bye();
        assert_eq!(rig.live().as_deref(), Some(R1));
        assert!(rig.private("freeze").exists());
    });
}
