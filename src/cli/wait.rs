//! `--wait[=DURATION]`, which every verb that takes locks has.

use std::time::Duration;

use clap::Args;

use crate::config;

/// How long to wait for a lock that somebody else holds.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WaitArgs {
    /// Wait while somebody else holds the lock, for 15 minutes or as long as said
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "15m",
        value_parser = duration
    )]
    pub(super) wait: Option<Duration>,
}

/// Reads a duration as it is written in `deploy.toml`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text, &(Duration::from_secs(1)..=Duration::from_secs(24 * 3600)))
}
