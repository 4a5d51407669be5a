/*
 * What api/ does, without requests: letters go to the engine, mail is taken in order, and what it says of a channel goes to its feed. Workers live here as well: they
 * are made by the answers to claims.
 */
#include "sim.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- letters and calls ---- */

void letter_send(unsigned loop, struct letter letter) {
    struct letter *l = mem_alloc(sizeof(*l));
    *l = letter;
    TAILQ_INSERT_TAIL(&sim.inbox[loop], l, link);
}

unsigned loop_of(const struct call *c) {
    return c->cmd->endpoint;
}

void call_abandon(struct call *c) {
    if (!c->abandoned) {
        c->abandoned = true;
        sim.counts.abandoned++;
        trace("call %llu is abandoned", (unsigned long long) c->number);
        letter_send(loop_of(c), (struct letter){.type = LETTER_ABANDON, .call = c});
    }
}

void answer_unref(struct answer *a) {
    for (size_t i = 0; i < a->frame_count; i++) {
        frame_unref(a->frames[i]);
    }
    a->frame_count = 0;
}

void call_free(struct call *c) {
    TAILQ_REMOVE(&sim.calls, c, link);
    if (c->client && c->client->call == c) {
        c->client->call = NULL;
    }
    if (c->client && c->client->refill_call == c) {
        c->client->refill_call = NULL;
    }
    if (!c->with_engine) {
        cmd_free(c->cmd);
    }
    mem_free(c);
}

/* ---- out of the engine ---- */

static void answer_out(struct call *c) {
    if (c->answered) {
        broken("call %llu was answered twice", (unsigned long long) c->number);
    }
    c->answered = true;
    c->with_engine = false;
    model_answer(c);
}

static void abandoned_out(struct call *c) {
    if (!c->abandoned || c->given_back) {
        broken("call %llu came back as abandoned, which it was not", (unsigned long long) c->number);
    }
    c->given_back = true;
    c->with_engine = false;
}

void on_mail(void *arg, unsigned loop, struct message m) {
    (void) arg;
    struct post *p = mem_alloc(sizeof(*p));
    p->mail = m;
    TAILQ_INSERT_TAIL(&sim.mail[loop], p, link);
    if (m.type == MESSAGE_ANSWER) {
        answer_out(m.cmd->owner);
    } else if (m.type == MESSAGE_ABANDONED) {
        abandoned_out(m.cmd->owner);
    } else if (m.type == MESSAGE_FRAME) {
        sim.counts.frames++;
        trace("frame of channel %llu: %.*s", (unsigned long long) m.channel, STR_FMT(frame_data(m.frame)));
        model_frame(m.frame);
    }
}

/* ---- channels and their feeds ---- */

static struct channel_here *channel_get(unsigned loop, uint64_t number) {
    struct channel_here *ch;
    HASH_FIND(hh, sim.channels[loop], &number, sizeof(number), ch);
    if (!ch) {
        ch = mem_alloc(sizeof(*ch));
        ch->number = number;
        ch->loop = loop;
        HASH_ADD(hh, sim.channels[loop], number, sizeof(ch->number), ch);
    }
    if (ch->dropped) {
        broken("mail for channel %llu, which was dropped: a loop would keep it for ever", (unsigned long long) number);
    }
    return ch;
}

static void channel_publish(struct channel_here *ch, struct frame *frame) {
    if (!ch->feed) {
        ch->early = mem_resize(ch->early, (ch->early_count + 1) * sizeof(ch->early[0]));
        ch->early[ch->early_count++] = frame;
        return;
    }
    if (frame->seq <= ch->feed->last_seq) {
        broken("channel %llu: number %llu after %llu", (unsigned long long) ch->number, (unsigned long long) frame->seq,
               (unsigned long long) ch->feed->last_seq);
    }
    feed_publish(ch->feed, frame);
}

