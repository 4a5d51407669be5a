// Kills the real program at random moments under load and compares every acknowledged fact with what is there afterwards.
//
//     node tests/crash/crash.mjs [rounds] [seed]
//
// A fact is what a 2xx promised, other than for progress and heartbeats. A request whose answer never came may have happened or not; it is said again after
// the restart, as a client would. Watchers read on from their last cursor and must then show exactly what the server shows.
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { setTimeout as pause } from 'node:timers/promises';
import { start } from '../http/lib/server.mjs';
import { View } from '../http/lib/sse.mjs';

const rounds = Number(process.argv[2] ?? 50);
const seed = Number(process.argv[3] ?? Date.now() % 1000000);
const ACTORS = 8;
const KEEP_ROUNDS = 3;
const FINAL = ['succeeded', 'failed', 'cancelled'];

function random(from) {
    let x = from >>> 0;
    return () => {
        x = (x + 0x6d2b79f5) >>> 0;
        let t = Math.imul(x ^ (x >>> 15), 1 | x);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
}

const rnd = random(seed);
const s = await start({ cancel_grace: 86400, max_unfinished_per_session: 100000, max_watchers_per_session: 1000, loops: 2 });
let facts = 0;
const problems = [];
let keys = 0;

function check(fine, text) {
    facts++;
    if (!fine) {
        problems.push(text);
    }
}

// ---- what has been seen of numbers ----

const contents = new Map(); // task:version -> what it said
const places = new Map();   // session:seq -> task

function sawTask(t) {
    const name = `${t.id}:${t.version}`;
    const text = JSON.stringify(t);
    const before = contents.get(name);
    check(before === undefined || before === text, `one number, two contents: ${name}: ${before && differences(JSON.parse(before), t)}`);
    contents.set(name, text);
}

/** The members in which two objects differ, for people. */
function differences(a, b, path = '') {
    if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') {
        return isDeepStrictEqual(a, b) ? '' : `${path}: ${JSON.stringify(a)} and ${JSON.stringify(b)}; `;
    }
    return [...new Set([...Object.keys(a), ...Object.keys(b)])].map((n) => differences(a[n], b[n], `${path}/${n}`)).join('');
}

function sawEvent(session, e) {
    const about = e.data.task?.id ?? e.data.gone;
    if (!about) {
        return;
    }
    const name = `${session}:${e.data.seq}`;
    check((places.get(name) ?? about) === about, `one number, two tasks: ${name}`);
    places.set(name, about);
    if (e.data.task) {
        sawTask(e.data.task);
    }
}

// ---- the model of one task ----

class Task {
    constructor(made, actor, session) {
        this.id = made.id;
        this.token = made.worker_token;
        this.queue = made.queue;
        this.title = made.title;
        this.actor = actor;
        this.session = session;
        this.version = made.version;
        this.states = ['queued'];
        this.attempt = 0;
        this.output = '';
        this.moreOutput = '';
        this.sent = 0;
        this.cancelled = false;
        this.seen = false;
        this.gone = false;
        this.outcome = null;
        this.sessions = [session.id];
    }

    get ended() {
        return this.outcome !== null;
    }

    /** Compares with what the server shows; then takes over what was uncertain. */
    compare(t, where) {
        const say = (text) => `${where}: ${this.id} (${this.title}): ${text}\n  ${JSON.stringify(t)}`;
        if (this.gone === true) {
            check(t === undefined, say('deleted, and there again'));
            return;
        }
        if (t === undefined) {
            check(this.gone === 'maybe', say('is lost'));
            this.gone = true;
            return;
        }
        this.gone = false;
        check(t.title === this.title, say('title'));
        check(t.version >= this.version, say(`version ${t.version} stepped back below ${this.version}`));
        check(this.states.includes(t.state), say(`state ${t.state}, expected ${this.states}`));
        check(t.attempt >= this.attempt, say(`attempt ${t.attempt}, expected ${this.attempt}`));
        check(this.sessions.includes(t.session), say(`session ${t.session}, expected ${this.sessions}`));
        check(t.output_bytes === this.output.length || t.output_bytes === this.output.length + this.moreOutput.length, say(`output ${t.output_bytes}, expected ${this.output.length}`));
        check(!this.cancelled || t.cancel_requested || FINAL.includes(t.state), say('cancel request lost'));
        check(!this.seen || t.seen_at !== null, say('seen lost'));
        check(t.progress.current === null || t.progress.current <= this.sent, say('progress that was never reported'));
        if (this.outcome && this.states.length === 1) {
            check(t.ended_at !== null, say('not ended'));
            check(isDeepStrictEqual(t.result, this.outcome.result ?? null), say('another result'));
            check((t.error?.message ?? null) === (this.outcome.message ?? null), say('another error'));
        }
        this.version = t.version;
        this.states = [t.state];
        this.attempt = t.attempt;
        this.sessions = [t.session];
        this.output += t.output_bytes > this.output.length ? this.moreOutput : '';
        this.moreOutput = '';
        if (!FINAL.includes(t.state)) {
            this.outcome = null;
        }
    }
}

