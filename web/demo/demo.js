// Puts the page together: the feed, the list, the forms that start jobs, the session's beginning and end.

import { Feed, problemOf } from './feed.js';
import * as format from './format.js';
import { element } from './result.js';
import { TaskList } from './tasks.js';

const WIRE_ROWS = 40;
const START_TRIES = 4;
const byId = (id) => document.getElementById(id);
const pause = (ms) => new Promise((fulfil) => setTimeout(fulfil, ms));

// ---- talking to the server ----

// An answer that is not 2xx, or none at all, becomes an error with a sentence in it.
async function call(method, path, body, headers = {}) {
    const answer = await fetch(path, {
        method,
        headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
        body: body === undefined ? undefined : JSON.stringify(body),
    }).catch(() => null);
    if (!answer) {
        throw Object.assign(new Error('The server cannot be reached just now.'), { passing: true });
    }
    if (!answer.ok) {
        const problem = await problemOf(answer);
        throw Object.assign(new Error(problem.detail), { code: problem.code, passing: answer.status >= 500 });
    }
    return answer.json();
}

function randomKey() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// One key for all tries: however often it is sent, and whatever got lost on the way, one task is started.
async function startTask(body) {
    const key = randomKey();
    for (let tries = 1; ; tries++) {
        try {
            return await call('POST', '/v1/session/tasks', body, { 'idempotency-key': key });
        } catch (error) {
            if (!error.passing || tries === START_TRIES) {
                throw error;
            }
            await pause(400 * 2 ** tries);
        }
    }
}

// ---- the list ----

const tasks = new TaskList(byId('tasks'), {
    async cancel(card) {
        card.cancel.disabled = true;
        try {
            tasks.put(await call('POST', `/v1/tasks/${card.task.id}/cancel`, {}));
        } catch (error) {
            card.cancel.disabled = false;
            if (error.code !== 'task-ended') {
                card.fail(error.message);
            }
        }
    },
    async answer(card, value) {
        const buttons = [...card.question.querySelectorAll('button')];
        buttons.forEach((button) => (button.disabled = true));
        try {
            tasks.put(await call('POST', `/v1/tasks/${card.task.id}/answer`, { request: card.task.input_request.id, answer: value }));
        } catch (error) {
            buttons.forEach((button) => (button.disabled = false));
            card.fail(error.message);
        }
    },
    fetchResult: (task) => call('GET', `/v1/tasks/${task.id}/result`),
    seen: (task) => call('POST', `/v1/tasks/${task.id}/seen`).then((seen) => tasks.put(seen), () => {}),
    announce: (text) => (byId('announce').textContent = text),
    changed(unfinished, total) {
        const ended = total - unfinished;
        const parts = [unfinished && `${unfinished} under way`, ended && `${ended} ended`].filter(Boolean);
        byId('tasks-count').textContent = parts.join(', ');
        byId('empty').hidden = total > 0 || !tasks.live;
        document.title = unfinished ? `(${unfinished}) bowline demo` : 'bowline demo';
    },
});

// ---- the connection, shown as it is ----

const LINK_TEXT = { connecting: 'connecting', live: 'live', reconnecting: 'reconnecting', ended: 'session ended' };
let linkState = 'connecting';
let lostAt = 0;

function drawLink() {
    const seconds = Math.floor((Date.now() - lostAt) / 1000);
    byId('link').title = linkState === 'reconnecting' ? `What is shown is ${format.duration(Math.max(seconds, 1))} old` : '';
}

function setLink(state) {
    if (state === 'reconnecting' && linkState !== 'reconnecting') {
        lostAt = Date.now();
    }
    linkState = state;
    byId('link').dataset.link = state;
    byId('link-text').textContent = LINK_TEXT[state];
    byId('tasks').classList.toggle('dimmed', state === 'reconnecting' || state === 'ended');
    byId('logout').disabled = state !== 'live';
    drawLink();
}

setInterval(drawLink, 1000);

// ---- what came over the stream ----

const wire = [];
let wireTotal = 0;

