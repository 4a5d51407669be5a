// Sections 2 and 3: two users are never joined, whichever way it is tried; what a user's session leaves behind reaches the same user alone.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { ok, pause, problem } from './lib/client.mjs';
import { claims, hs256 } from './lib/jwt.mjs';

const SECRET = 'the secret that the application signs with';
let s;
let app;
let names = 0;
const name = (what) => `${what}-${++names}`;

before(async () => {
    s = await start({ jwt_secrets: SECRET });
    app = s.api();
});
after(() => s.close());

const end = async (session) => ok(await app.delete(`/v1/sessions/${session.id}`), 200).json;
const sessionOf = async (id) => ok(await app.get(`/v1/sessions/${id}`), 200).json;
const tasksOf = async (session) => ok(await app.get(`/v1/tasks?session=${session.id}`), 200).json.items;
const feedOf = async (session) => (await app.page(`/v1/sessions/${session.id}/events`)).json;
const stream = (token, path = '/v1/session/events', cursor = undefined) => s.api(token).events(path, { lastEventId: cursor });

/** All that is to be seen of the sessions, without their clocks, which any call may move. */
async function picture(sessions) {
    const all = [];
    for (const { id } of sessions) {
        const { expires_at: clock, ...rest } = await sessionOf(id);
        all.push({ ...rest, clock: typeof clock, tasks: await tasksOf({ id }), feed: await feedOf({ id }) });
    }
    return all;
}

const countAll = async () => ok(await app.get('/v1/sessions?limit=1000'), 200).json.items.length;

/** A session of a user (null: of none) that has a key, a task under way and one that has ended. */
async function inhabited(user) {
    const key = name('key');
    const session = await app.session({ key, ...(user && { user }) });
    const task = await app.task(session, { on_session_end: 'handover' });
    await app.reported(task, { type: 'progress', current: 1, total: 3 });
    await app.reported(await app.task(session), { type: 'succeed', result: 'r' });
    return { ...session, key, task };
}

// ---- every pair of users that may not be joined, by every way there is ----

const whose = (user) => user ?? 'nobody';

/** What takes something from one session to another, or gives a session a user, and the pairs that it must refuse. */
const WAYS = {
    'create by key, naming another user': {
        pairs: [['u1', 'u2'], [null, 'u2']],
        call: (a, _, user) => app.post('/v1/sessions', { key: a.key, user }),
    },
    'start a task by key, naming another user': {
        pairs: [['u1', 'u2'], [null, 'u2']],
        call: (a, _, user) => app.post('/v1/tasks', { session: { key: a.key, user }, kind: 'work' }),
    },
    'rotate, naming another user': {
        pairs: [['u1', 'u2']],
        call: (a, _, user) => app.post(`/v1/sessions/${a.id}/rotate`, { user }),
    },
    'rotate to a new key, naming another user': {
        pairs: [['u1', 'u2']],
        call: (a, _, user) => app.post(`/v1/sessions/${a.id}/rotate`, { key: name('key'), user }),
    },
    merge: {
        pairs: [['u1', 'u2'], ['u1', null]],
        call: (a, b) => app.post(`/v1/sessions/${a.id}/merge`, { into: b.id }),
    },
    'bind by id': {
        pairs: [['u1', 'u2'], ['u1', null]],
        call: (a, b) => app.post(`/v1/tasks/${a.task.id}/bind`, { session: b.id }),
    },
    'bind by key': {
        pairs: [['u1', 'u2'], ['u1', null]],
        call: (a, b) => app.post(`/v1/tasks/${a.task.id}/bind`, { session: { key: b.key } }),
    },
    'bind by key, naming its user': {
        pairs: [['u1', 'u2']],
        call: (a, b, user) => app.post(`/v1/tasks/${a.task.id}/bind`, { session: { key: b.key, user } }),
    },
    'bind by the key of a session there is not yet': {
        pairs: [['u1', 'u2'], ['u1', null]],
        call: (a, _, user) => app.post(`/v1/tasks/${a.task.id}/bind`, { session: { key: name('key'), ...(user && { user }) } }),
    },
    'bind a task that has ended': {
        pairs: [['u1', 'u2'], ['u1', null]],
        call: async (a, b) => app.post(`/v1/tasks/${(await tasksOf(a)).find((t) => t.ended_at).id}/bind`, { session: b.id }),
    },
};

