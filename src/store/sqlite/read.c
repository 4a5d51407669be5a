/*
 * A query becomes one read transaction, so that all of its SELECTs see the same commit. Copies go into the query's arena. When anything fails, nothing of the
 * answer is left.
 */
#include "store/sqlite/db.h"

#include "base/log.h"
#include "store/rows.h"

#include <assert.h>
#include <stdlib.h>

/* What is being deleted in pieces is no longer there. */
#define WHOLE "NOT EXISTS (SELECT 1 FROM leftovers WHERE task = ?1)"

static const char *const read_sql[READ_COUNT] = {
    [READ_BEGIN] = "BEGIN",
    [READ_COMMIT] = "COMMIT",
    [READ_SESSION] = "SELECT " SESSION_COLUMNS " FROM sessions WHERE id = ?",
    [READ_SESSION_TASKS] = "SELECT " TASK_COLUMNS " FROM tasks WHERE session = ?",
    [READ_PROGRESS] = "SELECT " PROGRESS_COLUMNS " FROM progress WHERE slot = ? AND task = ?",
    [READ_SESSION_GONE] = "SELECT session, seq, task, reason, at FROM gone WHERE session = ? ORDER BY seq",
    [READ_TASK_SESSION] = "SELECT session FROM tasks WHERE id = ?",
    [READ_TOMBSTONE] = "SELECT task, session, watch_gen, attempt, kind, state, ended_at, gone_at FROM tombstones WHERE task = ?",
    [READ_KEY] = "SELECT id FROM sessions WHERE key_hash = ? AND " SQL_IS_ACTIVE,
    [READ_NEWEST_OLD_KEY] =
        "SELECT " OLD_KEY_COLUMNS " FROM old_keys WHERE key_hash = ? ORDER BY jwt_from DESC, at DESC, session DESC, gen DESC LIMIT 1",
    [READ_OLD_KEY] = "SELECT " OLD_KEY_COLUMNS " FROM old_keys WHERE key_hash = ? AND jwt_from > ? AND (expires_at = 0 OR expires_at > ?)"
                     " ORDER BY jwt_from, at, session, gen LIMIT 1",
    [READ_USER] = "SELECT " SESSION_COLUMNS " FROM sessions WHERE user = ? AND (" SQL_IS_ACTIVE
                  " OR EXISTS (SELECT 1 FROM tasks WHERE session = sessions.id)) ORDER BY id DESC",
    [READ_IDEMPOTENCY] = "SELECT scope, request, status, location, cookie, answer, expires_at FROM idempotency"
                         " WHERE scope = ? AND (expires_at = 0 OR expires_at > ?)",
    [READ_INPUT] = "SELECT data FROM inputs WHERE task = ?1 AND " WHOLE,
    [READ_RESULT] = "SELECT data FROM results WHERE task = ?1 AND " WHOLE,
    [READ_OUTPUT] = "SELECT task, offset, seq, data FROM output WHERE task = ?1 AND " WHOLE
                    " AND offset >= coalesce((SELECT max(offset) FROM output WHERE task = ?1 AND offset <= ?2), 0) ORDER BY offset",
    [READ_OUTPUT_AFTER] = "SELECT rowid, seq, offset, length(data) FROM output WHERE task = ?1 AND " WHOLE " AND seq > ?2 ORDER BY seq, offset",
    [READ_OUTPUT_ROW] = "SELECT task, offset, seq, data FROM output WHERE rowid = ?",
    [READ_DUE_SESSIONS] = "SELECT id FROM sessions WHERE due_at > 0 AND due_at <= ? ORDER BY due_at, id LIMIT ?",
    [READ_DUE_TASKS] = "SELECT id, session FROM tasks WHERE due_at > 0 AND due_at <= ? ORDER BY due_at, id LIMIT ?",
    [READ_UNFINISHED] = "SELECT DISTINCT session FROM tasks INDEXED BY tasks_unfinished WHERE " SQL_IS_UNFINISHED " ORDER BY session",
    [READ_KINDS] = "SELECT kind, phase, body FROM kinds ORDER BY kind, phase",
    [READ_META] = "SELECT value FROM meta WHERE name = ?",
    [READ_COUNTS] = "SELECT count(*) FILTER (WHERE " SQL_IS_UNFINISHED "), count(*) FILTER (WHERE " SQL_IS_ENDED ") FROM tasks WHERE session = ?",
    [READ_LIST_SESSIONS] = "SELECT " SESSION_COLUMNS " FROM sessions WHERE id < ? ORDER BY id DESC LIMIT ?",
    [READ_LIST_SESSIONS_USER] = "SELECT " SESSION_COLUMNS " FROM sessions WHERE user = ? AND id < ? ORDER BY id DESC LIMIT ?",
    [READ_LIST_TASKS] = "SELECT " TASK_COLUMNS " FROM tasks WHERE id < ? ORDER BY id DESC LIMIT ?",
    [READ_LIST_TASKS_SESSION] = "SELECT " TASK_COLUMNS " FROM tasks WHERE session = ? AND id < ? ORDER BY id DESC LIMIT ?",
    [READ_LIST_TASKS_USER] =
        "SELECT " TASK_COLUMNS " FROM tasks WHERE id IN (SELECT t.id FROM sessions AS s CROSS JOIN tasks AS t ON t.session = s.id"
        " WHERE s.user = ? AND t.id < ? ORDER BY t.id DESC LIMIT ?) ORDER BY id DESC",
};

