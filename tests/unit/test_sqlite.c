/* What the embedded store promises besides what every store does: opening, files, failures of the disk, checkpoints, backups. */
#include "unit.h"

#include "alloc_fail.h"
#include "nasty_vfs.h"
#include "store/sqlite/db.h"
#include "store_harness.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static bool session_there(struct harness *h, uint64_t n) {
    struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(n)};
    harness_ask(h, &q);
    assert_int_equal(q.result, STORE_OK);
    arena_fini(&q.arena);
    return q.answer.session.found;
}

static enum store_result put_session(struct harness *h, uint64_t n) {
    struct store_op op = op_session(n, NULL, NULL, 0);
    return harness_apply(h, &op, 1);
}

static void close_store(struct harness *h) {
    store_destroy(h->store);
    h->store = NULL;
}

static void begin(struct harness *h) {
    harness_init(h);
    harness_make_dir(h);
}

static void write_file(const char *path, const char *text, size_t len) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
}

static void sql(const char *path, const char *text) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int64_t number_in(const char *path, const char *query) {
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static int64_t file_bytes(const struct harness *h, const char *suffix) {
    char path[160];
    struct stat st;
    snprintf(path, sizeof(path), "%s%s", h->path, suffix);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* ---- opening ---- */

static void test_what_was_committed_is_there_after_a_restart(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, false);
    assert_int_equal(put_session(&h, 1), STORE_OK);
    close_store(&h);
    assert_int_equal(file_bytes(&h, "-wal"), -1); /* a clean stop leaves one file */
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    assert_true(session_there(&h, 1));
    harness_stop(&h);
}

static void test_files_are_nobody_elses_to_read(void **state) {
    (void) state;
    struct harness h;
    struct stat st;
    harness_start(&h, false);
    assert_int_equal(put_session(&h, 1), STORE_OK);
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < 4; i++) {
        char path[160];
        snprintf(path, sizeof(path), "%s%s", h.path, suffixes[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    harness_stop(&h);
}

static void assert_refused_unchanged(const char *text, size_t len) {
    struct harness h;
    begin(&h);
    write_file(h.path, text, len);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_FOREIGN);
    assert_int_equal(file_bytes(&h, ""), len);
    harness_stop(&h);
}

static void test_a_file_that_is_no_database_is_left_alone(void **state) {
    (void) state;
    static char page[8192];
    memset(page, 'x', sizeof(page));
    assert_refused_unchanged("x", 1);
    assert_refused_unchanged(page, sizeof(page));
}

static void test_a_foreign_database_is_left_alone(void **state) {
    (void) state;
    struct harness h;
    begin(&h);
    sql(h.path, "CREATE TABLE t(x)");
    assert_int_equal(harness_open(&h), SQLITE_OPEN_FOREIGN);
    sql(h.path, "INSERT INTO t VALUES(1); PRAGMA user_version = 1");
    assert_int_equal(harness_open(&h), SQLITE_OPEN_FOREIGN);
    harness_stop(&h);
    begin(&h);
    assert_int_equal(mkdir(h.path, 0700), 0);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_FOREIGN);
    harness_stop(&h);
}

static void test_an_empty_file_is_taken(void **state) {
    (void) state;
    struct harness h;
    begin(&h);
    write_file(h.path, "", 0);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    assert_int_equal(put_session(&h, 1), STORE_OK);
    harness_stop(&h);
}

static void test_a_newer_version_is_refused(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, false);
    close_store(&h);
    sql(h.path, "PRAGMA user_version = 1000");
    assert_int_equal(harness_open(&h), SQLITE_OPEN_NEWER);
    harness_stop(&h);
}

/* As the first version made it. */
static const char version_1[] =
    "CREATE TABLE meta(  name TEXT NOT NULL PRIMARY KEY, value TEXT) STRICT, WITHOUT ROWID;"
    "CREATE TABLE sessions("
    "  id BLOB NOT NULL PRIMARY KEY, state INTEGER NOT NULL, reason INTEGER NOT NULL, gen INTEGER NOT NULL, seq INTEGER NOT NULL,"
    "  gone_floor INTEGER NOT NULL, user TEXT, key_hash BLOB, metadata TEXT, created_at INTEGER NOT NULL, ended_at INTEGER NOT NULL,"
    "  active_at INTEGER NOT NULL, idle_timeout INTEGER NOT NULL, max_age INTEGER NOT NULL, rotated_at INTEGER NOT NULL, merged_into BLOB,"
    "  due_at INTEGER NOT NULL, jwt_from INTEGER NOT NULL, jwt_old_session BLOB) STRICT;"
    "CREATE UNIQUE INDEX sessions_key ON sessions(key_hash) WHERE state = 0 AND key_hash IS NOT NULL;"
    "CREATE INDEX sessions_user ON sessions(user, id) WHERE user IS NOT NULL;"
    "CREATE INDEX sessions_due ON sessions(due_at, id) WHERE due_at > 0;"
    "CREATE TABLE tasks("
    "  id BLOB NOT NULL PRIMARY KEY, session BLOB NOT NULL, state INTEGER NOT NULL, version INTEGER NOT NULL, due_at INTEGER NOT NULL,"
    "  kind TEXT, queue TEXT, body TEXT) STRICT;"
    "CREATE INDEX tasks_session ON tasks(session, id, state);"
    "CREATE INDEX tasks_unfinished ON tasks(session) WHERE state < 3;"
    "CREATE INDEX tasks_due ON tasks(due_at, id) WHERE due_at > 0;"
    "CREATE TABLE inputs(task BLOB NOT NULL PRIMARY KEY, data TEXT) STRICT;"
    "CREATE TABLE results(task BLOB NOT NULL PRIMARY KEY, data TEXT) STRICT;"
    "CREATE TABLE output(  task BLOB NOT NULL, offset INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB,  PRIMARY KEY(task, offset)) STRICT;"
    "CREATE INDEX output_seq ON output(task, seq, offset);"
    "CREATE TABLE gone("
    "  session BLOB NOT NULL, seq INTEGER NOT NULL, task BLOB NOT NULL, reason INTEGER NOT NULL, at INTEGER NOT NULL,"
    "  PRIMARY KEY(session, seq)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE tombstones("
    "  task BLOB NOT NULL PRIMARY KEY, session BLOB NOT NULL, watch_gen INTEGER NOT NULL, attempt INTEGER NOT NULL, kind TEXT, state INTEGER NOT "
    "NULL,"
    "  ended_at INTEGER NOT NULL, gone_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX tombstones_gone ON tombstones(gone_at, task);"
    "CREATE TABLE idempotency("
    "  scope BLOB NOT NULL PRIMARY KEY, request BLOB, status INTEGER NOT NULL, location TEXT, cookie TEXT, answer BLOB, expires_at INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX idempotency_expires ON idempotency(expires_at, scope) WHERE expires_at > 0;"
    "CREATE TABLE old_keys("
    "  key_hash BLOB NOT NULL PRIMARY KEY, session BLOB NOT NULL, at INTEGER NOT NULL, kept INTEGER NOT NULL, expires_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX old_keys_expires ON old_keys(expires_at, key_hash) WHERE expires_at > 0;"
    "CREATE TABLE kinds(kind TEXT NOT NULL PRIMARY KEY, body TEXT) STRICT;"
    "PRAGMA application_id = 1651472236; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;"
    "INSERT INTO meta VALUES('schema', '1'), ('epoch', 'abcd'), ('clean', '1');"
    "INSERT INTO sessions VALUES(x'01000000000000000000000000000001', 0, 0, 1, 99, 0, 'u', NULL, '{}', 1, 0, 2, 0, 0, 0, NULL, 0, 0, NULL);"
    "INSERT INTO tasks VALUES(x'0100000000000000000000000000000a', x'01000000000000000000000000000001', 1, 7, 0, 'report', 'q',"
    "  '{\"v\":1,\"title\":\"T\",\"current\":3,\"total\":4,\"progress.unit\":\"pages\",\"updated_at\":5}');"
    "INSERT INTO tasks VALUES(x'0100000000000000000000000000000b', x'01000000000000000000000000000001', 3, 8, 50, 'report', NULL, '{\"v\":1}');"
    "INSERT INTO inputs VALUES(x'0100000000000000000000000000000a', '[1]');"
    "INSERT INTO kinds VALUES('report', '{\"ms\":[5]}');"
    "INSERT INTO sessions VALUES(x'01000000000000000000000000000002', 1, 1, 5, 99, 0, 'u', NULL, '{}', 1, 9, 2, 0, 0, 0, NULL, 0, 10,"
    "  x'01000000000000000000000000000002');"
    "INSERT INTO old_keys VALUES(zeroblob(32), x'01000000000000000000000000000002', 9500, 0, 900000),"
    "  (x'0100000000000000000000000000000000000000000000000000000000000000', x'01000000000000000000000000000001', 9500, 1, 900000),"
    "  (x'0200000000000000000000000000000000000000000000000000000000000000', x'01000000000000000000000000000009', 9500, 0, 0);";

