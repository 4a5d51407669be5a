/*
 * internal.h: what the files of the engine share. One thread; nothing here is seen outside of src/engine/.
 *
 *   engine.c     commands, their waits and answers; the pass
 *   start.c      begins, serves, stops and ends
 *   batch.c      what must be durable before what may leave; failure
 *   residence.c  which sessions are in memory, loading and letting go
 *   rows.c       rows to entries and back
 *   clocks.c     engine time and the wall clock, and what a step of that means
 *   change.c     every change of a task: numbers, feeds, counts, clocks
 *   kinds.c      how long the tasks of a kind take, and how long this one still does
 *   life.c       the ends, moves and users of sessions
 *   sweep.c      how much of what is over goes with a batch
 *   feed.c       channels to the loops: frames, catching up, cuts
 *   queue.c      queues and their waiting claims
 *   auth.c       who is it, is it alive, whose is it
 *   idempotency.c
 *   cmd_*.c      one handler per command
 *   check.c      invariants;  metrics.c
 */
#ifndef BOWLINE_ENGINE_INTERNAL_H
#define BOWLINE_ENGINE_INTERNAL_H

#include "base/hash.h"
#include "base/times.h"
#include "domain/session.h"
#include "domain/task.h"
#include "domain/token.h"
#include "engine/engine.h"

#ifdef ENGINE_TINY /* the simulation: every edge is near */
#define ENGINE_RESERVE 24
#define ENGINE_SLOTS 3
#define ENGINE_DUE_LIMIT 4
#define ENGINE_SWEEP_MOST 12
#define ENGINE_LOAD_PIECE 2
#define ENGINE_SWEEP_LARGE 8
#define ENGINE_PUMP 2
#define ENGINE_PUMPS 1
#define ENGINE_OUTPUT_NUMBER 32
#define ENGINE_OUTPUT_PIECE 40
#define ENGINE_OUTPUT_ANSWER 200
#define ENGINE_REFILL_BYTES 128
#define ENGINE_REFILL_EVENTS 3
#define ENGINE_PHASES 2
#else
#define ENGINE_RESERVE 4096 /* numbers a session reserves ahead in storage */
#define ENGINE_SLOTS 65536  /* numbers of slots reserved ahead */
#define ENGINE_DUE_LIMIT 50
#define ENGINE_LOAD_PIECE 250    /* tasks of a session that are made of their rows in one pass */
#define ENGINE_SWEEP_MOST 200    /* rows that the sweep takes away with one batch */
#define ENGINE_SWEEP_LARGE 65536 /* bytes of a task's input, result and output (or a 16th of that, of output alone) that do not go together with it */
#define ENGINE_PUMP 64           /* frames per step to a channel that is catching up */
#define ENGINE_PUMPS 16          /* such steps in one pass */
#define ENGINE_OUTPUT_NUMBER 65536       /* bytes of output that share a number */
#define ENGINE_OUTPUT_PIECE (1u << 20)   /* bytes of output that are read at a time: other sessions wait for the same reader */
#define ENGINE_OUTPUT_ANSWER (16u << 20) /* bytes of output in one answer: all that is kept, by default */
#define ENGINE_REFILL_BYTES 65536
#define ENGINE_REFILL_EVENTS 256
#define ENGINE_PHASES 32 /* phases of a kind of which it is known how long they take: no worker's inventions fill the memory */
#endif
#define ENGINE_KEY_LEAST_MS (2 * DAY) /* a lost key is remembered so long: a JWT of before must be over by then, also where the clock has gone back */
#define ENGINE_JWT_SKEW_S 60          /* `iat` may be ahead by that much (api/jwt.h) */
#define ENGINE_SOFT_MS 180            /* progress and touches reach the open batch within */
#define ENGINE_DUE_MS 500             /* pause between two looks at what is due among what is not in memory */
#define ENGINE_DUE_MORE_MS 20         /* the pause when there was more than that */
#define ENGINE_DUE_LOADS 8            /* sessions loaded for it at the same time: others have look-ups too */
#define ENGINE_DUE_AHEAD_MS 500       /* and none while the sweep is behind by that much */
#define ENGINE_EVICT_MS 15000         /* a session that nobody needs stays this long */
#define ENGINE_LOOK_MS 10000          /* that a look-up found nothing counts so long; less than ENGINE_EVICT_MS */
#define ENGINE_OUTPUT_SHOW_MS 1000    /* a task event for output at most this often */
#define ENGINE_FORGET_MS 60000
#define ENGINE_SWEEP_LEAST 8        /* rows with one batch, however long they take */
#define ENGINE_SWEEP_US 4000        /* what they should take at most */
#define ENGINE_SWEEP_FORGET_US 3000 /* and STORE_FORGET */
#define ENGINE_SWEEP_MS 5           /* what finds no room tries again after */

