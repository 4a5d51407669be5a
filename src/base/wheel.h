/*
 * wheel.h: timers. A hierarchical wheel (Varghese and Lauck, 1987) of 1 ms ticks: arming, moving and cancelling are O(1).
 * The clock is passed in. One thread. A timer is embedded in its owner and not pending when zeroed.
 */
#ifndef BOWLINE_BASE_WHEEL_H
#define BOWLINE_BASE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct timer;
typedef void timer_fn(struct timer *t, int64_t now_ms, void *arg);

struct timer {
    LIST_ENTRY(timer) link;
    int64_t at_ms; /* 0: not pending */
    timer_fn *fn;
};
LIST_HEAD(timer_list, timer);

#define WHEEL_BITS 8
#define WHEEL_SLOTS (1 << WHEEL_BITS)
#define WHEEL_LEVELS 5 /* 2^40 ms: 34 years; what lies further is cascaded again */

struct wheel {
    int64_t now_ms;
    uint64_t pending;
    uint64_t used[WHEEL_LEVELS][WHEEL_SLOTS / 64];
    struct timer_list slot[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, int64_t now_ms);
/* Arms or moves t to fire fn at at_ms (or at the next tick when that has passed). */
void wheel_set(struct wheel *w, struct timer *t, int64_t at_ms, timer_fn *fn);
void wheel_cancel(struct wheel *w, struct timer *t); /* accepts one that is not pending */
/* Fires what is due up to now_ms, at most max timers; true when more is due. A timer is not pending while its fn runs. */
bool wheel_run(struct wheel *w, int64_t now_ms, unsigned max, void *arg);
/* When wheel_run should be called next: at or before the first timer; INT64_MAX with none pending. */
int64_t wheel_next(const struct wheel *w);

#endif
