// Section 6: the feed as Server-Sent Events.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { start } from './lib/server.mjs';
import { Api, checkTask, ok, pause, problem, until } from './lib/client.mjs';
import { View } from './lib/sse.mjs';

let s;
let app;
before(async () => {
    s = await start({ keepalive: 0.3, max_gone_per_session: 3 });
    app = s.api();
});
after(() => s.close());

const fresh = async (members = {}) => {
    const a = await app.session(members);
    return { a, mine: s.api(a.token), feed: '/v1/session/events' };
};
const done = (t) => app.reported(t, { type: 'succeed' });
const step = (t, current) => app.reported(t, { type: 'progress', current });
const numberOf = (cursor) => Number(/-(\d+)$/.exec(cursor)[1]);
const withNumber = (cursor, number) => cursor.replace(/\d+$/, String(number));

describe('the head', () => {
    test('headers, retry and an id before any event', async () => {
        const { mine, feed } = await fresh();
        const e = await mine.events(feed);
        assert.equal(e.status, 200);
        assert.match(e.headers['content-type'], /^text\/event-stream/);
        assert.match(e.headers['cache-control'], /no-store/);
        assert.equal(e.headers['x-accel-buffering'], 'no');
        assert.equal(e.headers['x-content-type-options'], 'nosniff');
        assert.equal(e.headers['content-encoding'], undefined);
        await e.live();
        assert.equal(e.retry, 2000);
        assert.ok(e.primed);
        assert.match(e.firstId, /^[^-]+-.+-0$/);
        e.close();
    });

    test('the id that primes sets the cursor without an event', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        const e = await mine.events(feed, { lastEventId: undefined });
        await e.live();
        const cursor = e.lastId;
        e.close();
        const r = await mine.events(feed, { lastEventId: cursor });
        await r.live();
        assert.equal(r.firstId, cursor, 'when resumed it is the cursor given');
        assert.deepEqual(r.tasks(), []);
        await step(t, 1);
        await r.task(t.id);
        r.close();
    });

    test('Accept: none, */* and text/event-stream are the same', async () => {
        const { mine, feed } = await fresh();
        for (const accept of [null, '*/*', 'text/event-stream', 'text/event-stream, application/json;q=0.5']) {
            const e = await mine.events(feed, { headers: { accept } });
            await e.live();
            e.close();
        }
    });

    test('a comment at least every keepalive', async () => {
        const { mine, feed } = await fresh();
        const e = await mine.events(feed);
        await e.when(() => e.comments >= 3, 'three comments');
        assert.deepEqual(e.items.map((i) => i.event), ['live']);
        e.close();
    });
});

describe('without a cursor', () => {
    test('every task as it is, oldest change first, then live, then each change', async () => {
        const { a, mine, feed } = await fresh();
        const tasks = [await app.task(a, { title: '0' }), await app.task(a, { title: '1' }), await app.task(a, { title: '2' })];
        await step(tasks[0], 7);
        await done(tasks[1]);
        const e = await mine.events(feed);
        await e.live();
        const shown = e.tasks();
        assert.deepEqual(shown.map((t) => t.title), ['2', '0', '1']);
        shown.forEach((t) => checkTask(t));
        for (const i of e.items.slice(0, -1)) {
            assert.equal(i.data.seq, i.data.task.version);
            assert.equal(numberOf(i.id), i.data.seq);
        }
        assert.equal(e.items.at(-1).data.seq, shown.at(-1).version);
        assert.equal(numberOf(e.items.at(-1).id), shown.at(-1).version);
        assert.deepEqual(shown[1], await app.look(tasks[0]));
        await step(tasks[2], 9);
        assert.equal((await e.task(tasks[2].id)).progress.current, 9);
        const fourth = await app.task(a);
        assert.equal((await e.task(fourth.id)).state, 'queued');
        new View().applyAll(e.items);
        e.close();
    });

    test('an empty session is live at once', async () => {
        const { mine, feed } = await fresh();
        const e = await mine.events(feed);
        const first = await e.next();
        assert.equal(first.event, 'live');
        assert.equal(typeof first.data.seq, 'number');
        e.close();
    });

    test('has no gone', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        await done(t);
        ok(await app.delete(`/v1/tasks/${t.id}`), 204);
        const e = await mine.events(feed);
        assert.equal((await e.next()).event, 'live');
        e.close();
    });

    test('the same for the backend and for one task alone', async () => {
        const { a, mine, feed } = await fresh();
        const [t, u] = [await app.task(a), await app.task(a)];
        const [own, back, one] = [await mine.events(feed), await app.events(`/v1/sessions/${a.id}/events`), await s.api(t.token).events(`/v1/tasks/${t.id}/events`)];
        await Promise.all([own.live(), back.live(), one.live()]);
        await step(u, 1);
        await step(t, 1);
        for (const e of [own, back, one]) {
            await e.task(t.id, (x) => x.progress.current === 1);
        }
        assert.deepEqual(own.items, back.items, 'word for word, cursors too');
        assert.ok(one.tasks().every((x) => x.id === t.id));
        own.close();
        back.close();
        one.close();
    });
});

