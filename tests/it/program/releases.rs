//! `releases`: which releases there are on which hosts.

use crate::support::listed::Listed;
use crate::support::project::Project;

#[test]
fn releases_are_listed_newest_first_with_what_is_live() {
    let project = Project::files(2, "");
    insta::assert_snapshot!(project.rdeploy(&["dev", "releases"]).run(), @"");
    for version in 1..=3 {
        project.version(version);
        project.deploys();
    }
    project.rdeploy(&["dev", "--rollback"]).run().ends_with(0);
    insta::assert_snapshot!(project.rdeploy(&["dev", "releases"]).run(), @"");
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
    insta::assert_snapshot!(project.rdeploy(&["gone", "recover"]).run(), @"");
}
