//! What happens on this machine: builds, their failures, and artifacts that are made once and deployed
//! later.

use std::fs;
use std::fs::File;
use std::fs::FileTimes;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;

use crate::support::project::Project;
use crate::support::project::files;
use crate::support::skip;

use super::before::Before;
use super::clocks::fake_clock;

#[test]
fn a_build_says_its_file_on_standard_output_and_nothing_else() {
    let project = Project::files(1, "[build]\nrun = [\"echo compiling\"]\n");
    let ended = project.rdeploy(&["build"]).run();
    insta::assert_snapshot!(ended, @r"
    exit code: 0
    --- stdout
    [ROOT]/cache/[DIGEST].tar.zst
    --- stderr
    local | $ echo compiling
    local | echo compiling: done in [T]
    local | packed 1 file, 10 B ([SIZE] compressed), [DIGEST]
    ");
    assert!(fs::metadata(ended.out.trim()).unwrap().is_file());
    assert!(!project.host(1).root.exists());
}

#[test]
fn an_artifact_is_deployed_later_under_the_same_digest() {
    let project = Project::files(1, "[build]\nrun = [\"echo built >>built; cp built public/built\"]\n");
    let built = project.rdeploy(&["build", "-o", "../shop.tar.gz"]).run();
    insta::assert_snapshot!(built, @r"
    exit code: 0
    --- stdout
    ../shop.tar.gz
    --- stderr
    local | $ echo built >>built; cp built public/built
    local | echo built >>built; cp built public/built: done in [T]
    local | packed 3 files, 22 B ([SIZE] compressed), [DIGEST]
    ");
    let cached = project.rdeploy(&["build"]).run().ends_with(0);
    assert!(cached.err.contains("packed"), "{cached}");

    // What the project has become since then does not matter.
    project.version(2);
    let ended = project.rdeploy(&["dev", "--artifact", "../shop.tar.gz"]).run();
    insta::assert_snapshot!(ended, @r"
    exit code: 0
    --- stdout
    deploy of shop on dev: host1
    local | unchanged since it was last packed: 3 files, 22 B ([SIZE] compressed), [DIGEST]
    host1 | uploaded [SIZE]
    host1 | preparing
    host1 | switching
    host1 | current is now [RELEASE-----1]
    host1 | verifying
    host1 | proven to run [RELEASE-----1]: current leads to the release, and nothing is supervised
    host1 | done
    deployed [RELEASE-----1] to dev on 1 host in [T] (build [T], prepare [T], switch [T])
    --- stderr
    ");
    let host = project.host(1);
    assert_eq!(host.read("current/public/index.html"), "version 1\n");
    assert_eq!(host.read("current/public/built"), "built\n");
    assert_eq!(fs::read_to_string(project.file("built")).unwrap().lines().count(), 2, "it built nothing");
    let digest = host.read(&format!(".rdeploy/releases/{}/digest", host.live().unwrap()));
    let short = digest.get(..12).unwrap();
    assert!(built.err.contains(short) && ended.out.contains(short), "{digest}{built}{ended}");
}

/// Tells that a file was opened, by whomever.
struct Watch(OwnedFd);

impl Watch {
    fn of(path: &Path) -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, path, inotify::WatchFlags::OPEN).unwrap();
        Self(watch)
    }

    /// Whether it was, since this was asked before.
    fn was_opened(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        let mut count = 0;
        while events.next().is_ok() {
            count += 1;
        }
        count > 0
    }
}

#[test]
fn a_file_that_did_not_change_is_not_read_again() {
    let test = "a_file_that_did_not_change_is_not_read_again";
    let Some(library) = fake_clock() else { return skip(test, "there is no libfaketime (package faketime)") };
    let project = Project::files(1, "");
    // Nothing is remembered of what was written a moment ago, so all of this is an hour later.
    let build = || {
        let build = project.rdeploy(&["build"]).env("LD_PRELOAD", library.to_str().unwrap());
        build.env("FAKETIME", "+1h").env("NO_FAKE_STAT", "1").run().ends_with(0).out
    };
    let page = project.file("public/index.html");
    let watch = Watch::of(&page);
    let first = build();
    assert!(watch.was_opened());
    assert_eq!(build(), first);
    assert!(!watch.was_opened());

    // As large as it was, and as old.
    let mtime = fs::metadata(&page).unwrap().modified().unwrap();
    project.version(2);
    let file = File::options().write(true).open(&page).unwrap();
    file.set_times(FileTimes::new().set_modified(mtime)).unwrap();
    assert!(watch.was_opened());
    assert_ne!(build(), first);
    assert!(watch.was_opened());
}

/// Text that compresses, of three megabytes.
fn much(seed: u32) -> String {
    let word = |n: u32| format!("{:x} ", n.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 12);
    (0..500_000).map(word).collect()
}

#[test]
fn what_is_large_is_sent_while_it_is_compressed_and_is_in_the_cache_at_the_end() {
    let project = Project::files(1, "");
    project.write("public/much", much(1));
    let first = project.rdeploy(&["dev"]).run().ends_with(0);
    assert!(first.out.contains("packed 2 files, "), "{first}");
    assert!(first.out.contains("host1 | uploaded "), "{first}");
    let host = project.host(1);
    assert_eq!(host.read("current/public/much"), much(1));
    let names = || fs::read_dir(project.beside("cache")).unwrap().map(|file| file.unwrap().path());
    let cached = || names().filter(|path| path.extension().is_none_or(|it| it != "hashes")).count();
    assert_eq!(cached(), 4, "the artifact, its files, its chunks and what it is");

    project.version(2);
    let second = project.rdeploy(&["dev"]).run().ends_with(0);
    assert!(second.out.contains("(1 of 2 files changed)"), "{second}");
    assert_eq!(host.read("current/public/index.html"), "version 2\n");
    assert_eq!(host.read("current/public/much"), much(1));
    assert_eq!(cached(), 8);
}

#[test]
fn an_artifact_that_the_cache_does_not_take_is_a_warning_after_a_deploy_that_did_not_need_it() {
    let project = Project::files(1, "");
    project.write("public/much", much(2));
    project.rdeploy(&["dev"]).run().ends_with(0);
    project.version(2);
    let built = project.rdeploy(&["build"]).run().ends_with(0);
    let path = std::path::PathBuf::from(built.out.trim());
    for extension in ["json", "manifest", "chunks", "tar.zst"] {
        fs::remove_file(path.with_extension("").with_extension(extension)).unwrap();
    }
    // Something that no file can take the place of.
    fs::create_dir(&path).unwrap();
    let ended = project.rdeploy(&["dev"]).run().ends_with(0);
    assert!(ended.out.contains("(1 of 2 files changed)"), "{ended}");
    assert!(
        ended.out.contains("warning: the artifact is not in the cache: cannot write to the artifact cache"),
        "{ended}"
    );
    assert!(ended.out.contains("`resume`"), "{ended}");
    assert_eq!(project.host(1).read("current/public/index.html"), "version 2\n");
    // Who needs the file is told.
    let built = project.rdeploy(&["build"]).run().ends_with(2);
    assert!(built.err.contains("cannot write to the artifact cache"), "{built}");
}

#[test]
fn what_is_no_artifact_is_refused_before_a_host_is_touched() {
    let project = Project::files(1, "");
    project.write("notes.txt", "not an artifact");
    insta::assert_snapshot!(project.rdeploy(&["dev", "--artifact", "notes.txt"]).run(), @r#"
    exit code: 2
    --- stdout
    deploy of shop on dev: host1
    failed: notes.txt is not a usable artifact: it is no tar; a .tar.gz, .tar.zst or .tar is needed
    --- stderr

    error: notes.txt is not a usable artifact: it is no tar; a .tar.gz, .tar.zst or .tar is needed
      hint: make the artifact anew with `rdeploy build -o FILE`

    the deploy to dev did not start ([T])

      host   state      live release
      host1  unchanged  none

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 2: the command line, the configuration or the local build is wrong; no host was touched
    "#);
    insta::assert_snapshot!(project.rdeploy(&["dev", "--artifact", "missing.tar.gz"]).run().error(), @r#"
    error: cannot read the artifact missing.tar.gz: No such file or directory (os error 2)
      hint: make the artifact anew with `rdeploy build -o FILE`

    the deploy to dev did not start ([T])

      host   state      live release
      host1  unchanged  none

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 2: the command line, the configuration or the local build is wrong; no host was touched
    "#);
    assert_eq!(project.host(1).live(), None);
}

#[test]
fn a_build_that_fails_shows_what_it_wrote_and_touches_no_host() {
    let project = Project::files(2, "");
    let before = Before::version_1(&project, 2);
    project.configure(&files(
        2,
        "[build]\nrun = [\"echo compiling; echo 'main.c:1: no such thing' >&2; exit 3\"]\n",
    ));
    let ended = project.rdeploy(&["dev"]).run();
    insta::assert_snapshot!(ended, @r#"
    exit code: 2
    --- stdout
    deploy of shop on dev: host1, host2
    local | $ echo compiling; echo 'main.c:1: no such thing' >&2; exit 3
    failed: `echo compiling; echo 'main.c:1: no such thing' >&2; exit 3` failed with exit code 3; its last lines: compiling main.c:1: no such thing
    --- stderr

    error: `echo compiling; echo 'main.c:1: no such thing' >&2; exit 3` failed with exit code 3; its last lines: compiling main.c:1: no such thing
      it wrote:
      | compiling
      | main.c:1: no such thing
      hint: mend the command and try again; nothing was changed on any host

    the build failed ([T])

      host   state      live release
      host1  unchanged  [RELEASE-----1]
      host2  unchanged  [RELEASE-----1]

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 2: the command line, the configuration or the local build is wrong; no host was touched
    "#);
    before.stands();
    let ended = project.rdeploy(&["build"]).run();
    insta::assert_snapshot!(ended, @r#"
    exit code: 2
    --- stdout
    --- stderr
    local | $ echo compiling; echo 'main.c:1: no such thing' >&2; exit 3
    failed: `echo compiling; echo 'main.c:1: no such thing' >&2; exit 3` failed with exit code 3; its last lines: compiling main.c:1: no such thing

    error: `echo compiling; echo 'main.c:1: no such thing' >&2; exit 3` failed with exit code 3; its last lines: compiling main.c:1: no such thing
      it wrote:
      | compiling
      | main.c:1: no such thing
      hint: mend the command and try again; nothing was changed on any host

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    "#);
}

#[test]
fn a_hook_before_the_build_that_fails_keeps_the_build_from_running() {
    let hooks =
        "[build]\nrun = [\"touch built\"]\n[hooks]\nbefore_build = [\"echo the tree is dirty; exit 1\"]\n";
    let project = Project::files(1, hooks);
    let ended = project.rdeploy(&["dev"]).run().ends_with(2);
    insta::assert_snapshot!(ended.error(), @r#"
    error: `echo the tree is dirty; exit 1` failed with exit code 1; its last lines: the tree is dirty
      it wrote:
      | the tree is dirty
      hint: mend the command and try again; nothing was changed on any host

    the build failed ([T])

      host   state      live release
      host1  unchanged  none

    full log: [ROOT]/state/logs/[TIME]-dev-[PID].log
    exit code 2: the command line, the configuration or the local build is wrong; no host was touched
    "#);
    assert!(!project.file("built").exists());
    assert_eq!(project.host(1).live(), None);
}

#[test]
fn a_build_sees_no_variable_of_an_environment_and_local_hooks_do() {
    let config = "[build]\nrun = [\"echo \\\"<$COLOR$RDEPLOY_ENV>\\\" >public/build\"]\n\
                  [hooks]\nafter_build = [\"echo \\\"<$COLOR $RDEPLOY_ENV>\\\" >public/hook\"]\n\
                  [vars]\nCOLOR = \"red\"\n";
    let project = Project::files(1, config);
    project.deploys();
    assert_eq!(project.host(1).read("current/public/build"), "<>\n");
    assert_eq!(project.host(1).read("current/public/hook"), "<red dev>\n");
}

#[test]
fn an_unchanged_tree_is_not_packed_again() {
    let project = Project::files(1, "");
    project.deploys();
    project.rdeploy(&["dev"]).run().ends_with(0).says("unchanged since it was last packed: 1 file");
}
