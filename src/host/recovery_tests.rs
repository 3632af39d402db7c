//! Guardians that are killed on a host inside the process: what they leave, and who takes over.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::super::Action;
use super::super::Attempt;
use super::super::HookScript;
use super::super::Host;
use super::super::HostError;
use super::super::LockOutcome;
use super::super::Session;
use super::super::SessionSettings;
use super::super::Verb;
use crate::artifact;
use crate::artifact::Artifact;
use crate::config;
use crate::embedded::EmbeddedHost;
use crate::embedded::Sandbox;
use crate::event::Events;
use crate::release::ReleaseId;
use crate::ssh;

const V1: &str = "20260101000001";
const V2: &str = "20260101000002";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host, and beside it a directory whose removal ends everything that was started here.
struct Fixture {
    host: EmbeddedHost,
    sandbox: Sandbox,
    root: PathBuf,
    dir: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("alive")).unwrap();
        let sandbox = Sandbox::in_dir(dir.path().join("sandbox")).unwrap();
        let login = sandbox.login_key().unwrap();
        let directory = sandbox.host(1).unwrap();
        let host = EmbeddedHost::start(directory.options(&login).unwrap()).await.unwrap();
        std::fs::write(sandbox.known_hosts_file(), host.host_key_line()).unwrap();
        let root = PathBuf::from(directory.deploy_to("/srv/shop"));
        Self { host, sandbox, root, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An app that a command starts, and that ends when the test does.
    fn environment(&self, health: &str) -> config::Environment {
        let alive = self.path("alive");
        let text = format!(
            r#"app = "shop"
deploy_to = "{root}"
linked_dirs = ["run"]
[supervisor]
kind = "command"
settle = "1s"
start = '''[ ! -e {broken} ] || exit 3; nohup sh -c 'while [ -d "$1" ]; do sleep 0.1; done' app {alive} >/dev/null 2>&1 & echo $! >run/pid'''
stop = '''kill "$(cat run/pid)"; rm run/pid'''
status = '''pid=$(cat run/pid) && kill -0 "$pid" && echo "$pid"'''
{health}
[env.prod]
hosts = ["127.0.0.1"]
"#,
            root = self.root.display(),
            broken = self.path("broken").display(),
            alive = alive.display(),
        );
        let file = self.path("deploy.toml");
        std::fs::write(&file, text).unwrap();
        let project =
            config::load(Some(&file), self.dir.path()).unwrap_or_else(|e| panic!("{}", e.render(false)));
        project.environment("prod").unwrap().clone()
    }

    /// A health check that says when it is asked of the second release, and never answers then. (Of what is
    /// live it is asked before the switch, too.)
    fn asked_for_ever(&self) -> String {
        let (asked, alive) = (self.path("asked"), self.path("alive"));
        let command = format!(
            "case $(pwd -P) in */{V2}) ;; *) exit 0 ;; esac; touch {}; while [ -d {} ]; do sleep 0.1; done",
            asked.display(),
            alive.display()
        );
        format!("[health]\ncommand = \"{command}\"\ntimeout = \"50s\"")
    }

    async fn session(&self, token: &str, environment: config::Environment) -> Session {
        let address = self.host.address();
        let target = ssh::Target {
            name: "host1".to_owned(),
            user: "rdeploy".to_owned(),
            address: address.ip().to_string(),
            port: address.port(),
        };
        let settings = ssh::Settings {
            identity: vec![self.sandbox.login_key_file()],
            known_hosts: vec![self.sandbox.known_hosts_file()],
            connect_timeout: PATIENCE,
            agent: false,
        };
        let ask: Arc<dyn ssh::Ask> = Arc::new(ssh::AskNobody);
        let connection = ssh::connect(&target, &settings, &ask).await.unwrap();
        let settings = SessionSettings {
            environment: environment.into(),
            host: "host1".to_owned(),
            roles: None,
            ordinal: 0,
            verb: Verb::Deploy,
            token: token.to_owned(),
            owner: "ada@laptop".to_owned(),
            from: "laptop".to_owned(),
            ci_url: String::new(),
            host_vars: [].into(),
            hooks: vec![self.hook("after_unpack", 1), self.hook("on_failure", 2)],
        };
        Session::start(connection, settings).await.unwrap()
    }

    /// A hook that notes which release it sees and, at the first point, stays.
    fn hook(&self, point: &'static str, number: usize) -> HookScript {
        let stay = if number == 1 {
            format!(
                "echo $$ >{}; while [ -d {} ]; do sleep 0.1; done",
                self.path("hook").display(),
                self.path("alive").display()
            )
        } else {
            format!("echo \"$RDEPLOY_RELEASE\" >>{}", self.path("mourned").display())
        };
        let hook = config::Hook {
            run: stay,
            roles: Vec::new(),
            once: false,
            dir: None,
            timeout: PATIENCE,
            on_deploy: true,
            on_rollback: true,
            undo: None,
        };
        HookScript { number, point, hook }
    }

    fn artifact(&self, page: &str) -> Artifact {
        let project = self.path("project");
        std::fs::create_dir_all(&project).unwrap();
        std::fs::write(project.join("page"), page).unwrap();
        let request = artifact::PackRequest {
            root: &project,
            build: &config::Build { source: ".".into(), ..config::Build::default() },
            linked: vec!["run".to_owned()],
            cache: &artifact::Cache::at(self.path("cache")),
            cancel: tokio_util::sync::CancellationToken::new(),
        };
        artifact::pack(&request, &Events::ignored()).unwrap()
    }

    /// A session that is ready to switch to the release.
    async fn ready(&self, id: &str, health: &str) -> Session {
        let session = self.session(&format!("token-{id}"), self.environment(health)).await;
        let locked = session.lock().await.unwrap();
        let LockOutcome::Taken(facts) = locked else { panic!("{locked:?}") };
        let id: ReleaseId = id.parse().unwrap();
        let mut attempt = Attempt::new(id, facts.current.as_deref());
        let artifact = self.artifact(&id.to_string());
        attempt.digest = artifact.digest.to_string();
        session.begin(&attempt).await.unwrap();
        session.upload(&artifact, &facts, &|_| ()).await.unwrap();
        session.act(&Action::Prepare, &|_| ()).await.unwrap();
        session.act(&Action::Ready, &|_| ()).await.unwrap();
        session
    }

    async fn deploy_v1(&self) {
        let session = self.ready(V1, "").await;
        for action in [Action::Activate, Action::Commit, Action::Finish(Vec::new())] {
            session.act(&action, &|_| ()).await.unwrap();
        }
        session.leave().await.unwrap();
        self.runs(V1);
    }

    fn private(&self, path: &str) -> PathBuf {
        self.root.join(".rdeploy").join(path)
    }

    fn state(&self, id: &str) -> String {
        std::fs::read_to_string(self.private(&format!("releases/{id}/state"))).unwrap().trim().to_owned()
    }

    /// `current` names the release, and the app's process runs from it.
    fn runs(&self, id: &str) {
        let release = self.root.join("releases").join(id);
        assert_eq!(std::fs::read_link(self.root.join("current")).unwrap(), release);
        let pid = number_in(&self.root.join("shared/run/pid")).unwrap();
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), release);
    }

    /// Kills the guardian that has the lock, as a person or the kernel would.
    fn kill_guardian(&self) {
        let lock = std::fs::read_to_string(self.private("lock")).unwrap();
        let pid = lock.lines().find_map(|line| line.strip_prefix("pid=")).unwrap().parse().unwrap();
        kill(pid);
    }

    fn is_free(&self) {
        assert!(!self.private("lock").exists());
        assert_eq!(std::fs::read_dir(self.private("run")).unwrap().count(), 0);
    }
}