struct task_entry;
struct session_entry;
TAILQ_HEAD(task_list, task_entry);
LIST_HEAD(channel_list, channel);

/* ---- feeds ---- */

enum channel_kind { CHANNEL_SESSION, CHANNEL_SESSION_OUTPUT, CHANNEL_TASK };

/* One watched feed on one loop. */
struct channel {
    uint64_t number;
    unsigned loop;
    enum channel_kind kind;
    struct id id;            /* of the session or task */
    struct session_entry *s; /* NULL while the session is being loaded again, and for tasks */
    struct task_entry *t;
    unsigned watchers, people;
    unsigned own;          /* of them, with the session's credential, plain polls aside */
    uint64_t sent;         /* everything up to it is with the loop or on its way */
    bool behind;           /* on engine.behind */
    bool stated;           /* of a task: its state has been sent, at least once */
    bool removed;          /* its task is no more: what its loop has is all there is */
    bool retired;          /* nothing more is sent to it, and nobody new watches it: it lacks something for good, or its session has ended */
    struct task_entry *at; /* catching up: the next task to send */
    LIST_ENTRY(channel) of_object;
    TAILQ_ENTRY(channel) of_behind;
    UT_hash_handle hh;
};
TAILQ_HEAD(behind_list, channel);

struct gone_entry {
    TAILQ_ENTRY(gone_entry) link;
    uint64_t seq;
    struct id task;
    enum gone_reason reason;
    int64_t at;
};
TAILQ_HEAD(gone_list, gone_entry);

/* ---- what is in memory ---- */

/* Tasks whose rows are to be written, in that order. An array, so that what comes next is known before it is looked at. */
struct changed_tasks {
    struct task_entry **at; /* NULL: it has been written, or left */
    size_t count, cap;
    size_t left; /* those that are not NULL */
};

struct task_entry {
    struct task t;
    struct session_entry *s;
    TAILQ_ENTRY(task_entry) by_version, by_change; /* session_entry.by_version, .by_change */
    TAILQ_ENTRY(task_entry) by_end;                /* session_entry.by_end, if counted_ended */
    struct changed_tasks *changed;                 /* engine.dirty_tasks or one of engine.soft_tasks; NULL: it is as the store has it */
    size_t changed_at;                             /* its place there */
    uint64_t slot;                                 /* of its progress in the store; 0 as long as it has had no attempt */
    bool row_stale;                                /* more has changed than its progress can say */
    bool has_progress;                             /* there is something in its slot, perhaps older than its row */
    bool counted_ended;
    bool eta_due;   /* t.eta_s is of an earlier change */
    int64_t eta_at; /* of the one that it is to be of */
    struct timer timer;
    struct cmd_list waiters;
    struct channel_list channels;
    unsigned people; /* watchers of its own feed with a session or watch credential, and requests with one that wait for news of it */
    int64_t unwatched_since;
    int64_t output_shown_at; /* when output last made a task event */
    bool output_unshown;
    struct kind *kind;   /* found when it is first needed; kinds stay */
    struct queue *queue; /* set while it is unfinished and has one */
    size_t queue_at;     /* its place in the heap, from 1; 0: not in it */
    int64_t ready;       /* may be claimed from then on; 0: it has not waited in a queue yet */
    bool queue_running;  /* counted as running there */
    UT_hash_handle hh;
};

struct session_entry {
    struct session s;
    uint64_t seq;
    uint64_t reserved;         /* durable: numbers up to it may be given out */
    uint64_t reserved_pending; /* will be, once the batch that says so is */
    uint64_t reserved_written; /* as its row says that was last put into a batch */
    uint64_t gone_floor;
    uint64_t pending; /* newest batch that holds a durable change of this session */
    uint64_t touched; /* newest batch that holds a task's progress of this session */
    struct task_list by_version, by_change;
    struct task_list by_end; /* those that have ended, the oldest end first, but for ends_mixed */
    bool ends_mixed;         /* tasks that had ended came from elsewhere: to be sorted when the order counts */
    struct gone_list gone;
    unsigned gone_count, unfinished, ended;
    struct channel_list channels;
    unsigned watchers; /* of its feeds and those of its tasks */
    unsigned own;      /* of them, with its own credential, plain polls aside */
    unsigned people;
    unsigned waiting; /* requests with its own credential that wait for news of one of its tasks */
    int64_t unwatched_since;
    TAILQ_ENTRY(session_entry) of_dirty;
    enum dirt { CLEAN, SOFT, DIRTY } dirt;
    int64_t active_written; /* idle clock and due time as the store has them */
    int64_t due_written;
    int64_t used_at;
    bool ending; /* a command that ends it is under way */
    struct timer timer;
    struct user *user;
    LIST_ENTRY(session_entry) of_user; /* user.here */
    UT_hash_handle hh, hh_key;
};
TAILQ_HEAD(session_list, session_entry);

