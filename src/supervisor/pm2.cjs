'use strict';
// Owns what PM2's list means: what has to be done so that new code runs, and whether it does. Called
// by pm2.sh with a verb; reads files and /proc, never tells PM2 anything, keeps to what node 12 knows.

const fs = require('fs');
const path = require('path');
const { MARK, byNames, env, isOwn, markOf, pidOf, readJson, readNames, real, unique, wanted, writeJson, writeLines } = require('./pm2-list.cjs');
const { STAY, look, tried } = require('./pm2-look.cjs');
const { defaultLogs, logFiles, sizes } = require('./pm2-logs.cjs');

// What of an app is compared otherwise than by its setting in PM2's list: by `needsReplacing`, `isPinned`, `isCalm`.
const SHAPE = (
    'name script cwd env instances exec_mode exec_interpreter out_file error_file log_file pid_file merge_logs log_type ' +
    'disable_logs log_date_format time watch ignore_watch watch_options watch_delay cron_restart uid gid instance_var ' +
    'increment_var filter_env autostart'
).split(' ');

// Why a reload of a registered app would not give what the file says; null when it does.
const needsReplacing = (app, procs) => {
    const mark = JSON.parse(app.env[MARK]);
    const mode = app.exec_mode;
    if (mode && procs.some((proc) => env(proc).exec_mode !== mode)) return 'its exec_mode changes';
    for (const proc of procs) {
        const old = markOf(proc);
        if (old) {
            if (old.env.some((key) => !mark.env.includes(key))) return 'variables were removed';
            if (old.set.some((key) => !mark.set.includes(key))) return 'settings were removed';
            if (old.shape !== mark.shape) return 'settings changed that a reload does not apply';
        } else {
            for (const [wish, fact] of [['out_file', 'pm_out_log_path'], ['error_file', 'pm_err_log_path']]) {
                const plain = (file) => String(file).replace(/-\d+\.log$/, '.log');
                if (app[wish] && plain(path.resolve(app.cwd, app[wish])) !== plain(env(proc)[fact])) return 'its logs move';
            }
        }
    }
    if (mode !== 'cluster_mode' && procs.length !== wanted(app.instances)) return 'its number of processes changes';
    return null;
};

// Whether PM2 would go on from another place than the file says. Only `pm_*` tell what PM2 does.
const isPinned = (app, proc) =>
    env(proc).pm_cwd !== app.cwd || (path.isAbsolute(app.script) && env(proc).pm_exec_path !== app.script);

const unpinned = (app) => {
    const places = { pm_cwd: app.cwd };
    if (path.isAbsolute(app.script)) places.pm_exec_path = app.script;
    return Object.assign({}, app, { env: Object.assign({}, app.env, places) });
};

// Whether one worker can try the new code before the others leave the old: it is restarted by its id,
// which applies no new variables and settings, so there must be none.
const canTry = (app, procs) => procs.length > 1 && isCalm(app, procs);

// Whether every process of a cluster serves, with the variables that the file says.
const isCalm = (app, procs) => app.exec_mode === 'cluster_mode' && procs.every((proc) => {
    const old = markOf(proc);
    const same = old && JSON.stringify(old) === app.env[MARK];
    const value = (key) => (env(proc).env && key in env(proc).env ? env(proc).env[key] : env(proc)[key]);
    return same && env(proc).status === 'online' && Object.keys(app.env).every((key) => String(value(key)) === app.env[key]);
});

