// Section 1 of the contract: what holds for every route.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { start } from './lib/server.mjs';
import { Api, TIME, checkSession, checkTask, ok, problem, question, until } from './lib/client.mjs';
import { Lines } from './lib/ndjson.mjs';
import { connect, exchange } from './lib/raw.mjs';

const curl = (...args) => promisify(execFile)('curl', ['-sS', ...args], { encoding: 'buffer' });

let s;
let app;
before(async () => {
    s = await start();
    app = s.api();
});
after(() => s.close());

describe('problems', () => {
    test('have the shape of RFC 9457', async () => {
        const r = problem(await app.post('/v1/sessions', { nope: 1 }), 'invalid-request', '/nope');
        assert.deepEqual(Object.keys(r.json).sort(), ['code', 'detail', 'errors', 'status', 'title', 'type']);
    });

    test('name the place where a missing member would stand', async () => {
        const ses = await app.session();
        problem(await app.post('/v1/tasks', { session: ses.id }), 'invalid-request', '/kind');
        problem(await app.post('/v1/tasks', { kind: 'work' }), 'invalid-request', '/session');
        problem(await app.post('/v1/tasks', { kind: 'work', session: {} }), 'invalid-request', '/session/key');
        problem(await app.post(`/v1/sessions/${ses.id}/merge`, {}), 'invalid-request', '/into');
    });

    test('escape what RFC 6901 escapes in a pointer', async () => {
        problem(await app.post('/v1/sessions', { 'a/b~c': 1 }), 'invalid-request', '/a~1b~0c');
        problem(await app.post('/v1/sessions', { 'é"\\ ': 1 }), 'invalid-request', '/é"\\ ');
    });

    test('reach into nested members', async () => {
        const ses = await app.session();
        problem(await app.post('/v1/tasks', { kind: 'work', session: { key: 'k', nope: 1 } }), 'invalid-request', '/session/nope');
        const t = await app.task(ses);
        problem(await app.report(t, { type: 'fail', error: { type: 'x', message: 'm', nope: 1 } }), 'invalid-request', '/error/nope');
        problem(await app.report(t, [{ type: 'heartbeat' }, { type: 'progress', total: -1 }]), 'invalid-request', '/1/total');
    });

    test('are given by HEAD too, without a body', async () => {
        const r = await app.call('HEAD', '/v1/sessions/ses_01ARZ3NDEKTSV4RRFFQ69G5FAV');
        assert.equal(r.status, 404);
        assert.equal(r.text, '');
    });
});

describe('bodies', () => {
    const refused = {
        'an unknown member': '{"keey":"a"}',
        'a member named twice': '{"key":"a","key":"a"}',
        'a member named twice, once escaped': '{"key":"a","\\u006bey":"b"}',
        'a member named twice within metadata': '{"metadata":{"a":1,"b":{"c":1,"c":2}}}',
        'a lone high surrogate': '{"user":"\\ud800"}',
        'a lone low surrogate': '{"user":"\\udc00x"}',
        'surrogates in the wrong order': '{"user":"\\udc00\\ud800"}',
        'a lone surrogate in a name': '{"metadata":{"\\ud83d":1}}',
        'a lone surrogate deep in metadata': '{"metadata":{"a":["\\udfff"]}}',
        'something after the end': '{} x',
        'two values': '{}{}',
        'a trailing comma': '{"user":"a",}',
        'a comment': '{/* */}',
        'single quotes': "{'user':'a'}",
        'a byte order mark': '\ufeff{}',
        'a number with a leading zero': '{"idle_timeout":01}',
        'a number with a plus': '{"idle_timeout":+1}',
        'a number that ends in a point': '{"idle_timeout":1.}',
        'NaN': '{"idle_timeout":NaN}',
        'infinity by exponent': '{"idle_timeout":1e999}',
        'a control character in a string': '{"user":"a\u0001"}',
        'a raw line break in a string': '{"user":"a\nb"}',
        'an array': '[]',
        'a string': '"key"',
        'a number': '17',
        'null': 'null',
        'half an object': '{"user":"a"',
        'a string as number': '{"idle_timeout":"60"}',
        'a number as string': '{"user":17}',
        'a boolean as object': '{"metadata":true}',
        'an array as metadata': '{"metadata":[]}',
    };
    for (const [what, text] of Object.entries(refused)) {
        test(`${what} is refused`, async () => {
            problem(await app.text('/v1/sessions', text), 'invalid-request');
        });
    }

    for (const [what, bytes] of Object.entries({
        'a stray continuation byte': [0x80], 'an overlong slash': [0xc0, 0xaf], 'an encoded surrogate': [0xed, 0xa0, 0x80], 'a cut sequence': [0xe2, 0x82],
        'past the last code point': [0xf4, 0x90, 0x80, 0x80],
    })) {
        test(`UTF-8 with ${what} is refused`, async () => {
            const body = Buffer.concat([Buffer.from('{"metadata":{"a":"'), Buffer.from(bytes), Buffer.from('"}}')]);
            problem(await app.call('POST', '/v1/sessions', { body, type: 'application/json' }), 'invalid-request');
        });
    }

    test('a member named twice within input is refused', async () => {
        const ses = await app.session();
        problem(await app.text('/v1/tasks', `{"session":"${ses.id}","kind":"work","input":[{"a":1,"a":1}]}`), 'invalid-request');
    });

    test('names differ by case and need not be ASCII', async () => {
        ok(await app.text('/v1/sessions', '{"metadata":{"a":1,"A":2,"\\ud83d\\ude00":3,"é":4}}'), 201);
    });

    test('null for an optional member means left out', async () => {
        const r = ok(await app.post('/v1/sessions', { key: null, user: null, idle_timeout: null, max_age: null, metadata: null }), 201);
        assert.equal(r.json.user, null);
        assert.equal(r.json.idle_timeout, 1800);
        assert.equal(r.json.max_age, 86400);
        assert.deepEqual(r.json.metadata, {});
        const t = await app.task(r.json, { title: null, queue: null, on_session_end: null, lease: null, timeout: null, deadline: null, max_attempts: null,
            backoff: null, not_before: null, ttl: null, cancel_unwatched: null, webhook: null, metadata: null });
        assert.equal(t.on_session_end, 'keep');
        problem(await app.post('/v1/tasks', { session: r.json.id, kind: null }), 'invalid-request', '/kind');
        problem(await app.post('/v1/tasks', { session: null, kind: 'work' }), 'invalid-request', '/session');
    });

    test('an empty body counts as {} where all members are optional', async () => {
        const a = ok(await app.post('/v1/sessions'), 201).json;
        ok(await app.post(`/v1/sessions/${a.id}/touch`), 200);
        ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200);
        const t = await app.task(a);
        ok(await app.post(`/v1/tasks/${t.id}/token`), 200);
        ok(await app.post(`/v1/tasks/${t.id}/cancel`), 200);
        ok(await s.api(t.token).post(`/v1/tasks/${t.id}/seen`), 200);
        ok(await app.post('/v1/queues/none-there/claim'), 204);
    });

    test('an empty body is refused where a member is required', async () => {
        problem(await app.post('/v1/tasks'), 'invalid-request');
        problem(await app.post('/v1/queues/q/release'), 'invalid-request', '/token');
    });

    test('members are refused where there are none', async () => {
        const a = await app.session();
        const t = await app.task(a);
        problem(await app.post(`/v1/sessions/${a.id}/touch`, { idle_timeout: 5 }), 'invalid-request', '/idle_timeout');
        problem(await app.post(`/v1/tasks/${t.id}/token`, { x: 1 }), 'invalid-request', '/x');
        problem(await app.post(`/v1/tasks/${t.id}/cancel`, { why: 'x' }), 'invalid-request', '/why');
    });
});

