//! Many deploys at one instant, against sshd as it is installed.

use crate::support::fleet::note;
use crate::support::project::eventually;
use crate::support::start;
use crate::support::start::StartLine;

use super::app::App;
use super::site::Site;
use super::systemd::kept_up_somehow;

/// How many are started together: twice as many as sshd lets in at once before it turns some away.
const DEPLOYS: usize = 20;

#[test]
fn of_twenty_deploys_at_one_instant_one_runs_at_a_time_under_sshds_own_limits() {
    let test = "of_twenty_deploys_at_one_instant_one_runs_at_a_time_under_sshds_own_limits";
    let Some(site) = Site::on_own_hosts(test, 3) else { return };
    let site = kept_up_somehow(site);
    site.on_every_host(|host| {
        host.root(
            "sed -i '/^MaxStartups/d; /^PerSourcePenalties/d' /etc/ssh/sshd_config\n\
             sshd -T | grep -qx 'maxstartups 10:30:100' && systemctl reload ssh\n",
        );
        eventually("sshd to listen again", || host.ssh_with_input("root", "true", "").status.success());
        host.root(&format!("install -d -o {user} /srv/busy\n", user = site.user));
    });
    site.runs("v1");
    let mut line = StartLine::new(&site.project().with_file_name("start"));
    site.write_app(&App::version("v2"));
    site.configure(|settings| {
        settings.top = format!("keep_releases = {DEPLOYS}");
        settings.build = format!("run = [{:?}]", line.wait());
        // Sixty logins at once, some of them turned away for now, on a busy machine.
        settings.connect_timeout = "60s";
        settings.hooks = start::alone("/srv/busy").replace("[hooks]\n", "");
    });
    let running: Vec<_> = (0..DEPLOYS).map(|_| site.start(&[])).collect();
    eventually("all to be at the start", || line.reached() == DEPLOYS);
    line.open(DEPLOYS);
    let ended: Vec<_> = running.into_iter().map(|running| running.wait()).collect();

    for run in &ended {
        let held = run.said.contains("another deploy holds the lock: ada@");
        assert!(run.code == Some(0) || run.code == Some(4) && held, "{:?}: {}", run.code, run.said);
    }
    let done = ended.iter().filter(|run| run.code == Some(0)).count();
    assert!((1..DEPLOYS).contains(&done), "{done} of {DEPLOYS} went through");
    site.serves("v2");
    site.is_clean();
    for host in site.fleet().hosts() {
        assert_eq!(site.releases(host).len(), 1 + done, "host {}", host.number);
        assert_eq!(host.root("ls /srv/busy"), "", "host {}", host.number);
    }
    note(&format!("{DEPLOYS} deploys at one instant: {done} went through, one after the other"));
}
