// Section 4: tasks.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { claims, hs256 } from './lib/jwt.mjs';
import { connect } from './lib/raw.mjs';
import { TIME, checkTask, ok, pause, problem, question, until } from './lib/client.mjs';

let s;
let app;
let n = 0;
const secret = 'a secret of the application that is long enough';
const name = (what = 'x') => `${what}-${++n}`;
before(async () => {
    s = await start({ cancel_grace: 2, jwt_secrets: secret, session_kinds: { report: { queue: 'reports', on_session_end: 'cancel', lease: 7, max_attempts: 3, metadata: { from: 'option' } }, direct: {} } });
    app = s.api();
});
after(() => s.close());

describe('create', () => {
    test('with as little as possible', async () => {
        const a = await app.session();
        const r = ok(await app.post('/v1/tasks', { session: a.id, kind: 'work' }), 202);
        const t = checkTask(r.json, ['token', 'worker_token']);
        assert.equal(r.headers.location, `/v1/tasks/${t.id}`);
        assert.match(t.token, new RegExp(`^${t.id}\\.w\\d+\\.[A-Za-z0-9_-]{22}$`));
        assert.match(t.worker_token, new RegExp(`^${t.id}\\.x1\\.[A-Za-z0-9_-]{22}$`));
        const { token, worker_token, id, version, created_at, updated_at, ...rest } = t;
        assert.ok(token && worker_token && id && version && created_at && updated_at);
        assert.deepEqual(rest, {
            session: a.id, kind: 'work', title: null, state: 'queued', progress: { phase: null, current: null, total: null, unit: null, message: null, data: null, ratio: null, rate: null, eta: null },
            cancel_requested: false, cancel_reason: null, stalled: false, attempt: 0, max_attempts: 1, on_session_end: 'keep', queue: null, started_at: null, ended_at: null,
            seen_at: null, expires_at: null, output_bytes: 0, input_request: null, result: null, result_bytes: 0, error: null, metadata: {},
        });
    });

    test('with everything', async () => {
        const a = await app.session();
        const t = await app.task(a, { kind: 'a.b_c-9', title: 'Täsk 😀', queue: 'q.1', input: { x: 1 }, on_session_end: 'handover', lease: 5, timeout: 60, deadline: 600, max_attempts: 4, backoff: 2,
            not_before: '2031-01-01T00:00:00Z', ttl: 60, cancel_unwatched: 600, metadata: { m: 1 } });
        checkTask(t, ['token']);
        assert.deepEqual([t.kind, t.title, t.queue, t.on_session_end, t.max_attempts, t.metadata], ['a.b_c-9', 'Täsk 😀', 'q.1', 'handover', 4, { m: 1 }]);
        assert.equal(ok(await app.get(`/v1/tasks/${t.id}/input`), 200).text, '{"x":1}');
    });

    test('the tokens are given only there', async () => {
        const t = await app.task(await app.session());
        for (const r of [await app.get(`/v1/tasks/${t.id}`), await app.get('/v1/tasks?limit=1'), await s.api(t.token).get(`/v1/tasks/${t.id}`)]) {
            assert.ok(!r.text.includes('token'));
        }
        checkTask(await app.look(t));
    });

    test('without a queue: one attempt, and at once', async () => {
        const a = await app.session();
        problem(await app.post('/v1/tasks', { session: a.id, kind: 'work', max_attempts: 2 }), 'invalid-request', '/max_attempts');
        ok(await app.post('/v1/tasks', { session: a.id, kind: 'work', max_attempts: 1 }), 202);
        problem(await app.post('/v1/tasks', { session: a.id, kind: 'work', not_before: '2031-01-01T00:00:00Z' }), 'invalid-request', '/not_before');
    });

    test('webhooks are refused until they are there', async () => {
        const a = await app.session();
        problem(await app.post('/v1/tasks', { session: a.id, kind: 'work', webhook: 'https://example.com/x' }), 'invalid-request', '/webhook');
    });

    test('numbers rise in the order of creation', async () => {
        const a = await app.session();
        let last = 0;
        for (let i = 0; i < 5; i++) {
            const { version } = await app.task(a);
            assert.ok(version > last);
            last = version;
        }
    });
});

