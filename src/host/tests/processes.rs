//! Signals, descriptors, command lines: what the guardian and its children are to the rest of the host.

use std::fs;
use std::io::Write;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use rustix::process::kill_process_group;

use super::hooks::add_hook;
use super::*;

fn pid(pid: i32) -> Pid {
    Pid::from_raw(pid).unwrap()
}

#[test]
fn signals_of_a_closing_session_do_not_end_a_guardian() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.ready(R2, &Parcel::of("two"));
        let group = pid(guardian.pid());
        for n in 0..200 {
            let signal = [Signal::HUP, Signal::TERM, Signal::INT, Signal::PIPE][n % 4];
            kill_process(group, signal).unwrap();
            guardian.ask("hb").ok();
        }
        // And what logind does: every process of the session.
        for signal in [Signal::TERM, Signal::HUP] {
            kill_process_group(group, signal).unwrap();
        }
        guardian.ask("hb").ok();
        guardian.act("activate");
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!(rig.live().as_deref(), Some(R1));
        rig.assert_tidy();
    });
}

#[test]
fn what_a_deploy_starts_ignores_no_signal_and_holds_no_descriptor_of_the_guardian() {
    each_shell(|rig| {
        let out = rig.state("status").display().to_string();
        let mut settings = rig.command_settings("t1");
        let look = format!("grep -h SigIgn /proc/self/status >>{out}");
        add_hook(&mut settings, &look, Some(&look));
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R1, &Parcel::of("one"));
        assert_eq!(guardian.beside("hook", &["1"], b"").code, Some(0));
        guardian.act("activate");
        let app: i32 = fs::read_to_string(rig.state("app.pid")).unwrap().trim().parse().unwrap();
        let open = |fd: i32| fs::read_link(format!("/proc/{app}/fd/{fd}")).ok();
        // What the tests themselves were started with is nobody's.
        let held: Vec<_> = (3..20).filter_map(open).filter(|file| !file.starts_with("/dev")).collect();
        assert!(held.is_empty(), "{held:?}");
        // The start command itself used `nohup` and `&`.
        kill_process(pid(app), Signal::TERM).unwrap();
        until("SIGTERM to end the app", || !rig.processes().iter().any(|(pid, _)| *pid == app));
        guardian.ask("revert").ok();
        guardian.bye();
        let ignored = rig.state_lines("status");
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let own = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
        let own = u64::from_str_radix(own, 16).unwrap();
        assert_eq!(ignored.len(), 2);
        for line in ignored {
            let mask = u64::from_str_radix(line.trim_start_matches("SigIgn:\t"), 16).unwrap();
            // What whoever runs the tests ignores is inherited; from 32 on they belong to the C library.
            assert_eq!(mask & !own & 0x7fff_ffff, 0, "{line}");
        }
    });
}

#[test]
fn secrets_are_in_no_command_line() {
    each_shell(|rig| {
        let fifo = rig.fifo("wait");
        let mut settings = rig.settings("t1");
        let secret = "beans-and-more-beans";
        settings.environment.vars = [("KEY".to_owned(), secret.to_owned())].into();
        add_hook(&mut settings, &format!("cat {} >/dev/null; [ \"$KEY\" = {secret} ]", fifo.display()), None);
        let nobody_shows_it = || {
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                // The hook's own text, which a user wrote, is in a file as well.
                assert!(!line.contains(secret), "{line}");
            }
        };
        let mut guardian = Guardian::start(rig, settings);
        guardian.ask("preflight").ok();
        guardian.ask("lock").ok();
        nobody_shows_it();
        guardian.ready(R1, &Parcel::of("one"));
        let hook = guardian.start_beside("hook", &["1"]);
        let mut wait = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        nobody_shows_it();
        wait.write_all(b"go").unwrap();
        drop(wait);
        assert_eq!(guardian::finish(hook).code, Some(0));
        let activate = guardian.send("activate");
        nobody_shows_it();
        guardian.answer(activate).ok();
        guardian.act("commit");
        guardian.act("finish");
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn settings_with_secrets_are_not_left_behind_before_the_lock() {
    each_shell(|rig| {
        let mut guardian = Guardian::start(rig, rig.settings("t1"));
        guardian.ask("hb").ok();
        assert_eq!(rig::names(&rig.tmp()).len(), 1);
        guardian.hang_up();
        assert!(guardian.child.wait().is_ok());
        assert_eq!(rig::names(&rig.tmp()), [""; 0]);
        assert!(!rig.root().exists());
        // Killed by its session: the same. (A shell may finish its read first, which the end of input does.)
        let mut guardian = Guardian::start(rig, rig.settings("t2"));
        guardian.ask("hb").ok();
        kill_process(pid(guardian.pid()), Signal::HUP).unwrap();
        guardian.hang_up();
        assert!(guardian.child.wait().is_ok());
        assert_eq!(rig::names(&rig.tmp()), [""; 0]);
    });
}

#[test]
fn an_action_that_is_killed_is_noticed() {
    each_shell(|rig| {
        let mut settings = rig.command_settings("t1");
        settings.environment.settle = std::time::Duration::from_secs(600);
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R1, &Parcel::of("one"));
        let activate = guardian.send("activate");
        until("the app to run", || rig.state("app.pid").exists());
        let entries = rig::names(&rig.private("run/t1/pg"));
        let entry = entries.iter().find(|name| !name.starts_with("command.")).unwrap();
        let number = entry.split('.').nth(1).unwrap().parse().unwrap();
        kill_process(pid(number), Signal::KILL).unwrap();
        guardian.answer(activate).failed(137);
        guardian.ask("revert").ok();
        guardian.bye();
        rig.assert_tidy();
    });
}
