/*
 * fanout.c: one session that many watch. Reports one at a time, and 50 reports that arrive together, on one task and on 50 tasks; against a bare loop of send(),
 * and (fanout-nchan, with fewer watchers, or it would take minutes) against nginx with nchan. The sides take turns; the figure is the CPU time of the server for an
 * update times a watcher.
 */
#include "bare.h"
#include "base/mem.h"
#include "measure.h"
#include "world.h"

#include <stdio.h>

#define BURST 50
#define RUNS_MAX 9
#define WATCHERS 10000
#define WATCHERS_WITH_PEER 2000

enum { ONE_AT_A_TIME, BURST_ONE_TASK, BURST_MANY_TASKS };

struct crowd {
    struct world world; /* bowline's; of nchan only the pool is used */
    struct bare bare;
    struct target target;
    struct sample *sample;
    struct stream *streams;
    unsigned count;
    uint64_t number; /* of the last message published */
    /* waiting */
    unsigned at;
    uint64_t goal;
};

static unsigned rounds_of(const struct crowd *c, int what) {
    unsigned wanted = 120000 / c->count;
    return what != ONE_AT_A_TIME || wanted == 0 ? 1 : wanted;
}

static bool all_reached(void *arg) {
    struct crowd *c = arg;
    while (c->at < c->count && c->streams[c->at].seq >= c->goal) {
        c->at++;
    }
    return c->at == c->count;
}

static void wait_for(struct crowd *c, uint64_t goal) {
    c->at = 0;
    c->goal = goal;
    poller_until(all_reached, c, 20, "deliveries");
}

static double frames_read(const struct crowd *c) {
    double frames = 0;
    for (unsigned i = 0; i < c->count; i++) {
        frames += (double) c->streams[i].events;
    }
    return frames;
}

/* Rounds of publishing and waiting until everybody has it. */
static void crowd_turn(struct crowd *c, int what, struct turn *t, uint64_t (*publish)(struct crowd *c, int what)) {
    unsigned rounds = rounds_of(c, what), updates = rounds * (what == ONE_AT_A_TIME ? 1 : BURST);
    double frames = -frames_read(c);
    turn_begin(t, c->target.pid);
    for (unsigned i = 0; i < rounds; i++) {
        wait_for(c, publish(c, what));
    }
    turn_end(t, c->target.pid);
    t->updates = updates;
    t->deliveries = (double) updates * c->count;
    t->frames = frames + frames_read(c);
}

static bool is_with_peer(const struct plan *p) {
    return strcmp(p->measurement, "fanout-nchan") == 0;
}

static unsigned crowd_size(const struct plan *p) {
    return p->watchers ? p->watchers : is_with_peer(p) ? WATCHERS_WITH_PEER : WATCHERS;
}

static void crowd_init(struct crowd *c, const struct side *s, const struct target *target) {
    *c = (struct crowd){.sample = s->sample, .target = *target, .count = crowd_size(s->plan)};
    c->streams = mem_alloc(c->count * sizeof *c->streams);
}

static void crowd_open(struct crowd *c, void (*open)(struct stream_group *g, unsigned index)) {
    struct stream_group g = {.streams = c->streams, .count = c->count, .open = open, .arg = c};
    stream_group_open(&g, 256);
}

static void crowd_fini(struct crowd *c) {
    for (unsigned i = 0; i < c->count; i++) {
        stream_fini(&c->streams[i]);
    }
    mem_free(c->streams);
}

/* ---- bowline ---- */

static void keep_sample(struct stream *s, const struct seen *seen, struct str event) {
    struct crowd *c = s->user;
    (void) seen;
    if (event.len < sizeof c->sample->bytes) {
        memcpy(c->sample->bytes, event.p, event.len);
        c->sample->len = event.len;
    }
}

static void bowline_open(struct stream_group *g, unsigned index) {
    struct crowd *c = g->arg;
    if (index == 0) {
        c->streams[0].on_event = keep_sample;
        c->streams[0].user = c;
    }
    world_watch(&c->world, &c->streams[index], index, 0, STREAM_SSE, false);
}

