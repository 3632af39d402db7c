//! A health check that does not pass with the release that is live: told before the switch, and waited for
//! no longer than a moment.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::*;
use crate::config::Health;
use crate::config::Probe;
use crate::host::protocol::Say;
use crate::host::settings::SessionSettings;

/// An attempt whose health check is that command.
fn asked(rig: &Rig, token: &str, command: &str) -> SessionSettings {
    let mut settings = rig.command_settings(token);
    let timeout = Duration::from_secs(1);
    Arc::make_mut(&mut settings.environment).health =
        vec![Health { timeout, ..Health::of(Probe::Command(command.to_owned())) }];
    settings
}

/// Uploads and makes ready; what is noted.
fn notes(guardian: &mut Guardian<'_>, rig: &Rig, release: &str, text: &str) -> Vec<String> {
    let parcel = Parcel::of(text);
    guardian.begin(&guardian::attempt(rig, release, &parcel));
    guardian.upload(&parcel);
    guardian.act("prepare");
    let says = guardian.act("ready").into_iter();
    says.filter_map(|say| if let Say::Note(text) = say { Some(text) } else { None }).collect()
}

#[test]
fn a_check_is_asked_of_the_live_release_in_a_deploy_and_only_where_there_is_one() {
    each_shell(|rig| {
        let check = "cat healthz";
        let mut first = Guardian::locked(rig, asked(rig, "t1", check));
        assert_eq!(notes(&mut first, rig, R1, "one"), Vec::<String>::new());
        first.ask("revert").ok();
        first.bye();
        Guardian::locked(rig, rig.command_settings("t2")).deploy(R1, &Parcel::of("one"));
        let mut second = Guardian::locked(rig, asked(rig, "t3", check));
        let told = notes(&mut second, rig, R2, "two");
        let [note] = told.as_slice() else { panic!("{told:?}") };
        assert!(
            note.starts_with("the health check does not pass with the release that runs now either: "),
            "{note}"
        );
        assert!(note.contains("ended with status 1"), "{note}");
        second.ask("activate").failed(1);
        let written = second.written("activate");
        assert!(written.contains("It did not pass before the switch either"), "{written}");
        second.ask("revert").ok();
        second.bye();
    });
}

#[test]
fn a_check_that_hangs_holds_up_nothing_and_is_ended() {
    each_shell(|rig| {
        Guardian::locked(rig, rig.command_settings("t1")).deploy(R1, &Parcel::of("one"));
        let fifo = rig.fifo("fifo");
        let mut guardian = Guardian::locked(rig, asked(rig, "t2", &format!("cat {}; false", fifo.display())));
        let started = Instant::now();
        assert_eq!(notes(&mut guardian, rig, R2, "two"), Vec::<String>::new());
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
        let hangs = format!("cat {}", fifo.display());
        assert!(!rig.processes().iter().any(|(_, line)| line.starts_with(&hangs)));
        guardian.ask("revert").ok();
        guardian.bye();
    });
}
