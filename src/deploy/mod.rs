//! Owns the transaction across the fleet: every host prepared before any is switched, and every host
//! put back when one fails. Knows no command line, no terminal and no SSH library: it drives anything
//! that is a [`crate::host::Host`] and states what happened as events.
//!
//! | file | owns |
//! |---|---|
//! | `hooks` | which hook runs where |
//! | `plan` | what follows from the facts of all hosts: the id, the target, the problems |
//! | `split` | hosts that run different releases, and what made them differ |
//! | `stage` | where a host stands, and the legal transitions |
//! | `rollout` | which hosts are switched together, in which order |
//! | `fleet` | doing something on all hosts at once; stopping |
//! | `transaction` | what goes in, what comes out, the order of the parts |
//! | `lock` | every lock or none |
//! | `patience` | how long a held lock is waited for |
//! | `forward` | prepare, the barrier, what runs once |
//! | `ahead` | what a host is told before it is asked |
//! | `switch` | the switch, batch by batch, and the pause |
//! | `commit` | the commit, and cleaning up after it |
//! | `back` | the way back |
//! | `pace` | how fast hosts are put back |
//! | `resume` | hosts that were left behind |
//! | `told` | what is stated of all that |
//! | `outcome` | how it ended: sentence and exit code |

mod ahead;
mod back;
mod commit;
mod fleet;
mod forward;
pub mod hooks;
mod lock;
mod outcome;
mod pace;
mod patience;
mod plan;
mod resume;
mod rollout;
#[cfg(test)]
mod scripted;
mod split;
mod stage;
mod switch;
#[cfg(test)]
mod tests;
mod told;
mod transaction;

pub use fleet::Fleet;
pub use fleet::Member;
pub use outcome::Outcome;
pub use patience::Patience;
pub use plan::Need;
pub use plan::Problem;
pub use plan::RollbackProblem;
pub use plan::difference;
pub use plan::differing;
pub use plan::next_release;
pub use plan::problems;
pub use plan::rollback_release;
pub use plan::skewed_clocks;
pub use resume::ResumeProblem;
pub use resume::Resumption;
pub use resume::resumption;
pub use rollout::Rollout;
pub use split::Split;
pub use split::split;
pub use stage::Stage;
pub use told::tell_traffic;
pub use transaction::Job;
pub use transaction::Report;
pub use transaction::Stops;
pub use transaction::Transaction;
