//! What several tests need: skipping with a word, people who answer questions, a private sshd, a
//! user's project and hosts for it.

pub(crate) mod askers;
pub(crate) mod browser;
pub(crate) mod fleet;
pub(crate) mod full;
pub(crate) mod gate;
pub(crate) mod listed;
pub(crate) mod project;
pub(crate) mod pty;
pub(crate) mod running;
pub(crate) mod shown;
pub(crate) mod sshd;
pub(crate) mod start;

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use rdeploy::ssh::Settings;
use rdeploy::ssh::Surroundings;
use rdeploy::ssh::Target;

/// Says that a test did not run, past libtest's capturing. Where everything is meant to be installed
/// (`RDEPLOY_TEST_ALL=1`), that is a failure.
pub(crate) fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
    if std::env::var("RDEPLOY_TEST_ALL").is_ok_and(|value| value == "1") {
        panic!("{test} did not run: {why}");
    }
}

/// Finds a program in PATH, or where Debian keeps daemons.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// A host to test against, and how to get in.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) target: Target,
    pub(crate) settings: Settings,
    pub(crate) surroundings: Surroundings,
}

impl Place {
    /// How to get to a port on loopback with one key and one file of known hosts, and nothing of the
    /// user who runs the tests.
    pub(crate) fn new(port: u16, key: &Path, known_hosts: &Path) -> Self {
        Self {
            target: Target { name: "the-host".into(), user: user(), address: "127.0.0.1".into(), port },
            settings: Settings {
                identity: vec![key.to_owned()],
                known_hosts: vec![known_hosts.to_owned()],
                connect_timeout: std::time::Duration::from_secs(20),
                agent: false,
            },
            surroundings: Surroundings::default(),
        }
    }
}

/// The name of the user who runs the tests.
pub(crate) fn user() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
