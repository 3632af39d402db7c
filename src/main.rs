//! Parses, runs, maps the error to its exit code.

use std::process::ExitCode;

use rdeploy::cli;
use rdeploy::report;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report::error(&error, Some("the system gave no threads or sockets"));
            return ExitCode::from(1);
        }
    };
    let code = runtime.block_on(cli::run(std::env::args_os().collect())).unwrap_or_else(|fatal| {
        report::error(&fatal, fatal.hint.as_deref());
        fatal.code
    });
    // A blocking thread that still waits, on a question for instance, must not hold the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}
