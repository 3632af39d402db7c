//! The fault matrix on real guardians: every place that a deploy, a rollback, a revert and a recovery come by × every
//! fault × the first and the last of three hosts, and one that is alone. Client and hosts are processes of their own.
//!
//! The places are those that a run without a fault was seen to come by, so that a new step has its cases
//! by itself. A plain run takes a part of the cases, spread over places, faults, hosts and shells, and
//! `RDEPLOY_TEST_FULL=1` takes them all, under both shells. `src/deploy/tests/matrix.rs` is the same on
//! scripted hosts.
//!
//! | file | owns |
//! |---|---|
//! | `agent` | the places at which a fault can strike |
//! | `hosts`, `wire` | three hosts in a process of their own; the network to them |
//! | `site` | a project on them, and what makes a fault strike |
//! | `case` | one case, and what has to hold after it |

mod agent;
mod case;
mod hosts;
mod site;
mod wire;

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Mutex;

use case::Case;
use case::Fault;
use case::Story;
use hosts::Shell;
use site::Site;

use crate::support::find_program;
use crate::support::skip;

/// How many hosts of one shell are worked on at a time.
const WORKERS: usize = 2;

/// Of a plain run: at least so many cases in all, and so many under each shell.
const AT_LEAST: usize = 120;

fn missing() -> Option<String> {
    let missing = Shell::ALL.iter().find(|shell| find_program(shell.program()).is_none())?;
    Some(format!("there is no {}", missing.program()))
}

fn is_full() -> bool {
    std::env::var("RDEPLOY_TEST_FULL").is_ok_and(|value| value == "1")
}

/// Whether somebody looks into some cases: those that have these words in their description.
fn chosen_words() -> Option<String> {
    std::env::var("RDEPLOY_TEST_CASE").ok()
}

/// Every case of these stories, from what they come by.
fn cases(stories: &[Story]) -> Vec<Case> {
    let site = Site::new(Shell::Dash);
    let mut cases = Vec::new();
    for story in stories {
        for (host, places) in story.places(&site) {
            for place in places {
                let case = |fault| Case { story: *story, place: place.clone(), fault, host };
                cases.extend(Fault::ALL.map(case).into_iter().filter(Case::is_possible));
            }
        }
    }
    for action in agent::actions().iter().filter(|action| !NOT_OF_A_RUN.contains(&action.as_str())) {
        let of_undoing = matches!(action.as_str(), "revert" | "recover" | "undrain");
        let expected = of_undoing == stories.contains(&Story::Revert);
        let place = format!("work_{action}");
        let come_by = cases.iter().any(|case| case.place.ends_with(&place));
        assert!(come_by || !expected, "no story comes by {place}: the matrix needs one that does");
    }
    if let Some(words) = chosen_words() {
        cases.retain(|case| case.to_string().contains(&words));
    }
    cases
}

