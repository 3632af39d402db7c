'use strict';
// Owns what one entry of PM2's list says, and the small files the node programs of a recipe share.

const fs = require('fs');
const path = require('path');

// The variable that tells, in PM2's list, with which settings an app was registered. Without it
// nobody could tell a variable that left the configuration from one that PM2 itself brought along.
const MARK = 'RDEPLOY_PM2';

const readJson = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));
const readNames = (file) => (file && fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n').filter(Boolean) : []);
const unique = (values) => Array.from(new Set(values));

const real = (file) => {
    try {
        return fs.realpathSync(file);
    } catch (error) {
        return file;
    }
};

const within = (file, directory) => file === directory || String(file).startsWith(directory + '/');

// Files that only their owner reads.
const writeJson = (file, value) => fs.writeFileSync(file, JSON.stringify(value), { mode: 0o600 });
const writeLines = (file, lines) => fs.writeFileSync(file, lines.map((line) => line + '\n').join(''), { mode: 0o600 });

const env = (proc) => proc.pm2_env || {};
const pidOf = (proc) => proc.pid || 0;
const byNames = (list, names) => list.filter((proc) => !env(proc).pmx_module && names.includes(proc.name));

const cwdOf = (pid) => {
    try {
        return fs.readlinkSync('/proc/' + pid + '/cwd').replace(/ \(deleted\)$/, '');
    } catch (error) {
        return null;
    }
};

const alive = (pid) => {
    try {
        const stat = fs.readFileSync('/proc/' + pid + '/stat', 'utf8');
        return !/\) [ZX] /.test(stat);
    } catch (error) {
        // /proc may hide the processes of others; the kernel still tells them from none.
        try {
            return process.kill(pid, 0);
        } catch (failure) {
            return failure.code === 'EPERM';
        }
    }
};

const markOf = (proc) => {
    try {
        return JSON.parse(env(proc)[MARK] || (env(proc).env || {})[MARK]);
    } catch (error) {
        return null;
    }
};

// Whether an app was registered from under ROOT: by its mark, its settings or where its process is.
const isOwn = (proc, root) => {
    const mark = markOf(proc);
    if (mark && mark.root === root) return true;
    const places = [env(proc).pm_cwd, env(proc).pm_exec_path, pidOf(proc) ? cwdOf(pidOf(proc)) : null];
    return places.some((place) => place && (within(place, root) || within(real(place), real(root))));
};

// How many processes PM2 makes of `instances`.
const wanted = (instances) => {
    const cores = require('os').cpus().length || 1;
    const number = parseInt(instances, 10);
    if (isNaN(number)) return 1;
    return Math.max(1, number > 0 ? number : cores + number);
};

module.exports = { MARK, alive, byNames, cwdOf, env, isOwn, markOf, pidOf, readJson, readNames, real, unique, wanted, within, writeJson, writeLines };
