//! The probe, with each tool that may be on a host, against a small server.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::Host;
use super::Shell;
use super::environment;
use super::has;
use super::shells;
use super::which;
use crate::config::Health;
use crate::config::HttpProbe;
use crate::config::Probe;
use crate::config::Supervisor;

/// Nothing listens there, and no test is given it.
pub(super) const CLOSED: u16 = 1;

/// Answers every request with a status, until the process ends.
fn server(status: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            read_request(&mut stream);
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
            );
        }
    });
    port
}

/// Takes the request to its end, however many pieces it comes in: what is closed with something unread in
/// it is reset, and the answer is lost with it.
pub(super) fn read_request(stream: &mut impl Read) -> String {
    let mut request = Vec::new();
    let mut piece = [0; 2048];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(length) => request.extend_from_slice(&piece[..length]),
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}

/// Where a program really is: a version manager's stub would not run alone on a PATH.
fn program(name: &str) -> PathBuf {
    if name == "python3" {
        let output = Command::new(name).args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
        return String::from_utf8(output.stdout).unwrap().trim().into();
    }
    which(name).unwrap()
}

/// A host on whose PATH the only tool that can ask is `tool`.
fn host_with(shell: Shell, tool: Option<&str>, probe: Probe) -> Host {
    host_asking(shell, tool, vec![Health { timeout: Duration::from_secs(2), ..Health::of(probe) }])
}

/// The same, with these checks.
pub(super) fn host_asking(shell: Shell, tool: Option<&str>, checks: Vec<Health>) -> Host {
    let mut host = Host::new(shell);
    let bin = host.dir.path().join("bin");
    let basics = [
        "sh", "sed", "awk", "head", "tail", "grep", "timeout", "env", "setsid", "sleep", "cat", "true",
        "readlink", "od", "tr", "fold",
    ];
    for name in basics.into_iter().chain(tool.filter(|tool| !tool.starts_with("busybox"))) {
        let _ = symlink(program(name), bin.join(name));
    }
    if let Some(applet) = tool.and_then(|tool| tool.strip_prefix("busybox ")) {
        symlink(which("busybox").unwrap(), bin.join(applet)).unwrap();
    }
    host.env.insert("PATH".to_owned(), bin.display().to_string());
    // A probe that went through a proxy would fail.
    host.env.insert("http_proxy".to_owned(), "http://127.0.0.1:1/".to_owned());
    host.env.insert("HTTP_PROXY".to_owned(), "http://127.0.0.1:1/".to_owned());
    let mut env = environment(Supervisor::None);
    env.health = checks;
    host.prepare("1", &[], &env);
    host.switch("1");
    host
}

fn http(port: u16) -> Probe {
    Probe::Http(HttpProbe::at(format!("http://127.0.0.1:{port}/healthz?x=1&y=2")))
}

#[test]
fn each_tool_tells_a_healthy_app_from_a_sick_one() {
    let (good, moved, bad) = (server("200 OK"), server("302 Found"), server("503 Service Unavailable"));
    for tool in ["curl", "wget", "busybox wget", "node", "python3", "bash"] {
        if !has(tool.split(' ').next().unwrap()) {
            continue;
        }
        for shell in shells() {
            let ask = |port| host_with(shell, Some(tool), http(port)).call("1", "probe_once");
            let (well, redirected) = (ask(good), ask(moved));
            assert!(well.ok && redirected.ok, "{tool} {shell:?} {well:?} {redirected:?}");
            let sick = ask(bad);
            assert!(sick.failure().contains("answered 503"), "{tool} {shell:?} {sick:?}");
            let silent = ask(CLOSED);
            assert!(silent.failure().contains("did not answer: "), "{tool} {shell:?} {silent:?}");
            assert_eq!(silent.output.lines().count(), 1, "{tool} {silent:?}");
        }
    }
}

#[test]
fn each_tool_tells_an_open_port_from_a_closed_one() {
    let open = server("200 OK");
    for tool in ["node", "python3", "bash", "busybox nc", "curl"] {
        if !has(tool.split(' ').next().unwrap()) {
            continue;
        }
        for shell in shells() {
            let ask = |port| {
                let probe = Probe::Tcp { host: "127.0.0.1".to_owned(), port };
                host_with(shell, Some(tool), probe).call("1", "probe_once")
            };
            let accepted = ask(open);
            assert!(accepted.ok, "{tool} {shell:?} {accepted:?}");
            let refused = ask(CLOSED);
            assert!(
                refused.failure().contains("did not accept a connection"),
                "{tool} {shell:?} {refused:?}"
            );
            assert_eq!(refused.output.lines().count(), 1, "{tool} {refused:?}");
        }
    }
}

#[test]
fn without_a_tool_the_client_is_asked_to_probe_and_the_release_passes() {
    for shell in shells() {
        let host = host_with(shell, None, http(CLOSED));
        assert!(host.call("1", "app_check").assert_ok().says("fact probe forward"), "{shell:?}");
        let answer = host.call("1", "app_verify").assert_ok();
        assert!(answer.says("probe-needed 1") && answer.says("proof proven"), "{answer:?}");
        let check = format!("of=1\nkind=http\nurl=http://127.0.0.1:{CLOSED}/healthz?x=1&y=2\ntimeout=2\n");
        let hex: String = check.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(answer.says(&format!("probe-part {hex}")), "{answer:?}");
        let answer = host.call("1", "app_status").assert_ok();
        assert!(answer.says("probe-needed 1") && !answer.says("fact health"), "{answer:?}");
    }
}

#[test]
fn an_app_that_never_answers_fails_when_the_time_for_it_is_over() {
    for shell in shells() {
        let host = host_with(shell, Some("curl"), http(CLOSED));
        let answer = host.call("1", "app_verify");
        assert!(answer.failure().contains("did not pass within 2 s"), "{answer:?}");
        assert!(answer.said.is_empty());
    }
}

#[test]
fn an_app_that_becomes_well_in_time_passes() {
    let host = host_with(Shell::Dash, Some("curl"), http(0));
    let ready = host.dir.path().join("ready");
    let mut env = environment(Supervisor::None);
    let probe = Probe::Command(format!(
        "test -e {r}.2 || {{ test -e {r}.1 && : >{r}.2; : >{r}.1; exit 1; }}",
        r = ready.display()
    ));
    env.health = vec![Health { timeout: Duration::from_secs(20), ..Health::of(probe) }];
    let _ = fs::remove_dir_all(host.recipe("1"));
    host.write_recipe("1", &env);
    host.call("1", "app_verify").assert_ok();
}
