//! Where a run's time went: round trips, counted exactly, and the page of `--timings`, as a browser shows it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::browser::browser;
use crate::support::browser::measured;
use crate::support::gate::Gate;
use crate::support::project::Project;
use crate::support::project::files;
use crate::support::skip;

use super::before::Before;

/// What the log says of each host's round trips.
fn round_trips(project: &Project) -> Vec<String> {
    let log = project.log();
    let trips = log.lines().filter_map(|line| {
        let (place, said) = line.split_once("] ")?.1.split_once(" | ")?;
        Some(format!("{place}: {}", said.split_once(" round trips after the login, ")?.0))
    });
    let mut trips: Vec<String> = trips.collect();
    trips.sort();
    trips
}

/// Asserts that a deploy took so many round trips to each of its hosts; one more to those that were checked before its
/// artifact was ready, which is the machine's to decide: they were asked for the lock by itself.
fn took(project: &Project, round_trips_to_each: usize) {
    for trips in round_trips(project) {
        let (host, trips) = trips.split_once(": ").unwrap();
        let trips: usize = trips.parse().unwrap();
        assert!((round_trips_to_each..=round_trips_to_each + 1).contains(&trips), "{host}: {trips}");
    }
}

#[test]
fn a_run_on_a_lone_host_waits_for_three_answers() {
    let project = Project::files(1, "");
    project.deploys();
    // It has no agent yet, and is sent one; for the lock its tree has to be made.
    assert_eq!(round_trips(&project), ["host1: 5"]);
    for version in 2..4 {
        project.version(version);
        project.deploys();
        // A channel; the checks and the lock; all the rest.
        took(&project, 3);
    }
    project.rdeploy(&["dev", "--rollback"]).run().ends_with(0);
    assert_eq!(round_trips(&project), ["host1: 3"]);
}

#[test]
fn a_run_on_two_hosts_waits_for_two_more_on_each() {
    let project = Project::files(2, "");
    project.deploys();
    project.version(2);
    project.deploys();
    // A channel; the checks and the lock; the release; the switch; the commit and the end.
    took(&project, 5);
    project.rdeploy(&["dev", "--rollback"]).run().ends_with(0);
    assert_eq!(round_trips(&project), ["host1: 5", "host2: 5"]);
}

#[test]
fn what_follows_a_hook_has_to_be_asked_for() {
    let project = Project::files(1, "[hooks]\nafter_unpack = [\"true\"]\nafter_switch = [\"true\"]\n");
    project.deploys();
    project.version(2);
    project.deploys();
    // A channel; the checks and the lock; the release; a hook, whose channel is there already; the switch; a hook;
    // the commit and the end.
    took(&project, 7);
}

#[test]
fn a_run_that_ends_before_it_changes_anything_says_what_it_cost_too() {
    let project = Project::files(2, "");
    project.deploys();
    // There is nothing to go back to; a channel, the checks and the lock, and its end.
    project.rdeploy(&["dev", "--rollback"]).run().ends_with(3);
    assert_eq!(round_trips(&project), ["host1: 3", "host2: 3"]);
    project.host(1).is_clean();
    project.host(2).is_clean();
    // Who still builds asks for no lock.
    project.configure(&files(2, "[build]\nrun = [\"false\"]\n"));
    project.rdeploy(&["dev"]).run().ends_with(2);
    assert_eq!(round_trips(&project), ["host1: 2", "host2: 2"]);
}

/// Runs rdeploy with a page of timings; returns its place.
fn timed(project: &Project, name: &str, args: &[&str], code: i32) -> PathBuf {
    let page = project.beside(name);
    project.rdeploy(&[args, &["--timings", page.to_str().unwrap()]].concat()).run().ends_with(code);
    page
}

/// Three hosts in two batches, a build, hooks, and a pause.
const ROLLOUT: &str = "rollout = { first = 1, pause = \"1s\" }\n[build]\nrun = [\"sleep 0.3\"]\n[hooks]\n\
    after_unpack = [\"sleep 0.2\"]\nbefore_switch = [\"sleep 0.1\"]\nafter_switch = [\"sleep 0.1\"]\n";

/// The second of three hosts fails when all are switched, and writes what would be a script.
const FAILING: &str = "[hooks]\nafter_switch = [\"sleep 0.3\", \"\"\"\n\
    echo '</pre></script><script>throw 1</script><img src=x onerror=alert(1)>'; [ $RDEPLOY_HOST != host2 ]\"\"\"]\n";

