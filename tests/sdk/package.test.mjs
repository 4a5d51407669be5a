// The npm package: packed, installed into an empty project, and used there.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, test } from 'node:test';
import ts from 'typescript';
import { ok } from '../http/lib/client.mjs';
import { Server, run } from '../http/lib/server.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

function npm(folder, ...args) {
    const { status, stdout, stderr } = spawnSync('npm', [...args, '--offline', '--no-audit', '--no-fund'], { cwd: folder, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stdout;
}

describe('the npm package', { timeout: 120_000 }, () => {
    let folder, project, packed, server;
    before(async () => {
        folder = mkdtempSync(join(tmpdir(), 'bowline-package-'));
        cpSync(join(root, 'web'), join(folder, 'web'), { recursive: true, filter: (path) => !/\/(demo|dist|node_modules)$/.test(path) });
        [packed] = JSON.parse(npm(join(folder, 'web'), 'pack', '--json', '--pack-destination', folder));
        project = mkdtempSync(join(folder, 'project-'));
        writeFileSync(join(project, 'package.json'), '{"name": "empty", "private": true, "type": "module"}');
        npm(project, 'install', join(folder, packed.filename));
        server = await new Server({}).start();
    });
    after(async () => {
        await server?.close();
        rmSync(folder, { recursive: true, force: true });
    });

    test('holds what the program serves, in its version, and nothing else', async () => {
        assert.deepEqual(packed.files.map(({ path }) => path).sort(), ['README.md', 'dist/bowline.d.ts', 'dist/bowline.js', 'package.json']);
        const at = join(project, 'node_modules/bowline');
        for (const name of readdirSync(join(at, 'dist'))) {
            assert.ok(readFileSync(join(at, 'dist', name)).equals(ok(await server.api(null).get(`/${name}`), 200).bytes), name);
        }
        const { version } = ok(await server.api(null).get('/v1/info'), 200).json;
        assert.deepEqual([packed.version, JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')).dependencies], [version, undefined]);
    });

    test('runs in Node', async () => {
        const session = await server.api().session(), task = await server.api().task(session, { title: 'Sales in May' });
        await server.api().reported(task, { type: 'succeed', result: { pages: 3 } });
        writeFileSync(join(project, 'main.js'), `
            import { connect, TaskError } from 'bowline';
            const [url, token, id] = process.argv.slice(2);
            const live = connect({ url, token });
            await live.ready;
            const { pages } = await live.task(id).done;
            console.log(live.tasks.get(id).title, pages, TaskError.name);
            live.close();
        `);
        const end = await run([join(project, 'main.js'), server.url, session.token, task.id], { program: process.execPath });
        assert.deepEqual([end.code, end.out, end.err], [0, 'Sales in May 3 TaskError\n', '']);
    });

    test('its types are found, whichever way modules are resolved', () => {
        const file = join(project, 'main.ts');
        writeFileSync(file, "import { connect, type Live } from 'bowline';\nexport const live: Live = connect({ url: 'https://app.example' });\n");
        for (const [module, moduleResolution] of [[ts.ModuleKind.NodeNext, ts.ModuleResolutionKind.NodeNext], [ts.ModuleKind.ESNext, ts.ModuleResolutionKind.Bundler], [ts.ModuleKind.ESNext, ts.ModuleResolutionKind.Node10]]) {
            const program = ts.createProgram([file], { strict: true, noEmit: true, types: [], module, moduleResolution, target: ts.ScriptTarget.ES2022, lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'] });
            assert.deepEqual(ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')), []);
        }
    });
});
