/*
 * store.h: what the engine asks of a store. Rows, not rules: the engine decides what a row says, the store keeps it.
 *
 * The interface is asynchronous and speaks batches of rows and queries. submit() takes a batch, query() a query; each is handed
 * back exactly once through the sink, from a thread of the store's choosing (sqlite) or from store_step (memory, for the simulation).
 * At most one batch is under way at a time; queries run beside it and see only what was committed.
 * A batch is a list of change sets, each kept as a whole or not at all, with a result of its own; what is kept is on stable storage (fsync) before the batch
 * is handed back. A set that cannot be kept takes out itself alone.
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
    STORE_FAILED, /* this set or query failed (disk full, I/O error, a key that is taken): nothing of it is kept; another may succeed */
    STORE_DEAD    /* an fsync failed: nothing will be taken any more until a restart; queries still work */
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
    STORE_PUT_SESSION,     /* row.session; fails its set if at that op another active session has its key_hash */
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
    uint32_t set; /* whose it is: its place in store_batch.sets */
    bool sweep;   /* it takes away what is over: timed */
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

struct store_set {
    enum store_result result; /* STORE_OK also of one without ops */
};

/*
 * The sets of a batch are independent of each other: no row is touched by two of them, and none needs what another does. The ops of a set are applied in
 * their order; how they stand among those of others does not count.
 */
struct store_batch {
    uint64_t number; /* rises by one */
    struct store_op *ops;
    size_t count, cap;
    struct arena arena; /* texts of the ops */
    struct store_set *sets;
    size_t set_count, set_cap;
    enum store_result result; /* STORE_OK: all sets were kept. STORE_FAILED: those that say so were not. STORE_DEAD: none was, as far as is known */
    /* Of what was committed; 0 from a store without a clock. */
    int64_t sweep_us, forget_us; /* what its ops with `sweep` took, and STORE_FORGET among them */
    int64_t took_us;             /* from submit until it was durable */
    bool more;                   /* its STORE_FORGET has left something */
};

/* ---- queries ---- */

enum store_query_type {
    STORE_LOAD_SESSION,     /* the whole of one session */
    STORE_FIND_TASK,        /* where a task is, or what it was */
    STORE_FIND_KEY,         /* the active session with a key, and when the key was last lost */
    STORE_FIND_OLD_KEY,     /* the first time after a second that one of several keys was lost */
    STORE_FIND_USER,        /* a user's active sessions, and ended ones that still hold tasks */
    STORE_FIND_IDEMPOTENCY, /* an answer that is kept */
    STORE_GET_INPUT,        /* the inputs of several tasks */
    STORE_GET_RESULT,       /* the result of a task */
    STORE_GET_OUTPUT,       /* a run of a task's output */
    STORE_GET_OUTPUT_AFTER, /* output of several tasks that came after a number */
    STORE_LIST_SESSIONS,
    STORE_LIST_TASKS,
    STORE_DUE,   /* what is to be looked at by now */
    STORE_START, /* what a start needs */
};

#define STORE_JOIN_ROWS 4096

struct id_list {
    struct id *list;
    size_t count;
};

struct session_rows {
    struct session_row *list;
    size_t count;
};

struct task_rows {
    struct task_row *list;
    size_t count;
};

struct gone_rows {
    struct gone_row *list;
    size_t count;
};

/* What is asked, by the type of the query. A filter that is none or STR_NONE lets all pass. */
union store_ask {
    struct id session;   /* LOAD_SESSION */
    struct id task;      /* FIND_TASK, GET_RESULT */
    struct str key_hash; /* FIND_KEY */
    struct {
        struct str hashes; /* one behind the other */
        int64_t after_s, now;
    } old_key;       /* FIND_OLD_KEY */
    struct str user; /* FIND_USER */
    struct {
        struct str scope;
        int64_t now;
    } idempotency;         /* FIND_IDEMPOTENCY */
    struct id_list inputs; /* GET_INPUT: the tasks */
    struct {
        struct id task;
        uint64_t offset;
        size_t limit;
        /*
         * The asker's, before and after: at most limit bytes from offset on are put behind those that are there already (`kept` of them). They end at a
         * hole, if there are bytes before it, and after STORE_JOIN_ROWS rows.
         */
        size_t kept;
        struct buf bytes;
    } output; /* GET_OUTPUT */
    struct {
        struct id_list tasks;
        uint64_t seq;
        size_t limit; /* bytes */
    } output_after;   /* GET_OUTPUT_AFTER */
    struct {
        size_t limit;
        struct id after; /* the last of the page before */
        struct str user;
        int state; /* -1: any */
    } list_sessions;
    struct {
        size_t limit;
        struct id after, session;
        struct str user, kind, queue;
        int state; /* -1: any */
    } list_tasks;
    struct {
        int64_t now;
        size_t limit; /* of each sort */
    } due;
};

/* What was found, by the type of the query; in its arena. Nothing found is all zero. */
union store_answer {
    struct {
        bool found;
        struct session_row row;
        struct task_rows tasks; /* in order of version (of their progress, where that counts) */
        struct gone_rows gone;  /* in order of seq */
    } session;                  /* LOAD_SESSION */
    struct {
        bool found;
        struct id session;
        struct tombstone_row *tombstone; /* if it was not found, what it was; NULL if it never was */
    } task;                              /* FIND_TASK */
    struct {
        bool found;
        struct id session;               /* a change set after which two would have the key fails, so the old owner's row comes first */
        struct old_key_row *old_key;     /* the newest; NULL if it was never lost */
    } key;                               /* FIND_KEY */
    struct old_key_row *old_key;         /* FIND_OLD_KEY: the earliest with a greater jwt_from_s that is not over, or NULL */
    struct session_rows user;            /* FIND_USER: newest first */
    struct idempotency_row *idempotency; /* FIND_IDEMPOTENCY: NULL if there is none or it has expired (expires_at 0 never is) */
    struct {
        struct str *list; /* in the order asked for, STR_NONE for one that does not exist */
        size_t count;
    } inputs;          /* GET_INPUT */
    struct str result; /* GET_RESULT: STR_NONE if there is none */
    struct {
        uint64_t offset; /* of the first byte added, if there is any */
    } output;            /* GET_OUTPUT */
    struct {
        struct output_row *list; /* in order of seq, until the limit is passed; at least one if there is any */
        size_t count;
    } output_after; /* GET_OUTPUT_AFTER */
    struct {
        struct session_rows sessions; /* newest first */
        uint32_t (*task_counts)[2];   /* unfinished and ended ones of each */
    } list_sessions;
    struct task_rows list_tasks; /* newest first */
    struct {                     /* with 0 < due_at <= now, earliest first */
        struct id_list sessions;
        struct id_list tasks, task_sessions; /* of each task the session */
    } due;
    struct {
        struct id_list sessions; /* those that have unfinished tasks */
        struct kind_row *kinds;
        size_t kind_count;
        struct str clean, epoch, slots, clock; /* meta values */
    } start;
};

struct store_query {
    enum store_query_type type;
    bool low_priority; /* it may be answered after all that are not */
    enum store_result result;
    union store_ask ask;
    union store_answer answer; /* counts with STORE_OK; all zero otherwise */
    struct arena arena;
    void *owner; /* these two are the engine's affair */
    int purpose;
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
