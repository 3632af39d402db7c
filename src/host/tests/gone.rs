//! The client, or the guardian itself, is gone: at every point the host ends up as it was, or, past the
//! commit, with what was committed; and the lock is free.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::hooks::add_hook;
use super::revert::app_runs_from;
use super::*;

#[test]
fn a_client_that_goes_before_the_switch_leaves_nothing_switched() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t0")).deploy(R1, &Parcel::of("one"));
        let parcel = Parcel::of("two");
        for steps in 0..4 {
            let mut guardian = Guardian::locked(rig, rig.settings(&format!("t{steps}")));
            if steps > 0 {
                guardian.begin(&guardian::attempt(rig, R2, &parcel));
            }
            if steps > 1 {
                guardian.upload(&parcel);
            }
            if steps > 2 {
                guardian.act("prepare");
                guardian.act("ready");
            }
            guardian.hang_up();
            assert!(guardian.child.wait().unwrap().success());
            assert_eq!(rig.live().as_deref(), Some(R1), "{steps}");
            // What had arrived waits for the next attempt.
            assert_eq!(rig.drops_upload(), steps == 2, "{steps}");
            rig.assert_tidy();
        }
        assert_eq!(rig.release_state(R2).as_deref(), Some("failed"));
        let reason = "reverted: the connection to the client ended";
        assert_eq!(rig.outcomes()[1..], [reason; 4]);
    });
}

#[test]
fn a_client_that_goes_before_any_file_has_arrived_leaves_nothing_of_the_upload() {
    each_shell(|rig| {
        let parcel = Parcel::of("one");
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.begin(&guardian::attempt(rig, R1, &parcel));
        let args = parcel.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut receive = guardian.start_beside("receive", &args);
        receive.stdin.as_mut().unwrap().write_all(&parcel.manifest).unwrap();
        until("the upload to begin", || rig.private("incoming").join(&parcel.digest).exists());
        // Its channel stays open, as when a server has not noticed yet.
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert!(!receive.wait().unwrap().success());
        assert_eq!(rig.releases(), [""; 0]);
        rig.assert_tidy();
    });
}

#[test]
fn a_client_that_goes_after_the_switch_has_the_host_put_itself_back() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let log = rig.state("undone").display().to_string();
        let mut settings = rig.command_settings("t2");
        settings.ordinal = 1;
        for n in 1..=3 {
            add_hook(&mut settings, "true", Some(&format!("echo {n} $(readlink ../../current) >>{log}")));
        }
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R2, &Parcel::of("two"));
        for n in ["1", "2", "3"] {
            assert_eq!(guardian.beside("hook", &[n], b"").code, Some(0));
        }
        guardian.act("activate");
        assert_eq!(app_runs_from(rig), R2);
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!((rig.live().as_deref(), app_runs_from(rig).as_str()), (Some(R1), R1));
        let current = rig.current().unwrap();
        assert_eq!(rig.state_lines("undone"), ["3", "2", "1"].map(|n| format!("{n} {current}")));
        assert_eq!(rig.outcomes(), ["done: ", "reverted: the connection to the client ended"]);
    });
}

#[test]
fn a_client_that_goes_while_the_host_is_switched_has_it_put_itself_back() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut settings = rig.command_settings("t2");
        Arc::make_mut(&mut settings.environment).settle = Duration::from_secs(600);
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R2, &Parcel::of("two"));
        guardian.send("activate");
        until("the new app to run", || rig.state_lines("app.log").last() == Some(&format!("start {R2}")));
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!((rig.live().as_deref(), app_runs_from(rig).as_str()), (Some(R1), R1));
        assert_eq!(rig.release_state(R2).as_deref(), Some("failed"));
    });
}

#[test]
fn a_client_that_is_silent_for_the_lease_is_gone() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut settings = rig.settings("t2");
        Arc::make_mut(&mut settings.environment).lease = Duration::from_secs(2);
        let mut guardian = Guardian::locked(rig, settings);
        guardian.switch(R2, &Parcel::of("two"));
        // As long as it says something it is there.
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(4) {
            guardian.ask("hb").ok();
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(rig.live().as_deref(), Some(R2));
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!(rig.live().as_deref(), Some(R1));
        assert_eq!(rig.outcomes()[1], "reverted: the client was silent for 2 s");
        rig.assert_tidy();
    });
}

#[test]
fn a_client_that_never_reads_is_heard_all_the_same() {
    each_shell(|rig| {
        let line = format!(
            "{} | {{ read -r line; echo \"$line\"; exec sleep 700; }}",
            rig.boot().trim_start_matches("exec ")
        );
        let mut guardian = Guardian::start_by(rig, rig.settings("t1"), &line, |_| ());
        guardian.send("lock");
        until("the lock", || rig.private("lock").exists());
        for _ in 0..3000 {
            guardian.send("hb");
        }
        guardian.hang_up();
        until("the lock to be free", || !rig.private("lock").exists());
    });
}

