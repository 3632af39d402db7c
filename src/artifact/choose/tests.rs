use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::PackError;
use super::super::testing::Project;
use super::*;

/// Builds a project from paths; those that end with `=` and a text are files with that content.
fn project(files: &[&str]) -> Project {
    let project = Project::new();
    for file in files {
        let (path, content) = file.split_once('=').unwrap_or((file, "x"));
        project.file(path, content);
    }
    project
}

fn error(project: &Project) -> ChooseError {
    match project.pack().unwrap_err() {
        PackError::Choose(error) => error,
        other => panic!("{other}"),
    }
}

/// What is wrong, one line a path.
fn problems(project: &Project) -> String {
    match error(project) {
        ChooseError::Refused { problems, .. } => problems.to_string(),
        other => panic!("{other}"),
    }
}

#[test]
fn ignore_rules_decide_what_is_packed() {
    struct Case {
        what: &'static str,
        files: &'static [&'static str],
        packed: &'static [&'static str],
    }
    let table = [
        Case {
            what: "git's rules hold without a repository, and nested ones win",
            files: &[
                ".gitignore=*.log\nnode_modules/\n",
                "a.log",
                "node_modules/x",
                "sub/.gitignore=!keep.log",
                "sub/keep.log",
                "sub/b.log",
            ],
            packed: &[".gitignore", "sub/", "sub/.gitignore", "sub/keep.log"],
        },
        Case {
            what: "hidden files are packed",
            files: &[".env.example", ".config/x"],
            packed: &[".config/", ".config/x", ".env.example"],
        },
        Case {
            what: "version control, the configuration and .deployignore are not",
            files: &[
                "deploy.toml",
                ".deployignore",
                ".git/HEAD",
                "sub/.git",
                "sub/.deployignore",
                "sub/deploy.toml",
                ".hg/x",
                "sub/.svn/x",
                ".gitattributes",
            ],
            packed: &[".gitattributes", "sub/", "sub/deploy.toml"],
        },
        Case {
            what: ".deployignore is stronger than .gitignore, whatever its depth",
            files: &[
                ".gitignore=*.map\nout/\n",
                ".deployignore=!out/\ntest/\n!keep.map\n",
                "out/app.js",
                "out/app.map",
                "test/x",
                "keep.map",
                "sub/.gitignore=!test\n",
                "sub/test/y",
            ],
            packed: &[".gitignore", "keep.map", "out/", "out/app.js", "sub/", "sub/.gitignore"],
        },
        Case {
            what: "rules of git that are not the project's do not count",
            files: &[".git/info/exclude=secret\n", "secret", ".ignore=other\n", "other"],
            packed: &[".ignore", "other", "secret"],
        },
        Case {
            what: "an ignored directory cannot be opened up again from inside",
            files: &[".gitignore=out/\n!out/keep\n", "out/keep", "f"],
            packed: &[".gitignore", "f"],
        },
        Case {
            what: "a directory whose files are all ignored stays",
            files: &[".gitignore=tmp/*\n", "tmp/x", "f"],
            packed: &[".gitignore", "f", "tmp/"],
        },
        Case {
            what: "anchored and directory patterns are git's",
            files: &[".gitignore=/a\nb/\nc/d\n", "a", "x/a", "b/f", "x/b", "c/d", "x/c/d"],
            packed: &[".gitignore", "c/", "x/", "x/a", "x/b", "x/c/", "x/c/d"],
        },
    ];
    for Case { what, files, packed } in table {
        assert_eq!(project(files).packed(), packed, "{what}");
    }
}

#[test]
fn ignore_files_above_the_source_play_no_part() {
    let mut project =
        project(&[".gitignore=dist/\n*.js\n", "dist/app.js", "dist/.gitignore=*.tmp\n", "dist/x.tmp"]);
    fs::write(project.beside(".gitignore"), "*").unwrap();
    project.build.source = "dist".into();
    assert_eq!(project.packed(), [".gitignore", "app.js"]);
    project.build.source = "./dist/".into();
    assert_eq!(project.packed(), [".gitignore", "app.js"]);
}

