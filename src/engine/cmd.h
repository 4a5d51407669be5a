/*
 * cmd.h: what the loops ask of the engine, and what it answers. A command is made by a loop (api/), handed to the engine, and comes back through the
 * engine's messages exactly once with its answer; then the loop owns it again and frees it with cmd_free.
 *
 * All texts in a command lie in its arena or in `body`, which live as long as the command.
 * Checks come in the contract's order: the loop has done route, method, the credential's MAC and the role; what it found wrong after that (role or
 * syntax) stands in `early` and is answered only once the engine has found the credential alive.
 */
#ifndef BOWLINE_ENGINE_CMD_H
#define BOWLINE_ENGINE_CMD_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/feed.h"
#include "base/frame.h"
#include "base/id.h"
#include "base/wheel.h"
#include "domain/report.h"
#include "domain/task.h"

#include <sys/queue.h>

/* ---- who ---- */

enum cred_kind { CRED_NONE, CRED_KEY, CRED_SESSION, CRED_WATCH, CRED_WORKER, CRED_JWT };

enum role { ROLE_BACKEND = 1, ROLE_WORKER = 2, ROLE_OPERATOR = 4 };

struct cred {
    enum cred_kind kind;
    unsigned roles;  /* CRED_KEY */
    struct str name; /* CRED_KEY: the key's name */
    struct id id;    /* session or task */
    uint32_t gen;    /* or attempt */
    /* CRED_JWT: */
    struct str sid, sub; /* sub may be none */
    int64_t iat_s, exp_ms;
};

/* ---- what ---- */

enum cmd_type {
    CMD_SESSION_CREATE, /* session_new */
    CMD_SESSION_OPEN,   /* POST /v1/session: with the cookie's credential or none; answer.cookie is set when one was made */
    CMD_SESSION_GET,    /* target */
    CMD_SESSION_TOUCH,
    CMD_SESSION_ROTATE, /* session_new: key, user */
    CMD_SESSION_MERGE,  /* target, into */
    CMD_SESSION_END,
    CMD_SESSION_LIST, /* list */
    CMD_TASK_CREATE,  /* ref, task_new */
    CMD_TASK_START,   /* POST /v1/session/tasks: task_new, already filled from session_kinds */
    CMD_TASK_GET,     /* task; wait_ms, etag */
    CMD_TASK_RESULT,
    CMD_TASK_OUTPUT, /* offset, wait_ms */
    CMD_TASK_INPUT,
    CMD_TASK_CANCEL, /* reason */
    CMD_TASK_ANSWER, /* request, answer */
    CMD_TASK_SEEN,
    CMD_TASK_BIND, /* ref */
    CMD_TASK_TOKEN,
    CMD_TASK_DELETE,
    CMD_TASK_LIST,     /* list (list.own_session: of the credential's session) */
    CMD_TASK_CONTROL,  /* after_version, wait_ms */
    CMD_TASK_REPORT,   /* reports: applied as a whole or not at all */
    CMD_REPORT_LINES,  /* lines: each by itself, in order, up to one that ends its stream; the answer's body holds a line for each that was read */
    CMD_REPORT_OPEN,   /* may this credential report on that task (or, without a task, on any)? 200 with an empty body: begins an NDJSON stream */
    CMD_QUEUE_CLAIM,   /* queue, max, worker, lease, wait_ms */
    CMD_QUEUE_RELEASE, /* queue, token */
    CMD_QUEUE_LIST,    /* list */
    CMD_WATCH,         /* watch */
    CMD_WATCH_REFILL,  /* channel, cursor */
    CMD_AUTH,          /* only `early` matters: the refusal that waits for the credential */
    CMD_TYPES
};

struct session_ref {
    struct id id;         /* none: by key */
    struct str key, user; /* user may be none */
    struct str pointer;   /* where the id stands in the body: "/session" */
};

struct session_new {
    struct str key, user; /* none if not given */
    int64_t idle_timeout_ms, max_age_ms;
    struct str metadata; /* JSON text, "{}" if not given */
};

struct list_args {
    unsigned limit;
    struct id after; /* none: from the start. Queue lists: after_name */
    struct str after_name;
    struct str user, kind, queue; /* none: any */
    int state;                    /* enum of the listed thing, -1 any */
    struct id session;            /* none: any */
    bool own_session;
};

enum watch_target { WATCH_OWN_SESSION, WATCH_SESSION, WATCH_TASK };

