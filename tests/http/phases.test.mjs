// What a progress report can say besides numbers: the phase, data of any shape, and a message that is too long.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { checkTask, ok, pause, problem } from './lib/client.mjs';

let s;
let app;
before(async () => {
    s = await start();
    app = s.api();
});
after(() => s.close());

const fresh = async (members = {}) => app.task(await app.session(), members);
const progress = (members) => ({ type: 'progress', ...members });
const EMPTY = { phase: null, current: null, total: null, unit: null, message: null, data: null, ratio: null, rate: null, eta: null };
const shown = async (t) => checkTask(await app.look(t)).progress;
const ndjson = async (api, path, lines) => {
    const body = lines.map((l) => `${JSON.stringify(l)}\n`).join('');
    const r = ok(await api.call('POST', path, { body, type: 'application/x-ndjson' }), 200);
    return r.text.trim().split('\n').map((l) => JSON.parse(l));
};
/** The text of progress.data in an answer. */
const dataText = (r) => /"data":(.*)\},"cancel_requested":/s.exec(r.text)[1];

describe('phase', () => {
    test('is null at first, then as reported, until null', async () => {
        const t = await fresh();
        assert.deepEqual(t.progress, EMPTY);
        const r = await app.reported(t, progress({ phase: 'reading' }));
        assert.ok(!('truncated' in r));
        assert.deepEqual(await shown(t), { ...EMPTY, phase: 'reading' });
        await app.reported(t, progress({ current: 1 }));
        assert.deepEqual(await shown(t), { ...EMPTY, phase: 'reading', current: 1 });
        await app.reported(t, progress({ phase: null }));
        assert.deepEqual(await shown(t), EMPTY);
    });

    test('one that differs clears what is not given with it', async () => {
        const t = await fresh();
        const all = { current: 4, total: 10, unit: 'files', message: 'm', data: { a: 1 } };
        const { ratio, rate, eta, ...none } = EMPTY;
        const steps = [
            [{ ...all }, { ...none, ...all }],
            [{ phase: 'one' }, { ...none, phase: 'one' }], // none before
            [{ ...all }, { ...none, ...all, phase: 'one' }],
            [{ phase: 'one', current: 5 }, { ...none, ...all, phase: 'one', current: 5 }], // the same again
            [{ phase: 'two', current: 5, message: 'n' }, { ...none, phase: 'two', current: 5, message: 'n' }],
            [{ ...all }, { ...none, ...all, phase: 'two' }],
            [{ phase: 'three', ...all }, { ...none, phase: 'three', ...all }],
            [{ phase: null, total: 3 }, { ...none, total: 3 }],
            [{ phase: null, unit: 'x' }, { ...none, total: 3, unit: 'x' }],
        ];
        for (const [report, want] of steps) {
            const before = await app.look(t);
            await app.reported(t, progress(report));
            const got = await app.look(t);
            assert.ok(got.version > before.version);
            const { ratio: a, rate: b, eta: c, ...rest } = checkTask(got).progress;
            assert.deepEqual(rest, want, JSON.stringify(report));
        }
        const version = (await app.look(t)).version;
        await app.reported(t, progress({ phase: null }));
        assert.equal((await app.look(t)).version, version, 'nothing differs');
    });

    test('has 1 to 80 characters, and is never cut', async () => {
        const t = await fresh();
        for (const phase of ['x', 'é'.repeat(80), '😀'.repeat(80)]) {
            await app.reported(t, progress({ phase }));
            assert.equal((await shown(t)).phase, phase);
        }
        for (const phase of ['', 'x'.repeat(81), '😀'.repeat(81), 'a\u0000', 5, {}, true]) {
            problem(await app.report(t, progress({ phase, current: 7 })), 'invalid-request', '/phase');
        }
        problem(await app.report(t, [{ type: 'heartbeat' }, progress({ phase: '' })]), 'invalid-request', '/1/phase');
        problem(await app.report(t, { type: 'heartbeat', phase: 'x' }), 'invalid-request', '/phase');
        assert.equal((await shown(t)).current, null);
    });

    test('rate and eta speak of it', async () => {
        const t = await fresh();
        for (let i = 1; i <= 4; i++) {
            await app.reported(t, progress({ current: i, total: 8 }));
            await pause(250);
        }
        assert.ok((await shown(t)).rate > 0);
        await app.reported(t, progress({ phase: 'next', current: 4, total: 8 }));
        const { rate, eta } = await shown(t);
        assert.deepEqual([rate, eta], [null, null]);
    });

    test('how long it takes is learned by itself, also over a restart', async () => {
        const o = await start();
        try {
            const session = await o.api().session();
            const begun = (kind) => o.api().task(session, { kind });
            for (let i = 0; i < 3; i++) {
                const t = await begun('phased');
                await o.api().reported(t, progress({ phase: 'short' }));
                await pause(200);
                await o.api().reported(t, progress({ phase: 'long' }));
                await pause(1000);
                await o.api().reported(t, { type: 'succeed' });
            }
            const check = async () => {
                const t = await begun('phased');
                const eta = async (phase) => {
                    await o.api().reported(t, progress({ phase }));
                    return (await o.api().look(t)).progress.eta;
                };
                const [short, long] = [await eta('short'), await eta('long')];
                assert.ok(short > 0 && long > 0.9, `${short} ${long}`);
                assert.equal(await eta('unheard of'), null);
                assert.equal(await eta(null), null, 'how much of the whole is left is not known');
                await o.api().reported(t, { type: 'cancelled' });
                const other = await begun('other');
                await o.api().reported(other, progress({ phase: 'long' }));
                assert.equal((await o.api().look(other)).progress.eta, null);
            };
            await check();
            await o.stop();
            await o.restart();
            await check();
        } finally {
            await o.close();
        }
    });
});

