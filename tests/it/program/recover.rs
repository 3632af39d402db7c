//! `recover`: what attempts have left that died is undone or finished, and hosts that differ are told.

use rustix::process::Signal;

use crate::support::gate::Gate;
use crate::support::project::Project;
use crate::support::project::eventually;
use crate::support::project::real_program;

use super::before::Before;
use super::unlock::signal_guardian;
use super::unlock::switched;

#[test]
fn where_nothing_died_there_is_nothing_to_do() {
    let project = Project::files(2, "");
    project.deploys();
    insta::assert_snapshot!(project.rdeploy(&["dev", "recover"]).run(), @"");
}

#[test]
fn what_died_on_one_host_is_undone_and_whoever_lives_is_left_alone() {
    let (project, before, gate) = switched();
    let mut deploy = project.rdeploy(&["dev"]).start();
    deploy.until("every host to be switched", || gate.reached() == 2);
    insta::assert_snapshot!(project.rdeploy(&["dev", "recover"]).run(), @"");
    assert!(before.is_locked());
    deploy.signal(Signal::STOP);
    signal_guardian(&project.host(2), Signal::KILL);
    insta::assert_snapshot!(project.rdeploy(&["dev", "recover"]).run(), @"");
    // The other one sees that its client is gone, and is waited for.
    deploy.kill();
    insta::assert_snapshot!(project.rdeploy(&["dev", "recover", "--wait"]).run(), @"");
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
            "case \"$*\" in\n*host2*conv=notrunc,fsync*) record=$(cat)\ncase $record in committed*) {} ;; esac\n\
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
    insta::assert_snapshot!(ended, @"");
    insta::assert_snapshot!(project.rdeploy(&["dev", "releases"]).run().ends_with(0).output(), @"");
    gate.open();
    project.deploys();
    assert_eq!(project.host(1).live(), project.host(2).live());
    insta::assert_snapshot!(project.rdeploy(&["dev", "recover"]).run().ends_with(0).output(), @"");
}