describe('text is kept exactly', () => {
    const texts = ['{ "b" :1,\t"a": 1.0e2 , "big": 123456789012345678901234567890, "s":"\\u00e9\\/é\\ud83d\\ude00" }', '[1.50,  -0, 0.0, 1E+2, ""]', '{}', '{"z":{"y":[ ]}}'];

    for (const text of texts) {
        test(`input ${text}`, async () => {
            const ses = await app.session();
            const r = ok(await app.text('/v1/tasks', `{"session":"${ses.id}","kind":"work","input":  ${text} ,"title":"t"}`), 202);
            assert.equal((await app.get(`/v1/tasks/${r.json.id}/input`)).text, text);
            assert.equal((await s.api(r.json.worker_token).get(`/v1/tasks/${r.json.id}/input`)).text, text);
        });

        test(`result ${text}`, async () => {
            const ses = await app.session();
            const t = await app.task(ses);
            ok(await s.api(t.worker_token).text(`/v1/tasks/${t.id}/reports`, `{"result": ${text}  ,"type":"succeed"}`), 200);
            assert.equal(ok(await app.get(`/v1/tasks/${t.id}/result`), 200).text, text);
            const whole = await app.get(`/v1/tasks/${t.id}`);
            assert.ok(whole.text.includes(`"result":${text}`), whole.text);
            assert.equal(whole.json.result_bytes, Buffer.byteLength(text));
        });
    }

    test('metadata of sessions and tasks', async () => {
        const text = '{ "b" :1.0, "a":"\\u00e9" }';
        const a = ok(await app.text('/v1/sessions', `{"metadata":${text}}`), 201);
        assert.ok(a.text.includes(text));
        assert.ok((await app.get(`/v1/sessions/${a.json.id}`)).text.includes(text));
        assert.ok((await app.get('/v1/sessions?limit=1')).text.includes(text));
        const t = ok(await app.text('/v1/tasks', `{"session":"${a.json.id}","kind":"work","metadata":${text}}`), 202);
        assert.ok(t.text.includes(text));
        assert.ok((await app.get(`/v1/tasks/${t.json.id}`)).text.includes(text));
    });

    test('detail of an error', async () => {
        const text = '[ 1.10 ,{"x" : null}]';
        const t = await app.task(await app.session());
        ok(await s.api(t.worker_token).text(`/v1/tasks/${t.id}/reports`, `{"type":"fail","error":{"type":"disk-full","message":"m","detail":${text}}}`), 200);
        assert.ok((await app.get(`/v1/tasks/${t.id}`)).text.includes(text));
    });

    test('answers to questions', async () => {
        const text = '{ "really" : [ true ] }';
        const t = await app.task(await app.session());
        await app.reported(t, { type: 'input_request', prompt: 'Really?' });
        const id = question(await app.look(t));
        ok(await app.text(`/v1/tasks/${t.id}/answer`, `{"request":"${id}","answer":${text}}`), 200);
        const r = await s.api(t.worker_token).get(`/v1/tasks/${t.id}/control`);
        assert.ok(r.text.includes(text), r.text);
    });

    test('a single line per event, also with line breaks in kept text', async () => {
        const a = ok(await app.text('/v1/sessions', '{"metadata":{"a":\n1,\r\n"b":2}}'), 201).json;
        const t = ok(await app.text('/v1/tasks', `{"session":"${a.id}","kind":"work","metadata":{"a":\n[1,\r\n2]}}`), 202).json;
        const e = await app.events(`/v1/sessions/${a.id}/events`);
        assert.deepEqual((await e.task(t.id)).metadata, { a: [1, 2] });
        e.close();
    });
});

