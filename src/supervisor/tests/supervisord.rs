//! Programs of supervisord, with a `supervisorctl` that says what a test wrote. What the real one says and
//! does is the fleet tier's business.

use std::fs;

use super::Answer;
use super::Host;
use super::Shell;
use super::environment;
use super::shells;
use crate::config::Environment;
use crate::config::Supervisor;
use crate::config::Supervisord;

/// Answers the words it is called with from a file of their name, notes them, and ends with what is in the
/// file `code`.
const SUPERVISORCTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")/../said" || exit
[ "$1" = -c ] && [ -e "$2" ] || exit 2
shift 2
echo "$*" >>calls
echo "UserWarning: pkg_resources is deprecated" >&2
cat "$*" 2>/dev/null || { echo "error: unexpected $*"; exit 1; }
[ ! -e "$* code" ] || exit "$(cat "$* code")"
"#;

fn programs(names: &[&str], host: &Host) -> Environment {
    environment(Supervisor::Supervisord(Supervisord {
        programs: names.iter().map(|name| (*name).to_owned()).collect(),
        config: Some(host.dir.path().join("supervisord.conf").display().to_string()),
        exec: None,
    }))
}

/// A host whose supervisord knows what `config` says.
fn host(shell: Shell, config: &str) -> Host {
    let mut host = Host::new(shell);
    host.write_program("ctl/supervisorctl", SUPERVISORCTL);
    host.write_program("ctl/supervisord", "#!/bin/sh\necho 4.2.5\n");
    host.write("supervisord.conf", &format!("[supervisord]\n[supervisorctl]\n{config}"));
    fs::create_dir(host.dir.path().join("said")).unwrap();
    let path = format!("{}:{}", host.dir.path().join("ctl").display(), host.env["PATH"]);
    host.env.insert("PATH".to_owned(), path);
    host
}

/// From now on `supervisorctl WORDS` says that, and ends with that status.
fn says(host: &Host, words: &str, text: &str, code: i32) {
    host.write(format!("said/{words}"), text);
    host.write(format!("said/{words} code"), &code.to_string());
}

/// What supervisorctl was called with since the last time this was asked.
fn calls(host: &Host) -> Vec<String> {
    let file = host.dir.path().join("said/calls");
    let calls = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(file);
    calls.lines().map(str::to_owned).collect()
}

#[test]
fn what_the_configuration_of_a_program_lacks_is_said() {
    for shell in shells() {
        let host = host(
            shell,
            "[include]\nfiles = programs/*.conf ; all of them\n\
             [program:web]\ncommand = /bin/web --count=2\nnumprocs=2\nstartsecs = 0 ; none\n\
             [group:site]\nprograms=mail, queue\n",
        );
        let root = host.root().display().to_string();
        host.write(
            "programs/mail.conf",
            &format!("; mail\n[program:mail]\ncommand=\n  {root}/releases/7/mail\nautostart = False\n"),
        );
        host.write("programs/queue.conf", "[program:queue]\ncommand=queue\ndirectory : /srv\n");
        let names = ["web", "web:*", "site:mail", "site:queue", "mail", "new", "gone"];
        host.prepare("1", &[], &programs(&names, &host));
        host.write("programs/new.conf", "[program:new]\ncommand=new\n");
        let status = "gone  RUNNING  pid 7, uptime 1:00:00\nsite:mail  FATAL  Exited too quickly\n\
                      site:queue  RUNNING  pid 8, uptime 0:00:09\nweb:web_00  STOPPED  Not started\n";
        says(&host, "status", status, 3);
        let answer = host.call("1", "app_check").assert_ok();
        let config = host.dir.path().join("supervisord.conf").display().to_string();
        let said: Vec<String> =
            answer.said.iter().map(|line| line.replace(&config, "CONF").replace(&root, "ROOT")).collect();
        assert_eq!(
            said,
            [
                "fact supervisord 4.2.5 plain",
                "problem web is a group of processes; write programs = [\"web:*\"] in deploy.toml",
                "problem supervisord does not know the program mail; write it into a file that CONF includes, \
                 then run on the host: supervisorctl -c CONF update",
                "problem the program gone runs, but is not in the configuration any more (CONF and what it \
                 includes), so supervisord would remove it; put it back",
                "problem the program mail names a release (ROOT/releases/...), so it would never run another \
                 one; let it lead through ROOT/current",
                "note the program web has startsecs=0, so supervisord takes it for started whatever becomes \
                 of it; let it be 1 or more",
                "fact probe none",
            ],
            "{shell:?}"
        );
        assert_eq!(calls(&host), ["status"], "nothing but a question");
    }
}

