//! What arrives is what was packed, to the byte, or it never becomes a release.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::parcel::Item;
use super::parcel::site;
use super::*;
use crate::testing::noise;

const NOT_ARRIVED: &str = "not every file of the release has arrived";

type Tree = Vec<(&'static [u8], Item)>;

/// Uploads and prepares; returns the exit code of the upload and what preparing wrote, if that failed.
fn prepare(rig: &Rig, token: &str, parcel: &Parcel) -> (Option<i32>, Option<String>) {
    let mut guardian = Guardian::locked(rig, rig.settings(token));
    guardian.begin(&guardian::attempt(rig, R1, parcel));
    let sent = guardian.receive(parcel);
    let answer = guardian.ask("prepare");
    let failed = (answer.code != Some(0)).then(|| guardian.written("prepare"));
    guardian.ask("revert").ok();
    guardian.bye();
    (sent.code, failed)
}

#[test]
fn a_difference_between_what_was_packed_and_what_arrived_stops_the_deploy() {
    each_shell(|rig| {
        let change = |change: fn(&mut Tree)| {
            let mut tree = site("one");
            change(&mut tree);
            tree
        };
        let cases = [
            ("a changed byte", change(|tree| tree[4].1 = Item::file("onE")), NOT_ARRIVED),
            ("a missing file", change(|tree| drop(tree.remove(4))), NOT_ARRIVED),
            ("a file too many", change(|tree| tree.push((b"more", Item::file("")))), "not what was packed"),
            (
                "another link target",
                change(|tree| tree[2].1 = Item::Link(b"bin/run".to_vec())),
                "not what was",
            ),
            (
                "an exec bit too many",
                change(|tree| tree[4].1 = Item::Program(b"one".to_vec())),
                "not what was",
            ),
            (
                "an exec bit that is missing",
                change(|tree| tree[1].1 = Item::file("#!/bin/sh\n")),
                "not what was",
            ),
            ("a directory too many", change(|tree| tree.push((b"more", Item::Dir))), "not what was packed"),
            ("a file instead of a link", change(|tree| tree[2].1 = Item::file("one")), "not what was packed"),
        ];
        for (n, (what, packed, expected)) in cases.into_iter().enumerate() {
            let parcel = Parcel::torn(&site("one"), &packed);
            let (sent, failed) = prepare(rig, &format!("t{n}"), &parcel);
            // What is missing can be sent once more.
            let is_missing = expected == NOT_ARRIVED;
            assert_eq!(sent, Some(if is_missing { 75 } else { 0 }), "{what}");
            let failed = failed.unwrap_or_else(|| panic!("{what} was not noticed"));
            assert!(failed.contains(expected), "{what}: {failed}");
            assert_eq!(rig.releases(), [""; 0], "{what}");
            assert_eq!(rig.drops_upload(), is_missing, "{what}");
            rig.assert_tidy();
        }
    });
}

#[test]
fn a_stream_that_was_cut_off_stops_the_deploy() {
    each_shell(|rig| {
        let big: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let whole = Parcel::new(&[(b"a", Item::File(big)), (b"b", Item::file("b"))]);
        for keep in [0, 10, whole.content.len() / 2, whole.content.len() - 4] {
            let parcel = whole.cut(keep);
            let (sent, failed) = prepare(rig, &format!("t{keep}"), &parcel);
            assert_eq!(sent, Some(1), "{keep} bytes");
            assert!(failed.unwrap().contains(NOT_ARRIVED), "{keep} bytes");
            rig.drops_upload();
            rig.assert_tidy();
        }
        let keep = whole.manifest.len() / 2;
        let parcel = Parcel { manifest: whole.manifest[..keep].to_vec(), ..whole };
        let (sent, failed) = prepare(rig, "manifest", &parcel);
        assert_eq!(sent, Some(1));
        assert!(failed.unwrap().contains(NOT_ARRIVED));
        rig.assert_tidy();
    });
}

#[test]
fn what_is_not_compressed_arrives_and_stops_the_deploy_where_it_was_cut_off() {
    each_shell(|rig| {
        let whole = Parcel::new(&[(b"a", Item::File(noise(7, 200_000))), (b"b", Item::file("b"))]).plain();
        let (sent, failed) = prepare(rig, "whole", &whole);
        assert_eq!((sent, failed), (Some(0), None));
        rig.assert_tidy();
        // Within the first file, before the second, and without the end, which nobody misses.
        let before_b = whole.content.len() - 1024 - 2 * 512;
        let without_end = whole.content.len() - 1024;
        for (n, (keep, expected)) in
            [(10_000, Some(1)), (before_b, Some(75)), (without_end, Some(0))].into_iter().enumerate()
        {
            let parcel = whole.cut(keep);
            let (sent, failed) = prepare(rig, &format!("t{n}"), &parcel);
            assert_eq!(sent, expected, "{keep} bytes");
            assert_eq!(failed.is_some(), expected != Some(0), "{keep} bytes");
            assert_eq!(rig.drops_upload(), failed.is_some(), "{keep} bytes");
            rig.assert_tidy();
        }
    });
}

#[test]
fn names_that_a_shell_could_stumble_over_arrive_unchanged() {
    each_shell(|rig| {
        let odd: Vec<(&[u8], Item)> = [
            &b"-rf"[..],
            b" leading and trailing ",
            b"a 'single' and \"double\" quote",
            b"$(touch beans) `touch beans`",
            b"* ? [a]",
            b"caf\xc3\xa9",
            b"caf\xe9 in latin 1",
            b"semi;colon&and|pipe",
            b"~",
            b"#hash",
        ]
        .into_iter()
        .map(|name| (name, Item::File(name.to_vec())))
        .chain([(&b"-l ink"[..], Item::Link(b"-rf 'x' -> y".to_vec()))])
        .collect();
        let parcel = Parcel::new(&odd);
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &parcel);
        for (name, item) in &odd {
            use std::os::unix::ffi::OsStrExt as _;
            let path = rig.root().join("current").join(std::ffi::OsStr::from_bytes(name));
            match item {
                Item::Link(target) => {
                    assert_eq!(std::fs::read_link(path).unwrap().as_os_str().as_bytes(), target);
                }
                _ => assert_eq!(std::fs::read(path).unwrap(), *name),
            }
        }
        rig.assert_tidy();
    });
}