#[test]
fn include_brings_back_what_git_ignores_and_exclude_wins() {
    const TREE: &[&str] = &[
        ".gitignore=dist/\nnode_modules\n*.wasm\n",
        ".deployignore=*.secret\n",
        "dist/app.js",
        "dist/app.js.map",
        "dist/.gitignore=*\n",
        "dist/sub/b.js",
        "dist/x.secret",
        "node_modules/m/dist/m.js",
        "node_modules/m/m.wasm",
        "src/a.js",
        "test/a.js",
    ];
    let always = [".gitignore", "src/", "src/a.js"];
    let test = ["test/", "test/a.js"];
    let dist = ["dist/", "dist/.gitignore", "dist/app.js", "dist/app.js.map", "dist/sub/", "dist/sub/b.js"];
    let table: [(&[&str], &[&str], Vec<&str>); 10] = [
        (&[], &[], [&always[..], &test].concat()),
        (&["dist/**"], &[], [&always[..], &test, &dist].concat()),
        (&["dist"], &[], [&always[..], &test, &dist].concat()),
        (&["dist/"], &[], [&always[..], &test, &dist].concat()),
        (&["dist/*.js"], &[], [&always[..], &test, &["dist/", "dist/app.js"]].concat()),
        (&["dist/sub/b.js"], &[], [&always[..], &test, &["dist/", "dist/sub/", "dist/sub/b.js"]].concat()),
        (
            &["**/*.wasm"],
            &["test/**"],
            [&always[..], &["node_modules/", "node_modules/m/", "node_modules/m/m.wasm"]].concat(),
        ),
        (
            &["dist/**"],
            &["*.map", "dist/sub", "test/", ".gitignore"],
            vec!["dist/", "dist/app.js", "src/", "src/a.js"],
        ),
        (&["src"], &["/test"], always.to_vec()),
        // An exclude with a slash is a path from the top.
        (&[], &["m/dist", "a.js"], vec![".gitignore", "src/", "test/"]),
    ];
    for (include, exclude, mut packed) in table {
        let mut project = project(TREE);
        if packed.len() == 3 && exclude == ["m/dist", "a.js"] {
            // Something must be left.
            project.file("other", "");
            packed.push("other");
        }
        project.build.include = include.iter().map(|glob| (*glob).to_owned()).collect();
        project.build.exclude = exclude.iter().map(|glob| (*glob).to_owned()).collect();
        packed.sort_unstable();
        assert_eq!(project.packed(), packed, "include {include:?}, exclude {exclude:?}");
    }
}

#[test]
fn ignored_trees_are_not_entered_when_no_glob_can_match_there() {
    let mut project = project(&[".gitignore=*\n", "dist/a", "node_modules/m/x"]);
    // Would be reported if it were read; root may read everything, so that a name is the trap.
    fs::create_dir_all(project.path("node_modules")).unwrap();
    fs::write(project.path("node_modules/.gitignore"), b"\xff\n").unwrap();
    project.build.include = vec!["dist/**".into()];
    assert_eq!(project.packed(), ["dist/", "dist/a"]);
    project.build.include = vec!["**/a".into()];
    assert!(problems(&project).contains("node_modules/.gitignore"), "the trap works");
}

#[test]
fn an_include_that_matches_nothing_is_an_error_that_names_it() {
    let mut project = project(&["f", "empty-dir/x"]);
    fs::remove_file(project.path("empty-dir/x")).unwrap();
    project.build.include = vec!["f".into(), "dist/**".into(), "empty-dir".into()];
    let text = error(&project).to_string().replace(&project.root().display().to_string(), "ROOT");
    insta::assert_snapshot!(text, @"`build.include`: nothing in ROOT matches `dist/**`, `empty-dir`; did the build run, and is the path right?");
}

#[test]
fn a_bad_glob_names_its_key() {
    let bad: [(&str, &str); 8] = [
        ("include", "../x"),
        ("include", ""),
        ("include", "{a"),
        ("exclude", "!x"),
        ("exclude", " "),
        ("exclude", "a/../../b"),
        ("exclude", "[z"),
        ("exclude", "{a"),
    ];
    for (key, glob) in bad {
        let mut project = project(&["f"]);
        let globs = if key == "include" { &mut project.build.include } else { &mut project.build.exclude };
        globs.push(glob.to_owned());
        let text = error(&project).to_string();
        assert!(text.starts_with(&format!("`build.{key}`: bad glob `")), "{glob}: {text}");
    }
}

#[test]
fn a_line_that_cannot_be_read_stops_instead_of_packing_too_much() {
    let project = project(&["f", "sub/.deployignore=ok\n{a\n"]);
    assert_eq!(problems(&project).lines().count(), 1);
    assert!(
        problems(&project).starts_with("  sub/.deployignore: line 2: bad glob `{a`"),
        "{}",
        problems(&project)
    );
}