describe('media types', () => {
    for (const type of ['application/json', 'application/json; charset=utf-8', 'application/json;charset="UTF-8"', 'Application/JSON']) {
        test(`${type} is JSON`, async () => {
            ok(await app.call('POST', '/v1/sessions', { body: '{}', type }), 201);
        });
    }
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json; charset=iso-8859-1', 'application/xml', 'application/x-ndjson', 'multipart/form-data; boundary=x']) {
        test(`${type} is not`, async () => {
            problem(await app.call('POST', '/v1/sessions', { body: '{}', type }), 'unsupported-media-type');
        });
    }
    test('none counts as JSON', async () => {
        const r = await exchange(s, `POST /v1/sessions HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\nContent-Length: 12\r\n\r\n{"user":"u"}`);
        ok(r, 201);
        assert.equal(r.json.user, 'u');
    });
    test('answers say application/json', async () => {
        assert.match(ok(await app.post('/v1/sessions', {}), 201).headers['content-type'], /^application\/json/);
        assert.match((await app.get('/v1/sessions')).headers['content-type'], /^application\/json/);
    });

    const accepts = {
        '*/*': 200, 'application/*': 200, 'application/json': 200, 'text/html, application/xhtml+xml, */*;q=0.8': 200, 'application/json;q=0.1, text/html': 200,
        'text/html': 406, 'application/json;q=0': 406, 'image/*': 406, '*/*;q=0': 406, 'application/json;q=0, */*;q=1': 406, 'text/event-stream': 406,
    };
    for (const [accept, status] of Object.entries(accepts)) {
        test(`Accept: ${accept} on a session is ${status}`, async () => {
            const a = await app.session();
            const r = await app.get(`/v1/sessions/${a.id}`, { accept });
            if (status === 406) {
                problem(r, 'not-acceptable');
            } else {
                ok(r, status);
            }
        });
    }
    test('Accept on the other kinds of routes', async () => {
        const a = await app.session();
        const t = await app.task(a);
        ok(await app.get(`/v1/tasks/${t.id}/output`, { accept: 'application/octet-stream' }), 200);
        problem(await app.get(`/v1/tasks/${t.id}/output`, { accept: 'application/json' }), 'not-acceptable');
        problem(await app.get(`/v1/sessions/${a.id}/events`, { accept: 'text/html' }), 'not-acceptable');
        const page = ok(await app.get(`/v1/sessions/${a.id}/events`, { accept: 'text/event-stream;q=0, application/json' }), 200);
        assert.ok(Array.isArray(page.json.events));
    });
    test('Accept on streams of reports', async () => {
        const t = await app.task(await app.session());
        const line = `{"task":"${t.id}","type":"heartbeat"}\n`;
        const streams = [[app, '/v1/reports', line, 'application/x-ndjson'], [app, '/v1/reports', line, undefined], [s.api(t.worker_token), `/v1/tasks/${t.id}/reports`, '{"type":"heartbeat"}\n', 'application/x-ndjson']];
        for (const [api, path, body, type] of streams) {
            const ask = (accept) => api.call('POST', path, { body, type, headers: accept ? { accept } : {} });
            for (const accept of ['application/x-ndjson', '*/*', 'application/*', 'application/json, application/x-ndjson;q=0.5', 'application/json', undefined]) {
                assert.equal(ok(await ask(accept), 200).headers['content-type'], 'application/x-ndjson', accept);
            }
            assert.equal(ok(await ask('application/ndjson'), 200).headers['content-type'], 'application/ndjson');
            for (const accept of ['text/html', 'text/*', 'application/json;q=0', 'application/json;q=0, application/x-ndjson;q=0, application/ndjson;q=0, */*']) {
                problem(await ask(accept), 'not-acceptable');
            }
        }
        ok(await app.call('POST', `/v1/tasks/${t.id}/reports`, { body: '{"type":"heartbeat"}', type: 'application/json', headers: { accept: 'application/json' } }), 200);
        problem(await app.call('POST', `/v1/tasks/${t.id}/reports`, { body: '{"type":"heartbeat"}', type: 'application/json', headers: { accept: 'application/x-ndjson' } }), 'not-acceptable');
    });
    test('Accept on the metrics', async () => {
        const text = 'text/plain; version=0.0.4; charset=utf-8';
        const open = 'application/openmetrics-text; version=1.0.0; charset=utf-8';
        const types = { 'text/plain': text, 'text/plain;version=0.0.4': text, 'text/*': text, 'text/plain, */*;q=0.1': text, '*/*': open, 'application/openmetrics-text': open, 'text/plain, application/openmetrics-text': open,
            'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2': open };
        for (const [accept, type] of Object.entries(types)) {
            const r = ok(await app.get('/metrics', { accept }), 200);
            assert.equal(r.headers['content-type'], type, accept);
            assert.match(r.text, /# EOF\n$/);
        }
        assert.equal(ok(await app.get('/metrics'), 200).headers['content-type'], open);
        problem(await app.get('/metrics', { accept: 'application/json' }), 'not-acceptable');
    });
    test('Accept is not looked at by health and readiness', async () => {
        for (const path of ['/healthz', '/readyz']) {
            assert.match(ok(await s.api(null).get(path, { accept: 'text/html' }), 200).headers['content-type'], /^application\/json/);
        }
    });
});

describe('routes and methods', () => {
    for (const path of ['/', '/v1', '/v1/', '/v1/sessions/', '/V1/sessions', '/v1/Sessions', '//v1/sessions', '/v1//sessions', '/v2/sessions', '/v1/sessions/x/y', '/v1/uploads', '/v1/tasks/x/nope']) {
        test(`${path} is nothing, also without a credential`, async () => {
            problem(await app.get(path), 'not-found');
            problem(await s.api(null).get(path), 'not-found');
        });
    }
    const methods = [
        ['PATCH', '/v1/sessions', ['GET', 'POST']], ['DELETE', '/v1/sessions', ['GET', 'POST']], ['PUT', '/v1/tasks', ['GET', 'POST']],
        ['POST', '/v1/sessions/ses_01ARZ3NDEKTSV4RRFFQ69G5FAV', ['GET', 'DELETE']], ['GET', '/v1/sessions/ses_01ARZ3NDEKTSV4RRFFQ69G5FAV/touch', ['POST']],
        ['POST', '/v1/session/events', ['GET']], ['GET', '/v1/reports', ['POST']], ['POST', '/healthz', ['GET']], ['TRACE', '/v1/sessions', ['GET', 'POST']],
        ['FOO', '/v1/session', ['GET', 'DELETE']], ['get', '/v1/queues', ['GET']], ['GET', '/v1/queues/q/claim', ['POST']],
    ];
    for (const [method, path, allow] of methods) {
        test(`${method} ${path} is 405 with Allow, also without a credential`, async () => {
            const r = problem(await exchange(s, `${method} ${path} HTTP/1.1\r\nHost: ${s.host}\r\nConnection: close\r\n\r\n`), 'method-not-allowed');
            const allowed = r.headers.allow.split(/, */);
            for (const m of allow) {
                assert.ok(allowed.includes(m), `${m} in Allow: ${r.headers.allow}`);
            }
            assert.equal(allowed.includes('HEAD'), allowed.includes('GET'), r.headers.allow);
            assert.ok(!allowed.includes(method));
        });
    }
    test('HEAD where there is no GET is 405', async () => {
        assert.equal((await app.call('HEAD', '/v1/queues/q/claim')).status, 405);
    });
    test('HEAD is GET without the body', async () => {
        const a = await app.session({ metadata: { a: 'b' } });
        for (const path of [`/v1/sessions/${a.id}`, '/v1/sessions?limit=1&user=nobody', '/healthz', '/openapi.json']) {
            const [{ stdout: head }, get] = await Promise.all([curl('-I', '-H', `Authorization: Bearer ${s.key}`, s.url + path), app.get(path)]);
            assert.match(head.toString(), /^HTTP\/1\.1 200/);
            assert.equal(Number(/^content-length: (\d+)/im.exec(head)[1]), get.bytes.length, path);
        }
    });
    test('HEAD of a feed ends, and claims no length', async () => {
        const path = `/v1/sessions/${(await app.session()).id}/events`;
        for (const type of ['text/event-stream', 'application/json']) {
            const { stdout } = await curl('-I', '--max-time', '20', '-H', `Authorization: Bearer ${s.key}`, '-H', `Accept: ${type}`, s.url + path);
            assert.match(stdout.toString(), /^HTTP\/1\.1 200/);
            assert.match(stdout.toString(), new RegExp(`^content-type: ${type}`, 'im'));
            assert.doesNotMatch(stdout.toString(), /^(content-length|transfer-encoding):/im);
        }
        const ask = async (accept) => {
            const c = await connect(s);
            c.write(`HEAD ${path} HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\nAccept: ${accept}\r\n\r\nGET /healthz HTTP/1.1\r\nHost: ${s.host}\r\n\r\n`);
            assert.equal((await c.response({ head: true })).status, 200);
            return c;
        };
        const page = await ask('application/json'); // the connection goes on, as behind GET
        assert.equal((await page.response()).status, 200);
        page.destroy();
        const stream = await ask('text/event-stream'); // and ends, as behind GET
        await stream.end();
        assert.equal(stream.bytes.length, 0);
    });
});

