//! Owns the command line: one file a verb, each with its arguments and its `run`. The only place that
//! wires the other modules together; nobody imports it but `main`.

pub mod ask;
mod build;
mod check;
mod crew;
mod demo;
mod environment;
mod error;
mod hosts;
mod identity;
mod launch;
mod lock;
mod logs;
mod operate;
mod place;
mod recover;
mod release_source;
mod releases;
mod run;
pub mod serve;
mod serve_verb;
mod settle;
mod setup;
mod status;
mod timings;
mod to;
mod unlock;
mod wait;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::CommandFactory as _;
use clap::FromArgMatches as _;
use clap::Parser;
use clap::Subcommand;

pub use error::Fatal;

use crate::config;
use crate::report;

/// Deploys an application to its servers over SSH, as one transaction
///
/// Builds a release here, uploads it to every host of an environment, switches to it, restarts the app
/// with the host's supervisor and proves that it is healthy; or puts every host back.
#[derive(Debug, Parser)]
#[command(
    name = "rdeploy",
    version,
    arg_required_else_help = true,
    subcommand_value_name = "ENVIRONMENT | COMMAND",
    subcommand_help_heading = "Commands"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Args, Clone, Debug, Default)]
struct Global {
    /// Configuration file (default: deploy.toml, searched upwards from here)
    #[arg(long, value_name = "FILE", global = true, env = "RDEPLOY_CONFIG")]
    config: Option<PathBuf>,
    /// Show more: output of hooks and commands as it comes (-v), protocol details (-vv)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in the whole process")]
enum Verb {
    /// Build and pack the release, and stop there
    Build(build::BuildArgs),
    /// Deploy this directory to hosts named right here, without a deploy.toml
    To(to::ToArgs),
    /// Show the whole story on this machine: two hosts inside rdeploy, a good and a broken release, a rollback
    Demo(demo::DemoArgs),
    /// Serve a directory over HTTP (a small app to try deploys with)
    Serve(serve::ServeArgs),
    #[command(external_subcommand)]
    Environment(Vec<OsString>),
}

/// Parses the arguments and runs the verb. Returns the process's exit code.
pub async fn run(args: Vec<OsString>) -> Result<u8, Fatal> {
    let environments = environments_help(&args);
    let command =
        Cli::command().after_long_help(format!("{environments}\n{}", exit_codes())).after_help(environments);
    let cli = match command.try_get_matches_from(args).and_then(|found| Cli::from_arg_matches(&found)) {
        Ok(cli) => cli,
        Err(error) => return Ok(usage(&error)),
    };
    match cli.verb {
        Verb::Build(args) => build::run(&cli.global, args).await,
        Verb::To(args) => to::run(&cli.global, args).await,
        Verb::Demo(args) => demo::run(args).await,
        Verb::Serve(args) => serve_verb::run(args).await,
        Verb::Environment(words) => environment::run(&cli.global, words).await,
    }
}

/// The environment of that name, or what was probably meant.
fn environment_of<'a>(project: &'a config::Project, name: &str) -> Result<&'a config::Environment, Fatal> {
    project.environment(name).map_err(|unknown| {
        Fatal::usage(format!("there is no environment `{}`", unknown.name)).hint(unknown.hint())
    })
}

/// Writes a result to standard output.
fn tell(text: &str) -> Result<(), Fatal> {
    report::result(text).map_err(|error| Fatal::usage(format!("standard output cannot be written: {error}")))
}

/// Prints what clap has to say: help on stdout with code 0, a mistake on stderr with code 2.
fn usage(error: &clap::Error) -> u8 {
    // Nobody is left to tell when even this cannot be printed.
    let _ = error.print();
    u8::try_from(error.exit_code()).unwrap_or(2)
}

/// The environments of the project we are in, for `--help`. A project that does not load is not a
/// reason to have no help.
fn environments_help(args: &[OsString]) -> String {
    let given = config_of(args).or_else(|| std::env::var_os("RDEPLOY_CONFIG").map(PathBuf::from));
    let loaded = std::env::current_dir().ok().and_then(|cwd| config::load(given.as_deref(), &cwd).ok());
    let mut text = match &loaded {
        Some(project) => format!("Environments of {}:\n", project.app),
        None => {
            "Environments (none here: this is no project with a deploy.toml that can be read):\n".to_owned()
        }
    };
    for (name, environment) in loaded.iter().flat_map(|project| &project.environments) {
        let hosts = match &environment.hosts {
            config::Hosts::Embedded(1) => "1 host inside rdeploy, on this machine".to_owned(),
            config::Hosts::Embedded(n) => format!("{n} hosts inside rdeploy, on this machine"),
            config::Hosts::Listed(hosts) => {
                hosts.iter().map(config::Host::name).collect::<Vec<_>>().join(", ")
            }
        };
        text.push_str(&format!("  {name:<22} {hosts}\n"));
    }
    text.push_str(
        "\n  rdeploy ENVIRONMENT                build, and deploy to it\n  \
         rdeploy ENVIRONMENT --rollback     go back to the release that was live before\n  \
         rdeploy ENVIRONMENT --help         everything else that can be done with it\n",
    );
    text
}

/// What each exit code says of the hosts.
fn exit_codes() -> String {
    let lines =
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 130].map(|code| format!("  {code:>3}  {}", report::meaning(code)));
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// The file named by `--config`, without judging the rest of the line.
fn config_of(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--config" {
            return args.next().map(PathBuf::from);
        }
        if let Some(file) = arg.to_str().and_then(|arg| arg.strip_prefix("--config=")) {
            return Some(PathBuf::from(file));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        environment::EnvironmentArgs::command().debug_assert();
    }

    #[test]
    fn every_command_option_and_exit_code_is_in_the_reference() {
        let page = include_str!("../../docs/commands.md");
        let cli = Cli::command();
        let environment = environment::EnvironmentArgs::command();
        for verb in environment.get_subcommands() {
            let title = format!("### `rdeploy ENVIRONMENT {}`", verb.get_name());
            let is_plain_deploy = verb.get_name() == "deploy";
            assert!(is_plain_deploy || page.contains(&title), "{title} is missing");
        }
        let verbs = environment.get_subcommands();
        for command in cli.get_subcommands().chain(verbs).chain([&cli, &environment]) {
            let name = command.get_name().replace("rdeploy ", "");
            assert!(page.contains(&name), "{name} is not explained");
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{option}")), "--{option} of {name} is not explained");
            }
        }
        for code in [0, 1, 2, 3, 4, 5, 6, 7, 8, 130] {
            assert!(page.contains(&format!("\n| {code} | ")), "exit code {code} is not explained");
        }
    }

    #[test]
    fn no_environment_may_be_named_like_a_command() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(config::COMMANDS.contains(&name), "{name} is missing in config::COMMANDS");
        }
    }
}
