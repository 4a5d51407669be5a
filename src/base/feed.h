/*
 * feed.h: the words in which engine, api and net speak of feeds: where a reader begins, what a cursor says, why watchers are disconnected, and an event
 * as text. Plain data; whoever holds it owns it.
 */
#ifndef BOWLINE_BASE_FEED_H
#define BOWLINE_BASE_FEED_H

#include "base/buf.h"

#include <stdint.h>

/* What the text of a cursor says behind its prefix ("epoch-feed-"), which names the history and the feed. */
struct cursor {
    uint64_t number;    /* everything up to there was read */
    uint64_t gone_from; /* the reader is in its snapshot phase, which began there: what was gone by then is not missed; else 0 */
};

/* prefix + number, and in the snapshot phase "." and where that began. */
void cursor_write(struct buf *out, struct str prefix, struct cursor c);
/* Reads what stands behind the prefix. False: it is no cursor; *ret stays as it was. */
bool cursor_read(struct str text, struct cursor *ret) MUST_CHECK;

/* Where a watcher begins, and when it is to end. */
struct feed_start {
    bool fresh;          /* everything, without those gone before */
    bool reset;          /* first an event `reset`, then as fresh */
    uint64_t cursor;     /* resumed: only what has a greater seq */
    uint64_t gone_from;  /* resumed in the snapshot phase: where that began. 0: not so */
    uint64_t gone_floor; /* pages: what has gone up to there is forgotten, so that a cursor before it says where the snapshot phase began */
    uint64_t live_seq;   /* what was there when it came: after everything up to it the event `live` is sent (streams) */
    int64_t until_ms;    /* of a page: when it has waited for long enough; 0: at once */
    int64_t exp_ms;      /* Unix time at which its credential ends; 0: it does not */
    uint32_t tag[2];     /* who it is, as struct disconnect asks */
};

/* What comes of asking for what lies behind a watcher's cursor and is no longer in its loop's feed. */
enum refill_result {
    REFILL_FAILED,    /* it is to come back with its cursor */
    REFILL_GOOD,      /* frames in order of seq, after which its cursor stands at `upto` */
    REFILL_LOST,      /* that is nowhere any more, and nothing will be published: what the feed has is all there is */
    REFILL_FORGOTTEN, /* what has left the feed up to `upto` is forgotten: it begins anew */
};

enum disconnect_how {
    /* The feed has come to its end for them: what it has up to now, however long they take over it, then the event and the end (WebSocket 1000). Without an event: all
     * that it has when they are through. With one also for those who were disconnected without. */
    DISCONNECT_FINISHED,
    DISCONNECT_AT_ONCE, /* nothing more but the event, then the end (WebSocket 1000; a page: 401 problem); the peer has 100 ms to take it, as with the next two */
    DISCONNECT_DEAD, /* nothing more (Server-Sent Events: retry; WebSocket 1008; a page: 401 problem) */
    DISCONNECT_AWAY, /* nothing more: it is to come back with its cursor (Server-Sent Events: retry; WebSocket 1001; a page: 503 problem) */
};

/* Which watchers of a feed are to leave: those with (tag[0] & mask) != 0 and tag[1] < below. One piece of memory, freed with mem_free. */
struct disconnect {
    uint32_t mask, below;
    enum disconnect_how how;
    const char *event; /* literal; NULL: no last event, as always with DISCONNECT_DEAD and DISCONNECT_AWAY */
    struct str data;   /* of the event: a JSON object on one line */
};
struct disconnect *disconnect_create(uint32_t mask, uint32_t below, enum disconnect_how how, const char *event, struct str data); /* copies data */

/* ---- an event as text; data is JSON on one line ---- */

/* Without id its line is left out. "id: ID\nevent: EVENT\ndata: DATA\n\n" (HTML living standard, section 9.2) */
void event_write_sse(struct buf *out, struct str id, struct str event, struct str data);
/* {"id":"ID","event":"EVENT","data":DATA} */
void event_write_json(struct buf *out, struct str id, struct str event, struct str data);
/* Opens a stream: "retry: MS\nid: ID\n\n"; without id the line is left out. */
void event_write_open(struct buf *out, unsigned retry_ms, struct str id);
/* A comment, which is a sign of life; and a new time to come back after. */
void event_write_comment(struct buf *out);
void event_write_retry(struct buf *out, unsigned retry_ms);

#endif
