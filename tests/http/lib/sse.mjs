// A strict reader of text/event-stream: everything that arrives is kept, also what an EventSource hides.
import assert from 'node:assert/strict';
import http from 'node:http';

export class Events {
    constructor() {
        this.status = 0;
        this.headers = {};
        this.items = [];    // { id, event, data (parsed), raw }
        this.lines = [];
        this.comments = 0;
        this.retry = undefined;
        this.lastId = undefined;
        this.firstId = undefined;
        this.primed = false; // an id arrived before any event
        this.body = '';
        this.done = false;
        this.taken = 0;
        this.wakers = new Set();
        this.block = [];
        this.rest = '';
    }

    // ---- arriving ----

    feed(text) {
        this.body += text;
        this.rest += text;
        for (let at; (at = this.rest.indexOf('\n')) >= 0; ) {
            const line = this.rest.slice(0, at);
            this.rest = this.rest.slice(at + 1);
            this.line(line);
        }
        this.wake();
    }

    line(line) {
        assert.ok(!line.includes('\r'), 'a carriage return in the stream');
        this.lines.push(line);
        if (line !== '') {
            this.block.push(line);
            return;
        }
        const fields = {};
        for (const l of this.block) {
            if (l.startsWith(':')) {
                this.comments++;
                continue;
            }
            const m = /^(id|event|data|retry): (.*)$/.exec(l);
            assert.ok(m, `not a line of an event stream: ${JSON.stringify(l)}`);
            assert.ok(!(m[1] in fields), `field ${m[1]} twice in one block`);
            fields[m[1]] = m[2];
        }
        this.block = [];
        if (fields.retry !== undefined) {
            assert.match(fields.retry, /^\d+$/);
            this.retry = Number(fields.retry);
        }
        if (fields.id !== undefined) {
            assert.ok(!fields.id.includes('\0'));
            this.lastId = fields.id;
            this.firstId ??= fields.id;
            if (this.items.length === 0 && fields.event === undefined) {
                this.primed = true;
            }
        }
        if (fields.data !== undefined || fields.event !== undefined) {
            assert.ok(fields.event !== undefined && fields.data !== undefined && fields.id !== undefined, `an event without all of its fields: ${JSON.stringify(fields)}`);
            this.items.push({ id: fields.id, event: fields.event, data: JSON.parse(fields.data), raw: fields.data });
        }
    }

    wake() {
        for (const w of this.wakers) {
            w();
        }
    }

    finish() {
        this.done = true;
        this.wake();
    }

    // ---- reading ----

    async when(test, what, deadlineMs = 20000) {
        const end = Date.now() + deadlineMs;
        for (;;) {
            const value = test();
            if (value) {
                return value;
            }
            const left = end - Date.now();
            if (left <= 0) {
                assert.fail(`gave up waiting for ${what}; the stream had:\n${this.body.slice(-3000)}`);
            }
            await new Promise((done) => {
                const finish = () => {
                    clearTimeout(timer);
                    this.wakers.delete(finish);
                    done();
                };
                const timer = setTimeout(finish, left);
                this.wakers.add(finish);
            });
        }
    }

    /** The next event in order. */
    async next(what = 'an event') {
        await this.when(() => this.items.length > this.taken || this.done, what);
        assert.ok(this.items.length > this.taken, `the stream ended before ${what}:\n${this.body.slice(-3000)}`);
        return this.items[this.taken++];
    }

    /** Reads on to the first event that fits. */
    async find(test, what = 'the event') {
        for (;;) {
            const e = await this.next(what);
            if (test(e)) {
                return e;
            }
        }
    }

    live() {
        return this.find((e) => e.event === 'live', 'live');
    }

    /** Reads on until the task is shown in a way that fits. */
    async task(id, test = () => true, what = `task ${id}`) {
        return (await this.find((e) => e.event === 'task' && e.data.task?.id === id && test(e.data.task), what)).data.task;
    }

    end(what = 'the end of the stream') {
        return this.when(() => this.done, what);
    }

    close() {
        this.request?.destroy();
        this.finish();
    }

    /** Stops taking bytes, so that the socket fills. */
    stall() {
        this.response.pause();
    }

    resume() {
        this.response.resume();
    }

    tasks() {
        return this.items.filter((e) => e.event === 'task' && e.data.task).map((e) => e.data.task);
    }
}

