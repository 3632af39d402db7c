//! A disk that is full: whatever fails for it, the way back does not.

use std::fs;
use std::io::Write;
use std::process::Command;

use super::parcel::Item;
use super::*;
use crate::testing::skip;

/// A file system of one MiB at `deploy_to`.
struct Disk<'a>(&'a Rig);

impl<'a> Disk<'a> {
    fn mount(rig: &'a Rig) -> Option<Self> {
        fs::create_dir_all(rig.root()).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "rdeploy-test"])
            .arg(rig.root())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(rig)),
            _ => {
                skip("a full disk: mounting a small file system takes root");
                None
            }
        }
    }

    /// Leaves not a byte.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.root().join("shared/beans")).unwrap();
        for size in [65536, 4096, 512, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.root()).status();
    }
}

#[test]
fn a_disk_that_fills_up_during_the_upload_leaves_what_ran_before() {
    each_shell(|rig| {
        let Some(_disk) = Disk::mount(rig) else { return };
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let big: Vec<u8> = (0..900_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let parcel = Parcel::new(&[(b"big", Item::File(big))]);
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.begin(&guardian::attempt(rig, R2, &parcel));
        let sent = guardian.receive(&parcel);
        assert_ne!(sent.code, Some(0));
        assert!(sent.output.starts_with("the disk is full: 0 KiB are free"), "{}", sent.output);
        guardian.ask("revert").ok();
        guardian.bye();
        assert_eq!(rig.live().as_deref(), Some(R1));
        rig.assert_tidy();
    });
}

#[test]
fn a_disk_that_is_full_when_the_release_is_prepared_leaves_what_ran_before() {
    each_shell(|rig| {
        let Some(disk) = Disk::mount(rig) else { return };
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let parcel = Parcel::of("two");
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.begin(&guardian::attempt(rig, R2, &parcel));
        guardian.upload(&parcel);
        disk.fill();
        assert_ne!(guardian.ask("prepare").code, Some(0));
        let said = guardian.written("prepare");
        assert!(said.contains("\nthe disk is full: 0 KiB are free at "), "{said}");
        guardian.ask("revert").ok();
        guardian.bye();
        assert_eq!(rig.live().as_deref(), Some(R1));
        assert_eq!(rig.releases(), [R1]);
        rig.assert_tidy();
    });
}

#[test]
fn a_disk_that_fills_up_after_everything_was_prepared_does_not_stop_the_way_back() {
    each_shell(|rig| {
        let Some(disk) = Disk::mount(rig) else { return };
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut settings = rig.command_settings("t2");
        let log = rig.state("undone").display().to_string();
        hooks::add_hook(&mut settings, "true", Some(&format!("echo undone >>{log}")));
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R2, &Parcel::of("two"));
        assert_eq!(guardian.beside("hook", &["1"], b"").code, Some(0));
        disk.fill();
        // Perhaps it can be switched, perhaps not.
        let _ = guardian.ask("activate");
        let answer = guardian.ask("revert");
        assert_eq!(answer.code, Some(0), "{:?} {}", answer.says, guardian.written("revert"));
        assert_eq!((rig.live().as_deref(), revert::app_runs_from(rig).as_str()), (Some(R1), R1));
        assert_eq!(rig.state_lines("undone"), ["undone"]);
        assert_eq!(rig.release_state(R2).as_deref(), Some("failed"));
        guardian.bye();
        assert!(!rig.private("lock").exists());
    });
}

#[test]
fn a_disk_that_fills_up_after_the_switch_does_not_stop_an_unattended_way_back() {
    each_shell(|rig| {
        let Some(disk) = Disk::mount(rig) else { return };
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, rig.command_settings("t2"));
        guardian.switch(R2, &Parcel::of("two"));
        disk.fill();
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!((rig.live().as_deref(), revert::app_runs_from(rig).as_str()), (Some(R1), R1));
        assert!(!rig.private("lock").exists());

        // And where the guardian died too, the next one may need some room, but then it does it.
        fs::remove_file(rig.root().join("shared/beans")).unwrap();
        let mut guardian = Guardian::locked(rig, rig.command_settings("t3"));
        guardian.switch(R3, &Parcel::of("three"));
        guardian.kill();
        disk.fill();
        let mut next = Guardian::start(rig, rig.command_settings("t4"));
        let says = next.ask("lock").failed(1);
        assert!(format!("{says:?}").contains("is the disk full?"), "{says:?}");
        assert_eq!(rig.live().as_deref(), Some(R3));
        fs::remove_file(rig.root().join("shared/beans")).unwrap();
        next.ask("lock").ok();
        assert_eq!((rig.live().as_deref(), revert::app_runs_from(rig).as_str()), (Some(R1), R1));
        next.bye();
    });
}

#[test]
fn a_full_disk_at_the_lock_is_said_and_leaves_nothing() {
    each_shell(|rig| {
        let Some(disk) = Disk::mount(rig) else { return };
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        disk.fill();
        let mut guardian = Guardian::start(rig, rig.settings("t2"));
        let says = guardian.ask("lock").failed(1);
        assert!(format!("{says:?}").contains("is the disk full?"), "{says:?}");
        guardian.bye();
        rig.assert_tidy();
    });
}
