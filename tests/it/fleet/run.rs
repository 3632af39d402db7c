//! Owns one run of rdeploy: its output, its exit code, its memory, and signals to it.

use std::fs;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
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
    said: Option<(Collected, Collected)>,
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
        let said = (Collected::of(child.stdout.take().unwrap()), Collected::of(child.stderr.take().unwrap()));
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

    /// What it has written so far, standard output first.
    pub(crate) fn said(&self) -> String {
        self.said.as_ref().map(|(out, err)| out.so_far() + &err.so_far()).unwrap_or_default()
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
        out.finish() + &err.finish()
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

    /// The line for sudoers that it asks for.
    pub(crate) fn sudoers_line(&self) -> &str {
        let line =
            self.said.split("/etc/sudoers.d on the host: ").nth(1).and_then(|rest| rest.lines().next());
        line.unwrap_or_else(|| panic!("rdeploy asked for no rights; it said:\n{}", self.said))
    }

    /// Asserts that what it wrote names one of these.
    pub(crate) fn says_any(self, parts: &[&str]) -> Self {
        let found = parts.iter().any(|part| self.said.to_lowercase().contains(&part.to_lowercase()));
        assert!(found, "rdeploy said none of {parts:?}; it said:\n{}", self.said);
        self
    }
}

/// What one of its pipes has brought so far, and the thread that reads it to its end.
struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Collected {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                into.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        Self { text, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn finish(self) -> String {
        self.reader.join().unwrap();
        let text = self.text.lock().unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }
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
