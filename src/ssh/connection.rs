//! Owns what can be done with a connection: commands and forwards, a few at a time. Knows not how
//! the connection came about.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use russh::Channel;
use russh::ChannelOpenFailure;
use russh::client::Handle;
use russh::client::Msg;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::ChannelError;
use super::exec;
use super::exec::Chunk;
use super::exec::Exec;
use super::exec::Exit;
use super::forward;
use super::forward::Forward;
use super::host_key::Client;
use super::traffic::Meter;
use super::traffic::Traffic;
use super::traffic::Trip;
use crate::shell::Command;

/// sshd's `MaxSessions` is 10 by default; two are left for whatever still runs there.
const CHANNELS: usize = 8;

/// How long a refusal to start one more command is not taken for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What [`Connection::run`] keeps of each stream.
const OUTPUT: usize = 64 << 20;

/// How long [`Connection::close`] waits for the goodbye to be sent.
const GOODBYE: Duration = Duration::from_secs(2);

/// A connection to a host, logged in. Cheap to clone; it is closed when the last clone and the last
/// channel are gone.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle<Box<Client>>,
    fate: Arc<Fate>,
    channels: Arc<Semaphore>,
    /// A shell that was started before anybody needed it.
    spare: Mutex<Option<(Trip, oneshot::Receiver<Exec>)>>,
    meter: Meter,
}

/// What a shell does that was started ahead: the command that it is sent, as one line. `read` takes no byte more, so
/// that the rest is the command's own input.
const COMMAND_TO_COME: &str = r#"IFS= read -r command && eval "$command""#;

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("host", &self.inner.fate.host).finish_non_exhaustive()
    }
}

/// Whether a connection still lives, and what ended it.
#[derive(Debug)]
pub(super) struct Fate {
    host: String,
    ended: CancellationToken,
    reason: Mutex<Option<String>>,
}

impl Fate {
    pub(super) fn new(host: String) -> Arc<Self> {
        Arc::new(Self { host, ended: CancellationToken::new(), reason: Mutex::default() })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn end(&self, reason: String) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.ended.cancel();
    }

    pub(super) fn over(&self) -> bool {
        self.ended.is_cancelled()
    }

    pub(super) fn lost(&self) -> ChannelError {
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reason = reason.unwrap_or_else(|| "it was closed".to_owned());
        ChannelError::Lost { host: self.host.clone(), reason }
    }
}

/// What a command wrote, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its standard output.
    pub stdout: Bytes,
    /// Its standard error.
    pub stderr: Bytes,
    /// How it ended.
    pub exit: Exit,
}

/// Where a stream through a connection ends.
enum To {
    Port(String, u16),
    Socket(String),
}

impl Connection {
    pub(super) fn new(handle: Handle<Box<Client>>, fate: Arc<Fate>, meter: Meter) -> Self {
        let channels = Arc::new(Semaphore::new(CHANNELS));
        Self { inner: Arc::new(Inner { handle, fate, channels, spare: Mutex::default(), meter }) }
    }

    /// What it has cost so far.
    pub fn traffic(&self) -> Traffic {
        self.inner.meter.traffic()
    }

    /// Notes that something is sent now whose answer may be waited for, on a channel that is there already.
    pub fn asked(&self) -> Trip {
        self.inner.meter.asked()
    }

    /// Starts a shell ahead, beside whatever goes on: the next command is sent to it. That spares the round trip for a
    /// channel, and another before the command's first input: sshd takes none until it has started one. A host that
    /// has no more channels is not asked again.
    pub fn start_ahead(&self) {
        let mut spare = self.inner.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_some() {
            return;
        }
        let (inner, channels) = (Arc::downgrade(&self.inner), Arc::clone(&self.inner.channels));
        let start = async move {
            let permit = channels.try_acquire_owned().ok()?;
            let inner = inner.upgrade()?;
            let channel = inner.handle.channel_open_session().await.ok()?;
            inner.start(channel, permit, Command::sh(COMMAND_TO_COME, []).to_string()).await.ok()
        };
        // Not in the task's own result, for which all that it took would be kept.
        let (started, starting) = oneshot::channel();
        tokio::spawn(async move {
            if let Some(exec) = start.await {
                let _ = started.send(exec);
            }
        });
        *spare = Some((self.asked(), starting));
    }

    /// Starts a command. Waits while as many channels are open as a host allows.
    pub async fn exec(&self, command: &Command) -> Result<Exec, ChannelError> {
        let line = command.to_string();
        let inner = Arc::clone(&self.inner);
        let is_one_line = !line.contains('\n');
        let spare = is_one_line.then(|| inner.spare.lock().unwrap_or_else(PoisonError::into_inner).take());
        // In a task of its own: a caller that stops waiting must not leave a half-open channel
        // behind. What nobody waits for is dropped, and thereby closed.
        let opening = tokio::spawn(async move {
            if let Some((trip, starting)) = spare.flatten() {
                let started = starting.await.ok();
                trip.answered();
                if let Some(mut exec) = started {
                    exec.output.ask(inner.meter.asked());
                    // Somebody may have ended it meanwhile.
                    if exec.stdin.write(Bytes::from(format!("{line}\n"))).await.is_ok() {
                        return Ok(exec);
                    }
                }
            }
            let permit = inner.permit().await?;
            let channel = inner.session().await?;
            inner.start(channel, permit, line).await
        });
        opening.await.unwrap_or_else(|_| Err(self.inner.fate.lost()))
    }

