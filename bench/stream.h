/*
 * stream.h: watchers, and the check of every event they get. By the rules of a feed: numbers rise strictly on a connection, so does each task's version, a
 * task's final state is seen exactly once, and in the end each task has been seen as its last answer said. Whatever breaks a rule is a fault.
 */
#ifndef BOWLINE_BENCH_STREAM_H
#define BOWLINE_BENCH_STREAM_H

#include "client.h"

#define TASK_ID_BYTES 30 /* tsk_ and a ULID */

enum stream_way {
    STREAM_SSE,
    STREAM_WEBSOCKET,
    STREAM_PLAIN /* Server-Sent Events without the feed's rules: {"seq":N,...}, each number once, in order, none missing */
};

/* What a watcher knows of a task. */
struct seen {
    char id[TASK_ID_BYTES]; /* id[0] 0: a free place */
    bool ended;
    uint64_t version;
};

struct stream {
    struct io io;
    uint8_t way;
    bool headed, live;
    const struct target *target;
    unsigned number, expected_status;
    struct buf out, in;
    uint64_t seq;      /* of the last event */
    uint64_t events;   /* changes seen */
    uint64_t snapshot; /* of them before `live` */
    struct seen *seen; /* open addressing */
    unsigned seen_cap, seen_count;
    char cursor[64];
    /* A change has been read; event is its text. */
    void (*on_event)(struct stream *s, const struct seen *seen, struct str event);
    void *user;
};

/* Opens a connection that will watch `path`; a resumed one keeps what it has seen. resume: send the cursor. */
void stream_open(struct stream *s, const struct target *target, unsigned number, enum stream_way way, const char *path, const char *token,
                 bool resume);
/* The event `live` has come, or for STREAM_PLAIN the head. */
bool stream_is_live(const struct stream *s);
void stream_close(struct stream *s, bool reset);
void stream_fini(struct stream *s);
/* NULL if it was never told of that task. */
const struct seen *stream_seen(const struct stream *s, const char *id);

/* Opens many, at most `at_once` of them on the way at any time, and waits until all are live. */
struct stream_group {
    struct stream *streams;
    unsigned count, begun, live;
    void (*open)(struct stream_group *g, unsigned index);
    void *arg;
};
void stream_group_open(struct stream_group *g, unsigned at_once);

#endif
