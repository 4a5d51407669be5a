// The module for browsers in its pages: many tabs over one connection, and one tab after the other that reads it.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, afterEach, before, describe, test } from 'node:test';
import { ok, until } from '../http/lib/client.mjs';
import { Server } from '../http/lib/server.mjs';
import { Proxy } from '../sdk/lib/proxy.mjs';
import { launchKeeping, random, setCookie } from './lib/pages.mjs';

const PATIENCE = { timeout: 60_000 };
const TABS = 12;

/** Runs in the page: what its tasks are, and what it was told. */
function follow(options) {
    const told = { ends: {}, gone: {}, news: {}, resets: 0, questions: {}, output: '', errors: [], states: [] };
    const count = (where, id) => (where[id] = (where[id] ?? 0) + 1);
    return import('/bowline.js').then(({ connect }) => {
        const live = connect(options);
        Object.assign(window, { live, told });
        live.on('task', (task, earlier) => earlier || count(told.news, task.id));
        for (const name of ['succeeded', 'failed', 'cancelled']) {
            live.on(name, (task) => count(told.ends, task.id));
        }
        live.on('input_required', (task) => count(told.questions, task.id));
        live.on('gone', ({ id }) => count(told.gone, id));
        live.on('reset', () => told.resets++);
        live.on('output', ({ offset, bytes }) => {
            if (offset !== told.output.length) {
                told.errors.push(`output at ${offset} after ${told.output.length}`);
            }
            told.output += new TextDecoder().decode(bytes);
        });
        live.on('error', (error) => told.errors.push(String(error)));
        live.on('state', (state, reason) => told.states.push([state, reason]));
        return live.ready.then(() => live.state, (error) => error.code);
    });
}

let server;
let api;
let proxy; // the pages of some tests come by it
let browser;
let context;
let session;

