//! What a check may want of a question and of its answer, with each tool that may be on a host: done, or
//! left to another tool.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use super::Shell;
use super::has;
use super::probe::CLOSED;
use super::probe::host_asking;
use super::probe::read_request;
use super::shells;
use crate::config::Header;
use crate::config::Health;
use crate::config::HttpProbe;
use crate::config::Probe;
use crate::config::Statuses;

const TOOLS: [&str; 6] = ["curl", "wget", "busybox wget", "node", "python3", "bash"];

/// No other test sends this.
const SECRET: &str = r#"Bearer "s3cret\of#ask" x"#;

/// Answers a request by its path.
///
/// `/STATUS` is answered with that status, and with a page in two chunks, so that a text in it is found by
/// who puts them together; `/host` wants to be asked for at shop.example.com, `/secret` wants the header,
/// and that it is in no argument of any process.
fn answer(mut stream: impl Read + Write) {
    let request = read_request(&mut stream);
    let line = |start: &str| request.lines().find_map(|line| line.strip_prefix(start));
    let path = request.split(' ').nth(1).unwrap_or_default();
    let status = match path {
        "/host?x=1" if line("Host: ") == Some("shop.example.com:8080") => "200 OK",
        "/host?x=1" => "421 Misdirected Request",
        "/secret" if line("Authorization: ") != Some(SECRET) || line("X-Key: ") != Some("2") => "401 No",
        "/secret" if in_arguments("s3cret\\of#ask") => "500 Seen",
        "/secret" => "200 OK",
        other => &format!("{} Said", other.trim_start_matches('/')),
    };
    let moved = if status.starts_with('3') { "Location: http://127.0.0.1:1/\r\n" } else { "" };
    let head = format!("HTTP/1.1 {status}\r\n{moved}Content-Type: text/plain\r\nConnection: close\r\n");
    let (first, second) = ("first line\nall is \"we", "ll\" \\ ü here\nlast line");
    let _ = if request.contains(" HTTP/1.0\r\n") {
        write!(stream, "{head}\r\n{first}{second}")
    } else {
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        write!(stream, "{head}Transfer-Encoding: chunked\r\n\r\n{}{}0\r\n\r\n", chunk(first), chunk(second))
    };
}

/// Whether a process shows a text to everybody on the host.
fn in_arguments(text: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(text)
    })
}

/// Answers at a port of its own until the test process ends.
fn server() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

/// Answers at a socket.
fn socket_server(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
}

fn page(port: u16, path: &str) -> HttpProbe {
    HttpProbe::at(format!("http://127.0.0.1:{port}{path}"))
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: value.to_owned() }
}

fn statuses(ranges: &[(u16, u16)]) -> Vec<Statuses> {
    ranges.iter().map(|(from, to)| Statuses { from: *from, to: *to }).collect()
}

/// Asks each check once; `STATUS LINE` of each, where 2 is "no tool here".
fn asked(shell: Shell, tool: &str, probes: impl IntoIterator<Item = Probe>) -> Vec<String> {
    let checks: Vec<Health> = probes.into_iter().map(Health::of).collect();
    let ask: String =
        (1..=checks.len()).map(|n| format!("said=$(probe_once {n}); echo \"$? $said\"\n")).collect();
    let host = host_asking(shell, Some(tool), checks);
    let answer = host.call("1", &ask).assert_ok();
    answer.output.lines().map(str::to_owned).collect()
}

/// Has each tool there is ask, under each shell.
fn each(tools: &[&str], test: impl Fn(Shell, &str)) {
    for tool in tools {
        if has(tool.split(' ').next().unwrap()) {
            shells().into_iter().for_each(|shell| test(shell, tool));
        }
    }
}

#[test]
fn each_tool_tells_the_statuses_that_are_wanted_from_the_others() {
    let port = server();
    each(&TOOLS, |shell, tool| {
        let wants = |path: &str, ranges: &[(u16, u16)]| {
            Probe::Http(HttpProbe { status: statuses(ranges), ..page(port, path) })
        };
        let said = asked(
            shell,
            tool,
            [
                wants("/503", &[(503, 503)]),
                wants("/204", &[(200, 202), (204, 299)]),
                wants("/203", &[(200, 202), (204, 299)]),
                wants("/302", &[(200, 299)]),
                wants("/401", &[(401, 401)]),
            ],
        );
        let expected = [
            "0 ".to_owned(),
            "0 ".to_owned(),
            format!("1 http://127.0.0.1:{port}/203 answered 203; expected is 200-202 204-299"),
            format!("1 http://127.0.0.1:{port}/302 answered 302"),
            "0 ".to_owned(),
        ];
        assert_eq!(said, expected, "{tool} {shell:?}");
    });
}

