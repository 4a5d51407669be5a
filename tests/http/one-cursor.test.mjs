// Section 6: one reader that takes each part of its feed another way, while work goes on and the server is stopped and killed: the parts join.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { Lines } from './lib/ndjson.mjs';
import { start } from './lib/server.mjs';
import { ok, until } from './lib/client.mjs';
import { View } from './lib/sse.mjs';

const FEED = '/v1/session/events';
const PART = 12; // events, at the least, that each way takes while work goes on

let s;
before(async () => {
    s = await start();
});
after(() => s.close());

const isOutput = (e) => e.event === 'output';

/** Each takes a part behind the cursor, up to some event or other, and gives the events. */
const WAYS = {
    async sse(token, cursor) {
        const e = await s.api(token).events(`${FEED}?output=1`, { lastEventId: cursor });
        await e.when(() => e.items.length >= PART && e.items.some((i) => i.event === 'live'), 'a part over SSE');
        const events = e.items.slice();
        e.close();
        return events;
    },
    async websocket(token, cursor) {
        const events = [];
        const after_ = cursor ? `&after=${encodeURIComponent(cursor)}` : '';
        const w = new WebSocket(`ws://${s.host}${FEED}?output=1${after_}`, 'bowline.v1', { headers: { authorization: `Bearer ${token}` } });
        w.on('message', (data) => events.push(JSON.parse(data.toString())));
        w.on('error', () => {});
        await until(() => events.length >= PART && events.some((i) => i.event === 'live'), 'a part over WebSocket');
        const part = events.slice();
        w.terminate();
        return part;
    },
    async longPoll(token, cursor) {
        const events = [];
        while (events.length < PART) {
            const page = ok(await s.api(token).page(FEED, { after: events.at(-1)?.id ?? cursor, wait: 20, output: true }), 200).json;
            assert.notEqual(page.events.length, 0, 'nothing came');
            assert.equal(page.cursor, page.events.at(-1).id);
            events.push(...page.events);
        }
        return events;
    },
    async poll(token, cursor) {
        const events = [];
        await until(async () => {
            const page = ok(await s.api(token).page(FEED, { after: events.at(-1)?.id ?? cursor, output: true }), 200).json;
            events.push(...page.events);
            return events.length >= PART;
        }, 'a part by asking again and again');
        return events;
    },
};

/** A worker that outlives the server: each task says numbered lines; what was not acknowledged is said again, at the same offset. */
class Worker {
    constructor(tasks) {
        this.tasks = tasks.map((task) => ({ ...task, text: '' }));
        this.said = 0;
        this.stopped = false;
        this.over = this.work();
    }

    async say(task, reports) {
        const stream = new Lines(s, `/v1/tasks/${task.id}/reports`, task.worker_token);
        stream.send(...reports).end();
        await stream.ended();
        return stream.answers.length === reports.length ? stream.answers : null;
    }

    async work() {
        while (!this.stopped) {
            const task = this.tasks[this.said % this.tasks.length];
            const line = `line ${this.said} – ${'x'.repeat(this.said % 7)}\n`;
            const answers = await this.say(task, [{ type: 'output', data: line, offset: Buffer.byteLength(task.text) }, { type: 'progress', current: this.said }]).catch(() => null);
            if (answers) {
                assert.deepEqual(answers.map((a) => a.code), [undefined, undefined]);
                task.text += line;
                this.said++;
            }
        }
        for (const task of this.tasks) {
            assert.equal((await this.say(task, [{ type: 'succeed', result: task.text.length }]))[0].state, 'succeeded');
        }
    }

    stop() {
        this.stopped = true;
        return this.over;
    }
}

test('SSE, WebSocket, waiting, asking, SSE again, through a restart and a kill: no gap and no repeat', { timeout: 120_000 }, async () => {
    const api = s.api();
    const session = await api.session();
    const worker = new Worker(await Promise.all(Array.from({ length: 4 }, () => api.task(session))));
    const view = new View();
    const ids = [];
    const bytes = new Map(worker.tasks.map((t) => [t.id, 0]));
    const interruptions = { 4: () => s.stop(), 9: () => s.kill() };
    const order = ['sse', 'websocket', 'longPoll', 'poll', 'sse'];

    const take = (events) => {
        for (const e of events) {
            assert.notEqual(e.event, 'reset');
            if (isOutput(e)) {
                assert.equal(e.data.offset, bytes.get(e.data.task), 'output joins without a gap or a repeat');
                bytes.set(e.data.task, e.data.offset + Buffer.from(e.data.data_base64 ?? e.data.data, 'data_base64' in e.data ? 'base64' : 'utf8').length);
            }
            view.apply(e);
            if (e.event === 'task') {
                ids.push(e.id);
            }
        }
    };
    try {
        for (let i = 0; i < 3 * order.length; i++) {
            if (interruptions[i]) {
                await interruptions[i]();
                await s.restart();
            }
            const said = worker.said;
            take(await WAYS[order[i % order.length]](session.token, view.cursor));
            await until(() => worker.said > said, 'work to go on');
        }
    } finally {
        await worker.stop();
    }
    for (let page; (page = ok(await s.api(session.token).page(FEED, { after: view.cursor, output: true }), 200).json).events.length > 0; ) {
        take(page.events);
    }
    assert.equal(new Set(ids).size, ids.length, 'no change was given twice');
    for (const task of worker.tasks) {
        assert.equal(view.output.get(task.id).toString(), task.text);
        assert.deepEqual(view.tasks.get(task.id), await s.api().look(task));
        assert.equal(view.tasks.get(task.id).state, 'succeeded');
    }
});
