//! Owns the texts of a health check: what an `http` or `tcp` probe may ask, and what it may wait for. Sends
//! nothing.

use super::diagnostic::Defect;
use super::health::HttpProbe;
use super::health::Probe;
use super::health::Statuses;
use super::host;
use super::names;
use super::names::excerpt;

/// Reads an `http://` URL.
pub(super) fn http(text: &str) -> Result<String, Defect> {
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
    // The one variable: a host inside rdeploy gets its port only when it starts.
    host::address_and_port(&authority.replace("$PORT", "1"))?;
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("http://{authority}{slash}{path}"))
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
        Some(("http" | "https", _)) => Ok(Probe::Http(HttpProbe::at(http(text)?))),
        _ => {
            let message = format!("`{}` is not a health check", excerpt(text));
            Err(Defect::new(message, "write `http://127.0.0.1:3000/`, `tcp:127.0.0.1:3000` or `command:…`"))
        }
    }
}

/// Reads the host that is asked for, with a port where it has one.
pub(super) fn host(text: &str) -> Result<String, Defect> {
    const EXAMPLE: &str = "write a host name, \"shop.example.com\" for example";
    if text.contains("://") || text.contains('/') {
        return Err(Defect::new(format!("`{}` is not a host name", excerpt(text)), EXAMPLE));
    }
    host::address_and_port(text)?;
    Ok(text.to_owned())
}

/// Reads a range of statuses: `200-299`, or one of them.
pub(super) fn statuses(text: &str) -> Result<Statuses, Defect> {
    const EXAMPLE: &str = "write a status, 200, or a range, \"200-299\"";
    let one = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|status| digits && (100..=599).contains(status))
    };
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (one(from.trim()), one(to.trim())) {
        (Some(from), Some(to)) if from <= to => Ok(Statuses { from, to }),
        (Some(from), Some(to)) => {
            let message = format!("`{}` ends before it begins", excerpt(text));
            Err(Defect::new(message, format!("write \"{to}-{from}\"")))
        }
        _ => {
            let hundred =
                text.strip_suffix("xx").filter(|digit| matches!(*digit, "1" | "2" | "3" | "4" | "5"));
            let help =
                hundred.map_or_else(|| EXAMPLE.to_owned(), |digit| format!("write \"{digit}00-{digit}99\""));
            Err(Defect::new(format!("`{}` is not a status", excerpt(text)), help))
        }
    }
}

/// What is wrong with a list of no statuses.
pub(super) fn no_status() -> Defect {
    Defect::new("`status` is empty: no answer would do", "leave it out to mean 2xx and 3xx")
}

/// What is wrong with a long list of checks.
pub(super) fn too_many(count: usize, most: usize) -> Defect {
    let message = format!("there are {count} health checks; there may be {most}");
    Defect::new(message, "leave out what does not decide whether a release is kept")
}

/// Reads a text that an answer has to contain. It is looked for in each line.
pub(super) fn body(text: &str) -> Result<String, Defect> {
    if text.is_empty() {
        return Err(Defect::new(
            "the text is empty",
            "write what the answer has to contain, or remove `body`",
        ));
    }
    if text.contains(['\n', '\r']) {
        let message = "the text has several lines; it is looked for within one";
        return Err(Defect::new(message, "write the part that tells most"));
    }
    names::printable(text, "the text")?;
    if text.len() > 1000 {
        let message = "the text is longer than 1000 bytes";
        return Err(Defect::new(message, "write the part that tells most"));
    }
    Ok(text.to_owned())
}

