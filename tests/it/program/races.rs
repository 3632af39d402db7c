//! Many deploys at one instant.

use std::fs;

use crate::support::fleet::note;
use crate::support::listed::Listed;
use crate::support::project::Project;
use crate::support::project::eventually;
use crate::support::project::names_in;
use crate::support::start;
use crate::support::start::StartLine;

/// How many are started together.
const DEPLOYS: usize = 50;

#[test]
fn of_fifty_deploys_at_one_instant_one_runs_at_a_time_and_the_others_name_the_owner() {
    let project = Project::new();
    project.version(1);
    let listed = Listed::start(&project, 3);
    let busy = project.beside("busy");
    fs::create_dir(&busy).unwrap();
    let mut line = StartLine::new(&project.beside("start"));
    let hooks = start::alone(busy.to_str().unwrap());
    project.configure(
        &listed.files(&format!("keep_releases = {DEPLOYS}\n[build]\nrun = [{:?}]\n{hooks}", line.wait())),
    );

    let start = |n: usize| project.rdeploy(&["prod"]).env("USER", &format!("user{n}")).start();
    let running: Vec<_> = (1..=DEPLOYS).map(start).collect();
    eventually("all to be at the start", || line.reached() == DEPLOYS);
    line.open(DEPLOYS);
    let ended: Vec<_> = running.into_iter().map(|running| running.wait()).collect();

    let owner = regex::Regex::new(r"another deploy holds the lock: user\d+@\S+ from \S+ since 20").unwrap();
    for ended in &ended {
        assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
        assert!(ended.code == Some(0) || owner.is_match(&ended.err), "{ended}");
    }
    let done = ended.iter().filter(|ended| ended.code == Some(0)).count();
    assert!((1..DEPLOYS).contains(&done), "{done} of {DEPLOYS} went through");
    for tree in listed.trees() {
        assert_eq!(tree.releases().len(), done);
        assert_eq!(tree.live().as_ref(), tree.releases().last());
        assert_eq!(tree.live(), listed.tree(1).live());
        tree.is_clean();
    }
    assert_eq!(names_in(&busy), [""; 0]);
    note(&format!("{DEPLOYS} deploys at one instant: {done} went through, one after the other"));
}
