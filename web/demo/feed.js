// The connection: one anonymous session for this browser (a cookie), one EventSource that follows its tasks.
// EventSource reconnects by itself and tells the server where it stopped; what is left to do here is to find out why it gave up, when it does.

const EVENTS = '/v1/session/events';
const pause = (ms) => new Promise((fulfil) => setTimeout(fulfil, ms));

export class Feed {
    // on: { link(state), task(task), gone(id, reason), reset(), live(), ended(reason), refused(problem), wire(id, event, data) }
    constructor(on) {
        this.on = on;
        this.source = null;
        this.cursor = null;
        this.failures = 0;
        this.run = 0; // what was begun under an older number no longer counts
    }

    // Gets this browser's session, or makes one, and follows it from the front.
    async start() {
        const run = this.stop();
        this.cursor = null;
        this.on.link('connecting');
        while (run === this.run) {
            const answer = await fetch('/v1/session', { method: 'POST' }).catch(() => null);
            if (run !== this.run) {
                return;
            }
            if (answer?.ok) {
                this.on.reset();
                this.open();
                return;
            }
            if (answer && answer.status < 500 && answer.status !== 429) {
                this.on.link('ended');
                this.on.refused(await problemOf(answer));
                return;
            }
            this.on.link('reconnecting');
            await this.backoff(answer);
        }
    }

    stop() {
        this.source?.close();
        this.source = null;
        return ++this.run;
    }

    open() {
        const url = this.cursor ? `${EVENTS}?after=${encodeURIComponent(this.cursor)}` : EVENTS;
        const source = new EventSource(url);
        this.source = source;
        source.addEventListener('error', () => this.broken(source));
        for (const name of ['task', 'session', 'reset', 'live']) {
            source.addEventListener(name, (event) => this.source === source && this.heard(name, event));
        }
    }

    heard(name, event) {
        const data = JSON.parse(event.data);
        this.cursor = event.lastEventId;
        this.on.wire(event.lastEventId, name, data);
        if (name === 'task' && data.gone) {
            this.on.gone(data.gone, data.reason);
        } else if (name === 'task') {
            this.on.task(data.task);
        } else if (name === 'reset') {
            this.on.reset();
        } else if (name === 'live') {
            this.failures = 0;
            this.on.link('live');
            this.on.live();
        } else if (data.state === 'ended') {
            this.end(data.reason);
        }
    }

    end(reason) {
        this.stop();
        this.cursor = null;
        this.on.link('ended');
        this.on.ended(reason);
    }

    broken(source) {
        if (this.source !== source) {
            return;
        }
        this.on.link('reconnecting');
        if (source.readyState === EventSource.CLOSED) {
            this.source = null;
            this.diagnose(this.run);
        }
    }

    // EventSource gave up: the answer was not a stream. Ask what became of the session; read on from the cursor if it lives.
    async diagnose(run) {
        for (;;) {
            const answer = await fetch('/v1/session').catch(() => null);
            const body = answer?.ok ? await answer.json().catch(() => null) : null;
            if (run !== this.run) {
                return;
            }
            if (body?.state === 'ended' || answer?.status === 409) {
                this.end(body?.reason ?? null);
                return;
            }
            if (answer?.status === 401) {
                this.end(null);
                return;
            }
            await this.backoff(answer);
            if (run !== this.run) {
                return;
            }
            if (body) {
                this.open();
                return;
            }
        }
    }

    async backoff(answer) {
        const asked = Number(answer?.headers.get('retry-after')) * 1000 || 0;
        this.failures += 1;
        await pause(Math.max(asked, Math.min(5000, 400 * 2 ** Math.min(this.failures, 5)) * (0.75 + Math.random() / 2)));
    }
}

export async function problemOf(answer) {
    const body = await answer.json().catch(() => null);
    return { status: answer.status, code: body?.code ?? '', detail: body?.detail ?? body?.title ?? `the server answered ${answer.status}` };
}
