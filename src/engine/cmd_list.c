/* Lists: a page of rows from the store, each shown as it is in memory if it is there. */
#include "engine/internal.h"

#include "base/mem.h"

#include <assert.h>

static struct store_query *list_query(struct cmd *c, enum store_query_type type) {
    struct store_query *q = query_create(type, QUERY_CMD, NULL);
    q->limit = c->list.limit + 1; /* one more tells whether there is a next page */
    q->filter.after = c->list.after;
    q->filter.session = c->list.session;
    q->filter.user = c->list.user;
    q->filter.kind = c->list.kind;
    q->filter.queue = c->list.queue;
    q->filter.state = c->list.state;
    return q;
}

static void finish(struct engine *e, struct cmd *c, uint64_t needs, size_t rows, struct id last, enum id_kind kind) {
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
    cmd_answer(e, c, needs);
}

static bool ask(struct engine *e, struct cmd *c, enum store_query_type type) {
    if (!c->e.query) {
        cmd_query(e, c, list_query(c, type));
        return true;
    }
    if (c->e.query->result != STORE_OK) {
        cmd_refuse(e, c, 0, ERR_UNAVAILABLE, "The store cannot be read");
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
    session_put_back(&s, wall_of(e, e->now));
    session_write(&s, e->apart, STR_NONE, counts[0], counts[1], out);
    session_fini(&s);
}

void cmd_session_list(struct engine *e, struct cmd *c) {
    if (ask(e, c, STORE_LIST_SESSIONS)) {
        return;
    }
    struct store_query *q = c->e.query;
    struct buf *out = cmd_json(c, 200);
    uint64_t needs = 0;
    struct id last = {0};
    bool first = true;
    buf_puts(out, "{\"items\":[");
    for (size_t i = 0; i < q->session_count && i < c->list.limit; i++) {
        const struct session_row *row = &q->sessions[i];
        struct session_entry *s = session_resident(e, row->id);
        last = row->id;
        if (s && !session_shows(c, &s->s)) {
            needs = s->pending > needs ? s->pending : needs;
            continue;
        }
        buf_puts(out, first ? "" : ",");
        first = false;
        if (s) {
            session_write(&s->s, e->apart, STR_NONE, s->unfinished, s->ended, out);
            needs = s->pending > needs ? s->pending : needs;
        } else {
            write_session_row(e, row, q->task_counts[i], out);
        }
    }
    finish(e, c, needs, q->session_count, last, ID_SESSION);
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
    const struct store_query *q = c->e.query;
    for (size_t i = 0; i < q->task_count; i++) {
        if (!task_resident(e, q->tasks[i].id) && session_reloading(e, c, q->tasks[i].session)) {
            return true;
        }
    }
    return false;
}

void cmd_task_list(struct engine *e, struct cmd *c) {
    if (c->list.own_session) {
        struct session_entry *s;
        if (entitled_session(e, c, &s) != FOUND) {
            return;
        }
        c->list.session = s->s.id;
        s->unwatched_since = e->now;
    }
    if (ask(e, c, STORE_LIST_TASKS) || page_waits(e, c)) {
        return;
    }
    struct store_query *q = c->e.query;
    struct buf *out = cmd_json(c, 200);
    uint64_t needs = c->e.self ? c->e.self->pending : 0;
    struct id last = {0};
    bool first = true;
    buf_puts(out, "{\"items\":[");
    for (size_t i = 0; i < q->task_count && i < c->list.limit; i++) {
        const struct task_row *row = &q->tasks[i];
        struct task_entry *t = task_resident(e, row->id);
        struct session_entry *s = t ? t->s : session_resident(e, row->session);
        assert(s || !t);
        needs = s && s->pending > needs ? s->pending : needs;
        last = row->id;
        if ((t && !task_shows(c, t)) || (!t && s)) {
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
    finish(e, c, needs, q->task_count, last, ID_TASK);
}