describe('resumed', () => {
    test('each task that changed since, once, as it is now, then live', async () => {
        const { a, mine, feed } = await fresh();
        const [x, y, z] = [await app.task(a), await app.task(a), await app.task(a)];
        const e = await mine.events(feed);
        await e.live();
        e.close();
        for (let i = 1; i <= 5; i++) {
            await step(y, i);
        }
        await done(x);
        const w = await app.task(a);
        const r = await mine.events(feed, { lastEventId: e.lastId });
        await r.live();
        assert.deepEqual(r.items.map((i) => i.data.task?.id ?? i.event), [y.id, x.id, w.id, 'live']);
        assert.deepEqual(r.tasks().map((t) => t.progress.current), [5, null, null]);
        assert.ok(z);
        r.close();
    });

    test('from any event on it gives exactly what was missed', async () => {
        const { a, mine, feed } = await fresh();
        const tasks = [await app.task(a), await app.task(a), await app.task(a)];
        const e = await mine.events(feed);
        await e.live();
        for (let i = 1; i <= 12; i++) {
            await step(tasks[i % 3], i);
            await e.task(tasks[i % 3].id, (t) => t.progress.current === i);
        }
        e.close();
        const end = new View().applyAll(e.items).tasks;
        for (let cut = 0; cut < e.items.length; cut++) {
            const r = await mine.events(feed, { lastEventId: e.items[cut].id });
            await r.live();
            r.close();
            const view = new View().applyAll(e.items.slice(0, cut + 1));
            const seen = new Map(view.tasks);
            view.applyAll(r.items);
            assert.deepEqual([...view.tasks].sort(), [...end].sort());
            for (const t of r.tasks()) {
                assert.ok(t.version > (seen.get(t.id)?.version ?? 0), 'nothing is given twice');
            }
            assert.ok(!r.items.some((i) => i.event === 'reset'));
        }
    });

    test('the header wins over ?after=', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        const e = await mine.events(feed);
        await e.live();
        e.close();
        const all = await mine.events(`${feed}?after=${encodeURIComponent(e.firstId)}`);
        await all.live();
        assert.deepEqual(all.tasks().map((x) => x.id), [t.id]);
        all.close();
        const none = await mine.events(`${feed}?after=${encodeURIComponent(e.firstId)}`, { lastEventId: e.lastId });
        await none.live();
        assert.deepEqual(none.tasks(), []);
        none.close();
    });

    test('a task that left is told as gone', async () => {
        const { a, mine, feed } = await fresh();
        const other = await app.session();
        const [m, d, x] = [await app.task(a), await app.task(a), await app.task(a, { ttl: 0.2 })];
        const e = await mine.events(feed);
        await e.live();
        ok(await app.post(`/v1/tasks/${m.id}/bind`, { session: other.id }), 200);
        await done(d);
        ok(await app.delete(`/v1/tasks/${d.id}`), 204);
        await done(x);
        const gone = [];
        while (gone.length < 3) {
            const i = await e.find((i) => i.data.gone, 'gone');
            assert.deepEqual(Object.keys(i.data).sort(), ['gone', 'reason', 'seq']);
            assert.equal(numberOf(i.id), i.data.seq);
            gone.push([i.data.gone, i.data.reason]);
        }
        assert.deepEqual(gone, [[m.id, 'moved'], [d.id, 'deleted'], [x.id, 'expired']]);
        e.close();
        const live = e.items.find((i) => i.event === 'live');
        const r = await mine.events(feed, { lastEventId: live.id });
        await r.live();
        assert.deepEqual(r.items.filter((i) => i.data.gone).map((i) => [i.data.gone, i.data.reason]), gone);
        r.close();
    });

    test('a task that comes back is there again', async () => {
        const { a, mine, feed } = await fresh();
        const other = await app.session();
        const t = await app.task(a);
        const e = await mine.events(feed);
        await e.live();
        ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: other.id }), 200);
        await e.find((i) => i.data.gone === t.id);
        ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: a.id }), 200);
        const back = await e.task(t.id);
        assert.ok(back.version > t.version);
        e.close();
        const r = await mine.events(feed, { lastEventId: e.items.find((i) => i.event === 'live').id });
        await r.live();
        const view = new View().applyAll(r.items);
        assert.deepEqual([...view.tasks.keys()], [t.id]);
        r.close();
    });
});

