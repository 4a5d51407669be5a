/*
 * Watchers. A watcher is a cursor into a feed: when its socket takes bytes, the frames behind the cursor are gathered into one sendmsg and the
 * cursor moves to the last one that went. A socket that is full leaves the cursor where it is; what is held meanwhile is at most the frame
 * that was cut in the middle, and a few bytes of our own that go before the next one (the head, `live`, comments, pongs). Everything that ends
 * a stream puts its last words there, leaves the feed, and lets the socket drain.
 */
#include "base/mem.h"
#include "net/conn.h"

static void watcher_on_timer(struct timer *t, int64_t now_ms, void *arg);

void watcher_refill(struct watcher *w, struct frame **frames, size_t count, uint64_t upto, bool failed) {
    source_refilled(w, frames, count, upto, failed);
    conn_mark(w->conn);
}

/* ---- our own words ---- */

void watcher_put_number(const struct watcher *w, struct buf *out, uint64_t number) {
    buf_str(out, w->feed->cursor_prefix);
    buf_u64(out, number);
}

void watcher_put_cursor(const struct watcher *w, struct buf *out, uint64_t number, uint64_t gone_from) {
    cursor_write(out, w->feed->cursor_prefix, (struct cursor){number, gone_from});
}

void watcher_put_json(const struct watcher *w, struct buf *out, uint64_t number, struct str event, struct str data) {
    struct buf id = {0};
    watcher_put_number(w, &id, number);
    event_write_json(out, buf_view(&id), event, data);
    out->failed |= id.failed;
    buf_fini(&id);
}

void watcher_put_event(const struct watcher *w, struct buf *out, uint64_t number, struct str event, struct str data) {
    if (w->way == WATCH_WEBSOCKET) {
        struct buf json = {0};
        watcher_put_json(w, &json, number, event, data);
        ws_put(out, WS_TEXT, buf_view(&json));
        buf_fini(&json);
        return;
    }
    struct buf id = {0};
    watcher_put_number(w, &id, number);
    event_write_sse(out, buf_view(&id), event, data);
    out->failed |= id.failed;
    buf_fini(&id);
}

void watcher_keepalive(struct watcher *w) {
    if (w->way == WATCH_WEBSOCKET) {
        ws_put(&w->control, WS_PING, STR(""));
    } else {
        event_write_comment(&w->control);
    }
}

/* ---- coming and going ---- */

/* The request has become a stream: it, and what was sent behind it, is no longer an exchange. */
static void take_connection(struct watcher *w, struct exchange *x) {
    struct http_conn *c = w->conn;
    x->reply = REPLY_COMPLETE;
    while (TAILQ_LAST(&c->exchanges, exchange_list) != x) {
        exchange_destroy(TAILQ_LAST(&c->exchanges, exchange_list));
    }
    exchange_destroy(x);
    c->watch = w;
    c->hold = false;
    c->head_ms = 0;
    conn_move(c, CONN_WATCH);
    c->transport.kind->prefer_fresh(&c->transport);
    conn_wait(c);
}

static int64_t age_end(struct http_loop *l) {
    int64_t age = l->limits.max_stream_age_ms;
    return l->now_ms + age - (int64_t) loop_random(l, (uint64_t) age / 10 + 1);
}

void watcher_arm(struct watcher *w) {
    struct http_loop *l = w->conn->loop;
    int64_t left = w->exp_ms - l->wall_ms, exp = l->now_ms + (left > 0 ? left : 1);
    w->until = w->exp_ms && exp < w->end_ms;
    wheel_set(&l->wheel, &w->timer, w->until ? exp : w->end_ms, watcher_on_timer);
}

static struct watcher *watcher_create(struct http_conn *c, struct feed *f, const struct watch_start *start) {
    struct watcher *w = mem_alloc(sizeof(*w));
    w->conn = c;
    source_join(w, f, start);
    w->exp_ms = start->from.exp_ms;
    c->loop->counts.watchers++;
    c->loop->counts.requests++;
    return w;
}

