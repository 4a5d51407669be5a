/*
 * bare.h: the least that any server can do: a process that writes the same bytes to each of its sockets with one send() after the other. What a delivery costs there
 * is the kernel's price, and the measure for everybody else's.
 */
#ifndef BOWLINE_BENCH_BARE_H
#define BOWLINE_BENCH_BARE_H

#include "contender.h"

#include "base/buf.h"

struct bare {
    struct target target; /* to connect to; as soon as all sockets are there it sends */
    int orders;
};

/* Forks the sender. sample: what it sends, with a number of its own each time. */
void bare_start(struct bare *b, unsigned sockets, const struct sample *sample);
/* Once to everybody. */
void bare_send(struct bare *b, uint64_t number);
void bare_stop(struct bare *b);

/* The event with another number, always of the same length. whole: with the lines around the data. */
void sample_put(const struct sample *s, uint64_t number, bool whole, struct buf *out);

#endif
