// The C library, by the programs in examples/: a worker, a back end and watchers, through a server that is killed and comes back.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from './lib/client.mjs';
import { binary, cleanEnv, start } from './lib/server.mjs';

const build = dirname(binary);
const folder = [process.env.BOWLINE_EXAMPLES, resolve(build, '../build-dev/examples'), resolve(build, 'examples')].find((f) => f && existsSync(resolve(f, 'example-worker')));
assert.ok(folder, 'the examples are not built');

const running = new Set();
process.on('exit', () => {
    for (const child of running) {
        child.kill('SIGKILL');
    }
});

/** An example under way: its lines as they come, and its end. */
class Example {
    constructor(name, args) {
        this.out = '';
        this.err = '';
        this.child = spawn(resolve(folder, `example-${name}`), args, { env: cleanEnv(), stdio: ['pipe', 'pipe', 'pipe'] });
        running.add(this.child);
        this.child.stdin.on('error', () => {});
        this.child.stdout.on('data', (d) => (this.out += d));
        this.child.stderr.on('data', (d) => (this.err += d));
        this.end = new Promise((done) => {
            this.child.on('close', (code, signal) => {
                running.delete(this.child);
                done({ code, signal, out: this.out, err: this.err });
            });
        });
    }

    async said(pattern, what = String(pattern)) {
        return until(() => pattern.exec(this.out), `${what} from an example that said\n${this.out.slice(-2000)}${this.err.slice(-4000)}`, 60000);
    }

    /** What the lines of `watch` say, as [{ event, … }]; fails on anything that stands twice or backwards. */
    events() {
        const bytes = this.out;
        const list = [];
        for (let at = 0; at < bytes.length; ) {
            const end = bytes.indexOf('\n', at);
            if (end < 0) {
                break;
            }
            const words = bytes.slice(at, end).split(' ');
            at = end + 1;
            if (words[0] === 'output') {
                const data = bytes.slice(at, at + Number(words[2]));
                list.push({ event: 'output', offset: Number(words[1]), data });
                at += data.length + 3;
            } else if (words[0] === 'task') {
                list.push({ event: 'task', id: words[1], version: Number(words[2]), state: words[3], current: Number(words[4]) });
            } else {
                list.push({ event: words[0], word: words[1] });
            }
        }
        return list;
    }
}

async function finished(name, args) {
    const end = await new Example(name, args).end;
    assert.doesNotMatch(end.err, /Sanitizer|runtime error/, end.err);
    return end;
}

async function done(name, args) {
    const end = await finished(name, args);
    assert.equal(end.code, 0, `${name} ${args.join(' ')}: ${JSON.stringify(end)}`);
    return end.out.trim();
}

const lines = (count) => Array.from({ length: count }, (_, i) => `line ${i + 1}\n`).join('');

/** Every byte once, versions rising, and the end of the task at the end. */
function checkWatched(events, output) {
    let at = 0;
    let version = 0;
    let text = '';
    for (const e of events) {
        if (e.event === 'output') {
            assert.equal(e.offset, at, 'output in order, without a hole and without anything twice');
            at += e.data.length;
            text += e.data;
        } else if (e.event === 'task') {
            assert.ok(e.version > version, `version ${e.version} after ${version}`);
            version = e.version;
        }
        assert.notEqual(e.event, 'reset');
    }
    assert.equal(text, output);
    assert.deepEqual({ event: 'end', word: 'over' }, events.at(-1));
    assert.equal(events.filter((e) => e.event === 'task').at(-1).state, 'succeeded');
}

