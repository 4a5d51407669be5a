// Section 6: a stream that carries output and reads on from a cursor stays open, whatever numbers stand behind that cursor.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { start } from './lib/server.mjs';
import { ok, until } from './lib/client.mjs';

const OPENS = 60; // while output is written

let s;
let app;
before(async () => {
    s = await start();
    app = s.api();
});
after(() => s.close());

/** Readers that stay: their events, and whether the server has let them go. */
const ways = {
    'an event stream': async (token, path, cursor, server = s) => {
        const e = await server.api(token).events(path, { lastEventId: cursor });
        return { items: e.items, over: () => e.done, close: () => e.close(), told: () => e.body };
    },
    'a WebSocket': async (token, path, cursor, server = s) => {
        const items = [];
        let code;
        const from = cursor === undefined ? '' : `${path.includes('?') ? '&' : '?'}after=${encodeURIComponent(cursor)}`;
        const w = new WebSocket(`ws://${server.host}${path}${from}`, 'bowline.v1', { headers: { authorization: `Bearer ${token}` } });
        w.on('message', (data) => items.push(JSON.parse(data.toString())));
        w.on('close', (n) => (code = n));
        w.on('error', (e) => (code ??= e.message));
        return { items, over: () => code !== undefined, close: () => w.terminate(), told: () => code };
    },
};

async function when(r, fits, what) {
    await until(() => r.items.some(fits) || r.over(), what);
    assert.ok(r.items.some(fits), `let go before ${what}: ${r.told()}`);
}

const isLive = (e) => e.event === 'live';
const saying = (data) => (e) => e.event === 'output' && e.data.data.endsWith(data);

/** A task with output and its session, where the number taken for those who are not given output is the newest. */
async function written() {
    const a = await app.session();
    const t = await app.task(a);
    const own = { path: `/v1/tasks/${t.id}/events`, token: t.token };
    const of = { path: '/v1/session/events?output=1', token: a.token };
    await app.reported(t, { type: 'output', data: 'abc' });
    return { a, t, own, of };
}

const cursorOf = async ({ path, token }) => ok(await s.api(token).get(path, { accept: 'application/json' }), 200).json.cursor;

for (const feed of ['own', 'of']) {
    describe(feed === 'own' ? "a task's own feed" : "a session's feed with output", () => {
        for (const [name, open] of Object.entries(ways)) {
            test(`${name}, from the cursor of a page, from that of \`live\`, and again`, async () => {
                const w = await written();
                let cursor = await cursorOf(w[feed]);
                for (const said of ['one', 'two', 'three']) {
                    const r = await open(w[feed].token, w[feed].path, cursor);
                    await when(r, isLive, 'live');
                    await app.reported(w.t, { type: 'output', data: said });
                    await when(r, saying(said), `"${said}"`);
                    assert.deepEqual(r.items.filter((e) => e.event === 'output').map((e) => e.data.data), [said]);
                    const live = r.items.find(isLive);
                    const again = await open(w[feed].token, w[feed].path, live.id);
                    await when(again, isLive, 'live, from the one before');
                    await when(again, saying(said), `"${said}" again`);
                    await app.reported(w.t, { type: 'heartbeat' });
                    assert.deepEqual([r.over(), again.over()], [false, false]);
                    cursor = r.items.at(-1).id;
                    r.close();
                    again.close();
                }
            });
        }

        test('pages: nothing new is an empty page with the same cursor, then what comes', async () => {
            const w = await written();
            const { path, token } = w[feed];
            const mine = s.api(token);
            const page = async (after_, wait) => ok(await mine.get(`${path}${path.includes('?') ? '&' : '?'}after=${after_}`, { accept: 'application/json', ...(wait ? { prefer: `wait=${wait}` } : {}) }), 200).json;
            const cursor = await cursorOf(w[feed]);
            assert.deepEqual(await page(cursor), { events: [], cursor });
            const r = await ways['an event stream'](token, path, cursor);
            await when(r, isLive, 'live');
            const ahead = r.items.find(isLive).id; // a number that no event of this feed has
            r.close();
            assert.deepEqual(await page(ahead), { events: [], cursor: ahead });
            const [waitingAhead] = await app.begun(() => page(ahead, 30));
            const [waiting] = await app.begun(() => page(cursor, 30));
            await app.reported(w.t, { type: 'output', data: 'more' });
            const next = await waiting;
            assert.deepEqual(next.events.map((e) => e.data.data), ['more']);
            assert.deepEqual((await waitingAhead).events, next.events);
            assert.deepEqual((await page(cursor)).events, next.events);
        });
    });
}

describe('a stream that breaks off before all of a fresh feed has come reads on, also where it is forgotten what has left since', () => {
    const COUNT = 60;
    for (const [name, open] of Object.entries(ways)) {
        for (const query of ['', 'output=1']) {
            test(`${name}${query && ', with output'}`, async () => {
                const o = await start({ tombstone_ttl: 1 });
                try {
                    const api = o.api();
                    const a = await api.session();
                    const tasks = [];
                    for (let i = 0; i < COUNT; i++) {
                        tasks.push(await api.task(a));
                    }
                    const gone = await api.task(a);
                    await api.reported(gone, { type: 'succeed' });
                    ok(await api.delete(`/v1/tasks/${gone.id}`), 204);
                    await until(async () => (await api.get(`/v1/tasks/${gone.id}`)).status === 404, 'what has left to be forgotten');
                    const path = `/v1/session/events${query && `?${query}`}`;
                    const first = await open(a.token, path, undefined, o);
                    await when(first, isLive, 'live');
                    first.close();
                    const states = first.items.filter((e) => e.event === 'task');
                    assert.deepEqual(states.map((e) => e.data.task?.id), tasks.map((t) => t.id));
                    for (const at of [0, 30, COUNT - 1]) {
                        const rest = await open(a.token, path, states[at].id, o);
                        await when(rest, isLive, 'live');
                        assert.deepEqual(rest.items.filter((e) => e.event !== 'live').map((e) => e.data.task?.id), tasks.slice(at + 1).map((t) => t.id));
                        const page = ok(await o.api(a.token).page('/v1/session/events', { after: states[at].id, output: query }), 200).json;
                        assert.deepEqual(page.events.map((e) => e.data.task?.id), tasks.slice(at + 1).map((t) => t.id));
                        rest.close();
                    }
                } finally {
                    await o.close();
                }
            });
        }
    }
});

describe('readers that come while output is written', () => {
    for (const [name, open] of Object.entries(ways)) {
        test(name, async () => {
            const w = await written();
            const cursors = [await cursorOf(w.of)];
            const readers = [];
            let writing = true;
            const writer = (async () => {
                for (let i = 0; writing; i++) {
                    await app.reported(w.t, { type: 'output', data: `line ${i}\n` });
                }
            })();
            for (let i = 0; i < OPENS; i++) {
                const r = await open(w.a.token, w.of.path, cursors[i % cursors.length]);
                await when(r, isLive, 'live');
                await when(r, (e) => e.event === 'output', 'output');
                cursors.push(r.items.at(-1).id);
                readers.push(r);
                if (readers.length > 20) { // a session has room for so many
                    assert.equal(readers[0].over(), false, `${readers[0].told()}`);
                    readers.shift().close();
                }
            }
            writing = false;
            await writer;
            await app.reported(w.t, { type: 'output', data: 'the last' });
            for (const r of readers) {
                await when(r, saying('the last'), 'the last');
                r.close();
            }
        });
    }
});
