//! Owns where an environment's hosts are: real ones as targets to connect to, embedded ones started
//! here and mapped into their sandbox.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::Fatal;
use super::identity;
use super::launch;
use crate::config;
use crate::config::Environment;
use crate::config::Hosts;
use crate::config::HttpProbe;
use crate::config::Probe;
use crate::deploy::Outcome;
use crate::embedded::EmbeddedHost;
use crate::embedded::Sandbox;
use crate::host::Action;
use crate::host::Host as _;
use crate::host::HostError;
use crate::host::LockOutcome;
use crate::host::Session;
use crate::host::Verb;
use crate::ssh;
use crate::ssh::AskNobody;
use crate::ssh::Target;

/// One host, and the environment as it is there.
#[derive(Debug)]
pub(super) struct Place {
    /// How to reach it.
    pub(super) target: Target,
    /// Its roles.
    pub(super) host: config::Host,
    /// The environment, with `deploy_to` and the health check as they are on this host.
    pub(super) environment: Arc<Environment>,
    /// Variables only this host has.
    pub(super) vars: BTreeMap<String, String>,
}

/// The hosts of an environment. Dropping it ends embedded hosts, not what runs on them.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) all: Vec<Place>,
    pub(super) settings: ssh::Settings,
    embedded: Vec<EmbeddedHost>,
    /// Keys of the embedded hosts, while they are there.
    _known_hosts: Option<tempfile::NamedTempFile>,
}

impl Places {
    /// Finds the hosts, starting them where they are embedded.
    pub(super) async fn open(environment: &Environment, root: &Path) -> std::io::Result<Self> {
        match &environment.hosts {
            Hosts::Listed(hosts) => Ok(Self::listed(environment, hosts)),
            Hosts::Embedded(number) => Self::embedded(environment, *number, root).await,
        }
    }

    fn listed(environment: &Environment, hosts: &[config::Host]) -> Self {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let local_user = identity::local_user(&var);
        // Of each host its own would be as many lists of all hosts as there are hosts.
        let shared = Arc::new(expanded(environment, &BTreeMap::new()));
        let place = |host: &config::Host| Place {
            target: Target {
                name: host.name(),
                user: host.user.clone().unwrap_or_else(|| local_user.clone()),
                address: host.address.clone(),
                port: host.port,
            },
            host: host.clone(),
            environment: Arc::clone(&shared),
            vars: BTreeMap::new(),
        };
        Self {
            all: hosts.iter().map(place).collect(),
            settings: (&environment.ssh).into(),
            embedded: Vec::new(),
            _known_hosts: None,
        }
    }

    async fn embedded(environment: &Environment, number: u8, root: &Path) -> std::io::Result<Self> {
        let sandbox = Sandbox::for_project(root)?;
        let login = sandbox.login_key()?;
        let mut places = Vec::new();
        let mut running = Vec::new();
        let mut known = String::new();
        for n in 1..=number {
            let directory = sandbox.host(n)?;
            let server = EmbeddedHost::start(directory.options(&login)?).await?;
            known.push_str(&server.host_key_line());
            let address = server.address();
            let vars = BTreeMap::from([("PORT".to_owned(), directory.port()?.to_string())]);
            let mut own = expanded(environment, &vars);
            own.deploy_to = directory.deploy_to(&environment.deploy_to);
            places.push(Place {
                target: Target {
                    name: directory.name(),
                    user: "rdeploy".to_owned(),
                    address: address.ip().to_string(),
                    port: address.port(),
                },
                host: config::Host {
                    user: None,
                    address: address.ip().to_string(),
                    port: address.port(),
                    roles: None,
                },
                environment: Arc::new(own),
                vars,
            });
            running.push(server);
        }
        // Of this run alone: the ports differ from those of a run beside it.
        let mut file = tempfile::Builder::new().prefix("known_hosts-").tempfile_in(sandbox.root())?;
        file.write_all(known.as_bytes())?;
        let settings = ssh::Settings {
            identity: vec![sandbox.login_key_file()],
            known_hosts: vec![file.path().to_owned()],
            connect_timeout: environment.ssh.connect_timeout,
            agent: false,
        };
        Ok(Self { all: places, settings, embedded: running, _known_hosts: Some(file) })
    }

    /// Ends embedded hosts; what they started goes on.
    pub(super) async fn close(self) {
        for host in self.embedded {
            host.stop().await;
        }
    }
}