bool column_session(sqlite3_stmt *st, struct arena *a, struct session_row *ret_row) {
    struct columns c = {.st = st, .arena = a};
    ret_row->id = column_id(&c);
    ret_row->state = (uint8_t) column_i64(&c);
    ret_row->reason = (uint8_t) column_i64(&c);
    ret_row->gen = (uint32_t) column_i64(&c);
    ret_row->seq = column_u64(&c);
    ret_row->gone_floor = column_u64(&c);
    ret_row->user = column_str(&c);
    ret_row->key_hash = column_str(&c);
    ret_row->metadata = column_str(&c);
    ret_row->created_at = column_i64(&c);
    ret_row->ended_at = column_i64(&c);
    ret_row->active_at = column_i64(&c);
    ret_row->idle_timeout = column_i64(&c);
    ret_row->max_age = column_i64(&c);
    ret_row->rotated_at = column_i64(&c);
    ret_row->merged_into = column_id(&c);
    ret_row->due_at = column_i64(&c);
    ret_row->jwt_from_s = column_i64(&c);
    ret_row->created_apart = column_i64(&c);
    ret_row->ended_apart = column_i64(&c);
    return !c.failed;
}

static bool column_task(sqlite3_stmt *st, struct arena *a, struct task_row *ret_row) {
    struct columns c = {.st = st, .arena = a};
    ret_row->id = column_id(&c);
    ret_row->session = column_id(&c);
    ret_row->state = (uint8_t) column_i64(&c);
    ret_row->version = column_u64(&c);
    ret_row->due_at = column_i64(&c);
    ret_row->kind = column_str(&c);
    ret_row->queue = column_str(&c);
    ret_row->body = column_str(&c);
    ret_row->slot = column_u64(&c);
    return !c.failed;
}

static bool column_progress(sqlite3_stmt *st, struct arena *a, struct progress_row *ret_row) {
    struct columns c = {.st = st, .arena = a};
    ret_row->slot = column_u64(&c);
    ret_row->task = column_id(&c);
    ret_row->version = column_u64(&c);
    ret_row->updated_at = column_i64(&c);
    ret_row->heard = column_i64(&c) != 0;
    ret_row->stalled = column_i64(&c) != 0;
    ret_row->has_current = sqlite3_column_type(st, c.at) != SQLITE_NULL;
    ret_row->current = column_num(&c, 0);
    ret_row->has_total = sqlite3_column_type(st, c.at) != SQLITE_NULL;
    ret_row->total = column_num(&c, 0);
    ret_row->unit = column_str(&c);
    ret_row->message = column_str(&c);
    ret_row->rate = column_num(&c, 0);
    ret_row->eta = column_num(&c, -1);
    ret_row->phase = column_str(&c);
    ret_row->data = column_str(&c);
    return !c.failed;
}

