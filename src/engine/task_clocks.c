/* One timer per task, set to whatever comes first. */
#include "engine/task_clocks.h"

#include "engine/change.h"
#include "engine/clocks.h"
#include "engine/limits.h"
#include "engine/output.h"
#include "engine/removal.h"
#include "engine/session_entry.h"
#include "engine/sets.h"
#include "engine/state.h"
#include "engine/sweep.h"

static int64_t unwatched_at(const struct task_entry *t) {
    if (t->t.cancel_unwatched_ms < 0 || task_is_ended(&t->t) || t->t.cancel_requested) {
        return 0;
    }
    int64_t since = t->unwatched_since > t->s->unwatched_since ? t->unwatched_since : t->s->unwatched_since;
    return since + t->t.cancel_unwatched_ms;
}

void task_cancel(struct engine *e, struct task_entry *t, struct str reason) {
    if (!task_is_ended(&t->t) && !t->t.cancel_requested) {
        task_cancel_request(&t->t, reason, now_of(e));
        t->t.cancel_version = (t->s->seq > t->t.version ? t->s->seq : t->t.version) + 1;
        task_changed(e, t, LASTING);
    }
}

/* One thing that happens by itself. False: the task is no more. */
static bool deadline_fires(struct engine *e, struct task_entry *t, enum task_clock clock) {
    switch (clock) {
    case CLOCK_STALLED:
        t->t.stalled = true;
        task_changed(e, t, PASSING);
        return true;
    case CLOCK_LEASE: task_attempt_over(&t->t, ATTEMPT_LOST, NULL, now_of(e)); break;
    case CLOCK_TIMEOUT: task_attempt_over(&t->t, ATTEMPT_TIMED_OUT, NULL, now_of(e)); break;
    case CLOCK_DEADLINE: task_fail(&t->t, STR("deadline"), STR("the task was not finished by its deadline"), STR_NONE, now_of(e)); break;
    case CLOCK_CANCEL_GRACE: task_cancelled(&t->t, now_of(e)); break;
    case CLOCK_EXPIRE: task_remove(e, t, GONE_EXPIRED); return false;
    case CLOCK_NONE: return true;
    }
    task_changed(e, t, LASTING);
    return true;
}

static void task_timer(struct timer *timer, int64_t now_ms, void *arg) {
    struct engine *e = arg;
    struct task_entry *t = (struct task_entry *) ((char *) timer - offsetof(struct task_entry, timer));
    int64_t at;
    if (e->dead) {
        return;
    }
    step_begin(e);
    for (int i = 0; i < 8; i++) {
        enum task_clock clock = task_next_clock(&t->t, e->o->cancel_grace, e->apart, &at);
        if (clock == CLOCK_NONE || at > now_ms) {
            break;
        }
        if (clock == CLOCK_EXPIRE && !sweep_may(e, SWEEP_TASK)) {
            wheel_set(&e->wheel, &t->timer, sweep_turn(e, SWEEP_TASK), task_timer);
            return;
        }
        if (!deadline_fires(e, t, clock)) {
            return;
        }
    }
    if (t->output_unshown && t->output_shown_at + ENGINE_OUTPUT_SHOW_MS <= now_ms) {
        task_show_output(e, t);
    }
    at = unwatched_at(t);
    if (at && at <= now_ms) {
        if (t->people || t->s->people) {
            t->unwatched_since = now_ms;
        } else {
            task_cancel(e, t, STR("unwatched"));
        }
    }
    task_rearm(e, t);
}

static void sooner(int64_t at, int64_t *best) {
    if (at && (!*best || at < *best)) {
        *best = at;
    }
}

void task_rearm(struct engine *e, struct task_entry *t) {
    int64_t at;
    task_next_clock(&t->t, e->o->cancel_grace, e->apart, &at);
    sooner(unwatched_at(t), &at);
    if (t->output_unshown) {
        sooner(t->output_shown_at + ENGINE_OUTPUT_SHOW_MS, &at);
    }
    if (at) {
        wheel_set(&e->wheel, &t->timer, at, task_timer);
    } else {
        wheel_cancel(&e->wheel, &t->timer);
    }
}
