// The order of checks, for every route and every credential: whatever is wrong with a body or a header, who may not even ask learns of that alone, and what is left of
// the body is never taken for a request.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { apiKey, start } from './lib/server.mjs';
import { ok, problem } from './lib/client.mjs';
import { claims, hs256, nowS, tampered } from './lib/jwt.mjs';
import { connect } from './lib/raw.mjs';

const SECRET = 'first-who-then-what-0123456789-0123456789';
const MOST = 20000;
const ROLES = ['backend', 'worker', 'operator'];

let s;
let app;
before(async () => {
    s = await start({ max_body: MOST, jwt_secrets: `hs256:${SECRET}`, api_keys: ROLES.map((role) => `${role}:${role}:${apiKey(role)}`).join(','), session_kinds: { report: {} }, open_sessions: true });
    app = s.api();
});
after(() => s.close());

// What a body holds that would be answered with 404 if it were a request.
const SMUGGLED = 'GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n';
const NEXT = () => `GET /healthz HTTP/1.1\r\nHost: ${s.host}\r\nConnection: close\r\n\r\n`;
const filled = (bytes) => SMUGGLED.repeat(Math.ceil(bytes / SMUGGLED.length)).slice(0, bytes);
const chunk = (text) => `${text.length.toString(16)}\r\n${text}\r\n`;

/** Faults: the fields and the body that have them, and how they are refused where everything before them is well. */
const FAULTS = {
    'a body announced as one byte too large': { fields: `Content-Type: application/json\r\nContent-Length: ${MOST + 1}\r\n`, body: '', missing: MOST + 1, status: 413 },
    'and sent': { fields: `Content-Type: application/json\r\nContent-Length: ${MOST + 1}\r\n`, body: () => filled(MOST + 1), status: 413 },
    'a body announced as large as can be said': { fields: `Content-Type: application/json\r\nContent-Length: ${'9'.repeat(40)}\r\n`, body: SMUGGLED, status: 413 },
    'and permission asked for': { fields: `Content-Type: application/json\r\nContent-Length: ${MOST * 10}\r\nExpect: 100-continue\r\n`, body: '', status: 413 },
    'chunks that are too many': { fields: 'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n', body: () => `${chunk(filled(MOST)).repeat(2)}0\r\n\r\n`, status: 413 },
    'one chunk that is too large': { fields: 'Transfer-Encoding: chunked\r\n', body: () => `${chunk(filled(MOST + 1))}0\r\n\r\n`, status: 413 },
    'another type': { fields: `Content-Type: text/plain\r\nContent-Length: ${SMUGGLED.length}\r\n`, body: SMUGGLED, status: 415, bodies: true },
    'a coding': { fields: `Content-Encoding: gzip\r\nContent-Length: ${SMUGGLED.length}\r\n`, body: SMUGGLED, status: 415, bodies: true },
    'an answer that cannot be given': { fields: 'Accept: image/png\r\nContent-Length: 2\r\n', body: '{}', status: 406, accepts: true },
    'no JSON': { fields: `Content-Type: application/json\r\nContent-Length: ${SMUGGLED.length}\r\n`, body: SMUGGLED, status: 400, bodies: true, json: true },
    'a parameter that is unknown': { fields: 'Content-Length: 2\r\n', body: '{}', query: '?nope=1', status: 400 },
    'a query that is malformed': { fields: 'Content-Length: 2\r\n', body: '{}', query: '?x=1&x=1', status: 400 },
};

/** The answer, after which there is the end of the connection, or the answer to the request behind it. missing: of the body is sent only once the answer is there. */
async function ask(method, path, credential, { fields, body, missing = 0, query = '' }) {
    const c = await connect(s);
    try {
        c.write(`${method} ${path}${query} HTTP/1.1\r\nHost: ${s.host}\r\n${credential}${fields}\r\n`);
        c.write(typeof body === 'function' ? body() : body);
        c.write(missing ? '' : NEXT());
        const r = await c.response();
        c.write(missing ? `${filled(missing)}${NEXT()}` : '');
        if (!/close/i.test(r.headers.connection ?? '')) {
            const next = await c.response();
            assert.equal(next.status, 200, next.text);
            assert.deepEqual(next.json, { status: 'ok' });
        }
        await c.end();
        assert.equal(c.bytes.length, 0, c.bytes.toString('latin1').slice(0, 200));
        return r;
    } finally {
        c.destroy();
    }
}