#[test]
fn a_program_is_written_where_the_configuration_looks_and_what_a_person_wrote_is_left_alone() {
    for shell in shells() {
        let host = host(shell, "[include]\nfiles = extra.conf programs/*.ini\n");
        let described = |exec: &str| {
            let mut env = programs(&["shop"], &host);
            if let Supervisor::Supervisord(supervisord) = &mut env.supervisor {
                supervisord.exec = Some(exec.to_owned());
            }
            host.prepare("1", &[], &env);
        };
        let (programs, said) = (host.dir.path().join("programs"), |answer: &Answer| answer.said.join("\n"));
        fs::create_dir_all(&programs).unwrap();
        says(&host, "status", "", 0);
        described("one");
        let check = host.call("1", "app_check").assert_ok();
        assert!(check.says("does not know the program shop; run `rdeploy ENVIRONMENT setup`"), "{check:?}");
        let look = host.call("1", "app_setup look").assert_ok();
        assert!(said(&look).starts_with("todo write the program shop to "), "{shell:?} {look:?}");
        assert!(fs::read_dir(&programs).unwrap().next().is_none(), "nothing is done by looking");
        host.call("1", "app_setup take").assert_ok();
        let written = || fs::read_to_string(programs.join("shop.ini")).unwrap();
        assert!(written().contains("exec one'") && !written().contains("@USER@"), "{}", written());
        // supervisord learns of it at the start.
        assert!(!host.call("1", "app_check").assert_ok().says("problem"));
        assert_eq!(host.call("1", "app_setup look").assert_ok().said, [""; 0]);

        described("two");
        let check = host.call("1", "app_check").assert_ok();
        assert!(
            check.says("note deploy.toml describes another program shop than is installed; run `rdeploy")
        );
        host.call("1", "app_setup take").assert_ok();
        assert!(written().contains("exec two'"));
        fs::write(programs.join("shop.ini"), "# mine\n[program:shop]\ncommand=mine\n").unwrap();
        assert_eq!(host.call("1", "app_setup look").assert_ok().said, [""; 0]);
        fs::rename(programs.join("shop.ini"), programs.join("other.ini")).unwrap();
        assert_eq!(host.call("1", "app_setup look").assert_ok().said, [""; 0], "it is in another file");
    }
}

#[test]
fn where_the_configuration_cannot_be_read_as_a_whole_nothing_is_concluded_from_it() {
    for shell in shells() {
        let host = host(shell, "[include]\nfiles = %(ENV_WHERE)s/*.conf\n");
        host.prepare("1", &[], &programs(&["shop"], &host));
        says(&host, "status", "shop  RUNNING  pid 7, uptime 1:00:00\n", 0);
        let answer = host.call("1", "app_check").assert_ok();
        assert!(!answer.says("problem"), "{answer:?}");
    }
}

#[test]
fn a_supervisord_that_does_not_answer_is_said_with_its_cure() {
    for shell in shells() {
        let host = host(shell, "");
        host.prepare("1", &[], &programs(&["shop"], &host));
        for (text, code, cure) in [
            ("unix:///run/s.sock no such file", 4, "systemctl enable --now supervisor"),
            // Version 3 has no exit statuses.
            ("unix:///run/s.sock refused connection", 0, "systemctl enable --now supervisor"),
            ("Server requires authentication", 1, "below [supervisorctl]"),
            ("error: <class 'PermissionError'>, [Errno 13] Permission denied", 1, "[unix_http_server]"),
        ] {
            says(&host, "status", text, code);
            let answer = host.call("1", "app_check").assert_ok();
            assert!(answer.says("problem") && answer.says(cure), "{text}: {answer:?}");
            let failure = host.call("1", "app_record");
            assert!(failure.failure().contains(text), "{failure:?}");
        }
    }
}

