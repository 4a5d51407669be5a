/*
 * storm.c: everybody's connection is cut at once, and everybody comes back at once with a cursor. Meanwhile half of the tasks have changed: those are given once, the
 * others not at all. The store is not asked again for each of them.
 */
#include "base/mem.h"
#include "measure.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#define SESSIONS 1000

struct storm {
    struct world world;
    struct stream *streams;
    unsigned count;
    bool back;
};

static void watch_one(struct stream_group *g, unsigned index) {
    struct storm *s = g->arg;
    world_watch(&s->world, &s->streams[index], index, index % SESSIONS, STREAM_SSE, s->back);
}

static void report_put(struct job *j, size_t index, struct buf *out) {
    world_put_progress(j->arg, (unsigned) index * 2, out);
}

static void report_take(struct job *j, size_t index, const struct answer *a) {
    world_take_report(j->arg, (unsigned) index * 2, a->status, a->body);
}

static void check(struct storm *s, uint64_t round) {
    for (unsigned i = 0; i < s->count; i++) {
        unsigned task = i % SESSIONS;
        uint64_t expected = 1 + (task % 2 ? 0 : round);
        if (s->streams[i].events != expected || !world_is_seen(&s->world, &s->streams[i], task, 1)) {
            fault("stream %u has seen %llu events instead of %llu", i, (unsigned long long) s->streams[i].events, (unsigned long long) expected);
        }
    }
}

/* Seconds until all are live again. */
static double storm_once(struct storm *s, struct stream_group *g) {
    struct job half = {.total = SESSIONS / 2, .put = report_put, .done = report_take, .arg = &s->world};
    for (unsigned i = 0; i < s->count; i++) {
        stream_close(&s->streams[i], false);
    }
    poller_rest(0.3);
    pool_run(&s->world.pool, &half, 8);
    poller_rest(0.2);
    int64_t begin = now_ns();
    s->back = true;
    stream_group_open(g, s->count);
    return (double) (now_ns() - begin) * 1e-9;
}

void measure_storm(const struct plan *p) {
    static struct storm s;
    double wall[9], cpu[9];
    s.count = p->watchers ? p->watchers : 5000;
    s.streams = mem_alloc(s.count * sizeof *s.streams);
    world_init(&s.world, &p->server, 8);
    world_fill(&s.world, SESSIONS, 1);
    struct stream_group g = {.streams = s.streams, .count = s.count, .open = watch_one, .arg = &s};
    stream_group_open(&g, 256);
    double lookups = -world_metric(&s.world, "bowline_store_lookups_total");
    for (unsigned run = 0; run < p->runs; run++) {
        cpu[run] = -cpu_seconds(p->server.pid);
        wall[run] = storm_once(&s, &g);
        cpu[run] += cpu_seconds(p->server.pid);
        check(&s, run + 1);
    }
    lookups += world_metric(&s.world, "bowline_store_lookups_total");
    if (lookups >= (double) s.count * p->runs) {
        fault("the store was asked %.0f times for %u watchers that came back", lookups, s.count * p->runs);
    }
    row("storm: until all are live again", median(wall, p->runs) * 1e3, "ms",
        "%u watchers of %d sessions cut and back at once, half of the tasks changed meanwhile", s.count, SESSIONS);
    row("storm: CPU a watcher", median(cpu, p->runs) / s.count * 1e6, "us", "closing the old stream, opening the new one, what was missed");
    row("storm: look-ups in the store", lookups / p->runs, "a storm", "must stay below one per watcher");
    for (unsigned i = 0; i < s.count; i++) {
        stream_fini(&s.streams[i]);
    }
    mem_free(s.streams);
    world_fini(&s.world);
}
