//! Owns the guardian's lines: what it says and answers, as values.

use std::collections::BTreeMap;

use super::status::HealthAnswer;
use super::status::Process;
use super::unasked::Unasked;
use crate::artifact::Codec;
use crate::release::ReleaseId;

/// One line from the guardian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It runs and speaks this version.
    Hello(u32),
    /// It has not kept the agent, or not whole.
    WantsAgent,
    /// A fact, at any time.
    Say(Say),
    /// The intent with this number was done.
    Ok(u64),
    /// The intent with this number failed.
    Failed(u64, u32),
    /// Not of the protocol: a chatty login script.
    Noise,
}

impl Line {
    pub(super) fn parse(line: &str) -> Self {
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        match head {
            "rdeploy-guardian" => rest.parse().map_or(Self::Noise, Self::Hello),
            "rdeploy-wants" if rest == "agent" => Self::WantsAgent,
            "say" => {
                let (key, text) = rest.split_once(' ').unwrap_or((rest, ""));
                Self::Say(Say::parse(key, text))
            }
            "ok" => rest.parse().map_or(Self::Noise, Self::Ok),
            "failed" => match rest.split_once(' ').map(|(seq, code)| (seq.parse(), code.parse())) {
                Some((Ok(seq), Ok(code))) => Self::Failed(seq, code),
                _ => Self::Noise,
            },
            _ => Self::Noise,
        }
    }
}

/// A fact a host states while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// Something that must be mended before a deploy.
    Problem(String),
    /// A name and a value, for the plan.
    Fact(String, String),
    /// Worth knowing.
    Note(String),
    /// Should be looked at.
    Warning(String),
    /// The action entered this phase ("verifying").
    Phase(String),
    /// `current` points at this release.
    Switched(String),
    /// `current` is back at this release.
    RevertedLink(String),
    /// The app was proven, or could not be: "proven" or "unprovable", and how.
    Proof(String, String),
    /// A part of a health check that the host has no tool for (see `unasked`).
    ProbePart(String),
    /// That check is complete and has this number, from 1; the client is to ask.
    ProbeNeeded(usize),
    /// The lock's owner.
    Held(String),
    /// The freeze that keeps this attempt from the lock.
    Frozen(String),
    /// Why something failed.
    Reason(String),
    /// A line that the app wrote.
    Log(String),
    /// A step that is missing to set the host up.
    Todo(String),
    /// A step that could not be taken, and why.
    NotTaken(String),
    /// What came of undoing an attempt that died here.
    Undone(Undone),
    /// A key this build does not know.
    Other(String, String),
}

impl Say {
    fn parse(key: &str, text: &str) -> Self {
        let own = text.to_owned();
        let pair = || {
            let (a, b) = text.split_once(' ').unwrap_or((text, ""));
            (a.to_owned(), b.to_owned())
        };
        match key {
            "problem" => Self::Problem(own),
            "fact" => {
                let (name, value) = pair();
                Self::Fact(name, value)
            }
            "note" => Self::Note(own),
            "warning" => Self::Warning(own),
            "phase" => Self::Phase(own),
            "switched" => Self::Switched(own),
            "reverted_link" => Self::RevertedLink(own),
            "proof" => {
                let (level, detail) = pair();
                Self::Proof(level, detail)
            }
            "probe-part" => Self::ProbePart(own),
            "probe-needed" => Self::ProbeNeeded(text.parse().unwrap_or(1)),
            "held" => Self::Held(own),
            "frozen" => Self::Frozen(own),
            "reason" => Self::Reason(own),
            "log" => Self::Log(own),
            "todo" => Self::Todo(own),
            "not-taken" => Self::NotTaken(own),
            "undone" => match pair() {
                (what, _) if what == "reverted" => Self::Undone(Undone::Reverted),
                (what, _) if what == "committed" => Self::Undone(Undone::Committed),
                (what, reason) if what == "failed" => Self::Undone(Undone::Failed(reason)),
                _ => Self::Other(key.to_owned(), own),
            },
            _ => Self::Other(key.to_owned(), own),
        }
    }
}

/// What came of undoing an attempt whose guardian died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// The host runs what it ran before that attempt.
    Reverted,
    /// The attempt had committed; nothing was undone.
    Committed,
    /// It could not be undone, for this reason.
    Failed(String),
}

/// The last line of a host's history: how the attempt before ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct LastAttempt {
    /// The attempt's token.
    #[serde(default)]
    pub attempt: String,
    /// How it ended.
    #[serde(default)]
    pub outcome: String,
    /// The release it was about; empty where it had not named one yet.
    #[serde(default)]
    pub release: String,
}

/// An attempt that had died on a host, and what came of it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The attempt's token.
    pub attempt: String,
    /// Its verb and its release: `deploy 20261122174124`.
    pub what: String,
    /// What came of it.
    pub undone: Undone,
}

