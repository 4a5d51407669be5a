// docs/recipes.md in a real browser: a page behind Vite's dev server, and one of htmx.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../http/lib/client.mjs';
import { Guide, root } from '../http/lib/guide.mjs';
import { freePort } from '../http/lib/ports.mjs';
import { launch } from './lib/pages.mjs';

const PACKAGES = ['express', 'express-session', 'vite']; // each by itself, so that what Vite puts beside them goes with the test's folder
const PATIENCE = { timeout: 60_000 };
const block = (document, name) => new RegExp(`^\`\`\`\\w+ ${name}\\n([\\s\\S]*?)^\`\`\`$`, 'm').exec(readFileSync(join(root, 'docs', document), 'utf8'))[1];

const application = (pieces, more = '') => `
    import http from 'node:http';
    import express from 'express';
    import expressSession from 'express-session';
    const app = express();
    app.use(['/v1/session', '/v1/tasks'], (req, res) => {
        const onward = http.request(process.env.BOWLINE_URL + req.originalUrl, { method: req.method, headers: req.headers }, (answer) => {
            res.writeHead(answer.statusCode, answer.headers);
            res.flushHeaders();
            answer.pipe(res);
        });
        onward.on('error', () => (res.headersSent ? res.destroy() : res.sendStatus(502)));
        res.on('close', () => onward.destroy());
        req.pipe(onward);
    });
    app.use(express.static('static'), express.urlencoded({ extended: false }), expressSession({ secret: 'x', resave: false, saveUninitialized: true }));
    ${pieces.join('\n')}
    ${more}
    app.listen(process.env.PORT, 'localhost');
`;

