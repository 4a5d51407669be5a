// Real work of uneven speed, one function a kind. Each gets {rng, scale, dir, advance, total, signal} and runs commands until its work is done:
// it calls total(n, unit) once and advance(n) whenever a worker would know that n more units are done.
import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';

const source = join(dirname(fileURLToPath(import.meta.url)), '../../src');

export const pick = (rng, list) => list[Math.floor(rng() * list.length)];

function start(job, program, args, options = {}) {
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'ignore'], signal: job.signal, ...options });
    child.done = new Promise((resolve, reject) => {
        child.on('error', reject);
        child.on('close', resolve);
    });
    child.done.catch(() => {});
    return child;
}

const run = (job, program, args, options) => start(job, program, args, options).done;

// Runs a command that prints a line for each unit done.
async function lines(job, program, args, options = {}) {
    const child = start(job, program, args, { stdio: ['ignore', 'pipe', 'ignore'], ...options });
    for await (const line of createInterface({ input: child.stdout })) {
        job.advance(options.worth ? options.worth(line) : 1);
    }
    await child.done;
}

// Regular files under a folder with their sizes, in the order in which the folders list them.
async function files(folder, most, wanted = () => true, found = []) {
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
        const path = join(folder, entry.name);
        if (found.length >= most) {
            break;
        }
        if (entry.isDirectory()) {
            await files(path, most, wanted, found);
        } else if (entry.isFile() && wanted(entry.name)) {
            const size = (await stat(path).catch(() => null))?.size;
            if (size !== undefined) {
                found.push({ path, size });
            }
        }
    }
    return found;
}

function shuffle(rng, list) {
    for (let i = list.length - 1; i > 0; i--) {
        const j = Math.floor(rng() * (i + 1));
        [list[i], list[j]] = [list[j], list[i]];
    }
    return list;
}

const sum = (list) => list.reduce((n, f) => n + f.size, 0);

// As many files of the list from a random place on as make up about `bytes`.
function portion(rng, list, bytes) {
    const from = Math.floor(rng() * list.length * 0.7), taken = [];
    for (let i = from, size = 0; i < list.length && size < bytes; i++) {
        taken.push(list[i]);
        size += list[i].size;
    }
    return taken;
}

// Writes the text of the files into one, for jobs that read a stream.
async function gather(job, list, name) {
    const path = join(job.dir, name);
    const names = join(job.dir, name + '.names');
    await writeFile(names, list.map((f) => f.path).join('\0'));
    await run(job, 'sh', ['-c', 'xargs -0 cat < "$1" > "$2"', 'sh', names, path]);
    return path;
}

// Feeds a file into a command's input, counting what the command has taken.
async function feed(job, path, child) {
    child.stdin.on('error', () => {}); // the command was stopped
    for await (const piece of createReadStream(path, { highWaterMark: 65536 })) {
        if (!child.stdin.write(piece)) {
            await Promise.race([new Promise((go) => child.stdin.once('drain', go)), child.done]);
        }
        job.advance(piece.length);
    }
    child.stdin.end();
}

const compressors = [['gzip', '-6'], ['gzip', '-9'], ['bzip2', '-9'], ['xz', '-1'], ['xz', '-4'], ['zstd', '-12'], ['zstd', '-17']];

