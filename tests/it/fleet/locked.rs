//! Two deploys at the same time.

use super::app::App;
use super::site::Site;
use super::systemd::kept_up_somehow;

#[test]
fn of_two_deploys_at_once_one_wins_and_the_other_names_the_owner() {
    let Some(site) = Site::on_three_hosts("of_two_deploys_at_once_one_wins_and_the_other_names_the_owner")
    else {
        return;
    };
    let site = kept_up_somehow(site);
    site.runs("v1");
    site.write_app(&App::version("v2"));
    site.configure(|settings| {
        settings.hooks = "after_unpack = [{ run = \"touch $HOME/unpacked; while [ ! -e $HOME/go ]; do sleep 0.1; done\", timeout = \"10m\" }]".into();
    });
    let winner = site.start(&[]);
    site.await_file_everywhere("unpacked");

    site.deploy().ends_with(4).says("ada");

    site.on_every_host(|host| host.must(&site.user, "touch $HOME/go"));
    winner.wait().ends_with(0);
    site.serves("v2");
    site.is_clean();
}
