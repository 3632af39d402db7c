//! A cable that costs time: two network devices, and what goes into one comes out of the other later.
//!
//!     link DELAY_US RATE_BIT QUEUE_BYTES DEVICE DEVICE
//!
//! makes both devices (TAP, so Ethernet without offloads) in the network namespace it is started in, writes
//! `ready`, and serves until it is killed. The devices may then be moved to other namespaces.
//!
//! Each direction for itself: a packet waits until those before it have been sent at RATE_BIT bits a second
//! (0: no limit), then takes DELAY_US microseconds, never less. Where more than QUEUE_BYTES wait to be sent, a
//! packet is lost, as at a router. Of a packet its IP part counts, 14 bytes less than the frame.
//!
//! Compiled by tests/bench/link.sh with rustc alone: it needs an ioctl, and the crate forbids unsafe code.

use std::fs::File;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Result;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::exit;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// `TUNSETIFF`, `IFF_TAP` and `IFF_NO_PI` of linux/if_tun.h.
const TUNSETIFF: std::ffi::c_ulong = 0x4004_54ca;
const TAP_WITHOUT_HEADER: u16 = 0x0002 | 0x1000;

/// An Ethernet header, which a link's rate does not count.
const HEADER: usize = 14;

/// What the kernel answers while a device is down: its packets are lost, as with a cable that is out.
const EIO: i32 = 5;

unsafe extern "C" {
    fn ioctl(fd: std::ffi::c_int, request: std::ffi::c_ulong, ...) -> std::ffi::c_int;
}

/// `struct ifreq`, as far as `TUNSETIFF` reads it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// What both directions have in common.
#[derive(Clone, Copy)]
struct Line {
    delay: Duration,
    /// Bits a second; 0 for no limit.
    rate: u64,
    queue: Duration,
}

/// A packet on its way.
struct Packet {
    due: Instant,
    frame: Vec<u8>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [delay, rate, queue, one, other] = arguments.as_slice() else {
        return fail("usage: link DELAY_US RATE_BIT QUEUE_BYTES DEVICE DEVICE");
    };
    let number = |text: &str| {
        text.parse::<u64>().unwrap_or_else(|_| {
            fail(&format!("{text} is not a number"));
            0
        })
    };
    let rate = number(rate);
    let line =
        Line { delay: Duration::from_micros(number(delay)), rate, queue: sending(number(queue), rate) };
    let devices = [one, other].map(|name| {
        device(name).unwrap_or_else(|error| {
            fail(&format!("{name} cannot be made: {error}"));
            exit(1)
        })
    });
    let [one, other]: [&'static File; 2] = devices.map(|file| &*Box::leak(Box::new(file)));
    let back = thread::spawn(move || carry(line, other, one));
    println!("ready");
    carry(line, one, other);
    let _ = back.join();
}

fn fail(what: &str) {
    eprintln!("link: {what}");
    exit(1)
}

/// Makes a device that lives as long as the file is open.
fn device(name: &str) -> Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = Request { name: [0; 16], flags: TAP_WITHOUT_HEADER, rest: [0; 22] };
    // The last byte stays zero: it ends the name.
    request.name[..15].iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    // SAFETY: the kernel reads and writes one `struct ifreq` here, which is no longer than `Request`.
    match unsafe { ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) } {
        0 => Ok(file),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// How long that many bytes take to be sent.
fn sending(bytes: u64, rate: u64) -> Duration {
    match rate {
        0 => Duration::ZERO,
        _ => Duration::from_nanos(bytes * 8 * 1_000_000_000 / rate),
    }
}

/// Carries packets in one direction until the devices are gone.
fn carry(line: Line, from: &'static File, to: &'static File) {
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || take(line, from, &sender));
    let end = give(to, &receiver).and_then(|()| reader.join().unwrap_or(Ok(())));
    if let Err(error) = end {
        fail(&format!("a device is gone: {error}"));
    }
}

/// Takes packets from a device as they come, and decides when each is to arrive.
fn take(line: Line, mut from: &File, sender: &mpsc::Sender<Packet>) -> Result<()> {
    let mut frame = vec![0; 65536];
    let mut free = Instant::now();
    loop {
        let length = match from.read(&mut frame) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(EIO) || error.kind() == ErrorKind::Interrupted => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        let start = free.max(now);
        if line.rate != 0 && start - now > line.queue {
            continue;
        }
        free = start + sending(length.saturating_sub(HEADER) as u64, line.rate);
        let packet = Packet { due: free + line.delay, frame: frame[..length].to_vec() };
        if sender.send(packet).is_err() {
            return Ok(());
        }
    }
}

/// Gives packets to a device when they are due, in the order in which they came.
fn give(mut to: &File, receiver: &mpsc::Receiver<Packet>) -> Result<()> {
    for packet in receiver {
        if let Some(left) = packet.due.checked_duration_since(Instant::now()) {
            thread::sleep(left);
        }
        match to.write(&packet.frame) {
            Err(error) if error.raw_os_error() != Some(EIO) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
