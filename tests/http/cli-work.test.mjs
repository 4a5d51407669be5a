// bowline work: a worker out of any command, and bowline report from within.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { question, until } from './lib/client.mjs';
import { bowline } from './lib/command.mjs';
import { apiKey, binary, start } from './lib/server.mjs';

const workerKey = apiKey('only a worker');
const folder = mkdtempSync(join(tmpdir(), 'bowline-work-'));
let server;
let session;
before(async () => {
    server = await start({ api_keys: `w:worker:${workerKey}` });
    session = await server.api().session();
});
after(async () => {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
});

/** A queue of its own for each test. */
let queues = 0;
const queue = () => `queue-${++queues}`;

const work = (q, flags, script, { to = server, key = workerKey } = {}) => bowline(to, ['work', q, ...flags, '--', 'sh', '-c', script], { key });
const task = (q, members = {}, to = server, s = session) => to.api().task(s, { queue: q, ...members });
const once = async (q, script, flags = []) => work(q, ['--once', ...flags], script).ended;

/** Is the process there, and not only waiting to be fetched? */
function alive(pid) {
    try {
        return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
        return false;
    }
}

const pidIn = (file) => until(() => existsSync(file) && Number(readFileSync(file, 'utf8')), 'the command to start');

describe('input and result', () => {
    test('the input is on standard input, JSON on standard output is the result, to the letter', async () => {
        const q = queue();
        const text = `{"session":"${session.id}","kind":"work","queue":"${q}","input":{"n": 1.50, "t":"\\u00e9"}}`;
        const made = (await server.api().text('/v1/tasks', text)).json;
        const { code, out } = await once(q, 'cat');
        assert.equal(code, 0);
        assert.equal(out, '');
        assert.equal((await server.api().get(`/v1/tasks/${made.id}/result`)).text, '{"n": 1.50, "t":"\\u00e9"}');
    });

    test('what is not JSON becomes a text, nothing becomes null', async () => {
        const q = queue();
        const result = async (script) => {
            const t = await task(q);
            assert.equal((await once(q, script)).code, 0);
            const now = await server.api().look(t);
            assert.equal(now.state, 'succeeded');
            return now.result;
        };
        assert.equal(await result('echo two words'), 'two words');
        assert.equal(await result('printf "a\\nb\\n\\n"'), 'a\nb');
        assert.equal(await result('printf "two\\n\\nlines  \\n\\n"'), 'two\n\nlines  ');
        assert.equal(await result('printf "a\\000b\\001"'), 'a\0b\u0001', 'any character');
        assert.equal(await result('echo 42'), 42);
        assert.equal(await result('echo "[1, 2"'), '[1, 2');
        assert.equal(await result('true'), null);
        assert.equal(await result('cat >/dev/null; echo null'), null);
    });

    test('without input it is null, and a command need not read it', async () => {
        const q = queue();
        const t = await task(q);
        await once(q, 'cat');
        assert.equal((await server.api().look(t)).result, null);
        const big = await task(q, { input: 'x'.repeat(250000) });
        assert.equal((await once(q, 'exec <&-; echo unread')).code, 0);
        assert.equal((await server.api().look(big)).result, 'unread');
        const read = await task(q, { input: 'x'.repeat(250000) });
        assert.equal((await once(q, 'wc -c')).code, 0);
        assert.equal((await server.api().look(read)).result, 250002);
    });

    test('the environment says which task it is, and does not hold the key', async () => {
        const q = queue();
        const t = await task(q);
        await once(q, 'printf "%s %s %s %s %s" "$BOWLINE_TASK" "$BOWLINE_ATTEMPT" "$BOWLINE_URL" "$BOWLINE_REPORT_FD" "${BOWLINE_KEY-none}"');
        assert.equal((await server.api().look(t)).result, `${t.id} 1 ${server.url} 3 none`);
    });

    test('--output streams standard output, byte for byte, and the result is null', async () => {
        const q = queue();
        const file = join(folder, 'bytes');
        const bytes = randomBytes(400000);
        writeFileSync(file, bytes);
        const t = await task(q);
        assert.equal((await once(q, `cat ${file}`, ['--output'])).code, 0);
        const now = await server.api().look(t);
        assert.equal(now.result, null);
        assert.ok((await server.api().get(`/v1/tasks/${t.id}/output`)).bytes.equals(bytes));
    });

    test('what is no text cannot be a result: the task fails and says why', async () => {
        for (const bytes of ['\\377x', 'abc\\303', '\\355\\240\\200', '\\211PNG\\r\\n', '{"a":"\\377"}']) {
            const q = queue();
            const t = await task(q, { max_attempts: 3 });
            const { code, err } = await once(q, `printf '${bytes}'`);
            assert.equal(code, 4, bytes);
            const { state, result, error } = await server.api().look(t);
            assert.equal(state, 'failed', 'and is not tried again');
            assert.equal(result, null);
            assert.equal(error.type, 'result-not-text');
            assert.match(error.message, /UTF-8/);
            assert.match(err, /UTF-8.*--output/);
        }
    });

    test('JSON that cannot be a result is a text, which is said here and in the task', async () => {
        const deep = (levels) => '['.repeat(levels) + ']'.repeat(levels);
        const object = (levels) => '{"a":'.repeat(levels) + '1' + '}'.repeat(levels);
        for (const [json, why] of [[deep(63), /nested too deeply/], [object(70), /nested too deeply/], [deep(5000), /nested too deeply/],
            ['{"a":{"b":1,"b":2}}', /name stands twice.*\/a\/b/], ['["\\ud800"]', /surrogate.*\/0/]]) {
            const q = queue();
            const t = await task(q);
            const file = join(folder, 'result.json');
            writeFileSync(file, json);
            const { code, err } = await once(q, `cat ${file}`);
            assert.equal(code, 0);
            const { state, result, progress } = await server.api().look(t);
            assert.equal(state, 'succeeded');
            assert.equal(result, json);
            assert.match(progress.message, why);
            assert.match(err, why);
        }
        const q = queue();
        const t = await task(q);
        const { err } = await once(q, `printf '%s' '${deep(62)}'`);
        assert.deepEqual((await server.api().look(t)).result, JSON.parse(deep(62)), 'as deep as it may be');
        assert.equal(err, '');
    });

    test('plain text is told without a word', async () => {
        for (const text of ['[INFO] done', '{"a":1}{"b":2}', '{"a":', 'two words']) {
            const q = queue();
            const t = await task(q);
            const { err } = await once(q, `printf '%s' '${text}'`);
            const { result, progress } = await server.api().look(t);
            assert.equal(result, text);
            assert.equal(progress.message, null);
            assert.equal(err, '');
        }
    });

    test('a result that is too large fails the task, and says so', async () => {
        const q = queue();
        const t = await task(q);
        assert.equal((await once(q, 'head -c 9000000 /dev/zero | tr "\\0" x')).code, 4);
        assert.equal((await server.api().look(t)).error.type, 'result-too-large');
    });

    test('a result that the server refuses fails the task, and says so', async () => {
        const own = await start({ max_result: 100 });
        const s = await own.api().session();
        const t = await task('small', {}, own, s);
        const { code } = await work('small', ['--once'], 'head -c 200 /dev/zero | tr "\\0" x', { to: own, key: own.key }).ended;
        assert.equal(code, 4);
        const { state, error } = await own.api().look(t);
        assert.equal(state, 'failed');
        assert.equal(error.type, 'result-refused');
        await own.close();
    });
});

