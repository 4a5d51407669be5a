/*
 * spool.h: bytes that wait, first in, first out. They wait in memory; only while nobody takes any (`away`) does what goes beyond a little of it go to a temporary
 * file that nobody else sees, and back into memory if that file is not to be had. Bounded: when there are too many the oldest are dropped and counted, so that
 * putting never waits and never fails.
 */
#ifndef BOWLINE_CLI_SPOOL_H
#define BOWLINE_CLI_SPOOL_H

#include "base/buf.h"

struct spool {
    uint64_t capacity;    /* bytes, in memory and in the file together */
    uint64_t memory_most; /* of these in memory while `away`, if there is a file */
    bool away;            /* set by the owner */

    uint64_t dropped;  /* bytes since the owner last set it to 0 */
    int dropped_errno; /* why the last of them were; 0: there were too many */
    bool dropped_away; /* was it `away` then? */
    int file_errno;    /* why a file cannot be used. The owner sets it to 0 to have it tried again */

    struct buf memory; /* older than what is in the file */
    size_t memory_at;  /* what lies before has been taken */
    int fd;            /* 0: not open */
    uint64_t head, tail;
};

/* Zero-initialise, and set capacity and memory_most. */
void spool_fini(struct spool *s);
static inline uint64_t spool_length(const struct spool *s) {
    return s->memory.len - s->memory_at + s->head - s->tail;
}
void spool_put(struct spool *s, struct str data);
/* Moves up to `most` bytes to the end of out. */
void spool_take(struct spool *s, size_t most, struct buf *out);
/* The folder of the file. */
const char *spool_folder(void);

#endif
