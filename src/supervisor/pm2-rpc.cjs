'use strict';
// Owns speaking with PM2's daemon over its own sockets, as PM2's command line does: a question costs a
// tenth of what a call of that command line costs. Never starts a daemon. Its wire is that of
// pm2-axon-rpc, the same from PM2 2 to 7; whoever does not get an answer here asks the command line.

const net = require('net');
const path = require('path');
const { writeJson } = require('./pm2-list.cjs');

// Longer than a daemon takes that has a hundred processes to measure.
const PATIENCE = 10000;

// Takes frames apart: a byte with the number of arguments, then each with its length before it, marked
// as JSON or text.
function frames(onFrame) {
    let rest = Buffer.alloc(0);
    return (chunk) => {
        rest = Buffer.concat([rest, chunk]);
        while (rest.length) {
            const args = [];
            let at = 1;
            for (let left = rest[0] & 15; left > 0; left -= 1) {
                if (rest.length < at + 4) return;
                const length = rest.readUInt32BE(at);
                if (length > 1 << 24) throw new Error('not a frame');
                if (rest.length < at + 4 + length) return;
                args.push(rest.slice(at + 4, at + 4 + length).toString('utf8'));
                at += 4 + length;
            }
            rest = rest.slice(at);
            onFrame(args);
        }
    };
}

function frame(args) {
    const parts = [Buffer.from([0x10 | args.length])];
    for (const arg of args) {
        const body = Buffer.from(arg, 'utf8');
        const length = Buffer.alloc(4);
        length.writeUInt32BE(body.length, 0);
        parts.push(length, body);
    }
    return Buffer.concat(parts);
}

const connect = (home) => net.connect(process.env.PM2_DAEMON_RPC_PORT || path.join(home, 'rpc.sock'));
const bus = (home) => net.connect(process.env.PM2_DAEMON_PUB_PORT || path.join(home, 'pub.sock'));

// A conversation with the daemon: `call` gives a promise of what a method answers, and fails with what the
// daemon said against it, when it went away, or when it took too long.
function converse(home) {
    const socket = connect(home);
    const waiting = {};
    let asked = 0;
    let broken = null;
    const settle = (id, error, value) => {
        const call = waiting[id];
        if (!call) return;
        delete waiting[id];
        clearTimeout(call.limit);
        if (error) call.fail(error);
        else call.done(value);
    };
    const end = (error) => {
        broken = broken || error;
        Object.keys(waiting).forEach((id) => settle(id, broken));
        socket.destroy();
    };
    const read = frames(([body, id]) => {
        const { args, error } = JSON.parse(body.slice(2));
        settle(String(id).slice(2), error ? new Error(String(error.msg || error)) : null, args && args[0]);
    });
    socket.on('data', (chunk) => {
        try {
            read(chunk);
        } catch (error) {
            end(error);
        }
    });
    socket.on('error', end).on('close', () => end(new Error('the daemon closed the connection')));
    const call = (method, argument, patience) => new Promise((done, fail) => {
        if (broken) return fail(broken);
        const id = 'rdeploy:' + (asked += 1);
        const limit = setTimeout(() => settle(id, Object.assign(new Error('no answer from the daemon'), { late: true })), patience || PATIENCE);
        waiting[id] = { done, fail, limit };
        return socket.write(frame(['j:' + JSON.stringify({ type: 'call', method, args: [argument] }), 's:' + id]));
    });
    return { call, list: () => call('getMonitorData', {}) };
}

// What PM2 runs.
const listed = (daemon) => daemon.list().then(
    (list) => {
        if (!Array.isArray(list)) throw new Error('no list');
        return list;
    },
    (error) => {
        // Nobody listens: the daemon is gone, or was never there.
        if (['ENOENT', 'ECONNREFUSED'].includes(error.code)) return [];
        throw error;
    },
);

const verbs = {
    // alive HOME: whether a daemon answers.
    alive(home) {
        const end = (status) => process.exit(status);
        const socket = connect(home).on('connect', () => end(0)).on('error', () => end(1));
        socket.setTimeout(3000, () => end(1));
    },

    // list HOME FILE [VERB ARGS]: writes what PM2 runs, nothing when no daemon does; then does what pm2.cjs
    // does for that verb, in this process, since starting node is most of what either costs. Ends with 75
    // when there is no telling what PM2 runs.
    list(home, file, ...judge) {
        const end = (list) => {
            if (!list) process.exit(75);
            writeJson(file, list);
            if (judge.length) require('./pm2.cjs').run(...judge);
            process.exit();
        };
        listed(converse(home)).then(end, () => end());
    },
};

module.exports = { bus, converse, frames, listed };

if (require.main === module) {
    const [verb, ...args] = process.argv.slice(2);
    verbs[verb](...args);
}