static void report_put(struct job *j, size_t index, struct buf *out) {
    struct crowd *c = j->arg;
    world_put_progress(&c->world, j->total == 1 || c->goal == BURST_ONE_TASK ? 0 : (unsigned) index, out);
}

static void report_take(struct job *j, size_t index, const struct answer *a) {
    struct crowd *c = j->arg;
    unsigned task = j->total == 1 || c->goal == BURST_ONE_TASK ? 0 : (unsigned) index;
    world_take_report(&c->world, task, a->status, a->body);
    c->number = c->world.tasks[task].version > c->number ? c->world.tasks[task].version : c->number;
}

/* The number that everybody will have seen then. */
static uint64_t bowline_publish(struct crowd *c, int what) {
    struct job j = {.total = what == ONE_AT_A_TIME ? 1 : BURST, .put = report_put, .done = report_take, .arg = c};
    c->goal = (uint64_t) what;
    pool_run(&c->world.pool, &j, BURST);
    return c->number;
}

static void bowline_side(struct side *s) {
    struct crowd c;
    struct turn t;
    int what;
    crowd_init(&c, s, &s->plan->server);
    world_init(&c.world, &s->plan->server, 1);
    world_fill(&c.world, 1, BURST);
    crowd_open(&c, bowline_open);
    wait_for(&c, bowline_publish(&c, ONE_AT_A_TIME));
    for (what = side_next(s, NULL); what >= 0; what = side_next(s, &t)) {
        crowd_turn(&c, what, &t, bowline_publish);
        for (unsigned i = 0; i < c.count; i++) {
            if (!world_is_seen(&c.world, &c.streams[i], 0, BURST)) {
                fault("stream %u did not come to the newest state", i);
            }
        }
    }
    crowd_fini(&c);
    world_fini(&c.world);
}

/* ---- the bare loop ---- */

static void bare_open(struct stream_group *g, unsigned index) {
    struct crowd *c = g->arg;
    stream_open(&c->streams[index], &c->target, index, STREAM_PLAIN, "/", NULL, false);
}

static uint64_t bare_publish(struct crowd *c, int what) {
    (void) what;
    bare_send(&c->bare, ++c->number);
    return c->number;
}

static void bare_side(struct side *s) {
    struct crowd c;
    struct turn t;
    int what;
    crowd_init(&c, s, &s->plan->server);
    bare_start(&c.bare, c.count, s->sample);
    c.target = c.bare.target;
    crowd_open(&c, bare_open);
    for (what = side_next(s, NULL); what >= 0; what = side_next(s, &t)) {
        crowd_turn(&c, what, &t, bare_publish);
    }
    crowd_fini(&c);
    bare_stop(&c.bare);
}

/* ---- nginx with nchan ---- */

static void nchan_open(struct stream_group *g, unsigned index) {
    struct crowd *c = g->arg;
    stream_open(&c->streams[index], &c->target, index, STREAM_PLAIN, "/sub/crowd", NULL, false);
}

static void message_put(struct job *j, size_t index, struct buf *out) {
    struct crowd *c = j->arg;
    struct buf body = {0};
    (void) index;
    sample_put(c->sample, ++c->number, false, &body);
    request_put(out, &c->target, "POST", "/pub/crowd", NULL, NULL, buf_view(&body));
    buf_fini(&body);
}

static void message_take(struct job *j, size_t index, const struct answer *a) {
    (void) j;
    (void) index;
    if (a->status != 201) {
        fault("nchan answered %d: %.*s", a->status, STR_FMT(a->body));
    }
}

static uint64_t nchan_publish(struct crowd *c, int what) {
    struct job j = {.total = what == ONE_AT_A_TIME ? 1 : BURST, .put = message_put, .done = message_take, .arg = c};
    pool_run(&c->world.pool, &j, BURST);
    return c->number;
}

