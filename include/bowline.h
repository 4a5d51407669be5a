/*
 * bowline.h: the C library. It talks to a bowline server over HTTP, for back ends (sessions, tasks), for workers (claim,
 * reports) and for whoever watches.
 *
 *   Errors      Functions give back BOWLINE_OK (0) or another value of enum bowline_error. Those that talk to the server take a
 *               struct bowline_problem for the details; NULL if nobody wants them. Outputs (ret_x) are set on BOWLINE_OK only.
 *   Ownership   Arguments are copied: they need to live for the call only. What comes back in ret_x is the caller's, freed by
 *               the function named beside it; every ..._free and ..._close accepts NULL.
 *   Texts       NUL-terminated UTF-8; in those for people (titles, reasons, units, phases, messages, prompts) what is not becomes U+FFFD, in others
 *               it is BAD_ARGUMENT. JSON goes in and out as text, and comes back exactly as it was sent.
 *   Units       Durations are seconds as double, members named ..._s; timeouts of calls are milliseconds, ..._ms, -1 meaning for
 *               ever, and hold over retries and pauses; times are milliseconds since 1970 (UTC), ..._at_ms, 0 meaning none; sizes are bytes.
 *   Threads     Stated for each handle. No function prints, raises or handles a signal, or keeps state outside of its handles
 *               (but see bowline_client_open on libcurl). Handles do not survive fork.
 */
#ifndef BOWLINE_H
#define BOWLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BOWLINE_API __attribute__((visibility("default")))
#define BOWLINE_MUST_CHECK __attribute__((warn_unused_result))
#else
#define BOWLINE_API
#define BOWLINE_MUST_CHECK
#endif

/* The library's version, "0.1.0". Static. */
BOWLINE_API const char *bowline_version(void);

/* ---- errors ---- */

enum bowline_error {
    BOWLINE_OK = 0,

    /* said by the library */
    BOWLINE_NO_MEMORY = 1,    /* nothing has happened */
    BOWLINE_BAD_ARGUMENT = 2, /* the problem's detail says which; nothing was sent */
    BOWLINE_UNREACHABLE = 3,  /* no answer came: whether the request took effect is unknown */
    BOWLINE_TIMED_OUT = 4,
    BOWLINE_INTERRUPTED = 5, /* bowline_client_interrupt */
    BOWLINE_BAD_ANSWER = 6,  /* not a bowline server, or one that is much newer */
    BOWLINE_FULL = 7,        /* the reporter's buffer has no room; nothing was taken */
    BOWLINE_NOT_YET = 8,     /* unfinished, or not answered yet */
    BOWLINE_OVER = 9,        /* a watch has come to its end, or its callback stopped it */
    BOWLINE_SYSTEM = 10,     /* the machine refused a descriptor or a thread */

    /* said by the server; bowline_error_code gives the contract's code */
    BOWLINE_INVALID_REQUEST = 101,
    BOWLINE_UNAUTHENTICATED,
    BOWLINE_FORBIDDEN,
    BOWLINE_NOT_FOUND,
    BOWLINE_METHOD_NOT_ALLOWED,
    BOWLINE_NOT_ACCEPTABLE,
    BOWLINE_REQUEST_TIMEOUT,
    BOWLINE_SESSION_ENDED,
    BOWLINE_TASK_ENDED,
    BOWLINE_TASK_FAILED,
    BOWLINE_TASK_CANCELLED,
    BOWLINE_ATTEMPT_SUPERSEDED,
    BOWLINE_INVALID_TRANSITION,
    BOWLINE_OUTPUT_GAP,
    BOWLINE_USER_MISMATCH,
    BOWLINE_KEY_IN_USE,
    BOWLINE_QUESTION_MISMATCH,
    BOWLINE_GONE,
    BOWLINE_TOO_LARGE,
    BOWLINE_URI_TOO_LONG,
    BOWLINE_UNSUPPORTED_MEDIA_TYPE,
    BOWLINE_MISDIRECTED,
    BOWLINE_IDEMPOTENCY_MISMATCH,
    BOWLINE_UPGRADE_REQUIRED,
    BOWLINE_RATE_LIMITED,
    BOWLINE_QUOTA_EXCEEDED,
    BOWLINE_HEADERS_TOO_LARGE,
    BOWLINE_INTERNAL,
    BOWLINE_UNAVAILABLE
};

