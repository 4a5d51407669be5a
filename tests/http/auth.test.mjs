// Section 2: who may do what. Every route is tried with every credential.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import WebSocket from 'ws';
import { apiKey, run, start } from './lib/server.mjs';
import { ok, problem, question, until } from './lib/client.mjs';
import { claims, eddsa, hs256, nowS, tampered, unsigned } from './lib/jwt.mjs';

const secret = 'a-secret-of-the-application-that-is-long-enough';
const rolled = 'another-secret-of-the-application-that-is-long';
const pair = generateKeyPairSync('ed25519');
const publicKey = pair.publicKey.export({ format: 'jwk' }).x;
const roles = ['backend', 'worker', 'operator'];

let s;
let app;
before(async () => {
    s = await start({
        api_keys: roles.map((r) => `${r}-key:${r}:${apiKey(r)}`).join(','), jwt_secrets: `${secret},new:${rolled}`, jwt_public_keys: publicKey,
        session_kinds: { report: { queue: 'reports' } }, allowed_origins: 'https://app.example', log_level: 'debug',
    });
    app = s.api();
});
after(() => s.close());

/** The status of a WebSocket upgrade. */
const upgrade = (server, headers, path = '/v1/session/events') => new Promise((done) => {
    const ws = new WebSocket(`ws://${server.host}${path}`, 'bowline.v1', { headers });
    ws.on('open', () => {
        ws.terminate();
        done(101);
    });
    ws.on('unexpected-response', (_, r) => {
        done(r.statusCode);
        r.destroy();
    });
    ws.on('error', () => {});
});

// ---- the matrix ----

/** A fresh little world per call: a session with a task that waits, one that runs and asks, one that has ended; and somebody else's. */
async function world() {
    const make = async () => {
        const sid = `w-${Math.random()}`;
        const session = await app.session({ key: sid });
        const task = await app.task(session, { input: { a: 1 } });
        return { session, task, jwt: hs256(secret, claims({ sid })) };
    };
    const [mine, other] = [await make(), await make()];
    return { ...mine, other };
}

async function asking(w) {
    await app.reported(w.task, { type: 'input_request', prompt: 'ok?' });
    return { request: question(await app.look(w.task)), answer: 1 };
}

async function running(w) {
    const queue = `q-${w.session.id.toLowerCase()}`;
    await app.task(w.session, { queue });
    return { token: (await app.claimed(queue))[0].worker_token };
}

// may: who gets which status; everybody else is 403. `own` says what the route is about.
const everyOf = (status, ...who) => Object.fromEntries(who.map((n) => [n, status]));
const routes = [
    { name: 'create session', method: 'POST', path: () => '/v1/sessions', body: () => ({}), may: everyOf(201, 'backend') },
    { name: 'list sessions', method: 'GET', path: () => '/v1/sessions', may: everyOf(200, 'backend', 'operator') },
    { name: 'get session', method: 'GET', path: (w) => `/v1/sessions/${w.session.id}`, may: everyOf(200, 'backend', 'operator') },
    { name: 'touch', method: 'POST', path: (w) => `/v1/sessions/${w.session.id}/touch`, may: everyOf(200, 'backend') },
    { name: 'rotate', method: 'POST', path: (w) => `/v1/sessions/${w.session.id}/rotate`, may: everyOf(200, 'backend') },
    { name: 'merge', method: 'POST', path: (w) => `/v1/sessions/${w.session.id}/merge`, body: (w) => ({ into: w.other.session.id }), may: everyOf(200, 'backend') },
    { name: 'end session', method: 'DELETE', path: (w) => `/v1/sessions/${w.session.id}`, may: everyOf(200, 'backend', 'operator') },
    { name: 'own session', method: 'GET', path: () => '/v1/session', may: everyOf(200, 'session', 'jwt', 'otherSession', 'otherJwt') },
    { name: 'end own session', method: 'DELETE', path: () => '/v1/session', may: everyOf(200, 'session', 'jwt', 'otherSession', 'otherJwt') },
    { name: 'own tasks', method: 'GET', path: () => '/v1/session/tasks', may: everyOf(200, 'session', 'jwt', 'otherSession', 'otherJwt') },
    { name: 'start own task', method: 'POST', path: () => '/v1/session/tasks', body: () => ({ kind: 'report' }), may: everyOf(202, 'session', 'jwt', 'otherSession', 'otherJwt') },
    { name: 'own feed', method: 'GET', path: () => '/v1/session/events', accept: 'application/json', may: everyOf(200, 'session', 'jwt', 'otherSession', 'otherJwt') },
    { name: 'feed of a session', method: 'GET', path: (w) => `/v1/sessions/${w.session.id}/events`, accept: 'application/json', may: everyOf(200, 'backend', 'operator') },
    { name: 'create task', method: 'POST', path: () => '/v1/tasks', body: (w) => ({ session: w.session.id, kind: 'work' }), may: everyOf(202, 'backend') },
    { name: 'list tasks', method: 'GET', path: () => '/v1/tasks', may: everyOf(200, 'backend', 'operator') },
    { name: 'get task', task: true, method: 'GET', path: (w) => `/v1/tasks/${w.task.id}`, may: everyOf(200, 'backend', 'operator', 'session', 'watch', 'jwt') },
    { name: 'result', task: true, method: 'GET', path: (w) => `/v1/tasks/${w.task.id}/result`, may: everyOf(202, 'backend', 'operator', 'session', 'watch', 'jwt') },
    { name: 'output', task: true, method: 'GET', path: (w) => `/v1/tasks/${w.task.id}/output`, may: everyOf(200, 'backend', 'operator', 'session', 'watch', 'jwt') },
    { name: 'input', task: true, method: 'GET', path: (w) => `/v1/tasks/${w.task.id}/input`, may: everyOf(200, 'backend', 'operator', 'worker') },
    { name: 'cancel', task: true, method: 'POST', path: (w) => `/v1/tasks/${w.task.id}/cancel`, body: () => ({}), may: everyOf(200, 'backend', 'operator', 'session', 'watch', 'jwt') },
    { name: 'answer', task: true, method: 'POST', path: (w) => `/v1/tasks/${w.task.id}/answer`, prepare: asking, body: (w, x) => x, may: everyOf(200, 'backend', 'session', 'watch', 'jwt') },
    { name: 'seen', task: true, method: 'POST', path: (w) => `/v1/tasks/${w.task.id}/seen`, prepare: (w) => app.reported(w.task, { type: 'succeed' }), may: everyOf(200, 'session', 'watch', 'jwt') },
    { name: 'bind', task: true, method: 'POST', path: (w) => `/v1/tasks/${w.task.id}/bind`, body: (w) => ({ session: w.other.session.id }), may: everyOf(200, 'backend') },
    { name: 'watch token', task: true, method: 'POST', path: (w) => `/v1/tasks/${w.task.id}/token`, may: everyOf(200, 'backend') },
    { name: 'forget', task: true, method: 'DELETE', path: (w) => `/v1/tasks/${w.task.id}`, prepare: (w) => app.reported(w.task, { type: 'succeed' }), may: everyOf(204, 'backend') },
    { name: 'report', task: true, method: 'POST', path: (w) => `/v1/tasks/${w.task.id}/reports`, body: () => ({ type: 'heartbeat' }), may: everyOf(200, 'worker', 'workerKey') },
    { name: 'control', task: true, method: 'GET', path: (w) => `/v1/tasks/${w.task.id}/control`, may: everyOf(200, 'worker') },
    { name: 'feed of a task', task: true, method: 'GET', path: (w) => `/v1/tasks/${w.task.id}/events`, accept: 'application/json', may: everyOf(200, 'backend', 'operator', 'session', 'watch', 'jwt') },
    { name: 'reports of many', method: 'POST', path: () => '/v1/reports', type: 'application/x-ndjson', body: () => '', may: everyOf(200, 'workerKey') },
    { name: 'claim', method: 'POST', path: () => '/v1/queues/empty/claim', body: () => ({}), may: everyOf(204, 'workerKey') },
    { name: 'release', method: 'POST', path: (w) => `/v1/queues/q-${w.session.id.toLowerCase()}/release`, prepare: running, body: (w, x) => x, may: everyOf(204, 'workerKey') },
    { name: 'queues', method: 'GET', path: () => '/v1/queues', may: everyOf(200, 'workerKey', 'operator') },
    { name: 'metrics', method: 'GET', path: () => '/metrics', may: everyOf(200, 'operator') },
];

