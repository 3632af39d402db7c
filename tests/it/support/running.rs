//! Owns one run of rdeploy, from outside: its output as it comes, signals to it, and its end.

use std::cell::RefCell;
use std::fmt;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;

use super::project::eventually;
use super::shown;
use super::shown::Names;

/// No run of a test takes this long; one that does hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// rdeploy at work.
pub(crate) struct Running {
    child: Child,
    out: Pipe,
    err: Pipe,
    names: Rc<RefCell<Names>>,
}

/// rdeploy after its end.
pub(crate) struct Ended {
    /// Its exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output, as it was written.
    pub(crate) out: String,
    /// Standard error, as it was written.
    pub(crate) err: String,
    names: Rc<RefCell<Names>>,
}

struct Pipe {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Pipe {
    fn of(mut source: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = source.read(&mut buffer) {
                into.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    fn finish(&mut self) -> String {
        self.reader.take().map(JoinHandle::join).transpose().unwrap();
        self.text()
    }
}

impl Running {
    pub(super) fn start(mut command: Command, names: Rc<RefCell<Names>>) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (Pipe::of(child.stdout.take().unwrap()), Pipe::of(child.stderr.take().unwrap()));
        Self { child, out, err, names }
    }

    /// Everything it has said so far.
    pub(crate) fn said(&self) -> String {
        self.out.text() + &self.err.text()
    }

    /// Waits until it has said something.
    pub(crate) fn until_it_says(&mut self, part: &str) {
        eventually(&format!("{part:?}"), || {
            let said = self.said().contains(part);
            assert!(said || self.is_running(), "it ended without saying {part:?}:\n{}", self.said());
            said
        });
    }

    /// Waits until something is so while it runs.
    pub(crate) fn until(&mut self, what: &str, mut is: impl FnMut() -> bool) {
        eventually(what, || {
            let is = is();
            assert!(is || self.is_running(), "it ended before {what}:\n{}", self.said());
            is
        });
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        !self.is_running()
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal; the moment the test waited for must lie within the run.
    pub(crate) fn signal(&mut self, signal: Signal) {
        assert!(self.is_running(), "it ended before the moment this test is about:\n{}", self.said());
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&mut self) {
        self.signal(Signal::INT);
    }

    /// Ends it as the end of its machine would: it can do nothing about it.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        let status = self.await_status();
        let (out, err) = (self.out.finish(), self.err.finish());
        // Releases are numbered in the order of the runs, shown or not.
        self.names.borrow_mut().name(&(out.clone() + &err));
        Ended { code: status.code(), out, err, names: Rc::clone(&self.names) }
    }

    fn await_status(&mut self) -> ExitStatus {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                panic!("it did not end within {LIMIT:?}:\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Asserts its exit code.
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "its exit code\n{self}");
        self
    }

    /// Asserts that standard error names something.
    pub(crate) fn tells(self, part: &str) -> Self {
        assert!(self.err.contains(part), "standard error does not say {part:?}\n{self}");
        self
    }

    /// Asserts that standard output names something.
    pub(crate) fn says(self, part: &str) -> Self {
        assert!(self.out.contains(part), "standard output does not say {part:?}\n{self}");
        self
    }

    /// Standard error, with names for what differs from run to run.
    pub(crate) fn error(&self) -> String {
        self.names.borrow_mut().name(&self.err)
    }

    /// Standard error, likewise, of a failure that several hosts meet at the same moment: the same is shown whichever
    /// of them met it first, and whether or not another one had met it before it was told to stop.
    pub(crate) fn failure(&self) -> String {
        let shown = self.error();
        let mut blocks: Vec<&str> = shown.trim_start().split("\n\n").collect();
        blocks.dedup();
        blocks.join("\n\n")
    }

    /// Standard output, likewise, with the lines of each host together.
    pub(crate) fn output(&self) -> String {
        shown::by_host(&self.names.borrow_mut().name(&self.out))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        write!(f, "exit code: {code}\n--- stdout\n{}--- stderr\n{}", self.output(), self.error())
    }
}
