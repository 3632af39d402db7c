'use strict';
// Owns replacing the processes of apps whose settings stay the same, by telling PM2's daemon what its command line
// would. That costs a second for each call, and waits until one old process is gone before it goes on with the
// next; here a process is replaced as soon as the one before it serves. Keeps to what node 12 knows.

const fs = require('fs');
const path = require('path');
const { plan: makePlan, recheck } = require('./pm2.cjs');
const { judgeAll } = require('./pm2-canary.cjs');
const { pidOf, readJson, readNames, writeJson, writeLines } = require('./pm2-list.cjs');
const { hear } = require('./pm2-logs.cjs');
const { STAY, look, tried } = require('./pm2-look.cjs');
const { converse, listed } = require('./pm2-rpc.cjs');

// How main ends: it is done; a process failed; nothing was begun, and the command line may try; the first process
// takes long to be proven, and is waited for by somebody who keeps nobody else from PM2 meanwhile.
const DONE = 0;
const FAILED = 1;
const REFUSED = 75;
const SLOW = 76;

// Or `start` has left that to its caller: to follow the plan, or to make it, since nobody can tell here what PM2 runs.
const PLANNED = 77;
const UNPLANNED = 78;

// So long is waited for the first process, in milliseconds, once PM2 has ended the one before it.
const GRACE = 2000;

// As many are replaced at once as PM2 itself would.
const AT_ONCE = 2;

// PM2's own lock against two reloads at once: a time in a file, which counts for half a minute. A daemon before
// PM2 7 would lose a process that is reloaded while it is being reloaded.
const lockOf = (home) => path.join(home, 'reload.lock');
const takeLock = (home) => {
    const patience = parseInt(process.env.PM2_RELOAD_LOCK_TIMEOUT, 10) || 30000;
    const since = parseInt(fs.existsSync(lockOf(home)) ? fs.readFileSync(lockOf(home), 'utf8') : '', 10);
    if (Date.now() - since < patience) return false;
    fs.writeFileSync(lockOf(home), String(Date.now()));
    return true;
};

// A pause that ends early when there is news.
let wake = () => {};
const pause = (milliseconds) => new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    wake = () => {
        clearTimeout(timer);
        done();
    };
});

const ended = (socket) => new Promise((done) => socket.on('connect', done).on('close', done));

const roll = async (daemon, begun, { root, release, recipe, work, revert, patience, settle }) => {
    const plan = (name) => path.join(work, 'plan', name);
    const freshList = async () => writeJson(path.join(work, 'list'), await daemon.list());

    // Replaces a process; the promise is kept when the old one is gone, and says what PM2 had against it.
    const replace = (id) => {
        const done = daemon.call('reloadProcessId', { id: Number(id), env: {} }, patience).then(
            () => {
                // Who listens on the bus hears of it as after a call of the command line.
                daemon.call('notifyByProcessId', { id: Number(id), action_name: 'reload', manually: true }).catch(() => {});
            },
            (error) => error,
        );
        begun.push(done);
        return done;
    };

    // Lets one process of an app have the new code first: `ok`, `wait`, `refused`, `late` when PM2 is not done with it,
    // or `bad REASON`. After the middle ones the others are not waited for, as where PM2 refuses its command line.
    const attempt = async (id, name) => {
        const { pids: old } = readJson(path.join(work, 'baseline'));
        let refused = null;
        let answered = null;
        replace(id).then((error) => {
            refused = error;
            answered = Date.now();
            wake();
        });
        let knocked = null;
        let stay = STAY;
        for (;;) {
            await freshList();
            if (refused) return refused.late ? 'late' : 'refused';
            const verdict = tried(id, work, stay, false);
            if (verdict.startsWith('bad ')) return verdict;
            if (knocked && knocked.startsWith('bad ')) return knocked;
            if (verdict.startsWith('ok ') && knocked) return 'ok';
            const pid = pidOf(readJson(path.join(work, 'list')).find((one) => String(one.pm_id) === id));
            if (knocked === null && pid && !old.includes(pid)) {
                knocked = '';
                judgeAll(recipe, name + ' (id ' + id + ')', pid, ...old).catch(() => 'unknown').then((known) => {
                    knocked = known;
                    // What has answered as it should has to stay up no longer than all of them have to.
                    if (known === 'ok') stay = Math.min(STAY, settle);
                    wake();
                });
            }
            if (answered && Date.now() - answered > GRACE) return 'wait';
            await pause(250);
        }
    };

    const first = readNames(plan('canary'));
    let left = readNames(plan('roll'));
    while (first.length) {
        const [line] = first;
        const at = line.indexOf(' ');
        const verdict = await attempt(line.slice(0, at), line.slice(at + 1));
        if (verdict.startsWith('bad ')) {
            console.log(verdict.slice(4) + '. It was the first to run the new code; the other processes of ' + line.slice(at + 1) + ' still run the old.');
            return FAILED;
        }
        if (verdict !== 'refused') left = left.filter((one) => one !== line);
        writeLines(plan('roll'), left);
        if (verdict === 'wait') return SLOW;
        first.shift();
        writeLines(plan('canary'), first);
    }
    const ids = left.map((line) => line.slice(0, line.indexOf(' ')));
    const next = async () => {
        while (ids.length) await replace(ids.shift());
    };
    await Promise.all(Array.from({ length: AT_ONCE }, next));
    await Promise.all(begun);
    await freshList();
    recheck(recipe, work);
    writeLines(path.join(work, 'looked'), [look(root, release, recipe, work, revert)]);
    return DONE;
};

const main = async (daemon, home, root, release, recipe, work, seconds, revert) => {
    const names = path.join(recipe, 'pm2-names');
    try {
        await ended(hear(home, names, path.join(work, 'heard'), () => wake()));
        await daemon.list();
        if (!takeLock(home)) return REFUSED;
    } catch (error) {
        return REFUSED;
    }
    const settle = 1000 * (Number(readNames(path.join(recipe, 'settle'))[0]) || 0);
    const begun = [];
    try {
        return await roll(daemon, begun, { root, release, recipe, work, revert, patience: 1000 * seconds, settle });
    } finally {
        // PM2 must not be told of a process again before it is done with it.
        await Promise.all(begun);
        fs.writeFileSync(lockOf(home), '');
    }
};

const verbs = {
    // start HOME ROOT RELEASE RECIPE WORK LEAVING REVERT: makes the plan, and follows it when there is nothing in it
    // but to replace processes so.
    async start(home, root, release, recipe, work, leaving, revert) {
        const daemon = converse(home);
        const plan = (name) => path.join(work, 'plan', name);
        try {
            writeJson(path.join(work, 'list'), await listed(daemon));
        } catch (error) {
            return UNPLANNED;
        }
        makePlan(root, recipe, work, leaving, revert);
        const more = ['facts', 'remove', 'shrink'].some((name) => readNames(plan(name)).length);
        if (more || !fs.existsSync(plan('roll'))) return PLANNED;
        return main(daemon, home, root, release, recipe, work, readNames(plan('seconds'))[0], revert);
    },

    // roll HOME ROOT RELEASE RECIPE WORK SECONDS REVERT: follows this part of the plan, each call of the daemon within
    // SECONDS.
    roll: (home, ...args) => main(converse(home), home, ...args),
};

const [verb, ...args] = process.argv.slice(2);
verbs[verb](...args).then(
    (status) => process.exit(status),
    (error) => {
        console.log(error.message);
        process.exit(FAILED);
    },
);
