//! `unlock`: what is proven to be dead is settled, what is alive is refused or ordered to give way, and
//! what another user made is never removed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;

use rustix::process::Pid;
use rustix::process::Signal;

use crate::support::gate::Gate;
use crate::support::project::Project;
use crate::support::project::Tree;
use crate::support::project::files;
use crate::support::shown::squeezed;
use crate::support::skip;

use super::before::Before;

/// Two hosts that run version 1, and a gate at which version 2 waits once every host is switched to it.
pub(super) fn switched() -> (Project, Before, Gate) {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    let gate = Gate::new(&project, "gate");
    project.configure(&files(2, &format!("[hooks]\nafter_switch = [{:?}]", gate.wait())));
    (project, before, gate)
}

/// The guardian that has a host's lock.
pub(super) fn guardian(tree: &Tree) -> Pid {
    let lock = fs::read_to_string(tree.root.join(".rdeploy/lock")).unwrap();
    let pid = lock.lines().find_map(|line| line.strip_prefix("pid=")).unwrap().parse().unwrap();
    Pid::from_raw(pid).unwrap()
}

/// How many guardians there are on a host, with the lock or without it.
pub(super) fn guardians(project: &Project, tree: &Tree) -> usize {
    let agent = tree.root.join(".rdeploy/agent.");
    let processes = project.processes().into_iter();
    let own = processes.filter(|(_, line)| line.contains(agent.to_str().unwrap()));
    let pids: BTreeSet<i32> = own.map(|(pid, _)| pid).collect();
    let parent = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()
    };
    // The others are what a guardian runs beside itself.
    pids.iter().filter_map(parent).filter(|parent| !pids.contains(parent)).count()
}

pub(super) fn signal_guardian(tree: &Tree, signal: Signal) {
    rustix::process::kill_process(guardian(tree), signal).unwrap();
}

