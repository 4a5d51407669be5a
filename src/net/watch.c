/*
 * Watchers. A watcher is a cursor into a feed: when there is room, the frames behind the cursor are gathered into one write, and the cursor moves to the last one that
 * went. Where there is none the cursor stays where it is; what is held meanwhile is at most the frame that was cut in the middle, and a few bytes of our own that go
 * before the next one (the opening, `live`, comments, pongs). Everything that ends a stream puts its last words there and leaves the feed.
 */
#include "net/watch.h"

#include "base/mem.h"
#include "net/loop.h"

#define DISCONNECT_MS 100 /* how long a watcher that is disconnected at once may take to be sent its last words */

static void watcher_on_timer(struct timer *t, int64_t now_ms, void *arg);

void watcher_refill(struct watcher *w, struct frame **frames, size_t count, uint64_t upto, enum refill_result result) {
    source_refilled(w, frames, count, upto, result);
    body_wake(&w->body);
}

/* ---- our own words ---- */

void watcher_put_json(const struct watcher *w, struct buf *out, uint64_t number, struct str event, struct str data) {
    struct buf id = {0};
    source_put_cursor(w, &id, number);
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
    source_put_cursor(w, &id, number);
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

static struct http_loop *loop_of(const struct watcher *w) {
    return w->feed ? w->feed->loop : stream_loop(w->body.stream);
}

static void body_is_gone(struct body *b) {
    watcher_destroy(watcher_of(b));
}

static void body_keepalive(struct body *b) {
    watcher_keepalive(watcher_of(b));
}

static void body_drain(struct body *b) {
    watcher_drain(watcher_of(b));
}

static void body_clock_stepped(struct body *b) {
    struct watcher *w = watcher_of(b);
    if (w->exp_ms && !w->ending && !w->draining) {
        watcher_arm(w);
    }
}

static void body_decide(struct body *b) {
    page_flush(watcher_of(b));
}

static size_t body_input(struct body *b, const char *data, size_t len) {
    return websocket_input(watcher_of(b), data, len);
}

#define STREAM_KIND                                                                                                       \
    .pull = watcher_pull, .taken = watcher_taken, .gone = body_is_gone, .keepalive = body_keepalive, .drain = body_drain, \
    .clock_stepped = body_clock_stepped

static const struct body_kind kinds[] = {
    [WATCH_SSE] = {STREAM_KIND},
    [WATCH_WEBSOCKET] = {STREAM_KIND, .input = body_input},
    [WATCH_PAGE] = {.gone = body_is_gone, .decide = body_decide, .drain = body_drain, .clock_stepped = body_clock_stepped},
};

static int64_t age_end(struct http_loop *l) {
    int64_t age = l->limits.max_stream_age_ms;
    return l->now_ms + age - (int64_t) loop_random(l, (uint64_t) age / 10 + 1);
}

void watcher_arm(struct watcher *w) {
    struct http_loop *l = w->feed->loop;
    int64_t left = w->exp_ms - l->wall_ms, exp = l->now_ms + (left > 0 ? left : 1);
    w->until = w->exp_ms && exp < w->end_ms;
    wheel_set(&l->wheel, &w->timer, w->until ? exp : w->end_ms, watcher_on_timer);
}

static struct watcher *watcher_create(struct feed *f, const struct watch_start *start) {
    struct watcher *w = mem_alloc(sizeof(*w));
    w->body.kind = &kinds[start->way];
    source_join(w, f, start);
    w->exp_ms = start->from.exp_ms;
    f->loop->counts.watchers++;
    return w;
}

/* The first words of a stream: where it begins. */
static void put_opening(struct watcher *w, const struct watch_start *start) {
    if (w->way == WATCH_SSE) {
        struct buf id = {0};
        cursor_write(&id, w->feed->cursor_prefix, (struct cursor){w->cursor, start->from.gone_from}); /* as it was given */
        event_write_open(&w->control, WATCH_RETRY_MS, buf_view(&id));
        w->control.failed |= id.failed;
        buf_fini(&id);
    }
    if (start->from.reset) {
        watcher_put_event(w, &w->control, 0, STR("reset"), STR("{}"));
    }
}

static void open_stream(struct http_request *r, struct watcher *w, const struct watch_start *start) {
    struct http_loop *l = w->feed->loop;
    put_opening(w, start);
    w->end_ms = age_end(l);
    watcher_arm(w);
    if (l->draining) {
        watcher_drain(w);
    }
    if (w->way == WATCH_WEBSOCKET) {
        http_tunnel(r, &w->body);
    } else {
        http_answer(r, 200, HTTP_LENGTH_UNKNOWN, &w->body, true);
    }
}

static void open_page(struct http_request *r, struct watcher *w, const struct watch_start *start) {
    struct http_loop *l = w->feed->loop;
    w->r = r;
    page_open(w, start);
    w->end_ms = start->from.until_ms;
    watcher_arm(w);
    body_attach(r, &w->body);
    if (l->draining) {
        watcher_drain(w);
    }
}

bool http_watch(struct http_request *r, struct feed *f, const struct watch_start *start) {
    if (start->way == WATCH_WEBSOCKET) {
        if (!websocket_check(r)) {
            return false;
        }
        websocket_add_headers(r);
    }
    struct watcher *w = watcher_create(f, start);
    if (start->way == WATCH_PAGE) {
        open_page(r, w, start);
    } else {
        open_stream(r, w, start);
    }
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
    struct http_loop *l = loop_of(w);
    watcher_leave(w);
    wheel_cancel(&l->wheel, &w->timer);
    page_close(w);
    watcher_drop_renamed(w);
    frame_unref(w->partial);
    frame_unref(w->last);
    buf_fini(&w->control);
    mem_free(w->ws);
    mem_free(w);
}

void watcher_end(struct watcher *w) {
    w->ending = true;
    wheel_cancel(&loop_of(w)->wheel, &w->timer);
    watcher_leave(w);
    body_wake(&w->body);
}

void watcher_send_away(struct watcher *w, unsigned code) {
    if (w->way == WATCH_WEBSOCKET) {
        ws_put_close(&w->control, code);
    } else {
        event_write_retry(&w->control, 1000 + (unsigned) loop_random(loop_of(w), 4001));
    }
    watcher_end(w);
}

void watcher_drain(struct watcher *w) {
    struct http_loop *l = loop_of(w);
    int64_t left = l->drain_until_ms - l->now_ms;
    int64_t at = l->now_ms + (left > 0 ? (int64_t) loop_random(l, (uint64_t) left) : 0);
    if (!w->ending && !w->finishing && (!w->timer.at_ms || at < w->timer.at_ms)) {
        w->draining = true;
        wheel_set(&l->wheel, &w->timer, at, watcher_on_timer);
    }
}

/* ---- cuts ---- */

static void last_words_timer(struct watcher *w) {
    struct http_loop *l = loop_of(w);
    wheel_set(&l->wheel, &w->timer, l->now_ms + DISCONNECT_MS, watcher_on_timer);
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
    if (w->way == WATCH_PAGE) {
        page_disconnect(w, how, last);
        return;
    }
    switch (how) {
    case DISCONNECT_FINISHED: source_finish(w, last); break;
    case DISCONNECT_AT_ONCE:
        cut_now(w, last);
        last_words_timer(w);
        break;
    case DISCONNECT_DEAD:
    case DISCONNECT_AWAY:
        if (w->way == WATCH_WEBSOCKET) {
            ws_put_close(&w->control, how == DISCONNECT_DEAD ? 1008 : 1001);
        } else {
            event_write_retry(&w->control, WATCH_RETRY_MS);
        }
        watcher_end(w);
        last_words_timer(w);
        break;
    }
    body_wake(&w->body);
}

static void watcher_on_timer(struct timer *t, int64_t now_ms, void *arg) {
    struct watcher *w = (struct watcher *) (void *) ((char *) t - offsetof(struct watcher, timer));
    (void) now_ms;
    (void) arg;
    if (w->way == WATCH_PAGE) {
        page_time_up(w);
    } else if (w->ending) {
        body_abort(&w->body);
    } else {
        watcher_send_away(w, w->until && !w->draining ? 1008 : 1001);
    }
}
