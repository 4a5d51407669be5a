/* Output, and what goes with it, from the store for one page of a feed. */
#include "engine/refill.h"

#include "engine/answer.h"
#include "engine/batch.h"
#include "engine/channel.h"
#include "engine/events.h"
#include "engine/gone.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/needs.h"
#include "engine/outbox.h"
#include "engine/query.h"
#include "engine/residence.h"
#include "engine/session_entry.h"
#include "engine/state.h"

#include <stdlib.h>

struct refill {
    struct engine *e;
    struct cmd *c;
    struct channel *ch;
    struct session_entry *s;
    uint64_t cursor, upto;
    struct buf text;
};

static bool has_output_after(const struct task *t, uint64_t cursor) {
    return t->output_seq > cursor && t->output_bytes > t->output_first;
}

/* The tasks whose output lies behind the cursor. */
static size_t refill_tasks(struct channel *ch, struct session_entry *s, uint64_t cursor, struct id *out) {
    size_t n = 0;
    struct task_entry *t;
    if (ch->t) {
        n = has_output_after(&ch->t->t, cursor);
        if (n && out) {
            out[0] = ch->t->t.id;
        }
        return n;
    }
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        if (has_output_after(&t->t, cursor > t->t.moved_seq ? cursor : t->t.moved_seq)) {
            if (out) {
                out[n] = t->t.id;
            }
            n++;
        }
    }
    return n;
}

static void refill_ask(struct engine *e, struct cmd *c, struct channel *ch, struct session_entry *s, size_t tasks) {
    struct store_query *q = query_create(STORE_GET_OUTPUT_AFTER, QUERY_CMD, NULL);
    struct id *ids = arena_alloc(&q->arena, tasks * sizeof(struct id));
    q->ask.output_after.tasks = (struct id_list){ids, ids ? refill_tasks(ch, s, c->cursor, ids) : 0};
    q->ask.output_after.seq = c->cursor;
    q->ask.output_after.limit = ENGINE_REFILL_BYTES;
    cmd_query(e, c, q);
}

static void refill_add(struct refill *r, enum frame_kind kind, uint64_t seq, struct id key, const char *event) {
    struct answer *a = &r->c->answer;
    struct frame *f = feed_frame(r->e, kind, r->ch, seq, key, event, &r->text);
    if (f) {
        a->frames[a->frame_count++] = f;
    } else {
        a->refill = REFILL_FAILED;
    }
    buf_clear(&r->text);
}

static int by_seq(const void *a, const void *b) {
    const struct frame *x = *(struct frame *const *) a, *y = *(struct frame *const *) b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static bool in_page(const struct refill *r, uint64_t seq) {
    return seq > r->cursor && seq <= r->upto;
}

static void refill_output(struct refill *r) {
    const struct store_query *q = r->c->e.query;
    for (size_t i = 0; q && i < q->answer.output_after.count; i++) {
        const struct output_row *row = &q->answer.output_after.list[i];
        struct task_entry *t = task_resident(r->e, row->task);
        if (!t || !in_page(r, row->seq) || (!r->ch->t && row->seq <= t->t.moved_seq) || row->offset + row->data.len <= t->t.output_first) {
            continue;
        }
        uint64_t cut = row->offset < t->t.output_first ? t->t.output_first - row->offset : 0;
        output_event(row->task, row->seq, row->offset + cut, str_from(row->data, cut), &r->text);
        refill_add(r, FRAME_LOG, row->seq, row->task, "output");
    }
}

/* How far one page reaches: not past what was durable when the output was asked for, what of it came, and so many tasks. */
static void refill_bound(struct refill *r) {
    const struct store_query *q = r->c->e.query;
    size_t bytes = 0, n = 0;
    for (size_t i = 0; q && i < q->answer.output_after.count; i++) {
        bytes += q->answer.output_after.list[i].data.len;
    }
    if (bytes >= ENGINE_REFILL_BYTES) {
        r->upto = q->answer.output_after.list[q->answer.output_after.count - 1].seq;
    }
    struct task_entry *t;
    TAILQ_FOREACH (t, &r->s->by_change, by_change) {
        if (!r->ch->t && in_page(r, t->t.change_seq) && ++n == ENGINE_REFILL_EVENTS) {
            r->upto = t->t.change_seq;
        }
    }
}

static int by_task_and_seq(const void *a, const void *b) {
    const struct gone_entry *x = *(struct gone_entry *const *) a, *y = *(struct gone_entry *const *) b;
    int c = id_cmp(x->task, y->task);
    return c ? c : (x->seq > y->seq) - (x->seq < y->seq);
}

/* Each task that has left and is not back, once, however often it left. */
static void refill_gone(struct refill *r) {
    struct gone_entry *g, **all = arena_alloc(&r->c->arena, (r->s->gone_count + 1) * sizeof(struct gone_entry *));
    size_t n = 0;
    if (!all) {
        r->c->answer.refill = REFILL_FAILED;
        return;
    }
    TAILQ_FOREACH (g, &r->s->gone, link) {
        const struct task_entry *t = g->seq > r->cursor ? task_resident(r->e, g->task) : NULL;
        if (g->seq > r->cursor && (!t || t->s != r->s)) {
            all[n++] = g;
        }
    }
    qsort(all, n, sizeof(struct gone_entry *), by_task_and_seq);
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n || id_cmp(all[i]->task, all[i + 1]->task) != 0;
        if (last && in_page(r, all[i]->seq)) {
            gone_event(all[i], &r->text);
            refill_add(r, FRAME_GONE, all[i]->seq, all[i]->task, "task");
        }
    }
}

