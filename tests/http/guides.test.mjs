// The guides, tried as a reader would: their files into an empty folder, their commands as they stand, then a browser's part with its cookies.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from './lib/client.mjs';
import { Browser, gateway, Guide, root } from './lib/guide.mjs';
import { openEvents } from './lib/sse.mjs';

const closed = (events) => events.end('the stream to close');

/** What each guide promises, from the first visit to the log-out. */
async function drive(guide, appCookie) {
    const url = `http://localhost:${guide.appPort}`;
    const alice = new Browser(url);

    const first = await alice.request('GET', '/');
    assert.equal(first.status, 200, guide.said());
    assert.match(first.text, /^follow\('\/v1\/session\/events'/m);
    assert.ok(alice.cookies.has(appCookie) && alice.cookies.has('bowline'), `cookies: ${[...alice.cookies.keys()]}`);

    // Anonymous: a report is made while the page watches.
    const anonymous = await alice.events();
    assert.equal(anonymous.status, 200);
    await anonymous.live();
    const begun = await alice.post('/reports', { pages: 3, click: 'one' });
    assert.equal(begun.status, 202, begun.text);
    const report = JSON.parse(begun.text);
    assert.equal(JSON.parse((await alice.post('/reports', { pages: 3, click: 'one' })).text).id, report.id, 'a double click starts one task');
    const done = await anonymous.task(report.id, (t) => t.ended_at, 'the report');
    assert.deepEqual([done.state, done.result, done.title], ['succeeded', { file: 'q3.pdf', pages: 3 }, 'Q3 report'], guide.said());
    assert.equal((await alice.request('GET', `/v1/tasks/${report.id}/result`)).status, 200);
    assert.ok(anonymous.tasks().some((t) => t.state === 'running' && t.progress.total === 3), 'progress was shown');

    // Log-in: same tasks, other credentials; what was there before is dead.
    const thief = alice.twin();
    assert.equal((await alice.post('/login', { user: 'alice' })).status, 303);
    assert.notEqual(alice.cookies.get(appCookie), thief.cookies.get(appCookie));
    assert.notEqual(alice.cookies.get('bowline'), thief.cookies.get('bowline'));
    await closed(anonymous);
    assert.deepEqual(anonymous.items.at(-1).data.state, 'rotated');
    assert.equal((await thief.request('GET', '/v1/session')).status, 401);
    const stolen = await thief.events('/v1/session/events');
    await closed(stolen);
    assert.deepEqual(stolen.tasks(), [], 'the old cookie shows nothing');
    assert.equal((await thief.post('/login', { user: 'mallory' })).status, 303, 'the planted session id is nobody');
    assert.equal((await alice.post('/login', { user: 'bob' })).status, 409);
    const own = JSON.parse((await alice.request('GET', '/v1/session')).text);
    assert.equal(own.user, 'alice');

    // Two ways to watch, and a cancel from the page.
    const page = await alice.events();
    await page.live();
    assert.deepEqual(page.tasks().map((t) => t.id), [report.id]);
    const long = JSON.parse((await alice.post('/reports', { pages: 3000 })).text);
    await page.task(long.id, (t) => t.state === 'running');
    const shared = await alice.events(`/v1/tasks/${long.id}/events?access_token=${long.token}`, false);
    assert.equal(shared.status, 200);
    await shared.task(long.id, (t) => t.progress.current >= 2, 'progress through the watch token');
    assert.equal((await thief.request('GET', `/v1/tasks/${long.id}`)).status, 404);
    assert.equal((await alice.request('POST', `/v1/tasks/${long.id}/cancel`, {})).status, 200);
    assert.equal((await page.task(long.id, (t) => t.ended_at, 'the cancelled report')).state, 'cancelled', guide.said());
    await closed(shared);

    // A question.
    const asked = async () => {
        const { id } = JSON.parse((await alice.post('/reports', { pages: 6000 })).text);
        return page.task(id, (t) => t.state === 'input_required', `the question of ${id}`);
    };
    for (const [answer, state] of [[true, 'running'], [false, 'cancelled']]) {
        const { id, input_request: question } = await asked();
        assert.deepEqual([question.prompt, question.schema], ['These are 6000 pages. Go on?', { type: 'boolean' }]);
        assert.equal((await alice.request('POST', `/v1/tasks/${id}/answer`, { request: question.id, answer })).status, 200);
        await page.task(id, (t) => t.state === state && (!answer || t.progress.current), `${state} after ${answer}: ${guide.said()}`);
        if (answer) {
            assert.equal((await alice.request('POST', `/v1/tasks/${id}/cancel`, {})).status, 200);
            await page.task(id, (t) => t.ended_at, `the end of ${id}`);
        }
    }

    // Log-out ends the streams for good; the unfinished report waits for the user's next session.
    const kept = JSON.parse((await alice.post('/reports', { pages: 20 })).text);
    const gone = alice.twin();
    assert.equal((await alice.post('/logout', {})).status, 303);
    await closed(page);
    assert.deepEqual([page.items.at(-1).event, page.items.at(-1).data.state, page.items.at(-1).data.reason], ['session', 'ended', 'logout']);
    assert.ok(!alice.cookies.has('bowline'));
    assert.equal((await gone.events()).status, 204, 'EventSource stops for good');
    assert.equal((await gone.request('GET', '/v1/session')).status, 409);
    await gone.request('GET', '/');
    assert.equal(JSON.parse((await gone.request('GET', '/v1/session')).text).user, null, 'the old cookies are nobody');
    await alice.request('GET', '/');
    assert.equal((await alice.post('/login', { user: 'alice' })).status, 303);
    const back = await alice.events();
    await back.task(kept.id, (t) => t.state === 'succeeded', 'the report that waited');
    back.close();
}

test('what a page does is the same in every guide, and how it follows its feed the same everywhere', () => {
    const text = (name) => readFileSync(join(root, name), 'utf8');
    const guides = ['express', 'flask', 'php', 'c'].map((name) => `docs/guide-${name}.md`);
    const pages = guides.map((name) => /^```html index\.html\n([\s\S]*?)^```$/m.exec(text(name))[1]);
    assert.equal(new Set(pages).size, 1);
    const follow = text('web/demo/follow.js').replace('export function', 'function');
    for (const name of guides) {
        assert.ok(text(name).includes(follow), `${name} follows in its own way`);
    }
    for (const name of ['README.md', 'docs/guide-integration.md', 'web/demo/feed.js']) {
        assert.match(text(name), /^import \{ follow \} from '\.\/follow\.js';$/m, name);
        assert.doesNotMatch(text(name), /new EventSource\('\/v1\/session\/events'\);/, name);
    }
});

const webGuides = [
    { name: 'guide-express.md', cookie: 'connect.sid', needs: { folders: { node_modules: 'tests/node_modules' } } },
    { name: 'guide-flask.md', cookie: 'session', needs: { files: ['clients/python/bowline.py'] } },
    { name: 'guide-php.md', cookie: 'PHPSESSID', needs: {} },
];
for (const { name, cookie, needs } of webGuides) {
    test(`${name}: from an empty folder to the log-out`, async () => {
        const guide = await Guide.open(name, needs);
        try {
            await guide.serve();
            guide.start('app');
            await guide.ready(`http://localhost:${guide.appPort}/favicon.ico`, 'the application');
            guide.start('worker');
            await drive(guide, cookie);
        } catch (e) {
            e.message += guide.said();
            throw e;
        } finally {
            await guide.close();
        }
    });
}

test('guide-c.md: from an empty folder to the log-out', async () => {
    const guide = await Guide.open('guide-c.md');
    let proxy;
    try {
        await guide.serve();
        guide.start('app');
        await guide.ready(`http://127.0.0.1:${guide.innerPort}/favicon.ico`, 'the application');
        proxy = await gateway(guide);
        await drive(guide, 'sid');
    } catch (e) {
        e.message += guide.said();
        throw e;
    } finally {
        proxy?.closeAllConnections();
        proxy?.close();
        await guide.close();
    }
});

// ---- workers ----

async function workersGuide() {
    const guide = await Guide.open('guide-workers.md', { files: ['clients/python/bowline.py'] });
    const c = readFileSync(join(root, 'docs/guide-c.md'), 'utf8');
    for (const name of ['bowline.h', 'bowline.c']) {
        writeFileSync(join(guide.folder, name), new RegExp(`^\`\`\`c ${name}\n([\\s\\S]*?)^\`\`\`$`, 'm').exec(c)[1]);
    }
    await guide.serve({ BOWLINE_CANCEL_GRACE: '600' });
    return guide;
}

async function startTask(guide, pages, members = {}) {
    const { json } = await guide.api('POST', '/v1/tasks', { session: { key: 'somebody' }, kind: 'report', queue: 'reports', input: { pages }, ...members });
    return json;
}

const running = (guide, id, test = () => true) => until(async () => {
    const { json } = await guide.api('GET', `/v1/tasks/${id}`);
    return json.state === 'running' && json.progress.current >= 1 && test(json) && json;
}, `${id} to run: ${guide.said()}`, 30000);

for (const language of ['shell', 'c', 'python', 'node']) {
    test(`guide-workers.md: the worker in ${language} succeeds, is cancelled, survives a restart and gives back`, async () => {
        const guide = await workersGuide();
        try {
            const started = guide.start('task');
            assert.equal((await started.ended).code, 0, started.text);
            const first = JSON.parse(started.text);
            assert.deepEqual([first.max_attempts, first.state], [3, 'queued']);
            guide.start(language);
            const done = await guide.ended(first.id);
            assert.deepEqual([done.state, done.result, done.attempt], ['succeeded', { file: 'q3.pdf', pages: 10 }, 1]);
            assert.deepEqual([done.progress.current, done.progress.total, done.progress.unit], [10, 10, 'pages']);

            const long = await startTask(guide, 3000);
            await running(guide, long.id);
            await guide.api('POST', `/v1/tasks/${long.id}/cancel`, {});
            assert.equal((await guide.ended(long.id)).state, 'cancelled');

            const kept = await startTask(guide, 15);
            await running(guide, kept.id);
            await guide.end('server', 'SIGKILL');
            await guide.serve({ BOWLINE_CANCEL_GRACE: '600' });
            const survived = await guide.ended(kept.id);
            assert.deepEqual([survived.state, survived.attempt], ['succeeded', 1]);

            const back = await startTask(guide, 3000);
            await running(guide, back.id);
            await guide.end(language);
            await until(async () => (await guide.api('GET', `/v1/tasks/${back.id}`)).json.state === 'queued', 'the task to be back in its queue');
        } catch (e) {
            e.message += guide.said();
            throw e;
        } finally {
            await guide.close();
        }
    });
}

test('guide-workers.md: a worker that is killed is stalled, then superseded, and another one finishes', async () => {
    const guide = await workersGuide();
    try {
        guide.start('node');
        const task = await startTask(guide, 20, { lease: 2, max_attempts: 3, backoff: 0.2 });
        const { json: session } = await guide.api('POST', '/v1/sessions', { key: 'somebody' });
        const feed = await openEvents(guide.server, '/v1/session/events', { token: session.token });
        await feed.task(task.id, (t) => t.progress.current >= 2, 'progress');
        await guide.end('node', 'SIGKILL');
        const stalled = await feed.task(task.id, (t) => t.stalled, 'stalled');
        assert.deepEqual([stalled.state, stalled.attempt], ['running', 1]);
        const queued = await feed.task(task.id, (t) => t.state === 'queued', 'the end of the attempt');
        assert.equal(queued.stalled, false);
        guide.start('python');
        const again = await feed.task(task.id, (t) => t.state === 'running', 'attempt 2');
        assert.deepEqual([again.attempt, again.progress.current], [2, null]);
        assert.deepEqual((await guide.ended(task.id)).result, { file: 'q3.pdf', pages: 20 });
        feed.close();
    } catch (e) {
        e.message += guide.said();
        throw e;
    } finally {
        await guide.close();
    }
});

test('guide-workers.md: the old attempt is refused, and the last one fails as worker-lost', async () => {
    const guide = await workersGuide();
    try {
        const task = await startTask(guide, 1, { lease: 2, max_attempts: 2, backoff: 0 });
        const tokens = [];
        for (const attempt of [1, 2]) {
            const claimed = await until(async () => (await guide.api('POST', '/v1/queues/reports/claim', {})).json?.tasks?.[0], `attempt ${attempt}`);
            assert.equal(claimed.attempt, attempt);
            tokens.push(claimed.worker_token);
            assert.equal((await guide.api('POST', `/v1/tasks/${task.id}/reports`, { type: 'progress', current: 1 }, claimed.worker_token)).status, 200);
        }
        const old = await guide.api('POST', `/v1/tasks/${task.id}/reports`, { type: 'progress', current: 2 }, tokens[0]);
        assert.deepEqual([old.status, old.json.code], [409, 'attempt-superseded']);
        const lost = await guide.ended(task.id);
        assert.deepEqual([lost.state, lost.error.type], ['failed', 'worker-lost']);
    } finally {
        await guide.close();
    }
});