describe('data', () => {
    const texts = ['{"a" : [1, 2.50,\t{}], "u":"\\u00e9\\u0000"}', '[]', '"x\\n"', '1e3', '-0', 'true', 'false', '{"data":{"data":1},"phase":2}', '0'];
    const say = (t, text, more = '') => s.api(t.worker_token).text(`/v1/tasks/${t.id}/reports`, `{"type":"progress","data":${text}${more}}`);

    test('is any JSON, given back as the exact text', async () => {
        const t = await fresh();
        for (const text of texts) {
            ok(await say(t, text), 200);
            assert.equal(dataText(ok(await app.get(`/v1/tasks/${t.id}`), 200)), text);
        }
    });

    test('is replaced as a whole, and cleared by null', async () => {
        const t = await fresh();
        await app.reported(t, progress({ data: { a: 1, b: 2 } }));
        await app.reported(t, progress({ current: 1 }));
        assert.deepEqual((await shown(t)).data, { a: 1, b: 2 });
        await app.reported(t, progress({ data: { a: 3 } }));
        assert.deepEqual((await shown(t)).data, { a: 3 });
        const { version } = await app.look(t);
        await app.reported(t, progress({ data: { a: 3 } }));
        assert.equal((await app.look(t)).version, version, 'nothing differs');
        await app.reported(t, progress({ data: null }));
        assert.equal((await shown(t)).data, null);
    });

    test('is cleared by a new phase and by a new attempt', async () => {
        const t = await fresh({ queue: 'again', max_attempts: 2, backoff: 0 });
        const [one] = await app.claimed('again');
        await app.reported(one, progress({ phase: 'a', data: 1 }));
        await app.reported(one, progress({ phase: 'a' }));
        assert.equal((await shown(t)).data, 1);
        await app.reported(one, progress({ phase: 'b' }));
        assert.deepEqual(await shown(t), { ...EMPTY, phase: 'b' });
        await app.reported(one, progress({ data: [2] }));
        await app.reported(one, { type: 'fail', error: { type: 'x', message: 'm' }, retry: true });
        assert.deepEqual((await shown(t)).data, [2]);
        const [two] = await app.claimed('again');
        assert.deepEqual(two.progress, EMPTY);
        await app.reported(two, progress({ phase: 'c', data: 'kept' }));
        await app.reported(two, { type: 'succeed' });
        assert.deepEqual([(await shown(t)).phase, (await shown(t)).data], ['c', 'kept'], 'a task that has ended shows its last');
    });

    test('stands wherever a task is shown', async () => {
        const session = await app.session();
        const own = s.api(session.token);
        const t = await app.task(session);
        const events = await own.events('/v1/session/events');
        await events.live();
        const body = `{"type":"progress","phase":"p","data":{"a"\n:\r\n1}}`;
        ok(await s.api(t.worker_token).text(`/v1/tasks/${t.id}/reports`, body), 200);
        assert.deepEqual((await events.task(t.id, (e) => e.progress.phase === 'p')).progress.data, { a: 1 });
        events.close();
        const pages = [await own.get('/v1/session/tasks'), await app.get(`/v1/tasks?session=${session.id}`), await app.get(`/v1/tasks/${t.id}`), await own.get(`/v1/tasks/${t.id}`),
            await s.api(t.token).get(`/v1/tasks/${t.id}`), await app.post(`/v1/tasks/${t.id}/cancel`)];
        for (const r of pages) {
            assert.equal(dataText(ok(r, 200)), '{"a"\n:\r\n1}');
        }
        const page = ok(await own.page('/v1/session/events'), 200).json;
        const seen = page.events.find((e) => e.event === 'task').data.task.progress;
        assert.deepEqual([seen.phase, seen.data], ['p', { a: 1 }]);
    });

    test('has at most 4 KiB, and max_progress_data says so', async () => {
        const t = await fresh();
        const text = (bytes) => `"${'x'.repeat(bytes - 2)}"`;
        ok(await say(t, text(4096)), 200);
        problem(await say(t, text(4097)), 'too-large', '/data');
        problem(await say(t, `["${'é'.repeat(2048)}"]`), 'too-large', '/data');
        problem(await s.api(t.worker_token).text(`/v1/tasks/${t.id}/reports`, `[{"type":"progress"},{"type":"progress","data":${text(4097)}}]`), 'too-large', '/1/data');
        const o = await start({ max_progress_data: 10 });
        try {
            const u = await o.api().task(await o.api().session());
            const worker = o.api(u.worker_token);
            ok(await worker.text(`/v1/tasks/${u.id}/reports`, `{"type":"progress","data":${text(10)}}`), 200);
            problem(await worker.text(`/v1/tasks/${u.id}/reports`, `{"type":"progress","data":${text(11)}}`), 'too-large', '/data');
        } finally {
            await o.close();
        }
    });

    test('is checked as JSON, and its values are not counted', async () => {
        const t = await fresh();
        problem(await say(t, '{"a":1,"a":2}'), 'invalid-request', '/data/a');
        problem(await say(t, '"\\ud800"'), 'invalid-request', '/data');
        problem(await say(t, `${'['.repeat(64)}${']'.repeat(64)}`), 'invalid-request');
        const many = Array.from({ length: 200 }, () => ({ type: 'progress', data: Array(1000).fill(1) }));
        assert.equal((await app.reported(t, many)).state, 'running');
    });

    test('comes back with the phase after a kill', async () => {
        const o = await start();
        try {
            const t = await o.api().task(await o.api().session(), { lease: 3600 });
            const worker = o.api(t.worker_token);
            ok(await worker.text(`/v1/tasks/${t.id}/reports`, '{"type":"progress","phase":"p","data":{"a" : 1}}'), 200);
            await o.api().reported(t, { type: 'input_request', prompt: '?' }); // durable, and so is what came before
            await o.kill();
            await o.restart();
            const r = ok(await o.api().get(`/v1/tasks/${t.id}`), 200);
            assert.equal(r.json.progress.phase, 'p');
            assert.equal(dataText(r), '{"a" : 1}');
        } finally {
            await o.close();
        }
    });
});

