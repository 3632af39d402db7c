//! Every way in which a release can be bad, under each supervisor: rdeploy ends with 5, says why with what the
//! app wrote, and the old release serves. Where a worker of several can try the new code first, no request
//! is lost by what does not come up.

use super::app::App;
use super::load::Load;
use super::site::Site;
use super::workers::Keeper;
use crate::support::fleet::note;

/// A bad release, and what rdeploy has to say of it.
struct Bad {
    name: &'static str,
    app: fn(App) -> App,
    says: &'static [&'static str],
    /// Whether it never gets to answer a request, so that none has to be lost.
    takes_none: bool,
}

/// Deploys each of them over the good release, which must run afterwards as if nothing had happened. With
/// `load`, those that never take a request must lose none either.
fn each_is_put_back(test: &str, site: &Site, releases: &[Bad], load: bool) {
    let first = site.runs("v1");
    for Bad { name, app, says, takes_none } in releases {
        note(&format!("{test}: {name}"));
        site.write_app(&app(App::version("v2")));
        site.configure(|settings| {
            settings.health = settings.health.replace("20s", "3s");
            settings.supervisor = settings.supervisor.replace("settle = \"1s\"", "settle = \"3s\"");
        });
        let run = if load && *takes_none {
            let load = Load::on(site);
            let run = load.during(name, || site.deploy());
            load.lost_nothing(&format!("{test}: {name}"));
            run
        } else {
            site.deploy()
        };
        let run = run.ends_with(5).says("10.77.0.1");
        says.iter().fold(run, |run, part| run.says(part));
        site.still_runs("v1", &first);
    }
    // None of them is in the way of what comes after.
    site.configure(|_| {});
    site.runs("v3");
}

#[test]
fn a_pm2_cluster_of_two_outlives_every_bad_release_and_loses_no_request_by_those_that_do_not_come_up() {
    let test =
        "a_pm2_cluster_of_two_outlives_every_bad_release_and_loses_no_request_by_those_that_do_not_come_up";
    let Some(site) = Site::on_own_hosts(test, 1) else { return };
    let releases = [
        Bad {
            name: "throws at its start",
            app: App::throws_at_start,
            says: &["shop (id", "the other processes of shop still run the old", "cannot reach the database"],
            takes_none: true,
        },
        Bad {
            name: "ends with 0 before it listens",
            app: App::exits_well,
            says: &["shop (id", "the other processes of shop still run the old", "nothing to do"],
            takes_none: true,
        },
        Bad { name: "has no script", app: App::without_script, says: &["server.js"], takes_none: true },
        Bad {
            name: "never listens",
            app: App::never_listens,
            says: &["shop (id", "took no connection within 3 s", "still run the old", "waiting for beans"],
            takes_none: true,
        },
        Bad {
            name: "listens on another port",
            app: App::listens_elsewhere,
            says: &[
                "shop (id",
                "took no connection within 3 s",
                "still run the old",
                "open round the corner",
            ],
            takes_none: true,
        },
        Bad {
            name: "answers 500",
            app: |app| app.answers(500),
            says: &["shop (id", "answered 500", "still run the old", "out of beans"],
            takes_none: false,
        },
        Bad {
            name: "dies after a moment",
            app: App::dies_soon,
            says: &["shop (id", "still run the old", "out of beans"],
            takes_none: false,
        },
    ];
    each_is_put_back(test, &site, &releases, true);
}

