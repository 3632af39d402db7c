//! Owns the page of timings: one HTML file that shows where a run's time went. `model` gathers it from the events,
//! `page` writes it, `axis` has the marks of time, `file` the file. Knows neither hosts nor the terminal.

mod axis;
mod file;
mod model;
mod page;
mod steps;
mod words;

use std::io;
use std::path::Path;

use crate::event::Event;

pub use file::TimingsFile;
pub use file::TimingsFileError;
use model::Timeline;

/// The reporter that writes the page. It shows what the other reporters show, made safe in the same way.
pub(super) struct Timings {
    file: TimingsFile,
    timeline: Timeline,
}

impl Timings {
    pub(super) fn new(file: TimingsFile) -> Self {
        Self { file, timeline: Timeline::default() }
    }

    /// The file that it goes to.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Takes an event in.
    pub(super) fn on(&mut self, event: &Event) {
        self.timeline.apply(event);
    }

    /// Writes the page, whole or not at all; nothing where no run has begun.
    pub(super) fn write(mut self) -> io::Result<()> {
        if !self.timeline.has_begun() {
            return Ok(());
        }
        self.timeline.close();
        self.file.write(page::page(&self.timeline).as_bytes())
    }
}