describe('two users are never joined', () => {
    for (const [what, way] of Object.entries(WAYS)) {
        for (const pair of way.pairs) {
            test(`${what}: ${whose(pair[0])} and ${whose(pair[1])}`, async () => {
                const users = pair.map((u) => u && name(u));
                const [a, b] = [await inhabited(users[0]), await inhabited(users[1])];
                const watching = await Promise.all([a, b].map((x) => stream(x.token)));
                await Promise.all(watching.map((e) => e.live()));
                const events = watching.map((e) => e.items.length);
                const [before_, count] = [await picture([a, b]), await countAll()];
                for (let i = 0; i < 2; i++) {
                    problem(await way.call(a, b, users[1]), 'user-mismatch');
                }
                assert.deepEqual(await picture([a, b]), before_);
                assert.equal(await countAll(), count, 'no session has been made by it');
                for (const x of [a, b]) {
                    ok(await s.api(x.token).get('/v1/session'), 200);
                    ok(await s.api(x.task.token).get(`/v1/tasks/${x.task.id}`), 200);
                }
                assert.deepEqual(watching.map((e) => e.items.length), events);
                assert.ok(watching.every((e) => !e.done), 'the streams go on');
                watching.forEach((e) => e.close());
            });
        }
    }

    test('a session without a user gets one by rotate', async () => {
        const a = await inhabited(null);
        const user = name('late');
        problem(await app.post('/v1/sessions', { key: a.key, user }), 'user-mismatch');
        assert.equal(ok(await app.post(`/v1/sessions/${a.id}/rotate`, { user }), 200).json.user, user);
        assert.equal(ok(await app.post('/v1/sessions', { key: a.key, user }), 200).json.id, a.id);
    });

    for (const [a, b] of [['u1', 'u2'], [null, 'u2']]) {
        test(`a JWT for ${whose(b)} on a session of ${whose(a)}`, async () => {
            const own = a && name(a);
            const other = name(b);
            const session = await inhabited(own);
            const before_ = await picture([session]);
            const jwt = s.api(hs256(SECRET, claims({ sid: session.key, sub: other })));
            problem(await jwt.get('/v1/session'), 'unauthenticated');
            problem(await jwt.delete('/v1/session'), 'unauthenticated');
            problem(await jwt.get('/v1/session/tasks'), 'unauthenticated');
            problem(await jwt.get(`/v1/tasks/${session.task.id}`), 'unauthenticated');
            problem(await jwt.post(`/v1/tasks/${session.task.id}/cancel`), 'unauthenticated');
            const e = await jwt.events('/v1/session/events');
            await e.end();
            assert.equal(e.status, 401);
            assert.deepEqual(await picture([session]), before_);
            const right = s.api(hs256(SECRET, claims({ sid: session.key, sub: own ?? undefined })));
            assert.equal(ok(await right.get('/v1/session'), 200).json.id, session.id);
        });
    }
});

