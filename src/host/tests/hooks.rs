//! The user's commands: what they see, in which order they are undone, and that they are gone before.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::Hook;
use crate::host::settings::HookScript;
use crate::host::settings::SessionSettings;

pub(super) fn add_hook(settings: &mut SessionSettings, run: &str, undo: Option<&str>) {
    add_hook_at("after_unpack", settings, run, undo);
}

/// The same, at another point; each host's own.
pub(super) fn add_hook_at(
    point: &'static str,
    settings: &mut SessionSettings,
    run: &str,
    undo: Option<&str>,
) {
    let hook = Hook {
        run: run.to_owned(),
        roles: Vec::new(),
        once: false,
        dir: None,
        timeout: Duration::from_secs(60),
        on_deploy: true,
        on_rollback: false,
        undo: undo.map(str::to_owned),
    };
    let number = settings.hooks.len() + 1;
    settings.hooks.push(HookScript { number, point, hook });
}

#[test]
fn a_hook_sees_the_release_and_the_variables_unchanged() {
    each_shell(|rig| {
        let mut settings = rig.settings("t1");
        // Also such as are named like the agent's own.
        let vars = [
            ("QUOTES", "it's \"quoted\" `id` $(id) $HOME \\"),
            ("LINES", "one\n  two\n\nfour"),
            ("RUN", "mine"),
            ("ROOT", "/nowhere"),
            ("RELEASE", "mine too"),
            ("ENV", "x"),
            ("PRIVATE", ""),
        ];
        Arc::make_mut(&mut settings.environment).vars =
            vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let out = rig.state("seen").display().to_string();
        add_hook(
            &mut settings,
            &format!(
                "for n in QUOTES LINES RUN ROOT RELEASE ENV PRIVATE; do eval \"printf '%s\\0' \\\"\\$$n\\\"\"; done >{out}"
            ),
            None,
        );
        add_hook(
            &mut settings,
            "echo \"$RDEPLOY_RELEASE $RDEPLOY_PREVIOUS_RELEASE. $RDEPLOY_ENV $RDEPLOY_HOST $RDEPLOY_ROLES\"; pwd; umask; echo \"${TOKEN-no token} ${LC_ALL-no locale}\"; cat pages/index.html",
            None,
        );
        settings.hooks[1].hook.dir = None;
        add_hook(&mut settings, "pwd; exit 7", None);
        settings.hooks[2].hook.dir = Some("pages".into());
        let mut guardian = Guardian::locked(rig, settings);
        let parcel = Parcel::of("one");
        guardian.begin(&guardian::attempt(rig, R1, &parcel));
        guardian.upload(&parcel);
        guardian.act("prepare");

        assert_eq!(guardian.beside("hook", &["1"], b"").code, Some(0));
        let seen = fs::read_to_string(rig.state("seen")).unwrap();
        let seen: Vec<&str> = seen.split_terminator('\0').collect();
        assert_eq!(seen, vars.map(|(_, value)| value));

        let release = rig.root().join("releases").join(R1);
        let hook = guardian.beside("hook", &["2"], b"");
        assert_eq!(hook.code, Some(0), "{}", hook.output);
        let expected = format!("{R1} . prod h *\n{}\n0022\nno token no locale\none", release.display());
        assert_eq!(hook.output, expected);

        let hook = guardian.beside("hook", &["3"], b"");
        assert_eq!((hook.code, hook.output.trim()), (Some(7), release.join("pages").to_str().unwrap()));
        guardian.bye();
    });
}

