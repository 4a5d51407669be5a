// bowline run: any command as a task, with a server that comes and goes.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from './lib/client.mjs';
import { bowline, bowlineWithout, Command, onTerminal } from './lib/command.mjs';
import { binary, start } from './lib/server.mjs';

let server;
let session;
before(async () => {
    server = await start();
    session = await server.api().session();
});
after(() => server.close());

/** bowline run for the session, with a shell script. */
const run = (flags, script, ...more) => bowline(server, ['run', '--session', session.id, ...flags, '--', 'sh', '-c', script, ...more]);

const newest = async (kind = 'sh') => (await server.api().get(`/v1/tasks?kind=${kind}&limit=1`)).json.items[0];
const started = (kind) => until(() => newest(kind), 'the task');
const output = async (task) => (await server.api().get(`/v1/tasks/${task.id}/output`)).bytes;

/** A kind of its own, so that a test finds its task. */
let kinds = 0;
const kind = () => `kind-${++kinds}`;

describe('what the command sees and what the task shows', () => {
    test('output, progress, result and exit status', async () => {
        const k = kind();
        const { code, out, err } = await run(['--kind', k, '--title', 'Three steps'], 'echo begin; echo aside >&2; for i in 1 2 3; do echo "step $i/3"; done').end();
        assert.equal(code, 0);
        assert.equal(out, 'begin\nstep 1/3\nstep 2/3\nstep 3/3\n');
        assert.equal(err, 'aside\n');
        const task = await newest(k);
        assert.equal(task.state, 'succeeded');
        assert.equal(task.title, 'Three steps');
        assert.equal(task.session, session.id);
        assert.equal(task.progress.current, 3);
        assert.equal(task.progress.total, 3);
        assert.equal(task.result.exit_status, 0);
        assert.equal(typeof task.result.seconds, 'number');
        const text = (await output(task)).toString();
        assert.equal(text.replace('aside\n', ''), out, 'both streams are the output');
        assert.ok(text.includes('aside\n'));
    });

    test('the kind is the name of the command', async () => {
        assert.equal((await bowline(server, ['run', '--session', session.id, '--', '/bin/true']).end()).code, 0);
        assert.equal((await newest('true')).state, 'succeeded');
    });

    test('what is written to one place stays in order', async () => {
        const k = kind();
        const script = 'for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done';
        const { code, out } = await bowline(server, ['run', '--session', session.id, '--kind', 'one', '--', 'sh', '-c', script]).end();
        assert.equal(code, 0);
        assert.equal(out.split('\n').length, 10);
        const words = [binary, 'run', '--session', session.id, '--kind', k, '--', 'sh', '-c', script];
        const joined = onTerminal(server, ['sh', '-c', 'exec "$@" > "$0" 2>&1', join(folder(), 'both'), ...words]);
        assert.equal((await joined.ended).code, 0);
        assert.equal((await output(await newest(k))).toString(), [...'123456789'].map((i) => `out ${i}\nerr ${i}\n`).join(''));
    });

    test('a failure is one, with the status', async () => {
        const k = kind();
        assert.equal((await run(['--kind', k], 'exit 7').end()).code, 7);
        const { state, error } = await newest(k);
        assert.equal(state, 'failed');
        assert.equal(error.type, 'exit-status');
        assert.equal(error.detail.exit_status, 7);
    });

    test('so is a signal', async () => {
        const k = kind();
        assert.equal((await run(['--kind', k], 'kill -SEGV $$').end()).code, 139);
        const { state, error } = await newest(k);
        assert.equal(state, 'failed');
        assert.equal(error.type, 'signal');
        assert.equal(error.detail.signal, 11);
        assert.equal(error.detail.exit_status, 139);
    });

    test('a command that is not there ends with 127, one that cannot be executed with 126', async () => {
        const file = join(folder(), 'data');
        writeFileSync(file, 'x', { mode: 0o600 });
        const missing = await bowline(server, ['run', '--session', session.id, '--', 'no-such-command']).end();
        assert.equal(missing.code, 127);
        assert.match(missing.err, /no-such-command: No such file/);
        assert.equal((await newest('no-such-command')).error.detail.exit_status, 127);
        assert.equal((await bowline(server, ['run', '--session', session.id, '--', file]).end()).code, 126);
    });

    test('standard input is the command\'s', async () => {
        const { code, out } = await run([], 'wc -c').end('twelve bytes');
        assert.equal(code, 0);
        assert.equal(out.trim(), '12');
    });

    test('bytes of any kind arrive as they are', async () => {
        const k = kind();
        const bytes = Buffer.concat([randomBytes(700000), Buffer.from('h\u00e9llo \u{1f6a2}\0\n'), randomBytes(3), Buffer.from([0xc3])]);
        const c = run(['--kind', k], 'cat');
        const { code } = await c.end(bytes);
        assert.equal(code, 0);
        assert.ok(c.stdout.equals(bytes), 'on our own standard output');
        assert.ok((await output(await newest(k))).equals(bytes), 'on the server');
    });

    test('text is text to watchers, also where a character is cut', async () => {
        const k = kind();
        const c = run(['--kind', k], 'cat');
        const character = Buffer.from('\u{1f6a2}');
        for (const byte of character) {
            c.write(Buffer.from([byte]));
            await until(() => c.stdout.length > 0, 'a byte to come through');
        }
        assert.equal((await c.end('!')).code, 0);
        const task = await newest(k);
        assert.equal((await output(task)).toString(), '\u{1f6a2}!');
        const { events } = (await server.api().page(`/v1/tasks/${task.id}/events`)).json;
        const pieces = events.filter((e) => e.event === 'output');
        assert.ok(pieces.every((e) => 'data' in e.data));
        assert.equal(pieces.map((e) => e.data.data).join(''), '\u{1f6a2}!');
    });

    test('a reader that goes away ends the command as it would have without us', async () => {
        const words = [binary, 'run', '--session', session.id, '--', 'yes'];
        const pipe = onTerminal(server, ['sh', '-c', '"$@" | head -n 1; echo over', 'sh', ...words]);
        await pipe.untilOut(/over/);
        assert.equal((await pipe.ended).code, 0);
        const task = await server.api().ended(await newest('yes'));
        assert.equal(task.state, 'failed');
        assert.equal(task.error.detail.exit_status, 141);
    });

    test('something that stays behind with the output open is not waited for', async () => {
        const { code, out } = await run([], 'sleep 600 & echo $!').end();
        assert.equal(code, 0);
        process.kill(Number(out), 'SIGKILL');
    });

    test('--no-output reports progress and the end only', async () => {
        const k = kind();
        const { code, out } = await run(['--kind', k, '--no-output'], 'echo 42%').end();
        assert.equal(code, 0);
        assert.equal(out, '42%\n');
        const task = await newest(k);
        assert.equal(task.output_bytes, 0);
        assert.equal(task.progress.current, 42);
        assert.equal(task.progress.unit, '%');
    });

    test('the numbers of a bar are progress, not those beside it, and do not go back and forth', async () => {
        const k = kind();
        const steps = [1, 2].flatMap((epoch) => [0, 1, 2, 3, 4].map((step) => ({ epoch, step })));
        const lines = steps.map(({ epoch, step }) => `Epoch ${epoch}/2: ${step * 25}%|${'#'.repeat(2 * step).padEnd(8)}| ${step}/4 [00:01<00:01]`);
        const c = run(['--kind', k], lines.map((line) => `printf '\\r%s' '${line}'; read x`).join('\n'));
        for (const [i, { epoch, step }] of steps.entries()) {
            await until(() => c.out.includes(lines[i]), 'the line');
            const expected = epoch === 2 && step === 0 ? 4 : step; /* what begins anew is told when it rises */
            await until(async () => (await newest(k))?.progress.current === expected, `the progress of ${lines[i]}`);
            const { progress } = await newest(k);
            assert.deepEqual([progress.total, progress.unit], [4, null]);
            c.write('\n');
        }
        assert.equal((await c.ended).code, 0);
    });

    test('what is no progress is not told', async () => {
        const k = kind();
        await run(['--kind', k], 'echo "50% off today"; echo "1/2 tests failed"; echo "see a/1/2.txt of 2026/05/01"').end();
        assert.equal((await newest(k)).progress.current, null);
    });

    test('a size has the unit of its total', async () => {
        const k = kind();
        await run(['--kind', k], 'echo "got 512KiB/2MiB"; echo "got 1024KiB/2MiB"').end();
        const { progress } = await newest(k);
        assert.deepEqual([progress.current, progress.total, progress.unit], [1, 2, 'MiB']);
    });

    test('--progress says what progress is', async () => {
        const k = kind();
        await run(['--kind', k, '--progress', 'page ([0-9]+) of about ([0-9]+)'], 'echo "99% page 3 of about 12"').end();
        const { progress } = await newest(k);
        assert.equal(progress.current, 3);
        assert.equal(progress.total, 12);
    });

    test('a line without an end is progress, too', async () => {
        const k = kind();
        const c = run(['--kind', k], 'printf "10%%\\r20%%\\r"; printf "30%%"; read x');
        await until(async () => (await newest(k))?.progress.current === 30, 'the progress of the last line');
        assert.equal((await c.end('\n')).code, 0);
    });

    test('the command can report, too', async () => {
        const k = kind();
        const c = run(['--kind', k], `${binary} report progress 5/9 --message halfway && echo "$BOWLINE_TASK $BOWLINE_ATTEMPT"`);
        const { code, out } = await c.end();
        assert.equal(code, 0, c.err);
        const task = await newest(k);
        assert.equal(out, `${task.id} 1\n`);
        assert.equal(task.progress.message, 'halfway');
    });
});