bool http_watch(struct http_request *r, struct feed *f, const struct watch_start *start) {
    struct exchange *x = (struct exchange *) r;
    struct http_conn *c = r->conn;
    if (start->way == WATCH_WEBSOCKET && !websocket_check(r)) {
        return false;
    }
    struct watcher *w = watcher_create(c, f, start);
    if (start->way == WATCH_PAGE) {
        w->x = x;
        x->page = w;
        page_open(w, start);
        w->end_ms = start->from.until_ms;
    } else {
        if (start->way == WATCH_SSE) {
            sse_open(w, x, start);
        } else {
            websocket_open(w, x, start);
        }
        take_connection(w, x);
        w->end_ms = age_end(c->loop);
    }
    watcher_arm(w);
    if (c->loop->draining) {
        watcher_drain(w);
    }
    conn_mark(c);
    return true;
}

void watcher_leave(struct watcher *w) {
    struct feed *f = w->feed;
    if (f) {
        struct http_loop *l = f->loop;
        source_leave(w);
        l->counts.watchers--;
        l->handler.unwatched(l->handler.arg, f, w->user);
    }
}

void watcher_destroy(struct watcher *w) {
    watcher_leave(w);
    wheel_cancel(&w->conn->loop->wheel, &w->timer);
    if (w->x) {
        w->x->page = NULL;
    } else {
        w->conn->watch = NULL;
    }
    page_close(w);
    frame_unref(w->partial);
    frame_unref(w->last);
    buf_fini(&w->control);
    mem_free(w->ws);
    mem_free(w);
}

void watcher_end(struct watcher *w) {
    w->ending = true;
    wheel_cancel(&w->conn->loop->wheel, &w->timer);
    watcher_leave(w);
    conn_mark(w->conn);
}

void watcher_send_away(struct watcher *w, unsigned code) {
    if (w->way == WATCH_WEBSOCKET) {
        ws_put_close(&w->control, code);
    } else {
        event_write_retry(&w->control, 1000 + (unsigned) loop_random(w->conn->loop, 4001));
    }
    watcher_end(w);
}

void watcher_drain(struct watcher *w) {
    struct http_loop *l = w->conn->loop;
    int64_t left = l->drain_until_ms - l->now_ms;
    int64_t at = l->now_ms + (left > 0 ? (int64_t) loop_random(l, (uint64_t) left) : 0);
    if (!w->ending && !w->cutting && (!w->timer.at_ms || at < w->timer.at_ms)) {
        w->draining = true;
        wheel_set(&l->wheel, &w->timer, at, watcher_on_timer);
    }
}

/* ---- cuts ---- */

static void cut_timer(struct watcher *w) {
    struct http_loop *l = w->conn->loop;
    wheel_set(&l->wheel, &w->timer, l->now_ms + CUT_MS, watcher_on_timer);
}

/* The last event, if there is one, and the end. */
static void cut_now(struct watcher *w, const struct frame *last) {
    if (last) {
        watcher_put_event(w, &w->control, w->cursor, frame_event(last), frame_data(last));
    }
    if (w->way == WATCH_WEBSOCKET) {
        ws_put_close(&w->control, 1000);
    }
    watcher_end(w);
}

void watcher_disconnect_now(struct watcher *w) {
    cut_now(w, w->last);
}

void watcher_disconnect(struct watcher *w, enum disconnect_how how, struct frame *last) {
    if (w->x) {
        page_disconnect(w, how, last);
        return;
    }
    switch (how) {
    case DISCONNECT_FINISHED: source_finish(w, last); break;
    case DISCONNECT_AT_ONCE:
        cut_now(w, last);
        cut_timer(w);
        break;
    case DISCONNECT_DEAD:
    case DISCONNECT_AWAY:
        if (w->way == WATCH_WEBSOCKET) {
            ws_put_close(&w->control, how == DISCONNECT_DEAD ? 1008 : 1001);
        } else {
            event_write_retry(&w->control, WATCH_RETRY_MS);
        }
        watcher_end(w);
        cut_timer(w);
        break;
    }
    conn_mark(w->conn);
}

static void watcher_on_timer(struct timer *t, int64_t now_ms, void *arg) {
    struct watcher *w = (struct watcher *) (void *) ((char *) t - offsetof(struct watcher, timer));
    (void) now_ms;
    (void) arg;
    if (w->x) {
        page_time_up(w);
    } else if (w->ending) {
        conn_close(w->conn);
    } else {
        watcher_send_away(w, w->until && !w->draining ? 1008 : 1001);
    }
}