const tab = async (options = {}, { url } = server) => {
    const page = await context.newPage();
    await page.goto(`${url}/demo/page.html`);
    page.ready = page.evaluate(follow, options);
    return page;
};
const opened = async () => {
    const text = ok(await api.get('/metrics'), 200).text;
    return [...text.matchAll(/^bowline_watches_opened_total\{via="[^"]+"\} (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
};
const versions = (page) => page.evaluate(() => Object.fromEntries([...window.live.tasks].map(([id, task]) => [id, task.version])));
const listed = async () => Object.fromEntries(ok(await server.api(session.token).get('/v1/session/tasks?limit=1000'), 200).json.items.map(({ id, version }) => [id, version]));
const told = (page) => page.evaluate(() => window.told);

/** Every tab shows what the server has, and has told each end once. */
async function agree(pages, ended) {
    const want = await listed();
    for (const page of pages) {
        await until(async () => JSON.stringify(Object.entries(await versions(page)).sort()) === JSON.stringify(Object.entries(want).sort()), 'a tab that shows what the server has', 40_000);
        const heard = await told(page);
        for (const id of ended) {
            assert.equal(heard.ends[id], 1, `the end of ${id} was told ${heard.ends[id]} times`);
        }
        assert.ok(Object.values(heard.news).every((times) => times === 1), 'new once');
    }
}

/** A task that is new and ends, in the middle of whatever is done meanwhile. */
async function work(meanwhile = async () => {}) {
    const task = await api.task(session);
    await api.reported(task, { type: 'progress', current: 1, total: 4 });
    await meanwhile();
    await api.reported(task, { type: 'progress', current: 2, total: 4 });
    await api.reported(task, { type: 'succeed', result: 1 });
    return task.id;
}
const leads = async (pages) => {
    return pages[0].evaluate(async () => (await navigator.locks.query()).held.length);
};

describe('the module in pages', { timeout: 300_000 }, () => {
    let folder;
    before(async () => {
        folder = mkdtempSync(`${tmpdir()}/bowline-page-`);
        writeFileSync(`${folder}/page.html`, '<!doctype html><meta charset="utf-8"><title>page</title>');
        proxy = await new Proxy(() => server.port).start();
        server = await new Server({ demo: folder, allowed_origins: proxy.url, session_kinds: { report: { queue: 'reports' } } }).start();
        api = server.api();
        browser = await launchKeeping();
    });
    after(async () => {
        await browser?.close();
        await proxy?.close();
        await server?.close();
        rmSync(folder, { recursive: true, force: true });
    });
    afterEach(async () => {
        await context?.close();
        Object.assign(proxy, { mode: 'pass', upgrades: true });
    });

    async function begin() {
        context = await browser.newContext();
        session = await api.session();
        await setCookie(context, session.token);
    }

    test('twelve tabs have one connection, whoever closes', async () => {
        await begin();
        const before = await opened(), pages = [];
        for (let i = 0; i < TABS; i++) {
            pages.push(await tab());
        }
        assert.deepEqual(await Promise.all(pages.map((page) => page.ready)), pages.map(() => 'live'));
        const ends = [await work()];
        await agree(pages, ends);
        assert.equal(await opened(), before + 1);
        assert.equal(await api.metric('bowline_watchers'), 1);
        assert.equal(await leads(pages), 1);
        for (let i = 0; i < 3; i++) {
            ends.push(await work(() => pages.shift().close()));
            await agree(pages, ends);
            await api.watchers(1);
        }
        assert.equal(await opened(), before + 4, 'the one that leads was closed three times');
        assert.deepEqual((await told(pages.at(-1))).errors, []);
    });

    test('a tab that crashes is followed by another', async () => {
        await begin();
        const first = await tab();
        await first.ready;
        const pages = [await tab(), await tab()];
        await Promise.all(pages.map((page) => page.ready));
        const ends = [await work(async () => {
            const client = await context.newCDPSession(first);
            client.send('Page.crash').catch(() => {});
            await new Promise((done) => first.once('crash', done));
        })];
        await agree(pages, ends);
        await api.watchers(1);
    });

    test('a frozen tab is followed by another, and shows everything when it goes on', async () => {
        await begin();
        const first = await tab();
        await first.ready;
        const pages = [await tab(), await tab()];
        await Promise.all(pages.map((page) => page.ready));
        const client = await context.newCDPSession(first);
        const ends = [await work(() => client.send('Page.setWebLifecycleState', { state: 'frozen' }))];
        await agree(pages, ends);
        ends.push(await work(() => client.send('Page.setWebLifecycleState', { state: 'active' })));
        await agree([first, ...pages], ends);
        await api.watchers(1);
    });

    test('a tab that stops answering loses the lock', async () => {
        await begin();
        const first = await tab();
        await first.ready;
        const second = await tab();
        await second.ready;
        const id = await work(async () => {
            first.evaluate(() => {
                for (const end = Date.now() + 25_000; Date.now() < end; ) { /* it answers nobody */ }
            }).catch(() => {});
            const before = await opened();
            await until(async () => (await opened()) > before, 'another connection', 60_000);
        });
        await agree([second, first], [id]);
        await api.watchers(1);
    });

    test('a hidden tab leaves it to a visible one', async () => {
        await begin();
        const hide = (page, hidden) => page.evaluate((hidden) => {
            Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
            Object.defineProperty(document, 'visibilityState', { value: hidden ? 'hidden' : 'visible', configurable: true });
            document.dispatchEvent(new Event('visibilitychange'));
        }, hidden);
        const first = await tab();
        await first.ready;
        const second = await tab(), third = await tab();
        await Promise.all([second.ready, third.ready]);
        await hide(second, true);
        const before = await opened();
        const ends = [await work(() => hide(first, true))];
        await until(async () => (await opened()) === before + 1, 'the third tab to read');
        await agree([first, second, third], ends);
        ends.push(await work(async () => {
            await hide(third, true);
            await hide(second, false);
        }));
        await until(async () => (await opened()) === before + 2, 'the second tab to read');
        await agree([first, second, third], ends);
        await api.watchers(1);
    });

    test('a tab that is kept for going back lets go of everything, and shows everything when it comes back', async () => {
        await begin();
        const first = await tab(), other = await tab();
        await Promise.all([first.ready, other.ready]);
        const ends = [];
        for (const page of [first, other]) { // the one that leads, and one that does not
            const seen = await page.evaluate(() => {
                window.kept = [];
                addEventListener('pageshow', ({ persisted }) => window.kept.push(persisted));
            });
            assert.equal(seen, undefined);
            ends.push(await work(() => page.goto(`${server.url}/healthz`)));
            await page.goBack({ waitUntil: 'commit' });
            const back = await page.evaluate(() => ({ kept: window.kept, why: performance.getEntriesByType('navigation')[0]?.notRestoredReasons }));
            assert.deepEqual([back.kept, back.why?.reasons ?? null], [[true], null], JSON.stringify(back));
            await agree([first, other], ends);
        }
        await api.watchers(1);
    });

    test('output comes whole to every tab, also to one that comes later', async () => {
        await begin();
        const first = await tab({ output: true });
        await first.ready;
        const task = await api.task(session);
        let text = '';
        const say = async (word) => {
            await api.reported(task, { type: 'output', data: word, offset: text.length });
            text += word;
        };
        await say('one ');
        const second = await tab({ output: true });
        await second.ready;
        await say('two ');
        await first.close();
        await say('three');
        const third = await tab({ output: true });
        await third.ready;
        for (const page of [second, third]) {
            await until(async () => (await told(page)).output === text, 'all output');
            assert.deepEqual((await told(page)).errors, []);
        }
        await api.watchers(1);
    });

    test('without Web Locks or BroadcastChannel each tab has its own connection', async () => {
        for (const name of ['BroadcastChannel', 'locks']) {
            await begin();
            await context.addInitScript((name) => {
                name === 'locks' ? Object.defineProperty(Navigator.prototype, 'locks', { value: undefined }) : delete window.BroadcastChannel;
            }, name);
            const pages = [await tab(), await tab()];
            await Promise.all(pages.map((page) => page.ready));
            await api.watchers(2);
            await agree(pages, [await work()]);
            await context.close();
        }
        await begin();
        const pages = [await tab({ tabs: false }), await tab({ tabs: false })];
        await Promise.all(pages.map((page) => page.ready));
        await api.watchers(2);
    });

    test('log-in and log-out reach every tab; refresh is asked once', async () => {
        await begin();
        const pages = [await tab(), await tab(), await tab()];
        await Promise.all(pages.map((page) => page.ready));
        const next = ok(await api.post(`/v1/sessions/${session.id}/rotate`, { user: 'u-1' }), 200).json;
        await setCookie(context, next.token);
        session = next;
        await agree(pages, [await work()]);
        for (const page of pages) {
            assert.equal((await told(page)).resets, 0);
        }
        ok(await api.delete(`/v1/sessions/${session.id}`), 200);
        for (const page of pages) {
            await page.waitForFunction(() => window.live.state === 'ended', null, PATIENCE);
            assert.equal(await page.evaluate(() => window.live.reason), 'logout');
        }
        await api.watchers(0);
    });

    test('where streams are gathered on the way, all tabs go another way', async () => {
        for (const [upgrades, via] of [[true, 'websocket-fallback'], [false, 'poll-fallback']]) {
            await begin();
            Object.assign(proxy, { mode: 'buffer', upgrades });
            const pages = [await tab({}, proxy), await tab({}, proxy)];
            await Promise.all(pages.map((page) => page.ready));
            await agree(pages, [await work()]);
            for (const page of pages) {
                assert.equal(await page.evaluate(() => window.live.via), via);
            }
            await context.close();
        }
    });

    test('tabs come back from whatever the network does', async () => {
        const next = random(11), below = (n) => Math.floor(next() * n), ends = [];
        await begin();
        const pages = [await tab({}, proxy), await tab({}, proxy), await tab({}, proxy)];
        await Promise.all(pages.map((page) => page.ready));
        proxy.requests.length = 0;
        for (let i = 0; i < 12; i++) {
            ends.push(await work(async () => {
                proxy.mode = ['pass', '502', '504', 'refuse', 'pass', 'silent'][below(6)];
                if (below(2)) {
                    proxy.cut();
                }
                if (below(4) === 0) {
                    await pages.shift().close();
                    proxy.mode = 'pass';
                    pages.push(await tab({}, proxy));
                    await pages.at(-1).ready;
                    ends.length = 0; // the new tab is not told of what had ended before
                }
                if (below(3) === 0) {
                    await server.kill();
                    await server.restart();
                    api = server.api();
                }
            }));
            await pages[0].waitForTimeout(below(1500));
        }
        proxy.mode = 'pass';
        await agree(pages, ends);
        await api.watchers(1);
        assert.ok(proxy.most(1000) <= 40, `${proxy.most(1000)} requests in a second`);
    });

    test("the guide's page shows the tasks, and its lines start one", async () => {
        const guide = readFileSync(new URL('../../docs/guide-browser.md', import.meta.url), 'utf8');
        const [, html] = /^```html\n([\s\S]*?)^```$/m.exec(guide), [, start] = /^```js\n([\s\S]*?)^```$/m.exec(guide);
        await begin();
        const page = await context.newPage(), done = page.waitForEvent('console', { predicate: (message) => message.text() === 'done Sales in May', ...PATIENCE });
        await page.route('**/guide', (route) => route.fulfill({ contentType: 'text/html', body: html }));
        await page.goto(`${server.url}/guide`);
        await page.waitForFunction(() => document.querySelector('#tasks'), null, PATIENCE);
        const url = page.evaluate(`(async () => { const { connect } = await import('/bowline.js'); const live = connect(); ${start}; return url; })()`);
        const [task] = await api.claimed('reports');
        await api.reported(task, { type: 'progress', current: 1, message: 'page 1' });
        await page.getByText('Sales in May: running page 1').waitFor(PATIENCE);
        await api.reported(task, { type: 'succeed', result: { url: 'https://app.example/1.pdf' } });
        assert.equal(await url, 'https://app.example/1.pdf');
        await page.getByText('Sales in May: succeeded page 1').waitFor(PATIENCE);
        await done;
        await api.watchers(1); // two connections of one page are one too
    });

    test('refresh sets a cookie, and is asked by one tab only', async () => {
        await begin();
        const next = ok(await api.post(`/v1/sessions/${session.id}/rotate`, {}), 200).json;
        let asked = 0;
        await context.route('**/login', async (route) => {
            asked++;
            await setCookie(context, next.token);
            await route.fulfill({ body: 'welcome' });
        });
        const pages = [];
        for (let i = 0; i < 3; i++) { // each with a cookie that is dead, or will be: none is live before it was asked
            const page = await context.newPage();
            await page.goto(`${server.url}/demo/page.html`);
            page.ready = page.evaluate(`(${follow})({}, () => {})`.replace('connect(options)', "connect({ refresh: () => fetch('/login') })"));
            pages.push(page);
        }
        assert.deepEqual(await Promise.all(pages.map((page) => page.ready)), ['live', 'live', 'live']);
        session = next;
        await agree(pages, [await work()]);
        assert.equal(asked, 1);
    });

    test('tabs of other tokens are not told', async () => {
        await begin();
        const mine = await api.session(), yours = await api.session();
        const first = await tab({ token: mine.token }), second = await tab({ token: yours.token }), third = await tab({ token: mine.token });
        await Promise.all([first.ready, second.ready, third.ready]);
        await api.watchers(2);
        const task = await api.task(mine);
        await third.waitForFunction((id) => window.live.tasks.has(id), task.id, PATIENCE);
        assert.equal(await second.evaluate(() => window.live.tasks.size), 0);
    });
});