#[test]
fn a_source_that_is_missing_or_leaves_nothing_is_an_error() {
    let mut project = project(&["f", ".gitignore=*\n"]);
    assert!(matches!(error(&project), ChooseError::Empty { .. }));
    project.build.source = "dist".into();
    let text = error(&project).to_string();
    assert!(text.contains("/app/dist") && text.contains("`build.source`"), "{text}");
    project.build.source = "f".into();
    assert!(matches!(error(&project), ChooseError::Source { .. }));
    let only_directories = Project::new();
    only_directories.directory("a/b");
    assert!(matches!(error(&only_directories), ChooseError::Empty { .. }));
}

#[test]
fn everything_that_cannot_be_packed_is_reported_at_once() {
    let project = project(&["f", "new\nline", "back\\slash", "tab\there", "ok/\u{7f}"]);
    project
        .link("absolute", "/etc/passwd")
        .link("outside", "../secret")
        .link("a-dir", "ok")
        .link("through", "a-dir/../../x")
        .link("bad-target", "a\nb")
        .link("backslash", "a\\b");
    rustix::fs::mkfifoat(rustix::fs::CWD, project.path("pipe"), 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(project.path("socket")).unwrap();
    // 3071 bytes are fine, the file below is too much.
    let deep = "d".repeat(255) + "/";
    let deep = deep.repeat(11) + &"d".repeat(255);
    make_deep(&project.root(), &format!("{deep}/f"));
    let text = problems(&project).replace(&deep, "DEEP");
    insta::assert_snapshot!(text, @r"
      absolute: the link is absolute (`/etc/passwd`); make it relative
      back\slash: its name contains a backslash; rename it
      backslash: the link's target contains a backslash; rename it
      bad-target: the link's target contains a control character; rename it
      DEEP/f: its path has 3073 bytes; hosts take 3072
      new\nline: its name contains a control character; rename it
      ok/\u{7f}: its name contains a control character; rename it
      outside: the link leads outside of what is packed (`../secret`)
      pipe: a named pipe cannot be packed; exclude or remove it
      socket: a socket cannot be packed; exclude or remove it
      tab\there: its name contains a control character; rename it
      through: the link leads outside of what is packed (`a-dir/../../x`)
    ");
}

/// Makes a file whose path is too long for one system call.
fn make_deep(root: &Path, path: &str) {
    let names: Vec<&str> = path.split('/').collect();
    let (file, directories) = names.split_last().unwrap();
    let mut here = fs::File::open(root).unwrap();
    for name in directories {
        rustix::fs::mkdirat(&here, *name, 0o755.into()).unwrap();
        here = rustix::fs::openat(
            &here,
            *name,
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY,
            0.into(),
        )
        .unwrap()
        .into();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    rustix::fs::openat(&here, *file, flags, 0o644.into()).unwrap();
}

#[test]
fn what_is_excluded_is_not_judged() {
    let mut project = project(&["f", "bad/new\nline"]);
    project.link("bad/absolute", "/etc");
    rustix::fs::mkfifoat(rustix::fs::CWD, project.path("pipe"), 0o600.into()).unwrap();
    project.build.exclude = vec!["bad".into(), "pipe".into()];
    assert_eq!(project.packed(), ["f"]);
}

#[test]
fn directories_behind_links_are_not_followed() {
    let project = project(&["real/f"]);
    project.link("again", "real").link("real/loop", "..");
    assert_eq!(project.packed(), ["again", "real/", "real/f", "real/loop"]);
}

#[test]
fn names_that_are_no_utf_8_are_packed_as_they_are() {
    let project = project(&["f"]);
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    if fs::write(project.root().join(name), "x").is_err() {
        return; // This file system takes only UTF-8.
    }
    let manifest = project.pack().unwrap().manifest;
    assert!(manifest.entries.iter().any(|entry| entry.path == b"caf\xe9"));
}

#[test]
fn setuid_is_dropped_and_only_the_owner_decides_what_is_executable() {
    let project = project(&["setuid", "group-only", "run"]);
    project.mode("setuid", 0o4755).mode("group-only", 0o674).mode("run", 0o700);
    let executable = |path: &str| {
        let artifact = project.pack().unwrap();
        let entry = artifact.manifest.entries.iter().find(|entry| entry.path == path.as_bytes()).unwrap();
        entry.kind.mode()
    };
    assert_eq!([executable("setuid"), executable("group-only"), executable("run")], [0o755, 0o644, 0o755]);
    assert_eq!(fs::metadata(project.path("setuid")).unwrap().permissions().mode() & 0o7777, 0o4755);
}
