// The types: a program that uses every name compiles strictly, and one that uses them wrongly does not.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import ts from 'typescript';

const types = resolve(dirname(fileURLToPath(import.meta.url)), '../../web/sdk/bowline.d.ts');

const RIGHT = `
import { connect, TaskError, type Live, type Task, type TaskHandle, type LiveState } from 'bowline';
const live: Live = connect({ url: new URL('https://app.example/bowline'), token: async () => 'token', refresh: async () => {}, tabs: false, output: true, credentials: 'include' });
connect();
const state: LiveState = live.state;
const reason: string | null = live.reason;
const via: string | null = live.via;
const off: () => void = live.on('task', (task, before) => console.log(task.id, before?.version, task.progress.eta, task.input_request?.schema, task.error?.type));
live.on('gone', ({ id, reason, task }) => console.log(id, reason, task.title));
live.on('succeeded', (task: Task) => console.log(task.result));
live.on('failed', (task) => task);
live.on('cancelled', (task) => task);
live.on('input_required', (task) => task);
live.on('output', ({ task, offset, bytes }) => console.log(task, offset, bytes.length));
live.on('state', (state, reason) => console.log(state === 'ended', reason));
live.on('reset', () => off());
live.on('error', (error) => console.log(error.message));
async function main(): Promise<void> {
    await live.ready;
    for await (const task of live) console.log(task.state);
    const report: TaskHandle<{ pages: number }> = await live.start<{ pages: number }>('report', { title: 'A', input: { n: 1 }, key: 'k' });
    const { pages } = await report.done;
    const again: TaskHandle<{ pages: number }> = await report.rerun();
    const value: Task | undefined = again.value;
    const cancelled: Task = await again.cancel('why');
    await again.answer({ yes: true });
    await again.seen();
    const stream: ReadableStream<Uint8Array> = again.output();
    for (const file of await again.files()) console.log(file.name, file.sha256, (await again.link(file.name)).url);
    try { await live.task(report.id).result(); } catch (error) { if (error instanceof TaskError && error.code === 'failed') console.log(error.task?.error?.message); }
    console.log(pages, value, cancelled, stream, state, reason, via, live.tasks.get('x')?.kind, live.tasks.size);
    live.close();
}
void main();
`;
const WRONG = ["live.tasks.clear();", "live.on('tsak', () => {});", "live.state = 'live';", "connect({ tokn: 'x' });", "live.task(1);", "for (const task of live.tasks.values()) task.title = 'x';"];

test('the types', () => {
    const folder = mkdtempSync(join(tmpdir(), 'bowline-types-'));
    try {
        const compile = (text) => {
            const file = join(folder, 'program.ts');
            writeFileSync(file, text);
            const program = ts.createProgram([file], {
                strict: true, noEmit: true, exactOptionalPropertyTypes: true, skipLibCheck: false, types: [],
                target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
                lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'], baseUrl: folder, paths: { bowline: [types] },
            });
            return ts.getPreEmitDiagnostics(program).map((found) => ts.flattenDiagnosticMessageText(found.messageText, '\n'));
        };
        assert.deepEqual(compile(RIGHT), []);
        for (const line of WRONG) {
            assert.equal(compile(`import { connect } from 'bowline';\nconst live = connect();\n${line}\n`).length, 1, line);
        }
    } finally {
        rmSync(folder, { recursive: true });
    }
});
