//! What a guardian does with what it was told ahead.

use super::Parcel;
use super::R1;
use super::R2;
use super::each_shell;
use super::guardian;
use super::guardian::Guardian;

#[test]
fn what_was_announced_is_done_in_its_order_without_being_asked_for() {
    each_shell(|rig| {
        for (token, release) in [("t1", R1), ("t2", R2)] {
            let parcel = Parcel::of(token);
            let mut guardian = Guardian::locked(rig, rig.settings(token));
            let attempt = guardian::attempt(rig, release, &parcel);
            // What is received may be there before the guardian knows what for.
            let receiving = guardian.start_receive(&parcel);
            let mut asked = vec![guardian.send(&format!("begin {}", attempt.line()))];
            for next in ["received", "prepare", "ready", "activate", "commit", "finish", "bye"] {
                asked.push(guardian.send(&format!("then {next}")));
            }
            let received = guardian::finish(receiving);
            assert_eq!(received.code, Some(0), "{}", received.output);
            for asked in asked {
                guardian.answer(asked).ok();
            }
            assert!(guardian.child.wait().unwrap().success());
            assert_eq!(rig.live().as_deref(), Some(release));
            assert_eq!(rig.release_state(release).as_deref(), Some("good"));
            rig.assert_tidy();
        }
    });
}

#[test]
fn what_was_announced_after_something_that_fails_is_skipped() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.begin(&guardian::attempt(rig, R1, &Parcel::of("one")));
        let asked = ["ready", "activate", "commit", "bye"].map(|next| guardian.send(&format!("then {next}")));
        guardian.answer(asked[0]).failed(1);
        for skipped in &asked[1..] {
            guardian.answer(*skipped).failed(95);
        }
        assert_eq!(rig.current(), None);
        // And so is what is announced later, until something is asked again.
        let asked = guardian.send("then activate");
        guardian.answer(asked).failed(95);
        guardian.ask("revert").ok();
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn a_revert_and_whatever_else_is_asked_forget_what_was_announced() {
    each_shell(|rig| {
        let parcel = Parcel::of("one");
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.begin(&guardian::attempt(rig, R1, &parcel));
        for other in ["prepare", "revert"] {
            let waiting = ["received", "prepare"].map(|next| guardian.send(&format!("then {next}")));
            let asked = guardian.send(other);
            for skipped in waiting {
                guardian.answer(skipped).failed(95);
            }
            let answer = guardian.answer(asked);
            assert_eq!(answer.code, Some(u32::from(other == "prepare")));
        }
        assert_ne!(guardian.receive(&parcel).code, Some(0));
        assert_eq!(rig.current(), None);
        guardian.bye();
        rig.assert_tidy();
    });
}

#[test]
fn what_was_announced_dies_with_the_client() {
    each_shell(|rig| {
        let mut guardian = Guardian::locked(rig, rig.settings("t1"));
        guardian.begin(&guardian::attempt(rig, R1, &Parcel::of("one")));
        for next in ["received", "prepare", "ready"] {
            guardian.send(&format!("then {next}"));
        }
        guardian.hang_up();
        assert!(guardian.child.wait().unwrap().success());
        assert_eq!(rig.current(), None);
        rig.assert_tidy();
    });
}
