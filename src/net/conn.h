/*
 * conn.h: a connection: a transport, a protocol, the streams under way, and the time limits that go for all of them. What it speaks, and what its answers are made
 * of, is none of its business.
 */
#ifndef BOWLINE_NET_CONN_H
#define BOWLINE_NET_CONN_H

#include "base/wheel.h"
#include "net/protocol.h"
#include "net/transport.h"

#include <sys/queue.h>
#include <uv.h>

enum conn_state {
    CONN_OPEN,
    CONN_LINGER, /* all is said; what the peer still sends is thrown away */
    CONN_CLOSED
};

struct http_conn {
    uv_poll_t poll;
    /* what each flush of a stream looks at stands together, up to the link */
    struct transport transport;
    uint8_t state; /* enum conn_state */
    uint8_t armed; /* uv poll events */
    uint8_t mode;  /* the protocol's own */
    bool spoken;   /* the protocol was opened */
    bool blocked;  /* no more can be written now */
    bool eof;      /* the peer has ended its side */
    bool dirty, waiting, newcomer;
    bool tunnel;    /* the protocol's input is read by a body, which may have let some of it wait */
    bool undecided; /* a stream has a body that is to answer: asked before each flush */
    struct http_loop *loop;
    const struct protocol *protocol;
    struct stream_list streams; /* in the order in which they came */
    unsigned stream_count;
    int unread;     /* bytes that the transport has taken and the peer has not, when last looked at */
    int64_t out_ms; /* last byte out */
    struct buf in;  /* input that had to wait, or is incomplete */
    struct timer timer;
    LIST_ENTRY(http_conn) link;
    TAILQ_ENTRY(http_conn) dirty_link, waiting_link;
    void *speaks;      /* the protocol's own */
    int64_t in_ms;     /* last byte in */
    int64_t unread_ms; /* since when unread has been what it is, in a silent stream */
    struct in6_addr peer;
};
LIST_HEAD(conn_list, http_conn);
TAILQ_HEAD(conn_queue, http_conn);

void conn_create(struct http_loop *l, int fd, const struct in6_addr *peer);
/* Frees all it has, telling the handler; the memory itself goes at the end of the turn. */
void conn_close(struct http_conn *c);
/* Goes on in another protocol. False: no memory; the connection is closed. While there is no stream. */
bool conn_speak(struct http_conn *c, const struct protocol *protocol) MUST_CHECK;
void conn_mark(struct http_conn *c); /* to be flushed in this turn */
/* Its waiting input is to be looked at again: in this turn, or in the next if the handler's `turn` asks for it. Until then it neither reads nor is too late. */
void conn_wait(struct http_conn *c);
void conn_resume(struct http_conn *c);
void conn_flush(struct http_conn *c);
void conn_read(struct http_conn *c);
void conn_drain(struct http_conn *c);

#endif
