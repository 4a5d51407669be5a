/*
 * store.h: what the engine asks of a store. Rows, not rules: the engine decides what a row says, the store keeps it.
 *
 * The interface is asynchronous and speaks batches of rows and queries. submit() takes a batch, query() a query; each is handed
 * back exactly once through the sink, from a thread of the store's choosing (sqlite) or from store_step (memory, for the simulation).
 * At most one batch is under way at a time; queries run beside it and see only what was committed.
 * A batch is applied as a whole and is on stable storage (fsync) before it is handed back with STORE_OK; otherwise nothing of it is kept.
 *
 * Ownership: batches, queries and everything they point to belong to the caller before submit/query and after the sink has
 * them back; in between to the store, which only reads them (and fills a query's answer, whose memory lies in the query's arena).
 */
#ifndef BOWLINE_STORE_STORE_H
#define BOWLINE_STORE_STORE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/str.h"

#include <stdint.h>

#define KEY_HASH_BYTES 32

/* The numbers of states that a store's queries know; they are the domain's (engine/rows.c holds both together). */
#define STORE_SESSION_ACTIVE 0 /* session_row.state */
#define STORE_TASK_ENDED 3     /* task_row.state: from here on the task has ended */

enum store_result {
    STORE_OK,
    STORE_FAILED, /* this batch or query failed (disk full, I/O error): nothing of it is kept; another may succeed */
    STORE_DEAD    /* an fsync failed: no batch will be taken any more until a restart; queries still work */
};

/* ---- rows. All times are in milliseconds, 0 for none: of the engine's steady time unless a row says Unix. All texts UTF-8, STR_NONE for none. ---- */

struct session_row {
    struct id id;
    uint8_t state;  /* enum session_state: 0 active, 1 ended */
    uint8_t reason; /* enum end_reason, 0 none */
    uint32_t gen;
    uint64_t seq;                                                               /* reservation: no number above it was ever given out */
    uint64_t gone_floor;                                                        /* cursors before it get `reset` */
    struct str user;                                                            /* or none */
    struct str key_hash;                                                        /* KEY_HASH_BYTES, or none */
    struct str metadata;                                                        /* JSON text */
    int64_t created_at, ended_at, active_at, idle_timeout, max_age, rotated_at; /* idle_timeout and max_age: ms, 0 never */
    struct id merged_into;                                                      /* none unless reason is merged */
    int64_t created_apart, ended_apart;                                         /* created_at and ended_at are Unix; less steady time at these */
    int64_t jwt_from_s; /* JWTs for its key issued before this second are old (Unix); 0 none */
    int64_t due_at;     /* when the engine wants to look at it again (expiry, forgetting); 0 never. Indexed */
};

struct task_row {
    struct id id;
    struct id session;
    uint8_t state; /* enum task_state */
    uint64_t version;
    int64_t due_at;                /* as above; for ended tasks their expiry */
    uint64_t slot;                 /* of its progress; 0 none */
    struct str kind;               /* these three for lists; their truth is in body as well */
    struct str queue;              /* or none */
    struct str body;               /* everything else about it, in the engine's own encoding (docs/storage.md) */
    struct progress_row *progress; /* in answers: what its slot holds if it is unfinished, or NULL; not looked at when it is put */
};

/*
 * What a task's progress alters, apart from its row, which is several times as wide. It counts if its version is higher than that of the row. Its key is a number, since that
 * is what a row is found by most cheaply; each is given to one task only.
 */
struct progress_row {
    uint64_t slot;
    struct id task;     /* whose it is: a slot with another's is nothing */
    uint64_t version;   /* also the number of the last change other than output */
    int64_t updated_at; /* Unix */
    bool heard, stalled, has_current, has_total;
    double current, total; /* 0 where there is none */
    double rate;           /* 0: none */
    double eta;            /* negative: none */
    struct str unit, message;
    struct str phase; /* "": it has left the last one */
    struct str data;  /* JSON text */
};

struct output_row {
    struct id task;
    uint64_t offset; /* of the first byte in the task's whole output */
    uint64_t seq;    /* number of the change */
    struct str data;
};

struct gone_row { /* a task that left a session: an entry of its feed */
    struct id session;
    uint64_t seq;
    struct id task;
    uint8_t reason; /* enum gone_reason */
    int64_t at;
};

