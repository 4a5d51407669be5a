// Section 6: what a reader is still told when its feed comes to an end, however far behind it is, and whatever is gone by then; and cursors that say nothing.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { start } from './lib/server.mjs';
import { ok, pause, problem, until } from './lib/client.mjs';
import { connect } from './lib/raw.mjs';

const RESULT = 'r'.repeat(15000);
const BEHIND = 400; // times that: far more than sockets hold of what nobody reads
const LARGE = 1_000_000; // more output than a feed remembers
const SILENCE_MS = 600; // longer than anything at an end may be hurried by

let s;
let app;
before(async () => {
    s = await start({ max_unfinished_per_session: 100000 });
    app = s.api();
});
after(() => s.close());

/** A reader of events as they stand on the wire; pause() and resume() are its pace. */
class Sse {
    static async open(path, token, headers = '') {
        const r = new Sse();
        r.c = await connect(s);
        r.c.write(`GET ${path} HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${token}\r\nAccept: text/event-stream\r\n${headers}\r\n`);
        await r.c.when(() => r.c.bytes.includes('\nid: '), 'the head');
        return r;
    }

    pause() {
        this.c.socket.pause();
    }

    async rest() {
        this.c.socket.resume();
        await this.c.when(() => this.c.closed || this.c.ended, 'the end', 60000);
        return this.c.bytes.toString().split('\n\n').filter((block) => block.includes('\nevent: ')).map((block) => ({ event: /^event: (.*)$/m.exec(block)[1], data: JSON.parse(/^data: (.*)$/m.exec(block)[1]) }));
    }
}

class Socket {
    static async open(path, token) {
        const r = new Socket();
        r.items = [];
        r.ws = new WebSocket(`ws://${s.host}${path}`, 'bowline.v1', { headers: { authorization: `Bearer ${token}` } });
        r.ws.on('message', (data) => r.items.push(JSON.parse(data.toString())));
        r.ws.on('close', (code) => (r.code = code));
        await until(() => r.items.length || r.code, 'the first message');
        return r;
    }

    pause() {
        this.ws.pause();
    }

    async rest() {
        this.ws.resume();
        await until(() => this.code, 'the end', 60000);
        assert.equal(this.code, 1000);
        return this.items;
    }
}

const ways = { 'an event stream': Sse, 'a WebSocket': Socket };

async function crowded() {
    const a = await app.session();
    const tasks = [];
    for (let i = 0; i < BEHIND; i++) {
        tasks.push(await app.task(a));
    }
    await Promise.all(tasks.map((t) => app.reported(t, { type: 'succeed', result: RESULT })));
    return { a, tasks };
}

describe('a reader that is behind when its session ends has everything and then the event', () => {
    for (const [name, Way] of Object.entries(ways)) {
        for (const who of ['own', 'backend']) {
            test(`${name}, ${who === 'own' ? "with the session's token" : 'of the backend'}`, async () => {
                const { a, tasks } = await crowded();
                const r = who === 'own' ? await Way.open('/v1/session/events', a.token) : await Way.open(`/v1/sessions/${a.id}/events`, s.key);
                r.pause();
                const later = await app.task(a);
                ok(await app.delete(`/v1/sessions/${a.id}`), 200);
                await app.reported(later, { type: 'progress', current: 77 });
                await pause(SILENCE_MS);
                const items = await r.rest();
                const told = new Set(items.filter((i) => i.data.task).map((i) => i.data.task.id));
                assert.deepEqual(tasks.filter((t) => !told.has(t.id)), []);
                assert.ok(!items.some((i) => i.data.task?.progress?.current === 77), 'nothing later');
                assert.ok(told.has(later.id), 'also of one that went on afterwards');
                assert.deepEqual([items.at(-1).event, items.at(-1).data.state, items.at(-1).data.reason], ['session', 'ended', 'logout']);
            });
        }
    }
});

