//! Owns a place for a test that mounts disks: mounts, processes and temporary files of its own. The kernel
//! takes all of it away, loop devices too, when the test ends, however it ends.

use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::support::find_program;
use crate::support::skip;

/// Set for a test that is in its room, to the room's directory.
const ROOM: &str = "RDEPLOY_TEST_ROOM";

/// The first process there: gives it a disk in memory, and waits for processes that nobody else waits for.
const FIRST: &str = r#"mount -t tmpfs -o size=3g,mode=755 tmpfs "$TMPDIR" && "$0" "$@"; exit $?"#;

/// Runs `body` in a room, by running this program again there with this test alone. `test` is its path.
pub(super) fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(ROOM).is_some() {
        body();
        return;
    }
    if let Some(why) = unavailable() {
        skip(test, &why);
        return;
    }
    // In its place the room has a disk; here it stays empty.
    let directory = tempfile::Builder::new().prefix("rdeploy-room-").tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", FIRST])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("TMPDIR", directory.path())
        .env(ROOM, directory.path())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{test} failed in its room:\n{said}");
}

/// The directory of the room in which this test is.
pub(super) fn directory() -> PathBuf {
    std::env::var_os(ROOM).unwrap().into()
}

/// Why there can be no room here; none when there can.
fn unavailable() -> Option<String> {
    if !cfg!(target_os = "linux") || !rustix::process::geteuid().is_root() {
        return Some("cutting the power needs root on Linux".into());
    }
    let tools = ["unshare", "mount", "umount", "mkfs.ext4", "mkfs.xfs"];
    let missing = tools.iter().find(|tool| find_program(tool).is_none());
    if let Some(tool) = missing {
        return Some(format!("cutting the power needs {tool}; tests/run installs it"));
    }
    // Loop devices are what containers most often lack.
    (!PathBuf::from("/dev/loop-control").exists()).then(|| "there is no /dev/loop-control here".into())
}
