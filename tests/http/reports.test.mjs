// Section 5: what workers say.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { TIME, checkProblem, checkTask, ok, pause, problem, question, until } from './lib/client.mjs';
import { Lines } from './lib/ndjson.mjs';

let s;
let app;
let n = 0;
const name = (what = 'q') => `${what}-${++n}`;
before(async () => {
    s = await start();
    app = s.api();
});
after(() => s.close());

const fresh = async (members = {}) => app.task(await app.session(), members);
async function claimed(members = {}) {
    const queue = name();
    const t = await fresh({ queue, ...members });
    const [c] = await app.claimed(queue);
    assert.equal(c.id, t.id);
    return { ...c, queue };
}
const ANSWER = ['answer', 'attempt', 'cancel_requested', 'lease_until', 'output_offset', 'state', 'version'];

describe('one report', () => {
    test('takes the task from queued to running and is answered with how it stands', async () => {
        const t = await fresh({ lease: 60 });
        const r = await app.reported(t, { type: 'heartbeat' });
        assert.deepEqual(Object.keys(r).sort(), ANSWER);
        assert.deepEqual([r.state, r.attempt, r.cancel_requested, r.output_offset, r.answer], ['running', 1, false, 0, null]);
        assert.match(r.lease_until, TIME);
        const got = checkTask(await app.look(t));
        assert.deepEqual([got.state, got.attempt, got.version], ['running', 1, r.version]);
        assert.match(got.started_at, TIME);
        assert.ok(r.version > t.version);
    });

    test('a heartbeat is no change, but moves the lease', async () => {
        const t = await fresh({ lease: 60 });
        const a = await app.reported(t, { type: 'heartbeat' });
        await pause(10);
        const b = await app.reported(t, { type: 'heartbeat' });
        assert.equal(b.version, a.version);
        assert.ok(b.lease_until > a.lease_until);
    });

    test('without a lease there is none to tell', async () => {
        const t = await fresh({ lease: 0 });
        assert.equal((await app.reported(t, { type: 'heartbeat' })).lease_until, null);
    });

    test('each outcome', async () => {
        const t1 = await fresh();
        assert.equal((await app.reported(t1, { type: 'succeed', result: [1] })).state, 'succeeded');
        const got1 = checkTask(await app.look(t1));
        assert.deepEqual([got1.result, got1.result_bytes, got1.attempt], [[1], 3, 1]);
        const t2 = await fresh();
        assert.equal((await app.reported(t2, { type: 'fail', error: { type: 'disk-full', message: 'No space', detail: { free: 0 } } })).state, 'failed');
        const got2 = checkTask(await app.look(t2));
        assert.deepEqual(got2.error, { type: 'disk-full', message: 'No space', detail: { free: 0 } });
        const t3 = await fresh();
        assert.equal((await app.reported(t3, { type: 'cancelled' })).state, 'cancelled', 'unasked');
        checkTask(await app.look(t3));
    });

    test('said again, the final report gets the same answer; another one does not', async () => {
        for (const [final, other] of [[{ type: 'succeed', result: { a: 1 } }, { type: 'succeed', result: { a: 2 } }], [{ type: 'fail', error: { type: 'x', message: 'm' } }, { type: 'cancelled' }], [{ type: 'cancelled' }, { type: 'succeed' }]]) {
            const t = await fresh();
            await app.reported(t, { type: 'progress', current: 1 });
            const first = ok(await app.report(t, final), 200);
            assert.equal(ok(await app.report(t, final), 200).text, first.text);
            problem(await app.report(t, other), 'task-ended');
            problem(await app.report(t, { type: 'progress', current: 2 }), 'task-ended');
            problem(await app.report(t, { type: 'heartbeat' }), 'task-ended');
            assert.equal((await app.look(t)).version, first.json.version);
        }
    });

    test('an answer and a cancel request are told', async () => {
        const t = await fresh();
        await app.reported(t, { type: 'input_request', prompt: '?' });
        const request = question(await app.look(t));
        ok(await app.post(`/v1/tasks/${t.id}/answer`, { request, answer: 'x' }), 200);
        ok(await app.post(`/v1/tasks/${t.id}/cancel`), 200);
        const r = await app.reported(t, { type: 'heartbeat' });
        assert.deepEqual([r.cancel_requested, r.answer], [true, { request, answer: 'x' }]);
    });

    test('by a key that may, where there is no queue', async () => {
        const t = await fresh();
        ok(await app.post(`/v1/tasks/${t.id}/reports`, { type: 'succeed' }), 200);
        problem(await app.post('/v1/tasks/tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV/reports', { type: 'succeed' }), 'not-found');
    });

    test('before it was claimed there is no attempt to report on', async () => {
        const t = await claimed();
        ok(await app.post(`/v1/queues/${t.queue}/release`, { token: t.worker_token }), 204);
        problem(await app.report(t, { type: 'heartbeat' }), 'attempt-superseded');
    });
});

