/*
 * Every change of a task passes here: it takes its number, goes to the end of its session's feed, is counted, told to whoever watches or waits, put on the list of
 * what must be written, and has its clocks set anew.
 */
#include "engine/change.h"

#include "engine/channel.h"
#include "engine/clocks.h"
#include "engine/feed.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/queue.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/task_clocks.h"
#include "engine/wait.h"
#include "engine/writes.h"

#include <assert.h>

uint64_t session_number(struct engine *e, struct session_entry *s, uint64_t above) {
    uint64_t seq = (s->seq > above ? s->seq : above) + 1;
    s->seq = seq;
    if (seq > s->reserved_pending) {
        s->reserved_pending = seq + ENGINE_RESERVE;
        session_write_now(e, s);
    } else if (seq > s->reserved) {
        session_write_now(e, s); /* its reservation is not durable yet: nothing with this number leaves before it is */
    } else if (seq + ENGINE_RESERVE / 4 > s->reserved_pending) {
        s->reserved_pending += ENGINE_RESERVE;
        session_write_later(e, s);
    }
    return seq;
}

void task_count_in(struct task_entry *t) {
    struct session_entry *s = t->s;
    if (!t->counted_ended) {
        s->unfinished++;
        return;
    }
    const struct task_entry *last = TAILQ_LAST(&s->by_end, task_list);
    s->ends_mixed |= last && last->t.ended_at > t->t.ended_at;
    TAILQ_INSERT_TAIL(&s->by_end, t, by_end);
    s->ended++;
}

void task_count_out(struct task_entry *t) {
    if (t->counted_ended) {
        TAILQ_REMOVE(&t->s->by_end, t, by_end);
        t->s->ended--;
    } else {
        t->s->unfinished--;
    }
}

static void task_count(struct task_entry *t) {
    bool ended = task_is_ended(&t->t);
    if (ended != t->counted_ended) {
        assert(ended);
        task_count_out(t);
        t->counted_ended = true;
        task_count_in(t);
    }
}

void task_to_end(struct engine *e, struct task_entry *t, bool output_only) {
    feed_task_unlink(e, t);
    TAILQ_REMOVE(&t->s->by_version, t, by_version);
    TAILQ_INSERT_TAIL(&t->s->by_version, t, by_version);
    if (!output_only) {
        TAILQ_REMOVE(&t->s->by_change, t, by_change);
        TAILQ_INSERT_TAIL(&t->s->by_change, t, by_change);
    }
}

static void task_just_ended(struct engine *e, struct task_entry *t) {
    e->counts.ended[t->t.state]++;
    if (t->t.state == TASK_SUCCEEDED && t->t.started_at) {
        learn_task(e, t);
    }
    uint64_t needs = t->s->pending;
    channels_disconnect(e, &t->channels, needs, DISCONNECT_ANYBODY, DISCONNECT_ANY_GEN, DISCONNECT_FINISHED, NULL, STR_NONE);
}

void task_changed(struct engine *e, struct task_entry *t, enum how_lasting how) {
    struct session_entry *s = t->s;
    bool just_ended = task_is_ended(&t->t) && !t->counted_ended;
    if (just_ended) {
        session_keep_alive(e, s); /* it was perhaps the last one that did */
    }
    uint64_t seq = session_number(e, s, t->t.version);
    t->t.version = t->t.change_seq = seq;
    t->t.updated_at = wall_of(e, e->now);
    t->output_unshown = false;
    e->counts.changes++;
    t->eta_due = true;
    t->eta_at = e->now;
    if (how == LASTING) {
        task_write_now(e, t);
    } else {
        task_write_later(e, t);
    }
    task_to_end(e, t, false);
    task_count(t);
    feed_task_changed(e, t, false);
    cmd_wake(e, &t->waiters);
    queue_update(e, t);
    task_rearm(e, t);
    if (just_ended) {
        task_just_ended(e, t);
        session_rearm(e, s);
    }
}
