#!/usr/bin/env node
// A worker of the demo: claims jobs from one queue, does them on real files of this machine, and reports on them.
//   node worker.mjs --url http://127.0.0.1:8787 --key-file bowline-data/api.key
// Nothing here is particular to JavaScript: it is a claim, reports, and one final report, all plain HTTP.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Refused, kinds } from './jobs.mjs';

const HELP = `usage: worker.mjs [options]
  --url URL         the server (BOWLINE_URL, http://127.0.0.1:8787)
  --key KEY         API key with the role worker (BOWLINE_KEY)
  --key-file FILE   file that holds the key
  --queue NAME      queue to claim from (demo)
  --root FOLDER     folder whose files may be hashed; may be repeated (/usr/include, /usr/share/doc)
  --files FOLDER    folder whose files may be compressed; may be repeated (/usr/lib, /usr/bin)
  --max-file BYTES  largest file that is chosen when none was named (64 MiB)
  --pace SECONDS    a job takes at least this long, so that it can be watched (12; 0: as fast as it goes)
  --slots N         jobs done side by side (2)
  --drain SECONDS   time that running jobs get to finish when the worker is stopped; then they are given back (3)
`;

const { values: options } = parseArgs({
    options: {
        url: { type: 'string', default: process.env.BOWLINE_URL || 'http://127.0.0.1:8787' },
        key: { type: 'string', default: process.env.BOWLINE_KEY || '' },
        'key-file': { type: 'string' },
        queue: { type: 'string', default: 'demo' },
        root: { type: 'string', multiple: true, default: ['/usr/include', '/usr/share/doc'] },
        files: { type: 'string', multiple: true, default: ['/usr/lib', '/usr/bin'] },
        'max-file': { type: 'string', default: String(64 * 1024 * 1024) },
        pace: { type: 'string', default: '12' },
        slots: { type: 'string', default: '2' },
        drain: { type: 'string', default: '3' },
        help: { type: 'boolean', default: false },
    },
});

if (options.help) {
    process.stdout.write(HELP);
    process.exit(0);
}

const numberOf = (name, least) => {
    const value = Number(options[name]);
    if (!Number.isFinite(value) || value < least) {
        process.stderr.write(`worker: --${name} needs a number of at least ${least}, not '${options[name]}'\n`);
        process.exit(2);
    }
    return value;
};

const config = {
    url: options.url.replace(/\/+$/, ''),
    key: options['key-file'] ? readFileSync(options['key-file'], 'utf8').trim() : options.key,
    pace: numberOf('pace', 0),
    slots: numberOf('slots', 1),
    drainMs: numberOf('drain', 0) * 1000,
    maxFile: numberOf('max-file', 1),
};

if (!config.key) {
    process.stderr.write('worker: an API key is needed: --key-file DIR/api.key, --key or BOWLINE_KEY\n');
    process.exit(2);
}

const REPORT_EVERY_MS = 100;
const HEARTBEAT_MS = 4000;
const CLAIM_WAIT_SECONDS = 20;
const DEAD_CLAIM_MS = 250; // the server has noticed by then that a claim was called off, and gives it nothing any more

const log = (text) => process.stdout.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
const backoffMs = (failures) => Math.min(5000, 200 * 2 ** Math.min(failures, 8)) * (0.75 + Math.random() / 2);

// One request: { status, body } with body parsed if there is one. Throws only if the server cannot be reached.
async function call(method, path, { token = config.key, body, wait, signal, timeoutMs = 15_000 } = {}) {
    const limit = AbortSignal.timeout(timeoutMs);
    const stop = new AbortController();
    const abort = () => stop.abort();
    for (const s of [limit, signal]) {
        s?.addEventListener('abort', abort, { once: true });
    }
    if (signal?.aborted) {
        stop.abort();
    }
    try {
        const answer = await fetch(config.url + path, {
            method,
            headers: {
                authorization: `Bearer ${token}`,
                ...(body === undefined ? {} : { 'content-type': 'application/json' }),
                ...(wait ? { prefer: `wait=${wait}` } : {}),
            },
            body: body === undefined ? undefined : JSON.stringify(body),
            signal: stop.signal,
        });
        const text = await answer.text();
        return { status: answer.status, body: text ? JSON.parse(text) : null };
    } finally {
        signal?.removeEventListener('abort', abort);
    }
}

