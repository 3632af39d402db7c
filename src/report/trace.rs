//! Owns the developers' trace: what the crate notes for itself goes to the run's log, and with `-vv` to
//! standard error too. Knows no events.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::time::uptime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the trace: rdeploy's own notes to `log`; to standard error with `-vv`, and those of all
/// libraries with `-vvv`. A log that cannot be opened costs its trace, nothing else; a second call does
/// nothing.
pub fn trace(verbose: u8, log: &Path) {
    // A trace that cannot be written must not scribble over the progress bars.
    let file = super::log::open(log).ok().map(|file| {
        fmt::layer()
            .with_writer(Mutex::new(file))
            .with_timer(uptime())
            .with_ansi(false)
            .log_internal_errors(false)
            .with_filter(EnvFilter::new("rdeploy=debug"))
    });
    let stderr = (verbose >= 2).then(|| {
        fmt::layer()
            .with_writer(io::stderr)
            .with_timer(uptime())
            .with_ansi(false)
            .log_internal_errors(false)
            .with_filter(EnvFilter::new(if verbose == 2 { "rdeploy=debug" } else { "rdeploy=trace,debug" }))
    });
    let _ = tracing_subscriber::registry().with(file).with(stderr).try_init();
}
