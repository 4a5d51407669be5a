// Section 3: sessions, their ends, users, rotation, merging and handover.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { apiKey, start } from './lib/server.mjs';
import { checkSession, checkTask, ok, pause, problem, until } from './lib/client.mjs';

let s;
let app;
let n = 0;
const name = (what = 'x') => `${what}-${++n}`;
before(async () => {
    s = await start({ api_keys: `op:operator:${apiKey('op')},back:backend:${apiKey('back')},both:backend+operator:${apiKey('both')},wo:worker+operator:${apiKey('wo')}`, cancel_grace: 0.3, max_sessions_per_user: 4, session_kinds: { report: { queue: 'reports' } } });
    app = s.api();
});
after(() => s.close());

const sessionOf = async (id) => ok(await app.get(`/v1/sessions/${id}`), 200).json;
const end = async (a) => ok(await app.delete(`/v1/sessions/${a.id ?? a}`), 200).json;

describe('create', () => {
    test('with nothing', async () => {
        const r = ok(await app.post('/v1/sessions', {}), 201);
        const a = checkSession(r.json, { token: true });
        assert.equal(a.state, 'active');
        assert.equal(a.user, null);
        assert.equal(a.ended_at, null);
        assert.equal(a.reason, null);
        assert.deepEqual([a.idle_timeout, a.max_age, a.metadata], [1800, 86400, {}]);
        assert.deepEqual(a.tasks, { unfinished: 0, ended: 0 });
        assert.match(a.token, new RegExp(`^${a.id}\\.g1\\.[A-Za-z0-9_-]{22}$`));
        assert.equal(Date.parse(a.expires_at) - Date.parse(a.created_at), 1800000);
    });

    test('with everything', async () => {
        const a = await app.session({ key: name('key'), user: 'u-all', idle_timeout: 60.5, max_age: 50, metadata: { plan: 'pro' } });
        assert.deepEqual([a.user, a.idle_timeout, a.max_age, a.metadata], ['u-all', 60.5, 50, { plan: 'pro' }]);
        assert.equal(Date.parse(a.expires_at) - Date.parse(a.created_at), 50000, 'the earlier of the two');
        const got = await sessionOf(a.id);
        checkSession(got);
        const { token, ...rest } = a;
        assert.ok(token);
        assert.deepEqual(got, rest);
    });

    test('0 means never', async () => {
        assert.equal((await app.session({ idle_timeout: 0, max_age: 0 })).expires_at, null);
        const a = await app.session({ idle_timeout: 0, max_age: 100 });
        assert.equal(Date.parse(a.expires_at) - Date.parse(a.created_at), 100000);
    });

    test('a key that names an active session: 200, and no other member is applied', async () => {
        const key = name('key');
        const a = await app.session({ key, user: 'u1', metadata: { a: 1 } });
        const b = ok(await app.post('/v1/sessions', { key, metadata: { a: 2 }, idle_timeout: 5 }), 200).json;
        assert.equal(b.id, a.id);
        assert.deepEqual(b.metadata, { a: 1 });
        assert.equal(b.idle_timeout, 1800);
        ok(await s.api(b.token).get('/v1/session'), 200);
        ok(await app.post('/v1/sessions', { key, user: 'u1' }), 200);
        problem(await app.post('/v1/sessions', { key, user: 'u2' }), 'user-mismatch');
    });

    test('naming an existing session without a user with one gives it none', async () => {
        const key = name('key');
        const a = await app.session({ key });
        const r = await app.post('/v1/sessions', { key, user: 'u' });
        assert.ok(r.status === 200 || r.json.code === 'user-mismatch', r.text);
        assert.equal((await sessionOf(a.id)).user, null);
    });

    test('many at once with one key make one', async () => {
        const key = name('key');
        const all = await Promise.all(Array.from({ length: 12 }, () => app.post('/v1/sessions', { key })));
        assert.equal(new Set(all.map((r) => r.json.id)).size, 1);
        assert.deepEqual(all.map((r) => r.status).sort(), [...Array(11).fill(200), 201]);
    });

    test('the key is never shown', async () => {
        const key = `very-secret-${name()}`;
        const a = await app.session({ key });
        for (const r of [await app.get(`/v1/sessions/${a.id}`), await app.get('/v1/sessions'), await s.api(a.token).get('/v1/session')]) {
            assert.ok(!r.text.includes(key));
        }
        assert.ok(!(s.out + s.err).includes(key));
    });
});

