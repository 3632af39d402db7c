//! Owns what a deploy does to a PM2 that works: apps come, are replaced, go, and what is not ours stays.

use super::*;

in_both_modes_under_each_pm2!(a_cluster_and_a_fork_are_started_replaced_put_back_and_removed);

fn a_cluster_and_a_fork_are_started_replaced_put_back_and_removed(major: u32, shell: Shell, apps: &str) {
    let count = if apps == CLUSTER { 2 } else { 1 };
    let Some(host) = Pm2Host::new(major, shell) else { return };
    let env = host.environment();
    let what = format!("PM2 {major} {shell:?} {count}");
    host.unpack("1", apps, &env);
    let answer = host.deploy("1", None).assert_ok();
    assert!(answer.says(&format!("proof proven {count} process")), "{what} {answer:?}");
    assert_eq!(host.ask("").as_deref(), Some("1"), "{what}");
    host.call("1", "app_commit").assert_ok();

    host.unpack("2", apps, &env);
    assert!(host.deploy("2", Some("1")).assert_ok().says("proof proven"), "{what}");
    assert_eq!(host.ask("").as_deref(), Some("2"), "{what}");
    assert_eq!(host.places("web"), vec![host.host.release("2").canonicalize().unwrap(); count]);

    assert!(host.revert("2", "1").assert_ok().says("proof proven"), "{what}");
    assert_eq!(host.ask("").as_deref(), Some("1"), "{what}");

    assert_eq!(host.call("1", "app_pids").assert_ok().output.lines().count(), count);
    assert!(host.call("1", "app_logs 5").assert_ok().output.contains("listening as 1"));
    host.call("1", "app_stop").assert_ok();
    host.call("1", "app_stop").assert_ok();
    assert_eq!(host.list().len(), 0, "{what}");
}

in_both_modes_under_each_pm2!(
    an_app_that_was_registered_by_hand_from_inside_a_release_is_moved_to_the_new_code
);

fn an_app_that_was_registered_by_hand_from_inside_a_release_is_moved_to_the_new_code(
    major: u32,
    shell: Shell,
    apps: &str,
) {
    let Some(mut host) = Pm2Host::new(major, shell) else { return };
    let port = host.port.to_string();
    host.host.env.insert("PORT".to_owned(), port);
    let env = host.environment();
    host.unpack("1", apps, &env);
    host.host.switch("1");
    assert!(host.pm2_in("app/current", &["start", "ecosystem.config.js"]).status.success());
    host.unpack("2", apps, &env);
    let answer = host.deploy("2", None).assert_ok();
    assert!(answer.says("proof proven"), "{answer:?}");
    assert_eq!(host.ask("").as_deref(), Some("2"), "PM2 {major}");
    // From now on it follows the link.
    let current = host.host.root().join("current").display().to_string();
    assert!(host.list().iter().all(|proc| proc["pm2_env"]["pm_cwd"] == current.as_str()));
}

under_each_pm2!(what_was_registered_by_hand_is_restored_after_a_failed_first_deploy);

fn what_was_registered_by_hand_is_restored_after_a_failed_first_deploy(major: u32, shell: Shell) {
    let Some(mut host) = Pm2Host::new(major, shell) else { return };
    let port = host.port.to_string();
    host.host.env.insert("PORT".to_owned(), port);
    host.host.env.insert("BY_HAND".to_owned(), "yes".to_owned());
    let env = host.environment();
    host.unpack("1", CLUSTER, &env);
    host.host.switch("1");
    assert!(host.pm2_in("app/current", &["start", "ecosystem.config.js"]).status.success());
    host.host.env.remove("BY_HAND");

    let apps = "[{ name: 'web', script: 'broken.js', instances: 2, exec_mode: 'cluster', env: { NEW: '1' } }, \
                { name: 'extra', script: 'server.js', env: { PORT: 0 } }]";
    let mut env = env;
    env.vars.remove("PORT");
    host.unpack("2", apps, &env);
    host.host.write(host.host.release("2").join("broken.js"), "throw new Error('no good');\n");
    // Before anything was recorded there is nothing to put back.
    host.call("2", "app_restore").assert_ok();
    assert_eq!(host.names(), ["web", "web"]);
    let answer = host.deploy("2", None);
    assert!(!answer.ok, "{answer:?}");
    host.host.switch("1");
    host.call("2", "app_restore").assert_ok();
    assert_eq!(host.names(), ["web", "web"], "PM2 {major}");
    let back = || host.ask("").as_deref() == Some("1");
    assert!((0..50).any(|_| back() || {
        std::thread::sleep(Duration::from_millis(100));
        false
    }));
    assert_eq!(host.ask("BY_HAND").as_deref(), Some("yes"));
    assert_eq!(host.ask("NEW").as_deref(), Some("undefined"));
    // Once more: what stands is left alone.
    let pids = || host.list().iter().map(|proc| proc["pid"].clone()).collect::<Vec<_>>();
    let before = pids();
    host.call("2", "app_restore").assert_ok();
    assert_eq!(pids(), before);
}

