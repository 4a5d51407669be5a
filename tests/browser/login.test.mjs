// Log-in and log-out as a page sees them: a stream that lives through the change of its cookie, and one that stops for good.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { ok, pause, problem, until } from '../http/lib/client.mjs';
import { claims, hs256, nowS } from '../http/lib/jwt.mjs';
import { Lines } from '../http/lib/ndjson.mjs';
import { Server } from '../http/lib/server.mjs';
import { Application, launch, setCookie, Writer } from './lib/pages.mjs';

const PATIENCE = { timeout: 30_000 };
const SECRET = 'the secret that the application signs with';

/** Runs in the page: everything that its EventSource tells it, in order. */
function watchSession() {
    const seen = { opens: 0, errors: 0, closed: 0, lives: 0, sessions: [], faults: [], bytes: '', tasks: {}, seq: 0 };
    const source = new EventSource(new URL('/v1/session/events?output=1', new URLSearchParams(location.search).get('server')), { withCredentials: true });
    window.seen = seen;
    source.onopen = () => seen.opens++;
    source.onerror = () => {
        seen.errors++;
        seen.closed += source.readyState === EventSource.CLOSED;
    };
    const rises = (seq, strictly) => {
        if (seq < seen.seq || (strictly && seq === seen.seq)) {
            seen.faults.push(`${seq} after ${seen.seq}`);
        }
        seen.seq = seq;
    };
    source.addEventListener('task', (event) => {
        const it = JSON.parse(event.data);
        rises(it.seq, true);
        if (it.task) {
            seen.tasks[it.task.id] = it.task;
        }
    });
    source.addEventListener('output', (event) => {
        const it = JSON.parse(event.data);
        rises(it.seq, false);
        if (it.offset !== seen.bytes.length) {
            seen.faults.push(`output at ${it.offset} after ${seen.bytes.length}`);
        }
        seen.bytes += 'data_base64' in it ? atob(it.data_base64) : String.fromCharCode(...new TextEncoder().encode(it.data));
    });
    source.addEventListener('session', (event) => seen.sessions.push(JSON.parse(event.data)));
    source.addEventListener('reset', () => seen.faults.push('reset'));
    source.addEventListener('live', () => seen.lives++);
}

const lookAt = (page) => page.evaluate(() => window.seen);
const text = (seen) => Buffer.from(seen.bytes, 'latin1').toString('utf8');

let application;
let server;
let browser;
let api;
const contexts = [];

async function openPage(token) {
    const context = await browser.newContext();
    contexts.push(context);
    await setCookie(context, token);
    const page = await context.newPage();
    await page.goto(application.address({ server: server.url }));
    return { context, page };
}

const isLive = (page) => page.waitForFunction(() => window.seen.lives > 0, null, PATIENCE);
const told = (page, state, times = 1) => page.waitForFunction(([what, n]) => window.seen.sessions.filter((s) => s.state === what).length >= n, [state, times], PATIENCE);
const requests = async () => Number(/\nbowline_http_requests_total (\d+)\n/.exec(ok(await api.get('/metrics'), 200).text)[1]);
const rotate = async (session, members) => ok(await api.post(`/v1/sessions/${session.id}/rotate`, members), 200).json;