/// Reads the name of a header that may be sent.
pub(super) fn header_name(text: &str) -> Result<String, Defect> {
    let good = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || text.len() > 100 || !text.chars().all(good) {
        let message = format!("`{}` is not a name of a header", excerpt(&text.escape_debug().to_string()));
        return Err(Defect::new(message, "write it like `X-Health-Key`, with letters, digits and `-`"));
    }
    match text.to_ascii_lowercase().as_str() {
        "host" => Err(Defect::new(
            "the host is not among the headers",
            "write it beside `http`: `host = \"shop.example.com\"`",
        )),
        "connection" | "content-length" | "expect" | "te" | "trailer" | "transfer-encoding" | "upgrade"
        | "accept-encoding" | "keep-alive" | "proxy-connection" => {
            let message = format!("the header `{text}` belongs to the connection, not to the question");
            Err(Defect::new(message, "remove it"))
        }
        _ => Ok(text.to_owned()),
    }
}

/// Reads the value of a header. What every tool sends alike is ASCII without control characters.
pub(super) fn header_value(text: &str) -> Result<String, Defect> {
    if text.trim().is_empty() {
        return Err(Defect::new("the header is empty", "write its value, or remove it"));
    }
    if text.trim() != text {
        return Err(Defect::new("the header begins or ends with a space", "remove the space"));
    }
    // Not shown: it may be a password.
    if let Some(c) = text.chars().find(|c| !c.is_ascii() || c.is_ascii_control()) {
        let message = format!("the header contains U+{:04X}", u32::from(c));
        return Err(Defect::new(message, "write printable ASCII characters only"));
    }
    if text.len() > 4000 {
        return Err(Defect::new("the header is longer than 4000 bytes", "write a shorter one"));
    }
    Ok(text.to_owned())
}

/// What is wrong with a header that is there already.
pub(super) fn twice(name: &str) -> Defect {
    let message = format!("the header `{name}` is written twice; big and small letters are the same there");
    Defect::new(message, "keep one of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_number_or_a_range() {
        assert_eq!(statuses("200-299"), Ok(Statuses { from: 200, to: 299 }));
        assert_eq!(statuses("204"), Ok(Statuses { from: 204, to: 204 }));
        for (text, help) in [
            ("2xx", "write \"200-299\""),
            ("299-200", "write \"200-299\""),
            ("20", "write a status, 200, or a range, \"200-299\""),
            ("200-", "write a status, 200, or a range, \"200-299\""),
            ("600", "write a status, 200, or a range, \"200-299\""),
        ] {
            assert_eq!(statuses(text).unwrap_err().help, help, "{text}");
        }
    }

    #[test]
    fn headers_are_what_every_tool_can_send_alike() {
        assert_eq!(header_name("X-Health-Key"), Ok("X-Health-Key".to_owned()));
        for bad in ["", "a b", "a:", "ü", "Host", "content-LENGTH", "x\n"] {
            assert!(header_name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(header_value("Bearer \"a\\b\" #1"), Ok("Bearer \"a\\b\" #1".to_owned()));
        for bad in ["", " ", "a ", " a", "a\nb", "ü", "a\tb"] {
            assert!(header_value(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_text_to_look_for_is_one_line_of_anything() {
        assert!(body("\"status\": \"ok\" \\ ü").is_ok());
        for bad in ["", "a\nb", "a\r", "a\u{1b}"] {
            assert!(body(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_host_is_a_name_with_or_without_a_port() {
        for good in ["shop.example.com", "shop.example.com:8080", "[::1]:80"] {
            assert_eq!(host(good), Ok(good.to_owned()));
        }
        for bad in ["", "http://shop", "shop/x", "a b", "shop:", "-x"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_is_kept_with_a_path_and_without_a_fragment() {
        for (text, url) in [
            ("http://127.0.0.1:3000/healthz", "http://127.0.0.1:3000/healthz"),
            ("HTTP://localhost", "http://localhost/"),
            ("http://[::1]:80?deep=1#x", "http://[::1]:80/?deep=1"),
        ] {
            assert_eq!(http(text).as_deref(), Ok(url), "{text}");
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
        assert_eq!(any("http://x/"), Ok(Probe::Http(HttpProbe::at("http://x/".to_owned()))));
        for bad in ["", "https://x/", "up", "command:", "udp:1"] {
            assert!(any(bad).is_err(), "{bad}");
        }
    }
}
