//! The client is killed, at three moments: each host puts itself back and frees its own lock.

use std::time::Duration;

use super::app::App;
use super::run::Running;
use super::settings::Settings;
use super::site::PATIENCE;
use super::site::Site;
use super::site::wait_until_all_answer;
use super::systemd::kept_up_somehow;
use crate::support::fleet::eventually;

const LEASE: Duration = Duration::from_secs(4);
/// What restarting and proving the old release takes on a busy machine.
const MARGIN: Duration = Duration::from_secs(30);

#[test]
fn a_client_killed_in_a_hook_after_the_switch_leaves_hosts_that_put_themselves_back() {
    let test = "a_client_killed_in_a_hook_after_the_switch_leaves_hosts_that_put_themselves_back";
    let Some(site) = Site::on_two_hosts(test) else { return };
    hosts_heal_after_a_hook_in_which_the_client_is_killed(&site);
}

#[test]
fn a_client_killed_during_the_restart_leaves_hosts_that_put_themselves_back() {
    let test = "a_client_killed_during_the_restart_leaves_hosts_that_put_themselves_back";
    let Some(site) = Site::on_two_hosts(test) else { return };
    let first = site.runs("v1");
    // Each worker takes two seconds to listen: when `current` has moved, the restart is under way.
    site.write_app(&App::version("v2").starts_slowly(2000));
    with_short_lease(&site, |_| {});
    let deploy = site.start(&[]);
    site.await_switch_from(&first);
    hosts_heal_after(deploy, &site, &first);
}

#[test]
fn a_client_killed_during_verification_leaves_hosts_that_put_themselves_back() {
    let test = "a_client_killed_during_verification_leaves_hosts_that_put_themselves_back";
    let Some(site) = Site::on_three_hosts(test) else { return };
    let site = kept_up_somehow(site);
    let first = site.runs("v1");
    site.write_app(&App::version("v2"));
    with_short_lease(&site, |settings| {
        settings.supervisor = settings.supervisor.replace("settle = \"1s\"", "settle = \"60s\"");
    });
    let deploy = site.start(&[]);
    // Every host answers with the new version, and for a minute it is watched whether it stays up.
    wait_until_all_answer(&site, "v2");
    hosts_heal_after(deploy, &site, &first);
}

#[test]
fn a_client_killed_half_way_through_a_rolling_batch_leaves_hosts_that_put_themselves_back() {
    let test = "a_client_killed_half_way_through_a_rolling_batch_leaves_hosts_that_put_themselves_back";
    let Some(site) = Site::on_three_hosts(test) else { return };
    let site = kept_up_somehow(site);
    let first = site.runs("v1");
    site.write_app(&App::version("v2"));
    // Two hosts are switched, proven and waiting for the third one, which is half-way.
    with_short_lease(&site, |settings| {
        settings.env = "rollout = { batch = 2 }".into();
        settings.hooks =
            "after_switch = [{ run = \"touch $HOME/switched; test $(hostname) != host3 || sleep 600\", timeout = \"20m\" }]"
                .into();
    });
    let deploy = site.start(&[]);
    site.await_file_everywhere("switched");
    assert!(site.all_answer("v2"));
    hosts_heal_after(deploy, &site, &first);
}

/// Whatever keeps the app up there.
pub(super) fn hosts_heal_after_a_hook_in_which_the_client_is_killed(site: &Site) {
    let first = site.runs("v1");
    site.write_app(&App::version("v2"));
    with_short_lease(site, |settings| {
        settings.hooks =
            "after_switch = [{ run = \"touch $HOME/switched; sleep 600\", timeout = \"20m\" }]".into();
    });
    let deploy = site.start(&[]);
    site.await_file_everywhere("switched");
    assert!(site.all_answer("v2"));
    hosts_heal_after(deploy, site, &first);
}

fn with_short_lease(site: &Site, change: impl FnOnce(&mut Settings)) {
    site.configure(|settings| {
        settings.top = format!("lease = \"{}s\"", LEASE.as_secs());
        change(settings);
    });
}

fn hosts_heal_after(deploy: Running, site: &Site, first: &str) {
    deploy.kill();
    let healed =
        eventually(LEASE + MARGIN, "every host to be back on the old release, its lock free", || {
            site.on_every_host(|host| {
                let lock = host.disk(&format!("{}/.rdeploy/lock", site.deploy_to));
                !lock.exists() && site.current(host).is_some_and(|current| current.ends_with(first))
            })
            .iter()
            .all(|back| *back)
        });
    site.still_runs("v1", first);
    assert!(healed < LEASE + MARGIN);

    site.configure(|_| {});
    site.write_app(&App::version("v3"));
    site.deploy().ends_with(0);
    site.serves("v3");
    eventually(PATIENCE, "the old workers to have left", || site.all_answer("v3"));
    site.is_clean();
}