async function world() {
    const [a, rotated, ended] = [await app.session(), await app.session(), await app.session()];
    const [t, moved] = [await app.task(a), await app.task(rotated)];
    ok(await app.post(`/v1/sessions/${rotated.id}/rotate`), 200);
    ok(await app.post(`/v1/sessions/${rotated.id}/rotate`), 200); // twice: there is no grace for its token
    ok(await app.delete(`/v1/sessions/${ended.id}`), 200);
    const bearer = (token) => `Authorization: Bearer ${token}\r\n`;
    const jwt = (more) => hs256(SECRET, claims({ sid: 'order', ...more }));
    const credentials = {
        none: '',
        nonsense: bearer('nonsense'),
        'an unknown key': bearer('blk_unknown'),
        ...Object.fromEntries(ROLES.map((role) => [role, bearer(apiKey(role))])),
        session: bearer(a.token),
        'forged session': bearer(tampered(a.token)),
        'rotated session': bearer(rotated.token),
        'ended session': bearer(ended.token),
        watch: bearer(t.token),
        'watch of a rotated session': bearer(moved.token),
        worker: bearer(t.worker_token),
        JWT: bearer(jwt()),
        'JWT that is over': bearer(jwt({ iat: nowS() - 7200, exp: nowS() - 3600 })),
        cookie: `Cookie: bowline=${a.token}\r\n`,
        'cookie of a page of ours': `Cookie: bowline=${a.token}\r\nOrigin: http://${s.host}\r\n`,
        'cookie of another page': `Cookie: bowline=${a.token}\r\nOrigin: https://evil.example\r\n`,
        'cookie that is dead': `Cookie: bowline=${rotated.token}\r\nOrigin: https://evil.example\r\n`,
        'two cookies': `Cookie: bowline=${a.token}; bowline=${a.token}\r\n`,
    };
    return { a, t, credentials };
}

/** Every route whose body is gathered before it is looked at. */
async function routes({ a, t }) {
    const { paths } = ok(await app.get('/openapi.json'), 200).json;
    const list = [];
    for (const [pattern, operations] of Object.entries(paths)) {
        for (const [method, { requestBody, responses }] of Object.entries(operations)) {
            const types = Object.keys(requestBody?.content ?? { 'application/json': {} });
            if (types.includes('application/json')) {
                const bodies = method !== 'get', accepts = !responses['204'] || pattern.endsWith('/claim') || pattern.endsWith('/events');
                list.push({ method: method.toUpperCase(), path: pattern.replace('{session}', a.id).replace('{task}', t.id).replace('{queue}', 'q'), bodies, accepts: accepts && !/^\/(healthz|readyz)$/.test(pattern) });
            }
        }
    }
    assert.ok(list.length > 30);
    return list;
}

