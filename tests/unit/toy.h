/*
 * toy.h: a second protocol and a second transport, to show that nothing but net/'s own HTTP/1.1 and sockets knows that those exist.
 *
 * The protocol: frames of a type, the number of a stream, a length (two bytes, big-endian) and a payload. From the client: H (method, path and header lines, each ended
 * by \n), B (of the body), E (the end of the body), W (four bytes: so much more may be sent on this stream). From the server: h (status and header lines), d (of
 * the body), e (the end), x (broken off). A stream may be sent TOY_WINDOW bytes of body at first; streams take turns, TOY_FRAME bytes at a time.
 *
 * The transport: a socket that takes one byte at a time, says every other time that it has to be asked again with that byte, wants to write before each read, and once in
 * a while to read before it can write: after toy_stop_after bytes, until the peer has sent a '!' by itself.
 */
#ifndef BOWLINE_TESTS_TOY_H
#define BOWLINE_TESTS_TOY_H

#include "base/buf.h"
#include "net/protocol.h"
#include "net/transport.h"

#include <stdatomic.h>

#define TOY_WINDOW 40
#define TOY_FRAME 16
#define TOY_STREAMS 8

extern const struct protocol toy_protocol;
extern const struct transport_kind toy_transport;
extern atomic_int toy_stop_after; /* bytes; negative: it never does */

/* The client's side, blocking, over a connected socket. */
struct toy_client {
    int fd;
    struct buf in;
    struct toy_seen {
        struct buf head, body;
        bool ended, broken;
        unsigned frames;
    } seen[TOY_STREAMS];
    unsigned turns; /* how often a frame of a body was of another stream than the one before it */
    int last;
};
void toy_send(struct toy_client *c, char type, unsigned stream, const char *payload, size_t len);
void toy_text(struct toy_client *c, char type, unsigned stream, const char *text);
void toy_window(struct toy_client *c, unsigned stream, unsigned more);
void toy_read(struct toy_client *c); /* what comes next */
/* Reads frames until the stream's body holds the text (NULL: until it has ended); fails the test otherwise. */
void toy_expect(struct toy_client *c, unsigned stream, const char *text);
void toy_close(struct toy_client *c);

#endif
