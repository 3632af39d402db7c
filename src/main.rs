//! Parses, runs, maps the error to its exit code.

fn main() {}