describe('failing', () => {
    test('the exit status and the end of standard error are in the error', async () => {
        const q = queue();
        const t = await task(q);
        const { code, err } = await once(q, 'echo no space left >&2; exit 3');
        assert.equal(code, 4);
        assert.match(err, /no space left/);
        const { state, error } = await server.api().look(t);
        assert.equal(state, 'failed');
        assert.equal(error.type, 'exit-status');
        assert.equal(error.detail.exit_status, 3);
        assert.equal(error.detail.stderr, 'no space left\n');
    });

    test('what is no text on standard error is told as its bytes', async () => {
        const q = queue();
        const t = await task(q);
        await once(q, "printf 'caf\\351' >&2; exit 3");
        const { error } = await server.api().look(t);
        assert.equal(error.detail.stderr, undefined);
        assert.equal(Buffer.from(error.detail.stderr_base64, 'base64').toString('latin1'), 'caf\u00e9');
    });

    test('the end of standard error begins with a whole character', async () => {
        const q = queue();
        const t = await task(q);
        await once(q, "i=0; while [ $i -lt 1500 ]; do printf '\\342\\202\\254' >&2; i=$((i+1)); done; exit 3");
        const { error } = await server.api().look(t);
        assert.equal(error.detail.stderr, '\u20ac'.repeat(1365));
    });

    test('a signal is told as one', async () => {
        const q = queue();
        const t = await task(q);
        await once(q, 'kill -KILL $$');
        const { error } = await server.api().look(t);
        assert.equal(error.type, 'signal');
        assert.equal(error.detail.signal, 9);
    });

    test('75 is to be tried again, anything else is not', async () => {
        const q = queue();
        const t = await task(q, { max_attempts: 3, backoff: 0 });
        const w = work(q, [], 'case $BOWLINE_ATTEMPT in 1) exit 75;; 2) echo ok;; esac');
        const now = await server.api().ended(t);
        assert.equal(now.state, 'succeeded');
        assert.equal(now.attempt, 2);
        const other = await server.api().ended(await task(q, { max_attempts: 3, backoff: 0 })); // attempt 1 says 75, and so on
        assert.equal(other.attempt, 2);
        const hard = queue();
        const failed = await task(hard, { max_attempts: 3, backoff: 0 });
        assert.equal((await once(hard, 'exit 1')).code, 4);
        assert.equal((await server.api().look(failed)).attempt, 1);
        assert.equal((await server.api().look(failed)).state, 'failed');
        w.kill('SIGTERM');
        assert.equal((await w.ended).code, 0);
    });

    test('a command that is not there takes no task', async () => {
        const q = queue();
        const t = await task(q);
        const { code, err } = await bowline(server, ['work', q, '--', 'no-such-command'], { key: workerKey }).ended;
        assert.equal(code, 2);
        assert.match(err, /no command "no-such-command"/);
        assert.equal((await server.api().look(t)).state, 'queued');
    });

    test('a key that may not claim ends the worker', async () => {
        for (const [key, code] of [['blk_wrong', 3], [null, 3]]) {
            assert.equal((await work(queue(), [], 'true', { key }).ended).code, code);
        }
        const { code, err } = await bowline(server, ['work', 'q', '--token', session.token, '--', 'true']).ended;
        assert.equal(code, 2);
        assert.match(err, /API key/);
    });
});

