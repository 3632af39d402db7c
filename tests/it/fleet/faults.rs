//! What goes wrong on real machines: the exit code says what state the hosts are in, the message names
//! the host and what to do, and every host runs what it ran before.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::app::App;
use super::settings::Settings;
use super::site::Site;
use super::systemd::kept_up_somehow;
use crate::support::fleet::NOBODY;

/// A fault in the configuration or the project, and how rdeploy must end.
struct Fault {
    name: &'static str,
    code: i32,
    says: &'static [&'static str],
    app: fn(App) -> App,
    configure: fn(&mut Settings),
}

fn same(app: App) -> App {
    app
}

/// Deploys v1, then v2 with each fault in turn; after each, v1 must run as if nothing had happened.
fn each_fault_leaves_everything_as_it_was(site: &Site, faults: &[Fault]) {
    let first = site.runs("v1");
    for Fault { name, code, says, app, configure } in faults {
        crate::support::fleet::note(&format!("fault: {name}"));
        site.write_app(&app(App::version("v2")));
        site.configure(configure);
        let run = site.deploy().ends_with(*code);
        says.iter().fold(run, |run, part| run.says(part));
        site.still_runs("v1", &first);
    }
    // None of them is in the way of what comes after.
    site.configure(|_| {});
    site.runs("v3");
}

#[test]
fn a_failing_build_or_hook_leaves_everything_as_it_was() {
    let Some(site) = Site::on_three_hosts("a_failing_build_or_hook_leaves_everything_as_it_was") else {
        return;
    };
    let site = kept_up_somehow(site);
    let faults = [
        Fault {
            name: "the build fails",
            code: 2,
            says: &["no such module: beans"],
            app: same,
            configure: |settings| {
                settings.build = "run = [\"echo no such module: beans >&2; exit 7\"]".into();
            },
        },
        Fault {
            name: "a hook fails before the switch",
            code: 5,
            says: &["10.77.0.2", "after_unpack", "no beans on host2"],
            app: same,
            configure: |settings| {
                settings.hooks = "after_unpack = [{ run = \"if [ $(hostname) = host2 ]; then echo no beans on host2; exit 3; fi\" }]".into();
            },
        },
        Fault {
            name: "a hook hangs",
            code: 5,
            says: &["10.77.0.", "before_switch", "2 s"],
            app: same,
            configure: |settings| {
                settings.hooks =
                    "before_switch = [{ run = \"sleep 600 & sleep 600\", timeout = \"2s\" }]".into();
            },
        },
    ];
    each_fault_leaves_everything_as_it_was(&site, &faults);
}

#[test]
fn what_can_be_seen_beforehand_is_said_before_anything_changes() {
    let Some(site) = Site::on_three_hosts("what_can_be_seen_beforehand_is_said_before_anything_changes")
    else {
        return;
    };
    let faults = [
        Fault {
            name: "a host is down",
            code: 3,
            says: &[NOBODY],
            app: same,
            configure: |settings| {
                let user = settings.hosts[0].split('@').next().unwrap().to_owned();
                settings.hosts[1] = format!("{user}@{NOBODY}");
            },
        },
        Fault {
            name: "a host has another key than is known",
            code: 3,
            says: &["10.77.0.1", "known_hosts"],
            app: same,
            configure: |settings| {
                let (_, public) = new_key(&settings.identity);
                let known: String = fs::read_to_string(&settings.known_hosts).unwrap();
                let known: Vec<String> = known
                    .lines()
                    .map(|line| {
                        if line.starts_with("10.77.0.1 ") {
                            format!("10.77.0.1 {public}")
                        } else {
                            line.into()
                        }
                    })
                    .collect();
                settings.known_hosts = settings.identity.with_file_name("other_known_hosts");
                fs::write(&settings.known_hosts, known.join("\n")).unwrap();
            },
        },
        Fault {
            name: "the login is refused",
            code: 3,
            says: &["10.77.0.1", "10.77.0.2", "10.77.0.3"],
            app: same,
            configure: |settings| settings.identity = new_key(&settings.identity).0,
        },
        Fault {
            name: "a linked file is missing",
            code: 3,
            says: &["10.77.0.1", "10.77.0.2", "10.77.0.3", "shared/.env"],
            app: same,
            configure: |settings| settings.top = "linked_files = [\".env\"]".into(),
        },
    ];
    each_fault_leaves_everything_as_it_was(&site, &faults);
}

