//! Owns the health check's addresses: what an `http` or `tcp` probe may ask. Sends nothing.

use super::diagnostic::Defect;
use super::host;
use super::names;
use super::names::excerpt;
use super::types::Probe;

/// Reads an `http://` URL.
pub(super) fn http(text: &str) -> Result<Probe, Defect> {
    const EXAMPLE: &str = "write \"http://127.0.0.1:3000/healthz\", with the app's own port";
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || "\"'`\\<>^{|}".contains(*c)) {
        let bad = if bad.is_control() || bad == ' ' {
            format!("U+{:04X}", u32::from(bad))
        } else {
            format!("`{bad}`")
        };
        return Err(Defect::new(
            format!("the URL contains {bad}"),
            "write it percent-encoded (`%20` for a space)",
        ));
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => {
            let message = format!("`{}` is not a URL", excerpt(text));
            let help = match (text.is_empty(), text.strip_prefix(':')) {
                (true, _) => EXAMPLE.to_owned(),
                (_, Some(rest)) => format!("write \"http://127.0.0.1:{}\"", excerpt(rest)),
                (_, None) if text.starts_with('/') => {
                    format!("write \"http://127.0.0.1:3000{}\"", excerpt(text))
                }
                (_, None) => format!("write \"http://{}\"", excerpt(text)),
            };
            return Err(Defect::new(message, help));
        }
    };
    match scheme.as_str() {
        "http" => {}
        "https" => {
            let message =
                "`https` cannot be asked: the check runs on the host itself, where the app speaks http";
            return Err(Defect::new(message, format!("{EXAMPLE}, or use `command = \"curl …\"`")));
        }
        _ => return Err(Defect::new(format!("`{}://` cannot be asked", excerpt(&scheme)), EXAMPLE)),
    }
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at_checked(at).unwrap_or((rest, "")),
        None => (rest, ""),
    };
    if authority.contains('@') {
        let message = "a login in the URL is not supported";
        return Err(Defect::new(message, "let the health page answer without a login, or use `command`"));
    }
    if authority.is_empty() {
        return Err(Defect::new(format!("`{}` names no host", excerpt(text)), EXAMPLE));
    }
    host::address_and_port(authority)?;
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Probe::Http(format!("http://{authority}{slash}{path}")))
}

/// Reads `host:port` or `port` of a TCP check.
pub(super) fn tcp(text: &str) -> Result<Probe, Defect> {
    const EXAMPLE: &str = "write \"3000\" or \"127.0.0.1:3000\"";
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Probe::Tcp { host: "127.0.0.1".to_owned(), port: host::port(text)? });
    }
    if text.contains("://") {
        return Err(Defect::new(
            format!("`{}` is a URL", excerpt(text)),
            format!("{EXAMPLE}, or use `http`"),
        ));
    }
    let text = match text.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    match host::address_and_port(&text)? {
        (host, Some(port)) => Ok(Probe::Tcp { host, port }),
        (_, None) => Err(Defect::new(format!("`{}` names no port", excerpt(&text)), EXAMPLE)),
    }
}

/// Reads a command that must exit 0.
pub(super) fn command(text: &str) -> Result<Probe, Defect> {
    names::command(text).map(Probe::Command)
}

/// Reads a probe as the command line has it: `http://…`, `tcp:host:port` or `command:…`.
pub(super) fn any(text: &str) -> Result<Probe, Defect> {
    match text.split_once(':') {
        Some(("tcp", rest)) => tcp(rest.trim_start_matches("//")),
        Some(("command", rest)) => command(rest.trim()),
        Some(("http" | "https", _)) => http(text),
        _ => {
            let message = format!("`{}` is not a health check", excerpt(text));
            Err(Defect::new(message, "write `http://127.0.0.1:3000/`, `tcp:127.0.0.1:3000` or `command:…`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_kept_with_a_path_and_without_a_fragment() {
        for (text, url) in [
            ("http://127.0.0.1:3000/healthz", "http://127.0.0.1:3000/healthz"),
            ("HTTP://localhost", "http://localhost/"),
            ("http://[::1]:80?deep=1#x", "http://[::1]:80/?deep=1"),
        ] {
            assert_eq!(http(text), Ok(Probe::Http(url.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_a_way_out() {
        for (text, help) in [
            ("127.0.0.1:3000/up", "write \"http://127.0.0.1:3000/up\""),
            ("/healthz", "write \"http://127.0.0.1:3000/healthz\""),
            (":3000", "write \"http://127.0.0.1:3000\""),
            ("http://127.0.0.1:99999/", "write a number from 1 to 65535"),
        ] {
            assert_eq!(http(text).unwrap_err().help, help, "{text}");
        }
        for bad in [
            "",
            "http://",
            "http:///x",
            "ftp://x/",
            "http://a b/",
            "http://u:p@x/",
            "http://x/'$(id)'",
            "http://-x/",
        ] {
            assert!(http(bad).is_err(), "{bad}");
        }
        assert!(http("https://shop.example.com/").unwrap_err().message.contains("on the host itself"));
    }

    #[test]
    fn a_tcp_check_is_a_port_with_or_without_a_host() {
        let tcp_at = |host: &str, port| Ok(Probe::Tcp { host: host.to_owned(), port });
        assert_eq!(tcp("3000"), tcp_at("127.0.0.1", 3000));
        assert_eq!(tcp(":3000"), tcp_at("127.0.0.1", 3000));
        assert_eq!(tcp("db:5432"), tcp_at("db", 5432));
        assert_eq!(tcp("[::1]:5432"), tcp_at("::1", 5432));
        for bad in ["", "0", "70000", "db", "db:", "http://x:1", "::1", "a b:1"] {
            assert!(tcp(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_names_the_kind_of_probe_in_front() {
        assert_eq!(any("tcp:localhost:80"), Ok(Probe::Tcp { host: "localhost".to_owned(), port: 80 }));
        assert_eq!(any("tcp:80"), any("tcp:127.0.0.1:80"));
        assert_eq!(any("command:bin/up: x"), Ok(Probe::Command("bin/up: x".to_owned())));
        assert_eq!(any("http://x/"), Ok(Probe::Http("http://x/".to_owned())));
        for bad in ["", "https://x/", "up", "command:", "udp:1"] {
            assert!(any(bad).is_err(), "{bad}");
        }
    }
}
