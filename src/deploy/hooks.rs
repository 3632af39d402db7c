//! Owns which of the user's hooks runs on which host, and in which number the host knows it by.

use crate::config;
use crate::config::Hook;
use crate::config::Hooks;
use crate::host::HookScript;
use crate::host::Verb;

/// The points of a transaction at which hooks run on hosts, in order.
fn points(hooks: &Hooks) -> [(&'static str, &[Hook]); 6] {
    [
        ("after_unpack", &hooks.after_unpack),
        ("before_switch", &hooks.before_switch),
        ("after_switch", &hooks.after_switch),
        ("after_deploy", &hooks.after_deploy),
        ("on_failure", &hooks.on_failure),
        ("after_rollback", &hooks.after_rollback),
    ]
}

/// Returns, for each host, the hooks that `verb` runs there. A `once` hook goes to the first host with
/// one of its roles. What is already in the release when a rollback begins (`after_unpack`) and what
/// belongs to the other verb never runs.
pub fn schedule(hooks: &Hooks, hosts: &[&config::Host], verb: Verb) -> Vec<Vec<HookScript>> {
    let mut schedule = vec![Vec::new(); hosts.len()];
    let mut number = 0;
    for (point, hooks) in points(hooks) {
        let at_this_verb = match point {
            "after_unpack" | "after_deploy" => verb == Verb::Deploy,
            "after_rollback" => verb == Verb::Rollback,
            _ => true,
        };
        for hook in hooks {
            number += 1;
            let wanted = point == "after_rollback"
                || match verb {
                    Verb::Deploy => hook.on_deploy,
                    Verb::Rollback => hook.on_rollback,
                    _ => false,
                };
            if !at_this_verb || !wanted {
                continue;
            }
            let matching = hosts.iter().zip(&mut schedule).filter(|(host, _)| host.has_any_role(&hook.roles));
            for (_, scripts) in matching.take(if hook.once { 1 } else { usize::MAX }) {
                scripts.push(HookScript { number, point, hook: hook.clone() });
            }
        }
    }
    schedule
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hook(run: &str, roles: &[&str], once: bool, on_rollback: bool) -> Hook {
        Hook {
            run: run.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            once,
            dir: None,
            timeout: Duration::from_secs(1),
            on_deploy: true,
            on_rollback,
            undo: None,
        }
    }

    fn host(address: &str, roles: &[&str]) -> config::Host {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        config::Host { user: None, address: address.to_owned(), port: 22, roles: Some(roles) }
    }

    #[test]
    fn hooks_go_to_the_hosts_with_their_roles_and_once_means_the_first_of_them() {
        let hooks = Hooks {
            after_unpack: vec![hook("install", &[], false, false)],
            before_switch: vec![hook("migrate", &["db"], true, false), hook("drain", &["web"], false, true)],
            after_rollback: vec![hook("tell", &[], true, false)],
            ..Hooks::default()
        };
        let hosts = [host("a", &["web"]), host("b", &["web", "db"]), host("c", &["db"])];
        let hosts: Vec<&config::Host> = hosts.iter().collect();
        let names = |verb| -> Vec<Vec<(usize, String)>> {
            let schedule = schedule(&hooks, &hosts, verb);
            schedule.into_iter().map(|s| s.into_iter().map(|s| (s.number, s.hook.run)).collect()).collect()
        };
        let own = |n: usize, run: &str| (n, run.to_owned());
        assert_eq!(
            names(Verb::Deploy),
            [
                vec![own(1, "install"), own(3, "drain")],
                vec![own(1, "install"), own(2, "migrate"), own(3, "drain")],
                vec![own(1, "install")],
            ]
        );
        assert_eq!(
            names(Verb::Rollback),
            [vec![own(3, "drain"), own(4, "tell")], vec![own(3, "drain")], vec![]]
        );
    }
}