fn number_in(file: &Path) -> Option<i32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Waits for a file that something else writes.
async fn appears(file: &Path) {
    let seen = async {
        while !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{} never came", file.display()));
}

/// Has the guardian killed while it proves the second release; returns how the activation ended.
async fn dies_while_verifying(fixture: &Fixture, session: &Session) -> HostError {
    let killed = async {
        appears(&fixture.path("asked")).await;
        fixture.kill_guardian();
    };
    let (ended, ()) = tokio::join!(session.act(&Action::Activate, &|_| ()), killed);
    ended.unwrap_err()
}

#[tokio::test]
async fn a_guardian_that_dies_after_the_switch_is_succeeded_and_its_host_put_back() {
    let fixture = Fixture::new().await;
    fixture.deploy_v1().await;
    let session = fixture.ready(V2, &fixture.asked_for_ever()).await;
    let death = dies_while_verifying(&fixture, &session).await;
    assert!(matches!(death, HostError::GuardianDied { .. }), "{death:?}");
    fixture.runs(V2);

    session.revert(&|_| ()).await.unwrap();
    fixture.runs(V1);
    assert_eq!(fixture.state(V2), "failed");
    let journal = std::fs::read_to_string(fixture.private("history.ndjson")).unwrap();
    let last = journal.lines().last().unwrap();
    assert!(last.contains("\"outcome\":\"reverted\"") && last.contains(&format!("token-{V2}\"")), "{last}");

    // Who took over has the lock, and runs what still is to be run.
    session.hook(&fixture.hook("on_failure", 2), &|_| ()).await.unwrap();
    assert_eq!(std::fs::read_to_string(fixture.path("mourned")).unwrap().trim(), V2);
    session.leave().await.unwrap();
    fixture.is_free();
    // And it is no dead end.
    let session = fixture.ready("20260101000003", "").await;
    session.act(&Action::Activate, &|_| ()).await.unwrap();
    fixture.runs("20260101000003");
    session.revert(&|_| ()).await.unwrap();
    session.leave().await.unwrap();
    fixture.runs(V1);
    fixture.is_free();
}

#[tokio::test]
async fn what_a_dead_guardian_had_started_is_ended_before_anything_is_undone() {
    let fixture = Fixture::new().await;
    fixture.deploy_v1().await;
    let session = fixture.ready(V2, "").await;
    let hook = fixture.hook("after_unpack", 1);
    let killed = async {
        appears(&fixture.path("hook")).await;
        fixture.kill_guardian();
        session.revert(&|_| ()).await
    };
    let (hooked, reverted) = tokio::join!(session.hook(&hook, &|_| ()), killed);
    reverted.unwrap();
    let noticed = matches!(hooked, Err(HostError::GuardianDied { doing: "running a hook", .. }));
    assert!(noticed, "{hooked:?}");
    assert!(!lives(number_in(&fixture.path("hook")).unwrap()));
    assert_eq!(fixture.state(V2), "failed");
    fixture.runs(V1);
    session.leave().await.unwrap();
    fixture.is_free();
}

/// A host that has committed the second release, and whose guardian was killed then.
async fn dead_after_its_commit() -> (Fixture, Session) {
    let fixture = Fixture::new().await;
    fixture.deploy_v1().await;
    let session = fixture.ready(V2, "").await;
    session.act(&Action::Activate, &|_| ()).await.unwrap();
    session.act(&Action::Commit, &|_| ()).await.unwrap();
    fixture.kill_guardian();
    (fixture, session)
}

#[tokio::test]
async fn a_guardian_that_dies_after_its_commit_is_found_to_have_committed() {
    let (fixture, session) = dead_after_its_commit().await;
    let ended = session.revert(&|_| ()).await;
    assert!(matches!(ended, Err(HostError::AlreadyCommitted)), "{ended:?}");
    assert_eq!(fixture.state(V2), "good");
    fixture.runs(V2);
    session.act(&Action::Finish(Vec::new()), &|_| ()).await.unwrap();
    session.leave().await.unwrap();
    assert_eq!(fixture.state(V2), "good");
    fixture.is_free();
}

#[tokio::test]
async fn a_guardian_that_dies_after_its_commit_leaves_neither_a_lock_nor_anything_to_finish() {
    let (fixture, session) = dead_after_its_commit().await;
    let finished = session.act(&Action::Finish(Vec::new()), &|_| ()).await;
    assert!(matches!(finished, Err(HostError::GuardianDied { .. })), "{finished:?}");
    session.leave().await.unwrap();
    fixture.is_free();
    fixture.runs(V2);
    let history = std::fs::read_to_string(fixture.private("history.ndjson")).unwrap();
    let last = history.lines().last().unwrap();
    assert!(last.contains("\"outcome\":\"done\"") && last.contains(&format!("token-{V2}\"")), "{last}");
}

#[tokio::test]
async fn a_successor_that_cannot_put_the_host_back_says_so_and_leaves_its_words() {
    let fixture = Fixture::new().await;
    fixture.deploy_v1().await;
    let session = fixture.ready(V2, &fixture.asked_for_ever()).await;
    dies_while_verifying(&fixture, &session).await;
    std::fs::write(fixture.path("broken"), "").unwrap();
    let error = session.revert(&|_| ()).await.unwrap_err();
    assert!(matches!(error, HostError::Refused { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("current is back at") && text.contains(V1), "{text}");
    assert!(error.output().is_some_and(|output| output.contains("status 3")), "{error:?}");
    assert!(std::fs::read_to_string(fixture.private("revert-failed.log")).unwrap().contains("status 3"));
    session.leave().await.unwrap();
    assert!(!fixture.private("lock").exists());
}

#[tokio::test]
async fn over_a_lost_connection_nobody_takes_over() {
    let fixture = Fixture::new().await;
    fixture.deploy_v1().await;
    let session = fixture.ready(V2, "").await;
    fixture.host.cut_connections();
    let error = session.revert(&|_| ()).await.unwrap_err();
    assert!(matches!(error, HostError::Lost { .. }), "{error:?}");
    // The guardian sees it too, and frees its lock by itself.
    let freed = async {
        while fixture.private("lock").exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.unwrap();
    fixture.runs(V1);
}
