// What stands in one place of src/net/ alone, so that another transport or protocol can stand beside it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filesBelow, read } from './tree.mjs';

const code = (file) => read(file).replace(/\/\*[^]*?\*\//g, '').replace(/^#include.*$/gm, '');
const files = filesBelow('src/net', /\.[ch]$/);
const others = (own) => files.filter((file) => !own.test(file));
const finds = (list, what) => list.filter((file) => what.test(code(file)));

test('system calls on a connection stand in the plain transport, those on listening sockets where one listens', () => {
    const calls = /(^|[^\w>.])(recv|recvmsg|send|sendmsg|writev|readv|shutdown|ioctl|getsockopt|setsockopt)\s*\(/;
    assert.deepEqual(finds(others(/transport_plain\.c|listen\.c|loop\.c/), calls), []);
    assert.deepEqual(finds(files.filter((file) => /transport_plain\.c/.test(file)), calls).length, 1, 'they are found where they are');
    assert.ok(!/\b(recv|recvmsg|send|sendmsg|shutdown|ioctl)\s*\(/.test(code('src/net/loop.c')));
});

test('status lines and framing are known to HTTP/1.1 alone', () => {
    const words = /HTTP\/1\.|Content-Length|Transfer-Encoding|"Connection|Date: |100 Continue|\\r\\n/;
    assert.deepEqual(finds(others(/http1/), words), []);
});

test('net/ decides no header but those of a WebSocket handshake', () => {
    const added = files.flatMap((file) => [...code(file).matchAll(/(?:http_add\w*\([^,]+, |struct http_header \w+ = \{)STR\("([^"]+)"\)/g)].map((m) => m[1]));
    assert.deepEqual([...new Set(added)].sort(), ['Sec-WebSocket-Accept', 'Sec-WebSocket-Protocol', 'Sec-WebSocket-Version']);
});

test('a watcher, a page and what they are made of never see a connection', () => {
    const bodies = files.filter((file) => /\/(watch|watch_pull|page|source|feed|websocket|respond)\.c$/.test(file));
    assert.ok(bodies.length >= 6);
    assert.deepEqual(finds(bodies.filter((file) => !/respond/.test(file)), /struct http_conn|conn_\w+\s*\(|->transport|->conn\b/), []);
});
