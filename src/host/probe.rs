//! Owns the health check of last resort: asked by the client through a connection that the host makes
//! to itself, for a host that has no program which could ask.

use std::time::Duration;
use std::time::Instant;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

use crate::config::Health;
use crate::config::Probe;
use crate::ssh::Connection;

/// How long one question may take.
const TRY: Duration = Duration::from_secs(5);

/// Asks until the answer is good or the health check's time is over; returns the last reason.
pub(super) async fn until_healthy(connection: &Connection, health: &Health) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let asked = tokio::time::timeout(TRY, ask(connection, &health.probe)).await;
        let reason = match asked {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(_) => format!("no answer within {} s", TRY.as_secs()),
        };
        if started.elapsed() >= health.timeout {
            return Err(format!(
                "the health check did not pass within {} s (asked through the SSH connection): {reason}",
                health.timeout.as_secs()
            ));
        }
        tokio::time::sleep(health.interval).await;
    }
}

async fn ask(connection: &Connection, probe: &Probe) -> Result<(), String> {
    match probe {
        Probe::Command(_) => Ok(()), // The host runs that itself.
        Probe::Tcp { host, port } => {
            connection.forward_tcp(host, *port).await.map(drop).map_err(|error| error.to_string())
        }
        Probe::Http(url) => {
            let uri: hyper::Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
            let host = uri.host().ok_or_else(|| format!("`{url}` names no host"))?;
            let port = uri.port_u16().unwrap_or(80);
            let bare = host.trim_matches(['[', ']']);
            let stream = connection.forward_tcp(bare, port).await.map_err(|error| error.to_string())?;
            let (mut sender, talk) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| error.to_string())?;
            let talk = tokio::spawn(talk);
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            let request = hyper::Request::get(path)
                .header("host", uri.authority().map_or(host, |authority| authority.as_str()))
                .header("user-agent", "rdeploy")
                .body(Empty::<Bytes>::new())
                .map_err(|error| error.to_string())?;
            let answer = sender.send_request(request).await.map_err(|error| error.to_string());
            talk.abort();
            let status = answer?.status();
            if status.is_success() || status.is_redirection() {
                Ok(())
            } else {
                Err(format!("{url} answered {status}"))
            }
        }
    }
}
