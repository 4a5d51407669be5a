// docs/map.md names every file of these folders once, and none that is not there. A heading names a folder, an entry the files in it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filesBelow, read } from './tree.mjs';

const folders = ['src', 'include', 'clients', 'examples', 'web', 'tests', 'bench'];
const notNamed = /(^|\/)meson\.build$/;
const entry = /^- ((?:`[^`]+`(?:, )?)+): ./;

function named(map) {
    const paths = [];
    let folder;
    for (const line of map.split('\n')) {
        if (line.startsWith('#')) folder = line.match(/^#+ `([^`]+\/)`$/)?.[1];
        else if (folder && entry.test(line)) paths.push(...[...line.match(entry)[1].matchAll(/`([^`]+)`/g)].map(([, name]) => folder + name));
    }
    return paths;
}

const paths = named(read('docs/map.md'));
const data = paths.filter((path) => path.endsWith('/'));
const files = folders.flatMap((folder) => filesBelow(folder, /./)).filter((file) => !notNamed.test(file));

test('every file is named in docs/map.md', () => {
    const missing = files.filter((file) => !paths.includes(file) && !data.some((folder) => file.startsWith(folder)));
    assert.deepEqual(missing, [], 'say in docs/map.md what each of these is and where it is used');
});

test('no file is named twice in docs/map.md', () => {
    const twice = paths.filter((path, at) => paths.indexOf(path) !== at || data.some((folder) => path !== folder && path.startsWith(folder)));
    assert.deepEqual(twice, []);
});

test('docs/map.md names no file that is not there', () => {
    const gone = paths.filter((path) => !files.some((file) => file === path || (path.endsWith('/') && file.startsWith(path))));
    assert.deepEqual(gone, []);
});
