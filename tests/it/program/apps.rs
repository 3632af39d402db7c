//! Apps that do not come up: every host goes back to the app it ran, which has to answer again.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;

use crate::support::project::Project;
use crate::support::project::RDEPLOY;
use crate::support::running::Ended;

use super::before::Before;

/// Deploys version 1, then version 2 with another start command; it has to fail.
fn started_by(start: &str) -> (Project, Ended) {
    let (project, before) = version_1();
    replace(&project, &served_by(), &format!("start  = '''{start}'''"));
    let ended = project.rdeploy(&["dev"]).run().ends_with(5);
    before.stands();
    (project, ended)
}

/// A served project with a short patience.
fn version_1() -> (Project, Before) {
    let project = Project::served(2);
    let before = Before::version_1(&project, 2);
    replace(&project, "\"20s\"", "\"1s\"");
    replace(&project, "\"0s\"", "\"1s\"");
    (project, before)
}

fn served_by() -> String {
    format!("start  = '''nohup {RDEPLOY} serve public --port \"$PORT\" >run/log 2>&1 & echo $! >run/pid'''")
}

fn replace(project: &Project, from: &str, to: &str) {
    let config = fs::read_to_string(project.file("deploy.toml")).unwrap();
    assert!(config.contains(from), "{config}");
    project.configure(&config.replace(from, to));
}

#[test]
fn an_app_that_crashes_at_once_is_put_back() {
    let (_project, ended) = started_by("echo listening soon; (exit 1) & echo $! >run/pid");
    insta::assert_snapshot!(ended.failure(), @r#"
    error: host[N]: listening soon
      it wrote:
      | the app did not come up within 2 s: the status command says that the app is not up (status 1):
      | the last lines of the last start, restart or stop:
      | listening soon
      hint: mend the cause named above and deploy again

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
}

#[test]
fn an_app_that_never_listens_is_put_back() {
    let (_project, ended) = started_by("nohup sleep 1000 >/dev/null 2>&1 & echo $! >run/pid");
    insta::assert_snapshot!(ended.failure(), @r#"
    error: host[N]: the health check did not pass within 1 s. The last answer: http://127.0.0.1:[APP]/ did not answer: curl: (7) Failed to connect to 127.0.0.1 port [PORT] after [T]: Couldn't connect to server
      hint: mend the cause named above and deploy again

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
}

#[test]
fn a_start_command_that_fails_is_shown_with_what_it_wrote() {
    let (_project, ended) = started_by("echo cannot open the database >&2; exit 7");
    insta::assert_snapshot!(ended.failure(), @r#"
    error: the start command failed with status 7 in [ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/current. Its last lines follow; run it there by hand to see more.
      it wrote:
      | cannot open the database
      hint: mend the cause named above and deploy again

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
}

#[test]
fn an_app_that_answers_with_an_error_is_put_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let (project, before) = version_1();
    replace(&project, "127.0.0.1:$PORT", &format!("127.0.0.1:{port}"));
    let ended = project.rdeploy(&["dev"]).run().ends_with(5);
    insta::assert_snapshot!(ended.failure(), @r#"
    error: host[N]: the health check did not pass within 1 s. The last answer: http://127.0.0.1:[PORT]/ answered 500. It did not pass before the switch either, with the release that ran then: the check itself may be wrong
      hint: mend the cause named above and deploy again

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----1]
      host2  put back  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
    before.stands();
}

#[test]
fn a_first_deploy_that_fails_leaves_nothing_running_and_nothing_live() {
    let project = Project::served(2);
    replace(&project, "\"20s\"", "\"1s\"");
    fs::remove_file(project.file("public/index.html")).unwrap();
    project.write("public/other.html", "");
    let ended = project.rdeploy(&["dev"]).run().ends_with(5);
    insta::assert_snapshot!(ended.failure(), @r#"
    error: host[N]: the health check did not pass within 1 s. The last answer: http://127.0.0.1:[APP]/ answered 404
      hint: mend the cause named above and deploy again

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  none
      host2  put back  none

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
    for host in [project.host(1), project.host(2)] {
        assert_eq!(host.live(), None);
        assert_eq!(host.answer(), "nothing (ConnectionRefused)");
        host.is_clean();
    }
    assert_eq!(project.leftovers(), []);
}

#[test]
fn the_app_goes_on_running_after_the_command_and_knows_its_port() {
    let project = Project::served(2);
    project.deploys();
    let [one, two] = [project.host(1), project.host(2)];
    assert_eq!((one.answer().as_str(), two.answer().as_str()), ("200 version 1", "200 version 1"));
    assert_ne!(one.port, two.port);
    assert_eq!(
        one.read("shared/run/log").trim(),
        format!("serving public on http://127.0.0.1:{}", one.port.unwrap())
    );
}