struct tombstone_row { /* what a deleted or expired task was */
    struct id task;
    struct id session; /* the last one it belonged to */
    uint32_t watch_gen, attempt;
    struct str kind;
    uint8_t state;
    int64_t ended_at; /* Unix */
    int64_t gone_at;
};

struct idempotency_row {
    struct str scope;   /* 32 bytes: keyed hash of credential, method, path and key */
    struct str request; /* the body, compared byte by byte */
    int status;
    struct str location; /* header values of the answer, or none */
    struct str cookie;
    struct str answer;
    int64_t expires_at;
};

struct old_key_row {     /* that a session lost its key (by its end, a merge, a rotation) or kept it at a rotation; each time is a row of its own */
    struct str key_hash; /* KEY_HASH_BYTES */
    int64_t jwt_from_s;  /* JWTs for the key issued before this second are old (Unix); never falls from one row of a key to the next */
    int64_t at;
    struct id session;
    uint32_t gen; /* its generation until then: that of these JWTs */
    int64_t expires_at;
};

struct kind_row { /* how long tasks of a kind take, or one of its phases */
    struct str kind;
    struct str phase; /* "": the whole task */
    struct str body;  /* the engine's own encoding */
};

/* ---- batches ---- */

enum store_op_type {
    STORE_PUT_SESSION,     /* row.session; fails the batch if at that op another active session has its key_hash */
    STORE_DELETE_SESSION,  /* id */
    STORE_PUT_TASK,        /* row.task */
    STORE_DELETE_TASK,     /* id: the task, its input, result and output; number not 0: these three are large, and STORE_FORGET may take them later */
    STORE_PUT_PROGRESS,    /* row.progress */
    STORE_DELETE_PROGRESS, /* number: the slot; with the end of each task that had one, or with its row */
    STORE_PUT_INPUT,       /* id, data */
    STORE_PUT_RESULT,      /* id, data */
    STORE_ADD_OUTPUT,      /* row.output */
    STORE_TRIM_OUTPUT,     /* id, number: drop rows that end at or before this offset */
    STORE_PUT_GONE,        /* row.gone */
    STORE_DELETE_GONE,     /* id of the session, number: entries with seq up to and including */
    STORE_PUT_TOMBSTONE,   /* row.tombstone */
    STORE_PUT_IDEMPOTENCY, /* row.idempotency */
    STORE_PUT_OLD_KEY,     /* row.old_key; replaces one that is the same but for expires_at */
    STORE_PUT_KIND,        /* row.kind */
    STORE_DELETE_KIND,     /* row.kind, without its body */
    STORE_PUT_META,        /* name, data */
    STORE_BOUND_JWT_FROM, /* number: a second; what jwt_from_s of old keys and sessions lies above it becomes that, of sessions that have rotated the one before */
    STORE_FORGET, /* number: now in ms; deletes what large tasks left, expired idempotency rows and old keys (expires_at 0 never is) and (by gone_at + number2 ms) tombstones, at most 500 rows of each, oldest first, within budget_us */
};

struct store_op {
    enum store_op_type type;
    bool sweep; /* it takes away what is over: timed */
    struct id id;
    uint64_t number, number2;
    int64_t budget_us; /* STORE_FORGET: it stops with the row that passes it; 0: no such bound */
    struct str name, data;
    union {
        struct session_row session;
        struct task_row task;
        struct progress_row progress;
        struct output_row output;
        struct gone_row gone;
        struct tombstone_row tombstone;
        struct idempotency_row idempotency;
        struct old_key_row old_key;
        struct kind_row kind;
    } row;
};

struct store_batch {
    uint64_t number; /* rises by one */
    struct store_op *ops;
    size_t count, cap;
    struct arena arena; /* texts of the ops */
    enum store_result result;
    /* Of a batch that was committed; 0 from a store without a clock. */
    int64_t sweep_us, forget_us; /* what its ops with `sweep` took, and STORE_FORGET among them */
    int64_t took_us;             /* from submit until it was durable */
    bool more;                   /* its STORE_FORGET has left something */
};

/* ---- queries ---- */

