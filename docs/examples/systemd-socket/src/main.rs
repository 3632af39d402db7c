//! A web app that can be replaced while it serves: it says which version answers and from which release. It
//! takes its socket from systemd, so that nobody is refused while it is restarted, and stops without
//! dropping a request. Nothing but the standard library; the three calls of C at the end are in every libc.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

/// So long, while it stops, clients that keep their connections are told to make new ones.
const DRAIN: Duration = Duration::from_millis(500);

static STOPPING: AtomicBool = AtomicBool::new(false);
static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
/// Where the signal handler writes to, to wake the loop that accepts.
static WAKE: AtomicI32 = AtomicI32::new(-1);

fn main() -> io::Result<()> {
    let listener = socket()?;
    // With this, a connection that has gone again before it is taken keeps nobody waiting.
    listener.set_nonblocking(true)?;
    let (waker, woken) = UnixStream::pair()?;
    WAKE.store(waker.into_raw_fd(), Ordering::Relaxed);
    // SAFETY: the handler only stores a flag and writes a byte, which a handler may do.
    unsafe { signal(SIGTERM, on_sigterm) };
    notify("READY=1");

    // From SIGTERM on nothing is accepted: what comes now waits in systemd's socket for the next process.
    while wait_for(&listener, &woken) {
        match listener.accept() {
            Ok((stream, _)) => {
                CONNECTIONS.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    // A client that has gone is no concern of anybody else's.
                    let _ = serve(&stream);
                    drop(stream);
                    CONNECTIONS.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                // Too many open files, for one: others may close theirs.
                eprintln!("a connection could not be accepted: {error}");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
    notify("STOPPING=1");
    while CONNECTIONS.load(Ordering::SeqCst) > 0 {
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The socket that systemd has opened and passed on; without systemd, one of our own.
fn socket() -> io::Result<TcpListener> {
    let is_for_us = env::var("LISTEN_PID").is_ok_and(|pid| pid == process::id().to_string());
    if is_for_us && env::var("LISTEN_FDS").is_ok_and(|count| count == "1") {
        // SAFETY: the first descriptor that systemd passes on is 3, and nothing else here uses it.
        return Ok(unsafe { TcpListener::from_raw_fd(3) });
    }
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    TcpListener::bind(("0.0.0.0", port))
}

/// Tells systemd how it stands (sd_notify).
fn notify(state: &str) {
    let Some(place) = env::var("NOTIFY_SOCKET").ok() else { return };
    let address = match place.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&place),
    };
    let sent = UnixDatagram::unbound()
        .and_then(|socket| socket.send_to_addr(state.as_bytes(), &address?));
    if let Err(error) = sent {
        eprintln!("systemd could not be told {state}: {error}");
    }
}

/// Answers on one connection until the client leaves or, while we stop, has been told to.
fn serve(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    // Who says nothing looks up now and then whether we stop.
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut reader = BufReader::new(stream);
    let mut stopping_since = None;
    loop {
        match reader.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(_) => {
                let last = answer(&mut reader, stream)?;
                if last {
                    return Ok(());
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if STOPPING.load(Ordering::SeqCst)
                    && stopping_since.get_or_insert_with(Instant::now).elapsed() >= DRAIN
                {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads a request, of which the first bytes are there, and answers it. Returns whether it is the last on
/// this connection.
fn answer(reader: &mut BufReader<&TcpStream>, mut stream: &TcpStream) -> io::Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut wants_close, mut length) = (false, 0);
    let mut line = String::new();
    for number in 0.. {
        line.clear();
        // No request of ours has a line as long as this.
        if reader.by_ref().take(16 * 1024).read_line(&mut line)? == 0 || number > 100 {
            return Ok(true);
        }
        let header = line.trim().to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        wants_close |= header == "connection: close";
        if header.is_empty() {
            break;
        }
    }
    io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;

    let version = env!("CARGO_PKG_VERSION");
    // Links are resolved in what the kernel says: this is the release and not `current`.
    let release = env::current_dir()?;
    let body = format!(
        "{{\"version\":{version:?},\"release\":{:?},\"pid\":{}}}\n",
        release.display().to_string(),
        process::id()
    );
    let last = wants_close || STOPPING.load(Ordering::SeqCst);
    let connection = if last { "close" } else { "keep-alive" };
    stream.write_all(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: {connection}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    )?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(last)
}

/// Waits until somebody connects; `false` when we are to stop.
fn wait_for(listener: &TcpListener, woken: &UnixStream) -> bool {
    let one = |descriptor: i32| PollFd { descriptor, events: POLLIN, happened: 0 };
    let mut watched = [one(listener.as_raw_fd()), one(woken.as_raw_fd())];
    // SAFETY: two entries are there. What it returns is of no interest: a call too many of accept() is harmless.
    unsafe { poll(watched.as_mut_ptr(), 2, -1) };
    !STOPPING.load(Ordering::SeqCst)
}

extern "C" fn on_sigterm(_: i32) {
    STOPPING.store(true, Ordering::SeqCst);
    // SAFETY: one byte, from memory that is there as long as the program.
    unsafe { write(WAKE.load(Ordering::Relaxed), b"!".as_ptr(), 1) };
}

const SIGTERM: i32 = 15;
const POLLIN: i16 = 1;

#[repr(C)]
struct PollFd {
    descriptor: i32,
    events: i16,
    happened: i16,
}

extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn poll(watched: *mut PollFd, count: u64, milliseconds: i32) -> i32;
    fn write(descriptor: i32, bytes: *const u8, count: usize) -> isize;
}