#[test]
fn a_browser_shows_every_phase_in_its_row_in_order_on_wide_and_on_narrow_pages() {
    let test = "a_browser_shows_every_phase_in_its_row_in_order_on_wide_and_on_narrow_pages";
    let Some(browser) = browser() else { return skip(test, "it needs chromium") };
    let project = Project::files(3, ROLLOUT);
    let good = timed(&project, "good.html", &["dev"], 0);
    project.version(2);
    project.configure(&files(3, FAILING));
    let bad = timed(&project, "bad.html", &["dev"], 5);

    let widths = [1200, 360];
    let pages = measured(&browser, &[&good, &bad], &widths);
    assert_eq!(pages.len(), 4);
    for (page, width) in pages.iter().zip(widths.iter().cycle()) {
        assert!(number(&page["width"]) > f64::from(*width) - 40.0, "{}", page["width"]);
        assert_eq!(page["width"], page["scroll"], "something is outside the page");
        assert_eq!((&page["scripts"], &page["loaded"]), (&Value::from(0), &Value::from(0)));
        assert!(list(&page["ticks"]).len() > 2, "{}", page["ticks"]);
        follow(&page["ticks"], 0.0);
        for text in list(&page["texts"]) {
            assert!(number(&text["left"]) >= 0.0, "{text}");
        }
        for row in list(&page["rows"]) {
            row_is_well_laid_out(row);
        }
    }
    for page in &pages[..2] {
        assert_eq!(list(&page["rows"]).len(), 4);
        assert_eq!(kinds(page, 0), ["local", "local"]);
        // The first host is watched while the others wait for their turn.
        let way = "reach reach wait reach wait upload prepare wait";
        let end = "switch verify";
        let [first, second] = [1, 2].map(|row| kinds(page, row).join(" "));
        assert!(first.starts_with("reach") && first.contains(end), "{first}, not {way}");
        assert!(second.contains("turn") && !first.contains("turn"), "{first}; {second}");
    }
    for page in &pages[2..] {
        for row in 1..4 {
            assert!(kinds(page, row).contains(&"revert".to_owned()), "{:?}", kinds(page, row));
        }
        assert_eq!(list(&page["rows"][2]["marks"]).len(), 1);
        assert!(kinds(page, 2).contains(&"hook failed".to_owned()), "{:?}", kinds(page, 2));
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// What the bars of a row are, in order.
fn kinds(page: &Value, row: usize) -> Vec<String> {
    let bars = list(&page["rows"][row]["bars"]);
    bars.iter().map(|bar| bar["kind"].as_str().unwrap().trim_start_matches("bar ").to_owned()).collect()
}

/// Each begins where the one before it ends, or later; a bar that is too short to be seen is one pixel wide.
fn follow(boxes: &Value, slack: f64) {
    for pair in list(boxes).windows(2) {
        assert!(number(&pair[1]["left"]) >= number(&pair[0]["right"]) - slack, "they overlap: {pair:?}");
    }
}

fn row_is_well_laid_out(row: &Value) {
    let (track, bars) = (&row["track"], list(&row["bars"]));
    assert!(!bars.is_empty(), "{row}");
    let is_hook = |bar: &&Value| matches!(bar["kind"].as_str(), Some("bar hook" | "bar hook failed"));
    for bar in bars {
        assert!(number(&bar["right"]) > number(&bar["left"]), "it has no width: {bar}");
        assert!(number(&bar["left"]) >= number(&track["left"]) - 0.1, "{bar} is outside {track}");
        assert!(number(&bar["right"]) <= number(&track["right"]) + 1.0, "{bar} is outside {track}");
        assert!(number(&bar["bottom"]) <= number(&row["bottom"]), "{bar} is below {row}");
    }
    let (hooks, phases): (Vec<&Value>, Vec<&Value>) = bars.iter().partition(is_hook);
    for lane in [hooks, phases] {
        follow(&lane.into_iter().cloned().collect::<Vec<_>>().into(), 1.1);
    }
    for label in list(&row["labels"]) {
        let inside = number(&label["left"]) >= number(&label["bar"]["left"]) - 0.1
            && number(&label["right"]) <= number(&label["bar"]["right"]) + 0.1;
        assert!(inside, "a label is wider than its bar: {label}");
    }
    // Names stand beside the bars, or above them.
    let who = &row["who"];
    let beside = number(&who["right"]) <= number(&track["left"]) + 0.1;
    assert!(beside || number(&who["bottom"]) <= number(&track["top"]) + 0.1, "{row}");
}

#[test]
fn the_page_is_written_after_an_interruption_and_for_a_rollback_and_replaces_what_was_there() {
    let project = Project::files(1, "");
    let before = Before::version_1(&project, 1);
    let gate = Gate::new(&project, "gate");
    project.configure(&files(1, &format!("[hooks]\nafter_unpack = [{:?}]", gate.wait())));
    let page = project.beside("run.html");
    let named = page.to_str().unwrap();
    let mut running = project.rdeploy(&["dev", "--timings", named]).start();
    running.until("the hook", || gate.reached() == 1);
    assert!(!page.exists());
    running.interrupt();
    running.wait().ends_with(130);
    before.stands();
    let html = fs::read_to_string(&page).unwrap();
    assert!(
        html.contains("exit code 130: interrupted") && html.contains("after_unpack: echo here"),
        "{html}"
    );

    gate.open();
    project.deploys();
    timed(&project, "run.html", &["dev", "deploy", "--rollback"], 0);
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("<h1>rolled dev back to ") && !html.contains("interrupted"), "{html}");
    let left = crate::support::project::names_in(&project.beside(""));
    assert!(!left.iter().any(|name| name.starts_with(".rdeploy")), "{left:?}");
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_is_touched() {
    let project = Project::files(1, "[hooks]\nbefore_build = [\"touch built\"]\n");
    insta::assert_snapshot!(project.rdeploy(&["dev", "--timings", "missing/run.html"]).run(), @r"
    exit code: 2
    --- stdout
    --- stderr
    error: cannot write the timings to missing/run.html: No such file or directory (os error 2)
    ");
    let directory = project.rdeploy(&["dev", "deploy", "--timings", "public"]).run().ends_with(2);
    directory.tells("error: cannot write the timings to public: it is a directory; name a file");
    assert!(!project.file("built").exists() && !project.beside("state").exists());
    assert_eq!(project.leftovers(), []);
}