const credentials = {
    backend: () => apiKey('backend'), operator: () => apiKey('operator'), workerKey: () => apiKey('worker'),
    session: (w) => w.session.token, jwt: (w) => w.jwt, watch: (w) => w.task.token, worker: (w) => w.task.worker_token,
    otherSession: (w) => w.other.session.token, otherJwt: (w) => w.other.jwt, otherWatch: (w) => w.other.task.token, otherWorker: (w) => w.other.task.worker_token,
};
// What a stranger's credential stands for where the route is about one task: the same kind, but 404 instead of the right to use it.
const same = { otherSession: 'session', otherJwt: 'jwt', otherWatch: 'watch', otherWorker: 'worker' };

const unusable = {
    'no credential': () => null, 'an empty one': () => '', 'a word': () => 'open-sesame', 'an unknown key': () => apiKey('nobody'), 'a key cut short': () => apiKey('backend').slice(0, -1),
    'a key and more': () => `${apiKey('backend')}A`, 'an id': (w) => w.session.id, 'a token without its MAC': (w) => w.session.token.split('.').slice(0, 2).join('.'),
    'a tampered session token': (w) => tampered(w.session.token), 'a tampered watch token': (w) => tampered(w.task.token), 'a tampered worker token': (w) => tampered(w.task.worker_token),
    'a token of a generation to come': (w) => w.session.token.replace('.g1.', '.g2.'), 'a watch token as worker token': (w) => w.task.token.replace('.w', '.x'),
    "another's MAC": (w) => w.session.id + w.other.session.token.slice(w.session.id.length), 'an unsigned JWT': () => unsigned(claims()), 'a JWT of another secret': () => hs256('x'.repeat(40), claims()),
    'a rotated session token': async (w) => {
        await app.post(`/v1/sessions/${w.session.id}/rotate`);
        return w.session.token;
    },
    'a watch token from before a rotation': async (w) => {
        await app.post(`/v1/sessions/${w.session.id}/rotate`);
        return w.task.token;
    },
};

function expected(route, who) {
    if (route.may[who] !== undefined) {
        return route.may[who];
    }
    if (route.task && same[who] !== undefined && route.may[same[who]] !== undefined) {
        return 404;
    }
    return 403;
}

async function attempt(route, w, credential, x) {
    const headers = credential === null ? {} : { authorization: `Bearer ${credential}` };
    if (route.accept) {
        headers.accept = route.accept;
    }
    return s.api(null).call(route.method, route.path(w), { body: route.body?.(w, x), headers, type: route.type });
}

describe('every route with every credential', () => {
    for (const route of routes) {
        test(route.name, async () => {
            const wrong = [];
            for (const [who, of] of Object.entries(credentials)) {
                const w = await world();
                const x = await route.prepare?.(w);
                const r = await attempt(route, w, of(w), x);
                const want = expected(route, who);
                if (r.status !== want) {
                    wrong.push(`${who}: expected ${want}, got ${r.status} ${r.text.slice(0, 160)}`);
                } else if (want === 403) {
                    problem(r, 'forbidden');
                } else if (want === 404) {
                    problem(r, 'not-found');
                }
            }
            assert.deepEqual(wrong, []);
        });

        test(`${route.name}, refused with 401`, async () => {
            const wrong = [];
            const w0 = await world();
            for (const [what, of] of Object.entries(unusable)) {
                const w = /rotat/.test(what) ? await world() : w0;
                const r = await attempt(route, w, await of(w), { request: 'x', answer: 1 });
                if (r.status !== 401 || r.json?.code !== 'unauthenticated' || !/^Bearer/.test(r.headers['www-authenticate'] ?? '')) {
                    wrong.push(`${what}: ${r.status} ${r.text.slice(0, 160)}`);
                }
            }
            assert.deepEqual(wrong, []);
        });
    }
});

test("somebody else's task and one that never was are told apart by nothing", async () => {
    const w = await world();
    for (const credential of [w.session.token, w.jwt, w.task.token]) {
        const api = s.api(credential);
        for (const what of ['', '/result', '/output', '/events']) {
            const theirs = await api.get(`/v1/tasks/${w.other.task.id}${what}`);
            const never = await api.get(`/v1/tasks/tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV${what}`);
            problem(theirs, 'not-found');
            problem(never, 'not-found');
            assert.equal(theirs.text.replaceAll(w.other.task.id, 'ID'), never.text.replaceAll('tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV', 'ID'));
        }
        for (const what of ['cancel', 'seen']) {
            problem(await api.post(`/v1/tasks/${w.other.task.id}/${what}`, {}), 'not-found');
        }
    }
    assert.equal((await app.look(w.other.task)).state, 'queued');
});

