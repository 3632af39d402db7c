//! Owns the network between a client and one host: a forwarder that can be cut, as by a reset, or hang,
//! as by a cable that is out.

use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The way to one host. Dropping it cuts what goes over it.
pub(super) struct Wire {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    hangs: AtomicBool,
    ended: AtomicBool,
    ends: Mutex<Vec<TcpStream>>,
}

impl Wire {
    /// A way to a port of this machine.
    pub(super) fn to(host: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                // A client that is refused says so; the case will.
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, host)) else { continue };
                accepting.carry(&near, &far);
                accepting.carry(&far, &near);
                accepting.ends.lock().unwrap().extend([near, far]);
            }
        });
        Self { port, shared }
    }

    /// Where its near end is.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing comes through, and nobody is told.
    pub(super) fn hang(&self) {
        self.shared.hangs.store(true, Ordering::SeqCst);
    }

    /// Both ends learn that their connections are gone; new ones can be made.
    pub(super) fn cut(&self) {
        for end in self.shared.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
        self.shared.hangs.store(false, Ordering::SeqCst);
    }
}

impl Shared {
    fn carry(self: &Arc<Self>, from: &TcpStream, to: &TcpStream) {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let shared = Arc::clone(self);
        let _ = to.set_nodelay(true);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(bytes @ 1..) = from.read(&mut buffer) {
                while shared.hangs.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                if to.write_all(&buffer[..bytes]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Ends the wait for the next connection.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}
