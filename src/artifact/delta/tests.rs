use std::io::Read as _;
use std::sync::Arc;

use super::super::Artifact;
use super::super::press::Codec;
use super::super::testing::Project;
use super::Pack;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

async fn unzipped(pack: &Pack) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let chunk = pack.chunk(bytes.len() as u64).await.unwrap();
        if chunk.is_empty() {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(Some(bytes.len() as u64), pack.bytes());
    let codec = if bytes.starts_with(b"\x1f\x8b") { Codec::Gzip } else { Codec::Zstd };
    let mut tar = Vec::new();
    codec.reader(&bytes[..]).unwrap().read_to_end(&mut tar).unwrap();
    tar
}

fn place(artifact: &Artifact, path: &str) -> u32 {
    let place = artifact.manifest.entries.iter().position(|entry| entry.path == path.as_bytes());
    place.unwrap().try_into().unwrap()
}

fn project() -> Project {
    let project = Project::new();
    project
        .file("a", "first")
        .file("dir/b", vec![7; 3000])
        .file(&format!("dir/{}", "long".repeat(40)), "long")
        .executable("dir/run", "#!/bin/sh\n")
        .link("link", "a");
    project
}

#[test]
fn a_pack_has_the_bytes_of_the_artifact_for_just_these_files() {
    runtime().block_on(async {
        let project = project();
        let artifact = project.pack().unwrap();
        let paths = |tar: &[u8]| -> Vec<String> {
            let mut archive = tar::Archive::new(tar);
            let entries = archive.entries().unwrap();
            entries.map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
        };
        let (b, run) = (place(&artifact, "dir/b"), place(&artifact, "dir/run"));
        let files = unzipped(&artifact.pack(&[b, run], false, Codec::Zstd).await.unwrap()).await;
        assert_eq!(paths(&files), ["dir/b", "dir/run"]);
        let links = unzipped(&artifact.pack(&[], true, Codec::Zstd).await.unwrap()).await;
        assert_eq!(paths(&links), ["link"]);
        let none = unzipped(&artifact.pack(&[], false, Codec::Zstd).await.unwrap()).await;
        assert_eq!(none, [0; 1024]);
        let whole = unzipped(&artifact.whole(Codec::Zstd).await.unwrap()).await;
        let content = files.strip_suffix(&[0; 1024][..]).unwrap();
        assert!(whole.windows(1536).any(|part| part == &content[..1536]));
        let all: Vec<u32> = (0..).zip(&artifact.manifest.entries).map(|(place, _)| place).collect();
        let files = unzipped(&artifact.pack(&all, true, Codec::Zstd).await.unwrap()).await;
        assert!(files == whole);
    });
}

#[test]
fn hosts_without_zstd_get_the_same_tar_while_it_is_made() {
    runtime().block_on(async {
        let project = project();
        let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n ^ 0x9e37) >> 9) as u8).collect();
        let artifact = project.file("noise", noise).pack().unwrap();
        let gzipped = artifact.whole(Codec::Gzip).await.unwrap();
        assert!(gzipped.chunk(0).await.unwrap().starts_with(b"\x1f\x8b"));
        assert!(Arc::ptr_eq(&gzipped, &artifact.clone().whole(Codec::Gzip).await.unwrap()));
        assert!(unzipped(&gzipped).await == unzipped(&artifact.whole(Codec::Zstd).await.unwrap()).await);
        let files = [place(&artifact, "dir/b")];
        let packs = [Codec::Gzip, Codec::Zstd].map(|codec| artifact.pack(&files, true, codec));
        let [gzip, zstd] = packs.map(|pack| async { unzipped(&pack.await.unwrap()).await });
        assert!(gzip.await == zstd.await);
        // A damaged artifact is no shorter one.
        let artifact = project.cache().get(&artifact.digest).unwrap();
        let bytes = std::fs::read(&artifact.path).unwrap();
        std::fs::write(&artifact.path, &bytes[..bytes.len() / 2]).unwrap();
        let gzipped = artifact.whole(Codec::Gzip).await.unwrap();
        let mut offset = 0;
        let error = loop {
            match gzipped.chunk(offset).await {
                Ok(chunk) => offset += chunk.len() as u64,
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("cannot compress for a host that has no zstd"), "{error}");
    });
}

