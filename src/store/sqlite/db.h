/*
 * db.h: the parts of the embedded store. Private to this room.
 *
 *     sqlite.c         opening, the threads, what is handed back when
 *     value.c   values in and out of statements
 *     schema.c  what the tables look like; whether a file is one of ours
 *     write.c   a batch becomes a transaction
 *     checkpoint.c  the log goes into the database, from the side
 *     read.c    a query becomes SELECTs: by id, by key, what is due
 *     output.c  output, by offset and by number
 *     list.c    lists, in slices
 *     backup.c  a copy while a server may be running
 *     restore.c a store from such a copy
 *
 * Functions that return int give an SQLite result code; SQLITE_OK or SQLITE_DONE is success, as each says.
 */
#ifndef BOWLINE_STORE_SQLITE_DB_H
#define BOWLINE_STORE_SQLITE_DB_H

#include "store/sqlite/sqlite.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

/* States in the text of SQL. */
#define SQL_NUMBER(n) SQL_NUMBER_TEXT(n)
#define SQL_NUMBER_TEXT(n) #n
#define SQL_IS_ACTIVE "state = " SQL_NUMBER(STORE_SESSION_ACTIVE)
#define SQL_IS_UNFINISHED "state < " SQL_NUMBER(STORE_TASK_ENDED)
#define SQL_IS_ENDED "state >= " SQL_NUMBER(STORE_TASK_ENDED)

/* ---- values in and out of statements ---- */

/* Binds one value after the other. The values must live until the statement was stepped. */
struct binder {
    sqlite3_stmt *st;
    int at, rc;
};

struct binder bind_start(sqlite3_stmt *st); /* resets the statement */
void bind_i64(struct binder *b, int64_t v);
void bind_u64(struct binder *b, uint64_t v);                  /* what is past INT64_MAX counts as that */
void bind_optional_num(struct binder *b, bool has, double v); /* NULL if it has not */
void bind_id(struct binder *b, const struct id *id);
void bind_optional_id(struct binder *b, const struct id *id); /* none as NULL */
void bind_text(struct binder *b, struct str s);               /* none as NULL */
void bind_blob(struct binder *b, struct str s);
int bind_run(struct binder *b); /* steps to the end, resets; SQLITE_OK */

/* Takes one column after the other out of the present row; texts are copied into the arena. */
struct columns {
    sqlite3_stmt *st;
    int at;
    struct arena *arena;
    bool failed; /* there was no memory */
};

int64_t column_i64(struct columns *c);
uint64_t column_u64(struct columns *c);
double column_num(struct columns *c, double none); /* none where it is NULL */
struct id column_id(struct columns *c);
struct str column_str(struct columns *c);
bool column_is(sqlite3_stmt *st, int column, struct str s); /* whether the value is there and is s; copies nothing */

/* ---- schema.c ---- */

#define SQLITE_APPLICATION_ID 0x626f776c /* "bowl" */

/*
 * Says what the open database is: SQLITE_OPEN_OK (one of ours, or empty and then *ret_empty), SQLITE_OPEN_NEWER, SQLITE_OPEN_FOREIGN or, if it cannot
 * be read, what sqlite_error_of says. Writes nothing.
 */
enum sqlite_open_error sqlite_schema_check(sqlite3 *db, bool *ret_empty) MUST_CHECK;
/* Runs the steps that are missing, each in a transaction of its own. SQLITE_OK. */
int sqlite_schema_update(sqlite3 *db) MUST_CHECK;
enum sqlite_open_error sqlite_error_of(int rc);

/* Prepares sql[0..count) to stay. SQLITE_OK; on failure some of them are NULL. */
int sqlite_prepare_all(sqlite3 *db, const char *const *sql, sqlite3_stmt **ret_statements, int count) MUST_CHECK;
void sqlite_finalize_all(sqlite3_stmt **statements, int count);
/* fsync of the directory that path lies in. 0 or -1 with errno. */
int sqlite_sync_directory(const char *path) MUST_CHECK;

/* The exclusive right to the database at path: an flock on path + ".lock", kept until the descriptor is closed. */
enum sqlite_open_error sqlite_lock(const char *path, int *ret_fd, struct buf *err) MUST_CHECK;

/* ---- backup.c: copies, also for restore.c. 0, or -1 with a sentence ---- */

/* Opens a database of ours for reading. *ret_db may be set also on failure, and is the caller's to close. */
int sqlite_copy_open(const char *path, sqlite3 **ret_db, struct buf *err) MUST_CHECK;
/* Makes the file `part`, fills it with what stands in `from`, and lets `finish` work on it. */
int sqlite_copy_into(sqlite3 *from, const char *part, int (*finish)(void *arg, sqlite3 *db), void *arg, struct buf *err) MUST_CHECK;
/* Syncs the part and gives it its name, if there is nothing of that name. */
int sqlite_copy_name(const char *part, const char *to, struct buf *err) MUST_CHECK;

/* ---- write.c: one thread ---- */

#define SQLITE_BUSY_MS 5000 /* how long to wait for somebody with the sqlite3 shell */

#define WRITER_STATEMENTS 42

struct writer {
    sqlite3 *db;
    sqlite3_stmt *st[WRITER_STATEMENTS];
    atomic_bool dead; /* an fsync failed, here or in a checkpoint */
    bool failing;     /* the last batch failed, and that was said */
    bool checkpoint_failing;
    int wal_pages;     /* in the log, as of the last commit */
    int tried_pages;   /* in the log when a checkpoint was last asked for */
    int rest_pages;    /* in the log when all of it was last copied for it to begin anew, which a reader prevented; or 0 */
    atomic_int copied; /* pages of the log that are in the database as well, at least */
};

