//! Owns releases that do not work under PM2, and how that is noticed.

use super::*;

in_both_modes_under_each_pm2!(a_release_that_throws_at_its_start_fails_with_what_it_wrote);

fn a_release_that_throws_at_its_start_fails_with_what_it_wrote(major: u32, shell: Shell, apps: &str) {
    let Some(host) = Pm2Host::new(major, shell) else { return };
    let env = host.environment();
    host.unpack("1", apps, &env);
    host.deploy("1", None).assert_ok();
    host.unpack("2", apps, &env);
    host.host.write(host.host.release("2").join("server.js"), "throw new Error('no such table');\n");
    host.call("2", "app_compile && app_record").assert_ok();
    host.host.switch("2");
    let answer = host.call("2", "app_start && app_verify");
    assert!(answer.failure().contains("web (id"), "{answer:?}");
    assert!(answer.output.contains("no such table"), "PM2 {major} {answer:?}");
    assert!(!answer.output.contains("listening as 1"), "only what was written since: {answer:?}");
    assert!(host.revert("2", "1").assert_ok().says("proof proven"));
    assert_eq!(host.ask("").as_deref(), Some("1"));
}

/// A release of a cluster of two that is bad in that way, over a good one: what `app_start` says of it. The old
/// code must have gone on serving.
fn tried_by_one_of_two(major: u32, shell: Shell, server: &str) -> Option<Answer> {
    tried_and_asked(major, shell, server, None)
}

/// The same, with a second page that is asked for on the app's port.
fn tried_and_asked(major: u32, shell: Shell, server: &str, second: Option<HttpProbe>) -> Option<Answer> {
    let host = Pm2Host::new(major, shell)?;
    let mut env = host.environment();
    if let Some(mut page) = second {
        page.url = format!("http://127.0.0.1:{}{}", host.port, page.url);
        env.health.push(Health::of(Probe::Http(page)));
        env.vars.insert("GREETING".to_owned(), "all is well".to_owned());
    }
    for health in &mut env.health {
        health.timeout = Duration::from_secs(4);
    }
    host.unpack("1", CLUSTER, &env);
    host.deploy("1", None).assert_ok();
    host.unpack("2", CLUSTER, &env);
    host.host.write(host.host.release("2").join("server.js"), server);
    host.call("2", "app_compile && app_record").assert_ok();
    host.host.switch("2");
    let answer = host.call("2", "app_start");
    assert!(answer.failure().contains("still run the old"), "{answer:?}");
    let old = host.places("web").iter().filter(|place| place.ends_with("1")).count();
    assert_eq!(old, 1, "{answer:?}");
    assert!(host.revert("2", "1").assert_ok().says("proof proven 2 processes"));
    assert_eq!(host.ask("").as_deref(), Some("1"));
    Some(answer)
}

#[test]
fn a_cluster_goes_on_serving_the_old_code_when_the_new_code_throws() {
    let server = "throw new Error('no such table');\n";
    let Some(answer) = tried_by_one_of_two(6, Shell::Dash, server) else { return };
    assert!(answer.output.contains("no such table"), "{answer:?}");
}

under_each_pm2!(a_cluster_goes_on_serving_the_old_code_when_the_new_code_never_listens);

fn a_cluster_goes_on_serving_the_old_code_when_the_new_code_never_listens(major: u32, shell: Shell) {
    let server = "console.log('idle'); setInterval(() => {}, 1000);\n";
    let Some(answer) = tried_by_one_of_two(major, shell, server) else { return };
    assert!(answer.failure().contains("took no connection within 4 s"), "{answer:?}");
    assert!(answer.output.contains("idle"), "{answer:?}");
}

#[test]
fn a_cluster_goes_on_serving_the_old_code_when_the_new_code_ends() {
    let server = "setTimeout(() => process.exit(0), 100);\n";
    tried_by_one_of_two(7, Shell::Bash, server);
}

#[test]
fn a_cluster_goes_on_serving_the_old_code_when_the_new_code_listens_elsewhere() {
    let server = "require('http').createServer((q, a) => a.end()).listen(0, '127.0.0.1');\n";
    let Some(answer) = tried_by_one_of_two(7, Shell::BusyBox, server) else { return };
    assert!(answer.failure().contains("took no connection within 4 s"), "{answer:?}");
}

/// Who asks otherwise than the check says gets a good answer.
#[test]
fn a_cluster_goes_on_serving_the_old_code_when_any_check_is_not_answered_as_it_wants() {
    let server = "require('http').createServer(({ url, headers }, a) => {
        const asked = url === '/GREETING' && headers.host === 'shop.example.com' && headers['x-key'] === 's3cret';
        if (asked) a.write('all ');
        setTimeout(() => a.end(asked ? 'is lost' : 'all is well'), 50);
    }).listen(process.env.PORT, '127.0.0.1');\n";
    let page = HttpProbe {
        host: Some("shop.example.com".to_owned()),
        body: Some("all is well".to_owned()),
        headers: vec![Header { name: "X-Key".to_owned(), value: "s3cret".to_owned() }],
        ..HttpProbe::at("/GREETING".to_owned())
    };
    let Some(answer) = tried_and_asked(6, Shell::Bash, server, Some(page)) else { return };
    assert!(answer.failure().contains("did not pass the health check within 4 s"), "{answer:?}");
    assert!(answer.output.contains("/GREETING answered 200, but without \"all is well\""), "{answer:?}");
}