describe('read', () => {
    test('ETag is the version; If-None-Match', async () => {
        const t = await app.task(await app.session());
        const r = ok(await app.get(`/v1/tasks/${t.id}`), 200);
        assert.equal(r.headers.etag, `"${r.json.version}"`);
        assert.match(r.headers['retry-after'], /^\d+$/);
        for (const tag of [`"${t.version}"`, `W/"${t.version}"`, `"0", "${t.version}"`, '*']) {
            const same = await app.get(`/v1/tasks/${t.id}`, { 'if-none-match': tag });
            assert.equal(same.status, 304, tag);
            assert.equal(same.text, '');
        }
        ok(await app.get(`/v1/tasks/${t.id}`, { 'if-none-match': '"999999"' }), 200);
        await app.reported(t, { type: 'succeed' });
        assert.equal((await app.get(`/v1/tasks/${t.id}`)).headers['retry-after'], undefined);
    });

    test('waits until the version differs', async () => {
        const t = await app.task(await app.session());
        const [waiting] = await app.begun(() => app.get(`/v1/tasks/${t.id}`, { 'if-none-match': `"${t.version}"`, prefer: 'wait=30' }));
        await app.reported(t, { type: 'progress', current: 1 });
        const r = ok(await waiting, 200);
        assert.ok(r.json.version > t.version);
        assert.equal(r.headers.etag, `"${r.json.version}"`);
        ok(await app.get(`/v1/tasks/${t.id}`, { 'if-none-match': `"${t.version}"`, prefer: 'wait=30' }), 200);
    });

    test('a heartbeat wakes nobody, and when time is up: 304', async () => {
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'progress', current: 1 });
        const { version } = await app.look(t);
        const waiting = app.get(`/v1/tasks/${t.id}`, { 'if-none-match': `"${version}"`, prefer: 'wait=1' });
        await app.reported(t, { type: 'heartbeat' });
        assert.equal((await waiting).status, 304);
    });

    test('preferences that are not understood are ignored', async () => {
        const t = await app.task(await app.session());
        const tag = { 'if-none-match': `"${t.version}"` };
        for (const prefer of ['wait=abc', 'wait', 'respond-async', 'wait=-1', 'foo="bar, wait=20"', 'wait=0']) {
            assert.equal((await app.get(`/v1/tasks/${t.id}`, { ...tag, prefer })).status, 304, prefer);
        }
        const [waiting] = await app.begun(() => app.get(`/v1/tasks/${t.id}`, { ...tag, prefer: 'respond-async, wait=30; x=y' }));
        await app.reported(t, { type: 'progress', current: 1 });
        ok(await waiting, 200);
    });

    test('many may wait', async () => {
        const t = await app.task(await app.session());
        const one = () => s.api(t.token).get(`/v1/tasks/${t.id}`, { 'if-none-match': `"${t.version}"`, prefer: 'wait=30' });
        const [all] = await app.begun(() => Array.from({ length: 40 }, one), 40);
        await app.reported(t, { type: 'succeed', result: 'r' });
        for (const r of await Promise.all(all)) {
            assert.equal(ok(r, 200).json.state, 'succeeded');
        }
    });

    test('a finished one is answered at once', async () => {
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'succeed' });
        const { version } = await app.look(t);
        const r = await app.get(`/v1/tasks/${t.id}`, { 'if-none-match': `"${version}"`, prefer: 'wait=600' });
        assert.ok(r.status === 200 || r.status === 304, String(r.status));
    });

    test('lists: by session, user, state, kind, queue', async () => {
        const user = name('u');
        const a = await app.session({ user });
        const kind = name('kind');
        const t = [await app.task(a, { kind }), await app.task(a, { kind, queue: 'lists-q' }), await app.task(a, { kind: `${kind}b` })];
        await app.reported(t[0], { type: 'succeed' });
        const ids = async (q, api = app, path = '/v1/tasks') => ok(await api.get(`${path}?${q}`), 200).json.items.map((i) => checkTask(i).id);
        assert.deepEqual(await ids(`session=${a.id}`), [t[2].id, t[1].id, t[0].id]);
        assert.deepEqual(await ids(`user=${user}`), [t[2].id, t[1].id, t[0].id]);
        assert.deepEqual(await ids(`kind=${kind}`), [t[1].id, t[0].id]);
        assert.deepEqual(await ids(`kind=${kind}&state=succeeded`), [t[0].id]);
        assert.deepEqual(await ids(`kind=${kind}&queue=lists-q`), [t[1].id]);
        assert.deepEqual(await ids(`session=${a.id}&state=queued`), [t[2].id, t[1].id]);
        assert.deepEqual(await ids(`session=${a.id}&user=somebody-else`), []);
        const mine = s.api(a.token);
        assert.deepEqual(await ids('', mine, '/v1/session/tasks'), [t[2].id, t[1].id, t[0].id]);
        assert.deepEqual(await ids(`kind=${kind}&state=queued`, mine, '/v1/session/tasks'), [t[1].id]);
        problem(await mine.get(`/v1/session/tasks?session=${a.id}`), 'invalid-request');
        const b = await app.session();
        assert.deepEqual(await ids('', s.api(b.token), '/v1/session/tasks'), []);
    });
});

