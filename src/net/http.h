/*
 * http.h: the server side of HTTP (RFC 9110) as the layer above sees it, whatever version a connection speaks: requests come in, answers, streamed answers and
 * watchers of feeds go out. It knows bytes, not tasks. Everything here runs on one loop's thread; nothing is shared between loops.
 *
 * The life of a request: `head` is called when the header block has arrived, and says what to do with the body. With HTTP_BODY_WHOLE `request`
 * follows when the body is complete, or `oversized` when it is found to be too large; with HTTP_BODY_STREAM `body` for each piece and then `request`. The handler answers at any time
 * from `head` on, at once or later, exactly once: http_respond, or http_start + http_write* + http_finish, or http_answer, or http_watch. Answering before the body has arrived
 * is allowed (a refusal); the connection is then closed after the answer unless the rest of the body is small.
 * If the peer goes away before the answer is finished, `gone` is called once and the request must not be touched afterwards.
 * After http_respond, http_finish, http_answer or http_watch the request must not be touched either.
 *
 * Several requests of one connection can be under way at once (on HTTP/1.1 by pipelining, at most HTTP_PIPELINE, and answers are sent in the order of the requests,
 * whatever the order in which the handler gives them); those ready within one turn of the loop leave in one write.
 */
#ifndef BOWLINE_NET_HTTP_H
#define BOWLINE_NET_HTTP_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/feed.h"
#include "base/frame.h"
#include "base/str.h"

#include <netinet/in.h>
#include <stdint.h>
#include <sys/uio.h>

#define HTTP_PIPELINE 64

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };

struct http_header {
    struct str name, value; /* as received; value without the white space around it */
};

/* Headers of an answer, in the order in which they were added. */
struct http_fields {
    struct http_header *list;
    unsigned count, cap;
    bool failed; /* there was no memory for one */
};

struct stream;

struct http_request {
    enum http_method method;
    struct str method_text;
    struct str path;  /* raw, still percent-encoded, begins with '/' (an absolute-form target has been cut) ; "*" for OPTIONS * */
    struct str query; /* raw, without '?'; STR_NONE if there is none */
    struct str host;  /* Host header, or the authority of an absolute-form target */
    struct http_header *headers;
    unsigned header_count;
    struct str body;             /* HTTP_BODY_WHOLE: complete when `request` is called, with 64 readable bytes behind it */
    bool upgrade_websocket;      /* a well-formed upgrade request of RFC 6455, version checked by http_watch */
    const struct in6_addr *peer; /* its address, IPv4 as mapped (RFC 4291, 2.5.5.2), for limits per address */
    struct arena arena;          /* dies with the request; headers, path, query and body lie in it */
    void *user;                  /* the handler's affair; NULL at first */
    bool
        needs_peer; /* set by the handler: of no use to a peer that has ended its side, so that counts as gone (what waits for long, or hands something out) */
    struct stream *stream;     /* opaque */
    struct http_fields answer; /* headers of the answer so far: http_add */
};

/* First header of that name (case-insensitive), STR_NONE if absent. */
struct str http_header(const struct http_request *r, const char *name);
unsigned http_header_count(const struct http_request *r, const char *name);

enum http_body {
    HTTP_BODY_WHOLE,
    HTTP_BODY_STREAM,
    HTTP_BODY_UNWANTED, /* the answer comes without it: nothing more is read before that, and `request` is not called */
};

struct http_loop;
struct transport_kind;
struct feed;
struct watcher;

struct http_handler {
    /* What to do with the body. May answer at once (then the return value does not matter). */
    enum http_body (*head)(void *arg, struct http_request *r);
    void (*body)(void *arg, struct http_request *r, struct str piece);
    void (*request)(void *arg, struct http_request *r);
    /* In place of `request`: the body is announced as larger than max_body, or has grown past it. It is to be refused, at once or later; until then nothing more is read. NULL: it is refused as too large. */
    void (*oversized)(void *arg, struct http_request *r);
    void (*gone)(void *arg, struct http_request *r);
    /*
     * The rest of a body that is given on as it comes (HTTP_BODY_STREAM) will never come, and the answer has begun: why, as it would have been refused; no `request`
     * follows; its text is a literal. What has come counts, and the peer may still read: the handler ends its answer when it has said all. The connection ends with it. May be NULL.
     */
    void (*broken)(void *arg, struct http_request *r, const struct problem *p);
    /* A watcher left its feed, for whatever reason; `user` as given to http_watch. Exactly once for each successful http_watch. */
    void (*unwatched)(void *arg, struct feed *f, void *user);
    /* A watcher of a log feed needs what lies behind its cursor and before the feed's log_floor, of those gone only what lies behind gone_from: answer with watcher_refill. Never again before it was answered. */
    void (*refill)(void *arg, struct feed *f, struct watcher *w, uint64_t cursor, uint64_t gone_from, void *user);
    /* Errors that the connection finds by itself (bad syntax, too large, too slow): the answer's headers (http_add) and body are made here. r->user is NULL before `head`. */
    void (*problem)(void *arg, struct http_request *r, const struct problem *p, struct buf *body);
    /* A page of events is about to leave: its headers are added here, and its body can still be changed (compression). */
    void (*page)(void *arg, struct http_request *r, struct buf *body);
    /* Called once per turn of the loop, after all sockets were read and before anything is flushed: send what was gathered. */
    void (*turn)(void *arg);
    void *arg;
};

