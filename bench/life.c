/*
 * life.c: whole lives of tasks (created, five times progress, succeeded), one after the other on each of 64 connections, with a watcher on each of 64 sessions and without.
 */
#include "measure.h"
#include "world.h"

#include <stdio.h>

#define SESSIONS 64
#define REPORTS 6 /* five times progress, and the outcome */

struct life {
    struct world world;
    struct stream streams[SESSIONS];
    struct {
        unsigned task, step;
    } lane[SESSIONS]; /* one per connection, and per session */
    unsigned busy;
    int64_t end_ns;
    unsigned lives;
};

static void lane_answer(void *arg, struct http *h, size_t lane, const struct answer *a);

/* The next request of a lane: 0 creates, 1 to 5 report progress, 6 succeeds. */
static void lane_step(struct life *l, struct http *h, size_t lane) {
    if (l->lane[lane].step == 0) {
        l->lane[lane].task = world_task_add(&l->world, (unsigned) lane);
        world_put_create(&l->world, l->lane[lane].task, &h->out);
    } else if (l->lane[lane].step < REPORTS) {
        world_put_progress(&l->world, l->lane[lane].task, &h->out);
    } else {
        world_put_succeed(&l->world, l->lane[lane].task, &h->out);
    }
    http_sent(h, (struct call){.done = lane_answer, .arg = l, .index = lane});
}

static void lane_answer(void *arg, struct http *h, size_t lane, const struct answer *a) {
    struct life *l = arg;
    if (l->lane[lane].step == 0) {
        world_take_create(&l->world, l->lane[lane].task, a);
    } else {
        world_take_report(&l->world, l->lane[lane].task, a->status, a->body);
    }
    if (l->lane[lane].step++ == REPORTS) {
        l->lives++;
        l->lane[lane].step = 0;
        if (now_ns() > l->end_ns) {
            l->busy--;
            return;
        }
    }
    lane_step(l, h, lane);
}

static bool life_over(void *arg) {
    return ((struct life *) arg)->busy == 0;
}

static bool life_seen(void *arg) {
    struct life *l = arg;
    uint64_t finals = 0;
    for (unsigned i = 0; i < SESSIONS; i++) {
        for (unsigned k = 0; k < l->streams[i].seen_cap; k++) {
            finals += l->streams[i].seen[k].ended;
        }
    }
    return finals >= l->world.task_count;
}

static void life_check(struct life *l) {
    unsigned seen = 0;
    for (unsigned i = 0; i < l->world.task_count; i++) {
        if (!world_is_seen(&l->world, &l->streams[l->world.tasks[i].session], i, 1)) {
            fault("task %s was not seen at its end, version %llu", l->world.tasks[i].id, (unsigned long long) l->world.tasks[i].version);
        }
    }
    for (unsigned i = 0; i < SESSIONS; i++) {
        seen += l->streams[i].seen_count;
    }
    if (seen != l->world.task_count) {
        fault("%u tasks were seen, %u were made", seen, l->world.task_count);
    }
}

static void watch_one(struct stream_group *g, unsigned index) {
    struct life *l = g->arg;
    world_watch(&l->world, &l->streams[index], index, index, STREAM_SSE, false);
}

static void life_run(struct life *l, const struct plan *p, bool watched) {
    const char *how = watched ? "watched" : "unwatched";
    pid_t pid = p->server.pid;
    double cpu = -cpu_seconds(pid), user = -cpu_user_seconds(pid);
    int64_t begin = now_ns();
    char what[64];
    l->end_ns = begin + (int64_t) ((p->seconds > 0 ? p->seconds : 4) * 1e9);
    l->busy = SESSIONS;
    for (unsigned i = 0; i < SESSIONS; i++) {
        lane_step(l, &l->world.pool.conns[i], i);
        http_flush(&l->world.pool.conns[i]);
    }
    poller_until(life_over, l, 25, "lives of tasks");
    double wall = (double) (now_ns() - begin) * 1e-9, lives = l->lives;
    if (watched) {
        poller_until(life_seen, l, 5, "the watchers");
    }
    cpu += cpu_seconds(pid);
    user += cpu_user_seconds(pid);
    snprintf(what, sizeof what, "life, %s", how);
    row(what, lives / wall, "lives/s", "%.0f lives, %d sessions and connections, %s", lives, SESSIONS,
        watched ? "an SSE watcher each" : "nobody watches");
    snprintf(what, sizeof what, "life, %s: CPU a life", how);
    row(what, cpu / lives * 1e6, "us", "create, %d reports%s; %.0f %% of it in user mode", REPORTS, watched ? ", events" : "", 100 * user / cpu);
    snprintf(what, sizeof what, "life, %s: CPU a request", how);
    row(what, cpu / lives / (REPORTS + 1) * 1e6, "us", "%.2f processors busy", cpu / wall);
}

static void life_side(const struct plan *p, bool watched) {
    static struct life l;
    l = (struct life){0};
    world_init(&l.world, &p->server, SESSIONS);
    world_fill(&l.world, SESSIONS, 0);
    if (watched) {
        struct stream_group g = {.streams = l.streams, .count = SESSIONS, .open = watch_one, .arg = &l};
        stream_group_open(&g, SESSIONS);
    }
    life_run(&l, p, watched);
    if (watched) {
        life_check(&l);
        for (unsigned i = 0; i < SESSIONS; i++) {
            stream_fini(&l.streams[i]);
        }
    }
    world_fini(&l.world);
}

void measure_life(const struct plan *p) {
    life_side(p, true);
    life_side(p, false);
}
