// The wall clock steps, forward and back, under the running program and between two runs, and the machine sleeps: what people are shown and what others have dated
// goes by the wall clock, durations do not.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { ok, problem, until } from './lib/client.mjs';
import { claims, hs256 } from './lib/jwt.mjs';
import { Clock } from './lib/clock.mjs';

const MINUTE = 60000;
const HOUR = 60 * MINUTE;
const NEAR = 2 * MINUTE; // how long a test may take
const SECRET = 'the secret that the application signs with';
const OPTIONS = { jwt_secrets: SECRET, session_kinds: { work: {} } };

let names = 0;
const name = (what) => `${what}-${++names}`;

/** A time that an answer shows is what the wall clock says, give or take how long the test took. */
function shownAsNow(clock, text) {
    const apart = Date.parse(text) - clock.now();
    assert.ok(Math.abs(apart) < NEAR, `${text} is ${apart} ms from what the clock says`);
}

function notAhead(clock, shown, ...members) {
    for (const member of members) {
        assert.ok(shown[member] === null || Date.parse(shown[member]) <= clock.now(), `${member} ${shown[member]} lies ahead`);
    }
}

/** The program with a clock of its own, as `s`, which goes with the tests of this group. */
function withServer(aheadMs, options = {}) {
    const w = {};
    before(async () => {
        w.clock = new Clock(aheadMs);
        w.s = await start({ ...OPTIONS, ...options }, w.clock.how);
        w.app = w.s.api();
        w.jwt = (sid, iat = w.clock.nowS()) => w.s.api(hs256(SECRET, claims({ sid, iat })));
        w.queue = async (queue) => ok(await w.app.get('/v1/queues'), 200).json.items.find((q) => q.name === queue);
    });
    after(async () => {
        await w.s.close();
        w.clock.close();
    });
    return w;
}

/** What a worker is given of that queue at once: nothing that it would have to wait for. */
async function claimedNow(w, queue) {
    const r = await w.app.claim(queue);
    assert.equal(r.status, 200, `nothing can be claimed of ${queue}`);
    return r.json.tasks;
}

describe('a clock that is ahead where the JWTs are issued', () => {
    const w = withServer(0);

    test('lets none outlive a log-out or a rotation', async () => {
        const out = name('out');
        const kept = name('kept');
        const used = w.jwt(out, w.clock.nowS() + 30);
        const session = ok(await used.get('/v1/session'), 200).json;
        ok(await w.app.delete(`/v1/sessions/${session.id}`), 200);
        problem(await used.get('/v1/session'), 'session-ended');
        const before_ = w.jwt(kept, w.clock.nowS() + 30);
        const rotated = ok(await before_.get('/v1/session'), 200).json;
        ok(await w.app.post(`/v1/sessions/${rotated.id}/rotate`, { key: kept }), 200);
        problem(await before_.get('/v1/session'), 'unauthenticated');
        assert.notEqual(ok(await w.jwt(out, w.clock.nowS() + 40).get('/v1/session'), 200).json.id, session.id);
        assert.equal(ok(await w.jwt(kept, w.clock.nowS() + 40).get('/v1/session'), 200).json.id, rotated.id);
    });
});

