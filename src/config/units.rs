//! Owns durations and percentages as people write them: `500ms`, `30s`, `10m`, `1h30m`, `25%`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::diagnostic::Defect;
use super::names;

/// The units, longest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration that must lie within `range`.
pub(super) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, Defect> {
    let bad = || {
        let message = format!("`{text}` is not a duration");
        match guess(text) {
            Some(guess) => Defect::new(message, format!("did you mean \"{guess}\"?")),
            None => Defect::new(message, "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"1h30m\""),
        }
    };
    let duration = Duration::from_millis(millis(text).ok_or_else(bad)?);
    if !range.contains(&duration) {
        let (from, to) = (show(*range.start()), show(*range.end()));
        let way = if duration < *range.start() { "short" } else { "long" };
        let near = if duration < *range.start() { &from } else { &to };
        let message = format!("`{text}` is too {way}: it must be from {from} to {to}");
        return Err(Defect::new(message, format!("write \"{near}\"")));
    }
    Ok(duration)
}

/// Reads a percentage from 1% to 100%.
pub(super) fn percentage(text: &str) -> Result<u8, Defect> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let digits = number.strip_prefix('-').unwrap_or(number);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        let shown = names::excerpt(text);
        return Err(Defect::new(
            format!("`{shown}` is not a percentage"),
            "write \"25%\", or a number of hosts",
        ));
    }
    if !text.ends_with('%') || text != format!("{number}%") {
        let message = format!("`{}` is not a percentage", names::excerpt(text));
        return Err(Defect::new(message, format!("write \"{number}%\", or {number} for a number of hosts")));
    }
    match number.parse() {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => {
            let near =
                if number.starts_with('-') || digits.bytes().all(|b| b == b'0') { "1%" } else { "100%" };
            let message = format!("`{}` must be from 1% to 100%", names::excerpt(text));
            Err(Defect::new(message, format!("write \"{near}\"")))
        }
    }
}

/// Returns a duration as it would be written.
pub(super) fn show(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, size) in UNITS {
        let count = rest / size;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
            rest %= size;
        }
    }
    out
}

/// Numbers and units, units falling, no sign, no fraction, nothing else.
fn millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let size = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        if size >= smallest {
            return None;
        }
        smallest = size;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(size)?)?;
        rest = tail;
    }
    (smallest != u64::MAX).then_some(total)
}

/// What was meant by `30`, `30 sec`, `5 Minutes`.
fn guess(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit.trim() {
        "" | "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "msec" | "msecs" | "millis" | "milliseconds" => "ms",
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.0,
    };
    let guess = format!("{number}{unit}");
    millis(&guess).is_some().then_some(guess)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);

    #[test]
    fn a_duration_is_numbers_with_falling_units() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1m5s1ms", 65_001),
        ] {
            assert_eq!(duration(text, &DAY), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(show(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_was_probably_meant() {
        for (text, help) in [
            ("30", "did you mean \"30s\"?"),
            (" 30 sec", "did you mean \"30s\"?"),
            ("5 Minutes", "did you mean \"5m\"?"),
            ("10M", "did you mean \"10m\"?"),
            ("", "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"1h30m\""),
            ("s", "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"1h30m\""),
            ("-1s", "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"1h30m\""),
            ("1.5h", "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"1h30m\""),
            ("1s1s", "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"1h30m\""),
            ("1m1h", "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"1h30m\""),
            ("99999999999999999999s", "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"1h30m\""),
            ("99999999999999999h", "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"1h30m\""),
        ] {
            assert_eq!(duration(text, &DAY).unwrap_err().help, help, "{text}");
        }
    }

    #[test]
    fn a_percentage_is_a_whole_number_from_1_to_100() {
        for (text, percent) in [("1%", 1), ("25%", 25), ("100%", 100)] {
            assert_eq!(percentage(text), Ok(percent), "{text}");
        }
        for (text, help) in [
            ("0%", "write \"1%\""),
            ("00%", "write \"1%\""),
            ("-5%", "write \"1%\""),
            ("120%", "write \"100%\""),
            ("99999999999999999999%", "write \"100%\""),
            ("25", "write \"25%\", or 25 for a number of hosts"),
            ("25 %", "write \"25%\", or 25 for a number of hosts"),
            ("12.5%", "write \"25%\", or a number of hosts"),
            ("%", "write \"25%\", or a number of hosts"),
            ("", "write \"25%\", or a number of hosts"),
            ("half", "write \"25%\", or a number of hosts"),
            ("+5%", "write \"25%\", or a number of hosts"),
        ] {
            assert_eq!(percentage(text).unwrap_err().help, help, "{text}");
        }
    }

    #[test]
    fn a_duration_outside_its_range_names_the_nearest_end() {
        let range = Duration::from_secs(2)..=Duration::from_secs(3_600);
        let short = duration("1s", &range).unwrap_err();
        assert_eq!(short, Defect::new("`1s` is too short: it must be from 2s to 1h", "write \"2s\""));
        assert_eq!(duration("2h", &range).unwrap_err().help, "write \"1h\"");
    }
}
