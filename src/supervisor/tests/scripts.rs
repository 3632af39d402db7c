//! What holds for the shell files as such, and for the recipe's files.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;

use super::Host;
use super::environment;
use super::has;
use super::shells;
use super::which;
use crate::config::CommandSupervisor;
use crate::config::Header;
use crate::config::Health;
use crate::config::HttpProbe;
use crate::config::Instances;
use crate::config::Pm2;
use crate::config::Pm2App;
use crate::config::Probe;
use crate::config::Scope;
use crate::config::Service;
use crate::config::Statuses;
use crate::config::Supervisor;
use crate::config::Supervisord;
use crate::config::Systemd;
use crate::supervisor::recipe_files;

/// The recipe as text, without the programs in it.
fn rendered(files: &[crate::supervisor::RecipeFile]) -> String {
    let mut out = String::new();
    for file in files.iter().filter(|file| !file.name.ends_with(".cjs")) {
        let secret = if file.secret { " (secret)" } else { "" };
        out += &format!("== {}{secret}\n{}", file.name, String::from_utf8_lossy(&file.contents));
    }
    out
}

#[test]
fn a_recipe_for_pm2_holds_everything_that_a_later_start_needs() {
    let app = Pm2App {
        name: "web".to_owned(),
        script: "dist/server.js".to_owned(),
        cwd: None,
        args: vec!["--port".to_owned(), "3000".to_owned()],
        instances: Some(Instances::Max),
        cluster: true,
        env: [("PORT", "3000"), ("TZ", "UTC")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    };
    let mut env = environment(Supervisor::Pm2(Pm2::Apps(vec![app])));
    env.vars = [("NODE_ENV", "production"), ("KEY", "it's\na secret")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    env.path = vec!["/opt/node/bin".to_owned()];
    env.settle = Duration::from_millis(2500);
    let probe = Probe::Http(HttpProbe::at("http://127.0.0.1:3000/healthz".to_owned()));
    env.health = vec![Health { interval: Duration::from_millis(500), ..Health::of(probe) }];
    let host_vars = [("PORT".to_owned(), "40001".to_owned())].into();
    let files = recipe_files(&env, &host_vars);
    assert!(
        files.iter().any(|file| file.name == "pm2.cjs")
            && files.iter().any(|file| file.name == "pm2-compile.cjs")
    );
    insta::assert_snapshot!(rendered(&files), @r#"
    == version
    1
    == app
    shop
    == environment
    prod
    == settle
    3
    == path
    /opt/node/bin
    == env-names
    KEY
    NODE_ENV
    PORT
    == env.sh (secret)
    export KEY='it'\''s
    a secret'
    export NODE_ENV=production
    export PORT=40001
    == kind
    pm2
    == pm2-apps.json (secret)
    {
      "apps": [
        {
          "args": [
            "--port",
            "3000"
          ],
          "env": {
            "PORT": "40001",
            "TZ": "UTC"
          },
          "exec_mode": "cluster",
          "instances": "max",
          "name": "web",
          "script": "dist/server.js"
        }
      ]
    }
    == health
    kind=http
    url=http://127.0.0.1:3000/healthz
    timeout=30
    interval=1
    "#);
}

#[test]
fn a_recipe_for_commands_holds_each_in_a_file_of_its_own() {
    let mut env = environment(Supervisor::Command(CommandSupervisor {
        start: "nohup ./server &\necho $! > pid".to_owned(),
        restart: None,
        stop: Some("kill $(cat pid)".to_owned()),
        status: None,
        logs: vec![],
    }));
    let (timeout, interval) = (Duration::from_secs(10), Duration::from_secs(2));
    env.health = vec![Health { timeout, interval, ..Health::of(Probe::Command("bin/check".to_owned())) }];
    insta::assert_snapshot!(rendered(&recipe_files(&env, &BTreeMap::new())), @r#"
    == version
    1
    == app
    shop
    == environment
    prod
    == settle
    1
    == path
    == env-names
    == env.sh (secret)
    == kind
    command
    == start
    nohup ./server &
    echo $! > pid
    == stop
    kill $(cat pid)
    == health-command
    bin/check
    == health
    kind=command
    timeout=10
    interval=2
    "#);
}

#[test]
fn several_checks_have_a_file_each_and_what_is_long_or_secret_one_of_its_own() {
    let mut env = environment(Supervisor::None);
    let url = "http://127.0.0.1:3000/healthz".to_owned();
    let (name, value) = ("Authorization".to_owned(), "Bearer s3cret".to_owned());
    let page = HttpProbe {
        host: Some("shop.example.com".to_owned()),
        socket: Some("current/tmp/app.sock".to_owned()),
        status: vec![Statuses { from: 200, to: 299 }, Statuses { from: 404, to: 404 }],
        body: Some("\"ok\": true".to_owned()),
        headers: vec![Header { name, value }],
        ..HttpProbe::at(url)
    };
    let (successes, delay) = (3, Duration::from_millis(1500));
    env.health = vec![
        Health::of(Probe::Tcp { host: "::1".to_owned(), port: 5432 }),
        Health { successes, delay, ..Health::of(Probe::Http(page)) },
        Health::of(Probe::Socket("/run/worker.sock".to_owned())),
    ];
    let text = rendered(&recipe_files(&env, &BTreeMap::new()));
    insta::assert_snapshot!(text.split_once("kind\nnone\n").unwrap().1, @r#"
    == health
    kind=tcp
    host=::1
    port=5432
    timeout=30
    interval=1
    == health-body.2
    "ok": true
    == health-headers.2 (secret)
    header = Host: shop.example.com
    header = Authorization: Bearer s3cret
    == health.2
    kind=http
    url=http://127.0.0.1:3000/healthz
    name=shop.example.com
    socket=current/tmp/app.sock
    status=200-299 404
    timeout=30
    interval=1
    successes=3
    delay=2
    == health.3
    kind=socket
    socket=/run/worker.sock
    timeout=30
    interval=1
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_value_of_a_variable_reaches_the_app_unchanged(value in "[^\0]{0,40}") {
        let mut env = environment(Supervisor::None);
        env.vars.insert("VALUE".to_owned(), value.clone());
        for shell in shells() {
            let host = Host::new(shell);
            host.write_recipe("1", &env);
            host.call("1", &format!("printf %s \"$VALUE\" >{}/got", host.dir.path().display())).assert_ok();
            let got = std::fs::read(host.dir.path().join("got")).unwrap();
            prop_assert_eq!(got, value.as_bytes());
        }
    }
}

#[test]
fn variables_named_like_the_agents_own_reach_the_app_and_leave_the_agent_alone() {
    let mut env = environment(Supervisor::None);
    for name in ["ROOT", "RELEASE", "RECIPE", "WORK"] {
        env.vars.insert(name.to_owned(), "the user's".to_owned());
    }
    for shell in shells() {
        let host = Host::new(shell);
        host.write_recipe("1", &env);
        let answer = host
            .call("1", "echo \"$ROOT\"; (app_user_env; echo \"$ROOT/$RELEASE/$RECIPE/$WORK\")")
            .assert_ok();
        let root = host.root().display().to_string();
        assert_eq!(answer.output, format!("{root}\nthe user's/the user's/the user's/the user's"));
    }
}

#[test]
fn a_name_that_no_shell_can_export_does_not_cost_the_other_variables() {
    let mut env = environment(Supervisor::None);
    env.vars =
        [("1ST", "x"), ("A-B", "x"), ("GOOD", "kept")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    for shell in shells() {
        let host = Host::new(shell);
        host.write_recipe("1", &env);
        assert_eq!(host.call("1", "echo \"$GOOD\"").assert_ok().output, "kept");
    }
}

#[test]
fn a_recipe_of_a_newer_version_is_refused_with_a_cure() {
    for shell in shells() {
        let host = Host::new(shell);
        host.prepare("1", &[], &environment(Supervisor::None));
        host.write(host.recipe("1").join("version"), "2\n");
        let answer = host.call("1", "app_start");
        assert!(answer.failure().contains("newer rdeploy"), "{answer:?}");
    }
}

#[test]
fn the_shell_files_only_define_functions() {
    for shell in shells() {
        let host = Host::new(shell);
        let agent = host.dir.path().join("agent/agent.sh");
        let mut command = Command::new(which(shell.program()).unwrap());
        if shell == super::Shell::BusyBox {
            command.arg("ash");
        }
        let script = format!("set -u; before=$(set | wc -l); . {}; echo $?", agent.display());
        let output = command.arg("-c").arg(script).env_clear().output().unwrap();
        assert_eq!(
            (output.stdout.as_slice(), output.stderr.as_slice()),
            (&b"0\n"[..], &b""[..]),
            "{shell:?}"
        );
    }
}

#[test]
fn shellcheck_finds_nothing_in_the_shell_files() {
    if !has("shellcheck") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.sh");
    // Together, because they share variables.
    std::fs::write(&file, crate::supervisor::files().collect::<String>()).unwrap();
    let output = Command::new("shellcheck").args(["-s", "sh"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_site_without_processes_is_proven_by_its_link() {
    for shell in shells() {
        let host = Host::new(shell);
        let env = environment(Supervisor::None);
        host.prepare("1", &[], &env);
        host.prepare("2", &[], &env);
        host.switch("1");
        host.call("1", "app_compile && app_record && app_start").assert_ok();
        assert!(host.call("1", "app_verify").assert_ok().says("proof proven"));
        let wrong = host.call("2", "app_verify");
        assert!(wrong.failure().contains("does not lead to"), "{wrong:?}");
    }
}

#[test]
fn a_recipe_for_systemd_holds_its_units_and_the_variables_as_systemd_reads_them() {
    let units = vec!["shop.service".to_owned(), "worker@1.service".to_owned()];
    let service = Service { exec: "bin/server --motto \"100% $HOME\"".to_owned(), notifies: true };
    let mut env =
        environment(Supervisor::Systemd(Systemd { units, scope: Scope::System, service: Some(service) }));
    env.vars = BTreeMap::from([
        ("MOTTO".to_owned(), "say \"hi\" to $HOME, `id` and \\".to_owned()),
        ("LINES".to_owned(), "one\ntwo".to_owned()),
    ]);
    let files = recipe_files(&env, &BTreeMap::new());
    let own = files.into_iter().filter(|file| file.name.starts_with("systemd") || file.name == "kind");
    insta::assert_snapshot!(rendered(&own.collect::<Vec<_>>()), @r#"
    == kind
    systemd
    == systemd-units
    shop.service
    worker@1.service
    == systemd-scope
    system
    == systemd-env (secret)
    LINES="one
    two"
    MOTTO="say \"hi\" to \$HOME, \`id\` and \\"
    == systemd-unit
    # Written by rdeploy from deploy.toml. `rdeploy prod setup` writes it again; without this line it does not.
    [Unit]
    Description=shop (prod)
    StartLimitIntervalSec=60
    StartLimitBurst=10

    [Service]
    Type=notify
    User=@USER@
    PrivateTmp=yes
    ProtectSystem=full
    WorkingDirectory=/srv/shop/current
    EnvironmentFile=-/srv/shop/.rdeploy/env
    ExecStart=/bin/sh -c "exec bin/server --motto \"100%% $$HOME\""
    Restart=on-failure
    RestartSec=1
    KillMode=mixed
    TimeoutStopSec=30
    NoNewPrivileges=yes

    [Install]
    WantedBy=multi-user.target
    "#);
}

#[test]
fn a_recipe_for_supervisord_holds_its_programs_and_where_its_configuration_is() {
    let mut env = environment(Supervisor::Supervisord(Supervisord {
        programs: ["shop", "site:*"].map(str::to_owned).into(),
        config: Some("/etc/s.conf".to_owned()),
        exec: None,
    }));
    env.vars.insert("MOTTO".to_owned(), "it's %h".to_owned());
    let files = recipe_files(&env, &BTreeMap::new());
    let own = ["kind", "supervisord-programs", "supervisord-config", "env.sh"];
    let own = files.into_iter().filter(|file| own.contains(&file.name.as_str()));
    insta::assert_snapshot!(rendered(&own.collect::<Vec<_>>()), @r"
    == env.sh (secret)
    export MOTTO='it'\''s %h'
    == kind
    supervisord
    == supervisord-programs
    shop
    site:*
    == supervisord-config
    /etc/s.conf
    ");
}

#[test]
fn a_program_that_supervisord_is_given_survives_its_way_of_reading() {
    let env = environment(Supervisor::Supervisord(Supervisord {
        programs: vec!["shop".to_owned()],
        config: None,
        exec: Some("node -e 'a #b' 100% ;c#d".to_owned()),
    }));
    let files = recipe_files(&env, &BTreeMap::new());
    let own = files.into_iter().filter(|file| file.name == "supervisord-program");
    insta::assert_snapshot!(rendered(&own.collect::<Vec<_>>()), @r"
    == supervisord-program
    # Written by rdeploy from deploy.toml. `rdeploy prod setup` writes it again; without this line it does not.
    [program:shop]
    directory=/srv/shop/current
    command=/bin/sh -c '. /srv/shop/.rdeploy/env.sh; exec node -e '\''a ''#b'\'' 100%% '';c#d'
    user=@USER@
    autostart=true
    autorestart=true
    startsecs=1
    stopasgroup=true
    killasgroup=true
    ");
}
