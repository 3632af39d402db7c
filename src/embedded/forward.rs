//! Owns one stream from a client of an embedded host to a port on loopback, or to a Unix socket.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use russh::Channel;
use russh::server::Msg;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::process;
use super::spill::Spill;

/// The addresses on loopback that are meant; none for any other host.
pub(super) fn loopback(host: &str) -> Vec<IpAddr> {
    if host == "localhost" {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    host.parse().into_iter().filter(IpAddr::is_loopback).collect()
}

/// Connects to the first of the addresses that answers.
pub(super) async fn connect(addresses: &[IpAddr], port: u16) -> Option<TcpStream> {
    for address in addresses {
        if let Ok(socket) = TcpStream::connect(SocketAddr::new(*address, port)).await {
            let _ = socket.set_nodelay(true);
            return Some(socket);
        }
    }
    None
}

/// Carries bytes both ways until the client closes, or the other side has ended and been heard out.
pub(super) async fn carry(
    channel: Channel<Msg>,
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin + Send + 'static,
    spill: Spill,
) {
    let (read, write) = channel.split();
    let closed = CancellationToken::new();
    let input = tokio::spawn(process::empty(read, spill.clone(), closed.clone()));
    let feeding = tokio::spawn(process::feed(spill, to));
    process::pump(Some(from), &write, None, &closed).await;
    let _ = write.eof().await;
    // The other direction may go on: the client says when it is done.
    let _ = feeding.await;
    let _ = write.close().await;
    let _ = input.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_can_be_forwarded_to() {
        for host in ["localhost", "127.0.0.1", "127.1.2.3", "::1"] {
            assert!(!loopback(host).is_empty(), "{host}");
        }
        for host in ["0.0.0.0", "192.0.2.1", "example.com", "localhost.example.com", "::", "", "127.1"] {
            assert!(loopback(host).is_empty(), "{host}");
        }
    }
}
