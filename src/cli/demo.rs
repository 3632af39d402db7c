//! `rdeploy demo`: the whole story on this machine, told with the verbs that a user has.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use clap::Args;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::Fatal;
use super::launch;
use super::tell;
use crate::deploy::Outcome;
use crate::embedded::Sandbox;
use crate::shell;

/// How many hosts the demo has.
const HOSTS: u8 = 2;

/// Arguments of `rdeploy demo`.
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// Keep the sample project, its hosts' files and logs in this new directory, to look around
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// How long an attempt that was left to its hosts may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happens to the sample app before a step.
enum Change {
    /// Its page says this from now on.
    Page(&'static str),
    /// Its page is lost.
    NoPage,
    /// Nothing.
    None,
}

/// One step of the story.
struct Step {
    tells: &'static str,
    change: Change,
    args: &'static [&'static str],
    code: u8,
    /// What every host answers afterwards.
    answer: &'static str,
}

const STORY: [Step; 4] = [
    Step {
        tells: "The first deploy: the app is packed once and sent to both hosts, and neither starts it\n   \
                before both have it.",
        change: Change::Page("version 1\n"),
        args: &["dev"],
        code: 0,
        answer: "version 1",
    },
    Step {
        tells: "A new version: it is unpacked beside the old one, one rename makes it live, and then it\n   \
                has to prove that it runs and answers.",
        change: Change::Page("version 2\n"),
        args: &["dev"],
        code: 0,
        answer: "version 2",
    },
    Step {
        tells: "A broken version: it starts, but it has lost its page, so the health check fails. Both\n   \
                hosts go back to version 2 by themselves; exit code 5 stands for exactly that.",
        change: Change::NoPage,
        args: &["dev"],
        code: 5,
        answer: "version 2",
    },
    Step {
        tells: "A rollback: back to the release that was live before, proven in the same way.",
        change: Change::None,
        args: &["dev", "--rollback"],
        code: 0,
        answer: "version 1",
    },
];

pub(super) async fn run(args: DemoArgs) -> Result<u8, Fatal> {
    let stage = Stage::set(args.keep)?;
    let cancel = CancellationToken::new();
    launch::cancel_on_signal(&cancel);
    tell(&format!(
        "Here is a small web app, and {HOSTS} SSH hosts to deploy it to: they run inside rdeploy, on this\n\
         machine only. Every step below is a command that you have, too.\n\
         The project: {}",
        stage.project.display()
    ))?;
    let told = stage.play(&cancel).await;
    // Whatever happened: what was started is ended.
    let ended = stage.end().await;
    told?;
    match ended? {
        0 => {}
        code => return Err(Fatal::unexpected(format!("`rdeploy dev stop` ended with code {code}"))),
    }
    if cancel.is_cancelled() {
        tell("The demo was stopped; nothing of it is left running.")?;
        return Ok(Outcome::Interrupted.code());
    }
    tell(&stage.farewell())?;
    Ok(Outcome::Done.code())
}

struct Stage {
    root: PathBuf,
    project: PathBuf,
    state: PathBuf,
    program: PathBuf,
    /// Removed at the end, unless it is to be kept.
    directory: Option<tempfile::TempDir>,
}