describe('a person on two devices', () => {
    test("what one leaves behind goes to the most recently active of the others; another user's session, more active, gets nothing", async () => {
        const [user, stranger] = [name('ann'), name('bob')];
        const phone = await app.session({ user });
        const unfinished = await app.task(phone, { on_session_end: 'handover' });
        const unseen = await app.task(phone, { on_session_end: 'handover' });
        const kept = await app.task(phone);
        await app.reported(unseen, { type: 'succeed', result: 'r' });
        const [old, recent] = [await app.session({ user }), await app.session({ user })];
        const [bob, nobody] = [await app.session({ user: stranger }), await app.session()];
        for (const x of [old, recent, nobody, bob]) {
            await pause(10);
            ok(await s.api(x.token).get('/v1/session'), 200);
        }
        const [before_, watching] = [await picture([old, bob, nobody]), await stream(recent.token)];
        await watching.live();
        await end(phone);
        assert.deepEqual([await watching.task(unfinished.id), await watching.task(unseen.id)].map((t) => [t.session, t.state]).sort(), [[recent.id, 'queued'], [recent.id, 'succeeded']]);
        assert.deepEqual(await picture([old, bob, nobody]), before_);
        assert.deepEqual((await tasksOf(phone)).map((t) => t.id), [kept.id]);
        assert.ok(!watching.done, 'the other device watches on');
        await app.reported(unfinished, { type: 'succeed' });
        await watching.task(unfinished.id, (t) => t.state === 'succeeded');
        watching.close();
    });

    test('without another it waits for the next log-in of that user, through log-ins of others', async () => {
        const user = name('ann');
        const phone = await app.session({ user });
        const [unfinished, unseen] = [await app.task(phone, { on_session_end: 'handover' }), await app.task(phone, { on_session_end: 'handover' })];
        await app.reported(unseen, { type: 'succeed', result: 'r' });
        await end(phone);
        const others = [await app.session({ user: name('bob') }), await app.session(), await app.session()];
        ok(await app.post(`/v1/sessions/${others[2].id}/rotate`, { user: name('eve') }), 200);
        for (const x of others) {
            assert.deepEqual(await tasksOf(x), []);
        }
        await app.reported(unfinished, { type: 'progress', current: 2 });
        const laptop = await app.session();
        const { token } = ok(await app.post(`/v1/sessions/${laptop.id}/rotate`, { user }), 200).json;
        const e = await stream(token);
        await e.live();
        assert.deepEqual(e.tasks().map((t) => [t.id, t.state, t.session]).sort(), [[unfinished.id, 'running', laptop.id], [unseen.id, 'succeeded', laptop.id]].sort());
        e.close();
        for (const t of [unfinished, unseen]) {
            problem(await s.api(t.token).get(`/v1/tasks/${t.id}`), 'unauthenticated');
            problem(await s.api(others[2].token).get(`/v1/tasks/${t.id}`), 'unauthenticated');
        }
    });

    test('the end of one leaves the others alone: same streams, same versions, nothing told', async () => {
        const user = name('ann');
        const [phone, laptop] = [await inhabited(user), await inhabited(user)];
        ok(await app.post(`/v1/tasks/${phone.task.id}/bind`, { session: phone.id }), 200);
        const quiet = await app.session({ user });
        const keep = await app.task(quiet, { on_session_end: 'cancel' });
        const watching = await Promise.all([laptop, quiet].map((x) => stream(x.token)));
        await Promise.all(watching.map((e) => e.live()));
        const before_ = await picture([laptop]);
        await end(quiet);
        await watching[1].end();
        assert.equal((await app.look(keep)).state, 'cancelled');
        assert.deepEqual(await picture([laptop]), before_);
        assert.deepEqual(watching[0].items.filter((i) => i.event === 'session'), []);
        await app.reported(laptop.task, { type: 'progress', current: 2 });
        await watching[0].task(laptop.task.id, (t) => t.progress.current === 2);
        assert.equal((await sessionOf(phone.id)).state, 'active');
        watching[0].close();
    });

    test('every stream of the ended session is cut and stays cut', async () => {
        const user = name('ann');
        const key = name('key');
        const phone = await app.session({ key, user });
        const other = await app.session({ user });
        const task = await app.task(phone);
        const jwt = hs256(SECRET, claims({ sid: key, sub: user, iat: Math.floor(Date.now() / 1000) - 2 }));
        const open = () => Promise.all([
            stream(phone.token), stream(phone.token, '/v1/session/events?output=1'), stream(jwt), stream(phone.token, `/v1/tasks/${task.id}/events`),
            app.events(`/v1/sessions/${phone.id}/events`),
        ]);
        const all = await open();
        await Promise.all(all.map((e) => e.live()));
        const lasting = await stream(task.token, `/v1/tasks/${task.id}/events`);
        await lasting.live();
        await end(phone);
        for (const e of all) {
            await e.end();
            assert.deepEqual([e.items.at(-1).event, e.items.at(-1).data.state, e.items.at(-1).data.reason], ['session', 'ended', 'logout']);
        }
        for (let i = 0; i < 3; i++) {
            for (const [j, e] of (await open()).entries()) {
                assert.equal(e.status, 204, `stream ${j}`);
                await e.end();
            }
        }
        for (const cursor of [all[0].lastId, 'rubbish']) {
            const e = await stream(phone.token, '/v1/session/events', cursor);
            assert.equal(e.status, 204);
        }
        await app.reported(task, { type: 'progress', current: 7 });
        await lasting.task(task.id, (t) => t.progress.current === 7);
        lasting.close();
        assert.equal((await sessionOf(other.id)).state, 'active');
    });
});

test('where fewer sessions are allowed after a restart, one more ends all that are too many, and what they hand over goes to the one that stays', async (context) => {
    const own = await start({ max_sessions_per_user: 6 });
    context.after(() => own.close());
    const made = [];
    for (let i = 0; i < 6; i++) made.push(ok(await own.api().post('/v1/sessions', { user: 'many' }), 201).json);
    for (const { id } of made) {
        const task = ok(await own.api().post('/v1/tasks', { session: id, kind: 'k', on_session_end: 'handover' }), 202).json;
        ok(await own.api().post(`/v1/tasks/${task.id}/reports`, { type: 'succeed', result: 1 }), 200);
    }
    await own.stop();
    await own.restart({ max_sessions_per_user: 3 });
    const last = ok(await own.api().post('/v1/sessions', { user: 'many' }), 201).json;
    const items = ok(await own.api().get('/v1/sessions?user=many&state=active'), 200).json.items;
    assert.equal(items.length, 3);
    assert.ok(items.some(({ id }) => id === last.id));
    let tasks = 0;
    for (const { id } of items) tasks += ok(await own.api().get(`/v1/tasks?session=${id}`), 200).json.items.length;
    assert.equal(tasks, 6);
});
