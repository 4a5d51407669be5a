/*
 * Two clocks. Engine time is steady: it never steps, not even from one run to the next, and all durations and timers are on it; it reads as Unix time
 * until the wall clock steps for the first time. The wall clock dates what people are shown and decides on what others have dated: JWTs, not_before,
 * deadlines. `apart` is what lies between the two. When it changes, the clock has stepped, and what hangs on it is armed anew; when the clock has gone back,
 * what lies in its future counts as now.
 *
 * Engine time goes on after a restart where the wall clock says that it would be, but never before a time that was written: a clock that was ahead then
 * makes nothing wait for it now. The meta value "clock" holds both and the highest time that the wall clock has had since it last went back.
 */
#include "engine/clocks.h"

#include "engine/batch.h"
#include "engine/change.h"
#include "engine/keys.h"
#include "engine/outbox.h"
#include "engine/queue.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/task_clocks.h"
#include "engine/writes.h"

#include "base/log.h"

#include <stdlib.h>

#define STEP_LEAST_MS 2 /* less is how exactly the two can be read together */
#define STEP_SAY_MS 1000
#define WRITE_MS 10000 /* how old the meta value may be when something is written */

/* ---- what is written ---- */

void clocks_put(struct engine *e) {
    struct buf *value = &e->scratch;
    buf_clear(value);
    buf_printf(value, "%lld %lld %lld", (long long) e->now, (long long) wall_of(e, e->now), (long long) e->wall_highest);
    struct store_op *op = batch_op_apart(e, STORE_PUT_META);
    op->name = STR("clock");
    op->data = batch_text(e, buf_view(value));
    e->clock_written = e->now;
    e->clock_written_highest = e->wall_highest;
}

/* With what is written anyway. */
void clocks_write(struct engine *e) {
    if (e->now >= e->clock_written + WRITE_MS || e->wall_highest >= e->clock_written_highest + WRITE_MS) {
        clocks_put(e);
    }
}

struct clock_mark {
    long long now, wall, highest;
};

static bool mark_read(struct str text, struct clock_mark *ret) {
    char copy[80];
    if (!text.p || text.len >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text.p, text.len);
    copy[text.len] = '\0';
    char *at = copy, *end;
    long long *const numbers[] = {&ret->now, &ret->wall, &ret->highest};
    for (size_t i = 0; i < 3; i++, at = end) {
        *numbers[i] = strtoll(at, &end, 10);
        if (end == at) {
            return false;
        }
    }
    return true;
}

/* ---- a clock that was ahead ---- */

/* What rows say of JWTs is put right in the store; until that is durable none is judged by them. Other dates in rows are only shown, and put right as they are read. */
void clocks_put_rows_back(struct engine *e) {
    struct store_op *op = batch_op(e, STORE_BOUND_JWT_FROM);
    op->number = (uint64_t) (wall_second(e) + 1);
    e->put_back = step_set(e);
    step_is_all(e);
}

static void put_back_session(struct engine *e, struct session_entry *s) {
    int64_t wall = wall_of(e, e->now);
    bool differs = session_put_back(&s->s, wall, 0);
    if (differs && !e->dead) {
        session_write_now(e, s);
        session_rearm(e, s);
    }
    struct task_entry *t, *next, *last = TAILQ_LAST(&s->by_version, task_list);
    for (t = TAILQ_FIRST(&s->by_version); t; t = next) { /* those that change go behind the last */
        next = t == last ? NULL : TAILQ_NEXT(t, by_version);
        if (task_put_back(&t->t, wall) && !e->dead) {
            task_changed(e, t, LASTING);
        }
    }
}

static void gone_back(struct engine *e, int64_t by_ms) {
    for (struct session_entry *s = e->sessions, *next; s; s = next) {
        next = s->hh.next;
        step_begin(e);
        put_back_session(e, s);
    }
    old_keys_put_back(e);
    if (by_ms >= STEP_SAY_MS && !e->dead) {
        clocks_put_rows_back(e);
    }
}

/* ---- steps ---- */

/* All that is armed for a date. */
static void arm_anew(struct engine *e) {
    for (struct task_entry *t = e->tasks; t; t = t->hh.next) {
        task_rearm(e, t);
    }
    for (struct queue *q = e->queues; q; q = q->hh.next) {
        queue_clock_stepped(e, q);
    }
    for (unsigned endpoint = 0; endpoint < e->config.endpoints; endpoint++) {
        engine_post(e, 0, endpoint, (struct message){.type = MESSAGE_CLOCK});
    }
}

static void stepped(struct engine *e, int64_t by_ms) {
    if (llabs(by_ms) >= STEP_SAY_MS) {
        log_warn("clock_stepped", "by_s=%lld.%03d", (long long) (by_ms / 1000), (int) (llabs(by_ms) % 1000));
    }
    e->apart += by_ms;
    int64_t back_ms = e->wall_highest - wall_of(e, e->now);
    if (back_ms > 0) {
        e->wall_highest -= back_ms;
        gone_back(e, back_ms);
    }
    if (!e->dead) {
        clocks_put(e);
    }
    arm_anew(e);
}

void clocks_at(struct engine *e, struct moment now) {
    int64_t at = now.ms + e->shift;
    e->now = at > e->now ? at : e->now;
    e->wall_read = now.wall_ms;
    int64_t by_ms = now.wall_ms - wall_of(e, e->now);
    if (e->clocks_begun && llabs(by_ms) > STEP_LEAST_MS) {
        stepped(e, by_ms);
    }
    int64_t wall = wall_of(e, e->now);
    e->wall_highest = wall > e->wall_highest ? wall : e->wall_highest;
}

void clocks_begin(struct engine *e, struct str written) {
    struct clock_mark mark;
    int64_t steady = e->now, wall = e->wall_read;
    bool known = mark_read(written, &mark);
    e->now = known ? wall - (mark.wall - mark.now) : wall;
    e->now = known && e->now < mark.now ? mark.now : e->now;
    e->apart = wall - e->now;
    e->wall_highest = wall;
    e->shift = e->now - steady;
    e->waits_end += e->waits_end == INT64_MAX ? 0 : e->shift;
    wheel_init(&e->wheel, e->now); /* nothing was armed before */
    e->clocks_begun = true;
    if (known && mark.highest > wall) {
        log_warn("clock_was_ahead", "by_s=%lld.%03d", (mark.highest - wall) / 1000, (int) ((mark.highest - wall) % 1000));
        clocks_put_rows_back(e);
    }
    clocks_put(e);
}