describe('reporting from within', () => {
    test('lines on the descriptor are reports', async () => {
        const q = queue();
        const t = await task(q);
        const lines = [
            { type: 'progress', current: 1, total: 4, unit: 'pages', message: 'one' },
            { type: 'output', data: 'text ' },
            { type: 'output', data_base64: Buffer.from([0xff, 0]).toString('base64') },
            { type: 'heartbeat' },
            { type: 'progress', current: 2, message: null },
        ];
        const file = join(folder, 'lines');
        writeFileSync(file, lines.map((l) => JSON.stringify(l)).join('\n'));
        assert.equal((await once(q, `cat ${file} >&3; echo 7`)).code, 0);
        const now = await server.api().look(t);
        assert.equal(now.result, 7);
        assert.deepEqual([now.progress.current, now.progress.total, now.progress.unit, now.progress.message], [2, 4, 'pages', null]);
        assert.ok((await server.api().get(`/v1/tasks/${t.id}/output`)).bytes.equals(Buffer.concat([Buffer.from('text '), Buffer.from([0xff, 0])])));
    });

    test('phases and data, also where several lines become one report', async () => {
        const shown = async (...lines) => {
            const q = queue();
            const t = await task(q);
            const file = join(folder, 'phases');
            writeFileSync(file, lines.join('\n'));
            assert.equal((await once(q, `cat ${file} >&3`)).code, 0);
            const { current, total, unit, message, phase, data } = (await server.api().look(t)).progress;
            return [current, total, unit, message, phase, data];
        };
        assert.deepEqual(
            await shown('{"type":"progress","current":1,"phase":"load","data":{"a":[1.0]}}', '{"type":"progress","current":2,"phase":"load"}'),
            [2, null, null, null, 'load', { a: [1] }]
        );
        assert.deepEqual(
            await shown('{"type":"progress","current":1,"total":4,"unit":"p","message":"m","data":1}', '{"type":"progress","phase":"store"}'),
            [null, null, null, null, 'store', null],
            'what was said belongs to the phase before'
        );
        assert.deepEqual(
            await shown('{"type":"progress","phase":"a","current":1}', '{"type":"progress","phase":"b","current":2}', '{"type":"progress","phase":null,"data":"x"}'),
            [null, null, null, null, null, 'x']
        );
    });

    test('a line that is no report, or one that the server refuses, is told and does no harm', async () => {
        const q = queue();
        const t = await task(q);
        const lines = ['junk', '{"type":"nonsense"}', '{"type":"progress","current":-1}', '{"type":"input_request"}', '{"type":"output","data":"kept"}', '[]'];
        const file = join(folder, 'junk');
        writeFileSync(file, `${lines.join('\n')}\n`);
        const gate = join(folder, 'gate-junk');
        const w = work(q, ['--once'], `cat ${file} >&3; while [ ! -e ${gate} ]; do sleep 0.02; done; echo '{"type":"progress","current":5}' >&3; echo fine`);
        for (const told of [/: junk/, /nonsense/, /does not take the progress/, /does not take a report/]) {
            await w.untilErr(told);
        }
        writeFileSync(gate, '');
        assert.equal((await w.ended).code, 0);
        const now = await server.api().look(t);
        assert.equal(now.result, 'fine');
        assert.equal(now.progress.current, 5);
        assert.equal((await server.api().get(`/v1/tasks/${t.id}/output`)).text, 'kept');
    });

    test('a member that the server refuses takes nothing with it, of its line or of others', async () => {
        const q = queue();
        for (const [bad, ...rest] of [
            [`{"type":"progress","current":2,"data":"${'x'.repeat(5000)}"}`, '{"type":"progress","message":"m"}', '{"type":"progress","total":4}'],
            ['{"type":"progress","current":2,"phase":"","message":"m"}', '{"type":"progress","total":4}'],
            [`{"type":"progress","current":2,"phase":"","data":"${'x'.repeat(5000)}","message":"m"}`, '{"type":"progress","total":4}'],
        ]) {
            const t = await task(q);
            const file = join(folder, 'faulty');
            writeFileSync(file, [bad, ...rest, ''].join('\n'));
            const w = await once(q, `cat ${file} >&3`);
            assert.match(w.err, /does not take the progress/);
            const { current, total, message, phase, data } = (await server.api().look(t)).progress;
            assert.deepEqual([current, total, message, phase, data], [2, 4, 'm', null, null], bad.slice(0, 60));
        }
    });

    test('a final report on the descriptor goes before output and exit status', async () => {
        const q = queue();
        const good = await task(q);
        await once(q, `echo '{"type":"succeed","result":{"by":"hand"}}' >&3; echo other; exit 1`);
        assert.deepEqual((await server.api().look(good)).result, { by: 'hand' });
        const bad = await task(q);
        await once(q, `echo '{"type":"fail","error":{"type":"disk-full","message":"no space"}}' >&3; echo other`);
        assert.equal((await server.api().look(bad)).error.type, 'disk-full');
    });

    test('bowline report says it, and prints nothing into the result', async () => {
        const q = queue();
        const t = await task(q);
        const script = `${binary} report progress 40/100 --unit pages --message rendering && ${binary} report output 'a line' && ${binary} report heartbeat && echo 1`;
        const { code, err } = await once(q, script);
        assert.equal(code, 0, err);
        const now = await server.api().look(t);
        assert.equal(now.result, 1);
        assert.deepEqual([now.progress.current, now.progress.total, now.progress.unit, now.progress.message], [40, 100, 'pages', 'rendering']);
        assert.equal((await server.api().get(`/v1/tasks/${t.id}/output`)).text, 'a line');
    });

    test('bowline report ask waits for the answer and prints it', async () => {
        const q = queue();
        const t = await task(q);
        const asking = once(q, `a=$(${binary} report ask 'Sure?') && b=$(${binary} report ask 'Which?') && echo "$a and $b"`);
        for (const [prompt, answer] of [['Sure?', true], ['Which?', 'the "second" one']]) {
            const now = await until(async () => {
                const seen = await server.api().look(t);
                return seen.input_request?.prompt === prompt ? seen : null;
            }, prompt);
            assert.equal((await server.api().post(`/v1/tasks/${t.id}/answer`, { request: question(now), answer })).status, 200);
        }
        assert.equal((await asking).code, 0);
        assert.equal((await server.api().look(t)).result, 'true and the "second" one');
    });

    test('a question outlives a restart of the server', async () => {
        const own = await start();
        const s = await own.api().session();
        const t = await task('ask', {}, own, s);
        const w = work('ask', ['--once'], `${binary} report ask 'Sure?'`, { to: own, key: own.key });
        const asked = await until(async () => {
            const seen = await own.api().look(t);
            return seen.input_request ? seen : null;
        }, 'the question');
        await own.kill();
        await own.restart();
        assert.equal((await own.api().post(`/v1/tasks/${t.id}/answer`, { request: question(asked), answer: 'yes' })).status, 200);
        assert.equal((await w.ended).code, 0);
        assert.equal((await own.api().look(t)).result, 'yes');
        await own.close();
    });

    test('a cancelled question ends with 5', async () => {
        const q = queue();
        const t = await task(q);
        const file = join(folder, 'asked');
        const w = work(q, ['--once'], `trap "touch ${file}.heard" TERM; ${binary} report ask 'Sure?'; echo $? > ${file}; while [ ! -e ${file}.heard ]; do sleep 0.02; done`);
        await until(async () => (await server.api().look(t)).input_request, 'the question');
        await server.api().post(`/v1/tasks/${t.id}/cancel`);
        assert.equal((await w.ended).code, 5);
        assert.match(readFileSync(file, 'utf8'), /^(5|143)\n$/);
        assert.equal((await server.api().look(t)).state, 'cancelled');
    });

    test('without a task it says what it is for', async () => {
        const { code, err } = await bowline(server, ['report', 'progress', '1'], { key: null }).ended;
        assert.equal(code, 2);
        assert.match(err, /bowline work/);
    });
});

