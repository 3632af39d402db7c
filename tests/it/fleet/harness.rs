//! The proofs this tier relies on, put to the test themselves: a proof that cannot fail proves nothing.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use super::adopts::BY_HAND;
use super::adopts::set_up_by_hand;
use super::app::App;
use super::site::Site;
use super::site::wait_until_all_answer;

fn fails(proof: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(proof)).expect_err("the proof did not notice");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn an_app_that_still_runs_from_the_old_release_is_noticed() {
    let Some(site) = Site::on_three_hosts("an_app_that_still_runs_from_the_old_release_is_noticed") else {
        return;
    };
    set_up_by_hand(&site, "v0");
    // What a naive deploy does: move `current`, reload. PM2 says that all went well.
    let Site { user, deploy_to, .. } = &site;
    site.on_every_host(|host| {
        let files = App::version("v1").as_script();
        host.must(
            user,
            &format!(
                "cd {deploy_to}\nmkdir releases/20200101000001\ncd releases/20200101000001\n{files}\
                 cd {deploy_to}\nln -s {deploy_to}/releases/20200101000001 new\nmv -T new current\n\
                 pm2 reload shop </dev/null >/dev/null\n"
            ),
        );
    });
    assert!(fails(|| drop(site.serves("v1"))).contains("v0"));
    assert!(fails(|| site.still_runs("v0", BY_HAND)).contains("20200101000001"));

    site.on_every_host(|host| {
        let fix = format!("cd {deploy_to}/current\npm2 delete shop </dev/null >/dev/null\nPORT={} pm2 start server.js --name shop -i 2 </dev/null >/dev/null", site.port);
        host.must(user, &fix)
    });
    wait_until_all_answer(&site, "v1");
    assert_eq!(site.serves("v1"), "20200101000001");
    site.is_clean();
}

#[test]
fn what_a_deploy_leaves_behind_is_noticed() {
    let Some(site) = Site::on_own_hosts("what_a_deploy_leaves_behind_is_noticed", 1) else { return };
    let host = site.host(1);
    let deploy_to = &site.deploy_to;
    site.is_clean();

    host.must(&site.user, &format!("mkdir {deploy_to}/.rdeploy; touch {deploy_to}/.rdeploy/lock"));
    assert!(fails(|| site.is_clean()).contains("lock"));
    host.must(&site.user, &format!("rm {deploy_to}/.rdeploy/lock; ln -s nowhere {deploy_to}/current.tmp"));
    assert!(fails(|| site.is_clean()).contains("current.tmp"));
    host.must(&site.user, &format!("rm {deploy_to}/current.tmp"));

    host.must(&site.user, "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $! >sleeper");
    assert_eq!(site.strangers(host).len(), 1);
    host.must(&site.user, "kill $(cat sleeper)");
    site.is_clean();
}

#[test]
fn a_cut_cable_and_a_reboot_are_what_they_say() {
    let Some(site) = Site::on_own_hosts("a_cut_cable_and_a_reboot_are_what_they_say", 2) else { return };
    set_up_by_hand(&site, "v0");
    site.fleet().cut_link(2);
    assert!(site.ask(site.host(1)).is_some());
    assert!(site.ask(site.host(2)).is_none());
    site.fleet().restore_link(2);
    wait_until_all_answer(&site, "v0");

    site.host(2).must(&site.user, "echo kept >note; echo lost >/run/user/$(id -u)/note");
    site.fleet().reboot(2);
    assert!(site.ask(site.host(2)).is_none(), "nobody told PM2 to come back");
    assert_eq!(
        site.host(2).must(&site.user, "cat note; ls /run/user/$(id -u) | grep -c note || true"),
        "kept\n0\n"
    );
}

#[test]
fn a_small_disk_is_full_when_it_is_full() {
    let Some(site) = Site::on_own_hosts("a_small_disk_is_full_when_it_is_full", 1) else { return };
    site.small_disk(site.host(1), "2m");
    let said = site.host(1).must(&site.user, &format!(
        "cd {}; head -c 1000000 /dev/zero >fits; head -c 2000000 /dev/zero >too-much 2>/dev/null || echo full",
        site.deploy_to
    ));
    assert_eq!(said, "full\n");
    assert!(site.host(1).disk(&site.deploy_to).join("fits").exists());
}
