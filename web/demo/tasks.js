// The list of tasks: one card each, newest first, drawn from the task as the server gave it and from nothing else.

import * as format from './format.js';
import { element, showResult } from './result.js';

const FINAL = new Set(['succeeded', 'failed', 'cancelled']);
const LABELS = { input_required: 'has a question' };

export const isFinal = (task) => FINAL.has(task.state);

function label(task) {
    if (isFinal(task)) {
        return task.state;
    }
    if (task.cancel_requested) {
        return 'cancelling';
    }
    if (task.stalled) {
        return 'worker is silent';
    }
    return LABELS[task.state] ?? task.state;
}

function amountText(task) {
    const { current, total, unit, ratio } = task.progress;
    if (task.state === 'succeeded') {
        return current === null ? '' : format.amount(current, unit);
    }
    if (current === null) {
        return '';
    }
    if (total === null) {
        return format.amount(current, unit);
    }
    return `${format.amount(current, unit)} of ${format.amount(total, unit)}${ratio === null ? '' : ` · ${format.percent(task.progress)}`}`;
}

function paceText(task) {
    const { rate, eta, unit } = task.progress;
    if (task.state !== 'running' || task.stalled) {
        return '';
    }
    const parts = [];
    if (rate !== null) {
        parts.push(`${format.amount(rate, unit)}/s`);
    }
    if (eta !== null) {
        parts.push(format.left(eta));
    }
    return parts.join(' · ');
}

function metaText(task) {
    const parts = [task.kind];
    if (task.state === 'queued') {
        parts.push(task.attempt > 0 ? `waiting for attempt ${task.attempt + 1}` : 'waiting for a worker');
    } else if (task.max_attempts > 1 && task.attempt > 1) {
        parts.push(`attempt ${task.attempt} of ${task.max_attempts}`);
    }
    if (task.ended_at) {
        parts.push(`${task.state} at ${format.time(task.ended_at)}`);
        if (task.started_at) {
            parts.push(`after ${format.duration((Date.parse(task.ended_at) - Date.parse(task.started_at)) / 1000)}`);
        }
    } else if (task.started_at) {
        parts.push(`started at ${format.time(task.started_at)}`);
    }
    if (task.cancel_reason) {
        parts.push(task.cancel_reason === 'session-ended' ? 'its session ended' : task.cancel_reason);
    }
    return parts.join(' · ');
}

class Card {
    constructor(task, act) {
        this.task = task;
        this.act = act;
        this.node = document.getElementById('task-template').content.firstElementChild.cloneNode(true);
        const find = (selector) => this.node.querySelector(selector);
        this.head = find('.task-head');
        this.title = find('.task-title');
        this.fresh = find('.new');
        this.chip = find('.chip');
        this.bar = find('.bar');
        this.fill = find('.bar span');
        this.amount = find('.amount');
        this.pace = find('.pace');
        this.message = find('.message');
        this.question = find('.question');
        this.error = find('.error');
        this.meta = find('.meta');
        this.cancel = find('.cancel');
        this.show = find('.show');
        this.result = find('.result');
        this.title.id = `title-${task.id}`;
        this.result.id = `result-${task.id}`;
        this.node.dataset.taskId = task.id;
        this.node.setAttribute('aria-labelledby', this.title.id);
        this.bar.setAttribute('aria-labelledby', this.title.id);
        this.show.setAttribute('aria-controls', this.result.id);
        this.cancel.addEventListener('click', () => act.cancel(this));
        this.show.addEventListener('click', () => this.toggle());
        this.question.addEventListener('submit', (event) => this.answer(event));
        this.asked = null;
    }

    draw() {
        const { task, node } = this;
        const name = task.title ?? task.kind;
        node.dataset.state = task.state;
        node.toggleAttribute('data-stalled', task.stalled && !isFinal(task));
        node.toggleAttribute('data-cancelling', task.cancel_requested && !isFinal(task));
        this.title.textContent = name;
        this.chip.textContent = label(task);
        this.fresh.hidden = !isFinal(task) || task.seen_at !== null;
        this.amount.textContent = amountText(task);
        this.pace.textContent = paceText(task);
        this.message.textContent = isFinal(task) ? '' : task.progress.message ?? '';
        this.message.title = this.message.textContent;
        this.meta.textContent = metaText(task);
        this.error.hidden = task.error === null;
        this.error.textContent = task.error ? `${task.error.message || task.error.type}` : '';
        this.cancel.hidden = isFinal(task);
        this.cancel.disabled = task.cancel_requested;
        this.cancel.setAttribute('aria-label', `Cancel ${name}`);
        this.show.hidden = task.state !== 'succeeded';
        this.drawBar();
        this.drawQuestion();
    }