static void channel_synced(struct channel_here *ch, uint64_t pos) {
    if (ch->feed) {
        feed_synced(ch->feed, pos);
    } else {
        ch->early_synced = pos;
    }
}

struct channel_here *channel_opened(const struct call *c) {
    const struct answer *a = &c->cmd->answer;
    struct channel_here *ch = channel_get(loop_of(c), a->channel);
    if (!ch->feed) {
        ch->feed = feed_create(sim.loops[ch->loop], a->log, a->log_floor, a->cursor_prefix, ch);
        for (size_t i = 0; i < ch->early_count; i++) {
            channel_publish(ch, ch->early[i]);
        }
        ch->early_count = 0;
        channel_synced(ch, ch->early_synced);
    }
    return ch;
}

static void channel_empty(struct channel_here *ch) {
    if (ch->readers) {
        broken("channel %llu was dropped under its readers", (unsigned long long) ch->number);
    }
    while (ch->early_count) {
        frame_unref(ch->early[--ch->early_count]);
    }
    mem_free(ch->early);
    feed_destroy(ch->feed);
    ch->early = NULL;
    ch->feed = NULL;
    ch->dropped = true;
}

void loops_begin(void) {
    for (unsigned l = 0; l < LOOPS; l++) {
        sim.loops[l] = mem_alloc(sizeof(*sim.loops[l]));
        TAILQ_INIT(&sim.loops[l]->dirty_feeds);
        sim.loops[l]->handler.refill = client_ask_refill;
    }
}

void loops_reset(void) {
    for (unsigned l = 0; l < LOOPS; l++) {
        struct channel_here *ch, *next;
        HASH_ITER (hh, sim.channels[l], ch, next) {
            channel_empty(ch);
            HASH_DEL(sim.channels[l], ch);
            mem_free(ch);
        }
    }
}

void loops_end(void) {
    for (unsigned l = 0; l < LOOPS; l++) {
        mem_free(sim.loops[l]);
    }
}

/* ---- workers ---- */

static void worker_add(struct id task, uint32_t attempt, unsigned loop, bool by_key) {
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *w = &sim.workers[i];
        if (!w->used && !w->busy) {
            *w = (struct worker){.used = true, .certain = true, .task = task, .attempt = attempt, .loop = loop, .by_key = by_key};
            return;
        }
    }
}

/* The report that ended its attempt gets its first answer again, whatever has become of the task. */
static void final_repeated(const struct call *c, struct worker *w, const struct answer *a) {
    bool report = c->r.type == CMD_TASK_REPORT && !c->r.lines, good = report && a->type == ANSWER_JSON;
    bool final = report && c->r.reports[c->r.report_count - 1].type >= REPORT_SUCCEED;
    uint64_t answer = hash_str(1, buf_view(&a->body));
    if (!final || !w->final_answer) {
        w->final_answer = final && good ? answer : w->final_answer;
    } else if (good ? answer != w->final_answer : a->problem.err == ERR_ATTEMPT_SUPERSEDED || a->problem.err == ERR_TASK_ENDED) {
        broken("call %llu: the final report of attempt %u, said again, got another answer", (unsigned long long) c->number, w->attempt);
    }
}

static void worker_answered(struct call *c) {
    struct worker *w = c->worker;
    const struct answer *a = &c->cmd->answer;
    w->busy = false;
    final_repeated(c, w, a);
    if (a->type == ANSWER_PROBLEM) {
        w->certain &= a->problem.err != ERR_UNAVAILABLE && !c->r.lines; /* the lines before it may have counted */
        if (a->problem.err != ERR_UNAVAILABLE && a->problem.err != ERR_OUTPUT_GAP && !chance(4)) {
            w->used = false;
        }
    } else if (c->r.type == CMD_TASK_REPORT) {
        struct arena arena = {0};
        const struct json *root = parse(&arena, buf_view(&c->cmd->answer.body));
        w->final = c->r.reports[c->r.report_count - 1].type >= REPORT_SUCCEED;
        if (!w->final && root->type == JSON_OBJECT) {
            w->offset = number_of(root, "output_offset");
            w->certain = true;
        }
        w->used = !w->final || chance(2);
        arena_fini(&arena);
    }
}