describe('order of checks', () => {
    test('route and method, credential, role, syntax, object, state', async () => {
        const none = s.api(null);
        const a = await app.session();
        const t = await app.task(a);
        const gone = 'tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV';
        problem(await none.call('PATCH', '/v1/sessions', { body: '{', type: 'text/plain' }), 'method-not-allowed');
        problem(await none.call('POST', '/v1/sessions?x=1', { body: '{', type: 'text/plain' }), 'unauthenticated');
        problem(await s.api(a.token).call('POST', '/v1/sessions?x=1', { body: '{', type: 'text/plain' }), 'forbidden');
        problem(await s.api(a.token).post(`/v1/tasks/${gone}/bind`, { nope: 1 }), 'forbidden');
        problem(await app.post(`/v1/tasks/${gone}/cancel`, { nope: 1 }), 'invalid-request');
        problem(await app.post(`/v1/tasks/${gone}/cancel`, {}), 'not-found');
        await app.reported(t, { type: 'succeed' });
        problem(await app.post(`/v1/tasks/${t.id}/cancel`, { nope: 1 }), 'invalid-request');
        problem(await app.post(`/v1/tasks/${t.id}/cancel`, {}), 'task-ended');
    });

    test('a dead token is told before anything about the body', async () => {
        const a = await app.session();
        ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200);
        problem(await s.api(a.token).post('/v1/session/tasks?x=1', { nope: 1 }), 'unauthenticated');
        problem(await s.api(a.token).post('/v1/sessions', { nope: 1 }), 'unauthenticated');
    });
});

describe('ids', () => {
    test('malformed ones in a path are nothing, whatever they are', async () => {
        for (const id of ['x', 'ses_', 'ses_01arz3ndektsv4rrffq69g5fav', 'ses_01ARZ3NDEKTSV4RRFFQ69G5FA', 'ses_01ARZ3NDEKTSV4RRFFQ69G5FAVX', 'ses_81ARZ3NDEKTSV4RRFFQ69G5FAV',
            'ses_01ARZ3NDEKTSV4RRFFQ69G5FAU', 'tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV', '%00']) {
            const r = await app.get(`/v1/sessions/${id}`);
            assert.equal(r.status, 404, id);
        }
    });
    test('in a body: malformed 400, unknown 404, both with the pointer', async () => {
        const a = await app.session();
        const t = await app.task(a);
        const never = 'ses_01ARZ3NDEKTSV4RRFFQ69G5FAV';
        for (const bad of ['x', '', 'ses_01arz3ndektsv4rrffq69g5fav', t.id]) {
            problem(await app.post('/v1/tasks', { session: bad, kind: 'work' }), 'invalid-request', '/session');
            problem(await app.post(`/v1/tasks/${t.id}/bind`, { session: bad }), 'invalid-request', '/session');
            problem(await app.post(`/v1/sessions/${a.id}/merge`, { into: bad }), 'invalid-request', '/into');
        }
        problem(await app.post('/v1/tasks', { session: never, kind: 'work' }), 'not-found', '/session');
        problem(await app.post(`/v1/tasks/${t.id}/bind`, { session: never }), 'not-found', '/session');
        problem(await app.post(`/v1/sessions/${a.id}/merge`, { into: never }), 'not-found', '/into');
        problem(await app.get('/v1/tasks?session=x'), 'invalid-request');
    });
    test('in paths unreserved characters are decoded and an encoded slash never separates', async () => {
        const a = await app.session();
        assert.equal(ok(await app.get(`/v1/%73%65ssions/${a.id.replace('_', '%5F')}`), 200).json.id, a.id);
        const r = await exchange(s, `GET /v1/sessions%2F${a.id} HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\n\r\n`);
        problem(r, 'not-found');
        await app.task(a, { queue: 'a' });
        const c = await app.post('/v1/queues/a%2Fclaim', {});
        assert.equal(c.status, 404);
        const bad = await exchange(s, `GET /v1/sessions/%zz HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\n\r\n`);
        assert.ok(bad.status === 400 || bad.status === 404, String(bad.status));
    });
    test('dots in a path are no way up', async () => {
        for (const path of ['/v1/./sessions', '/v1/x/../sessions', '/v1/%2e%2e/v1/sessions']) {
            const r = await exchange(s, `GET ${path} HTTP/1.1\r\nHost: ${s.host}\r\nAuthorization: Bearer ${s.key}\r\n\r\n`);
            assert.equal(r.status, 404, path);
        }
    });
});

