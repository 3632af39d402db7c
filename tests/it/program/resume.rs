//! `rdeploy ENV resume`: hosts that were left out are brought level with the others.

use crate::support::listed::Listed;
use crate::support::project::Project;

use super::unreachable::absent;
use super::unreachable::page;
use super::unreachable::version_1;

fn pages(listed: &Listed) -> Vec<String> {
    listed.trees().iter().map(page).collect()
}

fn remembered(listed: &Listed) -> Vec<Option<String>> {
    listed.trees().iter().map(absent).collect()
}

/// Version 2 is on the first two hosts, and the third is there again.
fn left_behind(more: &str) -> (Project, Listed) {
    let (project, mut listed) = version_1(more, &[]);
    listed.stop(3);
    project.rdeploy(&["prod"]).run().ends_with(7);
    listed.start_again(3);
    (project, listed)
}

#[test]
fn a_host_that_was_left_out_is_brought_level_when_it_is_back() {
    let (project, mut listed) = version_1("", &[]);
    listed.stop(3);
    let ended = project.rdeploy(&["prod"]).run().ends_with(7);
    insta::assert_snapshot!(ended, @r"
    exit code: 7
    --- stdout
    deploy of shop on prod: 127.0.0.1:HOST1, 127.0.0.1:HOST2, 127.0.0.1:HOST3
    local           | packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    127.0.0.1:HOST1 | uploaded [SIZE]
    127.0.0.1:HOST1 | preparing
    127.0.0.1:HOST1 | switching
    127.0.0.1:HOST1 | current is now [RELEASE-----2]
    127.0.0.1:HOST1 | verifying
    127.0.0.1:HOST1 | proven to run [RELEASE-----2]: current leads to the release, and nothing is supervised
    127.0.0.1:HOST1 | done
    127.0.0.1:HOST2 | uploaded [SIZE]
    127.0.0.1:HOST2 | preparing
    127.0.0.1:HOST2 | switching
    127.0.0.1:HOST2 | current is now [RELEASE-----2]
    127.0.0.1:HOST2 | verifying
    127.0.0.1:HOST2 | proven to run [RELEASE-----2]: current leads to the release, and nothing is supervised
    127.0.0.1:HOST2 | done
    127.0.0.1:HOST3 | warning: it cannot be reached and is left out: cannot connect to 127.0.0.1:HOST3 (tried 127.0.0.1:HOST3): Connection refused (os error 111)
    --- stderr

    deployed [RELEASE-----2] to prod, without 127.0.0.1:HOST3 ([T]: build [T], prepare [T], switch [T])

      host             state     live release
      127.0.0.1:HOST1  done      [RELEASE-----2]
      127.0.0.1:HOST2  done      [RELEASE-----2]
      127.0.0.1:HOST3  left out  not known

    next: when the hosts that were left out can be reached again: `rdeploy prod resume`
    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 7: done on fewer hosts than asked, as the configuration allows
    ");
    assert_eq!(pages(&listed), ["version 2", "version 2", "version 1"]);
    let third = format!("{}\n", listed.name(3));
    assert_eq!(remembered(&listed), [Some(third.clone()), Some(third.clone()), None]);

    // It is still not there.
    let ended = project.rdeploy(&["prod", "resume"]).run().ends_with(7);
    insta::assert_snapshot!(ended, @r"
    exit code: 7
    --- stdout
    resume of shop on prod: 127.0.0.1:HOST1, 127.0.0.1:HOST2, 127.0.0.1:HOST3
    127.0.0.1:HOST3 | warning: it cannot be reached and is left out: cannot connect to 127.0.0.1:HOST3 (tried 127.0.0.1:HOST3): Connection refused (os error 111)
    --- stderr

    nothing to do where prod can be reached: [RELEASE-----2] runs there already ([T])

      host             state      live release
      127.0.0.1:HOST1  unchanged  [RELEASE-----2]
      127.0.0.1:HOST2  unchanged  [RELEASE-----2]
      127.0.0.1:HOST3  left out   not known

    next: when the hosts that were left out can be reached again: `rdeploy prod resume`
    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 7: done on fewer hosts than asked, as the configuration allows
    ");
    assert_eq!(remembered(&listed)[0], Some(third));

    listed.start_again(3);
    let ended = project.rdeploy(&["prod", "resume"]).run().ends_with(0);
    insta::assert_snapshot!(ended, @r"
    exit code: 0
    --- stdout
    resume of shop on prod: 127.0.0.1:HOST1, 127.0.0.1:HOST2, 127.0.0.1:HOST3
    127.0.0.1:HOST3 | uploaded [SIZE]
    127.0.0.1:HOST3 | preparing
    127.0.0.1:HOST3 | switching
    127.0.0.1:HOST3 | current is now [RELEASE-----2]
    127.0.0.1:HOST3 | verifying
    127.0.0.1:HOST3 | proven to run [RELEASE-----2]: current leads to the release, and nothing is supervised
    127.0.0.1:HOST3 | done
    brought prod level with [RELEASE-----2] on 3 hosts in [T] (prepare [T], switch [T])
    --- stderr
    ");
    assert_eq!(pages(&listed), ["version 2"; 3]);
    assert_eq!(listed.tree(3).live(), listed.tree(1).live(), "the same release");
    assert_eq!(remembered(&listed), [None, None, None]);

    let ended = project.rdeploy(&["prod", "resume"]).run().ends_with(0);
    insta::assert_snapshot!(ended, @r"
    exit code: 0
    --- stdout
    resume of shop on prod: 127.0.0.1:HOST1, 127.0.0.1:HOST2, 127.0.0.1:HOST3
    nothing to do: prod runs [RELEASE-----2] already on 3 hosts in [T]
    --- stderr
    ");
    for tree in listed.trees() {
        tree.is_clean();
        assert_eq!(tree.releases().len(), 2);
    }
    // And it goes back with the others.
    project.rdeploy(&["prod", "--rollback"]).run().ends_with(0);
    assert_eq!(pages(&listed), ["version 1"; 3]);
}

#[test]
fn what_runs_once_does_not_run_again_and_what_runs_on_each_host_does() {
    let hooks = "[hooks]\nafter_unpack = [\"touch public/unpacked\"]\n\
        before_switch = [{ run = \"echo migrated >>../../shared/log\", once = true }, \"touch ../../shared/drained\"]\n";
    let (project, listed) = left_behind(hooks);
    for tree in listed.trees() {
        let _ = std::fs::remove_file(tree.root.join("shared/drained"));
    }
    project.rdeploy(&["prod", "resume"]).run().ends_with(0);
    assert_eq!(listed.tree(1).read("shared/log"), "migrated\nmigrated\n", "once for each version");
    let third = listed.tree(3).root;
    assert!(third.join("current/public/unpacked").exists() && third.join("shared/drained").exists());
    assert!(!third.join("shared/log").exists());
    assert!(!listed.tree(1).root.join("shared/drained").exists(), "nothing runs on a host that is level");
}

#[test]
fn the_artifact_has_to_be_the_very_one_that_the_others_run() {
    let (project, listed) = left_behind("");
    project.rdeploy(&["build", "-o", "v2.tar.gz"]).run().ends_with(0);
    std::fs::rename(project.file("v2.tar.gz"), project.beside("v2.tar.gz")).unwrap();
    project.version(3);
    project.rdeploy(&["build", "-o", "v3.tar.gz"]).run().ends_with(0);
    let v2 = project.beside("v2.tar.gz");
    let v2 = v2.to_str().unwrap();
    // Another machine, or a cache that was emptied.
    let elsewhere = project.beside("other-cache");
    let resume = |more: &[&str]| {
        let args = [&["prod", "resume"], more].concat();
        project.rdeploy(&args).env("RDEPLOY_CACHE_DIR", elsewhere.to_str().unwrap()).run()
    };
    insta::assert_snapshot!(resume(&[]).ends_with(2).error(), @r"

    error: 127.0.0.1:HOST3 cannot be sent release [RELEASE-----2]: its artifact, [DIGEST], is not in the cache here
      hint: name the file, made then by `rdeploy build -o FILE`: `rdeploy prod resume --artifact FILE`; or deploy to all hosts: `rdeploy prod`

    the resume of prod did not start ([T])

      host             state      live release
      127.0.0.1:HOST1  unchanged  [RELEASE-----2]
      127.0.0.1:HOST2  unchanged  [RELEASE-----2]
      127.0.0.1:HOST3  unchanged  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 2: the command line, the configuration or the local build is wrong; no host was touched
    ");
    insta::assert_snapshot!(resume(&["--artifact", "v3.tar.gz"]).ends_with(2).error(), @r"

    error: the artifact that was given is [DIGEST], but release [RELEASE-----2] was made of [DIGEST]
      hint: give that one, or deploy to all hosts: `rdeploy prod`

    the resume of prod did not start ([T])

      host             state      live release
      127.0.0.1:HOST1  unchanged  [RELEASE-----2]
      127.0.0.1:HOST2  unchanged  [RELEASE-----2]
      127.0.0.1:HOST3  unchanged  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 2: the command line, the configuration or the local build is wrong; no host was touched
    ");
    assert_eq!(pages(&listed), ["version 2", "version 2", "version 1"]);
    resume(&["--artifact", v2]).ends_with(0);
    assert_eq!(pages(&listed), ["version 2"; 3]);
    assert_eq!(remembered(&listed), [None, None, None]);
    insta::assert_snapshot!(project.rdeploy(&["prod", "resume", "--rollback"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: unexpected argument '--rollback' found

    Usage: rdeploy prod resume [OPTIONS]

    For more information, try '--help'.
    ");
}

#[test]
fn a_host_that_missed_a_rollback_goes_back_to_what_it_still_has() {
    let (project, mut listed) = version_1("", &[]);
    project.rdeploy(&["prod"]).run().ends_with(0);
    // The first host arbitrates the locks otherwise.
    listed.stop(1);
    let ended = project.rdeploy(&["prod", "--rollback"]).run().ends_with(7);
    insta::assert_snapshot!(ended.error(), @r"

    rolled prod back to [RELEASE-----1], without 127.0.0.1:HOST1 ([T]: prepare [T], switch [T])

      host             state     live release
      127.0.0.1:HOST1  left out  not known
      127.0.0.1:HOST2  done      [RELEASE-----1]
      127.0.0.1:HOST3  done      [RELEASE-----1]

    next: when the hosts that were left out can be reached again: `rdeploy prod resume`
    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 7: done on fewer hosts than asked, as the configuration allows
    ");
    assert_eq!(pages(&listed), ["version 2", "version 1", "version 1"]);
    let first = format!("{}\n", listed.name(1));
    assert_eq!(remembered(&listed), [None, Some(first.clone()), Some(first)]);
    listed.start_again(1);
    // Nothing needs to be sent.
    let cache = project.beside("empty-cache");
    let ended = project.rdeploy(&["prod", "resume"]).env("RDEPLOY_CACHE_DIR", cache.to_str().unwrap()).run();
    insta::assert_snapshot!(ended.ends_with(0).output(), @r"
    resume of shop on prod: 127.0.0.1:HOST1, 127.0.0.1:HOST2, 127.0.0.1:HOST3
    127.0.0.1:HOST1 | preparing
    127.0.0.1:HOST1 | switching
    127.0.0.1:HOST1 | current is now [RELEASE-----1]
    127.0.0.1:HOST1 | verifying
    127.0.0.1:HOST1 | proven to run [RELEASE-----1]: current leads to the release, and nothing is supervised
    127.0.0.1:HOST1 | done
    brought prod level with [RELEASE-----1] on 3 hosts in [T] (prepare [T], switch [T])
    ");
    assert_eq!(pages(&listed), ["version 1"; 3]);
    let left = listed.tree(2).releases().pop().unwrap();
    assert!(listed.trees().iter().all(|tree| tree.state(&left) == "bad"));
    listed.trees().iter().for_each(|tree| tree.is_clean());
}

#[test]
fn a_deploy_that_reaches_all_hosts_brings_them_level_too() {
    let (project, listed) = left_behind("");
    project.version(3);
    project.rdeploy(&["prod"]).run().ends_with(0);
    assert_eq!(pages(&listed), ["version 3"; 3]);
    assert_eq!(remembered(&listed), [None, None, None]);
}

#[test]
fn where_nothing_was_deployed_there_is_nothing_to_resume() {
    let project = Project::new();
    let listed = Listed::start(&project, 2);
    project.configure(&listed.files(""));
    let ended = project.rdeploy(&["prod", "resume"]).run().ends_with(3);
    insta::assert_snapshot!(ended.error(), @r"

    error: nothing is deployed on 127.0.0.1:HOST1, 127.0.0.1:HOST2, so there is nothing to bring hosts level with
      hint: deploy to all of them: `rdeploy prod`

    the resume of prod did not start ([T])

      host             state      live release
      127.0.0.1:HOST1  unchanged  none
      127.0.0.1:HOST2  unchanged  none

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    ");
}
