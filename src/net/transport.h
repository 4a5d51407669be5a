/*
 * transport.h: the bytes of one connection, in and out, whatever carries them. A connection knows no more of its socket than stands here; plain sockets are
 * one implementation (transport_plain). One thread, the loop's. The transport lies in its connection and owns the descriptor.
 */
#ifndef BOWLINE_NET_TRANSPORT_H
#define BOWLINE_NET_TRANSPORT_H

#include "base/str.h"

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define TRANSPORT_DEAD (-1)  /* nothing more can be read or written: close it */
#define TRANSPORT_AGAIN (-2) /* nothing now: `read_wants` or `write_wants` says what to wait for */

enum transport_wants { TRANSPORT_READABLE = 1, TRANSPORT_WRITABLE = 2 };

struct transport;

struct transport_kind {
    const char *name;
    /* A new connection: t->fd, kind and arg are set, all else is zero. False: it cannot be had; the descriptor stays the caller's. NULL: there is nothing to do. */
    bool (*open)(struct transport *t);
    /* Bytes read (> 0), 0 at the end of what the peer sends, TRANSPORT_AGAIN, TRANSPORT_DEAD. */
    ssize_t (*read)(struct transport *t, char *out, size_t len);
    /*
     * Takes bytes of the pieces, from the front, and says how many; TRANSPORT_DEAD. What it has taken is its own affair from then on, also what the wire has not
     * taken yet (`holds`): a transport that must offer the wire the same bytes again (a TLS record) keeps them itself, and takes nothing meanwhile. The caller may offer
     * other bytes the next time. Fewer than offered: `write_wants` says what to wait for. count 0: goes on with what it holds.
     */
    ssize_t (*write)(struct transport *t, const struct iovec *iov, unsigned count);
    /* Nothing more is written; the peer is told. Only when it holds nothing. */
    void (*shutdown)(struct transport *t);
    /* Bytes that were taken and the peer has not: how far it reads is seen by how this changes. */
    int (*unread)(struct transport *t);
    /* The poll has told of an error, or of nothing but urgent data, which is thrown away. True: the connection is dead; ended: the peer has ended its side before. */
    bool (*failed)(struct transport *t, bool ended);
    /* From now on newer bytes matter more than many: little is kept in the kernel that has not been sent. */
    void (*prefer_fresh)(struct transport *t);
    /* Frees all it has, with the descriptor. */
    void (*close)(struct transport *t);
};

struct transport {
    const struct transport_kind *kind;
    int fd; /* polled by the loop */
    /* What the last read or write waits for (enum transport_wants): a read may have to write first, and the other way round. */
    uint8_t read_wants, write_wants;
    bool holds;  /* bytes that were taken and not yet given to the wire */
    bool ready;  /* has bytes to read that the poll does not know of */
    void *state; /* the kind's */
};

/* A plain socket, non-blocking. */
extern const struct transport_kind transport_plain;
/* What those built on a socket have in common with it. */
int socket_unread(struct transport *t);
bool socket_failed(struct transport *t, bool ended);
void socket_prefer_fresh(struct transport *t);
void socket_shutdown(struct transport *t);
void socket_close(struct transport *t);

#endif
