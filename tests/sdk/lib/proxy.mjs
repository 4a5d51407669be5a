// A proxy that does what proxies do to streams: it cuts, delays, buffers, answers in the server's place, and strips headers.
import http from 'node:http';
import net from 'node:net';

export class Proxy {
    /** port(): where the server is now. */
    constructor(port) {
        this.port = port;
        this.mode = 'pass'; // pass, refuse, 502, 504, retry, buffer, silent
        this.delayMs = 0;
        this.strip = new Set(); // names of headers of requests and answers
        this.upgrades = true;
        this.requests = []; // when, and for what
        this.sockets = new Set();
        this.server = http.createServer((request, response) => this.pass(request, response).catch(() => response.destroy()));
        this.server.on('connection', (socket) => {
            this.sockets.add(socket);
            socket.on('close', () => this.sockets.delete(socket));
            if (this.mode === 'refuse') {
                socket.destroy();
            }
        });
        this.server.on('upgrade', (request, socket, head) => this.upgrade(request, socket, head));
    }

    async start() {
        await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
        this.host = `127.0.0.1:${this.server.address().port}`;
        this.url = `http://${this.host}`;
        return this;
    }

    note(request) {
        this.requests.push({ at: Date.now(), path: request.url, accept: request.headers.accept });
    }

    headers(all) {
        return Object.fromEntries(Object.entries(all).filter(([name]) => !this.strip.has(name) && !['connection', 'transfer-encoding', 'keep-alive'].includes(name)));
    }

    async pass(request, response) {
        this.note(request);
        const { mode, delayMs } = this;
        const chunks = [];
        for await (const chunk of request) {
            chunks.push(chunk);
        }
        if (delayMs) {
            await new Promise((done) => setTimeout(done, delayMs));
        }
        if (mode === '502' || mode === '504') {
            response.writeHead(Number(mode), { 'content-type': 'text/html' }).end('<h1>The server is away</h1>');
            return;
        }
        if (mode === 'retry') { // as docs/proxies.md has it, for EventSource
            response.writeHead(200, { 'content-type': 'text/event-stream' }).end('retry: 2000\n\n');
            return;
        }
        if (mode === 'silent') {
            return;
        }
        const upstream = http.request({
            host: '127.0.0.1', port: this.port(), method: request.method, path: request.url, agent: false,
            headers: { ...this.headers(request.headers), host: `127.0.0.1:${this.port()}` },
        });
        response.on('close', () => upstream.destroy());
        upstream.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
        upstream.on('response', (answer) => {
            const stream = /event-stream/.test(answer.headers['content-type'] ?? '');
            answer.on('error', () => response.destroy());
            if (mode === 'buffer' && stream) { // for ever: a stream has no end
                answer.resume();
                return;
            }
            response.writeHead(answer.statusCode, this.headers(answer.headers));
            response.flushHeaders();
            answer.pipe(response);
        });
        upstream.end(Buffer.concat(chunks));
    }

    upgrade(request, socket, head) {
        this.note(request);
        socket.on('error', () => {});
        if (!this.upgrades || this.mode !== 'pass' && this.mode !== 'buffer') {
            socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
            return;
        }
        const upstream = net.connect(this.port(), '127.0.0.1', () => {
            const lines = [`GET ${request.url} HTTP/1.1`, `Host: 127.0.0.1:${this.port()}`];
            for (let i = 0; i < request.rawHeaders.length; i += 2) {
                if (request.rawHeaders[i].toLowerCase() !== 'host') {
                    lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
                }
            }
            upstream.write(`${lines.join('\r\n')}\r\n\r\n`);
            upstream.write(head);
            upstream.pipe(socket).pipe(upstream);
        });
        upstream.on('error', () => socket.destroy());
        upstream.on('close', () => socket.destroy());
        socket.on('close', () => upstream.destroy());
    }

    /** Every connection that there is ends here and now. */
    cut() {
        this.sockets.forEach((socket) => socket.destroy());
    }

    /** The most requests in any span of that length. */
    most(spanMs) {
        let most = 0;
        for (let from = 0, to = 0; to < this.requests.length; to++) {
            while (this.requests[to].at - this.requests[from].at > spanMs) {
                from++;
            }
            most = Math.max(most, to - from + 1);
        }
        return most;
    }

    async close() {
        this.cut();
        await new Promise((done) => this.server.close(done));
    }
}
