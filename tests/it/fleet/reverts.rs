//! One transaction: a failure anywhere puts every switched host back.

use super::app::App;
use super::site::Site;
use super::systemd::kept_up_somehow;
use crate::support::fleet::eventually;

/// A hook that says it runs and then hangs until a file appears.
const HANGING: &str = "after_switch = [{ run = \"touch $HOME/switched; while [ ! -e $HOME/go ]; do sleep 0.1; done\", timeout = \"10m\" }]";

#[test]
fn a_failure_on_one_of_three_hosts_puts_all_back() {
    let Some(site) = Site::on_three_hosts("a_failure_on_one_of_three_hosts_puts_all_back") else { return };
    let site = kept_up_somehow(site);
    let first = site.runs("v1");
    site.write_app(&App::version("v2"));
    site.configure(|settings| {
        settings.hooks =
            "after_switch = [{ run = \"echo the cache of $(hostname) is cold; test $(hostname) != host3\" }]"
                .into();
    });
    site.deploy().ends_with(5).says("10.77.0.3").says("the cache of host3 is cold");
    site.still_runs("v1", &first);
}

#[test]
fn ctrl_c_while_hosts_are_switched_puts_all_back() {
    let Some(site) = Site::on_three_hosts("ctrl_c_while_hosts_are_switched_puts_all_back") else { return };
    let site = kept_up_somehow(site);
    let first = site.runs("v1");
    site.write_app(&App::version("v2"));
    site.configure(|settings| settings.hooks = HANGING.into());
    let mut deploy = site.start(&[]);
    site.await_file_everywhere("switched");
    assert!(site.all_answer("v2"));

    deploy.interrupt();
    deploy.wait().ends_with(130);
    site.still_runs("v1", &first);
}

#[test]
fn a_host_whose_cable_is_cut_puts_itself_back() {
    let Some(site) = Site::on_own_hosts("a_host_whose_cable_is_cut_puts_itself_back", 2) else { return };
    let site = kept_up_somehow(site);
    let first = site.runs("v1");
    site.write_app(&App::version("v2"));
    site.configure(|settings| {
        settings.hooks = HANGING.into();
        settings.top = "lease = \"4s\"".into();
    });
    let mut deploy = site.start(&[]);
    site.await_file_everywhere("switched");
    assert!(site.all_answer("v2"));
    deploy.still_runs();
    site.fleet().cut_link(2);

    // The other host is put back by the client, this one by its own guardian; nobody can tell from here.
    deploy.wait().ends_with(8).says("10.77.0.2");
    eventually(super::site::PATIENCE, "host 2 to point at the old release", || {
        site.current(site.host(2)).is_some_and(|current| current.ends_with(&first))
    });
    eventually(super::site::PATIENCE, "host 2 to free its lock", || {
        !site.host(2).disk(&format!("{}/.rdeploy/lock", site.deploy_to)).exists()
    });
    site.fleet().restore_link(2);
    site.still_runs("v1", &first);

    site.configure(|_| {});
    site.runs("v3");
}
