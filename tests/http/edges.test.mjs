// Places where two rules meet: each was wrong once.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { request } from 'undici';
import { start } from './lib/server.mjs';
import { checkProblem, ok, problem, until } from './lib/client.mjs';
import { tampered } from './lib/jwt.mjs';

async function withServer(options, fn) {
    const s = await start(options);
    try {
        await fn(s, s.api());
    } finally {
        await s.close();
    }
}

test('a filter by a session that never was shows nothing, whatever its id', () => withServer({}, async (s, app) => {
    await app.task(await app.session());
    for (const id of ['ses_00000000000000000000000000', 'ses_00000000000000000000000001', 'ses_7ZZZZZZZZZZZZZZZZZZZZZZZZZ']) {
        assert.deepEqual(ok(await app.get(`/v1/tasks?session=${id}`), 200).json.items, []);
    }
}));

test('the pointer of a refused report tells a single one from one in an array', () => withServer({}, async (s, app) => {
    const t = await app.task(await app.session());
    problem(await app.report(t, { type: 'output', data: 'x', offset: 5 }), 'output-gap', '/offset');
    problem(await app.report(t, [{ type: 'heartbeat' }, { type: 'output', data: 'x', offset: 5 }]), 'output-gap', '/1/offset');
    await app.reported(t, { type: 'succeed' });
    assert.equal(problem(await app.report(t, { type: 'heartbeat' }), 'task-ended').errors, undefined);
}));

test('while draining, readiness is answered with 503 and what is asked anew is still answered', () => withServer({ drain_time: 3 }, async (s, app) => {
    const a = await app.session();
    const e = await s.api(a.token).events('/v1/session/events');
    await e.live();
    s.child.kill('SIGTERM');
    await until(async () => (await request(`${s.url}/readyz`).catch(() => ({ statusCode: 0 }))).statusCode === 503, 'readiness to be refused');
    const end = await s.exited;
    assert.equal(end.code, 0);
}));

test('gone entries are forgotten after tombstone_ttl: then reset', () => withServer({ tombstone_ttl: 3 }, async (s, app) => {
    const a = await app.session();
    const t = await app.task(a);
    const mine = s.api(a.token);
    const { cursor } = ok(await mine.page('/v1/session/events'), 200).json;
    await app.reported(t, { type: 'succeed' });
    ok(await app.delete(`/v1/tasks/${t.id}`), 204);
    const first = ok(await mine.page('/v1/session/events', { after: cursor }), 200).json.events;
    assert.equal(first.at(-1).data.gone, t.id);
    await until(async () => ok(await mine.page('/v1/session/events', { after: cursor }), 200).json.events[0]?.event === 'reset', 'reset');
}));

test('an idempotency key outlives a new first line in the secret, and its answer keeps its headers', () => withServer({}, async (s, app) => {
    const a = await app.session();
    const again = () => s.api().post('/v1/tasks', { session: a.id, kind: 'work' }, { 'idempotency-key': 'once' });
    const first = ok(await again(), 202);
    await s.stop();
    const file = join(s.data, 'secret');
    writeFileSync(file, `${'ab'.repeat(32)}\n${readFileSync(file, 'utf8')}`);
    await s.restart();
    const second = ok(await again(), 202);
    assert.equal(second.text, first.text);
    for (const name of ['location', 'etag', 'retry-after']) {
        assert.equal(second.headers[name], first.headers[name], name);
    }
}));

test('a page of events is compressed for who accepts it', () => withServer({}, async (s, app) => {
    const a = await app.session();
    await Promise.all([1, 2, 3, 4].map(() => app.task(a)));
    const r = await s.api(a.token).get('/v1/session/events', { accept: 'application/json', 'accept-encoding': 'gzip' });
    assert.equal(r.headers['content-encoding'], 'gzip');
    assert.match(r.headers.vary, /Accept-Encoding/i);
}));

test('a plain poll is no watcher', () => withServer({ max_watchers_per_session: 1 }, async (s, app) => {
    const a = await app.session();
    const mine = s.api(a.token);
    const e = await mine.events('/v1/session/events');
    await e.live();
    ok(await mine.page('/v1/session/events'), 200);
    problem(await mine.page('/v1/session/events', { wait: 1 }), 'quota-exceeded');
    e.close();
}));

