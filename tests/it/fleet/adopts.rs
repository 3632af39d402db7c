//! A tree and an app that were set up by hand, as Capistrano and a person at a shell leave them.

use super::app::App;
use super::site::Site;
use super::site::wait_until_all_answer;

pub(super) const BY_HAND: &str = "20200101000000";

/// The release before.
const BEFORE_THAT: &str = "20191231000000";

/// Lays a release out by hand and registers the app from inside it, which pins it there: PM2 stores
/// the directory behind `current`, so that no reload ever leaves it.
pub(super) fn set_up_by_hand(site: &Site, version: &str) {
    let Site { user, deploy_to, port, .. } = site;
    site.on_every_host(|host| {
        host.must(
            user,
            &format!(
                "umask 022\ncd {deploy_to}\nmkdir -p releases/{BY_HAND} shared\n\
                 ln -s {deploy_to}/releases/{BY_HAND} current\ncd current\n{files}\
                 PORT={port} pm2 start server.js --name shop -i 2 </dev/null >/dev/null\n",
                files = App::version(version).as_script(),
            ),
        );
    });
    wait_until_all_answer(site, version);
    assert_eq!(site.serves(version), BY_HAND);
}

#[test]
fn an_app_registered_by_hand_is_moved_onto_the_new_release_and_back() {
    let Some(site) = Site::on_two_hosts("an_app_registered_by_hand_is_moved_onto_the_new_release_and_back")
    else {
        return;
    };
    set_up_by_hand(&site, "by-hand");

    let first = site.runs("v1");
    assert_ne!(first, BY_HAND);
    only_the_app_is_registered(&site);

    site.roll_back().ends_with(0).says(BY_HAND);
    assert_eq!(site.serves("by-hand"), BY_HAND);
    only_the_app_is_registered(&site);
    site.is_clean();
}

#[test]
fn a_failed_first_deploy_restores_the_app_registered_by_hand() {
    let Some(site) = Site::on_two_hosts("a_failed_first_deploy_restores_the_app_registered_by_hand") else {
        return;
    };
    set_up_by_hand(&site, "by-hand");

    site.write_app(&App::version("v1").throws_at_start());
    site.deploy().ends_with(5).says("shop");

    site.still_runs("by-hand", BY_HAND);
    only_the_app_is_registered(&site);
    // And it is no dead end.
    site.runs("v2");
}

/// The files of these names in `deploy_to` on each host, with their digests; links as they are written.
fn kept(site: &Site, names: &str) -> Vec<String> {
    site.on_every_host(|host| {
        host.must(
            &site.user,
            &format!(
                "cd {}\nfind {names} -type f -exec sha256sum {{}} + | sort\nfind {names} -type l -printf '%p %l\\n'",
                site.deploy_to
            ),
        )
    })
}

#[test]
fn what_pm2_deploy_has_set_up_is_taken_over() {
    let Some(mut site) = Site::on_two_hosts("what_pm2_deploy_has_set_up_is_taken_over") else { return };
    site.theirs = &["source", ".deploys"];
    // `pm2 deploy setup` and a deploy: a clone in `source`, and the app registered from inside it.
    let Site { user, deploy_to, port, .. } = &site;
    site.on_every_host(|host| {
        host.must(
            user,
            &format!(
                "umask 022\ncd {deploy_to}\nmkdir -p shared/logs shared/pids source/.git\n\
                 echo 'ref: refs/heads/main' >source/.git/HEAD\necho 4f2c1a >>.deploys\n\
                 echo started >shared/logs/shop.log\nln -sfn {deploy_to}/source {deploy_to}/current\n\
                 cd {deploy_to}/current\n{files}\
                 PORT={port} pm2 startOrRestart ecosystem.config.js --env production </dev/null >/dev/null\n\
                 pm2 save </dev/null >/dev/null\n",
                files = App::version("theirs").as_script(),
            ),
        );
    });
    wait_until_all_answer(&site, "theirs");
    assert_eq!(site.serves("theirs"), "source");
    let theirs = kept(&site, "source shared .deploys");

    site.write_app(&App::version("v1").throws_at_start());
    site.deploy().ends_with(5).says("shop");
    site.still_runs("theirs", "source");
    only_the_app_is_registered(&site);

    site.runs("v1");
    site.runs("v2");
    only_the_app_is_registered(&site);
    site.is_clean();
    assert_eq!(kept(&site, "source shared .deploys"), theirs);
}

