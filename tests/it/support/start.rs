//! Owns starting many runs at one instant: each waits in its local build until all are there. By then
//! they are connected, or about to be.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;

use super::project::names_in;

/// The line at which runs wait.
pub(crate) struct StartLine {
    dir: PathBuf,
    gate: File,
}

impl StartLine {
    /// A line in a directory of its own, which is made.
    pub(crate) fn new(dir: &Path) -> Self {
        fs::create_dir(dir).unwrap();
        let gate = dir.join("gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate, Mode::RUSR | Mode::WUSR).unwrap();
        // With both ends open here, nobody is let through before something is written.
        let gate = File::options().read(true).write(true).open(&gate).unwrap();
        Self { dir: dir.to_owned(), gate }
    }

    /// The command that waits there.
    pub(crate) fn wait(&self) -> String {
        let dir = self.dir.display();
        format!("echo here >{dir}/at-$$ && read -r go <{dir}/gate")
    }

    /// How many wait, or have waited.
    pub(crate) fn reached(&self) -> usize {
        names_in(&self.dir).len() - 1
    }

    /// Lets that many go.
    pub(crate) fn open(&mut self, runs: usize) {
        self.gate.write_all("go\n".repeat(runs).as_bytes()).unwrap();
    }
}

/// The hooks by which no two deploys can be at work at once, on one host or on two, without one of them
/// failing: what `[hooks]` says. `dir` has to be there, and may be a path of every host's own.
pub(crate) fn alone(dir: &str) -> String {
    let mine = format!("{dir}/$RDEPLOY_HOST");
    let enter = format!(
        "mkdir {mine} && echo $RDEPLOY_RELEASE >{mine}/release && [ $(cat {dir}/*/release | sort -u | wc -l) = 1 ] \
         || {{ echo two deploys at once; exit 1; }}"
    );
    format!("[hooks]\nafter_unpack = [{enter:?}]\nafter_deploy = [\"rm -r {mine}\"]\n")
}
