//! Owns what git says about a project: commit and branch, for people and for the audit trail. Never
//! required: without git, or when it takes too long, there is nothing to say.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(10);
const CHECK: Duration = Duration::from_millis(50);
/// Variables that would make git look at another repository than the project's (hooks set them).
const MISLEADING: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
];

/// What git says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The commit, with `-dirty` when the project differs from it.
    pub(super) commit: Option<String>,
    /// The branch; none when detached.
    pub(super) branch: Option<String>,
}

/// Asks git about the project in `root`.
pub(super) fn facts(root: &Path, cancel: &CancellationToken) -> Facts {
    let mut git = Command::new("git");
    git.arg("-C").arg(root);
    // A monitor is a program that the repository names; none is needed for one status.
    git.args(["-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch"]);
    git.args(["--untracked-files=normal", "--ignore-submodules=none", "-z", "--", "."]);
    for name in MISLEADING {
        git.env_remove(name);
    }
    git.envs([("GIT_OPTIONAL_LOCKS", "0"), ("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C")]);
    output(git, TIMEOUT, cancel).map(|text| parse(&text)).unwrap_or_default()
}

/// Reads `git status --porcelain=v2 --branch -z`.
fn parse(status: &[u8]) -> Facts {
    let mut facts = Facts::default();
    let mut dirty = false;
    for line in status.split(|b| *b == 0).filter(|line| !line.is_empty()) {
        let line = String::from_utf8_lossy(line);
        if let Some(commit) = line.strip_prefix("# branch.oid ") {
            facts.commit = (commit != "(initial)").then(|| commit.to_owned());
        } else if let Some(branch) = line.strip_prefix("# branch.head ") {
            facts.branch = (branch != "(detached)").then(|| branch.to_owned());
        } else if !line.starts_with("# ") {
            dirty = true;
        }
    }
    if dirty {
        facts.commit = facts.commit.map(|commit| format!("{commit}-dirty"));
    }
    facts
}

/// Returns what a command wrote when it ended well in time. It and what it started are ended if not.
fn output(mut command: Command, timeout: Duration, cancel: &CancellationToken) -> Option<Vec<u8>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    // Not joined: it ends with the pipe, and a descendant that keeps the pipe open must not hold us up.
    thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.read_to_end(&mut text);
        let _ = sender.send(read.map(|_| text));
    });
    let deadline = Instant::now() + timeout;
    let text = loop {
        match receiver.recv_timeout(CHECK) {
            Ok(read) => break read.ok(),
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline && !cancel.is_cancelled() => {}
            Err(_) => break None,
        }
    };
    if text.is_none()
        && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
    {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().ok()?;
    text.filter(|_| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_tells_commit_branch_and_whether_anything_differs() {
        let clean = b"# branch.oid 1234abcd\0# branch.head main\0# branch.ab +0 -0\0";
        let facts = parse(clean);
        assert_eq!((facts.commit.as_deref(), facts.branch.as_deref()), (Some("1234abcd"), Some("main")));
        let dirty = b"# branch.oid 1234abcd\0# branch.head (detached)\0? # a file\0";
        let facts = parse(dirty);
        assert_eq!((facts.commit.as_deref(), facts.branch), (Some("1234abcd-dirty"), None));
        let unborn = b"# branch.oid (initial)\0# branch.head main\0? new\0";
        assert_eq!(parse(unborn).commit, None);
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_its_descendants() {
        let mut hanging = Command::new("sh");
        hanging.args(["-c", "sleep 600 & sleep 600"]);
        let started = Instant::now();
        assert_eq!(output(hanging, Duration::from_millis(100), &CancellationToken::new()), None);
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
