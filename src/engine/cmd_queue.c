#include "engine/cmd_queue.h"

#include "engine/answer.h"
#include "engine/auth.h"
#include "engine/batch.h"
#include "engine/change.h"
#include "engine/clocks.h"
#include "engine/events.h"
#include "engine/look_up.h"
#include "engine/needs.h"
#include "engine/outbox.h"
#include "engine/query.h"
#include "engine/queue.h"
#include "engine/residence.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/wait.h"

#include "base/mem.h"
#include "domain/token.h"

#include <stdlib.h>

static void claim_take(struct engine *e, struct cmd *c, struct queue *q) {
    c->e.claimed = arena_alloc(&c->arena, c->max * sizeof(struct id));
    c->e.claimed_attempts = arena_alloc(&c->arena, c->max * sizeof(uint32_t));
    struct task_entry *t;
    while (c->e.claimed && c->e.claimed_attempts && c->e.claimed_count < c->max && (t = queue_take(e, q))) {
        task_start(&t->t, c->lease_ms, now_of(e));
        task_changed(e, t, LASTING);
        c->e.claimed_attempts[c->e.claimed_count] = t->t.attempt;
        c->e.claimed[c->e.claimed_count++] = t->t.id;
    }
}

/* One of the tasks that a claim was given; NULL if it has ended since, or was lost and perhaps claimed by another. */
static struct task_entry *claimed_task(struct engine *e, const struct cmd *c, size_t i) {
    struct task_entry *t = task_resident(e, c->e.claimed[i]);
    return t && t->t.state == TASK_RUNNING && t->t.attempt == c->e.claimed_attempts[i] ? t : NULL;
}

void claims_give_back(struct engine *e, struct cmd *c) {
    for (size_t i = 0; i < c->e.claimed_count && !e->dead; i++) {
        struct task_entry *t = claimed_task(e, c, i);
        if (t && !t->t.heard) {
            task_attempt_over(&t->t, ATTEMPT_RELEASED, NULL, now_of(e));
            task_changed(e, t, LASTING);
        }
    }
    c->e.claimed_count = 0;
}

static void write_claimed(struct engine *e, struct cmd *c, struct buf *out) {
    struct store_query *q = c->e.query;
    bool first = true;
    buf_puts(out, "{\"tasks\":[");
    for (size_t i = 0; i < c->e.claimed_count; i++) {
        struct task_entry *t = claimed_task(e, c, i);
        if (!t) {
            continue; /* it ended while its input was fetched */
        }
        struct str input = q && i < q->answer.inputs.count ? q->answer.inputs.list[i] : STR_NONE;
        buf_puts(out, first ? "" : ",");
        first = false;
        task_entry_write(e, t, true, out);
        buf_puts(out, ",\"input\":");
        buf_str(out, input.p ? input : STR("null"));
        buf_puts(out, ",\"worker_token\":\"");
        token_write(e->config.keys, (struct token){TOKEN_WORKER, t->t.id, t->t.attempt}, out);
        buf_puts(out, "\"}");
    }
    buf_puts(out, "]}");
}

/* The inputs are read once the claim is durable. */
static void claim_fetch(struct engine *e, struct cmd *c) {
    bool any = false;
    for (size_t i = 0; i < c->e.claimed_count; i++) {
        struct task_entry *t = task_resident(e, c->e.claimed[i]);
        any |= t && t->t.input_bytes;
        if (t) {
            needs_session(e, c, t->s);
        }
    }
    if (any && !c->e.query) {
        if (cmd_until_durable(e, c) == GO_ON) {
            struct store_query *q = query_create(STORE_GET_INPUT, QUERY_CMD, NULL);
            q->ask.inputs = (struct id_list){c->e.claimed, c->e.claimed_count};
            cmd_query(e, c, q);
        }
        return;
    }
    if (c->e.query && c->e.query->result != STORE_OK) {
        claims_give_back(e, c);
        needs_all(e, c);
        cmd_refuse(e, c, ERR_UNAVAILABLE, "The store cannot be read");
        return;
    }
    write_claimed(e, c, cmd_json(c, 200));
    cmd_answer(e, c);
}

