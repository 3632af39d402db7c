//! `rdeploy to [user@]host[:port]:/path`: a deploy of this directory, without a deploy.toml.

use clap::Args;

use super::Fatal;
use super::Global;
use super::environment::RollbackTo;
use super::launch;
use super::launch::Launch;
use super::launch::Source;
use super::timings::TimingsArgs;
use super::wait::WaitArgs;
use crate::config;
use crate::config::OneOff;
use crate::report;

/// Arguments of `rdeploy to`.
#[derive(Args, Debug)]
pub(super) struct ToArgs {
    /// Where to: [user@]host[:port]:/path; several hosts with the same path
    #[arg(required = true, value_name = "[USER@]HOST[:PORT]:/PATH")]
    targets: Vec<String>,
    /// The application's name (default: this directory's name)
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// What keeps the app up: pm2 or none (default: none)
    #[arg(long, value_name = "KIND")]
    supervisor: Option<String>,
    /// PM2's ecosystem file, in the release; implies --supervisor pm2
    #[arg(long, value_name = "FILE")]
    ecosystem: Option<String>,
    /// Health check: http://…, tcp:HOST:PORT or command:COMMAND
    #[arg(long, value_name = "CHECK")]
    health: Option<String>,
    /// Command that builds the release, run here first; repeatable
    #[arg(long, value_name = "COMMAND")]
    build: Vec<String>,
    /// Files to pack even though git ignores them; repeatable
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Files never to pack; repeatable
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Directory of shared/ to link into the release; repeatable
    #[arg(long = "linked-dir", value_name = "DIR")]
    linked_dirs: Vec<String>,
    /// File of shared/ to link into the release; repeatable
    #[arg(long = "linked-file", value_name = "FILE")]
    linked_files: Vec<String>,
    /// Go back to the release that was live before, or to the one named
    #[arg(
        long,
        value_name = "ID",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "previous",
        conflicts_with_all = ["build", "include", "exclude"]
    )]
    rollback: Option<RollbackTo>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    timings: TimingsArgs,
}

pub(super) async fn run(global: &Global, args: ToArgs) -> Result<u8, Fatal> {
    if global.config.is_some() {
        return Err(Fatal::usage("`rdeploy to` reads no configuration file; leave out --config"));
    }
    let directory = std::env::current_dir()
        .map_err(|error| Fatal::usage(format!("the working directory cannot be read: {error}")))?;
    let command = format!("rdeploy to {}", args.targets.join(" "));
    let environment = config::one_off(OneOff {
        directory: directory.clone(),
        targets: args.targets,
        app: args.app,
        supervisor: args.supervisor,
        ecosystem: args.ecosystem,
        health: args.health,
        build: args.build,
        include: args.include,
        exclude: args.exclude,
        linked_dirs: args.linked_dirs,
        linked_files: args.linked_files,
    })
    .map_err(|error| Fatal::configuration(error.render(report::Options::wants_color_on_stderr())))?;
    let source = args.rollback.map_or(Source::Build, RollbackTo::source);
    let goal = environment.deploy_to.clone();
    launch::launch(Launch {
        environment,
        goal,
        command,
        root: directory,
        source,
        wait: args.wait.wait,
        timings: args.timings.timings,
        verbose: global.verbose,
    })
    .await
}