describe('a step forward under the running program', () => {
    const w = withServer(0);

    test('is seen in what is shown', async () => {
        w.clock.step(3 * HOUR);
        const session = await w.app.session();
        shownAsNow(w.clock, session.created_at);
        const task = await w.app.task(session);
        await w.app.reported(task, { type: 'succeed' });
        const done = await w.app.look(task);
        for (const member of ['created_at', 'started_at', 'updated_at', 'ended_at']) {
            shownAsNow(w.clock, done[member]);
        }
        shownAsNow(w.clock, ok(await w.s.api(task.token).post(`/v1/tasks/${task.id}/seen`), 200).json.seen_at);
        const r = await w.app.get('/v1/info');
        assert.ok(Math.abs(Date.parse(r.headers.date) - w.clock.now()) < NEAR, r.headers.date);
    });

    test('a JWT issued before a log-out opens no session after it', async () => {
        const sid = name('forward');
        w.clock.step(3 * HOUR);
        const old = w.jwt(sid, w.clock.nowS() - 600);
        const session = ok(await old.get('/v1/session'), 200).json;
        ok(await w.app.delete(`/v1/sessions/${session.id}`), 200);
        problem(await old.get('/v1/session'), 'session-ended');
        const fresh = ok(await w.jwt(sid, w.clock.nowS() + 2).get('/v1/session'), 200).json;
        assert.notEqual(fresh.id, session.id);
    });

    test('nor does one issued before a rotation count as newer', async () => {
        const key = name('rotated');
        w.clock.step(3 * HOUR);
        const old = w.jwt(key, w.clock.nowS() - 600);
        const session = ok(await old.get('/v1/session'), 200).json;
        ok(await w.app.post(`/v1/sessions/${session.id}/rotate`, { key }), 200);
        problem(await old.get('/v1/session'), 'unauthenticated');
        assert.equal(ok(await w.jwt(key, w.clock.nowS() + 1).get('/v1/session'), 200).json.id, session.id);
    });

    test('not_before and deadline go by it, by whatever is waited for them', async () => {
        const queue = name('dated');
        const session = await w.app.session();
        const later = new Date(w.clock.now() + HOUR).toISOString();
        const dated = await w.app.task(session, { queue, not_before: later });
        const deadline = await w.app.task(session, { deadline: 3600 });
        const first = await w.app.task(session, { queue });
        assert.equal((await claimedNow(w, queue))[0].id, first.id);
        const [waiting] = await w.app.begun(() => w.app.claimed(queue));
        w.clock.step(90 * MINUTE);
        assert.equal((await waiting)[0].id, dated.id);
        const failed = await w.app.ended(deadline);
        assert.equal(failed.error.type, 'deadline');
        shownAsNow(w.clock, failed.ended_at);
    });

    test('what becomes ready by it does so in order of not_before', async () => {
        const queue = name('order');
        const session = await w.app.session();
        const at = (hours) => new Date(w.clock.now() + hours * HOUR).toISOString();
        const [second, first] = [await w.app.task(session, { queue, not_before: at(2) }), await w.app.task(session, { queue, not_before: at(1) })];
        const before_ = await w.app.task(session, { queue });
        w.clock.step(3 * HOUR);
        const ids = ok(await w.app.claim(queue, { max: 10 }), 200).json.tasks.map((t) => t.id);
        assert.deepEqual(ids, [before_.id, first.id, second.id]);
    });

    test('durations do not: lease, timeout, idle clock, age, ttl, answers that are kept', async () => {
        const queue = name('durations');
        const session = await w.app.session({ idle_timeout: 1800, max_age: 3600 });
        const body = { session: session.id, kind: 'work', title: 'once' };
        const key = { 'idempotency-key': name('key') };
        const once = ok(await w.app.post('/v1/tasks', body, key), 202).json;
        const running = await w.app.task(session, { queue, lease: 60, timeout: 600, cancel_unwatched: 600 });
        await claimedNow(w, queue);
        const done = await w.app.task(session, { ttl: 3600 });
        await w.app.reported(done, { type: 'succeed' });
        const deleted = await w.app.task(session);
        await w.app.reported(deleted, { type: 'succeed' });
        ok(await w.app.delete(`/v1/tasks/${deleted.id}`), 204);
        w.clock.step(5 * 24 * HOUR);
        await w.queue(queue); // seen
        assert.equal((await w.app.look(running)).state, 'running');
        const kept = await w.app.look(done);
        assert.ok(Date.parse(kept.expires_at) > w.clock.now(), `expires_at ${kept.expires_at} is where the duration ends on the clock as it is now`);
        const lives = ok(await w.app.get(`/v1/sessions/${session.id}`), 200).json;
        assert.equal(lives.state, 'active');
        assert.ok(Date.parse(lives.expires_at) > w.clock.now(), lives.expires_at);
        assert.equal(ok(await w.app.post('/v1/tasks', body, key), 202).json.id, once.id);
        const gone = problem(await w.app.get(`/v1/tasks/${deleted.id}`), 'gone').json;
        notAhead(w.clock, gone, 'ended_at', 'gone_at');
    });

    test('the age of a queue is how long, not since when', async () => {
        const queue = name('age');
        await w.app.task(await w.app.session(), { queue });
        w.clock.step(5 * HOUR);
        const { oldest_age: age } = await w.queue(queue);
        assert.ok(age >= 0 && age < NEAR / 1000, `${age}`);
    });

    test('a stream opened with a JWT ends at its exp, and not before', async () => {
        const short = await w.jwt(name('short')).events('/v1/session/events');
        const iat = w.clock.nowS();
        const long = await w.s.api(hs256(SECRET, claims({ sid: name('long'), iat, exp: iat + 20 * 3600 }))).events('/v1/session/events');
        await short.live();
        await long.live();
        w.clock.step(2 * HOUR);
        await short.end();
        await w.app.watchers(1);
        long.close();
    });
});

