use std::collections::HashSet;
use std::fs;

use proptest::prelude::*;

use super::*;
use crate::artifact::Artifact;
use crate::artifact::Cache;
use crate::artifact::index;
use crate::artifact::index::Known;
use crate::artifact::testing::Project;
use crate::artifact::testing::dull;
use crate::artifact::testing::tar_from;
use crate::artifact::testing::tar_of;
use crate::event::Events;

fn file(path: &str, size: u64, content: u8) -> Entry {
    let kind = EntryKind::File { executable: false, size, digest: Digest([content; 32]) };
    Entry { path: path.into(), kind }
}

fn names(manifest: &Manifest) -> Vec<Digest> {
    chunks(manifest).map(|chunk| chunk.name(manifest, &Pieces::new())).collect()
}

/// Files of 0 to 40,000 bytes.
fn many() -> Manifest {
    let entry = |n: u64| file(&format!("src/{:02}/module-{n:05}", n / 100), n * 7919 % 40_000, 1);
    Manifest { entries: (0..5_000).map(entry).collect() }
}

#[test]
fn chunks_are_neither_small_nor_large_and_make_up_the_whole() {
    let manifest = many();
    let sizes: Vec<u64> = chunks(&manifest).map(|chunk| chunk.bytes).collect();
    let (mut before, mut early, mut late) = (0, Vec::new(), Vec::new());
    for size in &sizes {
        let part = if before < SOON { &mut early } else { &mut late };
        part.push(*size);
        before += size;
    }
    let last = late.pop().unwrap();
    assert!(last <= LATE.end() + 1024, "{last}");
    for (sizes, expected) in [(early, EARLY), (late, LATE)] {
        assert!(sizes.iter().all(|size| expected.contains(size)), "{sizes:?}");
        let (mean, middle) =
            (sizes.iter().sum::<u64>() / sizes.len() as u64, (expected.start() + expected.end()) / 2);
        assert!((middle * 3 / 4..=middle * 5 / 4).contains(&mean), "{mean}");
    }
    assert_eq!(sizes.iter().sum::<u64>(), tarball::size(&manifest));
}

#[test]
fn a_change_of_one_file_leaves_the_chunks_that_it_is_not_near() {
    let old = many();
    let before: HashSet<Digest> = names(&old).into_iter().collect();
    let changes: [fn(&mut Vec<Entry>, usize); 4] = [
        |entries, at| entries[at] = file("src/changed", 12_345, 2),
        |entries, at| drop(entries.remove(at)),
        |entries, at| entries.insert(at, file("src/new", 30_000, 3)),
        |entries, at| {
            if let EntryKind::File { digest, .. } = &mut entries[at].kind {
                *digest = Digest([9; 32]);
            }
        },
    ];
    for at in [0, 1, 777, 2_500, 4_998] {
        for change in changes {
            let mut new = old.clone();
            change(&mut new.entries, at);
            let missing = names(&new).iter().filter(|name| !before.contains(name)).count();
            assert!((1..=4).contains(&missing), "{missing} of {} at {at}", before.len());
        }
    }
}

#[test]
fn a_large_file_is_cut_at_fixed_places_of_its_own() {
    let manifest = |size: u64, before: u64| Manifest {
        entries: vec![file("a", before, 1), file("b", size, 2), file("c", 10, 3)],
    };
    let pieces =
        |first: u8| Pieces::from([(1, (0..6).map(|n| blake3::Hash::from_bytes([n + first; 32])).collect())]);
    let names = |manifest: &Manifest, pieces: &Pieces| -> Vec<Digest> {
        chunks(manifest).map(|chunk| chunk.name(manifest, pieces)).collect()
    };
    let base = names(&manifest(5 * PIECE + 100, 700), &pieces(0));
    assert_eq!(base.len(), 6);
    // What precedes it is in the first chunk.
    let other = names(&manifest(5 * PIECE + 100, 9_000), &pieces(0));
    assert_eq!(base.iter().zip(&other).filter(|(one, other)| one == other).count(), 5);
    // It got longer: the last chunk, and its header.
    let longer = names(&manifest(5 * PIECE + 200, 700), &pieces(0));
    assert_eq!(base.iter().zip(&longer).filter(|(one, other)| one == other).count(), 4);
    assert!(names(&manifest(5 * PIECE + 100, 700), &pieces(100)).iter().all(|name| !base.contains(name)));
}

fn known(artifact: &Artifact) -> Vec<Known> {
    index::from_text(&fs::read_to_string(artifact.path.with_extension("").with_extension("chunks")).unwrap())
        .unwrap()
}

