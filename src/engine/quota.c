/* Sessions that hold more tasks than they may. */
#include "engine/quota.h"

#include "engine/removal.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/sweep.h"

#include "base/mem.h"

#include <stdlib.h>

bool session_over_quota(const struct engine *e, const struct session_entry *s) {
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

void session_evict_ended(struct engine *e, struct session_entry *s) {
    if (s->ends_mixed && session_over_quota(e, s)) {
        sort_ends(s);
    }
    while (session_over_quota(e, s) && sweep_may(e, SWEEP_TASK)) {
        task_remove(e, TAILQ_FIRST(&s->by_end), GONE_EXPIRED);
    }
}
