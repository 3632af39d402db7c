//! Signals, descriptors, command lines: what the guardian and its children are to the rest of the host.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use rustix::process::kill_process_group;

use super::hooks::add_hook;
use super::*;
use crate::host::agent;

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
        Arc::make_mut(&mut settings.environment).vars = [("KEY".to_owned(), secret.to_owned())].into();
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

/// The process that does the actions, by the name of its entry in the register.
fn worker(rig: &Rig, name: &str) -> i32 {
    let entries = rig::names(&rig.private("run/t1/pg"));
    let entry = entries.iter().find(|entry| entry.split('.').next() == Some(name)).unwrap();
    entry.split('.').nth(1).unwrap().parse().unwrap()
}

/// What lives in the session of that number.
fn session(number: i32) -> Vec<i32> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let words: Vec<&str> = rest.split(' ').collect();
        if words[3] == number.to_string() && !matches!(words[0], "Z" | "X") {
            members.push(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    members
}

#[test]
fn actions_that_follow_on_each_other_are_one_process_and_another_follows_a_dead_one() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.ready(R1, &Parcel::of("one"));
        let first = worker(rig, "w1");
        guardian.act("ready");
        assert_eq!(worker(rig, "w1"), first);
        kill_process(pid(first), Signal::KILL).unwrap();
        until("the worker to be gone", || session(first).is_empty());
        guardian.act("activate");
        let second = worker(rig, "w2");
        guardian.act("commit");
        guardian.act("finish");
        guardian.bye();
        assert_eq!(session(second), [0; 0]);
        assert_eq!(rig.live().as_deref(), Some(R1));
        rig.assert_tidy();
    });
}

#[test]
fn a_worker_with_nothing_to_do_ends_with_its_guardian() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.ready(R1, &Parcel::of("one"));
        let worker = worker(rig, "w1");
        kill_process(pid(guardian.pid()), Signal::KILL).unwrap();
        guardian.hang_up();
        assert!(!guardian.child.wait().unwrap().success());
        until("the worker to end", || session(worker).is_empty());
        Guardian::locked(rig, rig.settings("t2")).deploy(R2, &Parcel::of("two"));
        rig.assert_tidy();
    });
}

#[test]
fn an_action_that_is_killed_is_noticed() {
    each_shell(|rig| {
        let mut settings = rig.command_settings("t1");
        Arc::make_mut(&mut settings.environment).settle = std::time::Duration::from_secs(600);
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R1, &Parcel::of("one"));
        let activate = guardian.send("activate");
        until("the app to run", || rig.state("app.pid").exists());
        let worker = worker(rig, "w1");
        kill_process(pid(worker), Signal::KILL).unwrap();
        guardian.answer(activate).failed(137);
        // What it was a part of does not go on while something else is asked for.
        assert_eq!(session(worker), [0; 0]);
        guardian.ask("revert").ok();
        guardian.bye();
        rig.assert_tidy();
    });
}

/// A daemon in the making is stopped in its parent's family, and is in nobody's when its parent has ended.
#[test]
fn what_was_stopped_on_the_way_out_of_a_family_is_ended_with_it() {
    each_shell(|rig| {
        let mut members: Vec<_> =
            (0..2).map(|_| Command::new("sleep").arg("1000").spawn().unwrap()).collect();
        let [first, second] = [members[0].id(), members[1].id()];
        let looks = rig.state("looks");
        let script = format!(
            "{}\nfamily() {{
                printf 'look\\n' >>{looks}
                case $(wc -l <{looks}) in
                    1) echo {first}; echo {second} ;;
                    2 | 3) echo {first} ;;
                esac
            }}
            read_stat {first}
            end_family {first} $stat_start\n",
            agent::AGENT.rsplit_once("\nset -u\n").unwrap().0,
            looks = looks.display(),
        );
        let file = rig.state("script");
        fs::write(&file, script).unwrap();
        let ended = rig.command(&format!("sh {}", file.display())).status().unwrap();
        // Before anything is asserted: a stopped one would be there for ever.
        let is_stopped = |id: u32| fs::read_to_string(format!("/proc/{id}/stat")).unwrap().contains(") T ");
        let stopped = [first, second].map(is_stopped);
        for member in &mut members {
            member.kill().unwrap();
            member.wait().unwrap();
        }
        assert_eq!((ended.success(), stopped), (true, [false, false]));
    });
}
