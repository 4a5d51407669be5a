/*
 * spool.h: bytes that wait, first in, first out, in a temporary file that nobody else sees. Bounded: when it is full the oldest are dropped and counted, so that
 * putting never waits and never fails.
 */
#ifndef BOWLINE_CLI_SPOOL_H
#define BOWLINE_CLI_SPOOL_H

#include "base/buf.h"

struct spool {
    uint64_t capacity; /* bytes */
    uint64_t dropped;  /* bytes since the owner last set it to 0 */

    int fd; /* 0: not open yet */
    uint64_t head, tail;
};

/* Zero-initialise, and set the capacity. */
void spool_fini(struct spool *s);
static inline uint64_t spool_length(const struct spool *s) {
    return s->head - s->tail;
}
void spool_put(struct spool *s, struct str data);
/* Moves up to `most` bytes to the end of out. */
void spool_take(struct spool *s, size_t most, struct buf *out);

#endif