/* The generation that counts of a task's watch tokens. */
static inline uint32_t task_watch_gen(const struct task_entry *t) {
    return t->t.watch_base + t->s->s.gen;
}

LIST_HEAD(user_here, session_entry);
struct user {
    char *name;
    struct user_session {
        struct id id;
        int64_t active_at;
        bool ended; /* kept for tasks that wait to be handed over */
    } * sessions;
    size_t count, cap;
    struct user_here here; /* its sessions in memory; with the last of them it goes */
    bool stale;            /* the store has not been asked which others there are, or a failed batch may have changed that */
    UT_hash_handle hh;
};

struct queue {
    char *name;
    struct task_entry **heap; /* by (ready, id) */
    size_t count, cap;
    unsigned running;
    struct cmd_list waiters;
    struct timer timer;
    UT_hash_handle hh;
};

/* What was learned of a kind, or of one of its phases. */
struct learned {
    TAILQ_ENTRY(learned) link; /* kind.phases */
    char *phase;               /* "": the whole task */
    struct kind_durations durations;
    int64_t at; /* when it was learned last */
    bool dirty;
};

struct kind {
    char *name;
    struct learned whole;
    TAILQ_HEAD(learned_list, learned) phases; /* at most ENGINE_PHASES, the last to be learned first */
    unsigned phase_count;
    bool dirty; /* some of it */
    UT_hash_handle hh;
};

/* A task that is gone, until the batch that says so is durable. */
struct tombstone {
    struct tombstone_row row;
    char *kind;
    uint64_t batch;
    UT_hash_handle hh;
};

/* A key that led to a session which ended or rotated, until the batch that says so is durable. */
struct old_key {
    uint8_t hash[32];
    int64_t jwt_from_s;
    uint64_t batch;
    UT_hash_handle hh;
};

struct idempotency {
    uint8_t scope[32];
    bool under_way;
    uint64_t batch;
    struct idempotency_row row; /* texts on the heap */
    struct cmd_list waiters;
    UT_hash_handle hh;
};

/* ---- look-ups ---- */

enum look_up { LOOK_SESSION, LOOK_TASK, LOOK_KEY, LOOK_USER, LOOK_IDEMPOTENCY };

struct load {
    struct load_key {
        int what;
        uint8_t key[32];
    } key;
    struct cmd_list waiters;
    uint64_t stamp; /* engine.look_clock when it was asked */
    int64_t asked_at;
    bool reload; /* of a session that was thrown away */
    bool first;  /* the start waits for it: engine.loads_left */
    bool due;    /* counted in engine.due_loads */
    struct {
        struct store_query *query; /* a session of many tasks: they are made of their rows a piece at a time */
        struct task *tasks;
        size_t count, at;       /* tasks made, rows used */
        TAILQ_ENTRY(load) link; /* engine.pieces */
    } piece;
    UT_hash_handle hh;
};
TAILQ_HEAD(load_list, load);

/* A stream of reports of which a line waits for a look-up. */
struct stopped_stream {
    unsigned loop;
    const void *stream;
    struct cmd_list behind; /* its commands that came later */
    LIST_ENTRY(stopped_stream) link;
};
LIST_HEAD(stopped_list, stopped_stream);

/* A row that became durable and left memory: a look-up for it that was asked before may have missed both. */
struct recent {
    struct load_key key;
    uint64_t stamp;
    int64_t at;
    TAILQ_ENTRY(recent) link; /* engine.recent_order */
    UT_hash_handle hh;
};
TAILQ_HEAD(recent_list, recent);

enum found { FOUND, ABSENT, PARKED };

/* ---- batches ---- */

struct effect {
    TAILQ_ENTRY(effect) link;
    unsigned loop;
    struct mail mail;   /* or */
    struct cmd *resume; /* a command that goes on once the batch is durable */
};
TAILQ_HEAD(effect_list, effect);