describe('result', () => {
    test('not found, unfinished, failed, cancelled, and there: five answers', async () => {
        const a = await app.session();
        problem(await app.get('/v1/tasks/tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV/result'), 'not-found');
        const t = await app.task(a);
        const early = ok(await app.get(`/v1/tasks/${t.id}/result`), 202);
        checkTask(early.json);
        await app.reported(t, { type: 'succeed', result: { a: 1 } });
        const r = ok(await s.api(t.token).get(`/v1/tasks/${t.id}/result`), 200);
        assert.equal(r.text, '{"a":1}');
        assert.match(r.headers['content-type'], /^application\/json/);
        const f = await app.task(a);
        await app.reported(f, { type: 'fail', error: { type: 'x', message: 'm' } });
        problem(await app.get(`/v1/tasks/${f.id}/result`), 'task-failed');
        const c = await app.task(a);
        ok(await app.post(`/v1/tasks/${c.id}/cancel`), 200);
        problem(await app.get(`/v1/tasks/${c.id}/result`), 'task-cancelled');
    });

    test('a large one is not inlined', async () => {
        const t = await app.task(await app.session());
        const big = { s: 'x'.repeat(20000) };
        await app.reported(t, { type: 'succeed', result: big });
        const got = await app.look(t);
        assert.equal(got.result, null);
        assert.equal(got.result_bytes, JSON.stringify(big).length);
        assert.deepEqual(ok(await app.get(`/v1/tasks/${t.id}/result`), 200).json, big);
    });

    test('at the edge of 16 KiB', async () => {
        const a = await app.session();
        for (const [bytes, inlined] of [[16384, true], [16385, false]]) {
            const t = await app.task(a);
            const text = JSON.stringify('x'.repeat(bytes - 2));
            await app.reported(t, { type: 'succeed', result: JSON.parse(text) });
            const got = await app.look(t);
            assert.equal(got.result_bytes, bytes);
            assert.equal(got.result !== null, inlined);
        }
    });

    test('none means null', async () => {
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'succeed' });
        assert.equal(ok(await app.get(`/v1/tasks/${t.id}/result`), 200).text, 'null');
        const got = checkTask(await app.look(t));
        assert.deepEqual([got.state, got.result], ['succeeded', null]);
    });
});

