/*
 * internal.h: what the files of the client library share. A request is made of a path and a body, carried out by transfer.c on a libcurl handle of the
 * client's pool, and its answer read by object.c. No part of it may end the process or print: what cannot be had is BOWLINE_NO_MEMORY.
 */
#ifndef BOWLINE_CLIENT_INTERNAL_H
#define BOWLINE_CLIENT_INTERNAL_H

#include "base/buf.h"
#include "base/json.h"
#include "bowline.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#define JSON_DEPTH 96        /* above the server's own limit of 64 within a task within a list */
#define ANSWER_WAIT_MAX_S 60 /* Prefer: wait counts at most for that long */
#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS 10000

struct mux;

struct bowline_client {
    char *url; /* without a slash at its end */
    char *credential, *ca_file;
    int64_t timeout_ms, retry_ms;
    atomic_bool interrupted;
    pthread_mutex_t lock; /* idle, idles, mux */
    CURL *idle[16];
    unsigned idles;
    struct mux *mux; /* made with the first reporter */
};

/* ---- error.c ---- */

/* Fills the problem (may be NULL) for an error of the library's own; gives the error back. */
int problem_local(struct bowline_problem *p, int error, const char *detail);
int problem_argument(struct bowline_problem *p, const char *name, const char *what);
/* For an answer of 300 or more; gives back the error. */
int problem_answer(struct bowline_problem *p, int status, struct str body, double retry_after_s);
/* True for what another try may heal: no answer, 408, 429, and 5xx. */
bool error_is_passing(int error);

/* ---- client.c ---- */

/* Whether it can stand in a header line. */
bool credential_is_usable(const char *text);

/* ---- time.c ---- */

int64_t mono_ms(void);
/* The next pause: doubled, bounded, with a quarter of jitter. *pause_ms 0 starts anew. */
int64_t backoff_next(int64_t *pause_ms, int64_t most_ms);
/* Until when, for a timeout in ms where -1 is for ever. */
int64_t deadline_of(int64_t timeout_ms);
#define DEADLINE_NEVER INT64_MAX
/* Whole seconds that a waiting request may be held so as not to end before then, 0 to 60. */
int wait_of(int64_t deadline_ms);
/* The same for one that must not be cut: so as to end before then, or hardly later. */
int wait_within(int64_t deadline_ms);
/* Until then, or until the client is interrupted. */
void client_sleep(const bowline_client *c, int64_t until_ms);

/* ---- body.c: bodies and paths ---- */

struct body {
    struct buf text;
    const char *wrong; /* the name of a member that cannot be sent */
};

void body_begin(struct body *b);
void body_end(struct body *b);
void body_name(struct body *b, const char *name);
void body_text(struct body *b, const char *name, const char *text); /* left out if NULL, here and below */
/* For people: what is no UTF-8 is mended, and past so many characters it is cut. */
void body_words(struct body *b, const char *name, const char *text, size_t most);
void body_json(struct body *b, const char *name, const char *json);
void body_span(struct body *b, const char *name, struct str json);   /* known to be JSON; left out if STR_NONE */
void body_seconds(struct body *b, const char *name, double value_s); /* left out if 0; BOWLINE_ZERO says 0 */
void body_count(struct body *b, const char *name, uint64_t value);   /* left out if 0 */
void body_ref(struct body *b, const char *name, const struct bowline_session_ref *ref);
/* OK, NO_MEMORY or BAD_ARGUMENT with the problem filled. */
int body_check(const struct body *b, struct bowline_problem *p);
/* One JSON value within the depth that servers take, and nothing else. */
bool json_is_valid(struct str text);

/* Appends text percent-encoded, as a path segment or query value. */
void path_put(struct buf *path, const char *text);
/* "/v1/" kind "/" id tail */
void path_of(struct buf *path, const char *kind, const char *id, const char *tail);
void query_put(struct buf *path, const char *name, const char *value);

/* ---- transfer.c ---- */