describe('read', () => {
    test('its own and by the backend', async () => {
        const a = await app.session({ user: 'u-read' });
        const own = ok(await s.api(a.token).get('/v1/session'), 200).json;
        checkSession(own);
        assert.equal(own.id, a.id);
        problem(await app.get('/v1/sessions/ses_01ARZ3NDEKTSV4RRFFQ69G5FAV'), 'not-found');
    });

    test('its tasks are counted', async () => {
        const a = await app.session();
        const [t] = [await app.task(a), await app.task(a)];
        assert.deepEqual((await sessionOf(a.id)).tasks, { unfinished: 2, ended: 0 });
        await app.reported(t, { type: 'succeed' });
        assert.deepEqual((await sessionOf(a.id)).tasks, { unfinished: 1, ended: 1 });
        const listed = ok(await app.get('/v1/sessions?limit=1'), 200).json.items[0];
        assert.deepEqual([listed.id, listed.tasks], [a.id, { unfinished: 1, ended: 1 }]);
    });

    test('lists by user and state', async () => {
        const user = name('list-user');
        const [a, b] = [await app.session({ user }), await app.session({ user })];
        await end(a);
        const ids = async (q) => ok(await app.get(`/v1/sessions?user=${user}${q}`), 200).json.items.map((i) => i.id);
        assert.deepEqual(await ids(''), [b.id, a.id]);
        assert.deepEqual(await ids('&state=active'), [b.id]);
        assert.deepEqual(await ids('&state=ended'), [a.id]);
    });
});

