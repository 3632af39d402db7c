//! Owns questions to the person at the terminal: is this host's key right, what is this key's
//! passphrase. Asks nobody when nobody is there. Knows no SSH; answers are never logged.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::IsTerminal;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use rustix::termios::QueueSelector;
use rustix::termios::tcflush;
use zeroize::Zeroizing;

use crate::report;
use crate::report::Screen;

/// Where a question is asked, whatever the standard streams are connected to.
const TERMINAL: &str = "/dev/tty";

/// The longest answer to a question; a fingerprint fits.
const LONGEST_ANSWER: u64 = 256;

/// Asks the person at the terminal, one question at a time, with the progress out of the way. A question
/// blocks the thread that asks it.
#[derive(Clone, Debug)]
pub struct Ask {
    screen: Screen,
    somebody: bool,
}

impl Ask {
    /// Returns an asker that shares the terminal with a reporter. It asks only when standard input and
    /// standard error are a terminal, and `CI` is not set.
    pub fn new(screen: Screen) -> Self {
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        Self { screen, somebody: terminal && !report::is_ci() }
    }

    /// Returns an asker that asks nobody.
    pub fn nobody() -> Self {
        Self { screen: Screen::idle(), somebody: false }
    }

    /// Asks whether an unknown host key is right. Nothing when nobody can be asked.
    pub fn accept_host_key(&self, host: &str, algorithm: &str, fingerprint: &str) -> Option<bool> {
        self.asked(|input, output| host_key_accepted(input, output, host, algorithm, fingerprint))
    }

    /// Asks whether to go on. Nothing when nobody can be asked.
    pub fn confirm(&self, question: &str) -> Option<bool> {
        self.asked(|input, output| confirmed(input, output, question))
    }

    /// Asks on the terminal, with the progress out of the way. Nothing when nobody can be asked.
    fn asked(&self, ask: impl Fn(&mut BufReader<File>, &mut File) -> io::Result<bool>) -> Option<bool> {
        if !self.somebody {
            return None;
        }
        let answer = self.screen.suspend(|| -> io::Result<bool> {
            let mut output = OpenOptions::new().read(true).write(true).open(TERMINAL)?;
            let mut input = BufReader::new(output.try_clone()?);
            // What was typed before the question was seen is no answer to it.
            tcflush(&output, QueueSelector::IFlush)?;
            ask(&mut input, &mut output)
        });
        answer.inspect_err(|error| tracing::warn!(%error, "a question could not be asked")).ok()
    }

    /// Asks for the passphrase of a private key. Nothing when nobody can be asked, or the answer is empty.
    pub fn passphrase(&self, key: &Path) -> Option<Zeroizing<String>> {
        if !self.somebody {
            return None;
        }
        self.screen.suspend(|| passphrase(rpassword::ConfigBuilder::new().build(), key))
    }
}

fn confirmed(input: &mut impl BufRead, output: &mut impl Write, question: &str) -> io::Result<bool> {
    write!(output, "{} [y/N] ", report::one_line(question))?;
    Ok(is_yes(&answer(input, output)?))
}

/// Reads the answer to the question that stands there now.
fn answer(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<String> {
    output.flush()?;
    let mut answer = String::new();
    input.take(LONGEST_ANSWER).read_line(&mut answer)?;
    if !answer.ends_with('\n') {
        // The end of input (Ctrl-D) leaves the cursor behind the question.
        writeln!(output)?;
    }
    Ok(answer.trim().to_owned())
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.eq_ignore_ascii_case(yes))
}

fn host_key_accepted(
    input: &mut impl BufRead,
    output: &mut impl Write,
    host: &str,
    algorithm: &str,
    fingerprint: &str,
) -> io::Result<bool> {
    let [host, algorithm, shown] = [host, algorithm, fingerprint].map(report::one_line);
    write!(
        output,
        "The host key of {host} is not known:\n  {algorithm} {shown}\n\
         Compare it with the one the host itself shows, or that its operator gave you.\n\
         Accept and remember it? [y/N, or the fingerprint you expect] "
    )?;
    let answer = answer(input, output)?;
    let accepted = is_yes(&answer) || answer == fingerprint;
    if !accepted && answer.starts_with("SHA256:") {
        writeln!(output, "That is another fingerprint: the key is not accepted.")?;
    }
    Ok(accepted)
}

fn passphrase(terminal: rpassword::Config, key: &Path) -> Option<Zeroizing<String>> {
    let question = format!("Passphrase for {}: ", report::one_line(&key.to_string_lossy()));
    let answer = rpassword::prompt_password_with_config(question, terminal).map(Zeroizing::new);
    let answer =
        answer.inspect_err(|error| tracing::warn!(%error, "a passphrase could not be asked for")).ok()?;
    (!answer.is_empty()).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "SHA256:0nDF3uNxMHDMSsJ0QGGVJzE8XSbJKa3Ch1JpzqK6K6o";

    /// Returns the decision after an answer, and what stood on the terminal.
    fn after(answer: &str) -> (bool, String) {
        let mut shown = Vec::new();
        let host = "web1.example.com\x1b[2J";
        let mut input = answer.as_bytes();
        let accepted = host_key_accepted(&mut input, &mut shown, host, "ED25519", FINGERPRINT).unwrap();
        (accepted, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn only_a_clear_yes_or_the_same_fingerprint_accepts_a_host_key() {
        for answer in ["y\n", "Y\n", " yes \r\n", "YES\n", &format!("{FINGERPRINT}\n")] {
            assert!(after(answer).0, "{answer:?}");
        }
        let other = format!("{FINGERPRINT}x\n");
        for answer in ["", "\n", "n\n", "no\n", "yep\n", "yes please\n", "1\n", &other, &"y".repeat(1_000)] {
            assert!(!after(answer).0, "{answer:?}");
        }
    }

    #[test]
    fn only_a_clear_yes_goes_on() {
        for (answer, goes_on) in
            [("y\n", true), ("Yes\n", true), ("\n", false), ("", false), ("yep\n", false)]
        {
            let mut shown = Vec::new();
            assert_eq!(
                confirmed(&mut answer.as_bytes(), &mut shown, "Do it?").unwrap(),
                goes_on,
                "{answer:?}"
            );
            assert!(String::from_utf8(shown).unwrap().starts_with("Do it? [y/N] "));
        }
    }

    #[test]
    fn the_question_shows_what_has_to_be_compared() {
        insta::assert_snapshot!(after("SHA256:other\n").1, @r"
        The host key of web1.example.com is not known:
          ED25519 SHA256:0nDF3uNxMHDMSsJ0QGGVJzE8XSbJKa3Ch1JpzqK6K6o
        Compare it with the one the host itself shows, or that its operator gave you.
        Accept and remember it? [y/N, or the fingerprint you expect] That is another fingerprint: the key is not accepted.
        ");
    }

    #[test]
    fn an_empty_passphrase_is_none() {
        let typed = |text: &str| {
            let terminal = rpassword::ConfigBuilder::new().input_data(text).output_discard().build();
            passphrase(terminal, Path::new("/home/me/.ssh/id_ed25519"))
        };
        assert_eq!(typed("correct horse\n").as_deref().map(String::as_str), Some("correct horse"));
        assert_eq!(typed("\n"), None);
    }

    #[test]
    fn nobody_is_asked_when_nobody_is_there() {
        let ask = Ask::nobody();
        assert_eq!(ask.accept_host_key("web1.example.com", "ED25519", FINGERPRINT), None);
        assert_eq!(ask.passphrase(Path::new("/home/me/.ssh/id_ed25519")), None);
    }
}
