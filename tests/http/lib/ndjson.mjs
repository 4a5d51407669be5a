// A request that streams lines and reads the answer lines as they come.
import assert from 'node:assert/strict';
import { requestOf } from './sse.mjs';

const PATIENCE_MS = 20000; // without another answer

export class Lines {
    constructor(server, path, token) {
        this.answers = [];
        this.rest = '';
        this.done = false;
        this.wakers = new Set();
        this.request = requestOf(server)(server.url + path, { method: 'POST', agent: false, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/x-ndjson' } });
        this.response = new Promise((done, fail) => {
            this.request.on('response', (r) => {
                this.status = r.statusCode;
                this.headers = r.headers;
                r.setEncoding('utf8');
                r.on('data', (text) => this.take(text));
                r.on('close', () => this.finish());
                r.on('error', () => this.finish());
                done(r);
            });
            this.request.on('error', (e) => {
                this.finish();
                fail(e);
            });
        });
        this.response.catch(() => {});
        this.request.flushHeaders();
    }

    take(text) {
        this.rest += text;
        for (let at; (at = this.rest.indexOf('\n')) >= 0; ) {
            this.answers.push(JSON.parse(this.rest.slice(0, at)));
            this.rest = this.rest.slice(at + 1);
        }
        this.wake();
    }

    finish() {
        this.done = true;
        this.wake();
    }

    wake() {
        for (const w of this.wakers) {
            w();
        }
    }

    send(...reports) {
        this.request.write(reports.map((r) => `${typeof r === 'string' ? r : JSON.stringify(r)}\n`).join(''));
        return this;
    }

    end() {
        this.request.end();
        return this;
    }

    async until(test, what) {
        let end = Date.now() + PATIENCE_MS;
        for (let had = this.answers.length; !test(); ) {
            if (this.answers.length > had) {
                had = this.answers.length;
                end = Date.now() + PATIENCE_MS;
            }
            const left = end - Date.now();
            if (left <= 0) {
                assert.fail(`gave up waiting for ${what}; had ${JSON.stringify(this.answers).slice(0, 2000)}`);
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

    async answered(count) {
        await this.until(() => this.answers.length >= count || this.done, `${count} answer lines`);
        assert.ok(this.answers.length >= count, `only ${this.answers.length} answer lines: ${JSON.stringify(this.answers).slice(0, 2000)}`);
        return this.answers;
    }

    async ended() {
        await this.until(() => this.done, 'the end of the answer');
        assert.equal(this.rest, '', 'the last line is whole');
        return this.answers;
    }
}
