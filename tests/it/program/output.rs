//! Output that is not read on a terminal: no control codes, whole, and in a file as well.

use std::fs;

use crate::support::project::Project;
use crate::support::project::files;

/// Hooks that fail on the second host, after many lines.
const FAILING: &str = "[hooks]\nafter_unpack = [\"echo ready\", \"\"\"\n\
    seq 1 300\nprintf '\\\\033[31mred\\\\033[0m\\\\n' >&2\n[ $RDEPLOY_HOST != host2 ] || exit 9\"\"\"]\n";

#[test]
fn what_is_piped_has_no_control_codes() {
    let project = Project::files(2, "[hooks]\nafter_unpack = [\"printf '\\\\033[31mred\\\\033[0m\\\\n'\"]\n");
    for args in [&["dev", "-v"][..], &["dev", "--rollback=20200101000000"], &["nowhere"], &["--help"]] {
        let ended = project.rdeploy(args).env("TERM", "xterm-256color").run();
        let strange = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
        assert!(!strange(&ended.out) && !strange(&ended.err), "{ended}");
    }
    let forced = project.rdeploy(&["dev"]).env("CLICOLOR_FORCE", "1").run().ends_with(0);
    assert!(forced.out.contains("\x1b[3"), "{forced}");
    let refused = project.rdeploy(&["dev"]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").run();
    assert!(!refused.out.contains('\x1b'), "{refused}");
}

#[test]
fn a_hook_that_fails_is_shown_whole_with_its_host_and_command() {
    let project = Project::files(3, FAILING);
    let ended = project.rdeploy(&["dev"]).run().ends_with(5);
    let error = ended.error();
    let (head, rest) = error.split_once("  | 3\n").unwrap();
    let (_, tail) = rest.split_once("  | 298\n").unwrap();
    insta::assert_snapshot!(format!("{head}…\n{tail}"), @r#"
    error: `seq 1 300 printf '\033[31mred\033[0m\n' >&2 [ $RDEPLOY_HOST != host2 ] || exit 9` exited with code 9
      it wrote:
      | 1
      | 2
    …
      | 299
      | 300
      | red
      hint: run the command by hand in the release on that host to look into it

    the deploy to dev failed and was put back ([T]: build [T])

      host   state     live release
      host1  put back  none
      host2  put back  none
      host3  put back  none

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
    let lines: Vec<&str> = ended.err.lines().collect();
    let numbers = (1..=300).map(|n| format!("  | {n}"));
    assert!(numbers.clone().all(|number| lines.contains(&number.as_str())), "{error}");
}

#[test]
fn the_log_is_named_after_a_failure_and_has_everything() {
    let project = Project::files(2, FAILING);
    let ended = project.rdeploy(&["dev"]).run().ends_with(5);
    let path = ended.err.lines().find_map(|line| line.strip_prefix("full log: ")).unwrap().to_owned();
    let log = fs::read_to_string(&path).unwrap();
    assert_eq!(log, project.log());
    for part in [
        "host2 | after_unpack: echo ready",
        "host2 |   ready",
        "host2 |   300",
        "host2 |   red",
        "host1 | put back",
    ] {
        assert!(log.contains(part), "{part} is not in the log:\n{log}");
    }
    assert!(!log.contains('\x1b'), "{log}");
}

#[test]
fn what_hooks_write_is_told_with_v() {
    let project = Project::files(1, "[hooks]\nafter_unpack = [\"echo migrated\"]\n");
    let quiet = project.rdeploy(&["dev"]).run().ends_with(0);
    assert!(!quiet.out.contains("  migrated"), "{quiet}");
    insta::assert_snapshot!(project.rdeploy(&["dev", "-v"]).run(), @r"
    exit code: 0
    --- stdout
    deploy of shop on dev: host1
    local | unchanged since it was last packed: 1 file, 10 B ([SIZE] compressed), [DIGEST]
    host1 | connecting
    host1 | connected
    host1 | checking
    host1 | locking
    host1 | nothing to upload: every file is there already
    host1 | preparing
    host1 | after_unpack: echo migrated
    host1 |   migrated
    host1 | after_unpack: echo migrated: done in [T]
    host1 | waiting for the other hosts
    host1 | switching
    host1 | current is now [RELEASE-----2]
    host1 | verifying
    host1 | proven to run [RELEASE-----2]: current leads to the release, and nothing is supervised
    host1 | waiting for the other hosts
    host1 | finishing
    host1 | done
    host1 | [N] round trips after the login, [SIZE] sent, [SIZE] received
    deployed [RELEASE-----2] to dev on 1 host in [T] (build [T], prepare [T], switch [T])
    --- stderr
    ");
}

#[test]
fn a_log_directory_that_cannot_be_made_is_said_before_anything_happens() {
    let project = Project::files(1, "");
    fs::write(project.beside("file"), "").unwrap();
    let state = project.beside("file/state");
    let ended = project.rdeploy(&["dev"]).env("RDEPLOY_STATE_DIR", state.to_str().unwrap()).run();
    insta::assert_snapshot!(ended, @r"
    exit code: 2
    --- stdout
    --- stderr
    error: the log cannot be written in [ROOT]/file/state: Not a directory (os error 20)
      hint: set RDEPLOY_STATE_DIR to a directory that can be written to
    ");
    project.configure(&files(1, ""));
}
