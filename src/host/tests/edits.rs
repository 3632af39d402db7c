//! A large file that changed a little travels as that change, where the host has zstd, and is to the byte what was
//! packed whatever lies on the host.

use std::fs;

use super::parcel::Item;
use super::upload::Client;
use super::upload::Tree;
use super::upload::deploy;
use super::*;
use crate::testing::noise;

const SIZE: usize = 3_000_000;

fn tree(program: &[u8]) -> Tree {
    let small = (0..20).map(|n| (format!("lib/{n}").into_bytes(), Item::File(noise(n, 1000))));
    let large = [
        (b"bin/it's \"one\" $x".to_vec(), Item::Program(program.to_vec())),
        (b"data.bin".to_vec(), Item::File(noise(7, SIZE))),
    ];
    small.chain(large).collect()
}

/// A few bytes become others, and some come in, so that the rest moves.
fn changed(program: &[u8], by: u64) -> Vec<u8> {
    let mut program = program.to_vec();
    for place in (1000..program.len()).step_by(200_000) {
        program[place] ^= by as u8;
    }
    program.splice(50_000..50_000, noise(by, 400));
    program
}

#[test]
fn a_large_file_that_changed_a_little_travels_as_that_change() {
    each_shell(|rig| {
        let client = Client::new();
        let one = noise(1, SIZE);
        deploy(rig, "t1", "20260101000001", &client.pack(&tree(&one)));
        let two = changed(&one, 2);
        let sent = deploy(rig, "t2", "20260101000002", &client.pack(&tree(&two)));
        assert_eq!((sent.rounds, sent.plan.unwrap().0), (1, 1));
        let is_little = sent.bytes < 20_000;
        assert_eq!(is_little, rig.has_zstd(), "{sent:?}");

        // What somebody wrote there, in a way that only the content tells, does not get into the next one.
        let live = rig.root().join("current/bin/it's \"one\" $x");
        let times = fs::FileTimes::new().set_modified(fs::metadata(&live).unwrap().modified().unwrap());
        fs::write(&live, noise(9, two.len())).unwrap();
        fs::File::options().write(true).open(&live).unwrap().set_times(times).unwrap();
        let three = changed(&two, 3);
        let sent = deploy(rig, "t3", "20260101000003", &client.pack(&tree(&three)));
        assert_eq!(sent.rounds, if rig.has_zstd() { 2 } else { 1 }, "{sent:?}");

        // Where the old content is not known here any more, everything of the file is sent.
        let artifact = client.pack(&tree(&changed(&three, 4)));
        for file in fs::read_dir(client.cache()).unwrap().flatten() {
            if file.path().extension().is_some_and(|extension| extension == "zst")
                && file.path() != artifact.path
            {
                fs::remove_file(file.path()).unwrap();
            }
        }
        let sent = deploy(rig, "t4", "20260101000004", &artifact);
        assert!(sent.rounds == 1 && sent.bytes > SIZE as u64 / 2, "{sent:?}");
        rig.assert_tidy();
    });
}

#[test]
fn a_file_that_has_become_another_one_is_sent_whole() {
    each_shell(|rig| {
        let client = Client::new();
        deploy(rig, "t1", "20260101000001", &client.pack(&tree(&noise(1, SIZE))));
        let sent = deploy(rig, "t2", "20260101000002", &client.pack(&tree(&noise(2, SIZE))));
        assert!(sent.rounds == 1 && sent.bytes > SIZE as u64, "{sent:?}");
    });
}
