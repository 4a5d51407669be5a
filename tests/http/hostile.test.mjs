// Clients that mean harm, or have gone without a word: they cost little, and nobody else notices.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { ok, pause, problem, until } from './lib/client.mjs';
import { connect, exchange } from './lib/raw.mjs';
import { start } from './lib/server.mjs';

const MIB = 1024 * 1024;

let s;
before(async () => {
    s = await start({ request_header_timeout: 2, body_timeout: 2, idle_keepalive_timeout: 2, stalled_reader_timeout: 2 });
});
after(() => s.close());

const head = (server, path = '/v1/sessions', method = 'POST') => `${method} ${path} HTTP/1.1\r\nHost: ${server.host}\r\nAuthorization: Bearer ${server.key}\r\n`;

async function metric(server, name) {
    const text = ok(await server.api().get('/metrics'), 200).text;
    return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)[1]);
}

const statusBytes = (server, name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))[1]) * 1024;
/** The most memory that was resident since the last reset. */
const peakBytes = (server) => statusBytes(server, 'VmHWM');
/** Sanitizers keep what was freed, so that their memory says nothing. */
const sanitized = (server) => /lib[at]san/.test(readFileSync(`/proc/${server.pid}/maps`, 'latin1'));
const descriptors = (server) => readdirSync(`/proc/${server.pid}/fd`).length;
const cpuSeconds = (server) => {
    const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
};

/** Somebody else is served as ever. */
async function serves(server) {
    const api = server.api();
    const session = await api.session();
    const task = await api.task(session);
    const events = await server.api(session.token).events('/v1/session/events');
    await events.live();
    await api.reported(task, { type: 'succeed', result: 1 });
    await events.task(task.id, (t) => t.state === 'succeeded');
    events.close();
    ok(await api.delete(`/v1/sessions/${session.id}`), 200);
}

async function connectMany(server, count) {
    const all = [];
    for (let i = 0; i < count; i += 100) {
        all.push(...(await Promise.all(Array.from({ length: Math.min(100, count - i) }, () => connect(server)))));
    }
    return all;
}

test('hundreds who never finish their header block are told so, and hold nobody up', async () => {
    const all = await connectMany(s, 300);
    all.forEach((c) => c.write(`GET /healthz HTTP/1.1\r\nHost: ${s.host}\r\n`));
    const trickle = setInterval(() => all.forEach((c) => c.closed || c.ended || c.write('X-a: b\r\n')), 400); // a header now and then buys no time
    try {
        await serves(s);
        for (const c of all) {
            problem(await c.response(), 'request-timeout');
            await c.end();
        }
    } finally {
        clearInterval(trickle);
        all.forEach((c) => c.destroy());
    }
});

test('hundreds whose body stops arriving are told so', async () => {
    const all = await connectMany(s, 300);
    all.forEach((c, i) => c.write(`${head(s)}${i % 2 ? 'Content-Length: 1000' : 'Transfer-Encoding: chunked'}\r\n\r\n${i % 2 ? '' : '3e8\r\n'}{"key":`));
    await serves(s);
    for (const c of all) {
        problem(await c.response(), 'request-timeout');
        await c.end();
        c.destroy();
    }
});

test('a request that comes byte by byte is a request', async () => {
    const o = await start({ request_header_timeout: 60 });
    const c = await connect(o);
    c.socket.setNoDelay(true);
    const body = '{"metadata":{"slow":true}}';
    for (const byte of `${head(o)}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`) {
        c.write(byte);
        await pause(1);
    }
    assert.deepEqual(ok(await c.response(), 201).json.metadata, { slow: true });
    c.destroy();
    await o.close();
});

