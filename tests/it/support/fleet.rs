//! Owns booted hosts: several machines with systemd, sshd, Node and PM2 on a network of their own.
//! Knows nothing of rdeploy. How they are made is in tests/fleet/.
//!
//! A fleet's outer process stays in its network and mounts, so `/proc/PID/ns/net` is the way in for
//! programs and `/proc/PID/root/run/fleet` has the keys. It ends when its standard input
//! does: at the latest with this process, however this process ends.

use std::fs;
use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

use rustix::thread::LinkNameSpaceType;
use rustix::thread::move_into_link_name_space;

/// An address in every fleet's network that no host has.
pub(crate) const NOBODY: &str = "10.77.0.99";

/// Booted hosts. Dropping it ends them.
pub(crate) struct Fleet {
    room: Child,
    dialogue: Mutex<Option<Dialogue>>,
    hosts: Vec<Host>,
}

/// One booted host.
pub(crate) struct Host {
    /// Its number in the fleet, from 1.
    pub(crate) number: usize,
    /// Its address.
    pub(crate) address: String,
    room: u32,
}

struct Dialogue {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What an HTTP server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
}

/// The three hosts that tests share which do not disturb a whole host; booted by the first of them.
pub(crate) fn shared() -> &'static Fleet {
    static SHARED: OnceLock<Fleet> = OnceLock::new();
    SHARED.get_or_init(|| Fleet::boot(3))
}

/// Why hosts cannot be booted here; none when they can.
pub(crate) fn unavailable() -> Option<String> {
    let missing = |tool: &&&str| {
        let directories = std::env::var_os("PATH").unwrap_or_default();
        let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        !std::env::split_paths(&directories).chain(system).any(|dir| dir.join(tool).is_file())
    };
    let tools = ["systemd-nspawn", "ip", "unshare", "nsenter", "findmnt", "sshd", "ssh", "node"];
    if !rustix::process::geteuid().is_root() {
        return Some("booting hosts needs root".into());
    }
    if let Some(tool) = tools.iter().find(missing) {
        return Some(format!("booting hosts needs {tool}; tests/run installs it"));
    }
    match std::env::var_os("RDEPLOY_TEST_PM2") {
        Some(dir) if Path::new(&dir).join("7/node_modules/pm2").is_dir() => None,
        Some(dir) => Some(format!("there is no PM2 in RDEPLOY_TEST_PM2={}", dir.to_string_lossy())),
        None => Some("RDEPLOY_TEST_PM2 does not name a directory made by tests/support/install-pm2".into()),
    }
}

impl Fleet {
    /// Boots that many hosts and waits until one can log in to all of them.
    pub(crate) fn boot(hosts: usize) -> Self {
        let mut room = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet/boot"))
            .arg(hosts.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = room.stdin.take().unwrap();
        let mut answers = BufReader::new(room.stdout.take().unwrap());
        let mut booted = Vec::new();
        loop {
            let mut line = String::new();
            answers.read_line(&mut line).unwrap();
            match line.trim().split_once(' ') {
                Some(("host", address)) => {
                    let (number, address) = (booted.len() + 1, address.to_owned());
                    booted.push(Host { number, address, room: room.id() });
                }
                _ if line.trim() == "ready" => break,
                _ => panic!("the fleet did not come up (said {line:?}); its error output is above"),
            }
        }
        Self { room, dialogue: Mutex::new(Some(Dialogue { commands, answers })), hosts: booted }
    }

    /// Host `number`, from 1.
    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// All hosts, in order.
    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A program to be run in the fleet's network, as a neighbour of the hosts.
    pub(crate) fn program(&self, program: &str) -> Command {
        neighbour(self.room.id(), program)
    }

    /// The fleet's network, for [`enter`].
    pub(crate) fn network(&self) -> File {
        File::open(format!("/proc/{}/ns/net", self.room.id())).unwrap()
    }

    /// The private key of `deploy` and `root`, and the hosts' keys as a `known_hosts` file.
    pub(crate) fn credentials(&self) -> (String, String) {
        let read = |name| fs::read_to_string(run_fleet(self.room.id()).join(name)).unwrap();
        (read("id_ed25519"), read("known_hosts"))
    }

    /// Takes a host's cable out: connections hang, nothing is refused.
    pub(crate) fn cut_link(&self, number: usize) {
        self.command("cut", number);
    }

    /// Puts the cable back.
    pub(crate) fn restore_link(&self, number: usize) {
        self.command("restore", number);
    }

    /// Takes the power away and gives it back; returns when one can log in again.
    pub(crate) fn reboot(&self, number: usize) {
        self.command("halt", number);
        self.command("start", number);
    }

    fn command(&self, word: &str, number: usize) {
        let mut dialogue = self.dialogue.lock().unwrap();
        let Dialogue { commands, answers } = dialogue.as_mut().unwrap();
        writeln!(commands, "{word} {number}").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "ok", "{word} {number}");
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // The end of its input is the end of the fleet; waiting for it leaves nothing behind.
        if let Ok(mut dialogue) = self.dialogue.lock() {
            dialogue.take();
        }
        let _ = self.room.wait();
    }
}