describe('a message past 500 characters', () => {
    test('is cut there, at a whole character, and the answer says so; the rest counts', async () => {
        for (const unit of ['x', 'é', '€', '😀']) {
            const t = await fresh();
            const r = await app.reported(t, progress({ current: 3, message: unit.repeat(600) }));
            assert.deepEqual(r.truncated, ['/message']);
            const got = await shown(t);
            assert.deepEqual([got.current, got.message], [3, unit.repeat(500)]);
            assert.ok(!('truncated' in (await app.reported(t, progress({ message: unit.repeat(500) })))));
        }
    });

    test('in an array, with the place', async () => {
        const t = await fresh();
        const long = progress({ message: 'x'.repeat(501) });
        const r = await app.reported(t, [{ type: 'heartbeat' }, long, progress({ message: 'short' }), long]);
        assert.deepEqual(r.truncated, ['/1/message', '/3/message']);
        assert.deepEqual((await app.reported(t, [long])).truncated, ['/0/message']);
    });

    test('in lines, each by itself', async () => {
        const t = await fresh();
        const lines = [progress({ message: 'x'.repeat(501) }), progress({ message: 'm' }), progress({ message: 'y'.repeat(5000), phase: 'p' })];
        const want = [['/message'], undefined, ['/message']];
        assert.deepEqual((await ndjson(s.api(t.worker_token), `/v1/tasks/${t.id}/reports`, lines)).map((l) => l.truncated), want);
        const many = await ndjson(app, '/v1/reports', lines.map((l) => ({ task: t.id, ...l })));
        assert.deepEqual(many.map((l) => l.truncated), want);
        assert.equal((await shown(t)).message, 'y'.repeat(500));
    });

    test('is said again with the final report that followed it', async () => {
        const t = await fresh();
        const all = [progress({ message: 'x'.repeat(501) }), { type: 'succeed', result: 1 }];
        const first = ok(await app.report(t, all), 200);
        assert.deepEqual(first.json.truncated, ['/0/message']);
        assert.equal(ok(await app.report(t, all), 200).text, first.text);
    });

    test('nothing else is cut', async () => {
        const t = await fresh();
        problem(await app.report(t, progress({ unit: 'x'.repeat(33) })), 'invalid-request', '/unit');
        problem(await app.report(t, progress({ message: `${'x'.repeat(600)}\u0000` })), 'invalid-request', '/message');
        problem(await app.report(t, { type: 'fail', error: { type: 'x', message: 'x'.repeat(2001) } }), 'invalid-request', '/error/message');
        problem(await app.report(t, { type: 'input_request', prompt: 'x'.repeat(2001) }), 'invalid-request', '/prompt');
        assert.equal((await app.look(t)).state, 'queued');
    });
});
