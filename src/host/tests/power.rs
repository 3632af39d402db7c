//! What a power cut leaves of files that had a name already, and not yet their content.

use std::fs;

use super::*;

#[test]
fn a_record_of_the_owner_that_was_left_empty_belongs_to_nobody() {
    each_shell(|rig| {
        fs::create_dir_all(rig.private("")).unwrap();
        fs::write(rig.private("app"), "").unwrap();
        let mut guardian = Guardian::start(rig, rig.settings("t1"));
        let says = format!("{:?}", guardian.ask("preflight").ok());
        assert!(!says.contains("belongs to"), "{says}");
        guardian.ask("lock").ok();
        guardian.deploy(R1, &Parcel::of("one"));
        assert_eq!(fs::read_to_string(rig.private("app")).unwrap(), "shop prod\n");
    });
}

#[test]
fn a_program_that_was_left_cut_short_before_anything_was_ready_is_no_failed_undoing() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let parcel = Parcel::of("two");
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.begin(&guardian::attempt(rig, R2, &parcel));
        guardian.upload(&parcel);
        guardian.act("prepare");
        guardian.kill();
        let run = rig.private("run/t2");
        let agent = fs::read(run.join("agent.sh")).unwrap();
        // Its own, not the one that the host has kept.
        fs::remove_file(run.join("agent.sh")).unwrap();
        fs::write(run.join("agent.sh"), &agent[..agent.len() / 2]).unwrap();
        // Written through both of its names: the run's and the lock's.
        let lock = fs::read_to_string(run.join("lock")).unwrap();
        let boot = lock.lines().find(|line| line.starts_with("boot=")).unwrap();
        fs::write(run.join("lock"), lock.replace(boot, "boot=another")).unwrap();

        let mut next = Guardian::start(rig, rig.settings("t3"));
        let says = format!("{:?}", next.ask("lock").ok());
        assert!(says.contains("Undone(Reverted)"), "{says}");
        next.deploy(R3, &Parcel::of("three"));
        assert_eq!(rig.live().as_deref(), Some(R3));
    });
}
