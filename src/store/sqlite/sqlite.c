/*
 * Three threads, each with its own connection. The writer takes the one batch that is under way, makes it durable, hands it back, and sees how the log has
 * grown; the reader takes queries in their order, lists a slice at a time; a third one does checkpoints. None holds the lock while it works or while it calls
 * the sink.
 */
#include "store/sqlite/db.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

struct asked {
    struct store_query *query;
    struct id at; /* where a list stands */
    TAILQ_ENTRY(asked) link;
};
TAILQ_HEAD(asked_list, asked);

struct sqlite_store {
    struct store base;
    struct store_sink sink;
    struct writer writer;
    struct reader reader;
    struct checkpointer checkpointer;
    int lock_fd;
    pthread_t writer_thread, reader_thread;
    pthread_mutex_t mutex; /* over what follows */
    pthread_cond_t batch_came, query_came;
    struct store_batch *batch;
    int64_t submitted_us; /* when it came */
    struct asked_list asked;
    bool closing;
};

/* ---- the threads ---- */

static struct store_batch *writer_wait(struct sqlite_store *s) {
    pthread_mutex_lock(&s->mutex);
    while (!s->batch && !s->closing) {
        pthread_cond_wait(&s->batch_came, &s->mutex);
    }
    struct store_batch *b = s->batch;
    pthread_mutex_unlock(&s->mutex);
    return b;
}

static void writer_look_after_log(struct sqlite_store *s) {
    switch (writer_wish(&s->writer, s->checkpointer.busy)) {
    case WRITER_WANTS_NOTHING: break;
    case WRITER_WANTS_CHECKPOINT: checkpointer_wake(&s->checkpointer); break;
    case WRITER_WANTS_REST: writer_copy_rest(&s->writer); break;
    case WRITER_WANTS_RESTART: writer_restart_log(&s->writer); break;
    }
}

static void *writer_main(void *arg) {
    struct sqlite_store *s = arg;
    pthread_setname_np(pthread_self(), "store writer");
    struct store_batch *b;
    while ((b = writer_wait(s))) {
        writer_apply(&s->writer, b);
        b->took_us = clock_us() - s->submitted_us;
        pthread_mutex_lock(&s->mutex);
        s->batch = NULL;
        pthread_mutex_unlock(&s->mutex);
        s->sink.batch_done(s->sink.arg, b);
        writer_look_after_log(s);
    }
    return NULL;
}

static struct asked *reader_wait(struct sqlite_store *s) {
    pthread_mutex_lock(&s->mutex);
    struct asked *a;
    while (!(a = TAILQ_FIRST(&s->asked)) && !s->closing) {
        pthread_cond_wait(&s->query_came, &s->mutex);
    }
    if (a) {
        TAILQ_REMOVE(&s->asked, a, link);
    }
    pthread_mutex_unlock(&s->mutex);
    return a;
}

static void *reader_main(void *arg) {
    struct sqlite_store *s = arg;
    pthread_setname_np(pthread_self(), "store reader");
    struct asked *a;
    while ((a = reader_wait(s))) {
        if (reader_answer(&s->reader, a->query, &a->at)) {
            s->sink.query_done(s->sink.arg, a->query);
            mem_free(a);
        } else {
            pthread_mutex_lock(&s->mutex);
            TAILQ_INSERT_TAIL(&s->asked, a, link);
            pthread_mutex_unlock(&s->mutex);
        }
    }
    return NULL;
}

/* ---- the store's three verbs ---- */

static struct sqlite_store *sqlite_of(struct store *s) {
    return (struct sqlite_store *) s;
}

static void sqlite_submit(struct store *base, struct store_batch *b) {
    struct sqlite_store *s = sqlite_of(base);
    pthread_mutex_lock(&s->mutex);
    assert(!s->batch && !s->closing);
    s->batch = b;
    s->submitted_us = clock_us();
    pthread_cond_signal(&s->batch_came);
    pthread_mutex_unlock(&s->mutex);
}

static void sqlite_query(struct store *base, struct store_query *q) {
    struct sqlite_store *s = sqlite_of(base);
    struct asked *a = mem_alloc(sizeof(*a));
    a->query = q;
    pthread_mutex_lock(&s->mutex);
    assert(!s->closing);
    struct asked *ahead = TAILQ_LAST(&s->asked, asked_list);
    while (ahead && ahead->query->low_priority && !q->low_priority) {
        ahead = TAILQ_PREV(ahead, asked_list, link);
    }
    if (ahead) {
        TAILQ_INSERT_AFTER(&s->asked, ahead, a, link);
    } else {
        TAILQ_INSERT_HEAD(&s->asked, a, link);
    }
    pthread_cond_signal(&s->query_came);
    pthread_mutex_unlock(&s->mutex);
}

