/*
 * What api/ and net/ do, without sockets: letters go to the engine, mail is taken in order, and a feed keeps the newest frame of each task and, for a while, the
 * output. Workers live here as well: they are made by the answers to claims.
 */
#include "sim.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define FEED_LOG_BYTES 1500 /* of output that a feed keeps */

/* ---- letters and calls ---- */

void letter_send(unsigned loop, struct letter letter) {
    struct letter *l = mem_alloc(sizeof(*l));
    *l = letter;
    TAILQ_INSERT_TAIL(&sim.inbox[loop], l, link);
}

unsigned loop_of(const struct call *c) {
    return c->cmd->loop;
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

void on_mail(void *arg, unsigned loop, struct mail m) {
    (void) arg;
    struct post *p = mem_alloc(sizeof(*p));
    p->mail = m;
    TAILQ_INSERT_TAIL(&sim.mail[loop], p, link);
    if (m.type == MAIL_ANSWER) {
        answer_out(m.cmd->owner);
    } else if (m.type == MAIL_ABANDONED) {
        abandoned_out(m.cmd->owner);
    } else if (m.type == MAIL_FRAME) {
        sim.counts.frames++;
        trace("frame of channel %llu: %.*s", (unsigned long long) m.channel, STR_FMT(frame_data(m.frame)));
        model_frame(m.frame);
    }
}

/* ---- feeds ---- */

static struct feed *feed_get(unsigned loop, uint64_t channel) {
    struct feed *f;
    HASH_FIND(hh, sim.feeds[loop], &channel, sizeof(channel), f);
    if (!f) {
        f = mem_alloc(sizeof(*f));
        f->channel = channel;
        f->loop = loop;
        HASH_ADD(hh, sim.feeds[loop], channel, sizeof(f->channel), f);
    }
    if (f->dropped) {
        broken("mail for channel %llu, which was dropped: a loop would keep it for ever", (unsigned long long) channel);
    }
    return f;
}

static void feed_empty(struct feed *f) {
    for (size_t i = 0; i < f->count; i++) {
        frame_unref(f->frames[i]);
    }
    mem_free(f->frames);
    f->frames = NULL;
    f->count = f->cap = 0;
}

static void feed_remove(struct feed *f, size_t at) {
    frame_unref(f->frames[at]);
    memmove(f->frames + at, f->frames + at + 1, (--f->count - at) * sizeof(f->frames[0]));
}

static bool same_key(const struct frame *a, const struct frame *b) {
    return a->kind != FRAME_LOG && b->kind != FRAME_LOG && memcmp(a->key, b->key, 16) == 0;
}

uint64_t feed_upto(const struct feed *f) {
    return f->last_seq > f->synced ? f->last_seq : f->synced;
}

bool feed_is_over(const struct feed *f, size_t at) {
    for (size_t i = at + 1; i < f->count; i++) {
        if (same_key(f->frames[i], f->frames[at])) {
            return true;
        }
    }
    return false;
}

/* What is over since the last turn has been read by those who keep up. */
static void feed_drop_over(struct feed *f) {
    for (size_t i = f->count; i-- > 0;) {
        if (f->frames[i]->seq <= f->flushed_seq && feed_is_over(f, i)) {
            feed_remove(f, i);
        }
    }
}

static void feed_replace(struct feed *f, const struct frame *frame) {
    for (size_t i = f->count; i-- > 0;) {
        if (same_key(f->frames[i], frame)) {
            bool stays = frame->kind == FRAME_GONE && f->frames[i]->kind == FRAME_STATE && f->frames[i]->seq > f->flushed_seq;
            if (!stays) {
                feed_remove(f, i);
            }
            return;
        }
    }
}

static void feed_trim(struct feed *f) {
    for (size_t i = 0; i < f->count && f->log_bytes > FEED_LOG_BYTES;) {
        if (f->frames[i]->kind == FRAME_LOG) {
            f->log_floor = f->frames[i]->seq;
            f->log_bytes -= frame_sse(f->frames[i]).len;
            feed_remove(f, i);
        } else {
            i++;
        }
    }
}

static void feed_publish_frame(struct feed *f, struct frame *frame) {
    if (frame->seq <= f->last_seq) {
        broken("channel %llu: number %llu after %llu", (unsigned long long) f->channel, (unsigned long long) frame->seq,
               (unsigned long long) f->last_seq);
    }
    feed_drop_over(f);
    f->last_seq = frame->seq;
    if (frame->kind != FRAME_LOG) {
        feed_replace(f, frame);
    }
    if (f->count == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 8;
        f->frames = mem_resize(f->frames, f->cap * sizeof(f->frames[0]));
    }
    f->frames[f->count++] = frame;
    if (frame->kind == FRAME_LOG) {
        f->log_bytes += frame_sse(frame).len;
        feed_trim(f);
    }
}

struct feed *feed_opened(const struct call *c) {
    const struct answer *a = &c->cmd->answer;
    struct feed *f = feed_get(loop_of(c), a->channel);
    if (!f->open) {
        f->open = true;
        f->log = a->log;
        f->log_floor = a->log_floor > f->log_floor ? a->log_floor : f->log_floor;
    }
    return f;
}

static void feed_dropped(struct feed *f) {
    if (f->readers) {
        broken("channel %llu was dropped under its readers", (unsigned long long) f->channel);
    }
    feed_empty(f);
    f->dropped = true;
}

void loops_reset(void) {
    for (unsigned l = 0; l < LOOPS; l++) {
        struct feed *f, *f2;
        HASH_ITER (hh, sim.feeds[l], f, f2) {
            feed_empty(f);
            HASH_DEL(sim.feeds[l], f);
            mem_free(f);
        }
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
static void said_again(const struct call *c, struct worker *w, const struct answer *a) {
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
    said_again(c, w, a);
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

static void deliver(unsigned loop, struct mail *m) {
    switch (m->type) {
    case MAIL_ANSWER: deliver_answer(m->cmd->owner); break;
    case MAIL_ABANDONED: deliver_abandoned(m->cmd->owner); break;
    case MAIL_FRAME: feed_publish_frame(feed_get(loop, m->channel), m->frame); break;
    case MAIL_SYNCED: {
        struct feed *f = feed_get(loop, m->channel);
        f->synced = m->pos > f->synced ? m->pos : f->synced;
        break;
    }
    case MAIL_DISCONNECT: {
        struct feed *f;
        HASH_FIND(hh, sim.feeds[loop], &m->channel, sizeof(m->channel), f);
        if (f && !f->dropped) {
            feed_cut_readers(f, m->disconnect);
        }
        mem_free(m->disconnect);
        break;
    }
    case MAIL_DROP: feed_dropped(feed_get(loop, m->channel)); break;
    }
}

void loop_deliver(unsigned loop, unsigned most) {
    struct post *p;
    while (most-- && (p = TAILQ_FIRST(&sim.mail[loop]))) {
        TAILQ_REMOVE(&sim.mail[loop], p, link);
        deliver(loop, &p->mail);
        mem_free(p);
    }
    for (struct feed *f = sim.feeds[loop]; f; f = f->hh.next) {
        f->flushed_seq = f->last_seq;
    }
}
