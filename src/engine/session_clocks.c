/* One timer per session: its end, its being forgotten, its leaving memory. */
#include "engine/session_clocks.h"

#include "engine/batch.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/quota.h"
#include "engine/residence.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/sweep.h"
#include "engine/wait.h"
#include "engine/writes.h"

void session_touch(struct engine *e, struct session_entry *s, bool explicit_touch) {
    s->used_at = e->now;
    if (s->s.state != SESSION_ACTIVE || s->s.active_at == e->now) {
        return;
    }
    s->s.active_at = e->now; /* the timer finds out when it fires */
    if (explicit_touch || e->now - s->active_written >= s->s.idle_timeout_ms / 16) {
        session_write_later(e, s);
    }
}

static void end_by_itself(struct engine *e, struct session_entry *s, enum end_reason reason) {
    struct cmd *c = cmd_create(CMD_SESSION_END, 0);
    if (c) {
        s->ending = true;
        c->cred.kind = CRED_KEY;
        c->cred.roles = ROLE_BACKEND;
        c->cred.name = STR("server");
        c->session = s->s.id;
        c->e.internal = true;
        c->e.reason = (int) reason;
        cmd_park(c, &e->ready);
    }
}

static void session_forget(struct engine *e, struct session_entry *s) {
    struct store_op *op = batch_op(e, STORE_DELETE_SESSION);
    op->id = s->s.id;
    sweep_mark(e, e->open->b.count - 1);
    session_pend(e, s);
    session_drop(e, s);
}

void session_keep_alive(struct engine *e, struct session_entry *s) {
    bool watched = s->own || s->waiting;
    bool counts = e->o->watching_keeps_alive == WHEN_ALWAYS || (e->o->watching_keeps_alive == WHEN_UNFINISHED && s->unfinished);
    if (watched && counts) {
        session_touch(e, s, false);
    }
}

static void session_timer(struct timer *t, int64_t now_ms, void *arg) {
    struct engine *e = arg;
    struct session_entry *s = (struct session_entry *) ((char *) t - offsetof(struct session_entry, timer));
    enum end_reason reason;
    if (e->dead || e->state > ENGINE_SERVING) {
        return;
    }
    if (e->state < ENGINE_SERVING) { /* its time came while the server was down: once all are loaded */
        session_rearm(e, s);
        return;
    }
    step_begin(e);
    session_evict_ended(e, s);
    if (s->s.state == SESSION_ACTIVE) {
        session_keep_alive(e, s);
        int64_t at = session_expires_at(&s->s, &reason);
        if (at && at <= now_ms && !s->ending) {
            end_by_itself(e, s, reason);
            return;
        }
    } else {
        int64_t due = session_due_at(e, s);
        if (due && due <= now_ms && s->pending <= e->durable && !s->watchers) {
            if (sweep_may(e, SWEEP_SESSION(s))) {
                session_forget(e, s);
            } else {
                wheel_set(&e->wheel, &s->timer, sweep_turn(e, SWEEP_SESSION(s)), session_timer);
            }
            return;
        }
    }
    struct id id = s->s.id;
    session_maybe_evict(e, s);
    s = session_resident(e, id);
    if (s) {
        session_rearm(e, s);
    }
}

void session_rearm(struct engine *e, struct session_entry *s) {
    int64_t at = session_due_at(e, s);
    int64_t look = s->used_at + ENGINE_EVICT_MS;
    if (look <= e->now) {
        look = e->now + ENGINE_EVICT_MS; /* something keeps it: look again later */
    }
    if (at && at <= e->now) {
        at = s->ending ? 0 : e->now + 1; /* not in this pass again */
    }
    if (!at || look < at) {
        at = look;
    }
    if (session_over_quota(e, s)) {
        if (s->timer.at_ms && s->timer.at_ms <= e->now + ENGINE_SWEEP_MS) {
            return; /* soon anyway: what ends in it again and again does not put that off */
        }
        at = e->now + ENGINE_SWEEP_MS;
    }
    wheel_set(&e->wheel, &s->timer, at, session_timer);
}

int64_t session_due_at(const struct engine *e, const struct session_entry *s) {
    if (s->s.state == SESSION_ACTIVE) {
        return session_expires_at(&s->s, NULL);
    }
    return s->unfinished + s->ended ? 0 : session_ended_ms(&s->s) + e->o->ended_session_ttl;
}
