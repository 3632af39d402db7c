//! Owns the full log of a run: a file of plain text, readable only by the user, with every event and
//! everything the commands wrote. Keeps the newest ones. Knows no terminal.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use etcetera::BaseStrategy;

use crate::event::Event;
use crate::event::EventKind;

use super::closing;
use super::closing::Closing;
use super::format;
use super::paint::Paint;
use super::run::Run;
use super::text;
use super::words;
use super::words::Place;

/// How many logs are kept.
const KEPT: usize = 50;

/// Names another place for logs and the like than the user's state directory.
pub const STATE_DIR_VARIABLE: &str = "RDEPLOY_STATE_DIR";

/// Returns the directory for what rdeploy keeps on this machine: `$RDEPLOY_STATE_DIR`, else `rdeploy` in
/// the user's state directory; nothing when the user has no home.
pub fn state_dir() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(STATE_DIR_VARIABLE).filter(|named| !named.is_empty()) {
        return std::path::absolute(PathBuf::from(named)).ok();
    }
    let user = etcetera::choose_base_strategy().ok()?;
    Some(user.state_dir()?.join("rdeploy"))
}

/// Returns a path for the log of a run that starts now, in `logs/` of `state_dir`: makes the directory
/// (only the user may enter it) and removes the oldest logs, so that 50 are there with this one.
pub fn new_log_path(state_dir: &Path, environment: &str) -> io::Result<PathBuf> {
    new_log_path_at(state_dir, environment, jiff::Timestamp::now())
}

fn new_log_path_at(state_dir: &Path, environment: &str, now: jiff::Timestamp) -> io::Result<PathBuf> {
    let logs = state_dir.join("logs");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&logs)?;
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o700))?;
    prune(&logs)?;
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let environment: String = environment.chars().map(safe).take(64).collect();
    let utc = now.strftime("%Y%m%dT%H%M%SZ");
    Ok(logs.join(format!("{utc}-{environment}-{}.log", std::process::id())))
}

