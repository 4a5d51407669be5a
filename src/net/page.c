/* One page of a feed as a JSON document: the events behind the cursor as soon as there are any, or none when time is up. */
#include "base/mem.h"
#include "net/loop.h"
#include "net/watch.h"

static void add_own(struct watcher *w, uint64_t number, struct str event, struct str data) {
    struct page *page = w->page;
    if (page->count++) {
        buf_char(&page->events, ',');
    }
    watcher_put_json(w, &page->events, number, event, data);
}

static void add_frame(struct watcher *w, const struct frame *frame) {
    struct page *page = w->page;
    if (page->count++) {
        buf_char(&page->events, ',');
    }
    buf_str(&page->events, frame_json_prefix(frame));
    buf_str(&page->events, frame_data(frame));
    buf_char(&page->events, '}');
    w->cursor = page->cursor = frame->seq;
}

void page_open(struct watcher *w, const struct watch_start *start) {
    w->page = mem_alloc(sizeof(*w->page));
    w->page->cursor = start->from.fresh || start->from.reset ? start->from.live_seq : start->from.cursor;
    if (start->from.reset) {
        add_own(w, 0, STR("reset"), STR("{}"));
    }
}

void page_close(struct watcher *w) {
    if (w->page) {
        buf_fini(&w->page->events);
        mem_free(w->page);
    }
}

void page_write(const struct watcher *w, struct buf *out) {
    const struct page *page = w->page;
    buf_puts(out, "{\"events\":[");
    buf_str(out, buf_view(&page->events));
    buf_puts(out, "],\"cursor\":\"");
    source_put_cursor(w, out, page->cursor);
    buf_puts(out, "\"}");
    out->failed |= page->events.failed;
}

/* The watcher is no more; its request waits for its answer. */
static struct http_request *page_leave(struct watcher *w) {
    struct http_request *r = w->r;
    body_detach(&w->body);
    watcher_destroy(w);
    return r;
}

void page_answer(struct watcher *w) {
    struct http_handler *handler = &w->feed->loop->handler;
    struct buf body = {0};
    page_write(w, &body);
    struct http_request *r = page_leave(w);
    handler->page(handler->arg, r, &body);
    if (r->method == HTTP_HEAD) {
        buf_fini(&body);
        http_respond_head(r, 200, false);
    } else {
        http_respond(r, 200, &body, false);
    }
}

static void page_refuse(struct watcher *w, enum err err) {
    struct http_request *r = page_leave(w);
    stream_problem(r->stream, err, NULL, NULL, false);
}

enum read { READ_ALL, READ_FULL, READ_WAITS, READ_FAILED };

/* Of a feed that ends here there is no next page: all but its output is on this one. */
static bool page_is_full(const struct watcher *w, const struct frame *next) {
    return w->page->count >= PAGE_EVENTS && (!w->last || next->kind == FRAME_LOG);
}

/* Moves events from the feed to the page. */
static enum read page_read(struct watcher *w) {
    struct source s;
    do {
        enum source_state state = source_open(&s, w);
        if (state == SOURCE_BEHIND) {
            source_restart(w);
            w->page->cursor = w->live_seq;
            add_own(w, 0, STR("reset"), STR("{}"));
            state = source_open(&s, w);
        }
        if (state != SOURCE_READY) {
            return state == SOURCE_WAITS ? READ_WAITS : READ_FAILED;
        }
        struct frame *frame;
        enum source_next next;
        for (; (next = source_next(&s, &frame)) == NEXT_FRAME; source_take(&s, next)) {
            bool full = page_is_full(w, frame);
            if (full && !w->last) {
                return READ_FULL;
            }
            if (!full) {
                add_frame(w, frame);
            }
        }
        if (next != NEXT_NOTHING) {
            return READ_ALL;
        }
    } while (source_refill_done(w));
    return READ_ALL;
}

/* The feed is not as far yet as it was when the page was asked for. One with a log is never behind. */
static bool page_is_early(const struct watcher *w) {
    return !w->feed->log && feed_upto(w->feed) < w->live_seq && w->cursor < w->live_seq;
}

enum page_is page_gather(struct watcher *w) {
    struct page *page = w->page;
    if (page_is_early(w)) {
        return PAGE_WAITS;
    }
    switch (page_read(w)) {
    case READ_WAITS: return PAGE_WAITS;
    case READ_FAILED: return PAGE_FAILED;
    case READ_FULL: return PAGE_READY;
    case READ_ALL: break;
    }
    if (page->cursor < w->gone_floor && page->cursor < w->gone_from) {
        page->cursor = w->gone_from; /* the snapshot phase is behind it, with what had gone at its end */
    }
    if (w->last) {
        add_own(w, w->cursor, frame_event(w->last), frame_data(w->last));
    }
    return page->count || page->due || w->finishing ? PAGE_READY : PAGE_WAITS;
}

void page_flush(struct watcher *w) {
    switch (page_gather(w)) {
    case PAGE_WAITS: break;
    case PAGE_FAILED: page_refuse(w, ERR_UNAVAILABLE); break;
    case PAGE_READY: page_answer(w); break;
    }
}

void page_time_up(struct watcher *w) {
    w->page->due = true;
    if (w->draining && (w->refilling || page_is_early(w))) {
        page_refuse(w, ERR_UNAVAILABLE); /* what it asked for is not here yet */
    } else if (w->draining) {
        page_answer(w);
    } else {
        body_wake(&w->body);
    }
}

void page_disconnect(struct watcher *w, enum disconnect_how how, struct frame *last) {
    switch (how) {
    case DISCONNECT_FINISHED:
        source_finish(w, last);
        page_flush(w);
        break;
    case DISCONNECT_AWAY: page_refuse(w, ERR_UNAVAILABLE); break;
    default: page_refuse(w, ERR_UNAUTHENTICATED); break;
    }
}
