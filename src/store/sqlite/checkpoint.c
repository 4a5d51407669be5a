/*
 * Checkpoints: what the log holds goes to its place in the database. A thread of its own does that from the side, so that no batch waits for it; the log
 * itself can begin anew only when all of it was copied at a moment at which nobody writes, which under load the writer has to arrange.
 */
#include "store/sqlite/db.h"

#include "base/log.h"

bool sqlite_sync_failed(int rc) {
    return rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC;
}

void sqlite_die(sqlite3 *db, const char *what, atomic_bool *dead) {
    *dead = true;
    log_error("store_dead", "what=%s error=\"fsync failed: %s\" errno=%d", what, sqlite3_errmsg(db), sqlite3_system_errno(db));
}

static bool checkpoint_said(sqlite3 *db, int rc, bool *failing, atomic_bool *dead) {
    if (*dead || (rc & 0xff) == SQLITE_BUSY) {
        return false; /* busy is no failure: later */
    }
    if (sqlite_sync_failed(rc)) {
        sqlite_die(db, "checkpoint", dead);
    } else if (rc != SQLITE_OK && !*failing) {
        log_error("store_checkpoint_failed", "code=%d error=\"%s\" errno=%d", rc, sqlite3_errmsg(db), sqlite3_system_errno(db));
    }
    *failing = rc != SQLITE_OK;
    return rc == SQLITE_OK;
}

bool sqlite_checkpoint(sqlite3 *db, int mode, bool *failing, atomic_bool *dead) {
    int rc = *dead ? SQLITE_ABORT : sqlite3_wal_checkpoint_v2(db, "main", mode, NULL, NULL);
    return checkpoint_said(db, rc, failing, dead);
}

/* SQLite syncs the database only with the last page of the log; what is synced here, that sync does not have to wait for. */
static int checkpoint_sync(sqlite3 *db) {
    sqlite3_file *f = NULL;
    int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &f);
    return rc == SQLITE_OK && f && f->pMethods ? f->pMethods->xSync(f, SQLITE_SYNC_NORMAL) : rc;
}

void sqlite_checkpoint_beside(sqlite3 *db, atomic_int *ret_copied, bool *failing, atomic_bool *dead) {
    int pages = -1, copied = -1;
    int rc = *dead ? SQLITE_ABORT : sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);
    if (rc == SQLITE_OK && copied < pages) {
        rc = checkpoint_sync(db);
    }
    if (checkpoint_said(db, rc, failing, dead) && copied >= 0) {
        *ret_copied = copied;
    }
}

static bool checkpointer_wait(struct checkpointer *c) {
    pthread_mutex_lock(&c->mutex);
    while (!c->wanted && !c->closing) {
        pthread_cond_wait(&c->came, &c->mutex);
    }
    bool more = !c->closing;
    c->wanted = false;
    pthread_mutex_unlock(&c->mutex);
    return more;
}

static void *checkpointer_main(void *arg) {
    struct checkpointer *c = arg;
    pthread_setname_np(pthread_self(), "store copier");
    while (checkpointer_wait(c)) {
        sqlite_checkpoint_beside(c->db, c->copied, &c->failing, c->dead);
        c->busy = false;
    }
    return NULL;
}

void checkpointer_init(struct checkpointer *c, sqlite3 *db, struct writer *w) {
    *c = (struct checkpointer){.db = db, .dead = &w->dead, .copied = &w->copied};
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->came, NULL);
}

int checkpointer_start(struct checkpointer *c) {
    int rc = pthread_create(&c->thread, NULL, checkpointer_main, c);
    c->started = rc == 0;
    return rc;
}

static void checkpointer_signal(struct checkpointer *c, bool *flag) {
    pthread_mutex_lock(&c->mutex);
    *flag = true;
    pthread_cond_signal(&c->came);
    pthread_mutex_unlock(&c->mutex);
}

void checkpointer_wake(struct checkpointer *c) {
    c->busy = true;
    checkpointer_signal(c, &c->wanted);
}

void checkpointer_fini(struct checkpointer *c) {
    if (!c->db) {
        return;
    }
    if (c->started) {
        checkpointer_signal(c, &c->closing);
        pthread_join(c->thread, NULL);
    }
    sqlite3_close(c->db);
    pthread_cond_destroy(&c->came);
    pthread_mutex_destroy(&c->mutex);
    c->db = NULL;
}