struct request {
    const char *method;          /* NULL: GET */
    struct buf path;             /* request_done frees it */
    struct body body;            /* likewise */
    bool has_body, octets;       /* octets: bytes are wanted, not JSON */
    const char *credential;      /* NULL: the client's */
    const char *idempotency_key; /* NULL: none */
    int wait_s;                  /* Prefer: wait; -1: none. Interruptible if above 0 */
    uint64_t if_version;         /* If-None-Match; 0: none */
    int64_t until_ms;            /* TIMED_OUT from then on, also in the middle of a try or a pause; 0: not */
    bool repeatable;
};

struct reply {
    int status;
    struct buf body;
    double retry_after_s;
    int64_t date_ms; /* by the server's clock, in whole seconds; 0: unknown */
    char etag[48];   /* "": none */
    size_t most;     /* bytes of the body that are taken; 0: more than any answer of a task or a page of them */
    uint64_t output_offset;
    bool has_output_offset, output_complete;
};
void reply_fini(struct reply *r);
void reply_clear(struct reply *r);

/*
 * For one transfer of any kind on any handle: everything but method, body and where the answer goes. Headers are appended to *list, which the caller frees.
 * accept NULL: what libcurl says by itself.
 */
int transfer_prepare(const struct bowline_client *c, CURL *curl, const char *path, const char *credential, const char *accept,
                     struct curl_slist **list);
int header_add(struct curl_slist **list, const char *name, const char *value);
int header_add_wait(struct curl_slist **list, int wait_s);
/* Reads a header line into the reply; CURLOPT_HEADERFUNCTION with a struct reply. */
size_t reply_header(char *data, size_t size, size_t count, void *arg);
/* CURLOPT_WRITEFUNCTION with a struct reply. */
size_t reply_write(char *data, size_t size, size_t count, void *arg);
/* POST with that body, which must live until the transfer is over. */
void transfer_body(CURL *curl, struct str body);

/* Where the answer goes, and the headers; all of it must live until the transfer is over. */
void transfer_receive(CURL *curl, struct reply *r, char why[CURL_ERROR_SIZE], struct curl_slist *list);
/* Reads the status, too. OK for an answer of any status, whole. */
int transfer_result(CURL *curl, CURLcode result, const char *why, struct reply *r, struct bowline_problem *p) MUST_CHECK;
/* A handle of the client's pool; NULL: no memory. What is given back points to nothing any more. */
CURL *client_handle_take(bowline_client *c);
void client_handle_give(bowline_client *c, CURL *curl);

/* Carries the request out and frees what it holds. OK for 2xx and 304, with the answer in reply (zeroed by the caller, freed by it in any case). */
int client_perform(bowline_client *c, struct request *q, struct reply *r, struct bowline_problem *p) MUST_CHECK;
/* The same for callers that look at nothing but the error. */
int client_perform_blind(bowline_client *c, struct request *q, struct bowline_problem *p) MUST_CHECK;
/* The body as the caller's text. */
int reply_text(struct reply *r, struct bowline_text *ret_text, struct bowline_problem *p) MUST_CHECK;

/* ---- object.c ---- */

int object_task(const struct json *j, struct bowline_task **ret_task) MUST_CHECK;
int object_session(const struct json *j, struct bowline_session **ret_session) MUST_CHECK;
int object_task_page(struct str text, const char *member, struct bowline_task_page **ret_page) MUST_CHECK;
int object_session_page(struct str text, struct bowline_session_page **ret_page) MUST_CHECK;
int object_control(struct str text, struct bowline_control **ret_control) MUST_CHECK;
/* Perform, then read the answer as a task or session; ret may be NULL. */
int client_task(bowline_client *c, struct request *q, struct bowline_task **ret_task, struct bowline_problem *p) MUST_CHECK;
int client_session(bowline_client *c, struct request *q, struct bowline_session **ret_session, struct bowline_problem *p) MUST_CHECK;

const char *json_text(const struct json *obj, const char *name, struct arena *a, bool *ok);
uint64_t json_u64(const struct json *obj, const char *name);
bool json_true(const struct json *obj, const char *name);
int64_t json_time(const struct json *obj, const char *name);

/* ---- mux.c: the background thread of the reporters ---- */

void mux_stop(struct mux *m); /* accepts NULL */

#endif