test('a deleted task of somebody else is 404, of one\'s own 410', async () => {
    const w = await world();
    await app.reported(w.task, { type: 'succeed' });
    ok(await app.delete(`/v1/tasks/${w.task.id}`), 204);
    problem(await s.api(w.session.token).get(`/v1/tasks/${w.task.id}`), 'gone');
    problem(await s.api(w.task.token).get(`/v1/tasks/${w.task.id}`), 'gone');
    problem(await app.get(`/v1/tasks/${w.task.id}`), 'gone');
    problem(await s.api(w.other.session.token).get(`/v1/tasks/${w.task.id}`), 'not-found');
    problem(await s.api(w.other.task.token).get(`/v1/tasks/${w.task.id}`), 'not-found');
});

test('a deleted task is 410 on every route of it, also for a session that has ended since', async () => {
    for (const credential of ['token', 'jwt']) {
        const w = await world();
        const kept = await app.task(w.session);
        const short = await app.task(w.session, { ttl: 0.05 });
        await app.reported(short, { type: 'succeed' });
        await app.reported(w.task, { type: 'succeed' });
        ok(await app.delete(`/v1/tasks/${w.task.id}`), 204);
        const mine = s.api(credential === 'jwt' ? w.jwt : w.session.token);
        ok(await mine.delete('/v1/session'), 200);
        for (const route of routes.filter((r) => r.task && r.may.session)) {
            const body = route.name === 'answer' ? { request: 'x', answer: 1 } : route.body?.(w);
            const headers = route.accept ? { accept: route.accept } : {};
            const at = (task) => mine.call(route.method, route.path({ task }), { body, headers });
            const r = problem(await at(w.task), 'gone');
            assert.deepEqual([r.json.kind, r.json.state], ['work', 'succeeded'], route.name);
            problem(await at(w.other.task), 'not-found');
            problem(await at({ id: `tsk_${'0'.repeat(26)}` }), 'not-found');
            if (route.name === 'feed of a task') {
                assert.equal((await at(kept)).status, 204);
            } else {
                problem(await at(kept), 'session-ended');
            }
        }
        await until(async () => (await app.get(`/v1/tasks/${short.id}`)).status === 410, 'its expiry');
        problem(await mine.get(`/v1/tasks/${short.id}`), 'gone');
        const e = await mine.events(`/v1/tasks/${w.task.id}/events`);
        assert.equal(e.status, 410);
        assert.equal(await upgrade(s, { authorization: `Bearer ${mine.token}` }, `/v1/tasks/${w.task.id}/events`), 410);
    }
});

test('a key that may report may not for a task with a queue', async () => {
    const a = await app.session();
    const t = await app.task(a, { queue: 'q-auth' });
    await app.claimed('q-auth');
    problem(await s.api(apiKey('worker')).post(`/v1/tasks/${t.id}/reports`, { type: 'heartbeat' }), 'forbidden');
});

test('the scheme is Bearer, in any case, and nothing else', async () => {
    const none = s.api(null);
    ok(await none.get('/v1/sessions', { authorization: `bearer ${s.key}` }), 200);
    ok(await none.get('/v1/sessions', { authorization: `BEARER ${s.key}` }), 200);
    for (const value of [s.key, `Basic ${Buffer.from(`x:${s.key}`).toString('base64')}`, `Token ${s.key}`, `Bearer ${s.key} x`, 'Bearer']) {
        problem(await none.get('/v1/sessions', { authorization: value }), 'unauthenticated');
    }
});

// ---- cookie and query ----

