//! Owns what a rollout comes to in an environment: what can have no effect with its hosts is refused.

use super::diagnostic::Defect;
use super::diagnostic::Sink;
use super::raw;
use super::reader::At;
use super::reader::value;
use super::suggest;
use super::types::Batch;
use super::types::Host;
use super::types::Hosts;
use super::types::Rollout;

/// Refuses what has no effect in the very environment that says it. What comes from the top level is for
/// all of them, and may well not fit each.
pub(super) fn check(raw: &raw::Rollout, name: &str, hosts: &Hosts, sink: &mut Sink<'_>) {
    let count = match hosts {
        Hosts::Listed(hosts) => hosts.len(),
        Hosts::Embedded(count) => usize::from(*count),
    };
    if let Some((first, given)) = raw.first.as_ref().and_then(|given| Some((given.value?, given)))
        && count > 0
        && usize::try_from(first).is_ok_and(|first| first >= count)
    {
        let message =
            format!("`first` leaves nobody to follow: `[env.{name}]` has {}", hosts_in_words(count));
        let help = match count {
            1 => "remove it, or add hosts".to_owned(),
            _ => format!("write {} or less", count - 1),
        };
        sink.report(&given.span, Defect::new(message, help));
    }
    let Some(order) = &raw.order else { return };
    if order.value.as_ref().is_none_or(Vec::is_empty) {
        return;
    }
    match hosts {
        Hosts::Embedded(_) => {
            let message = "`order` has no effect: embedded hosts have every role";
            sink.report(&order.key, Defect::new(message, "remove it; it is for the roles of listed hosts"));
        }
        Hosts::Listed(hosts) if hosts.iter().all(|host| host.roles.is_none()) && !hosts.is_empty() => {
            let message =
                format!("`order` has no effect: no host of `[env.{name}]` names its roles, so each has all");
            let help = "give the hosts roles: `{ address = \"deploy@web1.example.com\", roles = [\"web\"] }`";
            sink.report(&order.key, Defect::new(message, help));
        }
        Hosts::Listed(hosts) => {
            check_roles(order.value.iter().flatten(), hosts, &format!("host of `[env.{name}]`"), sink);
        }
    }
}

/// Refuses, in a rollout of the top level, roles that no host of any environment has.
pub(super) fn check_top(raw: &raw::Rollout, hosts: &[Host], sink: &mut Sink<'_>) {
    let order = raw.order.as_ref().and_then(|given| given.value.as_ref());
    if hosts.iter().any(|host| host.roles.is_some()) {
        check_roles(order.into_iter().flatten(), hosts, "host", sink);
    }
}

fn check_roles<'a>(
    order: impl Iterator<Item = &'a At<String>>,
    hosts: &[Host],
    whose: &str,
    sink: &mut Sink<'_>,
) {
    if hosts.iter().any(|host| host.roles.is_none()) {
        return;
    }
    let mut named: Vec<&str> =
        hosts.iter().filter_map(|host| host.roles.as_ref()).flatten().map(String::as_str).collect();
    named.sort_unstable();
    named.dedup();
    for At { span, value } in order {
        if !named.contains(&value.as_str()) {
            let message = format!("no {whose} has the role `{value}`");
            sink.report(span, Defect::new(message, suggest::instead(value, &named)));
        }
    }
}

fn hosts_in_words(count: usize) -> String {
    if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") }
}

/// Makes the validated form; none written means all at once.
pub(super) fn rollout(raw: raw::Rollout) -> Rollout {
    let order = value(raw.order).unwrap_or_default();
    Rollout {
        first: value(raw.first).and_then(|first| usize::try_from(first).ok()).unwrap_or(0),
        batch: value(raw.batch).unwrap_or(Batch::All),
        pause: value(raw.pause).unwrap_or_default(),
        order: order.into_iter().map(|at| at.value).collect(),
    }
}