let folders;
function folder() {
    folders ??= mkdtempSync(join(tmpdir(), 'bowline-run-'));
    return folders;
}
after(() => folders && rmSync(folders, { recursive: true, force: true }));

describe('which task', () => {
    test('one that was given', async () => {
        const task = await server.api().task(session);
        const c = bowline(server, ['run', '--token', task.worker_token, '--task', task.id, '--', 'echo', '3/4'], { key: null });
        assert.equal((await c.end()).code, 0);
        const now = await server.api().look(task);
        assert.equal(now.state, 'succeeded');
        assert.equal(now.progress.total, 4);
    });

    test('one that was given and has output already goes on behind it', async () => {
        const task = await server.api().task(session);
        await server.api().reported(task, { type: 'output', data: 'before\n' });
        await bowline(server, ['run', '--token', task.worker_token, '--', 'echo', 'after'], { key: null }).end();
        assert.equal((await output(task)).toString(), 'before\nafter\n');
    });

    test('what cannot be is refused before anything is run', async () => {
        const task = await server.api().task(session);
        const marker = join(folder(), 'ran');
        const refused = async (code, args, options, ...patterns) => {
            const end = await bowline(server, ['run', ...args, '--', 'touch', marker], options).end();
            assert.equal(end.code, code, end.err);
            for (const p of patterns) {
                assert.match(end.err, p);
            }
        };
        await refused(2, [], {}, /for which session/);
        await refused(2, ['--token', task.token], {}, /worker token/);
        await refused(2, ['--token', task.worker_token, '--session', session.id], {}, /--session is for a new task/);
        await refused(2, ['--token', task.worker_token, '--task', 'tsk_01AAAAAAAAAAAAAAAAAAAAAAAA'], {}, /not that of/);
        await refused(2, ['--session', session.id, '--progress', '('], {}, /--progress/);
        await refused(2, ['--session', session.id, '--progress', 'x'], {}, /0 groups/);
        await refused(3, ['--session', 'ses_01AAAAAAAAAAAAAAAAAAAAAAAA'], {}, /not-found/);
        await refused(3, ['--session', session.id], { key: 'blk_wrong' }, /unauthenticated/);
        await refused(7, ['--session', session.id, '--url', 'http://127.0.0.1:1'], {}, /does not answer/);
        const without = await bowline(server, ['run', '--session', session.id, 'touch', marker]).end();
        assert.equal(without.code, 2);
        assert.match(without.err, /stands behind --/);
        assert.equal((await bowline(server, ['run', '--session', session.id]).end()).code, 2);
        assert.throws(() => readFileSync(marker));
    });
});

