//! Owns what goes over channels of its own beside a host's guardian: the bytes of a release, the user's hooks, and
//! what an action wrote.

use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;

use super::HostError;
use super::agent;
use super::lines::Lines;
use super::session::ANSWER_LIMIT;
use super::session::FULL;
use super::session::Session;
use super::settings::HookScript;
use super::upload;
use super::upload::Part;
use super::upload::Received;
use super::upload::Wire;
use crate::ssh;
use crate::ssh::Chunk;
use crate::ssh::Exec;

/// How much is sent at a time at least, but for the end.
const CHUNK: usize = 128 * 1024;

/// How long it takes at most from a hook's end to that of the guardian that ended it.
const LEAVING: Duration = Duration::from_secs(2);

impl Session {
    /// Fetches what an action wrote; the failure itself matters more than this.
    pub(super) async fn written(&self, action: &str) -> String {
        let command = agent::beside(&self.living().settings.run(), "output", &[action]);
        let fetch = self.connection.run(&command, Bytes::new());
        match tokio::time::timeout(ANSWER_LIMIT, fetch).await {
            // Some are written over blanks that keep the space for them.
            Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
            _ => String::new(),
        }
    }

    /// Runs one of the user's hooks; `line` gets each line of its output.
    pub(super) async fn run_hook(
        &self,
        hook: &HookScript,
        line: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), HostError> {
        let doing = "running a hook";
        let number = hook.number.to_string();
        let command = agent::beside(&self.living().settings.run(), "hook", &[&number]);
        let channel = |source: ssh::ChannelError| HostError::Channel { doing, source: source.into() };
        let Exec { stdin, output } = self.connection.exec(&command).await.map_err(channel)?;
        if !self.settings.hooks.is_empty() {
            self.connection.start_ahead();
        }
        let mut watched = output;
        let mut text = String::new();
        let mut lines = Lines::default();
        let mut exit = ssh::Exit::default();
        let listen = async {
            while let Some(chunk) = watched.next().await {
                match chunk {
                    Chunk::Stdout(bytes) | Chunk::Stderr(bytes) => lines.push(&bytes, |found| {
                        text.push_str(found);
                        text.push('\n');
                        line(found);
                    }),
                    Chunk::Ended(ended) => exit = ended,
                }
            }
        };
        let timed_out = tokio::select! {
            biased;
            listened = tokio::time::timeout(hook.hook.timeout, listen) => listened.is_err(),
            death = self.living().talk.gone(doing) => return Err(death),
        };
        drop(stdin);
        lines.finish(|found| text.push_str(found));
        let timeout = timed_out.then_some(hook.hook.timeout);
        if timed_out {
            // The command would go on writing long after its channel is closed.
            let _ = self.living().talk.ask("kill hook", "ending a hook", ANSWER_LIMIT, &|_| ()).await;
        }
        if exit.code.is_none() && !timed_out {
            // A guardian that leaves ends what runs beside it first.
            let gone = self.living().talk.gone(doing);
            if let Ok(death) = tokio::time::timeout(LEAVING, gone).await {
                return Err(death);
            }
        }
        match exit.code {
            Some(0) if !timed_out => Ok(()),
            None if !timed_out && self.connection.is_closed() => Err(HostError::Lost { doing, stderr: text }),
            code => Err(HostError::Command { command: hook.hook.run.clone(), code, timeout, output: text }),
        }
    }
}

impl Wire for Session {
    async fn receive(
        &self,
        args: &[String],
        parts: &[Part],
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Received, HostError> {
        let doing = "sending the release";
        let channel = |source: ssh::ChannelError| HostError::Channel { doing, source: source.into() };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let command = agent::beside(&self.living().settings.run(), "receive", &args);
        let Exec { mut stdin, mut output } = self.connection.exec(&command).await.map_err(channel)?;
        if !self.settings.hooks.is_empty() {
            self.connection.start_ahead();
        }
        let feed = async {
            let (mut sent, mut waiting) = (0, BytesMut::new());
            for (n, part) in (1..).zip(parts) {
                let mut offset = 0;
                loop {
                    let chunk = match part.chunk(offset).await {
                        Ok(chunk) => chunk,
                        Err(error) => {
                            // What waits there for the rest is not to wait for ever.
                            let _ = stdin.close().await;
                            return Err(upload::reading(error));
                        }
                    };
                    offset += chunk.len() as u64;
                    // What is small goes in one piece, whatever it consists of.
                    let is_part_over = chunk.is_empty();
                    let all = if waiting.is_empty() && chunk.len() >= CHUNK {
                        chunk
                    } else {
                        waiting.extend_from_slice(&chunk);
                        if waiting.len() < CHUNK && !(is_part_over && n == parts.len()) {
                            Bytes::new()
                        } else {
                            std::mem::take(&mut waiting).freeze()
                        }
                    };
                    if !all.is_empty() {
                        sent += all.len() as u64;
                        // What it refused is told by the command itself, below.
                        if stdin.write(all).await.is_err() {
                            return Ok(());
                        }
                        progress(sent);
                    }
                    if is_part_over {
                        break;
                    }
                }
            }
            let _ = stdin.close().await;
            Ok(())
        };
        let listen = async {
            let (mut text, mut errors) = (Vec::new(), Vec::new());
            let mut exit = ssh::Exit::default();
            while let Some(chunk) = output.next().await {
                match chunk {
                    Chunk::Stdout(bytes) => text.extend_from_slice(&bytes),
                    Chunk::Stderr(bytes) if errors.len() < 16384 => errors.extend_from_slice(&bytes),
                    Chunk::Stderr(_) => {}
                    Chunk::Ended(ended) => exit = ended,
                }
            }
            (String::from_utf8_lossy(&text).into_owned(), String::from_utf8_lossy(&errors).into_owned(), exit)
        };
        // Nothing that is done beside a guardian may go on without it.
        let (fed, (text, errors, exit)) = tokio::select! {
            biased;
            both = async { tokio::join!(feed, listen) } => both,
            death = self.living().talk.gone(doing) => return Err(death),
        };
        fed?;
        if let Some(received) = upload::answer(exit.code, &text) {
            return Ok(received);
        }
        let text = text + &errors;
        if exit.code.is_none() && self.connection.is_closed() {
            return Err(HostError::Lost { doing, stderr: text });
        }
        let full = text.lines().find(|line| line.starts_with(FULL));
        let cause = full.or_else(|| text.lines().next()).unwrap_or("it wrote nothing");
        Err(HostError::Refused { reason: format!("{doing} failed: {cause}"), output: text })
    }
}
