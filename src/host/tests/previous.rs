//! What was there before rdeploy, or beside it: it is kept, restored, and never deleted.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A tree as Capistrano leaves it, with `current` holding `link`.
fn capistrano(rig: &Rig, link: &str) {
    let release = rig.root().join("releases").join(R1);
    fs::create_dir_all(&release).unwrap();
    fs::create_dir_all(rig.root().join("repo")).unwrap();
    fs::write(release.join("version"), "theirs").unwrap();
    fs::write(rig.root().join("revisions.log"), "Branch main (at 1) deployed as release 1 by eve\n").unwrap();
    symlink(link, rig.root().join("current")).unwrap();
}

#[test]
fn the_tree_of_another_tool_is_adopted_and_restored() {
    each_shell(|rig| {
        capistrano(rig, &rig.root().join("releases").join(R1).display().to_string());
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.switch(R2, &Parcel::of("two"));
        guardian.ask("revert").ok();
        guardian.bye();
        assert_eq!(fs::read_to_string(rig.root().join("current/version")).unwrap(), "theirs");

        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.switch(R3, &Parcel::of("three"));
        guardian.act("commit");
        // Asked to, even: what rdeploy did not make is not its to remove.
        guardian.act(&format!("finish {R1}"));
        guardian.bye();
        assert_eq!(rig.releases(), [R1, R2, R3]);
        let log = fs::read_to_string(rig.root().join("revisions.log")).unwrap();
        assert_eq!(log.lines().count(), 2);
        rig.assert_tidy();
    });
}

#[test]
fn a_release_of_another_tool_is_kept_after_it_was_gone_back_to() {
    each_shell(|rig| {
        capistrano(rig, &rig.root().join("releases").join(R1).display().to_string());
        Guardian::locked(rig, rig.settings("t1")).deploy(R2, &Parcel::of("two"));
        Guardian::rolls_back(rig, "t2", R1);
        assert_eq!(rig.release_state(R1).as_deref(), Some("good"));

        Guardian::locked(rig, rig.settings("t3")).deploy(R3, &Parcel::of("three"));
        // Now it is neither live nor the one before.
        let mut guardian = Guardian::locked(rig, rig.settings("t4"));
        guardian.switch(R4, &Parcel::of("four"));
        guardian.act("commit");
        guardian.act(&format!("finish {R1}"));
        guardian.bye();
        assert_eq!(
            fs::read_to_string(rig.root().join("releases").join(R1).join("version")).unwrap(),
            "theirs"
        );
        rig.assert_tidy();
    });
}

#[test]
fn a_relative_link_is_restored_as_it_was_written() {
    each_shell(|rig| {
        for link in [format!("releases/{R1}"), format!("./releases/{R1}/")] {
            let _ = fs::remove_dir_all(rig.root());
            capistrano(rig, &link);
            let mut guardian = Guardian::locked(rig, rig.settings("t1"));
            guardian.switch(R2, &Parcel::of("two"));
            assert_eq!(rig.live().as_deref(), Some(R2));
            guardian.ask("revert").ok();
            guardian.bye();
            assert_eq!(rig.current(), Some(link));
            assert_eq!(fs::read_to_string(rig.root().join("current/version")).unwrap(), "theirs");
            rig.assert_tidy();
        }
    });
}

#[test]
fn a_directory_in_the_place_of_current_is_refused_and_kept() {
    each_shell(|rig| {
        fs::create_dir_all(rig.root().join("current")).unwrap();
        fs::write(rig.root().join("current/precious"), "beans").unwrap();
        let mut guardian = Guardian::start(rig, rig.settings("t1"));
        let says = guardian.ask("preflight").ok();
        assert!(format!("{says:?}").contains("real directory"), "{says:?}");
        guardian.ask("lock").ok();
        guardian.ready(R1, &Parcel::of("one"));
        guardian.ask("activate").failed(1);
        assert!(guardian.written("activate").contains("real directory"));
        guardian.ask("revert").ok();
        guardian.bye();
        assert_eq!(fs::read_to_string(rig.root().join("current/precious")).unwrap(), "beans");
        rig.assert_tidy();
    });
}

#[test]
fn a_link_that_somebody_else_changed_meanwhile_is_not_switched() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.ready(R2, &Parcel::of("two"));
        let theirs = rig.root().join("releases/theirs");
        fs::create_dir(&theirs).unwrap();
        fs::remove_file(rig.root().join("current")).unwrap();
        symlink(&theirs, rig.root().join("current")).unwrap();
        guardian.ask("activate").failed(1);
        assert!(guardian.written("activate").contains("changed by somebody else"));
        guardian.ask("revert").ok();
        guardian.bye();
        assert_eq!(rig.current().as_deref(), theirs.to_str());
    });
}

#[test]
fn a_link_that_a_person_mended_after_a_crash_is_not_undone() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.switch(R2, &Parcel::of("two"));
        guardian.kill();
        let theirs = rig.root().join("releases/theirs");
        fs::create_dir(&theirs).unwrap();
        fs::remove_file(rig.root().join("current")).unwrap();
        symlink(&theirs, rig.root().join("current")).unwrap();
        let mut guardian = Guardian::start(rig, rig.settings("t3"));
        let says = guardian.ask("lock").ok();
        assert!(format!("{says:?}").contains("by somebody else"), "{says:?}");
        guardian.bye();
        assert_eq!(rig.current().as_deref(), theirs.to_str());
        rig.assert_tidy();
    });
}