#[test]
fn an_app_of_that_name_from_elsewhere_is_refused_and_left_alone() {
    let Some(host) = Pm2Host::new(5, Shell::Bash) else { return };
    host.host.write("elsewhere/other.js", "setInterval(() => {}, 1000);\n");
    assert!(host.pm2_in("elsewhere", &["start", "other.js", "--name", "web"]).status.success());
    let env = host.environment();
    host.unpack("1", FORK, &env);
    let answer = host.call("1", "app_compile");
    assert!(answer.failure().contains("already runs an app named web from"), "{answer:?}");
    let app = crate::config::Pm2App {
        name: "web".to_owned(),
        script: "server.js".to_owned(),
        cwd: None,
        args: vec![],
        instances: None,
        cluster: false,
        env: BTreeMap::new(),
    };
    let mut env = environment(Supervisor::Pm2(Pm2::Apps(vec![app])));
    env.health = vec![];
    host.host.write_recipe("2", &env);
    let checked = host.call("2", "app_check").assert_ok();
    assert!(checked.says("problem PM2 already runs an app named web from"), "{checked:?}");
    assert!(checked.says("fact pm2 5."), "{checked:?}");
    // Neither does anything that removes apps touch it.
    host.host.write(host.host.recipe("1").join("pm2-names"), "web\n");
    host.call("1", "app_stop").assert_ok();
    assert_eq!(host.names(), ["web"]);
}

under_each_pm2!(a_look_at_a_host_without_a_daemon_starts_none);

fn a_look_at_a_host_without_a_daemon_starts_none(major: u32, shell: Shell) {
    let Some(host) = Pm2Host::new(major, shell) else { return };
    host.unpack("1", FORK, &host.environment());
    host.call("1", "app_check && app_compile && app_record && app_pids && app_logs 3 && app_stop")
        .assert_ok();
    assert!(!host.host.dir.path().join("pm2/pm2.pid").exists());
}

#[test]
fn the_daemon_inherits_no_secret_no_release_and_no_descriptor() {
    let Some(mut host) = Pm2Host::new(7, Shell::Dash) else { return };
    host.host.env.insert("SSH_CLIENT".to_owned(), "10.0.0.1 4 22".to_owned());
    let mut env = host.environment();
    env.vars.insert("API_KEY".to_owned(), "s3cret".to_owned());
    host.unpack("1", FORK, &env);
    host.deploy("1", None).assert_ok();
    let proc = PathBuf::from("/proc").join(host.daemon_pid());
    let environ = String::from_utf8_lossy(&fs::read(proc.join("environ")).unwrap()).replace('\0', "\n");
    for word in ["API_KEY", "s3cret", "SSH_CLIENT", "RECIPE=", "RELEASE="] {
        assert!(!environ.contains(word), "{environ}");
    }
    assert_eq!(fs::read_link(proc.join("cwd")).unwrap(), host.host.root().canonicalize().unwrap());
    let log = host.host.dir.path().join("log-1");
    let open = fs::read_dir(proc.join("fd")).unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    assert!(open.into_iter().all(|file| file != log && !file.ends_with("rdeploy.lock")));
    assert_eq!(host.ask("API_KEY").as_deref(), Some("s3cret"));
}

#[test]
fn first_calls_at_the_same_time_start_one_daemon_and_lose_no_app() {
    for flock in [true, false] {
        let Some(mut host) = Pm2Host::new(7, Shell::Dash) else { return };
        if !flock {
            // A PATH on which everything is found but flock.
            let bin = host.host.dir.path().join("bin");
            for dir in std::env::split_paths(&host.host.env["PATH"]) {
                for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                    if entry.file_name() != "flock" {
                        let _ = std::os::unix::fs::symlink(entry.path(), bin.join(entry.file_name()));
                    }
                }
            }
            host.host.env.insert("PATH".to_owned(), bin.display().to_string());
        }
        let env = host.environment();
        let apps =
            |name: &str| FORK.replace("web", name).replace("'server.js'", "'server.js', env: { PORT: 0 }");
        let mut env_without_port = env;
        env_without_port.vars.clear();
        env_without_port.health = vec![];
        for (id, name) in [("1", "one"), ("2", "two"), ("3", "three")] {
            host.unpack(id, &apps(name), &env_without_port);
            host.call(id, "app_compile").assert_ok();
        }
        host.host.switch("1");
        // In life each has a tree of its own; here all three run from release 1.
        std::thread::scope(|scope| {
            for id in ["1", "2", "3"] {
                let work = host.host.dir.path().join("work").join(id).display().to_string();
                let host = &host.host;
                scope.spawn(move || {
                    host.call_with(id, "mkdir \"$WORK\" && app_start", &[("WORK", &work)]).assert_ok();
                });
            }
        });
        assert_eq!(host.names(), ["one", "three", "two"], "flock {flock}");
    }
}

