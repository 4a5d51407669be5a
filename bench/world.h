/*
 * world.h: the sessions and tasks of a measurement, made over HTTP, and the reports on them. Every answer is checked.
 */
#ifndef BOWLINE_BENCH_WORLD_H
#define BOWLINE_BENCH_WORLD_H

#include "stream.h"

struct session {
    char id[40];
    char token[96];
};

struct task {
    char id[40];
    char token[96]; /* the worker's */
    unsigned session;
    uint64_t current; /* of its progress */
    uint64_t version; /* as its last answer said */
    bool ended;
    int64_t sent_ns;
};

struct world {
    const struct target *target;
    struct pool pool;
    struct session *sessions;
    unsigned session_count;
    struct task *tasks;
    unsigned task_count, task_cap;
};

/* conns: connections for requests. */
void world_init(struct world *w, const struct target *target, unsigned conns);
void world_fini(struct world *w);
/* Makes sessions, each with so many tasks that have been started; tasks of one session stand side by side. */
void world_fill(struct world *w, unsigned sessions, unsigned tasks_per_session);
/* Room for one task more of that session; its index. Tasks move in memory. */
unsigned world_task_add(struct world *w, unsigned session);

void world_put_create(struct world *w, unsigned task, struct buf *out);
void world_take_create(struct world *w, unsigned task, const struct answer *a);
/* Progress that differs from all before. */
void world_put_progress(struct world *w, unsigned task, struct buf *out);
void world_put_succeed(struct world *w, unsigned task, struct buf *out);
/* The answer to a report: text of the answer, or of its line. */
void world_take_report(struct world *w, unsigned task, int status, struct str body);
/* The report alone. with_task: with the member that names it. */
void world_put_report(struct world *w, unsigned task, bool with_task, struct buf *out);

/* Watches a session with its own token. */
void world_watch(struct world *w, struct stream *s, unsigned number, unsigned session, enum stream_way way, bool resume);
/* True when the stream has seen each of the session's tasks (from first, count of them) as its last answer said. */
bool world_is_seen(const struct world *w, const struct stream *s, unsigned first, unsigned count);

/* A figure of /metrics. */
double world_metric(struct world *w, const char *name);

#endif