#[test]
fn what_has_arrived_is_proven_while_the_rest_arrives() {
    each_shell(|rig| {
        // Some tars say what they unpack only when they have much to say.
        let path = |n: u64| format!("{n:03}-{}", "long".repeat(30)).into_bytes();
        let tree: Vec<_> = (0..200).map(|n| (path(n), Item::File(noise(n, 8000)))).collect();
        let tree: Vec<(&[u8], Item)> = tree.iter().map(|(path, item)| (&path[..], item.clone())).collect();
        let parcel = Parcel::new(&tree);
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.begin(&guardian::attempt(rig, R1, &parcel));
        let args = parcel.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut receive = guardian.start_beside("receive", &args);
        let (some, rest) = parcel.content.split_at(parcel.content.len() / 2);
        let mut stdin = receive.stdin.take().unwrap();
        stdin.write_all(&[&parcel.manifest[..], some].concat()).unwrap();
        let sums = Path::new(&guardian.settings.run()).join("sums.out");
        let proven = || std::fs::read_to_string(&sums).unwrap_or_default().matches(": OK\n").count();
        until("what has arrived to be proven", || proven() > 0);
        assert!(proven() <= 100);
        stdin.write_all(rest).unwrap();
        drop(stdin);
        assert!(receive.wait().unwrap().success());
        // Each of them once.
        assert_eq!(proven(), 200);
        for action in ["prepare", "ready", "activate", "commit", "finish"] {
            guardian.act(action);
        }
        guardian.bye();
        assert_eq!(rig.live().as_deref(), Some(R1));
        rig.assert_tidy();
    });
}

#[test]
fn an_upload_that_failed_can_be_made_again() {
    each_shell(|rig| {
        let parcel = Parcel::of("one");
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.begin(&guardian::attempt(rig, R1, &parcel));
        let args = parcel.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let cut = [&parcel.manifest[..], &parcel.content[..20]].concat();
        assert_eq!(guardian.beside("receive", &args, &cut).code, Some(1));
        guardian.upload(&parcel);
        for action in ["prepare", "ready", "activate", "commit", "finish"] {
            guardian.act(action);
        }
        guardian.bye();
        assert_eq!(rig.live().as_deref(), Some(R1));
        rig.assert_tidy();
    });
}

#[test]
fn a_link_in_the_artifact_never_leads_the_shared_links_out_of_the_release() {
    each_shell(|rig| {
        let outside = rig.state("precious");
        std::fs::create_dir_all(outside.join("log")).unwrap();
        let target = outside.to_str().unwrap().as_bytes().to_vec();
        let parcel = Parcel::new(&[(b"var", Item::Link(target))]);
        let mut settings = rig.settings("t1");
        Arc::make_mut(&mut settings.environment).linked_dirs = vec!["var/log".into()];
        let mut guardian = Guardian::locked(rig, settings);
        guardian.begin(&guardian::attempt(rig, R1, &parcel));
        guardian.upload(&parcel);
        guardian.ask("prepare").failed(1);
        assert!(guardian.written("prepare").contains("could not link"), "{}", guardian.written("prepare"));
        assert!(outside.join("log").is_dir());
        guardian.ask("revert").ok();
        guardian.bye();
        // What lies where a shared directory belongs gives way.
        let parcel = Parcel::new(&[(b"log", Item::Dir), (b"log/.keep", Item::file(""))]);
        let mut settings = rig.settings("t2");
        Arc::make_mut(&mut settings.environment).linked_dirs = vec!["log".into()];
        Guardian::locked(rig, settings).deploy(R2, &parcel);
        let link = std::fs::read_link(rig.root().join("current/log")).unwrap();
        assert_eq!(link, rig.root().join("shared/log"));
    });
}

/// With the means of the processor where the host has a program that uses them, since there is much to hash.
#[test]
fn many_bytes_are_proven_by_openssl_where_it_can_and_else_as_few_are() {
    each_shell(|rig| {
        let mut tree = site("one");
        tree.push((b"- big [1]", Item::File(vec![7; 33 << 20])));
        let whole = Parcel::new(&tree);
        let real = crate::testing::which("openssl").unwrap();
        let calls = || rig.state_lines("calls").len();
        let note = format!("#!/bin/sh\necho \"$@\" >>{}\n", rig.state("calls").display());
        rig.program("../bin/openssl", &format!("{note}exec {} \"$@\"\n", real.display()));
        assert_eq!(prepare(rig, "t1", &whole), (Some(0), None));
        assert_eq!(calls(), 2);

        let last = tree.len() - 1;
        let mut other = tree.clone();
        other[last].1 = Item::File([vec![7; (33 << 20) - 1], vec![8]].concat());
        let (sent, failed) = prepare(rig, "t2", &Parcel::torn(&tree, &other));
        assert_eq!((sent, failed.as_deref().map(str::trim_end)), (Some(75), Some(NOT_ARRIVED)));
        assert_eq!(calls(), 4);

        // Another program of that name.
        rig.program("../bin/openssl", &format!("{note}cat >/dev/null\necho unknown option\n"));
        assert_eq!(prepare(rig, "t3", &whole), (Some(0), None));
        assert_eq!(calls(), 5);
        rig.assert_tidy();
    });
}