/* ---- answers ---- */

/*
 * Headers are added one by one before the answer is given: all but those of the framing (Content-Length, Transfer-Encoding, Connection, Date), which are the protocol's.
 * Names and values of http_add are not copied: literals, or what lives as long as the request.
 */
void http_add(struct http_request *r, struct str name, struct str value);
void http_add_copy(struct http_request *r, struct str name, struct str value); /* copies the value */
void http_addf(struct http_request *r, struct str name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void http_clear_headers(struct http_request *r);
/*
 * Answers. The body is moved: *body is emptied. For HEAD it is left out and its length kept; for 204 and 304 there is none. `close` closes the connection after it.
 */
void http_respond(struct http_request *r, int status, struct buf *body, bool close);
/* The same with a body that stays the caller's and is copied: for small ones. */
void http_respond_copied(struct http_request *r, int status, struct str body, bool close);
/* The answer to HEAD where the length that the body would have is not known. */
void http_respond_head(struct http_request *r, int status, bool close);
/* Streamed, as it is written: what has not been sent yet waits in memory. */
void http_start(struct http_request *r, int status);
void http_write(struct http_request *r, struct str data); /* copied */
void http_finish(struct http_request *r);
/* Bytes of the streamed answer that have not been sent yet. */
size_t http_unsent(const struct http_request *r);
/* With a body of any kind: b is the stream's until its `gone`. length: of all of it, or HTTP_LENGTH_UNKNOWN. */
#define HTTP_LENGTH_UNKNOWN UINT64_MAX
struct body;
void http_answer(struct http_request *r, int status, uint64_t length, struct body *b, bool close);
/* Stop and go on calling `body` (back-pressure: the socket is not read meanwhile). Not from within `body` for a different request. */
void http_body_pause(struct http_request *r);
void http_body_resume(struct http_request *r);
/* 100 (Continue) is sent by the protocol itself when `head` returned without an answer and the peer expects it. */

/* ---- bodies: where the bytes of an answer come from ---- */

/*
 * A body is asked for bytes when there is room for them, and never knows what carries them: a protocol pulls from it, sends, and says how much was taken. All on the
 * loop's thread. Between `pull` and `taken` nothing else is asked of it.
 */
enum pulled {
    PULLED_MORE,  /* there is more behind these bytes */
    PULLED_WAITS, /* not now: body_wake says when */
    PULLED_END,   /* these bytes, perhaps none, are the last */
    PULLED_FAILED /* it breaks off: the stream is aborted */
};

struct pull_notes; /* room for what a body has to remember until `taken`; for watchers */

struct pull {
    size_t room;       /* at most so many bytes */
    struct iovec *iov; /* where their pieces are written, */
    unsigned iov_room; /* at most so many; never less than BODY_PIECES_MIN */
    unsigned count;    /* so many were */
    size_t bytes;
    struct pull_notes *notes;
};
#define BODY_PIECES_MIN 8

struct body_kind {
    /* The pieces stay as they are until `taken`. Those not taken need not come again: other bytes may come instead, but for the rest of what was begun. */
    enum pulled (*pull)(struct body *b, struct pull *p);
    void (*taken)(struct body *b, const struct pull *p, size_t bytes);
    /* The stream is over, one way or the other. Frees what it owns; never called by itself, but always last. */
    void (*gone)(struct body *b);
    /* The rest may be NULL. */
    void (*decide)(struct body *b);        /* body_attach: there is news, or room; it may answer now */
    void (*keepalive)(struct body *b);     /* nothing was sent for long: give a sign of life */
    void (*clock_stepped)(struct body *b); /* the wall clock was set: what ends at a date is armed anew */
    void (*drain)(struct body *b);         /* the loop drains: come to an end before it does */
    /* Of a tunnel (http_tunnel): bytes from the peer. How many were used: all, unless it must first be pulled from. */
    size_t (*input)(struct body *b, const char *data, size_t len);
};

struct body {
    const struct body_kind *kind;
    struct stream *stream; /* NULL before it is given to one */
};

void body_wake(struct body *b);  /* there may be something to pull */
void body_abort(struct body *b); /* ends its stream at once, unsent bytes and all; `gone` is called */

/* ---- feeds: one per loop and watched thing; the frames in order of seq ---- */

/*
 * A feed is filled by the layer above: feed_publish in rising order of seq, feed_synced(pos) once everything up to pos has been published
 * (a feed without changes is synced with no frame). With `log` it also takes FRAME_LOG frames: it keeps at most FEED_LOG_BYTES of them, and a watcher
 * whose cursor lies before the oldest it still has (feed_log_floor) is served through `refill` until it has caught up.
 */
#define WATCH_RETRY_MS 2000 /* what a stream says at its beginning */
#ifdef ENGINE_TINY
#define FEED_LOG_BYTES 1500
#else
#define FEED_LOG_BYTES (256 * 1024)
#endif

/* cursor_prefix: "epoch-feed-", copied. A cursor is what cursor_write makes of it. */
struct feed *feed_create(struct http_loop *loop, bool log, uint64_t log_floor, struct str cursor_prefix, void *user);
void feed_destroy(struct feed *f); /* no watchers left */
void *feed_user(struct feed *f);
unsigned feed_watchers(const struct feed *f);
void feed_publish(struct feed *f, struct frame *frame); /* takes the reference */
void feed_synced(struct feed *f, uint64_t pos);
/* A frame will be published soon: steps_left runs from FEED_EXPECT_STEPS - 1 down to 0. May be left out. */
#define FEED_EXPECT_STEPS 4
void feed_expect(const struct feed *f, unsigned steps_left);

/* ---- watchers ---- */

enum watch_way { WATCH_SSE, WATCH_WEBSOCKET, WATCH_PAGE };

struct watch_start {
    enum watch_way way;
    struct feed_start
        from; /* its until_ms for WATCH_PAGE: answer by then if there is nothing (0: at once, but not before the feed is synced up to live_seq) */
    void *user;
};

/*
 * Turns the request into a watcher: sends the head (SSE: 200, the headers added so far, and the priming retry and id; WebSocket: 101 and those headers, after checking
 * version (426 with Sec-WebSocket-Version otherwise) and subprotocol bowline.v1). A page's headers are asked for when it leaves. false: the request was answered with a refusal instead, nothing is attached, `unwatched` is not called.
 */
bool http_watch(struct http_request *r, struct feed *f, const struct watch_start *start);

/* For a watcher that asked by `refill`; the frames' references are taken over. */
void watcher_refill(struct watcher *w, struct frame **frames, size_t count, uint64_t upto, enum refill_result result);

/* Disconnects the watchers that it speaks of; its id is the cursor that each has reached then. */
void feed_disconnect(struct feed *f, const struct disconnect *d);

/* ---- loops ---- */

struct http_limits {
    size_t max_body, max_header_block, max_uri;
    unsigned max_connections;
    int64_t header_ms, body_ms, idle_ms, keepalive_ms, max_stream_age_ms, stalled_reader_ms;
    unsigned turn_requests; /* after so many a turn ends, also if more sockets can be read. 0: after what the poll has found */
};

/* One loop on the caller's thread, listening on fd (a listening socket of its own with SO_REUSEPORT; taken over). */
struct http_loop *http_loop_create(int listen_fd, const struct http_limits *limits, const struct http_handler *handler) MUST_CHECK;
/* What carries connections that come from now on: transport_plain without this. arg: the kind's, as `state` of new ones. */
void http_loop_carry(struct http_loop *l, const struct transport_kind *kind, void *arg);
/* What such connections speak: HTTP/1.1 without this. */
struct protocol;
void http_loop_speak(struct http_loop *l, const struct protocol *protocol);
void http_loop_clock_stepped(struct http_loop *l); /* the wall clock: what ends at a date is armed anew */
void http_loop_run(struct http_loop *l);           /* until http_loop_drain has finished */
/* The only call that other threads may make: `fn` runs on the loop's thread soon after. Coalesces: one pending call at most. */
void http_loop_wake(struct http_loop *l);
void http_loop_on_wake(struct http_loop *l, void (*fn)(void *arg), void *arg); /* before run */
int64_t http_loop_now(const struct http_loop *l);                              /* ms, read once per turn */
/*
 * Close idle connections, answer what is in flight as the last of its connection, close streams spread over ms (retry first; WebSocket 1001). Who connects meanwhile (a health
 * check, say) gets one answer. Run returns once no connection is left, or 1 s after ms.
 */
void http_loop_drain(struct http_loop *l, int64_t ms);
/* Timers on the loop, for the layer above; their arg is the handler's. */
struct wheel *http_loop_wheel(struct http_loop *l);
void http_loop_destroy(struct http_loop *l);

struct http_counts {
    uint64_t connections, accepted, requests, watchers, bytes_in, bytes_out;
};
void http_loop_counts(const struct http_loop *l, struct http_counts *ret);

/*
 * Opens `count` listening sockets on one address (SO_REUSEPORT; port 0: the first takes a free port, the others the same). 0 with the port, or a negative errno.
 */
int http_listen(const char *addr, int port, unsigned count, int *ret_fds, int *ret_port) MUST_CHECK;

#endif
