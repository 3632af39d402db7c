use std::fs;
use std::fs::File;
use std::fs::FileTimes;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use super::*;
use crate::artifact::testing::Project;
use crate::artifact::testing::artifact_files;
use crate::artifact::testing::paths;
use crate::artifact::testing::with_events;
use crate::event::EventKind;
use crate::event::Events;

#[test]
fn a_damaged_artifact_in_the_cache_is_made_again() {
    let project = Project::new();
    project.file("package.json", "{}").file("lib/a", "1");
    let first = project.pack().unwrap();
    let good = fs::read(&first.path).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    fs::write(&first.path, bad).unwrap();
    assert!(project.cache().get(&first.digest).is_none());
    assert!(!project.pack().unwrap().reused);
    assert_eq!(fs::read(&first.path).unwrap(), good);
    fs::remove_file(&first.path).unwrap();
    assert!(!project.pack().unwrap().reused);
}

#[test]
fn the_cache_is_private_and_holds_what_was_used_last() {
    let project = Project::new();
    let cache = project.cache().bounded(u64::MAX, 2);
    let pack = |content: &str| {
        project.file("f", content);
        project.pack_into(&cache, &Events::ignored()).unwrap().digest
    };
    let age = |digest: &Digest, seconds: u64| {
        let times = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(seconds));
        File::open(cache.dir().join(format!("{digest}.json"))).unwrap().set_times(times).unwrap();
    };
    let (one, two) = (pack("1"), pack("2"));
    let mode = PermissionsExt::mode(&fs::metadata(cache.dir()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    age(&one, 100);
    age(&two, 50);
    // Using the older one makes it the newer one.
    assert_eq!(pack("1"), one);
    let three = pack("3");
    assert!(cache.get(&two).is_none());
    assert!(cache.get(&one).is_some() && cache.get(&three).is_some());
    let files = || artifact_files(&cache);
    assert_eq!(files(), 8);

    // One that is larger than the whole bound stays as long as it is the newest.
    let tiny = project.cache().bounded(1, 20);
    project.file("f", "4");
    let four = project.pack_into(&tiny, &Events::ignored()).unwrap();
    assert!(tiny.get(&four.digest).is_some());
    assert_eq!(files(), 4);
}

#[test]
fn what_a_killed_run_left_in_the_cache_goes_after_a_day() {
    let project = Project::new();
    project.file("f", "1").pack().unwrap();
    let cache = project.cache();
    let digest = "a".repeat(64);
    let extension = |extension: &str| format!("{digest}.{extension}");
    let left = [".tmp-abc".to_owned(), extension("tar.zst"), extension("manifest"), extension("chunks")];
    let not_ours = cache.dir().join("notes.txt");
    let day = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(25 * 60 * 60));
    File::create(&not_ours).unwrap().set_times(day).unwrap();
    File::create(cache.dir().join(".tmp-new")).unwrap();
    for name in &left {
        File::create(cache.dir().join(name)).unwrap().set_times(day).unwrap();
    }
    project.file("f", "2").pack().unwrap();
    assert!(left.iter().all(|name| !cache.dir().join(name).exists()));
    assert!(not_ours.exists() && cache.dir().join(".tmp-new").exists());
}

#[test]
fn a_cache_inside_of_the_source_is_not_packed() {
    let project = Project::new();
    project.file("f", "1");
    let cache = Cache::at(project.path("tmp/cache"));
    let first = project.pack_into(&cache, &Events::ignored()).unwrap();
    let second = project.pack_into(&cache, &Events::ignored()).unwrap();
    assert_eq!(paths(&first), ["f", "tmp/"]);
    assert_eq!(second.digest, first.digest);
    assert!(second.reused);
}

#[test]
fn a_cache_that_cannot_be_written_is_named_with_a_way_out() {
    let project = Project::new();
    project.file("f", "1");
    let blocked = project.beside("blocked");
    fs::write(&blocked, "a file").unwrap();
    let error = project.pack_into(&Cache::at(blocked.join("cache")), &Events::ignored()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cannot create the artifact cache") && text.contains("blocked/cache"), "{text}");
}

#[test]
fn an_unchanged_tree_is_not_packed_again() {
    let project = Project::new();
    project.file("package.json", "{}").file("lib/a", "1");
    let (first, stated) = with_events(|events| project.pack_into(&project.cache(), events).unwrap());
    assert!(!first.reused);
    assert!(matches!(stated.last(), Some(EventKind::ArtifactPacked { reused: false, .. })), "{stated:?}");
    let second = project.pack().unwrap();
    assert!(second.reused);
    assert_eq!((second.digest, &second.path), (first.digest, &first.path));
    assert_eq!((second.tar_bytes, second.compressed_bytes()), (first.tar_bytes, first.compressed_bytes()));
    let (third, stated) = with_events(|events| {
        project.file("package.json", "{\"a\":1}");
        project.pack_into(&project.cache(), events).unwrap()
    });
    assert!(!third.reused);
    assert_ne!(third.digest, first.digest);
    let found = project.cache().get(&first.digest).unwrap();
    assert_eq!((found.manifest, found.reused), (first.manifest, true));
    assert!(!stated.is_empty());
}

#[test]
fn several_runs_share_a_cache_that_holds_one() {
    let project = Project::new();
    let cache = project.cache().bounded(u64::MAX, 1);
    thread::scope(|scope| {
        for run in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                let project = Project::new();
                for round in 0..5 {
                    project.file("f", format!("{} {round}", run % 2));
                    project.pack_into(cache, &Events::ignored()).unwrap();
                }
            });
        }
    });
    let last = project.file("f", "last").pack_into(&cache, &Events::ignored()).unwrap();
    assert!(cache.get(&last.digest).is_some());
    assert_eq!(artifact_files(&cache), 4);
}
