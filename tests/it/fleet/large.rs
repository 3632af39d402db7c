//! Ten thousand files and a hundred megabytes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::site::Site;

const DIRS: u32 = 100;
const FILES_A_DIR: u32 = 100;
const FILE_BYTES: usize = 10_000;
/// What it may hold, with three hosts. The program itself, which was not optimised, is 27 MiB of that, and two chunks
/// of 6 MiB with what they become as much again.
const MEMORY: u64 = 80 << 20;

/// What is in a tree, one line a path: type, mode, link target, and every file's digest.
const LISTING: &str = "find . -mindepth 1 -printf '%P %y %m %l\\n' | LC_ALL=C sort | sha256sum; \
                       find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum; \
                       find . -type f | wc -l";

#[test]
fn ten_thousand_files_reach_three_hosts_in_little_memory() {
    let Some(site) = Site::on_three_hosts("ten_thousand_files_reach_three_hosts_in_little_memory") else {
        return;
    };
    let public = site.project().join("public");
    write_tree(&public);
    site.configure(|settings| {
        settings.build = "source = \"public\"".into();
        settings.supervisor = "kind = \"none\"".into();
        settings.health = String::new();
    });

    let first = site.deploy().ends_with(0);
    assert!(first.peak_memory > 1 << 20, "peak memory was not measured");
    assert!(first.peak_memory < MEMORY, "it held {} MiB at its peak", first.peak_memory >> 20);
    every_host_has(&site, &public);

    // One changed, one new, one gone: little travels, and the result is whole again.
    fs::write(public.join("dir7/file7"), "changed").unwrap();
    fs::write(public.join("dir7/new"), "new").unwrap();
    fs::remove_file(public.join("dir8/file8")).unwrap();
    let second = site.deploy().ends_with(0).says("(2 of 10,000 files changed)");
    for line in second.said.lines().filter(|line| line.contains("| uploaded ")) {
        let size: Vec<&str> = line.split("| uploaded ").nth(1).unwrap().split(' ').take(2).collect();
        let is_little = size[1] == "B" || (size[1] == "kB" && size[0].parse::<f64>().unwrap() < 100.0);
        assert!(is_little, "too much travelled: {line}");
    }
    assert!(second.peak_memory < MEMORY, "it held {} MiB at its peak", second.peak_memory >> 20);
    every_host_has(&site, &public);
    site.is_clean();
    crate::support::fleet::note(&format!(
        "10,000 files, 100 MB, 3 hosts: {:.1} s, peak {} MiB; then 3 files: {:.1} s, peak {} MiB",
        first.took.as_secs_f64(),
        first.peak_memory >> 20,
        second.took.as_secs_f64(),
        second.peak_memory >> 20,
    ));
}

fn every_host_has(site: &Site, tree: &Path) {
    let here = Command::new("sh").args(["-c", LISTING]).current_dir(tree).output().unwrap();
    assert!(here.status.success());
    let here = String::from_utf8(here.stdout).unwrap();
    let command = format!("cd {}/current && {LISTING}", site.deploy_to);
    for (index, there) in site.on_every_host(|host| host.must(&site.user, &command)).iter().enumerate() {
        assert_eq!(*there, here, "host {}", index + 1);
    }
}

/// Files that do not compress, an executable one, and a link: modes as a release has them.
fn write_tree(root: &Path) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = vec![0; FILE_BYTES];
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for dir in 0..DIRS {
        let dir = root.join(format!("dir{dir}"));
        fs::create_dir_all(&dir).unwrap();
        mode(&dir, 0o755);
        for file in 0..FILES_A_DIR {
            for word in content.chunks_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
            }
            let file = dir.join(format!("file{file}"));
            fs::write(&file, &content).unwrap();
            mode(&file, 0o644);
        }
    }
    mode(&root.join("dir0/file0"), 0o755);
    std::os::unix::fs::symlink("dir0/file0", root.join("a link")).unwrap();
}
