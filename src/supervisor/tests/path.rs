//! Finding PM2 and node where version managers put them.

use std::os::unix::fs::symlink;

use super::Host;
use super::Shell;
use super::environment;
use super::shells;
use super::which;
use crate::config::Pm2;
use crate::config::Supervisor;

/// A host whose PATH has the basics but neither pm2 nor node.
fn bare(shell: Shell) -> Host {
    let mut host = Host::new(shell);
    let bin = host.dir.path().join("bin");
    for name in [
        "sh", "bash", "sed", "head", "tail", "ls", "sort", "timeout", "env", "sleep", "cat", "true", "mkdir",
        "chmod",
    ] {
        let _ = symlink(which(name).unwrap(), bin.join(name));
    }
    host.env.insert("PATH".to_owned(), bin.display().to_string());
    host.env.insert("SHELL".to_owned(), "/bin/false".to_owned());
    host.prepare("1", &[], &environment(Supervisor::Pm2(Pm2::Ecosystem("e.json".to_owned()))));
    host
}

fn install(host: &Host, dir: &str, programs: &[&str]) {
    for program in programs {
        host.write_program(format!("{dir}/{program}"), "#!/bin/sh\nexit 0\n");
    }
}

const FIND: &str = "app_find_path && command -v pm2 && command -v node";

#[test]
fn the_directories_of_version_managers_are_found() {
    for shell in shells() {
        for (pm2, node) in [
            ("home/.volta/bin", "home/.volta/bin"),
            ("home/.asdf/shims", "home/.asdf/shims"),
            ("home/.local/share/mise/shims", "home/.local/share/mise/shims"),
            ("home/.npm-global/bin", "home/n/bin"),
            ("home/.local/share/pnpm", "home/.nodenv/shims"),
            ("home/.nvm/versions/node/v20.11.0/bin", "home/.nvm/versions/node/v20.11.0/bin"),
        ] {
            let host = bare(shell);
            install(&host, pm2, &["pm2"]);
            install(&host, node, &["node"]);
            let answer = host.call("1", FIND).assert_ok();
            let dir = host.dir.path().display();
            assert_eq!(answer.output, format!("{dir}/{pm2}/pm2\n{dir}/{node}/node"), "{shell:?}");
            // What was found is remembered: the next call does not need to search.
            let list = std::fs::read_to_string(host.recipe("1").join("path")).unwrap();
            assert!(list.lines().any(|line| line.ends_with(pm2)), "{list}");
        }
    }
}

#[test]
fn of_nvms_versions_the_default_wins_then_the_newest_that_has_pm2() {
    for shell in shells() {
        let host = bare(shell);
        let version = |v: &str| format!("home/.nvm/versions/node/{v}/bin");
        install(&host, &version("v9.9.9"), &["node", "pm2"]);
        install(&host, &version("v18.20.4"), &["node", "pm2"]);
        install(&host, &version("v22.1.0"), &["node"]);
        let dir = host.dir.path().display().to_string();
        let pm2 = |v: &str| {
            format!("{dir}/home/.nvm/versions/node/{v}/bin/pm2\n{dir}/home/.nvm/versions/node/{v}/bin/node")
        };
        assert_eq!(host.call("1", FIND).assert_ok().output, pm2("v18.20.4"), "{shell:?}");
        host.write("home/.nvm/alias/default", "9\n");
        host.write(host.recipe("1").join("path"), "");
        assert_eq!(host.call("1", FIND).assert_ok().output, pm2("v9.9.9"), "{shell:?}");
        host.write("home/.nvm/alias/default", "lts/*\n");
        host.write(host.recipe("1").join("path"), "");
        assert_eq!(host.call("1", FIND).assert_ok().output, pm2("v18.20.4"), "{shell:?}");
    }
}

#[test]
fn a_chatty_profile_is_asked_last_and_understood() {
    for shell in shells() {
        for (file, guard) in [(".bash_profile", ""), (".bashrc", "case $- in *i*) ;; *) return ;; esac\n")] {
            let mut host = bare(shell);
            install(&host, "tools/node bin", &["node", "pm2"]);
            let text = format!(
                "{guard}echo Welcome; printf 'no newline'\nexport PATH=\"$PATH:{}/tools/node bin\"\n",
                host.dir.path().display()
            );
            host.write(format!("home/{file}"), &text);
            host.env.insert("SHELL".to_owned(), which("bash").unwrap().display().to_string());
            if file == ".bashrc" {
                host.write("home/.bash_profile", ". ~/.bashrc\n");
            }
            let answer = host.call("1", FIND).assert_ok();
            assert!(answer.output.contains("/tools/node bin/pm2"), "{shell:?} {answer:?}");
        }
    }
}

#[test]
fn the_configured_directories_come_first() {
    for shell in shells() {
        let host = bare(shell);
        install(&host, "home/.volta/bin", &["node", "pm2"]);
        install(&host, "chosen", &["node", "pm2"]);
        host.write(host.recipe("1").join("path"), &format!("{}/chosen\n", host.dir.path().display()));
        let answer = host.call("1", FIND).assert_ok();
        assert!(answer.output.lines().all(|line| line.contains("/chosen/")), "{answer:?}");
    }
}

#[test]
fn a_missing_pm2_is_a_problem_with_a_cure() {
    for shell in shells() {
        let host = bare(shell);
        let answer = host.call("1", "app_check").assert_ok();
        assert!(answer.says("problem pm2 and node are not on the PATH"), "{answer:?}");
        assert!(answer.says("path = [\""), "{answer:?}");
        install(&host, "home/.volta/bin", &["node"]);
        let answer = host.call("1", "app_check").assert_ok();
        assert!(answer.says("problem pm2 is not on the PATH"), "{answer:?}");
    }
}