test('a worker whose task is gone is told so, with what it was, on every route that its token opens', () => withServer({}, async (s, app) => {
    const a = await app.session();
    const direct = await app.task(a);
    await app.reported(direct, { type: 'succeed' });
    await app.task(a, { queue: 'q' });
    const [claimed] = await app.claimed('q');
    await app.reported(claimed, { type: 'fail', error: { type: 'no' } });
    const [lost] = await (async () => {
        await app.task(a, { queue: 'q', max_attempts: 2, backoff: 0 });
        const first = await app.claimed('q');
        ok(await app.post('/v1/queues/q/release', { token: first[0].worker_token }), 204);
        const [second] = await app.claimed('q');
        await app.reported(second, { type: 'succeed' });
        return first; // its token is not the newest one
    })();
    const line = (report) => app.call('POST', '/v1/reports', { body: `${JSON.stringify(report)}\n`, type: 'application/x-ndjson' });
    for (const [t, state] of [[direct, 'succeeded'], [claimed, 'failed'], [lost, 'succeeded']]) {
        ok(await app.delete(`/v1/tasks/${t.id}`), 204);
        const worker = s.api(t.worker_token);
        const at = `/v1/tasks/${t.id}`;
        const answers = {
            report: await worker.post(`${at}/reports`, { type: 'heartbeat' }),
            reports: await worker.post(`${at}/reports`, [{ type: 'heartbeat' }]),
            'a stream': await worker.call('POST', `${at}/reports`, { body: '{"type":"heartbeat"}\n', type: 'application/x-ndjson' }),
            control: await worker.get(`${at}/control`),
            input: await worker.get(`${at}/input`),
            release: await app.post('/v1/queues/q/release', { token: t.worker_token }),
            'release again': await app.post('/v1/queues/other/release', { token: t.worker_token }, { 'idempotency-key': 'k' }),
        };
        for (const [what, r] of Object.entries(answers)) {
            problem(r, 'gone');
            assert.equal(r.json.kind, 'work', what);
            assert.equal(r.json.state, state, what);
            assert.ok(r.json.ended_at <= r.json.gone_at, what);
        }
        const said = JSON.parse(ok(await line({ task: t.id, token: t.worker_token, type: 'heartbeat' }), 200).text);
        checkProblem(said, 'gone');
        assert.equal(said.state, state);
        problem(await worker.get(`/v1/tasks/${(await app.task(a)).id}/input`), 'not-found');
    }
    await app.task(a, { queue: 'q' });
    const [alive] = await app.claimed('q');
    problem(await app.post('/v1/queues/q/release', { token: tampered(alive.worker_token) }), 'unauthenticated', '/token');
    problem(await app.post('/v1/queues/other/release', { token: alive.worker_token }), 'not-found', '/token');
    ok(await app.post('/v1/queues/q/release', { token: alive.worker_token }), 204);
}));

test('a line that is refused says which of its members is at fault', () => withServer({}, async (s, app) => {
    const a = await app.session();
    const t = await app.task(a, { queue: 'q' });
    const [c] = await app.claimed('q');
    const other = await app.task(a);
    const beat = { type: 'heartbeat' };
    const lines = [
        [{ task: t.id, ...beat }, 'forbidden', '/token'],
        [{ task: t.id, token: null, ...beat }, 'forbidden', '/token'],
        [{ task: t.id, token: 'x', ...beat }, 'unauthenticated', '/token'],
        [{ task: t.id, token: tampered(c.worker_token), ...beat }, 'unauthenticated', '/token'],
        [{ task: other.id, token: c.worker_token, ...beat }, 'not-found', '/task'],
        [{ task: 'tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV', ...beat }, 'not-found', '/task'],
        [{ task: 'x', ...beat }, 'invalid-request', '/task'],
        [beat, 'invalid-request', '/task'],
        [{ task: t.id, token: c.worker_token, ...beat }],
        [{ task: other.id, ...beat }],
    ];
    const body = lines.map(([l]) => `${JSON.stringify(l)}\n`).join('');
    const r = ok(await app.call('POST', '/v1/reports', { body, type: 'application/x-ndjson' }), 200);
    const answers = r.text.trimEnd().split('\n').map((l) => JSON.parse(l));
    assert.equal(answers.length, lines.length);
    lines.forEach(([line, code, pointer], i) => {
        if (code) {
            checkProblem(answers[i], code);
            assert.deepEqual(answers[i].errors?.map((e) => e.pointer), [pointer], JSON.stringify(line));
        } else {
            assert.equal(answers[i].state, 'running');
        }
    });
    const single = problem(await app.report(t, beat, s.key), 'forbidden');
    assert.equal(single.json.errors, undefined, 'nothing in its body is at fault');
}));

test('a refusal for the role or for the kind says nothing of the body, whatever is wrong with it', () => withServer({ session_kinds: { export: {} } }, async (s, app) => {
    const a = await app.session();
    const t = await app.task(a);
    const start = (body) => s.api(a.token).post('/v1/session/tasks', body);
    const silent = (r) => assert.equal(problem(r, 'forbidden').json.errors, undefined, r.text);
    for (const more of [{}, { title: 5 }, { nope: 1 }, { title: '', input: 'x'.repeat(300000), queue: 'q' }]) {
        silent(await start({ kind: 'other', ...more }));
        silent(await start({ ...more, kind: 'other' }));
    }
    for (const body of [{ kind: 'export', title: 5 }, { kind: 'No Kind', title: 5 }, { kind: 5 }, { kind: null }, {}, [], { kind: 'export', nope: 1 }]) {
        assert.ok(problem(await start(body), 'invalid-request').json.errors.length, JSON.stringify(body));
    }
    const worker = s.api(t.worker_token), session = s.api(a.token), watch = s.api(t.token);
    for (const body of ['{"title":5', '{"nope":1}', '[]', '{}']) {
        for (const [who, path] of [[session, '/v1/tasks'], [session, '/v1/sessions'], [worker, '/v1/session/tasks'], [watch, '/v1/session/tasks'], [worker, `/v1/tasks/${t.id}/cancel`],
            [session, '/v1/queues/q/claim'], [session, '/v1/queues/q/release'], [watch, `/v1/tasks/${t.id}/reports`], [session, `/v1/tasks/${t.id}/bind`], [worker, `/v1/sessions/${a.id}/merge`]]) {
            silent(await who.text(path, body));
        }
    }
    ok(await session.delete('/v1/session'), 200);
    problem(await start({ kind: 'other', title: 5 }), 'session-ended');
}));
