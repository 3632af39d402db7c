//! Owns the name of a release: a UTC time to the second, as Capistrano writes it.

use std::fmt;
use std::str::FromStr;

/// A release's name: UTC `YYYYMMDDHHMMSS`, the same on every host of an environment.
///
/// The order of ids is the order of their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseId(jiff::civil::DateTime);

/// The text was not fourteen digits that name a time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a release id (fourteen digits, UTC YYYYMMDDHHMMSS)")]
pub struct InvalidReleaseId(pub String);

impl ReleaseId {
    /// Returns the id for a deploy that starts at `now`: the later of now and one second after
    /// `newest`, the newest id found on any host, so that ids grow even when clocks do not.
    pub fn next(now: jiff::Timestamp, newest: Option<Self>) -> Self {
        let now = now.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let now = now.with().subsec_nanosecond(0).build().unwrap_or(now);
        match newest {
            Some(Self(newest)) if newest >= now => {
                Self(newest.saturating_add(jiff::SignedDuration::from_secs(1)))
            }
            _ => Self(now),
        }
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.0;
        write!(
            f,
            "{:04}{:02}{:02}{:02}{:02}{:02}",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        )
    }
}

impl FromStr for ReleaseId {
    type Err = InvalidReleaseId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidReleaseId(text.to_owned());
        if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).map(Self).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::ReleaseId;

    fn id(text: &str) -> ReleaseId {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_is_the_utc_time_to_the_second() {
        let now: jiff::Timestamp = "2026-11-22T17:41:24.987Z".parse().unwrap();
        assert_eq!(ReleaseId::next(now, None).to_string(), "20261122174124");
        assert_eq!(ReleaseId::next(now, Some(id("20261122174123"))), id("20261122174124"));
    }

    #[test]
    fn an_id_is_later_than_every_id_seen_even_when_the_clock_is_behind() {
        let now: jiff::Timestamp = "2026-11-22T17:41:24Z".parse().unwrap();
        assert_eq!(ReleaseId::next(now, Some(id("20261122174124"))), id("20261122174125"));
        assert_eq!(ReleaseId::next(now, Some(id("20271231235959"))), id("20280101000000"));
    }

    #[test]
    fn only_fourteen_digits_that_name_a_time_are_an_id() {
        for bad in ["", "2026", "../../etc", "20261322174124", "2026112217412x", "+0261122174124"] {
            assert!(bad.parse::<ReleaseId>().is_err(), "{bad}");
        }
    }
}