describe('many at once', () => {
    test('--jobs run side by side, and the rest after them', async () => {
        const q = queue();
        const tasks = [];
        for (let i = 0; i < 7; i++) {
            tasks.push(await task(q, { input: i }));
        }
        const gate = join(folder, 'gate');
        const w = work(q, ['--jobs', '3'], `while [ ! -e ${gate} ]; do sleep 0.02; done; cat`);
        await until(async () => (await server.api().get(`/v1/tasks?queue=${q}&state=running`)).json.items.length === 3, 'three of them');
        assert.equal((await server.api().get(`/v1/tasks?queue=${q}&state=queued`)).json.items.length, 4);
        writeFileSync(gate, '');
        for (const [i, t] of tasks.entries()) {
            assert.equal((await server.api().ended(t)).result, i);
        }
        w.kill('SIGTERM');
        assert.equal((await w.ended).code, 0);
    });

    test('two workers share a queue and do each task once', async () => {
        const q = queue();
        const file = join(folder, 'done');
        const workers = [work(q, ['--jobs', '2'], `cat >> ${file}`), work(q, ['--jobs', '2'], `cat >> ${file}`)];
        const tasks = await Promise.all(Array.from({ length: 20 }, (_, i) => task(q, { input: `<${i}>` })));
        await Promise.all(tasks.map((t) => server.api().ended(t)));
        assert.deepEqual(readFileSync(file, 'utf8').match(/<\d+>/g).sort(), tasks.map((_, i) => `<${i}>`).sort());
        for (const w of workers) {
            w.kill('SIGTERM');
            assert.equal((await w.ended).code, 0);
        }
    });
});

