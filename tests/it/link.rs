//! The delayed link of the benchmarks, put to the test. What it promises exactly is tested exactly: that nothing
//! is ever early, lost or out of order. How late things are depends on the machine; of that, the best of many.

use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::support::find_program;
use crate::support::fleet::enter;
use crate::support::skip;

const HERE: &str = "10.77.0.1";

/// Long enough for any machine; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one packet holds besides its number.
const PADDING: [u8; 996] = [0x5a; 996];

/// Two networks and the link between them. Dropping it ends them.
struct Linked {
    room: Child,
    _program: tempfile::TempDir,
}

impl Linked {
    /// A link of that round trip in milliseconds and rate in Mbit/s; none where there can be none.
    fn lay(test: &str, round_trip: u32, rate: u32) -> Option<Self> {
        if let Some(why) = unavailable() {
            skip(test, &why);
            return None;
        }
        let program = tempfile::tempdir().unwrap();
        let mut room = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/linked"))
            .arg(program.path().join("link"))
            .args([&round_trip.to_string(), &rate.to_string(), "sh", "-c", "echo laid; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(room.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "laid\n", "the link was not laid; why is above");
        Some(Self { room, _program: program })
    }

    /// Runs `body` on a thread of its own in one of the two networks.
    fn on<T: Send + 'static>(
        &self,
        network: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let network = File::open(format!("/proc/{}/root/run/netns/{network}", self.room.id())).unwrap();
        thread::spawn(move || {
            enter(&network);
            body()
        })
    }

    /// A socket for packets in each network, at the two ends of the link.
    fn packets(&self) -> (UdpSocket, UdpSocket) {
        let receiver = self.on("here", || UdpSocket::bind((HERE, 0)).unwrap()).join().unwrap();
        let port = receiver.local_addr().unwrap().port();
        let sender = self.on("client", move || {
            let socket = UdpSocket::bind("10.77.0.200:0").unwrap();
            socket.connect((HERE, port)).unwrap();
            socket
        });
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        (sender.join().unwrap(), receiver)
    }

    /// The port of a server `here` that serves one connection with `body`.
    fn server(&self, body: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
        let listener = self.on("here", || TcpListener::bind((HERE, 0)).unwrap()).join().unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || body(listener.accept().unwrap().0));
        port
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.room.stdin.take());
        let _ = self.room.wait();
    }
}

fn unavailable() -> Option<String> {
    if !cfg!(target_os = "linux") || !rustix::process::geteuid().is_root() {
        return Some("laying a link needs root on Linux".into());
    }
    if let Some(tool) = ["unshare", "ip", "mount", "rustc"].iter().find(|tool| find_program(tool).is_none()) {
        return Some(format!("laying a link needs {tool}"));
    }
    (!Path::new("/dev/net/tun").exists()).then(|| "there is no /dev/net/tun here".into())
}

fn send(socket: &UdpSocket, number: u32) {
    let packet = [number.to_be_bytes().as_slice(), &PADDING].concat();
    assert_eq!(socket.send(&packet).unwrap(), packet.len());
}

fn receive(socket: &UdpSocket) -> u32 {
    let mut packet = [0; 2000];
    let length = socket.recv(&mut packet).unwrap();
    assert_eq!(packet[4..length], PADDING);
    u32::from_be_bytes(packet[..4].try_into().unwrap())
}

#[test]
fn a_connection_and_each_question_on_it_cost_a_round_trip_of_the_link() {
    let test = "a_connection_and_each_question_on_it_cost_a_round_trip_of_the_link";
    let Some(link) = Linked::lay(test, 60, 0) else { return };
    let port = link.server(|mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 {
            stream.write_all(&byte).unwrap();
        }
    });
    let took = link.on("client", move || {
        let mut took = Vec::new();
        let started = Instant::now();
        let mut stream = TcpStream::connect((HERE, port)).unwrap();
        took.push(started.elapsed());
        stream.set_nodelay(true).unwrap();
        for _ in 0..20 {
            let started = Instant::now();
            stream.write_all(b"?").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            took.push(started.elapsed());
        }
        took
    });
    let took = took.join().unwrap();
    let asked = Duration::from_millis(60);
    assert!(took.iter().all(|time| *time >= asked), "something was early: {took:?}");
    assert!(*took.iter().min().unwrap() < asked * 11 / 10, "everything was late: {took:?}");
}

#[test]
fn packets_arrive_whole_in_order_and_never_before_their_delay_and_rate_allow() {
    let test = "packets_arrive_whole_in_order_and_never_before_their_delay_and_rate_allow";
    let Some(link) = Linked::lay(test, 40, 8) else { return };
    let (sender, receiver) = link.packets();
    // Less than the link lets wait, so none may be lost.
    let started = Instant::now();
    for number in 0..40 {
        send(&sender, number);
    }
    for number in 0..40 {
        assert_eq!(receive(&receiver), number);
        // 1028 bytes of IP a packet: headers, number, padding.
        let sending = Duration::from_micros(1028 * u64::from(number + 1));
        let least = sending + Duration::from_millis(20);
        assert!(started.elapsed() >= least, "packet {number} arrived after {:?}", started.elapsed());
    }
}

#[test]
fn what_waits_in_vain_is_lost_and_the_rest_stays_in_order() {
    let test = "what_waits_in_vain_is_lost_and_the_rest_stays_in_order";
    // The link sends one of these packets in 8 ms and lets 6 of them wait.
    let Some(link) = Linked::lay(test, 10, 1) else { return };
    let (sender, receiver) = link.packets();
    let (stop, stopped) = mpsc::channel::<()>();
    let sending = thread::spawn(move || {
        for number in 0..1000 {
            send(&sender, number);
        }
        // One that arrives says that nothing of the burst is on its way any more.
        while stopped.recv_timeout(Duration::from_millis(50)) == Err(mpsc::RecvTimeoutError::Timeout) {
            send(&sender, u32::MAX);
        }
    });
    let arrived: Vec<u32> =
        std::iter::repeat_with(|| receive(&receiver)).take_while(|number| *number != u32::MAX).collect();
    drop(stop);
    sending.join().unwrap();
    assert!(
        arrived.len() >= 6 && arrived[..6] == [0, 1, 2, 3, 4, 5],
        "lost before the queue was full: {arrived:?}"
    );
    assert!(arrived.len() < 1000, "nothing was lost");
    assert!(arrived.is_sorted(), "out of order: {arrived:?}");
}

#[test]
fn a_stream_fills_the_link_and_no_more() {
    let Some(link) = Linked::lay("a_stream_fills_the_link_and_no_more", 10, 20) else { return };
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (received, arrived) = mpsc::channel();
    let port = link.server(move |mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        received.send((Instant::now(), all)).unwrap();
    });
    let sent = bytes.clone();
    let client = link.on("client", move || {
        let started = Instant::now();
        let mut stream = TcpStream::connect((HERE, port)).unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        started
    });
    let started = client.join().unwrap();
    let (ended, all) = arrived.recv_timeout(PATIENCE).unwrap();
    assert!(all == bytes, "what arrived is not what was sent");
    // At 20 Mbit/s five million bytes take two seconds, their headers some more.
    let took = ended - started;
    assert!(took >= Duration::from_secs(2), "five million bytes arrived in {took:?}");
    assert!(took < Duration::from_secs(10), "five million bytes took {took:?}");
}
