//! Owns rdeploy on a terminal: a real one to the program, whose screen a test can read.

use std::io::Read;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use portable_pty::Child;
use portable_pty::CommandBuilder;
use portable_pty::MasterPty;
use portable_pty::PtySize;
use portable_pty::native_pty_system;

use super::project::Project;
use super::project::RDEPLOY;
use super::project::eventually;

/// rdeploy on a terminal.
pub(crate) struct Terminal {
    screen: Arc<Mutex<vt100::Parser>>,
    bytes: Arc<Mutex<Vec<u8>>>,
    child: Box<dyn Child + Send + Sync>,
    reader: Option<JoinHandle<()>>,
    master: Option<Box<dyn MasterPty + Send>>,
    columns: u16,
}

impl Terminal {
    /// Starts rdeploy in a project, on a terminal of that size.
    pub(crate) fn start(project: &Project, columns: u16, rows: u16, args: &[&str]) -> Self {
        Self::start_with(project, columns, rows, args, &[])
    }

    /// Starts it with more variables.
    pub(crate) fn start_with(
        project: &Project,
        columns: u16,
        rows: u16,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(RDEPLOY);
        command.args(args);
        command.cwd(project.file(""));
        command.env_clear();
        for (name, value) in project.environment() {
            command.env(name, value);
        }
        command.env("TERM", "xterm-256color");
        for (name, value) in env {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            rows.try_into().unwrap(),
            columns.try_into().unwrap(),
            1_000,
        )));
        let mut source = pair.master.try_clone_reader().unwrap();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (into, kept) = (Arc::clone(&screen), Arc::clone(&bytes));
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = source.read(&mut buffer) {
                into.lock().unwrap().process(&buffer[..n]);
                kept.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { screen, bytes, child, reader: Some(reader), master: Some(pair.master), columns }
    }

    /// What stands on the screen, without what is blank at the right and below.
    pub(crate) fn screen(&self) -> String {
        let parser = self.screen.lock().unwrap();
        let rows: Vec<String> =
            parser.screen().rows(0, self.columns).map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    /// Waits until the screen is as wanted; returns it.
    pub(crate) fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut seen = String::new();
        eventually(&format!("{what} on the screen"), || {
            seen = self.screen();
            let running = matches!(self.child.try_wait(), Ok(None));
            is(&seen) || {
                assert!(running, "it ended before {what} was on the screen:\n{}", self.screen());
                false
            }
        });
        seen
    }

    /// Types something.
    pub(crate) fn types(&mut self, text: &str) {
        let mut writer = self.master.as_ref().unwrap().take_writer().unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    /// Everything that was written to it.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }

    /// Waits for the end; returns the exit code and the screen.
    pub(crate) fn wait(mut self) -> (u32, String) {
        let code = self.until_its_end();
        (code, self.screen())
    }

    /// Waits for the end; returns the exit code.
    pub(crate) fn until_its_end(&mut self) -> u32 {
        let until = Instant::now() + Duration::from_secs(120);
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.exit_code();
            }
            assert!(Instant::now() < until, "it did not end:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        };
        // What it wrote last is read before the terminal is closed.
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        code
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
