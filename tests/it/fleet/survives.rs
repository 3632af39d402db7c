//! What happens to a host itself in the middle of a deploy: it is rebooted, its guardian or its sshd is
//! killed, its disk fills up, or it would kill the guardian at logout. Every host ends where it began.

use std::fs;

use super::app::App;
use super::run::Running;
use super::site::PATIENCE;
use super::site::Site;
use super::systemd::kept_up_somehow;
use crate::support::fleet::eventually;

/// A hook that says that its host is switched, and then hangs.
const HANGING: &str = "after_switch = [{ run = \"touch $HOME/switched; sleep 600\", timeout = \"20m\" }]";

/// Deploys v1, begins to deploy v2, and returns when every host is switched and waits in its hook; with
/// the release that ran before.
fn switched_everywhere(site: &Site) -> (Running, String) {
    let first = site.runs("v1");
    site.write_app(&App::version("v2"));
    site.configure(|settings| {
        settings.top = "lease = \"4s\"".into();
        settings.hooks = HANGING.into();
    });
    let mut deploy = site.start(&[]);
    site.await_file_everywhere("switched");
    deploy.still_runs();
    (deploy, first)
}

/// The guardian's pid on a host, from its lock.
fn guardian(site: &Site, number: usize) -> String {
    let lock = fs::read_to_string(site.host(number).disk(&format!("{}/.rdeploy/lock", site.deploy_to)));
    lock.unwrap().lines().find_map(|line| line.strip_prefix("pid=")).unwrap().to_owned()
}

fn is_back(site: &Site, number: usize, first: &str) {
    let host = site.host(number);
    eventually(PATIENCE, &format!("host {number} to be back, its lock free"), || {
        !host.disk(&format!("{}/.rdeploy/lock", site.deploy_to)).exists()
            && site.current(host).is_some_and(|current| current.ends_with(first))
    });
}

/// The next deploy finds nothing in its way, and first undoes what is still to be undone.
fn the_next_deploy_works(site: &Site) {
    site.configure(|_| {});
    site.runs("v3");
    eventually(PATIENCE, "the old workers to have left", || site.all_answer("v3"));
    site.is_clean();
}

#[test]
fn a_host_rebooted_after_its_switch_is_undone_by_the_next_deploy() {
    let Some(site) = Site::on_own_hosts("a_host_rebooted_after_its_switch_is_undone_by_the_next_deploy", 2)
    else {
        return;
    };
    let (deploy, first) = switched_everywhere(&site);
    site.fleet().reboot(2);
    // What became of it cannot be known from here; the other host is put back.
    deploy.wait().ends_with(8).says("10.77.0.2");
    is_back(&site, 1, &first);

    // A broken release: what is there afterwards is what the recovery left.
    site.write_app(&App::version("v3").throws_at_start());
    site.configure(|_| {});
    site.deploy().ends_with(5).says("10.77.0.2").says("an earlier attempt died here");
    site.still_runs("v1", &first);
    the_next_deploy_works(&site);
}

#[test]
fn a_client_that_died_before_a_host_was_rebooted_is_recovered_from() {
    let Some(site) = Site::on_own_hosts("a_client_that_died_before_a_host_was_rebooted_is_recovered_from", 2)
    else {
        return;
    };
    let site = kept_up_somehow(site);
    let (deploy, first) = switched_everywhere(&site);
    // Cut off, the host does not hear of the client's death before the power goes.
    site.fleet().cut_link(2);
    deploy.kill();
    site.fleet().restore_link(2);
    site.fleet().reboot(2);
    is_back(&site, 1, &first);
    the_next_deploy_works(&site);
}

#[test]
fn a_killed_guardian_is_succeeded_while_the_client_lives() {
    let Some(site) = Site::on_three_hosts("a_killed_guardian_is_succeeded_while_the_client_lives") else {
        return;
    };
    let site = kept_up_somehow(site);
    let (deploy, first) = switched_everywhere(&site);
    site.host(2).root(&format!("kill -KILL {}", guardian(&site, 2)));
    deploy.wait().ends_with(5).says("10.77.0.2");
    site.still_runs("v1", &first);
    the_next_deploy_works(&site);
}

#[test]
fn a_host_whose_sshd_is_killed_puts_itself_back() {
    let Some(site) = Site::on_own_hosts("a_host_whose_sshd_is_killed_puts_itself_back", 2) else { return };
    let site = kept_up_somehow(site);
    let (deploy, first) = switched_everywhere(&site);
    // Every process of it, that of this login last; systemd may start the service again.
    site.host(2).root("pids=$(pgrep -x sshd)\nsetsid sh -c \"kill -KILL $(echo $pids)\" >/dev/null 2>&1 &");
    deploy.wait().ends_with(8).says("10.77.0.2");
    is_back(&site, 1, &first);
    is_back(&site, 2, &first);
    eventually(PATIENCE, "host 2 to let one log in again", || {
        let output = site.host(2).ssh_with_input("root", "systemctl start ssh", "");
        output.status.success()
    });
    site.still_runs("v1", &first);
    the_next_deploy_works(&site);
}

#[test]
fn a_host_that_would_kill_the_guardian_at_logout_is_refused() {
    let Some(site) = Site::on_own_hosts("a_host_that_would_kill_the_guardian_at_logout_is_refused", 2) else {
        return;
    };
    let first = site.runs("v1");
    let drop_in = "/etc/systemd/logind.conf.d/kill.conf";
    site.host(2).root(&format!(
        "mkdir -p $(dirname {drop_in})\nprintf '[Login]\\nKillUserProcesses=yes\\n' >{drop_in}"
    ));
    site.write_app(&App::version("v2"));
    site.deploy().ends_with(3).says("10.77.0.2").says(drop_in).says("KillUserProcesses=yes");
    site.still_runs("v1", &first);

    site.host(2).root(&format!("rm {drop_in}"));
    site.runs("v2");
}

#[test]
fn a_disk_that_fills_up_while_the_release_arrives_leaves_everything_as_it_was() {
    let Some(site) =
        Site::on_three_hosts("a_disk_that_fills_up_while_the_release_arrives_leaves_everything_as_it_was")
    else {
        return;
    };
    let site = kept_up_somehow(site);
    site.small_disk(site.host(2), "64m");
    let first = site.runs("v1");
    let Site { user, deploy_to, .. } = &site;
    // Somebody else's file takes what is left of the disk as soon as the first bytes have come.
    let filler = format!(
        "cd {deploy_to}\nsetsid sh -c 'until [ -n \"$(ls .rdeploy/incoming)\" ]; do sleep 0.01; done\n\
         head -c 100000000 /dev/zero >somebodys-log; touch ~/full' </dev/null >/dev/null 2>&1 &"
    );
    site.host(2).must(user, &filler);
    let mut beans = vec![0; 24 << 20];
    beans.iter_mut().enumerate().for_each(|(n, byte)| *byte = (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    site.write_app(&App::version("v2"));
    fs::write(site.project().join("beans"), beans).unwrap();
    site.deploy().ends_with(5).says("10.77.0.2").says("the disk is full");
    assert!(site.host(2).disk(&format!("/home/{user}/full")).exists(), "the disk was never filled");
    site.host(2).must(user, &format!("rm {deploy_to}/somebodys-log"));
    site.still_runs("v1", &first);

    fs::remove_file(site.project().join("beans")).unwrap();
    the_next_deploy_works(&site);
}
