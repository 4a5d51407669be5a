// Other ways where streams do not come through, and none of them a storm.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { ok, pause, until } from '../http/lib/client.mjs';
import { Server } from '../http/lib/server.mjs';
import { Proxy } from './lib/proxy.mjs';

const PATIENCE_MS = 60_000;
let server, api, proxy, live, connect;

async function follow(session, options = {}) {
    live = connect({ url: proxy.url, token: session.token, ...options });
    return live;
}
const counted = async (via) => Number(new RegExp(`^bowline_watches_opened_total\\{via="${via}"\\} (\\d+)$`, 'm').exec(ok(await api.get('/metrics'), 200).text)[1]);

async function follows(session) {
    const task = await api.task(session);
    await until(() => live.tasks.has(task.id), 'the task', PATIENCE_MS);
    await api.reported(task, { type: 'succeed', result: 7 });
    assert.equal(await live.task(task.id).done, 7);
}

for (const sockets of [true, false]) {
    describe(`other ways, ${sockets ? 'with' : 'without'} WebSocket`, { timeout: 300_000 }, () => {
        before(async () => {
            globalThis.WebSocket = sockets ? WebSocket : undefined;
            ({ connect } = await import(`../../web/sdk/bowline.js?${sockets}`));
            server = await new Server({ keepalive: 2 }).start();
            api = server.api();
        });
        after(() => server.close());
        afterEach(async () => {
            live?.close();
            await proxy?.close();
        });

        test('a proxy that buffers streams for ever', async () => {
            proxy = await new Proxy(() => server.port).start();
            proxy.mode = 'buffer';
            const way = sockets ? 'websocket-fallback' : 'poll-fallback', before = await counted(way), session = await api.session();
            await follow(session);
            await live.ready;
            assert.equal(live.via, way);
            assert.ok((await counted(way)) > before);
            await follows(session);
            ok(await api.delete(`/v1/sessions/${session.id}`), 200);
            await until(() => live.state === 'ended', 'the end', PATIENCE_MS);
            assert.equal(live.reason, 'logout');
        });

        test('a proxy that buffers streams and knows no WebSocket', async () => {
            proxy = await new Proxy(() => server.port).start();
            Object.assign(proxy, { mode: 'buffer', upgrades: false });
            const session = await api.session();
            await follow(session);
            await live.ready;
            assert.equal(live.via, 'poll-fallback');
            await follows(session);
            const next = ok(await api.post(`/v1/sessions/${session.id}/rotate`, {}), 200).json;
            await until(() => live.state === 'ended', 'the end', PATIENCE_MS);
            assert.equal(live.reason, 'unauthenticated');
            ok(await api.delete(`/v1/sessions/${next.id}`), 200);
        });

        test('a proxy that takes the wish to wait away is not asked all the time', async () => {
            proxy = await new Proxy(() => server.port).start();
            Object.assign(proxy, { mode: 'buffer', upgrades: false, strip: new Set(['prefer', 'last-event-id', 'cache-control', 'x-accel-buffering', 'preference-applied']) });
            const session = await api.session();
            await follow(session);
            await live.ready;
            await follows(session);
            const task = await api.task(session), began = proxy.requests.length, from = Date.now();
            for (let i = 0; i < 100; i++) {
                await api.reported(task, { type: 'progress', current: i });
                await pause(50);
            }
            await until(() => live.tasks.get(task.id).progress.current === 99, 'the last', PATIENCE_MS);
            const perSecond = (proxy.requests.length - began) / ((Date.now() - from) / 1000);
            assert.ok(perSecond < 4, `${perSecond} requests a second`);
        });

        test('a server that is away is asked less and less', async () => {
            proxy = await new Proxy(() => server.port).start();
            const session = await api.session();
            await follow(session);
            await live.ready;
            for (const mode of ['502', '504', 'retry', 'refuse']) {
                proxy.mode = mode;
                proxy.requests.length = 0;
                proxy.cut();
                await until(() => live.state === 'offline', 'offline', PATIENCE_MS);
                await pause(4000);
                assert.ok(proxy.most(1000) <= 8, `${proxy.most(1000)} requests in a second by ${mode}`);
                proxy.mode = 'pass';
                await until(() => live.state === 'live', 'live', PATIENCE_MS);
            }
            assert.equal(live.via, 'sse');
            await follows(session);
        });
    });
}
