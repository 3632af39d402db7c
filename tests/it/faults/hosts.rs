//! Owns three SSH hosts in a process of their own, which is this test program again: a client that is
//! killed, or a test that ends, takes nothing of them along.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use rdeploy::embedded::EmbeddedHost;
use rdeploy::embedded::Sandbox;

use super::agent;
use super::wire::Wire;
use crate::support::find_program;
use crate::support::project::DEPLOY_TO;
use crate::support::project::real_program;
use crate::support::project::write_program;

/// How many there are.
pub(super) const HOSTS: usize = 3;

/// Names the directory of the hosts to the program that is to be them.
const ROLE: &str = "RDEPLOY_TEST_HOSTS";

/// The shell of a host, with the tools that go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    Dash,
    /// With all of BusyBox's tools, and no other.
    BusyBox,
}

impl Shell {
    pub(super) const ALL: [Self; 2] = [Self::Dash, Self::BusyBox];

    /// The program that has to be on this machine.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Dash => "dash",
            Self::BusyBox => "busybox",
        }
    }
}

/// The process of the hosts. Dropping it ends them.
pub(super) struct Hosts {
    process: Child,
    /// Stays open: the test harness in there, too, has things to say.
    _said: BufReader<ChildStdout>,
    dir: PathBuf,
    wires: Vec<Wire>,
    known: String,
}

impl Hosts {
    /// Starts them below a directory.
    pub(super) fn start(dir: &Path, shell: Shell) -> Self {
        let mut process = serve(dir, shell);
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let (mut wires, mut known) = (Vec::new(), String::new());
        while wires.len() < HOSTS {
            let mut line = String::new();
            let bytes = said.read_line(&mut line).unwrap();
            assert!(bytes > 0, "the hosts did not come up; what they said is above");
            let Some(host) = line.strip_prefix("host-listens ") else { continue };
            let (port, key) = host.split_once(' ').unwrap();
            let wire = Wire::to(port.parse().unwrap());
            let (_, key) = key.split_once(' ').unwrap();
            known.push_str(&format!("[127.0.0.1]:{} {key}", wire.port()));
            wires.push(wire);
        }
        fs::write(dir.join("known_hosts"), &known).unwrap();
        Self { process, _said: said, dir: dir.to_owned(), wires, known }
    }

    /// What `deploy.toml` says of them; `first` leaves all others out.
    pub(super) fn config(&self, first: bool) -> String {
        let dir = self.dir.display();
        let host = |(n, wire): (usize, &Wire)| {
            format!("  {{ address = \"u@127.0.0.1:{}\", roles = [\"h{}\"] }},\n", wire.port(), n + 1)
        };
        let hosts: String =
            self.wires.iter().enumerate().take(if first { 1 } else { HOSTS }).map(host).collect();
        format!(
            "[ssh]\nidentity = [\"{dir}/login_key\"]\nknown_hosts = [\"{dir}/known_hosts\"]\n\
             connect_timeout = \"60s\"\n\n[env.prod]\nhosts = [\n{hosts}]\n"
        )
    }

    /// The way to host `n`, from 1.
    pub(super) fn wire(&self, n: usize) -> &Wire {
        &self.wires[n - 1]
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // The end of its input is its end; waiting for it leaves nothing behind.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// `deploy_to` on host `n`.
pub(super) fn tree(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("host{n}/fs{DEPLOY_TO}"))
}

/// Where host `n` is told what fault is to strike.
pub(super) fn faults(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("host{n}/fault"))
}

/// Lets the agents that are started from now on lack a function.
pub(super) fn cut_out(dir: &Path, function: Option<&str>) {
    for n in 1..=HOSTS {
        let patch = agent::patch(&tree(dir, n), function);
        fs::write(dir.join(format!("host{n}/patch")), patch).unwrap();
    }
}