impl Stage {
    fn set(keep: Option<PathBuf>) -> Result<Self, Fatal> {
        let program = std::env::current_exe().map_err(Fatal::unexpected)?;
        let (root, directory) = match keep {
            None => {
                let directory = tempfile::Builder::new().prefix("rdeploy-demo-").tempdir();
                let directory = directory
                    .map_err(|error| Fatal::usage(format!("no temporary directory can be made: {error}")))?;
                (directory.path().to_owned(), Some(directory))
            }
            Some(root) => {
                std::fs::create_dir(&root).map_err(|error| {
                    Fatal::usage(format!("{} cannot be made: {error}", root.display()))
                        .hint("name a directory that does not exist yet")
                })?;
                (root.canonicalize().map_err(Fatal::unexpected)?, None)
            }
        };
        let project = root.join("hello");
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(project.join("public"))?;
            std::fs::write(project.join("public/about.txt"), "a sample app of rdeploy\n")?;
            std::fs::write(project.join("deploy.toml"), configuration(&program))
        };
        write().map_err(|error| Fatal::usage(format!("{}: {error}", project.display())))?;
        Ok(Self { state: root.join("state"), root, project, program, directory })
    }

    async fn play(&self, cancel: &CancellationToken) -> Result<(), Fatal> {
        for (n, step) in STORY.iter().enumerate() {
            self.change(&step.change).map_err(Fatal::unexpected)?;
            tell(&format!("\n{}. {}\n\n$ rdeploy {}", n + 1, step.tells, step.args.join(" ")))?;
            let code = self.rdeploy(step.args).await?;
            if code == Outcome::Interrupted.code() {
                // Ctrl-C reaches both, and which of the two notices first is left to chance.
                cancel.cancel();
            }
            if cancel.is_cancelled() {
                return Ok(());
            }
            let answers = self.answers().await?;
            tell(&format!("(exit code {code})"))?;
            for (host, port, answer) in &answers {
                tell(&format!("{host}, http://127.0.0.1:{port}/ answers: {answer}"))?;
            }
            if code != step.code || answers.iter().any(|(.., answer)| answer != step.answer) {
                return Err(Fatal::unexpected(format!(
                    "step {} should have ended with code {} and `{}` on every host",
                    n + 1,
                    step.code,
                    step.answer
                )));
            }
        }
        Ok(())
    }

    fn change(&self, change: &Change) -> std::io::Result<()> {
        let page = self.project.join("public/index.html");
        match change {
            Change::Page(text) => std::fs::write(page, text),
            Change::NoPage => std::fs::remove_file(page),
            Change::None => Ok(()),
        }
    }

    /// Ends the app. An attempt that was left to the hosts still holds their locks for a moment.
    async fn end(&self) -> Result<u8, Fatal> {
        let started = Instant::now();
        loop {
            match self.rdeploy(&["dev", "stop"]).await? {
                code if code == Outcome::Locked.code() && started.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                code => return Ok(code),
            }
        }
    }

    fn farewell(&self) -> String {
        match self.directory {
            Some(_) => {
                "That was the demo. Nothing of it is left, neither processes nor files;\n\
                 `rdeploy demo --keep DIR` leaves the project to look around in.\n\
                 Next: copy deploy.toml.example to your own project as deploy.toml, and run `rdeploy dev` there."
                    .to_owned()
            }
            None => format!(
                "That was the demo. Nothing of it is left running; the project is in {}.\n\
                 Next: copy deploy.toml.example to your own project as deploy.toml, and run `rdeploy dev` there.",
                self.project.display()
            ),
        }
    }

    /// Runs this very program as a user would. Returns its exit code; where a signal ended it before it
    /// could answer to one, the code of an interruption.
    async fn rdeploy(&self, args: &[&str]) -> Result<u8, Fatal> {
        let status = tokio::process::Command::new(&self.program)
            .args(args)
            .current_dir(&self.project)
            .env("RDEPLOY_STATE_DIR", &self.state)
            .env("RDEPLOY_CACHE_DIR", self.root.join("cache"))
            .env_remove("RDEPLOY_CONFIG")
            .stdin(Stdio::null())
            .status()
            .await
            .map_err(|error| {
                Fatal::unexpected(format!("{} does not run: {error}", self.program.display()))
            })?;
        if status.signal().is_some() {
            return Ok(Outcome::Interrupted.code());
        }
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }

    /// Each host's name, its app's port, and what the app answers.
    async fn answers(&self) -> Result<Vec<(String, u16, String)>, Fatal> {
        let sandbox = Sandbox::in_state_dir(&self.state, &self.project).map_err(Fatal::unexpected)?;
        let mut answers = Vec::new();
        for n in 1..=HOSTS {
            let host = sandbox.host(n).map_err(Fatal::unexpected)?;
            let port = host.port().map_err(Fatal::unexpected)?;
            let answer = get(port).await.unwrap_or_else(|error| format!("nothing ({error})"));
            answers.push((host.name(), port, answer));
        }
        Ok(answers)
    }
}

/// The sample's deploy.toml. The app is served by rdeploy itself, so that no other program is needed.
///
/// Whether a process runs is asked of /proc: `kill -0` also finds one that has ended but was not waited
/// for, which in a container may last.
fn configuration(program: &Path) -> String {
    let program = shell::quote(&program.to_string_lossy());
    format!(
        r#"app         = "hello"
deploy_to   = "/srv/hello"
linked_dirs = ["run"]

[supervisor]
kind   = "command"
settle = "0s"
start  = '''nohup {program} serve public --port "$PORT" >run/server.log 2>&1 & echo $! >run/server.pid'''
stop   = '''pid=$(cat run/server.pid) && kill "$pid" && while [ -e "/proc/$pid/exe" ]; do sleep 0.1; done'''
status = '''pid=$(cat run/server.pid) && [ -e "/proc/$pid/exe" ] && echo "$pid"'''

[health]
http     = "http://127.0.0.1:$PORT/"
timeout  = "2s"
interval = "200ms"

[env.dev]
embedded = {HOSTS}
"#
    )
}

async fn get(port: u16) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut sender, talk) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let talk = tokio::spawn(talk);
    let request = hyper::Request::get("/").header("host", "127.0.0.1").body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    talk.abort();
    if status.is_success() {
        Ok(String::from_utf8_lossy(&body).trim().to_owned())
    } else {
        Err(format!("it answers {status}").into())
    }
}