#[test]
fn hosts_that_need_the_same_bytes_share_them() {
    runtime().block_on(async {
        let project = project();
        let first = project.pack().unwrap();
        let second = project.file("a", "second").pack().unwrap();
        let same = second.clone();
        let (one, other) = (second.difference(first.digest), same.difference(first.digest));
        let (one, other) = tokio::join!(one, other);
        let (one, other) = (one.unwrap().unwrap(), other.unwrap().unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!((&one.missing, one.bytes), (&vec![place(&second, "a")], 6));
        let (one, other) = tokio::join!(
            second.pack(&one.missing, true, Codec::Zstd),
            same.pack(&other.missing, true, Codec::Zstd)
        );
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
    });
}

#[test]
fn a_release_that_is_not_known_here_or_is_damaged_is_compared_with_nothing() {
    runtime().block_on(async {
        let project = project();
        let first = project.pack().unwrap();
        let second = project.file("a", "second").pack().unwrap();
        let manifest = first.path.with_file_name(format!("{}.manifest", first.digest));
        // The content is not needed.
        std::fs::remove_file(&first.path).unwrap();
        assert!(second.difference(first.digest).await.unwrap().is_some());
        let third = project.file("a", "third").pack().unwrap();
        std::fs::write(&manifest, "rdeploy-manifest 1\n").unwrap();
        assert!(third.difference(first.digest).await.unwrap().is_none());
        std::fs::remove_file(&manifest).unwrap();
        assert!(third.difference(first.digest).await.unwrap().is_none());
    });
}

#[test]
fn an_artifact_that_is_damaged_in_the_cache_is_not_cut() {
    runtime().block_on(async {
        let project = project();
        // Without a source.
        let artifact = project.cache().get(&project.pack().unwrap().digest).unwrap();
        let elsewhere = Project::new();
        let other = elsewhere.file("other", "x").pack().unwrap();
        std::fs::copy(&other.path, &artifact.path).unwrap();
        let error = artifact.pack(&[place(&artifact, "a")], false, Codec::Zstd).await.unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    });
}

#[test]
fn moved_files_are_missing_only_where_there_are_too_many_to_copy_one_by_one() {
    runtime().block_on(async {
        let project = Project::new();
        let fill = |dir: &str, suffix: &str| {
            let _ = std::fs::remove_dir_all(project.root());
            for n in 0..250 {
                project.file(&format!("{dir}/{n}{suffix}"), n.to_string());
            }
            project.pack().unwrap()
        };
        let first = fill("old", "");
        let moved = fill("new", "");
        let renamed = fill("old", ".txt");
        assert!(moved.difference(first.digest).await.unwrap().unwrap().missing.is_empty());
        assert_eq!(renamed.difference(first.digest).await.unwrap().unwrap().missing.len(), 50);
    });
}

#[test]
fn a_pack_is_made_of_the_source_and_of_the_artifact_where_the_source_has_changed() {
    runtime().block_on(async {
        let project = project();
        let artifact = project.pack().unwrap();
        let wanted = [place(&artifact, "dir/b"), place(&artifact, "dir/run")];
        let found = project.cache().get(&artifact.digest).unwrap();
        let good = unzipped(&found.pack(&wanted, true, Codec::Zstd).await.unwrap()).await;
        // The source is enough.
        let bytes = std::fs::read(&artifact.path).unwrap();
        std::fs::remove_file(&artifact.path).unwrap();
        assert!(unzipped(&artifact.pack(&wanted, true, Codec::Zstd).await.unwrap()).await == good);
        std::fs::write(&artifact.path, bytes).unwrap();
        let changes: [fn(&Project); 4] = [
            |project| _ = project.file("dir/b", vec![8; 3000]),
            |project| _ = project.file("dir/b", vec![7; 2999]),
            |project| _ = project.file("dir/b", vec![7; 3001]),
            |project| std::fs::remove_file(project.path("dir/b")).unwrap(),
        ];
        for change in changes {
            let artifact = project.file("dir/b", vec![7; 3000]).pack().unwrap();
            change(&project);
            assert!(unzipped(&artifact.pack(&wanted, true, Codec::Zstd).await.unwrap()).await == good);
        }
        // What is in neither is an error that says why.
        let artifact = project.file("dir/b", vec![7; 3000]).pack().unwrap();
        project.file("dir/b", "edited");
        std::fs::remove_file(&artifact.path).unwrap();
        let error = artifact.pack(&wanted, true, Codec::Zstd).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "dir/b changed while it was being read; is a build or a watcher still running?"
        );
        // Files that are not wanted may be what they like.
        let run = [place(&artifact, "dir/run")];
        assert!(artifact.pack(&run, false, Codec::Zstd).await.is_ok());
    });
}
