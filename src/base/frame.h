/*
 * frame.h: an event as bytes, rendered once, counted and shared between threads. Immutable once made.
 */
#ifndef BOWLINE_BASE_FRAME_H
#define BOWLINE_BASE_FRAME_H

#include "base/str.h"

#include <stdatomic.h>
#include <stdint.h>

enum frame_kind {
    FRAME_STATE, /* the newest state of its key: replaces the older frame of the same key in a feed */
    FRAME_GONE,  /* its key left: replaces likewise; a fresh watcher is not given those that were there when it came */
    FRAME_LOG,   /* one entry of a log: never replaced, kept for a while */
};

struct frame {
    atomic_uint refs;
    enum frame_kind kind;
    uint64_t seq;
    uint8_t key[16];
    uint32_t id_len, event_len, data_len;
    char bytes[]; /* sse text, then the WebSocket prefix */
};

/*
 * id: the text of the cursor; event: its name; data: JSON on one line (RFC 8259 text without CR or LF). NULL when there is no memory. One reference.
 * key may be NULL (all zero).
 */
struct frame *frame_create(enum frame_kind kind, uint64_t seq, const uint8_t key[16], struct str id, struct str event, struct str data) MUST_CHECK;
struct frame *frame_ref(struct frame *f); /* any thread */
void frame_unref(struct frame *f);        /* any thread; accepts NULL */

/* "id: ID\nevent: EVENT\ndata: DATA\n\n" */
struct str frame_sse(const struct frame *f);
/* {"id":"ID","event":"EVENT","data": - to be followed by frame_data and "}". The same object is an event of a JSON page. */
struct str frame_json_prefix(const struct frame *f);
struct str frame_id(const struct frame *f);
struct str frame_event(const struct frame *f);
struct str frame_data(const struct frame *f);

#endif
