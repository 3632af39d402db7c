//! The example and the reference, held to what the program does.

use super::read;
use super::text_of;
use crate::config::Hosts;

#[test]
fn the_example_loads_and_shows_every_kind_of_environment() {
    let project = read(&text_of("deploy.toml.example")).unwrap_or_else(|report| panic!("{report}"));
    let names: Vec<&str> = project.environments.keys().map(String::as_str).collect();
    assert_eq!(names, ["dev", "prod", "stage"]);
    assert!(matches!(project.environment("dev").unwrap().hosts, Hosts::Embedded(_)));
    assert!(!project.environment("prod").unwrap().health.is_empty());
}

/// The blocks of TOML in a page, each with the number of its first line.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (n, line) in page.lines().enumerate() {
        match (&mut open, line) {
            (None, "```toml") => open = Some((n + 2, String::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, text)), line) => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    blocks
}

#[test]
fn every_example_of_the_documents_loads() {
    for (page, at_least) in [("docs/configuration.md", 10), ("docs/guide.md", 4), ("README.md", 1)] {
        let blocks = blocks(&text_of(page));
        assert!(blocks.len() >= at_least, "{page} has lost its examples");
        every_one_loads(page, blocks);
    }
}

fn every_one_loads(page: &str, blocks: Vec<(usize, String)>) {
    for (line, block) in blocks {
        // What a fragment leaves out for brevity.
        let mut text = String::new();
        for (key, value) in [("app", "shop"), ("deploy_to", "/srv/shop")] {
            let top = block.lines().take_while(|l| !l.starts_with('['));
            if !top.into_iter().any(|l| l.split_whitespace().next() == Some(key)) {
                text.push_str(&format!("{key} = \"{value}\"\n"));
            }
        }
        text.push_str(&block);
        if !block.contains("[env.") {
            text.push_str("\n[env.stage]\nhosts = [\"deploy@stage.example.com\"]\n");
        }
        read(&text).unwrap_or_else(|report| panic!("{page}, line {line}:\n{report}"));
    }
}

#[test]
fn the_reference_names_every_key_and_every_command() {
    let page = text_of("docs/configuration.md");
    let keys = [
        "app",
        "deploy_to",
        "keep_releases",
        "linked_dirs",
        "linked_files",
        "path",
        "lease",
        "rollout",
        "first",
        "batch",
        "pause",
        "order",
        "max_unreachable",
        "vars",
        "run",
        "source",
        "include",
        "exclude",
        "kind",
        "settle",
        "ecosystem",
        "apps",
        "name",
        "script",
        "cwd",
        "args",
        "instances",
        "exec_mode",
        "env",
        "start",
        "restart",
        "stop",
        "status",
        "http",
        "tcp",
        "command",
        "timeout",
        "interval",
        "socket",
        "successes",
        "delay",
        "body",
        "headers",
        "host",
        "before_build",
        "after_build",
        "after_unpack",
        "before_switch",
        "after_switch",
        "after_deploy",
        "on_failure",
        "after_rollback",
        "roles",
        "once",
        "dir",
        "on",
        "undo",
        "identity",
        "known_hosts",
        "connect_timeout",
        "hosts",
        "address",
        "embedded",
    ];
    for word in keys.iter().chain(crate::config::COMMANDS) {
        assert!(page.contains(&format!("`{word}`")), "`{word}` is not explained");
    }
}
