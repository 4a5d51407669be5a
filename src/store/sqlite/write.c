/*
 * A batch becomes one transaction: BEGIN, a statement or more per op, COMMIT (which syncs the log), and only then is it handed back. If anything goes wrong
 * before the sync, it is rolled back and the next batch may do better. If the sync itself fails, nobody knows what is on disk: nothing is written any more,
 * no checkpoint either, and the log stays for the next start to read.
 */
#include "store/sqlite/db.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/rows.h"

#include <assert.h>

enum write_statement {
    WRITE_BEGIN,
    WRITE_COMMIT,
    WRITE_ROLLBACK,
    WRITE_SAVEPOINT,
    WRITE_SAVEPOINT_BACK,
    WRITE_SAVEPOINT_END,
    WRITE_SESSION,
    WRITE_SESSION_DELETE,
    WRITE_TASK_CHANGE,
    WRITE_TASK,
    WRITE_TASK_DELETE,
    WRITE_PROGRESS,
    WRITE_PROGRESS_DELETE,
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
    WRITE_KIND_DELETE,
    WRITE_META,
    WRITE_FORGET_IDEMPOTENCY,
    WRITE_FORGET_OLD_KEYS,
    WRITE_BOUND_SESSIONS,
    WRITE_BOUND_OLD_KEYS,
    WRITE_FORGET_TOMBSTONES,
    WRITE_LEFTOVER,
    WRITE_LEFTOVER_OUTPUT,
    WRITE_LEFTOVER_RESULT,
    WRITE_LEFTOVER_INPUT,
    WRITE_LEFTOVER_DELETE,
    WRITE_COUNT
};
_Static_assert(WRITE_COUNT <= WRITER_STATEMENTS, "room for every statement");

#define FIRST_LEFTOVER "(SELECT task FROM leftovers ORDER BY task LIMIT 1)"

