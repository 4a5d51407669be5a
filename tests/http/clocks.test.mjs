// The wall clock steps, forward and back, under the running program and between two runs: what people are shown and what others have dated goes by it, durations do not.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { start } from './lib/server.mjs';
import { ok, problem } from './lib/client.mjs';
import { claims, hs256 } from './lib/jwt.mjs';
import { Clock } from './lib/clock.mjs';

const HOUR = 3600000;
const SECRET = 'the secret that the application signs with';

describe('a JWT and the log-out before or after it', () => {
    let clock;
    let s;
    let names = 0;
    before(async () => {
        clock = new Clock();
        s = await start({ jwt_secrets: SECRET }, clock.how);
    });
    after(async () => {
        await s.close();
        clock.close();
    });

    const jwt = (sid, iat) => s.api(hs256(SECRET, claims({ sid, iat })));

    test('after a step forward', async () => {
        const sid = `forward-${++names}`;
        clock.step(3 * HOUR);
        const old = jwt(sid, clock.nowS() - 600);
        const session = ok(await old.get('/v1/session'), 200).json;
        ok(await s.api().delete(`/v1/sessions/${session.id}`), 200);
        problem(await old.get('/v1/session'), 'session-ended');
        const fresh = ok(await jwt(sid, clock.nowS() + 2).get('/v1/session'), 200).json;
        assert.notEqual(fresh.id, session.id);
    });
});
