//! Owns the health check of last resort: asked by the client through a connection that the host makes
//! to itself, for a host that has no program which could ask.

use std::time::Duration;
use std::time::Instant;

use http_body_util::BodyExt as _;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::config::Header;
use crate::config::Health;
use crate::config::HttpProbe;
use crate::config::Probe;
use crate::config::Statuses;
use crate::ssh::Connection;

/// How long one question may take.
const TRY: Duration = Duration::from_secs(5);

/// Asks until the answers are good or the health check's time is over; returns the last reason, as what
/// follows the check's name. What was well before (`again`) has to be well once more.
pub(super) async fn until_healthy(
    connection: &Connection,
    deploy_to: &str,
    health: &Health,
    again: bool,
) -> Result<(), String> {
    let wanted = if again { 1 } else { health.successes };
    if !again {
        tokio::time::sleep(health.delay).await;
    }
    let started = Instant::now();
    let mut run = 0;
    loop {
        let reason = match once(connection, deploy_to, health).await {
            Ok(()) => {
                run += 1;
                if run >= wanted {
                    return Ok(());
                }
                format!("{run} of {wanted} good answers in a row")
            }
            Err(reason) => {
                run = 0;
                reason
            }
        };
        if started.elapsed() >= health.timeout {
            return Err(format!(
                "did not pass within {} s (asked through the SSH connection): {reason}",
                health.timeout.as_secs()
            ));
        }
        tokio::time::sleep(health.interval).await;
    }
}

/// Asks once.
pub(super) async fn once(connection: &Connection, deploy_to: &str, health: &Health) -> Result<(), String> {
    let asked = tokio::time::timeout(TRY, ask(connection, deploy_to, &health.probe)).await;
    asked.unwrap_or_else(|_| Err(format!("no answer within {} s", TRY.as_secs())))
}

async fn ask(connection: &Connection, deploy_to: &str, probe: &Probe) -> Result<(), String> {
    let socket = |path: &str| match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{deploy_to}/{path}"),
    };
    match probe {
        Probe::Command(_) => Ok(()), // The host runs that itself.
        Probe::Tcp { host, port } => {
            connection.forward_tcp(host, *port).await.map(drop).map_err(|error| error.to_string())
        }
        Probe::Socket(path) => {
            connection.forward_socket(&socket(path)).await.map(drop).map_err(|error| error.to_string())
        }
        Probe::Http(probe) => {
            let url = &probe.url;
            let uri: hyper::Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
            let host = uri.host().ok_or_else(|| format!("`{url}` names no host"))?;
            match &probe.socket {
                Some(path) => {
                    let stream = connection.forward_socket(&socket(path)).await;
                    page(connection, stream.map_err(|error| error.to_string())?, &uri, probe).await
                }
                None => {
                    let bare = host.trim_matches(['[', ']']);
                    let stream = connection.forward_tcp(bare, uri.port_u16().unwrap_or(80)).await;
                    page(connection, stream.map_err(|error| error.to_string())?, &uri, probe).await
                }
            }
        }
    }
}

/// Asks for a page, and judges what comes.
async fn page(
    connection: &Connection,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &hyper::Uri,
    probe: &HttpProbe,
) -> Result<(), String> {
    let (mut sender, talk) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let talk = Talk(tokio::spawn(talk));
    let trip = connection.asked();
    let answer = sender.send_request(request(uri, probe)?).await.map_err(|error| error.to_string())?;
    let judgement = judge(answer, probe).await;
    trip.answered();
    drop(talk);
    judgement
}

/// What carries the question; it ends with whoever asks.
struct Talk<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Talk<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request(uri: &hyper::Uri, probe: &HttpProbe) -> Result<hyper::Request<Empty<Bytes>>, String> {
    let named = uri.authority().map_or("localhost", |authority| authority.as_str());
    let mut request = hyper::Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", probe.host.as_deref().unwrap_or(named))
        .header("user-agent", "rdeploy")
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    for Header { name, value } in &probe.headers {
        let cannot = |_| format!("the header {name} cannot be sent");
        let mut value = HeaderValue::from_str(value).map_err(|_| cannot(()))?;
        value.set_sensitive(true);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| cannot(()))?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

async fn judge(answer: hyper::Response<Incoming>, probe: &HttpProbe) -> Result<(), String> {
    let HttpProbe { url, status: wanted, body, .. } = probe;
    let status = answer.status().as_u16();
    if !probe.accepts(status) {
        return Err(match wanted.as_slice() {
            [Statuses::SUCCESS | Statuses::SUCCESS_OR_REDIRECTION] => format!("{url} answered {status}"),
            ranges => {
                let ranges: Vec<String> = ranges.iter().map(Statuses::to_string).collect();
                format!("{url} answered {status}; expected is {}", ranges.join(" "))
            }
        });
    }
    let Some(text) = body else { return Ok(()) };
    match contains(answer.into_body(), text.as_bytes()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{url} answered {status}, but without \"{text}\"")),
        Err(error) => Err(format!("{url} did not answer: {error}")),
    }
}

/// Whether a body contains a text. Keeps no more of it than could be the text's beginning.
async fn contains(mut body: Incoming, text: &[u8]) -> Result<bool, hyper::Error> {
    let mut kept: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        kept.extend_from_slice(&data);
        if kept.windows(text.len()).any(|window| window == text) {
            return Ok(true);
        }
        let old = kept.len().saturating_sub(text.len());
        kept.drain(..old);
    }
    Ok(false)
}