static const char *const write_sql[WRITE_COUNT] = {
    [WRITE_BEGIN] = "BEGIN IMMEDIATE",
    [WRITE_COMMIT] = "COMMIT",
    [WRITE_ROLLBACK] = "ROLLBACK",
    [WRITE_SAVEPOINT] = "SAVEPOINT change_set",
    [WRITE_SAVEPOINT_BACK] = "ROLLBACK TO change_set",
    [WRITE_SAVEPOINT_END] = "RELEASE change_set",
    [WRITE_SESSION] = "INSERT INTO sessions(" SESSION_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE SET"
                      " state=excluded.state, reason=excluded.reason, gen=excluded.gen, seq=excluded.seq, gone_floor=excluded.gone_floor,"
                      " user=excluded.user, key_hash=excluded.key_hash, metadata=excluded.metadata, created_at=excluded.created_at,"
                      " ended_at=excluded.ended_at, active_at=excluded.active_at, idle_timeout=excluded.idle_timeout, max_age=excluded.max_age,"
                      " rotated_at=excluded.rotated_at, merged_into=excluded.merged_into, due_at=excluded.due_at,"
                      " jwt_from=excluded.jwt_from, created_apart=excluded.created_apart, ended_apart=excluded.ended_apart",
    [WRITE_SESSION_DELETE] = "DELETE FROM sessions WHERE id = ?",
    /* Most changes of a task leave alone what is indexed; then no index is touched. Parameters as in WRITE_TASK. */
    [WRITE_TASK_CHANGE] = "UPDATE tasks SET version = ?4, body = ?8, slot = ?9 WHERE id = ?1 AND session = ?2 AND state = ?3 AND due_at = ?5 AND "
                          "kind IS ?6 AND queue IS ?7",
    [WRITE_TASK] =
        ("INSERT INTO tasks(" TASK_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE SET session=excluded.session,"
         " state=excluded.state, version=excluded.version, due_at=excluded.due_at, kind=excluded.kind, queue=excluded.queue, body=excluded.body,"
         " slot=excluded.slot"),
    [WRITE_TASK_DELETE] = "DELETE FROM tasks WHERE id = ?",
    /* Its key is a number and it has no index: nothing is cheaper to replace. */
    [WRITE_PROGRESS] = "INSERT OR REPLACE INTO progress(" PROGRESS_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [WRITE_PROGRESS_DELETE] = "DELETE FROM progress WHERE slot = ?",
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
    [WRITE_OLD_KEY] = "INSERT OR REPLACE INTO old_keys(" OLD_KEY_COLUMNS ") VALUES(?,?,?,?,?,?)",
    [WRITE_KIND] = "INSERT OR REPLACE INTO kinds(kind, phase, body) VALUES(?,?,?)",
    [WRITE_KIND_DELETE] = "DELETE FROM kinds WHERE kind = ? AND phase = ?",
    [WRITE_META] = "INSERT OR REPLACE INTO meta(name, value) VALUES(?,?)",
    [WRITE_FORGET_IDEMPOTENCY] = ("DELETE FROM idempotency WHERE scope ="
                                  " (SELECT scope FROM idempotency WHERE expires_at > 0 AND expires_at <= ? ORDER BY expires_at, scope LIMIT 1)"),
    [WRITE_FORGET_OLD_KEYS] = ("DELETE FROM old_keys WHERE (key_hash, jwt_from, at, session, gen) ="
                               " (SELECT key_hash, jwt_from, at, session, gen FROM old_keys WHERE expires_at > 0 AND expires_at <= ?"
                               " ORDER BY expires_at, key_hash, jwt_from, at, session, gen LIMIT 1)"),
    [WRITE_BOUND_SESSIONS] = "UPDATE sessions SET jwt_from = ?1 - (rotated_at > 0) WHERE jwt_from > ?1",
    [WRITE_BOUND_OLD_KEYS] = "UPDATE OR REPLACE old_keys SET jwt_from = ?1 WHERE jwt_from > ?1",
    [WRITE_FORGET_TOMBSTONES] = "DELETE FROM tombstones WHERE task = (SELECT task FROM tombstones WHERE gone_at <= ? ORDER BY gone_at, task LIMIT 1)",
    [WRITE_LEFTOVER] = "INSERT OR IGNORE INTO leftovers(task) VALUES(?)",
    [WRITE_LEFTOVER_OUTPUT] = "DELETE FROM output WHERE rowid IN (SELECT rowid FROM output WHERE task = " FIRST_LEFTOVER " ORDER BY offset LIMIT ?)",
    [WRITE_LEFTOVER_RESULT] = "DELETE FROM results WHERE task = " FIRST_LEFTOVER,
    [WRITE_LEFTOVER_INPUT] = "DELETE FROM inputs WHERE task = " FIRST_LEFTOVER,
    [WRITE_LEFTOVER_DELETE] = "DELETE FROM leftovers WHERE task = " FIRST_LEFTOVER,
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
    bind_i64(&b, r->created_apart);
    bind_i64(&b, r->ended_apart);
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
    bind_u64(&b, r->slot);
    return bind_run(&b);
}

static int write_task(struct writer *w, const struct task_row *r) {
    int rc = write_task_with(w, WRITE_TASK_CHANGE, r);
    if (rc == SQLITE_OK && sqlite3_changes(w->db) == 0) {
        rc = write_task_with(w, WRITE_TASK, r);
    }
    return rc;
}

static int write_task_delete(struct writer *w, const struct id *id, bool large) {
    if (large) {
        int rc = write_id(w, WRITE_TASK_DELETE, id);
        return rc == SQLITE_OK ? write_id(w, WRITE_LEFTOVER, id) : rc;
    }
    static const enum write_statement each[] = {WRITE_TASK_DELETE, WRITE_INPUT_DELETE, WRITE_RESULT_DELETE, WRITE_OUTPUT_DELETE};
    int rc = SQLITE_OK;
    for (size_t i = 0; i < sizeof(each) / sizeof(each[0]) && rc == SQLITE_OK; i++) {
        rc = write_id(w, each[i], id);
    }
    return rc;
}

