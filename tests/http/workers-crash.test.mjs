// Real workers on one queue that are killed at random, and a server that is killed too: every task ends once, and no attempt is ever two workers'.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { start } from './lib/server.mjs';
import { ok, pause } from './lib/client.mjs';

const TASKS = 10000;
const SESSIONS = 20;
const WORKERS = 16;
const WORKER_KILLS_MS = 250;
const SERVER_KILLS = [0.3, 0.65]; // when so much of the work is done
const PATIENCE_MS = 180_000;
const QUEUE = 'short';
const helper = join(dirname(fileURLToPath(import.meta.url)), 'lib/queue_worker.py');

let s;
let folder;
let hired = 0;
const workers = new Set();

function hire() {
    const child = spawn('python3', [helper, String(s.port), QUEUE, join(folder, `worker-${hired++}`)], { env: { ...process.env, KEY: s.key }, stdio: ['ignore', 'ignore', 'inherit'] });
    child.gone = new Promise((done) => child.on('close', done));
    workers.add(child);
}

/** One of those that have been at it for longer, so that it is not still starting. */
function killOne() {
    const child = [...workers][Math.floor((Math.random() * workers.size) / 2)];
    workers.delete(child);
    child.kill('SIGKILL');
    return child.gone;
}

before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'bowline-workers-'));
    s = await start();
});

after(async () => {
    while (workers.size > 0) {
        await killOne();
    }
    await s.close();
    rmSync(folder, { recursive: true, force: true });
});

async function fill() {
    const api = s.api();
    for (let i = 0; i < SESSIONS; i++) {
        const session = await api.session();
        await Promise.all(Array.from({ length: TASKS / SESSIONS }, (_, j) => api.task(session, { queue: QUEUE, input: `${i}-${j}`, max_attempts: 100, backoff: 0, lease: 1 })));
    }
}

async function left() {
    const queues = ok(await s.api().get('/v1/queues'), 200).json.items;
    const mine = queues.find((q) => q.name === QUEUE);
    return mine ? mine.queued + mine.running : 0;
}

/** Kills workers until the work is done, and the server in between; how many workers that were. */
async function disturb() {
    const due = [...SERVER_KILLS];
    let kills = 0;
    for (const end = Date.now() + PATIENCE_MS; ; ) {
        const now = await left();
        if (now === 0 && due.length === 0) {
            return kills;
        }
        assert.ok(Date.now() < end, `${now} tasks are left`);
        if (due.length > 0 && TASKS - now >= due[0] * TASKS) {
            due.shift();
            await s.kill();
            await s.restart();
        }
        await killOne();
        kills++;
        hire();
        await pause(WORKER_KILLS_MS);
    }
}

function written() {
    const lines = readdirSync(folder).flatMap((file) => readFileSync(join(folder, file), 'utf8').split('\n').filter((line) => line !== '').map((line) => ({ file, words: line.split(' ') })));
    const of = (what) => lines.filter((l) => l.words[0] === what).map((l) => ({ file: l.file, task: l.words[1], attempt: Number(l.words[2]) }));
    return { started: of('start'), done: of('done') };
}

async function allTasks() {
    const all = [];
    for (let next = ''; next !== null; ) {
        const page = ok(await s.api().get(`/v1/tasks?queue=${QUEUE}&limit=1000${next && `&after=${encodeURIComponent(next)}`}`), 200).json;
        all.push(...page.items);
        next = page.next;
    }
    return all;
}

test('every task ends once, and no attempt is ever two workers\'', { timeout: 300_000 }, async () => {
    await fill();
    for (let i = 0; i < WORKERS; i++) {
        hire();
    }
    const kills = await disturb();
    while (workers.size > 0) {
        await killOne();
    }
    const { started, done } = written();
    const tasks = await allTasks();
    assert.equal(tasks.length, TASKS);
    assert.equal(new Set(tasks.map((t) => t.result?.input)).size, TASKS);
    assert.deepEqual(tasks.filter((t) => t.state !== 'succeeded' || t.result.attempt !== t.attempt), []);

    const attempts = started.map((l) => `${l.task} ${l.attempt}`);
    const seen = new Set();
    const twice = attempts.filter((a) => seen.size === seen.add(a).size);
    assert.deepEqual(twice, [], 'an attempt was given out twice');
    const last = new Map(tasks.map((t) => [t.id, t.attempt]));
    assert.deepEqual(done.filter((l) => l.attempt !== last.get(l.task)), [], 'a success was acknowledged that is not the one that stands');
    assert.equal(new Set(done.map((l) => l.task)).size, done.length, 'a success was acknowledged to two');
    assert.deepEqual(tasks.filter((t) => !seen.has(`${t.id} ${t.attempt}`)).map((t) => t.id), [], 'a success of nobody');
    assert.ok(kills >= WORKERS && attempts.length > TASKS, `${kills} workers were killed, ${attempts.length - TASKS} attempts were lost with them`);
});
