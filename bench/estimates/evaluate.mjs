#!/usr/bin/env node
// How good rate and eta are: plays the recorded runs through the estimator itself (replay.c) and compares what it said with what came true.
//   evaluate.mjs [--set check|tune] [--each] [--json FILE]
// A run of the set `check` is estimated with the runs of `tune` and the earlier ones of `check` as the finished tasks of its kind; one of `tune` with all others of `tune`.
// `alone` is the same without any finished task. The naive estimate is elapsed × (1 - share) / share.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url)), root = join(here, '../..');
export const POINTS = [0.1, 0.25, 0.5, 0.75, 0.9];
export const WAYS = ['naive', 'alone', 'kind'];

export function median(values) {
    const v = [...values].sort((a, b) => a - b), n = v.length;
    return n === 0 ? NaN : n % 2 ? v[(n - 1) / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

export function readRuns() {
    return readdirSync(join(here, 'data')).filter((f) => f.endsWith('.json')).sort().map((f) => ({ name: f.slice(0, -5), ...JSON.parse(readFileSync(join(here, 'data', f), 'utf8')) }));
}

export function buildReplay(folder) {
    const program = join(folder, 'replay');
    execFileSync('cc', ['-std=gnu11', '-D_GNU_SOURCE', '-O2', '-I', join(root, 'src'), join(here, 'replay.c'), join(root, 'src/domain/estimate.c'), '-lm', '-o', program]);
    return program;
}

const asText = (run) => 'run\n' + run.samples.map(([t, current]) => `${t} ${current} ${run.total}\n`).join('') + `end ${run.duration_ms}\n`;

// What the estimator said after each report of `run`, as the engine shows it: {rate, eta}, null where there was no ground.
function replay(program, history, run, flags = []) {
    const out = execFileSync(program, flags, { input: [...history, run].map(asText).join(''), maxBuffer: 1 << 26 }).toString().trim().split('\n');
    return out.slice(-run.samples.length).map((line) => {
        const [rate, eta, kind] = line.split(' ').map(Number);
        return { rate: rate > 0 ? rate : null, eta: eta >= 0 ? eta : rate <= 0 && kind >= 0 ? kind : null };
    });
}

// Of each run: samples with {share, truth, naive, alone, kind} in seconds to go.
export function judge(program, runs, set) {
    return runs.filter((r) => r.set === set).map((run) => {
        const history = runs.filter((r) => r.kind === run.kind && r !== run && (r.set === 'tune' || (set === 'check' && r.set === 'check' && r.name < run.name)));
        const alone = replay(program, [], run), kind = replay(program, history, run);
        const said = run.samples.map(([t, current], i) => {
            const share = current / run.total;
            return { t, share, truth: (run.duration_ms - t) / 1000, naive: (t / 1000) * (1 - share) / share, alone: alone[i].eta, kind: kind[i].eta };
        });
        return { run, history: history.length, said };
    });
}

// Relative errors of one way at the first report with at least `share` of the work done.
export function errors(judged, way, share) {
    const found = [];
    for (const { said, run } of judged) {
        const at = said.find((s) => s.share >= share && s.share < 1 && s.truth > 0);
        if (at) { // where one way has no ground, none is judged
            found.push({ name: run.name, kind: run.kind, error: WAYS.some((w) => at[w] === null) ? null : Math.abs(at[way] - at.truth) / at.truth });
        }
    }
    return found;
}

export const medianError = (judged, way, share) => median(errors(judged, way, share).map((e) => e.error).filter((e) => e !== null));

function reportCost(program, runs) {
    const [ns, bytes] = execFileSync(program, ['--time'], { input: runs.map(asText).join('') }).toString().split(' ').map(Number);
    return { ns, bytes };
}

function main() {
    const { values: o } = parseArgs({ options: { set: { type: 'string', default: 'check' }, each: { type: 'boolean', default: false }, json: { type: 'string' } } });
    const folder = mkdtempSync(join(tmpdir(), 'estimates-'));
    try {
        const program = buildReplay(folder), runs = readRuns(), judged = judge(program, runs, o.set), kinds = new Set(judged.map((j) => j.run.kind));
        console.log(`${judged.length} runs of ${kinds.size} kinds (set ${o.set}); median relative error of eta, in percent`);
        console.log('share done    ' + POINTS.map((p) => `${p * 100} %`.padStart(7)).join(''));
        for (const way of WAYS) {
            console.log(way.padEnd(14) + POINTS.map((p) => (100 * medianError(judged, way, p)).toFixed(1).padStart(7)).join(''));
        }
        for (const way of ['alone', 'kind']) {
            const better = POINTS.map((p) => {
                const a = errors(judged, way, p), b = errors(judged, 'naive', p);
                return (100 * a.filter((e, i) => e.error !== null && e.error < b[i].error).length / a.length).toFixed(0);
            });
            console.log(`${way} nearer`.padEnd(14) + better.map((b) => `${b} %`.padStart(7)).join(''));
        }
        console.log('null          ' + POINTS.map((p) => String(errors(judged, 'kind', p).filter((e) => e.error === null).length).padStart(7)).join(''));
        const cost = reportCost(program, runs.slice(0, 20));
        console.log(`${cost.ns.toFixed(0)} ns a report, ${cost.bytes} bytes a task`);
        if (o.each) {
            for (const { run, history } of judged) {
                const of = (way) => errors([judged.find((j) => j.run === run)], way, 0.5)[0];
                console.log(run.name.padEnd(22), `${(run.duration_ms / 1000).toFixed(1)} s`.padStart(8), `${history} before`.padStart(10),
                    ...WAYS.map((w) => `${w} ${of(w)?.error == null ? '-' : (100 * of(w).error).toFixed(0)}`.padStart(11)));
            }
        }
        if (o.json) {
            writeFileSync(o.json, JSON.stringify(Object.fromEntries(WAYS.map((w) => [w, POINTS.map((p) => medianError(judged, w, p))]))) + '\n');
        }
    } finally {
        rmSync(folder, { recursive: true, force: true });
    }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    main();
}
