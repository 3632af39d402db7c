//! Owns one run of rdeploy: its output, its exit code, its memory, and signals to it.

use std::fs;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;

/// No deploy of a test takes this long; one that does hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// rdeploy at work.
pub(crate) struct Running {
    child: Child,
    said: Option<(JoinHandle<String>, JoinHandle<String>)>,
    peak: Option<JoinHandle<u64>>,
    started: Instant,
}

/// rdeploy after its end.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote, standard output first.
    pub(crate) said: String,
    /// The most memory it held at once, in bytes.
    pub(crate) peak_memory: u64,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Running {
    /// Starts the command, with nothing to read.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        let pid = child.id();
        let peak = std::thread::spawn(move || peak_memory(pid));
        Self { child, said: Some(said), peak: Some(peak), started: Instant::now() }
    }

    /// Ends it as a crash of the machine would: it can do nothing about it.
    pub(crate) fn kill(mut self) {
        self.still_runs();
        self.child.kill().unwrap();
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&mut self) {
        self.still_runs();
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Fails the test if it has ended: the moment the test waited for must lie within the run.
    pub(crate) fn still_runs(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            let said = self.collected();
            panic!("rdeploy ended before the moment this test is about; it said:\n{said}");
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Run {
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            if self.started.elapsed() > LIMIT {
                self.child.kill().unwrap();
                let said = self.collected();
                panic!("rdeploy did not end within {LIMIT:?}; it said:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = self.started.elapsed();
        let peak_memory = self.peak.take().unwrap().join().unwrap();
        Run { code, said: self.collected(), peak_memory, took }
    }

    fn collected(&mut self) -> String {
        let _ = self.child.wait();
        let (out, err) = self.said.take().unwrap();
        out.join().unwrap() + &err.join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Run {
    /// Asserts how it ended.
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "rdeploy's exit code; it said:\n{}", self.said);
        self
    }

    /// Asserts that what it wrote names something.
    pub(crate) fn says(self, part: &str) -> Self {
        assert!(self.said.contains(part), "rdeploy did not say {part:?}; it said:\n{}", self.said);
        self
    }

    /// Asserts that what it wrote names one of these.
    pub(crate) fn says_any(self, parts: &[&str]) -> Self {
        let found = parts.iter().any(|part| self.said.to_lowercase().contains(&part.to_lowercase()));
        assert!(found, "rdeploy said none of {parts:?}; it said:\n{}", self.said);
        self
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Reads the kernel's high-water mark until the process has ended: it only grows.
fn peak_memory(pid: u32) -> u64 {
    let mut peak = 0;
    while let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
        let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        // A process that has ended but was not waited for has no memory any more.
        let Some(mark) = mark else { break };
        let kibibytes: u64 = mark.trim().trim_end_matches(" kB").parse().unwrap();
        peak = peak.max(kibibytes * 1024);
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}