describe('reset', () => {
    test('a cursor of no use gets the whole state', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        const strangers = await fresh();
        const u = await app.task(strangers.a);
        const get = async (api, path) => {
            const e = await api.events(path);
            await e.live();
            e.close();
            return e.lastId;
        };
        const own = await get(mine, feed);
        const theirs = await get(strangers.mine, feed);
        const ofTask = await get(s.api(t.token), `/v1/tasks/${t.id}/events`);
        const [epoch, ...rest] = own.split('-');
        const cursors = ['x', '-', 'null', 'undefined', own.slice(1), `${own}x`, `${own}0000000`, withNumber(own, '99999999999999999999999'), withNumber(own, -1), withNumber(own, 'abc'),
            [epoch.split('').reverse().join('') + 'A', ...rest].join('-'), theirs, ofTask, '%00', '0', 'é'.normalize(), 'x'.repeat(5000)];
        for (const cursor of cursors) {
            const e = await mine.events(`${feed}?after=${encodeURIComponent(cursor)}`);
            assert.equal(e.status, 200, cursor);
            const first = await e.next();
            assert.equal(first.event, 'reset', cursor);
            assert.deepEqual(first.data, {});
            await e.live();
            assert.match(e.firstId, /-0$/);
            assert.deepEqual(e.tasks().map((x) => x.id), [t.id]);
            new View().applyAll(e.items);
            e.close();
        }
        const header = await mine.events(feed, { lastEventId: 'rubbish' });
        assert.equal((await header.next()).event, 'reset');
        header.close();
        assert.ok(u);
    });

    test('after a reset, reading on works', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        const e = await mine.events(feed, { lastEventId: 'rubbish' });
        await e.live();
        e.close();
        await step(t, 1);
        const r = await mine.events(feed, { lastEventId: e.lastId });
        await r.live();
        assert.deepEqual(r.items.map((i) => i.event), ['task', 'live']);
        r.close();
    });

    test('one that lies before what is still known of those gone', async () => {
        const { a, mine, feed } = await fresh();
        const tasks = [];
        for (let i = 0; i < 6; i++) {
            tasks.push(await app.task(a));
            await done(tasks[i]);
        }
        const e = await mine.events(feed);
        await e.live();
        e.close();
        for (const t of tasks.slice(0, 3)) {
            ok(await app.delete(`/v1/tasks/${t.id}`), 204);
        }
        const still = await mine.events(feed, { lastEventId: e.lastId });
        await still.live();
        assert.equal(still.items.filter((i) => i.data.gone).length, 3);
        still.close();
        for (const t of tasks.slice(3, 5)) {
            ok(await app.delete(`/v1/tasks/${t.id}`), 204);
        }
        const r = await mine.events(feed, { lastEventId: e.lastId });
        await r.live();
        assert.deepEqual(r.items.map((i) => i.event), ['reset', 'task', 'live']);
        assert.equal(r.tasks()[0].id, tasks[5].id);
        r.close();
        const later = await mine.events(feed, { lastEventId: still.lastId });
        await later.live();
        assert.deepEqual(later.items.filter((i) => i.data.gone).map((i) => i.data.gone), [tasks[3].id, tasks[4].id]);
        later.close();
    });
});

