//! Clocks that jump, here or on a host, change nothing: rdeploy counts time and does not compare it, and
//! a release is newer than those before it whatever the clock says.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::gate::Gate;
use crate::support::project::Project;
use crate::support::project::eventually;
use crate::support::project::files;
use crate::support::project::real_program;
use crate::support::skip;

use super::before::Before;

/// How long a switched host waits for a silent client.
const LEASE: Duration = Duration::from_secs(2);

/// Two hosts with a short lease, where a deploy waits at the gate once every host is switched.
fn gated(project: &Project) -> Gate {
    let gate = Gate::new(project, "gate");
    let more = format!("lease = \"{}s\"\n[hooks]\nafter_switch = [{:?}]", LEASE.as_secs(), gate.wait());
    project.configure(&files(2, &more));
    gate
}

/// The library that gives a program another clock. It leaves those alone that only count.
pub(super) fn fake_clock() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    libraries.map(|dir| dir.join("faketime/libfaketime.so.1")).find(|library| library.exists())
}

#[test]
fn a_clock_that_jumps_while_rdeploy_runs_changes_nothing() {
    let test = "a_clock_that_jumps_while_rdeploy_runs_changes_nothing";
    let Some(library) = fake_clock() else { return skip(test, "there is no libfaketime (package faketime)") };
    let project = Project::files(2, "");
    let first = project.deploys();
    let gate = gated(&project);
    let clock = project.beside("clock");
    let set_clock = |offset: &str| fs::write(&clock, offset).unwrap();
    let with_the_clock = |args: &[&str]| {
        project
            .rdeploy(args)
            .env("LD_PRELOAD", library.to_str().unwrap())
            .env("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    };

    set_clock("+0");
    let mut deploy = with_the_clock(&["dev"]).start();
    deploy.until("every host to be switched", || gate.reached() == 2);
    for jump in ["+3650d", "-3650d"] {
        set_clock(jump);
        // The time in which a host would notice that nobody speaks to it any more.
        std::thread::sleep(LEASE + Duration::from_secs(1));
    }
    gate.open();
    deploy.wait().ends_with(0);
    let second = project.host(1).live().unwrap();
    assert!(second > first, "{second} after {first}");

    // A clock that stays ten years back.
    with_the_clock(&["dev"]).run().ends_with(0);
    let third = project.host(1).live().unwrap();
    assert!(third > second, "{third} after {second}");
    with_the_clock(&["dev", "--rollback"]).run().ends_with(0);
    assert_eq!(project.host(1).live().unwrap(), second);
    // It was set back for rdeploy, too.
    let log = with_the_clock(&["dev", "releases"]).run().ends_with(0);
    assert!(log.out.contains(&third), "{log}");
    assert!(year_of_the_last_log(&project) < year_of(&second), "the clock was never set");
}

/// Logs are named after the time.
fn year_of_the_last_log(project: &Project) -> u32 {
    let logs = fs::read_dir(project.beside("state/logs")).unwrap().flatten();
    let newest = logs.max_by_key(|entry| entry.metadata().unwrap().modified().unwrap()).unwrap();
    year_of(newest.file_name().to_str().unwrap())
}

fn year_of(text: &str) -> u32 {
    text[..4].parse().unwrap()
}

/// A host whose `date` says ten years more and ten years less by turns.
fn jumping_date(project: &Project) {
    let (count, date) = (project.beside("count"), real_program("date"));
    project.tool(
        "date",
        &format!(
            "echo >>{count}\n[ $(($(wc -l <{count}) % 2)) = 0 ] && sign=+ || sign=-\nexec {} -d \"${{sign}}10 years\" \"$@\"",
            date.display(),
            count = count.display()
        ),
    );
}

fn was_asked(count: &Path) -> usize {
    fs::read_to_string(count).unwrap_or_default().lines().count()
}

#[test]
fn a_clock_that_jumps_on_a_host_changes_nothing() {
    let project = Project::files(2, "");
    jumping_date(&project);
    let before = Before::version_1(&project, 2);
    let gate = gated(&project);
    let mut deploy = project.rdeploy(&["dev"]).start();
    deploy.until("every host to be switched", || gate.reached() == 2);
    std::thread::sleep(LEASE + Duration::from_secs(1));
    assert!(before.is_locked() && !before.is_live(), "a host gave up a client that lives");
    deploy.kill();
    eventually("the hosts to put themselves back", || !before.is_locked());
    before.stands();
    gate.open();
    let second = project.deploys();
    assert!(was_asked(&project.beside("count")) > 4, "nobody asked for the date");
    project.rdeploy(&["dev", "--rollback"]).run().ends_with(0);
    assert_ne!(project.host(1).live().unwrap(), second);
}
