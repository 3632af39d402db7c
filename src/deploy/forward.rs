//! Owns the way forward up to the proof: prepare everywhere, the barrier, what runs once for the fleet. The
//! switch that follows is in `switch`.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Member;
use super::Stage;
use super::ahead::From;
use super::fleet::OnFailure;
use super::fleet::Stopped;
use super::transaction::Job;
use super::transaction::Transaction;
use crate::artifact::Artifact;
use crate::event::EventKind;
use crate::event::Phase;
use crate::host::Action;
use crate::host::Attempt;
use crate::host::HookScript;
use crate::host::Host;
use crate::host::HostError;
use crate::host::Progress;
use crate::release::ReleaseId;

impl<H: Host> Transaction<'_, H> {
    /// Everything up to the commit: afterwards every host was proven to run the release.
    pub(super) async fn forward(&mut self, job: Job<'_>, release: ReleaseId) -> Result<(), Stopped> {
        let stops = self.stops;
        let started = Instant::now();
        let prepare = |member| self.prepare(member, job, release);
        self.fleet
            .each(self.fleet.all(), OnFailure::Stop, stops.cancel.cancelled(), prepare)
            .await
            .complete()?;
        self.timings.push(("prepare".to_owned(), started.elapsed()));
        self.everywhere(Stage::Prepared);

        let started = Instant::now();
        self.once_before_switch().await?;
        self.roll_out(job, release).await?;
        self.timings.push(("switch".to_owned(), started.elapsed()));
        self.all_answer().await
    }

    async fn prepare(&self, member: &Member<H>, job: Job<'_>, release: ReleaseId) -> Result<(), HostError> {
        let host = &member.host;
        let mut attempt = Attempt::new(release, member.facts.current.as_deref());
        attempt.absent.clone_from(&self.absent);
        let artifact = job.artifact_for(&member.facts);
        if let Some(artifact) = artifact {
            attempt.digest = artifact.digest.to_string();
            attempt.commit = artifact.commit.clone().unwrap_or_default();
            attempt.branch = artifact.branch.clone().unwrap_or_default();
        }
        host.begin(&attempt).await?;
        self.announce(member, job, release, From::Upload);
        if let Some(artifact) = artifact {
            self.enter(host, Phase::Uploading);
            let uploading = AtomicBool::new(true);
            let progress = |progress| self.uploaded(host, artifact, progress, &uploading);
            host.upload(artifact, &member.facts, &progress).await?;
            if uploading.into_inner() {
                self.enter(host, Phase::Preparing);
            }
            host.act(&Action::Prepare, &|say| self.heard(host, say)).await?;
            self.hooks(member, "after_unpack").await?;
            self.announce(member, job, release, From::Ready);
        } else {
            self.enter(host, Phase::Preparing);
        }
        host.act(&Action::Ready, &|say| self.heard(host, say)).await?;
        self.enter(host, Phase::Waiting);
        Ok(())
    }

    /// When everything is on its way, the host has still to put it together.
    fn uploaded(&self, host: &H, artifact: &Artifact, progress: Progress, uploading: &AtomicBool) {
        let name = host.name().to_owned();
        match progress {
            Progress::Planned { files, bytes, is_exact, resumed } => {
                if !uploading.swap(true, Ordering::Relaxed) {
                    self.enter(host, Phase::Uploading);
                }
                let (all_files, all_bytes) = (artifact.manifest.files(), artifact.compressed_bytes());
                let host = name;
                self.events.emit(EventKind::UploadPlanned {
                    host,
                    files,
                    all_files,
                    bytes,
                    is_exact,
                    all_bytes,
                    resumed,
                });
            }
            Progress::Sent { sent, total } => {
                self.events.emit(EventKind::UploadProgressed { host: name, sent, total });
                if sent >= total && uploading.swap(false, Ordering::Relaxed) {
                    self.enter(host, Phase::Preparing);
                }
            }
        }
    }

    /// The barrier is behind us; what runs once for the fleet (a migration) runs before any switch, one
    /// after the other, in the order of the configuration whatever hosts they run on.
    async fn once_before_switch(&self) -> Result<(), Stopped> {
        let mut scripts: Vec<(usize, &HookScript)> = Vec::new();
        for (place, member) in self.fleet.members.iter().enumerate() {
            let once =
                member.hooks.iter().filter(|script| script.point == "before_switch" && script.hook.once);
            scripts.extend(once.map(|script| (place, script)));
        }
        scripts.sort_by_key(|(place, script)| (script.number, *place));
        for (place, script) in scripts {
            self.fleet
                .each([place], OnFailure::Stop, self.stops.cancel.cancelled(), |member| {
                    self.hook(member, script)
                })
                .await
                .complete()?;
        }
        Ok(())
    }
}