/* ---- one session, one task, one key ---- */

/* Binds the one value and steps once. */
static int read_first(struct reader *r, enum read_statement which, const struct id *id) {
    struct binder b = bind_start(r->st[which]);
    bind_id(&b, id);
    return b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
}

static int read_first_blob(struct reader *r, enum read_statement which, struct str blob) {
    struct binder b = bind_start(r->st[which]);
    bind_blob(&b, blob);
    return b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
}

static int read_progress(struct reader *r, struct arena *a, struct task_row *row) {
    struct binder b = bind_start(r->st[READ_PROGRESS]);
    bind_u64(&b, row->slot);
    bind_id(&b, &row->id);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    if (rc == SQLITE_ROW) {
        row->progress = arena_alloc(a, sizeof(*row->progress));
        rc = row->progress && column_progress(r->st[READ_PROGRESS], a, row->progress) ? SQLITE_DONE : SQLITE_NOMEM;
    }
    return rc;
}

int read_task(struct reader *r, sqlite3_stmt *st, struct arena *a, struct task_rows *rows) {
    struct task_row *row = rows_push(a, rows->list, rows->count);
    if (!row || !column_task(st, a, row)) {
        return SQLITE_NOMEM;
    }
    return row->slot && row->state < STORE_TASK_ENDED ? read_progress(r, a, row) : SQLITE_DONE;
}

static int read_session_tasks(struct reader *r, struct store_query *q) {
    sqlite3_stmt *st = r->st[READ_SESSION_TASKS];
    int rc = read_first(r, READ_SESSION_TASKS, &q->ask.session);
    for (; rc == SQLITE_ROW; rc = sqlite3_step(st)) {
        rc = read_task(r, st, &q->arena, &q->answer.session.tasks);
        if (rc != SQLITE_DONE) {
            return rc;
        }
    }
    rows_sort_tasks(&q->answer.session.tasks);
    return rc;
}

static int read_session_gone(struct reader *r, struct store_query *q) {
    sqlite3_stmt *st = r->st[READ_SESSION_GONE];
    struct gone_rows *gone = &q->answer.session.gone;
    int rc = read_first(r, READ_SESSION_GONE, &q->ask.session);
    for (; rc == SQLITE_ROW; rc = sqlite3_step(st)) {
        struct gone_row *row = rows_push(&q->arena, gone->list, gone->count);
        if (!row) {
            return SQLITE_NOMEM;
        }
        struct columns c = {.st = st};
        row->session = column_id(&c);
        row->seq = column_u64(&c);
        row->task = column_id(&c);
        row->reason = (uint8_t) column_i64(&c);
        row->at = column_i64(&c);
    }
    return rc;
}

static int read_load_session(struct reader *r, struct store_query *q) {
    int rc = read_first(r, READ_SESSION, &q->ask.session);
    if (rc != SQLITE_ROW) {
        return rc;
    }
    if (!column_session(r->st[READ_SESSION], &q->arena, &q->answer.session.row)) {
        return SQLITE_NOMEM;
    }
    q->answer.session.found = true;
    rc = read_session_tasks(r, q);
    return rc == SQLITE_DONE ? read_session_gone(r, q) : rc;
}

static int read_tombstone(struct reader *r, struct store_query *q) {
    int rc = read_first(r, READ_TOMBSTONE, &q->ask.task);
    if (rc != SQLITE_ROW) {
        return rc;
    }
    struct tombstone_row *row = arena_alloc(&q->arena, sizeof(*row));
    if (!row) {
        return SQLITE_NOMEM;
    }
    struct columns c = {.st = r->st[READ_TOMBSTONE], .arena = &q->arena};
    row->task = column_id(&c);
    row->session = column_id(&c);
    row->watch_gen = (uint32_t) column_i64(&c);
    row->attempt = (uint32_t) column_i64(&c);
    row->kind = column_str(&c);
    row->state = (uint8_t) column_i64(&c);
    row->ended_at = column_i64(&c);
    row->gone_at = column_i64(&c);
    q->answer.task.tombstone = row;
    return c.failed ? SQLITE_NOMEM : SQLITE_DONE;
}

