//! Owns what the tests inside `src` agree on: the shells that what runs on a host is tried under, what is said
//! when one of them is missing, how thorough a run is, and what does not compress. Knows nothing of what is tested.

use std::hash::BuildHasher;
use std::hash::BuildHasherDefault;
use std::hash::DefaultHasher;
use std::io::Write;
use std::path::PathBuf;

/// A shell that a host may have as its `sh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Dash,
    Bash,
    /// With BusyBox's own tools before the system's.
    BusyBox,
}

impl Shell {
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Dash => "dash",
            Self::Bash => "bash",
            Self::BusyBox => "busybox",
        }
    }
}

/// The shells that the running test uses. In a plain run one: BusyBox for half of the tests, dash or bash, which also
/// bring the system's tools, for the others. Which one, the test's name decides, so that it is always the same. A
/// full run uses all three. A missing one is named, or is a failure with RDEPLOY_TEST_ALL=1.
pub(crate) fn shells() -> Vec<Shell> {
    let test = std::thread::current();
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(test.name());
    let shells = match (is_full(), hash % 4) {
        (true, _) => &[Shell::Dash, Shell::Bash, Shell::BusyBox][..],
        (false, 0) => &[Shell::Dash],
        (false, 1) => &[Shell::Bash],
        (false, _) => &[Shell::BusyBox],
    };
    shells.iter().copied().filter(|shell| has(shell.program())).collect()
}

/// Whether this is `tests/run --full`.
fn is_full() -> bool {
    std::env::var("RDEPLOY_TEST_FULL").as_deref() == Ok("1")
}

/// How often something is done: `plain` times, or `full` times in a full run.
pub(crate) fn times(plain: usize, full: usize) -> usize {
    if is_full() { full } else { plain }
}

/// Bytes that do not compress; the same of the same seed.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..size).map(|_| byte()).collect()
}

/// Whether a program that a test needs is on PATH; says so, or fails, when it is not.
pub(crate) fn has(program: &str) -> bool {
    let found = which(program).is_some();
    if !found {
        skip(&format!("{program} is not on this machine"));
    }
    found
}

/// Says what is not tested; where everything has to be, that is a failure.
pub(crate) fn skip(what: &str) {
    note(&format!("skipped: {what}"));
    assert!(std::env::var("RDEPLOY_TEST_ALL").as_deref() != Ok("1"), "{what}");
}

/// Says something about a running test, past libtest's capturing.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The path of a program on PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[test]
fn every_shell_has_its_share_of_the_tests() {
    let shells_of =
        |test: String| std::thread::Builder::new().name(test).spawn(shells).unwrap().join().unwrap();
    let of_all: Vec<_> = (0..40).map(|n| shells_of(format!("test {n}"))).collect();
    for shell in [Shell::Dash, Shell::Bash, Shell::BusyBox] {
        let share = of_all.iter().filter(|shells| shells.contains(&shell)).count();
        assert!(share >= 10, "{shell:?} has {share} of 40");
    }
}
