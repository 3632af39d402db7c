//! Owns stopping a command on a host at a known moment: it says that it is there and waits until the
//! test lets it go on.

use std::fs;
use std::path::PathBuf;

use super::project::Project;
use super::project::names_in;

/// A place where commands wait.
pub(crate) struct Gate {
    dir: PathBuf,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new(project: &Project, name: &str) -> Self {
        let dir = project.beside(name);
        fs::create_dir(&dir).unwrap();
        Self { dir }
    }

    /// The command that waits at it; every host has a name of its own there.
    pub(crate) fn wait(&self) -> String {
        let dir = self.dir.display();
        format!("echo here >{dir}/at-${{RDEPLOY_HOST:-local}}; until [ -e {dir}/open ]; do sleep 0.05; done")
    }

    /// How many wait, or have waited.
    pub(crate) fn reached(&self) -> usize {
        names_in(&self.dir).iter().filter(|name| name.starts_with("at-")).count()
    }

    /// Lets everybody go on.
    pub(crate) fn open(&self) {
        fs::write(self.dir.join("open"), "").unwrap();
    }
}