static void assert_sound(const char *path) {
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_string_equal((const char *) sqlite3_column_text(st, 0), "ok");
    sqlite3_finalize(st);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* What people see of the two tasks, with or without progress apart from the row. */
static void assert_tasks_now(const char *path, const char *where) {
    char text[400];
    snprintf(text, sizeof(text),
             "SELECT count(*) FROM tasks_now WHERE hex(id) = '0100000000000000000000000000000A' AND kind = 'report' AND title = 'T' AND %s", where);
    assert_int_equal(number_in(path, text), 1);
    assert_int_equal(number_in(path, "SELECT count(*) FROM tasks_now WHERE state = 3 AND version = 8 AND current IS NULL AND stalled = 0"), 1);
}

static void test_an_older_version_is_brought_up_to_date(void **state) {
    (void) state;
    struct harness h, made;
    harness_start(&made, false);
    close_store(&made);
    begin(&h);
    sql(h.path, version_1);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(1)};
    harness_ask(&h, &q);
    assert_true(q.answer.session.found && q.answer.session.tasks.count == 2 && q.answer.session.row.seq == 99);
    assert_true(id_eq(q.answer.session.tasks.list[0].id, nth_id(10)) && q.answer.session.tasks.list[0].version == 7 &&
                q.answer.session.tasks.list[0].slot == 0 && !q.answer.session.tasks.list[0].progress);
    assert_true(id_eq(q.answer.session.tasks.list[1].id, nth_id(11)) && q.answer.session.tasks.list[1].due_at == 50 &&
                !q.answer.session.tasks.list[1].queue.p);
    struct store_op op = op_task_slot(10, 1, 1, 9, 1);
    op.row.task.body = q.answer.session.tasks.list[0].body;
    struct store_op ops[] = {op, op_progress(1, 10, 12)};
    assert_int_equal(harness_apply(&h, ops, 2), STORE_OK);
    arena_fini(&q.arena);
    q = (struct store_query){.type = STORE_START};
    harness_ask(&h, &q);
    assert_true(q.answer.start.sessions.count == 1 && str_eqz(q.answer.start.epoch, "abcd") && str_eqz(q.answer.start.clean, "1"));
    assert_true(q.answer.start.kind_count == 1 && str_eqz(q.answer.start.kinds[0].kind, "report") && q.answer.start.kinds[0].phase.p &&
                !q.answer.start.kinds[0].phase.len);
    assert_true(str_eqz(q.answer.start.kinds[0].body, "{\"ms\":[5]}"));
    arena_fini(&q.arena);
    struct id ids[] = {nth_id(10)};
    q = (struct store_query){.type = STORE_GET_INPUT, .ask.inputs.list = ids, .ask.inputs.count = 1};
    harness_ask(&h, &q);
    assert_true(str_eqz(q.answer.inputs.list[0], "[1]"));
    arena_fini(&q.arena);
    static const struct {
        int64_t from;
        unsigned session, gen;
    } lost[] = {{10, 2, 5}, {9, 1, 0}, {10, 9, 0}}; /* ended: its last; goes on: the one before; forgotten */
    for (size_t i = 0; i < 3; i++) {
        char hash[KEY_HASH_BYTES] = {(char) i};
        q = (struct store_query){.type = STORE_FIND_OLD_KEY,
                                 .ask.old_key.hashes = str_n(hash, sizeof(hash)),
                                 .ask.old_key.after_s = lost[i].from - 1,
                                 .ask.old_key.now = 1};
        harness_ask(&h, &q);
        assert_true(q.answer.old_key && q.answer.old_key->jwt_from_s == lost[i].from && q.answer.old_key->gen == lost[i].gen &&
                    q.answer.old_key->at == 9500);
        assert_true(id_eq(q.answer.old_key->session, nth_id(lost[i].session)));
        arena_fini(&q.arena);
    }
    close_store(&h);
    assert_sound(h.path);
    assert_int_equal(number_in(h.path, "SELECT count(*) FROM sqlite_schema"), number_in(made.path, "SELECT count(*) FROM sqlite_schema"));
    assert_int_equal(number_in(h.path, "PRAGMA user_version"), number_in(made.path, "PRAGMA user_version"));
    assert_int_equal(
        number_in(h.path, "SELECT CAST(value AS INTEGER) = (SELECT user_version FROM pragma_user_version) FROM meta WHERE name = 'schema'"), 1);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK); /* and once more, as it is now */
    q = (struct store_query){.type = STORE_LOAD_SESSION, .ask.session = nth_id(1)};
    harness_ask(&h, &q);
    assert_true(q.answer.session.tasks.count == 2 && q.answer.session.tasks.list[1].progress &&
                q.answer.session.tasks.list[1].progress->version == 12);
    arena_fini(&q.arena);
    harness_stop(&h);
    harness_stop(&made);
}

