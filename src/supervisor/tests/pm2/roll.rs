//! Owns how new code alone reaches a cluster: by telling the daemon, and by its command line where that is not enough.

use super::traps::eventually;
use super::*;

/// One as PM2 keeps it otherwise than it is written: numbers, and a list.
const WRITTEN: &str = "[{ name: 'web', script: 'server.js', exec_mode: 'cluster', instances: 2, args: 'a b', \
    max_memory_restart: '900M', min_uptime: '1s', listen_timeout: '8000', kill_timeout: 1500 }]";

/// Calls of PM2's command line leave a line each in the file `calls` from now on.
fn count_calls(host: &mut Pm2Host) {
    let path = host.host.env["PATH"].clone();
    let pm2 = std::env::split_paths(&path).map(|dir| dir.join("pm2")).find(|file| file.exists()).unwrap();
    let calls = host.host.dir.path().join("calls");
    let script = format!("#!/bin/sh\necho \"$1\" >>{}\nexec {} \"$@\"\n", calls.display(), pm2.display());
    host.host.write_program("counted/pm2", &script);
    let counted = host.host.dir.path().join("counted");
    host.host.env.insert("PATH".to_owned(), format!("{}:{path}", counted.display()));
}

/// The calls since the last time, and none from now on.
fn calls(host: &Pm2Host) -> Vec<String> {
    let calls = host.host.dir.path().join("calls");
    let text = fs::read_to_string(&calls).unwrap_or_default();
    fs::write(&calls, "").unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What PM2 keeps of each process under that key.
fn each(host: &Pm2Host, key: &str) -> Vec<Value> {
    host.list().iter().map(|proc| proc["pm2_env"][key].clone()).collect()
}

under_each_pm2!(new_code_alone_reaches_a_cluster_without_pm2s_command_line);

fn new_code_alone_reaches_a_cluster_without_pm2s_command_line(major: u32, shell: Shell) {
    let Some(mut host) = Pm2Host::new(major, shell) else { return };
    count_calls(&mut host);
    let env = host.environment();
    host.unpack("1", WRITTEN, &env);
    host.deploy("1", None).assert_ok();
    let old: Vec<_> = host.list().iter().map(|proc| proc["pid"].clone()).collect();
    calls(&host);
    host.unpack("2", WRITTEN, &env);
    let answer = host.deploy("2", Some("1")).assert_ok();
    assert_eq!(calls(&host), [""; 0], "{answer:?}");
    assert!(answer.says("proof proven 2 processes"), "{answer:?}");
    assert_eq!(host.ask("").as_deref(), Some("2"));
    for pid in old {
        assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "the old process {pid} is gone by then");
    }
    assert_eq!(each(&host, "restart_time"), [1, 1], "each was replaced once");
    let lock = host.host.dir.path().join("pm2/reload.lock");
    assert_eq!(fs::read_to_string(lock).unwrap(), "", "others may reload");
}

under_each_pm2!(a_setting_that_changes_reaches_a_cluster_by_pm2s_command_line);

fn a_setting_that_changes_reaches_a_cluster_by_pm2s_command_line(major: u32, shell: Shell) {
    let Some(mut host) = Pm2Host::new(major, shell) else { return };
    count_calls(&mut host);
    let env = host.environment();
    host.unpack("1", WRITTEN, &env);
    host.deploy("1", None).assert_ok();
    let steps = [("2", "900M", "800M", 800 << 20), ("3", "900M", "900M", 900 << 20)];
    for (id, from, to, bytes) in steps {
        calls(&host);
        host.unpack(id, &WRITTEN.replace(from, to), &env);
        host.deploy(id, Some("1")).assert_ok();
        assert!(calls(&host).contains(&"startOrReload".to_owned()));
        assert_eq!(each(&host, "max_memory_restart"), [bytes, bytes]);
    }
}

/// Somebody may be reloading by hand, or was killed at it; and a daemon of a version to come may know other words.
#[test]
fn where_the_daemon_may_not_be_told_or_does_not_listen_pm2s_command_line_is_used() {
    let Some(mut host) = Pm2Host::new(7, Shell::Bash) else { return };
    count_calls(&mut host);
    let env = host.environment();
    host.unpack("1", CLUSTER, &env);
    host.deploy("1", None).assert_ok();
    let lock = host.host.dir.path().join("pm2/reload.lock");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    fs::write(&lock, now.as_millis().to_string()).unwrap();
    calls(&host);
    host.unpack("2", CLUSTER, &env);
    assert!(host.deploy("2", Some("1")).assert_ok().says("proof proven 2 processes"));
    assert!(calls(&host).contains(&"startOrReload".to_owned()));
    fs::write(&lock, "").unwrap();

    host.unpack("3", CLUSTER, &env);
    let roll = host.host.recipe("3").join("pm2-roll.cjs");
    let strange = fs::read_to_string(&roll).unwrap().replace("reloadProcessId", "noSuchMethod");
    fs::write(&roll, strange).unwrap();
    calls(&host);
    assert!(host.deploy("3", Some("2")).assert_ok().says("proof proven 2 processes"));
    assert_eq!(calls(&host), ["startOrReload"]);
    assert_eq!(host.ask("").as_deref(), Some("3"));
}

/// PM2 has ended the process before it by then, but nobody has told the others to go.
#[test]
fn a_first_process_that_takes_its_time_is_waited_for_while_others_may_speak_to_pm2() {
    let Some(mut host) = Pm2Host::new(6, Shell::Dash) else { return };
    count_calls(&mut host);
    let env = host.environment();
    let apps = CLUSTER.replace("instances: 2", "instances: 2, listen_timeout: 300");
    host.unpack("1", &apps, &env);
    host.deploy("1", None).assert_ok();
    calls(&host);
    host.unpack("2", &apps, &env);
    // Listens when it is told to, which is when the lock of rdeploy's calls is free.
    let told = host.host.dir.path().join("told");
    let listen = "server.listen(process.env.PORT, '127.0.0.1');";
    let later = format!(
        "const wait = setInterval(() => {{ if (fs.existsSync('{}')) {{ clearInterval(wait); {listen} }} }}, 20);",
        told.display()
    );
    host.host.write(host.host.release("2").join("server.js"), &SERVER.replace(listen, &later));
    let answer = std::thread::scope(|scope| {
        let deploy = scope.spawn(|| host.deploy("2", Some("1")));
        let lock = host.host.dir.path().join("pm2/reload.lock");
        eventually("PM2's lock of reloads", || fs::metadata(&lock).is_ok_and(|lock| lock.len() > 0));
        eventually("the lock of rdeploy's calls", || is_first_replaced(&host) && is_lock_free(&host));
        fs::write(&told, "").unwrap();
        deploy.join().unwrap()
    });
    assert!(answer.assert_ok().says("proof proven 2 processes"));
    assert_eq!(calls(&host), [""; 0]);
    assert_eq!(host.ask("").as_deref(), Some("2"));
}

/// Whether only the other process is still to be replaced.
fn is_first_replaced(host: &Pm2Host) -> bool {
    let left = fs::read_to_string(host.host.dir.path().join("work/pm2/plan/roll")).unwrap_or_default();
    left.lines().count() == 1
}

fn is_lock_free(host: &Pm2Host) -> bool {
    let lock = host.host.dir.path().join("pm2/rdeploy.lock");
    Command::new("flock").arg("-n").arg(lock).arg("true").status().unwrap().success()
}