// What has gone and was forgotten is nothing to one who reads from the front.
describe('from the front, where things have gone and were forgotten', () => {
    const churn = async (a, count = 5) => {
        for (let i = 0; i < count; i++) {
            const t = await app.task(a);
            await done(t);
            ok(await app.delete(`/v1/tasks/${t.id}`), 204);
        }
    };

    const chatty = async (a, pieces = 4) => {
        const t = await app.task(a, { title: 'chatty' });
        for (let i = 0; i < pieces; i++) {
            await app.reported(t, { type: 'output', data: String(i).repeat(40_000) });
        }
        return t;
    };

    test('all output kept and live come, over each way', async () => {
        const { a, mine } = await fresh();
        const t = await chatty(a);
        await churn(a);
        const feed = '/v1/session/events?output=1';
        const e = await mine.events(feed);
        await e.live();
        assert.equal(e.items.filter((i) => i.event === 'output').map((i) => i.data.data).join('').length, 160_000);
        assert.ok(e.tasks().some((x) => x.id === t.id));
        e.close();
        const page = ok(await mine.page('/v1/session/events', { output: true }), 200).json;
        assert.equal(page.events.filter((i) => i.event === 'output').map((i) => i.data.data).join('').length, 160_000);
        assert.deepEqual(ok(await mine.page('/v1/session/events', { output: true, after: page.cursor }), 200).json.events, []);
        const words = await new Promise((resolve, reject) => {
            const ws = new WebSocket(`ws://${s.host}${feed}`, 'bowline.v1', { headers: { authorization: `Bearer ${a.token}` } });
            const got = [];
            ws.on('message', (data) => {
                got.push(JSON.parse(data.toString()));
                if (got.at(-1).event === 'live') {
                    ws.close();
                    resolve(got);
                }
            });
            ws.on('close', (code) => reject(new Error(`closed with ${code}`)));
            ws.on('error', reject);
        });
        assert.equal(words.filter((i) => i.event === 'output').map((i) => i.data.data).join('').length, 160_000);
    });

    test('pages lead on to the end, also while more goes', async () => {
        const { a, mine } = await fresh();
        const count = 2050;
        const t = await app.task(a);
        for (let from = 0; from < count; from += 50) {
            const pieces = Array.from({ length: 50 }, (_, i) => ({ type: 'output', data: `${from + i}\n` }));
            await app.reported(t, pieces);
        }
        await churn(a);
        const seen = [];
        const sizes = [];
        let after_;
        for (;;) {
            const page = ok(await mine.page('/v1/session/events', { output: true, after: after_ }), 200).json;
            assert.ok(!page.events.some((i) => i.event === 'reset'), 'a page leads on');
            seen.push(...page.events);
            sizes.push(page.events.length);
            after_ = page.cursor;
            if (page.events.length < 1000) {
                break;
            }
            assert.ok(page.cursor.startsWith(`${page.events.at(-1).id}.`), page.cursor);
            await churn(a, 1); // these are told of: nobody has forgotten them
        }
        assert.equal(sizes.length, 3, `${sizes}`);
        const text = seen.filter((i) => i.event === 'output').map((i) => i.data.data).join('');
        assert.equal(text, Array.from({ length: count }, (_, i) => `${i}\n`).join(''));
        assert.equal(new Set(seen.map((i) => i.data.seq)).size, seen.length);
    });

    test('pages of tasks as well', async () => {
        const { a, mine } = await fresh();
        const ids = [];
        for (let from = 0; from < 1050; from += 50) {
            const some = await Promise.all(Array.from({ length: 50 }, () => app.task(a)));
            await Promise.all(some.map(done));
            ids.push(...some.map((t) => t.id));
        }
        await churn(a);
        const first = ok(await mine.page('/v1/session/events'), 200).json;
        const second = ok(await mine.page('/v1/session/events', { after: first.cursor }), 200).json;
        assert.deepEqual([first.events.length, second.events.length], [1000, 50]);
        assert.deepEqual([...first.events, ...second.events].map((e) => e.data.task.id).sort(), ids.sort());
        assert.deepEqual(ok(await mine.page('/v1/session/events', { after: second.cursor }), 200).json.events, []);
    });

    test('a cursor on the way serves the other ways, and after a restart', async () => {
        const own = await start({ max_gone_per_session: 3 });
        try {
            const backend = own.api();
            const a = await backend.session();
            const mine = own.api(a.token);
            const t = await backend.task(a);
            for (let from = 0; from < 1100; from += 100) {
                await backend.reported(t, Array.from({ length: 100 }, (_, i) => ({ type: 'output', data: `${from + i}\n` })));
            }
            for (let i = 0; i < 5; i++) {
                const g = await backend.task(a);
                await backend.reported(g, { type: 'succeed' });
                ok(await backend.delete(`/v1/tasks/${g.id}`), 204);
            }
            const page = ok(await mine.page('/v1/session/events', { output: true }), 200).json;
            assert.equal(page.events.length, 1000);
            await own.stop();
            await own.restart();
            const e = await own.api(a.token).events('/v1/session/events?output=1', { lastEventId: page.cursor });
            await e.live();
            assert.equal(e.firstId, page.cursor);
            assert.ok(!e.items.some((i) => i.event === 'reset'));
            const text = [...page.events, ...e.items].filter((i) => i.event === 'output').map((i) => i.data.data).join('');
            assert.equal(text, Array.from({ length: 1100 }, (_, i) => `${i}\n`).join(''));
            e.close();
        } finally {
            await own.close();
        }
    });
});

