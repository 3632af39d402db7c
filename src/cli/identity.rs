//! Owns who acts: the names that go into a host's lock and history.

use data_encoding::HEXLOWER;

/// Who deploys, from where, and for which CI job; and the name of this attempt, the same on every host,
/// so that what is left of it on one can be told to belong to what is left on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// `user@machine`, or the CI system's actor.
    pub(super) who: String,
    /// The machine's name.
    pub(super) from: String,
    /// The CI job's address, or empty.
    pub(super) ci_url: String,
    /// Names the attempt. An error where the system gives no random numbers.
    pub(super) token: Result<String, getrandom::Error>,
}

impl Identity {
    /// Reads it from the environment, with control characters taken out: it is stored on hosts.
    pub(super) fn from_env() -> Self {
        Self::read(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(var: &dyn Fn(&str) -> Option<String>) -> Self {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = local_user(var);
        let github = || {
            let server = var("GITHUB_SERVER_URL")?;
            Some(format!("{server}/{}/actions/runs/{}", var("GITHUB_REPOSITORY")?, var("GITHUB_RUN_ID")?))
        };
        let ci_url = github().or_else(|| var("CI_JOB_URL")).or_else(|| var("BUILD_URL")).unwrap_or_default();
        let actor = var("GITHUB_ACTOR").or_else(|| var("GITLAB_USER_LOGIN"));
        let who = if ci_url.is_empty() { None } else { actor };
        let clean = |text: String| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
        Self {
            who: clean(who.unwrap_or_else(|| format!("{user}@{machine}"))),
            from: clean(machine),
            ci_url: clean(ci_url),
            token: token(),
        }
    }
}

/// The local user's name, which is also the login name where none is given.
pub(super) fn local_user(var: &dyn Fn(&str) -> Option<String>) -> String {
    var("USER").or_else(|| var("LOGNAME")).unwrap_or_else(|| {
        let uid = rustix::process::getuid();
        if uid.is_root() { "root".to_owned() } else { format!("uid{}", uid.as_raw()) }
    })
}

/// Returns a name nobody can guess, for one attempt.
fn token() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)?;
    Ok(HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ci_job_is_named_by_its_actor_and_address() {
        let var = |name: &str| {
            let value = match name {
                "GITHUB_SERVER_URL" => "https://github.com",
                "GITHUB_REPOSITORY" => "acme/shop",
                "GITHUB_RUN_ID" => "7",
                "GITHUB_ACTOR" => "ann\u{1b}",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let identity = Identity::read(&var);
        assert_eq!(identity.who, "ann");
        assert_eq!(identity.ci_url, "https://github.com/acme/shop/actions/runs/7");
    }

    #[test]
    fn a_person_is_named_by_user_and_machine() {
        let identity = Identity::read(&|name| (name == "USER").then(|| "bob".to_owned()));
        assert!(identity.who.starts_with("bob@"), "{}", identity.who);
        assert_eq!(identity.ci_url, "");
    }
}