describe('a page', { timeout: 300_000 }, () => {
    let browser;

    before(async () => {
        browser = await launch();
    });
    after(() => browser?.close());

    async function withRecipes(use) {
        const guide = await Guide.open('recipes.md', { folders: Object.fromEntries(PACKAGES.map((name) => [`node_modules/${name}`, `tests/node_modules/${name}`])), files: ['web/demo/follow.js'] });
        const context = await browser.newContext();
        try {
            guide.commands.app = 'BOWLINE_KEY=$(cat bowline-data/api.key) node app.mjs';
            await use(guide, await context.newPage(), (name) => join(guide.folder, name));
        } catch (e) {
            e.message += guide.said();
            throw e;
        } finally {
            await context.close();
            await guide.close();
        }
    }

    async function startTask(guide, page, members) {
        const { id: session } = await page.evaluate(() => fetch('/v1/session').then((answer) => answer.json()));
        return (await guide.api('POST', '/v1/tasks', { session, kind: 'report', ...members })).json;
    }

    test('behind Vite follows, may POST once its origin is allowed, and comes back', () => withRecipes(async (guide, page, file) => {
        const port = await freePort();
        const text = (name) => readFileSync(file(name), 'utf8').replaceAll('5173', String(port));
        guide.commands.server = guide.commands.server.replaceAll('5173', String(port));
        writeFileSync(file('vite.config.js'), text('vite.config.js'));
        writeFileSync(file('package.json'), '{"type": "module"}');
        writeFileSync(file('index.html'), '<!doctype html><meta charset="utf-8"><ul id="tasks"></ul><script type="module" src="/page.js"></script>');
        writeFileSync(file('page.js'), `
            const list = document.getElementById('tasks');
            const lines = new Map();
            window.show = (task) => {
                lines.set(task.id, lines.get(task.id) ?? list.appendChild(document.createElement('li')));
                lines.get(task.id).textContent = task.title + ' ' + task.state + ' ' + (task.progress.current ?? '');
            };
            window.remove = (id) => lines.get(id)?.remove();
            window.removeAll = () => (list.replaceChildren(), lines.clear());
            import('/main.js');
        `);
        writeFileSync(file('app.mjs'), application([block('guide-integration.md', 'bowline.js'), text('session.js')]));
        guide.commands.vite = 'node node_modules/vite/bin/vite.js --host localhost';
        const shows = (what) => page.locator('#tasks li', { hasText: what }).waitFor(PATIENCE);
        const cancel = (id) => page.evaluate((task) => fetch(`/v1/tasks/${task}/cancel`, { method: 'POST' }).then((answer) => answer.status), id);
        const url = `http://localhost:${port}/`;

        const allowed = guide.commands.server;
        guide.commands.server = allowed.replace(/ --allowed-origins \S+/, '');
        assert.notEqual(guide.commands.server, allowed);
        await guide.serve();
        guide.start('app');
        guide.start('vite');
        await guide.ready(`http://localhost:${guide.appPort}/favicon.ico`, 'the application');
        await guide.ready(url, 'Vite');
        await page.goto(url);
        await until(() => page.evaluate(() => fetch('/v1/session').then((answer) => answer.status === 200)), 'the session to be named', 60000);
        const task = await startTask(guide, page, { title: 'first' });
        await shows('first queued');
        for (const current of [1, 2]) {                                      // one by one: nothing holds the stream back
            await guide.api('POST', `/v1/tasks/${task.id}/reports`, { type: 'progress', current }, task.worker_token);
            await shows(`first running ${current}`);
        }
        assert.equal(await cancel(task.id), 403);

        await guide.end('server', 'SIGKILL');
        guide.commands.server = allowed;
        await guide.serve();
        const next = await startTask(guide, page, { title: 'next' });
        await shows('next queued');
        assert.equal(await cancel(next.id), 200);
        await shows('next cancelled');
        await guide.api('POST', `/v1/tasks/${task.id}/reports`, { type: 'progress', current: 3 }, task.worker_token);
        await shows('first running 3');
    }));

    for (const [version, folder] of [[4, 'htmx.org'], [2, 'htmx2']]) {
        test(`of htmx ${version} shows what there is, as text, and goes on after the log-in`, () => withRecipes(async (guide, page, file) => {
            mkdirSync(file('static'));
            writeFileSync(file('static/htmx.js'), readFileSync(join(root, 'tests/node_modules', folder, 'dist/htmx.js')));
            writeFileSync(file('static/follow.js'), readFileSync(file('follow.js')));
            writeFileSync(file('index.html'), `<!doctype html><meta charset="utf-8"><script src="htmx.js"></script>${readFileSync(file('htmx.html'), 'utf8')}`);
            writeFileSync(file('app.mjs'), application([block('guide-integration.md', 'bowline.js'), block('guide-integration.md', 'login.js'), readFileSync(file('tasks.js'), 'utf8')]));
            guide.commands.server = `bowline serve --data bowline-data --public-url http://localhost:${guide.appPort}`;
            await guide.serve();
            guide.start('app');
            await guide.ready(`http://localhost:${guide.appPort}/favicon.ico`, 'the application');
            await page.goto(`http://localhost:${guide.appPort}/`);
            assert.match(await page.evaluate(() => window.htmx.version), new RegExp(`^${version}\\.`));
            const shows = (what) => page.locator('#tasks > li', { hasText: what }).waitFor(PATIENCE);
            const title = '<img src=x onerror="window.run = 1">\'&';
            const task = await startTask(guide, page, { title });
            await shows(`${title}: queued`);
            for (let current = 1; current <= 50; current++) {
                await guide.api('POST', `/v1/tasks/${task.id}/reports`, { type: 'progress', current }, task.worker_token);
            }
            await shows(`${title}: running`);
            assert.equal(await page.evaluate(() => document.querySelector('#tasks img') ?? window.run ?? null), null);
            assert.equal(await page.evaluate(() => fetch('/login', { method: 'POST', body: new URLSearchParams({ user: 'alice' }) }).then((answer) => answer.status)), 200);
            await guide.api('POST', `/v1/tasks/${task.id}/reports`, { type: 'succeed' }, task.worker_token);
            await shows(`${title}: succeeded`);
            assert.equal(await page.evaluate(() => fetch('/logout', { method: 'POST' }).then((answer) => answer.status)), 200);
            await until(async () => (await page.locator('#tasks > li').count()) === 0, 'the list to be empty', 60000);
        }));
    }
});
