// Whatever a network does, afterwards the module shows what the server has, has told each end once, and has asked in measure.
// One scenario for each seed: SDK_SEEDS=1000 runs so many, SDK_SEED=7 that one alone.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, describe, test } from 'node:test';
import WebSocket from 'ws';
import { random } from '../browser/lib/pages.mjs';
import { ok, pause, until } from '../http/lib/client.mjs';
import { Server } from '../http/lib/server.mjs';
import { Proxy } from './lib/proxy.mjs';

const SPEED = 10; // the module's clock runs faster, so that its patience is over within a test's
const PATIENCE_MS = 90_000;
const STORM = 60; // requests for events in a second of ours: 6 of the module's
const AT_ONCE = 3;
const seeds = process.env.SDK_SEED ? [Number(process.env.SDK_SEED)] : Array.from({ length: Number(process.env.SDK_SEEDS ?? 9) }, (_, i) => i + 1);

const ticking = new Set(); // timers that the module has not let go of

/** The module, with timers and a clock of its own. */
async function hurried() {
    const began = Date.now();
    globalThis.hurried = {
        setTimeout: (fn, ms, ...rest) => setTimeout(fn, ms / SPEED, ...rest),
        setInterval: (fn, ms, ...rest) => {
            const timer = setInterval(fn, ms / SPEED, ...rest);
            ticking.add(timer);
            return timer;
        },
        clearInterval: (timer) => {
            clearInterval(timer);
            ticking.delete(timer);
        },
        Date: { now: () => began + (Date.now() - began) * SPEED },
        WebSocket,
    };
    const source = readFileSync(new URL('../../web/sdk/bowline.js', import.meta.url), 'utf8').replace('POLL_S = 25', 'POLL_S = 1').replaceAll('globalThis.WebSocket', 'WebSocket');
    assert.match(source, /POLL_S = 1;/);
    return import(`data:text/javascript,${encodeURIComponent(`const { setTimeout, setInterval, clearInterval, Date, WebSocket } = globalThis.hurried;\n${source}`)}`);
}
const { connect } = await hurried();

class Scenario {
    constructor(seed) {
        const next = random(seed * 7919);
        this.below = (n) => Math.floor(next() * n);
        this.pick = (list) => list[this.below(list.length)];
        this.tasks = []; // those that run
        this.ended = new Map(); // id to what must have been told
        this.told = new Map();
        this.gone = new Map();
        this.questions = new Map();
        this.story = [];
    }

    async begin() {
        this.server = await new Server({ keepalive: 1, session_kinds: { own: { queue: 'own' } }, rotation_grace: this.pick([0, 2]) }).start();
        this.proxy = await new Proxy(() => this.server.port).start();
        this.api = this.server.api();
        this.session = await this.api.session();
        this.live = connect({ url: this.proxy.url, token: async () => (await this.rotating, this.session.token) });
        for (const name of ['succeeded', 'failed', 'cancelled']) {
            this.live.on(name, ({ id, state }) => this.told.set(id, [...(this.told.get(id) ?? []), state]));
        }
        this.live.on('gone', ({ id }) => this.gone.set(id, (this.gone.get(id) ?? 0) + 1));
        this.live.on('input_required', ({ id, input_request: asked }) => {
            const question = `${id} ${asked.id}`;
            this.questions.set(question, (this.questions.get(question) ?? 0) + 1);
        });
        this.live.on('task', (task, earlier) => assert.ok(!earlier || task.version > earlier.version, 'versions rise'));
        await this.live.ready;
    }

    async end(task, report) {
        await this.api.reported(task, report);
        this.tasks.splice(this.tasks.indexOf(task), 1);
        this.ended.set(task.id, report.type === 'succeed' ? 'succeeded' : report.type === 'fail' ? 'failed' : 'cancelled');
    }

