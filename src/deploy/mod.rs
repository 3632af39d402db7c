//! Owns the transaction across the fleet: every host prepared before any is switched, and every host
//! put back when one fails. Knows no command line, no terminal and no SSH library: it drives anything
//! that is a [`crate::host::Host`] and states what happened as events.
//!
//! | file | owns |
//! |---|---|
//! | `hooks` | which hook runs where |
//! | `plan` | what follows from the facts of all hosts: the id, the target, the problems |
//! | `stage` | where a host stands, and the legal transitions |
//! | `fleet` | doing something on all hosts at once; stopping |
//! | `transaction` | what goes in, what comes out, the order of the parts |
//! | `lock` | every lock or none |
//! | `forward` | prepare, the barrier, the switch |
//! | `commit` | the commit, and cleaning up after it |
//! | `back` | the way back |
//! | `told` | what is stated of all that |
//! | `outcome` | how it ended: sentence and exit code |

mod back;
mod commit;
mod fleet;
mod forward;
pub mod hooks;
mod lock;
mod outcome;
mod plan;
#[cfg(test)]
mod scripted;
mod stage;
#[cfg(test)]
mod tests;
mod told;
mod transaction;

pub use fleet::Fleet;
pub use fleet::Member;
pub use outcome::Outcome;
pub use plan::Need;
pub use plan::Problem;
pub use plan::RollbackProblem;
pub use plan::differing;
pub use plan::next_release;
pub use plan::problems;
pub use plan::rollback_release;
pub use plan::skewed_clocks;
pub use stage::Stage;
pub use transaction::Job;
pub use transaction::Report;
pub use transaction::Stops;
pub use transaction::Transaction;
