// Section 6: the other ways to read a feed, and one cursor for all of them.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { start } from './lib/server.mjs';
import { checkProblem, ok, problem, until } from './lib/client.mjs';
import { exchange } from './lib/raw.mjs';
import { View } from './lib/sse.mjs';

let s;
let app;
before(async () => {
    s = await start({ keepalive: 0.3 });
    app = s.api();
});
after(() => s.close());

const fresh = async () => {
    const a = await app.session();
    return { a, mine: s.api(a.token), feed: '/v1/session/events' };
};
const step = (t, current) => app.reported(t, { type: 'progress', current });
const done = (t) => app.reported(t, { type: 'succeed' });

class Socket {
    constructor(server, path, token, { protocols = 'bowline.v1', headers = {} } = {}) {
        this.items = [];
        this.texts = [];
        this.taken = 0;
        this.pings = 0;
        this.ws = new WebSocket(`ws://${server.host}${path}`, protocols, { headers: token ? { authorization: `Bearer ${token}`, ...headers } : headers });
        this.ws.on('message', (data, binary) => {
            assert.equal(binary, false);
            this.texts.push(data.toString());
            this.items.push(JSON.parse(data.toString()));
        });
        this.ws.on('ping', () => this.pings++);
        this.ws.on('close', (code) => (this.code = code));
        this.ws.on('error', (e) => (this.error = e));
        this.ws.on('unexpected-response', (_, r) => {
            this.status = r.statusCode;
            let text = '';
            r.on('data', (d) => (text += d));
            r.on('end', () => (this.refusal = { status: r.statusCode, headers: r.headers, text, json: text ? JSON.parse(text) : undefined }));
        });
    }

    async next() {
        await until(() => this.items.length > this.taken || this.code !== undefined, 'a message');
        assert.ok(this.items.length > this.taken, `closed with ${this.code} before a message: ${this.error}`);
        return this.items[this.taken++];
    }

    async find(test_) {
        for (;;) {
            const e = await this.next();
            if (test_(e)) {
                return e;
            }
        }
    }

    live() {
        return this.find((e) => e.event === 'live');
    }

    closed() {
        return until(() => this.code, 'the socket to close');
    }

    refused() {
        return until(() => this.refusal, 'a refusal');
    }
}

