// Rate and eta: from a task's own reports, from finished tasks of its kind, and the same after a restart.
import { after, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { ok, pause, question, until } from './lib/client.mjs';

const servers = [];
async function fresh(options) {
    const s = await start(options);
    servers.push(s);
    return s;
}
after(async () => {
    for (const s of servers) {
        await s.close();
    }
});

/** Reports until there is a rate. */
async function under_way(app, t, from = 0) {
    let current = from;
    return until(async () => {
        await app.reported(t, { type: 'progress', current: ++current, total: 100000 });
        const seen = await app.look(t);
        return seen.progress.rate !== null ? seen : null;
    }, 'a rate');
}

async function finished(app, session, kind) {
    const t = await app.task(session, { kind });
    await app.reported(t, { type: 'heartbeat' });
    await pause(300);
    await app.reported(t, { type: 'succeed', result: 1 });
}

describe('rate and eta', () => {
    test('are null for a task of which nothing is known', async () => {
        const app = (await fresh()).api();
        const t = await app.task(await app.session(), { kind: 'unheard-of' });
        await app.reported(t, { type: 'progress', current: 10, total: 100 });
        const { rate, eta } = (await app.look(t)).progress;
        assert.deepEqual([rate, eta], [null, null]);
    });

    test('eta comes from finished tasks of the kind while a task has said nothing, also after a restart', async () => {
        const s = await fresh();
        const session = await s.api().session();
        for (let i = 0; i < 3; i++) {
            await finished(s.api(), session, 'known');
        }
        const eta_of_new = async (kind) => {
            const t = await s.api().task(session, { kind });
            await s.api().reported(t, { type: 'heartbeat' });
            return (await s.api().look(t)).progress;
        };
        const first = await eta_of_new('known');
        assert.equal(first.rate, null);
        assert.ok(first.eta > 0 && first.eta < 60, `${first.eta}`);
        assert.equal((await eta_of_new('other')).eta, null);
        assert.deepEqual(await s.stop(), { code: 0, signal: null });
        await s.restart();
        assert.ok((await eta_of_new('known')).eta > 0);
    });

    test('stand as of the last change after a restart, and go on from there', async () => {
        const s = await fresh();
        const t = await s.api().task(await s.api().session(), { lease: 3600 });
        const before = await under_way(s.api(), t);
        assert.deepEqual(await s.stop(), { code: 0, signal: null });
        await s.restart();
        assert.deepEqual((await s.api().look(t)).progress, before.progress);
        const after = await under_way(s.api(), t, before.progress.current);
        assert.ok(after.progress.rate > 0 && after.progress.eta > 0);
        assert.ok(after.progress.rate < 50 * before.progress.rate); /* what was done before the restart was not done since */
    });

    test('eta is null while a person is waited for', async () => {
        const app = (await fresh()).api();
        const t = await app.task(await app.session());
        await under_way(app, t);
        await app.reported(t, { type: 'input_request', prompt: 'which?' });
        const asking = await app.look(t);
        assert.equal(asking.progress.eta, null);
        ok(await app.post(`/v1/tasks/${t.id}/answer`, { request: question(asking), answer: 1 }), 200);
        assert.ok((await app.look(t)).progress.eta > 0);
    });

    test('begin anew with each attempt', async () => {
        const app = (await fresh()).api();
        const t = await app.task(await app.session(), { queue: 'q', max_attempts: 2, backoff: 0 });
        const [one] = await app.claimed('q');
        await under_way(app, { ...t, worker_token: one.worker_token });
        await app.reported({ ...t, worker_token: one.worker_token }, { type: 'fail', error: { type: 'x', message: 'm' }, retry: true });
        await app.claimed('q');
        const { rate, eta } = (await app.look(t)).progress;
        assert.deepEqual([rate, eta], [null, null]);
    });
});
