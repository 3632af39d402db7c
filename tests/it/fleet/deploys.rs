//! A Node app under PM2 on three hosts: forward, into a broken release, and back.

use super::app::App;
use super::site::Site;
use super::site::wait_until_all_answer;
use super::systemd::kept_up_somehow;

#[test]
fn three_hosts_go_forward_survive_a_broken_release_and_go_back() {
    let Some(mut site) = Site::on_three_hosts("three_hosts_go_forward_survive_a_broken_release_and_go_back")
    else {
        return;
    };
    site.over_ssh = true;
    forward_broken_and_back(&site, "shop");
}

#[test]
fn apps_written_in_deploy_toml_need_no_ecosystem_file() {
    let Some(site) = Site::on_three_hosts("apps_written_in_deploy_toml_need_no_ecosystem_file") else {
        return;
    };
    site.configure(|settings| {
        settings.supervisor = "kind = \"pm2\"\nsettle = \"1s\"\n\
            [[supervisor.apps]]\nname = \"shop\"\nscript = \"server.js\"\nexec_mode = \"cluster\"\ninstances = 2"
            .into();
    });
    forward_broken_and_back(&site, "shop");
}

#[test]
fn an_app_in_fork_mode_is_replaced_too() {
    let Some(mut site) = Site::on_three_hosts("an_app_in_fork_mode_is_replaced_too") else { return };
    site.instances = 1;
    site.configure(|settings| {
        settings.supervisor = "kind = \"pm2\"\nsettle = \"1s\"\n\
            [[supervisor.apps]]\nname = \"shop\"\nscript = \"server.js\"\nexec_mode = \"fork\""
            .into();
    });
    forward_broken_and_back(&site, "cannot reach the database");
}

/// Deploys v1, v2 and a v3 that throws while it is loaded, then rolls back. `reason` is what rdeploy must
/// say of v3: in cluster mode PM2 itself loses what such an app says last (5.4 and 7.0), in fork mode not.
fn forward_broken_and_back(site: &Site, reason: &str) {
    let first = site.runs("v1");
    let second = site.runs("v2");
    assert!(second > first, "{second} after {first}");
    site.is_clean();

    site.write_app(&App::version("v3").throws_at_start());
    site.deploy().ends_with(5).says("10.77.0.").says(reason);
    site.still_runs("v2", &second);

    site.roll_back().ends_with(0).says(&first);
    assert_eq!(site.serves("v1"), first);
    site.is_clean();
}

#[test]
fn a_rollback_can_name_its_release_and_be_rolled_back_itself() {
    let Some(site) = Site::on_three_hosts("a_rollback_can_name_its_release_and_be_rolled_back_itself") else {
        return;
    };
    let site = kept_up_somehow(site);
    let first = site.runs("v1");
    let second = site.runs("v2");
    let third = site.runs("v3");

    site.start(&[&format!("--rollback={first}")]).wait().ends_with(0);
    assert_eq!(site.serves("v1"), first);

    // What was rolled back from is bad: nothing goes there by itself, but it can be named.
    site.roll_back().ends_with(3).says("no earlier good release").says("--rollback=ID");
    assert_eq!(site.serves("v1"), first);
    site.start(&[&format!("--rollback={third}")]).wait().ends_with(0);
    assert_eq!(site.serves("v3"), third);

    site.start(&["--rollback=20010101000000"]).wait().ends_with(3).says("20010101000000");
    assert_eq!(site.serves("v3"), third);
    assert!(site.releases(site.host(1)).contains(&second));
    site.is_clean();
}

#[test]
fn an_app_under_pm2_comes_back_from_the_live_release_after_a_reboot() {
    let test = "an_app_under_pm2_comes_back_from_the_live_release_after_a_reboot";
    let Some(site) = Site::on_own_hosts(test, 1) else { return };
    // What `pm2 startup` asks for, once, as root. Hosts of a fleet boot into a target of their own.
    let user = &site.user;
    site.host(1).root(&format!(
        "pm2 startup systemd -u {user} --hp /home/{user} </dev/null >/dev/null\n\
         systemctl add-wants fleet.target pm2-{user}.service\n"
    ));
    let first = site.runs("v1");
    let second = site.runs("v2");
    site.fleet().reboot(1);
    wait_until_all_answer(&site, "v2");
    assert_eq!(site.serves("v2"), second);

    site.roll_back().ends_with(0);
    assert_eq!(site.serves("v1"), first);
    site.fleet().reboot(1);
    wait_until_all_answer(&site, "v1");
    assert_eq!(site.serves("v1"), first);
    // What systemd has started is what the next deploy finds and replaces.
    site.runs("v3");
    site.is_clean();
}

#[test]
fn a_rebooted_host_without_a_unit_for_pm2_serves_after_the_next_deploy() {
    let test = "a_rebooted_host_without_a_unit_for_pm2_serves_after_the_next_deploy";
    let Some(site) = Site::on_own_hosts(test, 2) else { return };
    site.runs("v1");
    site.fleet().reboot(2);
    site.runs("v2");
    site.is_clean();
}