describe('an array', () => {
    test('is applied as a whole and answered as its last', async () => {
        const t = await fresh();
        const r = await app.reported(t, [{ type: 'progress', current: 1, total: 4 }, { type: 'output', data: 'abc', offset: 0 }, { type: 'progress', current: 2 }]);
        assert.deepEqual([r.state, r.output_offset], ['running', 3]);
        const got = await app.look(t);
        assert.deepEqual([got.progress.current, got.progress.total, got.output_bytes, got.version], [2, 4, 3, r.version]);
    });

    test('or not at all', async () => {
        const t = await fresh();
        await app.reported(t, { type: 'progress', current: 1 });
        const was = await app.look(t);
        problem(await app.report(t, [{ type: 'progress', current: 2 }, { type: 'output', data: 'x', offset: 7 }]), 'output-gap');
        problem(await app.report(t, [{ type: 'progress', current: 2 }, { type: 'explode' }]), 'invalid-request', '/1/type');
        problem(await app.report(t, [{ type: 'succeed' }, { type: 'progress', current: 2 }]), 'task-ended');
        const now = await app.look(t);
        assert.deepEqual([now.version, now.progress.current, now.output_bytes, now.state], [was.version, 1, 0, 'running']);
    });

    test('that ends in the final report, said again, gets the same answer', async () => {
        const t = await fresh();
        const all = [{ type: 'output', data: 'done\n' }, { type: 'progress', current: 9 }, { type: 'succeed', result: 1 }];
        const first = ok(await app.report(t, all), 200);
        assert.equal(first.json.state, 'succeeded');
        assert.equal(ok(await app.report(t, all), 200).text, first.text);
        assert.equal((await app.look(t)).output_bytes, 5);
        problem(await app.report(t, [{ type: 'output', data: 'other' }, { type: 'succeed', result: 2 }]), 'task-ended');
    });

    test('of nothing is refused', async () => {
        problem(await app.report(await fresh(), []), 'invalid-request');
    });
});

