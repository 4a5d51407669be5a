// The guides, tried as a reader would: their files into an empty folder, their commands as they stand, then a browser's part with its cookies.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pause, until } from './lib/client.mjs';
import { freePort } from './lib/ports.mjs';
import { binary, cleanEnv } from './lib/server.mjs';
import { openEvents } from './lib/sse.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

const groups = new Set();
const endGroup = (child, signal) => {
    try {
        process.kill(-child.pid, signal);
    } catch {
        // it has ended by itself
    }
};
process.on('exit', () => groups.forEach((child) => endGroup(child, 'SIGKILL')));

/** A guide's blocks in a folder of their own: ```LANGUAGE FILE is a file, ```sh NAME a command. Ports 3000, 3001 and 8787 become free ones. */
class Guide {
    static async open(name, { files = [], folders = {} } = {}) {
        const guide = new Guide();
        [guide.appPort, guide.bowlinePort, guide.innerPort] = [await freePort(), await freePort(), await freePort()];
        guide.folder = mkdtempSync(join(tmpdir(), 'bowline-guide-'));
        guide.commands = {};
        guide.children = {};
        const text = readFileSync(join(root, 'docs', name), 'utf8').replaceAll('localhost:3000', `localhost:${guide.appPort}`)
            .replaceAll('127.0.0.1:8787', `127.0.0.1:${guide.bowlinePort}`).replaceAll('3001', String(guide.innerPort));
        for (const [, info, body] of text.matchAll(/^```\w+ ([\w.-]+)\n([\s\S]*?)^```$/gm)) {
            if (info.includes('.')) {
                writeFileSync(join(guide.folder, info), body);
            } else {
                guide.commands[info] = body.trim();
            }
        }
        mkdirSync(join(guide.folder, 'bin'));
        symlinkSync(binary, join(guide.folder, 'bin/bowline'));
        symlinkSync('/usr/bin/python3', join(guide.folder, 'bin/python3'));     // the one that Debian's packages are for
        files.forEach((file) => cpSync(join(root, file), join(guide.folder, file.split('/').at(-1))));
        Object.entries(folders).forEach(([link, target]) => symlinkSync(join(root, target), join(guide.folder, link)));
        return guide;
    }

    /** Starts the command of that name; as is the name it is known under here. */
    start(name, as = name, more = {}) {
        assert.ok(this.commands[name], `the guide has no command ${name}`);
        const child = spawn('bash', ['-euo', 'pipefail', '-c', this.commands[name]], {
            cwd: this.folder, detached: true, stdio: ['ignore', 'pipe', 'pipe'],
            env: cleanEnv({
                PATH: `${this.folder}/bin:${process.env.PATH}`, PORT: String(this.appPort), PYTHONDONTWRITEBYTECODE: '1', BOWLINE_LISTEN: `127.0.0.1:${this.bowlinePort}`,
                BOWLINE_URL: `http://127.0.0.1:${this.bowlinePort}`, BOWLINE_DRAIN_TIME: '0.1', ...more,
            }),
        });
        groups.add(child);
        child.text = '';
        child.stdout.on('data', (data) => (child.text += data));
        child.stderr.on('data', (data) => (child.text += data));
        child.ended = new Promise((done) => child.on('close', (code, signal) => {
            groups.delete(child);
            done({ code, signal });
        }));
        this.children[as] = child;
        return child;
    }

    async end(as, signal = 'SIGTERM') {
        assert.ok(this.children[as], as);
        endGroup(this.children[as], signal);
        return this.children[as].ended;
    }

    async ready(url, what) {
        await until(async () => (await fetch(url).catch(() => null))?.status < 500, `${what}: ${this.said()}`, 30000);
    }

    async serve(more) {
        this.start('server', 'server', more);
        this.server = { url: `http://127.0.0.1:${this.bowlinePort}` };
        await this.ready(`${this.server.url}/readyz`, 'the server');
        this.key = readFileSync(join(this.folder, 'bowline-data/api.key'), 'utf8').trim();
    }

    async api(method, path, body, token = this.key) {
        const answer = await fetch(this.server.url + path, {
            method, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: body && JSON.stringify(body),
        });
        const text = await answer.text();
        return { status: answer.status, json: text && JSON.parse(text) };
    }

