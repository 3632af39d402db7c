//! Owns what travels to a host so that it has all of an artifact: what it has already stays where it is. The host
//! judges by digests (`sh/receive.sh`, `sh/take.sh`); here it is only foreseen what it will miss.
//!
//! | what is known | what is sent | round trips |
//! |---|---|---|
//! | nothing is there | the manifest and the whole artifact | one |
//! | a release whose manifest is in the cache here | the manifest as a change of that one, and the files that differ, large ones as a change of their own | one |
//! | some other release, or what is left of an upload that was cut off | the manifest; then what the host says is missing | two |
//!
//! Where the host finds something else than was foreseen, what is missing follows in one more round.

use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::HostError;
use super::Progress;
use super::protocol::Facts;
use crate::artifact::Artifact;
use crate::artifact::Codec;
use crate::artifact::Difference;
use crate::artifact::Pack;
use crate::artifact::Patch;
use crate::release::Digest;
use crate::release::ReleaseId;

/// An artifact that is smaller than its manifest and so much is sent whole rather than asked about.
const SMALL: u64 = 16 * 1024;

/// What is sent over one channel.
pub(super) enum Part {
    Bytes(Bytes),
    Pack(Arc<Pack>),
}

impl Part {
    /// Its size, if that is known already.
    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Pack(pack) => pack.bytes(),
        }
    }

    fn estimate(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pack(pack) => pack.estimate(),
        }
    }

    /// What follows the first `offset` bytes; nothing at the end.
    pub(super) async fn chunk(&self, offset: u64) -> std::io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(offset..))
            }
            Self::Pack(pack) => pack.chunk(offset).await,
        }
    }
}

/// What the host says to what it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Every file of the release is there and proven.
    Whole,
    /// These are not, by their places in the manifest.
    Missing(Vec<u32>),
    /// It can be done only with everything.
    Cannot,
}

/// The way to a host: runs `receive` there with these arguments and on its input these parts.
pub(super) trait Wire {
    fn receive(
        &self,
        args: &[String],
        parts: &[Part],
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> impl Future<Output = Result<Received, HostError>> + Send;
}

/// Of how much so much was sent, where that is only estimated at first: the share that was sent never goes back, and it
/// is all of it only at the end.
#[derive(Default)]
struct Meter(Mutex<Option<(u64, u64)>>);

impl Meter {
    fn total(&self, sent: u64, known: Option<u64>, estimate: u64) -> u64 {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total = match known {
            Some(known) if known <= sent => sent,
            known => {
                let whole = known.unwrap_or(estimate);
                let most = last.filter(|(sent, _)| *sent > 0).map_or(u64::MAX, |(before, of)| {
                    let most = u128::from(of) * u128::from(sent) / u128::from(before);
                    u64::try_from(most).unwrap_or(u64::MAX)
                });
                whole.min(most).max(sent + 1)
            }
        };
        *last = Some((sent, total));
        total
    }
}

/// An upload under way.
struct Upload<'a, W> {
    wire: &'a W,
    artifact: &'a Artifact,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    /// What the host can read.
    codec: Codec,
    /// How many bytes and files earlier rounds sent.
    sent: u64,
    files: usize,
    /// Whether something of an earlier upload is there.
    resumed: bool,
}

/// Sends what a host needs of an artifact; `there` is how the host stands.
pub(super) async fn upload<W: Wire>(
    wire: &W,
    artifact: &Artifact,
    there: &Facts,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), HostError> {
    let resumed = !there.partial.is_empty();
    let codec = there.codec();
    let mut upload = Upload { wire, artifact, progress, codec, sent: 0, files: 0, resumed };
    let base = upload.base(there).await?;
    let received = match base {
        Some((release, digest, difference)) => upload.patch(release, digest, &difference, there).await?,
        None if upload.is_worth_asking(there).await? => upload.ask(there, None).await?,
        None => upload.all().await?,
    };
    let received = match received {
        Received::Cannot => upload.all().await?,
        received => received,
    };
    let received = match received {
        Received::Missing(missing) => upload.more(&missing).await?,
        received => received,
    };
    match received {
        Received::Whole => Ok(()),
        Received::Missing(missing) => Err(upload.damaged(&missing)),
        Received::Cannot => Err(HostError::Refused {
            reason: "the host did not take the upload".to_owned(),
            output: String::new(),
        }),
    }
}

pub(super) fn reading(source: std::io::Error) -> HostError {
    HostError::Channel { doing: "reading the artifact", source: source.into() }
}

/// What a host is told that a change of a manifest is, and its bytes.
fn form(patch: &Patch) -> (&'static str, Bytes) {
    match patch {
        Patch::Plain(bytes) => ("lines", bytes.clone()),
        Patch::Gzipped(bytes) => ("patch", bytes.clone()),
    }
}

