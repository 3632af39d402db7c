//! Owns the examples of docs/examples on a fleet: their files as they stand, but for the addresses, the port,
//! the directory and the version; and a shorter time to settle.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::site::Site;
use super::workers::Keeper;

/// An example on the hosts of a site.
pub(super) struct Example {
    /// Where it is deployed.
    pub(super) site: Site,
    directory: PathBuf,
    /// More parts of its files that are replaced.
    replaced: &'static [(&'static str, &'static str)],
}

impl Example {
    /// The Node app under PM2, with that many instances.
    pub(super) fn node_pm2(mut site: Site, instances: usize) -> Self {
        site.instances = instances;
        let replaced: &[(&str, &str)] = match instances {
            1 => &[("instances: 2", "instances: 1")],
            _ => &[],
        };
        Self::new(site, "node-pm2", replaced)
    }

    /// The compiled app under systemd, which holds its socket; its units are on the hosts.
    pub(super) fn systemd_socket(mut site: Site) -> Self {
        site.keeper = Keeper::UserUnit;
        site.instances = 1;
        let example = Self::new(site, "systemd-socket", &[]);
        let unit = |name: &str| example.file(name, "1.0.0");
        let (service, socket) = (unit("shop.service"), unit("shop.socket"));
        example.site.on_every_host(|host| {
            host.must(
                &example.site.user,
                &format!(
                    "mkdir -p ~/.config/systemd/user\ncd ~/.config/systemd/user\n\
                     cat >shop.service <<'END'\n{service}END\ncat >shop.socket <<'END'\n{socket}END\n\
                     systemctl --user daemon-reload\nsystemctl --user enable -q --now shop.socket\n\
                     systemctl --user enable -q shop.service\n"
                ),
            );
        });
        example
    }

    /// The Python app under supervisord, which root has started with its program.
    pub(super) fn python_supervisord(site: Site) -> Self {
        let example = Self::new(site, "python-supervisord", &[]);
        let user = format!("user={}", example.site.user);
        let program = example.file("shop.conf", "1.0.0").replace("user=deploy", &user);
        example.site.on_every_host(|host| {
            host.root(&format!(
                "cat >/etc/supervisor/conf.d/shop.conf <<'END'\n{program}END\nsystemctl start supervisor\n\
                 until supervisorctl status | grep -q ^shop; do sleep 0.1; done"
            ));
        });
        example
    }

    fn new(site: Site, name: &str, replaced: &'static [(&'static str, &'static str)]) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name);
        Self { site, directory, replaced }
    }

    /// Makes the project that version of the example.
    pub(super) fn write(&self, version: &str) {
        self.write_directory("", version);
        let file = self.site.project().join("deploy.toml");
        let text = fs::read_to_string(&file).unwrap();
        let settled = text.replace("[supervisor]\n", "[supervisor]\nsettle = \"1s\"\n");
        assert_ne!(settled, text, "the example has no supervisor");
        fs::write(&file, format!("{settled}\n[ssh]\n{}\n", self.site.ssh())).unwrap();
        rdeploy::config::load(Some(&file), &self.site.project()).unwrap_or_else(|error| panic!("{error}"));
    }

    fn write_directory(&self, below: &str, version: &str) {
        let into = self.site.project().join(below);
        fs::create_dir_all(&into).unwrap();
        for entry in fs::read_dir(self.directory.join(below)).unwrap() {
            let entry = entry.unwrap();
            let name = Path::new(below).join(entry.file_name());
            let name = name.to_str().unwrap();
            // What somebody built there is no part of it.
            if entry.file_name() == "target" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                self.write_directory(name, version);
            } else {
                fs::write(self.site.project().join(name), self.file(name, version)).unwrap();
            }
        }
    }

    /// A file of the example, for this site.
    fn file(&self, name: &str, version: &str) -> String {
        let hosts: Vec<String> =
            self.site.fleet().hosts().iter().map(|host| self.site.login(&host.address)).collect();
        let hosts = format!("{hosts:?}");
        let port = self.site.port.to_string();
        let own: [(&str, &str); 4] = [
            ("[\"deploy@web1.example.com\", \"deploy@web2.example.com\"]", &hosts),
            ("/srv/shop", &self.site.deploy_to),
            ("3000", &port),
            ("1.0.0", version),
        ];
        let text = fs::read_to_string(self.directory.join(name)).unwrap();
        own.iter().chain(self.replaced).fold(text, |text, (part, by)| text.replace(part, by))
    }
}
