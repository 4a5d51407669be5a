// bowline top: a look at a server, once and live.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { pause, until } from './lib/client.mjs';
import { bowline, onTerminal } from './lib/command.mjs';
import { apiKey, binary, start } from './lib/server.mjs';

const operatorKey = apiKey('an operator');
const workerKey = apiKey('a worker');
let server;
let session;
before(async () => {
    server = await start({ api_keys: `o:operator:${operatorKey},w:worker:${workerKey}` });
    session = await server.api().session({ user: 'ann' });
});
after(() => server.close());

const top = (flags = [], options = {}) => bowline(server, ['top', ...flags], options).ended;

describe('one look', () => {
    test('shows queues, tasks and sessions as plain lines', async () => {
        const older = await server.api().task(session, { title: 'Older' });
        const newer = await server.api().task(session, { title: 'N\u00ebwer\u0007' });
        const asking = await server.api().task(session);
        const queued = await server.api().task(session, { queue: 'images', title: 'Waits' });
        await server.api().reported(older, { type: 'progress', current: 25, total: 100, unit: 'pages', message: 'rendering' });
        await pause(5); // each in a millisecond of its own
        await server.api().reported(asking, { type: 'input_request', prompt: 'Overwrite?' });
        await pause(5);
        await server.api().reported(newer, { type: 'progress', current: 3 });
        const { code, out, err } = await top([], { key: operatorKey });
        assert.equal(code, 0);
        assert.equal(err, '');
        assert.ok(!/[\x00-\x09\x0b-\x1f]/.test(out), 'no control characters');
        assert.match(out, /^bowline {2}http:\/\/\S+ {2}\d\d:\d\d:\d\dZ$/m);
        assert.match(out, /4 tasks unfinished/);
        assert.match(out, /^images +1 waiting +0 running/m);
        const line = (t) => out.split('\n').findIndex((l) => l.startsWith(t.id));
        const text = (t) => out.split('\n')[line(t)];
        assert.match(text(older), / 25 % Older .*25 \/ 100 pages .* rendering/);
        assert.match(text(asking), /asks: Overwrite\?/);
        assert.match(text(queued), /waiting in images/);
        assert.ok(line(newer) < line(asking) && line(asking) < line(older) && line(older) < line(queued), 'the last to change first');
        assert.match(out, new RegExp(`^${session.id} +4 unfinished +0 ended .*ann$`, 'm'));
        assert.equal((await top(['--once'])).code, 0);
    });

    test('sessions that have more to do stand first', async () => {
        const idle = await server.api().session();
        const { out } = await top();
        assert.ok(out.indexOf(`\n${session.id}`) < out.indexOf(`\n${idle.id}`));
    });

    test('what cannot be is said', async () => {
        const refused = await top([], { key: workerKey });
        assert.equal(refused.code, 3);
        assert.match(refused.err, /forbidden/);
        assert.equal((await top([], { key: 'blk_wrong' })).code, 3);
        const away = await top(['--url', 'http://127.0.0.1:1']);
        assert.equal(away.code, 7);
        assert.match(away.err, /does not answer/);
        assert.equal((await top(['--token', session.token])).code, 2);
        assert.equal((await top(['--every', '0'])).code, 2);
    });
});