// ---- sessions and their watchers ----

class Session {
    constructor(made, round) {
        this.id = made.id;
        this.token = made.token;
        this.round = round;
        this.tasks = new Map();
        this.watchers = [];
    }

    async watch(count) {
        for (let i = this.watchers.length; i < count; i++) {
            this.watchers.push({ view: new View(), own: i % 2 === 0, applied: 0 });
        }
        for (const w of this.watchers) {
            w.events = await (w.own ? s.api(this.token).events('/v1/session/events', { lastEventId: w.cursor }) : s.api().events(`/v1/sessions/${this.id}/events`, { lastEventId: w.cursor }));
            w.applied = 0;
            assert.equal(w.events.status, 200, w.events.body);
        }
        for (const w of this.watchers) {
            await w.events.live();
        }
    }

    /** Lays what the watchers were given over what they had. */
    read(where) {
        for (const w of this.watchers) {
            for (const e of w.events?.items.slice(w.applied) ?? []) {
                sawEvent(this.id, e);
                check(e.event !== 'reset', `${where}: ${this.id}: a reset that nobody deserved`);
                facts++;
                try {
                    w.view.apply(e);
                } catch (error) {
                    problems.push(`${where}: ${this.id}: ${error.message}`);
                }
            }
            w.applied = w.events?.items.length ?? 0;
            w.cursor = w.events?.lastId ?? w.cursor;
        }
    }

    unwatch() {
        for (const w of this.watchers) {
            w.events?.close();
        }
        this.watchers = [];
    }
}

const sessions = [];

async function list(session) {
    const all = new Map();
    for (let after = ''; after !== null; ) {
        const r = await s.api().get(`/v1/tasks?session=${session.id}&limit=1000${after}`);
        assert.equal(r.status, 200, r.text);
        for (const t of r.json.items) {
            sawTask(t);
            all.set(t.id, t);
        }
        after = r.json.next === null ? null : `&after=${encodeURIComponent(r.json.next)}`;
    }
    return all;
}

// ---- the load: actors, each with tasks of its own ----

class Stopped extends Error {}

class Actor {
    constructor(number, round, own) {
        this.number = number;
        this.sessions = own;
        this.rnd = random(seed * 1000003 + round * 97 + number);
        this.tasks = [];
        this.queue = `actor-${round}-${number}`;
        this.pending = null;
        this.made = 0;
        this.extra = [];
    }

    pick(array) {
        return array[Math.floor(this.rnd() * array.length)];
    }

    async send(what) {
        this.pending = what;
        let r;
        try {
            r = await s.api(what.token ?? s.key).call(what.method ?? 'POST', what.path, { body: what.body, headers: what.headers });
        } catch {
            throw new Stopped();
        }
        if (r.status === 503) {
            throw new Stopped();
        }
        this.pending = null;
        if (r.status >= 300) {
            problems.push(`${what.method ?? 'POST'} ${what.path} ${JSON.stringify(what.body)}: ${r.status} ${r.text}`);
        }
        what.then?.(r);
        return r;
    }

    async run() {
        try {
            for (;;) {
                await this.step();
            }
        } catch (e) {
            if (!(e instanceof Stopped)) {
                throw e;
            }
        }
    }

    /** After a restart: what had no answer is said again. */
    async again() {
        const what = this.pending;
        if (what?.again) {
            await this.send(what);
        }
        this.pending = null;
    }

