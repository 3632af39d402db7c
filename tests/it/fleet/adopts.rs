//! A tree and an app that were set up by hand, as Capistrano and a person at a shell leave them.

use super::app::App;
use super::site::Site;
use super::site::wait_until_all_answer;

pub(super) const BY_HAND: &str = "20200101000000";

/// Lays a release out by hand and registers the app from inside it, which pins it there: PM2 stores
/// the directory behind `current`, so that no reload ever leaves it.
pub(super) fn set_up_by_hand(site: &Site, version: &str) {
    let Site { user, deploy_to, port, .. } = site;
    site.on_every_host(|host| {
        host.must(
            user,
            &format!(
                "umask 022\ncd {deploy_to}\nmkdir -p releases/{BY_HAND} shared\n\
                 ln -s {deploy_to}/releases/{BY_HAND} current\ncd current\n{files}\
                 PORT={port} pm2 start server.js --name shop -i 2 </dev/null >/dev/null\n",
                files = App::version(version).as_script(),
            ),
        );
    });
    wait_until_all_answer(site, version);
    assert_eq!(site.serves(version), BY_HAND);
}

#[test]
fn an_app_registered_by_hand_is_moved_onto_the_new_release_and_back() {
    let Some(site) = Site::on_three_hosts("an_app_registered_by_hand_is_moved_onto_the_new_release_and_back")
    else {
        return;
    };
    set_up_by_hand(&site, "by-hand");

    let first = site.runs("v1");
    assert_ne!(first, BY_HAND);
    only_the_app_is_registered(&site);

    site.roll_back().ends_with(0).says(BY_HAND);
    assert_eq!(site.serves("by-hand"), BY_HAND);
    only_the_app_is_registered(&site);
    site.is_clean();
}

#[test]
fn a_failed_first_deploy_restores_the_app_registered_by_hand() {
    let Some(site) = Site::on_three_hosts("a_failed_first_deploy_restores_the_app_registered_by_hand") else {
        return;
    };
    set_up_by_hand(&site, "by-hand");

    site.write_app(&App::version("v1").throws_at_start());
    site.deploy().ends_with(5).says("shop");

    site.still_runs("by-hand", BY_HAND);
    only_the_app_is_registered(&site);
    // And it is no dead end.
    site.runs("v2");
}

#[test]
fn a_failed_very_first_deploy_leaves_no_app_behind() {
    let Some(site) = Site::on_three_hosts("a_failed_very_first_deploy_leaves_no_app_behind") else { return };
    site.write_app(&App::version("v1").throws_at_start());
    site.deploy().ends_with(5).says("shop");
    for host in site.fleet().hosts() {
        assert_eq!(site.current(host), None, "host {}", host.number);
        assert_eq!(site.workers(host).len(), 0, "host {}", host.number);
    }
    site.is_clean();
    site.runs("v2");
}

fn only_the_app_is_registered(site: &Site) {
    let names = site.on_every_host(|host| site.registered(host));
    for (index, names) in names.iter().enumerate() {
        assert_eq!(names, &["shop", "shop"], "host {}", index + 1);
    }
}
