//! The configuration as its users meet it: whole files in, whole reports or whole environments out.

mod documents;
mod fuzz;
mod invalid;
mod valid;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::Project;
use super::Report;
use super::load::parse;
use super::paths::Places;

const MANIFEST_DIR: &str = env!("CARGO_MANIFEST_DIR");

/// The cases of a folder of `tests/configs`, relative to the crate.
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

fn text_of(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(MANIFEST_DIR).join(path)).unwrap()
}

/// Judges a text as the file `/project/deploy.toml` of a user whose home is `/home/me`.
fn read(text: &str) -> Result<Project, Report> {
    let places = Places { root: "/project".into(), home: Some("/home/me".into()) };
    parse(text, "deploy.toml", "/project/deploy.toml".into(), &places)
}
