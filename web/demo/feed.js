// The connection: one anonymous session for this browser (a cookie), and its tasks, followed for as long as the page is open.
import { follow } from './follow.js';

const pause = (ms) => new Promise((fulfil) => setTimeout(fulfil, ms));

export class Feed {
    // on: { link(state), task(task), gone(id, reason), reset(), live(), ended(reason), refused(problem), wire(id, event, data) }
    constructor(on) {
        this.on = on;
        this.leave = () => {};
        this.over = false; // the session has ended; another tab may begin the next one
        this.run = 0; // what was begun under an older number no longer counts
    }

    // Gets this browser's session, or makes one, and follows it from the front.
    async start() {
        this.leave();
        this.over = false;
        const run = ++this.run;
        this.on.link('connecting');
        for (let failures = 1; ; failures++) {
            const answer = await fetch('/v1/session', { method: 'POST' }).catch(() => null);
            if (run !== this.run) {
                return;
            }
            if (answer?.ok) {
                this.on.reset();
                this.leave = follow('/v1/session/events', (...event) => this.heard(...event), () => this.look());
                return;
            }
            if (answer && answer.status < 500 && answer.status !== 429) {
                this.on.link('ended');
                this.on.refused(await problemOf(answer));
                return;
            }
            this.on.link('reconnecting');
            const asked = Number(answer?.headers.get('retry-after')) * 1000 || 0;
            await pause(Math.max(asked, Math.min(5000, 400 * 2 ** Math.min(failures, 5)) * (0.75 + Math.random() / 2)));
            if (run !== this.run) {
                return;
            }
        }
    }

    heard(name, data, cursor) {
        if (name === 'lost') {
            this.on.link(this.over ? 'ended' : 'reconnecting');
            return;
        }
        this.on.wire(cursor, name, data);
        if (name === 'task' && data.gone) {
            this.on.gone(data.gone, data.reason);
        } else if (name === 'task') {
            this.on.task(data.task);
        } else if (name === 'reset') {
            this.on.reset();
        } else if (name === 'live') {
            this.over = false;
            this.on.link('live');
            this.on.live();
        } else if (name === 'session' && data.state === 'ended') {
            this.end(data.reason);
        }
    }

    end(reason) {
        this.over = true;
        this.on.link('ended');
        this.on.ended(reason);
    }

    // The stream was refused. Only a person begins another session here, so this makes none; it says when the last one is over.
    async look() {
        const run = this.run;
        const { status } = await fetch('/v1/session');
        if (run === this.run && !this.over && (status === 401 || status === 409)) {
            this.on.reset();
            this.end(null);
        }
    }
}

export async function problemOf(answer) {
    const body = await answer.json().catch(() => null);
    return { status: answer.status, code: body?.code ?? '', detail: body?.detail ?? body?.title ?? `the server answered ${answer.status}` };
}
