//! Owns one guardian and its client's side of the talk, as plain calls.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;

use super::Parcel;
use super::Rig;
use super::rig::PATIENCE;
use crate::host::agent;
use crate::host::protocol::Line;
use crate::host::protocol::Say;
use crate::host::settings::Attempt;
use crate::host::settings::SessionSettings;
use crate::host::settings::Verb;

/// What came of an intent: code 0 for "ok"; none when the guardian ended first.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: Option<u32>,
    pub(super) says: Vec<Say>,
}

impl Answer {
    #[track_caller]
    pub(super) fn ok(self) -> Vec<Say> {
        assert_eq!(self.code, Some(0), "{:?}", self.says);
        self.says
    }

    #[track_caller]
    pub(super) fn failed(self, code: u32) -> Vec<Say> {
        assert_eq!(self.code, Some(code), "{:?}", self.says);
        self.says
    }
}

/// What came of a program on a channel of its own.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) code: Option<i32>,
    pub(super) output: String,
}

pub(super) struct Guardian<'a> {
    pub(super) rig: &'a Rig,
    pub(super) settings: SessionSettings,
    pub(super) child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
    seq: u64,
}

impl<'a> Guardian<'a> {
    /// Starts a guardian as sshd would, and hands it its settings.
    pub(super) fn start(rig: &'a Rig, settings: SessionSettings) -> Self {
        Self::start_by(rig, settings, &rig.boot(), |_| ())
    }

    /// The same, from another line of a login shell, or with other surroundings.
    pub(super) fn start_by(
        rig: &'a Rig,
        settings: SessionSettings,
        line: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let mut guardian = Self::start_alone(rig, settings, line, prepare);
        // What the real client sends only when it is asked, after its settings, which end no line.
        let kept = Path::new(&agent::path(&rig.root().to_string_lossy())).exists();
        let agent = if kept { Bytes::new() } else { agent::parcel().unwrap() };
        let before: &[u8] = if kept { b"" } else { b"1\n\x1f\x8b\0settings" };
        guardian.give(&[before, &agent, &guardian.settings.parcel().unwrap()].concat());
        guardian
    }

    /// The same where it is asked for the checks and the lock at once, as question 1, and has not got its settings yet.
    pub(super) fn start_early(rig: &'a Rig, settings: SessionSettings) -> Self {
        let early = settings.early().unwrap();
        let root = rig.root().to_string_lossy().into_owned();
        let line = agent::boot(&root, Some((&early, "1 preflight lock"))).to_string();
        let mut guardian = Self::start_alone(rig, settings, &line, |_| ());
        guardian.seq = 1;
        guardian
    }

