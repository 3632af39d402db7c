//! Stopping a run at every kind of moment: by the user, by the system, and by killing it.

use rustix::process::Signal;

use crate::support::gate::Gate;
use crate::support::project::Project;
use crate::support::project::eventually;
use crate::support::project::files;
use crate::support::project::real_program;

use super::before::Before;

/// Two hosts that run version 1, and a gate.
fn version_1() -> (Project, Before, Gate) {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    let gate = Gate::new(&project, "gate");
    (project, before, gate)
}

/// Two hosts whose app is a web server of version 1, and a gate at which version 2 waits once every host
/// is switched to it.
fn switched(more: &str) -> (Project, Before, Gate) {
    let project = Project::served(2);
    let before = Before::version_1(&project, 2);
    let gate = Gate::new(&project, "gate");
    let config = std::fs::read_to_string(project.file("deploy.toml")).unwrap();
    let hooks = format!("lease = \"2s\"\n{more}[hooks]\nafter_switch = [{:?}]\n\n[env.dev]", gate.wait());
    // The top level ends where the first table begins.
    let (top, rest) = config.split_once("\n\n").unwrap();
    let (lease, hooks) = hooks.split_once('\n').unwrap();
    project.configure(&format!("{top}\n{lease}\n\n{}", rest.replace("[env.dev]", hooks)));
    (project, before, gate)
}

