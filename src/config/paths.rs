//! Owns the rules for paths: `deploy_to`, what is linked, what lies in a release, directories searched on
//! hosts, files of this machine. What would be dangerous on a host is refused here. Touches no file system.

use std::path::Path;
use std::path::PathBuf;

use super::diagnostic::Defect;
use super::names;

/// Directories that belong to the system as a whole. An application's directory may be below one.
const SYSTEM: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// What the kernel fills; nothing can be deployed below it either.
const VIRTUAL: &[&str] = &["/proc/", "/sys/"];

/// Where relative paths of this machine begin.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The project's root.
    pub(super) root: PathBuf,
    /// The user's home directory, if there is one.
    pub(super) home: Option<PathBuf>,
}

impl Places {
    /// Reads a file of this machine: `~/` is the home directory, relative means from the project's root.
    pub(super) fn local_file(&self, text: &str) -> Result<PathBuf, Defect> {
        plain(text)?;
        let path = match (text.strip_prefix('~'), &self.home) {
            (None, _) => Path::new(text).to_owned(),
            (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
            (Some(rest), None) if rest.starts_with('/') => {
                let message = format!("`{text}` needs a home directory, and there is none");
                return Err(Defect::new(message, "set HOME, or write an absolute path"));
            }
            (Some(_), _) => {
                let message = format!("`{text}`: only `~/` is expanded, not other users' homes");
                return Err(Defect::new(message, "write the whole path"));
            }
        };
        Ok(self.root.join(path))
    }
}

/// Reads `deploy_to`: the application's directory on a host.
pub(super) fn deploy_to(text: &str) -> Result<String, Defect> {
    const EXAMPLE: &str = "write an absolute path of its own, \"/srv/shop\" for example";
    plain(text)?;
    if text.starts_with('~') {
        let message = format!("`{text}` is not absolute: `~` is not expanded on hosts");
        return Err(Defect::new(message, "write the whole path, \"/home/deploy/shop\" for example"));
    }
    if !text.starts_with('/') {
        // `srv/shop` lacks its slash; `shop` lacks a place.
        let path = resolved(text);
        let first = path.split('/').nth(1).unwrap_or_default();
        let place = if SYSTEM.contains(&format!("/{first}").as_str()) { "" } else { "/srv" };
        let help = would_do(&format!("{place}{path}")).unwrap_or_else(|| EXAMPLE.to_owned());
        return Err(Defect::new(format!("`{text}` is not an absolute path"), help));
    }
    let path = text.strip_suffix('/').unwrap_or(text);
    if path.is_empty() {
        return Err(Defect::new("an application cannot be deployed to `/`", EXAMPLE));
    }
    let segments = || path.split('/').skip(1);
    if segments().any(|segment| matches!(segment, "" | "." | "..")) {
        let message = format!("`{text}` contains `//`, `.` or `..`");
        return Err(Defect::new(message, would_do(&resolved(path)).unwrap_or_else(|| EXAMPLE.to_owned())));
    }
    if SYSTEM.contains(&path) {
        let message = format!("`{path}` is a directory of the system");
        return Err(Defect::new(message, format!("give the application its own below it: \"{path}/shop\"")));
    }
    if let Some(root) = VIRTUAL.iter().find(|root| path.starts_with(*root)) {
        return Err(Defect::new(format!("nothing can be deployed below `{root}`"), EXAMPLE));
    }
    Ok(path.to_owned())
}

/// The help that names a path, if that path would do.
fn would_do(path: &str) -> Option<String> {
    deploy_to(path).ok().map(|path| format!("write \"{path}\""))
}

/// Reads a path of `linked_dirs` or `linked_files`: relative to a release and to `shared`.
pub(super) fn linked(text: &str) -> Result<String, Defect> {
    if matches!(text, "." | "./") {
        return Err(Defect::new("a whole release cannot be linked", "name a directory or file in it"));
    }
    relative(text, "a linked path")
}

/// Reads a path that stays within what it is relative to; `.` alone is allowed.
pub(super) fn within(text: &str, what: &str) -> Result<String, Defect> {
    if matches!(text, "." | "./") { Ok(".".to_owned()) } else { relative(text, what) }
}

/// Reads a path relative to a release, without a slash at its end.
pub(super) fn relative(text: &str, what: &str) -> Result<String, Defect> {
    plain(text)?;
    let path = text.strip_suffix('/').unwrap_or(text);
    if text.starts_with('/') {
        let message = format!("`{text}` is absolute; {what} must be relative");
        return Err(Defect::new(message, "write it relative, without `/` in front"));
    }
    if text.starts_with('~') {
        let message = format!("`{text}` begins with `~`; {what} must be relative");
        return Err(Defect::new(message, "write a path that begins with a name"));
    }
    if path.split('/').any(|segment| segment == "..") {
        let message = format!("`{text}` contains `..`; {what} must not lead outside");
        let inside = resolved(path);
        let help = match inside.trim_start_matches('/') {
            "" => "write a path without `..`".to_owned(),
            path => format!("write \"{path}\" if that is meant"),
        };
        return Err(Defect::new(message, help));
    }
    if path.split('/').any(|segment| matches!(segment, "" | ".")) {
        let message = format!("`{text}` contains `//` or `.`");
        return Err(Defect::new(message, format!("write \"{}\"", resolved(path).trim_start_matches('/'))));
    }
    Ok(path.to_owned())
}

/// Reads a directory put before PATH on hosts.
pub(super) fn searched(text: &str) -> Result<String, Defect> {
    plain(text)?;
    if text.contains(':') {
        let parts: Vec<String> = text.split(':').map(|part| format!("\"{part}\"")).collect();
        let help = format!("write one directory an element: [{}]", parts.join(", "));
        return Err(Defect::new(format!("`{text}` contains `:`"), help));
    }
    if !text.starts_with('/') {
        let message = format!("`{text}` is not absolute; neither `~` nor variables are expanded");
        return Err(Defect::new(message, "write the whole path, \"/opt/node/bin\" for example"));
    }
    Ok(text.to_owned())
}

/// Reads a log of the app: an absolute path, or one in the live release.
pub(super) fn log(text: &str) -> Result<String, Defect> {
    match text.strip_prefix('/') {
        Some(below) => relative(below, "a log").map(|path| format!("/{path}")),
        None => relative(text, "a log in the release"),
    }
}

/// Reads the path of a Unix socket: absolute, or relative to `deploy_to`.
pub(super) fn socket(text: &str) -> Result<String, Defect> {
    /// The kernel's limit, less the end.
    const LONGEST: usize = 107;
    let what = "the socket's path";
    let path = match text.strip_prefix('/') {
        Some(below) => format!("/{}", relative(below, what)?),
        None => relative(text, what)?,
    };
    if path.len() > LONGEST {
        let message =
            format!("the socket's path has {} bytes; there cannot be more than {LONGEST}", path.len());
        return Err(Defect::new(message, "give the socket a shorter path"));
    }
    if text.ends_with('/') {
        let message = format!("`{text}` is a directory; a socket is a file in one");
        return Err(Defect::new(message, format!("write \"{path}/app.sock\"")));
    }
    Ok(path)
}

/// Reads the name of a PM2 ecosystem file: PM2 itself runs files of other names as apps.
pub(super) fn ecosystem(text: &str) -> Result<String, Defect> {
    const ENDS: [&str; 6] = [".config.js", ".config.cjs", ".config.mjs", ".json", ".yml", ".yaml"];
    let path = relative(text, "the ecosystem file")?;
    if ENDS.iter().any(|end| path.ends_with(end)) {
        return Ok(path);
    }
    let message = format!("PM2 does not take `{path}` for an ecosystem file but for an app");
    let stem = path.trim_end_matches(".js").trim_end_matches(".cjs").trim_end_matches(".mjs");
    let help = format!("rename it to \"{stem}.config.js\" (or .config.cjs, .json, .yml)");
    Err(Defect::new(message, help))
}

/// Reads a file of the hosts.
pub(super) fn on_host(text: &str) -> Result<String, Defect> {
    plain(text)?;
    if text.starts_with('~') {
        let message = format!("`{text}` is not absolute: `~` is not expanded on hosts");
        return Err(Defect::new(message, "write the whole path"));
    }
    if !text.starts_with('/') || text.ends_with('/') {
        let message = format!("`{text}` is not the absolute path of a file");
        return Err(Defect::new(message, "write where it is on the hosts, from `/` on"));
    }
    if text.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        let message = format!("`{text}` contains `//`, `.` or `..`");
        return Err(Defect::new(message, format!("write \"{}\"", resolved(text))));
    }
    Ok(text.to_owned())
}

