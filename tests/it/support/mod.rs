//! What the tiers share. Knows nothing of what is being tested.

use std::io::Write as _;

pub(crate) mod fleet;

/// Says that a test did not run, where nothing captures it. Under `tests/run`, which installs what
/// tests need, it is a failure.
pub(crate) fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("RDEPLOY_TEST_ALL").is_none_or(|all| all != "1"), "{test} was skipped: {why}");
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}