describe('stopping', () => {
    test('signals go to the command, and its answer is ours', async () => {
        const k = kind();
        const c = run(['--kind', k], 'trap "echo got it; exit 9" TERM USR1; echo ready; while :; do sleep 0.05; done');
        await c.untilOut(/ready/);
        c.kill('SIGTERM');
        const { code, out } = await c.ended;
        assert.equal(code, 9);
        assert.match(out, /got it/);
        assert.equal((await newest(k)).error.detail.exit_status, 9);
    });

    test('each of INT, HUP and QUIT arrives', async () => {
        for (const [signal, number] of [['SIGINT', 2], ['SIGHUP', 1], ['SIGQUIT', 3]]) {
            const c = run([], 'ulimit -c 0; echo ready; exec sleep 600');
            await c.untilOut(/ready/);
            c.kill(signal);
            assert.equal((await c.ended).code, 128 + number, signal);
        }
    });

    test('a cancelled task stops the command and ends cancelled', async () => {
        const k = kind();
        const c = run(['--kind', k], 'echo ready; exec sleep 600');
        await c.untilOut(/ready/);
        const task = await newest(k);
        await server.api().post(`/v1/tasks/${task.id}/cancel`, { reason: 'enough' });
        const { code, err } = await c.ended;
        assert.equal(code, 143);
        assert.match(err, /to be cancelled/);
        const now = await server.api().look(task);
        assert.equal(now.state, 'cancelled');
        assert.equal(now.cancel_reason, 'enough');
    });

    test('a command that does not heed it is killed, with everything in its group', async () => {
        const k = kind();
        const c = run(['--kind', k, '--kill-after', '0.3'], 'trap "" TERM; (trap "" TERM; while :; do sleep 0.05; done) & echo $!; while :; do sleep 0.05; done');
        const [, pid] = await c.untilOut(/(\d+)\n/);
        const task = await newest(k);
        await server.api().post(`/v1/tasks/${task.id}/cancel`);
        assert.equal((await c.ended).code, 137);
        assert.equal((await server.api().look(task)).state, 'cancelled');
        await until(() => !alive(Number(pid)), 'the end of the background process');
    });

    test('a session that ends takes its command along', async () => {
        const own = await server.api().session();
        const c = bowline(server, ['run', '--session', own.id, '--on-session-end', 'cancel', '--', 'sh', '-c', 'echo ready; exec sleep 600']);
        await c.untilOut(/ready/);
        await server.api().delete(`/v1/sessions/${own.id}`);
        assert.equal((await c.ended).code, 143);
    });

    test('a task that times out stops the command', async () => {
        const k = kind();
        const c = run(['--kind', k, '--timeout', '0.5', '--kill-after', '60'], 'exec sleep 600');
        assert.equal((await c.ended).code, 143);
        assert.equal((await newest(k)).error.type, 'timeout');
    });

    test('a silent command keeps its lease', async () => {
        const k = kind();
        const c = run(['--kind', k, '--lease', '3'], 'read x; sleep 4; echo done');
        const task = await started(k);
        assert.equal((await c.end('\n')).code, 0);
        const now = await server.api().look(task);
        assert.equal(now.state, 'succeeded');
        assert.equal(now.attempt, 1);
    });
});