describe('WebSocket', () => {
    test('each event one text message', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        const w = new Socket(s, feed, a.token);
        await w.live();
        assert.equal(w.ws.protocol, 'bowline.v1');
        for (const i of w.items) {
            assert.deepEqual(Object.keys(i), ['id', 'event', 'data']);
        }
        await step(t, 3);
        const e = await w.find((i) => i.data.task?.progress.current === 3);
        assert.equal(e.data.seq, e.data.task.version);
        const sse = await mine.events(feed);
        await sse.live();
        assert.deepEqual(w.items.at(-1), { id: sse.items[0].id, event: 'task', data: sse.items[0].data }, 'the same as the other way');
        sse.close();
        w.ws.close();
        assert.equal(await w.closed(), 1005);
    });

    test('no subprotocol is accepted too, an unknown one not chosen', async () => {
        const { a, feed } = await fresh();
        const w = new Socket(s, feed, a.token, { protocols: [] });
        await w.live();
        assert.equal(w.ws.protocol, '');
        w.ws.terminate();
        const two = new Socket(s, feed, a.token, { protocols: ['other', 'bowline.v1'] });
        await two.live();
        assert.equal(two.ws.protocol, 'bowline.v1');
        two.ws.terminate();
    });

    test('?after= resumes, rubbish resets', async () => {
        const { a, mine, feed } = await fresh();
        const [t, u] = [await app.task(a), await app.task(a)];
        const w = new Socket(s, feed, a.token);
        const { id } = await w.live();
        w.ws.terminate();
        await step(t, 1);
        const r = new Socket(s, `${feed}?after=${encodeURIComponent(id)}`, a.token);
        await r.live();
        assert.deepEqual(r.items.map((i) => i.data.task?.id ?? i.event), [t.id, 'live']);
        r.ws.terminate();
        const x = new Socket(s, `${feed}?after=rubbish`, a.token);
        await x.live();
        assert.deepEqual(x.items.map((i) => i.event), ['reset', 'task', 'task', 'live']);
        x.ws.terminate();
        assert.ok(mine && u);
    });

    test('a message from the client is answered with a problem and changes nothing', async () => {
        const { a, feed } = await fresh();
        const t = await app.task(a);
        const w = new Socket(s, feed, a.token);
        await w.live();
        for (const message of ['hello', JSON.stringify({ type: 'cancel', task: t.id }), Buffer.from([1, 2, 3]), 'x'.repeat(5000)]) {
            w.ws.send(message);
            const e = await w.find((i) => i.event === 'problem');
            checkProblem(e.data, 'invalid-request');
            assert.equal(typeof e.id, 'string');
        }
        await step(t, 1);
        await w.find((i) => i.data.task?.id === t.id && i.data.task.progress.current === 1);
        w.ws.terminate();
    });

    test('pings are answered, and the server pings in silence', async () => {
        const { a, feed } = await fresh();
        const w = new Socket(s, feed, a.token);
        await w.live();
        let pong;
        w.ws.on('pong', (d) => (pong = d.toString()));
        w.ws.ping('are you there');
        await until(() => pong === 'are you there', 'a pong');
        await until(() => w.pings >= 2, 'pings');
        w.ws.terminate();
    });

    test('fragments, and codes echoed', async () => {
        const { a, feed } = await fresh();
        const w = new Socket(s, feed, a.token);
        await w.live();
        w.ws.send('a', { fin: false });
        w.ws.ping('between');
        w.ws.send('b', { fin: false });
        w.ws.send('c', { fin: true });
        await w.find((i) => i.event === 'problem');
        assert.equal(w.items.filter((i) => i.event === 'problem').length, 1);
        w.ws.close(4000, 'bye');
        assert.equal(await w.closed(), 4000);
    });

    test('closed with 1000 after session: ended, rotated', async () => {
        for (const [how, state] of [['end', 'ended'], ['rotate', 'rotated']]) {
            const { a, feed } = await fresh();
            const w = new Socket(s, feed, a.token);
            await w.live();
            ok(how === 'end' ? await app.delete(`/v1/sessions/${a.id}`) : await app.post(`/v1/sessions/${a.id}/rotate`), 200);
            assert.equal(await w.closed(), 1000);
            assert.deepEqual([w.items.at(-1).event, w.items.at(-1).data.state], ['session', state]);
            const again = new Socket(s, feed, a.token);
            assert.equal((await again.refused()).status, how === 'end' ? 410 : 401);
        }
    });

    test("a task's own feed: 1000 after the final state, then 410", async () => {
        const { a } = await fresh();
        const t = await app.task(a);
        const w = new Socket(s, `/v1/tasks/${t.id}/events`, t.token);
        await w.live();
        await app.reported(t, [{ type: 'output', data: 'out' }, { type: 'succeed' }]);
        assert.equal(await w.closed(), 1000);
        assert.equal(w.items.findLast((i) => i.event === 'task').data.task.state, 'succeeded');
        assert.equal(new View().applyAll(w.items).output.get(t.id).toString(), 'out');
        const again = new Socket(s, `/v1/tasks/${t.id}/events?after=${encodeURIComponent(w.items.at(-1).id)}`, t.token);
        assert.equal((await again.refused()).status, 410);
    });

    test('1008 when the credential died', async () => {
        const { a } = await fresh();
        const b = await app.session();
        const t = await app.task(a);
        const w = new Socket(s, `/v1/tasks/${t.id}/events`, t.token);
        await w.live();
        ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: b.id }), 200);
        assert.equal(await w.closed(), 1008);
    });

    test('1001 at max_stream_age and when draining', async () => {
        const o = await start({ max_stream_age: 1 });
        const p = await start();
        try {
            for (const server of [o, p]) {
                const a = await server.api().session();
                const w = new Socket(server, '/v1/session/events', a.token);
                await w.live();
                if (server === p) {
                    await p.stop();
                }
                assert.equal(await w.closed(), 1001);
            }
        } finally {
            await o.close();
            await p.close();
        }
    });

    test('refusals are HTTP', async () => {
        const { a, feed } = await fresh();
        problem(await new Socket(s, feed, 'nonsense').refused(), 'unauthenticated');
        problem(await new Socket(s, feed, s.key).refused(), 'forbidden');
        problem(await new Socket(s, '/v1/sessions/ses_01ARZ3NDEKTSV4RRFFQ69G5FAV/events', s.key).refused(), 'not-found');
        problem(await new Socket(s, `${feed}?nope=1`, a.token).refused(), 'invalid-request');
        problem(await new Socket(s, feed, a.token, { headers: { host: 'evil.example' } }).refused(), 'misdirected');
    });

    test('another version: 426 and the one that is supported', async () => {
        const { a, feed } = await fresh();
        const r = await exchange(s, `GET ${feed} HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${a.token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 12\r\n\r\n`);
        problem(r, 'upgrade-required');
        assert.equal(r.headers['sec-websocket-version'], '13');
        const good = await exchange(s, `GET ${feed} HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${a.token}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`);
        assert.equal(good.status, 101);
        assert.equal(good.headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
        assert.match(good.headers.upgrade, /^websocket$/i);
        assert.match(good.headers.connection, /upgrade/i);
    });

    test('many watchers at once, word for word the same', async () => {
        const { a, feed } = await fresh();
        const t = await app.task(a);
        const all = Array.from({ length: 20 }, () => new Socket(s, feed, a.token));
        await Promise.all(all.map((w) => w.live()));
        for (let i = 1; i <= 20; i++) {
            await step(t, i);
        }
        await done(t);
        for (const w of all) {
            await w.find((i) => i.data.task?.state === 'succeeded');
            new View().applyAll(w.items);
            w.ws.terminate();
        }
    });
});

