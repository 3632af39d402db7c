//! Real requests over TCP: what is asked is written byte for byte, because clients tidy paths up.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

const SECRET: &str = "nobody's business";

/// A server, a directory of its own, and what lies beside it.
struct Running {
    directory: TempDir,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

impl Running {
    /// Serves `current`, a link to `releases/1`.
    async fn start() -> Self {
        Self::start_with(DRAIN).await
    }

    async fn start_with(drain: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = directory.path().join("releases/1");
        for (path, content) in [
            ("index.html", "<h1>home</h1>"),
            ("app.css", "body {}"),
            ("a b/index.html", "spaced"),
            ("a b/é.txt", "accent"),
            ("empty/readme.md", "no index here"),
            (".env", SECRET),
            (".git/config", SECRET),
            (".well-known/acme", "token"),
        ] {
            let path = site.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::write(directory.path().join("secret.txt"), SECRET).unwrap();
        fs::create_dir(directory.path().join("releases/11")).unwrap();
        fs::write(directory.path().join("releases/11/secret.txt"), SECRET).unwrap();
        symlink("../../secret.txt", site.join("leads-out.txt")).unwrap();
        symlink("/", site.join("leads-to-root")).unwrap();
        symlink("../11", site.join("leads-to-neighbour")).unwrap();
        symlink("app.css", site.join("stays-inside.css")).unwrap();
        symlink("loop", site.join("loop")).unwrap();
        symlink("releases/1", directory.path().join("current")).unwrap();
        let server =
            Server::bind(&directory.path().join("current"), ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = server.address;
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(server.run(stopped, drain));
        Self { directory, address, stop, task }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    async fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        answer(&bytes)
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.send(&format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

fn answer(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let headers = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers, body: bytes[end + 4..].to_vec() }
}

#[tokio::test]
async fn files_and_directories_are_answered_with_their_type_and_size() {
    let server = Running::start().await;
    for (path, content, content_type) in [
        ("/", "<h1>home</h1>", "text/html; charset=utf-8"),
        ("/index.html", "<h1>home</h1>", "text/html; charset=utf-8"),
        ("/app.css?v=1#x", "body {}", "text/css; charset=utf-8"),
        ("/stays-inside.css", "body {}", "text/css; charset=utf-8"),
        ("/a%20b/", "spaced", "text/html; charset=utf-8"),
        ("/a%20b//%C3%A9.txt", "accent", "text/plain; charset=utf-8"),
        ("/.well-known/acme", "token", "application/octet-stream"),
    ] {
        let got = server.get(path).await;
        assert_eq!((got.status, got.text().as_str()), (200, content), "{path}");
        assert_eq!(got.header("content-type"), Some(content_type), "{path}");
        assert_eq!(got.header("content-length"), Some(content.len().to_string().as_str()), "{path}");
        let head = server.ask("HEAD", path, "").await;
        assert_eq!(head.body, b"", "{path}");
        let undated = |headers: &str| {
            headers.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(undated(&head.headers), undated(&got.headers), "{path}");
    }
    server.end().await;
}

#[tokio::test]
async fn nothing_outside_the_directory_and_nothing_hidden_is_served() {
    let server = Running::start().await;
    for path in [
        "/../secret.txt",
        "/../../secret.txt",
        "/..%2f..%2fsecret.txt",
        "/%2e%2e/%2e%2e/secret.txt",
        "/a%20b/../../../secret.txt",
        "/a%20b/%2e%2e/index.html",
        "/..%5c..%5csecret.txt",
        "/leads-out.txt",
        "/leads-to-root/etc/passwd",
        "/leads-to-root/",
        "/leads-to-neighbour/secret.txt",
        "/loop",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/index.html/",
        "/index.html%00.css",
        "/%zz",
        "/empty/",
        "/missing",
        "//etc/passwd",
    ] {
        let got = server.get(path).await;
        assert_eq!((got.status, got.text().as_str()), (404, "not found\n"), "{path}");
    }
    // A proxy's form of a request names a host of its own; the path in it is judged all the same.
    assert_eq!(server.get("http://x/../../secret.txt").await.status, 404);
    assert_eq!(server.get("http://x/app.css").await.text(), "body {}");
    server.end().await;
}

#[tokio::test]
async fn a_directory_without_its_slash_is_a_redirect_on_the_same_host() {
    let server = Running::start().await;
    for (path, location) in [("/a%20b?q=1", "/a%20b/?q=1"), ("//a%20b", "/a%20b/"), ("/empty", "/empty/")] {
        let got = server.get(path).await;
        assert_eq!((got.status, got.header("location")), (307, Some(location)), "{path}");
    }
    server.end().await;
}

#[tokio::test]
async fn other_methods_are_refused_with_the_allowed_ones() {
    let server = Running::start().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let got = server.ask(method, "/", "content-length: 0\r\n").await;
        assert_eq!((got.status, got.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    server.end().await;
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let server = Running::start().await;
    let first = server.get("/app.css").await;
    let (tag, modified) = (first.header("etag").unwrap(), first.header("last-modified").unwrap());
    for (header, status) in [
        (format!("if-none-match: {tag}\r\n"), 304),
        (format!("if-none-match: \"other\", W/{tag}\r\n"), 304),
        (format!("if-none-match: \"other\"\r\nif-none-match: {tag}\r\n"), 304),
        ("if-none-match: *\r\n".to_owned(), 304),
        ("if-none-match: \"other\"\r\n".to_owned(), 200),
        // Tags count more than times.
        (format!("if-none-match: \"other\"\r\nif-modified-since: {modified}\r\n"), 200),
        (format!("if-modified-since: {modified}\r\n"), 304),
        ("if-modified-since: Thu, 01 Jan 2099 00:00:00 GMT\r\n".to_owned(), 304),
        ("if-modified-since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned(), 200),
        ("if-modified-since: yesterday\r\n".to_owned(), 200),
    ] {
        let got = server.ask("GET", "/app.css", &header).await;
        assert_eq!(got.status, status, "{header}");
        assert_eq!(got.header("etag"), Some(tag), "{header}");
        assert_eq!(got.body.is_empty(), status == 304, "{header}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_release_with_the_old_sizes_and_times_is_still_seen_as_new() {
    let server = Running::start().await;
    let path = server.path("releases/1/app.css");
    let old = fs::File::options().write(true).open(&path).unwrap();
    let constant = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    old.set_modified(constant).unwrap();
    let first = server.get("/app.css").await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, "body []").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(constant).unwrap();
    let tag = first.header("etag").unwrap();
    let got = server.ask("GET", "/app.css", &format!("if-none-match: {tag}\r\n")).await;
    assert_eq!((got.status, got.text().as_str()), (200, "body []"));
    let got = server.ask("GET", "/app.css", "if-modified-since: Thu, 01 Jan 1970 00:01:00 GMT\r\n").await;
    assert_eq!(got.status, 200);
    // The same content in another file has the same tag, so a deploy that left it alone costs nothing.
    fs::write(server.path("releases/1/copy.css"), "body []").unwrap();
    let copy = server.get("/copy.css").await;
    assert_eq!(copy.header("etag"), server.get("/app.css").await.header("etag"));
    server.end().await;
}

#[tokio::test]
async fn a_large_file_arrives_whole_on_a_connection_that_goes_on() {
    let server = Running::start().await;
    let content: Vec<u8> = (0..9_000_001_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    fs::write(server.path("releases/1/large.bin"), &content).unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let requests =
        "GET /large.bin HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let both = answer(&bytes);
    assert_eq!(both.header("content-length"), Some("9000001"));
    let (first, second) = both.body.split_at(content.len());
    assert!(first == content);
    assert_eq!(answer(second).text(), "<h1>home</h1>");
    server.end().await;
}

#[tokio::test]
async fn the_release_stays_the_one_the_server_was_started_on() {
    let server = Running::start().await;
    fs::create_dir(server.path("releases/2")).unwrap();
    fs::write(server.path("releases/2/index.html"), "new").unwrap();
    symlink("releases/2", server.path("current.new")).unwrap();
    fs::rename(server.path("current.new"), server.path("current")).unwrap();
    assert_eq!(server.get("/").await.text(), "<h1>home</h1>");
    fs::remove_dir_all(server.path("releases/1")).unwrap();
    assert_eq!(server.get("/").await.status, 404);
    server.end().await;
}

#[tokio::test]
async fn a_file_that_becomes_shorter_while_it_is_sent_cuts_the_connection() {
    let server = Running::start().await;
    let path = server.path("releases/1/large.bin");
    fs::write(&path, vec![7; 64 << 20]).unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /large.bin HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The answer has begun, and most of it does not fit into the buffers between here and there.
    let mut start = [0; 1];
    stream.read_exact(&mut start).await.unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(1).unwrap();
    let mut bytes = Vec::new();
    // The connection may end with a reset; what matters is that it ends, too early.
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.len() < 64 << 20, "{}", bytes.len());
    server.end().await;
}

#[tokio::test]
async fn stopping_finishes_the_open_request_and_takes_no_more() {
    let server = Running::start().await;
    let content = vec![7; 32 << 20];
    fs::write(server.path("releases/1/large.bin"), &content).unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /large.bin HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 16];
    stream.read_exact(&mut start).await.unwrap();
    let Running { directory: _directory, address, stop, task } = server;
    stop.send(()).unwrap();
    // The listener is closed while the answer is still under way.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished());
    let mut bytes = start.to_vec();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(answer(&bytes).body == content);
    task.await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_on_is_cut_off_after_the_drain() {
    let server = Running::start_with(Duration::from_millis(50)).await;
    fs::write(server.path("releases/1/large.bin"), vec![7; 64 << 20]).unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /large.bin HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 16];
    stream.read_exact(&mut start).await.unwrap();
    let Running { directory: _directory, address: _, stop, task } = server;
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_directory_that_is_missing_or_no_directory_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for dir in [directory.path().join("missing"), file] {
        let error = serve(dir.clone(), 0, Ipv4Addr::LOCALHOST.into()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot serve `{}`", dir.display()));
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = serve(directory.path().to_owned(), port, Ipv4Addr::LOCALHOST.into()).await.unwrap_err();
    assert!(matches!(&error, ServeError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse));
    assert!(error.to_string().contains("choose another port with --port"), "{error}");
}

#[tokio::test]
async fn a_signal_asks_the_server_to_stop() {
    let stop = StopSignals::new().unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
    tokio::time::timeout(Duration::from_secs(20), stop.received()).await.unwrap();
}

#[test]
fn the_arguments_are_read() {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: ServeArgs,
    }
    use clap::Parser;
    let args = Command::parse_from(["serve", "current", "--port", "3000", "--bind", "::1"]).args;
    assert_eq!((args.dir, args.port), (PathBuf::from("current"), 3000));
    assert_eq!(args.bind, IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
}
