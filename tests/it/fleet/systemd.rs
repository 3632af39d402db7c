//! The sample app kept up by systemd: by a unit of its user's, and by a unit of the host's.

use super::app::App;
use super::interrupted::hosts_heal_after_a_hook_in_which_the_client_is_killed;
use super::site::PATIENCE;
use super::site::Site;
use super::workers::Keeper;
use crate::support::fleet::eventually;
use crate::support::full::is_full;

/// The unit, which leads through `current`.
fn unit(site: &Site, more: &str) -> String {
    let deploy_to = &site.deploy_to;
    format!(
        "[Unit]\nDescription=shop\n[Service]\nType=exec\nWorkingDirectory={deploy_to}/current\n\
         EnvironmentFile=-{deploy_to}/.rdeploy/env\nExecStart=/usr/bin/node server.js\n\
         Restart=on-failure\nRestartSec=100ms\n{more}\n[Install]\nWantedBy=default.target\n"
    )
}

/// A site whose app is a unit of its user's on every host.
pub(super) fn with_user_unit(mut site: Site) -> Site {
    site.keeper = Keeper::UserUnit;
    site.instances = 1;
    site.supervised_by("kind = \"systemd\"\nunits = \"shop.service\"");
    let text = unit(&site, "");
    site.on_every_host(|host| {
        host.must(
            &site.user,
            &format!(
                "mkdir -p ~/.config/systemd/user\ncat >~/.config/systemd/user/shop.service <<'END'\n{text}END\n\
                 systemctl --user daemon-reload\nsystemctl --user enable -q shop.service\n"
            ),
        );
    });
    site
}

/// For a test that is not about what keeps the app up: a unit, which costs a host far less than PM2 and two
/// workers. In a full run those.
pub(super) fn kept_up_somehow(site: Site) -> Site {
    if is_full() { site } else { with_user_unit(site) }
}

#[test]
fn a_unit_goes_forward_and_back_and_comes_back_from_the_live_release_after_a_reboot() {
    let test = "a_unit_goes_forward_and_back_and_comes_back_from_the_live_release_after_a_reboot";
    let Some(site) = Site::on_own_hosts(test, 1) else { return };
    let site = with_user_unit(site);
    let first = site.runs("v1");
    let second = site.runs("v2");
    site.fleet().reboot(1);
    eventually(PATIENCE, "the app to be back after a reboot", || site.all_answer("v2"));
    assert_eq!(site.serves("v2"), second);

    site.roll_back().ends_with(0);
    assert_eq!(site.serves("v1"), first);
    site.fleet().reboot(1);
    eventually(PATIENCE, "the app to be back after a reboot", || site.all_answer("v1"));
    assert_eq!(site.serves("v1"), first);
    site.runs("v4");
    site.is_clean();
}

#[test]
fn a_changed_unit_and_variables_that_come_and_go_reach_the_app() {
    let test = "a_changed_unit_and_variables_that_come_and_go_reach_the_app";
    let Some(site) = Site::on_own_hosts(test, 1) else { return };
    let site = with_user_unit(site);
    site.runs("v1");
    let variables = |site: &Site| {
        let (pid, _) = site.workers(site.host(1)).pop_first().unwrap();
        site.host(1)
            .must(&site.user, &format!("tr '\\0' '\\n' </proc/{pid}/environ | grep ^SHOP_ | sort || true"))
    };
    assert_eq!(variables(&site), "");
    site.configure(|settings| settings.env = "vars.SHOP_MOTTO = 'a \"b\" $HOME `id` \\ %h'".into());
    site.host(1).must(
        &site.user,
        "sed -i 's/^Restart=/Environment=SHOP_UNIT=changed\\nRestart=/' ~/.config/systemd/user/shop.service",
    );
    site.runs("v2");
    assert_eq!(variables(&site), "SHOP_MOTTO=a \"b\" $HOME `id` \\ %h\nSHOP_UNIT=changed\n");
    site.configure(|_| {});
    site.runs("v3");
    assert_eq!(variables(&site), "SHOP_UNIT=changed\n");
    // A release has its own.
    site.roll_back().ends_with(0);
    assert!(variables(&site).contains("SHOP_MOTTO="));
}

