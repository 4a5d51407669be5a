// The module for browsers, in Node, against the real program.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connect, TaskError } from '../../web/sdk/bowline.js';
import { ok, pause, until } from '../http/lib/client.mjs';
import { Server } from '../http/lib/server.mjs';

const KINDS = { report: { queue: 'reports' }, quick: { queue: 'quick' } };

let server;
let api;
const open = [];

function follow(session, options = {}) {
    const live = connect({ url: server.url, token: session.token ?? session, ...options });
    const heard = [];
    for (const name of ['task', 'gone', 'succeeded', 'failed', 'cancelled', 'input_required', 'output', 'state', 'reset', 'error']) {
        live.on(name, (...values) => heard.push([name, ...values]));
    }
    open.push(live);
    return { live, heard, names: (name) => heard.filter(([n]) => n === name).map(([, ...rest]) => rest) };
}

const listed = async (session) => ok(await server.api(session.token).get('/v1/session/tasks?limit=1000'), 200).json.items;
const same = (live, items) => assert.deepEqual(new Map([...live.tasks].sort()), new Map(items.map((task) => [task.id, task]).sort()));
const claimOne = async (queue) => {
    const [task] = await api.claimed(queue);
    return { ...task, report: (...reports) => api.reported(task, reports) };
};

describe('the module in Node', { timeout: 180_000 }, () => {
    before(async () => {
        server = await new Server({ session_kinds: KINDS }).start();
        api = server.api();
    });
    after(async () => {
        open.forEach((live) => live.close());
        await server.close();
    });

    test('gives the tasks of the session as they are, and then each change', async () => {
        const session = await api.session();
        const old = await api.task(session, { title: 'old' });
        await api.reported(old, { type: 'succeed', result: 1 });
        const { live, names } = follow(session);
        assert.equal(live.state, 'connecting');
        await live.ready;
        assert.deepEqual([live.state, live.reason, live.via], ['live', null, 'sse']);
        same(live, await listed(session));
        const seen = [];
        const reading = (async () => {
            for await (const task of live) {
                seen.push(task.state);
            }
        })();
        const task = await api.task(session, { title: 'new' });
        await api.reported(task, [{ type: 'progress', current: 1, total: 2 }]);
        await until(() => live.tasks.get(task.id)?.progress.current === 1, 'progress');
        const first = live.tasks.get(task.id);
        await api.reported(task, { type: 'succeed', result: { pages: 3 } });
        assert.deepEqual(await live.task(task.id).done, { pages: 3 });
        assert.equal(first.state, 'running', 'a task object does not change');
        same(live, await listed(session));
        assert.deepEqual([...live.tasks.keys()], [old.id, task.id]);
        assert.deepEqual(names('succeeded').map(([t]) => t.id), [task.id], 'not for what had ended before');
        assert.equal(names('task').find(([t]) => t.id === task.id)[1], undefined);
        assert.throws(() => live.tasks.clear(), TypeError);
        live.close();
        await reading;
        assert.deepEqual([seen.at(0), seen.at(-1)], ['queued', 'succeeded']);
        assert.deepEqual([live.state, live.reason], ['ended', 'closed']);
    });

    test('start, cancel, questions, seen, result and output', async () => {
        const session = await api.session();
        const { live, names } = follow(session);
        const key = 'twice';
        const [one, two] = await Promise.all([live.start('report', { title: 'A', input: { n: 1 }, key }), live.start('report', { title: 'A', input: { n: 1 }, key })]);
        assert.equal(one.id, two.id);
        assert.equal(one.value.title, 'A');
        const work = await claimOne('reports');
        assert.equal(work.id, one.id);
        const parts = (async () => {
            const all = [];
            for await (const bytes of one.output()) {
                all.push(bytes);
            }
            return Buffer.concat(all).toString();
        })();
        await work.report({ type: 'output', data: 'first ', offset: 0 }, { type: 'input_request', prompt: 'Sure?', schema: { type: 'boolean' } });
        await until(() => names('input_required').length, 'the question');
        const answered = await one.answer(true);
        assert.equal(answered.state, 'running');
        await work.report({ type: 'output', data: 'second', offset: 6 });
        await work.report({ type: 'succeed', result: { big: 'x'.repeat(20000) } });
        assert.equal((await one.done).big.length, 20000);
        assert.equal((await one.result()).big.length, 20000);
        assert.equal(await parts, 'first second');
        assert.ok((await one.seen()).seen_at);
        assert.deepEqual(names('input_required').map(([t]) => t.id), [one.id]);
        const three = await live.start('report');
        await three.cancel('no longer wanted');
        await assert.rejects(three.done, (error) => error instanceof TaskError && error.code === 'cancelled' && error.task.id === three.id);
        await assert.rejects(three.cancel(), (error) => error.code === 'task-ended');
        await assert.rejects(live.start('nothing'), (error) => error.code === 'forbidden' && error.status === 403);
        ok(await api.delete(`/v1/tasks/${three.id}`), 204);
        await until(() => names('gone').length, 'gone');
        assert.deepEqual(names('gone').map(([g]) => [g.id, g.reason, g.task.state]), [[three.id, 'deleted', 'cancelled']]);
        await assert.rejects(live.task(three.id).done, (error) => error.code === 'gone');
        assert.deepEqual(await one.files(), []);
        live.close();
    });

    test('output as it comes, from the first byte', async () => {
        const session = await api.session();
        const task = await api.task(session);
        await api.reported(task, { type: 'output', data: 'before ', offset: 0 });
        const { live, names } = follow(session, { output: true });
        await live.ready;
        await api.reported(task, { type: 'output', data_base64: Buffer.from('after').toString('base64'), offset: 7 });
        await until(() => names('output').length === 2, 'output');
        assert.deepEqual(names('output').map(([o]) => [o.task, o.offset, Buffer.from(o.bytes).toString()]), [[task.id, 0, 'before '], [task.id, 7, 'after']]);
        live.close();
    });

    test('a question that was open before is told of, once', async () => {
        const session = await api.session();
        const task = await api.task(session);
        await api.reported(task, { type: 'input_request', prompt: 'Sure?' });
        const { live, names } = follow(session);
        await live.ready;
        await api.reported(task, { type: 'progress', current: 1 });
        await until(() => live.tasks.get(task.id).progress.current === 1, 'progress');
        assert.equal(names('input_required').length, 1);
        live.close();
    });

    test('the end of the session is the end, with its reason', async () => {
        const session = await api.session();
        const { live, names } = follow(session);
        await live.ready;
        const done = live.task((await api.task(session)).id).done;
        ok(await api.delete(`/v1/sessions/${session.id}`), 200);
        await until(() => live.state === 'ended', 'the end');
        assert.equal(live.reason, 'logout');
        await assert.rejects(done, TaskError);
        assert.deepEqual(names('state'), [['live', null], ['ended', 'logout']]);
        const late = follow(session);
        await assert.rejects(late.live.ready, (error) => error.code === 'logout');
        assert.deepEqual([late.live.state, late.live.reason], ['ended', 'logout']);
        const nobody = follow('ses_nobody');
        await assert.rejects(nobody.live.ready, (error) => error.code === 'unauthenticated');
    });

    test('a rotation: refresh is asked once, and nothing is told twice', async () => {
        const session = await api.session();
        let token, asked = 0;
        const { live, names } = follow(session, { refresh: async () => (asked++, until(() => token)) });
        await live.ready;
        const task = await api.task(session);
        await until(() => live.tasks.has(task.id), 'the task');
        token = ok(await api.post(`/v1/sessions/${session.id}/rotate`, {}), 200).json.token;
        await until(() => names('state').length >= 3, 'another connection');
        await until(() => live.state === 'live', 'live');
        await api.reported(task, { type: 'succeed' });
        await until(() => names('succeeded').length, 'the end of the task');
        assert.equal(asked, 1);
        assert.equal(names('task').filter(([, before]) => !before).length, 1);
        assert.deepEqual(names('reset'), []);
        ok(await api.post(`/v1/sessions/${session.id}/rotate`, {}), 200);
        await until(() => live.state === 'ended', 'the same dead token');
        assert.deepEqual([live.reason, asked], ['unauthenticated', 2]);
    });

    test('without refresh a token that died is the end; a function is asked again', async () => {
        const session = await api.session();
        let token = session.token;
        const plain = follow(session), asks = follow(session, { token: async () => token });
        await Promise.all([plain.live.ready, asks.live.ready]);
        token = ok(await api.post(`/v1/sessions/${session.id}/rotate`, {}), 200).json.token;
        await until(() => plain.live.state === 'ended', 'the end');
        assert.equal(plain.live.reason, 'unauthenticated');
        const task = await api.task(session);
        await until(() => asks.live.tasks.has(task.id), 'the task');
        asks.live.close();
    });

    test('one listener that throws does not disturb the others', async () => {
        const session = await api.session();
        const { live, names } = follow(session);
        const errors = [];
        const off = live.on('task', () => {
            throw new Error('mine');
        });
        const after = [];
        live.on('task', (task) => after.push(task.id));
        live.on('error', (error) => errors.push(error.message));
        await live.ready;
        const task = await api.task(session);
        await until(() => after.length, 'the other');
        off();
        await api.reported(task, { type: 'succeed' });
        await until(() => after.length >= 2, 'another change');
        assert.deepEqual(errors, ['mine']);
        assert.equal(names('error').length, 1);
        live.close();
    });

    test('it comes back after a restart of the server, and each end is told once', async () => {
        const session = await api.session();
        const { live, names } = follow(session);
        await live.ready;
        const first = await api.task(session), second = await api.task(session);
        await api.reported(first, { type: 'succeed' });
        await until(() => names('succeeded').length, 'the first end');
        await server.kill();
        await until(() => live.state === 'offline', 'offline');
        await server.restart();
        api = server.api();
        await until(() => live.state === 'live', 'live');
        await api.reported(second, { type: 'fail', error: { type: 'disk-full', message: 'No space' } });
        await assert.rejects(live.task(second.id).done, (error) => error.code === 'failed' && error.message === 'No space');
        same(live, await listed(session));
        assert.deepEqual([names('succeeded').length, names('failed').length], [1, 1]);
        live.close();
    });
});
