//! Owns the conversation with one guardian: the channel it runs on, its answers matched to what was
//! asked, the heartbeat. Knows not what is asked.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use bytes::Bytes;
// A queue of the runtime's takes room for 32 from the start.
use futures_channel::mpsc;
use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::HostError;
use super::agent;
use super::lines::Lines;
use super::protocol::Line;
use super::protocol::Say;
use super::settings::SessionSettings;
use crate::ssh;
use crate::ssh::Chunk;
use crate::ssh::Connection;
use crate::ssh::Exec;
use crate::ssh::ExecStdin;
use crate::ssh::Trip;

/// A guardian that talks to nobody says little; more than this is noise.
const UNHEARD_AT_MOST: usize = 16;

/// Up to so many bytes are worth a copy so that they go as one message.
const LITTLE: usize = 2 << 10;

/// How much may come with the start of a guardian. One argument of a program has 128 KiB at most.
const EARLY_AT_MOST: usize = 32 << 10;

/// The number of the first question.
const FIRST: u64 = 1;

/// A running guardian, spoken with.
pub(super) struct Talk {
    connection: Connection,
    shared: Arc<Shared>,
    /// Lines for the guardian; a task of its own writes them, since a write may have to wait.
    lines: mpsc::UnboundedSender<Bytes>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// What the task that reads the guardian's lines shares with the callers.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Cancelled when the guardian is gone.
    end: CancellationToken,
}

#[derive(Default)]
struct State {
    next: u64,
    pending: BTreeMap<u64, Question>,
    /// What it said while nobody had asked it anything; whoever asks next hears it.
    unheard: Vec<Say>,
    stderr: String,
    gone: bool,
    /// Something announced with one of these milestones ended well.
    passed: BTreeSet<Milestone>,
    last_answer: Option<Moment>,
}

/// What changes what the end of a guardian means, when it was announced and ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Milestone {
    /// The release is committed.
    Committed,
    /// The lock is free, and the guardian ends as it was told to.
    Left,
}

/// A moment on both clocks: the one that stands still while the machine sleeps, and the one that does
/// not but may be set.
#[derive(Clone, Copy)]
struct Moment {
    instant: Instant,
    time: SystemTime,
}

impl Moment {
    fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }

    /// Whether it is certainly not longer ago than that.
    fn is_within(&self, limit: Duration) -> bool {
        self.instant.elapsed() < limit && self.time.elapsed().is_ok_and(|elapsed| elapsed < limit)
    }
}

/// What was asked and not answered yet.
struct Question {
    /// The line, for a guardian that could not hear it yet.
    line: Bytes,
    replies: mpsc::UnboundedSender<Reply>,
    trip: Trip,
    /// Whether what was asked before it has to end well first.
    announced: bool,
    milestone: Option<Milestone>,
}

/// A question under way. It is forgotten when this is dropped, so that the next answer finds its own.
pub(super) struct Asked {
    shared: Arc<Shared>,
    seq: u64,
    replies: mpsc::UnboundedReceiver<Reply>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.shared.lock().pending.remove(&self.seq);
    }
}

enum Reply {
    Say(Say),
    Ok(Trip),
    Failed(Trip, u32),
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, line: Line) {
        let mut state = self.lock();
        match line {
            Line::Say(say) => {
                if state.pending.is_empty() && state.unheard.len() < UNHEARD_AT_MOST {
                    state.unheard.push(say.clone());
                }
                // Of what was announced only the first can be what it is about.
                let first =
                    state.pending.iter().find(|(_, question)| question.announced).map(|(seq, _)| *seq);
                for (seq, question) in &state.pending {
                    if !question.announced || first == Some(*seq) {
                        let _ = question.replies.unbounded_send(Reply::Say(say.clone()));
                    }
                }
            }
            Line::Ok(seq) => {
                state.last_answer = Some(Moment::now());
                if let Some(question) = state.pending.remove(&seq) {
                    state.passed.extend(question.milestone);
                    let _ = question.replies.unbounded_send(Reply::Ok(question.trip));
                }
            }
            Line::Failed(seq, code) => {
                state.last_answer = Some(Moment::now());
                if let Some(question) = state.pending.remove(&seq) {
                    let _ = question.replies.unbounded_send(Reply::Failed(question.trip, code));
                }
            }
            Line::Hello(_) | Line::Noise | Line::WantsAgent => {}
        }
    }

    /// Says once more what a guardian did not hear that had no agent yet: first that, then its settings. That takes
    /// another round trip.
    fn say_again(&self, hello: [Bytes; 2], lines: &mpsc::UnboundedSender<Bytes>, asked: impl Fn() -> Trip) {
        let mut state = self.lock();
        for line in hello {
            let _ = lines.unbounded_send(line);
        }
        for question in state.pending.values_mut() {
            question.trip = asked();
            let _ = lines.unbounded_send(question.line.clone());
        }
    }

    /// Keeps what tells why a guardian is gone.
    fn note(&self, text: &str) {
        let mut state = self.lock();
        if state.stderr.len() < 8192 {
            state.stderr.push_str(text);
        }
    }

    fn give_up(&self, why: &str) {
        self.note(why);
        self.end();
    }

    fn end(&self) {
        let mut state = self.lock();
        state.gone = true;
        state.pending.clear();
        drop(state);
        self.end.cancel();
    }
}

