//! Hooks that fail or hang: every host goes back, and completed hooks are undone.

use std::fs;
use std::path::Path;

use crate::support::project::Project;
use crate::support::project::files;

use super::before::Before;

/// Deploys version 1 to three hosts, then version 2 with these hooks, which has to end with 5.
fn fails_with(hooks: &str) -> (Project, String) {
    let project = Project::files(3, "");
    let before = Before::version_1(&project, 3);
    let log = project.beside("log").display().to_string();
    project.configure(&files(3, &format!("[hooks]\n{}", hooks.replace("LOG", &log))));
    let ended = project.rdeploy(&["dev"]).run().ends_with(5);
    before.stands();
    assert_eq!(project.leftovers(), []);
    (project, ended.error())
}

/// The common log's lines, sorted: hosts work at the same time.
fn sorted(log: &Path) -> Vec<String> {
    let mut lines: Vec<String> = fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_hook_that_fails_on_one_of_three_hosts_stops_all() {
    let (project, error) = fails_with(
        "after_unpack = [\"[ $RDEPLOY_HOST != host2 ] || { echo no space left; exit 28; }\"]\non_failure = [\"echo $RDEPLOY_HOST told >>LOG\"]",
    );
    insta::assert_snapshot!(error, @r#"
    error: `[ $RDEPLOY_HOST != host2 ] || { echo no space left; exit 28; }` exited with code 28
      it wrote:
      | no space left
      hint: run the command by hand in the release on that host to look into it

    the deploy to dev failed and was put back ([T]: build [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]
      host3  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
    assert_eq!(sorted(&project.beside("log")), ["host1 told", "host2 told", "host3 told"]);
}

#[test]
fn a_hook_that_hangs_is_ended_with_everything_it_started() {
    let (_project, error) = fails_with(
        "after_unpack = [{ run = \"[ $RDEPLOY_HOST != host3 ] || { echo waiting for input; sleep 1000 & sleep 1000; }\", timeout = \"2s\" }]",
    );
    insta::assert_snapshot!(error, @r#"
    error: `[ $RDEPLOY_HOST != host3 ] || { echo waiting for input; sleep 1000 & sleep 1000; }` was ended because it took longer than 2 s
      it wrote:
      | waiting for input
      hint: run the command by hand in the release on that host to look into it

    the deploy to dev failed and was put back ([T]: build [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]
      host3  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
}

#[test]
fn a_migration_that_fails_is_not_tried_on_another_host_and_nothing_is_switched() {
    let (project, error) = fails_with(
        "before_switch = [{ run = \"echo $RDEPLOY_HOST $(readlink ../../current) >>LOG; echo relation missing >&2; exit 1\", once = true }]",
    );
    insta::assert_snapshot!(error, @r#"
    error: host[N]: `echo $RDEPLOY_HOST $(readlink ../../current) >>[ROOT]/log; echo relation missing >&2; exit 1` exited with code 1
      it wrote:
      | relation missing
      hint: run the command by hand in the release on that host to look into it

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]
      host3  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
    let log = fs::read_to_string(project.beside("log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.starts_with("host1 "), "{log}");
}

#[test]
fn what_completed_before_a_failure_after_the_switch_is_undone() {
    let note = |what: &str| format!("echo $RDEPLOY_HOST {what} >>LOG");
    let (project, error) = fails_with(&format!(
        "after_unpack = [{{ run = {:?}, undo = {:?} }}]\n\
         before_switch = [{{ run = {:?}, undo = {:?}, once = true }}, {:?}]\n\
         after_switch = [\"[ $RDEPLOY_HOST != host2 ] || {{ echo the proxy says no; exit 1; }}\"]\n",
        note("unpack"),
        note("un-unpack"),
        note("migrate"),
        note("un-migrate"),
        note("drain"),
    ));
    insta::assert_snapshot!(error, @r#"
    error: `[ $RDEPLOY_HOST != host2 ] || { echo the proxy says no; exit 1; }` exited with code 1
      it wrote:
      | the proxy says no
      hint: run the command by hand in the release on that host to look into it

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]
      host3  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
    let all = |what: &str| [1, 2, 3].map(|n| format!("host{n} {what}"));
    let mut expected: Vec<String> = [all("unpack"), all("un-unpack"), all("drain")].concat();
    expected.extend(["host1 migrate", "host1 un-migrate"].map(str::to_owned));
    expected.sort();
    let log = project.beside("log");
    assert_eq!(sorted(&log), expected);
    let first: Vec<String> = fs::read_to_string(log)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("host1 ").map(str::to_owned))
        .collect();
    assert_eq!(first, ["unpack", "migrate", "drain", "un-migrate", "un-unpack"], "the last one first");
}

#[test]
fn an_undo_that_fails_needs_a_person() {
    let project = Project::files(1, "");
    let before = Before::version_1(&project, 1);
    project.configure(&files(
        1,
        "[hooks]\nbefore_switch = [{ run = \"echo migrating\", undo = \"echo cannot migrate down; exit 1\" }]\nafter_switch = [\"exit 1\"]\n",
    ));
    let ended = project.rdeploy(&["dev"]).run().ends_with(6);
    insta::assert_snapshot!(ended.error(), @r#"
    error: host[N]: `exit 1` exited with code 1
      hint: run the command by hand in the release on that host to look into it

    error: host[N]: the undo of a hook failed
      it wrote:
      | cannot migrate down
      | this undo of a hook failed: echo cannot migrate down; exit 1
      | the undo of a hook failed
      hint: this host needs a person: see .rdeploy/revert-failed.log under deploy_to on it

    the deploy to dev failed and could not be put back everywhere ([T]: build [T], prepare [T])

      host   state   live release
      host1  failed  not known

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 6: failed, and some host could not be put back: a person must act
    "#);
    assert!(before.is_live() && !before.is_locked());
}

#[test]
fn only_one_failed_release_is_kept_to_look_at() {
    let project = Project::files(1, "");
    let before = Before::version_1(&project, 1);
    project.configure(&files(1, "[hooks]\nafter_unpack = [\"exit 1\"]\n"));
    for version in 2..5 {
        project.version(version);
        project.rdeploy(&["dev"]).run().ends_with(5);
        before.stands();
    }
    let host = project.host(1);
    let releases = host.releases();
    assert_eq!(releases.len(), 2, "{releases:?}");
    assert_eq!(host.state(&releases[1]), "failed");
    assert_eq!(host.read(&format!("releases/{}/public/index.html", releases[1])), "version 4\n");
}
