/*
 * A feed: frames in order of seq. They stand in an array that only grows at its end; a frame that is replaced leaves a hole, and when half of
 * it is holes the array is closed up. So the next frame after a number is found by a search that gallops from the tail, and watchers hold
 * nothing but a number. A hash table knows where the newest frame of each key stands.
 *
 * A state that is gone before it was flushed stays beside what says so (`over`), so that those who keep up get both; with the first frame of a later turn it goes.
 */
#include "net/feed.h"

#include "base/fetch.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/watch.h"

#include <assert.h>

#define DEAD_MIN 32

struct feed *feed_create(struct http_loop *loop, bool log, uint64_t log_floor, struct str cursor_prefix, void *user) {
    struct feed *f = mem_alloc(sizeof(*f));
    f->loop = loop;
    f->log = log;
    f->log_floor = log_floor;
    f->cursor_prefix = str_n(mem_dup(cursor_prefix.p, cursor_prefix.len), cursor_prefix.len);
    f->user = user;
    TAILQ_INIT(&f->watchers);
    return f;
}

void *feed_user(struct feed *f) {
    return f->user;
}

unsigned feed_watchers(const struct feed *f) {
    return f->watcher_count;
}

static void feed_free(struct feed *f) {
    for (size_t i = 0; i < f->count; i++) {
        frame_unref(f->entries[i].frame);
    }
    if (f->dirty) {
        TAILQ_REMOVE(&f->loop->dirty_feeds, f, dirty_link);
    }
    mem_free(f->entries);
    mem_free(f->slots);
    mem_free((char *) (uintptr_t) f->cursor_prefix.p);
    mem_free(f);
}

void feed_destroy(struct feed *f) {
    if (!f) {
        return;
    }
    assert(f->watcher_count == 0);
    f->doomed = true;
    if (!f->busy) {
        feed_free(f);
    }
}

void feed_hold(struct feed *f) {
    f->busy++;
}

void feed_release(struct feed *f) {
    if (--f->busy == 0 && f->doomed) {
        feed_free(f);
    }
}

/* ---- keys ---- */

static size_t key_slot(const struct feed *f, const uint8_t key[16]) {
    uint64_t a, b;
    memcpy(&a, key, 8);
    memcpy(&b, key + 8, 8);
    uint64_t h = (a ^ (b << 29 | b >> 35)) * 0x9e3779b97f4a7c15u;
    size_t mask = f->slot_count - 1, i = (size_t) (h >> 32) & mask;
    while (f->slots[i] && memcmp(f->entries[f->slots[i] - 1].frame->key, key, 16) != 0) {
        i = (i + 1) & mask;
    }
    return i;
}

/* Fills the table anew from the entries. */
static void keys_rebuild(struct feed *f, size_t slot_count) {
    if (slot_count == f->slot_count) {
        memset(f->slots, 0, slot_count * sizeof(*f->slots));
    } else {
        mem_free(f->slots);
        f->slots = mem_alloc(slot_count * sizeof(*f->slots));
        f->slot_count = slot_count;
    }
    f->keyed = 0;
    for (size_t i = 0; i < f->count; i++) {
        struct frame *frame = f->entries[i].frame;
        if (frame && frame->kind != FRAME_LOG && !f->entries[i].over) {
            f->slots[key_slot(f, frame->key)] = (uint32_t) i + 1;
            f->keyed++;
        }
    }
}

uint64_t feed_gone_at(const struct feed *f, const uint8_t key[16]) {
    size_t slot = f->gone_count ? key_slot(f, key) : 0;
    const struct frame *frame = f->gone_count && f->slots[slot] ? f->entries[f->slots[slot] - 1].frame : NULL;
    return frame && frame->kind == FRAME_GONE ? frame->seq : 0;
}

/* ---- entries ---- */

static void entry_drop(struct feed *f, size_t i) {
    struct frame *frame = f->entries[i].frame;
    if (frame->kind == FRAME_GONE) {
        f->gone_count--;
    } else if (frame->kind == FRAME_LOG) {
        f->log_bytes -= frame_sse(frame).len;
    }
    f->over_count -= f->entries[i].over;
    f->entries[i] = (struct feed_entry){.seq = f->entries[i].seq};
    f->dead++;
    frame_unref(frame);
}

