use std::path::Path;

use super::*;
use crate::event::Event;

fn command(text: &str, dir: &Path) -> LocalCommand {
    LocalCommand { command: text.to_owned(), dir: dir.to_owned(), env: BTreeMap::new(), timeout: None }
}

async fn run_here(text: &str) -> (Result<(), LocalError>, Vec<EventKind>) {
    let dir = tempfile::tempdir().unwrap();
    let (events, mut receiver) = Events::channel();
    let result = run(&command(text, dir.path()), &events, &CancellationToken::new()).await;
    drop(events);
    let mut stated = Vec::new();
    while let Some(Event { kind, .. }) = receiver.recv().await {
        stated.push(kind);
    }
    (result, stated)
}

fn lines(stated: &[EventKind]) -> Vec<&str> {
    let lines = stated.iter().filter_map(|kind| match kind {
        EventKind::LocalCommandOutput { line } => Some(line.as_str()),
        _ => None,
    });
    lines.collect()
}

/// Whether a process exists and is no zombie.
fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits for a process to be gone; the kernel needs a moment to bury it.
async fn is_gone(pid: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while alive(pid) && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
    !alive(pid)
}

#[tokio::test]
async fn both_streams_are_stated_line_by_line_in_their_order_between_start_and_end() {
    let script = r"printf 'one\ntwo\r\n'; printf 'bad \377\n' >&2; printf '10%%\r100%%\nno newline'";
    let (result, stated) = run_here(script).await;
    result.unwrap();
    assert_eq!(lines(&stated), ["one", "two", "bad \u{fffd}", "100%", "no newline"]);
    assert!(matches!(&stated[0], EventKind::LocalCommandStarted { command } if command == script));
    assert!(
        matches!(stated.last(), Some(EventKind::LocalCommandFinished { command, .. }) if command == script)
    );
}

#[tokio::test]
async fn output_is_stated_while_the_command_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (events, mut receiver) = Events::channel();
    // It ends only when somebody has seen its first line.
    let waiting = command("echo first; until [ -e seen ]; do sleep 0.01; done; echo last", dir.path());
    let cancel = CancellationToken::new();
    let seen = async {
        while let Some(Event { kind, .. }) = receiver.recv().await {
            if matches!(&kind, EventKind::LocalCommandOutput { line, .. } if line == "first") {
                std::fs::write(dir.path().join("seen"), "").unwrap();
                return;
            }
        }
    };
    let both = async { tokio::join!(run(&waiting, &events, &cancel), seen) };
    let (result, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    result.unwrap();
}

#[tokio::test]
async fn a_command_runs_in_its_directory_with_its_variables_and_no_input() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command("pwd -P > where; echo \"$GREETING\" >> where; cat >> where", dir.path());
    command.env.insert("GREETING".into(), "it's \"quoted\"".into());
    run(&command, &Events::ignored(), &CancellationToken::new()).await.unwrap();
    let written = std::fs::read_to_string(dir.path().join("where")).unwrap();
    let path = dir.path().canonicalize().unwrap();
    assert_eq!(written, format!("{}\nit's \"quoted\"\n", path.display()));
}

#[tokio::test]
async fn a_failure_names_the_command_the_code_and_the_last_lines() {
    let (result, stated) = run_here("for n in $(seq 30); do echo line $n; done; exit 7").await;
    let text = result.unwrap_err().to_string();
    assert!(text.starts_with("`for n in $(seq 30); do echo line $n; done; exit 7` failed with exit code 7; its last lines:\n  line 11\n"), "{text}");
    assert!(text.ends_with("\n  line 30"), "{text}");
    assert_eq!(lines(&stated).len(), 30);
    assert!(!stated.iter().any(|kind| matches!(kind, EventKind::LocalCommandFinished { .. })));

    let (result, _) = run_here("kill -9 $$").await;
    assert_eq!(
        result.unwrap_err().to_string(),
        "`kill -9 $$` was ended by signal 9 (SIGKILL, as when memory runs out); it wrote nothing"
    );
    let (result, _) = run_here("no-such-program-here 2>/dev/null").await;
    assert!(result.unwrap_err().to_string().contains("exit code 127 (command not found)"));
}

#[tokio::test]
async fn a_directory_that_is_missing_is_named() {
    let missing = command("true", Path::new("/no/such/directory"));
    let error = run(&missing, &Events::ignored(), &CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot run `true` in /no/such/directory: "), "{error}");
}

#[tokio::test]
async fn a_command_past_its_limit_is_ended_with_everything_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut hanging =
        command("sleep 600 & echo $! > child; echo $$ > leader; echo working; wait", dir.path());
    hanging.timeout = Some(Duration::from_secs(3));
    let error = run(&hanging, &Events::ignored(), &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(&error, LocalError::TimedOut { output, .. } if output == &["working"]), "{error}");
    assert!(error.to_string().contains("was ended after 3s, its time limit"), "{error}");
    for file in ["child", "leader"] {
        assert!(is_gone(&std::fs::read_to_string(dir.path().join(file)).unwrap()).await, "{file}");
    }
}

