// The program as people meet it: help, bad starts, configuration, and the client commands against a real server.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pause, until } from './lib/client.mjs';
import { apiKey, binary, cleanEnv, run, Server, start } from './lib/server.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const SESSION = /ses_[0-9A-Z]{26}/;
const TASK = /tsk_[0-9A-Z]{26}/;

/** Like run, with standard input. */
function runWith(args, { env = {}, input } = {}) {
    return new Promise((done, fail) => {
        const child = spawn(binary, args, { env: cleanEnv(env), stdio: ['pipe', 'pipe', 'pipe'] });
        let out = '';
        let err = '';
        child.stdout.on('data', (d) => (out += d));
        child.stderr.on('data', (d) => (err += d));
        child.on('error', fail);
        child.on('close', (code, signal) => done({ code, signal, out, err }));
        child.stdin.on('error', () => {});
        child.stdin.end(input);
    });
}

function folder() {
    const path = mkdtempSync(join(tmpdir(), 'bowline-cli-'));
    after(() => rmSync(path, { recursive: true, force: true }));
    return path;
}

function expectFailure({ code, out, err }, wantedCode, ...patterns) {
    assert.equal(code, wantedCode, err);
    assert.equal(out, '');
    for (const pattern of patterns) {
        assert.match(err, pattern);
    }
}

/** The value of a row "name   value". */
const row = (out, name) => new RegExp(`^${name} +(.*)$`, 'm').exec(out)?.[1];

describe('help', () => {
    test('the main help names every command and exit code', async () => {
        const { code, out, err } = await run(['help']);
        assert.equal(code, 0);
        assert.equal(err, '');
        for (const word of ['serve', 'config', 'session', 'task', 'watch', 'version', 'Exit codes']) {
            assert.match(out, new RegExp(`\\b${word}\\b`));
        }
        assert.equal((await run(['--help'])).out, out);
        assert.equal((await run(['-h'])).out, out);
    });

    test('every command and action has help with an example', async () => {
        for (const command of ['serve', 'config', 'version', 'help', 'session', 'task', 'watch', 'run', 'work', 'report', 'top']) {
            const { code, out } = await run(['help', command]);
            assert.equal(code, 0, command);
            assert.match(out, new RegExp(`bowline ${command}`));
            assert.equal((await run([command, '--help'])).out, out, command);
        }
        for (const command of ['session', 'task']) {
            const { out } = await run(['help', command]);
            const actions = [...out.split('Actions:\n')[1].split('\n\n')[0].matchAll(/^ {2}([a-z]+)/gm)].map((m) => m[1]);
            assert.ok(actions.length >= 7);
            for (const action of actions) {
                const help = await run(['help', command, action]);
                assert.equal(help.code, 0, action);
                assert.match(help.out, /Examples:\n {2}/, action);
                assert.equal((await run([command, action, '--help'])).out, help.out);
            }
        }
    });

    test('the page of options in docs is what the program prints', async () => {
        const { code, out } = await run(['help', 'options', '--markdown']);
        assert.equal(code, 0);
        assert.equal(readFileSync(join(root, 'docs/options.md'), 'utf8'), out);
    });

    test('the exit codes in docs are those of the program', async () => {
        const { out } = await run(['help', 'exit']);
        const docs = readFileSync(join(root, 'docs/cli.md'), 'utf8');
        const rows = [...out.matchAll(/^ {2}(\d+) +(.+)$/gm)];
        assert.ok(rows.length >= 8);
        for (const [, code, text] of rows) {
            assert.ok(docs.includes(`| ${code} | ${text} |`), `${code} ${text}`);
        }
    });

    test('version', async () => {
        assert.match((await run(['version'])).out, /^bowline \d+\.\d+\.\d+\n$/);
        assert.match((await run(['--version'])).out, /^bowline \d+\.\d+\.\d+\n$/);
    });

    test('a typo is answered with the nearest name', async () => {
        expectFailure(await run(['serv']), 2, /did you mean "serve"/);
        expectFailure(await run(['task', 'strat']), 2, /did you mean "start"/);
        expectFailure(await run(['task', 'start', '--knid', 'x']), 2, /did you mean --kind/);
        expectFailure(await run(['task', 'report', 'tsk_X', 'progres', '1']), 2, /did you mean "progress"/);
        expectFailure(await run([]), 2, /bowline help/);
        expectFailure(await run(['help', 'nothing-like-it']), 2, /no command/);
    });
});