describe('sessions that are not in memory live through a step, too', () => {
    const w = withServer(0);

    test('their idle clocks and ages stand where they were', async () => {
        const sid = name('away');
        const session = await w.app.session({ idle_timeout: 1800, max_age: 3600 });
        const done = await w.app.task(session, { ttl: 3600 });
        await w.app.reported(done, { type: 'succeed' });
        const by = ok(await w.jwt(sid).get('/v1/session'), 200).json;
        await w.s.stop();
        await w.s.restart(); // nothing in it is unfinished: it is not loaded
        w.clock.step(3 * HOUR);
        await w.queue('none');
        const lives = ok(await w.app.get(`/v1/sessions/${session.id}`), 200).json;
        assert.equal(lives.state, 'active');
        assert.ok(Date.parse(lives.expires_at) > w.clock.now(), lives.expires_at);
        ok(await w.app.get(`/v1/tasks/${done.id}`), 200);
        assert.equal(ok(await w.jwt(sid).get('/v1/session'), 200).json.id, by.id);
        w.clock.step(-3 * HOUR);
        assert.equal(ok(await w.app.get(`/v1/sessions/${session.id}`), 200).json.state, 'active');
    });
});

/** What was made while the clock was three hours ahead, before it is put right. */
async function madeAhead(w) {
    const session = await w.app.session({ key: name('ahead'), idle_timeout: 1800 });
    const waiting = await w.app.task(session, { queue: name('waiting') });
    const tried = await w.app.task(session, { queue: name('tried'), max_attempts: 3, backoff: 0 });
    const [attempt] = await claimedNow(w, tried.queue);
    await w.app.reported(attempt, { type: 'fail', error: { type: 'broken', message: 'once' }, retry: true });
    const done = await w.app.task(session);
    await w.app.reported(done, { type: 'succeed' });
    const out = name('out');
    const ended = ok(await w.jwt(out).get('/v1/session'), 200).json;
    ok(await w.app.delete(`/v1/sessions/${ended.id}`), 200);
    const kept = name('kept');
    const rotated = ok(await w.jwt(kept).get('/v1/session'), 200).json;
    ok(await w.app.post(`/v1/sessions/${rotated.id}/rotate`, { key: kept }), 200);
    const deleted = await w.app.task(session);
    await w.app.reported(deleted, { type: 'succeed' });
    ok(await w.app.delete(`/v1/tasks/${deleted.id}`), 204);
    return { session, waiting, tried, done, out, ended, kept, rotated, deleted };
}

async function nothingIsAhead(w, m) {
    for (const listed of [false, true]) {
        const tasks = listed ? ok(await w.app.get(`/v1/tasks?session=${m.session.id}`), 200).json.items
            : await Promise.all([m.waiting, m.tried, m.done].map((t) => w.app.look(t)));
        for (const task of tasks) {
            notAhead(w.clock, task, 'created_at', 'started_at', 'updated_at', 'ended_at', 'seen_at');
        }
        const sessions = listed ? ok(await w.app.get('/v1/sessions?limit=1000'), 200).json.items : [ok(await w.app.get(`/v1/sessions/${m.session.id}`), 200).json];
        for (const session of sessions) {
            notAhead(w.clock, session, 'created_at', 'ended_at');
            assert.ok(Date.parse(session.expires_at) <= w.clock.now() + Math.max(session.idle_timeout * 1000, 0), `expires_at ${session.expires_at}`);
        }
    }
    const gone = problem(await w.app.get(`/v1/tasks/${m.deleted.id}`), 'gone').json;
    notAhead(w.clock, gone, 'ended_at', 'gone_at');
}