#[test]
fn an_app_in_fork_mode_is_put_back_after_every_bad_release() {
    let test = "an_app_in_fork_mode_is_put_back_after_every_bad_release";
    let Some(mut site) = Site::on_own_hosts(test, 1) else { return };
    site.instances = 1;
    site.supervised_by(
        "kind = \"pm2\"\napps = [{ name = \"shop\", script = \"server.js\", exec_mode = \"fork\" }]",
    );
    let releases = [
        Bad {
            name: "throws at its start",
            app: App::throws_at_start,
            says: &["shop (id", "cannot reach the database"],
            takes_none: true,
        },
        Bad {
            name: "ends with 0 before it listens",
            app: App::exits_well,
            says: &["shop (id", "nothing to do"],
            takes_none: true,
        },
        Bad { name: "has no script", app: App::without_script, says: &["server.js"], takes_none: true },
        Bad {
            name: "never listens",
            app: App::never_listens,
            says: &["the health check did not pass within 3 s", "waiting for beans"],
            takes_none: true,
        },
        Bad {
            name: "listens on another port",
            app: App::listens_elsewhere,
            says: &["the health check did not pass within 3 s", "open round the corner"],
            takes_none: true,
        },
        Bad {
            name: "answers 500",
            app: |app| app.answers(500),
            says: &["answered 500", "out of beans"],
            takes_none: false,
        },
        Bad {
            name: "dies after a moment",
            app: App::dies_soon,
            says: &["shop (id", "out of beans"],
            takes_none: false,
        },
    ];
    each_is_put_back(test, &site, &releases, false);
}

#[test]
fn a_unit_is_put_back_after_every_bad_release() {
    let test = "a_unit_is_put_back_after_every_bad_release";
    let Some(mut site) = Site::on_own_hosts(test, 1) else { return };
    site.keeper = Keeper::UserUnit;
    let site = super::systemd::with_user_unit(site);
    let releases = [
        // Started too often in too short a time, systemd refuses to start it again until it is told to forget.
        Bad {
            name: "throws at its start",
            app: App::throws_at_start,
            says: &["shop.service", "cannot reach the database"],
            takes_none: true,
        },
        Bad {
            name: "ends with 0 before it listens",
            app: App::exits_well,
            says: &["shop.service is inactive", "nothing to do"],
            takes_none: true,
        },
        Bad {
            name: "has no script",
            app: App::without_script,
            says: &["shop.service", "Cannot find module"],
            takes_none: true,
        },
        Bad {
            name: "never listens",
            app: App::never_listens,
            says: &["the health check did not pass within 3 s", "waiting for beans"],
            takes_none: true,
        },
        Bad {
            name: "listens on another port",
            app: App::listens_elsewhere,
            says: &["the health check did not pass within 3 s", "open round the corner"],
            takes_none: true,
        },
        Bad {
            name: "answers 500",
            app: |app| app.answers(500),
            says: &["answered 500", "out of beans"],
            takes_none: false,
        },
        Bad {
            name: "dies after a moment",
            app: App::dies_soon,
            says: &["shop.service", "out of beans"],
            takes_none: false,
        },
    ];
    each_is_put_back(test, &site, &releases, false);
}

#[test]
fn a_program_of_supervisord_is_put_back_after_every_bad_release() {
    let test = "a_program_of_supervisord_is_put_back_after_every_bad_release";
    let Some(site) = super::supervisord::open(test, 1) else { return };
    super::supervisord::with_roots_daemon(&site);
    // On a slow host an app may live for longer than supervisord takes for too short.
    let releases = [
        Bad {
            name: "throws at its start",
            app: App::throws_at_start,
            says: &["shop", "cannot reach the database"],
            takes_none: true,
        },
        Bad {
            name: "ends with 0 before it listens",
            app: App::exits_well,
            says: &["shop is ", "nothing to do"],
            takes_none: true,
        },
        Bad {
            name: "has no script",
            app: App::without_script,
            says: &["shop", "Cannot find module"],
            takes_none: true,
        },
        Bad {
            name: "never listens",
            app: App::never_listens,
            says: &["the health check did not pass within 3 s", "waiting for beans"],
            takes_none: true,
        },
        Bad {
            name: "listens on another port",
            app: App::listens_elsewhere,
            says: &["the health check did not pass within 3 s", "open round the corner"],
            takes_none: true,
        },
        Bad {
            name: "answers 500",
            app: |app| app.answers(500),
            says: &["answered 500", "out of beans"],
            takes_none: false,
        },
        Bad {
            // Later than supervisord takes it for started.
            name: "dies after a moment",
            app: |app| app.dies_after(2500),
            says: &["shop", "out of beans"],
            takes_none: false,
        },
    ];
    each_is_put_back(test, &site, &releases, false);
}
