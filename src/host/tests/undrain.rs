//! A host that its hooks took out of service is taken back when it is put back, whoever does that.

use super::hooks::add_hook_at;
use super::*;
use crate::host::settings::SessionSettings;

/// A hook that drains, one that runs once for the fleet after the switch, and two that end the draining, of
/// which the first one does what it is told.
fn draining(rig: &Rig, token: &str, first: &str) -> SessionSettings {
    let log = rig.state("hooks").display().to_string();
    let mut settings = rig.command_settings(token);
    let mut add = |point, name: &str, more: &str| {
        let run = format!("{more}; echo {name} $(basename $(readlink ../../current)) >>{log}");
        add_hook_at(point, &mut settings, &run, None);
    };
    add("before_switch", "drain", "true");
    add("after_switch", "once", "true");
    add("after_switch", "undrain", first);
    add("after_switch", "announce", "true");
    settings.hooks[1].hook.once = true;
    settings
}

/// A host that runs the first release, on which the second one is under way: drained and switched.
fn switched<'a>(rig: &'a Rig, first: &str) -> Guardian<'a> {
    Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
    let mut guardian = Guardian::locked(rig, draining(rig, "t2", first));
    guardian.ready(R2, &Parcel::of("two"));
    assert_eq!(guardian.beside("hook", &["1"], b"").code, Some(0));
    guardian.act("activate");
    guardian
}

/// What the hooks wrote, behind the line of the one that drained.
fn after_draining(rig: &Rig) -> Vec<String> {
    let mut lines = rig.state_lines("hooks");
    assert_eq!(lines.remove(0), format!("drain {R1}"));
    lines
}

fn undrained() -> [String; 2] {
    ["undrain", "announce"].map(|name| format!("{name} {R1}"))
}

#[test]
fn a_guardian_without_a_client_undrains_its_host_after_it_has_put_it_back() {
    each_shell(|rig| {
        let mut guardian = switched(rig, "true");
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!(after_draining(rig), undrained());
        assert_eq!(rig.outcomes()[1..], ["reverted: the connection to the client ended"]);
        assert_eq!(rig.live().as_deref(), Some(R1));
    });
}

#[test]
fn an_undrain_that_fails_is_noted_the_others_run_all_the_same_and_the_lock_is_free() {
    each_shell(|rig| {
        let mut guardian = switched(rig, "exit 3");
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!(after_draining(rig), [format!("announce {R1}")]);
        let outcomes = rig.outcomes();
        assert_eq!(outcomes.len(), 2);
        let start = "reverted: the connection to the client ended; its after_switch hook failed: exit 3;";
        assert!(outcomes[1].starts_with(start), "{outcomes:?}");
        assert!(!rig.private("lock").exists());
    });
}

#[test]
fn what_a_living_client_undrains_no_guardian_does() {
    each_shell(|rig| {
        let mut guardian = switched(rig, "true");
        guardian.ask("revert").ok();
        assert_eq!(after_draining(rig), [""; 0]);
        assert_eq!(guardian.beside("hook", &["3"], b"").code, Some(0));
        // It dies before the second one: what it has done is not done again.
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!(after_draining(rig), undrained());
    });
}

#[test]
fn a_host_that_was_not_drained_is_not_undrained() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, draining(rig, "t2", "true"));
        guardian.switch(R2, &Parcel::of("two"));
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!(rig.state_lines("hooks"), [""; 0]);
    });
}

#[test]
fn the_next_attempt_undrains_what_a_dead_guardian_left_drained() {
    each_shell(|rig| {
        switched(rig, "true").kill();
        Guardian::locked(rig, rig.command_settings("t3")).bye();
        assert_eq!(after_draining(rig), undrained());
        assert_eq!(rig.live().as_deref(), Some(R1));
    });
}

#[test]
fn a_guardian_that_succeeds_a_dead_one_for_the_same_client_leaves_undraining_to_it() {
    each_shell(|rig| {
        switched(rig, "true").kill();
        Guardian::locked(rig, draining(rig, "t2-next", "true")).bye();
        assert_eq!(after_draining(rig), [""; 0]);
        assert_eq!(rig.live().as_deref(), Some(R1));
    });
}

#[test]
fn a_hook_that_was_on_its_way_while_the_host_was_put_back_comes_too_late() {
    each_shell(|rig| {
        let mut guardian = switched(rig, "true");
        guardian.ask("revert").ok();
        let late = guardian.beside("hook", &["1"], b"");
        assert_eq!(late.code, Some(1));
        assert_eq!(late.output, "the host was put back; nothing was done\n");
        let late = guardian.receive(&Parcel::of("two"));
        assert_eq!((late.code, late.output.contains("nothing was done")), (Some(1), true));
        assert_eq!(after_draining(rig), [""; 0]);
        guardian.bye();
    });
}
