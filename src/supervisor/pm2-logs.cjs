'use strict';
// Owns what apps under PM2 write: where their logs are, what is new in them, and what never reaches
// them. In cluster mode PM2 loses the message of an app that throws at its start (it ends the process
// before its log is open), but tells it on its bus; `hear` writes it down.

const fs = require('fs');
const path = require('path');
const { byNames, env, readJson, readNames, unique } = require('./pm2-list.cjs');
const { bus, frames } = require('./pm2-rpc.cjs');

const homeOfPm2 = () => process.env.PM2_HOME || path.join(process.env.HOME || '/', '.pm2');

const sizes = (files) => {
    const found = {};
    for (const file of files) {
        try {
            found[file] = fs.statSync(file).size;
        } catch (error) {
            found[file] = 0;
        }
    }
    return found;
};

const logFiles = (procs) =>
    unique([].concat(...procs.map((proc) => [env(proc).pm_err_log_path, env(proc).pm_out_log_path])))
        .filter((file) => file && file !== '/dev/null');

const defaultLogs = (names) => {
    const directory = path.join(homeOfPm2(), 'logs');
    let files = [];
    try {
        files = fs.readdirSync(directory);
    } catch (error) {
        return [];
    }
    const safe = names.map((name) => name.replace(/[^a-zA-Z0-9\\.\\-]/g, '-') + '-');
    return files.filter((file) => safe.some((start) => file.startsWith(start))).map((file) => path.join(directory, file));
};

const tail = (file, from, lines) => {
    let text = '';
    try {
        const size = fs.statSync(file).size;
        // A log that shrank was rotated; a long one is read from near its end.
        const start = Math.max(from <= size ? from : 0, size - 64 * 1024);
        const buffer = Buffer.alloc(size - start);
        const handle = fs.openSync(file, 'r');
        fs.readSync(handle, buffer, 0, buffer.length, start);
        fs.closeSync(handle);
        text = buffer.toString('utf8');
    } catch (error) {
        return [];
    }
    return text.split('\n').filter(Boolean).slice(-lines);
};

const verbs = {
    // logs LIST NAMES LINES: the end of each log.
    logs(list, names, lines) {
        for (const file of logFiles(byNames(readJson(list), readNames(names)))) {
            const found = tail(file, 0, Number(lines));
            if (found.length) console.log('==> ' + file + ' <==\n' + found.join('\n'));
        }
    },

    // words RECIPE WORK LINES: what the app that failed wrote since it was started.
    words(recipe, work, lines) {
        const file = path.join(work, 'judged');
        const names = fs.existsSync(file) ? [fs.readFileSync(file, 'utf8')] : readNames(path.join(recipe, 'pm2-names'));
        const procs = byNames(readJson(path.join(work, 'list')), names);
        const known = fs.existsSync(path.join(work, 'baseline')) ? readJson(path.join(work, 'baseline')).logs : {};
        let said = false;
        for (const log of unique(logFiles(procs).concat(procs.length ? [] : defaultLogs(names)))) {
            const found = tail(log, known[log] || 0, Number(lines));
            if (found.length) console.log('==> ' + log + ' <==\n' + found.join('\n'));
            said = said || found.length > 0;
        }
        if (!said && fs.existsSync(path.join(work, 'heard'))) {
            const found = tail(path.join(work, 'heard'), 0, Number(lines));
            if (found.length) console.log('==> heard from PM2, which wrote it nowhere <==\n' + found.join('\n'));
            said = found.length > 0;
        }
        if (!said) console.log(names.join(', ') + ' wrote nothing to its logs since it was started');
    },

    // hear HOME NAMES OUT: writes down what the apps say on PM2's bus, until it is ended or two minutes
    // are over.
    hear(home, names, out) {
        const wanted = readNames(names);
        let room = 64 * 1024;
        const socket = bus(home);
        const note = ([kind, body]) => {
            if (!/^s:log:(out|err)$/.test(kind) || !body.startsWith('j:')) return;
            const { data, process: from } = JSON.parse(body.slice(2));
            if (!from || !wanted.includes(from.name) || room <= 0) return;
            const text = String(data).trim() + '\n';
            room -= text.length;
            fs.appendFileSync(out, text, { mode: 0o600 });
        };
        const read = frames(note);
        socket.on('data', (chunk) => {
            try {
                read(chunk);
            } catch (error) {
                // It is a help, not a need.
                process.exit(0);
            }
        });
        socket.on('error', () => process.exit(0)).on('close', () => process.exit(0));
        setTimeout(() => process.exit(0), 120000);
    },
};

module.exports = { defaultLogs, logFiles, sizes };

if (require.main === module) {
    const [verb, ...args] = process.argv.slice(2);
    try {
        verbs[verb](...args);
    } catch (error) {
        console.log('what the app wrote could not be read: ' + error.message);
        process.exitCode = 1;
    }
}