describe('NDJSON for one task', () => {
    test('each line counts when it arrives and gets an answer line', async () => {
        const t = await fresh();
        const l = new Lines(s, `/v1/tasks/${t.id}/reports`, t.worker_token);
        l.send({ type: 'progress', current: 1 });
        assert.equal((await l.answered(1))[0].state, 'running');
        assert.equal(l.status, 200);
        assert.match(l.headers['content-type'], /^application\/x-ndjson/);
        assert.equal((await app.look(t)).progress.current, 1, 'before the request has ended');
        l.send({ type: 'output', data: 'abc' }, { type: 'heartbeat' });
        assert.deepEqual((await l.answered(3)).slice(1).map((r) => r.output_offset), [3, 3]);
        l.send({ type: 'succeed', result: 1 });
        assert.equal((await l.answered(4))[3].state, 'succeeded');
        l.end();
        assert.equal((await l.ended()).length, 4);
    });

    test('a refused line does not stop the others', async () => {
        const t = await fresh();
        const l = new Lines(s, `/v1/tasks/${t.id}/reports`, t.worker_token);
        l.send({ type: 'progress', current: 1 }, '{"type":"progress","current":-1}', 'no json', { type: 'output', data: 'x', offset: 9 }, { type: 'nope' }, { type: 'progress', current: 2 }).end();
        const a = await l.ended();
        assert.equal(a.length, 6);
        assert.deepEqual(a.map((r) => r.code ?? r.state), ['running', 'invalid-request', 'invalid-request', 'output-gap', 'invalid-request', 'running']);
        a.filter((r) => r.code).forEach((r) => checkProblem(r, r.code));
        assert.equal((await app.look(t)).progress.current, 2);
    });

    test('attempt-superseded and task-ended end the stream', async () => {
        const t = await fresh();
        const l = new Lines(s, `/v1/tasks/${t.id}/reports`, t.worker_token);
        l.send({ type: 'progress', current: 1 });
        await l.answered(1);
        ok(await app.post(`/v1/tasks/${t.id}/cancel`), 200);
        await app.reported(t, { type: 'cancelled' });
        l.send({ type: 'progress', current: 2 });
        const a = await l.ended();
        assert.equal(a.at(-1).code, 'task-ended');
        const c = await claimed();
        const m = new Lines(s, `/v1/tasks/${c.id}/reports`, c.worker_token);
        m.send({ type: 'progress', current: 1 });
        await m.answered(1);
        ok(await app.post(`/v1/queues/${c.queue}/release`, { token: c.worker_token }), 204);
        m.send({ type: 'progress', current: 2 }, { type: 'progress', current: 3 });
        const b = await m.ended();
        assert.deepEqual([b.length, b.at(-1).code], [2, 'attempt-superseded']);
    });

    test('errors of the credential are real statuses', async () => {
        const [t, u] = [await fresh(), await fresh()];
        const send = (path, token) => s.api(token).call('POST', path, { body: '{"type":"heartbeat"}\n', type: 'application/x-ndjson' });
        problem(await send(`/v1/tasks/${t.id}/reports`, 'nonsense'), 'unauthenticated');
        problem(await send(`/v1/tasks/${t.id}/reports`, t.token), 'forbidden');
        problem(await send(`/v1/tasks/${t.id}/reports`, u.worker_token), 'not-found');
    });

    test('a last line without a line break counts; empty ones do not', async () => {
        const t = await fresh();
        const r = ok(await s.api(t.worker_token).call('POST', `/v1/tasks/${t.id}/reports`, { body: '{"type":"progress","current":1}\n\n{"type":"progress","current":2}', type: 'application/x-ndjson' }), 200);
        assert.equal(r.text.trim().split('\n').length, 2);
        assert.equal((await app.look(t)).progress.current, 2);
    });

    test('thousands of lines, in order', async () => {
        const t = await fresh();
        const body = Array.from({ length: 5000 }, (_, i) => JSON.stringify({ type: 'progress', current: i + 1, total: 5000 })).join('\n');
        const r = ok(await s.api(t.worker_token).call('POST', `/v1/tasks/${t.id}/reports`, { body, type: 'application/x-ndjson' }), 200);
        const lines = r.text.trim().split('\n').map((l) => JSON.parse(l));
        assert.equal(lines.length, 5000);
        assert.ok(lines.every((l, i) => i === 0 || l.version > lines[i - 1].version));
        assert.equal((await app.look(t)).progress.current, 5000);
    });
});

