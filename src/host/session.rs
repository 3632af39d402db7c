//! Owns one host as the transaction drives it: what is asked of its guardian, and the channels beside it
//! for bytes and hooks.

use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;

use super::Action;
use super::Host;
use super::HostError;
use super::LockOutcome;
use super::Progress;
use super::agent;
use super::lines::Lines;
use super::probe;
use super::protocol::Facts;
use super::protocol::Say;
use super::recovery;
use super::settings;
use super::settings::Attempt;
use super::settings::HookScript;
use super::settings::SessionSettings;
use super::talk::Talk;
use super::unasked::UnaskedCheck;
use super::upload;
use super::upload::Part;
use super::upload::Received;
use super::upload::Wire;
use crate::artifact::Artifact;
use crate::ssh;
use crate::ssh::Chunk;
use crate::ssh::Connection;
use crate::ssh::Exec;

/// How much is sent at a time at least, but for the end.
const CHUNK: usize = 256 * 1024;

/// How a host begins to say that its disk is full.
const FULL: &str = "the disk is full";

/// Said of a check that cannot be asked from here either.
pub(super) const UNREADABLE: &str = "the host has no program to ask the release's health check with, and what it says of the check cannot be read; install curl or wget there";

/// How long it takes at most from a hook's end to that of the guardian that ended it.
const LEAVING: Duration = Duration::from_secs(2);

/// How long a host may take for what needs no work: checks, the lock, leaving.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// A guardian on a real host.
pub struct Session {
    pub(super) settings: SessionSettings,
    pub(super) connection: Connection,
    pub(super) talk: Talk,
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
        let tar = settings
            .tar()
            .map_err(|source| HostError::Channel { doing: "packing the settings", source: source.into() })?;
        let talk = Talk::start(connection.clone(), settings.root(), &tar).await?;
        let (attempt, successor) = (Mutex::default(), OnceLock::new());
        Ok(Self { settings, connection, talk, attempt, successor, heir: false })
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