fn is_right(project: &Project, artifact: &Artifact) -> bool {
    tar_of(artifact) == tar_from(&artifact.manifest, &project.root())
}

/// Packs into a cache that holds nothing yet.
fn anew(project: &Project) -> Artifact {
    let cache = Cache::at(project.beside("empty"));
    let _ = fs::remove_dir_all(cache.dir());
    project.pack_into(&cache, &Events::ignored()).unwrap()
}

#[test]
fn what_was_compressed_before_is_copied() {
    let project = Project::new();
    for n in 0..60 {
        project.file(&format!("{n:02}"), dull(n, 100_000));
    }
    let mut large = dull(99, 3 * PIECE as usize + 5);
    project.file("large", &large).pack().unwrap();
    let first = project.file("30", "changed").pack().unwrap();
    large[2 * PIECE as usize] ^= 1;
    let second = project.file("large", &large).file("01", dull(100, 100_000)).pack().unwrap();
    let before: HashSet<Digest> = known(&first).iter().map(|chunk| chunk.name).collect();
    let new = known(&second).iter().filter(|chunk| !before.contains(&chunk.name)).count();
    assert!((2..=4).contains(&new), "{new}");
    assert!(is_right(&project, &second));
}

#[test]
fn a_chunk_is_really_taken_from_the_artifact_before() {
    let project = Project::new();
    let first = project.file("a", dull(1, 400_000)).file("b", dull(2, 400_000)).pack().unwrap();
    let chunks = known(&first);
    let mut earlier = index::Earlier::default();
    earlier.add(&first.path, &first.path.with_extension("").with_extension("chunks")).unwrap();
    for chunk in &chunks {
        let block = earlier.get(&chunk.name, chunk.bytes).unwrap();
        assert_eq!((block.label, block.compressed.len() as u64), (*chunk, chunk.compressed));
        assert!(earlier.get(&chunk.name, chunk.bytes + 1).is_none());
    }
    assert!(earlier.get(&Digest([0; 32]), 1).is_none());
}

#[test]
fn what_is_damaged_in_an_artifact_does_not_get_into_the_next() {
    let project = Project::new();
    let write = |changed: u64| {
        for n in 0..20 {
            project.file(&format!("{n:02}"), dull(n, 100_000));
        }
        project.file("10", dull(changed, 50_000));
    };
    write(50);
    let first = project.pack().unwrap();
    let (artifact, list) = (first.path.clone(), first.path.with_extension("").with_extension("chunks"));
    let (good, good_list) = (fs::read(&artifact).unwrap(), fs::read(&list).unwrap());
    type Damage = fn(&mut Vec<u8>, &mut Vec<u8>);
    let damages: [Damage; 6] = [
        |artifact, _| artifact.iter_mut().step_by(999).for_each(|byte| *byte ^= 1),
        |artifact, _| artifact.truncate(artifact.len() / 2),
        |artifact, _| drop(artifact.drain(20..30)),
        |_, list| list[80] ^= 1,
        |_, list| list.truncate(list.len() / 2),
        |_, list| list.clear(),
    ];
    for (n, damage) in (60..).zip(damages) {
        let (mut bad, mut bad_list) = (good.clone(), good_list.clone());
        damage(&mut bad, &mut bad_list);
        fs::write(&artifact, bad).unwrap();
        fs::write(&list, bad_list).unwrap();
        write(n);
        let second = project.pack().unwrap();
        assert!(is_right(&project, &second), "{n}");
        for extension in ["json", "manifest", "chunks", "tar.zst"] {
            fs::remove_file(second.path.with_extension("").with_extension(extension)).unwrap();
        }
    }
}

/// Some of a few files with contents of a few sizes.
fn any_files() -> impl Strategy<Value = Vec<(u8, u64, usize)>> {
    let size = prop_oneof![0_usize..2_000, 100_000_usize..700_000, 1_000_000_usize..2_300_000];
    prop::collection::vec((0..9_u8, 0..4_u64, size), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn the_same_tree_becomes_the_same_tar_whatever_was_compressed_before(
        trees in prop::collection::vec(any_files(), 2..5)
    ) {
        let project = Project::new();
        for tree in trees {
            // What is not written again stays from the tree before.
            for (name, seed, size) in tree {
                project.file(&format!("f{name}"), dull(seed, size));
            }
            let artifact = project.pack().unwrap();
            prop_assert_eq!(artifact.digest, anew(&project).digest);
            prop_assert!(is_right(&project, &artifact));
        }
    }
}
