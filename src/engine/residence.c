/*
 * Which sessions are in memory. A session with its tasks is there as a whole or not at all: loaded by one query when a command needs it (which waits), let go when
 * nobody watches and nothing in it is unfinished.
 */
#include "engine/residence.h"

#include "engine/change.h"
#include "engine/channel.h"
#include "engine/keys.h"
#include "engine/limits.h"
#include "engine/queue.h"
#include "engine/quota.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/users.h"
#include "engine/wait.h"
#include "engine/writes.h"

#include "base/mem.h"

void task_entry_free(struct engine *e, struct task_entry *t) {
    struct session_entry *s = t->s;
    feed_task_unlink(e, t);
    TAILQ_REMOVE(&s->by_version, t, by_version);
    TAILQ_REMOVE(&s->by_change, t, by_change);
    task_count_out(t);
    while (!LIST_EMPTY(&t->channels)) {
        struct channel *ch = LIST_FIRST(&t->channels);
        LIST_REMOVE(ch, of_object);
        s->watchers -= ch->watchers;
        s->own -= ch->own;
        ch->t = NULL;
        e->detached++;
    }
    queue_leave(e, t);
    cmd_wake(e, &t->waiters);
    task_written(t);
    wheel_cancel(&e->wheel, &t->timer);
    HASH_DELETE(hh, e->tasks, t);
    e->found = e->found == t ? NULL : e->found;
    task_fini(&t->t);
    mem_free(t);
}

struct session_entry *session_resident(struct engine *e, struct id id) {
    struct session_entry *s;
    HASH_FIND(hh, e->sessions, &id, sizeof(id), s);
    return s;
}

struct task_entry *task_resident(struct engine *e, struct id id) {
    struct task_entry *t = e->found;
    if (!t || !id_eq(t->t.id, id)) {
        HASH_FIND(hh, e->tasks, &id, sizeof(id), t);
        e->found = t;
    }
    return t;
}

/* ---- letting go ---- */

void session_drop(struct engine *e, struct session_entry *s) {
    while (!TAILQ_EMPTY(&s->by_version)) {
        task_entry_free(e, TAILQ_FIRST(&s->by_version));
    }
    while (!TAILQ_EMPTY(&s->gone)) {
        struct gone_entry *g = TAILQ_FIRST(&s->gone);
        TAILQ_REMOVE(&s->gone, g, link);
        mem_free(g);
    }
    while (!LIST_EMPTY(&s->channels)) {
        struct channel *ch = LIST_FIRST(&s->channels);
        LIST_REMOVE(ch, of_object);
        ch->s = NULL;
        ch->at = NULL;
        e->detached++;
    }
    session_written(e, s);
    wheel_cancel(&e->wheel, &s->timer);
    session_unkey(e, s);
    user_forget_session(e, s);
    HASH_DELETE(hh, e->sessions, s);
    session_fini(&s->s);
    mem_free(s);
}

static bool session_is_needed(const struct engine *e, const struct session_entry *s) {
    return s->watchers || s->unfinished || s->touched > e->durable || s->write != WRITE_NONE || !LIST_EMPTY(&s->channels) || s->ending ||
           session_over_quota(e, s) || jwt_ahead_s(e, s) || s->used_at + ENGINE_EVICT_MS > e->now;
}

void session_maybe_evict(struct engine *e, struct session_entry *s) {
    if (e->state != ENGINE_SERVING || e->dead || session_is_needed(e, s)) {
        return;
    }
    struct task_entry *t;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        if (t->changed || !TAILQ_EMPTY(&t->waiters) || !LIST_EMPTY(&t->channels)) {
            return;
        }
    }
    if (s->seq != s->reserved_pending || s->s.active_at != s->active_written) {
        s->reserved_pending = s->seq; /* exact numbers and times, then it goes */
        session_write_now(e, s);
        return;
    }
    e->counts.evictions++;
    session_drop(e, s);
}

struct session_entry *session_entry_create(struct engine *e, struct session *s) {
    struct session_entry *se = mem_alloc(sizeof(*se));
    se->s = *s;
    TAILQ_INIT(&se->by_version);
    TAILQ_INIT(&se->by_change);
    TAILQ_INIT(&se->by_end);
    TAILQ_INIT(&se->gone);
    LIST_INIT(&se->channels);
    se->used_at = e->now;
    se->unwatched_since = e->now;
    HASH_ADD(hh, e->sessions, s.id, sizeof(se->s.id), se);
    if (se->s.has_key && se->s.state == SESSION_ACTIVE) {
        HASH_ADD(hh_key, e->sessions_by_key, s.key_hash, sizeof(se->s.key_hash), se);
    }
    return se;
}

struct task_entry *task_entry_create(struct engine *e, struct session_entry *s, struct task *t) {
    struct task_entry *te = mem_alloc(sizeof(*te));
    te->t = *t;
    te->s = s;
    TAILQ_INIT(&te->waiters);
    LIST_INIT(&te->channels);
    te->unwatched_since = e->now;
    TAILQ_INSERT_TAIL(&s->by_version, te, by_version);
    TAILQ_INSERT_TAIL(&s->by_change, te, by_change);
    te->counted_ended = task_is_ended(t);
    task_count_in(te);
    HASH_ADD(hh, e->tasks, t.id, sizeof(te->t.id), te);
    return te;
}