    /// Asks something of which the answer is what the host says meanwhile.
    pub(super) async fn facts(&self, intent: &str, doing: &'static str) -> Result<Facts, HostError> {
        let facts = Mutex::new(Facts::default());
        let heard = |say| facts.lock().unwrap_or_else(PoisonError::into_inner).take(say);
        self.done(intent, doing, ANSWER_LIMIT, &heard).await?;
        Ok(facts.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches what an action wrote; the failure itself matters more than this.
    pub(super) async fn written(&self, action: &str) -> String {
        let command = agent::beside(&self.living().settings.run(), "output", &[action]);
        let fetch = self.connection.run(&command, Bytes::new());
        match tokio::time::timeout(ANSWER_LIMIT, fetch).await {
            // Some are written over blanks that keep the space for them.
            Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
            _ => String::new(),
        }
    }

    pub(super) async fn refused(&self, action: &str, code: u32) -> HostError {
        let output = match code {
            97 => return HostError::AlreadyCommitted,
            98 => "the guardian is busy or is putting the host back".to_owned(),
            96 => "somebody ordered the host to be put back (with `unlock --force`)".to_owned(),
            _ => self.written(action).await,
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

impl Wire for Session {
    async fn receive(
        &self,
        args: &[String],
        parts: &[Part],
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Received, HostError> {
        let doing = "sending the release";
        let channel = |source: ssh::ChannelError| HostError::Channel { doing, source: source.into() };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let command = agent::beside(&self.living().settings.run(), "receive", &args);
        let Exec { mut stdin, mut output } = self.connection.exec(&command).await.map_err(channel)?;
        let reading = |source: std::io::Error| HostError::Channel {
            doing: "reading the artifact",
            source: source.into(),
        };
        let feed = async {
            let (mut sent, mut waiting) = (0, BytesMut::new());
            for (n, part) in (1..).zip(parts) {
                let mut offset = 0;
                loop {
                    let chunk = part.chunk(offset).await.map_err(reading)?;
                    offset += chunk.len() as u64;
                    waiting.extend_from_slice(&chunk);
                    // What is small goes in one piece, whatever it consists of.
                    let is_part_over = chunk.is_empty();
                    if waiting.len() >= CHUNK || (is_part_over && n == parts.len() && !waiting.is_empty()) {
                        sent += waiting.len() as u64;
                        // What it refused is told by the command itself, below.
                        if stdin.write(waiting.split().freeze()).await.is_err() {
                            return Ok(());
                        }
                        progress(sent);
                    }
                    if is_part_over {
                        break;
                    }
                }
            }
            let _ = stdin.close().await;
            Ok(())
        };
        let listen = async {
            let (mut text, mut errors) = (Vec::new(), Vec::new());
            let mut exit = ssh::Exit::default();
            while let Some(chunk) = output.next().await {
                match chunk {
                    Chunk::Stdout(bytes) => text.extend_from_slice(&bytes),
                    Chunk::Stderr(bytes) if errors.len() < 16384 => errors.extend_from_slice(&bytes),
                    Chunk::Stderr(_) => {}
                    Chunk::Ended(ended) => exit = ended,
                }
            }
            (String::from_utf8_lossy(&text).into_owned(), String::from_utf8_lossy(&errors).into_owned(), exit)
        };
        // Nothing that is done beside a guardian may go on without it.
        let (fed, (text, errors, exit)) = tokio::select! {
            biased;
            both = async { tokio::join!(feed, listen) } => both,
            death = self.living().talk.gone(doing) => return Err(death),
        };
        fed?;
        if let Some(received) = upload::answer(exit.code, &text) {
            return Ok(received);
        }
        let text = text + &errors;
        if exit.code.is_none() && self.connection.is_closed() {
            return Err(HostError::Lost { doing, stderr: text });
        }
        let full = text.lines().find(|line| line.starts_with(FULL));
        let cause = full.or_else(|| text.lines().next()).unwrap_or("it wrote nothing");
        Err(HostError::Refused { reason: format!("{doing} failed: {cause}"), output: text })
    }
}

impl Host for Session {
    fn name(&self) -> &str {
        &self.settings.host
    }

    async fn preflight(&self) -> Result<Facts, HostError> {
        self.facts("preflight", "checking the host").await
    }

    async fn lock(&self) -> Result<LockOutcome, HostError> {
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
        self.done(&intent, "naming the release", ANSWER_LIMIT, &|_| ()).await
    }

    async fn upload(
        &self,
        artifact: &Artifact,
        there: &Facts,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), HostError> {
        upload::upload(self, artifact, there, progress).await
    }

    async fn act(&self, action: &Action, heard: &(dyn Fn(Say) + Send + Sync)) -> Result<(), HostError> {
        let (intent, doing, limit) = match action {
            Action::Prepare => ("prepare".to_owned(), "preparing the release", Duration::from_secs(1800)),
            Action::Ready => ("ready".to_owned(), "making the release ready", Duration::from_secs(1800)),
            Action::Activate => {
                let limit = self.settings.activate_limit() + Duration::from_secs(10);
                ("activate".to_owned(), "switching to the release", limit)
            }
            Action::Recheck => {
                let limit = self.settings.activate_limit() + Duration::from_secs(10);
                ("recheck".to_owned(), "checking the release again", limit)
            }
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
        };
        self.done(&intent, doing, limit, heard).await
    }

    async fn hook(&self, hook: &HookScript, line: &(dyn Fn(&str) + Send + Sync)) -> Result<(), HostError> {
        let doing = "running a hook";
        let number = hook.number.to_string();
        let command = agent::beside(&self.living().settings.run(), "hook", &[&number]);
        let channel = |source: ssh::ChannelError| HostError::Channel { doing, source: source.into() };
        let Exec { stdin, output } = self.connection.exec(&command).await.map_err(channel)?;
        let mut watched = output;
        let mut text = String::new();
        let mut lines = Lines::default();
        let mut exit = ssh::Exit::default();
        let listen = async {
            while let Some(chunk) = watched.next().await {
                match chunk {
                    Chunk::Stdout(bytes) | Chunk::Stderr(bytes) => lines.push(&bytes, |found| {
                        text.push_str(found);
                        text.push('\n');
                        line(found);
                    }),
                    Chunk::Ended(ended) => exit = ended,
                }
            }
        };
        let timed_out = tokio::select! {
            biased;
            listened = tokio::time::timeout(hook.hook.timeout, listen) => listened.is_err(),
            death = self.living().talk.gone(doing) => return Err(death),
        };
        drop(stdin);
        lines.finish(|found| text.push_str(found));
        let timeout = timed_out.then_some(hook.hook.timeout);
        if timed_out {
            // The command would go on writing long after its channel is closed.
            let _ = self.living().talk.ask("kill hook", "ending a hook", ANSWER_LIMIT, &|_| ()).await;
        }
        if exit.code.is_none() && !timed_out {
            // A guardian that leaves ends what runs beside it first.
            let gone = self.living().talk.gone(doing);
            if let Ok(death) = tokio::time::timeout(LEAVING, gone).await {
                return Err(death);
            }
        }
        match exit.code {
            Some(0) if !timed_out => Ok(()),
            None if !timed_out && self.connection.is_closed() => Err(HostError::Lost { doing, stderr: text }),
            code => Err(HostError::Command { command: hook.hook.run.clone(), code, timeout, output: text }),
        }
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
        match living.talk.ask("revert", doing, limit, heard).await {
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
        match living.talk.ask("bye", "leaving", ANSWER_LIMIT, &|_| ()).await {
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