    steps() {
        const { proxy } = this, task = this.tasks.length && this.pick(this.tasks);
        const ofTask = (fn) => async () => task && fn();
        return [
            ['create', async () => this.tasks.push(await this.api.task(this.session))],
            ['progress', ofTask(() => this.api.reported(task, { type: 'progress', current: this.below(100), total: 100 }))],
            ['burst', ofTask(async () => {
                for (let i = 0; i < 20; i++) {
                    await this.api.reported(task, { type: 'progress', current: i });
                }
            })],
            ['question', ofTask(() => this.api.reported(task, { type: 'input_request', prompt: `${this.below(1000)}?` }))],
            ['succeed', ofTask(() => this.end(task, { type: 'succeed', result: 1 }))],
            ['fail', ofTask(() => this.end(task, { type: 'fail', error: { type: 'broken', message: 'x' } }))],
            ['cancelled', ofTask(() => this.end(task, { type: 'cancelled' }))],
            ['delete', async () => {
                const [id] = [...this.ended.keys()];
                if (id) {
                    ok(await this.api.delete(`/v1/tasks/${id}`), 204);
                    this.ended.delete(id);
                }
            }],
            ['cut', async () => proxy.cut()],
            ['mode', async () => {
                proxy.mode = this.pick(['pass', 'refuse', '502', '504', 'retry', 'buffer', 'silent']);
                this.story.push(proxy.mode);
                proxy.cut();
            }],
            ['pass', async () => (proxy.mode = 'pass')],
            ['delay', async () => (proxy.delayMs = this.pick([0, 0, 20, 200]))],
            ['sockets', async () => (proxy.upgrades = !proxy.upgrades)],
            ['strip', async () => (proxy.strip = new Set(this.pick([[], ['prefer'], ['accept'], ['cache-control', 'x-accel-buffering'], ['preference-applied', 'content-length']])))],
            ['rotate', () => (this.rotating = this.api.post(`/v1/sessions/${this.session.id}/rotate`, {}).then((answer) => (this.session = ok(answer, 200).json)))],
            ['restart', async () => {
                await (this.below(2) ? this.server.kill() : this.server.stop());
                await pause(this.below(300));
                await this.server.restart();
                this.api = this.server.api();
            }],
            ['wait', () => pause(this.below(1000))],
        ];
    }

    async run() {
        for (let left = 15 + this.below(15); left; left--) {
            const [name, step] = this.pick(this.steps());
            this.story.push(name);
            await step();
            await pause(this.below(100));
            assert.notEqual(this.live.state, 'ended', this.live.reason);
        }
        Object.assign(this.proxy, { mode: 'pass', delayMs: 0, strip: new Set() });
        if (this.below(2)) {
            this.proxy.cut();
        }
    }

    async check() {
        const items = async () => ok(await this.server.api(this.session.token).get('/v1/session/tasks?limit=1000'), 200).json.items;
        const text = (tasks) => JSON.stringify([...tasks].sort((a, b) => (a.id < b.id ? -1 : 1)));
        await until(async () => this.live.state === 'live' && text(this.live.tasks.values()) === text(await items()), 'what the server has', PATIENCE_MS);
        for (const [id, state] of this.ended) {
            assert.deepEqual(this.told.get(id), [state], `the end of ${id}`);
        }
        for (const [id, times] of [...this.gone, ...this.questions]) {
            assert.equal(times, 1, id);
        }
        for (const [id, states] of this.told) {
            assert.equal(states.length, 1, id);
        }
        assert.ok(this.proxy.most(1000) <= STORM, `${this.proxy.most(1000)} requests in a second`);
        const order = [...this.live.tasks.values()].map(({ version }) => version);
        assert.deepEqual(order, order.toSorted((a, b) => a - b), 'oldest change first');
        ok(await this.api.delete(`/v1/sessions/${this.session.id}`), 200);
        await until(() => this.live.state === 'ended', 'the end of the session', PATIENCE_MS);
        assert.equal(this.live.reason, 'logout');
    }

    async close() {
        this.live?.close();
        await this.proxy?.close();
        await this.server?.close();
    }
}

after(() => until(() => ticking.size === 0, 'the module to let go of its timers'));

describe('comes back', { timeout: 3_600_000, concurrency: AT_ONCE }, () => {
    for (const seed of seeds) {
        test(`seed ${seed}`, async () => {
            const scenario = new Scenario(seed);
            try {
                await scenario.begin();
                await scenario.run();
                await scenario.check();
            } catch (error) {
                error.message = `seed ${seed}: ${error.message}\n${scenario.story.join(' ')}\nstate ${scenario.live?.state}, via ${scenario.live?.via}`;
                throw error;
            } finally {
                await scenario.close();
            }
        });
    }
});