    ended(id) {
        return until(async () => {
            const { json } = await this.api('GET', `/v1/tasks/${id}`);
            return json.ended_at && json;
        }, `the end of ${id}: ${this.said()}`, 30000);
    }

    said() {
        return Object.entries(this.children).map(([as, child]) => `\n== ${as}\n${child.text}`).join('');
    }

    async close() {
        for (const as of Object.keys(this.children).reverse()) {
            const end = await Promise.race([this.end(as), pause(10000, undefined, { ref: false })]);
            if (!end) {
                await this.end(as, 'SIGKILL');
            }
        }
        rmSync(this.folder, { recursive: true, force: true });
    }
}

// ---- the browser ----

class Browser {
    constructor(url) {
        this.url = url;
        this.cookies = new Map();
    }

    header() {
        return [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    }

    /** A copy that will not see the cookies that come later. */
    twin() {
        const twin = new Browser(this.url);
        twin.cookies = new Map(this.cookies);
        return twin;
    }

    request(method, path, body) {
        return new Promise((done, fail) => {
            const headers = { cookie: this.header(), ...(method === 'GET' ? {} : { origin: this.url }) };
            const text = body && (body instanceof URLSearchParams ? body.toString() : JSON.stringify(body));
            if (body) {
                headers['content-type'] = body instanceof URLSearchParams ? 'application/x-www-form-urlencoded' : 'application/json';
                headers['content-length'] = Buffer.byteLength(text);
            }
            const call = http.request(this.url + path, { method, headers, agent: false }, (response) => {
                for (const line of response.headers['set-cookie'] ?? []) {
                    this.setCookie(line);
                }
                let all = '';
                response.setEncoding('utf8');
                response.on('data', (d) => (all += d));
                response.on('error', fail);
                response.on('end', () => done({ status: response.statusCode, headers: response.headers, text: all }));
            });
            call.on('error', fail);
            call.end(text);
        });
    }

    setCookie(line) {
        const [pair, ...attributes] = line.split(/; */);
        const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
        const has = (word) => attributes.some((a) => a.toLowerCase() === word);
        assert.ok(has('httponly') && (has('samesite=lax') || has('samesite=strict')) && has('path=/') || value === '', `a cookie that is not guarded: ${line}`);
        const gone = value === '' || value === 'deleted' || attributes.some((a) => /^max-age=0$/i.test(a) || (/^expires=/i.test(a) && new Date(a.slice(8)) < new Date()));
        if (gone) {
            this.cookies.delete(name);
        } else {
            this.cookies.set(name, value);
        }
    }

    post(path, form) {
        return this.request('POST', path, new URLSearchParams(form));
    }

    events(path = '/v1/session/events', withCookies = true) {
        return openEvents({ url: this.url }, path, { headers: withCookies ? { cookie: this.header() } : {} });
    }
}

/** What nginx.conf of the guide says: bowline's paths to bowline, the rest to the application. */
function gateway(guide) {
    assert.match(readFileSync(join(guide.folder, 'nginx.conf'), 'utf8'), /location ~ \^\/v1\/\(session\|session\/\.\*\|tasks\/\.\*\)\$ \{/);
    const server = http.createServer((req, res) => {
        const port = /^\/v1\/(session|session\/.*|tasks\/.*)$/.test(req.url.split('?')[0]) ? guide.bowlinePort : guide.innerPort;
        const onward = http.request({ host: '127.0.0.1', port, path: req.url, method: req.method, headers: req.headers }, (answer) => {
            res.writeHead(answer.statusCode, answer.headers);
            res.flushHeaders();
            answer.pipe(res);
        });
        onward.on('error', () => (res.headersSent ? res.destroy() : res.writeHead(502).end()));
        res.on('close', () => onward.destroy());
        req.pipe(onward);
    });
    return new Promise((done) => server.listen(guide.appPort, 'localhost', () => done(server)));
}

const closed = (events) => events.end('the stream to close');

/** What each guide promises, from the first visit to the log-out. */
async function drive(guide, appCookie) {
    const url = `http://localhost:${guide.appPort}`;
    const alice = new Browser(url);

    const first = await alice.request('GET', '/');
    assert.equal(first.status, 200, guide.said());
    assert.match(first.text, /new EventSource\('\/v1\/session\/events'\)/);
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