/// Removes the oldest logs (their names begin with their time) until there is room for one more.
fn prune(logs: &Path) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(logs)?
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| is_log(name))
        .collect();
    names.sort();
    let surplus = (names.len() + 1).saturating_sub(KEPT);
    for name in names.iter().take(surplus) {
        match fs::remove_file(logs.join(name)) {
            // Another run removed it first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

fn is_log(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let stamp = name.get(..16).is_some_and(|stamp| {
        stamp.bytes().zip(*b"00000000T000000Z").all(|(b, shape)| match shape {
            b'0' => b.is_ascii_digit(),
            shape => b == shape,
        })
    });
    stamp && name.ends_with(".log")
}

/// Opens a log for appending, readable only by the user.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The reporter that writes the log.
pub(crate) struct Log<W> {
    writer: Option<W>,
    run: Run,
    /// What was last written of each thing that only moves a bar, to write it at most once a second.
    written: HashMap<String, Duration>,
}

impl<W: Write> Log<W> {
    /// Returns a log that writes to `writer`, or nowhere.
    pub(crate) fn new(writer: Option<W>) -> Self {
        Self { writer, run: Run::default(), written: HashMap::new() }
    }

    /// Writes one event. The first failure is returned; nothing is written after it.
    pub(crate) fn on(&mut self, event: &Event) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let lines = lines(event, &mut self.run, &mut self.written);
        let seconds = event.elapsed.as_secs_f64();
        let text: String = lines
            .iter()
            .map(|line| format!("[{seconds:>9.3}] {line}").trim_end().to_owned() + "\n")
            .collect();
        if let Err(error) = writer.write_all(text.as_bytes()).and_then(|()| writer.flush()) {
            self.writer = None;
            return Err(error);
        }
        Ok(())
    }
}

fn lines(event: &Event, run: &mut Run, written: &mut HashMap<String, Duration>) -> Vec<String> {
    run.apply(event);
    let mut seldom = |what: String, last: bool| {
        let due = written.get(&what).is_none_or(|at| event.elapsed >= *at + Duration::from_secs(1));
        if due || last {
            written.insert(what, event.elapsed);
        }
        due || last
    };
    match &event.kind {
        EventKind::PackProgressed { files, bytes } => match seldom("packing".to_owned(), false) {
            true => {
                let files = format::count(usize::try_from(*files).unwrap_or(usize::MAX), "file");
                vec![format!("local | packing: {files}, {}", format::bytes(*bytes))]
            }
            false => Vec::new(),
        },
        EventKind::UploadProgressed { host, sent, total } => {
            let host = text::one_line(host);
            match seldom(host.clone(), sent >= total) {
                true => vec![format!("{host} | sent {sent} of {total} bytes")],
                false => Vec::new(),
            }
        }
        EventKind::HostWaiting { host, wait } => {
            vec![format!("{} | {}", text::one_line(host), words::wait_words(*wait))]
        }
        EventKind::LocalCommandOutput { line } => output("local", line),
        EventKind::HookOutput { host, line } => output(&text::one_line(host), line),
        EventKind::RunFinished { summary: _ } => {
            match closing::closing(run, Path::new("this file"), Paint { color: false }, usize::MAX) {
                None => Vec::new(),
                Some(Closing::Good(lines) | Closing::Bad(lines)) => lines,
            }
        }
        EventKind::RunStarted { .. }
        | EventKind::LocalCommandStarted { .. }
        | EventKind::LocalCommandFinished { .. }
        | EventKind::ArtifactPacked { .. }
        | EventKind::ArtifactStored { .. }
        | EventKind::HostConnected { .. }
        | EventKind::PhaseEntered { .. }
        | EventKind::UploadPlanned { .. }
        | EventKind::HookStarted { .. }
        | EventKind::HookFinished { .. }
        | EventKind::BatchStarted { .. }
        | EventKind::Paused { .. }
        | EventKind::Switched { .. }
        | EventKind::Verified { .. }
        | EventKind::Noted { .. }
        | EventKind::Warned { .. }
        | EventKind::Failed { .. }
        | EventKind::HostTraffic { .. }
        | EventKind::Interrupted => spoken(&event.kind),
    }
}

fn spoken(kind: &EventKind) -> Vec<String> {
    let Some(said) = words::say(kind) else { return Vec::new() };
    let place = match said.place {
        Place::Run => String::new(),
        Place::Local => "local | ".to_owned(),
        Place::Host(name) => format!("{name} | "),
    };
    said.lines.iter().map(|line| format!("{place}{line}")).collect()
}

/// Output keeps every state that a terminal would have overwritten.
fn output(place: &str, line: &str) -> Vec<String> {
    text::all_lines(line).map(|line| format!("{place} |   {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(logs: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(logs).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_log_has_a_telling_name_in_a_directory_of_the_users_own() {
        let state = tempfile::tempdir().unwrap();
        let now = "2026-11-22T17:41:24Z".parse().unwrap();
        let path = new_log_path_at(&state.path().join("deep/state"), "deploy@h:/srv/../x", now).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, format!("20261122T174124Z-deploy_h__srv_.._x-{}.log", std::process::id()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        drop(open(&path).unwrap());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn the_newest_fifty_logs_are_kept_and_nothing_else_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let logs = state.path().join("logs");
        fs::create_dir(&logs).unwrap();
        for n in 0..60 {
            fs::write(logs.join(format!("20261122T1741{n:02}Z-prod-1.log")), "").unwrap();
        }
        fs::write(logs.join("notes.log"), "").unwrap();
        fs::write(logs.join("20261122T174100Z-prod-1.txt"), "").unwrap();
        let path = new_log_path(state.path(), "prod").unwrap();
        drop(open(&path).unwrap());
        let left = names(&logs);
        assert_eq!(left.iter().filter(|name| is_log(OsStr::new(name))).count(), KEPT);
        assert!(!left.contains(&"20261122T174110Z-prod-1.log".to_owned()));
        assert!(left.contains(&"20261122T174111Z-prod-1.log".to_owned()));
        assert!(left.contains(&"notes.log".to_owned()));
        assert!(left.contains(&"20261122T174100Z-prod-1.txt".to_owned()));
    }

    #[test]
    fn a_full_disk_is_told_once_and_stops_only_the_log() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut log = Log::new(Some(full));
        let event = Event { elapsed: Duration::ZERO, kind: EventKind::Interrupted };
        assert_eq!(log.on(&event).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(log.on(&event).is_ok());
    }
}
