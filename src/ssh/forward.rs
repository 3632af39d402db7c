//! Owns one TCP stream through a connection. Like a command's channel it is emptied by a task of its
//! own, and closed when its user drops it. Knows not what travels.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use bytes::BytesMut;
use russh::Channel;
use russh::ChannelMsg;
use russh::ChannelReadHalf;
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::ReadBuf;
use tokio::io::ReadHalf;
use tokio::io::WriteHalf;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// What may wait between the user and the channel, each way.
const BUFFER: usize = 64 << 10;

/// How far the user may fall behind before the stream is given up, see [`super::exec`].
const UNREAD: usize = 64 << 20;

/// The user's end of the stream.
pub(super) struct Forward {
    stream: DuplexStream,
    _gone: DropGuard,
}

/// Takes over a channel, and returns the user's end of it.
pub(super) fn start(channel: Channel<Msg>, permit: OwnedSemaphorePermit) -> Forward {
    let (stream, ours) = tokio::io::duplex(BUFFER);
    let gone = CancellationToken::new();
    let forward = Forward { stream, _gone: gone.clone().drop_guard() };
    tokio::spawn(async move {
        carry(channel, ours, gone).await;
        drop(permit);
    });
    forward
}

async fn carry(channel: Channel<Msg>, ours: DuplexStream, gone: CancellationToken) {
    let (from_user, to_user) = tokio::io::split(ours);
    let (read, write) = channel.split();
    let (sender, received) = mpsc::unbounded_channel();
    let (closed, unread) = (CancellationToken::new(), AtomicUsize::new(0));
    {
        let mut sending = std::pin::pin!(send(from_user, &write, &closed));
        let mut receiving = std::pin::pin!(async {
            tokio::join!(empty(read, sender, &unread, &closed), deliver(received, to_user, &unread))
        });
        let mut sent = false;
        loop {
            tokio::select! {
                () = &mut sending, if !sent => sent = true,
                _ = &mut receiving => break,
                // What the user wrote before leaving is on its way.
                () = gone.cancelled(), if sent => break,
            }
        }
    }
    let _ = write.close().await;
}

/// Takes messages off the channel as fast as they come.
async fn empty(
    mut read: ChannelReadHalf,
    sender: mpsc::UnboundedSender<Bytes>,
    unread: &AtomicUsize,
    closed: &CancellationToken,
) {
    let mut sender = Some(sender);
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if unread.fetch_add(data.len(), Ordering::Relaxed) > UNREAD {
                    break;
                }
                if let Some(sender) = &sender {
                    let _ = sender.send(data);
                }
            }
            ChannelMsg::Eof => sender = None,
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    closed.cancel();
}

/// Hands what came to the user, at the user's pace.
async fn deliver(
    mut received: mpsc::UnboundedReceiver<Bytes>,
    mut to_user: WriteHalf<DuplexStream>,
    unread: &AtomicUsize,
) {
    while let Some(bytes) = received.recv().await {
        if to_user.write_all(&bytes).await.is_err() {
            return;
        }
        unread.fetch_sub(bytes.len(), Ordering::Relaxed);
    }
    let _ = to_user.shutdown().await;
}

/// Sends what the user writes, until the user's end or the channel's.
async fn send(
    mut from_user: ReadHalf<DuplexStream>,
    write: &ChannelWriteHalf<Msg>,
    closed: &CancellationToken,
) {
    let pump = async {
        loop {
            let mut buffer = BytesMut::with_capacity(BUFFER);
            match from_user.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => {
                    let _ = write.eof().await;
                    return;
                }
                Ok(_) => {
                    if write.data_bytes(buffer).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    // A writer that waits for the window never hears of the end.
    tokio::select! {
        biased;
        () = closed.cancelled() => {}
        () = pump => {}
    }
}

impl AsyncRead for Forward {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Forward {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
