//! Whole outputs of scripted runs.

mod plain;
mod runs;
mod safety;
mod script;
mod terminal;
mod timings;
mod uploads;
