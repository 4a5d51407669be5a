// Section 3: a merge is one step, also for a server that is killed in the middle of many of them.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { ok, pause } from './lib/client.mjs';
import { View } from './lib/sse.mjs';

const KILLS = 10;
const PAIRS = 6;
const TASKS = 200;
const SEED = Number(process.env.SEED ?? 20240607);

function random(seed) {
    let x = seed >>> 0;
    return () => {
        x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
        return x / 4294967296;
    };
}

let s;
before(async () => {
    s = await start();
});
after(() => s.close());

const sessionOf = async (id) => ok(await s.api().get(`/v1/sessions/${id}`), 200).json;

async function tasksOf(id) {
    return ok(await s.api().get(`/v1/tasks?session=${id}&limit=1000`), 200).json.items;
}

async function viewOf(id) {
    const view = new View();
    view.applyAll(ok(await s.api().page(`/v1/sessions/${id}/events`), 200).json.events);
    return view;
}

/** A session with many tasks, some of which have ended, and one that they are to go to, with a few of its own. */
async function pair() {
    const api = s.api();
    const [from, into] = [await api.session(), await api.session()];
    const own = [await api.task(into), await api.task(into)].map((t) => t.id);
    const tasks = await Promise.all(Array.from({ length: TASKS }, () => api.task(from)));
    await Promise.all(tasks.filter((_, i) => i % 10 === 0).map((t) => api.reported(t, { type: 'succeed', result: 'r' })));
    return { from: from.id, into: into.id, own, ids: tasks.map((t) => t.id), before: await viewOf(from.id), acknowledged: false };
}

/** Whether the pair is merged: wholly or not at all, by whatever it is asked. */
async function isMerged(p) {
    const [source, target] = [await sessionOf(p.from), await sessionOf(p.into)];
    const merged = source.state === 'ended';
    assert.equal(source.reason, merged ? 'merged' : null);
    assert.equal(target.state, 'active');
    const [here, there] = [await tasksOf(p.from), await tasksOf(p.into)];
    const [all, none] = [[...p.own, ...p.ids].sort(), [...p.own].sort()];
    assert.deepEqual(here.map((t) => t.id).sort(), merged ? [] : [...p.ids].sort());
    assert.deepEqual(there.map((t) => t.id).sort(), merged ? all : none);
    assert.ok([...here.map((t) => t.session === p.from), ...there.map((t) => t.session === p.into)].every(Boolean));
    const ended = TASKS / 10;
    assert.deepEqual(source.tasks, merged ? { unfinished: 0, ended: 0 } : { unfinished: TASKS - ended, ended });
    assert.deepEqual(target.tasks, merged ? { unfinished: TASKS - ended + 2, ended } : { unfinished: 2, ended: 0 });
    const view = await viewOf(p.into);
    assert.deepEqual([...view.tasks.keys()].sort(), merged ? all : none);
    if (merged) {
        for (const id of p.ids) {
            assert.ok(view.tasks.get(id).version > p.before.tasks.get(id).version, 'versions rise');
        }
    }
    return merged;
}

test(`killed ${KILLS} times in the middle of merges (SEED=${SEED})`, { timeout: 240_000 }, async () => {
    const rnd = random(SEED);
    const outcomes = { merged: 0, not: 0, unknown: 0 };
    for (let kill = 0; kill < KILLS; kill++) {
        const pairs = [];
        for (let i = 0; i < PAIRS; i++) {
            pairs.push(await pair());
        }
        const requests = pairs.map(async (p) => {
            await pause(rnd() * 20);
            const r = await s.api().post(`/v1/sessions/${p.from}/merge`, { into: p.into }).catch(() => null);
            if (r) {
                assert.equal(ok(r, 200).json.id, p.into);
                p.acknowledged = true;
            }
        });
        await pause(rnd() * 20);
        if (kill % 2) { // however slow this machine is, one is done and others are under way
            await Promise.race(requests);
        }
        await s.kill();
        await Promise.all(requests);
        await s.restart();
        for (const p of pairs) {
            const merged = await isMerged(p);
            assert.ok(merged || !p.acknowledged, 'what was acknowledged is there');
            outcomes[merged ? 'merged' : 'not']++;
            outcomes.unknown += merged && !p.acknowledged;
            ok(await s.api().post(`/v1/sessions/${p.from}/merge`, { into: p.into }), 200);
            assert.ok(await isMerged(p), 'said again, it is done');
        }
    }
    assert.ok(outcomes.merged > 0 && outcomes.not > 0, `the kills came too early or too late to show anything: ${JSON.stringify(outcomes)}`);
});
