//! Owns which keys of `[supervisor]` a kind needs and which it refuses. Makes the validated types.

use super::diagnostic::Defect;
use super::diagnostic::Sink;
use super::diagnostic::Span;
use super::raw;
use super::raw::Kind;
use super::reader::At;
use super::reader::Field;
use super::reader::key;
use super::reader::value;
use super::types::CommandSupervisor;
use super::types::Pm2;
use super::types::Pm2App;
use super::types::Service;
use super::types::Supervisor;
use super::types::Supervisord;
use super::types::Systemd;

/// The ecosystem file where none is named. The reference in docs/configuration.md repeats it.
pub(super) const ECOSYSTEM: &str = "ecosystem.config.js";

/// Makes what keeps the app up.
pub(super) fn supervisor(raw: raw::Supervisor, sink: &mut Sink<'_>) -> Supervisor {
    let for_pm2 = [("ecosystem", key(&raw.ecosystem)), ("apps", key(&raw.apps))];
    let for_command = [
        ("start", key(&raw.start)),
        ("restart", key(&raw.restart)),
        ("stop", key(&raw.stop)),
        ("status", key(&raw.status)),
        ("logs", key(&raw.logs)),
    ];
    let for_systemd =
        [("units", key(&raw.units)), ("scope", key(&raw.scope)), ("notify", key(&raw.notifies))];
    // Of supervisord, too.
    let for_a_service = [("exec", key(&raw.exec))];
    let for_supervisord = [("programs", key(&raw.programs)), ("config", key(&raw.config))];
    let Some(kind) = &raw.kind else {
        let kinds = [
            (&for_pm2[..], "pm2"),
            (&for_command[..], "command"),
            (&for_systemd[..], "systemd"),
            (&for_a_service[..], "systemd"),
            (&for_supervisord[..], "supervisord"),
        ];
        for (keys, kind) in kinds {
            for (name, span) in keys.iter().filter_map(|(name, span)| Some((name, span.as_ref()?))) {
                let defect = Defect::new(
                    format!("`{name}` has no effect without a `kind` of supervisor"),
                    format!("add `kind = \"{kind}\"`"),
                );
                sink.report(span, defect);
            }
        }
        return Supervisor::None;
    };
    // A kind that was bad is no ground to judge the rest by.
    let Some(chosen) = kind.value else { return Supervisor::None };
    let mut refuse = |keys: &[(&str, Option<Span>)], belongs: &str| {
        for (name, span) in keys.iter().filter_map(|(name, span)| Some((name, span.as_ref()?))) {
            let message = format!("`{name}` is for the supervisor \"{belongs}\"");
            let defect = Defect::new(message, format!("remove it, or write `kind = \"{belongs}\"`"));
            sink.report_with(span, defect, &kind.span, "another kind is chosen here");
        }
    };
    if chosen != Kind::Pm2 {
        refuse(&for_pm2, "pm2");
    }
    if chosen != Kind::Command {
        refuse(&for_command, "command");
    }
    if chosen != Kind::Systemd {
        refuse(&for_systemd, "systemd");
    }
    if !matches!(chosen, Kind::Systemd | Kind::Supervisord) {
        refuse(&for_a_service, "systemd");
    }
    if chosen != Kind::Supervisord {
        refuse(&for_supervisord, "supervisord");
    }
    match chosen {
        Kind::None => Supervisor::None,
        Kind::Pm2 => Supervisor::Pm2(pm2(raw.ecosystem, raw.apps, sink)),
        Kind::Systemd => {
            if has_none(&raw.units) {
                let help =
                    "add `units = [\"shop.service\"]`: the units to restart, which are on the hosts already";
                let message = "the supervisor \"systemd\" has no `units`";
                sink.report_absence(&kind.span, Defect::new(message, help));
            }
            if let (Some(exec), Some(Some(units))) = (&raw.exec, raw.units.as_ref().map(|units| &units.value))
                && units.len() > 1
            {
                let help = "name one unit, or write the units yourself and remove `exec`";
                sink.report(&exec.key, Defect::new("`exec` is for one unit, and there are several", help));
            }
            if let (Some(kind), None) = (&raw.notifies, &raw.exec) {
                let help = "add `exec = \"bin/server\"`, or say it in the unit that is on the hosts";
                sink.report(&kind.key, Defect::new("`notify` is for the unit that `exec` describes", help));
            }
            let notifies = value(raw.notifies).unwrap_or_default();
            let service = value(raw.exec).map(|exec| Service { exec, notifies });
            let units = value(raw.units).unwrap_or_default();
            Supervisor::Systemd(Systemd {
                service,
                units: units.into_iter().map(|unit| unit.value).collect(),
                scope: value(raw.scope).unwrap_or_default(),
            })
        }
        Kind::Supervisord => {
            if has_none(&raw.programs) {
                let help =
                    "add `programs = [\"shop\"]`: the programs to restart, which are on the hosts already";
                let message = "the supervisor \"supervisord\" has no `programs`";
                sink.report_absence(&kind.span, Defect::new(message, help));
            }
            if let (Some(exec), Some(Some(programs))) =
                (&raw.exec, raw.programs.as_ref().map(|programs| &programs.value))
                && (programs.len() > 1 || programs.iter().any(|program| program.value.contains(':')))
            {
                let help =
                    "name one program, without a group, or write the programs yourself and remove `exec`";
                let message = "`exec` is for one program, and there are several";
                sink.report(&exec.key, Defect::new(message, help));
            }
            let programs = value(raw.programs).unwrap_or_default();
            Supervisor::Supervisord(Supervisord {
                programs: programs.into_iter().map(|program| program.value).collect(),
                config: value(raw.config),
                exec: value(raw.exec),
            })
        }
        Kind::Command => {
            if raw.start.is_none() {
                let help = "add `start = \"bin/start\"`: what starts the app in `current`";
                let message = "the supervisor \"command\" has no `start`";
                sink.report_absence(&kind.span, Defect::new(message, help));
            }
            Supervisor::Command(CommandSupervisor {
                start: value(raw.start).unwrap_or_default(),
                restart: value(raw.restart),
                stop: value(raw.stop),
                status: value(raw.status),
                logs: value(raw.logs).unwrap_or_default().into_iter().map(|log| log.value).collect(),
            })
        }
    }
}

fn pm2(ecosystem: Field<String>, apps: Field<Vec<Pm2App>>, sink: &mut Sink<'_>) -> Pm2 {
    if let (Some(ecosystem), Some(apps)) = (&ecosystem, &apps) {
        let defect = Defect::new(
            "`ecosystem` and `apps` exclude each other",
            "keep the ecosystem file, or the apps written here",
        );
        let (first, second) = match ecosystem.key.start < apps.key.start {
            true => (&ecosystem.key, &apps.key),
            false => (&apps.key, &ecosystem.key),
        };
        sink.report_with(second, defect, first, "the other one");
    }
    match value(apps) {
        Some(apps) => Pm2::Apps(apps),
        None => Pm2::Ecosystem(value(ecosystem).unwrap_or_else(|| ECOSYSTEM.to_owned())),
    }
}

/// Whether a list is missing or empty. Elements that were bad have been told.
fn has_none<T>(list: &Field<Vec<At<T>>>) -> bool {
    list.as_ref().is_none_or(|given| given.value.as_ref().is_some_and(Vec::is_empty))
}