impl Host {
    /// Runs a shell command as `user` over plain OpenSSH, with something to read.
    pub(crate) fn ssh_with_input(&self, user: &str, command: &str, input: &str) -> Output {
        let fleet = run_fleet(self.room);
        let mut ssh = neighbour(self.room, "ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"])
            // The key exchange that OpenSSH prefers takes a tenth of a second of both processors.
            .args(["-o", "KexAlgorithms=curve25519-sha256"])
            .args(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-i"])
            .arg(fleet.join("id_ed25519"))
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", fleet.join("known_hosts").display()))
            .args([&format!("{user}@{}", self.address), "--", command]);
        fed(&mut ssh, input)
    }

    /// Runs a script as root and returns what it wrote; a failure is the test's. Without a login, which
    /// would take a session of systemd's and several times as long.
    pub(crate) fn root(&self, script: &str) -> String {
        self.inside("root", script)
    }

    /// The same as `user`, who gets no session by it: for looking, not for starting anything.
    pub(crate) fn inside(&self, user: &str, script: &str) -> String {
        let mut shell = Command::new("nsenter");
        shell
            .args(["--all", "--target", &self.init().to_string(), "--", "env", "-i"])
            .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["runuser", "-u", user, "--", "sh", "-c"])
            .arg(
                "HOME=$(getent passwd \"$(id -u)\" | cut -d: -f6) && export HOME && cd && \
                 XDG_RUNTIME_DIR=/run/user/$(id -u) && export XDG_RUNTIME_DIR && exec sh -es",
            );
        self.succeeded(user, script, &fed(&mut shell, script))
    }

    /// Logs in as `user`, runs a script and returns what it wrote; a failure is the test's.
    pub(crate) fn must(&self, user: &str, script: &str) -> String {
        self.succeeded(user, script, &self.ssh_with_input(user, "sh -es", script))
    }

    fn succeeded(&self, user: &str, script: &str, output: &Output) -> String {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "host {} as {user}: {script}\nsaid {said}{}",
            self.number,
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// Asks an HTTP server on the host over the network; none when nothing answers.
    pub(crate) fn http(&self, port: u16, path: &str) -> Option<Answer> {
        let address = &self.address;
        let ask = format!(
            "exec 3<>/dev/tcp/{address}/{port} || exit\n\
             printf 'GET {path} HTTP/1.1\\r\\nHost: {address}\\r\\nConnection: close\\r\\n\\r\\n' >&3\ncat <&3"
        );
        let output = neighbour(self.room, "timeout").args(["5", "bash", "-c", &ask]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, body: body.to_owned() })
    }

    /// Where a path of the running host lies for this process: quick to look at, without a login.
    /// Links are to be read, not followed: an absolute one would lead to this machine's own files.
    pub(crate) fn disk(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/{path}", self.init()))
    }

    /// The pid of the running host's first process.
    fn init(&self) -> u32 {
        let machine = format!("--machine=host{}", self.number);
        children(self.room)
            .into_iter()
            .flat_map(children)
            .find(|pid| {
                fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|cmd| cmd.contains(&machine))
            })
            .and_then(|nspawn| children(nspawn).first().copied())
            .unwrap_or_else(|| panic!("host {} is off", self.number))
    }
}

/// Makes this thread, and nothing else of this process, a neighbour of a fleet's hosts.
pub(crate) fn enter(network: &File) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Waits for something to become true. `what` completes "waited … for".
pub(crate) fn eventually(limit: Duration, what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    started.elapsed()
}

/// Says something about a running test, where nothing captures it.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Runs a program that is given something to read.
fn fed(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that does not read is free to leave before it is written to.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn neighbour(room: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{room}/ns/net")).arg(program);
    command
}

fn run_fleet(room: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{room}/root/run/fleet"))
}
