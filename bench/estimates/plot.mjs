#!/usr/bin/env node
// Draws docs/estimates.svg from the recorded runs: plot.mjs [--set check] [FILE]
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildReplay, errors, judge, medianError, readRuns, WAYS } from './evaluate.mjs';

const COLOURS = { naive: '#8a8a8a', alone: '#2f6fb3', kind: '#c2571a' };
const NAMES = { naive: 'elapsed × (1 − share) / share', alone: 'bowline, from the task’s reports alone', kind: 'bowline, with finished tasks of its kind' };

const text = (x, y, s, more = '') => `<text x="${x}" y="${y}" ${more}>${s}</text>`;
const line = (x1, y1, x2, y2, more) => `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" ${more}/>`;
const round = (v) => Math.round(v * 10) / 10;

// Median error over the share done.
function curves(judged, x0, y0, w, h) {
    const shares = Array.from({ length: 18 }, (_, i) => 0.05 * (i + 2)).filter((s) => s < 0.96);
    const values = Object.fromEntries(WAYS.map((way) => [way, shares.map((s) => medianError(judged, way, s))]));
    const top = Math.ceil(Math.max(...Object.values(values).flat()) * 10 + 0.5) / 10;
    const x = (s) => round(x0 + s * w), y = (v) => round(y0 + h - (v / top) * h), out = [];
    for (let v = 0; v <= top + 1e-9; v += 0.1) {
        out.push(line(x0, y(v), x0 + w, y(v), 'stroke="#ddd"'), text(x0 - 6, y(v) + 4, `${Math.round(v * 100)} %`, 'text-anchor="end"'));
    }
    for (const s of [0.1, 0.25, 0.5, 0.75, 0.9]) {
        out.push(text(x(s), y0 + h + 16, `${s * 100} %`, 'text-anchor="middle"'));
    }
    out.push(text(x0 + w / 2, y0 + h + 34, 'share of the work done', 'text-anchor="middle"'), text(x0, y0 - 10, 'median error of eta', 'font-weight="bold"'));
    for (const way of WAYS) {
        out.push(`<polyline fill="none" stroke="${COLOURS[way]}" stroke-width="2.5" points="${shares.map((s, i) => `${x(s)},${y(values[way][i])}`).join(' ')}"/>`);
    }
    WAYS.forEach((way, i) => out.push(line(x0, y0 + h + 56 + 18 * i, x0 + 24, y0 + h + 56 + 18 * i, `stroke="${COLOURS[way]}" stroke-width="2.5"`),
        text(x0 + 32, y0 + h + 60 + 18 * i, NAMES[way])));
    return out;
}

// Each run at its half: naive against ours; below the diagonal ours was nearer.
function pairs(judged, x0, y0, w, h) {
    const naive = errors(judged, 'naive', 0.5), ours = errors(judged, 'kind', 0.5), out = [], low = 0.01, high = 10;
    const at = (v) => Math.log(Math.min(Math.max(v, low), high) / low) / Math.log(high / low);
    const x = (v) => round(x0 + at(v) * w), y = (v) => round(y0 + h - at(v) * h);
    for (const v of [0.01, 0.1, 1, 10]) {
        out.push(line(x0, y(v), x0 + w, y(v), 'stroke="#ddd"'), line(x(v), y0, x(v), y0 + h, 'stroke="#ddd"'));
        out.push(text(x0 - 6, y(v) + 4, `${v * 100} %`, 'text-anchor="end"'), text(x(v), y0 + h + 16, `${v * 100} %`, 'text-anchor="middle"'));
    }
    out.push(line(x0, y0 + h, x0 + w, y0, 'stroke="#888" stroke-dasharray="4 3"'), text(x0, y0 - 10, 'each run at half of its work: with its kind', 'font-weight="bold"'));
    out.push(text(x0 + w / 2, y0 + h + 34, 'error of the naive estimate', 'text-anchor="middle"'));
    naive.forEach((n, i) => {
        if (n.error !== null) {
            out.push(`<circle cx="${x(n.error)}" cy="${y(ours[i].error)}" r="4" fill="${COLOURS.kind}" fill-opacity="0.6"><title>${n.name}</title></circle>`);
        }
    });
    return out;
}

const { values: o, positionals } = parseArgs({ allowPositionals: true, options: { set: { type: 'string', default: 'check' } } });
const folder = mkdtempSync(join(tmpdir(), 'estimates-'));
try {
    const judged = judge(buildReplay(folder), readRuns(), o.set);
    const body = [...curves(judged, 60, 40, 360, 260), ...pairs(judged, 510, 40, 260, 260)];
    const file = positionals[0] ?? join(dirname(fileURLToPath(import.meta.url)), '../../docs/estimates.svg');
    writeFileSync(file, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 420" font-family="sans-serif" font-size="12" fill="#222">\n`
        + `<rect width="800" height="420" fill="#fff"/>\n${body.join('\n')}\n</svg>\n`);
    console.log(`${file}: ${judged.length} runs`);
} finally {
    rmSync(folder, { recursive: true, force: true });
}
