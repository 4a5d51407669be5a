// Idempotency-Key (section 1).
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { apiKey, start } from './lib/server.mjs';
import { ok, problem, question, until } from './lib/client.mjs';

let s;
let app;
let number = 0;
const fresh = () => ({ 'idempotency-key': `key-${++number}` });
before(async () => {
    s = await start({ api_keys: `second:backend:${apiKey('second')}`, session_kinds: { report: { queue: 'reports' } } });
    app = s.api();
});
after(() => s.close());

test('the first 2xx is given again', async () => {
    const key = fresh();
    const first = ok(await app.post('/v1/sessions', { user: 'i-1' }, key), 201);
    for (let i = 0; i < 3; i++) {
        const again = ok(await app.post('/v1/sessions', { user: 'i-1' }, key), 201);
        assert.equal(again.text, first.text);
        assert.equal(again.headers['content-type'], first.headers['content-type']);
    }
    assert.equal((await app.get('/v1/sessions?user=i-1')).json.items.length, 1);
});

test('a task is made once, with the same tokens and Location', async () => {
    const a = await app.session();
    const key = fresh();
    const body = { session: a.id, kind: 'work' };
    const first = ok(await app.post('/v1/tasks', body, key), 202);
    const again = ok(await app.post('/v1/tasks', body, key), 202);
    assert.equal(again.text, first.text);
    assert.equal(again.headers.location, first.headers.location);
    await app.reported(first.json, { type: 'progress', current: 1 });
    assert.equal(ok(await app.post('/v1/tasks', body, key), 202).text, first.text, 'also when the task has moved on');
    assert.equal((await app.get(`/v1/tasks?session=${a.id}`)).json.items.length, 1);
});

test('another body is refused, byte by byte', async () => {
    const key = fresh();
    ok(await app.text('/v1/sessions', '{"user":"i-2"}', key), 201);
    problem(await app.text('/v1/sessions', '{"user":"i-3"}', key), 'idempotency-mismatch');
    problem(await app.text('/v1/sessions', '{"user": "i-2"}', key), 'idempotency-mismatch');
    problem(await app.text('/v1/sessions', '', key), 'idempotency-mismatch');
    ok(await app.text('/v1/sessions', '{"user":"i-2"}', key), 201);
});

test('a refusal is not kept', async () => {
    const key = fresh();
    problem(await app.post('/v1/sessions', { nope: 1 }, key), 'invalid-request');
    ok(await app.post('/v1/sessions', { user: 'i-4' }, key), 201);
    const a = await app.session();
    const late = fresh();
    const t = await app.task(a);
    problem(await app.post(`/v1/tasks/${t.id}/answer`, { request: 'x', answer: 1 }, late), 'invalid-transition');
    await app.reported(t, { type: 'input_request', prompt: 'now?' });
    const request = question(await app.look(t));
    ok(await app.post(`/v1/tasks/${t.id}/answer`, { request, answer: 1 }, late), 200);
});

test('its scope is the credential, the method and the path', async () => {
    const key = fresh();
    const second = s.api(apiKey('second'));
    const a = ok(await app.post('/v1/sessions', {}, key), 201).json;
    const b = ok(await second.post('/v1/sessions', {}, key), 201).json;
    assert.notEqual(a.id, b.id);
    ok(await app.post(`/v1/sessions/${a.id}/touch`, {}, key), 200);
    ok(await app.post(`/v1/sessions/${a.id}/rotate`, {}, key), 200);
    ok(await app.post(`/v1/sessions/${b.id}/rotate`, { user: 'other' }, key), 200);
});

test('the key is taken literally', async () => {
    const a = ok(await app.post('/v1/sessions', {}, { 'idempotency-key': 'lit' }), 201).json;
    const b = ok(await app.post('/v1/sessions', {}, { 'idempotency-key': '"lit"' }), 201).json;
    const c = ok(await app.post('/v1/sessions', {}, { 'idempotency-key': 'LIT' }), 201).json;
    assert.equal(new Set([a.id, b.id, c.id]).size, 3);
});

