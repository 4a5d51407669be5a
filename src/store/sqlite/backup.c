#include "store/sqlite/db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Copies it all within one read of the source, so that writers beside it do not make it begin again. */
static int backup_copy(sqlite3 *from, sqlite3 *to) {
    int rc = sqlite3_exec(to, "PRAGMA synchronous = FULL", NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        return rc;
    }
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    if (!b) {
        return sqlite3_errcode(to);
    }
    do {
        rc = sqlite3_backup_step(b, -1);
        if (rc == SQLITE_BUSY || rc == SQLITE_LOCKED) {
            sqlite3_sleep(10);
        }
    } while (rc == SQLITE_BUSY || rc == SQLITE_LOCKED);
    int end = sqlite3_backup_finish(b);
    return rc == SQLITE_DONE ? end : rc;
}

int sqlite_copy_open(const char *path, sqlite3 **ret_db, struct buf *err) {
    bool empty = false;
    int rc = sqlite3_open_v2(path, ret_db, SQLITE_OPEN_READONLY, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(*ret_db, SQLITE_BUSY_MS);
        enum sqlite_open_error e = sqlite_schema_check(*ret_db, &empty);
        if (e == SQLITE_OPEN_FOREIGN || (e == SQLITE_OPEN_OK && empty)) {
            buf_printf(err, "%s is not a bowline database", path);
            return -1;
        }
        if (e == SQLITE_OPEN_OK || e == SQLITE_OPEN_NEWER) {
            return 0;
        }
    }
    buf_printf(err, "cannot read %s: %s", path, *ret_db ? sqlite3_errmsg(*ret_db) : "out of memory");
    return -1;
}

int sqlite_copy_into(sqlite3 *from, const char *part, int (*finish)(void *arg, sqlite3 *db), void *arg, struct buf *err) {
    sqlite3 *to = NULL;
    unlink(part); /* left by one of the same number that was killed */
    int fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        buf_printf(err, "cannot write %s: %s", part, strerror(errno));
        return -1;
    }
    close(fd);
    int rc = sqlite3_open_v2(part, &to, SQLITE_OPEN_READWRITE, NULL);
    if (rc == SQLITE_OK) {
        rc = backup_copy(from, to);
    }
    if (rc == SQLITE_OK) { /* a file by itself, without a log beside it */
        rc = sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = finish(arg, to);
    }
    if (rc != SQLITE_OK) {
        buf_printf(err, "cannot write %s: %s", part, to ? sqlite3_errmsg(to) : sqlite3_errstr(rc));
    }
    sqlite3_close(to);
    return rc == SQLITE_OK ? 0 : -1;
}

int sqlite_copy_name(const char *part, const char *to, struct buf *err) {
    int fd = open(part, O_RDWR | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    ok =
        ok && (renameat2(AT_FDCWD, part, AT_FDCWD, to, RENAME_NOREPLACE) == 0 || (errno == EINVAL && access(to, F_OK) != 0 && rename(part, to) == 0));
    ok = ok && sqlite_sync_directory(to) == 0;
    if (!ok) {
        buf_printf(err, "cannot write %s: %s", to, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok ? 0 : -1;
}

struct extras {
    const struct sqlite_extra *at;
    unsigned count;
};

static int extras_add(void *arg, sqlite3 *db) {
    const struct extras *extras = arg;
    sqlite3_stmt *st = NULL;
    if (!extras->count) {
        return SQLITE_OK;
    }
    int rc = sqlite3_exec(db, "BEGIN; CREATE TABLE bowline_backup(name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT", NULL, NULL, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(db, "INSERT INTO bowline_backup VALUES(?, ?)", -1, &st, NULL);
    }
    for (unsigned i = 0; i < extras->count && rc == SQLITE_OK; i++) {
        struct binder b = bind_start(st);
        bind_text(&b, str_of(extras->at[i].name));
        bind_blob(&b, extras->at[i].data);
        rc = bind_run(&b);
    }
    sqlite3_finalize(st);
    return rc == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : rc;
}

/* Written under another name and given its own at the end, so that what bears the name is whole. */
static int backup_write(sqlite3 *from, const char *to, struct extras *extras, struct buf *err) {
    struct buf part = {0};
    if (access(to, F_OK) == 0) {
        buf_printf(err, "%s exists already", to);
        return -1;
    }
    buf_printf(&part, "%s.%ld.part", to, (long) getpid());
    const char *name = buf_z(&part);
    int rc = sqlite_copy_into(from, name, extras_add, extras, err);
    if (rc == 0) {
        rc = sqlite_copy_name(name, to, err);
    }
    if (rc != 0) {
        unlink(name);
    }
    buf_fini(&part);
    return rc;
}

int sqlite_store_backup(const char *path, const char *to, const struct sqlite_extra *extras, unsigned extra_count, struct buf *err) {
    sqlite3 *from = NULL;
    struct extras all = {extras, extra_count};
    int rc = sqlite_copy_open(path, &from, err);
    if (rc == 0) {
        rc = backup_write(from, to, &all, err);
    }
    sqlite3_close(from);
    return rc;
}
