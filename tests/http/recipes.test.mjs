// docs/recipes.md: its files and commands as they stand, and what it says of the server. What needs a browser is in tests/browser/recipes.test.mjs.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Api, ok, problem, until } from './lib/client.mjs';
import { Browser, Guide, root } from './lib/guide.mjs';
import { binary, cleanEnv, Server } from './lib/server.mjs';

async function withRecipes(use, needs = {}) {
    const guide = await Guide.open('recipes.md', needs);
    try {
        await use(guide, (name) => join(guide.folder, name));
    } catch (e) {
        e.message += guide.said();
        throw e;
    } finally {
        await guide.close();
    }
}

async function withServer(options, use) {
    const server = await new Server(options).start();
    try {
        await use(server, server.api());
    } finally {
        await server.close();
    }
}

/** Pieces of guide-integration.md. */
const pieces = (...names) => names.map((name) => new RegExp(`^\`\`\`\\w+ ${name}\\n([\\s\\S]*?)^\`\`\`$`, 'm').exec(readFileSync(join(root, 'docs/guide-integration.md'), 'utf8'))[1]).join('\n');

/** Runs a program to its end with the recipes' bin in the path. */
function run(guide, program, args, env = {}) {
    const { status, stdout, stderr } = spawnSync(program, args, {
        cwd: guide.folder, encoding: 'utf8', timeout: 60000, env: cleanEnv({ PATH: `${guide.folder}/bin:${process.env.PATH}`, PYTHONDONTWRITEBYTECODE: '1', ...env }),
    });
    return { status, out: stdout, err: stderr };
}

// ---- containers ----

