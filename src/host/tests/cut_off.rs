//! An upload that was cut off is not in vain: the next one sends what had not arrived whole.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use super::parcel::Item;
use super::rig::names;
use super::upload::Client;
use super::upload::Tree;
use super::upload::deploy;
use super::upload::is_unpacked;
use super::upload::upload;
use super::*;
use crate::artifact::Artifact;
use crate::release::Digest;
use crate::release::EntryKind;
use crate::testing::noise;
use crate::testing::times;

fn site(files: u64) -> Tree {
    let file = |n: u64| {
        (format!("dir {}/file {n}", n % 3).into_bytes(), Item::File(noise(n, 10_000 + 370 * n as usize)))
    };
    let mut tree: Tree = (0..files).map(file).collect();
    tree.insert(b"a link".to_vec(), Item::Link(b"dir 1/file 1".to_vec()));
    tree.insert(b"empty".to_vec(), Item::Dir);
    tree
}

/// How many files of the artifact are there whole, of an upload that was cut off.
fn whole_files(rig: &Rig, artifact: &Artifact) -> usize {
    let dir = rig.private("incoming").join(artifact.digest.to_string());
    let Some(token) = names(&dir).into_iter().find(|name| name != "manifest") else { return 0 };
    let is_whole = |entry: &&crate::release::Entry| {
        let EntryKind::File { digest, .. } = entry.kind else { return false };
        let content = fs::read(dir.join(&token).join(std::ffi::OsStr::from_bytes(&entry.path)));
        content.is_ok_and(|content| Digest::of(content) == digest)
    };
    artifact.manifest.entries.iter().filter(is_whole).count()
}

#[test]
fn after_a_cut_at_any_byte_the_next_attempt_sends_the_files_that_had_not_arrived_whole() {
    each_shell(|rig| {
        let client = Client::new();
        let artifact = client.pack(&site(40));
        let all = artifact.manifest.files();
        let (mut guardian, first) = upload(rig, "whole", R1, &artifact, None);
        assert_eq!((first.rounds, first.plan.unwrap().0), (1, all));
        guardian.ask("revert").ok();
        guardian.bye();
        assert!(rig.drops_upload());

        let mut fewest = all;
        let cuts = times(10, 200) as u64;
        for n in 0..cuts {
            let cut = first.bytes * n / cuts + n;
            let (mut guardian, sent) = upload(rig, &format!("cut{n}"), R1, &artifact, Some(cut));
            assert!(sent.result.is_err(), "{cut}");
            assert_eq!(sent.bytes, cut);
            guardian.hang_up();
            assert!(guardian.child.wait().unwrap().success());
            let whole = whole_files(rig, &artifact);

            let (mut guardian, sent) = upload(rig, &format!("next{n}"), R1, &artifact, None);
            assert!(sent.result.is_ok(), "{cut}: {:?}", sent.result);
            let (files, planned, _) = sent.plan.unwrap();
            assert_eq!(planned, sent.bytes, "{cut}");
            // A time may have been missing on a file that was whole.
            let missing = all - whole;
            let is_near = (missing..=missing + 1).contains(&files);
            // Hardly less than everything is everything, in one go.
            assert!(
                is_near || (whole < 10 && files == all),
                "{cut}: {whole} of {all} were whole, {files} sent"
            );
            if whole > 10 {
                assert!(sent.bytes < first.bytes - whole as u64 * 900, "{cut}: {sent:?}");
            }
            fewest = fewest.min(files);
            guardian.act("prepare");
            is_unpacked(&rig.root().join("releases").join(R1), &artifact.manifest);
            guardian.ask("revert").ok();
            guardian.bye();
            rig.assert_tidy();
            fs::remove_dir_all(rig.root().join("releases").join(R1)).unwrap();
            fs::remove_dir_all(rig.private("releases").join(R1)).unwrap();
            fs::remove_file(rig.private("manifests").join(R1)).unwrap();
        }
        assert!(fewest < all / 2, "nothing was ever resumed: {fewest} of {all}");
    });
}

#[test]
fn what_arrived_of_another_artifact_serves_as_well_and_goes_with_the_next_deploy() {
    each_shell(|rig| {
        let client = Client::new();
        let mut tree = site(60);
        let artifact = client.pack(&tree);
        let cut = artifact.compressed_bytes().unwrap() * 3 / 4;
        let (mut guardian, _) = upload(rig, "t1", R1, &artifact, Some(cut));
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        let whole = whole_files(rig, &artifact);
        assert!(whole > 10, "{whole}");

        tree.insert(b"dir 0/file 0".to_vec(), Item::file("mended"));
        let mended = client.pack(&tree);
        let sent = deploy(rig, "t2", R2, &mended);
        let (files, _, resumed) = sent.plan.unwrap();
        assert!(resumed && files <= mended.manifest.files() - whole + 2, "{whole} were there: {sent:?}");
        rig.assert_tidy();
    });
}

#[test]
fn what_was_left_of_an_upload_and_was_damaged_since_is_sent_again() {
    each_shell(|rig| {
        let client = Client::new();
        let artifact = client.pack(&site(40));
        let (mut guardian, sent) = upload(rig, "t1", R1, &artifact, None);
        assert!(sent.result.is_ok());
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        let dir = rig.private("incoming").join(artifact.digest.to_string()).join("t1");
        // As a power cut leaves them, and as nobody would.
        let mut damage: BTreeMap<&str, &str> = BTreeMap::new();
        for (n, kind) in ["emptied", "changed", "gone", "a directory", "a link"].into_iter().enumerate() {
            let path = dir.join(format!("dir {}/file {n}", n % 3));
            let meta = fs::metadata(&path).unwrap();
            let size = fs::read(&path).unwrap().len();
            fs::remove_file(&path).unwrap();
            match kind {
                "emptied" => fs::write(&path, "").unwrap(),
                "changed" => {
                    fs::write(&path, vec![7; size]).unwrap();
                    let times = fs::FileTimes::new().set_modified(meta.modified().unwrap());
                    fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
                }
                "gone" => {}
                "a directory" => fs::create_dir(&path).unwrap(),
                _ => std::os::unix::fs::symlink("/etc/passwd", &path).unwrap(),
            }
            damage.insert(kind, "");
        }
        assert_eq!(damage.len(), 5);
        deploy(rig, "t2", R1, &artifact);
        rig.assert_tidy();
    });
}
