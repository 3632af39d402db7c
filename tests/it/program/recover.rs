//! `recover`: what attempts have left that died is undone or finished, and hosts that differ are told.

use rustix::process::Signal;

use crate::support::gate::Gate;
use crate::support::project::Project;
use crate::support::project::eventually;
use crate::support::project::real_program;

use super::before::Before;
use super::unlock::guardians;
use super::unlock::signal_guardian;
use super::unlock::switched;

#[test]
fn where_nothing_died_there_is_nothing_to_do() {
    let project = Project::files(2, "");
    project.deploys();
    insta::assert_snapshot!(project.rdeploy(&["dev", "recover"]).run(), @r"
    exit code: 0
    --- stdout
    host   found    done           live release
    host1  nothing  nothing to do  [RELEASE-----1]
    host2  nothing  nothing to do  [RELEASE-----1]
    --- stderr
    ");
}

#[test]
fn what_died_on_one_host_is_undone_and_whoever_lives_is_left_alone() {
    let (project, before, gate) = switched();
    let mut deploy = project.rdeploy(&["dev"]).start();
    deploy.until("every host to be switched", || gate.reached() == 2);
    insta::assert_snapshot!(project.rdeploy(&["dev", "recover"]).run(), @r"
    exit code: 4
    --- stdout
    host   found   done        live release
    host1  locked  left alone  not known
    host2  locked  left alone  not known
    --- stderr
    error: locked by somebody who is alive
      host1: ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev
      host2: ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev
      hint: whoever has it ends by itself: it finishes, or its guardian puts the host back; `rdeploy dev recover --wait` waits for that
    ");
    assert!(before.is_locked());
    let mut waiting = project.rdeploy(&["dev", "recover", "--wait=10m"]).start();
    waiting.until_it_says("note: waiting for the lock of host1: ada");
    waiting.interrupt();
    let stopped = waiting.wait().ends_with(130);
    stopped.tells("stopped; what had not been done yet was left as it was, and no lock is kept");
    // It may be about to ask for the lock once more.
    eventually("who waited to have left the hosts", || guardians(&project, &project.host(2)) == 1);
    deploy.signal(Signal::STOP);
    signal_guardian(&project.host(2), Signal::KILL);
    insta::assert_snapshot!(project.rdeploy(&["dev", "recover"]).run(), @r"
    exit code: 8
    --- stdout
    host   found                                  done        live release
    host1  locked                                 left alone  not known
    host2  deploy [RELEASE-----2], which had died  put back    [RELEASE-----1]
    --- stderr
    error: locked by somebody who is alive
      host1: ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev
      hint: whoever has it ends by itself: it finishes, or its guardian puts the host back; `rdeploy dev recover --wait` waits for that
    ");
    // The other one sees that its client is gone, and is waited for.
    deploy.kill();
    let waited = project.rdeploy(&["dev", "recover", "--wait"]).run().ends_with(0);
    insta::assert_snapshot!(waited.output(), @r"
    host   found    done           live release
    host1  nothing  nothing to do  [RELEASE-----1]
    host2  nothing  nothing to do  [RELEASE-----1]
    ");
    before.stands();
}

#[test]
fn hosts_that_a_death_in_the_commit_left_different_are_told_with_the_cure() {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    let gate = Gate::new(&project, "gate");
    // On the second host the commit stops right before the record that decides.
    let dd = real_program("dd");
    project.tool(
        "dd",
        &format!(
            "case \"$*\" in\n*host2*/journal\\ *conv=notrunc,fsync*) record=$(cat)\ncase $record in committed*) {} ;; esac\n\
             printf '%-95.95s\\n' \"$record\" | {dd} \"$@\" ;;\n*) exec {dd} \"$@\" ;;\nesac",
            gate.wait(),
            dd = dd.display()
        ),
    );
    let mut deploy = project.rdeploy(&["dev"]).start();
    let new = |n| project.host(n).live().filter(|id| project.host(n).state(id) == "good");
    let old = project.host(1).live();
    deploy.until("the second host to be about to commit", || gate.reached() == 1);
    deploy.until("the first host to have committed", || {
        let journals = std::fs::read_dir(project.host(1).root.join(".rdeploy/run")).unwrap();
        journals.flatten().any(|run| {
            std::fs::read_to_string(run.path().join("journal")).is_ok_and(|text| text.contains("\ncommitted"))
        })
    });
    deploy.kill();
    eventually("the hosts to go their ways", || !before.is_locked());
    assert_eq!(project.host(2).live(), old);
    assert_ne!(new(1), old);
    let ended = project.rdeploy(&["dev", "recover"]).run();
    insta::assert_snapshot!(ended, @r"
    exit code: 8
    --- stdout
    host   found    done           live release
    host1  nothing  nothing to do  [RELEASE-----2]
    host2  nothing  nothing to do  [RELEASE-----1]
    --- stderr
    error: the hosts differ: [RELEASE-----2] was committed on some, and others were put back from it
      [RELEASE-----2]: host1
      [RELEASE-----1]: host2
      hint: `rdeploy dev` deploys to all of them and brings them level; `rdeploy dev --rollback=[RELEASE-----1]` goes back to [RELEASE-----1] on all
    ");
    insta::assert_snapshot!(project.rdeploy(&["dev", "releases"]).run().ends_with(0).output(), @r"
    release         state                           live           commit  made                  by
    [RELEASE-----2]  good on host1; failed on host2  live on host1  -       [TIME]  ada@[MACHINE]
    [RELEASE-----1]  good                            live on host2  -       [TIME]  ada@[MACHINE]
    ");
    gate.open();
    project.deploys();
    assert_eq!(project.host(1).live(), project.host(2).live());
    insta::assert_snapshot!(project.rdeploy(&["dev", "recover"]).run().ends_with(0).output(), @r"
    host   found    done           live release
    host1  nothing  nothing to do  [RELEASE-----3]
    host2  nothing  nothing to do  [RELEASE-----3]
    ");
}
