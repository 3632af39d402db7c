//! Owns what keeps an app up on a host: what goes into a release's recipe, and the shell functions
//! that start, prove, stop and put back what a recipe describes.
//!
//! Knows no connection and no transaction: the functions run in a child of the guardian, which calls
//! them by name with `ROOT`, `RELEASE`, `RECIPE`, `BEFORE` and `WORK` set (docs/supervisors.md lists
//! them all).

mod recipe;

#[cfg(test)]
mod tests;

pub use recipe::RecipeFile;
pub use recipe::recipe_files;

/// The shell functions, in the order in which they are appended to the agent. Each text only defines
/// functions, in plain POSIX `sh`.
pub const SCRIPTS: &[&str] = &[
    include_str!("app.sh"),
    include_str!("path.sh"),
    include_str!("pm2.sh"),
    include_str!("pm2-canary.sh"),
    include_str!("command.sh"),
    include_str!("place.sh"),
    include_str!("systemd.sh"),
    include_str!("supervisord-ask.sh"),
    include_str!("supervisord.sh"),
    include_str!("supervisord-see.sh"),
    include_str!("probe.sh"),
    include_str!("ask.sh"),
    include_str!("status.sh"),
    include_str!("setup.sh"),
];
