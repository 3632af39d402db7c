//! Owns one running command: its input, its output, its end. Knows not what commands are for.
//!
//! Each channel is emptied by a task of its own, because messages that nobody takes block every other
//! channel of the connection. That task also holds the channel's place among those that may be open
//! at a time, and closes the channel when nobody holds an end of it any more.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
// A queue of the runtime's takes room for 32 from the start.
use futures_channel::mpsc;
use futures_util::StreamExt as _;
use russh::ChannelMsg;
use russh::ChannelReadHalf;
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use super::ChannelError;
use super::connection::Fate;
use super::traffic::Trip;

/// How long a channel may stay silent after its command has ended. Without a limit, a background
/// process that the command left behind with its output still attached would hold the channel for as
/// long as it lives.
const LINGER: Duration = Duration::from_secs(5);

/// How long a command that nobody is interested in any more has to notice the end of its input. sshd
/// counts a command against `MaxSessions` until it ends, closed channel or not, so letting it end
/// keeps the count right.
const FAREWELL: Duration = Duration::from_secs(1);

/// How far a reader may fall behind before the channel is given up: the price of never blocking the
/// connection, bounded.
const UNREAD: usize = 64 << 20;

/// Up to so many bytes are given to the connection piece by piece. It keeps, for as long as it lives, room for the most
/// that it had to send at a time, and there may be hundreds of connections.
const FEW: usize = 32 << 10;

/// So many bytes fill two of TCP's segments, with what SSH adds.
const PIECE: usize = 2848;

/// A running command.
#[derive(Debug)]
pub struct Exec {
    /// What it reads. Dropping it is the end of the command's input.
    pub stdin: ExecStdin,
    /// What it writes, and how it ends.
    pub output: ExecOutput,
}

/// The input of a running command.
#[derive(Debug)]
pub struct ExecStdin {
    channel: Arc<Shared>,
    _gone: DropGuard,
}

/// The output of a running command.
#[derive(Debug)]
pub struct ExecOutput {
    chunks: mpsc::UnboundedReceiver<Chunk>,
    channel: Arc<Shared>,
    trip: Trip,
    _gone: DropGuard,
}

/// A piece of what a command wrote, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Written to standard output.
    Stdout(Bytes),
    /// Written to standard error.
    Stderr(Bytes),
    /// The command ended; nothing follows.
    Ended(Exit),
}

/// How a command ended. With neither, the connection was lost (or its output was given up, because
/// nobody read 64 MiB of it), and it is unknown whether it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code.
    pub code: Option<u32>,
    /// The signal that ended it, without "SIG".
    pub signal: Option<String>,
}

impl Exit {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Whether its end is unknown.
    pub fn lost(&self) -> bool {
        self.code.is_none() && self.signal.is_none()
    }
}

#[derive(Debug)]
struct Shared {
    write: ChannelWriteHalf<Msg>,
    fate: Arc<Fate>,
    /// The command ended, or the connection did: nothing will be read any more.
    ended: CancellationToken,
    /// The end of input was sent.
    eof: AtomicBool,
    /// Bytes of output that wait for the reader.
    unread: AtomicUsize,
}

impl Shared {
    async fn send_eof(&self) -> Result<(), ChannelError> {
        if self.eof.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.ended.cancelled() => Err(self.over()),
            sent = Box::pin(self.write.eof()) => sent.map_err(|_| self.fate.lost()),
        }
    }

    fn over(&self) -> ChannelError {
        match self.fate.over() {
            true => self.fate.lost(),
            false => ChannelError::Ended { host: self.fate.host().to_owned() },
        }
    }
}

impl ExecStdin {
    /// Sends bytes to the command; waits while it reads more slowly than they come. Fails, and never
    /// hangs, when the command has ended or the connection is gone.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), ChannelError> {
        if bytes.len() <= FEW {
            while bytes.len() > PIECE {
                self.send(bytes.split_to(PIECE)).await?;
                // It is on its way before the next one is given.
                tokio::task::yield_now().await;
            }
        }
        self.send(bytes).await
    }

    async fn send(&self, bytes: Bytes) -> Result<(), ChannelError> {
        // What one write takes would otherwise be part of everything that may come to write.
        let sending = Box::pin(self.channel.write.data_bytes(bytes));
        // The library waits for the window for ever; only the reading half sees the end.
        tokio::select! {
            biased;
            () = self.channel.ended.cancelled() => Err(self.channel.over()),
            sent = sending => sent.map_err(|_| self.channel.fate.lost()),
        }
    }

    /// Ends the command's input.
    pub async fn close(&mut self) -> Result<(), ChannelError> {
        self.channel.send_eof().await
    }
}

impl ExecOutput {
    /// Notes that the command was asked for only now, of a shell that was there.
    pub(super) fn ask(&mut self, trip: Trip) {
        self.trip = trip;
    }

    /// The question that starting the command is. Its end answers it.
    pub fn trip(&self) -> &Trip {
        &self.trip
    }

