/*
 * unicast.c: many sessions with one watcher each, and a report on one after the other, each a request of its own. Against nginx with nchan: as many channels with one
 * subscriber each, and messages of the same size. The figure is the CPU time of the server for taking one and delivering it.
 */
#include "bare.h"
#include "base/mem.h"
#include "measure.h"
#include "world.h"

#include <stdio.h>

#define CONNS 32
#define DEPTH 8
#define RUNS_LEAST 7 /* turns are short here, and the machine's pace changes from one second to the next */
#define RUNS_MAX 9
#define WATCHERS 10000

struct many {
    struct world world; /* bowline's; of nchan only the pool is used */
    const struct target *target;
    const struct sample *sample;
    struct stream *streams;
    unsigned count, at;
    uint64_t round; /* messages each has been sent before this turn */
};

/* As many for each connection, so that all reports on a task go over the same one and their order is known. */
static unsigned many_size(const struct plan *p) {
    unsigned wanted = p->watchers ? p->watchers : WATCHERS;
    return wanted - wanted % CONNS;
}

static void many_init(struct many *m, const struct side *s, const struct target *target) {
    *m = (struct many){.target = target, .sample = s->sample, .count = many_size(s->plan)};
    m->streams = mem_alloc(m->count * sizeof *m->streams);
}

static void many_open(struct many *m, void (*open)(struct stream_group *g, unsigned index)) {
    struct stream_group g = {.streams = m->streams, .count = m->count, .open = open, .arg = m};
    stream_group_open(&g, 256);
}

static void many_fini(struct many *m) {
    for (unsigned i = 0; i < m->count; i++) {
        stream_fini(&m->streams[i]);
    }
    mem_free(m->streams);
}

static double frames_read(const struct many *m) {
    double frames = 0;
    for (unsigned i = 0; i < m->count; i++) {
        frames += (double) m->streams[i].events;
    }
    return frames;
}

/* Two for each session. */
static void many_turn(struct many *m, struct turn *t, struct job *j, bool (*seen)(void *arg)) {
    double frames = -frames_read(m);
    j->total = 2 * (size_t) m->count;
    m->world.pool.striped = true;
    m->at = 0;
    turn_begin(t, m->target->pid);
    pool_run(&m->world.pool, j, DEPTH);
    poller_until(seen, m, 10, "deliveries");
    turn_end(t, m->target->pid);
    t->updates = t->deliveries = (double) j->total;
    t->frames = frames + frames_read(m);
}

/* ---- bowline ---- */

static void bowline_open(struct stream_group *g, unsigned index) {
    struct many *m = g->arg;
    world_watch(&m->world, &m->streams[index], index, index, STREAM_SSE, false);
}

static void report_put(struct job *j, size_t index, struct buf *out) {
    struct many *m = j->arg;
    world_put_progress(&m->world, (unsigned) (index % m->count), out);
}

static void report_take(struct job *j, size_t index, const struct answer *a) {
    struct many *m = j->arg;
    world_take_report(&m->world, (unsigned) (index % m->count), a->status, a->body);
}

static bool reports_seen(void *arg) {
    struct many *m = arg;
    while (m->at < m->count && m->streams[m->at].seq >= m->world.tasks[m->at].version) {
        m->at++;
    }
    return m->at == m->count;
}

static void keep_sample(struct stream *s, const struct seen *seen, struct str event) {
    struct sample *sample = s->user;
    (void) seen;
    if (event.len < sizeof sample->bytes) {
        memcpy(sample->bytes, event.p, event.len);
        sample->len = event.len;
    }
}

static void bowline_side(struct side *s) {
    struct many m;
    struct turn t;
    many_init(&m, s, &s->plan->server);
    world_init(&m.world, &s->plan->server, CONNS);
    world_fill(&m.world, m.count, 1);
    m.streams[0].on_event = keep_sample;
    m.streams[0].user = s->sample;
    many_open(&m, bowline_open);
    struct job j = {.put = report_put, .done = report_take, .arg = &m};
    for (int what = side_next(s, NULL); what >= 0; what = side_next(s, &t)) {
        many_turn(&m, &t, &j, reports_seen);
        for (unsigned i = 0; i < m.count; i++) {
            if (!world_is_seen(&m.world, &m.streams[i], i, 1)) {
                fault("stream %u did not come to the newest state", i);
            }
        }
    }
    many_fini(&m);
    world_fini(&m.world);
}

