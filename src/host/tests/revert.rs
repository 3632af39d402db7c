//! The way back, when the client asks for it.

use std::fs;
use std::sync::Arc;

use super::rig::names;
use super::*;
use crate::host::protocol::Say;

#[test]
fn a_revert_puts_the_link_back_and_marks_the_release_as_failed() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.switch(R2, &Parcel::of("two"));
        assert_eq!(rig.live().as_deref(), Some(R2));
        let says = guardian.ask("revert").ok();
        assert!(says.contains(&Say::RevertedLink(R1.into())), "{says:?}");
        assert_eq!(rig.live().as_deref(), Some(R1));
        // Asked again, it has nothing more to do.
        assert_eq!(guardian.ask("revert").ok(), []);
        guardian.bye();
        assert_eq!(rig.release_state(R1).as_deref(), Some("good"));
        assert_eq!(rig.release_state(R2).as_deref(), Some("failed"));
        assert_eq!(rig.outcomes(), ["done: ", "reverted: the client asked for it"]);
        rig.assert_tidy();
    });
}

#[test]
fn a_first_deploy_that_is_reverted_leaves_no_current_and_no_app() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, rig.command_settings("t1"));
        guardian.switch(R1, &Parcel::of("one"));
        assert!(rig.processes().iter().any(|(_, line)| line.starts_with("sleep 1000")));
        guardian.ask("revert").ok();
        assert_eq!(rig.current(), None);
        assert_eq!(rig.state_lines("app.log"), [format!("start {R1}"), format!("stop in {R1}")]);
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn a_reverted_app_runs_from_the_release_that_ran_before() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, rig.command_settings("t2"));
        guardian.switch(R2, &Parcel::of("two"));
        guardian.ask("revert").ok();
        assert_eq!(rig.live().as_deref(), Some(R1));
        assert_eq!(app_runs_from(rig), R1);
        // The stop commands ran where `current` led at that time.
        let log = rig.state_lines("app.log");
        assert_eq!(log.first().unwrap(), &format!("start {R1}"));
        assert_eq!(log.last().unwrap(), &format!("start {R1}"));
        assert_eq!(log.iter().filter(|line| **line == format!("start {R2}")).count(), 1, "{log:?}");
        guardian.bye();
    });
}

/// The release in which the app's process works.
pub(super) fn app_runs_from(rig: &Rig) -> String {
    let pid = fs::read_to_string(rig.state("app.pid")).unwrap();
    let cwd = fs::read_link(format!("/proc/{}/cwd", pid.trim())).unwrap();
    cwd.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_hanging_action_is_ended_with_all_its_descendants_before_the_undo() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut settings = rig.command_settings("t2");
        if let crate::config::Supervisor::Command(command) =
            &mut Arc::make_mut(&mut settings.environment).supervisor
        {
            // In a session of its own, and deaf to all but SIGKILL.
            command.start = format!(
                "trap '' TERM HUP INT; echo hanging >{}; setsid sh -c 'trap \"\" TERM; sleep 900'; sleep 901",
                rig.state("hangs").display()
            );
        }
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R2, &Parcel::of("two"));
        let activate = guardian.send("activate");
        until("the start command to hang", || rig.state("hangs").exists());
        let revert = guardian.send("revert");
        guardian.answer(activate).failed(98);
        guardian.answer(revert).ok();
        let left = rig.processes();
        assert!(!left.iter().any(|(_, line)| line.contains("sleep 90")), "{left:?}");
        assert_eq!(app_runs_from(rig), R1);
        guardian.bye();
    });
}

#[test]
fn an_action_that_takes_too_long_is_ended_and_says_so() {
    each_shell(|rig| {
        let mut settings = rig.settings("t1");
        Arc::make_mut(&mut settings.environment).supervisor =
            crate::config::Supervisor::Command(crate::config::CommandSupervisor {
                start: "sleep 900".into(),
                restart: None,
                stop: None,
                status: None,
                logs: vec![],
            });
        // Its limit is 180 s; a clock that runs fast makes that short.
        let bin = rig.state("fast");
        fs::create_dir(&bin).unwrap();
        let sleep = crate::testing::which("sleep").unwrap();
        rig.program(
            "fast/sleep",
            &format!("#!/bin/sh\n[ \"$1\" = 1 ] && exec {0} 0.02\nexec {0} \"$@\"\n", sleep.display()),
        );
        let line = format!("PATH={}:$PATH; {}", bin.display(), rig.boot());
        let mut guardian = Guardian::start_by(rig, settings, &line, |_| ());
        guardian.ask("lock").ok();
        guardian.ready(R1, &Parcel::of("one"));
        guardian.ask("activate").failed(124);
        assert!(guardian.written("activate").contains("took longer than 180 s and was ended"));
        guardian.ask("revert").ok();
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn an_undoing_that_fails_says_so_and_leaves_a_log_for_a_person() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        // What ran before cannot be started again.
        let start = rig.private("releases").join(R1).join("recipe/start");
        fs::write(start, "echo no beans left; exit 1\n").unwrap();
        let mut guardian = Guardian::locked(rig, rig.command_settings("t2"));
        guardian.switch(R2, &Parcel::of("two"));
        guardian.ask("revert").failed(1);
        let written = guardian.written("revert");
        assert!(written.contains("could not be proven to run as before"), "{written}");
        assert!(written.contains("no beans left"), "{written}");
        assert_eq!(rig.live().as_deref(), Some(R1));
        // It may be tried again.
        guardian.ask("revert").failed(1);
        guardian.bye();
        let log = fs::read_to_string(rig.private("revert-failed.log")).unwrap();
        assert!(log.contains("no beans left"), "{log}");
        assert_eq!(rig.outcomes()[1], "revert failed: the client asked for it");
        assert_eq!(names(&rig.private("run")), [""; 0]);
        // The lock is free: a deploy that mends it must be possible.
        Guardian::locked(rig, rig.command_settings("t3")).deploy(R3, &Parcel::of("three"));
        assert_eq!(app_runs_from(rig), R3);
    });
}

#[test]
fn undoing_twice_by_hand_does_nothing_the_second_time() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, rig.command_settings("t2"));
        guardian.switch(R2, &Parcel::of("two"));
        guardian.kill();
        let run = rig.private("run/t2");
        let undo = || {
            let line = format!("sh {0}/agent.sh undo {0} 3>/dev/null", run.display());
            let output = rig.command(&line).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        undo();
        assert_eq!((rig.live().as_deref(), app_runs_from(rig).as_str()), (Some(R1), R1));
        let log = rig.state_lines("app.log");
        undo();
        assert_eq!(rig.live().as_deref(), Some(R1));
        assert_eq!(rig.state_lines("app.log"), log);
    });
}