/// The releases to take files from: what is live, and the newest other one, which a failed deploy may have left.
fn releases(there: &Facts) -> Vec<(ReleaseId, &str)> {
    let known = |id: ReleaseId| {
        let record = there.releases.iter().find(|record| record.id == id)?;
        Some((id, record.digest.as_deref()?))
    };
    let live = there.live();
    let others = there.releases.iter().filter(|record| Some(record.id) != live && record.digest.is_some());
    let newest = others.map(|record| record.id).max();
    live.into_iter().chain(newest).filter_map(known).collect()
}

impl<W: Wire> Upload<'_, W> {
    /// The release there that leaves least to be sent, of those whose manifests are known here.
    async fn base(&self, there: &Facts) -> Result<Option<(ReleaseId, Digest, Arc<Difference>)>, HostError> {
        let mut best: Option<(ReleaseId, Digest, Arc<Difference>)> = None;
        for (release, digest) in releases(there) {
            let Ok(digest) = digest.parse() else { continue };
            let Some(found) = self.artifact.difference(digest).await.map_err(reading)? else { continue };
            if best.as_ref().is_none_or(|(_, _, best)| found.bytes < best.bytes) {
                best = Some((release, digest, found));
            }
        }
        Ok(best)
    }

    /// Whether something there can be of use, and asking costs less than sending.
    async fn is_worth_asking(&self, there: &Facts) -> Result<bool, HostError> {
        let listed = self.artifact.listed().await.map_err(reading)?;
        // What is being compressed still is not small.
        let compressed = self.artifact.compressed_bytes();
        let is_small = compressed.is_some_and(|bytes| bytes <= listed.len() as u64 + SMALL);
        Ok(!is_small && (self.resumed || !releases(there).is_empty()))
    }

    /// Everything.
    async fn all(&mut self) -> Result<Received, HostError> {
        let whole = self.artifact.whole(self.codec).await.map_err(reading)?;
        self.resumed = false;
        let listed = self.artifact.listed().await.map_err(reading)?;
        let args = manifest_args("all", whole.codec(), listed.len(), 0);
        let parts = [Part::Bytes(listed), Part::Pack(whole)];
        self.send(&args, &parts, Some(self.artifact.manifest.files())).await
    }

    /// What differs from a release there.
    async fn patch(
        &mut self,
        release: ReleaseId,
        digest: Digest,
        difference: &Difference,
        there: &Facts,
    ) -> Result<Received, HostError> {
        if self.resumed {
            return self.ask(there, Some((release, difference))).await;
        }
        // What large files become others by, where the host can do that.
        let edits = match self.codec {
            Codec::Zstd => self.artifact.edits(digest, &difference.missing).await.map_err(reading)?,
            Codec::Plain | Codec::Gzip => Arc::default(),
        };
        let is_edited = |place: &&u32| edits.files.binary_search(place).is_ok();
        let missing: Vec<u32> =
            difference.missing.iter().filter(|place| !is_edited(place)).copied().collect();
        if self.artifact.is_most(&missing) {
            return self.all().await;
        }
        let pack = self.artifact.pack(&missing, true, self.codec).await.map_err(reading)?;
        let (form, patch) = form(&difference.patch);
        let mut args = manifest_args(form, self.codec, patch.len(), edits.tar.len());
        args.extend(self.sources(there, Some(release)));
        let parts = [Part::Bytes(patch), Part::Bytes(edits.tar.clone()), Part::Pack(pack)];
        self.send(&args, &parts, Some(difference.missing.len())).await
    }

    /// No file at all: the host says what it needs.
    async fn ask(
        &mut self,
        there: &Facts,
        base: Option<(ReleaseId, &Difference)>,
    ) -> Result<Received, HostError> {
        let (form, manifest) = match base {
            Some((_, difference)) => form(&difference.patch),
            None => ("whole", self.artifact.listed().await.map_err(reading)?),
        };
        let mut args = manifest_args(form, self.codec, manifest.len(), 0);
        args.extend(self.sources(there, base.map(|(release, _)| release)));
        let links = self.artifact.pack(&[], true, self.codec).await.map_err(reading)?;
        let received = self.send(&args, &[Part::Bytes(manifest), Part::Pack(links)], None).await?;
        if received == Received::Whole {
            self.plan(0, 0, true);
            (self.progress)(Progress::Sent { sent: self.sent, total: self.sent });
        }
        Ok(received)
    }

    /// What the host said is missing.
    async fn more(&mut self, missing: &[u32]) -> Result<Received, HostError> {
        if self.artifact.is_most(missing) {
            return self.all().await;
        }
        let pack = self.artifact.pack(missing, false, self.codec).await.map_err(reading)?;
        self.send(
            &["more".to_owned(), self.codec.name().to_owned()],
            &[Part::Pack(pack)],
            Some(missing.len()),
        )
        .await
    }

    /// The ids of the releases to take from, the base first.
    fn sources(&self, there: &Facts, base: Option<ReleaseId>) -> Vec<String> {
        let others = releases(there).into_iter().map(|(id, _)| id).filter(|id| Some(*id) != base);
        base.into_iter().chain(others).map(|id| id.to_string()).collect()
    }

    fn plan(&self, files: usize, bytes: u64, is_exact: bool) {
        let bytes = self.sent + bytes;
        (self.progress)(Progress::Planned { files, bytes, is_exact, resumed: self.resumed });
    }

    /// One round. Without a number of files it is not known yet how much there will be in all.
    async fn send(
        &mut self,
        args: &[String],
        parts: &[Part],
        files: Option<usize>,
    ) -> Result<Received, HostError> {
        let known = || parts.iter().map(Part::bytes).sum::<Option<u64>>();
        let estimate = || parts.iter().map(Part::estimate).sum();
        if let Some(files) = files {
            self.files = (self.files + files).min(self.artifact.manifest.files());
            self.plan(self.files, known().unwrap_or_else(estimate), known().is_some());
        }
        let before = self.sent;
        let (sent_last, meter) = (AtomicU64::new(0), Meter::default());
        let progress = |sent: u64| {
            sent_last.store(sent, Ordering::Relaxed);
            if files.is_some() {
                let sent = before + sent;
                let known = known().map(|bytes| before + bytes);
                let total = meter.total(sent, known, before + estimate());
                (self.progress)(Progress::Sent { sent, total });
            }
        };
        let received = self.wire.receive(args, parts, &progress).await?;
        self.sent = before + known().unwrap_or(sent_last.into_inner());
        Ok(received)
    }

    fn damaged(&self, missing: &[u32]) -> HostError {
        let path = |place: &u32| Some(&self.artifact.manifest.entries.get(*place as usize)?.path);
        let paths = missing.iter().filter_map(path).map(|path| String::from_utf8_lossy(path).into_owned());
        let paths: Vec<String> = paths.take(20).collect();
        let reason = format!(
            "files arrived with a wrong digest, and again when they were sent anew ({} of them, the first is {}); \
             look at the host's disk and memory",
            missing.len(),
            paths.first().map_or("unknown", String::as_str),
        );
        HostError::Refused { reason, output: paths.join("\n") }
    }
}

