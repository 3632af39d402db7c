//! Parses, runs, maps the error to its exit code.

use std::process::ExitCode;

use rdeploy::cli;
use rdeploy::report;
use rdeploy::ssh;

/// How many threads wait for files and names at most. Hundreds of hosts are sent the same at the same moment; a thread
/// for each would take twice the memory that a host does.
const BLOCKING_THREADS: usize = 64;

fn main() -> ExitCode {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.enable_all().max_blocking_threads(BLOCKING_THREADS).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report::error(&error, Some("the system gave no threads or sockets"));
            return ExitCode::from(1);
        }
    };
    let run = || runtime.block_on(cli::run(std::env::args_os().collect()));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| {
        // What went wrong, and where, is told already. Guardians put back what was under way.
        Err(cli::Fatal::unexpected(
            "rdeploy stopped unexpectedly; hosts that were switched put themselves back",
        ))
    });
    let code = ended.unwrap_or_else(|fatal| {
        if fatal.rendered {
            report::rendered(&fatal.message);
        } else {
            report::error(&fatal, fatal.hint.as_deref());
        }
        fatal.code
    });
    ssh::forget_unlocked_keys();
    // A blocking thread that still waits, on a question for instance, must not hold the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}