/// A release found on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRecord {
    /// Its id.
    pub id: ReleaseId,
    /// Its state: preparing, good, failed, bad, adopted; `foreign` when another tool made it.
    pub state: String,
    /// The artifact's digest, where known.
    pub digest: Option<String>,
    /// What was live before it.
    pub previous: Option<ReleaseId>,
    /// Its git commit, where known.
    pub commit: Option<String>,
    /// When it was made there, where known: UTC, `2026-11-22T17:41:24Z`.
    pub made: Option<String>,
    /// Who made it, where known.
    pub actor: Option<String>,
}

impl ReleaseRecord {
    /// Reads `ID STATE DIGEST PREVIOUS COMMIT MADE ACTOR`, where `-` is unknown. Names that are no ids are
    /// other things in the same directory.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(7, ' ');
        let id = words.next()?.parse().ok()?;
        let mut known = || words.next().filter(|word| !word.is_empty() && *word != "-").map(str::to_owned);
        Some(Self {
            id,
            state: known().unwrap_or_default(),
            digest: known(),
            previous: known().and_then(|word| word.parse().ok()),
            commit: known(),
            made: known(),
            actor: known(),
        })
    }
}

impl Settled {
    /// Reads `TOKEN CODE VERB RELEASE PREVIOUS`, with the code of the undoing.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let attempt = words.next()?.to_owned();
        let undone = match words.next()? {
            "0" => Undone::Reverted,
            "97" => Undone::Committed,
            code => Undone::Failed(format!("undoing it failed with code {code}")),
        };
        let what: Vec<&str> = words.take(2).filter(|word| *word != "-").collect();
        Some(Self { attempt, what: what.join(" "), undone })
    }
}

/// Whose a host's lock is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's.
    Free,
    /// A running attempt's.
    Alive {
        /// The attempt's token.
        attempt: String,
        /// Who, from where, since when, doing what.
        text: String,
    },
    /// One whose process is proven to be gone.
    Dead {
        /// Who it was.
        text: String,
    },
    /// Another user's of the host.
    Foreign {
        /// That user, and what the lock says as far as it may be read.
        text: String,
    },
    /// There is a file, but it names nobody.
    Unreadable,
}

/// How a host stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What must be mended first.
    pub problems: Vec<String>,
    /// Where `current` points, as the link's text.
    pub current: Option<String>,
    /// The releases there, by id.
    pub releases: Vec<ReleaseRecord>,
    /// The hosts that were left out of the run that made live what is live here.
    pub absent: Vec<String>,
    /// The digests of artifacts of which there is a part, from uploads that were cut off.
    pub partial: Vec<String>,
    /// Other facts by name.
    pub values: BTreeMap<String, String>,
    /// Notes for a person.
    pub notes: Vec<String>,
    /// What came of undoing an attempt that had died here.
    pub undone: Option<Undone>,
    /// How the last attempt ended, where the host has a history.
    pub last: Option<LastAttempt>,
    /// The dead attempts that were settled here just now.
    pub settled: Vec<Settled>,
    /// Whether it is locked for this attempt already.
    pub locked: bool,
    /// The app's processes, where they were asked for.
    pub processes: Vec<Process>,
    /// What the health check said, where it was asked.
    pub health: Option<HealthAnswer>,
    /// The health checks that the host had no program to ask, where they were to be asked.
    pub unasked: Unasked,
}

impl Facts {
    /// Takes in one thing said.
    pub fn take(&mut self, say: Say) {
        match say {
            Say::Problem(text) => self.problems.push(text),
            Say::Note(text) | Say::Warning(text) => self.notes.push(text),
            Say::Undone(undone) => {
                // The attempt was named before; why it failed is known only now.
                if let (Undone::Failed(_), Some(settled)) = (&undone, self.settled.last_mut()) {
                    settled.undone = undone.clone();
                }
                self.undone = Some(undone);
            }
            Say::Fact(name, value) if name == "last" => self.last = serde_json::from_str(&value).ok(),
            Say::Fact(name, value) if name == "absent" => {
                self.absent = value.split_whitespace().map(str::to_owned).collect();
            }
            Say::Fact(name, value) if name == "partial" => self.partial.push(value),
            Say::Fact(name, value) if name == "current" => self.current = Some(value),
            Say::Fact(name, value) if name == "release" => {
                self.releases.extend(ReleaseRecord::parse(&value));
            }
            Say::Fact(name, _) if name == "locked" => self.locked = true,
            Say::Fact(name, value) if name == "process" => self.processes.extend(Process::parse(&value)),
            Say::Fact(name, value) if name == "health" => self.health = HealthAnswer::parse(&value),
            Say::Fact(name, value) if name == "settled" => self.settled.extend(Settled::parse(&value)),
            Say::Fact(name, value) => {
                self.values.insert(name, value);
            }
            say => drop(self.unasked.hear(say)),
        }
    }

    /// What the host can read that is better than gzip.
    pub fn codec(&self) -> Codec {
        if self.values.contains_key("zstd") { Codec::Zstd } else { Codec::Gzip }
    }