describe('configuration', () => {
    const value = (out, name) => out.split('\n').find((line) => new RegExp(`^${name}\\b`).test(line)) ?? '';

    test('flag before environment before file before default, and each is told', async () => {
        const file = join(folder(), 'bowline.conf');
        writeFileSync(file, '# comment\nidle_timeout = 60\nmax_age = 61\nkeepalive = 3\n');
        const { code, out } = await run(['config', '--config', file, '--idle-timeout', '10'], { env: { BOWLINE_IDLE_TIMEOUT: '11', BOWLINE_MAX_AGE: '12' } });
        assert.equal(code, 0);
        assert.match(value(out, 'idle_timeout'), /\b10\b.*flag/);
        assert.match(value(out, 'max_age'), /\b12\b.*env/);
        assert.match(value(out, 'keepalive'), /\b3\b.*(file|bowline\.conf)/);
        assert.match(value(out, 'cancel_grace'), /\b30\b.*default/);
    });

    test('what the client commands read from the environment is no option', async () => {
        const { code, err } = await run(['config'], { env: { BOWLINE_URL: 'http://x', BOWLINE_KEY: 'blk_x', BOWLINE_TOKEN: 'ses_x' } });
        assert.equal(code, 0, err);
    });

    test('secrets are not shown', async () => {
        const key = apiKey('hidden');
        const { out } = await run(['config', '--api-keys', `app:backend:${key}`, '--jwt-secrets', 'a-very-secret-secret-indeed-really']);
        assert.ok(!out.includes(key) && !out.includes('very-secret'));
    });

    test('a wrong option names the right one', async () => {
        for (const command of ['serve', 'config']) {
            expectFailure(await run([command, '--idle-timeot', '5']), 2, /idle-timeout/);
            expectFailure(await run([command, '--idle-timeout', 'soon']), 2, /idle-timeout/);
            expectFailure(await run([command, '--max-age=-1']), 2, /max-age/);
            expectFailure(await run([command, 'stray']), 2, /stray/);
        }
    });

    test('a wrong line of the file is named with its number', async () => {
        const file = join(folder(), 'bad.conf');
        writeFileSync(file, 'max_age = 5\n\nidle_timeuot = 60\n');
        expectFailure(await run(['serve', '--config', file]), 2, /bad\.conf:3/, /idle_timeout/);
        expectFailure(await run(['serve', '--config', join(folder(), 'none.conf')]), 2, /none\.conf/);
    });

    test('a wrong environment variable', async () => {
        expectFailure(await run(['serve'], { env: { BOWLINE_MAX_AGE: 'x' } }), 2, /BOWLINE_MAX_AGE/);
    });
});