#[test]
fn a_guardian_killed_after_the_switch_is_succeeded_and_its_work_undone_first() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let log = rig.state("undone").display().to_string();
        let mut settings = rig.command_settings("t2");
        add_hook(&mut settings, "true", Some(&format!("echo undone >>{log}")));
        let mut guardian = Guardian::locked(rig, settings);
        guardian.switch(R2, &Parcel::of("two"));
        assert_eq!(guardian.beside("hook", &["1"], b"").code, Some(0));
        guardian.kill();
        assert_eq!(app_runs_from(rig), R2);

        let mut next = Guardian::start(rig, rig.command_settings("t3"));
        let says = format!("{:?}", next.ask("lock").ok());
        assert!(says.contains("an earlier attempt died here (ann@desk from desk since"), "{says}");
        assert!(says.contains("Undone(Reverted)"), "{says}");
        // The facts are those after the undoing.
        assert!(says.contains(&format!("{:?}", rig.current().unwrap())), "{says}");
        assert_eq!((rig.live().as_deref(), app_runs_from(rig).as_str()), (Some(R1), R1));
        assert_eq!(rig.state_lines("undone"), ["undone"]);
        assert_eq!(rig.outcomes()[1], "reverted: its guardian ended; put back by the next attempt");
        next.deploy(R3, &Parcel::of("three"));
        assert_eq!(app_runs_from(rig), R3);
    });
}

#[test]
fn what_a_killed_guardian_had_running_is_ended_by_its_successor() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut settings = rig.command_settings("t2");
        Arc::make_mut(&mut settings.environment).settle = Duration::from_secs(600);
        add_hook(&mut settings, &format!("echo up >{}; sleep 850", rig.state("up").display()), None);
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R2, &Parcel::of("two"));
        guardian.send("activate");
        until("the new app to run", || rig.state_lines("app.log").last() == Some(&format!("start {R2}")));
        let hook = guardian.start_beside("hook", &["1"]);
        until("the hook to wait", || rig.state("up").exists());
        guardian.kill();

        Guardian::locked(rig, rig.command_settings("t3")).bye();
        assert_eq!(guardian::finish(hook).code, None);
        assert_eq!((rig.live().as_deref(), app_runs_from(rig).as_str()), (Some(R1), R1));
        until("only the app to run", || rig.processes().len() == 1);
    });
}

#[test]
fn what_is_committed_stays_whoever_dies() {
    each_shell(|rig| {
        // The client, after the commit.
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.switch(R1, &Parcel::of("one"));
        guardian.act("commit");
        guardian.ask("revert").failed(97);
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!(rig.live().as_deref(), Some(R1));
        assert_eq!(rig.outcomes(), ["done: "]);
        rig.assert_tidy();

        // The guardian, after the commit: the next attempt finishes for it.
        let mut settings = rig.settings("t2");
        add_hook(&mut settings, "true", Some("touch ../../never"));
        let mut guardian = Guardian::locked(rig, settings);
        guardian.switch(R2, &Parcel::of("two"));
        assert_eq!(guardian.beside("hook", &["1"], b"").code, Some(0));
        guardian.act("commit");
        guardian.kill();
        Guardian::locked(rig, rig.settings("t3")).bye();
        assert_eq!(rig.live().as_deref(), Some(R2));
        assert_eq!(rig.release_state(R2).as_deref(), Some("good"));
        assert_eq!(rig.outcomes(), ["done: ", "done: "]);
        assert!(!rig.root().join("never").exists());

        // The guardian, after it had finished: nothing is noted twice.
        let mut guardian = Guardian::locked(rig, rig.settings("t4"));
        guardian.switch(R3, &Parcel::of("three"));
        guardian.act("commit");
        guardian.act("finish");
        guardian.kill();
        Guardian::locked(rig, rig.settings("t5")).bye();
        assert_eq!(rig.live().as_deref(), Some(R3));
        assert_eq!(rig.outcomes().len(), 3);
        assert_eq!(fs::read_to_string(rig.root().join("revisions.log")).unwrap().lines().count(), 3);
        rig.assert_tidy();
    });
}

#[test]
fn a_commit_that_was_not_acknowledged_can_be_asked_for_again() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.switch(R1, &Parcel::of("one"));
        guardian.act("commit");
        guardian.act("commit");
        guardian.act("finish");
        guardian.act("finish");
        guardian.bye();
        assert_eq!(rig.outcomes(), ["done: "]);
        rig.assert_tidy();
    });
}

#[test]
fn a_guardian_killed_at_any_moment_leaves_what_the_next_one_can_tidy_up() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t0")).deploy(R1, &Parcel::of("one"));
        // The moments are where they fall: the answers to the intents are not waited for.
        for n in 1..=12u32 {
            let parcel = Parcel::of("two");
            let mut guardian = Guardian::locked(rig, rig.settings(&format!("k{n}")));
            guardian.begin(&guardian::attempt(rig, R2, &parcel));
            guardian.upload(&parcel);
            let intent = ["prepare", "ready", "activate"][(n % 3) as usize];
            for before in ["prepare", "ready"].iter().take((n % 3) as usize) {
                guardian.act(before);
            }
            guardian.send(intent);
            std::thread::sleep(Duration::from_millis(u64::from(n) * 7));
            guardian.kill();
            let next = Guardian::locked(rig, rig.settings(&format!("n{n}")));
            assert_eq!(rig.live().as_deref(), Some(R1), "{intent}");
            next.bye();
            rig.drops_upload();
            rig.assert_tidy();
            let record = rig.private("releases").join(R2);
            let _ = fs::remove_dir_all(&record);
            let _ = fs::remove_dir_all(rig.root().join("releases").join(R2));
        }
    });
}