describe('cookie', () => {
    const cookie = (value, more = {}) => ({ cookie: `bowline=${value}`, ...more });

    test('carries a session token, a watch token or a JWT', async () => {
        const w = await world();
        const none = s.api(null);
        assert.equal(ok(await none.get('/v1/session', cookie(w.session.token)), 200).json.id, w.session.id);
        assert.equal(ok(await none.get('/v1/session', cookie(w.jwt)), 200).json.id, w.session.id);
        assert.equal(ok(await none.get(`/v1/tasks/${w.task.id}`, cookie(w.task.token)), 200).json.id, w.task.id);
        assert.equal(ok(await none.get('/v1/session', { cookie: `a=b; bowline=${w.session.token}; c=d` }), 200).json.id, w.session.id);
        problem(await none.get('/v1/session', { cookie: `bowlin=${w.session.token}; Bowline=${w.session.token}` }), 'unauthenticated');
        problem(await none.get('/v1/session', cookie('nonsense')), 'unauthenticated');
    });

    test('may stand in double quotes (RFC 6265)', async () => {
        const w = await world();
        const none = s.api(null);
        assert.equal(ok(await none.get('/v1/session', cookie(`"${w.session.token}"`)), 200).json.id, w.session.id);
        assert.equal(ok(await none.get('/v1/session', { cookie: `a="b"; bowline="${w.jwt}" ;c=d` }), 200).json.id, w.session.id);
        assert.equal(ok(await none.get(`/v1/tasks/${w.task.id}`, cookie(`"${w.task.token}"`)), 200).json.id, w.task.id);
        for (const value of [`"${w.session.token}`, `${w.session.token}"`, `""${w.session.token}""`, '""', '"']) {
            problem(await none.get('/v1/session', cookie(value)), 'unauthenticated');
        }
        problem(await none.get('/v1/session', { cookie: `bowline="${w.session.token}"; bowline=${w.session.token}` }), 'invalid-request');
        problem(await none.delete('/v1/session', cookie(`"${w.session.token}"`)), 'forbidden');
    });

    test('carries no API key', async () => {
        problem(await s.api(null).get('/v1/sessions', cookie(s.key)), 'unauthenticated');
    });

    test('twice is an error', async () => {
        const w = await world();
        problem(await s.api(null).get('/v1/session', { cookie: `bowline=${w.session.token}; bowline=${w.session.token}` }), 'invalid-request');
        problem(await s.api(null).get('/v1/session', { cookie: `bowline=${w.session.token}; bowline=x` }), 'invalid-request');
    });

    test('header before query before cookie', async () => {
        const w = await world();
        const none = s.api(null);
        const good = w.session.token;
        const bad = tampered(good);
        problem(await none.get('/v1/session', cookie(good, { authorization: `Bearer ${bad}` })), 'unauthenticated');
        ok(await none.get('/v1/session', cookie(bad, { authorization: `Bearer ${good}` })), 200);
        const page = { accept: 'application/json' };
        ok(await none.get(`/v1/session/events?access_token=${good}`, cookie(bad, page)), 200);
        problem(await none.get(`/v1/session/events?access_token=${bad}`, cookie(good, page)), 'unauthenticated');
        ok(await none.get(`/v1/session/events?access_token=${bad}`, { ...page, authorization: `Bearer ${good}` }), 200);
        problem(await none.get(`/v1/session/events?access_token=${good}`, { ...page, authorization: `Bearer ${bad}` }), 'unauthenticated');
    });

    test('an unsafe method needs an own or allowed Origin', async () => {
        const w = await world();
        const none = s.api(null);
        const start = (origin) => none.post('/v1/session/tasks', { kind: 'report' }, cookie(w.session.token, origin === undefined ? {} : { origin }));
        for (const origin of [undefined, 'null', 'https://evil.example', `https://${s.host}`, `http://127.0.0.1:${s.port + 1}`, 'http://localhost', `http://${s.host}.evil.example`, 'https://app.example.evil.example', 'http://app.example', '']) {
            problem(await start(origin), 'forbidden');
        }
        for (const origin of [`http://${s.host}`, `http://localhost:${s.port}`, 'https://app.example', `HTTP://LocalHost:${s.port}`, `http://[::ffff:127.0.0.1]:${s.port}`, 'https://App.Example:443']) {
            ok(await start(origin), 202);
        }
        problem(await none.post(`/v1/tasks/${w.task.id}/cancel`, {}, cookie(w.task.token)), 'forbidden');
        problem(await none.delete('/v1/session', cookie(w.session.token, { origin: 'https://evil.example' })), 'forbidden');
        assert.equal((await app.look(w.task)).state, 'queued');
        ok(await none.get('/v1/session', cookie(w.session.token, { origin: 'https://evil.example' })), 200);
        ok(await none.delete('/v1/session', cookie(w.session.token, { origin: `http://${s.host}` })), 200);
    });

    test('a header needs none', async () => {
        const w = await world();
        ok(await s.api(w.session.token).post('/v1/session/tasks', { kind: 'report' }), 202);
        ok(await s.api(w.session.token).post('/v1/session/tasks', { kind: 'report' }, { origin: 'https://evil.example' }), 202);
    });

    test('a WebSocket upgrade needs it too', async () => {
        const w = await world();
        const open = (headers) => upgrade(s, headers);
        assert.equal(await open(cookie(w.session.token)), 403);
        assert.equal(await open(cookie(w.session.token, { origin: 'https://evil.example' })), 403);
        assert.equal(await open(cookie(w.session.token, { origin: `http://${s.host}` })), 101);
        assert.equal(await open(cookie(w.session.token, { origin: 'https://app.example' })), 101);
        assert.equal(await open({ authorization: `Bearer ${w.session.token}` }), 101);
    });
});

describe('cookie over TLS', () => {
    test('is __Host-bowline, Secure', async () => {
        const o = await start({ public_url: 'https://app.example', open_sessions: true });
        try {
            const r = ok(await o.api(null).post('/v1/session', undefined, { origin: 'https://app.example', host: 'app.example' }), 201);
            const set = [r.headers['set-cookie']].flat()[0];
            const [pair, ...attributes] = set.split(/; */);
            assert.match(pair, /^__Host-bowline=ses_/);
            const lower = attributes.map((x) => x.toLowerCase());
            for (const name of ['secure', 'httponly', 'path=/']) {
                assert.ok(lower.includes(name), set);
            }
            const id = ok(await o.api(null).get('/v1/session', { cookie: pair }), 200).json.id;
            assert.equal(ok(await o.api(null).post('/v1/session', undefined, { origin: 'https://app.example', cookie: pair }), 200).json.id, id);
            problem(await o.api(null).delete('/v1/session', { cookie: pair, origin: 'http://app.example' }), 'forbidden');
            problem(await o.api(null).get('/v1/session', { cookie: `${pair}; ${pair}` }), 'invalid-request');
        } finally {
            await o.close();
        }
    });
});

describe('access_token', () => {
    test('is for GET of events only', async () => {
        const w = await world();
        const none = s.api(null);
        const page = { accept: 'application/json' };
        ok(await none.get(`/v1/session/events?access_token=${w.session.token}`, page), 200);
        ok(await none.get(`/v1/session/events?access_token=${encodeURIComponent(w.jwt)}`, page), 200);
        ok(await none.get(`/v1/tasks/${w.task.id}/events?access_token=${w.task.token}`, page), 200);
        for (const path of ['/v1/session', '/v1/session/tasks', `/v1/tasks/${w.task.id}`, `/v1/tasks/${w.task.id}/output`]) {
            const r = await none.get(`${path}?access_token=${w.session.token}`);
            assert.ok(r.status === 401 || r.status === 400, `${path}: ${r.status}`);
            problem(await s.api(w.session.token).get(`${path}?access_token=${w.session.token}`), 'invalid-request');
        }
        const r = await none.post(`/v1/session/tasks?access_token=${w.session.token}`, { kind: 'report' }, { origin: `http://${s.host}` });
        assert.ok(r.status === 401 || r.status === 400, String(r.status));
    });

    test('carries no API key and no worker token', async () => {
        const w = await world();
        const none = s.api(null);
        const page = { accept: 'application/json' };
        problem(await none.get(`/v1/sessions/${w.session.id}/events?access_token=${s.key}`, page), 'unauthenticated');
        problem(await none.get(`/v1/tasks/${w.task.id}/events?access_token=${s.key}`, page), 'unauthenticated');
        problem(await none.get(`/v1/tasks/${w.task.id}/events?access_token=${w.task.worker_token}`, page), 'unauthenticated');
    });
});

// ---- CORS ----

