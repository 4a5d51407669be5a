// Many watchers that lose their connections at once and come back at once, and a stop that sends them away one after the other.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { ok, until } from './lib/client.mjs';
import { connect } from './lib/raw.mjs';

const WATCHERS = 2000;
const SESSIONS = 50;
const DRAIN_S = 3;
const AT_ONCE = 250;
const FEED = '/v1/session/events';

let s;
let sessions;

const metric = async (name) => Number(new RegExp(`\\n${name} (\\d+)\\n`).exec(ok(await s.api().get('/metrics'), 200).text)[1]);
const lookups = () => metric('bowline_store_lookups_total');
const watchersAre = (count, what) => until(async () => (await metric('bowline_watchers')) === count, what, 60000);

/** One task of each session under way; in every other one it has ended, so that nothing but its watchers keeps the session in memory. */
async function fill() {
    const api = s.api();
    sessions = await Promise.all(Array.from({ length: SESSIONS }, () => api.session()));
    await Promise.all(sessions.map(async (session, i) => {
        session.task = await api.task(session);
        session.quiet = i % 2 === 0;
        await api.reported(session.task, { type: 'progress', current: 0 });
        if (session.quiet) {
            await api.reported(session.task, { type: 'succeed' });
        }
    }));
}

/** All at once, but for the client's own sake no more than some hundreds that are just being opened. */
async function openAll(cursors = []) {
    const all = new Array(WATCHERS);
    let next = 0;
    const opener = async () => {
        for (let i; (i = next++) < WATCHERS; ) {
            const session = sessions[i % SESSIONS];
            const e = await s.api(session.token).events(FEED, { lastEventId: cursors[i] });
            assert.equal(e.status, 200, e.body);
            e.session = session;
            all[i] = e;
        }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, opener));
    await Promise.all(all.map((e) => e.live()));
    return all;
}

const cutAll = (all) => all.forEach((e) => e.close());
const cursorsOf = (all) => all.map((e) => e.lastId);

/** Those that came back were given exactly what they missed, and live on. */
async function areBack(all, current) {
    for (const e of all) {
        const missed = e.items.filter((i) => i.event !== 'live').map((i) => [i.event, i.data.task?.id, i.data.task?.progress.current]);
        const change = [['task', e.session.task.id, current]];
        assert.deepEqual(missed, e.session.quiet ? [] : change);
    }
    await advance(current + 1);
    await Promise.all(all.filter((e) => !e.session.quiet).map((e) => e.task(e.session.task.id, (t) => t.progress.current === current + 1)));
}

const advance = (current) => Promise.all(sessions.filter((x) => !x.quiet).map((x) => s.api().reported(x.task, { type: 'progress', current })));

describe('a storm', { timeout: 240_000 }, () => {
    let all;

    before(async () => {
        s = await start({ drain_time: DRAIN_S, loops: 2 });
        await fill();
    });
    after(() => s.close());

    test(`${WATCHERS} watchers are cut at once and come back: sessions are looked up, not watchers`, async () => {
        all = await openAll();
        const cursors = cursorsOf(all);
        cutAll(all);
        await watchersAre(0, 'the server to notice');
        await advance(1);
        const before_ = await lookups();
        all = await openAll(cursors);
        const cost = (await lookups()) - before_;
        assert.ok(cost <= 2 * SESSIONS, `${cost} lookups for ${WATCHERS} watchers of ${SESSIONS} sessions`);
        await areBack(all, 1);
        assert.equal(await metric('bowline_watchers'), WATCHERS);
    });

    test('the server is killed: the same', async () => {
        const cursors = cursorsOf(all);
        await s.kill();
        await s.restart();
        await Promise.all(all.map((e) => e.end()));
        await advance(10);
        const before_ = await lookups();
        all = await openAll(cursors);
        const cost = (await lookups()) - before_;
        assert.ok(cost <= 2 * SESSIONS, `${cost} lookups for ${WATCHERS} watchers of ${SESSIONS} sessions`);
        await areBack(all, 10);
    });

    test('SIGTERM: they are sent away over the drain time, each with a retry; what is under way is answered; exit 0', async () => {
        const session = sessions[1];
        const waiting = [
            s.api().get(`/v1/tasks/${session.task.id}`, { prefer: 'wait=60', 'if-none-match': `"${(await s.api().look(session.task)).version}"` }),
            s.api().claim('nothing-comes', {}, 60),
            s.api(session.task.worker_token).get(`/v1/tasks/${session.task.id}/control`, { prefer: 'wait=60' }),
            s.api().get(`/v1/tasks/${session.task.id}/output`, { prefer: 'wait=60' }),
            s.api(session.token).page(FEED, { after: all[1].lastId, wait: 60 }),
        ];
        const body = JSON.stringify({ session: session.id, kind: 'work', title: 'half sent' });
        const halves = await Promise.all(Array.from({ length: 20 }, async () => {
            const c = await connect(s);
            return c.write(`POST /v1/tasks HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 9)}`);
        }));
        await watchersAre(WATCHERS + 1, 'the waiting page');
        const closedAt = [];
        all.forEach((e) => e.request.on('close', () => closedAt.push(Date.now())));

        s.child.kill('SIGTERM');
        await until(async () => (await s.api(null).get('/readyz').catch(() => null))?.status === 503, 'the server to say that it drains'); // it closes idle connections
        halves.forEach((c) => c.write(body.slice(9)));
        for (const c of halves) {
            assert.equal((await c.response()).status, 202);
            c.destroy();
        }
        assert.deepEqual((await Promise.all(waiting)).map((r) => r.status), [304, 204, 200, 200, 200], 'as if their time were up');
        await Promise.all(all.map((e) => e.end()));
        assert.deepEqual(await s.exited, { code: 0, signal: null }, s.err);
        await s.agent.destroy();

        const retries = new Set();
        for (const e of all) {
            assert.match(e.lines.slice(-2).join('\n'), /^retry: \d+\n$/);
            assert.ok(!e.items.some((i) => i.event === 'session' || i.event === 'reset'));
            retries.add(e.retry);
        }
        assert.ok(retries.size > WATCHERS / 20, 'they will not come back in step');
        closedAt.sort((a, b) => a - b);
        const spread = closedAt[Math.floor(WATCHERS * 0.9)] - closedAt[Math.floor(WATCHERS * 0.1)];
        assert.ok(spread > (DRAIN_S * 1000) / 4, `nine tenths of them were sent away within ${spread} ms of the first tenth`);
        await s.restart();
    });
});
