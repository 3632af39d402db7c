//! The way of a project: deploys, a failure, rollbacks, and the end of a rehearsal.

use crate::support::project::Project;
use crate::support::project::Tree;

/// What every host answers and which release it names live.
fn standing(hosts: &[Tree]) -> Vec<(String, String)> {
    hosts.iter().map(|host| (host.answer(), host.live().unwrap())).collect()
}

#[test]
fn a_project_is_deployed_fails_is_put_back_and_rolled_back() {
    let project = Project::served(2);
    let hosts = [project.host(1), project.host(2)];
    assert_ne!(hosts[0].port, hosts[1].port);

    insta::assert_snapshot!(project.rdeploy(&["dev"]).run(), @r"
    exit code: 0
    --- stdout
    deploy of shop on dev: host1, host2
    local | packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    host1 | uploaded [SIZE]
    host1 | preparing
    host1 | switching
    host1 | current is now [RELEASE-----1]
    host1 | verifying
    host1 | proven to run [RELEASE-----1]: every process runs from the release
    host1 | done
    host2 | uploaded [SIZE]
    host2 | preparing
    host2 | switching
    host2 | current is now [RELEASE-----1]
    host2 | verifying
    host2 | proven to run [RELEASE-----1]: every process runs from the release
    host2 | done
    deployed [RELEASE-----1] to dev on 2 hosts in [T] (build [T], prepare [T], switch [T])
    --- stderr
    ");
    let first = hosts[0].live().unwrap();
    assert_eq!(standing(&hosts), vec![("200 version 1".to_owned(), first.clone()); 2]);

    project.version(2);
    project.rdeploy(&["dev"]).run().ends_with(0);
    let second = hosts[0].live().unwrap();
    assert!(second > first);
    assert_eq!(standing(&hosts), vec![("200 version 2".to_owned(), second.clone()); 2]);

    project.write(
        "deploy.toml",
        std::fs::read_to_string(project.file("deploy.toml")).unwrap().replace("20s", "1s"),
    );
    std::fs::remove_file(project.file("public/index.html")).unwrap();
    project.write("public/about.html", "nothing else");
    let failed = project.rdeploy(&["dev"]).run().ends_with(5);
    insta::assert_snapshot!(failed.failure(), @r#"
    error: host[N]: the health check did not pass within 1 s. The last answer: http://127.0.0.1:[APP]/ answered 404
      hint: mend the cause named above and deploy again

    the deploy to dev failed and was put back ([T]: build [T], prepare [T])

      host   state     live release
      host1  put back  [RELEASE-----2]
      host2  put back  [RELEASE-----2]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 5: failed; every host runs what it ran before
    "#);
    assert_eq!(standing(&hosts), vec![("200 version 2".to_owned(), second.clone()); 2]);

    let back = project.rdeploy(&["dev", "--rollback"]).run().ends_with(0);
    insta::assert_snapshot!(back, @r"
    exit code: 0
    --- stdout
    rollback of shop on dev: host1, host2
    host1 | preparing
    host1 | switching
    host1 | current is now [RELEASE-----1]
    host1 | verifying
    host1 | proven to run [RELEASE-----1]: every process runs from the release
    host1 | done
    host2 | preparing
    host2 | switching
    host2 | current is now [RELEASE-----1]
    host2 | verifying
    host2 | proven to run [RELEASE-----1]: every process runs from the release
    host2 | done
    rolled dev back to [RELEASE-----1] on 2 hosts in [T] (prepare [T], switch [T])
    --- stderr
    ");
    assert_eq!(standing(&hosts), vec![("200 version 1".to_owned(), first.clone()); 2]);
    assert_eq!(hosts[0].state(&second), "bad");

    let forward = format!("--rollback={second}");
    project.rdeploy(&["dev", &forward]).run().ends_with(0);
    assert_eq!(standing(&hosts), vec![("200 version 2".to_owned(), second.clone()); 2]);
    for host in &hosts {
        host.is_clean();
    }

    let stopped = project.rdeploy(&["dev", "stop"]).run();
    insta::assert_snapshot!(stopped, @r"
    exit code: 0
    --- stdout
    ended shop on host1, host2
    --- stderr
    ");
    assert_eq!(project.leftovers(), []);
    project.rdeploy(&["dev", "stop"]).run().ends_with(0);
}
