//! Owns the health checks that a host has no program to ask: as it says them, and as the client asks them. They
//! are those of the release that runs there, which need not be those of today's configuration.

use std::time::Duration;

use data_encoding::HEXLOWER;

use super::protocol::Say;
use crate::config::Header;
use crate::config::Health;
use crate::config::HttpProbe;
use crate::config::Probe;
use crate::config::Statuses;

/// What a host could not ask, as it is told piece by piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unasked {
    /// The checks, each when all of it has come.
    pub checks: Vec<UnaskedCheck>,
    /// What has come of the next one: bytes in hexadecimal, since they are of any kind and may be long.
    part: String,
}

/// A check that a host could not ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnaskedCheck {
    /// Its number in the release's recipe, from 1.
    pub number: usize,
    /// How many the recipe has.
    pub of: usize,
    /// The check; none where it could not be read.
    pub health: Option<Health>,
}

impl Unasked {
    /// Takes in what is said of these checks; gives back everything else.
    pub fn hear(&mut self, say: Say) -> Option<Say> {
        match say {
            Say::ProbePart(part) => self.part.push_str(&part),
            Say::ProbeNeeded(number) => {
                let part = std::mem::take(&mut self.part);
                let text =
                    HEXLOWER.decode(part.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                self.checks.push(UnaskedCheck::read(number, &text.unwrap_or_default()));
            }
            say => return Some(say),
        }
        None
    }
}

impl UnaskedCheck {
    /// What it is called, as the beginning of a sentence.
    pub fn label(&self) -> String {
        match &self.health {
            Some(health) if self.of > 1 => {
                format!("health check {} of {} ({})", self.number, self.of, health.probe)
            }
            _ => "the health check".to_owned(),
        }
    }

    /// Reads a check as it stands in a recipe, KEY=VALUE a line, with `body` and `header` beside it.
    fn read(number: usize, text: &str) -> Self {
        let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let of = lines.iter().find(|(key, _)| *key == "of").and_then(|(_, of)| of.parse().ok()).unwrap_or(1);
        Self { number, of, health: health(&lines) }
    }
}

fn health(lines: &[(&str, &str)]) -> Option<Health> {
    let text = |key| lines.iter().find(|(given, _)| *given == key).map(|(_, value)| (*value).to_owned());
    let number = |key| text(key).and_then(|value| value.parse::<u32>().ok());
    let seconds = |key| number(key).map(|count| Duration::from_secs(count.into()));
    let probe = match text("kind")?.as_str() {
        "http" => {
            let page = HttpProbe::at(text("url")?);
            let status = match text("status") {
                Some(ranges) => ranges.split(' ').map(statuses).collect::<Option<_>>()?,
                None => page.status,
            };
            let headers = lines.iter().filter(|(key, _)| *key == "header").map(|(_, line)| header(line));
            let headers = headers.collect::<Option<_>>()?;
            let (host, socket, body) = (text("name"), text("socket"), text("body"));
            Probe::Http(HttpProbe { url: page.url, host, socket, status, body, headers })
        }
        "tcp" => Probe::Tcp { host: text("host")?, port: text("port")?.parse().ok()? },
        "socket" => Probe::Socket(text("socket")?),
        _ => return None,
    };
    let usual = Health::of(probe);
    Some(Health {
        timeout: seconds("timeout").unwrap_or(usual.timeout),
        interval: seconds("interval").unwrap_or(usual.interval),
        successes: number("successes").unwrap_or(usual.successes),
        delay: seconds("delay").unwrap_or(usual.delay),
        probe: usual.probe,
    })
}

fn statuses(text: &str) -> Option<Statuses> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    Some(Statuses { from: from.parse().ok()?, to: to.parse().ok()? })
}

fn header(line: &str) -> Option<Header> {
    let (name, value) = line.split_once(": ")?;
    Some(Header { name: name.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(parts: &[&str]) -> Unasked {
        let mut unasked = Unasked::default();
        for part in parts {
            let hex: String = part.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(unasked.hear(Say::ProbePart(hex)), None);
        }
        assert_eq!(unasked.hear(Say::ProbeNeeded(2)), None);
        unasked
    }

    #[test]
    fn a_check_is_read_as_it_stands_in_the_recipe() {
        let page = "of=3\nkind=http\nurl=http://127.0.0.1/a?b=c\nname=shop.example.com\nsocket=app.sock\nstatus=204 300-302\n\
                    timeout=7\ninterval=2\nsuccesses=3\ndelay=4\nbody= ü = \\n \nheader=X-Key: a: b\n";
        let (front, back) = page.split_at(101);
        let [check] = &heard(&[front, back]).checks[..] else { panic!() };
        let probe = HttpProbe {
            host: Some("shop.example.com".to_owned()),
            socket: Some("app.sock".to_owned()),
            status: vec![Statuses { from: 204, to: 204 }, Statuses { from: 300, to: 302 }],
            body: Some(" ü = \\n ".to_owned()),
            headers: vec![Header { name: "X-Key".to_owned(), value: "a: b".to_owned() }],
            ..HttpProbe::at("http://127.0.0.1/a?b=c".to_owned())
        };
        let seconds = Duration::from_secs;
        let (timeout, interval, delay) = (seconds(7), seconds(2), seconds(4));
        let health = Health { probe: Probe::Http(probe), timeout, interval, successes: 3, delay };
        assert_eq!((check.number, check.of, check.health.as_ref()), (2, 3, Some(&health)));
        assert_eq!(check.label(), "health check 2 of 3 (http://127.0.0.1/a?b=c)");
    }

    #[test]
    fn what_is_not_written_is_as_usual_and_what_cannot_be_read_is_no_check() {
        let read = |text| heard(&[text]).checks[0].health.clone();
        let tcp = Probe::Tcp { host: "::1".to_owned(), port: 80 };
        assert_eq!(read("kind=tcp\nhost=::1\nport=80\n"), Some(Health::of(tcp)));
        assert_eq!(
            read("kind=socket\nsocket=/run/a\n"),
            Some(Health::of(Probe::Socket("/run/a".to_owned())))
        );
        for text in ["", "kind=later\n", "kind=http\n", "kind=http\nurl=http://a/\nstatus=2xx\n"] {
            assert_eq!(read(text), None, "{text}");
        }
        let mut unasked = Unasked::default();
        unasked.hear(Say::ProbePart("6b6".to_owned()));
        unasked.hear(Say::ProbeNeeded(1));
        assert_eq!(unasked.checks[0].health, None);
        assert_eq!(unasked.hear(Say::Note("else".to_owned())), Some(Say::Note("else".to_owned())));
    }
}
