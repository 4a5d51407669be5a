/*
 * sim.h: the simulation. The engine with the memory store on one integer clock, a wall clock that steps apart from it, and one seed; what the loops do is played by sim_loop.c and sim_client.c
 * and sim_cmd.c (commands), and sim_model.c remembers all that was ever let out and holds each new answer and frame against it.
 *
 *   sim.c         seeds, steps, time, the nasty store, crashes and stops, the trace
 *   sim_cmd.c     random commands: a recipe (plain values) and the command made of it
 *   sim_loop.c    mail and channels, as api/ keeps them; workers
 *   sim_client.c  readers of feeds: cursors that come back, over crashes too
 *   sim_model.c   what was shown of each session, task and number; what must never be shown
 *   sim_answer.c  what an answer may say
 *   sim_audit.c   everything stands still: what is listed against what is known and what watchers have seen
 *
 * The engine is compiled with ENGINE_TINY, so that reservations, pages and pumps end soon; so are feeds, and what a reader is given of them (net/), which are run as
 * they are: only sockets are played.
 */
#ifndef BOWLINE_TESTS_SIM_H
#define BOWLINE_TESTS_SIM_H

#include "base/hash.h"
#include "base/json.h"
#include "domain/token.h"
#include "engine/engine.h"
#include "net/loop.h"
#include "net/watch.h"
#include "tests/store/memory.h"

#include <sys/queue.h>

#define LOOPS 2
#define KEYS 6
#define USERS 3
#define QUEUES 2
#define CLIENTS 12
#define WORKERS 24
#define IDEMS 12
#define REPORTS 3
#define RECORD 8 /* output is records of so many bytes: which attempt, and which record of it */

/* ---- recipes: what a command is made of ---- */

struct recipe_report {
    enum report_type type;
    bool has_current, has_total, clear, has_offset, retry;
    unsigned current, total, message, phase, data; /* phase and data: 0 none, 1 null */
    size_t bytes;
    uint64_t offset;
};

struct recipe {
    enum cmd_type type;
    enum cred_kind cred;
    struct id cred_id; /* session or task */
    uint32_t cred_gen;
    int jwt_key, jwt_user; /* -1 none */
    int64_t jwt_age_s;
    bool worker_key; /* the API key's role */
    struct id session, task, into;
    int key, user, queue, kind; /* -1 none */
    int64_t idle_ms, age_ms, lease_ms, timeout_ms, deadline_ms, backoff_ms, ttl_ms, not_before_ms, unwatched_ms;
    enum on_session_end policy;
    unsigned attempts, input;
    int64_t wait_ms;
    uint64_t etag, after_version, offset;
    unsigned reason, answer, question, max, limit;
    int state;
    struct id token_task;
    uint32_t token_attempt;
    struct recipe_report reports[REPORTS];
    unsigned report_count;
    bool lines, lines_of_many; /* the reports are sent as lines of a stream, each by itself */
    struct id after;
    enum watch_target target;
    bool output, page, sse, other_body;
    char cursor[80];
    char idem[16];
};

/* ---- calls: a command under way ---- */

struct client;
struct worker;

/* When something was, by each clock, and how often the wall clock had gone back by then. */
struct instant {
    int64_t engine_ms, wall_ms;
    uint64_t backs;
};

struct call {
    struct cmd *cmd;
    struct recipe r;
    uint64_t number;
    bool with_engine; /* the engine frees it when it is destroyed */
    bool submitted, abandoned, answered, audit, given_back;
    int64_t iat_s; /* of its JWT */
    struct instant made;
    bool cred_dead;    /* a newer generation was known when it was made */
    bool session_over; /* its session was known to have ended */
    uint64_t failures; /* of the store, when it was made */
    struct client *client;
    struct worker *worker;
    struct idem *idem;
    TAILQ_ENTRY(call) link;
};
TAILQ_HEAD(call_list, call);

/* ---- what is known ---- */

struct shown { /* of one task in one version */
    uint64_t version, full, loose;
    char *text;
    UT_hash_handle hh;
};

struct known_task {
    struct id id, session;
    struct shown *shown;
    uint64_t floor;                              /* the newest version that was let out in any form */
    uint64_t floor_call;                         /* and how many calls had been made by then */
    uint64_t version, full, loose, output_bytes; /* as last shown as a whole */
    uint32_t attempt, watch_gen;
    int state;
    enum on_session_end policy;
    bool cancel_requested, seen, moved, delete_asked, deleted, gone, has_queue, given;
    bool left; /* a session's feed has told that it is gone from there */
    char created[32], ended[32], question[16];
    uint64_t outcome; /* hash of error and result */
    int64_t ended_ms, expires_ms;
    uint32_t acked_attempt;
    uint64_t acked_offset; /* of its output */
    unsigned listed;
    UT_hash_handle hh;
};

