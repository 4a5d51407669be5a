/* batch.h: the open batch, which takes in what is to be written, and the one that is with the store. A batch that fails takes all that was built on it with it. */
#ifndef BOWLINE_ENGINE_BATCH_H
#define BOWLINE_ENGINE_BATCH_H

#include "engine/outbox.h"
#include "store/store.h"

struct engine;
struct session_entry;

struct batch {
    struct store_batch b;
    struct effect_list effects;
    struct touched {
        struct id session;
        uint64_t reserved;
    } * touched;
    size_t touched_count, touched_cap;
    unsigned oversized;  /* how often in a row it was used that had far more memory than it needed */
    unsigned swept;      /* operations that delete what has expired */
    unsigned sweep_cost; /* rows that they are about: limited, so that no sweep makes a long commit */
};

struct batch *batch_create(uint64_t number);
/* Also frees what waits for it: commands, frames. Accepts NULL. */
void batch_destroy(struct batch *b);
/* A new operation at the end of the open batch. Valid until the next one is added. */
struct store_op *batch_op(struct engine *e, enum store_op_type type);
/* A copy that lives as long as the open batch. */
struct str batch_text(struct engine *e, struct str s);
/* The open batch holds a row of this session: it is loaded again if the batch fails. reserved: the numbers that are reserved by that row, 0 if none. */
void batch_touch(struct engine *e, struct session_entry *s, uint64_t reserved);
/* Nothing would be written if it were given to the store now. */
bool batch_is_empty(const struct engine *e);
/* The newest batch with anything in it: what all that is known in memory stands on. 0: everything is durable. */
uint64_t engine_newest(const struct engine *e);
/* The open batch holds a durable change of it: answers that show the session wait for it (session_entry.pending). */
void session_pend(struct engine *e, struct session_entry *s);
/* Gives the open batch to the store, if that is idle and there is anything in it. */
void engine_flush(struct engine *e);

#endif
