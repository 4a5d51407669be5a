// Section 5: queues, leases, attempts.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { checkTask, ok, pause, problem, question, until } from './lib/client.mjs';
import { connect } from './lib/raw.mjs';

let s;
let app;
let n = 0;
const name = (what = 'queue') => `${what}-${++n}`;
before(async () => {
    s = await start();
    app = s.api();
});
after(() => s.close());

async function filled(count, members = {}) {
    const queue = name();
    const a = await app.session();
    const tasks = [];
    for (let i = 0; i < count; i++) {
        tasks.push(await app.task(a, { queue, input: i, ...members }));
    }
    return { queue, session: a, tasks };
}

describe('claim', () => {
    test('gives the oldest, with input and worker token, running', async () => {
        const { queue, tasks } = await filled(3);
        const got = await app.claimed(queue);
        assert.equal(got.length, 1);
        const c = checkTask(got[0], ['input', 'worker_token']);
        assert.deepEqual([c.id, c.state, c.attempt, c.input], [tasks[0].id, 'running', 1, 0]);
        assert.match(c.worker_token, new RegExp(`^${c.id}\\.x1\\.`));
        const rest = await app.claimed(queue, { max: 10, worker: 'w-1' });
        assert.deepEqual(rest.map((t) => t.id), tasks.slice(1).map((t) => t.id));
        assert.equal((await app.claim(queue)).status, 204);
        assert.equal((await app.look(tasks[2])).state, 'running');
    });

    test('bounds', async () => {
        for (const members of [{ max: 0 }, { max: 1001 }, { max: 1.5 }, { max: '1' }, { worker: 5 }, { lease: -1 }, { nope: 1 }]) {
            problem(await app.claim('bounds', members), 'invalid-request', `/${Object.keys(members)[0]}`);
        }
        ok(await app.claim('bounds', { max: 1000, worker: 'w', lease: 5 }), 204);
        for (const queue of ['Upper', '-x', 'x'.repeat(65)]) {
            const r = await app.claim(queue);
            assert.ok(r.status === 400 || r.status === 404, `${queue}: ${r.status}`);
        }
    });

    test('its lease counts', async () => {
        const { queue, tasks } = await filled(1, { lease: 600 });
        await app.claimed(queue, { lease: 0.4 });
        await until(async () => (await app.look(tasks[0])).state === 'queued', 'the lease of the claim to end');
    });

    test('waits for a task', async () => {
        const queue = name();
        const [waiting] = await app.begun(() => app.claim(queue, {}, 30));
        const t = await app.task(await app.session(), { queue });
        assert.equal(ok(await waiting, 200).json.tasks[0].id, t.id);
        assert.equal((await app.claim(queue, {}, 1)).status, 204);
    });

    test('each task goes to one of many', async () => {
        const { queue, tasks } = await filled(40);
        const got = await Promise.all(Array.from({ length: 20 }, () => app.claim(queue, { max: 3 }, 1)));
        const ids = got.filter((r) => r.status === 200).flatMap((r) => r.json.tasks.map((t) => t.id));
        assert.deepEqual([...ids].sort(), tasks.map((t) => t.id).sort());
    });

    test('who waits is served before who comes with the task', async () => {
        const a = await app.session();
        const ask = (path, body) => `POST ${path} HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
        for (let i = 0; i < 10; i++) {
            const queue = name();
            const [waiting] = await app.begun(() => app.claim(queue, {}, 30));
            const comes = await connect(s);
            comes.write(ask('/v1/tasks', JSON.stringify({ session: a.id, kind: 'k', queue })) + ask(`/v1/queues/${queue}/claim`, '{}'));
            const id = ok(await comes.response(), 202).json.id;
            assert.equal((await comes.response()).status, 204);
            assert.deepEqual(ok(await waiting, 200).json.tasks.map((t) => t.id), [id]);
            comes.destroy();
        }
    });

    test('waiting ones are served, each task once', async () => {
        const queue = name();
        const [waiting] = await app.begun(() => Array.from({ length: 10 }, () => app.claim(queue, {}, 30)), 10);
        const a = await app.session();
        const tasks = await Promise.all(Array.from({ length: 10 }, () => app.task(a, { queue })));
        const ids = (await Promise.all(waiting)).map((r) => ok(r, 200).json.tasks[0].id);
        assert.deepEqual(ids.sort(), tasks.map((t) => t.id).sort());
    });

    test('not before its time, then by the latest of the times', async () => {
        const queue = name();
        const a = await app.session();
        const later = await app.task(a, { queue, not_before: new Date(Date.now() + 3000).toISOString() });
        const past = await app.task(a, { queue, not_before: '2001-01-01T00:00:00Z' });
        const plain = await app.task(a, { queue });
        assert.deepEqual((await app.claimed(queue, { max: 5 })).map((t) => t.id), [past.id, plain.id]);
        assert.equal((await app.claim(queue)).status, 204);
        const before_ = await app.look(later);
        assert.equal(before_.state, 'queued');
        assert.equal((await app.claimed(queue))[0].id, later.id);
    });

    test('one whose connection is gone before the answer is given back', async () => {
        const queue = name();
        const c = await connect(s);
        await app.begun(() => c.write(`POST /v1/queues/${queue}/claim HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\nPrefer: wait=60\r\nContent-Length: 0\r\n\r\n`));
        const connections = await app.metric('bowline_http_connections');
        c.destroy();
        await until(async () => (await app.metric('bowline_http_connections')) < connections, 'the server to notice');
        const t = await app.task(await app.session(), { queue });
        const [got] = await app.claimed(queue);
        assert.equal(got.id, t.id);
    });
});

describe('release', () => {
    test('gives it back unharmed, in its place', async () => {
        const { queue, tasks } = await filled(2);
        const [c] = await app.claimed(queue);
        const r = ok(await app.post(`/v1/queues/${queue}/release`, { token: c.worker_token }), 204);
        assert.equal(r.text, '');
        const got = checkTask(await app.look(tasks[0]));
        assert.equal(got.state, 'queued');
        problem(await app.report(c, { type: 'heartbeat' }), 'attempt-superseded');
        const again = await app.claimed(queue);
        assert.equal(again[0].id, tasks[0].id, 'before the younger one');
        assert.ok(again[0].attempt > c.attempt);
        await app.reported(again[0], { type: 'succeed' });
    });

    test('costs no attempt, also with max_attempts 1', async () => {
        const { queue } = await filled(1);
        let c;
        for (let i = 0; i < 8; i++) {
            [c] = await app.claimed(queue);
            await app.reported(c, { type: 'progress', current: i });
            ok(await app.post(`/v1/queues/${queue}/release`, { token: c.worker_token }), 204);
        }
        [c] = await app.claimed(queue);
        await app.reported(c, { type: 'succeed' });
    });

    test('a token of another queue, or none', async () => {
        const [x, y] = [await filled(1), await filled(1)];
        const [c] = await app.claimed(x.queue);
        problem(await app.post(`/v1/queues/${y.queue}/release`, { token: c.worker_token }), 'not-found');
        const direct = await app.task(x.session);
        problem(await app.post(`/v1/queues/${y.queue}/release`, { token: direct.worker_token }), 'not-found');
        problem(await app.post(`/v1/queues/${y.queue}/release`, {}), 'invalid-request', '/token');
        problem(await app.post(`/v1/queues/${y.queue}/release`, { token: 5 }), 'invalid-request', '/token');
        const bad = await app.post(`/v1/queues/${y.queue}/release`, { token: 'nonsense' });
        assert.ok([400, 401, 404].includes(bad.status), String(bad.status));
        assert.equal((await app.look(x.tasks[0])).state, 'running');
    });

    test('an old or finished attempt cannot be given back', async () => {
        const { queue } = await filled(1);
        const [c] = await app.claimed(queue);
        ok(await app.post(`/v1/queues/${queue}/release`, { token: c.worker_token }), 204);
        const [d] = await app.claimed(queue);
        problem(await app.post(`/v1/queues/${queue}/release`, { token: c.worker_token }), 'attempt-superseded');
        await app.reported(d, { type: 'succeed' });
        const r = await app.post(`/v1/queues/${queue}/release`, { token: d.worker_token });
        assert.equal(r.status, 409);
    });
});

describe('a worker that is silent', () => {
    test('loses its attempt; the task is queued again, then fails: worker-lost', async () => {
        const { queue, tasks } = await filled(1, { lease: 1.5, max_attempts: 2, backoff: 0 });
        const e = await app.events(`/v1/tasks/${tasks[0].id}/events`);
        const [c] = await app.claimed(queue);
        await app.reported(c, { type: 'progress', current: 1 });
        const queued = await e.task(c.id, (t) => t.state === 'queued' && t.attempt === 1, 'the task to be queued again');
        assert.ok(queued.version > c.version);
        problem(await app.report(c, { type: 'progress', current: 2 }), 'attempt-superseded');
        const [d] = await app.claimed(queue);
        assert.equal(d.attempt, 2);
        await app.reported(d, { type: 'progress', current: 1 });
        const failed = await e.task(c.id, (t) => t.state === 'failed', 'the failure');
        assert.deepEqual([failed.error.type, failed.attempt], ['worker-lost', 2]);
        problem(await app.report(d, { type: 'succeed' }), 'attempt-superseded');
        await e.end();
    });

    test('from the start is not counted, at most five times', async () => {
        const { queue, tasks } = await filled(1, { lease: 0.15, max_attempts: 1 });
        let claims = 0;
        while (!(await app.look(tasks[0])).ended_at) {
            const r = await app.claim(queue, {}, 1);
            claims += r.status === 200 ? 1 : 0;
        }
        const got = await app.look(tasks[0]);
        assert.deepEqual([got.state, got.error.type, claims, got.attempt], ['failed', 'worker-lost', 6, 6]);
    });

    test('reports of any kind keep it', async () => {
        const { queue, tasks } = await filled(1, { lease: 2, max_attempts: 1 });
        const [c] = await app.claimed(queue);
        const until_ = Date.now() + 3000;
        while (Date.now() < until_) {
            ok(await app.report(c, { type: 'heartbeat' }), 200);
            await pause(100);
        }
        assert.equal((await app.look(tasks[0])).state, 'running');
        await app.reported(c, { type: 'succeed' });
    });

    test('lease 0: never', async () => {
        const { queue, tasks } = await filled(1, { lease: 0 });
        const [c] = await app.claimed(queue);
        await pause(300);
        assert.equal((await app.look(tasks[0])).state, 'running');
        await app.reported(c, { type: 'succeed' });
    });
});

describe('timeout', () => {
    test('is the longest an attempt may run, heartbeats or not', async () => {
        const { queue } = await filled(1, { timeout: 0.4, lease: 60, max_attempts: 1 });
        const [c] = await app.claimed(queue);
        await until(async () => (await app.report(c, { type: 'heartbeat' })).status === 409, 'the timeout');
        const got = checkTask(await app.look(c));
        assert.deepEqual([got.state, got.error.type], ['failed', 'timeout']);
        problem(await app.report(c, { type: 'succeed' }), 'attempt-superseded');
    });

    test('neither clock runs while a question is open', async () => {
        const { queue } = await filled(1, { timeout: 1.5, lease: 1.5, max_attempts: 1 });
        const [c] = await app.claimed(queue);
        await app.reported(c, { type: 'input_request', prompt: '?' });
        await pause(2000);
        const open = await app.look(c);
        assert.equal(open.state, 'input_required');
        ok(await app.post(`/v1/tasks/${c.id}/answer`, { request: question(open), answer: 1 }), 200);
        const got = await app.ended(c);
        assert.ok(['timeout', 'worker-lost'].includes(got.error.type), 'afterwards they run again');
    });
});

describe('backoff', () => {
    test('comes between attempts', async () => {
        const { queue, tasks } = await filled(1, { max_attempts: 3, backoff: 1 });
        const fail = { type: 'fail', error: { type: 'x', message: 'm' }, retry: true };
        const [c] = await app.claimed(queue);
        const failedAt = Date.now();
        await app.reported(c, fail);
        assert.equal((await app.claim(queue)).status, 204);
        const [d] = await app.claimed(queue);
        assert.ok(Date.now() - failedAt >= 900, 'not before its backoff');
        await app.reported(d, fail);
        const [e] = await app.claimed(queue);
        assert.equal(e.attempt, 3);
        assert.equal((await app.reported(e, fail)).state, 'failed');
        assert.equal((await app.look(tasks[0])).attempt, 3);
    });
});

test('one that is to be tried again comes after those that were ready before', async () => {
    const { queue, tasks } = await filled(3, { max_attempts: 2, backoff: 0 });
    const [c] = await app.claimed(queue);
    await app.reported(c, { type: 'fail', error: { type: 'x', message: 'm' }, retry: true });
    const order = (await app.claimed(queue, { max: 5 })).map((t) => t.id);
    assert.deepEqual(order, [tasks[1].id, tasks[2].id, tasks[0].id]);
});

test('many workers, many tasks, some that fail: every task ends once', async () => {
    const { queue, tasks } = await filled(60, { max_attempts: 3, backoff: 0 });
    const ends = new Map();
    const worker = async (n) => {
        for (;;) {
            const r = await app.claim(queue, { max: 2 }, 1);
            if (r.status === 204) {
                return;
            }
            for (const t of r.json.tasks) {
                ok(await app.report(t, { type: 'progress', current: n }), 200);
                if (t.attempt < 2 && t.input % 3 === 0) {
                    ok(await app.report(t, { type: 'fail', error: { type: 'x', message: 'm' }, retry: true }), 200);
                } else if (t.input % 7 === 0 && t.attempt < 4) {
                    ok(await app.post(`/v1/queues/${queue}/release`, { token: t.worker_token }), 204);
                } else {
                    ok(await app.report(t, { type: 'succeed', result: t.input }), 200);
                    ends.set(t.id, (ends.get(t.id) ?? 0) + 1);
                }
            }
        }
    };
    await Promise.all(Array.from({ length: 8 }, (_, n) => worker(n)));
    assert.deepEqual([...ends.values()], Array(60).fill(1));
    for (const [i, t] of tasks.entries()) {
        assert.equal((await app.look(t)).result, i);
    }
});

test('cancelled while queued: nobody gets it', async () => {
    const { queue, tasks } = await filled(2);
    ok(await app.post(`/v1/tasks/${tasks[0].id}/cancel`), 200);
    assert.deepEqual((await app.claimed(queue, { max: 5 })).map((t) => t.id), [tasks[1].id]);
});

test('GET /v1/queues', async () => {
    const { queue } = await filled(3);
    await app.claimed(queue);
    const find = async () => ok(await app.get('/v1/queues?limit=1000'), 200).json.items.find((q) => q.name === queue);
    const q = await find();
    assert.deepEqual(Object.keys(q).sort(), ['name', 'oldest_age', 'queued', 'running']);
    assert.deepEqual([q.queued, q.running], [2, 1]);
    assert.ok(typeof q.oldest_age === 'number' && q.oldest_age >= 0);
    await app.claimed(queue, { max: 5 });
    const r = await find();
    assert.deepEqual([r.queued, r.running, r.oldest_age], [0, 3, null]);
});

test('queues are apart', async () => {
    const [x, y] = [await filled(1), await filled(1)];
    assert.equal((await app.claimed(y.queue))[0].id, y.tasks[0].id);
    assert.equal((await app.claimed(x.queue))[0].id, x.tasks[0].id);
});
