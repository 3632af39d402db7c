//! Owns one guardian: its channel, its answers matched to what was asked, its heartbeat, and the
//! channels beside it for bytes and hooks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Action;
use super::Host;
use super::HostError;
use super::LockOutcome;
use super::agent;
use super::lines::Lines;
use super::probe;
use super::protocol::Facts;
use super::protocol::Line;
use super::protocol::Say;
use super::settings::Attempt;
use super::settings::HookScript;
use super::settings::SessionSettings;
use crate::artifact::Artifact;
use crate::config;
use crate::ssh;
use crate::ssh::Chunk;
use crate::ssh::Connection;
use crate::ssh::Exec;
use crate::ssh::ExecStdin;

/// How much of a file is read and sent at a time.
const CHUNK: usize = 256 * 1024;

/// How long a host may take for what needs no work: checks, the lock, leaving.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// A guardian on a real host.
pub struct Session {
    settings: SessionSettings,
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
}

#[derive(Default)]
struct State {
    next: u64,
    pending: BTreeMap<u64, mpsc::UnboundedSender<Reply>>,
    stderr: String,
    gone: bool,
    last_answer: Option<Instant>,
}

enum Reply {
    Say(Say),
    Ok,
    Failed(u32),
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, line: Line) {
        let mut state = self.lock();
        match line {
            Line::Say(say) => {
                for sender in state.pending.values() {
                    let _ = sender.send(Reply::Say(say.clone()));
                }
            }
            Line::Ok(seq) => {
                state.last_answer = Some(Instant::now());
                if let Some(sender) = state.pending.remove(&seq) {
                    let _ = sender.send(Reply::Ok);
                }
            }
            Line::Failed(seq, code) => {
                state.last_answer = Some(Instant::now());
                if let Some(sender) = state.pending.remove(&seq) {
                    let _ = sender.send(Reply::Failed(code));
                }
            }
            Line::Hello(_) | Line::Noise => {}
        }
    }

    fn end(&self) {
        let mut state = self.lock();
        state.gone = true;
        state.pending.clear();
    }
}

