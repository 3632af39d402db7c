//! `lock --message`: a freeze that deploys and rollbacks respect until `unlock` lifts it.

use crate::support::gate::Gate;
use crate::support::project::Project;
use crate::support::project::files;
use crate::support::project::real_program;
use crate::support::shown::squeezed;

use super::before::Before;

fn is_frozen(project: &Project) -> [bool; 2] {
    [1, 2].map(|n| project.host(n).root.join(".rdeploy/freeze").exists())
}

#[test]
fn a_freeze_refuses_deploys_and_rollbacks_until_it_is_lifted() {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    let message = "the fair is on; ask Eve";
    insta::assert_snapshot!(project.rdeploy(&["dev", "lock", "--message", message]).run(), @r"
    exit code: 0
    --- stdout
    froze dev on host1, host2: the fair is on; ask Eve
    deploys and rollbacks are refused until `rdeploy dev unlock`
    --- stderr
    ");
    // Waiting does not help: it ends when a person says so.
    let refused = project.rdeploy(&["dev", "--wait"]).env("USER", "bob").run();
    insta::assert_snapshot!(refused.ends_with(4), @r"
    exit code: 4
    --- stdout
    deploy of shop on dev: host1, host2
    local | packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    host1 | failed: the environment is frozen: the fair is on; ask Eve (ada@[MACHINE] from [MACHINE] since [TIME])
    host2 | failed: the environment is frozen: the fair is on; ask Eve (ada@[MACHINE] from [MACHINE] since [TIME])
    --- stderr

    error: host[N]: the environment is frozen: the fair is on; ask Eve (ada@[MACHINE] from [MACHINE] since [TIME])
      hint: deploys and rollbacks are refused until `unlock` lifts the freeze

    the deploy to dev did not start ([T]: build [T])

      host   state      live release
      host1  unchanged  [RELEASE-----1]
      host2  unchanged  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 4: locked by somebody else; no host was changed
    ");
    let refused = project.rdeploy(&["dev", "--rollback"]).run();
    assert_eq!(refused.code, Some(3), "there is nothing to go back to: {refused}");
    insta::assert_snapshot!(project.rdeploy(&["dev", "lock", "-m", "me too"]).env("USER", "bob").run(), @r"
    exit code: 4
    --- stdout
    --- stderr
    error: dev is not frozen; nothing was changed
      host1: frozen already: the fair is on; ask Eve (ada@[MACHINE] from [MACHINE] since [TIME])
    ");
    before.stands();

    // What settles and what looks goes on.
    insta::assert_snapshot!(project.rdeploy(&["dev", "recover"]).run().ends_with(0).output(), @r"
    host   found    done           live release
    host1  nothing  nothing to do  [RELEASE-----1]
    host2  nothing  nothing to do  [RELEASE-----1]
    ");
    insta::assert_snapshot!(project.rdeploy(&["dev", "releases"]).run().ends_with(0).output(), @r"
    release         state  live  commit  made                  by
    [RELEASE-----1]  good   live  -       [TIME]  ada@[MACHINE]
    host1: frozen: the fair is on; ask Eve (ada@[MACHINE] from [MACHINE] since [TIME])
    host2: frozen: the fair is on; ask Eve (ada@[MACHINE] from [MACHINE] since [TIME])
    ");
    let lifted = project.rdeploy(&["dev", "unlock"]).env("USER", "bob").run();
    insta::assert_snapshot!(squeezed(&lifted.to_string()), @r"
    exit code: 0
    --- stdout
    host  found  done  live release
    host1  frozen: the fair is on; ask Eve (ada@[MACHINE] from [MACHINE] since [TIME])  freeze lifted  [RELEASE-----1]
    host2  frozen: the fair is on; ask Eve (ada@[MACHINE] from [MACHINE] since [TIME])  freeze lifted  [RELEASE-----1]
    --- stderr
    ");
    project.deploys();
    project.rdeploy(&["dev", "lock", "-m", "again"]).run().ends_with(0);
    project.rdeploy(&["dev", "--rollback"]).run().ends_with(4).tells("the environment is frozen: again");
    project.rdeploy(&["dev", "unlock"]).run().ends_with(0);
    project.rdeploy(&["dev", "--rollback"]).run().ends_with(0);
}

#[test]
fn a_freeze_says_why() {
    let project = Project::files(1, "");
    insta::assert_snapshot!(project.rdeploy(&["dev", "lock"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: the following required arguments were not provided:
      --message <TEXT>

    Usage: rdeploy dev lock --message <TEXT>

    For more information, try '--help'.
    ");
    for message in ["", " ", "two\nlines"] {
        let refused = project.rdeploy(&["dev", "lock", "-m", message]).run().ends_with(2);
        assert!(refused.err.contains("a message") || refused.err.contains("say why"), "{refused}");
    }
}

#[test]
fn every_host_is_frozen_or_none_and_no_running_deploy_is_cut() {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    let gate = Gate::new(&project, "gate");
    project.configure(&files(2, &format!("[hooks]\nafter_unpack = [{:?}]", gate.wait())));
    let mut deploy = project.rdeploy(&["dev"]).start();
    deploy.until("both hosts to be in their hook", || gate.reached() == 2);
    insta::assert_snapshot!(project.rdeploy(&["dev", "lock", "-m", "now"]).run(), @r"
    exit code: 4
    --- stdout
    --- stderr
    error: dev is not frozen; nothing was changed
      host1: ada@[MACHINE] from [MACHINE] since [TIME], doing deploy dev
    ");
    assert_eq!(is_frozen(&project), [false, false]);
    let freeze = project.rdeploy(&["dev", "lock", "-m", "now", "--wait"]).start();
    gate.open();
    deploy.wait().ends_with(0);
    freeze.wait().ends_with(0);
    assert_eq!(is_frozen(&project), [true, true]);

    // The second host cannot be frozen, so the first is not either.
    project.rdeploy(&["dev", "unlock"]).run().ends_with(0);
    let mv = real_program("mv");
    let fails = "case \"$*\" in *host2*/.rdeploy/freeze) echo no space >&2; exit 1 ;; esac";
    project.tool("mv", &format!("{fails}\nexec {} \"$@\"", mv.display()));
    insta::assert_snapshot!(project.rdeploy(&["dev", "lock", "-m", "now"]).run(), @r"
    exit code: 3
    --- stdout
    --- stderr
    error: not every host could be frozen, so none is
      host2: no space
    ");
    assert_eq!(is_frozen(&project), [false, false]);
    assert!(!before.is_locked());
}
