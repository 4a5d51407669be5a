// A guide, tried as a reader would: its files in an empty folder, its commands as they stand; and a browser's part with its cookies.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pause, until } from './client.mjs';
import { freePort } from './ports.mjs';
import { binary, cleanEnv } from './server.mjs';
import { openEvents } from './sse.mjs';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

const groups = new Set();
const endGroup = (child, signal) => {
    try {
        process.kill(-child.pid, signal);
    } catch {
        // it has ended by itself
    }
};
process.on('exit', () => groups.forEach((child) => endGroup(child, 'SIGKILL')));

/** A guide's blocks in a folder of their own: ```LANGUAGE FILE is a file, ```sh NAME a command. Ports 3000, 3001 and 8787 become free ones. */
export class Guide {
    static async open(name, { files = [], folders = {} } = {}) {
        const guide = new Guide();
        [guide.appPort, guide.bowlinePort, guide.innerPort] = [await freePort(), await freePort(), await freePort()];
        guide.folder = mkdtempSync(join(tmpdir(), 'bowline-guide-'));
        guide.commands = {};
        guide.children = {};
        const text = readFileSync(join(root, 'docs', name), 'utf8').replaceAll('localhost:3000', `localhost:${guide.appPort}`)
            .replaceAll('127.0.0.1:8787', `127.0.0.1:${guide.bowlinePort}`).replaceAll('3001', String(guide.innerPort));
        for (const [, info, body] of text.matchAll(/^```\w+ ([\w.-]+)\n([\s\S]*?)^```$/gm)) {
            if (info.includes('.')) {
                writeFileSync(join(guide.folder, info), body);
            } else {
                guide.commands[info] = body.trim();
            }
        }
        mkdirSync(join(guide.folder, 'bin'));
        symlinkSync(binary, join(guide.folder, 'bin/bowline'));
        symlinkSync('/usr/bin/python3', join(guide.folder, 'bin/python3'));     // the one that Debian's packages are for
        files.forEach((file) => cpSync(join(root, file), join(guide.folder, file.split('/').at(-1))));
        for (const [link, target] of Object.entries(folders)) {
            mkdirSync(dirname(join(guide.folder, link)), { recursive: true });
            symlinkSync(join(root, target), join(guide.folder, link));
        }
        return guide;
    }

    /** Starts the command of that name; as is the name it is known under here. */
    start(name, as = name, more = {}) {
        assert.ok(this.commands[name], `the guide has no command ${name}`);
        const child = spawn('bash', ['-euo', 'pipefail', '-c', this.commands[name]], {
            cwd: this.folder, detached: true, stdio: ['ignore', 'pipe', 'pipe'],
            env: cleanEnv({
                PATH: `${this.folder}/bin:${process.env.PATH}`, PORT: String(this.appPort), PYTHONDONTWRITEBYTECODE: '1', BOWLINE_LISTEN: `127.0.0.1:${this.bowlinePort}`,
                BOWLINE_URL: `http://127.0.0.1:${this.bowlinePort}`, BOWLINE_DRAIN_TIME: '0.1', ...more,
            }),
        });
        groups.add(child);
        child.text = '';
        child.stdout.on('data', (data) => (child.text += data));
        child.stderr.on('data', (data) => (child.text += data));
        child.ended = new Promise((done) => child.on('close', (code, signal) => {
            groups.delete(child);
            done({ code, signal });
        }));
        this.children[as] = child;
        return child;
    }

    async end(as, signal = 'SIGTERM') {
        assert.ok(this.children[as], as);
        endGroup(this.children[as], signal);
        return this.children[as].ended;
    }

    async ready(url, what) {
        await until(async () => (await fetch(url).catch(() => null))?.status < 500, `${what}: ${this.said()}`, 30000);
    }

    async serve(more) {
        this.start('server', 'server', more);
        this.server = { url: `http://127.0.0.1:${this.bowlinePort}` };
        await this.ready(`${this.server.url}/readyz`, 'the server');
        this.key = readFileSync(join(this.folder, 'bowline-data/api.key'), 'utf8').trim();
    }

