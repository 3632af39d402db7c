//! Apps that the user's own commands run, with real processes.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use super::Host;
use super::Shell;
use super::environment;
use super::shells;
use crate::config::CommandSupervisor;
use crate::config::Environment;
use crate::config::Health;
use crate::config::Probe;
use crate::config::Supervisor;

/// What it leaves behind keeps its output, which must not be waited for.
const START: &str = "nohup sleep 600 & echo $! >../../pid; echo started";
const STOP: &str = "kill \"$(cat ../../pid)\" && rm ../../pid";
const STATUS: &str = "test -f ../../pid && kill -0 \"$(cat ../../pid)\" && cat ../../pid";

fn commands(restart: Option<&str>) -> Environment {
    environment(Supervisor::Command(CommandSupervisor {
        start: START.to_owned(),
        restart: restart.map(str::to_owned),
        stop: Some(STOP.to_owned()),
        status: Some(STATUS.to_owned()),
        logs: vec![],
    }))
}

/// Ends what a test's app left running.
struct Cleanup<'a>(&'a Host);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        if let Some(pid) = pid(self.0) {
            let _ = std::process::Command::new("kill").arg(pid).status();
        }
    }
}

fn pid(host: &Host) -> Option<String> {
    fs::read_to_string(host.root().join("pid")).ok().map(|text| text.trim().to_owned())
}

fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn an_app_is_started_proven_replaced_and_stopped() {
    for shell in shells() {
        let host = Host::new(shell);
        let _cleanup = Cleanup(&host);
        let env = commands(None);
        host.prepare("1", &[], &env);
        host.call("1", "app_compile && app_record").assert_ok();
        host.switch("1");
        host.call("1", "app_start").assert_ok();
        let first = pid(&host).unwrap();
        assert!(is_alive(&first), "it outlives the action");
        assert!(host.call("1", "app_verify").assert_ok().says("proof proven"), "{shell:?}");
        assert_eq!(host.call("1", "app_pids").assert_ok().output, first);

        host.prepare("2", &[], &env);
        host.call("2", "app_compile && app_record").assert_ok();
        host.switch("2");
        // The old code goes on running: the proof must see it.
        let stale = host.call("2", "app_verify");
        assert!(stale.failure().contains("the old code still runs"), "{stale:?}");
        host.call("2", "app_start").assert_ok();
        let second = pid(&host).unwrap();
        assert!(second != first && !is_alive(&first) && is_alive(&second));
        assert!(host.call("2", "app_verify").assert_ok().says("proof proven"));

        host.call("2", "app_stop").assert_ok();
        assert!(!is_alive(&second));
        host.call("2", "app_stop").assert_ok();
    }
}

#[test]
fn restart_runs_only_when_the_app_is_up() {
    for shell in shells() {
        let host = Host::new(shell);
        let _cleanup = Cleanup(&host);
        let env = commands(Some(&format!("echo again >>../../restarts; {STOP}; {START}")));
        host.prepare("1", &[], &env);
        host.call("1", "app_record").assert_ok();
        host.switch("1");
        host.call("1", "app_start").assert_ok();
        assert!(!host.root().join("restarts").exists());
        host.prepare("2", &[], &env);
        host.call("2", "app_record").assert_ok();
        host.switch("2");
        host.call("2", "app_start").assert_ok();
        assert!(host.root().join("restarts").exists(), "{shell:?}");
        host.call("2", "app_stop").assert_ok();
    }
}

#[test]
fn a_start_command_that_fails_shows_what_it_wrote() {
    for shell in shells() {
        let host = Host::new(shell);
        let mut env = commands(None);
        if let Supervisor::Command(command) = &mut env.supervisor {
            command.start = "echo no such database; exit 3".to_owned();
        }
        host.prepare("1", &[], &env);
        host.call("1", "app_record").assert_ok();
        host.switch("1");
        let answer = host.call("1", "app_start");
        assert!(answer.failure().contains("the start command failed with status 3"), "{answer:?}");
        assert!(answer.output.contains("no such database"));
    }
}

