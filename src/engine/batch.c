/*
 * Batches. The open one takes in operations as they come; the rows of what has changed (writes.h) are put into it when it is handed to the store, which happens as
 * soon as the store is idle, so that batches grow by themselves under load.
 *
 * When a change set fails, what was built on it fails too: what waits for it is told (outbox.h), and its sessions are thrown away and loaded again from their rows,
 * with numbers above the reservation. All others go on.
 */
#include "engine/batch.h"

#include "engine/clocks.h"
#include "engine/idempotency.h"
#include "engine/keys.h"
#include "engine/load.h"
#include "engine/outbox.h"
#include "engine/residence.h"
#include "engine/session_entry.h"
#include "engine/sets.h"
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
    mem_free(b->sets.list);
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
                        .sets = {.list = kept.sets.list, .cap = kept.sets.cap},
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
    *op = (struct store_op){.type = type, .set = set_at(step_set(e))};
    return op;
}

struct store_op *batch_op_apart(struct engine *e, enum store_op_type type) {
    uint32_t step = e->step;
    e->step = e->open->apart;
    struct store_op *op = batch_op(e, type);
    e->open->apart = e->step;
    e->step = step;
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

void session_pend(struct engine *e, struct session_entry *s) {
    step_session(e, s);
    s->pending = s->touched;
}

/* ---- to the store and back ---- */

void engine_flush(struct engine *e) {
    if (e->inflight || batch_is_empty(e) || e->dead || !e->store) {
        return;
    }
    writes_put(e);
    sets_close(e->open);
    step_begin(e);
    e->inflight = e->open;
    e->open = batch_next(e, e->inflight->b.number + 1);
    e->counts.batches++;
    e->counts.batch_ops += e->inflight->b.count;
    store_submit(e->store, &e->inflight->b);
}

/* What is known until the store knows it. */
static void batch_is_through(struct engine *e, struct batch *b) {
    e->durable = set_number(b->b.number, SET_ALL);
    idempotency_durable(e, e->durable);
    tombstones_durable(e, e->durable);
    old_keys_durable(e, e->durable);
}

static void reservations_stand(struct engine *e, const struct batch *b) {
    for (uint32_t i = 0; i < b->sets.count; i++) {
        const struct change_set *set = &b->sets.list[i];
        struct session_entry *s = set->reserved && !set->failed ? session_resident(e, set->session) : NULL;
        if (s && set->reserved > s->reserved) {
            s->reserved = set->reserved;
        }
    }
}

static void batch_succeeded(struct engine *e, struct batch *b) {
    sweep_done(e, b);
    reservations_stand(e, b);
    batch_is_through(e, b);
    effects_release(e, &b->effects);
}

/* ---- what failed ---- */

static void throw_away(struct engine *e, struct set_list *sets) {
    for (uint32_t i = 0; i < sets->count; i++) {
        struct id id = sets->list[i].session;
        struct session_entry *s = session_resident(e, id);
        if (!sets->list[i].failed || id_is_none(id)) {
            continue;
        }
        sets->list[i].session = (struct id){0}; /* what is loaded again has no part in it, whatever becomes of its batch */
        if (s && s->user) {
            s->user->stale = true;
        }
        if (s) {
            session_drop(e, s);
        }
        session_load(e, id, true);
    }
}

/* The ops of sets that failed are not given to the store. */
static void ops_drop(struct batch *b) {
    size_t kept = 0;
    for (size_t i = 0; i < b->b.count; i++) {
        struct store_op *op = &b->b.ops[i];
        if (!b->sets.list[op->set].failed) {
            b->b.ops[kept++] = *op;
        } else {
            b->swept -= op->sweep;
        }
    }
    b->b.count = kept;
}

static void say_failed(const struct batch *b) {
    size_t failed = 0;
    for (size_t i = 0; i < b->b.set_count; i++) {
        failed += b->b.sets[i].result != STORE_OK;
    }
    log_error("engine_batch_failed", "batch=%llu ops=%zu sets=%zu failed=%zu %s", (unsigned long long) b->b.number, b->b.count, b->b.set_count,
              failed, b->b.result == STORE_DEAD ? "\"an fsync failed: nothing is written any more until a restart\"" : "");
}

/* What the failed sets held that belongs to no session. */
static void write_again(struct engine *e) {
    e->stop_pending = false;
    e->clock_written = 0;
    if (set_has_failed(e, e->slots_set)) {
        e->slots_reserved = e->slot;
    }
    if (set_has_failed(e, e->marked)) {
        engine_mark(e);
    }
    if (set_has_failed(e, e->put_back)) {
        clocks_put_rows_back(e);
    }
}

static void batch_failed(struct engine *e, struct batch *b) {
    say_failed(b);
    e->counts.batch_failures++;
    e->dead = b->b.result == STORE_DEAD;
    e->looks_failed = ++e->look_clock;
    step_begin(e);
    sets_fail(e, b);
    effects_judge(e, &b->effects);
    effects_judge(e, &e->open->effects);
    batch_is_through(e, b);
    ops_drop(e->open);
    throw_away(e, &b->sets);
    throw_away(e, &e->open->sets);
    reservations_stand(e, b);
    write_again(e);
    effects_release(e, &b->effects);
    effects_fail(e, &e->open->effects);
    e->settled = NULL;
}

void engine_batch_done(struct engine *e, struct store_batch *sb) {
    struct batch *b = e->inflight;
    assert(b && sb == &b->b);
    e->inflight = NULL;
    if (sb->result == STORE_OK) {
        batch_succeeded(e, b);
    } else {
        batch_failed(e, b);
    }
    batch_put_back(e, b);
}
