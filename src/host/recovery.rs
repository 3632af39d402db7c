//! Owns what is done when a guardian dies while the connection to its host lives: another one is started
//! at once, on the same connection. Its lock succeeds the dead owner and undoes what that one left, as
//! the next deploy would.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::Host as _;
use super::HostError;
use super::LockOutcome;
use super::protocol::Facts;
use super::protocol::LastAttempt;
use super::protocol::Owner;
use super::protocol::Say;
use super::protocol::Undone;
use super::session::Session;
use super::settings::SessionSettings;

/// How often it is looked whether a guardian that is still at work has left.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What a recovery came to.
pub(super) struct Recovery {
    /// The guardian that has the lock now.
    pub(super) successor: Session,
    /// What a revert by the dead guardian would have answered.
    pub(super) reverted: Result<(), HostError>,
}

/// Takes over from `dead`, whose guardian died with `death`. An error means that nobody took over.
pub(super) async fn recover(
    dead: &Session,
    death: HostError,
    heard: &(dyn Fn(Say) + Send + Sync),
) -> Result<Recovery, HostError> {
    let settings = SessionSettings { token: successor_of(&dead.settings.token), ..dead.settings.clone() };
    let attempt = dead.attempt.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let token = dead.settings.token.clone();
    heard(Say::Note(format!("{death}; another one takes over")));
    let taken = async {
        let successor = Session::start(dead.connection.clone(), settings).await?;
        let until = Instant::now() + dead.order_limit();
        let mut lock = successor.lock().await?;
        // It only left us: it was ordered to put the host back, or thinks that we are gone, and is at it.
        while matches!(lock, LockOutcome::Held(_)) && Instant::now() < until {
            match successor.look().await?.owner() {
                Some(Owner::Alive { attempt, .. }) if attempt != token => break,
                Some(Owner::Foreign { .. }) => break,
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
            lock = successor.lock().await?;
        }
        Ok::<_, HostError>((successor, lock))
    };
    let (successor, facts) = match taken.await {
        Ok((successor, LockOutcome::Taken(facts))) => (successor, facts),
        Ok((_, LockOutcome::Held(owner))) => {
            heard(Say::Warning(format!("nobody could take over: the lock is held by {owner}")));
            return Err(death);
        }
        Ok((_, LockOutcome::Frozen(freeze))) => {
            heard(Say::Warning(format!("nobody could take over: the environment is frozen: {freeze}")));
            return Err(death);
        }
        Err(error) => {
            heard(Say::Warning(format!("nobody could take over: {error}")));
            return Err(death);
        }
    };
    let Facts { undone, last, .. } = facts;
    let reverted = match undone.or_else(|| last.and_then(|last| settled_by(&last, &token))) {
        Some(Undone::Reverted) => Ok(()),
        Some(Undone::Committed) => Err(HostError::AlreadyCommitted),
        Some(Undone::Failed(reason)) => {
            Err(HostError::Refused { reason, output: successor.written("undo").await })
        }
        None => Err(death),
    };
    if let (Ok(()) | Err(HostError::AlreadyCommitted), Some(attempt)) = (&reverted, &attempt) {
        // Hooks that still follow see the same release.
        successor.begin_now(attempt).await?;
    }
    Ok(Recovery { successor, reverted })
}

/// As unguessable as the first, and another one.
fn successor_of(token: &str) -> String {
    format!("{token}-next")
}

/// What the guardian did by itself before it ended: it thought the client dead, which a machine that
/// slept looks like.
fn settled_by(last: &LastAttempt, token: &str) -> Option<Undone> {
    if last.attempt != token {
        return None;
    }
    match last.outcome.as_str() {
        "done" => Some(Undone::Committed),
        "reverted" => Some(Undone::Reverted),
        "revert failed" => Some(Undone::Failed("its guardian could not put it back".to_owned())),
        _ => None,
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
