use std::fs;
use std::fs::File;
use std::fs::FileTimes;
use std::io::Read;
use std::process::Command;
use std::time::Duration;
use std::time::SystemTime;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::testing::Project;
use super::testing::expected_listing;
use super::testing::has;
use super::testing::listing;
use super::testing::notes;
use super::testing::paths;
use super::testing::stored;
use super::testing::with_events;
use super::*;

/// A tree with everything that may be packed.
fn fill(project: &Project) {
    project
        .file("package.json", "{}\n")
        .executable("bin/run", "#!/bin/sh\nexec node .\n")
        .file("lib/empty", "")
        .file("lib/a b/it's \"quoted\" $HOME", "1")
        .file("lib-x", "sorts before lib/")
        .file("-rf", "a name like an option")
        .file(".env.example", "PORT=3000\n")
        .file("\u{fc}n\u{ef}/\u{1f600}.txt", "utf-8\n")
        .file(&format!("deep/{}/{}", "d".repeat(120), "f".repeat(200)), "a long name")
        .file(&format!("{}/f", "e".repeat(98)), "a name at the edge")
        .file(&"g".repeat(99), "99 bytes")
        .file(&"h".repeat(100), "100 bytes")
        .directory("empty/inside")
        .link("current-theme", "lib/a b")
        .link("lib/up", "../package.json")
        .link("dangling", "lib/nowhere")
        .link("long-link", &format!("deep/{}/{}", "d".repeat(120), "f".repeat(200)));
}

/// The digest of that tree. When it changes, every release of every user gets another one.
const PINNED: &str = "71d452716eb212f2a3a28c646bd0c02fc2c3563c6243773b652d7593c6f788bf";
/// The sha256 of its tar. When it changes, what caches have is no longer what is written: raise `tarball::FORMAT`.
const PINNED_TAR: &str = "ae6a231431d7eec2941bbd00ce7f2e29277b617ec5c58a92f83e150735665f20";

#[test]
fn the_digest_and_the_tar_of_a_known_tree_are_pinned() {
    let project = Project::new();
    fill(&project);
    let artifact = project.pack().unwrap();
    assert_eq!(artifact.digest.to_string(), PINNED);
    assert_eq!(Digest::of(testing::tar_of(&artifact)).to_string(), PINNED_TAR);
}

#[test]
fn the_digest_is_the_sha256_of_the_manifest_that_is_in_the_cache() {
    let project = Project::new();
    fill(&project);
    let artifact = project.pack().unwrap();
    let manifest = fs::read(artifact.path.with_extension("").with_extension("manifest")).unwrap();
    assert_eq!(Digest::of(&manifest), artifact.digest);
    assert_eq!(testing::tar_of(&artifact).len() as u64, artifact.tar_bytes);
    assert_eq!(Some(fs::metadata(&artifact.path).unwrap().len()), artifact.compressed_bytes());
    assert_eq!(artifact.path.file_name().unwrap().to_str(), Some(&*format!("{}.tar.zst", artifact.digest)));
}

#[test]
fn times_modes_umask_order_and_owner_of_the_tree_do_not_change_the_digest() {
    let (one, other) = (Project::new(), Project::new());
    fill(&one);
    // Made in the opposite order, so that directories list it differently.
    other.file("zz", "").file("\u{fc}n\u{ef}/x", "");
    fill(&other);
    fs::remove_file(other.path("zz")).unwrap();
    fs::remove_file(other.path("\u{fc}n\u{ef}/x")).unwrap();
    for (path, mode) in
        [("package.json", 0o600), ("bin/run", 0o4700), ("lib", 0o2770), (".env.example", 0o666)]
    {
        other.mode(path, mode);
    }
    let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(5));
    File::options().write(true).open(other.path("package.json")).unwrap().set_times(old).unwrap();
    fs::hard_link(other.path("lib-x"), other.beside("other-name")).unwrap();

    let (one, other) = (one.pack().unwrap(), other.pack().unwrap());
    assert_eq!(one.manifest, other.manifest);
    assert_eq!(one.digest, other.digest);
    assert_eq!(fs::read(one.path).unwrap(), fs::read(other.path).unwrap());
}

