// What docs/operations.md tells people to do.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ok, problem } from './lib/client.mjs';
import { start } from './lib/server.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const doc = readFileSync(join(root, 'docs/operations.md'), 'utf8');

async function withServer(run) {
    const s = await start();
    try {
        await run(s);
    } finally {
        await s.close();
    }
}

test('every metric that is named is there', () => withServer(async (s) => {
    const given = ok(await s.api().get('/metrics'), 200).text;
    const named = [...new Set(doc.match(/\b(?:bowline|process)_[a-z_]+\b/g))];
    assert.ok(named.length > 10);
    for (const name of named) {
        assert.match(given, new RegExp(`^${name}(\\{| )`, 'm'), name);
    }
}));

test('every option that the table names is one', () => {
    const table = /## Options that matter\n([\s\S]*?)\n## /.exec(doc)[1];
    const options = readFileSync(join(root, 'docs/options.md'), 'utf8');
    const named = [...table.matchAll(/^\| (`[^|]*`) \|/gm)].flatMap(([, cell]) => cell.match(/[a-z_]+/g));
    assert.ok(named.length > 8);
    for (const name of named) {
        assert.ok(options.includes(`\n| \`${name}\` |`), name);
    }
});

test('a new line above the old secret signs, and what the old one signed goes on counting', () => withServer(async (s) => {
    const before = await s.api().session({ key: 'kept', user: 'ann' });
    const task = await s.api().task(before, { queue: 'q' });
    const [claimed] = await s.api().claimed('q');
    await s.stop();
    const file = join(s.data, 'secret');
    const old = readFileSync(file, 'utf8');
    writeFileSync(file, `${randomBytes(32).toString('hex')}\n${old}`);
    await s.restart();
    const found = ok(await s.api().post('/v1/sessions', { key: 'kept' }), 200).json;
    assert.equal(found.id, before.id);
    assert.notEqual(found.token, before.token);
    for (const token of [before.token, found.token]) {
        ok(await s.api(token).get('/v1/session'), 200);
    }
    ok(await s.api(task.token).get(`/v1/tasks/${task.id}`), 200);
    ok(await s.api().report(claimed, { type: 'heartbeat' }), 200);

    const fresh = await s.api().session({ key: 'fresh' });
    await s.stop();
    writeFileSync(file, readFileSync(file, 'utf8').split('\n')[0] + '\n');
    await s.restart();
    ok(await s.api(fresh.token).get('/v1/session'), 200);
    problem(await s.api(before.token).get('/v1/session'), 'unauthenticated');
}));

test('after the only secret was replaced no token counts, and results stay with the application', () => withServer(async (s) => {
    const before = await s.api().session({ key: 'seen' });
    const done = await s.api().task(before);
    await s.api().reported(done, { type: 'succeed', result: [1] });
    await s.api().task(before, { queue: 'q' });
    const [running] = await s.api().claimed('q');
    await s.stop();
    writeFileSync(join(s.data, 'secret'), `${randomBytes(32).toString('hex')}\n`);
    await s.restart();
    problem(await s.api(before.token).get('/v1/session'), 'unauthenticated');
    problem(await s.api(done.token).get(`/v1/tasks/${done.id}`), 'unauthenticated');
    problem(await s.api().report(running, { type: 'heartbeat' }), 'unauthenticated');
    assert.notEqual(ok(await s.api().post('/v1/sessions', { key: 'seen' }), 201).json.id, before.id);
    assert.deepEqual(ok(await s.api().get(`/v1/tasks/${done.id}/result`), 200).json, [1]);
}));

test('the guides pass the same paths on as the configurations for proxies', () => {
    const pages = ['proxies.md', 'guide-integration.md', 'guide-express.md', 'guide-flask.md', 'guide-php.md', 'guide-c.md'];
    for (const page of pages) {
        const locations = readFileSync(join(root, 'docs', page), 'utf8').match(/location ~ .*/g) ?? [];
        assert.deepEqual([...new Set(locations)], ['location ~ ^/v1/(session|session/.*|tasks/.*)$ {'], page);
    }
});
