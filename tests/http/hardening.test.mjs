// What the server refuses to begin with, since somebody else could know or have made it, and what it keeps to itself of its secrets.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { until } from './lib/client.mjs';
import { apiKey, binary, cleanEnv, run, start } from './lib/server.mjs';

const top = mkdtempSync(join(tmpdir(), 'bowline-hard-'));
after(() => rmSync(top, { recursive: true, force: true }));
let folders = 0;
const folder = () => join(top, `d${folders++}`);
const serve = (data, ...more) => run(['serve', '--data', data, '--listen', '127.0.0.1:0', ...more], { timeoutMs: 5000 });
const root = process.getuid() === 0;
const NOBODY = 65534;

function refused({ code, out, err }, ...wants) {
    assert.ok(code === 1 || code === 2, `exit code ${code}: ${err}`);
    assert.doesNotMatch(out, /listening/);
    for (const want of wants) assert.match(err, want);
}

describe('keys that can be guessed', () => {
    const key = (length) => `blk_${'k'.repeat(length)}`;

    test('a JWT secret of fewer than 32 bytes', async () => {
        for (const secrets of ['s', 'x'.repeat(31), `${'x'.repeat(32)},kid:${'y'.repeat(31)}`]) {
            refused(await serve(folder(), '--jwt-secrets', secrets), /jwt_secrets/, /32/, /urandom/);
        }
        refused(await serve(folder(), '--jwt-secrets', `${'x'.repeat(32)},kid:${'y'.repeat(31)}`), /the 2\. one has 31 bytes/);
        await (await start({ jwt_secrets: `${'x'.repeat(32)},kid:${'y'.repeat(32)}` })).close();
    });

    test('an API key that is not of the documented form', async () => {
        for (const bad of ['blk_x', key(31), key(251), `blk_${'k'.repeat(31)}.`, `blk_${'k'.repeat(31)}ü`]) {
            const answer = await serve(folder(), '--api-keys', `a:backend:${bad}`);
            refused(answer, /api_keys/, /urandom/);
            assert.ok(!answer.err.includes(bad), 'the key is not shown');
        }
        for (const good of [key(32), key(250)]) await (await start({ api_keys: `a:backend:${good}` })).close();
    });

    test('two API keys of one name', async () => {
        refused(await serve(folder(), '--api-keys', `a:backend:${apiKey('1')},a:worker:${apiKey('2')}`), /two keys have the name a/);
        refused(await serve(folder(), '--api-keys', `default:backend:${apiKey('1')}`), /default/, /api\.key/);
    });
});

describe('a data folder in which others may have been', () => {
    test('the folder may be written to by others', async () => {
        for (const mode of [0o777, 0o770, 0o702, 0o1777]) {
            const data = folder();
            mkdirSync(data);
            writeFileSync(join(data, 'api.key'), `${apiKey('theirs')}\n`, { mode: 0o600 });
            chmodSync(data, mode);
            refused(await serve(data), /may be written to by others/, /chmod/);
            assert.deepEqual(readdirSync(data), ['api.key'], 'nothing was made in it');
        }
    });

    test('a file of it may be written to by others', async () => {
        for (const name of ['secret', 'api.key']) {
            const data = folder();
            await (await start({ data })).stop();
            chmodSync(join(data, name), 0o620);
            refused(await serve(data), new RegExp(name.replace('.', '\\.')), /may be written to by others/);
        }
    });

    test('one that others may read is taken', async () => {
        const data = folder();
        mkdirSync(data);
        chmodSync(data, 0o755);
        await (await start({ data })).stop();
    });

    test('the folder or a file of it is another user\'s', { skip: !root && 'only root can give files away' }, async () => {
        const data = folder();
        mkdirSync(data, { mode: 0o700 });
        chownSync(data, NOBODY, NOBODY);
        refused(await serve(data), /belongs to user 65534/, /chown/);
        for (const name of ['secret', 'api.key']) {
            const other = folder();
            await (await start({ data: other })).stop();
            chownSync(join(other, name), NOBODY, NOBODY);
            refused(await serve(other), /belongs to user 65534/);
        }
    });
});

describe('secrets in the memory of the server', () => {
    const SECRET = 'a-secret-that-nobody-should-find-anywhere';

    test('they are locked, left out of dumps, and no longer in the environment', async () => {
        const data = folder();
        const child = spawn(binary, ['serve', '--data', data, '--listen', '127.0.0.1:0'], { env: cleanEnv({ BOWLINE_JWT_SECRETS: SECRET, BOWLINE_LOG_LEVEL: 'warn' }), stdio: ['ignore', 'pipe', 'inherit'] });
        const ended = new Promise((done) => child.once('exit', done));
        let out = '';
        child.stdout.on('data', (d) => (out += d));
        await until(() => out.includes('listening'), 'the server');
        const environment = readFileSync(`/proc/${child.pid}/environ`, 'latin1');
        const flags = readFileSync(`/proc/${child.pid}/smaps`, 'latin1').split('\n').filter((line) => line.startsWith('VmFlags:') && / dd( |$)/.test(line) && / lo( |$)/.test(line));
        child.kill('SIGTERM');
        await ended;
        assert.ok(environment.includes('BOWLINE_LOG_LEVEL=warn'));
        assert.ok(!environment.includes(SECRET));
        assert.ok(flags.length > 0, 'there is locked memory that is left out of dumps');
    });

    test('there is no core dump', async () => {
        const data = folder();
        const there = mkdtempSync(join(top, 'core-'));
        const child = spawn('sh', ['-c', 'ulimit -c unlimited; exec "$0" "$@"', binary, 'serve', '--data', data, '--listen', '127.0.0.1:0'], { cwd: there, env: cleanEnv(), stdio: ['ignore', 'pipe', 'ignore'] });
        const ended = new Promise((done) => child.once('exit', (code, signal) => done(signal)));
        let out = '';
        child.stdout.on('data', (d) => (out += d));
        await until(() => out.includes('listening'), 'the server');
        child.kill('SIGSEGV');
        assert.equal(await ended, 'SIGSEGV');
        assert.deepEqual(readdirSync(there), []);
    });
});
