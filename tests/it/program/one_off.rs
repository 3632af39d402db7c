//! `rdeploy to`: a deploy without a deploy.toml.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::listed::Listed;
use crate::support::project::Project;
use crate::support::project::Tree;

/// Hosts that this user may log in to without naming a key, and a directory to deploy.
fn reachable(hosts: u8) -> (Project, Listed) {
    let project = Project::new();
    let listed = Listed::start(&project, hosts);
    let ssh = project.beside("home/.ssh");
    fs::create_dir(&ssh).unwrap();
    fs::copy(listed.identity(), ssh.join("id_ed25519")).unwrap();
    fs::set_permissions(ssh.join("id_ed25519"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(listed.known_hosts(), ssh.join("known_hosts")).unwrap();
    project.version(1);
    (project, listed)
}

fn page(tree: &Tree) -> String {
    tree.read("current/public/index.html")
}

#[test]
fn a_directory_goes_to_several_hosts_and_back() {
    let (project, listed) = reachable(2);
    let targets = [1, 2].map(|n| format!("deploy@{}:/srv/shop", listed.name(n)));
    let [one, two] = [targets[0].as_str(), targets[1].as_str()];
    insta::assert_snapshot!(project.rdeploy(&["to", one, two]).run(), @r#"
    exit code: 0
    --- stdout
    deploy of shop on /srv/shop: 127.0.0.1:HOST1, 127.0.0.1:HOST2
    local           | packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    127.0.0.1:HOST1 | uploaded [SIZE]
    127.0.0.1:HOST1 | preparing
    127.0.0.1:HOST1 | switching
    127.0.0.1:HOST1 | current is now [RELEASE-----1]
    127.0.0.1:HOST1 | verifying
    127.0.0.1:HOST1 | proven to run [RELEASE-----1]: current leads to the release, and nothing is supervised
    127.0.0.1:HOST1 | done
    127.0.0.1:HOST2 | uploaded [SIZE]
    127.0.0.1:HOST2 | preparing
    127.0.0.1:HOST2 | switching
    127.0.0.1:HOST2 | current is now [RELEASE-----1]
    127.0.0.1:HOST2 | verifying
    127.0.0.1:HOST2 | proven to run [RELEASE-----1]: current leads to the release, and nothing is supervised
    127.0.0.1:HOST2 | done
    deployed [RELEASE-----1] to /srv/shop on 2 hosts in [T] (build [T], prepare [T], switch [T])
    --- stderr
    "#);
    assert_eq!(listed.trees().iter().map(page).collect::<Vec<_>>(), ["version 1\n"; 2]);
    assert_eq!(listed.tree(1).live(), listed.tree(2).live());

    project.write("public/index.html", "nothing yet");
    project.write("public/debug.map", "");
    let build = "echo version 2 >public/index.html";
    let args = ["to", one, two, "--build", build, "--exclude", "*.map", "--linked-dir", "log"];
    project.rdeploy(&args).run().ends_with(0);
    assert_eq!(listed.trees().iter().map(page).collect::<Vec<_>>(), ["version 2\n"; 2]);
    let release = listed.tree(2).root.join("current");
    assert!(!release.join("public/debug.map").exists());
    assert!(release.join("log").is_dir());

    let back = project.rdeploy(&["to", one, two, "--rollback"]).run().ends_with(0);
    assert!(back.out.contains("rolled /srv/shop back to"), "{back}");
    assert_eq!(listed.trees().iter().map(page).collect::<Vec<_>>(), ["version 1\n"; 2]);
    listed.trees().iter().for_each(Tree::is_clean);
}

#[test]
fn every_wrong_argument_is_told_at_once() {
    let project = Project::new();
    let args = ["to", "web1", "web2:~/shop", "web3:/srv/a", "--supervisor", "pm3", "--health", "ftp://x"];
    insta::assert_snapshot!(project.rdeploy(&args).run(), @r#"
    exit code: 2
    --- stdout
    --- stderr
    error: `web1` does not say where on the host
    help: add an absolute path: `web1:/srv/shop`

    error: `web2:~/shop`: `~/shop` is not absolute: `~` is not expanded on hosts
    help: write the whole path, "/home/deploy/shop" for example

    error: --supervisor: `pm3` is not a kind of supervisor
    help: did you mean `pm2`?

    error: --health: `ftp://x` is not a health check
    help: write `http://127.0.0.1:[PORT]/`, `tcp:127.0.0.1:[PORT]` or `command:…`
    "#);
    insta::assert_snapshot!(project.rdeploy(&["to", "web1:/srv/shop", "--config", "x.toml"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: `rdeploy to` reads no configuration file; leave out --config
    ");
    insta::assert_snapshot!(project.rdeploy(&["to"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: the following required arguments were not provided:
      <[USER@]HOST[:PORT]:/PATH>...

    Usage: rdeploy to <[USER@]HOST[:PORT]:/PATH>...

    For more information, try '--help'.
    ");
}

#[test]
fn a_failing_check_puts_everything_back() {
    let (project, listed) = reachable(2);
    let targets = [1, 2].map(|n| format!("deploy@{}:/srv/shop", listed.name(n)));
    let [one, two] = [targets[0].as_str(), targets[1].as_str()];
    project.rdeploy(&["to", one, two]).run().ends_with(0);
    let before = super::before::Before::on(listed.trees());
    project.version(2);
    let health = "command:grep -q 'version 1' public/index.html || { echo the wrong page; false; }";
    // The check asks for as long as an app might take to come up.
    let ended = project.rdeploy(&["to", one, two, "--health", health]).run().ends_with(5);
    assert!(ended.err.contains("the wrong page"), "{ended}");
    before.stands();
}