describe('the C library', () => {
    let server;
    let api;
    let worker;
    const backend = (...args) => done('backend', [server.url, server.key, ...args]);
    const begin = (session, input, ...more) => backend('start', session, 'work', 'count', JSON.stringify(input), ...more);

    before(async () => {
        server = await start();
        api = server.api();
        worker = new Example('worker', [server.url, server.key, 'work']);
    });

    after(async () => {
        worker.child.kill('SIGCONT'); // should a test have left it stopped
        worker.child.kill('SIGTERM');
        const end = await worker.end;
        await server.close();
        assert.equal(end.code, 0, JSON.stringify(end));
        assert.equal(end.err, '');
    });

    test('a back end starts a task, a worker works on it, and its end is waited for', async () => {
        const id = await begin('s-work', { steps: 30 });
        assert.equal(await backend('wait', id), 'succeeded {"counted": 30, "answer": null}');
        const task = await api.look(id);
        assert.equal(task.progress.current, 30);
        assert.equal(task.progress.message, 'one by one');
        assert.deepEqual([task.progress.phase, task.progress.data], ['counting', { left: 0 }]);
        assert.equal(task.attempt, 1);
        assert.equal((await api.get(`/v1/tasks/${id}/output`)).text, lines(30));
    });

    test('the static library does the same', async () => {
        const id = await done('backend-static', [server.url, server.key, 'start', 's-work', 'work', 'count', '{"steps": 2}']);
        assert.equal(await done('backend-static', [server.url, server.key, 'wait', id]), 'succeeded {"counted": 2, "answer": null}');
    });

    test('what the server refuses of progress is left out, and the end is told all the same', async () => {
        const small = await start({ max_progress_data: 5 });
        const own = new Example('worker', [small.url, small.key, 'work']);
        try {
            const id = await done('backend', [small.url, small.key, 'start', 's-small', 'work', 'count', '{"steps": 30, "pause_ms": 20}']);
            assert.equal(await done('backend', [small.url, small.key, 'wait', id]), 'succeeded {"counted": 30, "answer": null}');
            const task = await small.api().look(id);
            assert.equal(task.attempt, 1);
            assert.deepEqual([task.progress.phase, task.progress.current, task.progress.data], ['counting', 30, null]);
            assert.equal((await small.api().get(`/v1/tasks/${id}/output`)).text, lines(30));
        } finally {
            own.child.kill('SIGTERM');
            const end = await own.end;
            await small.close();
            assert.equal(end.code, 0, JSON.stringify(end));
        }
    });

    test('the same idempotency key starts a task once', async () => {
        const [a, b] = await Promise.all([begin('s-once', { steps: 1 }, 'key-1'), begin('s-once', { steps: 1 }, 'key-1')]);
        assert.equal(a, b);
    });

    test('a refusal is told with its code and place', async () => {
        const end = await finished('backend', [server.url, server.key, 'start', 's-work', 'work', 'NOT A KIND']);
        assert.equal(end.code, 1);
        assert.match(end.err, /invalid-request\) at \/kind/);
        assert.match((await finished('backend', [server.url, 'blk_wrong', 'wait', 'tsk_01J00000000000000000000000'])).err, /unauthenticated/);
    });

    test('a question is asked, answered by a person, and the work goes on', async () => {
        const id = await begin('s-ask', { steps: 3, ask: true });
        assert.equal(await backend('answer', id, '{"go":  true}'), 'Go on?');
        assert.equal(await backend('wait', id), 'succeeded {"counted": 3, "answer": {"go":  true}}');
    });

    test('a cancel request reaches a busy worker and one that waits for an answer', async () => {
        const busy = await begin('s-cancel', { steps: 100000, pause_ms: 5 });
        await until(async () => (await api.look(busy)).progress.current > 3, 'some progress');
        await backend('cancel', busy, 'enough');
        const asking = await begin('s-cancel', { ask: true });
        await until(async () => (await api.look(asking)).state === 'input_required', 'a question');
        await backend('cancel', asking);
        for (const id of [busy, asking]) {
            const end = await finished('backend', [server.url, server.key, 'wait', id]);
            assert.equal(end.code, 3);
            assert.match(end.out, /^cancelled/);
        }
        assert.equal((await api.look(busy)).cancel_reason, 'enough');
    });

    test('a busy worker stays alive beyond its lease without saying anything', async () => {
        const id = await begin('s-lease', { steps: 2, pause_ms: 3500 });
        assert.match(await backend('wait', id), /^succeeded/);
        assert.equal((await api.look(id)).attempt, 1);
    });

    test('two watches in one poll loop', async () => {
        const ids = [await begin('s-poll', { steps: 5 }), await begin('s-poll', { steps: 6 })];
        const out = await done('watch-poll', [server.url, server.key, ...ids]);
        assert.deepEqual(out.split('\n').sort(), ids.map((id) => `${id} succeeded`).sort());
    });

    test('a session\'s feed goes on through a rotation, from a cursor, and ends with the session', async () => {
        const session = await api.session({ key: 's-feed' });
        const first = await begin('s-feed', { steps: 1 });
        await backend('wait', first);
        const watch = new Example('watch', [server.url, session.token, 'own']);
        await watch.said(/^live /m);
        const rotated = (await api.post(`/v1/sessions/${session.id}/rotate`, { user: 'u-1' })).json;
        await watch.said(/^session rotated$/m);
        watch.child.stdin.write(`${rotated.token}\n`);
        const second = await begin('s-feed', { steps: 1 });
        await watch.said(new RegExp(`^task ${second} \\d+ succeeded`, 'm'));
        const again = new Example('watch', [server.url, server.key, 'session', session.id, watch.events().find((e) => e.event === 'live').word]);
        await again.said(/^live /m);
        assert.ok(!again.out.includes(first), 'what stood before the cursor is not given again');
        assert.ok(again.out.includes(second));
        await api.delete(`/v1/sessions/${session.id}`);
        for (const end of [await watch.end, await again.end]) {
            assert.equal(end.code, 0, JSON.stringify(end));
            assert.match(end.out, /^session (logout|operator)\nend over\n$/m);
        }
        assert.equal(watch.out.split(`task ${first} `).length, 2, 'the first task was shown once');
    });

    test('a watcher too many is told why, and does not come back at once', async () => {
        const session = await api.session();
        const all = await Promise.all(Array.from({ length: 64 }, () => server.api(session.token).events('/v1/session/events')));
        await Promise.all(all.map((e) => e.live()));
        const watch = new Example('watch', [server.url, session.token, 'own']);
        await watch.said(/^lost quota-exceeded$/m);
        assert.equal(watch.out, 'lost quota-exceeded\n');
        all.forEach((e) => e.close());
        watch.child.kill('SIGTERM');
        await watch.end;
    });

    test('a dead credential ends a watch with an error', async () => {
        const end = await finished('watch', [server.url, 'ses_01J00000000000000000000000.g1.AAAAAAAAAAAAAAAAAAAAAA', 'own']);
        assert.equal(end.code, 1);
        assert.match(end.out, /^end unauthenticated$/m);
    });

    test('a server that is killed and comes back: worker, waiter and watcher go on, nothing is lost and nothing comes twice', async () => {
        const steps = 600;
        const id = await begin('s-kill', { steps, pause_ms: 10 });
        const waiter = new Example('backend', [server.url, server.key, 'wait', id]);
        const watch = new Example('watch', [server.url, server.key, 'task', id]);
        for (const reached of [60, 200]) {
            await watch.said(new RegExp(`^line ${reached}$`, 'm'));
            await server.kill();
            await watch.said(/^lost /m);
            await server.restart();
            api = server.api();
        }
        const end = await watch.end;
        assert.equal(end.code, 0, JSON.stringify(end).slice(-4000));
        checkWatched(watch.events(), lines(steps));
        assert.equal((await waiter.end).out, `succeeded {"counted": ${steps}, "answer": null}\n`);
        const task = await api.look(id);
        assert.equal(task.attempt, 1, 'the worker kept its attempt');
        assert.equal((await api.get(`/v1/tasks/${id}/output`)).text, lines(steps));
    });

    test('an attempt that was taken away is told to its worker', async () => {
        const id = await begin('s-taken', { steps: 100000, pause_ms: 5 });
        await until(async () => (await api.look(id)).state === 'running', 'the claim');
        worker.child.kill('SIGSTOP');
        await until(async () => (await api.look(id)).state !== 'running', 'the lost lease', 60000);
        const [claimed] = await api.claimed('work');
        assert.equal(claimed.id, id);
        assert.equal(claimed.attempt, 2);
        worker.child.kill('SIGCONT');
        await worker.said(new RegExp(`^${id} attempt-superseded$`, 'm'));
        await api.reported(claimed, { type: 'succeed' });
    });
});
