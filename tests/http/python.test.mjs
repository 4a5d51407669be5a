// The Python client's own tests, each of them counted here.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { binary, cleanEnv } from './lib/server.mjs';

const folder = join(resolve(dirname(fileURLToPath(import.meta.url)), '../..'), 'clients/python');

function unittest() {
    return new Promise((done, fail) => {
        const child = spawn('python3', ['-W', 'error::ResourceWarning', '-m', 'unittest', '-v', 'test_bowline'], {
            cwd: folder, env: cleanEnv({ BOWLINE_BIN: binary, PYTHONDONTWRITEBYTECODE: '1' }), stdio: ['ignore', 'ignore', 'pipe'],
        });
        let err = '';
        child.stderr.on('data', (d) => (err += d));
        child.on('error', fail);
        child.on('close', (code) => done({ code, err }));
    });
}

test('the Python client', async (t) => {
    const { code, err } = await unittest();
    const results = [...err.matchAll(/^(test_\w+) \(([\w.]+)\) \.\.\. ([\s\S]*?)(ok|FAIL|ERROR|skipped\b.*|expected failure|unexpected success)$/gm)];
    const ran = Number(/^Ran (\d+) tests? in/m.exec(err)?.[1] ?? 0);
    assert.ok(ran > 0, err);
    assert.equal(results.length, ran, err);
    for (const [, name, where, , outcome] of results) {
        const group = where.split('.')[1];
        await t.test(`${group}: ${name.slice(5).replaceAll('_', ' ')}`, () => assert.equal(outcome, 'ok', err.slice(err.indexOf('=====')).slice(0, 8000)));
    }
    assert.equal(code, 0, err);
});
