// What was acknowledged is there after kill -9, and watchers read on as if nothing had happened.
import { after, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { start } from './lib/server.mjs';
import { ok, pause, problem, question, until } from './lib/client.mjs';
import { View } from './lib/sse.mjs';

const servers = [];
async function fresh(options) {
    const s = await start(options);
    servers.push(s);
    return s;
}
after(async () => {
    for (const s of servers) {
        await s.close();
    }
});

async function crash(s, options) {
    await s.kill();
    await s.restart(options);
}

/** A session with tasks in every state. */
async function populate(s, session) {
    const app = s.api();
    const names = {};
    names.queued = await app.task(session, { queue: 'later', title: 'queued', input: { i: 1 } });
    names.running = await app.task(session, { title: 'running', lease: 3600 });
    await app.reported(names.running, [{ type: 'progress', current: 1, total: 9 }, { type: 'output', data: 'some output' }]);
    names.asking = await app.task(session, { title: 'asking' });
    await app.reported(names.asking, { type: 'input_request', prompt: 'ok?', schema: { type: 'string' } });
    names.cancelling = await app.task(session, { title: 'cancelling' });
    await app.reported(names.cancelling, { type: 'heartbeat' });
    ok(await app.post(`/v1/tasks/${names.cancelling.id}/cancel`, { reason: 'no more' }), 200);
    names.succeeded = await app.task(session, { title: 'succeeded', metadata: { a: 1 } });
    await app.reported(names.succeeded, [{ type: 'output', data: 'done' }, { type: 'succeed', result: { r: 'x'.repeat(30000) } }]);
    names.failed = await app.task(session, { title: 'failed' });
    await app.reported(names.failed, { type: 'fail', error: { type: 'x', message: 'm', detail: [1.5] } });
    names.cancelled = await app.task(session, { title: 'cancelled' });
    ok(await app.post(`/v1/tasks/${names.cancelled.id}/cancel`), 200);
    ok(await app.post(`/v1/tasks/${names.failed.id}/token`), 200);
    return names;
}

const all = async (s, session) => new Map(ok(await s.api().get(`/v1/tasks?session=${session.id}&limit=1000`), 200).json.items.map((t) => [t.id, t]));
const durable = (t) => {
    const { version, updated_at, progress, stalled, expires_at, ...rest } = t;
    assert.ok(version && updated_at && progress && stalled !== undefined && expires_at !== undefined);
    return rest;
};

describe('kill -9', () => {
    test('everything acknowledged is there; versions never go back; unfinished tasks count as changed', async () => {
        const s = await fresh({ cancel_grace: 3600 });
        const app = s.api();
        const a = await app.session({ key: 'k', user: 'u', metadata: { m: 1 }, idle_timeout: 5000 });
        const t = await populate(s, a);
        const was = await all(s, a);
        const e = await s.api(a.token).events('/v1/session/events');
        await e.live();
        await crash(s);
        const now = await all(s, a);
        assert.deepEqual([...now.keys()].sort(), [...was.keys()].sort());
        for (const [id, task] of was) {
            const got = now.get(id);
            assert.deepEqual(durable(got), durable(task));
            if (task.ended_at) {
                assert.deepEqual(got, task, 'what has ended is the same to the letter');
            } else {
                assert.ok(got.version > task.version, `${got.title}: ${got.version} > ${task.version}`);
            }
        }
        const back = ok(await s.api(a.token).get('/v1/session'), 200).json;
        assert.deepEqual([back.id, back.user, back.metadata, back.idle_timeout, back.tasks], [a.id, 'u', { m: 1 }, 5000, { unfinished: 4, ended: 3 }]);
        assert.equal(ok(await s.api().post('/v1/sessions', { key: 'k' }), 200).json.id, a.id);
        assert.equal(ok(await s.api(t.succeeded.token).get(`/v1/tasks/${t.succeeded.id}/result`), 200).bytes.length, 30000 + '{"r":""}'.length);
        assert.equal(ok(await s.api(t.running.token).get(`/v1/tasks/${t.running.id}/output`), 200).text, 'some output');
        assert.equal(ok(await s.api().get(`/v1/tasks/${t.queued.id}/input`), 200).text, '{"i":1}');
        const r = await s.api(a.token).events('/v1/session/events', { lastEventId: e.lastId });
        await r.live();
        assert.ok(!r.items.some((i) => i.event === 'reset'));
        assert.deepEqual(r.tasks().map((x) => x.id).sort(), [t.queued.id, t.running.id, t.asking.id, t.cancelling.id].sort(), 'every unfinished task, and only those');
        const view = new View().applyAll(e.items).applyAll(r.items);
        assert.deepEqual([...view.tasks].sort(), [...(await all(s, a))].sort());
        // The work goes on where it stood.
        const again = s.api();
        await again.reported(t.running, { type: 'output', data: ' and more', offset: 11 });
        await again.reported(t.running, { type: 'succeed' });
        assert.equal(ok(await again.get(`/v1/tasks/${t.running.id}/output`), 200).text, 'some output and more');
        const request = question(now.get(t.asking.id));
        ok(await again.post(`/v1/tasks/${t.asking.id}/answer`, { request, answer: 1 }), 200);
        assert.deepEqual((await again.reported(t.asking, { type: 'heartbeat' })).answer, { request, answer: 1 });
        assert.equal((await again.reported(t.cancelling, { type: 'cancelled' })).state, 'cancelled');
        const [c] = await again.claimed('later');
        assert.equal(c.id, t.queued.id);
        r.close();
    });

    test('numbers go on above, in feeds that were watched and in those that were not', async () => {
        const s = await fresh();
        const a = await s.api().session();
        let t = await s.api().task(a);
        let last = t.version;
        for (let round = 0; round < 5; round++) {
            for (let i = 0; i < 30; i++) {
                const r = await s.api().reported(t, { type: 'progress', current: round * 100 + i });
                assert.ok(r.version > last);
                last = r.version;
            }
            await crash(s);
            const now = (await s.api().look(t)).version;
            assert.ok(now > last, `${now} > ${last}`);
            last = now;
            const u = await s.api().task(a);
            assert.ok(u.version > last);
            last = u.version;
            t = round % 2 ? u : t;
        }
    });

    test('progress reaches storage by itself', async () => {
        const s = await fresh();
        const t = await s.api().task(await s.api().session());
        let wait = 1500;
        const { current, total, unit, message } = await until(async () => { // after a second, and later where the disk is slow
            await s.api().reported(t, { type: 'progress', current: 41, total: 50, unit: 'pages', message: 'nearly' });
            await pause(wait);
            wait *= 2;
            await crash(s);
            const { progress } = await s.api().look(t);
            return progress.current !== null && progress;
        }, 'the progress to be stored');
        assert.deepEqual([current, total, unit, message], [41, 50, 'pages', 'nearly']);
    });

    test('of many steps the last is there, and the end of its task', async () => {
        const s = await fresh();
        const session = await s.api().session();
        const t = await s.api().task(session, { lease: 3600 }), u = await s.api().task(session, { lease: 3600 });
        const shown = async (task) => {
            const { current, total, unit, message } = (await s.api().look(task)).progress;
            return [current, total, unit, message];
        };
        await s.api().reported(t, { type: 'output', data: 'some' });
        let wait = 500;
        await until(async () => {
            await s.api().reported(t, { type: 'progress', current: 1, total: 50, unit: 'pages', message: 'first' });
            await pause(wait);
            await s.api().reported(t, { type: 'progress', current: 2, total: null, message: null });
            await s.api().reported(u, { type: 'progress', current: 7, message: 'another' });
            await pause(wait);
            wait *= 2;
            await crash(s);
            return (await shown(t))[0] === 2 && (await shown(u))[0] === 7;
        }, 'the progress to be stored');
        assert.deepEqual(await shown(t), [2, null, 'pages', null]);
        assert.deepEqual(await shown(u), [7, null, null, 'another']);
        await s.api().reported(t, { type: 'output', data: ' more', offset: 4 }); // stores the task as a whole
        await crash(s);
        assert.deepEqual(await shown(t), [2, null, 'pages', null]);
        const { version } = await s.api().reported(t, { type: 'progress', current: 3, unit: null });
        await s.stop();
        await s.restart();
        assert.deepEqual(await shown(t), [3, null, null, null], 'after a clean stop the very last');
        assert.equal((await s.api().look(t)).version, version);
        await s.api().reported(t, { type: 'succeed' });
        const ended = await s.api().look(t);
        await crash(s);
        assert.deepEqual(await s.api().look(t), ended);
    });

    test('idempotency keys', async () => {
        const s = await fresh();
        const a = await s.api().session();
        const key = { 'idempotency-key': 'survivor' };
        const body = { session: a.id, kind: 'work' };
        const first = ok(await s.api().post('/v1/tasks', body, key), 202);
        await crash(s);
        const again = ok(await s.api().post('/v1/tasks', body, key), 202);
        assert.equal(again.text, first.text);
        problem(await s.api().post('/v1/tasks', { ...body, kind: 'other' }, key), 'idempotency-mismatch');
        assert.equal((await all(s, a)).size, 1);
    });

    test('a final report, said again, gets the same answer', async () => {
        const s = await fresh();
        const t = await s.api().task(await s.api().session());
        const final = { type: 'succeed', result: { a: [1] } };
        const first = ok(await s.api().report(t, final), 200);
        await crash(s);
        assert.equal(ok(await s.api().report(t, final), 200).text, first.text);
        problem(await s.api().report(t, { type: 'succeed', result: 2 }), 'task-ended');
    });

    test('generations: what was dead stays dead', async () => {
        const s = await fresh();
        const a = await s.api().session({ key: 'gen' });
        const t = await s.api().task(a);
        const { token } = ok(await s.api().post(`/v1/sessions/${a.id}/rotate`, { key: 'gen2' }), 200).json;
        await crash(s);
        problem(await s.api(a.token).get('/v1/session'), 'unauthenticated');
        problem(await s.api(t.token).get(`/v1/tasks/${t.id}`), 'unauthenticated');
        ok(await s.api(token).get('/v1/session'), 200);
        ok(await s.api().post('/v1/sessions', { key: 'gen' }), 201);
        assert.equal(ok(await s.api().post('/v1/sessions', { key: 'gen2' }), 200).json.id, a.id);
    });

    test('ends, merges, binds and deletions', async () => {
        const s = await fresh();
        const app = s.api();
        const [a, b, c] = [await app.session({ key: 'x1' }), await app.session(), await app.session()];
        const [t, u, v] = [await app.task(a), await app.task(b), await app.task(b)];
        ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: c.id }), 200);
        ok(await app.post(`/v1/sessions/${a.id}/merge`, { into: c.id }), 200);
        await app.reported(u, { type: 'succeed' });
        ok(await app.delete(`/v1/tasks/${u.id}`), 204);
        ok(await app.delete(`/v1/sessions/${b.id}`), 200);
        await crash(s);
        const now = s.api();
        assert.equal((await now.look(t)).session, c.id);
        problem(await now.get(`/v1/tasks/${u.id}`), 'gone');
        ok(await now.get(`/v1/tasks/${v.id}`), 200);
        assert.deepEqual([(await now.get(`/v1/sessions/${a.id}`)).json.reason, (await now.get(`/v1/sessions/${b.id}`)).json.reason], ['merged', 'logout']);
        problem(await s.api(b.token).get('/v1/session'), 'session-ended');
        assert.equal((await s.api(b.token).get('/v1/session/events')).status, 204);
        ok(await now.post('/v1/sessions', { key: 'x1' }), 201);
    });

    test('gone ones are still told to a reader who comes back', async () => {
        const s = await fresh();
        const app = s.api();
        const a = await app.session();
        const [t, u] = [await app.task(a), await app.task(a)];
        const e = await app.events(`/v1/sessions/${a.id}/events`);
        await e.live();
        e.close();
        await app.reported(t, { type: 'succeed' });
        ok(await app.delete(`/v1/tasks/${t.id}`), 204);
        await crash(s);
        const r = await s.api().events(`/v1/sessions/${a.id}/events`, { lastEventId: e.lastId });
        await r.live();
        const view = new View().applyAll(e.items).applyAll(r.items);
        assert.deepEqual([...view.tasks.keys()], [u.id]);
        assert.ok(r.items.some((i) => i.data.gone === t.id));
        r.close();
    });

    test('a cursor that the dead server gave out for progress it lost is still of use', async () => {
        const s = await fresh();
        const app = s.api();
        const a = await app.session();
        const [t, u] = [await app.task(a), await app.task(a)];
        await app.reported(u, { type: 'succeed' });
        const e = await s.api(a.token).events('/v1/session/events');
        await e.live();
        for (let i = 1; i <= 50; i++) {
            await app.reported(t, { type: 'progress', current: i });
        }
        await e.task(t.id, (x) => x.progress.current >= 1);
        const kill = s.kill();
        await e.end();
        await kill;
        await s.restart();
        const r = await s.api(a.token).events('/v1/session/events', { lastEventId: e.lastId });
        await r.live();
        assert.deepEqual(r.items.map((i) => i.data.task?.id ?? i.event), [t.id, 'live']);
        const view = new View().applyAll(e.items).applyAll(r.items);
        assert.deepEqual(view.tasks.get(t.id), await s.api().look(t));
        r.close();
    });

    test('while a worker waits, runs and is silent: leases start anew once', async () => {
        const s = await fresh();
        const a = await s.api().session();
        const t = await s.api().task(a, { queue: 'lease', lease: 3, max_attempts: 1 });
        const [c] = await s.api().claimed('lease');
        await s.api().reported(c, { type: 'progress', current: 1 });
        await s.kill();
        await pause(3500);
        await s.restart();
        ok(await s.api().report(c, { type: 'progress', current: 2 }), 200);
        await until(async () => (await s.api().look(t)).error?.type === 'worker-lost', 'the lease to end');
    });

    test('deadlines, ends of sessions and ttls that passed while it was down are kept', async () => {
        const s = await fresh();
        const a = await s.api().session({ max_age: 3 });
        const b = await s.api().session();
        const [t, u, v] = [await s.api().task(b, { deadline: 3, queue: 'dl' }), await s.api().task(b, { ttl: 3 }), await s.api().task(a, { on_session_end: 'cancel', queue: 'dl' })];
        await s.api().reported(u, { type: 'succeed' });
        await s.kill();
        await pause(3500);
        await s.restart();
        await until(async () => (await s.api().look(t)).error?.type === 'deadline', 'the deadline');
        await until(async () => (await s.api().get(`/v1/tasks/${u.id}`)).status === 410, 'the ttl');
        await until(async () => (await s.api().get(`/v1/sessions/${a.id}`)).json.reason === 'max_age', 'the end of the session');
        assert.equal((await s.api().ended(v)).cancel_reason, 'session-ended');
    });

    test('many sessions whose time came while it was down end, each with what it asked for', async () => {
        const s = await fresh();
        const made = await Promise.all(Array.from({ length: 600 }, () => s.api().session({ max_age: 8 })));
        const last = Date.now();
        const tasks = await Promise.all(made.map((a) => s.api().task(a, { on_session_end: 'cancel', queue: 'down' })));
        await s.kill();
        await pause(8200 - (Date.now() - last));
        await s.restart();
        await until(async () => ok(await s.api().get('/v1/sessions?state=active'), 200).json.items.length === 0, 'the end of all sessions');
        for (const t of tasks) {
            assert.equal((await s.api().ended(t)).cancel_reason, 'session-ended');
        }
    });

    test('a waiting handover still finds its next session', async () => {
        const s = await fresh();
        const a = await s.api().session({ user: 'hand' });
        const t = await s.api().task(a, { on_session_end: 'handover' });
        ok(await s.api().delete(`/v1/sessions/${a.id}`), 200);
        await crash(s);
        const b = await s.api().session({ user: 'hand' });
        assert.equal((await s.api().look(t)).session, b.id);
    });

    test('again and again', async () => {
        const s = await fresh();
        const a = await s.api().session();
        const made = new Map();
        for (let i = 0; i < 6; i++) {
            for (let j = 0; j < 5; j++) {
                const t = await s.api().task(a, { title: `${i}.${j}` });
                made.set(t.id, t);
            }
            await crash(s);
            const now = await all(s, a);
            assert.deepEqual([...now.keys()].sort(), [...made.keys()].sort());
        }
    });
});

