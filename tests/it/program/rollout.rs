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
    insta::assert_snapshot!(ended, @r#"
    exit code: 5
    --- stdout
    deploy of shop on dev: host1, host2, host3
    local | packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    host1 | uploaded [SIZE]
    host1 | preparing
    host2 | uploaded [SIZE]
    host2 | preparing
    host3 | uploaded [SIZE]
    host3 | preparing
    batch 1 of 3: host1
    host1 | before_switch: echo $RDEPLOY_HOST drain >>[ROOT]/log
    host1 | before_switch: echo $RDEPLOY_HOST drain >>[ROOT]/log: done in [T]
    host1 | switching
    host1 | current is now [RELEASE-----2]
    host1 | verifying
    host1 | proven to run [RELEASE-----2]: current leads to the release, and nothing is supervised
    host1 | after_switch: echo $RDEPLOY_HOST undrain >>[ROOT]/log
    host1 | after_switch: echo $RDEPLOY_HOST undrain >>[ROOT]/log: done in [T]
    batch 2 of 3: host2
    host1 | putting back
    host1 | current is now [RELEASE-----1]
    host1 | put back: runs what it ran before
    host1 | after_switch: echo $RDEPLOY_HOST undrain >>[ROOT]/log
    host1 | after_switch: echo $RDEPLOY_HOST undrain >>[ROOT]/log: done in [T]
    host2 | before_switch: echo $RDEPLOY_HOST drain >>[ROOT]/log
    host2 | before_switch: echo $RDEPLOY_HOST drain >>[ROOT]/log: done in [T]
    host2 | switching
    host2 | current is now [RELEASE-----2]
    host2 | verifying
    host2 | failed: the health check did not pass within 1 s. The last answer: the health command ended with status 1: version 2
    host2 | putting back
    host2 | current is now [RELEASE-----1]
    host2 | put back: runs what it ran before
    host2 | after_switch: echo $RDEPLOY_HOST undrain >>[ROOT]/log
    host2 | after_switch: echo $RDEPLOY_HOST undrain >>[ROOT]/log: done in [T]
    host3 | putting back
    host3 | put back: runs what it ran before
    --- stderr

    error: host[N]: the health check did not pass within 1 s. The last answer: the health command ended with status 1: version 2
      hint: mend the cause named above and deploy again

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]
      host3  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
    before.stands();
    let log = fs::read_to_string(project.beside("log")).unwrap();
    let expected = ["host1 drain", "host1 undrain", "host2 drain", "host2 undrain", "host1 undrain"];
    assert_eq!(log.lines().collect::<Vec<_>>(), expected);
    assert_eq!(project.leftovers(), []);
}

#[test]
fn a_host_that_goes_first_is_kept_waiting_for_longer_than_its_lease() {
    let (project, _) = rolls("lease = \"5s\"\nrollout = { first = 1, pause = \"6s\" }\n");
    let ended = project.rdeploy(&["dev"]).run().ends_with(0);
    insta::assert_snapshot!(ended.output(), @r#"
    deploy of shop on dev: host1, host2, host3
    local | packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    host1 | uploaded [SIZE]
    host1 | preparing
    host2 | uploaded [SIZE]
    host2 | preparing
    host3 | uploaded [SIZE]
    host3 | preparing
    batch 1 of 2: host1
    host1 | switching
    host1 | current is now [RELEASE-----2]
    host1 | verifying
    host1 | proven to run [RELEASE-----2]: current leads to the release, and nothing is supervised
    pause of 6 s: host1 has to stay well
    batch 2 of 2: host2, host3
    host1 | done
    host2 | switching
    host2 | current is now [RELEASE-----2]
    host2 | verifying
    host2 | proven to run [RELEASE-----2]: current leads to the release, and nothing is supervised
    host2 | done
    host3 | switching
    host3 | current is now [RELEASE-----2]
    host3 | verifying
    host3 | proven to run [RELEASE-----2]: current leads to the release, and nothing is supervised
    host3 | done
    deployed [RELEASE-----2] to dev on 3 hosts in [T] (build [T], prepare [T], switch [T])
    "#);
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
    insta::assert_snapshot!(ended.error(), @r#"
    error: host[N]: the health check did not pass within 1 s. The last answer: the health command ended with status 1: out of memory
      hint: mend the cause named above and deploy again

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]
      host3  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
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
    project.configure(&files(3, &format!("rollout = {{ batch = 1 }}\n[hooks]\nafter_switch = [{wait:?}]\n")));
    let mut running = project.rdeploy(&["dev"]).start();
    running.until("the second host to be switched", || gate.reached() == 1);
    let old = project.host(3).live();
    assert!(project.host(1).live() != old && project.host(2).live() != old);
    running.kill();
    eventually("every host to put itself back", || before.is_live() && !before.is_locked());
    before.stands();
}