describe('stopping', () => {
    test('a cancelled task stops its command and no other', async () => {
        const q = queue();
        const one = await task(q);
        const two = await task(q);
        const gate = join(folder, 'gate-cancel');
        const w = work(q, ['--jobs', '2'], `while [ ! -e ${gate} ]; do sleep 0.02; done; echo done`);
        await until(async () => (await server.api().look(two)).state === 'running', 'both');
        await server.api().post(`/v1/tasks/${one.id}/cancel`);
        assert.equal((await server.api().ended(one)).state, 'cancelled');
        writeFileSync(gate, '');
        assert.equal((await server.api().ended(two)).state, 'succeeded');
        w.kill('SIGTERM');
        assert.equal((await w.ended).code, 0);
    });

    test('a command that ignores it is killed', async () => {
        const q = queue();
        const t = await task(q);
        const file = join(folder, 'stubborn');
        const w = work(q, ['--once', '--kill-after', '0.2'], `trap "" TERM; echo $$ > ${file}; while :; do sleep 0.02; done`);
        const pid = await pidIn(file);
        await server.api().post(`/v1/tasks/${t.id}/cancel`);
        assert.equal((await w.ended).code, 5);
        assert.equal((await server.api().look(t)).state, 'cancelled');
        assert.ok(!alive(pid));
    });

    test('SIGTERM lets what runs finish and claims no more', async () => {
        const q = queue();
        const t = await task(q);
        const gate = join(folder, 'gate-term');
        const w = work(q, [], `while [ ! -e ${gate} ]; do sleep 0.02; done; echo done`);
        await until(async () => (await server.api().look(t)).state === 'running', 'its start');
        w.kill('SIGTERM');
        await w.untilErr(/no more tasks; 1 still/);
        const later = await task(q);
        writeFileSync(gate, '');
        assert.equal((await w.ended).code, 0);
        assert.equal((await server.api().look(t)).result, 'done');
        assert.equal((await server.api().look(later)).state, 'queued');
        assert.equal((await server.api().look(later)).attempt, 0);
    });

    test('a second signal stops it and gives the task back', async () => {
        const q = queue();
        const t = await task(q);
        const file = join(folder, 'given-back');
        const w = work(q, [], `echo $$ > ${file}; exec sleep 600`);
        const pid = await pidIn(file);
        w.kill('SIGINT');
        await w.untilErr(/1 still/);
        w.kill('SIGINT');
        assert.equal((await w.ended).code, 0);
        assert.ok(!alive(pid));
        assert.equal((await server.api().look(t)).state, 'queued');
        assert.equal((await once(q, 'echo again')).code, 0);
        assert.equal((await server.api().look(t)).result, 'again');
    });

    test('a worker that leaves while it waits takes no task with it', async () => {
        const q = queue();
        for (let round = 0; round < 8; round++) {
            const [w] = await server.api().begun(() => work(q, [], 'sleep 600'));
            const [t] = await Promise.all([task(q), w.kill(round % 2 ? 'SIGTERM' : 'SIGINT')]);
            const took = await Promise.race([w.ended.then(() => false), w.untilErr(/1 still/).then(() => true, () => false)]);
            if (took) {
                w.kill('SIGTERM');
                await w.ended;
            }
            assert.equal((await server.api().claimed(q, {}, 5))[0].id, t.id);
        }
    });

    test('an idle worker leaves at once', async () => {
        const q = queue();
        const w = work(q, [], 'true');
        const t = await task(q);
        await server.api().ended(t);
        w.kill('SIGTERM');
        assert.equal((await w.ended).code, 0);
    });
});

