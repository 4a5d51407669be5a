// Streams through what compresses everything that passes: no event, and no answer to a report, waits in a compressor.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { constants, createGunzip, gunzipSync, gzipSync } from 'node:zlib';
import { ok, problem, until } from '../http/lib/client.mjs';
import { Events } from '../http/lib/sse.mjs';
import { PROXIES, table, withProxy } from './lib/programs.mjs';

const PAGE = 'the application '.repeat(1000);
const BROWSERS = { 'accept-encoding': 'gzip' };

/** What is put into each configuration so that it compresses all that it can. As documented, Caddy and the Express application compress already. */
const EVERYTHING = {
    nginx: { replace: [['server {\n', 'gzip on;\ngzip_types *;\ngzip_proxied any;\ngzip_min_length 0;\nserver {\n']] },
    haproxy: { replace: [['    mode http\n', '    mode http\n    compression algo gzip\n    compression type text/html text/event-stream application/json application/x-ndjson\n']] },
    caddy: {},
    apache: { replace: [['    ProxyPreserveHost On\n', '    ProxyPreserveHost On\n    SetOutputFilter DEFLATE\n']], modules: ['filter', 'deflate'] },
    node: {},
};

/** Asks, and hands the answer to take(text) as it comes, decompressed as a browser would. The answer's headers come at once. */
function ask(proxy, method, path, headers, take) {
    const request = proxy.request(proxy.url + path, { method, agent: false, headers: { ...headers, ...BROWSERS } });
    const answered = new Promise((done, fail) => {
        request.on('error', fail);
        request.on('response', (response) => {
            const plain = response.headers['content-encoding'] === 'gzip' ? response.pipe(createGunzip({ finishFlush: constants.Z_SYNC_FLUSH })) : response;
            plain.setEncoding('utf8').on('data', take);
            plain.on('error', () => {});
            response.on('error', () => {});
            done(response);
        });
    });
    request.setTimeout(30_000, () => request.destroy(new Error(`nothing came from ${proxy.name}`)));
    if (method === 'GET') {
        request.end();
    } else {
        request.flushHeaders();
    }
    return { request, answered };
}

const WORDS = { 'leaves them alone': undefined, compresses: 'gzip', 'holds them back': undefined };
const expected = (name) => {
    const [, does] = table('Compression').find(([what]) => what.toLowerCase().startsWith(name === 'node' ? 'express' : name));
    const word = Object.keys(WORDS).find((w) => does.startsWith(w));
    assert.ok(word, does);
    return WORDS[word];
};

for (const name of PROXIES) {
    describe(`${name} that compresses`, { timeout: 120_000, concurrency: 2 }, () => {
        const through = (run) => () => withProxy(name, run, { page: PAGE, ...EVERYTHING[name] });

        test('compresses the application', through(async ({ proxy }) => {
            const page = ok(await proxy.api(null).get('/', BROWSERS), 200);
            assert.equal(page.headers['content-encoding'], 'gzip');
            assert.equal(gunzipSync(page.bytes).toString(), PAGE);
        }));

        test('lets each event through as it happens', through(async ({ proxy, api }) => {
            const session = await api.session();
            const task = await api.task(session, { metadata: { text: 'x'.repeat(4000) } }); // what is short is compressed by nobody
            const events = new Events();
            const { request, answered } = ask(proxy, 'GET', '/v1/session/events', { accept: 'text/event-stream', cookie: proxy.cookie(session.token) }, (text) => events.feed(text));
            assert.equal((await answered).headers['content-encoding'], expected(name));
            await events.live();
            for (let i = 1; i < 4; i++) {
                const { comments } = events;
                await api.reported(task, { type: 'progress', current: i });
                await events.task(task.id, (t) => t.progress.current === i);
                assert.equal(events.comments, comments, 'pushed on by what keeps the stream alive');
            }
            request.on('error', () => {});
            request.destroy();
        }));

        test('lets each answer to a report through, as far as it passes them on one by one', through(async ({ proxy, api }) => {
            const [, one] = table('Reports from outside').find(([program]) => program.toLowerCase() === name);
            const task = await api.task(await api.session());
            let text = '';
            const { request, answered } = ask(proxy, 'POST', `/v1/tasks/${task.id}/reports`, { authorization: `Bearer ${task.worker_token}`, 'content-type': 'application/x-ndjson' }, (more) => (text += more));
            const lines = () => text.split('\n').length - 1;
            for (let i = 1; i < 4; i++) {
                request.write(`${JSON.stringify({ type: 'progress', current: i })}\n`);
                if (one === 'yes') {
                    await until(() => lines() === i, `${i} answers, not ${text}`);
                }
            }
            request.end();
            assert.equal((await answered).headers['content-encoding'], expected(name));
            await until(() => lines() === 3, `three answers, not ${text}`);
        }));

        test('passes on what bowline itself has compressed, and its refusal of what is', through(async ({ proxy, api }) => {
            const session = await api.session();
            const task = await api.task(session, { metadata: { text: 'x'.repeat(4000) } });
            const list = ok(await proxy.api(session.token).get('/v1/session/tasks', BROWSERS), 200);
            assert.equal(list.headers['content-encoding'], 'gzip');
            assert.equal(JSON.parse(gunzipSync(list.bytes)).items[0].id, task.id);
            const body = gzipSync(`${JSON.stringify({ type: 'heartbeat' })}\n`);
            problem(await proxy.api(task.worker_token).call('POST', `/v1/tasks/${task.id}/reports`, { body, type: 'application/x-ndjson', headers: { 'content-encoding': 'gzip' } }), 'unsupported-media-type');
        }));
    });
}
