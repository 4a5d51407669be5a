/*
 * memory.h: the store for tests. Keeps rows in memory, hands back on memory_store_step only, and on demand is nasty: fails a batch
 * (as disk full) or single sets of it, dies (as a failed fsync), forgets everything that was not committed (a crash), and answers queries late.
 */
#ifndef BOWLINE_TESTS_STORE_MEMORY_H
#define BOWLINE_TESTS_STORE_MEMORY_H

#include "store/store.h"

struct store *memory_store_create(struct store_sink sink);
/* Hands back at most one batch or query; order of queries relative to batches by the bits of `dice`. False when nothing is under way. */
bool memory_store_step(struct store *s, uint32_t dice);
/* The next batch comes back with this result (once). */
void memory_store_fail_next(struct store *s, enum store_result result);
/* Of the next batch that has several sets (once) about every third set fails, as these dice fall, and the others are applied in an order of their own. 0: none does. */
void memory_store_fail_sets(struct store *s, uint32_t dice);
/*
 * As if the machine had stopped: batches and queries under way are never handed back (a batch under way is committed as a whole, or some of its sets are, or none, by `dice`);
 * they are freed with `drop`. The committed rows stay for the next engine.
 */
void memory_store_crash(struct store *s, uint32_t dice, void (*drop_batch)(struct store_batch *), void (*drop_query)(struct store_query *));
/* Whether each committed row of progress stands in the slot of an unfinished task whose it is, and no two tasks have the same slot: the engine leaves nothing else. */
bool memory_store_is_tidy(struct store *s);
/* Another engine takes over the committed rows. */
void memory_store_set_sink(struct store *s, struct store_sink sink);

#endif
