//! Owns the keys of `rollout`.

use std::time::Duration;

use toml::de::DeValue;

use super::unknown;
use super::unknown::Level;
use crate::config::diagnostic::Defect;
use crate::config::diagnostic::Sink;
use crate::config::diagnostic::Span;
use crate::config::names;
use crate::config::reader::At;
use crate::config::reader::Field;
use crate::config::reader::Item;
use crate::config::types::Batch;
use crate::config::units;

const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// `rollout`.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct Rollout {
    pub(in crate::config) first: Field<u32>,
    pub(in crate::config) batch: Field<Batch>,
    pub(in crate::config) pause: Field<Duration>,
    pub(in crate::config) order: Field<Vec<At<String>>>,
}

pub(super) fn rollout(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Rollout> {
    let mut table = item.table(sink, "`rollout`")?;
    let pause = PAUSE.0..=PAUSE.1;
    let rollout = Rollout {
        first: table.read(sink, "first", |item, sink| item.whole(sink, &(1..=9_999))),
        batch: table.read(sink, "batch", batch),
        pause: table.read(sink, "pause", |item, sink| item.duration(sink, &pause)),
        order: table.read(sink, "order", order),
    };
    table.finish(sink, |item, known| unknown::explain(Level::Inner, item, known));
    if let (Some(pause), None) = (&rollout.pause, &rollout.first) {
        let help = "add `first = 1`: that many hosts go first, and the pause follows them; or remove it";
        sink.report(&pause.key, Defect::new("`pause` has no effect without `first`", help));
    }
    Some(rollout)
}

fn batch(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Batch> {
    match item.value.get_ref() {
        DeValue::Integer(_) => item.whole(sink, &(1..=9_999)).map(Batch::Hosts),
        DeValue::String(text) => item.judged(sink, units::percentage(text)).map(Batch::Percent),
        _ => item.wrong_type(sink, "a whole number or a percentage"),
    }
}

/// Reads a list of roles. An empty one is the order of `hosts`.
fn order(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<Vec<At<String>>> {
    let roles = item.texts(sink, names::role)?;
    let mut seen: Vec<(&str, &Span)> = Vec::new();
    for At { span, value } in &roles {
        match seen.iter().find(|(role, _)| role == value) {
            Some((_, first)) => {
                let defect = Defect::new(format!("the role `{value}` is listed twice"), "remove one of them");
                sink.report_with(span, defect, first, "first listed here");
            }
            None => seen.push((value, span)),
        }
    }
    Some(roles)
}
