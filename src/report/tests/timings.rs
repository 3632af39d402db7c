//! The page of timings: what it tells of whole runs, and that nothing which somebody wrote becomes part of it.
//! How a browser lays it out is in `tests/it/program/timings.rs`.

use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Wait;
use crate::report::timings::Timings;
use crate::report::timings::TimingsFile;

use super::runs::failed_hook;
use super::runs::interrupted;
use super::runs::pausing;
use super::runs::success;
use super::safety::one_of_each;
use super::script::DB;
use super::script::NEW;
use super::script::OLD;
use super::script::Script;
use super::script::WEB1;
use super::script::WEB2;

/// The page of a run.
fn page(script: &Script) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.html");
    let mut timings = Timings::new(TimingsFile::check(&path).unwrap());
    script.events.iter().for_each(|event| timings.on(event));
    timings.write().unwrap();
    std::fs::read_to_string(path).unwrap()
}

/// The rows of the table of all bars: place, step, start, end, duration.
fn bars(script: &Script) -> String {
    let page = page(script);
    let (_, details) = page.split_once("<details>").unwrap();
    let rows = details.lines().filter(|line| line.starts_with("<tr>"));
    let tags = regex::Regex::new("<[^>]*>").unwrap();
    let row =
        |row: &str| tags.replace_all(&row.replace("</td>", " | "), "").trim_end_matches(" | ").to_owned();
    rows.map(row).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_run_is_told_bar_by_bar_with_hooks_beside_the_phases() {
    insta::assert_snapshot!(bars(&success()), @r"
    this machine | command: npm run build | 20 ms | 8.1 s | 8.1 s
    this machine | packing: 1,204 files, 12.3 MB | 8.1 s | 8.3 s | 0.2 s
    web1.example.com | connecting | 10 ms | 0.3 s | 0.3 s
    web1.example.com | checking | 0.3 s | 8.3 s | 8.0 s
    web1.example.com | uploading | 8.3 s | 10.3 s | 2.0 s
    web1.example.com | preparing | 10.3 s | 11.0 s | 0.7 s
    web1.example.com | waiting for the other hosts | 11.0 s | 12.5 s | 1.5 s
    web1.example.com | switching | 12.5 s | 12.8 s | 0.3 s
    web1.example.com | verifying | 12.8 s | 14.1 s | 1.3 s
    db.example.com | connecting | 10 ms | 0.3 s | 0.3 s
    db.example.com | checking | 0.3 s | 8.3 s | 8.0 s
    db.example.com | uploading | 8.3 s | 10.3 s | 2.0 s
    db.example.com | preparing | 10.3 s | 11.0 s | 0.7 s
    db.example.com | waiting for the other hosts | 11.0 s | 11.1 s | 0.1 s
    db.example.com | running hooks | 11.1 s | 12.3 s | 1.2 s
    db.example.com | hook: before_switch: npm run migrate | 11.1 s | 12.3 s | 1.2 s
    db.example.com | waiting for the other hosts | 12.3 s | 12.5 s | 0.2 s
    db.example.com | switching | 12.5 s | 12.8 s | 0.3 s
    db.example.com | verifying | 12.8 s | 14.1 s | 1.3 s
    ");
}

#[test]
fn a_hook_that_fails_is_marked_and_so_is_what_the_host_did() {
    insta::assert_snapshot!(bars(&failed_hook()), @r"
    this machine | command: npm run build | 20 ms | 8.1 s | 8.1 s
    this machine | packing: 1,204 files, 12.3 MB | 8.1 s | 8.3 s | 0.2 s
    web1.example.com | connecting | 10 ms | 0.3 s | 0.3 s
    web1.example.com | checking | 0.3 s | 8.3 s | 8.0 s
    web1.example.com | uploading | 8.3 s | 10.3 s | 2.0 s
    web1.example.com | preparing | 10.3 s | 11.0 s | 0.7 s
    web1.example.com | waiting for the other hosts | 11.0 s | 14.2 s | 3.2 s
    db.example.com | connecting | 10 ms | 0.3 s | 0.3 s
    db.example.com | checking | 0.3 s | 8.3 s | 8.0 s
    db.example.com | uploading | 8.3 s | 10.3 s | 2.0 s
    db.example.com | preparing | 10.3 s | 11.0 s | 0.7 s
    db.example.com | waiting for the other hosts | 11.0 s | 11.1 s | 0.1 s
    db.example.com | running hooks failed | 11.1 s | 14.1 s | 3.0 s
    db.example.com | hook: before_switch: npm run migrate failed | 11.1 s | 14.1 s | 3.0 s
    ");
    let page = page(&failed_hook());
    assert!(page.contains("db.example.com: failed after 13.0 s: hook before_switch"), "{page}");
    assert!(page.contains("<pre tabindex=\"0\">&gt; migrate\n::error::injected"), "{page}");
}

#[test]
fn waits_for_others_for_a_batch_and_for_the_turn_to_go_back_are_told_apart() {
    let mut script = pausing();
    script.at(20_000, EventKind::BatchStarted { number: 2, of: 2, hosts: vec![WEB2.into(), DB.into()] });
    script.phase(20_010, WEB2, Phase::Switching);
    script.phase(20_010, DB, Phase::Switching);
    script.at(
        22_000,
        EventKind::Failed { host: Some(DB.into()), error: "no answer".into(), hint: None, output: None },
    );
    script.phase(22_000, DB, Phase::Failed);
    for host in [WEB1, WEB2, DB] {
        script.at(22_001, EventKind::HostWaiting { host: host.into(), wait: Wait::Turn });
    }
    script.phase(22_001, DB, Phase::Reverting);
    script.phase(23_000, DB, Phase::Reverted);
    script.phase(23_000, WEB1, Phase::Reverting);
    script.phase(24_000, WEB1, Phase::Reverted);
    script.phase(24_000, WEB2, Phase::Reverting);
    script.phase(25_000, WEB2, Phase::Reverted);
    insta::assert_snapshot!(bars(&script), @r"
    this machine | command: npm run build | 20 ms | 8.1 s | 8.1 s
    this machine | packing: 1,204 files, 12.3 MB | 8.1 s | 8.3 s | 0.2 s
    web1.example.com | connecting | 10 ms | 0.3 s | 0.3 s
    web1.example.com | checking | 0.3 s | 8.3 s | 8.0 s
    web1.example.com | uploading | 8.3 s | 10.3 s | 2.0 s
    web1.example.com | preparing | 10.3 s | 11.0 s | 0.7 s
    web1.example.com | waiting for the other hosts | 11.0 s | 12.5 s | 1.5 s
    web1.example.com | switching | 12.5 s | 12.8 s | 0.3 s
    web1.example.com | verifying | 12.8 s | 14.0 s | 1.2 s
    web1.example.com | waiting for the other hosts | 14.0 s | 14.0 s | 50 ms
    web1.example.com | staying well during the pause | 14.0 s | 20.0 s | 6.0 s
    web1.example.com | waiting for the other hosts | 20.0 s | 22.0 s | 2.0 s
    web1.example.com | waiting for its turn to be put back | 22.0 s | 23.0 s | 1.0 s
    web1.example.com | putting back | 23.0 s | 24.0 s | 1.0 s
    web2.example.com | connecting | 10 ms | 0.3 s | 0.3 s
    web2.example.com | checking | 0.3 s | 8.3 s | 8.0 s
    web2.example.com | uploading | 8.3 s | 10.3 s | 2.0 s
    web2.example.com | preparing | 10.3 s | 11.0 s | 0.7 s
    web2.example.com | waiting for the other hosts | 11.0 s | 12.4 s | 1.4 s
    web2.example.com | waiting for the turn of its batch | 12.4 s | 20.0 s | 7.6 s
    web2.example.com | switching | 20.0 s | 22.0 s | 2.0 s
    web2.example.com | waiting for its turn to be put back | 22.0 s | 24.0 s | 2.0 s
    web2.example.com | putting back | 24.0 s | 25.0 s | 1.0 s
    db.example.com | connecting | 10 ms | 0.3 s | 0.3 s
    db.example.com | checking | 0.3 s | 8.3 s | 8.0 s
    db.example.com | uploading | 8.3 s | 10.3 s | 2.0 s
    db.example.com | preparing | 10.3 s | 11.0 s | 0.7 s
    db.example.com | waiting for the other hosts | 11.0 s | 12.4 s | 1.4 s
    db.example.com | waiting for the turn of its batch | 12.4 s | 20.0 s | 7.6 s
    db.example.com | switching failed | 20.0 s | 22.0 s | 2.0 s
    db.example.com | putting back | 22.0 s | 23.0 s | 1.0 s
    ");
}

#[test]
fn what_a_host_cost_stands_beside_it() {
    let mut script = success();
    let host = WEB1.to_owned();
    let traffic = EventKind::HostTraffic { host, round_trips: 7, sent: 21_000, received: 9_100 };
    script.at(14_190, traffic);
    let page = page(&script);
    assert!(page.contains("<small>7 round trips · 21.0 kB sent</small>"), "{page}");
    let cells = "<td class=\"n\">7</td><td class=\"n\">21.0 kB</td><td class=\"n\">9.1 kB</td>";
    assert!(page.contains(&format!("<td>{NEW}</td>{cells}")), "{page}");
}

#[test]
fn an_interrupted_run_is_whole_and_has_the_moment() {
    let page = page(&interrupted());
    assert!(page.contains("exit code 130: interrupted"), "{page}");
    assert!(page.contains("<i class=\"stop\" style=\"left:91.5493%\">"), "{page}");
    assert!(page.contains(&format!("<td class=\"late\">put back</td><td>{OLD}</td>")), "{page}");
    assert!(page.ends_with("</html>\n"));
}

#[test]
fn nothing_that_somebody_wrote_becomes_a_part_of_the_page() {
    let text = "</script></style></pre><img src=x onerror='alert(1)' a=\"{{rows}}\">&lt;\x1b[31m\u{202e}";
    let page = page(&one_of_each(text));
    for part in ["</script>", "<img", "\x1b", "\u{202e}", "onerror='", "a=\"{"] {
        assert!(!page.contains(part), "{part} is in the page");
    }
    // This machine and the host: the template is filled once.
    assert_eq!(page.matches("<section class=\"row").count(), 2);
    assert!(page.contains("&lt;img src=x onerror=&#39;alert(1)&#39; a=&quot;{{rows}}&quot;&gt;&amp;lt;"));
    assert_eq!(page.matches("<style>").count(), 1);
    assert_eq!(page.matches("</style>").count(), 1);
    // Nothing is loaded, from anywhere.
    for part in ["<script", "<link", "src=\"", "href=", "url(", "@import"] {
        assert!(!page.contains(part), "{part} is in the page");
    }
}

#[test]
fn a_hundred_hosts_fit_into_a_page_that_is_quick_to_load() {
    let names: Vec<String> = (1..=100).map(|n| format!("web{n}.example.com")).collect();
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut script = Script::begun(&hosts).built().packed();
    for host in &hosts {
        script = script.prepared(host).switched(host).proven(host).ended(host, Phase::Done);
    }
    let ends: Vec<_> = hosts.iter().map(|host| (*host, Phase::Done, Some(NEW))).collect();
    let page = page(&script.finished("deployed", 0, &ends));
    assert_eq!(page.matches("<section class=\"row\"").count(), 101);
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[test]
fn a_run_that_never_began_has_no_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.html");
    let timings = Timings::new(TimingsFile::check(&path).unwrap());
    timings.write().unwrap();
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
