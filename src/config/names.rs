//! Owns the rules for names: the app, environments, roles, variables, PM2 apps, and for texts that reach a
//! shell. Pure functions of the text.

use super::diagnostic::Defect;

/// The words of the command line that no environment may be named like.
pub const COMMANDS: &[&str] = &[
    "build",
    "check",
    "completions",
    "demo",
    "exec",
    "help",
    "init",
    "logs",
    "plan",
    "recover",
    "releases",
    "resume",
    "rollback",
    "schema",
    "serve",
    "setup",
    "status",
    "to",
    "unlock",
];

/// Variables of an app that PM2 would take for its own settings: it spreads the environment over the
/// process's description, so `name` renames the app and `pm_cwd` moves it.
const PM2_FIELDS: &[&str] = &[
    "append_env_to_name",
    "args",
    "automation",
    "autorestart",
    "autostart",
    "axm_actions",
    "axm_dynamic",
    "axm_monitor",
    "axm_options",
    "created_at",
    "cron_restart",
    "cwd",
    "disable_logs",
    "env",
    "err_file",
    "error_file",
    "exec_interpreter",
    "exec_mode",
    "exit_code",
    "exp_backoff_restart_delay",
    "filter_env",
    "force",
    "gid",
    "ignore_watch",
    "increment_var",
    "instance_var",
    "instances",
    "interpreter",
    "interpreter_args",
    "kill_timeout",
    "km_link",
    "listen_timeout",
    "log_date_format",
    "log_file",
    "log_type",
    "max_memory_restart",
    "max_restarts",
    "merge_logs",
    "min_uptime",
    "name",
    "namespace",
    "node_args",
    "node_version",
    "out_file",
    "pid_file",
    "pm_cwd",
    "pm_err_log_path",
    "pm_exec_path",
    "pm_id",
    "pm_log_path",
    "pm_out_log_path",
    "pm_pid_path",
    "pm_uptime",
    "pmx",
    "prev_restart_delay",
    "restart_delay",
    "restart_time",
    "script",
    "shutdown_with_message",
    "source_map_support",
    "status",
    "stop_exit_codes",
    "time",
    "treekill",
    "uid",
    "unique_id",
    "unstable_restarts",
    "username",
    "version",
    "versioning",
    "vizion",
    "vizion_running",
    "wait_ready",
    "watch",
    "windowsHide",
];

/// Longer names are refused: they become file names.
const LONGEST: usize = 64;

/// Returns the first control character of a text, other than those in `but`.
fn control(text: &str, but: &[char]) -> Option<char> {
    text.chars().find(|c| c.is_control() && !but.contains(c))
}

/// Refuses control characters.
pub(super) fn printable(text: &str, what: &str) -> Result<(), Defect> {
    match control(text, &[]) {
        Some(c) => Err(Defect::new(
            format!("{what} contains the control character U+{:04X}", u32::from(c)),
            "remove it",
        )),
        None => Ok(()),
    }
}

/// Reads a command for a shell: not empty, and no control character but newline and tab.
pub(super) fn command(text: &str) -> Result<String, Defect> {
    if text.trim().is_empty() {
        return Err(Defect::new("the command is empty", "write the command, or remove it from the list"));
    }
    multi_line(text, "the command")?;
    Ok(text.to_owned())
}

/// Reads the name of a service of systemd.
pub(super) fn unit(text: &str) -> Result<String, Defect> {
    printable(text, "the unit")?;
    let named = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if let Some(c) = text.chars().find(|c| !named(*c)) {
        let help = "write its name as `systemctl` shows it, like \"shop.service\"";
        return Err(Defect::new(format!("a unit's name has no `{c}`"), help));
    }
    match text.rsplit_once('.') {
        Some((name, "service")) if !name.is_empty() && !name.starts_with('-') => Ok(text.to_owned()),
        Some((_, "socket" | "timer" | "target" | "path" | "mount")) => {
            let help = "name the service; what starts it (a socket, a timer) stays as it is";
            Err(Defect::new(format!("`{text}` is no service"), help))
        }
        Some((_, "service")) => {
            Err(Defect::new(format!("`{text}` names no unit"), "write it like \"shop.service\""))
        }
        _ => Err(Defect::new(format!("`{text}` is no service"), format!("write \"{text}.service\""))),
    }
}