/// Reads a glob of files below `build.source`.
pub(super) fn glob(text: &str) -> Result<String, Defect> {
    plain(text)?;
    if let Some(rest) = text.strip_prefix('!') {
        let help = format!("write \"{rest}\" in the other one of `include` and `exclude`");
        return Err(Defect::new(format!("`{text}` begins with `!`, which has no meaning here"), help));
    }
    if let Some(rest) = text.strip_prefix('/') {
        let help = format!("write \"{}\"", rest.trim_start_matches('/'));
        return Err(Defect::new(format!("`{text}` is absolute; patterns are relative to `source`"), help));
    }
    if text.split('/').any(|segment| segment == "..") {
        let help = "write a pattern below `source`, or set `source` to the directory above";
        return Err(Defect::new(format!("`{text}` leads outside of `source`"), help));
    }
    if let Err(error) = globset::GlobBuilder::new(text).literal_separator(true).build() {
        let message = format!("`{text}` is not a pattern: {}", error.kind());
        return Err(Defect::new(
            message,
            "patterns look like \"dist/**\", \"*.map\", \"{a,b}/*\", \"[0-9].txt\"",
        ));
    }
    Ok(text.to_owned())
}

/// Refuses what no path of a configuration may be or contain.
fn plain(text: &str) -> Result<(), Defect> {
    if text.trim().is_empty() {
        return Err(Defect::new("the path is empty", "write a path, or remove the key or element"));
    }
    names::printable(text, "the path")?;
    if text.contains('\\') {
        let message = format!("`{text}` contains a backslash");
        return Err(Defect::new(message, format!("write \"{}\"", text.replace('\\', "/"))));
    }
    Ok(())
}

