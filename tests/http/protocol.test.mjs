// HTTP/1.1 to the letter (RFC 9110, RFC 9112), on bare sockets.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { ok, pause, problem } from './lib/client.mjs';
import { connect, exchange } from './lib/raw.mjs';

let s;
let app;
let auth;
before(async () => {
    s = await start({ request_header_timeout: 2, body_timeout: 2, idle_keepalive_timeout: 2 });
    app = s.api();
    auth = `Host: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\n`;
});
after(() => s.close());

const get = (path = '/v1/info', more = '') => `GET ${path} HTTP/1.1\r\n${auth}${more}\r\n`;
const post = (body, more = '', path = '/v1/sessions') => `POST ${path} HTTP/1.1\r\n${auth}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${more}\r\n${body}`;
const chunked = (chunks, more = '') => `POST /v1/sessions HTTP/1.1\r\n${auth}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n${more}\r\n${chunks}`;

/** The answer to bytes that no client should send: refused, and the connection closed. */
async function refused(bytes, status = 400) {
    const c = await connect(s);
    c.write(bytes);
    const r = await c.response();
    assert.equal(r.status, status, `${r.status} ${r.text}`);
    assert.match(r.headers['content-type'], /^application\/problem\+json/);
    assert.match(r.headers.connection ?? '', /close/i);
    await c.end();
    assert.equal(c.reset, false, 'closed, not reset');
    c.destroy();
    return r;
}

