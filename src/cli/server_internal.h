/* server_internal.h: what server.c, server_engine.c, server_loop.c and server_metrics.c share. */
#ifndef BOWLINE_CLI_SERVER_INTERNAL_H
#define BOWLINE_CLI_SERVER_INTERNAL_H

#include "base/times.h"
#include "base/wheel.h"
#include "cli/mailbox.h"
#include "cli/server.h"
#include "engine/engine.h"
#include "net/http.h"

#include <pthread.h>
#include <stdatomic.h>

enum letter_type { LETTER_SUBMIT, LETTER_ABANDON, LETTER_UNWATCH, LETTER_BATCH, LETTER_QUERY };

struct letter { /* to the engine */
    enum letter_type type;
    uint32_t tag;
    uint64_t channel;
    union {
        struct cmd *cmd;
        struct store_batch *batch;
        struct store_query *query;
    } u;
};

struct inbox { /* the engine's, from one sender */
    struct mailbox box;
    struct letters taken; /* the engine's own from here */
    size_t next;
};

/* member of struct http_counts, then OpenMetrics: type, name and what it says */
#define COUNT_TABLE(X)                                                                               \
    X(connections, "gauge", "bowline_http_connections", "Connections open now")                      \
    X(accepted, "counter", "bowline_http_connections_accepted", "Connections accepted so far")       \
    X(requests, "counter", "bowline_http_requests", "Requests received so far")                      \
    X(watchers, "gauge", "bowline_http_watchers", "Streams and waiting requests that follow a feed") \
    X(bytes_in, "counter", "bowline_http_received_bytes", "Bytes received so far")                   \
    X(bytes_out, "counter", "bowline_http_sent_bytes", "Bytes sent so far")

enum {
#define X(member, type, name, text) COUNT_##member,
    COUNT_TABLE(X)
#undef X
        COUNTS
};

/* The engine's numbers: nobody wants them, a loop waits for them, they are there, there is no engine any more. */
enum numbers_state { NUMBERS_NONE, NUMBERS_WANTED, NUMBERS_THERE, NUMBERS_CLOSED };

enum loop_state { LOOP_NONE, LOOP_STARTING, LOOP_RUNNING, LOOP_ENDED, LOOP_FAILED };

struct loop {
    struct server *server;
    unsigned index;
    int listen_fd; /* -1 once the loop has it */
    pthread_t thread;
    atomic_int state;       /* enum loop_state; LOOP_NONE: no thread to join */
    struct http_loop *http; /* made by the loop's thread, before the engine's starts */
    struct api *api;
    struct letters to_engine; /* gathered in this turn; the loop's thread */
    struct letters to_loop;   /* gathered in this round; the engine's thread */
    struct inbox inbox;
    struct mailbox mail;
    struct letters mail_taken;       /* the loop's thread */
    bool drains;                     /* the loop's thread */
    struct timer engine_timer;       /* the loop's thread, if the engine runs in it: when that wants its next round */
    _Atomic uint64_t counts[COUNTS]; /* as of the loop's last turn */
};

struct server {
    unsigned loop_count;
    struct loop *loops;
    struct inbox store_inbox;
    struct bell bell;
    int notice_fd;

    struct server_config config;
    struct engine *engine;
    pthread_t engine_thread;
    bool has_engine_thread;
    bool engine_in_loop; /* there is one loop, and the engine runs in its turns */
    atomic_bool ready, draining, stop_wanted, stopped;
    _Atomic int64_t drain_ms;
    /* of the thread in which the engine runs: */
    bool waits_end; /* the engine has been told to end them */
    bool stopping;  /* and to stop */
    struct times rounds;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t cond;
    enum numbers_state numbers_state;
    struct buf numbers; /* the engine's, for whoever waits */
};

void inbox_init(struct inbox *in);
void inbox_fini(struct inbox *in);
void server_notice(struct server *s); /* makes server_notice_fd readable; any thread */

/* ---- server_engine.c ---- */

void server_wake_engine(struct server *s);                 /* there is something for it; any thread */
void server_mail(void *arg, unsigned loop, struct mail m); /* struct engine_config.mail */
/* Serves what has come to the engine, and posts what follows from it. True if there is more. */
bool server_round(struct server *s);
void server_rounds(struct server *s); /* until the engine has stopped */
void *server_engine_main(void *arg);  /* a thread of its own */
bool server_serve_boxes(struct server *s);

/* ---- server_loop.c ---- */

void loop_init(struct loop *l, struct server *s, unsigned index);
/* Starts its thread and waits until it serves. 0, or -1 with a sentence. */
int loop_start(struct loop *l, struct buf *err) MUST_CHECK;
/* Its thread has ended and the engine is gone: takes in the last mail, frees everything. */
void loop_end(struct loop *l);

/* ---- server_metrics.c ---- */

void server_metrics(void *arg, struct buf *out); /* of struct api_shared: a loop's thread */
void server_metrics_give(struct server *s);      /* the engine's thread: after each round */
void server_metrics_close(struct server *s);     /* the engine's thread: it ends */
void loop_counts_publish(struct loop *l);        /* the loop's thread */

#endif
