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
    running.replace_all(&screen, "  [T]\n").into_owned()
}

#[test]
fn a_terminal_shows_what_each_host_does_and_how_it_ended() {
    let (project, gate) = waiting();
    let mut terminal = Terminal::start(&project, 80, 24, &["dev"]);
    let screen = terminal.until("both hooks", |screen| screen.matches("  hook  ").count() == 2);
    insta::assert_snapshot!(shown(&project, &screen), @"");
    gate.open();
    let (code, screen) = terminal.wait();
    assert_eq!(code, 0, "{screen}");
    insta::assert_snapshot!(shown(&project, &screen), @"");
}

#[test]
fn a_narrow_terminal_is_enough() {
    let (project, gate) = waiting();
    let mut terminal = Terminal::start(&project, 40, 24, &["dev"]);
    let screen = terminal.until("both hooks", |screen| screen.matches("  hook  ").count() == 2);
    insta::assert_snapshot!(shown(&project, &screen), @"");
    gate.open();
    let (code, screen) = terminal.wait();
    assert_eq!(code, 0, "{screen}");
    insta::assert_snapshot!(shown(&project, &screen), @"");
}

#[test]
fn a_failure_on_a_terminal_ends_with_what_to_do() {
    let project = Project::files(1, "[hooks]\nafter_unpack = [\"echo no such table; exit 1\"]\n");
    let (code, screen) = Terminal::start(&project, 80, 40, &["dev"]).wait();
    assert_eq!(code, 5, "{screen}");
    let named = shown(&project, &screen);
    // The log's path is longer than the terminal is wide, and temporary directories differ.
    let named = named.split("full log:").next().unwrap().to_owned();
    insta::assert_snapshot!(named, @"");
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
    let named = shown(&project, &screen);
    insta::assert_snapshot!(named.split("full log:").next().unwrap(), @"");
    assert_eq!(project.host(1).live(), None);
    project.host(1).is_clean();
    drop(gate);
}
