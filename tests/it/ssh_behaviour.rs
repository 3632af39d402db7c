//! What a connection must do, whatever the host: the embedded one and a real sshd get the same set.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use rdeploy::shell::Command;
use rdeploy::ssh;
use rdeploy::ssh::Ask;
use rdeploy::ssh::ChannelError;
use rdeploy::ssh::Chunk;
use rdeploy::ssh::ConnectError;
use rdeploy::ssh::Connection;
use rdeploy::ssh::Exec;
use rdeploy::ssh::Exit;
use sha2::Digest;
use sha2::Sha256;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::UnixListener;

use crate::support::Place;
use crate::support::askers::Person;

/// Long enough for a busy machine, and far below the limits under test.
const SOON: Duration = Duration::from_secs(30);

/// Connects as `person` answers.
pub(crate) async fn try_connect(place: &Place, person: &Arc<Person>) -> Result<Connection, ConnectError> {
    let ask: Arc<dyn Ask> = Arc::clone(person) as Arc<dyn Ask>;
    ssh::connect_in(&place.target, &place.settings, &ask, &place.surroundings).await
}

/// Connects, with nobody to ask.
pub(crate) async fn connect(place: &Place) -> Connection {
    try_connect(place, &Person::nobody()).await.unwrap()
}

fn sh(script: &str) -> Command {
    Command::sh(script, [])
}

fn code(code: u32) -> Exit {
    Exit { code: Some(code), signal: None }
}

async fn rest(mut exec: Exec) -> (Vec<u8>, Vec<u8>, Exit) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(chunk) = exec.output.next().await {
        match chunk {
            Chunk::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            Chunk::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            Chunk::Ended(exit) => return (stdout, stderr, exit),
        }
    }
    panic!("the output ended without saying how the command did");
}

/// Runs the whole set. Much of it is about not hanging, hence the limit.
pub(crate) async fn behaves(place: &Place) {
    tokio::time::timeout(Duration::from_secs(300), whole_set(place)).await.expect("something hangs");
}

async fn whole_set(place: &Place) {
    let connection = connect(place).await;
    streams_and_exit(&connection).await;
    a_shell_that_was_started_ahead_becomes_the_next_command(&connection).await;
    output_that_follows_the_exit_is_kept(&connection).await;
    a_large_upload_arrives_whole(&connection).await;
    an_upload_to_a_command_that_ends_fails_at_once(&connection).await;
    an_echo_larger_than_every_buffer_does_not_stall(&connection).await;
    a_reader_that_waits_blocks_nobody_else(&connection).await;
    many_commands_at_once_queue(&connection).await;
    dropped_commands_leave_no_channel_behind(&connection).await;
    dropping_the_input_ends_it(&connection).await;
    a_port_can_be_reached(&connection).await;
    a_socket_can_be_reached(&connection).await;
    connection.close().await;
}