test('who reads byte by byte gets everything, and nobody waits for it', async () => {
    const api = s.api();
    const session = await api.session();
    const task = await api.task(session);
    const result = 'r'.repeat(4 * MIB);
    await api.reported(task, { type: 'succeed', result });
    const socket = net.connect({ port: s.port, host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.write(`${head(s, `/v1/tasks/${task.id}/result`, 'GET')}\r\n`);
    const parts = [];
    const readable = () => new Promise((done) => socket.once('readable', done));
    for (let taken = 0; taken < 2000; ) {
        const byte = socket.read(1);
        if (byte) {
            parts.push(byte);
            taken++;
        } else {
            await readable();
        }
    }
    await serves(s);
    socket.on('data', (d) => parts.push(d));
    await until(() => parts.reduce((n, p) => n + p.length, 0) > 4 * MIB && Buffer.concat(parts).toString('latin1').endsWith(`${result}"`), 'all of it');
    socket.destroy();
});

test('who asks without end and reads no answer is cut off, at little cost', async () => {
    const before = peakBytes(s);
    const socket = net.connect({ port: s.port, host: '127.0.0.1' });
    let over = false;
    socket.on('error', () => (over = true));
    socket.on('close', () => (over = true));
    socket.pause();
    const many = `GET /openapi.json HTTP/1.1\r\nHost: ${s.host}\r\n\r\n`.repeat(500);
    const pump = () => {
        while (!over && socket.write(many)) {
            // as long as it is taken
        }
    };
    socket.on('drain', pump);
    pump();
    await serves(s);
    await until(() => over, 'the end of it', 30000);
    socket.destroy();
    assert.ok(sanitized(s) || peakBytes(s) - before < 64 * MIB, `${peakBytes(s) - before} bytes`);
});

test('thousands of idle ones past max_connections go in time, and who has something to say is served', async () => {
    const o = await start({ max_connections: 100, idle_keepalive_timeout: 0.5, loops: 2 });
    const idle = [];
    try {
        for (let i = 0; i < 2000; i++) {
            const socket = net.connect({ port: o.port, host: '127.0.0.1' });
            socket.on('error', () => {});
            idle.push(socket);
        }
        const c = await connect(o);
        c.write(`GET /healthz HTTP/1.1\r\nHost: ${o.host}\r\n\r\n`);
        ok(await c.when(() => c.bytes.includes('200 OK') && { status: 200 }, 'its turn', 60000), 200);
        assert.ok(descriptors(o) < 250, `${descriptors(o)} descriptors`);
        c.destroy();
    } finally {
        idle.forEach((socket) => socket.destroy());
        await o.close();
    }
});

test('with fewer descriptors than it needs itself it says so instead of starting', async () => {
    for (const [loops, least] of [[1, 40], [2, 48]]) {
        const few = { under: ['prlimit', `--nofile=${least - 1}:${least - 1}`] };
        await assert.rejects(start({ loops }, few), new RegExp(`"code":1,.*only ${least - 1} files may be open at once, and the server itself needs ${least}`, 's'));
        const o = await start({ loops }, { under: ['prlimit', `--nofile=${least}:${least}`] });
        ok(await o.api().get('/v1/info'), 200);
        await o.close();
    }
});

test('out of descriptors it rests instead of spinning, says so once, and goes on when there are some', async () => {
    const o = await start({ loops: 1, idle_keepalive_timeout: 3600, request_header_timeout: 3600 }, { under: ['prlimit', '--nofile=64:64'] });
    const all = [];
    try {
        const api = o.api();
        const session = await api.session();
        const watcher = await o.api(session.token).events('/v1/session/events');
        await watcher.live();
        for (let i = 0; i < 200; i++) {
            const socket = net.connect({ port: o.port, host: '127.0.0.1' });
            socket.on('error', () => {});
            all.push(socket);
        }
        await until(() => o.err.includes('accept_paused'), 'the line about it');
        const cpu = cpuSeconds(o);
        await pause(1500);
        assert.ok(cpuSeconds(o) - cpu < 0.75, `${cpuSeconds(o) - cpu} seconds of work in 1.5`);
        const task = ok(await api.post('/v1/tasks', { session: session.id, kind: 'work' }), 202).json; // on a connection that is there already
        await watcher.task(task.id);
        all.splice(0, 50).forEach((socket) => socket.destroy()); // some of those who wait come in, and it is full again
        await pause(500);
        all.forEach((socket) => socket.destroy());
        await serves(o);
        watcher.close();
        assert.equal(o.err.split('accept_paused').length - 1, 1, o.err);
    } finally {
        all.forEach((socket) => socket.destroy());
        await o.close();
    }
});

/** A repeatable generator. */
function random(seed) {
    let state = seed;
    return (below) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor((state / 4294967296) * below);
    };
}

test('garbage is refused or dropped, whatever it is', async () => {
    const draw = random(20240607);
    const seeds = [
        `${head(s)}Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{"user":"u-1"}`,
        `${head(s)}Transfer-Encoding: chunked\r\n\r\n5\r\n{"use\r\n9\r\nr":"u-1"}\r\n0\r\n\r\n`,
        `${head(s, '/v1/session/events?after=x-y-1', 'GET')}Accept: text/event-stream\r\nLast-Event-ID: 1-2-3\r\n\r\n`,
        `${head(s, '/v1/reports')}Content-Type: application/x-ndjson\r\nContent-Length: 22\r\n\r\n{"type":"heartbeat"}\n\n`,
        `${head(s, '/v1/session/events', 'GET')}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    ].map((text) => Buffer.from(text, 'latin1'));
    const spoilt = () => {
        if (draw(4) === 0) {
            return Buffer.from(Array.from({ length: 1 + draw(3000) }, () => draw(256)));
        }
        const bytes = Buffer.from(seeds[draw(seeds.length)]);
        for (let i = 1 + draw(6); i > 0; i--) {
            bytes[draw(bytes.length)] = draw(3) ? draw(256) : [0, 10, 13, 32, 58, 255][draw(6)];
        }
        return Buffer.concat([bytes.subarray(0, 1 + draw(bytes.length)), draw(2) ? bytes : Buffer.alloc(0)]);
    };
    for (let round = 0; round < 40; round++) {
        const all = await connectMany(s, 50);
        all.forEach((c) => c.write(spoilt()));
        await pause(5);
        all.forEach((c, i) => (i % 2 ? c.socket.resetAndDestroy() : c.halfClose()));
        await Promise.all(all.filter((c, i) => i % 2 === 0).map((c) => c.end()));
        for (const c of all) {
            assert.ok(c.bytes.length === 0 || /^HTTP\/1\.1 [1-4]\d\d /.test(c.bytes.toString('latin1')), c.bytes.toString('latin1').slice(0, 200));
            c.destroy();
        }
    }
    await serves(s);
});

test('frames of a WebSocket that are too large or wrong end it alone', async () => {
    const session = await s.api().session();
    const open = async () => {
        const c = await connect(s);
        c.write(`GET /v1/session/events HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${session.token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
            + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
        await c.when(() => c.bytes.includes('"live"'), 'live');
        c.bytes = Buffer.alloc(0);
        return c;
    };
    const mask = [1, 2, 3, 4];
    const huge = Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, ...mask]);
    const wrong = {
        'four GiB announced': [huge, Buffer.alloc(64 * 1024)],
        'more than any number of bytes announced': [Buffer.from([0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ...mask])],
        'not masked': [Buffer.from([0x81, 0x02, 0x61, 0x62])],
        'reserved bits': [Buffer.from([0xf1, 0x80, ...mask])],
        'an opcode that does not exist': [Buffer.from([0x83, 0x80, ...mask])],
        'a ping of 126 bytes': [Buffer.from([0x89, 0xfe, 0x00, 0x7e, ...mask]), Buffer.alloc(126)],
        'a ping in pieces': [Buffer.from([0x09, 0x80, ...mask])],
        'a continuation of nothing': [Buffer.from([0x80, 0x80, ...mask])],
        'text that is not UTF-8': [Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28])],
        'a close code that does not exist': [Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed])],
        'a message of pieces without end': Array.from({ length: 200 }, (_, i) => Buffer.concat([Buffer.from([i ? 0x00 : 0x01, 0xfe, 0x40, 0x00, ...mask]), Buffer.alloc(16384, 0x61)])),
    };
    for (const [what, frames] of Object.entries(wrong)) {
        const c = await open();
        frames.forEach((f) => c.write(f));
        await c.when(() => c.closed || c.ended, `${what}: the end`);
        const at = c.bytes.indexOf(0x88);
        if (!c.reset) {
            assert.ok(at >= 0, `${what}: no close frame`);
            assert.ok([1002, 1003, 1007, 1008, 1009].includes(c.bytes.readUInt16BE(at + 2)), `${what}: ${c.bytes.readUInt16BE(at + 2)}`);
        }
        c.destroy();
    }
    const flood = await open();
    flood.socket.pause();
    const ping = Buffer.concat(Array.from({ length: 4000 }, () => Buffer.concat([Buffer.from([0x89, 0xfd, ...mask]), Buffer.alloc(125)])));
    const before = peakBytes(s);
    let over = false;
    flood.socket.on('close', () => (over = true));
    for (let i = 0; i < 40; i++) {
        flood.write(ping); // 20 MB of pings whose pongs are not read
    }
    await serves(s);
    assert.ok(sanitized(s) || peakBytes(s) - before < 32 * MIB, `${peakBytes(s) - before} bytes`);
    await until(() => over, 'the end of the flood', 30000);
    flood.destroy();
    const ws = new WebSocket(`${s.url.replace('http', 'ws')}/v1/session/events`, 'bowline.v1', { headers: { authorization: `Bearer ${session.token}` } });
    await new Promise((done, fail) => ws.on('open', done).on('error', fail));
    ws.terminate();
});