describe('/v1/reports', () => {
    test('lines keep their order, also when one before them has to be looked for', async () => {
        const t = await fresh();
        const all = ['{"type":"heartbeat","task":"tsk_01ARZ3NDEKTSV4RRFFQ69G5FBX"}'];
        for (let i = 0; i < 400; i++) all.push(JSON.stringify({ type: 'output', task: t.id, data: `${String(i).padStart(5)}\n`, offset: i * 6 }));
        const r = ok(await app.call('POST', '/v1/reports', { body: all.join('\n'), type: 'application/x-ndjson' }), 200);
        const answers = r.text.trim().split('\n').map((l) => JSON.parse(l));
        assert.deepEqual([answers.length, answers[0].code], [401, 'not-found']);
        assert.deepEqual(answers.slice(1).map((l) => l.code ?? l.output_offset), Array.from({ length: 400 }, (_, i) => (i + 1) * 6));
    });

    test('for many tasks at once, an answer per line, in order; a refusal never ends the stream', async () => {
        const [direct, done] = [await fresh(), await fresh()];
        const queued = await claimed();
        await app.reported(done, { type: 'succeed' });
        const l = new Lines(s, '/v1/reports', s.key);
        l.send({ task: direct.id, type: 'progress', current: 1 }, { task: queued.id, token: queued.worker_token, type: 'progress', current: 2 }, { task: done.id, type: 'progress', current: 3 },
            { task: queued.id, type: 'progress', current: 4 }, { task: 'tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV', type: 'heartbeat' }, { type: 'heartbeat' }, { task: 'x', type: 'heartbeat' }, 'rubbish',
            { task: direct.id, token: direct.worker_token, type: 'progress', current: 5 }, { task: direct.id, token: queued.worker_token, type: 'heartbeat' }, { task: direct.id, type: 'succeed' });
        const a = await l.answered(11);
        assert.deepEqual(a.map((r) => r.code ?? r.state), ['running', 'running', 'task-ended', a[3].code, 'not-found', 'invalid-request', 'invalid-request', 'invalid-request', 'running', a[9].code, 'succeeded']);
        assert.ok(a[3].code, 'a queued task needs its worker token');
        assert.ok(a[9].code, "another task's token is none");
        l.end();
        assert.equal((await l.ended()).length, 11);
        assert.equal((await app.look(queued)).progress.current, 2);
    });

    test('a missing Content-Type counts as NDJSON here', async () => {
        const t = await fresh();
        const r = ok(await app.call('POST', '/v1/reports', { body: `{"task":"${t.id}","type":"heartbeat"}\n` }), 200);
        assert.equal(JSON.parse(r.text).state, 'running');
        problem(await app.call('POST', '/v1/reports', { body: '{}', type: 'text/plain' }), 'unsupported-media-type');
    });

    test('nothing at all is fine', async () => {
        assert.equal(ok(await app.call('POST', '/v1/reports', { body: '' }), 200).text, '');
    });
});

describe("a person's answer with line breaks between its tokens", () => {
    const forged = '{"state":"cancelled","version":99,"attempt":1,"cancel_requested":true,"lease_until":null,"output_offset":0,"answer":null}';
    const texts = [`[\n${forged}\n]`, `[\r\n${forged}\r\n]`, `[\r${forged}\r]`, '\n{"a"\n:\r"b\\n" }\r\n'];
    const asked = async (text) => {
        const t = await fresh();
        await app.reported(t, { type: 'input_request', prompt: 'Which?' });
        ok(await s.api(t.token).text(`/v1/tasks/${t.id}/answer`, `{"request":"${question(await app.look(t))}","answer":${text}}`), 200);
        return t;
    };
    for (const text of texts) {
        test(`is one line of NDJSON: ${JSON.stringify(text.slice(0, 12))}`, async () => {
            const t = await asked(text);
            const heartbeat = JSON.stringify({ task: t.id, type: 'heartbeat' });
            const end = '{"type":"succeed"}';
            const streams = [
                [s.api(t.worker_token), `/v1/tasks/${t.id}/reports`, '{"type":"heartbeat"}\n{"type":"heartbeat"}\n'],
                [app, '/v1/reports', `${heartbeat}\n${heartbeat}\n`],
                [s.api(t.worker_token), `/v1/tasks/${t.id}/reports`, `${end}\n${end}\n`],
            ];
            for (const [api, path, body] of streams) {
                const r = ok(await api.call('POST', path, { body, type: 'application/x-ndjson' }), 200);
                const lines = r.text.split(/[\r\n]/);
                assert.equal(lines.pop(), '', r.text);
                assert.equal(lines.length, 2, r.text);
                for (const line of lines) {
                    assert.deepEqual(JSON.parse(line).answer.answer, JSON.parse(text));
                }
            }
        });
    }

    test('is the exact text elsewhere', async () => {
        const text = texts[1];
        const t = await asked(text);
        const told = [await app.report(t, { type: 'heartbeat' }), await s.api(t.worker_token).get(`/v1/tasks/${t.id}/control`), await app.report(t, { type: 'succeed' })];
        for (const r of told) {
            assert.ok(ok(r, 200).text.includes(text), r.text);
        }
    });
});