describe('pages', () => {
    test('at once if there are any', async () => {
        const { a, mine, feed } = await fresh();
        const [t, u] = [await app.task(a), await app.task(a)];
        const r = ok(await mine.page(feed, { wait: 60 }), 200);
        assert.match(r.headers['content-type'], /^application\/json/);
        assert.match(r.headers['cache-control'] ?? '', /no-store/);
        assert.deepEqual(Object.keys(r.json).sort(), ['cursor', 'events']);
        assert.deepEqual(r.json.events.map((e) => e.data.task.id), [t.id, u.id]);
        for (const e of r.json.events) {
            assert.deepEqual(Object.keys(e).sort(), ['data', 'event', 'id']);
        }
        assert.equal(r.json.cursor, r.json.events.at(-1).id);
        assert.ok(!r.json.events.some((e) => e.event === 'live'));
    });

    test('nothing new: an empty list and the same cursor', async () => {
        const { a, mine, feed } = await fresh();
        await app.task(a);
        const { cursor } = ok(await mine.page(feed), 200).json;
        assert.deepEqual(ok(await mine.page(feed, { after: cursor }), 200).json, { events: [], cursor });
        assert.deepEqual(ok(await mine.page(feed, { after: cursor, wait: 1 }), 200).json, { events: [], cursor });
    });

    test('an empty session, and on from there', async () => {
        const { a, mine, feed } = await fresh();
        const first = ok(await mine.page(feed), 200).json;
        assert.deepEqual(first.events, []);
        const t = await app.task(a);
        const next = ok(await mine.page(feed, { after: first.cursor }), 200).json;
        assert.deepEqual(next.events.map((e) => e.data.task?.id), [t.id]);
    });

    test('waits for a change', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        let { cursor } = ok(await mine.page(feed), 200).json;
        const [waiting] = await app.begun(() => mine.page(feed, { after: cursor, wait: 30 }));
        await step(t, 1);
        const r = ok(await waiting, 200).json;
        assert.equal(r.events[0].data.task.progress.current, 1);
        ({ cursor } = r);
        await step(t, 2);
        assert.equal(ok(await mine.page(feed, { after: cursor, wait: 30 }), 200).json.events[0].data.task.progress.current, 2);
    });

    test('Last-Event-ID works here as well and wins', async () => {
        const { a, mine, feed } = await fresh();
        await app.task(a);
        const { cursor } = ok(await mine.page(feed), 200).json;
        const r = ok(await mine.get(`${feed}?after=rubbish`, { accept: 'application/json', 'last-event-id': cursor }), 200).json;
        assert.deepEqual(r.events, []);
    });

    test('reset is the first event', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        const r = ok(await mine.page(feed, { after: 'rubbish' }), 200).json;
        assert.deepEqual(r.events.map((e) => e.event), ['reset', 'task']);
        await step(t, 1);
        assert.deepEqual(ok(await mine.page(feed, { after: r.cursor }), 200).json.events.map((e) => e.event), ['task']);
    });

    test('at most 1,000; fewer means the end', async () => {
        const o = await start({ max_unfinished_per_session: 3000 });
        try {
            const api = o.api();
            const a = await api.session();
            const ids = [];
            for (let i = 0; i < 13; i++) {
                ids.push(...(await Promise.all(Array.from({ length: 100 }, () => api.task(a)))).map((t) => t.id));
            }
            const mine = o.api(a.token);
            const one = ok(await mine.page('/v1/session/events'), 200).json;
            const two = ok(await mine.page('/v1/session/events', { after: one.cursor }), 200).json;
            assert.deepEqual([one.events.length, two.events.length], [1000, 300]);
            new View().applyAll([...one.events, ...two.events]);
            assert.deepEqual([...one.events, ...two.events].map((e) => e.data.task.id).sort(), ids.sort());
        } finally {
            await o.close();
        }
    });

    test('answered with the session event when the session ends', async () => {
        const { a, mine, feed } = await fresh();
        const { cursor } = ok(await mine.page(feed), 200).json;
        const [waiting] = await app.begun(() => mine.page(feed, { after: cursor, wait: 30 }));
        ok(await app.delete(`/v1/sessions/${a.id}`), 200);
        const r = ok(await waiting, 200).json;
        assert.deepEqual([r.events.at(-1).event, r.events.at(-1).data.state], ['session', 'ended']);
        assert.equal((await mine.page(feed, { after: r.cursor })).status, 204);
    });

    test("a task's own: until its end, then 204", async () => {
        const { a } = await fresh();
        const t = await app.task(a);
        const one = s.api(t.token);
        const path = `/v1/tasks/${t.id}/events`;
        const first = ok(await one.page(path), 200).json;
        const [waiting] = await app.begun(() => one.page(path, { after: first.cursor, wait: 30 }));
        await app.reported(t, [{ type: 'output', data: 'x' }, { type: 'succeed' }]);
        let events = [...first.events];
        let r = await waiting;
        while (r.status === 200) {
            events.push(...r.json.events);
            r = await one.page(path, { after: r.json.cursor });
        }
        assert.equal(r.status, 204);
        const view = new View().applyAll(events);
        assert.equal(view.tasks.get(t.id).state, 'succeeded');
        assert.equal(view.output.get(t.id).toString(), 'x');
    });

    test('output when asked', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        await app.reported(t, { type: 'output', data: 'abc' });
        assert.ok(!ok(await mine.page(feed), 200).json.events.some((e) => e.event === 'output'));
        const r = ok(await mine.page(feed, { output: true }), 200).json;
        assert.equal(new View().applyAll(r.events).output.get(t.id).toString(), 'abc');
        assert.deepEqual(ok(await mine.page(feed, { after: r.cursor, output: true }), 200).json.events, []);
    });

    test('a client that leaves while it waits disturbs nobody', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        const { cursor } = ok(await mine.page(feed), 200).json;
        const c = new AbortController();
        const headers = { accept: 'application/json', prefer: 'wait=60', authorization: `Bearer ${a.token}` };
        const [gone] = await app.begun(() => fetch(`${s.url}${feed}?after=${encodeURIComponent(cursor)}`, { headers, signal: c.signal }).catch(() => 'aborted'));
        c.abort();
        assert.equal(await gone, 'aborted');
        await step(t, 1);
        assert.equal(ok(await mine.page(feed, { after: cursor }), 200).json.events.length, 1);
    });
});

