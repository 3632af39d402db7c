//! Owns what is kept up for a site on a host, as its supervisor and the kernel tell.

use std::collections::BTreeMap;

use super::site::Site;
use crate::support::fleet::Host;

/// What keeps an app up, as the tests ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The login user's PM2.
    Pm2,
    /// The login user's unit `shop.service`.
    UserUnit,
    /// The host's unit `shop.service`.
    SystemUnit,
    /// Whatever supervisord of the host, root's or the login user's.
    Supervisord,
}

impl Site {
    /// The names PM2 has registered for this user on a host, once an instance.
    pub(crate) fn registered(&self, host: &Host) -> Vec<String> {
        let list = host.must(&self.user, "pm2 jlist -s </dev/null");
        let list: Vec<serde_json::Value> = serde_json::from_str(list.lines().last().unwrap()).unwrap();
        list.iter().map(|app| app["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Every process that is kept up for this site, and where each runs: as the kernel says. PM2's daemon
    /// also calls `ps` now and then for its figures; that is no worker.
    pub(crate) fn workers(&self, host: &Host) -> BTreeMap<u32, String> {
        let of_unit = |systemctl: &str| {
            format!(
                "group=$({systemctl} show shop.service -p ControlGroup --value)\n\
                 for at in /sys/fs/cgroup /sys/fs/cgroup/systemd; do\n\
                 for pid in $(cat $at$group/cgroup.procs 2>/dev/null); do\n\
                 echo $pid \"$(readlink /proc/$pid/cwd || echo gone)\"; done; done"
            )
        };
        let script = match self.keeper {
            Keeper::Pm2 => Self::WORKERS_OF_PM2.to_owned(),
            Keeper::UserUnit => of_unit("systemctl --user"),
            Keeper::SystemUnit => of_unit("systemctl"),
            Keeper::Supervisord => Self::WORKERS_OF_SUPERVISORD.to_owned(),
        };
        let worker = |line: &str| {
            let (pid, cwd) = line.split_once(' ').unwrap();
            (pid.parse().unwrap(), cwd.to_owned())
        };
        let ask = if self.over_ssh { Host::must } else { Host::inside };
        ask(host, &self.user, &script).lines().map(worker).collect()
    }

    const WORKERS_OF_PM2: &str = "for pm2 in $(grep -lsa '^PM2 v' /proc/[0-9]*/cmdline || true); do\n\
                      pm2=${pm2%/cmdline}; [ -O $pm2 ] || continue\n\
                      for pid in $(cat $pm2/task/*/children); do\n\
                      exe=$(readlink /proc/$pid/exe) && [ \"${exe##*/}\" = node ] || continue\n\
                      [ \"$(head -c 4 /proc/$pid/cmdline)\" != 'PM2 ' ] || continue\n\
                      echo $pid \"$(readlink /proc/$pid/cwd || echo gone)\"; done; done";

    const WORKERS_OF_SUPERVISORD: &str = "for daemon in $(grep -lsa supervisord /proc/[0-9]*/cmdline || true); do\n\
                      daemon=${daemon%/cmdline}\n\
                      case $(tr '\\0' ' ' <$daemon/cmdline) in /usr/bin/python3*/usr/bin/supervisord*) ;; *) continue ;; esac\n\
                      for pid in $(cat $daemon/task/*/children); do\n\
                      [ -O /proc/$pid ] || continue\n\
                      echo $pid \"$(readlink /proc/$pid/cwd || echo gone)\"; done; done";
}
