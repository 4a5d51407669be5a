// A backup beside a server under load, and what a restore gives back.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkTask, ok, problem } from './lib/client.mjs';
import { claims, hs256, nowS } from './lib/jwt.mjs';
import { run, Server, start } from './lib/server.mjs';

const folder = mkdtempSync(join(tmpdir(), 'bowline-backup-'));
const file = join(folder, 'backup.db');
const restored = join(folder, 'restored');
const secret = 'a-secret-of-the-application-that-is-long-enough';
const before_backup = {};
let server;
let second;

const backup = (to, data = server.data) => run(['backup', '--data', data, '--to', to], { timeoutMs: 60000 });
const restore = (from, data) => run(['restore', `--from=${from}`, `--data=${data}`], { timeoutMs: 60000 });

before(async () => {
    server = await start({ jwt_secrets: secret });
    const api = server.api();
    const session = await api.session({ key: 'key-1', user: 'u-1' });
    const done = await api.task(session, { title: 'Finished', input: { a: [1, 2] } });
    await api.reported(done, [{ type: 'output', data: 'line\n' }, { type: 'succeed', result: { n: 1.50 } }]);
    const running = await api.task(session, { title: 'Running', queue: 'jobs', max_attempts: 3, lease: 3600 });
    const [claimed] = await api.claimed('jobs');
    await api.reported(claimed, [{ type: 'progress', current: 1, total: 4 }, { type: 'output', data: 'so far\n' }], claimed.worker_token); // output, so that it is stored
    const deleted = await api.task(session, { title: 'Deleted' });
    await api.reported(deleted, { type: 'succeed' });
    ok(await api.delete(`/v1/tasks/${deleted.id}`), 204);
    const over = await api.session({ key: 'key-left' });
    ok(await api.post(`/v1/sessions/${over.id}/rotate`, { key: 'key-over' }), 200);
    ok(await api.delete(`/v1/sessions/${over.id}`), 200);
    const events = await server.api(session.token).events('/v1/session/events');
    await events.live();
    Object.assign(before_backup, { over, session, done, running, claimed, deleted, cursor: events.lastId });
    events.close();
});

after(async () => {
    await second?.close();
    await server.close();
    rmSync(folder, { recursive: true, force: true });
});

test('a backup beside a server under load holds everything acknowledged before it', async () => {
    const api = server.api();
    const session = await api.session({ key: 'busy' });
    const known = []; // acknowledged before the backup began
    for (let i = 0; i < 20; i++) {
        known.push(await api.task(session, { title: `known ${i}` }));
    }
    let busy = true;
    const worker = async () => {
        while (busy) {
            const t = await api.task(session, { title: 'meanwhile' });
            await api.reported(t, [{ type: 'progress', current: 1, total: 2 }, { type: 'succeed', result: 'done' }]);
            ok(await api.delete(`/v1/tasks/${t.id}`), 204);
        }
    };
    const workers = Array.from({ length: 8 }, worker);
    const r = await backup(file);
    busy = false;
    await Promise.all(workers);
    assert.equal(r.code, 0, r.err);
    assert.equal(r.out, '');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(folder), ['backup.db']);
    Object.assign(before_backup, { busy: session, known });
    assert.equal((await api.get('/readyz')).status, 200);
});

test('a backup never replaces a file, and says what is wrong', async () => {
    const size = statSync(file).size;
    let r = await backup(file);
    assert.equal(r.code, 1);
    assert.match(r.err, /exists already\n {2}a backup never replaces a file/);
    assert.equal(statSync(file).size, size);
    r = await backup(join(folder, 'no-such-folder', 'b.db'));
    assert.equal(r.code, 1);
    assert.match(r.err, /cannot write/);
    r = await backup(join(folder, 'x.db'), join(folder, 'nothing-here'));
    assert.equal(r.code, 1);
    assert.match(r.err, /there is no store in the data folder/);
    for (const args of [['backup'], ['backup', '--to'], ['backup', '--to', 'a', '--to', 'b'], ['restore'], ['backup', '--to', 'a', '--dta', 'b']]) {
        r = await run(args);
        assert.equal(r.code, 2, args.join(' '));
        assert.match(r.err, /bowline help/);
    }
    assert.deepEqual(readdirSync(folder), ['backup.db']);
});