for (const output of [false, true]) {
    test(`a task that is not kept at all: who keeps up sees its last state and then that it is gone${output ? ', with output too' : ''}`, async () => {
        const query = output ? '?output=1' : '';
        for (let round = 0; round < 5; round++) {
            const { a, mine, feed } = await fresh();
            const e = await mine.events(feed + query);
            const w = new Socket(s, feed + query, a.token);
            await e.live();
            await w.live();
            const t = await app.task(a, { ttl: 0 });
            await step(t, 1);
            const shown = (i) => i.data.reason ?? i.data.task?.state ?? i.data.data;
            const running = (i) => i.data.task?.state === 'running';
            const [p] = [await e.find(running), await w.find(running)];
            const [waiting] = await app.begun(() => mine.page(feed, { after: p.id, wait: 30, output }));
            await app.reported(t, [...(output ? [{ type: 'output', data: 'last' }] : []), { type: 'succeed', result: 1 }]);
            const expected = [...(output ? ['last'] : []), 'succeeded', 'expired'];
            for (const next of [() => e.next(), () => w.next()]) {
                const got = [];
                while (got.at(-1) !== 'expired') {
                    got.push(shown(await next()));
                }
                assert.deepEqual(got, expected);
            }
            const page = ok(await waiting, 200).json.events.map(shown);
            assert.deepEqual(page, expected.slice(0, page.length), 'a page that came first goes on with the next');
            const late = ok(await mine.page(feed, { after: p.id, output }), 200).json.events.map(shown);
            assert.deepEqual(late.filter((i) => i !== 'last'), ['expired'], 'who comes later is told what stands');
            const anew = ok(await mine.page(feed, { output }), 200).json.events;
            assert.deepEqual(anew.filter((i) => i.event === 'task'), [], 'and who begins anew, of nothing');
            e.close();
            w.ws.close();
        }
    });
}

