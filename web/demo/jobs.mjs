// The work itself: checksums of a folder's files and the compression of one large file. Each job is given
//   { input, roots, files, pace, maxFile, signal, progress({current, total, unit, message}), ask(prompt) }
// and returns its result, throws Refused for what it will not do, or is interrupted through `signal`.

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, open, readdir, realpath } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGzip } from 'node:zlib';

const TABLE_ROWS = 200;
const SLOWEST_ROWS = 5;

export class Refused extends Error {
    constructor(type, message) {
        super(message);
        this.type = type;
    }
}

const inside = (path, root) => path === root || path.startsWith(root.endsWith(sep) ? root : root + sep);

// The real path, if it lies under one of the roots (themselves taken as real paths); links that lead out are refused like any other path.
async function allowed(path, roots) {
    if (typeof path !== 'string' || !path.startsWith('/')) {
        throw new Refused('bad-path', 'an absolute path is needed');
    }
    const outside = new Refused('not-allowed', `this worker reads only under ${roots.join(' and ')}`);
    if (!roots.some((root) => inside(resolve(path), resolve(root)))) {
        throw outside;
    }
    const real = await realpath(path).catch(() => null);
    if (real === null) {
        throw new Refused('not-found', `${path} does not exist`);
    }
    for (const root of roots) {
        const realRoot = await realpath(root).catch(() => null);
        if (realRoot !== null && inside(real, realRoot)) {
            return real;
        }
    }
    throw outside;
}

// Every regular file below a folder, in order of name. What cannot be read is left out; links are not followed.
async function* walk(folder, signal) {
    signal.throwIfAborted();
    const entries = [];
    try {
        entries.push(...(await readdir(folder, { withFileTypes: true })));
    } catch {
        return;
    }
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    const infos = await Promise.all(entries.map((entry) => (entry.isFile() ? lstat(join(folder, entry.name)).catch(() => null) : null)));
    for (const [at, entry] of entries.entries()) {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) {
            yield* walk(path, signal);
        } else if (infos[at]?.isFile()) {
            yield { path, bytes: infos[at].size };
        }
    }
}

async function listFiles(folder, signal, seen) {
    const found = [];
    for await (const file of walk(folder, signal)) {
        found.push(file);
        seen(found.length);
    }
    return found;
}

// Holds work back so that the fraction f of it is not done before f times the pace has passed.
function pacer(paceSeconds, signal) {
    const begun = performance.now();
    return async (fraction) => {
        const ahead = begun + fraction * paceSeconds * 1000 - performance.now();
        if (ahead > 4) {
            await sleep(ahead, undefined, { signal });
        }
    };
}

const stepBytes = (total) => Math.min(1 << 20, Math.max(4096, Math.ceil(total / 200)));

// Calls each(chunk) for the whole of a file.
async function readThrough(path, step, signal, each) {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
        const buffer = Buffer.allocUnsafe(step);
        for (;;) {
            signal.throwIfAborted();
            const { bytesRead } = await handle.read(buffer, 0, step, null);
            if (bytesRead === 0) {
                return;
            }
            await each(buffer.subarray(0, bytesRead));
        }
    } finally {
        await handle.close();
    }
}

