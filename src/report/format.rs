//! Owns how sizes, times, counts and names are written, and how they are cut to a width.
//! Knows no events.

use std::time::Duration;

use unicode_width::UnicodeWidthChar;
use unicode_width::UnicodeWidthStr;

/// Writes a size as people say it: `12.3 MB`, decimal units.
pub(crate) fn bytes(n: u64) -> String {
    let (unit, name) = unit_of(n);
    format!("{} {name}", in_unit(n, unit))
}

/// Writes `part` of `total` in the total's unit, at a constant width: ` 2.1 of 12.3 MB`.
pub(crate) fn bytes_of(part: u64, total: u64) -> String {
    let (unit, name) = unit_of(total);
    let total = in_unit(total, unit);
    format!("{:>width$} of {total} {name}", in_unit(part, unit), width = total.len())
}

fn unit_of(n: u64) -> (u64, &'static str) {
    match n {
        0..1_000 => (1, "B"),
        1_000..999_950 => (1_000, "kB"),
        999_950..999_950_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    }
}

fn in_unit(n: u64, unit: u64) -> String {
    if unit == 1 {
        return n.to_string();
    }
    let tenths = (u128::from(n) * 10 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Writes bytes a second, `1.2 MB/s`; nothing when no time has passed.
pub(crate) fn rate(bytes_sent: u64, took: Duration) -> Option<String> {
    let millis = u64::try_from(took.as_millis()).ok().filter(|ms| *ms > 0)?;
    let per_second = u128::from(bytes_sent) * 1_000 / u128::from(millis);
    Some(format!("{}/s", bytes(u64::try_from(per_second).unwrap_or(u64::MAX))))
}

/// Writes a time span as people say it: `35 ms`, `14.2 s`, `1 min 20 s`, `2 h 5 min`.
pub(crate) fn span(took: Duration) -> String {
    let millis = took.as_millis();
    let seconds = (millis + 500) / 1_000;
    match millis {
        0..100 => format!("{millis} ms"),
        100..59_950 => {
            let tenths = (millis + 50) / 100;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        _ if seconds < 3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Writes how long something has been there, in its two largest units: `8 s`, `5 min`, `3 h 2 min`, `12 d 4 h`.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Writes a running time span in whole seconds, so that it does not flicker.
pub(crate) fn running(took: Duration) -> String {
    match took.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        _ => span(Duration::from_secs(took.as_secs())),
    }
}

/// Writes a number, `1,204`.
pub(crate) fn number(n: usize) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Writes a number with its noun, `1 host`, `1,204 files`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    let grouped = number(n);
    let plural = if n == 1 { "" } else { "s" };
    format!("{grouped} {noun}{plural}")
}

/// Columns that `text` takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Cuts the end of `text` to `columns`, and says so with `…`.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    match columns {
        0 => String::new(),
        _ => format!("{}…", head(text, columns - 1)),
    }
}

/// Cuts the middle of `text` to `columns`: names differ at their start or at their end.
pub(crate) fn cut_middle(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns < 3 {
        return cut(text, columns);
    }
    let kept = columns - 1;
    let tail: String = text.chars().rev().collect();
    let tail: String = head(&tail, kept / 2).chars().rev().collect();
    format!("{}…{tail}", head(text, kept - kept / 2))
}

fn head(text: &str, columns: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

/// Pads `text` with spaces to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Returns a short name for each of `names`, at most `columns` wide: whole where they fit, else without
/// the domain all of them share, else cut in the middle.
pub(crate) fn labels(names: &[String], columns: usize) -> Vec<String> {
    if names.iter().all(|name| width(name) <= columns) {
        return names.to_vec();
    }
    let shared = shared_domain(names);
    names.iter().map(|name| cut_middle(name.strip_suffix(shared).unwrap_or(name), columns)).collect()
}

/// The longest `.suffix` of whole labels that every name ends with, leaving at least one label of each.
/// Addresses keep all their digits.
fn shared_domain(names: &[String]) -> &str {
    let [first, others @ ..] = names else { return "" };
    let numeric = |name: &String| name.chars().all(|c| c.is_ascii_digit() || ".:[]".contains(c));
    if others.is_empty() || names.iter().any(numeric) {
        return "";
    }
    first
        .match_indices('.')
        .filter_map(|(at, _)| first.get(at..))
        .find(|suffix| others.iter().all(|name| name.len() > suffix.len() && name.ends_with(suffix)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_counts_read_as_people_say_them() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (12_345_678, "12.3 MB"),
            (u64::MAX, "18446744073.7 GB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(bytes_of(2_100_000, 12_345_678), " 2.1 of 12.3 MB");
        assert_eq!(bytes_of(0, 0), "0 of 0 B");
        for (ms, text) in [
            (0, "0 ms"),
            (99, "99 ms"),
            (100, "0.1 s"),
            (14_249, "14.2 s"),
            (59_949, "59.9 s"),
            (59_950, "1 min 0 s"),
            (80_000, "1 min 20 s"),
            (3_599_500, "1 h 0 min"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
        assert_eq!(running(Duration::from_millis(59_999)), "59 s");
        assert_eq!(running(Duration::from_secs(61)), "1 min 1 s");
        assert_eq!(count(1, "host"), "1 host");
        assert_eq!(count(1_234_567, "file"), "1,234,567 files");
        assert_eq!(rate(1_000_000, Duration::from_millis(500)).as_deref(), Some("2.0 MB/s"));
        assert_eq!(rate(1, Duration::ZERO), None);
    }

    #[test]
    fn text_is_cut_to_columns_not_to_characters() {
        assert_eq!(cut("webpack", 7), "webpack");
        assert_eq!(cut("webpack", 4), "web…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("x", 0), "");
        assert_eq!(cut_middle("web1.internal.example.com", 11), "web1.…e.com");
        for columns in 0..12 {
            assert!(width(&cut_middle("日本語日本語", columns)) <= columns, "{columns}");
        }
    }

    #[test]
    fn names_lose_what_they_share_before_they_lose_what_tells_them_apart() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let hosts = names(&["web1.example.com", "web2.example.com", "db.eu.example.com"]);
        assert_eq!(labels(&hosts, 17), hosts);
        assert_eq!(labels(&hosts, 12), ["web1", "web2", "db.eu"]);
        assert_eq!(labels(&names(&["example.com", "www.example.com"]), 14), ["example", "www.example"]);
        assert_eq!(labels(&names(&["192.168.10.1", "10.8.10.1"]), 9), ["192.…10.1", "10.8.10.1"]);
        assert_eq!(labels(&names(&["a-very-long-name.example.com"]), 9), ["a-ve….com"]);
    }
}
