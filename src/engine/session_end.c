/* The end of a session. */
#include "engine/session_end.h"

#include "engine/channel.h"
#include "engine/clocks.h"
#include "engine/keys.h"
#include "engine/look_up.h"
#include "engine/moves.h"
#include "engine/rows.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/task_clocks.h"
#include "engine/users.h"
#include "engine/wait.h"
#include "engine/writes.h"

#include "base/mem.h"

#include <assert.h>

void session_wake_waiters(struct engine *e, struct session_entry *s) {
    struct task_entry *t;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        cmd_wake(e, &t->waiters);
    }
}

enum step session_end_prepare(struct engine *e, struct cmd *c, struct session_entry *s, struct session_entry **ret_target) {
    struct task_entry *t;
    bool any = false;
    *ret_target = NULL;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        any |= handover_due(&t->t);
    }
    struct user *u;
    if (!any || !s->s.user) {
        return GO_ON;
    }
    if (find_user(e, c, str_of(s->s.user), &u) == PARKED) {
        return WAITS;
    }
    struct user_session *us;
    while ((us = user_pick(e, u, s->s.id, false))) {
        enum found f = find_session(e, c, us->id, ret_target);
        if (f != ABSENT) {
            return f == FOUND ? GO_ON : WAITS;
        }
        us->ended = true; /* it is no more */
    }
    return GO_ON;
}

static void treat_task(struct engine *e, struct task_entry *t, struct session_entry *target) {
    if (handover_due(&t->t) && t->s->s.user) {
        if (target) {
            task_hand_over(e, t, target);
        } else {
            t->t.handover_until = e->now + e->o->handover_wait;
            task_write_now(e, t);
            if (t->s->user) {
                user_step_stands_on(e, t->s->user); /* were one of the others active after all, it would wait for nobody */
            }
        }
    } else if (t->t.on_session_end == END_CANCEL) {
        task_cancel(e, t, STR("session-ended"));
    }
}

void session_end(struct engine *e, struct session_entry *s, enum end_reason reason, struct session_entry *target) {
    size_t n;
    struct task_entry **all = session_tasks(s, &n);
    assert(s->s.state == SESSION_ACTIVE);
    channels_catch_up(e, s);
    for (size_t i = 0; i < n; i++) {
        treat_task(e, all[i], target);
    }
    mem_free(all);
    session_old_key(e, s, false);
    session_unkey(e, s);
    s->s.state = SESSION_ENDED;
    s->s.reason = reason;
    s->s.ended_at = wall_of(e, e->now);
    s->s.ended_apart = e->apart;
    s->ending = false;
    session_row_put(e, s); /* ahead of whoever gets its key in the same batch */
    if (s->user) {
        user_session_of(s->user, s->s.id)->ended = true;
    }
    session_write_now(e, s);
    session_disconnect(e, s, DISCONNECT_ANYBODY, DISCONNECT_ANY_GEN, DISCONNECT_FINISHED, "ended", end_reason_name(reason));
    channels_finish(s);
    session_wake_waiters(e, s);
    session_rearm(e, s);
}