describe('CORS', () => {
    const preflight = (path, origin, method = 'POST') => s.api(null).call('OPTIONS', path, { headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': 'authorization,content-type' } });

    test('an allowed origin is named, with credentials', async () => {
        const w = await world();
        for (const r of [await s.api(w.session.token).get('/v1/session', { origin: 'https://app.example' }), await s.api('bad').get('/v1/session', { origin: 'https://app.example' }), await app.get('/nothing', { origin: 'https://app.example' })]) {
            assert.equal(r.headers['access-control-allow-origin'], 'https://app.example');
            assert.equal(r.headers['access-control-allow-credentials'], 'true');
            assert.match(r.headers.vary, /origin/i);
        }
        const e = await s.api(w.session.token).events('/v1/session/events', { headers: { origin: 'https://app.example' } });
        assert.equal(e.headers['access-control-allow-origin'], 'https://app.example');
        assert.equal(e.headers['access-control-allow-credentials'], 'true');
        e.close();
    });

    test('another is not', async () => {
        const w = await world();
        const r = ok(await s.api(w.session.token).get('/v1/session', { origin: 'https://evil.example' }), 200);
        assert.equal(r.headers['access-control-allow-origin'], undefined);
        assert.equal(r.headers['access-control-allow-credentials'], undefined);
        assert.match(r.headers.vary ?? '', /origin/i, 'caches must know that it depends');
        assert.equal((await preflight('/v1/session/tasks', 'https://evil.example')).headers['access-control-allow-origin'], undefined);
    });

    test('a preflight names the headers of the contract and needs no credential', async () => {
        const r = await preflight('/v1/session/tasks', 'https://app.example');
        assert.ok(r.status === 204 || r.status === 200, String(r.status));
        assert.equal(r.headers['access-control-allow-origin'], 'https://app.example');
        assert.equal(r.headers['access-control-allow-credentials'], 'true');
        assert.match(r.headers['access-control-allow-methods'], /POST/);
        const names = r.headers['access-control-allow-headers'].toLowerCase().split(/, */);
        for (const name of ['authorization', 'content-type', 'idempotency-key', 'last-event-id', 'if-none-match', 'prefer']) {
            assert.ok(names.includes(name), name);
        }
    });

    test('is off until origins are named, and * is refused', async () => {
        const o = await start();
        try {
            const r = await o.api().get('/v1/sessions', { origin: 'https://app.example' });
            assert.equal(r.headers['access-control-allow-origin'], undefined);
        } finally {
            await o.close();
        }
        const bad = await run(['serve', '--listen', '127.0.0.1:0', '--data', '/tmp/bowline-never-made', '--allowed-origins', '*']);
        assert.notEqual(bad.code, 0);
        assert.match(bad.err, /allowed.origins/);
    });
});

// ---- JWT ----

describe('JWT', () => {
    let n = 0;
    const sid = () => `jwt-${process.pid}-${++n}`;
    const as = (token) => s.api(token);
    const refused = async (token) => problem(await as(token).get('/v1/session'), 'unauthenticated');

    test('a session named first is created then', async () => {
        const key = sid();
        const r = ok(await as(hs256(secret, claims({ sid: key, sub: 'u-jwt' }))).get('/v1/session'), 200).json;
        assert.equal(r.user, 'u-jwt');
        assert.equal(r.state, 'active');
        assert.equal(ok(await app.post('/v1/sessions', { key }), 200).json.id, r.id);
        assert.equal(ok(await as(hs256(secret, claims({ sid: key }))).get('/v1/session'), 200).json.id, r.id, 'without sub nothing is compared');
    });

    test('by any route for sessions', async () => {
        const key = sid();
        ok(await as(hs256(secret, claims({ sid: key }))).post('/v1/session/tasks', { kind: 'report' }), 202);
        assert.equal(ok(await app.post('/v1/sessions', { key }), 200).json.tasks.unfinished, 1);
        const e = await as(hs256(secret, claims({ sid: sid() }))).events('/v1/session/events');
        await e.live();
        e.close();
    });

    test('EdDSA, and keys by kid', async () => {
        ok(await as(eddsa(pair.privateKey, claims({ sid: sid() }))).get('/v1/session'), 200);
        ok(await as(hs256(rolled, claims({ sid: sid() }), { kid: 'new' })).get('/v1/session'), 200);
        await refused(hs256(rolled, claims({ sid: sid() }), { kid: 'old' }));
        await refused(eddsa(generateKeyPairSync('ed25519').privateKey, claims({ sid: sid() })));
    });

    const bad = {
        'alg none': () => unsigned(claims({ sid: sid() })),
        'another algorithm in the header': () => hs256(secret, claims({ sid: sid() }), { alg: 'HS512' }),
        'the public key as HMAC secret': () => hs256(publicKey, claims({ sid: sid() })),
        'EdDSA said of an HMAC': () => hs256(secret, claims({ sid: sid() }), { alg: 'EdDSA' }),
        'a changed signature': () => tampered(hs256(secret, claims({ sid: sid() }))),
        'crit': () => hs256(secret, claims({ sid: sid() }), { crit: ['exp'] }),
        'no sid': () => hs256(secret, claims({ sid: undefined })),
        'an empty sid': () => hs256(secret, claims({ sid: '' })),
        'a sid that is a number': () => hs256(secret, claims({ sid: 5 })),
        'a sid of 513 bytes': () => hs256(secret, claims({ sid: 'x'.repeat(513) })),
        'no aud': () => hs256(secret, claims({ sid: sid(), aud: undefined })),
        'another aud': () => hs256(secret, claims({ sid: sid(), aud: 'other' })),
        'an aud list without bowline': () => hs256(secret, claims({ sid: sid(), aud: ['a', 'b'] })),
        'no iat': () => hs256(secret, { sid: sid(), aud: 'bowline', exp: nowS() + 60 }),
        'no exp': () => hs256(secret, { sid: sid(), aud: 'bowline', iat: nowS() }),
        'exp passed': () => hs256(secret, claims({ sid: sid(), iat: nowS() - 100, exp: nowS() - 90 })),
        'more than 24 h': () => hs256(secret, claims({ sid: sid(), exp: nowS() + 86402 })),
        'exp before iat': () => hs256(secret, claims({ sid: sid(), iat: nowS() + 30, exp: nowS() + 20 })),
        'iat far ahead': () => hs256(secret, claims({ sid: sid(), iat: nowS() + 90 })),
        'nbf far ahead': () => hs256(secret, claims({ sid: sid(), nbf: nowS() + 90 })),
        'a sub that is a number': () => hs256(secret, claims({ sid: sid(), sub: 7 })),
        'a fourth part': () => `${hs256(secret, claims({ sid: sid() }))}.x`,
        'padding': () => `${hs256(secret, claims({ sid: sid() }))}=`,
        'a payload that is no object': () => hs256(secret, []),
        'a payload that is no JSON': () => hs256(secret, '{'),
        'a member named twice': () => hs256(secret, `{"sid":"${sid()}","sid":"other","aud":"bowline","iat":${nowS()},"exp":${nowS() + 60}}`),
    };
    for (const [what, make] of Object.entries(bad)) {
        test(`${what} is 401`, () => refused(make()));
    }

    test('what is allowed', async () => {
        for (const more of [{ aud: ['x', 'bowline'] }, { iat: nowS() + 50 }, { nbf: nowS() + 50 }, { exp: nowS() + 86400, iat: nowS() }, { extra: { a: [1] } }, { sid: 'é😀' + sid() }]) {
            ok(await as(hs256(secret, claims({ sid: sid(), ...more }))).get('/v1/session'), 200);
        }
    });

    test('another sub, or one where the session has none, is 401', async () => {
        const key = sid();
        await app.session({ key, user: 'right' });
        ok(await as(hs256(secret, claims({ sid: key, sub: 'right' }))).get('/v1/session'), 200);
        await refused(hs256(secret, claims({ sid: key, sub: 'wrong' })));
        const bare = sid();
        await app.session({ key: bare });
        await refused(hs256(secret, claims({ sid: bare, sub: 'anybody' })));
        ok(await as(hs256(secret, claims({ sid: bare }))).get('/v1/session'), 200);
    });

    test('for the key of an ended session: old until issued anew', async () => {
        const key = sid();
        const token = hs256(secret, claims({ sid: key }));
        const a = ok(await as(token).get('/v1/session'), 200).json;
        const end = ok(await app.delete(`/v1/sessions/${a.id}`), 200).json;
        const endS = Math.floor(Date.parse(end.ended_at) / 1000);
        problem(await as(token).get('/v1/session'), 'session-ended');
        problem(await as(hs256(secret, claims({ sid: key, iat: endS }))).get('/v1/session'), 'session-ended');
        const b = ok(await as(hs256(secret, claims({ sid: key, iat: endS + 1 }))).get('/v1/session'), 200).json;
        assert.notEqual(b.id, a.id);
        problem(await as(hs256(secret, claims({ sid: key, iat: endS }))).get('/v1/session'), 'session-ended');
    });

    test('at a rotation that keeps the key: only those issued before its second are old', async () => {
        const key = sid();
        const a = await app.session({ key });
        const before_ = nowS();
        ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200);
        const after_ = nowS();
        await refused(hs256(secret, claims({ sid: key, iat: before_ - 1 })));
        assert.equal(ok(await as(hs256(secret, claims({ sid: key, iat: after_ }))).get('/v1/session'), 200).json.id, a.id);
    });

    test('at a rotation to another key: the old key leads to the old token', async () => {
        const [key, next] = [sid(), sid()];
        const a = await app.session({ key });
        ok(await app.post(`/v1/sessions/${a.id}/rotate`, { key: next }), 200);
        await refused(hs256(secret, claims({ sid: key, iat: nowS() - 2 })));
        assert.equal(ok(await as(hs256(secret, claims({ sid: next }))).get('/v1/session'), 200).json.id, a.id);
        assert.notEqual(ok(await as(hs256(secret, claims({ sid: key, iat: nowS() + 2 }))).get('/v1/session'), 200).json.id, a.id);
    });

    // What a credential for sessions gets: all four ways, in one word.
    const standing = async (token, server = s) => {
        const mine = server.api(token);
        const r = await mine.get('/v1/session');
        const seen = [r.status, (await mine.get('/v1/session/events', { accept: 'application/json' })).status, await upgrade(server, { authorization: `Bearer ${token}` })];
        const e = await mine.events('/v1/session/events');
        seen.push(e.status);
        e.close();
        const [word] = Object.entries({ ended: [409, 204, 410, 204], dead: [401, 401, 401, 401], rotated: [401, 401, 401, 200], alive: [200, 200, 101, 200] })
            .find(([, all]) => all.join() === seen.join()) ?? [seen.join()];
        return word;
    };
    const ended = async (token, session, server = s) => {
        assert.equal(await standing(token, server), 'ended');
        const r = ok(await server.api(token).delete('/v1/session'), 200).json;
        assert.deepEqual([r.id, r.user], [session.id, session.user]);
    };
    const dead = async (token, server = s) => {
        assert.equal(await standing(token, server), 'dead');
        problem(await server.api(token).delete('/v1/session'), 'unauthenticated');
    };
    const earlier = (key, more) => hs256(secret, claims({ sid: key, iat: nowS() - 30, ...more }));
    const nextSecond = async () => {
        const began = nowS();
        await until(() => nowS() > began, 'the next second');
    };

    test('another sub is 401 after the end too, and after a rotation', async () => {
        const [key, bare] = [sid(), sid()];
        const a = await app.session({ key, user: 'right' });
        ok(await app.delete(`/v1/sessions/${a.id}`), 200);
        await ended(earlier(key, { sub: 'right' }), a);
        await ended(earlier(key), a);
        await dead(earlier(key, { sub: 'wrong' }));
        const b = await app.session({ key: bare });
        ok(await app.delete(`/v1/sessions/${b.id}`), 200);
        await ended(earlier(bare), b);
        await dead(earlier(bare, { sub: 'anybody' }));
        for (const body of [{}, { key: sid() }]) {
            const moved = sid();
            const c = await app.session({ key: moved, user: 'right' });
            ok(await app.post(`/v1/sessions/${c.id}/rotate`, body), 200);
            assert.equal(await standing(earlier(moved, { sub: 'right' })), 'rotated');
            await dead(earlier(moved, { sub: 'wrong' }));
        }
    });

    test('of a key that several sessions have had, one after the other: counts for the one that had it then', async () => {
        const key = sid();
        const ja = earlier(key, { sub: 'alice' });
        const a = ok(await as(ja).get('/v1/session'), 200).json;
        ok(await app.delete(`/v1/sessions/${a.id}`), 200);
        await nextSecond();
        const jb = hs256(secret, claims({ sid: key, sub: 'bob' }));
        const b = ok(await as(jb).get('/v1/session'), 200).json;
        await ended(ja, a); // while b is active
        await nextSecond();
        ok(await app.post(`/v1/sessions/${b.id}/rotate`), 200);
        await ended(ja, a);
        await nextSecond();
        ok(await app.post(`/v1/sessions/${b.id}/rotate`, { key: sid() }), 200);
        await ended(ja, a);
        await ended(earlier(key), a);
        await dead(earlier(key, { sub: 'bob' }));
        assert.equal(await standing(jb), 'dead', 'two rotations ago');
        await nextSecond();
        const c = ok(await as(hs256(secret, claims({ sid: key, sub: 'carol' }))).get('/v1/session'), 200).json;
        const into = await app.session({ user: 'carol' });
        ok(await app.post(`/v1/sessions/${c.id}/merge`, { into: into.id }), 200);
        await ended(hs256(secret, claims({ sid: key, sub: 'carol' })), c);
        await ended(ja, a);
        await dead(earlier(key, { sub: 'carol' }));
        assert.equal((await app.get(`/v1/sessions/${into.id}`)).json.state, 'active');
    });

    test('of a key that was rotated away: dead, whoever has had it since', async () => {
        const key = sid();
        const old = earlier(key);
        const a = ok(await as(old).get('/v1/session'), 200).json;
        ok(await app.post(`/v1/sessions/${a.id}/rotate`, { key: sid() }), 200);
        const b = await app.session({ key, user: 'bob' });
        assert.equal(await standing(old), 'rotated');
        ok(await app.delete(`/v1/sessions/${b.id}`), 200);
        assert.equal(await standing(old), 'rotated');
        ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200);
        await dead(old);
        ok(await app.delete(`/v1/sessions/${a.id}`), 200);
        await dead(old);
        assert.equal(ok(await app.get(`/v1/sessions/${b.id}`), 200).json.user, 'bob');
    });

    test('only one from just before the last rotation is told of it within the grace', async () => {
        const key = sid();
        const [first, a] = [earlier(key), await app.session({ key })];
        ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200);
        assert.equal(await standing(first), 'rotated');
        await nextSecond();
        const second = hs256(secret, claims({ sid: key }));
        assert.equal(await standing(second), 'alive');
        await nextSecond();
        ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200);
        await dead(first);
        assert.equal(await standing(second), 'rotated');
        ok(await app.post(`/v1/sessions/${a.id}/rotate`, { key: sid() }), 200);
        await dead(first);
        await dead(second);
    });

    test('old ones stay whose they were through restarts, also under a new secret', async () => {
        const o = await start({ jwt_secrets: secret });
        try {
            const key = sid();
            const ja = earlier(key, { sub: 'alice' });
            const a = ok(await o.api(ja).get('/v1/session'), 200).json;
            ok(await o.api().delete(`/v1/sessions/${a.id}`), 200);
            await nextSecond();
            const b = await o.api().session({ key, user: 'bob' });
            await o.kill();
            await o.restart();
            await ended(ja, a, o);
            ok(await o.api().post(`/v1/sessions/${b.id}/rotate`), 200);
            ok(await o.api().delete(`/v1/sessions/${b.id}`), 200);
            await ended(ja, a, o);
            await o.stop();
            const file = join(o.data, 'secret');
            writeFileSync(file, `${randomBytes(32).toString('hex')}\n${readFileSync(file, 'utf8')}`);
            await o.restart();
            await ended(ja, a, o);
            await ended(earlier(key), a, o);
            await dead(earlier(key, { sub: 'bob' }), o);
            await nextSecond();
            const c = await o.api().session({ key, user: 'carol' });
            await dead(earlier(key, { sub: 'carol' }), o); // while she has it
            ok(await o.api().delete(`/v1/sessions/${c.id}`), 200);
            await ended(ja, a, o);
            await ended(hs256(secret, claims({ sid: key, sub: 'carol' })), c, o);
        } finally {
            await o.close();
        }
    });

    test('a stream ends at exp, with retry', async () => {
        const token = hs256(secret, claims({ sid: sid(), iat: nowS() - 5, exp: nowS() + 5 }));
        const e = await as(token).events('/v1/session/events');
        await e.live();
        await e.end();
        assert.ok(e.retry > 0);
        assert.ok(!e.items.some((i) => i.event === 'session'));
        await until(async () => (await as(token).get('/v1/session')).status === 401, 'exp');
    });
});

