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
    insta::assert_snapshot!(project.rdeploy(&["--help"]).run(), @r#"
    exit code: 0
    --- stdout
    Deploys an application to its servers over SSH, as one transaction

    Builds a release here, uploads it to every host of an environment, switches to it, restarts the app
    with the host's supervisor and proves that it is healthy; or puts every host back.

    Usage: rdeploy [OPTIONS] <ENVIRONMENT | COMMAND>

    Commands:
      build  Build and pack the release, and stop there
      to     Deploy this directory to hosts named right here, without a deploy.toml
      demo   Show the whole story on this machine: two hosts inside rdeploy, a good and a broken
             release, a rollback
      serve  Serve a directory over HTTP (a small app to try deploys with)
      help   Print this message or the help of the given subcommand(s)

    Options:
          --config <FILE>
              Configuration file (default: deploy.toml, searched upwards from here)
              
              [env: RDEPLOY_CONFIG=]

      -v, --verbose...
              Show more: output of hooks and commands as it comes (-v), protocol details (-vv)

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Environments of shop:
      dev                    2 hosts inside rdeploy, on this machine
      prod                   web1.example.com, web2.example.com:2222

      rdeploy ENVIRONMENT                build, and deploy to it
      rdeploy ENVIRONMENT --rollback     go back to the release that was live before
      rdeploy ENVIRONMENT --help         everything else that can be done with it

    Exit codes:
        0  done; every host runs what was asked
        1  unexpected: this is a bug in rdeploy
        2  the command line, the configuration or the local build is wrong; no host was touched
        3  preflight, connection or login failed; no host was changed
        4  locked by somebody else; no host was changed
        5  failed; every host runs what it ran before
        6  failed, and some host could not be put back: a person must act
        7  done on fewer hosts than asked, as the configuration allows
        8  not confirmed on some host: it puts itself back, or the next command says how it stands
      130  interrupted; every host runs what it ran before
    --- stderr
    "#);
    insta::assert_snapshot!(project.rdeploy(&["-h"]).run(), @r"
    exit code: 0
    --- stdout
    Deploys an application to its servers over SSH, as one transaction

    Usage: rdeploy [OPTIONS] <ENVIRONMENT | COMMAND>

    Commands:
      build  Build and pack the release, and stop there
      to     Deploy this directory to hosts named right here, without a deploy.toml
      demo   Show the whole story on this machine: two hosts inside rdeploy, a good and a broken
             release, a rollback
      serve  Serve a directory over HTTP (a small app to try deploys with)
      help   Print this message or the help of the given subcommand(s)

    Options:
          --config <FILE>  Configuration file (default: deploy.toml, searched upwards from here) [env:
                           RDEPLOY_CONFIG=]
      -v, --verbose...     Show more: output of hooks and commands as it comes (-v), protocol details
                           (-vv)
      -h, --help           Print help (see more with '--help')
      -V, --version        Print version

    Environments of shop:
      dev                    2 hosts inside rdeploy, on this machine
      prod                   web1.example.com, web2.example.com:2222

      rdeploy ENVIRONMENT                build, and deploy to it
      rdeploy ENVIRONMENT --rollback     go back to the release that was live before
      rdeploy ENVIRONMENT --help         everything else that can be done with it
    --- stderr
    ");
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
    insta::assert_snapshot!(project.rdeploy(&["dev", "--help"]).run(), @r"
    exit code: 0
    --- stdout
    Deploy to an environment of deploy.toml

    Usage: rdeploy dev [OPTIONS] [VERB]

    Verbs:
      deploy    Build and deploy, as without a verb
      resume    Bring hosts that were left out, because they could not be reached, level with the others
      check     Ask every host what a deploy would ask first, and show it; changes nothing
      setup     Make the hosts ready: show what is missing on each, then do what this user may do
      status    Show what runs on every host: release, processes, memory, health
      logs      Show what the app writes on every host
      restart   Restart the live release's app, and prove it
      start     Start the live release's app where it does not run, and prove it
      stop      Stop the live release's app
      releases  Show which releases there are on which hosts, and how each stands
      recover   Settle what attempts have left that died: undo it, or finish what had committed
      lock      Freeze the environment: deploys and rollbacks are refused until `unlock`
      unlock    Lift a freeze, and free locks whose owner is dead, or is ordered to give way

    Options:
          --config <FILE>      Configuration file (default: deploy.toml, searched upwards from here)
                               [env: RDEPLOY_CONFIG=]
      -v, --verbose...         Show more: output of hooks and commands as it comes (-v), protocol
                               details (-vv)
          --rollback[=<ID>]    Go back to the release that was live before, or to the one named
          --artifact <FILE>    Deploy this artifact, made by `rdeploy build -o FILE`, instead of
                               building
          --wait[=<DURATION>]  Wait while somebody else holds the lock, for 15 minutes or as long as
                               said
          --timings <FILE>     Write a page (HTML) that shows where the time of this run went
      -h, --help               Print help
    --- stderr
    ");
}

#[test]
fn an_unknown_environment_is_answered_with_the_one_that_was_meant() {
    let project = Project::with(&format!("{}[env.prod]\nhosts = [\"web1\"]\n", files(1, "")));
    insta::assert_snapshot!(project.rdeploy(&["prdo"]).run(), @r#"
    exit code: 2
    --- stdout
    --- stderr
    error: there is no environment `prdo`
      hint: did you mean `prod`? (deploy.toml has dev, prod)
    "#);
    insta::assert_snapshot!(project.rdeploy(&["zzzzzz"]).run(), @r#"
    exit code: 2
    --- stdout
    --- stderr
    error: there is no environment `zzzzzz`
      hint: deploy.toml has dev, prod
    "#);
    insta::assert_snapshot!(project.rdeploy(&["build", "--env", "prdo"]).run(), @r#"
    exit code: 2
    --- stdout
    --- stderr
    error: there is no environment `prdo`
      hint: did you mean `prod`? (deploy.toml has dev, prod)
    "#);
}

#[test]
fn without_a_configuration_it_is_said_what_to_do() {
    let project = Project::new();
    insta::assert_snapshot!(project.rdeploy(&["prod"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: there is no deploy.toml in this directory, nor in any above it
    help: write a deploy.toml (see deploy.toml.example) or use `rdeploy to user@host:/path`
    ");
    insta::assert_snapshot!(project.rdeploy(&["prod", "--config", "other.toml"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: the file does not exist
    --> other.toml
    help: write a deploy.toml (see deploy.toml.example) or use `rdeploy to user@host:/path`
    ");
}

#[test]
fn a_wrong_option_is_answered_on_standard_error() {
    let project = Project::files(1, "");
    insta::assert_snapshot!(project.rdeploy(&["dev", "--rolback"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: unexpected argument '--rolback' found

      tip: a similar argument exists: '--rollback'

    Usage: rdeploy dev --rollback[=<ID>]

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(project.rdeploy(&["dev", "--rollback=yesterday"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: invalid value 'yesterday' for '--rollback[=<ID>]': `yesterday` is not a release id (fourteen digits, UTC YYYYMMDDHHMMSS)

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(project.rdeploy(&["dev", "--rollback", "--artifact", "x"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: the argument '--rollback[=<ID>]' cannot be used with '--artifact <FILE>'

    Usage: rdeploy dev --rollback[=<ID>]

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(project.rdeploy(&["dev", "deplyo"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: unrecognized subcommand 'deplyo'

      tip: a similar subcommand exists: 'deploy'

    Usage: rdeploy dev [OPTIONS] [VERB]

    For more information, try '--help'.
    ");
}

#[test]
fn everything_wrong_in_a_configuration_is_told_with_its_line() {
    let project = Project::with(
        "app = \"shop\"\ndeploy_to = \"srv/shop\"\nkeep_release = 3\n\n[env.dev]\nembedded = 0\n",
    );
    insta::assert_snapshot!(project.rdeploy(&["dev"]).run(), @r#"
    exit code: 2
    --- stdout
    --- stderr
    error: `srv/shop` is not an absolute path
     --> deploy.toml:2:13
      |
    2 | deploy_to = "srv/shop"
      |             ^^^^^^^^^^
      |
      = help: write "/srv/shop"

    error: unknown key `keep_release` at the top level
     --> deploy.toml:3:1
      |
    3 | keep_release = 3
      | ^^^^^^^^^^^^
      |
      = help: did you mean `keep_releases`?

    error: `embedded` must be from 1 to 9
     --> deploy.toml:6:12
      |
    6 | embedded = 0
      |            ^
      |
      = help: write 1

    error: 3 problems in deploy.toml
    "#);
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
fn what_is_not_deployed_is_not_stopped() {
    let project = Project::new();
    let listed = Listed::start(&project, 1);
    project.configure(&listed.files(""));
    insta::assert_snapshot!(project.rdeploy(&["prod", "stop"]).run(), @r"
    exit code: 3
    --- stdout
    --- stderr
    error: nothing was done
      127.0.0.1:HOST1: nothing is deployed there
      hint: deploy first: `rdeploy prod`
    ");
}
