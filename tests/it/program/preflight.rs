//! What is found before anything changes: every problem of every host, at once, with exit code 3.

use std::fs;

use crate::support;
use crate::support::listed::Listed;
use crate::support::project::Project;
use crate::support::project::files;

use super::before::Before;

#[test]
fn every_problem_of_every_host_is_told_at_once() {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    project.configure(&files(2, "linked_files = [\".env\", \"config/key\"]"));
    let [first, second] = [project.host(1).root, project.host(2).root];
    fs::write(first.join("shared/.env"), "").unwrap();
    fs::create_dir(second.join("shared/config")).unwrap();
    fs::write(second.join("shared/config/key"), "").unwrap();
    let ended = project.rdeploy(&["dev"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r#"
    error: the linked file config/key is missing: put it at [ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/shared/config/key

    error: the linked file .env is missing: put it at [ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/shared/.env

    the deploy to dev did not start ([T])

      host   state      live release
      host1  unchanged  [RELEASE-----1]
      host2  unchanged  [RELEASE-----1]

    next: correct what is named above and run the same command again; nothing needs cleaning up
    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
    before.stands();
}

#[test]
fn a_real_directory_at_current_is_refused_and_never_deleted() {
    let project = Project::files(2, "");
    let other = project.host(2).root;
    fs::create_dir_all(other.join("current")).unwrap();
    fs::write(other.join("current/precious"), "").unwrap();
    let ended = project.rdeploy(&["dev"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r#"
    error: [ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/current is a real directory or file, not the link to the live release; move it away yourself (for example: mv '[ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/current' '[ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/current.before-rdeploy'), rdeploy never deletes it

    the deploy to dev did not start ([T])

      host   state      live release
      host1  unchanged  none
      host2  unchanged  none

    next: correct what is named above and run the same command again; nothing needs cleaning up
    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
    assert!(other.join("current/precious").exists());
    assert_eq!(project.host(1).live(), None);
    assert!(!project.host(1).root.exists(), "the other host was not touched either");
}

#[test]
fn a_file_in_the_way_of_deploy_to_is_named() {
    let project = Project::files(1, "");
    let root = project.host(1).root;
    fs::create_dir_all(root.parent().unwrap().parent().unwrap()).unwrap();
    fs::write(root.parent().unwrap(), "a file").unwrap();
    let ended = project.rdeploy(&["dev"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r#"
    error: mkdir: cannot create directory '[ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv': Not a directory mkdir: cannot create directory '[ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv': Not a directory mkdir: cannot create directory '[ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv': Not a directory
      hint: mend the cause named above and deploy again

    the deploy to dev did not start ([T]: build [T])

      host   state      live release
      host1  unchanged  none

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
}

#[test]
fn a_user_who_may_not_make_deploy_to_is_told_the_command_that_makes_it() {
    let project = Project::files(1, "");
    let place = project.host(1).root;
    if rustix::process::geteuid().is_root() {
        // Root may write everywhere, so the host's commands run as somebody who may not.
        let Some(setpriv) = support::find_program("setpriv") else {
            return support::skip("a user who may not make deploy_to", "there is no setpriv");
        };
        let become_nobody = "--reuid 65534 --regid 65534 --clear-groups";
        project.tool("sh", &format!("exec {} {become_nobody} /bin/sh \"$@\"", setpriv.display()));
    } else {
        let fs_of_host = place.ancestors().nth(2).unwrap();
        fs::set_permissions(fs_of_host, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    }
    let ended = project.rdeploy(&["dev"]).run().ends_with(3);
    let error = ended.error();
    assert!(error.contains("may not create it in"), "{error}");
    assert!(error.contains("run on the host: sudo install -d -o "), "{error}");
    assert!(!place.exists());
}

#[test]
fn a_tree_of_another_environment_is_refused() {
    let project = Project::with(&format!("{}[env.other]\nembedded = 1\n", files(1, "")));
    project.deploys();
    let before = Before::on_embedded(&project, 1);
    let ended = project.rdeploy(&["other"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r#"
    error: [ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop belongs to app and environment `shop dev`, not to `shop other`; give each its own deploy_to

    the deploy to other did not start ([T])

      host   state      live release
      host1  unchanged  [RELEASE-----1]

    next: correct what is named above and run the same command again; nothing needs cleaning up
    full log: [ROOT]/state/logs/[TIME]-other-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
    before.stands();
}

#[test]
fn one_tree_named_by_two_addresses_is_refused() {
    let project = Project::new();
    let listed = Listed::start(&project, 1);
    let port = listed.name(1).replace("127.0.0.1:", "");
    let known = listed.key_line(1);
    fs::write(listed.known_hosts(), known.clone() + &known.replace("127.0.0.1", "localhost")).unwrap();
    project.write("public/index.html", "version 1");
    project.configure(&format!(
        "app = \"shop\"\ndeploy_to = \"/srv/shop\"\n{}[env.prod]\n\
         hosts = [\"deploy@127.0.0.1:{port}\", \"deploy@localhost:{port}\"]\n",
        listed.ssh()
    ));
    let ended = project.rdeploy(&["prod"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error().replace(&port, "HOST1"), @r#"
    error: localhost:HOST1: this is the same directory on the same machine as 127.0.0.1:HOST1; name it once

    the deploy to prod did not start ([T])

      host             state      live release
      127.0.0.1:HOST1  unchanged  none
      localhost:HOST1  unchanged  none

    next: correct what is named above and run the same command again; nothing needs cleaning up
    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
    assert!(!listed.tree(1).root.exists());
}

#[test]
fn a_rollback_without_an_earlier_release_is_refused() {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    let ended = project.rdeploy(&["dev", "--rollback"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r#"
    error: there is no earlier good release to roll back to on host1, host2
      hint: no other release that ran well is on every host; deploy one instead

    the rollback of dev did not start ([T])

      host   state      live release
      host1  unchanged  [RELEASE-----1]
      host2  unchanged  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
    let ended = project.rdeploy(&["dev", "--rollback=20200101000000"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r#"
    error: release [RELEASE-----2] cannot be rolled back to on host1: it is not there; host2: it is not there
      hint: no other release that ran well is on every host; deploy one instead

    the rollback of dev did not start ([T])

      host   state      live release
      host1  unchanged  [RELEASE-----1]
      host2  unchanged  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
    before.stands();
}

#[test]
fn a_rollback_to_what_is_live_changes_nothing_and_is_no_failure() {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    let live = project.host(1).live().unwrap();
    let ended = project.rdeploy(&["dev", &format!("--rollback={live}")]).run();
    insta::assert_snapshot!(ended, @r#"
    exit code: 0
    --- stdout
    rollback of shop on dev: host1, host2
    nothing to do: dev runs [RELEASE-----1] already on 2 hosts in [T]
    --- stderr
    "#);
    before.stands();
}
