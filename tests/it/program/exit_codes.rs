//! The codes that no other test is about. (0 and 5: `story`; 2: `help`, `builds`; 3: `preflight`; 4:
//! `locks`; 7: `resume`; 8 and 130: `stops`.)

use std::process::Command;

use rustix::process::Signal;

use crate::support::project::Project;
use crate::support::project::RDEPLOY;

use crate::support::gate::Gate;
use crate::support::running::Running;
use crate::support::shown::squeezed;

use super::before::Before;
use super::unlock::signal_guardian;

/// Two hosts that run version 1 of an app which does not start where `run/broken` is; and `deploy.toml`.
fn breakable() -> (Project, Before, String) {
    let project = Project::served(2);
    let config = std::fs::read_to_string(project.file("deploy.toml")).unwrap();
    let config = config
        .replace("start  = '''", "start  = '''[ ! -e run/broken ] || { echo disk is broken; exit 1; }; ");
    project.configure(&config);
    let before = Before::version_1(&project, 2);
    (project, before, config)
}

/// A deploy to them whose every host is switched when its client hangs, and the second host breaks.
fn hanging(project: &Project, config: &str) -> Running {
    let gate = Gate::new(project, "gate");
    let hooks = format!("[hooks]\nafter_switch = [{:?}]\n\n[env.dev]", gate.wait());
    project.configure(&config.replace("[env.dev]", &hooks));
    let mut deploy = project.rdeploy(&["dev"]).start();
    deploy.until("every host to be switched", || gate.reached() == 2);
    deploy.signal(Signal::STOP);
    std::fs::write(project.host(2).root.join("shared/run/broken"), "").unwrap();
    deploy
}

#[test]
fn recover_says_which_host_needs_a_person() {
    let (project, before, config) = breakable();
    let deploy = hanging(&project, &config);
    for n in [1, 2] {
        signal_guardian(&project.host(n), Signal::KILL);
    }
    deploy.kill();
    let ended = project.rdeploy(&["dev", "recover"]).run().ends_with(6);
    insta::assert_snapshot!(squeezed(&ended.to_string()), @r"
    exit code: 6
    --- stdout
    host  found  done  live release
    host1  deploy [RELEASE-----2], which had died  put back  [RELEASE-----1]
    host2  deploy [RELEASE-----2], which had died  could not be put back  [RELEASE-----1]
    --- stderr
    error: not everything could be put back
      host2: current is back at [ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/releases/[RELEASE-----1], but the app could not be proven to run as before
      hint: these hosts need a person: see .rdeploy/revert-failed.log under deploy_to on them
    ");
    assert!(before.is_live() && !before.is_locked());
}

#[test]
fn unlock_says_which_host_needs_a_person() {
    let (project, before, config) = breakable();
    let mut deploy = hanging(&project, &config);
    let ended = project.rdeploy(&["dev", "unlock", "--force"]).run().ends_with(6);
    insta::assert_snapshot!(squeezed(&ended.to_string()), @r"
    exit code: 6
    --- stdout
    host  found  done  live release
    host1  ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev, alive  its guardian put the host back  [RELEASE-----1]
    host2  ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev, alive  its guardian could not put the host back  [RELEASE-----1]
    --- stderr
    error: not everything could be put back
      host2: its guardian could not put the host back
      hint: these hosts need a person: see .rdeploy/revert-failed.log under deploy_to on them
    ");
    deploy.signal(Signal::CONT);
    deploy.wait().ends_with(6);
    assert!(before.is_live() && !before.is_locked());
}

#[test]
fn a_host_that_cannot_be_put_back_needs_a_person() {
    let (project, before, config) = breakable();
    project.configure(&config.replace(
        "[env.dev]",
        "[hooks]\nafter_switch = [\"[ $RDEPLOY_HOST != host2 ] || { touch run/broken; exit 1; }\"]\n\n[env.dev]",
    ));
    let ended = project.rdeploy(&["dev"]).run();
    insta::assert_snapshot!(ended.ends_with(6).error(), @r#"
    error: `[ $RDEPLOY_HOST != host2 ] || { touch run/broken; exit 1; }` exited with code 1
      hint: run the command by hand in the release on that host to look into it

    error: current is back at [ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/releases/[RELEASE-----1], but the app could not be proven to run as before
      it wrote:
      | the start command failed with status 1 in [ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/current. Its last lines follow; run it there by hand to see more.
      | disk is broken
      | current is back at [ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/releases/[RELEASE-----1], but the app could not be proven to run as before
      hint: this host needs a person: see .rdeploy/revert-failed.log under deploy_to on it

    the deploy to dev failed and could not be put back everywhere ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  failed    not known

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 6: failed, and some host could not be put back: a person must act
    "#);
    assert!(before.is_live(), "the links are back");
    assert_eq!(project.host(1).answer(), "200 version 1");
    assert!(!before.is_locked());

    // A person puts the disk right and deploys again.
    std::fs::remove_file(project.host(2).root.join("shared/run/broken")).unwrap();
    project.configure(&config);
    project.deploys();
    assert_eq!([project.host(1).answer(), project.host(2).answer()], ["200 version 2", "200 version 2"]);
}

#[test]
fn a_system_without_sockets_to_give_is_an_unexpected_failure() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 4; exec \"$0\" --version", RDEPLOY])
        .env_clear()
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("error: "), "{error}");
}

#[test]
fn a_result_that_nobody_can_read_is_said() {
    let project = Project::files(1, "");
    project.deploys();
    let run = |args: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" {args} >/dev/full"), RDEPLOY]).env_clear();
        command.envs(project.environment()).current_dir(project.file("")).output().unwrap()
    };
    for args in ["build", "dev stop"] {
        let output = run(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args}: {error}");
        assert!(error.contains("standard output cannot be written"), "{args}: {error}");
    }
    // A deploy goes on without its reader.
    let output = run("dev");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(error.contains("standard output cannot be written any more"), "{error}");
}
