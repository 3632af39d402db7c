//! Owns TOML's syntax errors: which of them are believed, and how they read. The parser goes on after an
//! error, which finds the next one but also what only follows from the first; that is left out here.

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::diagnostic::Defect;
use super::diagnostic::Diagnostic;
use super::diagnostic::Span;

/// What the parser says about errors that do not reach beyond their own key or value.
const LOCAL: [&str; 6] = [
    "string values must be quoted",
    "duplicate key",
    "invalid basic string",
    "invalid literal string",
    "missing escaped value",
    "invalid date",
];

/// A file after the parser.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// The tree, with stand-ins where the syntax is broken.
    pub(super) tree: Spanned<DeTable<'a>>,
    /// The errors of the syntax, in the order of the source.
    pub(super) errors: Vec<Diagnostic>,
    /// From this line on the parser may have misread everything.
    lost_from: usize,
}

/// Parses a file as far as it goes.
pub(super) fn parse(source: &str) -> Parsed<'_> {
    let (tree, found) = DeTable::parse_recoverable(source);
    let mut found: Vec<(Span, &str)> =
        found.iter().map(|e| (e.span().unwrap_or_default(), e.message())).collect();
    found.sort_by_key(|(span, _)| (span.start, span.end));
    let mut errors: Vec<Diagnostic> = Vec::new();
    let mut last_line = None;
    let mut lost_from = usize::MAX;
    for (span, message) in found {
        let line = line_of(source, span.start);
        // One error a line: what follows on the same line is mostly its echo.
        if last_line.replace(line) == Some(line) {
            continue;
        }
        let array = if message.contains("array") { array_around(tree.get_ref(), span.start) } else { None };
        let local = LOCAL.iter().any(|local| message.starts_with(local));
        if !local {
            lost_from = line_of(source, array.as_ref().map_or(span.start, |array| array.start));
        }
        let defect = defect(message, source.get(span.clone()).unwrap_or_default());
        let context = array.map(|array| (array.start..array.start + 1, "the array begins here".to_owned()));
        errors.push(Diagnostic { span, defect, context, absence: false });
        if !local {
            break;
        }
    }
    Parsed { tree, errors, lost_from }
}

impl Parsed<'_> {
    /// Returns the errors of the syntax together with those of the `others` that are to be believed beside
    /// them: nothing that is only absent (it may stand in a broken part), nothing on a broken line, nothing
    /// where the parser was lost.
    pub(super) fn with(self, source: &str, others: Vec<Diagnostic>) -> Vec<Diagnostic> {
        if self.errors.is_empty() {
            return others;
        }
        let broken: Vec<usize> = self.errors.iter().map(|d| line_of(source, d.span.start)).collect();
        let believed = |d: &Diagnostic| {
            let line = line_of(source, d.span.start);
            !d.absence && !broken.contains(&line) && line < self.lost_from
        };
        let mut all: Vec<Diagnostic> = others.into_iter().filter(believed).collect();
        all.extend(self.errors);
        all.sort_by_key(|d| d.span.start);
        all
    }
}

/// Returns the place of the outermost array that the parser took a position to lie in.
fn array_around(table: &DeTable<'_>, at: usize) -> Option<Span> {
    table.iter().find_map(|(_, value)| match value.get_ref() {
        DeValue::Array(_) if value.span().start < at && at <= value.span().end => Some(value.span()),
        DeValue::Table(table) => array_around(table, at),
        _ => None,
    })
}

fn line_of(source: &str, at: usize) -> usize {
    source.bytes().take(at).filter(|b| *b == b'\n').count()
}

/// Says what the parser means, and what to do; `text` is what it stumbled over.
fn defect(message: &str, text: &str) -> Defect {
    let text = text.trim();
    let says = |part: &str| message.contains(part);
    let short = text.len() <= 60 && !text.contains(['"', '\'', '\n']);
    let (message, help) = match text {
        "" if says("string values must be quoted") => ("a value is missing", "write one after `=`"),
        text if says("string values must be quoted") && short => {
            return Defect::new("text stands without quotes", format!("write \"{text}\""));
        }
        _ if says("string values must be quoted") => {
            ("text stands without quotes", "put it in double quotes")
        }
        _ if says("duplicate key") => ("this is written a second time", "keep one of the two"),
        _ if says("array") && !says("table") => (
            "an array is not closed, or a comma is missing",
            "put a comma between elements, and `]` after the last",
        ),
        _ if says("table") && says("`]`") => ("a table's header is not closed", "close it with `]`"),
        _ if says("inline table") => {
            ("a table in braces is not closed, or a comma is missing", "write `{ key = value, key = value }`")
        }
        _ if says("escape") => (
            "a backslash in front of this means nothing",
            "write `\\\\` for a backslash, or use single quotes",
        ),
        _ if says("string") => ("a text is not closed", "close it with the quote it began with"),
        _ if says("key with no value") => ("a key has no value", "write `key = value`"),
        _ if says("extend value") => {
            ("the same name is a plain value further up", "keep one of the two, or rename one")
        }
        _ => {
            let help = "lines are `key = value` or `[table]`; deploy.toml.example shows the form";
            return Defect::new(format!("this is not TOML: {message}"), help);
        }
    };
    Defect::new(message, help)
}
