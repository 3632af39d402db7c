//! Owns how thorough a run is: `tests/run --full` repeats what is left to chance far more often.

/// Returns how often something is done: `plain` times, or `full` times in a full run.
pub(crate) fn times(plain: usize, full: usize) -> usize {
    if is_full() { full } else { plain }
}

/// Whether this is a full run.
pub(crate) fn is_full() -> bool {
    std::env::var("RDEPLOY_TEST_FULL").is_ok_and(|value| value == "1")
}

/// Returns a number below `limit` that nobody can foretell.
pub(crate) fn below(limit: usize) -> usize {
    let number = getrandom::u64().unwrap() % u64::try_from(limit).unwrap();
    usize::try_from(number).unwrap()
}
