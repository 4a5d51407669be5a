// The demo's page in a real browser, with the real server and the real worker.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { Server } from '../http/lib/server.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const FILES = 60;
const PATIENCE = { timeout: 30_000 };
const kind = { queue: 'demo', lease: 3, max_attempts: 3, on_session_end: 'cancel' };

let server;
let worker;
let browser;
let folder;
let files;
const contexts = [];
const complaints = [];

function makeFolder() {
    folder = mkdtempSync(join(tmpdir(), 'bowline-demo-files-'));
    files = new Map();
    mkdirSync(join(folder, 'deeper'));
    for (let i = 0; i < FILES; i++) {
        const path = join(folder, i % 2 ? 'deeper' : '', `file-${String(i).padStart(3, '0')}.bin`);
        const bytes = randomBytes(20_000 + i);
        writeFileSync(path, bytes);
        files.set(path, createHash('sha256').update(bytes).digest('hex'));
    }
}

function startWorker(pace = 4) {
    const flags = ['--pace', String(pace), '--slots', '8', '--drain', '0', '--root', folder, '--files', folder];
    worker = spawn(process.execPath, [join(root, 'web/demo/worker.mjs'), '--url', server.url, ...flags], {
        env: { ...process.env, BOWLINE_KEY: server.key },
        stdio: ['ignore', 'pipe', 'inherit'],
    });
    worker.log = '';
    worker.stdout.on('data', (data) => (worker.log += data));
    worker.exited = new Promise((done) => worker.on('exit', (code, signal) => done({ code, signal })));
}

async function newContext() {
    const context = await browser.newContext();
    contexts.push(context);
    return context;
}

async function openPage(context) {
    const page = await context.newPage();
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => /Content Security Policy|Uncaught/.test(message.text()) && complaints.push(message.text()));
    await page.goto(`${server.url}/demo/`);
    await isLive(page);
    return page;
}

const isLive = (page) => page.waitForSelector('#link[data-link="live"]', PATIENCE);
const card = (page, id) => page.locator(`[data-task-id="${id}"]`);
const inState = (page, id, state) => page.waitForSelector(`[data-task-id="${id}"][data-state="${state}"]`, PATIENCE);
const ratioOf = async (page, id) => Number(await card(page, id).getAttribute('data-ratio'));
const ids = (page) => page.locator('.task').evaluateAll((nodes) => nodes.map((node) => node.dataset.taskId));

async function movesPast(page, id, ratio) {
    await page.waitForFunction(([task, least]) => Number(document.querySelector(`[data-task-id="${task}"]`)?.dataset.ratio) > least, [id, ratio], PATIENCE);
    return ratioOf(page, id);
}

// Starts a checksum with the page's own form; gives the id of the new task.
async function startChecksum(page, path, ask = false) {
    const known = await ids(page);
    await page.fill('#folder', path);
    await page.locator('#start-checksum [name=ask]').setChecked(ask);
    await page.click('#start-checksum button');
    await page.waitForFunction((count) => document.querySelectorAll('.task').length > count, known.length, PATIENCE);
    return (await ids(page)).find((id) => !known.includes(id));
}

