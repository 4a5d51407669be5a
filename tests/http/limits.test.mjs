// Section 10: every limit at its edge; past it nothing else is disturbed.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { start } from './lib/server.mjs';
import { ok, pause, problem, until } from './lib/client.mjs';
import { connect, exchange } from './lib/raw.mjs';
import { crowded } from './lib/sse.mjs';

let s;
let app;
before(async () => {
    s = await start({ max_body: 20000, max_header_block: 2000, max_uri: 500, max_json_depth: 10, max_input: 1000, max_result: 2000, max_metadata: 100, max_inline_result: 200,
        max_unfinished_per_session: 3, max_tasks_per_session: 5, max_watchers_per_session: 3, max_sessions_per_user: 3, max_gone_per_session: 2 });
    app = s.api();
});
after(() => s.close());

const text = (bytes) => JSON.stringify('x'.repeat(bytes - 2));

test('body', async () => {
    const body = (bytes) => `{"user":"u"}${' '.repeat(bytes - 12)}`;
    ok(await app.text('/v1/sessions', body(20000)), 201);
    problem(await app.text('/v1/sessions', body(20001)), 'too-large');
    const head = `POST /v1/sessions HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\nContent-Type: application/json\r\n`;
    problem(await exchange(s, `${head}Content-Length: 99999999999\r\n\r\n`), 'too-large');
    const c = await connect(s);
    c.write(`${head}Transfer-Encoding: chunked\r\n\r\n4e20\r\n${body(20000)}\r\n1\r\n \r\n0\r\n\r\n`);
    problem(await c.response(), 'too-large');
    c.destroy();
    ok(await exchange(s, `${head}Transfer-Encoding: chunked\r\n\r\n4e20\r\n${body(20000)}\r\n0\r\n\r\n`), 201);
});

test('the header block is bounded by its bytes alone, not by its lines', async () => {
    const of = (bytes) => {
        const head = `GET /healthz HTTP/1.1\r\nHost: ${s.host}\r\n`;
        const lines = Math.floor((bytes - head.length - 2) / 4);
        return { text: `${head}${'a:\r\n'.repeat(lines)}\r\n`, lines };
    };
    const most = of(2000);
    assert.ok(most.lines > 400);
    ok(await exchange(s, most.text), 200);
    problem(await exchange(s, of(2004).text), 'headers-too-large');
});

test('header block', async () => {
    const request = (bytes) => {
        const rest = `GET /healthz HTTP/1.1\r\nHost: ${s.host}\r\nX: \r\n\r\n`;
        return `GET /healthz HTTP/1.1\r\nHost: ${s.host}\r\nX: ${'y'.repeat(bytes - rest.length)}\r\n\r\n`;
    };
    ok(await exchange(s, request(1990)), 200);
    const r = problem(await exchange(s, request(2100)), 'headers-too-large');
    assert.match(r.headers.connection, /close/i);
    const c = await connect(s);
    c.write(`GET /healthz HTTP/1.1\r\nHost: ${s.host}\r\n`);
    for (let i = 0; i < 300; i++) {
        c.write(`X-${i}: y\r\n`);
    }
    problem(await c.response(), 'headers-too-large');
    c.destroy();
});

test('URI', async () => {
    const get = (bytes) => `GET /v1/sessions?user=${'u'.repeat(200)}&state=active&kind=${'x'.repeat(Math.max(0, bytes - 240))} HTTP/1.1\r\nHost: ${s.host}\r\n\r\n`;
    problem(await exchange(s, `GET /${'x'.repeat(499)} HTTP/1.1\r\nHost: ${s.host}\r\n\r\n`), 'not-found');
    problem(await exchange(s, `GET /${'x'.repeat(500)} HTTP/1.1\r\nHost: ${s.host}\r\n\r\n`), 'uri-too-long');
    problem(await exchange(s, `GET /${'x'.repeat(5000)} HTTP/1.1\r\nHost: ${s.host}\r\n\r\n`), 'uri-too-long');
    problem(await exchange(s, get(600)), 'uri-too-long');
});

