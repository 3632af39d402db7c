//! Owns steady load on a site: on every host several clients that keep their connection, and one that makes
//! a new one for each request, as neighbours in the fleet's network. They ask without a pause to speak of, as
//! long as the load is on; every request must be answered, with 200 and whole.
//!
//! A connection that the server closes between two requests costs nobody anything, and the client makes
//! another. What counts as a failure is a request without a whole answer: refused, reset, cut off, late.

use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use super::site::Site;
use crate::support::fleet;

/// Clients of one host that keep their connection.
const KEEPERS: usize = 4;

/// Between two requests of one client: it is the answers that are of interest, not the processors.
const PAUSE: Duration = Duration::from_millis(8);

/// A user would have given up.
const LIMIT: Duration = Duration::from_secs(20);

/// Fewer requests than these reach a host during any deploy only if there is no load.
const AT_LEAST: u64 = 50;

/// The load on one site; it ends when it is dropped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    over: AtomicBool,
    started: Instant,
    /// What the site is going through.
    scene: Mutex<String>,
    hosts: Vec<Tally>,
    failures: Mutex<Vec<String>>,
}

/// What the clients of one host have seen.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    connections: AtomicU64,
    /// Connections that the server closed without having said so in its last answer.
    closed_silently: AtomicU64,
    /// The longest that a request took, in microseconds.
    longest: AtomicU64,
}

impl Load {
    /// Begins to ask the app on every host, and returns when all of them have answered.
    pub(crate) fn on(site: &Site) -> Self {
        let hosts = site.fleet().hosts();
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            started: Instant::now(),
            scene: Mutex::new("before the first deploy".into()),
            hosts: hosts.iter().map(|_| Tally::default()).collect(),
            failures: Mutex::new(Vec::new()),
        });
        let mut clients = Vec::new();
        for (index, host) in hosts.iter().enumerate() {
            for number in 0..=KEEPERS {
                let address = format!("{}:{}", host.address, site.port);
                let (shared, network) = (Arc::clone(&shared), site.fleet().network());
                clients.push(std::thread::spawn(move || {
                    fleet::enter(&network);
                    let mut client = Client { address, connection: None, keeps: number < KEEPERS };
                    client.ask_until_it_is_over(&shared, index);
                }));
            }
        }
        let load = Self { shared, clients };
        fleet::eventually(LIMIT, "the load to be answered on every host", || {
            load.answered().iter().all(|answered| *answered > 0)
        });
        load
    }

    /// Goes through something, and proves that the load was on all the while, on every host.
    pub(crate) fn during<T>(&self, scene: &str, act: impl FnOnce() -> T) -> T {
        scene.clone_into(&mut self.shared.scene.lock().unwrap());
        let before = self.answered();
        let done = act();
        for (index, (now, then)) in self.answered().iter().zip(before).enumerate() {
            let asked = now - then;
            assert!(asked >= AT_LEAST, "host {}: only {asked} requests during {scene}", index + 1);
        }
        format!("after {scene}").clone_into(&mut self.shared.scene.lock().unwrap());
        done
    }

    /// Ends the load, says how much it was, and proves that every request was answered.
    pub(crate) fn lost_nothing(self, test: &str) {
        let shared = Arc::clone(&self.shared);
        drop(self);
        let sum = |of: fn(&Tally) -> &AtomicU64| -> u64 {
            shared.hosts.iter().map(|tally| of(tally).load(Ordering::Relaxed)).sum()
        };
        let longest = shared.hosts.iter().map(|tally| tally.longest.load(Ordering::Relaxed)).max();
        let failures = shared.failures.lock().unwrap();
        fleet::note(&format!(
            "{test}: {} requests on {} hosts in {:.0?}, {} failed; {} connections, {} of them closed without \
             a word between two requests; the longest request took {} ms",
            sum(|tally| &tally.answered),
            shared.hosts.len(),
            shared.started.elapsed(),
            failures.len(),
            sum(|tally| &tally.connections),
            sum(|tally| &tally.closed_silently),
            longest.unwrap_or_default() / 1000,
        ));
        assert!(failures.is_empty(), "{} requests were lost:\n{}", failures.len(), failures.join("\n"));
    }

    fn answered(&self) -> Vec<u64> {
        self.shared.hosts.iter().map(|tally| tally.answered.load(Ordering::Relaxed)).collect()
    }

    /// How many requests were lost so far, for a test of the load itself.
    pub(crate) fn lost(&self) -> usize {
        self.shared.failures.lock().unwrap().len()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let ended = client.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a client ended by itself");
        }
    }
}