impl Session {
    /// Starts a guardian on the host at the other end of `connection`. It changes nothing until it is
    /// asked for the lock.
    pub async fn start(connection: Connection, settings: SessionSettings) -> Result<Self, HostError> {
        let channel = |source: ssh::ChannelError| HostError::Channel {
            doing: "starting the guardian",
            source: source.into(),
        };
        let tar = settings
            .tar()
            .map_err(|source| HostError::Channel { doing: "packing the settings", source: source.into() })?;
        let Exec { mut stdin, mut output } = connection.exec(&agent::boot()).await.map_err(channel)?;
        let script = agent::AGENT.as_str();
        let mut hello = format!("{}\n", script.len()).into_bytes();
        hello.extend_from_slice(script.as_bytes());
        hello.extend_from_slice(format!("{}\n", tar.len()).as_bytes());
        hello.extend_from_slice(&tar);
        stdin.write(Bytes::from(hello)).await.map_err(channel)?;
        let shared = Arc::new(Shared::default());
        let reader = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                let mut lines = Lines::default();
                while let Some(chunk) = output.next().await {
                    match chunk {
                        Chunk::Stdout(bytes) => lines.push(&bytes, |line| shared.take(Line::parse(line))),
                        Chunk::Stderr(bytes) => {
                            let mut state = shared.lock();
                            if state.stderr.len() < 8192 {
                                state.stderr.push_str(&String::from_utf8_lossy(&bytes));
                            }
                        }
                        Chunk::Ended(_) => {}
                    }
                }
                shared.end();
            }
        });
        let (lines, waiting) = mpsc::unbounded_channel();
        let writer = tokio::spawn(write_lines(stdin, waiting));
        let tasks = Mutex::new(vec![reader.abort_handle(), writer.abort_handle()]);
        Ok(Self { settings, connection, shared, lines, tasks })
    }

    /// Asks something of the guardian and waits for its answer.
    async fn ask(
        &self,
        intent: &str,
        doing: &'static str,
        limit: Duration,
        heard: &(dyn Fn(Say) + Send + Sync),
    ) -> Result<Result<(), u32>, HostError> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let seq = {
            let mut state = self.shared.lock();
            if state.gone {
                return Err(self.lost(doing, &state));
            }
            state.next += 1;
            let seq = state.next;
            state.pending.insert(seq, sender);
            seq
        };
        // Forgets the question when the caller is dropped, so that the next answer finds its own.
        let _forget = Forget { shared: &self.shared, seq };
        let talk = async {
            let line = Bytes::from(format!("{seq} {intent}\n"));
            self.lines.send(line).ok()?;
            while let Some(reply) = receiver.recv().await {
                match reply {
                    Reply::Say(say) => heard(say),
                    Reply::Ok => return Some(Ok(())),
                    Reply::Failed(code) => return Some(Err(code)),
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

    fn lost(&self, doing: &'static str, state: &State) -> HostError {
        HostError::Lost { doing, stderr: state.stderr.clone() }
    }

    /// Fetches what an action wrote; the failure itself matters more than this.
    async fn written(&self, action: &str) -> String {
        let command = agent::beside(&self.settings.run(), "output", &[action]);
        let fetch = self.connection.run(&command, Bytes::new());
        match tokio::time::timeout(ANSWER_LIMIT, fetch).await {
            Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
            _ => String::new(),
        }
    }

    async fn refused(&self, action: &str, code: u32) -> HostError {
        let output = match code {
            97 => "the release is committed already and cannot be put back any more".to_owned(),
            98 => "the guardian is busy or is putting the host back".to_owned(),
            _ => self.written(action).await,
        };
        let reason = output
            .lines()
            .next()
            .map_or_else(|| format!("{action} failed with code {code} and wrote nothing"), str::to_owned);
        HostError::Refused { reason, output }
    }

    /// Sends a file through a command on a channel of its own.
    async fn send(
        &self,
        part: &str,
        doing: &'static str,
        mut source: impl tokio::io::AsyncRead + Unpin + Send,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), HostError> {
        let channel = |source: ssh::ChannelError| HostError::Channel { doing, source: source.into() };
        let command = agent::beside(&self.settings.run(), part, &[]);
        let Exec { mut stdin, mut output } = self.connection.exec(&command).await.map_err(channel)?;
        let feed = async {
            let mut sent = 0;
            loop {
                let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
                while chunk.len() < CHUNK {
                    if source.read_buf(&mut chunk).await.map_err(|source| HostError::Channel {
                        doing: "reading the artifact",
                        source: source.into(),
                    })? == 0
                    {
                        break;
                    }
                }
                if chunk.is_empty() {
                    // What it refused is told by the command itself, below.
                    let _ = stdin.close().await;
                    return Ok(());
                }
                sent += chunk.len() as u64;
                if stdin.write(chunk.freeze()).await.is_err() {
                    return Ok(());
                }
                progress(sent);
            }
        };
        let listen = async {
            let mut text = String::new();
            let mut exit = ssh::Exit::default();
            while let Some(chunk) = output.next().await {
                match chunk {
                    Chunk::Stdout(bytes) | Chunk::Stderr(bytes) => {
                        if text.len() < 16384 {
                            text.push_str(&String::from_utf8_lossy(&bytes));
                        }
                    }
                    Chunk::Ended(ended) => exit = ended,
                }
            }
            (text, exit)
        };
        let (fed, (text, exit)) = tokio::join!(feed, listen);
        fed?;
        match exit.code {
            Some(0) => Ok(()),
            None if self.connection.is_closed() => Err(HostError::Lost { doing, stderr: text }),
            _ => {
                let cause = text.lines().next().unwrap_or("it wrote nothing");
                Err(HostError::Refused { reason: format!("{doing} failed: {cause}"), output: text })
            }
        }
    }

    /// Keeps telling the guardian that the client lives, from now on.
    fn beat(&self) {
        let lease = self.settings.environment.lease;
        let interval = (lease / 4).clamp(Duration::from_millis(250), Duration::from_secs(5));
        let lines = self.lines.clone();
        let ticker = tokio::spawn(async move {
            // Number 0 is nobody's question; its answer only shows that the guardian lives.
            while lines.send(Bytes::from_static(b"0 hb\n")).is_ok() {
                tokio::time::sleep(interval).await;
            }
        });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(ticker.abort_handle());
    }
}

async fn write_lines(mut stdin: ExecStdin, mut waiting: mpsc::UnboundedReceiver<Bytes>) {
    while let Some(line) = waiting.recv().await {
        if stdin.write(line).await.is_err() {
            return;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            task.abort();
        }
    }
}

struct Forget<'a> {
    shared: &'a Shared,
    seq: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.lock().pending.remove(&self.seq);
    }
}

impl Host for Session {
    fn name(&self) -> &str {
        &self.settings.host
    }