struct watch_args {
    enum watch_target target; /* id in cmd.session or cmd.task */
    bool output;
    bool page;              /* a JSON page rather than a stream (no `live`, waits) */
    bool outlives_rotation; /* within the grace its stream is told of a rotation, instead of refused */
    bool end_refused;       /* that the feed is over is a refusal, not an empty answer */
    struct str cursor;      /* as received; none if there was none */
};

/* One line of a stream of reports. */
struct report_line {
    struct str refusal; /* the line that answers it, where it is malformed; else none */
    struct id task;
    struct report *report;
    bool has_token; /* what it named itself; else the command's credential counts */
    struct id token_task;
    uint32_t token_attempt;
};

/* ---- the answer ---- */

enum answer_type {
    ANSWER_JSON,
    ANSWER_BYTES, /* application/octet-stream */
    ANSWER_NONE,  /* no body */
    ANSWER_PROBLEM,
    ANSWER_WATCH,      /* attach to channel */
    ANSWER_WATCH_HEAD, /* HEAD of a stream that would have been opened */
    ANSWER_REFILL,
    ANSWER_ROTATED, /* CMD_WATCH within the grace: 200, retry: 2000, the session event in `body` (its data) with the cursor that was given, closed */
};

struct answer {
    enum answer_type type;
    int status;
    struct buf body;
    struct problem problem;
    uint64_t etag;          /* a task's version; 0 none */
    unsigned retry_after_s; /* 0 none */
    struct str location;    /* in the arena */
    struct str cookie;      /* session token to set as the cookie */
    bool has_output_offset, output_complete;
    uint64_t output_offset;
    bool ends_stream; /* a report refused so that its NDJSON stream ends (attempt-superseded, task-ended) */
    /* ANSWER_WATCH */
    uint64_t channel; /* name of the feed: made by the first such answer, gone with MAIL_FEED_DROP */
    struct feed_start start;
    bool log;
    uint64_t log_floor;
    struct str cursor_prefix; /* "epoch-feed-"; also with ANSWER_ROTATED, and where there are too many watchers */
    /* ANSWER_REFILL */
    struct frame **frames; /* in the arena; the references are the receiver's */
    size_t frame_count;
    uint64_t upto;
    enum refill_result refill;
};

#define CMD_NO_WAIT (-1)

struct cmd;
TAILQ_HEAD(cmd_list, cmd);
struct session_entry;
struct task_entry;
struct store_query;
struct idempotency;
struct tombstone_row;
struct old_key_row;
struct idempotency_row;

struct cmd {
    enum cmd_type type;
    unsigned endpoint; /* whom it came from and goes back to */
    void *owner;       /* the loop's affair: the request; NULL once it is gone */
    struct cred cred;
    struct problem early; /* err is ERR_NONE when all is well */
    /* idempotency: none if there is no key */
    struct str idempotency_key, method, path; /* path as decoded, with query */
    struct str body;                          /* the request's body, byte for byte */

    struct id session, task; /* from the path */
    struct session_ref ref;
    struct id into;
    struct session_new session_new;
    struct task_new task_new;
    struct list_args list;
    struct watch_args watch;
    struct report *reports;
    size_t report_count;
    struct str reports_pointer; /* unused when one report; else places are /N */
    struct report_line *lines;
    size_t line_count;     /* once answered: of those that are */
    struct cred line_cred; /* of lines without a token */
    bool lines_of_many;    /* they name their tasks, and no refusal ends their stream */
    const void *stream;    /* what the lines came with, only compared: those of one loop's stream are applied in their order */
    int64_t wait_ms;       /* Prefer: wait; CMD_NO_WAIT without */
    uint64_t etag;         /* If-None-Match: a version; 0 none */
    uint64_t after_version;
    bool has_after_version;
    uint64_t offset;
    struct str reason, request, answer_value; /* cancel's reason; answer's request and value (JSON text) */
    struct str queue, worker;
    unsigned max;
    int64_t lease_ms;                    /* claim: -1 not given */
    struct cred token;                   /* release: the worker token in the body, verified by the loop */
    uint64_t channel, cursor, gone_from; /* CMD_WATCH_REFILL */
    void *watcher;                       /* CMD_WATCH_REFILL: the loop's affair */
    bool expects_session;                /* the route works on the credential's own session */
    bool head;                           /* HEAD: it never waits, and no stream is opened */

    struct answer answer;