describe('the idle clock', () => {
    test('is restarted by touch and by its own credential', async () => {
        const a = await app.session();
        await pause(15);
        const touched = ok(await app.post(`/v1/sessions/${a.id}/touch`), 200).json;
        checkSession(touched);
        assert.ok(touched.expires_at > a.expires_at);
        await pause(15);
        const own = ok(await s.api(a.token).get('/v1/session'), 200).json;
        assert.ok(own.expires_at > touched.expires_at || (await sessionOf(a.id)).expires_at > touched.expires_at);
    });

    test('not by the backend, by watching or by waiting', async () => {
        const a = await app.session();
        const t = await app.task(a);
        await app.reported(t, { type: 'succeed' });
        const mine = s.api(a.token);
        await pause(15);
        const was = (await sessionOf(a.id)).expires_at;
        assert.equal(was, a.expires_at);
        ok(await mine.page('/v1/session/events'), 200);
        ok(await mine.page(`/v1/tasks/${t.id}/events`), 200);
        const e = await mine.events('/v1/session/events');
        await e.live();
        e.close();
        ok(await mine.get(`/v1/tasks/${t.id}`, { prefer: 'wait=1' }), 200);
        ok(await s.api(t.token).get(`/v1/tasks/${t.id}`), 200);
        assert.equal((await sessionOf(a.id)).expires_at, was);
        ok(await mine.get(`/v1/tasks/${t.id}`), 200);
        assert.ok((await sessionOf(a.id)).expires_at > was);
    });

    test('runs out: idle', async () => {
        const a = await app.session({ idle_timeout: 1.5, key: name('idle') });
        const e = await app.events(`/v1/sessions/${a.id}/events`);
        const last = await e.find((i) => i.event === 'session', 'the end');
        assert.deepEqual([last.data.state, last.data.reason], ['ended', 'idle']);
        await e.end();
        const got = await sessionOf(a.id);
        assert.deepEqual([got.state, got.reason], ['ended', 'idle']);
        problem(await s.api(a.token).get('/v1/session'), 'session-ended');
    });

    test('max_age: whatever anybody does', async () => {
        const a = await app.session({ max_age: 0.6, idle_timeout: 0 });
        await until(async () => {
            const r = await app.post(`/v1/sessions/${a.id}/touch`);
            return r.status === 409 && r.json.code === 'session-ended';
        }, 'max_age');
        assert.equal((await sessionOf(a.id)).reason, 'max_age');
    });

    for (const how of ['unfinished', 'always']) test(`watching_keeps_alive ${how}: also a request that waits for a task, as long as it waits`, async () => {
        const o = await start({ watching_keeps_alive: how });
        try {
            const back = o.api();
            const look = async (a) => ok(await back.get(`/v1/sessions/${a.id}`), 200).json;
            const waits = [(t) => [`/v1/tasks/${t.id}`, { 'if-none-match': `"${t.version}"`, prefer: 'wait=4' }], (t) => [`/v1/tasks/${t.id}/output`, { prefer: 'wait=4' }]];
            await Promise.all(waits.map(async (wait) => {
                const a = await back.session({ idle_timeout: 2 });
                const t = await back.task(a, { lease: 0 });
                assert.ok([200, 304].includes((await o.api(a.token).get(...wait(t))).status), 'the session has outlived its idle clock');
                await until(async () => (await look(a)).reason === 'idle', 'the end of the session once nobody waits');
            }));
            const a = await back.session({ idle_timeout: 2 });
            const t = await back.task(a, { lease: 0 });
            assert.ok([200, 304].includes((await o.api(t.token).get(...waits[0](t))).status));
            assert.equal((await look(a)).reason, 'idle', "a watch token is not the session's own credential");
        } finally {
            await o.close();
        }
    });

    for (const how of ['unfinished', 'always']) test(`watching_keeps_alive ${how}: also a stream on a task's own feed, and until it ends`, async () => {
        const o = await start({ watching_keeps_alive: how });
        try {
            const back = o.api();
            const look = async (a) => ok(await back.get(`/v1/sessions/${a.id}`), 200).json;
            const [a, b] = [await back.session({ idle_timeout: 2 }), await back.session({ idle_timeout: 2 })];
            const [t, u] = [await back.task(a, { lease: 0 }), await back.task(b, { lease: 0 })];
            const e = await o.api(a.token).events(`/v1/tasks/${t.id}/events`);
            const w = await o.api(u.token).events(`/v1/tasks/${u.id}/events`);
            await e.live();
            await w.live();
            await until(async () => (await look(b)).reason === 'idle', "the end of the session that only a watch token's stream watches");
            await pause(1000);
            const before = await look(a);
            assert.equal(before.state, 'active');
            e.close();
            const end = await until(async () => {
                const now = await look(a);
                return now.reason === 'idle' && now;
            }, 'the end of the session once nobody watches');
            assert.ok(Date.parse(end.ended_at) - Date.parse(a.created_at) >= 4900, 'the idle clock began when the stream ended');
            w.close();
        } finally {
            await o.close();
        }
    });

    test('an open page: while something is unfinished', async () => {
        const a = await app.session({ idle_timeout: 1.5 });
        const t = await app.task(a, { lease: 0 });
        const e = await s.api(a.token).events('/v1/session/events');
        const other = await app.session({ idle_timeout: 1.5 }); // nobody watches what is unfinished in it
        await app.task(other, { lease: 0 });
        const idle = await app.session({ idle_timeout: 1.5 }); // nothing is unfinished in what is watched
        await app.reported(await app.task(idle), { type: 'succeed' });
        const watching = await s.api(idle.token).events('/v1/session/events');
        await e.live();
        for (const gone of [other, idle]) {
            await until(async () => (await sessionOf(gone.id)).reason === 'idle', 'the end of the others');
        }
        await watching.end();
        await pause(1500);
        const now = await sessionOf(a.id);
        assert.equal(now.state, 'active');
        assert.ok(Date.parse(now.expires_at) > Date.now(), now.expires_at);
        await app.reported(t, { type: 'succeed' });
        const last = await e.find((i) => i.event === 'session', 'the end');
        assert.deepEqual([last.data.state, last.data.reason], ['ended', 'idle']);
        const end = await sessionOf(a.id);
        assert.ok(Date.parse(end.ended_at) - Date.parse((await app.look(t)).ended_at) >= 1400, 'the clock began anew at the end of the task');
    });

    test('watching_keeps_alive never: an open page is no use of the session, whatever runs', async () => {
        const o = await start({ watching_keeps_alive: false });
        try {
            const a = await o.api().session({ idle_timeout: 1 });
            await o.api().task(a, { lease: 0 });
            const e = await o.api(a.token).events('/v1/session/events');
            const last = await e.find((i) => i.event === 'session', 'the end');
            assert.deepEqual([last.data.state, last.data.reason], ['ended', 'idle']);
        } finally {
            await o.close();
        }
    });

    test('watching_keeps_alive', async () => {
        const o = await start({ watching_keeps_alive: true });
        try {
            const a = await o.api().session();
            await pause(15);
            ok(await o.api(a.token).page('/v1/session/events'), 200);
            await until(async () => ok(await o.api().get(`/v1/sessions/${a.id}`), 200).json.expires_at > a.expires_at, 'the idle clock to be restarted');
        } finally {
            await o.close();
        }
    });
});