describe('log-in and log-out', { timeout: 180_000 }, () => {
    before(async () => {
        application = await new Application(watchSession).start();
        server = await new Server({ allowed_origins: application.origin, rotation_grace: 20, jwt_secrets: SECRET }).start();
        api = server.api();
        browser = await launch();
    });

    after(async () => {
        await browser?.close();
        await server?.close();
        await application?.close();
    });

    afterEach(async () => {
        for (const context of contexts.splice(0)) {
            await context.close();
        }
    });

    test('log-in while the page watches, its new cookie late: the page lives on and misses nothing', async () => {
        const session = await api.session({ key: 'before the log-in' });
        const task = await api.task(session);
        const { context, page } = await openPage(session.token);
        await isLive(page);
        const writer = new Writer(new Lines(server, `/v1/tasks/${task.id}/reports`, task.worker_token), 5, 50);
        let others;
        try {
            await page.waitForFunction(() => window.seen.bytes.length > 200, null, PATIENCE);
            const { token } = await rotate(session, { key: 'after the log-in', user: 'ada' });
            await told(page, 'rotated');
            const { bytes } = await lookAt(page);
            others = [await api.task(session), await api.task(session)];
            await api.reported(others[0], { type: 'progress', current: 3 });
            // With the old cookie it is told again, and nothing else.
            await told(page, 'rotated', 2);
            const still = await lookAt(page);
            assert.equal(still.bytes, bytes);
            assert.deepEqual(Object.keys(still.tasks), [task.id]);
            await setCookie(context, token);
            const said = writer.bytes;
            await page.waitForFunction((least) => window.seen.bytes.length > least, said, PATIENCE);
        } finally {
            for (const line of await writer.stop()) {
                assert.equal(line.code, undefined, JSON.stringify(line));
            }
            writer.lines.send({ type: 'succeed' }).end();
        }
        await page.waitForFunction((id) => window.seen.tasks[id]?.state === 'succeeded', task.id, PATIENCE);
        const seen = await lookAt(page);
        assert.deepEqual(seen.faults, []);
        assert.equal(seen.closed, 0, 'the EventSource never gave up');
        assert.ok(seen.opens >= 3, 'opened, opened within the grace, and with the new cookie');
        assert.ok(seen.sessions.every((s) => s.state === 'rotated' && s.reason === null));
        assert.equal(text(seen), writer.text);
        assert.deepEqual(others.map((o) => [seen.tasks[o.id]?.state, seen.tasks[o.id]?.progress.current]), [['running', 3], ['queued', null]]);
    });

    test('log-out: told, closed, and not a request more', async () => {
        const session = await api.session();
        const task = await api.task(session, { on_session_end: 'cancel' });
        const { page } = await openPage(session.token);
        const stranger = await api.session();
        const other = await openPage(stranger.token);
        await isLive(page);
        await isLive(other.page);
        ok(await server.api(session.token).delete('/v1/session'), 200);
        await told(page, 'ended');
        await page.waitForFunction(() => window.seen.closed > 0, null, PATIENCE);
        const before = await requests();
        await pause(5000); // more than twice the time after which an EventSource comes back
        assert.equal(await requests(), before + 1, 'only the question itself');
        const seen = await lookAt(page);
        assert.deepEqual(seen.sessions.map((s) => [s.state, s.reason]), [['ended', 'logout']]);
        assert.equal(seen.tasks[task.id].state, 'cancelled', 'the tasks are treated first');
        assert.deepEqual([seen.closed, seen.faults], [1, []]);
        assert.equal((await lookAt(other.page)).errors, 0, 'another session is not disturbed');
    });

    test('whoever fixed the session before the log-in sees nothing of what comes after it', async () => {
        const key = 'a key that somebody else knows';
        const victim = await api.session({ key });
        const old = server.api(victim.token);
        const jwt = hs256(SECRET, claims({ sid: key, iat: nowS() - 5 }));
        const task = await api.task(victim, { lease: 3600 });
        const attacker = await openPage(victim.token);
        await isLive(attacker.page);
        const streams = [await old.events('/v1/session/events'), await server.api(jwt).events('/v1/session/events'), await server.api(task.token).events(`/v1/tasks/${task.id}/events`)];
        await Promise.all(streams.map((e) => e.live()));

        const { token } = await rotate(victim, { key: 'a key of her own', user: 'eve\'s victim' });
        const secret = await api.task(victim, { title: 'for her alone' });
        await api.reported(task, { type: 'progress', message: 'for her alone' });

        for (const e of streams) {
            await e.end();
            assert.doesNotMatch(e.body, /for her alone/);
        }
        const routes = [
            ['GET', '/v1/session'], ['DELETE', '/v1/session'], ['GET', '/v1/session/tasks'], ['POST', '/v1/session/tasks', { kind: 'work' }], ['GET', `/v1/sessions/${victim.id}`],
            ...[task, secret].flatMap(({ id }) => [
                ['GET', `/v1/tasks/${id}`], ['GET', `/v1/tasks/${id}/result`], ['GET', `/v1/tasks/${id}/output`], ['POST', `/v1/tasks/${id}/cancel`, {}],
                ['POST', `/v1/tasks/${id}/answer`, { request: 'x', answer: 1 }], ['POST', `/v1/tasks/${id}/seen`], ['GET', `/v1/tasks/${id}/events`, undefined, { accept: 'application/json' }],
            ]),
            ['GET', '/v1/session/events', undefined, { accept: 'application/json' }], ['GET', '/v1/session/events', undefined, { accept: 'application/json', prefer: 'wait=5' }],
        ];
        for (const [what, credential] of Object.entries({ token: victim.token, jwt, watch: task.token })) {
            for (const [method, path, body, headers] of routes) {
                // A credential of one task is for that task's routes alone; elsewhere it is refused for what it is.
                const mine = what !== 'watch' || path.startsWith(`/v1/tasks/${task.id}`);
                const r = await server.api(credential).call(method, path, { body, headers });
                assert.ok(mine ? r.status === 401 : [401, 403, 404].includes(r.status), `${what} ${method} ${path}: ${r.status} ${r.text}`);
                assert.doesNotMatch(r.text, /for her alone/);
            }
        }
        for (const credential of [victim.token, jwt]) {
            const e = await server.api(credential).events('/v1/session/events');
            await e.end();
            assert.deepEqual(e.items.map((i) => [i.event, i.data.state]), e.status === 401 ? [] : [['session', 'rotated']]);
        }
        // The key, said by a JWT that is issued anew, is the name of another session now.
        const anew = hs256(SECRET, claims({ sid: key, iat: nowS() + 2 }));
        const fresh = ok(await server.api(anew).get('/v1/session'), 200).json;
        assert.notEqual(fresh.id, victim.id);
        assert.deepEqual(ok(await server.api(anew).get('/v1/session/tasks'), 200).json.items, []);
        problem(await server.api(anew).get(`/v1/tasks/${task.id}`), 'not-found');

        await told(attacker.page, 'rotated', 2);
        await attacker.page.waitForFunction(() => window.seen.closed > 0, null, { timeout: 60_000 });
        const seen = await lookAt(attacker.page);
        assert.deepEqual(Object.keys(seen.tasks), [task.id]);
        assert.notEqual(seen.tasks[task.id].progress.message, 'for her alone');
        assert.deepEqual(ok(await server.api(token).get('/v1/session/tasks'), 200).json.items.map((t) => [t.id, t.state]), [[secret.id, 'queued'], [task.id, 'running']],
            'nothing that was tried has changed anything');
        await until(async () => (await old.get('/v1/session/events', { accept: 'text/event-stream' })).status === 401, 'the end of the grace');
    });
});
