//! The codes that no other test is about. (0 and 5: `story`; 2: `help`, `builds`; 3: `preflight`; 4:
//! `locks`; 7: `resume`; 8 and 130: `stops`.)

use std::process::Command;

use crate::support::project::Project;
use crate::support::project::RDEPLOY;

use super::before::Before;

#[test]
fn a_host_that_cannot_be_put_back_needs_a_person() {
    let project = Project::served(2);
    let config = std::fs::read_to_string(project.file("deploy.toml")).unwrap();
    project.configure(
        &config
            .replace("start  = '''", "start  = '''[ ! -e run/broken ] || { echo disk is broken; exit 1; }; "),
    );
    let before = Before::version_1(&project, 2);
    let config = std::fs::read_to_string(project.file("deploy.toml")).unwrap();
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