    /// Runs a command to its end, with `stdin` as its input. A command that ends without reading all
    /// of it is no error: its exit code says what it thought of it.
    pub async fn run(&self, command: &Command, stdin: Bytes) -> Result<Output, ChannelError> {
        let Exec { stdin: mut input, mut output } = self.exec(command).await?;
        let feed = async move {
            if !stdin.is_empty() {
                let _ = input.write(stdin).await;
            }
            let _ = input.close().await;
            Ok(())
        };
        let collect = async {
            let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
            while let Some(chunk) = output.next().await {
                match chunk {
                    Chunk::Stdout(bytes) => stdout.extend_from_slice(&bytes),
                    Chunk::Stderr(bytes) => stderr.extend_from_slice(&bytes),
                    Chunk::Ended(exit) => {
                        return Ok(Output { stdout: stdout.freeze(), stderr: stderr.freeze(), exit });
                    }
                }
                if stdout.len().max(stderr.len()) > OUTPUT {
                    let host = self.inner.fate.host.clone();
                    return Err(ChannelError::TooMuchOutput { host, limit: OUTPUT });
                }
            }
            Ok(Output { stdout: stdout.freeze(), stderr: stderr.freeze(), exit: Exit::default() })
        };
        // Output that is too much must not wait for input that nobody reads.
        let ((), output) = tokio::try_join!(feed, collect)?;
        Ok(output)
    }

    /// Opens a TCP connection from the host to `host:port`, as the host sees them.
    pub async fn forward_tcp(
        &self,
        host: &str,
        port: u16,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ChannelError> {
        self.forward(To::Port(host.to_owned(), port)).await
    }

    /// Opens a connection from the host to a Unix socket there.
    pub async fn forward_socket(
        &self,
        path: &str,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ChannelError> {
        self.forward(To::Socket(path.to_owned())).await
    }

    async fn forward(&self, to: To) -> Result<Forward, ChannelError> {
        let inner = Arc::clone(&self.inner);
        let opening = tokio::spawn(async move {
            let permit = inner.permit().await?;
            let trip = inner.meter.asked();
            let (opened, what) = match to {
                To::Port(host, port) => {
                    let what = format!("connect to {host}:{port}");
                    let port = port.into();
                    (inner.handle.channel_open_direct_tcpip(host, port, "127.0.0.1", 0).await, what)
                }
                To::Socket(path) => {
                    let what = format!("connect to {path}");
                    (inner.handle.channel_open_direct_streamlocal(path).await, what)
                }
            };
            trip.answered();
            let channel = opened.map_err(|error| inner.refused(&what, error))?;
            Ok(forward::start(channel, permit))
        });
        opening.await.unwrap_or_else(|_| Err(self.inner.fate.lost()))
    }

    /// Says goodbye. Channels that are still open end with the connection, and what runs on the host
    /// sees the end of its input.
    pub async fn close(self) {
        let goodbye = async {
            let reason = russh::Disconnect::ByApplication;
            if self.inner.handle.disconnect(reason, "", "").await.is_ok() {
                self.inner.fate.ended.cancelled().await;
            }
        };
        // A dead network must not hold up whoever has finished.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.inner.fate.over() || self.inner.handle.is_closed()
    }
}

impl Inner {
    async fn permit(&self) -> Result<OwnedSemaphorePermit, ChannelError> {
        tokio::select! {
            biased;
            () = self.fate.ended.cancelled() => Err(self.fate.lost()),
            permit = Arc::clone(&self.channels).acquire_owned() => permit.map_err(|_| self.fate.lost()),
        }
    }

    /// Starts a command on a channel.
    async fn start(
        &self,
        channel: Channel<Msg>,
        permit: OwnedSemaphorePermit,
        line: String,
    ) -> Result<Exec, ChannelError> {
        let (read, write) = channel.split();
        let trip = self.meter.asked();
        let sent = write.exec(false, line).await;
        let exec = exec::start(read, write, Arc::clone(&self.fate), permit, trip);
        sent.map(|()| exec).map_err(|_| self.fate.lost())
    }

    /// Opens a channel for a command. A command that was abandoned, by us or by whoever else uses the
    /// host, counts against the host's limit until it has ended: a refusal may be over in a moment.
    async fn session(&self) -> Result<Channel<Msg>, ChannelError> {
        let started = tokio::time::Instant::now();
        loop {
            let trip = self.meter.asked();
            let opened = self.handle.channel_open_session().await;
            trip.answered();
            match opened {
                Err(russh::Error::ChannelOpenFailure(
                    ChannelOpenFailure::ConnectFailed | ChannelOpenFailure::ResourceShortage,
                )) if started.elapsed() < PATIENCE => tokio::time::sleep(PATIENCE / 25).await,
                opened => return opened.map_err(|error| self.refused("start a command", error)),
            }
        }
    }

    fn refused(&self, what: &str, error: russh::Error) -> ChannelError {
        match error {
            russh::Error::ChannelOpenFailure(reason) => ChannelError::Refused {
                host: self.fate.host.clone(),
                what: what.to_owned(),
                reason: reason.description().to_lowercase(),
            },
            _ => self.fate.lost(),
        }
    }
}
