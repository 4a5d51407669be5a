/*
 * conn.h: what the files of net/ know of each other: a loop owns connections, a connection owns its exchanges (a request and its answer) or the watcher it
 * has become, a feed knows its watchers. All of it belongs to the loop's thread.
 *
 * A turn of the loop: sockets are read (requests are handed up, nothing is written), timers fire, input that had to wait goes on, the handler's `turn`;
 * then every marked connection is flushed once, and those of the watchers of feeds with something new. Sockets are only closed and exchanges only freed
 * while reading, by a timer or while flushing, so that no call of the handler pulls the ground from under its caller.
 */
#ifndef BOWLINE_NET_CONN_H
#define BOWLINE_NET_CONN_H

#include "base/wheel.h"
#include "net/http.h"
#include "net/http1.h"
#include "net/transport.h"
#include "net/wsframe.h"

#include <sys/queue.h>
#include <sys/uio.h>
#include <uv.h>

#define READ_BYTES (64 * 1024)
#define LINGER_MS 1000         /* how long what a peer still sends is read and thrown away after the last answer */
#define CUT_MS 100             /* how long a watcher that is cut at once may take to be flushed */
#define SMALL_REST (64 * 1024) /* of a body nobody wants any more: read to keep the connection */
#define FIELDS_FIRST 16
#define HEAD_ROOM 512           /* that the head of a stream needs at most, nearly always: it does not grow in steps */
#define CONTROL_MAX (16 * 1024) /* answers to a WebSocket peer that wait to be sent before it is no longer read */

/* ---- exchanges ---- */

enum reply { REPLY_NONE, REPLY_STREAMING, REPLY_COMPLETE };

struct exchange {
    struct http_request r; /* first: a request is its exchange */
    TAILQ_ENTRY(exchange) link;
    struct watcher *page; /* answers it, or NULL */
    uint8_t reply;        /* enum reply */
    uint8_t pre_len;
    bool told; /* the handler knows of it */
    bool http10, keep_alive, close, chunked, expects_continue, invited, stream_body, paused;
    struct buf gathered; /* a body of which not all is here */
    char *whole;         /* or: in the arena, big enough for all of it */
    uint64_t whole_len, arrived;
    /* pre, headers and body go out in this order; sent of them are gone */
    char pre[228];
    struct buf headers, body;
    size_t sent;
    struct buf kept;                         /* empty: memory for header lines, from an exchange before */
    struct http_header fields[FIELDS_FIRST]; /* of the answer, while they are enough; not zeroed */
};
TAILQ_HEAD(exchange_list, exchange);

struct exchange *exchange_create(struct http_conn *c); /* at the tail of the connection's */
void exchange_destroy(struct exchange *x);             /* calls `gone` if it is still unanswered */
void exchanges_fini(struct http_loop *l);              /* frees those that wait to be used again */
/* Tells the handler that the request is over without its answer. At most once, and nothing if it was answered. */
void exchange_gone(struct exchange *x);
size_t exchange_pending(const struct exchange *x);
unsigned exchange_gather(const struct exchange *x, struct iovec *iov);
/* "100 Continue", if nothing of the answer stands there yet. */
void exchange_interim(struct exchange *x);
/* Answers with a problem made by the handler; extra: one header more, or NULL. */
void exchange_problem(struct exchange *x, enum err err, const char *detail, const struct http_header *extra, bool close);
/* The head of a stream, with its headers: until_close or 101. */
void exchange_write_head(struct exchange *x, int status, struct buf *out);

/* ---- connections ---- */

enum conn_state {
    CONN_HTTP,   /* requests come in, answers go out */
    CONN_LAST,   /* no more requests are taken; what has been taken is answered */
    CONN_WATCH,  /* a stream of events or a WebSocket */
    CONN_LINGER, /* all is said; what the peer still sends is thrown away */
    CONN_CLOSED
};

struct http_conn {
    uv_poll_t poll;
    /* what each flush of a stream looks at stands together, up to the timer */
    struct transport transport;
    uint8_t state; /* enum conn_state */
    uint8_t armed; /* uv poll events */
    bool blocked, eof, dirty, waiting, hold, newcomer;
    struct http_loop *loop;
    struct exchange_list exchanges;
    struct watcher *watch;
    unsigned exchange_count;
    int unread;     /* bytes that the socket has taken and the peer has not, when last looked at */
    int64_t out_ms; /* last byte out */
    struct buf in;  /* input that had to wait, or an incomplete head */
    struct timer timer;
    LIST_ENTRY(http_conn) link;
    TAILQ_ENTRY(http_conn) dirty_link, waiting_link;
    struct http1 parser;
    struct exchange *input; /* whose body is arriving; NULL: nobody wants it */
    int64_t in_ms, head_ms; /* last byte in, first byte of the present head (0: none) */
    int64_t unread_ms;      /* since when unread has been what it is, in a silent stream */
    struct in6_addr peer;
};
LIST_HEAD(conn_list, http_conn);
TAILQ_HEAD(conn_queue, http_conn);