describe('end', () => {
    test('by itself, by the backend, by an operator', async () => {
        const cases = [[(a) => s.api(a.token).delete('/v1/session'), 'logout'], [(a) => s.api(apiKey('back')).delete(`/v1/sessions/${a.id}`), 'logout'],
            [(a) => s.api(apiKey('op')).delete(`/v1/sessions/${a.id}`), 'operator'], [(a) => s.api(apiKey('both')).delete(`/v1/sessions/${a.id}`), 'logout'],
            [(a) => s.api(apiKey('wo')).delete(`/v1/sessions/${a.id}`), 'logout']];
        for (const [how, reason] of cases) {
            const a = await app.session();
            const first = ok(await how(a), 200).json;
            checkSession(first);
            assert.deepEqual([first.state, first.reason], ['ended', reason]);
            const again = ok(await how(a), 200).json;
            assert.deepEqual([again.ended_at, again.reason], [first.ended_at, reason], 'again: the same');
        }
    });

    test('nothing more can be done with it', async () => {
        const a = await app.session();
        await end(a);
        problem(await app.post('/v1/tasks', { session: a.id, kind: 'work' }), 'session-ended');
        problem(await app.post(`/v1/sessions/${a.id}/touch`), 'session-ended');
        problem(await app.post(`/v1/sessions/${a.id}/rotate`), 'session-ended');
        const b = await app.session();
        problem(await app.post(`/v1/sessions/${a.id}/merge`, { into: b.id }), 'session-ended');
        problem(await app.post(`/v1/sessions/${b.id}/merge`, { into: a.id }), 'session-ended');
        const t = await app.task(b);
        problem(await app.post(`/v1/tasks/${t.id}/bind`, { session: a.id }), 'session-ended');
    });

    test('its key is free again', async () => {
        const key = name('key');
        const a = await app.session({ key });
        await end(a);
        const b = await app.session({ key });
        assert.notEqual(b.id, a.id);
        const t = await app.post('/v1/tasks', { session: { key }, kind: 'work' });
        assert.equal(ok(t, 202).json.session, b.id);
    });

    test('is forgotten after ended_session_ttl', async () => {
        const o = await start({ ended_session_ttl: 1 });
        try {
            const a = await o.api().session();
            ok(await o.api().delete(`/v1/sessions/${a.id}`), 200);
            await until(async () => (await o.api().get(`/v1/sessions/${a.id}`)).status === 404, 'it to be forgotten');
            problem(await o.api(a.token).get('/v1/session'), 'unauthenticated');
        } finally {
            await o.close();
        }
    });
});

describe('on_session_end', () => {
    test('keep: goes on, for the backend and its watch token', async () => {
        const a = await app.session();
        const t = await app.task(a, { on_session_end: 'keep' });
        await app.reported(t, { type: 'progress', current: 1 });
        await end(a);
        const got = ok(await s.api(t.token).get(`/v1/tasks/${t.id}`), 200).json;
        assert.deepEqual([got.state, got.cancel_requested], ['running', false]);
        await app.reported(t, { type: 'succeed', result: 7 });
        assert.equal(ok(await s.api(t.token).get(`/v1/tasks/${t.id}/result`), 200).text, '7');
        ok(await s.api(t.token).post(`/v1/tasks/${t.id}/seen`), 200);
    });

    test('keep: its stream goes on to the final state', async () => {
        const a = await app.session();
        const t = await app.task(a);
        const e = await s.api(t.token).events(`/v1/tasks/${t.id}/events`);
        await e.live();
        await end(a);
        await app.reported(t, { type: 'succeed' });
        await e.task(t.id, (x) => x.state === 'succeeded');
        await e.end();
    });

    test('cancel: requested, with the reason', async () => {
        const a = await app.session();
        const [queued, running] = [await app.task(a, { on_session_end: 'cancel', queue: 'sess-cancel' }), await app.task(a, { on_session_end: 'cancel' })];
        await app.reported(running, { type: 'progress', current: 1 });
        await end(a);
        const q = await app.look(queued);
        assert.deepEqual([q.state, q.cancel_reason], ['cancelled', 'session-ended']);
        const r = await app.look(running);
        assert.equal(r.cancel_reason, 'session-ended');
        assert.ok(r.cancel_requested || r.state === 'cancelled');
        assert.equal((await app.ended(running)).state, 'cancelled', 'after the grace the server says so itself');
    });

    test('cancel: also when it expires', async () => {
        const a = await app.session({ idle_timeout: 1.5 });
        const t = await app.task(a, { on_session_end: 'cancel', queue: 'sess-cancel' });
        const got = await app.ended(t);
        assert.deepEqual([got.state, got.cancel_reason], ['cancelled', 'session-ended']);
    });

    test('tasks are treated first, then the feed ends and stays ended', async () => {
        const a = await app.session({ user: name('treated') });
        const b = await app.session({ user: a.user });
        const c = await app.task(a, { on_session_end: 'cancel', queue: 'sess-cancel' });
        const h = await app.task(a, { on_session_end: 'handover', queue: 'sess-cancel' });
        const e = await s.api(a.token).events('/v1/session/events');
        await e.live();
        await end(a);
        await e.end();
        const after = e.items.slice(e.items.findIndex((i) => i.event === 'live') + 1);
        assert.equal(after.at(-1).event, 'session');
        assert.deepEqual([after.at(-1).data.state, after.at(-1).data.reason], ['ended', 'logout']);
        assert.ok(after.some((i) => i.data.task?.id === c.id && i.data.task.state === 'cancelled'));
        assert.ok(after.some((i) => i.data.gone === h.id && i.data.reason === 'moved'));
        assert.equal((await app.look(h)).session, b.id);
        assert.equal((await s.api(a.token).get('/v1/session/events', { 'last-event-id': e.lastId, accept: 'text/event-stream' })).status, 204);
    });
});

