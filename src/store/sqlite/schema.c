/*
 * The tables. Ids rise with time, so new rows stand at the end of their table and of its index; what is large (input, result, output) lies apart from
 * what changes. A step, once released, never changes: what comes later is a further step.
 */
#include "store/sqlite/db.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <unistd.h>

static const char *const schema_steps[] = {
    "CREATE TABLE meta("
    "  name TEXT NOT NULL PRIMARY KEY, value TEXT"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE sessions("
    "  id BLOB NOT NULL PRIMARY KEY, state INTEGER NOT NULL, reason INTEGER NOT NULL, gen INTEGER NOT NULL, seq INTEGER NOT NULL,"
    "  gone_floor INTEGER NOT NULL, user TEXT, key_hash BLOB, metadata TEXT, created_at INTEGER NOT NULL, ended_at INTEGER NOT NULL,"
    "  active_at INTEGER NOT NULL, idle_timeout INTEGER NOT NULL, max_age INTEGER NOT NULL, rotated_at INTEGER NOT NULL, merged_into BLOB,"
    "  due_at INTEGER NOT NULL, jwt_from INTEGER NOT NULL, jwt_old_session BLOB"
    ") STRICT;"
    "CREATE UNIQUE INDEX sessions_key ON sessions(key_hash) WHERE " SQL_IS_ACTIVE " AND key_hash IS NOT NULL;"
    "CREATE INDEX sessions_user ON sessions(user, id) WHERE user IS NOT NULL;"
    "CREATE INDEX sessions_due ON sessions(due_at, id) WHERE due_at > 0;"

    "CREATE TABLE tasks("
    "  id BLOB NOT NULL PRIMARY KEY, session BLOB NOT NULL, state INTEGER NOT NULL, version INTEGER NOT NULL, due_at INTEGER NOT NULL,"
    "  kind TEXT, queue TEXT, body TEXT"
    ") STRICT;"
    "CREATE INDEX tasks_session ON tasks(session, id, state);"
    "CREATE INDEX tasks_unfinished ON tasks(session) WHERE " SQL_IS_UNFINISHED ";"
    "CREATE INDEX tasks_due ON tasks(due_at, id) WHERE due_at > 0;"

    "CREATE TABLE inputs(task BLOB NOT NULL PRIMARY KEY, data TEXT) STRICT;"
    "CREATE TABLE results(task BLOB NOT NULL PRIMARY KEY, data TEXT) STRICT;"

    "CREATE TABLE output("
    "  task BLOB NOT NULL, offset INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB,"
    "  PRIMARY KEY(task, offset)"
    ") STRICT;"
    "CREATE INDEX output_seq ON output(task, seq, offset);"

    "CREATE TABLE gone("
    "  session BLOB NOT NULL, seq INTEGER NOT NULL, task BLOB NOT NULL, reason INTEGER NOT NULL, at INTEGER NOT NULL,"
    "  PRIMARY KEY(session, seq)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE tombstones("
    "  task BLOB NOT NULL PRIMARY KEY, session BLOB NOT NULL, watch_gen INTEGER NOT NULL, attempt INTEGER NOT NULL, kind TEXT, state INTEGER NOT "
    "NULL,"
    "  ended_at INTEGER NOT NULL, gone_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX tombstones_gone ON tombstones(gone_at, task);"

    "CREATE TABLE idempotency("
    "  scope BLOB NOT NULL PRIMARY KEY, request BLOB, status INTEGER NOT NULL, location TEXT, cookie TEXT, answer BLOB, expires_at INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX idempotency_expires ON idempotency(expires_at, scope) WHERE expires_at > 0;"

    "CREATE TABLE old_keys("
    "  key_hash BLOB NOT NULL PRIMARY KEY, session BLOB NOT NULL, at INTEGER NOT NULL, kept INTEGER NOT NULL, expires_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX old_keys_expires ON old_keys(expires_at, key_hash) WHERE expires_at > 0;"

    "CREATE TABLE kinds(kind TEXT NOT NULL PRIMARY KEY, body TEXT) STRICT;",

    /* tasks that are gone, whose input, result and output are yet to be deleted */
    "CREATE TABLE leftovers(task BLOB NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;",

    /* Progress apart from the row of its task, which is several times as wide; and for people both as one. */
    "ALTER TABLE tasks ADD COLUMN slot INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE progress("
    "  slot INTEGER PRIMARY KEY, task BLOB NOT NULL, version INTEGER NOT NULL, updated_at INTEGER NOT NULL, heard INTEGER NOT NULL,"
    "  stalled INTEGER NOT NULL, current REAL, total REAL, unit TEXT, message TEXT, rate REAL, eta REAL"
    ") STRICT;"

    "CREATE VIEW tasks_now AS SELECT t.id, t.session, t.state, iif(p.task IS NULL, t.version, p.version) AS version, t.kind, t.queue,"
    "  json_extract(t.body, '$.title') AS title,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.current'), p.current) AS current,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.total'), p.total) AS total,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.\"progress.unit\"'), p.unit) AS unit,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.\"progress.message\"'), p.message) AS message,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.rate'), p.rate) AS rate,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.eta'), p.eta) AS eta,"
    "  iif(p.task IS NULL, coalesce(json_extract(t.body, '$.stalled'), 0), p.stalled) AS stalled,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.updated_at'), p.updated_at) AS updated_at"
    "  FROM tasks AS t LEFT JOIN progress AS p ON p.slot = t.slot AND p.task = t.id AND p.version > t.version;",

    /* Each time that a key was lost in a row of its own, with the generation until then: of a session that goes on, the one before the present one. */
    "ALTER TABLE old_keys RENAME TO newest_old_keys;"
    "DROP INDEX old_keys_expires;"
    "CREATE TABLE old_keys("
    "  key_hash BLOB NOT NULL, jwt_from INTEGER NOT NULL, at INTEGER NOT NULL, session BLOB NOT NULL, gen INTEGER NOT NULL,"
    "  expires_at INTEGER NOT NULL,"
    "  PRIMARY KEY(key_hash, jwt_from, at, session, gen)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX old_keys_expires ON old_keys(expires_at, key_hash, jwt_from, at, session, gen) WHERE expires_at > 0;"
    "INSERT INTO old_keys SELECT k.key_hash, k.at / 1000 + (k.kept = 0), k.at, k.session, coalesce(s.gen - (s.state = 0), 0), k.expires_at"
    "  FROM newest_old_keys AS k LEFT JOIN sessions AS s ON s.id = k.session;"
    "DROP TABLE newest_old_keys;"
    "ALTER TABLE sessions DROP COLUMN jwt_old_session;",

    /* Phases and data of progress, and what was learned of a kind by phase: '' is the whole task. */
    "ALTER TABLE progress ADD COLUMN phase TEXT;"
    "ALTER TABLE progress ADD COLUMN data TEXT;"
    "DROP VIEW tasks_now;"
    "CREATE VIEW tasks_now AS SELECT t.id, t.session, t.state, iif(p.task IS NULL, t.version, p.version) AS version, t.kind, t.queue,"
    "  json_extract(t.body, '$.title') AS title,"
    "  nullif(iif(p.task IS NULL, json_extract(t.body, '$.\"progress.phase\"'), p.phase), '') AS phase,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.current'), p.current) AS current,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.total'), p.total) AS total,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.\"progress.unit\"'), p.unit) AS unit,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.\"progress.message\"'), p.message) AS message,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.\"progress.data\"'), p.data) AS data,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.rate'), p.rate) AS rate,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.eta'), p.eta) AS eta,"
    "  iif(p.task IS NULL, coalesce(json_extract(t.body, '$.stalled'), 0), p.stalled) AS stalled,"
    "  iif(p.task IS NULL, json_extract(t.body, '$.updated_at'), p.updated_at) AS updated_at"
    "  FROM tasks AS t LEFT JOIN progress AS p ON p.slot = t.slot AND p.task = t.id AND p.version > t.version;"
    "ALTER TABLE kinds RENAME TO whole_kinds;"
    "CREATE TABLE kinds(kind TEXT NOT NULL, phase TEXT NOT NULL, body TEXT, PRIMARY KEY(kind, phase)) STRICT, WITHOUT ROWID;"
    "INSERT INTO kinds SELECT kind, '', body FROM whole_kinds;"
    "DROP TABLE whole_kinds;",

    /* What people are shown is dated by the wall clock, and durations run on a steady one: what lay between the two. */
    ("ALTER TABLE sessions ADD COLUMN created_apart INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE sessions ADD COLUMN ended_apart INTEGER NOT NULL DEFAULT 0;"),
};

#define SCHEMA_VERSION ((int) (sizeof(schema_steps) / sizeof(schema_steps[0])))

enum sqlite_open_error sqlite_error_of(int rc) {
    switch (rc & 0xff) {
    case SQLITE_OK: return SQLITE_OPEN_OK;
    case SQLITE_NOTADB: return SQLITE_OPEN_FOREIGN;
    case SQLITE_READONLY:
    case SQLITE_PERM: return SQLITE_OPEN_NOT_WRITABLE;
    case SQLITE_FULL: return SQLITE_OPEN_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return SQLITE_OPEN_LOCKED;
    default: return SQLITE_OPEN_FAILED;
    }
}

static int schema_number(sqlite3 *db, const char *sql, int64_t *ret_number) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
        if (rc == SQLITE_ROW) {
            *ret_number = sqlite3_column_int64(st, 0);
            rc = SQLITE_OK;
        }
    }
    sqlite3_finalize(st);
    return rc;
}

