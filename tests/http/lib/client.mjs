// Calls and expectations. Every answer is { status, headers, text, bytes, json }.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { request } from 'undici';
import { openEvents } from './sse.mjs';

export { pause };

/** Waits until fn gives something true, with a generous deadline. */
export async function until(fn, what = 'condition', deadlineMs = 20000) {
    const end = Date.now() + deadlineMs;
    for (let wait = 5; ; wait = Math.min(wait * 2, 100)) {
        const value = await fn();
        if (value) {
            return value;
        }
        if (Date.now() > end) {
            assert.fail(`gave up waiting for ${what}`);
        }
        await pause(wait);
    }
}

export const ULID = '[0-7][0-9A-HJKMNP-TV-Z]{25}';
export const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

export class Api {
    constructor(server, token) {
        this.server = server;
        this.token = token;
    }

    /** body: an object is sent as JSON; a string or bytes as they are; undefined sends none. */
    async call(method, path, { body, headers = {}, type } = {}) {
        const all = { ...headers };
        if (this.token !== null && !('authorization' in all)) {
            all.authorization = `Bearer ${this.token}`;
        }
        let data = body;
        if (body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array)) {
            data = JSON.stringify(body);
            all['content-type'] ??= 'application/json';
        }
        if (type !== undefined) {
            all['content-type'] = type;
        }
        const r = await request(this.server.url + path, { method, headers: all, body: data, dispatcher: this.server.agent });
        const bytes = Buffer.from(await r.body.arrayBuffer());
        return answer(r.statusCode, r.headers, bytes);
    }

    get(path, headers) {
        return this.call('GET', path, { headers });
    }

    post(path, body, headers) {
        return this.call('POST', path, { body, headers });
    }

    delete(path, headers) {
        return this.call('DELETE', path, { headers });
    }

    /** POST with the JSON text exactly as given. */
    text(path, text, headers) {
        return this.call('POST', path, { body: text, headers, type: 'application/json' });
    }

    // ---- what most tests need first ----

    async session(members = {}) {
        return ok(await this.post('/v1/sessions', members), 201).json;
    }

    /** session: an id, or a session. */
    async task(session, members = {}) {
        return ok(await this.post('/v1/tasks', { session: session?.id ?? session, kind: 'work', ...members }), 202).json;
    }

    async look(task) {
        return ok(await this.get(`/v1/tasks/${task.id ?? task}`), 200).json;
    }

    /** One report or an array of them, with the task's own worker token unless another credential is given. */
    report(task, report, token = task.worker_token) {
        return new Api(this.server, token).post(`/v1/tasks/${task.id}/reports`, report);
    }

    async reported(task, report, token) {
        return ok(await this.report(task, report, token), 200).json;
    }

    /** A number of GET /metrics. */
    async metric(name) {
        return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(ok(await this.get('/metrics'), 200).text)[1]);
    }

    /** Starts what fn asks for and waits until the engine has it, so many requests; what fn gave comes in a list, so that it is not waited for as well. */
    async begun(fn, count = 1) {
        const before = await this.metric('bowline_commands_total');
        const asked = fn();
        await until(async () => (await this.metric('bowline_commands_total')) >= before + count, 'the request to arrive');
        return [asked];
    }

    /** Waits until that many follow a feed, in whatever way. */
    watchers(count) {
        return until(async () => (await this.metric('bowline_watchers')) === count, `${count} watchers`);
    }

    claim(queue, members = {}, wait) {
        return this.post(`/v1/queues/${queue}/claim`, members, wait === undefined ? {} : { prefer: `wait=${wait}` });
    }

    async claimed(queue, members = {}, wait = 20) {
        return ok(await this.claim(queue, members, wait), 200).json.tasks;
    }

    async ended(task) {
        return until(async () => {
            const t = await this.look(task);
            return t.ended_at ? t : null;
        }, `the end of ${task.id}`);
    }

    events(path, options = {}) {
        return openEvents(this.server, path, { token: this.token, ...options });
    }

    /** One page of a feed as JSON. */
    async page(path, { after, wait, output } = {}) {
        const query = new URLSearchParams();
        if (after !== undefined) {
            query.set('after', after);
        }
        if (output) {
            query.set('output', '1');
        }
        const headers = { accept: 'application/json' };
        if (wait !== undefined) {
            headers.prefer = `wait=${wait}`;
        }
        const text = query.toString();
        return this.get(path + (text ? `?${text}` : ''), headers);
    }
}

export function answer(status, headers, bytes) {
    const text = bytes.toString('utf8');
    const type = headers['content-type'] ?? '';
    let json;
    if (/json/.test(type) && !/ndjson/.test(type) && text !== '' && !headers['content-encoding']) {
        json = JSON.parse(text);
    }
    return { status, headers, bytes, text, json };
}

/** The id of the question that a task asks. */
export const question = (task) => task.input_request.id;

// ---- expectations ----