/** What a terminal shows after that output. */
function screen(text, rows, columns) {
    let lines = [];
    let at = [0, 0];
    for (const [, sequence, other] of text.matchAll(/(\x1b\[[?0-9;]*[A-Za-z])|([^\x1b])/gu)) {
        if (sequence === '\x1b[H') {
            at = [0, 0];
        } else if (sequence === '\x1b[K') {
            lines[at[0]] = (lines[at[0]] ?? '').slice(0, at[1]);
        } else if (sequence === '\x1b[J') {
            lines = lines.slice(0, at[0]);
        } else if (sequence === '\x1b[?1049h') {
            lines = [];
        } else if (other === '\n') {
            at = [at[0] + 1, at[1]];
        } else if (other === '\r') {
            at = [at[0], 0];
        } else if (other) {
            const line = (lines[at[0]] ?? '').padEnd(at[1]);
            lines[at[0]] = line.slice(0, at[1]) + other + line.slice(at[1] + 1);
            at = [at[0], at[1] + 1];
        }
        assert.ok(at[0] < rows, 'it stays on the screen');
        assert.ok(at[1] < columns, 'lines are cut to the width');
    }
    return lines;
}

const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';

describe('live', () => {
    test('the screen follows, fits, and is given back with q', async () => {
        const task = await server.api().task(session, { title: 'Live one' });
        for (let i = 0; i < 30; i++) {
            await server.api().task(session, { title: `Filler ${i}` });
        }
        await server.api().reported(task, { type: 'progress', current: 10, total: 100 });
        const c = onTerminal(server, [binary, 'top', '--every', '0.2'], { rows: 24, columns: 90 });
        await c.untilOut(/ 10 % /);
        await server.api().reported(task, { type: 'progress', current: 70, total: 100 });
        await c.untilOut(/ 70 % /);
        c.write('q');
        assert.equal((await c.ended).code, 0);
        assert.ok(c.out.startsWith(ENTER));
        assert.ok(c.out.endsWith(LEAVE));
        assert.match(c.out, /\x1b\[1m/);
        const body = c.out.slice(0, -LEAVE.length);
        const lines = screen(body, 24, 90);
        assert.ok(lines.some((l) => l.startsWith(task.id) && l.includes(' 70 % ')));
        assert.ok(lines.some((l) => /and \d+ more/.test(l)));
        assert.ok(lines.some((l) => l.startsWith('Sessions')));
    });

    test('another size is kept to', async () => {
        const c = onTerminal(server, [binary, 'top', '--every', '3600'], { rows: 24, columns: 90 });
        await c.untilOut(/Sessions[^]*\x1b\[J/); // the whole screen
        const before = c.out.length;
        c.resize(12, 50);
        await until(() => c.out.slice(before).includes('\x1b[J'), 'another screen');
        c.write('q');
        assert.equal((await c.ended).code, 0);
        screen(c.out.slice(before, -LEAVE.length), 12, 50);
    });

    test('NO_COLOR is heeded, and ASCII where the locale has nothing else', async () => {
        const c = onTerminal(server, [binary, 'top'], { env: { NO_COLOR: '1', LC_ALL: 'C' } });
        await c.untilOut(/Sessions/);
        c.write('q');
        await c.ended;
        assert.ok(!/\x1b\[\d*m/.test(c.out));
        assert.ok(!/[\u2588\u2591\u00b7\u2026]/.test(c.out));
        assert.match(c.out, /#------/);
    });

    test('signals end it with the screen given back', async () => {
        for (const [key, code] of [['\x03', 130], ['\x1c', 131]]) {
            const c = onTerminal(server, [binary, 'top']);
            await c.untilOut(/Sessions/);
            c.write(key);
            assert.equal((await c.ended).code, code);
            assert.ok(c.out.endsWith(LEAVE));
        }
    });

    test('a server that goes away is said, and one that comes back is shown again', async () => {
        const own = await start();
        const c = onTerminal(own, [binary, 'top', '--every', '0.1']);
        await c.untilOut(/No active sessions/);
        await own.kill();
        await c.untilOut(/out of reach/);
        const before = c.out.length;
        await own.restart();
        await own.api().session({ user: 'after the restart' });
        await until(() => c.out.slice(before).includes('after the restart'), 'the new session');
        c.write('q');
        assert.equal((await c.ended).code, 0);
        await own.close();
    });

    test('a dumb terminal gets one look', async () => {
        const c = onTerminal(server, [binary, 'top'], { env: { TERM: 'dumb' } });
        assert.equal((await c.ended).code, 0);
        assert.ok(!c.out.includes('\x1b'));
    });
});