    /// The live release's id, where `current` points at one.
    pub fn live(&self) -> Option<ReleaseId> {
        self.current.as_deref()?.rsplit('/').next()?.parse().ok()
    }

    /// The name of what is live, for people: the last part of the link's text.
    pub fn live_name(&self) -> Option<String> {
        self.current.as_deref()?.rsplit('/').next().map(str::to_owned)
    }

    /// The name of what is live, or that there is nothing, for a person.
    pub fn live_shown(&self) -> String {
        self.live_name().unwrap_or_else(|| "none".to_owned())
    }

    /// The newest id found on the host.
    pub fn newest(&self) -> Option<ReleaseId> {
        self.releases.iter().map(|release| release.id).max()
    }

    /// Whose the lock is, where that was asked for.
    pub fn owner(&self) -> Option<Owner> {
        let mut words = self.values.get("owner")?.splitn(3, ' ');
        let state = words.next()?;
        let attempt = words.next().unwrap_or_default().to_owned();
        let text = words.next().unwrap_or_default().to_owned();
        Some(match state {
            "free" => Owner::Free,
            "alive" => Owner::Alive { attempt, text },
            "dead" => Owner::Dead { text },
            "foreign" => Owner::Foreign { text },
            _ => Owner::Unreadable,
        })
    }

    /// A number a fact begins with.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.values.get(name)?.split(' ').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_guardian_are_read_and_noise_is_told_apart() {
        assert_eq!(Line::parse("rdeploy-guardian 1"), Line::Hello(1));
        assert_eq!(Line::parse("rdeploy-wants agent"), Line::WantsAgent);
        assert_eq!(Line::parse("ok 12"), Line::Ok(12));
        assert_eq!(Line::parse("failed 3 97"), Line::Failed(3, 97));
        assert_eq!(
            Line::parse("say proof proven 2 processes"),
            Line::Say(Say::Proof("proven".into(), "2 processes".into()))
        );
        let undone = |undone| Line::Say(Say::Undone(undone));
        assert_eq!(Line::parse("say undone reverted"), undone(Undone::Reverted));
        assert_eq!(Line::parse("say undone committed"), undone(Undone::Committed));
        assert_eq!(Line::parse("say undone failed no space"), undone(Undone::Failed("no space".into())));
        assert_eq!(Line::parse("say probe-needed 2"), Line::Say(Say::ProbeNeeded(2)));
        for noise in ["", "Welcome to Debian", "ok then", "failed", "rdeploy-guardian x"] {
            assert_eq!(Line::parse(noise), Line::Noise, "{noise}");
        }
    }

    #[test]
    fn facts_tell_what_is_live_and_which_releases_there_are() {
        let mut facts = Facts::default();
        for line in [
            "say fact current /srv/a/releases/20260101000001",
            "say fact release 20260101000000 good aa - - - -",
            "say fact release 20260101000001 good bb 20260101000000 c0ffee 2026-01-01T00:00:01Z Ada L.@desk",
            "say fact release lost+found foreign - -",
            "say fact space_kb 1024 /srv",
            "say fact owner alive t9 ada from desk",
            "say fact settled t0 3 deploy 20260101000002 20260101000001",
            "say undone failed a process cannot be ended",
            "say fact absent web3 [2001:db8::2]:2222 ",
            r#"say fact last {"outcome":"reverted","attempt":"t1","actor":"a \"b\""}"#,
        ] {
            let Line::Say(say) = Line::parse(line) else { panic!("{line}") };
            facts.take(say);
        }
        assert_eq!(facts.live().unwrap().to_string(), "20260101000001");
        assert_eq!(facts.newest(), facts.live());
        assert_eq!(facts.releases.len(), 2);
        assert_eq!(facts.releases[1].previous, Some(facts.releases[0].id));
        assert_eq!(facts.number("space_kb"), Some(1024));
        let [first, second] = &facts.releases[..] else { panic!("{facts:?}") };
        assert_eq!((&first.commit, &first.made, &first.actor), (&None, &None, &None));
        let known = [&second.commit, &second.made, &second.actor].map(|fact| fact.as_deref().unwrap());
        assert_eq!(known, ["c0ffee", "2026-01-01T00:00:01Z", "Ada L.@desk"]);
        assert_eq!(facts.owner(), Some(Owner::Alive { attempt: "t9".into(), text: "ada from desk".into() }));
        let undone = Undone::Failed("a process cannot be ended".into());
        let what = "deploy 20260101000002".to_owned();
        assert_eq!(facts.settled, [Settled { attempt: "t0".into(), what, undone }]);
        let last = LastAttempt { attempt: "t1".into(), outcome: "reverted".into(), release: String::new() };
        assert_eq!(facts.absent, ["web3", "[2001:db8::2]:2222"]);
        assert_eq!(facts.last, Some(last));
    }
}
