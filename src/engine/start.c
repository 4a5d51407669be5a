/* The engine begins, serves, stops and ends. */
#include "engine/start.h"

#include "engine/batch.h"
#include "engine/channel.h"
#include "engine/clocks.h"
#include "engine/due.h"
#include "engine/idempotency.h"
#include "engine/keys.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/load.h"
#include "engine/look_up.h"
#include "engine/query.h"
#include "engine/queue.h"
#include "engine/report_lines.h"
#include "engine/residence.h"
#include "engine/rows.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/sweep.h"
#include "engine/tombstones.h"
#include "engine/users.h"
#include "engine/wait.h"
#include "engine/writes.h"

#include "base/mem.h"
#include "base/log.h"

static void put_meta(struct engine *e, const char *name, const char *value) {
    struct store_op *op = batch_op(e, STORE_PUT_META);
    op->name = str_of(name);
    op->data = batch_text(e, str_of(value));
}

/* ---- the beginning ---- */

struct engine *engine_create(const struct engine_config *config, struct moment now) {
    struct engine *e = mem_alloc(sizeof(*e));
    e->config = *config;
    e->o = config->options;
    e->now = now.ms;
    e->apart = now.wall_ms - now.ms;
    e->wall_read = e->wall_highest = now.wall_ms;
    e->waits_end = INT64_MAX;
    wheel_init(&e->wheel, e->now);
    e->ids.random = config->random;
    e->ids.random_arg = config->random_arg;
    e->open = batch_create(1);
    TAILQ_INIT(&e->behind);
    TAILQ_INIT(&e->pieces);
    LIST_INIT(&e->stopped);
    TAILQ_INIT(&e->recent_order);
    TAILQ_INIT(&e->immediate_sessions);
    TAILQ_INIT(&e->deferred_sessions);
    TAILQ_INIT(&e->ready);
    TAILQ_INIT(&e->held);
    return e;
}

void engine_start(struct engine *e, struct store *store) {
    e->store = store;
    e->state = ENGINE_LOADING;
    query_send(e, query_create(STORE_START, QUERY_START, NULL));
}

bool engine_ready(const struct engine *e) {
    return e->state == ENGINE_SERVING && !e->dead;
}

void engine_mark(struct engine *e) {
    step_is_all(e);
    put_meta(e, "epoch", e->epoch);
    put_meta(e, "clean", "0");
    e->marked = step_set(e);
}

static void engine_serve(struct engine *e) {
    e->state = ENGINE_SERVING;
    wheel_set(&e->wheel, &e->due_timer, e->now + ENGINE_DUE_MS, due_look);
    wheel_set(&e->wheel, &e->forget_timer, e->now + ENGINE_FORGET_MS / 60, sweep_forget);
    cmd_wake(e, &e->held);
}

/* A session was loaded. */
void engine_loaded_one(struct engine *e) {
    if (e->state == ENGINE_LOADING && e->loads_left == 0) {
        engine_serve(e);
    }
}

void engine_started(struct engine *e, struct store_query *q) {
    if (e->state != ENGINE_LOADING) {
        return; /* it was stopped before it began */
    }
    if (q->result != STORE_OK) {
        log_error("start_failed", "reason=\"the store cannot be read\"");
        e->state = ENGINE_STOPPED;
        return;
    }
    clocks_begin(e, q->answer.start.clock);
    struct str clean = q->answer.start.clean, epoch = q->answer.start.epoch;
    e->unclean = clean.p && !str_eqz(clean, "1");
    if (epoch.p && epoch.len < sizeof(e->epoch)) {
        memcpy(e->epoch, epoch.p, epoch.len);
    } else {
        static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
        uint8_t random[8];
        e->config.random(e->config.random_arg, random, sizeof(random));
        for (int i = 0; i < 8; i++) {
            e->epoch[i] = digits[random[i] & 31];
        }
    }
    engine_mark(e);
    slots_from_row(e, q->answer.start.slots);
    kinds_load(e, q->answer.start.kinds, q->answer.start.kind_count);
    for (size_t i = 0; i < q->answer.start.sessions.count; i++) {
        session_load_first(e, q->answer.start.sessions.list[i]);
    }
    if (e->loads_left == 0) {
        engine_serve(e);
    }
}

