// The files that the program itself serves: the module for browsers and its types.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { ok, problem } from './lib/client.mjs';
import { Server } from './lib/server.mjs';

const FILES = { '/bowline.js': [/^text\/javascript/, 8192], '/bowline.d.ts': [/^application\/typescript/, Infinity] };
const FORMS = { gzip: gunzipSync, br: brotliDecompressSync };
const YEAR = /max-age=31536000/;

describe('files of the program', { timeout: 60_000 }, () => {
    let server, anyone, version;
    before(async () => {
        server = await new Server({ allowed_origins: 'https://app.example' }).start();
        anyone = server.api(null);
        version = ok(await anyone.get('/v1/info'), 200).json.version;
    });
    after(() => server.close());

    for (const [path, [type, most]] of Object.entries(FILES)) {
        test(`${path}: plain, by gzip and by Brotli, each with a tag of its own`, async () => {
            const plain = ok(await anyone.get(path), 200);
            assert.match(plain.headers['content-type'], type);
            assert.equal(plain.headers['content-encoding'], undefined);
            assert.equal(plain.headers['cache-control'], 'no-cache');
            assert.match(plain.headers.etag, /^"[^"]+"$/);
            const tags = new Set([plain.headers.etag]);
            for (const [coding, open] of Object.entries(FORMS)) {
                const form = ok(await anyone.get(path, { 'accept-encoding': coding }), 200);
                assert.equal(form.headers['content-encoding'], coding);
                assert.match([form.headers.vary].flat().join(), /Accept-Encoding/);
                assert.deepEqual(open(form.bytes), plain.bytes);
                assert.ok(form.bytes.length <= most, `${path} has ${form.bytes.length} bytes by ${coding}`);
                tags.add(form.headers.etag);
            }
            assert.equal(tags.size, 3);
        });

        test(`${path}: who has it is told so, and HEAD is GET without its body`, async () => {
            for (const coding of ['identity', 'gzip', 'br']) {
                const headers = { 'accept-encoding': coding };
                const whole = ok(await anyone.get(path, headers), 200), { etag } = whole.headers;
                for (const has of [etag, `W/${etag}`, '*', `"another", ${etag}`]) {
                    const same = await anyone.get(path, { ...headers, 'if-none-match': has });
                    assert.deepEqual([same.status, same.headers.etag, same.bytes.length], [304, etag, 0], has);
                    assert.equal(same.headers['cache-control'], 'no-cache');
                }
                ok(await anyone.get(path, { ...headers, 'if-none-match': '"another"' }), 200);
                const head = await anyone.call('HEAD', path, { headers });
                assert.deepEqual([head.status, head.headers.etag, head.headers['content-length'], head.bytes.length], [200, etag, String(whole.bytes.length), 0]);
            }
        });

        test(`${path}: of this version for a year, of another not at all`, async () => {
            assert.match(ok(await anyone.get(`${path}?v=${version}`), 200).headers['cache-control'], YEAR);
            for (const other of ['0.0.0', '', `${version}.1`, 'latest']) {
                problem(await anyone.get(`${path}?v=${other}`), 'not-found');
            }
            problem(await anyone.get(`${path}?version=1`), 'invalid-request');
        });
    }

    test('what is more welcome is given', async () => {
        const coding = async (accept) => ok(await anyone.get('/bowline.js', { 'accept-encoding': accept }), 200).headers['content-encoding'];
        assert.equal(await coding('gzip, deflate, br, zstd'), 'br');
        assert.equal(await coding('br;q=0, gzip'), 'gzip');
        assert.equal(await coding('br;q=0.1, gzip;q=0.9'), 'gzip');
        assert.equal(await coding('*'), 'br');
        assert.equal(await coding('gzip;q=0, br;q=0'), undefined);
        assert.equal(await coding('zstd'), undefined);
    });

    test('pages of allowed origins may load it, and nothing but GET and HEAD is known', async () => {
        const allowed = await anyone.get('/bowline.js', { origin: 'https://app.example' });
        assert.equal(allowed.headers['access-control-allow-origin'], 'https://app.example');
        assert.equal((await anyone.get('/bowline.js', { origin: 'https://other.example' })).headers['access-control-allow-origin'], undefined);
        const post = await anyone.post('/bowline.js', {});
        problem(post, 'method-not-allowed');
        assert.match(post.headers.allow, /GET, HEAD/);
        problem(await anyone.get('/bowline.js', { accept: 'image/png' }), 'not-acceptable');
        problem(await anyone.get('/bowline.js.map'), 'not-found');
    });

    test('the way that a watch was opened is taken on event routes, and counted', async () => {
        const api = server.api(), session = await api.session(), own = server.api(session.token);
        const count = async (via) => Number(new RegExp(`^bowline_watches_opened_total\\{via="${via}"\\} (\\d+)$`, 'm').exec(ok(await api.get('/metrics'), 200).text)[1]);
        const json = { accept: 'application/json' };
        for (const via of ['sse', 'websocket', 'poll', 'sse-fallback', 'websocket-fallback', 'poll-fallback']) {
            const before = await count(via);
            ok(await own.get(`/v1/session/events?via=${via}`, json), 200);
            assert.equal(await count(via), before + 1);
        }
        const before = await count('poll'), task = await api.task(session);
        ok(await own.get('/v1/session/events', json), 200);
        ok(await api.get(`/v1/sessions/${session.id}/events`, json), 200);
        ok(await api.get(`/v1/tasks/${task.id}/events?via=poll`, json), 200);
        ok(await own.call('HEAD', '/v1/session/events?via=poll'), 200);
        assert.equal(await count('poll'), before + 3, 'one without the word counts as what it is, HEAD as none');
        problem(await own.get('/v1/session/events?via=pigeon', json), 'invalid-request');
        problem(await own.get('/v1/session/tasks?via=sse'), 'invalid-request');
    });

    test('who comes with a token of an ended session is told why it ended', async () => {
        const api = server.api(), session = await api.session();
        ok(await api.delete(`/v1/sessions/${session.id}`), 200);
        const refused = await server.api(session.token).get('/v1/session');
        problem(refused, 'session-ended');
        assert.equal(refused.json.reason, 'logout');
    });
});
