//! Files that must be refused. Those of `tests/configs/invalid` mark every line that must be reported with
//! `#!`, and their report lies beside them; what differs only in a value stands here in tables.

use std::collections::BTreeSet;
use std::path::Path;

use super::MANIFEST_DIR;
use super::cases;
use super::read;
use super::text_of;
use crate::config::load;

/// The lines a report points at.
fn reported(report: &str, file: &str) -> BTreeSet<usize> {
    let arrow = format!("--> {file}:");
    let line = |l: &str| l.trim_start().strip_prefix(&arrow)?.split(':').next()?.parse().ok();
    report.lines().filter_map(line).collect()
}

#[test]
fn every_defect_is_reported_on_its_line_and_nowhere_else() {
    let cases = cases("invalid");
    assert!(cases.len() >= 130, "some cases are gone: {}", cases.len());
    for path in cases {
        let error = load(Some(&path), Path::new(MANIFEST_DIR)).expect_err(&path.display().to_string());
        let report = error.to_string();
        let source = text_of(&path);
        let lines = source.lines().enumerate();
        let marked: BTreeSet<usize> = lines.filter(|(_, l)| l.contains("#!")).map(|(n, _)| n + 1).collect();
        assert_eq!(reported(&report, &path.display().to_string()), marked, "{}\n{report}", path.display());
        let problems = report.lines().filter(|l| l.starts_with("error: ")).count() - 1;
        let helps = report.lines().filter(|l| l.contains("= help: ")).count();
        assert_eq!(problems, helps, "{report}");
        assert!(!report.contains(MANIFEST_DIR), "{report}");
    }
}

#[test]
fn every_report_reads_as_it_always_did() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(MANIFEST_DIR).join("tests/configs/invalid"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in cases("invalid") {
        let error = load(Some(&path), Path::new(MANIFEST_DIR)).unwrap_err();
        let name = path.file_stem().unwrap().to_str().unwrap();
        settings.bind(|| insta::assert_snapshot!(name, error));
    }
}

/// Refuses a file of three sound lines and then `lines`; its report must point at line 4 and say `says`.
fn refused(lines: &str, says: &str) {
    let text = format!("app = \"shop\"\ndeploy_to = \"/srv/shop\"\nenv.stage.hosts = [\"a\"]\n{lines}\n");
    let report = read(&text).expect_err(lines).to_string();
    assert_eq!(reported(&report, "deploy.toml"), BTreeSet::from([4]), "{lines}\n{report}");
    assert!(report.contains(says), "{lines}\n{report}");
}

#[test]
fn a_misspelt_key_is_recognised_in_every_table() {
    for (line, meant) in [
        ("keep_relases = 5", "keep_releases"),
        ("linkedDirs = []", "linked_dirs"),
        ("linked-files = []", "linked_files"),
        ("supervisr.kind = 'pm2'", "supervisor"),
        ("heath.tcp = 1", "health"),
        ("hook.after_unpack = []", "hooks"),
        ("leas = '30s'", "lease"),
        ("paths = []", "path"),
        ("var = {}", "vars"),
        ("healthcheck.tcp = 1", "health"),
        ("build.includes = []", "include"),
        ("build.excluded = []", "exclude"),
        ("build.runs = []", "run"),
        ("build.command = 'make'", "run"),
        ("build.src = '.'", "source"),
        ("supervisor.kinds = 'pm2'", "kind"),
        ("supervisor.type = 'pm2'", "kind"),
        ("supervisor.settled = '5s'", "settle"),
        ("health.htpp = 'http://a/'", "http"),
        ("health.url = 'http://a/'", "http"),
        ("health.port = 80", "tcp"),
        ("health.expect = 200", "status"),
        ("health.headrs = {}", "headers"),
        ("health.start_period = '5s'", "delay"),
        ("health = [{ tcp = 1 }, { url = 'x' }]", "http"),
        ("health.time_out = '5s'", "timeout"),
        ("hooks.before_switches = []", "before_switch"),
        ("hooks.on_fail = []", "on_failure"),
        ("hooks.after_unpack = [{ run = 'x', role = ['web'] }]", "roles"),
        ("hooks.after_unpack = [{ run = 'x', directory = 'a' }]", "dir"),
        ("hooks.after_unpack = [{ run = 'x', cmd = 'a' }]", "run"),
        ("ssh.known_host = 'a'", "known_hosts"),
        ("ssh.key = 'a'", "identity"),
        ("ssh.connectTimeout = '5s'", "connect_timeout"),
        ("rollout.batches = 2", "batch"),
        ("rollout.canary = 1", "first"),
        ("rollout = { first = 1, wait = '10s' }", "pause"),
        ("env.b = { hosts = ['a'], rolout = {} }", "rollout"),
        ("env.b = { hosts = ['a'], deploy-to = '/srv/b' }", "deploy_to"),
        ("env.b = { hosts = ['a'], embeded = 1 }", "embedded"),
        ("env.b = { hosts = ['a'], servers = ['a'] }", "hosts"),
        ("env.b.hosts = [{ address = 'a', rolls = ['web'] }]", "roles"),
        ("env.b.hosts = [{ address = 'a', host = 'a' }]", "address"),
    ] {
        refused(line, &format!("did you mean `{meant}`?"));
    }
}

