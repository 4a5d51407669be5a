/*
 * reporter.h: a reporter's two sides. reporter.c is the worker's: it says things under the lock and wakes the background thread when there is something to
 * send. reporter_send.c is that thread's: it decides what is due, makes requests, and takes their answers. mux.c turns libcurl for all reporters of a
 * client. Locks are taken in the order mux, reporter; libcurl's handles belong to the thread alone.
 */
#ifndef BOWLINE_CLIENT_REPORTER_H
#define BOWLINE_CLIENT_REPORTER_H

#include "client/internal.h"
#include "client/said.h"

#define TIME_NEVER INT64_MAX

struct mux {
    bowline_client *client;
    pthread_t thread;
    pthread_mutex_t lock; /* reporters, stop, their `closing` and `detached` */
    pthread_cond_t detached;
    struct bowline_reporter *reporters;
    bool stop;
    CURLM *multi;
};

/* One request at a time: reports on one, the waiting request for control on the other. */
struct line {
    CURL *curl; /* made when first needed */
    bool busy;
    bool is_control;
    struct bowline_reporter *reporter;
    struct curl_slist *headers;
    struct buf path, body;
    struct reply reply;
    char why[CURL_ERROR_SIZE];
    int64_t started_ms;
    int64_t not_before_ms; /* after a failure */
    int64_t pause_ms;      /* of the backoff */
};

struct bowline_reporter {
    struct bowline_reporter *next; /* in mux->reporters */
    struct mux *mux;
    char *task, *token;
    int64_t interval_ms;
    int64_t heartbeat_ms; /* as asked for; 0: from the lease; -1: none */
    size_t buffer_bytes;
    bool with_control;
    bool closing, detached; /* under the mux's lock */

    atomic_bool cancel_requested, should_stop;

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;
    struct said said;
    bool armed;                  /* the thread knows that there is something to send */
    bool flush;                  /* at once */
    bool probe;                  /* ask how things stand before anything is said (again) */
    bool heard;                  /* the server has answered once */
    bool ended;                  /* the outcome is stored */
    bool closed;                 /* an outcome was said: nothing may follow it */
    bool outcome_doubt;          /* it was sent, and what became of it is not known */
    int gaps;                    /* output-gap answers in a row */
    int64_t sent_ms, contact_ms; /* the last request; the last one that was answered */
    int64_t lease_beat_ms;       /* 0: no lease */
    uint64_t version, output_stored;

    bool question_open, question_doubt; /* asked; or it may have been */
    char *answer_id;                    /* of the newest answer seen */
    struct buf answer;                  /* not taken yet, if has_answer */
    bool has_answer;

    struct bowline_problem lost, refused; /* error 0: not */
    struct bowline_problem wrong;         /* what was not taken; not given yet */
    struct line report, control;          /* the thread's, but for busy */
};

/* mux.c. The client's, made if there is none. */
int mux_get(bowline_client *c, struct mux **ret_mux) MUST_CHECK;
void mux_add(struct mux *m, struct bowline_reporter *r);
/* Comes back when the thread has let go of it. */
void mux_remove(struct mux *m, struct bowline_reporter *r);
void mux_wake(struct mux *m);

/* reporter_send.c, on the thread. */
/* Starts what is due; gives back when it wants to be called again. */
int64_t reporter_step(struct bowline_reporter *r, CURLM *multi, int64_t now_ms);
void reporter_done(struct line *l, CURLM *multi, CURLcode result);
void reporter_detach(struct bowline_reporter *r, CURLM *multi);
/* Takes an answer to a report (or to the waiting request) in; locked. Without network, for tests too. */
void reporter_take(struct bowline_reporter *r, const struct bowline_control *c, bool from_control, int64_t date_ms);

#endif
