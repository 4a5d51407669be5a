/*
 * Batches. The open one takes in operations as they come; the rows of what has changed (writes.h) are put into it when it is handed to the store, which happens as
 * soon as the store is idle, so that batches grow by themselves under load.
 *
 * When a batch fails, all that was built on it fails: what waits for it is told (outbox.h), and the sessions touched are thrown away and loaded again from their
 * rows, with numbers above the reservation.
 */
#include "engine/batch.h"

#include "engine/clocks.h"
#include "engine/idempotency.h"
#include "engine/keys.h"
#include "engine/load.h"
#include "engine/outbox.h"
#include "engine/residence.h"
#include "engine/session_entry.h"
#include "engine/start.h"
#include "engine/state.h"
#include "engine/sweep.h"
#include "engine/tombstones.h"
#include "engine/users.h"
#include "engine/writes.h"

#include "base/mem.h"
#include "base/log.h"

#include <assert.h>

struct batch *batch_create(uint64_t number) {
    struct batch *b = mem_alloc(sizeof(*b));
    b->b.number = number;
    TAILQ_INIT(&b->effects);
    return b;
}

void batch_destroy(struct batch *b) {
    if (!b) {
        return;
    }
    effects_free(&b->effects);
    arena_fini(&b->b.arena);
    mem_free(b->b.ops);
    mem_free(b->b.sets);
    mem_free(b->touched);
    mem_free(b);
}

#define BATCH_OPS_KEPT 16384
#define BATCH_TEXTS_KEPT (2u << 20)
#define BATCH_OVERSIZED 256

/* A batch that is through serves again, with its memory: large ones come several times a second, and fresh memory costs more than what is written into it. */
static void batch_put_back(struct engine *e, struct batch *b) {
    b->oversized = b->b.count * 4 < b->b.cap ? b->oversized + 1 : 0;
    if (e->spare || b->b.cap > BATCH_OPS_KEPT || b->oversized > BATCH_OVERSIZED) {
        batch_destroy(b);
        return;
    }
    assert(TAILQ_EMPTY(&b->effects));
    struct batch kept = *b;
    arena_rewind(&kept.b.arena, BATCH_TEXTS_KEPT);
    *b = (struct batch){.b = {.ops = kept.b.ops, .cap = kept.b.cap, .sets = kept.b.sets, .set_cap = kept.b.set_cap, .arena = kept.b.arena},
                        .touched = kept.touched,
                        .touched_cap = kept.touched_cap,
                        .oversized = kept.oversized};
    TAILQ_INIT(&b->effects);
    e->spare = b;
}

static struct batch *batch_next(struct engine *e, uint64_t number) {
    struct batch *b = e->spare;
    if (!b) {
        return batch_create(number);
    }
    e->spare = NULL;
    b->b.number = number;
    return b;
}

struct store_op *batch_op(struct engine *e, enum store_op_type type) {
    struct store_batch *b = &e->open->b;
    if (b->count == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 16;
        b->ops = mem_resize(b->ops, b->cap * sizeof(*b->ops));
    }
    struct store_op *op = &b->ops[b->count++];
    *op = (struct store_op){.type = type};
    return op;
}

struct str batch_text(struct engine *e, struct str s) {
    struct str copy = arena_str(&e->open->b.arena, s);
    if (s.p && !copy.p) {
        mem_free(mem_dup("", 1)); /* nothing sensible is left to do without memory */
        assert(!"no memory for a row");
    }
    return copy;
}

bool batch_is_empty(const struct engine *e) {
    return e->open->b.count == 0 && !e->immediate_tasks.left && !e->deferred_tasks[!e->deferred_side].left && TAILQ_EMPTY(&e->immediate_sessions);
}

uint64_t engine_newest(const struct engine *e) {
    return !batch_is_empty(e) ? e->open->b.number : e->inflight ? e->inflight->b.number : 0;
}

