/*
 * A batch becomes one transaction: BEGIN, a statement or more per op, COMMIT (which syncs the log), and only then is it handed back. If anything goes wrong
 * before the sync, it is rolled back and the next batch may do better. If the sync itself fails, nobody knows what is on disk: nothing is written any more,
 * no checkpoint either, and the log stays for the next start to read.
 */
#include "store/sqlite_db.h"

#include "base/log.h"
#include "store/rows.h"

#include <assert.h>

enum write_statement {
    WRITE_BEGIN,
    WRITE_COMMIT,
    WRITE_ROLLBACK,
    WRITE_SESSION,
    WRITE_SESSION_DELETE,
    WRITE_TASK_CHANGE,
    WRITE_TASK,
    WRITE_TASK_DELETE,
    WRITE_INPUT,
    WRITE_INPUT_DELETE,
    WRITE_RESULT,
    WRITE_RESULT_DELETE,
    WRITE_OUTPUT,
    WRITE_OUTPUT_TRIM,
    WRITE_OUTPUT_DELETE,
    WRITE_GONE,
    WRITE_GONE_DELETE,
    WRITE_TOMBSTONE,
    WRITE_IDEMPOTENCY,
    WRITE_OLD_KEY,
    WRITE_KIND,
    WRITE_META,
    WRITE_FORGET_IDEMPOTENCY,
    WRITE_FORGET_OLD_KEYS,
    WRITE_FORGET_TOMBSTONES,
    WRITE_COUNT
};
_Static_assert(WRITE_COUNT <= WRITER_STATEMENTS, "room for every statement");

static const char *const write_sql[WRITE_COUNT] = {
    [WRITE_BEGIN] = "BEGIN IMMEDIATE",
    [WRITE_COMMIT] = "COMMIT",
    [WRITE_ROLLBACK] = "ROLLBACK",
    [WRITE_SESSION] = "INSERT INTO sessions(" SESSION_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE SET"
                      " state=excluded.state, reason=excluded.reason, gen=excluded.gen, seq=excluded.seq, gone_floor=excluded.gone_floor,"
                      " user=excluded.user, key_hash=excluded.key_hash, metadata=excluded.metadata, created_at=excluded.created_at,"
                      " ended_at=excluded.ended_at, active_at=excluded.active_at, idle_timeout=excluded.idle_timeout, max_age=excluded.max_age,"
                      " rotated_at=excluded.rotated_at, merged_into=excluded.merged_into, due_at=excluded.due_at,"
                      " jwt_from=excluded.jwt_from, jwt_old_session=excluded.jwt_old_session",
    [WRITE_SESSION_DELETE] = "DELETE FROM sessions WHERE id = ?",
    /* Most changes of a task leave alone what is indexed; then no index is touched. Parameters as in WRITE_TASK. */
    [WRITE_TASK_CHANGE] =
        "UPDATE tasks SET version = ?4, body = ?8 WHERE id = ?1 AND session = ?2 AND state = ?3 AND due_at = ?5 AND kind IS ?6 AND queue IS ?7",
    [WRITE_TASK] =
        ("INSERT INTO tasks(" TASK_COLUMNS ") VALUES(?,?,?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE SET session=excluded.session,"
         " state=excluded.state, version=excluded.version, due_at=excluded.due_at, kind=excluded.kind, queue=excluded.queue, body=excluded.body"),
    [WRITE_TASK_DELETE] = "DELETE FROM tasks WHERE id = ?",
    [WRITE_INPUT] = "INSERT INTO inputs(task, data) VALUES(?,?) ON CONFLICT(task) DO UPDATE SET data=excluded.data",
    [WRITE_INPUT_DELETE] = "DELETE FROM inputs WHERE task = ?",
    [WRITE_RESULT] = "INSERT INTO results(task, data) VALUES(?,?) ON CONFLICT(task) DO UPDATE SET data=excluded.data",
    [WRITE_RESULT_DELETE] = "DELETE FROM results WHERE task = ?",
    [WRITE_OUTPUT] =
        "INSERT INTO output(task, offset, seq, data) VALUES(?,?,?,?) ON CONFLICT(task, offset) DO UPDATE SET seq=excluded.seq, data=excluded.data",
    [WRITE_OUTPUT_TRIM] = "DELETE FROM output WHERE task = ?1 AND offset <= ?2 AND offset + length(data) <= ?2",
    [WRITE_OUTPUT_DELETE] = "DELETE FROM output WHERE task = ?",
    [WRITE_GONE] = "INSERT OR REPLACE INTO gone(session, seq, task, reason, at) VALUES(?,?,?,?,?)",
    [WRITE_GONE_DELETE] = "DELETE FROM gone WHERE session = ? AND seq <= ?",
    [WRITE_TOMBSTONE] =
        "INSERT OR REPLACE INTO tombstones(task, session, watch_gen, attempt, kind, state, ended_at, gone_at) VALUES(?,?,?,?,?,?,?,?)",
    [WRITE_IDEMPOTENCY] = "INSERT OR REPLACE INTO idempotency(scope, request, status, location, cookie, answer, expires_at) VALUES(?,?,?,?,?,?,?)",
    [WRITE_OLD_KEY] = "INSERT OR REPLACE INTO old_keys(key_hash, session, at, kept, expires_at) VALUES(?,?,?,?,?)",
    [WRITE_KIND] = "INSERT OR REPLACE INTO kinds(kind, body) VALUES(?,?)",
    [WRITE_META] = "INSERT OR REPLACE INTO meta(name, value) VALUES(?,?)",
    [WRITE_FORGET_IDEMPOTENCY] = ("DELETE FROM idempotency WHERE scope IN"
                                  " (SELECT scope FROM idempotency WHERE expires_at > 0 AND expires_at <= ? ORDER BY expires_at, scope LIMIT ?)"),
    [WRITE_FORGET_OLD_KEYS] = ("DELETE FROM old_keys WHERE key_hash IN"
                               " (SELECT key_hash FROM old_keys WHERE expires_at > 0 AND expires_at <= ? ORDER BY expires_at, key_hash LIMIT ?)"),
    [WRITE_FORGET_TOMBSTONES] =
        "DELETE FROM tombstones WHERE task IN (SELECT task FROM tombstones WHERE gone_at <= ? ORDER BY gone_at, task LIMIT ?)",
};

