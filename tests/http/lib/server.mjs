// Starts the real program on a free port with a folder of its own, and ends it by its pid.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after } from 'node:test';
import { Agent } from 'undici';
import { Api, until } from './client.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
export const binary = resolve(root, process.env.BOWLINE_BIN ?? 'build/bowline');

const LEFT_MS = 30000;
const IDLE_S = 75; // the default of idle_keepalive_timeout

const running = new Set();
process.on('exit', () => {
    for (const child of running) {
        child.kill('SIGKILL');
    }
});
for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => process.exit(1)); // so that what is to be done at the exit is done
}
if (process.argv[1]?.endsWith('.test.mjs')) { // what a test that failed has left behind would keep the file from coming to its end
    after(() => setTimeout(() => running.forEach((child) => child.kill('SIGKILL')), LEFT_MS).unref());
}

/** The environment without anything that would set an option. */
export function cleanEnv(more = {}) {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('BOWLINE_')));
    return { ...env, ...more };
}

/** An API key to configure, made from a name. */
export const apiKey = (name) => `blk_${createHash('sha256').update(name).digest('base64url')}`;

export function flags(options) {
    return Object.entries(options)
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => `--${name.replaceAll('_', '-')}=${typeof value === 'object' ? JSON.stringify(value) : value}`);
}

/** Runs the program to its end: { code, signal, out, err }. */
export function run(args, { env = {}, timeoutMs = 20000, program = binary } = {}) {
    return new Promise((done, fail) => {
        const child = spawn(program, args, { env: cleanEnv(env), stdio: ['ignore', 'pipe', 'pipe'] });
        running.add(child);
        let out = '';
        let err = '';
        child.stdout.on('data', (d) => (out += d));
        child.stderr.on('data', (d) => (err += d));
        const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
        child.on('error', fail);
        child.on('close', (code, signal) => {
            clearTimeout(timer);
            running.delete(child);
            done({ code, signal, out, err });
        });
    });
}

export class Server {
    /** under: a command that starts the program in its place, such as prlimit; stderr: a descriptor instead of a pipe that is read. */
    constructor(options, { under = [], stderr = 'pipe' } = {}) {
        this.command = [...under, binary];
        this.stderr = stderr;
        this.options = { listen: '127.0.0.1:0', drain_time: 0.1, ...(process.env.TEST_LOOPS ? { loops: process.env.TEST_LOOPS } : {}), ...options };
        this.ownFolder = !this.options.data;
        this.options.data ??= mkdtempSync(join(tmpdir(), 'bowline-http-'));
        this.data = this.options.data;
        this.out = '';
        this.err = '';
        this.port = 0;
    }

    async start() {
        const keepAliveTimeout = Math.min(4000, (this.options.idle_keepalive_timeout ?? IDLE_S) * 500); // it lets go of a connection long before the server does
        this.agent = new Agent({ connections: 256, pipelining: 1, headersTimeout: 90000, bodyTimeout: 0, keepAliveTimeout });
        const [program, ...args] = [...this.command, 'serve', ...flags(this.options)];
        const child = spawn(program, args, { env: cleanEnv(), stdio: ['ignore', 'pipe', this.stderr] });
        this.child = child;
        running.add(child);
        this.exited = new Promise((done) => {
            child.on('close', (code, signal) => {
                running.delete(child);
                done({ code, signal });
            });
        });
        child.on('error', () => {});
        child.stderr?.on('data', (d) => (this.err += d));
        this.port = await new Promise((done, fail) => {
            let line = '';
            const timer = setTimeout(() => fail(new Error(`the server printed no line: ${this.err}`)), 30000);
            child.stdout.on('data', (d) => {
                this.out += d;
                line += d;
                const m = /^bowline \S+ listening on http:\/\/\S+:(\d+)$/m.exec(line);
                if (m) {
                    clearTimeout(timer);
                    done(Number(m[1]));
                }
            });
            this.exited.then((end) => {
                clearTimeout(timer);
                fail(new Error(`the server did not start (${JSON.stringify(end)}): ${this.err}`));
            });
        });
        this.host = `127.0.0.1:${this.port}`;
        this.url = `http://${this.host}`;
        this.key = readFileSync(join(this.data, 'api.key'), 'utf8').trim();
        await until(async () => (await this.api(null).get('/readyz')).status === 200, 'readiness');
        return this;
    }

    get pid() {
        return this.child.pid;
    }

    /** Calls with a credential: none given is the key with all roles, null is none. */
    api(token = this.key) {
        return new Api(this, token);
    }

    /** SIGTERM; resolves with { code, signal }. */
    async stop() {
        this.child.kill('SIGTERM');
        const end = await this.exited;
        await this.agent.destroy();
        return end;
    }

    async kill() {
        this.child.kill('SIGKILL');
        const end = await this.exited;
        await this.agent.destroy();
        return end;
    }

    /** Starts again on the same folder and, unless told otherwise, the same port. */
    async restart(options = {}) {
        this.options = { ...this.options, listen: `127.0.0.1:${this.port}`, ...options };
        return this.start();
    }

    /** Ends the server, which must go cleanly, and removes its folder. */
    async close() {
        if (running.has(this.child)) {
            const end = await this.stop();
            if (end.code !== 0) {
                throw new Error(`the server ended with ${JSON.stringify(end)}:\n${this.err.slice(-8000)}`);
            }
        } else {
            await this.agent?.destroy();
        }
        if (this.ownFolder && existsSync(this.data)) {
            rmSync(this.data, { recursive: true, force: true });
        }
    }
}

export async function start(options = {}, how) {
    return new Server(options, how).start();
}
