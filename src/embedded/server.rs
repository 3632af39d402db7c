//! Owns the connections to an embedded host: who may log in, and what may be asked for, which is
//! running a command, or reaching a port on loopback or a Unix socket. Everything else is refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use russh::Channel;
use russh::ChannelId;
use russh::ChannelOpenFailure;
use russh::MethodKind;
use russh::MethodSet;
use russh::Preferred;
use russh::cipher;
use russh::server;
use russh::server::Auth;
use russh::server::ChannelOpenHandle;
use russh::server::Msg;
use russh::server::PublicKeyOffer;
use russh::server::Session;
use russh::server::VerifiedPublicKey;
use tokio::net::TcpListener;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HostOptions;
use super::cut::Cuttable;
use super::forward;
use super::process;
use super::spill::Spill;

/// Accepts connections until it is stopped.
pub(super) async fn serve(
    listener: TcpListener,
    options: HostOptions,
    stop: CancellationToken,
    connections: Arc<Mutex<CancellationToken>>,
    tasks: TaskTracker,
) {
    let config = Arc::new(config(&options));
    let options = Arc::new(options);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Out of descriptors, most likely: give others time to release some.
                tracing::warn!(%error, "embedded host: cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        let cut = connections.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let client = Client { options: Arc::clone(&options), channels: HashMap::new() };
        let config = Arc::clone(&config);
        tasks.spawn(async move {
            let result =
                async { server::run_stream(config, Cuttable::new(socket, cut), client).await?.await };
            if let Err(error) = result.await {
                tracing::debug!(%error, "embedded host: a connection ended");
            }
        });
    }
}

fn config(options: &HostOptions) -> server::Config {
    server::Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        keys: vec![(*options.host_key.0).clone()],
        // What is compared is public: there is nothing to learn from how long it takes.
        auth_rejection_time: Duration::ZERO,
        max_auth_attempts: 6,
        nodelay: true,
        preferred: Preferred {
            cipher: vec![cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305].into(),
            compression: vec![russh::compression::NONE].into(),
            ..Preferred::DEFAULT
        },
        ..server::Config::default()
    }
}

/// One connection.
struct Client {
    options: Arc<HostOptions>,
    /// Channels on which nothing runs yet.
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Client {
    fn judge(&self, key: &russh::keys::PublicKey) -> Auth {
        match key.key_data() == self.options.authorized.0.key_data() {
            true => Auth::Accept,
            false => Auth::reject(),
        }
    }

    fn spill(&self) -> Spill {
        Spill::new(&self.options.sandbox)
    }

    /// Says no to a request on a channel.
    fn refuse(channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_failure(channel)
    }
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.judge(offer.public_key))
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.judge(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let addresses = forward::loopback(host);
        let Some(port) = u16::try_from(port).ok().filter(|_| !addresses.is_empty()) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let spill = self.spill();
        tokio::spawn(async move {
            match forward::connect(&addresses, port).await {
                Some(socket) => {
                    reply.accept().await;
                    let (from, to) = socket.into_split();
                    forward::carry(channel, from, to, spill).await;
                }
                None => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let (spill, path) = (self.spill(), path.to_owned());
        tokio::spawn(async move {
            match UnixStream::connect(path).await {
                Ok(socket) => {
                    reply.accept().await;
                    let (from, to) = socket.into_split();
                    forward::carry(channel, from, to, spill).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(channel) = self.channels.remove(&id) else { return Self::refuse(id, session) };
        match process::spawn(&self.options, line) {
            Ok(child) => {
                session.channel_success(id)?;
                tokio::spawn(process::attend(child, channel, session.handle(), self.spill()));
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "embedded host: cannot start a command");
                Self::refuse(id, session)?;
                session.close(id)
            }
        }
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        Self::refuse(id, session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        Self::refuse(id, session)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        Self::refuse(id, session)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        Self::refuse(id, session)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        Self::refuse(id, session)
    }
}
