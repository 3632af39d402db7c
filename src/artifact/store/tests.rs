use std::fs;
use std::sync::Mutex;

use super::*;
use crate::artifact::Artifact;
use crate::artifact::Pack;
use crate::artifact::testing::Project;
use crate::artifact::testing::artifact_files;

/// An artifact that has its name but was not compressed yet: nothing of it is written before the test says so.
struct Named {
    making: Making,
    temporary: NamedTempFile,
    teller: Teller,
    artifact: Artifact,
}

fn named(project: &Project) -> Named {
    let packed = project.pack().unwrap();
    for extension in ["json", "manifest", "chunks", "tar.zst"] {
        fs::remove_file(packed.path.with_extension("").with_extension(extension)).unwrap();
    }
    let making = Making {
        cache: project.cache(),
        manifest: Arc::clone(&packed.manifest),
        contents: Arc::new(Contents::Tree(project.root())),
        pieces: Pieces::new(),
        believed: None,
        cancel: CancellationToken::new(),
    };
    let temporary = making.cache.temporary().unwrap();
    let (teller, storing) = Storing::begun(temporary.as_file().try_clone().unwrap());
    let artifact = Artifact { storing, ..packed };
    Named { making, temporary, teller, artifact }
}

impl Named {
    /// Compresses it on a thread of its own.
    fn finish(self) {
        let Self { making, temporary, teller, artifact } = self;
        thread::spawn(move || {
            let end = making.finish((artifact.digest, artifact.codec), temporary, &teller);
            teller.ended(end);
        });
    }
}

fn project() -> Project {
    let project = Project::new();
    for n in 0..40_u8 {
        let content: Vec<u8> =
            (0..100_000_u32).map(|at| (at.wrapping_mul(at ^ 0x9e37) >> 9) as u8 ^ n).collect();
        project.file(&format!("{n:02}"), content);
    }
    project
}

async fn read(pack: &Pack) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let chunk = pack.chunk(bytes.len() as u64).await?;
        if chunk.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn what_is_compressed_so_far_is_read_by_any_number_and_all_of_it_in_the_end() {
    runtime().block_on(async {
        let project = project();
        let named = named(&project);
        let (one, other) = (
            named.artifact.whole(Codec::Zstd).await.unwrap(),
            named.artifact.whole(Codec::Zstd).await.unwrap(),
        );
        assert_eq!((one.bytes(), named.artifact.compressed_bytes()), (None, None));
        let begun = Mutex::new(Some(named));
        let artifact = begun.lock().unwrap().as_ref().unwrap().artifact.clone();
        let write = async {
            // Both wait already.
            begun.lock().unwrap().take().unwrap().finish();
        };
        let (one_read, other_read, ()) = tokio::join!(read(&one), read(&other), write);
        artifact.storing.finished().await.unwrap();
        let file = fs::read(&artifact.path).unwrap();
        assert!(one_read.unwrap() == file && other_read.unwrap() == file);
        assert_eq!((one.bytes(), one.estimate()), (Some(file.len() as u64), file.len() as u64));
        assert_eq!(artifact.storing.finished().await.unwrap(), file.len() as u64);
        // Who comes later gets the same.
        assert!(read(&artifact.whole(Codec::Zstd).await.unwrap()).await.unwrap() == file);
    });
}

#[test]
fn a_file_that_changes_while_it_is_compressed_fails_for_everybody_with_its_name() {
    runtime().block_on(async {
        let project = project();
        let named = named(&project);
        let artifact = named.artifact.clone();
        let pack = artifact.whole(Codec::Zstd).await.unwrap();
        project.file("30", "edited");
        named.finish();
        let expected = "30 changed while it was being read; is a build or a watcher still running?";
        let (one, other) = tokio::join!(read(&pack), artifact.storing.finished());
        assert_eq!(one.unwrap_err().to_string(), expected);
        let failure = other.unwrap_err();
        assert_eq!((failure.to_string().as_str(), failure.is_canceled()), (expected, false));
        assert_eq!(artifact.compressed_bytes(), None);
        assert!(!artifact.path.exists());
        // What was not touched can be had from the source.
        let pack = artifact.pack(&[3, 5], false, Codec::Zstd).await.unwrap();
        assert!(pack.bytes().unwrap() > 0);
        let error = artifact.pack(&[30], false, Codec::Gzip).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    });
}

#[test]
fn compressing_that_is_interrupted_leaves_nothing() {
    runtime().block_on(async {
        let project = project();
        let named = named(&project);
        let artifact = named.artifact.clone();
        named.making.cancel.cancel();
        named.finish();
        assert!(artifact.storing.finished().await.unwrap_err().is_canceled());
        assert_eq!(artifact_files(&project.cache()), 0);
    });
}

#[test]
fn what_the_cache_does_not_take_can_be_sent_all_the_same() {
    runtime().block_on(async {
        let project = project();
        let named = named(&project);
        let artifact = named.artifact.clone();
        fs::create_dir(&artifact.path).unwrap();
        let pack = artifact.whole(Codec::Zstd).await.unwrap();
        named.finish();
        let failure = artifact.storing.finished().await.unwrap_err();
        assert!(failure.to_string().contains("cannot write to the artifact cache"), "{failure}");
        assert_eq!(Some(read(&pack).await.unwrap().len() as u64), artifact.compressed_bytes());
    });
}

#[test]
fn a_thread_that_dies_is_told() {
    runtime().block_on(async {
        let project = project();
        let named = named(&project);
        let artifact = named.artifact.clone();
        drop(named);
        let failure = artifact.storing.finished().await.unwrap_err();
        assert!(failure.to_string().contains("unexpectedly"), "{failure}");
    });
}

#[test]
fn what_is_estimated_comes_closer_to_the_size() {
    let file = tempfile::tempfile().unwrap();
    let (teller, storing) = Storing::begun(file);
    assert_eq!((storing.estimate(1000), storing.bytes()), (500, None));
    teller.grew(100, 400);
    assert_eq!(storing.estimate(1000), 250);
    teller.grew(300, 1000);
    assert_eq!((storing.estimate(1000), storing.bytes()), (300, None));
    teller.completed(310);
    assert_eq!((storing.estimate(1000), storing.bytes()), (310, Some(310)));
}