function alive(pid) {
    try {
        return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
        return false;
    }
}

const parentOf = (pid) => Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

/** A child whose number stands in that file. */
const pidIn = (file) => until(() => existsSync(file) && /^\d+\n/.test(readFileSync(file, 'utf8')) && Number(readFileSync(file, 'utf8')), 'the child');

describe('what a command leaves behind', () => {
    let files = 0;
    const file = () => join(folder(), `behind-${++files}`);

    /** It goes on and, when it has ended too, so has what kept its output open. */
    const livesOn = async (pid) => {
        assert.ok(alive(pid));
        const guard = parentOf(pid);
        process.kill(pid, 'SIGKILL');
        await until(() => !alive(guard), 'the end of the guard');
    };

    for (const [where, to] of [['output', ''], ['standard error', '>&2']]) {
        test(`the command's end is the task's, whatever a child writes on ${where}`, async () => {
            const k = kind();
            const pid = file();
            const { code } = await run(['--kind', k], `(while :; do echo x; sleep 0.02; done) ${to} & echo $! > ${pid}; echo "1/3"; exit 3`).ended;
            assert.equal(code, 3);
            const task = await newest(k);
            assert.equal(task.error.detail.exit_status, 3);
            assert.equal(task.progress.total, 3);
            await livesOn(await pidIn(pid));
        });
    }

    test('so it is on a terminal', async () => {
        const k = kind();
        const pid = file();
        const script = `(while :; do echo x; sleep 0.02; done) & echo $! > ${pid}; exit 3`;
        const c = onTerminal(server, [binary, 'run', '--session', session.id, '--kind', k, '--', 'sh', '-c', script]);
        assert.equal((await c.ended).code, 3);
        assert.equal((await newest(k)).error.detail.exit_status, 3);
        await livesOn(await pidIn(pid));
    });

    // It says nothing until the task has ended, then more than a pipe holds on either output, and that it still lives.
    const late = (gate, told) => `(until [ -e ${gate} ]; do sleep 0.02; done; for i in 1 2; do head -c 200000 /dev/zero; head -c 200000 /dev/zero >&2; done && echo fine > ${told}) & exit 0`;

    for (const [where, starts] of [
        ['', (...args) => bowline(server, args)],
        [' on a terminal', (...args) => onTerminal(server, [binary, ...args])],
    ]) {
        test(`a child that is silent for long is not ended by writing then${where}`, async () => {
            const [gate, told] = [file(), file()];
            const c = starts('run', '--session', session.id, '--', 'sh', '-c', late(gate, told));
            assert.equal((await c.ended).code, 0);
            writeFileSync(gate, '');
            await until(() => existsSync(told), 'what the child says at its end');
        });
    }

    /** A command that has ended while its child still writes; the child says when it gets SIGTERM. */
    const lingering = async (k, told) => {
        const c = run(['--kind', k], `(trap "echo got it > ${told}; exit" TERM; while :; do echo x; sleep 0.02; done) & echo "pid $$"; sleep 0.3`);
        const [, pid] = await c.untilOut(/pid (\d+)/);
        const task = await started(k);
        await until(() => !alive(Number(pid)), 'the end of the command');
        return [c, task];
    };

    test('a signal reaches who is left, and nothing more is waited for', async () => {
        const told = file();
        await until(async () => { // on a busy machine the second in which it can be may have passed
            const k = kind();
            const [c, task] = await lingering(k, told);
            c.kill('SIGTERM');
            assert.equal((await c.ended).code, 0);
            assert.equal((await server.api().look(task)).state, 'succeeded');
            return until(() => existsSync(told), 'the signal', 2000).catch(() => false);
        }, 'the signal');
    });

    test('a cancel reaches who is left', async () => {
        const told = file();
        await until(async () => {
            const [c, task] = await lingering(kind(), told);
            await server.api().post(`/v1/tasks/${task.id}/cancel`);
            assert.equal((await c.ended).code, 0);
            return (await server.api().look(task)).state === 'cancelled';
        }, 'a task that is cancelled');
        assert.ok(existsSync(told));
    });

    test('the task ends with the command, though nobody has read its output yet', async () => {
        const k = kind();
        const gate = file();
        const words = [binary, 'run', '--session', session.id, '--kind', k, '--', 'seq', '20000'];
        const c = onTerminal(server, ['sh', '-c', `"$@" | (until [ -e ${gate} ]; do sleep 0.02; done; wc -l)`, 'sh', ...words]);
        const task = await server.api().ended(await started(k));
        assert.equal(task.state, 'succeeded');
        assert.equal((await output(task)).toString().split('\n').length, 20001);
        writeFileSync(gate, '');
        await c.untilOut(/20000/);
        assert.equal((await c.ended).code, 0);
    });

    test('a reader that never reads is not waited for past a signal', async () => {
        const k = kind();
        const pid = file();
        const script = `"$@" | (until [ -e ${pid}.over ]; do sleep 0.02; done)`;
        const c = onTerminal(server, ['sh', '-c', script, 'sh', 'sh', '-c', `echo $$ > ${pid}; exec "$0" "$@"`, binary, 'run', '--session', session.id, '--kind', k, '--', 'seq', '20000']);
        await server.api().ended(await started(k));
        const ours = await pidIn(pid);
        process.kill(ours, 'SIGTERM');
        await until(() => !alive(ours), 'its end');
        writeFileSync(`${pid}.over`, '');
        await c.ended;
    });

    // A child in the group of the command, and one that has left group, session and parent; neither heeds SIGTERM.
    const family = (pids) => {
        const stubborn = (name) => `trap "" TERM; echo $$ > ${pids}.${name}; exec <&- >&- 2>&-; while :; do sleep 0.1; done`;
        return `sh -c '${stubborn('near')}' & (setsid sh -c '${stubborn('far')}' &); echo $$ > ${pids}.first; echo ready; exec sleep 600`;
    };
    const familyPids = (pids) => Promise.all(['near', 'far', 'first'].map((name) => pidIn(`${pids}.${name}`)));
    const allGone = async (pids) => {
        for (const pid of pids) {
            await until(() => !alive(pid), `the end of ${pid}`);
        }
    };

    test('a cancelled task takes all of it along', async () => {
        const k = kind();
        const pids = file();
        const c = run(['--kind', k, '--kill-after', '0.2'], family(pids));
        const all = await familyPids(pids);
        await server.api().post(`/v1/tasks/${(await newest(k)).id}/cancel`);
        await c.ended;
        assert.deepEqual(all.filter(alive), []);
    });

    test('so does the end of bowline run by SIGKILL', async () => {
        const pids = file();
        const c = run([], family(pids));
        const all = await familyPids(pids);
        const guard = parentOf(all[2]);
        c.kill('SIGKILL');
        await c.ended;
        await allGone([...all, guard]);
    });

    test('a guard that is killed ends the command, which is told', async () => {
        const k = kind();
        const pids = file();
        const c = run(['--kind', k], family(pids));
        const [near, far, first] = await familyPids(pids);
        process.kill(parentOf(first), 'SIGKILL');
        assert.equal((await c.ended).code, 137);
        assert.equal((await newest(k)).error.detail.signal, 9);
        await allGone([near, first]);
        process.kill(far, 'SIGKILL');
    });
});