/// Not every app takes the connections that the health check makes.
#[test]
fn a_cluster_that_listens_nowhere_is_replaced_beside_one_that_is_asked() {
    let Some(host) = Pm2Host::new(7, Shell::Dash) else { return };
    let env = host.environment();
    let apps = "[{ name: 'web', script: 'server.js', exec_mode: 'cluster', instances: 2 }, \
        { name: 'jobs', script: 'jobs.js', exec_mode: 'cluster', instances: 2, listen_timeout: 500 }]";
    for (id, before) in [("1", None), ("2", Some("1"))] {
        host.unpack(id, apps, &env);
        host.host.write(host.host.release(id).join("jobs.js"), "setInterval(() => {}, 1000);\n");
        assert!(host.deploy(id, before).assert_ok().says("proof proven 4 processes"));
    }
    assert_eq!(host.ask("").as_deref(), Some("2"));
}

#[test]
fn a_release_that_dies_while_it_settles_fails() {
    let Some(host) = Pm2Host::new(7, Shell::Dash) else { return };
    let mut env = host.environment();
    env.health = vec![];
    env.settle = Duration::from_secs(6);
    host.unpack("1", FORK, &env);
    host.host.write(host.host.release("1").join("server.js"), "setTimeout(() => process.exit(7), 2500);\n");
    let answer = host.deploy("1", None);
    // It is looked at in the very moment, or when PM2 has noticed it, or afterwards.
    let ways = ["has ended", "is waiting restart", "ended and was restarted by PM2", "ended: process"];
    assert!(ways.iter().any(|way| answer.failure().contains(way)), "{answer:?}");
}

/// PM2 may restart a process of a release that dies until the very moment of the way back.
#[test]
fn a_process_that_ends_on_the_way_back_gets_some_more_chances_and_not_without_end() {
    let Some(host) = Pm2Host::new(7, Shell::Dash) else { return };
    let mut env = host.environment();
    env.settle = Duration::from_secs(2);
    for id in ["1", "2"] {
        host.unpack(id, FORK, &env);
    }
    let dying = "const files = require('fs');
        if (files.existsSync(__dirname + '/falls')) setTimeout(() => process.exit(3), 1000);
        if (!files.existsSync(__dirname + '/always')) files.rmSync(__dirname + '/falls', { force: true });\n";
    host.host.write(host.host.release("1").join("server.js"), &format!("{dying}{SERVER}"));
    host.deploy("1", None).assert_ok();
    let fall = |name: &str| host.host.write(host.host.release("1").join(name), "");
    host.deploy("2", Some("1")).assert_ok();
    fall("falls");
    assert!(host.revert("2", "1").assert_ok().says("proof proven 1 process"));
    assert_eq!(host.ask("").as_deref(), Some("1"));
    host.deploy("2", Some("1")).assert_ok();
    fall("always");
    fall("falls");
    let answer = host.revert("2", "1");
    let ways =
        ["has ended", "is waiting restart", "ended and was restarted by PM2", "ended: process", "errored"];
    assert!(ways.iter().any(|way| answer.failure().contains(way)), "{answer:?}");
}

#[test]
fn an_app_that_was_restarted_since_it_was_proven_is_not_well_any_more() {
    let Some(host) = Pm2Host::new(7, Shell::BusyBox) else { return };
    host.unpack("1", FORK, &host.environment());
    host.deploy("1", None).assert_ok();
    for _ in 0..2 {
        assert!(host.call("1", "app_recheck").assert_ok().says("proof proven 1 process"));
    }
    assert!(host.pm2(&["restart", "all"]).status.success());
    let answer = host.call("1", "app_recheck");
    assert!(answer.failure().contains("restarted by PM2 1 times"), "{answer:?}");
}

#[test]
fn a_release_that_never_listens_fails_its_health_check() {
    let Some(host) = Pm2Host::new(7, Shell::Bash) else { return };
    let mut env = host.environment();
    for health in &mut env.health {
        health.timeout = Duration::from_secs(3);
    }
    host.unpack("1", FORK, &env);
    host.host.write(
        host.host.release("1").join("server.js"),
        "console.log('idle'); setInterval(() => {}, 1000);\n",
    );
    let answer = host.deploy("1", None);
    assert!(answer.failure().contains("the health check did not pass within 3 s"), "{answer:?}");
    assert!(answer.output.contains("idle"), "{answer:?}");
}