static void test_people_see_the_newest_progress(void **state) {
    (void) state;
    struct harness h;
    begin(&h);
    sql(h.path, version_1);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    close_store(&h);
    assert_tasks_now(h.path, "version = 7 AND current = 3 AND total = 4 AND unit = 'pages' AND message IS NULL AND updated_at = 5");
    assert_tasks_now(h.path, "phase IS NULL AND data IS NULL");
    sql(h.path, "UPDATE tasks SET slot = 3 WHERE state = 1; INSERT INTO progress VALUES(3, x'0100000000000000000000000000000a', 6, 9, 1, 1, 1, 1, "
                "'x', 'y', 1, 1, 'z', '[1]')");
    assert_tasks_now(h.path, "version = 7 AND current = 3 AND total = 4 AND unit = 'pages' AND message IS NULL AND stalled = 0 AND updated_at = 5");
    sql(h.path, "UPDATE progress SET version = 8, total = NULL");
    assert_tasks_now(
        h.path,
        "version = 8 AND current = 1 AND total IS NULL AND unit = 'x' AND message = 'y' AND rate = 1 AND eta = 1 AND stalled = 1 AND updated_at = 9");
    assert_tasks_now(h.path, "phase = 'z' AND data = '[1]'");
    sql(h.path, "UPDATE progress SET phase = ''");
    assert_tasks_now(h.path, "phase IS NULL AND data = '[1]'");
    sql(h.path, "UPDATE progress SET task = x'00'");
    assert_tasks_now(h.path, "version = 7 AND current = 3");
    harness_stop(&h);
}

static void test_a_second_server_is_refused(void **state) {
    (void) state;
    struct harness h, other;
    harness_start(&h, false);
    harness_init(&other);
    strcpy(other.path, h.path);
    assert_int_equal(harness_open(&other), SQLITE_OPEN_LOCKED);
    close_store(&h);
    assert_int_equal(harness_open(&other), SQLITE_OPEN_OK);
    harness_stop(&other);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    harness_stop(&h);
}

static void test_a_missing_directory_is_an_error(void **state) {
    (void) state;
    struct harness h;
    begin(&h);
    strcat(h.path, "/x");
    assert_int_equal(harness_open(&h), SQLITE_OPEN_FAILED);
    harness_stop(&h);
}

/* In a child that is not root, for whom permissions count. */
static int open_as_nobody(struct harness *h) {
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && setuid(65534) != 0) {
            _exit(99);
        }
        _exit((int) harness_open(h));
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_what_cannot_be_written_is_refused(void **state) {
    (void) state;
    struct harness h;
    char lock[160];
    harness_start(&h, false);
    assert_int_equal(put_session(&h, 1), STORE_OK);
    close_store(&h);
    snprintf(lock, sizeof(lock), "%s.lock", h.path);
    assert_int_equal(chmod(h.dir, 0755), 0);
    assert_int_equal(chmod(lock, 0666), 0);
    assert_int_equal(chmod(h.path, 0444), 0);
    assert_int_equal(open_as_nobody(&h), SQLITE_OPEN_NOT_WRITABLE);
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(chmod(h.dir, 0555), 0);
    assert_int_equal(open_as_nobody(&h), SQLITE_OPEN_NOT_WRITABLE);
    assert_int_equal(chmod(h.dir, 0700), 0);
    harness_stop(&h);
}

/* ---- a disk that fails ---- */

static void test_a_full_disk_at_the_first_start_is_said(void **state) {
    (void) state;
    struct harness h;
    begin(&h);
    nasty_write = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL;
    assert_int_equal(harness_open(&h), SQLITE_OPEN_FULL);
    nasty_write = 0;
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    harness_stop(&h);
}

static void test_a_full_disk_fails_a_batch_and_no_more(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, false);
    assert_int_equal(put_session(&h, 1), STORE_OK);
    nasty_write = SQLITE_OPEN_WAL;
    assert_int_equal(put_session(&h, 2), STORE_FAILED);
    assert_int_equal(put_session(&h, 2), STORE_FAILED);
    nasty_write = 0;
    assert_true(session_there(&h, 1));
    assert_false(session_there(&h, 2));
    assert_int_equal(put_session(&h, 3), STORE_OK);
    close_store(&h);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    assert_false(session_there(&h, 2));
    assert_true(session_there(&h, 3));
    harness_stop(&h);
}

static void test_a_failed_fsync_is_final_but_reading_goes_on(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, false);
    assert_int_equal(put_session(&h, 1), STORE_OK);
    nasty_sync = SQLITE_OPEN_WAL;
    assert_int_equal(put_session(&h, 2), STORE_DEAD);
    nasty_sync = 0;
    assert_int_equal(put_session(&h, 3), STORE_DEAD);
    assert_int_equal(harness_apply(&h, NULL, 0), STORE_DEAD);
    assert_true(session_there(&h, 1));
    assert_false(session_there(&h, 2));
    close_store(&h);
    assert_true(file_bytes(&h, "-wal") > 0); /* nothing was tidied away */
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    assert_true(session_there(&h, 1));
    assert_false(session_there(&h, 3));
    assert_int_equal(put_session(&h, 3), STORE_OK);
    harness_stop(&h);
}

static enum store_result put_result(struct harness *h, uint64_t n, size_t len) {
    char *data = calloc(1, len);
    memset(data, 'r', len);
    struct store_op op = op_data(STORE_PUT_RESULT, n, str_n(data, len));
    enum store_result result = harness_apply(h, &op, 1);
    free(data);
    return result;
}

static void test_a_failed_fsync_in_a_checkpoint_is_final_too(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, false);
    nasty_sync = SQLITE_OPEN_MAIN_DB;
    assert_int_equal(put_result(&h, 1, 5 << 20), STORE_OK);
    enum store_result result = STORE_OK;
    for (unsigned i = 0; i < 12 && result == STORE_OK; i++) {
        usleep(20000u << (i < 7 ? i : 7)); /* only a checkpoint that nobody writes beside syncs the database */
        result = put_session(&h, 1);
        if (result == STORE_OK) {
            result = put_result(&h, 2 + i, 5 << 20);
        }
    }
    assert_int_equal(result, STORE_DEAD);
    nasty_sync = 0;
    close_store(&h);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    struct store_query q = {.type = STORE_GET_RESULT, .ask.task = nth_id(1)};
    harness_ask(&h, &q);
    assert_int_equal(q.answer.result.len, 5 << 20);
    arena_fini(&q.arena);
    harness_stop(&h);
}

