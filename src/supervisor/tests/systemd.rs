//! Units of systemd, with a `systemctl` that keeps one unit's count of restarts as systemd does. What the real one
//! does is the fleet tier's business.

use std::fs;

use super::Host;
use super::Shell;
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
        [ ! -e refuses ] || exit 1
        read -r falls <falls || exit 0
        [ "$((falls - 1))" = 0 ] && rm falls || echo "$((falls - 1))" >falls
        ;;
    show) printf 'LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=%s\n' "$(cat restarts)" ;;
esac 2>/dev/null
"#;

/// Which journald has read the program's last words when it is asked for the third time, if at all.
const JOURNALCTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")/../unit" || exit
format=
while [ $# -gt 0 ]; do
    [ "$1" != -o ] || format=$2
    shift
done
[ ! -e unreadable ] || exit 0
manager='' program=''
if [ "$format" = short ]; then
    manager='Nov 28 17:08:03 web1 systemd[1]: ' program='Nov 28 17:08:03 web1 shop[77]: '
    echo >>read
fi
echo "${program}listening"
echo "${manager}Starting shop.service - shop..."
[ -e silent ] || [ "$(wc -l <read)" -lt 3 ] || echo "${program}cannot reach the database"
echo "${manager}shop.service: Main process exited, code=exited, status=101/n/a"
"#;

/// A host with that unit, whose manager has counted seven restarts.
fn host(shell: Shell) -> Host {
    let mut host = Host::new(shell);
    host.write_program("ctl/systemctl", SYSTEMCTL);
    host.write_program("ctl/journalctl", JOURNALCTL);
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
    host
}

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
        let host = host(shell);
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

#[test]
fn what_a_program_said_is_waited_for_where_journald_is_behind_the_manager() {
    for shell in shells() {
        let host = host(shell);
        host.write("unit/refuses", "");
        let reads = || fs::read_to_string(host.dir.path().join("unit/read")).unwrap_or_default().len();
        let failed = host.call("1", "app_start");
        assert!(!failed.ok);
        assert!(
            failed.output.contains("shop...\ncannot reach the database\n"),
            "{shell:?}: {}",
            failed.output
        );
        assert_eq!(reads(), 3, "{shell:?}");
        // One that dies without a word, and a journal that is not to be read, are not waited for for long.
        host.write("unit/silent", "");
        let failed = host.call("1", "app_start");
        assert!(failed.output.contains("Main process exited"), "{shell:?}: {}", failed.output);
        assert_eq!(reads(), 7, "{shell:?}");
        host.write("unit/unreadable", "");
        let failed = host.call("1", "app_start");
        assert!(!failed.ok && !failed.output.contains("journal"), "{shell:?}: {}", failed.output);
        assert_eq!(reads(), 7, "{shell:?}");
    }
}
