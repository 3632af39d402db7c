//! Owns what is asked of a host about the app that is live, outside a transaction: `sh/operate.sh` does it
//! there.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use super::HostError;
use super::probe;
use super::protocol::Facts;
use super::protocol::Say;
use super::session::ANSWER_LIMIT;
use super::session::Session;
use super::session::UNREADABLE;
use super::status::HealthAnswer;
use super::unasked::UnaskedCheck;

/// Nobody follows a log for longer than this.
const EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What people do with the app that is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Have its supervisor restart it, as in a deploy, and prove it.
    Restart,
    /// Start it where it does not run, and prove it.
    Start,
    /// End it; its supervisor goes on knowing it, where it can.
    Stop,
}

impl Operation {
    fn intent(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Start => "start",
            Self::Stop => "halt",
        }
    }

    fn doing(self) -> &'static str {
        match self {
            Self::Restart => "restarting the app",
            Self::Start => "starting the app",
            Self::Stop => "stopping the app",
        }
    }
}

impl Session {
    /// Asks how the host stands and how its app is. Takes nothing and changes nothing.
    /// What the host has no program to ask its app, is asked through the connection.
    pub async fn status(&self) -> Result<Facts, HostError> {
        let mut facts = self.facts("status", "asking how the app is").await?;
        if !facts.unasked.checks.is_empty() {
            facts.health = Some(self.ask_once(&facts.unasked.checks).await);
        }
        Ok(facts)
    }

    async fn ask_once(&self, checks: &[UnaskedCheck]) -> HealthAnswer {
        for check in checks {
            let Some(health) = &check.health else { return HealthAnswer::Ill(UNREADABLE.to_owned()) };
            if let Err(reason) = probe::once(&self.connection, self.settings.root(), health).await {
                let named = if check.of > 1 { check.label() + ": " } else { String::new() };
                return HealthAnswer::Ill(format!("{named}{reason} (asked through the SSH connection)"));
            }
        }
        HealthAnswer::Well
    }

    /// Hands on the last lines of the app's log; with `follow` also what it writes from now on, until this
    /// call is dropped or the connection ends. The session can be asked nothing else after that.
    pub async fn logs(
        &self,
        lines: u32,
        follow: bool,
        line: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), HostError> {
        let reason = Mutex::new(String::new());
        let heard = |say| match say {
            Say::Log(text) => line(&text),
            Say::Reason(text) => *reason.lock().unwrap_or_else(PoisonError::into_inner) = text,
            _ => {}
        };
        let (intent, limit) = match follow {
            true => (format!("logs {lines} follow"), EVER),
            false => (format!("logs {lines}"), ANSWER_LIMIT),
        };
        match self.living().talk.ask(&intent, "reading the app's log", limit, &heard).await? {
            Ok(()) => Ok(()),
            Err(_) => {
                let reason = reason.into_inner().unwrap_or_else(PoisonError::into_inner);
                Err(HostError::Refused { output: reason.clone(), reason })
            }
        }
    }

    /// Asks which steps are missing to set the host up. Nothing where it cannot have the application's
    /// directory as it stands, which the checks explain.
    pub async fn missing_steps(&self) -> Result<Option<Vec<String>>, HostError> {
        let said = Mutex::new((Vec::new(), true));
        let heard = |say| {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            match say {
                Say::Todo(step) => said.0.push(step),
                Say::Fact(name, _) if name == "place" => said.1 = false,
                _ => {}
            }
        };
        self.done("setup", "looking at the host", ANSWER_LIMIT, &heard).await?;
        let (steps, has_place) = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(has_place.then_some(steps))
    }

    /// Takes the steps that are missing; the lock has to be ours. Returns those that could not be taken, and why.
    pub async fn set_up(&self) -> Result<Vec<String>, HostError> {
        let failed = Mutex::new(Vec::new());
        let heard = |say| {
            if let Say::NotTaken(step) = say {
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(step);
            }
        };
        self.done("setup", "setting the host up", ANSWER_LIMIT, &heard).await?;
        Ok(failed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does it to the live release's app; the lock has to be ours. `heard` gets what the host says meanwhile.
    pub async fn operate(
        &self,
        operation: Operation,
        heard: &(dyn Fn(Say) + Send + Sync),
    ) -> Result<(), HostError> {
        let limit = self.settings.activate_limit() + Duration::from_secs(30);
        self.done(operation.intent(), operation.doing(), limit, heard).await
    }
}