/* What went wrong in one call, in the caller's memory. Set whenever the call gives back anything but BOWLINE_OK. Texts that do not fit are cut. */
struct bowline_problem {
    int error;            /* the same value as the call gave back */
    int status;           /* of HTTP; 0 without an answer */
    double retry_after_s; /* 0: the server said nothing about when */
    char code[40];        /* of the contract, or of the library: "unreachable" */
    char detail[480];     /* a sentence for people */
    char pointer[160];    /* the place in the body at fault (RFC 6901), or "" */
};

/* A sentence, static, never NULL. Any thread. */
BOWLINE_API const char *bowline_strerror(int error);
/* The contract's code, "task-ended", or one of the library's own. Static, never NULL. Any thread. */
BOWLINE_API const char *bowline_error_code(int error);

/* ---- client ---- */

/*
 * A server and a credential. Any number of threads may use one client at the same time; a call blocks its caller alone. Close it last: the
 * reporters and watches made with it point to it.
 */
typedef struct bowline_client bowline_client;

struct bowline_client_options {
    const char *url;        /* required: "https://jobs.example.com", http or https; a path is kept as prefix. Not the /v1 that requests begin with,
                               no user name, no query: BAD_ARGUMENT */
    const char *credential; /* API key, session token, watch token or JWT; NULL: none (workers that only have worker tokens) */
    const char *ca_file;    /* PEM with the authorities to trust instead of the system's; NULL: the system's */
    double timeout_s;       /* how long an answer may take beyond the time the call itself waits; 0: 30 */
    double retry_s;         /* how long calls that are safe to repeat (reads, deletes, cancel, answer, seen, touch, end, and those with an
                               idempotency key) are repeated when the server is away or says 429 or 503; 0: not at all */
    struct bowline_problem *problem; /* where open tells why it did not; NULL: nobody wants it */
};

/*
 * Close with bowline_client_close. The first client initialises libcurl and the last one releases it (curl_global_init counts, and is safe between
 * threads in the libcurl that this library needs). BAD_ARGUMENT, NO_MEMORY, SYSTEM.
 */
BOWLINE_API int bowline_client_open(const struct bowline_client_options *options, bowline_client **ret_client) BOWLINE_MUST_CHECK;
/* No call may be under way; reporters and watches must be gone. */
BOWLINE_API void bowline_client_close(bowline_client *client);
/*
 * Calls that wait (claim, wait, wait_change, control, output with wait) end with BOWLINE_INTERRUPTED within about a second, also later ones; all others
 * go on working, so that a worker that is told to stop can still report. Any thread, also from a signal handler. There is no way back.
 */
BOWLINE_API void bowline_client_interrupt(bowline_client *client);

/* A text that the library allocated: JSON, a token, output. data[len] is NUL, not counted. Zero-initialise; fini may be called twice. */
struct bowline_text {
    char *data;
    size_t len;
};
BOWLINE_API void bowline_text_fini(struct bowline_text *text);

/*
 * Any request, for what has no function here: method, path ("/v1/queues?limit=10"), a JSON body or NULL. BOWLINE_OK for 2xx, with the body in
 * ret_body (may be NULL). bowline_text_fini.
 */
BOWLINE_API int bowline_call(bowline_client *client, const char *method, const char *path, const char *body_json, struct bowline_text *ret_body,
                             struct bowline_problem *problem) BOWLINE_MUST_CHECK;

/* ---- any request ---- */

/*
 * A request and its answer as they are, whatever its status, for what has no function here, or needs more of the answer than one gives. Each is one try:
 * nothing is repeated, and bowline_client_interrupt does not end it.
 */
struct bowline_request {
    const char *method;         /* in capitals; NULL: GET */
    const char *path;           /* "/v1/queues?limit=10": percent-encoded */
    const void *body;           /* JSON, sent as it is; NULL: none */
    size_t body_len;            /* its bytes */
    const char *const *headers; /* more of them, "Name: value"; NULL ends them. NULL: none */
    const char *credential;     /* NULL: the client's */
    int64_t timeout_ms;         /* for the whole answer; 0: the client's timeout_s, -1: for ever */
    int64_t silence_ms;         /* without a byte for that long the connection is given up, in a loop; 0: no matter */
    size_t answer_max;          /* more bytes of the answer's body are BAD_ANSWER; 0: 64 MiB */
};

