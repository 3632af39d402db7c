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

use crate::shell;

/// The shell functions that an agent reads in any case. Each text only defines functions, in plain POSIX `sh`.
const SHARED: &[&str] = &[
    include_str!("app.sh"),
    include_str!("path.sh"),
    include_str!("place.sh"),
    include_str!("probe.sh"),
    include_str!("ask.sh"),
    include_str!("status.sh"),
    include_str!("setup.sh"),
];

/// Those of each kind of supervisor, which it reads when it meets one (`app_part` in `app.sh`).
const PARTS: &[(&str, &[&str])] = &[
    ("pm2", &[include_str!("pm2-call.sh"), include_str!("pm2.sh"), include_str!("pm2-canary.sh")]),
    ("systemd", &[include_str!("systemd.sh")]),
    (
        "supervisord",
        &[
            include_str!("supervisord-ask.sh"),
            include_str!("supervisord.sh"),
            include_str!("supervisord-see.sh"),
        ],
    ),
    ("command", &[include_str!("command.sh")]),
];

/// Returns the functions as they stand in an agent. A part is the text of a variable: a shell passes over that in a
/// third of the time that it takes to read functions, and most hosts have one supervisor.
pub fn functions() -> String {
    let text = |files: &[&str]| files.iter().map(|file| shell::without_comments(file)).collect::<String>();
    // A name begins a line there, too.
    let parts = PARTS.iter().map(|(kind, files)| {
        let functions = format!("\n{}", text(files));
        format!("PART_{kind}={}\n", shell::quote(&functions))
    });
    [text(SHARED)].into_iter().chain(parts).collect()
}

/// The files that the functions are in, as they are.
#[cfg(test)]
pub(crate) fn files() -> impl Iterator<Item = &'static str> {
    SHARED.iter().chain(PARTS.iter().flat_map(|(_, files)| files.iter())).copied()
}
