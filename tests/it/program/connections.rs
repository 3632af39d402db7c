//! Hosts that cannot be reached or are not who they should be: one is enough, and nobody is touched.

use std::fs;

use rdeploy::embedded::KeyPair;

use crate::support::listed::Listed;
use crate::support::project::Project;
use crate::support::running::Ended;

use super::before::Before;

/// Three hosts that run version 1, and a project that is version 2.
fn version_1() -> (Project, Listed, Before) {
    let project = Project::new();
    let listed = Listed::start(&project, 3);
    project.configure(&listed.files(""));
    project.version(1);
    project.rdeploy(&["prod"]).run().ends_with(0);
    project.version(2);
    let before = Before::on(listed.trees());
    (project, listed, before)
}

fn refused(project: &Project) -> Ended {
    project.rdeploy(&["prod"]).run().ends_with(3)
}

#[test]
fn a_host_that_is_down_is_named() {
    let (project, mut listed, before) = version_1();
    listed.stop(2);
    insta::assert_snapshot!(refused(&project).error(), @r#"
    error: cannot connect to 127.0.0.1:HOST2 (tried 127.0.0.1:HOST2): Connection refused (os error 111)
      hint: the machine answers, but nothing listens there: check the port, and that sshd runs

    the deploy to prod did not start ([T])

      host             state                   live release
      127.0.0.1:HOST1  unchanged               [RELEASE-----1]
      127.0.0.1:HOST2  not reached, unchanged  not known
      127.0.0.1:HOST3  unchanged               [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
    before.stands();
}

#[test]
fn a_host_that_nobody_has_vouched_for_is_refused() {
    let (project, listed, before) = version_1();
    fs::write(listed.known_hosts(), listed.key_line(1) + &listed.key_line(3)).unwrap();
    insta::assert_snapshot!(refused(&project).error(), @r#"
    error: the ssh-ed25519 key of 127.0.0.1:HOST2 is not known: SHA256:[KEY]
      hint: connect once with `ssh -p [PORT] deploy@127.0.0.1`, compare the fingerprint and accept the key, or add the key to [ROOT]/hosts/known_hosts

    the deploy to prod did not start ([T])

      host             state                   live release
      127.0.0.1:HOST1  unchanged               [RELEASE-----1]
      127.0.0.1:HOST2  not reached, unchanged  not known
      127.0.0.1:HOST3  unchanged               [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
    before.stands();
}

#[test]
fn a_host_with_another_key_is_refused() {
    let (project, listed, before) = version_1();
    let known = listed.key_line(1) + &listed.wrong_key_line(2) + &listed.key_line(3);
    fs::write(listed.known_hosts(), known).unwrap();
    insta::assert_snapshot!(refused(&project).error(), @r#"
    error: the ssh-ed25519 key of 127.0.0.1:HOST2 has changed to SHA256:[KEY]; known: ssh-ed25519 SHA256:[KEY] ([ROOT]/hosts/known_hosts:2)
      hint: either the host was reinstalled or somebody is in between: compare the new fingerprint with the host's own; only if they agree, remove [ROOT]/hosts/known_hosts:2 and connect again

    the deploy to prod did not start ([T])

      host             state                   live release
      127.0.0.1:HOST1  unchanged               [RELEASE-----1]
      127.0.0.1:HOST2  not reached, unchanged  not known
      127.0.0.1:HOST3  unchanged               [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
    before.stands();
}

#[test]
fn a_refused_login_is_told_once_for_all_hosts() {
    let (project, listed, before) = version_1();
    fs::remove_file(listed.identity()).unwrap();
    KeyPair::generate().unwrap().store(&listed.identity()).unwrap();
    insta::assert_snapshot!(refused(&project).error(), @r#"
    error: deploy@127.0.0.1:HOST1 refused the login; offered: [ROOT]/hosts/login_key (ssh-ed25519 SHA256:[KEY])
      hint: add one of these keys to ~/.ssh/authorized_keys of deploy on 127.0.0.1:HOST1, or name the right one in `ssh.identity`

    error: deploy@127.0.0.1:HOST2 refused the login; offered: [ROOT]/hosts/login_key (ssh-ed25519 SHA256:[KEY])
      hint: add one of these keys to ~/.ssh/authorized_keys of deploy on 127.0.0.1:HOST2, or name the right one in `ssh.identity`

    error: deploy@127.0.0.1:HOST3 refused the login; offered: [ROOT]/hosts/login_key (ssh-ed25519 SHA256:[KEY])
      hint: add one of these keys to ~/.ssh/authorized_keys of deploy on 127.0.0.1:HOST3, or name the right one in `ssh.identity`

    the deploy to prod did not start ([T])

      host             state                   live release
      127.0.0.1:HOST1  not reached, unchanged  not known
      127.0.0.1:HOST2  not reached, unchanged  not known
      127.0.0.1:HOST3  not reached, unchanged  not known

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 3: preflight, connection or login failed; no host was changed
    "#);
    before.stands();
}

#[test]
fn a_connection_that_is_cut_after_the_switch_is_put_back_by_the_host_itself() {
    let (project, listed, before) = version_1();
    let gate = crate::support::gate::Gate::new(&project, "gate");
    project.configure(&listed.files(&format!(
        "lease = \"2s\"\n[hooks]\nafter_switch = [{{ run = {:?}, timeout = \"2m\" }}]",
        gate.wait()
    )));
    let mut running = project.rdeploy(&["prod"]).start();
    running.until("every host to be switched", || gate.reached() == 3);
    assert!(!before.is_live());
    listed.cut(2);
    let ended = running.wait();
    crate::support::project::eventually("every host to be put back", || {
        before.is_live() && !before.is_locked()
    });
    before.stands();
    insta::assert_snapshot!(ended.ends_with(8).error(), @r#"
    error: 127.0.0.1:HOST2: the connection was lost while it was running a hook
      hint: look at the host and at the network to it

    error: 127.0.0.1:HOST2: the connection was lost while it was putting the host back; unless it had committed, its guardian puts it back by itself, 2 s after it last heard from here at the latest
      hint: run the same command again once the host can be reached: it says what stands there, and first undoes what was left undone

    the deploy to prod ended without the word of every host ([T]: build [T], prepare [T])

      host             state          live release
      127.0.0.1:HOST1  put back       [RELEASE-----1]
      127.0.0.1:HOST2  not confirmed  not known
      127.0.0.1:HOST3  put back       [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-prod-[PID].log
    exit code 8: not confirmed on some host: it puts itself back, or the next command says how it stands
    "#);
}
