//! Proving again what was proven: only then, without changing anything, and with the way back open whatever
//! comes of it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::revert::app_runs_from;
use super::*;
use crate::config::Health;
use crate::config::Probe;
use crate::config::Supervisor;
use crate::host::protocol::Say;
use crate::host::settings::SessionSettings;

/// An app whose stop command takes no offence at an app that has ended.
fn app(rig: &Rig, token: &str) -> SessionSettings {
    let mut settings = rig.command_settings(token);
    let Supervisor::Command(command) = &mut Arc::make_mut(&mut settings.environment).supervisor else {
        panic!("a command")
    };
    command.stop = command.stop.take().map(|stop| format!("({stop}) || true"));
    settings
}

/// The same, with a health check by that command.
fn asked(rig: &Rig, token: &str, command: &str) -> SessionSettings {
    let mut settings = app(rig, token);
    let second = Duration::from_secs(1);
    let probe = Probe::Command(command.to_owned());
    Arc::make_mut(&mut settings.environment).health = vec![Health { timeout: second, ..Health::of(probe) }];
    settings
}

#[test]
fn what_was_proven_is_proven_again_as_often_as_it_is_asked() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, app(rig, "t1"));
        guardian.ask("recheck").failed(98);
        guardian.ready(R1, &Parcel::of("one"));
        guardian.ask("recheck").failed(98);
        let proof = |says: Vec<Say>| says.into_iter().find(|say| matches!(say, Say::Proof(..))).unwrap();
        let first = proof(guardian.act("activate"));
        let started = rig.state_lines("app.log");
        for _ in 0..2 {
            assert_eq!(proof(guardian.act("recheck")), first);
        }
        assert_eq!(rig.state_lines("app.log"), started, "nothing is started or stopped");
        guardian.act("commit");
        guardian.ask("recheck").failed(98);
        guardian.act("finish");
        guardian.bye();
        assert_eq!(rig.live().as_deref(), Some(R1));
    });
}

#[test]
fn an_app_that_has_died_since_is_not_committed_and_can_be_put_back() {
    each_shell(|rig| {
        Guardian::locked(rig, app(rig, "t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, app(rig, "t2"));
        guardian.switch(R2, &Parcel::of("two"));
        let pid = fs::read_to_string(rig.state("app.pid")).unwrap().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        guardian.ask("recheck").failed(1);
        let written = guardian.written("recheck");
        assert!(written.contains("the status command"), "{written}");
        guardian.ask("commit").failed(98);
        guardian.ask("recheck").failed(98);
        guardian.ask("revert").ok();
        assert_eq!((rig.live().as_deref(), app_runs_from(rig).as_str()), (Some(R1), R1));
        guardian.bye();
        assert_eq!(rig.outcomes(), ["done: ", "reverted: the client asked for it"]);
    });
}

#[test]
fn a_health_check_that_does_not_pass_any_more_is_given_its_time_and_then_told() {
    each_shell(|rig| {
        Guardian::locked(rig, app(rig, "t1")).deploy(R1, &Parcel::of("one"));
        fs::write(rig.state("well"), "").unwrap();
        let ask = format!("[ -e {} ] || {{ echo no database; exit 3; }}", rig.state("well").display());
        let mut guardian = Guardian::locked(rig, asked(rig, "t2", &ask));
        guardian.switch(R2, &Parcel::of("two"));
        guardian.act("recheck");
        fs::remove_file(rig.state("well")).unwrap();
        guardian.ask("recheck").failed(1);
        let written = guardian.written("recheck");
        assert!(written.contains("the health check did not pass within 1 s"), "{written}");
        assert!(written.contains("no database"), "{written}");
        // A client that goes now leaves a host that puts itself back.
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!((rig.live().as_deref(), app_runs_from(rig).as_str()), (Some(R1), R1));
    });
}

#[test]
fn a_check_that_hangs_does_not_hold_up_the_way_back() {
    each_shell(|rig| {
        Guardian::locked(rig, app(rig, "t1")).deploy(R1, &Parcel::of("one"));
        let (hang, fifo) = (rig.state("hang"), rig.fifo("fifo"));
        let ask = format!("[ ! -e {} ] || cat {}", hang.display(), fifo.display());
        let mut settings = asked(rig, "t2", &ask);
        Arc::make_mut(&mut settings.environment).health[0].timeout = Duration::from_secs(600);
        let mut guardian = Guardian::locked(rig, settings);
        guardian.switch(R2, &Parcel::of("two"));
        fs::write(&hang, "").unwrap();
        let recheck = guardian.send("recheck");
        let hangs = format!("cat {}", fifo.display());
        until("the check to hang", || rig.processes().iter().any(|(_, line)| line.starts_with(&hangs)));
        let revert = guardian.send("revert");
        guardian.answer(recheck).failed(98);
        guardian.answer(revert).ok();
        assert!(!rig.processes().iter().any(|(_, line)| line.starts_with(&hangs)));
        assert_eq!(rig.live().as_deref(), Some(R1));
        guardian.bye();
    });
}
