/* idle.c: what an open stream costs in the server's own memory while nothing happens: few sessions, so that only the watchers count. */
#include "base/mem.h"
#include "measure.h"
#include "world.h"

#include <stdio.h>

#define SESSIONS 8
#define FIRST_PART 10000
#define SETTLE_S 1.5

struct idle {
    struct world world;
    struct stream *streams;
    enum stream_way way;
    unsigned from;
};

static void watch_one(struct stream_group *g, unsigned index) {
    struct idle *d = g->arg;
    unsigned number = d->from + index;
    world_watch(&d->world, &d->streams[number], number, number % SESSIONS, d->way, false);
}

static struct memory open_more(struct idle *d, pid_t pid, unsigned upto) {
    struct stream_group g = {.streams = d->streams + d->from, .count = upto - d->from, .open = watch_one, .arg = d};
    stream_group_open(&g, 256);
    d->from = upto;
    poller_rest(SETTLE_S);
    return memory_of(pid);
}

static void check(struct idle *d, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (d->streams[i].events != 1 || !world_is_seen(&d->world, &d->streams[i], i % SESSIONS, 1)) {
            fault("stream %u did not get its snapshot", i);
        }
    }
}

static void way_run(const struct plan *p, enum stream_way way, const char *name) {
    unsigned count = p->watchers ? p->watchers : 15000, part = count < FIRST_PART ? count : FIRST_PART;
    struct idle d = {.way = way, .streams = mem_alloc(count * sizeof(struct stream))};
    char what[80];
    world_init(&d.world, &p->server, 4);
    world_fill(&d.world, SESSIONS, 1);
    poller_rest(SETTLE_S);
    struct memory before = memory_of(p->server.pid), after = open_more(&d, p->server.pid, part);
    snprintf(what, sizeof what, "idle, %s, %u watchers", name, part);
    row(what, (after.pss_bytes - before.pss_bytes) / part, "bytes", "each, Pss; Rss %.0f; target 1024", (after.rss_bytes - before.rss_bytes) / part);
    if (count > part) {
        double cpu = -cpu_seconds(p->server.pid);
        after = open_more(&d, p->server.pid, count);
        cpu += cpu_seconds(p->server.pid);
        snprintf(what, sizeof what, "idle, %s, %u watchers", name, count);
        row(what, (after.pss_bytes - before.pss_bytes) / count, "bytes", "each, Pss; Rss %.0f; opening one %.0f us of CPU",
            (after.rss_bytes - before.rss_bytes) / count, cpu / (count - part) * 1e6);
    }
    check(&d, count);
    for (unsigned i = 0; i < count; i++) {
        stream_fini(&d.streams[i]);
    }
    mem_free(d.streams);
    world_fini(&d.world);
}

void measure_idle(const struct plan *p) {
    if (strcmp(p->measurement, "idle-websocket") == 0) {
        way_run(p, STREAM_WEBSOCKET, "WebSocket");
    } else {
        way_run(p, STREAM_SSE, "SSE");
    }
}