    async step() {
        const open = this.tasks.filter((t) => !t.ended && t.gone === false);
        const x = this.rnd();
        if (open.length < 3 || x < 0.12) {
            return this.create();
        }
        const t = this.pick(open);
        if (t.queue && t.states[0] === 'queued') {
            return this.claim();
        }
        if (x < 0.4) {
            return this.progress(t);
        }
        if (x < 0.6) {
            return this.output(t);
        }
        if (x < 0.78) {
            return this.finish(t);
        }
        if (x < 0.84) {
            return this.cancel(t);
        }
        if (x < 0.88) {
            return this.bind(t);
        }
        if (x < 0.92) {
            return this.session();
        }
        const done = this.tasks.filter((d) => d.ended && d.gone === false);
        if (done.length === 0) {
            return this.output(t);
        }
        return x < 0.96 ? this.see(this.pick(done)) : this.forget(this.pick(done));
    }

    async create() {
        const session = this.pick(this.sessions);
        const title = `${this.queue}-${this.made++}`;
        const queue = this.rnd() < 0.4 ? this.queue : undefined;
        await this.send({
            path: '/v1/tasks', again: true, headers: { 'idempotency-key': `k${++keys}-${seed}` },
            body: { session: session.id, kind: 'crash', title, queue, lease: 0, ttl: 86400, max_attempts: queue ? 10 : 1, metadata: { title } },
            then: (r) => {
                if (r.status === 202) {
                    const t = new Task(r.json, this, session);
                    session.tasks.set(t.id, t);
                    this.tasks.push(t);
                }
            },
        });
    }

    async claim() {
        const was = this.tasks.filter((t) => t.queue && t.states.includes('queued') && !t.ended && t.gone === false);
        was.forEach((t) => (t.states = ['queued', 'running']));
        await this.send({
            path: `/v1/queues/${this.queue}/claim`, body: { max: 2 },
            then: (r) => {
                was.forEach((t) => (t.states = ['queued']));
                for (const c of r.json?.tasks ?? []) {
                    const t = this.tasks.find((i) => i.id === c.id);
                    check(t !== undefined && c.attempt > t.attempt && c.version > t.version, `claim of ${c.id}`);
                    t.states = ['running'];
                    t.attempt = c.attempt;
                    t.version = c.version;
                    t.token = c.worker_token;
                }
            },
        });
        // Whether a claim without an answer was carried out is uncertain, and its worker token lost.
    }

    report(t, body, then, again = true) {
        return this.send({
            path: `/v1/tasks/${t.id}/reports`, token: t.token, body, again,
            then: (r) => {
                if (r.status === 200) {
                    check(r.json.version >= t.version, `${t.id}: version ${r.json.version} after ${t.version}`);
                    t.version = r.json.version;
                    then?.(r);
                }
            },
        });
    }

    async progress(t) {
        t.sent++;
        if (t.states.length === 1 && t.states[0] === 'queued') {
            t.states = ['queued', 'running'];
        }
        await this.report(t, { type: 'progress', current: t.sent, total: 1000 }, null, false);
    }

    async output(t) {
        const data = `${t.output.length}:${'o'.repeat(Math.floor(this.rnd() * 200))}\n`;
        const offset = t.output.length;
        t.moreOutput = data;
        t.states = [...new Set([...t.states, 'running'])];
        await this.report(t, { type: 'output', data, offset }, () => {
            t.output = t.output.slice(0, offset) + data;
            t.moreOutput = '';
            t.states = ['running'];
            t.attempt ||= 1;
        });
    }

    async finish(t) {
        const x = this.rnd();
        const result = { of: t.title, x };
        const [body, outcome, state] = x < 0.6 ? [{ type: 'succeed', result }, { result }, 'succeeded']
            : x < 0.8 ? [{ type: 'fail', error: { type: 'crash', message: `m${x}` } }, { message: `m${x}` }, 'failed'] : [{ type: 'cancelled' }, {}, 'cancelled'];
        t.outcome = outcome;
        t.states = [...new Set([...t.states, 'running', state])];
        await this.report(t, body, (r) => {
            check(r.json.state === state, `${t.id}: answered ${r.json.state}, expected ${state}`);
            t.outcome = outcome;
            t.states = [state];
            t.attempt ||= 1;
        });
    }

