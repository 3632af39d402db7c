//! Only what changed travels, and whatever the host has already, the release is to the byte what was packed.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest::test_runner::TestRunner;

use super::parcel::Item;
use super::upload::Client;
use super::upload::Tree;
use super::upload::deploy;
use super::upload::upload;
use super::*;
use crate::testing::Shell;
use crate::testing::has;
use crate::testing::noise;
use crate::testing::times;
use crate::testing::which;

/// What a tree may consist of: few paths and contents, so that two trees have much in common and everything that
/// is possible becomes of something else.
fn trees() -> impl Strategy<Value = Vec<(Tree, Mishap)>> {
    let names: [&[u8]; 10] =
        [b"a", b"b c", b"-rf", b"it's", b"\"q\"", b"caf\xe9", b"$(x)", b"* ?", b" lead", b"e=f"];
    let name = (0..names.len()).prop_map(move |n| names[n].to_vec());
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'));
    let content = (0..9_u64).prop_map(|n| match n {
        0 => Vec::new(),
        1..5 => format!("{n}\n").into_bytes(),
        n => noise(n, n as usize * 3000),
    });
    let item = prop_oneof![
        1 => Just(Item::Dir),
        1 => (0..3_usize).prop_map(|n| Item::Link([&b"a"[..], b"it's", b"nowhere"][n].to_vec())),
        5 => content.clone().prop_map(Item::File),
        2 => content.prop_map(Item::Program),
    ];
    let tree = prop::collection::vec((path, item), 1..24).prop_map(|items| {
        let mut tree = Tree::from([(b"index".to_vec(), Item::file("always there"))]);
        for (path, item) in items {
            let under = [path.as_slice(), b"/"].concat();
            let is_free = |known: &Vec<u8>| {
                *known != path
                    && !known.starts_with(&under)
                    && !path.starts_with(&[known, &b"/"[..]].concat())
            };
            // A link must not lead through itself.
            let is_link = matches!(&item, Item::Link(_));
            if tree.keys().all(is_free)
                && !(is_link && (path == b"a" || path == b"it's" || path.contains(&b'/')))
            {
                tree.insert(path, item);
            }
        }
        tree
    });
    let mishap = prop_oneof![
        3 => Just(Mishap::None),
        2 => any::<u64>().prop_map(Mishap::Tampered),
        1 => Just(Mishap::ForgottenHere),
        1 => Just(Mishap::NoManifest),
        1 => Just(Mishap::BrokenManifest),
    ];
    prop::collection::vec((tree, mishap), times(5, 8)..=times(5, 8))
}

/// What happens before a deploy.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    None,
    /// Somebody wrote into the live release.
    Tampered(u64),
    /// The client knows nothing of the live release.
    ForgottenHere,
    /// The host does not either.
    NoManifest,
    BrokenManifest,
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(at) = waiting.pop() {
        for file in fs::read_dir(&at).unwrap().flatten() {
            let meta = fs::symlink_metadata(file.path()).unwrap();
            if meta.is_dir() {
                waiting.push(file.path());
            } else if meta.is_file() {
                found.push(file.path());
            }
        }
    }
    found.sort();
    found
}