/* ---- no memory: the parts of the store called directly, with each allocation refused in turn ---- */

struct parts {
    struct writer writer;
    struct reader reader;
};

static void parts_open(struct parts *p, const struct harness *h) {
    sqlite3 *db = NULL;
    memset(p, 0, sizeof(*p));
    assert_int_equal(sqlite3_open(h->path, &db), SQLITE_OK);
    assert_int_equal(writer_init(&p->writer, db), SQLITE_OK);
    assert_int_equal(sqlite3_open(h->path, &db), SQLITE_OK);
    assert_int_equal(reader_init(&p->reader, db), SQLITE_OK);
}

static void parts_close(struct parts *p) {
    reader_fini(&p->reader);
    writer_fini(&p->writer);
}

static enum store_result parts_ask(struct parts *p, struct store_query *q) {
    struct id at = {0};
    while (!reader_answer(&p->reader, q, &at)) {
    }
    return q->result;
}

static void test_a_batch_without_memory_is_not_kept(void **state) {
    (void) state;
    struct harness h;
    struct parts p;
    harness_start(&h, false);
    close_store(&h);
    parts_open(&p, &h);
    char body[6000] = {0};
    bool refused = true;
    for (int i = 0; refused; i++) {
        uint64_t n = (uint64_t) i + 1;
        struct store_op ops[] = {
            op_session(n, "u", NULL, 0), op_task(n, n, 1, 1), op_output(n, 0, 1, "out"), {.type = STORE_FORGET, .number = 1}, op_progress(n, n, 2)};
        ops[1].row.task.body = str_n(body, sizeof(body));
        struct store_batch b = {.number = n, .ops = ops, .count = 5, .sets = &(struct store_set){0}, .set_count = 1};
        nasty_malloc_left = i;
        writer_apply(&p.writer, &b);
        enum store_result result = b.sets[0].result;
        refused = nasty_malloc_left < 0;
        nasty_malloc_left = -1;
        assert_true(result == STORE_OK || (result == STORE_FAILED && refused));
        struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(n)};
        assert_int_equal(parts_ask(&p, &q), STORE_OK);
        assert_int_equal(q.answer.session.found, result == STORE_OK);
        assert_int_equal(q.answer.session.tasks.count, result == STORE_OK);
        arena_fini(&q.arena);
        assert_true(i < 2000);
    }
    parts_close(&p);
    harness_stop(&h);
}

static bool ask_refused(struct parts *p, struct store_query q, int skip, bool sqlite) {
    if (sqlite) {
        nasty_malloc_left = skip;
    } else {
        alloc_fail_after((unsigned) skip, 0);
    }
    parts_ask(p, &q);
    bool refused = sqlite ? nasty_malloc_left < 0 : alloc_fail_stop() > 0;
    nasty_malloc_left = -1;
    assert_true(q.result == STORE_OK || (q.result == STORE_FAILED && refused));
    if (q.result == STORE_FAILED) {
        static const union store_answer nothing;
        assert_memory_equal(&q.answer, &nothing, sizeof(nothing));
    }
    if (q.type == STORE_GET_OUTPUT) {
        buf_fini(&q.ask.output.bytes);
    }
    arena_fini(&q.arena);
    return refused;
}

/* A query of that type, about the first of these two where it is about one, that finds much. */
static struct store_query ask_much(enum store_query_type type, struct id *ids) {
    struct store_query q = {.type = type};
    struct id_list both = {ids, 2};
    switch (type) {
    case STORE_LOAD_SESSION: q.ask.session = ids[0]; break;
    case STORE_FIND_TASK:
    case STORE_GET_RESULT: q.ask.task = ids[0]; break;
    case STORE_FIND_KEY: q.ask.key_hash = STR("u"); break;
    case STORE_FIND_USER: q.ask.user = STR("u"); break;
    case STORE_FIND_IDEMPOTENCY: q.ask.idempotency.scope = STR("u"); break;
    case STORE_GET_INPUT: q.ask.inputs = both; break;
    case STORE_GET_OUTPUT:
        q.ask.output.task = ids[0];
        q.ask.output.limit = 1000;
        break;
    case STORE_GET_OUTPUT_AFTER:
        q.ask.output_after.tasks = both;
        q.ask.output_after.limit = 1000;
        break;
    case STORE_LIST_SESSIONS:
        q.ask.list_sessions.limit = 1000;
        q.ask.list_sessions.state = -1;
        break;
    case STORE_LIST_TASKS:
        q.ask.list_tasks.limit = 1000;
        q.ask.list_tasks.state = -1;
        break;
    case STORE_DUE:
        q.ask.due.now = INT64_MAX;
        q.ask.due.limit = 1000;
        break;
    case STORE_FIND_OLD_KEY:
    case STORE_START: break;
    }
    return q;
}

static void test_a_query_without_memory_fails_cleanly(void **state) {
    (void) state;
    struct harness h;
    struct parts p;
    harness_start(&h, false);
    struct store_op ops[60];
    for (uint64_t i = 0; i < 20; i++) {
        ops[3 * i] = op_task_slot(i + 1, 1, 1, i, i + 1);
        ops[3 * i + 1] = op_output(1, i * 3, i, "out");
        ops[3 * i + 2] = op_progress(i + 1, i + 1, i * 2);
    }
    assert_int_equal(harness_apply(&h, ops, 60), STORE_OK);
    assert_int_equal(put_session(&h, 1), STORE_OK);
    close_store(&h);
    parts_open(&p, &h);
    struct id ids[] = {nth_id(1), nth_id(2)};
    for (int type = STORE_LOAD_SESSION; type <= STORE_START; type++) {
        struct store_query q = ask_much((enum store_query_type) type, ids);
        for (int sqlite = 0; sqlite < 2; sqlite++) {
            for (int skip = 0; ask_refused(&p, q, skip, sqlite); skip++) {
                assert_true(skip < 2000);
            }
        }
    }
    parts_close(&p);
    harness_stop(&h);
}

/* ---- the log ---- */

static void test_the_log_is_copied_into_the_database_in_a_pause(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, false);
    assert_int_equal(put_result(&h, 1, 5 << 20), STORE_OK);
    for (int i = 0; i < 1000 && file_bytes(&h, "") < 5 << 20; i++) {
        usleep(20000);
    }
    assert_true(file_bytes(&h, "") >= 5 << 20);
    harness_stop(&h);
}

static void test_the_log_stays_bounded_without_a_pause(void **state) {
    (void) state;
    struct harness h;
    int64_t most = 0;
    harness_start(&h, false);
    for (uint64_t i = 0; i < 80; i++) {
        assert_int_equal(put_result(&h, i % 8, 1 << 20), STORE_OK);
        int64_t now = file_bytes(&h, "-wal");
        most = now > most ? now : most;
    }
    assert_true(most < 80 << 20);
    harness_stop(&h);
}

