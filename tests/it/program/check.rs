//! `check`: what a deploy would ask first, as a table, with the cure of each problem.

use crate::support::listed::Listed;
use crate::support::project::Project;
use crate::support::shown::squeezed;

#[test]
fn hosts_that_are_ready_are_shown_and_nothing_is_changed() {
    let project = Project::files(2, "");
    let shown = project.rdeploy(&["dev", "check"]).run().ends_with(0);
    insta::assert_snapshot!(without_space(&squeezed(&shown.to_string())), @r"
    exit code: 0
    --- stdout
    host  ready  live release  supervisor  health asked by  free  lock
    host1  yes  none  none  no health check  [SPACE]  free
    host2  yes  none  none  no health check  [SPACE]  free
    --- stderr
    ");
    assert!(!project.host(1).root.exists(), "checking made the directory");
    project.deploys();
    let shown = project.rdeploy(&["dev", "check"]).run().ends_with(0);
    insta::assert_snapshot!(without_space(&squeezed(&shown.to_string())), @r"
    exit code: 0
    --- stdout
    host  ready  live release  supervisor  health asked by  free  lock
    host1  yes  [RELEASE-----1]  none  no health check  [SPACE]  free
    host2  yes  [RELEASE-----1]  none  no health check  [SPACE]  free
    --- stderr
    ");
}

#[test]
fn every_problem_is_named_with_its_host_and_cure() {
    let project = Project::new();
    project.version(1);
    let listed = Listed::start(&project, 2);
    project.configure(&listed.files("linked_files = [\".env\"]"));
    let shared = listed.tree(2).root.join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::write(shared.join(".env"), "").unwrap();
    let shown = project.rdeploy(&["prod", "check"]).run().ends_with(3);
    insta::assert_snapshot!(without_space(&squeezed(&shown.to_string())), @r"
    exit code: 3
    --- stdout
    host  ready  live release  supervisor  health asked by  free  lock
    127.0.0.1:HOST1  no: 1 problem  none  none  no health check  [SPACE]  free
    127.0.0.1:HOST2  yes  none  none  no health check  [SPACE]  free
    --- stderr
    error: prod cannot be deployed to as it stands
      127.0.0.1:HOST1: the linked file .env is missing: put it at [ROOT]/hosts/host[N]/fs/srv/shop/shared/.env
      hint: mend each of these, then check again
    ");
}

#[test]
fn a_frozen_environment_is_ready_but_not_open() {
    let project = Project::files(1, "");
    project.deploys();
    project.rdeploy(&["dev", "lock", "-m", "the fair"]).run().ends_with(0);
    let shown = project.rdeploy(&["dev", "check"]).run().ends_with(4);
    insta::assert_snapshot!(without_space(&squeezed(&shown.to_string())), @r"
    exit code: 4
    --- stdout
    host  ready  live release  supervisor  health asked by  free  lock
    host1  yes  [RELEASE-----1]  none  no health check  [SPACE]  frozen
    --- stderr
    error: dev is ready, but not open to deploys now
      host1: frozen: the fair (ada@[MACHINE] from [MACHINE] since [TIME])
    ");
}

/// Free space is the machine's own.
fn without_space(text: &str) -> String {
    regex::Regex::new(r"\d+ [GM]iB").unwrap().replace_all(text, "[SPACE]").into_owned()
}
