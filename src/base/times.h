/* times.h: how long something took, each time, as a histogram for /metrics. One thread. */
#ifndef BOWLINE_BASE_TIMES_H
#define BOWLINE_BASE_TIMES_H

#include "base/buf.h"

#include <stdint.h>

#define TIMES_STEPS 8

struct times { /* zeroed at first */
    uint64_t count[TIMES_STEPS + 1];
    int64_t sum_us, longest_us;
};

void times_add(struct times *t, int64_t us);
/* A histogram bowline_NAME_seconds and a gauge bowline_NAME_longest_seconds, as OpenMetrics text. */
void times_write(const struct times *t, const char *name, const char *help, struct buf *out);

#endif
