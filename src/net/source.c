/*
 * What a watcher is given, and in which order, whatever carries it: frames behind its cursor, of its feed or, where that no longer has them, of a refill; `live` at
 * its place among them; the end of a feed that has ended for it. No sockets here: the simulation runs this as it is.
 */
#include "base/mem.h"
#include "net/loop.h"
#include "net/watch.h"

/* ---- coming and going ---- */

void source_join(struct watcher *w, struct feed *f, const struct watch_start *start) {
    bool fresh = start->from.fresh || start->from.reset;
    w->feed = f;
    w->user = start->user;
    w->way = (uint8_t) start->way;
    w->cursor = fresh ? 0 : start->from.cursor;
    w->live_seq = start->from.live_seq;
    w->gone_from = fresh ? start->from.live_seq : start->from.gone_from;
    w->gone_floor = start->from.gone_floor;
    w->tag[0] = start->from.tag[0];
    w->tag[1] = start->from.tag[1];
    TAILQ_INSERT_TAIL(&f->watchers, w, link);
    f->watcher_count++;
}

static void refill_free(struct watcher *w) {
    if (w->refill) {
        for (size_t i = w->refill->at; i < w->refill->count; i++) {
            frame_unref(w->refill->frames[i]);
        }
        mem_free(w->refill);
        w->refill = NULL;
    }
}

void source_leave(struct watcher *w) {
    TAILQ_REMOVE(&w->feed->watchers, w, link);
    w->feed->watcher_count--;
    w->feed = NULL;
    refill_free(w);
}

void source_finish(struct watcher *w, struct frame *last) {
    if (w->finishing && (w->last || !last)) {
        return;
    }
    uint64_t upto = feed_upto(w->feed);
    w->finishing = true;
    w->finish_seq = !last ? UINT64_MAX : upto > w->live_seq ? upto : w->live_seq;
    w->last = last ? frame_ref(last) : NULL;
}

/* ---- where frames come from ---- */

/* It passes over those gone before it came, so it may not be shown what they were: the feed has to have got as far as they had. */
static bool source_is_early(const struct watcher *w) {
    return !w->feed->log && w->cursor < w->gone_from && feed_upto(w->feed) < w->gone_from;
}

enum source_state source_open(struct source *s, struct watcher *w) {
    struct feed *f = w->feed;
    *s = (struct source){.w = w, .live_due = !w->live_sent && w->way != WATCH_PAGE};
    for (;;) {
        if (w->refilling || w->refill_failed) {
            return w->refilling ? SOURCE_WAITS : SOURCE_FAILED;
        }
        if (w->refill) {
            s->at = w->refill->at;
            return SOURCE_READY;
        }
        if (w->cursor < f->gone_floor && w->gone_from < f->gone_floor) {
            return SOURCE_BEHIND;
        }
        if (source_is_early(w)) {
            return SOURCE_WAITS;
        }
        if (!f->log || w->cursor >= f->log_floor) {
            s->at = feed_after(f, w->cursor);
            return SOURCE_READY;
        }
        w->refilling = true;
        f->loop->handler.refill(f->loop->handler.arg, f, w, w->cursor, w->gone_from, w->user);
    }
}

static struct frame *source_at(const struct source *s) {
    const struct refill *refill = s->w->refill;
    return refill ? refill->frames[s->at] : s->w->feed->entries[s->at].frame;
}

/* Of what was gone when it opened: output, to one who began with a snapshot. */
static bool is_ghost(const struct watcher *w, const struct frame *frame) {
    uint64_t gone = frame->kind == FRAME_LOG && frame->seq < w->gone_from ? feed_gone_at(w->feed, frame->key) : 0;
    return gone && gone <= w->gone_from;
}

/* What was gone when it opened is not news to it: not that it is gone, if it knew of nothing, nor what it was before. */
static bool source_passes_over(const struct source *s, const struct frame *frame) {
    const struct watcher *w = s->w;
    bool over = !w->refill && w->feed->entries[s->at].over;
    return (over && frame->seq <= w->live_seq) || (frame->kind == FRAME_GONE && frame->seq <= w->gone_from) || is_ghost(w, frame);
}