/// Starts the process.
fn serve(dir: &Path, shell: Shell) -> Child {
    for n in 1..=HOSTS {
        prepare(dir, n, shell);
    }
    cut_out(dir, None);
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "faults::hosts::hosts_are_a_process_of_their_own"])
        .env(ROLE, dir)
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Makes a host's directory: its tools, its tree, what its agent gets before it.
fn prepare(dir: &Path, n: usize, shell: Shell) {
    let host = dir.join(format!("host{n}"));
    for name in ["bin", "tools", "tmp", "fault"] {
        fs::create_dir_all(host.join(name)).unwrap();
    }
    fs::create_dir_all(tree(dir, n)).unwrap();
    fs::write(host.join("prelude"), agent::prelude(&faults(dir, n))).unwrap();
    let program = real_program(shell.program());
    let run = match shell {
        Shell::Dash => program.display().to_string(),
        Shell::BusyBox => {
            let list = Command::new(&program).arg("--list").output().unwrap().stdout;
            for applet in String::from_utf8(list).unwrap().lines().filter(|applet| *applet != "sh") {
                symlink(&program, host.join("bin").join(applet)).unwrap();
            }
            format!("{} sh", program.display())
        }
    };
    // The agent comes to a shell that reads it and runs it, and never finds one that was kept, for the directory that
    // it would be kept in is not there; every other call names its paths.
    write_program(
        &host.join("tools/sh"),
        &format!(
            r#"case "$1 ${{2-}}" in
    '-c '*'eval "$AGENT_TEXT"'*)
        boot=${{2%eval*}} name=$3 mark=$5
        shift 5
        set -- "$name" {fs}{DEPLOY_TO}/.rdeploy/none/agent "$mark" "$@"
        set -- -c "$boot"'AGENT_TEXT=$(cat {host}/prelude; printf "%s\n" "$AGENT_TEXT" | sed -f {host}/patch) && eval "$AGENT_TEXT"' "$@"
        ;;
    *)
        for word; do
            shift
            case $word in {DEPLOY_TO}/*) word={fs}$word ;; esac
            set -- "$@" "$word"
        done
        ;;
esac
exec {run} "$@""#,
            host = host.display(),
            fs = host.join("fs").display(),
        ),
    );
}

/// The PATH of host `n`.
fn path(dir: &Path, n: usize) -> String {
    let host = dir.join(format!("host{n}"));
    let (tools, bin) = (host.join("tools"), host.join("bin"));
    let has_tools = fs::read_dir(&bin).unwrap().next().is_some();
    let system = if has_tools { String::new() } else { std::env::var("PATH").unwrap_or_default() };
    format!("{}:{}:{system}", tools.display(), bin.display()).trim_end_matches(':').to_owned()
}

/// Is the hosts until nobody wants them any more.
fn be_the_hosts(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let sandbox = Sandbox::in_dir(dir).unwrap();
    let mut hosts = Vec::new();
    for n in 1..=HOSTS {
        let number = u8::try_from(n).unwrap();
        let mut options = sandbox.host(number).unwrap().options(&sandbox.login_key().unwrap()).unwrap();
        options.path = Some(path(dir, n).into());
        options.env.push(("TMPDIR".into(), format!("{}/host{n}/tmp", dir.display())));
        let host = runtime.block_on(EmbeddedHost::start(options)).unwrap();
        let mut out = std::io::stdout();
        write!(out, "\nhost-listens {} {}", host.address().port(), host.host_key_line()).unwrap();
        out.flush().unwrap();
        hosts.push(host);
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(hosts);
    runtime.shutdown_background();
}

/// Both sides of it: with the variable set, this is the other process.
#[test]
fn hosts_are_a_process_of_their_own() {
    if let Some(dir) = std::env::var_os(ROLE) {
        return be_the_hosts(Path::new(&dir));
    }
    let Some(_) = find_program("dash") else {
        return crate::support::skip("hosts_are_a_process_of_their_own", "there is no dash");
    };
    let dir = tempfile::tempdir().unwrap();
    let hosts = Hosts::start(&dir.path().canonicalize().unwrap(), Shell::Dash);
    assert_ne!(hosts.process.id(), std::process::id());
    assert_eq!(hosts.known.lines().count(), HOSTS);
}
