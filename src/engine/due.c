/* What is due in sessions that are not in memory. */
#include "engine/due.h"

#include "engine/limits.h"
#include "engine/load.h"
#include "engine/query.h"
#include "engine/residence.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/sweep.h"
#include "engine/writes.h"

void sessions_load_due(struct engine *e) {
    bool now = e->state == ENGINE_SERVING && !e->dead && e->sweep_turn <= e->now + ENGINE_DUE_AHEAD_MS;
    while (now && e->due_at < e->due_count && e->due_loads < ENGINE_DUE_LOADS) {
        struct id id = e->due[e->due_at++];
        if (!session_resident(e, id)) { /* its timers do the rest */
            struct load *l = load_begin(e, LOOK_SESSION, &id, sizeof(id), true);
            e->due_loads += !l->due;
            l->due = true;
        }
    }
}

void due_look(struct timer *t, int64_t now_ms, void *arg) {
    struct engine *e = arg;
    sessions_load_due(e);
    if (!e->due_under_way && e->due_at == e->due_count && e->state == ENGINE_SERVING && !e->dead) {
        struct store_query *q = query_create(STORE_DUE, QUERY_DUE, NULL);
        q->ask.due.now = now_ms;
        q->ask.due.limit = ENGINE_DUE_LIMIT;
        e->due_under_way = true;
        query_send(e, q);
    }
    wheel_set(&e->wheel, t, now_ms + ENGINE_DUE_MS, due_look);
}

/* Something in the session is due; `itself`: its own end, or that it is forgotten. */
static void due_session(struct engine *e, struct id id, bool itself, int64_t at) {
    struct session_entry *s = session_resident(e, id);
    if (!s) {
        e->due[e->due_count++] = id;
    } else if (itself && s->due_written && s->due_written <= at) {
        session_write_later(e, s);
    }
}

void due_found(struct engine *e, struct store_query *q) {
    const struct id_list *sessions = &q->answer.due.sessions, *of_tasks = &q->answer.due.task_sessions;
    e->due_under_way = false;
    if (sessions->count == ENGINE_DUE_LIMIT || of_tasks->count == ENGINE_DUE_LIMIT) {
        wheel_set(&e->wheel, &e->due_timer, e->now + ENGINE_DUE_MORE_MS, due_look); /* there is more */
    }
    e->due_at = e->due_count = 0;
    for (size_t i = 0; i < sessions->count; i++) {
        due_session(e, sessions->list[i], true, q->ask.due.now);
    }
    for (size_t i = 0; i < of_tasks->count; i++) {
        due_session(e, of_tasks->list[i], false, q->ask.due.now);
    }
    sessions_load_due(e);
}