static int read_find_task(struct reader *r, struct store_query *q) {
    int rc = read_first(r, READ_TASK_SESSION, &q->ask.task);
    if (rc != SQLITE_ROW) {
        return rc == SQLITE_DONE ? read_tombstone(r, q) : rc;
    }
    struct columns c = {.st = r->st[READ_TASK_SESSION]};
    q->answer.task.session = column_id(&c);
    q->answer.task.found = true;
    return SQLITE_DONE;
}

/* The row that the statement stands at, if that is earlier than *ret_row or that is NULL. */
static int take_old_key(sqlite3_stmt *st, struct arena *a, struct old_key_row **ret_row) {
    struct old_key_row *row = arena_alloc(a, sizeof(*row));
    if (!row) {
        return SQLITE_NOMEM;
    }
    struct columns c = {.st = st, .arena = a};
    row->key_hash = column_str(&c);
    row->jwt_from_s = column_i64(&c);
    row->at = column_i64(&c);
    row->session = column_id(&c);
    row->gen = (uint32_t) column_i64(&c);
    row->expires_at = column_i64(&c);
    if (!*ret_row || rows_old_key_cmp(row, *ret_row) < 0) {
        *ret_row = row;
    }
    return c.failed ? SQLITE_NOMEM : SQLITE_DONE;
}

static int read_find_old_key(struct reader *r, struct store_query *q) {
    int rc = SQLITE_DONE;
    for (struct str keys = q->ask.old_key.hashes; keys.len && rc == SQLITE_DONE; keys = str_from(keys, KEY_HASH_BYTES)) {
        struct binder b = bind_start(r->st[READ_OLD_KEY]);
        bind_blob(&b, str_n(keys.p, KEY_HASH_BYTES));
        bind_i64(&b, q->ask.old_key.after_s);
        bind_i64(&b, q->ask.old_key.now);
        rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
        rc = rc == SQLITE_ROW ? take_old_key(b.st, &q->arena, &q->answer.old_key) : rc;
    }
    return rc;
}

static int read_find_key(struct reader *r, struct store_query *q) {
    int rc = read_first_blob(r, READ_KEY, q->ask.key_hash);
    if (rc == SQLITE_ROW) {
        struct columns c = {.st = r->st[READ_KEY]};
        q->answer.key.session = column_id(&c);
        q->answer.key.found = true;
        rc = SQLITE_DONE;
    }
    if (rc == SQLITE_DONE) {
        rc = read_first_blob(r, READ_NEWEST_OLD_KEY, q->ask.key_hash);
    }
    return rc == SQLITE_ROW ? take_old_key(r->st[READ_NEWEST_OLD_KEY], &q->arena, &q->answer.key.old_key) : rc;
}

static int read_find_idempotency(struct reader *r, struct store_query *q) {
    struct binder b = bind_start(r->st[READ_IDEMPOTENCY]);
    bind_blob(&b, q->ask.idempotency.scope);
    bind_i64(&b, q->ask.idempotency.now);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    if (rc != SQLITE_ROW) {
        return rc;
    }
    struct idempotency_row *row = arena_alloc(&q->arena, sizeof(*row));
    if (!row) {
        return SQLITE_NOMEM;
    }
    struct columns c = {.st = b.st, .arena = &q->arena};
    row->scope = column_str(&c);
    row->request = column_str(&c);
    row->status = (int) column_i64(&c);
    row->location = column_str(&c);
    row->cookie = column_str(&c);
    row->answer = column_str(&c);
    row->expires_at = column_i64(&c);
    q->answer.idempotency = row;
    return c.failed ? SQLITE_NOMEM : SQLITE_DONE;
}

/* ---- ids by something ---- */

