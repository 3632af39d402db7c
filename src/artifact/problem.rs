//! Owns what keeps a tree or a tarball from being packed: the rules for names, and the list that
//! reports every problem at once instead of one a run. Knows no file system.

use std::fmt;

/// The longest path in a release. Linux takes 4096 bytes; the rest is for `deploy_to` and the id.
const MAX_PATH: usize = 3072;
/// The longest single name Linux file systems take.
const MAX_NAME: usize = 255;
/// The longest text a symbolic link holds.
const MAX_TARGET: usize = 4095;
/// That many problems are listed; the rest is counted.
const LISTED: usize = 20;

/// One path that cannot be packed, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The path, fit to be shown.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

/// Everything that is wrong, in the order of the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    all: Vec<Problem>,
}

impl Problems {
    /// Notes a problem.
    pub(super) fn push(&mut self, path: &[u8], what: impl Into<String>) {
        self.all.push(Problem { path: shown(path), what: what.into() });
    }

    /// Returns an error made of the problems, if there are any.
    pub(super) fn into_result(mut self) -> Result<(), Self> {
        if self.all.is_empty() {
            return Ok(());
        }
        self.all.sort();
        Err(self)
    }

    /// The problems.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.all.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Problem { path, what }) in self.all.iter().take(LISTED).enumerate() {
            let line_end = if n == 0 { "" } else { "\n" };
            write!(f, "{line_end}  {path}: {what}")?;
        }
        match self.all.len().saturating_sub(LISTED) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Returns a path as text that is safe on a terminal.
pub(super) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.into_owned() }
}

/// Judges a relative path by what tar, sha256sum and file systems of every supported host take.
pub(super) fn check_path(path: &[u8]) -> Result<(), String> {
    check_bytes(path, "its name")?;
    if path.len() > MAX_PATH {
        return Err(format!("its path has {} bytes; hosts take {MAX_PATH}", path.len()));
    }
    for name in path.split(|b| *b == b'/') {
        match name {
            b"" | b"." | b".." => return Err("it is not a plain relative path".to_owned()),
            _ if name.len() > MAX_NAME => {
                return Err(format!("its name has {} bytes; hosts take {MAX_NAME}", name.len()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Judges the text of a symbolic link; where it leads is judged by `links`.
pub(super) fn check_target(target: &[u8]) -> Result<(), String> {
    check_bytes(target, "the link's target")?;
    match target.len() {
        0 => Err("the link's target is empty".to_owned()),
        1..=MAX_TARGET => Ok(()),
        long => Err(format!("the link's target has {long} bytes; hosts take {MAX_TARGET}")),
    }
}

/// GNU and BusyBox tools write control characters and backslashes differently, and a terminal obeys
/// some of them.
fn check_bytes(text: &[u8], whose: &str) -> Result<(), String> {
    if text.iter().any(u8::is_ascii_control) {
        return Err(format!("{whose} contains a control character; rename it"));
    }
    if text.contains(&b'\\') {
        return Err(format!("{whose} contains a backslash; rename it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_that_every_host_takes_are_names() {
        for good in ["a", ".env", "a b/c", "-x", "a..b", "\u{fc}/\u{1f600}"] {
            assert_eq!(check_path(good.as_bytes()), Ok(()), "{good}");
        }
        assert_eq!(check_path(b"\xff\xfe"), Ok(()));
        assert_eq!(check_path([b'a'; 255].as_slice()), Ok(()));
        let long = [b'a'; 256];
        let deep = "abc/".repeat(800);
        for bad in
            [&b""[..], b"/a", b"a/", b"a//b", b"./a", b"a/../b", b"..", b"a\nb", b"a\x7f", b"a\\b", &long]
        {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        assert!(check_path(deep.trim_end_matches('/').as_bytes()).is_err());
    }

    #[test]
    fn twenty_problems_are_listed_and_the_rest_is_counted() {
        let mut problems = Problems::default();
        for n in 0..23 {
            problems.push(format!("{n:02}\x1b").as_bytes(), "bad");
        }
        let text = problems.into_result().unwrap_err().to_string();
        assert_eq!(text.lines().count(), 21);
        assert!(text.starts_with("  00\\u{1b}: bad\n"), "{text}");
        assert!(text.ends_with("\n  and 3 more"), "{text}");
    }
}
