//! Several checks, and when each is asked: until it is clear, once, and before the switch.

use std::fs;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use super::Host;
use super::Shell;
use super::environment;
use super::shells;
use crate::config::Health;
use crate::config::Probe;
use crate::config::Supervisor;

fn command(text: &str) -> Health {
    let probe = Probe::Command(text.to_owned());
    Health { timeout: Duration::from_secs(2), ..Health::of(probe) }
}

/// A host whose release 1 is live and is asked these.
fn host_asked(shell: Shell, checks: Vec<Health>) -> Host {
    let host = Host::new(shell);
    let mut env = environment(Supervisor::None);
    env.health = checks;
    host.prepare("1", &[], &env);
    host.switch("1");
    host
}

/// A command that writes a line into `log` each time, and then does what follows.
fn noted(dir: &Path, log: &str, then: &str) -> String {
    format!("echo x >>{}; {then}", dir.join(log).display())
}

fn lines(host: &Host, log: &str) -> usize {
    fs::read_to_string(host.dir.path().join(log)).unwrap_or_default().lines().count()
}

#[test]
fn all_checks_have_to_pass_and_the_one_that_does_not_is_named() {
    for shell in shells() {
        let passing = host_asked(shell, vec![command("true"), command("true")]);
        passing.call("1", "app_verify").assert_ok();
        let failing =
            host_asked(shell, vec![command("true"), command("echo no database; exit 3"), command("exit 4")]);
        let answer = failing.call("1", "app_verify");
        assert_eq!(
            answer.failure(),
            "health check 2 of 3 (echo no database; exit 3) did not pass within 2 s. The last answer: the health command ended with status 3: no database",
            "{shell:?} {answer:?}"
        );
    }
}

#[test]
fn a_check_has_to_pass_as_often_in_a_row_as_it_says() {
    for shell in shells() {
        let host = Host::new(shell);
        let dir = host.dir.path().to_owned();
        // Well, well, not well, and well from then on.
        let count = dir.join("log").display().to_string();
        let then = format!("[ $(grep -c x {count}) != 3 ]");
        let mut env = environment(Supervisor::None);
        let timeout = Duration::from_secs(30);
        env.health = vec![Health { successes: 3, timeout, ..command(&noted(&dir, "log", &then)) }];
        host.prepare("1", &[], &env);
        host.switch("1");
        host.call("1", "app_verify").assert_ok();
        // The last question comes when everything else is clear.
        assert_eq!(lines(&host, "log"), 7, "{shell:?}");
        // What was well has to be well, and no more.
        host.call("1", "app_recheck").assert_ok();
        assert_eq!(lines(&host, "log"), 9, "{shell:?}");
    }
}

#[test]
fn too_few_good_answers_in_a_row_are_told() {
    let host = Host::new(Shell::Dash);
    let dir = host.dir.path().to_owned();
    let even = format!("[ $(($(grep -c x {}) % 2)) = 1 ]", dir.join("log").display());
    let mut env = environment(Supervisor::None);
    env.health = vec![Health { successes: 2, ..command(&noted(&dir, "log", &even)) }];
    host.prepare("1", &[], &env);
    host.switch("1");
    let answer = host.call("1", "app_verify");
    assert!(answer.failure().starts_with("the health check did not pass within 2 s. "), "{answer:?}");
}

#[test]
fn the_first_question_waits_for_the_delay_and_not_when_it_is_asked_again() {
    for shell in shells() {
        let host = host_asked(shell, vec![Health { delay: Duration::from_secs(2), ..command("true") }]);
        let started = Instant::now();
        host.call("1", "app_verify").assert_ok();
        assert!(started.elapsed() >= Duration::from_millis(1900), "{shell:?} {:?}", started.elapsed());
        let answer = host.call(
            "1",
            "app_again=1; app_clock; app_began=$app_fine; probe_begin; echo $((probe_next_1 - app_began))",
        );
        assert_eq!(answer.output, "0", "{shell:?} {answer:?}");
    }
}

#[test]
fn all_checks_asked_once_are_well_or_not_or_cannot_be_asked() {
    for shell in shells() {
        let ask = |checks: Vec<Health>| {
            let answer =
                host_asked(shell, checks).call("1", "said=$(probe_all); echo \"$? $said\"").assert_ok();
            answer.output
        };
        assert_eq!(ask(vec![command("true"), command("true")]), "0 ", "{shell:?}");
        assert_eq!(ask(vec![]), "2 ", "{shell:?}");
        let alone = ask(vec![command("exit 3")]);
        assert_eq!(alone, "1 the health command ended with status 3: ", "{shell:?}");
        let second = ask(vec![command("true"), command("exit 3")]);
        let expected = "1 health check 2 of 2 (exit 3): the health command ended with status 3: ";
        assert_eq!(second, expected, "{shell:?}");
    }
}

#[test]
fn a_recipe_that_an_earlier_build_wrote_is_asked_as_ever() {
    for shell in shells() {
        let host = host_asked(shell, vec![]);
        host.write(host.recipe("1").join("health"), "kind=command\ntimeout=2\ninterval=1\n");
        host.write(host.recipe("1").join("health-command"), "echo broken; exit 1\n");
        let answer = host.call("1", "app_verify");
        let expected = "the health check did not pass within 2 s. The last answer: the health command ended with status 1: broken";
        assert_eq!(answer.failure(), expected, "{shell:?}");
        let defaults = "probe_load 1; echo $probe_status $probe_successes $probe_delay";
        assert_eq!(host.call("1", defaults).assert_ok().output, "200-399 1 0", "{shell:?}");
    }
}

#[test]
fn a_check_that_does_not_pass_before_the_switch_is_said_then_and_when_it_fails() {
    for shell in shells() {
        let host = host_asked(shell, vec![command("true"), command("echo wrong page; exit 1")]);
        let answer = host.call("1", "probe_before; probe_told").assert_ok();
        let expected = "note health check 2 of 2 (echo wrong page; exit 1) does not pass with the release that runs now either: the health command ended with status 1: wrong page. If the deploy fails by it, look at the check itself first";
        assert_eq!(answer.said, [expected], "{shell:?}");
        let told = "wrong page. It did not pass before the switch either, with the release that ran then: the check itself may be wrong";
        let failed = host.call("1", "app_verify");
        assert!(failed.failure().ends_with(told), "{shell:?} {failed:?}");
        // What is put back has its own check, which nobody asked.
        let back = host.call_with("1", "app_verify", &[("REVERT", "1")]);
        assert!(back.failure().ends_with("wrong page"), "{shell:?} {back:?}");
    }
}

#[test]
fn a_check_that_passes_or_takes_its_time_before_the_switch_is_not_spoken_of() {
    for shell in shells() {
        let host = host_asked(shell, vec![command("true"), command("sleep 60; exit 1")]);
        let started = Instant::now();
        let answer = host.call("1", "probe_before; probe_told").assert_ok();
        assert_eq!(answer.said, Vec::<String>::new(), "{shell:?}");
        assert!(started.elapsed() < Duration::from_secs(30), "{shell:?}");
    }
}
