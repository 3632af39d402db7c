//! Many embedded hosts in one process, for a client in another.
//!
//!     bench-hosts DIR N
//!
//! writes `host PORT KNOWN_HOSTS_LINE` for each to standard output and serves until standard input ends. The one key
//! that may log in is DIR/login_key.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rdeploy::embedded::EmbeddedHost;
use rdeploy::embedded::HostOptions;
use rdeploy::embedded::KeyPair;

/// Where the configuration says that the app lies.
const DEPLOY_TO: &str = "/srv/bench";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, number] = arguments.as_slice() else { panic!("usage: bench-hosts DIR N") };
    let dir = Path::new(dir).canonicalize().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let login = KeyPair::load_or_generate(&dir.join("login_key")).unwrap();
    // One for all: making hundreds takes long, and no client looks.
    let host_key = KeyPair::generate().unwrap();
    let mut hosts = Vec::new();
    let mut out = std::io::stdout();
    for n in 1..=number.parse::<usize>().unwrap() {
        let sandbox = dir.join(format!("host{n}"));
        let options = HostOptions {
            path: Some(path(&sandbox).into()),
            sandbox,
            env: Vec::new(),
            authorized: login.public(),
            host_key: host_key.clone(),
        };
        let host = runtime.block_on(EmbeddedHost::start(options)).unwrap();
        write!(out, "host {} {}", host.address().port(), host.host_key_line()).unwrap();
        hosts.push(host);
    }
    out.flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(hosts);
    runtime.shutdown_background();
}

/// Prepares a host, and returns the PATH of its commands: its `sh` comes first, for which `DEPLOY_TO` is a directory
/// of the host's own, and the machine one of its own. (So this needs root, and mounts that may be made.)
fn path(sandbox: &Path) -> String {
    let (tools, files) = (sandbox.join("tools"), sandbox.join("app"));
    for dir in [&tools, &files, &sandbox.join("home"), &sandbox.join("tmp")] {
        fs::create_dir_all(dir).unwrap();
    }
    let identity = sandbox.join("machine-id");
    let name = sandbox.file_name().unwrap().to_str().unwrap();
    fs::write(&identity, format!("{name}\n")).unwrap();
    let shell = tools.join("sh");
    let script = format!(
        "#!/bin/sh\n[ -z \"$BENCH_HOST\" ] || exec /bin/sh \"$@\"\nexport BENCH_HOST=here\n\
         exec unshare --mount /bin/sh -c 'mount --bind \"$0\" /etc/machine-id && mount --bind \"$1\" {DEPLOY_TO} && \
         shift && exec /bin/sh \"$@\"' {} {} \"$@\"\n",
        identity.display(),
        files.display()
    );
    fs::write(&shell, script).unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default())
}