#[test]
fn a_start_command_that_stays_in_the_foreground_is_ended_and_explained() {
    for shell in shells() {
        let host = Host::new(shell);
        let mut env = commands(None);
        if let Supervisor::Command(command) = &mut env.supervisor {
            command.start = "echo $$ >../../pid; sleep 600".to_owned();
        }
        host.prepare("1", &[], &env);
        host.switch("1");
        let answer = host.call("1", "app_open && command_run start 1");
        assert!(answer.failure().contains("did not return within 1 s"), "{answer:?}");
        assert!(!is_alive(&pid(&host).unwrap()), "{shell:?}");
    }
}

#[test]
fn an_app_that_dies_while_it_settles_fails() {
    for shell in shells() {
        let host = Host::new(shell);
        let mut env = commands(None);
        env.settle = Duration::from_secs(3);
        if let Supervisor::Command(command) = &mut env.supervisor {
            command.start = "nohup sleep 1 >/dev/null 2>&1 & echo $! >../../pid".to_owned();
        }
        host.prepare("1", &[], &env);
        host.call("1", "app_record").assert_ok();
        host.switch("1");
        let answer = host.call("1", "app_start && app_verify");
        let reason = answer.failure();
        assert!(reason.contains("the app is not up") || reason.contains("has ended"), "{answer:?}");
    }
}

#[test]
fn a_health_command_sees_the_apps_variables_and_decides() {
    for shell in shells() {
        let host = Host::new(shell);
        let _cleanup = Cleanup(&host);
        let mut env = commands(None);
        env.vars.insert("WANTED".to_owned(), "yes".to_owned());
        let probe = Probe::Command("test \"$WANTED\" = yes || { echo not wanted; exit 4; }".to_owned());
        env.health = vec![Health { timeout: Duration::from_secs(2), ..Health::of(probe) }];
        host.prepare("1", &[], &env);
        host.call("1", "app_record").assert_ok();
        host.switch("1");
        host.call("1", "app_start && app_verify").assert_ok();
        env.vars.insert("WANTED".to_owned(), "no".to_owned());
        host.write_recipe("1", &env);
        let answer = host.call("1", "app_verify");
        assert!(answer.failure().contains("status 4: not wanted"), "{answer:?}");
        host.call("1", "app_stop").assert_ok();
    }
}

#[test]
fn what_ran_before_an_adopted_tree_runs_again_after_a_failed_first_deploy() {
    let host = Host::new(Shell::Dash);
    let _cleanup = Cleanup(&host);
    let env = commands(None);
    host.prepare("1", &[], &env);
    host.switch("1");
    host.call("1", "app_start").assert_ok();
    let before = pid(&host).unwrap();
    host.prepare("2", &[], &env);
    // Before anything was recorded there is nothing to put back.
    host.call("2", "app_restore").assert_ok();
    assert_eq!(pid(&host).as_deref(), Some(before.as_str()));
    host.call("2", "app_record").assert_ok();
    host.switch("2");
    host.call("2", "app_start").assert_ok();
    host.switch("1");
    host.call("2", "app_restore").assert_ok();
    let after = pid(&host).unwrap();
    assert!(after != before && is_alive(&after));
    let cwd = fs::read_link(format!("/proc/{after}/cwd")).unwrap();
    assert_eq!(cwd, host.release("1").canonicalize().unwrap());
}

#[test]
fn the_settle_time_is_never_shorter_than_it_says() {
    for shell in shells() {
        let host = Host::new(shell);
        let _cleanup = Cleanup(&host);
        let env = commands(None);
        host.prepare("1", &[], &env);
        host.call("1", "app_record").assert_ok();
        host.switch("1");
        let began = Instant::now();
        host.call("1", "app_start && app_verify").assert_ok();
        // Seconds that are rounded down would let it pass at the turn of the second.
        assert!(began.elapsed() >= env.settle, "{shell:?}: {:?}", began.elapsed());
        host.call("1", "app_stop").assert_ok();
    }
}