describe('the end of a session', () => {
    test('event, close, then 204 for good', async () => {
        const { a, mine, feed } = await fresh();
        await app.task(a);
        const e = await mine.events(feed);
        await e.live();
        ok(await app.delete(`/v1/sessions/${a.id}`), 200);
        await e.end();
        const last = e.items.at(-1);
        assert.equal(last.event, 'session');
        assert.deepEqual([last.data.state, last.data.reason], ['ended', 'logout']);
        assert.equal(typeof last.data.seq, 'number');
        for (const headers of [{ accept: 'text/event-stream' }, { accept: 'text/event-stream', 'last-event-id': e.lastId }, { accept: 'application/json' }]) {
            const r = ok(await mine.get(feed, headers), 204);
            assert.equal(r.text, '');
        }
        const back = await app.get(`/v1/sessions/${a.id}/events`, { accept: 'text/event-stream' });
        assert.equal(back.status, 204);
    });

    test('EventSource stops for good', async () => {
        const { a, mine, feed } = await fresh();
        assert.ok(mine);
        let requests = 0;
        const es = new EventSource(`${s.url}${feed}?access_token=${a.token}`, { fetch: (url, init) => (requests++, fetch(url, init)) });
        const seen = [];
        es.addEventListener('live', () => seen.push('live'));
        es.addEventListener('session', (e) => seen.push(JSON.parse(e.data).state));
        await until(() => seen.includes('live'), 'live');
        ok(await app.delete(`/v1/sessions/${a.id}`), 200);
        await until(() => es.readyState === EventSource.CLOSED, 'EventSource to stop');
        assert.deepEqual(seen, ['live', 'ended']);
        assert.equal(requests, 2, 'came back once and was told to stay away');
    });
});

describe("a task's own feed", () => {
    test('closes after the final state; coming back at or past it: 204', async () => {
        const { a } = await fresh();
        const t = await app.task(a);
        const one = s.api(t.token);
        const path = `/v1/tasks/${t.id}/events`;
        const e = await one.events(path);
        await e.live();
        await step(t, 1);
        await done(t);
        await e.end();
        assert.equal(e.tasks().at(-1).state, 'succeeded');
        assert.equal((await one.get(path, { accept: 'text/event-stream', 'last-event-id': e.lastId })).status, 204);
        assert.equal((await one.get(path, { accept: 'application/json', 'last-event-id': e.lastId })).status, 204);
        const again = await one.events(path);
        await again.end();
        assert.equal(again.tasks().at(-1).state, 'succeeded', 'without a cursor it is shown once more');
        const middle = await one.events(path, { lastEventId: e.items[0].id });
        await middle.end();
        assert.equal(middle.tasks().at(-1).state, 'succeeded');
    });

    test('deleted: gone for those who watch, then 410', async () => {
        const { a } = await fresh();
        const t = await app.task(a);
        await done(t);
        ok(await app.delete(`/v1/tasks/${t.id}`), 204);
        problem(await s.api(t.token).get(`/v1/tasks/${t.id}/events`, { accept: 'text/event-stream' }), 'gone');
        problem(await app.get(`/v1/tasks/${t.id}/events`, { accept: 'text/event-stream', 'last-event-id': 'x' }), 'gone');
    });

    test("watched with a session's credential it gives gone, moved and closes when the task leaves", async () => {
        const { a, mine } = await fresh();
        const b = await app.session();
        const t = await app.task(a);
        const [own, back] = [await mine.events(`/v1/tasks/${t.id}/events`), await app.events(`/v1/tasks/${t.id}/events`)];
        await own.live();
        await back.live();
        ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: b.id }), 200);
        await step(t, 42);
        await own.end();
        const last = own.items.at(-1);
        assert.deepEqual([last.event, last.data.gone, last.data.reason], ['task', t.id, 'moved']);
        assert.ok(!own.body.includes('"current":42'));
        await back.task(t.id, (x) => x.session === b.id && x.progress.current === 42);
        back.close();
        problem(await mine.get(`/v1/tasks/${t.id}/events`, { accept: 'text/event-stream', 'last-event-id': own.lastId }), 'not-found');
    });
});

