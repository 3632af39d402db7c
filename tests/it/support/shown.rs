//! Owns how output is shown in snapshots: what differs from run to run gets a name, and the lines of
//! hosts that worked at the same time get an order. Everything else stays as it was written.

use std::path::Path;

use regex::Captures;
use regex::Regex;

/// What differs from run to run, by the names it is shown with.
pub(crate) struct Names {
    fixed: Vec<(String, String)>,
    releases: Vec<String>,
    rules: Vec<(Regex, &'static str)>,
    release: Regex,
}

impl Names {
    pub(crate) fn new(root: &Path) -> Self {
        let nodename = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let fixed = vec![
            (super::project::RDEPLOY.to_owned(), "rdeploy".to_owned()),
            (root.to_str().unwrap().to_owned(), "[ROOT]".to_owned()),
            (format!("@{nodename}"), "@[MACHINE]".to_owned()),
            (format!("from {nodename} "), "from [MACHINE] ".to_owned()),
        ];
        let rules = [
            (r"\d{8}T\d{6}Z-([\w.-]+)-\d+\.log", "[TIME]-$1-[PID].log"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[TIME]"),
            (r"state/dev/([\w.-]+)-[0-9a-f]{8}/", "state/dev/$1-[HASH]/"),
            (r"\b[0-9a-f]{64}\b", "[DIGEST]"),
            (r"\b[0-9a-f]{12}\b", "[DIGEST]"),
            (r"SHA256:[A-Za-z0-9+/]{43}", "SHA256:[KEY]"),
            (r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:[PORT]"),
            (r"\(\d+(\.\d)? [kMG]?B compressed\)", "([SIZE] compressed)"),
            (r"(uploading|uploaded) \d+(\.\d)? [kMG]?B", "$1 [SIZE]"),
            (r" \(\d+(\.\d)? [kMG]?B/s\)", ""),
            // One more where the artifact is not ready when the host is.
            (r"\d+ round trips", "[N] round trips"),
            (r"\d+(\.\d)? [kMG]?B (sent|received)", "[SIZE] $2"),
            (r"\b(in|after|build|prepare|switch) (\d+ min )?\d+(\.\d)? m?s\b", "$1 [T]"),
            (r"\((\d+ min )?\d+(\.\d)? m?s([:)])", "([T]$3"),
            (r"\bprocess \d+\b", "process [PID]"),
            (r"rdeploy-demo-\w+", "rdeploy-demo-[RANDOM]"),
            (r"\bport \d{4,5}\b", "port [PORT]"),
            (r"-p \d{4,5}\b", "-p [PORT]"),
            // Which of two hosts fails first is theirs to decide.
            (r"error: host\d(, host\d)*: ", "error: host[N]: "),
            (r"\bhost\d/fs\b", "host[N]/fs"),
            (r"answer: http://127.0.0.1:\[APP\d\]/", "answer: http://127.0.0.1:[APP]/"),
        ];
        let rules = rules.map(|(rule, name)| (Regex::new(rule).unwrap(), name));
        Self {
            fixed,
            releases: Vec::new(),
            rules: rules.into(),
            release: Regex::new(r"\b20\d{12}\b").unwrap(),
        }
    }

    /// Names the port on which the app of an embedded host listens.
    pub(crate) fn app(&mut self, host: u8, port: u16) {
        self.fix(format!("127.0.0.1:{port}"), format!("127.0.0.1:[APP{host}]"));
    }

    /// Names a host by its number.
    pub(crate) fn host(&mut self, host: usize, port: u16) {
        // As many columns as before, so that tables stay straight.
        self.fix(format!("127.0.0.1:{port}"), format!("127.0.0.1:HOST{host}"));
    }

    fn fix(&mut self, from: String, to: String) {
        if !self.fixed.iter().any(|(known, _)| *known == from) {
            self.fixed.push((from, to));
        }
    }

    /// Returns the text with names for what differs. Releases are numbered as they come up.
    pub(crate) fn name(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.fixed {
            text = text.replace(from, to);
        }
        let releases = &mut self.releases;
        let numbered = |found: &Captures| {
            let id = found.get(0).unwrap().as_str();
            let at = releases.iter().position(|known| known == id).unwrap_or_else(|| {
                releases.push(id.to_owned());
                releases.len() - 1
            });
            // As long as an id.
            format!("[RELEASE-----{}]", at + 1)
        };
        text = self.release.replace_all(&text, numbered).into_owned();
        for (rule, name) in &self.rules {
            text = rule.replace_all(&text, *name).into_owned();
        }
        text
    }
}

/// Returns the text with the columns of its tables two spaces apart: their widths differ with the length of
/// what has a name instead.
pub(crate) fn squeezed(text: &str) -> String {
    let mut shown = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let (indent, rest) = line.split_at(indent);
        let cells: Vec<&str> = rest.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        shown.push_str(&format!("{indent}{}\n", cells.join("  ")));
    }
    shown
}

/// Returns the lines with those about one host together: hosts work at the same time, and only the order
/// of each one's own lines means something. Lines about no host stay where they are.
pub(crate) fn by_host(text: &str) -> String {
    let mut shown = String::new();
    let mut block: Vec<(String, &str)> = Vec::new();
    let mut flush = |block: &mut Vec<(String, &str)>| {
        block.sort_by(|(a, _), (b, _)| a.cmp(b));
        shown.extend(block.drain(..).flat_map(|(_, line)| [line, "\n"]));
    };
    for line in text.lines() {
        let place = line.split_once(" | ").map(|(place, _)| place.trim()).filter(|p| !p.contains(' '));
        if place.is_none() {
            flush(&mut block);
        }
        let key = place.map(|place| if place == "local" { String::new() } else { place.to_owned() });
        block.push((key.unwrap_or_default(), line));
        if place.is_none() {
            flush(&mut block);
        }
    }
    flush(&mut block);
    shown
}
