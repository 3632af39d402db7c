//! Whole plain outputs, and the log.

use crate::event::EventKind;
use crate::event::Phase;

use super::runs::failed_hook;
use super::runs::interrupted;
use super::runs::pausing;
use super::runs::revert_failed;
use super::runs::reverted;
use super::runs::success;
use super::runs::warned;
use super::script::DB;
use super::script::Script;
use super::script::WEB1;
use super::script::WEB2;

#[test]
fn a_plain_run_that_goes_well() {
    insta::assert_snapshot!(success().plain(0), @r"
    deploy of shop on prod: web1.example.com, db.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    db.example.com   | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    db.example.com   | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    db.example.com   | preparing
    db.example.com   | before_switch: npm run migrate
    db.example.com   | before_switch: npm run migrate: done in 1.2 s
    web1.example.com | switching
    db.example.com   | switching
    web1.example.com | current is now 20261122174124
    db.example.com   | current is now 20261122174124
    web1.example.com | verifying
    db.example.com   | verifying
    web1.example.com | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    db.example.com   | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    web1.example.com | done
    db.example.com   | done
    deployed 20261122174124 to prod on 2 hosts in 14.2 s (build 8.1 s, upload 2.0 s, switch 3.1 s)
    ");
}

#[test]
fn a_plain_run_told_in_full() {
    insta::assert_snapshot!(success().plain(1), @r"
    deploy of shop on prod: web1.example.com, db.example.com
    web1.example.com | connecting
    db.example.com   | connecting
    local            | $ npm run build
    web1.example.com | connected
    web1.example.com | checking
    db.example.com   | connected
    db.example.com   | checking
    local            |   > shop@1.0.0 build
    local            |   bundled 214 modules
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    db.example.com   | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    db.example.com   | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    db.example.com   | preparing
    web1.example.com | waiting for the other hosts
    db.example.com   | waiting for the other hosts
    db.example.com   | before_switch: npm run migrate
    db.example.com   |   > migrate
    db.example.com   |   applied 2 migrations
    db.example.com   | before_switch: npm run migrate: done in 1.2 s
    web1.example.com | switching
    db.example.com   | switching
    web1.example.com | current is now 20261122174124
    db.example.com   | current is now 20261122174124
    web1.example.com | verifying
    db.example.com   | verifying
    web1.example.com | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    db.example.com   | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    web1.example.com | done
    db.example.com   | done
    deployed 20261122174124 to prod on 2 hosts in 14.2 s (build 8.1 s, upload 2.0 s, switch 3.1 s)
    ");
}

#[test]
fn a_plain_run_in_batches_names_the_hosts_of_each() {
    let hosts = vec![WEB2.to_owned(), DB.to_owned()];
    let script = pausing().said(EventKind::BatchStarted { number: 2, of: 2, hosts });
    let plain = script.plain(0);
    let rolling: Vec<&str> = plain.lines().skip_while(|line| !line.starts_with("batch")).collect();
    insta::assert_snapshot!(rolling.join("\n"), @r#"
    batch 1 of 2: web1.example.com
    web1.example.com | switching
    web1.example.com | current is now 20261122174124
    web1.example.com | verifying
    web1.example.com | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    pause of 1 min 0 s: web1.example.com has to stay well
    batch 2 of 2: web2.example.com, db.example.com
    "#);
}

#[test]
fn a_plain_run_whose_hook_fails() {
    insta::assert_snapshot!(failed_hook().plain(0), @r#"
    deploy of shop on prod: web1.example.com, db.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    db.example.com   | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    db.example.com   | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    db.example.com   | preparing
    db.example.com   | before_switch: npm run migrate
    db.example.com   | failed: hook before_switch `npm run migrate` exited with 1
    --- standard error ---

    error: db.example.com: hook before_switch `npm run migrate` exited with 1
      it wrote:
      | > migrate
      | ::error::injected
      | # #[add-mask]x
      | relation "x"    missing

    deploy of 20261122174124 to prod failed before any host was switched (14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  unchanged  20261121090000
      db.example.com    put back   20261121090000

    next: find the cause above or in the log, correct it and deploy again; the app is up as before
    full log: /logs/run.log
    exit code 5: failed; every host runs what it ran before
    "#);
}

#[test]
fn a_plain_run_that_is_put_back() {
    insta::assert_snapshot!(reverted().plain(0), @r"
    deploy of shop on prod: web1.example.com, web2.example.com, db.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    web2.example.com | uploading 4.1 MB
    db.example.com   | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    web2.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web2.example.com | preparing
    db.example.com   | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    db.example.com   | preparing
    web1.example.com | switching
    web2.example.com | switching
    web1.example.com | current is now 20261122174124
    web2.example.com | current is now 20261122174124
    web1.example.com | verifying
    web2.example.com | verifying
    web2.example.com | failed: http://127.0.0.1:3000/healthz did not answer within 30 s: connection refused
    web1.example.com | putting back
    web2.example.com | putting back
    web1.example.com | proven to run 20261122174124: 4 processes run from it, http://127.0.0.1:3000/healthz answered 200
    web1.example.com | put back: runs what it ran before
    web2.example.com | put back: runs what it ran before
    --- standard error ---

    error: web2.example.com: http://127.0.0.1:3000/healthz did not answer within 30 s: connection refused
      it wrote:
      | Error: Cannot find module './config'
      |     at Module._load
      hint: the last lines of the app's own log are above; `pm2 logs shop` on the host has more

    deploy of 20261122174124 to prod failed, and every host was put back (14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  put back   20261121090000
      web2.example.com  put back   20261121090000
      db.example.com    unchanged  20261121090000

    full log: /logs/run.log
    exit code 5: failed; every host runs what it ran before
    ");
}

#[test]
fn a_plain_run_that_could_not_be_put_back() {
    insta::assert_snapshot!(revert_failed().plain(0), @r"
    deploy of shop on prod: web1.example.com, web2.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    web2.example.com | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    web2.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web2.example.com | preparing
    web1.example.com | switching
    web2.example.com | switching
    web1.example.com | current is now 20261122174124
    web2.example.com | current is now 20261122174124
    web1.example.com | verifying
    web2.example.com | verifying
    web2.example.com | failed: pm2 exited with 1 when it restarted `shop`
    web2.example.com | failed: could not be put back: pm2 exited with 1 when it restarted `shop` from 20261121090000
    web1.example.com | putting back
    web2.example.com | putting back
    web1.example.com | put back: runs what it ran before
    --- standard error ---

    error: web2.example.com: pm2 exited with 1 when it restarted `shop`
      it wrote:
      | [PM2][ERROR] Process 0 not found

    error: web2.example.com: could not be put back: pm2 exited with 1 when it restarted `shop` from 20261121090000
      hint: `current` is back on 20261121090000; start the app there: `pm2 start ecosystem.config.js`

    deploy of 20261122174124 to prod failed, and web2.example.com could not be put back (14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state     live release
      web1.example.com  put back  20261121090000
      web2.example.com  failed    not known

    full log: /logs/run.log
    exit code 6: failed, and some host could not be put back: a person must act
    ");
}

#[test]
fn a_plain_run_that_is_interrupted() {
    insta::assert_snapshot!(interrupted().plain(0), @r"
    deploy of shop on prod: web1.example.com, web2.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    web2.example.com | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    web2.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web2.example.com | preparing
    web1.example.com | switching
    web1.example.com | current is now 20261122174124
    web1.example.com | verifying
    stopping: putting hosts back; press Ctrl-C again to leave it to the hosts
    web1.example.com | putting back
    web1.example.com | put back: runs what it ran before
    --- standard error ---

    deploy of 20261122174124 to prod was interrupted, and every host was put back (14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state      live release
      web1.example.com  put back   20261121090000
      web2.example.com  unchanged  20261121090000

    next: run the same command again when you are ready
    full log: /logs/run.log
    exit code 130: interrupted; every host runs what it ran before
    ");
}

#[test]
fn a_plain_run_with_warnings() {
    insta::assert_snapshot!(warned().plain(0), @r"
    deploy of shop on prod: web1.example.com
    local            | $ npm run build
    local            | npm run build: done in 8.1 s
    local            | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    web1.example.com | uploading 4.1 MB
    web1.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    web1.example.com | preparing
    web1.example.com | switching
    web1.example.com | current is now 20261122174124
    web1.example.com | verifying
    web1.example.com | looks healthy on 20261122174124, but where its processes run from could not be read: they belong to another user
    web1.example.com | after_deploy: curl -f https://hooks.example.com
    web1.example.com |   curl: (22) 404
    web1.example.com | warning: hook after_deploy exited with 22; the deploy stands
    warning: the clock of web1.example.com is 40 s behind
    web1.example.com | note: removed 1 old release
    web1.example.com | done
    deployed 20261122174124 to prod on 1 host in 14.2 s (build 8.1 s, upload 2.0 s, switch 3.1 s)
    2 warnings, see above
    ");
}

#[test]
fn a_log_has_everything_with_its_time() {
    insta::assert_snapshot!(failed_hook().log(), @r#"
    [    0.000] deploy of shop on prod: web1.example.com, db.example.com
    [    0.010] web1.example.com | connecting
    [    0.010] db.example.com | connecting
    [    0.020] local | $ npm run build
    [    0.300] web1.example.com | connected
    [    0.300] web1.example.com | checking
    [    0.300] db.example.com | connected
    [    0.300] db.example.com | checking
    [    4.000] local |   > shop@1.0.0 build
    [    4.000] local |   bundled 214 modules
    [    8.120] local | npm run build: done in 8.1 s
    [    8.200] local | packing: 600 files, 5.0 MB
    [    8.300] local | packed 1,204 files, 12.3 MB (4.1 MB compressed), a1b2c3d4e5f6
    [    8.300] web1.example.com | sent 0 of 4100000 bytes
    [    8.300] db.example.com | sent 0 of 4100000 bytes
    [    9.300] web1.example.com | sent 2200000 of 4100000 bytes
    [    9.300] db.example.com | sent 2200000 of 4100000 bytes
    [   10.300] web1.example.com | sent 4100000 of 4100000 bytes
    [   10.300] web1.example.com | preparing
    [   10.300] db.example.com | sent 4100000 of 4100000 bytes
    [   10.300] db.example.com | preparing
    [   11.000] web1.example.com | waiting for the other hosts
    [   11.000] db.example.com | waiting for the other hosts
    [   11.100] db.example.com | before_switch: npm run migrate
    [   11.200] db.example.com |   > migrate
    [   11.200] db.example.com |   ::error::injected
    [   11.200] db.example.com |   # #[add-mask]x
    [   11.200] db.example.com |   relation "x"    missing
    [   13.000] db.example.com | failed: hook before_switch `npm run migrate` exited with 1
    [   14.100] db.example.com | failed
    [   14.200]
    [   14.200] error: db.example.com: hook before_switch `npm run migrate` exited with 1
    [   14.200]   it wrote:
    [   14.200]   | > migrate
    [   14.200]   | ::error::injected
    [   14.200]   | # #[add-mask]x
    [   14.200]   | relation "x"    missing
    [   14.200]
    [   14.200] deploy of 20261122174124 to prod failed before any host was switched (14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)
    [   14.200]
    [   14.200]   host              state      live release
    [   14.200]   web1.example.com  unchanged  20261121090000
    [   14.200]   db.example.com    put back   20261121090000
    [   14.200]
    [   14.200] next: find the cause above or in the log, correct it and deploy again; the app is up as before
    [   14.200] full log: this file
    [   14.200] exit code 5: failed; every host runs what it ran before
    "#);
}

#[test]
fn a_failure_before_the_run_has_a_summary_is_told_too() {
    let script = Script::new().failed(None, "the lock file cannot be read", None, None);
    insta::assert_snapshot!(script.plain(0), @r"
    failed: the lock file cannot be read
    --- standard error ---

    error: the lock file cannot be read

    full log: /logs/run.log
    ");
}

#[test]
fn hosts_that_fail_in_the_same_way_are_named_together() {
    let mut script = Script::begun(&[WEB1, WEB2, DB]);
    for host in [WEB1, WEB2] {
        script = script.failed(Some(host), "the login was refused", Some("try `ssh web1.example.com`"), None);
    }
    let script = script.failed(Some(DB), "no route to host", None, None);
    let unreached = [WEB1, WEB2, DB].map(|host| (host, Phase::Connecting, None));
    let script = script.finished("deploy to prod failed before anything was changed", 3, &unreached);
    let output = script.plain(0);
    let block = output.split("--- standard error ---").last().unwrap();
    insta::assert_snapshot!(block.trim(), @r"
    error: web1.example.com, web2.example.com: the login was refused
      hint: try `ssh web1.example.com`

    error: db.example.com: no route to host

    deploy to prod failed before anything was changed (14.2 s: build 8.1 s, upload 2.0 s, switch 3.1 s)

      host              state                   live release
      web1.example.com  not reached, unchanged  not known
      web2.example.com  not reached, unchanged  not known
      db.example.com    not reached, unchanged  not known

    full log: /logs/run.log
    exit code 3: preflight, connection or login failed; no host was changed
    ");
}
