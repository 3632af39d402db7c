//! Files that must load, and what they come to.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::MANIFEST_DIR;
use super::cases;
use super::read;
use super::text_of;
use crate::config::*;

fn valid(name: &str) -> Project {
    read(&text_of(Path::new("tests/configs/valid").join(name))).unwrap_or_else(|report| panic!("{report}"))
}

fn only(mut project: Project) -> Environment {
    assert_eq!(project.environments.len(), 1);
    project.environments.pop_first().unwrap().1
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn every_valid_file_loads_from_disk() {
    for path in cases("valid") {
        load(Some(&path), Path::new(MANIFEST_DIR)).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn what_is_not_written_has_a_default() {
    let project = valid("minimal.toml");
    assert_eq!((project.app.as_str(), project.root.to_str()), ("shop", Some("/project")));
    let environment = only(project);
    assert_eq!(environment.name, "stage");
    assert_eq!(environment.app, "shop");
    assert_eq!(environment.deploy_to, "/srv/shop");
    assert_eq!(environment.keep_releases, 5);
    assert_eq!(environment.build, Build { source: ".".into(), ..Build::default() });
    assert_eq!(environment.supervisor, Supervisor::None);
    assert_eq!(environment.settle, seconds(5));
    assert_eq!(environment.health, []);
    assert_eq!(environment.hooks, Hooks::default());
    assert_eq!(environment.lease, seconds(30));
    assert_eq!(environment.rollout, Rollout::default());
    assert_eq!(environment.max_unreachable, 0);
    assert_eq!(environment.ssh.connect_timeout, seconds(10));
    let user = Some("deploy".to_owned());
    let host = Host { user, address: "stage.example.com".to_owned(), port: 22, roles: None };
    assert_eq!(environment.hosts, Hosts::Listed(vec![host]));
}

#[test]
fn every_key_arrives_where_it_is_used() {
    let environment = only(valid("every_key.toml"));
    assert_eq!(environment.deploy_to, "/srv/shop");
    assert_eq!(environment.keep_releases, 3);
    assert_eq!(environment.linked_dirs, ["log", "public/uploads"]);
    assert_eq!(environment.linked_files, [".env"]);
    assert_eq!(environment.path, ["/opt/node/bin", "/opt/tools"]);
    assert_eq!(environment.lease, seconds(90));
    let order = vec!["db".to_owned(), "web".to_owned()];
    let expected = Rollout { first: 1, batch: Batch::Percent(25), pause: seconds(60), order };
    assert_eq!(environment.rollout, expected);
    assert_eq!(environment.max_unreachable, 1);
    assert_eq!(environment.settle, seconds(10));
    let vars: Vec<(&str, &str)> = environment.vars.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expected = [("DEBUG", "false"), ("NODE_ENV", "production"), ("PORT", "3000"), ("TEXT", "two\nlines")];
    assert_eq!(vars, expected);
    let expected = Build {
        run: vec!["make".to_owned()],
        source: "dist".into(),
        include: vec!["dist/**".to_owned()],
        exclude: vec!["*.map".to_owned()],
    };
    assert_eq!(environment.build, expected);
    let probe = HttpProbe {
        url: "http://127.0.0.1:3000/healthz".to_owned(),
        host: Some("shop.example.com".to_owned()),
        socket: Some("current/tmp/app.sock".to_owned()),
        status: vec![Statuses { from: 200, to: 200 }, Statuses { from: 300, to: 303 }],
        body: Some("ok".to_owned()),
        headers: vec![Header { name: "X-Key".to_owned(), value: "1".to_owned() }],
    };
    let expected = Health {
        probe: Probe::Http(probe),
        timeout: seconds(60),
        interval: Duration::from_millis(500),
        successes: 3,
        delay: seconds(5),
    };
    assert_eq!(environment.health, [expected]);
    assert_eq!(environment.ssh.identity, [Path::new("/home/me/.ssh/deploy"), Path::new("/project/keys/ci")]);
    assert_eq!(environment.ssh.known_hosts, [Path::new("/project/known_hosts")]);
    assert_eq!(environment.ssh.connect_timeout, seconds(20));
    let Hosts::Listed(hosts) = &environment.hosts else { panic!("no hosts") };
    let names: Vec<String> = hosts.iter().map(Host::name).collect();
    assert_eq!(names, ["web1.example.com", "[2001:db8::2]:2222"]);
    let roles: BTreeSet<String> = ["web", "db"].map(str::to_owned).into();
    assert_eq!(hosts.first().and_then(|host| host.roles.clone()), Some(roles));
}

#[test]
fn pm2_apps_are_read_as_pm2_itself_would() {
    let Supervisor::Pm2(Pm2::Apps(apps)) = only(valid("every_key.toml")).supervisor else {
        panic!("no apps");
    };
    let [web, worker, cron] = apps.as_slice() else { panic!("{apps:?}") };
    assert_eq!((web.name.as_str(), web.script.as_str()), ("web", "server.js"));
    assert_eq!(web.cwd.as_deref(), Some("api"));
    assert_eq!(web.args, ["--port", "3000"]);
    assert_eq!(web.instances, Some(Instances::Max));
    assert!(web.cluster, "instances of a node script are a cluster");
    assert_eq!(web.env.get("WORKERS").map(String::as_str), Some("4"));
    assert_eq!(worker.args, ["--name", "two words"]);
    assert_eq!(worker.instances, Some(Instances::Count(2)));
    assert!(!worker.cluster, "only node can be clustered");
    assert!(cron.cluster && cron.instances.is_none());
}

#[test]
fn hooks_run_in_deploys_unless_they_say_otherwise() {
    let hooks = only(valid("every_key.toml")).hooks;
    let when = |hooks: &[Hook]| -> Vec<(bool, bool)> {
        hooks.iter().map(|hook| (hook.on_deploy, hook.on_rollback)).collect()
    };
    assert_eq!(when(&hooks.before_build), [(true, false)]);
    assert_eq!(when(&hooks.after_build), [(true, false)]);
    assert_eq!(when(&hooks.after_unpack), [(true, false), (true, false)]);
    assert_eq!(when(&hooks.before_switch), [(true, true)]);
    assert_eq!(when(&hooks.after_switch), [(false, true)]);
    assert_eq!(when(&hooks.after_deploy), [(true, false)]);
    assert_eq!(when(&hooks.on_failure), [(true, true), (true, false)]);
    assert_eq!(when(&hooks.after_rollback), [(false, true)]);
    let test = hooks.after_build.first().unwrap();
    assert_eq!((test.dir.as_deref(), test.timeout), (Some("app"), seconds(3_600)));
    let warm = hooks.after_unpack.get(1).unwrap();
    assert_eq!((warm.roles.as_slice(), warm.undo.as_deref()), (&["web".to_owned()][..], Some("bin/cool")));
    assert_eq!(warm.timeout, seconds(600));
    assert!(hooks.before_switch.first().unwrap().once);
}

#[test]
fn an_environment_merges_tables_and_replaces_arrays() {
    let project = valid("environments_override.toml");
    let stage = project.environment("stage").unwrap();
    assert_eq!(stage.linked_dirs, ["cache"]);
    let vars: Vec<(&str, &str)> = stage.vars.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(vars, [("NODE_ENV", "staging"), ("REGION", "eu")]);
    // What is no probe is inherited.
    assert_eq!(stage.health, [Health { timeout: seconds(60), ..tcp(3000) }]);
    assert!(stage.hooks.after_unpack.is_empty(), "an empty list replaces");
    assert_eq!(stage.hooks.after_deploy.len(), 1);
    assert_eq!(stage.ssh.identity, [Path::new("/etc/keys/ci")]);
    assert_eq!(stage.ssh.connect_timeout, seconds(5));
    let ecosystem = "pm2/ecosystem.config.cjs".to_owned();
    assert_eq!(stage.supervisor, Supervisor::Pm2(Pm2::Ecosystem(ecosystem)));
}

fn tcp(port: u16) -> Health {
    Health::of(Probe::Tcp { host: "127.0.0.1".to_owned(), port })
}

#[test]
fn one_health_check_over_another_merges_as_far_as_both_ask_alike() {
    let project = valid("health.toml");
    let of = |name: &str| project.environment(name).unwrap().health.clone();
    let header = |name: &str, value: &str| Header { name: name.to_owned(), value: value.to_owned() };
    let page = HttpProbe {
        host: Some("shop.example.com".to_owned()),
        body: Some("ok".to_owned()),
        status: vec![Statuses::SUCCESS],
        headers: vec![header("Accept", "text/plain"), header("x-key", "2")],
        ..HttpProbe::at("http://127.0.0.1:8080/".to_owned())
    };
    let above = |probe| Health { timeout: seconds(60), delay: seconds(2), ..Health::of(probe) };
    assert_eq!(of("more"), [Health { successes: 2, ..above(Probe::Http(page.clone())) }]);
    let through = HttpProbe {
        url: "http://127.0.0.1:3000/healthz".to_owned(),
        socket: Some("current/tmp/app.sock".to_owned()),
        status: vec![Statuses::SUCCESS_OR_REDIRECTION],
        headers: vec![header("Accept", "text/plain"), header("X-Key", "1")],
        ..page
    };
    assert_eq!(of("through"), [above(Probe::Http(through))], "a socket says through what the page is asked");
    assert_eq!(of("other"), [Health { timeout: seconds(60), delay: seconds(2), ..tcp(3000) }]);
}

#[test]
fn several_health_checks_replace_what_is_above_and_are_replaced() {
    let project = valid("health.toml");
    let of = |name: &str| project.environment(name).unwrap().health.clone();
    let status = vec![Statuses { from: 204, to: 204 }, Statuses { from: 301, to: 303 }];
    let page = HttpProbe { status, ..HttpProbe::at("http://127.0.0.1:3000/healthz".to_owned()) };
    let expected = [
        Health::of(Probe::Http(page)),
        Health { successes: 5, interval: seconds(2), ..tcp(5432) },
        Health::of(Probe::Command("bin/healthy".to_owned())),
    ];
    assert_eq!(of("several"), expected);
    assert_eq!(of("socket"), [Health::of(Probe::Socket("/run/shop.sock".to_owned()))]);
    assert_eq!(of("none"), []);
    let above = valid("health_above.toml");
    let of = |name: &str| above.environment(name).unwrap().health.clone();
    assert_eq!(of("both"), [tcp(3000), tcp(3001)]);
    assert_eq!(of("one"), [tcp(3002)]);
}

#[test]
fn choosing_another_supervisor_leaves_the_first_ones_keys_behind() {
    let project = valid("environments_override.toml");
    let supervisor = |name: &str| project.environment(name).unwrap().supervisor.clone();
    let start = "service shop start".to_owned();
    let command = CommandSupervisor { start, restart: None, stop: None, status: None, logs: vec![] };
    assert_eq!(supervisor("legacy"), Supervisor::Command(command));
    assert!(matches!(supervisor("apps"), Supervisor::Pm2(Pm2::Apps(apps)) if apps.len() == 1));
    assert_eq!(supervisor("static"), Supervisor::None);
    assert_eq!(project.environment("legacy").unwrap().settle, seconds(8), "settle belongs to no kind");
    assert_eq!(project.environment("legacy").unwrap().deploy_to, "/opt/shop");
    assert_eq!(project.environment("dev").unwrap().hosts, Hosts::Embedded(2));
}

#[test]
fn a_rollout_in_an_environment_replaces_the_one_above() {
    let project = valid("environments_override.toml");
    let rollout = |name: &str| project.environment(name).unwrap().rollout.clone();
    let above = Rollout { first: 1, pause: seconds(30), order: vec!["db".to_owned()], ..Rollout::default() };
    assert_eq!(rollout("stage"), above);
    assert_eq!(rollout("dev"), above, "what does not fit these hosts has no effect");
    assert_eq!(rollout("legacy"), Rollout::default(), "an empty one is all at once");
    assert_eq!(rollout("apps"), Rollout { batch: Batch::Hosts(1), ..Rollout::default() });
}

#[test]
fn an_unknown_environment_is_answered_with_those_there_are() {
    let project = valid("environments_override.toml");
    let error = |name| project.environment(name).unwrap_err().to_string();
    insta::assert_snapshot!(error("stgae"), @"there is no environment `stgae`: did you mean `stage`? (deploy.toml has apps, dev, legacy, stage, static)");
    insta::assert_snapshot!(error("production"), @"there is no environment `production`: deploy.toml has apps, dev, legacy, stage, static");
    insta::assert_snapshot!(error("\u{1b}[2J"), @"there is no environment `\\u{1b}[2J`: deploy.toml has apps, dev, legacy, stage, static");
}

#[test]
fn units_of_systemd_are_the_users_own_unless_it_says_otherwise() {
    let project = valid("systemd.toml");
    let of = |name: &str| project.environment(name).unwrap().supervisor.clone();
    let systemd = |units: &[&str], scope| {
        Supervisor::Systemd(Systemd {
            units: units.iter().map(|unit| (*unit).to_owned()).collect(),
            scope,
            service: None,
        })
    };
    assert_eq!(of("stage"), systemd(&["shop.service", "worker@1.service"], Scope::User));
    assert_eq!(of("prod"), systemd(&["shop.service"], Scope::System));
}

#[test]
fn programs_of_supervisord_are_named_as_supervisorctl_names_them() {
    let project = valid("supervisord.toml");
    let of = |name: &str| project.environment(name).unwrap().supervisor.clone();
    let supervisord = |programs: &[&str], config: Option<&str>| {
        Supervisor::Supervisord(Supervisord {
            programs: programs.iter().map(|program| (*program).to_owned()).collect(),
            config: config.map(str::to_owned),
            exec: None,
        })
    };
    assert_eq!(of("stage"), supervisord(&["shop", "site:worker", "queue:*"], None));
    assert_eq!(of("prod"), supervisord(&["shop"], Some("/home/deploy/supervisord.conf")));
}