describe('what a command leaves behind', () => {
    let files = 0;
    const file = () => join(folder, `behind-${++files}`);
    const numberIn = (path) => until(() => existsSync(path) && /^\d+\n/.test(readFileSync(path, 'utf8')) && Number(readFileSync(path, 'utf8')), 'a process');

    for (const [what, line] of [
        ['on standard error', 'echo x >&2'],
        ['reports', `echo '{"type":"heartbeat"}' >&3`],
    ]) {
        test(`the command's end is the task's, whatever a child writes ${what}`, async () => {
            const q = queue();
            const t = await task(q);
            const pid = file();
            assert.equal((await once(q, `(while :; do ${line}; sleep 0.02; done) >/dev/null & echo $! > ${pid}; echo 7`)).code, 0);
            assert.equal((await server.api().look(t)).result, 7);
            const child = await numberIn(pid);
            assert.ok(alive(child));
            process.kill(child, 'SIGKILL');
        });
    }

    test('so it is with --output', async () => {
        const q = queue();
        const t = await task(q);
        const pid = file();
        assert.equal((await once(q, `echo first; (while :; do echo x; sleep 0.02; done) & echo $! > ${pid}`, ['--output'])).code, 0);
        assert.equal((await server.api().look(t)).state, 'succeeded');
        assert.match((await server.api().get(`/v1/tasks/${t.id}/output`)).text, /^first\n/);
        process.kill(await numberIn(pid), 'SIGKILL');
    });

    test('a child that is silent for long is not ended by writing then, also when the worker has gone', async () => {
        const q = queue();
        await task(q);
        const [gate, told] = [file(), file()];
        const all = [1, 2, 3].map((fd) => `head -c 200000 /dev/zero >&${fd}`).join(' && ');
        await once(q, `(until [ -e ${gate} ]; do sleep 0.02; done; ${all} && ${all} && echo fine > ${told}) & exit 0`);
        writeFileSync(gate, '');
        await until(() => existsSync(told), 'what the child says at its end');
    });

    // A child in the group of the command, and one that has left group, session and parent; none of them heeds SIGTERM, nor has a descriptor of ours.
    const family = (files) => {
        const stubborn = (name) => `trap "" TERM; exec <&- >&- 2>&- 3>&-; echo $$ > ${files}.$BOWLINE_TASK.${name}; while :; do sleep 0.1; done`;
        return `trap "" TERM; sh -c '${stubborn('near')}' & (setsid sh -c '${stubborn('far')}' &); echo $$ > ${files}.$BOWLINE_TASK.first; while :; do sleep 0.1; done`;
    };
    const familyOf = (files, t) => Promise.all(['near', 'far', 'first'].map((name) => numberIn(`${files}.${t.id}.${name}`)));

    test('a worker that is killed takes all of it along, each of its commands\'', async () => {
        const q = queue();
        const pids = file();
        const tasks = [await task(q), await task(q), await task(q)];
        const w = work(q, ['--jobs', '3'], family(pids));
        const all = (await Promise.all(tasks.map((t) => familyOf(pids, t)))).flat();
        w.kill('SIGKILL');
        await w.ended;
        for (const pid of all) {
            await until(() => !alive(pid), `the end of ${pid}`);
        }
        await Promise.all(tasks.map((t) => server.api().delete(`/v1/tasks/${t.id}`)));
    });

    test('a cancelled task takes all of it along, and nothing of another', async () => {
        const q = queue();
        const pids = file();
        const [one, two] = [await task(q), await task(q)];
        const w = work(q, ['--jobs', '2', '--kill-after', '0.2'], family(pids));
        const [ones, twos] = [await familyOf(pids, one), await familyOf(pids, two)];
        await server.api().post(`/v1/tasks/${one.id}/cancel`);
        assert.equal((await server.api().ended(one)).state, 'cancelled');
        assert.deepEqual(ones.filter(alive), []);
        assert.deepEqual(twos.filter(alive), twos);
        w.kill('SIGTERM');
        await w.untilErr(/1 still/);
        w.kill('SIGTERM');
        assert.equal((await w.ended).code, 0);
        assert.deepEqual(twos.filter(alive), [], 'nor of one that is given back');
        assert.equal((await server.api().look(two)).state, 'queued');
    });
});