    async cancel(t) {
        const before = t.states;
        t.states = [...new Set([...before, ...(before.includes('queued') ? ['cancelled'] : [])])];
        await this.send({
            path: `/v1/tasks/${t.id}/cancel`, body: { reason: 'crash' },
            then: (r) => {
                if (r.status === 200) {
                    sawTask(r.json);
                    t.cancelled = true;
                    t.version = r.json.version;
                    t.states = [r.json.state];
                    t.outcome = FINAL.includes(r.json.state) ? {} : t.outcome;
                }
            },
        });
    }

    async bind(t) {
        const to = this.pick(this.sessions);
        t.sessions = [...new Set([...t.sessions, to.id])];
        await this.send({
            path: `/v1/tasks/${t.id}/bind`, body: { session: to.id }, again: true,
            then: (r) => {
                if (r.status === 200) {
                    check(r.json.version >= t.version, `${t.id}: version after bind`);
                    t.version = r.json.version;
                    t.sessions = [to.id];
                }
            },
        });
    }

    async see(t) {
        await this.send({ path: `/v1/tasks/${t.id}/seen`, token: this.sessions.find((x) => t.sessions[0] === x.id)?.token, again: true, then: (r) => {
            t.seen = r.status === 200;
            t.version = r.json.version;
        } });
    }

    async forget(t) {
        t.gone = 'maybe';
        await this.send({ method: 'DELETE', path: `/v1/tasks/${t.id}`, then: (r) => {
            t.gone = r.status === 204;
        } });
    }

    /** A little life of a session: made, rotated, ended. What stands is checked afterwards. */
    async session() {
        const life = { key: `key-${++keys}-${seed}`, tokens: [], ended: false, uncertain: true };
        this.extra.push(life);
        const made = await this.send({ path: '/v1/sessions', body: { key: life.key } });
        life.id = made.json.id;
        life.tokens.push(made.json.token);
        life.uncertain = false;
        if (this.rnd() < 0.7) {
            life.uncertain = true;
            const rotated = await this.send({ path: `/v1/sessions/${life.id}/rotate`, body: {} });
            life.tokens.push(rotated.json.token);
            life.uncertain = false;
        }
        if (this.rnd() < 0.4) {
            life.uncertain = true;
            await this.send({ method: 'DELETE', path: `/v1/sessions/${life.id}` });
            life.ended = true;
            life.uncertain = false;
        }
    }
}

async function checkLife(life, where) {
    if (!life.id) {
        return;
    }
    const r = await s.api().get(`/v1/sessions/${life.id}`);
    check(r.status === 200, `${where}: session ${life.id} is lost: ${r.status}`);
    if (r.status !== 200 || life.uncertain) {
        return;
    }
    check((r.json.state === 'ended') === life.ended, `${where}: session ${life.id} is ${r.json.state}`);
    for (const token of life.tokens) {
        const last = token === life.tokens.at(-1);
        const got = (await s.api(token).get('/v1/session')).status;
        const want = !last ? 401 : life.ended ? 409 : 200;
        check(got === want, `${where}: a token of ${life.id}: ${got}, expected ${want}`);
    }
}

async function inTurns(items, width, fn) {
    const left = [...items];
    await Promise.all(Array.from({ length: width }, async () => {
        for (let i; (i = left.shift()) !== undefined; ) {
            await fn(i);
        }
    }));
}

