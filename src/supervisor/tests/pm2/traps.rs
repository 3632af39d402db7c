//! Owns what PM2 does that nobody expects of it: its own lock, its guesses from a path, what a reload leaves as it
//! was.

use super::*;

/// Waits until it is so, which the test is about; a minute is for a slow machine.
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// PM2 refuses other reloads for half a minute after one that was killed, some with status 0. And its daemon may
/// stand in a release that is removed.
#[test]
fn neither_a_killed_reload_nor_a_daemon_in_a_removed_release_is_in_the_way() {
    let Some(mut host) = Pm2Host::new(7, Shell::Bash) else { return };
    let env = host.environment();
    host.host.env.insert("PORT".to_owned(), host.port.to_string());
    host.unpack("1", CLUSTER, &env);
    host.host.switch("1");
    assert!(host.pm2_in("app/current", &["start", "ecosystem.config.js"]).status.success());
    let mut reload = host.command_in("app/current", &["reload", "web"]).spawn().unwrap();
    let lock = host.host.dir.path().join("pm2/reload.lock");
    eventually("the lock of a reload", || fs::metadata(&lock).is_ok_and(|lock| lock.len() > 0));
    reload.kill().unwrap();
    reload.wait().unwrap();
    assert!(!host.pm2(&["reload", "web"]).status.success(), "PM2 lets others reload");

    host.unpack("2", CLUSTER, &env);
    assert!(host.deploy("2", None).assert_ok().says("proof proven 2 processes"));
    fs::remove_dir_all(host.host.release("1")).unwrap();
    let stands = fs::read_link(format!("/proc/{}/cwd", host.daemon_pid())).unwrap();
    assert!(stands.display().to_string().ends_with("/1 (deleted)"), "{stands:?}");
    host.unpack("3", CLUSTER, &env);
    assert!(host.deploy("3", Some("2")).assert_ok().says("proof proven 2 processes"));
    assert_eq!(host.ask("").as_deref(), Some("3"));
}

/// A reload applies none of these.
#[test]
fn a_changed_script_directory_and_log_reach_pm2() {
    let Some(host) = Pm2Host::new(7, Shell::Dash) else { return };
    let env = host.environment();
    host.unpack("1", CLUSTER, &env);
    host.deploy("1", None).assert_ok();
    let moved =
        "[{ name: 'web', script: 'main.js', cwd: __dirname + '/api', exec_mode: 'cluster', instances: 2 }]";
    let logged = moved.replace("'main.js'", "'main.js', out_file: '../../web.log'");
    for (id, leaving, apps) in [("2", "1", moved), ("3", "2", logged.as_str())] {
        host.unpack(id, apps, &env);
        let api = host.host.release(id).join("api");
        host.host.write(api.join("main.js"), SERVER);
        host.host.write(api.join("VERSION"), id);
        assert!(host.deploy(id, Some(leaving)).assert_ok().says("proof proven 2 processes"));
        assert_eq!(host.ask("").as_deref(), Some(id));
        assert_eq!(host.places("web"), vec![api.canonicalize().unwrap(); 2]);
    }
    let written = |file: &str| fs::read_to_string(host.host.root().join(file)).unwrap_or_default();
    eventually("the new log", || {
        written("web-0.log").contains("listening as 3") || written("web.log").contains("listening as 3")
    });
}

/// What PM2 starts again and again leads through the link.
#[test]
fn an_app_that_ends_again_and_again_heals_by_the_link_alone() {
    let Some(host) = Pm2Host::new(6, Shell::BusyBox) else { return };
    let env = host.environment();
    let apps = "[{ name: 'web', script: 'server.js', restart_delay: 200, max_restarts: 10000 }]";
    host.unpack("1", apps, &env);
    host.deploy("1", None).assert_ok();
    host.unpack("2", apps, &env);
    host.host.write(host.host.release("2").join("server.js"), "throw new Error('no such table');\n");
    let answer = host.deploy("2", Some("1"));
    // Between two starts there is a process id in PM2's list, but no process.
    let ways = ["has ended", "is waiting restart", "ended and was restarted by PM2", "ended: process"];
    assert!(ways.iter().any(|way| answer.failure().contains(way)), "{answer:?}");
    host.host.switch("1");
    eventually("the old code to serve", || host.ask("").as_deref() == Some("1"));
}

/// PM2 looks for these endings anywhere in a path.
#[test]
fn a_deploy_to_that_reads_like_a_file_of_pm2s_is_a_directory_all_the_same() {
    let Some(host) = Pm2Host::in_directory("shop.config.js.json.yml-", 5, Shell::Bash) else { return };
    let env = host.environment();
    for (id, leaving) in [("1", None), ("2", Some("1"))] {
        host.unpack(id, FORK, &env);
        assert!(host.deploy(id, leaving).assert_ok().says("proof proven 1 process"));
        assert_eq!(host.ask("").as_deref(), Some(id));
    }
}

/// With `autorestart: false` PM2 says of both that they are stopped.
#[test]
fn a_job_that_has_done_its_work_is_told_from_one_that_failed() {
    let Some(host) = Pm2Host::new(7, Shell::BusyBox) else { return };
    let mut env = host.environment();
    env.health = vec![];
    let apps =
        "[{ name: 'web', script: 'server.js' }, { name: 'job', script: 'job.js', autorestart: false }]";
    for (id, leaving, job) in [("1", None, "process.exit(0);\n"), ("2", Some("1"), "process.exit(3);\n")] {
        host.unpack(id, apps, &env);
        host.host.write(host.host.release(id).join("job.js"), job);
        let answer = host.deploy(id, leaving);
        if id == "1" {
            let answer = answer.assert_ok();
            assert!(answer.says("ran to its end"), "{answer:?}");
        } else {
            assert!(answer.failure().contains("job (id"), "{answer:?}");
        }
    }
}

/// For a moment PM2's list still has a process that is gone.
#[test]
fn a_job_that_ended_before_pm2_noticed_is_waited_for_and_an_app_is_not() {
    let Some(host) = Pm2Host::new(7, Shell::Dash) else { return };
    for (autorestart, verdict) in [
        (false, "wait job (id 4) has ended, and PM2 does not know how yet\n"),
        (true, "bad job (id 4) has ended (process 4194305)\n"),
    ] {
        let apps = format!("[{{ name: 'job', script: 'server.js', autorestart: {autorestart} }}]");
        host.unpack("1", &apps, &host.environment());
        host.call("1", "app_compile").assert_ok();
        let work = tempfile::tempdir_in(host.host.dir.path()).unwrap();
        // No process has a number so high.
        let env = serde_json::json!({ "status": "online", "restart_time": 0, "autorestart": autorestart });
        let list = serde_json::json!([{ "name": "job", "pm_id": 4, "pid": 4_194_305, "pm2_env": env }]);
        fs::write(work.path().join("list"), list.to_string()).unwrap();
        let (recipe, release) = (host.host.recipe("1"), host.host.release("1"));
        let mut look = Command::new("node");
        look.arg(recipe.join("pm2.cjs")).arg("look").args([
            host.host.dir.path(),
            &release,
            &recipe,
            work.path(),
        ]);
        let output = look.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), verdict, "{output:?}");
    }
}