struct batch {
    struct store_batch b;
    struct effect_list effects;
    struct touched {
        struct id session;
        uint64_t reserved;
    } * touched;
    size_t touched_count, touched_cap;
    unsigned roomy;      /* how often in a row it was used that had far more memory than it needed */
    unsigned swept;      /* ops that take away what is over */
    unsigned sweep_cost; /* rows that they are about: limited, so that no sweep makes a long commit */
};

struct engine {
    struct engine_config config;
    const struct options *o;
    struct store *store;
    int64_t now;          /* engine time, which is steady: all durations, and the wheel */
    int64_t apart;        /* Unix time less engine time: changes when the wall clock steps */
    int64_t shift;        /* engine time less the steady time that it is given */
    int64_t wall_read;    /* the wall clock as it was read */
    int64_t wall_highest; /* since it last went back */
    int64_t clock_written, clock_written_highest;
    bool clocks_begun;
    uint64_t put_back; /* the batch that puts rows back which a clock that was ahead had dated */
    struct wheel wheel;
    struct id_maker ids;
    char epoch[16];

    enum { ENGINE_NEW, ENGINE_LOADING, ENGINE_SERVING, ENGINE_STOPPING, ENGINE_STOPPED } state;
    bool unclean;      /* the last stop was not a clean one */
    bool dead;         /* an fsync failed: nothing is written any more */
    bool stop_clean;   /* it was serving when it was stopped: the next start may go on without a gap */
    bool stop_said;    /* and the batch that says so is on its way */
    size_t loads_left; /* while loading */

    struct session_entry *sessions;
    struct session_entry *sessions_by_key;
    struct task_entry *tasks;
    struct task_entry *found; /* the task that was looked up last: often it is looked up again at once */
    struct user *users;
    struct queue *queues;
    struct kind *kinds;
    struct tombstone *tombstones;
    struct old_key *old_keys;
    struct idempotency *idempotency;
    struct load *loads;
    struct load_list pieces; /* those that go on in the next pass */
    struct channel *channels;
    uint64_t channel_numbers;
    unsigned detached; /* channels whose session was thrown away and is being loaded again */
    struct behind_list behind;

    struct batch *open, *inflight, *spare;
    uint64_t durable;
    uint64_t slot, slots_reserved; /* the last that was given to a task, and the bound in storage; no slot is given twice */
    uint64_t marked;               /* the batch that names the epoch and says that this run has not stopped cleanly */
    uint64_t look_clock;           /* rises with each look-up asked and each row that left memory */
    uint64_t looks_failed;         /* look-ups asked before count no more if they found nothing: a batch has failed since */
    struct recent *recent;
    struct recent_list recent_order;
    unsigned queries; /* with the store */
    struct stopped_list stopped;
    struct changed_tasks dirty_tasks;
    struct changed_tasks soft_tasks[2]; /* one side takes in; the other is due, and turns are taken */
    unsigned soft_side;                 /* that takes in */
    struct session_list dirty_sessions, soft_sessions;
    struct timer soft_timer, due_timer, forget_timer;
    unsigned sweep_room;  /* rows for the sweep in one batch: fewer if they take long */
    unsigned sweep_turns; /* rows that try again at */
    int64_t sweep_turn;   /* the last turn of those that found no room */
    bool due_under_way, kinds_dirty;
    struct id due[2 * ENGINE_DUE_LIMIT];   /* sessions to be loaded since something in them is due */
    unsigned due_at, due_count, due_loads; /* the next of them, and how many are on their way */

    int64_t waits_end;               /* no command waits beyond it */
    struct cmd_list ready;           /* to be run again in this pass */
    struct cmd_list held;            /* came before the engine was serving */
    struct buf scratch, cursor_text; /* of a moment */

    struct {
        uint64_t commands, changes, reports, batches, batch_ops, batch_failures, frames, loads, evictions, created, swept, ended[TASK_STATES];
        struct times batch_times, sweep_times;
    } counts;
};

/* engine.c */
void engine_command(struct engine *e, struct cmd *c); /* runs it until it is answered or parked */
void cmd_park(struct cmd *c, struct cmd_list *list);
void cmd_unpark(struct engine *e, struct cmd *c);
void cmd_wake(struct engine *e, struct cmd_list *list);                              /* all of them run again in this pass */
enum found cmd_wait(struct engine *e, struct cmd *c, struct cmd_list *list);         /* parks for Prefer: wait; PARKED, or ABSENT when time is up */
enum found cmd_wait_watching(struct engine *e, struct cmd *c, struct task_entry *t); /* the same for news of a task: meanwhile a person watches it */

