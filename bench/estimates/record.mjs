#!/usr/bin/env node
// Records how real work gets on: runs commands of uneven speed and writes what a worker would report to data/KIND-NN.json.
//   record.mjs [--set NAME] [--seed N] [--runs N per kind] [--kinds a,b,...] [--from NN]
// A file holds {kind, set, unit, every_ms, total, duration_ms, samples: [[t_ms, current], ...]}; t counts from the start of the work, the last sample is its end.
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { kinds, pick } from './jobs.mjs';

const SHORTEST_MS = 3000, LONGEST_MS = 45000, SAMPLES_MIN = 6, SAMPLES_MAX = 320;
const data = join(dirname(fileURLToPath(import.meta.url)), 'data');

function generator(seed) { // mulberry32
    let a = seed >>> 0;
    return () => {
        a = (a + 0x6d2b79f5) >>> 0;
        let t = Math.imul(a ^ (a >>> 15), a | 1);
        t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
        return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
}

// One run; null if it was not between the shortest and the longest.
async function once(kind, seed, scale) {
    const rng = generator(seed), dir = await mkdtemp(join(tmpdir(), 'estimates-')), stop = new AbortController();
    const every = rng() < 0.3 ? 1000 + Math.floor(rng() * 1000) : 50 + Math.floor(rng() * 150); // a sparse reporter, or a keen one
    const samples = [];
    let t0 = 0, current = 0, total = 0, unit = '', last = 0, timer;
    await mkdir(join(dir, 'copy'));
    const job = {
        rng, scale, dir, signal: stop.signal,
        total(n, name) {
            [total, unit, t0, last] = [n, name, performance.now(), performance.now()];
            timer = setTimeout(() => stop.abort(), LONGEST_MS);
        },
        advance(n) {
            const now = performance.now();
            current += n;
            if (now - last >= every || current >= total) {
                samples.push([Math.round(now - t0), current]);
                last = now;
            }
        },
    };
    try {
        await kinds[kind](job);
    } catch (err) {
        if (!stop.signal.aborted) {
            throw err;
        }
    } finally {
        clearTimeout(timer);
        await rm(dir, { recursive: true, force: true });
    }
    if (stop.signal.aborted) {
        return { late: true };
    }
    const duration = Math.round(performance.now() - t0);
    const step = Math.ceil(samples.length / SAMPLES_MAX);
    const kept = samples.filter((s, i) => i % step === 0 && s[1] < current);
    kept.push([duration, current]);
    return { kind, unit, every_ms: every * step, total: current, duration_ms: duration, samples: kept };
}

const { values: o } = parseArgs({ options: { set: { type: 'string', default: 'check' }, seed: { type: 'string', default: '1' }, runs: { type: 'string', default: '3' },
    kinds: { type: 'string' }, from: { type: 'string', default: '1' } } });
await mkdir(data, { recursive: true });
const scales = new Map();
for (let round = 0; round < Number(o.runs); round++) {
    for (const kind of o.kinds ? o.kinds.split(',') : Object.keys(kinds)) {
        const sizes = generator(Number(o.seed) * 7919 + round);
        let scale = (scales.get(kind) ?? 1) * pick(sizes, [0.6, 0.8, 1, 1.4, 2]), result;
        for (let attempt = 0; attempt < 6; attempt++) {
            result = await once(kind, Number(o.seed) * 1000003 + round * 1009 + Object.keys(kinds).indexOf(kind), scale);
            if (result.late) {
                scale /= 3;
            } else if (result.duration_ms < SHORTEST_MS || result.samples.length < SAMPLES_MIN) {
                scale *= Math.min(6, 2.2 * Math.max(1, SHORTEST_MS / Math.max(result.duration_ms, 100)));
            } else {
                break;
            }
            scales.set(kind, scale);
        }
        if (result.late || result.duration_ms < SHORTEST_MS || result.samples.length < SAMPLES_MIN) {
            console.log(`${kind}: given up`);
            continue;
        }
        const name = `${kind}-${String(Number(o.from) + round).padStart(2, '0')}.json`;
        await writeFile(join(data, name), JSON.stringify({ set: o.set, ...result }) + '\n');
        console.log(`${name}: ${(result.duration_ms / 1000).toFixed(1)} s, ${result.samples.length} samples, ${result.total} ${result.unit}`);
    }
}