#[test]
fn each_tool_finds_a_text_in_the_answer_or_leaves_that_to_another() {
    let port = server();
    each(&TOOLS, |shell, tool| {
        let wants = |path: &str, text: &str, ranges: &[(u16, u16)]| {
            let (body, status) = (Some(text.to_owned()), statuses(ranges));
            Probe::Http(HttpProbe { body, status, ..page(port, path) })
        };
        let success = &[(200, 299)];
        let said = asked(
            shell,
            tool,
            [
                wants("/200", r#"is "well" \ ü he"#, success),
                wants("/200", "first line", success),
                wants("/200", "last line", success),
                wants("/200", "200", success),
                wants("/200", "text/plain", success),
                wants("/500", "last line", success),
                wants("/503", "last line", &[(503, 503)]),
                Probe::Http(HttpProbe {
                    body: Some("x".to_owned()),
                    status: statuses(success),
                    ..page(CLOSED, "/")
                }),
            ],
        );
        if tool == "busybox wget" {
            assert!(said.iter().all(|line| line == "2 "), "{said:?}");
            return;
        }
        let missing =
            |text: &str| format!("1 http://127.0.0.1:{port}/200 answered 200, but without \"{text}\"");
        let expected =
            ["0 ".to_owned(), "0 ".to_owned(), "0 ".to_owned(), missing("200"), missing("text/plain")];
        assert_eq!(said[..5], expected, "{tool} {shell:?}");
        assert_eq!(said[5], format!("1 http://127.0.0.1:{port}/500 answered 500"), "{tool} {shell:?}");
        let other = if tool == "wget" { "2 " } else { "0 " };
        assert_eq!(said[6], other, "{tool} {shell:?}");
        assert!(said[7].contains("did not answer: "), "{tool} {shell:?} {said:?}");
    });
}

#[test]
fn each_tool_asks_for_another_host_than_that_of_the_address() {
    let port = server();
    each(&TOOLS, |shell, tool| {
        let host = Some("shop.example.com:8080".to_owned());
        let named = Probe::Http(HttpProbe { host, ..page(port, "/host?x=1") });
        let plain = Probe::Http(page(port, "/host?x=1"));
        let said = asked(shell, tool, [named, plain]);
        let misdirected = format!("1 http://127.0.0.1:{port}/host?x=1 answered 421");
        assert_eq!(said, ["0 ".to_owned(), misdirected], "{tool} {shell:?}");
    });
}

#[test]
fn headers_are_sent_and_are_in_no_argument_of_any_process() {
    let port = server();
    each(&TOOLS, |shell, tool| {
        let headers = vec![header("Authorization", SECRET), header("X-Key", "2")];
        let with = Probe::Http(HttpProbe { headers, ..page(port, "/secret") });
        let headers = vec![header("Authorization", "Basic other"), header("User-Agent", "health/1")];
        let other = Probe::Http(HttpProbe { headers, ..page(port, "/secret") });
        let said = asked(shell, tool, [with, other]);
        let expected = match tool {
            "busybox wget" => ["2 ".to_owned(), "2 ".to_owned()],
            _ => ["0 ".to_owned(), format!("1 http://127.0.0.1:{port}/secret answered 401")],
        };
        assert_eq!(said, expected, "{tool} {shell:?}");
    });
}

#[test]
fn a_socket_is_asked_through_by_the_tools_that_can() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    socket_server(&path);
    let path = path.display().to_string();
    each(&TOOLS, |shell, tool| {
        let through = |socket: &str, url: &str| {
            let socket = Some(socket.to_owned());
            Probe::Http(HttpProbe { socket, ..HttpProbe::at(format!("http://localhost{url}")) })
        };
        let said = asked(
            shell,
            tool,
            [
                through(&path, "/200"),
                through(&path, "/500"),
                through("/none.sock", "/200"),
                Probe::Socket(path.clone()),
                Probe::Socket("/none.sock".to_owned()),
            ],
        );
        if !matches!(tool, "curl" | "node" | "python3") {
            assert!(said.iter().all(|line| line == "2 "), "{tool} {said:?}");
            return;
        }
        assert_eq!(said[0], "0 ", "{tool} {shell:?}");
        assert_eq!(said[1], format!("1 http://localhost/500 at {path} answered 500"), "{tool} {shell:?}");
        let silent = "1 http://localhost/200 at /none.sock did not answer: ";
        assert!(said[2].starts_with(silent), "{tool} {shell:?} {said:?}");
        assert_eq!(said[3], "0 ", "{tool} {shell:?}");
        let closed = "1 the socket /none.sock did not accept a connection: ";
        assert!(said[4].starts_with(closed), "{tool} {shell:?} {said:?}");
    });
}

#[test]
fn a_socket_may_lead_through_current_below_a_long_deploy_to() {
    for (tool, shell) in [("curl", Shell::Dash), ("node", Shell::Bash), ("python3", Shell::Dash)] {
        if !has(tool) {
            continue;
        }
        let socket = Some("current/tmp/app.sock".to_owned());
        let page = HttpProbe { socket, ..HttpProbe::at("http://localhost/200".to_owned()) };
        let checks = [Probe::Http(page), Probe::Socket("current/tmp/app.sock".to_owned())];
        let host = host_asking(shell, Some(tool), checks.map(Health::of).to_vec());
        // Of the whole path the kernel would say that it is too long.
        let deep = host.root().join("d".repeat(120));
        let live = deep.join("release");
        fs::create_dir_all(live.join("tmp")).unwrap();
        let short = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(&live, short.path().join("live")).unwrap();
        socket_server(&short.path().join("live/tmp/app.sock"));
        std::os::unix::fs::symlink(&live, deep.join("current")).unwrap();
        let deep = deep.display().to_string();
        host.call_with("1", "cd / && probe_all", &[("ROOT", &deep)]).assert_ok();
    }
}