describe('cancel', () => {
    test('a queued one is cancelled at once', async () => {
        const a = await app.session();
        for (const members of [{}, { queue: 'cancel-q' }]) {
            const t = await app.task(a, members);
            const got = checkTask(ok(await app.post(`/v1/tasks/${t.id}/cancel`, { reason: 'wrong file' }), 200).json);
            assert.deepEqual([got.state, got.cancel_reason, got.attempt, got.started_at], ['cancelled', 'wrong file', 0, null]);
            problem(await app.post(`/v1/tasks/${t.id}/cancel`), 'task-ended');
        }
        assert.equal((await app.claim('cancel-q')).status, 204);
        const late = await app.task(a);
        ok(await app.post(`/v1/tasks/${late.id}/cancel`), 200);
        problem(await app.report(late, { type: 'progress', current: 1 }), 'task-ended');
    });

    test('a running one: the worker learns of it and says so', async () => {
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'progress', current: 1 });
        const got = ok(await s.api(t.token).post(`/v1/tasks/${t.id}/cancel`, { reason: 'r' }), 200).json;
        assert.deepEqual([got.state, got.cancel_requested, got.cancel_reason], ['running', true, 'r']);
        assert.equal((await app.reported(t, { type: 'heartbeat' })).cancel_requested, true);
        assert.equal((await app.reported(t, { type: 'cancelled' })).state, 'cancelled');
        const end = checkTask(await app.look(t));
        assert.deepEqual([end.state, end.cancel_reason, end.error], ['cancelled', 'r', null]);
    });

    test('repeating is harmless', async () => {
        const o = await start();
        try {
            const api = o.api();
            const t = await api.task(await api.session());
            await api.reported(t, { type: 'progress', current: 1 });
            const first = ok(await api.post(`/v1/tasks/${t.id}/cancel`, { reason: 'one' }), 200).json;
            const again = ok(await api.post(`/v1/tasks/${t.id}/cancel`, { reason: 'two' }), 200).json;
            assert.deepEqual([again.version, again.cancel_reason], [first.version, 'one']);
            await api.reported(t, { type: 'succeed', result: 1 });
            assert.equal((await api.look(t)).state, 'succeeded', 'within the grace success still counts');
        } finally {
            await o.close();
        }
    });

    test('after the grace the server says so itself', async () => {
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'progress', current: 1 });
        ok(await app.post(`/v1/tasks/${t.id}/cancel`), 200);
        const got = await app.ended(t);
        assert.deepEqual([got.state, got.cancel_reason], ['cancelled', null]);
        const r = await app.report(t, { type: 'succeed' });
        assert.equal(r.status, 409);
        assert.ok(['attempt-superseded', 'task-ended'].includes(r.json.code));
        assert.equal((await app.look(t)).version, got.version);
    });

    test('against success at the same moment: one of them wins, and both say so', async () => {
        const a = await app.session();
        for (let i = 0; i < 20; i++) {
            const t = await app.task(a);
            await app.reported(t, { type: 'heartbeat' });
            const [c, r] = await Promise.all([app.post(`/v1/tasks/${t.id}/cancel`), app.report(t, { type: 'succeed' })]);
            assert.equal(ok(r, 200).json.state, 'succeeded');
            assert.ok(c.status === 200 || c.json.code === 'task-ended', c.text);
            const got = checkTask(await app.look(t));
            assert.deepEqual([got.state, got.cancel_requested], ['succeeded', c.status === 200]);
        }
    });

    test('one that asks a question', async () => {
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'input_request', prompt: '?' });
        assert.equal(ok(await app.post(`/v1/tasks/${t.id}/cancel`), 200).json.cancel_requested, true);
        assert.equal((await app.ended(t)).state, 'cancelled');
    });

    test('within the grace fail counts; a retryable or released attempt ends cancelled', async () => {
        const a = await app.session();
        const claimed = async () => {
            const queue = name('grace');
            const t = await app.task(a, { queue, max_attempts: 5 });
            const [c] = await app.claimed(queue);
            await app.reported(c, { type: 'progress', current: 1 });
            return { ...c, queue, id: t.id };
        };
        const t1 = await claimed();
        ok(await app.post(`/v1/tasks/${t1.id}/cancel`), 200);
        await app.reported(t1, { type: 'fail', error: { type: 'x', message: 'm' } });
        assert.equal((await app.look(t1)).state, 'failed');
        const t2 = await claimed();
        ok(await app.post(`/v1/tasks/${t2.id}/cancel`), 200);
        await app.reported(t2, { type: 'fail', error: { type: 'x', message: 'm' }, retry: true });
        assert.equal((await app.look(t2)).state, 'cancelled');
        const t3 = await claimed();
        ok(await app.post(`/v1/tasks/${t3.id}/cancel`), 200);
        ok(await app.post(`/v1/queues/${t3.queue}/release`, { token: t3.worker_token }), 204);
        assert.equal((await app.look(t3)).state, 'cancelled');
    });

    test('reason is text up to 200 characters', async () => {
        const t = await app.task(await app.session());
        problem(await app.post(`/v1/tasks/${t.id}/cancel`, { reason: 'x'.repeat(201) }), 'invalid-request', '/reason');
        problem(await app.post(`/v1/tasks/${t.id}/cancel`, { reason: 5 }), 'invalid-request', '/reason');
        assert.equal(ok(await app.post(`/v1/tasks/${t.id}/cancel`, { reason: '😀'.repeat(200) }), 200).json.cancel_reason, '😀'.repeat(200));
    });
});