#[test]
fn what_changed_in_the_configuration_is_taken_over_and_started_once() {
    for shell in shells() {
        let host = host(shell, "");
        host.prepare("1", &[], &programs(&["shop", "site:a", "site:b"], &host));
        fs::create_dir(host.root().join(".rdeploy")).unwrap();
        host.switch("1");
        let status = "shop  RUNNING  pid 7, uptime 1:00:00\nsite:a  STARTING\nsite:b  STOPPED  Not started\n";
        says(&host, "status", status, 3);
        says(&host, "update shop", "", 0);
        says(&host, "update site", "site: stopped\nsite: updated process group\n", 0);
        says(&host, "restart shop", "shop: stopped\nshop: started\n", 0);
        // What is down is no failure of a restart.
        says(&host, "restart site:b", "site:b: ERROR (not running)\nsite:b: started\n", 0);
        host.call("1", "app_record && app_start").assert_ok();
        let orders: Vec<String> = calls(&host).into_iter().filter(|call| call != "status").collect();
        assert_eq!(orders, ["update shop", "update site", "restart shop", "restart site:b"], "{shell:?}");

        says(&host, "update shop", "error: <Fault 92: \"CANT_REREAD: no closing quotation\">\n", 1);
        let failure = host.call("1", "app_start");
        assert!(failure.failure().contains("CANT_REREAD: no closing quotation"), "{failure:?}");
        // On the way back, what can be restarted is.
        host.call_with("1", "app_start", &[("REVERT", "1")]).assert_ok();
    }
}

#[test]
fn a_program_that_does_not_start_is_told_with_its_state_and_what_it_wrote() {
    for shell in shells() {
        let host = host(shell, "");
        host.prepare("1", &[], &programs(&["shop"], &host));
        fs::create_dir(host.root().join(".rdeploy")).unwrap();
        says(&host, "status", "shop  BACKOFF  Exited too quickly (see its log)\n", 0);
        says(&host, "update shop", "", 0);
        says(&host, "restart shop", "shop: stopped\nshop: ERROR (spawn error)\n", 7);
        says(&host, "tail -65536 shop", "Warning: sys.stdout.encoding is set to ascii\nhello\n", 0);
        says(&host, "tail -65536 shop stderr", "boom\n", 0);
        let failure = host.call("1", "app_start");
        assert_eq!(
            failure.failure(),
            "supervisord could not start shop: shop is BACKOFF (Exited too quickly (see its log))"
        );
        assert!(
            failure.output.ends_with("==> shop stdout <==\nhello\n==> shop stderr <==\nboom"),
            "{failure:?}"
        );
        // Both go to one file, or to none.
        says(&host, "tail -65536 shop stderr", "shop: ERROR (no log file)\n", 1);
        assert_eq!(host.call("1", "app_logs 1").assert_ok().output, "==> shop stdout <==\nhello");
        // Version 3 has no exit statuses.
        says(&host, "status", "shop  STOPPED  Not started\n", 0);
        says(&host, "restart shop", "shop: ERROR (no such file)\n", 0);
        assert!(host.call("1", "app_start").failure().ends_with("shop: no such file"));
    }
}

#[test]
fn what_was_up_comes_up_again_and_what_was_down_stays_down() {
    for shell in shells() {
        let host = host(shell, "");
        host.prepare("1", &[], &programs(&["up", "down", "g:*", "new"], &host));
        let before = "up  RUNNING  pid 7, uptime 1:00:00\ndown  EXITED  Nov 24 03:00 PM\n\
                      g:a  RUNNING  pid 8, uptime 1:00:00\ng:b  STOPPED  Not started\n";
        says(&host, "status", before, 3);
        host.call("1", "app_record").assert_ok();
        for name in ["up", "down", "g", "new"] {
            says(&host, &format!("update {name}"), "", 0);
        }
        says(&host, "update new", "ERROR: no such group: new\n", 1);
        let now = "up  RUNNING  pid 17, uptime 0:00:01\ndown  RUNNING  pid 18, uptime 0:00:01\n\
                   g:a  RUNNING  pid 19, uptime 0:00:01\ng:b  RUNNING  pid 20, uptime 0:00:01\n\
                   new  BACKOFF  Exited too quickly\n";
        says(&host, "status", now, 0);
        for words in ["restart up", "stop down", "restart g:*", "stop g:b", "stop new"] {
            says(&host, words, "", 0);
        }
        calls(&host);
        host.call("1", "app_restore").assert_ok();
        let changed: Vec<String> = calls(&host)
            .into_iter()
            .filter(|call| call.starts_with("restart") || call.starts_with("stop"))
            .collect();
        assert_eq!(changed, ["restart up", "stop down", "restart g:*", "stop new", "stop g:b"], "{shell:?}");
    }
}

