/* latency.c: how long it takes, at a modest rate, until a report has been read by a watcher, and until a new task is on stable storage and answered. */
#include "base/mem.h"
#include "measure.h"
#include "world.h"

#include <stdio.h>

#define SESSIONS 32
#define REPORT_RATE 200
#define CREATE_RATE 100

struct latency {
    struct world world;
    struct stream streams[SESSIONS];
    double *to_watcher, *to_answer, *create; /* ms */
    unsigned reports, creates, read, answered, created;
    int64_t *create_sent_ns;
};

static double ms_since(int64_t ns) {
    return (double) (now_ns() - ns) * 1e-6;
}

static void on_event(struct stream *s, const struct seen *seen, struct str event) {
    struct latency *l = s->user;
    struct task *t = &l->world.tasks[s->number];
    (void) seen;
    (void) event;
    if (t->sent_ns) {
        l->to_watcher[l->read++] = ms_since(t->sent_ns);
        t->sent_ns = 0;
    }
}

static void report_answer(void *arg, struct http *h, size_t sent, const struct answer *a) {
    struct latency *l = arg;
    (void) h;
    l->to_answer[l->answered++] = ms_since(l->create_sent_ns[sent]);
    world_take_report(&l->world, (unsigned) sent % SESSIONS, a->status, a->body);
}

static void report_send(struct latency *l, unsigned i) {
    struct http *h = &l->world.pool.conns[i % l->world.pool.count];
    unsigned task = i % SESSIONS;
    world_put_progress(&l->world, task, &h->out);
    http_sent(h, (struct call){.done = report_answer, .arg = l, .index = i});
    l->world.tasks[task].sent_ns = l->create_sent_ns[i] = now_ns();
    http_flush(h);
}

static void create_answer(void *arg, struct http *h, size_t sent, const struct answer *a) {
    struct latency *l = arg;
    (void) h;
    l->create[l->created++] = ms_since(l->create_sent_ns[sent]);
    world_take_create(&l->world, SESSIONS + (unsigned) sent, a);
}

static void create_send(struct latency *l, unsigned i) {
    struct http *h = &l->world.pool.conns[i % l->world.pool.count];
    world_put_create(&l->world, world_task_add(&l->world, i % SESSIONS), &h->out);
    http_sent(h, (struct call){.done = create_answer, .arg = l, .index = i});
    l->create_sent_ns[i] = now_ns();
    http_flush(h);
}

/* At a steady rate, whatever the answers do. */
static void paced(struct latency *l, unsigned count, unsigned rate, void (*send_one)(struct latency *l, unsigned i)) {
    int64_t begin = now_ns();
    for (unsigned i = 0; i < count; i++) {
        int64_t due = begin + (int64_t) i * 1000000000 / rate;
        while (now_ns() < due) {
            poller_turn(due);
        }
        send_one(l, i);
    }
    poller_rest(0.5);
}

static void watch_one(struct stream_group *g, unsigned index) {
    struct latency *l = g->arg;
    l->streams[index].on_event = on_event;
    l->streams[index].user = l;
    world_watch(&l->world, &l->streams[index], index, index, STREAM_SSE, false);
}

static void quantiles(const char *name, double *values, unsigned count, const char *remark) {
    char what[80];
    snprintf(what, sizeof what, "%s, p50", name);
    row(what, quantile(values, count, 0.5), "ms", "%s", remark);
    snprintf(what, sizeof what, "%s, p99", name);
    row(what, quantile(values, count, 0.99), "ms", "%u measured, longest %.2f ms", count, quantile(values, count, 1));
}

void measure_latency(const struct plan *p) {
    static struct latency l;
    double seconds = p->seconds > 0 ? p->seconds : 5;
    l.reports = (unsigned) (seconds * REPORT_RATE);
    l.creates = (unsigned) (seconds * CREATE_RATE);
    l.to_watcher = mem_alloc(l.reports * sizeof(double));
    l.to_answer = mem_alloc(l.reports * sizeof(double));
    l.create = mem_alloc(l.creates * sizeof(double));
    l.create_sent_ns = mem_alloc((l.reports + l.creates) * sizeof(int64_t));
    world_init(&l.world, &p->server, 4);
    world_fill(&l.world, SESSIONS, 1);
    struct stream_group g = {.streams = l.streams, .count = SESSIONS, .open = watch_one, .arg = &l};
    stream_group_open(&g, SESSIONS);

    paced(&l, l.reports, REPORT_RATE, report_send);
    if (l.read != l.reports || l.answered != l.reports) {
        fault("of %u reports %u were answered and %u seen", l.reports, l.answered, l.read);
    }
    paced(&l, l.creates, CREATE_RATE, create_send);
    if (l.created != l.creates) {
        fault("of %u new tasks %u were answered", l.creates, l.created);
    }
    for (unsigned i = 0; i < l.world.task_count; i++) {
        if (!world_is_seen(&l.world, &l.streams[i % SESSIONS], i, 1)) {
            fault("task %u was not seen as it is", i);
        }
    }
    quantiles("latency, report to watcher", l.to_watcher, l.read, "from before send() to read, 200 reports/s over 32 sessions");
    quantiles("latency, report answered", l.to_answer, l.answered, "accepted");
    quantiles("latency, create answered", l.create, l.created, "on stable storage, 100 creates/s");
}
