/* measure.h: the measurements. Each prints its rows and returns; faults decide whether they count. */
#ifndef BOWLINE_BENCH_MEASURE_H
#define BOWLINE_BENCH_MEASURE_H

#include "tool.h"

void measure_life(const struct plan *p);
void measure_latency(const struct plan *p);
void measure_idle(const struct plan *p);
void measure_fanout(const struct plan *p);
void measure_unicast(const struct plan *p);
void measure_bulk(const struct plan *p);
void measure_storm(const struct plan *p);
void measure_sweep(const struct plan *p);

#endif
