//! The way forward: what a deploy leaves on a host, whoever logs in.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use super::*;
use crate::host::agent;
use crate::host::protocol::Say;
use crate::host::settings::Verb;

/// Path, mode and (for links) target of everything in a directory, sorted.
fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(at) = waiting.pop() {
        for entry in fs::read_dir(&at).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_symlink() {
                found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else {
                found.push(format!("{name} {:o}", meta.permissions().mode() & 0o7777));
                if meta.is_dir() {
                    waiting.push(path);
                }
            }
        }
    }
    found.sort();
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_deploy_leaves_the_release_its_records_and_nothing_else_whatever_the_umask() {
    each_shell(|rig| {
        let root = rig.root();
        let fresh = |umask| {
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join("shared")).unwrap();
            fs::write(root.join("shared/.env"), "KEY=1\n").unwrap();
            rig.set_umask(umask);
        };
        for umask in [0o000, 0o022, 0o077] {
            fresh(umask);
            let mut settings = rig.settings("t1");
            Arc::make_mut(&mut settings.environment).linked_dirs = vec!["log".into(), "public/up".into()];
            Arc::make_mut(&mut settings.environment).linked_files = vec![".env".into()];
            Arc::make_mut(&mut settings.environment).vars = [("KEY".to_owned(), "secret".to_owned())].into();
            Guardian::locked(rig, settings).deploy(R1, &Parcel::of("one"));

            let release = root.join("releases").join(R1);
            let shared = |path: &str| root.join("shared").join(path).display().to_string();
            assert_eq!(rig.current().as_deref(), release.to_str());
            assert_eq!(
                tree(&release),
                [
                    format!(".env -> {}", shared(".env")),
                    "bin 755".into(),
                    "bin/run 755".into(),
                    "latest -> pages/index.html".into(),
                    format!("log -> {}", shared("log")),
                    "pages 755".into(),
                    "pages/index.html 644".into(),
                    "public 755".into(),
                    format!("public/up -> {}", shared("public/up")),
                ]
            );
            assert_eq!(fs::read_to_string(release.join("latest")).unwrap(), "one");
            for (path, expected) in [
                ("releases", 0o755),
                (&format!("releases/{R1}"), 0o755),
                ("shared/log", 0o755),
                ("shared/public/up", 0o755),
                ("revisions.log", 0o644),
                (".rdeploy", 0o700),
                (".rdeploy/history.ndjson", 0o600),
                (".rdeploy/last", 0o600),
                (&format!(".rdeploy/releases/{R1}/recipe"), 0o700),
                (&format!(".rdeploy/releases/{R1}/recipe/env.sh"), 0o600),
            ] {
                assert_eq!(mode(&root.join(path)), expected, "{path} with umask {umask:o}");
            }
            assert_eq!(rig.release_state(R1).as_deref(), Some("good"));
            assert_eq!(
                fs::read_to_string(root.join("revisions.log")).unwrap(),
                format!("Branch main (at c0ffee) deployed as release {R1} by ann@desk\n")
            );
            assert_eq!(rig.outcomes(), ["done: "]);
            rig.assert_tidy();
        }
    });
}

#[test]
fn a_tree_that_is_not_there_is_made_so_that_the_app_can_read_it() {
    each_shell(|rig| {
        rig.set_umask(0o077);
        let mut guardian = Guardian::start(rig, rig.settings("t1"));
        let says = guardian.ask("preflight").ok();
        assert!(says.contains(&Say::Fact("root".into(), "absent".into())), "{says:?}");
        guardian.ask("lock").ok();
        guardian.deploy(R1, &Parcel::of("one"));
        for dir in ["", "releases", "shared"] {
            assert_eq!(mode(&rig.root().join(dir)), 0o755, "{dir}");
        }
        rig.assert_tidy();
    });
}

#[test]
fn preflight_and_lock_tell_how_the_host_stands() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        Guardian::locked(rig, rig.settings("t2")).deploy(R2, &Parcel::of("two"));
        fs::create_dir(rig.root().join("releases/by-hand")).unwrap();
        let digest = Parcel::of("two").digest;
        let mut guardian = Guardian::start(rig, rig.settings("t3"));
        for intent in ["preflight", "lock"] {
            let says = guardian.ask(intent).ok();
            let fact = |name: &str, value: String| says.contains(&Say::Fact(name.into(), value));
            assert!(fact("current", rig.current().unwrap()), "{intent}: {says:?}");
            let made = fs::read_to_string(rig.private("releases").join(R2).join("made")).unwrap();
            let record = format!("{R2} good {digest} {R1} c0ffee {} ann@desk", made.trim());
            assert!(fact("release", record), "{intent}: {says:?}");
            assert!(fact("release", "by-hand foreign - - - - -".into()), "{intent}: {says:?}");
            assert!(!says.iter().any(|say| matches!(say, Say::Problem(_))), "{intent}: {says:?}");
        }
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn a_host_that_cannot_unpack_the_agent_says_what_is_missing() {
    each_shell(|rig| {
        let bin = rig.state("bare");
        fs::create_dir(&bin).unwrap();
        for program in ["sh", "cat", "dd"] {
            let at = crate::testing::which(program).unwrap();
            std::os::unix::fs::symlink(at, bin.join(program)).unwrap();
        }
        let line = format!("PATH={}; {}", bin.display(), rig.boot());
        let mut shell = rig.command(&line);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut stdin = shell.stdin.take().unwrap();
        // It may have left by then.
        let _ = stdin.write_all(&agent::parcel().unwrap());
        drop(stdin);
        let output = shell.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("gzip"), "{}: {said}", output.status);
    });
}