static int write_progress(struct writer *w, const struct progress_row *r) {
    struct binder b = bind_start(w->st[WRITE_PROGRESS]);
    bind_u64(&b, r->slot);
    bind_id(&b, &r->task);
    bind_u64(&b, r->version);
    bind_i64(&b, r->updated_at);
    bind_i64(&b, r->heard);
    bind_i64(&b, r->stalled);
    bind_optional_num(&b, r->has_current, r->current);
    bind_optional_num(&b, r->has_total, r->total);
    bind_text(&b, r->unit);
    bind_text(&b, r->message);
    bind_optional_num(&b, r->rate > 0, r->rate);
    bind_optional_num(&b, r->eta >= 0, r->eta);
    bind_text(&b, r->phase);
    bind_text(&b, r->data);
    return bind_run(&b);
}

static int write_progress_delete(struct writer *w, uint64_t slot) {
    struct binder b = bind_start(w->st[WRITE_PROGRESS_DELETE]);
    bind_u64(&b, slot);
    return bind_run(&b);
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
    bind_i64(&b, r->jwt_from_s);
    bind_i64(&b, r->at);
    bind_id(&b, &r->session);
    bind_i64(&b, r->gen);
    bind_i64(&b, r->expires_at);
    return bind_run(&b);
}

static int write_kind(struct writer *w, const struct kind_row *r) {
    struct binder b = bind_start(w->st[WRITE_KIND]);
    bind_text(&b, r->kind);
    bind_text(&b, r->phase);
    bind_text(&b, r->body);
    return bind_run(&b);
}

static int write_kind_delete(struct writer *w, const struct kind_row *r) {
    struct binder b = bind_start(w->st[WRITE_KIND_DELETE]);
    bind_text(&b, r->kind);
    bind_text(&b, r->phase);
    return bind_run(&b);
}

static int write_meta(struct writer *w, struct str name, struct str value) {
    struct binder b = bind_start(w->st[WRITE_META]);
    bind_text(&b, name);
    bind_text(&b, value);
    return bind_run(&b);
}

static int write_bound(struct writer *w, enum write_statement which, uint64_t most) {
    struct binder b = bind_start(w->st[which]);
    bind_u64(&b, most);
    return bind_run(&b);
}

static int write_bound_jwt_from(struct writer *w, uint64_t most) {
    int rc = write_bound(w, WRITE_BOUND_SESSIONS, most);
    return rc == SQLITE_OK ? write_bound(w, WRITE_BOUND_OLD_KEYS, most) : rc;
}

/* ---- what is over, a row at a time until the time is up ---- */

static int forget_row(struct writer *w, enum write_statement which, int64_t until) {
    struct binder b = bind_start(w->st[which]);
    bind_i64(&b, until);
    return bind_run(&b);
}

/* Something of the first leftover; with the last of it, itself. */
static int forget_leftover(struct writer *w, enum write_statement which, int64_t until) {
    (void) until;
    int rc = SQLITE_OK;
    for (; which <= WRITE_LEFTOVER_DELETE && rc == SQLITE_OK; which++) {
        struct binder b = bind_start(w->st[which]);
        if (which == WRITE_LEFTOVER_OUTPUT) {
            bind_i64(&b, ROWS_FORGET_OUTPUT);
        }
        rc = bind_run(&b);
        if (sqlite3_changes(w->db)) {
            break;
        }
    }
    return rc;
}

static int write_forget(struct writer *w, const struct store_op *op, bool *ret_more) {
    int64_t now = (int64_t) op->number, begin = clock_us();
    const struct {
        int (*piece)(struct writer *w, enum write_statement which, int64_t until);
        enum write_statement which;
        int64_t until;
    } sorts[] = {
        {forget_leftover, WRITE_LEFTOVER_OUTPUT, 0},
        {forget_row, WRITE_FORGET_IDEMPOTENCY, now},
        {forget_row, WRITE_FORGET_OLD_KEYS, now},
        {forget_row, WRITE_FORGET_TOMBSTONES, now - (int64_t) op->number2},
    };
    const unsigned count = sizeof(sorts) / sizeof(sorts[0]);
    unsigned left = (1u << count) - 1; /* those of which there is more */
    int rc = SQLITE_OK;
    for (unsigned n = 0; n < ROWS_FORGET_MOST * count && left && rc == SQLITE_OK; n++) { /* in turn, so that none waits for another to be through */
        if (op->budget_us && n >= count && clock_us() - begin >= op->budget_us) {
            break;
        }
        if (left & 1u << n % count) {
            rc = sorts[n % count].piece(w, sorts[n % count].which, sorts[n % count].until);
            left &= sqlite3_changes(w->db) ? ~0u : ~(1u << n % count);
        }
    }
    *ret_more = left != 0;
    return rc;
}