describe('queries', () => {
    test('unknown, repeated and bad parameters are an error', async () => {
        const a = await app.session();
        for (const query of ['foo=1', 'limit=1&limit=2', 'limit=0', 'limit=1001', 'limit=-1', 'limit=ten', 'limit=1.5', 'limit=', 'after=%21%21', 'after=', 'state=bogus', 'Limit=1', 'state=queued']) {
            problem(await app.get(`/v1/sessions?${query}`), 'invalid-request');
        }
        for (const query of ['state=active', 'kind=A%20b', 'queue=%2F', 'user=u&user=v', 'x']) {
            problem(await app.get(`/v1/tasks?${query}`), 'invalid-request');
        }
        problem(await app.get(`/v1/sessions/${a.id}?x=1`), 'invalid-request');
        problem(await app.post('/v1/sessions?x=1', {}), 'invalid-request');
        problem(await app.get(`/v1/sessions/${a.id}/events?output=2`), 'invalid-request');
        problem(await app.get(`/v1/sessions/${a.id}/events?nope=1`), 'invalid-request');
        const t = await app.task(a);
        problem(await app.get(`/v1/tasks/${t.id}/output?offset=-1`), 'invalid-request');
        problem(await app.get(`/v1/tasks/${t.id}/output?offset=x`), 'invalid-request');
        problem(await s.api(t.worker_token).get(`/v1/tasks/${t.id}/control?after=x`), 'invalid-request');
    });
});

describe('pages', () => {
    test('walk through everything once, newest first', async () => {
        const user = 'pages-1';
        const ids = [];
        for (let i = 0; i < 7; i++) {
            ids.push((await app.session({ user })).id);
        }
        const seen = [];
        let after = '';
        let pages = 0;
        do {
            const r = ok(await app.get(`/v1/sessions?user=${user}&limit=3${after}`), 200).json;
            assert.deepEqual(Object.keys(r).sort(), ['items', 'next']);
            assert.ok(r.items.length <= 3);
            r.items.forEach((i) => checkSession(i));
            seen.push(...r.items.map((i) => i.id));
            if (pages++ === 0) {
                await app.session({ user }); // newer than where the walk stands: not seen by it
            }
            after = r.next === null ? null : `&after=${encodeURIComponent(r.next)}`;
            assert.ok(pages < 10);
        } while (after !== null);
        assert.deepEqual(seen, ids.reverse());
    });

    test('lists of nothing are empty', async () => {
        assert.deepEqual(ok(await app.get('/v1/sessions?user=nobody-at-all'), 200).json, { items: [], next: null });
        assert.deepEqual(ok(await app.get('/v1/tasks?kind=never-was'), 200).json, { items: [], next: null });
    });

    test('the default is 100', async () => {
        const a = await app.session();
        await Promise.all(Array.from({ length: 103 }, () => app.task(a)));
        const first = ok(await app.get(`/v1/tasks?session=${a.id}`), 200).json;
        assert.equal(first.items.length, 100);
        assert.notEqual(first.next, null);
        first.items.forEach((t) => checkTask(t));
        const rest = ok(await app.get(`/v1/tasks?session=${a.id}&after=${encodeURIComponent(first.next)}`), 200).json;
        assert.equal(rest.items.length, 3);
        assert.equal(rest.next, null);
        assert.equal(ok(await app.get(`/v1/tasks?session=${a.id}&limit=1000`), 200).json.items.length, 103);
    });

    test('also of queues', async () => {
        const a = await app.session();
        for (const queue of ['page-a', 'page-b', 'page-c']) {
            await app.task(a, { queue });
        }
        const names = [];
        for (let after = ''; after !== null; ) {
            const r = ok(await app.get(`/v1/queues?limit=1${after}`), 200).json;
            names.push(...r.items.map((q) => q.name));
            after = r.next === null ? null : `&after=${encodeURIComponent(r.next)}`;
        }
        assert.deepEqual(names.filter((n) => n.startsWith('page-')).sort(), ['page-a', 'page-b', 'page-c']);
        assert.equal(new Set(names).size, names.length);
    });
});

describe('gzip', () => {
    test('is given for JSON over 1 KiB to those who ask', async () => {
        const a = await app.session();
        await Promise.all(Array.from({ length: 20 }, () => app.task(a)));
        const path = `/v1/tasks?session=${a.id}`;
        const plain = await app.get(path);
        assert.equal(plain.headers['content-encoding'], undefined);
        const packed = await app.get(path, { 'accept-encoding': 'gzip, deflate, br' });
        assert.equal(packed.headers['content-encoding'], 'gzip');
        assert.match(packed.headers.vary ?? '', /accept-encoding/i);
        assert.equal(gunzipSync(packed.bytes).toString(), plain.text);
        const { stdout } = await curl('--compressed', '-H', `Authorization: Bearer ${s.key}`, s.url + path);
        assert.equal(stdout.toString(), plain.text);
        for (const accept of ['gzip;q=0', 'identity', 'br', '*;q=0']) {
            assert.equal((await app.get(path, { 'accept-encoding': accept })).headers['content-encoding'], undefined, accept);
        }
    });
    test('is not for small answers or streams', async () => {
        const a = await app.session();
        assert.equal((await app.get(`/v1/sessions/${a.id}`, { 'accept-encoding': 'gzip' })).headers['content-encoding'], undefined);
        const e = await app.events(`/v1/sessions/${a.id}/events`, { headers: { 'accept-encoding': 'gzip' } });
        await e.live();
        assert.equal(e.headers['content-encoding'], undefined);
        e.close();
    });
});

describe('Host', () => {
    test('another one is misdirected, except on the health routes', async () => {
        for (const path of ['/v1/sessions', '/v1/info', '/metrics', '/nothing', '/openapi.json']) {
            problem(await app.get(path, { host: 'evil.example' }), 'misdirected');
        }
        for (const path of ['/healthz', '/readyz']) {
            ok(await app.get(path, { host: 'evil.example' }), 200);
        }
        ok(await app.get('/v1/info', { host: `localhost:${s.port}` }), 200);
        ok(await app.get('/v1/info', { host: `LOCALHOST:${s.port}` }), 200);
        ok(await app.get('/v1/info', { host: `127.0.0.1:${s.port}` }), 200);
        problem(await app.get('/v1/info', { host: 'localhost.evil.example' }), 'misdirected');
    });
});

test('times are RFC 3339 in UTC with milliseconds', async () => {
    const a = await app.session();
    for (const name of ['created_at', 'expires_at']) {
        assert.match(a[name], TIME);
    }
    assert.ok(Math.abs(Date.parse(a.created_at) - Date.now()) < 60000);
});