/// What a host is told of a manifest that travels in this form, as so many bytes, before so many of changes of files.
fn manifest_args(form: &str, codec: Codec, bytes: usize, edits: usize) -> Vec<String> {
    vec![form.to_owned(), codec.name().to_owned(), bytes.to_string(), edits.to_string()]
}

/// Reads what `receive` wrote and how it ended.
pub(super) fn answer(code: Option<u32>, written: &str) -> Option<Received> {
    match code {
        Some(0) => Some(Received::Whole),
        Some(75) => {
            // The header is the first line.
            let place =
                |line: &str| line.strip_prefix("missing ")?.trim_end().parse::<u32>().ok()?.checked_sub(2);
            let missing: Vec<u32> = written.lines().filter_map(place).collect();
            (!missing.is_empty()).then_some(Received::Missing(missing))
        }
        Some(76) => Some(Received::Cannot),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Meter;

    /// Sends 100 parts of 10 bytes; the size is known after `known` of them. Returns the totals.
    fn totals(estimate: impl Fn(u64) -> u64, known: u64) -> Vec<u64> {
        let meter = Meter::default();
        (1..=100).map(|n| meter.total(n * 10, (n > known).then_some(1000), estimate(n * 10))).collect()
    }

    #[test]
    fn the_share_that_was_sent_never_goes_back_and_is_all_of_it_only_at_the_end() {
        let estimates: [fn(u64) -> u64; 4] = [|_| 10, |_| 1_000_000, |sent| sent * 3, |sent| 1200 - sent];
        for estimate in estimates {
            for known in [0, 1, 50, 99] {
                let totals = totals(estimate, known);
                let shares: Vec<f64> =
                    (1..).zip(&totals).map(|(n, total)| f64::from(n * 10) / *total as f64).collect();
                assert!(shares.windows(2).all(|two| two[0] <= two[1] + 1e-3), "{known}: {totals:?}");
                assert!(shares[..99].iter().all(|share| *share < 1.0), "{known}: {totals:?}");
                assert_eq!(totals[99], 1000);
            }
        }
        assert!(totals(|_| 1_000_000, 0).iter().all(|total| *total == 1000));
    }
}
