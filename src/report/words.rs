//! Owns the words for each event: which place it is about, what is said, and how loudly. Every reporter
//! says the same thing in the same words; each decides how it looks. Text from elsewhere is made safe
//! here, so that no reporter can forget it.

use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Proof;
use crate::event::Wait;

use super::format;
use super::text;

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The run as a whole.
    Run,
    /// This machine.
    Local,
    /// A host.
    Host(String),
}

/// What kind of news it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// What the run is.
    Title,
    /// A step.
    Step,
    /// Something went well.
    Good,
    /// Something to look at.
    Warning,
    /// Something failed.
    Bad,
    /// What a command wrote.
    Output,
}

/// How much the user asked to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Always.
    Always,
    /// With `-v`.
    Verbose,
}

impl Level {
    /// Whether it is told to somebody who gave `-v` that many times.
    pub(crate) fn is_told(self, verbose: u8) -> bool {
        match self {
            Self::Always => true,
            Self::Verbose => verbose > 0,
        }
    }
}

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) place: Place,
    pub(crate) tone: Tone,
    pub(crate) level: Level,
    pub(crate) lines: Vec<String>,
}

/// What the user reads when they asked to stop.
pub(crate) const STOPPING: &str = "stopping: putting hosts back; press Ctrl-C again to leave it to the hosts";

/// Returns what is said about an event; nothing about the ones that only move a bar, and about the end
/// of the run, which `closing` words.
pub(crate) fn say(kind: &EventKind) -> Option<Said> {
    use Level::Always;
    use Level::Verbose;
    use Tone::Good;
    use Tone::Step;
    let said = |place, tone, level, line: String| Some(Said { place, tone, level, lines: vec![line] });
    match kind {
        EventKind::RunStarted { verb, app, environment, hosts } => {
            said(Place::Run, Tone::Title, Always, opening(verb, app, environment, hosts))
        }
        EventKind::LocalCommandStarted { command } => {
            said(Place::Local, Step, Always, format!("$ {}", self::command(command)))
        }
        EventKind::LocalCommandOutput { line } => output(Place::Local, line),
        EventKind::LocalCommandFinished { command, duration } => {
            let line = format!("{}: done in {}", self::command(command), format::span(*duration));
            said(Place::Local, Good, Always, line)
        }
        EventKind::PackProgressed { files: _, bytes: _ } => None,
        EventKind::ArtifactPacked { digest, files, bytes, compressed, reused } => {
            let verb = if *reused { "unchanged since it was last packed:" } else { "packed" };
            let compressed = compressed.map(|size| format!(" ({} compressed)", format::bytes(size)));
            let line = format!(
                "{verb} {}, {}{}, {}",
                format::count(*files, "file"),
                format::bytes(*bytes),
                compressed.unwrap_or_default(),
                text::one_line(digest).chars().take(12).collect::<String>(),
            );
            said(Place::Local, Good, Always, line)
        }
        EventKind::ArtifactStored { compressed } => {
            said(Place::Local, Good, Always, format!("compressed to {}", format::bytes(*compressed)))
        }
        EventKind::HostConnected { host } => said(at(host), Step, Verbose, "connected".to_owned()),
        // The plan of the upload says its size.
        EventKind::PhaseEntered { host: _, phase: Phase::Uploading } => None,
        EventKind::PhaseEntered { host, phase } => {
            let (tone, level) = weight(*phase);
            said(at(host), tone, level, phase_words(*phase).to_owned())
        }
        EventKind::UploadPlanned { host, files, all_files, bytes, is_exact, all_bytes, resumed } => {
            let plan = upload(*files, *all_files, (*bytes, *is_exact), *all_bytes, *resumed);
            said(at(host), Step, Verbose, format!("uploading {plan}"))
        }
        EventKind::UploadProgressed { host: _, sent: _, total: _ } => None,
        EventKind::HookStarted { host, point, command } => said(at(host), Step, Always, hook(point, command)),
        EventKind::HookOutput { host, line } => output(at(host), line),
        EventKind::HookFinished { host, point, command, duration } => {
            let line = format!("{}: done in {}", hook(point, command), format::span(*duration));
            said(at(host), Good, Always, line)
        }
        EventKind::BatchStarted { number, of, hosts } => {
            said(Place::Run, Step, Always, format!("batch {number} of {of}: {}", listed(hosts)))
        }
        EventKind::Paused { hosts, duration } => {
            let have = if hosts.len() == 1 { "has" } else { "have" };
            let took = format::running(*duration);
            said(Place::Run, Step, Always, format!("pause of {took}: {} {have} to stay well", listed(hosts)))
        }
        EventKind::Switched { host, release } => {
            said(at(host), Step, Always, format!("current is now {}", text::one_line(release)))
        }
        EventKind::Verified { host, release, proof, detail } => {
            let release = text::one_line(release);
            let detail = text::joined(detail);
            let line = match (proof, detail.is_empty()) {
                (Proof::Proven, true) => format!("proven to run {release}"),
                (Proof::Proven, false) => format!("proven to run {release}: {detail}"),
                (Proof::Unprovable, true) => format!("looks healthy on {release}, but {UNPROVABLE}"),
                (Proof::Unprovable, false) => {
                    format!("looks healthy on {release}, but {UNPROVABLE}: {detail}")
                }
            };
            said(at(host), Good, Always, line)
        }
        EventKind::Noted { host, text } => {
            said(maybe_at(host), Step, Always, format!("note: {}", text::joined(text)))
        }
        EventKind::Warned { host, text } => {
            said(maybe_at(host), Tone::Warning, Always, format!("warning: {}", text::joined(text)))
        }
        EventKind::Failed { host, error, hint: _, output: _ } => {
            said(maybe_at(host), Tone::Bad, Always, format!("failed: {}", text::joined(error)))
        }
        // The lines of the phases around it say enough.
        EventKind::HostWaiting { host: _, wait: _ } => None,
        EventKind::HostTraffic { host, round_trips, sent, received } => {
            said(at(host), Step, Verbose, traffic(*round_trips, *sent, *received))
        }
        EventKind::Interrupted => said(Place::Run, Tone::Warning, Always, STOPPING.to_owned()),
        EventKind::RunFinished { summary: _ } => None,
    }
}