test('depth of JSON', async () => {
    const a = await app.session();
    const post = (n) => app.text('/v1/tasks', `{"session":"${a.id}","kind":"work","input":${'['.repeat(n)}${']'.repeat(n)}}`);
    const t = ok(await post(9), 202).json;
    problem(await post(10), 'invalid-request');
    const report = (n) => s.api(t.worker_token).text(`/v1/tasks/${t.id}/reports`, `{"type":"fail","error":{"type":"x","message":"m","detail":${'['.repeat(n)}${']'.repeat(n)}}}`);
    problem(await report(9), 'invalid-request');
    ok(await report(8), 200);
});

test('input', async () => {
    const a = await app.session();
    const post = (n) => app.text('/v1/tasks', `{"session":"${a.id}","kind":"work","input":${text(n)}}`);
    ok(await post(1000), 202);
    problem(await post(1001), 'too-large', '/input');
    assert.equal(ok(await app.get(`/v1/tasks?session=${a.id}`), 200).json.items.length, 1);
});

test('result', async () => {
    const a = await app.session();
    const t = await app.task(a);
    const report = (n) => s.api(t.worker_token).text(`/v1/tasks/${t.id}/reports`, `{"type":"succeed","result":${text(n)}}`);
    problem(await report(2001), 'too-large', '/result');
    assert.equal((await app.look(t)).state, 'queued');
    ok(await report(2000), 200);
    const got = await app.look(t);
    assert.deepEqual([got.result, got.result_bytes], [null, 2000]);
    assert.equal(ok(await app.get(`/v1/tasks/${t.id}/result`), 200).text.length, 2000);
});

test('metadata', async () => {
    const meta = (n) => `{"m":"${'x'.repeat(n - 8)}"}`;
    const a = ok(await app.text('/v1/sessions', `{"metadata":${meta(100)}}`), 201).json;
    problem(await app.text('/v1/sessions', `{"metadata":${meta(101)}}`), 'too-large', '/metadata');
    ok(await app.text('/v1/tasks', `{"session":"${a.id}","kind":"work","metadata":${meta(100)}}`), 202);
    problem(await app.text('/v1/tasks', `{"session":"${a.id}","kind":"work","metadata":${meta(101)}}`), 'too-large', '/metadata');
});

test('result that is inlined', async () => {
    const a = await app.session();
    for (const [bytes, inlined] of [[200, true], [201, false]]) {
        const t = await app.task(a);
        ok(await s.api(t.worker_token).text(`/v1/tasks/${t.id}/reports`, `{"type":"succeed","result":${text(bytes)}}`), 200);
        assert.equal((await app.look(t)).result !== null, inlined);
    }
});

test('unfinished tasks per session', async () => {
    const a = await app.session();
    const tasks = [await app.task(a), await app.task(a), await app.task(a)];
    problem(await app.post('/v1/tasks', { session: a.id, kind: 'work' }), 'quota-exceeded');
    const b = await app.session();
    ok(await app.post('/v1/tasks', { session: b.id, kind: 'work' }), 202);
    await app.reported(tasks[0], { type: 'succeed' });
    await app.task(a);
    problem(await app.post('/v1/tasks', { session: a.id, kind: 'work' }), 'quota-exceeded');
});

test('moves may exceed it; creating then answers 429', async () => {
    const [a, b] = [await app.session(), await app.session()];
    for (const x of [a, a, a, b, b]) {
        await app.task(x);
    }
    assert.equal(ok(await app.post(`/v1/sessions/${a.id}/merge`, { into: b.id }), 200).json.tasks.unfinished, 5);
    problem(await app.post('/v1/tasks', { session: b.id, kind: 'work' }), 'quota-exceeded');
});