static int write_op(struct writer *w, const struct store_op *op, bool *ret_more) {
    switch (op->type) {
    case STORE_PUT_SESSION: return write_session(w, &op->row.session);
    case STORE_DELETE_SESSION: return write_session_delete(w, &op->id);
    case STORE_PUT_TASK: return write_task(w, &op->row.task);
    case STORE_DELETE_TASK: return write_task_delete(w, &op->id, op->number != 0);
    case STORE_PUT_PROGRESS: return write_progress(w, &op->row.progress);
    case STORE_DELETE_PROGRESS: return write_progress_delete(w, op->number);
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
    case STORE_DELETE_KIND: return write_kind_delete(w, &op->row.kind);
    case STORE_PUT_META: return write_meta(w, op->name, op->data);
    case STORE_BOUND_JWT_FROM: return write_bound_jwt_from(w, op->number);
    case STORE_FORGET: return write_forget(w, op, ret_more);
    }
    assert(!"an op of a known type");
    return SQLITE_MISUSE;
}

static int write_simple(struct writer *w, enum write_statement which) {
    struct binder b = bind_start(w->st[which]);
    return bind_run(&b);
}

static int write_timed_op(struct writer *w, struct store_batch *b, const struct store_op *op) {
    int64_t begin = op->sweep ? clock_us() : 0;
    int rc = write_op(w, op, &b->more);
    int64_t took = op->sweep ? clock_us() - begin : 0;
    b->sweep_us += took;
    b->forget_us += op->type == STORE_FORGET ? took : 0;
    return rc;
}

/* The whole batch, as it nearly always goes. */
static int write_together(struct writer *w, struct store_batch *b) {
    int rc = write_simple(w, WRITE_BEGIN);
    for (size_t i = 0; i < b->count && rc == SQLITE_OK; i++) {
        rc = write_timed_op(w, b, &b->ops[i]);
    }
    return rc == SQLITE_OK ? write_simple(w, WRITE_COMMIT) : rc;
}

/* ---- set by set, once it is known that one of them cannot be kept ---- */

/* It lies with the row that was written, not with the disk or the memory. */
static bool fault_of_set(int rc) {
    int primary = rc & 0xff;
    return primary == SQLITE_CONSTRAINT || primary == SQLITE_TOOBIG || primary == SQLITE_MISMATCH || primary == SQLITE_RANGE;
}

static void set_failed(struct writer *w, struct store_batch *b, uint32_t set, size_t ops, int rc) {
    log_error("store_set_failed", "batch=%llu set=%u ops=%zu code=%d error=\"%s\"", (unsigned long long) b->number, set, ops, rc,
              sqlite3_errmsg(w->db));
    b->sets[set].result = b->result = STORE_FAILED;
}

/* The set whose ops stand at these places, or nothing of it. */
static int write_set(struct writer *w, struct store_batch *b, const size_t *places, size_t count) {
    uint32_t set = b->ops[places[0]].set;
    int rc = write_simple(w, WRITE_SAVEPOINT);
    for (size_t i = 0; i < count && rc == SQLITE_OK; i++) {
        rc = write_timed_op(w, b, &b->ops[places[i]]);
    }
    if (fault_of_set(rc) && !sqlite3_get_autocommit(w->db)) {
        set_failed(w, b, set, count, rc);
        rc = write_simple(w, WRITE_SAVEPOINT_BACK);
    }
    return rc == SQLITE_OK ? write_simple(w, WRITE_SAVEPOINT_END) : rc;
}

