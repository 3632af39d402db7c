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
    return lines > 0 ? text.split('\n').filter(Boolean).slice(-lines) : [];
};

// Writes down what the apps say on PM2's bus. It is a help, not a need: what goes wrong ends it, and no more.
const hear = (home, names, out, onEvent) => {
    const wanted = readNames(names);
    let room = 64 * 1024;
    const socket = bus(home);
    const read = frames(([kind, body]) => {
        if (onEvent && kind === 's:process:event') onEvent();
        if (!/^s:log:(out|err)$/.test(kind) || !body.startsWith('j:')) return;
        const { data, process: from } = JSON.parse(body.slice(2));
        if (!from || !wanted.includes(from.name) || room <= 0) return;
        const text = String(data).trim() + '\n';
        room -= text.length;
        fs.appendFileSync(out, text, { mode: 0o600 });
    });
    socket.on('data', (chunk) => {
        try {
            read(chunk);
        } catch (error) {
            socket.destroy();
        }
    });
    return socket.on('error', () => socket.destroy());
};

const verbs = {
    // logs LIST NAMES LINES: the end of each log.
    logs(list, names, lines) {
        const files = logFiles(byNames(readJson(list), readNames(names)));
        for (const file of files) {
            const found = tail(file, 0, Number(lines));
            if (!found.length) continue;
            if (files.length > 1) console.log('==> ' + file + ' <==');
            console.log(found.join('\n'));
        }
    },

    // stream LIST NAMES LINES: the end of each log and then what is added, until this is ended. PM2 writes
    // to the end of a file, which may be cut or replaced when logs are rotated.
    stream(list, names, lines) {
        const files = logFiles(byNames(readJson(list), readNames(names)));
        const known = sizes(files);
        let last = null;
        const tell = (file, text) => {
            if (!text.length) return;
            if (files.length > 1 && last !== file) console.log('==> ' + file + ' <==');
            last = file;
            console.log(text.join('\n'));
        };
        files.forEach((file) => tell(file, tail(file, 0, Number(lines))));
        const parent = process.ppid;
        const rest = {};
        const look = () => {
            // Nobody reads any more.
            if (process.ppid !== parent) process.exit(0);
            const now = sizes(files);
            for (const file of files) {
                if (now[file] < known[file]) known[file] = 0;
                if (now[file] === known[file]) continue;
                const chunk = Buffer.alloc(Math.min(now[file] - known[file], 256 * 1024));
                const handle = fs.openSync(file, 'r');
                const count = fs.readSync(handle, chunk, 0, chunk.length, known[file]);
                fs.closeSync(handle);
                known[file] += count;
                const text = Buffer.concat([rest[file] || Buffer.alloc(0), chunk.slice(0, count)]);
                const end = text.lastIndexOf(10) + 1;
                rest[file] = text.length - end > 64 * 1024 ? Buffer.alloc(0) : text.slice(end);
                tell(file, text.slice(0, end).toString('utf8').split('\n').slice(0, -1));
            }
        };
        process.stdout.on('error', () => process.exit(0));
        setInterval(look, 250);
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
        hear(home, names, out).on('close', () => process.exit(0));
        setTimeout(() => process.exit(0), 120000);
    },
};

module.exports = { defaultLogs, hear, logFiles, sizes };

if (require.main === module) {
    const [verb, ...args] = process.argv.slice(2);
    try {
        verbs[verb](...args);
    } catch (error) {
        console.log('what the app wrote could not be read: ' + error.message);
        process.exitCode = 1;
    }
}
