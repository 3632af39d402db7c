//! Owns the text of the program that runs on a host, and the command that starts it.

use std::sync::LazyLock;

use crate::shell::Command;
use crate::supervisor;

const FILES: &[&str] = &[
    include_str!("sh/lib.sh"),
    include_str!("sh/preflight.sh"),
    include_str!("sh/lock.sh"),
    include_str!("sh/hold.sh"),
    include_str!("sh/operate.sh"),
    include_str!("sh/process.sh"),
    include_str!("sh/receive.sh"),
    include_str!("sh/prepare.sh"),
    include_str!("sh/hooks.sh"),
    include_str!("sh/switch.sh"),
    include_str!("sh/finish.sh"),
    include_str!("sh/guardian.sh"),
];

const MAIN: &str = include_str!("sh/main.sh");

/// The whole agent. Comment lines and blank lines stay at home: they would be a third of the bytes.
pub(super) static AGENT: LazyLock<String> = LazyLock::new(|| {
    let files = FILES.iter().chain(supervisor::SCRIPTS).chain([&MAIN]);
    let lines = files.flat_map(|file| file.lines());
    let mut text = String::new();
    for line in lines.filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty()) {
        text.push_str(line);
        text.push('\n');
    }
    text
});

/// Returns the command that reads the agent from standard input and runs it as a guardian.
///
/// It must take no byte more than it is told, which `head -c` of BusyBox does. So `dd` reads one block and
/// waits until it is whole; a `dd` that cannot wait refuses before it reads, and goes byte by byte.
pub(super) fn boot() -> Command {
    Command::sh(
        "IFS= read -r n && AGENT_TEXT=$(dd bs=\"$n\" count=1 iflag=fullblock 2>/dev/null || \
         dd bs=1 count=\"$n\" 2>/dev/null) && eval \"$AGENT_TEXT\"",
        [],
    )
}

/// Returns the command that runs part of the agent beside the guardian, on a channel of its own.
pub(super) fn beside(run: &str, part: &str, args: &[&str]) -> Command {
    let command = Command::new("exec").arg("sh").arg(format!("{run}/agent.sh")).arg(part).arg(run);
    args.iter().fold(command, |command, arg| command.arg(*arg))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// How many files there are in `sh/`.
    pub(in crate::host) fn files() -> usize {
        FILES.len() + 1
    }

    #[test]
    fn the_agent_is_one_program_that_every_shell_at_hand_can_parse() {
        for shell in ["dash", "bash", "busybox sh"] {
            let mut words = shell.split(' ');
            let mut command = std::process::Command::new(words.next().unwrap());
            let Ok(output) = command.args(words).arg("-n").arg("-c").arg(AGENT.as_str()).output() else {
                continue;
            };
            assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[test]
    fn no_here_document_holds_a_line_that_stripping_comments_would_take() {
        for file in FILES.iter().chain(supervisor::SCRIPTS).chain([&MAIN]) {
            let mut lines = file.lines();
            while let Some(line) = lines.next() {
                let Some((_, word)) = line.split_once("<<") else { continue };
                let body: Vec<_> = lines.by_ref().take_while(|line| *line != word).collect();
                let stripped = |line: &&str| line.trim().is_empty() || line.trim().starts_with('#');
                assert!(!body.iter().any(stripped), "{line}: {body:?}");
            }
        }
    }
}