#[test]
fn content_names_and_the_executable_bit_change_the_digest() {
    let changes: [fn(&Project); 5] = [
        |project| _ = project.file("package.json", "{} "),
        |project| _ = project.mode("package.json", 0o744),
        |project| fs::rename(project.path("-rf"), project.path("-rg")).unwrap(),
        |project| fs::remove_dir(project.path("empty/inside")).unwrap(),
        |project| {
            fs::remove_file(project.path("dangling")).unwrap();
            project.link("dangling", "lib/elsewhere");
        },
    ];
    let mut digests = std::collections::BTreeSet::new();
    for change in [(|_| {}) as fn(&Project)].into_iter().chain(changes) {
        let project = Project::new();
        fill(&project);
        change(&project);
        digests.insert(project.pack().unwrap().digest);
    }
    assert_eq!(digests.len(), 6);
}

#[test]
fn gnu_tar_and_busybox_unpack_exactly_the_manifest() {
    let project = Project::new();
    fill(&project);
    let deep = format!("{}x", "directory-of-some-length/".repeat(60));
    project.file(&deep, "a path of 1501 bytes");
    let artifact = project.pack().unwrap();
    let saved = project.beside("saved.tgz");
    save(&artifact, &saved).unwrap();
    let expected = expected_listing(&artifact);
    for tar in [&["tar"][..], &["busybox", "tar"]] {
        if !has(tar[0]) {
            continue;
        }
        let out = project.beside(tar[0]);
        fs::create_dir(&out).unwrap();
        // A umask that would show if modes came from it.
        let mut script = tar.join(" ");
        script.insert_str(0, "umask 0; ");
        script.push_str(" -xzpf \"$1\" -C \"$2\"");
        let status = Command::new("sh").args(["-c", &script, "sh"]).arg(&saved).arg(&out).output().unwrap();
        assert!(status.status.success() && status.stderr.is_empty(), "{tar:?}: {status:?}");
        assert_eq!(listing(&out), expected, "{tar:?}");
    }
}