const UNPROVABLE: &str = "where its processes run from could not be read";

fn at(host: &str) -> Place {
    Place::Host(text::one_line(host))
}

fn maybe_at(host: &Option<String>) -> Place {
    host.as_deref().map_or(Place::Run, at)
}

fn output(place: Place, line: &str) -> Option<Said> {
    let lines = text::lines(line).collect();
    Some(Said { place, tone: Tone::Output, level: Level::Verbose, lines })
}

/// The longest part of a command that a line about it shows; a failure shows it whole.
const LONGEST_COMMAND: usize = 60;

/// A command's name, as it is shown in lines.
pub(crate) fn command(command: &str) -> String {
    format::cut(&text::one_line(command), LONGEST_COMMAND)
}

/// A hook's name, as it is shown everywhere.
pub(crate) fn hook(point: &str, what: &str) -> String {
    format!("{}: {}", text::one_line(point), command(what))
}

/// What an upload is: `4.1 MB` (`about 4 MB`, if that is an estimate), or `1.2 kB of 4.1 MB (3 of 200 files changed)`
/// where the rest is there already.
pub(crate) fn upload(
    files: usize,
    all_files: usize,
    (bytes, is_exact): (u64, bool),
    all_bytes: Option<u64>,
    resumed: bool,
) -> String {
    let mut plan = format::bytes(bytes);
    if !is_exact {
        plan.insert_str(0, "about ");
    }
    if files >= all_files {
        return plan;
    }
    if let Some(all_bytes) = all_bytes.filter(|all| bytes < *all) {
        plan.push_str(&format!(" of {}", format::bytes(all_bytes)));
    }
    let what = if resumed { "were still missing" } else { "changed" };
    let (files, all_files) = (format::number(files), format::count(all_files, "file"));
    format!("{plan} ({files} of {all_files} {what})")
}

/// `deploy of shop on prod: web1.example.com, web2.example.com`
pub(crate) fn opening(verb: &str, app: &str, environment: &str, hosts: &[String]) -> String {
    let mut line = format!("{} of {}", text::one_line(verb), text::one_line(app));
    if !environment.is_empty() {
        line.push_str(" on ");
        line.push_str(&text::one_line(environment));
    }
    if !hosts.is_empty() {
        line.push_str(": ");
        line.push_str(&listed(hosts));
    }
    line
}

/// The first hosts by name, and how many more there are.
fn listed(hosts: &[String]) -> String {
    let named: Vec<_> = hosts.iter().take(8).map(|host| text::one_line(host)).collect();
    let mut line = named.join(", ");
    if hosts.len() > named.len() {
        line.push_str(&format!(" and {} more", hosts.len() - named.len()));
    }
    line
}

/// `4 round trips after the login, 21.0 kB sent, 9.1 kB received`
pub(crate) fn traffic(round_trips: u32, sent: u64, received: u64) -> String {
    let trips = format::count(usize::try_from(round_trips).unwrap_or(usize::MAX), "round trip");
    format!("{trips} after the login, {} sent, {} received", format::bytes(sent), format::bytes(received))
}

/// What a host waits for.
pub(crate) fn wait_words(wait: Wait) -> &'static str {
    match wait {
        Wait::Start => "waiting for the release and for the checks of the other hosts",
        Wait::Locks => "waiting for the locks of the other hosts",
        Wait::Turn => "waiting for its turn to be put back",
    }
}

/// What a host does in a phase.
pub(crate) fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Connecting => "connecting",
        Phase::Checking => "checking",
        Phase::Locking => "locking",
        Phase::Uploading => "uploading",
        Phase::Preparing => "preparing",
        Phase::Waiting => "waiting for the other hosts",
        Phase::Switching => "switching",
        Phase::Verifying => "verifying",
        Phase::Finishing => "finishing",
        Phase::Reverting => "putting back",
        Phase::Done => "done",
        Phase::Reverted => "put back: runs what it ran before",
        Phase::Failed => "failed",
        Phase::LeftOut => "left out",
    }
}

fn weight(phase: Phase) -> (Tone, Level) {
    match phase {
        // A failure has an event of its own, with its text.
        Phase::Connecting | Phase::Checking | Phase::Locking | Phase::Uploading => {
            (Tone::Step, Level::Verbose)
        }
        Phase::Waiting | Phase::Finishing => (Tone::Step, Level::Verbose),
        Phase::Preparing | Phase::Switching | Phase::Verifying => (Tone::Step, Level::Always),
        Phase::Failed => (Tone::Bad, Level::Verbose),
        // A warning says why.
        Phase::LeftOut => (Tone::Warning, Level::Verbose),
        Phase::Reverting | Phase::Reverted => (Tone::Warning, Level::Always),
        Phase::Done => (Tone::Good, Level::Always),
    }
}