static int write_apart(struct writer *w, struct store_batch *b) {
    size_t *places = rows_by_set(b), count;
    int rc = write_simple(w, WRITE_BEGIN);
    for (size_t i = 0; i < b->count && rc == SQLITE_OK; i += count) {
        for (count = 1; i + count < b->count && b->ops[places[i + count]].set == b->ops[places[i]].set; count++) {
        }
        rc = write_set(w, b, places + i, count);
    }
    mem_free(places);
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

static void writer_roll_back(struct writer *w) {
    if (!sqlite3_get_autocommit(w->db)) {
        (void) write_simple(w, WRITE_ROLLBACK);
    }
}

static void writer_begin(struct store_batch *b) {
    rows_set_results(b, STORE_OK);
    b->sweep_us = b->forget_us = 0;
    b->more = false;
}

void writer_apply(struct writer *w, struct store_batch *b) {
    writer_begin(b);
    if (w->dead) {
        rows_set_results(b, STORE_DEAD);
        return;
    }
    int rc = b->count ? write_together(w, b) : SQLITE_OK;
    if (fault_of_set(rc)) {
        writer_roll_back(w);
        writer_begin(b);
        rc = write_apart(w, b);
    }
    if (rc == SQLITE_OK) {
        writer_note_success(w, b);
        return;
    }
    if (sqlite_sync_failed(rc)) {
        sqlite_die(w->db, "commit", &w->dead);
    } else {
        writer_note_failure(w, b, rc);
    }
    writer_roll_back(w);
    rows_set_results(b, w->dead ? STORE_DEAD : STORE_FAILED);
}

/* ---- the log ---- */

#define PAGE_BYTES 4096
#define CHECKPOINT_PAGES (4 * 1024 * 1024 / PAGE_BYTES)
#define REST_PAGES (16 * 1024 * 1024 / PAGE_BYTES) /* from here on it is to begin anew as soon as that is cheap: */
#define REST_MOST 64                               /* so many pages are left to copy */
#define RESTART_PAGES (64 * 1024 * 1024 / PAGE_BYTES)
#define RESTART_WAIT_MS 100 /* for readers that still look into the log */

static int writer_committed(void *arg, sqlite3 *db, const char *name, int pages) {
    struct writer *w = arg;
    (void) db;
    (void) name;
    if (pages < w->wal_pages) { /* the log began anew */
        w->tried_pages = w->rest_pages = 0;
        w->copied = 0;
    }
    w->wal_pages = pages;
    return SQLITE_OK;
}

enum writer_wish writer_wish(struct writer *w, bool copying) {
    int grown = w->wal_pages - w->tried_pages, left = w->wal_pages - w->copied;
    bool anew = w->wal_pages >= REST_PAGES && (!w->rest_pages || w->wal_pages - w->rest_pages >= CHECKPOINT_PAGES);
    enum writer_wish wish = WRITER_WANTS_NOTHING;
    if (grown >= CHECKPOINT_PAGES && w->wal_pages >= RESTART_PAGES) {
        wish = WRITER_WANTS_RESTART;
    } else if (!copying && anew && left >= 0 && left <= REST_MOST) {
        w->rest_pages = w->wal_pages;
        wish = WRITER_WANTS_REST;
    } else if (!copying && grown >= (anew ? REST_MOST : CHECKPOINT_PAGES)) {
        wish = WRITER_WANTS_CHECKPOINT;
    }
    if (wish != WRITER_WANTS_NOTHING) {
        w->tried_pages = w->wal_pages;
    }
    return wish;
}

void writer_copy_rest(struct writer *w) {
    sqlite_checkpoint_beside(w->db, &w->copied, &w->checkpoint_failing, &w->dead);
}

void writer_restart_log(struct writer *w) {
    sqlite3_busy_timeout(w->db, RESTART_WAIT_MS);
    if (sqlite_checkpoint(w->db, SQLITE_CHECKPOINT_TRUNCATE, &w->checkpoint_failing, &w->dead)) {
        w->wal_pages = w->tried_pages = w->rest_pages = 0;
        w->copied = 0;
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
