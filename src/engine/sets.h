/*
 * sets.h: change sets: what is kept or lost together, and what stands on what. A set is one session's changes in a batch, or those of several sessions that were
 * changed in one step; what belongs to no session goes with the step, or has a set of its own.
 *
 * A set is known by a number, which rises from batch to batch; 0 is no set. What waits for a set (outbox.h) waits until the batch is through that holds it.
 */
#ifndef BOWLINE_ENGINE_SETS_H
#define BOWLINE_ENGINE_SETS_H

#include "base/id.h"

#include <stdbool.h>
#include <stdint.h>

struct batch;
struct engine;
struct session_entry;

struct change_set {
    struct id session;     /* whose changes these are; none: of no session */
    uint64_t reserved;     /* the numbers that the session's row in it reserves; 0: none */
    uint64_t stands_on[2]; /* fails with these; 0: nothing */
    uint32_t with;         /* it is one with that set of its batch, or is the first of those that are one */
    bool reads;            /* nothing is written in it: it stands for the two that it stands on */
    bool failed;
};

struct set_list {
    struct change_set *list;
    uint32_t count, cap;
    bool united; /* some of them are one */
};

#define SET_BITS 24
#define SET_ALL ((1u << SET_BITS) - 1) /* instead of a place: all sets of the batch */

static inline uint64_t set_number(uint64_t batch, uint32_t at) {
    return batch << SET_BITS | at;
}
static inline uint64_t set_batch(uint64_t number) {
    return number >> SET_BITS;
}
static inline uint32_t set_at(uint64_t number) {
    return (uint32_t) number & SET_ALL;
}

/* ---- steps: a command, a line of one, a timer. What one step changes is one set ---- */

void step_begin(struct engine *e);
/* The set of this step; begun if nothing has been changed yet. */
uint64_t step_set(struct engine *e);
/* The step writes rows of this session. */
void step_session(struct engine *e, struct session_entry *s);
/* What the step changes fails if any of these sets does. */
void step_stands_on(struct engine *e, uint64_t needs);
/* The whole open batch is one set, and what comes after it stands on it. */
void step_is_all(struct engine *e);

/* ---- waiting ---- */

/* The set that is through when both are, and fails if one does. */
uint64_t sets_both(struct engine *e, uint64_t a, uint64_t b);
/* All that is known in memory stands on: what is with the store or in the open batch. 0: everything is durable. */
uint64_t engine_newest(const struct engine *e);

/* ---- to the store and back; for batch.c ---- */

/* Numbers the open batch's sets for the store. */
void sets_close(struct batch *b);
/* The store has handed b back, and some of its sets were not kept (or the store is dead): finds out what fails with them, in b and in the open batch. */
void sets_fail(struct engine *e, struct batch *b);
/* Only while that is being dealt with. */
bool set_has_failed(const struct engine *e, uint64_t number);

#endif