static void entries_close_up(struct feed *f) {
    size_t to = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (i == f->log_at) {
            f->log_at = to;
        }
        if (f->entries[i].frame) {
            f->entries[to++] = f->entries[i];
        }
    }
    f->log_at = f->log_at < to ? f->log_at : to;
    f->count = to;
    f->dead = 0;
    keys_rebuild(f, f->slot_count ? f->slot_count : 16);
}

static void entry_append(struct feed *f, struct frame *frame) {
    if (f->dead > f->count / 2 && (f->dead > DEAD_MIN || f->count == f->cap)) {
        entries_close_up(f);
    }
    if (f->count == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 8;
        f->entries = mem_resize(f->entries, f->cap * sizeof(*f->entries));
    }
    f->entries[f->count++] = (struct feed_entry){.seq = frame->seq, .frame = frame};
}

static bool entry_stays(const struct feed *f, const struct feed_entry *old, const struct frame *frame) {
    return frame->kind == FRAME_GONE && old->frame->kind == FRAME_STATE && old->seq > f->flushed_seq && f->over_count < FEED_OVER_MAX;
}

static void entry_is_over(struct feed *f, struct feed_entry *old) {
    f->over_seq = f->over_count && f->over_seq < old->seq ? f->over_seq : old->seq;
    f->over_count++;
    old->over = true;
}

static void drop_over(struct feed *f) {
    for (size_t i = feed_after(f, f->over_seq - 1); f->over_count; i++) {
        if (f->entries[i].over) {
            entry_drop(f, i);
        }
    }
}

/* The frame is the newest of its key: the older one goes. */
static void entry_replace(struct feed *f, const struct frame *frame) {
    if ((f->keyed + 1) * 4 > f->slot_count * 3) {
        keys_rebuild(f, f->slot_count ? f->slot_count * 2 : 16);
    }
    size_t slot = key_slot(f, frame->key);
    if (f->slots[slot]) {
        size_t old = f->slots[slot] - 1;
        f->slots[slot] = (uint32_t) f->count + 1;
        if (entry_stays(f, &f->entries[old], frame)) {
            entry_is_over(f, &f->entries[old]);
        } else {
            entry_drop(f, old);
        }
    } else {
        f->slots[slot] = (uint32_t) f->count + 1;
        f->keyed++;
    }
}

/* The older one of its key is the newest of all, as it is in a feed of one task: the frame takes its place. */
static bool entry_renew(struct feed *f, struct frame *frame) {
    struct feed_entry *newest = f->count ? &f->entries[f->count - 1] : NULL;
    if (!newest || !newest->frame || newest->frame->kind == FRAME_LOG || newest->over ||
        memcmp(newest->frame->key, frame->key, sizeof(frame->key)) != 0 || entry_stays(f, newest, frame)) {
        return false;
    }
    entry_drop(f, f->count - 1);
    f->dead--;
    *newest = (struct feed_entry){.seq = frame->seq, .frame = frame};
    return true;
}

/* Also what it replaces goes. */
static void entry_put(struct feed *f, struct frame *frame) {
    if (entry_renew(f, frame)) {
        return;
    }
    entry_append(f, frame);
    f->count--; /* the table must not find it before its older one is gone */
    entry_replace(f, frame);
    f->count++;
}

/* ---- what a feed does not keep for ever ---- */

static void trim_log(struct feed *f) {
    while (f->log_bytes > FEED_LOG_BYTES && f->log_at < f->count) {
        struct feed_entry *e = &f->entries[f->log_at];
        if (e->frame && e->frame->kind == FRAME_LOG) {
            f->log_floor = e->seq;
            entry_drop(f, f->log_at);
        }
        f->log_at++;
    }
}

/* Forgets the older half of those that are gone. A watcher that has not seen them yet starts anew. */
static void trim_gone(struct feed *f) {
    size_t drop = f->gone_count > FEED_GONE_MAX ? f->gone_count / 2 : 0;
    for (size_t i = 0; drop && i < f->count; i++) {
        struct feed_entry *e = &f->entries[i];
        if (e->frame && e->frame->kind == FRAME_GONE) {
            f->gone_floor = e->seq;
            entry_drop(f, i);
            if (--drop == 0) {
                entries_close_up(f);
            }
        }
    }
}