/** A server that is reached in another way than by its URL brings a request() of its own. */
export const requestOf = (server) => (server.request ? server.request.bind(server) : http.request);

export function openEvents(server, path, { token, lastEventId, headers = {}, agent = false } = {}) {
    const all = { accept: 'text/event-stream', ...headers };
    if (token) {
        all.authorization ??= `Bearer ${token}`;
    }
    if (lastEventId !== undefined) {
        all['last-event-id'] = lastEventId;
    }
    for (const name of Object.keys(all)) {
        if (all[name] === null) {
            delete all[name];
        }
    }
    const events = new Events();
    return new Promise((done, fail) => {
        events.request = requestOf(server)(server.url + path, { headers: all, agent }, (response) => {
            events.response = response;
            events.status = response.statusCode;
            events.headers = response.headers;
            const stream = response.statusCode === 200 && /event-stream/.test(response.headers['content-type'] ?? '');
            response.setEncoding('utf8');
            response.on('data', (text) => {
                if (stream) {
                    events.feed(text);
                } else {
                    events.body += text;
                }
            });
            response.on('error', () => events.finish());
            response.on('close', () => {
                events.finish();
                done(events);
            });
            if (stream) {
                done(events);
            }
        });
        events.request.on('error', (e) => {
            events.finish();
            fail(e);
        });
        events.request.end();
    });
}

/** A stream with room for no more watchers: it says so in its one event, and is at its end. */
export async function crowded(opened, cursor) {
    const e = await opened;
    await e.end();
    assert.equal(e.status, 200);
    assert.match(e.headers['content-type'], /^text\/event-stream/);
    assert.match(e.headers['cache-control'], /no-transform/);
    assert.match(e.headers.connection, /close/i);
    assert.equal(e.retry, 30000);
    assert.deepEqual(e.items.map((i) => [i.event, i.data.code, i.data.status, i.data.type]), [['problem', 'quota-exceeded', 429, 'urn:bowline:problem:quota-exceeded']]);
    if (cursor === undefined) {
        assert.match(e.lastId, /^[^-]+-[^-]+-0$/);
    } else {
        assert.equal(e.lastId, cursor);
    }
    assert.equal(e.firstId, e.lastId);
    return e;
}

/** Lays events over each other as a viewer would: a map of tasks, checking order on the way. */
export class View {
    constructor() {
        this.tasks = new Map();
        this.output = new Map();
        this.seq = 0;
        this.cursor = undefined;
        this.ended = undefined;
    }

    apply(e) {
        this.cursor = e.id;
        switch (e.event) {
        case 'reset':
            assert.deepEqual(e.data, {});
            this.tasks.clear();
            this.output.clear();
            this.seq = 0;
            break;
        case 'task': {
            assert.ok(e.data.seq > this.seq, `seq ${e.data.seq} after ${this.seq}`);
            this.seq = e.data.seq;
            if (e.data.gone) {
                assert.ok(['moved', 'deleted', 'expired'].includes(e.data.reason));
                this.tasks.delete(e.data.gone);
                break;
            }
            const before = this.tasks.get(e.data.task.id);
            if (before) {
                assert.ok(e.data.task.version > before.version, `version ${e.data.task.version} after ${before.version}`);
            }
            this.tasks.set(e.data.task.id, e.data.task);
            break;
        }
        case 'output': {
            assert.ok(e.data.seq >= this.seq, `seq ${e.data.seq} after ${this.seq}`);
            this.seq = e.data.seq;
            const bytes = 'data_base64' in e.data ? Buffer.from(e.data.data_base64, 'base64') : Buffer.from(e.data.data);
            const old = this.output.get(e.data.task) ?? Buffer.alloc(0);
            assert.ok(e.data.offset >= old.length || old.length === 0, `output at ${e.data.offset} was given before (${old.length})`);
            this.output.set(e.data.task, Buffer.concat([old, bytes]));
            break;
        }
        case 'session':
            this.ended = e.data;
            break;
        case 'live':
            assert.ok(e.data.seq >= this.seq, `live ${e.data.seq} before ${this.seq}`);
            break;
        default:
            assert.fail(`an event ${e.event}`);
        }
        return this;
    }

    applyAll(list) {
        for (const e of list) {
            this.apply(e);
        }
        return this;
    }
}