const STATUS = {
    'invalid-request': 400, unauthenticated: 401, forbidden: 403, 'not-found': 404, 'method-not-allowed': 405, 'not-acceptable': 406,
    'request-timeout': 408, 'session-ended': 409, 'task-ended': 409, 'task-failed': 409, 'task-cancelled': 409, 'attempt-superseded': 409,
    'invalid-transition': 409, 'output-gap': 409, 'user-mismatch': 409, 'key-in-use': 409, 'question-mismatch': 409, gone: 410,
    'too-large': 413, 'uri-too-long': 414, 'unsupported-media-type': 415, misdirected: 421, 'idempotency-mismatch': 422,
    'upgrade-required': 426, 'rate-limited': 429, 'quota-exceeded': 429, 'headers-too-large': 431, internal: 500, unavailable: 503,
};

export function checkProblem(p, code) {
    assert.equal(p.code, code, JSON.stringify(p));
    assert.equal(p.status, STATUS[code]);
    assert.equal(p.type, `urn:bowline:problem:${code}`);
    assert.equal(typeof p.title, 'string');
    assert.equal(typeof p.detail, 'string');
    assert.notEqual(p.detail, '');
    if ('errors' in p) {
        assert.ok(Array.isArray(p.errors) && p.errors.length > 0);
        for (const e of p.errors) {
            assert.equal(typeof e.pointer, 'string');
            assert.ok(e.pointer === '' || e.pointer.startsWith('/'), e.pointer);
            assert.equal(typeof e.detail, 'string');
        }
    }
}

/** The answer is that problem, in the shape of RFC 9457, and one of its places is the pointer given. */
export function problem(r, code, pointer) {
    assert.equal(r.status, STATUS[code], `expected ${code}, got ${r.status} ${r.text?.slice(0, 400)}`);
    assert.match(r.headers['content-type'] ?? '', /^application\/problem\+json/);
    checkProblem(r.json, code);
    if (pointer !== undefined) {
        assert.ok(r.json.errors?.some((e) => e.pointer === pointer), `no place ${pointer} in ${r.text}`);
    }
    if (r.status === 401) {
        assert.match(r.headers['www-authenticate'] ?? '', /^Bearer/);
    }
    if (r.status === 429 || r.status === 503) {
        assert.match(r.headers['retry-after'] ?? '', /^\d+$/);
    }
    return r;
}

export function ok(r, status) {
    assert.equal(r.status, status, `expected ${status}, got ${r.status} ${r.text?.slice(0, 600)}`);
    return r;
}

export const SESSION_MEMBERS = ['created_at', 'ended_at', 'expires_at', 'id', 'idle_timeout', 'max_age', 'metadata', 'reason', 'state', 'tasks', 'user'];
export const TASK_MEMBERS = ['attempt', 'cancel_reason', 'cancel_requested', 'created_at', 'ended_at', 'error', 'expires_at', 'id', 'input_request', 'kind',
    'max_attempts', 'metadata', 'on_session_end', 'output_bytes', 'progress', 'queue', 'result', 'result_bytes', 'seen_at', 'session', 'stalled',
    'started_at', 'state', 'title', 'updated_at', 'version'];
export const PROGRESS_MEMBERS = ['current', 'data', 'eta', 'message', 'phase', 'rate', 'ratio', 'total', 'unit'];

export function checkSession(s, { token = false } = {}) {
    assert.deepEqual(Object.keys(s).sort(), token ? [...SESSION_MEMBERS, 'token'].sort() : SESSION_MEMBERS);
    assert.match(s.id, new RegExp(`^ses_${ULID}$`));
    assert.match(s.created_at, TIME);
    assert.ok(s.state === 'active' || s.state === 'ended');
    assert.equal(s.state === 'ended', s.ended_at !== null);
    assert.equal(s.state === 'ended', s.reason !== null);
    assert.ok(Number.isInteger(s.tasks.unfinished) && Number.isInteger(s.tasks.ended));
    return s;
}

export function checkTask(t, more = []) {
    assert.deepEqual(Object.keys(t).sort(), [...TASK_MEMBERS, ...more].sort());
    assert.match(t.id, new RegExp(`^tsk_${ULID}$`));
    assert.deepEqual(Object.keys(t.progress).sort(), PROGRESS_MEMBERS);
    assert.ok(['queued', 'running', 'input_required', 'succeeded', 'failed', 'cancelled'].includes(t.state));
    const final = ['succeeded', 'failed', 'cancelled'].includes(t.state);
    assert.equal(t.ended_at !== null, final);
    assert.equal(t.expires_at !== null, final);
    assert.equal(t.error !== null, t.state === 'failed');
    assert.equal(t.input_request !== null, t.state === 'input_required');
    assert.ok(Number.isSafeInteger(t.version) && t.version > 0);
    for (const name of ['created_at', 'updated_at']) {
        assert.match(t[name], TIME);
    }
    const { current, total, ratio } = t.progress;
    if (total) {
        assert.equal(ratio === null, current === null);
        assert.ok(ratio === null || ratio <= 1);
    } else {
        assert.equal(ratio, null);
    }
    return t;
}