/* clocks.c */
void clocks_at(struct engine *e, struct moment now);
void clocks_begin(struct engine *e, struct str written); /* the meta value */
void clocks_put(struct engine *e);
void clocks_write(struct engine *e);
void clocks_put_rows_back(struct engine *e);
static inline int64_t wall_of(const struct engine *e, int64_t at) { /* a time as people are shown it */
    return at + e->apart;
}
/* The second in which it is, as it was read: `iat` is compared with nothing earlier. */
static inline int64_t wall_second(const struct engine *e) {
    int64_t wall = wall_of(e, e->now);
    return (e->wall_read > wall ? e->wall_read : wall) / 1000;
}
/* The newest `iat` that the session has been used with, if it lies ahead; else 0. Where it lies further ahead than any is taken, the clock has gone back. */
static inline int64_t jwt_ahead_s(const struct engine *e, const struct session_entry *s) {
    int64_t by = s->s.jwt_seen_s - wall_second(e);
    return by > 0 && by <= ENGINE_JWT_SKEW_S ? s->s.jwt_seen_s : 0;
}
static inline struct moment now_of(const struct engine *e) {
    return (struct moment){.ms = e->now, .wall_ms = wall_of(e, e->now)};
}

/* start.c */
void engine_mark(struct engine *e); /* the open batch says which history this is, and that it has not stopped cleanly */
void engine_started(struct engine *e, struct store_query *q);
void engine_loaded_one(struct engine *e); /* a session is there: perhaps the last that was waited for */
void engine_check_stopped(struct engine *e);

/* batch.c */
struct batch *batch_create(uint64_t number);
void batch_destroy(struct batch *b);
struct store_op *batch_op(struct engine *e, enum store_op_type type);
struct str batch_text(struct engine *e, struct str s); /* a copy that lives as long as the open batch */
uint64_t engine_newest(const struct engine *e);        /* the newest batch with anything in it */
void task_dirty(struct engine *e, struct task_entry *t);
void task_soft(struct engine *e, struct task_entry *t);
void session_dirty(struct engine *e, struct session_entry *s);
void session_soft(struct engine *e, struct session_entry *s);
void soft_becomes_dirty(struct engine *e);                    /* all of it is written with the next batch */
void session_pend(struct engine *e, struct session_entry *s); /* the open batch holds a durable change of it */
void entry_clean_task(struct task_entry *t);                  /* takes it off the lists of what must be written */
void entry_clean_session(struct engine *e, struct session_entry *s);
void engine_post(struct engine *e, uint64_t needs, unsigned loop, struct mail m);
enum found cmd_until_durable(struct engine *e, struct cmd *c, uint64_t needs); /* FOUND, or PARKED (at most once for a command) */
void engine_flush(struct engine *e);                                           /* gives the open batch to the store if that is idle */

/* answers (engine.c) */
void cmd_answer(struct engine *e, struct cmd *c, uint64_t needs);
void cmd_refuse(struct engine *e, struct cmd *c, uint64_t needs, enum err err, const char *detail);
void cmd_refuse_at(struct engine *e, struct cmd *c, uint64_t needs, enum err err, struct str pointer, const char *detail);
struct buf *cmd_json(struct cmd *c, int status); /* an answer of this status with a JSON body to be written */

/* residence.c */
enum found find_session(struct engine *e, struct cmd *c, struct id id, struct session_entry **ret);
enum found find_task(struct engine *e, struct cmd *c, struct id id, struct task_entry **ret,
                     struct tombstone_row **ret_gone); /* ABSENT with *ret_gone set if it was */
enum found find_key(struct engine *e, struct cmd *c, struct str key, struct session_entry **ret);
enum found find_user(struct engine *e, struct cmd *c, struct str name, struct user **ret);
void look_up_missed(struct engine *e, enum look_up what, const void *key,
                    size_t key_len);  /* what it would find has become durable and leaves memory */
