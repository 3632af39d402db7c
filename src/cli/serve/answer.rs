//! Owns what is answered: status, headers, conditions, the body as a stream. Knows HTTP and what
//! `site` found, not paths.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use bytes::BytesMut;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::SizeHint;
use hyper::header;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;

use super::site::Found;
use super::site::Served;
use super::site::Site;

/// How much of a file is in memory at a time.
const CHUNK: usize = 64 << 10;

/// Answers one request. Never fails: trouble is an answer too.
pub(super) async fn answer<B>(site: Arc<Site>, request: Request<B>) -> Result<Response<Content>, Infallible> {
    let head = match *request.method() {
        Method::GET => false,
        Method::HEAD => true,
        _ => {
            let mut response =
                text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n", false);
            set(&mut response, header::ALLOW, "GET, HEAD");
            return Ok(response);
        }
    };
    let path = request.uri().path().to_owned();
    let found =
        tokio::task::spawn_blocking(move || site.find(&path)).await.map_err(io::Error::other).flatten();
    Ok(match found {
        Ok(Found::File(served)) => file(served, request.headers(), head),
        Ok(Found::Directory(path)) => {
            let location = match request.uri().query() {
                Some(query) => format!("{path}?{query}"),
                None => path,
            };
            let mut response =
                text(StatusCode::TEMPORARY_REDIRECT, "a directory's path ends with a slash\n", head);
            set(&mut response, header::LOCATION, &location);
            response
        }
        Ok(Found::Nothing) => text(StatusCode::NOT_FOUND, "not found\n", head),
        Err(error) => {
            tracing::warn!(%error, path = request.uri().path(), "a file could not be read");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the file could not be read\n", head)
        }
    })
}

fn file(served: Served, asked: &HeaderMap, head: bool) -> Response<Content> {
    let modified = http_date(served.modified);
    let fresh = is_fresh(asked, &served.tag, served.modified);
    let content = if fresh || head { Content::empty() } else { Content::file(served.file, served.size) };
    let mut response = Response::new(content);
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        set(&mut response, header::CONTENT_LENGTH, &served.size.to_string());
        set(&mut response, header::CONTENT_TYPE, content_type(&served.extension));
        set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    }
    set(&mut response, header::ETAG, &served.tag);
    if let Some(modified) = modified {
        set(&mut response, header::LAST_MODIFIED, &modified);
    }
    // To be asked for again each time, which costs little: the next deploy shows at once.
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    response
}

fn text(status: StatusCode, words: &'static str, head: bool) -> Response<Content> {
    let content = if head { Content::empty() } else { Content::text(words) };
    let mut response = Response::new(content);
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_LENGTH, &words.len().to_string());
    set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

/// Sets a header; a value that is none (it cannot come about) is left out.
fn set(response: &mut Response<Content>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Whether what the client has is what it would get. Its tags count more than its times.
fn is_fresh(asked: &HeaderMap, tag: &str, modified: i64) -> bool {
    let mut tags = asked.get_all(header::IF_NONE_MATCH).iter().peekable();
    if tags.peek().is_some() {
        return tags.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',')).any(|known| {
            let known = known.trim();
            known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
        });
    }
    let since = asked.get(header::IF_MODIFIED_SINCE).and_then(|since| since.to_str().ok());
    let since = since.and_then(|since| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(since).ok());
    since.is_some_and(|since| modified <= since.as_second())
}

/// `Sun, 22 Nov 2026 17:41:24 GMT`
fn http_date(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
}

fn content_type(extension: &str) -> &'static str {
    match extension {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" | "log" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "application/xml",
        "rss" => "application/rss+xml",
        "atom" => "application/atom+xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        _ => "application/octet-stream",
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Content {
    /// Text, until it is sent.
    Text(Option<Bytes>),
    /// A file, and how much of it is still to be sent.
    File { file: tokio::fs::File, left: u64, buffer: BytesMut },
}

impl Content {
    fn empty() -> Self {
        Self::Text(None)
    }

    fn text(words: &'static str) -> Self {
        Self::Text(Some(Bytes::from_static(words.as_bytes())))
    }

    fn file(file: std::fs::File, size: u64) -> Self {
        Self::File { file: tokio::fs::File::from_std(file), left: size, buffer: BytesMut::new() }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::File { left: 0, .. } => Poll::Ready(None),
            Self::File { file, left, buffer } => {
                let wanted = usize::try_from(*left).unwrap_or(CHUNK).min(CHUNK);
                buffer.resize(wanted, 0);
                let mut read = ReadBuf::new(buffer);
                if let Err(error) = ready!(Pin::new(file).poll_read(context, &mut read)) {
                    return Poll::Ready(Some(Err(error)));
                }
                let n = read.filled().len();
                if n == 0 {
                    // The client must learn that it has not got all: the connection is cut.
                    let short = io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter");
                    return Poll::Ready(Some(Err(short)));
                }
                *left = left.saturating_sub(n as u64);
                Poll::Ready(Some(Ok(Frame::data(buffer.split_to(n).freeze()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(None) | Self::File { left: 0, .. })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Text(text) => text.as_ref().map_or(0, |text| text.len() as u64),
            Self::File { left, .. } => *left,
        })
    }
}
