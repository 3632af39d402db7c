//! Every way in which a release can be bad, under each supervisor: rdeploy ends with 5, says why with what the
//! app wrote, and the old release serves. Where a worker of several can try the new code first, no request
//! is lost by what does not come up. A plain run tries every way under a cluster of PM2, and three that are
//! noticed in different ways (by the start, by the health check, while it settles) under the other supervisors.

use super::app::App;
use super::load::Load;
use super::site::Site;
use super::workers::Keeper;
use crate::support::fleet::note;
use crate::support::full;

/// A bad release, and what rdeploy has to say of it.
struct Bad {
    name: &'static str,
    app: fn(App) -> App,
    says: &'static [&'static str],
    /// Whether it never gets to answer a request, so that none has to be lost.
    takes_none: bool,
}

/// What rdeploy has to say of a release that is bad in each of the ways.
struct Says {
    throws: &'static [&'static str],
    exits_well: &'static [&'static str],
    without_script: &'static [&'static str],
    never_listens: &'static [&'static str],
    listens_elsewhere: &'static [&'static str],
    answers_500: &'static [&'static str],
    dies: &'static [&'static str],
}

/// Every way to be bad.
fn every(says: &Says) -> [Bad; 7] {
    let bad = |name, app, says, takes_none| Bad { name, app, says, takes_none };
    [
        bad("throws at its start", App::throws_at_start, says.throws, true),
        bad("ends with 0 before it listens", App::exits_well, says.exits_well, true),
        bad("has no script", App::without_script, says.without_script, true),
        bad("never listens", App::never_listens, says.never_listens, true),
        bad("listens on another port", App::listens_elsewhere, says.listens_elsewhere, true),
        bad("answers 500", |app| app.answers(500), says.answers_500, false),
        bad("dies after a moment", App::dies_soon, says.dies, false),
    ]
}

/// Those of them that this run tries where another supervisor is given all.
fn some_of(releases: [Bad; 7]) -> Vec<Bad> {
    let in_plain = ["throws at its start", "answers 500", "dies after a moment"];
    releases.into_iter().filter(|bad| full::is_full() || in_plain.contains(&bad.name)).collect()
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
    let releases = every(&Says {
        throws: &["shop (id", "the other processes of shop still run the old", "cannot reach the database"],
        exits_well: &["shop (id", "the other processes of shop still run the old", "nothing to do"],
        without_script: &["server.js"],
        never_listens: &[
            "shop (id",
            "took no connection within 3 s",
            "still run the old",
            "waiting for beans",
        ],
        listens_elsewhere: &[
            "shop (id",
            "took no connection within 3 s",
            "still run the old",
            "open round the corner",
        ],
        answers_500: &["shop (id", "answered 500", "still run the old", "out of beans"],
        dies: &["shop (id", "still run the old", "out of beans"],
    });
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
    let releases = every(&Says {
        throws: &["shop (id", "cannot reach the database"],
        exits_well: &["shop (id", "nothing to do"],
        without_script: &["server.js"],
        never_listens: &["the health check did not pass within 3 s", "waiting for beans"],
        listens_elsewhere: &["the health check did not pass within 3 s", "open round the corner"],
        answers_500: &["answered 500", "out of beans"],
        dies: &["shop (id", "out of beans"],
    });
    each_is_put_back(test, &site, &some_of(releases), false);
}

#[test]
fn a_unit_is_put_back_after_every_bad_release() {
    let test = "a_unit_is_put_back_after_every_bad_release";
    let Some(mut site) = Site::on_own_hosts(test, 1) else { return };
    site.keeper = Keeper::UserUnit;
    let site = super::systemd::with_user_unit(site);
    // Started too often in too short a time, systemd refuses to start it again until it is told to forget.
    let releases = every(&Says {
        throws: &["shop.service", "cannot reach the database"],
        exits_well: &["shop.service is inactive", "nothing to do"],
        without_script: &["shop.service", "Cannot find module"],
        never_listens: &["the health check did not pass within 3 s", "waiting for beans"],
        listens_elsewhere: &["the health check did not pass within 3 s", "open round the corner"],
        answers_500: &["answered 500", "out of beans"],
        dies: &["shop.service", "out of beans"],
    });
    each_is_put_back(test, &site, &some_of(releases), false);
}

#[test]
fn a_program_of_supervisord_is_put_back_after_every_bad_release() {
    let test = "a_program_of_supervisord_is_put_back_after_every_bad_release";
    let Some(site) = super::supervisord::open(test, 1) else { return };
    super::supervisord::with_roots_daemon(&site);
    // On a slow host an app may live for longer than supervisord takes for too short.
    let mut releases = every(&Says {
        throws: &["shop", "cannot reach the database"],
        exits_well: &["shop", "nothing to do"],
        without_script: &["shop", "Cannot find module"],
        never_listens: &["the health check did not pass within 3 s", "waiting for beans"],
        listens_elsewhere: &["the health check did not pass within 3 s", "open round the corner"],
        answers_500: &["answered 500", "out of beans"],
        dies: &["shop", "out of beans"],
    });
    // Later than supervisord takes it for started.
    let [.., dies] = &mut releases;
    dies.app = |app| app.dies_after(2500);
    each_is_put_back(test, &site, &some_of(releases), false);
}
