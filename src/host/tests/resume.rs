//! A host that was left behind is brought level, and the others remember it until then.

use std::fs;

use super::*;
use crate::host::protocol::Say;
use crate::host::settings::Attempt;
use crate::host::settings::Verb;

fn absent(rig: &Rig) -> Option<String> {
    fs::read_to_string(rig.private("absent")).ok()
}

fn resuming(rig: &Rig, token: &str) -> crate::host::SessionSettings {
    crate::host::SessionSettings { verb: Verb::Resume, ..rig.settings(token) }
}

#[test]
fn hosts_that_were_left_out_are_remembered_until_a_run_without_any() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        let names = vec!["web3".to_owned(), "[2001:db8::2]:2222".to_owned()];
        guardian.begin(&Attempt { absent: names, ..guardian::attempt(rig, R1, &Parcel::of("one")) });
        guardian.upload(&Parcel::of("one"));
        for action in ["prepare", "ready", "activate", "commit"] {
            guardian.act(action);
        }
        assert_eq!(absent(rig), None, "nothing is noted before it is so");
        guardian.act("finish");
        guardian.bye();
        assert_eq!(absent(rig).as_deref(), Some("web3\n[2001:db8::2]:2222\n"));

        // A host that is level is told who still is not; nothing else happens to it.
        let mut guardian = Guardian::start(rig, resuming(rig, "t2"));
        for intent in ["preflight", "lock"] {
            let says = guardian.ask(intent).ok();
            let fact = Say::Fact("absent".into(), "web3 [2001:db8::2]:2222 ".into());
            assert!(says.contains(&fact), "{intent}: {says:?}");
        }
        guardian.act("absent [2001:db8::2]:2222");
        guardian.bye();
        assert_eq!(absent(rig).as_deref(), Some("[2001:db8::2]:2222\n"));
        assert_eq!(rig.outcomes(), ["done: "]);
        assert_eq!(rig.live().as_deref(), Some(R1));

        let mut guardian = Guardian::locked(rig, resuming(rig, "t3"));
        guardian.act("absent ");
        guardian.bye();
        assert_eq!(absent(rig), None);
        rig.assert_tidy();
    });
}

#[test]
fn so_many_hosts_are_remembered_as_one_line_holds() {
    let names: Vec<String> = (100..300).map(|n| format!("web{n}.internal.example.com")).collect();
    let line = Attempt { absent: names, ..Attempt::default() }.line();
    assert!(line.len() < 3000 && line.contains("web170") && !line.contains("web180"), "{line}");
}

#[test]
fn a_client_that_dies_after_the_commit_leaves_it_to_the_host_to_remember() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        let absent_one = vec!["web3".to_owned()];
        guardian.begin(&Attempt { absent: absent_one, ..guardian::attempt(rig, R1, &Parcel::of("one")) });
        guardian.upload(&Parcel::of("one"));
        for action in ["prepare", "ready", "activate", "commit"] {
            guardian.act(action);
        }
        guardian.hang_up();
        until("the guardian to finish", || !rig.private("lock").exists());
        assert_eq!(absent(rig).as_deref(), Some("web3\n"));
        rig.assert_tidy();
    });
}

#[test]
fn a_release_that_failed_on_a_host_is_made_anew_there_under_its_id() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.settings("t1")).deploy(R1, &Parcel::of("one"));
        let mut guardian = Guardian::locked(rig, rig.settings("t2"));
        guardian.switch(R2, &Parcel::of("two"));
        guardian.ask("revert").ok();
        guardian.bye();
        assert_eq!(rig.release_state(R2).as_deref(), Some("failed"));
        fs::write(rig.root().join("releases").join(R2).join("trace"), "of what failed").unwrap();

        Guardian::locked(rig, resuming(rig, "t3")).deploy(R2, &Parcel::of("two"));
        assert_eq!(rig.live().as_deref(), Some(R2));
        assert_eq!(rig.release_state(R2).as_deref(), Some("good"));
        assert!(!rig.root().join("current/trace").exists());
        let previous = fs::read_to_string(rig.private("releases").join(R2).join("previous")).unwrap();
        assert_eq!(previous.trim(), R1);
        let log = fs::read_to_string(rig.root().join("revisions.log")).unwrap();
        let last = format!("ann@desk brought this host level with the others, at release {R2}");
        assert_eq!(log.lines().last(), Some(last.as_str()));
        rig.assert_tidy();
    });
}

#[test]
fn a_host_that_missed_a_rollback_goes_back_to_what_it_has_and_marks_what_it_left() {
    each_shell(|rig| {
        for (token, id) in [("t1", R1), ("t2", R2)] {
            Guardian::locked(rig, rig.settings(token)).deploy(id, &Parcel::of(id));
        }
        let mut guardian = Guardian::locked(rig, resuming(rig, "t3"));
        guardian.begin(&guardian::attempt(rig, R1, &Parcel::of("none")));
        for action in ["ready", "activate", "commit", "finish"] {
            guardian.act(action);
        }
        guardian.bye();
        assert_eq!(rig.live().as_deref(), Some(R1));
        assert_eq!(rig.release_state(R2).as_deref(), Some("bad"));
        assert!(
            !rig.private("releases").join(R1).join("previous").exists() || {
                fs::read_to_string(rig.private("releases").join(R1).join("previous"))
                    .unwrap()
                    .trim()
                    .is_empty()
            }
        );
        rig.assert_tidy();
    });
}
