/*
 * What is to be written: two lists of tasks and sessions, those that are written with the next batch, and those that may wait a little. Tasks lie in arrays, so that
 * what comes next is known before it is looked at.
 */
#include "engine/writes.h"

#include "engine/batch.h"
#include "engine/clocks.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/residence.h"
#include "engine/rows.h"
#include "engine/session_entry.h"
#include "engine/sets.h"
#include "engine/state.h"

#include "base/mem.h"
#include "base/fetch.h"

static void changed_take(struct task_entry *t) {
    if (t->changed) {
        t->changed->at[t->changed_at] = NULL;
        t->changed->left--;
        t->changed = NULL;
    }
}

static void changed_put(struct changed_tasks *tasks, struct task_entry *t) {
    tasks->count = tasks->left ? tasks->count : 0;
    if (tasks->count == tasks->cap) {
        tasks->cap = tasks->cap ? tasks->cap * 2 : 64;
        tasks->at = mem_resize(tasks->at, tasks->cap * sizeof(struct task_entry *));
    }
    t->changed = tasks;
    t->changed_at = tasks->count;
    tasks->at[tasks->count++] = t;
    tasks->left++;
}

void task_write_now(struct engine *e, struct task_entry *t) {
    if (t->changed != &e->immediate_tasks) {
        changed_take(t);
        changed_put(&e->immediate_tasks, t);
    }
    t->row_stale = true;
    session_pend(e, t->s);
}

void session_write_now(struct engine *e, struct session_entry *s) {
    if (s->write == WRITE_DEFERRED) {
        TAILQ_REMOVE(&e->deferred_sessions, s, of_write);
    }
    if (s->write != WRITE_IMMEDIATE) {
        s->write = WRITE_IMMEDIATE;
        TAILQ_INSERT_TAIL(&e->immediate_sessions, s, of_write);
    }
    session_pend(e, s);
}

/* What became due before is nearly always written by now, and then the tasks need not be looked at. */
void writes_defer_no_more(struct engine *e) {
    struct changed_tasks *due = &e->deferred_tasks[!e->deferred_side];
    for (size_t i = 0; due->left; i++) {
        struct task_entry *t = due->at[i];
        if (t) {
            changed_take(t);
            changed_put(&e->immediate_tasks, t);
        }
    }
    e->deferred_side = !e->deferred_side;
    while (!TAILQ_EMPTY(&e->deferred_sessions)) {
        struct session_entry *s = TAILQ_FIRST(&e->deferred_sessions);
        TAILQ_REMOVE(&e->deferred_sessions, s, of_write);
        s->write = WRITE_IMMEDIATE;
        TAILQ_INSERT_TAIL(&e->immediate_sessions, s, of_write);
    }
}

static void deferred_is_due(struct timer *t, int64_t now_ms, void *arg) {
    (void) t, (void) now_ms;
    writes_defer_no_more(arg);
}

void task_write_later(struct engine *e, struct task_entry *t) {
    if (!t->changed) {
        changed_put(&e->deferred_tasks[e->deferred_side], t);
        if (!e->deferred_timer.at_ms) {
            wheel_set(&e->wheel, &e->deferred_timer, e->now + ENGINE_DEFER_MS, deferred_is_due);
        }
    }
}

void session_write_later(struct engine *e, struct session_entry *s) {
    if (s->write == WRITE_NONE) {
        s->write = WRITE_DEFERRED;
        TAILQ_INSERT_TAIL(&e->deferred_sessions, s, of_write);
        if (!e->deferred_timer.at_ms) {
            wheel_set(&e->wheel, &e->deferred_timer, e->now + ENGINE_DEFER_MS, deferred_is_due);
        }
    }
}

void task_written(struct task_entry *t) {
    changed_take(t);
    t->row_stale = false;
}

void session_written(struct engine *e, struct session_entry *s) {
    if (s->write == WRITE_DEFERRED) {
        TAILQ_REMOVE(&e->deferred_sessions, s, of_write);
    } else if (s->write == WRITE_IMMEDIATE) {
        TAILQ_REMOVE(&e->immediate_sessions, s, of_write);
    }
    s->write = WRITE_NONE;
}

#define PREFETCH_APART 3 /* tasks between the two steps in which one is fetched */

/* What the rows of those behind it will need. */
static void rows_prefetch(const struct changed_tasks *tasks, size_t i) {
    const struct task_entry *next = i + PREFETCH_APART < tasks->count ? tasks->at[i + PREFETCH_APART] : NULL;
    const struct task_entry *later = i + 2 * (size_t) PREFETCH_APART < tasks->count ? tasks->at[i + 2 * (size_t) PREFETCH_APART] : NULL;
    if (later) {
        size_t from = offsetof(struct task_entry, t.updated_at), upto = offsetof(struct task_entry, t.cancel_requested);
        fetch_ahead(later, FETCH_LINE);
        fetch_ahead((const char *) later + from, upto - from);
        fetch_ahead(&later->s, FETCH_LINE + 1);
    }
    if (next) {
        fetch_ahead(&next->s->pending, 1);
        fetch_ahead(next->t.progress.unit, 1);
        fetch_ahead(next->t.progress.message, 1);
        fetch_ahead(next->t.progress.phase, 1);
        fetch_ahead(next->t.progress.data, 1);
    }
}

static void write_tasks(struct engine *e, struct changed_tasks *tasks) {
    for (size_t i = 0; tasks->left; i++) {
        struct task_entry *t = tasks->at[i];
        rows_prefetch(tasks, i);
        if (!t) {
            continue;
        }
        step_begin(e);
        step_session(e, t->s); /* progress: nothing waits for it */
        task_row_put(e, t);
        task_written(t);
    }
}

void writes_put(struct engine *e) {
    uint32_t pended = e->open->sets.count;
    clocks_write(e);
    kinds_write(e);
    write_tasks(e, &e->immediate_tasks);
    write_tasks(e, &e->deferred_tasks[!e->deferred_side]);
    while (!TAILQ_EMPTY(&e->immediate_sessions)) {
        struct session_entry *s = TAILQ_FIRST(&e->immediate_sessions);
        step_begin(e);
        step_session(e, s);
        session_row_put(e, s);
        e->open->sets.list[set_at(s->touched)].reserved = s->reserved_written;
        session_written(e, s);
    }
    for (uint32_t i = 0; i < pended; i++) { /* they may have left memory */
        struct change_set *set = &e->open->sets.list[i];
        struct session_entry *s = id_is_none(set->session) ? NULL : session_resident(e, set->session);
        set->reserved = s ? s->reserved_written : 0;
    }
}
