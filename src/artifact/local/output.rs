//! Owns turning what a command writes into lines: as they come, without limits on what a
//! command may write, but with limits on what is kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;

use crate::event::EventKind;
use crate::event::Events;

/// A longer line is stated in pieces.
const MAX_LINE: usize = 8 * 1024;
/// That many lines are kept for the error.
const KEPT: usize = 20;

/// The output of one command.
#[derive(Clone)]
pub(super) struct Output {
    events: Events,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Output {
    pub(super) fn new(events: Events) -> Self {
        Self { events, last: Arc::default() }
    }

    /// Reads what it writes to its end.
    pub(super) async fn read(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 16 * 1024];
        let mut line = Vec::new();
        loop {
            // A pipe that cannot be read any more is a pipe that ended.
            let count = from.read(&mut buffer).await.unwrap_or(0);
            if count == 0 {
                break;
            }
            for byte in buffer.iter().take(count) {
                if *byte == b'\n' {
                    self.state(&line);
                    line.clear();
                    continue;
                }
                line.push(*byte);
                if line.len() >= MAX_LINE {
                    let rest = line.split_off(end_of_whole_characters(&line));
                    self.state(&line);
                    line = rest;
                }
            }
        }
        if !line.is_empty() {
            self.state(&line);
        }
    }

    fn state(&self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // A progress bar redraws its line; what a terminal would show at the end is its last state.
        let line = line.rsplit(|b| *b == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        self.events.emit(EventKind::LocalCommandOutput { line: line.clone() });
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(line);
    }

    /// Returns the last lines.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Returns where to cut a text that goes on, so that no character is cut in two.
fn end_of_whole_characters(text: &[u8]) -> usize {
    match text.iter().rposition(|b| b & 0xc0 != 0x80) {
        Some(at) if at > 0 && text.get(at).is_some_and(|b| !b.is_ascii()) => at,
        _ => text.len(),
    }
}
