//! `status`, `logs`, `restart`, `start` and `stop` under real supervisors.

use serde_json::Value;

use super::app::App;
use super::run::Run;
use super::site::PATIENCE;
use super::site::Site;
use super::supervisord;
use super::systemd::with_user_unit;
use crate::support::fleet::eventually;

fn rdeploy(site: &Site, args: &[&str]) -> Run {
    site.start(args).wait()
}

fn status(site: &Site) -> Value {
    let run = rdeploy(site, &["status", "--json"]).ends_with(0);
    serde_json::from_str(&run.said).unwrap_or_else(|error| panic!("{error}: {}", run.said))
}

/// The states, restart counters and releases of the first host's processes.
fn processes(status: &Value) -> Vec<(String, Option<u64>, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let of = |process: &Value| {
        (text(&process["state"]).unwrap(), process["restarts"].as_u64(), text(&process["release"]))
    };
    status["hosts"][0]["processes"].as_array().unwrap().iter().map(of).collect()
}

/// Looks, restarts, stops and starts, and deploys over what was stopped.
fn is_operated(site: &Site, up: &str, down: &str, restarts: Option<u64>, workers: usize) {
    site.write_app(&App::version("v1").says("good morning"));
    site.deploy().ends_with(0);
    let release = site.serves("v1");
    let host = site.host(1);
    let first = site.workers(host);
    let seen = status(site);
    assert_eq!(seen["hosts"][0]["health"], "well", "{seen:#}");
    assert_eq!(processes(&seen), vec![(up.to_owned(), restarts, Some(release.clone())); workers], "{seen:#}");
    rdeploy(site, &["logs", "-n", "5"]).ends_with(0).says("10.77.0.").says(" | ").says("good morning");

    rdeploy(site, &["restart"]).ends_with(0).says("restarted; proven");
    let second = site.workers(host);
    assert!(second.keys().all(|pid| !first.contains_key(pid)), "{first:?} {second:?}");
    site.still_runs("v1", &release);

    rdeploy(site, &["stop"]).ends_with(0).says(": stopped");
    assert_eq!(site.workers(host).len(), 0);
    let seen = status(site);
    let states: Vec<String> = processes(&seen).into_iter().map(|(state, _, _)| state).collect();
    assert!(!states.is_empty() && states.iter().all(|state| state == down), "{seen:#}");
    assert_eq!(seen["hosts"][0]["health"], "ill", "{seen:#}");
    rdeploy(site, &["stop"]).ends_with(0);
    rdeploy(site, &["start"]).ends_with(0).says("started; proven");
    rdeploy(site, &["start"]).ends_with(0).says("ran already; proven");
    site.still_runs("v1", &release);

    // A deploy starts what was stopped.
    rdeploy(site, &["stop"]).ends_with(0);
    site.runs("v2");
    site.is_clean();
}

/// What is written while somebody follows it is shown.
fn is_followed(site: &Site, write: impl Fn()) {
    let mut follow = site.start(&["logs", "--follow", "-n", "0", "--hosts", &site.host(1).address]);
    eventually(PATIENCE, "a line that the app writes", || {
        write();
        follow.still_runs();
        follow.said().contains("| out of beans")
    });
    follow.interrupt();
    follow.wait().ends_with(0);
}

#[test]
fn an_app_under_pm2_is_looked_at_restarted_stopped_and_started() {
    let Some(site) = Site::on_two_hosts("an_app_under_pm2_is_looked_at_restarted_stopped_and_started") else {
        return;
    };
    is_operated(&site, "online", "stopped", Some(0), 2);

    let host = site.host(1);
    is_followed(&site, || {
        host.must(&site.user, "for log in ~/.pm2/logs/*out*.log; do echo 'out of beans' >>$log; done");
    });
    site.write_app(&App::version("v3").throws_at_start());
    rdeploy(&site, &[]).ends_with(5);
    assert_eq!(status(&site)["same_release"], true);
    eventually(PATIENCE, "nothing of it to be left", || {
        host.must(&site.user, "pgrep -u $(id -u) -f pm2-logs.cjs || true").is_empty()
    });
}

#[test]
fn an_app_under_systemd_is_looked_at_restarted_stopped_and_started() {
    let test = "an_app_under_systemd_is_looked_at_restarted_stopped_and_started";
    let Some(site) = Site::on_own_hosts(test, 1) else { return };
    let site = with_user_unit(site);
    is_operated(&site, "active", "inactive", Some(0), 1);
}

#[test]
fn an_app_under_supervisord_is_looked_at_restarted_stopped_and_started() {
    let test = "an_app_under_supervisord_is_looked_at_restarted_stopped_and_started";
    let Some(site) = supervisord::open(test, 1) else { return };
    supervisord::with_roots_daemon(&site);
    is_operated(&site, "running", "stopped", None, 1);
    is_followed(&site, || {
        site.host(1).root("for log in /var/log/supervisor/shop-stdout*; do echo 'out of beans' >>$log; done");
    });
    site.is_clean();
}