describe('questions', () => {
    test('asked, answered, gone on', async () => {
        const a = await app.session();
        const t = await app.task(a);
        const schema = { type: 'boolean' };
        const r = await app.reported(t, { type: 'input_request', prompt: 'Overwrite?', schema });
        assert.deepEqual([r.state, r.answer], ['input_required', null]);
        const asked = checkTask(await app.look(t));
        assert.equal(asked.input_request.prompt, 'Overwrite?');
        assert.deepEqual(asked.input_request.schema, schema);
        const request = question(asked);
        assert.equal(typeof request, 'string');
        const mine = s.api(a.token);
        problem(await mine.post(`/v1/tasks/${t.id}/answer`, { request: 'another', answer: 1 }), 'question-mismatch');
        problem(await mine.post(`/v1/tasks/${t.id}/answer`, { request }), 'invalid-request', '/answer');
        problem(await mine.post(`/v1/tasks/${t.id}/answer`, { answer: 1 }), 'invalid-request', '/request');
        const got = checkTask(ok(await mine.post(`/v1/tasks/${t.id}/answer`, { request, answer: { yes: true } }), 200).json);
        assert.equal(got.state, 'running');
        ok(await mine.post(`/v1/tasks/${t.id}/answer`, { request, answer: { yes: true } }), 200);
        assert.equal((await app.look(t)).version, got.version, 'the same again changes nothing');
        problem(await mine.post(`/v1/tasks/${t.id}/answer`, { request, answer: { yes: false } }), 'question-mismatch');
        problem(await mine.post(`/v1/tasks/${t.id}/answer`, { request: 'another', answer: { yes: true } }), 'question-mismatch');
        assert.deepEqual((await app.reported(t, { type: 'heartbeat' })).answer, { request, answer: { yes: true } });
        await app.reported(t, { type: 'succeed' });
        const late = await mine.post(`/v1/tasks/${t.id}/answer`, { request, answer: { yes: true } });
        assert.equal(late.status, 409);
    });

    test('null is an answer', async () => {
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'input_request', prompt: '?' });
        const request = question(await app.look(t));
        ok(await app.text(`/v1/tasks/${t.id}/answer`, `{"request":"${request}","answer":false}`), 200);
        assert.deepEqual((await app.reported(t, { type: 'heartbeat' })).answer, { request, answer: false });
    });

    test('nothing asked', async () => {
        const a = await app.session();
        const t = await app.task(a);
        problem(await app.post(`/v1/tasks/${t.id}/answer`, { request: 'x', answer: 1 }), 'invalid-transition');
        await app.reported(t, { type: 'heartbeat' });
        problem(await app.post(`/v1/tasks/${t.id}/answer`, { request: 'x', answer: 1 }), 'invalid-transition');
    });

    test('the same question again changes nothing, another replaces it with a new id', async () => {
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'input_request', prompt: 'a?', schema: { x: 1 } });
        const first = await app.look(t);
        await app.reported(t, { type: 'input_request', prompt: 'a?', schema: { x: 1 } });
        assert.equal((await app.look(t)).version, first.version);
        assert.equal(question(await app.look(t)), question(first));
        await app.reported(t, { type: 'input_request', prompt: 'b?' });
        const second = await app.look(t);
        assert.notEqual(question(second), question(first));
        assert.ok(second.version > first.version);
        problem(await app.post(`/v1/tasks/${t.id}/answer`, { request: question(first), answer: 1 }), 'question-mismatch');
    });

    test('progress leaves it open, a final report ends it', async () => {
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'input_request', prompt: 'a?' });
        await app.reported(t, { type: 'progress', current: 1 });
        const open = checkTask(await app.look(t));
        assert.deepEqual([open.state, open.progress.current], ['input_required', 1]);
        await app.reported(t, { type: 'succeed' });
        const done = checkTask(await app.look(t));
        assert.deepEqual([done.state, done.input_request], ['succeeded', null]);
    });
});

describe('seen', () => {
    test('once, by a person, after the end', async () => {
        const a = await app.session();
        const t = await app.task(a);
        problem(await s.api(a.token).post(`/v1/tasks/${t.id}/seen`), 'invalid-transition');
        await app.reported(t, { type: 'succeed' });
        const first = checkTask(ok(await s.api(a.token).post(`/v1/tasks/${t.id}/seen`), 200).json);
        assert.match(first.seen_at, TIME);
        const again = ok(await s.api(t.token).post(`/v1/tasks/${t.id}/seen`), 200).json;
        assert.deepEqual([again.seen_at, again.version], [first.seen_at, first.version]);
    });
});

