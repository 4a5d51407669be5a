// Section 10, "nothing else is disturbed": one session at each of its limits, hammering from many connections, slows no other. No clock decides: whoever is past a limit
// is refused with the right code, what is refused costs the store nothing, and meanwhile all that another session does succeeds and arrives.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import WebSocket from 'ws';
import { start } from './lib/server.mjs';
import { ok, problem, until } from './lib/client.mjs';
import { crowded } from './lib/sse.mjs';
import { connect } from './lib/raw.mjs';

const MOST = { unfinished: 5, tasks: 8, watchers: 3, sessions: 3, output: 65536, opened: 4 };
const CONNECTIONS = 32;
const REFUSED = 320; // while nobody else is there
const LIVES = 12; // of the other's tasks
const FEED = '/v1/session/events';

let s;
let app;
before(async () => {
    s = await start({ max_unfinished_per_session: MOST.unfinished, max_tasks_per_session: MOST.tasks, max_watchers_per_session: MOST.watchers, max_sessions_per_user: MOST.sessions,
        max_output_per_task: MOST.output, open_sessions: true, open_sessions_per_minute: MOST.opened, session_kinds: { work: {} }, max_body: 20000, max_header_block: 2000, max_uri: 500,
        max_json_depth: 10, idle_timeout: 0, max_age: 0 });
    app = s.api();
});
after(() => s.close());

const COUNTS = ['bowline_store_lookups_total', 'bowline_store_operations_total', 'bowline_changes_total', 'bowline_frames_total', 'bowline_sessions_created_total'];

async function counts() {
    const text = ok(await app.get('/metrics'), 200).text;
    return Object.fromEntries(COUNTS.map((name) => [name, Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)[1])]));
}

/** Runs once(i) on many connections at once until `more` says that it is enough; how often that was. */
async function hammer(once, more) {
    let n = 0;
    await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
        while (more(n)) {
            await once(n++);
        }
    }));
    return n;
}

/** The other one: its tasks live their lives while its watcher looks on; nothing of it is refused, and all of it arrives. */
async function otherLives(api = app) {
    const b = await api.session();
    const mine = s.api(b.token);
    const watching = await mine.events(FEED);
    await watching.live();
    for (let i = 0; i < LIVES; i++) {
        const t = await api.task(b, { input: i });
        for (let current = 1; current <= 3; current++) {
            await api.reported(t, { type: 'progress', current, total: 3 });
        }
        await api.reported(t, [{ type: 'output', data: `of ${i}` }, { type: 'succeed', result: i }]);
        const seen = await watching.task(t.id, (x) => x.ended_at);
        assert.deepEqual([seen.state, seen.result, seen.progress.current], ['succeeded', i, 3]);
        assert.equal(ok(await mine.get(`/v1/tasks/${t.id}/output`), 200).text, `of ${i}`);
    }
    watching.close();
}

/**
 * What is refused: alone, so that what it costs can be counted (`lookups` for each, and nothing in the store, whose own housekeeping adds an op now and then), and then
 * while the other lives.
 */
async function refusedWithoutHarm(once, { lookups = 0 } = {}) {
    await once(0); // whatever has to be looked up once
    const was = await counts();
    const refused = await hammer(once, (n) => n < REFUSED);
    const is = await counts();
    const risen = Object.fromEntries(COUNTS.map((name) => [name, is[name] - was[name]]));
    assert.ok(risen.bowline_store_lookups_total <= refused * lookups, `${refused} refusals: ${JSON.stringify(risen)}`);
    assert.ok(risen.bowline_store_operations_total < refused / 20, `${refused} refusals: ${JSON.stringify(risen)}`);
    assert.deepEqual([risen.bowline_changes_total, risen.bowline_frames_total, risen.bowline_sessions_created_total], [0, 0, 0]);
    let over = false;
    const [beside] = await Promise.all([hammer(once, () => !over), otherLives().finally(() => (over = true))]);
    assert.ok(beside >= CONNECTIONS, 'it went on meanwhile');
}

const full = async (members) => {
    const a = await app.session(members);
    const tasks = [];
    for (let i = 0; i < MOST.unfinished; i++) {
        tasks.push(await app.task(a));
    }
    return { a, tasks };
};

test('unfinished tasks', async () => {
    const { a, tasks } = await full({ key: 'of the framework' });
    const mine = s.api(a.token);
    const ways = [
        () => app.post('/v1/tasks', { session: a.id, kind: 'work' }),
        () => app.post('/v1/tasks', { session: { key: 'of the framework' }, kind: 'work', input: 'x'.repeat(5000) }),
        () => mine.post('/v1/session/tasks', { kind: 'work' }),
    ];
    await refusedWithoutHarm(async (i) => problem(await ways[i % ways.length](), 'quota-exceeded'));
    assert.deepEqual(ok(await mine.get('/v1/session'), 200).json.tasks, { unfinished: MOST.unfinished, ended: 0 });
    await app.reported(tasks[0], { type: 'succeed' });
    await app.task(a); // one has ended: there is room for one
    problem(await ways[0](), 'quota-exceeded');
});