static int write_id(struct writer *w, enum write_statement which, const struct id *id) {
    struct binder b = bind_start(w->st[which]);
    bind_id(&b, id);
    return bind_run(&b);
}

static int write_id_number(struct writer *w, enum write_statement which, const struct id *id, uint64_t number) {
    struct binder b = bind_start(w->st[which]);
    bind_id(&b, id);
    bind_u64(&b, number);
    return bind_run(&b);
}

static int write_id_text(struct writer *w, enum write_statement which, const struct id *id, struct str text) {
    struct binder b = bind_start(w->st[which]);
    bind_id(&b, id);
    bind_text(&b, text);
    return bind_run(&b);
}

static int write_session(struct writer *w, const struct session_row *r) {
    struct binder b = bind_start(w->st[WRITE_SESSION]);
    bind_id(&b, &r->id);
    bind_i64(&b, r->state);
    bind_i64(&b, r->reason);
    bind_i64(&b, r->gen);
    bind_u64(&b, r->seq);
    bind_u64(&b, r->gone_floor);
    bind_text(&b, r->user);
    bind_blob(&b, r->key_hash);
    bind_text(&b, r->metadata);
    bind_i64(&b, r->created_at);
    bind_i64(&b, r->ended_at);
    bind_i64(&b, r->active_at);
    bind_i64(&b, r->idle_timeout);
    bind_i64(&b, r->max_age);
    bind_i64(&b, r->rotated_at);
    bind_optional_id(&b, &r->merged_into);
    bind_i64(&b, r->due_at);
    bind_i64(&b, r->jwt_from_s);
    bind_optional_id(&b, &r->jwt_old_session);
    return bind_run(&b);
}

static int write_session_delete(struct writer *w, const struct id *id) {
    int rc = write_id(w, WRITE_SESSION_DELETE, id);
    return rc == SQLITE_OK ? write_id_number(w, WRITE_GONE_DELETE, id, UINT64_MAX) : rc;
}

static int write_task_with(struct writer *w, enum write_statement which, const struct task_row *r) {
    struct binder b = bind_start(w->st[which]);
    bind_id(&b, &r->id);
    bind_id(&b, &r->session);
    bind_i64(&b, r->state);
    bind_u64(&b, r->version);
    bind_i64(&b, r->due_at);
    bind_text(&b, r->kind);
    bind_text(&b, r->queue);
    bind_text(&b, r->body);
    return bind_run(&b);
}

static int write_task(struct writer *w, const struct task_row *r) {
    int rc = write_task_with(w, WRITE_TASK_CHANGE, r);
    if (rc == SQLITE_OK && sqlite3_changes(w->db) == 0) {
        rc = write_task_with(w, WRITE_TASK, r);
    }
    return rc;
}