void feed_mark(struct feed *f) {
    if (!f->dirty) {
        f->dirty = true;
        TAILQ_INSERT_TAIL(&f->loop->dirty_feeds, f, dirty_link);
    }
}

void feed_publish(struct feed *f, struct frame *frame) {
    if (frame->seq < f->last_seq || (frame->kind == FRAME_LOG && !f->log)) {
        frame_unref(frame);
        return;
    }
    if (f->over_count && f->over_seq <= f->flushed_seq) {
        drop_over(f);
    }
    f->last_seq = frame->seq;
    if (frame->kind == FRAME_LOG) {
        entry_append(f, frame);
        f->log_bytes += frame_sse(frame).len;
        trim_log(f);
    } else {
        entry_put(f, frame);
        if (frame->kind == FRAME_GONE) {
            f->gone_count++;
            trim_gone(f);
        }
    }
    feed_mark(f);
}

void feed_synced(struct feed *f, uint64_t pos) {
    if (pos > f->synced) {
        f->synced = pos;
        feed_mark(f);
    }
}

size_t feed_after(const struct feed *f, uint64_t seq) {
    size_t n = f->count, step = 1;
    if (n == 0 || f->entries[n - 1].seq <= seq) {
        return n;
    }
    size_t high = n - 1; /* the entry here is greater */
    while (step <= high && f->entries[high - step].seq > seq) {
        high -= step;
        step *= 2;
    }
    size_t low = step <= high ? high - step + 1 : 0; /* and everything before here is not */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (f->entries[middle].seq > seq) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return high;
}

/* What is looked at when a watcher is given something: it, its stream, and the connection of that, one behind the other. */
static void watcher_fetch(const struct watcher *w) {
    fetch_ahead(w, w ? offsetof(struct watcher, r) : 0);
}

static const struct stream *stream_of(const struct watcher *w) {
    return w ? w->body.stream : NULL;
}

void feed_expect(const struct feed *f, unsigned steps_left) {
    switch (steps_left) {
    case 3: fetch_ahead(f, sizeof(*f)); break;
    case 2:
        fetch_ahead(f->entries + f->count, 1);
        fetch_ahead(f->slots, f->slot_count <= FETCH_LINE ? f->slot_count * sizeof(*f->slots) : 0);
        watcher_fetch(TAILQ_FIRST(&f->watchers));
        break;
    case 1:
        stream_fetch(stream_of(TAILQ_FIRST(&f->watchers)));
        fetch_ahead(f->count ? f->entries[f->count - 1].frame : NULL, 1); /* which the next one probably replaces */
        break;
    default: stream_fetch_conn(stream_of(TAILQ_FIRST(&f->watchers))); break;
    }
}

/* Those that come next are fetched while one is given its own. */
static void watcher_expect(const struct watcher *next) {
    const struct watcher *second = next ? TAILQ_NEXT(next, link) : NULL;
    stream_fetch_conn(stream_of(next));
    stream_fetch(stream_of(second));
    watcher_fetch(second ? TAILQ_NEXT(second, link) : NULL);
}

void feed_flushed(struct feed *f) {
    f->dirty = false;
    f->flushed_seq = f->last_seq;
    TAILQ_REMOVE(&f->loop->dirty_feeds, f, dirty_link);
}

/* The next one stays: body_push ends no other watcher than its own. */
void feed_flush(struct feed *f) {
    struct watcher *w, *next;
    feed_flushed(f);
    feed_hold(f);
    for (w = TAILQ_FIRST(&f->watchers); w; w = next) {
        next = TAILQ_NEXT(w, link);
        watcher_expect(next);
        body_push(&w->body);
    }
    feed_release(f);
}

void feed_disconnect(struct feed *f, const struct disconnect *d) {
    bool says = d->event && d->how != DISCONNECT_DEAD && d->how != DISCONNECT_AWAY;
    struct frame *last = says ? frame_create(FRAME_LOG, 0, NULL, STR(""), str_of(d->event), d->data) : NULL;
    struct watcher *w, *next;
    feed_hold(f);
    for (w = TAILQ_FIRST(&f->watchers); w; w = next) {
        next = TAILQ_NEXT(w, link);
        if ((w->tag[0] & d->mask) != 0 && w->tag[1] < d->below) {
            watcher_disconnect(w, d->how, last);
        }
    }
    feed_release(f);
    frame_unref(last);
}
