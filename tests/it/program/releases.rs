//! `releases`: which releases there are on which hosts.

use crate::support::listed::Listed;
use crate::support::project::Project;

#[test]
fn releases_are_listed_newest_first_with_what_is_live() {
    let project = Project::files(2, "");
    insta::assert_snapshot!(project.rdeploy(&["dev", "releases"]).run(), @r"
    exit code: 0
    --- stdout
    there are no releases on dev
    --- stderr
    ");
    for version in 1..=3 {
        project.version(version);
        project.deploys();
    }
    project.rdeploy(&["dev", "--rollback"]).run().ends_with(0);
    insta::assert_snapshot!(project.rdeploy(&["dev", "releases"]).run(), @r"
    exit code: 0
    --- stdout
    release         state  live  commit  made                  by
    [RELEASE-----3]  bad          -       [TIME]  ada@[MACHINE]
    [RELEASE-----2]  good   live  -       [TIME]  ada@[MACHINE]
    [RELEASE-----1]  good         -       [TIME]  ada@[MACHINE]
    --- stderr
    ");
    assert!(!project.host(1).is_locked());
}

#[test]
fn a_host_that_cannot_be_reached_is_named() {
    let project = Project::new();
    let listed = Listed::start(&project, 1);
    project.configure(&format!("{}[env.gone]\nhosts = [\"127.0.0.1:1\"]\n", listed.files("")));
    for verb in [&["gone", "releases"][..], &["gone", "unlock"], &["gone", "lock", "-m", "x"]] {
        project.rdeploy(verb).run().ends_with(3).tells("not every host could be reached; nothing was done");
    }
    insta::assert_snapshot!(project.rdeploy(&["gone", "recover"]).run(), @r"
    exit code: 8
    --- stdout
    host         found      done       live release
    127.0.0.1:1  not known  not known  not known
    --- stderr
    error: it is not known how some hosts stand
      127.0.0.1:1: cannot connect to 127.0.0.1:1 (tried 127.0.0.1:1): Connection refused (os error 111); the machine answers, but nothing listens there: check the port, and that sshd runs
      hint: look at them, then run `rdeploy gone recover`
    ");
}