/// Returns a path without `//`, `.` and `..`, as text alone allows it, with a slash first.
fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_absolute_or_below_deploy_to() {
        for good in ["/run/shop.sock", "current/tmp/app.sock", "shared/my app.sock"] {
            assert_eq!(socket(good), Ok(good.to_owned()));
        }
        let long = format!("/{}", "x".repeat(107));
        for bad in ["", "/", "~/app.sock", "../app.sock", "/run/../app.sock", "run/", "a//b", "a\\b", &long] {
            assert!(socket(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn deploy_to_is_an_absolute_directory_of_its_own() {
        for good in ["/srv/shop", "/etc/shop", "/home/deploy/my app", "/var/www", "/dev/shm/x", "/srv/ü"] {
            assert_eq!(deploy_to(good), Ok(good.to_owned()));
        }
        assert_eq!(deploy_to("/srv/shop/"), Ok("/srv/shop".to_owned()));
        for bad in [
            "",
            " ",
            "/",
            "//",
            "srv/shop",
            "./shop",
            "~/shop",
            "~",
            "/srv//shop",
            "/srv/shop//",
            "/srv/./shop",
            "/srv/../etc",
            "/..",
            "/etc",
            "/etc/",
            "/home",
            "/root",
            "/var",
            "/tmp",
            "/usr/lib",
            "/proc/1",
            "/sys/x",
            "/srv/a\nb",
            "/srv/a\0",
            "/srv/\u{1b}[2J",
            "/srv\\shop",
        ] {
            assert!(deploy_to(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_suggested_instead_of_a_dangerous_path_is_not_dangerous() {
        let help = |text| deploy_to(text).unwrap_err().help;
        assert_eq!(help("srv/shop"), "write \"/srv/shop\"");
        assert_eq!(help("../shop"), "write \"/srv/shop\"");
        for path in ["srv", "/srv/../etc", "/..", "//"] {
            assert_eq!(help(path), "write an absolute path of its own, \"/srv/shop\" for example", "{path}");
        }
        assert_eq!(help("/srv//a/./b/../shop"), "write \"/srv/a/shop\"");
        assert_eq!(help("/opt"), "give the application its own below it: \"/opt/shop\"");
        assert_eq!(relative("../../etc/x", "it").unwrap_err().help, "write \"etc/x\" if that is meant");
        assert_eq!(relative("..", "it").unwrap_err().help, "write a path without `..`");
    }

    #[test]
    fn a_linked_path_stays_within_the_release() {
        for good in ["log", ".env", "public/uploads", "a b"] {
            assert_eq!(linked(good), Ok(good.to_owned()));
        }
        assert_eq!(linked("log/"), Ok("log".to_owned()));
        for bad in
            ["", ".", "./", "/log", "..", "a/../b", "a/..", "./log", "a//b", "log//", "~/x", "a\tb", "a\\b"]
        {
            assert!(linked(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn local_files_start_at_the_home_directory_or_the_project() {
        let places = Places { root: "/project".into(), home: Some("/home/me".into()) };
        for (text, path) in [
            ("~/.ssh/id", "/home/me/.ssh/id"),
            ("keys/id", "/project/keys/id"),
            ("/etc/id", "/etc/id"),
            ("~//etc/id", "/home/me/etc/id"),
        ] {
            assert_eq!(places.local_file(text), Ok(PathBuf::from(path)), "{text}");
        }
        assert!(places.local_file("~root/.ssh/id").is_err());
        let homeless = Places { root: "/project".into(), home: None };
        assert!(homeless.local_file("~/.ssh/id").is_err());
    }

    #[test]
    fn only_files_that_pm2_knows_as_such_are_ecosystem_files() {
        for good in ["ecosystem.config.js", "deploy/pm2.config.cjs", "pm2.json", "pm2.yml"] {
            assert_eq!(ecosystem(good), Ok(good.to_owned()));
        }
        let defect = ecosystem("ecosystem.js").unwrap_err();
        assert_eq!(defect.help, "rename it to \"ecosystem.config.js\" (or .config.cjs, .json, .yml)");
    }

    #[test]
    fn a_pattern_is_relative_and_well_formed() {
        for good in ["dist/**", "*.map", "{a,b}/*", "**/node_modules"] {
            assert_eq!(glob(good), Ok(good.to_owned()));
        }
        for bad in ["", "!dist", "/dist", "../dist", "a/../b", "{a", "[z-a]", "a\nb"] {
            assert!(glob(bad).is_err(), "{bad:?}");
        }
    }
}