/// Reads what supervisorctl takes for a program: `name`, `group:name` or `group:*`.
pub(super) fn program(text: &str) -> Result<String, Defect> {
    const HELP: &str = "write its name as `supervisorctl status` shows it, like \"shop\" or \"shop:*\"";
    printable(text, "the program")?;
    if text == "all" {
        let message = "`all` is every program of the host, not only this app's";
        return Err(Defect::new(message, "name the app's own, like \"shop\""));
    }
    let named = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('-') && name.chars().all(named);
    let good = match text.split_once(':') {
        Some((group, process)) => is_name(group) && (process == "*" || is_name(process)),
        None => is_name(text),
    };
    if good {
        Ok(text.to_owned())
    } else {
        Err(Defect::new(format!("`{}` is no program", excerpt(text)), HELP))
    }
}

/// Reads the value of a variable.
pub(super) fn variable_value(text: &str) -> Result<String, Defect> {
    multi_line(text, "the value")?;
    Ok(text.to_owned())
}

/// Reads an argument of a program.
pub(super) fn argument(text: &str) -> Result<String, Defect> {
    multi_line(text, "the argument")?;
    Ok(text.to_owned())
}

fn multi_line(text: &str, what: &str) -> Result<(), Defect> {
    match control(text, &['\n', '\t']) {
        Some(c) => Err(Defect::new(
            format!("{what} contains the control character U+{:04X}", u32::from(c)),
            "remove it; only newlines and tabs are allowed",
        )),
        None => Ok(()),
    }
}

/// Reads the application's name.
pub(super) fn app(text: &str) -> Result<String, Defect> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if is_name(text, |c| c.is_ascii_alphanumeric(), good) {
        return Ok(text.to_owned());
    }
    let message = match text {
        "" => "the app's name is empty".to_owned(),
        _ => format!(
            "`{}` is not a name for an app (letters, digits, `.`, `_`, `-`; at most {LONGEST})",
            excerpt(text)
        ),
    };
    let name = sanitized_app(text).unwrap_or_else(|| "shop".to_owned());
    Err(Defect::new(message, format!("write \"{name}\"")))
}

/// Returns the name an app gets from a text that may not be one.
pub(super) fn sanitized_app(text: &str) -> Option<String> {
    slug(text, |c| c.is_ascii_alphanumeric() || "._".contains(c))
}

/// Reads the name of an environment.
pub(super) fn environment(text: &str) -> Result<String, Defect> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !is_name(text, good, |c| good(c) || "_-".contains(c)) {
        let name = slug(&text.to_lowercase(), |c| good(c) || c == '_').unwrap_or_else(|| "stage".to_owned());
        let message = format!(
            "`{}` is not a name for an environment (lowercase letters, digits, `_`, `-`; at most {LONGEST})",
            excerpt(text)
        );
        return Err(Defect::new(message, format!("name it `{name}`")));
    }
    if COMMANDS.contains(&text) {
        let message = format!("an environment may not be named `{text}`: that is a command of rdeploy");
        return Err(Defect::new(message, format!("name it `{text}-env`")));
    }
    Ok(text.to_owned())
}

/// Reads the name of a role.
pub(super) fn role(text: &str) -> Result<String, Defect> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if is_name(text, |c| c.is_ascii_alphanumeric(), good) {
        return Ok(text.to_owned());
    }
    let name = slug(text, |c| c.is_ascii_alphanumeric() || c == '_').unwrap_or_else(|| "web".to_owned());
    let message = format!("`{}` is not a name for a role (letters, digits, `_`, `-`)", excerpt(text));
    Err(Defect::new(message, format!("write \"{name}\"")))
}

/// Reads the name of an environment variable that the user may set.
pub(super) fn variable(text: &str) -> Result<String, Defect> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !text.starts_with(first) || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let name: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        let name = if name.starts_with(first) { name } else { format!("_{name}") };
        let message = format!(
            "`{}` is not a name for a variable (letters, digits, `_`, no digit first)",
            excerpt(text)
        );
        return Err(Defect::new(message, format!("name it `{}`", excerpt(&name))));
    }
    if text.starts_with("RDEPLOY_") {
        let message = format!("`{text}` is reserved: rdeploy itself sets variables that begin with RDEPLOY_");
        return Err(Defect::new(message, "give it another name"));
    }
    if text == "PATH" {
        let help = "list directories to be searched first in `path = [\"/opt/node/bin\"]`";
        return Err(Defect::new("`PATH` cannot be set as a variable", help));
    }
    Ok(text.to_owned())
}

