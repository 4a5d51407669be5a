/*
 * Streams: what is behind a watcher's cursor, gathered into one sendmsg. A send that the socket takes only in part leaves at most one frame cut in the middle;
 * the cursor stands behind that frame, and what comes after it is looked up again when there is room.
 */
#include "net/conn.h"

#include <stdio.h>

#define BATCH_FRAMES 64
#define BATCH_BYTES (256 * 1024)
#define FLUSH_BYTES (1024 * 1024)

struct batch {
    struct iovec iov[4 * (BATCH_FRAMES + 1) + 2];
    unsigned iovs, pieces;
    size_t total, control_len, partial_len;
    struct {
        struct frame *frame; /* NULL: the event `live` */
        size_t len;
    } piece[BATCH_FRAMES + 1];
    uint8_t header[BATCH_FRAMES + 1][WS_HEADER_MAX];
    struct buf live;
    bool drained; /* a cut watcher has got what was still to come */
};

static void batch_add(struct batch *b, const char *p, size_t len) {
    b->iov[b->iovs++] = (struct iovec){(char *) (uintptr_t) p, len};
    b->total += len;
}

/* The pieces of one frame, without its first skip bytes; their length. */
static size_t batch_add_frame(struct batch *b, const struct watcher *w, const struct frame *frame, uint8_t *header, size_t skip) {
    size_t len = 0;
    if (w->way == WATCH_WEBSOCKET) {
        b->iovs += websocket_frame(frame, header, skip, b->iov + b->iovs, &len);
        b->total += len;
    } else {
        struct str text = str_from(frame_sse(frame), skip);
        len = text.len;
        batch_add(b, text.p, len);
    }
    return len;
}

static void batch_add_live(struct batch *b, const struct watcher *w) {
    char data[40];
    int n = snprintf(data, sizeof(data), "{\"seq\":%llu}", (unsigned long long) w->live_seq);
    watcher_put_event(w, &b->live, w->live_seq, STR("live"), str_n(data, (size_t) n));
    b->piece[b->pieces].frame = NULL;
    b->piece[b->pieces++].len = b->live.len;
    batch_add(b, b->live.data, b->live.len);
}

/* What comes behind the cursor, as much as goes in one send. */
static void batch_add_all(struct batch *b, const struct watcher *w, struct source *s) {
    while (b->pieces < BATCH_FRAMES && b->total < BATCH_BYTES) {
        struct frame *frame;
        enum source_next next = source_next(s, &frame);
        if (next == NEXT_NOTHING || next == NEXT_END) {
            b->drained = next == NEXT_END;
            return;
        }
        if (next == NEXT_LIVE) {
            batch_add_live(b, w);
        } else {
            b->piece[b->pieces].frame = frame;
            b->piece[b->pieces].len = batch_add_frame(b, w, frame, b->header[b->pieces], 0);
            b->pieces++;
        }
        source_take(s, next);
    }
}

/* The feed has forgotten what lies behind the cursor: the watcher is told, and begins anew. */
static void start_over(struct watcher *w) {
    watcher_put_event(w, &w->control, 0, STR("reset"), STR("{}"));
    source_restart(w);
}

/* True when the sources have to be looked at again. */
static bool batch_gather_frames(struct batch *b, struct watcher *w) {
    struct source s;
    switch (source_open(&s, w)) {
    case SOURCE_WAITS: return false;
    case SOURCE_FAILED: watcher_send_away(w, 1001); return true;
    case SOURCE_BEHIND: start_over(w); return true;
    case SOURCE_READY: break;
    }
    batch_add_all(b, w, &s);
    return !b->pieces && !b->drained && source_refill_done(w);
}

static void batch_gather(struct batch *b, struct watcher *w) {
    bool again;
    do {
        b->iovs = b->pieces = 0;
        b->total = 0;
        b->drained = false;
        b->partial_len = w->partial ? batch_add_frame(b, w, w->partial, b->header[BATCH_FRAMES], w->partial_sent) : 0;
        b->control_len = w->control.len;
        if (w->control.len) {
            batch_add(b, w->control.data, w->control.len);
        }
        again = !w->ending && batch_gather_frames(b, w);
    } while (again);
}

static void live_gone_out(struct watcher *w, const struct buf *live, size_t sent) {
    source_passed_live(w);
    buf_str(&w->control, str_from(buf_view(live), sent));
}

static void batch_sent(struct watcher *w, const struct batch *b, size_t n) {
    if (b->partial_len) {
        if (n < b->partial_len) {
            w->partial_sent += n;
            return;
        }
        n -= b->partial_len;
        frame_unref(w->partial);
        w->partial = NULL;
    }
    size_t control = n < b->control_len ? n : b->control_len;
    buf_drop_front(&w->control, control);
    n -= control;
    if (!w->control.len) {
        buf_fini(&w->control);
    }
    for (unsigned i = 0; i < b->pieces && n; i++) {
        size_t take = n < b->piece[i].len ? n : b->piece[i].len;
        struct frame *frame = b->piece[i].frame;
        n -= take;
        if (!frame) {
            live_gone_out(w, &b->live, take);
            continue;
        }
        if (take < b->piece[i].len) {
            w->partial = frame_ref(frame);
            w->partial_sent = take;
        }
        source_passed(w, frame);
    }
}

/* One sendmsg. False when nothing is left to be sent, or it cannot be now. */
static bool watcher_send(struct watcher *w, struct batch *b, size_t *total) {
    struct http_conn *c = w->conn;
    b->live = (struct buf){0};
    batch_gather(b, w);
    if (b->total) {
        ssize_t n = w->control.failed || b->live.failed ? -1 : conn_send(c, b->iov, b->iovs, b->total);
        if (n < 0) {
            buf_fini(&b->live);
            conn_close(c);
            return false;
        }
        batch_sent(w, b, (size_t) n);
        *total += (size_t) n;
    }
    buf_fini(&b->live);
    if (b->drained && !c->blocked) {
        watcher_disconnect_now(w);
        return true;
    }
    return b->total && !c->blocked;
}

void watcher_flush(struct watcher *w) {
    struct http_conn *c = w->conn;
    struct batch b;
    size_t total = 0;
    while (watcher_send(w, &b, &total)) {
        if (total > FLUSH_BYTES) {
            c->blocked = true; /* others first; the poll comes back to it at once */
            return;
        }
    }
    if (c->state != CONN_WATCH || c->blocked) {
        return;
    }
    if (w->ending) {
        watcher_destroy(w);
        conn_move(c, CONN_LINGER);
    } else if (c->in.len) {
        conn_wait(c);
        c->loop->more = true;
    }
}
