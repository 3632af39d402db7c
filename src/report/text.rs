//! Owns making text from elsewhere (hosts, build commands, configuration) safe to show: no terminal
//! escapes, no control or invisible characters, nothing a CI system would take for a command.
//! Knows no events and no layout.

/// Returns each line of `text`, safe to show. What a terminal would have overwritten after a carriage
/// return is left out, as the terminal would have.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = String> + '_ {
    split(text).map(last_written)
}

/// Returns each line of `text` and each state a carriage return would have overwritten, safe to keep.
pub(crate) fn all_lines(text: &str) -> impl Iterator<Item = String> + '_ {
    split(text).flat_map(|line| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.split('\r').map(clean)
    })
}

/// Returns a line as it is shown, with its blanks.
pub(crate) fn shown(line: &str) -> String {
    lines(line).next().unwrap_or_default()
}

/// Splits at line feeds; empty text is one empty line, because a program that wrote an empty line
/// wrote something.
fn split(text: &str) -> std::str::Split<'_, char> {
    text.strip_suffix('\n').unwrap_or(text).split('\n')
}

/// Returns `text` as a single line: what follows the first line that says something becomes `…`.
pub(crate) fn one_line(text: &str) -> String {
    let mut said = lines(text).map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
    match (said.next(), said.next()) {
        (None, _) => String::new(),
        (Some(only), None) => only,
        (Some(first), Some(_)) => format!("{first} …"),
    }
}

/// Returns `text` as a single line with its lines joined by spaces, for sentences that were wrapped.
pub(crate) fn joined(text: &str) -> String {
    let said: Vec<_> = lines(text).map(|line| line.trim().to_owned()).filter(|l| !l.is_empty()).collect();
    said.join(" ")
}

fn last_written(line: &str) -> String {
    line.rsplit('\r').map(clean).find(|written| !written.trim().is_empty()).unwrap_or_default()
}

/// Removes terminal escapes, control and invisible characters from one line; tabs become spaces.
fn clean(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut column = 0;
    // The tabs are expanded first: the stripper keeps them, but a column counts only what is shown.
    for c in anstream::adapter::strip_str(line).flat_map(str::chars) {
        match c {
            '\t' => {
                let spaces = 8 - column % 8;
                shown.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            c if c.is_control() || is_invisible(c) => {}
            c => {
                shown.push(c);
                column += 1;
            }
        }
    }
    defuse(&shown)
}

/// Characters that show nothing but change what is seen or how text is compared: zero-width ones
/// (some CI systems ignore them when they look for a command), direction overrides, separators.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Breaks `##[command]`, `##vso[…]` and `##teamcity[…]`. CI systems obey these anywhere in a line, so
/// that the host's name in front (which disarms `::command::`) is no protection.
fn defuse(line: &str) -> String {
    if !line.contains("##") {
        return line.to_owned();
    }
    let mut shown = String::with_capacity(line.len() + 1);
    for (at, c) in line.char_indices() {
        if c == '#' && shown.ends_with('#') {
            let rest = line.get(at + 1..).unwrap_or_default();
            if rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).starts_with('[') {
                shown.push(' ');
            }
        }
        shown.push(c);
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_controls_and_invisible_characters_are_removed() {
        for (raw, shown) in [
            ("plain", "plain"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b[2J\x1b[1;1Hgone", "gone"),
            ("\u{9b}31mC1", "31mC1"),
            ("a\x08\x07\x00b\x7f", "ab"),
            ("user\u{202e}txt.exe", "usertxt.exe"),
            ("a\tb", "a       b"),
            ("größe 日本", "größe 日本"),
        ] {
            assert_eq!(lines(raw).collect::<Vec<_>>(), [shown], "{raw:?}");
        }
    }

    #[test]
    fn a_rewritten_line_shows_its_last_state_and_the_log_keeps_all() {
        let raw = "10%\r50%\r100%\r\x1b[K\nnext\r\n";
        assert_eq!(lines(raw).collect::<Vec<_>>(), ["100%", "next"]);
        assert_eq!(all_lines(raw).collect::<Vec<_>>(), ["10%", "50%", "100%", "", "next"]);
    }

    #[test]
    fn commands_that_ci_systems_find_inside_a_line_are_broken() {
        for (raw, shown) in [
            ("##[set-env name=PATH]x", "# #[set-env name=PATH]x"),
            ("a ###[error]b", "a ## #[error]b"),
            ("##vso[task.setvariable]", "# #vso[task.setvariable]"),
            ("##teamcity[buildStatus]", "# #teamcity[buildStatus]"),
            ("#\u{200b}#[error]", "# #[error]"),
            ("## Heading", "## Heading"),
        ] {
            assert_eq!(clean(raw), shown);
        }
    }

    #[test]
    fn one_line_says_that_more_follows() {
        assert_eq!(one_line("npm ci"), "npm ci");
        assert_eq!(one_line("\nset -e\nnpm ci\n"), "set -e …");
        assert_eq!(joined("it failed,\n   badly\n"), "it failed, badly");
    }

    proptest! {
        #[test]
        fn nothing_that_steers_a_terminal_or_a_ci_system_survives(raw in "(\\PC|[\\x00-\\x1f\\x7f-\\x9f]|##\\[|##vso\\[){0,40}") {
            for line in lines(&raw).chain(all_lines(&raw)).chain([one_line(&raw), joined(&raw)]) {
                prop_assert!(!line.chars().any(|c| c.is_control()), "{line:?}");
                prop_assert!(!line.contains("##["), "{line:?}");
                prop_assert!(!line.contains("##vso["), "{line:?}");
            }
        }
    }
}
