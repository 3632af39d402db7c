//! Two deploys at once: one goes on, the other is told whose turn it is.

use crate::support::gate::Gate;
use crate::support::project::Project;
use crate::support::project::files;

use super::before::Before;

#[test]
fn the_second_of_two_deploys_is_told_who_holds_the_lock() {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    let gate = Gate::new(&project, "gate");
    project.configure(&files(2, &format!("[hooks]\nafter_unpack = [{:?}]", gate.wait())));
    let mut first = project.rdeploy(&["dev"]).start();
    first.until("both hosts to be in their hook", || gate.reached() == 2);

    let second = project.rdeploy(&["dev"]).env("USER", "bob").run().ends_with(4);
    insta::assert_snapshot!(second.error(), @r"
    error: host[N]: another deploy holds the lock: ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev
      hint: wait for it to end (`--wait` does), then try again

    the deploy to dev did not start ([T]: build [T])

      host   state      live release
      host1  unchanged  [RELEASE-----1]
      host2  unchanged  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 4: locked by somebody else; no host was changed
    ");
    let back = project.rdeploy(&["dev", "--rollback"]).run();
    assert_eq!(back.code, Some(3), "there is nothing to go back to: {back}");
    let stop = project.rdeploy(&["dev", "stop"]).run();
    insta::assert_snapshot!(stop, @r"
    exit code: 4
    --- stdout
    --- stderr
    error: host1 is locked: ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev
      hint: wait for the other run to end, then try again
    ");
    assert!(before.is_live());
    assert!(before.is_locked());

    gate.open();
    first.wait().ends_with(0);
    assert_eq!(project.host(2).read("current/public/index.html"), "version 2\n");
    assert!(!before.is_locked());
    project.rdeploy(&["dev"]).env("USER", "bob").run().ends_with(0);
}

#[test]
fn of_many_deploys_at_once_each_ends_well_or_is_told_to_wait() {
    let project = Project::new();
    // A directory that two could not make at the same time.
    let busy = format!("{}-$RDEPLOY_HOST", project.beside("busy").display());
    project.configure(&files(2, &format!("[hooks]\nafter_unpack = [\"mkdir {busy} && rmdir {busy}\"]")));
    project.version(1);
    let running: Vec<_> = (0..4).map(|_| project.rdeploy(&["dev"]).start()).collect();
    let ended: Vec<_> = running.into_iter().map(|running| running.wait()).collect();
    assert!(ended.iter().any(|ended| ended.code == Some(0)), "somebody wins");
    for ended in &ended {
        assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
    }
    let done = ended.iter().filter(|ended| ended.code == Some(0)).count();
    for host in [project.host(1), project.host(2)] {
        assert_eq!(host.releases().len(), done);
        host.is_clean();
    }
    assert_eq!(project.host(1).live(), project.host(2).live());
}

#[test]
fn who_waits_gets_the_lock_when_the_other_ends() {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    let gate = Gate::new(&project, "gate");
    project.configure(&files(2, &format!("[hooks]\nafter_unpack = [{:?}]", gate.wait())));
    let mut first = project.rdeploy(&["dev"]).start();
    first.until("both hosts to be in their hook", || gate.reached() == 2);

    let in_vain = project.rdeploy(&["dev", "--wait=1s"]).env("USER", "bob").run().ends_with(4);
    insta::assert_snapshot!(in_vain.error(), @r"
    error: host[N]: another deploy holds the lock: ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev; it was waited for, for 1 s
      hint: wait for it to end (`--wait` does), then try again

    the deploy to dev did not start ([T]: build [T])

      host   state      live release
      host1  unchanged  [RELEASE-----1]
      host2  unchanged  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 4: locked by somebody else; no host was changed
    ");
    let mut stopped = project.rdeploy(&["dev", "--wait"]).start();
    stopped.until_it_says("waiting for the lock: ada");
    stopped.interrupt();
    stopped.wait().ends_with(130);
    assert!(before.is_live() && before.is_locked());

    let mut second = project.rdeploy(&["dev", "--wait=10m"]).start();
    second.until_it_says("waiting for the lock: ada");
    gate.open();
    first.wait().ends_with(0);
    second.wait().ends_with(0).says("note: waiting for the lock: ada");
    assert_eq!(project.host(1).releases().len(), 3);
    assert!(!before.is_locked());
}