static void test_the_log_begins_anew_when_that_is_cheap(void **state) {
    (void) state;
    const int mib = 256; /* pages */
    struct writer w = {.wal_pages = 3 * mib};
    assert_int_equal(writer_wish(&w, false), WRITER_WANTS_NOTHING);
    w.wal_pages = 4 * mib;
    assert_int_equal(writer_wish(&w, true), WRITER_WANTS_NOTHING); /* one is under way */
    assert_int_equal(writer_wish(&w, false), WRITER_WANTS_CHECKPOINT);
    assert_int_equal(writer_wish(&w, false), WRITER_WANTS_NOTHING); /* once */
    w.wal_pages = 16 * mib;
    w.copied = 12 * mib;
    assert_int_equal(writer_wish(&w, false), WRITER_WANTS_CHECKPOINT); /* too much is left */
    w.wal_pages += 100;
    w.copied = 16 * mib;
    assert_int_equal(writer_wish(&w, true), WRITER_WANTS_NOTHING);
    assert_int_equal(writer_wish(&w, false), WRITER_WANTS_CHECKPOINT); /* closer */
    w.wal_pages += 10;
    w.copied = 16 * mib + 100;
    assert_int_equal(writer_wish(&w, false), WRITER_WANTS_REST);
    w.wal_pages += 10;
    assert_int_equal(writer_wish(&w, false), WRITER_WANTS_NOTHING); /* a reader was in the way: not again at once */
    w.wal_pages = 64 * mib;
    assert_int_equal(writer_wish(&w, true), WRITER_WANTS_RESTART); /* whatever it costs */
    assert_int_equal(writer_wish(&w, true), WRITER_WANTS_NOTHING);
}

/* ---- what is over ---- */

static bool forget_some(struct harness *h, int64_t budget_us) {
    struct store_op op = {.type = STORE_FORGET, .sweep = true, .number = 100, .budget_us = budget_us};
    struct store_batch b = {.number = 1, .ops = &op, .count = 1, .sets = &(struct store_set){0}, .set_count = 1};
    pthread_mutex_lock(&h->mutex);
    h->batch_back = NULL;
    pthread_mutex_unlock(&h->mutex);
    store_submit(h->store, &b);
    pthread_mutex_lock(&h->mutex);
    while (!h->batch_back) {
        pthread_cond_wait(&h->came, &h->mutex);
    }
    pthread_mutex_unlock(&h->mutex);
    assert_int_equal(b.result, STORE_OK);
    assert_true(b.sweep_us == b.forget_us && b.took_us >= b.sweep_us);
    return b.more;
}

/* What is being deleted is no longer to be had, not even the part that is still there. */
static void assert_nothing_of(struct harness *h, struct id id) {
    struct store_query input = {.type = STORE_GET_INPUT, .ask.inputs = {&id, 1}};
    struct store_query result = {.type = STORE_GET_RESULT, .ask.task = id};
    struct store_query output = {.type = STORE_GET_OUTPUT, .ask.output = {.task = id, .limit = 1000}};
    struct store_query after = {.type = STORE_GET_OUTPUT_AFTER, .ask.output_after = {.tasks = {&id, 1}, .limit = 1000}};
    struct store_query *all[] = {&input, &result, &output, &after};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        harness_ask(h, all[i]);
        assert_int_equal(all[i]->result, STORE_OK);
    }
    assert_null(input.answer.inputs.list[0].p);
    assert_null(result.answer.result.p);
    assert_int_equal(output.ask.output.bytes.len, 0);
    assert_int_equal(after.answer.output_after.count, 0);
    buf_fini(&output.ask.output.bytes);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        arena_fini(&all[i]->arena);
    }
}

static void test_what_a_large_task_leaves_goes_in_pieces(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, false);
    struct store_op ops[104] = {op_task(1, 1, 3, 1),
                                {.type = STORE_PUT_RESULT, .id = nth_id(1), .data = STR("1")},
                                {.type = STORE_PUT_INPUT, .id = nth_id(1), .data = STR("2")}};
    for (uint64_t i = 0; i < 100; i++) {
        ops[3 + i] = op_output(1, i * 3, i, "out");
    }
    ops[103] = op_output(2, 0, 1, "not its own");
    assert_int_equal(harness_apply(&h, ops, 104), STORE_OK);
    struct store_op gone = {.type = STORE_DELETE_TASK, .id = nth_id(1), .number = 1};
    assert_int_equal(harness_apply(&h, &gone, 1), STORE_OK);
    assert_int_equal(number_in(h.path, "SELECT count(*) FROM tasks"), 0);
    assert_int_equal(number_in(h.path, "SELECT count(*) FROM output"), 101);
    assert_nothing_of(&h, nth_id(1));
    assert_true(forget_some(&h, 1)); /* a piece at least, however little time there is */
    assert_int_equal(number_in(h.path, "SELECT count(*) FROM output"), 93);
    assert_nothing_of(&h, nth_id(1));
    close_store(&h); /* it goes on after a restart */
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    for (int i = 0; i < 15; i++) {
        assert_true(forget_some(&h, 1));
    }
    assert_false(forget_some(&h, 1));
    assert_int_equal(number_in(h.path, "SELECT count(*) FROM output"), 1);
    assert_int_equal(number_in(h.path, "SELECT (SELECT count(*) FROM results) + (SELECT count(*) FROM inputs) + (SELECT count(*) FROM leftovers)"),
                     0);
    harness_stop(&h);
}

static void test_no_sort_of_what_is_over_waits_for_another(void **state) {
    (void) state;
    struct harness h;
    static struct store_op ops[200];
    harness_start(&h, false);
    for (uint64_t i = 0; i < 100; i++) {
        ops[i] = (struct store_op){.type = STORE_PUT_TOMBSTONE, .row.tombstone = {.task = nth_id(i + 1), .gone_at = 100, .kind = STR("k")}};
        ops[100 + i] = (struct store_op){.type = STORE_PUT_OLD_KEY, .id = nth_id(i + 1), .row.old_key = {.expires_at = 100}};
        ops[100 + i].row.old_key.key_hash = str_n((const char *) &ops[100 + i].id, sizeof(struct id));
    }
    assert_int_equal(harness_apply(&h, ops, 200), STORE_OK);
    assert_true(forget_some(&h, 1));
    assert_int_equal(number_in(h.path, "SELECT count(*) FROM tombstones"), 99);
    assert_int_equal(number_in(h.path, "SELECT count(*) FROM old_keys"), 99);
    assert_false(forget_some(&h, 0));
    assert_int_equal(number_in(h.path, "SELECT (SELECT count(*) FROM tombstones) + (SELECT count(*) FROM old_keys)"), 0);
    harness_stop(&h);
}