describe('output', () => {
    test("on a task's own feed, from the first byte, to the last before it closes", async () => {
        const { a } = await fresh();
        const t = await app.task(a);
        await app.reported(t, { type: 'output', data: 'one ' });
        const e = await s.api(t.token).events(`/v1/tasks/${t.id}/events`);
        await e.live();
        assert.equal(e.items.filter((i) => i.event === 'output').map((i) => i.data.data).join(''), 'one ');
        await app.reported(t, { type: 'output', data: 'two ' });
        await app.reported(t, [{ type: 'output', data: 'three' }, { type: 'succeed' }]);
        await e.end();
        const out = e.items.filter((i) => i.event === 'output');
        for (const i of out) {
            assert.deepEqual(Object.keys(i.data).sort(), ['data', 'offset', 'seq', 'task']);
            assert.equal(i.data.task, t.id);
        }
        assert.equal(new View().applyAll(e.items).output.get(t.id).toString(), 'one two three');
        assert.equal(e.tasks().at(-1).state, 'succeeded');
    });

    test("on a session's feed only when asked; others hear of it as a change, at most once a second", async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        await app.reported(t, { type: 'heartbeat' });
        const [plain, full] = [await mine.events(feed), await mine.events(`${feed}?output=1`)];
        await plain.live();
        await full.live();
        let text = '';
        for (let i = 0; i < 20; i++) {
            text += `line ${i}\n`;
            await app.reported(t, { type: 'output', data: `line ${i}\n` });
        }
        await plain.task(t.id, (x) => x.output_bytes === text.length, 'all of the output told');
        await full.when(() => full.items.filter((i) => i.event === 'output').reduce((sum, i) => sum + i.data.data.length, 0) === text.length, 'all of the output');
        assert.ok(!plain.items.some((i) => i.event === 'output'));
        assert.ok(plain.tasks().length < 15, 'not for every line');
        assert.equal(new View().applyAll(full.items).output.get(t.id).toString(), text);
        new View().applyAll(plain.items);
        plain.close();
        full.close();
    });

    test('resumed: after the cursor, before live; nothing twice, nothing missing', async () => {
        const { a, mine } = await fresh();
        const feed = '/v1/session/events?output=1';
        const [t, u] = [await app.task(a), await app.task(a)];
        for (let i = 0; i < 6; i++) {
            await app.reported(t, { type: 'output', data: `t${i} ` });
            await app.reported(u, { type: 'output', data: `u${i} ` });
        }
        const e = await mine.events(feed);
        await e.live();
        for (let i = 6; i < 9; i++) {
            await app.reported(t, { type: 'output', data: `t${i} ` });
        }
        await e.when(() => Buffer.concat([...new View().applyAll(e.items).output.values()]).includes('t8'), 'the last line');
        e.close();
        const want = new View().applyAll(e.items);
        assert.equal(want.output.get(t.id).toString(), 't0 t1 t2 t3 t4 t5 t6 t7 t8 ');
        for (let cut = 0; cut < e.items.length; cut++) {
            const r = await mine.events(feed, { lastEventId: e.items[cut].id });
            await r.live();
            r.close();
            const view = new View().applyAll(e.items.slice(0, cut + 1)).applyAll(r.items);
            assert.equal(view.output.get(t.id)?.toString(), want.output.get(t.id).toString(), `resumed after ${e.items[cut].id}`);
            assert.equal(view.output.get(u.id)?.toString(), want.output.get(u.id).toString());
        }
    });

    test('binary comes as base64', async () => {
        const { a } = await fresh();
        const t = await app.task(a);
        const bytes = Buffer.from([0xff, 0, 0xfe, 10]);
        await app.reported(t, { type: 'output', data_base64: bytes.toString('base64') });
        const e = await s.api(t.token).events(`/v1/tasks/${t.id}/events`);
        await e.live();
        assert.deepEqual(new View().applyAll(e.items).output.get(t.id), bytes);
        e.close();
    });

    test('more than a buffer holds, fresh and live', async () => {
        const { a } = await fresh();
        const t = await app.task(a);
        const chunk = 'x'.repeat(60000);
        for (let i = 0; i < 12; i++) {
            await app.reported(t, { type: 'output', data: chunk });
        }
        const e = await s.api(t.token).events(`/v1/tasks/${t.id}/events`);
        await e.live();
        for (let i = 0; i < 12; i++) {
            await app.reported(t, { type: 'output', data: chunk });
        }
        await done(t);
        await e.end();
        assert.equal(new View().applyAll(e.items).output.get(t.id).length, 24 * 60000);
    });

    test('one report beyond 64 KiB', async () => {
        const { a } = await fresh();
        const t = await app.task(a);
        const text = Array.from({ length: 30000 }, (_, i) => `${i};`).join('');
        const r = await app.reported(t, { type: 'output', data: text, offset: 0 });
        assert.equal(r.output_offset, text.length);
        const e = await s.api(t.token).events(`/v1/tasks/${t.id}/events`);
        await e.live();
        assert.equal(new View().applyAll(e.items).output.get(t.id).toString(), text);
        e.close();
        for (const i of e.items) {
            const again = await s.api(t.token).events(`/v1/tasks/${t.id}/events`, { lastEventId: i.id });
            await again.live();
            again.close();
            const so_far = new View().applyAll(e.items.slice(0, e.items.indexOf(i) + 1)).applyAll(again.items);
            assert.equal(so_far.output.get(t.id).toString(), text);
        }
    });

    test('a task that moved brings only its later output, also when fresh', async () => {
        const [x, y] = [await fresh(), await fresh()];
        const t = await app.task(x.a);
        await app.reported(t, { type: 'output', data: 'before' });
        ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: y.a.id }), 200);
        await app.reported(t, { type: 'output', data: 'after' });
        const e = await y.mine.events('/v1/session/events?output=1');
        await e.live();
        const out = e.items.filter((i) => i.event === 'output');
        assert.equal(out.map((i) => i.data.data).join(''), 'after');
        assert.equal(out[0].data.offset, 6);
        e.close();
        const one = await y.mine.events(`/v1/tasks/${t.id}/events`);
        await one.live();
        one.close();
        assert.equal(ok(await y.mine.get(`/v1/tasks/${t.id}/output`), 200).text, 'beforeafter');
    });
});