describe('numbers out of their bounds', () => {
    const bad = {
        '/v1/sessions': [['idle_timeout', -1], ['idle_timeout', 1e12], ['idle_timeout', '60'], ['max_age', -0.5], ['max_age', 1e300], ['key', ''], ['key', 'x'.repeat(513)],
            ['key', 17], ['user', ''], ['user', 17], ['metadata', 'x'], ['metadata', [1]]],
        '/v1/tasks': [['lease', -1], ['lease', 1e9], ['lease', '60'], ['lease', [60]], ['timeout', -1], ['timeout', 1e12], ['deadline', 0], ['deadline', -5], ['deadline', 1e12],
            ['max_attempts', 0], ['max_attempts', 101], ['max_attempts', 1.5], ['max_attempts', 2], ['backoff', -1], ['backoff', 3601], ['ttl', -1], ['ttl', 1e12],
            ['cancel_unwatched', -1], ['cancel_unwatched', 1e12], ['not_before', '2030-01-01T00:00:00Z'], ['kind', ''], ['kind', 'Work'], ['kind', '-x'], ['kind', 'a b'],
            ['kind', 'x'.repeat(65)], ['kind', 5], ['title', 'x'.repeat(201)], ['title', 5], ['queue', 'Q'], ['queue', ''], ['queue', 'a/b'], ['on_session_end', 'explode'],
            ['on_session_end', true], ['metadata', []], ['webhook', 'https://example.com/hook'], ['session', 5], ['session', true], ['nope', 1]],
    };
    for (const [path, cases] of Object.entries(bad)) {
        for (const [name, value] of cases) {
            test(`${path} ${name} ${JSON.stringify(value).slice(0, 30)}`, async () => {
                const a = await app.session();
                const body = path === '/v1/tasks' ? { session: a.id, kind: 'work', [name]: value } : { [name]: value };
                problem(await app.post(path, body), 'invalid-request', `/${name}`);
            });
        }
    }
    for (const value of ['tomorrow', '2030-01-01', '2030-13-01T00:00:00Z', '2030-02-30T00:00:00Z', '2030-01-01 00:00:00', 5, '2030-01-01T00:00:00']) {
        test(`not_before ${value}`, async () => {
            const a = await app.session();
            problem(await app.post('/v1/tasks', { session: a.id, kind: 'work', queue: 'q', not_before: value }), 'invalid-request', '/not_before');
        });
    }
    test('not_before in the past means at once', async () => {
        const a = await app.session();
        for (const [i, past] of ['1970-01-01T00:00:00Z', '1969-12-31T23:59:59Z', '1900-01-01T00:00:00+01:00', '0000-01-01T00:00:00+23:59'].entries()) {
            const t = await app.task(a, { queue: `past-${i}`, not_before: past });
            assert.deepEqual((await app.claimed(`past-${i}`)).map((c) => c.id), [t.id], past);
        }
    });
    test('at their edges they are taken', async () => {
        const a = await app.session({ idle_timeout: 0, max_age: 0.5 + 1e6, key: 'k'.repeat(512) });
        const t = await app.task(a, { queue: 'edges', lease: 0.25, timeout: 2592000, deadline: 0.5 + 86400, max_attempts: 100, backoff: 3600, ttl: 0, cancel_unwatched: 2592000,
            kind: 'x'.repeat(64), title: '😀'.repeat(200), not_before: '2030-01-01T00:00:00+01:00' });
        assert.equal(t.max_attempts, 100);
        assert.equal([...t.title].length, 200);
    });
    for (const report of [{ type: 'progress', current: -1 }, { type: 'progress', total: 2e15 }, { type: 'progress', current: '4' }, { type: 'progress', unit: 'x'.repeat(33) },
        { type: 'progress', phase: 'x'.repeat(81) }, { type: 'progress', phase: '' }, { type: 'output', data: 'x', offset: -1 }, { type: 'output', data: 'x', offset: 0.5 }, { type: 'output' },
        { type: 'output', data: 'x', data_base64: 'eA==' }, { type: 'output', data_base64: 'not base64' }, { type: 'output', data_base64: 'eA' }, { type: 'output', data: 5 },
        { type: 'input_request' }, { type: 'input_request', prompt: '' }, { type: 'input_request', prompt: 'x'.repeat(2001) }, { type: 'fail' }, { type: 'fail', error: {} },
        { type: 'fail', error: { type: 'Bad Type', message: 'm' } }, { type: 'fail', error: { type: 'x', message: 'x'.repeat(2001) } }, { type: 'fail', error: { type: 'x' }, retry: 'yes' },
        { type: 'explode' }, {}, { type: null }, { type: 'heartbeat', current: 1 }, { type: 'succeed', error: {} }, { type: 'cancelled', reason: 'x' }, { type: 'progress', nope: 1 }, 'x', 5, null]) {
        test(`report ${JSON.stringify(report).slice(0, 60)}`, async () => {
            const t = await app.task(await app.session());
            const r = await app.call('POST', `/v1/tasks/${t.id}/reports`, { body: JSON.stringify(report), type: 'application/json', headers: { authorization: `Bearer ${t.worker_token}` } });
            problem(r, 'invalid-request');
            assert.equal((await app.look(t)).state, 'queued', 'a refused report does nothing');
        });
    }
});