#[test]
fn a_key_in_the_wrong_table_is_sent_where_it_belongs() {
    for (line, home) in [
        ("kind = 'pm2'", "`[supervisor]`"),
        ("http = 'http://127.0.0.1/'", "`[health]`"),
        ("identity = 'a'", "`[ssh]`"),
        ("run = 'make'", "`[build]` or a hook"),
        ("before_switch = []", "`[hooks]`"),
        ("embedded = 2", "an environment, `[env.NAME]`"),
        ("batch = 2", "`rollout`"),
        ("hooks.rollout = {}", "the top level or an environment"),
        ("hooks.keep_releases = 5", "the top level or an environment"),
        ("ssh.lease = '30s'", "the top level or an environment"),
        ("supervisor.http = 'http://127.0.0.1/'", "`[health]`"),
        ("build.linked_dirs = []", "the top level or an environment"),
        ("hooks.after_unpack = [{ run = 'x', script = 'a' }]", "`[[supervisor.apps]]`"),
    ] {
        refused(line, &format!("move it to {home}"));
    }
}

#[test]
fn a_value_of_the_wrong_type_is_shown_as_it_should_be_written() {
    for (line, help) in [
        ("keep_releases = '7'", "write `keep_releases = 7`"),
        ("keep_releases = true", "write `keep_releases = 5`"),
        ("keep_releases = []", "write `keep_releases = 5`"),
        ("linked_dirs = 'log'", "write `linked_dirs = ['log']`"),
        ("linked_dirs = [true]", "write \"true\""),
        ("path = 7", "write `path = […]`"),
        ("lease = 10", "write `lease = \"10s\"`"),
        ("lease = 1.5", "write `lease = \"30s\"`"),
        ("ssh.identity = 7", "write `identity = […]`"),
        ("ssh = 'x'", "`[ssh]` on a line of its own"),
        ("vars = ['A=b']", "`[vars]` on a line of its own"),
        ("vars.A = 1979-05-27", "write `A = \"…\"`"),
        ("vars.A = 1.0", "write `A = \"1.0\"`"),
        ("vars.A = 99999999999999999999999999999999999999999", "write `A = \"9999"),
        ("supervisor = true", "`[supervisor]` on a line of its own"),
        ("supervisor.kind = true", "write `kind = \"true\"`"),
        ("supervisor.apps = 'web'", "write `apps = ['web']`"),
        ("supervisor = { kind = 'pm2', apps = ['web'] }", "write it as a table"),
        ("health.tcp = true", "write `tcp = \"true\"`"),
        ("health = { http = ['http://a/'] }", "write it without brackets"),
        ("health = 'http://a/'", "`[health]` on a line of its own"),
        ("health = ['http://a/']", "write it as a table"),
        ("health = { http = 'http://a/', status = 1.5 }", "write a status or a range of them"),
        ("health = { http = 'http://a/', headers = 'A: 1' }", "write it as a table"),
        ("health = { http = 'http://a/', headers = { A = 1 } }", "write `A = \"1\"`"),
        ("hooks.after_unpack = [{ run = 'x', once = 1 }]", "write `once = true`"),
        ("hooks.after_unpack = [{ run = ['x', 'y'] }]", "write `run = \"…\"`"),
        ("rollout = 2", "`[rollout]` on a line of its own"),
        ("rollout.first = '1'", "write `first = 1`"),
        ("rollout.batch = 0.5", "write a whole number or a percentage"),
        ("rollout.order = 'db'", "write `order = ['db']`"),
        ("rollout = { first = 1, pause = 10 }", "write `pause = \"10s\"`"),
        ("env.b = 'host'", "`[env.b]` on a line of its own"),
        ("env.b.hosts = [7]", "write a string or a table"),
        ("env.b.hosts = { address = 'a' }", "write `hosts = [{ address = 'a' }]`"),
        ("env.b.embedded = '2'", "write `embedded = 2`"),
        (
            "supervisor = { kind = 'pm2', apps = [{ name = 'a', script = 'a', args = 1 }] }",
            "write a string or an array",
        ),
        (
            "supervisor = { kind = 'pm2', apps = [{ name = 'a', script = 'a', instances = '2' }] }",
            "`instances = 2`",
        ),
        (
            "supervisor = { kind = 'pm2', apps = [{ name = 'a', script = 'a', instances = 1.5 }] }",
            "write a number or",
        ),
        ("supervisor = { kind = 'pm2', apps = [] }", "write an app as `[[supervisor.apps]]`"),
    ] {
        refused(line, help);
    }
}

