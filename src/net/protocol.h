/*
 * protocol.h: what a connection speaks: how requests come out of its bytes, and answers go into them. HTTP/1.1 is one (http1_conn.c). A protocol knows its
 * connection's streams; it never touches a socket. It is chosen when the connection begins, and can be changed (conn_speak) while there is no stream.
 */
#ifndef BOWLINE_NET_PROTOCOL_H
#define BOWLINE_NET_PROTOCOL_H

#include "net/http.h"
#include "net/stream.h"

struct http_conn;

/* What goes out in one write. */
#define GATHER_PIECES 288
#define GATHER_SPANS 64
struct gather {
    unsigned count;
    size_t bytes;
    bool more; /* asked again after this write, there would be something */
    unsigned spans;
    struct span { /* of one stream */
        struct stream *stream;
        size_t head, body; /* bytes of the protocol's own before the body's, and of the body */
        struct pull pull;  /* as the body has answered it, if it was asked */
        bool pulled, chunk, ends;
    } span[GATHER_SPANS];
    char framing[32]; /* the protocol's own scratch */
    struct pull_notes *notes;
    struct iovec iov[GATHER_PIECES];
};

enum produced { PRODUCED_NOTHING, PRODUCED, PRODUCED_DEAD };

/* What a connection does at present, for its time limits. */
enum phase {
    PHASE_BUSY,  /* it is our turn */
    PHASE_IDLE,  /* nothing is under way */
    PHASE_HEAD,  /* the head of a request is arriving */
    PHASE_BODY,  /* a body is arriving */
    PHASE_STREAM /* only streams that live long are under way: they need signs of life */
};

/* What is known of an answer before its body. */
struct answer_head {
    int status;
    uint64_t length; /* of the body; HTTP_LENGTH_UNKNOWN */
    bool bodiless;   /* no body by its status: nothing is said of a length */
    bool
        close; /* the connection is to end with it, where one connection is one exchange after the other; a body of unknown length then ends with it */
    bool open;   /* the handler goes on with it (and with the request's body) until `finished` */
    bool tunnel; /* the connection, or the stream, becomes the body's in both directions; status is the protocol's own */
};

struct protocol {
    const char *name;
    bool (*open)(struct http_conn *c); /* c->speaks is its own to set. False: no memory; fini is not called */
    void (*fini)(struct http_conn *c); /* ends all streams */
    /* Bytes have come; how many were used. The rest comes again, with what follows, once it has asked (conn_wait) or sent something. */
    size_t (*input)(struct http_conn *c, const char *data, size_t len);
    void (*ended)(struct http_conn *c); /* the peer has ended its side, and there are streams */
    bool (*wants_input)(const struct http_conn *c);
    /*
     * Puts what is to be sent next into g, pulling from bodies. `sent`, always next unless it is dead or produced nothing, says how many of those bytes were taken: there
     * it lets its bodies know, and ends streams that are through.
     */
    enum produced (*produce)(struct http_conn *c, struct gather *g);
    void (*sent)(struct http_conn *c, struct gather *g, size_t bytes);
    enum phase (*phase)(const struct http_conn *c, int64_t *ret_since_ms);
    void (*late)(struct http_conn *c, enum phase phase); /* PHASE_HEAD and PHASE_BODY took too long */
    bool (*idle)(const struct http_conn *c);             /* nothing of a request has come; there are no streams */
    bool (*closing)(const struct http_conn *c);          /* everything is said: the connection can end */
    void (*drain)(struct http_conn *c);                  /* the loop drains; may be NULL */
    /* Of one stream: */
    void (*answer)(struct stream *s, const struct answer_head *head); /* its head is decided: fields in s->r, the body in s->body */
    void (*finished)(struct stream *s);                               /* an answer that was open is complete; may be NULL */
    void (*ready)(struct stream *s);                                  /* its body has something; may be NULL */
    void (*abort)(struct stream *s);                                  /* it breaks off; destroys it, or its connection */
};

extern const struct protocol protocol_http1;

#endif
