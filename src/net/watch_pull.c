/*
 * Event streams and WebSockets as bodies: what is behind a watcher's cursor, as the pieces of one write. Of those that are taken only in part at most one frame is cut
 * in the middle; the cursor stands behind that frame, and what comes after it is looked up again when there is room.
 */
#include "net/watch.h"

#include "base/mem.h"

#include <stdio.h>

#define BATCH_BYTES (256 * 1024)

struct renamed {
    unsigned count;
    struct frame *frames[PULL_FRAMES];
};

void watcher_drop_renamed(struct watcher *w) {
    for (unsigned i = 0; w->renamed && i < w->renamed->count; i++) {
        frame_unref(w->renamed->frames[i]);
    }
    mem_free(w->renamed);
    w->renamed = NULL;
}

/* What is sent in a frame's place: NULL, itself. It is the watcher's. */
static struct frame *rename_frame(struct watcher *w, const struct frame *frame) {
    struct frame *f = source_renamed(w, frame);
    if (f) {
        w->renamed = w->renamed ? w->renamed : mem_alloc(sizeof(*w->renamed));
        w->renamed->frames[w->renamed->count++] = f;
    }
    return f;
}

static void add(struct pull *p, const char *at, size_t len) {
    p->iov[p->count++] = (struct iovec){(char *) (uintptr_t) at, len};
    p->bytes += len;
}

/* The pieces of one frame, without its first skip bytes; their length. */
static size_t add_frame(struct pull *p, const struct watcher *w, const struct frame *frame, uint8_t *header, size_t skip) {
    size_t len = 0;
    if (w->way == WATCH_WEBSOCKET) {
        p->count += websocket_frame(frame, header, skip, p->iov + p->count, &len);
        p->bytes += len;
    } else {
        struct str text = str_from(frame_sse(frame), skip);
        len = text.len;
        add(p, text.p, len);
    }
    return len;
}

static void add_live(struct pull *p, const struct watcher *w) {
    struct pull_notes *n = p->notes;
    char data[40];
    int len = snprintf(data, sizeof(data), "{\"seq\":%llu}", (unsigned long long) w->live_seq);
    watcher_put_event(w, &n->live, w->live_seq, STR("live"), str_n(data, (size_t) len));
    n->piece[n->pieces].frame = n->piece[n->pieces].renamed = NULL;
    n->piece[n->pieces++].len = n->live.len;
    add(p, n->live.data, n->live.len);
}

static bool has_room(const struct pull *p) {
    return p->notes->pieces < PULL_FRAMES && p->bytes < BATCH_BYTES && p->bytes < p->room && p->count + 4 <= p->iov_room;
}

/* What comes behind the cursor, as much as goes in one write; what stopped it. NEXT_FRAME: there was no more room. */
static enum source_next add_all(struct pull *p, struct watcher *w, struct source *s) {
    struct pull_notes *n = p->notes;
    while (has_room(p)) {
        struct frame *frame;
        enum source_next next = source_next(s, &frame);
        if (next == NEXT_NOTHING || next == NEXT_END) {
            return next;
        }
        if (next == NEXT_LIVE) {
            add_live(p, w);
        } else {
            struct frame *renamed = rename_frame(w, frame);
            n->piece[n->pieces].frame = frame;
            n->piece[n->pieces].renamed = renamed;
            n->piece[n->pieces].len = add_frame(p, w, renamed ? renamed : frame, n->header[n->pieces], 0);
            n->pieces++;
        }
        source_take(s, next);
    }
    return NEXT_FRAME;
}

/* The feed has forgotten what lies behind the cursor: the watcher is told, and begins anew. */
static void start_over(struct watcher *w) {
    watcher_put_event(w, &w->control, 0, STR("reset"), STR("{}"));
    source_restart(w);
}

