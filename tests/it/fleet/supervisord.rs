//! The sample app kept up by supervisord: by root's, and by one of the login user's own.

use std::fs;
use std::path::Path;

use super::app::App;
use super::example::Example;
use super::interrupted::hosts_heal_after_a_hook_in_which_the_client_is_killed;
use super::setup::does_as_told;
use super::site::PATIENCE;
use super::site::Site;
use super::workers::Keeper;
use crate::support;
use crate::support::fleet::eventually;

/// A place whose app is a program of supervisord; none (and a note) where there is none to be had.
pub(super) fn open(test: &str, hosts: usize) -> Option<Site> {
    if !Path::new("/usr/bin/supervisord").exists() {
        support::skip(test, "/usr/bin/supervisord is not on this machine; tests/run installs it");
        return None;
    }
    let mut site = Site::on_own_hosts(test, hosts)?;
    site.keeper = Keeper::Supervisord;
    site.instances = 1;
    site.supervised_by("kind = \"supervisord\"\nprograms = \"shop\"");
    Some(site)
}

/// The program, which leads through `current`.
fn program(site: &Site, more: &str) -> String {
    let Site { deploy_to, .. } = site;
    format!(
        "[program:shop]\ndirectory={deploy_to}/current\n\
         command=/bin/sh -c '. {deploy_to}/.rdeploy/env.sh; exec /usr/bin/node server.js'\n{more}\n"
    )
}

/// Starts root's supervisord, now and at boot, whose socket the site's user may use, with that program.
pub(super) fn with_roots_daemon(site: &Site) {
    let text = program(site, &format!("user={}", site.user));
    site.on_every_host(|host| {
        host.root(&format!("cat >/etc/supervisor/conf.d/shop.conf <<'END'\n{text}END\n"));
    });
    with_roots_daemon_alone(site);
}

/// The same, with the programs there are.
fn with_roots_daemon_alone(site: &Site) {
    site.on_every_host(|host| {
        host.root(&format!(
            "sed -i 's/^chmod=0700.*/chmod=0770\\nchown=root:{user}/' /etc/supervisor/supervisord.conf\n\
             systemctl add-wants fleet.target supervisor.service 2>&1\nsystemctl start supervisor\n\
             until supervisorctl pid; do sleep 0.1; done",
            user = site.user
        ));
    });
}

#[test]
fn a_program_goes_forward_and_back_and_comes_back_from_the_live_release_after_a_reboot() {
    let test = "a_program_goes_forward_and_back_and_comes_back_from_the_live_release_after_a_reboot";
    let Some(site) = open(test, 1) else { return };
    with_roots_daemon_alone(&site);
    // It is in no file yet: root installs what is laid out.
    let exec = "exec = '/usr/bin/node server.js \"100% of it\" #all'";
    site.supervised_by(&format!("kind = \"supervisord\"\nprograms = \"shop\"\n{exec}"));
    site.write_app(&App::version("v1"));
    let told = site.start(&["setup", "--yes"]).wait().ends_with(3).says("for root to install");
    does_as_told(&site, &told);
    site.start(&["setup", "--yes"]).wait().ends_with(0).says("nothing that rdeploy itself can set up");
    let first = site.runs("v1");
    site.runs("v2");
    site.roll_back().ends_with(0);
    assert_eq!(site.serves("v1"), first);
    site.fleet().reboot(1);
    eventually(PATIENCE, "the app to be back after a reboot", || site.all_answer("v1"));
    assert_eq!(site.serves("v1"), first);
    site.is_clean();
}

#[test]
fn a_client_that_is_killed_leaves_a_program_that_is_put_back() {
    let test = "a_client_that_is_killed_leaves_a_program_that_is_put_back";
    let Some(site) = open(test, 2) else { return };
    with_roots_daemon(&site);
    hosts_heal_after_a_hook_in_which_the_client_is_killed(&site);
}

#[test]
fn the_example_is_restarted_with_exactly_the_rights_that_are_asked_for() {
    let test = "the_example_is_restarted_with_exactly_the_rights_that_are_asked_for";
    let Some(site) = open(test, 1) else { return };
    let example = Example::python_supervisord(site);
    let site = &example.site;
    let runs = |version: &str| {
        example.write(version);
        site.deploy().ends_with(0);
        site.serves(version)
    };
    example.write("1.0.1");
    let refused = site.deploy().ends_with(3).says("/etc/sudoers.d");
    let line = refused.sudoers_line();
    assert!(
        line.starts_with(&format!("{} ALL=(root) NOPASSWD: /usr/bin/supervisorctl ", site.user)),
        "{line}"
    );
    site.grants(line);
    site.start(&["check"]).wait().ends_with(0).says("supervisord 4.").says("(through sudo)");
    let first = runs("1.0.1");
    let second = runs("1.0.2");
    example.write("1.0.3");
    let server = site.project().join("server.py");
    let text = fs::read_to_string(&server).unwrap();
    fs::write(server, format!("raise SystemExit('cannot reach the database')\n{text}")).unwrap();
    site.deploy().ends_with(5).says("cannot reach the database");
    site.still_runs("1.0.2", &second);
    site.roll_back().ends_with(0);
    assert_eq!(site.serves("1.0.1"), first);
}

