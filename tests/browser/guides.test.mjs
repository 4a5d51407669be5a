// The guides' pages in a real browser: the server goes away and comes back, people log out and in again in another tab, a worker asks.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../http/lib/client.mjs';
import { gateway, Guide } from '../http/lib/guide.mjs';
import { launch } from './lib/pages.mjs';

const PATIENCE = { timeout: 60_000 };

/** Runs in each page before its own script: counts how often an EventSource gave up, and how often one was live. */
function countFeeds() {
    window.feeds = { closed: 0, live: 0 };
    window.EventSource = class extends EventSource {
        constructor(...all) {
            super(...all);
            this.addEventListener('live', () => window.feeds.live++);
            this.addEventListener('error', () => (window.feeds.closed += this.readyState === EventSource.CLOSED ? 1 : 0));
        }
    };
}

const feeds = (page, name, least) => page.waitForFunction(([which, count]) => window.feeds[which] >= count, [name, least], PATIENCE);
const line = (page, text) => page.locator('#tasks li', { hasText: text });
const shows = (page, text) => line(page, text).first().waitFor(PATIENCE);
const own = (page, path, options) => page.evaluate(([where, how]) => fetch(where, how).then((answer) => answer.json()), [path, options]);

async function openPage(context, url) {
    const page = await context.newPage();
    page.on('dialog', (dialog) => dialog.dismiss());
    await page.goto(url);
    await feeds(page, 'live', 1);
    return page;
}

/** Over what a guide starts: the pages' side, whatever the application is written in. */
async function drive(guide, context) {
    const url = `http://localhost:${guide.appPort}/`;
    const [page, tab] = [await openPage(context, url), await openPage(context, url)];
    await page.click('#start');
    await Promise.all([page, tab].map((p) => shows(p, /^Q3 report: succeeded 100 %$/)));

    // The server is away, for longer than one try: whoever passes the feed on answers 502.
    await guide.end('server', 'SIGKILL');
    await Promise.all([page, tab].map((p) => feeds(p, 'closed', 2)));
    const [before, there] = await Promise.all([page, tab].map((p) => p.evaluate(() => window.feeds.live)));
    await guide.serve();
    await Promise.all([feeds(page, 'live', before + 1), feeds(tab, 'live', there + 1)]);
    assert.deepEqual([await line(page, 'Q3 report').count(), await line(tab, 'Q3 report').count()], [1, 1], 'nothing is shown twice');

    // What is shown is rounded down, and is text.
    const { id: session } = await own(page, '/v1/session');
    const { json: work } = await guide.api('POST', '/v1/tasks', { session, kind: 'work', title: '<b>bold</b>' });
    await guide.api('POST', `/v1/tasks/${work.id}/reports`, { type: 'progress', current: 999, total: 1000 }, work.worker_token);
    await Promise.all([page, tab].map((p) => shows(p, /^<b>bold<\/b>: running 99 %$/)));
    await guide.api('POST', `/v1/tasks/${work.id}/reports`, { type: 'progress', current: 29, total: 100 }, work.worker_token);
    await shows(tab, /: running 29 %$/);

    // Questions: for yes or no, and for a text.
    const report = (pages) => page.evaluate((count) => fetch('/reports', { method: 'POST', body: new URLSearchParams({ pages: count }) }).then((answer) => answer.json()), pages);
    const large = await report(6000);
    await line(tab, 'These are 6000 pages. Go on?').getByRole('button', { name: 'No' }).click(PATIENCE);
    await shows(page, 'Q3 report: cancelled');
    assert.equal((await guide.api('GET', `/v1/tasks/${large.id}`)).json.state, 'cancelled');
    await guide.api('POST', `/v1/tasks/${work.id}/reports`, { type: 'input_request', prompt: 'Which <i>name</i>?' }, work.worker_token);
    page.removeAllListeners('dialog').once('dialog', (dialog) => dialog.accept('Q4'));
    await line(page, 'Which <i>name</i>?').getByRole('button', { name: 'Answer' }).click(PATIENCE);
    await until(async () => (await guide.api('GET', `/v1/tasks/${work.id}/control`, undefined, work.worker_token)).json.answer?.answer === 'Q4', 'the answer');

    // Log-in in one tab: the other goes on with it. Log-out: it shows nothing more, and starts anew with whoever logs in next.
    await page.click('text=Log in');
    await page.click('#start');
    await feeds(tab, 'live', there + 2);
    await until(async () => (await line(tab, 'Q3 report').count()) === 3, `the report of after the log-in: ${guide.said()}`, 60000);
    const seen = await tab.evaluate(() => window.feeds.live);
    await page.click('text=Log out');
    await until(async () => (await tab.locator('#tasks li').count()) === 0, 'the list to be cleared', 60000);
    await feeds(tab, 'live', seen + 1);
    await page.click('text=Log in');
    await page.click('#start');
    await shows(tab, /Q3 report: (running|succeeded)/);
}

