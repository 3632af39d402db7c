//! Holds the direction of imports: what the map in `lib.rs` allows is what happens, no more and no less.
//! Tests may import what they like.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Libraries that only these modules may know.
const LIBRARIES: [(&str, &[&str]); 5] = [
    ("russh", &["ssh", "embedded"]),
    ("clap", &["cli"]),
    ("indicatif", &["report"]),
    ("annotate_snippets", &["config"]),
    ("tar", &["artifact", "host"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// What each module may import, read from the map. `None` means everything.
fn map() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    let row = |row: &str| {
        let cells: Vec<&str> = row.split('|').collect();
        let module = cells[0].trim().trim_end_matches("`]").to_owned();
        let names: BTreeSet<String> = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let known = matches!(cells[2].trim(), "nothing" | "everything") || !names.is_empty();
        assert!(known, "what `{module}` may import cannot be read: {}", cells[2]);
        (module, (cells[2].trim() != "everything").then_some(names))
    };
    rows.map(row).collect()
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            files(&path, found);
        } else if name.ends_with(".rs")
            && !name.ends_with("tests.rs")
            && !matches!(name, "testing.rs" | "scripted.rs")
        {
            found.push(path);
        }
    }
}

/// Every line of code outside tests, with the module it belongs to and the place where it stands.
fn code() -> Vec<(String, String, String)> {
    let root = source();
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let mut code = Vec::new();
    for path in paths {
        let relative = path.strip_prefix(&root).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            code.push((module.clone(), format!("{}:{}", relative.display(), n + 1), line.to_owned()));
        }
    }
    assert!(code.len() > 1000, "the sources were not found");
    code
}

/// The names that follow `prefix` in a line.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = String> {
    line.split(prefix)
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

#[test]
fn modules_import_what_the_map_says_and_nothing_else() {
    let map = map();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (module, place, line) in code() {
        if module == "lib" || module == "main" {
            continue;
        }
        let allowed =
            map.get(&module).unwrap_or_else(|| panic!("`{module}` is missing in the map of lib.rs"));
        for name in names_after(&line, "crate::").filter(|name| *name != module) {
            if allowed.as_ref().is_some_and(|allowed| !allowed.contains(&name)) {
                wrong.push(format!("{place}: `{module}` may not import `{name}`"));
            }
            used.entry(module.clone()).or_default().insert(name);
        }
    }
    for (module, allowed) in map {
        for name in allowed.into_iter().flatten() {
            if !used.get(&module).is_some_and(|used| used.contains(&name)) {
                wrong.push(format!("lib.rs: `{module}` does not import `{name}`, though the map says so"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn libraries_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (module, place, line) in code() {
        for (library, modules) in LIBRARIES {
            let path = format!("{library}::");
            let uses = line.split(&path).collect::<Vec<_>>();
            let named = uses
                .iter()
                .take(uses.len() - 1)
                .any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
            if named && !modules.contains(&module.as_str()) {
                wrong.push(format!("{place}: `{module}` may not know {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