test('tasks kept per session: the oldest ended ones expire first', async () => {
    const a = await app.session();
    const e = await app.events(`/v1/sessions/${a.id}/events`);
    await e.live();
    const tasks = [];
    for (let i = 0; i < 7; i++) {
        const t = await app.task(a);
        await app.reported(t, { type: 'succeed' });
        tasks.push(t);
    }
    const gone = [(await e.find((i) => i.data.gone)).data, (await e.find((i) => i.data.gone)).data];
    assert.deepEqual(gone.map((g) => [g.gone, g.reason]), [[tasks[0].id, 'expired'], [tasks[1].id, 'expired']]);
    e.close();
    problem(await app.get(`/v1/tasks/${tasks[0].id}`), 'gone');
    assert.equal(ok(await app.get(`/v1/tasks?session=${a.id}`), 200).json.items.length, 5);
    ok(await app.get(`/v1/tasks/${tasks[2].id}`), 200);
});

describe('tasks kept per session', () => {
    const kept = async (api, a) => ok(await api.get(`/v1/sessions/${a.id}`), 200).json.tasks;
    const thinned = (api, a, tasks) => until(async () => JSON.stringify(await kept(api, a)) === JSON.stringify(tasks), `${JSON.stringify(tasks)} of ${a.id}`, 10_000);
    const done = async (api, a) => {
        const t = await api.task(a);
        await api.reported(t, { type: 'succeed' });
        await pause(3); // so that no two end at the same time
        return t;
    };
    const isGone = async (api, tasks) => Promise.all(tasks.map(async (t) => (await api.get(`/v1/tasks/${t.id}`)).status === 410));

    test('creating one expires as well', async () => {
        const a = await app.session();
        const ended = [await done(app, a), await done(app, a), await done(app, a), await done(app, a)];
        await app.task(a);
        await app.task(a);
        await thinned(app, a, { unfinished: 2, ended: 3 });
        await app.task(a);
        await thinned(app, a, { unfinished: 3, ended: 2 });
        assert.deepEqual(await isGone(app, ended), [true, true, false, false]);
    });

    test('what ended first goes first, also when it was seen later', async () => {
        const a = await app.session();
        const ended = [await done(app, a), await done(app, a), await done(app, a), await done(app, a), await done(app, a)];
        ok(await s.api(a.token).post(`/v1/tasks/${ended[0].id}/seen`), 200);
        ok(await s.api(a.token).post(`/v1/tasks/${ended[2].id}/seen`), 200);
        await app.task(a);
        await app.task(a);
        await thinned(app, a, { unfinished: 2, ended: 3 });
        assert.deepEqual(await isGone(app, ended), [true, true, false, false, false]);
    });

    test('or when it came from another session', async () => {
        const [a, b] = [await app.session(), await app.session()];
        const first = await done(app, a);
        const there = [await done(app, b), await done(app, b), await done(app, b)];
        const later = await done(app, a);
        there.push(await done(app, b));
        ok(await app.post(`/v1/tasks/${later.id}/bind`, { session: b.id }), 200);
        await pause(50);
        assert.deepEqual(await kept(app, b), { unfinished: 0, ended: 5 });
        ok(await app.post(`/v1/tasks/${first.id}/bind`, { session: b.id }), 200);
        await thinned(app, b, { unfinished: 0, ended: 5 });
        assert.deepEqual(await isGone(app, [first, ...there, later]), [true, false, false, false, false, false]);
    });

    test('after a merge and a handover', async () => {
        const users = [await app.session({ user: 'crowd' }), await app.session({ user: 'crowd' })];
        const ended = [];
        for (let i = 0; i < 4; i++) {
            for (const a of users) {
                ended.push(await done(app, a));
            }
        }
        ok(await app.post(`/v1/sessions/${users[0].id}/merge`, { into: users[1].id }), 200);
        await thinned(app, users[1], { unfinished: 0, ended: 5 });
        assert.deepEqual(await isGone(app, ended), [true, true, true, false, false, false, false, false]);
        const third = await app.session({ user: 'crowd' });
        const handed = await app.task(third, { on_session_end: 'handover' });
        ok(await app.delete(`/v1/sessions/${third.id}`), 200);
        await thinned(app, users[1], { unfinished: 1, ended: 4 });
        assert.deepEqual(await isGone(app, [ended[3], ended[4], handed]), [true, false, false]);
    });

    test('after a restart with less', async () => {
        const o = await start({});
        try {
            const a = await o.api().session();
            const ended = [];
            for (let i = 0; i < 6; i++) {
                ended.push(await done(o.api(), a));
            }
            await o.stop();
            await o.restart({ max_tasks_per_session: 4 });
            assert.equal((await o.api().look(ended[5])).state, 'succeeded');
            await thinned(o.api(), a, { unfinished: 0, ended: 4 });
            assert.deepEqual(await isGone(o.api(), ended), [true, true, false, false, false, false]);
        } finally {
            await o.close();
        }
    });
});

