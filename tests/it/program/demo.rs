//! `rdeploy demo`: the first thing a person sees.

use std::fs;

use crate::support::project::Project;
use crate::support::project::eventually;
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
    insta::assert_snapshot!(narration(&ended.output()), @r"
    Here is a small web app, and 2 SSH hosts to deploy it to: they run inside rdeploy, on this
    machine only. Every step below is a command that you have, too.
    The project: [ROOT]/tmp/rdeploy-demo-[RANDOM]/hello

    1. The first deploy: the app is packed once and sent to both hosts, and neither starts it
       before both have it.

    $ rdeploy dev
    deploy of hello on dev: host1, host2
    deployed [RELEASE-----1] to dev on 2 hosts in [T] (build [T], prepare [T], switch [T])
    (exit code 0)
    host1, http://127.0.0.1:[PORT]/ answers: version 1
    host2, http://127.0.0.1:[PORT]/ answers: version 1

    2. A new version: it is unpacked beside the old one, one rename makes it live, and then it
       has to prove that it runs and answers.

    $ rdeploy dev
    deploy of hello on dev: host1, host2
    deployed [RELEASE-----2] to dev on 2 hosts in [T] (build [T], prepare [T], switch [T])
    (exit code 0)
    host1, http://127.0.0.1:[PORT]/ answers: version 2
    host2, http://127.0.0.1:[PORT]/ answers: version 2

    3. A broken version: it starts, but it has lost its page, so the health check fails. Both
       hosts go back to version 2 by themselves; exit code 5 stands for exactly that.

    $ rdeploy dev
    deploy of hello on dev: host1, host2
    (exit code 5)
    host1, http://127.0.0.1:[PORT]/ answers: version 2
    host2, http://127.0.0.1:[PORT]/ answers: version 2

    4. A rollback: back to the release that was live before, proven in the same way.

    $ rdeploy dev --rollback
    rollback of hello on dev: host1, host2
    rolled dev back to [RELEASE-----1] on 2 hosts in [T] (prepare [T], switch [T])
    (exit code 0)
    host1, http://127.0.0.1:[PORT]/ answers: version 1
    host2, http://127.0.0.1:[PORT]/ answers: version 1
    ended hello on host1, host2
    That was the demo. Nothing of it is left, neither processes nor files;
    `rdeploy demo --keep DIR` leaves the project to look around in.
    Next: copy deploy.toml.example to your own project as deploy.toml, and run `rdeploy dev` there.
    ");
    insta::assert_snapshot!(ended.failure(), @r#"
    error: host[N]: the health check did not pass within 2 s. The last answer: http://127.0.0.1:[PORT]/ answered 404
      hint: mend the cause named above and deploy again

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----2]
      host2  put back  [RELEASE-----2]

    full log: [ROOT]/tmp/rdeploy-demo-[RANDOM]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
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

#[test]
fn a_demo_ends_with_the_deploy_that_was_interrupted_before_it() {
    let project = Project::new();
    let mut demo = project.rdeploy(&["demo"]).start();
    demo.until_it_says("2. A new version");
    let deploy = || project.processes().into_iter().find(|(_, command)| command.ends_with("/rdeploy dev"));
    eventually("the second deploy to run", || deploy().is_some());
    let pid = rustix::process::Pid::from_raw(deploy().unwrap().0).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = demo.wait().ends_with(130).says("nothing of it is left running");
    assert!(!ended.out.contains("3. A broken version"), "{ended}");
    assert_eq!(project.leftovers(), []);
}