/// Runs cases under a shell, some at a time; returns what went wrong.
fn run(shell: Shell, cases: &[&Case]) -> Vec<String> {
    let open = Mutex::new(cases.iter());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut site = None;
                loop {
                    let Some(case) = open.lock().unwrap().next() else { return };
                    let told = catch_unwind(AssertUnwindSafe(|| {
                        let site = site.get_or_insert_with(|| Site::new(shell));
                        case.run(site);
                    }));
                    if let Err(panic) = told {
                        let failure = format!("{shell:?}: {case}: {}", reason(&*panic));
                        tell(&format!("failed: {failure}"));
                        failures.lock().unwrap().push(failure);
                        // What it left is not the next one's business.
                        let _ = catch_unwind(AssertUnwindSafe(|| drop(site.take())));
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// Past libtest's capturing.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Runs these stories' cases under both shells: all of them, or every `n`th.
fn matrix(test: &str, stories: &[Story], nth: usize, at_least: usize) {
    if let Some(why) = missing() {
        return skip(test, &why);
    }
    let mut cases = cases(stories);
    let every = cases.len();
    if !Site::new(Shell::Dash).has_disks() {
        skip(test, "filling a disk takes root, for a small file system to fill");
        cases.retain(|case| case.fault != Fault::DiskFull);
    }
    let nth = if is_full() || chosen_words().is_some() { 1 } else { nth };
    let mut failures = Vec::new();
    let mut counts = Vec::new();
    std::thread::scope(|scope| {
        let shells = Shell::ALL.iter().enumerate().map(|(first, shell)| {
            // With one shell's offset from the other's, each of the cases taken is taken once.
            let chosen: Vec<&Case> =
                cases.iter().skip(if nth == 1 { 0 } else { first * nth / 2 }).step_by(nth).collect();
            let count = (*shell, chosen.len());
            (count, scope.spawn(move || run(*shell, &chosen)))
        });
        for (count, running) in shells.collect::<Vec<_>>() {
            counts.push(count);
            failures.extend(running.join().unwrap());
        }
    });
    let ran: usize = counts.iter().map(|(_, count)| count).sum();
    tell(&format!(
        "{test}: {ran} cases of {every} places × faults × hosts ran: {counts:?}, {} failed",
        failures.len()
    ));
    assert!(failures.is_empty(), "{} of {ran} cases failed:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(ran >= at_least || chosen_words().is_some(), "only {ran} cases ran");
}

/// The places of the agent that the campaign knows and does not find.
pub(crate) fn places_not_found() -> Vec<String> {
    agent::not_found()
}

#[test]
fn every_fault_at_every_step_leaves_all_hosts_old_or_all_new() {
    let test = "every_fault_at_every_step_leaves_all_hosts_old_or_all_new";
    matrix(test, &[Story::Deploy, Story::Rollback, Story::Alone], 5, AT_LEAST);
}

#[test]
fn the_same_faults_during_a_revert_and_during_a_recovery_leave_nothing_half_done() {
    let test = "the_same_faults_during_a_revert_and_during_a_recovery_leave_nothing_half_done";
    matrix(test, &[Story::Revert, Story::Recovery], 7, 20);
}

#[test]
fn a_revert_of_which_any_part_does_nothing_fails_its_case() {
    let test = "a_revert_of_which_any_part_does_nothing_fails_its_case";
    if let Some(why) = missing() {
        return skip(test, &why);
    }
    let place = "activate: app start".to_owned();
    let case = Case { story: Story::Deploy, place, fault: Fault::CommandFails, host: 1 };
    case.run(&Site::new(Shell::Dash));
    for undoing in agent::undoings() {
        let site = Site::new(Shell::Dash);
        site.cuts_out(undoing);
        let told = catch_unwind(AssertUnwindSafe(|| case.run(&site)));
        let reason = told.map_err(|panic| reason(&*panic)).expect_err(undoing);
        tell(&format!("without {undoing}: {}", reason.lines().next().unwrap_or_default()));
    }
}

/// What the guardian can be asked for and nothing of the matrix comes by: the heartbeat, ending one hook,
/// ending the app of a host inside rdeploy, the freeze, the note of who was left out by `resume`, and
/// what people do with the app that is live, and setting a host up.
const NOT_OF_A_RUN: [&str; 10] =
    ["hb", "kill", "stop", "freeze", "thaw", "absent", "restart", "start", "halt", "setup"];

#[test]
fn everything_that_a_guardian_can_be_asked_for_is_a_place_of_the_matrix() {
    let stages = [
        "locked",
        "switched",
        "verified",
        "committed",
        "finished",
        "reverting",
        "reverted",
        "stuck",
        "recover",
    ];
    let spoken = ["begin", "received", "then", "bye"].into_iter().chain(NOT_OF_A_RUN).chain(stages);
    let known: Vec<String> = spoken.map(str::to_owned).chain(agent::actions()).collect();
    let words = agent::intents_and_stages();
    assert!(words.len() > 15, "the guardian's intents were not found: {words:?}");
    for word in words {
        assert!(
            known.iter().any(|known| known == word),
            "the guardian knows `{word}`, and the matrix does not: if it does something for an attempt, let \
             agent.rs put a place into it"
        );
    }
}
