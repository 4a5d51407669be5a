/*
 * Limits expiry deletions per batch: to so many rows, and fewer when those of the last batch took long, so that no commit waits long for them. What
 * finds no room comes back when its turn is.
 */
#include "engine/sweep.h"

#include "engine/batch.h"
#include "engine/limits.h"
#include "engine/state.h"

bool sweep_may(struct engine *e, unsigned rows) {
    unsigned room = e->sweep_room ? e->sweep_room : ENGINE_SWEEP_LEAST;
    if (e->open->sweep_cost && e->open->sweep_cost + rows > room) {
        return false;
    }
    e->open->sweep_cost += rows;
    return true;
}

/* As many at a time as could find room: not all of a large number are woken for each piece. */
int64_t sweep_turn(struct engine *e, unsigned rows) {
    if (e->sweep_turn <= e->now) {
        e->sweep_turn = e->now + ENGINE_SWEEP_MS;
        e->sweep_turns = 0;
    } else if (e->sweep_turns + rows > ENGINE_SWEEP_MOST) {
        e->sweep_turn += ENGINE_SWEEP_MS;
        e->sweep_turns = 0;
    }
    e->sweep_turns += rows;
    return e->sweep_turn;
}

void sweep_mark(struct engine *e, size_t from) {
    struct store_batch *b = &e->open->b;
    for (size_t i = from; i < b->count; i++) {
        b->ops[i].sweep = true;
        e->open->swept++;
    }
}

/* Half as much when it took too long, a little more when there was time left. */
static void room_learn(struct engine *e, const struct batch *b) {
    int64_t us = b->b.sweep_us - b->b.forget_us;
    unsigned room = e->sweep_room;
    if (us > ENGINE_SWEEP_US) {
        room = b->sweep_cost / 2;
    } else if (us < ENGINE_SWEEP_US / 2) {
        room += b->sweep_cost / 4 + 1;
    }
    e->sweep_room = room > ENGINE_SWEEP_MOST ? ENGINE_SWEEP_MOST : room < ENGINE_SWEEP_LEAST ? ENGINE_SWEEP_LEAST : room;
}

void sweep_done(struct engine *e, const struct batch *b) {
    times_add(&e->counts.batch_times, b->b.took_us);
    if (b->swept) {
        times_add(&e->counts.sweep_times, b->b.sweep_us);
        e->counts.swept += b->swept;
    }
    if (b->sweep_cost) {
        room_learn(e, b);
    }
    if (b->b.more) {
        sweep_forget_soon(e);
    }
}

/* ---- what only the store knows: tombstones, answers, old keys, what large tasks left ---- */

void sweep_forget(struct timer *t, int64_t now_ms, void *arg) {
    struct engine *e = arg;
    if (e->state == ENGINE_SERVING && !e->dead) {
        step_begin(e);
        struct store_op *op = batch_op(e, STORE_FORGET);
        sweep_mark(e, e->open->b.count - 1);
        op->number = (uint64_t) now_ms;
        op->number2 = (uint64_t) e->o->tombstone_ttl;
        op->budget_us = ENGINE_SWEEP_FORGET_US;
    }
    int64_t soonest = e->o->tombstone_ttl < e->o->idempotency_ttl ? e->o->tombstone_ttl : e->o->idempotency_ttl;
    wheel_set(&e->wheel, t, now_ms + (soonest < ENGINE_FORGET_MS ? soonest : ENGINE_FORGET_MS), sweep_forget);
}

void sweep_forget_soon(struct engine *e) {
    int64_t at = e->now + ENGINE_DUE_MORE_MS;
    if (e->forget_timer.at_ms > at) {
        wheel_set(&e->wheel, &e->forget_timer, at, sweep_forget);
    }
}
