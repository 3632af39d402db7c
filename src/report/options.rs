//! Owns how a run is reported, and how that follows from the terminal and the environment.

use std::ffi::OsString;
use std::io;
use std::io::IsTerminal;
use std::path::PathBuf;

use super::timings::TimingsFile;

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Live, on a terminal.
    Progress,
    /// Plain lines.
    Plain,
}

/// How a run is reported.
#[derive(Clone, Debug)]
pub struct Options {
    /// How it is shown.
    pub mode: Mode,
    /// Whether colours are used.
    pub color: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Whether plain lines about the run stay off standard output, which a command's result needs.
    pub result_on_stdout: bool,
    /// The terminal's columns; none asks the terminal.
    pub width: Option<u16>,
    /// The file that gets the full log.
    pub log: PathBuf,
    /// The file that gets the page of timings, where one is wanted.
    pub timings: Option<TimingsFile>,
}

impl Options {
    /// Returns the options that fit this process's terminal and environment.
    pub fn detect(verbose: u8, log: PathBuf) -> Self {
        let surroundings = Surroundings::of_this_process();
        let mode = surroundings.mode(verbose);
        let color = match mode {
            Mode::Progress => surroundings.color(surroundings.stderr),
            Mode::Plain => surroundings.color(surroundings.stdout && surroundings.stderr),
        };
        Self { mode, color, verbose, result_on_stdout: false, width: None, log, timings: None }
    }

    /// Keeps standard output for the command's result.
    #[must_use]
    pub fn with_result_on_stdout(self) -> Self {
        Self { result_on_stdout: true, ..self }
    }

    /// Writes a page of timings at the end.
    #[must_use]
    pub fn with_timings(self, timings: Option<TimingsFile>) -> Self {
        Self { timings, ..self }
    }

    /// Whether colours are used on standard error outside a run.
    pub fn wants_color_on_stderr() -> bool {
        let surroundings = Surroundings::of_this_process();
        surroundings.color(surroundings.stderr)
    }
}

/// Whether this process runs in a CI system, where nobody can be asked.
pub fn is_ci() -> bool {
    Surroundings::of_this_process().ci
}

/// What is known about where output goes.
#[derive(Debug, Default)]
struct Surroundings {
    stdout: bool,
    stderr: bool,
    ci: bool,
    dumb: bool,
    no_color: bool,
    clicolor: Option<bool>,
    clicolor_force: bool,
}

impl Surroundings {
    fn of_this_process() -> Self {
        Self::new(|name| std::env::var_os(name), io::stdout().is_terminal(), io::stderr().is_terminal())
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>, stdout: bool, stderr: bool) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let on = |value: OsString| value != "0";
        Self {
            stdout,
            stderr,
            ci: set("CI").is_some_and(|value| value != "false" && value != "0"),
            // A terminal without a name can do as little as one that calls itself dumb.
            dumb: set("TERM").is_none_or(|value| value == "dumb"),
            no_color: set("NO_COLOR").is_some(),
            clicolor: set("CLICOLOR").map(on),
            clicolor_force: set("CLICOLOR_FORCE").is_some_and(on),
        }
    }

    fn mode(&self, verbose: u8) -> Mode {
        // With `-vv` the trace goes to standard error, where it would run through live lines.
        let live = self.stdout && self.stderr && !self.ci && !self.dumb && verbose < 2;
        if live { Mode::Progress } else { Mode::Plain }
    }

    fn color(&self, terminal: bool) -> bool {
        match (self.no_color, self.clicolor_force, self.clicolor) {
            (true, _, _) => false,
            (false, true, _) => true,
            (false, false, Some(false)) => false,
            (false, false, Some(true)) => terminal,
            (false, false, None) => terminal && !self.dumb,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the mode and whether colours are used, with `-v` given `verbose` times.
    fn detected(variables: &[(&str, &str)], terminal: [bool; 2], verbose: u8) -> (Mode, bool) {
        let variable = |name: &str| {
            variables.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let surroundings = Surroundings::new(variable, terminal[0], terminal[1]);
        (surroundings.mode(verbose), surroundings.color(terminal[0] && terminal[1]))
    }

    #[test]
    fn progress_is_only_for_a_person_at_a_terminal() {
        use Mode::Plain;
        use Mode::Progress;
        for (terminal, variable, verbose, mode) in [
            ([true, true], ("X", ""), 0, Progress),
            ([true, true], ("X", ""), 1, Progress),
            ([true, true], ("X", ""), 2, Plain),
            ([false, true], ("X", ""), 0, Plain),
            ([true, false], ("X", ""), 0, Plain),
            ([true, true], ("CI", "true"), 0, Plain),
            ([true, true], ("CI", "false"), 0, Progress),
            ([true, true], ("CI", ""), 0, Progress),
            ([true, true], ("TERM", "dumb"), 0, Plain),
            ([true, true], ("TERM", ""), 0, Plain),
        ] {
            let variables = [("TERM", "xterm"), variable];
            assert_eq!(
                detected(&variables, terminal, verbose).0,
                mode,
                "{terminal:?} {variable:?} {verbose}"
            );
        }
    }

    #[test]
    fn colours_follow_the_variables_people_know() {
        for (terminal, variables, color) in [
            (true, [("X", ""), ("X", "")], true),
            (false, [("X", ""), ("X", "")], false),
            (true, [("NO_COLOR", "1"), ("X", "")], false),
            (true, [("NO_COLOR", ""), ("X", "")], true),
            (true, [("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false),
            (false, [("CLICOLOR_FORCE", "1"), ("X", "")], true),
            (false, [("CLICOLOR_FORCE", "0"), ("X", "")], false),
            (true, [("CLICOLOR", "0"), ("X", "")], false),
            (false, [("CLICOLOR", "1"), ("X", "")], false),
            (true, [("CLICOLOR", "1"), ("TERM", "dumb")], true),
            (true, [("CI", "true"), ("X", "")], true),
        ] {
            let variables = [[("TERM", "xterm"), ("X", "")], variables].concat();
            assert_eq!(detected(&variables, [terminal; 2], 0).1, color, "{terminal} {variables:?}");
        }
    }
}