describe('a slow reader', () => {
    test('skips what has been overtaken and lands on the newest state', async () => {
        const { a, mine, feed } = await fresh();
        const [t, u] = [await app.task(a), await app.task(a)];
        const e = await mine.events(feed);
        await e.live();
        e.stall();
        const total = 20000;
        const line = (i) => JSON.stringify({ type: 'progress', current: i, total, message: `${i} ${'m'.repeat(480)}` });
        const body = Array.from({ length: total }, (_, i) => line(i + 1)).join('\n');
        const r = ok(await new Api(s, t.worker_token).call('POST', `/v1/tasks/${t.id}/reports`, { body, type: 'application/x-ndjson' }), 200);
        assert.equal(r.text.trim().split('\n').length, total);
        await step(u, 1);
        e.resume();
        await e.task(t.id, (x) => x.progress.current === total, 'the newest state');
        await e.when(() => e.tasks().some((x) => x.id === u.id && x.progress.current === 1), 'the other task');
        assert.ok(e.items.length < total, `${e.items.length} events`);
        new View().applyAll(e.items);
        e.close();
    });
});

describe('readers that come and go', () => {
    test('miss nothing, are given nothing twice, and end with what there is', async () => {
        const { a, mine } = await fresh();
        let x = 12345;
        const rnd = (n) => (x = (x * 1103515245 + 12345) % 2147483648) % n;
        const readers = Array.from({ length: 6 }, (_, i) => ({ view: new View(), output: i % 2 === 1, feed: i % 2 ? '/v1/session/events?output=1' : '/v1/session/events', way: i % 3 }));
        let busy = true;
        const read = async (r) => {
            for (let last = false; !last; ) {
                last = !busy;
                let items;
                if (r.way === 2) {
                    const p = ok(await mine.page('/v1/session/events', { after: r.cursor, output: r.output, wait: last ? undefined : 1 }), 200).json;
                    items = p.events;
                    r.cursor = p.cursor;
                } else {
                    const e = await mine.events(r.feed, { lastEventId: r.cursor });
                    await e.live();
                    if (!last) {
                        await pause(rnd(60));
                    }
                    e.close();
                    items = e.items;
                    r.cursor = e.lastId;
                }
                assert.ok(!items.some((i) => i.event === 'reset'));
                r.view.applyAll(items);
                last &&= items.every((i) => i.event === 'live');
            }
        };
        const reading = Promise.all(readers.map(read));
        const output = new Map();
        const tasks = [];
        for (let i = 0; i < 400; i++) {
            const t = tasks[rnd(tasks.length || 1)];
            const what = rnd(10);
            if (tasks.length < 5 || what === 0) {
                const made = await app.task(a);
                tasks.push(made);
                output.set(made.id, '');
            } else if (what < 6) {
                await step(t, i);
            } else if (what < 9) {
                const data = `${i},`;
                await app.reported(t, { type: 'output', data });
                output.set(t.id, output.get(t.id) + data);
            } else {
                await done(t);
                tasks.splice(tasks.indexOf(t), 1);
            }
        }
        busy = false;
        await reading;
        const told = (r) => r.output || [...output].every(([id, text]) => r.view.tasks.get(id)?.output_bytes === text.length);
        for (const r of readers) {
            await until(async () => { // the events that tell of output come at most once a second
                const p = ok(await mine.page('/v1/session/events', { after: r.cursor, output: r.output }), 200).json;
                r.view.applyAll(p.events);
                r.cursor = p.cursor;
                return told(r);
            }, 'all of the output to be told');
        }
        const now = new Map(ok(await app.get(`/v1/tasks?session=${a.id}&limit=1000`), 200).json.items.map((t) => [t.id, t]));
        for (const r of readers) {
            assert.deepEqual([...r.view.tasks.keys()].sort(), [...now.keys()].sort());
            for (const [id, t] of r.view.tasks) {
                const { version, output_bytes, updated_at, ...shown } = t;
                const { version: v, output_bytes: o, updated_at: u, ...there } = now.get(id);
                assert.ok(version <= v && output_bytes <= o && updated_at <= u);
                assert.deepEqual(shown, there);
                if (r.output) {
                    assert.equal(r.view.output.get(id)?.toString() ?? '', output.get(id));
                } else {
                    assert.equal(output_bytes, o);
                }
            }
        }
    });
});

