//! Owns the way to a host's port: its addresses, the socket and the socket's options. Knows nothing
//! of SSH.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::ConnectError;
use super::Target;
use super::traffic::Meter;

/// How long sent bytes may stay unacknowledged. A write that blocks on a dead link would otherwise
/// hold up everything else on the connection for much longer.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(45);

/// Looks up the addresses of a target.
pub(super) async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |source| ConnectError::Resolve { host: target.name.clone(), source };
    let addresses = tokio::net::lookup_host((target.address.as_str(), target.port)).await.map_err(failed)?;
    let addresses: Vec<_> = addresses.collect();
    match addresses.is_empty() {
        true => Err(failed(io::Error::new(io::ErrorKind::NotFound, "no address"))),
        false => Ok(addresses),
    }
}

/// Connects to the first address that answers. Each gets an equal share of what is left of `limit`,
/// so that a silent first address does not use up the time of the others.
pub(super) async fn open(
    target: &Target,
    addresses: &[SocketAddr],
    limit: Duration,
    meter: &Meter,
) -> Result<Stream, ConnectError> {
    let started = tokio::time::Instant::now();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for (n, address) in addresses.iter().enumerate() {
        let waiting = u32::try_from(addresses.len() - n).unwrap_or(u32::MAX);
        let share = limit.saturating_sub(started.elapsed()) / waiting;
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(Stream::new(socket, meter.clone())),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        }
    }
    let tried = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    Err(ConnectError::Tcp { host: target.name.clone(), tried, source: last })
}

/// A TCP connection that sends at once, and acknowledges at once; its bytes are counted.
///
/// sshd's own small writes wait for our acknowledgement (Nagle), which the kernel likes to delay by
/// 40 ms; the kernel falls back to that, so the option is set again after each read.
#[derive(Debug)]
pub(super) struct Stream(TcpStream, Meter);

impl Stream {
    fn new(socket: TcpStream, meter: Meter) -> Self {
        // The options make the connection faster, not possible: a failure is not worth reporting.
        let _ = socket.set_nodelay(true);
        let stream = Self(socket, meter);
        #[cfg(target_os = "linux")]
        {
            let limit = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
            let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream.0, limit);
        }
        stream.acknowledge_at_once();
        stream
    }

    fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        self.1.read(buf.filled().len() - before);
        self.acknowledge_at_once();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = ready!(Pin::new(&mut self.0).poll_write(cx, buf))?;
        self.1.wrote(wrote);
        Poll::Ready(Ok(wrote))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