void look_ups_drop(struct engine *e); /* the engine is going */
enum found look_up(struct engine *e, struct cmd *c, enum look_up what, const void *key, size_t key_len);
struct session_entry *session_resident(struct engine *e, struct id id);
struct task_entry *task_resident(struct engine *e, struct id id);
void session_load(struct engine *e, struct id id, bool reload);
void session_load_first(struct engine *e, struct id id);   /* nothing is served before it is there */
void due_look(struct timer *t, int64_t now_ms, void *arg); /* asks the store */
void due_found(struct engine *e, struct store_query *q);
void sessions_load_due(struct engine *e);                              /* the next of engine.due */
bool session_reloading(struct engine *e, struct cmd *c, struct id id); /* it was thrown away and is not back yet: the command waits for it */
bool engine_loaded(struct engine *e, struct store_query *q);           /* false: it keeps the query and goes on with it in the next passes */
bool engine_load_piece(struct engine *e);                              /* of the first of those; true: it is done */
void load_free(struct load *l);
void session_drop(struct engine *e, struct session_entry *s); /* out of memory, whatever its state; channels stay */
void session_maybe_evict(struct engine *e, struct session_entry *s);
void session_key_hash(const struct engine *e, unsigned set, struct str key, uint8_t out[32]);
struct store_query *query_create(enum store_query_type type, int purpose, void *owner);
void query_free(struct store_query *q);
void query_send(struct engine *e, struct store_query *q);
enum query_purpose { QUERY_LOAD, QUERY_CMD, QUERY_DUE, QUERY_START };
enum found cmd_query(struct engine *e, struct cmd *c, struct store_query *q); /* PARKED; the command runs again with c->e.query set */

/* rows.c */
struct session_entry *session_entry_create(struct engine *e, struct session *s);
struct task_entry *task_entry_create(struct engine *e, struct session_entry *s, struct task *t);
bool task_from_row(struct engine *e, const struct task_row *row, struct task *ret);
/* tasks: made of the rows; they are the session's from then on. */
struct session_entry *session_from_rows(struct engine *e, const struct store_query *q, struct task *tasks, size_t count, bool reload);
void session_row_put(struct engine *e, struct session_entry *s);
void task_row_put(struct engine *e, struct task_entry *t); /* its row, or that of its progress where nothing else has changed */
void progress_row_drop(struct engine *e, struct task_entry *t);
void slots_from_row(struct engine *e, struct str value);
int task_of_row(const struct task_row *row, struct task *ret) MUST_CHECK; /* 0 or -1; ret is to be task_fini'd in any case */
void learned_row_put(struct engine *e, const struct kind *k, const struct learned *l);
void learned_row_drop(struct engine *e, const struct kind *k, const struct learned *l);
bool learned_from_row(const struct kind_row *row, struct learned *ret); /* false: it cannot be read */
int64_t session_due_at(const struct engine *e, const struct session_entry *s);

/* change.c */
uint64_t session_number(struct engine *e, struct session_entry *s, uint64_t above);
enum how_lasting { LASTING, PASSING };
void task_changed(struct engine *e, struct task_entry *t, enum how_lasting how);
void task_output(struct engine *e, struct task_entry *t, struct str data);
void task_rearm(struct engine *e, struct task_entry *t);
bool session_is_crowded(const struct engine *e, const struct session_entry *s); /* holds more tasks than may be kept */
void session_thin_out(struct engine *e, struct session_entry *s);               /* the oldest ended ones expire; by the session's timer only */
void task_count(struct task_entry *t);
void task_count_in(struct task_entry *t);                                          /* it is its session's from now on */
void task_count_out(struct task_entry *t);                                         /* or no longer */
void task_remove(struct engine *e, struct task_entry *t, enum gone_reason reason); /* forgets it: gone entry, tombstone, rows */
void task_entry_free(struct engine *e, struct task_entry *t);                      /* out of all lists, without a trace in the store */
void gone_trim(struct engine *e, struct session_entry *s);                         /* forgets those that are too old or too many */
void gone_add(struct engine *e, struct session_entry *s, struct id task, enum gone_reason reason);
void task_cancel(struct engine *e, struct task_entry *t, struct str reason);

/* kinds.c */
void task_estimate(struct engine *e, struct task_entry *t);                  /* brings t.eta_s up to date */
void learn_phase(struct engine *e, struct task_entry *t, const char *phase); /* the task goes on to another one */
void learn_task(struct engine *e, struct task_entry *t);                     /* it has succeeded */
void kinds_load(struct engine *e, const struct kind_row *rows, size_t count);
void kinds_write(struct engine *e); /* what was learned since into the open batch */
void kinds_drop(struct engine *e);  /* the engine is going */

/* life.c */
void session_touch(struct engine *e, struct session_entry *s, bool explicit_touch);
/* Is it watched so that its idle clock stands still? Then that begins anew: to be called before that may end, and now and then. */
void session_keep_alive(struct engine *e, struct session_entry *s);
void session_rearm(struct engine *e, struct session_entry *s);
enum found session_end_prepare(struct engine *e, struct cmd *c, struct session_entry *s,
                               struct session_entry **ret_heir); /* loads what ending it needs */
