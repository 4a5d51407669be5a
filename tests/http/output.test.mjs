// Section 4: GET /v1/tasks/{id}/output.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { ok, problem } from './lib/client.mjs';

let s;
let app;
before(async () => {
    s = await start();
    app = s.api();
});
after(() => s.close());

const fresh = async (members = {}) => app.task(await app.session(), members);
const path = (t, query = '') => `/v1/tasks/${t.id}/output${query}`;
const out = (t, data, more = {}) => app.reported(t, { type: 'output', data, ...more });

test('nothing yet', async () => {
    const t = await fresh();
    const r = ok(await app.get(path(t)), 200);
    assert.match(r.headers['content-type'], /^application\/octet-stream/);
    assert.equal(r.headers['bowline-output-offset'], '0');
    assert.notEqual(r.headers['bowline-output-complete'], 'true');
    assert.equal(r.text, '');
});

test('from an offset on', async () => {
    const t = await fresh();
    await out(t, 'hello world');
    for (const [query, text, offset] of [['', 'hello world', 0], ['?offset=0', 'hello world', 0], ['?offset=6', 'world', 6], ['?offset=11', '', 11], ['?offset=99', '', 11]]) {
        const r = ok(await app.get(path(t, query)), 200);
        assert.equal(r.text, text, query);
        assert.equal(r.headers['bowline-output-offset'], String(offset), query);
        assert.equal(r.headers['bowline-output-complete'], undefined);
    }
});

test('complete once no more can come', async () => {
    for (const final of [{ type: 'succeed' }, { type: 'fail', error: { type: 'x', message: 'm' } }, { type: 'cancelled' }]) {
        const t = await fresh();
        await out(t, 'abc');
        await app.reported(t, final);
        for (const query of ['', '?offset=1', '?offset=3']) {
            assert.equal(ok(await s.api(t.token).get(path(t, query)), 200).headers['bowline-output-complete'], 'true');
        }
        assert.equal((await app.look(t)).output_bytes, 3);
    }
});

test('waits for more', async () => {
    const t = await fresh();
    await out(t, 'abc');
    ok(await app.get(path(t), { prefer: 'wait=60' }), 200);
    const [waiting] = await app.begun(() => app.get(path(t, '?offset=3'), { prefer: 'wait=30' }));
    await out(t, 'def');
    const r = ok(await waiting, 200);
    assert.deepEqual([r.text, r.headers['bowline-output-offset']], ['def', '3']);
    const empty = ok(await app.get(path(t, '?offset=6'), { prefer: 'wait=1' }), 200);
    assert.equal(empty.text, '');
    const [last] = await app.begun(() => app.get(path(t, '?offset=6'), { prefer: 'wait=30' }));
    await app.reported(t, { type: 'succeed' });
    const end = ok(await last, 200);
    assert.deepEqual([end.text, end.headers['bowline-output-complete']], ['', 'true']);
    ok(await app.get(path(t, '?offset=6'), { prefer: 'wait=60' }), 200);
});

test('reading in pieces while it is written gives the whole', async () => {
    const t = await fresh();
    let wrote = '';
    const writer = (async () => {
        for (let i = 0; i < 60; i++) {
            const data = `${i}:${'y'.repeat((i * 37) % 900)}\n`;
            wrote += data;
            await out(t, data);
        }
        await app.reported(t, { type: 'succeed' });
    })();
    let got = '';
    for (;;) {
        const r = ok(await app.get(path(t, `?offset=${got.length}`), { prefer: 'wait=20' }), 200);
        assert.equal(Number(r.headers['bowline-output-offset']), got.length);
        got += r.text;
        if (r.headers['bowline-output-complete'] === 'true') {
            break;
        }
    }
    await writer;
    assert.equal(got, wrote);
});

test('bytes are bytes', async () => {
    const t = await fresh();
    const bytes = Buffer.from([0, 255, 128, 10, 13, 0]);
    await app.reported(t, { type: 'output', data_base64: bytes.toString('base64') });
    await out(t, 'é😀\u0000');
    assert.deepEqual(ok(await app.get(path(t)), 200).bytes, Buffer.concat([bytes, Buffer.from('é😀\u0000')]));
    assert.equal((await app.look(t)).output_bytes, 6 + 7);
});

const chunk = Array.from({ length: 8000 }, (_, i) => String(i).padStart(7, '0') + '\n').join('');