async function everythingGoesOn(w, m) {
    const { oldest_age: age } = await w.queue(m.waiting.queue);
    assert.ok(age >= 0 && age < NEAR / 1000, `oldest_age ${age}`);
    await nothingIsAhead(w, m);
    assert.equal((await claimedNow(w, m.waiting.queue))[0].id, m.waiting.id);
    assert.equal((await w.app.claimed(m.tried.queue))[0].id, m.tried.id);
    await until(() => w.clock.nowS() > m.right + 1, 'a later second than that in which the clock was put right');
    const again = ok(await w.jwt(m.out).get('/v1/session'), 200).json;
    assert.notEqual(again.id, m.ended.id, 'a newer JWT counts');
    assert.equal(ok(await w.jwt(m.kept).get('/v1/session'), 200).json.id, m.rotated.id);
    problem(await w.jwt(m.out, m.right - 5).get('/v1/session'), 'session-ended');
    shownAsNow(w.clock, again.created_at);
    const newest = ok(await w.app.get('/v1/sessions?limit=1'), 200).json.items[0];
    assert.equal(newest.id, again.id, 'newest first');
}

for (const [how, putRight] of [
    ['while the program runs', async (w) => w.clock.step(-3 * HOUR)],
    ['between a clean stop and the next start', async (w) => {
        await w.s.stop();
        w.clock.step(-3 * HOUR);
        await w.s.restart();
    }],
    ['between a crash and the next start', async (w) => {
        await w.s.kill();
        w.clock.step(-3 * HOUR);
        await w.s.restart();
    }],
]) {
    describe(`a clock that was three hours ahead is put right ${how}`, () => {
        const w = withServer(3 * HOUR);

        test('nothing waits for the time that it had', async () => {
            const m = await madeAhead(w);
            await putRight(w);
            m.right = w.clock.nowS();
            await everythingGoesOn(w, m);
        });
    });
}

describe('backoff', () => {
    const w = withServer(3 * HOUR);

    test('lasts no longer for a clock that is put right meanwhile', async () => {
        const queue = name('backoff');
        await w.app.task(await w.app.session(), { queue, max_attempts: 2, backoff: 1.5 });
        const [attempt] = await claimedNow(w, queue);
        await w.app.reported(attempt, { type: 'fail', error: { type: 'broken', message: 'once' }, retry: true });
        await w.s.stop();
        w.clock.step(-3 * HOUR);
        await w.s.restart();
        assert.equal((await w.app.claimed(queue))[0].id, attempt.id);
    });
});

describe('a watcher', () => {
    const w = withServer(HOUR);

    test('is told of dates that were put right', async () => {
        const session = await w.app.session();
        const task = await w.app.task(session);
        const e = await w.s.api(session.token).events('/v1/session/events');
        await e.live();
        w.clock.step(-HOUR);
        const now = await e.find((i) => i.event === 'task' && i.data.task.version > task.version, 'the task as it is now');
        notAhead(w.clock, now.data.task, 'created_at', 'updated_at');
        e.close();
    });
});

describe('time asleep', () => {
    const w = withServer(0);

    test('counts', async () => {
        const queue = name('asleep');
        const session = await w.app.session({ idle_timeout: 1800 });
        await w.app.task(session, { queue, lease: 60, on_session_end: 'cancel' });
        const other = await w.app.session({ idle_timeout: 0 });
        const lost = await w.app.task(other, { queue, lease: 60, max_attempts: 1 });
        const given = ok(await w.app.claim(queue, { max: 2 }), 200).json.tasks;
        await w.app.report(given[1], { type: 'heartbeat' });
        w.clock.sleep(HOUR);
        assert.equal((await w.app.ended(lost)).error.type, 'worker-lost');
        await until(async () => (await w.app.get(`/v1/sessions/${session.id}`)).json.reason === 'idle', 'the end of the session');
    });
});