describe('bind', () => {
    test('moves it and gives its new token', async () => {
        const [a, b] = [await app.session(), await app.session()];
        const t = await app.task(a);
        await app.reported(t, { type: 'progress', current: 5, total: 10 });
        const was = await app.look(t);
        const moved = checkTask(ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: b.id }), 200).json, ['token']);
        assert.equal(moved.session, b.id);
        assert.ok(moved.version > was.version);
        assert.equal(moved.progress.current, 5);
        ok(await s.api(moved.token).get(`/v1/tasks/${t.id}`), 200);
        await app.reported(t, { type: 'succeed' });
        assert.equal(ok(await s.api(b.token).get(`/v1/tasks/${t.id}`), 200).json.state, 'succeeded');
        assert.deepEqual(ok(await app.get(`/v1/sessions/${a.id}`), 200).json.tasks, { unfinished: 0, ended: 0 });
    });

    test('by key, also one that is new', async () => {
        const t = await app.task(await app.session());
        const key = name('key');
        const moved = ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: { key } }), 200).json;
        assert.equal(ok(await app.post('/v1/sessions', { key }), 200).json.id, moved.session);
    });

    test('a finished one too; to where it is, nothing is lost', async () => {
        const [a, b] = [await app.session(), await app.session()];
        const t = await app.task(a);
        await app.reported(t, { type: 'succeed', result: 'r' });
        ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: b.id }), 200);
        assert.equal(ok(await s.api(b.token).get(`/v1/tasks/${t.id}/result`), 200).text, '"r"');
        assert.equal(ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: b.id }), 200).json.session, b.id);
    });
});

describe('forget', () => {
    test('a finished one: 204, then 410 with what it was', async () => {
        const a = await app.session();
        const t = await app.task(a, { kind: 'forgettable' });
        problem(await app.delete(`/v1/tasks/${t.id}`), 'invalid-transition');
        await app.reported(t, { type: 'succeed' });
        const { ended_at } = await app.look(t);
        const r = ok(await app.delete(`/v1/tasks/${t.id}`), 204);
        assert.equal(r.text, '');
        for (const path of ['', '/result', '/output', '/input', '/events']) {
            const gone = problem(await app.get(`/v1/tasks/${t.id}${path}`), 'gone').json;
            assert.deepEqual([gone.kind, gone.state, gone.ended_at], ['forgettable', 'succeeded', ended_at], path);
            assert.match(gone.gone_at, TIME);
        }
        problem(await s.api(a.token).get(`/v1/tasks/${t.id}`), 'gone');
        problem(await s.api(t.token).get(`/v1/tasks/${t.id}`), 'gone');
        problem(await s.api(a.token).post(`/v1/tasks/${t.id}/seen`), 'gone');
        problem(await app.delete(`/v1/tasks/${t.id}`), 'gone');
        assert.deepEqual(ok(await app.get(`/v1/tasks?session=${a.id}`), 200).json.items, []);
    });

    test('ttl does it by itself', async () => {
        const t = await app.task(await app.session(), { ttl: 0.3 });
        await app.reported(t, { type: 'succeed' });
        const gone = await until(async () => {
            const r = await app.get(`/v1/tasks/${t.id}`);
            return r.status === 410 ? r : null;
        }, 'the ttl');
        problem(gone, 'gone');
    });

    test('expires_at is the end and the ttl', async () => {
        const t = await app.task(await app.session(), { ttl: 100 });
        await app.reported(t, { type: 'succeed' });
        const got = await app.look(t);
        assert.equal(Date.parse(got.expires_at) - Date.parse(got.ended_at), 100000);
    });

    test('in the end even that is forgotten: 404', async () => {
        const o = await start({ tombstone_ttl: 1 });
        try {
            const api = o.api();
            const t = await api.task(await api.session(), { ttl: 0 });
            await api.reported(t, { type: 'succeed' });
            await until(async () => (await api.get(`/v1/tasks/${t.id}`)).status === 404, 'the tombstone to go');
        } finally {
            await o.close();
        }
    });
});

