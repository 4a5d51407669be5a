// bowline for browsers and Node: the tasks of one session, live, in every tab over one connection. No dependencies, no build step.
// What each name gives and throws stands in bowline.d.ts.

const FIRST_BYTE_MS = 5000, SILENCE_MS = 45000, FALLBACK_MS = 600000, POLL_S = 25;   // ways to read, and when another is tried
const LEADER_QUIET_MS = 10000, LEADER_LOST_MS = 15000;                               // a leader is asked, and its lock taken
const BACKOFF_MS = 500, BACKOFF_MOST_MS = 30000, PATIENCE = 5;
const ENDS = ['succeeded', 'failed', 'cancelled'];
const DEAD = { code: 'unauthenticated' }, OVER = {}, SILENT = {};                    // how a connection can end, besides errors

const noop = () => {};
const ended = (task) => ENDS.includes(task.state);
const uid = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
const backoff = (failures) => Math.random() * Math.min(BACKOFF_MOST_MS, BACKOFF_MS * 2 ** failures);
const era = (cursor) => cursor.slice(0, cursor.lastIndexOf('-'));                    // numbers compare within one history of one feed

export class TaskError extends Error {
    constructor(code, task) {
        super(task?.error?.message || `The task ${task?.id ?? ''} ${code === 'gone' ? 'is gone' : code === 'failed' ? 'has failed' : 'was cancelled'}`);
        Object.assign(this, { name: 'TaskError', code, task });
    }
}

class ReadOnlyMap extends Map {
    set() { throw new TypeError('read-only'); }
    delete() { throw new TypeError('read-only'); }
    clear() { throw new TypeError('read-only'); }
}
const { set, delete: remove, clear } = Map.prototype;

/** What the server refused: its problem (RFC 9457) as an Error. */
async function refusal(response) {
    const problem = /json/.test(response.headers.get('content-type')) ? await response.json().catch(() => ({})) : {}; // what else it is may have no end
    const error = new Error(problem.detail ?? problem.title ?? `The server answered ${response.status}`);
    return Object.assign(error, { code: problem.code ?? 'unavailable', status: response.status, problem,
        wait: 1000 * response.headers.get('retry-after') || 0 });
}

/** What tells the sessions of two tokens apart, whatever their generation. */
function identity(token) {
    const parts = token.split('.');
    try {
        const { sid, sub } = JSON.parse(atob(parts[1].replace(/-/g, '+').replace(/_/g, '/')));
        return `${sid} ${sub}`;
    } catch {
        return parts[0];
    }
}

function parse(block) {
    const event = { data: '' };
    for (const line of block.split('\n')) {
        const colon = line.indexOf(': ');
        if (colon > 0) {
            event[line.slice(0, colon)] = line.slice(colon + 2);
        }
    }
    return event.event ? { ...event, data: JSON.parse(event.data) } : event;
}

class Live {
    tasks = new ReadOnlyMap();
    state = 'connecting';
    reason = null;
    via = null;

    #options; #base; #ready = {}; #listeners = new Map(); #iterators = new Set(); #sleepers = new Set(); #off = [];
    #cursor; #seqs = {}; #offsets = new Map(); #known = false; #doubt; // doubt: ids from before a reset, until `live`
    #told = new Set(); #asked = new Map(); #waits = new Map(); #gones = new Map();
    #token; #generation = 0; #renewal; #renewers = new Set();
    #ways = ['sse', ...(globalThis.WebSocket ? ['websocket'] : []), 'poll']; #way = 0; #fellAt = 0;
    #me = uid(); #name; #channel; #here; #turn; #leading; #synced = false; #heardAt = 0; #pinged = false; #gaveAt = 0; #work = Promise.resolve();