describe('the demo page', { timeout: 240_000 }, () => {
    before(async () => {
        makeFolder();
        server = await new Server({ open_sessions: 'true', session_kinds: { checksum: kind, compress: kind }, demo: join(root, 'web/demo') }).start();
        startWorker();
        browser = await chromium.launch({
            executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
            args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
        });
    });

    after(async () => {
        await browser?.close();
        worker?.kill('SIGTERM');
        await worker?.exited;
        await server?.close();
        rmSync(folder, { recursive: true, force: true });
    });

    afterEach(async () => {
        for (const context of contexts.splice(0)) {
            await context.close();
        }
        assert.deepEqual(complaints.splice(0), []);
    });

    test('a job moves, a refresh in the middle loses nothing, the result is true', async () => {
        const page = await openPage(await newContext());
        const id = await startChecksum(page, folder);
        const early = await movesPast(page, id, 0);
        const later = await movesPast(page, id, early);
        assert.ok(later < 1);
        await page.reload();
        await isLive(page);
        assert.deepEqual(await ids(page), [id]);
        assert.ok((await ratioOf(page, id)) >= later, 'progress did not step back');
        await inState(page, id, 'succeeded');
        await card(page, id).getByRole('button', { name: 'Show result' }).click();
        await page.waitForSelector(`[data-task-id="${id}"] .result table`, PATIENCE);
        const rows = await card(page, id).locator('.result tbody tr').evaluateAll((lines) => lines.map((line) => [line.cells[2].textContent, line.cells[0].title]));
        assert.deepEqual(new Map(rows), files);
    });

    test('another browser sees none of it, a second tab all of it', async () => {
        const context = await newContext();
        const page = await openPage(context);
        const id = await startChecksum(page, folder, true);
        await inState(page, id, 'input_required');
        const stranger = await openPage(await newContext());
        assert.deepEqual(await ids(stranger), []);
        assert.ok(await stranger.locator('#empty').isVisible());
        assert.equal(await stranger.evaluate((task) => fetch(`/v1/tasks/${task}`).then((answer) => answer.status), id), 404);
        const tab = await openPage(context);
        assert.deepEqual(await ids(tab), [id]);
        await card(tab, id).getByRole('button', { name: /^Cancel/ }).click();
        await inState(page, id, 'cancelled');
        await inState(tab, id, 'cancelled');
    });

    test('a folder that is not allowed fails and says why', async () => {
        const page = await openPage(await newContext());
        const id = await startChecksum(page, '/etc');
        await inState(page, id, 'failed');
        assert.match(await card(page, id).locator('.error').textContent(), /reads only under/);
    });

    test('a question is asked and answered', async () => {
        const page = await openPage(await newContext());
        const id = await startChecksum(page, folder, true);
        await inState(page, id, 'input_required');
        assert.match(await card(page, id).locator('.prompt').textContent(), /60 files/);
        await card(page, id).getByRole('button', { name: 'Yes' }).click();
        await inState(page, id, 'succeeded');
    });

    test('a large file is compressed', async () => {
        const page = await openPage(await newContext());
        await page.click('#start-compress button');
        await page.waitForSelector('[data-state="succeeded"]', PATIENCE);
        await page.getByRole('button', { name: 'Show result' }).click();
        await page.waitForSelector('.sizes', PATIENCE);
    });

    test('what has been seen is no longer new', async () => {
        const context = await newContext();
        const page = await openPage(context);
        const id = await startChecksum(page, '/etc');
        await inState(page, id, 'failed');
        await card(page, id).locator('.new').waitFor({ state: 'hidden', ...PATIENCE });
        const tab = await openPage(context);
        assert.ok(await card(tab, id).locator('.new').isHidden());
    });

    test('the server is killed and comes back; the page and the worker go on', async () => {
        const page = await openPage(await newContext());
        const id = await startChecksum(page, folder);
        await movesPast(page, id, 0);
        await server.kill();
        await page.waitForSelector('#link[data-link="reconnecting"]', PATIENCE);
        assert.deepEqual(await ids(page), [id]);
        await server.restart();
        await isLive(page);
        await inState(page, id, 'succeeded');
        assert.deepEqual(await ids(page), [id]);
    });

    test('the worker is stopped; it gives its job back, and the next one does it', async () => {
        const page = await openPage(await newContext());
        const id = await startChecksum(page, folder);
        await movesPast(page, id, 0);
        worker.kill('SIGTERM');
        assert.deepEqual(await worker.exited, { code: 0, signal: null });
        await inState(page, id, 'queued');
        startWorker();
        await inState(page, id, 'succeeded');
    });

    test('the worker is killed; its silence is shown, and the job is done by the next one', async () => {
        const page = await openPage(await newContext());
        const id = await startChecksum(page, folder);
        await movesPast(page, id, 0);
        worker.kill('SIGKILL');
        await worker.exited;
        await page.waitForSelector(`[data-task-id="${id}"][data-stalled]`, PATIENCE);
        await card(page, id).locator('.chip', { hasText: 'worker is silent' }).waitFor(PATIENCE);
        await inState(page, id, 'queued');
        startWorker();
        await inState(page, id, 'succeeded');
        assert.match(await card(page, id).locator('.meta').textContent(), /attempt 2 of 3/);
    });

    test('logging out ends the session and cancels its job; a new session is empty', async () => {
        const page = await openPage(await newContext());
        const id = await startChecksum(page, folder, true);
        await inState(page, id, 'input_required');
        await page.getByRole('button', { name: 'Log out' }).click();
        await page.waitForSelector('#link[data-link="ended"]', PATIENCE);
        assert.match(await page.locator('#banner').textContent(), /has ended/);
        const task = await server.api().get(`/v1/tasks/${id}`);
        assert.equal(task.json.cancel_requested, true);
        assert.equal(task.json.cancel_reason, 'session-ended');
        await page.reload();
        await page.waitForSelector('#link[data-link="live"], #link[data-link="ended"]', PATIENCE);
        if (await page.locator('#banner').isVisible()) {
            await page.getByRole('button', { name: 'Start a new session' }).click();
        }
        await isLive(page);
        assert.deepEqual(await ids(page), []);
        await inState(page, await startChecksum(page, folder), 'running');
    });

    test('logging out in one tab clears the others, and they are live again with the next session', async () => {
        const context = await newContext();
        const page = await openPage(context);
        const tab = await openPage(context);
        const id = await startChecksum(page, folder, true);
        await inState(tab, id, 'input_required');
        await page.getByRole('button', { name: 'Log out' }).click();
        for (const shown of [page, tab]) {
            await shown.locator('#banner').waitFor(PATIENCE);
            await shown.waitForFunction(() => !document.querySelector('.task'), null, PATIENCE);
        }
        await page.getByRole('button', { name: 'Start a new session' }).click();
        await isLive(page);
        await tab.waitForSelector('#link[data-link="live"]', { timeout: 90_000 });
        await tab.locator('#banner').waitFor({ state: 'hidden', ...PATIENCE });
        const next = await startChecksum(page, folder);
        await inState(tab, next, 'succeeded');
        assert.deepEqual(await ids(tab), [next]);
    });

    test('everything can be reached and named without a mouse or eyes', async () => {
        worker.kill('SIGTERM');
        await worker.exited;
        startWorker(60); // a job that is there long enough
        const page = await openPage(await newContext());
        const id = await startChecksum(page, folder);
        await movesPast(page, id, 0);
        const bar = page.getByRole('progressbar', { name: `Checksum ${folder}` });
        assert.ok(Number(await bar.getAttribute('aria-valuenow')) >= 0);
        assert.match(await bar.getAttribute('aria-valuetext'), /running, .* of /);
        await page.locator('#folder').focus();
        await page.keyboard.press('Enter');
        await page.waitForFunction(() => document.querySelectorAll('.task').length === 2, null, PATIENCE);
        await card(page, id).getByRole('button', { name: /^Cancel/ }).focus();
        await page.keyboard.press('Enter');
        await inState(page, id, 'cancelled');
        await page.setViewportSize({ width: 320, height: 700 });
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 320, 'nothing sticks out on a narrow screen');
    });
});