#[test]
fn numbers_and_durations_have_limits() {
    for (line, help) in [
        ("keep_releases = 10000", "write 9999"),
        ("keep_releases = -99999999999999999999999999", "write 1"),
        ("keep_releases = 0x10000000000", "write 9999"),
        ("lease = '1999ms'", "write \"2s\""),
        ("lease = '1h1ms'", "write \"1h\""),
        ("ssh.connect_timeout = '999ms'", "write \"1s\""),
        ("supervisor.settle = '11m'", "write \"10m\""),
        ("supervisor = { kind = 'systemd' }", "add `units = [\"shop.service\"]`"),
        ("supervisor = { kind = 'systemd', units = [] }", "add `units = [\"shop.service\"]`"),
        ("supervisor = { kind = 'systemd', units = 'shop' }", "write \"shop.service\""),
        ("supervisor = { kind = 'systemd', units = 'shop.socket' }", "name the service"),
        ("supervisor = { kind = 'systemd', units = 'a b.service' }", "a unit's name has no ` `"),
        ("supervisor = { kind = 'systemd', units = '-.service' }", "write it like \"shop.service\""),
        (
            "supervisor = { kind = 'systemd', units = 'a.service', scope = 'root' }",
            "neither \"user\" nor \"system\"",
        ),
        (
            "supervisor = { kind = 'systemd', units = ['a.service', 'b.service'], exec = 'x' }",
            "name one unit, or write the units yourself",
        ),
        ("supervisor = { kind = 'systemd', units = 'a.service', notify = true }", "add `exec = "),
        ("supervisor = { kind = 'systemd', units = 'a.service', exec = 'x', notify = 'yes' }", "true"),
        ("supervisor = { kind = 'command', start = 'x', logs = '../log' }", "must not lead outside"),
        ("supervisor = { kind = 'pm2', exec = 'x' }", "write `kind = \"systemd\"`"),
        ("supervisor = { kind = 'pm2', units = 'a.service' }", "write `kind = \"systemd\"`"),
        ("supervisor.scope = 'user'", "add `kind = \"systemd\"`"),
        (
            "supervisor = { kind = 'supervisord', programs = ['a', 'b'], exec = 'x' }",
            "name one program, without a group",
        ),
        ("supervisor = { kind = 'supervisord', programs = 'a:*', exec = 'x' }", "name one program"),
        ("supervisor = { kind = 'supervisord', programs = 'a', exec = 'x', notify = true }", "\"systemd\""),
        ("supervisor.exec = 'x'", "add `kind = \"systemd\"`"),
        ("supervisor = { kind = 'supervisord' }", "add `programs = [\"shop\"]`"),
        ("supervisor = { kind = 'supervisord', programs = [] }", "add `programs = [\"shop\"]`"),
        ("supervisor = { kind = 'supervisord', programs = 'all' }", "name the app's own"),
        ("supervisor = { kind = 'supervisord', programs = '*' }", "as `supervisorctl status` shows it"),
        ("supervisor = { kind = 'supervisord', programs = 'a b' }", "as `supervisorctl status` shows it"),
        ("supervisor = { kind = 'supervisord', programs = 'a:b:c' }", "as `supervisorctl status` shows it"),
        ("supervisor = { kind = 'supervisord', programs = ':a' }", "as `supervisorctl status` shows it"),
        ("supervisor = { kind = 'supervisord', programs = '-c' }", "as `supervisorctl status` shows it"),
        (
            "supervisor = { kind = 'supervisord', programs = 'a', config = 'etc/s.conf' }",
            "write where it is on the hosts, from `/` on",
        ),
        (
            "supervisor = { kind = 'supervisord', programs = 'a', config = '~/s.conf' }",
            "write the whole path",
        ),
        (
            "supervisor = { kind = 'supervisord', programs = 'a', config = '/etc/../s.conf' }",
            "write \"/s.conf\"",
        ),
        (
            "supervisor = { kind = 'systemd', units = 'a.service', programs = 'a' }",
            "`kind = \"supervisord\"`",
        ),
        ("supervisor.config = '/etc/s.conf'", "add `kind = \"supervisord\"`"),
        ("supervisor = { kind = 'supervisord', program = 'a' }", "did you mean `programs`?"),
        ("health = { tcp = 1, timeout = '0s' }", "write \"100ms\""),
        ("health = { tcp = 1, interval = '1ms' }", "write \"50ms\""),
        ("health = { tcp = 1, interval = '31s' }", "shorten the interval"),
        ("health = { tcp = 1, interval = '10s', successes = 5 }", "ask for fewer"),
        ("health = { tcp = 1, successes = 0 }", "write 1"),
        ("health = { tcp = 1, delay = '11m' }", "write \"10m\""),
        ("health = { http = 'http://a/', status = 99 }", "write 100"),
        ("health = { http = 'http://a/', status = [] }", "`status` is empty"),
        ("health = { http = 'http://a/', status = ['5xx'] }", "write \"500-599\""),
        ("health = { http = 'http://a/', body = '' }", "the text is empty"),
        ("health = { http = 'http://a/', host = 'http://b' }", "is not a host name"),
        ("health = { http = 'http://a/', socket = '../a' }", "write \"a\" if that is meant"),
        ("health = { http = 'http://a/', headers = { A = '1', a = '2' } }", "is written twice"),
        ("health = { http = 'http://a/', headers = { Connection = 'close' } }", "belongs to the connection"),
        ("health = { tcp = 1, socket = 'a' }", "in a check of its own"),
        ("health = { socket = 'a', status = 200 }", "ask with `http`"),
        ("health = { command = 'a', headers = { A = '1' } }", "ask with `http`"),
        ("health = [{ tcp = 1 }, { timeout = '5s' }]", "nothing to ask"),
        ("health.tcp = 0", "write 1"),
        ("health.tcp = 65536", "write 65535"),
        ("hooks.after_unpack = [{ run = 'x', timeout = '25h' }]", "write \"24h\""),
        ("rollout.first = 0", "write 1"),
        ("rollout.batch = 0", "write 1"),
        ("rollout.batch = -3", "write 1"),
        ("rollout.batch = '0%'", "write \"1%\""),
        ("rollout.batch = '-5%'", "write \"1%\""),
        ("rollout.batch = '120%'", "write \"100%\""),
        ("rollout = { first = 1, pause = '0s' }", "write \"1s\""),
        ("rollout = { first = 1, pause = '25h' }", "write \"24h\""),
        (
            "supervisor = { kind = 'pm2', apps = [{ name = 'a', script = 'a', instances = 1025 }] }",
            "write 1024",
        ),
        ("supervisor = { kind = 'pm2', apps = [{ name = 'a', script = 'a', instances = -1 }] }", "\"max\""),
    ] {
        refused(line, help);
    }
}