struct bowline_response {
    int status; /* of HTTP; 0 without an answer */
    struct bowline_text body;
    double retry_after_s; /* 0: not told */
    int64_t date_ms;      /* the server's clock, in whole seconds; 0: not told */
    char etag[48];        /* with its quotes; "": none */
    bool has_output_offset, output_complete;
    uint64_t output_offset; /* of what the body holds of a task's output */
};
/* Frees and zeroes; may be called twice. */
BOWLINE_API void bowline_response_fini(struct bowline_response *response);

/* OK for an answer of any status, which bowline_response_fini frees; else BAD_ARGUMENT, NO_MEMORY, UNREACHABLE or BAD_ANSWER. */
BOWLINE_API int bowline_request_perform(bowline_client *client, const struct bowline_request *request, struct bowline_response *ret_response,
                                        struct bowline_problem *problem) BOWLINE_MUST_CHECK;

/*
 * Requests side by side in one thread, without blocking: when bowline_loop_fd is readable (level-triggered; poll, epoll, kqueue's like),
 * bowline_loop_dispatch does what is due and never waits. Timers are behind the same descriptor. One thread at a time.
 */
typedef struct bowline_loop bowline_loop;
/* A request under way. It is void once its `done` was called, or it was cancelled. */
typedef struct bowline_op bowline_op;

/* All of them are called from bowline_loop_dispatch; they may start and cancel, but neither dispatch nor close the loop. */
struct bowline_op_events {
    /*
     * NULL: the body is gathered for `done`. Else a 200's body comes here piece by piece, lent for the time of the call, and `done` gets what other answers
     * hold. Anything but 0 stops it: `done` follows, with OVER.
     */
    int (*data)(void *arg, const void *data, size_t len);
    /* Required; called once. problem NULL: the whole answer has come. Else it broke off or never came, and response holds what is known. Both are lent. */
    void (*done)(void *arg, const struct bowline_response *response, const struct bowline_problem *problem);
    void *arg;
};

