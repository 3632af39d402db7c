use std::os::unix::fs::MetadataExt;
use std::thread;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::artifact::progress::Progress;
use crate::artifact::source;
use crate::artifact::testing::Project;
use crate::event::Events;

/// A time at which everything was left alone for long enough.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

fn stamp(project: &Project, path: &str) -> Stamp {
    Stamp::of(&fs::symlink_metadata(project.path(path)).unwrap())
}

fn hashed(project: &Project, path: &str) -> Hashed {
    let events = Events::ignored();
    let files = [(project.path(path), stamp(project, path))];
    source::hash_all(&files, &Progress::new(&events), &CancellationToken::new()).remove(0).unwrap()
}

fn load(project: &Project) -> Hashes {
    project.cache().prepare().unwrap();
    Hashes::load(&project.cache(), &project.root())
}

/// What is known of one file.
fn known(project: &Project, path: &str) -> Option<Hashed> {
    load(project).find(&[(path.as_bytes(), stamp(project, path))]).remove(0)
}

/// Remembers files that are hashed at that time.
fn keep(project: &Project, paths: &[&str], began: SystemTime) {
    let files: Vec<_> = paths.iter().map(|path| (path.as_bytes(), stamp(project, path))).collect();
    let hashed: Vec<Hashed> = paths.iter().map(|path| hashed(project, path)).collect();
    load(project).keep(&files, &hashed, began);
}

/// Remembers something wrong of a file.
fn mistake(project: &Project, path: &str) -> Hashed {
    let wrong = Hashed { digest: Digest([7; 32]), ..hashed(project, path) };
    load(project).keep(&[(path.as_bytes(), stamp(project, path))], std::slice::from_ref(&wrong), later());
    wrong
}

/// Does something to a file until its file system shows another time, and gives it the old mtime back.
fn with_its_old_time(project: &Project, path: &str, change: impl Fn()) {
    let old = stamp(project, path);
    let mtime = fs::metadata(project.path(path)).unwrap().modified().unwrap();
    while stamp(project, path).ctime == old.ctime {
        change();
        let file = File::options().write(true).open(project.path(path)).unwrap();
        file.set_times(FileTimes::new().set_modified(mtime)).unwrap();
    }
    assert_eq!(stamp(project, path).mtime, old.mtime);
}

#[test]
fn a_file_that_was_left_alone_is_known_and_a_new_one_is_not() {
    let project = Project::new();
    project.file("a", "one").file("b/c", "").file("d", "three").file("e", "four");
    assert_eq!(known(&project, "a"), None);
    keep(&project, &["a", "b/c", "e"], later());
    let names = ["A", "a", "b/c", "d", "e", "f"];
    project.file("A", "").file("f", "");
    let files: Vec<_> = names.iter().map(|path| (path.as_bytes(), stamp(&project, path))).collect();
    let of = |path| Some(hashed(&project, path));
    assert_eq!(load(&project).find(&files), [None, of("a"), of("b/c"), None, of("e"), None]);
    // What is not in the source any more is not remembered for ever.
    keep(&project, &["b/c"], later());
    assert_eq!((known(&project, "a"), known(&project, "b/c")), (None, of("b/c")));
}

