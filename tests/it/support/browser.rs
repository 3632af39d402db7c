//! Owns looking at pages in a real browser, without a network: where things are on pages of the widths that people
//! have, as the browser laid them out.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::find_program;

/// What measures: each page in a frame of a width, and what it found as text in the page that has the frames.
const MEASURE: &str = r#"<!doctype html><meta charset="utf-8"><body><script>
const errors = [];
addEventListener("error", event => errors.push(event.message));
addEventListener("load", () => {
  const box = e => { const r = e.getBoundingClientRect(); return { left: r.left, right: r.right, top: r.top, bottom: r.bottom }; };
  const all = (within, what) => [...within.querySelectorAll(what)].map(e => ({ ...box(e), kind: e.className }));
  const shown = e => e.right > e.left;
  const pages = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument;
    const root = page.documentElement;
    return {
      width: root.clientWidth, scroll: root.scrollWidth, scripts: page.scripts.length,
      loaded: frame.contentWindow.performance.getEntriesByType("resource").length,
      colour: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
      ticks: all(page, ".tick").filter(shown),
      texts: all(page, "h1, h2, .facts div, .legend li, .who b, table").filter(shown),
      rows: [...page.querySelectorAll(".row")].map(row => ({
        ...box(row), track: box(row.querySelector(".track")), who: box(row.querySelector(".who")),
        bars: all(row, ".bar"), marks: all(row, ".mark"),
        labels: [...row.querySelectorAll(".bar b")].map(b => ({ ...box(b), bar: box(b.closest(".bar")) })).filter(shown),
      })),
    };
  });
  document.title = encodeURIComponent(JSON.stringify({ errors, pages }));
});
</script>
"#;

/// The browser, where there is one.
pub(crate) fn browser() -> Option<PathBuf> {
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find_map(find_program)
}

/// Lays out each page in frames of these widths, page after page. Returns what was measured of each.
pub(crate) fn measured(browser: &Path, pages: &[&Path], widths: &[u32]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let mut html = MEASURE.to_owned();
    for page in pages {
        for width in widths {
            let page = page.display();
            html.push_str(&format!(
                "<iframe src=\"file://{page}\" width=\"{width}\" height=\"900\"></iframe>\n"
            ));
        }
    }
    let wrapper = directory.path().join("measure.html");
    fs::write(&wrapper, html).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
        // A page may read another one only here, to measure it.
        .args(["--allow-file-access-from-files", "--host-resolver-rules=MAP * ~NOTFOUND"])
        .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
        .arg("--window-size=1600,1200")
        .arg(format!("file://{}", wrapper.display()))
        .env("HOME", directory.path())
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let title = dom.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    let (title, _) =
        title.unwrap_or_else(|| panic!("nothing was measured ({}):\n{errors}\n{dom}", output.status));
    let measured: Value = serde_json::from_str(&decoded(title)).unwrap();
    assert_eq!(measured["errors"], serde_json::json!([]), "errors of scripts");
    measured["pages"].as_array().unwrap().clone()
}

/// Undoes `encodeURIComponent`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || (rest.next().unwrap() as char).to_digit(16).unwrap();
        bytes.push(if byte == b'%' { (digit() * 16 + digit()) as u8 } else { byte });
    }
    String::from_utf8(bytes).unwrap()
}
