/* Lists: a page of rows from the store, each shown as it is in memory if it is there. */
#include "engine/cmd_list.h"

#include "engine/answer.h"
#include "engine/auth.h"
#include "engine/clocks.h"
#include "engine/events.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/load.h"
#include "engine/look_up.h"
#include "engine/needs.h"
#include "engine/query.h"
#include "engine/queue.h"
#include "engine/residence.h"
#include "engine/rows.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/users.h"

#include "base/mem.h"

#include <assert.h>

static struct store_query *list_query(const struct cmd *c, enum store_query_type type) {
    struct store_query *q = query_create(type, QUERY_CMD, NULL);
    const struct list_args *l = &c->list;
    size_t limit = l->limit + 1; /* one more tells whether there is a next page */
    if (type == STORE_LIST_SESSIONS) {
        q->ask.list_sessions.limit = limit;
        q->ask.list_sessions.after = l->after;
        q->ask.list_sessions.user = l->user;
        q->ask.list_sessions.state = l->state;
    } else {
        q->ask.list_tasks.limit = limit;
        q->ask.list_tasks.after = l->after;
        q->ask.list_tasks.session = l->session;
        q->ask.list_tasks.user = l->user;
        q->ask.list_tasks.kind = l->kind;
        q->ask.list_tasks.queue = l->queue;
        q->ask.list_tasks.state = l->state;
    }
    return q;
}

static void finish(struct engine *e, struct cmd *c, size_t rows, struct id last, enum id_kind kind) {
    struct buf *out = &c->answer.body;
    buf_puts(out, "],\"next\":");
    if (rows > c->list.limit) {
        char id[ID_TEXT_LEN + 1];
        id_format(last, kind, id);
        buf_json_str(out, str_n(id, ID_TEXT_LEN));
    } else {
        buf_puts(out, "null");
    }
    buf_char(out, '}');
    cmd_answer(e, c);
}

static bool ask(struct engine *e, struct cmd *c, enum store_query_type type) {
    if (!c->e.query) {
        cmd_query(e, c, list_query(c, type));
        return true;
    }
    if (c->e.query->result != STORE_OK) {
        cmd_refuse(e, c, ERR_UNAVAILABLE, "The store cannot be read");
        return true;
    }
    return false;
}

static bool session_shows(const struct cmd *c, const struct session *s) {
    return (c->list.state < 0 || (int) s->state == c->list.state) && (!c->list.user.p || (s->user && str_eqz(c->list.user, s->user)));
}

static void write_session_row(const struct engine *e, const struct session_row *row, const uint32_t counts[2], struct buf *out) {
    struct session s = {.id = row->id,
                        .state = (enum session_state) row->state,
                        .reason = (enum end_reason) row->reason,
                        .user = mem_strdup(row->user),
                        .metadata = mem_strdup(row->metadata),
                        .created_at = row->created_at,
                        .created_apart = row->created_apart,
                        .ended_at = row->ended_at,
                        .active_at = row->active_at,
                        .idle_timeout_ms = row->idle_timeout,
                        .max_age_ms = row->max_age};
    session_bound(&s, e->now);
    session_put_back(&s, wall_of(e, e->now), ENGINE_JWT_SKEW_S);
    session_write(&s, e->apart, STR_NONE, counts[0], counts[1], out);
    session_fini(&s);
}

void cmd_session_list(struct engine *e, struct cmd *c) {
    if (ask(e, c, STORE_LIST_SESSIONS)) {
        return;
    }
    const struct session_rows *rows = &c->e.query->answer.list_sessions.sessions;
    struct buf *out = cmd_json(c, 200);
    struct id last = {0};
    bool first = true;
    buf_puts(out, "{\"items\":[");
    for (size_t i = 0; i < rows->count && i < c->list.limit; i++) {
        const struct session_row *row = &rows->list[i];
        struct session_entry *s = session_resident(e, row->id);
        last = row->id;
        if (s) {
            needs_session(e, c, s); /* also where it is not shown */
        }
        if (s && !session_shows(c, &s->s)) {
            continue;
        }
        buf_puts(out, first ? "" : ",");
        first = false;
        if (s) {
            session_write(&s->s, e->apart, STR_NONE, s->unfinished, s->ended, out);
        } else {
            write_session_row(e, row, c->e.query->answer.list_sessions.task_counts[i], out);
        }
    }
    finish(e, c, rows->count, last, ID_SESSION);
}

static bool task_shows(const struct cmd *c, const struct task_entry *t) {
    const struct list_args *l = &c->list;
    return (l->state < 0 || (int) t->t.state == l->state) && (!l->kind.p || str_eqz(l->kind, t->t.kind)) &&
           (!l->queue.p || (t->t.queue && str_eqz(l->queue, t->t.queue))) && (id_is_none(l->session) || id_eq(l->session, t->t.session)) &&
           (!l->user.p || (t->s->s.user && str_eqz(l->user, t->s->s.user)));
}

static void write_task_row(const struct engine *e, const struct task_row *row, struct buf *out) {
    struct task t;
    if (task_of_row(row, &t) == 0) {
        task_bound(&t, e->now);
        task_put_back(&t, wall_of(e, e->now));
        task_write(&t, e->apart, false, out);
    } else {
        buf_puts(out, "null");
    }
    task_fini(&t);
}

/* Rows of sessions that were thrown away may be older than what was shown of them: the page waits until they are back. */
static bool page_waits(struct engine *e, struct cmd *c) {
    const struct task_rows *rows = &c->e.query->answer.list_tasks;
    for (size_t i = 0; i < rows->count; i++) {
        if (!task_resident(e, rows->list[i].id) && session_reloading(e, c, rows->list[i].session)) {
            return true;
        }
    }
    return false;
}

void cmd_task_list(struct engine *e, struct cmd *c) {
    if (c->list.own_session) {
        struct session_entry *s;
        if (entitled_session(e, c, &s) != GO_ON) {
            return;
        }
        c->list.session = s->s.id;
        s->unwatched_since = e->now;
    }
    if (ask(e, c, STORE_LIST_TASKS) || page_waits(e, c)) {
        return;
    }
    const struct task_rows *rows = &c->e.query->answer.list_tasks;
    struct buf *out = cmd_json(c, 200);
    struct id last = {0};
    bool first = true;
    buf_puts(out, "{\"items\":[");
    for (size_t i = 0; i < rows->count && i < c->list.limit; i++) {
        const struct task_row *row = &rows->list[i];
        struct task_entry *t = task_resident(e, row->id);
        struct session_entry *s = t ? t->s : session_resident(e, row->session);
        assert(s || !t);
        if (s) {
            needs_session(e, c, s);
        }
        last = row->id;
        if ((t && !task_shows(c, t)) || (!t && (s || task_removed_lately(e, c, row->id)))) {
            continue; /* it has changed, moved or gone since the page was read */
        }
        buf_puts(out, first ? "" : ",");
        first = false;
        if (t) {
            task_entry_write(e, t, false, out);
        } else {
            write_task_row(e, row, out);
        }
    }
    finish(e, c, rows->count, last, ID_TASK);
}