#[tokio::test]
async fn what_ignores_sigterm_is_killed_after_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 0.1; done' & \
        while [ ! -s child ]; do sleep 0.01; done; echo $$ > leader; while :; do sleep 0.1; done";
    let cancel = CancellationToken::new();
    let stubborn = command(script, dir.path());
    let events = Events::ignored();
    let interrupt = async {
        while !std::fs::read_to_string(dir.path().join("leader")).is_ok_and(|pid| pid.ends_with('\n')) {
            tokio::time::sleep(POLL).await;
        }
        cancel.cancel();
    };
    let began = Instant::now();
    let (result, ()) = tokio::join!(run(&stubborn, &events, &cancel), interrupt);
    assert!(matches!(result, Err(LocalError::Canceled { .. })), "{result:?}");
    assert!(began.elapsed() >= GRACE);
    for file in ["child", "leader"] {
        assert!(is_gone(&std::fs::read_to_string(dir.path().join(file)).unwrap()).await, "{file}");
    }
}

#[tokio::test]
async fn a_command_that_cleans_up_on_sigterm_may() {
    let dir = tempfile::tempdir().unwrap();
    let tidy = command(
        "trap 'echo bye > cleaned; exit 0' TERM; echo > ready; while :; do sleep 0.05; done",
        dir.path(),
    );
    let cancel = CancellationToken::new();
    let events = Events::ignored();
    let interrupt = async {
        while !dir.path().join("ready").exists() {
            tokio::time::sleep(POLL).await;
        }
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(run(&tidy, &events, &cancel), interrupt);
    assert!(matches!(result, Err(LocalError::Canceled { .. })), "{result:?}");
    assert_eq!(std::fs::read_to_string(dir.path().join("cleaned")).unwrap(), "bye\n");
}

#[tokio::test]
async fn a_daemon_that_keeps_the_pipes_open_does_not_hold_up_the_deploy() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = command("sleep 600 & echo $! > daemon; echo built", dir.path());
    let limit = Duration::from_secs(60);
    let result = tokio::time::timeout(limit, run(&daemon, &Events::ignored(), &CancellationToken::new()))
        .await
        .unwrap();
    result.unwrap();
    // It was not ended: a build daemon is the user's affair. The test ends it.
    let pid = std::fs::read_to_string(dir.path().join("daemon")).unwrap();
    assert!(alive(&pid));
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_run_that_is_given_up_leaves_nobody_behind() {
    let dir = tempfile::tempdir().unwrap();
    let hanging = command("sleep 600 & echo $! > child; echo $$ > leader; wait", dir.path());
    let (events, cancel) = (Events::ignored(), CancellationToken::new());
    let running = run(&hanging, &events, &cancel);
    let started = async {
        while !std::fs::read_to_string(dir.path().join("leader")).is_ok_and(|pid| pid.ends_with('\n')) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        result = running => panic!("{result:?}"),
        () = started => {}
    }
    for file in ["child", "leader"] {
        assert!(is_gone(&std::fs::read_to_string(dir.path().join(file)).unwrap()).await, "{file}");
    }
}

#[tokio::test]
async fn nothing_starts_after_an_interrupt() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = run(&command("echo > ran", dir.path()), &Events::ignored(), &cancel).await;
    assert!(matches!(result, Err(LocalError::Canceled { .. })));
    assert!(!dir.path().join("ran").exists());
}

#[tokio::test]
async fn a_command_that_stops_for_the_terminal_is_told_so() {
    let (result, _) = run_here("echo Password:; kill -TTIN $$").await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, LocalError::WantsTerminal { output, .. } if output == &["Password:"]),
        "{error}"
    );
    assert!(error.to_string().contains("waits for input on the terminal"), "{error}");
}

#[test]
fn a_very_long_line_is_cut_between_characters() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::fs::write(dir.path().join("long"), "\u{20ac}".repeat(20_000)).unwrap();
    let (events, mut receiver) = Events::channel();
    runtime.block_on(run(&command("cat long", dir.path()), &events, &CancellationToken::new())).unwrap();
    drop(events);
    let mut whole = String::new();
    while let Ok(Event { kind, .. }) = receiver.try_recv() {
        if let EventKind::LocalCommandOutput { line, .. } = kind {
            assert!(line.len() <= 8 * 1024);
            whole += &line;
        }
    }
    assert_eq!(whole, "\u{20ac}".repeat(20_000));
}