#[test]
fn what_a_unit_lacks_is_said_before_anything_changes() {
    let test = "what_a_unit_lacks_is_said_before_anything_changes";
    let Some(site) = Site::on_own_hosts(test, 1) else { return };
    let site = with_user_unit(site);
    let first = site.runs("v1");
    let host = site.host(1);
    let Site { user, deploy_to, .. } = &site;
    site.write_app(&App::version("v2"));

    site.supervised_by("kind = \"systemd\"\nunits = [\"shop.service\", \"worker.service\"]");
    site.deploy().ends_with(3).says("the unit worker.service is not on the host");
    site.supervised_by("kind = \"systemd\"\nunits = \"shop.service\"");

    let file = "~/.config/systemd/user/shop.service";
    host.must(
        user,
        &format!(
            "cp {file} unit; sed -i 's,/current,/releases/{first},' {file}; systemctl --user daemon-reload"
        ),
    );
    site.deploy().ends_with(3).says("names a release").says(&format!("{deploy_to}/current"));
    host.must(user, &format!("cp unit {file}; systemctl --user daemon-reload"));

    host.root(&format!("loginctl disable-linger {user}"));
    site.deploy().ends_with(3).says(&format!("sudo loginctl enable-linger {user}"));
    host.root(&format!("loginctl enable-linger {user}"));
    site.still_runs("v1", &first);

    // A login without PAM is not told where the user's manager is.
    logs_in_with_pam(&site, false);
    site.write_app(&App::version("v2"));
    site.deploy().ends_with(0);
    logs_in_with_pam(&site, true);
    assert_ne!(site.serves("v2"), first);
}

/// Lets sshd ask PAM at a login, or not, and waits until it does.
fn logs_in_with_pam(site: &Site, pam: bool) {
    let (yes, no) = if pam { ("yes", "no") } else { ("no", "yes") };
    let host = site.host(1);
    // Without PAM sshd itself refuses accounts whose password is locked.
    host.root(&format!(
        "for user in root {}; do usermod -p '*' $user; done\n\
         sed -i 's/^UsePAM {no}$/UsePAM {yes}/' /etc/ssh/sshd_config\nsystemctl reload ssh",
        site.user
    ));
    eventually(PATIENCE, "sshd to have read its configuration", || {
        let said = host.ssh_with_input(&site.user, "echo place=$XDG_RUNTIME_DIR", "").stdout;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        said.starts_with("place=") && (said == "place=") != pam
    });
}

#[test]
fn a_unit_of_the_host_is_restarted_with_exactly_the_rights_that_are_asked_for() {
    let test = "a_unit_of_the_host_is_restarted_with_exactly_the_rights_that_are_asked_for";
    let Some(mut site) = Site::on_own_hosts(test, 1) else { return };
    site.keeper = Keeper::SystemUnit;
    site.instances = 1;
    site.supervised_by("kind = \"systemd\"\nscope = \"system\"\nunits = \"shop.service\"");
    let text = unit(&site, &format!("User={}", site.user));
    let host = site.host(1);
    host.root(&format!(
        "cat >/etc/systemd/system/shop.service <<'END'\n{text}END\nsystemctl daemon-reload\nsystemctl enable -q shop.service"
    ));
    site.write_app(&App::version("v1"));
    let refused = site.deploy().ends_with(3).says("/etc/sudoers.d");
    let line = refused.sudoers_line();
    assert!(line.starts_with(&format!("{} ALL=(root) NOPASSWD: ", site.user)), "{line}");
    // sudo compares words: `shop` is another unit than `shop.service`.
    site.grants(&line.replace("shop.service", "shop"));
    site.deploy().ends_with(3).says(line);
    site.grants(line);
    let first = site.runs("v1");
    let second = site.runs("v2");
    site.write_app(&App::version("v3").throws_at_start());
    site.deploy().ends_with(5).says("shop.service");
    site.still_runs("v2", &second);
    site.roll_back().ends_with(0);
    assert_eq!(site.serves("v1"), first);
}

#[test]
fn a_client_that_is_killed_leaves_a_unit_that_is_put_back() {
    let test = "a_client_that_is_killed_leaves_a_unit_that_is_put_back";
    let Some(site) = Site::on_own_hosts(test, 2) else { return };
    let site = with_user_unit(site);
    hosts_heal_after_a_hook_in_which_the_client_is_killed(&site);
}
