//! `rdeploy demo`: the first thing a person sees.

use std::fs;

use crate::support::project::Project;
use crate::support::project::names_in;
use crate::support::pty::Terminal;

/// The output without what each host does.
fn narration(output: &str) -> String {
    output.lines().filter(|line| !line.contains(" | ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_demo_tells_its_story_and_leaves_nothing() {
    let project = Project::new();
    let ended = project.rdeploy(&["demo"]).run().ends_with(0);
    insta::assert_snapshot!(narration(&ended.output()), @"");
    // Which host fails first depends on the machine.
    insta::assert_snapshot!(ended.error().replace("error: host2", "error: host1"), @"");
    assert_eq!(project.leftovers(), []);
    assert_eq!(names_in(&project.beside("tmp")), [""; 0], "its directory is removed");
}

#[test]
fn a_demo_that_is_kept_is_a_project_like_any_other() {
    let project = Project::new();
    project.rdeploy(&["demo", "--keep", "../kept"]).run().ends_with(0).says("/kept/hello");
    assert_eq!(project.leftovers(), []);
    let kept = project.beside("kept/hello");
    let listed = project.rdeploy(&["--help"]).within(&kept).run().ends_with(0);
    assert!(listed.out.contains("Environments of hello:"), "{listed}");
    let again = project.rdeploy(&["demo", "--keep", "../kept"]).run().ends_with(2);
    insta::assert_snapshot!(again.error(), @r"
    error: ../kept cannot be made: File exists (os error 17)
      hint: name a directory that does not exist yet
    ");
    fs::remove_dir_all(kept).unwrap();
}

#[test]
fn a_demo_that_gets_a_signal_ends_what_it_started() {
    let project = Project::new();
    let mut demo = project.rdeploy(&["demo"]).start();
    demo.until_it_says("2. A new version");
    demo.interrupt();
    let ended = demo.wait().ends_with(130).says("nothing of it is left running");
    assert!(!ended.out.contains("3. A broken version"), "{ended}");
    assert_eq!(project.leftovers(), []);
    assert_eq!(names_in(&project.beside("tmp")), [""; 0], "its directory is removed");
}

#[test]
fn a_demo_ends_what_it_started_when_ctrl_c_is_pressed() {
    let project = Project::new();
    let mut terminal = Terminal::start(&project, 100, 60, &["demo"]);
    terminal.until("the second deploy", |screen| screen.contains("2. A new version"));
    terminal.types("\x03");
    let (code, screen) = terminal.wait();
    assert_eq!(code, 130, "{screen}");
    assert_eq!(project.leftovers(), []);
    assert_eq!(names_in(&project.beside("tmp")), [""; 0], "its directory is removed");
}