    /// Writes to its input.
    pub(super) fn give(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn start_alone(
        rig: &'a Rig,
        settings: SessionSettings,
        line: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = rig.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n') {
                let Ok(line) = line else { break };
                let _ = sender.send(Line::parse(&String::from_utf8_lossy(&line)));
            }
        });
        Self { rig, settings, child, stdin: Some(stdin), lines, seq: 0 }
    }

    /// Starts a guardian and takes the lock.
    pub(super) fn locked(rig: &'a Rig, settings: SessionSettings) -> Self {
        let mut guardian = Self::start(rig, settings);
        guardian.ask("lock").ok();
        guardian
    }

    pub(super) fn send(&mut self, intent: &str) -> u64 {
        self.seq += 1;
        let line = format!("{} {intent}\n", self.seq);
        // A guardian that is gone is noticed when its answer does not come.
        let _ = self.stdin.as_mut().unwrap().write_all(line.as_bytes());
        self.seq
    }

    /// Waits for the answer to an intent.
    #[track_caller]
    pub(super) fn answer(&mut self, seq: u64) -> Answer {
        let mut says = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(Line::Say(say)) => says.push(say),
                Ok(Line::Ok(number)) if number == seq => return Answer { code: Some(0), says },
                Ok(Line::Failed(number, code)) if number == seq => return Answer { code: Some(code), says },
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Answer { code: None, says },
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("no answer to {seq}; it said {says:?}"),
            }
        }
    }

    #[track_caller]
    pub(super) fn ask(&mut self, intent: &str) -> Answer {
        let seq = self.send(intent);
        self.answer(seq)
    }

    pub(super) fn begin(&mut self, attempt: &Attempt) {
        self.ask(&format!("begin {}", attempt.line())).ok();
    }

    /// Starts a program beside the guardian.
    pub(super) fn start_beside(&self, part: &str, args: &[&str]) -> Child {
        let line = agent::beside(&self.settings.run(), part, args).to_string();
        let mut command = self.rig.command(&line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command.spawn().unwrap()
    }

    /// The same, and gives it all of its input.
    fn start_fed(&self, part: &str, args: &[&str], input: &[u8]) -> Child {
        let mut child = self.start_beside(part, args);
        // What refuses its input is judged by its exit code.
        let _ = child.stdin.take().unwrap().write_all(input);
        child
    }

    /// Runs a program beside the guardian to its end.
    pub(super) fn beside(&self, part: &str, args: &[&str], input: &[u8]) -> Beside {
        finish(self.start_fed(part, args, input))
    }

    /// What the last action of that name wrote.
    pub(super) fn written(&self, action: &str) -> String {
        self.beside("output", &[action], b"").output
    }

    pub(super) fn upload(&mut self, parcel: &Parcel) {
        let sent = self.receive(parcel);
        assert_eq!(sent.code, Some(0), "{}", sent.output);
    }

    /// Sends everything, and judges nothing.
    pub(super) fn receive(&self, parcel: &Parcel) -> Beside {
        finish(self.start_receive(parcel))
    }

    /// The same, without waiting for what comes of it.
    pub(super) fn start_receive(&self, parcel: &Parcel) -> Child {
        let args = parcel.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.start_fed("receive", &args, &[&parcel.manifest[..], &parcel.content].concat())
    }

    /// Everything up to the switch.
    pub(super) fn ready(&mut self, release: &str, parcel: &Parcel) {
        self.begin(&attempt(self.rig, release, parcel));
        self.upload(parcel);
        self.act("prepare");
        self.act("ready");
    }

    /// An action that has to succeed.
    #[track_caller]
    pub(super) fn act(&mut self, action: &str) -> Vec<Say> {
        let answer = self.ask(action);
        assert_eq!(answer.code, Some(0), "{action}: {:?} {}", answer.says, self.written(action));
        answer.says
    }

    /// Everything up to and including the switch.
    pub(super) fn switch(&mut self, release: &str, parcel: &Parcel) {
        self.ready(release, parcel);
        self.act("activate");
    }

    /// A whole deploy.
    pub(super) fn deploy(mut self, release: &str, parcel: &Parcel) {
        self.switch(release, parcel);
        self.act("commit");
        self.act("finish");
        self.bye();
    }

    /// A whole rollback.
    pub(super) fn rolls_back(rig: &'a Rig, token: &str, release: &str) {
        let mut settings = rig.settings(token);
        settings.verb = Verb::Rollback;
        let mut guardian = Self::locked(rig, settings);
        guardian.begin(&attempt(rig, release, &Parcel::of("none")));
        for action in ["ready", "activate", "commit", "finish"] {
            guardian.act(action);
        }
        guardian.bye();
    }

    pub(super) fn bye(mut self) {
        self.ask("bye").ok();
        assert!(self.child.wait().unwrap().success());
    }

    /// The client dies: its end of both pipes is gone.
    pub(super) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// The guardian itself is killed, and then sshd closes the channel: the other way round it might still
    /// begin to put its host back.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.stdin = None;
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }
}

/// An attempt at making `release` live on a host as it stands.
pub(super) fn attempt(rig: &Rig, release: &str, parcel: &Parcel) -> Attempt {
    Attempt {
        release: release.to_owned(),
        previous: rig.current().unwrap_or_default(),
        digest: parcel.digest.clone(),
        commit: "c0ffee".to_owned(),
        branch: "main".to_owned(),
        absent: Vec::new(),
    }
}

/// Waits for a program; its output and error output together.
pub(super) fn finish(child: Child) -> Beside {
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Beside { code: output.status.code(), output: String::from_utf8_lossy(&text).into_owned() }
}

impl Drop for Guardian<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
