// What a finished task brought, shown for the kinds this page knows and as JSON for any other.

import * as format from './format.js';

export function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) {
        made.textContent = text;
    }
    if (className) {
        made.className = className;
    }
    return made;
}

function facts(rows) {
    const list = element('dl', undefined, 'facts');
    for (const [name, value] of rows) {
        const row = element('div');
        row.append(element('dt', name), element('dd', value));
        list.append(row);
    }
    return list;
}

function scrolling(label, content) {
    const region = element('div', undefined, 'scroll');
    region.tabIndex = 0;
    region.setAttribute('role', 'region');
    region.setAttribute('aria-label', label);
    region.append(content);
    return region;
}

function digestTable(rows) {
    const table = element('table');
    const head = table.createTHead().insertRow();
    for (const [name, className] of [['SHA-256'], ['Size', 'number'], ['File']]) {
        const cell = element('th', name, className);
        cell.scope = 'col';
        head.append(cell);
    }
    const body = table.createTBody();
    for (const row of rows) {
        const line = body.insertRow();
        const digest = element('td', `${row.sha256.slice(0, 16)}…`);
        digest.title = row.sha256;
        line.append(digest, element('td', format.bytes(row.bytes), 'number'), element('td', row.path));
    }
    return table;
}

function copyButton(rows) {
    const button = element('button', 'Copy for sha256sum --check', 'quiet');
    button.type = 'button';
    button.addEventListener('click', async () => {
        const text = rows.map((row) => `${row.sha256}  ${row.path}\n`).join('');
        const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
        button.textContent = copied ? 'Copied' : 'This browser does not allow it';
    });
    return button;
}

function checksum(result) {
    const rows = [
        ['Files', result.files.toLocaleString('en')],
        ['Read', format.bytes(result.bytes)],
        ['Hashed in', format.duration(result.seconds)],
    ];
    if (result.skipped) {
        rows.push(['Not readable', result.skipped.toLocaleString('en')]);
    }
    const slowest = result.slowest[0];
    if (slowest) {
        rows.push(['Longest to hash', `${slowest.path.split('/').pop()}, ${slowest.milliseconds} ms`]);
    }
    const foot = element('div', undefined, 'result-foot');
    const shown = result.table.length < result.files ? `The first ${result.table.length} of ${result.files.toLocaleString('en')} files.` : 'All files.';
    foot.append(element('span', shown), copyButton(result.table));
    return [facts(rows), scrolling('Digests', digestTable(result.table)), foot];
}

function sizeRow(label, size, largest, className) {
    const bar = element('i', undefined, className);
    bar.style.transform = `scaleX(${largest ? Math.max(size / largest, 0.004) : 0})`;
    return [element('span', label), bar, element('span', format.bytes(size), 'figure')];
}

function compress(result) {
    const sizes = element('div', undefined, 'sizes');
    const largest = Math.max(result.bytes, result.compressed);
    sizes.append(...sizeRow('before', result.bytes, largest, 'from'), ...sizeRow('after', result.compressed, largest));
    const rows = [['File', result.file], ['Left of it', format.share(result.ratio)], ['Compressed in', format.duration(result.seconds)]];
    return [facts(rows), sizes];
}

function anything(result) {
    return [scrolling('Result', element('pre', JSON.stringify(result, null, 2)))];
}

const known = { checksum, compress };

export function showResult(kind, result) {
    try {
        return (known[kind] ?? anything)(result);
    } catch {
        return anything(result);
    }
}