#[test]
fn a_file_that_was_touched_in_any_way_is_not_known_though_its_time_was_set_back() {
    type Change = fn(&Project);
    let changes: [(&str, Change); 4] = [
        ("written again", |project| _ = project.file("a", "two")),
        ("written as it was", |project| _ = project.file("a", "one")),
        ("another mode", |project| _ = project.mode("a", 0o755)),
        ("another file", |project| {
            project.file("a.new", "two");
            fs::rename(project.path("a.new"), project.path("a")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let project = Project::new();
        project.file("a", "one");
        keep(&project, &["a"], later());
        assert!(known(&project, "a").is_some());
        with_its_old_time(&project, "a", || change(&project));
        assert_eq!(known(&project, "a"), None, "{what}");
    }
}

#[test]
fn a_file_that_is_written_to_right_after_it_was_hashed_is_never_taken_for_what_it_was() {
    let project = Project::new();
    for round in 0..300_u32 {
        project.file("a", format!("{:08}", round * 2));
        let before = stamp(&project, "a");
        keep(&project, &["a"], SystemTime::now());
        project.file("a", format!("{:08}", round * 2 + 1));
        let mtime = SystemTime::UNIX_EPOCH
            + Duration::new(before.mtime.0.try_into().unwrap(), before.mtime.1.try_into().unwrap());
        let file = File::options().write(true).open(project.path("a")).unwrap();
        file.set_times(FileTimes::new().set_modified(mtime)).unwrap();
        assert!(known(&project, "a").is_none_or(|digest| digest == hashed(&project, "a")));
    }
}

proptest! {
    #[test]
    fn a_file_that_is_settled_gets_another_time_from_whoever_writes_to_it(
        written in 0..3_000_000_000_000_u64,
        hashed_after in 0..100_000_000_000_u64,
        edited_after in 0..3_000_000_000_u64,
        late in 0..10_000_000_u64,
        tick in prop::sample::select(&[1, 4_000_000, 1_000_000_000, 2_000_000_000][..]),
    ) {
        // The clock for files is late, and the file system cuts off what it has no room for.
        let time = |at: u64| {
            let at = at.saturating_sub(late) / tick * tick;
            ((at / 1_000_000_000).cast_signed(), (at % 1_000_000_000).cast_signed())
        };
        let began = written + hashed_after;
        let before = settled_before(SystemTime::UNIX_EPOCH + Duration::from_nanos(began));
        let of = |at| Stamp { device: 1, inode: 1, size: 1, mtime: (0, 0), ctime: time(at) };
        if before.is_some_and(|before| is_settled(&of(written), before)) {
            prop_assert_ne!(of(written), of(began + edited_after));
        }
        // And it does settle.
        let much_later = SystemTime::UNIX_EPOCH + Duration::from_nanos(written) + SETTLED * 2;
        prop_assert!(is_settled(&of(written), settled_before(much_later).unwrap()));
    }
}

#[test]
fn a_time_from_the_future_is_never_settled() {
    let project = Project::new();
    project.file("a", "one");
    let file = File::options().write(true).open(project.path("a")).unwrap();
    file.set_times(FileTimes::new().set_modified(later() + Duration::from_secs(1))).unwrap();
    keep(&project, &["a"], later());
    assert_eq!(known(&project, "a"), None);
}

#[test]
fn a_damaged_or_foreign_file_counts_as_nothing_there() {
    let project = Project::new();
    project.file("a", "one").file("b", "two");
    keep(&project, &["a", "b"], later());
    let file = load(&project).file;
    let good = fs::read(&file).unwrap();
    let is_known = || known(&project, "a").is_some() || known(&project, "b").is_some();
    assert!(is_known());
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(&file, bad).unwrap();
        assert!(!is_known(), "byte {place}");
        fs::write(&file, &good[..place]).unwrap();
        assert!(!is_known(), "cut off at {place}");
    }
    fs::write(&file, [&good[..], &good[..]].concat()).unwrap();
    assert!(!is_known());
    // As of another source.
    let other = Project::new();
    other.file("a", "one");
    keep(&other, &["a"], later());
    fs::copy(load(&other).file, &file).unwrap();
    assert!(!is_known());
    fs::write(&file, &good).unwrap();
    assert!(is_known());
    // A directory is in the way of everything.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    keep(&project, &["a", "b"], later());
    assert!(!is_known());
}

#[test]
fn what_did_not_change_is_not_written_again() {
    let project = Project::new();
    project.file("a", "one");
    keep(&project, &["a"], later());
    let file = load(&project).file;
    let inode = || fs::metadata(&file).unwrap().ino();
    let day = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(24 * 60 * 60));
    File::open(&file).unwrap().set_times(day).unwrap();
    // One that stays there cannot have its number taken by the next.
    let (_held, before) = (File::open(&file).unwrap(), inode());
    keep(&project, &["a"], later());
    assert_eq!(inode(), before);
    let age = fs::metadata(&file).unwrap().modified().unwrap().elapsed();
    assert!(age.is_ok_and(|age| age < Duration::from_secs(60 * 60)), "it was used");
    project.file("b", "two");
    keep(&project, &["a", "b"], later());
    assert_ne!(inode(), before);
}

#[test]
fn the_sources_that_were_used_last_are_remembered() {
    let project = Project::new();
    let cache = project.cache();
    cache.prepare().unwrap();
    let sources: Vec<PathBuf> = (0..MAX_SOURCES + 3).map(|n| project.path(&n.to_string())).collect();
    for (n, source) in sources.iter().enumerate() {
        project.file(&format!("{n}/a"), "one");
        let mut hashes = Hashes::load(&cache, source);
        hashes.keep(
            &[(b"a", stamp(&project, &format!("{n}/a")))],
            &[Hashed { digest: Digest([1; 32]), pieces: Vec::new() }],
            later(),
        );
        let age = Duration::from_secs(1000 - n as u64);
        let used = FileTimes::new().set_modified(SystemTime::now() - age);
        File::open(&hashes.file).unwrap().set_times(used).unwrap();
    }
    let left: Vec<bool> = sources.iter().map(|source| Hashes::load(&cache, source).file.exists()).collect();
    assert_eq!(left.iter().position(|left| *left), Some(3), "{left:?}");
    assert_eq!(left.iter().filter(|left| **left).count(), MAX_SOURCES);
}

#[test]
fn two_runs_at_once_leave_what_one_of_them_knows() {
    let project = Project::new();
    let names: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
    for name in &names {
        project.file(name, name);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    thread::scope(|scope| {
        for run in 0..4 {
            let (project, names) = (&project, &names);
            scope.spawn(move || {
                for round in 0..20 {
                    let mine: Vec<&str> = names.iter().copied().skip(run).step_by(1 + round % 3).collect();
                    keep(project, &mine, later());
                    let files: Vec<_> =
                        names.iter().map(|path| (path.as_bytes(), stamp(project, path))).collect();
                    let found = load(project).find(&files);
                    assert!(found.iter().any(Option::is_some));
                    for (name, hashed) in names.iter().zip(found) {
                        let right = Digest::of(name);
                        assert!(hashed.is_none_or(|hashed| hashed.digest == right), "{name}");
                    }
                }
            });
        }
    });
    let left = fs::read_dir(project.cache().dir()).unwrap();
    assert_eq!(left.count(), 1, "one file, and nothing half done");
}

#[test]
fn a_mistake_is_noticed_when_the_file_is_read_and_everything_is_hashed_again() {
    let project = Project::new();
    project.file("a", "one").file("b", "two");
    let right = project.pack().unwrap();
    let wrong = mistake(&project, "b");
    assert_eq!(known(&project, "b").as_ref(), Some(&wrong));
    // The artifact of the right manifest is there; of the wrong one there is none, so that it has to be made.
    let packed = project.pack().unwrap();
    assert_eq!((packed.digest, packed.manifest, packed.reused), (right.digest, right.manifest, true));
    assert_ne!(known(&project, "b"), Some(wrong));
}

#[test]
fn a_large_file_is_known_with_its_pieces_and_not_read_again() {
    let project = Project::new();
    let mut large: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    project.file("large", &large).file("small", "1");
    keep(&project, &["large", "small"], later());
    assert_eq!(known(&project, "large").unwrap().pieces.len(), 3);
    assert_eq!(known(&project, "large"), Some(hashed(&project, "large")));
    assert_eq!(known(&project, "small"), Some(hashed(&project, "small")));
    let first = project.pack().unwrap();
    // Another file changes: no chunk of this one has to be made, so that nobody sees what it has become.
    let before = first.manifest.entries.iter().find(|entry| entry.path == b"large").unwrap().clone();
    let stale = hashed(&project, "large");
    large[2_000_000] ^= 1;
    project.file("large", &large);
    load(&project).keep(&[(b"large", stamp(&project, "large"))], &[stale], later());
    let second = project.file("small", "2").pack().unwrap();
    assert!(second.manifest.entries.contains(&before));
    assert!(!second.reused && crate::artifact::testing::stored(&second).is_ok());
}

#[test]
fn a_mistake_that_is_noticed_after_the_artifact_has_its_name_is_forgotten_for_the_next_run() {
    let project = Project::new();
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    project.file("large", &large);
    let mut wrong = hashed(&project, "large");
    wrong.pieces.reverse();
    load(&project).keep(&[(b"large", stamp(&project, "large"))], &[wrong], later());
    let failed = crate::artifact::testing::stored(&project.pack().unwrap()).unwrap_err();
    assert!(failed.to_string().starts_with("large changed while it was being read"), "{failed}");
    assert_eq!(known(&project, "large"), None);
    let packed = project.pack().unwrap();
    assert!(crate::artifact::testing::stored(&packed).is_ok());
}
