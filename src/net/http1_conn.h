/*
 * http1_conn.h: HTTP/1.1 on a connection (RFC 9112), behind the interface of protocol.h: http1_in.c makes requests out of bytes, http1_out.c writes answers in
 * their order. Status lines, header lines, chunks, persistence, pipelining, 100 (Continue) and upgrades are known here and nowhere else.
 */
#ifndef BOWLINE_NET_HTTP1_CONN_H
#define BOWLINE_NET_HTTP1_CONN_H

#include "net/conn.h"
#include "net/http1.h"
#include "net/loop.h"
#include "net/protocol.h"
#include "net/stream.h"

#define SMALL_REST (64 * 1024) /* of a body nobody wants any more: read to keep the connection */

struct http1_stream {
    struct stream s; /* first: it is one */
    struct buf out;  /* what goes out before the rest of the body: the head, framing, and of a chunk what was cut off */
    size_t out_sent; /* of it */
    bool http10, keep_alive, close, chunked;
    bool expects_continue, invited, interim; /* interim: nothing but "100 Continue" stands in `out` */
    bool headed;                             /* the head of its answer stands there, or is gone */
    bool over;                               /* all of the body has been pulled */
};

enum http1_mode {                 /* http_conn.mode */
                  HTTP1_REQUESTS, /* requests come in, answers go out */
                  HTTP1_LAST,     /* no more requests are taken; what has been taken is answered */
                  HTTP1_TUNNEL    /* both directions are a body's */
};

/* What is only needed while requests come in: then it is freed. */
struct http1_conn {
    struct http1 parser;
    struct http1_stream *input; /* whose body is arriving; NULL: nobody wants it */
    int64_t head_ms;            /* first byte of the present head; 0: none */
    bool hold;                  /* nothing is parsed before what asked for an upgrade is answered */
};

/* NULL unless it is in HTTP1_REQUESTS. */
static inline struct http1_conn *http1_of(const struct http_conn *c) {
    return c->speaks;
}

/* The one place where the mode changes. What http1_of has given is gone with it. */
void http1_move(struct http_conn *c, enum http1_mode to);
/* "100 Continue", if nothing of the answer stands there yet. */
void http1_invite(struct http1_stream *x);
void http1_end(struct http1_stream *x);        /* ends the stream, and frees it */
void http1_end_behind(struct http1_stream *x); /* those that came after it will not be answered */

/* in */
size_t http1_input(struct http_conn *c, const char *data, size_t len);
void http1_ended(struct http_conn *c);
bool http1_wants_input(const struct http_conn *c);
void http1_late(struct http_conn *c, enum phase phase);
bool http1_is_paused(const struct http1_conn *h); /* the handler has asked for a pause of the body */

/* out */
enum produced http1_produce(struct http_conn *c, struct gather *g);
void http1_sent(struct http_conn *c, struct gather *g, size_t bytes);
void http1_answer(struct stream *s, const struct answer_head *head);
void http1_finished(struct stream *s);

#endif
