//! Owns how one manifest is written as a change of another: lines that a host's `awk` can follow.

use std::cmp::Ordering;

/// Returns what makes `new` of `base`, both in their text form: `=N` keeps the next N lines of the base, `-N` leaves
/// N out, `+LINE` puts a new one there. Lines of the base at its end that are not mentioned are left out.
///
/// Right for any two texts of lines, and short where both are sorted by path.
pub fn patch(base: &[u8], new: &[u8]) -> Vec<u8> {
    let (mut base, mut new) = (lines(base).peekable(), lines(new).peekable());
    let mut out = Patch::default();
    while let Some(wanted) = new.peek() {
        let order = base.peek().map(|there| path(there).cmp(path(wanted)));
        match order {
            Some(Ordering::Less) => {
                base.next();
                out.run(b'-');
            }
            Some(Ordering::Equal) => {
                if base.next() == Some(wanted) {
                    out.run(b'=');
                } else {
                    out.run(b'-');
                    out.line(wanted);
                }
                new.next();
            }
            Some(Ordering::Greater) | None => {
                out.line(wanted);
                new.next();
            }
        }
    }
    out.end();
    out.text
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n')
}

/// What a line is sorted by; the header comes first.
fn path(line: &[u8]) -> &[u8] {
    let after = |n: usize| line.splitn(n, |byte| *byte == b' ').nth(n - 1).unwrap_or_default();
    match line.first() {
        Some(b'f' | b'x') => after(4),
        Some(b'd') => after(2),
        Some(b'l') => after(2).split(|byte| *byte == b'\t').next().unwrap_or_default(),
        _ => &[],
    }
}

#[derive(Default)]
struct Patch {
    text: Vec<u8>,
    /// What is done to the next lines of the base, and to how many.
    running: Option<(u8, usize)>,
}

impl Patch {
    fn run(&mut self, what: u8) {
        match &mut self.running {
            Some((running, count)) if *running == what => *count += 1,
            _ => {
                self.end();
                self.running = Some((what, 1));
            }
        }
    }

    fn line(&mut self, line: &[u8]) {
        // Where it goes depends on nothing that is left out.
        if self.running.is_some_and(|(what, _)| what == b'=') {
            self.end();
        }
        self.text.push(b'+');
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
    }

    fn end(&mut self) {
        if let Some((what, count)) = self.running.take() {
            self.text.push(what);
            self.text.extend_from_slice(format!("{count}\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the host does.
    fn apply(base: &[u8], patch: &[u8]) -> Vec<u8> {
        let mut base = lines(base);
        let mut out = Vec::new();
        for line in lines(patch).filter(|line| !line.is_empty()) {
            let (what, rest) = line.split_at(1);
            let count = || std::str::from_utf8(rest).unwrap().parse::<usize>().unwrap();
            match what {
                b"=" => (0..count()).for_each(|_| out.extend([base.next().unwrap(), b"\n"].concat())),
                b"-" => {
                    for _ in 0..count() {
                        base.next().unwrap();
                    }
                }
                b"+" => out.extend([rest, b"\n"].concat()),
                _ => panic!("{line:?}"),
            }
        }
        out
    }

    #[test]
    fn a_change_in_the_middle_is_a_few_lines() {
        let manifest = |middle: &str| {
            let line = |n: u32| match n {
                50 => middle.to_owned(),
                _ => format!("f {n:064x} 1 dir/{n:03}\n"),
            };
            format!("rdeploy-manifest 1\nd dir\n{}", (0..100).map(line).collect::<String>())
        };
        let (base, new) = (manifest("f aa 1 dir/050\n"), manifest("f bb 1 dir/050\nl dir/050 link\tto\n"));
        let patch = patch(base.as_bytes(), new.as_bytes());
        let text = String::from_utf8(patch.clone()).unwrap();
        assert_eq!(text, "=52\n+f bb 1 dir/050\n+l dir/050 link\tto\n-1\n=49\n");
        assert_eq!(apply(base.as_bytes(), &patch), new.as_bytes());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_made_of_any_other(base in text(), new in text()) {
            let patch = patch(&base, &new);
            proptest::prop_assert_eq!(apply(&base, &patch), new);
        }
    }

    /// Mostly sorted lines of all kinds, few enough to be in both.
    fn text() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
        use proptest::prelude::*;
        let kinds = ["d ", "f a 1 ", "f b 1 ", "x a 1 ", "l "];
        let line = (0..kinds.len(), 0..30_u8).prop_map(move |(kind, name)| {
            let target = if kind == 4 { "\tto" } else { "" };
            format!("{}p {name:02}{target}\n", kinds[kind]).into_bytes()
        });
        (prop::collection::vec(line, 0..20), any::<bool>()).prop_map(|(mut lines, sorted)| {
            if sorted {
                lines.sort_by(|a, b| path(a).cmp(path(b)));
            }
            [b"rdeploy-manifest 1\n".to_vec(), lines.concat()].concat()
        })
    }
}
