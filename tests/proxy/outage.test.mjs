// A server that is away for a while, behind each of the proxies of docs/proxies.md: every page comes back by itself, in a real browser.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch } from '../browser/lib/pages.mjs';
import { pause } from '../http/lib/client.mjs';
import { Proxy, PROXIES, withProxy } from './lib/programs.mjs';

const AWAY_MS = 5000;
const PATIENCE = { timeout: 60_000 };

/** Runs in the page, which does nothing for its own recovery. */
function watch() {
    const now = { lives: 0, errors: 0, closed: false, faults: [], current: null };
    window.now = now;
    const source = new EventSource(location.hash.slice(1));
    source.addEventListener('live', () => now.lives++);
    source.addEventListener('task', ({ data }) => (now.current = JSON.parse(data).task.progress.current));
    for (const name of ['reset', 'session', 'problem', 'message']) {
        source.addEventListener(name, ({ data }) => now.faults.push(`${name} ${data}`));
    }
    source.onerror = () => {
        now.errors++;
        now.closed = source.readyState === EventSource.CLOSED;
    };
}

const page = `<!doctype html><meta charset="utf-8"><title>page</title><script>(${watch})();</script>`;

/** The status of an upgrade to WebSocket; 0 where the connection is just closed. */
function upgrade(proxy, headers) {
    return new Promise((done) => {
        const asked = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', origin: proxy.url, ...headers };
        const request = proxy.request(`${proxy.url}/v1/session/events`, { agent: false, headers: asked }, (response) => {
            response.resume();
            done(response.statusCode);
        });
        request.on('upgrade', (response, socket) => {
            socket.destroy();
            done(response.statusCode);
        });
        request.on('error', () => done(0));
        request.end();
    });
}

async function story(browser, { proxy, server }) {
    const { name } = proxy;
    const api = server.api();
    const session = await api.session();
    const task = await api.task(session);
    const feeds = { session: '/v1/session/events', task: `/v1/tasks/${task.id}/events?access_token=${task.token}` };
    const own = await browser.newContext({ ignoreHTTPSErrors: true });
    const [cookie, value] = proxy.cookie(session.token).split('=');
    await own.addCookies([{ name: cookie, value, url: proxy.url, httpOnly: true, sameSite: 'Lax', secure: proxy.tls }]);
    const other = await browser.newContext({ ignoreHTTPSErrors: true });
    const open = async (context, feed) => {
        const view = await context.newPage();
        await view.goto(`${proxy.url}/#${feed}`);
        return view;
    };
    const views = [await open(own, feeds.session), await open(own, feeds.session), await open(other, feeds.task)];
    const each = (fn, arg) => Promise.all(views.map((view) => view.waitForFunction(fn, arg, PATIENCE)));
    await each(() => window.now?.lives === 1);

    for (const [round, end] of ['stop', 'kill'].entries()) {
        await api.reported(task, { type: 'progress', current: 2 * round + 1 });
        await each((current) => window.now.current === current, 2 * round + 1);
        await server[end]();
        views.push(await open(own, feeds.session)); // one that is opened while the server is away
        const refused = (await proxy.api(session.token).get('/v1/session', { accept: 'application/json' })).status;
        assert.ok(refused === 502 || refused === 503, `${name}: ${refused} while the server is away`);
        assert.ok([502, 503, 0].includes(await upgrade(proxy, { authorization: `Bearer ${session.token}` })), name);
        await pause(AWAY_MS);
        for (const view of views) {
            const now = await view.evaluate(() => window.now);
            assert.ok(now.errors > 0 && !now.closed, `${name}, after ${end}: ${JSON.stringify(now)}`);
        }
        await server.restart();
        await api.reported(task, { type: 'progress', current: 2 * round + 2 });
        await each((current) => window.now.current === current && window.now.lives > 0, 2 * round + 2);
    }
    for (const [i, view] of views.entries()) {
        assert.deepEqual((await view.evaluate(() => window.now)).faults, [], `${name}, page ${i}`);
    }
    await own.close();
    await other.close();
    if (name === 'guide') {
        return; // its logs are those of the nginx around it
    }
    const lines = proxy.logged().split('\n');
    for (const secret of [task.token, session.token]) {
        assert.deepEqual(lines.filter((line) => line.includes(secret)), [], `${name} has a token in its log`);
    }
    assert.ok(name === 'node' || name === 'caddy' || lines.some((line) => line.includes(`/v1/tasks/${task.id}/events`)), `${name} has no log`);
}

describe('pages come back after an outage', { timeout: 170_000, concurrency: true }, () => {
    const proxies = new Map();
    let browser;

    before(async () => {
        for (const name of [...PROXIES, 'guide']) {
            proxies.set(name, await Proxy.named(name));
        }
        browser = await launch(`--host-resolver-rules=${[...proxies.values()].map((p) => `MAP ${p.host}:443 127.0.0.1:${p.port}`).join(', ')}`);
    });

    after(() => browser?.close());

    for (const name of [...PROXIES, 'guide']) {
        test(`behind ${name}`, () => withProxy(proxies.get(name), (world) => story(browser, world), { page }));
    }
});
