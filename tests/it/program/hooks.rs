//! The user's own commands on the hosts: what they see, where and when they run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::support::listed::Listed;
use crate::support::project::Project;
use crate::support::project::files;

/// Every line of the common log.
fn lines(log: &Path) -> Vec<String> {
    fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_hook_sees_its_host_its_release_and_the_variables() {
    let project = Project::files(1, "");
    let first = project.deploys();
    let vars = "[vars]\nQUOTES = \"it's \\\"$HOME\\\" `id` \\\\\"\nLINES = \"one\\n  two\\n\"\nEMPTY = \"\"\nNUMBER = 3000\n";
    let hook = "for name in RDEPLOY_ENV RDEPLOY_HOST RDEPLOY_ROLES RDEPLOY_RELEASE RDEPLOY_RELEASE_PATH \
                RDEPLOY_PREVIOUS_RELEASE QUOTES LINES EMPTY NUMBER PATH PWD; do \
                eval \"printf '%s=<%s>\\\\n' $name \\\"\\$$name\\\"\"; done >seen";
    project.configure(&files(
        1,
        &format!("path = [\"/opt/node/bin\"]\n{vars}[hooks]\nafter_unpack = [{{ run = '''{hook}''', dir = \"public\" }}]\n"),
    ));
    let second = project.deploys();
    let host = project.host(1);
    let seen = host.read("current/public/seen");
    let release = host.root.join("releases").join(&second).display().to_string();
    let path = seen.lines().find(|line| line.starts_with("PATH=")).unwrap();
    assert!(path.starts_with("PATH=</opt/node/bin:"), "{path}");
    let expected = [
        "RDEPLOY_ENV=<dev>".to_owned(),
        "RDEPLOY_HOST=<host1>".to_owned(),
        "RDEPLOY_ROLES=<*>".to_owned(),
        format!("RDEPLOY_RELEASE=<{second}>"),
        format!("RDEPLOY_RELEASE_PATH=<{release}>"),
        format!("RDEPLOY_PREVIOUS_RELEASE=<{first}>"),
        "QUOTES=<it's \"$HOME\" `id` \\>".to_owned(),
        "LINES=<one\n  two\n>".to_owned(),
        "EMPTY=<>".to_owned(),
        "NUMBER=<3000>".to_owned(),
        path.to_owned(),
        format!("PWD=<{release}/public>"),
    ];
    assert_eq!(seen.trim_end(), expected.join("\n"));
}

#[test]
fn hooks_run_on_the_hosts_with_their_roles_in_the_order_of_the_transaction() {
    let project = Project::new();
    let listed = Listed::start(&project, 3);
    let log = project.beside("log");
    let note = |what: &str| format!("echo \"$RDEPLOY_HOST $RDEPLOY_ROLES {what}\" >>{}", log.display());
    let hook = |what: &str, more: &str| format!("{{ run = {:?}{more} }}", note(what));
    let hooks = format!(
        "[hooks]\nafter_unpack = [{}, {}]\nbefore_switch = [{}, {}]\nafter_switch = [{}]\nafter_deploy = [{}]\n\
         on_failure = [{}]\nafter_rollback = [{}]\n",
        hook("unpacked", ""),
        hook("unpacked-web", ", roles = [\"web\"]"),
        hook("migrates", ", roles = [\"db\"], once = true"),
        hook("drains", ", roles = [\"web\"], on = [\"deploy\", \"rollback\"]"),
        hook("switched", ", on = \"rollback\""),
        hook("done", ", once = true"),
        hook("failed", ""),
        hook("rolled-back", ""),
    );
    project.configure(&listed.files_for(&hooks, &[&["web"], &["web", "db"], &["db"]]));
    project.version(1);
    project.rdeploy(&["prod"]).run().ends_with(0);

    let [web, both, db] = [1, 2, 3].map(|n| listed.name(n));
    let said = lines(&log);
    let set = |lines: &[String]| lines.iter().cloned().collect::<BTreeSet<_>>();
    let expected = |lines: &[String]| lines.iter().cloned().collect::<BTreeSet<_>>();
    // Everything is unpacked everywhere before the migration runs, once, before any host is switched.
    assert_eq!(said.len(), 9, "{said:#?}");
    assert_eq!(
        set(&said[..5]),
        expected(&[
            format!("{web} web unpacked"),
            format!("{web} web unpacked-web"),
            format!("{both} db,web unpacked"),
            format!("{both} db,web unpacked-web"),
            format!("{db} db unpacked"),
        ])
    );
    assert_eq!(said[5], format!("{both} db,web migrates"));
    assert_eq!(set(&said[6..8]), expected(&[format!("{web} web drains"), format!("{both} db,web drains")]));
    assert_eq!(said[8], format!("{web} web done"));

    project.version(2);
    project.rdeploy(&["prod"]).run().ends_with(0);
    fs::remove_file(&log).unwrap();
    project.rdeploy(&["prod", "--rollback"]).run().ends_with(0);
    let said = lines(&log);
    assert_eq!(
        set(&said),
        expected(&[
            format!("{web} web drains"),
            format!("{both} db,web drains"),
            format!("{web} web switched"),
            format!("{both} db,web switched"),
            format!("{db} db switched"),
            format!("{web} web rolled-back"),
            format!("{both} db,web rolled-back"),
            format!("{db} db rolled-back"),
        ])
    );
    for host in [&web, &both] {
        let own: Vec<&str> = said
            .iter()
            .filter(|line| line.starts_with(host.as_str()))
            .filter_map(|l| l.rsplit(' ').next())
            .collect();
        assert_eq!(own, ["drains", "switched", "rolled-back"]);
    }
}

#[test]
fn values_of_variables_are_in_no_command_line_on_the_way() {
    const SECRET: &str = "c0rrect-h0rse-battery-staple";
    let project = Project::served(2);
    let config = fs::read_to_string(project.file("deploy.toml")).unwrap();
    let check = format!("test \"$TOKEN\" = {:?}", "$(cat expected)");
    project.write("expected", SECRET);
    project.configure(&config.replace(
        "[env.dev]",
        &format!("[vars]\nTOKEN = {SECRET:?}\n[hooks]\nafter_unpack = ['''{check}''']\nafter_switch = ['''{check}''']\n\n[env.dev]"),
    ));
    let stop = Arc::new(AtomicBool::new(false));
    let watching = Arc::clone(&stop);
    let watcher = std::thread::spawn(move || {
        let (mut looks, mut seen) = (0_u32, Vec::new());
        while !watching.load(Ordering::Relaxed) {
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                let told = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let told = String::from_utf8_lossy(&told).into_owned();
                if told.contains(SECRET) {
                    seen.push(told);
                }
            }
            looks += 1;
        }
        (looks, seen)
    });
    let ended = project.rdeploy(&["dev", "-v"]).run().ends_with(0);
    stop.store(true, Ordering::Relaxed);
    let (looks, seen) = watcher.join().unwrap();
    assert!(looks > 10, "it was looked {looks} times");
    assert_eq!(seen, [""; 0]);
    assert!(!ended.out.contains(SECRET) && !project.log().contains(SECRET), "{ended}");
}

