//! Owns what differs from one release to the next: variables, modes, numbers and names of apps.

use super::*;

#[test]
fn variables_come_from_the_file_then_its_environment_then_deploy_toml() {
    let Some(host) = Pm2Host::new(6, Shell::BusyBox) else { return };
    let mut env = host.environment();
    env.vars.insert("C".to_owned(), "deploy.toml's".to_owned());
    env.vars.insert("TRICKY".to_owned(), "it's \"$HOME\"\nand more".to_owned());
    let apps = "[{ name: 'web', script: 'server.js', env: { A: 'base', B: 'base', C: 'base', PORT: 1 }, \
                env_production: { B: 'production', C: 'production' }, env_other: { B: 'other' } }]";
    host.unpack("1", apps, &env);
    let compiled = host.call("1", "app_compile").assert_ok();
    assert!(compiled.says("env_production"), "{compiled:?}");
    host.deploy("1", None).assert_ok();
    let values = ["A", "B", "C", "TRICKY", "SSH_CLIENT"].map(|name| host.ask(name).unwrap());
    assert_eq!(values, ["base", "production", "deploy.toml's", "it's \"$HOME\"\nand more", "undefined"]);
    assert_eq!(host.ask("PATH"), host.host.env.get("PATH").cloned());
}

#[test]
fn a_variable_that_left_the_configuration_leaves_the_app() {
    let Some(host) = Pm2Host::new(7, Shell::Bash) else { return };
    let mut env = host.environment();
    env.vars.insert("OLD_KEY".to_owned(), "secret".to_owned());
    host.unpack("1", CLUSTER, &env);
    host.deploy("1", None).assert_ok();
    assert_eq!(host.ask("OLD_KEY").as_deref(), Some("secret"));
    env.vars.remove("OLD_KEY");
    host.unpack("2", CLUSTER, &env);
    let answer = host.deploy("2", Some("1")).assert_ok();
    assert!(answer.says("proof proven"));
    assert_eq!(host.ask("OLD_KEY").as_deref(), Some("undefined"));
}

#[test]
fn a_change_of_mode_or_number_reaches_pm2() {
    let Some(host) = Pm2Host::new(7, Shell::BusyBox) else { return };
    let env = host.environment();
    let cluster = |n: u32| CLUSTER.replace('2', &n.to_string());
    let steps =
        [(FORK.to_owned(), 1), (cluster(3), 3), (cluster(1), 1), (cluster(2), 2), (FORK.to_owned(), 1)];
    let mut last = None;
    for (n, (apps, count)) in steps.iter().enumerate() {
        let id = (n + 1).to_string();
        host.unpack(&id, apps, &env);
        let answer = host.deploy(&id, last.as_deref());
        assert!(answer.ok, "step {n}: {answer:?}");
        assert_eq!(host.list().len(), *count, "step {n}");
        assert_eq!(host.ask(""), Some(id.clone()));
        last = Some(id);
    }
}

#[test]
fn an_app_that_left_the_file_goes_at_commit_and_comes_back_in_a_revert() {
    let Some(host) = Pm2Host::new(7, Shell::Dash) else { return };
    let env = host.environment();
    let both = "[{ name: 'web', script: 'server.js' }, { name: 'idle', script: 'idle.js' }]";
    host.unpack("1", both, &env);
    host.host.write(host.host.release("1").join("idle.js"), "setInterval(() => {}, 1000);\n");
    host.deploy("1", None).assert_ok();
    host.unpack("2", FORK, &env);
    host.deploy("2", Some("1")).assert_ok();
    assert_eq!(host.names(), ["idle", "web"]);
    let recipe = host.host.recipe("1").display().to_string();
    host.host.call_with("2", "app_commit", &[("LEAVING", &recipe)]).assert_ok();
    assert_eq!(host.names(), ["web"]);
    let dump = host.host.dir.path().join("pm2/dump.pm2");
    assert!(!fs::read_to_string(&dump).unwrap().contains("idle.js"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&dump).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // A rollback goes the other way.
    assert!(host.revert("2", "1").assert_ok().says("proof proven 2 processes"));
    assert_eq!(host.names(), ["idle", "web"]);
}

cases!(a_renamed_app_takes_the_old_ones_port_and_a_revert_gives_it_back:
    fork(7, Shell::Dash, FORK, 1);
    // Both would share the port, and answer in turns.
    cluster(6, Shell::Bash, CLUSTER, 2);
);

fn a_renamed_app_takes_the_old_ones_port_and_a_revert_gives_it_back(
    major: u32,
    shell: Shell,
    apps: &str,
    count: usize,
) {
    let Some(host) = Pm2Host::new(major, shell) else { return };
    let env = host.environment();
    host.unpack("1", apps, &env);
    host.deploy("1", None).assert_ok();
    host.unpack("2", &apps.replace("web", "site"), &env);
    host.deploy("2", Some("1")).assert_ok();
    assert_eq!((host.names(), host.ask("").as_deref()), (vec!["site".to_owned(); count], Some("2")));
    host.revert("2", "1").assert_ok();
    assert_eq!((host.names(), host.ask("").as_deref()), (vec!["web".to_owned(); count], Some("1")));
}
