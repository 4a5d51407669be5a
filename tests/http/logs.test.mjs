// The log: who did what, a line each, and never a credential, however it was sent.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ok, problem, question, until } from './lib/client.mjs';
import { claims, eddsa, hs256 } from './lib/jwt.mjs';
import { exchange } from './lib/raw.mjs';
import { apiKey, run, start } from './lib/server.mjs';

const jwtSecret = 'the-secret-that-the-application-signs-its-tokens-with';
const pair = generateKeyPairSync('ed25519');
const roles = ['backend', 'worker', 'operator'];
const sessionKeys = ['framework-session-id-of-alice-8b1d', 'framework-session-id-after-login-c77e'];

let s;
let app;
before(async () => {
    s = await start({
        api_keys: roles.map((r) => `the-${r}:${r}:${apiKey(`logs-${r}`)}`).join(','), jwt_secrets: `k1:${jwtSecret}`, jwt_public_keys: pair.publicKey.export({ format: 'jwk' }).x,
        session_kinds: { note: { queue: 'notes' } }, open_sessions: true, log_level: 'debug',
    });
    app = s.api(apiKey('logs-backend'));
});
after(() => s.close());

const logLines = () => s.err.split('\n').slice(0, -1); // what stands behind the last line break is not there as a whole

/** The one line of that event that has all of these pairs, once it is there. */
function line(event, ...pairs) {
    return until(() => logLines().find((l) => l.split(' ')[2] === event && pairs.every((p) => l.includes(` ${p}`))), `${event} ${pairs.join(' ')} in\n${s.err}`);
}

test('who created, rotated, merged, cancelled, bound, deleted and ended is told, a line each', async () => {
    const by = 'by=key key="the-backend"';
    const session = await app.session({ key: 'audited' });
    await line('session.created', by, `session=${session.id}`);
    const again = ok(await app.post('/v1/sessions', { key: 'audited' }), 200).json;
    ok(await app.post(`/v1/sessions/${session.id}/rotate`, { user: 'ann' }), 200);
    await line('session.rotated', by, `session=${session.id}`);
    assert.equal(logLines().filter((l) => l.includes(' session.created ') && l.includes(again.id)).length, 1, 'finding it again creates nothing');

    const task = await app.task(session);
    await line('task.created', by, `session=${session.id}`, `task=${task.id}`);
    const token = ok(await app.post(`/v1/tasks/${task.id}/token`, {}), 200).json.token;
    ok(await s.api(token).post(`/v1/tasks/${task.id}/cancel`, {}), 200);
    await line('task.cancel_requested', `by=watch credential=${task.id}`, `task=${task.id}`);
    ok(await app.delete(`/v1/tasks/${task.id}`), 204);
    await line('task.deleted', by, `task=${task.id}`);

    const other = await app.session({ user: 'ann' });
    const moved = await app.task(session);
    ok(await app.post(`/v1/tasks/${moved.id}/bind`, { session: other.id }), 200);
    await line('task.bound', by, `session=${session.id}`, `task=${moved.id}`, `into=${other.id}`);
    ok(await app.post(`/v1/sessions/${session.id}/merge`, { into: other.id }), 200);
    await line('session.merged', by, `session=${session.id}`, `into=${other.id}`);

    const kept = ok(await app.post(`/v1/sessions/${other.id}/rotate`, {}), 200).json;
    ok(await s.api(kept.token).delete('/v1/session'), 200);
    await line('session.ended', `by=session credential=${other.id}`, `session=${other.id}`, 'reason=logout');
    const jwt = hs256(jwtSecret, claims({ sid: 'audited-jwt' }), { kid: 'k1' });
    const named = ok(await s.api(jwt).get('/v1/session'), 200).json;
    ok(await s.api(apiKey('logs-operator')).delete(`/v1/sessions/${named.id}`), 200);
    await line('session.ended', 'by=key key="the-operator"', `session=${named.id}`, 'reason=operator');
    const short = await app.session({ idle_timeout: 0.05 });
    await line('session.ended', 'by=server', `session=${short.id}`, 'reason=idle');
});

test('each line is a time, a level, an event and pairs', async () => {
    for (const l of logLines()) {
        assert.match(l, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn|info|debug) [\w.-]+( [\w]+=("([^"\\]|\\.)*"|\S+))*$/);
    }
});