describe('handover', () => {
    test("moves to the user's most recently active other session", async () => {
        const user = name('hand');
        const a = await app.session({ user });
        const t = await app.task(a, { on_session_end: 'handover' });
        const b = await app.session({ user });
        await pause(10);
        const c = await app.session({ user });
        await pause(10);
        ok(await s.api(b.token).get('/v1/session'), 200);
        const e = await s.api(b.token).events('/v1/session/events');
        await e.live();
        await app.reported(t, { type: 'progress', current: 5 });
        const version = (await app.look(t)).version;
        await end(a);
        const got = await e.task(t.id);
        assert.equal(got.session, b.id);
        assert.ok(got.version > version, 'the version keeps rising');
        assert.notEqual(got.session, c.id);
        problem(await s.api(t.token).get(`/v1/tasks/${t.id}`), 'unauthenticated');
        ok(await s.api(b.token).get(`/v1/tasks/${t.id}`), 200);
        await app.reported(t, { type: 'succeed' });
        await e.task(t.id, (x) => x.state === 'succeeded');
        e.close();
    });

    test('waits for the next session that gets that user: by creation', async () => {
        const user = name('hand');
        const a = await app.session({ user });
        const t = await app.task(a, { on_session_end: 'handover' });
        await end(a);
        await app.reported(t, { type: 'progress', current: 1 });
        const b = await app.session({ user });
        const got = ok(await s.api(b.token).get(`/v1/tasks/${t.id}`), 200).json;
        assert.deepEqual([got.session, got.state], [b.id, 'running']);
        assert.deepEqual(ok(await s.api(b.token).get('/v1/session/tasks'), 200).json.items.map((i) => i.id), [t.id]);
    });

    test('waits for the next session that gets that user: by rotate', async () => {
        const user = name('hand');
        const a = await app.session({ user });
        const t = await app.task(a, { on_session_end: 'handover', queue: 'hand-q' });
        await end(a);
        const anonymous = await app.session();
        const { token } = ok(await app.post(`/v1/sessions/${anonymous.id}/rotate`, { user }), 200).json;
        assert.equal(ok(await s.api(token).get(`/v1/tasks/${t.id}`), 200).json.session, anonymous.id);
    });

    test('waits for the next session that gets that user: by a task that names it', async () => {
        const user = name('hand');
        const a = await app.session({ user });
        const t = await app.task(a, { on_session_end: 'handover', queue: 'hand-q' });
        await end(a);
        const other = ok(await app.post('/v1/tasks', { session: { key: name('key'), user }, kind: 'work' }), 202).json;
        assert.equal((await app.look(t)).session, other.session);
    });

    test('a finished one that nobody has marked seen moves too, with a new ttl; a seen one stays', async () => {
        const user = name('hand');
        const a = await app.session({ user });
        const [unseen, seen, kept] = [await app.task(a, { on_session_end: 'handover' }), await app.task(a, { on_session_end: 'handover' }), await app.task(a)];
        for (const t of [unseen, seen, kept]) {
            await app.reported(t, { type: 'succeed', result: 'r' });
        }
        ok(await s.api(seen.token).post(`/v1/tasks/${seen.id}/seen`), 200);
        const was = await app.look(unseen);
        await pause(10);
        const b = await app.session({ user });
        await end(a);
        const now = await app.look(unseen);
        assert.equal(now.session, b.id);
        assert.ok(now.expires_at > was.expires_at);
        assert.equal(now.ended_at, was.ended_at);
        assert.equal((await app.look(seen)).session, a.id);
        assert.equal((await app.look(kept)).session, a.id);
    });

    test('without a user it is keep', async () => {
        const a = await app.session();
        const t = await app.task(a, { on_session_end: 'handover' });
        await end(a);
        const got = ok(await s.api(t.token).get(`/v1/tasks/${t.id}`), 200).json;
        assert.deepEqual([got.session, got.state], [a.id, 'queued']);
    });
});

