//! What is removed, and above all what is not.

use std::process::Stdio;

use super::*;
use crate::host::protocol::Say;

/// A deploy that fails after the switch.
fn fails(rig: &Rig, token: &str, release: &str) {
    let mut guardian = Guardian::locked(rig, rig.settings(token));
    guardian.switch(release, &Parcel::of(release));
    guardian.ask("revert").ok();
    guardian.bye();
}

#[test]
fn of_several_failed_releases_the_newest_stays() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        fails(rig, "t2", R2);
        assert_eq!(rig.releases(), [R1, R2]);
        fails(rig, "t3", R3);
        assert_eq!(rig.releases(), [R1, R3]);
        assert_eq!(rig.release_state(R2), None);
        assert_eq!(rig.release_state(R3).as_deref(), Some("failed"));
        assert!(!rig.private("manifests").join(R2).exists());
        // One that failed before it was a release leaves the one before it, which somebody may look into.
        let mut guardian = Guardian::locked(rig, rig.settings("t4"));
        guardian.begin(&guardian::attempt(rig, R4, &Parcel::of("four")));
        guardian.ask("prepare").failed(1);
        guardian.ask("revert").ok();
        guardian.bye();
        assert_eq!(rig.releases(), [R1, R3]);
        rig.assert_tidy();
    });
}

#[test]
fn a_clean_up_removes_what_it_is_told_to_but_never_what_is_in_use_or_not_its_own() {
    each_shell(|rig| {
        for (token, id) in [("t1", R1), ("t2", R2), ("t3", R3)] {
            Guardian::locked(rig, rig.settings(token)).deploy(id, &Parcel::of(id));
        }
        let foreign = rig.root().join("releases/20250101000000");
        std::fs::create_dir(&foreign).unwrap();
        // A worker that still runs from an old release, deep inside.
        let mut worker = rig.command("exec sleep 950");
        let mut worker = worker
            .current_dir(rig.root().join("releases").join(R1).join("pages"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut guardian = Guardian::locked(rig, rig.settings("t4"));
        guardian.switch(R4, &Parcel::of("four"));
        guardian.act("commit");
        let says = guardian.act(&format!("finish 20250101000000 {R1} {R2} {R3} {R4} .. ../../state"));
        assert_eq!(
            says,
            [Say::Note(format!("release {R1} stays: process {} still runs from it", worker.id()))]
        );
        guardian.bye();
        assert_eq!(rig.releases(), ["20250101000000", R1, R3, R4]);
        worker.kill().unwrap();
        worker.wait().unwrap();

        let mut guardian = Guardian::locked(rig, rig.settings("t5"));
        guardian.switch(R5, &Parcel::of("five"));
        guardian.act("commit");
        guardian.act(&format!("finish {R1}"));
        guardian.bye();
        assert_eq!(rig.releases(), ["20250101000000", R3, R4, R5]);
        rig.assert_tidy();
    });
}

#[test]
fn a_process_is_found_though_the_tree_is_reached_through_a_link() {
    each_shell(|rig| {
        let real = rig.state("disk");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, rig.root()).unwrap();
        for (token, id) in [("t1", R1), ("t2", R2)] {
            Guardian::locked(rig, rig.settings(token)).deploy(id, &Parcel::of(id));
        }
        let mut worker = rig.command("exec sleep 951");
        let mut worker = worker.current_dir(real.join("releases").join(R1)).spawn().unwrap();
        let mut guardian = Guardian::locked(rig, rig.settings("t3"));
        guardian.switch(R3, &Parcel::of("three"));
        guardian.act("commit");
        guardian.act(&format!("finish {R1}"));
        guardian.bye();
        assert_eq!(rig.releases(), [R1, R2, R3]);
        worker.kill().unwrap();
        worker.wait().unwrap();
    });
}
