//! Owns the typed reading of a TOML tree that keeps places and collects every problem instead of stopping
//! at the first. Knows types and spans, not which keys there are.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::diagnostic::Defect;
use super::diagnostic::Sink;
use super::diagnostic::Span;
use super::suggest;
use super::units;

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) span: Span,
    pub(super) value: T,
}

/// A key that was written, whether or not its value was any good: a bad one has been reported already and
/// must not be reported as missing too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given<T> {
    /// Where the key stands.
    pub(super) key: Span,
    /// Where the value stands.
    pub(super) span: Span,
    /// The value, unless it was bad.
    pub(super) value: Option<T>,
}

/// A key that may be written.
pub(super) type Field<T> = Option<Given<T>>;

/// The value of a field, if it was written and good.
pub(super) fn value<T>(field: Field<T>) -> Option<T> {
    field.and_then(|given| given.value)
}

/// Where a field's key stands, if it was written.
pub(super) fn key<T>(field: &Field<T>) -> Option<Span> {
    field.as_ref().map(|given| given.key.clone())
}

/// One value of the tree with the name it goes by in messages.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    /// The key, or `key[2]` for the second of an array.
    pub(super) name: String,
    /// Where the key stands (or the element).
    pub(super) key: Span,
    /// The value.
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    /// Where the value stands.
    pub(super) fn span(&self) -> Span {
        self.value.span()
    }

    /// Reads a string that `check` accepts.
    pub(super) fn text<T>(
        &self,
        sink: &mut Sink<'_>,
        check: impl FnOnce(&str) -> Result<T, Defect>,
    ) -> Option<T> {
        match self.value.get_ref() {
            DeValue::String(text) => self.judged(sink, check(text)),
            _ => self.wrong_type(sink, "a string"),
        }
    }

    /// Reads an array of strings that `check` accepts one by one.
    pub(super) fn texts<T>(
        &self,
        sink: &mut Sink<'_>,
        check: impl Fn(&str) -> Result<T, Defect>,
    ) -> Option<Vec<At<T>>> {
        let items = self.items(sink, "an array of strings")?;
        let read = |item: Item<'_>| {
            let value = item.text(sink, &check)?;
            Some(At { span: item.span(), value })
        };
        Some(items.into_iter().filter_map(read).collect())
    }

    /// Reads one string, or an array of them.
    pub(super) fn text_or_texts<T>(
        &self,
        sink: &mut Sink<'_>,
        check: impl Fn(&str) -> Result<T, Defect>,
    ) -> Option<Vec<At<T>>> {
        match self.value.get_ref() {
            DeValue::String(_) => {
                let value = self.text(sink, check)?;
                Some(vec![At { span: self.span(), value }])
            }
            _ => self.texts(sink, check),
        }
    }

    /// Reads a whole number within `range`.
    pub(super) fn whole(&self, sink: &mut Sink<'_>, range: &RangeInclusive<u32>) -> Option<u32> {
        let DeValue::Integer(number) = self.value.get_ref() else {
            return self.wrong_type(sink, "a whole number");
        };
        let read = i128::from_str_radix(number.as_str(), number.radix()).ok();
        if let Some(fits) = read.and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n)) {
            return Some(fits);
        }
        let (from, to) = (range.start(), range.end());
        let nearest = if read.is_some_and(|n| n < i128::from(*from)) { from } else { to };
        let message = format!("`{}` must be from {from} to {to}", self.name);
        sink.report(&self.span(), Defect::new(message, format!("write {nearest}")));
        None
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&self, sink: &mut Sink<'_>) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong_type(sink, "true or false"),
        }
    }

    /// Reads a duration within `range`.
    pub(super) fn duration(&self, sink: &mut Sink<'_>, range: &RangeInclusive<Duration>) -> Option<Duration> {
        match self.value.get_ref() {
            DeValue::String(text) => self.judged(sink, units::duration(text, range)),
            _ => self.wrong_type(sink, "a duration"),
        }
    }

    /// Reads an array; `expected` says of what.
    pub(super) fn items(&self, sink: &mut Sink<'_>, expected: &str) -> Option<Vec<Item<'a>>> {
        let DeValue::Array(values) = self.value.get_ref() else {
            return self.wrong_type(sink, expected);
        };
        let item = |(n, value): (usize, &'a Spanned<DeValue<'a>>)| Item {
            name: format!("{}[{}]", self.name, n + 1),
            key: value.span(),
            value,
        };
        Some(values.iter().enumerate().map(item).collect())
    }

    /// Reads a table; `place` is what it is called in messages.
    pub(super) fn table(&self, sink: &mut Sink<'_>, place: &str) -> Option<Table<'a>> {
        match self.value.get_ref() {
            DeValue::Table(table) => {
                Some(Table { place: format!("in {place}"), span: self.span(), table, known: Vec::new() })
            }
            _ => self.wrong_type(sink, "a table"),
        }
    }

    /// Passes a judgement on, reporting it if it is bad.
    pub(super) fn judged<T>(&self, sink: &mut Sink<'_>, judgement: Result<T, Defect>) -> Option<T> {
        judgement.map_err(|defect| sink.report(&self.span(), defect)).ok()
    }

    /// Reports a value of the wrong type.
    pub(super) fn wrong_type<T>(&self, sink: &mut Sink<'_>, expected: &str) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let message = format!("`{}` must be {expected}, not {found}", self.name);
        sink.report(&self.span(), Defect::new(message, self.rewrite(sink, expected)));
        None
    }

    /// The help for a value of the wrong type: the line as it should be, where that can be guessed.
    fn rewrite(&self, sink: &Sink<'_>, expected: &str) -> String {
        let key = self.name.split('[').next().unwrap_or_default();
        let element = self.name.ends_with(']');
        let line = |value: &str| match element {
            true => format!("write {value}"),
            false => format!("write `{key} = {value}`"),
        };
        let raw = sink.text(&self.span()).trim();
        let short = raw.len() <= 60 && !raw.contains('\n');
        match (expected, self.value.get_ref()) {
            ("a string", DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) if short => {
                line(&format!("\"{raw}\""))
            }
            ("a string", DeValue::Array(values)) if values.len() == 1 => {
                "write it without brackets".to_owned()
            }
            ("a string", _) => line("\"…\""),
            ("a whole number", DeValue::String(text)) if text.parse::<u32>().is_ok() => line(text),
            ("a whole number", _) => line("5"),
            ("true or false", DeValue::String(text)) if matches!(&**text, "true" | "false") => line(text),
            ("true or false", _) => line("true"),
            ("a duration", DeValue::Integer(number)) => line(&format!("\"{}s\"", number.as_str())),
            ("a duration", _) => line("\"30s\""),
            ("a table", _) => format!("write it as a table: `[{key}]` on a line of its own, its keys below"),
            (_, DeValue::String(_)) if expected.starts_with("an array") && short => line(&format!("[{raw}]")),
            (_, DeValue::Table(_)) if expected.starts_with("an array") && short && raw.starts_with('{') => {
                line(&format!("[{raw}]"))
            }
            _ if expected.starts_with("an array") => line("[…]"),
            _ => format!("write {expected}"),
        }
    }
}

/// A table being read; remembers which keys were asked for, so that the others can be reported.
#[derive(Debug)]
pub(super) struct Table<'a> {
    /// Where its keys are, in messages: "in `[ssh]`".
    pub(super) place: String,
    /// Where its header stands.
    pub(super) span: Span,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// The table of a whole file.
    pub(super) fn top(table: &'a DeTable<'a>, span: Span) -> Self {
        Self { place: "at the top level".to_owned(), span, table, known: Vec::new() }
    }

    /// Reads a key with `read`, if it is written.
    pub(super) fn read<T>(
        &mut self,
        sink: &mut Sink<'_>,
        key: &'static str,
        read: impl FnOnce(&Item<'a>, &mut Sink<'_>) -> Option<T>,
    ) -> Field<T> {
        self.known.push(key);
        let (name, value) = self.table.get_key_value(key)?;
        let item = Item { name: key.to_owned(), key: name.span(), value };
        let read = read(&item, sink);
        Some(Given { key: item.key.clone(), span: item.span(), value: read })
    }

    /// Every key with its value, for tables whose keys are the user's names.
    pub(super) fn entries(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        self.table.iter().map(|(name, value)| Item {
            name: name.get_ref().to_string(),
            key: name.span(),
            value,
        })
    }

    /// Reports every key nobody asked for. `explain` may know more about one than that it is unknown.
    pub(super) fn finish(
        self,
        sink: &mut Sink<'_>,
        explain: impl Fn(&Item<'a>, &[&'static str]) -> Option<Defect>,
    ) {
        for item in self.entries() {
            if self.known.contains(&item.name.as_str()) {
                continue;
            }
            let defect = explain(&item, &self.known).unwrap_or_else(|| {
                let message = format!("unknown key `{}` {}", item.name, self.place);
                let help = match suggest::closest(&item.name, self.known.iter().copied()) {
                    Some(close) => format!("did you mean `{close}`?"),
                    None => format!("there may be {}", suggest::listed(self.known.iter().copied())),
                };
                Defect::new(message, help)
            });
            sink.report(&item.key, defect);
        }
    }
}