    constructor(options) {
        const page = globalThis.location?.href;
        this.#options = { credentials: 'same-origin', output: false, tabs: Boolean(globalThis.document), ...options };
        this.#base = new URL(options.url ?? globalThis.location?.origin, page).href.replace(/\/+$/, '');
        this.ready = new Promise((resolve, reject) => Object.assign(this.#ready, { resolve, reject }));
        this.ready.catch(noop);
        const hear = (target, name, fn) => {
            target?.addEventListener?.(name, fn);
            this.#off.push(() => target?.removeEventListener?.(name, fn));
        };
        hear(globalThis, 'pagehide', () => this.#leave());
        hear(globalThis, 'pageshow', () => (this.#come(), this.#wake()));
        hear(globalThis, 'online', () => this.#wake());
        hear(globalThis.document, 'freeze', () => this.#leave());
        hear(globalThis.document, 'resume', () => this.#come());
        hear(globalThis.document, 'visibilitychange', () => this.#seen());
        this.#begin();
    }

    async #begin() {
        const { tabs, output } = this.#options;
        await null; // so that whoever connects can listen first
        for (let failures = 0; tabs && !this.#name && globalThis.navigator?.locks && globalThis.BroadcastChannel && this.state !== 'ended'; failures++) {
            try {
                const token = await this.#credential();
                this.#name = `bowline ${this.#base} ${token ? identity(token) : 'cookie'} ${output}`;
            } catch (error) {
                this.#become('offline');
                this.#emit('error', error);
                await this.#sleep(backoff(failures));
            }
        }
        this.#come();
    }

    // ---- what callers see ----

    on(name, fn) {
        const set = this.#listeners.get(name) ?? new Set(), entry = { fn };
        this.#listeners.set(name, set.add(entry));
        return () => set.delete(entry);
    }

    async *[Symbol.asyncIterator]() {
        const queue = [], it = { push: (task) => queue.push(task), wake: noop };
        this.#iterators.add(it);
        try {
            for (;;) {
                while (queue.length) {
                    yield queue.shift();
                }
                if (this.state === 'ended') {
                    return;
                }
                await new Promise((resolve) => (it.wake = resolve));
            }
        } finally {
            this.#iterators.delete(it);
        }
    }

    task(id, first) {
        const live = this, path = `/v1/tasks/${encodeURIComponent(id)}`;
        const post = (what, body) => this.#call(path + what, { body });
        const handle = {
            id,
            get value() { return live.tasks.get(id) ?? (live.#gones.has(id) ? undefined : first); },
            get done() { return live.#done(id); },
            cancel: (reason) => post('/cancel', { reason }),
            answer: async (answer) => {
                const { input_request: asked } = handle.value ?? (await this.#call(path));
                return post('/answer', { request: asked?.id ?? '', answer });
            },
            seen: () => post('/seen', {}),
            result: () => this.#call(path + '/result', { read: (response) => (response.status === 202 ? handle.done : response.json()) }),
            output: () => this.#output(path),
            files: async () => (await this.#call(path)).files ?? [],
            link: async (name) => {
                const link = await post(`/files/${encodeURIComponent(name)}/link`, {});
                return { ...link, url: new URL(link.url, this.#base).href };
            },
            rerun: async () => this.#started(await this.#call(path + '/rerun', { body: {}, key: uid() })),
        };
        return handle;
    }

    async start(kind, { title, input, key = uid() } = {}) {
        return this.#started(await this.#call('/v1/session/tasks', { body: { kind, title, input }, key, patience: Infinity }));
    }

    #started(task) {
        return this.task(task.id, task);
    }

    close() {
        this.#finish('closed');
    }

    // ---- what the feed says ----

    #emit(name, ...values) {
        for (const { fn } of [...(this.#listeners.get(name) ?? [])]) {
            try {
                fn(...values);
            } catch (error) {
                if (name === 'error' || !this.#listeners.get('error')?.size) {
                    (globalThis.reportError ?? console.error)(error);
                } else {
                    this.#emit('error', error);
                }
            }
        }
    }

    #become(state, reason = null) {
        if (this.state === 'ended' || this.state === state) {
            return;
        }
        this.state = state;
        this.reason = reason;
        if (this.#leading) {
            this.#tell({ type: 'state', ...this.#position() });
        }
        this.#emit('state', state, reason);
    }

    /** Events of one stream, in order; before is where that stream was. */
    #hear(events, before) {
        const was = before ?? { seqs: { ...this.#seqs }, era: this.#cursor && era(this.#cursor) };
        if (this.#leading) {
            this.#tell({ type: 'events', events, before: was });
        }
        for (const event of events) {
            this.#apply(event);
        }
    }

    #apply({ id, event, data }) {
        if (this.state === 'ended') {
            return;
        }
        const part = (data.task ?? this.tasks.get(data.gone))?.scope ?? 'session';
        const old = data.seq <= (this.#seqs[part] ?? 0);
        if (event === 'reset') {
            this.#forget();
        } else if (event === 'task' && !old) {
            this.#changed(data, part);
        } else if (event === 'output') {
            const base64 = data.data_base64;
            this.#printed(data.task, data.offset, base64 === undefined ? new TextEncoder().encode(data.data) : Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
        } else if (event === 'session' && data.state === 'ended') {
            this.#finish(data.reason);
        }
        if (id && !(event === 'task' && old)) {
            this.#cursor = id;
        }
        if (event === 'live') {
            this.#arrive();
        }
    }

    #forget() {
        this.#doubt = new Set([...(this.#doubt ?? []), ...this.tasks.keys()]);
        clear.call(this.tasks);
        this.#seqs = {};
        this.#offsets.clear();
        this.#emit('reset');
    }

    #changed({ seq, task, gone, reason }, part) {
        if (gone) {
            const task = this.tasks.get(gone);
            this.#gone(gone, reason, task);
            if (!task) {
                return; // whose part it was is not known
            }
        } else {
            this.#put(task);
        }
        this.#seqs[part] = Math.max(seq, this.#seqs[part] ?? 0);
    }

    #put(task) {
        const before = this.tasks.get(task.id), question = task.input_request?.id;
        if (before && before.version >= task.version) {
            return;
        }
        remove.call(this.tasks, task.id); // so that it becomes the last one
        set.call(this.tasks, task.id, task);
        this.#gones.delete(task.id);
        const asks = question && this.#asked.get(task.id) !== question, ends = ended(task) && !this.#told.has(task.id);
        if (asks) {
            this.#asked.set(task.id, question);
        }
        if (ends) {
            this.#told.add(task.id);
        }
        for (const it of this.#iterators) {
            it.push(task);
            it.wake();
        }
        this.#emit('task', task, before);
        if (asks) {
            this.#emit('input_required', task);
        }
        if (ended(task)) {
            this.#settle(task);
            if (ends && this.#known) {
                this.#emit(task.state, task);
            }
        }
    }

    #gone(id, reason, task) {
        remove.call(this.tasks, id);
        this.#offsets.delete(id);
        this.#waits.get(id)?.reject(new TaskError('gone', task));
        this.#waits.delete(id);
        if (reason !== 'moved') { // what moved may come back
            this.#told.delete(id);
            this.#asked.delete(id);
        }
        this.#gones.set(id, reason);
        if (this.#gones.size > 1000) {
            this.#gones.delete(this.#gones.keys().next().value);
        }
        if (task) {
            this.#emit('gone', { id, reason, task });
        }
    }

    #printed(task, offset, bytes) {
        const next = this.#offsets.get(task) ?? 0;
        if (offset + bytes.length > next) {
            bytes = bytes.subarray(Math.max(0, next - offset));
            offset = Math.max(offset, next);
            this.#offsets.set(task, offset + bytes.length);
            this.#emit('output', { task, offset, bytes });
        }
    }

    /** Everything that stood has come. */
    #arrive() {
        for (const id of this.#doubt ?? []) {
            if (!this.tasks.has(id)) {
                this.#gone(id, 'expired');
            }
        }
        this.#doubt = undefined;
        this.#synced = this.#known = true;
        this.#become('live');
        this.#ready.resolve();
    }

    #finish(reason, error = Object.assign(new Error(`The session is over: ${reason}`), { code: reason })) {
        if (this.state === 'ended') {
            return;
        }
        if (this.#leading && reason !== 'closed') {
            this.#tell({ type: 'end', reason });
        }
        this.state = 'ended';
        this.reason = reason;
        this.#leave();
        this.#off.forEach((off) => off());
        this.#ready.reject(error);
        for (const [id, wait] of this.#waits) {
            wait.reject(new TaskError('gone', this.tasks.get(id)));
        }
        this.#emit('state', 'ended', reason);
        this.#iterators.forEach((it) => it.wake());
        this.#renewed(false);
    }

    // ---- waiting for a task's end ----

    #done(id) {
        let wait = this.#waits.get(id);
        if (!wait) {
            wait = {};
            wait.promise = new Promise((resolve, reject) => Object.assign(wait, { resolve, reject }));
            wait.promise.catch(noop);
            this.#waits.set(id, wait);
            const task = this.tasks.get(id);
            if (!task) {
                this.#seek(id, wait);
            } else if (ended(task)) {
                this.#settle(task);
            }
        }
        return wait.promise;
    }

    /** One that the feed has not shown. */
    async #seek(id, wait) {
        await this.ready.catch(noop);
        try {
            const task = this.tasks.get(id) ?? (await this.#call(`/v1/tasks/${encodeURIComponent(id)}`));
            if (ended(task)) {
                this.#settle(task);
            }
        } catch (error) {
            if (error.status || this.state === 'ended') {
                wait.reject(new TaskError('gone', error.problem));
            }
        }
    }

    async #settle(task) {
        const wait = this.#waits.get(task.id);
        if (!wait) {
            return;
        }
        if (task.state !== 'succeeded') {
            wait.reject(new TaskError(task.state, task));
        } else if (task.result !== null || !task.result_bytes) {
            wait.resolve(task.result);
        } else {
            this.#call(`/v1/tasks/${task.id}/result`, { patience: Infinity }).then(wait.resolve, () => wait.reject(new TaskError('gone', task)));
        }
    }

    // ---- calls ----

    async #credential() {
        const { token } = this.#options;
        return (this.#token ??= typeof token === 'function' ? await token() : token);
    }

    async #fetch(path, { headers, ...init }) {
        const token = await this.#credential();
        return fetch(this.#base + path, { cache: 'no-store', credentials: this.#options.credentials, ...init,
            headers: { ...headers, ...(token && { authorization: `Bearer ${token}` }) } });
    }

    /** A call, repeated while its answer is lost; body: a POST's. */
    async #call(path, { body, key, patience = PATIENCE, headers = {}, signal, read = (response) => response.json() } = {}) {
        const init = { headers, signal };
        if (body) {
            Object.assign(init, { method: 'POST', body: JSON.stringify(body) });
            init.headers = { ...headers, 'content-type': 'application/json', ...(key && { 'idempotency-key': key }) };
        }
        for (let failures = 0, renewed = false; ; failures++) {
            const generation = this.#generation;
            let error;
            try {
                const response = await this.#fetch(path, init);
                if (response.ok) {
                    return await read(response);
                }
                error = await refusal(response);
            } catch (lost) {
                error = lost;
            }
            if (error.status === 401 && !renewed && (await this.#renew(generation))) {
                renewed = true;
                continue;
            }
            const refused = error.status && ![502, 503, 504].includes(error.status);
            if (refused || error instanceof TaskError || signal?.aborted || failures >= patience || this.state === 'ended') {
                throw error;
            }
            await this.#sleep(Math.max(backoff(failures), error.wait ?? 0), signal);
        }
    }

    #output(path) {
        const over = new AbortController(), { signal } = over, live = this;
        async function* bytes() {
            for (let offset = 0, failures = 0; ; ) {
                const response = await live.#call(`${path}/output?offset=${offset}`, { signal, patience: Infinity, headers: { prefer: 'wait=20' }, read: (it) => it });
                offset = Number(response.headers.get('bowline-output-offset') ?? offset);
                try {
                    const reader = response.body.getReader();
                    for (let piece; !(piece = await reader.read()).done; ) {
                        offset += piece.value.length;
                        failures = 0;
                        yield piece.value;
                    }
                    if (response.headers.get('bowline-output-complete')) {
                        return;
                    }
                } catch (lost) {
                    if (signal.aborted) {
                        throw lost;
                    }
                    await live.#sleep(backoff(failures++), signal);
                }
            }
        }
        const source = bytes();
        return new ReadableStream({
            async pull(controller) {
                const { done, value } = await source.next();
                done ? controller.close() : controller.enqueue(value);
            },
            cancel: () => over.abort(),
        });
    }

    // ---- the credential ----

    /** The credential of that generation is dead: gets another, once for all who find out. False: there is none. */
    #renew(dead) {
        if (dead !== this.#generation) {
            return Promise.resolve(true);
        }
        if (this.#channel && !this.#leading) {
            this.#tell({ type: 'renew', generation: dead });
            return new Promise((resolve) => {
                this.#renewers.add(resolve);
                setTimeout(resolve, LEADER_LOST_MS, false);
            });
        }
        return (this.#renewal ??= this.#refresh().finally(() => (this.#renewal = undefined)));
    }

    async #refresh() {
        const { refresh, token } = this.#options, old = this.#token;
        let fresh;
        try {
            fresh = await refresh?.();
            if (typeof fresh !== 'string') { // nothing, or what fetch gave, where a cookie was set
                fresh = typeof token === 'function' ? await token() : token;
            }
        } catch {
            this.#finish('unauthenticated');
            return false;
        }
        if (fresh === old && (fresh || !refresh)) {
            if (refresh) {
                this.#finish('unauthenticated');
            }
            return false;
        }
        this.#token = fresh;
        this.#generation++;
        this.#tell({ type: 'credential', generation: this.#generation, token: fresh });
        this.#renewed(true);
        return true;
    }

    #renewed(good) {
        this.#renewers.forEach((resolve) => resolve(good));
        this.#renewers.clear();
    }

    // ---- the connection ----

    #sleep(ms, signal) {
        return new Promise((resolve) => {
            const done = () => {
                clearTimeout(timer);
                signal?.removeEventListener('abort', done);
                this.#sleepers.delete(done);
                resolve();
            };
            const timer = setTimeout(done, signal?.aborted ? 0 : ms);
            signal?.addEventListener('abort', done);
            this.#sleepers.add(done);
        });
    }

