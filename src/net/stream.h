/*
 * stream.h: one request and its answer, whatever carries them. A protocol makes a stream when a request begins and destroys it when its answer is through;
 * in between the handler is told of the request and decides on the answer. Streams of a connection stand in the order in which they came. The loop's thread.
 */
#ifndef BOWLINE_NET_STREAM_H
#define BOWLINE_NET_STREAM_H

#include "net/http.h"
#include "net/wsframe.h"

#include <sys/queue.h>

enum reply {
    REPLY_NONE,
    REPLY_OPEN, /* the handler goes on with it */
    REPLY_COMPLETE
};

struct stream {
    TAILQ_ENTRY(stream) link; /* http_conn.streams */
    struct http_conn *conn;
    struct http_request *r; /* NULL once nobody needs it */
    struct body *body;      /* NULL: there is none, or not yet */
    uint8_t reply;          /* enum reply */
    bool told;              /* the handler knows of it, and has not given its answer */
    bool undecided;         /* body_attach: the body will answer */
    bool needs_peer;        /* of no use to a peer that has ended its side */
};
TAILQ_HEAD(stream_list, stream);

/* What a watcher has put into a pull. */
#define PULL_FRAMES 64
struct pull_notes {
    unsigned pieces;
    size_t partial_len, control_len; /* before the frames */
    struct {
        struct frame *frame;   /* NULL: the event `live` */
        struct frame *renamed; /* what is sent in its place, or NULL */
        size_t len;
    } piece[PULL_FRAMES];
    uint8_t header[PULL_FRAMES + 1][WS_HEADER_MAX]; /* of WebSocket messages */
    struct buf live;
};

#define FIELDS_FIRST 20

/* A request with what net/ needs for it. Used again and again, with some of its memory. */
struct request {
    struct http_request r;       /* first: a request is this */
    TAILQ_ENTRY(request) link;   /* http_loop.spare */
    struct buf gathered;         /* a body of which not all is here */
    char *whole;                 /* or: in the arena, big enough for all of it */
    uint64_t announced, arrived; /* bytes of the body */
    bool stream_body, paused;
    struct written { /* the body of an answer that lies in memory, or is being written */
        struct body b;
        struct buf bytes;
        size_t at;
        bool ended;
    } written;
    struct buf kept, kept_body;              /* empty: memory from a request before */
    struct http_header fields[FIELDS_FIRST]; /* of the answer, while they are enough; not zeroed */
};
TAILQ_HEAD(request_list, request);

static inline struct request *request_state(const struct http_request *r) {
    return (struct request *) (uintptr_t) r;
}

/* Puts a new stream, with a request, behind those of the connection. s: zeroed memory, the protocol's; it has it back behind stream_leave. */
void stream_begin(struct stream *s, struct http_conn *c);
/* The stream leaves its connection: the handler is told if it waits for nothing now, the body is gone, the request is given back. */
void stream_leave(struct stream *s);
/* The same for handler and body alone: the stream stays, to be answered by stream_problem. */
void stream_forget(struct stream *s);
void stream_keep(struct stream *s, struct buf *out); /* memory of an answer's head, to be used again; empties *out */
void stream_release_request(struct stream *s);       /* of an answer that no longer needs it */
void requests_fini(struct request_list *spare);

/* ---- the way in ---- */

enum body_is { BODY_GOOD, BODY_OVERSIZED, BODY_NO_MEMORY };

enum http_body stream_head(struct stream *s); /* the request's head is complete: the handler says what it does with the body */
/* Bytes of the body: gathered, or handed to the handler. */
enum body_is stream_arrived(struct stream *s, struct str piece) MUST_CHECK;
enum body_is stream_complete(struct stream *s) MUST_CHECK; /* all of it has come */
/* A body that will not be taken whole. False: the handler has no word to say on that. */
bool stream_oversized(struct stream *s) MUST_CHECK;
/* The rest of the body will never come, and the answer has begun. False: the handler cannot deal with that. */
bool stream_break(struct stream *s, enum err err, const char *detail) MUST_CHECK;
bool stream_is_paused(const struct stream *s);

/* ---- the way out ---- */

/* Answers with a problem made by the handler; extra: one header more, or NULL. */
void stream_problem(struct stream *s, enum err err, const char *detail, const struct http_header *extra, bool close);
/* The head of the answer is the body's to decide, later: its `decide` is called when there is news. */
void body_attach(struct http_request *r, struct body *b);
void body_detach(struct body *b); /* behind that: it is the stream's no longer, and the caller answers */
/* Hands both directions to the body: 101, or what the protocol has for that. Headers were added. */
void http_tunnel(struct http_request *r, struct body *b);
struct http_loop *stream_loop(const struct stream *s);
/* A body that was answered with and never ends by itself is of no use to a peer that has gone. */
void body_prefer_fresh(struct body *b);
/* As body_wake, at once where that disturbs nobody: when the connection carries nothing else. */
void body_push(struct body *b);
/* Asks for what body_push will look at: first the stream, then its connection. */
void stream_fetch(const struct stream *s);
void stream_fetch_conn(const struct stream *s);

#endif
