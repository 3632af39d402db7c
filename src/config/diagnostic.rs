//! Owns what is said about a wrong configuration, and how it looks: message, place, way out. Every defect
//! carries a suggestion, because the type demands one. Knows nothing of the keys themselves.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use annotate_snippets::AnnotationKind;
use annotate_snippets::Group;
use annotate_snippets::Level;
use annotate_snippets::Origin;
use annotate_snippets::Renderer;
use annotate_snippets::Snippet;
use annotate_snippets::normalize_untrusted_str;

/// Bytes of the source.
pub(super) type Span = Range<usize>;

/// More than this are counted, not shown: nobody reads on, and each costs a pass over the source.
const SHOWN: usize = 100;

/// What is wrong with a value, and how to put it right; without a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Defect {
    /// What is wrong, as a lowercase fragment.
    pub(super) message: String,
    /// What to write or do instead.
    pub(super) help: String,
}

impl Defect {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }

    /// Renders it without a source; `origin` names the file it is about, if any.
    pub(super) fn render(&self, origin: Option<&str>, color: bool) -> String {
        let title = Level::ERROR.primary_title(self.message.as_str());
        let mut group = Group::with_title(title);
        if let Some(origin) = origin {
            group = group.element(Origin::path(origin));
        }
        let help = Group::with_title(Level::HELP.primary_title(self.help.as_str()));
        let renderer = renderer(color);
        format!("{}\n{}", renderer.render(&[group]), renderer.render(&[help]))
    }
}

/// A defect and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnostic {
    /// The bytes the caret points at.
    pub(super) span: Span,
    /// What is wrong there.
    pub(super) defect: Defect,
    /// Another place that explains it, and what is to be said there.
    pub(super) context: Option<(Span, String)>,
    /// Whether something absent is reported: not to be believed while the syntax is broken.
    pub(super) absence: bool,
}

/// Collects what is wrong, so that all of it is reported at once.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    source: &'a str,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, diagnostics: Vec::new() }
    }

    /// Reports a defect at a place.
    pub(super) fn report(&mut self, span: &Span, defect: Defect) {
        self.push(Diagnostic { span: span.clone(), defect, context: None, absence: false });
    }

    /// Reports a defect that another place explains.
    pub(super) fn report_with(&mut self, span: &Span, defect: Defect, context: &Span, label: &str) {
        let context = Some((context.clone(), label.to_owned()));
        self.push(Diagnostic { span: span.clone(), defect, context, absence: false });
    }

    /// Reports that something is absent from what stands at a place.
    pub(super) fn report_absence(&mut self, span: &Span, defect: Defect) {
        self.push(Diagnostic { span: span.clone(), defect, context: None, absence: true });
    }

    /// The source's text at a place.
    pub(super) fn text(&self, span: &Span) -> &'a str {
        self.source.get(span.clone()).unwrap_or_default()
    }

    /// The place for what concerns the file as a whole: its first line with content.
    pub(super) fn top(&self) -> Span {
        let mut start = 0;
        for line in self.source.split_inclusive('\n') {
            let text = line.trim_end();
            if !text.is_empty() && !text.trim_start().starts_with('#') {
                return start..start + text.len();
            }
            start += line.len();
        }
        0..0
    }

    /// Returns what was collected, in the order of the source, each defect of a place once: a line of the
    /// top level is judged again for every environment that inherits it.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics;
        let mut seen = HashSet::new();
        diagnostics.retain(|d| seen.insert((d.span.clone(), d.defect.message.clone())));
        diagnostics.sort_by_key(|d| d.span.start);
        diagnostics
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }
}

/// Everything that is wrong with one configuration file.
#[derive(Clone, Debug)]
pub struct Report {
    file: String,
    source: String,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(super) fn new(file: &str, source: &str, diagnostics: Vec<Diagnostic>) -> Self {
        Self { file: file.to_owned(), source: source.to_owned(), diagnostics }
    }

    /// How many problems there are.
    pub fn len(&self) -> usize {
        self.diagnostics.len()
    }

    /// Whether there is none; never so in an error.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Returns the text for people: each problem with its line, a caret and a way out, then a count.
    pub fn render(&self, color: bool) -> String {
        let renderer = renderer(color);
        let mut out = String::new();
        for diagnostic in self.diagnostics.iter().take(SHOWN) {
            out.push_str(&renderer.render(&[self.group(diagnostic)]));
            out.push_str("\n\n");
        }
        let count = self.diagnostics.len();
        let problems = if count == 1 { "problem" } else { "problems" };
        let more = match count.saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" ({more} not shown)"),
        };
        let last = Level::ERROR.primary_title(format!("{count} {problems} in {}{more}", self.file));
        out.push_str(&renderer.render(&[Group::with_title(last)]));
        out
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let primary = AnnotationKind::Primary.span(self.clamp(&diagnostic.span));
        let mut snippet = Snippet::source(self.source.as_str()).path(self.file.as_str()).annotation(primary);
        if let Some((span, label)) = &diagnostic.context {
            let context = AnnotationKind::Context.span(self.clamp(span)).label(label.as_str());
            snippet = snippet.annotation(context);
        }
        let help = normalize_untrusted_str(&diagnostic.defect.help);
        Level::ERROR
            .primary_title(diagnostic.defect.message.as_str())
            .element(snippet)
            .element(Level::HELP.message(help))
    }

    /// The part of a span that lies within the source and on its first line, at character boundaries: the
    /// renderer panics on anything beyond, and a value of many lines would be shown whole.
    fn clamp(&self, span: &Span) -> Span {
        let source = self.source.as_str();
        let start = source.floor_char_boundary(span.start.min(source.len()));
        let rest = source.get(start..).unwrap_or_default();
        let line = start + rest.find(['\n', '\r']).unwrap_or(rest.len());
        let end = source.ceil_char_boundary(span.end.min(source.len()));
        start..end.min(line).max(start)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

fn renderer(color: bool) -> Renderer {
    if color { Renderer::styled() } else { Renderer::plain() }
}
