//! What holds for the shell files as such: they pass shellcheck, and their smallest parts keep their word.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::rig::has;
use super::*;
use crate::host::agent;

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

#[test]
fn a_reader_of_current_never_misses_it_while_it_moves() {
    each_shell(|rig| {
        for dir in ["releases/a", "releases/b", "move"] {
            fs::create_dir_all(rig.root().join(dir)).unwrap();
        }
        std::os::unix::fs::symlink(rig.root().join("releases/a"), rig.root().join("current")).unwrap();
        let over = AtomicBool::new(false);
        let (looks, misses) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut looks, mut misses) = (0u32, 0u32);
                while !over.load(Ordering::Relaxed) {
                    looks += 1;
                    let error = fs::metadata(rig.root().join("current/.")).err().map(|error| error.kind());
                    assert!(error.is_none_or(|kind| kind == ErrorKind::NotFound));
                    misses += u32::from(error.is_some());
                }
                (looks, misses)
            });
            let script = format!(
                "{}\nset -u\nROOT={}\nn=0\nwhile [ $n -lt 200 ]; do n=$((n + 1)); to=a; [ $((n % 2)) = 0 ] || to=b\nln -s \"$ROOT/releases/$to\" \"$ROOT/move/current\" && move_link \"$ROOT/move\" || exit\ndone",
                include_str!("../sh/switch.sh"),
                rig.root().display()
            );
            let file = rig.state("switches.sh");
            fs::write(&file, script).unwrap();
            let output = rig.command(&format!("exec sh {}", file.display())).output().unwrap();
            over.store(true, Ordering::Relaxed);
            assert!(output.status.success(), "{output:?}");
            reader.join().unwrap()
        });
        assert!(looks > 1000, "{looks}");
        assert_eq!(misses, 0, "of {looks}");
    });
}