test('the page that waits when its session ends has every state, however many, and then the event', async () => {
    const COUNT = 1200; // more than a page has
    const a = await app.session();
    const tasks = await Promise.all(Array.from({ length: COUNT }, () => app.task(a, { on_session_end: 'cancel' })));
    const feed = '/v1/session/events';
    const mine = s.api(a.token);
    let cursor;
    for (let n = 1000; n >= 1000; ) {
        const page = ok(await mine.page(feed, { after: cursor }), 200).json;
        n = page.events.length;
        cursor = page.cursor;
    }
    const [waiting] = await app.begun(() => mine.page(feed, { after: cursor, wait: 30 }));
    ok(await app.delete(`/v1/sessions/${a.id}`), 200);
    const { events } = ok(await waiting, 200).json;
    const cancelled = new Set(events.filter((e) => e.data.task?.cancel_requested).map((e) => e.data.task.id));
    assert.deepEqual(tasks.filter((t) => !cancelled.has(t.id)), []);
    assert.deepEqual([events.at(-1).event, events.at(-1).data.state], ['session', 'ended']);
    assert.equal((await mine.page(feed, { after: cursor })).status, 204);
});

describe("a reader of a task's own feed that is behind when the task leaves its session has what was before and then that it is gone", () => {
    for (const [name, Way] of Object.entries(ways)) {
        test(name, async () => {
            const [a, b] = [await app.session(), await app.session()];
            const t = await app.task(a);
            const piece = 'x'.repeat(60000);
            const r = await Way.open(`/v1/tasks/${t.id}/events`, a.token);
            r.pause();
            for (let i = 0; i < 100; i++) {
                await app.reported(t, { type: 'output', data: piece });
            }
            ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: b.id }), 200);
            await app.reported(t, { type: 'output', data: 'later' });
            await pause(SILENCE_MS);
            const items = await r.rest();
            assert.equal(items.filter((i) => i.event === 'output').reduce((bytes, i) => bytes + i.data.data.length, 0), 100 * piece.length);
            assert.deepEqual([items.at(-1).data.gone, items.at(-1).data.reason], [t.id, 'moved']);
        });
    }
});

describe("a task's own feed ends with its final state, also where its output was deleted before it could be sent", () => {
    const check = (items) => {
        const output = items.filter((i) => i.event === 'output');
        let at = 0;
        for (const i of output) {
            assert.ok(i.data.offset >= at, 'forward');
            at = i.data.offset + i.data.data.length;
        }
        assert.equal(at, output.length ? LARGE : 0);
        assert.deepEqual(items.filter((i) => i.event === 'task').map((i) => i.data.task.state).at(-1), 'succeeded');
    };
    const end = (t) => app.reported(t, [{ type: 'output', data: 'o'.repeat(LARGE) }, { type: 'succeed' }]);

    for (const [name, Way] of Object.entries(ways)) {
        for (const members of [{ ttl: 0 }, { ttl: 60 }]) {
            test(`${name}, ${members.ttl ? 'deleted at once' : 'not kept at all'}`, async () => {
                const t = await app.task(await app.session(), members);
                const r = await Way.open(`/v1/tasks/${t.id}/events`, t.token);
                await end(t);
                if (members.ttl) {
                    ok(await app.delete(`/v1/tasks/${t.id}`), 204);
                }
                check(await r.rest());
                problem(await s.api(t.token).get(`/v1/tasks/${t.id}/events`), 'gone');
            });
        }
    }

    test('a stream that was opened behind the end, and had not read it', async () => {
        const t = await app.task(await app.session());
        const many = Math.ceil(9_000_000 / LARGE);
        await app.reported(t, Array.from({ length: many }, () => ({ type: 'output', data: 'o'.repeat(LARGE / 2) })));
        await app.reported(t, { type: 'succeed' });
        const r = await Sse.open(`/v1/tasks/${t.id}/events`, t.token);
        r.pause();
        await pause(200);
        ok(await app.delete(`/v1/tasks/${t.id}`), 204);
        const items = await r.rest();
        assert.equal(items.filter((i) => i.event === 'task').at(-1).data.task.state, 'succeeded');
    });

    for (const [name, Way] of Object.entries(ways)) {
        test(`${name} that is behind when the task, long ended, is marked seen`, async () => {
            const t = await app.task(await app.session());
            await app.reported(t, [...Array.from({ length: 16 }, () => ({ type: 'output', data: 'o'.repeat(LARGE / 2) })), { type: 'succeed' }]);
            const r = await Way.open(`/v1/tasks/${t.id}/events`, t.token);
            r.pause();
            ok(await s.api(t.token).post(`/v1/tasks/${t.id}/seen`), 200);
            await pause(SILENCE_MS);
            const last = (await r.rest()).filter((i) => i.event === 'task').at(-1);
            assert.equal(last?.data.task.state, 'succeeded');
            assert.ok(last.data.task.seen_at);
        });
    }

    test('a page that waits', async () => {
        const t = await app.task(await app.session(), { ttl: 0 });
        const path = `/v1/tasks/${t.id}/events`;
        const { cursor } = ok(await s.api(t.token).get(path, { accept: 'application/json' }), 200).json;
        const [waiting] = await app.begun(() => s.api(t.token).get(`${path}?after=${cursor}`, { accept: 'application/json', prefer: 'wait=20' }));
        await end(t);
        check(ok(await waiting, 200).json.events);
    });
});

