//! What holds for the shell files as such: they pass shellcheck.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::host::agent;
use crate::testing::has;

#[test]
fn every_file_passes_shellcheck() {
    if !has("shellcheck") {
        return;
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/host/sh");
    let files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), agent::tests::files());
    let output = Command::new("shellcheck").args(["-s", "sh"]).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
