//! Owns how an environment lies over the top level: tables merge key by key, arrays and plain values
//! replace, and choosing another kind of supervisor or probe leaves the one above out altogether. A rollout
//! is one decision: one in an environment replaces the one above. So are several health checks.

use super::raw::Ask;
use super::raw::Check;
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
            health: health(self.health, top.health.as_ref()),
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

/// One table over one table merges; as soon as there are several on either side, the nearer replaces.
fn health(own: Option<Health>, top: Option<&Health>) -> Option<Health> {
    match (own, top) {
        (None, top) => top.cloned(),
        (Some(Health::One(own)), Some(Health::One(top))) => {
            Some(Health::One(Box::new(own.over(Check::clone(top)))))
        }
        (Some(Health::One(own)), Some(Health::Several(_))) => {
            Some(Health::One(Box::new(Check { instead_of_several: true, ..*own })))
        }
        (Some(own), _) => Some(own),
    }
}

impl Check {
    fn over(self, top: Self) -> Self {
        let top = match self.kind_over(&top) {
            None => top,
            Some(kind) if Some(kind) == top.kind() => Self { http: None, tcp: None, command: None, ..top },
            Some(_) => Self {
                span: top.span,
                timeout: top.timeout,
                interval: top.interval,
                successes: top.successes,
                delay: top.delay,
                ..Self::default()
            },
        };
        let mut headers = top.headers;
        match (&mut headers, self.headers) {
            (Some(above), Some(own)) => {
                if let (Some(above), Some(own)) = (&mut above.value, own.value) {
                    above.extend(own);
                }
            }
            (headers, own) => *headers = own.or(headers.take()),
        }
        Self {
            span: self.span,
            instead_of_several: false,
            http: self.http.or(top.http),
            tcp: self.tcp.or(top.tcp),
            command: self.command.or(top.command),
            socket: self.socket.or(top.socket),
            host: self.host.or(top.host),
            status: self.status.or(top.status),
            body: self.body.or(top.body),
            headers,
            timeout: self.timeout.or(top.timeout),
            interval: self.interval.or(top.interval),
            successes: self.successes.or(top.successes),
            delay: self.delay.or(top.delay),
        }
    }

    /// The kind of question this table chooses, when it lies over `top`: a `socket` alone only says through
    /// what the page above is asked for.
    fn kind_over(&self, top: &Self) -> Option<Ask> {
        self.kind().filter(|kind| *kind != Ask::Socket || top.kind() != Some(Ask::Http))
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