// Whether PM2 has a setting as the file has it: PM2 makes numbers of `300M`, `3s` and `8000`, and a list of a text.
const UNITS = { '': 1, K: 1 << 10, M: 1 << 20, G: 1 << 30, s: 1000, m: 60000, h: 3600000 };
const isSame = (wish, fact) => {
    if (typeof wish === 'string' && typeof fact === 'number') {
        const [, number, unit] = /^(\d+)([KMGsmh]?)$/.exec(wish) || [];
        return number !== undefined && number * UNITS[unit] === fact;
    }
    const list = typeof wish === 'string' && Array.isArray(fact) && !/["']/.test(wish);
    return JSON.stringify(list ? wish.split(/\s+/).filter(Boolean) : wish) === JSON.stringify(fact);
};

// Whether PM2 has every setting as the file has it, so that its processes can be replaced by their ids, which
// applies nothing new. Those in the mark's shape are not looked at: a reload would not apply them anyway.
const isSettled = (app, procs) => {
    const settings = Object.keys(app).filter((key) => !SHAPE.includes(key));
    const same = (proc) => settings.every((key) => isSame(app[key], env(proc)[key]));
    return isCalm(app, procs) && procs.length === wanted(app.instances) && procs.every(same);
};

// The restart counter that a reload leaves behind; null when it cannot be foretold.
const counterAfter = (proc) => {
    const { status, restart_time: count, pm_uptime: since } = env(proc);
    if (status === 'stopped' || status === 'errored') return count;
    return status === 'online' && Date.now() - since > 5000 ? count + 1 : null;
};

// A process as PM2 keeps it to start it again.
const settingsOf = (proc) => {
    const settings = Object.assign({}, env(proc));
    for (const key of ['instances', 'pm_id', 'prev_restart_delay']) delete settings[key];
    return settings;
};

// A reader finds what was there or what is there now, also after a power cut; and only its owner reads it.
const writeWhole = (file, data) => {
    const part = file + '.rdeploy';
    const descriptor = fs.openSync(part, 'w', 0o600);
    try {
        fs.fchmodSync(descriptor, 0o600);
        fs.writeFileSync(descriptor, data);
        fs.fsyncSync(descriptor);
        fs.renameSync(part, file);
    } catch (error) {
        fs.unlinkSync(part);
        throw error;
    } finally {
        fs.closeSync(descriptor);
    }
};

const verbs = {
    // list FILE: makes the file hold the list alone; plugins and old versions print before it.
    list(file) {
        const text = fs.readFileSync(file, 'utf8');
        const candidates = [text].concat(text.split('\n').filter((line) => line.startsWith('[')).reverse());
        for (const candidate of candidates) {
            try {
                const list = JSON.parse(candidate);
                if (Array.isArray(list)) return writeJson(file, list);
            } catch (error) {
                // Not this one.
            }
        }
        throw new Error('PM2 printed no list');
    },

    // facts PM2: the versions and places of PM2 and node. `pm2 -v` would start a daemon.
    facts(pm2) {
        const lines = ['fact node ' + process.version + ' ' + process.execPath];
        let version = 'unknown';
        const data = process.env.VOLTA_HOME || path.join(process.env.HOME || '/', '.volta');
        for (const bundle of [
            path.join(path.dirname(real(pm2)), '..', 'package.json'),
            path.join(path.dirname(pm2), '..', 'lib', 'node_modules', 'pm2', 'package.json'),
            path.join(data, 'tools', 'image', 'packages', 'pm2', 'lib', 'node_modules', 'pm2', 'package.json'),
        ]) {
            try {
                const info = readJson(bundle);
                if (info.name === 'pm2') {
                    version = info.version;
                    break;
                }
            } catch (error) {
                // Not there.
            }
        }
        lines.push('fact pm2 ' + version + ' ' + pm2);
        console.log(lines.join('\n'));
    },

    // foreign ROOT LIST APPS [OUT NAMES...]: a problem for each app whose name PM2 runs from somewhere else; does
    // what `record` does, too, where it says so.
    foreign(root, list, apps, out, ...recorded) {
        if (out) verbs.record(list, out, ...recorded);
        const names = readJson(apps).apps.map((app) => app.name);
        const foreign = byNames(readJson(list), names).filter((proc) => !isOwn(proc, root));
        for (const name of unique(foreign.map((proc) => proc.name))) {
            const proc = foreign.find((one) => one.name === name);
            console.log(
                'problem PM2 already runs an app named ' + name + ' from ' + env(proc).pm_cwd + ', which is outside ' + root +
                '. Rename one of the two, or run `pm2 delete ' + name + '` on the host if this deploy takes its place.',
            );
        }
    },

    // record LIST OUT NAMES...: the list's part that this deploy is about.
    record(list, out, ...names) {
        writeJson(out, byNames(readJson(list), [].concat(...names.map(readNames))));
    },

    // own ROOT LIST NAMES [KEEP]: the ids of the apps of this tree, without those that stay.
    own(root, list, names, keep) {
        const kept = readNames(keep);
        const gone = readNames(names).filter((name) => !kept.includes(name));
        byNames(readJson(list), gone).filter((proc) => isOwn(proc, root)).forEach((proc) => console.log(proc.pm_id));
    },

    // save HOME LIST: the list as what PM2 is to start at boot, and what that was before beside it.
    save(home, list) {
        const file = process.env.PM2_DUMP_FILE_PATH || path.join(home, 'dump.pm2');
        const backup = process.env.PM2_DUMP_BACKUP_FILE_PATH || path.join(home, 'dump.pm2.bak');
        const dump = readJson(list).map(settingsOf).filter((settings) => !settings.pmx_module);
        if (fs.existsSync(file) && fs.statSync(file).size > 0) writeWhole(backup, fs.readFileSync(file));
        writeWhole(file, JSON.stringify(dump, null, 2));
    },

    // pids LIST NAMES: the processes that run.
    // census LIST NAMES: what PM2 keeps of these apps, PID|STATE|RESTARTS|NAME a line.
    census(list, names) {
        const wanted = readNames(names);
        const procs = byNames(readJson(list), wanted);
        for (const proc of procs) {
            const state = String(env(proc).status || 'unknown').replace(/[^a-z]+/g, '-');
            console.log([pidOf(proc), state, env(proc).restart_time || 0, proc.name].join('|'));
        }
        for (const name of wanted) {
            if (!procs.some((proc) => proc.name === name)) console.log(['0', 'missing', '-', name].join('|'));
        }
    },

    pids(list, names) {
        byNames(readJson(list), readNames(names)).map(pidOf).filter(Boolean).forEach((pid) => console.log(pid));
    },

    // plan ROOT RECIPE WORK LEAVING REVERT: what has to be done, as files in WORK/plan.
    plan(root, recipe, work, leaving, revert) {
        const { apps } = readJson(path.join(recipe, 'pm2.json'));
        const names = apps.map((app) => app.name);
        const list = readJson(path.join(work, 'list'));
        const plan = (name) => path.join(work, 'plan', name);
        const procsOf = (name) => byNames(list, [name]);
        const reload = [];
        const start = [];
        const remove = [];
        const shrink = [];
        const grow = [];
        const facts = [];
        const canary = [];
        const roll = [];
        const counters = {};
        let seconds = 15;
        let replaced = 0;

        for (const app of apps) {
            const procs = procsOf(app.name);
            const count = wanted(app.instances);
            const patience = ((app.listen_timeout || 3000) + (app.kill_timeout || 1600)) / 1000;
            seconds += Math.max(count, procs.length) * patience;
            if (procs.some((proc) => !isOwn(proc, root))) {
                throw new Error('PM2 runs ' + app.name + ' from ' + env(procs[0]).pm_cwd + ', outside ' + root + '; it is left alone');
            }
            const reason = procs.length && needsReplacing(app, procs);
            if (!procs.length) {
                start.push(app);
            } else if (reason) {
                replaced += 1;
                writeLines(plan('replace-' + replaced + '.ids'), procs.map((proc) => proc.pm_id));
                writeJson(plan('replace-' + replaced + '.json'), { apps: [app] });
                facts.push('note ' + app.name + ' is removed from PM2 and started again (' + reason + '): it is away for a moment');
            } else {
                const pinned = procs.some((proc) => isPinned(app, proc));
                reload.push(pinned ? unpinned(app) : app);
                if (count < procs.length) shrink.push(count + ' ' + app.name);
                if (count > procs.length) grow.push(count + ' ' + app.name);
                procs.forEach((proc) => (counters[proc.pm_id] = counterAfter(proc)));
                if (!revert && !pinned && canTry(app, procs)) canary.push(procs[0].pm_id + ' ' + app.name);
                if (!pinned && isSettled(app, procs)) roll.push(...procs.map((proc) => proc.pm_id + ' ' + app.name));
            }
        }

        // An app that is left goes when the release stays (app_commit). Earlier in a revert, and when an
        // app takes its place under another name: both would share, or fight for, one port.
        const gone = readNames(leaving && path.join(leaving, 'pm2-names')).filter((name) => !names.includes(name));
        if (revert || start.length) {
            const left = byNames(list, gone).filter((proc) => isOwn(proc, root));
            remove.push(...left.map((proc) => proc.pm_id));
            for (const name of unique(left.map((proc) => proc.name))) {
                facts.push('note ' + name + ' is removed from PM2 before ' + (start.map((app) => app.name).join(', ') || 'the others') + ' start');
            }
        }

        // Perhaps for want of a daemon.
        if (!list.length) writeLines(plan('nothing'), []);
        writeLines(plan('facts'), facts);
        writeLines(plan('seconds'), [Math.ceil(seconds)]);
        writeLines(plan('remove'), remove);
        writeLines(plan('shrink'), shrink);
        writeLines(plan('grow'), grow);
        writeLines(plan('canary'), canary);
        const moved = reload.filter((app) => !roll.some((line) => line.endsWith(' ' + app.name)));
        if (roll.length && !moved.length) writeLines(plan('roll'), roll);
        if (reload.length) writeJson(plan('reload.json'), { apps: reload });
        if (start.length) writeJson(plan('start.json'), { apps: start });
        const old = byNames(list, names);
        writeJson(path.join(work, 'baseline'), {
            counters,
            pids: old.map(pidOf).filter(Boolean),
            logs: sizes(logFiles(old).concat(defaultLogs(names))),
        });
        writeJson(path.join(work, 'seen'), {});
    },

    // tried ID WORK [KEPT]: KEPT when it is not restarted once more, with the others.
    tried(id, work, kept) {
        console.log(tried(id, work, STAY, !kept));
    },

    // recheck RECIPE WORK: after a reload, which apps PM2 did not replace, and which it still runs from
    // the place they were registered from.
    recheck(recipe, work) {
        const { apps } = readJson(path.join(recipe, 'pm2.json'));
        const list = readJson(path.join(work, 'list'));
        const file = path.join(work, 'baseline');
        const baseline = readJson(file);
        const plan = (name) => path.join(work, 'plan', name);
        const asked = readJson(plan('reload.json')).apps.map((app) => app.name);
        const again = [];
        const facts = [];
        let replaced = 100;
        for (const app of apps.filter((one) => asked.includes(one.name))) {
            const procs = byNames(list, [app.name]);
            if (procs.some((proc) => baseline.pids.includes(pidOf(proc)) && env(proc).status === 'online')) {
                again.push(app.name);
                // Some of its processes may have been replaced; the counters can no longer be foretold.
                procs.forEach((proc) => (baseline.counters[proc.pm_id] = null));
            } else if (procs.some((proc) => isPinned(app, proc))) {
                replaced += 1;
                writeLines(plan('replace-' + replaced + '.ids'), procs.map((proc) => proc.pm_id));
                writeJson(plan('replace-' + replaced + '.json'), { apps: [app] });
                facts.push('note ' + app.name + ' could not be moved to current while running: it is away for a moment');
            }
        }
        writeJson(file, baseline);
        writeLines(plan('facts'), facts);
        if (again.length) writeLines(plan('again'), [again.join(' ')]);
        else if (fs.existsSync(plan('again'))) fs.unlinkSync(plan('again'));
    },

    look(...args) {
        console.log(look(...args));
    },

    // restore ROOT WORK BEFORE RESTORED NAMES: WORK/remove, the ids to delete, and WORK/dump, the list to
    // bring back. RESTORED is what an earlier call brought back.
    restore(root, work, before, restored, names) {
        const recorded = fs.existsSync(before) ? readJson(before) : [];
        const standing = recorded.concat(fs.existsSync(restored) ? readJson(restored) : []);
        const concerned = unique(readNames(names).concat(recorded.map((proc) => proc.name)));
        const list = readJson(path.join(work, 'list'));
        const remove = [];
        const dump = [];
        for (const name of concerned) {
            const now = byNames(list, [name]).filter((proc) => isOwn(proc, root));
            const then = recorded.filter((proc) => proc.name === name);
            const stands = (proc) => standing.some(
                (one) => one.name === name && one.pid === proc.pid && env(one).status === env(proc).status,
            );
            if (now.length === then.length && now.every(stands)) continue;
            remove.push(...now.map((proc) => proc.pm_id));
            dump.push(...then.map(settingsOf));
        }
        writeLines(path.join(work, 'remove'), remove);
        if (dump.length) writeJson(path.join(work, 'dump'), dump);
        else if (fs.existsSync(path.join(work, 'dump'))) fs.unlinkSync(path.join(work, 'dump'));
    },

    // restored WORK BEFORE RESTORED: what is wrong with what was brought back; PM2's word is not enough.
    restored(work, before, restored) {
        const recorded = fs.existsSync(before) ? readJson(before) : [];
        const list = readJson(path.join(work, 'list'));
        const wrong = [];
        for (const name of unique(recorded.map((proc) => proc.name))) {
            const then = byNames(recorded, [name]);
            const now = byNames(list, [name]);
            const running = (procs) => procs.filter((proc) => ['online', 'launching'].includes(env(proc).status)).length;
            if (now.length !== then.length || running(now) < running(then)) {
                wrong.push('PM2 runs ' + running(now) + ' processes of ' + name + ', before it were ' + running(then));
            }
        }
        if (wrong.length) throw new Error('not everything could be put back: ' + wrong.join('; ') + '. See `pm2 ls` and `pm2 logs` on the host.');
        writeJson(restored, byNames(list, recorded.map((proc) => proc.name)));
    },
};

const run = (verb, ...args) => {
    try {
        verbs[verb](...args);
    } catch (error) {
        console.log(error.message);
        process.exitCode = 1;
    }
};

module.exports = { plan: verbs.plan, recheck: verbs.recheck, run };

if (require.main === module) run(...process.argv.slice(2));