describe('when things break', () => {
    test('a worker that is killed takes its command along, and another does the task', async () => {
        const q = queue();
        const t = await task(q, { lease: 2, max_attempts: 2, backoff: 0 });
        const file = join(folder, 'killed');
        const script = `if [ $BOWLINE_ATTEMPT = 1 ]; then echo $$ > ${file}; exec sleep 600; fi; echo "attempt $BOWLINE_ATTEMPT"`;
        const first = work(q, [], script);
        const pid = await pidIn(file);
        first.kill('SIGKILL');
        await first.ended;
        await until(() => !alive(pid), 'the end of the command');
        const second = work(q, ['--once'], script);
        assert.equal((await second.ended).code, 0);
        const now = await server.api().look(t);
        assert.equal(now.result, 'attempt 2');
        assert.equal(now.attempt, 2);
    });

    test('an attempt that is over stops its command', async () => {
        const q = queue();
        const t = await task(q, { lease: 2, max_attempts: 2, backoff: 0 });
        const file = join(folder, 'superseded');
        const w = work(q, ['--once'], `echo $$ > ${file}; exec sleep 600`);
        const pid = await pidIn(file);
        await until(async () => (await server.api().look(t)).state === 'running', 'its start');
        w.kill('SIGSTOP');
        const [again] = await server.api().claimed(q, { lease: 60 });
        assert.equal(again.id, t.id);
        w.kill('SIGCONT');
        const { code, err } = await w.ended;
        assert.equal(code, 4);
        assert.match(err, /attempt is over/);
        assert.ok(!alive(pid));
        await server.api().reported(t, { type: 'succeed' }, again.worker_token);
    });

    test('a silent command keeps its lease', async () => {
        const q = queue();
        const t = await task(q, { lease: 3 });
        assert.equal((await once(q, 'sleep 4; echo done')).code, 0);
        assert.equal((await server.api().look(t)).attempt, 1);
    });

    test('a server that is killed in the middle gets everything when it is back, and goes on being asked', async () => {
        const own = await start();
        const s = await own.api().session();
        const gate = join(folder, 'gate-lost');
        const t = await task('lost', { lease: 30 }, own, s);
        const script = `if [ -e ${gate}.2 ]; then cat; exit; fi; echo one; while [ ! -e ${gate} ]; do sleep 0.02; done; echo two; echo '{"type":"progress","current":9}' >&3; touch ${gate}.2`;
        const w = work('lost', ['--output'], script, { to: own, key: own.key });
        await until(async () => (await own.api().look(t)).output_bytes === 4, 'the first output');
        await own.kill();
        writeFileSync(gate, '');
        await until(() => existsSync(`${gate}.2`), 'the end of the command');
        await own.restart();
        const now = await own.api().ended(t);
        assert.equal(now.state, 'succeeded');
        assert.equal(now.progress.current, 9);
        assert.equal((await own.api().get(`/v1/tasks/${t.id}/output`)).text, 'one\ntwo\n');
        const next = await own.api().ended(await task('lost', { input: 5 }, own, s));
        assert.equal((await own.api().get(`/v1/tasks/${next.id}/output`)).text, '5');
        w.kill('SIGTERM');
        assert.equal((await w.ended).code, 0);
        await own.close();
    });

    test('a worker that starts before its server waits for it', async () => {
        const own = await start();
        await own.kill();
        const w = work('early', ['--once'], 'cat', { to: own, key: own.key });
        await w.untilErr(/does not answer/);
        await own.restart();
        const s = await own.api().session();
        const t = await task('early', { input: 3 }, own, s);
        assert.equal((await w.ended).code, 0);
        assert.equal((await own.api().look(t)).result, 3);
        await own.close();
    });
});
