#include "base/wheel.h"

#include <assert.h>
#include <string.h>

/*
 * Level l has slots of 2^(8l) ms. A timer goes to the lowest level that reaches it, and when the clock enters a slot of a higher
 * level, its timers move down. A slot of level 0 holds timers of one tick only. `used` has a bit for each slot that is not
 * empty, so the clock jumps over idle time. Slots come round: the one at the clock's own position stands for a full turn ahead, except
 * on level 0, where it holds what is due and has not been fired yet.
 */

#define SLOT_MASK (WHEEL_SLOTS - 1)
#define LEVEL_SHIFT(level) (WHEEL_BITS * (unsigned) (level))
#define WHEEL_SPAN ((int64_t) 1 << LEVEL_SHIFT(WHEEL_LEVELS))

void wheel_init(struct wheel *w, int64_t now_ms) {
    memset(w, 0, sizeof(*w));
    w->now_ms = now_ms;
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        for (int i = 0; i < WHEEL_SLOTS; i++) {
            LIST_INIT(&w->slot[level][i]);
        }
    }
}

static void wheel_mark_empty(struct wheel *w, unsigned level, unsigned i) {
    w->used[level][i / 64] &= ~((uint64_t) 1 << (i % 64));
}

static void wheel_insert(struct wheel *w, struct timer *t) {
    int64_t ahead = t->at_ms - w->now_ms;
    int64_t at = ahead < WHEEL_SPAN ? t->at_ms : w->now_ms + WHEEL_SPAN - 1;
    unsigned level = 0;
    while (level + 1 < WHEEL_LEVELS && ahead >> LEVEL_SHIFT(level + 1)) {
        level++;
    }
    unsigned i = (unsigned) (at >> LEVEL_SHIFT(level)) & SLOT_MASK;
    LIST_INSERT_HEAD(&w->slot[level][i], t, link);
    w->used[level][i / 64] |= (uint64_t) 1 << (i % 64);
}

/* Takes t out of its slot. The only timer of a slot points back at the slot's head, which tells which slot has become empty. */
static void wheel_remove(struct wheel *w, struct timer *t) {
    uintptr_t back = (uintptr_t) t->link.le_prev, first = (uintptr_t) &w->slot[0][0];
    bool only = !t->link.le_next && back >= first && back < first + sizeof(w->slot);
    LIST_REMOVE(t, link);
    if (only) {
        unsigned n = (unsigned) ((back - first) / sizeof(struct timer_list));
        wheel_mark_empty(w, n / WHEEL_SLOTS, n % WHEEL_SLOTS);
    }
}

void wheel_cancel(struct wheel *w, struct timer *t) {
    if (t->at_ms) {
        wheel_remove(w, t);
        t->at_ms = 0;
        w->pending--;
    }
}

void wheel_set(struct wheel *w, struct timer *t, int64_t at_ms, timer_fn *fn) {
    at_ms = at_ms > w->now_ms ? at_ms : w->now_ms + 1;
    if (t->at_ms == at_ms && t->fn == fn) {
        return;
    }
    wheel_cancel(w, t);
    t->at_ms = at_ms;
    t->fn = fn;
    wheel_insert(w, t);
    w->pending++;
}

/* How many slots lie between i and the first used one behind it (1 to WHEEL_SLOTS), or 0 with none used. */
static unsigned wheel_distance(const uint64_t used[WHEEL_SLOTS / 64], unsigned i) {
    for (unsigned d = 1; d <= WHEEL_SLOTS;) {
        unsigned at = (i + d) & SLOT_MASK;
        uint64_t word = used[at / 64] >> (at % 64);
        if (word) {
            d += (unsigned) __builtin_ctzll(word);
            return d <= WHEEL_SLOTS ? d : 0;
        }
        d += 64 - at % 64;
    }
    return 0;
}

/* The first tick after now at which a slot in use begins. */
static int64_t wheel_next_slot(const struct wheel *w) {
    int64_t next = INT64_MAX;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        int64_t at = w->now_ms >> LEVEL_SHIFT(level);
        unsigned d = wheel_distance(w->used[level], (unsigned) at & SLOT_MASK);
        if (d) {
            int64_t begins = (int64_t) ((uint64_t) (at + d) << LEVEL_SHIFT(level));
            next = begins < next ? begins : next;
        }
    }
    return next;
}

int64_t wheel_next(const struct wheel *w) {
    if (w->pending == 0) {
        return INT64_MAX;
    }
    return LIST_EMPTY(&w->slot[0][w->now_ms & SLOT_MASK]) ? wheel_next_slot(w) : w->now_ms;
}

/* The clock has entered a new slot of this level: its timers move down. */
static void wheel_cascade(struct wheel *w, unsigned level) {
    unsigned i = (unsigned) (w->now_ms >> LEVEL_SHIFT(level)) & SLOT_MASK;
    struct timer *t = LIST_FIRST(&w->slot[level][i]);
    LIST_INIT(&w->slot[level][i]);
    wheel_mark_empty(w, level, i);
    while (t) {
        struct timer *next = LIST_NEXT(t, link);
        wheel_insert(w, t);
        t = next;
    }
}

static void wheel_enter(struct wheel *w, int64_t tick) {
    w->now_ms = tick;
    for (unsigned level = WHEEL_LEVELS - 1; level > 0; level--) {
        if ((tick & (((int64_t) 1 << LEVEL_SHIFT(level)) - 1)) == 0) {
            wheel_cascade(w, level);
        }
    }
}

/* Fires what is due at the wheel's own tick; false when max was used up before all had been. */
static bool wheel_fire(struct wheel *w, int64_t now_ms, unsigned *max, void *arg) {
    struct timer_list *due = &w->slot[0][w->now_ms & SLOT_MASK];
    struct timer *t;
    while ((t = LIST_FIRST(due)) != NULL) {
        assert(t->at_ms == w->now_ms);
        if (*max == 0) {
            return false;
        }
        --*max;
        wheel_cancel(w, t);
        t->fn(t, now_ms, arg);
    }
    return true;
}

bool wheel_run(struct wheel *w, int64_t now_ms, unsigned max, void *arg) {
    while (wheel_fire(w, now_ms, &max, arg)) {
        int64_t next = wheel_next_slot(w);
        if (next > now_ms) {
            w->now_ms = w->now_ms > now_ms ? w->now_ms : now_ms;
            return false;
        }
        wheel_enter(w, next);
    }
    return true;
}