const passing = (status) => status >= 500 || status === 429 || status === 408;

class Interrupted extends Error {}

// One attempt at one task: its newest progress on the way to the server, and the order to stop on the way back.
class Attempt {
    constructor(task) {
        this.task = task;
        this.stop = new AbortController();
        this.why = null; // cancelled, released, lost
        this.pending = null;
        this.busy = null;
        this.failures = 0;
        this.sentAt = Date.now();
        this.retryAt = 0;
        this.last = null;
        this.timer = setInterval(() => this.tick(), REPORT_EVERY_MS);
    }

    get name() {
        return `${this.task.kind} ${this.task.id}`;
    }

    interrupt(why) {
        if (!this.why) {
            this.why = why;
            this.stop.abort(new Interrupted(why));
        }
    }

    progress(change) {
        this.pending = { ...this.pending, ...change };
    }

    tick() {
        const now = Date.now();
        if (this.busy || now < this.retryAt) {
            return;
        }
        if (this.pending) {
            const change = this.pending;
            this.pending = null;
            this.busy = this.deliver({ type: 'progress', ...change }, change);
        } else if (now - this.sentAt > HEARTBEAT_MS) {
            this.busy = this.deliver({ type: 'heartbeat' }, null);
        }
    }

    async report(body) {
        return call('POST', `/v1/tasks/${this.task.id}/reports`, { token: this.task.worker_token, body });
    }

    async deliver(body, change) {
        try {
            const answer = await this.report(body);
            if (passing(answer.status)) {
                throw new Error(`status ${answer.status}`);
            }
            this.sentAt = Date.now();
            this.failures = 0;
            this.heed(answer);
        } catch (error) {
            this.pending = change && { ...change, ...this.pending };
            this.retryAt = Date.now() + backoffMs(this.failures);
            if (this.failures++ === 0) {
                log(`${this.name}: the server does not answer (${error.cause?.code ?? error.message}); working on`);
            }
        } finally {
            this.busy = null;
        }
    }

    heed(answer) {
        if (answer.status >= 400) {
            log(`${this.name}: ${answer.body?.code ?? answer.status}: ${answer.body?.detail ?? ''}`);
            this.interrupt('lost');
            return;
        }
        this.last = answer.body;
        if (answer.body.cancel_requested) {
            this.interrupt('cancelled');
        }
    }

    // A question to whoever watches; true or false as they answer. The lease stands still meanwhile.
    async ask(prompt) {
        await this.busy;
        for (let failures = 0; ; failures++) {
            this.stop.signal.throwIfAborted();
            try {
                const asked = await this.report({ type: 'input_request', prompt, schema: { type: 'boolean' } });
                if (!passing(asked.status)) {
                    this.heed(asked);
                    return await this.answered(asked.body?.version);
                }
            } catch (error) {
                this.stop.signal.throwIfAborted();
            }
            await sleep(backoffMs(failures), undefined, { signal: this.stop.signal });
        }
    }

    async answered(version) {
        for (let failures = 0; ; ) {
            this.stop.signal.throwIfAborted();
            const path = `/v1/tasks/${this.task.id}/control?after=${version}`;
            const control = await call('GET', path, {
                token: this.task.worker_token,
                wait: CLAIM_WAIT_SECONDS,
                signal: this.stop.signal,
                timeoutMs: 30_000,
            }).catch(() => null);
            if (control && !passing(control.status)) {
                failures = 0;
                this.heed(control);
                if (control.body?.answer) {
                    return control.body.answer.answer === true;
                }
            } else {
                await sleep(backoffMs(failures++), undefined, { signal: this.stop.signal });
            }
        }
    }

    // The last word; said until the server has taken or refused it. Saying it twice is harmless.
    async finish(body) {
        clearInterval(this.timer);
        await this.busy;
        for (let failures = 0; ; failures++) {
            const answer = await this.report(body).catch(() => null);
            if (answer && !passing(answer.status)) {
                return answer.status < 400 ? answer.body.state : answer.body?.code ?? String(answer.status);
            }
            await sleep(backoffMs(failures));
        }
    }

