//! Units of systemd, with a `systemctl` that keeps one unit's count of restarts as systemd does. What the real one
//! does is the fleet tier's business.

use std::fs;

use super::Host;
use super::environment;
use super::shells;
use crate::config::Scope;
use crate::config::Supervisor;
use crate::config::Systemd;

/// As long as the file `falls` is there, the unit fails once more between being forgotten and being restarted, and
/// waits for its next start then.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")/../unit" || exit
[ "$1" = --user ] && shift
echo "$1" >>calls
case $1 in
    reset-failed)
        echo 0 >restarts
        [ ! -e falls ] || echo 1 >restarts
        ;;
    restart)
        read -r falls <falls || exit 0
        [ "$((falls - 1))" = 0 ] && rm falls || echo "$((falls - 1))" >falls
        ;;
    show) printf 'LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=%s\n' "$(cat restarts)" ;;
esac 2>/dev/null
"#;

/// What the unit is asked, where it falls so often before it runs.
fn started(host: &Host, falls: usize) -> Vec<String> {
    let _ = fs::remove_file(host.dir.path().join("unit/calls"));
    if falls > 0 {
        host.write("unit/falls", &format!("{falls}\n"));
    }
    host.call("1", "app_start").assert_ok();
    let calls = fs::read_to_string(host.dir.path().join("unit/calls")).unwrap();
    calls.lines().map(str::to_owned).collect()
}

#[test]
fn the_restarts_of_what_ran_before_do_not_count_against_what_was_started() {
    for shell in shells() {
        let mut host = Host::new(shell);
        host.write_program("ctl/systemctl", SYSTEMCTL);
        let path = format!("{}:{}", host.dir.path().join("ctl").display(), host.env["PATH"]);
        host.env.insert("PATH".to_owned(), path);
        fs::create_dir(host.root().join(".rdeploy")).unwrap();
        host.write("unit/restarts", "7\n");
        let supervisor = Supervisor::Systemd(Systemd {
            units: vec!["shop.service".to_owned()],
            scope: Scope::User,
            service: None,
        });
        host.prepare("1", &[], &environment(supervisor));
        host.switch("1");
        let round = ["reset-failed", "restart", "show"];
        assert_eq!(
            started(&host, 0),
            ["show"].iter().chain(&round).copied().collect::<Vec<_>>(),
            "{shell:?}"
        );
        // A process that was caught between two starts is started once more, and proven from then on.
        let again: Vec<_> = ["show"].iter().chain(&round).chain(&round).copied().collect();
        assert_eq!(started(&host, 1), again, "{shell:?}");
        assert_eq!(fs::read_to_string(host.dir.path().join("unit/restarts")).unwrap(), "0\n");
        // One that always falls is left to the proof.
        assert_eq!(started(&host, 9).len(), 10, "{shell:?}");
    }
}