export const kinds = {
    // One file after the other; counts files or bytes.
    async 'compress-files'(job) {
        const tree = await files(pick(job.rng, ['/usr/share', '/usr/lib', '/usr/include']), 60000);
        const list = portion(job.rng, shuffle(job.rng, tree), 90e6 * job.scale).slice(0, 1500);
        const [program, level] = pick(job.rng, compressors), bytes = job.rng() < 0.5;
        job.total(bytes ? sum(list) : list.length, bytes ? 'bytes' : 'files');
        for (const f of list) {
            await run(job, program, [level, '-c', f.path]);
            job.advance(bytes ? f.size : 1);
        }
    },

    // One stream through a compressor: its speed goes with what it is fed.
    async 'compress-stream'(job) {
        const tree = await files(pick(job.rng, ['/usr/share', '/usr/lib', '/usr/bin', '/usr/lib/x86_64-linux-gnu']), 60000);
        const path = await gather(job, portion(job.rng, tree, 110e6 * job.scale), 'stream');
        const [program, level] = pick(job.rng, compressors);
        job.total((await stat(path)).size, 'bytes');
        const child = start(job, program, [level, '-c'], { stdio: ['pipe', 'ignore', 'ignore'] });
        await feed(job, path, child);
        await child.done;
    },

    // A search, folder by folder or file by file.
    async search(job) {
        const root = pick(job.rng, ['/usr/share', '/usr/lib', '/usr/include', '/usr']);
        const list = portion(job.rng, await files(root, 60000), 400e6 * job.scale);
        const pattern = pick(job.rng, ['(a|e|i|o|u){3}[a-z]+tion', '[0-9]{3}-[0-9]{2,4}', '(foo|bar).*(baz|qux)', '^[^#]*TODO.*[.]$', '([a-z]+)-\\1']);
        job.total(list.length, 'files');
        for (let i = 0; i < list.length; i += 24) {
            const some = list.slice(i, i + 24);
            await run(job, 'grep', ['-aciE', pattern, ...some.map((f) => f.path)]);
            job.advance(some.length);
        }
    },

    // The project's own sources, one compiler run each.
    async build(job) {
        const list = (await files(source, 1000, (name) => /\.cc?$/.test(name))).slice(0, Math.max(20, Math.floor(60 * job.scale)));
        const level = pick(job.rng, ['-O0', '-O1', '-O2', '-O3']), compiler = pick(job.rng, ['gcc', 'clang']);
        if (job.rng() < 0.5) {
            shuffle(job.rng, list);
        }
        job.total(list.length, 'files');
        for (const f of list) {
            const dialect = f.path.endsWith('.cc') ? ['-std=c++17'] : ['-std=gnu11', '-D_GNU_SOURCE'];
            await run(job, compiler, [...dialect, level, '-DBOWLINE_VERSION="0"', '-I', source, '-c', f.path, '-o', join(job.dir, 'out.o')]);
            job.advance(1);
        }
    },

    // Static analysis, file by file.
    async lint(job) {
        const list = shuffle(job.rng, await files(source, 1000, (name) => name.endsWith('.c'))).slice(0, Math.max(8, Math.floor(22 * job.scale)));
        job.total(list.length, 'files');
        for (const f of list) {
            await run(job, 'cppcheck', ['--quiet', '--enable=warning', '-D_GNU_SOURCE', '-I', source, f.path]);
            job.advance(1);
        }
    },

    // Check sums of a tree with many small and few large files; lines come through a pipe in blocks, or one by one.
    async hash(job) {
        const tree = await files(pick(job.rng, ['/usr/lib', '/usr/share', '/usr']), 120000);
        const list = portion(job.rng, tree, 2600e6 * job.scale), bytes = job.rng() < 0.4;
        const sizes = new Map(list.map((f) => [f.path, f.size])), names = join(job.dir, 'names');
        await writeFile(names, list.map((f) => f.path).join('\0'));
        job.total(bytes ? sum(list) : list.length, bytes ? 'bytes' : 'files');
        const program = pick(job.rng, ['sha256sum', 'md5sum', 'sha512sum', 'b2sum']), by = pick(job.rng, ['-oL', '-o4096']);
        await lines(job, 'sh', ['-c', `xargs -0 -n 500 stdbuf ${by} ${program} < "$1"`, 'sh', names], {
            worth: (line) => (bytes ? sizes.get(line.slice(line.indexOf('  ') + 2)) ?? 0 : 1),
        });
    },

    // Bytes in, then bytes out.
    async sort(job) {
        const tree = await files(pick(job.rng, ['/usr/lib', '/usr']), 60000, (name) => /\.(h|hpp|py|js|txt|c|mjs|json|ts|pl|pm)$/.test(name));
        const path = await gather(job, portion(job.rng, shuffle(job.rng, tree), 300e6 * job.scale), 'lines');
        const locale = pick(job.rng, ['C', 'C.UTF-8', 'C.UTF-8']), memory = pick(job.rng, ['8M', '32M', '400M']);
        job.total(2 * (await stat(path)).size, 'bytes');
        const child = start(job, 'sort', ['--parallel=1', '-S', memory, '-T', job.dir, ...pick(job.rng, [[], ['-f'], ['-k2']])],
            { stdio: ['pipe', 'pipe', 'ignore'], env: { ...process.env, LC_ALL: locale } });
        const fed = feed(job, path, child);
        fed.catch(() => {}); // it is looked at below
        for await (const piece of child.stdout) {
            job.advance(piece.length);
        }
        await fed;
        await child.done;
    },

    // A copy of a tree, by files or by bytes.
    async copy(job) {
        const tree = await files(pick(job.rng, ['/usr/share', '/usr/lib', '/usr/include']), 80000);
        const list = portion(job.rng, tree, 1500e6 * job.scale).slice(0, 25000), bytes = job.rng() < 0.5;
        job.total(bytes ? sum(list) : list.length, bytes ? 'bytes' : 'files');
        for (let i = 0; i < list.length; i += 12) {
            const some = list.slice(i, i + 12);
            await run(job, 'cp', ['--reflink=never', ...some.map((f) => f.path), join(job.dir, 'copy')]);
            job.advance(bytes ? sum(some) : some.length);
        }
    },

    // An archive packed (through a compressor) or taken apart; a line a member.
    async archive(job) {
        const tree = await files(pick(job.rng, ['/usr/share', '/usr/lib', '/usr/include']), 60000);
        const list = portion(job.rng, tree, 250e6 * job.scale).slice(0, 30000), names = join(job.dir, 'names');
        await writeFile(names, list.map((f) => f.path).join('\0'));
        const pack = 'tar -cPv --null -T "$1" --index-file=/dev/fd/3 3>&1 1>&4 4>&- | cat';
        if (job.rng() < 0.6) {
            job.total(list.length, 'files');
            const by = pick(job.rng, ['gzip -6', 'zstd -9', 'bzip2', 'gzip -1']);
            await lines(job, 'sh', ['-c', `{ { ${pack} >&5; } 4>&1 | ${by} > /dev/null; } 5>&1`, 'sh', names]);
        } else {
            const archive = join(job.dir, 'archive.tar.gz');
            await run(job, 'sh', ['-c', 'tar -czP --null -T "$1" -f "$2"', 'sh', names, archive]);
            job.total(list.length, 'files');
            await lines(job, 'tar', ['-xzvf', archive, '-C', join(job.dir, 'copy')]);
        }
    },

    // Rows into a table whose indexes grow, some batches on disk, some with a text search.
    async 'load-rows'(job) {
        const batches = Math.floor(130 * job.scale), search = job.rng() < 0.4, cache = pick(job.rng, [200, 2000, 20000]);
        const setup = `PRAGMA journal_mode=WAL; PRAGMA cache_size=${cache}; CREATE TABLE t (k BLOB PRIMARY KEY, a INTEGER, b TEXT); CREATE INDEX ta ON t (a);`
            + (search ? 'CREATE VIRTUAL TABLE f USING fts5(b);' : 'CREATE INDEX tb ON t (b);');
        const one = "INSERT INTO t SELECT randomblob(16), random(), hex(randomblob(20)) FROM generate_series(1, 5000);"
            + (search ? "INSERT INTO f SELECT hex(randomblob(3)) || ' ' || hex(randomblob(2)) FROM generate_series(1, 5000);" : '') + 'SELECT 1;';
        const script = join(job.dir, 'load.sql');
        await writeFile(script, setup + one.repeat(batches));
        job.total(batches * 5000, 'rows');
        await lines(job, 'sh', ['-c', 'stdbuf -oL sqlite3 -batch "$1" < "$2" | grep --line-buffered -x 1', 'sh', join(job.dir, 'load.db'), script], { worth: () => 5000 });
    },

    // Keys are found by luck.
    async keys(job) {
        const bits = pick(job.rng, [2048, 3072, 4096]), count = Math.max(12, Math.floor({ 2048: 90, 3072: 30, 4096: 16 }[bits] * job.scale));
        job.total(count, 'keys');
        for (let i = 0; i < count; i++) {
            await run(job, 'openssl', ['genrsa', '-out', '/dev/null', String(bits)]);
            job.advance(1);
        }
    },

    // An image, row by row: some are mostly empty, some are not.
    async render(job) {
        const rows = Math.floor(260 * Math.sqrt(job.scale)), [x, y, size] = pick(job.rng, [[-2.2, -1.4, 2.8], [-0.9, -0.1, 0.4], [-1.5, -0.6, 1.2], [0.2, 0.3, 0.5], [-0.8, -1.3, 1.4]]);
        const program = 'BEGIN { for (r = 0; r < n; r++) { b = y + s * r / n; for (c = 0; c < n; c++) { a = x + s * c / n; u = v = 0;'
            + ' for (i = 0; i < 220 && u * u + v * v < 4; i++) { w = u * u - v * v + a; v = 2 * u * v + b; u = w } } print r; fflush() } }';
        job.total(rows, 'rows');
        await lines(job, 'awk', ['-v', `n=${rows}`, '-v', `x=${x}`, '-v', `y=${y}`, '-v', `s=${size}`, program]);
    },

    // Machine code into text: programs and libraries from 10 KB to many MB.
    async disassemble(job) {
        const tree = shuffle(job.rng, await files(pick(job.rng, ['/usr/bin', '/usr/lib/x86_64-linux-gnu']), 5000)).filter((f) => f.size > 8192 && f.size < 12e6);
        const list = tree.slice(0, Math.floor(70 * job.scale));
        job.total(list.length, 'files');
        for (const f of list) {
            await run(job, 'objdump', ['-d', f.path]);
            job.advance(1);
        }
    },
};
