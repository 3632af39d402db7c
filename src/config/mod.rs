//! Owns `deploy.toml`: finding it, reading it, judging it, and the validated form the rest of the crate
//! uses. Knows no host, no terminal.
//!
//! The way of a file: `load` finds it, `syntax` parses it, `raw` reads the tree into optional fields that remember
//! where they stood, `merge` lays an environment over the top level, `validate` judges what only the merged whole can
//! show and makes the types of `types`, with `checks`, `rollout` and `supervisor` for those keys. What is wrong on the
//! way is collected, not returned: `diagnostic` renders all of it at once. A value is judged where it is read, by the
//! pure functions of `host`, `names`, `paths`, `probe` and `units`, which `one_off` uses for the command line.

mod checks;
mod diagnostic;
mod health;
mod host;
mod load;
mod merge;
mod names;
mod one_off;
mod paths;
mod probe;
mod raw;
mod reader;
mod rollout;
mod suggest;
mod supervisor;
mod syntax;
mod types;
mod units;
mod validate;

#[cfg(test)]
mod tests;

pub use diagnostic::Report;
pub use health::Header;
pub use health::Health;
pub use health::HttpProbe;
pub use health::Probe;
pub use health::Statuses;
pub use load::ConfigError;
pub use load::FILE_NAME;
pub use load::load;
pub use names::COMMANDS;
pub use one_off::OneOff;
pub use one_off::OneOffError;
pub use one_off::one_off;
pub use types::Batch;
pub use types::Build;
pub use types::CommandSupervisor;
pub use types::Environment;
pub use types::Hook;
pub use types::Hooks;
pub use types::Host;
pub use types::Hosts;
pub use types::Instances;
pub use types::Pm2;
pub use types::Pm2App;
pub use types::Project;
pub use types::Rollout;
pub use types::Scope;
pub use types::Service;
pub use types::SshSettings;
pub use types::Supervisor;
pub use types::Supervisord;
pub use types::Systemd;
pub use types::UnknownEnvironment;
pub use units::parse_duration;
