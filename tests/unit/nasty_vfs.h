/* nasty_vfs.h: SQLite with an fsync, a write or an allocation that fails on demand. To be registered before SQLite is used; for tests. */
#ifndef BOWLINE_TESTS_NASTY_VFS_H
#define BOWLINE_TESTS_NASTY_VFS_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

/* Which files fail, as SQLITE_OPEN_MAIN_DB, SQLITE_OPEN_WAL and so on; 0 for none. */
static atomic_int nasty_sync, nasty_write;

struct nasty_file {
    sqlite3_file base;
    int kind;
    sqlite3_file *real;
};

static sqlite3_vfs nasty_vfs;
static sqlite3_vfs *nasty_real_vfs;

static sqlite3_file *nasty_real(sqlite3_file *f) {
    return ((struct nasty_file *) f)->real;
}

#define NASTY_PASS(name, call, ...)           \
    static int nasty_##name(__VA_ARGS__) {    \
        return nasty_real(f)->pMethods->call; \
    }
NASTY_PASS(close, xClose(nasty_real(f)), sqlite3_file *f)
NASTY_PASS(read, xRead(nasty_real(f), p, n, at), sqlite3_file *f, void *p, int n, sqlite3_int64 at)
NASTY_PASS(truncate, xTruncate(nasty_real(f), n), sqlite3_file *f, sqlite3_int64 n)
NASTY_PASS(size, xFileSize(nasty_real(f), n), sqlite3_file *f, sqlite3_int64 *n)
NASTY_PASS(lock, xLock(nasty_real(f), level), sqlite3_file *f, int level)
NASTY_PASS(unlock, xUnlock(nasty_real(f), level), sqlite3_file *f, int level)
NASTY_PASS(reserved, xCheckReservedLock(nasty_real(f), out), sqlite3_file *f, int *out)
NASTY_PASS(control, xFileControl(nasty_real(f), op, p), sqlite3_file *f, int op, void *p)
NASTY_PASS(sector, xSectorSize(nasty_real(f)), sqlite3_file *f)
NASTY_PASS(traits, xDeviceCharacteristics(nasty_real(f)), sqlite3_file *f)
NASTY_PASS(shm_map, xShmMap(nasty_real(f), at, size, extend, p), sqlite3_file *f, int at, int size, int extend, void volatile **p)
NASTY_PASS(shm_lock, xShmLock(nasty_real(f), at, n, flags), sqlite3_file *f, int at, int n, int flags)
NASTY_PASS(shm_unmap, xShmUnmap(nasty_real(f), remove), sqlite3_file *f, int remove)

static void nasty_shm_barrier(sqlite3_file *f) {
    nasty_real(f)->pMethods->xShmBarrier(nasty_real(f));
}

static int nasty_write_at(sqlite3_file *f, const void *p, int n, sqlite3_int64 at) {
    return ((struct nasty_file *) f)->kind & nasty_write ? SQLITE_FULL : nasty_real(f)->pMethods->xWrite(nasty_real(f), p, n, at);
}

static int nasty_sync_all(sqlite3_file *f, int flags) {
    return ((struct nasty_file *) f)->kind & nasty_sync ? SQLITE_IOERR_FSYNC : nasty_real(f)->pMethods->xSync(nasty_real(f), flags);
}

static const sqlite3_io_methods nasty_methods = {.iVersion = 2,
                                                 .xClose = nasty_close,
                                                 .xRead = nasty_read,
                                                 .xWrite = nasty_write_at,
                                                 .xTruncate = nasty_truncate,
                                                 .xSync = nasty_sync_all,
                                                 .xFileSize = nasty_size,
                                                 .xLock = nasty_lock,
                                                 .xUnlock = nasty_unlock,
                                                 .xCheckReservedLock = nasty_reserved,
                                                 .xFileControl = nasty_control,
                                                 .xSectorSize = nasty_sector,
                                                 .xDeviceCharacteristics = nasty_traits,
                                                 .xShmMap = nasty_shm_map,
                                                 .xShmLock = nasty_shm_lock,
                                                 .xShmBarrier = nasty_shm_barrier,
                                                 .xShmUnmap = nasty_shm_unmap};

static int nasty_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags) {
    struct nasty_file *file = (struct nasty_file *) f;
    (void) vfs;
    file->kind = flags & 0x000fff00;
    file->real = (sqlite3_file *) (file + 1);
    int rc = nasty_real_vfs->xOpen(nasty_real_vfs, name, file->real, flags, ret_flags);
    file->base.pMethods = file->real->pMethods ? &nasty_methods : NULL;
    return rc;
}

/* The allocation of this thread after so many more fails, once; below 0 none. */
static _Thread_local int nasty_malloc_left = -1;
static sqlite3_mem_methods nasty_mem;

static bool nasty_malloc_fails(void) {
    return nasty_malloc_left >= 0 && nasty_malloc_left-- == 0;
}

static void *nasty_malloc(int n) {
    return nasty_malloc_fails() ? NULL : nasty_mem.xMalloc(n);
}

static void *nasty_realloc(void *p, int n) {
    return nasty_malloc_fails() ? NULL : nasty_mem.xRealloc(p, n);
}

static int nasty_register(void) {
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &nasty_mem);
    sqlite3_mem_methods failing = nasty_mem;
    failing.xMalloc = nasty_malloc;
    failing.xRealloc = nasty_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &failing);
    nasty_real_vfs = sqlite3_vfs_find(NULL);
    nasty_vfs = *nasty_real_vfs;
    nasty_vfs.zName = "nasty";
    nasty_vfs.szOsFile = (int) sizeof(struct nasty_file) + nasty_real_vfs->szOsFile;
    nasty_vfs.xOpen = nasty_open;
    return sqlite3_vfs_register(&nasty_vfs, 1);
}

#endif