describe('U+0000 in a text', () => {
    const Z = 'a\u0000b';
    const refused = (r, pointer) => assert.match(problem(r, 'invalid-request', pointer).json.errors.find((e) => e.pointer === pointer).detail, /U\+0000/);

    test('is refused with its place in whatever takes one', async () => {
        const a = await app.session();
        const t = await app.task(a);
        refused(await app.post('/v1/tasks', { session: a.id, kind: 'work', title: Z }), '/title');
        refused(await app.post('/v1/tasks', { session: a.id, kind: 'work', title: '\u0000' }), '/title');
        refused(await app.post(`/v1/tasks/${t.id}/cancel`, { reason: Z }), '/reason');
        refused(await app.post(`/v1/tasks/${t.id}/answer`, { request: Z, answer: 1 }), '/request');
        refused(await app.post('/v1/queues/nul/claim', { worker: Z }), '/worker');
        problem(await app.post('/v1/sessions', { user: Z }), 'invalid-request', '/user');
        problem(await app.post('/v1/tasks', { session: a.id, kind: Z }), 'invalid-request', '/kind');
    });

    test('in reports: one, several, and lines', async () => {
        const t = await app.task(await app.session());
        const all = [['/unit', { type: 'progress', unit: Z }], ['/message', { type: 'progress', message: Z }], ['/prompt', { type: 'input_request', prompt: Z }],
            ['/error/message', { type: 'fail', error: { type: 'x', message: Z } }]];
        for (const [pointer, report] of all) {
            refused(await app.report(t, report), pointer);
            refused(await app.report(t, [{ type: 'heartbeat' }, report]), `/1${pointer}`);
        }
        problem(await app.report(t, { type: 'fail', error: { type: Z } }), 'invalid-request', '/error/type');
        const lines = async (path, token, more) => {
            const body = all.map(([, report]) => JSON.stringify({ ...report, ...more })).join('\n');
            const r = ok(await s.api(token).call('POST', path, { body, type: 'application/x-ndjson' }), 200);
            const answers = r.text.trim().split('\n').map((l) => JSON.parse(l));
            assert.deepEqual(answers.map((p) => p.errors?.[0].pointer), all.map(([pointer]) => pointer));
        };
        await lines(`/v1/tasks/${t.id}/reports`, t.worker_token, {});
        await lines('/v1/reports', s.key, { task: t.id });
        assert.equal((await app.look(t)).state, 'queued', 'a refused report does nothing');
    });

    test('is kept in keys of sessions, output and opaque values', async () => {
        const a = await app.session({ key: Z, metadata: { a: Z } });
        assert.notEqual((await app.session({ key: 'a' })).id, a.id);
        assert.equal(ok(await app.post('/v1/sessions', { key: Z }), 200).json.id, a.id);
        assert.deepEqual(a.metadata, { a: Z });
        const t = await app.task(a, { input: Z });
        await app.reported(t, [{ type: 'output', data: Z }, { type: 'input_request', prompt: 'p', schema: { title: Z } }]);
        assert.equal(ok(await app.get(`/v1/tasks/${t.id}/output`), 200).text, Z);
        assert.deepEqual((await app.look(t)).input_request.schema, { title: Z });
        ok(await app.post(`/v1/tasks/${t.id}/answer`, { request: question(await app.look(t)), answer: Z }), 200);
        assert.equal((await app.reported(t, { type: 'succeed', result: Z })).answer.answer, Z);
        assert.equal((await app.look(t)).result, Z);
    });
});

test('whatever is streamed asks to be passed on as it comes: neither compressed nor gathered; other answers do not', async () => {
    const a = await app.session();
    const t = await app.task(a);
    const old = a.token;
    const streams = {};
    const take = async (what, path, token, options) => {
        const e = await s.api(token).events(path, options);
        assert.equal(e.status, 200);
        streams[what] = e.headers;
        e.close();
    };
    await take('of a session', `/v1/sessions/${a.id}/events`, s.key);
    await take('of one\'s own session', '/v1/session/events', a.token);
    await take('of a task, with a cursor of no use', `/v1/tasks/${t.id}/events`, t.token, { lastEventId: 'x' });
    await take('for who accepts anything', `/v1/sessions/${a.id}/events?output=1`, s.key, { headers: { accept: '*/*', 'accept-encoding': 'gzip' } });
    for (const path of [`/v1/tasks/${t.id}/reports`, '/v1/reports']) {
        const l = new Lines(s, path, s.key).end();
        await l.ended();
        assert.equal(l.status, 200);
        streams[path] = l.headers;
    }
    streams['HEAD'] = ok(await app.call('HEAD', `/v1/sessions/${a.id}/events`), 200).headers;
    ok(await app.post(`/v1/sessions/${a.id}/rotate`), 200);
    await take('within the grace after a rotation', '/v1/session/events', old);
    for (const [what, headers] of Object.entries(streams)) {
        assert.deepEqual(headers['cache-control'].split(/, */).sort(), ['no-store', 'no-transform'], what);
        assert.equal(headers['x-accel-buffering'], 'no', what);
        assert.equal(headers['content-encoding'], undefined, what);
    }
    for (const path of [`/v1/sessions/${a.id}`, '/v1/tasks', '/v1/info']) {
        const { headers } = ok(await app.get(path), 200);
        assert.equal(headers['cache-control'], 'no-store', path);
        assert.equal(headers['x-accel-buffering'], undefined, path);
    }
    const page = ok(await app.page(`/v1/sessions/${a.id}/events`), 200);
    assert.equal(page.headers['cache-control'], 'no-store');
});

test('security headers stand on answers that carry tokens or tasks', async () => {
    const r = await app.post('/v1/sessions', {});
    assert.match(r.headers['cache-control'] ?? '', /no-store/);
    assert.equal(r.headers['x-content-type-options'], 'nosniff');
});