/* bowline_loop_close, before the client's. NO_MEMORY, SYSTEM. */
BOWLINE_API int bowline_loop_open(bowline_client *client, bowline_loop **ret_loop, struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* Cancels what is under way. */
BOWLINE_API void bowline_loop_close(bowline_loop *loop);
/* The loop's, valid until close. */
BOWLINE_API int bowline_loop_fd(const bowline_loop *loop);
/* Never waits. BAD_ARGUMENT from within a callback, else OK. */
BOWLINE_API int bowline_loop_dispatch(bowline_loop *loop);
/* Begins with the next dispatch, for which the descriptor is readable. ret_op may be NULL. BAD_ARGUMENT, NO_MEMORY. */
BOWLINE_API int bowline_request_start(bowline_loop *loop, const struct bowline_request *request, const struct bowline_op_events *on,
                                      bowline_op **ret_op, struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* Closes the connection; `done` is not called. Accepts NULL. */
BOWLINE_API void bowline_op_cancel(bowline_op *op);
/*
 * Ends this side of the connection and goes on listening: the server sees at once that nobody waits any more, and an answer that it had already written still
 * arrives. `done` is called as ever.
 */
BOWLINE_API void bowline_op_hang_up(bowline_op *op);

/* ---- sessions ---- */

/* In durations of options: 0 itself, which means never or no limit. Plain 0 leaves the member out, so that the server's default applies. */
#define BOWLINE_ZERO (-1.0)

/* One block of memory; every text lives in it. bowline_session_free. Read it from any number of threads. */
struct bowline_session {
    const char *id;
    bool ended;
    const char *user;   /* NULL: none */
    const char *token;  /* in the answers to create and rotate; else NULL */
    const char *reason; /* why it ended; else NULL */
    int64_t created_at_ms, expires_at_ms, ended_at_ms;
    double idle_timeout_s, max_age_s; /* 0: never */
    uint64_t tasks_unfinished, tasks_ended;
    const char *metadata; /* JSON */
    const char *json;     /* the whole session */
};
BOWLINE_API void bowline_session_free(struct bowline_session *session);

struct bowline_session_options {
    const char *key;  /* the framework's own session id, 1 to 512 bytes; NULL: none */
    const char *user; /* 1 to 256 bytes; NULL: none */
    double idle_timeout_s, max_age_s;
    const char *metadata; /* JSON, at most 4 KiB; NULL: {} */
    const char *idempotency_key;
};

/* A session by its id, or by key, which creates it if it is new (with that user). */
struct bowline_session_ref {
    const char *id;
    const char *key, *user;
};

/* With the key of an active session: that one, unchanged. */
BOWLINE_API int bowline_session_create(bowline_client *client, const struct bowline_session_options *options, struct bowline_session **ret_session,
                                       struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* id NULL: the session of the client's own token. */
BOWLINE_API int bowline_session_get(bowline_client *client, const char *id, struct bowline_session **ret_session,
                                    struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* Restarts the idle clock. ret_session may be NULL, here and in end. */
BOWLINE_API int bowline_session_touch(bowline_client *client, const char *id, struct bowline_session **ret_session,
                                      struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* At login: same id, same tasks, a new token; every older one is dead. key, user: NULL leaves them. */
BOWLINE_API int bowline_session_rotate(bowline_client *client, const char *id, const char *key, const char *user,
                                       struct bowline_session **ret_session, struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* Every task moves to the session `into`, which comes back; the session `id` ends. */
BOWLINE_API int bowline_session_merge(bowline_client *client, const char *id, const char *into, struct bowline_session **ret_session,
                                      struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* id NULL: the session of the client's own token. Ending it again is no error. */
BOWLINE_API int bowline_session_end(bowline_client *client, const char *id, struct bowline_session **ret_session,
                                    struct bowline_problem *problem) BOWLINE_MUST_CHECK;

struct bowline_list_options {
    const char *session, *user, *state, *kind, *queue; /* filters, NULL: any. Sessions are filtered by user and state alone */
    bool own;                                          /* tasks: those of the session of the client's own token */
    unsigned limit;                                    /* 1 to 1000; 0: 100 */
    const char *after;                                 /* `next` of the page before; NULL: the first page */
};
struct bowline_session_page {
    size_t count;
    struct bowline_session **sessions;
    const char *next; /* NULL: this was the last page */
};
/* Newest first. bowline_session_page_free frees the sessions in it too. options may be NULL. */
BOWLINE_API int bowline_session_list(bowline_client *client, const struct bowline_list_options *options, struct bowline_session_page **ret_page,
                                     struct bowline_problem *problem) BOWLINE_MUST_CHECK;
BOWLINE_API void bowline_session_page_free(struct bowline_session_page *page);

/* ---- tasks ---- */

enum bowline_task_state { BOWLINE_QUEUED, BOWLINE_RUNNING, BOWLINE_INPUT_REQUIRED, BOWLINE_SUCCEEDED, BOWLINE_FAILED, BOWLINE_CANCELLED };
/* "queued", … Static. */
BOWLINE_API const char *bowline_task_state_name(enum bowline_task_state state);

/* One block of memory; every text lives in it. bowline_task_free. Read it from any number of threads. NULL and NAN stand for null. */
struct bowline_task {
    const char *id, *session, *kind, *title, *queue;
    enum bowline_task_state state;
    bool finished; /* succeeded, failed or cancelled */
    uint64_t version;
    struct {
        double current, total;     /* NAN: unknown */
        double ratio, rate, eta_s; /* NAN: unknown; ratio 0 to 1, rate in units per second */
        const char *unit, *message;
        const char *phase; /* what the numbers speak of */
        const char *data;  /* JSON */
    } progress;
    bool cancel_requested, stalled;
    const char *cancel_reason;
    unsigned attempt, max_attempts;
    const char *on_session_end; /* "keep", "cancel", "handover" */
    int64_t created_at_ms, started_at_ms, updated_at_ms, ended_at_ms, seen_at_ms, expires_at_ms;
    uint64_t output_bytes;
    struct {
        const char *id, *prompt; /* NULL: nothing is asked */
        const char *schema;      /* JSON or NULL */
    } question;
    const char *result;    /* JSON; NULL before success, and when it is larger than 16 KiB (bowline_task_result) */
    uint64_t result_bytes; /* of the result, also when it is not here */
    struct {
        const char *type, *message; /* NULL unless failed */
        const char *detail;         /* JSON or NULL */
    } error;
    const char *metadata; /* JSON */

    const char *token;        /* watch token: in the answers to create and bind; else NULL */
    const char *worker_token; /* in answers to create (without a queue) and claim; else NULL */
    const char *input;        /* JSON; in answers to claim, else NULL */
    const char *json;         /* the whole task */
};
BOWLINE_API void bowline_task_free(struct bowline_task *task);
/* From JSON text, e.g. the `json` of a task that an event lent: a copy to keep. BAD_ANSWER if it is no task. */
BOWLINE_API int bowline_task_parse(const char *json, size_t len, struct bowline_task **ret_task) BOWLINE_MUST_CHECK;

struct bowline_task_options {
    struct bowline_session_ref session; /* required, but not for bowline_task_start */
    const char *kind;                   /* required: ^[a-z0-9][a-z0-9._-]{0,63}$ */
    const char *title;                  /* up to 200 characters */
    const char *queue;                  /* NULL: the caller hands the worker token on */
    const char *input;                  /* JSON, at most 256 KiB */
    const char *on_session_end;         /* "keep", "cancel", "handover"; NULL: the server's default, keep */
    double lease_s;                     /* BOWLINE_ZERO: never lost */
    double timeout_s;                   /* of an attempt */
    double deadline_s;                  /* of the task */
    double backoff_s;
    double ttl_s;
    double cancel_unwatched_s; /* 0: never; BOWLINE_ZERO: at once */
    unsigned max_attempts;     /* 1 to 100; 0: 1 */
    int64_t not_before_ms;     /* 0: at once */
    const char *webhook;
    const char *metadata;        /* JSON, at most 4 KiB */
    const char *idempotency_key; /* 1 to 255 bytes: the same call again, also after a failure, starts nothing twice */
};

BOWLINE_API int bowline_task_create(bowline_client *client, const struct bowline_task_options *options, struct bowline_task **ret_task,
                                    struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* With a session's own token, for kinds that are configured for it: kind, title, input and idempotency_key count, the others must be left out. */
BOWLINE_API int bowline_task_start(bowline_client *client, const struct bowline_task_options *options, struct bowline_task **ret_task,
                                   struct bowline_problem *problem) BOWLINE_MUST_CHECK;
BOWLINE_API int bowline_task_get(bowline_client *client, const char *id, struct bowline_task **ret_task,
                                 struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/*
 * Waits until the task is finished, through restarts of the server. timeout_ms -1: for ever. TIMED_OUT, INTERRUPTED. How it ended is in the
 * task: that it failed is no error here.
 */
BOWLINE_API int bowline_task_wait(bowline_client *client, const char *id, int64_t timeout_ms, struct bowline_task **ret_task,
                                  struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* Waits until its version is another than the one given (0: gives it back at once), or it is finished. */
BOWLINE_API int bowline_task_wait_change(bowline_client *client, const char *id, uint64_t version, int64_t timeout_ms, struct bowline_task **ret_task,
                                         struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* The result exactly as the worker sent it. NOT_YET while unfinished, TASK_FAILED, TASK_CANCELLED. */
BOWLINE_API int bowline_task_result(bowline_client *client, const char *id, struct bowline_text *ret_json,
                                    struct bowline_problem *problem) BOWLINE_MUST_CHECK;
BOWLINE_API int bowline_task_input(bowline_client *client, const char *id, struct bowline_text *ret_json,
                                   struct bowline_problem *problem) BOWLINE_MUST_CHECK;

struct bowline_output {
    struct bowline_text bytes; /* bowline_text_fini */
    uint64_t offset;           /* of the first byte given: later than asked for if older ones are no longer kept */
    bool complete;             /* no more can come */
};
/* Output from `offset` on. timeout_ms: how long to wait for the first byte if there is none yet; 0: not at all (then bytes.len may be 0). */
BOWLINE_API int bowline_task_output(bowline_client *client, const char *id, uint64_t offset, int64_t timeout_ms, struct bowline_output *ret_output,
                                    struct bowline_problem *problem) BOWLINE_MUST_CHECK;

/* ret_task may be NULL in cancel, answer, seen and bind. */
BOWLINE_API int bowline_task_cancel(bowline_client *client, const char *id, const char *reason, struct bowline_task **ret_task,
                                    struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* question: question.id of the task; answer: any JSON. */
BOWLINE_API int bowline_task_answer(bowline_client *client, const char *id, const char *question, const char *answer_json,
                                    struct bowline_task **ret_task, struct bowline_problem *problem) BOWLINE_MUST_CHECK;
BOWLINE_API int bowline_task_seen(bowline_client *client, const char *id, struct bowline_task **ret_task,
                                  struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* Moves it to another session; the task that comes back has its new token. */
BOWLINE_API int bowline_task_bind(bowline_client *client, const char *id, const struct bowline_session_ref *session, struct bowline_task **ret_task,
                                  struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* The current watch token. bowline_text_fini. */
BOWLINE_API int bowline_task_token(bowline_client *client, const char *id, struct bowline_text *ret_token,
                                   struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* Forgets a finished one. */
BOWLINE_API int bowline_task_delete(bowline_client *client, const char *id, struct bowline_problem *problem) BOWLINE_MUST_CHECK;

struct bowline_task_page {
    size_t count;
    struct bowline_task **tasks;
    const char *next; /* NULL: this was the last page */
};
/* Newest first. bowline_task_page_free frees the tasks in it too. options may be NULL. */
BOWLINE_API int bowline_task_list(bowline_client *client, const struct bowline_list_options *options, struct bowline_task_page **ret_page,
                                  struct bowline_problem *problem) BOWLINE_MUST_CHECK;
BOWLINE_API void bowline_task_page_free(struct bowline_task_page *page);

/* ---- workers: getting work ---- */

struct bowline_claim_options {
    const char *queue;  /* required */
    unsigned max;       /* 1 to 1000; 0: 1 */
    const char *worker; /* the worker's name, up to 200 characters; NULL: none */
    double lease_s;     /* instead of the tasks' own; 0: their own */
    int64_t timeout_ms; /* how long to wait for work; 0: not at all; -1: for ever */
};
/*
 * A page of at least one task, each with input and worker_token, or TIMED_OUT. Waits through restarts of the server. What was claimed and did not
 * arrive here goes back to the queue by itself. bowline_task_page_free.
 */
BOWLINE_API int bowline_claim(bowline_client *client, const struct bowline_claim_options *options, struct bowline_task_page **ret_page,
                              struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* Gives a claimed task back unharmed; its place in the queue is kept. */
BOWLINE_API int bowline_release(bowline_client *client, const char *queue, const char *worker_token,
                                struct bowline_problem *problem) BOWLINE_MUST_CHECK;

/* What a worker is told in answer to its reports. bowline_control_free. */
struct bowline_control {
    enum bowline_task_state state;
    uint64_t version;
    unsigned attempt;
    bool cancel_requested;
    int64_t lease_until_ms;     /* by the server's clock; 0: no lease runs */
    uint64_t output_offset;     /* where this attempt's next output goes */
    const char *answer_request; /* the id of the question answered last, or NULL */
    const char *answer;         /* JSON, or NULL */
    const char *json;
};
BOWLINE_API void bowline_control_free(struct bowline_control *control);
/* One report, or an array of them, as JSON; once, without retry. The reporter below is what most workers want. */
BOWLINE_API int bowline_task_report(bowline_client *client, const char *id, const char *worker_token, const char *report_json,
                                    struct bowline_control **ret_control, struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* Waits for a cancel request or an answer newer than version `after` (0: any); when time is up, what stands. timeout_ms 0: at once; at most 60000. */
BOWLINE_API int bowline_task_control(bowline_client *client, const char *id, const char *worker_token, uint64_t after, int64_t timeout_ms,
                                     struct bowline_control **ret_control, struct bowline_problem *problem) BOWLINE_MUST_CHECK;

/* ---- workers: reporting ---- */

/*
 * Reports on one attempt at one task, from hot loops: except flush, wait and free, nothing here waits for the network. What is said is kept and sent
 * from one background thread per client: the newest progress at most once per interval, output in order and with its offsets, then the question or
 * the outcome. It sends heartbeats at a third of the lease, holds a waiting request open to hear at once of cancel requests and answers, and when the
 * server is away goes on trying, with pauses of up to 10 s, until it is back: then output goes on where the server has it.
 *
 * Any number of threads may use one reporter at the same time.
 *
 * Once the attempt is lost (ATTEMPT_SUPERSEDED, TASK_ENDED, GONE, UNAUTHENTICATED, …) every call gives that back: stop the work.
 */
typedef struct bowline_reporter bowline_reporter;

struct bowline_reporter_options {
    const char *task;         /* required: its id */
    const char *worker_token; /* NULL: the client's credential, a key with the role worker, for a task without a queue */
    double interval_s;        /* between two reports of progress or output; 0: 0.25 */
    double heartbeat_s;       /* 0: a third of the lease; BOWLINE_ZERO: none */
    size_t buffer_bytes;      /* of output that the server does not have yet; 0: 1 MiB */
    uint64_t output_offset;   /* where in this attempt's output the first byte said here belongs (a worker that goes on after its own restart) */
    bool no_control;          /* holds no waiting request: cancel requests and answers are then heard of with the next report */
    struct bowline_problem *problem; /* where open tells why it did not; NULL: nobody wants it */
};

/* Sends a heartbeat at once, which starts a task without a queue. bowline_reporter_free. BAD_ARGUMENT, NO_MEMORY, SYSTEM. */
BOWLINE_API int bowline_reporter_open(bowline_client *client, const struct bowline_reporter_options *options,
                                      bowline_reporter **ret_reporter) BOWLINE_MUST_CHECK;
/* Drops what was not sent (bowline_reporter_flush before), ends what is under way, and waits for the background thread to let go. */
BOWLINE_API void bowline_reporter_free(bowline_reporter *reporter);

/*
 * current, total: 0 to 1e15; NAN leaves a member as it is, INFINITY says that it is not known any more. Later values overtake earlier ones that were
 * not sent yet. Costs less than a microsecond when nothing has to be sent yet.
 */
BOWLINE_API int bowline_reporter_progress(bowline_reporter *reporter, double current, double total);
/* unit: up to 32 characters; message: past 500 it is cut. NULL leaves it, "" clears it. */
BOWLINE_API int bowline_reporter_describe(bowline_reporter *reporter, const char *unit, const char *message);
/*
 * The phase that the work is in, up to 80 characters; NULL or "": none. Another one than before begins anew: without numbers, unit, message and data,
 * and with an estimate of its own.
 */
BOWLINE_API int bowline_reporter_phase(bowline_reporter *reporter, const char *phase);
/* Anything more, as JSON, at most 4 KiB (the server's max_progress_data); it replaces what was there. NULL: nothing any more. */
BOWLINE_API int bowline_reporter_data(bowline_reporter *reporter, const char *data_json);
/*
 * What was wrong with the newest thing said that was not taken: an argument and why, with BAD_ARGUMENT; or the member of progress that the server refused
 * (data that are too large for it), which is left out while everything else goes on. OK: nothing. It is given once.
 */
BOWLINE_API int bowline_reporter_problem(bowline_reporter *reporter, struct bowline_problem *problem);
/* All of it or, with FULL, nothing: flush, or say it again later. What is more than the buffer ever holds is TOO_LARGE: say it in pieces. Any bytes. */
BOWLINE_API int bowline_reporter_output(bowline_reporter *reporter, const void *data, size_t len) BOWLINE_MUST_CHECK;

/* A question for a person: prompt 1 to 2000 characters, schema a JSON object or NULL. One at a time: another one replaces it. */
BOWLINE_API int bowline_reporter_ask(bowline_reporter *reporter, const char *prompt, const char *schema_json) BOWLINE_MUST_CHECK;
/* The answer to it, or NOT_YET. bowline_text_fini. */
BOWLINE_API int bowline_reporter_answer(bowline_reporter *reporter, struct bowline_text *ret_json) BOWLINE_MUST_CHECK;

/* A load of one word, for the inside of loops. True also once the attempt is lost: either way there is nothing left to do but stop. */
BOWLINE_API bool bowline_reporter_should_stop(const bowline_reporter *reporter);
BOWLINE_API bool bowline_reporter_cancel_requested(const bowline_reporter *reporter);
/* BOWLINE_OK, or why the attempt is lost. */
BOWLINE_API int bowline_reporter_error(bowline_reporter *reporter, struct bowline_problem *problem);
/* Bytes of output (counted from the attempt's start) that the server is known to have on stable storage. */
BOWLINE_API uint64_t bowline_reporter_output_stored(bowline_reporter *reporter);

/* The outcome; the last thing said, after it every report is TASK_ENDED. result_json NULL: null; at most 8 MiB. Flush to know that it is stored. */
BOWLINE_API int bowline_reporter_succeed(bowline_reporter *reporter, const char *result_json) BOWLINE_MUST_CHECK;
/* type: the pattern of a kind, "disk-full"; message: past 2000 characters it is cut; detail JSON or NULL. retry: another attempt may help. */
BOWLINE_API int bowline_reporter_fail(bowline_reporter *reporter, const char *type, const char *message, const char *detail_json,
                                      bool retry) BOWLINE_MUST_CHECK;
BOWLINE_API int bowline_reporter_cancelled(bowline_reporter *reporter) BOWLINE_MUST_CHECK;

/*
 * Sends at once and waits until the server has acknowledged all that was said before: output, question and outcome are then on stable storage.
 * OK, TIMED_OUT (it goes on trying), why the attempt is lost, or why the outcome or the question was refused (TOO_LARGE, …), which is then forgotten
 * so that another one can be said. timeout_ms 0: only asks for it to be sent.
 */
BOWLINE_API int bowline_reporter_flush(bowline_reporter *reporter, int64_t timeout_ms, struct bowline_problem *problem);
/* Waits for a cancel request, an answer not yet taken, or the attempt's loss: OK when there is news, TIMED_OUT, or why the attempt is lost. */
BOWLINE_API int bowline_reporter_wait(bowline_reporter *reporter, int64_t timeout_ms, struct bowline_problem *problem);

/* ---- watching ---- */

/*
 * Follows the feed of a session or a task: as it is now, then every change. Reconnects by itself and reads on from its cursor, so that over all
 * connections nothing is missed and nothing given twice. One thread at a time.
 *
 * Either bowline_watch_run drives it, or the caller's own loop: when bowline_watch_fd is readable (level-triggered; poll, epoll, kqueue's like),
 * bowline_watch_dispatch does what is due without waiting. Timers are behind the same descriptor.
 */
typedef struct bowline_watch bowline_watch;

enum bowline_event_type {
    BOWLINE_EVENT_TASK,   /* task: as it is now */
    BOWLINE_EVENT_GONE,   /* gone, reason: a task that left this feed */
    BOWLINE_EVENT_OUTPUT, /* gone is NULL; output_task, offset, data, len */
    BOWLINE_EVENT_SESSION, /* reason; ended: it is over. Otherwise it was rotated: with a session's token give the new one to bowline_watch_set_credential */
    BOWLINE_EVENT_RESET, /* forget everything: the whole state follows */
    BOWLINE_EVENT_LIVE,  /* what stood when the connection was made has been given */
    BOWLINE_EVENT_LOST   /* the connection is gone, and is made again by itself; problem says why */
};

/* Lent for the time of the callback, with everything it points to. */
struct bowline_event {
    enum bowline_event_type type;
    uint64_t seq;
    const char *cursor; /* to go on behind this event, also in another process; NULL: none yet */
    const struct bowline_task *task;
    const char *gone;
    const char *reason; /* gone: "moved", "deleted", "expired"; session ended: why */
    bool ended;
    const char *output_task;
    uint64_t offset; /* a jump means: look at bowline_task_output, where what is still kept stands */
    const char *data;
    size_t len;
    const struct bowline_problem *problem;
};

/* Anything but 0 stops the watch. Must not close it. */
typedef int (*bowline_event_fn)(void *arg, const struct bowline_event *event);

struct bowline_watch_options {
    const char *session;             /* a session's id (backend, operator); or */
    const char *task;                /* a task's id; neither: the session of the client's own token */
    bool output;                     /* a session's feed with output (a task's always has it) */
    const char *after;               /* a cursor to go on from; NULL: from the beginning */
    double silence_s;                /* without a byte for that long the connection is given up; 0: 60. The server says something every 15 s */
    struct bowline_problem *problem; /* where open tells why it did not; NULL: nobody wants it */
};

/* bowline_watch_close. Nothing is sent before run or dispatch. BAD_ARGUMENT, NO_MEMORY, SYSTEM. */
BOWLINE_API int bowline_watch_open(bowline_client *client, const struct bowline_watch_options *options, bowline_event_fn on_event, void *arg,
                                   bowline_watch **ret_watch) BOWLINE_MUST_CHECK;
BOWLINE_API void bowline_watch_close(bowline_watch *watch);
/* Follows until it is OVER (the session has ended, the task is finished and given whole, or the callback stopped it), TIMED_OUT, or an error that waiting does not heal. */
BOWLINE_API int bowline_watch_run(bowline_watch *watch, int64_t timeout_ms, struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* The watch's, valid until close. Call dispatch once at the start. */
BOWLINE_API int bowline_watch_fd(const bowline_watch *watch);
/* OK while it goes on; else as run. Never waits. */
BOWLINE_API int bowline_watch_dispatch(bowline_watch *watch, struct bowline_problem *problem) BOWLINE_MUST_CHECK;
/* The cursor behind the last event given; NULL: none yet. The watch's, valid until the next call with it. */
BOWLINE_API const char *bowline_watch_cursor(const bowline_watch *watch);
/* The new token after a rotation; the connection is made again with it. NO_MEMORY, BAD_ARGUMENT. */
BOWLINE_API int bowline_watch_set_credential(bowline_watch *watch, const char *credential) BOWLINE_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
