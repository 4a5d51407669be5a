// Which room of src/ may include which: the table in docs/architecture.md, held against every #include.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { filesBelow, read, root } from './tree.mjs';

// A room's files may include those of its own room and of these; a name with a slash is one header alone. A room that is not here may include nothing of ours.
const rooms = {
    base: [],
    domain: ['base'],
    store: ['base'],
    engine: ['base', 'domain', 'store/store.h'],
    net: ['base'],
    api: ['base', 'domain', 'engine/cmd.h', 'net/http.h'],
    client: ['base', 'bowline.h'],
    server: ['base', 'domain', 'engine/engine.h', 'engine/cmd.h', 'store/store.h', 'store/sqlite/sqlite.h', 'net/http.h', 'api/api.h'],
    cli: ['base', 'domain', 'store', 'engine/cmd.h', 'api/api.h', 'net', 'server', 'bowline.h'],
};

const includes = (text) => [...text.matchAll(/^[ \t]*#[ \t]*include[ \t]+"([^"]+)"/gm)].map((match) => match[1]);

function allowed(room, included) {
    const from = included.split('/')[0];
    return from === room || (rooms[room] ?? []).some((may) => may === from || may === included);
}

test('includes between the rooms of src/ run one way', () => {
    const wrong = [];
    let seen = 0;
    for (const file of filesBelow('src', /\.(c|h|cc)$/)) {
        const room = file.split('/')[1];
        for (const included of includes(read(file))) {
            seen++;
            if (file.split('/').length > 2 && !allowed(room, included)) wrong.push(`${file} includes ${included}`);
        }
    }
    assert.ok(seen > 300, 'the includes were found');
    assert.deepEqual(wrong, []);
});

test('every room of src/ has its rule and its row in docs/architecture.md', () => {
    const folders = new Set(filesBelow('src', /./).filter((file) => file.split('/').length > 2).map((file) => file.split('/')[1]));
    assert.deepEqual([...folders].sort(), Object.keys(rooms).sort());
    const architecture = readFileSync(`${root}/docs/architecture.md`, 'utf8');
    for (const room of folders) assert.match(architecture, new RegExp(`^\\| \`src/${room}/\` \\|`, 'm'), `src/${room}/ has no row`);
});

test('by which way somebody watches is the affair of src/api/ alone', () => {
    const files = filesBelow('src/engine', /\.[ch]$/);
    assert.ok(files.length > 50, 'the engine was found');
    assert.deepEqual(files.filter((file) => /websocket|server-sent|eventsource|\bsse\b/i.test(read(file))), []);
});
