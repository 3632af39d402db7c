//! Owns the globs of `build.include`: paths from the top of the source, where a name of a directory
//! means everything in it. Knows whether a glob can still match below a directory, so that ignored
//! trees like `node_modules` are entered only when that can bring something back.

use std::path::Path;

use globset::GlobBuilder;
use globset::GlobMatcher;

/// One glob of `build.include`.
#[derive(Clone, Debug)]
pub(super) struct Include {
    /// As the user wrote it.
    pub(super) text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    /// `**`: any number of directories.
    AnyDepth,
    /// A glob for one name.
    Name(Box<GlobMatcher>),
}

impl Include {
    /// Reads a glob. The error says what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            match part {
                ".." => return Err("it leads outside of the source".to_owned()),
                "**" if matches!(parts.last(), Some(Part::AnyDepth)) => {}
                "**" => parts.push(Part::AnyDepth),
                name => {
                    let glob = GlobBuilder::new(name).literal_separator(true).backslash_escape(true).build();
                    let glob = glob.map_err(|error| error.kind().to_string())?;
                    parts.push(Part::Name(Box::new(glob.compile_matcher())));
                }
            }
        }
        if parts.is_empty() {
            return Err("it names nothing".to_owned());
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Whether it brings back the path, or a directory the path lies in.
    pub(super) fn matches(&self, path: &Path) -> bool {
        matches(&self.parts, &names(path))
    }

    /// Whether it can match something inside this directory.
    pub(super) fn reaches_into(&self, directory: &Path) -> bool {
        reaches_into(&self.parts, &names(directory))
    }
}

fn names(path: &Path) -> Vec<&Path> {
    path.iter().map(Path::new).collect()
}

fn matches(parts: &[Part], names: &[&Path]) -> bool {
    match parts {
        [] => true,
        [Part::AnyDepth] => true,
        [Part::AnyDepth, rest @ ..] => {
            (0..=names.len()).any(|skipped| names.get(skipped..).is_some_and(|names| matches(rest, names)))
        }
        [Part::Name(glob), rest @ ..] => match names {
            [name, names @ ..] => glob.is_match(name) && matches(rest, names),
            [] => false,
        },
    }
}

fn reaches_into(parts: &[Part], names: &[&Path]) -> bool {
    match (parts, names) {
        ([], _) | (_, []) | ([Part::AnyDepth, ..], _) => true,
        ([Part::Name(glob), rest @ ..], [name, names @ ..]) => {
            glob.is_match(name) && reaches_into(rest, names)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_a_path_from_the_top_and_a_directory_means_all_of_it() {
        // glob, path, brings it back, reaches into it as a directory
        let table = [
            ("dist", "dist", true, true),
            ("dist", "dist/a/b.js", true, true),
            ("dist", "distant", false, false),
            ("dist", "src/dist", false, false),
            ("dist/", "dist/a", true, true),
            ("./dist", "dist/a", true, true),
            ("/dist", "dist/a", true, true),
            ("dist/**", "dist/a/b.js", true, true),
            ("dist/*.js", "dist", false, true),
            ("dist/*.js", "dist/.hidden.js", true, true),
            ("dist/*.js", "dist/a/b.js", false, false),
            ("dist/*.js", "node_modules", false, false),
            ("packages/*/dist", "packages/web", false, true),
            ("packages/*/dist", "packages/web/dist/x", true, true),
            ("packages/*/dist", "packages/web/src", false, false),
            ("**/*.wasm", "node_modules/x/y.wasm", true, true),
            ("**/*.wasm", "y.wasm", true, true),
            ("**/*.wasm", "node_modules", false, true),
            ("a/**/**/z", "a/z", true, true),
            ("a/**/z", "a/b/c/z/d", true, true),
            ("{dist,build}", "build/x", true, true),
            ("[!a]ist", "dist", true, true),
        ];
        for (glob, path, brings, reaches) in table {
            let include = Include::new(glob).unwrap();
            assert_eq!(include.matches(Path::new(path)), brings, "{glob} matches {path}");
            assert_eq!(include.reaches_into(Path::new(path)), reaches, "{glob} reaches into {path}");
        }
    }

    #[test]
    fn a_bad_glob_is_refused() {
        for bad in ["", "/", ".", "../dist", "dist/../..", "[", "{a", "{a/b,c}", "a["] {
            assert!(Include::new(bad).is_err(), "{bad}");
        }
    }
}