/* ---- threads ---- */

static void test_closing_hands_back_everything(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, false);
    struct store_op op = op_session(1, NULL, NULL, 0);
    struct store_batch b = {.number = 1, .ops = &op, .count = 1, .sets = &(struct store_set){0}, .set_count = 1};
    struct store_query q[50];
    bool back[50] = {false};
    store_submit(h.store, &b);
    for (int i = 0; i < 50; i++) {
        q[i] = (struct store_query){.type = STORE_LIST_SESSIONS, .ask.list_sessions.limit = 10, .ask.list_sessions.state = -1, .owner = &back[i]};
        store_query(h.store, &q[i]);
    }
    close_store(&h);
    assert_ptr_equal(h.batch_back, &b);
    assert_int_equal(b.result, STORE_OK);
    assert_int_equal(h.queries_back, 50);
    for (int i = 0; i < 50; i++) {
        assert_true(back[i]);
        arena_fini(&q[i].arena);
    }
    harness_stop(&h);
}

static void test_queries_beside_batches_see_whole_batches(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, false);
    for (uint64_t i = 1; i <= 100; i++) {
        struct store_op ops[2] = {op_session(1, NULL, NULL, 0), op_session(2, NULL, NULL, 0)};
        ops[0].row.session.seq = ops[1].row.session.seq = i;
        struct store_batch b = {.number = i, .ops = ops, .count = 2, .sets = &(struct store_set){0}, .set_count = 1};
        bool back = false;
        struct store_query q = {.type = STORE_LIST_SESSIONS, .ask.list_sessions.limit = 10, .ask.list_sessions.state = -1, .owner = &back};
        h.batch_back = NULL;
        store_submit(h.store, &b);
        store_query(h.store, &q);
        pthread_mutex_lock(&h.mutex);
        while (!back || !h.batch_back) {
            pthread_cond_wait(&h.came, &h.mutex);
        }
        pthread_mutex_unlock(&h.mutex);
        assert_int_equal(b.result, STORE_OK);
        assert_true(q.answer.list_sessions.sessions.count == 2 || (q.answer.list_sessions.sessions.count == 0 && i == 1));
        if (q.answer.list_sessions.sessions.count) {
            assert_int_equal(q.answer.list_sessions.sessions.list[0].seq, q.answer.list_sessions.sessions.list[1].seq);
            assert_true(q.answer.list_sessions.sessions.list[0].seq == i || q.answer.list_sessions.sessions.list[0].seq == i - 1);
        }
        arena_fini(&q.arena);
    }
    harness_stop(&h);
}

struct order {
    struct harness h;
    struct store_query *first;
};

static void order_query_done(void *arg, struct store_query *q) {
    struct order *o = arg;
    pthread_mutex_lock(&o->h.mutex);
    o->first = o->first ? o->first : q;
    pthread_mutex_unlock(&o->h.mutex);
    harness_query_done(&o->h, q);
}

static void test_a_long_list_lets_others_go_first(void **state) {
    (void) state;
    struct order o = {0};
    const uint64_t count = 30000;
    harness_start(&o.h, false);
    struct store_op *ops = calloc(count, sizeof(*ops));
    for (uint64_t i = 0; i < count; i++) {
        ops[i] = op_task(i + 1, 1, 3, i + 1);
    }
    assert_int_equal(harness_apply(&o.h, ops, count), STORE_OK);
    free(ops);
    close_store(&o.h);
    enum sqlite_open_error e;
    struct buf err = {0};
    o.h.store = sqlite_store_open(o.h.path, (struct store_sink){harness_batch_done, order_query_done, &o}, &e, &err);
    assert_non_null(o.h.store);
    bool list_back = false;
    struct store_query list = {.type = STORE_LIST_TASKS,
                               .ask.list_tasks.limit = 10,
                               .ask.list_tasks.state = -1,
                               .ask.list_tasks.kind = STR("no such kind"),
                               .owner = &list_back};
    struct store_query find = {.type = STORE_FIND_TASK, .ask.task = nth_id(5)};
    store_query(o.h.store, &list);
    harness_ask(&o.h, &find);
    close_store(&o.h);
    assert_true(find.answer.task.found);
    assert_ptr_equal(o.first, &find);
    assert_true(list_back);
    assert_int_equal(list.result, STORE_OK);
    assert_int_equal(list.answer.list_tasks.count, 0);
    arena_fini(&list.arena);
    arena_fini(&find.arena);
    harness_stop(&o.h);
}

/* ---- a killed process ---- */

#define KILL_OPS 20

/* Writes batches for ever; says the number of each that was acknowledged. */
static void child_write(struct harness *h, int out) {
    if (harness_open(h) != SQLITE_OPEN_OK) {
        _exit(1);
    }
    for (uint64_t n = 0;; n++) {
        struct store_op ops[KILL_OPS];
        for (uint64_t i = 0; i < KILL_OPS; i++) {
            ops[i] = op_task(n * KILL_OPS + i + 1, n + 1, 1, i);
        }
        if (harness_apply(h, ops, KILL_OPS) != STORE_OK || write(out, &n, sizeof(n)) != sizeof(n)) {
            _exit(1);
        }
    }
}

static void test_what_was_acknowledged_survives_a_kill(void **state) {
    (void) state;
    struct harness h;
    begin(&h);
    for (int round = 0; round < 3; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(ends[0]);
            child_write(&h, ends[1]);
        }
        close(ends[1]);
        usleep(150000 + 10000 * (unsigned) round);
        kill(pid, SIGKILL);
        uint64_t n, acknowledged = 0;
        while (read(ends[0], &n, sizeof(n)) == sizeof(n)) {
            acknowledged = n + 1;
        }
        close(ends[0]);
        waitpid(pid, NULL, 0);
        assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
        for (uint64_t i = 0; i <= acknowledged; i++) {
            struct store_op probe = op_session(i + 1, NULL, NULL, 0);
            assert_int_equal(harness_apply(&h, &probe, 1), STORE_OK);
            struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(i + 1)};
            harness_ask(&h, &q);
            assert_true(q.answer.session.tasks.count == KILL_OPS || (i == acknowledged && q.answer.session.tasks.count == 0));
            arena_fini(&q.arena);
        }
        close_store(&h);
    }
    harness_stop(&h);
}

/* ---- backups ---- */

