//! Hosts that cannot be reached or are not who they should be: one is enough, and nobody is touched.

use std::fs;

use rdeploy::embedded::KeyPair;

use crate::support::listed::Listed;
use crate::support::project::Project;
use crate::support::running::Ended;

use super::before::Before;

/// Three hosts that run version 1, and a project that is version 2.
fn version_1() -> (Project, Listed, Before) {
    let project = Project::new();
    let listed = Listed::start(&project, 3);
    project.configure(&listed.files(""));
    project.version(1);
    project.rdeploy(&["prod"]).run().ends_with(0);
    project.version(2);
    let before = Before::on(listed.trees());
    (project, listed, before)
}

fn refused(project: &Project) -> Ended {
    project.rdeploy(&["prod"]).run().ends_with(3)
}

#[test]
fn a_host_that_is_down_is_named() {
    let (project, mut listed, before) = version_1();
    listed.stop(2);
    insta::assert_snapshot!(refused(&project).error(), @"");
    before.stands();
}

#[test]
fn a_host_that_nobody_has_vouched_for_is_refused() {
    let (project, listed, before) = version_1();
    fs::write(listed.known_hosts(), listed.key_line(1) + &listed.key_line(3)).unwrap();
    insta::assert_snapshot!(refused(&project).error(), @"");
    before.stands();
}

#[test]
fn a_host_with_another_key_is_refused() {
    let (project, listed, before) = version_1();
    let known = listed.key_line(1) + &listed.wrong_key_line(2) + &listed.key_line(3);
    fs::write(listed.known_hosts(), known).unwrap();
    insta::assert_snapshot!(refused(&project).error(), @"");
    before.stands();
}

#[test]
fn a_refused_login_is_told_once_for_all_hosts() {
    let (project, listed, before) = version_1();
    fs::remove_file(listed.identity()).unwrap();
    KeyPair::generate().unwrap().store(&listed.identity()).unwrap();
    insta::assert_snapshot!(refused(&project).error(), @"");
    before.stands();
}

#[test]
fn a_connection_that_is_cut_after_the_switch_is_put_back_by_the_host_itself() {
    let (project, listed, before) = version_1();
    let gate = crate::support::gate::Gate::new(&project, "gate");
    project.configure(&listed.files(&format!(
        "lease = \"2s\"\n[hooks]\nafter_switch = [{{ run = {:?}, timeout = \"2m\" }}]",
        gate.wait()
    )));
    let mut running = project.rdeploy(&["prod"]).start();
    running.until("every host to be switched", || gate.reached() == 3);
    assert!(!before.is_live());
    listed.cut(2);
    let ended = running.wait();
    crate::support::project::eventually("every host to be put back", || {
        before.is_live() && !before.is_locked()
    });
    before.stands();
    insta::assert_snapshot!(ended.ends_with(8).error(), @"");
}
