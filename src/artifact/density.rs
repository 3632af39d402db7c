//! Owns whether compressing a whole artifact is worth anything: what is dense already (images, archives, media) only
//! keeps both sides busy on its way through a compressor.

use std::io;
use std::io::Read as _;

use zstd::bulk::Compressor;

use super::contents::Contents;
use super::press::Codec;
use super::press::Effort;
use crate::release::EntryKind;
use crate::release::Manifest;

/// Less than this is compressed in no time.
const SMALL: u64 = 8 * 1024 * 1024;
/// How much is tried, in so many places.
const SAMPLE: usize = 4096;
const SAMPLES: u64 = 128;
/// What becomes smaller by so many percent is compressed.
const WORTH: u64 = 2;

/// What the tar of these files, of so many bytes, is best stored and sent as.
pub(super) fn codec(manifest: &Manifest, contents: &Contents, tar_bytes: u64) -> Codec {
    // Who cannot read it now is told so by whoever has to.
    let is_dense = tar_bytes >= SMALL && is_dense(manifest, contents, tar_bytes).unwrap_or(false);
    if is_dense { Codec::Plain } else { Codec::Zstd }
}

fn is_dense(manifest: &Manifest, contents: &Contents, tar_bytes: u64) -> io::Result<bool> {
    let (bytes, mut press) = (manifest.bytes(), Compressor::new(Effort::Least.level())?);
    let (mut tried, mut became) = (0, 0);
    let (mut passed, mut next) = (0, 0..SAMPLES);
    let mut at = next.next();
    let mut sample = Vec::with_capacity(SAMPLE);
    for entry in &manifest.entries {
        let EntryKind::File { size, .. } = entry.kind else { continue };
        while let Some(offset) = at.map(|n| n * (bytes / SAMPLES)).filter(|at| *at < passed + size) {
            sample.clear();
            contents.open(entry, offset - passed)?.take(SAMPLE as u64).read_to_end(&mut sample)?;
            tried += sample.len() as u64;
            became += (press.compress(&sample)?.len() as u64).min(sample.len() as u64);
            at = next.next();
        }
        passed += size;
    }
    // All else in a tar becomes next to nothing.
    let estimate = u128::from(bytes) * u128::from(became) / u128::from(tried.max(1));
    Ok(estimate * 100 >= u128::from(tar_bytes) * u128::from(100 - WORTH))
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::artifact::Cache;
    use crate::artifact::open;
    use crate::artifact::save;
    use crate::artifact::testing::Project;
    use crate::artifact::testing::stored;
    use crate::artifact::testing::tar_from;
    use crate::artifact::testing::tar_of;
    use crate::event::Events;
    use crate::testing::noise;

    #[test]
    fn what_is_stored_as_it_is_is_an_artifact_like_any_other() {
        let project = Project::new();
        let first = project.file("noise", noise(7, 12 << 20)).file("f", "1").pack().unwrap();
        assert_eq!(first.path.extension().unwrap(), "tar");
        assert_eq!(first.compressed_bytes(), Some(first.tar_bytes));
        assert!(tar_of(&first) == tar_from(&first.manifest, &project.root()));
        let again = project.pack().unwrap();
        assert_eq!((again.digest, again.codec, again.reused), (first.digest, Codec::Plain, true));
        let found = project.cache().get(&first.digest).unwrap();
        assert_eq!((&found.manifest, found.codec), (&first.manifest, Codec::Plain));
        // Its chunks serve the next, and it can be saved and opened.
        let second = project.file("f", "2").pack().unwrap();
        assert!(tar_of(&second) == tar_from(&second.manifest, &project.root()));
        let saved = project.beside("saved.tgz");
        save(&second, &saved).unwrap();
        for file in [&saved, &second.path] {
            let cache = Cache::at(project.beside("another-cache"));
            let opened = open(file, &cache, &Events::ignored(), &CancellationToken::new()).unwrap();
            stored(&opened).unwrap();
            assert_eq!((opened.digest, opened.codec), (second.digest, Codec::Plain));
        }
    }

    #[test]
    fn only_what_hardly_becomes_smaller_is_left_as_it_is() {
        let of = |files: &[(&str, Vec<u8>)]| {
            let project = Project::new();
            for (path, content) in files {
                project.file(path, content);
            }
            project.pack().unwrap().codec
        };
        let large = 12 << 20;
        assert_eq!(of(&[("noise", noise(7, large)), ("package.json", b"{}".to_vec())]), Codec::Plain);
        assert_eq!(of(&[("noise", noise(7, 1 << 20))]), Codec::Zstd, "little");
        assert_eq!(of(&[("text", vec![b'x'; large])]), Codec::Zstd, "what compresses");
        assert_eq!(
            of(&[("noise", noise(7, large)), ("text", vec![b'x'; 1 << 20])]),
            Codec::Zstd,
            "a part of it"
        );
        let small: Vec<(String, Vec<u8>)> = (0..9000).map(|n| (format!("{n:04}"), noise(7, 1000))).collect();
        let small: Vec<(&str, Vec<u8>)> =
            small.iter().map(|(path, noise)| (&**path, noise.clone())).collect();
        assert_eq!(of(&small), Codec::Zstd, "the headers of small files");
    }
}