/* ---- nginx with nchan ---- */

static void nchan_open(struct stream_group *g, unsigned index) {
    struct many *m = g->arg;
    char path[32];
    snprintf(path, sizeof path, "/sub/s%u", index);
    stream_open(&m->streams[index], m->target, index, STREAM_PLAIN, path, NULL, false);
}

static void message_put(struct job *j, size_t index, struct buf *out) {
    struct many *m = j->arg;
    struct buf body = {0};
    char path[32];
    snprintf(path, sizeof path, "/pub/s%zu", index % m->count);
    sample_put(m->sample, m->round + index / m->count + 1, false, &body);
    request_put(out, m->target, "POST", path, NULL, NULL, buf_view(&body));
    buf_fini(&body);
}

static void message_take(struct job *j, size_t index, const struct answer *a) {
    (void) j;
    (void) index;
    if (a->status != 201) {
        fault("nchan answered %d: %.*s", a->status, STR_FMT(a->body));
    }
}

static bool messages_seen(void *arg) {
    struct many *m = arg;
    while (m->at < m->count && m->streams[m->at].seq >= m->round + 2) {
        m->at++;
    }
    return m->at == m->count;
}

static void nchan_side(struct side *s) {
    struct many m;
    struct turn t;
    many_init(&m, s, &s->plan->peer);
    pool_init(&m.world.pool, &s->plan->peer, CONNS);
    many_open(&m, nchan_open);
    struct job j = {.put = message_put, .done = message_take, .arg = &m};
    for (int what = side_next(s, NULL); what >= 0; what = side_next(s, &t)) {
        many_turn(&m, &t, &j, messages_seen);
        m.round += 2;
    }
    many_fini(&m);
    pool_fini(&m.world.pool);
}

/* ---- both ---- */

static double take_turn(struct contender *side, double *ret_share, double *ret_rate) {
    struct turn t;
    contender_run(side, 0, &t);
    *ret_share = t.frames / t.deliveries;
    *ret_rate = t.updates / t.wall_s;
    return t.cpu_s / t.updates * 1e6;
}

void measure_unicast(const struct plan *p) {
    struct sample *sample = sample_create();
    struct contender bowline, nchan;
    double own[RUNS_MAX], peer[RUNS_MAX], ratio[RUNS_MAX], share = 0, peer_share = 0, rate = 0, peer_rate = 0;
    bool with_peer = p->peer.host[0];
    unsigned runs = p->runs < RUNS_LEAST ? RUNS_LEAST : p->runs;
    if (many_size(p) < CONNS * DEPTH) {
        die("unicast needs at least %d watchers", CONNS * DEPTH);
    }
    contender_start(&bowline, "bowline", p, sample, bowline_side);
    if (with_peer) {
        contender_start(&nchan, "nchan", p, sample, nchan_side);
    }
    for (unsigned run = 0; run < runs; run++) {
        own[run] = take_turn(&bowline, &share, &rate);
        if (with_peer) {
            peer[run] = take_turn(&nchan, &peer_share, &peer_rate);
            ratio[run] = own[run] / peer[run]; /* of two turns one after the other */
        }
    }
    contender_stop(&bowline);
    double us = median(own, runs);
    row("unicast: CPU a report and its delivery", us, "us",
        "%u sessions with a watcher each, %d x %d requests under way, %.0f/s, %.0f %% read as events of their own", many_size(p), CONNS, DEPTH, rate,
        100 * share);
    if (with_peer) {
        contender_stop(&nchan);
        double peer_us = median(peer, runs);
        row("unicast, nchan: CPU a message and its delivery", peer_us, "us", "as many channels, the same data, %.0f/s", peer_rate);
        row("unicast: against nchan", median(ratio, runs), "x", "target 0.5; median of %u turns each, one after the other", runs);
    }
}