#[test]
fn programs_that_the_release_does_not_name_any_more_are_stopped() {
    for shell in shells() {
        let host = host(shell, "[program:shop]\ncommand=x\nautostart=false\n");
        host.prepare("1", &[], &programs(&["shop", "worker", "g:*", "h:*"], &host));
        host.prepare("2", &[], &programs(&["shop", "h:b"], &host));
        let status = "shop  RUNNING  pid 7, uptime 1:00:00\nworker  RUNNING  pid 8, uptime 1:00:00\n\
                      g:a  RUNNING  pid 9, uptime 1:00:00\nh:a  RUNNING  pid 10, uptime 1:00:00\n\
                      h:b  RUNNING  pid 11, uptime 1:00:00\n";
        says(&host, "status", status, 0);
        for words in ["stop worker", "stop g:*", "stop h:a"] {
            says(&host, words, "", 0);
        }
        let leaving = host.recipe("1").display().to_string();
        let answer = host.call_with("2", "app_commit", &[("LEAVING", &leaving)]).assert_ok();
        assert_eq!(
            answer.said,
            ["warning the program shop does not come back after a reboot: it has autostart=false"]
        );
        let stopped: Vec<String> = calls(&host).into_iter().filter(|call| call.starts_with("stop")).collect();
        assert_eq!(stopped, ["stop worker", "stop g:*", "stop h:a"], "{shell:?}");
    }
}

#[test]
fn words_for_sudo_are_written_as_sudoers_wants_them() {
    for shell in shells() {
        let host = host(shell, "");
        host.prepare("1", &[], &programs(&["g:*"], &host));
        let answer = host.call(
            "1",
            "app_open
             supervisord_ctl=/usr/bin/supervisorctl supervisord_config='/etc/a,b=c.conf'
             supervisord_sudoers restart 'g:*'",
        );
        assert_eq!(answer.assert_ok().output, r"/usr/bin/supervisorctl -c /etc/a\,b\=c.conf restart g\:\*");
    }
}

#[test]
fn what_is_kept_is_listed_with_its_children_and_what_is_unknown_as_missing() {
    for shell in shells() {
        let host = host(shell, "");
        host.prepare("1", &[], &programs(&["shop", "g:*", "gone"], &host));
        // A process with a child, as one that supervisord has started would be.
        let mut shop = std::process::Command::new("sh").args(["-c", "sleep 600 & wait"]).spawn().unwrap();
        let pid = shop.id();
        says(
            &host,
            "status",
            &format!("g:a  FATAL  Exited too quickly\nshop  RUNNING  pid {pid}, uptime 0:01:00\n"),
            3,
        );
        let mut child = 0;
        while child == 0 {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            child = children.trim().parse().unwrap_or_default();
        }
        let census = host.call("1", "app_open && supervisord_census");
        let pids = host.call("1", "app_pids");
        let _ = std::process::Command::new("kill").arg(child.to_string()).status();
        shop.wait().unwrap();
        assert_eq!(
            census.assert_ok().output,
            format!("{pid}|running|-|shop\n{child}|running|-|shop\n0|fatal|-|g:a\n0|missing|-|gone")
        );
        let mut pids: Vec<u32> = pids.assert_ok().output.lines().map(|pid| pid.parse().unwrap()).collect();
        pids.sort_unstable();
        assert_eq!(pids, [pid.min(child), pid.max(child)]);
    }
}

#[test]
fn of_a_log_that_is_followed_only_what_is_new_is_shown() {
    let long: String = (0..4000).map(|i| format!("line {}\n", i % 7)).collect();
    for shell in shells() {
        let host = host(shell, "");
        host.prepare("1", &[], &programs(&["shop"], &host));
        for (old, new, added) in [
            ("a\nb", "a\nb\nc", "c"),
            ("a\nb", "a\nb", ""),
            // The last line was not whole; or all lines are the same.
            ("a\nbe", "a\nbeans\nc", "ans\nc"),
            ("x\nx\nx", "x\nx\nx\nx", "x"),
            ("", "a", "a"),
            // Another file took its place.
            ("a\nb", "c", "c"),
            // The window moves along.
            (&long, &format!("{}end", &long[700..]), "end"),
        ] {
            host.write("old", &format!("{}\n", old.trim_end()));
            host.write("new", &format!("{}\n", new.trim_end()));
            if old.is_empty() {
                host.write("old", "");
            }
            let dir = host.dir.path().display();
            let answer = host.call("1", &format!("app_open && supervisord_added {dir}/old {dir}/new"));
            assert_eq!(answer.assert_ok().output, added, "{shell:?}");
        }
    }
}