describe('what is refused', () => {
    const host = () => `Host: ${s.host}\r\n`;
    const cases = {
        'a bare LF': () => `GET /v1/info HTTP/1.1\nHost: ${s.host}\n\n`,
        'a bare LF after a header': () => `GET /v1/info HTTP/1.1\r\nHost: ${s.host}\n\r\n`,
        'a bare CR in a header': () => get('/v1/info', 'X: a\rb\r\n'),
        'a folded header': () => get('/v1/info', 'X: a\r\n b\r\n'),
        'white space before the colon': () => get('/v1/info', 'X : a\r\n'),
        'white space before the first header': () => `GET /v1/info HTTP/1.1\r\n ${host()}\r\n`,
        'a header without a colon': () => get('/v1/info', 'nonsense\r\n'),
        'a header without a name': () => get('/v1/info', ': x\r\n'),
        'a name with a stray character': () => get('/v1/info', 'X(y): a\r\n'),
        'a NUL in a value': () => get('/v1/info', 'X: a\0b\r\n'),
        'a control character in a value': () => get('/v1/info', 'X: a\x01b\r\n'),
        'no Host': () => 'GET /v1/info HTTP/1.1\r\n\r\n',
        'two Hosts': () => `GET /v1/info HTTP/1.1\r\n${host()}${host()}\r\n`,
        'Content-Length and Transfer-Encoding': () => `POST /v1/sessions HTTP/1.1\r\n${auth}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
        'two Content-Lengths': () => `POST /v1/sessions HTTP/1.1\r\n${auth}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`,
        'two equal Content-Lengths in one': () => `POST /v1/sessions HTTP/1.1\r\n${auth}Content-Length: 2, 2\r\n\r\n{}`,
        'a signed Content-Length': () => `POST /v1/sessions HTTP/1.1\r\n${auth}Content-Length: +2\r\n\r\n{}`,
        'a negative Content-Length': () => `POST /v1/sessions HTTP/1.1\r\n${auth}Content-Length: -2\r\n\r\n{}`,
        'a hexadecimal Content-Length': () => `POST /v1/sessions HTTP/1.1\r\n${auth}Content-Length: 0x2\r\n\r\n{}`,
        'an empty Content-Length': () => `POST /v1/sessions HTTP/1.1\r\n${auth}Content-Length: \r\n\r\n`,
        'another transfer coding': () => `POST /v1/sessions HTTP/1.1\r\n${auth}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
        'a transfer coding that is not last': () => `POST /v1/sessions HTTP/1.1\r\n${auth}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
        'two Transfer-Encodings': () => `POST /v1/sessions HTTP/1.1\r\n${auth}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
        'chunks on HTTP/1.0': () => `POST /v1/sessions HTTP/1.0\r\n${auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
        'a bad chunk size': () => chunked('xyz\r\n{}\r\n0\r\n\r\n'),
        'a chunk size with a sign': () => chunked('+2\r\n{}\r\n0\r\n\r\n'),
        'a chunk size with white space before': () => chunked(' 2\r\n{}\r\n0\r\n\r\n'),
        'a chunk size past all measure': () => chunked('fffffffffffffffff\r\n{}\r\n0\r\n\r\n'),
        'a chunk that ends too late': () => chunked('2\r\n{}x\r\n0\r\n\r\n'),
        'a chunk line with a bare LF': () => chunked('2\n{}\r\n0\r\n\r\n'),
        'a target with a control character': () => `GET /v1/\x01info HTTP/1.1\r\n${auth}\r\n`,
        'a target with a space': () => `GET /v1/in fo HTTP/1.1\r\n${auth}\r\n`,
        'a fragment as target': () => `GET v1/info HTTP/1.1\r\n${auth}\r\n`,
        'a line without a version': () => `GET /v1/info\r\n${auth}\r\n`,
        'a lower-case version': () => `GET /v1/info http/1.1\r\n${auth}\r\n`,
        'HTTP/1.2-like digits': () => `GET /v1/info HTTP/1.11\r\n${auth}\r\n`,
        'two spaces': () => `GET  /v1/info HTTP/1.1\r\n${auth}\r\n`,
        'a method with a stray character': () => `G(T /v1/info HTTP/1.1\r\n${auth}\r\n`,
        'the greeting of TLS': () => Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 13, 10, 13, 10]),
    };
    for (const [what, make] of Object.entries(cases)) {
        test(what, () => refused(make()));
    }

    test('another version of HTTP', async () => {
        for (const version of ['HTTP/2.0', 'HTTP/0.9', 'HTTP/3.0']) {
            const r = await exchange(s, `GET /v1/info ${version}\r\n${auth}\r\n`);
            assert.ok(r.status === 400 || r.status === 505, `${version}: ${r.status}`);
        }
    });

    test('nothing after a refusal is carried out', async () => {
        const before_ = (await app.get('/v1/sessions?user=smuggled')).json.items.length;
        const c = await connect(s);
        c.write(`POST /v1/sessions HTTP/1.1\r\n${auth}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${post('{"user":"smuggled"}')}`);
        problem(await c.response(), 'invalid-request');
        await c.end();
        assert.equal(c.bytes.length, 0);
        assert.equal((await app.get('/v1/sessions?user=smuggled')).json.items.length, before_);
    });
});

describe('what is accepted', () => {
    const status = async (bytes, want = 200) => ok(await exchange(s, bytes), want);

    test('an empty line or two before a request', () => status(`\r\n\r\n${get()}`));
    test('names of headers in any case, values with white space around them', () => status(`GET /v1/info HTTP/1.1\r\nhOsT:   ${s.host}  \t\r\nX-Empty:\r\n\r\n`));
    test('obs-text in a value', () => status(Buffer.from(get('/v1/info', 'X: \xe9\xff\r\n'), 'latin1')));
    test('the absolute form, whose authority counts', async () => {
        await status(`GET http://${s.host}/v1/info HTTP/1.1\r\n${auth}\r\n`);
        problem(await exchange(s, `GET http://evil.example/v1/info HTTP/1.1\r\nHost: ${s.host}\r\n\r\n`), 'misdirected');
    });
    test('OPTIONS *', async () => {
        const r = await exchange(s, `OPTIONS * HTTP/1.1\r\n${auth}\r\n`);
        assert.ok(r.status < 500, String(r.status));
    });
    test('chunks, extensions and trailers', async () => {
        await status(chunked('1\r\n{\r\n1;a=b;c="d"\r\n}\r\n0\r\nX-Trailer: a\r\n\r\n'), 201);
        await status(chunked('0002\r\n{}\r\n000\r\n\r\n'), 201);
        await status(chunked('0\r\n\r\n'), 201);
        await status(`POST /v1/sessions HTTP/1.1\r\n${auth}Content-Type: application/json\r\nTransfer-Encoding: Chunked\r\n\r\nD\r\n{"user":"uh"}\r\n0\r\n\r\n`, 201);
    });
    test('a GET with a body', async () => {
        const c = await connect(s);
        c.write(`GET /v1/info HTTP/1.1\r\n${auth}Content-Length: 5\r\n\r\nhello${get('/healthz')}`);
        const first = await c.response();
        assert.ok(first.status === 200 || first.status === 400, String(first.status));
        if (first.status === 200) {
            ok(await c.response(), 200);
        }
        c.destroy();
    });

    test('a request a byte at a time', async () => {
        const c = await connect(s);
        for (const byte of post('{"user":"slow"}')) {
            c.write(byte);
            await new Promise(setImmediate);
        }
        assert.equal(ok(await c.response(), 201).json.user, 'slow');
        c.destroy();
    });

    test('100 Continue', async () => {
        const c = await connect(s);
        const body = '{"user":"patient"}';
        c.write(`POST /v1/sessions HTTP/1.1\r\n${auth}Content-Type: application/json\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`);
        assert.equal((await c.response()).status, 100);
        c.write(body);
        assert.equal(ok(await c.response(), 201).json.user, 'patient');
        c.destroy();
    });

    test('no 100 for what is refused anyway', async () => {
        const c = await connect(s);
        c.write(`POST /v1/sessions HTTP/1.1\r\nHost: ${s.host}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n`);
        const r = await c.response();
        assert.ok(r.status === 401 || r.status === 100, String(r.status));
        c.destroy();
    });
});