test('unfinished tasks, each asked for with an Idempotency-Key of its own', async () => {
    const { a } = await full();
    let n = 0;
    await refusedWithoutHarm(async () => problem(await app.post('/v1/tasks', { session: a.id, kind: 'work' }, { 'idempotency-key': `refused ${n++}` }), 'quota-exceeded'), { lookups: 1 });
});

const refusedUpgrade = (path, token) => new Promise((done, fail) => {
    const ws = new WebSocket(`ws://${s.host}${path}`, 'bowline.v1', { headers: { authorization: `Bearer ${token}` } });
    ws.on('unexpected-response', (request, response) => {
        response.resume();
        response.on('end', () => done(response.statusCode));
    });
    ws.on('open', () => {
        ws.terminate();
        fail(new Error('one watcher too many'));
    });
    ws.on('error', fail);
});

test('watchers, of all ways', { timeout: 120_000 }, async () => {
    const a = await app.session();
    const t = await app.task(a);
    const mine = s.api(a.token);
    const watching = await Promise.all([mine.events(FEED), mine.events(FEED), s.api(t.token).events(`/v1/tasks/${t.id}/events`)]);
    await Promise.all(watching.map((e) => e.live()));
    const { lastId } = watching[0];
    const ways = [
        () => crowded(mine.events(FEED)),
        () => crowded(s.api(t.token).events(`/v1/tasks/${t.id}/events`)),
        async () => problem(await mine.page(FEED, { after: lastId, wait: 60 }), 'quota-exceeded'),
        async () => assert.equal(await refusedUpgrade(FEED, a.token), 429),
    ];
    await refusedWithoutHarm((i) => ways[i % ways.length]());
    await app.reported(t, [{ type: 'progress', current: 7 }, { type: 'succeed' }]); // and those that it has are told
    for (const e of watching) {
        assert.equal((await e.task(t.id, (x) => x.ended_at)).progress.current, 7);
        e.close();
    }
});

test('tasks kept: only its own go, the oldest first', async () => {
    const [a, b] = [await app.session(), await app.session()];
    const life = async (session) => {
        const t = await app.task(session);
        await app.reported(t, { type: 'succeed' });
        return t.id;
    };
    const kept = [];
    for (let i = 0; i < MOST.tasks; i++) {
        kept.push(await life(b));
    }
    const gone = [];
    let over = false;
    await Promise.all([
        Promise.all(Array.from({ length: MOST.unfinished }, async () => { // as many at once as it may have
            while (!over || gone.length < 10 * MOST.tasks) {
                gone.push(await life(a));
            }
        })),
        otherWithin(b).finally(() => (over = true)),
    ]);
    await until(async () => ok(await app.get(`/v1/tasks?session=${a.id}`), 200).json.items.length === MOST.tasks, 'as many as may be kept');
    for (const id of kept) {
        ok(await app.get(`/v1/tasks/${id}`), 200);
    }
    assert.deepEqual(ok(await app.get(`/v1/sessions/${b.id}`), 200).json.tasks, { unfinished: 0, ended: MOST.tasks });
});

/** Looks at what a session has, again and again. */
async function otherWithin(b) {
    const e = await s.api(b.token).events(FEED);
    await e.live();
    for (let i = 0; i < 50; i++) {
        assert.equal(ok(await s.api(b.token).get('/v1/session/tasks'), 200).json.items.length, MOST.tasks);
    }
    assert.deepEqual(e.items.filter((x) => x.data.gone), []);
    e.close();
}

test('sessions of a user: only that user\'s end', async () => {
    const user = 'one at the limit';
    const others = [...await Promise.all(Array.from({ length: MOST.sessions }, () => app.session({ user: 'another' }))), await app.session()];
    let over = false;
    const [made] = await Promise.all([
        hammer(() => app.session({ user }), (n) => !over || n < 100),
        Promise.all([otherLives(), otherLives()]).finally(() => (over = true)),
    ]);
    assert.equal(ok(await app.get(`/v1/sessions?user=${encodeURIComponent(user)}&state=active&limit=1000`), 200).json.items.length, MOST.sessions);
    assert.ok(made >= 100);
    for (const o of others) {
        assert.equal(ok(await s.api(o.token).get('/v1/session'), 200).json.state, 'active');
    }
});

