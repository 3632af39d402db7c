//! `rdeploy ENVIRONMENT logs`: what the live release's app writes, from its supervisor. Reads only.

use std::path::Path;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::Fatal;
use super::crew;
use super::crew::Crew;
use super::crew::Hand;
use super::hosts::HostsArgs;
use super::launch;
use crate::config::Environment;
use crate::deploy::Outcome;
use crate::host::Verb;
use crate::report;

/// Arguments of `logs`.
#[derive(Args, Debug)]
pub(super) struct LogsArgs {
    /// Go on showing what is written, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines, of each log
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    lines: u32,
    #[command(flatten)]
    hosts: HostsArgs,
}

pub(super) async fn run(environment: &Environment, root: &Path, args: LogsArgs) -> Result<u8, Fatal> {
    let stop = CancellationToken::new();
    launch::cancel_on_signal(&stop);
    let crew = tokio::select! {
        crew = Crew::reach_some(environment, root, Verb::Releases, &args.hosts) => crew?,
        () = stop.cancelled() => return Ok(Outcome::Interrupted.code()),
    };
    let width = crew.hands.iter().map(|hand| hand.name.chars().count()).max().unwrap_or(0);
    // Who reads may have read enough (`| head`).
    let unread = CancellationToken::new();
    let follow = args.follow;
    let show = |hand: &Hand, line: &str| {
        let text = format!("{:width$} | {}", hand.name, report::shown(line));
        if report::result(text.trim_end()).is_err() {
            unread.cancel();
        }
    };
    let read = async |hand: &Hand| {
        let session = hand.session.as_ref().map_err(Clone::clone)?;
        let told = std::sync::Mutex::new(Vec::new());
        let heard = |line: &str| match told.lock() {
            Ok(mut told) if !follow => told.push(line.to_owned()),
            _ => show(hand, line),
        };
        let read = session.logs(args.lines, follow, &heard).await;
        read.map_err(|error| error.to_string())?;
        Ok::<Vec<String>, String>(told.into_inner().unwrap_or_default())
    };
    let reads = async {
        // One host's lines after the other's, where all have an end.
        let reads = futures_util::future::join_all(crew.hands.iter().map(read)).await;
        let mut failed = Vec::new();
        for (hand, read) in crew.hands.iter().zip(reads) {
            match read {
                Ok(lines) => lines.iter().for_each(|line| show(hand, line)),
                Err(why) => failed.push((hand.name.clone(), why)),
            }
        }
        failed
    };
    let failed = tokio::select! {
        failed = reads => failed,
        // That is how following ends.
        () = stop.cancelled() => return Ok(if follow { Outcome::Done } else { Outcome::Interrupted }.code()),
        () = unread.cancelled() => return Ok(Outcome::Done.code()),
    };
    crew.close().await;
    if failed.is_empty() {
        return Ok(Outcome::Done.code());
    }
    let lines = failed.iter().map(|(host, why)| (host.as_str(), why.clone()));
    Err(crew::refusal(Outcome::Preflight, "the log of some hosts could not be read", lines))
}
