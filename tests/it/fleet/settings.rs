//! Owns how a site's `deploy.toml` is written.

use std::path::PathBuf;

/// What `deploy.toml` says; each part is TOML. `Site::configure` starts from one that works.
pub(crate) struct Settings {
    /// Keys before the first table.
    pub(crate) top: String,
    /// The `[build]` table.
    pub(crate) build: String,
    /// The `[supervisor]` table.
    pub(crate) supervisor: String,
    /// The `[health]` table.
    pub(crate) health: String,
    /// The `[hooks]` table.
    pub(crate) hooks: String,
    /// More keys of the environment.
    pub(crate) env: String,
    /// `user@address` of each host.
    pub(crate) hosts: Vec<String>,
    /// The private key to log in with.
    pub(crate) identity: PathBuf,
    /// The file of known host keys.
    pub(crate) known_hosts: PathBuf,
    /// How long a login may take.
    pub(crate) connect_timeout: &'static str,
}

impl Settings {
    /// The file.
    pub(super) fn toml(&self, deploy_to: &str, port: u16) -> String {
        let Self {
            top,
            build,
            supervisor,
            health,
            hooks,
            env,
            hosts,
            identity,
            known_hosts,
            connect_timeout,
        } = self;
        let table = |name: &str, body: &str| match body {
            "" => String::new(),
            body => format!("[{name}]\n{body}\n\n"),
        };
        let mut text = format!("app = \"shop\"\ndeploy_to = {deploy_to:?}\n{top}\n\n");
        text += &table("build", build);
        text += &table("supervisor", supervisor);
        text += &table("health", health);
        text += &table("hooks", hooks);
        let ssh = format!(
            "identity = [{identity:?}]\nknown_hosts = [{known_hosts:?}]\nconnect_timeout = {connect_timeout:?}"
        );
        text += &table("ssh", &ssh);
        text += &table("env.prod", &format!("hosts = {hosts:?}\nvars.PORT = \"{port}\"\n{env}"));
        text
    }
}
