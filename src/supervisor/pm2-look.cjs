'use strict';
// Owns whether the code that was started under PM2 runs, as its list and /proc tell: the one process that has it
// first, and all of them. Keeps to what node 12 knows.

const fs = require('fs');
const path = require('path');
const { alive, byNames, cwdOf, env, pidOf, readJson, real, unique, wanted, within, writeJson } = require('./pm2-list.cjs');

// So long, in milliseconds, the first process with the new code has to stay up before the others get it.
const STAY = 1500;

// How often a process may end on the way back before the release that is gone back to counts as not running.
const FALLS = 3;

// tried ID WORK STAY AGAIN: how the worker fares that got the new code first: `bad REASON`, `wait`, or, when it has
// stayed up for so many milliseconds, `ok` with its process and those of the others. AGAIN says that it will be
// restarted once more, with the others.
const tried = (id, work, stay, again) => {
    const baseline = readJson(path.join(work, 'baseline'));
    const list = readJson(path.join(work, 'list'));
    const proc = list.find((one) => String(one.pm_id) === id);
    if (!proc) return 'bad the first process with the new code is gone from PM2';
    const name = proc.name + ' (id ' + id + ')';
    const { status, pm_uptime: since, restart_time: restarts } = env(proc);
    fs.writeFileSync(path.join(work, 'judged'), proc.name, { mode: 0o600 });
    const foretold = baseline.counters[id];
    if (status === 'errored' || status === 'stopped' || status === 'waiting restart') return 'bad ' + name + ' is ' + status + ' in PM2';
    if (foretold !== null && restarts > foretold) {
        return 'bad ' + name + ' ended and was restarted by PM2 ' + (restarts - foretold) + ' times since the start';
    }
    // Where the counter could not be foretold, another process under the same id tells as much.
    const first = (baseline.tried = baseline.tried || {});
    if (first[id] && pidOf(proc) !== first[id]) return 'bad ' + name + ' ended and was restarted by PM2';
    if (pidOf(proc)) first[id] = pidOf(proc);
    const up = status === 'online' && Date.now() - since >= stay;
    if (up && again) {
        baseline.counters[id] = foretold === null ? null : restarts + 1;
        baseline.pids.push(pidOf(proc));
    }
    writeJson(path.join(work, 'baseline'), baseline);
    if (!up) return 'wait';
    const others = byNames(list, [proc.name]).filter((one) => one !== proc).map(pidOf).filter(Boolean);
    return ['ok', pidOf(proc)].concat(others).join(' ');
};

class Verdict extends Error {}

// look ROOT RELEASE RECIPE WORK REVERT: `bad REASON`, `wait REASON`, or `ok` with `pid` and `proof` lines.
const look = (...args) => {
    try {
        return judge(...args);
    } catch (error) {
        if (error instanceof Verdict) return error.message;
        throw error;
    }
};

const judge = (root, release, recipe, work, revert) => {
    const { apps } = readJson(path.join(recipe, 'pm2.json'));
    const list = readJson(path.join(work, 'list'));
    const seenFile = path.join(work, 'seen');
    const seen = fs.existsSync(seenFile) ? readJson(seenFile) : {};
    const baselineFile = path.join(work, 'baseline');
    const baseline = fs.existsSync(baselineFile) ? readJson(baselineFile) : null;
    const inRelease = real(release);
    const releases = real(path.join(root, 'releases'));
    const out = [];
    const doubts = [];
    let count = 0;
    const say = (verdict, text) => {
        throw new Verdict(verdict + ' ' + text);
    };
    // A release that was left because its processes die may be restarted by PM2 to the last moment, also under
    // ids that are this one's by then: on the way back a process gets some more chances.
    const fallen = (proc, text) => {
        seen.falls = (seen.falls || 0) + 1;
        if (!revert || seen.falls > FALLS) say('bad', text);
        delete seen[proc.pm_id];
        writeJson(seenFile, seen);
        if (baseline) {
            baseline.counters[proc.pm_id] = null;
            writeJson(baselineFile, baseline);
        }
        return say('wait', text);
    };
    const judge = (app, proc) => {
        const { status, restart_time: restarts, autorestart, autostart, exit_code: code } = env(proc);
        const name = app.name + ' (id ' + proc.pm_id + ')';
        const pid = pidOf(proc);
        if (autostart === false && status === 'stopped') return doubts.push(name + ' is registered but not started');
        // A job that has done its work (autorestart: false) is not a failure.
        if (autorestart === false && status === 'stopped' && code === 0) return doubts.push(name + ' ran to its end');
        let known = seen[proc.pm_id];
        if (!known) {
            const foretold = baseline && proc.pm_id in baseline.counters ? baseline.counters[proc.pm_id] : baseline ? 0 : null;
            known = seen[proc.pm_id] = { restarts: foretold === null ? restarts : foretold, pid: null };
        }
        if (restarts > known.restarts) fallen(proc, name + ' ended and was restarted by PM2 ' + (restarts - known.restarts) + ' times since the start');
        if (status === 'waiting restart') fallen(proc, name + ' is ' + status + ' in PM2');
        if (status === 'errored' || status === 'stopped') say('bad', name + ' is ' + status + ' in PM2');
        if (status !== 'online') return say('wait', name + ' is ' + status);
        if (!pid || !alive(pid)) {
            // How a job ended is known when PM2 has noticed that it did.
            if (autorestart === false) return say('wait', name + ' has ended, and PM2 does not know how yet');
            return fallen(proc, name + ' has ended (process ' + pid + ')');
        }
        if (known.pid && known.pid !== pid) fallen(proc, name + ' ended: process ' + known.pid + ' became ' + pid);
        if (baseline && baseline.pids.includes(pid)) say('bad', name + ' is still the process that ran before (' + pid + ')');
        known.pid = pid;
        count += 1;
        out.push('pid ' + pid);
        const cwd = cwdOf(pid);
        if (cwd === null) doubts.push('process ' + pid + ' of ' + name + ' belongs to another user');
        else if (within(cwd, inRelease)) return undefined;
        else if (within(cwd, releases)) say('bad', name + ' runs from ' + cwd + ' instead of ' + inRelease);
        else doubts.push('process ' + pid + ' of ' + name + ' works in ' + cwd);
        return undefined;
    };
    for (const app of apps) {
        const procs = byNames(list, [app.name]);
        const number = wanted(app.instances);
        fs.writeFileSync(path.join(work, 'judged'), app.name, { mode: 0o600 });
        procs.forEach((proc) => judge(app, proc));
        if (procs.length !== number) say('bad', 'PM2 runs ' + procs.length + ' processes of ' + app.name + ' instead of ' + number);
    }
    writeJson(seenFile, seen);
    const proof = doubts.length ? 'unprovable ' + unique(doubts).join('; ') : 'proven ' + count + (count === 1 ? ' process runs' : ' processes run') + ' from the release';
    return ['ok', 'proof ' + proof].concat(out).join('\n');
};

module.exports = { STAY, look, tried };