void cmd_queue_claim(struct engine *e, struct cmd *c) {
    struct queue *q = queue_of(e, c->queue);
    if (c->e.claimed_count) {
        claim_fetch(e, c);
        return;
    }
    claim_take(e, c, q);
    if (c->e.claimed_count) {
        wheel_cancel(&e->wheel, &c->e.timer);
        queue_serve(e, q);
        claim_fetch(e, c);
        return;
    }
    if (cmd_wait(e, c, &q->waiters) == WAITS) {
        queue_serve(e, q);
        return;
    }
    queue_serve(e, q);
    c->answer.type = ANSWER_NONE;
    c->answer.status = 204;
    cmd_answer(e, c);
}

void cmd_queue_release(struct engine *e, struct cmd *c) {
    struct task_entry *t = NULL;
    struct tombstone_row *row = NULL;
    enum found f = find_task(e, c, c->token.id, &t, &row);
    if (f == PARKED) {
        return;
    }
    if ((t || row) && !worker_token_valid(&c->token, t, row)) {
        needs_absence(c);
        cmd_refuse_at(e, c, ERR_UNAUTHENTICATED, STR("/token"), "The token does not count");
        return;
    }
    if (row) {
        refuse_gone(e, c, row);
        return;
    }
    if (!t || !t->t.queue || !str_eqz(c->queue, t->t.queue)) {
        needs_absence(c);
        cmd_refuse_at(e, c, ERR_NOT_FOUND, STR("/token"), "The token is not of a task of this queue");
        return;
    }
    if (c->token.gen < t->t.attempt || t->t.state == TASK_QUEUED || (task_is_ended(&t->t) && t->t.attempt_lost)) {
        cmd_refuse(e, c, ERR_ATTEMPT_SUPERSEDED, NULL);
        return;
    }
    if (task_is_ended(&t->t)) {
        cmd_refuse(e, c, ERR_TASK_ENDED, NULL);
        return;
    }
    task_attempt_over(&t->t, ATTEMPT_RELEASED, NULL, now_of(e));
    task_changed(e, t, LASTING);
    c->answer.type = ANSWER_NONE;
    c->answer.status = 204;
    cmd_answer(e, c);
}

/* ---- the list ---- */

static int by_name(const void *a, const void *b) {
    return strcmp((*(struct queue *const *) a)->name, (*(struct queue *const *) b)->name);
}

static void write_queue(struct engine *e, const struct queue *q, struct buf *out) {
    int64_t oldest = e->now;
    for (size_t i = 0; i < q->count; i++) {
        const struct task *t = &q->heap[i]->t;
        int64_t created = t->created_at - t->created_apart;
        oldest = created < oldest ? created : oldest;
    }
    buf_puts(out, "{\"name\":");
    buf_json_str(out, str_of(q->name));
    buf_printf(out, ",\"queued\":%zu,\"running\":%u,\"oldest_age\":", q->count, q->running);
    if (q->count) {
        buf_json_num(out, (double) (e->now - oldest) / 1000);
    } else {
        buf_puts(out, "null");
    }
    buf_char(out, '}');
}

void cmd_queue_list(struct engine *e, struct cmd *c) {
    size_t n = 0, written = 0;
    struct queue **all = mem_alloc(HASH_COUNT(e->queues) * sizeof(struct queue *)), *q, *last = NULL;
    for (q = e->queues; q; q = q->hh.next) {
        if (!c->list.after_name.p || strcmp(q->name, c->list.after_name.p) > 0) {
            all[n++] = q;
        }
    }
    if (n) {
        qsort(all, n, sizeof(struct queue *), by_name);
    }
    struct buf *out = cmd_json(c, 200);
    buf_puts(out, "{\"items\":[");
    for (size_t i = 0; i < n && written < c->list.limit; i++, written++) {
        buf_puts(out, written ? "," : "");
        write_queue(e, last = all[i], out);
    }
    buf_puts(out, "],\"next\":");
    buf_json_str(out, last && written < n ? str_of(last->name) : STR_NONE);
    buf_char(out, '}');
    mem_free(all);
    needs_all(e, c);
    cmd_answer(e, c);
}
