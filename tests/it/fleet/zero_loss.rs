//! No request is lost while releases come and go: the examples of docs/examples under steady load, on two
//! hosts, through a row of deploys and rollbacks.

use std::fs;

use super::app::App;
use super::example::Example;
use super::load::Load;
use super::site::Site;
use crate::support::full::times;

/// Deploys version after version, and goes back now and then. Every request must be answered.
fn nothing_is_lost_in_a_row_of_deploys(test: &str, example: &Example) {
    let site = &example.site;
    example.write("1.0.0");
    site.deploy().ends_with(0);
    site.serves("1.0.0");

    let load = Load::on(site);
    let (deploys, rollbacks) = (times(2, 20), times(1, 5));
    let mut live = "1.0.0".to_owned();
    for number in 1..=deploys {
        let version = format!("1.0.{number}");
        example.write(&version);
        load.during(&format!("the deploy of {version}"), || site.deploy().ends_with(0));
        site.serves(&version);
        if number % (deploys / rollbacks) == 0 {
            load.during(&format!("the rollback from {version}"), || site.roll_back().ends_with(0));
            site.serves(&live);
        } else {
            live = version;
        }
    }
    load.lost_nothing(&format!("{test}: {deploys} deploys, {rollbacks} rollbacks"));
    site.is_clean();
}

#[test]
fn a_pm2_cluster_of_two_loses_no_request() {
    let test = "a_pm2_cluster_of_two_loses_no_request";
    let Some(site) = Site::on_own_hosts(test, 2) else { return };
    nothing_is_lost_in_a_row_of_deploys(test, &Example::node_pm2(site, 2));
}

#[test]
fn a_pm2_cluster_of_one_loses_no_request() {
    let test = "a_pm2_cluster_of_one_loses_no_request";
    let Some(site) = Site::on_own_hosts(test, 2) else { return };
    nothing_is_lost_in_a_row_of_deploys(test, &Example::node_pm2(site, 1));
}

#[test]
fn a_service_whose_socket_systemd_holds_loses_no_request() {
    let test = "a_service_whose_socket_systemd_holds_loses_no_request";
    let Some(site) = Site::on_own_hosts(test, 2) else { return };
    let example = Example::systemd_socket(site);
    let socket = || {
        let script = "systemctl --user show shop.socket -p InvocationID -p ActiveState -p ActiveEnterTimestampMonotonic";
        example.site.on_every_host(|host| host.must(&example.site.user, script))
    };
    let before = socket();
    nothing_is_lost_in_a_row_of_deploys(test, &example);

    // Whoever asks while a release does not start waits for the old one to be back.
    let site = &example.site;
    let version = "1.1.0";
    example.write(version);
    let file = site.project().join("src/main.rs");
    let good = fs::read_to_string(&file).unwrap();
    let start = "fn main() -> io::Result<()> {\n";
    let bad = good.replace(start, &format!("{start}    panic!(\"cannot reach the database\");\n"));
    assert_ne!(bad, good);
    fs::write(&file, bad).unwrap();
    let load = Load::on(site);
    let run = load.during("a release that panics", || site.deploy());
    run.ends_with(5).says("shop.service").says("cannot reach the database");
    load.lost_nothing(&format!("{test}: a release that panics"));
    site.is_clean();
    assert_eq!(socket(), before, "the socket is not the same any more");
}

/// That the load notices what it is there to notice.
#[test]
fn a_restart_that_refuses_connections_is_noticed_by_the_load() {
    let test = "a_restart_that_refuses_connections_is_noticed_by_the_load";
    let Some(site) = Site::on_own_hosts(test, 1) else { return };
    let mut site = site;
    site.instances = 1;
    site.supervised_by(
        "kind = \"pm2\"\napps = [{ name = \"shop\", script = \"server.js\", exec_mode = \"fork\" }]",
    );
    site.runs("v1");
    let load = Load::on(&site);
    site.write_app(&App::version("v2"));
    load.during("a deploy in fork mode", || site.deploy().ends_with(0));
    assert!(load.lost() > 0, "PM2 replaced a process in fork mode, and nobody noticed");
}
