/* clocks.h: engine time, which is steady, and the wall clock; what a step of the wall clock means. */
#ifndef BOWLINE_ENGINE_CLOCKS_H
#define BOWLINE_ENGINE_CLOCKS_H

#include "base/clock.h"
#include "base/str.h"
#include "engine/state.h"

/* The time as it is from now on. Engine time never runs backwards; where the wall clock has stepped, what hangs on dates is armed anew. */
void clocks_at(struct engine *e, struct moment now);
/* At the start, once, before anything is loaded: written is the meta value "clock" of the run before, or none. */
void clocks_begin(struct engine *e, struct str written);
/* Puts the meta value into the open batch. */
void clocks_put(struct engine *e);
/* The same, if the one in the store is too old. To be called when a batch is about to be written anyway. */
void clocks_write(struct engine *e);
/* Rows that a clock which was ahead has dated are put back, with the open batch. To be called again if that batch fails. */
void clocks_put_rows_back(struct engine *e);

/* A time of the engine as people are shown it. */
static inline int64_t wall_of(const struct engine *e, int64_t at) {
    return at + e->apart;
}
/* The second in which it is, as it was read: `iat` is compared with nothing earlier. */
static inline int64_t wall_second(const struct engine *e) {
    int64_t wall = wall_of(e, e->now);
    return (e->wall_read > wall ? e->wall_read : wall) / 1000;
}
static inline struct moment now_of(const struct engine *e) {
    return (struct moment){.ms = e->now, .wall_ms = wall_of(e, e->now)};
}

#endif
