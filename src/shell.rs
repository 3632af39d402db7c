//! Owns commands as values. The only place that quotes for a POSIX shell.
//!
//! A secret never becomes an argument: it travels on standard input or in a 0600 file, so there is
//! no constructor for one here.

use std::fmt;

/// Quotes one word so that a POSIX shell reads it back unchanged.
///
/// A word of plain characters stays as it is, for readability in logs.
pub fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Leaves out the lines of a program that are blank or hold a comment alone: they would be a third of the bytes.
pub fn without_comments(program: &str) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with('#') && !line.trim().is_empty();
    program.lines().filter(is_code).flat_map(|line| [line, "\n"]).collect()
}

/// A command for a POSIX shell, built from words; quoted when displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    words: Vec<String>,
}

impl Command {
    /// Starts a command with its program.
    pub fn new(program: impl Into<String>) -> Self {
        Self { words: vec![program.into()] }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// Wraps a script so that any login shell (sshd hands the string to whatever the user has)
    /// runs it with `sh`; the arguments become `$1`, `$2`…
    pub fn sh(script: impl Into<String>, args: impl IntoIterator<Item = String>) -> Self {
        let mut command = Self::new("exec").arg("sh").arg("-c").arg(script).arg("rdeploy");
        command.words.extend(args);
        command
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, word) in self.words.iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            write!(f, "{space}{}", quote(word))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_back(shell: &str, word: &str) -> Vec<u8> {
        let script = format!("printf %s {}", quote(word));
        let output = std::process::Command::new(shell).arg("-c").arg(script).output().unwrap();
        assert!(output.status.success(), "{word:?}");
        output.stdout
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_word_comes_back_unchanged_through_a_real_shell(word in "[^\0]{0,24}") {
            prop_assert_eq!(read_back("sh", &word), word.as_bytes());
        }
    }

    #[test]
    fn a_command_quotes_each_word_and_only_where_needed() {
        let command = Command::new("ls").arg("-l").arg("a b").arg("it's").arg("").arg("$(id)");
        assert_eq!(command.to_string(), r"ls -l 'a b' 'it'\''s' '' '$(id)'");
    }
}