    drawBar() {
        const { ratio } = this.task.progress;
        const unknown = this.task.state === 'running' && ratio === null;
        this.bar.classList.toggle('unknown', unknown);
        this.node.dataset.ratio = ratio ?? '';
        this.fill.style.transform = unknown ? '' : `scaleX(${ratio ?? 0})`;
        if (ratio === null) {
            this.bar.removeAttribute('aria-valuenow');
        } else {
            this.bar.setAttribute('aria-valuenow', format.hundredths(this.task.progress));
        }
        this.bar.setAttribute('aria-valuetext', [label(this.task), amountText(this.task)].filter(Boolean).join(', '));
    }

    drawQuestion() {
        const request = this.task.input_request;
        this.question.hidden = !request;
        if (!request || this.asked === request.id) {
            return;
        }
        this.asked = request.id;
        const yesOrNo = request.schema?.type === 'boolean';
        this.question.querySelector('.prompt').textContent = request.prompt;
        this.question.querySelector('input').hidden = yesOrNo;
        for (const button of this.question.querySelectorAll('button')) {
            button.hidden = yesOrNo === (button.value === 'send');
            button.disabled = false;
        }
    }

    answer(event) {
        event.preventDefault();
        const value = event.submitter?.value ?? 'send';
        this.act.answer(this, value === 'send' ? this.question.elements.answer.value : value === 'yes');
    }

    async toggle() {
        const open = this.result.hidden;
        this.show.setAttribute('aria-expanded', String(open));
        this.show.textContent = open ? 'Hide result' : 'Show result';
        this.result.hidden = !open;
        if (open && !this.result.hasChildNodes()) {
            this.result.replaceChildren(element('p', 'Loading…', 'meta'));
            try {
                const inlined = this.task.result_bytes === 0 || this.task.result !== null;
                this.result.replaceChildren(...showResult(this.task.kind, inlined ? this.task.result : await this.act.fetchResult(this.task)));
            } catch (error) {
                this.result.replaceChildren();
                this.toggle();
                this.fail(error.message);
            }
        }
    }

    fail(text) {
        this.error.hidden = false;
        this.error.textContent = text;
    }
}

export class TaskList {
    // act: { cancel(card), answer(card, value), fetchResult(task), seen(task), announce(text), changed(unfinished, total) }
    constructor(list, act) {
        this.list = list;
        this.act = act;
        this.cards = new Map();
        this.dirty = new Set();
        this.live = false;
        this.seenTimers = new Map();
        this.observer = new IntersectionObserver((entries) => entries.forEach((entry) => this.visible(entry)), { threshold: 0.6 });
    }

    // Takes a task as it is now, unless something newer is known already.
    put(task) {
        let card = this.cards.get(task.id);
        if (card && card.task.version > task.version) {
            return;
        }
        const before = card?.task.state;
        if (!card) {
            card = new Card(task, this.act);
            this.cards.set(task.id, card);
            this.insert(card);
            this.observer.observe(card.head);
        }
        card.task = task;
        if (this.live && before !== task.state) {
            this.act.announce(`${task.title ?? task.kind}: ${label(task)}`);
        }
        this.later(card);
        this.count();
    }

    // Ids rise with time, so newest first is the order of ids backwards.
    insert(card) {
        for (const node of this.list.children) {
            if (node.dataset.taskId < card.task.id) {
                node.before(card.node);
                return;
            }
        }
        this.list.append(card.node);
    }

    // However many changes arrive between two pictures, each card is drawn once.
    later(card) {
        if (this.dirty.size === 0) {
            requestAnimationFrame(() => this.drawDirty());
        }
        this.dirty.add(card);
        if (!card.node.dataset.state) {
            card.draw();
        }
    }

    drawDirty() {
        for (const card of this.dirty) {
            card.draw();
        }
        this.dirty.clear();
    }

    remove(id) {
        const card = this.cards.get(id);
        if (card) {
            this.observer.unobserve(card.head);
            clearTimeout(this.seenTimers.get(card));
            this.seenTimers.delete(card);
            this.dirty.delete(card);
            this.cards.delete(id);
            card.node.remove();
            this.count();
        }
    }

    clear() {
        for (const id of [...this.cards.keys()]) {
            this.remove(id);
        }
        this.live = false;
        this.count();
    }

    count() {
        let unfinished = 0;
        for (const card of this.cards.values()) {
            unfinished += isFinal(card.task) ? 0 : 1;
        }
        this.act.changed(unfinished, this.cards.size);
    }

    // A finished task that stood before a person's eyes for a moment has been seen.
    visible({ target, isIntersecting }) {
        const card = this.cards.get(target.parentNode.dataset.taskId);
        if (!card) {
            return;
        }
        clearInterval(this.seenTimers.get(card));
        this.seenTimers.delete(card);
        if (isIntersecting) {
            this.seenTimers.set(card, setInterval(() => this.maybeSeen(card), 2000));
        }
    }

    maybeSeen(card) {
        if (document.visibilityState !== 'visible' || !this.live || !isFinal(card.task)) {
            return;
        }
        clearInterval(this.seenTimers.get(card));
        this.seenTimers.delete(card);
        if (card.task.seen_at === null) {
            this.act.seen(card.task);
        }
    }
}
