/* tombstones.h: tasks that are gone, kept here until the store knows: then it is asked. */
#ifndef BOWLINE_ENGINE_TOMBSTONES_H
#define BOWLINE_ENGINE_TOMBSTONES_H

#include "base/hash.h"
#include "store/store.h"

struct engine;
struct task_entry;

/* A task that is gone, until the set that says so is durable. */
struct tombstone {
    struct tombstone_row row;
    char *kind;
    uint64_t set;
    UT_hash_handle hh;
};

void tombstone_put(struct engine *e, struct task_entry *t); /* here and into the open batch */
void tombstones_durable(struct engine *e, uint64_t upto);   /* up to this set, and those that failed; UINT64_MAX: all are let go */

#endif
