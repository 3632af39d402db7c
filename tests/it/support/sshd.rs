//! A private OpenSSH sshd on loopback, with keys of its own, ended when dropped.

use std::io::Read;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use super::Place;
use super::find_program;
use super::skip;

/// A running sshd.
pub(crate) struct Sshd {
    child: Child,
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
}

impl Sshd {
    /// Starts one, or skips the test.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Self::start_with(test, "")
    }

    /// Starts one with more lines of configuration.
    pub(crate) fn start_with(test: &str, more: &str) -> Option<Self> {
        let Some(program) = find_program("sshd") else {
            skip(test, "sshd not found");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        keygen(&["-t", "ed25519", "-N", "", "-f"], &dir.path().join("host_key"));
        keygen(&["-t", "ed25519", "-N", "", "-f"], &dir.path().join("login_key"));
        std::fs::copy(dir.path().join("login_key.pub"), dir.path().join("authorized_keys")).unwrap();
        // sshd as root insists on the directory for its privilege separation.
        if super::user() == "root" {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        // The port is free when it is chosen; somebody else may take it before sshd does.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = spawn(&program, dir.path(), port, more);
            if let Some(child) = wait_until_up(child, port) {
                return Some(Self { child, dir, port }.with_known_hosts());
            }
        }
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        panic!("sshd did not start:\n{log}");
    }

    fn with_known_hosts(self) -> Self {
        let key = std::fs::read_to_string(self.path("host_key.pub")).unwrap();
        let line = format!("[127.0.0.1]:{} {key}", self.port);
        std::fs::write(self.path("known_hosts"), line).unwrap();
        self
    }

    /// A file of this sshd's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// How to log in to it.
    pub(crate) fn place(&self) -> Place {
        Place::new(self.port, &self.path("login_key"), &self.path("known_hosts"))
    }

    /// Lets another key in.
    pub(crate) fn authorize(&self, public: &Path) {
        let mut keys = std::fs::read_to_string(self.path("authorized_keys")).unwrap();
        keys.push_str(&std::fs::read_to_string(public).unwrap());
        std::fs::write(self.path("authorized_keys"), keys).unwrap();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs ssh-keygen, which comes with sshd.
pub(crate) fn keygen(args: &[&str], file: &Path) {
    let output = Command::new("ssh-keygen").arg("-q").args(args).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn spawn(program: &Path, dir: &Path, port: u16, more: &str) -> Child {
    let config = dir.join("sshd_config");
    let shown = dir.display();
    // Another HOME, so that nothing in the user's own shell configuration has a say.
    let text = format!(
        "Port {port}\n\
         ListenAddress 127.0.0.1\n\
         HostKey {shown}/host_key\n\
         AuthorizedKeysFile {shown}/authorized_keys\n\
         StrictModes no\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         UsePAM no\n\
         PidFile none\n\
         PermitRootLogin yes\n\
         LogLevel VERBOSE\n\
         SetEnv HOME={shown}\n\
         {more}\n"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    Command::new(program)
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Waits until sshd greets. Nothing when it ended instead.
fn wait_until_up(mut child: Child, port: u16) -> Option<Child> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        if let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) {
            let mut greeting = [0; 4];
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            if socket.read_exact(&mut greeting).is_ok() && greeting == *b"SSH-" {
                return Some(child);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
