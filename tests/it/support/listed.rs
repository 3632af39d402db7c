//! Owns several SSH hosts that `deploy.toml` names one by one, as real ones are named. All are on this
//! machine, so each gets a file tree of its own by two programs on its PATH: `/srv` of the
//! configuration is `srv` in the host's directory.

use std::fs;
use std::path::PathBuf;

use rdeploy::embedded::EmbeddedHost;
use rdeploy::embedded::HostOptions;
use rdeploy::embedded::KeyPair;
use rdeploy::embedded::Sandbox;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

use super::project::DEPLOY_TO;
use super::project::Project;
use super::project::Tree;
use super::project::eventually;
use super::project::real_program;
use super::project::write_program;

/// The hosts, and what lets one log in to them.
pub(crate) struct Listed {
    hosts: Vec<Option<EmbeddedHost>>,
    options: Vec<HostOptions>,
    /// Keep the ports of hosts that are not there, so that nobody else gets them.
    kept: Vec<Option<TcpSocket>>,
    ports: Vec<u16>,
    dir: PathBuf,
    runtime: Runtime,
}

impl Listed {
    /// Starts that many hosts, known and ready for a login.
    pub(crate) fn start(project: &Project, hosts: u8) -> Self {
        let dir = project.beside("hosts");
        let sandbox = Sandbox::in_dir(&dir).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let mut listed = Self {
            hosts: Vec::new(),
            options: Vec::new(),
            kept: Vec::new(),
            ports: Vec::new(),
            dir,
            runtime: runtime.unwrap(),
        };
        let mut known = String::new();
        for n in 1..=hosts {
            let mut options = sandbox.host(n).unwrap().options(&sandbox.login_key().unwrap()).unwrap();
            options.path = Some(listed.tree_of_its_own(usize::from(n)).into());
            listed.options.push(options.clone());
            listed.kept.push(None);
            let host = listed.runtime.block_on(EmbeddedHost::start(options)).unwrap();
            known.push_str(&host.host_key_line());
            let port = host.address().port();
            project.names().borrow_mut().host(usize::from(n), port);
            listed.ports.push(port);
            listed.hosts.push(Some(host));
        }
        fs::write(listed.known_hosts(), known).unwrap();
        listed
    }

    /// Returns a PATH on which `/srv` leads into the host's own directory: in the settings, which
    /// `dd` takes, and in the arguments of `sh`.
    fn tree_of_its_own(&self, n: usize) -> String {
        let host = self.dir.join(format!("host{n}"));
        let (tools, fs) = (host.join("tools"), host.join("fs"));
        fs::create_dir_all(fs.join("srv")).unwrap();
        fs::create_dir_all(&tools).unwrap();
        let (fs, dd) = (fs.display(), real_program("dd"));
        write_program(
            &tools.join("dd"),
            &format!(
                "case $* in\n    *iflag=fullblock*) {dd} \"$@\" | LC_ALL=C sed 's|ROOT=/srv/|ROOT={fs}/srv/|' ;;\n    \
                 *) exec {dd} \"$@\" ;;\nesac",
                dd = dd.display()
            ),
        );
        write_program(
            &tools.join("sh"),
            &format!(
                "for word; do\n    shift\n    case $word in\n        /srv/*) word={fs}$word ;;\n        \
                 *ROOT=/srv/*) word=${{word%%ROOT=/srv/*}}ROOT={fs}/srv/${{word#*ROOT=/srv/}} ;;\n    esac\n    \
                 set -- \"$@\" \"$word\"\ndone\nexec /bin/sh \"$@\""
            ),
        );
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into());
        format!("{}:{path}", tools.display())
    }

    /// `deploy_to` on host `n`, from 1.
    pub(crate) fn tree(&self, n: usize) -> Tree {
        let root = self.dir.join(format!("host{n}/fs{DEPLOY_TO}"));
        Tree { root, port: None }
    }

    /// `deploy_to` on every host.
    pub(crate) fn trees(&self) -> Vec<Tree> {
        (1..=self.ports.len()).map(|n| self.tree(n)).collect()
    }

    /// The name shown for host `n`.
    pub(crate) fn name(&self, n: usize) -> String {
        format!("127.0.0.1:{}", self.ports[n - 1])
    }

    /// The file of known host keys.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// The private key.
    pub(crate) fn identity(&self) -> PathBuf {
        self.dir.join("login_key")
    }

    /// The line that makes host `n` known.
    pub(crate) fn key_line(&self, n: usize) -> String {
        self.hosts[n - 1].as_ref().unwrap().host_key_line()
    }

    /// The line that makes another key known for host `n`.
    pub(crate) fn wrong_key_line(&self, n: usize) -> String {
        let other = KeyPair::generate().unwrap().public().line().unwrap();
        format!("[127.0.0.1]:{} {other}\n", self.ports[n - 1])
    }

    /// `[ssh]`: how to get in.
    pub(crate) fn ssh(&self) -> String {
        format!(
            "[ssh]\nidentity = [{:?}]\nknown_hosts = [{:?}]\nconnect_timeout = \"30s\"\n",
            self.identity(),
            self.known_hosts()
        )
    }

    /// `[env.prod]` with these hosts; roles where there are any.
    pub(crate) fn environment(&self, roles: &[&[&str]]) -> String {
        let host = |n: usize| match roles.get(n - 1).filter(|roles| !roles.is_empty()) {
            None => format!("  \"deploy@{}\",\n", self.name(n)),
            Some(roles) => format!("  {{ address = \"deploy@{}\", roles = {roles:?} }},\n", self.name(n)),
        };
        let hosts: String = (1..=self.ports.len()).map(host).collect();
        format!("[env.prod]\nhosts = [\n{hosts}]\n")
    }

    /// `deploy.toml` of files without an app on these hosts; `more` stands before the environment.
    pub(crate) fn files(&self, more: &str) -> String {
        self.files_for(more, &[])
    }

    /// The same, with roles.
    pub(crate) fn files_for(&self, more: &str, roles: &[&[&str]]) -> String {
        let (ssh, environment) = (self.ssh(), self.environment(roles));
        format!("app = \"shop\"\ndeploy_to = \"{DEPLOY_TO}\"\n{more}\n{ssh}\n{environment}")
    }

    /// Cuts the connections to host `n`, as a failing network does.
    pub(crate) fn cut(&self, n: usize) {
        let _entered = self.runtime.enter();
        self.hosts[n - 1].as_ref().unwrap().cut_connections();
    }

    /// Host `n` is not there any more.
    pub(crate) fn stop(&mut self, n: usize) {
        let host = self.hosts[n - 1].take().unwrap();
        self.runtime.block_on(host.stop());
        let _entered = self.runtime.enter();
        let kept = TcpSocket::new_v4().unwrap();
        kept.set_reuseaddr(true).unwrap();
        // A program that is being started somewhere in this process has what was open, for a moment.
        eventually("the port of the host that was stopped", || {
            kept.bind(([127, 0, 0, 1], self.ports[n - 1]).into()).is_ok()
        });
        self.kept[n - 1] = Some(kept);
    }

    /// Host `n` is there again, as it was.
    pub(crate) fn start_again(&mut self, n: usize) {
        let options = self.options[n - 1].clone();
        let host = self.runtime.block_on(EmbeddedHost::start_on(options, self.ports[n - 1])).unwrap();
        self.hosts[n - 1] = Some(host);
        self.kept[n - 1] = None;
    }
}