enum sqlite_open_error sqlite_schema_check(sqlite3 *db, bool *ret_empty) {
    int64_t application = 0, version = 0, objects = 0;
    int rc = schema_number(db, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK) {
        rc = schema_number(db, "PRAGMA user_version", &version);
    }
    if (rc == SQLITE_OK) {
        rc = schema_number(db, "SELECT count(*) FROM sqlite_schema", &objects);
    }
    if (rc != SQLITE_OK) {
        return sqlite_error_of(rc);
    }
    *ret_empty = application == 0 && version == 0 && objects == 0;
    if (*ret_empty) {
        return SQLITE_OPEN_OK;
    }
    if (application != SQLITE_APPLICATION_ID || version <= 0) {
        return SQLITE_OPEN_FOREIGN;
    }
    return version > SCHEMA_VERSION ? SQLITE_OPEN_NEWER : SQLITE_OPEN_OK;
}

static int schema_run_step(sqlite3 *db, int step) {
    char stamp[200];
    snprintf(stamp, sizeof(stamp), "PRAGMA application_id = %d; PRAGMA user_version = %d; INSERT OR REPLACE INTO meta VALUES('schema', '%d'); COMMIT",
             SQLITE_APPLICATION_ID, step + 1, step + 1);
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, schema_steps[step], NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, stamp, NULL, NULL, NULL);
    }
    return rc; /* what is not committed goes with the connection */
}

int sqlite_schema_update(sqlite3 *db) {
    int64_t version = 0;
    int rc = schema_number(db, "PRAGMA user_version", &version);
    for (int step = (int) version; rc == SQLITE_OK && step < SCHEMA_VERSION; step++) {
        rc = schema_run_step(db, step);
    }
    return rc;
}

int sqlite_sync_directory(const char *path) {
    char copy[4096];
    size_t len = strlen(path);
    if (len >= sizeof(copy)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(copy, path, len + 1);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    int rc = fsync(fd);
    int error = errno;
    close(fd);
    errno = error;
    return rc;
}
