/* due.h: sessions that are not in memory and in which something is due are found and loaded; their timers do the rest. */
#ifndef BOWLINE_ENGINE_DUE_H
#define BOWLINE_ENGINE_DUE_H

#include "base/wheel.h"

struct engine;
struct store_query;

timer_fn due_look;                                       /* asks the store, and comes back by itself */
void due_found(struct engine *e, struct store_query *q); /* what it found; the query stays the caller's */
void sessions_load_due(struct engine *e);                /* the next of them, as many as may be on their way at a time */

#endif