    async release() {
        clearInterval(this.timer);
        await this.busy;
        await giveBack(this.task);
    }
}

async function giveBack(task) {
    const path = `/v1/queues/${options.queue}/release`;
    const answer = await call('POST', path, { body: { token: task.worker_token }, timeoutMs: 2000 }).catch(() => null);
    log(`${task.kind} ${task.id}: ${answer?.status === 204 ? 'given back' : 'not given back; its lease will run out'}`);
}

const running = new Set();
const draining = new AbortController();

async function work(task) {
    const attempt = new Attempt(task);
    running.add(attempt);
    log(`${attempt.name}: attempt ${task.attempt}, ${JSON.stringify(task.input)}`);
    try {
        const job = kinds[task.kind];
        if (!job) {
            throw new Refused('unknown-kind', `this worker does not do '${task.kind}'`);
        }
        const result = await job({
            input: task.input,
            roots: options.root,
            files: options.files,
            pace: config.pace,
            maxFile: config.maxFile,
            signal: attempt.stop.signal,
            progress: (change) => attempt.progress(change),
            ask: (prompt) => attempt.ask(prompt),
        });
        const last = attempt.pending;
        attempt.pending = null;
        const succeed = { type: 'succeed', result };
        log(`${attempt.name}: ${await attempt.finish(last ? [{ type: 'progress', ...last }, succeed] : succeed)}`);
    } catch (error) {
        await conclude(attempt, error);
    } finally {
        clearInterval(attempt.timer);
        running.delete(attempt);
    }
}

async function conclude(attempt, error) {
    if (attempt.why === 'cancelled') {
        log(`${attempt.name}: ${await attempt.finish({ type: 'cancelled' })}`);
    } else if (attempt.why === 'released') {
        await attempt.release();
    } else if (attempt.why === 'lost') {
        log(`${attempt.name}: dropped`);
    } else {
        const refused = error instanceof Refused;
        const type = refused ? error.type : 'worker-error';
        const report = { type: 'fail', error: { type, message: error.message.slice(0, 2000) }, retry: !refused };
        log(`${attempt.name}: ${type}: ${error.message}; ${await attempt.finish(report)}`);
    }
}

async function claimLoop() {
    const path = `/v1/queues/${options.queue}/claim`;
    for (let failures = 0; !draining.signal.aborted; ) {
        if (running.size >= config.slots) {
            await sleep(50);
            continue;
        }
        try {
            const body = { max: config.slots - running.size, worker: `demo-${process.pid}` };
            const answer = await call('POST', path, { body, wait: CLAIM_WAIT_SECONDS, signal: draining.signal, timeoutMs: 30_000 });
            if (answer.status === 401 || answer.status === 403) {
                log(`the server refuses this key: ${answer.body?.detail ?? answer.status}`);
                process.exitCode = 1;
                return;
            }
            if (answer.status >= 400) {
                throw new Error(`status ${answer.status} ${answer.body?.detail ?? ''}`);
            }
            if (failures) {
                log('the server is back');
            }
            failures = 0;
            for (const task of answer.body?.tasks ?? []) {
                void (draining.signal.aborted ? giveBack(task) : work(task));
            }
        } catch (error) {
            if (draining.signal.aborted) {
                return;
            }
            if (failures++ === 0) {
                log(`the server does not answer (${error.cause?.code ?? error.message}); trying again`);
            }
            await sleep(backoffMs(failures), undefined, { signal: draining.signal }).catch(() => {});
        }
    }
}

async function drain() {
    await sleep(DEAD_CLAIM_MS);
    const until = Date.now() + config.drainMs;
    while (running.size && Date.now() < until) {
        await sleep(50);
    }
    for (const attempt of running) {
        attempt.interrupt('released');
    }
    const giveUpAt = Date.now() + 3000;
    while (running.size && Date.now() < giveUpAt) {
        await sleep(20);
    }
}

for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
        if (draining.signal.aborted) {
            process.exit(130);
        }
        log(`${signal}: finishing`);
        draining.abort();
    });
}

log(`worker of queue '${options.queue}' at ${config.url}`);
await claimLoop();
await drain();
process.exit(process.exitCode ?? 0);
