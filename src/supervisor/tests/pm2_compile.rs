//! What an ecosystem file is compiled to. Needs node, and PM2 only as a name on PATH.

use std::fs;

use serde_json::Value;

use super::Answer;
use super::Host;
use super::Shell;
use super::environment;
use super::has;
use crate::config::Environment;
use crate::config::Instances;
use crate::config::Pm2;
use crate::config::Pm2App;
use crate::config::Supervisor;

fn ecosystem(file: &str) -> Environment {
    environment(Supervisor::Pm2(Pm2::Ecosystem(file.to_owned())))
}

/// A host with a `pm2` that only has a name; nothing here may call it.
fn host() -> Option<Host> {
    if !has("node") || !has("dash") {
        return None;
    }
    let mut host = Host::new(Shell::Dash);
    host.write_program("bin/pm2", "#!/bin/sh\necho called >&2; exit 70\n");
    let path = format!("{}:{}", host.dir.path().join("bin").display(), host.env["PATH"]);
    host.env.insert("PATH".to_owned(), path);
    Some(host)
}

fn compile(host: &Host, env: &Environment, files: &[(&str, &str)]) -> Answer {
    let _ = fs::remove_dir_all(host.release("1"));
    let _ = fs::remove_dir_all(host.recipe("1"));
    host.prepare("1", files, env);
    host.call("1", "app_compile")
}

/// The compiled apps, with the tree's place as ROOT and without what differs from host to host.
fn apps(host: &Host) -> Vec<Value> {
    let text = fs::read_to_string(host.recipe("1").join("pm2.json")).unwrap();
    let text = text.replace(&host.root().display().to_string(), "ROOT");
    let mut value: Value = serde_json::from_str(&text).unwrap();
    let apps = value["apps"].as_array_mut().unwrap();
    for app in apps.iter_mut() {
        let env = app["env"].as_object_mut().unwrap();
        assert!(env.remove("PATH").is_some() && env.remove("RDEPLOY_PM2").is_some());
    }
    std::mem::take(apps)
}

const APP: &str = "{ name: 'web', script: 'server.js' }";

