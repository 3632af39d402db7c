//! Owns an SSH host inside the binary: for the demo, for `embedded` environments and for tests. It
//! behaves like sshd where a deploy can tell the difference, listens on loopback only, lets in only
//! the key made for it, and runs commands as whoever runs rdeploy. Knows nothing of deploys.
//!
//! | file | owns |
//! |---|---|
//! | `keys` | key files |
//! | `sandbox` | what is kept between runs: directories, keys, ports |
//! | `port` | which port an app gets |
//! | `server` | connections: who may log in, what may be asked for |
//! | `process` | one command: its environment, its pipes, its end |
//! | `forward` | one TCP stream to a port on loopback |
//! | `spill` | input that waits for a slow reader |
//! | `cut` | a socket that can be cut off |

mod cut;
mod forward;
mod keys;
mod port;
mod process;
mod sandbox;
mod server;
mod spill;

use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

pub use keys::KeyPair;
pub use keys::PublicKey;
pub use port::free_port;
pub use sandbox::Sandbox;
pub use sandbox::SandboxHost;

/// What a host needs.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The host's own directory; its home is `home` in it.
    pub sandbox: PathBuf,
    /// More variables for the commands it runs.
    pub env: Vec<(String, String)>,
    /// The only key that may log in.
    pub authorized: PublicKey,
    /// The key by which the host is known.
    pub host_key: KeyPair,
    /// The commands' PATH; none means this process's own.
    pub path: Option<OsString>,
}

/// A running host. Dropping it cuts its connections; commands that run go on, as they do under sshd.
#[derive(Debug)]
pub struct EmbeddedHost {
    address: SocketAddr,
    host_key: PublicKey,
    /// Parent of every connection's token; replaced when the connections are cut.
    connections: Arc<Mutex<CancellationToken>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop: DropGuard,
}

impl EmbeddedHost {
    /// Starts a host on a free port of 127.0.0.1.
    pub async fn start(options: HostOptions) -> io::Result<Self> {
        Self::start_on(options, 0).await
    }

    /// Starts a host on this port of 127.0.0.1: one that was there before comes back.
    pub async fn start_on(options: HostOptions, port: u16) -> io::Result<Self> {
        process::prepare(&options)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let host_key = options.host_key.public();
        let stop = CancellationToken::new();
        let connections = Arc::new(Mutex::new(stop.child_token()));
        let tasks = TaskTracker::new();
        let serve = server::serve(listener, options, stop.clone(), Arc::clone(&connections), tasks.clone());
        tasks.spawn(serve);
        Ok(Self { address, host_key, connections, tasks, _stop: stop.clone().drop_guard(), stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The line for a file of known hosts, with its newline.
    pub fn host_key_line(&self) -> String {
        crate::ssh::known_hosts_line(&self.address.ip().to_string(), self.address.port(), &self.host_key.0)
            .unwrap_or_default()
    }

    /// Cuts the connections there are, as a failing network would; new ones can be made.
    pub fn cut_connections(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.stop.child_token();
        std::mem::replace(&mut *connections, next).cancel();
    }

    /// Stops listening, cuts the connections and waits for both. Commands that run go on.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