void conn_create(struct http_loop *l, int fd, const struct in6_addr *peer);
/* Frees all it has, telling the handler; the memory itself goes at the end of the turn. */
void conn_close(struct http_conn *c);
/* The one place where a connection changes its state. */
void conn_move(struct http_conn *c, enum conn_state to);
void conn_mark(struct http_conn *c); /* to be flushed in this turn */
/* Its waiting input is to be looked at again: in this turn, or in the next if the handler's `turn` asks for it. Until then it neither reads nor is too late. */
void conn_wait(struct http_conn *c);
void conn_resume(struct http_conn *c);
void conn_flush(struct http_conn *c);
void conn_read(struct http_conn *c);
void conn_drain(struct http_conn *c);
bool conn_wants_input(const struct http_conn *c);
/* The transport goes on with what it holds. False: there is no room yet for more, or the connection is closed. */
bool conn_write_on(struct http_conn *c);
/* One write. Bytes taken, 0 with `blocked` set if there is no room; -1: the connection is dead. A short write sets `blocked` too. */
ssize_t conn_send(struct http_conn *c, struct iovec *iov, unsigned count, size_t total);
bool conn_is_idle(const struct http_conn *c);
bool conn_paused(const struct http_conn *c);    /* the handler has asked for a pause of the body */
bool conn_may_parse(const struct http_conn *c); /* the next thing, not before what it would have to wait for */
/* Refuses what is arriving, and everything behind it. */
void conn_refuse(struct http_conn *c, enum err err, const char *detail);
/* Behind every piece of work: ends what is over, asks the poll for what is wanted now, sets the timer. */
void conn_settle(struct http_conn *c);

/* ---- feeds ---- */

#ifdef ENGINE_TINY /* the simulation: every edge is near */
#define FEED_GONE_MAX 6
#define FEED_OVER_MAX 2
#define PAGE_EVENTS 4
#else
#define FEED_GONE_MAX 8192
#define FEED_OVER_MAX 1024
#define PAGE_EVENTS 1000
#endif

struct feed_entry {
    uint64_t seq : 63;
    uint64_t over : 1;   /* the last state of what is gone since; kept until those who keep up have it */
    struct frame *frame; /* NULL: replaced or dropped */
};

TAILQ_HEAD(watcher_list, watcher); /* in the order they came */

struct feed {
    struct http_loop *loop;
    void *user;
    struct str cursor_prefix;
    bool log, dirty, doomed;
    unsigned busy; /* somebody walks over the watchers */
    TAILQ_ENTRY(feed) dirty_link;
    struct watcher_list watchers;
    unsigned watcher_count;
    uint64_t last_seq, synced;
    uint64_t flushed_seq;       /* last_seq when it was last flushed */
    uint64_t log_floor;         /* seq of the last log frame dropped */
    uint64_t gone_floor;        /* seq of the last GONE frame dropped */
    struct feed_entry *entries; /* in order of seq */
    size_t count, cap, dead;
    uint32_t *slots; /* open addressing: index of the newest frame of a key, plus one */
    size_t slot_count, keyed, gone_count;
    size_t over_count;        /* of them, at most FEED_OVER_MAX */
    uint64_t over_seq;        /* and none before that */
    size_t log_at, log_bytes; /* no log frame stands before entries[log_at] */
};
TAILQ_HEAD(feed_list, feed);

/* What came up to there has been published, or was replaced. */
static inline uint64_t feed_upto(const struct feed *f) {
    return f->last_seq > f->synced ? f->last_seq : f->synced;
}
/* Index of the first entry with a greater seq; feed->count if there is none. Constant at the tail, logarithmic elsewhere. */
size_t feed_after(const struct feed *f, uint64_t seq);
void feed_mark(struct feed *f);
void feed_flushed(struct feed *f); /* the turn is over in which it was marked */
void feed_flush(struct feed *f);   /* flushes the connections of its watchers, or marks them */
void feed_hold(struct feed *f);    /* not freed until feed_release */
void feed_release(struct feed *f);

/* ---- watchers ---- */

struct refill {
    size_t count, at;
    uint64_t from, upto; /* the cursor for which it was asked, and where it leads */
    struct frame *frames[];
};

struct page {
    struct buf events; /* so far, separated by commas */
    unsigned count;
    uint64_t cursor;     /* what the answer's cursor will be */
    uint64_t gone_floor; /* a cursor before it would be of no use by itself */
    bool due;            /* its time is up: answer with nothing, too */
};