test('output kept: the front of its own is dropped', async () => {
    const [a, b] = [await app.session(), await app.session()];
    const [t, u] = [await app.task(a), await app.task(b)];
    const piece = 'x'.repeat(8000);
    const text = 'y'.repeat(MOST.output);
    for (let at = 0; at < text.length; at += 8192) {
        await app.reported(u, { type: 'output', data: text.slice(at, at + 8192) });
    }
    let over = false;
    let sent = 0;
    await Promise.all([
        (async () => {
            while (!over || sent < 4 * MOST.output) {
                await app.reported(t, { type: 'output', data: piece });
                sent += piece.length;
            }
        })(),
        otherLives().finally(() => (over = true)),
    ]);
    assert.equal(ok(await app.get(`/v1/tasks/${u.id}/output?offset=0`), 200).text, text);
    const left = ok(await app.get(`/v1/tasks/${t.id}/output?offset=0`), 200);
    assert.equal(Number(left.headers['bowline-output-offset']) + left.bytes.length, sent);
    assert.ok(left.bytes.length <= MOST.output);
});

test('bodies, headers, addresses and depths past their limits', async () => {
    const a = await app.session();
    const mine = s.api(a.token);
    const ways = [
        async () => problem(await mine.text('/v1/session/tasks', `{"kind":"work"}${' '.repeat(20000)}`), 'too-large'),
        async () => problem(await mine.get(`/v1/session/tasks?kind=${'k'.repeat(500)}`), 'uri-too-long'),
        async () => problem(await mine.get('/v1/session', { 'x-long': 'y'.repeat(2000) }), 'headers-too-large'),
        async () => problem(await mine.text('/v1/session/tasks', `{"kind":"work","input":${'['.repeat(20)}${']'.repeat(20)}}`), 'invalid-request'),
    ];
    await refusedWithoutHarm((i) => ways[i % ways.length]());
    assert.deepEqual(ok(await mine.get('/v1/session'), 200).json.tasks, { unfinished: 0, ended: 0 });
});

/** POST /v1/session from one of this machine's own addresses. */
const openFrom = (address, agent) => new Promise((done, fail) => {
    const r = http.request({ host: '127.0.0.1', port: s.port, localAddress: address, agent, method: 'POST', path: '/v1/session', headers: { host: s.host, origin: s.url } }, (response) => {
        response.resume();
        response.on('end', () => done(response));
    });
    r.on('error', fail);
    r.end();
});

test('sessions opened from one address', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
    let opened = 0;
    while ((await openFrom('127.0.0.2', agent)).statusCode === 201) {
        opened++;
        assert.ok(opened <= MOST.opened + 1); // one more may have become due
    }
    assert.ok(opened >= MOST.opened);
    const was = await counts();
    const answers = { 201: 0, 429: 0 };
    await hammer(async () => {
        const r = await openFrom('127.0.0.2', agent);
        answers[r.statusCode]++;
        assert.ok(r.statusCode === 201 || Number(r.headers['retry-after']) > 0);
    }, (n) => n < REFUSED);
    const is = await counts();
    assert.equal(is.bowline_sessions_created_total - was.bowline_sessions_created_total, answers[201]);
    assert.ok(answers[429] > REFUSED * 0.9, JSON.stringify(answers)); // those that became due meanwhile
    assert.ok(is.bowline_store_lookups_total - was.bowline_store_lookups_total <= answers[201]);
    assert.ok(is.bowline_store_operations_total - was.bowline_store_operations_total < REFUSED / 20 + 3 * answers[201]);
    let over = false;
    await Promise.all([
        hammer(() => openFrom('127.0.0.2', agent), () => !over),
        (async () => {
            assert.equal((await openFrom('127.0.0.3', agent)).statusCode, 201); // from elsewhere
            await otherLives();
        })().finally(() => (over = true)),
    ]);
    agent.destroy();
});

test('a worker that reports without end and reads no answer is paced, the others are not', async () => {
    const a = await app.session();
    const t = await app.task(a);
    const flood = await connect(s);
    let stopped = false;
    let stop;
    const end = new Promise((done) => (stop = done));
    const lines = Array.from({ length: 100 }, (_, i) => `${JSON.stringify({ task: t.id, type: 'progress', current: i, message: 'm'.repeat(100) })}\n`).join('');
    flood.socket.pause();
    flood.write(`POST /v1/reports HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n`);
    const chunk = `${Buffer.byteLength(lines).toString(16)}\r\n${lines}\r\n`;
    const paced = (async () => {
        let sent = 0;
        while (!stopped) {
            if (!flood.socket.write(chunk)) {
                await Promise.race([new Promise((done) => flood.socket.once('drain', done)), end]);
            }
            sent += 100;
        }
        return sent;
    })();
    await otherLives().finally(() => {
        stopped = true;
        stop();
    });
    const sent = await paced;
    flood.socket.resume();
    flood.write('0\r\n\r\n');
    const answers = ok(await flood.response(), 200).text.trim().split('\n'); // each line that it sent counted
    assert.equal(answers.length, sent);
    for (const line of answers) {
        assert.equal(JSON.parse(line).state, 'running', line);
    }
    flood.destroy();
});