void session_end(struct engine *e, struct session_entry *s, enum end_reason reason, struct session_entry *heir);
void session_old_key(struct engine *e, struct session_entry *s, bool kept);
/* JWTs for this key count only if issued at or after this second; 0: any. */
int64_t old_key_jwt_from(struct engine *e, struct cmd *c, struct str key);
/* Whose an old JWT is: c->e.jwt_session and jwt_gen. ABSENT: it has been answered. */
enum found old_key_find(struct engine *e, struct cmd *c);
void old_keys_durable(struct engine *e, uint64_t batch);
void old_keys_put_back(struct engine *e);                             /* the wall clock has gone back: those that are not durable yet */
void session_wake_waiters(struct engine *e, struct session_entry *s); /* commands that wait on its tasks: who they are may have changed */
void task_move_to(struct engine *e, struct task_entry *t, struct session_entry *to);
/* Makes room for one more session of the user; FOUND when there is. */
enum found user_make_room(struct engine *e, struct cmd *c, struct user *u);
/* Loads the ended sessions whose tasks wait for this user. */
enum found user_waiting_prepare(struct engine *e, struct cmd *c, struct user *u);
void user_take_waiting(struct engine *e, struct user *u, struct session_entry *into);
void user_add(struct engine *e, struct session_entry *s);
struct user *user_create(struct engine *e, struct str name);         /* stale */
void user_learn(struct user *u, const struct session_rows *rows);    /* all of its sessions that the store has */
void user_forget_session(struct engine *e, struct session_entry *s); /* leaves memory */
struct user_session *user_session_of(struct user *u, struct id id);
void users_drop(struct engine *e); /* the engine is going */
enum found session_create(struct engine *e, struct cmd *c, const struct session_new *n, struct session_entry **ret);
bool handover_due(const struct task *t);
void session_set_key(struct engine *e, struct session_entry *s, struct str key);
void session_unkey(struct engine *e, struct session_entry *s);

/* feed.c */
void cursor_prefix(const struct engine *e, enum id_kind kind, struct id id, struct buf *out);
enum cursor_is { CURSOR_NONE, CURSOR_GOOD, CURSOR_USELESS };
enum cursor_is cursor_parse(const struct engine *e, enum id_kind kind, struct id id, struct str text, struct cursor *ret);
void feed_task_changed(struct engine *e, struct task_entry *t, bool output_only);
void feed_output(struct engine *e, struct task_entry *t, uint64_t seq, uint64_t offset, struct str data);
void feed_task_removed(struct engine *e, struct task_entry *t); /* who still reads its own feed ends with what its loop has */
void feed_gone(struct engine *e, struct session_entry *s, const struct gone_entry *g);
void feed_gone_forgotten(struct engine *e, struct session_entry *s, uint64_t seq); /* channels that it has not been sent to are of no more use */
void feed_task_unlink(struct engine *e, struct task_entry *t); /* it leaves its session's lists: channels catching up step over it */
struct channel *channel_open(struct engine *e, unsigned loop, enum channel_kind kind, struct session_entry *s, struct task_entry *t);
void channel_close(struct engine *e, struct channel *ch);
void channel_reattach(struct engine *e, struct channel *ch);
bool channel_pump(struct engine *e, struct channel *ch); /* sends a few of those that it is behind with. False: there was no memory */
/* What came after `sent` is not with its loop, and has to be sent (again). Where that cannot be, its watchers are sent away with their cursors. */
void channel_fall_behind(struct engine *e, struct channel *ch, uint64_t sent);
void channels_catch_up(struct engine *e, struct session_entry *s); /* none is behind any more */
void channels_finish(struct session_entry *s);                     /* what has been sent to them is the end: the cut is the caller's */
void channels_disconnect(struct engine *e, struct channel_list *list, uint64_t needs, uint32_t mask, uint32_t below, enum disconnect_how how,
                         const char *event, struct str data);
void session_disconnect(struct engine *e, struct session_entry *s, uint32_t mask, uint32_t below, enum disconnect_how how, const char *state,
                        const char *reason);
void output_event(struct id task, uint64_t seq, uint64_t offset, struct str data, struct buf *out);
void gone_event(const struct gone_entry *g, struct buf *out);
/* NULL: there is no memory, or there was none for the data. */
struct frame *feed_frame(struct engine *e, enum frame_kind kind, const struct channel *ch, uint64_t seq, struct id key, const char *event,
                         const struct buf *data) MUST_CHECK;
void task_event(struct engine *e, struct task_entry *t, uint64_t seq, struct buf *out);
void task_entry_write(struct engine *e, struct task_entry *t, bool open, struct buf *out); /* as task_write, with what is estimated */