describe('rotate', () => {
    test('same id, same tasks, next generation', async () => {
        const a = await app.session();
        const t = await app.task(a);
        const b = checkSession(ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200).json, { token: true });
        assert.equal(b.id, a.id);
        assert.match(b.token, /\.g2\./);
        problem(await s.api(a.token).get('/v1/session'), 'unauthenticated');
        assert.equal(ok(await s.api(b.token).get('/v1/session/tasks'), 200).json.items[0].id, t.id);
    });

    test('with a key: it replaces the old one', async () => {
        const [old, next] = [name('key'), name('key')];
        const a = await app.session({ key: old });
        ok(await app.post(`/v1/sessions/${a.id}/rotate`, { key: next }), 200);
        assert.equal(ok(await app.post('/v1/sessions', { key: next }), 200).json.id, a.id);
        assert.notEqual(ok(await app.post('/v1/sessions', { key: old }), 201).json.id, a.id);
    });

    test('a key another active session has: key-in-use, and nothing changes', async () => {
        const key = name('key');
        await app.session({ key });
        const a = await app.session();
        problem(await app.post(`/v1/sessions/${a.id}/rotate`, { key, user: 'nope' }), 'key-in-use');
        assert.equal(ok(await s.api(a.token).get('/v1/session'), 200).json.user, null);
        const own = name('key');
        const b = await app.session({ key: own });
        ok(await app.post(`/v1/sessions/${b.id}/rotate`, { key: own }), 200);
    });

    test('a user is set where there was none and never changes', async () => {
        const a = await app.session();
        assert.equal(ok(await app.post(`/v1/sessions/${a.id}/rotate`, { user: 'first' }), 200).json.user, 'first');
        ok(await app.post(`/v1/sessions/${a.id}/rotate`, { user: 'first' }), 200);
        assert.equal(ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200).json.user, 'first');
        problem(await app.post(`/v1/sessions/${a.id}/rotate`, { user: 'second' }), 'user-mismatch');
    });

    test('streams of the old generation are told and closed, and the id leads on', async () => {
        const a = await app.session();
        const t = await app.task(a);
        const e = await s.api(a.token).events('/v1/session/events');
        const back = await app.events(`/v1/sessions/${a.id}/events`);
        await e.live();
        await back.live();
        const { token } = ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200).json;
        await e.end();
        const last = e.items.at(-1);
        assert.deepEqual([last.event, last.data.state, last.data.reason], ['session', 'rotated', null]);
        await app.reported(t, { type: 'progress', current: 3 });
        await back.task(t.id, (x) => x.progress.current === 3);
        assert.ok(!back.done, "a backend's stream goes on");
        back.close();
        const next = await s.api(token).events('/v1/session/events', { lastEventId: last.id });
        const got = await next.task(t.id);
        assert.equal(got.progress.current, 3);
        assert.ok(!next.items.some((i) => i.event === 'reset'));
        next.close();
    });

    test('within the grace an old event stream is answered with the event; other ways are refused at once', async () => {
        const a = await app.session();
        const e0 = await s.api(a.token).events('/v1/session/events');
        await e0.live();
        const { token } = ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200).json;
        await e0.end();
        const e = await s.api(a.token).events('/v1/session/events', { lastEventId: e0.lastId });
        assert.equal(e.status, 200);
        await e.end();
        assert.equal(e.retry, 2000);
        assert.deepEqual(e.items.map((i) => [i.event, i.data.state, i.data.reason]), [['session', 'rotated', null]]);
        assert.equal(e.lastId, e0.lastId);
        const stale = await s.api(a.token).events('/v1/session/events', { lastEventId: '0000-of-5' });
        await stale.end();
        assert.equal(stale.lastId, '0000-of-5', 'a cursor of no use stays one, so that its reader is told to forget what it has');
        const fresh = await s.api(a.token).events('/v1/session/events');
        await fresh.end();
        assert.match(fresh.lastId, /^[^-]+-[^-]+-0$/);
        problem(await s.api(a.token).page('/v1/session/events'), 'unauthenticated');
        problem(await s.api(a.token).get('/v1/session'), 'unauthenticated');
        ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200);
        const late = await s.api(a.token).events('/v1/session/events');
        assert.equal(late.status, 401, 'only the generation just before the present one');
        const just = await s.api(token).events('/v1/session/events');
        assert.equal(just.status, 200);
        await just.end();
    });

    test('after the grace they are refused', async () => {
        const o = await start({ rotation_grace: 0 });
        try {
            const a = await o.api().session();
            ok(await o.api().post(`/v1/sessions/${a.id}/rotate`), 200);
            await until(async () => (await o.api(a.token).get('/v1/session/events', { accept: 'text/event-stream' })).status === 401, 'the end of the grace');
        } finally {
            await o.close();
        }
    });

    test('a waiting page is refused when it happens', async () => {
        const a = await app.session();
        const first = ok(await s.api(a.token).page('/v1/session/events'), 200).json;
        const [waiting] = await app.begun(() => s.api(a.token).page('/v1/session/events', { after: first.cursor, wait: 30 }));
        ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200);
        problem(await waiting, 'unauthenticated');
    });
});