/* The frame that comes next, NULL if there is none now. */
static struct frame *source_peek(struct source *s) {
    const struct watcher *w = s->w;
    size_t count = w->refill ? w->refill->count : w->feed->count;
    for (; s->at < count; s->at++) {
        struct frame *frame = source_at(s);
        if (frame && !source_passes_over(s, frame)) {
            return frame;
        }
    }
    return NULL;
}

/* Everything up to seq has been seen once source_peek finds nothing. */
static bool source_covers(const struct source *s, uint64_t seq) {
    const struct watcher *w = s->w;
    return w->cursor >= seq || (w->refill ? w->refill->upto : feed_upto(w->feed)) >= seq;
}

enum source_next source_next(struct source *s, struct frame **ret) {
    const struct watcher *w = s->w;
    struct frame *frame = source_peek(s);
    *ret = frame;
    if (s->live_due && (frame ? frame->seq > w->live_seq : source_covers(s, w->live_seq))) {
        return NEXT_LIVE;
    }
    if (w->finishing && (frame ? frame->seq > w->finish_seq : !w->refill)) {
        return NEXT_END;
    }
    return frame ? NEXT_FRAME : NEXT_NOTHING;
}

void source_take(struct source *s, enum source_next next) {
    s->at += next == NEXT_FRAME;
    s->live_due &= next != NEXT_LIVE;
}

void source_passed_live(struct watcher *w) {
    w->live_sent = true;
    w->cursor = w->cursor > w->live_seq ? w->cursor : w->live_seq;
}

void source_passed(struct watcher *w, const struct frame *frame) {
    struct refill *refill = w->refill;
    w->cursor = frame->seq;
    for (bool found = !refill; !found;) { /* with those passed over */
        found = refill->frames[refill->at] == frame;
        frame_unref(refill->frames[refill->at++]);
    }
}

bool source_refill_done(struct watcher *w) {
    if (!w->refill) {
        return false;
    }
    w->cursor = w->refill->upto > w->cursor ? w->refill->upto : w->cursor;
    w->refill_failed = w->cursor == w->refill->from; /* it has led nowhere, and asking again would bring the same */
    refill_free(w);
    return true;
}

void source_refilled(struct watcher *w, struct frame **frames, size_t count, uint64_t upto, enum refill_result result) {
    struct feed *f = w->feed;
    w->refilling = false;
    w->refill_failed = result == REFILL_FAILED;
    if (result == REFILL_GOOD) {
        w->refill = mem_alloc(sizeof(*w->refill) + count * sizeof(struct frame *));
        w->refill->count = count;
        w->refill->from = w->cursor;
        w->refill->upto = upto;
        memcpy(w->refill->frames, frames, count * sizeof(struct frame *));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        frame_unref(frames[i]);
    }
    f->log_floor = result == REFILL_LOST ? 0 : f->log_floor;
    f->gone_floor = result == REFILL_FORGOTTEN && upto > f->gone_floor ? upto : f->gone_floor;
}

void source_restart(struct watcher *w) {
    refill_free(w);
    w->cursor = 0;
    w->live_sent = false;
    w->live_seq = feed_upto(w->feed) > w->feed->gone_floor ? feed_upto(w->feed) : w->feed->gone_floor;
    w->gone_from = w->live_seq;
    w->gone_floor = w->feed->gone_floor;
}

/* ---- cursors ---- */

static bool is_renamed(const struct watcher *w, uint64_t number) {
    return number && number < w->gone_floor && number < w->gone_from;
}

void source_put_cursor(const struct watcher *w, struct buf *out, uint64_t number) {
    cursor_write(out, w->feed->cursor_prefix, (struct cursor){number, is_renamed(w, number) ? w->gone_from : 0});
}

struct frame *source_renamed(const struct watcher *w, const struct frame *frame) {
    struct buf id = {0};
    struct frame *f = NULL;
    if (is_renamed(w, frame->seq)) {
        source_put_cursor(w, &id, frame->seq);
        f = id.failed ? NULL : frame_create(frame->kind, frame->seq, frame->key, buf_view(&id), frame_event(frame), frame_data(frame));
        buf_fini(&id);
    }
    return f;
}