describe('many', () => {
    test('watchers of one session see the same', async () => {
        const { a, mine, feed } = await fresh();
        const t = await app.task(a);
        const all = await Promise.all(Array.from({ length: 30 }, () => mine.events(feed)));
        await Promise.all(all.map((e) => e.live()));
        for (let i = 1; i <= 10; i++) {
            await step(t, i);
        }
        await done(t);
        await Promise.all(all.map((e) => e.task(t.id, (x) => x.state === 'succeeded')));
        for (const e of all) {
            new View().applyAll(e.items);
            e.close();
        }
    });

    test('tasks: a snapshot of a thousand', async () => {
        const { a, mine, feed } = await fresh();
        const ids = (await Promise.all(Array.from({ length: 1000 }, () => app.task(a)))).map((t) => t.id);
        const e = await mine.events(feed);
        await e.live();
        e.close();
        assert.deepEqual(e.tasks().map((t) => t.id).sort(), ids.sort());
        new View().applyAll(e.items);
    });
});

describe('other clients', () => {
    test('EventSource reads it, and reads on after a restart', async () => {
        const o = await start();
        try {
            const api = o.api();
            const a = await api.session();
            const [t, u] = [await api.task(a), await api.task(a)];
            const es = new EventSource(`${o.url}/v1/session/events?access_token=${a.token}`);
            const got = [];
            const view = new View();
            for (const event of ['task', 'session', 'reset', 'live']) {
                es.addEventListener(event, (e) => {
                    const item = { id: e.lastEventId, event, data: JSON.parse(e.data) };
                    got.push(item);
                    view.apply(item);
                });
            }
            await until(() => got.some((e) => e.event === 'live'), 'live');
            await api.reported(t, { type: 'progress', current: 1 });
            await until(() => view.tasks.get(t.id).progress.current === 1, 'progress');
            await o.stop();
            await o.restart();
            await o.api().reported(t, { type: 'succeed', result: 'x' });
            await until(() => view.tasks.get(t.id).state === 'succeeded', 'the end after the restart', 30000);
            await until(() => got.filter((e) => e.event === 'live').length >= 2, 'live again');
            assert.ok(!got.some((e) => e.event === 'reset'));
            assert.equal(got.filter((e) => e.data.task?.id === u.id).length, 1, 'what did not change is not given again after a clean stop');
            es.close();
        } finally {
            await o.close();
        }
    });

    test('curl -N', async () => {
        const { a } = await fresh();
        const t = await app.task(a);
        const out = await new Promise((done_) => {
            let text = '';
            const child = execFile('curl', ['-sSN', '--max-time', '20', '-H', `Authorization: Bearer ${t.token}`, `${s.url}/v1/tasks/${t.id}/events`], () => done_(text));
            child.stdout.on('data', async (d) => {
                const first = text === '';
                text += d;
                if (first) {
                    await done(t);
                }
            });
        });
        assert.match(out, /^retry: 2000\nid: \S+-0\n\n/);
        assert.match(out, /\nevent: task\ndata: \{"seq":\d+,"task":\{.*"state":"succeeded".*\}\}\n\n$/);
    });
});

describe('how long a stream lives', () => {
    test('max_stream_age: closed after a retry, and nothing is lost', async () => {
        const o = await start({ max_stream_age: 1 });
        try {
            const api = o.api();
            const a = await api.session();
            const t = await api.task(a);
            const e = await o.api(a.token).events('/v1/session/events');
            await e.live();
            await e.end();
            assert.match(e.lines.slice(-3).join('\n'), /retry: \d+/);
            assert.ok(e.retry > 0);
            await api.reported(t, { type: 'progress', current: 1 });
            const r = await o.api(a.token).events('/v1/session/events', { lastEventId: e.lastId });
            assert.equal((await r.task(t.id)).progress.current, 1);
            r.close();
        } finally {
            await o.close();
        }
    });

    test('draining closes them all, with retry, and the program ends with 0', async () => {
        const o = await start({ drain_time: 0.3 });
        const api = o.api();
        const a = await api.session();
        const all = await Promise.all(Array.from({ length: 5 }, () => o.api(a.token).events('/v1/session/events')));
        await Promise.all(all.map((e) => e.live()));
        const end = await o.stop();
        assert.equal(end.code, 0, o.err);
        for (const e of all) {
            await e.end();
            assert.match(e.lines.slice(-3).join('\n'), /retry: \d+/);
        }
        await o.close();
    });

    test('a reader that takes no byte at all is cut off', async () => {
        const o = await start({ stalled_reader_timeout: 0.5 });
        try {
            const api = o.api();
            const a = await api.session();
            const t = await api.task(a);
            const e = await o.api(a.token).events(`/v1/tasks/${t.id}/events`);
            await e.live();
            e.stall();
            const chunk = 'x'.repeat(500000);
            for (let i = 0; i < 24; i++) {
                await api.reported(t, { type: 'output', data: chunk });
            }
            await api.watchers(0);
            e.resume();
            await e.end();
            assert.equal(e.tasks().at(-1).ended_at, null);
        } finally {
            await o.close();
        }
    });
});
