//! Owns the developers' trace: what the crate notes for itself goes to the run's log, and with `-vv` to
//! standard error too. Knows no events.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use tracing::Subscriber;
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
    let _ = subscriber(verbose, log).try_init();
}

fn subscriber(verbose: u8, log: &Path) -> impl Subscriber + Send + Sync + 'static {
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
    tracing_subscriber::registry().with(file).with(stderr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_own_notes_are_in_the_log_and_those_of_libraries_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("run.log");
        tracing::subscriber::with_default(subscriber(0, &log), || {
            tracing::debug!(host = "web1", "a channel was opened\x1b[2J");
            tracing::trace!("too much");
            tracing::warn!(target: "russh", "not ours");
        });
        let text = std::fs::read_to_string(log).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("DEBUG rdeploy::report::trace"), "{text}");
        assert!(text.contains("a channel was opened") && text.contains("host=\"web1\""), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn a_log_that_cannot_be_opened_costs_nothing_but_its_trace() {
        let subscriber = subscriber(0, Path::new("/nonexistent/run.log"));
        tracing::subscriber::with_default(subscriber, || tracing::error!("nobody hears it"));
    }
}
