//! Owns one host as the transaction drives it: what is asked of its guardian. What goes over channels beside it is
//! in `beside`.

use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;

use super::Action;
use super::Host;
use super::HostError;
use super::LockOutcome;
use super::Progress;
use super::Upcoming;
use super::ahead::Ahead;
use super::probe;
use super::protocol::Facts;
use super::protocol::Say;
use super::recovery;
use super::settings;
use super::settings::Attempt;
use super::settings::HookScript;
use super::settings::SessionSettings;
use super::settings::Verb;
use super::talk::Asked;
use super::talk::Milestone;
use super::talk::Talk;
use super::unasked::UnaskedCheck;
use super::upload;
use crate::artifact::Artifact;
use crate::ssh::Connection;
use crate::ssh::Traffic;
use crate::ssh::Trip;

/// How a host begins to say that its disk is full.
pub(super) const FULL: &str = "the disk is full";

/// What the guardian answers to what it was told ahead and does not do.
const SKIPPED: u32 = 95;

/// Said of a check that cannot be asked from here either.
pub(super) const UNREADABLE: &str = "the host has no program to ask the release's health check with, and what it says of the check cannot be read; install curl or wget there";

/// What is done first.
const CHECKING: &str = "checking the host";

/// What is done when a release is named.
const NAMING: &str = "naming the release";

/// How long a host may take for what needs no work: checks, the lock, leaving.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// A guardian on a real host.
pub struct Session {
    pub(super) settings: SessionSettings,
    pub(super) connection: Connection,
    pub(super) talk: Talk,
    ahead: Ahead,
    /// How the host stood when it was locked along with the checks, until that is asked for.
    locked: Mutex<Option<Facts>>,
    /// What was begun: a successor needs to know it too.
    pub(super) attempt: Mutex<Option<Attempt>>,
    /// The guardian that follows this one: it took over when this one died, or will ask for the lock again.
    successor: OnceLock<Box<Session>>,
    /// Whether it took over from one that died. Another is not started when this one dies, too.
    heir: bool,
}

impl Session {
    /// Starts a guardian on the host at the other end of `connection`. It changes nothing until it is
    /// asked for the lock.
    pub async fn start(connection: Connection, settings: SessionSettings) -> Result<Self, HostError> {
        Ok(Self::start_asking(connection, settings, None).await?.0)
    }

    /// The same, and asks the read-only questions. With `locks` the lock is taken in the same breath where nothing that
    /// was found speaks against it and it leaves no trace when it is given back: [`Host::lock`] says so later. Whoever
    /// does not come to that frees it with [`Session::part`].
    pub async fn start_and_check(
        connection: Connection,
        settings: SessionSettings,
        locks: bool,
    ) -> Result<(Self, Facts), HostError> {
        let intent = if locks { "preflight lock" } else { "preflight" };
        let (session, asked) = Self::start_asking(connection, settings, Some((intent, CHECKING))).await?;
        let facts = session.heard_facts("preflight", CHECKING, asked).await?;
        if facts.locked {
            session.talk.beat(session.settings.environment.lease);
            // Notes are told with the checks.
            let standing = Facts { notes: Vec::new(), ..facts.clone() };
            *session.locked.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
        }
        Ok((session, facts))
    }

