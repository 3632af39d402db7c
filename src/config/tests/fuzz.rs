//! No text, however broken, may make the program panic, or reach the terminal with its control characters.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::sample::select;

use super::read;
use super::text_of;

/// Judges a text and, if it is refused, looks at the report.
fn judge(text: &str) -> Result<(), TestCaseError> {
    if let Err(report) = read(text) {
        prop_assert!(!report.is_empty());
        let plain = report.render(false);
        let bad = plain.chars().find(|c| c.is_control() && *c != '\n');
        prop_assert_eq!(bad, None, "in the report:\n{}", plain.escape_debug());
        prop_assert!(plain.contains("--> deploy.toml:") && plain.contains("= help: "), "{}", plain);
        report.render(true);
    }
    Ok(())
}

/// Lines made of the configuration's own words: mostly well-formed, mostly wrong.
fn line() -> impl Strategy<Value = String> {
    let key = select(vec![
        "app",
        "deploy_to",
        "linked_dirs",
        "linked_files",
        "supervisor",
        "supervisor.kind",
        "supervisor.apps",
        "health",
        "health.http",
        "health.tcp",
        "health.status",
        "health.headers",
        "[[health]]",
        "hooks.after_unpack",
        "hooks.before_build",
        "ssh.identity",
        "vars.A",
        "vars.PATH",
        "env.a.hosts",
        "env.a",
        "env.to.embedded",
        "build.run",
        "build.source",
        "lease",
        "rollout",
        "rollout.batch",
        "rollout.order",
        "env.a.rollout",
        "[env.b]",
        "[[supervisor.apps]]",
        "[hooks]",
        "[env]",
        "name",
        "script",
        "hosts",
        "\"\\u001b\"",
        "'ü b'",
        "a.b.c",
    ]);
    let value = select(vec![
        "\"x\"",
        "'/srv/x'",
        "\"/\"",
        "\"../x\"",
        "[]",
        "[\"a\", \"a\"]",
        "[\"a\", \"a/b\"]",
        "[1, [2]]",
        "{}",
        "{ run = 'x', roles = ['y'] }",
        "[{ run = 'x', on = [] }]",
        "[{ address = '[::1]:2', roles = ['web'] }]",
        "7",
        "-1",
        "0x7fffffffffffffffffff",
        "1.5",
        "true",
        "1979-05-27",
        "\"\\u001b[2J\"",
        "\"\"\"\nü\n\"\"\"",
        "x",
        "",
        "\"",
        "[",
        "{",
        "\"pm2\"",
        "\"30\"",
        "\"25%\"",
        "{ first = 1, pause = '9s', order = ['y'] }",
        "\"http://[\"",
        "\"\u{202e}\"",
    ]);
    (key, value).prop_map(|(key, value)| match key.starts_with('[') {
        true => key.to_owned(),
        false => format!("{key} = {value}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        judge(&text)?;
    }

    #[test]
    fn arbitrary_lines_of_known_words_never_panic(lines in prop::collection::vec(line(), 0..12)) {
        judge(&lines.join("\n"))?;
    }

    #[test]
    fn a_damaged_file_never_panics(at in any::<Index>(), length in 0_usize..40, put in "\\PC{0,3}|[\"\\[\\]{}=\\n#\u{1b}]{0,3}") {
        let good = text_of("tests/configs/valid/every_key.toml");
        let chars: Vec<char> = good.chars().collect();
        let at = at.index(chars.len());
        let end = (at + length).min(chars.len());
        let damaged: String = chars.iter().take(at).copied()
            .chain(put.chars())
            .chain(chars.iter().skip(end).copied())
            .collect();
        judge(&damaged)?;
    }
}
