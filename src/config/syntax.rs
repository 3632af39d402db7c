//! Owns TOML's syntax errors: which of them are believed, and how they read. The parser goes on after an
//! error, which finds the next one but also follows from the first; those are left out here.

use toml::Spanned;
use toml::de::DeTable;

use super::diagnostic::Defect;
use super::diagnostic::Diagnostic;
use super::diagnostic::Sink;
use super::diagnostic::Span;

/// What the parser says about an error that does not reach beyond its own value or key.
const LOCAL: [&str; 5] = [
    "string values must be quoted",
    "duplicate key",
    "invalid basic string",
    "invalid literal string",
    "missing escaped value",
];

/// Parses a file. Returns the tree, and the errors of the syntax in the order of the source.
pub(super) fn parse(source: &str) -> (Spanned<DeTable<'_>>, Vec<Diagnostic>) {
    let (tree, errors) = DeTable::parse_recoverable(source);
    let mut sink = Sink::new(source);
    let mut errors: Vec<(Span, String)> =
        errors.iter().map(|e| (e.span().unwrap_or_default(), e.message().to_owned())).collect();
    errors.sort_by_key(|(span, _)| (span.start, span.end));
    let mut last_line = None;
    for (span, message) in errors {
        let line = line_of(source, span.start);
        // One error a line: what follows on the same line is mostly its echo.
        if last_line == Some(line) {
            continue;
        }
        last_line = Some(line);
        let help = help(&message, source.get(span.clone()).unwrap_or_default());
        sink.report(&span, Defect::new(format!("not TOML: {message}"), help));
        if !is_local(&message) {
            break;
        }
    }
    (tree, sink.finish())
}

/// Returns those of the other defects that are to be believed although the syntax is broken: nothing that
/// is only absent (it may stand in the broken part), nothing on a broken line, and nothing after an error
/// that the parser may have misread the rest of the file for.
pub(super) fn believable(source: &str, syntax: &[Diagnostic], others: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let broken: Vec<usize> = syntax.iter().map(|d| line_of(source, d.span.start)).collect();
    let reaching = syntax.iter().find(|d| !is_local(d.defect.message.trim_start_matches("not TOML: ")));
    let end = reaching.map_or(usize::MAX, |d| line_of(source, d.span.start));
    let keep = |d: &Diagnostic| {
        let line = line_of(source, d.span.start);
        !d.absence && !broken.contains(&line) && line < end
    };
    others.into_iter().filter(keep).collect()
}

fn is_local(message: &str) -> bool {
    LOCAL.iter().any(|local| message.starts_with(local))
}

fn line_of(source: &str, at: usize) -> usize {
    source.bytes().take(at).filter(|b| *b == b'\n').count()
}

fn help(message: &str, text: &str) -> String {
    let text = text.trim();
    let found = |part: &str| message.contains(part);
    match text {
        "" if found("string values must be quoted") => "write a value after `=`".to_owned(),
        text if found("string values must be quoted") && text.len() <= 60 && !text.contains(['"', '\'']) => {
            format!("write \"{text}\"")
        }
        _ if found("string values must be quoted") => "write it in double quotes".to_owned(),
        _ if found("duplicate key") => "keep one of the two; a table is opened once".to_owned(),
        _ if found("unclosed array") || found("between array") || found("in array") => {
            "close the array with `]`, and put a comma between its elements".to_owned()
        }
        _ if found("table") && found("`]`") => "close the header with `]`".to_owned(),
        _ if found("escape") => "write `\\\\` for a backslash, or put the text in single quotes".to_owned(),
        _ if found("string") => "close the string with the quote it began with".to_owned(),
        _ if found("key with no value") => "write `key = value`".to_owned(),
        _ if found("extend value") => {
            "the same name is a plain value further up; keep one of the two".to_owned()
        }
        _ if found("date") || found("time") || found("number") || found("integer") || found("float") => {
            "put it in double quotes if it is text".to_owned()
        }
        _ => "lines are `key = value` or `[table]`; deploy.toml.example shows the form".to_owned(),
    }
}
