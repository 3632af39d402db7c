//! The configuration as its users meet it: whole files in, whole reports or whole environments out.
//! `tests/configs/invalid` marks every line that must be reported with `#!`; the report lies beside it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::load::parse;
use crate::config::paths::Places;

const MANIFEST_DIR: &str = env!("CARGO_MANIFEST_DIR");

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/configs").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new(MANIFEST_DIR).join(&folder))
        .unwrap()
        .map(|entry| folder.join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

fn places() -> Places {
    Places { root: "/project".into(), home: Some("/home/me".into()) }
}

fn read(text: &str) -> Result<Project, Report> {
    parse(text, "deploy.toml", "/project/deploy.toml".into(), &places())
}

fn valid(name: &str) -> Project {
    let path = Path::new(MANIFEST_DIR).join("tests/configs/valid").join(name);
    read(&fs::read_to_string(path).unwrap()).unwrap_or_else(|report| panic!("{report}"))
}

/// The lines a report points at.
fn reported(report: &str, file: &str) -> BTreeSet<usize> {
    let arrow = format!("--> {file}:");
    let line = |l: &str| l.trim_start().strip_prefix(&arrow)?.split(':').next()?.parse().ok();
    report.lines().filter_map(line).collect()
}

#[test]
fn every_defect_is_reported_on_its_line_and_nowhere_else() {
    let cases = cases("invalid");
    assert!(cases.len() >= 60);
    for path in cases {
        let error = load(Some(&path), Path::new(MANIFEST_DIR)).expect_err(&path.display().to_string());
        let report = error.to_string();
        let source = fs::read_to_string(Path::new(MANIFEST_DIR).join(&path)).unwrap();
        let marked: BTreeSet<usize> =
            source.lines().enumerate().filter(|(_, l)| l.contains("#!")).map(|(n, _)| n + 1).collect();
        assert_eq!(reported(&report, &path.display().to_string()), marked, "{}\n{report}", path.display());
        let problems = report.lines().filter(|l| l.starts_with("error: ")).count() - 1;
        let helps = report.lines().filter(|l| l.contains("= help: ")).count();
        assert_eq!(problems, helps, "{report}");
        assert!(!report.contains(MANIFEST_DIR), "{report}");
    }
}

#[test]
fn every_report_reads_as_it_always_did() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(MANIFEST_DIR).join("tests/configs/invalid"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in cases("invalid") {
        let error = load(Some(&path), Path::new(MANIFEST_DIR)).unwrap_err();
        let name = path.file_stem().unwrap().to_str().unwrap();
        settings.bind(|| insta::assert_snapshot!(name, error));
    }
}

#[test]
fn valid_files_load() {
    for path in cases("valid") {
        load(Some(&path), Path::new(MANIFEST_DIR)).unwrap_or_else(|error| panic!("{error}"));
    }
}