#[test]
fn hooks_that_completed_are_undone_in_reverse_order_and_once() {
    each_shell(|rig| {
        let log = rig.state("undone").display().to_string();
        let mut settings = rig.settings("t1");
        for n in 1..=12 {
            add_hook(
                &mut settings,
                &format!("exit {}", u8::from(n == 11)),
                Some(&format!("echo {n} >>{log}")),
            );
        }
        add_hook(&mut settings, "true", None);
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R1, &Parcel::of("one"));
        // Not in the order of their numbers; the eleventh fails, so it did not complete.
        for n in [3, 1, 12, 10, 11, 13, 2] {
            guardian.beside("hook", &[&n.to_string()], b"");
        }
        guardian.ask("revert").ok();
        assert_eq!(rig.state_lines("undone"), ["2", "10", "12", "1", "3"]);
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn an_undo_that_fails_is_named_and_the_others_run_all_the_same() {
    each_shell(|rig| {
        let log = rig.state("undone").display().to_string();
        let mut settings = rig.settings("t1");
        add_hook(&mut settings, "true", Some(&format!("echo 1 >>{log}")));
        add_hook(&mut settings, "true", Some("exit 3"));
        add_hook(&mut settings, "true", Some(&format!("echo 3 >>{log}")));
        let mut guardian = Guardian::locked(rig, settings);
        guardian.ready(R1, &Parcel::of("one"));
        for n in ["1", "2", "3"] {
            assert_eq!(guardian.beside("hook", &[n], b"").code, Some(0));
        }
        guardian.ask("revert").failed(1);
        assert!(
            guardian.written("revert").contains("undo of a hook failed: exit 3"),
            "{}",
            guardian.written("revert")
        );
        assert_eq!(rig.state_lines("undone"), ["3", "1"]);
        guardian.bye();
    });
}

/// A hook that has background children, one of them in a group of its own, and then waits; and one, done
/// before, whose undo tells which of those processes live.
fn with_a_waiting_hook(rig: &Rig) -> SessionSettings {
    let mut settings = rig.settings("t1");
    let state = rig.state("").display().to_string();
    add_hook(
        &mut settings,
        "true",
        Some(&format!(
            "for p in $(cat {state}pids); do case $(sed 's/.*) //' /proc/$p/stat 2>/dev/null) in ''|Z*) ;; *) echo \"alive: $p\";; esac; done >{state}undone; echo checked >>{state}undone"
        )),
    );
    add_hook(
        &mut settings,
        &format!(
            "trap '' TERM HUP; echo $$ >{state}pids; sleep 800 & echo $! >>{state}pids; setsid sh -c 'echo $$ >>{state}pids; sleep 801' & timeout 802 sh -c 'echo $$ >>{state}pids; echo up >{state}up; exec sleep 802'"
        ),
        None,
    );
    settings
}

#[test]
fn a_running_hook_is_gone_with_its_background_children_before_the_undo() {
    each_shell(|rig| {
        for hang_up in [true, false] {
            let _ = fs::remove_dir_all(rig.root());
            for file in ["pids", "up", "undone"] {
                let _ = fs::remove_file(rig.state(file));
            }
            let mut guardian = Guardian::locked(rig, with_a_waiting_hook(rig));
            guardian.switch(R1, &Parcel::of("one"));
            assert_eq!(guardian.beside("hook", &["1"], b"").code, Some(0));
            let hook = guardian.start_beside("hook", &["2"]);
            until("the hook to wait", || rig.state("up").exists() && rig.state_lines("pids").len() == 4);
            if hang_up {
                guardian.hang_up();
                until("the undo", || rig.state_lines("undone").len() == 1);
                assert!(guardian.child.wait().unwrap().success());
            } else {
                guardian.ask("revert").ok();
                guardian.bye();
            }
            assert_eq!(guardian::finish(hook).code, None, "it was killed");
            assert_eq!(rig.state_lines("undone"), ["checked"]);
            assert_eq!(rig.current(), None);
            rig.assert_tidy();
        }
    });
}

#[test]
fn a_hook_that_takes_too_long_can_be_ended_alone() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, with_a_waiting_hook(rig));
        guardian.ready(R1, &Parcel::of("one"));
        let hook = guardian.start_beside("hook", &["2"]);
        until("the hook to wait", || rig.state("up").exists() && rig.state_lines("pids").len() == 4);
        guardian.ask("kill hook").ok();
        assert_eq!(guardian::finish(hook).code, None);
        until("its children to be gone", || {
            !rig.processes().iter().any(|(_, line)| line.contains("sleep 80"))
        });
        guardian.ask("hb").ok();
        guardian.ask("revert").ok();
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn nothing_starts_beside_a_guardian_that_puts_back_or_is_gone() {
    each_shell(|rig| {
        let log = rig.state("ran").display().to_string();
        let mut settings = rig.settings("t1");
        add_hook(&mut settings, &format!("echo ran >>{log}"), None);
        let undo = rig.fifo("undo");
        add_hook(&mut settings, "true", Some(&format!("cat {}", undo.display())));
        add_hook_at("on_failure", &mut settings, &format!("echo mourned >>{log}"), None);
        let parcel = Parcel::of("one");
        let mut guardian = Guardian::locked(rig, settings);
        guardian.switch(R1, &parcel);
        assert_eq!(guardian.beside("hook", &["2"], b"").code, Some(0));
        // The revert hangs in an undo until somebody writes into the FIFO.
        let revert = guardian.send("revert");
        let writer = fs::OpenOptions::new().write(true).open(&undo).unwrap();
        for beside in [guardian.beside("hook", &["1"], b""), guardian.receive(&parcel)] {
            assert_eq!(beside.code, Some(1), "{}", beside.output);
            assert!(beside.output.contains("nothing was done"), "{}", beside.output);
        }
        drop(writer);
        guardian.answer(revert).ok();
        // Put back, the client may run what it has for that case.
        assert_eq!(guardian.beside("hook", &["3"], b"").code, Some(0));
        assert_eq!(guardian.beside("hook", &["1"], b"").code, Some(1));
        guardian.ask("bye").ok();
        assert_ne!(guardian.beside("hook", &["3"], b"").code, Some(0));
        assert_eq!(rig.state_lines("ran"), ["mourned"]);
        rig.assert_tidy();
    });
}

#[test]
fn what_a_hook_writes_keeps_its_order() {
    each_shell(|rig| {
        let mut settings = rig.settings("t1");
        add_hook(&mut settings, "echo 1; echo 2 >&2; echo 3; echo 4 >&2", None);
        let guardian = Guardian::locked(rig, settings);
        let hook = guardian.beside("hook", &["1"], b"");
        assert_eq!(hook.output, "1\n2\n3\n4\n");
        guardian.bye();
    });
}
