/*
 * Every change of a task passes here: it takes its number, goes to the end of its session's feed, is counted, told to whoever watches or waits, put on the list of
 * what must be written, and has its clocks set anew.
 */
#include "engine/internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

uint64_t session_number(struct engine *e, struct session_entry *s, uint64_t above) {
    uint64_t seq = (s->seq > above ? s->seq : above) + 1;
    s->seq = seq;
    if (seq > s->reserved_pending) {
        s->reserved_pending = seq + ENGINE_RESERVE;
        session_dirty(e, s);
    } else if (seq > s->reserved) {
        session_dirty(e, s); /* its reservation is not durable yet: nothing with this number leaves before it is */
    } else if (seq + ENGINE_RESERVE / 4 > s->reserved_pending) {
        s->reserved_pending += ENGINE_RESERVE;
        session_soft(e, s);
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

void task_count(struct task_entry *t) {
    bool ended = task_is_ended(&t->t);
    if (ended != t->counted_ended) {
        assert(ended);
        task_count_out(t);
        t->counted_ended = true;
        task_count_in(t);
    }
}

static void to_the_end(struct engine *e, struct task_entry *t, bool output_only) {
    feed_task_unlink(e, t);
    TAILQ_REMOVE(&t->s->by_version, t, by_version);
    TAILQ_INSERT_TAIL(&t->s->by_version, t, by_version);
    if (!output_only) {
        TAILQ_REMOVE(&t->s->by_change, t, by_change);
        TAILQ_INSERT_TAIL(&t->s->by_change, t, by_change);
    }
}

bool session_is_crowded(const struct engine *e, const struct session_entry *s) {
    return !TAILQ_EMPTY(&s->by_end) && (int64_t) s->unfinished + s->ended > e->o->max_tasks_per_session;
}

static int by_ended_at(const void *a, const void *b) {
    const struct task_entry *x = *(struct task_entry *const *) a, *y = *(struct task_entry *const *) b;
    return x->t.ended_at != y->t.ended_at ? (x->t.ended_at > y->t.ended_at) - (x->t.ended_at < y->t.ended_at) : id_cmp(x->t.id, y->t.id);
}

static void sort_ends(struct session_entry *s) {
    struct task_entry **all = mem_alloc(s->ended * sizeof(struct task_entry *)), *t;
    size_t n = 0;
    TAILQ_FOREACH (t, &s->by_end, by_end) {
        all[n++] = t;
    }
    qsort(all, n, sizeof(struct task_entry *), by_ended_at);
    TAILQ_INIT(&s->by_end);
    for (size_t i = 0; i < n; i++) {
        TAILQ_INSERT_TAIL(&s->by_end, all[i], by_end);
    }
    mem_free(all);
    s->ends_mixed = false;
}

void session_thin_out(struct engine *e, struct session_entry *s) {
    if (s->ends_mixed && session_is_crowded(e, s)) {
        sort_ends(s);
    }
    while (session_is_crowded(e, s) && sweep_may(e, SWEEP_TASK)) {
        task_remove(e, TAILQ_FIRST(&s->by_end), GONE_EXPIRED);
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
        task_dirty(e, t);
    } else {
        task_soft(e, t);
    }
    to_the_end(e, t, false);
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

/* ---- output ---- */

/* On feeds without output, output shows as a change of the task at most once a second. */
static void show_output(struct engine *e, struct task_entry *t) {
    t->output_shown_at = e->now;
    t->output_unshown = false;
    t->t.version = session_number(e, t->s, t->t.version);
    to_the_end(e, t, true);
    task_dirty(e, t);
    feed_task_changed(e, t, true);
    cmd_wake(e, &t->waiters);
}

static void trim_output(struct engine *e, struct task_entry *t) {
    uint64_t most = (uint64_t) e->o->max_output_per_task;
    if (t->t.output_bytes - t->t.output_first > most) {
        t->t.output_first = t->t.output_bytes - most;
        struct store_op *op = batch_op(e, STORE_TRIM_OUTPUT);
        op->id = t->t.id;
        op->number = t->t.output_first;
    }
}

void task_output(struct engine *e, struct task_entry *t, struct str data) {
    while (data.len) {
        struct str piece = str_n(data.p, data.len < ENGINE_OUTPUT_NUMBER ? data.len : ENGINE_OUTPUT_NUMBER);
        uint64_t seq = session_number(e, t->s, t->t.version);
        struct store_op *op = batch_op(e, STORE_ADD_OUTPUT);
        op->row.output = (struct output_row){.task = t->t.id, .offset = t->t.output_bytes, .seq = seq, .data = batch_text(e, piece)};
        t->t.version = t->t.output_seq = seq;
        t->t.output_bytes += piece.len;
        task_dirty(e, t);
        feed_output(e, t, seq, t->t.output_bytes - piece.len, piece);
        data = str_from(data, piece.len);
    }
    t->t.updated_at = wall_of(e, e->now);
    trim_output(e, t);
    to_the_end(e, t, true);
    cmd_wake(e, &t->waiters);
    if (e->now - t->output_shown_at >= ENGINE_OUTPUT_SHOW_MS) {
        show_output(e, t);
    } else {
        t->output_unshown = true;
    }
    task_rearm(e, t);
}

/* ---- clocks ---- */

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
static bool clock_strikes(struct engine *e, struct task_entry *t, enum task_clock clock) {
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
    for (int i = 0; i < 8; i++) {
        enum task_clock clock = task_next_clock(&t->t, e->o->cancel_grace, e->apart, &at);
        if (clock == CLOCK_NONE || at > now_ms) {
            break;
        }
        if (clock == CLOCK_EXPIRE && !sweep_may(e, SWEEP_TASK)) {
            wheel_set(&e->wheel, &t->timer, sweep_turn(e, SWEEP_TASK), task_timer);
            return;
        }
        if (!clock_strikes(e, t, clock)) {
            return;
        }
    }
    if (t->output_unshown && t->output_shown_at + ENGINE_OUTPUT_SHOW_MS <= now_ms) {
        show_output(e, t);
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

/* ---- leaving ---- */

static bool gone_is_over(const struct engine *e, const struct session_entry *s) {
    return s->gone_count && (s->gone_count > e->o->max_gone_per_session || TAILQ_FIRST(&s->gone)->at + e->o->tombstone_ttl <= e->now);
}

void gone_trim(struct engine *e, struct session_entry *s) {
    if (e->dead || !gone_is_over(e, s)) {
        return;
    }
    while (gone_is_over(e, s)) {
        struct gone_entry *g = TAILQ_FIRST(&s->gone);
        s->gone_floor = g->seq; /* cursors before it cannot be told any more */
        TAILQ_REMOVE(&s->gone, g, link);
        s->gone_count--;
        mem_free(g);
    }
    feed_gone_forgotten(e, s, s->gone_floor);
    struct store_op *op = batch_op(e, STORE_DELETE_GONE);
    op->id = s->s.id;
    op->number = s->gone_floor;
    session_dirty(e, s);
}

void gone_add(struct engine *e, struct session_entry *s, struct id task, enum gone_reason reason) {
    struct gone_entry *g = mem_alloc(sizeof(*g));
    *g = (struct gone_entry){.seq = session_number(e, s, 0), .task = task, .reason = reason, .at = e->now};
    TAILQ_INSERT_TAIL(&s->gone, g, link);
    s->gone_count++;
    session_pend(e, s);
    struct store_op *op = batch_op(e, STORE_PUT_GONE);
    op->row.gone = (struct gone_row){.session = s->s.id, .seq = g->seq, .task = task, .reason = (uint8_t) reason, .at = g->at};
    feed_gone(e, s, g);
    gone_trim(e, s);
}

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
    entry_clean_task(t);
    wheel_cancel(&e->wheel, &t->timer);
    HASH_DELETE(hh, e->tasks, t);
    e->found = e->found == t ? NULL : e->found;
    task_fini(&t->t);
    mem_free(t);
}

static void tombstone_put(struct engine *e, struct task_entry *t) {
    struct tombstone *dead = mem_alloc(sizeof(*dead));
    dead->kind = mem_strdup(str_of(t->t.kind));
    dead->batch = e->open->b.number;
    dead->row = (struct tombstone_row){.task = t->t.id,
                                       .session = t->t.session,
                                       .watch_gen = task_watch_gen(t),
                                       .attempt = t->t.attempt,
                                       .kind = str_of(dead->kind),
                                       .state = (uint8_t) t->t.state,
                                       .ended_at = t->t.ended_at,
                                       .gone_at = e->now};
    HASH_ADD(hh, e->tombstones, row.task, sizeof(dead->row.task), dead);
    struct store_op *op = batch_op(e, STORE_PUT_TOMBSTONE);
    op->row.tombstone = dead->row;
    op->row.tombstone.kind = batch_text(e, dead->row.kind);
}

void tombstones_durable(struct engine *e, uint64_t batch) {
    struct tombstone *dead, *next;
    HASH_ITER (hh, e->tombstones, dead, next) {
        if (dead->batch <= batch) {
            look_up_missed(e, LOOK_TASK, &dead->row.task, sizeof(dead->row.task));
            HASH_DELETE(hh, e->tombstones, dead);
            mem_free(dead->kind);
            mem_free(dead);
        }
    }
}

void tombstones_drop_pending(struct engine *e) {
    tombstones_durable(e, UINT64_MAX);
}

void task_remove(struct engine *e, struct task_entry *t, enum gone_reason reason) {
    struct session_entry *s = t->s;
    size_t ops = e->open->b.count;
    tombstone_put(e, t);
    gone_add(e, s, t->t.id, reason);
    progress_row_drop(e, t);
    struct store_op *op = batch_op(e, STORE_DELETE_TASK);
    op->id = t->t.id;
    uint64_t output = t->t.output_bytes - t->t.output_first; /* perhaps byte by byte: that many rows */
    if (t->t.input_bytes + t->t.result_bytes + output > ENGINE_SWEEP_LARGE || output > ENGINE_SWEEP_LARGE / 16) {
        op->number = 1;
        sweep_forget_soon(e);
    }
    if (reason == GONE_EXPIRED) {
        sweep_mark(e, ops);
    }
    session_pend(e, s);
    feed_task_removed(e, t);
    task_entry_free(e, t);
    if (s->s.state == SESSION_ENDED) {
        session_dirty(e, s); /* when it may be forgotten has changed */
        session_rearm(e, s);
    }
}