describe('merge', () => {
    test('every task moves, in order, in one step', async () => {
        const [a, b] = [await app.session({ key: name('key') }), await app.session()];
        const tasks = [];
        for (let i = 0; i < 5; i++) {
            tasks.push(await app.task(a, { title: `t${i}` }));
        }
        await app.reported(tasks[1], { type: 'succeed' });
        await app.reported(tasks[0], { type: 'progress', current: 1 });
        const order = ok(await app.page(`/v1/sessions/${a.id}/events`), 200).json.events.map((e) => e.data.task.id);
        const target = await app.events(`/v1/sessions/${b.id}/events`);
        await target.live();
        const source = await s.api(a.token).events('/v1/session/events');
        await source.live();
        const r = checkSession(ok(await app.post(`/v1/sessions/${a.id}/merge`, { into: b.id }), 200).json);
        assert.equal(r.id, b.id);
        assert.deepEqual(r.tasks, { unfinished: 4, ended: 1 });
        const moved = [];
        for (let i = 0; i < 5; i++) {
            moved.push((await target.next()).data.task.id);
        }
        assert.deepEqual(moved, order);
        target.close();
        await source.end();
        assert.equal(source.items.filter((i) => i.data.gone && i.data.reason === 'moved').length, 5);
        assert.deepEqual([source.items.at(-1).event, source.items.at(-1).data.reason], ['session', 'merged']);
        const gone = await sessionOf(a.id);
        assert.deepEqual([gone.state, gone.reason, gone.tasks], ['ended', 'merged', { unfinished: 0, ended: 0 }]);
    });

    test('versions keep rising, whichever of the two had the greater number', async () => {
        for (const busy of [0, 1]) {
            const pair = [await app.session(), await app.session()];
            const t = await app.task(pair[0]);
            const noise = await app.task(pair[busy]);
            for (let i = 1; i < 20; i++) {
                await app.reported(noise, { type: 'progress', current: i });
                if (busy === 0) {
                    await app.reported(t, { type: 'progress', current: i });
                }
            }
            const was = (await app.look(t)).version;
            ok(await app.post(`/v1/sessions/${pair[0].id}/merge`, { into: pair[1].id }), 200);
            const now = (await app.look(t)).version;
            assert.ok(now > was, `${now} > ${was}`);
            if (busy === 1) {
                assert.ok(now > (await app.look(noise)).version);
            }
        }
    });

    test('again into the same: 200; into another, into itself, into nothing', async () => {
        const [a, b, c] = [await app.session(), await app.session(), await app.session()];
        ok(await app.post(`/v1/sessions/${a.id}/merge`, { into: b.id }), 200);
        assert.equal(ok(await app.post(`/v1/sessions/${a.id}/merge`, { into: b.id }), 200).json.id, b.id);
        problem(await app.post(`/v1/sessions/${a.id}/merge`, { into: c.id }), 'session-ended');
        problem(await app.post(`/v1/sessions/${b.id}/merge`, { into: b.id }), 'invalid-request', '/into');
        problem(await app.post(`/v1/sessions/${b.id}/merge`, { into: 'ses_01ARZ3NDEKTSV4RRFFQ69G5FAV' }), 'not-found', '/into');
        problem(await app.post('/v1/sessions/ses_01ARZ3NDEKTSV4RRFFQ69G5FAV/merge', { into: b.id }), 'not-found');
    });

    test('its key is free again', async () => {
        const key = name('key');
        const [a, b] = [await app.session({ key }), await app.session()];
        ok(await app.post(`/v1/sessions/${a.id}/merge`, { into: b.id }), 200);
        assert.notEqual(ok(await app.post('/v1/sessions', { key }), 201).json.id, a.id);
    });

    test('users: never two different, never out of one', async () => {
        const [u1, u2] = [name('mu'), name('mu')];
        const [a, b, none] = [await app.session({ user: u1 }), await app.session({ user: u2 }), await app.session()];
        const t = await app.task(a);
        problem(await app.post(`/v1/sessions/${a.id}/merge`, { into: b.id }), 'user-mismatch');
        problem(await app.post(`/v1/sessions/${a.id}/merge`, { into: none.id }), 'user-mismatch');
        problem(await app.post(`/v1/tasks/${t.id}/bind`, { session: b.id }), 'user-mismatch');
        problem(await app.post(`/v1/tasks/${t.id}/bind`, { session: none.id }), 'user-mismatch');
        problem(await app.post(`/v1/tasks/${t.id}/bind`, { session: { key: name('key'), user: u2 } }), 'user-mismatch');
        assert.equal((await app.look(t)).session, a.id);
        assert.equal((await sessionOf(a.id)).state, 'active');
        ok(await app.post(`/v1/sessions/${none.id}/merge`, { into: a.id }), 200);
        const same = await app.session({ user: u1 });
        ok(await app.post(`/v1/sessions/${a.id}/merge`, { into: same.id }), 200);
    });
});