describe('the descriptors that a command finds', () => {
    const look = ['sh', '-c', 'for n in $(seq 3 99); do if [ -e /proc/$$/fd/$n ]; then echo $n; fi; done'];
    const giving = (args, given, key = server.key) =>
        new Command('sh', ['-c', `exec "$0" "$@" ${given}`, binary, ...args], { env: { BOWLINE_URL: server.url, BOWLINE_KEY: key } }).ended;
    const looked = async (args, given) => (await giving(args, given)).out;

    test('run: none of ours', async () => {
        assert.equal(await looked(['run', '--session', session.id, '--', ...look], ''), '');
    });

    test('run: what it was given with', async () => {
        assert.equal(await looked(['run', '--session', session.id, '--', ...look], '3</dev/null 7</dev/null 8</dev/null'), '3\n7\n8\n');
    });

    test('work: the one for reports, and what it was given with', async () => {
        const q = kind();
        for (const [given, found] of [['', 3], ['3</dev/null 9</dev/null', '3\n9']]) {
            const task = await server.api().task(session, { queue: q });
            assert.equal((await giving(['work', q, '--once', '--', ...look], given)).code, 0);
            assert.equal((await server.api().look(task)).result, found);
        }
    });
});

describe('started with standard descriptors closed', () => {
    const sets = [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]];

    test('the output is the task\'s, whichever are closed', async () => {
        for (const closed of sets) {
            const k = kind();
            const c = bowlineWithout(server, closed, ['run', '--session', session.id, '--kind', k, '--', 'head', '-c', '100000', '/dev/zero']);
            assert.equal((await c.ended).code, 0, `closed: ${closed}`);
            assert.ok((await output(await newest(k))).equals(Buffer.alloc(100000)), `closed: ${closed}`);
        }
    });

    test('the command reads nothing', async () => {
        const k = kind();
        const script = 'cat; readlink /proc/self/fd/0';
        const { code, out } = await bowlineWithout(server, [0], ['run', '--session', session.id, '--kind', k, '--', 'sh', '-c', script]).ended;
        assert.equal(code, 0);
        assert.equal(out, '/dev/null\n');
    });

    test('signals work', async () => {
        for (const closed of sets) {
            const k = kind();
            const c = bowlineWithout(server, closed, ['run', '--session', session.id, '--kind', k, '--', 'sh', '-c', 'echo ready; exec sleep 600']);
            await until(async () => (await newest(k))?.output_bytes === 6, 'its output');
            c.kill('SIGTERM');
            assert.equal((await c.ended).code, 143, `closed: ${closed}`);
        }
    });

    test('a worker does its task', async () => {
        for (const closed of sets) {
            const q = kind();
            const task = await server.api().task(session, { queue: q, input: { n: 1 } });
            const c = bowlineWithout(server, closed, ['work', q, '--once', '--', 'sh', '-c', 'echo aside >&2; cat']);
            assert.equal((await c.ended).code, 0, `closed: ${closed}`);
            assert.deepEqual((await server.api().look(task)).result, { n: 1 });
        }
    });

    test('the other commands do what they are asked', async () => {
        for (const closed of [[0], [2], [0, 2]]) {
            const { code, out } = await bowlineWithout(server, closed, ['session', 'show', session.id, '--json']).ended;
            assert.equal(code, 0);
            assert.equal(JSON.parse(out).id, session.id);
        }
        const task = await server.api().task(session);
        assert.equal((await bowlineWithout(server, [0, 1, 2], ['task', 'cancel', task.id]).ended).code, 0);
        assert.equal((await server.api().look(task)).cancel_requested, true);
    });

    test('the server has none of its files and sockets there', async () => {
        const own = await start({}, { under: ['sh', '-c', 'exec "$0" "$@" <&- 2>&-'] });
        for (const fd of [0, 2]) {
            assert.equal(readlinkSync(`/proc/${own.pid}/fd/${fd}`), '/dev/null');
        }
        await own.api().session();
        await own.close();
    });
});