test('a restore needs a backup and a folder without a store', async () => {
    let r = await restore(file, server.data);
    assert.equal(r.code, 1);
    assert.match(r.err, /exists already\n {2}a restore never replaces anything/);
    const target = join(folder, 'refused');
    for (const [name, text] of [['text', 'this is no database, only some text\n'.repeat(100)], ['empty', '']]) {
        writeFileSync(join(folder, name), text);
        r = await restore(join(folder, name), target);
        assert.equal(r.code, 1, name);
        assert.match(r.err, /nothing was restored/);
        rmSync(join(folder, name));
    }
    r = await restore(join(server.data, 'bowline.db'), target);
    assert.equal(r.code, 1);
    assert.match(r.err, /is a store, not a backup of one/);
    r = await restore(join(folder, 'nowhere'), target);
    assert.equal(r.code, 1);
    assert.match(r.err, /cannot be read/);
    const torn = join(folder, 'torn');
    writeFileSync(torn, readFileSync(file).subarray(0, 20000));
    r = await restore(torn, target);
    assert.equal(r.code, 1);
    assert.deepEqual(readdirSync(target).filter((name) => !name.endsWith('.lock')), [], 'nothing is left behind');
    rmSync(torn);
    rmSync(target, { recursive: true });
});

test('what is restored is what was', async () => {
    const r = await restore(file, restored);
    assert.equal(r.code, 0, r.err);
    for (const name of ['bowline.db', 'secret', 'api.key']) {
        assert.equal(statSync(join(restored, name)).mode & 0o777, 0o600, name);
    }
    assert.equal(statSync(restored).mode & 0o777, 0o700);
    assert.equal(readFileSync(join(restored, 'secret'), 'utf8'), readFileSync(join(server.data, 'secret'), 'utf8'));
    assert.equal(readFileSync(join(restored, 'api.key'), 'utf8'), readFileSync(join(server.data, 'api.key'), 'utf8'));
    second = await new Server({ data: restored, jwt_secrets: secret }).start();
    const api = second.api();
    const done = checkTask(await api.look(before_backup.done));
    assert.equal(done.state, 'succeeded');
    assert.equal(ok(await api.get(`/v1/tasks/${done.id}/result`), 200).text, '{"n":1.5}');
    assert.equal(ok(await api.get(`/v1/tasks/${done.id}/output`), 200).text, 'line\n');
    assert.equal(ok(await api.get(`/v1/tasks/${done.id}/input`), 200).text, '{"a":[1,2]}');
    const running = await api.look(before_backup.running);
    assert.equal(running.state, 'running');
    assert.equal(running.progress.current, 1);
    assert.equal(running.attempt, 1);
    for (const task of before_backup.known) {
        assert.equal((await api.look(task)).title, task.title);
    }
    const left = ok(await api.get(`/v1/tasks?session=${before_backup.busy.id}&limit=1000`), 200).json.items.filter((t) => t.title === 'meanwhile');
    for (const task of left) {
        assert.ok(task.state === 'queued' || task.state === 'succeeded', task.state);
    }
});

test('tokens given out before a restore are dead, new ones are not', async () => {
    const { session, done, deleted, busy } = before_backup;
    const dead = (token, path) => second.api(token).get(path).then((r) => problem(r, 'unauthenticated'));
    await dead(session.token, '/v1/session');
    await dead(busy.token, '/v1/session/tasks');
    await dead(done.token, `/v1/tasks/${done.id}`);
    await dead(deleted.token, `/v1/tasks/${deleted.id}`);
    const events = await second.api(session.token).events('/v1/session/events');
    assert.equal(events.status, 401);
    ok(await server.api(session.token).get('/v1/session'), 200); // the old server goes on

    const again = ok(await second.api().post('/v1/sessions', { key: 'key-1' }), 200).json;
    assert.equal(again.id, session.id);
    assert.equal(again.user, 'u-1');
    assert.notEqual(again.token, session.token);
    ok(await second.api(again.token).get(`/v1/tasks/${done.id}`), 200);
    const { token } = ok(await second.api().post(`/v1/tasks/${done.id}/token`), 200).json;
    assert.notEqual(token, done.token);
    ok(await second.api(token).get(`/v1/tasks/${done.id}`), 200);
    problem(await server.api(again.token).get('/v1/session'), 'unauthenticated');
    before_backup.token = again.token;
});