/// One client.
struct Client {
    address: String,
    connection: Option<TcpStream>,
    keeps: bool,
}

impl Client {
    fn ask_until_it_is_over(&mut self, shared: &Shared, host: usize) {
        let tally = &shared.hosts[host];
        while !shared.over.load(Ordering::Relaxed) {
            let began = Instant::now();
            match self.ask(tally) {
                Ok(()) => {
                    let took = u64::try_from(began.elapsed().as_micros()).unwrap();
                    tally.longest.fetch_max(took, Ordering::Relaxed);
                    tally.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(reason) => {
                    self.connection = None;
                    let mut failures = shared.failures.lock().unwrap();
                    // A site that is down for good would be told of without end.
                    if failures.len() < 1000 {
                        let at = began.duration_since(shared.started).as_secs_f64();
                        let scene = shared.scene.lock().unwrap();
                        failures.push(format!("{at:.2} s, {}, {scene}: {reason}", self.address));
                    }
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks once.
    fn ask(&mut self, tally: &Tally) -> Result<(), String> {
        if self.connection.as_ref().is_some_and(is_closed) {
            tally.closed_silently.fetch_add(1, Ordering::Relaxed);
            self.connection = None;
        }
        let fresh = self.connection.is_none();
        let kind = if fresh { "on a new connection" } else { "on a kept connection" };
        if fresh {
            let address = self.address.parse().unwrap();
            let made = TcpStream::connect_timeout(&address, LIMIT)
                .map_err(|error| format!("no connection: {error}"))?;
            made.set_nodelay(true).unwrap();
            made.set_read_timeout(Some(LIMIT)).unwrap();
            tally.connections.fetch_add(1, Ordering::Relaxed);
            self.connection = Some(made);
        }
        let connection = self.connection.as_mut().unwrap();
        let last = if self.keeps { "" } else { "Connection: close\r\n" };
        let question = format!("GET / HTTP/1.1\r\nHost: shop\r\n{last}\r\n");
        connection
            .write_all(question.as_bytes())
            .map_err(|error| format!("the question could not be sent {kind}: {error}"))?;
        let answer = Answer::read(connection).map_err(|error| format!("{error} {kind}"))?;
        if answer.closes || !self.keeps {
            self.connection = None;
        }
        Ok(())
    }
}

/// Whether the server has closed a connection on which nothing is under way.
fn is_closed(connection: &TcpStream) -> bool {
    connection.set_nonblocking(true).unwrap();
    let peeked = connection.peek(&mut [0]);
    connection.set_nonblocking(false).unwrap();
    // Nothing to read yet is what a living connection says.
    !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// What was answered.
struct Answer {
    closes: bool,
}

impl Answer {
    fn read(connection: &mut TcpStream) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            more(connection, &mut bytes)?;
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
        let length: usize = header("content-length:")
            .and_then(|length| length.parse().ok())
            .ok_or_else(|| format!("an answer without a length: {text}"))?;
        while bytes.len() < head + length {
            more(connection, &mut bytes)?;
        }
        let body = slice(&bytes, head..head + length);
        if !text.starts_with("http/1.1 200") {
            return Err(format!("answered {} {body}", text.lines().next().unwrap_or_default()));
        }
        if bytes.len() > head + length || !body.starts_with('{') || !body.trim_end().ends_with('}') {
            return Err(format!("answered something else than the app does: {body}"));
        }
        Ok(Self { closes: header("connection:") == Some("close") })
    }
}

fn slice(bytes: &[u8], range: Range<usize>) -> String {
    String::from_utf8_lossy(&bytes[range]).into_owned()
}

/// Reads on.
fn more(connection: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<(), String> {
    let mut buffer = [0; 4096];
    match connection.read(&mut buffer) {
        Ok(0) if bytes.is_empty() => Err("closed without an answer".into()),
        Ok(0) => Err(format!("cut off after {} bytes", bytes.len())),
        Ok(n) => {
            bytes.extend_from_slice(&buffer[..n]);
            Ok(())
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(format!("no whole answer within {LIMIT:?}"))
        }
        Err(error) => Err(format!("{error} after {} bytes", bytes.len())),
    }
}
