//! What the command line says of itself, and of mistakes.

use std::fs;

use crate::support::listed::Listed;
use crate::support::project::Project;
use crate::support::project::files;

#[test]
fn help_inside_a_project_lists_its_environments() {
    let project = Project::with(&format!(
        "{}[env.prod]\nhosts = [\"deploy@web1.example.com\", \"deploy@web2.example.com:2222\"]\n",
        files(2, "")
    ));
    insta::assert_snapshot!(project.rdeploy(&["--help"]).run(), @"");
    insta::assert_snapshot!(project.rdeploy(&["-h"]).run(), @"");
    let named =
        project.rdeploy(&["--help", "--config", "shop/deploy.toml"]).within(&project.beside("")).run();
    assert!(named.out.contains("Environments of shop:"), "{named}");
    let named = project.rdeploy(&["--help", "--config=shop/deploy.toml"]).within(&project.beside("")).run();
    assert!(named.out.contains("Environments of shop:"), "{named}");
    let named = project.rdeploy(&["--help"]).env("RDEPLOY_CONFIG", "shop/deploy.toml");
    let named = named.within(&project.beside("")).run();
    assert!(named.out.contains("Environments of shop:"), "{named}");
}

#[test]
fn help_outside_a_project_says_so() {
    let project = Project::new();
    let ended = project.rdeploy(&["--help"]).run().ends_with(0);
    let help = ended.output();
    assert!(help.contains("no project with a deploy.toml"), "{help}");
    assert!(help.contains("Exit codes:\n    0  done"), "{help}");
}

#[test]
fn alone_it_shows_help_and_fails() {
    let project = Project::new();
    let ended = project.rdeploy(&[]).run().ends_with(2);
    assert_eq!(ended.out, "");
    assert!(ended.err.contains("Usage: rdeploy [OPTIONS] <ENVIRONMENT | COMMAND>"), "{ended}");
}

#[test]
fn an_environment_has_help_of_its_own() {
    let project = Project::files(1, "");
    insta::assert_snapshot!(project.rdeploy(&["dev", "--help"]).run(), @"");
}

#[test]
fn an_unknown_environment_is_answered_with_the_one_that_was_meant() {
    let project = Project::with(&format!("{}[env.prod]\nhosts = [\"web1\"]\n", files(1, "")));
    insta::assert_snapshot!(project.rdeploy(&["prdo"]).run(), @"");
    insta::assert_snapshot!(project.rdeploy(&["zzzzzz"]).run(), @"");
    insta::assert_snapshot!(project.rdeploy(&["build", "--env", "prdo"]).run(), @"");
}

#[test]
fn without_a_configuration_it_is_said_what_to_do() {
    let project = Project::new();
    insta::assert_snapshot!(project.rdeploy(&["prod"]).run(), @"");
    insta::assert_snapshot!(project.rdeploy(&["prod", "--config", "other.toml"]).run(), @"");
}

#[test]
fn a_wrong_option_is_answered_on_standard_error() {
    let project = Project::files(1, "");
    insta::assert_snapshot!(project.rdeploy(&["dev", "--rolback"]).run(), @"");
    insta::assert_snapshot!(project.rdeploy(&["dev", "--rollback=yesterday"]).run(), @"");
    insta::assert_snapshot!(project.rdeploy(&["dev", "--rollback", "--artifact", "x"]).run(), @"");
    insta::assert_snapshot!(project.rdeploy(&["dev", "deplyo"]).run(), @"");
}

#[test]
fn everything_wrong_in_a_configuration_is_told_with_its_line() {
    let project = Project::with(
        "app = \"shop\"\ndeploy_to = \"srv/shop\"\nkeep_release = 3\n\n[env.dev]\nembedded = 0\n",
    );
    insta::assert_snapshot!(project.rdeploy(&["dev"]).run(), @"");
}

#[test]
fn a_configuration_can_be_named() {
    let project = Project::files(1, "");
    fs::rename(project.file("deploy.toml"), project.file("rehearsal.toml")).unwrap();
    for args in [["dev", "--config", "shop/rehearsal.toml"], ["--config", "shop/rehearsal.toml", "dev"]] {
        project.rdeploy(&args).within(&project.beside("")).run().ends_with(0);
    }
    let named = project.rdeploy(&["dev"]).env("RDEPLOY_CONFIG", "rehearsal.toml").run().ends_with(0);
    assert!(named.out.contains("deploy of shop on dev"), "{named}");
    assert_eq!(project.host(1).releases().len(), 3);
    fs::rename(project.file("rehearsal.toml"), project.file("deploy.toml")).unwrap();
}

#[test]
fn stopping_is_for_embedded_environments() {
    let project = Project::new();
    let listed = Listed::start(&project, 1);
    project.configure(&listed.files(""));
    insta::assert_snapshot!(project.rdeploy(&["prod", "stop"]).run(), @"");
}
