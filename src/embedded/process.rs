//! Owns one command on an embedded host: its environment, its pipes, its end. Like sshd it leaves the
//! command alone when the channel closes, which the command notices as the end of its input; reports
//! the exit at once; and closes the channel when nothing holds the output any more.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;

use bytes::BytesMut;
use russh::Channel;
use russh::ChannelId;
use russh::ChannelMsg;
use russh::ChannelReadHalf;
use russh::ChannelWriteHalf;
use russh::Sig;
use russh::server::Handle;
use russh::server::Msg;
use rustix::process::Signal;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::HostOptions;
use super::spill::Spill;

/// How much of a command's output is read at a time.
const CHUNK: usize = 32 << 10;

/// Makes the directories a host needs.
pub(super) fn prepare(options: &HostOptions) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home(options))
}

fn home(options: &HostOptions) -> PathBuf {
    options.sandbox.join("home")
}

/// Starts a command the way a login shell would get it.
pub(super) fn spawn(options: &HostOptions, line: &[u8]) -> io::Result<Child> {
    let inherited = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = home(options);
    let user = inherited("USER").or_else(|| inherited("LOGNAME")).unwrap_or_else(|| {
        OsString::from(if rustix::process::getuid().is_root() { "root" } else { "deploy" })
    });
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(OsStr::from_bytes(line))
        .current_dir(&home)
        .env_clear()
        .env(
            "PATH",
            options.path.clone().or_else(|| inherited("PATH")).unwrap_or_else(|| "/usr/bin:/bin".into()),
        )
        .env("HOME", &home)
        .env("USER", &user)
        .env("LOGNAME", &user)
        .env("SHELL", "/bin/sh")
        .env("LANG", inherited("LANG").unwrap_or_else(|| "C.UTF-8".into()))
        .env("PM2_HOME", home.join(".pm2"))
        .envs(options.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C at the terminal is for rdeploy, not for what runs on its hosts.
        .process_group(0)
        .kill_on_drop(false);
    command.spawn()
}

/// Connects a command with its channel until both are done.
pub(super) async fn attend(mut child: Child, channel: Channel<Msg>, session: Handle, spill: Spill) {
    let id = channel.id();
    let (read, write) = channel.split();
    let closed = CancellationToken::new();
    tokio::spawn(empty(read, spill.clone(), closed.clone()));
    if let Some(stdin) = child.stdin.take() {
        tokio::spawn(feed(spill, stdin));
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output = async {
        tokio::join!(pump(stdout, &write, None, &closed), pump(stderr, &write, Some(1), &closed));
    };
    let end = async {
        let status = child.wait().await;
        report(&session, id, status).await;
    };
    tokio::join!(output, end);
    let _ = write.eof().await;
    let _ = write.close().await;
}

/// Takes what the client sends off the channel, as fast as it comes.
pub(super) async fn empty(mut read: ChannelReadHalf, spill: Spill, closed: CancellationToken) {
    loop {
        match read.wait().await {
            Some(ChannelMsg::Data { data }) => {
                if let Err(error) = spill.push(data) {
                    tracing::warn!(%error, "embedded host: input of a command is lost");
                    spill.abandon();
                }
            }
            Some(ChannelMsg::Eof) => spill.end(),
            Some(ChannelMsg::Close) => {
                spill.end();
                break;
            }
            // The client is gone; what it still sent is of no use without its end.
            None => {
                spill.abandon();
                break;
            }
            Some(_) => {}
        }
    }
    closed.cancel();
}

/// Hands the input over at the reader's pace.
pub(super) async fn feed(spill: Spill, mut sink: impl AsyncWrite + Unpin) {
    while let Ok(Some(bytes)) = spill.pop().await {
        if sink.write_all(&bytes).await.is_err() {
            break;
        }
    }
    spill.abandon();
    let _ = sink.shutdown().await;
}

/// Sends what comes from `source`, at the client's pace, until the end of either.
pub(super) async fn pump(
    source: Option<impl AsyncRead + Unpin>,
    write: &ChannelWriteHalf<Msg>,
    stream: Option<u32>,
    closed: &CancellationToken,
) {
    let Some(mut source) = source else { return };
    let copy = async {
        loop {
            let mut buffer = BytesMut::with_capacity(CHUNK);
            let Ok(1..) = source.read_buf(&mut buffer).await else { return };
            let sent = match stream {
                None => write.data_bytes(buffer).await,
                Some(stream) => write.extended_data_bytes(stream, buffer).await,
            };
            if sent.is_err() {
                return;
            }
        }
    };
    // A writer that waits for the window never hears of the end.
    tokio::select! {
        biased;
        () = closed.cancelled() => {}
        () = copy => {}
    }
}

async fn report(session: &Handle, id: ChannelId, status: io::Result<ExitStatus>) {
    let Ok(status) = status else { return };
    let _ = match (status.code(), status.signal()) {
        (_, Some(signal)) => {
            let core = status.core_dumped();
            session.exit_signal_request(id, name(signal), core, String::new(), String::new()).await
        }
        (code, None) => {
            let code = code.and_then(|code| u32::try_from(code).ok()).unwrap_or(255);
            session.exit_status_request(id, code).await
        }
    };
}

/// A signal's name in the protocol; sshd has the same word for those that have none.
fn name(signal: i32) -> Sig {
    let names = [
        (Signal::HUP, Sig::HUP),
        (Signal::INT, Sig::INT),
        (Signal::QUIT, Sig::QUIT),
        (Signal::ILL, Sig::ILL),
        (Signal::ABORT, Sig::ABRT),
        (Signal::FPE, Sig::FPE),
        (Signal::KILL, Sig::KILL),
        (Signal::USR1, Sig::USR1),
        (Signal::SEGV, Sig::SEGV),
        (Signal::PIPE, Sig::PIPE),
        (Signal::ALARM, Sig::ALRM),
        (Signal::TERM, Sig::TERM),
    ];
    let named = names.into_iter().find(|(own, _)| own.as_raw() == signal).map(|(_, name)| name);
    named.unwrap_or_else(|| Sig::Custom("SIG@openssh.com".into()))
}
