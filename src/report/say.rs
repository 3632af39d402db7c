//! Owns what is said outside a run: a command's result, and an error that ended it before it began.

use std::error::Error;
use std::io;
use std::io::Write;

use super::options::Options;
use super::paint::Paint;
use super::text;

/// Writes a command's result, one or more lines, to standard output.
pub fn result(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in text.lines() {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

/// Writes something worth knowing, while a command without a run of its own is at work, to standard error.
pub fn note(text: &str) {
    let mut out = io::stderr().lock();
    // There is nobody left to tell when standard error is gone.
    let _ = writeln!(out, "note: {}", text::joined(text));
}

/// Writes a report that has its own lines and colours to standard error.
pub fn rendered(report: &str) {
    let mut out = io::stderr().lock();
    // There is nobody left to tell when standard error is gone.
    let _ = out.write_all(report.trim_end().as_bytes()).and_then(|()| out.write_all(b"\n"));
}

/// Writes an error with its causes, and what to do next, to standard error. Multi-line errors (a place
/// in a file with its caret) keep their lines.
pub fn error(error: &dyn Error, hint: Option<&str>) {
    let paint = Paint { color: Options::wants_color_on_stderr() };
    // There is nobody left to tell when standard error is gone.
    let _ = io::stderr().lock().write_all(error_text(error, hint, paint).as_bytes());
}

fn error_text(error: &dyn Error, hint: Option<&str>, paint: Paint) -> String {
    let mut said = error.to_string();
    let mut block =
        format!("{} {}\n", paint.bad("error:"), text::lines(&said).collect::<Vec<_>>().join("\n"));
    let mut cause = error.source();
    while let Some(source) = cause {
        let text = source.to_string();
        // Many errors already end with their cause.
        if !said.contains(&text) {
            block.push_str(&format!("  because: {}\n", text::joined(&text)));
        }
        said = text;
        cause = source.source();
    }
    if let Some(hint) = hint {
        block.push_str(&format!("  {} {}\n", paint.bold("hint:"), text::joined(hint)));
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not read `deploy.toml`")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("the disk said: {0}")]
    struct Middle(#[source] io::Error);

    #[test]
    fn an_error_shows_each_cause_once_and_what_to_do() {
        let error = Outer(Middle(io::Error::other("bad\x1b[2J sector")));
        let text = error_text(&error, Some("run it again"), Paint { color: false });
        insta::assert_snapshot!(text, @r"
        error: could not read `deploy.toml`
          because: the disk said: bad sector
          hint: run it again
        ");
    }
}