static void workers_of_claim(struct call *c) {
    struct arena arena = {0};
    const struct json *root = parse(&arena, buf_view(&c->cmd->answer.body));
    for (const struct json *j = json_get(root, "tasks")->child; j; j = j->next) {
        worker_add(id_of(text_of(j, "id"), ID_TASK), (uint32_t) number_of(j, "attempt"), loop_of(c), false);
    }
    arena_fini(&arena);
}

static void worker_of_task(struct call *c) {
    struct arena arena = {0};
    const struct json *root = parse(&arena, buf_view(&c->cmd->answer.body));
    struct known_task *t = task_known(id_of(text_of(root, "id"), ID_TASK));
    if (!t->has_queue && !t->given) {
        t->given = true;
        worker_add(t->id, 1, loop_of(c), chance(3));
    }
    arena_fini(&arena);
}

/* ---- mail ---- */

static void deliver_answer(struct call *c) {
    bool json = c->cmd->answer.type == ANSWER_JSON;
    if (c->r.type == CMD_WATCH_REFILL) {
        client_refilled(c);
    } else if (c->r.type == CMD_WATCH) {
        if (c->abandoned && c->client) {
            c->client->state = CLIENT_AWAY;
            c->client->call = NULL;
            c->client = NULL;
        }
        client_answered(c);
    }
    if (c->abandoned) {
        return; /* it comes once more */
    }
    if (c->r.type == CMD_QUEUE_CLAIM && json && chance(8)) {
        call_abandon(c); /* could not be delivered */
        return;
    }
    if (c->worker) {
        worker_answered(c);
    } else if (c->r.type == CMD_QUEUE_CLAIM && json) {
        workers_of_claim(c);
    } else if ((c->r.type == CMD_TASK_CREATE || c->r.type == CMD_TASK_START) && json) {
        worker_of_task(c);
    }
    if (c->audit) {
        audit_answered(c);
    }
    call_free(c);
}

static void deliver_abandoned(struct call *c) {
    if (c->client && c->r.type == CMD_WATCH) {
        c->client->state = CLIENT_AWAY;
    }
    if (c->worker) {
        c->worker->busy = c->worker->certain = false;
    }
    call_free(c);
}

static void deliver(unsigned loop, struct message *m) {
    switch (m->type) {
    case MESSAGE_ANSWER: deliver_answer(m->cmd->owner); break;
    case MESSAGE_ABANDONED: deliver_abandoned(m->cmd->owner); break;
    case MESSAGE_FRAME: channel_publish(channel_get(loop, m->channel), m->frame); break;
    case MESSAGE_SYNCED: channel_synced(channel_get(loop, m->channel), m->pos); break;
    case MESSAGE_DISCONNECT: {
        struct channel_here *ch;
        HASH_FIND(hh, sim.channels[loop], &m->channel, sizeof(m->channel), ch);
        if (ch && !ch->dropped) {
            channel_cut_readers(ch, m->disconnect);
        }
        mem_free(m->disconnect);
        break;
    }
    case MESSAGE_CLOCK: break;
    case MESSAGE_DROP: channel_empty(channel_get(loop, m->channel)); break;
    }
}

void loop_deliver(unsigned loop, unsigned most) {
    struct post *p;
    while (most-- && (p = TAILQ_FIRST(&sim.mail[loop]))) {
        TAILQ_REMOVE(&sim.mail[loop], p, link);
        deliver(loop, &p->mail);
        mem_free(p);
    }
    while (!TAILQ_EMPTY(&sim.loops[loop]->dirty_feeds)) {
        feed_flushed(TAILQ_FIRST(&sim.loops[loop]->dirty_feeds));
    }
}
