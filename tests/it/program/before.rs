//! Owns what stood on the hosts before a test did something to them, and the proof that it stands there
//! again.

use crate::support::project::Project;
use crate::support::project::Tree;

/// What every host runs.
#[derive(Debug)]
pub(super) struct Before {
    trees: Vec<Tree>,
    standing: Vec<Standing>,
}

/// What a host runs: the release, its page, and what its app answers, where it has one.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    live: Option<String>,
    page: Option<String>,
    answer: Option<String>,
}

impl Standing {
    fn of(tree: &Tree) -> Self {
        let live = tree.live();
        let page = live.is_some().then(|| tree.read("current/public/index.html"));
        let served = tree.root.join("shared/run/pid").exists();
        Self { page, answer: served.then(|| tree.answer()), live }
    }
}

impl Before {
    /// Looks at the hosts.
    pub(super) fn on(trees: Vec<Tree>) -> Self {
        let standing = trees.iter().map(Standing::of).collect();
        Self { trees, standing }
    }

    /// Looks at that many embedded hosts.
    pub(super) fn on_embedded(project: &Project, hosts: u8) -> Self {
        Self::on((1..=hosts).map(|n| project.host(n)).collect())
    }

    /// Deploys version 1 to that many embedded hosts, makes the project version 2, and looks.
    pub(super) fn version_1(project: &Project, hosts: u8) -> Self {
        project.version(1);
        project.deploys();
        project.version(2);
        Self::on_embedded(project, hosts)
    }

    /// Proves that every host runs exactly what it ran, and that nothing of any attempt is left.
    pub(super) fn stands(&self) {
        let now: Vec<Standing> = self.trees.iter().map(Standing::of).collect();
        assert_eq!(now, self.standing);
        self.trees.iter().for_each(Tree::is_clean);
    }

    /// Whether every host runs what it ran, by the link alone.
    pub(super) fn is_live(&self) -> bool {
        self.trees.iter().zip(&self.standing).all(|(tree, before)| tree.live() == before.live)
    }

    /// Whether any host is locked.
    pub(super) fn is_locked(&self) -> bool {
        self.trees.iter().any(Tree::is_locked)
    }
}