/** Everything of these sessions against the model, and the watchers against everything. */
async function verify(some, actors, where) {
    const shown = new Map();
    for (const session of some) {
        for (const [id, t] of await list(session)) {
            check(!shown.has(id), `${where}: ${id} is in two sessions`);
            shown.set(id, t);
        }
    }
    for (const session of some) {
        for (const t of session.tasks.values()) {
            if (t.sessions.some((id) => !some.some((x) => x.id === id))) {
                continue; // it may be in one that is not looked at now
            }
            t.compare(shown.get(t.id), where);
        }
        session.read(where);
        for (const w of session.watchers) {
            const want = [...shown.values()].filter((t) => t.session === session.id).sort((a, b) => (a.id < b.id ? -1 : 1));
            const have = [...w.view.tasks.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
            check(isDeepStrictEqual(have, want), `${where}: a watcher of ${session.id} shows something else than the server:\n  ${firstDifference(have, want)}`);
        }
    }
    const tasks = actors.flatMap((a) => a.tasks);
    const withOutput = tasks.filter((t) => t.output !== '' && t.gone === false).slice(-60);
    await inTurns(withOutput, 8, async (t) => {
        const r = await s.api().get(`/v1/tasks/${t.id}/output`);
        check(r.status === 200 && r.text === t.output, `${where}: output of ${t.id}: ${r.status} ${JSON.stringify(r.text.slice(0, 300))}, expected ${JSON.stringify(t.output.slice(0, 300))}`);
    });
    await inTurns(tasks.filter((t) => t.gone === true).slice(-20), 8, async (t) => {
        const r = await s.api().get(`/v1/tasks/${t.id}`);
        check(r.status === 410, `${where}: deleted ${t.id}: ${r.status}`);
    });
    await inTurns(actors.flatMap((a) => a.extra), 8, (life) => checkLife(life, where));
}

function firstDifference(have, want) {
    for (let i = 0; i < Math.max(have.length, want.length); i++) {
        if (!isDeepStrictEqual(have[i], want[i])) {
            return `${have[i]?.id ?? 'nothing'} shown, ${want[i]?.id ?? 'nothing'} there: ${have[i]?.id === want[i]?.id ? differences(have[i], want[i]) : ''}`;
        }
    }
    return 'none';
}

// ---- rounds ----

let passed = 0;
let failed = 0;
const began = Date.now();
console.log(`seed ${seed}`);
for (let round = 1; round <= rounds; round++) {
    const where = `round ${round}`;
    const before = problems.length;
    try {
        const made = [];
        for (let i = 0; i < 2; i++) {
            made.push(new Session((await s.api().post('/v1/sessions', { key: `round-${round}-${i}`, idle_timeout: 0 })).json, round));
        }
        sessions.push(...made);
        const current = sessions.filter((x) => x.round > round - KEEP_ROUNDS);
        sessions.filter((x) => x.round <= round - KEEP_ROUNDS).forEach((x) => x.unwatch());
        for (const session of made) {
            await session.watch(2);
        }
        const actors = Array.from({ length: ACTORS }, (_, i) => new Actor(i, round, current));
        const work = actors.map((a) => a.run());
        await pause(20 + rnd() * 1400);
        await s.kill();
        await Promise.all(work);
        for (const session of current) {
            for (const w of session.watchers) {
                await w.events.end();
            }
            session.read(where);
        }
        await s.restart({ loops: 3 - s.options.loops }); // the engine with a thread of its own, and without
        for (const session of current) {
            await session.watch(2);
        }
        await verify(current, actors, where);
        await Promise.all(actors.map((a) => a.again()));
        await inTurns(actors.flatMap((a) => a.tasks).filter((t) => t.gone === false), 4, async (t) => {
            const r = await s.api().get(`/v1/tasks/${t.id}`);
            t.compare(r.status === 200 ? r.json : undefined, `${where}, said again`);
        });
    } catch (e) {
        problems.push(`${where}: ${e.stack}`);
    }
    if (problems.length > before) {
        failed++;
        console.log(`${where} failed (seed ${seed}):`);
        problems.slice(before, before + 10).forEach((p) => console.log(`  ${p.slice(0, 3000)}`));
        if (problems.length > before + 10) {
            console.log(`  and ${problems.length - before - 10} more`);
        }
        if (!s.child || s.child.exitCode !== null) {
            console.log(`  the server is not there: ${s.err.slice(-2000)}`);
            break;
        }
    } else {
        passed++;
    }
}
try {
    sessions.forEach((x) => x.unwatch());
    const before = problems.length;
    await verify(sessions, [], 'in the end');
    if (problems.length > before) {
        failed++;
        problems.slice(before, before + 10).forEach((p) => console.log(`  ${p.slice(0, 3000)}`));
    } else {
        passed++;
    }
    await s.close();
} catch (e) {
    failed++;
    console.log(e.stack);
}
console.log(`${rounds} kills, ${[...sessions].reduce((n, x) => n + x.tasks.size, 0)} tasks, ${facts} facts compared, ${((Date.now() - began) / 1000).toFixed(1)} s`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