void batch_touch(struct engine *e, struct session_entry *s, uint64_t reserved) {
    struct batch *b = e->open;
    if (b->touched_count == b->touched_cap) {
        b->touched_cap = b->touched_cap ? b->touched_cap * 2 : 16;
        b->touched = mem_resize(b->touched, b->touched_cap * sizeof(*b->touched));
    }
    b->touched[b->touched_count++] = (struct touched){.session = s->s.id, .reserved = reserved};
}

void session_pend(struct engine *e, struct session_entry *s) {
    if (s->pending != e->open->b.number) {
        s->pending = e->open->b.number;
        batch_touch(e, s, 0);
    }
}

/* ---- to the store and back ---- */

static void batch_one_set(struct store_batch *b) {
    if (!b->set_cap) {
        b->sets = mem_alloc(sizeof(*b->sets));
        b->set_cap = 1;
    }
    b->set_count = 1;
}

void engine_flush(struct engine *e) {
    if (e->inflight || batch_is_empty(e) || e->dead || !e->store) {
        return;
    }
    writes_put(e);
    e->inflight = e->open;
    batch_one_set(&e->inflight->b);
    e->open = batch_next(e, e->inflight->b.number + 1);
    e->counts.batches++;
    e->counts.batch_ops += e->inflight->b.count;
    store_submit(e->store, &e->inflight->b);
}

static void batch_succeeded(struct engine *e, struct batch *b) {
    e->durable = b->b.number;
    sweep_done(e, b);
    for (size_t i = 0; i < b->touched_count; i++) {
        struct session_entry *s = b->touched[i].reserved ? session_resident(e, b->touched[i].session) : NULL;
        if (s && b->touched[i].reserved > s->reserved) {
            s->reserved = b->touched[i].reserved;
        }
    }
    idempotency_durable(e, b->b.number);
    tombstones_durable(e, b->b.number);
    old_keys_durable(e, b->b.number);
    effects_release(e, &b->effects);
}

static void throw_away(struct engine *e, struct batch *b) {
    for (size_t i = 0; i < b->touched_count; i++) {
        struct session_entry *s = session_resident(e, b->touched[i].session);
        if (s && s->user) {
            s->user->stale = true;
        }
        if (s) {
            session_drop(e, s);
        }
        session_load(e, b->touched[i].session, true);
    }
}

static void batch_failed(struct engine *e, struct batch *b, enum store_result why) {
    struct batch *built = e->open; /* all of it stands on what failed */
    log_error("engine_batch_failed", "batch=%llu ops=%zu %s", (unsigned long long) b->b.number, b->b.count,
              why == STORE_DEAD ? "\"an fsync failed: nothing is written any more until a restart\"" : "");
    e->counts.batch_failures++;
    e->dead = why == STORE_DEAD;
    e->open = batch_create(built->b.number + 1);
    e->durable = built->b.number; /* nothing waits for these numbers any more */
    e->looks_failed = ++e->look_clock;
    idempotency_drop_pending(e);
    tombstones_drop_pending(e);
    old_keys_durable(e, UINT64_MAX);
    e->stop_pending = false;
    e->slots_reserved = e->slot; /* what it reserved may not be */
    if (e->marked >= b->b.number) {
        engine_mark(e);
    }
    if (e->put_back >= b->b.number) {
        clocks_put_rows_back(e);
    }
    e->clock_written = 0;
    throw_away(e, b);
    throw_away(e, built);
    effects_fail(e, &b->effects);
    effects_fail(e, &built->effects);
    batch_destroy(built);
}

void engine_batch_done(struct engine *e, struct store_batch *sb) {
    struct batch *b = e->inflight;
    assert(b && sb == &b->b);
    e->inflight = NULL;
    if (sb->result == STORE_OK) {
        batch_succeeded(e, b);
    } else {
        batch_failed(e, b, sb->result);
    }
    batch_put_back(e, b);
}