describe('clocks', () => {
    test('deadline, in whatever state', async () => {
        const a = await app.session();
        const [q, r, i] = [await app.task(a, { deadline: 2, queue: 'deadline-q' }), await app.task(a, { deadline: 2 }), await app.task(a, { deadline: 2 })];
        await app.reported(r, { type: 'progress', current: 1 });
        await app.reported(i, { type: 'input_request', prompt: '?' });
        for (const t of [q, r, i]) {
            const got = checkTask(await app.ended(t));
            assert.deepEqual([got.state, got.error.type], ['failed', 'deadline']);
            assert.equal(typeof got.error.message, 'string');
        }
        assert.equal((await app.claim('deadline-q')).status, 204);
    });

    test('cancel_unwatched', async () => {
        const a = await app.session();
        const t = await app.task(a, { cancel_unwatched: 1.5, queue: 'unwatched-q' });
        const watched = await app.task(a, { cancel_unwatched: 1.5, queue: 'unwatched-q' });
        const e = await s.api(watched.token).events(`/v1/tasks/${watched.id}/events`);
        await e.live();
        const got = await app.ended(t); // looks by the backend, which does not count
        assert.deepEqual([got.state, got.cancel_reason], ['cancelled', 'unwatched']);
        assert.equal((await app.look(watched)).state, 'queued');
        e.close();
        assert.equal((await app.ended(watched)).cancel_reason, 'unwatched');
    });

    const waits = { task: [(t) => `/v1/tasks/${t.id}`, (t) => ({ 'if-none-match': `"${t.version}"`, prefer: 'wait=4' })],
        output: [(t) => `/v1/tasks/${t.id}/output`, () => ({ prefer: 'wait=4' })] };
    for (const [what, [path, headers]] of Object.entries(waits)) {
        test(`a request that waits for the ${what} watches it, and it counts from the end of the wait`, async () => {
            const a = await app.session({ key: name('waits') });
            const one = () => app.task(a, { cancel_unwatched: 2, queue: 'unwatched-q' });
            const jwt = s.api(hs256(secret, claims({ sid: `waits-${n}` })));
            await Promise.all([(t) => s.api(t.token), () => s.api(a.token), () => jwt].map(async (by) => {
                const t = await one();
                const r = await by(t).get(path(t), headers(t));
                assert.equal(r.status, what === 'task' ? 304 : 200, 'it waited for twice as long');
                const ended = await app.ended(t);
                assert.equal(ended.cancel_reason, 'unwatched');
                assert.ok(Date.parse(ended.ended_at) - Date.parse(t.created_at) >= 5900, 'counted from the end of the wait');
            }));
            const t = await one();
            ok(await app.get(path(t), headers(t)), 200); // by the backend, which does not count: its wait ends with the task
            assert.equal((await app.look(t)).cancel_reason, 'unwatched');
        });

        test(`one that waits for the ${what} and goes away no longer watches`, async () => {
            const a = await app.session();
            const t = await app.task(a, { cancel_unwatched: 2, queue: 'unwatched-q' });
            const conn = await connect(s);
            const lines = Object.entries({ host: `127.0.0.1:${s.port}`, authorization: `Bearer ${t.token}`, ...headers(t), prefer: 'wait=60' }).map(([k, v]) => `${k}: ${v}\r\n`);
            conn.write(`GET ${path(t)} HTTP/1.1\r\n${lines.join('')}\r\n`);
            await pause(3000);
            assert.equal((await app.look(t)).state, 'queued');
            conn.socket.resetAndDestroy();
            assert.equal((await app.ended(t)).cancel_reason, 'unwatched');
        });
    }

    test('one that waits for a task that moves watches until it moves', async () => {
        const [a, b] = [await app.session(), await app.session()];
        const t = await app.task(a, { cancel_unwatched: 3, queue: 'unwatched-q' });
        const [waiting] = await app.begun(() => s.api(a.token).get(`/v1/tasks/${t.id}`, { 'if-none-match': `"${t.version}"`, prefer: 'wait=60' }));
        ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: b.id }), 200);
        problem(await waiting, 'not-found');
        assert.equal((await app.ended(t)).cancel_reason, 'unwatched');
    });

    test("a session's own feed watches all of its tasks, a backend's none", async () => {
        const [a, b] = [await app.session(), await app.session()];
        const [t, u] = [await app.task(a, { cancel_unwatched: 1.5, queue: 'unwatched-q' }), await app.task(b, { cancel_unwatched: 1.5, queue: 'unwatched-q' })];
        const mine = await s.api(a.token).events('/v1/session/events');
        const backend = await app.events(`/v1/sessions/${b.id}/events`);
        await mine.live();
        assert.equal((await app.ended(u)).cancel_reason, 'unwatched');
        assert.equal((await app.look(t)).state, 'queued');
        mine.close();
        backend.close();
    });
});

