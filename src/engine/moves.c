/* Tasks go from one session to another. */
#include "engine/moves.h"

#include "engine/batch.h"
#include "engine/change.h"
#include "engine/channel.h"
#include "engine/events.h"
#include "engine/gone.h"
#include "engine/residence.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/users.h"
#include "engine/wait.h"

#include "base/mem.h"

bool handover_due(const struct task *t) {
    return t->on_session_end == END_HANDOVER && (!task_is_ended(t) || !t->seen_at);
}

/* The tasks of a session in order, as a list that stands while they move. */
struct task_entry **session_tasks(struct session_entry *s, size_t *ret_count) {
    size_t n = 0;
    struct task_entry **all = mem_alloc((s->unfinished + s->ended) * sizeof(struct task_entry *)), *t;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        all[n++] = t;
    }
    *ret_count = n;
    return all;
}

void task_hand_over(struct engine *e, struct task_entry *t, struct session_entry *target) {
    t->t.handover_until = 0;
    if (task_is_ended(&t->t)) {
        t->t.expires_at = e->now + t->t.ttl_ms;
    }
    task_move_to(e, t, target);
}

void user_take_waiting(struct engine *e, struct user *u, struct session_entry *into) {
    user_step_stands_on(e, u); /* another one may have taken them a moment ago */
    for (size_t i = 0; i < u->count; i++) {
        struct session_entry *s = session_resident(e, u->sessions[i].id);
        if (!s || s == into || s->s.state != SESSION_ENDED) {
            continue;
        }
        size_t n;
        struct task_entry **all = session_tasks(s, &n);
        for (size_t k = 0; k < n; k++) {
            if (handover_due(&all[k]->t) && all[k]->t.handover_until > e->now) {
                task_hand_over(e, all[k], into);
            }
        }
        mem_free(all);
    }
}

void task_move_to(struct engine *e, struct task_entry *t, struct session_entry *to) {
    struct session_entry *from = t->s;
    struct buf gone = {0};
    session_keep_alive(e, from);
    uint32_t watch_gen = task_watch_gen(t) + 1;
    cmd_wake(e, &t->waiters); /* whoever waits may no longer see it, and has watched for the session that it leaves */
    gone_add(e, from, t->t.id, GONE_MOVED);
    gone_event(TAILQ_LAST(&from->gone, gone_list) ? TAILQ_LAST(&from->gone, gone_list)
                                                  : &(struct gone_entry){.seq = from->seq, .task = t->t.id, .reason = GONE_MOVED},
               &gone);
    channels_disconnect(e, &t->channels, from->pending, WATCHER_SESSION, DISCONNECT_ANY_GEN, DISCONNECT_FINISHED, "task", buf_view(&gone));
    channels_disconnect(e, &t->channels, from->pending, WATCHER_WATCH, DISCONNECT_ANY_GEN, DISCONNECT_DEAD, NULL, STR_NONE);
    buf_fini(&gone);
    feed_task_unlink(e, t);
    TAILQ_REMOVE(&from->by_version, t, by_version);
    TAILQ_REMOVE(&from->by_change, t, by_change);
    struct channel *ch;
    LIST_FOREACH (ch, &t->channels, of_object) {
        from->watchers -= ch->watchers;
        from->own -= ch->own;
        to->watchers += ch->watchers;
        to->own += ch->own;
    }
    TAILQ_INSERT_TAIL(&to->by_version, t, by_version);
    TAILQ_INSERT_TAIL(&to->by_change, t, by_change);
    task_count_out(t);
    t->s = to;
    task_count_in(t);
    t->t.session = to->s.id;
    t->t.watch_base = watch_gen - to->s.gen;
    session_pend(e, from);
    t->t.moved_seq = (to->seq > t->t.version ? to->seq : t->t.version) + 1;
    task_changed(e, t, LASTING);
    session_rearm(e, from);
    session_rearm(e, to);
}
