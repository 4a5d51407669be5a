/* Invariants that span the engine's structures. Aborts on a broken one: for the simulation and for tests. */
#include "engine/batch.h"
#include "engine/channel.h"
#include "engine/clocks.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/queue.h"
#include "engine/quota.h"
#include "engine/session_entry.h"
#include "engine/state.h"

#include <assert.h>

/* How many watch its feed; *own of them with its session's credential. */
static unsigned check_task(const struct engine *e, const struct session_entry *s, const struct task_entry *t, unsigned *own, unsigned *waiting) {
    struct task_entry *again;
    HASH_FIND(hh, e->tasks, &t->t.id, sizeof(t->t.id), again);
    assert(again && again == t && t->s == s && id_eq(t->t.session, s->s.id)); /* exactly one session */
    assert(t->t.version <= s->seq && t->t.change_seq <= t->t.version);
    assert(t->counted_ended == task_is_ended(&t->t));
    assert((t->queue_at != 0) == (t->queue && t->t.state == TASK_QUEUED));
    assert(!t->queue_at || t->queue->heap[t->queue_at - 1] == t);
    assert(!t->queue || t->queue_running == task_has_worker(&t->t));
    assert(t->t.attempts_used <= t->t.max_attempts && t->t.attempts_used + t->t.given_back <= t->t.attempt);
    assert(!t->changed || (t->changed_at < t->changed->count && t->changed->at[t->changed_at] == t));
    struct channel *ch;
    unsigned people = 0, watchers = 0;
    LIST_FOREACH (ch, &t->channels, of_object) {
        assert(ch->t == t && ch->watchers > 0);
        people += ch->people;
        watchers += ch->watchers;
        *own += ch->own;
    }
    const struct cmd *c;
    TAILQ_FOREACH (c, &t->waiters, e.link) {
        assert(!c->e.watches || c->e.watches == t);
        people += c->e.watches != NULL;
        *waiting += c->e.watches && c->cred.kind != CRED_WATCH;
    }
    assert(t->people == people);
    return watchers;
}

/* No date lies ahead, and no duration began in the future. */
static void check_times(const struct engine *e, const struct session_entry *s) {
    int64_t wall = wall_of(e, e->now);
    const struct task_entry *t;
    assert(s->s.created_at <= wall && s->s.ended_at <= wall && s->s.jwt_from_s <= wall / 1000 + 2 + ENGINE_JWT_SKEW_S);
    assert(s->s.active_at <= e->now && s->s.rotated_at <= e->now && s->s.created_at - s->s.created_apart <= e->now);
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        assert(t->t.created_at <= wall && t->t.started_at <= wall && t->t.updated_at <= wall && t->t.ended_at <= wall && t->t.seen_at <= wall);
        assert(t->t.created_at - t->t.created_apart <= e->now && t->t.started_at - t->t.started_apart <= e->now && t->t.heard_at <= e->now);
        assert(t->t.ready_at <= e->now + TASK_BACKOFF_MAX_MS && t->t.expires_at <= e->now + t->t.ttl_ms);
    }
}

static void check_session(const struct engine *e, const struct session_entry *s) {
    struct task_entry *t;
    struct gone_entry *g;
    uint64_t last = 0, n = 0, ended = 0;
    unsigned watchers = 0, own = 0, people = 0, waiting = 0;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        assert(t->t.version > last);
        last = t->t.version;
        n++;
        ended += task_is_ended(&t->t);
        watchers += check_task(e, s, t, &own, &waiting);
    }
    assert(n == (uint64_t) s->unfinished + s->ended && ended == s->ended);
    last = 0;
    TAILQ_FOREACH (t, &s->by_change, by_change) {
        assert(t->t.change_seq > last);
        last = t->t.change_seq;
        n--;
    }
    assert(n == 0);
    int64_t end = 0;
    TAILQ_FOREACH (t, &s->by_end, by_end) {
        assert(t->s == s && task_is_ended(&t->t) && (s->ends_mixed || t->t.ended_at >= end));
        end = t->t.ended_at;
        ended--;
    }
    assert(ended == 0);
    bool soon = s->timer.at_ms && s->timer.at_ms <= e->now + ENGINE_SWEEP_MS;
    assert(soon || !session_over_quota(e, s) || s->ending || e->dead || e->state != ENGINE_SERVING);
    last = s->gone_floor;
    TAILQ_FOREACH (g, &s->gone, link) {
        assert(g->seq > last && g->seq <= s->seq);
        last = g->seq;
        n++;
    }
    assert(n == s->gone_count);
    assert(s->seq <= s->reserved_pending || s->pending > e->durable || s->seq == 0);
    assert(s->reserved <= s->reserved_pending || e->state >= ENGINE_SERVING);
    struct channel *ch;
    LIST_FOREACH (ch, &s->channels, of_object) {
        assert(ch->s == s && ch->watchers > 0 && ch->sent <= s->seq && !(ch->retired && ch->behind));
        watchers += ch->watchers;
        own += ch->own;
        people += ch->people;
    }
    assert(s->watchers == watchers && s->own == own && s->people == people && s->waiting == waiting);
}

static void check_changed(const struct changed_tasks *tasks) {
    size_t left = 0;
    for (size_t i = 0; i < tasks->count; i++) {
        const struct task_entry *t = tasks->at[i];
        assert(!t || (t->changed == tasks && t->changed_at == i));
        left += t != NULL;
    }
    assert(left == tasks->left);
}

void engine_check(const struct engine *e) {
    for (const struct session_entry *s = e->sessions; s; s = s->hh.next) {
        check_session(e, s);
        check_times(e, s);
    }
    for (const struct queue *q = e->queues; q; q = q->hh.next) {
        /* a claim does not sleep while there is something to be had */
        assert(TAILQ_EMPTY(&q->waiters) || q->count == 0 || q->timer.at_ms || !TAILQ_EMPTY(&e->ready) || e->dead);
        for (size_t i = 1; i < q->count; i++) {
            assert(queue_before(q->heap[(i - 1) / 2], q->heap[i]));
        }
    }
    check_changed(&e->immediate_tasks);
    check_changed(&e->deferred_tasks[0]);
    check_changed(&e->deferred_tasks[1]);
    assert(!e->inflight || e->inflight->b.number == set_batch(e->durable) + 1);
    assert(e->open->b.number > set_batch(e->durable));
}
