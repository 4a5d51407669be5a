// Bytes on a socket, for what no HTTP client would send.
import net from 'node:net';
import assert from 'node:assert/strict';
import { answer } from './client.mjs';

export class Raw {
    constructor(socket) {
        this.socket = socket;
        this.bytes = Buffer.alloc(0);
        this.closed = false;
        this.reset = false;
        this.wakers = new Set();
        const wake = () => {
            for (const w of this.wakers) {
                w();
            }
        };
        socket.on('data', (d) => {
            this.bytes = Buffer.concat([this.bytes, d]);
            wake();
        });
        socket.on('error', () => (this.reset = true));
        socket.on('end', () => {
            this.ended = true;
            wake();
        });
        socket.on('close', () => {
            this.closed = true;
            wake();
        });
    }

    write(data) {
        this.socket.write(data);
        return this;
    }

    /** No more from this side; the other may go on. */
    halfClose() {
        this.socket.end();
        return this;
    }

    async when(test, what, deadlineMs = 20000) {
        const end = Date.now() + deadlineMs;
        for (;;) {
            const value = test();
            if (value) {
                return value;
            }
            const left = end - Date.now();
            if (left <= 0) {
                assert.fail(`gave up waiting for ${what}; had ${JSON.stringify(this.bytes.toString('latin1').slice(0, 1000))}`);
            }
            await new Promise((done) => {
                const finish = () => {
                    clearTimeout(timer);
                    this.wakers.delete(finish);
                    done();
                };
                const timer = setTimeout(finish, left);
                this.wakers.add(finish);
            });
        }
    }

    /** One whole answer taken off the front. */
    async response({ head = false } = {}) {
        const got = await this.when(() => parse(this.bytes, head, this.closed || this.ended) ?? ((this.closed || this.ended) && 'closed'), 'an answer');
        assert.notEqual(got, 'closed', `the connection was closed without an answer: ${JSON.stringify(this.bytes.toString('latin1').slice(0, 500))}`);
        this.bytes = this.bytes.subarray(got.length);
        return got.answer;
    }

    end() {
        return this.when(() => this.closed || this.ended, 'the end of the connection');
    }

    destroy() {
        this.socket.destroy();
    }
}

function parse(bytes, head, closed) {
    const at = bytes.indexOf('\r\n\r\n');
    if (at < 0) {
        return null;
    }
    const [line, ...fields] = bytes.subarray(0, at).toString('latin1').split('\r\n');
    const m = /^HTTP\/1\.1 (\d{3})(?: (.*))?$/.exec(line);
    assert.ok(m, `not a status line: ${line}`);
    const status = Number(m[1]);
    const headers = {};
    for (const f of fields) {
        const h = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(f);
        assert.ok(h, `not a header: ${JSON.stringify(f)}`);
        const name = h[1].toLowerCase();
        headers[name] = name in headers ? `${headers[name]}, ${h[2]}` : h[2];
    }
    const from = at + 4;
    if (status < 200 || status === 204 || status === 304 || head) {
        return { length: from, answer: answer(status, headers, Buffer.alloc(0)) };
    }
    if ('content-length' in headers) {
        assert.ok(!('transfer-encoding' in headers));
        const length = Number(headers['content-length']);
        return bytes.length < from + length ? null : { length: from + length, answer: answer(status, headers, bytes.subarray(from, from + length)) };
    }
    if (headers['transfer-encoding'] === 'chunked') {
        return parseChunks(bytes, from, status, headers);
    }
    return closed ? { length: bytes.length, answer: answer(status, headers, bytes.subarray(from)) } : null;
}

function parseChunks(bytes, from, status, headers) {
    const parts = [];
    for (let at = from; ; ) {
        const eol = bytes.indexOf('\r\n', at);
        if (eol < 0) {
            return null;
        }
        const size = parseInt(bytes.subarray(at, eol).toString('latin1'), 16);
        if (bytes.length < eol + 2 + size + 2) {
            return null;
        }
        parts.push(bytes.subarray(eol + 2, eol + 2 + size));
        at = eol + 2 + size + 2;
        if (size === 0) {
            return { length: at, answer: answer(status, headers, Buffer.concat(parts)) };
        }
    }
}

export function connect(server) {
    return new Promise((done, fail) => {
        const socket = net.connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
        socket.once('error', fail);
        socket.once('connect', () => {
            socket.off('error', fail);
            done(new Raw(socket));
        });
    });
}

/** Sends the bytes and gives the first answer; the connection is then dropped. */
export async function exchange(server, data, options) {
    const c = await connect(server);
    try {
        c.write(data);
        return await c.response(options);
    } finally {
        c.destroy();
    }
}
