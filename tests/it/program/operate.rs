//! `status`, `logs`, `restart`, `start` and `stop`: the app that is live, without a deploy.

use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::Value;

use crate::support::project::Project;
use crate::support::project::eventually;
use crate::support::project::served;
use crate::support::shown::by_host;
use crate::support::shown::squeezed;

/// A web server on two hosts, one after the other, that says where it writes. While there is a file `broken`
/// it cannot be started; while there is a file `closed` its start says so and waits.
fn project() -> Project {
    let project = Project::new();
    project.write("public/index.html", "version 1\n");
    let [broken, closed, waits] = ["broken", "closed", "waits"].map(|name| project.beside(name));
    let start = format!(
        "start  = '''[ ! -e {} ] || {{ echo out of beans; exit 1; }}; while [ -e {} ]; do echo >{}; sleep 0.05; done; ",
        broken.display(),
        closed.display(),
        waits.display()
    );
    let config = served("[env.dev]\nembedded = 2\nrollout = { batch = 1 }\n")
        .replace("start  = '''", &start)
        .replace("[health]", "logs   = \"run/log\"\n\n[health]");
    project.configure(&config);
    for n in 1..=2 {
        project.host(n);
    }
    project
}

fn status(project: &Project) -> Value {
    let ended = project.rdeploy(&["dev", "status", "--json"]).run().ends_with(0);
    serde_json::from_str(&ended.out).unwrap()
}

fn pid(status: &Value, host: usize) -> Option<u64> {
    status["hosts"][host - 1]["processes"][0]["pid"].as_u64()
}

