/*
 * watch.h: watchers: a cursor into a feed, and what is made of the frames behind it: an event stream, a WebSocket, or a page. A watcher is a body (http.h): it
 * never knows what carries it.
 */
#ifndef BOWLINE_NET_WATCH_H
#define BOWLINE_NET_WATCH_H

#include "base/wheel.h"
#include "net/feed.h"
#include "net/http.h"
#include "net/stream.h"
#include "net/wsframe.h"

#define CONTROL_MAX (16 * 1024) /* answers to a WebSocket peer that wait to be sent before it is no longer read */

struct refill {
    size_t count, at;
    uint64_t from, upto; /* the cursor for which it was asked, and where it leads */
    struct frame *frames[];
};

struct page {
    struct buf events; /* so far, separated by commas */
    unsigned count;
    uint64_t cursor; /* what the answer's cursor will be */
    bool due;        /* its time is up: answer with nothing, too */
};

struct watcher {
    /* what each flush looks at stands together, up to control */
    struct body body;
    TAILQ_ENTRY(watcher) link; /* feed.watchers */
    struct feed *feed;         /* NULL once it has left it */
    uint64_t cursor;
    struct frame *partial; /* of which partial_sent bytes are gone */
    struct refill *refill;
    uint8_t way; /* enum watch_way */
    bool live_sent, refilling, refill_failed, until, finishing, draining, ending;
    struct buf control;     /* small things that go before the next frame */
    struct http_request *r; /* WATCH_PAGE */
    void *user;
    uint64_t live_seq, finish_seq;
    uint64_t gone_from;  /* it began with a snapshot when the feed stood there: no GONE frame up to there says anything to it. 0: it did not */
    uint64_t gone_floor; /* what has gone up to there is forgotten: a cursor before it is of no use without gone_from */
    size_t partial_sent;
    struct frame *last; /* event and data to be sent at its end, or NULL */
    struct timer timer;
    int64_t end_ms; /* of its wait or its greatest age */
    int64_t exp_ms; /* Unix time: its credential's end; 0: none */
    struct page *page;
    struct ws_decoder *ws;
    struct renamed *renamed; /* frames pulled under another cursor, until they are taken */
    uint32_t tag[2];
};

/* ---- what a watcher is given (source.c) ---- */

/* The place behind its cursor up to which a watcher has looked ahead; the cursor itself moves when what was found has gone out. */
struct source {
    struct watcher *w;
    size_t at;
    bool live_due;
};
enum source_state { SOURCE_READY, SOURCE_WAITS, SOURCE_BEHIND, SOURCE_FAILED };
enum source_next {
    NEXT_NOTHING, /* nothing now, or nothing more of a refill: source_refill_done says which */
    NEXT_FRAME,
    NEXT_LIVE,
    NEXT_END, /* it is being disconnected, and has all that was to come before */
};

void source_join(struct watcher *w, struct feed *f, const struct watch_start *start);
void source_leave(struct watcher *w);
/*
 * SOURCE_WAITS: come back when what has been asked for is here, or the feed has got as far as what had gone when the watcher came. SOURCE_BEHIND: the feed no
 * longer knows what lies behind the cursor; source_restart is called for. SOURCE_FAILED: the refill did.
 */
enum source_state source_open(struct source *s, struct watcher *w);
enum source_next source_next(struct source *s, struct frame **ret); /* *ret is set with NEXT_FRAME */
void source_take(struct source *s, enum source_next next);          /* looks on behind it */
void source_passed(struct watcher *w, const struct frame *frame);   /* it has begun to go out: the cursor moves past it */
void source_passed_live(struct watcher *w);
/* The refill is used up: the cursor moves to its end. False if it was no refill. */
bool source_refill_done(struct watcher *w);
void source_refilled(struct watcher *w, struct frame **frames, size_t count, uint64_t upto, enum refill_result result); /* as watcher_refill */
void source_restart(struct watcher *w); /* begins with a snapshot again; the event is the caller's */
/* The same frame under the cursor that such a watcher needs to come back with; one reference. NULL: its own is good, or there is no memory for another. */
struct frame *source_renamed(const struct watcher *w, const struct frame *frame);
/* A cursor with this number: in the snapshot phase, where its own would not do, it says where that began. */
void source_put_cursor(const struct watcher *w, struct buf *out, uint64_t number);
/* It ends with `last` once what the feed has now is through, and is given nothing that comes later. NULL: it ends once it has all, however new. */
void source_finish(struct watcher *w, struct frame *last);

/* ---- their life ---- */

void watcher_arm(struct watcher *w);   /* for its end, or its credential's */
void watcher_leave(struct watcher *w); /* leaves its feed; calls `unwatched` */
void watcher_destroy(struct watcher *w);
void watcher_keepalive(struct watcher *w);
/* Nothing more but what stands in control and the rest of a frame; then the stream ends. */
void watcher_end(struct watcher *w);
/* Ends a stream that may come back: with retry, or a close code. */
void watcher_send_away(struct watcher *w, unsigned code);
/* As struct disconnect says; last: the event to end with, or NULL. */
void watcher_disconnect(struct watcher *w, enum disconnect_how how, struct frame *last);
void watcher_disconnect_now(struct watcher *w); /* what was to come before the end has come */
void watcher_drain(struct watcher *w);          /* sent away at a random time before the loop's own */
static inline struct watcher *watcher_of(struct body *b) {
    return (struct watcher *) (void *) ((char *) b - offsetof(struct watcher, body));
}
/* Event streams and WebSockets as bodies (watch_pull.c). */
enum pulled watcher_pull(struct body *b, struct pull *p);
void watcher_taken(struct body *b, const struct pull *p, size_t bytes);
void watcher_drop_renamed(struct watcher *w);

/* ---- what it says itself ---- */

/* One event of our own, in the encoding of the watcher's way. */
void watcher_put_event(const struct watcher *w, struct buf *out, uint64_t number, struct str event, struct str data);

/* {"id":...,"event":...,"data":...} */
void watcher_put_json(const struct watcher *w, struct buf *out, uint64_t number, struct str event, struct str data);

/* False: refused, answered already. */
bool websocket_check(struct http_request *r);
void websocket_add_headers(struct http_request *r);
/* How much of it was used: all, unless it has ended or must first send. */
size_t websocket_input(struct watcher *w, const char *data, size_t len);
/* The pieces of a frame as a WebSocket message, without the first skip bytes. header must live as long as the pieces. */
unsigned websocket_frame(const struct frame *f, uint8_t header[WS_HEADER_MAX], size_t skip, struct iovec *iov, size_t *ret_len);

void page_open(struct watcher *w, const struct watch_start *start);
void page_close(struct watcher *w);
enum page_is { PAGE_WAITS, PAGE_FAILED, PAGE_READY };
enum page_is page_gather(struct watcher *w);               /* takes what has come; READY: to be answered now */
void page_write(const struct watcher *w, struct buf *out); /* the answer, with what has been gathered */
void page_flush(struct watcher *w);                        /* answers, if it can: then the watcher is no more */
void page_time_up(struct watcher *w);
void page_answer(struct watcher *w); /* with what there is */
void page_disconnect(struct watcher *w, enum disconnect_how how, struct frame *last);

#endif
