/* idempotency.h: the first answer to an Idempotency-Key, kept here until the store knows: then it is asked. */
#ifndef BOWLINE_ENGINE_IDEMPOTENCY_H
#define BOWLINE_ENGINE_IDEMPOTENCY_H

#include "base/hash.h"
#include "engine/cmd.h"
#include "engine/found.h"
#include "store/store.h"

struct engine;

struct idempotency {
    uint8_t scope[32];
    bool under_way;
    uint64_t set;
    struct idempotency_row row; /* texts on the heap */
    struct cmd_list waiters;
    UT_hash_handle hh;
};

/* GO_ON: it is the first, or runs again. WAITS: the first is under way. ANSWERED: it has been answered as the first was. */
enum step idempotency_begin(struct engine *e, struct cmd *c) MUST_CHECK;
/* The answer of a first one stands: it is kept if it is a success. Returns what the answer waits for now. */
void idempotency_answered(struct engine *e, struct cmd *c);
void idempotency_durable(struct engine *e, uint64_t upto); /* up to this set, and those that failed */
void idempotency_drop_all(struct engine *e);               /* the engine is going */

#endif
