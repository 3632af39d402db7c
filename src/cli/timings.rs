//! `--timings FILE`, which every verb that runs the transaction has.

use std::path::PathBuf;

use clap::Args;

/// Whether a page is written that shows where the time went.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TimingsArgs {
    /// Write a page (HTML) that shows where the time of this run went
    #[arg(long, value_name = "FILE")]
    pub(super) timings: Option<PathBuf>,
}
