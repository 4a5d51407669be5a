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
    const struct session_rows *sessions = &q->answer.list_sessions.sessions;
    uint32_t(*counts)[2] = arena_alloc(&q->arena, sessions->count * sizeof(*counts));
    q->answer.list_sessions.task_counts = counts;
    int rc = counts ? SQLITE_DONE : SQLITE_NOMEM;
    for (size_t i = 0; i < sessions->count && rc == SQLITE_DONE; i++) {
        rc = read_task_counts(r, &sessions->list[i].id, counts[i]);
    }
    return rc;
}

#define SESSION_COLUMN_STATE 1
#define SESSION_COLUMN_USER 6

static int list_sessions_slice(struct reader *r, struct store_query *q, struct id *at) {
    struct session_rows *rows = &q->answer.list_sessions.sessions;
    struct str user = q->ask.list_sessions.user;
    size_t limit = q->ask.list_sessions.limit;
    int state = q->ask.list_sessions.state;
    struct binder b = bind_start(r->st[user.p ? READ_LIST_SESSIONS_USER : READ_LIST_SESSIONS]);
    if (user.p) {
        bind_text(&b, user);
    }
    struct id from = *at;
    list_bind_place(&b, &from);
    int rc = b.rc == SQLITE_OK ? SQLITE_ROW : b.rc;
    size_t looked_at = 0;
    while (rows->count < limit && rc == SQLITE_ROW && (rc = sqlite3_step(b.st)) == SQLITE_ROW) {
        looked_at++;
        list_move(b.st, at);
        if (state < 0 || state == sqlite3_column_int(b.st, SESSION_COLUMN_STATE)) {
            struct session_row *row = rows_push(&q->arena, rows->list, rows->count);
            rc = row && column_session(b.st, &q->arena, row) ? rc : SQLITE_NOMEM;
        }
    }
    return list_slice_end(rc, looked_at, rows->count >= limit);
}

int read_list_sessions(struct reader *r, struct store_query *q, struct id *at) {
    if (id_is_none(*at)) {
        *at = q->ask.list_sessions.after;
    }
    int rc = list_sessions_slice(r, q, at);
    return rc == SQLITE_DONE ? list_count_tasks(r, q) : rc;
}

#define TASK_COLUMN_STATE 2
#define TASK_COLUMN_KIND 5
#define TASK_COLUMN_QUEUE 6

static bool list_task_passes(const struct store_query *q, sqlite3_stmt *st) {
    return (q->ask.list_tasks.state < 0 || q->ask.list_tasks.state == sqlite3_column_int(st, TASK_COLUMN_STATE)) &&
           (!q->ask.list_tasks.kind.p || column_is(st, TASK_COLUMN_KIND, q->ask.list_tasks.kind)) &&
           (!q->ask.list_tasks.queue.p || column_is(st, TASK_COLUMN_QUEUE, q->ask.list_tasks.queue));
}

static struct binder list_tasks_bind(struct reader *r, const struct store_query *q, const struct id *at) {
    struct binder b;
    if (!id_is_none(q->ask.list_tasks.session)) {
        b = bind_start(r->st[READ_LIST_TASKS_SESSION]);
        bind_id(&b, &q->ask.list_tasks.session);
    } else if (q->ask.list_tasks.user.p) {
        b = bind_start(r->st[READ_LIST_TASKS_USER]);
        bind_text(&b, q->ask.list_tasks.user);
    } else {
        b = bind_start(r->st[READ_LIST_TASKS]);
    }
    list_bind_place(&b, at);
    return b;
}

static int list_tasks_slice(struct reader *r, struct store_query *q, struct id *at) {
    struct task_rows *rows = &q->answer.list_tasks;
    struct id from = *at;
    struct binder b = list_tasks_bind(r, q, &from);
    int rc = b.rc == SQLITE_OK ? SQLITE_ROW : b.rc;
    size_t looked_at = 0;
    while (rows->count < q->ask.list_tasks.limit && rc == SQLITE_ROW && (rc = sqlite3_step(b.st)) == SQLITE_ROW) {
        looked_at++;
        list_move(b.st, at);
        if (list_task_passes(q, b.st)) {
            int found = read_task(r, b.st, &q->arena, rows);
            rc = found == SQLITE_DONE ? rc : found;
        }
    }
    return list_slice_end(rc, looked_at, rows->count >= q->ask.list_tasks.limit);
}

/* Whether the session that the list is about has the user that the list is about. */
static int list_session_has_user(struct reader *r, const struct store_query *q, bool *ret_has) {
    struct binder b = bind_start(r->st[READ_SESSION]);
    bind_id(&b, &q->ask.list_tasks.session);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    *ret_has = rc == SQLITE_ROW && column_is(b.st, SESSION_COLUMN_USER, q->ask.list_tasks.user);
    return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

int read_list_tasks(struct reader *r, struct store_query *q, struct id *at) {
    bool listed = true;
    int rc = SQLITE_DONE;
    if (!id_is_none(q->ask.list_tasks.session) && q->ask.list_tasks.user.p) {
        rc = list_session_has_user(r, q, &listed);
    }
    if (rc != SQLITE_DONE || !listed) {
        return rc;
    }
    if (id_is_none(*at)) {
        *at = q->ask.list_tasks.after;
    }
    return list_tasks_slice(r, q, at);
}