#[test]
fn no_environment_may_be_named_like_a_command() {
    for command in crate::config::COMMANDS {
        refused(&format!("env.{command}.hosts = ['a']"), &format!("name it `{command}-env`"));
    }
}

#[test]
fn local_hooks_know_no_hosts_and_late_hooks_no_undo() {
    for (point, key) in [
        ("before_build", "roles = ['web']"),
        ("before_build", "once = true"),
        ("before_build", "on = ['rollback']"),
        ("before_build", "undo = 'x'"),
        ("after_build", "roles = ['web']"),
        ("after_build", "once = false"),
        ("after_build", "on = ['deploy']"),
        ("after_build", "undo = 'x'"),
        ("after_deploy", "undo = 'x'"),
        ("on_failure", "undo = 'x'"),
        ("after_rollback", "undo = 'x'"),
        ("after_rollback", "on = ['rollback']"),
    ] {
        let name = key.split(' ').next().unwrap();
        refused(
            &format!("hooks.{point} = [{{ run = 'x', {key} }}]"),
            &format!("`{name}` has no meaning here"),
        );
    }
}

#[test]
fn what_is_found_beside_broken_syntax_is_only_what_can_be_believed() {
    // `app` may be on the broken line, and what follows an open array cannot be trusted.
    let report = read("app = shop\nlinked_dirs = [\"log\"\ndeploy_to = \"etc\"\n").unwrap_err().to_string();
    assert_eq!(reported(&report, "deploy.toml"), BTreeSet::from([1, 3]), "{report}");
    assert!(report.contains("text stands without quotes"), "{report}");
    assert!(report.contains("the array begins here"), "{report}");
    assert!(!report.contains("is missing: "), "{report}");
}

#[test]
fn colour_is_there_only_when_asked_for() {
    let report = read("app = 1").unwrap_err();
    assert!(report.render(true).contains("\u{1b}["));
    assert!(!report.render(false).contains('\u{1b}'));
    assert_eq!(report.to_string(), report.render(false));
}

#[test]
fn a_hundred_problems_are_shown_and_the_rest_is_counted() {
    let lines: String = (0..150).map(|n| format!("color_{n} = 1\n")).collect();
    let report = read(&lines).unwrap_err();
    assert_eq!(report.len(), 152);
    assert!(report.to_string().ends_with("error: 152 problems in deploy.toml (52 not shown)"));
}