/* True when the sources have to be looked at again. */
static bool add_frames(struct pull *p, struct watcher *w, enum pulled *ret) {
    struct source s;
    *ret = PULLED_WAITS;
    switch (source_open(&s, w)) {
    case SOURCE_WAITS: return false;
    case SOURCE_FAILED: watcher_send_away(w, 1001); return true;
    case SOURCE_BEHIND: start_over(w); return true;
    case SOURCE_READY: break;
    }
    enum source_next stopped = add_all(p, w, &s);
    if (p->notes->pieces || stopped == NEXT_FRAME) {
        *ret = stopped == NEXT_NOTHING && !w->refill ? PULLED_WAITS : PULLED_MORE;
        return false;
    }
    if (stopped == NEXT_END) {
        watcher_disconnect_now(w);
        return true;
    }
    return source_refill_done(w);
}

/* False: there was more than there is room. */
static bool trim(struct pull *p) {
    if (p->bytes <= p->room) {
        return true;
    }
    size_t over = p->bytes - p->room;
    while (p->count && p->iov[p->count - 1].iov_len <= over) {
        over -= p->iov[--p->count].iov_len;
    }
    if (over) {
        p->iov[p->count - 1].iov_len -= over;
    }
    p->bytes = p->room;
    return false;
}

enum pulled watcher_pull(struct body *b, struct pull *p) {
    struct watcher *w = watcher_of(b);
    struct pull_notes *n = p->notes;
    enum pulled pulled;
    bool again;
    n->live = (struct buf){0};
    do {
        watcher_drop_renamed(w);
        p->count = n->pieces = 0;
        p->bytes = 0;
        n->partial_len = w->partial ? add_frame(p, w, w->partial, n->header[PULL_FRAMES], w->partial_sent) : 0;
        n->control_len = w->control.len;
        if (w->control.len) {
            add(p, w->control.data, w->control.len);
        }
        pulled = PULLED_END;
        again = !w->ending && add_frames(p, w, &pulled);
    } while (again);
    if (w->control.failed || n->live.failed) {
        return PULLED_FAILED;
    }
    return trim(p) ? pulled : PULLED_MORE;
}

static void live_taken(struct watcher *w, const struct buf *live, size_t bytes) {
    source_passed_live(w);
    buf_str(&w->control, str_from(buf_view(live), bytes));
}

/* The rest of a frame that was cut in the middle. False: it still is. */
static bool partial_taken(struct watcher *w, size_t len, size_t *bytes) {
    if (*bytes < len) {
        w->partial_sent += *bytes;
        return false;
    }
    *bytes -= len;
    frame_unref(w->partial);
    w->partial = NULL;
    return true;
}

static void control_taken(struct watcher *w, size_t len, size_t *bytes) {
    size_t control = *bytes < len ? *bytes : len;
    buf_drop_front(&w->control, control);
    *bytes -= control;
    if (!w->control.len) {
        buf_fini(&w->control);
    }
}

static void frames_taken(struct watcher *w, const struct pull_notes *n, size_t bytes) {
    for (unsigned i = 0; i < n->pieces && bytes; i++) {
        size_t take = bytes < n->piece[i].len ? bytes : n->piece[i].len;
        struct frame *frame = n->piece[i].frame;
        bytes -= take;
        if (!frame) {
            live_taken(w, &n->live, take);
            continue;
        }
        if (take < n->piece[i].len) {
            w->partial = frame_ref(n->piece[i].renamed ? n->piece[i].renamed : frame);
            w->partial_sent = take;
        }
        source_passed(w, frame);
    }
}

void watcher_taken(struct body *b, const struct pull *p, size_t bytes) {
    struct watcher *w = watcher_of(b);
    struct pull_notes *n = p->notes;
    if (!n->partial_len || partial_taken(w, n->partial_len, &bytes)) {
        control_taken(w, n->control_len, &bytes);
        frames_taken(w, n, bytes);
    }
    buf_fini(&n->live);
    watcher_drop_renamed(w);
}
