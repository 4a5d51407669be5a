// `bowline report`: phase and data, and texts and numbers that cannot be sent as they are.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { binary, run, start } from './lib/server.mjs';

let s;
let app;
before(async () => {
    s = await start();
    app = s.api();
});
after(() => s.close());

const fresh = async () => app.task(await app.session());
const env = (t) => ({ BOWLINE_URL: s.url, BOWLINE_TOKEN: t.worker_token, BOWLINE_TASK: t.id });
const report = (t, ...words) => run(['report', ...words], { env: env(t) });
/** Through a shell, which can write bytes that are no text: BAD is the name of a file that is not UTF-8. */
const shell = (t, script) => run(['-c', `BAD=$(printf 'caf\\351.txt'); ${script}`], { env: { ...env(t), BOWLINE: binary }, program: '/bin/sh' });
async function good(end) {
    const { code, out, err } = await end;
    assert.equal(code, 0, err);
    return { out, err };
}
async function refused(end, pattern, wanted = 2) {
    const { code, out, err } = await end;
    assert.deepEqual([code, out], [wanted, '']);
    assert.match(err, pattern);
}

describe('progress', () => {
    test('has a phase and data', async () => {
        const t = await fresh();
        await good(report(t, 'progress', '1/3', '--phase', 'loading', '--data', '{"failed" : 2}', '--unit', 'rows'));
        const shown = (await app.look(t)).progress;
        assert.deepEqual([shown.phase, shown.current, shown.total, shown.data], ['loading', 1, 3, { failed: 2 }]);
        const { out } = await good(run(['task', 'show', t.id], { env: { BOWLINE_URL: s.url, BOWLINE_KEY: s.key } }));
        assert.match(out, /^progress +loading: 1 \/ 3 rows \(33 %\)$/m);
        assert.match(out, /^data +\{"failed" : 2\}$/m);
        await good(report(t, 'progress', '--phase', 'saving'));
        const next = (await app.look(t)).progress;
        assert.deepEqual([next.phase, next.current, next.unit, next.data], ['saving', null, null, null]);
        await good(report(t, 'progress', '--data', '[1]'));
        await good(report(t, 'progress', '--data', 'null'));
        assert.equal((await app.look(t)).progress.data, null);
        await good(report(t, 'progress', '--phase', ''));
        assert.equal((await app.look(t)).progress.phase, null);
    });

    test('a message that is too long is cut, and that is said', async () => {
        const t = await fresh();
        const { out, err } = await good(report(t, 'progress', '7', '--message', 'é'.repeat(600)));
        assert.equal(out, '');
        assert.match(err, /cut at 500 characters/);
        const { current, message } = (await app.look(t)).progress;
        assert.deepEqual([current, message], [7, 'é'.repeat(500)]);
    });

    test('numbers that are none, and data that are no JSON, are refused with what they are', async () => {
        const t = await fresh();
        for (const amount of ['nan', 'inf', '1/-inf', 'NaN', '1/nan', 'Infinity/3', '1e400', '3/', 'x']) {
            await refused(report(t, 'progress', amount), new RegExp(`"${amount}" is no progress`));
        }
        for (const data of ['NaN', '{"a": Infinity}', '[1', "'x'", '{"a":1,"a":2}', '"\\ud800"']) {
            await refused(report(t, 'progress', '--data', data), /--data is not JSON/);
            await refused(report(t, 'succeed', data), /result is not JSON/);
            await refused(report(t, 'fail', 'x', 'm', '--detail', data), /--detail is not JSON/);
            await refused(report(t, 'ask', 'Go?', '--schema', data), /--schema is not JSON/);
        }
        for (const flag of ['--lease', '--timeout', '--max-attempts']) {
            await refused(run(['task', 'start', '--session', 'ses_X', '--kind', 'k', flag, 'nan'], { env: { BOWLINE_URL: s.url, BOWLINE_KEY: s.key } }), /"nan" is not a number/);
        }
        assert.equal((await app.look(t)).state, 'queued');
    });
});

describe('a name of a file that is not UTF-8', () => {
    test('is mended in what is for people', async () => {
        const t = await fresh();
        await good(shell(t, '"$BOWLINE" report progress 1 --message "reading $BAD" --unit "$BAD" --phase "$BAD"'));
        const { message, unit, phase } = (await app.look(t)).progress;
        assert.deepEqual([message, unit, phase], ['reading caf\ufffd.txt', 'caf\ufffd.txt', 'caf\ufffd.txt']);
        await good(shell(t, '"$BOWLINE" report fail no-file "cannot read $BAD"'));
        assert.deepEqual((await app.look(t)).error, { type: 'no-file', message: 'cannot read caf\ufffd.txt', detail: null });
        const titled = await good(shell(t, `"$BOWLINE" task start --key ${s.key} --session ${t.session} --kind k --title "$BAD" --json`));
        assert.equal(JSON.parse(titled.out).title, 'caf\ufffd.txt');
    });

    test('is refused in what has to be exact, and tells which', async () => {
        const t = await fresh();
        await refused(shell(t, '"$BOWLINE" report fail "$BAD" m'), /the type is not UTF-8/);
        await refused(shell(t, '"$BOWLINE" report progress --data "\\"$BAD\\""'), /--data is not JSON: the text is not UTF-8/);
        await refused(shell(t, '"$BOWLINE" report succeed "\\"$BAD\\""'), /result is not JSON: the text is not UTF-8/);
        await refused(shell(t, `"$BOWLINE" session create --key ${s.key} --session-key "$BAD"`), /--session-key is not UTF-8/);
        await refused(shell(t, `"$BOWLINE" session create --key ${s.key} --user "$BAD"`), /--user is not UTF-8/);
        await refused(shell(t, `"$BOWLINE" task start --key ${s.key} --session-key k --user "$BAD" --kind k`), /--user is not UTF-8/);
        await refused(shell(t, `"$BOWLINE" task start --key ${s.key} --session ${t.session} --kind "$BAD"`), /--kind is not UTF-8/);
    });

    test('is output as it is', async () => {
        const t = await fresh();
        await good(shell(t, '"$BOWLINE" report output "$BAD"'));
        assert.deepEqual((await app.get(`/v1/tasks/${t.id}/output`)).bytes, Buffer.from('caf\xe9.txt', 'latin1'));
    });
});

test('an end is told, however long what is said of it', async () => {
    const t = await fresh();
    await good(report(t, 'fail', 'x', 'é'.repeat(5000)));
    assert.equal((await app.look(t)).error.message, 'é'.repeat(2000));
});