describe('output', () => {
    test('offset makes it idempotent', async () => {
        const t = await fresh();
        assert.equal((await app.reported(t, { type: 'output', data: 'hello ', offset: 0 })).output_offset, 6);
        assert.equal((await app.reported(t, { type: 'output', data: 'hello ', offset: 0 })).output_offset, 6);
        assert.equal((await app.reported(t, { type: 'output', data: 'lo world', offset: 3 })).output_offset, 11);
        assert.equal((await app.reported(t, { type: 'output', data: '!' })).output_offset, 12);
        problem(await app.report(t, { type: 'output', data: 'x', offset: 13 }), 'output-gap');
        assert.equal(ok(await app.get(`/v1/tasks/${t.id}/output`), 200).text, 'hello world!');
    });

    test('binary', async () => {
        const t = await fresh();
        const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
        await app.reported(t, { type: 'output', data_base64: bytes.toString('base64') });
        assert.deepEqual(ok(await app.get(`/v1/tasks/${t.id}/output`), 200).bytes, bytes);
    });

    test("an attempt's offsets start anew and the task's output only grows", async () => {
        const t = await claimed({ max_attempts: 2, backoff: 0 });
        await app.reported(t, { type: 'output', data: 'first ', offset: 0 });
        await app.reported(t, { type: 'fail', error: { type: 'x', message: 'm' }, retry: true });
        const [again] = await app.claimed(t.queue);
        assert.equal((await app.reported(again, { type: 'heartbeat' })).output_offset, 0);
        assert.equal((await app.reported(again, { type: 'output', data: 'second', offset: 0 })).output_offset, 6);
        assert.equal(ok(await app.get(`/v1/tasks/${t.id}/output`), 200).text, 'first second');
        assert.equal((await app.look(t)).output_bytes, 12);
    });
});

describe('attempts', () => {
    test('only the newest may report', async () => {
        const t = await claimed({ max_attempts: 3, backoff: 0 });
        await app.reported(t, { type: 'progress', current: 1, message: 'm' });
        await app.reported(t, { type: 'fail', error: { type: 'x', message: 'm' }, retry: true });
        const waiting = checkTask(await app.look(t));
        assert.deepEqual([waiting.state, waiting.attempt], ['queued', 1]);
        problem(await app.report(t, { type: 'progress', current: 2 }), 'attempt-superseded');
        const [again] = await app.claimed(t.queue);
        problem(await app.report(t, { type: 'progress', current: 2 }), 'attempt-superseded');
        const got = checkTask(await app.look(t));
        assert.deepEqual([got.state, got.attempt, got.progress.current, got.progress.message], ['running', 2, null, null], 'a new attempt starts with empty progress');
        await app.reported(again, { type: 'succeed' });
        problem(await app.report(t, { type: 'progress', current: 2 }), 'attempt-superseded');
    });

    test('the final report that ended one gets its answer again, also when the task was queued or claimed since', async () => {
        const t = await claimed({ max_attempts: 3, backoff: 0 });
        const final = { type: 'fail', error: { type: 'x', message: 'm' }, retry: true };
        const first = ok(await app.report(t, final), 200);
        assert.equal(first.json.state, 'queued');
        assert.equal(ok(await app.report(t, final), 200).text, first.text);
        await app.claimed(t.queue);
        assert.equal(ok(await app.report(t, final), 200).text, first.text);
        problem(await app.report(t, { ...final, retry: false }), 'attempt-superseded');
        assert.equal((await app.look(t)).attempt, 2);
    });

    test('so does each attempt, however many came later, and after a restart', async () => {
        const o = await start();
        try {
            let back = o.api();
            const first = [];
            const t = await back.task(await back.session(), { queue: 'again', max_attempts: 4, backoff: 0 });
            const final = (n) => (n < 4 ? { type: 'fail', error: { type: 'x', message: `attempt ${n}` }, retry: true } : { type: 'succeed', result: n });
            const again = async () => {
                for (const [n, { token, text }] of first.entries()) {
                    assert.equal(ok(await back.report(t, final(n + 1), token), 200).text, text, `attempt ${n + 1} of ${first.length}`);
                    assert.equal(ok(await back.report(t, [{ type: 'heartbeat' }, final(n + 1)], token), 200).text, text);
                    if (n + 1 < first.length) {
                        problem(await back.report(t, final(n + 2), token), 'attempt-superseded');
                    }
                }
            };
            for (let n = 1; n <= 4; n++) {
                const [c] = await back.claimed('again');
                assert.equal(c.attempt, n);
                await again();
                first.push({ token: c.worker_token, text: ok(await back.report(t, final(n), c.worker_token), 200).text });
                await again();
            }
            await o.kill();
            await o.restart();
            back = o.api();
            await again();
            assert.equal((await back.look(t)).state, 'succeeded');
        } finally {
            await o.close();
        }
    });

    test('retry false ends it, whatever is left', async () => {
        const t = await claimed({ max_attempts: 3 });
        assert.equal((await app.reported(t, { type: 'fail', error: { type: 'x', message: 'm' } })).state, 'failed');
    });

    test('after the last one it has failed', async () => {
        const t = await claimed({ max_attempts: 2, backoff: 0 });
        const final = { type: 'fail', error: { type: 'flaky', message: 'm' }, retry: true };
        await app.reported(t, final);
        const [again] = await app.claimed(t.queue);
        assert.equal((await app.reported(again, final)).state, 'failed');
        const got = checkTask(await app.look(t));
        assert.deepEqual([got.error.type, got.attempt], ['flaky', 2]);
        const direct = await fresh();
        assert.equal((await app.reported(direct, final)).state, 'failed', 'without a queue there is one');
    });
});

