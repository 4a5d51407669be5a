/*
 * sqlite.h: the embedded store: DIR/bowline.db, SQLite in WAL mode with synchronous=FULL. One writer thread, one reader
 * thread, and one that copies the log into the database from the side.
 */
#ifndef BOWLINE_STORE_SQLITE_H
#define BOWLINE_STORE_SQLITE_H

#include "store/store.h"

/* What opening found wrong, so that the program can say what to do about it. */
enum sqlite_open_error {
    SQLITE_OPEN_OK,
    SQLITE_OPEN_NOT_WRITABLE,
    SQLITE_OPEN_NEWER,   /* made by a newer version of the program */
    SQLITE_OPEN_FOREIGN, /* a database, but not one of ours, or no database at all */
    SQLITE_OPEN_FULL,
    SQLITE_OPEN_LOCKED, /* another server has it open */
    SQLITE_OPEN_FAILED
};

/*
 * Opens or makes the database at path (directory must exist), runs schema steps that are missing, takes the exclusive right to it
 * (an flock on path + ".lock"), starts the threads. The sink is called from those threads. NULL with *ret_error and a sentence in err otherwise.
 */
struct store *sqlite_store_open(const char *path, struct store_sink sink, enum sqlite_open_error *ret_error, struct buf *err) MUST_CHECK;

/* A small file that is kept within a backup. */
struct sqlite_extra {
    const char *name;
    struct str data;
};

/*
 * A copy of the database at path while a server may be using it (SQLite's online backup), fsynced, one file of mode 0600. The extras, if there are any, stand in it
 * as rows of a table bowline_backup. Never over a file that is there. 0, or -1 with a sentence.
 */
int sqlite_store_backup(const char *path, const char *to, const struct sqlite_extra *extras, unsigned extra_count, struct buf *err) MUST_CHECK;

struct sqlite_restore {
    uint32_t least_gen; /* generations of sessions, and with them those of their tasks, rise to this, or by one where they are above it */
    /* Called with each extra once all else is well, before the database bears its name. 0, or -1 with a sentence: then nothing is restored. */
    int (*extra)(void *arg, const char *name, struct str data, struct buf *err);
    void *arg;
};

/*
 * Makes the database at path, which must not exist, from a backup with extras: checked, without a history's name (the engine draws a new one), with every
 * generation raised. Holds the exclusive right to it meanwhile. 0, or -1 with a sentence, and then there is no database.
 */
int sqlite_store_restore(const char *from, const char *path, const struct sqlite_restore *r, struct buf *err) MUST_CHECK;

#endif
