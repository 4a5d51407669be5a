// docs/proxies.md: what each configuration lets through, and what not.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { ok, until } from '../http/lib/client.mjs';
import { Lines } from '../http/lib/ndjson.mjs';
import { outside, PROXIES, table, withProxy } from './lib/programs.mjs';

const BROWSERS = { 'accept-encoding': 'gzip, deflate, br' };

const progress = (current) => ({ type: 'progress', current, total: 9 });

for (const name of PROXIES) {
    describe(name, { timeout: 120_000, concurrency: 2 }, () => {
        test('passes on what pages need and nothing else', () => withProxy(name, async ({ proxy, api }) => {
            const session = await api.session();
            const task = await api.task(session);
            const page = proxy.api(null);
            const headers = { cookie: proxy.cookie(session.token), origin: proxy.url };
            assert.equal(ok(await page.get('/v1/session', headers), 200).json.id, session.id);
            assert.equal(ok(await page.get('/v1/session/tasks?limit=10', headers), 200).json.items[0].id, task.id);
            assert.equal(ok(await page.post(`/v1/tasks/${task.id}/cancel`, {}, headers), 200).json.cancel_requested, true);
            for (const path of ['/', '/v1/sessions', '/v1/tasks', '/v1/queues', '/v1/sessionx', '/metrics', '/healthz', `/v1/sessions/${session.id}/events`]) {
                assert.equal(ok(await page.get(path, headers), 200).text, 'the application', path);
            }
        }));

        test('a stream comes through as it is said, and the server learns that its page has gone', () => withProxy(name, async ({ proxy, api }) => {
            const session = await api.session();
            const task = await api.task(session);
            const stream = await proxy.api(null).events('/v1/session/events?output=1', { headers: { cookie: proxy.cookie(session.token), ...BROWSERS } });
            assert.equal(stream.status, 200, stream.body);
            assert.equal(stream.headers['content-encoding'], undefined);
            await stream.live();
            for (let i = 1; i < 4; i++) {
                const { comments } = stream;
                await api.reported(task, progress(i));
                await stream.task(task.id, (t) => t.progress.current === i);
                assert.equal(stream.comments, comments, 'pushed on by what keeps the stream alive');
            }
            await api.reported(task, { type: 'output', data: 'x' });
            await stream.find((e) => e.event === 'output', 'the output');
            await api.watchers(1);
            stream.close();
            await api.watchers(0);
        }, { options: name === 'apache' ? { keepalive: 1 } : {} /* it notices when there is something to send */ }));

        test('what keeps a silent stream alive comes through', () => withProxy(name, async ({ proxy, api }) => {
            const session = await api.session();
            const stream = await proxy.api(session.token).events('/v1/session/events', { headers: BROWSERS });
            await stream.live();
            await stream.when(() => stream.comments >= 3, 'three comments');
            assert.ok(!stream.done);
        }, { options: { keepalive: 0.3 } }));

        test('WebSocket comes through in both directions', () => withProxy(name, async ({ proxy, api }) => {
            const session = await api.session();
            const task = await api.task(session);
            const socket = new WebSocket(`${proxy.tls ? 'wss' : 'ws'}://127.0.0.1:${proxy.port}/v1/session/events`, 'bowline.v1', {
                ...proxy.reach, origin: proxy.url, headers: { cookie: proxy.cookie(session.token), ...(proxy.tls ? { host: proxy.host } : {}) },
            });
            const events = [];
            socket.on('error', (e) => events.push({ event: 'error', data: { message: e.message } }));
            socket.on('message', (data) => events.push(JSON.parse(data)));
            const closed = once(socket, 'close');
            const seen = (test, what) => until(() => events.find(test), what);
            await seen((e) => e.event === 'live', 'live');
            await api.reported(task, progress(2));
            await seen((e) => e.data.task?.progress.current === 2, 'progress');
            socket.send('hello');
            await seen((e) => e.event === 'problem', 'an answer to what was sent');
            ok(await api.delete(`/v1/sessions/${session.id}`), 200);
            assert.equal((await closed)[0], 1000);
        }));

        test('a request that waits is answered when there is something, and let go of with its page', () => withProxy(name, async ({ proxy, api }) => {
            const session = await api.session();
            const task = await api.task(session);
            const page = proxy.api(session.token);
            const { cursor } = ok(await page.page('/v1/session/events'), 200).json;
            const [waiting] = await api.begun(() => page.page('/v1/session/events', { after: cursor, wait: 60 }));
            await api.reported(task, progress(5));
            const { events, cursor: after } = ok(await waiting, 200).json;
            assert.equal(events.at(-1).data.task.progress.current, 5);
            const given = proxy.request(`${proxy.url}/v1/session/events?after=${after}`, {
                agent: false, headers: { authorization: `Bearer ${session.token}`, accept: 'application/json', prefer: 'wait=60' },
            });
            given.on('error', () => {});
            given.end();
            await api.watchers(1);
            given.destroy();
            if (name !== 'apache') { // which notices only at the end of the wait
                await api.watchers(0);
            }
        }));

        test('workers outside claim and report', () => withProxy(name, async ({ proxy, server, api }) => {
            const task = await api.task(await api.session(), { queue: 'q' });
            const worker = proxy.api(server.key);
            const [claimed] = await worker.claimed('q');
            assert.equal(claimed.id, task.id);
            const said = (more) => `${JSON.stringify({ task: task.id, token: claimed.worker_token, ...more })}\n`;
            const whole = await worker.call('POST', '/v1/reports', { body: said(progress(1)) + said(progress(2)), type: 'application/x-ndjson' });
            assert.equal(ok(whole, 200).text.split('\n').filter((line) => JSON.parse(line || '{}').state === 'running').length, 2);
            ok(await proxy.api(claimed.worker_token).post(`/v1/tasks/${task.id}/reports`, [progress(3), { type: 'succeed', result: 'x'.repeat(3 << 20) }]), 200);
            assert.equal(ok(await proxy.api(task.token).get(`/v1/tasks/${task.id}/result`), 200).text.length, (3 << 20) + 2);
        }, { ...outside(name) }));

        const [, overOne, overTwo] = table('Reports from outside').find(([program]) => program.toLowerCase() === name);
        if (overOne === 'yes') {
            test('a stream of reports is answered line by line over HTTP/1.1', () => withProxy(name, async ({ proxy, api }) => {
                const task = await api.task(await api.session());
                const lines = new Lines(proxy, `/v1/tasks/${task.id}/reports`, task.worker_token);
                for (let i = 1; i < 4; i++) {
                    await lines.send(progress(i)).answered(i);
                }
                assert.ok(!lines.done);
                lines.end();
                assert.equal((await lines.ended()).length, 3);
            }));
        }
        if (overTwo === 'yes') {
            test('a stream of reports is answered line by line over HTTP/2', () => withProxy(name, async ({ proxy, api }) => {
                const task = await api.task(await api.session());
                const connection = http2.connect(`https://127.0.0.1:${proxy.port}`, { servername: proxy.host, rejectUnauthorized: false });
                const stream = connection.request({
                    ':method': 'POST', ':path': `/v1/tasks/${task.id}/reports`, ':authority': proxy.host,
                    authorization: `Bearer ${task.worker_token}`, 'content-type': 'application/x-ndjson', ...BROWSERS,
                });
                let text = '';
                stream.setEncoding('utf8').on('data', (more) => (text += more));
                const ended = once(stream, 'end');
                for (let i = 1; i < 4; i++) {
                    stream.write(`${JSON.stringify(progress(i))}\n`);
                    await until(() => text.split('\n').length === i + 1, `${i} answers, not ${text}`);
                }
                stream.end();
                await ended;
                connection.close();
            }));
        }
    });
}
