//! Who reads through `current` while it is switched: always finds a release, and one release only.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::*;
use crate::testing::Shell;
use crate::testing::has;
use crate::testing::note;
use crate::testing::times;

/// The agent's own names and the switch itself, as they are joined into the agent.
const SWITCH: &str = concat!(include_str!("../sh/lib.sh"), include_str!("../sh/switch.sh"));

/// What a reader met with.
#[derive(Debug, Default)]
struct Read {
    /// How often it read.
    rounds: usize,
    /// How often it found another release than the time before.
    changes: usize,
    errors: Vec<String>,
    /// Both files of one release, where they were of two.
    torn: Vec<(String, String)>,
}

impl Read {
    fn round(&mut self, current: &Path, last: &mut String) -> io::Result<()> {
        let through = fs::read_to_string(current.join("one"))?;
        let release = fs::read_link(current)?;
        let (one, two) = (fs::read_to_string(release.join("one"))?, fs::read_to_string(release.join("two"))?);
        if one != two || release.file_name().is_none_or(|name| name.to_str() != Some(&one)) {
            self.torn.push((one, two));
        }
        self.rounds += 1;
        if *last != through {
            self.changes += 1;
            *last = through;
        }
        Ok(())
    }

    /// Reads at full speed until it is told to stop.
    fn until(stop: &AtomicBool, current: &Path) -> Self {
        let mut read = Self::default();
        let mut last = String::new();
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = read.round(current, &mut last) {
                read.errors.push(error.to_string());
            }
        }
        read
    }
}

/// Two releases of two files each, the first of them live; one reader while `switch`, a shell's loop body
/// with the next release in `RELEASE`, runs that many times.
fn read_during(rig: &Rig, switches: usize, switch: &str) -> Read {
    let root = rig.root();
    for id in [R1, R2] {
        let release = root.join("releases").join(id);
        fs::create_dir_all(&release).unwrap();
        fs::write(release.join("one"), id).unwrap();
        fs::write(release.join("two"), id).unwrap();
    }
    fs::create_dir_all(rig.private("run/t1/forward")).unwrap();
    std::os::unix::fs::symlink(root.join("releases").join(R1), root.join("current")).unwrap();
    let script = format!(
        "{SWITCH}\nROOT={root} RUN={root}/.rdeploy/run/t1 n=0\nwhile [ \"$n\" -lt {switches} ]; do\n\
         n=$((n + 1)) RELEASE=$ROOT/releases/{R1}\n[ \"$((n % 2))\" = 0 ] || RELEASE=$ROOT/releases/{R2}\n\
         {switch}\ndone\n",
        root = root.display()
    );
    rig.program("switches", &script);
    let (stop, current) = (AtomicBool::new(false), root.join("current"));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| Read::until(&stop, &current));
        let switched = rig.command("sh state/switches").output().unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(switched.status.success(), "{}", String::from_utf8_lossy(&switched.stderr));
        reader.join().unwrap()
    })
}

#[test]
fn a_reader_at_full_speed_sees_no_gap_and_no_mixture_while_releases_are_switched() {
    let switches = times(500, 10_000);
    // One after the other: each is to have a core for the reader.
    for shell in [Shell::Dash, Shell::BusyBox].into_iter().filter(|shell| has(shell.program())) {
        let switch =
            "ln -s \"$RELEASE\" \"$RUN/forward/current\" && move_link \"$RUN/forward\" \"$RELEASE\" || exit";
        let read = read_during(&Rig::new(shell), switches, switch);
        assert_eq!((&read.errors[..], &read.torn[..]), (&[][..], &[][..]));
        assert!(read.changes > switches / 100, "it has to have looked while they were switched: {read:?}");
        note(&format!(
            "{switches} switches under {shell:?}: {} readings, {} changes seen, no error",
            read.rounds, read.changes
        ));
    }
}

#[test]
fn a_switch_in_two_steps_is_seen_by_the_reader() {
    if has(Shell::Dash.program()) {
        // The reader may be elsewhere just then, so the gap is offered more than once.
        let switch = "rm -f \"$ROOT/current\" && ln -s \"$RELEASE\" \"$ROOT/current\" || exit";
        let read = read_during(&Rig::new(Shell::Dash), 200, switch);
        assert!(!read.errors.is_empty(), "{read:?}");
    }
}
