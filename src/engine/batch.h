/* batch.h: the open batch, which takes in what is to be written, and the one that is with the store. A change set that fails takes what was built on it with it. */
#ifndef BOWLINE_ENGINE_BATCH_H
#define BOWLINE_ENGINE_BATCH_H

#include "engine/outbox.h"
#include "engine/sets.h"
#include "store/store.h"

struct engine;
struct session_entry;

struct batch {
    struct store_batch b;
    struct effect_list effects;
    struct set_list sets;
    uint32_t apart;      /* the place of the set of batch_op_apart, plus 1; 0: there is none */
    bool whole;          /* it is a single set */
    bool failed;         /* some of its sets have */
    unsigned oversized;  /* how often in a row it was used that had far more memory than it needed */
    unsigned swept;      /* ops that delete what has expired */
    unsigned sweep_cost; /* rows that they are about: limited, so that no sweep makes a long commit */
};

struct batch *batch_create(uint64_t number);
/* Also frees what waits for it: commands, frames. Accepts NULL. */
void batch_destroy(struct batch *b);
/* A new operation at the end of the open batch, in the set of this step. Valid until the next one is added. */
struct store_op *batch_op(struct engine *e, enum store_op_type type);
/* The same, in a set of what belongs to no session and may be lost by itself. */
struct store_op *batch_op_apart(struct engine *e, enum store_op_type type);
/* A copy that lives as long as the open batch. */
struct str batch_text(struct engine *e, struct str s);
/* Nothing would be written if it were given to the store now. */
bool batch_is_empty(const struct engine *e);
/* This step makes a durable change of it: answers that show the session wait for it (session_entry.pending). */
void session_pend(struct engine *e, struct session_entry *s);
/* Gives the open batch to the store, if that is idle and there is anything in it. */
void engine_flush(struct engine *e);

#endif
