#include "store/sqlite_db.h"

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

static int backup_open_source(const char *path, sqlite3 **ret_db, struct buf *err) {
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

static int backup_into(sqlite3 *from, const char *part, struct buf *err) {
    sqlite3 *to = NULL;
    int rc = sqlite3_open_v2(part, &to, SQLITE_OPEN_READWRITE, NULL);
    if (rc == SQLITE_OK) {
        rc = backup_copy(from, to);
    }
    if (rc != SQLITE_OK) {
        buf_printf(err, "cannot write %s: %s", part, to ? sqlite3_errmsg(to) : sqlite3_errstr(rc));
    }
    sqlite3_close(to);
    return rc == SQLITE_OK ? 0 : -1;
}

static int backup_sync(const char *part, const char *to, struct buf *err) {
    int fd = open(part, O_RDWR | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0 && rename(part, to) == 0 && sqlite_sync_directory(to) == 0;
    if (!ok) {
        buf_printf(err, "cannot write %s: %s", to, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok ? 0 : -1;
}

/* Written under another name and given its own at the end, so that what bears the name is whole; never over a file that is there. */
static int backup_write(sqlite3 *from, const char *to, struct buf *err) {
    struct buf part = {0};
    buf_printf(&part, "%s.part", to);
    const char *name = buf_z(&part);
    int rc = -1, fd = -1;
    if (access(to, F_OK) == 0) {
        buf_printf(err, "%s exists already", to);
    } else if ((fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0) {
        buf_printf(err, "cannot write %s: %s", name, strerror(errno));
    } else {
        close(fd);
        rc = backup_into(from, name, err);
        if (rc == 0) {
            rc = backup_sync(name, to, err);
        }
        if (rc != 0) {
            unlink(name);
        }
    }
    buf_fini(&part);
    return rc;
}

int sqlite_store_backup(const char *path, const char *to, struct buf *err) {
    sqlite3 *from = NULL;
    int rc = backup_open_source(path, &from, err);
    if (rc == 0) {
        rc = backup_write(from, to, err);
    }
    sqlite3_close(from);
    return rc;
}
