//! Rolling through three hosts: batches, hosts that go first, the pause, and the way back from each.

use std::fs;

use crate::support::gate::Gate;
use crate::support::project::Project;
use crate::support::project::eventually;
use crate::support::project::files;

use super::before::Before;

/// Three hosts that run version 1, and a project of version 2 with this configuration.
fn rolls(config: &str) -> (Project, Before) {
    let project = Project::files(3, "");
    let before = Before::version_1(&project, 3);
    let log = project.beside("log").display().to_string();
    project.configure(&files(3, &config.replace("LOG", &log)));
    (project, before)
}

/// A health check that fails on one host, with version 2.
fn ill_on(host: &str) -> String {
    format!(
        "[health]\ncommand = '''case \"$(pwd -P)\" in */{host}/*) ! grep \"version 2\" public/index.html;; esac'''\ntimeout = \"1s\"\n"
    )
}

#[test]
fn a_release_that_is_broken_in_the_second_batch_is_put_back_everywhere() {
    let (project, before) = rolls(&format!(
        "rollout = {{ batch = 1 }}\n{}[hooks]\nbefore_switch = [\"echo $RDEPLOY_HOST drain >>LOG\"]\nafter_switch = [\"echo $RDEPLOY_HOST undrain >>LOG\"]\n",
        ill_on("host2")
    ));
    let ended = project.rdeploy(&["dev"]).run().ends_with(5);
    insta::assert_snapshot!(ended, @"");
    before.stands();
    let log = fs::read_to_string(project.beside("log")).unwrap();
    let expected = ["host1 drain", "host1 undrain", "host2 drain", "host2 undrain", "host1 undrain"];
    assert_eq!(log.lines().collect::<Vec<_>>(), expected);
    assert_eq!(project.leftovers(), []);
}

#[test]
fn a_host_that_goes_first_is_kept_waiting_for_longer_than_its_lease() {
    let (project, _) = rolls("lease = \"2s\"\nrollout = { first = 1, pause = \"3s\" }\n");
    let ended = project.rdeploy(&["dev"]).run().ends_with(0);
    insta::assert_snapshot!(ended.output(), @"");
    for n in 1..=3 {
        assert_eq!(project.host(n).read("current/public/index.html"), "version 2\n");
        project.host(n).is_clean();
    }
    // Back in the same way.
    let back = project.rdeploy(&["dev", "--rollback"]).run().ends_with(0).output();
    assert!(back.contains("batch 2 of 2: host2, host3"), "{back}");
}

#[test]
fn a_host_that_falls_ill_in_the_pause_stops_the_rollout() {
    let ill = "[health]\ncommand = '''[ ! -e LOG ] || { echo out of memory; exit 1; }'''\ntimeout = \"1s\"\n";
    let (project, before) = rolls(&format!("rollout = {{ first = 1, pause = \"1h\" }}\n{ill}"));
    let mut running = project.rdeploy(&["dev"]).start();
    running.until_it_says("host1 has to stay well");
    fs::write(project.beside("log"), "").unwrap();
    let ended = running.wait().ends_with(5);
    insta::assert_snapshot!(ended.error(), @"");
    before.stands();
}

#[test]
fn a_stop_in_the_pause_puts_back_at_once() {
    let (project, before) = rolls("rollout = { first = 2, pause = \"1h\" }\n");
    let mut running = project.rdeploy(&["dev"]).start();
    running.until_it_says("host1, host2 have to stay well");
    running.interrupt();
    running.wait().ends_with(130);
    before.stands();
    assert_eq!(project.leftovers(), []);
}

#[test]
fn a_client_that_is_killed_between_two_batches_is_put_right_by_the_hosts() {
    let (project, before) = rolls("");
    let gate = Gate::new(&project, "gate");
    let wait = format!("[ $RDEPLOY_HOST = host1 ] || {{ {}; }}", gate.wait());
    project.configure(&files(
        3,
        &format!("lease = \"2s\"\nrollout = {{ batch = 1 }}\n[hooks]\nafter_switch = [{wait:?}]\n"),
    ));
    let mut running = project.rdeploy(&["dev"]).start();
    running.until("the second host to be switched", || gate.reached() == 1);
    let old = project.host(3).live();
    assert!(project.host(1).live() != old && project.host(2).live() != old);
    running.kill();
    eventually("every host to put itself back", || before.is_live() && !before.is_locked());
    before.stands();
}
