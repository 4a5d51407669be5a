// Places where two rules meet: each was wrong once.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { request } from 'undici';
import { start } from './lib/server.mjs';
import { ok, problem, until } from './lib/client.mjs';

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
