/* arena.h: scratch memory that lives as long as its request. Zero-initialise; one thread at a time. */
#ifndef BOWLINE_BASE_ARENA_H
#define BOWLINE_BASE_ARENA_H

#include "base/str.h"

struct arena_block;
struct arena {
    struct arena_block *blocks, *spare;
};

/* Aligned to 16, zeroed. NULL when there is no memory. */
void *arena_alloc(struct arena *a, size_t bytes) MUST_CHECK;
/* The same, but not zeroed. */
void *arena_take(struct arena *a, size_t bytes) MUST_CHECK;
/* Copy of s with a NUL behind it; p == NULL when there is no memory or s is STR_NONE. */
struct str arena_str(struct arena *a, struct str s) MUST_CHECK;
void arena_reset(struct arena *a);               /* as arena_fini, but some of the memory is kept for what comes next */
void arena_rewind(struct arena *a, size_t most); /* as arena_fini, but that many bytes are kept for what comes next */
void arena_fini(struct arena *a);                /* frees everything; the arena can be used again */

#endif