static void sqlite_free(struct sqlite_store *s) {
    reader_fini(&s->reader);
    checkpointer_fini(&s->checkpointer);
    writer_fini(&s->writer);
    if (s->lock_fd >= 0) {
        close(s->lock_fd);
    }
    pthread_cond_destroy(&s->batch_came);
    pthread_cond_destroy(&s->query_came);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}

static void sqlite_close_down(struct sqlite_store *s) {
    pthread_mutex_lock(&s->mutex);
    s->closing = true;
    pthread_cond_broadcast(&s->batch_came);
    pthread_cond_broadcast(&s->query_came);
    pthread_mutex_unlock(&s->mutex);
}

static void sqlite_destroy(struct store *base) {
    struct sqlite_store *s = sqlite_of(base);
    sqlite_close_down(s);
    pthread_join(s->writer_thread, NULL);
    pthread_join(s->reader_thread, NULL);
    sqlite_free(s);
}

static const struct store_ops sqlite_ops = {.submit = sqlite_submit, .query = sqlite_query, .destroy = sqlite_destroy};

/* ---- opening ---- */

static enum sqlite_open_error open_error_of_errno(int error) {
    switch (error) {
    case EACCES:
    case EPERM:
    case EROFS: return SQLITE_OPEN_NOT_WRITABLE;
    case ENOSPC:
    case EDQUOT: return SQLITE_OPEN_FULL;
    case EWOULDBLOCK: return SQLITE_OPEN_LOCKED;
    default: return SQLITE_OPEN_FAILED;
    }
}

enum sqlite_open_error sqlite_lock(const char *path, int *ret_fd, struct buf *err) {
    struct buf name = {0};
    buf_printf(&name, "%s.lock", path);
    int fd = open(buf_z(&name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    enum sqlite_open_error e = SQLITE_OPEN_OK;
    if (fd < 0) {
        e = open_error_of_errno(errno);
        buf_printf(err, "cannot open %s: %s", buf_z(&name), strerror(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        e = open_error_of_errno(errno);
        if (e == SQLITE_OPEN_LOCKED) {
            buf_printf(err, "another server has %s open", path);
        } else {
            buf_printf(err, "cannot lock %s: %s", buf_z(&name), strerror(errno));
        }
        close(fd);
    } else {
        *ret_fd = fd;
    }
    buf_fini(&name);
    return e;
}

/* The file is made here, so that what it holds is nobody else's to read; SQLite gives its companions the same mode. */
static enum sqlite_open_error open_file(const char *path, struct buf *err) {
    struct stat st;
    if (stat(path, &st) == 0) {
        if (!S_ISREG(st.st_mode)) {
            buf_printf(err, "%s is not a file", path);
            return SQLITE_OPEN_FOREIGN;
        }
        if (st.st_size == 1) { /* which SQLite would count as empty */
            buf_printf(err, "%s is not a bowline database", path);
            return SQLITE_OPEN_FOREIGN;
        }
        if (access(path, R_OK | W_OK) == 0) {
            return SQLITE_OPEN_OK;
        }
    } else {
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0) {
            close(fd);
            return SQLITE_OPEN_OK;
        }
    }
    enum sqlite_open_error e = open_error_of_errno(errno);
    buf_printf(err, "cannot write %s: %s", path, strerror(errno));
    return e;
}

/* Nobody asks SQLite how much memory it has, and keeping count of it takes a lock for each piece. Refused once SQLite is in use: then it is on. */
static void memory_uncounted(void) {
    (void) sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int open_connection(const char *path, int flags, sqlite3 **ret_db) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, memory_uncounted);
    int rc = sqlite3_open_v2(path, ret_db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    return rc == SQLITE_OK ? sqlite3_busy_timeout(*ret_db, SQLITE_BUSY_MS) : rc;
}

static enum sqlite_open_error open_say(sqlite3 *db, const char *path, enum sqlite_open_error e, struct buf *err) {
    switch (e) {
    case SQLITE_OPEN_OK: break;
    case SQLITE_OPEN_NEWER: buf_printf(err, "%s was made by a newer version of bowline", path); break;
    case SQLITE_OPEN_FOREIGN: buf_printf(err, "%s is not a bowline database", path); break;
    case SQLITE_OPEN_LOCKED: buf_printf(err, "another program is writing to %s", path); break;
    case SQLITE_OPEN_NOT_WRITABLE: buf_printf(err, "%s cannot be written to", path); break;
    case SQLITE_OPEN_FULL: buf_printf(err, "no room on the disk for %s", path); break;
    case SQLITE_OPEN_FAILED: buf_printf(err, "cannot open %s: %s", path, db ? sqlite3_errmsg(db) : "SQLite failed"); break;
    }
    return e;
}

#define OPEN_PRAGMAS \
    "PRAGMA synchronous = FULL; PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 0;"

/* Write-ahead logging is a property of the file, and the answer to asking for it says whether it is on. */
static int open_set_wal(sqlite3 *db) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA journal_mode = WAL", -1, &st, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        rc = column_is(st, 0, STR("wal")) ? SQLITE_OK : SQLITE_CANTOPEN;
    }
    sqlite3_finalize(st);
    return rc;
}

/* The writer's connection, with every table there. On failure *ret_db may be set and is the caller's to close. */
static enum sqlite_open_error open_writer(const char *path, sqlite3 **ret_db, struct buf *err) {
    bool empty = false;
    int rc = open_connection(path, SQLITE_OPEN_READWRITE, ret_db);
    enum sqlite_open_error e = sqlite_error_of(rc);
    if (rc == SQLITE_OK && sqlite3_db_readonly(*ret_db, "main")) {
        e = SQLITE_OPEN_NOT_WRITABLE;
    }
    if (e == SQLITE_OPEN_OK) {
        e = sqlite_schema_check(*ret_db, &empty);
    }
    if (e != SQLITE_OPEN_OK) {
        return open_say(*ret_db, path, e, err);
    }
    rc = open_set_wal(*ret_db);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(*ret_db, OPEN_PRAGMAS, NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite_schema_update(*ret_db);
    }
    if (rc != SQLITE_OK) {
        return open_say(*ret_db, path, sqlite_error_of(rc), err);
    }
    if (empty && sqlite_sync_directory(path) != 0) {
        buf_printf(err, "cannot sync the directory of %s: %s", path, strerror(errno));
        return SQLITE_OPEN_FAILED;
    }
    return SQLITE_OPEN_OK;
}

static int open_reader(struct sqlite_store *s, const char *path) {
    sqlite3 *db = NULL;
    int rc = open_connection(path, SQLITE_OPEN_READONLY, &db);
    s->reader.db = db;
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192", NULL, NULL, NULL);
    }
    return rc == SQLITE_OK ? reader_init(&s->reader, db) : rc;
}