// ---- generations ----

describe('generations', () => {
    test('bind raises the watch token, the end of the session does not', async () => {
        const w = await world();
        ok(await app.delete(`/v1/sessions/${w.session.id}`), 200);
        ok(await s.api(w.task.token).get(`/v1/tasks/${w.task.id}`), 200);
        const bound = ok(await app.post(`/v1/tasks/${w.task.id}/bind`, { session: w.other.session.id }), 200).json;
        problem(await s.api(w.task.token).get(`/v1/tasks/${w.task.id}`), 'unauthenticated');
        ok(await s.api(bound.token).get(`/v1/tasks/${w.task.id}`), 200);
        assert.equal(ok(await app.post(`/v1/tasks/${w.task.id}/token`), 200).json.token, bound.token);
    });

    test('a rotation raises both, and the current watch token can be had', async () => {
        const w = await world();
        const { token } = ok(await app.post(`/v1/sessions/${w.session.id}/rotate`), 200).json;
        problem(await s.api(w.session.token).get('/v1/session'), 'unauthenticated');
        problem(await s.api(w.task.token).get(`/v1/tasks/${w.task.id}`), 'unauthenticated');
        ok(await s.api(token).get(`/v1/tasks/${w.task.id}`), 200);
        const watch = ok(await app.post(`/v1/tasks/${w.task.id}/token`), 200).json;
        assert.deepEqual(Object.keys(watch), ['token']);
        ok(await s.api(watch.token).get(`/v1/tasks/${w.task.id}`), 200);
        ok(await s.api(w.task.worker_token).post(`/v1/tasks/${w.task.id}/reports`, { type: 'heartbeat' }), 200);
    });

    test('a merge raises the watch token', async () => {
        const w = await world();
        ok(await app.post(`/v1/sessions/${w.session.id}/merge`, { into: w.other.session.id }), 200);
        problem(await s.api(w.task.token).get(`/v1/tasks/${w.task.id}`), 'unauthenticated');
        ok(await s.api(w.other.session.token).get(`/v1/tasks/${w.task.id}`), 200);
        problem(await s.api(w.session.token).get(`/v1/tasks/${w.task.id}`), 'not-found');
    });

    test('a former session of a moved task: 404', async () => {
        const w = await world();
        ok(await app.post(`/v1/tasks/${w.task.id}/bind`, { session: w.other.session.id }), 200);
        problem(await s.api(w.session.token).get(`/v1/tasks/${w.task.id}`), 'not-found');
        ok(await s.api(w.other.session.token).get(`/v1/tasks/${w.task.id}`), 200);
    });

    test('streams of a dead watch token end and show nothing later', async () => {
        const w = await world();
        const e = await s.api(w.task.token).events(`/v1/tasks/${w.task.id}/events`);
        await e.live();
        ok(await app.post(`/v1/tasks/${w.task.id}/bind`, { session: w.other.session.id }), 200);
        ok(await s.api(w.task.worker_token).post(`/v1/tasks/${w.task.id}/reports`, { type: 'progress', current: 77 }), 200);
        await e.end();
        assert.ok(!e.body.includes('"current":77'));
    });

    test('rotation, merge and handover cut the streams opened with a watch token, as bind does', async () => {
        for (const how of ['rotate', 'merge', 'handover']) {
            const user = `cut-${how}`;
            const a = await app.session({ user });
            const b = await app.session({ user });
            const t = await app.task(a, { on_session_end: 'handover' });
            const e = await s.api(t.token).events(`/v1/tasks/${t.id}/events`);
            await e.live();
            const r = how === 'rotate' ? await app.post(`/v1/sessions/${a.id}/rotate`) : how === 'merge' ? await app.post(`/v1/sessions/${a.id}/merge`, { into: b.id }) : await app.delete(`/v1/sessions/${a.id}`);
            ok(r, 200);
            ok(await s.api(t.worker_token).post(`/v1/tasks/${t.id}/reports`, { type: 'progress', current: 4242 }), 200);
            await e.end();
            assert.ok(!e.body.includes('"current":4242'), how);
            problem(await s.api(t.token).get(`/v1/tasks/${t.id}`), 'unauthenticated');
            problem(await s.api(t.token).get(`/v1/tasks/${t.id}/events`, { accept: 'text/event-stream' }), 'unauthenticated');
            const { token } = ok(await app.post(`/v1/tasks/${t.id}/token`), 200).json;
            assert.equal(ok(await s.api(token).get(`/v1/tasks/${t.id}`), 200).json.progress.current, 4242);
        }
    });

    test('waiting requests of a dead watch token are answered without what came later', async () => {
        const w = await world();
        const watch = s.api(w.task.token);
        const page = ok(await watch.page(`/v1/tasks/${w.task.id}/events`), 200).json;
        const [[waiting, polled]] = await app.begun(() => [
            watch.get(`/v1/tasks/${w.task.id}`, { 'if-none-match': `"${w.task.version}"`, prefer: 'wait=20' }),
            watch.page(`/v1/tasks/${w.task.id}/events`, { after: page.cursor, wait: 20 }),
        ], 2);
        ok(await app.post(`/v1/tasks/${w.task.id}/bind`, { session: w.other.session.id }), 200);
        ok(await s.api(w.task.worker_token).post(`/v1/tasks/${w.task.id}/reports`, { type: 'progress', current: 4242 }), 200);
        for (const r of [await waiting, await polled]) {
            assert.equal(r.status, 401, r.text);
        }
    });

    test("an ended session's own token: 409, on events 204, ending it again 200", async () => {
        const w = await world();
        const mine = s.api(w.session.token);
        ok(await mine.delete('/v1/session'), 200);
        problem(await mine.get('/v1/session'), 'session-ended');
        problem(await mine.get('/v1/session/tasks'), 'session-ended');
        problem(await mine.post('/v1/session/tasks', { kind: 'report' }), 'session-ended');
        problem(await mine.post('/v1/session/tasks', { kind: 'never-configured' }), 'session-ended');
        problem(await mine.get(`/v1/tasks/${w.task.id}`), 'session-ended');
        problem(await mine.post('/v1/sessions', {}), 'forbidden');
        assert.equal(ok(await mine.delete('/v1/session'), 200).json.state, 'ended');
        for (const accept of ['text/event-stream', 'application/json']) {
            assert.equal((await mine.get('/v1/session/events', { accept })).status, 204);
        }
        problem(await s.api(tampered(w.session.token)).get('/v1/session/events'), 'unauthenticated');
    });
});

