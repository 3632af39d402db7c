//! Owns how an environment lies over the top level: tables merge key by key, arrays and plain values
//! replace, and choosing another kind of supervisor or probe leaves the one above out altogether. A rollout
//! is one decision: one in an environment replaces the one above.

use super::raw::Health;
use super::raw::Layer;
use super::raw::Ssh;
use super::raw::Supervisor;

impl Layer {
    /// Lays this layer over `top`.
    pub(super) fn over(self, top: &Self) -> Self {
        let mut hooks = top.hooks.clone();
        hooks.extend(self.hooks);
        let mut vars = top.vars.clone();
        vars.extend(self.vars);
        Self {
            deploy_to: self.deploy_to.or_else(|| top.deploy_to.clone()),
            keep_releases: self.keep_releases.or_else(|| top.keep_releases.clone()),
            linked_dirs: self.linked_dirs.or_else(|| top.linked_dirs.clone()),
            linked_files: self.linked_files.or_else(|| top.linked_files.clone()),
            supervisor: self.supervisor.over(&top.supervisor),
            health: self.health.over(&top.health),
            hooks,
            ssh: self.ssh.over(&top.ssh),
            path: self.path.or_else(|| top.path.clone()),
            lease: self.lease.or_else(|| top.lease.clone()),
            rollout: self.rollout.or_else(|| top.rollout.clone()),
            vars,
        }
    }
}

impl Supervisor {
    fn over(self, top: &Self) -> Self {
        let top = top.clone();
        let kind_of = |s: &Self| s.kind.as_ref().and_then(|given| given.value);
        // `settle` belongs to no kind: how long the app must stay up does not change with what starts it.
        let top = match (kind_of(&self), kind_of(&top)) {
            (Some(new), Some(old)) if new != old => Self { settle: top.settle, ..Self::default() },
            _ => top,
        };
        // An ecosystem file and apps exclude each other, so choosing one is choosing against the other.
        let (ecosystem, apps) = match (self.ecosystem, self.apps) {
            (None, None) => (top.ecosystem, top.apps),
            given => given,
        };
        Self {
            kind: self.kind.or(top.kind),
            settle: self.settle.or(top.settle),
            ecosystem,
            apps,
            start: self.start.or(top.start),
            restart: self.restart.or(top.restart),
            exec: self.exec.or(top.exec),
            notifies: self.notifies.or(top.notifies),
            logs: self.logs.or(top.logs),
            stop: self.stop.or(top.stop),
            status: self.status.or(top.status),
            units: self.units.or(top.units),
            scope: self.scope.or(top.scope),
            programs: self.programs.or(top.programs),
            config: self.config.or(top.config),
        }
    }
}

impl Health {
    fn over(self, top: &Self) -> Self {
        let top = top.clone();
        let chosen = self.http.is_some() || self.tcp.is_some() || self.command.is_some();
        let (http, tcp, command) = match chosen {
            true => (self.http, self.tcp, self.command),
            false => (top.http, top.tcp, top.command),
        };
        Self {
            span: self.span.or(top.span),
            http,
            tcp,
            command,
            timeout: self.timeout.or(top.timeout),
            interval: self.interval.or(top.interval),
        }
    }
}

impl Ssh {
    fn over(self, top: &Self) -> Self {
        let top = top.clone();
        Self {
            identity: self.identity.or(top.identity),
            known_hosts: self.known_hosts.or(top.known_hosts),
            connect_timeout: self.connect_timeout.or(top.connect_timeout),
        }
    }
}