/// Returns the environment with `$PORT` in the health check's address replaced by the host's own port, or
/// the one in `vars`: an embedded host's is known only now.
fn expanded(environment: &Environment, host_vars: &BTreeMap<String, String>) -> Environment {
    let mut environment = environment.clone();
    let port = host_vars.get("PORT").or_else(|| environment.vars.get("PORT"));
    let expand = |url: &str| port.map_or_else(|| url.to_owned(), |port| url.replace("$PORT", port));
    for health in &mut environment.health {
        if let Probe::Http(HttpProbe { url, .. }) = &mut health.probe {
            *url = expand(url);
        }
    }
    environment
}

/// Ends what runs on the embedded hosts of an environment. Returns what to tell.
pub(super) async fn stop(environment: &Environment, root: &Path) -> Result<String, Fatal> {
    let failed = |host: &str, error: &dyn Error| Fatal {
        code: Outcome::Preflight.code(),
        ..Fatal::usage(format!("{host}: {error}"))
    };
    let places = Places::open(environment, root)
        .await
        .map_err(|error| Fatal::usage(format!("the embedded hosts could not be started: {error}")))?;
    let identity = identity::Identity::from_env();
    let mut ended = Vec::new();
    for (ordinal, place) in places.all.iter().enumerate() {
        let name = &place.target.name;
        let settings = launch::settings(place, ordinal, Verb::Stop, Vec::new(), &identity)
            .map_err(|error| failed(name, &error))?;
        let ask: Arc<dyn ssh::Ask> = Arc::new(AskNobody);
        let connection = ssh::connect(&place.target, &places.settings, &ask)
            .await
            .map_err(|error| failed(name, &error).hint(error.hint()))?;
        let say = |error: HostError| failed(name, &error);
        let session = Session::start(connection, settings).await.map_err(say)?;
        match session.lock().await.map_err(say)? {
            LockOutcome::Held(owner) | LockOutcome::Frozen(owner) => {
                return Err(Fatal {
                    code: Outcome::Locked.code(),
                    ..Fatal::usage(format!("{name} is locked: {owner}"))
                }
                .hint("wait for the other run to end, then try again"));
            }
            LockOutcome::Taken(facts) if facts.current.is_some() => {
                session.act(&Action::Stop, &|_| ()).await.map_err(say)?;
                ended.push(name.clone());
            }
            LockOutcome::Taken(_) => {}
        }
        session.leave().await.map_err(say)?;
    }
    places.close().await;
    Ok(if ended.is_empty() {
        format!("nothing is deployed to {}", environment.name)
    } else {
        format!("ended {} on {}", environment.app, ended.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_check_of_an_embedded_host_asks_its_own_port() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deploy.toml");
        let text = "app = 'a'\ndeploy_to = '/srv/a'\n[health]\nhttp = 'http://127.0.0.1:$PORT/x'\n[env.dev]\nembedded = 1\n";
        std::fs::write(&file, text).unwrap();
        let project = config::load(Some(&file), dir.path()).unwrap();
        let environment = project.environment("dev").unwrap();
        let vars = BTreeMap::from([("PORT".to_owned(), "4711".to_owned())]);
        let health = expanded(environment, &vars).health;
        let probe = Probe::Http(HttpProbe::at("http://127.0.0.1:4711/x".to_owned()));
        assert_eq!(health, [config::Health::of(probe)]);
    }

    /// It names every host, so that copies of it would grow with the square of their number.
    #[tokio::test]
    async fn hosts_share_one_environment_and_so_do_their_settings() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deploy.toml");
        let text = "app = 'a'\ndeploy_to = '/srv/a'\n[supervisor]\nkind = 'none'\n[env.prod]\nhosts = ['web1', 'web2', 'web3']\n";
        std::fs::write(&file, text).unwrap();
        let project = config::load(Some(&file), dir.path()).unwrap();
        let places = Places::open(project.environment("prod").unwrap(), dir.path()).await.unwrap();
        let identity = identity::Identity::from_env();
        let (first, others) = places.all.split_first().unwrap();
        assert_eq!(others.len(), 2);
        for place in others {
            assert!(Arc::ptr_eq(&place.environment, &first.environment));
        }
        let settings = launch::settings(first, 0, Verb::Deploy, Vec::new(), &identity).unwrap();
        assert!(Arc::ptr_eq(&settings.environment, &first.environment));
    }
}
