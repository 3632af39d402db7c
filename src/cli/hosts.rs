//! `--hosts`, which every verb has that can be about some of an environment's hosts.

use clap::Args;

use super::Fatal;
use crate::config;

/// Which hosts of the environment.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostsArgs {
    /// Only these hosts of the environment, or those with one of these roles (`web1,web2`, `role:db`)
    #[arg(long, value_name = "HOST,...", value_delimiter = ',')]
    pub(super) hosts: Vec<String>,
}

impl HostsArgs {
    /// Keeps what was chosen; without a choice everything stays. Names that no host has are an error.
    pub(super) fn keep<T>(
        &self,
        environment: &str,
        all: &mut Vec<T>,
        of: impl Fn(&T) -> (&String, &config::Host),
    ) -> Result<(), Fatal> {
        if self.hosts.is_empty() {
            return Ok(());
        }
        let is = |wanted: &str, item: &T| {
            let (name, host) = of(item);
            match wanted.strip_prefix("role:") {
                Some(role) => host.has_any_role(&[role.to_owned()]),
                None => wanted == name || wanted == host.address,
            }
        };
        let unknown: Vec<&str> = self
            .hosts
            .iter()
            .map(String::as_str)
            .filter(|wanted| !all.iter().any(|item| is(wanted, item)))
            .collect();
        if !unknown.is_empty() {
            let known: Vec<&str> = all.iter().map(|item| of(item).0.as_str()).collect();
            let what = format!("{environment} has no host {}; nothing was done", unknown.join(", "));
            return Err(Fatal::usage(what).hint(format!("it has {}", known.join(", "))));
        }
        all.retain(|item| self.hosts.iter().any(|wanted| is(wanted, item)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn hosts() -> Vec<(String, config::Host)> {
        let host = |address: &str, port, role: &str| {
            let roles = Some(BTreeSet::from([role.to_owned()]));
            let host = config::Host { user: None, address: address.to_owned(), port, roles };
            (host.name(), host)
        };
        vec![host("web1", 22, "web"), host("web2", 2222, "web"), host("db", 22, "db")]
    }

    fn kept(wanted: &[&str]) -> Result<Vec<String>, Fatal> {
        let args = HostsArgs { hosts: wanted.iter().map(|name| (*name).to_owned()).collect() };
        let mut all = hosts();
        args.keep("prod", &mut all, |(name, host)| (name, host))?;
        Ok(all.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn hosts_are_chosen_by_name_address_and_role_in_the_environments_order() {
        assert_eq!(kept(&[]).unwrap(), ["web1", "web2:2222", "db"]);
        assert_eq!(kept(&["db", "web2"]).unwrap(), ["web2:2222", "db"]);
        assert_eq!(kept(&["web2:2222"]).unwrap(), ["web2:2222"]);
        assert_eq!(kept(&["role:web"]).unwrap(), ["web1", "web2:2222"]);
    }

    #[test]
    fn a_host_that_is_not_there_is_an_error_that_names_those_that_are() {
        let error = kept(&["web1", "web3", "role:cache"]).unwrap_err();
        assert_eq!(error.message, "prod has no host web3, role:cache; nothing was done");
        assert_eq!(error.hint.as_deref(), Some("it has web1, web2:2222, db"));
    }
}
