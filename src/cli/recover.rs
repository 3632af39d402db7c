//! `rdeploy ENVIRONMENT recover`: settles what attempts have left that died, on every host that answers.

use std::path::Path;

use clap::Args;

use super::Fatal;
use super::crew;
use super::crew::Crew;
use super::settle;
use super::settle::Settled;
use super::settle::Trouble;
use super::wait::WaitArgs;
use crate::config::Environment;
use crate::host::Verb;

/// Arguments of `recover`.
#[derive(Args, Debug)]
pub(super) struct RecoverArgs {
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(environment: &Environment, root: &Path, args: RecoverArgs) -> Result<u8, Fatal> {
    crew::until_stopped(async {
        let crew = Crew::reach(environment, root, Verb::Recover).await?;
        let settled = crew.hands.iter().map(|hand| async {
            match &hand.session {
                Ok(session) => settle::settle(session, args.wait.wait, false).await,
                Err(error) => Settled::troubled(&hand.name, Trouble::Unknown(error.clone())),
            }
        });
        let settled = futures_util::future::join_all(settled).await;
        crew.close().await;
        settle::conclude(&environment.name, &settled)
    })
    .await
}