describe('HTTP/1.0', () => {
    test('needs no Host and is closed after its answer', async () => {
        const c = await connect(s);
        c.write(`GET /healthz HTTP/1.0\r\n\r\n`);
        ok(await c.response(), 200);
        await c.end();
    });
    test('keep-alive when it asks', async () => {
        const c = await connect(s);
        c.write(`GET /v1/info HTTP/1.0\r\n${auth}Connection: close\r\n\r\n`);
        ok(await c.response(), 200);
        await c.end();
    });
});

describe('connections', () => {
    test('are kept, and closed when asked', async () => {
        const c = await connect(s);
        for (let i = 0; i < 3; i++) {
            c.write(get());
            const r = ok(await c.response(), 200);
            assert.ok(!/close/i.test(r.headers.connection ?? ''));
        }
        c.write(get('/v1/info', 'Connection: close\r\n'));
        assert.match(ok(await c.response(), 200).headers.connection, /close/i);
        await c.end();
    });

    test('answers carry a Date and a length', async () => {
        const r = await exchange(s, get());
        assert.ok(!Number.isNaN(Date.parse(r.headers.date)));
        assert.equal(Number(r.headers['content-length']), r.bytes.length);
        const none = await exchange(s, `POST /v1/queues/empty/claim HTTP/1.1\r\n${auth}Content-Length: 0\r\n\r\n`);
        assert.equal(none.status, 204);
        assert.equal(none.headers['content-length'], undefined);
    });

    test('idle ones are closed in silence', async () => {
        const c = await connect(s);
        c.write(get());
        ok(await c.response(), 200);
        await c.end();
        assert.equal(c.bytes.length, 0);
        const never = await connect(s);
        await never.end();
    });

    test('a slow head is 408', async () => {
        const c = await connect(s);
        c.write(`GET /v1/info HTTP/1.1\r\nHost: ${s.host}\r\nX-Slow: `);
        const timer = setInterval(() => c.write('x'), 100);
        try {
            const r = problem(await c.response(), 'request-timeout');
            assert.match(r.headers.connection, /close/i);
        } finally {
            clearInterval(timer);
        }
        await c.end();
    });

    test('a body that stops is 408; a slow one that goes on is not', async () => {
        const c = await connect(s);
        c.write(`POST /v1/sessions HTTP/1.1\r\n${auth}Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"us`);
        problem(await c.response(), 'request-timeout');
        await c.end();
        const slow = await connect(s);
        const body = '{"user":"steady"}';
        slow.write(`POST /v1/sessions HTTP/1.1\r\n${auth}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`);
        for (const byte of body) {
            slow.write(byte);
            await pause(80);
        }
        ok(await slow.response(), 201);
        slow.destroy();
    });

    test('half-closed ones get their answers', async () => {
        const c = await connect(s);
        c.write(get('/v1/info') + post('{"user":"half"}') + get('/healthz')).halfClose();
        ok(await c.response(), 200);
        ok(await c.response(), 201);
        ok(await c.response(), 200);
        await c.end();
    });

    for (const loops of [1, 2]) {
        const where = loops === 1 ? 'the engine in the loop' : 'the engine with a thread';
        const stream = (o, t, more) => `POST /v1/tasks/${t.id}/reports HTTP/1.1\r\nHost: ${o.host}\r\nAuthorization: Bearer ${t.worker_token}\r\nContent-Type: application/x-ndjson\r\n${more}\r\n`;
        const lines = (r) => ok(r, 200).text.trim().split('\n').map((line) => JSON.parse(line));

        test(`who asks for permission to stream reports is given it before the answer begins: ${where}`, async () => {
            const o = await start({ loops });
            const t = await o.api().task(await o.api().session());
            const c = await connect(o);
            c.write(stream(o, t, 'Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n'));
            assert.equal((await c.response()).status, 100);
            const report = '{"type":"succeed"}\n';
            c.write(`${report.length.toString(16)}\r\n${report}\r\n0\r\n\r\n`);
            assert.equal(lines(await c.response())[0].state, 'succeeded');
            c.destroy();
            await o.close();
        });

        test(`reports of a body that is cut short count and are answered as far as their lines came: ${where}`, async () => {
            const o = await start({ loops });
            const output = '{"type":"output","data":"x"}\n';
            for (const [framing, body] of [[`Content-Length: 1000\r\n`, output.repeat(3) + output.trim()], ['Transfer-Encoding: chunked\r\n', `${(3 * output.length).toString(16)}\r\n${output.repeat(3)}\r\n`]]) {
                for (let i = 0; i < 5; i++) {
                    const t = await o.api().task(await o.api().session());
                    const c = await connect(o);
                    c.write(stream(o, t, framing) + body).halfClose();
                    const said = lines(await c.response());
                    assert.deepEqual(said.map((line) => line.output_offset ?? line.code), [1, 2, 3, 'invalid-request']);
                    await c.end();
                    assert.equal(ok(await o.api().get(`/v1/tasks/${t.id}`), 200).json.output_bytes, 3);
                }
            }
            await o.close();
        });

        test(`a stream of reports that stops ends with request-timeout, one that is badly framed with invalid-request: ${where}`, async () => {
            const o = await start({ loops, body_timeout: 0.3 });
            const beat = '{"type":"heartbeat"}\n';
            for (const [body, code] of [['', 'request-timeout'], [`${(beat.length + 3).toString(16)}\r\n${beat}{"t`, 'request-timeout'], [`${beat.length.toString(16)}\r\n${beat}\r\nrubbish\r\n`, 'invalid-request']]) {
                const t = await o.api().task(await o.api().session());
                const c = await connect(o);
                c.write(stream(o, t, 'Transfer-Encoding: chunked\r\n') + body);
                const said = lines(await c.response());
                assert.deepEqual(said.map((line) => line.code ?? line.state), [...(body ? ['running'] : []), code]);
                await c.end();
            }
            await o.close();
        });

        test(`half-closed streams of reports are read to their end: ${where}`, async () => {
            const o = await start({ loops });
            for (let i = 0; i < 20; i++) {
                const t = await o.api().task(await o.api().session());
                const lines = Array.from({ length: 600 }, (_, n) => `{"type":"output","data":"${n} "}\n`).join('');
                const c = await connect(o);
                c.write(`POST /v1/tasks/${t.id}/reports HTTP/1.1\r\nHost: ${o.host}\r\nAuthorization: Bearer ${t.worker_token}\r\nContent-Type: application/x-ndjson\r\nContent-Length: ${lines.length}\r\n\r\n${lines}`);
                c.halfClose();
                const answers = ok(await c.response(), 200).text.trim().split('\n');
                assert.equal(answers.length, 600);
                assert.equal(JSON.parse(answers.at(-1)).output_offset, Array.from({ length: 600 }, (_, n) => `${n} `).join('').length);
                await c.end();
            }
            await o.close();
        });
    }

    test('half-closed while it waits', async () => {
        const t = await app.task(await app.session());
        const c = await connect(s);
        c.write(get(`/v1/tasks/${t.id}`, `If-None-Match: "${t.version}"\r\nPrefer: wait=1\r\n`)).halfClose();
        let r;
        do {
            r = await c.response(); // an interim answer may come at any time
        } while (r.status === 100);
        assert.equal(r.status, 304);
        await c.end();
    });

    test('cut in the middle of anything: the server goes on', async () => {
        for (const bytes of ['G', 'GET /v1/in', `POST /v1/sessions HTTP/1.1\r\n${'Host: '}`, post('{"user":"cut"}').slice(0, -3), chunked('5\r\n{"us')]) {
            const c = await connect(s);
            c.write(bytes);
            await pause(10);
            c.destroy();
            const d = await connect(s);
            d.write(bytes);
            await pause(10);
            d.socket.resetAndDestroy();
        }
        ok(await app.get('/v1/info'), 200);
    });

    test('a refusal before the body is read', async () => {
        const c = await connect(s);
        c.write(`POST /v1/sessions HTTP/1.1\r\nHost: ${s.host}\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n`);
        const piece = 'x'.repeat(100000);
        for (let i = 0; i < 30 && !c.closed; i++) {
            c.write(piece);
        }
        problem(await c.response(), 'unauthenticated');
        c.destroy();
    });
});

