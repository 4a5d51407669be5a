#include "store/sqlite/db.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static bool restore_has_extras(sqlite3 *db) {
    sqlite3_stmt *st = NULL;
    bool has = sqlite3_prepare_v2(db, "SELECT 1 FROM sqlite_schema WHERE name = 'bowline_backup'", -1, &st, NULL) == SQLITE_OK &&
               sqlite3_step(st) == SQLITE_ROW;
    sqlite3_finalize(st);
    return has;
}

static int restore_raise(sqlite3 *db, const char *sql, uint32_t least) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        struct binder b = bind_start(st);
        bind_i64(&b, least);
        rc = bind_run(&b);
    }
    sqlite3_finalize(st);
    return rc;
}

/* A watch token's number is its task's own part and its session's generation added up, so it rises with that. What the extras were is wiped off the pages. */
static int restore_change(void *arg, sqlite3 *db) {
    const struct sqlite_restore *r = arg;
    int rc = sqlite_schema_update(db);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, "PRAGMA secure_delete = ON; BEGIN; DROP TABLE bowline_backup; DELETE FROM meta WHERE name = 'epoch'", NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK) { /* an ended session's last JWTs stay its last */
        rc = restore_raise(db, "UPDATE old_keys SET gen = min(max(gen + 1, ?), 4294967295) WHERE gen = (SELECT gen FROM sessions WHERE id = session)",
                           r->least_gen);
    }
    if (rc == SQLITE_OK) {
        rc = restore_raise(db, "UPDATE sessions SET gen = min(max(gen + 1, ?), 4294967295)", r->least_gen);
    }
    if (rc == SQLITE_OK) {
        rc = restore_raise(db, "UPDATE tombstones SET watch_gen = (watch_gen + ?) & 4294967295", r->least_gen);
    }
    return rc == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : rc;
}

static int restore_check(sqlite3 *db, const char *path, struct buf *err) {
    sqlite3_stmt *st = NULL;
    bool good =
        sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW && column_is(st, 0, STR("ok"));
    if (!good) {
        buf_printf(err, "%s is damaged: %s", path, sqlite3_errmsg(db));
    }
    sqlite3_finalize(st);
    return good ? 0 : -1;
}

static int restore_give_extras(sqlite3 *db, const char *path, const struct sqlite_restore *r, struct buf *err) {
    struct arena arena = {0};
    sqlite3_stmt *st = NULL;
    int failed = 0, rc = sqlite3_prepare_v2(db, "SELECT name, value FROM bowline_backup ORDER BY name", -1, &st, NULL);
    while (rc == SQLITE_OK && !failed && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct columns c = {.st = st, .arena = &arena};
        struct str name = column_str(&c), data = column_str(&c);
        failed = c.failed || r->extra(r->arg, name.p, data, err);
        rc = SQLITE_OK;
    }
    if (!failed && rc != SQLITE_DONE) {
        buf_printf(err, "cannot read %s: %s", path, sqlite3_errmsg(db));
        failed = -1;
    }
    sqlite3_finalize(st);
    arena_fini(&arena);
    return failed ? -1 : 0;
}

/* With the right to the path. */
static int restore_write(sqlite3 *from, const char *from_path, const char *path, const struct sqlite_restore *r, struct buf *err) {
    struct buf part = {0};
    buf_printf(&part, "%s.%ld.part", path, (long) getpid());
    const char *name = buf_z(&part);
    int rc = sqlite_copy_into(from, name, restore_change, (void *) r, err);
    if (rc == 0) {
        rc = restore_give_extras(from, from_path, r, err);
    }
    if (rc == 0) {
        rc = sqlite_copy_name(name, path, err);
    }
    if (rc != 0) {
        unlink(name);
    }
    buf_fini(&part);
    return rc;
}

static bool restore_is_free(const char *path, struct buf *err) {
    static const char *const ends[] = {"", "-wal", "-journal"}; /* a log of another time would be read into it */
    bool is_free = true;
    for (unsigned i = 0; i < 3 && is_free; i++) {
        struct buf name = {0};
        buf_printf(&name, "%s%s", path, ends[i]);
        is_free = access(buf_z(&name), F_OK) != 0;
        if (!is_free) {
            buf_printf(err, "%s exists already", buf_z(&name));
        }
        buf_fini(&name);
    }
    return is_free;
}

int sqlite_store_restore(const char *from, const char *path, const struct sqlite_restore *r, struct buf *err) {
    sqlite3 *db = NULL;
    int lock_fd = -1, rc = -1;
    if (sqlite_copy_open(from, &db, err) == 0) {
        bool empty;
        if (!restore_has_extras(db)) {
            buf_printf(err, "%s is a store, not a backup of one", from);
        } else if (sqlite_schema_check(db, &empty) == SQLITE_OPEN_NEWER) {
            buf_printf(err, "%s was made by a newer version of bowline", from);
        } else if (restore_check(db, from, err) == 0 && sqlite_lock(path, &lock_fd, err) == SQLITE_OPEN_OK && restore_is_free(path, err)) {
            rc = restore_write(db, from, path, r, err);
        }
    }
    if (lock_fd >= 0) {
        close(lock_fd);
    }
    sqlite3_close(db);
    return rc;
}