test('while tasks move about, no feed shows a task that is not of its session', async () => {
    const count = 8;
    const all = await Promise.all(Array.from({ length: count }, () => app.session()));
    const feeds = await Promise.all(all.map((a) => s.api(a.token).events('/v1/session/events?output=1')));
    await Promise.all(feeds.map((e) => e.live()));
    const move = async (n) => {
        const t = await app.task(all[n % count]);
        let mark = '';
        for (let i = 0; i < 25; i++) {
            const to = all[(n * 7 + i * 3) % count];
            mark = `of-${to.id};`;
            ok(await app.post(`/v1/tasks/${t.id}/bind`, { session: to.id }), 200);
            await app.reported(t, [{ type: 'progress', message: mark }, { type: 'output', data: mark }]);
        }
        return t;
    };
    const tasks = await Promise.all(Array.from({ length: 16 }, (_, n) => move(n)));
    for (const [i, e] of feeds.entries()) {
        const mine = (await Promise.all(tasks.map((t) => app.look(t)))).filter((t) => t.session === all[i].id);
        const shown = (t) => e.items.findLast((x) => (x.data.task?.id ?? x.data.gone) === t.id)?.data.task?.progress.message;
        await e.when(() => mine.every((t) => shown(t) === t.progress.message), 'the last states');
        e.close();
        for (const x of e.items) {
            if (x.data.task?.session) {
                assert.equal(x.data.task.session, all[i].id);
                assert.ok(x.data.task.progress.message === null || x.data.task.progress.message.startsWith('of-'));
            }
            if (x.event === 'output') {
                assert.equal(x.data.data.replaceAll(`of-${all[i].id};`, ''), '', 'output of the time elsewhere');
            }
        }
    }
});

test('tokens never appear in logs', async () => {
    const w = await world();
    const e = await s.api(null).events(`/v1/session/events?access_token=${w.session.token}`, { headers: { cookie: `bowline=${w.jwt}` } });
    await e.live();
    e.close();
    await s.api(tampered(w.task.token)).get(`/v1/tasks/${w.task.id}`);
    await s.api(w.task.worker_token).post(`/v1/tasks/${w.task.id}/reports`, { type: 'succeed' });
    ok(await app.delete(`/v1/sessions/${w.session.id}`), 200);
    await until(() => s.err.split('\n').some((line) => line.includes(' session.ended ') && line.includes(w.session.id)), 'the last line about it');
    const logs = s.out + s.err;
    for (const t of [w.session.token, w.task.token, w.task.worker_token, w.jwt, s.key, apiKey('backend'), secret]) {
        for (const piece of [t.split('.').at(-1), t]) {
            assert.ok(!logs.includes(piece), 'a token in the logs');
        }
    }
});
