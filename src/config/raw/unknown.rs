//! Owns what is said about a key that is not one: keys of later versions, other tools' words, keys that
//! belong somewhere else. What is left is answered with the nearest key, by the reader.

use toml::de::DeValue;

use crate::config::diagnostic::Defect;
use crate::config::names;
use crate::config::reader::Item;

/// Which kind of table the key stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Top,
    Environment,
    Host,
    Hook,
    App,
    /// Any other table.
    Inner,
}

/// Keys that are designed but not built.
const LATER: &[&str] = &["branch", "confirm", "secrets"];

/// What other tools call it.
const SYNONYMS: &[(&str, &str)] = &[
    ("application", "app"),
    ("batch_size", "batch"),
    ("canary", "first"),
    ("cmd", "run"),
    ("command", "run"),
    ("directory", "dir"),
    ("environment", "env"),
    ("environments", "env"),
    ("expect", "status"),
    ("expected_status", "status"),
    ("header", "headers"),
    ("health_check", "health"),
    ("healthcheck", "health"),
    ("healthy_threshold", "successes"),
    ("host", "address"),
    ("host", "hosts"),
    ("hostname", "address"),
    ("identity_file", "identity"),
    ("initial_delay", "delay"),
    ("keep", "keep_releases"),
    ("key", "identity"),
    ("mode", "exec_mode"),
    ("name", "app"),
    ("port", "tcp"),
    ("process_manager", "supervisor"),
    ("program", "programs"),
    ("release_limit", "keep_releases"),
    ("server", "hosts"),
    ("servers", "hosts"),
    ("shared_dirs", "linked_dirs"),
    ("shared_files", "linked_files"),
    ("src", "source"),
    ("stages", "env"),
    ("start_period", "delay"),
    ("type", "kind"),
    ("unit", "units"),
    ("url", "http"),
    ("variables", "vars"),
    ("wait", "pause"),
    ("workdir", "dir"),
    ("working_directory", "dir"),
];

const ANY: &str = "the top level or an environment";
const ENV: &str = "an environment, `[env.NAME]`";

/// Where keys belong. A key of several tables stands with the one it is most looked for in.
const HOMES: &[(&str, &str)] = &[
    ("address", "a host of `hosts`"),
    ("after_build", "`[hooks]`"),
    ("after_deploy", "`[hooks]`"),
    ("after_rollback", "`[hooks]`"),
    ("after_switch", "`[hooks]`"),
    ("after_unpack", "`[hooks]`"),
    ("app", "the top level"),
    ("apps", "`[supervisor]`"),
    ("args", "`[[supervisor.apps]]`"),
    ("batch", "`rollout`"),
    ("before_build", "`[hooks]`"),
    ("before_switch", "`[hooks]`"),
    ("body", "`[health]`"),
    ("build", "the top level"),
    ("config", "`[supervisor]`"),
    ("connect_timeout", "`[ssh]`"),
    ("cwd", "`[[supervisor.apps]]`"),
    ("delay", "`[health]`"),
    ("deploy_to", ANY),
    ("ecosystem", "`[supervisor]`"),
    ("embedded", ENV),
    ("env", "the top level"),
    ("exclude", "`[build]`"),
    ("exec_mode", "`[[supervisor.apps]]`"),
    ("first", "`rollout`"),
    ("headers", "`[health]`"),
    ("health", ANY),
    ("hooks", ANY),
    ("hosts", ENV),
    ("http", "`[health]`"),
    ("identity", "`[ssh]`"),
    ("include", "`[build]`"),
    ("instances", "`[[supervisor.apps]]`"),
    ("interval", "`[health]`"),
    ("keep_releases", ANY),
    ("kind", "`[supervisor]`"),
    ("known_hosts", "`[ssh]`"),
    ("lease", ANY),
    ("linked_dirs", ANY),
    ("linked_files", ANY),
    ("max_unreachable", ENV),
    ("on_failure", "`[hooks]`"),
    ("once", "a hook"),
    ("order", "`rollout`"),
    ("path", ANY),
    ("pause", "`rollout`"),
    ("programs", "`[supervisor]`"),
    ("restart", "`[supervisor]`"),
    ("roles", "a host or a hook"),
    ("rollout", ANY),
    ("run", "`[build]` or a hook"),
    ("scope", "`[supervisor]`"),
    ("script", "`[[supervisor.apps]]`"),
    ("settle", "`[supervisor]`"),
    ("socket", "`[health]`"),
    ("source", "`[build]`"),
    ("ssh", ANY),
    ("start", "`[supervisor]`"),
    ("status", "`[supervisor]` or `[health]`"),
    ("stop", "`[supervisor]`"),
    ("successes", "`[health]`"),
    ("supervisor", ANY),
    ("tcp", "`[health]`"),
    ("timeout", "`[health]` or a hook"),
    ("undo", "a hook"),
    ("units", "`[supervisor]`"),
    ("vars", ANY),
];

/// Returns what is known about an unknown key, if it is more than that; `keys` are those of its table.
pub(super) fn explain(level: Level, item: &Item<'_>, keys: &[&'static str]) -> Option<Defect> {
    let name = item.name.as_str();
    if matches!(level, Level::Top | Level::Environment) && LATER.contains(&name) {
        let message = format!("`{name}` is not supported by this version yet");
        return Some(Defect::new(message, "remove it; docs/configuration.md lists the keys of this version"));
    }
    match (level, name) {
        (Level::Environment, "app" | "build") => {
            let message =
                format!("`{name}` cannot differ between environments: all of them get one artifact");
            return Some(Defect::new(message, format!("write `{name}` once, at the top level")));
        }
        (Level::Host, "user" | "port") => {
            let message = format!("unknown key `{name}` in a host");
            let help = "write it in the address: `address = \"deploy@web1.example.com:2222\"`";
            return Some(Defect::new(message, help));
        }
        (Level::Top, _) if is_environment(item) => {
            let message = format!("unknown key `{}` at the top level", names::excerpt(name));
            return Some(Defect::new(
                message,
                format!("an environment is written `[env.{}]`", names::excerpt(name)),
            ));
        }
        _ => {}
    }
    let synonym = SYNONYMS.iter().find(|(word, key)| *word == name && keys.contains(key));
    if let Some((_, key)) = synonym {
        let message = format!("unknown key `{name}`");
        return Some(Defect::new(message, format!("did you mean `{key}`?")));
    }
    let (_, home) = HOMES.iter().find(|(key, _)| *key == name)?;
    Some(Defect::new(format!("`{name}` does not belong here"), format!("move it to {home}")))
}

/// Whether a table looks like an environment written without `env.` in front.
fn is_environment(item: &Item<'_>) -> bool {
    let DeValue::Table(table) = item.value.get_ref() else { return false };
    table.contains_key("hosts") || table.contains_key("embedded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        assert!(LATER.is_sorted());
        assert!(SYNONYMS.is_sorted());
        assert!(HOMES.is_sorted());
    }
}
