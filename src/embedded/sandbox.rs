//! Owns what embedded hosts keep between runs: a directory for each project, in it the login key and
//! a directory for each host with its key, home, file tree and port. Knows nothing of SSH.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use etcetera::BaseStrategy;
use sha2::Digest;
use sha2::Sha256;

use super::HostOptions;
use super::KeyPair;
use super::free_port;

/// The directory of a project's embedded hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    root: PathBuf,
}

/// The directory of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxHost {
    root: PathBuf,
    number: u8,
}

impl Sandbox {
    /// The sandbox of the project in `project_root`: in `RDEPLOY_STATE_DIR`, or else in the user's
    /// directory for state (`~/.local/state/rdeploy` unless `XDG_STATE_HOME` says otherwise).
    pub fn for_project(project_root: &Path) -> io::Result<Self> {
        Self::in_state_dir(&state_dir(std::env::var_os("RDEPLOY_STATE_DIR"))?, project_root)
    }

    /// The sandbox of the project in `project_root`, in a directory for state that is named.
    pub fn in_state_dir(state: &Path, project_root: &Path) -> io::Result<Self> {
        let project = project_root.canonicalize()?;
        // Short, because PM2 has sockets below it, and a socket's path has at most 107 bytes.
        let name: String = project
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
            .take(12)
            .collect();
        let hash = HEXLOWER.encode(&Sha256::digest(project.as_os_str().as_bytes()));
        let hash = hash.get(..8).unwrap_or_default();
        Self::in_dir(state.join("dev").join(format!("{name}-{hash}")))
    }

    /// A sandbox in a directory, which is made if need be.
    pub fn in_dir(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let root = directory.into();
        make(&root)?;
        // Commands run elsewhere, and get paths of here.
        Ok(Self { root: root.canonicalize()? })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file of the key that may log in to all of its hosts.
    pub fn login_key_file(&self) -> PathBuf {
        self.root.join("login_key")
    }

    /// The key that may log in to all of its hosts; made at the first call.
    pub fn login_key(&self) -> io::Result<KeyPair> {
        KeyPair::load_or_generate(&self.login_key_file())
    }

    /// A file for the keys by which its hosts are known. Their ports differ from run to run, so it is
    /// written anew each time.
    pub fn known_hosts_file(&self) -> PathBuf {
        self.root.join("known_hosts")
    }

    /// The directory of host `number`, counted from 1; made at the first call.
    pub fn host(&self, number: u8) -> io::Result<SandboxHost> {
        let root = self.root.join(format!("host{number}"));
        make(&root.join("home"))?;
        make(&root.join("fs"))?;
        Ok(SandboxHost { root, number })
    }
}

impl SandboxHost {
    /// The name shown for it.
    pub fn name(&self) -> String {
        format!("host{}", self.number)
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its user's home.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Where a path of the configuration is on it: `/srv/shop` is `fs/srv/shop` in its directory.
    pub fn deploy_to(&self, path: &str) -> String {
        format!("{}/fs/{}", self.root.display(), path.trim_start_matches('/'))
    }

    /// The port on which its app is to listen. It is chosen once, among those free at that moment, and
    /// then stays the same, so that an app that goes on running can be found again. A foreign process
    /// that takes it later is not noticed here; removing the file `port` has another one chosen.
    pub fn port(&self) -> io::Result<u16> {
        let file = self.root.join("port");
        if let Some(port) = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
            return Ok(port);
        }
        let port = free_port(&self.ports_of_others())?;
        std::fs::write(&file, format!("{port}\n"))?;
        Ok(port)
    }

    /// Ports chosen for the other hosts of the sandbox, whose apps may not run just now.
    fn ports_of_others(&self) -> BTreeSet<u16> {
        let siblings = self.root.parent().and_then(|root| std::fs::read_dir(root).ok());
        let files = siblings.into_iter().flatten().flatten().map(|entry| entry.path().join("port"));
        files.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).collect()
    }

    /// What [`super::EmbeddedHost::start`] needs. Commands get `PORT`.
    pub fn options(&self, login: &KeyPair) -> io::Result<HostOptions> {
        Ok(HostOptions {
            sandbox: self.root.clone(),
            env: vec![("PORT".into(), self.port()?.to_string())],
            authorized: login.public(),
            host_key: KeyPair::load_or_generate(&self.root.join("host_key"))?,
            path: None,
        })
    }
}

fn make(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn state_dir(configured: Option<OsString>) -> io::Result<PathBuf> {
    if let Some(configured) = configured.filter(|configured| !configured.is_empty()) {
        return Ok(PathBuf::from(configured));
    }
    let strategy = etcetera::choose_base_strategy().map_err(|error| {
        io::Error::new(io::ErrorKind::NotFound, format!("{error}; set RDEPLOY_STATE_DIR to a directory"))
    })?;
    Ok(strategy.state_dir().unwrap_or_else(|| strategy.data_dir()).join("rdeploy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_of_one_name_do_not_share_a_sandbox() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a/shop"), dir.path().join("b/shop"));
        std::fs::create_dir_all(&a).unwrap();
        std::fs::create_dir_all(&b).unwrap();
        let state = dir.path().join("state");
        let of = |project: &Path| Sandbox::in_state_dir(&state, project).unwrap();
        assert_ne!(of(&a), of(&b));
        assert_eq!(of(&a), of(&a.join("../shop")));
        assert!(of(&a).root().file_name().unwrap().to_str().unwrap().starts_with("shop-"));
    }

    #[test]
    fn a_path_of_the_configuration_lies_inside_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::in_dir(dir.path()).unwrap();
        let host = sandbox.host(2).unwrap();
        let expected = format!("{}/host2/fs/srv/shop", sandbox.root().display());
        assert_eq!(host.deploy_to("/srv/shop"), expected);
        assert_eq!(host.deploy_to("//srv/shop"), expected);
    }

    #[test]
    fn each_host_has_a_port_of_its_own_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::in_dir(dir.path()).unwrap();
        let ports = || (1..=20).map(|n| sandbox.host(n).unwrap().port().unwrap()).collect::<Vec<_>>();
        let first = ports();
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 20);
        assert_eq!(ports(), first);
    }

    #[test]
    fn keys_stay_the_same_from_run_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::in_dir(dir.path().join("new/deep")).unwrap();
        let login = sandbox.login_key().unwrap();
        assert_eq!(sandbox.login_key().unwrap().public(), login.public());
        let host = sandbox.host(1).unwrap();
        let key = |host: &SandboxHost| host.options(&login).unwrap().host_key.public();
        assert_eq!(key(&host), key(&sandbox.host(1).unwrap()));
        assert_ne!(key(&host), key(&sandbox.host(2).unwrap()));
    }

    #[test]
    fn the_directory_for_state_can_be_chosen() {
        assert_eq!(state_dir(Some("/x".into())).unwrap(), Path::new("/x"));
    }
}
