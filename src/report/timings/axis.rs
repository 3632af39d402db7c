//! Owns the marks along the time of a run: few, at round times, and how they are written.

use std::time::Duration;

/// The most steps that an axis has.
const MOST: u64 = 8;

/// Steps that people count in, in milliseconds.
const STEPS: [u64; 26] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000,
    300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 43_200_000, 86_400_000,
];

/// Returns the marks of a run that took so long, with their names. The first is its beginning.
pub(super) fn ticks(took: Duration) -> Vec<(Duration, String)> {
    let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let day = 86_400_000;
    let fits = |step: &u64| took / step <= MOST;
    let step = STEPS.into_iter().find(fits).unwrap_or_else(|| took.div_ceil(MOST * day).max(1) * day);
    let times = (0..=took / step).map(|n| n * step);
    times.map(|time| (Duration::from_millis(time), name(time, step))).collect()
}

fn name(millis: u64, step: u64) -> String {
    let seconds = millis / 1_000;
    match millis {
        0 => "0".to_owned(),
        _ if millis < 60_000 && step < 100 => format!("{millis} ms"),
        _ if millis < 60_000 && step < 1_000 => format!("{seconds}.{} s", millis % 1_000 / 100),
        _ if millis < 60_000 => format!("{seconds} s"),
        _ if seconds < 3_600 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ if seconds < 3_600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        _ => format!("{}:{:02} h", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(millis: u64) -> String {
        let ticks = ticks(Duration::from_millis(millis));
        ticks.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn marks_are_few_and_at_round_times() {
        assert_eq!(names(0), "0");
        assert_eq!(names(74), "0, 10 ms, 20 ms, 30 ms, 40 ms, 50 ms, 60 ms, 70 ms");
        assert_eq!(names(1_600), "0, 0.2 s, 0.4 s, 0.6 s, 0.8 s, 1.0 s, 1.2 s, 1.4 s, 1.6 s");
        assert_eq!(names(14_200), "0, 2 s, 4 s, 6 s, 8 s, 10 s, 12 s, 14 s");
        assert_eq!(names(100_000), "0, 15 s, 30 s, 45 s, 1 min, 1:15 min, 1:30 min");
        assert_eq!(names(3_700_000), "0, 10 min, 20 min, 30 min, 40 min, 50 min, 1 h");
        assert_eq!(names(9_000_000), "0, 30 min, 1 h, 1:30 h, 2 h, 2:30 h");
        assert!(ticks(Duration::from_secs(86_400 * 400)).len() <= 9);
    }
}