describe('a clean stop', () => {
    test('changes nothing at all, progress included', async () => {
        const s = await fresh();
        const a = await s.api().session();
        await populate(s, a);
        const t = await s.api().task(a);
        await s.api().reported(t, { type: 'progress', current: 123, total: 456, message: 'deep in it' });
        const was = await all(s, a);
        const e = await s.api(a.token).events('/v1/session/events');
        await e.live();
        assert.equal((await s.stop()).code, 0, s.err);
        await e.end();
        await s.restart();
        const now = await all(s, a);
        for (const [id, task] of was) {
            const { rate, eta, ...progress } = now.get(id).progress;
            assert.ok(rate !== undefined && eta !== undefined);
            assert.deepEqual({ ...now.get(id), progress: { ...progress, rate: 0, eta: 0 } }, { ...task, progress: { ...task.progress, rate: 0, eta: 0 } });
        }
        const r = await s.api(a.token).events('/v1/session/events', { lastEventId: e.lastId });
        const first = await r.next();
        assert.equal(first.event, 'live', 'nothing was missed');
        r.close();
    });

    test('answers what was under way', async () => {
        const s = await fresh({ drain_time: 1 });
        const a = await s.api().session();
        const work = Promise.all(Array.from({ length: 30 }, () => s.api().post('/v1/tasks', { session: a.id, kind: 'work' }).catch((e) => ({ status: 0, e }))));
        const waiting = s.api().claim('nothing', {}, 30).catch((e) => ({ status: 0, e }));
        await pause(20);
        const stop = s.stop();
        const answers = await work;
        assert.equal((await stop).code, 0, s.err);
        await waiting;
        await s.restart();
        const now = await all(s, a);
        for (const r of answers.filter((x) => x.status === 202)) {
            assert.ok(now.has(r.json.id));
        }
    });
});

