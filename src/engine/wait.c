/* Commands that wait. */
#include "engine/wait.h"

#include "engine/auth.h"
#include "engine/kinds.h"
#include "engine/queue.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"

#include <assert.h>

void cmd_park(struct cmd *c, struct cmd_list *list) {
    assert(!c->e.list);
    c->e.list = list;
    TAILQ_INSERT_TAIL(list, c, e.link);
}

/* It watched as long as it waited. */
static void watch_is_over(struct engine *e, struct cmd *c) {
    struct task_entry *t = c->e.watches;
    c->e.watches = NULL;
    t->people--;
    t->unwatched_since = e->now;
    if (c->cred.kind != CRED_WATCH) {
        session_keep_alive(e, t->s);
        t->s->waiting--;
    }
}

void cmd_unpark(struct engine *e, struct cmd *c) {
    if (c->e.watches) {
        watch_is_over(e, c);
    }
    if (c->e.list) {
        TAILQ_REMOVE(c->e.list, c, e.link);
        c->e.list = NULL;
    }
}

void cmd_wake(struct engine *e, struct cmd_list *list) {
    while (!TAILQ_EMPTY(list)) {
        struct cmd *c = TAILQ_FIRST(list);
        cmd_unpark(e, c);
        cmd_park(c, &e->ready);
    }
}

static void cmd_time_is_up(struct timer *t, int64_t now_ms, void *arg) {
    struct engine *e = arg;
    struct cmd *c = (struct cmd *) ((char *) t - offsetof(struct cmd, e.timer));
    (void) now_ms;
    c->e.timed_out = true;
    if (c->e.list) { /* else it waits for the store, and finds out then */
        cmd_unpark(e, c);
        cmd_park(c, &e->ready);
    }
}

enum step cmd_wait(struct engine *e, struct cmd *c, struct cmd_list *list) {
    if (c->head || c->wait_ms <= 0 || c->e.timed_out || e->now >= e->waits_end) {
        return GO_ON;
    }
    if (!c->e.timer.at_ms) {
        int64_t at = e->now + c->wait_ms;
        wheel_set(&e->wheel, &c->e.timer, at < e->waits_end ? at : e->waits_end, cmd_time_is_up);
    }
    cmd_park(c, list);
    return WAITS;
}

enum step cmd_wait_watching(struct engine *e, struct cmd *c, struct task_entry *t) {
    enum step step = cmd_wait(e, c, &t->waiters);
    if (step == WAITS && cred_is_person(c)) {
        c->e.watches = t;
        t->people++;
        t->s->waiting += c->cred.kind != CRED_WATCH;
    }
    return step;
}

static void waits_end(struct engine *e, struct cmd_list *list) {
    struct cmd *c;
    TAILQ_FOREACH (c, list, e.link) {
        if (c->e.timer.at_ms > e->waits_end) {
            wheel_set(&e->wheel, &c->e.timer, e->waits_end, cmd_time_is_up);
        }
    }
}

void engine_end_waits(struct engine *e, int64_t at_ms) {
    e->waits_end = at_ms + e->shift;
    for (struct task_entry *t = e->tasks; t; t = t->hh.next) {
        waits_end(e, &t->waiters);
    }
    for (struct queue *q = e->queues; q; q = q->hh.next) {
        waits_end(e, &q->waiters);
    }
}
