//! Owns `[user@]host[:port]` and what may stand in it. Names reach the SSH layer, logs and shells on hosts,
//! so only harmless characters pass. Resolves nothing.

use std::net::Ipv6Addr;

use super::diagnostic::Defect;
use super::names::excerpt;
use super::types::Host;

const EXAMPLE: &str = "write \"user@host\", \"host\" or \"user@host:2222\"";

/// Reads `[user@]host[:port]`; an IPv6 address stands in brackets.
pub(super) fn host(text: &str) -> Result<Host, Defect> {
    if text.trim().is_empty() {
        return Err(Defect::new("the host is empty", EXAMPLE));
    }
    if text.trim() != text {
        let message = "the host begins or ends with a space";
        return Err(Defect::new(message, format!("write \"{}\"", excerpt(text.trim()))));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let message = format!("`{}` is a URL", excerpt(text));
        let help = match scheme {
            "ssh" => format!("write \"{}\"", excerpt(rest.trim_end_matches('/'))),
            _ => EXAMPLE.to_owned(),
        };
        return Err(Defect::new(message, help));
    }
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(self::user(user)?), rest),
        None => (None, text),
    };
    let (address, port) = address_and_port(rest)?;
    Ok(Host { user, address, port: port.unwrap_or(22), roles: None })
}

/// Reads a port.
pub(super) fn port(text: &str) -> Result<u16, Defect> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ if text.is_empty() => {
            Err(Defect::new("the port is missing after `:`", "write a number from 1 to 65535, or no `:`"))
        }
        _ => {
            let message = format!("`{}` is not a port", excerpt(text));
            Err(Defect::new(message, "write a number from 1 to 65535"))
        }
    }
}

/// Splits `host[:port]`.
pub(super) fn address_and_port(text: &str) -> Result<(String, Option<u16>), Defect> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else {
            return Err(Defect::new("`[` is not closed", "write an IPv6 address as \"[2001:db8::1]\""));
        };
        let address = ipv6(address)?;
        return match (rest, rest.strip_prefix(':')) {
            ("", _) => Ok((address, None)),
            (_, Some(port)) => Ok((address, Some(self::port(port)?))),
            _ => {
                let message = format!("`{}` follows the address", excerpt(rest));
                Err(Defect::new(message, "write a port as \"[2001:db8::1]:2222\""))
            }
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            let message = format!("`{}` has more than one `:`", excerpt(text));
            let help = match text.parse::<Ipv6Addr>() {
                Ok(_) => format!("write an IPv6 address in brackets: \"[{text}]\""),
                Err(_) => EXAMPLE.to_owned(),
            };
            Err(Defect::new(message, help))
        }
        Some((address, port)) => Ok((name(address)?, Some(self::port(port)?))),
        None => Ok((name(text)?, None)),
    }
}

/// A login name. The characters are those that no shell and no `%` expansion gives a meaning to.
fn user(text: &str) -> Result<String, Defect> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
    harmless(text, "login name", "deploy", good)
}

/// A DNS name, an IPv4 address, or an alias of the user's ssh_config.
fn name(text: &str) -> Result<String, Defect> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    harmless(text, "host name", "web1.example.com", good)
}

fn harmless(text: &str, what: &str, example: &str, good: impl Fn(char) -> bool) -> Result<String, Defect> {
    if text.is_empty() {
        return Err(Defect::new(format!("the {what} is missing"), EXAMPLE));
    }
    if text.starts_with('-') {
        let message = format!("`{}` is not a {what}: it begins with `-`", excerpt(text));
        return Err(Defect::new(message, format!("write a name like \"{example}\"")));
    }
    if let Some(bad) = text.chars().find(|c| !good(*c)) {
        let bad = if bad.is_control() { format!("U+{:04X}", u32::from(bad)) } else { format!("`{bad}`") };
        let message = format!("the {what} `{}` contains {bad}", excerpt(text));
        return Err(Defect::new(message, format!("write a name like \"{example}\"")));
    }
    if text.len() > 253 {
        return Err(Defect::new(format!("the {what} is too long"), "write at most 253 characters"));
    }
    Ok(text.to_owned())
}

fn ipv6(text: &str) -> Result<String, Defect> {
    match text.parse::<Ipv6Addr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => {
            let message = format!("`{}` is not an IPv6 address", excerpt(text));
            Err(Defect::new(message, "brackets are for IPv6 only: \"[2001:db8::1]:2222\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_host_and_port_are_told_apart() {
        for (text, user, address, port) in [
            ("web1", None, "web1", 22),
            ("deploy@web1.example.com", Some("deploy"), "web1.example.com", 22),
            ("deploy@10.0.0.1:2222", Some("deploy"), "10.0.0.1", 2222),
            ("[::1]", None, "::1", 22),
            ("root@[2001:DB8:0::1]:22", Some("root"), "2001:db8::1", 22),
            ("me@corp.example@web1", Some("me@corp.example"), "web1", 22),
            ("under_score", None, "under_score", 22),
        ] {
            let read = host(text).unwrap();
            assert_eq!(
                (read.user.as_deref(), read.address.as_str(), read.port),
                (user, address, port),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_that_a_shell_or_ssh_gives_a_meaning_to_passes() {
        for bad in [
            "",
            " ",
            " web",
            "web ",
            "-oProxyCommand=x",
            "-l@web",
            "a b@web",
            "a%h@web",
            "web%1",
            "we'b",
            "we\"b",
            "a/b@web",
            "web/x",
            "$(id)@web",
            "`id`@web",
            "a;b@web",
            "web|x",
            "web&",
            "we\nb",
            "we\u{1b}b",
            "@web",
            "deploy@",
            "web:",
            "web:0",
            "web:65536",
            "web:+22",
            "web:ssh",
            "::1",
            "2001:db8::1",
            "[::1",
            "[web]",
            "[::1]x",
            "[::1]:",
            "a:1:2",
            "ssh://web",
            "web\\x",
            "~web",
            "*",
            "we?b",
            "<web>",
            "(web)",
            "#web",
        ] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
        assert!(host(&"a".repeat(300)).is_err());
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_shown_with_them() {
        assert_eq!(
            host("2001:db8::1").unwrap_err().help,
            "write an IPv6 address in brackets: \"[2001:db8::1]\""
        );
        assert_eq!(host("ssh://deploy@web1/").unwrap_err().help, "write \"deploy@web1\"");
    }
}