describe('the folder', () => {
    test('key and secret: made once, for the owner only, kept', async () => {
        const s = await fresh();
        const key = readFileSync(join(s.data, 'api.key'), 'utf8');
        assert.match(key, /^blk_[A-Za-z0-9_-]+\n$/);
        for (const name of ['api.key', 'secret']) {
            assert.equal(statSync(join(s.data, name)).mode & 0o777, 0o600, name);
        }
        const secret = readFileSync(join(s.data, 'secret'), 'utf8');
        const a = await s.api().session();
        await crash(s);
        assert.equal(readFileSync(join(s.data, 'api.key'), 'utf8'), key);
        assert.equal(readFileSync(join(s.data, 'secret'), 'utf8'), secret);
        ok(await s.api(a.token).get('/v1/session'), 200);
        assert.ok(statSync(join(s.data, 'bowline.db')).size > 0);
    });

    test('a new secret signs, the old one still verifies, until it is taken away', async () => {
        const s = await fresh();
        const a = await s.api().session({ key: 'rolling' });
        const t = await s.api().task(a);
        const file = join(s.data, 'secret');
        const old = readFileSync(file, 'utf8');
        const next = 'f00dbeef'.repeat(8);
        await s.stop();
        writeFileSync(file, `${next}\n${old}`);
        await s.restart();
        ok(await s.api(a.token).get('/v1/session'), 200);
        ok(await s.api(t.worker_token).post(`/v1/tasks/${t.id}/reports`, { type: 'progress', current: 1 }), 200);
        const again = ok(await s.api().post('/v1/sessions', { key: 'rolling' }), 200).json;
        assert.equal(again.id, a.id, 'a key is found by the hash of the older secret too');
        assert.notEqual(again.token, a.token, 'the first line signs');
        ok(await s.api(again.token).get('/v1/session'), 200);
        const other = await s.api().session({ key: 'rolling-2' });
        await s.stop();
        writeFileSync(file, `${next}\n`);
        await s.restart();
        problem(await s.api(a.token).get('/v1/session'), 'unauthenticated');
        problem(await s.api(t.worker_token).post(`/v1/tasks/${t.id}/reports`, { type: 'heartbeat' }), 'unauthenticated');
        ok(await s.api(again.token).get('/v1/session'), 200);
        assert.equal(ok(await s.api().post('/v1/sessions', { key: 'rolling-2' }), 200).json.id, other.id);
    });

    test('two folders share nothing: tokens and cursors of one are of no use in the other', async () => {
        const [s, o] = [await fresh(), await fresh()];
        const a = await s.api().session();
        problem(await o.api(a.token).get('/v1/session'), 'unauthenticated');
        problem(await o.api(s.key).get('/v1/sessions'), 'unauthenticated');
        const b = await o.api().session();
        const { cursor } = ok(await s.api(a.token).page('/v1/session/events'), 200).json;
        const r = ok(await o.api(b.token).page('/v1/session/events', { after: cursor }), 200).json;
        assert.equal(r.events[0].event, 'reset');
    });
});