/* queue.c */
struct queue *queue_of(struct engine *e, struct str name); /* makes it */
struct queue *queue_find(struct engine *e, struct str name);
void queue_update(struct engine *e, struct task_entry *t);                 /* after any change: in if it can be claimed, out if not */
bool queue_before(const struct task_entry *a, const struct task_entry *b); /* the order */
void queue_clock_stepped(struct engine *e, struct queue *q);
void queue_leave(struct engine *e, struct task_entry *t);
struct task_entry *queue_take(struct engine *e, struct queue *q); /* the first that is ready, or NULL */
void queue_serve(struct engine *e, struct queue *q);              /* wakes as many waiting claims as there are tasks ready */

/* sweep.c */
#define SWEEP_TASK 4 /* rows, about */
#define SWEEP_SESSION(s) (2 + (s)->gone_count / 8)
bool sweep_may(struct engine *e, unsigned rows);          /* there is room in the open batch, and it is taken */
int64_t sweep_turn(struct engine *e, unsigned rows);      /* when to try again */
void sweep_mark(struct engine *e, size_t from);           /* the open batch's ops from there on take away what is over */
void sweep_done(struct engine *e, const struct batch *b); /* it was committed */
void sweep_forget_soon(struct engine *e);                 /* there is something for STORE_FORGET */
timer_fn sweep_forget;

/* auth.c: FOUND; PARKED; ABSENT means that it has been answered */
enum found authenticate(struct engine *e, struct cmd *c);
enum found session_has_ended(struct engine *e, struct cmd *c); /* FOUND: it has not */
enum found entitled_session(struct engine *e, struct cmd *c, struct session_entry **ret);
enum found entitled_task(struct engine *e, struct cmd *c, struct task_entry **ret);
bool cred_is_person(const struct cmd *c);
enum found cred_dead(struct engine *e, struct cmd *c);                                    /* answers 401: ABSENT */
enum found refuse_gone(struct engine *e, struct cmd *c, const struct tombstone_row *row); /* answers 410 with what the task was: ABSENT */
/* Has the attempt of a worker token been, for the task or, with t NULL, for what is known of one that is gone? */
bool worker_token_counts(const struct cred *token, const struct task_entry *t, const struct tombstone_row *row);

/* cmd_watch.c */
void watch_cursor_prefix(struct engine *e, struct cmd *c, struct id session); /* of the feed that it asks for: into its answer */

/* cmd_report.c */
void line_answered(struct cmd *c, uint64_t needs);
void stream_go_on(struct engine *e, struct cmd *c);                    /* the command for which its stream waits is done */
void line_unread(struct engine *e, struct cmd *c, const char *detail); /* refuses the line that it was parked for, and goes on with the next */

/* idempotency.c */
enum found idempotency_begin(struct engine *e, struct cmd *c);
uint64_t idempotency_answered(struct engine *e, struct cmd *c, uint64_t needs);
void idempotency_durable(struct engine *e, uint64_t batch);
void idempotency_drop_pending(struct engine *e);
void idempotency_drop_all(struct engine *e); /* the engine is going */
void tombstones_durable(struct engine *e, uint64_t batch);
void tombstones_drop_pending(struct engine *e);

/* cmd_*.c */
typedef void cmd_handler(struct engine *e, struct cmd *c);
cmd_handler cmd_session_create, cmd_session_open, cmd_session_get, cmd_session_touch, cmd_session_rotate, cmd_session_merge, cmd_session_end,
    cmd_session_list;
cmd_handler cmd_task_create, cmd_task_start, cmd_task_get, cmd_task_result, cmd_task_output, cmd_task_input, cmd_task_cancel, cmd_task_answer,
    cmd_task_seen, cmd_task_bind;
cmd_handler cmd_task_token, cmd_task_delete, cmd_task_list, cmd_task_control, cmd_task_report, cmd_report_lines, cmd_report_open, cmd_queue_claim,
    cmd_queue_release, cmd_queue_list;
cmd_handler cmd_watch, cmd_watch_refill, cmd_auth;
void session_answer(struct engine *e, struct cmd *c, struct session_entry *s, int status, bool with_token);
void task_answer_to(struct engine *e, struct cmd *c, struct task_entry *t, int status);
/* The session that a body names, by id or key; made where a new key is given. FOUND, PARKED, or ABSENT when answered. */
enum found find_ref(struct engine *e, struct cmd *c, struct session_entry **ret);
void claims_give_back(struct engine *e, struct cmd *c);

#define DISCONNECT_ANYBODY (WATCHER_SESSION | WATCHER_WATCH | WATCHER_KEY)
#define DISCONNECT_ANY_GEN UINT32_MAX

#endif