/// A daemon of a version to come may speak another language.
#[test]
fn where_the_daemon_does_not_answer_its_command_line_is_asked() {
    let Some(mut host) = Pm2Host::new(7, Shell::Dash) else { return };
    let env = host.environment();
    host.unpack("1", FORK, &env);
    let rpc = host.host.recipe("1").join("pm2-rpc.cjs");
    let deaf = fs::read_to_string(&rpc).unwrap().replace("getMonitorData", "noSuchMethod");
    fs::write(&rpc, deaf).unwrap();
    // What PM2 wants to say besides stands before the list.
    let path = host.host.env["PATH"].clone();
    let pm2 = std::env::split_paths(&path).map(|dir| dir.join("pm2")).find(|file| file.exists()).unwrap();
    let banner = "[PM2] Spawning PM2 daemon\n>>>> In-memory PM2 is out-of-date, do:\n[]x";
    let script = format!("#!/bin/sh\necho '{banner}'\nexec {} \"$@\"\n", pm2.display());
    host.host.write_program("chatty/pm2", &script);
    let chatty = host.host.dir.path().join("chatty");
    host.host.env.insert("PATH".to_owned(), format!("{}:{path}", chatty.display()));
    assert!(host.deploy("1", None).assert_ok().says("proof proven 1 process"));
    assert!(host.pm2(&["kill"]).status.success());
    host.call("1", "app_pids").assert_ok();
    assert!(!host.host.dir.path().join("pm2/pm2.pid").exists(), "no daemon was started to ask it");
}

cases!(what_is_saved_for_the_next_boot_is_what_pm2_saves_and_brings_the_app_back:
    pm2_7(7, Shell::Dash);
    pm2_5(5, Shell::BusyBox);
);

fn what_is_saved_for_the_next_boot_is_what_pm2_saves_and_brings_the_app_back(major: u32, shell: Shell) {
    let Some(host) = Pm2Host::new(major, shell) else { return };
    let env = host.environment();
    host.unpack("1", CLUSTER, &env);
    host.deploy("1", None).assert_ok();
    // Saved before, by hand, for everybody to read.
    assert!(host.pm2(&["save"]).status.success());
    let dump = host.host.dir.path().join("pm2/dump.pm2");
    fs::set_permissions(&dump, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    host.unpack("2", CLUSTER, &env);
    host.deploy("2", Some("1")).assert_ok();
    host.call("2", "app_commit").assert_ok();
    // Figures that the app reports change by the second.
    let saved = || -> Vec<Value> {
        let mut saved: Vec<Value> = serde_json::from_str(&fs::read_to_string(&dump).unwrap()).unwrap();
        for app in &mut saved {
            app.as_object_mut().unwrap().retain(|key, _| !key.starts_with("axm_"));
        }
        saved
    };
    let ours = saved();
    for name in ["dump.pm2", "dump.pm2.bak"] {
        let mode = fs::metadata(dump.with_file_name(name)).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600, "{name}");
    }
    assert!(!dump.with_file_name("dump.pm2.rdeploy").exists());
    assert!(host.pm2(&["save", "--force"]).status.success());
    assert_eq!(ours, saved());

    // The host boots, long after the release in which the app was started first was removed.
    fs::remove_dir_all(host.host.release("1")).unwrap();
    assert!(host.pm2(&["kill"]).status.success());
    assert!(host.pm2(&["resurrect"]).status.success());
    let places = vec![host.host.release("2").canonicalize().unwrap(); 2];
    // A worker that has just been born still is where its daemon is.
    let waited = std::time::Instant::now();
    while host.places("web") != places {
        assert!(waited.elapsed() < Duration::from_secs(30), "{:?}", host.places("web"));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(host.list().len(), 2);
}