struct watcher {
    /* what each flush looks at stands together, up to control */
    TAILQ_ENTRY(watcher) link;
    struct feed *feed; /* NULL once it has left it */
    struct http_conn *conn;
    uint64_t cursor;
    struct frame *partial; /* of which partial_sent bytes are gone */
    struct refill *refill;
    uint8_t way; /* enum watch_way */
    bool live_sent, refilling, refill_failed, until, cutting, draining, ending;
    struct buf control; /* small things that go before the next frame */
    struct exchange *x; /* WATCH_PAGE */
    void *user;
    uint64_t live_seq, cut_seq;
    uint64_t gone_from; /* it began from the front when the feed stood there: no GONE frame up to there says anything to it. 0: it did not */
    size_t partial_sent;
    struct frame *last; /* event and data to be sent when a cut has drained, or NULL */
    struct timer timer;
    int64_t end_ms; /* of its wait or its greatest age */
    int64_t exp_ms; /* Unix time: its credential's end; 0: none */
    struct page *page;
    struct ws_decoder *ws;
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
    NEXT_END, /* it has been cut, and has all that was to come before */
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
void source_refilled(struct watcher *w, struct frame **frames, size_t count, uint64_t upto, bool failed); /* as watcher_refill */
void source_restart(struct watcher *w); /* from the front: fresh again; the event is the caller's */
/* It ends with `last` once what the feed has now is through, and is given nothing that comes later. NULL: it ends once it has all, however new. */
void source_finish(struct watcher *w, struct frame *last);

/* ---- their life ---- */

void watcher_arm(struct watcher *w);   /* for its end, or its credential's */
void watcher_leave(struct watcher *w); /* leaves its feed; calls `unwatched` */
void watcher_destroy(struct watcher *w);
void watcher_flush(struct watcher *w); /* streams */
void watcher_keepalive(struct watcher *w);
/* Nothing more but what stands in control and the rest of a frame; then the connection ends. */
void watcher_end(struct watcher *w);
/* Ends a stream that may come back: with retry, or a close code. */
void watcher_send_away(struct watcher *w, unsigned code);
/* Drains with the loop: sent away at a random time before the loop's own. */
/* As feed_disconnect says; last: the event to end with, or NULL. */
void watcher_disconnect(struct watcher *w, enum disconnect_how how, struct frame *last);
void watcher_disconnect_now(struct watcher *w); /* what was to come before the end has come */
void watcher_drain(struct watcher *w);
void watcher_put_number(const struct watcher *w, struct buf *out, uint64_t number); /* a cursor */
/* The same on the way from the front, which began at gone_from; 0: it is not on that way. */
void watcher_put_cursor(const struct watcher *w, struct buf *out, uint64_t number, uint64_t gone_from);
/* One event of our own, dressed for the watcher's way. */
void watcher_put_event(const struct watcher *w, struct buf *out, uint64_t number, struct str event, struct str data);

/* {"id":...,"event":...,"data":...} */
void watcher_put_json(const struct watcher *w, struct buf *out, uint64_t number, struct str event, struct str data);

void sse_open(struct watcher *w, struct exchange *x, const struct watch_start *start);

/* False: refused, answered already. */
bool websocket_check(struct http_request *r);
void websocket_open(struct watcher *w, struct exchange *x, const struct watch_start *start);
/* How much of it was used: all, unless the connection has ended or must first send. */
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

/* ---- the loop ---- */

struct http_loop {
    uv_loop_t uv;
    uv_poll_t listener;
    uv_async_t async;
    uv_check_t check;
    uv_prepare_t prepare;
    uv_timer_t alarm;
    int listen_fd; /* -1 once closed */
    bool now_fresh, listening, draining, more;
    const struct transport_kind *transport; /* of new connections */
    void *transport_arg;
    struct http_limits limits;
    struct http1_limits parser_limits;
    struct http_handler handler;
    void (*on_wake)(void *arg);
    void *on_wake_arg;
    int64_t wall_ms;                                /* Unix time, as now_ms of this turn */
    int64_t now_ms, drain_until_ms, accept_said_ms; /* accept_said_ms: when it was last said that none can be accepted; 0 never */
    uint64_t alarm_at, random;
    struct wheel wheel;
    struct timer accept_timer, drain_timer;
    struct conn_list conns;
    struct conn_queue dirty, waiting;
    struct feed_list dirty_feeds;
    struct exchange_list spare;
    unsigned spare_count;
    unsigned turn_requests; /* that came through the poll since the last turn */
    struct http_counts counts;
    int64_t date_s;
    char date[40]; /* "Date: ...\r\n" */
    char read_bytes[READ_BYTES];
};

void loop_refresh(struct http_loop *l); /* reads the clock, once per turn */
void loop_turn(struct http_loop *l);    /* ends the turn, for all but what has not been read yet */
uint64_t loop_random(struct http_loop *l, uint64_t below);
const char *loop_date(struct http_loop *l);
void loop_conn_gone(struct http_loop *l); /* one connection less: perhaps more can be accepted */

#endif
