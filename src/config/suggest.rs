//! Owns the guesses at what somebody meant.

/// Returns the candidate that `word` was probably meant to be: equal but for case and `-`, or within one
/// edit for every three letters, or else the beginning of it.
pub(super) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = plain(word);
    let length = word.chars().count();
    let limit = (length / 3).clamp(1, 4);
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let near = candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate);
    near.or_else(|| candidates.into_iter().find(|c| length >= 4 && c.starts_with(&word)))
}

/// Returns words as a list for people: "`a`, `b` or `c`".
pub(super) fn either<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} or {last}", words.join(", ")),
        None => String::new(),
    }
}

/// Returns words as a bare list: "`a`, `b`, `c`".
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// Returns the best help for a wrong word where only some are right.
pub(super) fn instead(word: &str, right: &[&str]) -> String {
    match closest(word, right.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("write {}", either(right.iter().copied())),
    }
}

/// `keepReleases`, `keep-releases` and `KEEP_RELEASES` are one word.
fn plain(word: &str) -> String {
    let mut out = String::with_capacity(word.len() + 4);
    let mut lower = false;
    // A key may be megabytes long; the distance is quadratic.
    for c in word.chars().take(64) {
        if c.is_uppercase() && lower {
            out.push('_');
        }
        lower = c.is_lowercase();
        match c {
            '-' | ' ' => out.push('_'),
            c => out.extend(c.to_lowercase()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_or_another_spelling_is_recognised() {
        let keys = ["keep_releases", "linked_dirs", "linked_files", "deploy_to", "app", "ssh"];
        for (word, meant) in [
            ("keep_release", Some("keep_releases")),
            ("keepReleases", Some("keep_releases")),
            ("KEEP-RELEASES", Some("keep_releases")),
            ("linked_file", Some("linked_files")),
            ("deplyo_to", Some("deploy_to")),
            ("apps", Some("app")),
            ("deploy", Some("deploy_to")),
            ("dep", None),
            ("x", None),
            ("", None),
            ("kubernetes", None),
        ] {
            assert_eq!(closest(word, keys), meant, "{word}");
        }
    }

    #[test]
    fn choices_read_as_a_sentence() {
        assert_eq!(either(["a"]), "`a`");
        assert_eq!(either(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(instead("frok", &["fork", "cluster"]), "did you mean `fork`?");
        assert_eq!(instead("zzz", &["fork", "cluster"]), "write `fork` or `cluster`");
    }
}