describe('pipelining', () => {
    test('answers come in the order of requests, whatever takes longer', async () => {
        const c = await connect(s);
        const a = await app.session();
        const t = await app.task(a);
        const users = Array.from({ length: 20 }, (_, i) => `pipe-${i}`);
        c.write(get(`/v1/tasks/${t.id}`, `If-None-Match: "${t.version}"\r\nPrefer: wait=1\r\n`) + users.map((user) => post(JSON.stringify({ user })) + get('/healthz')).join('') + get('/nothing'));
        assert.equal((await c.response()).status, 304);
        for (const user of users) {
            assert.equal(ok(await c.response(), 201).json.user, user);
            ok(await c.response(), 200);
        }
        problem(await c.response(), 'not-found');
        c.destroy();
    });

    test('hundreds at once', async () => {
        const c = await connect(s);
        const count = 500;
        c.write(Array.from({ length: count }, (_, i) => get(`/v1/sessions?user=p-${i}&limit=1`)).join(''));
        for (let i = 0; i < count; i++) {
            ok(await c.response(), 200);
        }
        c.destroy();
    });

    test('a refused one in the middle does not disturb the others', async () => {
        const c = await connect(s);
        c.write(post('{') + post('{"user":"after"}') + get('/v1/sessions?nope=1') + get('/healthz'));
        problem(await c.response(), 'invalid-request');
        assert.equal(ok(await c.response(), 201).json.user, 'after');
        problem(await c.response(), 'invalid-request');
        ok(await c.response(), 200);
        c.destroy();
    });

    test('any split gives the same answers', async () => {
        const bytes = Buffer.from(post('{"user":"split"}') + chunked('2\r\n{}\r\n0\r\n\r\n') + get('/healthz'));
        for (const size of [1, 2, 3, 7, 64, 101, 200]) {
            const c = await connect(s);
            for (let at = 0; at < bytes.length; at += size) {
                c.write(bytes.subarray(at, at + size));
                if (size > 3) {
                    await pause(1);
                } else {
                    await new Promise(setImmediate);
                }
            }
            assert.equal(ok(await c.response(), 201).json.user, 'split');
            ok(await c.response(), 201);
            ok(await c.response(), 200);
            c.destroy();
        }
    });
});
