// An answer that comes token by token, in a page that is refreshed while it runs.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../http/lib/client.mjs';
import { Lines } from '../http/lib/ndjson.mjs';
import { Server } from '../http/lib/server.mjs';
import { Application, launch, setCookie, Writer } from './lib/pages.mjs';

const REFRESHES = 5;
const PATIENCE = { timeout: 60_000 };

/** Runs in the page. With `keep`, it keeps what it has with its cursor, and asks only for what comes after. */
function watchOutput() {
    const query = new URLSearchParams(location.search);
    const keep = query.has('keep');
    const none = { cursor: null, bytes: '', events: 0, loads: 0, resumed: 0, faults: [], state: null, stopped: false };
    const kept = keep ? JSON.parse(sessionStorage.getItem('kept') ?? 'null') : null;
    const now = { ...none, ...kept };
    for (let i = 0; i < now.events; i++) {
        now.bytes += sessionStorage.getItem(`bytes ${i}`);
    }
    now.loads = Number(sessionStorage.getItem('loads') ?? 0) + 1;
    sessionStorage.setItem('loads', now.loads);
    window.now = now;
    const url = new URL(query.get('feed'));
    if (now.cursor !== null) {
        now.resumed++;
        url.searchParams.set('after', now.cursor);
    }
    const source = new EventSource(url, { withCredentials: query.has('cookie') });
    const take = (event, act) => {
        act(event.data ? JSON.parse(event.data) : null);
        now.cursor = event.lastEventId;
        if (keep) {
            sessionStorage.setItem('kept', JSON.stringify({ ...now, bytes: '' }));
        }
    };
    source.addEventListener('output', (event) => take(event, (output) => {
        const raw = 'data_base64' in output ? atob(output.data_base64) : String.fromCharCode(...new TextEncoder().encode(output.data));
        if (output.task !== query.get('task') || output.offset !== now.bytes.length) {
            now.faults.push(`output of ${output.task} at ${output.offset} after ${now.bytes.length}`);
        }
        if (keep) {
            sessionStorage.setItem(`bytes ${now.events}`, raw);
        }
        now.bytes += raw;
        now.events++;
    }));
    source.addEventListener('task', (event) => take(event, (it) => {
        if (it.task.id === query.get('task')) {
            now.state = it.task.state;
        }
    }));
    source.addEventListener('reset', (event) => take(event, () => now.faults.push('reset')));
    source.addEventListener('session', (event) => take(event, () => now.faults.push('session')));
    source.addEventListener('live', (event) => take(event, () => {}));
    source.onerror = () => (now.stopped = source.readyState === EventSource.CLOSED);
    // What changes between an event and the end of a page is lost with it, so a page that goes away takes nothing more.
    window.addEventListener('pagehide', () => source.close());
}

const lookAt = (page) => page.evaluate(() => window.now);
const text = (now) => Buffer.from(now.bytes, 'latin1').toString('utf8');

describe('an answer token by token', { timeout: 300_000 }, () => {
    let application;
    let server;
    let browser;

    before(async () => {
        application = await new Application(watchOutput).start();
        server = await new Server({ allowed_origins: application.origin }).start();
        browser = await launch();
    });

    after(async () => {
        await browser?.close();
        await server?.close();
        await application?.close();
    });

    test('arrives complete and once in pages that are refreshed, on the task\'s feed and on the session\'s', async () => {
        const api = server.api();
        const session = await api.session();
        const task = await api.task(session, { kind: 'answer' });
        const context = await browser.newContext();
        await setCookie(context, session.token);
        const own = { task: task.id, feed: `${server.url}/v1/tasks/${task.id}/events?access_token=${task.token}` };
        const all = { task: task.id, feed: `${server.url}/v1/session/events?output=1`, cookie: 1 };
        const views = await Promise.all([{ ...own, keep: 1 }, own, { ...all, keep: 1 }, all].map(async (parameters) => {
            const page = await context.newPage();
            await page.goto(application.address(parameters));
            return { page, keep: 'keep' in parameters, own: parameters.feed === own.feed };
        }));

        const writer = new Writer(new Lines(server, `/v1/tasks/${task.id}/reports`, task.worker_token), 17);
        try {
            const grown = (page, least) => page.waitForFunction((bytes) => window.now?.bytes.length > bytes, least, PATIENCE);
            for (let i = 0; i < REFRESHES; i++) {
                const said = writer.bytes;
                await Promise.all(views.map(({ page }) => grown(page, said + 200)));
                await Promise.all(views.map(({ page }) => page.reload()));
            }
            const said = writer.bytes;
            await Promise.all(views.map(({ page }) => grown(page, said)));
        } finally {
            for (const line of await writer.stop()) {
                assert.equal(line.code, undefined, JSON.stringify(line));
            }
        }
        writer.lines.send({ type: 'succeed' }).end();
        await writer.lines.ended();

        for (const view of views) {
            await view.page.waitForFunction(() => window.now.state === 'succeeded', null, PATIENCE);
            const now = await lookAt(view.page);
            assert.deepEqual(now.faults, [], JSON.stringify({ keep: view.keep, own: view.own }));
            assert.equal(now.loads, REFRESHES + 1);
            assert.equal(now.resumed, view.keep ? REFRESHES : 0);
            assert.equal(text(now), writer.text);
        }
        assert.ok(writer.tokens > 200 && (await lookAt(views[0].page)).events > REFRESHES, 'it came in parts');
        for (const { page } of views.filter((view) => view.own)) {
            await page.waitForFunction(() => window.now.stopped, null, PATIENCE);
            assert.equal(text(await lookAt(page)), writer.text, 'coming back after the end brings nothing again');
        }
        const output = await server.api(task.token).get(`/v1/tasks/${task.id}/output`);
        assert.equal(output.text, writer.text);
        await context.close();
        await until(async () => /\nbowline_watchers 0\n/.test((await api.get('/metrics')).text), 'the watchers to leave');
    });
});