#[test]
fn a_host_keeps_the_agent_and_asks_for_it_only_where_it_is_not_whole() {
    each_shell(|rig| {
        let at = PathBuf::from(agent::path(&rig.root().to_string_lossy()));
        let asks = || {
            let mut shell = rig.command(&rig.boot());
            let output = shell.stdin(Stdio::null()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().contains("rdeploy-wants agent\n")
        };
        assert!(asks());
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at.with_file_name("agent.of-another-version"), "true").unwrap();

        Guardian::locked(rig, rig.settings("t1")).bye();
        assert_eq!(fs::read_to_string(&at).unwrap(), *agent::AGENT);
        assert!(!at.with_file_name("agent.of-another-version").exists());
        assert!(!asks());
        // It works as well.
        Guardian::locked(rig, rig.settings("t2")).deploy(R1, &Parcel::of("one"));

        let whole = fs::read(&at).unwrap();
        fs::write(&at, &whole[..whole.len() - 100]).unwrap();
        assert!(asks());
        // As a power cut leaves it: blocks that were never written.
        fs::write(&at, [&whole[..4096], &vec![0; whole.len() - 4096]].concat()).unwrap();
        assert!(asks());
    });
}

#[test]
fn what_a_login_prints_before_the_protocol_is_noise() {
    each_shell(|rig| {
        let line = format!(
            "echo 'Welcome to Debian'; echo; echo 'ok then'; echo failed; printf 'Last login: never '; {}",
            rig.boot()
        );
        let mut guardian = Guardian::start_by(rig, rig.settings("t1"), &line, |_| ());
        guardian.ask("preflight").ok();
        guardian.ask("lock").ok();
        guardian.deploy(R1, &Parcel::of("one"));
        assert_eq!(rig.live().as_deref(), Some(R1));
    });
}

#[test]
fn a_rollback_makes_the_earlier_release_live_and_marks_the_later_one_bad() {
    each_shell(|rig| {
        for (token, id) in [("t1", R1), ("t2", R2)] {
            Guardian::locked(rig, rig.settings(token)).deploy(id, &Parcel::of(id));
        }
        Guardian::rolls_back(rig, "t3", R1);
        assert_eq!(rig.live().as_deref(), Some(R1));
        assert_eq!(rig.release_state(R2).as_deref(), Some("bad"));
        let log = fs::read_to_string(rig.root().join("revisions.log")).unwrap();
        assert_eq!(log.lines().last(), Some(format!("ann@desk rolled back to release {R1}").as_str()));
        rig.assert_tidy();
    });
}

#[test]
fn a_release_that_is_not_there_cannot_be_rolled_back_to() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut settings = rig.settings("t2");
        settings.verb = Verb::Rollback;
        let mut guardian = Guardian::locked(rig, settings);
        guardian.begin(&guardian::attempt(rig, R2, &Parcel::of("none")));
        guardian.ask("ready").failed(1);
        assert!(guardian.written("ready").contains(&format!("release {R2} is not on this host")));
        guardian.ask("revert").ok();
        guardian.bye();
        assert_eq!(rig.live().as_deref(), Some(R1));
        assert_eq!(rig.release_state(R1).as_deref(), Some("good"));
        rig.assert_tidy();
    });
}

#[test]
fn what_comes_out_of_order_is_refused_and_changes_nothing() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.ask("commit").failed(98);
        guardian.ask("finish").failed(1);
        guardian.ask("begin").failed(98);
        guardian.bye();
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.ask("dance").failed(98);
        guardian.ask(&format!("begin {}", "x".repeat(5000))).failed(98);
        guardian.begin(&guardian::attempt(rig, R1, &Parcel::of("one")));
        // Nothing was prepared, so there is no way back either.
        guardian.ask("activate").failed(1);
        assert!(guardian.written("activate").contains("not ready"));
        assert_eq!(rig.current(), None);
        guardian.ask("prepare").failed(98);
        guardian.ask("revert").ok();
        guardian.ask("activate").failed(98);
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn an_id_that_is_taken_is_refused_and_its_release_stays_good() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let parcel = Parcel::of("two");
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.begin(&guardian::attempt(rig, R1, &parcel));
        guardian.upload(&parcel);
        guardian.ask("prepare").failed(1);
        guardian.ask("revert").ok();
        guardian.bye();
        assert_eq!(rig.release_state(R1).as_deref(), Some("good"));
        assert_eq!(fs::read_to_string(rig.root().join("current/latest")).unwrap(), "one");
        assert!(rig.drops_upload());
        rig.assert_tidy();
    });
}
