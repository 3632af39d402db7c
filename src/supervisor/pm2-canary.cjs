'use strict';
// Owns whether the one worker that runs the new code takes requests and answers them well, while the
// others take them too, with the old code. All share one port; which process took a connection is seen
// in /proc, by the socket's number. Keeps to what node 12 knows.

const fs = require('fs');
const http = require('http');
const net = require('net');
const path = require('path');
const { alive } = require('./pm2-list.cjs');

// So often neither the new worker nor an old one took a connection: what is asked is not this app.
const ELSEWHERE = 4;
const PAUSE = 200;
// The first few questions follow faster: an app that has just been started listens in a moment.
const FIRST = 15;
// So long one question may take.
const LIMIT = 5000;

const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// The numbers of the sockets that a process has; null when that may not be seen.
const socketsOf = (pid) => {
    let descriptors;
    try {
        descriptors = fs.readdirSync('/proc/' + pid + '/fd');
    } catch (error) {
        return null;
    }
    const numbers = new Set();
    for (const descriptor of descriptors) {
        try {
            const found = /^socket:\[(\d+)\]$/.exec(fs.readlinkSync('/proc/' + pid + '/fd/' + descriptor));
            if (found) numbers.add(found[1]);
        } catch (error) {
            // Closed meanwhile.
        }
    }
    return numbers;
};

// Every TCP socket of this host: its two ports, its state, its number.
const table = () => {
    const rows = [];
    for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
        let text = '';
        try {
            text = fs.readFileSync(file, 'utf8');
        } catch (error) {
            continue;
        }
        for (const line of text.split('\n').slice(1)) {
            const [, local, remote, state, , , , , , number] = line.trim().split(/\s+/);
            if (!number) continue;
            const port = (address) => parseInt(address.split(':').pop(), 16);
            rows.push({ local: port(local), remote: port(remote), state, number });
        }
    }
    return rows;
};

const lines = (file) => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n').filter(Boolean) : []);

// The recipe's health checks, by their numbers; those that a connection tells nothing of are null.
const targets = (recipe) => {
    const found = [];
    for (let number = 1; ; number += 1) {
        const end = number === 1 ? '' : '.' + number;
        if (!fs.existsSync(path.join(recipe, 'health' + end))) return found;
        found.push(target(recipe, end));
    }
};

const target = (recipe, end) => {
    const check = {};
    for (const line of lines(path.join(recipe, 'health' + end))) {
        const at = line.indexOf('=');
        if (at > 0) check[line.slice(0, at)] = line.slice(at + 1);
    }
    const all = {
        patience: 1000 * ((Number(check.timeout) || 30) + (Number(check.delay) || 0)),
        interval: 1000 * (Number(check.interval) || 1),
        successes: Number(check.successes) || 1,
    };
    if (check.kind === 'tcp') {
        return Object.assign(all, { host: check.host, port: Number(check.port), shown: 'port ' + check.port + ' on ' + check.host });
    }
    if (check.kind !== 'http' || check.socket) return null;
    const url = new URL(check.url);
    const headers = { 'User-Agent': 'rdeploy', Host: url.host };
    for (const line of lines(path.join(recipe, 'health-headers' + end))) {
        const [, name, value] = /^header = ([^:]+): (.*)$/.exec(line) || [];
        const same = Object.keys(headers).find((known) => name && known.toLowerCase() === name.toLowerCase());
        if (same) delete headers[same];
        if (name) headers[name] = Buffer.from(value).toString('latin1');
    }
    return Object.assign(all, {
        host: url.hostname.replace(/^\[|\]$/g, ''),
        port: Number(url.port) || 80,
        shown: check.url,
        page: { path: url.pathname + url.search, headers },
        wanted: check.status || '200-399',
        text: lines(path.join(recipe, 'health-body' + end))[0],
    });
};