test('watchers per session, of all ways together', async () => {
    const a = await app.session();
    const t = await app.task(a);
    const mine = s.api(a.token);
    const one = await mine.events('/v1/session/events');
    const two = await s.api(t.token).events(`/v1/tasks/${t.id}/events`);
    const three = new WebSocket(`ws://${s.host}/v1/session/events`, 'bowline.v1', { headers: { authorization: `Bearer ${a.token}` } });
    await Promise.all([one.live(), two.live(), new Promise((done) => three.on('message', done))]);
    const { lastId: cursor } = one;
    await crowded(mine.events('/v1/session/events'));
    await crowded(mine.events('/v1/session/events', { lastEventId: cursor }), cursor);
    await crowded(mine.events(`/v1/session/events?after=${cursor}`, { headers: { accept: '*/*' } }), cursor);
    await crowded(mine.events('/v1/session/events?output=1', { lastEventId: 'of another history', headers: { accept: null } }), 'of another history');
    const line = ok(await mine.get('/v1/session/events?after=x%0Adata:%20y%0A%0A', { accept: 'text/event-stream' }), 200).text; // a cursor that no line can hold
    assert.match(line, /^retry: 30000\n\nevent: problem\ndata: \{.*\}\n\n$/);
    await crowded(app.events(`/v1/sessions/${a.id}/events`));
    await crowded(s.api(t.token).events(`/v1/tasks/${t.id}/events`));
    problem(await mine.page('/v1/session/events', { after: cursor, wait: 5 }), 'quota-exceeded');
    const b = await app.session();
    const other = await s.api(b.token).events('/v1/session/events');
    await other.live();
    other.close();
    await app.reported(t, { type: 'progress', current: 1 });
    await one.task(t.id, (x) => x.progress.current === 1);
    one.close();
    await until(async () => {
        const e = await mine.events('/v1/session/events');
        const { event } = await e.next();
        e.close();
        return event !== 'problem';
    }, 'a place');
    two.close();
    three.terminate();
});

test('sessions per user', async () => {
    const user = 'u-limits';
    const all = [];
    for (let i = 0; i < 5; i++) {
        all.push(await app.session({ user }));
        await new Promise((done) => setTimeout(done, 5));
    }
    const states = await Promise.all(all.map(async (a) => ok(await app.get(`/v1/sessions/${a.id}`), 200).json.reason));
    assert.deepEqual(states, ['limit', 'limit', null, null, null]);
    assert.equal(ok(await app.get(`/v1/sessions?user=${user}&state=active`), 200).json.items.length, 3);
});

test('gone ones remembered per session', async () => {
    const a = await app.session();
    const start_ = await app.events(`/v1/sessions/${a.id}/events`);
    const tasks = [];
    for (let i = 0; i < 3; i++) {
        tasks.push(await app.task(a));
        await app.reported(tasks[i], { type: 'succeed' });
    }
    await start_.live();
    await start_.task(tasks[2].id, (t) => t.ended_at);
    start_.close();
    for (const t of tasks) {
        ok(await app.delete(`/v1/tasks/${t.id}`), 204);
    }
    const r = ok(await app.page(`/v1/sessions/${a.id}/events`, { after: start_.lastId }), 200).json;
    assert.deepEqual(r.events.map((e) => e.event), ['reset']);
});

