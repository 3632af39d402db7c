//! Hosts that cannot be reached, and a user who allows to go on without some: who is left out, who never
//! is, and what that changes for the others.

use std::fs;

use crate::support::listed::Listed;
use crate::support::project::Project;
use crate::support::project::Tree;

use super::before::Before;

/// Three hosts that run version 1, one of which may be missing, and a project that is version 2.
pub(super) fn version_1(more: &str, roles: &[&[&str]]) -> (Project, Listed) {
    let project = Project::new();
    let listed = Listed::start(&project, 3);
    project.configure(&(listed.files_for(more, roles) + "max_unreachable = 1\n"));
    project.version(1);
    project.rdeploy(&["prod"]).run().ends_with(0);
    project.version(2);
    (project, listed)
}

pub(super) fn page(tree: &Tree) -> String {
    tree.read("current/public/index.html").trim().to_owned()
}

/// What a host remembers of others.
pub(super) fn absent(tree: &Tree) -> Option<String> {
    fs::read_to_string(tree.root.join(".rdeploy/absent")).ok()
}

#[test]
fn more_than_allowed_stop_the_run_and_all_are_listed() {
    let (project, mut listed) = version_1("", &[]);
    let before = Before::on(listed.trees());
    listed.stop(1);
    listed.stop(3);
    let ended = project.rdeploy(&["prod"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r"

    error: cannot connect to 127.0.0.1:HOST1 (tried 127.0.0.1:HOST1): Connection refused (os error 111)
      hint: the machine answers, but nothing listens there: check the port, and that sshd runs

    error: cannot connect to 127.0.0.1:HOST3 (tried 127.0.0.1:HOST3): Connection refused (os error 111)
      hint: the machine answers, but nothing listens there: check the port, and that sshd runs

    error: 2 hosts cannot be reached, and max_unreachable allows 1

    the deploy to prod did not start ([T])

      host             state                   live release
      127.0.0.1:HOST1  not reached, unchanged  not known
      127.0.0.1:HOST2  unchanged               [RELEASE-----1]
      127.0.0.1:HOST3  not reached, unchanged  not known

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    ");
    before.stands();
    assert!(listed.trees().iter().all(|tree| absent(tree).is_none()));
}

#[test]
fn a_host_with_another_key_is_never_left_out() {
    let (project, listed) = version_1("", &[]);
    let before = Before::on(listed.trees());
    let known = listed.key_line(1) + &listed.wrong_key_line(2) + &listed.key_line(3);
    fs::write(listed.known_hosts(), known).unwrap();
    let ended = project.rdeploy(&["prod"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r"

    error: the ssh-ed25519 key of 127.0.0.1:HOST2 has changed to SHA256:[KEY]; known: ssh-ed25519 SHA256:[KEY] ([ROOT]/hosts/known_hosts:2)
      hint: either the host was reinstalled or somebody is in between: compare the new fingerprint with the host's own; only if they agree, remove [ROOT]/hosts/known_hosts:2 and connect again

    the deploy to prod did not start ([T])

      host             state                   live release
      127.0.0.1:HOST1  unchanged               [RELEASE-----1]
      127.0.0.1:HOST2  not reached, unchanged  not known
      127.0.0.1:HOST3  unchanged               [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    ");
    // Nor by `resume`.
    project.rdeploy(&["prod", "resume"]).run().ends_with(3).tells("has changed to");
    before.stands();
}

#[test]
fn a_host_that_fails_a_check_is_never_left_out_beside_one_that_is() {
    let (project, mut listed) = version_1("", &[]);
    listed.stop(1);
    project.configure(&(listed.files("linked_files = [\".env\"]") + "max_unreachable = 1\n"));
    fs::write(listed.tree(3).root.join("shared/.env"), "").unwrap();
    let before = Before::on(listed.trees());
    let ended = project.rdeploy(&["prod"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r"

    error: 127.0.0.1:HOST2: the linked file .env is missing: put it at [ROOT]/hosts/host[N]/fs/srv/shop/shared/.env

    the deploy to prod did not start ([T])

      host             state      live release
      127.0.0.1:HOST1  left out   not known
      127.0.0.1:HOST2  unchanged  [RELEASE-----1]
      127.0.0.1:HOST3  unchanged  [RELEASE-----1]

    next: correct what is named above and run the same command again; nothing needs cleaning up
    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    ");
    before.stands();
}

#[test]
fn a_once_hook_goes_to_the_first_of_its_hosts_that_is_there() {
    let hooks = "[hooks]\nbefore_switch = [{ run = \"echo migrated >>../../shared/log\", roles = [\"db\"], once = true }]\n";
    let (project, mut listed) = version_1(hooks, &[&["db"], &["web"], &["db"]]);
    let ran = |listed: &Listed| -> Vec<bool> {
        listed.trees().iter().map(|tree| tree.root.join("shared/log").exists()).collect()
    };
    assert_eq!(ran(&listed), [true, false, false]);
    listed.stop(1);
    project.rdeploy(&["prod"]).run().ends_with(7);
    assert_eq!(ran(&listed), [true, false, true]);
    assert_eq!(listed.trees().iter().map(page).collect::<Vec<_>>(), ["version 1", "version 2", "version 2"]);
    listed.tree(2).is_clean();
}

#[test]
fn without_any_host_for_a_once_hook_nothing_is_changed() {
    let hooks = "[hooks]\nbefore_switch = [{ run = \"true\", roles = [\"db\"], once = true }]\n";
    let (project, mut listed) = version_1(hooks, &[&["db"], &["web"], &["web"]]);
    let before = Before::on(listed.trees());
    listed.stop(1);
    let ended = project.rdeploy(&["prod"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r"

    error: the before_switch hook `true` runs once, on a host for db, and none of those can be reached
      hint: bring one of them up and run the same command again; nothing was changed

    the deploy to prod did not start ([T])

      host             state      live release
      127.0.0.1:HOST1  left out   not known
      127.0.0.1:HOST2  unchanged  [RELEASE-----1]
      127.0.0.1:HOST3  unchanged  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    ");
    before.stands();
}

#[test]
fn a_failure_on_fewer_hosts_keeps_its_own_exit_code() {
    let (project, mut listed) = version_1("", &[]);
    let before = Before::on(listed.trees());
    listed.stop(3);
    project.configure(&(listed.files("[hooks]\nafter_switch = [\"false\"]\n") + "max_unreachable = 1\n"));
    let ended = project.rdeploy(&["prod"]).run().ends_with(5);
    let error = ended.error();
    assert!(error.contains("127.0.0.1:HOST3  left out"), "{error}");
    before.stands();
    assert!(listed.trees().iter().all(|tree| absent(tree).is_none()));
}