test('every route, every credential, every fault', { timeout: 600_000 }, async () => {
    const w = await world();
    const seen = {};
    for (const { method, path, bodies, accepts } of await routes(w)) {
        for (const [who, credential] of Object.entries(w.credentials)) {
            const well = await ask(method, path, credential, FAULTS['a parameter that is unknown']);
            const refusal = well.status !== 400 || /cookies/.test(well.json.detail) ? well : null; // before anything is looked at that it asks for
            if (refusal) {
                assert.ok([400, 401, 403].includes(refusal.status), `${method} ${path} by ${who}: ${refusal.text}`);
                seen[refusal.status] = (seen[refusal.status] ?? 0) + 1;
            }
            for (const [what, fault] of Object.entries(FAULTS)) {
                if ((fault.bodies && !bodies) || (fault.accepts && !accepts)) {
                    continue;
                }
                const r = await ask(method, path, credential, fault);
                const title = `${method} ${path} by ${who} with ${what}: ${r.status} ${r.text}`;
                if (refusal) {
                    assert.equal(r.status, refusal.status, title);
                    assert.equal(r.text, refusal.text, title);
                } else {
                    assert.equal(r.status, fault.status, title);
                    seen[fault.status] = (seen[fault.status] ?? 0) + 1;
                }
                assert.match(r.headers['content-type'], /^application\/problem\+json/, title);
                assert.equal(r.headers.connection === 'close' || !('connection' in r.headers), true, title);
            }
        }
    }
    for (const status of [400, 401, 403, 406, 413, 415]) {
        assert.ok(seen[status] > 20, `${status}: ${seen[status]}`);
    }
    assert.equal(ok(await app.get(`/v1/sessions/${w.a.id}`), 200).json.state, 'active', 'nothing was carried out');
    assert.equal((await app.look(w.t)).state, 'queued');
});

test('no route and no method come before all of it', async () => {
    for (const [method, path, code] of [['POST', '/v1/nowhere', 'not-found'], ['PUT', '/v1/tasks', 'method-not-allowed'], ['POST', '/healthz', 'method-not-allowed'], ['FOO', '/v1/session', 'method-not-allowed']]) {
        for (const fault of Object.values(FAULTS)) {
            problem(await ask(method, path, '', fault), code);
        }
    }
});

test('permission to send a body is not given for one that is refused, and is for one that is wanted', async () => {
    const { t, a, credentials } = await world();
    const report = '{"type":"heartbeat"}\n';
    const cases = [
        ['session', `/v1/tasks/${t.id}/reports`, 403], ['watch', `/v1/tasks/${t.id}/reports`, 403], ['watch of a rotated session', `/v1/tasks/${t.id}/reports`, 401], ['backend', '/v1/reports', 403], ['none', '/v1/reports', 401],
        ['worker', `/v1/tasks/${(await app.task(a)).id}/reports`, 404], ['worker', `/v1/tasks/${t.id}/reports`, 200], ['worker', '/v1/reports', 403],
    ];
    for (const [who, path, status] of cases) {
        const c = await connect(s);
        c.write(`POST ${path} HTTP/1.1\r\nHost: ${s.host}\r\n${credentials[who]}Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n`);
        const first = await c.response();
        assert.equal(first.status, status === 200 ? 100 : status, `${who} ${path}`);
        if (status === 200) {
            c.write(`${chunk(report)}0\r\n\r\n`);
            assert.equal(JSON.parse(ok(await c.response(), 200).text).state, 'running');
            c.destroy();
        } else {
            await c.end();
            assert.equal(c.bytes.length, 0);
        }
        c.destroy();
    }
});

test('a body that goes on for ever is refused without being read, also while the credential is looked up', async () => {
    const { credentials, a } = await world();
    for (const who of ['session', 'backend', 'rotated session', 'watch']) {
        const c = await connect(s);
        c.write(`POST /v1/session/tasks HTTP/1.1\r\nHost: ${s.host}\r\n${credentials[who]}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`);
        const more = chunk('x'.repeat(8000));
        let sent = 0;
        while (!c.ended && !c.closed && !c.reset && sent < 2 ** 28) {
            if (c.socket.write(more)) {
                sent += more.length;
            } else {
                await new Promise((done) => {
                    c.socket.once('drain', done);
                    c.socket.once('close', done);
                    c.socket.once('end', done);
                });
            }
            await new Promise(setImmediate);
        }
        assert.ok(sent < 2 ** 28, 'it was read on and on');
        const r = await c.response();
        assert.equal(r.status, { session: 413, backend: 403, 'rotated session': 401, watch: 403 }[who]);
        c.destroy();
    }
    ok(await s.api(a.token).get('/v1/session'), 200);
});
