'use strict';
// Owns whether the one worker that runs the new code takes requests and answers them well, while the
// others take them too, with the old code. All share one port; which process took a connection is seen
// in /proc, by the socket's number. Keeps to what node 12 knows.

const fs = require('fs');
const net = require('net');
const { alive } = require('./pm2-list.cjs');

// So often neither the new worker nor an old one took a connection: what is asked is not this app.
const ELSEWHERE = 4;
const PAUSE = 200;

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

// What the (first) health check asks; null when a connection would tell nothing. Where it wants more than a good
// status, only that the connection is taken is asked for here; the whole check comes later.
const target = (file) => {
    const check = {};
    for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
        const at = line.indexOf('=');
        if (at > 0) check[line.slice(0, at)] = line.slice(at + 1);
    }
    const patience = 1000 * ((Number(check.timeout) || 30) + (Number(check.delay) || 0));
    if (check.kind === 'tcp') {
        return { patience, host: check.host, port: Number(check.port), shown: 'port ' + check.port + ' on ' + check.host };
    }
    if (check.kind !== 'http' || check.socket) return null;
    const url = new URL(check.url);
    const headers = fs.existsSync(file + '-headers') ? fs.readFileSync(file + '-headers', 'utf8').split('\n').filter(Boolean) : [];
    const more = check.status || fs.existsSync(file + '-body') || headers.length > (check.name ? 1 : 0);
    const question = more ? undefined : 'GET ' + url.pathname + url.search + ' HTTP/1.1\r\nHost: ' + (check.name || url.host) +
        '\r\nUser-Agent: rdeploy\r\nConnection: close\r\n\r\n';
    const host = url.hostname.replace(/^\[|\]$/g, '');
    return { patience, host, port: Number(url.port) || 80, shown: check.url, question };
};

// Asks once: by whom the connection was taken, `new`, `old` or nobody that is known here; and, of the new
// one, what is wrong with its answer.
const ask = ({ host, port, question, shown }, fresh, old) => new Promise((done) => {
    const socket = net.connect(port, host);
    let limit;
    const end = (by, wrong) => {
        clearTimeout(limit);
        socket.removeAllListeners('close').destroy();
        done({ by, wrong });
    };
    let by = 'nobody';
    let said = '';
    limit = setTimeout(() => end(by, shown + ' did not answer within 5 s'), 5000);
    const has = (pid, number) => (socketsOf(pid) || new Set()).has(number);
    const find = async () => {
        for (let looks = 0; looks < 8; looks += 1) {
            const row = table().find((one) => one.local === port && one.remote === socket.localPort);
            if (row && has(fresh, row.number)) {
                by = 'new';
                return question ? socket.write(question) : end(by);
            }
            if (row && old.some((pid) => has(pid, row.number))) return end('old');
            await later(50);
        }
        return end(by);
    };
    socket.on('connect', find);
    socket.on('data', (chunk) => {
        said += chunk.toString('latin1');
        const status = /^HTTP\/1\.\d (\d{3})/.exec(said);
        if (!status && said.length < 16) return;
        const well = status && /^[23]/.test(status[1]);
        end(by, well ? undefined : shown + ' answered ' + (status ? status[1] : 'what is no HTTP'));
    });
    socket.on('error', (error) => end(by, shown + ' did not answer: ' + (error.code || error.message)));
    socket.on('close', () => end(by, shown + ' closed the connection without an answer'));
});

// HEALTH NAME NEW OLD...: `ok`, `bad REASON`, or `unknown` where a connection does not tell.
const judge = async (file, name, fresh, ...old) => {
    const what = target(file);
    if (!what || !socketsOf(fresh)) return 'unknown';
    const seconds = Math.ceil(what.patience / 1000);
    const until = Date.now() + what.patience;
    let byOld = 0;
    let byNobody = 0;
    let wrong;
    do {
        const answer = await ask(what, fresh, old);
        if (!alive(fresh)) return 'bad ' + name + ' ended (process ' + fresh + ')';
        if (answer.by === 'new' && !answer.wrong) return 'ok';
        if (answer.by === 'new') wrong = answer.wrong;
        if (answer.by === 'old') byOld += 1;
        if (answer.by === 'nobody') byNobody += 1;
        if (!wrong && byOld === 0 && byNobody >= ELSEWHERE) return 'unknown';
        await later(PAUSE);
    } while (Date.now() < until);
    if (wrong) return 'bad ' + name + ' did not pass the health check within ' + seconds + ' s: ' + wrong;
    if (byOld === 0) return 'unknown';
    // Where the kernel shares connections out, and not PM2, one process may get them all.
    const own = socketsOf(fresh) || new Set();
    if (table().some((row) => row.state === '0A' && row.local === what.port && own.has(row.number))) return 'ok';
    return 'bad ' + name + ' took no connection within ' + seconds + ' s, as the processes with the old code do (' + what.shown + '): it does not listen there';
};

judge(...process.argv.slice(2)).then(
    (verdict) => console.log(verdict),
    (error) => console.log('unknown ' + error.message),
);