static int read_ids(struct binder *b, struct arena *a, struct id_list *ret_ids) {
    int rc = b->rc == SQLITE_OK ? sqlite3_step(b->st) : b->rc;
    for (; rc == SQLITE_ROW; rc = sqlite3_step(b->st)) {
        struct columns c = {.st = b->st};
        if (!rows_push_id(a, ret_ids, column_id(&c))) {
            return SQLITE_NOMEM;
        }
    }
    return rc;
}

static int read_find_user(struct reader *r, struct store_query *q) {
    struct binder b = bind_start(r->st[READ_USER]);
    bind_text(&b, q->ask.user);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    for (; rc == SQLITE_ROW; rc = sqlite3_step(b.st)) {
        struct session_row *row = rows_push(&q->arena, q->answer.user.list, q->answer.user.count);
        if (!row || !column_session(b.st, &q->arena, row)) {
            return SQLITE_NOMEM;
        }
    }
    return rc;
}

static struct binder read_due_bind(struct reader *r, enum read_statement which, const struct store_query *q) {
    struct binder b = bind_start(r->st[which]);
    bind_i64(&b, q->ask.due.now);
    bind_u64(&b, q->ask.due.limit);
    return b;
}

static int read_due_tasks(struct reader *r, struct store_query *q) {
    struct binder b = read_due_bind(r, READ_DUE_TASKS, q);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    for (; rc == SQLITE_ROW; rc = sqlite3_step(b.st)) {
        struct columns c = {.st = b.st};
        if (!rows_push_id(&q->arena, &q->answer.due.tasks, column_id(&c)) || !rows_push_id(&q->arena, &q->answer.due.task_sessions, column_id(&c))) {
            return SQLITE_NOMEM;
        }
    }
    return rc;
}

static int read_due(struct reader *r, struct store_query *q) {
    struct binder b = read_due_bind(r, READ_DUE_SESSIONS, q);
    int rc = read_ids(&b, &q->arena, &q->answer.due.sessions);
    return rc == SQLITE_DONE ? read_due_tasks(r, q) : rc;
}

/* ---- what a start needs ---- */

static int read_meta(struct reader *r, struct store_query *q, struct str name, struct str *ret_value) {
    struct binder b = bind_start(r->st[READ_META]);
    bind_text(&b, name);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    if (rc != SQLITE_ROW) {
        return rc;
    }
    struct columns c = {.st = b.st, .arena = &q->arena};
    *ret_value = column_str(&c);
    return c.failed ? SQLITE_NOMEM : SQLITE_DONE;
}

static int read_kinds(struct reader *r, struct store_query *q) {
    struct binder b = bind_start(r->st[READ_KINDS]);
    int rc = sqlite3_step(b.st);
    for (; rc == SQLITE_ROW; rc = sqlite3_step(b.st)) {
        struct kind_row *row = rows_push(&q->arena, q->answer.start.kinds, q->answer.start.kind_count);
        struct columns c = {.st = b.st, .arena = &q->arena};
        if (!row) {
            return SQLITE_NOMEM;
        }
        row->kind = column_str(&c);
        row->phase = column_str(&c);
        row->body = column_str(&c);
        if (c.failed) {
            return SQLITE_NOMEM;
        }
    }
    return rc;
}

static int read_start(struct reader *r, struct store_query *q) {
    struct binder b = bind_start(r->st[READ_UNFINISHED]);
    int rc = read_ids(&b, &q->arena, &q->answer.start.sessions);
    if (rc == SQLITE_DONE) {
        rc = read_kinds(r, q);
    }
    if (rc == SQLITE_DONE) {
        rc = read_meta(r, q, STR("clean"), &q->answer.start.clean);
    }
    if (rc == SQLITE_DONE) {
        rc = read_meta(r, q, STR("epoch"), &q->answer.start.epoch);
    }
    if (rc == SQLITE_DONE) {
        rc = read_meta(r, q, STR("slots"), &q->answer.start.slots);
    }
    return rc == SQLITE_DONE ? read_meta(r, q, STR("clock"), &q->answer.start.clock) : rc;
}

/* ---- input, result ---- */