test('a body costs its size a few times at most, whatever stands in it', async () => {
    const o = await start({ loops: 1, idle_keepalive_timeout: 3600 });
    const api = o.api();
    try {
        const session = await api.session();
        const size = 9 * MIB;
        const begin = `{"session":"${session.id}","kind":"work"`;
        const fill = (start, unit, end) => start + unit.repeat(Math.floor((size - start.length - end.length) / unit.length)) + end;
        const names = (start, end) => {
            const parts = [start];
            let length = start.length + end.length;
            for (let i = 0; ; i++) {
                const part = `${i ? ',' : ''}"${i.toString(36)}":0`;
                length += part.length;
                if (length > size) {
                    return parts.join('') + end;
                }
                parts.push(part);
            }
        };
        const before = statusBytes(o, 'VmRSS');
        const bodies = {
            'a list of numbers': [fill(`${begin},"input":[0`, ',0', ']}'), '/v1/tasks', 413],
            'a list of objects': [fill(`${begin},"input":[{}`, ',{}', ']}'), '/v1/tasks', 413],
            'an object of many names': [names(`${begin},"input":{`, '}}'), '/v1/tasks', 413],
            'an input that is a text of escapes': [fill(`${begin},"input":"`, '\\u00e9', '"}'), '/v1/tasks', 413],
            'a title that is a text of escapes': [fill(`${begin},"title":"`, '\\n', '"}'), '/v1/tasks', 400],
            'a list where none belongs': [fill(`${begin},"title":[0`, ',0', ']}'), '/v1/tasks', 413],
            'many unknown members': [names('{', '}'), '/v1/sessions', 413],
            'a long number': [fill('{"idle_timeout":1', '0', '}'), '/v1/sessions', 400],
            'nothing but white space': [fill('{', ' ', '}'), '/v1/sessions', 201],
            'brackets': [fill(`${begin},"input":`, '[', '}'), '/v1/tasks', 400],
        };
        for (const [what, [body, path, status]] of Object.entries(bodies)) {
            execFileSync('sh', ['-c', `echo 5 > /proc/${o.pid}/clear_refs`]); // the peak counts from here
            const r = await api.text(path, body);
            const grown = peakBytes(o) - before;
            assert.equal(r.status, status, `${what}: ${r.text.slice(0, 300)}`);
            assert.ok(sanitized(o) || grown < 6 * size, `${what}: ${(grown / size).toFixed(2)} times its size`);
        }
        problem(await api.text('/v1/tasks', bodies['a list where none belongs'][0]), 'too-large', '/title/99996');
    } finally {
        await o.close();
    }
});

