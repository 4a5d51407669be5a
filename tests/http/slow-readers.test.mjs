// Section 6: readers that are slower than the work, and those that take nothing at all. What they cost is what the kernel holds for them.
import { after, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ok, pause, until } from './lib/client.mjs';
import { Lines } from './lib/ndjson.mjs';
import { start } from './lib/server.mjs';
import { Events, View } from './lib/sse.mjs';

const TASKS = 100;
const READERS = 50;
const REPORTS_PER_SECOND = 1000;
const KIB = 1024;
const helper = join(dirname(fileURLToPath(import.meta.url)), 'lib/slow_readers.py');

class SlowReaders {
    constructor(server, token, bytesPerSecond, count = READERS) {
        this.child = spawn('python3', [helper, String(server.port), String(count), String(bytesPerSecond)], { stdio: ['pipe', 'pipe', 'inherit'] });
        this.answers = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
        this.exited = new Promise((done) => this.child.on('close', done));
        this.request = `GET /v1/session/events HTTP/1.1\r\nHost: ${server.host}\r\nAuthorization: Bearer ${token}\r\n\r\n`;
    }

    async ask(command) {
        this.child.stdin.write(`${command}\n`);
        const { value, done } = await this.answers.next();
        assert.ok(!done, `the readers ended before they answered ${command}`);
        return JSON.parse(value);
    }

    async open() {
        await this.ask(JSON.stringify(this.request));
        return this;
    }

    async close() {
        this.child.stdin.end();
        assert.equal(await this.exited, 0);
    }
}

/** About as many reports a second as the worker of a busy page makes, on all tasks in turn. */
class Load {
    constructor(server, tasks) {
        this.lines = new Lines(server, '/v1/reports', server.key);
        this.tasks = tasks;
        this.sent = 0;
        const began = Date.now();
        this.timer = setInterval(() => {
            for (const due = ((Date.now() - began) * REPORTS_PER_SECOND) / 1000; this.sent < due; ) {
                this.say({ message: `page ${this.sent} of very many` });
            }
        }, 10);
    }

    say(progress) {
        this.lines.send({ task: this.tasks[this.sent % this.tasks.length].id, type: 'progress', current: this.sent, ...progress });
        this.sent++;
    }

    stop() {
        clearInterval(this.timer);
    }

    /** A last word on every task. */
    async finish() {
        this.stop();
        for (let i = 0; i < this.tasks.length; i++) {
            this.say({ message: 'the last' });
        }
        for (const line of await this.lines.answered(this.sent)) {
            assert.equal(line.code, undefined, JSON.stringify(line));
        }
        this.lines.end();
        await this.lines.ended();
    }
}

/** What the process holds that is its own: bytes. */
const held = (server) => Number(/^Anonymous: +(\d+) kB$/m.exec(readFileSync(`/proc/${server.pid}/smaps_rollup`, 'utf8'))[1]) * KIB;

async function mostHeld(server, ms) {
    let most = 0;
    for (const end = Date.now() + ms; Date.now() < end; await pause(100)) {
        most = Math.max(most, held(server));
    }
    return most;
}

const gauge = async (server, name) => Number(new RegExp(`\\n${name} (\\d+)\\n`).exec(ok(await server.api().get('/metrics'), 200).text)[1]);

async function busySession(server) {
    const api = server.api();
    const session = await api.session();
    const tasks = await Promise.all(Array.from({ length: TASKS }, () => api.task(session)));
    const watcher = await server.api(session.token).events('/v1/session/events');
    await watcher.live();
    return { session, tasks, watcher };
}

/** Opens readers that take nothing and waits until the server has let go of all of them, who are too soon gone to be counted together. */
async function letGo(server, slow) {
    const accepted = () => gauge(server, 'bowline_http_connections_accepted_total');
    const before = await accepted();
    await slow.open();
    await until(async () => (await accepted()) >= before + READERS, 'the readers to be there');
    await until(async () => (await gauge(server, 'bowline_watchers')) === 1, 'the readers to be let go');
}

const lastOf = (view) => [...view.tasks.values()].filter((t) => t.progress.message === 'the last').length;