const guides = [
    { name: 'guide-express.md', needs: { folders: { node_modules: 'tests/node_modules' } } },
    { name: 'guide-flask.md', needs: { files: ['clients/python/bowline.py'] } },
    { name: 'guide-php.md' },
    { name: 'guide-c.md', inner: true },
];

async function start(guide, inner, more) {
    await guide.serve(more);
    guide.start('app', 'app', more);
    await guide.ready(inner ? `http://127.0.0.1:${guide.innerPort}/favicon.ico` : `http://localhost:${guide.appPort}/favicon.ico`, 'the application');
}

describe('the page of', { timeout: 400_000 }, () => {
    let browser;

    before(async () => {
        browser = await launch();
    });
    after(() => browser?.close());

    async function withGuide(name, needs, use) {
        const guide = await Guide.open(name, needs);
        const context = await browser.newContext({ ignoreHTTPSErrors: true });
        await context.addInitScript(countFeeds);
        try {
            await use(guide, context);
        } catch (e) {
            e.message += guide.said();
            throw e;
        } finally {
            await context.close();
            await guide.close();
        }
    }

    for (const { name, needs, inner } of guides) {
        test(`${name} survives the server, log-out and log-in, and asks`, () => withGuide(name, needs, async (guide, context) => {
            let proxy;
            try {
                await start(guide, inner);
                proxy = inner && await gateway(guide);
                if (guide.commands.worker) {
                    guide.start('worker');
                }
                await drive(guide, context);
            } finally {
                proxy?.closeAllConnections();
                proxy?.close();
            }
        }));
    }

    test('guide-flask.md goes on when its JWT has come to its end', () => withGuide('guide-flask.md', { files: ['clients/python/bowline.py'] }, async (guide, context) => {
        const file = (name) => join(guide.folder, name);
        const text = (name) => readFileSync(file(name), 'utf8');
        const given = /^@app\.after_request\n[\s\S]*?\n\n\n/m;
        assert.match(text('app.py'), given);
        writeFileSync(file('app.py'), text('app.py').replace(given, `${text('give_token.py')}\n\n`).replace('from bowline import Client', 'from bowline import Client\nfrom bowline_jwt import bowline_jwt'));
        writeFileSync(file('bowline_jwt.py'), text('bowline_jwt.py').replace('lifetime=3600', 'lifetime=3'));
        const SECRET = 'a secret of more than thirty-two bytes';
        await start(guide, false, { SESSION_SECRET: SECRET, BOWLINE_JWT_SECRETS: SECRET });
        guide.start('worker');
        const page = await openPage(context, `http://localhost:${guide.appPort}/`);
        await feeds(page, 'closed', 2);
        await feeds(page, 'live', 3);
        await page.click('#start');
        await shows(page, /^Q3 report: succeeded 100 %$/);
        assert.equal(await page.locator('#tasks li').count(), 1);
    }));

    // ---- the pieces that the README and guide-integration.md give, in an application around them ----

    const HEAD = `
        import http from 'node:http';
        import express from 'express';
        import expressSession from 'express-session';
        const app = express();
        const server = process.env.BOWLINE_URL;
        app.use(['/v1/session', '/v1/tasks'], (req, res) => {
            const onward = http.request(server + req.originalUrl, { method: req.method, headers: req.headers }, (answer) => {
                res.writeHead(answer.statusCode, answer.headers);
                res.flushHeaders();
                answer.pipe(res);
            });
            onward.on('error', () => (res.headersSent ? res.destroy() : res.sendStatus(502)));
            res.on('close', () => onward.destroy());
            req.pipe(onward);
        });
        app.use(express.static('static'), express.json(), express.urlencoded({ extended: false }), expressSession({ secret: 'x', resave: false, saveUninitialized: true }));
    `;
    const TAIL = `
        app.get('/', (req, res) => res.sendFile('index.html', { root: '.' }));
        app.listen(process.env.PORT, 'localhost');
    `;
    const PAGE = `<!doctype html><meta charset="utf-8"><ul id="tasks"></ul><script type="module">
        const list = document.getElementById('tasks');
        const lines = new Map();
        window.show = (task) => {
            lines.set(task.id, lines.get(task.id) ?? list.appendChild(document.createElement('li')));
            lines.get(task.id).textContent = [task.kind, task.state, task.input_request?.prompt].join(' ');
        };
        window.remove = (id) => lines.get(id)?.remove();
        window.removeAll = () => (list.replaceChildren(), lines.clear());
        window.draw = (tasks) => (removeAll(), tasks.forEach(show), window.tasks = tasks);
        </script><script type="module" src="page.js"></script>`;

    async function withPieces(name, server, client, use) {
        await withGuide(name, { folders: { node_modules: 'tests/node_modules' }, files: ['web/demo/follow.js'] }, async (guide, context) => {
            const file = (piece) => join(guide.folder, piece);
            const text = (piece) => readFileSync(file(piece), 'utf8');
            mkdirSync(file('static'));
            writeFileSync(file('static/page.js'), client.map(text).join('\n'));
            writeFileSync(file('static/follow.js'), text('follow.js'));
            writeFileSync(file('index.html'), PAGE);
            writeFileSync(file('app.mjs'), HEAD + server.map(text).join('\n') + TAIL);
            guide.commands.server = `bowline serve --data bowline-data --public-url http://localhost:${guide.appPort}`;
            guide.commands.app = 'BOWLINE_KEY=$(cat bowline-data/api.key) node app.mjs';
            await start(guide);
            const page = await openPage(context, `http://localhost:${guide.appPort}/`);
            await use(guide, page, context);
        });
    }

    const begin = (page, body = {}) => page.evaluate((it) => fetch('/reports', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(it) })
        .then((answer) => answer.status), body);

    async function comesBack(guide, page) {
        assert.equal(await begin(page), 202);
        await shows(page, /^report queued/);
        // The session ends: what is started next is seen, by this page and by one that is opened then.
        const { id } = await own(page, '/v1/session');
        await page.evaluate(() => window.stop());                            // as a browser that sleeps would miss it
        await guide.api('DELETE', `/v1/sessions/${id}`);
        assert.equal(await begin(page), 202);
        const next = await own(page, '/v1/session');
        assert.deepEqual([next.state, next.tasks.unfinished], ['active', 1]);
        assert.notEqual(next.id, id);
        await page.reload();
        await shows(page, /^report queued/);
        assert.equal(await page.locator('#tasks li').count(), 1);
        // The server is away: nothing is said to have begun, and the page comes back.
        await guide.end('server', 'SIGKILL');
        await feeds(page, 'closed', 2);
        assert.equal(await begin(page), 500);
        const seen = await page.evaluate(() => window.feeds.live);
        await guide.serve();
        await feeds(page, 'live', seen + 1);
        assert.equal(await begin(page), 202);
        await line(page, /^report queued/).nth(1).waitFor(PATIENCE);
    }

    test('the README: an application of its pieces', () => withPieces('../README.md', ['server.js'], ['page.js'], comesBack));

    test('guide-integration.md: an application of its pieces', () => withPieces('guide-integration.md', ['bowline.js', 'reports.js', 'login.js'], ['page.js', 'question.js'], async (guide, page, context) => {
        await comesBack(guide, page);
        const post = (on, path, form = {}) => on.evaluate(([where, what]) => fetch(where, { method: 'POST', body: new URLSearchParams(what) }).then((answer) => answer.status), [path, form]);
        const tab = await openPage(context, page.url());
        // Its worker, and a question.
        writeFileSync(join(guide.folder, 'worker.mjs'), `const KEY = process.env.BOWLINE_KEY, BOWLINE = process.env.BOWLINE_URL, renderPage = () => {};\n${readFileSync(join(guide.folder, 'worker.js'), 'utf8')}`);
        guide.commands.worker = 'BOWLINE_KEY=$(cat bowline-data/api.key) node worker.mjs';
        guide.start('worker');
        await line(page, /^report succeeded/).nth(1).waitFor(PATIENCE);
        const { id: session } = await own(page, '/v1/session');
        const { json: asking } = await guide.api('POST', '/v1/tasks', { session, kind: 'work' });
        await guide.api('POST', `/v1/tasks/${asking.id}/reports`, { type: 'input_request', prompt: 'Overwrite?', schema: { type: 'boolean' } }, asking.worker_token);
        await shows(page, 'work input_required Overwrite?');
        page.removeAllListeners('dialog').once('dialog', (dialog) => dialog.accept());
        await page.addScriptTag({ content: readFileSync(join(guide.folder, 'question.js'), 'utf8') });
        assert.equal(await page.evaluate((id) => window.ask(window.tasks.get(id)).then((answer) => answer.status), asking.id), 200);
        await shows(page, 'work running');
        // Log-in and log-out, seen from the other tab.
        const seen = await tab.evaluate(() => window.feeds.live);
        assert.equal(await post(page, '/login', { user: 'alice' }), 200);
        await feeds(tab, 'live', seen + 1);
        assert.equal((await own(tab, '/v1/session')).user, 'alice');
        assert.equal(await post(page, '/logout'), 200);
        await until(async () => (await tab.locator('#tasks li').count()) === 0, 'the list to be cleared', 60000);
        await feeds(tab, 'live', seen + 2);
        assert.equal((await own(tab, '/v1/session')).user, null);
    }));

    /** https at the application's address, as a proxy in front of it would. */
    async function secure(guide) {
        const [key, cert] = [join(guide.folder, 'key.pem'), join(guide.folder, 'cert.pem')];
        execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
        const server = https.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (req, res) => {
            const headers = { ...req.headers, 'x-forwarded-proto': 'https' };
            const onward = http.request({ host: 'localhost', port: guide.innerPort, path: req.url, method: req.method, headers }, (answer) => {
                res.writeHead(answer.statusCode, answer.headers);
                res.flushHeaders();
                answer.pipe(res);
            });
            onward.on('error', () => (res.headersSent ? res.destroy() : res.writeHead(502).end()));
            res.on('close', () => onward.destroy());
            req.pipe(onward);
        });
        await new Promise((done) => server.listen(guide.appPort, 'localhost', done));
        return server;
    }

    for (const { name, needs } of guides.slice(0, 2)) {
        test(`${name} over https: log-out takes every cookie away`, () => withGuide(name, needs, async (guide, context) => {
            let proxy;
            try {
                guide.commands.server = guide.commands.server.replace('http://localhost', 'https://localhost');
                await guide.serve();
                guide.start('app', 'app', { PORT: String(guide.innerPort), NODE_ENV: 'production', FLASK_ENV: 'production' });
                await guide.ready(`http://localhost:${guide.innerPort}/favicon.ico`, 'the application');
                proxy = await secure(guide);
                const url = `https://localhost:${guide.appPort}/`;
                const page = await openPage(context, url);
                const names = async () => (await context.cookies()).map((cookie) => cookie.name).sort();
                const [framework, ours] = [(await names()).find((cookie) => cookie !== '__Host-bowline'), '__Host-bowline'];
                assert.deepEqual(await names(), [ours, framework].sort());
                await page.click('text=Log in');
                await feeds(page, 'live', 1);
                await page.route(`${url}blank`, (route) => route.fulfill({ contentType: 'text/html', body: '' }));
                await page.goto(`${url}blank`);                              // nothing there that would ask for another cookie
                await page.evaluate(() => fetch('/logout', { method: 'POST', redirect: 'manual' }));
                assert.deepEqual(await names(), [], 'nothing of the session is left');
            } finally {
                proxy?.closeAllConnections();
                proxy?.close();
            }
        }));
    }
});