static void nchan_side(struct side *s) {
    struct crowd c;
    struct turn t;
    int what;
    crowd_init(&c, s, &s->plan->peer);
    pool_init(&c.world.pool, &s->plan->peer, 1);
    crowd_open(&c, nchan_open);
    wait_for(&c, nchan_publish(&c, ONE_AT_A_TIME));
    for (what = side_next(s, NULL); what >= 0; what = side_next(s, &t)) {
        crowd_turn(&c, what, &t, nchan_publish);
    }
    crowd_fini(&c);
    pool_fini(&c.world.pool);
}

/* ---- all of them ---- */

struct figures {
    double us[RUNS_MAX]; /* CPU of a delivery */
    double share;        /* frames read of deliveries */
};

static void take_turn(struct contender *side, int what, struct figures *f, unsigned run) {
    struct turn t;
    contender_run(side, what, &t);
    f->us[run] = t.cpu_s / t.deliveries * 1e6;
    f->share = t.frames / t.deliveries;
}

static void rows_bare(const struct plan *p, struct figures own[3], struct figures *loop, const struct sample *sample) {
    double floor_us = median(loop->us, p->runs), us = median(own[ONE_AT_A_TIME].us, p->runs);
    row("fanout, bare loop of send(): CPU a delivery", floor_us, "us", "%u sockets, %zu bytes", crowd_size(p), sample->len);
    row("fanout, one report at a time: CPU a delivery", us, "us", "%u watchers of one session", crowd_size(p));
    row("fanout: against the bare loop", us / floor_us, "x", "target 1.2");
    row("fanout, 50 reports together on one task: CPU a delivery", median(own[BURST_ONE_TASK].us, p->runs), "us",
        "an update times a watcher; %.0f %% are read as events of their own, the rest is overtaken", 100 * own[BURST_ONE_TASK].share);
    row("fanout, 50 reports together on 50 tasks: CPU a delivery", median(own[BURST_MANY_TASKS].us, p->runs), "us",
        "%.0f %% are read as events of their own", 100 * own[BURST_MANY_TASKS].share);
}

static void rows_nchan(const struct plan *p, struct figures own[3], struct figures peer[2]) {
    double us = median(own[ONE_AT_A_TIME].us, p->runs), one = median(own[BURST_ONE_TASK].us, p->runs),
           many = median(own[BURST_MANY_TASKS].us, p->runs);
    double peer_us = median(peer[ONE_AT_A_TIME].us, p->runs), burst_us = median(peer[BURST_ONE_TASK].us, p->runs);
    row("fanout, nchan, one message at a time: CPU a delivery", peer_us, "us", "%u subscribers, the same data", crowd_size(p));
    row("fanout, nchan, 50 messages together: CPU a delivery", burst_us, "us", "every one is delivered");
    row("fanout, one at a time: against nchan", us / peer_us, "x", "%.2f us with as many watchers", us);
    row("fanout, 50 together on one task: against nchan", one / burst_us, "x", "target 0.1; %.2f us, most are overtaken", one);
    row("fanout, 50 together on 50 tasks: against nchan", many / burst_us, "x", "target 0.1; %.2f us, every event delivered on both sides", many);
}

void measure_fanout(const struct plan *p) {
    struct sample *sample = sample_create();
    struct contender bowline, other;
    struct figures own[3] = {0}, others[2] = {0};
    bool with_peer = is_with_peer(p);
    if (with_peer && !p->peer.host[0]) {
        die("fanout-nchan needs --peer");
    }
    contender_start(&bowline, "bowline", p, sample, bowline_side);
    contender_start(&other, with_peer ? "nchan" : "the bare loop", p, sample, with_peer ? nchan_side : bare_side);
    for (unsigned run = 0; run < p->runs; run++) {
        for (int what = ONE_AT_A_TIME; what <= BURST_MANY_TASKS; what++) {
            take_turn(&bowline, what, &own[what], run);
            if (what == ONE_AT_A_TIME || (with_peer && what == BURST_ONE_TASK)) {
                take_turn(&other, what, &others[what], run);
            }
        }
    }
    contender_stop(&bowline);
    contender_stop(&other);
    if (with_peer) {
        rows_nchan(p, own, others);
    } else {
        rows_bare(p, own, &others[ONE_AT_A_TIME], sample);
    }
}
