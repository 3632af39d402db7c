//! `rdeploy demo`: the whole story on this machine, told with the verbs that a user has.

use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use clap::Args;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::Fatal;
use super::launch;
use crate::deploy::Outcome;
use crate::embedded::Sandbox;
use crate::report;
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

/// One step of the story.
struct Step {
    tells: &'static str,
    /// Content of the app before it; none leaves it as it is.
    page: Option<&'static str>,
    args: &'static [&'static str],
    code: u8,
    /// What every host answers afterwards.
    answer: &'static str,
}

const STORY: [Step; 4] = [
    Step {
        tells: "Version 1 of a small web app goes to two hosts. Both get it before either switches.",
        page: Some("version 1\n"),
        args: &["dev"],
        code: 0,
        answer: "version 1",
    },
    Step {
        tells: "Version 2 replaces it: uploaded beside it, switched by one rename, proven to answer.",
        page: Some("version 2\n"),
        args: &["dev"],
        code: 0,
        answer: "version 2",
    },
    Step {
        tells: "Version 3 is broken: it starts, but has no page, so its health check fails. Watch both hosts go back by themselves; exit code 5 says so.",
        page: None,
        args: &["dev"],
        code: 5,
        answer: "version 2",
    },
    Step {
        tells: "And a rollback by hand, to the release that was live before.",
        page: None,
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
        "A sample app in {}\nand {HOSTS} SSH hosts inside rdeploy, on loopback. Every step below is a command you have, too.",
        stage.project.display()
    ))?;
    let told = stage.play(&cancel).await;
    // Whatever happened: what was started is ended.
    let ended = stage.rdeploy(&["dev", "stop"]).await;
    told?;
    match ended? {
        0 => {}
        code => return Err(Fatal::unexpected(format!("`rdeploy dev stop` ended with code {code}"))),
    }
    if cancel.is_cancelled() {
        return Ok(Outcome::Interrupted.code());
    }
    tell(
        "That was the demo: nothing of it is left running. Next: copy deploy.toml.example to your project.",
    )?;
    Ok(Outcome::Done.code())
}

struct Stage {
    root: PathBuf,
    project: PathBuf,
    state: PathBuf,
    program: PathBuf,
    /// Removed at the end, unless it is to be kept.
    _directory: Option<tempfile::TempDir>,
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
        Ok(Self { state: root.join("state"), root, project, program, _directory: directory })
    }

    async fn play(&self, cancel: &CancellationToken) -> Result<(), Fatal> {
        for (n, step) in STORY.iter().enumerate() {
            tell(&format!("\n{}. {}", n + 1, step.tells))?;
            self.write_page(n, step).map_err(Fatal::unexpected)?;
            tell(&format!("$ rdeploy {}", step.args.join(" ")))?;
            let code = self.rdeploy(step.args).await?;
            if cancel.is_cancelled() {
                return Ok(());
            }
            let answers = self.answers().await?;
            for (host, answer) in &answers {
                tell(&format!("  {host} answers: {answer}"))?;
            }
            tell(&format!("  exit code: {code}"))?;
            if code != step.code || answers.iter().any(|(_, answer)| answer != step.answer) {
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

    /// Version 3 has lost its page; a rollback changes nothing here.
    fn write_page(&self, n: usize, step: &Step) -> std::io::Result<()> {
        let page = self.project.join("public/index.html");
        match step.page {
            Some(text) => std::fs::write(page, text),
            None if n == 2 => std::fs::remove_file(page),
            None => Ok(()),
        }
    }

    /// Runs this very program as a user would. Returns its exit code.
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
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }

    async fn answers(&self) -> Result<Vec<(String, String)>, Fatal> {
        let sandbox = Sandbox::in_state_dir(&self.state, &self.project).map_err(Fatal::unexpected)?;
        let mut answers = Vec::new();
        for n in 1..=HOSTS {
            let host = sandbox.host(n).map_err(Fatal::unexpected)?;
            let port = host.port().map_err(Fatal::unexpected)?;
            let answer = get(port).await.unwrap_or_else(|error| format!("nothing ({error})"));
            answers.push((host.name(), answer));
        }
        Ok(answers)
    }
}

/// The sample's deploy.toml. The app is served by rdeploy itself, so that no other program is needed.
fn configuration(program: &Path) -> String {
    let program = shell::quote(&program.to_string_lossy());
    format!(
        r#"app         = "hello"
deploy_to   = "/srv/hello"
linked_dirs = ["run"]

[supervisor]
kind   = "command"
settle = "1s"
start  = '''nohup {program} serve public --port "$PORT" >run/server.log 2>&1 & echo $! >run/server.pid'''
stop   = '''pid=$(cat run/server.pid) && kill "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done'''
status = '''pid=$(cat run/server.pid) && kill -0 "$pid" && echo "$pid"'''

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

fn tell(text: &str) -> Result<(), Fatal> {
    report::result(text).map_err(|error| Fatal::usage(format!("standard output is closed: {error}")))
}