// Asks for the page through a connection; `tell` hears what is wrong with the answer, if anything is.
const read = ({ page, shown, wanted, text }, socket, tell) => {
    const failed = (error) => tell(shown + ' did not answer: ' + (error.code || error.message));
    const judge = (response, found) => {
        const status = response.statusCode;
        const inRange = (range) => status >= Number(range.split('-')[0]) && status <= Number(range.split('-').pop());
        const expected = /^200-[23]99$/.test(wanted) ? '' : '; expected is ' + wanted;
        if (!wanted.split(' ').some(inRange)) tell(shown + ' answered ' + status + expected);
        else tell(found ? undefined : shown + ' answered ' + status + ', but without "' + text + '"');
    };
    const options = { path: page.path, headers: page.headers, createConnection: () => socket };
    http.request(options, (response) => {
        if (text === undefined) return judge(response, true);
        const searched = Buffer.from(text);
        let kept = Buffer.alloc(0);
        response.on('data', (chunk) => {
            kept = Buffer.concat([kept, chunk]);
            if (kept.includes(searched)) judge(response, true);
            kept = kept.slice(Math.max(0, kept.length - searched.length));
        });
        response.on('end', () => judge(response, false));
        response.on('error', failed).on('aborted', () => tell(shown + ' did not send its answer to the end'));
    }).on('error', failed).end();
};

// Asks once: by whom the connection was taken, `new`, `old` or nobody that is known here; and, of the new
// one, what is wrong with its answer.
const ask = (check, fresh, old) => new Promise((done) => {
    const { host, port, page, shown } = check;
    const socket = net.connect(port, host);
    let by = 'nobody';
    const end = (wrong) => {
        clearTimeout(limit);
        socket.removeListener('close', closed).destroy();
        done({ by, wrong });
    };
    const closed = () => end(shown + ' closed the connection without an answer');
    const limit = setTimeout(() => end(shown + ' did not answer within ' + LIMIT / 1000 + ' s'), LIMIT);
    const has = (pid, number) => (socketsOf(pid) || new Set()).has(number);
    const find = async () => {
        for (let looks = 0; looks < 8; looks += 1) {
            const row = table().find((one) => one.local === port && one.remote === socket.localPort);
            if (row && has(fresh, row.number)) {
                by = 'new';
                // From now on the request tells of a connection that is closed.
                socket.removeListener('close', closed);
                return page ? read(check, socket, end) : end();
            }
            if (row && old.some((pid) => has(pid, row.number))) {
                by = 'old';
                return end();
            }
            await later(50);
        }
        return end();
    };
    socket.on('connect', find);
    socket.on('error', (error) => end(shown + ' did not answer: ' + (error.code || error.message)));
    socket.on('close', closed);
});

// One check: `ok`, `bad REASON`, or `unknown` where a connection does not tell.
const judge = async (check, name, fresh, old) => {
    const seconds = Math.ceil(check.patience / 1000);
    const until = Date.now() + check.patience;
    const unwell = (wrong) => 'bad ' + name + ' did not pass the health check within ' + seconds + ' s: ' + wrong;
    let byOld = 0;
    let byNobody = 0;
    let well = 0;
    let pause = 0;
    let wrong;
    do {
        const answer = await ask(check, fresh, old);
        if (!alive(fresh)) return 'bad ' + name + ' ended (process ' + fresh + ')';
        if (answer.by === 'old') byOld += 1;
        if (answer.by === 'nobody') byNobody += 1;
        if (answer.by === 'new') {
            wrong = answer.wrong;
            well = wrong ? 0 : well + 1;
            if (well >= check.successes) return 'ok';
        }
        if (!wrong && !well && byOld === 0 && byNobody >= ELSEWHERE) return 'unknown';
        await later(answer.by === 'new' ? check.interval : Math.min(PAUSE, (pause += FIRST)));
    } while (Date.now() < until);
    if (wrong) return unwell(wrong);
    if (well) return unwell('of ' + check.successes + ' good answers in a row it gave the last ' + well);
    if (byOld === 0) return 'unknown';
    // Where the kernel shares connections out, and not PM2, one process may get them all.
    const own = socketsOf(fresh) || new Set();
    if (table().some((row) => row.state === '0A' && row.local === check.port && own.has(row.number))) return 'ok';
    return 'bad ' + name + ' took no connection within ' + seconds + ' s, as the processes with the old code do (' + check.shown + '): it does not listen there';
};

// RECIPE NAME NEW OLD...: the first verdict of all checks that is bad, or what the others are.
const judgeAll = async (recipe, name, fresh, ...old) => {
    if (!socketsOf(fresh)) return 'unknown';
    const checks = targets(recipe).filter(Boolean);
    const verdicts = await Promise.all(checks.map((check) => judge(check, name, fresh, old)));
    return verdicts.find((verdict) => verdict.startsWith('bad ')) || (verdicts.includes('ok') ? 'ok' : 'unknown');
};

module.exports = { judgeAll };

if (require.main === module) {
    judgeAll(...process.argv.slice(2)).then(
        (verdict) => console.log(verdict),
        (error) => console.log('unknown ' + error.message),
    );
}
