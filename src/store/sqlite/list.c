/*
 * Lists, newest first. Few filters have an index of their own: each index would cost every write, and lists are for people. So a list looks at a slice of
 * rows at a time, keeps those that pass, and lets other queries have their turn between slices.
 */
#include "store/sqlite/db.h"

#include "store/rows.h"

#define SLICE_ROWS 1000

/* The upper bound of a list that begins at the newest: longer than any id, and so behind all of them. */
static const char list_top[17] = {'\xff', '\xff', '\xff', '\xff', '\xff', '\xff', '\xff', '\xff', '\xff',
                                  '\xff', '\xff', '\xff', '\xff', '\xff', '\xff', '\xff', '\xff'};

static void list_bind_place(struct binder *b, const struct id *at) {
    if (id_is_none(*at)) {
        bind_blob(b, str_n(list_top, sizeof(list_top)));
    } else {
        bind_id(b, at);
    }
    bind_i64(b, SLICE_ROWS);
}

/* Takes the id that the present row begins with. */
static void list_move(sqlite3_stmt *st, struct id *at) {
    struct columns c = {.st = st};
    *at = column_id(&c);
}

/* How a slice ended: by an error, with the list full or at its end, or with more to look at. */
static int list_slice_end(int rc, size_t looked_at, bool full) {
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return rc;
    }
    return full || looked_at < SLICE_ROWS ? SQLITE_DONE : READ_MORE;
}

int read_task_counts(struct reader *r, const struct id *session, uint32_t ret_counts[2]) {
    struct binder b = bind_start(r->st[READ_COUNTS]);
    bind_id(&b, session);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    if (rc != SQLITE_ROW) {
        return rc;
    }
    ret_counts[0] = (uint32_t) sqlite3_column_int64(b.st, 0);
    ret_counts[1] = (uint32_t) sqlite3_column_int64(b.st, 1);
    return SQLITE_DONE;
}

static int list_count_tasks(struct reader *r, struct store_query *q) {
    q->task_counts = arena_alloc(&q->arena, q->session_count * sizeof(*q->task_counts));
    int rc = q->task_counts ? SQLITE_DONE : SQLITE_NOMEM;
    for (size_t i = 0; i < q->session_count && rc == SQLITE_DONE; i++) {
        rc = read_task_counts(r, &q->sessions[i].id, q->task_counts[i]);
    }
    return rc;
}

#define SESSION_COLUMN_STATE 1
#define SESSION_COLUMN_USER 6

static int list_sessions_slice(struct reader *r, struct store_query *q, struct id *at) {
    struct binder b = bind_start(r->st[q->filter.user.p ? READ_LIST_SESSIONS_USER : READ_LIST_SESSIONS]);
    if (q->filter.user.p) {
        bind_text(&b, q->filter.user);
    }
    struct id from = *at;
    list_bind_place(&b, &from);
    int rc = b.rc == SQLITE_OK ? SQLITE_ROW : b.rc;
    size_t looked_at = 0;
    while (q->session_count < q->limit && rc == SQLITE_ROW && (rc = sqlite3_step(b.st)) == SQLITE_ROW) {
        looked_at++;
        list_move(b.st, at);
        if (q->filter.state < 0 || q->filter.state == sqlite3_column_int(b.st, SESSION_COLUMN_STATE)) {
            struct session_row *row = rows_push(&q->arena, q->sessions, q->session_count);
            rc = row && column_session(b.st, &q->arena, row) ? rc : SQLITE_NOMEM;
        }
    }
    return list_slice_end(rc, looked_at, q->session_count >= q->limit);
}

int read_list_sessions(struct reader *r, struct store_query *q, struct id *at) {
    if (id_is_none(*at)) {
        *at = q->filter.after;
    }
    int rc = list_sessions_slice(r, q, at);
    return rc == SQLITE_DONE ? list_count_tasks(r, q) : rc;
}

#define TASK_COLUMN_STATE 2
#define TASK_COLUMN_KIND 5
#define TASK_COLUMN_QUEUE 6

static bool list_task_passes(const struct store_query *q, sqlite3_stmt *st) {
    return (q->filter.state < 0 || q->filter.state == sqlite3_column_int(st, TASK_COLUMN_STATE)) &&
           (!q->filter.kind.p || column_is(st, TASK_COLUMN_KIND, q->filter.kind)) &&
           (!q->filter.queue.p || column_is(st, TASK_COLUMN_QUEUE, q->filter.queue));
}

static struct binder list_tasks_bind(struct reader *r, const struct store_query *q, const struct id *at) {
    struct binder b;
    if (!id_is_none(q->filter.session)) {
        b = bind_start(r->st[READ_LIST_TASKS_SESSION]);
        bind_id(&b, &q->filter.session);
    } else if (q->filter.user.p) {
        b = bind_start(r->st[READ_LIST_TASKS_USER]);
        bind_text(&b, q->filter.user);
    } else {
        b = bind_start(r->st[READ_LIST_TASKS]);
    }
    list_bind_place(&b, at);
    return b;
}

static int list_tasks_slice(struct reader *r, struct store_query *q, struct id *at) {
    struct id from = *at;
    struct binder b = list_tasks_bind(r, q, &from);
    int rc = b.rc == SQLITE_OK ? SQLITE_ROW : b.rc;
    size_t looked_at = 0;
    while (q->task_count < q->limit && rc == SQLITE_ROW && (rc = sqlite3_step(b.st)) == SQLITE_ROW) {
        looked_at++;
        list_move(b.st, at);
        if (list_task_passes(q, b.st)) {
            int found = read_task(r, b.st, q);
            rc = found == SQLITE_DONE ? rc : found;
        }
    }
    return list_slice_end(rc, looked_at, q->task_count >= q->limit);
}

/* Whether the session that the list is about has the user that the list is about. */
static int list_session_has_user(struct reader *r, const struct store_query *q, bool *ret_has) {
    struct binder b = bind_start(r->st[READ_SESSION]);
    bind_id(&b, &q->filter.session);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    *ret_has = rc == SQLITE_ROW && column_is(b.st, SESSION_COLUMN_USER, q->filter.user);
    return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

int read_list_tasks(struct reader *r, struct store_query *q, struct id *at) {
    bool listed = true;
    int rc = SQLITE_DONE;
    if (!id_is_none(q->filter.session) && q->filter.user.p) {
        rc = list_session_has_user(r, q, &listed);
    }
    if (rc != SQLITE_DONE || !listed) {
        return rc;
    }
    if (id_is_none(*at)) {
        *at = q->filter.after;
    }
    return list_tasks_slice(r, q, at);
}