    async fn start_asking(
        connection: Connection,
        settings: SessionSettings,
        first: Option<(&str, &'static str)>,
    ) -> Result<(Self, Option<Asked>), HostError> {
        let start = Talk::start(connection.clone(), &settings, first);
        let ahead = async {
            // For the release, or the first hook.
            if matches!(settings.verb, Verb::Deploy | Verb::Resume) || !settings.hooks.is_empty() {
                connection.start_ahead();
            }
        };
        let (talk, ()) = tokio::join!(start, ahead);
        let (talk, asked) = talk?;
        let (ahead, locked) = (Ahead::default(), Mutex::default());
        let (attempt, successor) = (Mutex::default(), OnceLock::new());
        let session = Self { settings, connection, talk, ahead, locked, attempt, successor, heir: false };
        Ok((session, asked))
    }

    /// Takes what is known of a lock that nobody has asked for yet.
    fn locked_already(&self) -> Option<Facts> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Frees a lock that was taken along with the checks. What does not hear of it frees it at the end of the
    /// connection.
    pub async fn part(&self) {
        if self.locked_already().is_some() {
            let _ = self.leave().await;
        }
    }

    /// The guardian there is now.
    pub(super) fn living(&self) -> &Self {
        self.successor.get().map_or(self, |successor| successor.living())
    }

    /// Asks something that is to succeed. What did not is told with what it wrote.
    pub(super) async fn done(
        &self,
        intent: &str,
        doing: &'static str,
        limit: Duration,
        heard: &(dyn Fn(Say) + Send + Sync),
    ) -> Result<(), HostError> {
        match self.living().talk.ask(intent, doing, limit, heard).await? {
            Ok(()) => Ok(()),
            Err(code) => Err(self.refused(intent.split(' ').next().unwrap_or(intent), code).await),
        }
    }

    /// Names the release, and waits until the host has noted it.
    pub(super) async fn begin_now(&self, attempt: &Attempt) -> Result<(), HostError> {
        self.begin(attempt).await?;
        self.begun().await
    }

    /// Waits until the host has noted the release, where that is not known yet.
    async fn begun(&self) -> Result<(), HostError> {
        let trip = self.watch_begun().await?;
        if let Some(trip) = trip {
            trip.answered();
        }
        Ok(())
    }

    /// The same beside something that does not wait for it.
    async fn watch_begun(&self) -> Result<Option<Trip>, HostError> {
        let living = self.living();
        let Some(asked) = living.ahead.begun() else { return Ok(None) };
        match living.talk.watch(asked, NAMING, ANSWER_LIMIT, &|_| ()).await? {
            (trip, Ok(())) => Ok(Some(trip)),
            (_, Err(code)) => Err(self.refused("begin", code).await),
        }
    }

    /// What came of something that was told ahead; nothing where it was not, or is not done.
    async fn told_ahead(
        &self,
        intent: &str,
        doing: &'static str,
        limit: Duration,
        heard: &(dyn Fn(Say) + Send + Sync),
    ) -> Result<Option<Result<(), u32>>, HostError> {
        let living = self.living();
        let Some(asked) = living.ahead.take(intent) else { return Ok(None) };
        match living.talk.answer(asked, doing, limit, heard).await? {
            Err(SKIPPED) => Ok(None),
            answer => Ok(Some(answer)),
        }
    }

    /// What an action is called on the wire and in words, and how long it may take.
    fn words(&self, action: &Action) -> (String, &'static str, Duration) {
        let long = Duration::from_secs(1800);
        let proving = self.settings.activate_limit() + Duration::from_secs(10);
        match action {
            Action::Prepare => ("prepare".to_owned(), "preparing the release", long),
            Action::Ready => ("ready".to_owned(), "making the release ready", long),
            Action::Activate => ("activate".to_owned(), "switching to the release", proving),
            Action::Recheck => ("recheck".to_owned(), "checking the release again", proving),
            Action::Commit => ("commit".to_owned(), "committing the release", ANSWER_LIMIT),
            Action::Finish(prune) => {
                let ids = prune.iter().map(|id| format!(" {id}")).collect::<String>();
                (format!("finish{ids}"), "cleaning up", Duration::from_secs(600))
            }
            Action::Absent(hosts) => (
                format!("absent {}", settings::words(hosts)),
                "noting which hosts are left behind",
                ANSWER_LIMIT,
            ),
            Action::Stop => ("stop".to_owned(), "ending the app", ANSWER_LIMIT),
        }
    }

    /// Asks something of which the answer is what the host says meanwhile.
    pub(super) async fn facts(&self, intent: &str, doing: &'static str) -> Result<Facts, HostError> {
        self.heard_facts(intent, doing, None).await
    }

    /// The same, of a question that may be under way already.
    async fn heard_facts(
        &self,
        intent: &str,
        doing: &'static str,
        asked: Option<Asked>,
    ) -> Result<Facts, HostError> {
        let facts = Mutex::new(Facts::default());
        let heard = |say| facts.lock().unwrap_or_else(PoisonError::into_inner).take(say);
        let talk = &self.living().talk;
        let answer = match asked {
            Some(asked) => talk.answer(asked, doing, ANSWER_LIMIT, &heard).await?,
            None => talk.ask(intent, doing, ANSWER_LIMIT, &heard).await?,
        };
        match answer {
            Ok(()) => Ok(facts.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Err(code) => Err(self.refused(intent, code).await),
        }
    }

    pub(super) async fn refused(&self, action: &str, code: u32) -> HostError {
        let output = match code {
            97 => return HostError::AlreadyCommitted,
            98 => "the guardian is busy or is putting the host back".to_owned(),
            96 => "somebody ordered the host to be put back (with `unlock --force`)".to_owned(),
            // Few actions fail, but whatever acts would have the room for it.
            _ => Box::pin(self.written(action)).await,
        };
        let mut lines = output.lines().filter(|line| !line.trim().is_empty());
        // A revert tries every step whatever became of the one before, and sums up at its end.
        // Of other actions the first line tells; but on a full disk it is only where that was noticed.
        let full = output.lines().find(|line| line.starts_with(FULL));
        let telling = if action == "revert" { lines.next_back() } else { full.or_else(|| lines.next()) };
        let reason = telling
            .map_or_else(|| format!("{action} failed with code {code} and wrote nothing"), str::to_owned);
        HostError::Refused { reason, output }
    }
}

impl Host for Session {
    fn name(&self) -> &str {
        &self.settings.host
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(self.connection.traffic())
    }

    async fn preflight(&self) -> Result<Facts, HostError> {
        self.facts("preflight", CHECKING).await
    }

    async fn lock(&self) -> Result<LockOutcome, HostError> {
        if let Some(facts) = self.locked_already() {
            return Ok(LockOutcome::Taken(facts));
        }
        let facts = Mutex::new((Facts::default(), None, String::new()));
        let heard = |say| {
            let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
            match say {
                Say::Held(owner) => facts.1 = Some(LockOutcome::Held(owner)),
                Say::Frozen(freeze) => facts.1 = Some(LockOutcome::Frozen(freeze)),
                Say::Reason(reason) => facts.2 = reason,
                say => facts.0.take(say),
            }
        };
        // An attempt that died here is undone first, which takes as long as a revert.
        let limit = ANSWER_LIMIT + self.settings.activate_limit() + self.settings.undrain_limit();
        let talk = &self.living().talk;
        let answer = talk.ask("lock", "taking the lock", limit, &heard).await?;
        let (facts, held, reason) = facts.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (answer, held) {
            (Ok(()), _) => {
                talk.beat(self.settings.environment.lease);
                Ok(LockOutcome::Taken(facts))
            }
            (Err(_), Some(refused)) => Ok(refused),
            (Err(_), None) => Err(HostError::Refused { output: reason.clone(), reason }),
        }
    }

    async fn release(&self) -> Result<(), HostError> {
        let living = self.living();
        living.leave().await?;
        let settings = SessionSettings { token: again(&living.settings.token), ..living.settings.clone() };
        let next = Self::start(living.connection.clone(), settings).await?;
        // Whoever has it set already asks for the lock as well as this one would.
        let _ = living.successor.set(Box::new(next));
        Ok(())
    }

    async fn begin(&self, attempt: &Attempt) -> Result<(), HostError> {
        let living = self.living();
        *living.attempt.lock().unwrap_or_else(PoisonError::into_inner) = Some(attempt.clone());
        let intent = format!("begin {}", attempt.line());
        living.ahead.begin(living.talk.send(&intent, NAMING)?);
        Ok(())
    }

    fn announce(&self, upcoming: &[Upcoming]) {
        let living = self.living();
        if !living.ahead.is_empty() {
            return;
        }
        for next in upcoming {
            let (intent, milestone) = match next {
                Upcoming::Upload => ("received".to_owned(), None),
                Upcoming::Act(Action::Commit) => ("commit".to_owned(), Some(Milestone::Committed)),
                Upcoming::Act(action) => (self.words(action).0, None),
                Upcoming::Leave => ("bye".to_owned(), Some(Milestone::Left)),
            };
            // A guardian that is gone is noticed by whoever asks.
            let Ok(asked) = living.talk.announce(&intent, milestone) else { return };
            living.ahead.push(intent, asked);
        }
    }

    async fn upload(
        &self,
        artifact: &Artifact,
        there: &Facts,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), HostError> {
        let refused = async {
            match self.watch_begun().await {
                Ok(_) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            uploaded = upload::upload(self, artifact, there, progress) => uploaded,
            // It would wait for that in vain.
            error = refused => Err(error),
        }
    }

    async fn act(&self, action: &Action, heard: &(dyn Fn(Say) + Send + Sync)) -> Result<(), HostError> {
        let (intent, doing, limit) = self.words(action);
        self.begun().await?;
        match self.told_ahead(&intent, doing, limit, heard).await? {
            Some(Ok(())) => Ok(()),
            Some(Err(code)) => Err(self.refused(action.name(), code).await),
            None => self.done(&intent, doing, limit, heard).await,
        }
    }

    async fn hook(&self, hook: &HookScript, line: &(dyn Fn(&str) + Send + Sync)) -> Result<(), HostError> {
        self.run_hook(hook, line).await
    }

    async fn heartbeat(&self, limit: Duration) -> Result<(), HostError> {
        if self.living().talk.answered_within(limit) {
            return Ok(());
        }
        self.living().talk.ask("hb", "answering", limit, &|_| ()).await.map(|_| ())
    }

    async fn revert(&self, heard: &(dyn Fn(Say) + Send + Sync)) -> Result<(), HostError> {
        let doing = "putting the host back";
        let limit = self.settings.activate_limit() + Duration::from_secs(30);
        let living = self.living();
        let committed = || living.talk.has_passed(Milestone::Committed);
        if committed() {
            return Err(HostError::AlreadyCommitted);
        }
        let answer = living.talk.ask("revert", doing, limit, heard).await;
        // What it was told ahead goes on after a commit, and then only.
        match answer {
            Ok(Err(97)) | Err(_) if committed() => return Err(HostError::AlreadyCommitted),
            Ok(Err(97)) => {}
            _ => living.ahead.clear(),
        }
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(code)) => Err(self.refused("revert", code).await),
            Err(death @ HostError::GuardianDied { .. }) if !living.heir => {
                let mut recovery = recovery::recover(living, death, heard).await?;
                recovery.successor.heir = true;
                // Only one revert is asked for at a time, so that there is no other successor.
                let _ = living.successor.set(Box::new(recovery.successor));
                recovery.reverted
            }
            Err(error) => Err(error),
        }
    }

    async fn probe(&self, checks: &[UnaskedCheck], again: bool) -> Result<(), HostError> {
        let refused = |reason: String| HostError::Refused { output: reason.clone(), reason };
        for check in checks {
            let Some(health) = &check.health else {
                return Err(refused(UNREADABLE.to_owned()));
            };
            probe::until_healthy(&self.connection, self.settings.root(), health, again)
                .await
                .map_err(|reason| refused(format!("{} {reason}", check.label())))?;
        }
        Ok(())
    }

    async fn leave(&self) -> Result<(), HostError> {
        let living = self.living();
        let left = match self.told_ahead("bye", "leaving", ANSWER_LIMIT, &|_| ()).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => living.talk.ask("bye", "leaving", ANSWER_LIMIT, &|_| ()).await,
            Err(error) => Err(error),
        };
        match left {
            // It would leave its lock, and what is committed half cleaned up, to the next attempt.
            Err(death @ HostError::GuardianDied { .. }) if !living.heir => {
                let recovery = recovery::recover(living, death, &|_| ()).await?;
                recovery.successor.talk.ask("bye", "leaving", ANSWER_LIMIT, &|_| ()).await.map(|_| ())
            }
            answer => answer.map(|_| ()),
        }
    }
}

/// The token of the next guardian that asks for the lock: as unguessable, and another one.
fn again(token: &str) -> String {
    let counted = token.rsplit_once("-again").and_then(|(base, n)| Some((base, n.parse::<u32>().ok()?)));
    match counted {
        Some((base, n)) => format!("{base}-again{}", n + 1),
        None => format!("{token}-again1"),
    }
}