/// Changes a file so that it is noticed only by its content, or not so.
fn tamper(release: &Path, number: u64) {
    for (n, file) in (0_u64..).zip(files_below(release)) {
        let meta = fs::metadata(&file).unwrap();
        match number.rotate_left(n as u32 * 7) % 11 {
            0 => {
                fs::write(&file, vec![b'!'; meta.len() as usize]).unwrap();
                let times = fs::FileTimes::new().set_modified(meta.modified().unwrap());
                fs::File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
            }
            1 => fs::write(&file, "longer than before, or shorter").unwrap(),
            2 => fs::remove_file(&file).unwrap(),
            3 => {
                fs::remove_file(&file).unwrap();
                fs::create_dir(&file).unwrap();
            }
            4 => {
                fs::remove_file(&file).unwrap();
                assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
            }
            5 => {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(&file, fs::Permissions::from_mode(0o711)).unwrap();
            }
            6 => {
                let mut more = file.clone().into_os_string();
                more.push(".more");
                fs::hard_link(&file, more).unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_becomes_of_a_tree_and_of_the_release_before_the_next_one_is_exact() {
    each_shell(|rig| {
        let config = Config { cases: times(3, 40) as u32, failure_persistence: None, ..Config::default() };
        let told = TestRunner::new(config).run(&trees(), |steps| {
            let client = Client::new();
            let _ = fs::remove_dir_all(rig.root());
            for (n, (tree, mishap)) in steps.iter().enumerate() {
                let live = rig.live();
                if let Some(live) = &live {
                    let manifest = rig.private("manifests").join(live);
                    match mishap {
                        Mishap::None => {}
                        Mishap::Tampered(number) => tamper(&rig.root().join("releases").join(live), *number),
                        Mishap::ForgottenHere => client.forgets(),
                        Mishap::NoManifest => fs::remove_file(&manifest).unwrap(),
                        Mishap::BrokenManifest => {
                            let text = fs::read(&manifest).unwrap();
                            fs::write(&manifest, &text[..text.len() / 2]).unwrap();
                        }
                    }
                }
                let release = format!("2026010100{:04}", n + 1);
                deploy(rig, &format!("t{n}"), &release, &client.pack(tree));
                rig.assert_tidy();
            }
            Ok(())
        });
        told.unwrap_or_else(|error| panic!("{error}"));
    });
}

fn many(files: u64) -> Tree {
    let file = |n: u64| {
        let path = format!("dir{}/file{n}", n % 100).into_bytes();
        (path, Item::File(noise(n, 100)))
    };
    (0..files).map(file).collect()
}

#[test]
fn one_change_among_very_many_files_costs_next_to_nothing() {
    if !has("dash") {
        return;
    }
    let rig = &Rig::new(Shell::Dash);
    let client = Client::new();
    let files = times(2_000, 10_000);
    let mut tree = many(files as u64);
    let first = deploy(rig, "t1", R1, &client.pack(&tree));
    assert_eq!((first.rounds, first.plan.unwrap().0), (1, files));
    tree.insert(b"dir7/file7".to_vec(), Item::file("changed"));
    let second = deploy(rig, "t2", R2, &client.pack(&tree));
    assert_eq!((second.rounds, second.plan), (1, Some((1, second.bytes, false))));
    assert!(second.bytes < 2_000, "{second:?}");
    // Another machine has to send the list of the files.
    client.forgets();
    tree.insert(b"dir8/file8".to_vec(), Item::file("changed, too"));
    let third = deploy(rig, "t3", R3, &client.pack(&tree));
    assert_eq!((third.rounds, third.plan.unwrap().0), (2, 1));
    assert!(third.bytes < files as u64 * 50 && third.bytes < first.bytes / 3, "{third:?} {first:?}");
}

#[test]
fn what_was_only_moved_does_not_travel() {
    each_shell(|rig| {
        let client = Client::new();
        let files = |dir: &str, suffix: &str| -> Tree {
            let one = |n: u64| {
                let path = format!("{dir}/deep {}/-file {n}{suffix}", n % 5).into_bytes();
                (path, Item::File(noise(n, 2_000)))
            };
            (0..50).map(one).collect()
        };
        let first = deploy(rig, "t1", R1, &client.pack(&files("old", "")));
        let moved = deploy(rig, "t2", R2, &client.pack(&files("new", "")));
        let renamed = deploy(rig, "t3", R3, &client.pack(&files("new", ".txt")));
        for sent in [moved, renamed] {
            assert_eq!((sent.rounds, sent.plan.unwrap().0), (1, 0));
            assert!(sent.bytes < first.bytes / 20, "{sent:?} {first:?}");
        }
        // Each is a copy of its own.
        fs::write(rig.root().join("releases").join(R1).join("old/deep 0/-file 0"), "written to").unwrap();
        assert_eq!(fs::read(rig.root().join("current/new/deep 0/-file 0.txt")).unwrap(), noise(0, 2_000));
    });
}

#[test]
fn what_an_app_writes_while_it_is_copied_is_no_part_of_the_next_release() {
    each_shell(|rig| {
        let client = Client::new();
        let tree = |page: &str| {
            let file = |n: u64| (format!("dir{}/file {n}", n % 3).into_bytes(), Item::File(noise(n, 3_000)));
            let others = [
                (b"page".to_vec(), Item::file(page)),
                (b"dir0/link".to_vec(), Item::Link(b"file 0".to_vec())),
                (b"empty".to_vec(), Item::Dir),
            ];
            (0..30).map(file).chain(others).collect::<Tree>()
        };
        deploy(rig, "t1", R1, &client.pack(&tree("one")));
        let (bin, dir) =
            (rig.tmp().parent().unwrap().join("bin"), rig.root().join("releases").join(R1).join("dir1"));
        let cp = fs::canonicalize(bin.join("cp")).or_else(|_| which("cp").ok_or(())).unwrap();
        let _ = fs::remove_file(bin.join("cp"));
        // A name that looks like two lines, the second of which leads out of the tree.
        let script = format!(
            "#!/bin/sh\nmkdir -p '{0}/made' && printf x >'{0}/new' && printf x >'{0}/a\nf 644 .' &&\n\
             ln -sf nowhere '{0}/leads' && exec {1} \"$@\"\n",
            dir.display(),
            if cp.ends_with("busybox") { format!("{} cp", cp.display()) } else { cp.display().to_string() },
        );
        fs::write(bin.join("cp"), script).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(bin.join("cp"), fs::Permissions::from_mode(0o755)).unwrap();
        let sent = deploy(rig, "t2", R2, &client.pack(&tree("two")));
        assert_eq!((sent.rounds, sent.plan.unwrap().0), (1, 1));
        assert!(dir.join("new").exists());
        rig.assert_tidy();
    });
}

#[test]
fn a_host_that_lacks_the_programs_gets_everything() {
    each_shell(|rig| {
        let client = Client::new();
        let tree = |page: &str| {
            let mut tree: Tree =
                (0..20).map(|n| (format!("f{n}").into_bytes(), Item::File(noise(n, 3_000)))).collect();
            tree.insert(b"page".to_vec(), Item::file(page));
            tree
        };
        deploy(rig, "t1", R1, &client.pack(&tree("one")));
        let bin = rig.tmp().parent().unwrap().join("bin");
        let _ = fs::remove_file(bin.join("stat"));
        fs::write(bin.join("stat"), "#!/bin/sh\nexit 1\n").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(bin.join("stat"), fs::Permissions::from_mode(0o755)).unwrap();
        let sent = deploy(rig, "t2", R2, &client.pack(&tree("two")));
        assert_eq!((sent.rounds, sent.plan.unwrap().0), (2, 21));
    });
}

#[test]
fn a_release_of_another_tool_is_not_taken_from() {
    each_shell(|rig| {
        let client = Client::new();
        let tree: Tree =
            (0..20).map(|n| (format!("f{n}").into_bytes(), Item::File(noise(n, 3_000)))).collect();
        let release = rig.root().join("releases").join(R1);
        fs::create_dir_all(&release).unwrap();
        for (path, item) in &tree {
            let Item::File(content) = item else { panic!() };
            fs::write(release.join(std::ffi::OsStr::from_bytes(path)), content).unwrap();
        }
        std::os::unix::fs::symlink(&release, rig.root().join("current")).unwrap();
        let sent = deploy(rig, "t1", R2, &client.pack(&tree));
        assert_eq!((sent.rounds, sent.plan.unwrap().0), (1, 20));
    });
}

#[test]
fn what_a_failed_deploy_left_is_taken_from_too() {
    each_shell(|rig| {
        let client = Client::new();
        let tree = |big: u64, page: &str| {
            Tree::from([
                (b"big".to_vec(), Item::File(noise(big, 50_000))),
                (b"page".to_vec(), Item::file(page)),
            ])
        };
        deploy(rig, "t1", R1, &client.pack(&tree(1, "one")));
        let (mut guardian, _) = upload(rig, "t2", R2, &client.pack(&tree(2, "does not start")), None);
        guardian.act("prepare");
        guardian.ask("revert").ok();
        guardian.bye();
        assert_eq!(rig.release_state(R2).as_deref(), Some("failed"));
        let sent = deploy(rig, "t3", R3, &client.pack(&tree(2, "mended")));
        assert_eq!((sent.rounds, sent.plan.unwrap().0), (1, 1));
        assert!(sent.bytes < 2_000, "{sent:?}");
    });
}