#[test]
fn a_stop_before_the_lock_touches_nothing() {
    let (project, before, gate) = version_1();
    project.configure(&files(2, &format!("[hooks]\nbefore_build = [{:?}]", gate.wait())));
    let mut running = project.rdeploy(&["dev"]).start();
    running.until("the local hook", || gate.reached() == 1);
    running.interrupt();
    let ended = running.wait().ends_with(130);
    insta::assert_snapshot!(ended.error(), @r"
    the deploy to dev was stopped ([T])

      host   state      live release
      host1  unchanged  not known
      host2  unchanged  not known

    next: run the same command again when you are ready
    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 130: interrupted; every host runs what it ran before
    ");
    before.stands();
    assert_eq!(project.leftovers(), []);
}

#[test]
fn a_stop_during_the_upload_leaves_no_upload_and_no_lock() {
    let (project, before, gate) = version_1();
    let gzip = real_program("gzip");
    // Before there is a lock it unpacks the settings.
    let locked = project.host(1).root.join(".rdeploy/lock");
    let stop = format!("[ ! -e {} ] || {{ {}; }}", locked.display(), gate.wait());
    project.tool("gzip", &format!("RDEPLOY_HOST=$$; {stop}; exec {} \"$@\"", gzip.display()));
    let mut running = project.rdeploy(&["dev"]).start();
    running.until("an upload on each host", || gate.reached() >= 2);
    running.interrupt();
    running.wait().ends_with(130);
    before.stands();
    assert_eq!(project.leftovers(), []);
}

#[test]
fn a_stop_during_a_hook_ends_the_hook() {
    let (project, before, gate) = version_1();
    project.configure(&files(2, &format!("[hooks]\nafter_unpack = [{:?}]", gate.wait())));
    let mut running = project.rdeploy(&["dev"]).start();
    running.until("the hook on each host", || gate.reached() == 2);
    running.interrupt();
    let ended = running.wait().ends_with(130);
    insta::assert_snapshot!(ended, @r#"
    exit code: 130
    --- stdout
    deploy of shop on dev: host1, host2
    local | packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    host1 | uploaded [SIZE]
    host1 | preparing
    host1 | after_unpack: echo here >[ROOT]/gate/at-${RDEPLOY_HOST:…
    host2 | uploaded [SIZE]
    host2 | preparing
    host2 | after_unpack: echo here >[ROOT]/gate/at-${RDEPLOY_HOST:…
    stopping: putting hosts back; press Ctrl-C again to leave it to the hosts
    host1 | putting back
    host1 | put back: runs what it ran before
    host2 | putting back
    host2 | put back: runs what it ran before
    --- stderr

    the deploy to dev was stopped ([T]: build [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]

    next: run the same command again when you are ready
    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 130: interrupted; every host runs what it ran before
    "#);
    before.stands();
    assert_eq!(project.leftovers(), []);
}

#[test]
fn a_stop_while_hosts_are_switched_puts_every_app_back() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (project, before, gate) = switched("");
        let mut running = project.rdeploy(&["dev"]).start();
        running.until("every host to be switched", || gate.reached() == 2);
        assert_eq!(project.host(1).answer(), "200 version 2");
        running.signal(signal);
        running.wait().ends_with(130).tells("exit code 130: interrupted; every host runs what it ran before");
        before.stands();
    }
}

#[test]
fn a_second_stop_leaves_at_once_and_the_hosts_put_themselves_back() {
    let (project, before, gate) = switched("");
    // Putting back stops the new app first, which waits here.
    let config = std::fs::read_to_string(project.file("deploy.toml")).unwrap();
    let undo = Gate::new(&project, "undo");
    project.configure(&config.replace(
        "[hooks]\n",
        &format!("[hooks]\nbefore_switch = [{{ run = \"true\", undo = {:?} }}]\n", undo.wait()),
    ));
    let mut running = project.rdeploy(&["dev"]).start();
    running.until("every host to be switched", || gate.reached() == 2);
    running.interrupt();
    running.until("every host to be put back", || undo.reached() == 2);
    running.interrupt();
    let ended = running.wait().ends_with(8);
    insta::assert_snapshot!(ended.error(), @r#"
    error: host[N]: it was left before it had answered; unless it had committed, its guardian puts it back by itself, 2 s after it last heard from here at the latest
      hint: run the same command again once the host can be reached: it says what stands there, and first undoes what was left undone

    the deploy to dev ended without the word of every host ([T]: build [T], prepare [T])

      host   state          live release
      host1  not confirmed  not known
      host2  not confirmed  not known

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 8: not confirmed on some host: it puts itself back, or the next command says how it stands
    "#);
    assert!(before.is_locked(), "the guardians are at work");
    undo.open();
    // The host was drained, as far as anybody can tell, so its guardian runs this hook, too.
    gate.open();
    eventually("the guardians to end", || !before.is_locked());
    before.stands();
}

#[test]
fn a_client_that_is_killed_is_put_right_by_the_hosts() {
    let (project, before, gate) = switched("");
    let mut running = project.rdeploy(&["dev"]).start();
    running.until("every host to be switched", || gate.reached() == 2);
    assert_eq!(project.host(2).answer(), "200 version 2");
    running.kill();
    eventually("every host to put itself back", || before.is_live() && !before.is_locked());
    before.stands();
    // Nothing is in the way of the next one.
    gate.open();
    project.deploys();
    assert_eq!(project.host(2).answer(), "200 version 2");
}

#[test]
fn a_client_that_is_killed_before_the_switch_leaves_no_lock() {
    let (project, before, gate) = version_1();
    project.configure(&files(2, &format!("[hooks]\nafter_unpack = [{:?}]", gate.wait())));
    let mut running = project.rdeploy(&["dev"]).start();
    running.until("the hook on each host", || gate.reached() == 2);
    running.kill();
    eventually("the locks to be free", || !before.is_locked());
    before.stands();
}

#[test]
fn a_client_that_falls_silent_is_not_waited_for_longer_than_the_lease() {
    let (project, before, gate) = switched("");
    let mut running = project.rdeploy(&["dev"]).start();
    running.until("every host to be switched", || gate.reached() == 2);
    running.signal(Signal::STOP);
    eventually("every host to put itself back", || before.is_live() && !before.is_locked());
    before.stands();
    running.signal(Signal::CONT);
    // It has to notice that its hosts have gone their own way.
    let ended = running.wait();
    assert!(matches!(ended.code, Some(5 | 8)), "{ended}");
    before.stands();
}