describe('a server that comes and goes', () => {
    // The command puts out one block for each line that it is given.
    const BLOCKS = 'i=0; while read -r n; do i=$((i + 1)); for j in $(seq "$n"); do echo "block $i line $j of $n"; done; done; exit 0';
    const block = (i, n) => Array.from({ length: n }, (_, j) => `block ${i} line ${j + 1} of ${n}\n`).join('');

    for (const [how, stop] of [['is killed', 'kill'], ['is stopped', 'stop']]) {
        test(`one that ${how} in the middle misses nothing and gets nothing twice`, async () => {
            const own = await start();
            const s = await own.api().session();
            const c = bowline(own, ['run', '--session', s.id, '--', 'sh', '-c', BLOCKS]);
            let all = '';
            for (let i = 1; i <= 6; i++) {
                c.write('700\n');
                all += block(i, 700);
                await until(() => c.out === all, 'the command goes on');
                if (i % 2 === 0) {
                    await own[stop]();
                    c.write('900\n');
                    all += block(++i, 900);
                    await until(() => c.out === all, 'the command goes on without a server');
                    await own.restart();
                }
            }
            const { code } = await c.end();
            assert.equal(code, 0);
            const [task] = (await own.api().get('/v1/tasks')).json.items;
            assert.equal(task.state, 'succeeded');
            const bytes = (await own.api().get(`/v1/tasks/${task.id}/output`)).text;
            assert.equal(bytes, all);
            assert.equal(task.progress.current, task.progress.total);
            await own.close();
        });
    }

    test('a command that ends meanwhile is told of when the server is back', async () => {
        const own = await start();
        const s = await own.api().session();
        const c = bowline(own, ['run', '--session', s.id, '--', 'sh', '-c', 'echo begin; read x; echo end; exit 3']);
        await until(async () => (await own.api().get('/v1/tasks')).json.items[0]?.output_bytes === 6, 'the first output');
        await own.kill();
        c.write('\n');
        await c.untilErr(/out of reach/);
        await own.restart();
        const { code, err } = await c.ended;
        assert.equal(code, 3);
        assert.match(err, /is back/);
        const [task] = (await own.api().get('/v1/tasks')).json.items;
        assert.equal(task.state, 'failed');
        assert.equal((await own.api().get(`/v1/tasks/${task.id}/output`)).text, 'begin\nend\n');
        await own.close();
    });

    test('one that does not come back is not waited for longer than --wait, nor past a signal', async () => {
        const own = await start();
        const s = await own.api().session();
        const args = (wait) => ['run', '--session', s.id, '--wait', wait, '--', 'sh', '-c', 'echo "ready $$"; read x; exit 3'];
        const short = bowline(own, args('0.2'));
        const long = bowline(own, args('600'));
        await short.untilOut(/ready/);
        const [, pid] = await long.untilOut(/ready (\d+)/);
        await own.kill();
        assert.equal((await short.end('\n')).code, 3);
        assert.match(short.err, /could not be told/);
        long.write('\n');
        await until(() => !alive(Number(pid)), 'the end of the command');
        long.kill('SIGTERM');
        assert.equal((await long.ended).code, 3);
        await own.close();
    });

    // A folder that is not there, one where no file can be made, and one without room.
    const folders = [
        ['missing', ['env', 'TMPDIR=/nowhere/at/all']],
        ['of a kind that takes no files', ['env', 'TMPDIR=/proc']],
        ['full', ['sh', '-c', 'trap "" XFSZ; ulimit -f 0; exec "$@"', 'sh']],
    ];
    const under = (words, to, args) => new Command(words[0], [...words.slice(1), binary, ...args], { env: { BOWLINE_URL: to.url, BOWLINE_KEY: to.key } });
    const MANY = 'read x; seq 400000; exit 3';
    const many = Array.from({ length: 400000 }, (_, i) => `${i + 1}\n`).join('');

    for (const [what, words] of folders) {
        test(`with a temporary folder that is ${what} all is told, by a worker too`, async () => {
            const k = kind();
            const c = under(words, server, ['run', '--session', session.id, '--kind', k, '--', 'sh', '-c', MANY]);
            const { code, err } = await c.end('\n');
            assert.equal(code, 3);
            assert.equal(err, '');
            assert.equal((await output(await newest(k))).toString(), many);
            const task = await server.api().task(session, { queue: k });
            const w = under(words, server, ['work', k, '--once', '--output', '--', 'seq', '400000']);
            assert.equal((await w.ended).code, 0);
            assert.equal(w.err, '');
            assert.equal((await output(task)).toString(), many);
        });

        test(`with a temporary folder that is ${what} and the server away, all is told later`, async () => {
            const own = await start();
            const s = await own.api().session();
            const c = under(words, own, ['run', '--session', s.id, '--', 'sh', '-c', MANY]);
            await until(async () => (await own.api().get('/v1/tasks')).json.items[0]?.state === 'running', 'its start');
            await own.kill();
            c.write('\n');
            await until(() => c.out === many, 'the command goes on');
            await c.untilErr(/no temporary file in .*TMPDIR.*kept in memory/);
            await own.restart();
            assert.equal((await c.end()).code, 3);
            assert.doesNotMatch(c.err, /left out/);
            const [task] = (await own.api().get('/v1/tasks')).json.items;
            assert.equal((await own.api().get(`/v1/tasks/${task.id}/output`)).text, many);
            await own.close();
        });
    }

    test('there is a temporary file only while the server is away', async () => {
        const own = await start();
        const s = await own.api().session();
        const c = bowline(own, ['run', '--session', s.id, '--', 'sh', '-c', 'read x; seq 400000; read x; echo aside; read x; seq 400000; read x']);
        const temporary = () => readdirSync(`/proc/${c.pid}/fd`).map((fd) => readlinkSync(`/proc/${c.pid}/fd/${fd}`)).filter((name) => name.includes('(deleted)'));
        const delivered = async () => (await own.api().get('/v1/tasks')).json.items[0]?.output_bytes;
        c.write('\n');
        await until(async () => (await delivered()) === many.length, 'the output');
        assert.deepEqual(temporary(), []);
        await own.kill();
        c.write('\n');
        await c.untilErr(/out of reach/);
        c.write('\n');
        await until(() => temporary().length === 1, 'the file');
        await until(() => c.out === `${many}aside\n${many}`, 'the command goes on');
        await own.restart();
        await until(async () => (await delivered()) === c.out.length, 'the output');
        await until(() => temporary().length === 0, 'the end of the file');
        assert.equal((await c.end('\n')).code, 0);
        await own.close();
    });

    test('what is too much to keep is said, in the output and to whoever runs it', async () => {
        const own = await start({ max_output_per_task: 100000000 });
        const s = await own.api().session();
        const script = 'read x; head -c 40000000 /dev/zero; echo passed >&2; read x; echo over';
        const args = ['run', '--session', s.id, '--wait', '0.2', '--', 'sh', '-c', script];
        const quiet = ['sh', '-c', 'exec "$@" > /dev/null', 'sh'];
        const c = under(quiet, own, args);
        const lost = under(quiet, own, args);
        await until(async () => (await own.api().get('/v1/tasks?state=running')).json.items.length === 2, 'their start');
        await own.kill();
        for (const one of [c, lost]) {
            one.write('\n');
            await one.untilErr(/passed/);
            await one.untilErr(/left out: the server was out of reach for too long/);
        }
        assert.equal((await lost.end('\n')).code, 0);
        assert.match(lost.err, /could not be told how the command ended, and has not got 40000012 bytes of its output/);
        await own.restart();
        await c.untilErr(/bytes of output were left out/);
        assert.equal((await c.end('\n')).code, 0);
        const [, bytes] = /(\d+) bytes of output were left out/.exec(c.err);
        const task = (await own.api().get('/v1/tasks?state=succeeded')).json.items[0];
        const text = (await own.api().get(`/v1/tasks/${task.id}/output`)).text;
        const marker = `\n[${bytes} bytes are left out here: the server was out of reach for too long]\n`;
        assert.ok(text.includes(marker));
        assert.equal(task.output_bytes, 40000012 - Number(bytes) + marker.length);
        await own.close();
    });

    test('a command whose task is given up goes on', async () => {
        const own = await start();
        const s = await own.api().session();
        const c = bowline(own, ['run', '--session', s.id, '--lease', '0.5', '--', 'sh', '-c', 'echo ready; read x; echo on; exit 4']);
        await c.untilOut(/ready/);
        await until(async () => (await own.api().get('/v1/tasks')).json.items[0]?.attempt === 1, 'its start');
        c.kill('SIGSTOP');
        await until(async () => (await own.api().get('/v1/tasks')).json.items[0].state === 'failed', 'the end of its lease');
        c.kill('SIGCONT');
        await c.untilErr(/given the task up/);
        assert.equal((await c.end('\n')).code, 4);
        assert.match(c.out, /on\n/);
        await own.close();
    });
});