#[test]
fn what_capistrano_has_deployed_is_taken_over_and_can_be_gone_back_to() {
    let test = "what_capistrano_has_deployed_is_taken_over_and_can_be_gone_back_to";
    let Some(mut site) = Site::on_two_hosts(test) else { return };
    site.theirs = &["repo"];
    let Site { user, deploy_to, port, .. } = &site;
    site.on_every_host(|host| {
        let release = |id: &str, version: &str| {
            format!(
                "mkdir -p {deploy_to}/releases/{id}/log\ncd {deploy_to}/releases/{id}\n{}echo {id} >REVISION\n\
                 ln -s {deploy_to}/shared/.env .env\nrmdir log\nln -s {deploy_to}/shared/log log\n\
                 ln -s {deploy_to}/releases/{id} ../../current.tmp\nmv -T ../../current.tmp ../../current\n\
                 cd {deploy_to}/current\n\
                 PORT={port} pm2 startOrReload ecosystem.config.js --env production </dev/null >/dev/null\n\
                 echo \"Branch main (at 4f2c1a) deployed as release {id} by eve\" >>{deploy_to}/revisions.log\n",
                App::version(version).as_script()
            )
        };
        host.must(
            user,
            &format!(
                "umask 022\ncd {deploy_to}\nmkdir -p releases shared/log repo/refs/heads\n\
                 echo 'ref: refs/heads/main' >repo/HEAD\necho MOTTO=beans >shared/.env\n{}{}",
                release(BEFORE_THAT, "older"),
                // PM2 stays in the release from which it was told to start the app: a Capistrano task that
                // works has it forgotten first.
                format_args!(
                    "pm2 delete shop </dev/null >/dev/null\n{}pm2 save </dev/null >/dev/null\n",
                    release(BY_HAND, "theirs")
                ),
            ),
        );
    });
    wait_until_all_answer(&site, "theirs");
    assert_eq!(site.serves("theirs"), BY_HAND);
    let names = format!("releases/{BEFORE_THAT} releases/{BY_HAND} shared repo");
    let theirs = kept(&site, &names);
    let revisions = kept_lines(&site);

    site.configure(|settings| {
        settings.top = "linked_files = [\".env\"]\nlinked_dirs = [\"log\"]\nkeep_releases = 1".into();
    });
    site.runs("v1");
    only_the_app_is_registered(&site);
    site.roll_back().ends_with(0).says(BY_HAND);
    assert_eq!(site.serves("theirs"), BY_HAND);
    only_the_app_is_registered(&site);
    site.runs("v2");
    site.runs("v3");
    site.is_clean();
    assert_eq!(kept(&site, &names), theirs);
    for (before, after) in revisions.iter().zip(kept_lines(&site)) {
        assert!(
            after.starts_with(before.as_str()) && after.len() > before.len(),
            "{before}\nbecame\n{after}"
        );
    }
}

fn kept_lines(site: &Site) -> Vec<String> {
    site.on_every_host(|host| host.must(&site.user, &format!("cat {}/revisions.log", site.deploy_to)))
}

#[test]
fn a_failed_very_first_deploy_leaves_no_app_behind() {
    let Some(site) = Site::on_two_hosts("a_failed_very_first_deploy_leaves_no_app_behind") else { return };
    site.write_app(&App::version("v1").throws_at_start());
    site.deploy().ends_with(5).says("shop");
    for host in site.hosts() {
        assert_eq!(site.current(host), None, "host {}", host.number);
        assert_eq!(site.workers(host).len(), 0, "host {}", host.number);
    }
    site.is_clean();
    site.runs("v2");
}

fn only_the_app_is_registered(site: &Site) {
    let names = site.on_every_host(|host| site.registered(host));
    for (index, names) in names.iter().enumerate() {
        assert_eq!(names, &["shop", "shop"], "host {}", index + 1);
    }
}