test('one more active session of a user than allowed ends the one longest idle: limit', async () => {
    const user = name('crowd');
    const all = [];
    for (let i = 0; i < 4; i++) {
        all.push(await app.session({ user }));
        await pause(5);
    }
    ok(await app.post(`/v1/sessions/${all[0].id}/touch`), 200);
    const fifth = await app.session({ user });
    const states = await Promise.all(all.map(async (a) => (await sessionOf(a.id)).reason));
    assert.deepEqual(states, [null, 'limit', null, null]);
    assert.equal((await sessionOf(fifth.id)).state, 'active');
    const anonymous = await app.session();
    await pause(5);
    ok(await app.post(`/v1/sessions/${anonymous.id}/rotate`, { user }), 200);
    assert.equal((await sessionOf(all[2].id)).reason, 'limit', 'also when one gets the user by rotate');
});

describe('open sessions', () => {
    let o;
    let own;
    before(async () => {
        o = await start({ open_sessions: true, open_sessions_per_minute: 6, allowed_origins: 'https://site.example' });
        own = { origin: `http://${o.host}` };
    });
    after(() => o.close());

    test('without the option there is no such route', async () => {
        problem(await s.api(null).post('/v1/session', undefined, { origin: `http://${s.host}` }), 'not-found');
    });

    test('need an Origin', async () => {
        problem(await o.api(null).post('/v1/session'), 'forbidden');
        problem(await o.api(null).post('/v1/session', undefined, { origin: 'https://evil.example' }), 'forbidden');
        problem(await o.api(null).post('/v1/session', undefined, { origin: 'null' }), 'forbidden');
    });

    test('take no Idempotency-Key', async () => {
        const r = problem(await o.api(null).post('/v1/session', undefined, { ...own, 'idempotency-key': 'once' }), 'invalid-request');
        assert.match(r.json.detail, /cookie/);
        assert.equal(r.headers['set-cookie'], undefined);
    });

    test('one per browser, by its cookie; limited per address', async () => {
        const r = ok(await o.api(null).post('/v1/session', undefined, own), 201);
        const set = [r.headers['set-cookie']].flat();
        assert.equal(set.length, 1);
        const [pair, ...attributes] = set[0].split(/; */);
        const lower = attributes.map((x) => x.toLowerCase());
        assert.match(pair, /^bowline=ses_/);
        assert.ok(lower.includes('httponly') && lower.includes('path=/'));
        assert.ok(lower.includes('samesite=lax') || lower.includes('samesite=strict'));
        assert.ok(!lower.some((x) => x.startsWith('domain')));
        const got = ok(await o.api(null).get('/v1/session', { cookie: pair }), 200).json;
        assert.deepEqual([got.state, got.user], ['active', null]);
        const again = ok(await o.api(null).post('/v1/session', undefined, { ...own, cookie: pair }), 200);
        assert.equal(again.json.id, got.id);
        ok(await o.api(null).post('/v1/session', '{}', { ...own, cookie: pair, 'content-type': 'application/json' }), 200);
        ok(await o.api(null).delete('/v1/session', { ...own, cookie: pair }), 200);
        const anew = ok(await o.api(null).post('/v1/session', undefined, { ...own, cookie: pair }), 201);
        assert.notEqual(anew.json.id, got.id, 'after its end the browser gets another');
        ok(await o.api(null).post('/v1/session', undefined, { ...own, cookie: 'bowline=nonsense' }), 201);
        ok(await o.api(null).post('/v1/session', undefined, { origin: 'https://site.example' }), 201);
        const refused = await until(async () => {
            const x = await o.api(null).post('/v1/session', undefined, own);
            return x.status === 201 ? null : x;
        }, 'the limit');
        problem(refused, 'rate-limited');
    });
});

test('a session of the framework by key, and its tasks, in one call', async () => {
    const key = name('key');
    const t = checkTask(ok(await app.post('/v1/tasks', { session: { key, user: 'u-k' }, kind: 'work' }), 202).json, ['token', 'worker_token']);
    const a = ok(await app.post('/v1/sessions', { key }), 200).json;
    assert.deepEqual([a.id, a.user], [t.session, 'u-k']);
    assert.equal(ok(await app.post('/v1/tasks', { session: { key }, kind: 'work' }), 202).json.session, a.id);
    problem(await app.post('/v1/tasks', { session: { key, user: 'other' }, kind: 'work' }), 'user-mismatch');
    problem(await app.post('/v1/tasks', { session: { key: '' }, kind: 'work' }), 'invalid-request', '/session/key');
});