#[test]
fn the_status_of_an_app_is_shown_before_and_after_it_is_deployed_and_when_it_is_ill() {
    let project = project();
    insta::assert_snapshot!(project.rdeploy(&["dev", "status"]).run(), @r"
    exit code: 0
    --- stdout
    host   release  state  commit  processes  up for  restarts  memory  health
    host1  none     -      -       none       -       -         -       -
    host2  none     -      -       none       -       -         -       -
    --- stderr
    ");
    project.rdeploy(&["dev", "restart"]).run().ends_with(3).tells("host1: nothing is deployed there");
    project.deploys();
    let now = status(&project);
    assert_eq!(now["same_release"], true);
    for (n, host) in [1u8, 2].into_iter().zip(now["hosts"].as_array().unwrap()) {
        let live = project.host(n).live().unwrap();
        assert_eq!((&host["release"], &host["state"]), (&live.clone().into(), &"good".into()));
        assert_eq!((&host["health"], &host["lock"]), (&"well".into(), &"free".into()));
        let process = &host["processes"][0];
        assert_eq!((&process["state"], &process["release"]), (&"up".into(), &live.into()));
        assert!(process["memory_bytes"].as_u64().unwrap() > 100_000, "{process}");
        assert!(process["uptime_seconds"].as_u64().unwrap() < 60, "{process}");
        assert_eq!(host["remarks"], serde_json::json!([]));
    }

    project.rdeploy(&["dev", "stop", "--hosts", "host2"]).run().ends_with(0).says("host2: stopped");
    let table = project.rdeploy(&["dev", "status"]).run().ends_with(0);
    assert!(table.out.contains("1 down") && table.out.contains("\nhost2: ill: "), "{table}");
    let now = status(&project);
    assert_eq!((&now["hosts"][0]["health"], &now["hosts"][1]["health"]), (&"well".into(), &"ill".into()));
    assert_eq!(pid(&now, 2), None);
}

#[test]
fn an_app_is_restarted_host_by_host_stopped_and_started() {
    let project = project();
    project.deploys();
    let before = status(&project);
    let restarted = project.rdeploy(&["dev", "restart"]).run().ends_with(0);
    insta::assert_snapshot!(restarted, @r"
    exit code: 0
    --- stdout
    host1: restarted; proven: every process runs from the release
    host2: restarted; proven: every process runs from the release
    --- stderr
    ");
    let after = status(&project);
    for n in [1, 2] {
        assert_ne!(pid(&before, n), pid(&after, n), "host {n}");
        assert_eq!(project.host(u8::try_from(n).unwrap()).answer(), "200 version 1");
    }
    // A freeze is about deploys; an app may need to be restarted all the same.
    project.rdeploy(&["dev", "lock", "-m", "the fair is on"]).run().ends_with(0);
    project.rdeploy(&["dev", "stop", "--hosts", "host1"]).run().ends_with(0);
    insta::assert_snapshot!(project.rdeploy(&["dev", "start"]).run().ends_with(0), @r"
    exit code: 0
    --- stdout
    host1: started; proven: every process runs from the release
    host2: ran already; proven: every process runs from the release
    --- stderr
    ");
    assert_eq!(pid(&after, 2), pid(&status(&project), 2), "what runs is left alone");
    project.rdeploy(&["dev", "unlock"]).run().ends_with(0);
    let history = project.host(1).read(".rdeploy/history.ndjson");
    let outcomes: Vec<Value> =
        history.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["outcome"].clone()).collect();
    assert_eq!(outcomes, ["done", "restarted", "frozen", "stopped", "started", "thawed"]);
    project.host(1).is_clean();
    // A rollback knows nothing of all that.
    project.version(2);
    project.deploys();
    project.rdeploy(&["dev", "--rollback"]).run().ends_with(0);
    assert_eq!(project.host(2).answer(), "200 version 1");
}

#[test]
fn a_restart_that_fails_stops_there_and_shows_what_the_app_wrote() {
    let project = project();
    project.deploys();
    std::fs::write(project.beside("broken"), "").unwrap();
    let failed = project.rdeploy(&["dev", "restart"]).run();
    insta::assert_snapshot!(squeezed(&failed.ends_with(6).to_string()), @r"
    exit code: 6
    --- stdout
    --- stderr
    error: the app could not be restarted, or is not well since
      host1: the start command failed with status 1 in [ROOT]/state/dev/shop-[HASH]/host[N]/fs/srv/shop/current. Its last lines follow; run it there by hand to see more.
          out of beans
      host2: not restarted, because of host1
      hint: `rdeploy dev status` shows how it is, `rdeploy dev logs` what it writes
    ");
    assert_eq!(project.host(2).answer(), "200 version 1", "it was not its turn");
    assert!([1, 2].iter().all(|n| !project.host(*n).is_locked()));
    std::fs::remove_file(project.beside("broken")).unwrap();
    project.rdeploy(&["dev", "start"]).run().ends_with(0).says("host1: started").says("host2: ran already");
}

#[test]
fn a_restart_holds_the_lock_and_goes_on_to_its_end_when_its_client_is_killed() {
    let project = project();
    project.deploys();
    let before = status(&project);
    std::fs::write(project.beside("closed"), "").unwrap();
    let mut restart = project.rdeploy(&["dev", "restart", "--hosts", "host1"]).start();
    restart.until("the app's start", || project.beside("waits").exists());
    for verb in ["restart", "start", "stop"] {
        let refused = project.rdeploy(&["dev", verb, "--hosts", "host1"]).run().ends_with(4);
        assert!(refused.err.contains("doing restart dev"), "{refused}");
    }
    restart.kill();
    std::fs::remove_file(project.beside("closed")).unwrap();
    eventually("the host to free its lock", || !project.host(1).is_locked());
    let after = status(&project);
    assert!(pid(&after, 1).is_some() && pid(&after, 1) != pid(&before, 1), "{after:#}");
    project.deploys();
}

#[test]
fn the_log_is_shown_by_host_and_followed_until_ctrl_c() {
    let project = project();
    project.deploys();
    insta::assert_snapshot!(by_host(&project.rdeploy(&["dev", "logs"]).run().to_string()), @r"
    exit code: 0
    --- stdout
    host1 | serving public on http://127.0.0.1:[APP1]
    host2 | serving public on http://127.0.0.1:[APP2]
    --- stderr
    ");
    let follow = project.rdeploy(&["dev", "logs", "-f", "-n", "0", "--hosts", "host2"]).start();
    let log = project.host(2).root.join("shared/run/log");
    // Whatever is written once it listens is shown.
    eventually("a line that the app writes", || {
        let mut file = OpenOptions::new().append(true).open(&log).unwrap();
        writeln!(file, "  a line with a \u{1b}[31mcolour\u{1b}[0m").unwrap();
        follow.said().contains("host2 |   a line with a colour\n")
    });
    let mut follow = follow;
    follow.interrupt();
    let ended = follow.wait();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended}");
    assert!(!ended.out.contains("host1"), "{ended}");
    project.rdeploy(&["dev", "logs", "--hosts", "host3"]).run().ends_with(2).tells("dev has no host host3");
}

#[test]
fn a_host_that_cannot_be_reached_is_named_and_the_others_are_shown() {
    let project = project();
    project.deploys();
    let address = "127.0.0.1:1";
    let config = std::fs::read_to_string(project.file("deploy.toml")).unwrap();
    project.configure(&format!("{config}\n[env.gone]\nhosts = [\"{address}\"]\n"));
    for verb in ["restart", "start", "stop"] {
        project
            .rdeploy(&["gone", verb])
            .run()
            .ends_with(3)
            .tells("not every host could be reached; nothing was done");
    }
    let shown = project.rdeploy(&["gone", "status"]).run().ends_with(3);
    assert!(shown.out.contains("not known") && shown.err.contains("Connection refused"), "{shown}");
    let json = project.rdeploy(&["gone", "status", "--json"]).run().ends_with(3);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["hosts"][0]["reached"], false);
    project.rdeploy(&["gone", "logs"]).run().ends_with(3).tells("Connection refused");
}
