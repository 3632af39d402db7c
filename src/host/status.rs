//! Owns what a host says of the app that runs there, as values: its processes, and whether it is well.

/// A process of the app, as its supervisor keeps it and as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What the supervisor calls it: an app of PM2, a unit, a program.
    pub name: String,
    /// Its number; none where the supervisor keeps it but it does not run.
    pub pid: Option<u32>,
    /// What the supervisor says of it, in its own word: `online`, `active`, `RUNNING`.
    pub state: String,
    /// How often the supervisor has started it again by itself, where that is known.
    pub restarts: Option<u64>,
    /// How long it has run, in seconds.
    pub uptime: Option<u64>,
    /// The memory that it has in use, in KiB.
    pub memory_kib: Option<u64>,
    /// The release that it runs from, where that can be seen.
    pub release: Option<String>,
}

impl Process {
    /// Reads `PID STATE RESTARTS SECONDS KIB RELEASE NAME`, where `-` is unknown and 0 is no process.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(7, ' ');
        let pid = Some(words.next()?.parse().ok()?).filter(|pid| *pid != 0);
        let mut known = || words.next().filter(|word| !word.is_empty() && *word != "-").map(str::to_owned);
        let state = known().unwrap_or_else(|| "unknown".to_owned());
        let number = |word: Option<String>| word.and_then(|word| word.parse().ok());
        let (restarts, uptime, memory_kib) = (number(known()), number(known()), number(known()));
        let release = known();
        Some(Self { name: known().unwrap_or_default(), pid, state, restarts, uptime, memory_kib, release })
    }
}

/// What the health check said when it was asked once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthAnswer {
    /// All is well.
    Well,
    /// It is not, for this reason.
    Ill(String),
    /// There is no health check.
    Unasked,
}

impl HealthAnswer {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (word, why) = text.split_once(' ').unwrap_or((text, ""));
        Some(match word {
            "well" => Self::Well,
            "ill" => Self::Ill(why.to_owned()),
            "unasked" => Self::Unasked,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_and_health_are_read_with_what_is_not_known_of_them() {
        let web = Process {
            name: "shop web".into(),
            pid: Some(17),
            state: "online".into(),
            restarts: Some(2),
            uptime: Some(90),
            memory_kib: Some(51200),
            release: Some("20260101000001".into()),
        };
        let worker = Process {
            name: "worker".into(),
            pid: None,
            state: "missing".into(),
            restarts: None,
            uptime: None,
            memory_kib: None,
            release: None,
        };
        let parsed =
            ["17 online 2 90 51200 20260101000001 shop web", "0 missing - - - - worker"].map(Process::parse);
        assert_eq!(parsed, [Some(web), Some(worker)]);
        let ill = HealthAnswer::Ill("http://127.0.0.1/ answered 500".into());
        assert_eq!(HealthAnswer::parse("ill http://127.0.0.1/ answered 500"), Some(ill));
        assert_eq!(HealthAnswer::parse("well"), Some(HealthAnswer::Well));
        assert_eq!((HealthAnswer::parse(""), Process::parse("x")), (None, None));
    }
}