function wireText(event, data) {
    if (event === 'task' && data.gone) {
        return `${data.gone} ${data.reason}`;
    }
    if (event === 'task') {
        const { progress } = data.task;
        return `…${data.task.id.slice(-6)} ${data.task.state}${progress.ratio === null ? '' : ` ${format.percent(progress)}`}`;
    }
    return JSON.stringify(data);
}

function drawWire() {
    byId('wire-count').textContent = `(${format.count(wireTotal, 'event', 'events')})`;
    if (byId('wire').open) {
        byId('wire-rows').replaceChildren(...wire.map((row) => {
            const line = element('tr');
            line.append(...row.map((text) => element('td', text)));
            return line;
        }));
    }
}

let wireDrawn = false;

function addWire(id, event, data) {
    wire.unshift([id, event, wireText(event, data)]);
    wire.length = Math.min(wire.length, WIRE_ROWS);
    wireTotal += 1;
    if (!wireDrawn) {
        wireDrawn = true;
        setTimeout(() => {
            wireDrawn = false;
            drawWire();
        }, 200);
    }
}

byId('wire').addEventListener('toggle', drawWire);

// ---- the session's beginning and end ----

const REASONS = {
    logout: 'You logged out. What was still running has been cancelled, as these jobs are set to be.',
    idle: 'Nobody used it for too long. What was still running has been cancelled, as these jobs are set to be.',
    max_age: 'It reached its greatest age.',
    operator: 'An operator ended it.',
    merged: 'Its tasks moved to another session.',
};

function setForms(enabled) {
    for (const button of document.querySelectorAll('.starter button')) {
        button.disabled = !enabled;
    }
}

function showBanner(title, text, action) {
    byId('banner-title').textContent = title;
    byId('banner-text').textContent = text;
    byId('banner-action').hidden = !action;
    byId('banner').hidden = false;
}

const feed = new Feed({
    link: setLink,
    wire: addWire,
    task: (task) => tasks.put(task),
    gone: (id) => tasks.remove(id),
    reset() {
        tasks.clear();
        byId('tasks').setAttribute('aria-busy', String(!feed.over));
    },
    live() {
        tasks.live = true;
        tasks.count();
        byId('tasks').setAttribute('aria-busy', 'false');
        byId('banner').hidden = true;
        setForms(true);
    },
    ended(reason) {
        tasks.live = false;
        setForms(false);
        showBanner('This session has ended', REASONS[reason] ?? 'Its tasks are no longer shown to this browser.', true);
        byId('banner-action').focus();
    },
    refused(problem) {
        setForms(false);
        showBanner('No session could be had', problem.status === 404 ? 'The server is not set to give out anonymous sessions (open_sessions).' : problem.detail, true);
    },
});

byId('banner-action').addEventListener('click', () => feed.start());

byId('logout').addEventListener('click', async () => {
    byId('logout').disabled = true;
    try {
        await call('DELETE', '/v1/session');
    } catch (error) {
        byId('logout').disabled = linkState !== 'live';
        byId('announce').textContent = error.message;
    }
});

// ---- the forms ----

function onStart(form, describe) {
    const problem = form.querySelector('.problem');
    const button = form.querySelector('button');
    form.addEventListener('submit', async (event) => {
        event.preventDefault();
        problem.hidden = true;
        button.disabled = true;
        try {
            tasks.put(await startTask(describe(form.elements)));
        } catch (error) {
            problem.textContent = error.message;
            problem.hidden = false;
        } finally {
            button.disabled = linkState === 'ended';
        }
    });
}

onStart(byId('start-checksum'), ({ folder, ask }) => {
    const path = folder.value.trim();
    return { kind: 'checksum', title: `Checksum ${path}`.slice(0, 200), input: { folder: path, ask: ask.checked } };
});

onStart(byId('start-compress'), ({ file }) => {
    const path = file.value.trim();
    return { kind: 'compress', title: (path ? `Compress ${path}` : 'Compress the largest file').slice(0, 200), input: path ? { file: path } : {} };
});

fetch('/v1/info').then((answer) => answer.json()).then((info) => (byId('version').textContent = info.version ?? '')).catch(() => {});
setForms(false);
feed.start();
