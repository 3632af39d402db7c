//! What is asked as a guardian starts is answered from what came with the start: the settings follow.

use std::fs;
use std::sync::Arc;

use super::rig::names;
use super::*;
use crate::host::protocol::Say;
use crate::host::tests::hooks::add_hook;

/// The answer to the question that came with the start.
fn locked_early(guardian: &mut Guardian) -> bool {
    guardian.answer(1).ok().contains(&Say::Fact("locked".into(), String::new()))
}

/// Sends the settings, and behind them the first question, as a client does.
fn give_the_rest(guardian: &mut Guardian) {
    let parcel = guardian.settings.parcel().unwrap();
    guardian.give(&[&parcel[..], b"1 preflight lock\n"].concat());
}

#[test]
fn the_lock_is_there_before_the_settings_and_the_deploy_has_them() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut settings = rig.settings("t2");
        Arc::make_mut(&mut settings.environment).vars = [("KEY".to_owned(), "a secret".to_owned())].into();
        let seen = rig.state("seen");
        add_hook(&mut settings, &format!("printf %s \"$KEY\" >{}", seen.display()), None);
        assert!(!settings.early().unwrap().contains("a secret"));
        let mut guardian = Guardian::start_early(rig, settings);
        assert!(locked_early(&mut guardian));
        assert_eq!(
            names(&rig.private("run/t2/meta")),
            ["hooks", "linked_dirs", "linked_files", "recipe", "settings"]
        );
        assert_eq!(names(&rig.tmp()), [""; 0]);

        give_the_rest(&mut guardian);
        let parcel = Parcel::of("two");
        guardian.begin(&guardian::attempt(rig, R2, &parcel));
        guardian.upload(&parcel);
        guardian.act("prepare");
        let hook = guardian.beside("hook", &["1"], b"");
        assert_eq!(
            (hook.code, fs::read_to_string(&seen).unwrap().as_str()),
            (Some(0), "a secret"),
            "{hook:?}"
        );
        for action in ["ready", "activate", "commit", "finish"] {
            guardian.act(action);
        }
        guardian.bye();
        assert_eq!(rig.live().as_deref(), Some(R2));
        rig.assert_tidy();
    });
}

#[test]
fn where_it_cannot_be_answered_at_once_the_settings_are_waited_for() {
    each_shell(|rig| {
        // Something would have to be made for the lock.
        let mut first = Guardian::start_early(rig, rig.settings("t1"));
        first.give(&agent_of(rig));
        assert!(!locked_early(&mut first) && !rig.root().exists());
        give_the_rest(&mut first);
        first.ask("lock").ok();
        first.deploy(R1, &Parcel::of("one"));

        // A supervisor is asked in the app's own surroundings.
        let mut second = Guardian::start_early(rig, rig.command_settings("t2"));
        give_the_rest(&mut second);
        assert!(locked_early(&mut second));
        second.deploy(R2, &Parcel::of("two"));
        assert_eq!(rig.live().as_deref(), Some(R2));
        Guardian::rolls_back(rig, "t3", R1);
        rig.assert_tidy();
    });
}

#[test]
fn a_client_that_goes_before_its_settings_have_come_leaves_nothing() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let before = rig.releases();
        let mut guardian = Guardian::start_early(rig, rig.settings("t2"));
        assert!(locked_early(&mut guardian));
        guardian.hang_up();
        rig.assert_tidy();

        // Cut in the middle of them.
        let mut guardian = Guardian::start_early(rig, rig.settings("t3"));
        assert!(locked_early(&mut guardian));
        let parcel = guardian.settings.parcel().unwrap();
        guardian.give(&parcel[..parcel.len() / 2]);
        guardian.hang_up();
        rig.assert_tidy();
        assert_eq!(rig.releases(), before);
    });
}

#[test]
fn settings_that_cannot_be_written_end_the_attempt() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::start_early(rig, rig.settings("t2"));
        assert!(locked_early(&mut guardian));
        let hooks = rig.private("run/t2/meta/hooks");
        fs::remove_dir(&hooks).unwrap();
        fs::write(&hooks, "").unwrap();
        give_the_rest(&mut guardian);
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!(rig.outcomes()[1], "reverted: its settings could not be written");
        rig.assert_tidy();
    });
}

/// The agent, for a host that has none.
fn agent_of(rig: &Rig) -> bytes::Bytes {
    assert!(!rig.root().exists());
    crate::host::agent::parcel().unwrap()
}