test('a task that left several times, and perhaps came back, is told of once, also where output is asked for', async () => {
    const [a, b] = [await app.session(), await app.session()];
    const t = await app.task(a);
    const mine = s.api(a.token);
    const page = async (more) => ok(await mine.get(`/v1/session/events?${more}`, { accept: 'application/json' }), 200).json;
    const { cursor } = await page('');
    for (const to of [b, a, b, a, b]) {
        ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: to.id }), 200);
    }
    for (const output of ['', '&output=1']) {
        assert.deepEqual((await page(`after=${cursor}${output}`)).events.map((e) => [e.data.gone, e.data.reason]), [[t.id, 'moved']]);
    }
    ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: a.id }), 200);
    for (const output of ['', '&output=1']) {
        assert.deepEqual((await page(`after=${cursor}${output}`)).events.map((e) => e.data.task?.id), [t.id]);
    }
});

describe('a cursor that says nothing is answered with reset, never with an error', () => {
    for (const after of ['%ff', '%e9', '%ed%a0%80', '%zz', '%', '%00', '+', 'x'.repeat(4000)]) {
        test(`?after=${after.slice(0, 20)}`, async () => {
            const a = await app.session();
            const t = await app.task(a);
            for (const path of [`/v1/session/events?after=${after}`, `/v1/tasks/${t.id}/events?after=${after}`]) {
                assert.equal(ok(await s.api(a.token).get(path, { accept: 'application/json' }), 200).json.events[0].event, 'reset');
                const w = await Socket.open(path, a.token);
                assert.equal(w.items[0].event, 'reset');
                w.ws.terminate();
                const e = await Sse.open(path, a.token);
                await e.c.when(() => e.c.bytes.includes('event: reset'), 'the event');
                e.c.destroy();
            }
        });
    }

    test('other parameters are still refused', async () => {
        const a = await app.session();
        problem(await s.api(a.token).get('/v1/session/events?output=%zz'), 'invalid-request');
        problem(await app.get('/v1/sessions?after=%zz'), 'invalid-request');
        problem(await s.api(a.token).get('/v1/session/events?%zz=1'), 'invalid-request');
    });

    test('one of a way from the front that began later than anything here', async () => {
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'progress', current: 1 });
        const { cursor } = ok(await app.get(`/v1/tasks/${t.id}/events`, { accept: 'application/json' }), 200).json;
        const { events } = ok(await app.get(`/v1/tasks/${t.id}/events?after=${cursor.replace(/\d+$/, '1')}.1000013`, { accept: 'application/json' }), 200).json;
        assert.equal(events[0].event, 'reset');
    });
});

test('a WebSocket that takes everything and answers no ping is kept', async () => {
    const o = await start({ keepalive: 0.1, stalled_reader_timeout: 0.5 });
    const a = await o.api().session();
    const c = await connect(o);
    c.write(`GET /v1/session/events HTTP/1.1\r\nHost: ${o.host}\r\nAuthorization: Bearer ${a.token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`);
    await c.when(() => c.bytes.toString('latin1').split('\x89\x00').length > 15, 'more than a second of pings');
    assert.equal(c.closed, false);
    c.destroy();
    await o.close();
});