impl Talk {
    /// Starts a guardian for a tree, at the other end of `connection`, and hands it its settings. It changes nothing
    /// until it is asked for the lock. What it is asked `first` it may answer before it has them all.
    pub(super) async fn start(
        connection: Connection,
        settings: &SessionSettings,
        first: Option<(&str, &'static str)>,
    ) -> Result<(Self, Option<Asked>), HostError> {
        let doing = "starting the guardian";
        let channel = |source: ssh::ChannelError| HostError::Channel { doing, source: source.into() };
        let packing =
            |source: io::Error| HostError::Channel { doing: "packing the settings", source: source.into() };
        let parcel = Bytes::from(settings.parcel().map_err(packing)?);
        let boot = match first {
            None => agent::boot(settings.root(), None),
            Some((intent, _)) => {
                let known = settings.early().map_err(packing)?;
                let asked = format!("{FIRST} {intent}");
                let early = (known.len() <= EARLY_AT_MOST).then_some((known.as_str(), asked.as_str()));
                agent::boot(settings.root(), early)
            }
        };
        let Exec { stdin, mut output } = connection.exec(&boot).await.map_err(channel)?;
        let (lines, waiting) = mpsc::unbounded();
        // A host that has kept the agent needs no more than this; another one throws it away and asks.
        let _ = lines.unbounded_send(parcel.clone());
        let shared = Arc::new(Shared::default());
        let talk = Self { connection, shared: Arc::clone(&shared), lines, tasks: Mutex::default() };
        // Before anything is heard: the answer may be there in no time.
        let asked = first.map(|(intent, doing)| talk.send(intent, doing)).transpose()?;
        let reader = tokio::spawn({
            let answers = talk.lines.clone();
            let (connection, booting) = (talk.connection.clone(), output.trip().clone());
            async move {
                let mut lines = Lines::default();
                let heard = |line: &str| match Line::parse(line) {
                    // Packed only now: most hosts have kept it.
                    Line::WantsAgent => match agent::parcel() {
                        Ok(agent) => {
                            booting.answered();
                            let hello = [agent, parcel.clone()];
                            shared.say_again(hello, &answers, || connection.asked());
                        }
                        Err(error) => shared.give_up(&format!("packing the agent: {error}\n")),
                    },
                    line => shared.take(line),
                };
                while let Some(chunk) = output.next().await {
                    match chunk {
                        Chunk::Stdout(bytes) => lines.push(&bytes, heard),
                        Chunk::Stderr(bytes) => shared.note(&String::from_utf8_lossy(&bytes)),
                        Chunk::Ended(_) => {}
                    }
                }
                shared.end();
            }
        });
        let writer = tokio::spawn(write_lines(stdin, waiting));
        talk.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend([reader.abort_handle(), writer.abort_handle()]);
        Ok((talk, asked))
    }

    /// Asks something of the guardian and waits for its answer.
    pub(super) async fn ask(
        &self,
        intent: &str,
        doing: &'static str,
        limit: Duration,
        heard: &(dyn Fn(Say) + Send + Sync),
    ) -> Result<Result<(), u32>, HostError> {
        let asked = self.send(intent, doing)?;
        self.answer(asked, doing, limit, heard).await
    }

    /// Asks something of the guardian; the answer is waited for later.
    pub(super) fn send(&self, intent: &str, doing: &'static str) -> Result<Asked, HostError> {
        self.put(intent, doing, false, None)
    }

    /// Asks something that is done as soon as what was asked before has ended well, and not at all otherwise
    /// (95).
    pub(super) fn announce(&self, intent: &str, milestone: Option<Milestone>) -> Result<Asked, HostError> {
        self.put(&format!("then {intent}"), "told what follows", true, milestone)
    }

    fn put(
        &self,
        intent: &str,
        doing: &'static str,
        announced: bool,
        milestone: Option<Milestone>,
    ) -> Result<Asked, HostError> {
        let (sender, replies) = mpsc::unbounded();
        let mut state = self.shared.lock();
        if state.gone {
            return Err(self.lost(doing, &state));
        }
        state.next += 1;
        let seq = state.next;
        let trip = self.connection.asked();
        let line = Bytes::from(format!("{seq} {intent}\n"));
        // Under the same lock: said once, or once more after the agent, and never twice to one that hears.
        let sent = self.lines.unbounded_send(line.clone());
        sent.map_err(|_| self.lost(doing, &state))?;
        state.pending.insert(seq, Question { line, replies: sender, trip, announced, milestone });
        Ok(Asked { shared: Arc::clone(&self.shared), seq, replies })
    }

    /// Waits for the answer to a question, and does nothing else meanwhile.
    pub(super) async fn answer(
        &self,
        asked: Asked,
        doing: &'static str,
        limit: Duration,
        heard: &(dyn Fn(Say) + Send + Sync),
    ) -> Result<Result<(), u32>, HostError> {
        let (trip, answer) = self.watch(asked, doing, limit, heard).await?;
        trip.answered();
        Ok(answer)
    }

    /// Listens for the answer to a question beside something else: what is sent meanwhile does not wait for it.
    pub(super) async fn watch(
        &self,
        mut asked: Asked,
        doing: &'static str,
        limit: Duration,
        heard: &(dyn Fn(Say) + Send + Sync),
    ) -> Result<(Trip, Result<(), u32>), HostError> {
        let unheard = std::mem::take(&mut self.shared.lock().unheard);
        unheard.into_iter().for_each(heard);
        let talk = async {
            while let Some(reply) = asked.replies.next().await {
                match reply {
                    Reply::Say(say) => heard(say),
                    Reply::Ok(trip) => return Some((trip, Ok(()))),
                    Reply::Failed(trip, code) => return Some((trip, Err(code))),
                }
            }
            None
        };
        match tokio::time::timeout(limit, talk).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.lost(doing, &self.shared.lock())),
            Err(_) => Err(HostError::Silent { doing, limit }),
        }
    }

    /// Whether something announced with that milestone ended well.
    pub(super) fn has_passed(&self, milestone: Milestone) -> bool {
        self.shared.lock().passed.contains(&milestone)
    }

    fn lost(&self, doing: &'static str, state: &State) -> HostError {
        let stderr = state.stderr.clone();
        if self.connection.is_closed() {
            HostError::Lost { doing, stderr }
        } else {
            HostError::GuardianDied { doing, stderr }
        }
    }

    /// Waits until the guardian is gone, and says how that was noticed: for what is done beside it. One that
    /// leaves as it was told to is not gone: what was done beside it is done.
    pub(super) async fn gone(&self, doing: &'static str) -> HostError {
        self.shared.end.cancelled().await;
        if self.has_passed(Milestone::Left) {
            std::future::pending::<()>().await;
        }
        self.lost(doing, &self.shared.lock())
    }

    /// Whether the guardian answered anything within that time, even if this machine slept meanwhile; or did
    /// all that it was told to.
    pub(super) fn answered_within(&self, limit: Duration) -> bool {
        let state = self.shared.lock();
        if state.passed.contains(&Milestone::Left) {
            return true;
        }
        !state.gone && state.last_answer.is_some_and(|last| last.is_within(limit))
    }

    /// Keeps telling the guardian that the client lives, from now on.
    pub(super) fn beat(&self, lease: Duration) {
        let interval = (lease / 4).clamp(Duration::from_millis(250), Duration::from_secs(5));
        let lines = self.lines.clone();
        let ticker = tokio::spawn(async move {
            // Number 0 is nobody's question; its answer only shows that the guardian lives.
            while lines.unbounded_send(Bytes::from_static(b"0 hb\n")).is_ok() {
                tokio::time::sleep(interval).await;
            }
        });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(ticker.abort_handle());
    }
}

async fn write_lines(mut stdin: ExecStdin, mut waiting: mpsc::UnboundedReceiver<Bytes>) {
    while let Some(line) = waiting.next().await {
        let mut lines = line;
        // What is told in one breath travels as one: each message takes a place in the library's queue, and a packet.
        while lines.len() < LITTLE
            && let Some(Some(line)) = waiting.next().now_or_never()
        {
            lines = [lines, line].concat().into();
        }
        if stdin.write(lines).await.is_err() {
            return;
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            task.abort();
        }
    }
}