describe('control', () => {
    test('is answered at once when a cancel request stands', async () => {
        const t = await fresh();
        await app.reported(t, { type: 'heartbeat' });
        const worker = s.api(t.worker_token);
        const r = ok(await worker.get(`/v1/tasks/${t.id}/control`), 200).json;
        assert.deepEqual(Object.keys(r).sort(), ANSWER);
        assert.equal(r.cancel_requested, false);
        const [waiting] = await app.begun(() => worker.get(`/v1/tasks/${t.id}/control?after=${r.version}`, { prefer: 'wait=30' }));
        await app.reported(t, { type: 'progress', current: 1 });
        ok(await app.post(`/v1/tasks/${t.id}/cancel`), 200);
        const got = ok(await waiting, 200).json;
        assert.equal(got.cancel_requested, true);
        ok(await worker.get(`/v1/tasks/${t.id}/control`, { prefer: 'wait=60' }), 200);
    });

    test('and when there is an answer newer than the version given', async () => {
        const t = await fresh();
        await app.reported(t, { type: 'input_request', prompt: '?' });
        const worker = s.api(t.worker_token);
        const [waiting] = await app.begun(() => worker.get(`/v1/tasks/${t.id}/control`, { prefer: 'wait=30' }));
        const request = question(await app.look(t));
        const answered = ok(await app.post(`/v1/tasks/${t.id}/answer`, { request, answer: [1] }), 200).json;
        assert.deepEqual(ok(await waiting, 200).json.answer, { request, answer: [1] });
        ok(await worker.get(`/v1/tasks/${t.id}/control?after=${t.version}`, { prefer: 'wait=60' }), 200);
        const later = ok(await worker.get(`/v1/tasks/${t.id}/control?after=${answered.version}`, { prefer: 'wait=1' }), 200).json;
        assert.equal(later.version, answered.version, 'when time is up: how it stands');
    });

    test('does not extend the lease', async () => {
        const t = await fresh({ lease: 1 });
        await app.reported(t, { type: 'heartbeat' });
        const worker = s.api(t.worker_token);
        await until(async () => {
            const r = await worker.get(`/v1/tasks/${t.id}/control`);
            return r.status === 409;
        }, 'the lease to end although control is asked all the time');
        assert.equal((await app.look(t)).error.type, 'worker-lost');
    });
});

describe('input', () => {
    test('for the worker of the newest attempt', async () => {
        const t = await claimed({ input: { a: [1] }, max_attempts: 2, backoff: 0 });
        assert.deepEqual(t.input, { a: [1] });
        assert.deepEqual(ok(await s.api(t.worker_token).get(`/v1/tasks/${t.id}/input`), 200).json, { a: [1] });
    });
});