describe('on a terminal', () => {
    const words = (...script) => [binary, 'run', '--session', session.id, '--', 'sh', '-c', ...script];

    test('the command has one, as large as ours, and the keys', async () => {
        const c = onTerminal(server, words('test -t 0 && test -t 1 && test -t 2 && echo all; stty size; read x; echo "got <$x>"'), { rows: 31, columns: 97 });
        await c.untilOut(/all\r\n31 97\r\n/);
        c.write('hello\r');
        const { code } = await c.ended;
        assert.equal(code, 0);
        assert.match(c.out, /hello\r\ngot <hello>\r\n/);
    });

    test('a new size is passed on', async () => {
        const c = onTerminal(server, words('trap "stty size" WINCH; echo ready; while :; do sleep 0.05; done'));
        await c.untilOut(/ready/);
        c.resize(40, 120);
        await c.untilOut(/40 120/);
        c.write('\x03');
        assert.equal((await c.ended).code, 130);
    });

    test('control-C is the command\'s', async () => {
        const c = onTerminal(server, words('trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.05; done'));
        await c.untilOut(/ready/);
        c.write('\x03');
        assert.equal((await c.ended).code, 5);
        assert.match(c.out, /caught/);
    });

    test('control-Z gives the shell back, and fg goes on', async () => {
        const c = onTerminal(server, ['bash', '--norc', '--noprofile', '-i']);
        await c.untilOut(/[#$] $/);
        c.write(`${binary} run --session ${session.id} -- sh -c 'echo rea""dy; read x; echo "got <$x>"; exit 6'\r`);
        await c.untilOut(/[\r\n]ready/);
        c.write('\x1a');
        await c.untilOut(/Stopped[^]*[#$] $/);
        c.write('fg\r');
        await until(() => /fg\r\n[^]*bowline run/.test(c.out), 'fg');
        c.write('word\r');
        await c.untilOut(/got <word>\r\n[^]*[#$] $/);
        c.write('echo status $?\r');
        await c.untilOut(/status 6/);
        c.write('exit\r');
        await c.ended;
    });

    test('what it shows is the output, and bars are progress', async () => {
        const k = kind();
        const c = onTerminal(server, [binary, 'run', '--session', session.id, '--kind', k, '--', 'sh', '-c', 'printf "10%%\\r"; printf "60%%\\r"; echo over']);
        assert.equal((await c.ended).code, 0);
        assert.equal(c.out, '10%\r60%\rover\r\n');
        const task = await newest(k);
        assert.equal((await output(task)).toString(), c.out);
        assert.equal(task.progress.current, 60);
    });

    test('all of it, as on a terminal, also what comes just before the end', async () => {
        const lines = Array.from({ length: 3000 }, (_, i) => `${i + 1}\r\n`).join('');
        for (let i = 0; i < 10; i++) {
            const c = onTerminal(server, words('stty -echo; seq 3000'));
            assert.equal((await c.ended).code, 0);
            assert.equal(c.out, lines);
        }
    });

    test('in a pipe it reads the terminal when it has to', async () => {
        const c = onTerminal(server, ['bash', '--norc', '--noprofile', '-i']);
        await c.untilOut(/[#$] $/);
        c.write(`${binary} run --session ${session.id} -- sh -c 'echo rea""dy; read x; echo "got <$x>"' | cat\r`);
        await c.untilOut(/[\r\n]ready/);
        c.write('word\r');
        await c.untilOut(/got <word>/);
        c.write('exit\r');
        await c.ended;
    });
});