test('1 to 255 bytes', async () => {
    ok(await app.post('/v1/sessions', {}, { 'idempotency-key': 'x'.repeat(255) }), 201);
    problem(await app.post('/v1/sessions', {}, { 'idempotency-key': 'x'.repeat(256) }), 'invalid-request');
    problem(await app.post('/v1/sessions', {}, { 'idempotency-key': '' }), 'invalid-request');
});

test('requests that arrive together have one effect and one answer', async () => {
    const key = fresh();
    const a = await app.session();
    const answers = await Promise.all(Array.from({ length: 20 }, () => app.post('/v1/tasks', { session: a.id, kind: 'work' }, key)));
    assert.equal(new Set(answers.map((r) => ok(r, 202).text)).size, 1);
    assert.equal((await app.get(`/v1/tasks?session=${a.id}`)).json.items.length, 1);
});

test('reports and claims refuse it', async () => {
    const t = await app.task(await app.session());
    problem(await s.api(t.worker_token).post(`/v1/tasks/${t.id}/reports`, { type: 'heartbeat' }, fresh()), 'invalid-request');
    problem(await app.post('/v1/reports', '', fresh()), 'invalid-request');
    problem(await app.post('/v1/queues/q/claim', {}, fresh()), 'invalid-request');
    assert.equal((await app.look(t)).state, 'queued');
});

test('rotate is done once', async () => {
    const a = await app.session();
    const key = fresh();
    const first = ok(await app.post(`/v1/sessions/${a.id}/rotate`, {}, key), 200);
    const again = ok(await app.post(`/v1/sessions/${a.id}/rotate`, {}, key), 200);
    assert.equal(again.json.token, first.json.token);
    ok(await s.api(first.json.token).get('/v1/session'), 200);
});

test('merge, bind, cancel and end of it all', async () => {
    const [a, b, c] = [await app.session(), await app.session(), await app.session()];
    const t = await app.task(a);
    const [k1, k2, k3] = [fresh(), fresh(), fresh()];
    const bound = ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: b.id }, k1), 200);
    assert.equal(ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: b.id }, k1), 200).text, bound.text);
    const cancelled = ok(await app.post(`/v1/tasks/${t.id}/cancel`, { reason: 'enough' }, k2), 200);
    assert.equal(ok(await app.post(`/v1/tasks/${t.id}/cancel`, { reason: 'enough' }, k2), 200).text, cancelled.text, 'not task-ended');
    const merged = ok(await app.post(`/v1/sessions/${b.id}/merge`, { into: c.id }, k3), 200);
    assert.equal(ok(await app.post(`/v1/sessions/${b.id}/merge`, { into: c.id }, k3), 200).text, merged.text);
});

test('a double click starts one task, also across a rotation', async () => {
    const a = await app.session();
    const key = fresh();
    const first = ok(await s.api(a.token).post('/v1/session/tasks', { kind: 'report' }, key), 202);
    assert.equal(ok(await s.api(a.token).post('/v1/session/tasks', { kind: 'report' }, key), 202).text, first.text);
    const { token } = ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200).json;
    problem(await s.api(a.token).post('/v1/session/tasks', { kind: 'report' }, key), 'unauthenticated');
    assert.equal(ok(await s.api(token).post('/v1/session/tasks', { kind: 'report' }, key), 202).json.id, first.json.id);
    const b = await app.session();
    assert.notEqual(ok(await s.api(b.token).post('/v1/session/tasks', { kind: 'report' }, key), 202).json.id, first.json.id);
});

test('on other methods it means nothing', async () => {
    const key = fresh();
    const a = await app.session();
    ok(await app.get(`/v1/sessions/${a.id}`, key), 200);
    ok(await app.delete(`/v1/sessions/${a.id}`, key), 200);
    assert.equal(ok(await app.delete(`/v1/sessions/${a.id}`, key), 200).json.state, 'ended');
});

describe('with a short memory', () => {
    let o;
    before(async () => {
        o = await start({ idempotency_ttl: 1 });
    });
    after(() => o.close());

    test('a key is forgotten after its time', async () => {
        const key = fresh();
        const first = ok(await o.api().post('/v1/sessions', {}, key), 201).json.id;
        await until(async () => ok(await o.api().post('/v1/sessions', {}, key), 201).json.id !== first, 'the key to be forgotten');
    });
});
