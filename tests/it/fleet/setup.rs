//! `setup`: from a host that has only a login, node and PM2 to one that brings the app back after a reboot.

use super::app::App;
use super::run::Run;
use super::site::PATIENCE;
use super::site::Site;
use super::workers::Keeper;
use crate::support::fleet::eventually;

fn rdeploy(site: &Site, args: &[&str]) -> Run {
    site.start(args).wait()
}

/// Runs the command that rdeploy names for root, up to the end of its line.
pub(super) fn does_as_told(site: &Site, run: &Run) {
    let commands = run.said.lines().filter_map(|line| line.split_once("run on the host: "));
    let commands: Vec<&str> = commands.map(|(_, command)| command).collect();
    assert!(!commands.is_empty(), "it names no command:\n{}", run.said);
    commands.iter().for_each(|command| drop(site.host(1).root(command)));
}

#[test]
fn a_new_host_is_made_ready_for_pm2_and_brings_the_app_back_after_a_reboot() {
    let test = "a_new_host_is_made_ready_for_pm2_and_brings_the_app_back_after_a_reboot";
    let Some(site) = Site::on_own_hosts(test, 1) else { return };
    site.write_app(&App::version("v1"));
    let Site { user, deploy_to, .. } = &site;
    site.host(1).root(&format!("rmdir {deploy_to}; loginctl disable-linger {user}"));

    // Root makes the directory, as it is told; nothing is done before.
    let refused = rdeploy(&site, &["setup", "--yes"]).ends_with(3).says("does not exist");
    does_as_told(&site, &refused);
    rdeploy(&site, &["setup", "--plan"]).ends_with(0).says("loginctl enable-linger").says("pm2.service");
    rdeploy(&site, &["setup"]).ends_with(2).says("setup --yes");
    assert_eq!(site.host(1).must(user, "ls ~/.config/systemd/user 2>/dev/null || true"), "");

    let done = rdeploy(&site, &["setup", "--yes"]).ends_with(0).says("done: let PM2 bring its apps back");
    assert!(!done.said.contains("does not start when"), "{}", done.said);
    rdeploy(&site, &["setup", "--yes"]).ends_with(0).says("nothing that rdeploy itself can set up");
    let release = site.runs("v1");
    site.fleet().reboot(1);
    eventually(PATIENCE, "the app to be back after a reboot", || site.all_answer("v1"));
    assert_eq!(site.serves("v1"), release);
    site.runs("v2");
}

#[test]
fn a_unit_is_written_from_the_configuration_and_a_persons_own_is_left_alone() {
    let test = "a_unit_is_written_from_the_configuration_and_a_persons_own_is_left_alone";
    let Some(mut site) = Site::on_own_hosts(test, 1) else { return };
    site.keeper = Keeper::UserUnit;
    site.instances = 1;
    let unit = |exec: &str| format!("kind = \"systemd\"\nunits = \"shop.service\"\nexec = '{exec}'");
    site.supervised_by(&unit("node server.js"));
    site.write_app(&App::version("v1"));
    site.deploy().ends_with(3).says("the unit shop.service is not on the host; run `rdeploy prod setup`");
    rdeploy(&site, &["setup", "--yes"]).ends_with(0).says("done: write the unit");
    let release = site.runs("v1");
    site.fleet().reboot(1);
    eventually(PATIENCE, "the app to be back after a reboot", || site.all_answer("v1"));
    assert_eq!(site.serves("v1"), release);

    site.supervised_by(&unit("node --no-warnings server.js \"100% $HOME\""));
    rdeploy(&site, &["check"]).ends_with(0).says("deploy.toml describes another shop.service");
    rdeploy(&site, &["setup", "--yes"]).ends_with(0).says("done: write the unit");
    site.runs("v2");
    let home = site.host(1).must(&site.user, "printf %s \"$HOME\"");
    let (pid, _) = site.workers(site.host(1)).pop_first().unwrap();
    let line = site.host(1).must(&site.user, &format!("tr '\\0' '\\n' </proc/{pid}/cmdline | tail -n 1"));
    assert_eq!(line.trim(), format!("100% {home}"));

    let own = "~/.config/systemd/user/shop.service";
    site.host(1).must(&site.user, &format!("sed -i '1s/.*/# mine/' {own}; systemctl --user daemon-reload"));
    site.supervised_by(&unit("node server.js"));
    rdeploy(&site, &["setup", "--yes"]).ends_with(0).says("nothing that rdeploy itself can set up");
    assert!(site.host(1).must(&site.user, &format!("cat {own}")).contains("--no-warnings"));
}

#[test]
fn a_unit_of_the_host_is_laid_out_for_root_to_install() {
    let Some(mut site) = Site::on_own_hosts("a_unit_of_the_host_is_laid_out_for_root_to_install", 1) else {
        return;
    };
    site.keeper = Keeper::SystemUnit;
    site.instances = 1;
    let supervisor =
        "kind = \"systemd\"\nscope = \"system\"\nunits = \"shop.service\"\nexec = \"node server.js\"";
    site.supervised_by(supervisor);
    site.write_app(&App::version("v1"));
    let told = rdeploy(&site, &["setup", "--yes"]).ends_with(3).says("for root to install");
    does_as_told(&site, &told);
    let told = rdeploy(&site, &["check"]).ends_with(3).says("NOPASSWD");
    site.grants(told.sudoers_line());
    rdeploy(&site, &["setup", "--yes"]).ends_with(0);
    site.runs("v1");
    assert_eq!(site.host(1).root("systemctl is-enabled shop.service").trim(), "enabled");
}