#[test]
fn a_hook_that_fails_after_the_commit_is_a_warning() {
    let project = Project::files(2, "");
    project.deploys();
    project.version(2);
    project.configure(&files(
        2,
        "[hooks]\nafter_deploy = [{ run = \"echo no route to the chat; exit 4\", once = true }]",
    ));
    insta::assert_snapshot!(project.rdeploy(&["dev"]).run(), @r"
    exit code: 0
    --- stdout
    deploy of shop on dev: host1, host2
    local | packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    host1 | uploaded [SIZE]
    host1 | preparing
    host1 | switching
    host1 | current is now [RELEASE-----2]
    host1 | verifying
    host1 | proven to run [RELEASE-----2]: current leads to the release, and nothing is supervised
    host1 | after_deploy: echo no route to the chat; exit 4
    host1 |   no route to the chat
    host1 | warning: `echo no route to the chat; exit 4` exited with code 4 no route to the chat
    host1 | done
    host2 | uploaded [SIZE]
    host2 | preparing
    host2 | switching
    host2 | current is now [RELEASE-----2]
    host2 | verifying
    host2 | proven to run [RELEASE-----2]: current leads to the release, and nothing is supervised
    host2 | done
    deployed [RELEASE-----2] to dev on 2 hosts in [T] (build [T], prepare [T], switch [T])
    1 warning, see above
    --- stderr
    ");
    assert_eq!(project.host(1).read("current/public/index.html"), "version 2\n");
}