async function checksum(job) {
    const { signal, progress } = job;
    const folder = await allowed(job.input?.folder, job.roots);
    if (!(await lstat(folder)).isDirectory()) {
        throw new Refused('not-a-folder', `${folder} is not a folder`);
    }
    progress({ message: `listing ${folder}` });
    const files = await listFiles(folder, signal, (n) => n % 500 === 0 && progress({ message: `listing ${folder}: ${n} files so far` }));
    const total = files.reduce((sum, file) => sum + file.bytes, 0);
    if (job.input.ask && !(await job.ask(`${folder} holds ${files.length.toLocaleString('en')} files, ${Math.ceil(total / 1e6)} MB. Read them all?`))) {
        throw new Refused('declined', 'You said no, so nothing was read.');
    }
    const pace = pacer(job.pace, signal);
    const begun = performance.now();
    const step = stepBytes(total);
    const table = [];
    let slowest = [];
    let done = 0;
    let skipped = 0;
    let readBytes = 0;
    for (const file of files) {
        const hash = createHash('sha256');
        let fileBytes = 0;
        let busyMs = 0;
        try {
            await readThrough(file.path, step, signal, async (chunk) => {
                const from = performance.now();
                hash.update(chunk);
                busyMs += performance.now() - from;
                fileBytes += chunk.length;
                const current = Math.min(done + fileBytes, total);
                progress({ current, total, unit: 'bytes', message: file.path });
                await pace(total ? current / total : 1);
            });
        } catch (error) {
            signal.throwIfAborted();
            if (!error.code) {
                throw error;
            }
            skipped += 1;
        }
        done += file.bytes;
        readBytes += fileBytes;
        if (table.length < TABLE_ROWS) {
            table.push({ path: file.path, bytes: fileBytes, sha256: hash.digest('hex') });
        }
        slowest.push({ path: file.path, bytes: fileBytes, milliseconds: Number(busyMs.toFixed(2)) });
        if (slowest.length > 64) {
            slowest = slowest.sort((a, b) => b.milliseconds - a.milliseconds).slice(0, SLOWEST_ROWS);
        }
    }
    progress({ current: total, total, unit: 'bytes', message: null });
    return {
        folder,
        files: files.length - skipped,
        skipped,
        bytes: readBytes,
        seconds: seconds(begun),
        slowest: slowest.sort((a, b) => b.milliseconds - a.milliseconds).slice(0, SLOWEST_ROWS),
        table,
    };
}

const seconds = (begun) => Number(((performance.now() - begun) / 1000).toFixed(2));

let largestKnown = null;

async function largestFile(job) {
    if (largestKnown && (await lstat(largestKnown.path).catch(() => null))?.size === largestKnown.bytes) {
        return largestKnown.path;
    }
    job.progress({ message: `looking for the largest file under ${job.files.join(' and ')}` });
    let best = null;
    for (const root of job.files) {
        for await (const file of walk(root, job.signal)) {
            if (file.bytes > (best?.bytes ?? 0) && file.bytes <= job.maxFile) {
                const readable = await open(file.path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => null);
                if (readable) {
                    await readable.close();
                    best = file;
                }
            }
        }
    }
    if (!best) {
        throw new Refused('not-found', `no readable file under ${job.files.join(' and ')}`);
    }
    largestKnown = best;
    return best.path;
}

async function compress(job) {
    const { signal, progress } = job;
    const path = job.input?.file ? await allowed(job.input.file, job.files) : await largestFile(job);
    const info = await lstat(path);
    if (!info.isFile()) {
        throw new Refused('not-a-file', `${path} is not a regular file`);
    }
    const total = info.size;
    const pace = pacer(job.pace, signal);
    const begun = performance.now();
    const gzip = createGzip();
    let bytes = 0;
    let compressed = 0;
    const ended = new Promise((fulfil, fail) => gzip.on('end', fulfil).on('error', fail));
    ended.catch(() => {});
    gzip.on('data', (chunk) => {
        compressed += chunk.length;
    });
    try {
        await readThrough(path, stepBytes(total), signal, async (chunk) => {
            await new Promise((fulfil, fail) => gzip.write(chunk, (error) => (error ? fail(error) : fulfil())));
            bytes += chunk.length;
            progress({ current: Math.min(bytes, total), total, unit: 'bytes', message: path });
            await pace(total ? bytes / total : 1);
        });
        gzip.end();
        await ended;
    } finally {
        gzip.destroy();
    }
    return { file: path, bytes, compressed, ratio: bytes ? Number((compressed / bytes).toFixed(4)) : 1, seconds: seconds(begun) };
}

export const kinds = { checksum, compress };
