/* internal.h: what the files of server/ share. */
#ifndef BOWLINE_SERVER_INTERNAL_H
#define BOWLINE_SERVER_INTERNAL_H

#include "base/times.h"
#include "base/wheel.h"
#include "engine/engine.h"
#include "net/http.h"
#include "server/endpoint.h"
#include "server/server.h"
#include "server/waker.h"

#include <pthread.h>
#include <stdatomic.h>

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
    struct endpoint endpoint; /* first */
    struct server *server;
    unsigned index;
    int listen_fd; /* -1 once the loop has it */
    pthread_t thread;
    atomic_int state;       /* enum loop_state; LOOP_NONE: no thread to join */
    struct http_loop *http; /* made by the loop's thread, before the engine's starts */
    struct api *api;
    struct loop_message_run taken;   /* from its endpoint; the loop's thread */
    bool drains;                     /* the loop's thread */
    struct timer engine_timer;       /* the loop's thread, if the engine runs in it: when that wants its next round */
    _Atomic uint64_t counts[COUNTS]; /* as of the loop's last turn */
};

struct server {
    unsigned loop_count;
    struct loop *loops;
    struct endpoint store;                     /* its threads: they only send */
    struct endpoint *endpoints[ENDPOINTS_MAX]; /* whoever sends to the engine and receives from it, by number */
    unsigned endpoint_count;
    struct waker engine_waker;
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

void server_notice(struct server *s); /* makes server_notice_fd readable; any thread */

/* ---- engine_thread.c ---- */

void server_wake_engine(struct server *s);                        /* there is something for it; any thread */
void server_send(void *arg, unsigned endpoint, struct message m); /* struct engine_config.send */
/* Serves what has come to the engine, and posts what follows from it. True if there is more. */
bool server_round(struct server *s);
void server_rounds(struct server *s);  /* until the engine has stopped */
void *server_engine_main(void *arg);   /* a thread of its own */
bool server_receive(struct server *s); /* takes what its endpoints have posted to the engine. True if there is more */

/* ---- loop_thread.c ---- */

void loop_init(struct loop *l, struct server *s, unsigned index);
/* Starts its thread and waits until it serves. 0, or -1 with a sentence. */
int loop_start(struct loop *l, struct buf *err) MUST_CHECK;
/* Its thread has ended and the engine is gone: takes in the last messages, frees everything. */
void loop_end(struct loop *l);

/* ---- metrics.c ---- */

void server_metrics(void *arg, struct buf *out); /* of struct api_shared: a loop's thread */
void server_metrics_give(struct server *s);      /* the engine's thread: after each round */
void server_metrics_close(struct server *s);     /* the engine's thread: it ends */
void loop_counts_publish(struct loop *l);        /* the loop's thread */

#endif
