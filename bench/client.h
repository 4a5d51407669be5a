/*
 * client.h: sockets on one epoll, and an HTTP/1.1 client on them that keeps connections open and has several requests under way on each. One per process.
 */
#ifndef BOWLINE_BENCH_CLIENT_H
#define BOWLINE_BENCH_CLIENT_H

#include "base/buf.h"
#include "tool.h"

/* ---- sockets ---- */

struct io {
    int fd; /* -1: closed */
    uint32_t armed;
    void (*ready)(struct io *io, uint32_t events); /* epoll's events */
};

void poller_init(void); /* first, and anew in every child process */
/* Waits for events, at most until then, and serves them. */
void poller_turn(int64_t until_ns);
/* Turns until done says so; dies with `what` after that many seconds. */
void poller_until(bool (*done)(void *arg), void *arg, double seconds, const char *what);
/* Just goes on for that long. */
void poller_rest(double seconds);

/* Begins a connection, from one of several loopback addresses so that ports do not run out; it is there when the socket can be written to. */
void io_connect(struct io *io, const struct target *target, unsigned number);
void io_arm(struct io *io, uint32_t events);
void io_close(struct io *io, bool reset);
/* Bytes read into *ret, valid until the next call; -1 when the peer has closed or the connection is broken; 0: nothing now. */
ssize_t io_read(struct io *io, const char **ret);
/* Sends from the front of out; false if the connection is broken. */
bool io_send(struct io *io, struct buf *out);

/* ---- requests ---- */

struct answer {
    int status;
    struct str body; /* dechunked */
};

struct http;

/* An answer has come, in the order of the requests. */
typedef void answer_fn(void *arg, struct http *h, size_t index, const struct answer *a);
/* A piece of a body that is read as it arrives. */
typedef void piece_fn(void *arg, struct http *h, size_t index, struct str piece);

struct call {
    answer_fn *done;
    piece_fn *piece; /* NULL: the body is gathered */
    void *arg;
    size_t index;
};

#define CALLS_MAX 64

struct http {
    struct io io;
    const struct target *target;
    struct buf out, in, body;
    struct call calls[CALLS_MAX]; /* a ring */
    unsigned first, count;
    uint8_t state;
    bool reading;
    int status;
    uint64_t left; /* of the body or the chunk */
    size_t next;   /* in a striped pool */
};

void http_open(struct http *h, const struct target *target, unsigned number);
void http_close(struct http *h);
/* The request stands at the end of h->out, put there by the caller; it leaves at the end of the turn. */
void http_sent(struct http *h, struct call call);
void http_flush(struct http *h);

/* Appends a request; content_type NULL: JSON. A body of STR_NONE is left out. */
void request_put(struct buf *out, const struct target *target, const char *method, const char *path, const char *token, const char *content_type,
                 struct str body);

/* ---- many requests over some connections ---- */

struct job {
    size_t total;
    void (*put)(struct job *j, size_t index, struct buf *out);
    void (*done)(struct job *j, size_t index, const struct answer *a);
    void *arg;
    size_t sent, answered;
};

struct pool {
    struct http *conns;
    unsigned count, depth; /* depth: requests under way on each connection */
    bool striped;          /* connection c does c, c + count, ...; else each takes what comes next */
    struct job *job;
};

void pool_init(struct pool *p, const struct target *target, unsigned count);
void pool_fini(struct pool *p);
/* Begins the job; it goes on by itself as answers come. */
void pool_begin(struct pool *p, struct job *j, unsigned depth);
/* Does all of it. */
void pool_run(struct pool *p, struct job *j, unsigned depth);

#endif