describe('operating it', () => {
    test('health, readiness, information', async () => {
        const none = s.api(null);
        ok(await none.get('/healthz'), 200);
        ok(await none.get('/readyz'), 200);
        const info = ok(await none.get('/v1/info'), 200).json;
        assert.equal(info.name, 'bowline');
        assert.match(info.version, /^\d+\.\d+/);
        assert.equal(typeof info.engine, 'string');
    });
    test('metrics for operators only', async () => {
        problem(await s.api(null).get('/metrics'), 'unauthenticated');
        const a = await app.session();
        problem(await s.api(a.token).get('/metrics'), 'forbidden');
        const r = ok(await app.get('/metrics'), 200);
        assert.match(r.headers['content-type'], /openmetrics-text|text\/plain/);
        assert.match(r.text, /# EOF\n$/);
        assert.match(r.text, /^bowline_/m);
    });
    test('the OpenAPI document names every route', async () => {
        const doc = ok(await s.api(null).get('/openapi.json'), 200).json;
        assert.match(doc.openapi, /^3\.1/);
        const paths = new Set(Object.keys(doc.paths).map((path) => path.replace(/\{\w+\}/g, '{}')));
        for (const path of ['/v1/sessions', '/v1/sessions/{id}', '/v1/session', '/v1/tasks', '/v1/tasks/{id}', '/v1/tasks/{id}/reports', '/v1/tasks/{id}/events', '/v1/queues/{queue}/claim', '/v1/reports', '/v1/session/events']) {
            assert.ok(paths.has(path.replace(/\{\w+\}/g, '{}')), path);
        }
        const refs = [...JSON.stringify(doc).matchAll(/"\$ref":"#\/([^"]+)"/g)].map((m) => m[1]);
        for (const ref of refs) {
            assert.ok(ref.split('/').reduce((at, name) => at?.[name], doc), `${ref} leads nowhere`);
        }
    });
    test('the OpenAPI document says what each member of a task, a session and an answer is', async () => {
        const { components: { schemas } } = ok(await s.api(null).get('/openapi.json'), 200).json;
        const typeOf = (value) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);
        const check = (value, schema, at) => {
            const its = schema.$ref ? schemas[schema.$ref.split('/').at(-1)] : schema;
            if (its === schemas.Any || /\/(metadata|schema)$/.test(at)) {
                return;
            }
            const types = [its.type ?? 'string'].flat();
            assert.ok(types.includes(typeOf(value)) || (types.includes('integer') && Number.isInteger(value)), `${at} is ${JSON.stringify(value)}, and no ${types}`);
            if (its.enum) {
                assert.ok(its.enum.includes(value), `${at} is ${value}`);
            }
            if (typeOf(value) === 'object') {
                for (const name of its.required ?? []) {
                    assert.ok(name in value, `${at}/${name} is missing`);
                }
                for (const [name, member] of Object.entries(value)) {
                    assert.ok(its.properties?.[name], `${at}/${name} is not described`);
                    check(member, its.properties[name], `${at}/${name}`);
                }
            }
        };
        const a = await app.session({ user: 'u' });
        check(a, schemas.Session, 'session');
        const asking = await app.task(a, { title: 'T' });
        check(asking, schemas.Task, 'created');
        for (const question of [{ prompt: 'Really?' }, { prompt: 'Overwrite?', schema: { type: 'boolean' } }]) {
            await app.reported(asking, { type: 'input_request', ...question });
            const asked = await app.look(asking);
            assert.deepEqual({ ...asked.input_request, id: '' }, { id: '', schema: null, ...question });
            check(asked, schemas.Task, 'asked');
        }
        ok(await app.post(`/v1/tasks/${asking.id}/answer`, { request: (await app.look(asking)).input_request.id, answer: [1] }), 200);
        check(await app.reported(asking, { type: 'progress', current: 1, total: 2 }), schemas.ReportAnswer, 'answered');
        check(await app.look(asking), schemas.Task, 'running');
        for (const error of [{ type: 'bare' }, { type: 'disk-full', message: 'full', detail: { free: 0 } }]) {
            const failed = await app.task(a);
            check(await app.reported(failed, { type: 'fail', error }), schemas.ReportAnswer, 'failing');
            const seen = await app.look(failed);
            assert.deepEqual(seen.error, { message: '', detail: null, ...error });
            check(seen, schemas.Task, 'failed');
        }
    });
});

describe('other clients', () => {
    test('fetch', async () => {
        const r = await fetch(`${s.url}/v1/sessions`, { method: 'POST', headers: { authorization: `Bearer ${s.key}`, 'content-type': 'application/json' }, body: '{}' });
        assert.equal(r.status, 201);
        checkSession(await r.json(), { token: true });
    });
    test('curl', async () => {
        const { stdout } = await curl('-X', 'POST', '-H', `Authorization: Bearer ${s.key}`, '-d', '{}', '-H', 'Content-Type: application/json', '-w', '\n%{http_code}', `${s.url}/v1/sessions`);
        assert.match(stdout.toString(), /\n201$/);
    });
    test('curl posts forms by default, which is said', async () => {
        const { stdout } = await curl('-H', `Authorization: Bearer ${s.key}`, '-d', '{}', `${s.url}/v1/sessions`);
        assert.equal(JSON.parse(stdout).code, 'unsupported-media-type');
    });
});

describe('another set of options', () => {
    let o;
    before(async () => {
        o = await start({ allowed_hosts: 'app.example,other.example', max_json_depth: 8, metrics_open: true, public_url: 'https://app.example/x' });
    });
    after(() => o.close());

    test('allowed_hosts replaces the default', async () => {
        const get = (host) => exchange(o, `GET /v1/info HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
        ok(await get('app.example'), 200);
        ok(await get('other.example:8080'), 200);
        problem(await get(o.host), 'misdirected');
        problem(await get('localhost'), 'misdirected');
    });
    test('an address or a name is the same however it is spelled', async () => {
        const p = await start({ allowed_hosts: '[::1],127.0.0.1,[2001:DB8:0::A]:8443,App.Example:443', allowed_origins: 'https://[2001:db8::a]:8443,HTTPS://App.Example:443' });
        try {
            const get = (host, more = '') => exchange(p, `GET /v1/info HTTP/1.1\r\nHost: ${host}\r\n${more}Connection: close\r\n\r\n`);
            for (const host of ['[::1]', '[0:0:0:0:0:0:0:1]', '[0000::1]:99', '[::0.0.0.1]', '127.0.0.1:1', '[::ffff:127.0.0.1]', '[::FFFF:7F00:1]:80', '[2001:db8::a]:8443', '[2001:DB8:0:0:0::000A]:8443',
                'app.example', 'APP.EXAMPLE:443', 'app.example:']) {
                ok(await get(host), 200);
            }
            for (const host of ['[::2]', '[::1', '::1', '[]', '[::1]x', '[2001:db8::a]', '[2001:db8::a]:8444', '127.0.0.2', '127.1', '[::127.0.0.1]', 'app.example:80', 'app.example.:443', 'localhost']) {
                problem(await get(host), 'misdirected');
            }
            for (const origin of ['https://[2001:0DB8::a]:8443', 'https://app.example', 'https://app.example:443']) {
                assert.equal((await get('[::1]', `Origin: ${origin}\r\n`)).headers['access-control-allow-origin'], origin);
            }
            for (const origin of ['https://[2001:db8::a]', 'http://app.example', 'https://app.example/', 'https://app.example:444']) {
                assert.equal((await get('[::1]', `Origin: ${origin}\r\n`)).headers['access-control-allow-origin'], undefined, origin);
            }
        } finally {
            await p.close();
        }
    });
    test('the depth of JSON', async () => {
        const nest = (n) => `{"metadata":{"a":${'['.repeat(n)}${']'.repeat(n)}}}`;
        const post = (text) => new Api(o, o.key).text('/v1/sessions', text, { host: 'app.example' });
        ok(await post(nest(6)), 201);
        problem(await post(nest(7)), 'invalid-request');
        problem(await post(nest(4000)), 'invalid-request');
    });
    test('metrics for anyone', async () => {
        ok(await o.api(null).get('/metrics', { host: 'app.example' }), 200);
    });
    test('it stays', async () => {
        await until(async () => (await o.api(null).get('/readyz')).status === 200, 'readiness');
    });
});