test('containers: the image has the libraries that the program asks for', () => withRecipes(async (guide, file) => {
    const named = /--no-install-recommends ([^&]*)&&/.exec(readFileSync(file('bowline.dockerfile'), 'utf8'))[1].trim().split(/\s+/);
    const asked = [...execFileSync('readelf', ['-d', binary], { encoding: 'utf8' }).matchAll(/\(NEEDED\).*\[(.*)\]/g)].map((match) => match[1]);
    assert.ok(asked.length > 3);
    const paths = new Map([...execFileSync('ldd', [binary], { encoding: 'utf8' }).matchAll(/^\s*(\S+) => (\S+)/gm)].map((match) => [match[1], match[2]]));
    const owner = (path) => [path, path.replace(/^\/lib\//, '/usr/lib/')].map((p) => spawnSync('dpkg', ['-S', p], { encoding: 'utf8' }).stdout.split(':')[0]).find(Boolean);
    const needed = new Set(asked.map((name) => owner(paths.get(name) ?? '')).filter((name) => name && !['libc6', 'libgcc-s1'].includes(name)));
    assert.deepEqual([...needed].filter((name) => !named.includes(name)), [], 'the image of docs/recipes.md does not install these');
}));

test('containers: called by another name it is 421, until the name is allowed', async () => {
    const hosts = { service: (s) => `bowline:${s.port}`, proxy: () => 'app.example' };
    const more = { public_url: 'https://app.example' };
    await withServer({ ...more, listen: '0.0.0.0:0' }, async (s, app) => {
        problem(await app.get('/v1/sessions', { host: hosts.service(s) }), 'misdirected');
        ok(await app.get('/v1/sessions', { host: hosts.proxy(s) }), 200);
        for (const path of ['/healthz', '/readyz']) {
            ok(await s.api(null).get(path, { host: hosts.service(s) }), 200);
        }
    });
    await withServer({ ...more, listen: '0.0.0.0:0', allowed_hosts: 'bowline' }, async (s, app) => {
        ok(await app.get('/v1/sessions', { host: hosts.service(s) }), 200);
        problem(await app.get('/v1/sessions', { host: hosts.proxy(s) }), 'misdirected');
    });
    await withServer({ ...more, listen: '0.0.0.0:0', allowed_hosts: 'app.example,bowline' }, async (s, app) => {
        ok(await app.get('/v1/sessions', { host: hosts.service(s) }), 200);
        ok(await app.get('/v1/sessions', { host: hosts.proxy(s) }), 200);
    });
});

test('containers: as process 1 it stops cleanly at SIGTERM, and its folder has room for one', { skip: spawnSync('unshare', ['-pf', 'true']).status !== 0 && 'no namespaces here' }, async () => {
    await withServer({}, async (s, app) => {
        const two = spawnSync(binary, ['serve', '--data', s.data, '--listen', '127.0.0.1:0'], { encoding: 'utf8', env: cleanEnv() });
        assert.notEqual(two.status, 0);
        await app.session();
    });
    await withRecipes(async (guide, file) => {
        const child = spawn('unshare', ['--pid', '--fork', '--kill-child', '--', binary, 'serve', '--data', file('data'), '--listen', '127.0.0.1:0', '--drain-time', '0.1'],
            { env: cleanEnv(), stdio: ['ignore', 'pipe', 'pipe'] });
        const ended = new Promise((done) => child.once('close', (code, signal) => done({ code, signal })));
        await new Promise((done) => child.stdout.once('data', done));
        const inner = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim());
        assert.match(readFileSync(`/proc/${inner}/status`, 'utf8'), /^NSpid:\s+\d+\s+1$/m);
        process.kill(inner, 'SIGTERM');
        assert.deepEqual(await ended, { code: 0, signal: null });
    });
});

// ---- several application servers ----

test('several application servers: one session for one key, and one task for one Idempotency-Key of one API key', async () => {
    await withServer({}, async (s, app) => {
        const named = await Promise.all(Array.from({ length: 20 }, () => app.post('/v1/sessions', { key: 'the same', user: 'alice' })));
        assert.equal(new Set(named.map((r) => r.json.id)).size, 1);
        assert.deepEqual(named.map((r) => r.status).sort(), [...Array(19).fill(200), 201]);
        const click = { 'idempotency-key': 'one click' };
        const started = await Promise.all(Array.from({ length: 20 }, () => app.post('/v1/tasks', { session: { key: 'the same' }, kind: 'report', queue: 'reports' }, click)));
        assert.equal(new Set(started.map((r) => ok(r, 202).json.id)).size, 1);
    });
    const keys = { one: `blk_${'a'.repeat(43)}`, two: `blk_${'b'.repeat(43)}` };
    await withServer({ api_keys: `one:backend:${keys.one},two:backend:${keys.two}` }, async (s) => {
        const ids = await Promise.all(Object.values(keys).map(async (key) => (await new Api(s, key).post('/v1/tasks', { session: { key: 'k' }, kind: 'report', queue: 'q' }, { 'idempotency-key': 'x' })).json.id));
        assert.notEqual(ids[0], ids[1]);
    });
});

test('several application servers: what one begins the other goes on with', () => withRecipes(async (guide, file) => {
    mkdirSync(file('sessions'));
    writeFileSync(file('app.mjs'), `
        import { readFileSync, rmSync, writeFileSync } from 'node:fs';
        import express from 'express';
        import expressSession from 'express-session';
        const app = express();
        const at = (sid) => 'sessions/' + encodeURIComponent(sid);
        class Shared extends expressSession.Store {
            get(sid, done) { let text = null; try { text = readFileSync(at(sid), 'utf8'); } catch {} done(null, text && JSON.parse(text)); }
            set(sid, session, done) { writeFileSync(at(sid), JSON.stringify(session)); done?.(); }
            destroy(sid, done) { rmSync(at(sid), { force: true }); done?.(); }
        }
        app.use(express.urlencoded({ extended: false }), expressSession({ secret: 'x', resave: false, saveUninitialized: true, store: new Shared(), cookie: { sameSite: 'lax' } }));
        ${pieces('bowline.js', 'reports.js', 'login.js')}
        app.listen(process.env.PORT, 'localhost');
    `);
    writeFileSync(file('index.html'), 'page');
    guide.commands.server = 'bowline serve --data bowline-data';
    guide.commands.app = 'BOWLINE_KEY=$(cat bowline-data/api.key) node app.mjs';
    await guide.serve();
    const ports = [guide.appPort, guide.innerPort];
    ports.forEach((port) => guide.start('app', `app ${port}`, { PORT: String(port) }));
    for (const port of ports) {
        await guide.ready(`http://localhost:${port}/favicon.ico`, 'an application');
    }
    const [one, other] = ports.map((port) => new Browser(`http://localhost:${port}`));
    other.cookies = one.cookies;                                             // one browser, whose requests arrive here and there
    const own = async () => (await guide.api('GET', '/v1/session', undefined, one.cookies.get('bowline'))).json;
    assert.equal((await one.request('GET', '/')).status, 200);
    const { id } = await own();
    const started = await Promise.all([one, other, one, other].map((server) => server.post('/reports', { quarter: 3, requestId: 'one click' })));
    assert.deepEqual(started.map((answer) => answer.status), [202, 202, 202, 202]);
    assert.equal(new Set(started.map((answer) => answer.text)).size, 1);
    assert.deepEqual([(await own()).id, (await own()).tasks.unfinished], [id, 1]);
    assert.equal((await one.post('/login', { user: 'alice' })).status, 303);
    await other.request('GET', '/');
    assert.deepEqual([(await own()).id, (await own()).user], [id, 'alice']);
    assert.equal((await other.post('/logout', {})).status, 303);
    await one.request('GET', '/');
    assert.notEqual((await own()).id, id);
    assert.equal((await own()).user, null);
}, { folders: { node_modules: 'tests/node_modules' } }));

// ---- testing your own code ----

test('testing your own code: the example in Node passes, and leaves nothing', () => withRecipes(async (guide) => {
    const tmp = join(guide.folder, 'tmp');
    mkdirSync(tmp);
    const { status, out, err } = run(guide, process.execPath, ['--test', 'example.test.mjs'], { TMPDIR: tmp, NODE_TEST_CONTEXT: undefined });
    assert.equal(status, 0, out + err);
    assert.match(out, /pass 1/);
    assert.deepEqual(readdirSync(tmp), []);
    writeFileSync(join(guide.folder, 'fails.mjs'), "import { startBowline } from './bowline-for-tests.mjs';\nawait startBowline('--no-such-option', '1').catch((e) => console.log(e.message));\n");
    assert.equal(run(guide, process.execPath, ['fails.mjs'], { TMPDIR: tmp }).out, 'bowline did not start\n');
    assert.deepEqual(readdirSync(tmp), []);
}));

test('testing your own code: the same in Python', () => withRecipes(async (guide) => {
    const tmp = join(guide.folder, 'tmp');
    mkdirSync(tmp);
    writeFileSync(join(guide.folder, 'try.py'), `
from bowline import Client
from bowline_for_tests import bowline

with bowline("--idle-timeout", "60") as (url, key), Client(url, key) as client:
    task = client.tasks.create({"key": "s"}, "report", queue="reports", input={"pages": 3})
    (claimed,) = client.claim("reports")
    client.report(task["id"], {"type": "succeed", "result": claimed["input"]}, token=claimed["worker_token"])
    print(client.tasks.result(task["id"]))
try:
    with bowline("--no-such-option"):
        pass
except RuntimeError as error:
    print(error)
`);
    const { out, err } = run(guide, 'python3', ['try.py'], { TMPDIR: tmp });
    assert.equal(out, "{'pages': 3}\nbowline did not start\n", err);
    assert.deepEqual(readdirSync(tmp), []);
}, { files: ['clients/python/bowline.py'] }));

// ---- CSRF ----

test('CSRF: with the cookie, what changes something needs an Origin of ours', async () => {
    await withServer({ public_url: 'https://app.example', allowed_hosts: '127.0.0.1,app.example', allowed_origins: 'https://friend.example' }, async (s, app) => {
        const a = await app.session();
        const t = await app.task(a);
        const browser = (origin) => ({ cookie: `__Host-bowline=${a.token}`, ...(origin ? { origin } : {}) });
        const none = s.api(null);
        for (const [method, path] of [['POST', `/v1/tasks/${t.id}/cancel`], ['DELETE', '/v1/session']]) {
            for (const origin of [null, 'null', 'https://evil.example', 'http://app.example', 'https://app.example.evil.example']) {
                problem(await none.call(method, path, { headers: browser(origin) }), 'forbidden');
            }
        }
        ok(await none.get('/v1/session', browser('https://evil.example')), 200);
        ok(await none.call('POST', `/v1/tasks/${t.id}/cancel`, { headers: browser('https://friend.example') }), 200);
        ok(await none.call('DELETE', '/v1/session', { headers: browser('https://app.example') }), 200);
    });
});

// ---- large inputs ----

test('large inputs: 413 with the pointer, and more with max_input', async () => {
    const start = async (app, bytes) => app.post('/v1/tasks', { session: { key: 'k' }, kind: 'import', queue: 'imports', input: 'x'.repeat(bytes - 2) });
    await withServer({}, async (s, app) => {
        ok(await start(app, 256 * 1024), 202);
        problem(await start(app, 256 * 1024 + 1), 'too-large', '/input');
    });
    await withServer({ max_input: 64 * 1024 * 1024, max_body: 65 * 1024 * 1024 }, async (s, app) => {
        const { json: { id } } = ok(await start(app, 32 * 1024 * 1024), 202);
        const { text } = await app.get(`/v1/tasks/${id}/input`);
        assert.equal(text.length, 32 * 1024 * 1024);
    });
});

test('large inputs: a file and its name in the input', () => withRecipes(async (guide, file) => {
    mkdirSync(file('uploads'));
    writeFileSync(file('app.mjs'), `
        import { randomUUID } from 'node:crypto';
        import { createWriteStream } from 'node:fs';
        import { join } from 'node:path';
        import { pipeline } from 'node:stream/promises';
        import express from 'express';
        import expressSession from 'express-session';
        const app = express();
        app.use(expressSession({ secret: 'x', resave: false, saveUninitialized: true }));
        ${pieces('bowline.js')}
        ${readFileSync(file('imports.js'), 'utf8')}
        app.listen(process.env.PORT, 'localhost');
    `);
    guide.commands.server = 'bowline serve --data bowline-data';
    guide.commands.app = 'BOWLINE_KEY=$(cat bowline-data/api.key) UPLOADS=uploads node app.mjs';
    await guide.serve();
    guide.start('app');
    const url = `http://localhost:${guide.appPort}`;
    await guide.ready(`${url}/favicon.ico`, 'the application');
    const bytes = 'x'.repeat(1024 * 1024);
    const answer = await fetch(`${url}/imports`, { method: 'POST', body: bytes, headers: { 'content-type': 'application/octet-stream' } });
    assert.equal(answer.status, 202);
    const { json: { tasks: [task] } } = await guide.api('POST', '/v1/queues/imports/claim', {});
    assert.equal(readFileSync(join(file('uploads'), task.input.file), 'utf8'), bytes);
    assert.deepEqual(Object.keys(task.input), ['file']);
}, { folders: { node_modules: 'tests/node_modules' } }));

// ---- transactions ----

test('a database transaction: whenever the process dies, there is one task in the end', () => withRecipes(async (guide, file) => {
    guide.commands.server = 'bowline serve --data bowline-data';
    await guide.serve();
    writeFileSync(file('try.py'), `
import os
import sqlite3
import sys

from bowline import Client
from outbox import order, start_wanted

step, report = sys.argv[1:]
db = sqlite3.connect("orders.db")
db.execute("CREATE TABLE IF NOT EXISTS reports (id TEXT PRIMARY KEY, session_key TEXT, pages INTEGER, task TEXT)")
client = Client(os.environ["BOWLINE_URL"], os.environ["BOWLINE_KEY"])
create = client.tasks.create
def dying(*all, **more):
    if step == "before":
        os._exit(9)
    made = create(*all, **more)
    if step == "after":
        os._exit(9)
    return made
client.tasks.create = dying
if step == "again":
    start_wanted(db, client)
else:
    order(db, client, "alice", report, 3)
print(db.execute("SELECT task FROM reports WHERE id = ?", (report,)).fetchone()[0])
`);
    const env = { BOWLINE_URL: guide.server.url, BOWLINE_KEY: guide.key };
    const tasks = async () => (await guide.api('GET', '/v1/tasks?queue=reports')).json.items.length;
    for (const [step, made, then] of [['before', 0, 1], ['after', 2, 2], ['never', 3, 3]]) {
        const died = run(guide, 'python3', ['try.py', step, step], env);
        assert.equal(died.status, step === 'never' ? 0 : 9, died.err);
        assert.equal(await tasks(), made);
        const again = run(guide, 'python3', ['try.py', 'again', step], env);
        assert.match(again.out, /^tsk_/, again.err);
        assert.equal(await tasks(), then);
        assert.deepEqual((await guide.api('GET', `/v1/tasks/${again.out.trim()}/input`)).json, { report: step, pages: 3 });
    }
}, { files: ['clients/python/bowline.py'] }));

test('a database transaction: a waiting worker has the task at once', async () => {
    await withServer({}, async (s, app) => {
        const claim = app.claim('reports', {}, 30);
        await until(async () => (await app.metric('bowline_commands_total')) >= 1, 'the claim to wait');
        const { json: { id } } = ok(await app.post('/v1/tasks', { session: { key: 'k' }, kind: 'report', queue: 'reports' }), 202);
        assert.deepEqual((await claim).json.tasks.map((t) => t.id), [id]);
    });
});
