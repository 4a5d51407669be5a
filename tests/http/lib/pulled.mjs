// Run as `unshare --net node pulled.mjs`: a server here, a watcher in a network namespace of its own at the other end of a cable that is then pulled, so that
// nothing more is heard from it, not even that it has gone. Prints what was seen as one line of JSON. Everything goes with the last process in the namespaces.
import { execFileSync, spawn } from 'node:child_process';
import { until } from './client.mjs';
import { start } from './server.mjs';

const ip = (...args) => execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'inherit'] });
const there = (pid, ...command) => execFileSync('nsenter', ['--target', String(pid), '--net', ...command], { stdio: ['ignore', 'pipe', 'inherit'] });

const far = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
let server;
let watchers = [];
try {
    ip('link', 'set', 'lo', 'up');
    const own = execFileSync('readlink', ['/proc/self/ns/net'], { encoding: 'utf8' });
    await until(() => execFileSync('readlink', [`/proc/${far.pid}/ns/net`], { encoding: 'utf8' }) !== own, 'the other namespace');
    ip('link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far', 'netns', String(far.pid));
    ip('address', 'add', '10.91.0.1/24', 'dev', 'near');
    ip('link', 'set', 'near', 'up');
    there(far.pid, 'ip', 'address', 'add', '10.91.0.2/24', 'dev', 'far');
    there(far.pid, 'ip', 'link', 'set', 'far', 'up');

    server = await start({ listen: '0.0.0.0:0', loops: 1, keepalive: 0.2, stalled_reader_timeout: 1.5 });
    const api = server.api();
    const session = await api.session();
    const task = await api.task(session);
    const metric = async (name) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec((await api.get('/metrics')).text)[1]);
    const ways = [
        ['-H', 'Accept: text/event-stream'],
        ['-H', 'Connection: Upgrade', '-H', 'Upgrade: websocket', '-H', 'Sec-WebSocket-Version: 13', '-H', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='],
    ];
    watchers = ways.map((way) => spawn('nsenter', ['--target', String(far.pid), '--net', 'curl', '--silent', '--no-buffer', '--http1.1', '-H', `Authorization: Bearer ${session.token}`,
        ...way, `http://10.91.0.1:${server.port}/v1/session/events`], { stdio: ['ignore', 'pipe', 'ignore'] }));
    await Promise.all(watchers.map((w) => new Promise((done, fail) => {
        w.stdout.once('data', done);
        w.once('exit', () => fail(new Error('a watcher ended before it was told anything')));
    })));
    const local = await api.events(`/v1/sessions/${session.id}/events`);
    await local.live();
    await until(async () => (await metric('bowline_http_watchers')) === 3, 'three watchers');
    const connections = await metric('bowline_http_connections');

    there(far.pid, 'ip', 'route', 'add', 'blackhole', '10.91.0.1/32');
    await api.reported(task, { type: 'progress', current: 1 });
    await until(async () => (await metric('bowline_http_watchers')) === 1, 'the dead ones to be noticed', 60000);
    const left = await until(async () => {
        const now = await metric('bowline_http_connections');
        return now <= connections - watchers.length && now;
    }, 'their connections to be freed');
    await api.reported(task, { type: 'progress', current: 2 });
    await local.task(task.id, (t) => t.progress.current === 2);
    local.close();
    console.log(JSON.stringify({ freed: connections - left }));
} finally {
    watchers.forEach((w) => w.kill('SIGKILL'));
    await server?.close();
    far.kill('SIGKILL');
}