struct known_session {
    struct id id;
    uint32_t gen;
    bool ended;
    unsigned rotations_asked, rotations_told; /* while they differ, its generation is not known for certain */
    uint64_t shown_call;                      /* how many calls had been made when it was last shown */
    char reason[16], user[8], created[32];
    int64_t ended_ms;
    unsigned listed, unfinished, finished, counted[2];
    UT_hash_handle hh;
};

struct known_number { /* a number of a session's feed stands for one thing */
    struct {
        struct id session;
        uint64_t seq;
    } key;
    struct id task;
    bool gone;
    UT_hash_handle hh;
};

struct known_claim { /* an attempt goes to one worker */
    struct {
        struct id task;
        uint64_t attempt;
    } key;
    uint64_t call;
    UT_hash_handle hh;
};

struct worker {
    bool used, busy, certain; /* certain: nothing unanswered could have moved the offset */
    struct id task;
    uint32_t attempt;
    unsigned loop;
    bool by_key;
    uint64_t offset;
    bool final;
    uint64_t final_answer; /* hash of the first that it got; 0: none yet */
    struct recipe last;
};

struct idem {
    struct recipe r;
    bool used, has_answer;
    uint64_t answer;
    int64_t at_ms;
};

/* ---- feeds and their readers ---- */

struct channel_here { /* of one loop */
    uint64_t number;
    unsigned loop, readers;
    bool dropped;
    bool lost;         /* one of its readers was told that nothing more is to be had from the store: that goes for all of them */
    struct feed *feed; /* made by the first answer that names it; what comes before is kept */
    struct frame **early;
    size_t early_count;
    uint64_t early_synced;
    UT_hash_handle hh;
};

struct seen_task {
    struct id id;
    uint64_t version, full, loose;
    bool state, ended; /* a task event was seen, the last one of an ended task */
    bool has_output;
    uint64_t offset;
    unsigned attempt, record;
    UT_hash_handle hh;
};

/* Somebody who reads one feed over many connections. */
struct client {
    bool used;
    enum watch_target target;
    struct id id; /* session or task */
    enum cred_kind cred;
    struct id cred_id;
    uint32_t gen;
    bool output, page;
    char cursor[80];
    uint64_t last_seq;
    struct seen_task *view;
    enum { CLIENT_AWAY, CLIENT_ASKING, CLIENT_READING } state;
    struct call *call, *refill_call;
    unsigned loop, slow;
    struct channel_here *channel;
    struct watcher *watcher; /* without a connection */
    uint64_t failures;       /* of the store, when it came */
    struct id *gone;         /* before it came, if it came fresh */
    size_t gone_count;
    uint64_t gone_upto; /* what has a later number has come back since */
    bool lost;          /* some output was no longer to be had: the task is no more */
};

enum letter_type { LETTER_SUBMIT, LETTER_ABANDON, LETTER_UNWATCH };

struct letter {
    enum letter_type type;
    struct call *call;
    uint64_t channel;
    uint32_t tag;
    TAILQ_ENTRY(letter) link;
};
TAILQ_HEAD(letter_list, letter);

struct post {
    struct message mail;
    TAILQ_ENTRY(post) link;
};
TAILQ_HEAD(post_list, post);

struct sim {
    uint64_t seed, random, step, steps, calls_made;
    int64_t now_ms;
    int64_t apart_ms;      /* the wall clock is ahead of now_ms by that much */
    uint64_t steps_random; /* chance of its own, so that those runs in which it does not step are as they would be without */
    bool steps_clock;      /* it steps in this run */
    uint64_t clock_steps, clock_backs;
    int64_t engine_last_ms; /* engine time before a restart */
    struct {
        bool known;
        struct instant made;
    } log_outs[KEYS]; /* the last by a JWT of that key */
    struct options options;
    struct keyring keys;
    struct engine *engine;
    struct store *store;
    bool dead; /* an fsync failed */
    bool stopping, audit_under_way;
    uint64_t failures;
    unsigned calm; /* how seldom something goes wrong */
    struct call_list calls;
    struct letter_list inbox[LOOPS];
    struct post_list mail[LOOPS];
    struct http_loop *loops[LOOPS]; /* nothing runs on them: they hold what feeds want of a loop */
    struct channel_here *channels[LOOPS];
    uint64_t dropped_before;
    struct client clients[CLIENTS];
    struct worker workers[WORKERS];
    struct idem idems[IDEMS];
    struct known_task *tasks;
    struct known_session *sessions;
    struct known_number *numbers;
    struct known_claim *claims;
    unsigned audits;
    const struct call
        *page; /* the answer under way, if it is a page of many sessions: each may be shown as it was at any time since it was asked for */
    struct {
        uint64_t crashes, stops, failures, parts, deaths, resumes, resets, refills, part_pages, renamed, frames, events, answers, ok, abandoned,
            replays, audits, claims;
    } counts;
};
extern struct sim sim;

