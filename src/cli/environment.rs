//! `rdeploy ENVIRONMENT [VERB]`: deploys to an environment of deploy.toml, or goes back.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use super::Fatal;
use super::Global;
use super::check;
use super::launch;
use super::launch::Launch;
use super::launch::Source;
use super::lock;
use super::lock::LockArgs;
use super::logs;
use super::logs::LogsArgs;
use super::operate;
use super::operate::OperateArgs;
use super::recover;
use super::recover::RecoverArgs;
use super::releases;
use super::setup;
use super::setup::SetupArgs;
use super::status;
use super::status::StatusArgs;
use super::timings::TimingsArgs;
use super::unlock;
use super::unlock::UnlockArgs;
use super::wait::WaitArgs;
use crate::host::Operation;
use crate::release::InvalidReleaseId;
use crate::release::ReleaseId;

/// Deploy to an environment of deploy.toml
#[derive(Debug, Parser)]
#[command(
    name = "rdeploy ENVIRONMENT",
    disable_version_flag = true,
    disable_help_subcommand = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs"
)]
pub(super) struct EnvironmentArgs {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    deploy: DeployArgs,
    #[command(subcommand)]
    verb: Option<EnvironmentVerb>,
}

/// Arguments of a deploy or rollback.
#[derive(Args, Debug, Default, PartialEq, Eq)]
struct DeployArgs {
    /// Go back to the release that was live before, or to the one named
    #[arg(
        long,
        value_name = "ID",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "previous",
        conflicts_with = "artifact"
    )]
    rollback: Option<RollbackTo>,
    /// Deploy this artifact, made by `rdeploy build -o FILE`, instead of building
    #[arg(long, value_name = "FILE")]
    artifact: Option<PathBuf>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    timings: TimingsArgs,
}

impl DeployArgs {
    /// What is made live, how long a held lock is waited for, and where the timings go.
    fn source(self) -> (Source, WaitArgs, TimingsArgs) {
        let source = match (self.rollback, self.artifact) {
            (Some(to), _) => to.source(),
            (None, Some(file)) => Source::Artifact(file),
            (None, None) => Source::Build,
        };
        (source, self.wait, self.timings)
    }
}

/// Arguments of `resume`.
#[derive(Args, Debug)]
struct ResumeArgs {
    /// The release's artifact, if it is not in the cache here
    #[arg(long, value_name = "FILE")]
    artifact: Option<PathBuf>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    timings: TimingsArgs,
}

/// What to do with an environment; nothing said is a deploy.
#[derive(Debug, Subcommand)]
enum EnvironmentVerb {
    /// Build and deploy, as without a verb
    Deploy(DeployArgs),
    /// Bring hosts that were left out, because they could not be reached, level with the others
    Resume(ResumeArgs),
    /// Ask every host what a deploy would ask first, and show it; changes nothing
    Check,
    /// Make the hosts ready: show what is missing on each, then do what this user may do
    Setup(SetupArgs),
    /// Show what runs on every host: release, processes, memory, health
    Status(StatusArgs),
    /// Show what the app writes on every host
    Logs(LogsArgs),
    /// Restart the live release's app, and prove it
    Restart(OperateArgs),
    /// Start the live release's app where it does not run, and prove it
    Start(OperateArgs),
    /// Stop the live release's app
    Stop(OperateArgs),
    /// Show which releases there are on which hosts, and how each stands
    Releases,
    /// Settle what attempts have left that died: undo it, or finish what had committed
    Recover(RecoverArgs),
    /// Freeze the environment: deploys and rollbacks are refused until `unlock`
    Lock(LockArgs),
    /// Lift a freeze, and free locks whose owner is dead, or is ordered to give way
    Unlock(UnlockArgs),
}

/// Where a rollback goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RollbackTo {
    Previous,
    Release(ReleaseId),
}

impl FromStr for RollbackTo {
    type Err = InvalidReleaseId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "previous" => Ok(Self::Previous),
            id => id.parse().map(Self::Release),
        }
    }
}

impl RollbackTo {
    pub(super) fn source(self) -> Source {
        Source::Rollback(match self {
            Self::Previous => None,
            Self::Release(id) => Some(id),
        })
    }
}

pub(super) async fn run(global: &Global, words: Vec<OsString>) -> Result<u8, Fatal> {
    let Some(name) = words.first().map(|name| name.to_string_lossy().into_owned()) else {
        return Err(Fatal::usage("no environment was named"));
    };
    let program = OsString::from(format!("rdeploy {name}"));
    let words = std::iter::once(program).chain(words.into_iter().skip(1));
    let args = match EnvironmentArgs::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => return Ok(super::usage(&error)),
    };
    let global = Global {
        config: args.global.config.or_else(|| global.config.clone()),
        verbose: args.global.verbose.max(global.verbose),
    };
    let project = launch::project(&global)?;
    let environment = super::environment_of(&project, &name)?.clone();
    if args.verb.is_some() && args.deploy != DeployArgs::default() {
        return Err(Fatal::usage(
            "`--rollback`, `--artifact`, `--wait` and `--timings` belong to the verb; write them after it",
        )
        .hint("a deploy or rollback needs no verb"));
    }
    let (source, wait, timings) = match args.verb {
        None => args.deploy.source(),
        Some(EnvironmentVerb::Deploy(deploy)) => deploy.source(),
        Some(EnvironmentVerb::Resume(resume)) => {
            (Source::Resume(resume.artifact), resume.wait, resume.timings)
        }
        Some(EnvironmentVerb::Check) => return check::run(&environment, &project.root).await,
        Some(EnvironmentVerb::Releases) => return releases::run(&environment, &project.root).await,
        Some(EnvironmentVerb::Recover(args)) => return recover::run(&environment, &project.root, args).await,
        Some(EnvironmentVerb::Lock(args)) => return lock::run(&environment, &project.root, args).await,
        Some(EnvironmentVerb::Unlock(args)) => return unlock::run(&environment, &project.root, args).await,
        Some(EnvironmentVerb::Setup(args)) => return setup::run(&environment, &project.root, args).await,
        Some(EnvironmentVerb::Status(args)) => return status::run(&environment, &project.root, args).await,
        Some(EnvironmentVerb::Logs(args)) => return logs::run(&environment, &project.root, args).await,
        Some(EnvironmentVerb::Restart(args)) => {
            return operate::run(&environment, &project.root, Operation::Restart, args).await;
        }
        Some(EnvironmentVerb::Start(args)) => {
            return operate::run(&environment, &project.root, Operation::Start, args).await;
        }
        Some(EnvironmentVerb::Stop(args)) => {
            return operate::run(&environment, &project.root, Operation::Stop, args).await;
        }
    };
    let command = format!("rdeploy {name}");
    launch::launch(Launch {
        environment,
        goal: name,
        command,
        root: project.root,
        source,
        wait: wait.wait,
        timings: timings.timings,
        verbose: global.verbose,
    })
    .await
}