test('too many connections wait, and are served when others leave', async () => {
    const o = await start({ max_connections: 16, loops: 1 });
    try {
        const held = await Promise.all(Array.from({ length: 14 }, () => connect(o)));
        held.forEach((c) => c.write(`GET /healthz HTTP/1.1\r\nHost: ${o.host}\r\n\r\n`));
        await Promise.all(held.map((c) => c.response()));
        const more = await Promise.all(Array.from({ length: 12 }, () => connect(o)));
        more.forEach((c) => c.write(`GET /healthz HTTP/1.1\r\nHost: ${o.host}\r\n\r\n`));
        held.forEach((c) => c.destroy());
        for (const c of more) {
            ok(await c.response(), 200);
            c.destroy();
        }
    } finally {
        await o.close();
    }
});

describe('with the defaults', () => {
    let d;
    before(async () => {
        d = await start();
    });
    after(() => d.close());

    test('body 9 MiB, input 256 KiB, metadata 4 KiB, result 8 MiB', async () => {
        const api = d.api();
        const a = await api.session();
        const post = (members) => api.text('/v1/tasks', `{"session":"${a.id}","kind":"work",${members}}`);
        ok(await post(`"input":${text(262144)}`), 202);
        problem(await post(`"input":${text(262145)}`), 'too-large', '/input');
        ok(await post(`"metadata":{"m":"${'x'.repeat(4088)}"}`), 202);
        problem(await post(`"metadata":{"m":"${'x'.repeat(4089)}"}`), 'too-large', '/metadata');
        problem(await api.text('/v1/sessions', `{}${' '.repeat(9 * 1048576)}`), 'too-large');
        const t = await api.task(a);
        problem(await d.api(t.worker_token).text(`/v1/tasks/${t.id}/reports`, `{"type":"succeed","result":${text(8388609)}}`), 'too-large', '/result');
        ok(await d.api(t.worker_token).text(`/v1/tasks/${t.id}/reports`, `{"type":"succeed","result":${text(8388608)}}`), 200);
        assert.equal(ok(await api.get(`/v1/tasks/${t.id}/result`), 200).bytes.length, 8388608);
    });

    test('header block 16 KiB, URI 8 KiB, depth 64', async () => {
        problem(await exchange(d, `GET /healthz HTTP/1.1\r\nHost: ${d.host}\r\nX: ${'y'.repeat(17000)}\r\n\r\n`), 'headers-too-large');
        ok(await exchange(d, `GET /healthz HTTP/1.1\r\nHost: ${d.host}\r\nX: ${'y'.repeat(16000)}\r\n\r\n`), 200);
        problem(await exchange(d, `GET /${'x'.repeat(8192)} HTTP/1.1\r\nHost: ${d.host}\r\n\r\n`), 'uri-too-long');
        problem(await exchange(d, `GET /${'x'.repeat(8191)} HTTP/1.1\r\nHost: ${d.host}\r\n\r\n`), 'not-found');
        const a = await d.api().session();
        const post = (n) => d.api().text('/v1/tasks', `{"session":"${a.id}","kind":"work","input":${'['.repeat(n)}${']'.repeat(n)}}`);
        ok(await post(63), 202);
        problem(await post(64), 'invalid-request');
    });

    test('1,000 unfinished tasks', async () => {
        const api = d.api();
        const a = await api.session();
        for (let i = 0; i < 10; i++) {
            await Promise.all(Array.from({ length: 100 }, () => api.task(a)));
        }
        problem(await api.post('/v1/tasks', { session: a.id, kind: 'work' }), 'quota-exceeded');
    });

    test('64 watchers', async () => {
        const a = await d.api().session();
        const mine = d.api(a.token);
        const all = await Promise.all(Array.from({ length: 64 }, () => mine.events('/v1/session/events')));
        await Promise.all(all.map((e) => e.live()));
        await crowded(mine.events('/v1/session/events'));
        all.forEach((e) => e.close());
    });
});