/** Each credential in each place that a credential may or may not stand in. */
async function everywhere(token, tampered) {
    for (const t of [token, tampered]) {
        const one = s.api(t);
        const none = s.api(null);
        await one.get('/v1/session');
        await one.get('/v1/sessions');
        await one.post('/v1/session/tasks', { kind: 'note' });
        await one.get('/metrics');
        await none.get('/v1/session', { cookie: `bowline=${t}` });
        await none.get('/v1/session', { cookie: `bowline=${t}; bowline=${t}` });
        await none.get(`/v1/session/events?access_token=${t}`, { accept: 'application/json' });
        await none.get(`/v1/session?access_token=${t}`);
        await none.get(`/v1/tasks/${t}`);
        await one.get(`/v1/sessions/${t}/events`, { accept: 'application/json' });
        await one.get(`/v1/session/events?after=${t}`, { accept: 'application/json' });
        await one.post('/v1/queues/notes/release', { token: t });
        await one.post('/v1/tasks', { session: t, [t]: t });
        await one.text('/v1/tasks', `{"token": "${t}`);
        await one.call('POST', '/v1/reports', { body: `{"task": "tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV", "token": "${t}", "type": "heartbeat"}\n`, type: 'application/x-ndjson' });
        await one.get('/v1/session', { host: t.replace(/[^\w.-]/g, '').slice(0, 60), origin: `https://${t}` });
        await one.post('/v1/sessions', {}, { 'idempotency-key': t });
    }
    await exchange(s, `GET /v1/session HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization : Bearer ${token}\r\n\r\n`);
    await exchange(s, `GET /${token} HTTP/9.9\r\n\r\n`);
    await exchange(s, `GET /v1/session HTTP/1.1\r\nHost: ${s.host}\r\nX: ${token}${'x'.repeat(20000)}\r\n\r\n`);
}

test('no token, key or secret ever appears in the log, whatever is done with it', async () => {
    const session = await app.session({ key: sessionKeys[0] });
    const task = await app.task(session, { input: { a: 1 } });
    await app.task(session, { queue: 'logs' });
    const [claimed] = ok(await s.api(apiKey('logs-worker')).post('/v1/queues/logs/claim', { worker: 'w' }), 200).json.tasks;
    await app.reported(task, { type: 'input_request', prompt: 'ok?' });
    ok(await s.api(task.token).post(`/v1/tasks/${task.id}/answer`, { request: question(await app.look(task)), answer: 1 }), 200);
    const opened = await s.api(null).post('/v1/session', {}, { origin: s.url });
    const cookie = /bowline=([^;]+)/.exec(opened.headers['set-cookie'])[1];
    const payload = claims({ sid: 'framework-session-id-in-a-jwt-1f0a' });
    const credentials = [
        session.token, task.token, task.worker_token, claimed.worker_token, cookie, s.key, ...roles.map((r) => apiKey(`logs-${r}`)),
        hs256(jwtSecret, payload, { kid: 'k1' }), eddsa(pair.privateKey, payload), sessionKeys[0],
    ];
    const tampered = credentials.map((t) => t.slice(0, -2) + (t.endsWith('AA') ? 'BB' : 'AA'));
    for (const [at, credential] of credentials.entries()) {
        await everywhere(credential, tampered[at]);
    }
    const rotated = ok(await app.post(`/v1/sessions/${session.id}/rotate`, { key: sessionKeys[1] }), 200).json;
    problem(await s.api(session.token).get('/v1/session'), 'unauthenticated');
    await s.api(apiKey('logs-worker')).post('/v1/queues/logs/release', { token: claimed.worker_token });
    ok(await s.api(rotated.token).delete('/v1/session'), 200);
    await line('session.ended', `session=${session.id}`);
    await s.kill();
    await s.restart();
    app = s.api(apiKey('logs-backend'));
    ok(await app.get('/v1/sessions'), 200);

    const log = s.out + s.err;
    const secrets = [...credentials, ...tampered, rotated.token, sessionKeys[1], payload.sid, jwtSecret, ...readFileSync(join(s.data, 'secret'), 'utf8').trim().split('\n')];
    for (const secret of secrets) {
        for (const piece of [secret, secret.split('.').at(-1)]) {
            assert.ok(!log.includes(piece), `in the log: ${piece.slice(0, 12)}…\n${log.split('\n').find((l) => l.includes(piece))}`);
        }
    }
});

test('a start that fails over a secret option does not print it', async () => {
    const secret = apiKey('mistyped');
    for (const flag of [`--api-keys=name:nonsense:${secret}`, `--api-keys=${secret}`, `--api-keys=a:worker:${secret},a:worker:${secret}`, `--jwt-secrets=short:${secret.slice(4, 14)}`, `--webhook-secret=${secret}`]) {
        const ended = await run(['serve', '--listen', '127.0.0.1:0', '--data', join(s.data, 'none', 'there'), flag]);
        assert.notEqual(ended.code, 0, flag);
        assert.ok(!(ended.out + ended.err).includes(secret.slice(4, 14)), `${flag}\n${ended.err}`);
    }
});
