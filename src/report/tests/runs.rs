//! The runs that the tests report.

use std::time::Duration;

use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Proof;

use super::script::DB;
use super::script::NEW;
use super::script::OLD;
use super::script::Script;
use super::script::WEB1;
use super::script::WEB2;

pub(super) fn success() -> Script {
    Script::begun(&[WEB1, DB])
        .built()
        .packed()
        .prepared(WEB1)
        .prepared(DB)
        .hook(11_100, DB, &["> migrate", "applied 2 migrations"])
        .hook_done(12_300, DB)
        .switched(WEB1)
        .switched(DB)
        .proven(WEB1)
        .proven(DB)
        .ended(WEB1, Phase::Done)
        .ended(DB, Phase::Done)
        .finished(
            "deployed 20261122174124 to prod",
            0,
            &[(WEB1, Phase::Done, Some(NEW)), (DB, Phase::Done, Some(NEW))],
        )
}

/// A run in batches up to the pause after the first hosts.
pub(super) fn pausing() -> Script {
    let mut script = Script::begun(&[WEB1, WEB2, DB]).built().packed();
    script = script.prepared(WEB1).prepared(WEB2).prepared(DB);
    let hosts = vec![WEB1.to_owned()];
    script.at(12_400, EventKind::BatchStarted { number: 1, of: 2, hosts: hosts.clone() });
    script = script.switched(WEB1).proven(WEB1);
    script.phase(13_950, WEB1, Phase::Waiting);
    script.at(14_000, EventKind::Paused { hosts, duration: Duration::from_secs(60) });
    script
}

pub(super) fn failed_hook() -> Script {
    Script::begun(&[WEB1, DB])
        .built()
        .packed()
        .prepared(WEB1)
        .prepared(DB)
        .hook(
            11_100,
            DB,
            &["> migrate", "::error::injected", "##[add-mask]x", "relation \"x\"\tmissing\x1b[2J"],
        )
        .failed(Some(DB), "hook before_switch `npm run migrate` exited with 1", None, None)
        .ended(DB, Phase::Failed)
        .finished(
            "deploy of 20261122174124 to prod failed before any host was switched",
            5,
            &[(WEB1, Phase::Waiting, Some(OLD)), (DB, Phase::Reverted, Some(OLD))],
        )
}

pub(super) fn reverted() -> Script {
    let mut script = Script::begun(&[WEB1, WEB2, DB])
        .built()
        .packed()
        .prepared(WEB1)
        .prepared(WEB2)
        .prepared(DB)
        .switched(WEB1)
        .switched(WEB2)
        .proven(WEB1)
        .failed(
            Some(WEB2),
            "http://127.0.0.1:3000/healthz did not answer within 30 s: connection refused",
            Some("the last lines of the app's own log are above; `pm2 logs shop` on the host has more"),
            Some("Error: Cannot find module './config'\n    at Module._load\n"),
        );
    for host in [WEB1, WEB2] {
        script.phase(13_100, host, Phase::Reverting);
    }
    script.ended(WEB1, Phase::Reverted).ended(WEB2, Phase::Reverted).finished(
        "deploy of 20261122174124 to prod failed, and every host was put back",
        5,
        &[
            (WEB1, Phase::Reverted, Some(OLD)),
            (WEB2, Phase::Reverted, Some(OLD)),
            (DB, Phase::Waiting, Some(OLD)),
        ],
    )
}

pub(super) fn revert_failed() -> Script {
    let mut script = Script::begun(&[WEB1, WEB2]).built().packed().prepared(WEB1).prepared(WEB2);
    script = script.switched(WEB1).switched(WEB2).failed(
        Some(WEB2),
        "pm2 exited with 1 when it restarted `shop`",
        None,
        Some("[PM2][ERROR] Process 0 not found"),
    );
    script.phase(13_100, WEB1, Phase::Reverting);
    script.phase(13_100, WEB2, Phase::Reverting);
    script
        .failed(
            Some(WEB2),
            "could not be put back: pm2 exited with 1 when it restarted `shop` from 20261121090000",
            Some("`current` is back on 20261121090000; start the app there: `pm2 start ecosystem.config.js`"),
            None,
        )
        .ended(WEB1, Phase::Reverted)
        .ended(WEB2, Phase::Failed)
        .finished(
            "deploy of 20261122174124 to prod failed, and web2.example.com could not be put back",
            6,
            &[(WEB1, Phase::Reverted, Some(OLD)), (WEB2, Phase::Failed, None)],
        )
}

pub(super) fn interrupted() -> Script {
    let mut script = Script::begun(&[WEB1, WEB2]).built().packed().prepared(WEB1).prepared(WEB2);
    script = script.switched(WEB1);
    script.at(13_000, EventKind::Interrupted);
    script.phase(13_010, WEB1, Phase::Reverting);
    script.ended(WEB1, Phase::Reverted).finished(
        "deploy of 20261122174124 to prod was interrupted, and every host was put back",
        130,
        &[(WEB1, Phase::Reverted, Some(OLD)), (WEB2, Phase::Waiting, Some(OLD))],
    )
}

pub(super) fn warned() -> Script {
    let mut script = Script::begun(&[WEB1]).built().packed().prepared(WEB1).switched(WEB1);
    script.at(
        13_500,
        EventKind::Verified {
            host: WEB1.into(),
            release: NEW.into(),
            proof: Proof::Unprovable,
            detail: "they belong to another user".into(),
        },
    );
    let (point, command) = ("after_deploy".to_owned(), "curl -f https://hooks.example.com".to_owned());
    let host = WEB1.to_owned();
    script
        .said(EventKind::HookStarted { host: host.clone(), point, command })
        .said(EventKind::HookOutput { host: host.clone(), line: "curl: (22) 404".into() })
        .said(EventKind::Warned {
            host: Some(host.clone()),
            text: "hook after_deploy exited with 22; the deploy stands".into(),
        })
        .said(EventKind::Warned { host: None, text: "the clock of web1.example.com is 40 s behind".into() })
        .said(EventKind::Noted { host: Some(host), text: "removed 1 old release".into() })
        .ended(WEB1, Phase::Done)
        .finished("deployed 20261122174124 to prod", 0, &[(WEB1, Phase::Done, Some(NEW))])
}

/// A run up to the middle of its uploads.
pub(super) fn uploading(hosts: &[&str]) -> Script {
    let mut script = Script::begun(hosts).built().packed();
    for (n, host) in hosts.iter().enumerate() {
        script = match n % 4 {
            0 => script.uploading(host, 8_300, &[0, 1_000_000, 2_200_000]),
            1 => script.uploading(host, 8_300, &[0, 300_000, 600_000]),
            2 => script.prepared(host),
            _ => script,
        };
    }
    script.events.retain(|event| event.elapsed <= Duration::from_millis(9_300));
    script
}