    /* ---- the engine's own ---- */
    struct cmd_engine {
        bool timed_out, abandoned;
        bool waited_durable;        /* what it reads of the store has been committed */
        bool internal;              /* made by the engine itself: freed instead of sent */
        int reason;                 /* internal ends: enum end_reason */
        uint64_t needs;             /* set that what it has read stands on */
        bool absence;               /* and something was not there */
        struct session_entry *self; /* the credential's session, while a handler runs */
        struct store_query *query;  /* the page or blob it asked for, once that has arrived */
        struct store_query *asking; /* and the one that is under way */
        bool in_effects;            /* its answer waits for a batch */
        bool answered;              /* and is with the loop */
        uint64_t upto;              /* refill: what was durable when it asked; output: where it ended then */
        struct cmd_list *list;      /* what it is parked on; NULL: nothing */
        struct task_entry *watches; /* while it is parked there: the task whose news it waits for, if its credential is a person's */
        TAILQ_ENTRY(cmd) link;
        struct timer timer; /* Prefer: wait */
        struct negative {   /* a look-up that found nothing, and when it was asked */
            int what;
            uint8_t key[32];
            uint64_t stamp;
            int64_t asked_at;
        } * negatives; /* in the arena */
        unsigned negative_count, negative_cap;
        struct idempotency *idempotency;
        struct tombstone_row *gone;   /* what a look-up found instead of a task; in the arena */
        struct old_key_row *old_key;  /* what a look-up of a key found as well: when it was last lost; in the arena */
        struct id jwt_session;        /* of an old JWT: whose it is, once that is known, */
        uint32_t jwt_gen;             /* and the generation that it counts for */
        struct idempotency_row *kept; /* the first answer to its idempotency key; in the arena */
        struct id *claimed;           /* tasks given to a claim, to be given back if its peer is gone; in the arena */
        uint32_t *claimed_attempts;   /* and the attempt that each was given for */
        size_t claimed_count;
        size_t line_at; /* how many of its lines are answered */
        bool in_line;   /* what is answered now is one of them */
        uint64_t lines_need;
        uint64_t lines_failures; /* while it is parked and lines_need is not durable: batches that had failed until then, plus 1 */
        struct buf lines_text;
        struct stopped_stream *stopped; /* its line waits for a look-up, and with it all that comes behind it in its stream */
    } e;

    struct cmd_pool *pool;
    struct arena arena;
    char *body_memory; /* freed with the command: what `body` lies in, if not the arena */
};

/* Commands that were freed and may be used again, with some of their memory. One thread at a time makes and frees those of a pool. */
struct cmd_pool {
    struct cmd *spare[256];
    unsigned count;
};

struct cmd *cmd_create(enum cmd_type type, unsigned endpoint); /* NULL when there is no memory */
struct cmd *cmd_create_in(struct cmd_pool *pool, enum cmd_type type, unsigned endpoint);
void cmd_free(struct cmd *c); /* accepts NULL */
void cmd_pool_fini(struct cmd_pool *pool);

/* ---- what the engine sends to a loop besides answers ---- */

enum message_type {
    MESSAGE_ANSWER,     /* cmd: the loop's again, unless it has abandoned it */
    MESSAGE_ABANDONED,  /* cmd: what engine_abandon asked for is done; the loop frees it. An answer may have come before */
    MESSAGE_FRAME,      /* channel, frame (the reference is the receiver's) */
    MESSAGE_SYNCED,     /* channel, pos */
    MESSAGE_DISCONNECT, /* channel, disconnect: who is to leave, and how */
    MESSAGE_CLOCK,      /* the wall clock has stepped: what ends at a date is to be armed anew */
    MESSAGE_DROP,       /* channel: nobody watches it any more; free the feed */
};

/* Watchers by how they came: bits of tag[0] of struct feed_start; tag[1] is the generation of the credential. */
enum watcher_tag { WATCHER_SESSION = 1, WATCHER_WATCH = 2, WATCHER_KEY = 4, WATCHER_PASSING = 8 /* as well: a page that does not wait */ };

/* Small: two of them cross from one processor to another for each report. */
struct message {
    enum message_type type;
    uint64_t channel;
    union {
        struct cmd *cmd;
        struct frame *frame;
        uint64_t pos;
        struct disconnect *disconnect; /* the receiver's */
    };
};
/* Lets go of the frame or the disconnect of a message that goes nowhere. Its command, if it is of that kind, is not touched. */
void message_discard(struct message *m);

#endif