    /// Returns what the command writes, as it comes, then how it ended, then nothing.
    pub async fn next(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.next().await?;
        if let Chunk::Stdout(bytes) | Chunk::Stderr(bytes) = &chunk {
            self.channel.unread.fetch_sub(bytes.len(), Ordering::Relaxed);
        }
        if matches!(chunk, Chunk::Ended(_)) {
            self.trip.answered();
        }
        Some(chunk)
    }
}

/// Takes over a channel on which a command was started.
pub(super) fn start(
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    fate: Arc<Fate>,
    permit: OwnedSemaphorePermit,
    trip: Trip,
) -> Exec {
    let channel = Arc::new(Shared {
        write,
        fate,
        ended: CancellationToken::new(),
        eof: AtomicBool::new(false),
        unread: AtomicUsize::new(0),
    });
    let (sender, chunks) = mpsc::unbounded();
    let (stdin_gone, output_gone) = (CancellationToken::new(), CancellationToken::new());
    let exec = Exec {
        stdin: ExecStdin { channel: Arc::clone(&channel), _gone: stdin_gone.clone().drop_guard() },
        output: ExecOutput {
            chunks,
            channel: Arc::clone(&channel),
            trip,
            _gone: output_gone.clone().drop_guard(),
        },
    };
    tokio::spawn(async move {
        empty(read, &channel, &sender, stdin_gone, output_gone).await;
        drop(permit);
    });
    exec
}

/// Empties the channel until it is closed, from either side.
async fn empty(
    mut read: ChannelReadHalf,
    channel: &Arc<Shared>,
    sender: &mpsc::UnboundedSender<Chunk>,
    stdin_gone: CancellationToken,
    output_gone: CancellationToken,
) {
    let mut exit = Exit::default();
    let (mut closed, mut told) = (false, false);
    let abandoned = async {
        output_gone.cancelled().await;
        stdin_gone.cancelled().await;
    };
    let mut abandoned = std::pin::pin!(abandoned);
    loop {
        let message = tokio::select! {
            biased;
            () = &mut abandoned => break,
            () = stdin_gone.cancelled(), if !told => {
                told = true;
                tell(channel);
                continue;
            }
            message = read.wait() => message,
            () = tokio::time::sleep(LINGER), if channel.ended.is_cancelled() => break,
        };
        let chunk = match message {
            None => {
                closed = true;
                break;
            }
            Some(ChannelMsg::Close) => {
                closed = true;
                break;
            }
            Some(ChannelMsg::Data { data }) => Chunk::Stdout(data),
            Some(ChannelMsg::ExtendedData { data, ext: 1 }) => Chunk::Stderr(data),
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                exit.code = Some(exit_status);
                channel.ended.cancel();
                continue;
            }
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                exit.signal = Some(signal(&signal_name));
                channel.ended.cancel();
                continue;
            }
            Some(_) => continue,
        };
        if !keep(channel, sender, chunk) {
            tracing::warn!(host = channel.fate.host(), "output was not read; the channel is given up");
            exit = Exit::default();
            break;
        }
    }
    if !closed && !channel.ended.is_cancelled() && sender.is_closed() {
        tell(channel);
        closed = tokio::time::timeout(FAREWELL, until_closed(&mut read)).await.is_ok();
    }
    channel.ended.cancel();
    // Whoever does not take messages must not be sent any, see `tell`.
    drop(read);
    if !closed {
        // It may wait behind a blocked socket; the connection's own limits end that.
        let _ = Box::pin(channel.write.close()).await;
    }
    // Nobody may be interested any more.
    let _ = sender.unbounded_send(Chunk::Ended(exit));
}

/// Ends the command's input, in a task of its own: the library may be waiting for messages to be taken
/// off this very channel before it takes ours.
fn tell(channel: &Arc<Shared>) {
    let channel = Arc::clone(channel);
    tokio::spawn(async move {
        let _ = channel.send_eof().await;
    });
}

/// Waits for the end of a channel, and drops what comes before.
async fn until_closed(read: &mut ChannelReadHalf) {
    while !matches!(read.wait().await, None | Some(ChannelMsg::Close)) {}
}

/// Hands a chunk to the reader; says no when the reader is too far behind.
fn keep(channel: &Shared, sender: &mpsc::UnboundedSender<Chunk>, chunk: Chunk) -> bool {
    let (Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = &chunk else { return true };
    let size = bytes.len();
    // A reader that is gone needs no memory: what it left unread is dropped with it.
    if sender.is_closed() {
        return true;
    }
    let behind = channel.unread.fetch_add(size, Ordering::Relaxed) + size;
    behind <= UNREAD && {
        let _ = sender.unbounded_send(chunk);
        true
    }
}

/// The name of a signal, without "SIG".
fn signal(signal: &russh::Sig) -> String {
    match signal {
        russh::Sig::Custom(name) => name.clone(),
        named => format!("{named:?}"),
    }
}