int writer_init(struct writer *w, sqlite3 *db) MUST_CHECK; /* takes db over, also on failure; SQLITE_OK */
void writer_fini(struct writer *w);                        /* last checkpoint unless dead, close */
/* In one transaction; in a second one, set by set, if a set is at fault. Fills in the results and what was measured. */
void writer_apply(struct writer *w, struct store_batch *b);
/* What the log wants after a batch; each time once. `copying`: a checkpoint is under way. */
enum writer_wish { WRITER_WANTS_NOTHING, WRITER_WANTS_CHECKPOINT, WRITER_WANTS_REST, WRITER_WANTS_RESTART };
enum writer_wish writer_wish(struct writer *w, bool copying);
void writer_copy_rest(struct writer *w);   /* copies the little that is left: unless a reader is in the way, the next batch begins the log anew */
void writer_restart_log(struct writer *w); /* copies what is left of it and begins it anew, waiting shortly for readers */

/* ---- checkpoint.c ---- */

bool sqlite_sync_failed(int rc);                                   /* an error that leaves it unknown what is on disk */
void sqlite_die(sqlite3 *db, const char *what, atomic_bool *dead); /* says so and sets it */
/* True if all that the mode asks for was done. A failure is said once, until one succeeds; a failed fsync sets dead. Does nothing when dead. */
bool sqlite_checkpoint(sqlite3 *db, int mode, bool *failing, atomic_bool *dead);
/* As much as can be had without disturbing anybody, synced; how much that is. */
void sqlite_checkpoint_beside(sqlite3 *db, atomic_int *ret_copied, bool *failing, atomic_bool *dead);

struct checkpointer {
    sqlite3 *db;
    atomic_bool *dead; /* these two are the writer's */
    atomic_int *copied;
    bool failing, started;
    atomic_bool busy; /* asked, and not done yet */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t came;
    bool wanted, closing;
};

void checkpointer_init(struct checkpointer *c, sqlite3 *db, struct writer *w); /* takes db over */
int checkpointer_start(struct checkpointer *c) MUST_CHECK;                     /* its thread: 0 or an errno */
void checkpointer_wake(struct checkpointer *c);                                /* from any thread */
void checkpointer_fini(struct checkpointer *c);                                /* accepts one that is zeroed */

/* ---- read.c, output.c, list.c: one thread ---- */

#define READ_MORE (-1) /* instead of a result code: the query has done a slice, call again */

enum read_statement {
    READ_BEGIN,
    READ_COMMIT,
    READ_SESSION,
    READ_SESSION_TASKS,
    READ_PROGRESS,
    READ_SESSION_GONE,
    READ_TASK_SESSION,
    READ_TOMBSTONE,
    READ_KEY,
    READ_NEWEST_OLD_KEY,
    READ_OLD_KEY,
    READ_USER,
    READ_IDEMPOTENCY,
    READ_INPUT,
    READ_RESULT,
    READ_OUTPUT,
    READ_OUTPUT_AFTER,
    READ_OUTPUT_ROW,
    READ_DUE_SESSIONS,
    READ_DUE_TASKS,
    READ_UNFINISHED,
    READ_KINDS,
    READ_META,
    READ_COUNTS,
    READ_LIST_SESSIONS,
    READ_LIST_SESSIONS_USER,
    READ_LIST_TASKS,
    READ_LIST_TASKS_SESSION,
    READ_LIST_TASKS_USER,
    READ_COUNT
};

struct reader {
    sqlite3 *db;
    sqlite3_stmt *st[READ_COUNT];
    bool failing;
};

int reader_init(struct reader *r, sqlite3 *db) MUST_CHECK; /* takes db over, also on failure; SQLITE_OK */
void reader_fini(struct reader *r);
/*
 * Answers q, or does one slice of it: false if there is more to do, so that others can have their turn. *at is where a list stands; zero at first.
 */
bool reader_answer(struct reader *r, struct store_query *q, struct id *at);

/* These return SQLITE_DONE, READ_MORE or an error. */
int read_list_sessions(struct reader *r, struct store_query *q, struct id *at);
int read_list_tasks(struct reader *r, struct store_query *q, struct id *at);
int read_output(struct reader *r, struct store_query *q);
int read_output_after(struct reader *r, struct store_query *q);
int read_task_counts(struct reader *r, const struct id *session, uint32_t ret_counts[2]);

bool column_session(sqlite3_stmt *st, struct arena *a, struct session_row *ret_row);
/* The present row of st as one more task, with the progress that is stored beside it. SQLITE_DONE. */
int read_task(struct reader *r, sqlite3_stmt *st, struct arena *a, struct task_rows *rows);

#define SESSION_COLUMNS                                                                                                                           \
    "id,state,reason,gen,seq,gone_floor,user,key_hash,metadata,created_at,ended_at,active_at,idle_timeout,max_age,rotated_at,merged_into,due_at," \
    "jwt_from,created_apart,ended_apart"
#define OLD_KEY_COLUMNS "key_hash,jwt_from,at,session,gen,expires_at"
#define TASK_COLUMNS "id,session,state,version,due_at,kind,queue,body,slot"
#define PROGRESS_COLUMNS "slot,task,version,updated_at,heard,stalled,current,total,unit,message,rate,eta,phase,data"

#endif