/// Makes a key pair beside `beside`; returns the private key's file and the public key's type and text.
fn new_key(beside: &std::path::Path) -> (std::path::PathBuf, String) {
    let file = beside.with_file_name("other_key");
    let _ = fs::remove_file(&file);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status();
    assert!(made.unwrap().success());
    let public = fs::read_to_string(file.with_extension("pub")).unwrap();
    (file, public.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

#[test]
fn a_full_disk_is_seen_before_anything_changes() {
    let Some(site) = Site::on_three_hosts("a_full_disk_is_seen_before_anything_changes") else { return };
    site.small_disk(site.host(2), "4m");
    let first = site.runs("v1");
    let mut beans = vec![0; 8 << 20];
    beans.iter_mut().enumerate().for_each(|(n, byte)| *byte = (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    site.write_app(&App::version("v2"));
    fs::write(site.project().join("beans"), beans).unwrap();
    site.deploy().ends_with(3).says("10.77.0.2").says_any(&["space", "disk"]);
    site.still_runs("v1", &first);
}

#[test]
fn a_directory_in_place_of_current_is_an_error_and_never_deleted() {
    let Some(site) = Site::on_three_hosts("a_directory_in_place_of_current_is_an_error_and_never_deleted")
    else {
        return;
    };
    let keep = format!("{}/current/precious", site.deploy_to);
    site.host(3).must(&site.user, &format!("mkdir {}/current; echo beans >{keep}", site.deploy_to));
    site.write_app(&App::version("v1"));
    site.deploy().ends_with(3).says("10.77.0.3").says("current");
    assert_eq!(site.host(3).must(&site.user, &format!("cat {keep}")), "beans\n");
    for host in site.fleet().hosts() {
        assert_eq!(site.releases(host), [""; 0], "host {}", host.number);
        assert!(site.ask(host).is_none(), "host {}", host.number);
    }
}

#[test]
fn a_host_without_pm2_is_named_before_anything_changes() {
    let Some(site) = Site::on_own_hosts("a_host_without_pm2_is_named_before_anything_changes", 2) else {
        return;
    };
    site.host(2).root("while pm2=$(command -v pm2); do rm $pm2; hash -r; done");
    site.write_app(&App::version("v1"));
    let run = site.deploy().ends_with(3).says("10.77.0.2").says_any(&["pm2"]);
    assert!(run.took < Duration::from_secs(30), "it took {:?} to say so", run.took);
    assert!(site.ask(site.host(1)).is_none());
    for host in site.fleet().hosts() {
        assert_eq!(site.releases(host), [""; 0], "host {}", host.number);
    }
    // As nvm leaves it: found by who logs in at a terminal only, since Debian's file ends before nvm's lines.
    site.host(2).must(
        &site.user,
        "bin=~/.nvm/versions/node/v20.0.0/bin; mkdir -p $bin\n\
         ln -s \"$(readlink -f \"$(command -v node)\")\" $bin/node; ln -s /opt/pm2/7/node_modules/.bin/pm2 $bin/pm2\n\
         cat >~/.bashrc <<'END'\n\
         echo 'Welcome!'\ncase $- in *i*) ;; *) return ;; esac\n\
         PATH=$HOME/.nvm/versions/node/v20.0.0/bin:$PATH\nEND\n",
    );
    let asked = site.host(2).ssh_with_input(&site.user, "command -v pm2", "");
    assert_eq!((String::from_utf8_lossy(&asked.stdout).trim(), asked.status.success()), ("Welcome!", false));
    // What a hook leaves running keeps its output, and sshd the channel open.
    site.configure(|settings| {
        settings.hooks = "after_unpack = [{ run = \"sleep 1000 & echo begun\", timeout = \"20s\" }]".into();
    });
    site.deploy().ends_with(0);
    site.host(2).must(&site.user, "rm ~/.bashrc");
    site.serves("v1");
}