async fn streams_and_exit(connection: &Connection) {
    let word = "it's $(id) \"and\" a\nnewline";
    let command = Command::sh(r#"printf %s "$1"; cat; printf err >&2; exit 7"#, [word.to_owned()]);
    let output = connection.run(&command, Bytes::from_static(b" and input")).await.unwrap();
    assert_eq!(output.stdout, format!("{word} and input"));
    assert_eq!(output.stderr, "err");
    assert_eq!(output.exit, code(7));

    let output = connection.run(&sh("kill -KILL $$"), Bytes::new()).await.unwrap();
    assert_eq!(output.exit, Exit { code: None, signal: Some("KILL".into()) });

    let output = connection.run(&Command::new("true"), Bytes::new()).await.unwrap();
    assert!(output.exit.success());
}

async fn a_shell_that_was_started_ahead_becomes_the_next_command(connection: &Connection) {
    let input = Bytes::from_static(b" \\n'\0 and\nlines\n");
    connection.start_ahead();
    // There is one of them at a time.
    connection.start_ahead();
    let one_line = r#"it's $(id) \n "and"  "#;
    let ahead = Command::sh(r#"printf '%s|' "$1"; cat; printf err >&2; exit 7"#, [one_line.to_owned()]);
    let output = connection.run(&ahead, input.clone()).await.unwrap();
    assert_eq!(output.stdout, [format!("{one_line}|").as_bytes(), &input].concat());
    assert_eq!((output.stderr, output.exit), (Bytes::from_static(b"err"), code(7)));

    // A command of several lines starts anew and leaves it for the next.
    connection.start_ahead();
    let lines = connection.run(&sh("echo a\necho b"), Bytes::new()).await.unwrap();
    assert_eq!(lines.stdout, "a\nb\n");
    let output = connection.run(&Command::new("cat"), input.clone()).await.unwrap();
    assert_eq!((output.stdout, output.exit), (input, code(0)));

    // What nobody needs ends with the connection.
    connection.start_ahead();
}

async fn output_that_follows_the_exit_is_kept(connection: &Connection) {
    // The background process holds the output, and writes once its parent is gone.
    let script = "parent=$$; (while kill -0 $parent; do :; done 2>/dev/null; echo late >&2) & exit 3";
    let output = connection.run(&sh(script), Bytes::new()).await.unwrap();
    assert_eq!((output.stderr, output.exit), (Bytes::from_static(b"late\n"), code(3)));
}

async fn a_large_upload_arrives_whole(connection: &Connection) {
    let block: Bytes = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect::<Vec<_>>().into();
    let mut exec = connection.exec(&Command::new("sha256sum")).await.unwrap();
    for _ in 0..64 {
        exec.stdin.write(block.clone()).await.unwrap();
    }
    exec.stdin.close().await.unwrap();
    let (stdout, _, exit) = rest(exec).await;
    let mut hash = Sha256::new();
    (0..64).for_each(|_| hash.update(&block));
    let expected: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(String::from_utf8(stdout).unwrap(), format!("{expected}  -\n"));
    assert!(exit.success());
}

async fn an_upload_to_a_command_that_ends_fails_at_once(connection: &Connection) {
    let block = Bytes::from(vec![0; 1 << 20]);
    let mut exec = connection.exec(&sh("head -c 100000 >/dev/null; echo full >&2; exit 3")).await.unwrap();
    let started = Instant::now();
    let error = loop {
        if let Err(error) = exec.stdin.write(block.clone()).await {
            break error;
        }
    };
    assert!(matches!(error, ChannelError::Ended { .. }), "{error:?}");
    assert!(started.elapsed() < SOON);
    assert_eq!(rest(exec).await, (vec![], b"full\n".to_vec(), code(3)));
}

async fn an_echo_larger_than_every_buffer_does_not_stall(connection: &Connection) {
    let input = Bytes::from(vec![b'x'; 16 << 20]);
    let output = connection.run(&Command::new("cat"), input.clone()).await.unwrap();
    assert_eq!(output.stdout.len(), input.len());
    assert!(output.exit.success());
}

async fn a_reader_that_waits_blocks_nobody_else(connection: &Connection) {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag").display().to_string();
    let size = 24 << 20;
    let unread = connection.exec(&sh(&format!("head -c {size} /dev/zero"))).await.unwrap();
    // Reads its input, more than a window holds, only when it is told to.
    let script = r#"while [ -d "${1%/*}" ] && [ ! -e "$1" ]; do sleep 0.02; done; wc -c"#;
    let mut deaf = connection.exec(&Command::sh(script, [flag.clone()])).await.unwrap();
    let upload = tokio::spawn(async move {
        for _ in 0..12 {
            deaf.stdin.write(Bytes::from(vec![0; 1 << 20])).await.unwrap();
        }
        deaf.stdin.close().await.unwrap();
        rest(deaf).await
    });
    let output = connection.run(&sh("echo here"), Bytes::new()).await.unwrap();
    assert_eq!(output.stdout, "here\n");
    connection.run(&Command::new("touch").arg(flag), Bytes::new()).await.unwrap();
    let (counted, _, exit) = upload.await.unwrap();
    assert_eq!(String::from_utf8_lossy(&counted).trim(), (12 << 20).to_string());
    assert!(exit.success());
    let (stdout, _, exit) = rest(unread).await;
    assert_eq!((stdout.len(), exit), (size, code(0)));
}

async fn many_commands_at_once_queue(connection: &Connection) {
    let runs: Vec<_> = (0..20)
        .map(|n| {
            let connection = connection.clone();
            tokio::spawn(async move {
                let input = format!("{n} ").repeat(10_000);
                (connection.run(&Command::new("cat"), input.clone().into()).await, input)
            })
        })
        .collect();
    for run in runs {
        let (output, input) = run.await.unwrap();
        let output = output.unwrap();
        assert_eq!(output.stdout, input);
        assert!(output.exit.success());
    }
}

async fn dropped_commands_leave_no_channel_behind(connection: &Connection) {
    for _ in 0..50 {
        drop(connection.exec(&Command::new("cat")).await.unwrap());
    }
    let output = connection.run(&sh("echo still"), Bytes::new()).await.unwrap();
    assert_eq!(output.stdout, "still\n");
}

async fn dropping_the_input_ends_it(connection: &Connection) {
    let Exec { mut stdin, mut output } = connection.exec(&sh("cat; echo end")).await.unwrap();
    stdin.write(Bytes::from_static(b"one\n")).await.unwrap();
    drop(stdin);
    let mut seen = Vec::new();
    while let Some(chunk) = output.next().await {
        match chunk {
            Chunk::Stdout(bytes) => seen.extend_from_slice(&bytes),
            other => assert_eq!(other, Chunk::Ended(code(0))),
        }
    }
    assert_eq!(seen, b"one\nend\n");
}

async fn a_socket_can_be_reached(connection: &Connection) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        socket.read_to_end(&mut request).await.unwrap();
        socket.write_all(&request).await.unwrap();
    });
    let path = path.display().to_string();
    let mut stream = connection.forward_socket(&path).await.unwrap();
    stream.write_all(b"are you well?").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"are you well?");
    server.await.unwrap();

    let refused = connection.forward_socket(&format!("{path}.none")).await.err().unwrap();
    assert!(matches!(refused, ChannelError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&path), "{refused}");
}

async fn a_port_can_be_reached(connection: &Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        socket.read_to_end(&mut request).await.unwrap();
        socket.write_all(&request).await.unwrap();
    });
    let mut stream = connection.forward_tcp("127.0.0.1", port).await.unwrap();
    let request = vec![b'x'; 5 << 20];
    stream.write_all(&request).await.unwrap();
    // Half closed: the answer is still to come.
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.len(), request.len());
    server.await.unwrap();

    // The listener is gone by now.
    let refused = connection.forward_tcp("127.0.0.1", port).await.err().unwrap();
    assert!(matches!(refused, ChannelError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&port.to_string()), "{refused}");
}

/// Cargo says nothing that stops anybody when a version is wanted that a patch does not fit.
#[test]
fn the_library_is_built_with_the_changed_copy_of_its_crate() {
    let lock = include_str!("../../Cargo.lock");
    let crates: Vec<&str> =
        lock.split("[[package]]").filter(|text| text.contains("name = \"russh-util\"")).collect();
    assert_eq!(crates.len(), 1, "{crates:?}");
    assert!(!crates[0].contains("source = "), "it is the published one: {}", crates[0]);
}
