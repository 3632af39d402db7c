//! Owns `rdeploy serve DIR`: a small web server for static files, so that a site without a program of
//! its own can be kept up by a supervisor and proven like any app. `site` says which file a request
//! means, `answer` what is sent. Knows no configuration and no hosts.

mod answer;
mod site;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::report;

use site::Site;

/// How long open requests may take to finish after the server was asked to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a connection may be idle: longer than proxies keep theirs, so that a proxy never sends a
/// request on a connection that is just being closed here.
const IDLE: Duration = Duration::from_secs(75);

/// Serve a directory of static files over HTTP
///
/// Answers GET and HEAD; a directory is answered with its index.html. Files and directories whose
/// names begin with a dot are not served (except .well-known), nor is anything outside DIR.
///
/// DIR is resolved once, at the start: a server started on `current` goes on serving the release it
/// was started on until it is restarted.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Directory to serve
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,

    /// Port to listen on; 0 takes any free one
    #[arg(long, env = "PORT", hide_env_values = true, default_value_t = 0)]
    pub port: u16,

    /// Address to listen on; the default is reached from this machine only
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub bind: IpAddr,
}

/// Why files could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directory is missing or unreadable.
    #[error("cannot serve `{}`", dir.display())]
    Directory {
        /// As it was given.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The port is taken, or not allowed.
    #[error("cannot listen on {address}; choose another port with --port, or 0 for any free one")]
    Listen {
        /// As it was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Signals cannot be received, so the server could not be stopped in an orderly way.
    #[error("cannot listen for the signals that stop the server")]
    Signals(#[source] io::Error),
}

/// Serves `dir` until SIGTERM or SIGINT, then finishes the open requests, for at most five seconds.
/// Says where on standard output when it is ready; port 0 takes any free one.
pub async fn serve(dir: PathBuf, port: u16, bind: IpAddr) -> Result<(), ServeError> {
    // Before anybody can know that the server is there, so that it never dies of a signal.
    let stop = StopSignals::new().map_err(ServeError::Signals)?;
    let server = Server::bind(&dir, SocketAddr::new(bind, port)).await?;
    if let Err(error) = report::result(&server.announcement(&dir)) {
        tracing::warn!(%error, "nobody reads where the server listens; it serves all the same");
    }
    server.run(stop.received(), DRAIN).await;
    Ok(())
}

/// The signals that ask the server to stop.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> io::Result<Self> {
        let [terminate, interrupt] = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        Ok(Self { terminate: terminate?, interrupt: interrupt? })
    }

    async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A server that listens.
struct Server {
    listener: TcpListener,
    address: SocketAddr,
    site: Arc<Site>,
}

impl Server {
    async fn bind(dir: &Path, address: SocketAddr) -> Result<Self, ServeError> {
        let site = Site::open(dir).map_err(|source| ServeError::Directory { dir: dir.to_owned(), source })?;
        let refused = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, site: Arc::new(site) })
    }

    fn announcement(&self, dir: &Path) -> String {
        format!("serving {} on http://{}", dir.display(), self.address)
    }

    /// Answers requests until `stop`, then finishes the open ones for as long as `drain`.
    async fn run(self, stop: impl Future<Output = ()>, drain: Duration) {
        let stopping = CancellationToken::new();
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, Arc::clone(&self.site), stopping.clone()));
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: it passes when connections end, and
                        // asking again at once would only burn the processor.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        stopping.cancel();
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, drained).await.is_err() {
            tracing::warn!("requests that were still open were cut off");
            connections.shutdown().await;
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>, stopping: CancellationToken) {
    // Small answers should leave at once; without it they are only later.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer::answer(Arc::clone(&site), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