test('one cursor serves all the ways', async () => {
    const { a, mine, feed } = await fresh();
    const t = await app.task(a);
    const u = await app.task(a);
    const view = new View();
    let cursor;
    const ways = [
        async () => {
            const r = ok(await mine.page(feed, { after: cursor }), 200).json;
            view.applyAll(r.events);
            cursor = r.cursor;
        },
        async () => {
            const e = await mine.events(feed, { lastEventId: cursor });
            await e.live();
            e.close();
            view.applyAll(e.items);
            cursor = e.lastId;
        },
        async () => {
            const w = new Socket(s, cursor ? `${feed}?after=${encodeURIComponent(cursor)}` : feed, a.token);
            await w.live();
            w.ws.terminate();
            view.applyAll(w.items);
            cursor = w.items.at(-1).id;
        },
        async () => {
            const e = await app.events(`/v1/sessions/${a.id}/events?after=${encodeURIComponent(cursor)}`);
            await e.live();
            e.close();
            view.applyAll(e.items);
            cursor = e.lastId;
        },
    ];
    for (let i = 0; i < 12; i++) {
        await step(i % 2 ? t : u, i + 1);
        if (i % 5 === 4) {
            await app.task(a);
        }
        await ways[i % 4]();
        assert.deepEqual(view.tasks.get((i % 2 ? t : u).id).progress.current, i + 1);
        assert.ok(view.ended === undefined);
    }
});
