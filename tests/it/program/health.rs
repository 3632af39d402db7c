//! Health checks as a user has them: several, one that was never right, and hosts that cannot ask.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Mutex;

use crate::support::project::Project;
use crate::support::project::files;

use super::before::Before;

#[test]
fn a_check_that_never_passed_is_pointed_out_before_the_switch_and_in_the_failure() {
    let project = Project::files(1, "");
    let before = Before::version_1(&project, 1);
    let checks = "[[health]]\ncommand = \"grep version public/index.html\"\n\n[[health]]\ncommand = \"cat public/healthz\"\ntimeout = \"1s\"\n";
    project.configure(&files(1, checks));
    let shown = project.rdeploy(&["dev", "check"]).run().ends_with(0).to_string();
    assert!(shown.contains("the command "), "{shown}");
    let ended = project.rdeploy(&["dev"]).run().ends_with(5);
    insta::assert_snapshot!(ended, @r"
    exit code: 5
    --- stdout
    deploy of shop on dev: host1
    local | packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    host1 | uploaded [SIZE]
    host1 | preparing
    host1 | note: health check 2 of 2 (cat public/healthz) does not pass with the release that runs now either: the health command ended with status 1: cat: public/healthz: No such file or directory. If the deploy fails by it, look at the check itself first
    host1 | switching
    host1 | current is now [RELEASE-----2]
    host1 | verifying
    host1 | failed: health check 2 of 2 (cat public/healthz) did not pass within 1 s. The last answer: the health command ended with status 1: cat: public/healthz: No such file or directory. It did not pass before the switch either, with the release that ran then: the check itself may be wrong
    host1 | putting back
    host1 | current is now [RELEASE-----1]
    host1 | put back: runs what it ran before
    --- stderr

    error: host[N]: health check 2 of 2 (cat public/healthz) did not pass within 1 s. The last answer: the health command ended with status 1: cat: public/healthz: No such file or directory. It did not pass before the switch either, with the release that ran then: the check itself may be wrong
      hint: mend the cause named above and deploy again

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    ");
    before.stands();
    assert_eq!(project.leftovers(), []);
}

#[test]
fn checks_that_pass_before_and_after_are_not_spoken_of() {
    let project = Project::served(2);
    let page = "[[health]]\nhttp = \"http://127.0.0.1:$PORT/\"\nbody = \"version\"\nstatus = 200\nhost = \"shop.example.com\"\nheaders = { X-Key = \"s3cret\" }\nsuccesses = 2\n\n[[health]]\ncommand = \"test -n \\\"$PORT\\\"\"\n";
    let config = crate::support::project::served("[env.dev]\nembedded = 2\n");
    let (head, rest) = config.split_once("[health]").unwrap();
    let (_, tail) = rest.split_once("[env.dev]").unwrap();
    project.configure(&format!("{head}{page}\n[env.dev]{tail}"));
    project.deploys();
    project.version(2);
    let shown = project.rdeploy(&["dev"]).run().ends_with(0).to_string();
    assert!(!shown.contains("health check"), "{shown}");
    assert_eq!(project.host(1).answer(), "200 version 2");
    let log = project.log();
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn a_host_without_a_program_that_asks_is_asked_through_ssh() {
    let project = Project::new();
    project.version(1);
    project.host(1);
    let socket = project.beside("app.sock");
    serve(&socket);
    let checks = |body: &str| {
        format!(
            "[[health]]\nhttp = \"http://shop.example.com/up\"\nsocket = \"{s}\"\nbody = \"{body}\"\nheaders = {{ X-Key = \"s3cret\" }}\ntimeout = \"1s\"\n\n[[health]]\nsocket = \"{s}\"\n",
            s = socket.display()
        )
    };
    project.configure(&files(1, &checks("all is well")));
    let path = programs_that_ask_nothing(&project.beside("programs"));
    let run = |args: &[&str]| project.rdeploy(args).env("PATH", &path).run();
    let shown = run(&["dev", "check"]).ends_with(0).to_string();
    assert!(shown.contains("rdeploy through SSH"), "{shown}");
    run(&["dev"]).ends_with(0);
    let live = project.host(1).live();
    let shown = run(&["dev", "status", "--json"]).ends_with(0).to_string();
    assert!(shown.contains("\"health\": \"well\""), "{shown}");
    project.configure(&files(1, &checks("all is lost")));
    project.version(2);
    let ended = run(&["dev"]).ends_with(5).to_string();
    let told = "health check 1 of 2 (http://shop.example.com/up) did not pass within 1 s (asked through the SSH connection): http://shop.example.com/up answered 200, but without \"all is lost\"";
    assert!(ended.contains(told), "{ended}");
    assert_eq!(project.host(1).live(), live);

    // What is asked is what the release brought, not what is written here by now.
    project.configure(&files(1, &format!("[health]\nsocket = \"{}\"\n", socket.display())));
    run(&["dev"]).ends_with(0);
    project.configure(&files(1, &checks("all is lost")));
    run(&["dev", "--rollback"]).ends_with(0);
    assert_eq!(project.host(1).live(), live);
    *SERVED.lock().unwrap() = "all is gone";
    let shown = run(&["dev", "status"]).ends_with(0).to_string();
    let told = "health check 1 of 2 (http://shop.example.com/up): http://shop.example.com/up answered 200, but without \"all is well\" (asked through the SSH connection)";
    assert!(shown.contains(told), "{shown}");
}

/// What the app answers with now.
static SERVED: Mutex<&str> = Mutex::new("all is well");

/// Answers at a socket who asks for shop.example.com with the key.
fn serve(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut piece = [0; 1024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(length @ 1..) => request.extend_from_slice(&piece[..length]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).to_lowercase();
            let known = request.contains("\r\nhost: shop.example.com\r\n")
                && request.contains("\r\nx-key: s3cret\r\n");
            let status = if known { "200 OK" } else { "403 Forbidden" };
            let _ =
                write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{}\n", SERVED.lock().unwrap());
        }
    });
}

/// A directory with every program there is but those that can ask for a page.
fn programs_that_ask_nothing(dir: &Path) -> String {
    const ASKING: [&str; 6] = ["curl", "wget", "node", "python3", "bash", "nc"];
    fs::create_dir(dir).unwrap();
    for from in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
        for entry in fs::read_dir(from).into_iter().flatten().flatten() {
            if !ASKING.iter().any(|name| entry.file_name() == *name) {
                // The first of a name counts, as on any PATH.
                let _ = symlink(entry.path(), dir.join(entry.file_name()));
            }
        }
    }
    dir.display().to_string()
}