test('nobody reads the log, and everything goes on', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'bowline-log-'));
    const fifo = join(folder, 'log');
    execFileSync('mkfifo', [fifo]);
    const fd = openSync(fifo, 'r+'); // never read from: 64 KiB fit into it
    const o = await start({}, { stderr: fd });
    try {
        const api = o.api();
        for (let i = 0; i < 60; i++) {
            await Promise.all(Array.from({ length: 50 }, () => api.session())); // a line each
        }
        await serves(o);
    } finally {
        const gone = new Promise((done) => o.child.once('exit', done));
        o.child.kill('SIGTERM');
        await gone; // also when what was to be said could not be
        await o.agent.destroy();
        closeSync(fd);
        rmSync(folder, { recursive: true });
        rmSync(o.data, { recursive: true });
    }
});

test('who asks while it drains gets an answer, also where only one loop is left', async () => {
    const o = await start({ loops: 4, drain_time: 60 });
    const session = await o.api().session();
    const events = await o.api(session.token).events('/v1/session/events');
    await events.live();
    o.child.kill('SIGTERM');
    const ask = () => exchange(o, `GET /readyz HTTP/1.1\r\nHost: ${o.host}\r\n\r\n`).catch((e) => e);
    await until(async () => (await ask()).status === 503, 'it to drain');
    for (let i = 0; i < 30 && !events.done; i++) {
        const r = await ask();
        assert.ok(r.status === 503 || (r instanceof Error && !/gave up/.test(r.message)), `${r}`); // at worst a loop ends just then
    }
    events.close();
    assert.equal((await o.exited).code, 0);
    await o.close();
});

test('a watcher whose cable is pulled is noticed and freed', async () => {
    const script = join(dirname(fileURLToPath(import.meta.url)), 'lib', 'pulled.mjs');
    const user = process.getuid() === 0 ? [] : ['--map-root-user'];
    const child = spawn('unshare', ['--net', ...user, process.execPath, script], { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let err = '';
    child.stdout.on('data', (d) => (out += d));
    child.stderr.on('data', (d) => (err += d));
    const code = await new Promise((done) => child.on('close', done));
    assert.equal(code, 0, err);
    assert.ok(JSON.parse(out).freed >= 2, out);
});