    async fn preflight(&self) -> Result<Facts, HostError> {
        let facts = Mutex::new(Facts::default());
        let heard = |say| facts.lock().unwrap_or_else(PoisonError::into_inner).take(say);
        let doing = "checking the host";
        match self.ask("preflight", doing, ANSWER_LIMIT, &heard).await? {
            Ok(()) => Ok(facts.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Err(code) => Err(self.refused("preflight", code).await),
        }
    }

    async fn lock(&self) -> Result<LockOutcome, HostError> {
        let facts = Mutex::new((Facts::default(), None, String::new()));
        let heard = |say| {
            let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
            match say {
                Say::Held(owner) => facts.1 = Some(owner),
                Say::Reason(reason) => facts.2 = reason,
                say => facts.0.take(say),
            }
        };
        // An attempt that died here is undone first, which takes as long as a revert.
        let limit = ANSWER_LIMIT + self.settings.activate_limit();
        let answer = self.ask("lock", "taking the lock", limit, &heard).await?;
        let (facts, held, reason) = facts.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (answer, held) {
            (Ok(()), _) => {
                self.beat();
                Ok(LockOutcome::Taken(facts))
            }
            (Err(_), Some(owner)) => Ok(LockOutcome::Held(owner)),
            (Err(_), None) => Err(HostError::Refused { output: reason.clone(), reason }),
        }
    }

    async fn begin(&self, attempt: &Attempt) -> Result<(), HostError> {
        let intent = format!("begin {}", attempt.line());
        match self.ask(&intent, "naming the release", ANSWER_LIMIT, &|_| ()).await? {
            Ok(()) => Ok(()),
            Err(code) => Err(self.refused("begin", code).await),
        }
    }

    async fn upload(
        &self,
        artifact: &Artifact,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), HostError> {
        let file = tokio::fs::File::open(&artifact.path)
            .await
            .map_err(|source| HostError::Channel { doing: "opening the artifact", source: source.into() })?;
        let manifest = gzip(&artifact.manifest.to_bytes());
        let (manifest, content) = tokio::join!(
            self.send("receive_manifest", "sending the manifest", manifest.as_slice(), &|_| ()),
            self.send("receive", "unpacking the release", file, progress),
        );
        content.and(manifest)
    }

    async fn act(&self, action: &Action, heard: &(dyn Fn(Say) + Send + Sync)) -> Result<(), HostError> {
        let (intent, doing, limit) = match action {
            Action::Prepare => ("prepare".to_owned(), "preparing the release", Duration::from_secs(1800)),
            Action::Ready => ("ready".to_owned(), "making the release ready", Duration::from_secs(1800)),
            Action::Activate => {
                let limit = self.settings.activate_limit() + Duration::from_secs(10);
                ("activate".to_owned(), "switching to the release", limit)
            }
            Action::Commit => ("commit".to_owned(), "committing the release", ANSWER_LIMIT),
            Action::Finish(prune) => {
                let ids = prune.iter().map(|id| format!(" {id}")).collect::<String>();
                (format!("finish{ids}"), "cleaning up", Duration::from_secs(600))
            }
            Action::Stop => ("stop".to_owned(), "ending the app", ANSWER_LIMIT),
        };
        match self.ask(&intent, doing, limit, heard).await? {
            Ok(()) => Ok(()),
            Err(code) => Err(self.refused(action.name(), code).await),
        }
    }

    async fn hook(&self, hook: &HookScript, line: &(dyn Fn(&str) + Send + Sync)) -> Result<(), HostError> {
        let doing = "running a hook";
        let number = hook.number.to_string();
        let command = agent::beside(&self.settings.run(), "hook", &[&number]);
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
        let timed_out = tokio::time::timeout(hook.hook.timeout, listen).await.is_err();
        drop(stdin);
        lines.finish(|found| text.push_str(found));
        let timeout = timed_out.then_some(hook.hook.timeout);
        if timed_out {
            // The command would go on writing long after its channel is closed.
            let _ = self.ask("kill hook", "ending a hook", ANSWER_LIMIT, &|_| ()).await;
        }
        match exit.code {
            Some(0) if !timed_out => Ok(()),
            None if !timed_out && self.connection.is_closed() => Err(HostError::Lost { doing, stderr: text }),
            code => Err(HostError::Command { command: hook.hook.run.clone(), code, timeout, output: text }),
        }
    }

    async fn heartbeat(&self, limit: Duration) -> Result<(), HostError> {
        let last = self.shared.lock().last_answer;
        if last.is_some_and(|last| last.elapsed() < limit) && !self.shared.lock().gone {
            return Ok(());
        }
        self.ask("hb", "answering", limit, &|_| ()).await.map(|_| ())
    }

    async fn revert(&self, heard: &(dyn Fn(Say) + Send + Sync)) -> Result<(), HostError> {
        let doing = "putting the host back";
        let limit = self.settings.activate_limit() + Duration::from_secs(30);
        match self.ask("revert", doing, limit, heard).await? {
            Ok(()) => Ok(()),
            Err(code) => Err(self.refused("revert", code).await),
        }
    }

    async fn probe(&self, health: &config::Health) -> Result<(), HostError> {
        probe::until_healthy(&self.connection, health)
            .await
            .map_err(|reason| HostError::Refused { output: reason.clone(), reason })
    }

    async fn leave(&self) -> Result<(), HostError> {
        self.ask("bye", "leaving", ANSWER_LIMIT, &|_| ()).await.map(|_| ())
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing to memory cannot fail; an empty result would be refused by the host.
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}