/* ---- sim.c ---- */

struct instant instant_now(void);
uint64_t clock_dice(uint64_t below); /* sim.steps_random's */

uint64_t dice(uint64_t below);
bool chance(unsigned one_in);
void trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A promise is broken: prints seed, step, trace and this, and ends the program. */
void broken(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
const char *name_of(struct id id); /* short, for the trace; a few can be used at once */
void engine_round(unsigned letters, unsigned store_steps);
bool all_is_quiet(void);
/* The tasks that had left a session when its numbers stood there and are not back, as far as the engine knows; on the heap. */
struct id *gone_until(struct id session, uint64_t seq, size_t *ret_count);
void settle(void); /* until nothing moves any more at this time */

/* ---- sim_cmd.c ---- */

void command_random(void);
void command_jwt(void); /* somebody with a JWT, new or old, comes or logs out; by clock_dice */
void command_send(const struct recipe *r, unsigned loop, struct call **ret_call);
struct call *command_audit(const struct recipe *r);
void recipe_key(struct recipe *r, enum cmd_type type); /* nothing but the type, with the backend's key */
void output_write(char *to, uint32_t attempt, uint64_t offset, size_t bytes);

/* ---- sim_loop.c ---- */

void on_mail(void *arg, unsigned loop, struct message m);
void loop_deliver(unsigned loop, unsigned most);
unsigned loop_of(const struct call *c);
void call_abandon(struct call *c);
void call_free(struct call *c);
void answer_unref(struct answer *a); /* lets go of its frames */
void letter_send(unsigned loop, struct letter letter);
struct channel_here *channel_opened(const struct call *c); /* that an answer names; the first makes its feed */
void loops_begin(void);
void loops_reset(void); /* after a crash */
void loops_end(void);

/* ---- sim_client.c ---- */

void client_random(void);
void clients_read_all(void);
bool clients_moving(void);    /* some could read on */
void clients_close(bool say); /* all connections; say: the engine hears of it */
void client_forget(struct client *c);
void client_answered(struct call *call);
void client_refilled(struct call *call);
void client_ask_refill(void *arg, struct feed *f, struct watcher *w, uint64_t cursor, uint64_t gone_from, void *user);
void channel_cut_readers(struct channel_here *ch, const struct disconnect *cut);

/* ---- sim_model.c ---- */

uint64_t hash_text(uint64_t h, const void *p, size_t len);
uint64_t hash_str(uint64_t h, struct str s);
const struct json *member_of(const struct json *j, const char *name);     /* broken if there is none */
uint32_t token_gen(struct str text, enum token_kind kind, struct id id);  /* broken if it is no token of that */
void model_claim(struct id task, uint64_t attempt, const struct call *c); /* the attempt was given to this claim */
void model_version(struct known_task *t, uint64_t version, bool replay);  /* the task is shown in this version */
void model_task_tokens(struct known_task *t, const struct json *j, bool replay);
struct known_task *task_known(struct id id);
struct known_session *session_known(struct id id);
void model_frame(const struct frame *f);
void model_forget_all(void);
void model_number(struct id session, uint64_t seq, struct id task, bool gone); /* what a number of a session stands for */
struct known_task *model_task(const struct json *j, bool replay);
struct known_session *model_session(const struct json *j, bool replay);
void task_hashes(const struct json *j, uint64_t *ret_full, uint64_t *ret_loose);
struct json *parse(struct arena *a, struct str text);
struct str text_of(const struct json *j, const char *name);
uint64_t number_of(const struct json *j, const char *name);
bool bool_of(const struct json *j, const char *name);
struct id id_of(struct str text, enum id_kind kind);
struct known_task *task_random(void);
struct known_session *session_random(void);
/* Reads a run of output records; attempt and record are of the last one. */
void output_check(struct id task, struct str data, unsigned *attempt, unsigned *record, bool *known);

/* ---- sim_answer.c ---- */

void model_answer(struct call *c);

/* ---- sim_audit.c ---- */

void audit_all(void);
void audit_answered(struct call *c);

#endif