#[test]
fn gunzip_of_busybox_and_gnu_and_zstd_read_the_same_tar() {
    let project = Project::new();
    // More than one chunk, some of which compresses and some of which does not.
    let noise: Vec<u8> =
        (0..3_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    project.file("noise", noise).file("zeros", vec![0; 2_500_000]);
    let artifact = project.pack().unwrap();
    let saved = project.beside("saved.tgz");
    save(&artifact, &saved).unwrap();
    let tar = Digest::of(testing::tar_from(&artifact.manifest, &project.root()));
    for (program, file) in
        [("gzip -dc", &saved), ("busybox gunzip -c", &saved), ("zstd -dcq", &artifact.path)]
    {
        if !has(program.split(' ').next().unwrap()) {
            continue;
        }
        let script = format!("{program} < \"$1\" | sha256sum");
        let output = Command::new("sh").args(["-c", &script, "sh"]).arg(file).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{tar}  -\n"), "{program}");
    }
}

#[test]
fn a_file_that_changes_between_hashing_and_packing_is_refused() {
    let project = Project::new();
    project.file("a", "one").file("b", "two");
    let artifact = project.pack().unwrap();
    let source = project.root();
    // One that has nothing of the artifact.
    let another = Cache::at(project.beside("another-cache"));
    for (content, what) in [("one!", "grown"), ("on", "cut"), ("eno", "same size")] {
        project.file("a", content);
        let making = store::Making {
            cache: another.clone(),
            manifest: Arc::clone(&artifact.manifest),
            contents: Arc::new(contents::Contents::Tree(source.clone())),
            pieces: chunks::Pieces::new(),
            believed: None,
            cancel: CancellationToken::new(),
        };
        let error = making.begin(artifact.digest).unwrap_err();
        assert!(matches!(&error, StoreError::Changed { path } if path == "a"), "{what}: {error}");
    }
    // Nothing half done is left behind.
    let left = fs::read_dir(another.dir())
        .unwrap()
        .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_file_that_changes_after_it_was_found_is_refused() {
    let project = Project::new();
    project.file("a", "one").file("b", "two").link("c", "a");
    let stamp = |path: &str| source::Stamp::of(&fs::symlink_metadata(project.path(path)).unwrap());
    let files = vec![
        (project.path("a"), stamp("a")),
        (project.path("b"), stamp("b")),
        (project.path("c"), stamp("a")),
    ];
    project.file("a", "longer");
    let events = Events::ignored();
    let progress = progress::Progress::new(&events);
    let results = source::hash_all(&files, &progress, &CancellationToken::new());
    assert!(matches!(results[0], Err(source::HashError::Changed)), "{results:?}");
    assert!(results[1].is_ok(), "{results:?}");
    // A link in the place of a file is not followed.
    assert!(matches!(results[2], Err(source::HashError::Io(_))), "{results:?}");
}

#[test]
fn an_interrupted_pack_ends_as_such() {
    let project = Project::new();
    fill(&project);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (root, cache) = (project.root(), project.cache());
    let request = PackRequest { root: &root, build: &project.build, linked: vec![], cache: &cache, cancel };
    assert!(pack(&request, &Events::ignored()).unwrap_err().is_canceled());
}

#[test]
fn linked_paths_are_left_out_and_named() {
    let mut project = Project::new();
    project.linked = vec!["log".into(), "public/uploads/".into(), "./.env".into(), "not-here".into()];
    project.file("log/a", "1").file("public/uploads/x", "2").file("public/y", "3").file(".env", "SECRET=1");
    project.file("f", "4").link("today", "log/today");
    let (artifact, stated) = with_events(|events| project.pack_into(&project.cache(), events).unwrap());
    assert_eq!(paths(&artifact), ["f", "public/", "public/y", "today"]);
    insta::assert_snapshot!(notes(&stated).join("\n"), @r"
    .env is left out: on hosts it is linked from `shared`
    log is left out: on hosts it is linked from `shared`
    public/uploads is left out: on hosts it is linked from `shared`
    ");
}

fn git(project: &Project, args: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
        .arg("-C")
        .arg(project.root())
        .args(args)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .env_remove("GIT_DIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
}

#[test]
fn the_commit_says_whether_the_project_differs_from_it() {
    if !has("git") {
        return;
    }
    let project = Project::new();
    project.file("f", "1").file(".gitignore", "out\n");
    assert_eq!(project.pack().unwrap().commit, None);
    git(&project, &["init", "-q"]);
    assert_eq!(project.pack().unwrap().commit, None);
    git(&project, &["add", "."]);
    git(&project, &["commit", "-q", "-m", "x"]);
    let clean = project.pack().unwrap();
    let commit = clean.commit.unwrap();
    assert_eq!((commit.len(), clean.branch.as_deref()), (40, Some("main")));
    project.file("out/ignored", "1");
    assert_eq!(project.pack().unwrap().commit.as_ref(), Some(&commit));
    project.file("new", "1");
    assert_eq!(project.pack().unwrap().commit, Some(format!("{commit}-dirty")));
    git(&project, &["checkout", "-q", "--detach"]);
    assert_eq!(project.pack().unwrap().branch, None);
}

#[test]
fn a_saved_artifact_opens_to_the_same_with_its_commit() {
    let project = Project::new();
    fill(&project);
    let mut artifact = project.pack().unwrap();
    artifact.commit = Some(format!("{}-dirty", "a".repeat(40)));
    artifact.branch = Some("feature/x".to_owned());
    let file = project.beside("out.tgz");
    fs::write(&file, "older").unwrap();
    save(&artifact, &file).unwrap();
    // What is in the cache can be deployed, too; it does not say of which commit it is.
    let (kept, stated) = with_events(|events| {
        open(&artifact.path, &project.cache(), events, &CancellationToken::new()).unwrap()
    });
    assert_eq!((kept.digest, &kept.manifest, kept.commit), (artifact.digest, &artifact.manifest, None));
    assert_eq!(notes(&stated), Vec::<String>::new());
    for cache in [project.cache(), Cache::at(project.beside("another-cache"))] {
        let (opened, stated) =
            with_events(|events| open(&file, &cache, events, &CancellationToken::new()).unwrap());
        assert_eq!((opened.digest, &opened.manifest), (artifact.digest, &artifact.manifest));
        assert_eq!((&opened.commit, &opened.branch), (&artifact.commit, &artifact.branch));
        assert_eq!(notes(&stated), Vec::<String>::new());
    }
    let output = Command::new("gzip").arg("-t").arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn saving_overwrites_files_only() {
    let project = Project::new();
    let artifact = project.file("f", "1").pack().unwrap();
    let error = save(&artifact, &project.root()).unwrap_err().to_string();
    assert!(error.contains("it is a directory"), "{error}");
    let error = save(&artifact, "/dev/null".as_ref()).unwrap_err().to_string();
    assert!(error.contains("no regular file"), "{error}");
    let error = save(&artifact, &project.beside("no/such/dir.tgz")).unwrap_err().to_string();
    assert!(error.contains("no/such/dir.tgz"), "{error}");
    // Through a link, and with the modes of the umask.
    let file = project.beside("real.tgz");
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink("real.tgz", project.beside("link.tgz")).unwrap();
    save(&artifact, &project.beside("link.tgz")).unwrap();
    assert!(fs::symlink_metadata(project.beside("link.tgz")).unwrap().is_symlink());
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(File::open(&file).unwrap()).read_to_end(&mut tar).unwrap();
    assert!(tar == testing::tar_of(&artifact));
    let plain = project.beside("plain");
    fs::write(&plain, "").unwrap();
    let mode = |path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
    assert_eq!(mode(&file), mode(&plain));
}

/// A random tree: names from few letters, so that they collide and nest.
fn any_tree() -> impl Strategy<Value = Vec<(String, u8, Vec<u8>)>> {
    let name = "[ab .\u{e4}-]{1,3}".prop_filter("a name", |name| name != "." && name != "..");
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let content = prop::collection::vec(any::<u8>(), 0..2000);
    prop::collection::vec((path, 0..4_u8, content), 1..12)
}

/// Makes what of the tree can be made; what collides with something else is left out.
fn make(project: &Project, tree: &[(String, u8, Vec<u8>)]) {
    for (path, kind, content) in tree {
        let full = project.path(path);
        if fs::create_dir_all(full.parent().unwrap()).is_err() || full.symlink_metadata().is_ok() {
            continue;
        }
        match kind {
            0 => _ = project.directory(path),
            1 => _ = project.link(path, "a"),
            2 => _ = project.file(path, content).mode(path, 0o755),
            _ => _ = project.file(path, content),
        }
    }
    project.file("always", "there");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_tree_comes_back_the_same_from_a_saved_and_from_a_foreign_tarball(tree in any_tree()) {
        let project = Project::new();
        make(&project, &tree);
        let artifact = project.pack().unwrap();

        let saved = project.beside("saved.tgz");
        save(&artifact, &saved).unwrap();
        let unpacked = project.beside("unpacked");
        fs::create_dir(&unpacked).unwrap();
        let tar = Command::new("tar").arg("-xzpf").arg(&saved).arg("-C").arg(&unpacked).status().unwrap();
        prop_assert!(tar.success());
        prop_assert_eq!(listing(&unpacked), expected_listing(&artifact));

        let foreign = project.beside("foreign.tgz");
        let tar = Command::new("tar").arg("-czf").arg(&foreign).arg("-C").arg(project.root()).arg(".").status();
        prop_assert!(tar.unwrap().success());
        for file in [saved, foreign] {
            let cache = Cache::at(project.beside("another-cache"));
            let opened = open(&file, &cache, &Events::ignored(), &CancellationToken::new()).unwrap();
            stored(&opened).unwrap();
            prop_assert_eq!(opened.digest, artifact.digest);
            prop_assert_eq!(&opened.manifest, &artifact.manifest);
            prop_assert_eq!(fs::read(&opened.path).unwrap(), fs::read(&artifact.path).unwrap());
            fs::remove_dir_all(cache.dir()).unwrap();
        }
    }
}