static int write_task_delete(struct writer *w, const struct id *id) {
    static const enum write_statement each[] = {WRITE_TASK_DELETE, WRITE_INPUT_DELETE, WRITE_RESULT_DELETE, WRITE_OUTPUT_DELETE};
    int rc = SQLITE_OK;
    for (size_t i = 0; i < sizeof(each) / sizeof(each[0]) && rc == SQLITE_OK; i++) {
        rc = write_id(w, each[i], id);
    }
    return rc;
}

static int write_output(struct writer *w, const struct output_row *r) {
    struct binder b = bind_start(w->st[WRITE_OUTPUT]);
    bind_id(&b, &r->task);
    bind_u64(&b, r->offset);
    bind_u64(&b, r->seq);
    bind_blob(&b, r->data);
    return bind_run(&b);
}

static int write_gone(struct writer *w, const struct gone_row *r) {
    struct binder b = bind_start(w->st[WRITE_GONE]);
    bind_id(&b, &r->session);
    bind_u64(&b, r->seq);
    bind_id(&b, &r->task);
    bind_i64(&b, r->reason);
    bind_i64(&b, r->at);
    return bind_run(&b);
}

static int write_tombstone(struct writer *w, const struct tombstone_row *r) {
    struct binder b = bind_start(w->st[WRITE_TOMBSTONE]);
    bind_id(&b, &r->task);
    bind_id(&b, &r->session);
    bind_i64(&b, r->watch_gen);
    bind_i64(&b, r->attempt);
    bind_text(&b, r->kind);
    bind_i64(&b, r->state);
    bind_i64(&b, r->ended_at);
    bind_i64(&b, r->gone_at);
    return bind_run(&b);
}

static int write_idempotency(struct writer *w, const struct idempotency_row *r) {
    struct binder b = bind_start(w->st[WRITE_IDEMPOTENCY]);
    bind_blob(&b, r->scope);
    bind_blob(&b, r->request);
    bind_i64(&b, r->status);
    bind_text(&b, r->location);
    bind_text(&b, r->cookie);
    bind_blob(&b, r->answer);
    bind_i64(&b, r->expires_at);
    return bind_run(&b);
}

static int write_old_key(struct writer *w, const struct old_key_row *r) {
    struct binder b = bind_start(w->st[WRITE_OLD_KEY]);
    bind_blob(&b, r->key_hash);
    bind_id(&b, &r->session);
    bind_i64(&b, r->at);
    bind_i64(&b, r->kept);
    bind_i64(&b, r->expires_at);
    return bind_run(&b);
}

static int write_kind(struct writer *w, const struct kind_row *r) {
    struct binder b = bind_start(w->st[WRITE_KIND]);
    bind_text(&b, r->kind);
    bind_text(&b, r->body);
    return bind_run(&b);
}

static int write_meta(struct writer *w, struct str name, struct str value) {
    struct binder b = bind_start(w->st[WRITE_META]);
    bind_text(&b, name);
    bind_text(&b, value);
    return bind_run(&b);
}

static int write_forget_one(struct writer *w, enum write_statement which, int64_t until) {
    struct binder b = bind_start(w->st[which]);
    bind_i64(&b, until);
    bind_i64(&b, ROWS_FORGET_MOST);
    return bind_run(&b);
}

static int write_forget(struct writer *w, int64_t now, int64_t tombstone_ttl) {
    int rc = write_forget_one(w, WRITE_FORGET_IDEMPOTENCY, now);
    if (rc == SQLITE_OK) {
        rc = write_forget_one(w, WRITE_FORGET_OLD_KEYS, now);
    }
    return rc == SQLITE_OK ? write_forget_one(w, WRITE_FORGET_TOMBSTONES, now - tombstone_ttl) : rc;
}

static int write_op(struct writer *w, const struct store_op *op) {
    switch (op->type) {
    case STORE_PUT_SESSION: return write_session(w, &op->row.session);
    case STORE_DELETE_SESSION: return write_session_delete(w, &op->id);
    case STORE_PUT_TASK: return write_task(w, &op->row.task);
    case STORE_DELETE_TASK: return write_task_delete(w, &op->id);
    case STORE_PUT_INPUT: return write_id_text(w, WRITE_INPUT, &op->id, op->data);
    case STORE_PUT_RESULT: return write_id_text(w, WRITE_RESULT, &op->id, op->data);
    case STORE_ADD_OUTPUT: return write_output(w, &op->row.output);
    case STORE_TRIM_OUTPUT: return write_id_number(w, WRITE_OUTPUT_TRIM, &op->id, op->number);
    case STORE_PUT_GONE: return write_gone(w, &op->row.gone);
    case STORE_DELETE_GONE: return write_id_number(w, WRITE_GONE_DELETE, &op->id, op->number);
    case STORE_PUT_TOMBSTONE: return write_tombstone(w, &op->row.tombstone);
    case STORE_PUT_IDEMPOTENCY: return write_idempotency(w, &op->row.idempotency);
    case STORE_PUT_OLD_KEY: return write_old_key(w, &op->row.old_key);
    case STORE_PUT_KIND: return write_kind(w, &op->row.kind);
    case STORE_PUT_META: return write_meta(w, op->name, op->data);
    case STORE_FORGET: return write_forget(w, (int64_t) op->number, (int64_t) op->number2);
    }
    assert(!"an op of a known type");
    return SQLITE_MISUSE;
}

