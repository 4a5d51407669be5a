// HEAD of every GET route, with every credential and in every state, beside GET at the same moment: the same status and headers, never a body, never a wait.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { apiKey, start } from './lib/server.mjs';
import { ok, until } from './lib/client.mjs';
import { claims, hs256, nowS, tampered } from './lib/jwt.mjs';
import { connect } from './lib/raw.mjs';

const SECRET = 'head-and-body-of-the-same-thing-0123456789';
const NEVER = { session: 'ses_01ARZ3NDEKTSV4RRFFQ69G5FAV', task: 'tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV' };
const LONG = 'x'.repeat(3000); // enough to be compressed

let s;
let app;
let demo;
before(async () => {
    demo = mkdtempSync(join(tmpdir(), 'bowline-head-'));
    writeFileSync(join(demo, 'index.html'), '<!doctype html>');
    s = await start({ jwt_secrets: `hs256:${SECRET}`, api_keys: ['backend', 'worker', 'operator'].map((role) => `${role}:${role}:${apiKey(role)}`).join(','), session_kinds: { report: {} },
        allowed_origins: 'https://app.example', max_watchers_per_session: 3, demo });
    app = s.api();
});
after(async () => {
    await s.close();
    rmSync(demo, { recursive: true });
});

/** The head of an answer, as it stands on the wire, and whether anything came behind it. */
async function headOf(method, path, headers, { server = s } = {}) {
    const c = await connect(server);
    const fields = Object.entries({ host: server.host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`).join('');
    c.write(`${method} ${path} HTTP/1.1\r\n${fields}\r\n${method === 'HEAD' ? `GET /healthz HTTP/1.1\r\nHost: ${server.host}\r\nConnection: close\r\n\r\n` : ''}`);
    const { status, headers: got } = await c.response({ head: true });
    if (method === 'HEAD') { // then comes the answer to the next request, or the end, and nothing else
        if (/close/i.test(got.connection ?? '')) {
            await c.end();
        } else {
            ok(await c.response(), 200);
            await c.end();
        }
        assert.equal(c.bytes.length, 0, `HEAD ${path} has a body: ${c.bytes.toString('latin1').slice(0, 200)}`);
    }
    c.destroy();
    return { status, headers: got };
}

/** Both, one after the other; what HEAD says must be what GET says. */
async function compare(path, headers = {}, { server = s, lengthVaries = false } = {}) {
    const head = await headOf('HEAD', path, headers, { server });
    const get = await headOf('GET', path, headers, { server });
    const what = `${path} ${JSON.stringify(headers)}: HEAD ${JSON.stringify(head)}, GET ${JSON.stringify(get)}`;
    assert.equal(head.status, get.status, what);
    if (lengthVaries || !('content-length' in head.headers)) {
        delete head.headers['content-length'];
        delete get.headers['content-length'];
    }
    delete head.headers.date;
    delete get.headers.date;
    assert.deepEqual(head.headers, get.headers, what);
    return get;
}

async function world() {
    const a = await app.session({ key: `app-${Math.random()}`, metadata: { long: LONG } });
    const task = (members) => app.task(a, members);
    const states = { queued: await task(), waiting: await task({ queue: 'q' }), running: await task({ input: { long: LONG } }), asking: await task(), succeeded: await task(), large: await task(), failed: await task(), cancelled: await task(), gone: await task() };
    await app.reported(states.running, [{ type: 'progress', current: 1, message: LONG.slice(0, 400) }, { type: 'output', data: LONG }]);
    await app.reported(states.asking, { type: 'input_request', prompt: 'Go on?' });
    await app.reported(states.succeeded, [{ type: 'output', data: 'done\n' }, { type: 'succeed', result: { ok: true } }]);
    await app.reported(states.large, { type: 'succeed', result: LONG.repeat(10) });
    await app.reported(states.failed, { type: 'fail', error: { type: 'no' } });
    await app.reported(states.cancelled, { type: 'cancelled' });
    await app.reported(states.gone, { type: 'succeed' });
    ok(await app.delete(`/v1/tasks/${states.gone.id}`), 204);
    return { a, states };
}

/** Sessions in every state, each with its token. */
async function sessions() {
    const active = await app.session();
    const rotated = await app.session();
    ok(await app.post(`/v1/sessions/${rotated.id}/rotate`), 200);
    const dead = await app.session();
    ok(await app.post(`/v1/sessions/${dead.id}/rotate`), 200);
    ok(await app.post(`/v1/sessions/${dead.id}/rotate`), 200);
    const ended = await app.session();
    ok(await app.delete(`/v1/sessions/${ended.id}`), 200);
    return { active, rotated, dead, ended };
}

/** Routes whose answers are of the time: figures, and how old the oldest is. */
const varies = (path) => path === '/metrics' || path.startsWith('/v1/queues');

const bearer = (token) => ({ authorization: `Bearer ${token}` });

async function routes() {
    const { paths } = ok(await app.get('/openapi.json'), 200).json;
    const list = Object.entries(paths).filter(([, operations]) => operations.get).map(([path]) => path);
    assert.ok(list.length >= 19, list.join());
    return list;
}

test('every route, with every credential, in every state', { timeout: 600_000 }, async () => {
    const { a, states } = await world();
    const others = await sessions();
    const jwt = (more) => hs256(SECRET, claims({ sid: `of-jwt-${a.id}`, ...more }));
    const credentials = {
        none: {},
        'a key with every role': bearer(s.key),
        ...Object.fromEntries(['backend', 'worker', 'operator'].map((role) => [role, bearer(apiKey(role))])),
        'an unknown key': bearer('blk_unknown'),
        session: bearer(a.token),
        'forged session': bearer(tampered(a.token)),
        ...Object.fromEntries(Object.entries(others).map(([state, { token }]) => [`session, ${state}`, bearer(token)])),
        JWT: bearer(jwt()),
        'JWT that is over': bearer(jwt({ iat: nowS() - 7200, exp: nowS() - 3600 })),
        cookie: { cookie: `bowline=${a.token}` },
        'two cookies': { cookie: `bowline=${a.token}; bowline=${a.token}` },
        'cookie of an ended session': { cookie: `bowline=${others.ended.token}` },
        'of another origin': { ...bearer(a.token), origin: 'https://app.example' },
    };
    let compared = 0;
    const seen = new Set();
    for (const path of await routes()) {
        const places = path.includes('{task}') ? [...Object.values(states).map((t) => [t.id, { watch: bearer(t.token), worker: t.worker_token ? bearer(t.worker_token) : {} }]), [NEVER.task, {}], ['tsk_x', {}]]
            : path.includes('{session}') ? [a.id, ...Object.values(others).map((o) => o.id), NEVER.session, 'ses_x'].map((id) => [id, {}])
                : [[undefined, {}]];
        const feed = path.endsWith('/events');
        for (const [id, own] of places) {
            const at = path.replace(/\{\w+\}/, id);
            for (const headers of Object.values({ ...credentials, ...own })) {
                const wanted = feed ? ['text/event-stream', 'application/json'] : ['*/*'];
                for (const accept of wanted) {
                    const { status } = await compare(at, { accept, ...headers }, { lengthVaries: varies(path) });
                    seen.add(`${path} ${status}`);
                    compared++;
                }
            }
        }
    }
    for (const path of await routes()) {
        assert.ok(seen.has(`${path} 200`), path);
    }
    for (const status of ['/v1/session/events 204', '/v1/tasks/{task}/result 202', '/v1/tasks/{task}/result 409', '/v1/tasks/{task} 410', '/v1/tasks/{task}/events 410', '/v1/sessions/{session} 403', '/v1/session 400']) {
        assert.ok(seen.has(status), status);
    }
    assert.ok(compared > 1000, String(compared));
});

test('whatever a request asks for', async () => {
    const { a, states } = await world();
    const key = bearer(s.key);
    const t = states.running;
    const { version } = await app.look(t);
    const cases = [
        [`/v1/tasks/${t.id}`, { 'if-none-match': `"${version}"` }], [`/v1/tasks/${t.id}`, { 'if-none-match': '"1"', prefer: 'wait=60' }], [`/v1/tasks/${states.succeeded.id}`, { 'if-none-match': '*', prefer: 'wait=60' }],
        [`/v1/tasks/${t.id}`, { 'accept-encoding': 'gzip' }], [`/v1/tasks/${t.id}/input`, { 'accept-encoding': 'gzip' }], [`/v1/tasks/${states.large.id}/result`, { 'accept-encoding': 'gzip' }], ['/openapi.json', { 'accept-encoding': 'gzip' }],
        [`/v1/tasks?session=${a.id}`, { 'accept-encoding': 'gzip' }], [`/v1/tasks?session=${a.id}&limit=2`, {}], ['/v1/tasks?limit=0', {}], ['/v1/tasks?nope=1', {}], ['/v1/sessions?user=nobody', {}], ['/v1/queues?limit=1', {}],
        [`/v1/tasks/${t.id}/output`, {}], [`/v1/tasks/${t.id}/output?offset=10`, { prefer: 'wait=60' }], [`/v1/tasks/${t.id}/output?offset=x`, {}], [`/v1/tasks/${states.succeeded.id}/output?offset=99`, { prefer: 'wait=60' }], [`/v1/tasks/${t.id}/output?offset=9999`, {}],
        [`/v1/tasks/${t.id}/output`, { accept: 'application/json' }], [`/v1/tasks/${t.id}`, { accept: 'text/html' }], ['/metrics', { accept: 'text/plain' }], ['/metrics', { accept: 'image/png' }], ['/healthz', { accept: 'image/png' }],
        ['/', {}], ['/demo', {}], ['/demo/', {}], ['/demo/index.html', {}], ['/demo/none.html', {}], ['/nowhere', {}], ['/v1/reports', {}], [`/v1/tasks/${t.id}/cancel`, {}], ['/v1/info', { host: 'evil.example' }],
        ['/v1/info', { origin: 'https://app.example' }], ['/v1/info', { origin: 'https://evil.example' }], [`/v1/sessions/${a.id}`, { 'content-length': '0' }],
    ];
    const feed = `/v1/sessions/${a.id}/events`;
    const { cursor } = ok(await app.page(feed), 200).json;
    const end = ok(await app.page(`/v1/tasks/${states.succeeded.id}/events`), 200).json.cursor;
    for (const accept of ['text/event-stream', 'application/json', '*/*', 'text/html']) {
        for (const path of [feed, `${feed}?after=${cursor}`, `${feed}?after=nonsense`, `${feed}?output=1`, `${feed}?output=2`, `/v1/tasks/${states.succeeded.id}/events`, `/v1/tasks/${states.succeeded.id}/events?after=${end}`, `/v1/tasks/${states.gone.id}/events?after=${end}`]) {
            cases.push([path, { accept }], [path, { accept, 'accept-encoding': 'gzip', origin: 'https://app.example' }]);
        }
        cases.push([feed, { accept, 'last-event-id': 'x' }], [feed, { accept, prefer: 'wait=60' }]);
    }
    for (const [path, headers] of cases) {
        await compare(path, { ...key, ...headers }, { lengthVaries: varies(path) });
    }
});

test('the credential in the query counts on feeds, for HEAD as for GET, and nowhere else', async () => {
    const { a, states } = await world();
    const t = states.running;
    const others = await sessions();
    for (const accept of ['text/event-stream', 'application/json']) {
        const expect = async (path, status) => assert.equal((await compare(path, { accept })).status, status, path);
        await expect(`/v1/session/events?access_token=${a.token}`, 200);
        await expect(`/v1/tasks/${t.id}/events?access_token=${t.token}`, 200);
        await expect(`/v1/tasks/${t.id}/events?access_token=${a.token}`, 200);
        await expect(`/v1/session/events?access_token=${tampered(a.token)}`, 401);
        await expect(`/v1/sessions/${a.id}/events?access_token=${s.key}`, 401);
        await expect(`/v1/tasks/${t.id}/events?access_token=${t.worker_token}`, 401);
        await expect(`/v1/session/events?access_token=${others.ended.token}`, 204);
        await expect(`/v1/session/events?access_token=${others.rotated.token}`, accept === 'text/event-stream' ? 200 : 401);
        await expect(`/v1/session/events?access_token=${others.dead.token}`, 401);
        await expect(`/v1/session?access_token=${a.token}`, 401);
    }
    const other = await s.api(tampered(a.token)).call('HEAD', `/v1/session/events?access_token=${a.token}`);
    assert.equal(other.status, 401, 'the header comes first');
});

test('it opens nothing: watchers are not counted, and not one is disturbed', async () => {
    const a = await app.session();
    const t = await app.task(a);
    const mine = s.api(a.token);
    const feed = '/v1/session/events';
    for (let i = 0; i < 10; i++) {
        for (const accept of ['text/event-stream', 'application/json']) {
            ok(await mine.call('HEAD', feed, { headers: { accept, prefer: 'wait=60' } }), 200);
        }
    }
    const watching = [await mine.events(feed), await mine.events(feed), await s.api(t.token).events(`/v1/tasks/${t.id}/events`)];
    await Promise.all(watching.map((e) => e.live()));
    // one more is too many, each in its own way
    for (const headers of [{ accept: 'text/event-stream' }, { accept: 'application/json' }, { accept: 'application/json', prefer: 'wait=1' }]) {
        const { status, headers: got } = await compare(feed, { ...bearer(a.token), ...headers });
        assert.equal(status, headers.prefer ? 429 : 200);
        assert.equal(got['content-type'], headers.prefer ? 'application/problem+json' : headers.accept);
    }
    await app.reported(t, { type: 'progress', current: 5 });
    for (const e of watching) {
        await e.task(t.id, (x) => x.progress.current === 5);
        e.close();
    }
});

describe('it never waits', () => {
    test('where GET would', async () => {
        const { a, states } = await world();
        const { version } = await app.look(states.running);
        const { cursor } = ok(await app.page(`/v1/sessions/${a.id}/events`), 200).json;
        const waits = [
            [s.key, `/v1/tasks/${states.running.id}`, { 'if-none-match': `"${version}"` }, 304],
            [s.key, `/v1/tasks/${states.running.id}/output?offset=3000`, {}, 200],
            [states.running.worker_token, `/v1/tasks/${states.running.id}/control`, {}, 200],
            [a.token, `/v1/session/events?after=${cursor}`, { accept: 'application/json' }, 200],
            [s.key, `/v1/sessions/${a.id}/events?after=${cursor}`, { accept: 'application/json' }, 200],
            [states.queued.token, `/v1/tasks/${states.queued.id}/events?after=${ok(await app.page(`/v1/tasks/${states.queued.id}/events`), 200).json.cursor}`, { accept: 'application/json' }, 200],
        ];
        for (const [token, path, headers, status] of waits) {
            const before_ = await app.metric('bowline_commands_total');
            const head = await headOf('HEAD', path, { ...bearer(token), ...headers, prefer: 'wait=60' });
            assert.equal(head.status, status, path);
            assert.ok(await app.metric('bowline_commands_total') > before_);
            const now = await headOf('GET', path, { ...bearer(token), ...headers, prefer: 'wait=0' });
            assert.equal(now.status, status, path);
            for (const name of ['etag', 'content-type', 'bowline-output-offset', 'preference-applied', 'cache-control']) {
                assert.equal(head.headers[name], now.headers[name], `${name} of ${path}`);
            }
        }
    });
});

test('while the server stops, readiness is refused to HEAD as to GET', async () => {
    const o = await start({ drain_time: 5 });
    try {
        const a = await o.api().session();
        const e = await o.api(a.token).events('/v1/session/events');
        await e.live();
        o.child.kill('SIGTERM');
        const asked = await until(async () => {
            const head = await headOf('HEAD', '/readyz', { connection: 'close' }, { server: o }).catch(() => null); // one that was idle when it began is closed
            return head?.status === 503 && head;
        }, 'readiness to be refused');
        assert.equal(asked.headers['content-type'], 'application/problem+json');
        assert.match(asked.headers['retry-after'], /^\d+$/);
        await o.exited;
    } finally {
        await o.close();
    }
});

test('a request that is refused before it is understood gets no body either', async () => {
    const c = await connect(s);
    c.write(`HEAD /v1/info HTTP/1.1\r\nHost: ${s.host}\r\nX : y\r\n\r\n`);
    assert.equal((await c.response({ head: true })).status, 400);
    await c.end();
    assert.equal(c.bytes.length, 0);
});
