//! Owns where things lie under `deploy_to` on a host. The shell side repeats these names in
//! `host/sh/lib.sh`; a test there holds the two together.

use super::ReleaseId;

/// The paths of one application's tree on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: String,
}

impl Layout {
    /// Returns the layout under `deploy_to`, an absolute path.
    pub fn new(deploy_to: &str) -> Self {
        let trimmed = deploy_to.trim_end_matches('/');
        Self { root: trimmed.to_owned() }
    }

    /// `deploy_to` itself, without a slash at its end.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The link to the live release.
    pub fn current(&self) -> String {
        format!("{}/current", self.root)
    }

    /// The directory of one release.
    pub fn release(&self, id: ReleaseId) -> String {
        format!("{}/releases/{id}", self.root)
    }

    /// The directory whose entries are linked into each release.
    pub fn shared(&self) -> String {
        format!("{}/shared", self.root)
    }

    /// What rdeploy itself keeps on the host (mode 0700).
    pub fn private(&self) -> String {
        format!("{}/.rdeploy", self.root)
    }
}
