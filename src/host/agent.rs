//! Owns the text of the program that runs on a host, and the command that starts it.

use std::io;
use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::OnceLock;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::Digest as _;
use sha2::Sha256;

use crate::shell;
use crate::shell::Command;
use crate::supervisor;

/// In the order in which a shell reads them: what stands before `beside.sh` is all that it needs.
const FILES: &[&str] = &[
    include_str!("sh/lib.sh"),
    include_str!("sh/lock.sh"),
    include_str!("sh/process.sh"),
    include_str!("sh/receive.sh"),
    include_str!("sh/take.sh"),
    include_str!("sh/hooks.sh"),
    include_str!("sh/beside.sh"),
    include_str!("sh/meta.sh"),
    include_str!("sh/preflight.sh"),
    include_str!("sh/hold.sh"),
    include_str!("sh/operate.sh"),
    include_str!("sh/prepare.sh"),
    include_str!("sh/switch.sh"),
    include_str!("sh/finish.sh"),
];

/// After the supervisors: what stands before `act.sh` is all that it needs.
const LAST_FILES: &[&str] = &[
    include_str!("sh/act.sh"),
    include_str!("sh/worker.sh"),
    include_str!("sh/guardian.sh"),
    include_str!("sh/main.sh"),
];

/// The whole agent.
pub(super) static AGENT: LazyLock<String> = LazyLock::new(|| {
    let text = |files: &[&str]| files.iter().map(|file| shell::without_comments(file)).collect::<String>();
    [text(FILES), supervisor::functions(), text(LAST_FILES)].concat()
});

/// The line that comes before the agent where a host asked for it. What was sent before that is not the agent.
static MARK: LazyLock<String> = LazyLock::new(|| {
    let digest = HEXLOWER.encode(&Sha256::digest(AGENT.as_bytes()));
    format!("agent.{}", digest.get(..16).unwrap_or_default())
});

/// Returns what is sent to a host that has not kept this agent: a line that announces it, its size, and the
/// agent itself, gzipped: to a distant host every window full of bytes costs a round trip.
///
/// # Errors
///
/// None that is known: it is packed from memory into memory.
pub(super) fn parcel() -> io::Result<Bytes> {
    static PARCEL: OnceLock<Bytes> = OnceLock::new();
    if let Some(parcel) = PARCEL.get() {
        return Ok(parcel.clone());
    }
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(AGENT.as_bytes())?;
    let packed = packer.finish()?;
    // What was sent before may not end a line.
    let head = format!("\n{}\n{}\n", *MARK, packed.len());
    let parcel = Bytes::from([head.as_bytes(), &packed].concat());
    Ok(PARCEL.get_or_init(|| parcel).clone())
}

/// Where a host whose `deploy_to` is `root` keeps this agent from its first lock on (`keep_agent` in `sh/lock.sh`).
pub(super) fn path(root: &str) -> String {
    format!("{root}/.rdeploy/{}", *MARK)
}

/// Returns the command that runs the agent as a guardian: the one that the host has kept, or else the one that
/// it asks for.
///
/// Only what this user made is run. It was on the disk before it got its name (`keep_agent`); where its end is missing
/// all the same, or something in it, the shell comes back from reading it without having run anything.
///
/// The shell must take no byte more than it is told, which `head -c` of BusyBox does. So `dd` reads one block and
/// waits until it is whole; a `dd` that cannot wait refuses before it reads, and goes byte by byte.
///
/// Where it is asked a question at once, `early` is what it needs for that and is no secret, and the question: its
/// input follows a round trip behind, for sshd takes none before a command runs.
pub(super) fn boot(root: &str, early: Option<(&str, &str)>) -> Command {
    let script = "AGENT_AT=$1 AGENT_MARK=$2 EARLY=${3-} EARLY_ASKED=${4-} AGENT_NEW= GUARDS=
        set --
        [ ! -O \"$AGENT_AT\" ] || command . \"$AGENT_AT\"
        AGENT_CODE=$?
        [ -z \"$GUARDS\" ] || exit \"$AGENT_CODE\"
        AGENT_NEW=1
        printf \"\\nrdeploy-wants agent\\n\"
        while IFS= read -r n && [ \"$n\" != \"$AGENT_MARK\" ]; do :; done
        IFS= read -r n && AGENT_TEXT=$({ dd bs=\"$n\" count=1 iflag=fullblock 2>/dev/null ||
            dd bs=1 count=\"$n\" 2>/dev/null; } | gzip -dc) || exit
        eval \"$AGENT_TEXT\"";
    let script = script.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
    let early = early.map(|(known, asked)| [known.to_owned(), asked.to_owned()]);
    Command::sh(script, [path(root), MARK.clone()].into_iter().chain(early.into_iter().flatten()))
}

/// Returns the command that runs part of the agent beside the guardian, on a channel of its own.
pub(super) fn beside(run: &str, part: &str, args: &[&str]) -> Command {
    let command = Command::new("exec").arg("sh").arg(format!("{run}/agent.sh")).arg(part).arg(run);
    args.iter().fold(command, |command, arg| command.arg(*arg))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;

    use super::*;

    /// How many files there are in `sh/`.
    pub(in crate::host) fn files() -> usize {
        FILES.len() + LAST_FILES.len()
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

    /// The functions that a text defines.
    fn defined(text: &str) -> impl Iterator<Item = &str> {
        let names = text.lines().filter_map(|line| line.split_once("() ").map(|(name, _)| name));
        names.filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
    }

    /// The words of a text that stand where a command does.
    fn commands(text: &str) -> HashSet<&str> {
        const BEFORE: [&str; 10] = ["!", "&&", "||", "|", "{", "if", "then", "else", "while", "do"];
        let mut found = HashSet::new();
        // Of another language, in a here-document.
        for line in text.lines().filter(|line| !line.contains(" = ")) {
            let mut before = "!";
            for word in line.split_whitespace() {
                if BEFORE.contains(&before) || word.contains('(') {
                    found.insert(word.rsplit('(').next().unwrap().trim_end_matches([')', ';', '"']));
                }
                before = word;
            }
        }
        found
    }

    #[test]
    fn what_is_no_guardian_calls_nothing_of_it() {
        let (before, behind) = AGENT.split_at(AGENT.rfind("\ncase ${1:-guardian} in\n").unwrap());
        let commands = commands(before);
        assert!(["journal", "keep_log", "mark"].iter().all(|name| commands.contains(name)));
        assert!(defined(behind).any(|name| name == "answer"));
        let missing: Vec<&str> = defined(behind).filter(|name| commands.contains(name)).collect();
        assert_eq!(missing, [""; 0]);
    }

    /// A shell counts characters, and in some surroundings those are not bytes.
    #[test]
    fn the_agent_is_ascii() {
        assert!(AGENT.is_ascii());
    }

    #[test]
    fn no_here_document_holds_a_line_that_stripping_comments_would_take() {
        for file in FILES.iter().copied().chain(supervisor::files()).chain(LAST_FILES.iter().copied()) {
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
