// The walk-through of the README, run line by line as it stands there.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from './lib/ports.mjs';
import { binary, cleanEnv } from './lib/server.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

const blocks = [...readme.matchAll(/<!-- walkthrough -->\n```sh\n([\s\S]*?)```/g)].map((match) => match[1]);

// All blocks in one bash, a line between what each of them prints.
function runBlocks(folder, port) {
    const script = blocks.map((block, at) => `echo; echo '=== ${at}'\n${block}`).join('\n');
    const child = spawn('bash', ['-euo', 'pipefail', '-c', `trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n${script}`], {
        cwd: folder,
        env: cleanEnv({ BASE: `http://127.0.0.1:${port}`, BOWLINE_LISTEN: `127.0.0.1:${port}`, BOWLINE_DRAIN_TIME: '0.1' }),
        stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (data) => (out += data));
    child.stderr.on('data', (data) => (err += data));
    const timer = setTimeout(() => child.kill('SIGTERM'), 60_000);
    return new Promise((done) => {
        child.on('close', (code) => {
            clearTimeout(timer);
            done({ code, err, printed: out.split(/^=== \d+\n/m).slice(1) });
        });
    });
}

test('the README\'s walk-through does what it says', async () => {
    assert.equal(blocks.length, 9);
    const folder = mkdtempSync(join(tmpdir(), 'bowline-readme-'));
    try {
        mkdirSync(join(folder, 'build'));
        symlinkSync(binary, join(folder, 'build/bowline'));
        const { code, err, printed } = await runBlocks(folder, await freePort());
        assert.equal(code, 0, err);
        const file = (name) => readFileSync(join(folder, name), 'utf8');
        assert.equal(JSON.parse(file('session.json')).state, 'active');
        const task = JSON.parse(file('task.json'));
        assert.equal(task.title, 'Q3 report');
        const answers = printed[4].trim().split('\n').map((line) => JSON.parse(line));
        assert.deepEqual(answers.map((answer) => answer.state), ['running', 'succeeded']);
        assert.equal(printed[5].trim(), '{"pages": 100, "file": "q3.pdf"}');
        assert.match(printed[6], /"status":404,.*"code":"not-found"/);
        const watched = printed[7];
        assert.match(watched, /"state":"running"/);
        assert.match(watched, /event: live/);
        assert.match(watched, /"ratio":0\.4\b/);
        assert.match(watched, /"result":\{"pages": 100, "file": "q3\.pdf"\}/);
        assert.match(watched, /event: session\ndata: \{"seq":\d+,"state":"ended","reason":"logout"\}/);
        assert.equal(printed[8].trim(), 'stopped');
    } finally {
        rmSync(folder, { recursive: true, force: true });
    }
});