#[test]
fn every_form_of_the_file_that_pm2_takes_is_read() {
    let Some(host) = host() else { return };
    let object = format!("{{ apps: [{APP}] }}");
    let cases = [
        ("ecosystem.config.js", format!("module.exports = {object}")),
        ("ecosystem.config.cjs", format!("console.log('chatty'); module.exports = {object}")),
        ("ecosystem.config.mjs", format!("export const apps = [{APP}]")),
        ("ecosystem.config.mjs", format!("export default {object}")),
        ("ecosystem.json", r#"{ "apps": [{ "name": "web", "script": "server.js" }] }"#.to_owned()),
        ("process.json", format!("// a literal, not JSON\n{object}")),
        ("ecosystem.config.js", format!("module.exports = [{APP}]")),
        ("ecosystem.config.js", format!("module.exports = {APP}")),
        ("ecosystem.config.js", format!("module.exports = {{ pm2: [{APP}] }}")),
        ("deploy/pm2.config.js", format!("setInterval(() => {{}}, 1000); module.exports = {object}")),
    ];
    for (file, text) in cases {
        compile(&host, &ecosystem(file), &[(file, &text), ("server.js", "")]).assert_ok();
        let apps = apps(&host);
        assert_eq!(apps.len(), 1, "{text}");
        assert_eq!(apps[0]["script"], "ROOT/current/server.js", "{text}");
        assert_eq!(apps[0]["cwd"], "ROOT/current");
        assert_eq!(fs::read_to_string(host.recipe("1").join("pm2-names")).unwrap(), "web\n");
    }
}

#[test]
fn yaml_is_read_with_the_reader_that_comes_with_pm2() {
    let Some(host) = host() else { return };
    let text = "apps:\n  - name: web\n    script: server.js\n    instances: 2\n    exec_mode: cluster\n";
    let answer = compile(&host, &ecosystem("eco.yml"), &[("eco.yml", text), ("server.js", "")]);
    assert!(answer.failure().contains("no reader for eco.yml was found beside PM2"), "{answer:?}");
    let reader =
        "exports.load = (text) => ({ apps: [{ name: 'web', script: 'server.js', note: text.length }] });";
    host.write("lib/node_modules/pm2/node_modules/js-yaml/index.js", reader);
    fs::create_dir_all(host.dir.path().join("lib/node_modules/pm2/bin")).unwrap();
    fs::rename(host.dir.path().join("bin/pm2"), host.dir.path().join("lib/node_modules/pm2/bin/pm2"))
        .unwrap();
    std::os::unix::fs::symlink("../lib/node_modules/pm2/bin/pm2", host.dir.path().join("bin/pm2")).unwrap();
    compile(&host, &ecosystem("eco.yml"), &[("eco.yml", text), ("server.js", "")]).assert_ok();
    assert_eq!(apps(&host)[0]["note"], text.len());
}

#[test]
fn paths_into_a_release_become_paths_through_current_everywhere() {
    let Some(host) = host() else { return };
    let text = "
        const path = require('path');
        const old = path.join(__dirname, '..', '20200101000000');
        module.exports = { apps: [{
            name: 'web',
            cwd: __dirname + '/api',
            script: path.join(__dirname, 'api', 'main.js'),
            args: ['--config=' + __dirname + '/config.json', process.cwd()],
            interpreter: process.cwd() + '/tool/node',
            out_file: 'log/out.log',
            errorFile: old + '/log/err.log',
            watch: false,
            env: {
                CONFIG: 'file://' + __dirname + '/a:' + __dirname + '/b',
                ELSEWHERE: '/other' + __dirname,
                DOLLAR: '$& ' + __dirname + ' $1',
            },
        }] };";
    let files = [("ecosystem.config.js", text), ("api/main.js", ""), ("tool/node", "")];
    compile(&host, &ecosystem("ecosystem.config.js"), &files).assert_ok();
    let text = serde_json::to_string_pretty(&apps(&host)).unwrap();
    insta::assert_snapshot!(text, @r#"
    [
      {
        "args": [
          "--config=ROOT/current/config.json",
          "ROOT/current"
        ],
        "cwd": "ROOT/current/api",
        "env": {
          "CONFIG": "file://ROOT/current/a:ROOT/current/b",
          "DOLLAR": "$& ROOT/current $1",
          "ELSEWHERE": "/otherROOT/releases/1"
        },
        "error_file": "ROOT/current/log/err.log",
        "exec_interpreter": "ROOT/current/tool/node",
        "exec_mode": "fork_mode",
        "instances": 1,
        "name": "web",
        "out_file": "log/out.log",
        "script": "ROOT/current/api/main.js",
        "watch": false
      }
    ]
    "#);
}

#[test]
fn what_pm2_would_assume_is_written_down() {
    let Some(host) = host() else { return };
    let cases = [
        ("script: 'server.js'", "fork_mode", 1),
        ("script: 'server.js', instances: 1", "cluster_mode", 1),
        ("script: 'server.js', instances: '3', exec_mode: 'fork'", "fork_mode", 3),
        ("script: 'server.js', instances: 'max'", "cluster_mode", 0),
        ("exec: 'server.js', instances: -1, execMode: 'cluster'", "cluster_mode", -1),
    ];
    for (settings, mode, instances) in cases {
        let text = format!("module.exports = [{{ name: 'web', {settings} }}]");
        compile(&host, &ecosystem("e.config.js"), &[("e.config.js", &text), ("server.js", "")]).assert_ok();
        let app = &apps(&host)[0];
        assert_eq!(
            (app["exec_mode"].as_str(), app["instances"].as_i64()),
            (Some(mode), Some(instances)),
            "{settings}"
        );
    }
}

#[test]
fn names_are_made_as_pm2_makes_them() {
    let Some(host) = host() else { return };
    let mut env = ecosystem("e.config.js");
    env.name = "stage".to_owned();
    for (settings, name) in [
        ("script: 'api.server.js'", "api.server"),
        ("name: 'web', script: 'api.server.js', append_env_to_name: true", "web-stage"),
        ("name: 'web', script: 'api.server.js', namePrefix: 'shop'", "shop:web"),
    ] {
        let text = format!("module.exports = {{ {settings} }}");
        compile(&host, &env, &[("e.config.js", &text), ("api.server.js", "")]).assert_ok();
        assert_eq!(apps(&host)[0]["name"], name);
    }
}

#[test]
fn a_bad_file_is_refused_before_the_switch_with_a_sentence() {
    let Some(host) = host() else { return };
    let app =
        |settings: &str| format!("module.exports = [{{ name: 'web', script: 'server.js', {settings} }}]");
    let cases = [
        ("throw new Error('boom')".to_owned(), "evaluating e.config.js failed: boom"),
        ("process.exit(0)".to_owned(), "ended node"),
        ("module.exports = { apps: [] }".to_owned(), "has no apps"),
        ("module.exports = () => ({})".to_owned(), "exports a function"),
        ("module.exports = [{ name: 'web' }]".to_owned(), "app web has no script"),
        (
            "module.exports = [{ script: 'missing.js' }]".to_owned(),
            "the script of app missing is not in the release: ",
        ),
        (app("cwd: 'nowhere'"), "the working directory of app web is not in the release"),
        (app("env: { name: 'x' }"), "the variable name of app web"),
        (app("env: { pm_cwd: '/' }"), "the variable pm_cwd of app web"),
        (app("env_prod: { status: 'x' }"), "the variable status of app web"),
        (app("env: 'A=1'"), "env of app web is not an object"),
        (app("instances: 'many'"), "neither a number nor \"max\""),
        ("module.exports = [{ name: 'all', script: 'server.js' }]".to_owned(), "cannot be named `all`"),
        ("module.exports = [{ name: 12, script: 'server.js' }]".to_owned(), "cannot be named `12`"),
        (
            "const a = { name: 'web', script: 'server.js' }; module.exports = [a, a]".to_owned(),
            "two apps are named web",
        ),
        (
            "module.exports = { apps: [{ script: 'server.js' }], static: [{}] }".to_owned(),
            "`static` in e.config.js",
        ),
    ];
    for (text, expected) in cases {
        let answer = compile(&host, &ecosystem("e.config.js"), &[("e.config.js", &text), ("server.js", "")]);
        assert!(answer.failure().contains(expected), "{text}: {answer:?}");
        assert!(!host.recipe("1").join("pm2.json").exists(), "{text}");
    }
    let answer = compile(&host, &ecosystem("gone.config.js"), &[]);
    assert!(answer.failure().contains("the release has no gone.config.js"), "{answer:?}");
}

#[test]
fn a_file_that_type_module_makes_an_es_module_is_refused_with_its_new_name() {
    let Some(host) = host() else { return };
    let text = format!("module.exports = {{ apps: [{APP}] }}");
    let package = ("package.json", r#"{ "type": "module" }"#);
    let answer =
        compile(&host, &ecosystem("eco.config.js"), &[("eco.config.js", &text), package, ("server.js", "")]);
    assert!(answer.failure().contains("Rename it to eco.config.cjs"), "{answer:?}");
    compile(&host, &ecosystem("eco.config.cjs"), &[("eco.config.cjs", &text), package, ("server.js", "")])
        .assert_ok();
    // The recipe's own programs do not care what a package.json above them says.
    host.write("package.json", r#"{ "type": "module" }"#);
    compile(&host, &ecosystem("eco.config.cjs"), &[("eco.config.cjs", &text), ("server.js", "")]).assert_ok();
}

#[test]
fn the_file_sees_the_variables_and_node_options_stay_with_the_app() {
    let Some(host) = host() else { return };
    let mut env = ecosystem("e.config.js");
    env.vars.insert("REGION".to_owned(), "eu".to_owned());
    env.vars.insert("RELEASE".to_owned(), "the user's".to_owned());
    env.vars.insert("NODE_OPTIONS".to_owned(), "--require ./tracing.js".to_owned());
    let text = "module.exports = [{ name: 'web-' + process.env.REGION, script: 'server.js', env: { N: 1, O: { a: 1 }, U: undefined } }]";
    compile(&host, &env, &[("e.config.js", text), ("server.js", "")]).assert_ok();
    let app = &apps(&host)[0];
    assert_eq!(app["name"], "web-eu");
    let expected = r#"{"N":"1","NODE_OPTIONS":"--require ./tracing.js","O":"{\"a\":1}","REGION":"eu","RELEASE":"the user's"}"#;
    assert_eq!(app["env"].to_string(), expected);
}

#[test]
fn apps_of_deploy_toml_are_compiled_like_those_of_a_file_and_their_variables_win() {
    let Some(host) = host() else { return };
    let app = Pm2App {
        name: "web".to_owned(),
        script: "main.js".to_owned(),
        cwd: Some("api".to_owned()),
        args: vec!["a b".to_owned()],
        instances: Some(Instances::Count(2)),
        cluster: true,
        env: [("PORT".to_owned(), "3001".to_owned())].into(),
    };
    let mut env = environment(Supervisor::Pm2(Pm2::Apps(vec![app])));
    env.vars.insert("PORT".to_owned(), "3000".to_owned());
    env.vars.insert("REGION".to_owned(), "eu".to_owned());
    compile(&host, &env, &[("api/main.js", "")]).assert_ok();
    let text = serde_json::to_string_pretty(&apps(&host)).unwrap();
    insta::assert_snapshot!(text, @r#"
    [
      {
        "args": [
          "a b"
        ],
        "cwd": "ROOT/current/api",
        "env": {
          "PORT": "3001",
          "REGION": "eu"
        },
        "exec_mode": "cluster_mode",
        "instances": 2,
        "name": "web",
        "script": "ROOT/current/api/main.js"
      }
    ]
    "#);
}

#[test]
fn a_bare_command_is_looked_up_on_the_path_and_left_as_it_is() {
    let Some(host) = host() else { return };
    for (script, expected) in
        [("env", Some("env")), ("env -i true", Some("env -i true")), ("no-such-program", None)]
    {
        let text = format!("module.exports = [{{ name: 'web', script: '{script}' }}]");
        let answer = compile(&host, &ecosystem("e.config.js"), &[("e.config.js", &text)]);
        match expected {
            Some(expected) => {
                answer.assert_ok();
                assert_eq!(apps(&host)[0]["script"], expected);
            }
            None => assert!(answer.failure().contains("is not in the release"), "{answer:?}"),
        }
    }
}