describe('stalled', () => {
    test('after half of the lease in silence, until the worker speaks', async () => {
        const a = await app.session();
        const t = await app.task(a, { lease: 3 });
        await app.reported(t, { type: 'progress', current: 1 });
        const e = await app.events(`/v1/sessions/${a.id}/events`);
        const stalled = await e.task(t.id, (x) => x.stalled, 'stalled');
        assert.equal(stalled.state, 'running');
        await app.reported(t, { type: 'heartbeat' });
        const back = await e.task(t.id, (x) => !x.stalled && x.version > stalled.version, 'no longer stalled');
        assert.equal(back.progress.current, 1);
        const end = await e.task(t.id, (x) => x.ended_at, 'the end');
        assert.deepEqual([end.state, end.error.type, end.stalled], ['failed', 'worker-lost', false]);
        e.close();
        problem(await app.report(t, { type: 'heartbeat' }), 'attempt-superseded');
    });
});

describe("a session's own tasks", () => {
    test('only configured kinds, as configured', async () => {
        const a = await app.session();
        const mine = s.api(a.token);
        const r = ok(await mine.post('/v1/session/tasks', { kind: 'report', title: 'Mine', input: { x: 1 } }), 202);
        assert.equal(r.headers.location, `/v1/tasks/${r.json.id}`);
        assert.deepEqual([r.json.session, r.json.title, r.json.queue, r.json.on_session_end, r.json.max_attempts, r.json.metadata], [a.id, 'Mine', 'reports', 'cancel', 3, { from: 'option' }]);
        const [c] = await app.claimed('reports');
        assert.deepEqual([c.id, c.input], [r.json.id, { x: 1 }]);
        problem(await mine.post('/v1/session/tasks', { kind: 'other' }), 'forbidden');
        for (const name_ of ['queue', 'metadata', 'lease', 'session', 'ttl', 'on_session_end']) {
            problem(await mine.post('/v1/session/tasks', { kind: 'report', [name_]: 'x' }), 'invalid-request', `/${name_}`);
        }
        problem(await mine.post('/v1/session/tasks', {}), 'invalid-request', '/kind');
        ok(await mine.post('/v1/session/tasks', { kind: 'direct' }), 202);
    });
});

describe('progress', () => {
    test('ratio', async () => {
        const t = await app.task(await app.session());
        const see = async (p) => {
            await app.reported(t, { type: 'progress', ...p });
            return checkTask(await app.look(t)).progress;
        };
        assert.equal((await see({ current: 40, total: 100, unit: 'pages', message: 'rendering' })).ratio, 0.4);
        assert.deepEqual((({ current, total, unit, message }) => [current, total, unit, message])(await see({ current: 50 })), [50, 100, 'pages', 'rendering']);
        assert.equal((await see({ current: 150 })).ratio, 1);
        assert.equal((await see({ total: 0 })).ratio, null);
        assert.equal((await see({ total: null })).ratio, null);
        const cleared = await see({ unit: null, message: null, current: null });
        assert.deepEqual([cleared.current, cleared.total, cleared.unit, cleared.message], [null, null, null, null]);
        assert.equal((await see({ current: 1.5, total: 3 })).ratio, 0.5);
    });

    test('that differs in nothing is no change', async () => {
        const t = await app.task(await app.session());
        const a = await app.reported(t, { type: 'progress', current: 1, message: 'm' });
        const b = await app.reported(t, { type: 'progress', current: 1, message: 'm' });
        const c = await app.reported(t, { type: 'progress' });
        assert.deepEqual([b.version, c.version], [a.version, a.version]);
        assert.ok((await app.reported(t, { type: 'progress', current: 2 })).version > a.version);
    });

    test('rate and eta come when there is ground for them', async () => {
        const t = await app.task(await app.session());
        let i = 0;
        const got = await until(async () => {
            await app.reported(t, { type: 'progress', current: ++i, total: 100000 });
            const p = (await app.look(t)).progress;
            return p.rate !== null && p.eta !== null ? p : null;
        }, 'an estimate');
        assert.ok(got.rate > 0 && got.eta > 0);
    });
});