describe('bad starts say what to do', () => {
    const serve = (data, ...more) => run(['serve', '--listen', '127.0.0.1:0', '--data', data, ...more]);

    test('networks that are none', async () => {
        const bad = ['foo', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/8x', '10.0.0/8', 'fd00::/129', '[fd00::1]', 'fd00::1%lo/64', '10.0.0.0/8/8', '/8', '10.0.0.0/8 fd00::/8', 'fd00::/8, 10.0.0.256'];
        for (const networks of bad) {
            expectFailure(await serve(join(folder(), 'd'), '--webhook-networks', networks), 2, /webhook.networks/);
        }
        const s = await start({ webhook_networks: '10.0.0.0/8, 192.168.1.7,fd00::/8 ,::1, 0.0.0.0/0,::/0, ::ffff:10.0.0.1/128,' });
        await s.close();
    });

    test('the port is taken', async () => {
        const other = createServer();
        await new Promise((done) => other.listen(0, '127.0.0.1', done));
        try {
            const at = `127.0.0.1:${other.address().port}`;
            expectFailure(await run(['serve', '--data', join(folder(), 'd'), '--listen', at]), 1, /taken/, /--listen/);
        } finally {
            other.close();
        }
    });

    test('the port is taken by a server of the same program', async () => {
        const s = await start();
        try {
            expectFailure(await run(['serve', '--data', join(folder(), 'd'), '--listen', s.host]), 1, /taken/, /--listen/);
        } finally {
            await s.close();
        }
    });

    test('the address is not ours', async () => {
        expectFailure(await run(['serve', '--data', join(folder(), 'd'), '--listen', '192.0.2.1:0']), 1, /not an address of this machine/, /--listen/);
    });

    test('the address is no address', async () => {
        for (const listen of ['nowhere', '127.0.0.1', '127.0.0.1:70000', '127.0.0.1:x', 'host.example:80', '::1:80', '']) {
            expectFailure(await run(['serve', '--data', join(folder(), 'd'), `--listen=${listen}`]), 2, /listen/, /127\.0\.0\.1/);
        }
    });

    test('the data folder is a file, or lies nowhere', async () => {
        const file = join(folder(), 'file');
        writeFileSync(file, '');
        expectFailure(await serve(file), 1, /not a folder/, /--data/);
        expectFailure(await serve(join(folder(), 'a/b/c')), 1, /does not exist/, /--data/);
        expectFailure(await serve(''), 1, /--data/);
    });

    test('the data folder is not writable', { skip: process.getuid() === 0 && !existsSync('/proc/self/attr') }, async () => {
        if (process.getuid() === 0) { // whom no mode keeps out: a folder of the system that cannot be written at all
            expectFailure(await serve('/proc/self/attr'), 1, /bowline serve: .+\n {2}.+/);
            return;
        }
        const data = folder();
        chmodSync(data, 0o500);
        expectFailure(await serve(data), 1, /not writable/, /--data/);
    });

    test('the store is something else', async () => {
        const data = folder();
        writeFileSync(join(data, 'bowline.db'), 'this is certainly no database\n'.repeat(100));
        expectFailure(await serve(data), 1, /bowline\.db|database/, /--data/);
        assert.match(readFileSync(join(data, 'bowline.db'), 'utf8'), /certainly/);
    });

    test('the store is of a newer version', async () => {
        const s = await start({ data: folder() });
        await s.stop();
        const path = join(s.data, 'bowline.db');
        const bytes = readFileSync(path);
        bytes.writeUInt32BE(999, 60); /* user_version in the header of a SQLite file */
        writeFileSync(path, bytes);
        expectFailure(await serve(s.data), 1, /newer version/, /--data/);
        assert.deepEqual(readFileSync(path), bytes);
    });

    test('the store is another server\'s', async () => {
        const s = await start();
        try {
            expectFailure(await serve(s.data), 1, /--data/);
        } finally {
            await s.close();
        }
    });

    test('the secret or the API key is none', async () => {
        for (const [name, text] of [['secret', 'short\n'], ['secret', ''], ['api.key', 'nonsense\n'], ['api.key', 'blk_a\nblk_b\n'], ['api.key', '']]) {
            const data = folder();
            writeFileSync(join(data, name), text, { mode: 0o600 });
            expectFailure(await serve(data), 1, new RegExp(name.replace('.', '\\.')));
            assert.equal(readFileSync(join(data, name), 'utf8'), text);
        }
        const data = folder();
        mkdirSync(join(data, 'api.key'));
        expectFailure(await serve(data), 1, /api\.key/);
    });

    test('an option is wrong', async () => {
        expectFailure(await serve(join(folder(), 'd'), '--api-keys', 'nonsense'), 2, /api_keys|api-keys/);
        expectFailure(await serve(join(folder(), 'd'), '--allowed-origins', '*'), 2, /allowed/);
        expectFailure(await serve(join(folder(), 'd'), '--session-kinds', '{'), 2, /session/);
        expectFailure(await serve(join(folder(), 'd'), '--log-level', 'loud'), 2, /log.level/);
    });
});

describe('serving', () => {
    test('the first start makes private files, a later one keeps them', async () => {
        const data = join(folder(), 'data');
        const s = new Server({ data });
        const began = Date.now();
        await s.start();
        assert.ok(Date.now() - began < 15000);
        try {
            assert.match(s.out, /^bowline \d+\.\d+\.\d+ listening on http:\/\/127\.0\.0\.1:\d+\n$/);
            assert.equal(statSync(data).mode & 0o777, 0o700);
            const files = ['api.key', 'secret'].map((name) => {
                assert.equal(statSync(join(data, name)).mode & 0o777, 0o600);
                return readFileSync(join(data, name), 'utf8');
            });
            assert.match(files[0], /^blk_[A-Za-z0-9_-]{43}\n$/);
            assert.match(files[1], /^[0-9a-f]{64}\n$/);
            assert.equal((await s.stop()).code, 0);
            await s.restart();
            assert.deepEqual(['api.key', 'secret'].map((name) => readFileSync(join(data, name), 'utf8')), files);
        } finally {
            await s.close();
        }
    });

    test('SIGTERM drains and exits with 0, also with streams open and requests waiting', async () => {
        const s = await start({ drain_time: 0.3 });
        const app = s.api();
        const session = await app.session();
        const task = await app.task(session);
        const stream = run(['watch', '--token', session.token, '--url', s.url, '--json', '--timeout', '5']);
        await app.watchers(1);
        const [waiting] = await app.begun(() => app.get(`/v1/tasks/${task.id}`, { prefer: 'wait=20', 'if-none-match': `"${task.version}"` }).catch((error) => error));
        const end = await s.stop();
        assert.deepEqual(end, { code: 0, signal: null });
        await waiting;
        assert.equal((await stream).code, 6);
        await s.close();
    });

    test('a second signal stops at once', async () => {
        const s = await start({ drain_time: 60 });
        const session = await s.api().session();
        const stream = run(['watch', '--token', session.token, '--url', s.url, '--json', '--timeout', '5']);
        await s.api().watchers(1);
        s.child.kill('SIGTERM');
        await until(async () => (await s.api(null).get('/readyz').catch(() => ({ status: 503 }))).status === 503, 'draining');
        s.child.kill('SIGTERM');
        assert.equal((await s.exited).code, 130);
        await stream;
        await s.close();
    });

    test('SIGHUP changes nothing', async () => {
        const s = await start();
        s.child.kill('SIGHUP');
        await pause(100);
        assert.equal((await s.api(null).get('/healthz')).status, 200);
        await s.close();
    });

    test('several loops serve as one', async () => {
        const s = await start({ loops: 3 });
        const sessions = await Promise.all(Array.from({ length: 20 }, () => s.api().session()));
        assert.equal(new Set(sessions.map((one) => one.id)).size, 20);
        const { text } = await s.api().get('/metrics');
        assert.match(text, /^bowline_http_requests_total \d+$/m);
        assert.match(text, /^process_open_fds \d+$/m);
        assert.ok(text.endsWith('# EOF\n'));
        assert.equal(text.match(/# EOF/g).length, 1);
        await s.close();
    });
});

describe('client commands', () => {
    let s;
    let env;
    const cli = (...args) => run(args, { env });
    const as = (token, ...args) => run(args, { env: { BOWLINE_URL: s.url, BOWLINE_TOKEN: token } });

    async function good(promise) {
        const end = await promise;
        assert.equal(end.code, 0, end.err);
        return end.out;
    }
    /** Starts so many watchers and waits until they are there, and nobody else; what fn gave comes in a list. */
    async function watched(fn, count = 1) {
        await s.api().watchers(0);
        const watching = fn();
        await s.api().watchers(count);
        return [watching];
    }
    const made = async (...args) => JSON.parse(await good(cli('session', 'create', '--json', ...args)));
    const started = async (session, ...args) => JSON.parse(await good(cli('task', 'start', '--json', '--kind', 'work', '--session', session.id, ...args)));

    before(async () => {
        s = await start();
        env = { BOWLINE_URL: s.url, BOWLINE_KEY: s.key };
    });
    after(() => s.close());

    test('nobody there, no credential, a wrong one', async () => {
        expectFailure(await run(['session', 'list', '--url', 'http://127.0.0.1:1']), 7, /does not answer/, /bowline serve/);
        expectFailure(await run(['session', 'list', '--url', s.url]), 3, /401/, /BOWLINE_KEY/);
        expectFailure(await run(['session', 'list', '--url', s.url, '--key', apiKey('x')]), 3, /401/);
        expectFailure(await run(['session', 'list', '--url', 'ftp://x']), 2, /http/);
        expectFailure(await run(['session', 'list', '--key', 'a', '--key-file', 'b']), 2, /one of them/);
        expectFailure(await run(['session', 'list', '--key-file', '/does/not/exist']), 2, /exist/);
        assert.equal((await run(['session', 'list', '--url', `${s.url}/`, '--key-file', join(s.data, 'api.key')])).code, 0);
    });

    test('a URL that is none of a server: what is wrong with it, and what it should be', async () => {
        const host = s.url.slice('http://'.length);
        const cases = [
            [`${s.url}/v1`, new RegExp(`/v1 that every request begins with itself; without it: ${s.url}\n`)],
            [`${s.url}/v1/`, new RegExp(`without it: ${s.url}\n`)],
            [`${s.url}/v1/tasks`, new RegExp(`without it: ${s.url}\n`)],
            [`${s.url}/bowline/v1`, new RegExp(`without it: ${s.url}/bowline\n`)],
            [`${s.url}?a=b`, /query/],
            [`${s.url}/#a`, /query or fragment/],
            [`http://name:word@${host}`, /user name or password.*--key-file/],
            [`name:word@${host}`, /no scheme/],
            [host, new RegExp(`no scheme.*such as http://${host}`)],
            ['example.com', /such as http:\/\/example.com/],
            ['/v1', /no scheme/],
            ['ws://example.com', /not with ws:\/\//],
            ['http://', /no host/],
            ['http:///', /no host/],
            ['http://:8787', /no host/],
            ['http://example.com:99999', /[Pp]ort/],
            ['http://exa mple.com', /character/],
            ['http://ex\u00e4mple.com', /character/],
        ];
        for (const [url, wrong] of cases) {
            const flag = await run(['session', 'list', '--url', url, '--key', s.key]);
            expectFailure(flag, 2, /--url is not the URL of a server/, wrong);
            const variable = await run(['session', 'list', '--key', s.key], { env: { BOWLINE_URL: url } });
            expectFailure(variable, 2, /BOWLINE_URL is not the URL of a server/, wrong);
            assert.doesNotMatch(flag.err + variable.err, /word@/, 'no password is repeated');
        }
        expectFailure(await run(['session', 'list', '--url', '', '--key', s.key]), 2, /empty/);
        expectFailure(await run(['session', 'list', '--url', `${s.url}/elsewhere`, '--key', s.key]), 3, /404/, /the path \/elsewhere/);
        for (const good of [` ${s.url}\n`, `${s.url}//`, s.url.replace('http', 'HTTP')]) {
            assert.equal((await run(['session', 'list', '--url', good, '--key', s.key])).code, 0, good);
        }
    });

    test('the life of a session', async () => {
        const out = await good(cli('session', 'create', '--session-key', 'framework-1', '--user', 'u-1', '--idle-timeout', '60', '--metadata', '{"a": [1]}'));
        const id = row(out, 'session');
        const token = row(out, 'token');
        assert.match(id, SESSION);
        assert.ok(token.startsWith(`${id}.g1.`));
        assert.equal(row(await good(cli('session', 'create', '--session-key', 'framework-1')), 'session'), id);
        const shown = JSON.parse(await good(cli('session', 'show', id, '--json')));
        assert.equal(shown.user, 'u-1');
        assert.equal(shown.idle_timeout, 60);
        assert.deepEqual(shown.metadata, { a: [1] });
        const text = await good(as(token, 'session', 'show'));
        assert.equal(row(text, 'state'), 'active');
        assert.equal(row(text, 'token'), undefined);
        assert.match(await good(cli('session', 'list', '--user', 'u-1')), SESSION);
        assert.equal(row(await good(cli('session', 'touch', id)), 'session'), id);
        const rotated = row(await good(cli('session', 'rotate', id, '--session-key', 'framework-2')), 'token');
        assert.ok(rotated.startsWith(`${id}.g2.`));
        expectFailure(await as(token, 'session', 'show'), 3, /401/);
        const other = await made('--user', 'u-1');
        assert.equal(JSON.parse(await good(cli('session', 'merge', id, '--into', other.id, '--json'))).id, other.id);
        assert.equal(row(await good(cli('session', 'show', id)), 'reason'), 'merged');
        assert.equal(row(await good(as(other.token, 'session', 'end')), 'state'), 'ended');
        expectFailure(await cli('session', 'show', `ses_${'0'.repeat(26)}`), 3, /404 not-found/);
        expectFailure(await cli('session', 'show'), 2, /which session/);
        expectFailure(await cli('session', 'create', '--idle-timeout', 'x'), 2, /number/);
        expectFailure(await cli('session', 'create', '--metadata', '{'), 2, /JSON/);
        expectFailure(await cli('session', 'create', '--idle-timeout', '-5'), 3, /400/, /idle_timeout/);
    });

    test('an Idempotency-Key gives the same answer', async () => {
        const a = await made('--idempotency-key', 'one');
        assert.equal((await made('--idempotency-key', 'one')).id, a.id);
    });

    test('the life of a task with a worker of its own', async () => {
        const session = await made();
        const out = await good(cli('task', 'start', '--session', session.id, '--kind', 'report', '--title', 'Q3', '--input', '{"year":  2026}'));
        const id = row(out, 'task');
        const watch = row(out, 'watch token');
        const worker = row(out, 'worker token');
        assert.match(id, TASK);
        assert.ok(watch.startsWith(`${id}.w`) && worker.startsWith(`${id}.x`));
        assert.equal(await good(as(worker, 'task', 'input')), '{"year":  2026}\n');
        assert.equal(row(await good(as(worker, 'task', 'report', 'progress', '40/100', '--unit', 'pages', '--message', 'rendering')), 'state'), 'running');
        assert.match(row(await good(cli('task', 'show', id)), 'progress'), /^40 \/ 100 pages \(40 %\)/);
        for (const [text, percent] of [['29/100', 29], ['57/100', 57], ['999/1000', 99], ['999999999999/1000000000000', 99], ['100/100', 100]]) {
            await good(as(worker, 'task', 'report', 'progress', text));
            assert.ok(row(await good(cli('task', 'show', id)), 'progress').includes(`(${percent} %)`), text);
        }
        await good(as(worker, 'task', 'report', id, 'heartbeat'));
        await good(as(worker, 'task', 'report', 'output', 'hello '));
        await good(runWith(['task', 'report', 'output', '-'], { env: { BOWLINE_URL: s.url, BOWLINE_TOKEN: worker }, input: Buffer.from('wörld\n\xff', 'utf8') }));
        assert.equal(await good(as(watch, 'task', 'output')), 'hello wörld\nÿ');
        assert.equal(await good(as(watch, 'task', 'output', '--offset', '6')), 'wörld\nÿ');
        expectFailure(await as(watch, 'task', 'result'), 3, /not finished/);
        expectFailure(await as(watch, 'task', 'wait', '--timeout', '0.2'), 6, /time is up/);
        await good(as(worker, 'task', 'report', 'ask', 'Overwrite?', '--schema', '{"type": "boolean"}'));
        assert.match(await good(as(watch, 'task', 'show')), /Overwrite\?/);
        assert.equal(row(await good(as(watch, 'task', 'answer', 'true')), 'state'), 'running');
        expectFailure(await as(watch, 'task', 'answer', 'true'), 3, /asks nothing/);
        assert.equal(row(await good(as(worker, 'task', 'report', 'heartbeat')), 'answer'), 'true');
        const waiting = as(watch, 'task', 'wait', '--timeout', '20');
        await good(as(worker, 'task', 'report', 'succeed', '{"pages":   12}'));
        assert.equal(await good(waiting), '{"pages":   12}\n');
        assert.equal(await good(cli('task', 'result', id)), '{"pages":   12}\n');
        assert.equal(row(await good(as(watch, 'task', 'seen')), 'state'), 'succeeded');
        expectFailure(await as(worker, 'task', 'report', 'progress', '1'), 3, /409/);
        await good(cli('task', 'delete', id));
        expectFailure(await cli('task', 'show', id), 3, /410 gone/);
    });

    test('bytes that are no text arrive as they are', async () => {
        const session = await made();
        const task = await started(session);
        const bytes = Buffer.from([0xff, 0xfe, 0, 10, 0xc3]);
        await good(runWith(['task', 'report', 'output', '-', '--token', task.worker_token], { env: { BOWLINE_URL: s.url }, input: bytes }));
        const { bytes: got } = await s.api().get(`/v1/tasks/${task.id}/output`);
        assert.deepEqual(got, bytes);
    });

    test('a wait ends as the task ends', async () => {
        const session = await made();
        const failing = await started(session);
        await good(as(failing.worker_token, 'task', 'report', 'fail', 'disk-full', 'no space', '--detail', '{"left": 0}'));
        expectFailure(await cli('task', 'wait', failing.id), 4, /disk-full: no space/);
        expectFailure(await cli('task', 'result', failing.id), 4, /task-failed/);
        const cancelled = await started(session);
        await good(cli('task', 'cancel', cancelled.id, '--reason', 'not needed'));
        expectFailure(await cli('task', 'wait', cancelled.id), 5, /not needed/);
        const big = await started(session);
        const text = JSON.stringify('x'.repeat(40000));
        await good(runWith(['task', 'report', 'succeed', '-', '--token', big.worker_token], { env: { BOWLINE_URL: s.url }, input: text }));
        assert.equal(await good(cli('task', 'wait', big.id)), `${text}\n`);
        const nothing = await started(session);
        await good(as(nothing.worker_token, 'task', 'report', 'succeed'));
        assert.equal(await good(cli('task', 'wait', nothing.id)), 'null\n');
    });

    test('queues: claim, release, cancel seen by the worker', async () => {
        const session = await made();
        expectFailure(await cli('task', 'claim', 'cli-empty'), 6, /no task/);
        const [waiting] = await s.api().begun(() => cli('task', 'claim', 'cli-q', '--wait', '20', '--json'));
        const out = await good(cli('task', 'start', '--session-key', 'framework-q', '--user', 'u-q', '--kind', 'work', '--queue', 'cli-q', '--input', '[1]'));
        assert.equal(row(out, 'worker token'), undefined);
        const [claimed] = JSON.parse(await good(waiting)).tasks;
        assert.equal(claimed.id, row(out, 'task'));
        assert.deepEqual(claimed.input, [1]);
        await good(cli('task', 'release', 'cli-q', claimed.worker_token));
        const again = await good(cli('task', 'claim', 'cli-q', '--worker', 'w1'));
        assert.equal(row(again, 'input'), '[1]');
        const token = row(again, 'worker token');
        await good(as(token, 'task', 'report', 'progress', '1'));
        assert.equal(row(await good(cli('task', 'cancel', claimed.id)), 'cancelling'), 'yes');
        assert.match(await good(as(token, 'task', 'report', 'heartbeat')), /cancelling +yes/);
        assert.equal(row(await good(as(token, 'task', 'report', 'cancelled')), 'state'), 'cancelled');
        assert.match(await good(cli('task', 'list', '--queue', 'cli-q')), TASK);
        expectFailure(await cli('task', 'bind', claimed.id, '--session', session.id), 3, /user-mismatch/);
        const other = await made('--user', 'u-q');
        const bound = await good(cli('task', 'bind', claimed.id, '--session', other.id));
        assert.equal(row(bound, 'session'), other.id);
        assert.equal((await good(cli('task', 'token', claimed.id))).trim(), row(bound, 'watch token'));
        assert.match(await good(as(other.token, 'task', 'list')), new RegExp(claimed.id));
    });

    test('wrong usage is told before anything is sent', async () => {
        const cases = [
            [['task', 'start', '--session', 'ses_X'], /--kind/],
            [['task', 'start', '--kind', 'work'], /which session/],
            [['task', 'start', '--kind', 'work', '--session', 'a', '--session-key', 'b'], /one of them/],
            [['task', 'start', '--kind', 'work', '--session', 'a', '--input', 'nonsense'], /not JSON/],
            [['task', 'start', '--kind', 'work', '--session', 'a', '--input', '@/does/not/exist'], /exist/],
            [['task', 'start', '--kind', 'work', '--kind', 'work'], /twice/],
            [['task', 'show'], /which task/],
            [['task', 'show', 'tsk_A', 'more'], /too many/],
            [['task', 'report', 'tsk_A', 'progress', '1/x'], /progress/],
            [['task', 'report', 'tsk_A', 'fail', 'x'], /fail TYPE MESSAGE/],
            [['task', 'release', 'q'], /QUEUE TOKEN/],
            [['task', 'bind', 'tsk_A'], /which session/],
            [['session', 'merge', 'ses_A'], /--into/],
            [['session', 'list', '-l'], /two dashes/],
            [['session', 'list', '--limit'], /wants a value/],
            [['session', 'list', '--json=1'], /no value/],
            [['watch', 'nonsense'], /neither/],
            [['watch'], /token/],
        ];
        for (const [args, pattern] of cases) {
            expectFailure(await cli(...args), 2, pattern);
        }
    });

    test('watching a session until it is idle', async () => {
        const session = await made();
        const first = await started(session, '--title', 'First');
        const second = await started(session);
        const [watching] = await watched(() => as(session.token, 'watch', '--until-idle', '--timeout', '20'));
        await good(as(first.worker_token, 'task', 'report', 'progress', '1/4', '--message', 'begun'));
        await good(as(first.worker_token, 'task', 'report', 'succeed'));
        await good(as(second.worker_token, 'task', 'report', 'fail', 'broken', 'it \u001b[31mbroke'));
        const out = await good(watching);
        assert.match(out, new RegExp(`${first.id} succeeded First`));
        assert.match(out, new RegExp(`${second.id} failed work.*: broken: it  \\[31mbroke`));
        assert.ok(!out.includes('\u001b'));
        assert.equal((await as(session.token, 'watch', '--until-idle', '--json')).out.trim().split('\n').map((line) => JSON.parse(line)).length, 3);
    });

    test('watching one task ends as the task does', async () => {
        const session = await made();
        const task = await started(session);
        const [[watching, byKey]] = await watched(() => [as(task.token, 'watch', '--output', '--timeout', '20'), cli('watch', task.id, '--json', '--timeout', '20')], 2);
        await good(as(task.worker_token, 'task', 'report', 'output', 'line one\n'));
        await good(as(task.worker_token, 'task', 'report', 'fail', 'broken', 'no'));
        const end = await watching;
        assert.equal(end.code, 4);
        assert.match(end.out, /\| line one\n/);
        const json = await byKey;
        assert.equal(json.code, 4);
        assert.ok(json.out.trim().split('\n').every((line) => typeof JSON.parse(line) === 'object'));
        assert.equal((await cli('watch', task.id)).code, 4); /* a feed read afresh ends in the same way */
    });

    test('a watcher too many is told why it waits', async () => {
        const session = await made();
        const all = await Promise.all(Array.from({ length: 64 }, () => s.api(session.token).events('/v1/session/events')));
        await Promise.all(all.map((e) => e.live()));
        const end = await as(session.token, 'watch', '--timeout', '1');
        assert.equal(end.code, 6);
        assert.match(end.out, /as many watchers as it may have; trying again later/);
        all.forEach((e) => e.close());
    });

    test('a session\'s end ends its watchers', async () => {
        const session = await made();
        const [watching] = await watched(() => cli('watch', session.id, '--timeout', '20'));
        await good(cli('session', 'end', session.id));
        const end = await watching;
        assert.equal(end.code, 0);
        assert.match(end.out, /the session was ended: logout/);
        assert.equal((await as(session.token, 'watch', '--timeout', '5')).code, 0);
        const other = await made();
        const [rotated] = await watched(() => as(other.token, 'watch', '--timeout', '20'));
        await good(cli('session', 'rotate', other.id));
        assert.equal((await rotated).code, 3);
    });

    test('a watcher and a waiter outlive a restart of the server', async () => {
        const own = await start();
        const ownEnv = { BOWLINE_URL: own.url, BOWLINE_KEY: own.key };
        const session = await own.api().session();
        const task = await own.api().task(session, { lease: 0 });
        await own.api().reported(task, { type: 'progress', current: 1 });
        const watching = run(['watch', session.id, '--until-idle', '--timeout', '30'], { env: ownEnv, timeoutMs: 40000 });
        await own.api().watchers(1);
        const [waiting] = await own.api().begun(() => run(['task', 'wait', task.id, '--timeout', '30'], { env: ownEnv, timeoutMs: 40000 }));
        await own.stop();
        await own.restart();
        await own.api().reported(task, { type: 'succeed', result: { ok: true } });
        assert.equal((await waiting).out, '{"ok":true}\n');
        const end = await watching;
        assert.equal(end.code, 0, end.err);
        assert.match(end.out, new RegExp(`${task.id} succeeded`));
        await own.close();
    });
});
