// The module for browsers behind proxies that gather or compress streams: it notices, takes another way, and says so.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import WebSocket from 'ws';
import { ok, until } from '../http/lib/client.mjs';
import { freePort } from '../http/lib/ports.mjs';
import { cleanEnv, Server } from '../http/lib/server.mjs';

globalThis.WebSocket ??= WebSocket;
const { connect } = await import('../../web/sdk/bowline.js');

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

const UPGRADE = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;';
const nginx = (more) => (folder, port, to) => {
    const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join('\n');
    writeFileSync(join(folder, 'nginx.conf'), `daemon off;\nworker_processes 1;\npid ${folder}/pid;\nevents {}\nhttp {\n${paths}\naccess_log off;\n`
        + `map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n`
        + `server { listen 127.0.0.1:${port}; location / { proxy_pass http://${to}; proxy_http_version 1.1; proxy_set_header Host $host:$server_port;\n`
        + `proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; proxy_hide_header X-Accel-Buffering; ${more} } }\n}\n`);
    return ['nginx', '-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'error.log')];
};
const caddy = (folder, port, to) => {
    writeFileSync(join(folder, 'Caddyfile'), `{\n\tadmin off\n\tauto_https off\n}\nhttp://127.0.0.1:${port} {\n\tencode {\n\t\tgzip\n\t\tminimum_length 1\n\t\tmatch header Content-Type *\n\t}\n`
        + `\treverse_proxy ${to} {\n\t\theader_down -X-Accel-Buffering\n\t}\n}\n`);
    return ['caddy', 'run', '--adapter', 'caddyfile', '--config', join(folder, 'Caddyfile')];
};

const CASES = {
    'nginx that gathers': [nginx(UPGRADE), 'websocket-fallback'],
    'nginx that gathers and knows no WebSocket': [nginx(''), 'poll-fallback'],
    'Caddy that compresses streams': [caddy, 'websocket-fallback'],
};

for (const [name, [configure, via]] of Object.entries(CASES)) {
    test(`behind ${name} tasks are live, ${via}`, { timeout: 120_000 }, async () => {
        const folder = mkdtempSync(join(tmpdir(), 'bowline-behind-')), port = await freePort();
        chmodSync(folder, 0o755);
        const server = await new Server({ allowed_hosts: '127.0.0.1' }).start(), api = server.api();
        const [program, ...args] = configure(folder, port, server.host);
        const env = { PATH: `${process.env.PATH}:/usr/sbin`, HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder };
        const child = spawn(program, args, { cwd: folder, env: cleanEnv(env), stdio: 'ignore' });
        running.add(child);
        const over = new Promise((done) => child.on('close', done));
        const url = `http://127.0.0.1:${port}`, session = await api.session();
        let live;
        try {
            await until(() => fetch(`${url}/readyz`).then(({ ok: good }) => good, () => false), 'the proxy');
            live = connect({ url, token: session.token });
            await live.ready;
            assert.equal(live.via, via);
            const task = await api.task(session);
            await api.reported(task, { type: 'progress', current: 1, total: 2 });
            await until(() => live.tasks.get(task.id)?.progress.current === 1, 'progress', 40_000);
            await api.reported(task, { type: 'succeed', result: 5 });
            assert.equal(await live.task(task.id).done, 5);
            assert.match(ok(await api.get('/metrics'), 200).text, new RegExp(`^bowline_watches_opened_total\\{via="${via}"\\} [1-9]`, 'm'));
        } finally {
            live?.close();
            child.kill('SIGTERM');
            await over;
            running.delete(child);
            await server.close();
            rmSync(folder, { recursive: true, force: true });
        }
    });
}