test('JWTs count after a restore as they did before it', async () => {
    const { over } = before_backup;
    const jwt = (sid) => second.api(hs256(secret, claims({ sid, iat: nowS() - 600 })));
    problem(await jwt('key-over').get('/v1/session'), 'session-ended');
    assert.equal(ok(await jwt('key-over').delete('/v1/session'), 200).json.id, over.id);
    problem(await jwt('key-left').get('/v1/session'), 'unauthenticated');
    assert.equal((await jwt('key-left').events('/v1/session/events')).status, 401);
    assert.equal(ok(await jwt('key-1').get('/v1/session'), 200).json.id, before_backup.session.id);
});

test('a cursor from before a restore is reset', async () => {
    const api = second.api(before_backup.token);
    const events = await api.events('/v1/session/events', { lastEventId: before_backup.cursor });
    assert.equal((await events.next()).event, 'reset');
    const shown = await events.task(before_backup.running.id);
    assert.equal(shown.state, 'running');
    await events.live();
    events.close();
});

test('a worker that was at work goes on after a restore', async () => {
    const { claimed } = before_backup;
    const api = second.api();
    await api.reported(claimed, { type: 'succeed', result: 'after all' }, claimed.worker_token);
    assert.equal((await api.look(claimed)).state, 'succeeded');
    const fresh = await api.task(before_backup.session, { title: 'new' });
    assert.equal((await api.look(fresh)).title, 'new');
});

test('tokens of one restore are dead after the next one', async () => {
    const first = ok(await second.api().post('/v1/sessions', { key: 'busy' }), 200).json.token;
    const third = join(folder, 'third');
    const began = Math.floor(Date.now() / 1000);
    while (Math.floor(Date.now() / 1000) === began) {
        await new Promise((done) => setTimeout(done, 50)); // generations rise with the seconds
    }
    assert.equal((await restore(file, third)).code, 0);
    const server3 = await new Server({ data: third }).start();
    try {
        problem(await server3.api(first).get('/v1/session'), 'unauthenticated');
    } finally {
        await server3.close();
    }
});

test('a backup of a stopped server, taken through the configuration, restores too', async () => {
    const own = mkdtempSync(join(tmpdir(), 'bowline-backup-own-'));
    const s = await new Server({ data: join(own, 'data') }).start();
    const session = await s.api().session({ key: 'k' });
    const task = await s.api().task(session);
    assert.equal((await s.stop()).code, 0);
    rmSync(join(s.data, 'api.key'));
    const config = join(own, 'bowline.conf');
    writeFileSync(config, `data = ${s.data}\nlisten = 127.0.0.1:0\n`);
    let r = await run(['backup', '--config', config, '--to', join(own, 'b')]);
    assert.equal(r.code, 0, r.err);
    rmSync(s.data, { recursive: true });
    r = await run(['restore', '--from', join(own, 'b')], { env: { BOWLINE_DATA: s.data } });
    assert.equal(r.code, 0, r.err);
    assert.ok(!existsSync(join(s.data, 'api.key')), 'there was none');
    await s.start();
    assert.equal((await s.api().look(task)).state, 'queued');
    await s.close();
    rmSync(own, { recursive: true, force: true });
});

test('a secret that cannot be read stops a backup', async () => {
    const own = mkdtempSync(join(tmpdir(), 'bowline-backup-own-'));
    const s = await new Server({ data: join(own, 'data') }).start();
    assert.equal((await s.stop()).code, 0);
    rmSync(join(s.data, 'secret'));
    const r = await backup(join(own, 'b'), s.data);
    assert.equal(r.code, 1);
    assert.match(r.err, /secret cannot be read/);
    assert.ok(!existsSync(join(own, 'b')));
    await s.close();
    rmSync(own, { recursive: true, force: true });
});
