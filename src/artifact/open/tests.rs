use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::EntryType;
use tar::Header;

use super::*;
use crate::artifact::testing::Project;
use crate::artifact::testing::has;
use crate::artifact::testing::notes;
use crate::artifact::testing::paths;
use crate::artifact::testing::with_events;

/// A tarball made by hand.
#[derive(Default)]
struct Tarball(Vec<u8>);

impl Tarball {
    fn entry(mut self, kind: EntryType, path: &str, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o664);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    fn directory(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn gzipped(tar: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(tar).unwrap();
    gzip.finish().unwrap()
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while format!("{length}{rest}").len() != length {
            length += 1;
        }
        out.extend_from_slice(format!("{length}{rest}").as_bytes());
    }
    out
}

/// Opens the bytes as a file, in a cache of their own.
fn open_bytes(bytes: &[u8]) -> Result<Artifact, String> {
    let project = Project::new();
    let file = project.beside("given.tgz");
    fs::write(&file, bytes).unwrap();
    let result = open(&file, &project.cache(), &Events::ignored(), &CancellationToken::new());
    result.map_err(|error| error.to_string().replace(&file.display().to_string(), "FILE"))
}

fn open_tar(tarball: Tarball) -> Result<Artifact, String> {
    open_bytes(&gzipped(&tarball.end()))
}

#[test]
fn what_hosts_may_not_unpack_is_refused_all_at_once() {
    let evil = Tarball::default()
        .file("good", "1")
        .file("/absolute", "1")
        .file("a/../../b", "1")
        .file("a//b", "1")
        .file("back\\slash", "1")
        .file("new\nline", "1")
        .file("twice", "1")
        .file("./twice", "2")
        .link("out", "../x")
        .link("abs", "/etc")
        .link("dir", "real")
        .directory("real/")
        .file("dir/below", "1")
        .file("good/below", "1")
        .link("tricky", "dir/../../x")
        .entry(EntryType::Link, "hard", "good", b"")
        .entry(EntryType::Char, "tty", "", b"")
        .entry(EntryType::Fifo, "pipe", "", b"")
        .entry(EntryType::GNUSparse, "sparse", "", b"")
        .entry(EntryType::new(b'Z'), "odd", "", b"")
        .entry(EntryType::Directory, "fat", "", b"content");
    insta::assert_snapshot!(open_tar(evil).unwrap_err(), @r"
    FILE is refused:
      /absolute: it is not a plain relative path
      a/../../b: it is not a plain relative path
      a//b: it is not a plain relative path
      abs: the link is absolute (`/etc`); make it relative
      back\slash: its name contains a backslash; rename it
      dir/below: it lies below the link `dir`
      fat: it has content, but is no file
      good/below: it lies below the file `good`
      hard: it is a hard link; make the tarball with `tar --hard-dereference`
      new\nline: its name contains a control character; rename it
      odd: it is of the unknown type 'Z'
      out: the link leads outside of what is packed (`../x`)
      pipe: it is a named pipe
      sparse: it is a sparse file; make the tarball without `--sparse`
      tricky: the link leads outside of what is packed (`dir/../../x`)
      tty: it is a device
      twice: it is in the tarball more than once
    ");
}

#[test]
fn extensions_that_readers_understand_differently_are_refused() {
    let x = |records: &[(&str, &str)]| {
        Tarball::default().entry(EntryType::XHeader, "x", "", &pax(records)).file("name", "12345")
    };
    let global = |records: &[(&str, &str)]| {
        Tarball::default().entry(EntryType::XGlobalHeader, "g", "", &pax(records)).file("name", "12345")
    };
    let long = Tarball::default().entry(EntryType::GNULongName, "././@LongLink", "", b"gnu\0");
    let huge =
        Tarball::default().entry(EntryType::GNULongName, "././@LongLink", "", &[b'a'; 70_000]).file("n", "");
    let table = [
        (x(&[("size", "600")]), "has two sizes"),
        (x(&[("size", "many")]), "a size that is no number"),
        (x(&[("path", "../../x")]), "not a plain relative path"),
        (x(&[("GNU.sparse.major", "1")]), "sparse"),
        (global(&[("path", "x")]), "a global PAX header"),
        (global(&[("size", "1")]), "a global PAX header"),
        (
            long.entry(EntryType::XHeader, "x", "", &pax(&[("path", "pax")])).file("n", ""),
            "also has another name",
        ),
        (huge, "no name is so long"),
        (
            Tarball::default().file("f", "").entry(EntryType::XHeader, "x", "", &pax(&[("path", "p")])),
            "it ends after",
        ),
        (
            Tarball::default().entry(EntryType::XHeader, "x", "", b"99 path=x\n").file("n", ""),
            "bad PAX header",
        ),
    ];
    for (tarball, part) in table {
        let error = open_tar(tarball).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn extensions_that_are_plain_are_understood() {
    let name = "n".repeat(150);
    let tarball = Tarball::default()
        .entry(EntryType::XGlobalHeader, "g", "", &pax(&[("comment", "1234")]))
        .entry(EntryType::XHeader, "x", "", &pax(&[("path", &name), ("size", "5"), ("mtime", "1.5")]))
        .file("short", "12345")
        .entry(EntryType::XHeader, "x", "", &pax(&[("linkpath", &name)]))
        .link("link", "short")
        .entry(EntryType::GNULongName, "././@LongLink", "", b"gnu\0")
        .file("cut", "1")
        .file("plain", "2");
    let artifact = open_tar(tarball).unwrap();
    assert_eq!(paths(&artifact), ["gnu", "link", &name, "plain"]);
    assert_eq!(artifact.manifest.entries[1].kind, EntryKind::Symlink { target: name.into_bytes() });
}

#[test]
fn what_is_no_tar_says_what_it_is() {
    let good = Tarball::default().file("f", &"x".repeat(2000)).end();
    let zipped = gzipped(&good);
    let mut flipped = good.clone();
    flipped[3] ^= 1;
    let mut cut_between_entries = Tarball::default().file("f", "1").0;
    cut_between_entries.extend_from_slice(&[0; 100]);
    let mut hidden = good.clone();
    hidden.extend_from_slice(&Tarball::default().file("hidden", "1").end());
    let mut wrong_sum = zipped.clone();
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    let table: [(Vec<u8>, &str); 13] = [
        (vec![], "it is empty"),
        (b"some words".to_vec(), "no tar"),
        (good[..600].to_vec(), "is not a usable artifact"),
        (b"PK\x03\x04....".to_vec(), "a zip file"),
        (b"\x28\xb5\x2f\xfd....".to_vec(), "is not a usable artifact"),
        (zipped[..zipped.len() / 2].to_vec(), "is not a usable artifact"),
        (wrong_sum, "is not a usable artifact"),
        (gzipped(b"hello"), "is not a usable artifact"),
        (gzipped(&flipped), "checksum"),
        (gzipped(&good[..1024]), "is not a usable artifact"),
        (gzipped(&cut_between_entries), "is not a usable artifact"),
        (gzipped(&hidden), "more after the end"),
        (gzipped(&[0; 1024]), "there is no file in it"),
    ];
    for (n, (bytes, part)) in table.into_iter().enumerate() {
        let error = open_bytes(&bytes).unwrap_err();
        assert!(error.contains(part), "{n}: {error}");
    }
    let no_end = Tarball::default().file("f", "1").0;
    let error = open_bytes(&gzipped(&no_end)).unwrap_err();
    assert!(error.contains("the mark of its end is missing"), "{error}");
}

#[test]
fn a_tar_opens_to_the_same_however_it_is_compressed() {
    let project = Project::new();
    project.file("f", "1").file("d/g", "x".repeat(2000));
    let artifact = project.pack().unwrap();
    let tar = crate::artifact::testing::tar_of(&artifact);
    let forms = [("gz", gzipped(&tar)), ("zst", zstd::encode_all(&*tar, 3).unwrap()), ("tar", tar)];
    for (name, bytes) in forms {
        let file = project.beside(name);
        fs::write(&file, bytes).unwrap();
        let cache = Cache::at(project.beside(&format!("{name}-cache")));
        let (opened, stated) =
            with_events(|events| open(&file, &cache, events, &CancellationToken::new()).unwrap());
        assert_eq!((opened.digest, &opened.manifest), (artifact.digest, &artifact.manifest), "{name}");
        assert_eq!(notes(&stated), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_missing_file_and_a_directory_are_named() {
    let project = Project::new();
    for (path, part) in [(project.beside("none.tgz"), "none.tgz"), (project.root(), "it is a directory")] {
        let error = open(&path, &project.cache(), &Events::ignored(), &CancellationToken::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_tarball_that_unpacks_to_too_much_is_refused() {
    let limits = scan::Limits { entries: 3, bytes: 1 << 20, small: 64 << 10, ratio: 50 };
    let scan = |tar: &[u8]| {
        let project = Project::new();
        let file: PathBuf = project.beside("given.tgz");
        fs::write(&file, gzipped(tar)).unwrap();
        let spool = project.cache().scratch().unwrap();
        let scanned = scan::scan_within(limits, &file, &spool, &project.cache(), &Events::ignored());
        scanned.map(|scanned| scanned.found.len()).map_err(|error| error.to_string())
    };
    let zeros = |size: usize| Tarball::default().entry(EntryType::Regular, "zeros", "", &vec![0; size]).end();
    assert_eq!(scan(&zeros(32 << 10)), Ok(1));
    // Much from little.
    assert!(scan(&zeros(512 << 10)).unwrap_err().contains("it unpacks to more than"));
    // Too much altogether, though it does not compress well.
    let noise: Vec<u8> =
        (0..2 << 20_u64).map(|n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
    let noise = Tarball::default().entry(EntryType::Regular, "noise", "", &noise).end();
    assert!(scan(&noise).unwrap_err().contains("more than 1 MiB"));
    let many = Tarball::default().file("a", "").file("b", "").file("c", "");
    assert_eq!(scan(&many.end()), Ok(3));
    let many = Tarball::default().file("a", "").file("b", "").file("c", "").file("d", "");
    assert!(scan(&many.end()).unwrap_err().contains("more than 3 entries"));
    // Headers that never become entries count as bytes.
    let empty = Tarball::default().entry(EntryType::XGlobalHeader, "g", "", b"").0;
    assert!(scan(&empty.repeat(4000)).unwrap_err().contains("it unpacks to more than"));
}

#[test]
fn a_tarball_made_by_others_becomes_the_artifact_packed_here() {
    if !has("tar") {
        return;
    }
    let project = Project::new();
    project.file("b/f", "1").executable("run", "#!/bin/sh\n").link("l", "b/f").directory("empty");
    project.file(&format!("{}x", "long-name/".repeat(20)), "2");
    let artifact = project.pack().unwrap();
    for (name, args) in [
        ("gnu", &["--format=gnu", "."][..]),
        ("pax", &["--format=pax", "."]),
        ("ustar", &["--format=ustar", "."]),
        // Without entries for directories, in another order.
        ("files", &["--no-recursion", "run", "l", "empty", "b/f"]),
    ] {
        let file = project.beside(name);
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&file).arg("-C").arg(project.root()).args(args);
        if name == "files" {
            tar.arg(format!("{}x", "long-name/".repeat(20)));
        }
        assert!(tar.status().unwrap().success());
        let cache = Cache::at(project.beside("another-cache"));
        let (opened, stated) =
            with_events(|events| open(&file, &cache, events, &CancellationToken::new()).unwrap());
        assert_eq!(opened.manifest, artifact.manifest, "{name}");
        assert_eq!(opened.digest, artifact.digest, "{name}");
        assert_eq!(notes(&stated).len(), 1, "{name}: {stated:?}");
        assert!(notes(&stated)[0].contains("packed again"), "{name}");
    }
}

#[test]
fn a_tarball_with_a_repository_in_it_is_warned_about() {
    let project = Project::new();
    let file = project.beside("given.tgz");
    fs::write(&file, gzipped(&Tarball::default().file("./.git/HEAD", "x").file("f", "").end())).unwrap();
    let (opened, stated) =
        with_events(|events| open(&file, &project.cache(), events, &CancellationToken::new()).unwrap());
    assert_eq!(paths(&opened), [".git/", ".git/HEAD", "f"]);
    assert!(
        stated.iter().any(|kind| matches!(kind, EventKind::Warned { text, .. } if text.contains(".git")))
    );
}
