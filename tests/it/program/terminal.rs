//! What stands on a terminal, in the middle of a run and at its end.

use crate::support::gate::Gate;
use crate::support::project::Project;
use crate::support::pty::Terminal;

/// Two hosts that wait in a hook until they are let go on.
fn waiting() -> (Project, Gate) {
    let project = Project::new();
    let gate = Gate::new(&project, "gate");
    let wait = format!("[hooks]\nafter_unpack = [{{ run = {:?}, dir = \"public\" }}]", gate.wait());
    project.configure(&crate::support::project::files(2, &wait));
    project.version(1);
    (project, gate)
}

/// The screen, with names for what differs and without what moves.
fn shown(project: &Project, screen: &str) -> String {
    let screen: String =
        screen.chars().map(|c| if ('\u{2800}'..='\u{28ff}').contains(&c) { '*' } else { c }).collect();
    // How long a hook has run so far.
    let running = regex::Regex::new(r"  \d+ s\n").unwrap();
    let screen = format!("{}\n", project.names().borrow_mut().name(&screen));
    in_host_order(&running.replace_all(&screen, "  [T]\n"))
}

/// Lines about hosts that follow each other, in the order of the hosts: which was done first differs.
fn in_host_order(screen: &str) -> String {
    let host = |line: &&str| line.split_once(" host").is_some_and(|(mark, _)| mark.chars().count() == 1);
    let mut lines: Vec<&str> = screen.lines().collect();
    for about_hosts in lines.chunk_by_mut(|one, other| host(one) && host(other)) {
        // A line's mark and what it says stay together; those of one host keep their order.
        about_hosts.sort_by_key(|line| (line.contains("  runs "), line.split(' ').nth(1)));
    }
    lines.join("\n") + "\n"
}

/// The same without what was still moving when it ended: how much of that was drawn differs.
fn at_rest(screen: &str) -> String {
    screen.lines().filter(|line| !line.starts_with("* ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_terminal_shows_what_each_host_does_and_how_it_ended() {
    let (project, gate) = waiting();
    let mut terminal = Terminal::start(&project, 80, 24, &["dev"]);
    let screen = terminal.until("both hooks", |screen| screen.matches("  hook  ").count() == 2);
    insta::assert_snapshot!(shown(&project, &screen), @r"
    deploy of shop on dev: host1, host2
    ✓ packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    * host1  hook  after_unpack: echo here >[ROOT]/gate/at-…  [T]
    * host2  hook  after_unpack: echo here >[ROOT]/gate/at-…  [T]
    ");
    gate.open();
    let (code, screen) = terminal.wait();
    assert_eq!(code, 0, "{screen}");
    insta::assert_snapshot!(shown(&project, &screen), @r#"
    deploy of shop on dev: host1, host2
    ✓ packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    ✓ host1  after_unpack: echo here >[ROOT]/gate/at-${RDEPLOY_H…
    ✓ host2  after_unpack: echo here >[ROOT]/gate/at-${RDEPLOY_H…
    ✓ host1  runs [RELEASE-----1]
    ✓ host2  runs [RELEASE-----1]
    deployed [RELEASE-----1] to dev on 2 hosts in [T]
      (build [T], prepare [T], switch [T])
    "#);
}

#[test]
fn a_failure_on_a_terminal_ends_with_what_to_do() {
    let project = Project::files(1, "[hooks]\nafter_unpack = [\"echo no such table; exit 1\"]\n");
    let (code, screen) = Terminal::start(&project, 80, 40, &["dev"]).wait();
    assert_eq!(code, 5, "{screen}");
    let named = shown(&project, &screen);
    // The log's path is longer than the terminal is wide, and temporary directories differ.
    let named = named.split("full log:").next().unwrap().to_owned();
    insta::assert_snapshot!(named, @r#"
    deploy of shop on dev: host1
    ✓ packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    ✗ host1  failed: `echo no such table; exit 1` exited with code 1
    ! host1  put back: runs what it ran before

    error: host[N]: `echo no such table; exit 1` exited with code 1
      it wrote:
      | no such table
      hint: run the command by hand in the release on that host to look into it

    the deploy to dev failed and was put back ([T]: build [T])

      host   state     live release
      host1  put back  none
    "#);
    assert!(screen.contains("exit code 5: failed; every host runs what it ran before"), "{screen}");
}

#[test]
fn no_color_and_ci_are_obeyed_on_a_terminal() {
    let project = Project::files(1, "");
    let plain = |env: &[(&str, &str)]| {
        let mut terminal = Terminal::start_with(&project, 100, 40, &["dev"], env);
        let code = terminal.until_its_end();
        assert_eq!(code, 0, "{}", terminal.screen());
        terminal.raw()
    };
    let colours = plain(&[]);
    assert!(colours.contains("\x1b[32m") || colours.contains("\x1b[1;32m"), "{colours:?}");
    assert!(colours.contains("\x1b[1A") || colours.contains("\x1b[2K"), "progress moves: {colours:?}");
    let no_color = plain(&[("NO_COLOR", "1")]);
    assert!(!no_color.contains("\x1b[3") && !no_color.contains("\x1b[1m"), "{no_color:?}");
    assert!(no_color.contains("\x1b["), "progress still moves: {no_color:?}");
    let ci = plain(&[("CI", "true"), ("NO_COLOR", "1")]);
    assert!(!ci.contains('\x1b'), "{ci:?}");
    assert!(ci.contains("host1 | switching"), "{ci:?}");
}

#[test]
fn ctrl_c_on_a_terminal_puts_everything_back() {
    let (project, gate) = waiting();
    let mut terminal = Terminal::start(&project, 80, 24, &["dev"]);
    terminal.until("both hooks", |screen| screen.matches("  hook  ").count() == 2);
    terminal.types("\x03");
    let (code, screen) = terminal.wait();
    assert_eq!(code, 130, "{screen}");
    let named = in_host_order(&at_rest(&shown(&project, &screen)));
    insta::assert_snapshot!(named.split("full log:").next().unwrap(), @r#"
    deploy of shop on dev: host1, host2
    ✓ packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    ! stopping: putting hosts back; press Ctrl-C again to leave it to the hosts
    ! host1  put back: runs what it ran before
    ! host2  put back: runs what it ran before

    the deploy to dev was stopped ([T]: build [T])

      host   state     live release
      host1  put back  none
      host2  put back  none

    next: run the same command again when you are ready
    "#);
    assert_eq!(project.host(1).live(), None);
    project.host(1).is_clean();
    drop(gate);
}