#[test]
fn where_nothing_is_locked_it_says_so() {
    let project = Project::files(2, "");
    insta::assert_snapshot!(project.rdeploy(&["dev", "unlock"]).run(), @r"
    exit code: 0
    --- stdout
    nothing is locked on dev
    --- stderr
    ");
    project.deploys();
    insta::assert_snapshot!(project.rdeploy(&["dev", "unlock", "--force"]).run(), @r"
    exit code: 0
    --- stdout
    nothing is locked on dev
    --- stderr
    ");
}

#[test]
fn a_living_owner_is_refused_and_by_force_ordered_to_put_the_hosts_back() {
    let (project, before, gate) = switched();
    let mut deploy = project.rdeploy(&["dev"]).start();
    deploy.until("every host to be switched", || gate.reached() == 2);
    insta::assert_snapshot!(project.rdeploy(&["dev", "unlock"]).env("USER", "bob").run(), @r"
    exit code: 4
    --- stdout
    --- stderr
    error: dev is locked, and whoever locked it is alive; nothing was done
      host1: ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev
      host2: ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev
      hint: wait for it to end, or have the hosts put back under its hands: `rdeploy dev unlock --force`
    ");
    assert!(before.is_locked() && !before.is_live());
    // A client that hangs, so that it does not put the hosts back itself as soon as it has lost one.
    deploy.signal(Signal::STOP);
    let forced = project.rdeploy(&["dev", "unlock", "--force"]).env("USER", "bob").run();
    insta::assert_snapshot!(squeezed(&forced.to_string()), @r"
    exit code: 0
    --- stdout
    host  found  done  live release
    host1  ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev, alive  its guardian put the host back  [RELEASE-----1]
    host2  ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev, alive  its guardian put the host back  [RELEASE-----1]
    --- stderr
    ");
    deploy.signal(Signal::CONT);
    let ended = deploy.wait();
    assert_eq!(ended.code, Some(5), "{ended}");
    before.stands();
    gate.open();
    project.deploys();
}

#[test]
fn a_client_whose_hosts_are_ordered_back_says_who_did_it_and_knows_how_they_stand() {
    let (project, before, gate) = switched();
    let mut deploy = project.rdeploy(&["dev"]).start();
    deploy.until("every host to be switched", || gate.reached() == 2);
    let forced = project.rdeploy(&["dev", "unlock", "--force"]).env("USER", "bob").run().ends_with(0);
    assert!(forced.out.contains("its guardian put the host back"), "{forced}");
    let ended = deploy.wait().ends_with(5);
    ended.says("warning: bob@").says("ordered the host to be put back (rdeploy dev unlock --force)");
    before.stands();
    gate.open();
    project.deploys();
}

#[test]
fn a_guardian_that_does_not_obey_keeps_its_lock_and_is_named() {
    let (project, before, gate) = switched();
    let mut deploy = project.rdeploy(&["dev"]).start();
    deploy.until("every host to be switched", || gate.reached() == 2);
    for host in [1, 2] {
        signal_guardian(&project.host(host), Signal::STOP);
    }
    let refused = project.rdeploy(&["dev", "unlock", "--force", "--limit", "1s"]).env("USER", "bob").run();
    insta::assert_snapshot!(squeezed(&refused.to_string()), @r"
    exit code: 4
    --- stdout
    host  found  done  live release
    host1  ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev, alive  still locked  [RELEASE-----2]
    host2  ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev, alive  still locked  [RELEASE-----2]
    --- stderr
    error: locked by somebody who is alive
      host1: its guardian was ordered to put the host back and did not within 1 s; ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev
      host2: its guardian was ordered to put the host back and did not within 1 s; ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev
      hint: whoever has it ends by itself: it finishes, or its guardian puts the host back; `rdeploy dev recover --wait` waits for that
    ");
    assert!(before.is_locked() && !before.is_live());
    // The order waits for them.
    for host in [1, 2] {
        signal_guardian(&project.host(host), Signal::CONT);
    }
    let ended = deploy.wait();
    assert_eq!(ended.code, Some(5), "{ended}");
    before.stands();
}

#[test]
fn a_dead_owner_is_settled_without_force() {
    let (project, before, gate) = switched();
    let mut deploy = project.rdeploy(&["dev"]).start();
    deploy.until("every host to be switched", || gate.reached() == 2);
    // Stopped, the client does not see it, and starts no recovery of its own.
    deploy.signal(Signal::STOP);
    signal_guardian(&project.host(1), Signal::KILL);
    signal_guardian(&project.host(2), Signal::KILL);
    deploy.kill();
    assert!(before.is_locked() && !before.is_live());
    let settled = project.rdeploy(&["dev", "unlock"]).env("USER", "bob").run();
    insta::assert_snapshot!(squeezed(&settled.to_string()), @r"
    exit code: 0
    --- stdout
    host  found  done  live release
    host1  ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev, whose process is gone; deploy [RELEASE-----2], which had died  put back  [RELEASE-----1]
    host2  ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev, whose process is gone; deploy [RELEASE-----2], which had died  put back  [RELEASE-----1]
    --- stderr
    ");
    before.stands();
    insta::assert_snapshot!(project.rdeploy(&["dev", "unlock"]).run().ends_with(0).output(), @"nothing is locked on dev");
}

#[test]
fn a_lock_of_another_user_is_never_removed() {
    if !rustix::process::getuid().is_root() {
        skip("a_lock_of_another_user_is_never_removed", "only root can give a file to another user");
        return;
    }
    let (project, before, gate) = switched();
    let mut deploy = project.rdeploy(&["dev"]).start();
    deploy.until("every host to be switched", || gate.reached() == 2);
    let lock = project.host(2).root.join(".rdeploy/lock");
    chown(&lock, Some(65534), None).unwrap();
    for args in [&["dev", "unlock"][..], &["dev", "unlock", "--force"]] {
        let refused = project.rdeploy(args).run();
        insta::allow_duplicates! { insta::assert_snapshot!(refused, @r"
        exit code: 4
        --- stdout
        --- stderr
        error: dev is locked by what rdeploy does not remove; nothing was done
          host2: locked by the user nobody of the host (ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev)
          hint: a lock that another user made is for that user to remove: run `unlock` as that user, or look at the host
        ") };
        assert!(before.is_locked() && !before.is_live());
    }
    chown(&lock, Some(0), None).unwrap();
    gate.open();
    deploy.wait().ends_with(0);
}
