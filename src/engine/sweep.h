/* sweep.h: limits expiry deletions per batch. */
#ifndef BOWLINE_ENGINE_SWEEP_H
#define BOWLINE_ENGINE_SWEEP_H

#include "base/wheel.h"

#include <stddef.h>

struct batch;
struct engine;

#define SWEEP_TASK 4 /* rows, about */
#define SWEEP_SESSION(s) (2 + (s)->gone_count / 8)

bool sweep_may(struct engine *e, unsigned rows);          /* there is room in the open batch, and it is taken */
int64_t sweep_turn(struct engine *e, unsigned rows);      /* when to try again */
void sweep_mark(struct engine *e, size_t from);           /* the open batch's operations from there on are expiry */
void sweep_done(struct engine *e, const struct batch *b); /* it was committed */
void sweep_forget_soon(struct engine *e);                 /* there is something for STORE_FORGET */
timer_fn sweep_forget;                                    /* gives that to the store, and comes back by itself */

#endif