static void refill_states(struct refill *r) {
    struct task_entry *t;
    if (r->ch->t) {
        if (in_page(r, r->ch->t->t.change_seq)) {
            task_event(r->e, r->ch->t, r->ch->t->t.change_seq, &r->text);
            refill_add(r, FRAME_STATE, r->ch->t->t.change_seq, r->ch->t->t.id, "task");
        }
        return;
    }
    TAILQ_FOREACH (t, &r->s->by_change, by_change) {
        if (in_page(r, t->t.change_seq)) {
            task_event(r->e, t, t->t.change_seq, &r->text);
            refill_add(r, FRAME_STATE, t->t.change_seq, t->t.id, "task");
        }
    }
    refill_gone(r);
}

static void answer_without_frames(struct engine *e, struct cmd *c, enum refill_result result, uint64_t upto) {
    c->answer.type = ANSWER_REFILL;
    c->answer.refill = result;
    c->answer.upto = upto;
    cmd_answer(e, c);
}

static void refill_answer(struct engine *e, struct cmd *c, struct channel *ch, struct session_entry *s) {
    struct refill r = {.e = e, .c = c, .ch = ch, .s = s, .cursor = c->cursor, .upto = c->e.upto};
    size_t most = (c->e.query ? c->e.query->answer.output_after.count : 0) + (ch->t ? 1 : s->unfinished + s->ended + s->gone_count);
    c->answer.frames = arena_alloc(&c->arena, (most + 1) * sizeof(struct frame *));
    if (!c->answer.frames) {
        answer_without_frames(e, c, REFILL_FAILED, 0);
        return;
    }
    c->answer.refill = REFILL_GOOD;
    refill_bound(&r);
    refill_output(&r);
    refill_states(&r);
    buf_fini(&r.text);
    qsort(c->answer.frames, c->answer.frame_count, sizeof(struct frame *), by_seq);
    c->answer.type = ANSWER_REFILL;
    c->answer.upto = r.upto;
    cmd_answer(e, c);
}

void cmd_watch_refill(struct engine *e, struct cmd *c) {
    struct channel *ch;
    HASH_FIND(hh, e->channels, &c->channel, sizeof(c->channel), ch);
    struct session_entry *s = !ch ? NULL : ch->t ? ch->t->s : ch->s;
    if (ch && ch->removed) {
        needs_all(e, c);
        answer_without_frames(e, c, REFILL_LOST, 0);
        return;
    }
    if (!s || (c->e.query && c->e.query->result != STORE_OK)) {
        answer_without_frames(e, c, REFILL_FAILED, 0);
        return;
    }
    needs_session(e, c, s);
    if (!ch->t && gone_is_forgotten(s, c->cursor, c->gone_from)) {
        answer_without_frames(e, c, REFILL_FORGOTTEN, s->gone_floor);
        return;
    }
    if (!c->e.upto) {
        c->e.upto = ch->t ? ch->t->t.version : s->seq;
        if (cmd_until_durable(e, c) == WAITS) {
            return;
        }
    }
    size_t tasks = refill_tasks(ch, s, c->cursor, NULL);
    if (tasks && !c->e.query) {
        refill_ask(e, c, ch, s, tasks);
        return;
    }
    refill_answer(e, c, ch, s);
}