/// Refuses variables that would change PM2's own settings of the app.
pub(super) fn not_a_pm2_field(name: &str) -> Result<(), Defect> {
    if !PM2_FIELDS.contains(&name) {
        return Ok(());
    }
    let message = format!("PM2 would take the variable `{name}` for its own setting of that name");
    Err(Defect::new(message, format!("name it otherwise, `{}` for example", name.to_ascii_uppercase())))
}

/// Reads the name of an app under PM2.
pub(super) fn pm2_app(text: &str) -> Result<String, Defect> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-:@+".contains(c);
    if !is_name(text, |c| c.is_ascii_alphanumeric(), good) {
        let name = slug(text, |c| c.is_ascii_alphanumeric() || "._".contains(c));
        let message =
            format!("`{}` is not a name for a PM2 app (letters, digits, `.`, `_`, `-`, `:`)", excerpt(text));
        return Err(Defect::new(message, format!("write \"{}\"", name.unwrap_or_else(|| "web".to_owned()))));
    }
    if text == "all" {
        let message = "a PM2 app may not be named `all`: PM2 means every app by it";
        return Err(Defect::new(message, "name it for what it does, \"web\" for example"));
    }
    if text.chars().all(|c| c.is_ascii_digit()) {
        let message = format!("a PM2 app may not be named `{text}`: PM2 takes numbers for its own ids");
        return Err(Defect::new(message, format!("write \"app-{text}\"")));
    }
    Ok(text.to_owned())
}

fn is_name(text: &str, first: impl Fn(char) -> bool, rest: impl Fn(char) -> bool) -> bool {
    text.starts_with(first) && text.len() <= LONGEST && text.chars().all(rest)
}

/// Returns the text with everything that is not `good` made one `-`, none at the ends.
fn slug(text: &str, good: impl Fn(char) -> bool) -> Option<String> {
    let mut out = String::new();
    for c in text.chars() {
        match good(c) {
            true => out.push(c),
            false if out.ends_with('-') => {}
            false => out.push('-'),
        }
        if out.len() >= LONGEST {
            break;
        }
    }
    let name = out.trim_matches(['-', '_', '.']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// The beginning of a text that may be very long.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_with_one_that_would_do() {
        type Judge = fn(&str) -> Result<String, Defect>;
        let cases: [(Judge, &str, &str); 14] = [
            (app, "my shop", "write \"my-shop\""),
            (app, "", "write \"shop\""),
            (app, "../etc", "write \"etc\""),
            (environment, "Prod", "name it `prod`"),
            (environment, "prod.eu", "name it `prod-eu`"),
            (environment, "-x", "name it `x`"),
            (environment, "rollback", "name it `rollback-env`"),
            (environment, "ü", "name it `stage`"),
            (role, "we b", "write \"we-b\""),
            (variable, "NODE-ENV", "name it `NODE_ENV`"),
            (variable, "1ST", "name it `_1ST`"),
            (variable, "RDEPLOY_RELEASE", "give it another name"),
            (pm2_app, "12", "write \"app-12\""),
            (pm2_app, "--all", "write \"all\""),
        ];
        for (judge, text, help) in cases {
            assert_eq!(judge(text).unwrap_err().help, help, "{text}");
        }
    }

    #[test]
    fn an_environment_may_be_named_dev_but_not_like_any_command() {
        assert_eq!(environment("dev"), Ok("dev".to_owned()));
        for command in COMMANDS {
            let suggested = environment(command).unwrap_err().help;
            let suggested = suggested.trim_start_matches("name it `").trim_end_matches('`');
            assert_eq!(environment(suggested), Ok(suggested.to_owned()));
        }
    }

    #[test]
    fn the_tables_of_reserved_words_are_sorted_and_without_repetition() {
        assert!(COMMANDS.is_sorted_by(|a, b| a < b));
        assert!(PM2_FIELDS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn commands_may_span_lines_but_hold_no_other_control_character() {
        assert!(command("set -e\n\tmake").is_ok());
        for bad in ["", " \n", "ls\u{1b}[2J", "a\0b", "a\rb", "a\u{85}b"] {
            assert!(command(bad).is_err(), "{bad:?}");
        }
    }
}