    async api(method, path, body, token = this.key) {
        const answer = await fetch(this.server.url + path, {
            method, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: body && JSON.stringify(body),
        });
        const text = await answer.text();
        return { status: answer.status, json: text && JSON.parse(text) };
    }

    ended(id) {
        return until(async () => {
            const { json } = await this.api('GET', `/v1/tasks/${id}`);
            return json.ended_at && json;
        }, `the end of ${id}: ${this.said()}`, 30000);
    }

    said() {
        return Object.entries(this.children).map(([as, child]) => `\n== ${as}\n${child.text}`).join('');
    }

    async close() {
        for (const as of Object.keys(this.children).reverse()) {
            const end = await Promise.race([this.end(as), pause(10000, undefined, { ref: false })]);
            if (!end) {
                await this.end(as, 'SIGKILL');
            }
        }
        rmSync(this.folder, { recursive: true, force: true });
    }
}

// ---- the browser ----

export class Browser {
    constructor(url) {
        this.url = url;
        this.cookies = new Map();
    }

    header() {
        return [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    }

    /** A copy that will not see the cookies that come later. */
    twin() {
        const twin = new Browser(this.url);
        twin.cookies = new Map(this.cookies);
        return twin;
    }

    request(method, path, body) {
        return new Promise((done, fail) => {
            const headers = { cookie: this.header(), ...(method === 'GET' ? {} : { origin: this.url }) };
            const text = body && (body instanceof URLSearchParams ? body.toString() : JSON.stringify(body));
            if (body) {
                headers['content-type'] = body instanceof URLSearchParams ? 'application/x-www-form-urlencoded' : 'application/json';
                headers['content-length'] = Buffer.byteLength(text);
            }
            const call = http.request(this.url + path, { method, headers, agent: false }, (response) => {
                for (const line of response.headers['set-cookie'] ?? []) {
                    this.setCookie(line);
                }
                let all = '';
                response.setEncoding('utf8');
                response.on('data', (d) => (all += d));
                response.on('error', fail);
                response.on('end', () => done({ status: response.statusCode, headers: response.headers, text: all }));
            });
            call.on('error', fail);
            call.end(text);
        });
    }

    setCookie(line) {
        const [pair, ...attributes] = line.split(/; */);
        const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
        const has = (word) => attributes.some((a) => a.toLowerCase() === word);
        assert.ok(has('httponly') && (has('samesite=lax') || has('samesite=strict')) && has('path=/') || value === '', `a cookie that is not guarded: ${line}`);
        const gone = value === '' || value === 'deleted' || attributes.some((a) => /^max-age=0$/i.test(a) || (/^expires=/i.test(a) && new Date(a.slice(8)) < new Date()));
        if (gone) {
            this.cookies.delete(name);
        } else {
            this.cookies.set(name, value);
        }
    }

    post(path, form) {
        return this.request('POST', path, new URLSearchParams(form));
    }

    events(path = '/v1/session/events', withCookies = true) {
        return openEvents({ url: this.url }, path, { headers: withCookies ? { cookie: this.header() } : {} });
    }
}

/** What nginx.conf of the guide says: bowline's paths to bowline, the rest to the application. */
export function gateway(guide) {
    assert.match(readFileSync(join(guide.folder, 'nginx.conf'), 'utf8'), /location ~ \^\/v1\/\(session\|session\/\.\*\|tasks\/\.\*\)\$ \{/);
    const server = http.createServer((req, res) => {
        const port = /^\/v1\/(session|session\/.*|tasks\/.*)$/.test(req.url.split('?')[0]) ? guide.bowlinePort : guide.innerPort;
        const onward = http.request({ host: '127.0.0.1', port, path: req.url, method: req.method, headers: req.headers }, (answer) => {
            res.writeHead(answer.statusCode, answer.headers);
            res.flushHeaders();
            answer.pipe(res);
        });
        onward.on('error', () => (res.headersSent ? res.destroy() : res.writeHead(502).end()));
        res.on('close', () => onward.destroy());
        req.pipe(onward);
    });
    return new Promise((done) => server.listen(guide.appPort, 'localhost', () => done(server)));
}
