// The documents can be read: no table cell is a paragraph, and every link between them leads somewhere.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { anchors, cells, links } from './markdown.mjs';
import { filesBelow, read, root } from './tree.mjs';

const longestCell = 300;
const documents = ['README.md', ...['docs', 'clients', 'web'].flatMap((folder) => filesBelow(folder, /\.md$/))];
const leadsOut = (target) => /^[a-z][a-z0-9+.-]*:/i.test(target);

test('no table cell of docs/api.md is longer than can be read at a glance', () => {
    const all = cells(read('docs/api.md'));
    assert.ok(all.length > 300, 'the tables were found');
    assert.deepEqual(all.filter((cell) => [...cell].length > longestCell), []);
});

test('every link between the documents leads to a file and a heading that are there', () => {
    const wrong = [];
    let seen = 0;
    for (const document of documents) {
        for (const target of links(read(document)).filter((target) => !leadsOut(target))) {
            const [path, anchor] = target.split('#');
            const file = path ? join(dirname(document), path) : document;
            seen++;
            if (!existsSync(`${root}/${file}`)) wrong.push(`${document}: ${target}: no such file`);
            else if (anchor !== undefined && !anchors(read(file)).includes(anchor)) wrong.push(`${document}: ${target}: no such heading`);
        }
    }
    assert.ok(seen > 100, 'the links were found');
    assert.deepEqual(wrong, []);
});

test('docs/architecture.md can be read in ten minutes', () => {
    const words = read('docs/architecture.md').match(/[A-Za-z0-9][^ |\n]*/g).length;
    assert.ok(words > 500 && words <= 1500, `${words} words`);
});