/* What a copy is called while it is being made is not there, nor what SQLite puts beside it. */
static void assert_no_part(const struct harness *h, const char *name) {
    static const char *const ends[] = {"", "-journal", "-wal", "-shm"};
    for (unsigned i = 0; i < 4; i++) {
        char part[64], own[64];
        snprintf(part, sizeof(part), "%s.%ld.part%s", name, (long) getpid(), ends[i]);
        snprintf(own, sizeof(own), "%s%s", name, ends[i]);
        assert_int_equal(file_bytes(h, part), -1);
        assert_true(i == 0 || file_bytes(h, own) == -1);
    }
}

static void test_a_backup_beside_a_server_is_whole(void **state) {
    (void) state;
    struct harness h, copy;
    struct buf err = {0};
    struct stat st;
    harness_start(&h, false);
    for (uint64_t i = 1; i <= 20; i++) {
        assert_int_equal(put_session(&h, i), STORE_OK);
    }
    begin(&copy);
    assert_int_equal(sqlite_store_backup(h.path, copy.path, NULL, 0, &err), 0);
    assert_int_equal(put_session(&h, 21), STORE_OK);
    assert_int_equal(sqlite_store_backup(h.path, copy.path, NULL, 0, &err), -1); /* never over a file that is there */
    assert_true(err.len > 0);
    assert_int_equal(stat(copy.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(harness_open(&copy), SQLITE_OPEN_OK);
    assert_true(session_there(&copy, 1));
    assert_true(session_there(&copy, 20));
    assert_false(session_there(&copy, 21));
    buf_fini(&err);
    harness_stop(&copy);
    harness_stop(&h);
}

static void test_a_backup_of_a_stopped_server_leaves_nothing_behind(void **state) {
    (void) state;
    struct harness h;
    struct buf err = {0};
    char to[160];
    harness_start(&h, false);
    assert_int_equal(put_session(&h, 1), STORE_OK);
    close_store(&h);
    snprintf(to, sizeof(to), "%s.copy", h.path);
    assert_int_equal(sqlite_store_backup(h.path, to, NULL, 0, &err), 0);
    assert_no_part(&h, ".copy");
    assert_int_equal(file_bytes(&h, ".copy"), file_bytes(&h, ""));
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    assert_true(session_there(&h, 1));
    buf_fini(&err);
    harness_stop(&h);
}

static void test_a_backup_that_cannot_be_is_refused(void **state) {
    (void) state;
    struct harness h;
    struct buf err = {0};
    char to[160];
    begin(&h);
    snprintf(to, sizeof(to), "%s.copy", h.path);
    assert_int_equal(sqlite_store_backup(h.path, to, NULL, 0, &err), -1); /* no such file */
    sql(h.path, "CREATE TABLE t(x)");
    assert_int_equal(sqlite_store_backup(h.path, to, NULL, 0, &err), -1); /* not ours */
    assert_int_equal(unlink(h.path), 0);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    nasty_write = SQLITE_OPEN_MAIN_DB;
    assert_int_equal(sqlite_store_backup(h.path, to, NULL, 0, &err), -1); /* full */
    nasty_write = 0;
    assert_int_equal(file_bytes(&h, ".copy"), -1);
    assert_no_part(&h, ".copy");
    buf_fini(&err);
    harness_stop(&h);
}

/* ---- restoring ---- */

struct given {
    struct buf text;
    int result;
};

static int give_extra(void *arg, const char *name, struct str data, struct buf *err) {
    struct given *g = arg;
    buf_printf(&g->text, "%s=", name);
    buf_str(&g->text, data);
    buf_char(&g->text, ';');
    if (g->result) {
        buf_puts(err, "the test wants it so");
    }
    return g->result;
}

static const struct sqlite_extra test_extras[] = {{"secret", {"s3\0cret-words", 13}}, {"api.key", {"blk_", 4}}};

static void backup_of_one_session(struct harness *h, char to[160]) {
    struct buf err = {0};
    harness_start(h, false);
    assert_int_equal(put_session(h, 1), STORE_OK);
    snprintf(to, 160, "%s.copy", h->path);
    assert_int_equal(sqlite_store_backup(h->path, to, test_extras, 2, &err), 0);
    buf_fini(&err);
}

static void test_a_restored_store_is_the_same_with_every_generation_raised(void **state) {
    (void) state;
    struct harness h, again;
    struct given given = {.result = 0};
    struct buf err = {0};
    struct stat st;
    char to[160];
    backup_of_one_session(&h, to);
    sql(to, "UPDATE sessions SET gen = 7; INSERT INTO meta VALUES('epoch', 'abc');"
            "INSERT INTO old_keys SELECT zeroblob(32), 1, 1, id, 7, 0 FROM sessions; INSERT INTO old_keys SELECT zeroblob(32), 1, 1, id, 6, 0 FROM "
            "sessions;"
            "INSERT INTO tombstones VALUES(x'00112233445566778899aabbccddeeff', x'00112233445566778899aabbccddeeff', 3, 1, 'k', 3, 1, 1)");
    begin(&again);
    struct sqlite_restore how = {.least_gen = 1000, .extra = give_extra, .arg = &given};
    assert_int_equal(sqlite_store_restore(to, again.path, &how, &err), 0);
    assert_memory_equal(buf_z(&given.text), "api.key=blk_;secret=s3\0cret-words;", 34);
    assert_int_equal(stat(again.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(number_in(again.path, "SELECT gen FROM sessions"), 1000);
    assert_int_equal(number_in(again.path, "SELECT watch_gen FROM tombstones"), 1003);
    assert_int_equal(number_in(again.path, "SELECT max(gen) * 10 + min(gen) FROM old_keys"), 10006); /* the last stays the last, others stay old */
    assert_int_equal(number_in(again.path, "SELECT count(*) FROM meta WHERE name = 'epoch'"), 0);
    assert_int_equal(number_in(again.path, "SELECT count(*) FROM sqlite_schema WHERE name = 'bowline_backup'"), 0);
    assert_int_equal(number_in(to, "SELECT gen FROM sessions"), 7); /* the backup is as it was */
    assert_int_equal(harness_open(&again), SQLITE_OPEN_OK);
    assert_true(session_there(&again, 1));
    close_store(&again);
    buf_clear(&given.text);
    how.least_gen = 10;
    char third[160];
    snprintf(third, sizeof(third), "%s.third", again.path);
    assert_int_equal(sqlite_store_restore(to, third, &how, &err), 0);
    assert_int_equal(number_in(third, "SELECT gen FROM sessions"), 10);
    sql(to, "UPDATE sessions SET gen = 4000000000");
    snprintf(third, sizeof(third), "%s.fourth", again.path);
    assert_int_equal(sqlite_store_restore(to, third, &how, &err), 0);
    assert_true(number_in(third, "SELECT gen FROM sessions") == 4000000001);
    buf_fini(&given.text);
    buf_fini(&err);
    harness_stop(&again);
    harness_stop(&h);
}

static void test_a_backup_of_an_older_version_is_restored(void **state) {
    (void) state;
    struct harness h, again;
    struct given given = {.result = 0};
    struct buf err = {0};
    char to[200];
    begin(&h);
    begin(&again);
    sql(h.path, version_1);
    snprintf(to, sizeof(to), "%s.copy", h.path);
    assert_int_equal(sqlite_store_backup(h.path, to, test_extras, 2, &err), 0);
    struct sqlite_restore how = {.least_gen = 1000, .extra = give_extra, .arg = &given};
    assert_int_equal(sqlite_store_restore(to, again.path, &how, &err), 0);
    assert_int_equal(number_in(again.path, "SELECT min(gen) FROM sessions"), 1000);
    assert_int_equal(number_in(again.path, "SELECT gen FROM old_keys WHERE key_hash = zeroblob(32)"), 1000);
    assert_int_equal(harness_open(&again), SQLITE_OPEN_OK);
    assert_true(session_there(&again, 1));
    buf_fini(&given.text);
    buf_fini(&err);
    harness_stop(&again);
    harness_stop(&h);
}

static void test_nothing_of_the_secret_is_left_in_a_restored_store(void **state) {
    (void) state;
    struct harness h, again;
    struct given given = {.result = 0};
    struct buf err = {0}, bytes = {0};
    char to[160];
    backup_of_one_session(&h, to);
    begin(&again);
    struct sqlite_restore how = {.least_gen = 1000, .extra = give_extra, .arg = &given};
    assert_int_equal(sqlite_store_restore(to, again.path, &how, &err), 0);
    FILE *f = fopen(again.path, "rb");
    assert_non_null(f);
    assert_true(buf_reserve(&bytes, 1024 * 1024));
    bytes.len = fread(bytes.data, 1, 1024 * 1024, f);
    fclose(f);
    assert_true(bytes.len > 0 && bytes.len < 1024 * 1024);
    assert_null(memmem(bytes.data, bytes.len, "cret-words", 10));
    buf_fini(&given.text);
    buf_fini(&bytes);
    buf_fini(&err);
    harness_stop(&again);
    harness_stop(&h);
}

static void test_a_restore_that_cannot_be_leaves_nothing(void **state) {
    (void) state;
    struct harness h, again;
    struct given given = {.result = 0};
    struct buf err = {0};
    char to[160], bare[160];
    backup_of_one_session(&h, to);
    begin(&again);
    struct sqlite_restore how = {.least_gen = 1000, .extra = give_extra, .arg = &given};
    snprintf(bare, sizeof(bare), "%s.bare", h.path);
    assert_int_equal(sqlite_store_backup(h.path, bare, NULL, 0, &err), 0);
    assert_int_equal(sqlite_store_restore(bare, again.path, &how, &err), -1);   /* no backup */
    assert_int_equal(sqlite_store_restore(h.path, again.path, &how, &err), -1); /* nor is the store itself */
    assert_int_equal(sqlite_store_restore("/nonexistent/file", again.path, &how, &err), -1);
    given.result = -1;
    assert_int_equal(sqlite_store_restore(to, again.path, &how, &err), -1); /* the extras cannot be put anywhere */
    given.result = 0;
    nasty_write = SQLITE_OPEN_MAIN_DB;
    assert_int_equal(sqlite_store_restore(to, again.path, &how, &err), -1); /* full */
    nasty_write = 0;
    assert_int_equal(file_bytes(&again, ""), -1);
    assert_no_part(&again, "");
    assert_int_equal(sqlite_store_restore(to, h.path, &how, &err), -1); /* a server has it */
    close_store(&h);
    assert_int_equal(sqlite_store_restore(to, h.path, &how, &err), -1); /* it is there */
    sql(to, "PRAGMA user_version = 99");
    assert_int_equal(sqlite_store_restore(to, again.path, &how, &err), -1); /* of a newer version */
    assert_int_equal(file_bytes(&again, ""), -1);
    buf_fini(&given.text);
    buf_fini(&err);
    harness_stop(&again);
    assert_int_equal(harness_open(&h), SQLITE_OPEN_OK);
    assert_true(session_there(&h, 1));
    harness_stop(&h);
}

static int register_vfs(void **state) {
    (void) state;
    return nasty_register();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_committed_is_there_after_a_restart),
        cmocka_unit_test(test_files_are_nobody_elses_to_read),
        cmocka_unit_test(test_a_file_that_is_no_database_is_left_alone),
        cmocka_unit_test(test_a_foreign_database_is_left_alone),
        cmocka_unit_test(test_an_empty_file_is_taken),
        cmocka_unit_test(test_a_newer_version_is_refused),
        cmocka_unit_test(test_an_older_version_is_brought_up_to_date),
        cmocka_unit_test(test_people_see_the_newest_progress),
        cmocka_unit_test(test_a_second_server_is_refused),
        cmocka_unit_test(test_a_missing_directory_is_an_error),
        cmocka_unit_test(test_what_cannot_be_written_is_refused),
        cmocka_unit_test(test_a_full_disk_at_the_first_start_is_said),
        cmocka_unit_test(test_a_full_disk_fails_a_batch_and_no_more),
        cmocka_unit_test(test_a_failed_fsync_is_final_but_reading_goes_on),
        cmocka_unit_test(test_a_failed_fsync_in_a_checkpoint_is_final_too),
        cmocka_unit_test(test_a_batch_without_memory_is_not_kept),
        cmocka_unit_test(test_a_query_without_memory_fails_cleanly),
        cmocka_unit_test(test_the_log_is_copied_into_the_database_in_a_pause),
        cmocka_unit_test(test_the_log_stays_bounded_without_a_pause),
        cmocka_unit_test(test_the_log_begins_anew_when_that_is_cheap),
        cmocka_unit_test(test_what_a_large_task_leaves_goes_in_pieces),
        cmocka_unit_test(test_no_sort_of_what_is_over_waits_for_another),
        cmocka_unit_test(test_closing_hands_back_everything),
        cmocka_unit_test(test_queries_beside_batches_see_whole_batches),
        cmocka_unit_test(test_a_long_list_lets_others_go_first),
        cmocka_unit_test(test_what_was_acknowledged_survives_a_kill),
        cmocka_unit_test(test_a_backup_beside_a_server_is_whole),
        cmocka_unit_test(test_a_backup_of_a_stopped_server_leaves_nothing_behind),
        cmocka_unit_test(test_a_backup_that_cannot_be_is_refused),
        cmocka_unit_test(test_a_restored_store_is_the_same_with_every_generation_raised),
        cmocka_unit_test(test_a_backup_of_an_older_version_is_restored),
        cmocka_unit_test(test_nothing_of_the_secret_is_left_in_a_restored_store),
        cmocka_unit_test(test_a_restore_that_cannot_be_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, register_vfs, NULL);
}