describe('slow readers', () => {
    const servers = [];
    const startServer = async (options) => {
        const server = await start(options);
        servers.push(server);
        return server;
    };
    after(async () => {
        for (const server of servers) {
            await server.close();
        }
    });

    test('of about 1 KB a second stay, cost next to nothing, and land on the newest state of every task', async () => {
        const server = await startServer({ stalled_reader_timeout: 4 });
        const { session, tasks, watcher } = await busySession(server);
        const load = new Load(server, tasks);
        const without = await mostHeld(server, 3000);
        const slow = await new SlowReaders(server, session.token, KIB).open();
        try {
            await until(async () => (await gauge(server, 'bowline_watchers')) === READERS + 1, 'the readers to be there');
            const withThem = await mostHeld(server, 12000); // three times as long as one may stay who takes nothing
            const met = await slow.ask('look');
            assert.deepEqual(met.filter((r) => !r.open), [], 'one that takes a little is not let go');
            assert.ok(met.every((r) => r.bytes >= KIB && r.bytes < 64 * KIB), JSON.stringify(met.map((r) => r.bytes)));
            assert.ok(withThem - without < READERS * 64 * KIB, `${(withThem - without) / READERS} bytes for each`);

            await load.finish();
            const view = new View();
            await watcher.when(() => {
                view.applyAll(watcher.items.splice(0));
                return lastOf(view) === TASKS;
            }, 'the last word on every task, beside slow readers');
            assert.deepEqual([...new Set(await slow.ask('find "the last"'))], [0], 'they are still behind');

            await slow.ask('fast');
            await until(async () => (await slow.ask('find "the last"')).every((n) => n >= TASKS), 'the slow readers to catch up');
            for (const body of await slow.ask('bodies')) {
                const [head, text] = [body.slice(0, body.indexOf('\r\n\r\n')), body.slice(body.indexOf('\r\n\r\n') + 4)];
                assert.match(head, /^HTTP\/1\.1 200 /);
                assert.doesNotMatch(head, /transfer-encoding/i);
                const events = new Events();
                events.feed(text);
                const own = new View().applyAll(events.items);
                assert.deepEqual(own.tasks, view.tasks);
                assert.ok(events.tasks().length < load.sent / 10, 'what was overtaken was passed over');
            }
        } finally {
            load.stop();
            await slow.close();
        }
        watcher.close();
    });

    test('that take nothing are let go, and what they held is free again', async () => {
        const server = await startServer({ stalled_reader_timeout: 1 });
        const { session, tasks, watcher } = await busySession(server);
        const connections = await gauge(server, 'bowline_http_connections');
        const load = new Load(server, tasks);
        const after_ = [];
        for (let round = 0; round < 5; round++) {
            const slow = new SlowReaders(server, session.token, 0);
            try {
                await letGo(server, slow);
                await until(async () => (await gauge(server, 'bowline_http_connections')) <= connections + 2, 'their connections to be closed');
                after_.push(await mostHeld(server, 500));
            } catch (e) {
                load.stop();
                throw e;
            } finally {
                await slow.close();
            }
        }
        assert.ok(after_.at(-1) - after_[1] < 3 * READERS * 16 * KIB, `grew from round to round: ${after_}`);
        await load.finish();
        const view = new View();
        await watcher.when(() => {
            view.applyAll(watcher.items.splice(0));
            return lastOf(view) === TASKS;
        }, 'the last word on every task');
        watcher.close();
    });

    test('that take nothing of a little are let go as well, those that wait for something to take are not', async () => {
        const server = await startServer({ stalled_reader_timeout: 1, keepalive: 0.5 });
        const api = server.api();
        const session = await api.session();
        await Promise.all(Array.from({ length: 20 }, () => api.task(session)));
        const watcher = await server.api(session.token).events('/v1/session/events');
        await watcher.live();
        const connections = await gauge(server, 'bowline_http_connections');
        const slow = new SlowReaders(server, session.token, 0);
        try {
            await letGo(server, slow);
            await until(async () => (await gauge(server, 'bowline_http_connections')) <= connections + 2, 'their connections to be closed');
        } finally {
            await slow.close();
        }
        const comments = watcher.comments;
        await watcher.when(() => watcher.comments >= comments + 5, 'signs of life');
        watcher.close();
    });
});