test('all that is kept comes in one answer, by default', async () => {
    const t = await fresh();
    for (let i = 0; i < 300; i++) {
        await out(t, chunk);
    }
    const running = ok(await app.get(path(t)), 200);
    assert.equal(running.headers['bowline-output-complete'], undefined);
    await app.reported(t, { type: 'succeed' });
    const kept = 16 * 1024 * 1024;
    const from = 300 * chunk.length - kept;
    for (const r of [running, ok(await s.api(t.token).get(path(t)), 200)]) {
        assert.equal(Number(r.headers['bowline-output-offset']), from);
        assert.equal(r.bytes.length, kept);
        assert.ok(r.text === chunk.repeat(300).slice(from));
    }
    const rest = ok(await app.get(path(t, `?offset=${from + 5}`)), 200);
    assert.equal(rest.headers['bowline-output-complete'], 'true');
    assert.ok(rest.text === chunk.repeat(300).slice(from + 5));
});

test('where more is kept the reader goes on until it is complete', async () => {
    const o = await start({ max_output_per_task: 64 * 1024 * 1024 });
    try {
        const api = o.api();
        const t = await api.task(await api.session());
        const whole = chunk.repeat(320);
        for (let i = 0; i < whole.length; i += 4 * 1024 * 1024) {
            await api.reported(t, { type: 'output', data: whole.slice(i, i + 4 * 1024 * 1024) });
        }
        await api.reported(t, { type: 'succeed' });
        const parts = [];
        for (let have = 0, complete; complete !== 'true'; ) {
            const r = ok(await api.get(path(t, `?offset=${have}`)), 200);
            assert.equal(Number(r.headers['bowline-output-offset']), have);
            parts.push(r.bytes);
            have += r.bytes.length;
            complete = r.headers['bowline-output-complete'];
        }
        assert.deepEqual(parts.map((p) => p.length), [16 * 1024 * 1024, whole.length - 16 * 1024 * 1024]);
        assert.ok(Buffer.concat(parts).toString() === whole);
    } finally {
        await o.close();
    }
});

test('written in many small pieces, it comes as a whole', async () => {
    const t = await fresh();
    const lines = Array.from({ length: 10000 }, (_, i) => `line ${i}\n`);
    for (let i = 0; i < lines.length; i += 1000) {
        await app.reported(t, lines.slice(i, i + 1000).map((data) => ({ type: 'output', data })));
    }
    await app.reported(t, { type: 'succeed' });
    const r = ok(await app.get(path(t, '?offset=5')), 200);
    assert.equal(r.headers['bowline-output-complete'], 'true');
    assert.equal(r.text, lines.join('').slice(5));
});

test('HEAD gives the headers', async () => {
    const t = await fresh();
    await out(t, 'abc');
    const r = ok(await app.call('HEAD', path(t)), 200);
    assert.equal(r.text, '');
    assert.equal(r.headers['bowline-output-offset'], '0');
});

test('what is kept is bounded, and dropped from the front', async () => {
    const o = await start({ max_output_per_task: 65536 });
    try {
        const api = o.api();
        const t = await api.task(await api.session());
        let all = '';
        for (let i = 0; i < 50; i++) {
            const data = `${String(i).padStart(5, '0')}${'z'.repeat(4990)}\n`;
            all += data;
            await api.reported(t, { type: 'output', data });
        }
        const r = ok(await api.get(`/v1/tasks/${t.id}/output`), 200);
        const from = Number(r.headers['bowline-output-offset']);
        assert.ok(from > 0, 'the front is gone');
        let text = r.text;
        while (from + text.length < all.length) {
            text += ok(await api.get(`/v1/tasks/${t.id}/output?offset=${from + text.length}`), 200).text;
        }
        assert.ok(text.length <= 65536 + 5000 && text.length >= 32768, `${text.length} kept`);
        assert.equal(text, all.slice(from));
        assert.equal((await api.look(t)).output_bytes, all.length);
        const e = await o.api(t.token).events(`/v1/tasks/${t.id}/events`);
        await e.live();
        e.close();
        const shown = e.items.filter((i) => i.event === 'output');
        assert.ok(shown[0].data.offset >= from);
        assert.equal(shown.map((i) => i.data.data).join(''), all.slice(shown[0].data.offset));
        problem(await api.report(t, { type: 'output', data: 'x', offset: all.length + 1 }), 'output-gap');
        assert.equal((await api.reported(t, { type: 'output', data: 'x', offset: all.length })).output_offset, all.length + 1);
    } finally {
        await o.close();
    }
});