    #wake() {
        this.#sleepers.forEach((done) => done());
    }

    /** Reads the feed until the signal: whoever leads does. */
    async #feed(signal) {
        const { refresh, token } = this.#options;
        for (let failures = 0, renewed = 0; ; failures++) {
            const generation = this.#generation, run = { live: false, rotated: false, wait: 0 };
            let error, fresh = false;
            try {
                await this.#read(run, signal);
            } catch (thrown) {
                error = thrown;
            }
            if (run.live) {
                failures = renewed = 0;
            }
            if (signal.aborted || this.state === 'ended') {
                return;
            }
            if (error === OVER) {
                this.#finish(await this.#why());
                return;
            }
            if (error === DEAD || run.rotated) {
                // after a rotation the old credential lives on for a while, in which others may change the cookie, or what `token` gives
                fresh = renewed < (this.#token ? PATIENCE : 1) && (await this.#renew(generation)); // another cookie cannot be told from the same
                if (!fresh && !(run.rotated && (renewed || !(refresh || typeof token === 'string')))) {
                    this.#finish('unauthenticated');
                    return;
                }
                renewed += fresh;
            } else if (error === SILENT) {
                this.#way = (this.#way + 1) % this.#ways.length;
                this.#fellAt ||= Date.now();
            } else if (error) {
                this.#emit('error', error);
            }
            this.#become(run.live || run.rotated || error === SILENT || fresh ? 'connecting' : 'offline');
            if (!(fresh && renewed === 1) && error !== SILENT) {
                await this.#sleep(Math.max(backoff(failures), run.wait, error?.wait ?? 0), signal);
            }
        }
    }

    /** One connection, to its end; throws how it failed. */
    async #read(run, outer) {
        outer.throwIfAborted();
        const over = new AbortController(), { signal } = over, abort = () => over.abort();
        const aborted = new Promise((_, reject) => signal.addEventListener('abort', reject));
        let why, last = Date.now(), tick = last, limit = FIRST_BYTE_MS;
        const end = (reason) => {
            why = reason;
            over.abort();
        };
        if (this.#fellAt && (Date.now() - this.#fellAt > FALLBACK_MS || this.#way === 0)) {
            this.#fellAt = this.#way = 0;
        }
        const way = this.#ways[this.#way];
        this.via = way + (this.#way ? '-fallback' : '');
        const timer = setInterval(() => {
            const now = Date.now(), slept = now - tick > LEADER_LOST_MS;
            tick = now;
            if (now - last > limit) {
                end(slept ? undefined : SILENT); // who slept heard nothing, which says nothing of the way
            } else if (this.#fellAt && now - this.#fellAt > FALLBACK_MS) {
                end();
            } else if (run.socket?.readyState === 1 && now - last > limit / 2) {
                run.socket.send('?'); // answered with a problem, which shows that somebody is there
            }
        }, 1000);
        const heard = (most = SILENCE_MS) => {
            last = Date.now();
            limit = most;
        };
        const hear = (events) => {
            for (const { event, data } of events) {
                run.live ||= event === 'live';
                run.rotated ||= event === 'session' && data.state === 'rotated';
            }
            this.#hear(events.filter(({ event }) => event !== 'problem'));
        };
        outer.addEventListener('abort', abort);
        try {
            await Promise.race([aborted, // whatever the way waits for
                way === 'sse' ? this.#stream(run, signal, hear, heard) : way === 'poll' ? this.#poll(run, signal, hear, heard) : this.#socket(run, signal, hear, heard)]);
        } catch (error) {
            throw signal.aborted ? why : error;
        } finally {
            clearInterval(timer);
            outer.removeEventListener('abort', abort);
            over.abort();
        }
        if (why) {
            throw why;
        }
    }

    #path() {
        const query = new URLSearchParams({ via: this.via });
        if (this.#options.output) {
            query.set('output', '1');
        }
        if (this.#cursor) {
            query.set('after', this.#cursor);
        }
        return `/v1/session/events?${query}`;
    }

    async #ask(accept, signal, headers) {
        const response = await this.#fetch(this.#path(), { signal, headers: { accept, ...headers } });
        if (response.status === 204 || response.status === 410) {
            throw OVER;
        }
        if (response.status === 401) {
            throw DEAD;
        }
        if (!response.ok || !response.headers.get('content-type')?.startsWith(accept)) {
            throw await refusal(response);
        }
        return response;
    }

    async #stream(run, signal, hear, heard) {
        const reader = (await this.#ask('text/event-stream', signal)).body.getReader(), decoder = new TextDecoder();
        let text = '';
        for (let piece; !(piece = await reader.read()).done; ) {
            heard();
            const blocks = (text + decoder.decode(piece.value, { stream: true })).split('\n\n');
            text = blocks.pop();
            const events = blocks.map(parse);
            for (const { retry, event, data } of events) {
                run.wait = retry > 2000 ? Number(retry) : run.wait; // the usual one is for those who have no backoff of their own
                if (event === 'problem') {
                    throw Object.assign(new Error(data.detail), { code: data.code, status: data.status, problem: data });
                }
            }
            hear(events.filter(({ event }) => event));
        }
    }

    async #socket(run, signal, hear, heard) {
        const token = await this.#credential(), path = this.#path() + (token ? `&access_token=${encodeURIComponent(token)}` : '');
        signal.throwIfAborted();
        await new Promise((resolve, reject) => {
            const socket = (run.socket = new WebSocket(this.#base.replace(/^http/, 'ws') + path, 'bowline.v1'));
            let open = false;
            signal.addEventListener('abort', () => {
                socket.close();
                reject();
            });
            socket.onmessage = ({ data }) => {
                open = true;
                heard();
                hear([JSON.parse(data)]);
            };
            socket.onerror = noop; // close says it too
            socket.onclose = ({ code }) => (code === 1008 ? reject(DEAD) : open ? resolve() : reject(SILENT));
        });
    }

    async #poll(run, signal, hear, heard) {
        for (let wait = 0, empty = 0; ; wait = POLL_S) {
            const began = Date.now();
            heard((wait + 10) * 1000);
            const response = await this.#ask('application/json', signal, wait ? { prefer: `wait=${wait}` } : {});
            const { events, cursor } = await response.json(), last = events.at(-1);
            if (events.length < 1000 && last?.event !== 'session') {
                events.push({ id: cursor, event: 'live', data: {} });
            }
            hear(events);
            if (last?.event === 'session') {
                return;
            }
            // changes that come fast are fetched together, and who does not let us wait is not asked all the time
            empty = last || Date.now() - began > 1000 ? 0 : Math.min(empty + 1, 10);
            await this.#sleep(wait ? BACKOFF_MS * Math.max(1, empty) - (Date.now() - began) : 0, signal);
            signal.throwIfAborted();
        }
    }

    async #why() {
        try {
            await this.#call('/v1/session', { read: noop });
        } catch (error) {
            return error.problem?.reason ?? 'unauthenticated';
        }
        return 'unauthenticated';
    }

    // ---- one connection for all tabs: the holder of a lock leads, and tells the others what it hears ----

    #tell(message) {
        this.#channel?.postMessage({ from: this.#me, ...message });
    }

    #come() {
        if (this.#here || this.state === 'ended') {
            return;
        }
        this.#here = new AbortController();
        const { signal } = this.#here;
        try {
            this.#channel = this.#name && new BroadcastChannel(this.#name);
        } catch {
            this.#name = undefined;
        }
        if (!this.#channel) {
            this.#lead(signal);
            return;
        }
        this.#channel.onmessage = ({ data }) => {
            this.#work = this.#work.then(() => signal.aborted || this.#receive(data)).catch((error) => this.#emit('error', error));
        };
        this.#heardAt = Date.now();
        this.#pinged = false;
        const timer = setInterval(() => this.#check(), 2000);
        signal.addEventListener('abort', () => clearInterval(timer));
        this.#contend(signal);
        this.#greet();
    }

    /** Lets go of everything, so that the page can be kept for going back to it, or another tab go on. */
    #leave() {
        this.#here?.abort();
        this.#here = undefined;
        this.#channel?.close();
        this.#channel = undefined;
    }

    #contend(here, steal) {
        const mine = new AbortController(), abort = () => mine.abort();
        this.#turn?.abort(); // the request that still waits
        this.#turn = mine;
        here.addEventListener('abort', abort);
        navigator.locks.request(this.#name, steal ? { steal } : { signal: mine.signal }, () => {
            if (mine.signal.aborted) {
                return undefined;
            }
            this.#lead(mine.signal);
            return new Promise((release) => mine.signal.addEventListener('abort', release));
        }).catch((error) => {
            if (!mine.signal.aborted && error.name === 'AbortError') { // it was taken from us
                mine.abort();
                this.#heardAt = Date.now();
                this.#contend(here);
            } else if (!here.aborted && error.name !== 'AbortError') { // there are no locks here after all
                this.#channel.close();
                this.#channel = this.#name = undefined;
                this.#lead(here);
            }
        });
    }

    #lead(signal) {
        this.#leading = signal;
        signal.addEventListener('abort', () => {
            this.#leading = this.#leading === signal ? undefined : this.#leading;
        });
        this.#gaveAt = 0;
        this.#tell({ type: 'lead', seqs: this.#seqs });
        this.#feed(signal).catch((error) => this.#emit('error', error));
    }

    #position() {
        return { seqs: this.#seqs, state: this.state, via: this.via };
    }

    #greet() {
        this.#tell({ type: 'greet', known: this.#known, visible: !globalThis.document?.hidden });
    }

    /** Quiet for long: the leader is asked whether it is there; who does not answer loses the lock, to a visible tab if there is one. */
    #check() {
        const quiet = Date.now() - this.#heardAt, most = LEADER_LOST_MS + (document.hidden ? 5000 : 0) + 1000 * Math.random();
        if (this.#leading || !this.#channel || quiet < LEADER_QUIET_MS) {
            return;
        }
        if (!this.#pinged) {
            this.#pinged = true;
            this.#tell({ type: 'ping' });
        } else if (quiet > most) {
            this.#contend(this.#here.signal, true);
        }
    }

    #seen() {
        if (!document.hidden) {
            this.#wake();
        }
        if (Boolean(this.#leading) === document.hidden) {
            this.#tell({ type: document.hidden ? 'hidden' : 'visible' });
        }
    }

    #behind(seqs) {
        return Object.keys(seqs).some((part) => seqs[part] > (this.#seqs[part] ?? 0));
    }

    #receive(message) {
        if (message.type === 'end') {
            this.#finish(message.reason);
        } else if (message.type === 'credential') {
            this.#inherit(message);
        } else if (this.#leading) {
            this.#serve(message);
        } else if (message.type === 'hidden') {
            this.#seen();
        } else if (message.type === 'yours') {
            if (message.to === this.#me) {
                this.#contend(this.#here.signal, true);
            }
        } else if (message.seqs || message.before) {
            this.#heardAt = Date.now();
            this.#pinged = false;
            return this.#follow(message);
        }
        return undefined;
    }

    #inherit({ generation, token }) {
        const newer = generation > this.#generation;
        if (newer) {
            this.#generation = generation;
            this.#token = token;
        }
        this.#renewed(newer);
    }

    /** What the others want of the leader. */
    #serve({ type, from, known, visible, generation }) {
        const whole = this.#known && !this.#doubt;
        if (type === 'ping') {
            this.#tell({ type: 'pong', ...this.#position() });
        } else if (type === 'greet' && (whole || !known)) {
            this.#tell({ type: 'snapshot', to: from, whole, cursor: this.#cursor, tasks: [...this.tasks.values()], offsets: [...this.#offsets],
                gones: this.#gones, ...this.#position() });
        } else if (type === 'renew') {
            this.#renew(generation).then(() => this.#tell({ type: 'credential', generation: this.#generation, token: this.#token }));
        }
        if ((visible || type === 'visible') && document.hidden && Date.now() - this.#gaveAt > BACKOFF_MOST_MS / 10) {
            this.#gaveAt = Date.now();
            this.#tell({ type: 'yours', to: from });
        }
    }

    /** What the leader tells the others. */
    async #follow(message) {
        const { type, state, via, seqs } = message;
        if (type === 'snapshot') {
            if (message.to === this.#me) {
                await this.#load(message);
            }
        } else if (type === 'events') {
            await this.#repeat(message);
        } else if (!this.#synced || this.#behind(seqs)) {
            this.#greet();
        }
        if (state) {
            this.via = via;
            this.#become(state === 'live' && !this.#known ? this.state : state);
        }
    }

    async #repeat({ events, before }) {
        const here = this.#cursor && era(this.#cursor), lost = before.era === here && this.#behind(before.seqs);
        if (!this.#synced) {
            return;
        }
        for (const event of events) {
            if (event.event !== 'reset' && (lost || (this.#cursor && era(event.id) !== era(this.#cursor)))) {
                this.#greet();
                return;
            }
            if (event.event === 'output') {
                await this.#fill(event.data.task, event.data.offset);
            }
            this.#apply(event);
        }
    }

    async #load({ whole, cursor, tasks, offsets, gones, seqs }) {
        const other = cursor && this.#cursor && era(cursor) !== era(this.#cursor);
        if (this.#known && (!whole || (!other && !this.#behind(seqs)))) {
            this.#synced = true;
            return;
        }
        if (other) {
            this.#forget();
        }
        for (const task of tasks) {
            this.#put(task);
        }
        const kept = new Set(tasks.map(({ id }) => id));
        for (const [id, task] of whole ? [...this.tasks] : []) {
            if (!kept.has(id)) {
                this.#gone(id, gones.get(id) ?? 'expired', task);
            }
        }
        this.#seqs = { ...seqs };
        this.#cursor = cursor;
        this.#synced = true;
        for (const [id, offset] of offsets) {
            await this.#fill(id, offset);
        }
        if (whole) {
            this.#arrive();
        }
    }

    /** Output that another tab was told of, and this one was not. */
    async #fill(id, upto) {
        for (let at; (at = this.#offsets.get(id) ?? 0) < upto; ) {
            const [offset, bytes] = await this.#call(`/v1/tasks/${id}/output?offset=${at}`, {
                read: async (response) => [Number(response.headers.get('bowline-output-offset')), new Uint8Array(await response.arrayBuffer())],
            }).catch(() => [0, []]);
            if (!bytes.length) {
                return;
            }
            this.#printed(id, offset, bytes);
        }
    }
}

/** Follows the tasks of the session that the page belongs to. */
export function connect(options = {}) {
    return new Live(options);
}