/* ---- the stop ---- */

/* Is everything that changed on its way into storage, also what a failed batch has thrown away? */
static bool all_is_written(const struct engine *e) {
    bool lists = TAILQ_EMPTY(&e->immediate_sessions) && TAILQ_EMPTY(&e->deferred_sessions) && !e->immediate_tasks.left &&
                 !e->deferred_tasks[0].left && !e->deferred_tasks[1].left;
    for (const struct load *l = e->loads; l; l = l->hh.next) {
        if (l->reload) {
            return false;
        }
    }
    return lists && !e->inflight && e->open->b.count == 0;
}

/* That the stop was clean is said last, in a batch of its own. */
void engine_check_stopped(struct engine *e) {
    if (e->state != ENGINE_STOPPING) {
        return;
    }
    if (e->dead || (all_is_written(e) && (e->stop_pending || !e->stop_clean))) {
        e->state = ENGINE_STOPPED;
    } else if (all_is_written(e)) {
        e->stop_pending = true;
        step_begin(e);
        put_meta(e, "clean", "1");
        clocks_put(e);
        engine_flush(e);
    }
}

void engine_stop(struct engine *e) {
    if (e->state >= ENGINE_STOPPING) {
        return;
    }
    e->stop_clean = e->state == ENGINE_SERVING;
    e->state = ENGINE_STOPPING;
    for (struct session_entry *s = e->sessions; s; s = s->hh.next) {
        if (s->seq != s->reserved_pending) {
            s->reserved_pending = s->seq; /* exact numbers: the next start goes on without a gap */
            step_begin(e);
            session_write_now(e, s);
        }
    }
    writes_defer_no_more(e);
}

bool engine_stopped(const struct engine *e) {
    return e->state == ENGINE_STOPPED;
}

/* ---- the end ---- */

static void free_list(struct engine *e, struct cmd_list *list) {
    while (!TAILQ_EMPTY(list)) {
        struct cmd *c = TAILQ_FIRST(list);
        cmd_unpark(e, c);
        wheel_cancel(&e->wheel, &c->e.timer);
        query_free(c->e.query);
        cmd_free(c);
    }
}

void engine_destroy(struct engine *e) {
    if (!e) {
        return;
    }
    free_list(e, &e->ready);
    free_list(e, &e->held);
    while (!LIST_EMPTY(&e->stopped)) {
        struct stopped_stream *s = LIST_FIRST(&e->stopped);
        LIST_REMOVE(s, link);
        free_list(e, &s->behind);
        mem_free(s);
    }
    struct load *l, *l2;
    HASH_ITER (hh, e->loads, l, l2) {
        free_list(e, &l->waiters);
        HASH_DELETE(hh, e->loads, l);
        load_free(l);
    }
    struct idempotency *i, *i2;
    HASH_ITER (hh, e->idempotency, i, i2) {
        free_list(e, &i->waiters);
    }
    struct session_entry *s, *s2;
    HASH_ITER (hh, e->sessions, s, s2) {
        struct task_entry *t;
        TAILQ_FOREACH (t, &s->by_version, by_version) {
            free_list(e, &t->waiters);
        }
        session_drop(e, s);
    }
    struct channel *ch, *ch2;
    HASH_ITER (hh, e->channels, ch, ch2) {
        HASH_DELETE(hh, e->channels, ch);
        mem_free(ch);
    }
    struct queue *q, *q2;
    HASH_ITER (hh, e->queues, q, q2) {
        free_list(e, &q->waiters);
        wheel_cancel(&e->wheel, &q->timer);
        HASH_DELETE(hh, e->queues, q);
        mem_free(q->heap);
        mem_free(q->name);
        mem_free(q);
    }
    kinds_drop(e);
    idempotency_drop_all(e);
    tombstones_durable(e, UINT64_MAX);
    old_keys_durable(e, UINT64_MAX);
    users_drop(e);
    look_ups_drop(e);
    batch_destroy(e->open);
    batch_destroy(e->inflight);
    batch_destroy(e->spare);
    mem_free(e->immediate_tasks.at);
    mem_free(e->deferred_tasks[0].at);
    mem_free(e->deferred_tasks[1].at);
    buf_fini(&e->scratch);
    buf_fini(&e->cursor_text);
    mem_free(e);
}
