//! Owns everything a person reads: it turns events into live progress or plain lines, and into the log
//! of the run. Nothing else in the crate prints. Knows neither hosts nor the transaction: only events.
//!
//! Where things go:
//! - On a terminal (standard output *and* standard error are one, outside CI): live progress and its
//!   result on standard error; standard output stays free for results (`rdeploy build` prints a path).
//! - Otherwise plain lines, in order, on standard output, so that `| cat`, `| tee` and CI logs have the
//!   run; only the block that ends a failed run goes to standard error. Each event is flushed, so the
//!   order also holds when both are the same pipe. A verb whose result is on standard output (`build`)
//!   has its run on standard error, too.
//! - Always: the full log, in a file. Where it is asked for, a page of timings beside it.
//!
//! A reporter that cannot write (a closed pipe, a full disk) says so once where it still can, and is
//! silent from then on. The log has a thread of its own, so that a terminal that is held up (Ctrl-S, a
//! pager) delays neither the run nor the log.

mod closing;
mod format;
mod live;
mod log;
mod options;
mod paint;
mod plain;
mod progress;
mod run;
mod say;
mod screen;
mod spawn;
mod table;
mod text;
mod timings;
mod trace;
mod words;

#[cfg(test)]
mod tests;

pub use closing::meaning;
pub(crate) use format::age;
pub(crate) use format::bytes;
pub use log::STATE_DIR_VARIABLE;
pub use log::new_log_path;
pub use log::state_dir;
pub use options::Mode;
pub use options::Options;
pub use options::is_ci;
pub use say::error;
pub use say::note;
pub use say::rendered;
pub use say::result;
pub use screen::Screen;
pub use spawn::ReporterHandle;
pub use spawn::spawn;
pub use table::table;
pub(crate) use text::one_line;
pub(crate) use text::shown;
pub use timings::TimingsFile;
pub use timings::TimingsFileError;
pub use trace::trace;