enum store_query_type {
    /* The whole of one session: session (found), tasks in order of version (of their progress, where that counts), gone in order of seq. */
    STORE_LOAD_SESSION, /* by id */
    STORE_FIND_TASK,    /* by id: ret session id, or tombstone */
    STORE_FIND_KEY, /* by data = key hash: the active session with it (found, ret_id; a batch in which two would have it fails, so the old owner's row comes first), and the newest old_key if there is one */
    STORE_FIND_OLD_KEY, /* by data = key hashes one behind the other, number = a second, time = now: old_key (found), the earliest of them with a greater jwt_from_s that is not over */
    STORE_FIND_USER,    /* by data = user: its active sessions, and ended ones that still hold tasks, whatever their state; newest first */
    STORE_FIND_IDEMPOTENCY, /* by data = scope, time = now: found unless expired (expires_at 0 never is) */
    STORE_GET_INPUT,        /* by ids: blobs in the same order, STR_NONE for one that does not exist */
    STORE_GET_RESULT,       /* by id: found, and one blob (STR_NONE if there is none) */
    STORE_GET_OUTPUT, /* by id, number = offset, limit bytes: rows from the one that holds offset on, at least one if there is any behind it, until limit bytes are passed. `joined`: see there */
    STORE_GET_OUTPUT_AFTER, /* by ids (tasks), number = seq: their rows with a greater seq in order of seq, until limit bytes are passed (at least one if there is any) */
    STORE_LIST_SESSIONS, /* newest first, after = id or none, limit, filters user, state */
    STORE_LIST_TASKS,    /* newest first, after, limit, filters session, user, state, kind, queue */
    STORE_DUE, /* by time: ids of sessions (ret_ids) and of tasks with their sessions (tasks: id and session only) with 0 < due_at <= time, earliest first, at most limit each */
    STORE_START, /* ids of sessions that have unfinished tasks (ret_ids), all kind rows, and the meta values "clean", "epoch", "slots", "clock" */
};

#define STORE_JOIN_ROWS 4096

struct store_query {
    enum store_query_type type;
    struct id id;
    struct id *ids;
    size_t id_count;
    struct str data;
    uint64_t number;
    int64_t time;
    size_t limit;
    /*
     * GET_OUTPUT: the bytes from offset on, at most limit of them, in one run behind those that are in `bytes` already (`kept` of them), instead of as rows.
     * It ends at a hole, if there are bytes before it, and after STORE_JOIN_ROWS rows. ret_offset: of the first byte added, if there is any.
     */
    bool joined;
    size_t kept;
    struct buf bytes; /* the asker's, before and after */
    uint64_t ret_offset;
    struct {
        struct id after, session; /* none: no such filter */
        struct str user, kind, queue;
        int state; /* -1: any */
    } filter;

    /* the answer, in the arena */
    enum store_result result;
    bool found;
    struct id ret_id;
    struct id *ret_ids;
    size_t ret_id_count;
    struct session_row *sessions;
    size_t session_count;
    struct task_row *tasks;
    size_t task_count;
    struct gone_row *gone;
    size_t gone_count;
    struct tombstone_row *tombstone; /* NULL if none */
    struct idempotency_row *idempotency;
    struct old_key_row *old_key;
    struct output_row *output;
    size_t output_count;
    struct str *blobs;
    size_t blob_count;
    struct kind_row *kinds;
    size_t kind_count;
    struct str clean, epoch, slots, clock;
    /* with LIST_SESSIONS: unfinished and ended tasks of each */
    uint32_t (*task_counts)[2];

    struct arena arena;
    bool patient; /* it may be answered after all that are not */
    void *owner;  /* the engine's affair */
    int purpose;  /* the engine's affair */
};

struct store;

struct store_sink {
    void (*batch_done)(void *arg, struct store_batch *b);
    void (*query_done)(void *arg, struct store_query *q);
    void *arg;
};

struct store_ops {
    void (*submit)(struct store *s, struct store_batch *b);
    void (*query)(struct store *s, struct store_query *q);
    void (*destroy)(struct store *s); /* waits for what is under way, closes, frees */
};

struct store {
    const struct store_ops *ops;
};

static inline void store_submit(struct store *s, struct store_batch *b) {
    s->ops->submit(s, b);
}
static inline void store_query(struct store *s, struct store_query *q) {
    s->ops->query(s, q);
}
static inline void store_destroy(struct store *s) {
    if (s) {
        s->ops->destroy(s);
    }
}

#endif
