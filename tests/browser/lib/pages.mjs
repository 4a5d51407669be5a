// A browser, and a small application that serves it one page: on the same host as the server but on a port of its own, so that the page is of another origin.
import http from 'node:http';
import { chromium } from 'playwright-core';

/** more: further arguments. */
export const launch = (...more) => start({}, more);

/** One that keeps pages for going back to them, as people's browsers do. */
export const launchKeeping = () => start({ ignoreDefaultArgs: ['--disable-back-forward-cache'] }, []);

const start = (options, more) => chromium.launch({
    ...options,
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', ...more],
});

export class Application {
    /** script: a function that is run in the page. */
    constructor(script) {
        const page = `<!doctype html><meta charset="utf-8"><title>page</title><script>(${script})();</script>`;
        this.server = http.createServer((request, response) => {
            const found = request.url.split('?')[0] === '/';
            response.writeHead(found ? 200 : 404, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
            response.end(found ? page : '');
        });
    }

    async start() {
        await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
        this.origin = `http://127.0.0.1:${this.server.address().port}`;
        return this;
    }

    address(parameters) {
        return `${this.origin}/?${new URLSearchParams(parameters)}`;
    }

    async close() {
        this.server.closeAllConnections();
        await new Promise((done) => this.server.close(done));
    }
}

/** What a framework does when it answers with Set-Cookie. */
export const setCookie = (context, token) => context.addCookies([{ name: 'bowline', value: token, domain: '127.0.0.1', path: '/', httpOnly: true, sameSite: 'Lax' }]);

/** Numbers that look random and are the same for the same seed: a function that gives one from 0 up to below 1. */
export function random(seed) {
    let x = seed >>> 0;
    return () => {
        x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
        return x / 4294967296;
    };
}

const WORDS = ['the', 'work', 'gets', 'on', 'Übung', 'naïve', '端末', '🚢', '👩‍🚀', 'e\u0301', '\n', '\n\n', 'data: x\n', ': no comment\n', '"quoted"', '\\u0041', '\u2028', 'x'.repeat(40)];

/** A worker that answers token by token, so many a second, until it is told to stop. */
export class Writer {
    constructor(lines, seed, perSecond = 200) {
        this.lines = lines;
        this.random = random(seed);
        this.text = '';
        this.bytes = 0;
        this.tokens = 0;
        const began = Date.now();
        this.timer = setInterval(() => {
            for (const due = ((Date.now() - began) * perSecond) / 1000; this.tokens < due; ) {
                this.say();
            }
        }, 5);
    }

    say() {
        const token = `${WORDS[Math.floor(this.random() * WORDS.length)]} `;
        this.lines.send({ type: 'output', data: token, offset: this.bytes });
        this.text += token;
        this.bytes += Buffer.byteLength(token);
        this.tokens++;
    }

    /** Nothing more is said; what was said has been answered. */
    async stop() {
        clearInterval(this.timer);
        return this.lines.answered(this.tokens);
    }
}