/* It has to have read the database once: before, it does not know that there is a log. */
static int open_checkpointer(struct sqlite_store *s, const char *path) {
    sqlite3 *db = NULL;
    int rc = open_connection(path, SQLITE_OPEN_READWRITE, &db);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK) {
        checkpointer_init(&s->checkpointer, db, &s->writer);
    } else {
        sqlite3_close(db);
    }
    return rc;
}

/* What was opened is closed with the rest, also after a failure. */
static enum sqlite_open_error open_connections(struct sqlite_store *s, const char *path, struct buf *err) {
    enum sqlite_open_error e = open_writer(path, &s->writer.db, err);
    if (e != SQLITE_OPEN_OK) {
        return e;
    }
    int rc = writer_init(&s->writer, s->writer.db);
    if (rc == SQLITE_OK) {
        rc = open_checkpointer(s, path);
    }
    if (rc == SQLITE_OK) {
        rc = open_reader(s, path);
    }
    return open_say(NULL, path, sqlite_error_of(rc), err);
}

/* Signals are the program's affair, not these threads'. */
static int open_threads(struct sqlite_store *s) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = checkpointer_start(&s->checkpointer);
    if (rc == 0) {
        rc = pthread_create(&s->writer_thread, NULL, writer_main, s);
    }
    if (rc == 0 && (rc = pthread_create(&s->reader_thread, NULL, reader_main, s)) != 0) {
        sqlite_close_down(s);
        pthread_join(s->writer_thread, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static struct sqlite_store *sqlite_create(struct store_sink sink) {
    struct sqlite_store *s = mem_alloc(sizeof(*s));
    s->base.ops = &sqlite_ops;
    s->sink = sink;
    s->lock_fd = -1;
    TAILQ_INIT(&s->asked);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->batch_came, NULL);
    pthread_cond_init(&s->query_came, NULL);
    return s;
}

struct store *sqlite_store_open(const char *path, struct store_sink sink, enum sqlite_open_error *ret_error, struct buf *err) {
    struct sqlite_store *s = sqlite_create(sink);
    enum sqlite_open_error e = sqlite_lock(path, &s->lock_fd, err);
    if (e == SQLITE_OPEN_OK) {
        e = open_file(path, err);
    }
    if (e == SQLITE_OPEN_OK) {
        e = open_connections(s, path, err);
    }
    if (e == SQLITE_OPEN_OK && open_threads(s) != 0) {
        buf_puts(err, "cannot start the store's threads");
        e = SQLITE_OPEN_FAILED;
    }
    *ret_error = e;
    if (e != SQLITE_OPEN_OK) {
        sqlite_free(s);
        return NULL;
    }
    return &s->base;
}