#[test]
fn what_a_program_lacks_is_said_and_what_changed_of_it_is_taken_over() {
    let test = "what_a_program_lacks_is_said_and_what_changed_of_it_is_taken_over";
    let Some(mut site) = open(test, 1) else { return };
    let conf = format!("/home/{}/supervisord.conf", site.user);
    let named = |programs: &str| format!("kind = \"supervisord\"\nconfig = {conf:?}\nprograms = {programs}");
    site.supervised_by(&named("\"shop\""));
    let text = program(&site, "autostart=false");
    let host = site.host(1);
    host.must(
        &site.user,
        &format!(
            "mkdir programs\ncat >programs/shop.conf <<'END'\n{text}END\n\
             cat >supervisord.conf <<'END'\n\
             [unix_http_server]\nfile=%(here)s/supervisor.sock\n\
             [supervisord]\nlogfile=%(here)s/supervisord.log\npidfile=%(here)s/supervisord.pid\n\
             childlogdir=%(here)s\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://%(here)s/supervisor.sock\n\
             [include]\nfiles=programs/*.conf\nEND\n"
        ),
    );
    site.write_app(&App::version("v1"));
    site.deploy().ends_with(3).says("supervisord does not run on this host");
    host.must(&site.user, "supervisord -c ~/supervisord.conf </dev/null >/dev/null 2>&1");

    site.supervised_by(&named("[\"shop\", \"worker:*\"]"));
    site.deploy().ends_with(3).says("supervisord does not know the program worker:*");
    // What it finds in the files it reads it takes over, at the start.
    host.must(
        &site.user,
        &format!(
            "cat >programs/worker.conf <<'END'\n[program:worker]\ndirectory={}/current\ncommand=sleep 1000\n\
             numprocs=2\nprocess_name=%(process_num)s\nEND\n",
            site.deploy_to
        ),
    );
    site.instances = 3;
    site.write_app(&App::version("v1"));
    let deploy = site.deploy().ends_with(0);
    let deploy = deploy.says("the program shop does not come back after a reboot: it has autostart=false");
    assert!(!deploy.said.contains("worker does not"), "{}", deploy.said);
    let first = site.serves("v1");

    site.supervised_by(&named("[\"shop\", \"worker\"]"));
    site.deploy().ends_with(3).says("worker is a group of processes; write programs = [\"worker:*\"]");
    site.supervised_by(&named("\"shop\""));
    let host = site.host(1);
    let Site { user, deploy_to, .. } = &site;
    host.must(
        user,
        &format!("cp programs/shop.conf .; sed -i 's,/current$,/releases/{first},' programs/shop.conf"),
    );
    site.deploy().ends_with(3).says("names a release").says(&format!("{deploy_to}/current"));
    host.must(user, "cp shop.conf programs");

    // What the release does not name is stopped; what the program was given since is there.
    let variables = |site: &Site| {
        let server = "for p in /proc/[0-9]*; do [ \"$(tr '\\0' ' ' <$p/cmdline)\" = '/usr/bin/node server.js ' ] && \
             tr '\\0' '\\n' <$p/environ; done 2>/dev/null | grep ^SHOP_ | sort || true";
        site.host(1).must(&site.user, server)
    };
    assert_eq!(variables(&site), "");
    host.must(user, "echo 'environment=SHOP_PROGRAM=\"changed\"' >>programs/shop.conf");
    site.instances = 1;
    site.configure(|settings| {
        settings.env = "vars.SHOP_MOTTO = \"a \\\"b\\\" it's $HOME `id` \\\\ %h \\ntwo\"".into();
    });
    site.runs("v2");
    assert_eq!(
        variables(&site),
        "SHOP_MOTTO=a \"b\" it's $HOME `id` \\ %h \nSHOP_PROGRAM=changed\n",
        "sorted by line: the second line of the motto is not looked for"
    );
    site.configure(|_| {});
    site.runs("v3");
    assert_eq!(variables(&site), "SHOP_PROGRAM=changed\n");
    // A release has its own.
    site.roll_back().ends_with(0);
    assert!(variables(&site).contains("SHOP_MOTTO="));
}