static int write_simple(struct writer *w, enum write_statement which) {
    struct binder b = bind_start(w->st[which]);
    return bind_run(&b);
}

static int write_batch(struct writer *w, const struct store_batch *b) {
    int rc = write_simple(w, WRITE_BEGIN);
    for (size_t i = 0; i < b->count && rc == SQLITE_OK; i++) {
        rc = write_op(w, &b->ops[i]);
    }
    return rc == SQLITE_OK ? write_simple(w, WRITE_COMMIT) : rc;
}

static void writer_note_failure(struct writer *w, const struct store_batch *b, int rc) {
    if (!w->failing) {
        log_error("store_batch_failed", "batch=%llu ops=%zu code=%d error=\"%s\" errno=%d", (unsigned long long) b->number, b->count, rc,
                  sqlite3_errmsg(w->db), sqlite3_system_errno(w->db));
    }
    w->failing = true;
}

static void writer_note_success(struct writer *w, const struct store_batch *b) {
    if (w->failing) {
        log_info("store_batch_succeeded", "batch=%llu", (unsigned long long) b->number);
    }
    w->failing = false;
}

enum store_result writer_apply(struct writer *w, const struct store_batch *b) {
    if (w->dead) {
        return STORE_DEAD;
    }
    int rc = b->count ? write_batch(w, b) : SQLITE_OK;
    if (rc == SQLITE_OK) {
        writer_note_success(w, b);
        return STORE_OK;
    }
    if (sqlite_sync_failed(rc)) {
        sqlite_die(w->db, "commit", &w->dead);
    } else {
        writer_note_failure(w, b, rc);
    }
    if (!sqlite3_get_autocommit(w->db)) {
        (void) write_simple(w, WRITE_ROLLBACK);
    }
    return w->dead ? STORE_DEAD : STORE_FAILED;
}

/* ---- the log ---- */

#define PAGE_BYTES 4096
#define CHECKPOINT_PAGES (4 * 1024 * 1024 / PAGE_BYTES)
#define RESTART_PAGES (64 * 1024 * 1024 / PAGE_BYTES)
#define RESTART_WAIT_MS 100 /* for readers that still look into the log */

static int writer_committed(void *arg, sqlite3 *db, const char *name, int pages) {
    struct writer *w = arg;
    (void) db;
    (void) name;
    if (pages < w->wal_pages) {
        w->tried_pages = 0; /* the log began anew */
    }
    w->wal_pages = pages;
    return SQLITE_OK;
}

enum writer_wish writer_wish(struct writer *w) {
    if (w->wal_pages - w->tried_pages < CHECKPOINT_PAGES) {
        return WRITER_WANTS_NOTHING;
    }
    w->tried_pages = w->wal_pages;
    return w->wal_pages < RESTART_PAGES ? WRITER_WANTS_CHECKPOINT : WRITER_WANTS_RESTART;
}

void writer_restart_log(struct writer *w) {
    sqlite3_busy_timeout(w->db, RESTART_WAIT_MS);
    if (sqlite_checkpoint(w->db, SQLITE_CHECKPOINT_TRUNCATE, &w->checkpoint_failing, &w->dead)) {
        w->wal_pages = w->tried_pages = 0;
    }
    sqlite3_busy_timeout(w->db, SQLITE_BUSY_MS);
}

int writer_init(struct writer *w, sqlite3 *db) {
    w->db = db;
    sqlite3_wal_hook(db, writer_committed, w);
    return sqlite_prepare_all(db, write_sql, w->st, WRITE_COUNT);
}

void writer_fini(struct writer *w) {
    sqlite_finalize_all(w->st, WRITE_COUNT);
    if (w->wal_pages) {
        writer_restart_log(w);
    }
    if (w->dead) {
        sqlite3_db_config(w->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    sqlite3_close(w->db);
    w->db = NULL;
}
