/*
 * feed.h: a feed on a loop: frames in order of seq, and who watches them. Its calls for the layer above stand in http.h.
 */
#ifndef BOWLINE_NET_FEED_H
#define BOWLINE_NET_FEED_H

#include "net/http.h"

#include <sys/queue.h>

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
/* The number at which the key left and is not back since; 0: it has not, or that is forgotten. */
uint64_t feed_gone_at(const struct feed *f, const uint8_t key[16]);
void feed_mark(struct feed *f);
void feed_flushed(struct feed *f); /* the turn is over in which it was marked */
void feed_flush(struct feed *f);   /* gives its watchers what is new */
void feed_hold(struct feed *f);    /* not freed until feed_release */
void feed_release(struct feed *f);

#endif