static int read_blob(struct reader *r, struct arena *a, enum read_statement which, const struct id *id, struct str *ret_text) {
    int rc = read_first(r, which, id);
    if (rc != SQLITE_ROW) {
        return rc;
    }
    struct columns c = {.st = r->st[which], .arena = a};
    *ret_text = column_str(&c);
    return c.failed ? SQLITE_NOMEM : SQLITE_DONE;
}

static int read_get_input(struct reader *r, struct store_query *q) {
    const struct id_list *tasks = &q->ask.inputs;
    q->answer.inputs.list = arena_alloc(&q->arena, tasks->count * sizeof(struct str));
    int rc = q->answer.inputs.list ? SQLITE_DONE : SQLITE_NOMEM;
    for (size_t i = 0; i < tasks->count && rc == SQLITE_DONE; i++) {
        rc = read_blob(r, &q->arena, READ_INPUT, &tasks->list[i], &q->answer.inputs.list[i]);
        q->answer.inputs.count++;
    }
    return rc;
}

static int read_get_result(struct reader *r, struct store_query *q) {
    return read_blob(r, &q->arena, READ_RESULT, &q->ask.task, &q->answer.result);
}

/* ---- one query ---- */

static int read_query(struct reader *r, struct store_query *q, struct id *at) {
    switch (q->type) {
    case STORE_LOAD_SESSION: return read_load_session(r, q);
    case STORE_FIND_TASK: return read_find_task(r, q);
    case STORE_FIND_KEY: return read_find_key(r, q);
    case STORE_FIND_OLD_KEY: return read_find_old_key(r, q);
    case STORE_FIND_USER: return read_find_user(r, q);
    case STORE_FIND_IDEMPOTENCY: return read_find_idempotency(r, q);
    case STORE_GET_INPUT: return read_get_input(r, q);
    case STORE_GET_RESULT: return read_get_result(r, q);
    case STORE_GET_OUTPUT: return read_output(r, q);
    case STORE_GET_OUTPUT_AFTER: return read_output_after(r, q);
    case STORE_LIST_SESSIONS: return read_list_sessions(r, q, at);
    case STORE_LIST_TASKS: return read_list_tasks(r, q, at);
    case STORE_DUE: return read_due(r, q);
    case STORE_START: return read_start(r, q);
    }
    assert(!"a query of a known type");
    return SQLITE_MISUSE;
}

static int read_transaction(struct reader *r, struct store_query *q, struct id *at) {
    int rc = sqlite3_step(r->st[READ_BEGIN]);
    if (rc == SQLITE_DONE) {
        rc = read_query(r, q, at);
    }
    if (rc != SQLITE_DONE && rc != READ_MORE) {
        if (!r->failing) {
            log_error("store_query_failed", "query=%d code=%d error=\"%s\"", (int) q->type, rc, sqlite3_errstr(rc));
        }
        r->failing = true;
    } else {
        r->failing = false;
    }
    for (int i = 0; i < READ_COUNT; i++) {
        sqlite3_reset(r->st[i]);
    }
    if (!sqlite3_get_autocommit(r->db)) {
        sqlite3_step(r->st[READ_COMMIT]);
        sqlite3_reset(r->st[READ_COMMIT]);
    }
    return rc;
}

bool reader_answer(struct reader *r, struct store_query *q, struct id *at) {
    if (id_is_none(*at)) {
        rows_clear_answer(q);
    }
    int rc = read_transaction(r, q, at);
    if (rc == READ_MORE) {
        return false;
    }
    q->result = rc == SQLITE_DONE ? STORE_OK : STORE_FAILED;
    if (q->result != STORE_OK) {
        rows_clear_answer(q);
    }
    return true;
}

int reader_init(struct reader *r, sqlite3 *db) {
    *r = (struct reader){.db = db};
    return sqlite_prepare_all(db, read_sql, r->st, READ_COUNT);
}

void reader_fini(struct reader *r) {
    sqlite_finalize_all(r->st, READ_COUNT);
    sqlite3_close(r->db);
    r->db = NULL;
}
