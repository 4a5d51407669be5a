/*
 * server.h: the threads of a running server and the messages between them: one engine, one thread per loop, and the store's own, which post
 * to the engine. All calls are the main thread's.
 *
 *     server_create, store opened with server_sink, server_start, poll server_notice_fd until server_ready,
 *     server_drain until server_drained, server_stop until server_stopped, server_destroy.
 */
#ifndef BOWLINE_SERVER_SERVER_H
#define BOWLINE_SERVER_SERVER_H

#include "api/api.h"
#include "store/store.h"

#define LOOPS_MAX 64
#define ENDPOINTS_MAX (LOOPS_MAX + 1) /* and the store */

struct server;

struct server_config {
    const struct options *options;
    const struct keyring *keys;
    struct api_shared *shared; /* metrics, ready and draining are filled in by server_start */
    const int *listen_fds;     /* one per loop; taken over by server_start */
    struct store *store;       /* taken over by server_start: destroyed by server_destroy */
};

struct server *server_create(unsigned loops);
struct store_sink server_sink(struct server *s);
/* Starts the threads. 0, or -1 with a sentence in err; then server_destroy is all that is left to do. */
int server_start(struct server *s, const struct server_config *config, struct buf *err) MUST_CHECK;

/* Readable when one of the answers below may have changed; server_notice_clear makes it quiet again. */
int server_notice_fd(const struct server *s);
void server_notice_clear(struct server *s);
bool server_ready(const struct server *s); /* the engine has loaded what it needs and serves */

void server_drain(struct server *s, int64_t drain_ms); /* /readyz says 503, streams close, loops end */
bool server_drained(const struct server *s);           /* no loop runs any more */
void server_stop(struct server *s);                    /* the engine writes everything and ends */
bool server_stopped(const struct server *s);
/* Joins the threads, which must have ended (or never started), and frees everything, the store included. */
void server_destroy(struct server *s);

#endif
